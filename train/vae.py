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
from train.ridge import fit_codes
from train.start import start_decoder, start_encoder

DECODER_RATE = 5.0
"""Of the decoder's linear part, relative to the stage's rate."""

UNCONDITIONAL = ("encoder", "mean", "log_variance", "decoder")
CONDITIONAL = ("prior", "condition_encoder", "condition_decoder")


class VaeMethod(Method):
    """One optimiser for everything: L_vae (Eq. 2), then L_cvae (Eq. 9) with one sample z of each person (L = 1)."""

    moves: ClassVar[dict[str, tuple[str, ...]]] = {"main": (*UNCONDITIONAL, *CONDITIONAL)}

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW, as in the paper; weight decay on the layers that take features."""
        reads = [p for n, p in self.model.encoder.named_parameters() if n.startswith("straight.")]
        writes = [p for n, p in self.model.decoder.named_parameters() if n.startswith("straight.")]
        apart = {id(p) for p in (*reads, *writes)}
        rest = [p for p in self.parameters_of(*UNCONDITIONAL) if id(p) not in apart]
        groups = [{"params": group, "weight_decay": 0.0} for group in (rest, reads, writes)]
        groups += [{"params": self.parameters_of(*CONDITIONAL), "weight_decay": self.config.prior_decay}]
        return {"main": torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99))}

    def set_rates(self, stage: Stage, fall: float) -> None:
        """The stage's rate, less for the encoder's linear part and more for the decoder's; `prior_rate` for the
        layers that take features."""
        rates = (stage.rate, STRAIGHT_RATE * stage.rate, DECODER_RATE * stage.rate, self.config.prior_rate)
        for group, rate in zip(self.optimisers["main"].param_groups, rates, strict=True):
            group["lr"] = fall * rate

    def start(self, engine: Engine, *, progress: bool) -> None:
        """Encode and decode principal components at first (`compact`)."""
        if isinstance(self.model.decoder, VoxelDecoder):
            found = start_decoder(engine, self.model.decoder)
            start_encoder(self.model.encoder, self.model.mean[-1], self.model.log_variance[-1], found)

    def before_step(self, engine: Engine, stage: Stage, within: int) -> None:
        """Start the prior network (not the paper's preset's) at what features tell of the encoder's codes."""
        if stage.kind == "finetune" and within == 0 and self.model.prior.both.straight is not None:
            self._start_prior(engine)

    @torch.no_grad()
    def _start_prior(self, engine: Engine) -> None:
        model, people = self.model, self.people
        y = engine.features[torch.from_numpy(people.train)]
        each = iter(y)
        seen = engine.told_by_maps(
            people.train, lambda maps: torch.stack(model.encode(maps, next(each)[None]), dim=1)
        )
        mean, log_variance = seen.unbind(dim=1)
        fit = fit_codes(people, mean)
        left = (mean - fit.at(y)).square().mean(dim=0) + log_variance.exp().mean(dim=0)
        nothing = torch.zeros_like(fit.weight)
        model.prior.both.start_at(
            torch.cat([fit.weight, nothing]),
            torch.cat([fit.bias.to(left), left.clamp_min(1e-3).log()]),
            None if fit.curve is None else torch.cat([fit.curve, nothing[:, 0]]),
            fit.bends,
        )
        engine.restart_average("prior")

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """Eq. 2: KL and reconstruction; Eq. 9: with features, KL to their prior and the volume term too."""
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
