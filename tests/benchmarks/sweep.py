"""How long a sweep takes on this machine: `python tests/benchmarks/sweep.py [PACK]`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from csegsynth_core.pack import load_pack
from csegsynth_core.scenarios import Plan, sweep


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


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ixi")
