"""A run under torchrun whose second process fits other weights and has a faster clock than the first.

    python -m torch.distributed.run --standalone --nproc-per-node=2 -m tests.drifting COHORT OUT

Writes what each process has in the end to `OUT/rank-0.pt` and `OUT/rank-1.pt`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from train import engine
from train.config import Stage, TrainConfig
from train.engine import Engine
from train.gan import GanMethod
from train.people import People


def main(cohort: Path, out: Path) -> None:
    """Train a tiny GAN in two stages under a budget of minutes."""
    runs: list[Engine] = []
    build, spend, before_step = engine.build, Engine.spend, GanMethod.before_step

    def built(people: People, config: TrainConfig) -> Engine:
        runs.append(build(people, config))
        return runs[0]

    def spend_more(self: Engine, seconds: float) -> None:
        spend(self, seconds + 40.0 * self.fabric.global_rank)

    @torch.no_grad()
    def move(self: GanMethod, run: Engine, stage: Stage, within: int) -> None:
        before_step(self, run, stage, within)
        if within == 0:  # as fits to people would
            for tensor in self.model.parameters():
                tensor += 0.001 * run.fabric.global_rank
            run.restart_average()

    engine.build, Engine.spend, GanMethod.before_step = built, spend_more, move  # type: ignore[assignment,method-assign]
    engine.UNCONDITIONAL_DRAWS = 2
    config = TrainConfig.named("tiny", "gan")
    stages = tuple(replace(config.stages[0], steps=2) for _ in range(2))
    config = replace(config, stages=stages, minutes=2.0, pictures_every=0)
    engine.train(cohort, out, config, progress=False)
    run = runs[0]
    told = {
        "weights": dict(run.model.state_dict()),
        "averages": run.averaged,
        "rate": run.method.optimisers["generator"].param_groups[0]["lr"],
        "clock": [run.seconds, run.start_seconds],
    }
    torch.save(told, out / f"rank-{run.fabric.global_rank}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
