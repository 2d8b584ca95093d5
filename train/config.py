"""Settings of a training run: one typed object, saved with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from csegsynth_core.errors import CSegSynthError


@dataclass(frozen=True)
class Stage:
    """One stretch of training."""

    kind: Literal["pretrain", "finetune", "prior"]
    """`pretrain`: α-GAN, Eq. 6–8, no features. `finetune`: CSegSynth, Eq. 13–15. `prior`: only those terms of
    Eq. 13 that the prior network enters, and only its parameters (and the code discriminator's, Eq. 15)."""
    resolution: int
    """1: all voxels; 2: every second one along each axis, from another one in every step."""
    steps: int
    rate: float
    """Learning rate of encoder and generator at the stage's start; falls to a tenth along a cosine."""
    volume_factor: float = 1.0
    """Multiplies the weights of the volume and triplet terms in this stage."""


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms. Volume terms are per mL."""

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


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on, beside the cohort."""

    preset: Literal["paper", "compact", "tiny"]
    stages: tuple[Stage, ...]
    weights: Weights
    batch: int = 8
    seed: int = 0
    validation_fraction: float = 0.2
    prior_rate: float = 1e-3
    critic_rate: float = 3e-4
    critic_every: int = 1
    """Steps of encoder and generator per step of the discriminators."""
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
    regularization"); `compact` takes the penalty that cross-validation finds for the IXI training people."""
    fresh_prior: bool = False
    """Do not inherit the prior network when starting from another run."""
    flips: bool = True
    average_steps: int = 80
    """Steps that put the untrained compact generator at the average training brain."""
    component_steps: int = 0
    """Steps that fit the template to each training brain, whose fields' principal components become the compact
    generator's linear part, and their scores the encoder's first codes; 0: none."""
    ridge_start: bool = False
    """Start fine-tuning with the prior network's linear layer at ridge regression of codes on features."""
    average_decay: float = 0.995
    """Of the averaged weights that are shipped."""
    clip: float = 1.0
    """Gradients are clipped to this value, entry by entry, as in the reference."""
    log_every: int = 10
    validate_every: int = 200
    save_every: int = 100
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def named(cls, preset: str) -> TrainConfig:
        """Settings of `paper`, `compact` or `tiny`. Raises CSegSynthError for another name."""
        ours = Weights(0.004, 0.1, 100.0, 0.03, 0.01, 1.0, 1.0)
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
                prior_rate=1e-4,
                critic_every=4,
                triplet_every=4,
                feature_noise=0.4,
                flips=False,
                component_steps=110,
                ridge_start=True,
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
            )
        if preset == "paper":
            paper = Weights(1.0, 1.0, 10.0, 100.0 / 5242.88, 100.0 / 5242.88, 1.0, 0.0)
            stages = (Stage("pretrain", 1, 78_000, 2e-5), Stage("finetune", 1, 9_200, 1e-6))
            return cls(
                "paper",
                stages,
                paper,
                prior_rate=1e-4,
                critic_rate=1e-6,
                freeze_discriminator=True,
                prior_decay=0.0,
                mixup=False,
                flips=False,
            )
        raise CSegSynthError(f"no preset {preset!r}", expected="paper, compact or tiny")

    def with_overrides(self, texts: list[str]) -> TrainConfig:
        """Apply `name=value` settings from the command line.

        Raises:
            CSegSynthError: unknown name or unusable value.
        """
        out = self
        known = {f.name: f for f in fields(self)}
        for text in texts:
            name, _, value = text.partition("=")
            if name == "steps":
                counts = [int(v) for v in value.split(",")]
                if len(counts) != len(out.stages):
                    raise CSegSynthError(
                        "wrong number of step counts", expected=f"{len(out.stages)} numbers", got=value
                    )
                stages = tuple(replace(s, steps=c) for s, c in zip(out.stages, counts, strict=True))
                out = replace(out, stages=stages)
                continue
            if name not in known or not isinstance(getattr(out, name), (int, float)):
                raise CSegSynthError(
                    f"no setting {name!r}",
                    expected="steps=… or one of "
                    + ", ".join(n for n in known if isinstance(getattr(out, n), (int, float))),
                )
            current = getattr(out, name)
            try:
                parsed = (
                    value.lower() in ("1", "true", "yes")
                    if isinstance(current, bool)
                    else type(current)(value)
                )
            except ValueError as error:
                raise CSegSynthError(
                    f"setting {name}", expected=f"a {type(current).__name__}", got=repr(value)
                ) from error
            out = replace(out, **{name: parsed})  # type: ignore[arg-type]
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

    def follows_pretraining(self, step: int) -> bool:
        """Whether nothing but pre-training comes before step number `step`."""
        return step == 0 or all(self.stage_at(k)[0].kind == "pretrain" for k in range(step))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)
