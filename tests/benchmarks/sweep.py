"""How long a sweep takes on this machine, and how near to exact sums: `python tests/benchmarks/sweep.py [PACK]`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from csegsynth_core.generate import WITHOUT_NOISE
from csegsynth_core.pack import load_pack
from csegsynth_core.scenarios import MEASURES, VOLUMES, Plan, sweep


def main(name: str) -> None:
    """60 ages, two scenarios, ten draws; first the own draw alone, as the page does."""
    pack = load_pack(name)
    person = {**pack.encoder.default_person(), "age": 48.0}
    sweep(pack, person, Plan(40, 50, 5))  # first use of the kernels
    plan = Plan(21, 80, 1, draws=10)
    start, cpu = time.perf_counter(), time.process_time()
    own = sweep(pack, person, replace(plan, draws=1))
    middle = time.perf_counter()
    sweep(pack, person, plan, known=own)
    end = time.perf_counter()
    print(
        f"{len(plan.ages)} ages × 2 scenarios: own draw {middle - start:.1f} s, 10 draws {end - start:.1f} s"
    )
    print(
        f"processor time {time.process_time() - cpu:.1f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def accuracy(name: str) -> None:
    """Largest difference, %, between volumes read off and exact sums, on paths of a man of 45 and a woman of 60."""
    pack = load_pack(name)
    plan, order = Plan(25, 81, 2, draws=3), ["scenario", "draw", "age"]
    some = replace(plan, step=14, exact=True)
    off, own = [], []
    for age, sex in ((45.0, "M"), (60.0, "F")):
        person = {**pack.encoder.default_person(sex=sex), "age": age}
        quick = sweep(pack, person, plan).volumes
        quick = quick[quick["age"].isin(some.ages)].sort_values(order)
        exact = sweep(pack, person, some).volumes.sort_values(order)
        measures = list(MEASURES)
        off.append(100 * np.abs(quick[measures].to_numpy() / exact[measures].to_numpy() - 1))
        own.append(quick["draw"].to_numpy() == WITHOUT_NOISE)
    worst = np.concatenate(off)
    for draws, rows in (("own draw", np.concatenate(own)), ("further draws", ~np.concatenate(own))):
        tissues, regions = worst[rows, : len(VOLUMES)].max(), worst[rows, len(VOLUMES) :].max()
        print(f"{draws}: off by at most {tissues:.2f} % (tissues), {regions:.2f} % (regions)")


if __name__ == "__main__":
    accuracy(sys.argv[1] if len(sys.argv) > 1 else "ixi")
    main(sys.argv[1] if len(sys.argv) > 1 else "ixi")
