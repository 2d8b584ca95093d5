"""Settings of a training run: one typed object, saved with the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import torch

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.family import UNCONDITIONAL, Shapes, family


@dataclass(frozen=True)
class Range:
    """Which numbers a setting may be."""

    least: float = 0.0
    most: float = math.inf
    above: bool = False
    """Whether `least` itself is too little."""

    def __contains__(self, value: float) -> bool:
        enough = value > self.least if self.above else value >= self.least
        return math.isfinite(value) and enough and value <= self.most

    def __str__(self) -> str:
        first = f"above {self.least:g}" if self.above else f"of at least {self.least:g}"
        return first + (f" and at most {self.most:.10g}" if math.isfinite(self.most) else "")


_COUNTS = (
    *("batch", "accumulate", "critic_every", "critic_steps", "triplet_every", "log_every", "validate_every"),
    *("save_every", "validation_draws", "width", "latent", "hidden", "code_width", "latent_channels"),
    *("unet_width", "unet_levels", "groups"),
)
RANGES: Final[Mapping[str, Range]] = {name: Range(1) for name in _COUNTS} | {
    "seed": Range(0, 2**32 - 1),
    "validation_fraction": Range(0, 0.5, above=True),
    "component_people": Range(2),
    "average_decay": Range(0, 1),
    "template_t1": Range(0, 1),
    "clip": Range(0, above=True),
    "sampling_steps": Range(1, 1000),
    "dropout": Range(0, 0.99),
}
"""Numbers that settings and shapes may be, by name; of the others 0 or more, where 0 is none or never."""


def _check(owner: Any, where: str = "") -> None:
    """Refuse choices that there are not and numbers that are out of range or not whole.

    Args:
        owner: settings or shapes.
        where: what stands before the names of its fields on the command line.

    Raises:
        CSegSynthError: a value cannot be used.
    """
    for name, kind in get_type_hints(type(owner)).items():
        value = getattr(owner, name)
        if get_origin(kind) is Literal:
            good, expected = value in get_args(kind), " or ".join(str(v) for v in get_args(kind))
        elif kind is bool:
            good, expected = isinstance(value, bool), "true or false"
        elif kind in (int, float):
            allowed = RANGES.get(name, Range())
            number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
            good = number and value in allowed
            expected = f"a {'whole number' if kind is int else 'number'} {allowed}"
        else:
            continue
        if not good:
            raise CSegSynthError(
                f"setting {where}{name} cannot be used",
                expected=expected,
                got=repr(value),
                fix="give such a value, or leave the setting out for the preset's",
            )


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Raises:
        CSegSynthError: a value cannot be used.
    """

    kind: Literal["pretrain", "finetune", "prior", "autoencoder"]
    """`pretrain`: without features: VAE (Eq. 2), GAN (Eq. 3–4), LDM (Eq. 5), α-GAN (Eq. 6–8). `finetune`: with them:
    C-VAE (Eq. 9), C-GAN (Eq. 10–11), C-LDM (Eq. 12), CSegSynth (Eq. 13–15). `prior`: only those terms of Eq. 13
    that the prior network enters, and only its parameters (and the code discriminator's, Eq. 15). `autoencoder`:
    LDM's first part (section IV-B3)."""
    resolution: Literal[1, 2]
    """1: all voxels; 2: every second one along each axis, from another one in every step."""
    steps: int
    rate: float
    """Learning rate of encoder and generator at the stage's start; falls to a tenth along a cosine."""
    volume_factor: float = 1.0
    """Multiplies the weights of the volume and triplet terms in this stage."""
    share: float = 0.0
    """Of the time that `minutes` allows, relative to the other stages'; 0: its number of steps."""
    critic_rate: float = 0.0
    """Learning rate of the discriminators, of models that have any, in this stage; 0: the run's."""
    penalty: float = 0.0
    """Weight of the gradient penalties of GAN, α-GAN and their conditional forms in this stage; 0: the run's."""

    def __post_init__(self) -> None:
        _check(self, "stages.N.")
        if self.kind == "autoencoder" and self.resolution != 1:
            raise CSegSynthError(
                "an autoencoder is trained on all voxels", expected="resolution=1", got=str(self.resolution)
            )


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms. Volume terms are per mL.

    Raises:
        CSegSynthError: a weight is negative or no number.
    """

    adversarial: float
    """Of −D(x̂): 1 in the paper. Small in `compact`, where maps have unit-norm score gradients over 2.6 M values."""
    code: float
    """λ1 of Eq. 6 and 13: −C(ẑ)."""
    reconstruction: float
    """λ2 of Eq. 6, λ3 of Eq. 13: voxel-wise binary cross-entropy."""
    volume: float
    """λ2 of Eq. 13, per mL."""
    triplet: float
    """λ4 of Eq. 13, per mL."""
    penalty: float
    """λ3 and λ4 of Eq. 7–8, λ5 and λ6 of Eq. 14–15: gradient penalty."""
    code_regression: float
    """Ours, 0 in the paper: mean squared distance of P(y) to the code of the person's own brain, so that the
    prior network also learns where a feature acts (old people's ventricles), which totals cannot tell."""
    kl: float = 0.0
    """λ1 of Eq. 2 and 9, per nat of a person's whole code; of the latent volume in LDM's autoencoder."""
    perceptual: float = 0.0
    """Of LDM's autoencoder; activations of the parcellation network, since no other network ships with us."""

    def __post_init__(self) -> None:
        _check(self, "weights.")


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on, beside the cohort.

    Raises:
        CSegSynthError: a value cannot be used, alone or with the others.
    """

    preset: Literal["paper", "compact", "tiny"]
    stages: tuple[Stage, ...]
    weights: Weights
    model: str = "csegsynth"
    """Family, as in `csegsynth_core.models.family`."""
    batch: int = 8
    """People that a process sees at a time; a step has this × `accumulate` × processes."""
    accumulate: int = 1
    """Parts of a batch that one process takes one after the other, where memory is short."""
    precision: Literal["auto", "mixed", "full"] = "auto"
    """`mixed`: bfloat16 where that is safe; `auto`: mixed on a GPU."""
    minutes: float = 0.0
    """Wall-clock budget of the run, start included; what that leaves is shared among the stages. 0: none, and each
    stage has all its steps. Under a budget learning rates fall with the time used, so that a run that was stopped
    goes on, but not exactly as it would have."""
    seed: int = 0
    validation_fraction: float = 0.2
    prior_rate: float = 1e-3
    critic_rate: float = 3e-4
    code_critic_factor: float = 3.0
    """Learning rate of the code discriminator over the image discriminator's."""
    critic_every: int = 1
    """Steps of encoder and generator per step of the discriminators."""
    critic_steps: int = 1
    """GAN: steps of the discriminator per step of the generator, each on other people."""
    warm_up: int = 0
    """LDM: steps of the autoencoder before its adversarial term counts. VAE: steps of pre-training over which λ1
    rises to its value (Bowman et al. 2016), so that the decoder learns to read codes before they cost anything."""
    triplet_every: int = 1
    """Steps between uses of the triplet term, which costs a brain of its own; its weight is multiplied by this."""
    freeze_discriminator: bool = False
    """The reference keeps the image discriminator fixed while fine-tuning."""
    prior_decay: float = 0.05
    """Weight decay of the prior network."""
    mixup: bool = True
    """Ours: fine-tune on mixtures of two people's features, volumes and codes, which keeps the prior network
    near-linear between them."""
    feature_noise: float = 0.0
    """Ours: standard deviation of noise added to the standardised features while fine-tuning. Noise of variance
    s² acts like ridge regression with penalty n·s² (Bishop 1995, "Training with noise is equivalent to Tikhonov
    regularization"). For a prior network that does not start at ridge regression."""
    fresh_prior: bool = False
    """Do not inherit the prior network when starting from another run."""
    flips: bool = True
    average_steps: int = 80
    """Steps that put the untrained compact generator at the average training brain."""
    template_t1: float = 0.0
    """How much of the contrast of CSF to grey matter in the compact generator's template is told by the T1 average
    instead of tissue probabilities (`train.template.log_ratios`): more makes sulci crisper."""
    component_steps: int = 0
    """Steps that fit the template to each training brain, whose fields' principal components become the compact
    generator's linear part, and their scores the encoder's first codes; 0: none."""
    component_people: int = 240
    """Most people whose brains are fitted: what components there are settles long before a thousand."""
    ridge_start: bool = False
    """Start fine-tuning with the prior network's line and curve at ridge regression of codes on features."""
    average_decay: float = 0.995
    """Of the averaged weights that are shipped."""
    clip: float = 1.0
    """Gradients are clipped to this value, entry by entry, as in the reference."""
    log_every: int = 10
    validate_every: int = 200
    save_every: int = 100
    pictures_every: int = 0
    """Steps between pictures of generated brains in the run's folder; 0: none."""
    validation_draws: int = 4
    """Latent draws of each validation person."""
    select: Literal["last", "best"] = "last"
    """Which averaged weights are shipped: of the last step, or those that validated best, as in the reference.
    `best` makes errors on the validation people somewhat optimistic. See `only` for pre-training."""
    patience: int = 0
    """Stop after so many validations of the last stage without a better one; 0: never."""
    networks: dict[str, Any] = field(default_factory=dict)
    """Other shapes than the preset's, by name."""

    def __post_init__(self) -> None:
        _check_model(self.model)
        _check(self)
        if not self.stages:
            raise CSegSynthError(f"no stages to train {self.model} in", expected="one or more")
        kinds = _kinds_of(self.model)
        for stage in self.stages:
            if stage.kind not in kinds:
                raise CSegSynthError(
                    f"{self.model} has no stage {stage.kind!r}", expected=" or ".join(kinds), got=stage.kind
                )
            if self.preset == "paper" and stage.resolution != 1:
                raise CSegSynthError(
                    "the paper's networks take all voxels", expected="resolution=1", got=str(stage.resolution)
                )
        if self.minutes and not any(s.share or s.steps for s in self.stages):
            raise CSegSynthError(
                f"no stage to spend {self.minutes:g} minutes on",
                expected="steps of one or more",
                got="0 steps",
            )
        if self.networks:
            self._check_names()

    def _check_names(self) -> None:
        """Refuse `networks` that name what is no shape of this model, or follows from the rest."""
        kind: Any = family(self.model).shapes
        given = ("preset", "features", *(("latent",) if hasattr(kind, "sized") else ()))
        known = [f.name for f in fields(kind) if f.name not in given]
        if wrong := [name for name in self.networks if name not in known]:
            raise CSegSynthError(
                f"no such shape of {self.model} to set",
                expected=", ".join(f"networks.{name}" for name in known),
                got=", ".join(f"networks.{name}" for name in wrong),
            )

    @classmethod
    def named(cls, preset: str, model: str = "csegsynth") -> TrainConfig:
        """Settings of `paper`, `compact` or `tiny` for both steps of a conditional model, or one of another.

        Raises:
            CSegSynthError: there is no such preset or model.
        """
        if model in UNCONDITIONAL.values():
            whole = next(c for c, u in UNCONDITIONAL.items() if u == model)
            return cls.named(preset, whole).only("pretrain")
        _check_model(model)
        if model != "csegsynth":
            from train.presets import settings

            return settings(model, preset)
        ours = Weights(0.004, 0.03, 100.0, 0.03, 0.01, 1.0, 1.0)
        if preset == "compact":
            stages = (
                Stage("pretrain", 2, 160, 3e-4),
                Stage("finetune", 2, 200, 2e-4, volume_factor=2.0),
                Stage("prior", 2, 60, 0.0, volume_factor=2.0),
            )
            return cls(
                "compact",
                stages,
                ours,
                batch=4,
                prior_rate=2e-5,  # it starts at ridge regression on everybody, and sees four people at a time
                critic_every=4,
                triplet_every=4,
                flips=False,
                component_steps=110,
                ridge_start=True,
                pictures_every=100,
            )
        if preset == "tiny":
            stages = (
                Stage("pretrain", 2, 2, 1e-3),
                Stage("finetune", 2, 2, 1e-3),
                Stage("finetune", 1, 1, 1e-3),
            )
            return cls(
                "tiny",
                stages,
                ours,
                batch=2,
                flips=False,
                average_steps=4,
                component_steps=3,
                ridge_start=True,
                log_every=1,
                validate_every=3,
                save_every=1,
                pictures_every=1000,
            )
        if preset == "paper":
            paper = Weights(1.0, 1.0, 10.0, 100.0 / 5242.88, 100.0 / 5242.88, 1.0, 0.0)
            stages = (  # about 3000 epochs of 836 people, 200 of 370; the reference's BCE of 100, later, is left out
                Stage("pretrain", 1, 313_000, 2e-5, critic_rate=2e-5, penalty=10.0),
                Stage("finetune", 1, 9_200, 1e-6),
            )
            return cls(
                "paper",
                stages,
                paper,
                prior_rate=1e-4,
                critic_rate=1e-6,
                code_critic_factor=1.0,
                freeze_discriminator=True,
                prior_decay=0.0,
                mixup=False,
                flips=False,
                select="best",
                pictures_every=1000,
            )
        raise CSegSynthError(f"no preset {preset!r}", expected="paper, compact or tiny")

    def only(self, step: Literal["pretrain", "finetune"]) -> TrainConfig:
        """One of the paper's two steps: the unconditional model's stages, or the conditional one's.

        Pre-training keeps the last weights: correlations of volumes, by which the best are known, need features, and
        the networks that are inherited beside those that generate are the last step's.
        """
        first = [s for s in self.stages if s.kind in ("pretrain", "autoencoder")]
        if step == "pretrain":
            unconditional = UNCONDITIONAL.get(self.model, self.model)
            return replace(self, model=unconditional, stages=tuple(first), select="last")
        return replace(self, stages=tuple(s for s in self.stages if s not in first))

    @property
    def conditional(self) -> bool:
        """Whether the model takes features."""
        return self.model in UNCONDITIONAL

    @property
    def shown(self) -> tuple[str, ...]:
        """Terms that the progress bar shows."""
        return ("reconstruction", "noise", "score", "volume")

    def shapes(self, features: int) -> Shapes:
        """Shapes of the model's networks.

        Raises:
            CSegSynthError: no networks can be built with what `networks` says.
        """
        kind: Any = family(self.model).shapes
        if hasattr(kind, "named"):
            out = kind.named(self.preset, features)
        elif self.preset == "paper":
            out = kind.paper(features)
        else:
            out = kind.compact(features, **({"latent": 16, "width": 16} if self.preset == "tiny" else {}))
        if not self.networks:
            return out
        out = replace(out, **self.networks)
        _check(out, "networks.")
        if self.preset == "paper" and hasattr(out, "hidden"):
            last = 32 * out.width  # of the encoder's last stage
            if self.networks.get("hidden", last) != last:
                raise CSegSynthError(
                    "setting networks.hidden cannot be used",
                    expected=f"{last}, 32 × networks.width, in preset 'paper'",
                    got=str(out.hidden),
                    fix="leave it out",
                )
            out = replace(out, hidden=last)
        out = out.sized() if hasattr(out, "sized") else out
        self._check_buildable(out)
        return out

    def _check_buildable(self, shapes: Shapes) -> None:
        """Build the networks without memory; torch's and MONAI's complaints become ours."""
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                family(self.model).from_config(shapes.to_dict(), training_networks=True)
        except (ValueError, RuntimeError, TypeError) as error:
            plain = self.preset == "paper" and not hasattr(shapes, "groups")
            raise CSegSynthError(
                f"no networks of {self.model} have these shapes",
                expected="width a multiple of 8, latent one of 32 × width"
                if plain
                else "width and unet_width multiples of groups, in preset 'paper' width of 8 too",
                got=", ".join(f"networks.{k}={v}" for k, v in self.networks.items()) + f": {error}",
                fix="change these, or leave them out for the preset's",
            ) from error

    def with_overrides(self, texts: list[str]) -> TrainConfig:
        """Apply `name=value` settings from the command line; `weights.kl=…`, `stages.0.rate=…`, `networks.width=…`.

        `steps=…` gives the numbers of steps of all stages, `rate=…` one learning rate for all.

        Raises:
            CSegSynthError: unknown name or unusable value.
        """
        out = self
        for text in texts:
            name, _, value = text.partition("=")
            if name == "steps":
                counts = [_parsed("steps", 0, v) for v in value.split(",")]
                if len(counts) != len(out.stages):
                    raise CSegSynthError(
                        "wrong number of step counts", expected=f"{len(out.stages)} numbers", got=value
                    )
                stages = tuple(replace(s, steps=c) for s, c in zip(out.stages, counts, strict=True))
                out = replace(out, stages=stages)
            elif name == "rate":
                rate = _parsed("rate", 0.0, value)
                out = replace(out, stages=tuple(replace(s, rate=rate) for s in out.stages))
            else:
                out = _with(out, name.split("."), name, value)
        return out

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return sum(s.steps for s in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, float]:
        """The stage that step number `step` (from 0) belongs to, and how far through it is in [0, 1)."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step / stage.steps
            step -= stage.steps
        raise IndexError("step beyond the last stage")

    def critic_rate_of(self, stage: Stage) -> float:
        """Learning rate of the discriminators in a stage."""
        return stage.critic_rate or self.critic_rate

    def penalty_of(self, stage: Stage) -> float:
        """Weight of the gradient penalties in a stage."""
        return stage.penalty or self.weights.penalty

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def _check_model(model: str) -> None:
    """Refuse a model that there is no training for."""
    known = (*UNCONDITIONAL, *UNCONDITIONAL.values())
    if model not in known:
        raise CSegSynthError(f"no model {model!r} to train", expected=", ".join(known))


def _kinds_of(model: str) -> tuple[str, ...]:
    """Kinds of stages that a model may have."""
    first = ("autoencoder", "pretrain") if model in ("ldm", "c_ldm") else ("pretrain",)
    second = ("finetune", *(("prior",) if model == "csegsynth" else ())) if model in UNCONDITIONAL else ()
    return (*first, *second)


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a run stored, with those that came into being later at their defaults.

    Args:
        stored: as from `TrainConfig.to_dict` of this or an earlier version.
    """
    later = _defaults(TrainConfig) | dict(stored)
    later["stages"] = [_defaults(Stage) | dict(one) for one in stored["stages"]]
    return later | {"weights": _defaults(Weights) | dict(stored["weights"])}


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults of a dataclass's fields that have one."""
    given = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return given | {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}


def _with(node: Any, path: list[str], name: str, value: str) -> Any:
    """A copy of nested settings with one of them replaced."""
    head, rest = path[0], path[1:]
    if isinstance(node, tuple) and head.isdigit() and int(head) < len(node) and rest:
        k = int(head)
        return (*node[:k], _with(node[k], rest, name, value), *node[k + 1 :])
    if isinstance(node, dict) and not rest:
        if value.isalpha():
            return {**node, head: value}
        return {**node, head: _parsed(name, 0.0 if "." in value or "e" in value else 0, value)}
    known = [f.name for f in fields(node)] if is_dataclass(node) else []
    simple = [
        n for n in known if isinstance(getattr(node, n), (int, float, str)) and n not in ("preset", "model")
    ]
    deep = [n for n in known if n in ("weights", "stages", "networks")]
    if isinstance(node, tuple):
        raise CSegSynthError(
            f"no setting {name!r}",
            expected=f"stages.N.NAME=VALUE with N from 0 to {len(node) - 1}, such as stages.0.rate=1e-4",
        )
    if head in deep and rest:
        return replace(node, **{head: _with(getattr(node, head), rest, name, value)})
    if head not in simple or rest:
        raise CSegSynthError(
            f"no setting {name!r}",
            expected="steps=…, rate=… or one of " + ", ".join([*simple, *(f"{n}.…" for n in deep)]),
        )
    return replace(node, **{head: _parsed(name, getattr(node, head), value)})


def _parsed(name: str, current: Any, value: str) -> Any:
    """A value of the same type as the present one."""
    if isinstance(current, bool) and value.lower() in ("1", "true", "yes", "0", "false", "no"):
        return value.lower() in ("1", "true", "yes")
    try:
        if isinstance(current, bool):
            raise ValueError
        return type(current)(value)
    except ValueError as error:
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        kind = type(current).__name__
        raise CSegSynthError(f"setting {name}", expected=kinds.get(kind, kind), got=repr(value)) from error
