"""Training of VAE (Eq. 2) and C-VAE (Eq. 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from csegsynth_core.losses import kl_normal, reconstruction_bce, volume_l1
from csegsynth_core.models.voxel import VoxelDecoder
from csegsynth_core.volumes import volumes_ml
from train.config import Stage
from train.csegsynth import STRAIGHT_RATE
from train.engine import Batch, Engine, Method, Phase
from train.start import mean_maps

UNCONDITIONAL = ("encoder", "mean", "log_variance", "decoder")
CONDITIONAL = ("prior", "condition_encoder", "condition_decoder")


class VaeMethod(Method):
    """One optimiser for everything: L_vae (Eq. 2), then L_cvae (Eq. 9) with one sample z of each person (L = 1)."""

    moves: ClassVar[dict[str, tuple[str, ...]]] = {"main": (*UNCONDITIONAL, *CONDITIONAL)}

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW, as in the paper; weight decay on the layers that take features."""
        straight = {id(p) for n, p in self.model.encoder.named_parameters() if n.startswith("straight.")}
        known = self.parameters_of(*UNCONDITIONAL)
        groups = [
            {"params": [p for p in known if id(p) not in straight], "weight_decay": 0.0},
            {"params": [p for p in known if id(p) in straight], "weight_decay": 0.0},
            {"params": self.parameters_of(*CONDITIONAL), "weight_decay": self.config.prior_decay},
        ]
        return {"main": torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99))}

    def set_rates(self, stage: Stage, fall: float) -> None:
        """The stage's rate, less for the encoder's linear part; `prior_rate` for the layers that take features."""
        rates = (stage.rate, STRAIGHT_RATE * stage.rate, self.config.prior_rate)
        for group, rate in zip(self.optimisers["main"].param_groups, rates, strict=True):
            group["lr"] = fall * rate

    def start(self, engine: Engine, *, progress: bool) -> None:
        """Decode the mean training brain at first (`compact`)."""
        if isinstance(self.model.decoder, VoxelDecoder):
            self.model.decoder.output.start_at(mean_maps(engine))

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """KL and reconstruction; with features also the volume term."""
        w, model = self.config.weights, self.model
        mean, log_variance = model.encode(batch.real, batch.y)
        z = mean + (0.5 * log_variance).exp() * batch.normal_like(mean)
        made = model.decode(z, batch.y, *batch.voxels)
        prior = model.prior_of(batch.y) if stage.kind == "finetune" else (None, None)
        rise = min(1.0, (batch.step + 1) / max(self.config.warm_up, 1)) if stage.kind == "pretrain" else 1.0
        terms = {
            "kl": rise * w.kl * kl_normal(mean, log_variance, *prior),
            "reconstruction": w.reconstruction * reconstruction_bce(made, batch.real),
        }
        if stage.kind == "finetune":
            found = volumes_ml(made, batch.voxels[0])
            terms["volume"] = stage.volume_factor * w.volume * volume_l1(found, batch.volume)
        yield Phase("main", terms)
