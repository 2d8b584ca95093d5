"""Samples per second and peak memory of one training step of the compact preset and the paper's, side by side.

    python tests/benchmarks/training.py [--presets compact paper] [--cycles 1] [--batch 1] [--threads 2]

A step is one of fine-tuning (Eq. 13–15), all networks, on a toy cohort of eight brains or twice a batch's, at the
resolution that the preset's own fine-tuning has. Discriminators and triplet term have their turn in some steps only:
means are over whole cycles of them, after one cycle to warm up. Each preset runs in a process of its own, so that its
peak memory is its own: of the process, and on a GPU of the GPU's too. The paper's networks need about a minute and
ten GiB for a batch of one on two CPU cores, so of their steps one is timed, not warmed up, where there is no GPU; a
preset for which `--memory-gib` are too few is stopped and said to be.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ("compact", "paper")


def measure(preset: str, cycles: int, batch: int, threads: int) -> dict[str, float]:
    """Mean seconds of training steps and peak memory, in this process.

    Args:
        cycles: of steps in which every network has its turn, after one to warm up; 0: one, not warmed up, where
            there is no GPU.
    """
    import torch

    sys.path.insert(0, str(ROOT))
    from tests.toy import make_cohort
    from train.config import TrainConfig
    from train.engine import build, open_people

    torch.set_num_threads(threads)
    cycles = cycles or int(torch.cuda.is_available())  # there a first step is mostly waiting for libraries
    config = TrainConfig.named(preset).with_overrides([f"batch={batch}"])
    with tempfile.TemporaryDirectory() as folder:
        people = open_people(make_cohort(Path(folder) / "toy", people=max(8, 2 * batch)), config)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer = build(people, config)
        kinds = [stage.kind for stage in config.stages]
        trainer.stage_index = kinds.index("finetune")
        resolution = config.stages[trainer.stage_index].resolution
        cycle = math.lcm(config.critic_every, config.triplet_every)
        for _ in range(cycle if cycles else 0):
            trainer.step()
        gpu = trainer.fabric.device.type == "cuda"
        if gpu:
            torch.cuda.synchronize()
        steps = cycle * max(cycles, 1)
        started = time.perf_counter()
        for _ in range(steps):
            trainer.step()
        if gpu:
            torch.cuda.synchronize()
        mean = (time.perf_counter() - started) / steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds_per_step": mean,
        "samples_per_second": batch / mean,
        "peak_gib": peak / 1024**2,
        "peak_over_start_gib": (peak - before) / 1024**2,
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / 1024**3 if gpu else 0.0,
        "parameters": float(sum(p.numel() for p in trainer.model.parameters())),
        "resolution": float(resolution),
        "steps": float(steps),
    }


def main() -> int:
    """Print the table; `--one` is how the script calls itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument(
        "--cycles", type=int, default=1, help="timed cycles of compact; of the paper's: one, not warmed up"
    )
    parser.add_argument("--batch", type=int, default=1, help="people in a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-gib", type=float, default=20.0, help="a process that needs more is stopped")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one preset")
    parser.add_argument("--one", choices=PRESETS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        limit = int(args.memory_gib * 1024**3)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(json.dumps(measure(args.one, args.cycles, args.batch, args.threads)))
        return 0
    print(f"one training step, batch {args.batch}, {args.threads} threads")
    head = ("preset", "parameters", "voxels", "steps", "s per step", "samples/s", "peak GiB", "of the GPU")
    print("{:10s}{:>14s}{:>12s}{:>7s}{:>12s}{:>12s}{:>11s}{:>12s}".format(*head))
    found = {}
    for preset in args.presets:
        cycles = args.cycles if preset == "compact" else 0
        command = [sys.executable, str(Path(__file__)), "--one", preset, "--cycles", str(cycles)]
        command += ["--batch", str(args.batch), "--threads", str(args.threads)]
        command += ["--memory-gib", str(args.memory_gib)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, cwd=ROOT)
        except subprocess.TimeoutExpired:
            print(f"{preset:10s}  stopped: no step within {args.timeout:.0f} s")
            continue
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            print(f"{preset:10s}  did not finish with {args.memory_gib:g} GiB: {last[0][:120]}")
            continue
        one = json.loads(done.stdout.strip().splitlines()[-1])
        found[preset] = one
        voxels = "all" if one["resolution"] == 1 else "an eighth"
        on_gpu = f"{one['peak_gpu_gib']:.2f}" if one["peak_gpu_gib"] else "-"
        print(
            f"{preset:10s}{one['parameters'] / 1e6:>12.1f} M{voxels:>12s}{one['steps']:>7.0f}"
            f"{one['seconds_per_step']:>12.2f}{one['samples_per_second']:>12.3f}{one['peak_gib']:>11.2f}{on_gpu:>12s}"
        )
    if len(found) == len(PRESETS):
        ratio = found["compact"]["samples_per_second"] / found["paper"]["samples_per_second"]
        memory = "peak_gpu_gib" if found["paper"]["peak_gpu_gib"] else "peak_gib"
        share = found["compact"][memory] / found["paper"][memory]
        print(f"compact: {ratio:.0f} times as many samples a second, {100 * share:.0f} % of the memory")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
