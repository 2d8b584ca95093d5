"""Training of LDM (autoencoder, then Eq. 5) and C-LDM (Eq. 12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.losses import (
    feature_distance,
    latent_kl,
    least_squares,
    noise_error,
    reconstruction_bce,
    reconstruction_l1,
)
from csegsynth_core.models.ldm import STEPS
from csegsynth_core.regions import at_4mm, network
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train.config import Stage
from train.engine import Batch, Engine, Method, Phase
from train.gan import frozen
from train.principal import evenly
from train.ridge import fit_codes
from train.start import start_autoencoder

DIFFUSION = ("unet", "constant")
FEATURES = ("conditioner", "expects")
FEW, SHIFTS = 24, 3
"""People who tell mean volumes, and Newton steps towards them."""


class LdmMethod(Method):
    """The autoencoder with its discriminator first; then the U-Net on its latents, which stay as they are."""

    moves: ClassVar[dict[str, tuple[str, ...]]] = {
        "autoencoder": ("autoencoder",),
        "critic": ("discriminator",),
        "diffusion": (*DIFFUSION, *FEATURES),
    }

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam; weight decay on the layers that take features."""
        self.latents: dict[int, tuple[Tensor, Tensor]] = {}
        groups = [
            {"params": self.parameters_of(*DIFFUSION), "weight_decay": 0.0},
            {"params": self.parameters_of(*FEATURES), "weight_decay": self.config.prior_decay},
        ]
        return {
            "autoencoder": torch.optim.Adam(self.parameters_of("autoencoder"), lr=1.0),
            "critic": torch.optim.Adam(self.parameters_of("discriminator"), lr=1.0, betas=(0.5, 0.9)),
            "diffusion": torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0),
        }

    def set_rates(self, stage: Stage, fall: float) -> None:
        """The stage's rate, `prior_rate` for the layers that take features, `critic_rate` for the discriminator."""
        self.optimisers["autoencoder"].param_groups[0]["lr"] = fall * stage.rate
        self.optimisers["critic"].param_groups[0]["lr"] = fall * self.config.critic_rate_of(stage)
        groups = self.optimisers["diffusion"].param_groups
        for group, rate in zip(groups, (stage.rate, self.config.prior_rate), strict=False):
            group["lr"] = fall * rate

    def start(self, engine: Engine, *, progress: bool) -> None:
        """Make components of small blocks of a brain, and decode them, at first (`compact`)."""
        if self.model.autoencoder.output is not None:
            start_autoencoder(engine, self.model.autoencoder)

    def needs_maps(self, stage: Stage) -> bool:
        """Diffusion sees latents alone."""
        return stage.kind == "autoencoder"

    @torch.no_grad()
    def begin_stage(self, engine: Engine, stage: Stage) -> None:
        """Encode everybody once, before diffusion; and make latents' standard deviation 1 at its first stage."""
        if self.needs_maps(stage):
            return
        model = self.model.eval()
        self.latents = {int(r): model.autoencoder.encode(engine.maps([int(r)])) for r in engine.rows(stage)}
        model.train()
        if stage.kind == "pretrain":
            every = torch.cat([mean for mean, _ in self.latents.values()])
            noise = torch.cat([deviation for _, deviation in self.latents.values()])
            model.scale.copy_((every.var() + noise.square().mean()).rsqrt())

    def before_step(self, engine: Engine, stage: Stage, within: int) -> None:
        """Start diffusion (not the paper's preset's) at what a Gaussian of people's latent volumes gives.

        Before that the decoder learns people's mean volumes, which it keeps. For fine-tuning features shift the
        Gaussian's mean as ridge regression says, and it keeps the variance that they leave.
        """
        gaussian = self.model.gaussian
        if gaussian is None or within or self.needs_maps(stage):
            return
        rows = [int(r) for r in engine.rows(stage)]
        mean, deviation = (torch.cat([self.latents[r][k] for r in rows]) for k in (0, 1))
        flat = self.model.pad(self.model.scale * mean).flatten(1)
        if stage.kind == "pretrain":
            self._meet_volumes(engine, rows)
        if stage.kind == "pretrain" or not gaussian.axes.any():
            gaussian.fit(flat, float((self.model.scale * deviation).square().mean()))
        if stage.kind == "pretrain":
            return
        scores = gaussian.scores(flat)
        fit = fit_codes(self.people, scores)
        self.model.expects.start_at(*fit)
        left = (scores - fit.at(engine.features[torch.as_tensor(rows)])).square().mean(dim=0)
        gaussian.variance.copy_(torch.minimum(gaussian.variance, left))
        engine.restart_average("expects")

    @torch.no_grad()
    def _meet_volumes(self, engine: Engine, rows: list[int]) -> None:
        """Shift the decoder's log-ratios so that people's latent volumes decode to their mean tissue volumes.

        Newton's method: with a tissue's log-ratio everywhere its volume rises by Σ f (1 − f), another's by −Σ f f'.
        """
        autoencoder, tissues = self.model.autoencoder.eval(), len(TISSUES)
        some = [rows[k] for k in evenly(len(rows), FEW)]
        wanted = engine.volumes[torch.as_tensor(some), :tissues].mean(dim=0)
        drawn = torch.Generator().manual_seed(self.config.seed)
        noise = [torch.randn(self.latents[r][0].shape, generator=drawn).to(wanted.device) for r in some]
        for _ in range(SHIFTS):
            volume, slope = torch.zeros_like(wanted), wanted.new_zeros(tissues, tissues)
            for row, sample in zip(some, noise, strict=True):
                mean, deviation = self.latents[row]
                made = autoencoder.decode(mean + deviation * sample)[:, :tissues]
                fractions = made.double().flatten(2)[0]
                volume += volumes_ml(made)[0] / len(some)
                slope -= (fractions @ fractions.T).to(slope) * (grid.VOXEL_ML / len(some))
            shift = torch.linalg.solve(slope + volume.diag(), wanted - volume)
            autoencoder.output.average.add_(shift[:, None, None, None])
        autoencoder.train()
        engine.restart_average("autoencoder")

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """The autoencoder's losses, or L_ldm (Eq. 5) and L_cldm (Eq. 12)."""
        if stage.kind == "autoencoder":
            yield from self._autoencoder(batch)
            return
        model = self.model
        mean, deviation = (torch.cat([self.latents[int(r)][k] for r in batch.rows]) for k in (0, 1))
        latents = model.pad(model.scale * (mean + deviation * batch.normal_like(mean)))
        noise, t = batch.normal_like(latents), batch.integers(STEPS)
        predicted = model.noise_in(model.noised(latents, noise, t), t, batch.y)
        yield Phase("diffusion", {"noise": noise_error(noise, predicted)})

    def _autoencoder(self, batch: Batch) -> Iterator[Phase]:
        """L1, perceptual, adversarial and KL terms (paper, section IV-B3), then the discriminator's."""
        w, model, real = self.config.weights, self.model, batch.real
        mean, deviation = model.autoencoder.encode(real)
        made = model.autoencoder.decode(mean + deviation * batch.normal_like(mean))
        # L1 in the paper; among few voxels of CSF its optimum, the median, is none: `compact` takes cross-entropy.
        distance = reconstruction_l1 if model.config.preset == "paper" else reconstruction_bce
        terms = {
            "reconstruction": w.reconstruction * distance(made, real),
            "kl": w.kl * latent_kl(mean, deviation),
        }
        if w.perceptual:
            judge = network().to(real.device)
            seen = [list(judge.activations(at_4mm(x))) for x in (made, real)]
            terms["perceptual"] = w.perceptual * feature_distance(*seen)
        critic, adversarial = model.discriminator, w.adversarial and batch.step >= self.config.warm_up
        if adversarial:
            with frozen(critic):
                terms["adversarial"] = w.adversarial * least_squares(critic(made), 1.0)
        yield Phase("autoencoder", terms)
        if adversarial and batch.step % self.config.critic_every == 0:
            loss = 0.5 * (least_squares(critic(real), 1.0) + least_squares(critic(made.detach()), 0.0))
            yield Phase("critic", {"critic": loss})

    @torch.no_grad()
    def validate(self, engine: Engine, stage: Stage) -> dict[str, float] | None:
        """Of the autoencoder: mean absolute difference of reconstructed validation people."""
        if stage.kind != "autoencoder":
            return None
        engine.smooth.load_state_dict(engine.averaged)
        autoencoder = engine.smooth.autoencoder
        errors = []
        for row in engine.people.validation:
            real = engine.maps([int(row)])
            errors.append(float(reconstruction_l1(autoencoder.decode(autoencoder.encode(real)[0]), real)))
        return {"validation_l1": sum(errors) / len(errors)}
