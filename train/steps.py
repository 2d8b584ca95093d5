"""Both steps of the paper one after the other (Fig. 1): pre-training without features, then fine-tuning with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import TrainConfig
from train.engine import train
from train.run_folder import steps_of


def train_both(
    cohort_folder: Path, out: Path, config: TrainConfig, *, progress: bool = True, stop_after: int = 0
) -> Path:
    """Pre-train in `out/pretrain` and fine-tune from there in `out`, on one cohort; goes on where it stopped.

    Args:
        config: of both steps; its `minutes` are shared between them as its stages say.
        stop_after: steps of this call, in both together (0: to the end).

    Returns:
        Path of the last checkpoint.

    Raises:
        CSegSynthError: see `train.engine.train`.
    """
    first, second = config.only("pretrain"), config.only("finetune")
    if config.minutes:
        shares = [sum(s.share or s.steps for s in c.stages) for c in (first, second)]
        first, second = (
            replace(c, minutes=config.minutes * share / sum(shares))
            for c, share in zip((first, second), shares, strict=True)
        )
    before = steps_of(out / "pretrain")
    path = train(cohort_folder, out / "pretrain", first, progress=progress, stop_after=stop_after)
    left = stop_after - (steps_of(out / "pretrain") - before)
    if stop_after and left <= 0:
        return path
    return train(
        cohort_folder,
        out,
        second,
        progress=progress,
        stop_after=left if stop_after else 0,
        start_from=out / "pretrain",
    )
