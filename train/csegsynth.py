"""Training of CSegSynth: α-GAN pre-training (Eq. 6–8), then conditional fine-tuning (Eq. 13–15).

Reads top to bottom: `train` sets up, `Trainer.step` is one step, `Trainer.pretrain_losses` and
`Trainer.finetune_losses` are the equations. All randomness of a step comes from (seed, step), so that a run
that was killed goes on exactly as it would have.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.losses import gradient_penalty, reconstruction_bce, volume_l1, volume_triplet
from csegsynth_core.models.csegsynth import (
    CompactTrunk,
    Config,
    CSegSynth,
    Offset,
    PaperGenerator,
    TemplateGenerator,
)
from csegsynth_core.volumes import volumes_ml
from train import checkpoint
from train.config import Stage, TrainConfig
from train.people import People, gather, maps_of
from train.principal import fit_people, start_at_components
from train.template import set_template, start_at_average

logger = logging.getLogger(__name__)

NETWORKS = ("encoder", "generator", "discriminator", "code_discriminator", "prior")
VALIDATION_DRAWS = 4
ENCODER_PENALTY = 0.03
"""Ridge penalty of the encoder's start, as a share of the mean squared size of people's maps about their mean."""
STRAIGHT_RATE = 1e-3
"""Learning rate of the encoder's linear part over that of the rest: each output sums over 30,000 fractions."""
SPREAD_EVERY = 25
"""Steps between updates of the noise that is left beside the features (`PriorNetwork.set_spread`)."""

Voxels = tuple[int, Offset]
"""Resolution and offset of the voxels that a step looks at."""


def train(
    cohort_folder: Path,
    out: Path,
    config: TrainConfig,
    *,
    progress: bool = True,
    stop_after: int = 0,
    start_from: Path | None = None,
) -> Path:
    """Train CSegSynth on a prepared cohort, or go on with a run that was stopped.

    Args:
        cohort_folder: made by `prepare`.
        out: folder of the run: `config.json`, `split.json`, `metrics.csv`, `checkpoint.safetensors`, TensorBoard.
        config: settings; a run is resumed only with the same ones.
        stop_after: stop after so many steps of this call (0: to the end).
        start_from: folder of another run; a new run starts from its networks.

    Returns:
        Path of the last checkpoint.

    Raises:
        CSegSynthError: the cohort cannot be trained on, the run has other settings, or the loss diverged.
    """
    cohort = Cohort.open(cohort_folder)
    region = (PaperGenerator if config.preset == "paper" else TemplateGenerator).region
    people = gather(cohort, region, config.validation_fraction, config.seed)
    torch.manual_seed(config.seed)
    model = CSegSynth(_shapes(config, people.encoder.width))
    trainer = Trainer(model, people, config)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.safetensors"
    if path.is_file():
        trainer.resume(path)
    else:
        if start_from is None:
            trainer.start(progress=progress)
        else:
            trainer.inherit(start_from / "checkpoint.safetensors")
        write_text(out / "config.json", json.dumps(config.to_dict(), indent=1))
        write_text(out / "split.json", json.dumps(_split_record(people), indent=1))
        checkpoint.write(path, trainer.state())  # the start takes minutes: a run that is killed keeps it
    log = _Log(out, trainer.done)
    end = config.total_steps if not stop_after else min(config.total_steps, trainer.done + stop_after)
    bar = tqdm(initial=trainer.done, total=end, unit="step", disable=not progress)
    try:
        while trainer.done < end:
            losses = trainer.step()
            if not all(math.isfinite(v) for v in losses.values()):
                raise CSegSynthError(
                    f"training diverged at step {trainer.done}",
                    expected="finite losses",
                    got=", ".join(f"{k}={v:.3g}" for k, v in losses.items()),
                    fix=f"the last good checkpoint is {path}; lower the learning rate and start a new run",
                )
            bar.update()
            if trainer.done % config.log_every == 0:
                bar.set_postfix({k: f"{losses[k]:.3g}" for k in ("reconstruction", "volume") if k in losses})
                log.write(trainer.done, losses)
            last = trainer.done == end
            if trainer.done % config.validate_every == 0 or last:
                log.write(trainer.done, trainer.validate())
            if trainer.done % config.save_every == 0 or last:
                log.flush()
                checkpoint.write(path, trainer.state())
    finally:
        bar.close()
        log.close()
    return path


def _shapes(config: TrainConfig, features: int) -> Config:
    if config.preset == "paper":
        return Config.paper(features)
    if config.preset == "tiny":
        return Config.compact(features, latent=16, width=16)
    return Config.compact(features)


def _split_record(people: People) -> dict[str, Any]:
    ids = people.cohort.ids
    return {
        name: [ids[int(r)] for r in getattr(people, name)] for name in ("train", "validation", "images_only")
    }


def _any_offset() -> Offset:
    i, j, k = (int(v) for v in torch.randint(2, (3,)))
    return i, j, k


class Trainer:
    """State of a run: networks, optimisers, averaged weights and the number of steps done."""

    def __init__(self, model: CSegSynth, people: People, config: TrainConfig) -> None:
        self.config, self.people, self.model = config, people, model
        self.done = 0
        self.fabric = Fabric(accelerator="auto", devices=1)
        for module in model.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if isinstance(model.generator, TemplateGenerator):
            set_template(model.generator)
        straight = [p for n, p in model.encoder.named_parameters() if n.startswith("straight.")]
        rest = [p for n, p in model.encoder.named_parameters() if not n.startswith("straight.")]
        main = torch.optim.AdamW(
            [
                {"params": rest, "weight_decay": 0.0},
                {"params": straight, "weight_decay": 0.0},
                {"params": list(model.generator.parameters()), "weight_decay": 0.0},
                {"params": list(model.prior.parameters()), "weight_decay": config.prior_decay},
            ],
            lr=1.0,
            betas=(0.5, 0.99),
        )
        image = torch.optim.Adam(model.discriminator.parameters(), lr=config.critic_rate, betas=(0.5, 0.9))
        code = torch.optim.Adam(
            model.code_discriminator.parameters(), lr=config.critic_rate * 3, betas=(0.5, 0.9)
        )
        self.fabric.launch()
        self.net = {name: self.fabric.setup_module(getattr(model, name)) for name in NETWORKS}
        self.main, self.image, self.code = self.fabric.setup_optimizers(main, image, code)
        self.averaged = AveragedModel(
            nn.ModuleDict({n: getattr(model, n) for n in ("generator", "prior")}), avg_fn=self._average
        )
        self.features = self.fabric.to_device(people.features)
        self.volumes = self.fabric.to_device(people.volumes_ml)

    def _average(self, mean: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.config.average_decay, (1.0 + float(count)) / (10.0 + float(count)))
        return mean * decay + now * (1.0 - decay)

    def start(self, *, progress: bool = False) -> None:
        """Put the untrained compact generator at the average training brain and at people's principal components.

        The encoder starts at people's scores on the components, so that codes mean the same to both networks.
        """
        generator = self.model.generator
        if not isinstance(generator, TemplateGenerator):
            return
        rows = np.concatenate([self.people.train, self.people.images_only])
        mean = torch.zeros(())
        for row in rows:
            mean = mean + maps_of(self.people.cohort, [int(row)], self.model.region, 2)[0] / len(rows)
        error = start_at_average(generator, mean.to(self.fabric.device), steps=self.config.average_steps)
        logger.info("start at the average brain: mean difference %.4f over 12 mm", error)
        if self.config.component_steps:
            steps = self.config.component_steps
            fields = fit_people(
                generator, lambda k: self._maps(rows[k]), len(rows), steps=steps, progress=progress
            )
            scores = start_at_components(generator, fields, self.volumes[torch.from_numpy(rows), :3])
            self._start_encoder(rows, scores)
        self.averaged.module["generator"].load_state_dict(generator.state_dict())  # type: ignore[index]

    def _start_encoder(self, rows: NDArray[np.int64], scores: Tensor) -> None:
        """Put the encoder at ridge regression of scores on people's maps, in its dual form (few people)."""
        encoder = self.model.encoder
        assert isinstance(encoder, CompactTrunk)  # noqa: S101 - goes with the template generator
        seen = torch.cat([encoder.at_8mm(self._maps(np.asarray([row]))) for row in rows])
        mean = seen.mean(dim=0)
        gram = (seen - mean) @ (seen - mean).T
        penalty = ENCODER_PENALTY * gram.diagonal().mean()
        dual = torch.linalg.solve(gram + penalty * torch.eye(len(rows), device=gram.device), scores)
        weight = ((seen - mean).T @ dual).T
        encoder.start_at(weight, scores.mean(dim=0) - weight @ mean)
        error = float((encoder.straight(seen).detach() - scores).square().mean())
        logger.info("encoder of components: mean squared error %.4f of 1", error)

    def _maps(self, rows: NDArray[np.int64]) -> Tensor:
        """All voxels of some people."""
        return self.fabric.to_device(maps_of(self.people.cohort, rows, self.model.region, 1))

    @torch.no_grad()
    def start_prior(self) -> None:
        """Put the prior network's linear layer at ridge regression of people's codes on their features.

        The penalty of each code is cross-validated on the training people.
        """
        if self.model.prior.straight is None:
            return
        rows = self.people.train
        batches = np.array_split(rows, max(1, len(rows) // self.config.batch))
        codes = torch.cat([self.net["encoder"](self._maps(some)) for some in batches])
        fit = RidgeCV(alphas=np.logspace(0, 4, 33), alpha_per_target=True)
        fit.fit(self.features[torch.from_numpy(rows)].cpu().numpy(), codes.cpu().numpy())
        self.model.prior.start_at(torch.from_numpy(fit.coef_), torch.from_numpy(fit.intercept_))
        self.averaged.module["prior"].load_state_dict(self.model.prior.state_dict())  # type: ignore[index]

    # ------------------------------------------------------------- one step

    def step(self) -> dict[str, float]:
        """Train on one batch; returns the losses."""
        stage, through = self.config.stage_at(self.done)
        torch.manual_seed(self.config.seed * 1_000_003 + self.done)
        people = self.people
        pretraining = stage.kind == "pretrain"
        rows = np.concatenate([people.train, people.images_only]) if pretraining else people.train
        chosen = rows[torch.randint(len(rows), (self.config.batch,)).numpy()]
        voxels: Voxels = (stage.resolution, _any_offset() if stage.resolution > 1 else (0, 0, 0))
        real = self.fabric.to_device(maps_of(people.cohort, chosen, self.model.region, *voxels))
        if self.config.flips:  # (of every second voxel: with a shift by one, within what training allows)
            flip = torch.rand(len(real), device=real.device) < 0.5
            real = torch.where(flip.view(-1, 1, 1, 1, 1), real.flip(2), real)
        if not pretraining:
            if through == 0 and self.config.ridge_start and self.config.follows_pretraining(self.done):
                self.start_prior()
            if through == 0 or self.done % SPREAD_EVERY == 0:
                self.model.prior.set_spread(self.features[torch.from_numpy(people.train)])
        index = torch.from_numpy(chosen)
        self._set_rates(stage, through)
        for name in ("encoder", "generator"):
            getattr(self.model, name).requires_grad_(stage.kind != "prior")
        losses_of = {
            "pretrain": self.pretrain_losses,
            "finetune": self.finetune_losses,
            "prior": self.prior_losses,
        }[stage.kind]
        terms, fakes, codes = losses_of(real, self.features[index], self.volumes[index], voxels)
        for name in ("volume", "triplet"):
            if name in terms:
                terms[name] = stage.volume_factor * terms[name]
        total = sum(terms.values(), torch.zeros((), device=real.device))
        self._descend(total, self.main, ("encoder", "generator", "prior"))
        self.averaged.update_parameters(
            nn.ModuleDict({n: getattr(self.model, n) for n in ("generator", "prior")})
        )
        report = {name: float(value.detach()) for name, value in terms.items()}
        if self.done % self.config.critic_every == 0:
            if fakes and (pretraining or not self.config.freeze_discriminator):
                report["critic"] = self._train_discriminator(real, fakes)
            report["code_critic"] = self._train_code_discriminator(codes)
        self.done += 1
        return report

    def pretrain_losses(
        self, real: Tensor, _y: Tensor, volume: Tensor, voxels: Voxels
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 6, and the brains and codes that the critics judge next."""
        w, net = self.config.weights, self.net
        code = net["encoder"](real)
        noise = torch.randn_like(code)
        reconstructed = net["generator"](code, *voxels)
        made = net["generator"](noise, *voxels)
        terms = {
            "adversarial": -w.adversarial
            * (net["discriminator"](made).mean() + net["discriminator"](reconstructed).mean()),
            "code": -w.code * net["code_discriminator"](code).mean(),
            "reconstruction": w.reconstruction * reconstruction_bce(reconstructed, real),
        }
        return terms, [made.detach(), reconstructed.detach()], [code.detach(), noise]

    def finetune_losses(
        self, real: Tensor, y: Tensor, volume: Tensor, voxels: Voxels
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 13 (and code regression), and the brains and codes that the critics judge next."""
        w, net = self.config.weights, self.net
        code = net["encoder"](real)
        terms, conditioned, noise, shifted = self._conditional_terms(code.detach(), y, volume, voxels)
        reconstructed = net["generator"](code, *voxels)
        terms["adversarial"] = -w.adversarial * (
            net["discriminator"](conditioned).mean() + net["discriminator"](reconstructed).mean()
        )
        terms["code"] = terms["code"] - w.code * net["code_discriminator"](code).mean()
        terms["volume"] = terms["volume"] + w.volume * volume_l1(volumes_ml(reconstructed, voxels[0]), volume)
        terms["reconstruction"] = w.reconstruction * reconstruction_bce(reconstructed, real)
        codes = [shifted.detach(), code.detach(), noise]
        return terms, [conditioned.detach(), reconstructed.detach()], codes

    def prior_losses(
        self, real: Tensor, y: Tensor, volume: Tensor, voxels: Voxels
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Terms of Eq. 13 that the prior network enters by itself; no brains for the image discriminator."""
        with torch.no_grad():
            code = self.net["encoder"](real)
        terms, _, noise, shifted = self._conditional_terms(code, y, volume, voxels)
        return terms, [], [shifted.detach(), code, noise]

    def _conditional_terms(
        self, code: Tensor, y: Tensor, volume: Tensor, voxels: Voxels
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Code, volume, triplet and code-regression terms of ẑ_cnd; the brain x̂_cnd; ẑ_rnd; ẑ_cnd.

        Args:
            code: E(x) of the same people, without gradient.
        """
        w, net = self.config.weights, self.net
        if self.config.mixup:
            share = torch.distributions.Beta(0.4, 0.4).sample((len(y), 1)).to(y.device)
            order = torch.randperm(len(y), device=y.device)
            y = share * y + (1 - share) * y[order]
            volume = share * volume + (1 - share) * volume[order]
            code = share * code + (1 - share) * code[order]
        if self.config.feature_noise:
            y = y + self.config.feature_noise * torch.randn_like(y)
        noise = torch.randn_like(code)
        shift = net["prior"](y)
        noise = self.model.prior.narrow(noise)
        shifted = noise + shift
        conditioned = net["generator"](shifted, *voxels)
        found = volumes_ml(conditioned, voxels[0])
        terms = {
            "code": -w.code * net["code_discriminator"](shifted).mean(),
            "volume": w.volume * volume_l1(found, volume),
        }
        if self.done % self.config.triplet_every == 0:
            wrong = net["prior"](y + torch.randn_like(y))
            other = volumes_ml(net["generator"](noise + wrong, *voxels), voxels[0])
            weight = w.triplet * self.config.triplet_every
            terms["triplet"] = weight * volume_triplet(volume, found, other)
        if w.code_regression:
            terms["code_regression"] = w.code_regression * (shift - code).square().mean()
        return terms, conditioned, noise, shifted

    def _train_discriminator(self, real: Tensor, fakes: list[Tensor]) -> float:
        """Eq. 7 and 14: real brains up, both kinds of made ones down, unit gradients between."""
        critic = self.net["discriminator"]
        loss = -2.0 * critic(real).mean()
        for fake in fakes:
            share = torch.rand(len(real), device=real.device)
            loss = loss + critic(fake).mean()
            loss = loss + self.config.weights.penalty * gradient_penalty(critic, real, fake, share)
        self._descend(loss, self.image, ("discriminator",))
        return float(loss.detach())

    def _train_code_discriminator(self, codes: list[Tensor]) -> float:
        """Eq. 8 and 15: draws of the prior up, codes of brains and of features down."""
        critic, noise, made = self.net["code_discriminator"], codes[-1], codes[:-1]
        loss = -float(len(made)) * critic(noise).mean()
        if len(made) == 2:  # noise is the very draw that was shifted: judge against a fresh one
            noise = torch.randn_like(noise)
            loss = -2.0 * critic(noise).mean()
        for code in made:
            share = torch.rand(len(noise), device=noise.device)
            loss = loss + critic(code).mean()
            loss = loss + self.config.weights.penalty * gradient_penalty(critic, noise, code, share)
        self._descend(loss, self.code, ("code_discriminator",))
        return float(loss.detach())

    def _descend(self, loss: Tensor, optimiser: Any, names: tuple[str, ...]) -> None:
        """One step of one optimiser; gradients that reached other networks on the way are dropped."""
        for network in self.net.values():
            network.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        moved = [p for n in names for p in getattr(self.model, n).parameters() if p.grad is not None]
        nn.utils.clip_grad_value_(moved, self.config.clip)
        optimiser.step()

    def _set_rates(self, stage: Stage, through: float) -> None:
        fall = 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * through))
        rates = (stage.rate, STRAIGHT_RATE * stage.rate, stage.rate, self.config.prior_rate)
        for group, rate in zip(self.main.param_groups, rates, strict=True):
            group["lr"] = fall * rate

    # ----------------------------------------------------------- validation

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Volume errors on the validation people, of the mean over `VALIDATION_DRAWS` draws, averaged weights."""
        resolution = self.config.stage_at(self.done - 1)[0].resolution
        rows = torch.from_numpy(self.people.validation)
        module = self.averaged.module
        prior, generator = module["prior"].eval(), module["generator"].eval()  # type: ignore[index]
        noise = self.model.draw(VALIDATION_DRAWS, seed=12345).to(self.features.device)
        found = []
        for row in rows:
            codes = prior.condition(noise, self.features[row : row + 1])
            found.append(volumes_ml(generator(codes, resolution), resolution).mean(dim=0))
        predicted, true = torch.stack(found)[:, :3].cpu(), self.people.volumes_ml[rows][:, :3]
        prior.train()
        generator.train()
        report = {}
        for k, name in enumerate(("wm", "gm", "csf")):
            error = (predicted[:, k] - true[:, k]).abs()
            report[f"validation_mape_{name}"] = float((error / true[:, k]).mean() * 100)
            stacked = torch.stack([predicted[:, k], true[:, k]])
            report[f"validation_r_{name}"] = float(torch.corrcoef(stacked)[0, 1]) if len(rows) > 2 else 0.0
        return report

    # ------------------------------------------------------------ in and out

    def state(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {
            "config": json.dumps(self.config.to_dict(), sort_keys=True),
            "shapes": json.dumps(self.model.config.to_dict(), sort_keys=True),
            "done": self.done,
            "model": dict(self.model.state_dict()),
            "averaged": dict(self.averaged.state_dict()),
            "main": self.main.state_dict(),
            "image": self.image.state_dict(),
            "code": self.code.state_dict(),
        }

    def inherit(self, path: Path) -> None:
        """Take over the networks of another run, averaged where it has averages.

        Tensors that it lacks, or has in other shapes, stay as they are.

        Raises:
            PackError: the checkpoint cannot be read.
            CSegSynthError: it has no generator of these shapes.
        """
        found = checkpoint.read(path)
        averaged = {k.removeprefix("module."): v for k, v in found.get("averaged", {}).items()}
        state = found["model"] | averaged
        own = self.model.state_dict()
        fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        if self.config.fresh_prior:
            fitting = {k: v for k, v in fitting.items() if not k.startswith("prior.")}
        if not any(k.startswith("generator.") for k in fitting):
            raise CSegSynthError(
                f"{path} holds no generator of this preset", fix="use a run of the same preset"
            )
        logger.info("inherited %d of %d tensors from %s", len(fitting), len(own), path)
        self.model.load_state_dict(fitting, strict=False)
        for name, network in self.averaged.module.named_children():
            network.load_state_dict(getattr(self.model, name).state_dict())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CSegSynthError if it was made with other settings."""
        state = checkpoint.read(path)
        if state["config"] != json.dumps(self.config.to_dict(), sort_keys=True):
            raise CSegSynthError(
                f"the run in {path.parent} was started with other settings",
                expected=state["config"],
                got=json.dumps(self.config.to_dict(), sort_keys=True),
                fix="use another folder, or the same settings",
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for name in ("main", "image", "code"):
            getattr(self, name).load_state_dict(state[name])
        self.done = int(state["done"])


class _Log:
    """`metrics.csv` (long form: step, name, value) and TensorBoard; rows past the checkpoint are cut on resume."""

    def __init__(self, out: Path, done: int) -> None:
        path = out / "metrics.csv"
        rows: list[list[str]] = []
        if path.is_file() and done:
            with path.open(newline="") as file:
                rows = [r for r in list(csv.reader(file))[1:] if int(r[0]) <= done]
        self.file = path.open("w", newline="")
        self.csv = csv.writer(self.file)
        self.csv.writerows([["step", "name", "value"], *rows])
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=done)
        self.started = time.perf_counter()

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.csv.writerow([step, name, repr(value)])
            self.board.add_scalar(name, value, step)

    def flush(self) -> None:
        self.file.flush()
        self.board.flush()

    def close(self) -> None:
        self.file.close()
        self.board.close()
