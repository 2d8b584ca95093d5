"""Settings of the comparison models: C-VAE, C-GAN and C-LDM, each with its unconditional first step.

`paper`: networks, rates, weights and epochs that the reference logged, with one batch for both steps, and of GAN's
three pre-trainings the first. `compact`: for two CPU cores and half an hour, with the numbers of steps as upper
bounds of a run under `minutes`. `tiny`: for tests. CSegSynth's are in `train.config`.
"""

from __future__ import annotations

from dataclasses import replace

from csegsynth_core.errors import CSegSynthError
from train.config import Stage, TrainConfig, Weights

PER_ML = 100.0 / 5242.88
"""The reference's volume weight of 100, per mL."""


def settings(model: str, preset: str) -> TrainConfig:
    """Both steps of a conditional model.

    Raises:
        CSegSynthError: there is no such preset.
    """
    if preset not in ("paper", "compact", "tiny"):
        raise CSegSynthError(f"no preset {preset!r}", expected="paper, compact or tiny")
    found = {"c_vae": _c_vae, "c_gan": _c_gan, "c_ldm": _c_ldm}[model](preset)
    if preset != "tiny":
        return found
    return replace(
        found,
        batch=2,
        log_every=1,
        validate_every=1000,
        save_every=1,
        validation_draws=1,
        pictures_every=1000,
    )


def _plain(
    model: str, preset: str, stages: list[Stage], weights: Weights, **more: float | int | str | bool
) -> TrainConfig:
    """Settings without what CSegSynth alone has."""
    ours: dict[str, object] = {
        "mixup": False,
        "flips": False,
        "average_steps": 0,
        "prior_decay": 0.0 if preset == "paper" else 0.05,
    }
    return TrainConfig(preset, tuple(stages), weights, model=model, **(ours | more))  # type: ignore[arg-type]


def _c_vae(preset: str) -> TrainConfig:
    if preset == "paper":
        # Epochs as logged: 500 of 836 people, 2000 of 370 (in batches of 16, which are 7 here).
        weights = Weights(0.0, 0.0, 1.0, PER_ML, 0.0, 0.0, 0.0, kl=5e-4 / 1024)
        stages = [Stage("pretrain", 1, 60_000, 1e-5), Stage("finetune", 1, 106_000, 1e-6)]
        return _plain(
            "c_vae", preset, stages, weights, batch=7, prior_rate=1e-4, select="best", pictures_every=1000
        )
    weights = Weights(0.0, 0.0, 1.0, 1e-4, 0.0, 0.0, 0.0, kl=3e-5)
    steps = (2, 2) if preset == "tiny" else (1500, 1500)
    stages = [
        Stage("pretrain", 1, steps[0], 3e-4, share=0.5),
        Stage("finetune", 1, steps[1], 3e-4, share=0.5),
    ]
    return _plain(
        "c_vae",
        preset,
        stages,
        weights,
        batch=4,
        prior_rate=1e-3,
        warm_up=0 if preset == "tiny" else 100,
        pictures_every=100,
        validate_every=100,
        validation_draws=1,
        save_every=50,
    )


def _c_gan(preset: str) -> TrainConfig:
    if preset == "paper":
        # Epochs as logged: 5000 of 836 people and of 370 (in batches of 8, which are 32 here).
        weights = Weights(1.0, 0.0, 0.0, PER_ML, PER_ML, 10.0, 0.0)
        stages = [
            Stage("pretrain", 1, 130_000, 2e-5, critic_rate=2e-5),
            Stage("finetune", 1, 58_000, 1e-6),
        ]
        return _plain(
            "c_gan",
            preset,
            stages,
            weights,
            batch=8,
            accumulate=4,
            critic_steps=4,
            critic_rate=1e-6,
            prior_rate=1e-4,
            select="best",
            pictures_every=1000,
        )
    weights = Weights(1.0, 0.0, 0.0, 0.3, 0.1, 10.0, 0.0)
    steps = (4, 4) if preset == "tiny" else (2000, 1500)
    stages = [
        Stage("pretrain", 2, steps[0], 3e-4, share=0.5),
        Stage("finetune", 1, steps[1], 2e-4, share=0.5),
    ]
    return _plain(
        "c_gan",
        preset,
        stages,
        weights,
        batch=4,
        critic_steps=2,
        critic_rate=3e-4,
        prior_rate=1e-3,
        triplet_every=1 if preset == "tiny" else 4,
        pictures_every=200,
        validate_every=200,
        validation_draws=1,
        save_every=100,
    )


def _c_ldm(preset: str) -> TrainConfig:
    weights = Weights(0.01, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, kl=1e-6, perceptual=0.001)
    if preset == "paper":  # batch 6 × 6 GPUs, 200 epochs of 836 people; fine-tuning 200 epochs of 370
        stages = [
            Stage("autoencoder", 1, 28_000, 1e-4),
            Stage("pretrain", 1, 28_000, 1e-4),
            Stage("finetune", 1, 12_000, 2e-5),
        ]
        return _plain(
            "c_ldm",
            preset,
            stages,
            weights,
            batch=6,
            prior_rate=2e-5,
            critic_rate=1e-4,
            warm_up=700,
            select="best",
            validation_draws=1,
            validate_every=2000,
            pictures_every=2000,
        )
    steps = (2, 2, 2) if preset == "tiny" else (1200, 8000, 8000)
    stages = [
        Stage("autoencoder", 1, steps[0], 3e-4, share=0.4),
        Stage("pretrain", 1, steps[1], 1e-3, share=0.3),
        Stage("finetune", 1, steps[2], 5e-4, share=0.3),
    ]
    return _plain(
        "c_ldm",
        preset,
        stages,
        weights,
        batch=4,
        prior_rate=1e-3,
        critic_rate=3e-4,
        critic_every=2,
        warm_up=0 if preset == "tiny" else 100,
        validation_draws=1,
        pictures_every=400,
        validate_every=1000,
        save_every=200,
    )
