"""How long the Feature influence page computes on this machine: `python tests/benchmarks/influence.py [PACK]`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch

from csegsynth_core import saliency, synthetic_people
from csegsynth_core.pack import load_pack

PEOPLE = 50


def main(name: str) -> None:
    """Every feature, three tissues and five regions, 50 people, one draw; as the page does, and with all voxels."""
    pack = load_pack(name)
    people = synthetic_people.varied_people(pack, PEOPLE)
    saliency.gradients(pack, people.iloc[:2], measures=saliency.EVERYTHING, draws=1, resolution=2)  # kernels
    for resolution, what in ((2, "every second voxel"), (1, "all voxels")):
        start, cpu = time.perf_counter(), time.process_time()
        found = saliency.gradients(pack, people, measures=saliency.EVERYTHING, draws=1, resolution=resolution)
        print(
            f"{name}: {len(found.columns)} columns × {len(found.measures)} measures, {PEOPLE} people, {what}: "
            f"{time.perf_counter() - start:.1f} s (processor time {time.process_time() - cpu:.1f} s)"
        )
    print(f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lifespan")
