"""The loop that trains every model: batches, phases, averaged weights, validation, logs, checkpoints.

What differs between families is a `Method` (`train/vae.py`, `gan.py`, `ldm.py`, `csegsynth.py`): its optimisers, how
it starts, and the phases of one step, each a loss and the optimiser that descends it. All randomness of a step comes
from (seed, step), so that a run that was killed goes on exactly as it would have; and it is drawn for the whole batch
and then cut, so that several processes, or several parts of a batch one after the other, do what one process does
with one batch.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.blocks import dropout_drawn
from csegsynth_core.models.family import UNCONDITIONAL, ConditionalModel, Offset, family
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train import checkpoint, run_folder
from train.config import Stage, TrainConfig, completed
from train.people import People, gather, maps_of
from train.pictures import write_pictures

logger = logging.getLogger(__name__)

COMPARED = 6
"""Validation people whose maps are compared voxel by voxel."""
VALIDATION_SEED = 12345
UNCONDITIONAL_DRAWS = 16
"""Brains that an unconditional model makes to be judged by their volumes."""
LARGEST_LOSS = 1e7
"""A term beyond this has diverged."""
TIMED_BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}{postfix}]"
"""Progress bar under a budget of minutes, in `tqdm`'s notation."""

Voxels = tuple[int, Offset]
"""Resolution and offset of the voxels that a step looks at."""


@dataclass
class Batch:
    """What one process sees in one part of a step: n people of the step's `total`."""

    rows: NDArray[np.int64]
    """Of the cohort."""
    real: Tensor
    """(n, 4, i, j, k) maps; empty where the method needs none."""
    y: Tensor
    """(n, features)."""
    volume: Tensor
    """(n, 4) mL."""
    voxels: Voxels
    step: int
    total: int
    own: slice
    """Which of the step's people these are."""

    def normal_like(self, x: Tensor) -> Tensor:
        """N(0, I) in the shape of `x`, whose first axis is people."""
        return torch.randn(self.total, *x.shape[1:])[self.own].to(x.device)

    def uniform_like(self, x: Tensor) -> Tensor:
        """U[0, 1) in the shape of `x`, whose first axis is people."""
        return torch.rand(self.total, *x.shape[1:])[self.own].to(x.device)

    def uniform(self) -> Tensor:
        """U[0, 1], one for each person."""
        return torch.rand(self.total)[self.own].to(self.y.device)

    def integers(self, below: int) -> Tensor:
        """Whole numbers from 0 on, one for each person."""
        return torch.randint(below, (self.total,))[self.own].to(self.y.device)


@dataclass
class Phase:
    """One descent of a step: an optimiser and the terms whose sum it descends."""

    optimiser: str
    terms: dict[str, Tensor]
    """Each is logged under its name."""


class Method:
    """How a family is trained. Subclasses live one to a file.

    Args:
        model: with its training networks.
    """

    moves: ClassVar[dict[str, tuple[str, ...]]]
    """Optimiser → names of the networks that it moves."""

    def __init__(self, model: Any, config: TrainConfig, people: People) -> None:
        self.model, self.config, self.people = model, config, people
        self.optimisers = self.make_optimisers()

    def make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by name."""
        raise NotImplementedError

    def start(self, engine: Engine, *, progress: bool) -> None:
        """Put an untrained model where its training starts."""

    def begin_stage(self, engine: Engine, stage: Stage) -> None:
        """Called before a stage's first step in this process, also after resuming within it."""

    def before_step(self, engine: Engine, stage: Stage, within: int) -> None:
        """Called before every step, after its people have been drawn."""

    def set_rates(self, stage: Stage, fall: float) -> None:
        """Set learning rates; `fall` goes from 1 to 0.1 through the stage."""
        raise NotImplementedError

    def needs_maps(self, stage: Stage) -> bool:
        """Whether steps of this stage look at maps."""
        return True

    def phases(self, batch: Batch, stage: Stage) -> Iterator[Phase]:
        """The phases of one step in order; what follows a `yield` runs after that optimiser's step."""
        raise NotImplementedError

    def validate(self, engine: Engine, stage: Stage) -> dict[str, float] | None:
        """Another measure than volumes, for stages whose networks cannot generate yet."""
        return None

    def parameters_of(self, *names: str) -> list[nn.Parameter]:
        """Parameters of sub-networks, or sub-parameters, by name; those that the model lacks are left out."""
        out: list[nn.Parameter] = []
        for name in names:
            found = getattr(self.model, name, None)
            if isinstance(found, nn.Parameter):
                out.append(found)
            elif found is not None:
                out += list(found.parameters())
        return out


def launch(config: TrainConfig) -> Fabric:
    """Processes and precision: under `torchrun` one process for each device, otherwise one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    precision = {"auto": "bf16-mixed" if gpu else "32-true", "mixed": "bf16-mixed", "full": "32-true"}[
        config.precision
    ]
    torch.backends.cudnn.allow_tf32 = config.precision != "full"  # else a GPU's convolutions keep 10 bits
    if world == 1:
        fabric = Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    else:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        fabric = Fabric(
            accelerator="gpu" if gpu else "cpu",
            devices=local,
            num_nodes=world // local,
            strategy="ddp",
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric


def device_said(device: torch.device) -> str:
    """What trains, in words: the GPU's name, or how many threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


class Engine:
    """State of a run: model, method, averaged weights, steps done, minutes used."""

    def __init__(
        self, model: ConditionalModel, method: Method, people: People, config: TrainConfig, fabric: Fabric
    ) -> None:
        self.model, self.method, self.people, self.config, self.fabric = model, method, people, config, fabric
        self.done, self.stage_index, self.within = 0, 0, 0
        self.stage_steps = [0] * len(config.stages)
        self.seconds, self.stage_seconds, self.start_seconds = 0.0, 0.0, 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score, self.waited = -math.inf, 0
        self._begun: Stage | None = None
        for module in model.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.features = fabric.to_device(people.features)
        self.volumes = fabric.to_device(people.volumes_ml)
        self.averages = 0
        self.averaged = {k: v.detach().clone() for k, v in model.generating_state().items()}
        with torch.random.fork_rng(devices=[]):  # the same model once more, to validate averaged weights
            self.smooth = family(model.family).from_config(model.config.to_dict())
        self.smooth.to(fabric.device).eval().requires_grad_(False)

    # ------------------------------------------------------------- one step

    @property
    def share_of_process(self) -> int:
        """People of a step that this process sees."""
        return self.config.batch * self.config.accumulate

    def rows(self, stage: Stage) -> NDArray[np.int64]:
        """Whom a stage trains on: everybody but the validation people, or those of them who have features."""
        if stage.kind in ("pretrain", "autoencoder"):
            return np.concatenate([self.people.train, self.people.images_only])
        return self.people.train

    def maps(self, rows: NDArray[np.int64] | list[int], voxels: Voxels = (1, (0, 0, 0))) -> Tensor:
        """Maps of some people inside the model's region."""
        return self.fabric.to_device(maps_of(self.people.cohort, rows, self.model.region, *voxels))

    def told_by_maps(
        self, rows: Iterable[int], tell: Callable[[Tensor], Float[Tensor, "1 ..."]]
    ) -> Float[Tensor, "n ..."]:
        """What each of some people's maps tell, in one block of memory.

        Small tensors that are kept while maps come and go would each take a place where the next maps might lie.
        """
        chosen, out = [int(row) for row in rows], torch.zeros(0)
        for k, row in enumerate(chosen):
            told = tell(self.maps([row]))[0]
            if k == 0:
                out = told.new_empty(len(chosen), *told.shape)
            out[k] = told
        return out

    def step(self) -> dict[str, float]:
        """Train on one batch; returns the losses."""
        stage, through = self._now()
        begins = self._begun is not stage
        if begins:
            self.method.begin_stage(self, stage)
            self._begun = stage
        torch.manual_seed(self.config.seed * 1_000_003 + self.done)
        rows = self.rows(stage)
        total = self.share_of_process * self.fabric.world_size
        chosen = rows[torch.randint(len(rows), (total,)).numpy()]
        offset = tuple(int(v) for v in torch.randint(2, (3,))) if stage.resolution > 1 else (0, 0, 0)
        flip = torch.rand(total) < 0.5 if self.config.flips else None
        self.method.before_step(self, stage, self.within)
        self.method.set_rates(stage, 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * through)))
        if begins:
            self._share_weights()
        batches, parts, states = [], [], []
        for part in range(self.config.accumulate):
            first = (part * self.fabric.world_size + self.fabric.global_rank) * self.config.batch
            own = slice(first, first + self.config.batch)
            batch = self._batch(chosen, own, (stage.resolution, offset), flip, stage)  # type: ignore[arg-type]
            batches.append(batch)
            parts.append(self.method.phases(batch, stage))
            states.append(torch.get_rng_state())
        report: dict[str, float] = {}
        while True:
            self.model.zero_grad(set_to_none=True)
            phase: Phase | None = None
            for k, part_of_step in enumerate(parts):
                torch.set_rng_state(states[k])
                with self.fabric.autocast(), dropout_drawn(self.model, batches[k].uniform_like):
                    phase = next(part_of_step, None)
                if phase is None:
                    break
                loss = sum(phase.terms.values(), torch.zeros((), device=self.fabric.device))
                self.fabric.backward(loss / len(parts))
                states[k] = torch.get_rng_state()
                for name, value in phase.terms.items():
                    report[name] = report.get(name, 0.0) + float(value.detach()) / len(parts)
            if phase is None:
                break
            self._descend(phase.optimiser)
        self._average()
        self.done += 1
        self.within += 1
        self.stage_steps[self.stage_index] += 1
        return self._mean_over_processes(report)

    def _batch(
        self, chosen: NDArray[np.int64], own: slice, voxels: Voxels, flip: Tensor | None, stage: Stage
    ) -> Batch:
        rows = chosen[own]
        index = torch.from_numpy(rows)
        real = self.maps(rows, voxels) if self.method.needs_maps(stage) else torch.zeros(())
        if flip is not None and real.dim():  # (of every second voxel: moved by one, which training bears)
            turned = flip[own].to(real.device).view(-1, 1, 1, 1, 1)
            real = torch.where(turned, real.flip(2), real)
        return Batch(
            rows, real, self.features[index], self.volumes[index], voxels, self.done, len(chosen), own
        )

    @torch.no_grad()
    def _share_weights(self) -> None:
        """The first process's weights and averages for all: rounding may differ in what each of them has fitted."""
        if self.fabric.world_size == 1:
            return
        for tensor in (*self.model.state_dict().values(), *self.averaged.values()):
            whole = tensor.contiguous()
            torch.distributed.broadcast(whole, src=0)
            tensor.copy_(whole)

    def _descend(self, name: str) -> None:
        """One step of one optimiser; gradients that reached other networks on the way are dropped."""
        optimiser = self.method.optimisers[name]
        moved = [p for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
        if self.fabric.world_size > 1:
            flat = torch.cat([p.grad.flatten() for p in moved])  # type: ignore[union-attr]
            flat = self.fabric.all_reduce(flat, reduce_op="mean")  # type: ignore[assignment]
            for p, grad in zip(moved, flat.split([p.numel() for p in moved]), strict=True):
                p.grad = grad.view_as(p).contiguous()
        nn.utils.clip_grad_value_(moved, self.config.clip)
        optimiser.step()

    def _mean_over_processes(self, report: dict[str, float]) -> dict[str, float]:
        if self.fabric.world_size == 1 or not report:
            return report
        values = torch.tensor(list(report.values()), device=self.fabric.device)
        values = self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[assignment]
        return dict(zip(report, values.tolist(), strict=True))

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of what generates; fixed tensors are copied."""
        decay = min(self.config.average_decay, (1.0 + self.averages) / (10.0 + self.averages))
        parameters = {n for n, _ in self.model.named_parameters()}
        for name, now in self.model.generating_state().items():
            mean = self.averaged[name]
            if self.averages and name in parameters:
                mean.copy_(mean * decay + now * (1.0 - decay))
            else:
                mean.copy_(now)
        self.averages += 1

    def restart_average(self, network: str = "") -> None:
        """The averages, of one network or of all, follow from the weights as they are now."""
        for name, now in self.model.generating_state().items():
            if name.startswith(network):
                self.averaged[name].copy_(now)

    # ------------------------------------------------------- stages and time

    def _now(self) -> tuple[Stage, float]:
        """The stage of the next step, and how far through it is in [0, 1)."""
        stage = self.config.stages[self.stage_index]
        through = self.within / max(stage.steps, 1)
        if allowed := self._allowed(stage):
            through = max(through, min(self.stage_seconds / allowed, 0.999))
        return stage, through

    def _allowed(self, stage: Stage) -> float:
        """Seconds that a stage may take: its share of what the start has left; 0: as many as its steps need."""
        if not self.config.minutes:
            return 0.0
        shares = sum(s.share or s.steps for s in self.config.stages)
        left = max(60.0 * self.config.minutes - self.start_seconds, 1e-3)
        return left * (stage.share or stage.steps) / shares

    def _advance(self) -> bool:
        """Go to the next stage where one is over; False when none is left."""
        while self.stage_index < len(self.config.stages):
            stage = self.config.stages[self.stage_index]
            allowed = self._allowed(stage)
            if self.within < stage.steps and (not allowed or self.stage_seconds < allowed):
                return True
            self.stage_index += 1
            self.within, self.stage_seconds = 0, 0.0
        return False

    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return not self._advance()

    def spend(self, seconds: float) -> None:
        """Count time against the budget; with several processes the first one's clock counts for all."""
        if self.config.minutes:
            seconds = self.fabric.broadcast(seconds)
        self.seconds += seconds
        self.stage_seconds += seconds

    # ----------------------------------------------------------- validation

    def stage_before(self) -> Stage:
        """The stage of the last step."""
        return self.config.stages[self._index_before()]

    def _index_before(self) -> int:
        """Which stage the last step was of; at a stage's end the next one is already due."""
        if self.within:
            return self.stage_index
        return _last_trained(self.config.stages[: self.stage_index])

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How near volumes of averaged weights are to the validation people's.

        A conditional model after pre-training: errors and correlations of the mean over `validation_draws` draws.
        Otherwise the mean and spread of generated volumes against theirs, or what the method measures instead.
        """
        stage = self.stage_before()
        if (other := self.method.validate(self, stage)) is not None:
            return other
        self.smooth.load_state_dict(self.averaged)
        resolution = stage.resolution if stage.resolution in self.smooth.resolutions else 1
        true = self.people.volumes_ml[torch.from_numpy(self.people.validation)][:, : len(TISSUES)]
        if not self.model.conditional:
            noise = self.smooth.draw(UNCONDITIONAL_DRAWS, VALIDATION_SEED).to(self.features.device)
            y = self.features[:1]
            made = torch.cat([volumes_ml(self.smooth(y, z[None], resolution), resolution) for z in noise])
            return _spread_errors(made[:, : len(TISSUES)].cpu(), true)
        noise = self.smooth.draw(self.config.validation_draws, VALIDATION_SEED).to(self.features.device)
        found = []
        for row in self.people.validation:
            y = self.features[int(row)].expand(len(noise), -1)
            found.append(volumes_ml(self.smooth(y, noise, resolution), resolution).mean(dim=0))
        predicted = torch.stack(found)[:, : len(TISSUES)].cpu()
        report = {}
        for k, name in enumerate(TISSUES):
            error = (predicted[:, k] - true[:, k]).abs()
            report[f"validation_mape_{name}"] = float((error / true[:, k]).mean() * 100)
            stacked = torch.stack([predicted[:, k], true[:, k]])
            r = torch.corrcoef(stacked)[0, 1] if len(true) > 2 else torch.zeros(())
            report[f"validation_r_{name}"] = float(r.nan_to_num())  # nan: everybody has the same volume
        return report | {"validation_map_difference": self._map_difference(resolution)}

    def _map_difference(self, resolution: int) -> float:
        """Mean absolute difference of some validation people's maps and their brains without noise.

        Volumes alone would not tell that a brain lies beside its place.
        """
        found = []
        for row in self.people.validation[:COMPARED]:
            y = self.features[int(row)][None]
            typical = self.smooth(y, self.smooth.draw(1, 0).to(y.device), resolution)
            real = maps_of(self.people.cohort, [int(row)], self.smooth.region, resolution)
            found.append(float((typical.cpu() - real).abs().mean()))
        return float(np.mean(found))

    def judge(self, report: dict[str, float]) -> bool:
        """Remember the best averaged weights of the last stage; False when `patience` validations brought nothing
        better.

        The score is the mean validation correlation of the three volumes, as in the reference, or for models
        without features minus the mean error.
        """
        values = [v for k, v in report.items() if k.startswith("validation_r_")]
        values = values or [-v for k, v in report.items() if k.startswith("validation_")]
        last_stage = self._index_before() == _last_trained(self.config.stages)
        if not values or not last_stage or not all(math.isfinite(v) for v in values):
            return True
        score = sum(values) / len(values)
        if score > self.best_score:
            self.best_score, self.waited = score, 0
            if self.config.select == "best":
                self.best = {k: v.clone() for k, v in self.averaged.items()}
        else:
            self.waited += 1
        return not self.config.patience or self.waited < self.config.patience

    # ------------------------------------------------------------ in and out

    def finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(v).all()) for v in self.model.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, and `averaged`: the weights to ship (the best ones under select=best)."""
        return {
            "config": json.dumps(self.config.to_dict(), sort_keys=True),
            "shapes": json.dumps(self.model.config.to_dict(), sort_keys=True),
            "done": self.done,
            "stage": [self.stage_index, self.within],
            "stage_steps": self.stage_steps,
            "seconds": [self.seconds, self.stage_seconds, self.start_seconds],
            "device": device_said(self.fabric.device),
            "model": dict(self.model.state_dict()),
            "averaged": self.best or self.averaged,
            "averaging": self.averaged if self.best else {},
            "averages": self.averages,
            "best": [self.best_score if math.isfinite(self.best_score) else -1e9, self.waited],
            "optimisers": {k: o.state_dict() for k, o in self.method.optimisers.items()},
        }

    def inherit(self, found: Mapping[str, Any], run: Path) -> list[str]:
        """Take over the networks of another run, averaged where it has averages (paper, Fig. 1).

        Tensors that it lacks, or has in other shapes, stay as they are.

        Args:
            found: the other run's checkpoint.
            run: its folder, for messages.

        Returns:
            Names of the tensors that were taken over.

        Raises:
            CSegSynthError: it is of a model that this one does not start from, has another template, or has none of
                the networks that generate, in these shapes.
        """
        made = json.loads(found.get("config", "{}"))
        theirs = made.get("model", "csegsynth")
        starts = {self.config.model, UNCONDITIONAL.get(self.config.model)} - {None}
        if theirs not in starts:
            raise CSegSynthError(
                f"{self.config.model} does not start from {theirs} (paper, Fig. 1)",
                expected=f"a run of {' or '.join(sorted(str(one) for one in starts))}",
                got=f"{run}, a run of {theirs}",
                fix=f"python -m train pretrain {UNCONDITIONAL.get(self.config.model, self.config.model)} …",
            )
        share = made.get("template_t1", 0.0)
        if share != self.config.template_t1:
            raise CSegSynthError(
                f"{run} has another template",
                expected=f"template_t1={self.config.template_t1:g}, as in this run's settings",
                got=f"template_t1={share:g}",
                fix=f"--set template_t1={share:g}, or a run to start from that has this one's",
            )
        averaged = {k.removeprefix("module."): v for k, v in found.get("averaged", {}).items()}
        state = found["model"] | averaged
        own = self.model.state_dict()
        fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        if self.config.fresh_prior:
            fitting = {k: v for k, v in fitting.items() if not k.startswith("prior.")}
        unlike = [k for k in self.model.generating_state() if k in state and own[k].shape != state[k].shape]
        if unlike or not any(k in fitting for k in self.model.generating_state()):
            raise CSegSynthError(
                f"{run} holds no generator of this preset",
                expected=f"a run of preset {self.config.preset!r} that {self.model.family} can start from",
                got=f"{theirs}, preset {made.get('preset')!r}"
                + (
                    f"; {unlike[0]} is {tuple(state[unlike[0]].shape)}, not {tuple(own[unlike[0]].shape)}"
                    if unlike
                    else ""
                ),
                fix="use a run of the same preset and networks",
            )
        logger.info("inherited %d of %d tensors from %s", len(fitting), len(own), run)
        self.model.load_state_dict(fitting, strict=False)
        self.restart_average()
        return sorted(fitting)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CSegSynthError if it was made with other settings."""
        state = checkpoint.read(path)
        theirs, ours = completed(json.loads(state["config"])), json.loads(json.dumps(self.config.to_dict()))
        if theirs != ours or "optimisers" not in state:
            apart = sorted(k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k))
            raise CSegSynthError(
                f"the run in {path.parent} was started with other settings",
                expected=", ".join(f"{k}={theirs.get(k)}" for k in apart) or "a run of this version",
                got=", ".join(f"{k}={ours.get(k)}" for k in apart),
                fix="use another folder, or the same settings",
            )
        try:
            self.model.load_state_dict(state["model"])
            for name, optimiser in self.method.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CSegSynthError(
                f"the run in {path.parent} is of another version: its networks differ from this one's",
                expected="a checkpoint with this version's tensors",
                got=str(error).splitlines()[0][:200],
                fix="start in another folder, or go on with the version that began it",
            ) from error
        shipped, averaging = state["averaged"], state["averaging"]
        self.best = dict(shipped) if averaging else {}
        for name, value in (averaging or shipped).items():
            self.averaged[name].copy_(value)
        self.averages = int(state["averages"])
        self.best_score, self.waited = float(state["best"][0]), int(state["best"][1])
        self.done = int(state["done"])
        self.stage_index, self.within = (int(v) for v in state["stage"])
        self.stage_steps = [int(v) for v in state.get("stage_steps", self.stage_steps)]
        self.seconds, self.stage_seconds, self.start_seconds = (float(v) for v in state["seconds"])


def _last_trained(stages: Sequence[Stage]) -> int:
    """Index of the last stage that has steps; 0 where none has."""
    return max((k for k, stage in enumerate(stages) if stage.steps), default=0)


def _spread_errors(made: Tensor, true: Tensor) -> dict[str, float]:
    out = {}
    for k, name in enumerate(TISSUES):
        mean = true[:, k].mean()
        out[f"validation_mean_error_{name}"] = float((made[:, k].mean() - mean).abs() / mean * 100)
        out[f"validation_spread_error_{name}"] = float(
            (made[:, k].std() / true[:, k].std() - 1.0).abs() * 100
        )
    return out


def open_people(cohort_folder: Path, config: TrainConfig) -> People:
    """The cohort's people, split; without features for a model that takes none and a cohort that has none.

    Raises:
        CSegSynthError: the cohort cannot be trained on.
    """
    with torch.device("meta"):
        shapes = config.shapes(1 if config.conditional else 0)
        region = family(config.model).from_config(shapes.to_dict()).region
    return gather(
        Cohort.open(cohort_folder),
        region,
        config.validation_fraction,
        config.seed,
        features_needed=config.conditional,
    )


def build(people: People, config: TrainConfig, fabric: Fabric | None = None) -> Engine:
    """A new run's state, before its start."""
    from train.methods import method_of

    fabric = fabric or launch(config)
    torch.manual_seed(config.seed)
    width = people.features.shape[1] if config.conditional else 0
    model = family(config.model)(config.shapes(width), training_networks=True)  # type: ignore[call-arg,arg-type]
    model.to(fabric.device)
    return Engine(model, method_of(config.model)(model, config, people), people, config, fabric)


def train(
    cohort_folder: Path,
    out: Path,
    config: TrainConfig,
    *,
    progress: bool = True,
    stop_after: int = 0,
    start_from: Path | None = None,
) -> Path:
    """Train a model on a prepared cohort, or go on with a run that was stopped.

    Args:
        cohort_folder: made by `prepare` or `simulate`.
        out: folder of the run: `config.json`, `split.json`, `metrics.csv`, `checkpoint.safetensors`, `pictures/`,
            TensorBoard.
        config: settings; a run is resumed only with the same ones.
        stop_after: stop after so many steps of this call (0: to the end); a later call goes on as if there had been
            no stop.
        start_from: folder of another run; a new run starts from its networks.

    Returns:
        Path of the last checkpoint.

    Raises:
        CSegSynthError: the cohort cannot be trained on, the run has other settings or was begun on other people, or
            the loss diverged.
    """
    if stop_after < 0:
        raise CSegSynthError(
            "unusable number of steps", expected="0 (to the end) or more", got=str(stop_after)
        )
    people = open_people(cohort_folder, config)
    engine = build(people, config)
    first = engine.fabric.global_rank == 0
    out.mkdir(parents=True, exist_ok=True)
    path = out / run_folder.CHECKPOINT
    clock = time.perf_counter()
    resuming = bool(engine.fabric.broadcast(path.is_file()))
    if resuming:
        engine.resume(path)
        run_folder.check_split(out, people)
    else:
        if start_from is None:
            engine.method.start(engine, progress=progress and first)
            engine.restart_average()
        else:
            run_folder.check_unseen(people, start_from)
            source = checkpoint.read(start_from / run_folder.CHECKPOINT)
            taken = engine.inherit(source, start_from)
            if first:
                run_folder.write_inherited(out, start_from, taken, source)
        engine.seconds = engine.start_seconds = engine.fabric.broadcast(time.perf_counter() - clock)
        if first:
            write_text(out / "config.json", json.dumps(config.to_dict(), indent=1))
            run_folder.write_split(out, people)
            checkpoint.write(path, engine.state())  # the start takes minutes: a run that is killed keeps it
    log = Log(out, engine.done) if first else None
    end = config.total_steps if not stop_after else min(config.total_steps, engine.done + stop_after)
    counted, total = _counted(engine, end)
    bar = tqdm(
        initial=counted,
        total=total,
        unit="step",
        bar_format=TIMED_BAR if config.minutes else None,
        disable=not progress or not first,
    )
    try:
        while engine.done < end and not engine.ended():
            clock = time.perf_counter()
            losses = engine.step()
            engine.spend(time.perf_counter() - clock)
            _check(losses, engine, path)
            ended = engine.ended()
            last = ended or engine.done == end
            bar.update(_counted(engine, end)[0] - bar.n)
            if engine.done % config.log_every == 0:
                shown = {k: f"{losses[k]:.3g}" for k in config.shown if k in losses}
                if config.minutes:
                    shown["step"] = str(engine.done)
                bar.set_postfix(shown)
                if log:
                    log.write(engine.done, losses)
            go_on = True
            if engine.done % config.validate_every == 0 or ended:  # not where a run is only interrupted
                clock = time.perf_counter()
                report = engine.validate()
                go_on = engine.fabric.broadcast(engine.judge(report))  # one verdict for all processes
                engine.spend(time.perf_counter() - clock)
                if log:
                    log.write(engine.done, report)
            if log and config.pictures_every and (engine.done % config.pictures_every == 0 or last):
                log.picture(engine.done, write_pictures(engine, out / "pictures"))
            if engine.done % config.save_every == 0 or last or not go_on:
                _check_weights(engine, path)
                if log:
                    log.flush()
                    checkpoint.write(path, engine.state())
            if not go_on:
                logger.info(
                    "stopped at step %d: %d validations brought nothing better", engine.done, engine.waited
                )
                break
    finally:
        bar.close()
        if log:
            log.close()
        if first:
            run_folder.write_time(out, engine.done, engine.seconds)
    engine.fabric.barrier()  # others may read it
    return path


def _counted(engine: Engine, end: int) -> tuple[float, float]:
    """What the progress bar counts, and of how many: steps, or seconds of the budget.

    Where steps run out sooner than the budget, the share of them that is done counts for as much of its seconds.

    Args:
        end: the last step of this call.
    """
    if not engine.config.minutes:
        return engine.done, end
    budget = 60.0 * engine.config.minutes
    return min(max(engine.seconds, budget * engine.done / max(end, 1)), budget), budget


def _check(losses: dict[str, float], engine: Engine, path: Path) -> None:
    if not all(math.isfinite(v) and abs(v) < LARGEST_LOSS for v in losses.values()):
        raise CSegSynthError(
            f"training diverged at step {engine.done}",
            expected="finite losses",
            got=", ".join(f"{k}={v:.3g}" for k, v in losses.items()),
            fix=f"the last good checkpoint is {path}; lower the learning rate and start a new run",
        )


def _check_weights(engine: Engine, path: Path) -> None:
    if not engine.finite():
        raise CSegSynthError(
            f"training diverged at step {engine.done}",
            expected="finite weights",
            got="weights that are not numbers",
            fix=f"the last good checkpoint is {path}; lower the learning rate and start a new run",
        )


class Log:
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
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add numbers by name."""
        for name, value in values.items():
            self.csv.writerow([step, name, repr(value)])
            self.board.add_scalar(name, value, step)

    def picture(self, step: int, rgb: NDArray[np.uint8]) -> None:
        """Add a picture, (rows, columns, 3), to TensorBoard."""
        self.board.add_image("brains", rgb, step, dataformats="HWC")

    def flush(self) -> None:
        """Put everything on disk."""
        self.file.flush()
        self.board.flush()

    def close(self) -> None:
        """Close both."""
        self.file.close()
        self.board.close()
