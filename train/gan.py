"""Training of WGAN-GP (Eq. 3-4) and C-GAN (Eq. 10-11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import nn

from csegsynth_core.losses import (
    critic_difference,
    generator_score,
    gradient_penalty,
    volume_l1,
    volume_triplet,
)
from csegsynth_core.models.voxel import VoxelDecoder
from csegsynth_core.volumes import volumes_ml
from train.config import Stage
from train.engine import Batch, Engine, Method, Phase
from train.ridge import fit_codes
from train.start import codes_of_people, start_decoder


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through the network, but none is made of its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


class GanMethod(Method):
    """Discriminator and generator in separate steps; the generator every `critic_steps`-th time."""

    moves: ClassVar[dict[str, tuple[str, ...]]] = {
        "critic": ("discriminator",),
        "generator": ("generator", "conditioner"),
    }

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, as in the paper, with Gulrajani et al.'s moments; weight decay on the layers that take features."""
        groups = [
            {"params": self.parameters_of("generator"), "weight_decay": 0.0},
            {"params": self.parameters_of("conditioner"), "weight_decay": self.config.prior_decay},
        ]
        return {
            "generator": torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, betas=(0.0, 0.9)),
            "critic": torch.optim.Adam(self.parameters_of("discriminator"), lr=1.0, betas=(0.0, 0.9)),
        }

    def set_rates(self, stage: Stage, fall: float) -> None:
        """The stage's rate, `prior_rate` for the layers that take features, `critic_rate` for the discriminator."""
        groups = self.optimisers["generator"].param_groups
        for group, rate in zip(groups, (stage.rate, self.config.prior_rate), strict=False):
            group["lr"] = fall * rate
        self.optimisers["critic"].param_groups[0]["lr"] = fall * self.config.critic_rate_of(stage)

    def start(self, engine: Engine, *, progress: bool) -> None:
        """Generate mixtures of principal components at first (`compact`)."""
        if isinstance(self.model.generator, VoxelDecoder):
            start_decoder(engine, self.model.generator)

    def before_step(self, engine: Engine, stage: Stage, within: int) -> None:
        """Start FFN_cgan (not the paper's preset's) at what features tell of people's codes."""
        if stage.kind == "finetune" and within == 0 and self.model.conditioner.straight is not None:
            codes = codes_of_people(engine, self.model.generator)
            self.model.conditioner.start_at(*fit_codes(self.people, codes))
            engine.restart_average("conditioner")

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """L_dis (Eq. 3, 11), and in its turn L_gen (Eq. 4) or L_cgen (Eq. 10)."""
        w, model = self.config.weights, self.model
        z = batch.normal_like(torch.empty(len(batch.real), model.config.latent, device=batch.real.device))
        turn = (batch.step + 1) % self.config.critic_steps == 0
        with torch.set_grad_enabled(turn):
            made = model(batch.y, z, *batch.voxels)
        fake, critic = made.detach(), model.discriminator
        yield Phase(
            "critic",
            {
                "critic": critic_difference(critic(fake), critic(batch.real)),
                "penalty": self.config.penalty_of(stage)
                * gradient_penalty(critic, batch.real, fake, batch.uniform()),
            },
        )
        if not turn:
            return
        with frozen(critic):
            terms = {"score": w.adversarial * generator_score(critic(made))}
        if stage.kind == "finetune":
            found = volumes_ml(made, batch.voxels[0])
            terms["volume"] = stage.volume_factor * w.volume * volume_l1(found, batch.volume)
            if (batch.step + 1) // self.config.critic_steps % self.config.triplet_every == 0:
                wrong = model(batch.y + batch.normal_like(batch.y), z, *batch.voxels)
                other = volumes_ml(wrong, batch.voxels[0])
                weight = stage.volume_factor * w.triplet * self.config.triplet_every
                terms["triplet"] = weight * volume_triplet(batch.volume, found, other)
        yield Phase("generator", terms)
