"""Training of CSegSynth: α-GAN pre-training (Eq. 6–8), then conditional fine-tuning (Eq. 13–15).

`CSegSynthMethod.pretrain_losses` and `finetune_losses` are the equations; the loop is `train.engine`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core.losses import gradient_penalty, reconstruction_bce, volume_l1, volume_triplet
from csegsynth_core.models.csegsynth import CompactTrunk, TemplateGenerator
from csegsynth_core.models.voxel import VoxelDecoder
from csegsynth_core.volumes import volumes_ml
from train.config import Stage, TrainConfig
from train.engine import Batch, Engine, Method, Phase
from train.people import People, maps_of
from train.principal import at_volumes, evenly, fit_people, start_at_components
from train.ridge import fit_codes
from train.start import start_decoder
from train.template import set_template, start_at_average

logger = logging.getLogger(__name__)

ENCODER_PENALTY = 0.03
"""Ridge penalty of the encoder's start, as a share of the mean squared size of people's maps about their mean."""
STRAIGHT_RATE = 1e-3
"""Learning rate of the encoder's linear part over that of the rest: each output sums over 30,000 fractions."""
FITTED_TOGETHER = {False: 4, True: 32}
"""People whose fields are fitted at once, on a CPU and on a GPU: as many as keep it busy."""
SPREAD_EVERY = 25
"""Steps between updates of the noise that is left beside the features (`PriorNetwork.set_spread`)."""


def neighbours(n: int) -> Int[Tensor, " n"]:
    """Whom each of n people is mixed with: 0 with 1, 2 with 3 and so on; the last of an odd number with nobody else.

    A step's people are in random order. Parts and processes that see an even number of people each split no pair, so
    that they mix whom one process with the whole batch mixes; with odd numbers they do not, which training warns of.
    """
    order = torch.arange(n)
    return (order ^ 1).where((order ^ 1) < n, order)


class CSegSynthMethod(Method):
    """α-GAN, which has no prior network, and CSegSynth, which has."""

    moves: ClassVar[dict[str, tuple[str, ...]]] = {
        "main": ("encoder", "generator", "prior"),
        "image": ("discriminator",),
        "code": ("code_discriminator",),
    }

    def __init__(self, model: torch.nn.Module, config: TrainConfig, people: People) -> None:
        super().__init__(model, config, people)
        if isinstance(model.generator, TemplateGenerator):
            set_template(model.generator, config.template_t1)

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One for encoder, generator and prior network; one for each discriminator."""
        model, config = self.model, self.config
        straight = [p for n, p in model.encoder.named_parameters() if n.startswith("straight.")]
        rest = [p for n, p in model.encoder.named_parameters() if not n.startswith("straight.")]
        groups = [
            {"params": rest, "weight_decay": 0.0},
            {"params": straight, "weight_decay": 0.0},
            {"params": list(model.generator.parameters()), "weight_decay": 0.0},
        ]
        if model.conditional:
            groups.append({"params": list(model.prior.parameters()), "weight_decay": config.prior_decay})
        return {
            "main": torch.optim.AdamW(groups, lr=1.0, betas=(0.5, 0.99)),
            "image": torch.optim.Adam(
                model.discriminator.parameters(), lr=config.critic_rate, betas=(0.5, 0.9)
            ),
            "code": torch.optim.Adam(
                model.code_discriminator.parameters(), lr=config.critic_rate, betas=(0.5, 0.9)
            ),
        }

    def set_rates(self, stage: Stage, fall: float) -> None:
        """The stage's rate, and `prior_rate` for the prior network; the discriminators' do not fall."""
        rates = (stage.rate, STRAIGHT_RATE * stage.rate, stage.rate, self.config.prior_rate)
        for group, rate in zip(self.optimisers["main"].param_groups, rates, strict=False):
            group["lr"] = fall * rate
        for name, factor in (("image", 1.0), ("code", self.config.code_critic_factor)):
            self.optimisers[name].param_groups[0]["lr"] = factor * self.config.critic_rate_of(stage)

    def start(self, engine: Engine, *, progress: bool = False) -> None:
        """Put the untrained compact generator at the average training brain and at people's principal components:
        those of their fields, or of what they have at 8 mm where it decodes voxels.

        The encoder starts at people's scores on the components, so that codes mean the same to both networks.
        """
        generator = self.model.generator
        if isinstance(generator, VoxelDecoder):
            found = start_decoder(engine, generator)
            encoder, count = self.model.encoder, len(found.score)
            weight, bias = torch.zeros_like(encoder.straight.weight), torch.zeros_like(encoder.straight.bias)
            weight[:count], bias[:count] = found.score, -found.score @ found.centre
            encoder.start_at(weight, bias)
        if not isinstance(generator, TemplateGenerator):
            return
        rows = np.concatenate([self.people.train, self.people.images_only])
        mean = torch.zeros(())
        for row in rows:
            mean = mean + maps_of(self.people.cohort, [int(row)], self.model.region, 2)[0] / len(rows)
        error = start_at_average(generator, mean.to(engine.fabric.device), steps=self.config.average_steps)
        logger.info("start at the average brain: mean difference %.4f over 12 mm", error)
        if self.config.component_steps:
            steps = self.config.component_steps
            rows = rows[evenly(len(rows), self.config.component_people)]
            fields = fit_people(
                generator,
                lambda k: engine.maps(rows[k]),
                len(rows),
                steps=steps,
                batch=FITTED_TOGETHER[engine.fabric.device.type == "cuda"],
                progress=progress,
            )
            scores = start_at_components(generator, fields, engine.volumes[torch.from_numpy(rows), :3])
            self._start_encoder(engine, rows, scores)

    def _start_encoder(self, engine: Engine, rows: NDArray[np.int64], scores: Tensor) -> None:
        """Put the encoder at ridge regression of scores on people's maps, in its dual form (few people)."""
        encoder = self.model.encoder
        assert isinstance(encoder, CompactTrunk)  # noqa: S101 - goes with the template generator
        seen = engine.told_by_maps(rows, encoder.at_8mm)
        mean = seen.mean(dim=0)
        gram = (seen - mean) @ (seen - mean).T
        penalty = ENCODER_PENALTY * gram.diagonal().mean()
        dual = torch.linalg.solve(gram + penalty * torch.eye(len(rows), device=gram.device), scores)
        weight = ((seen - mean).T @ dual).T
        encoder.start_at(weight, scores.mean(dim=0) - weight @ mean)
        error = float((encoder.straight(seen).detach() - scores).square().mean())
        logger.info("encoder of components: mean squared error %.4f of 1", error)

    @torch.no_grad()
    def start_prior(self, engine: Engine) -> None:
        """Put the prior network's linear layer and curve at ridge regression of people's codes on their features.

        Codes are the encoder's, moved so that brains have the people's own volumes (`train.principal.at_volumes`):
        of people whose brains were not fitted the encoder tells too little. See `train.ridge.fit_codes`.
        """
        if self.model.prior.straight is None:
            return
        rows = self.people.train
        codes = engine.told_by_maps(rows, self.model.encoder)
        codes = at_volumes(self.model.generator, codes, engine.volumes[torch.from_numpy(rows), :3])
        self.model.prior.start_at(*fit_codes(self.people, codes))
        engine.restart_average("prior")

    # ------------------------------------------------------------- one step

    def begin_stage(self, engine: Engine, stage: Stage) -> None:
        """Warn where parts of a batch mix other people than the whole batch would (`neighbours`)."""
        batch, parts = self.config.batch, self.config.accumulate * engine.fabric.world_size
        mixes = self.config.mixup and stage.kind in ("finetune", "prior")
        if mixes and batch % 2 and parts > 1 and engine.fabric.is_global_zero:
            logger.warning(
                "batch=%d is odd: one person of each of a step's %d parts is mixed with nobody, and the rest with "
                "others than in one batch of %d; set an even batch to train as that would, or mixup=false",
                batch, parts, batch * parts,
            )  # fmt: skip

    def before_step(self, engine: Engine, stage: Stage, within: int) -> None:
        """Start the prior network, keep its noise at what features leave, and fix what a stage does not train."""
        if stage.kind != "pretrain":
            before = self.config.stages[: engine.stage_index]
            if within == 0 and self.config.ridge_start and all(s.kind == "pretrain" for s in before):
                self.start_prior(engine)
            if within == 0 or engine.done % SPREAD_EVERY == 0:
                self.model.prior.set_spread(engine.features[torch.from_numpy(self.people.train)])
        for name in ("encoder", "generator"):
            getattr(self.model, name).requires_grad_(stage.kind != "prior")

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """Encoder, generator and prior network; then in their turn both discriminators."""
        losses_of = {
            "pretrain": self.pretrain_losses,
            "finetune": self.finetune_losses,
            "prior": self.prior_losses,
        }[stage.kind]
        terms, fakes, codes = losses_of(batch)
        for name in ("volume", "triplet"):
            if name in terms:
                terms[name] = stage.volume_factor * terms[name]
        yield Phase("main", terms)
        if batch.step % self.config.critic_every:
            return
        penalty = self.config.penalty_of(stage)
        if fakes and (stage.kind == "pretrain" or not self.config.freeze_discriminator):
            yield Phase("image", {"critic": self.discriminator_loss(batch, fakes, penalty)})
        yield Phase("code", {"code_critic": self.code_discriminator_loss(batch, codes, penalty)})

    def pretrain_losses(self, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 6, and the brains and codes that the critics judge next."""
        w, net, voxels = self.config.weights, self.model, batch.voxels
        code = net.encoder(batch.real)
        noise = batch.normal_like(code)
        reconstructed = net.generator(code, *voxels)
        made = net.generator(noise, *voxels)
        terms = {
            "adversarial": -w.adversarial
            * (net.discriminator(made).mean() + net.discriminator(reconstructed).mean()),
            "code": -w.code * net.code_discriminator(code).mean(),
            "reconstruction": w.reconstruction * reconstruction_bce(reconstructed, batch.real),
        }
        return terms, [made.detach(), reconstructed.detach()], [code.detach(), noise]

    def finetune_losses(self, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 13 (and code regression), and the brains and codes that the critics judge next."""
        w, net, voxels = self.config.weights, self.model, batch.voxels
        code = net.encoder(batch.real)
        terms, conditioned, noise, shifted = self._conditional_terms(code.detach(), batch)
        reconstructed = net.generator(code, *voxels)
        terms["adversarial"] = -w.adversarial * (
            net.discriminator(conditioned).mean() + net.discriminator(reconstructed).mean()
        )
        terms["code"] = terms["code"] - w.code * net.code_discriminator(code).mean()
        terms["volume"] = terms["volume"] + w.volume * volume_l1(
            volumes_ml(reconstructed, voxels[0]), batch.volume
        )
        terms["reconstruction"] = w.reconstruction * reconstruction_bce(reconstructed, batch.real)
        codes = [shifted.detach(), code.detach(), noise]
        return terms, [conditioned.detach(), reconstructed.detach()], codes

    def prior_losses(self, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 13 that the prior network enters by itself; no brains for the image discriminator."""
        with torch.no_grad():
            code = self.model.encoder(batch.real)
        terms, _, noise, shifted = self._conditional_terms(code, batch)
        return terms, [], [shifted.detach(), code, noise]

    def _conditional_terms(
        self, code: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """The terms of Eq. 13 in ẑ_cnd alone (code, volume, triplet; ours: code regression); x̂_cnd; ẑ_rnd; ẑ_cnd.

        Args:
            code: E(x) of the same people, without gradient.
        """
        w, net, voxels = self.config.weights, self.model, batch.voxels
        y, volume = batch.y, batch.volume
        if self.config.mixup:
            share = torch.distributions.Beta(0.4, 0.4).sample((batch.total, 1))[batch.own].to(y.device)
            order = neighbours(len(y)).to(y.device)
            y = share * y + (1 - share) * y[order]
            volume = share * volume + (1 - share) * volume[order]
            code = share * code + (1 - share) * code[order]
        if self.config.feature_noise:
            y = y + self.config.feature_noise * batch.normal_like(y)
        noise = batch.normal_like(code)
        shift = net.prior(y)
        noise = self.model.prior.narrow(noise)
        shifted = noise + shift
        conditioned = net.generator(shifted, *voxels)
        found = volumes_ml(conditioned, voxels[0])
        terms = {
            "code": -w.code * net.code_discriminator(shifted).mean(),
            "volume": w.volume * volume_l1(found, volume),
        }
        if batch.step % self.config.triplet_every == 0:
            wrong = net.prior(y + batch.normal_like(y))
            other = volumes_ml(net.generator(noise + wrong, *voxels), voxels[0])
            weight = w.triplet * self.config.triplet_every
            terms["triplet"] = weight * volume_triplet(volume, found, other)
        if w.code_regression:
            terms["code_regression"] = w.code_regression * (shift - code).square().mean()
        return terms, conditioned, noise, shifted

    def discriminator_loss(self, batch: Batch, fakes: list[Tensor], penalty: float) -> Tensor:
        """Eq. 7 and 14: real brains up, both kinds of made ones down, unit gradients between."""
        critic = self.model.discriminator
        loss = -2.0 * critic(batch.real).mean()
        for fake in fakes:
            share = batch.uniform()
            loss = loss + critic(fake).mean()
            loss = loss + penalty * gradient_penalty(critic, batch.real, fake, share)
        return loss

    def code_discriminator_loss(self, batch: Batch, codes: list[Tensor], penalty: float) -> Tensor:
        """Eq. 8 and 15: draws of the prior up, codes of brains and of features down.

        In Eq. 15 the codes of features are judged against fresh draws, not those that were shifted to make them.
        """
        critic, noise, made = self.model.code_discriminator, codes[-1], codes[:-1]
        loss = -float(len(made)) * critic(noise).mean()
        if len(made) == 2:
            noise = batch.normal_like(noise)
            loss = -2.0 * critic(noise).mean()
        for code in made:
            share = batch.uniform()
            loss = loss + critic(code).mean()
            loss = loss + penalty * gradient_penalty(critic, noise, code, share)
        return loss
