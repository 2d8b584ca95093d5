"""Milliseconds and peak memory per brain of the compact preset and, on request, the paper's, in one run.

    python tests/benchmarks/generation.py [--runs 10] [--paper-runs 1] [--threads 2]

Each preset runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure(preset: str, runs: int, threads: int) -> dict[str, float]:
    """Median seconds per brain after warm-up, and peak memory, of one preset (in this process)."""
    import torch

    from csegsynth_core.models.csegsynth import Config, CSegSynth

    torch.set_num_threads(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = CSegSynth(
        Config.paper(20) if preset == "paper" else Config.compact(20), training_networks=False
    ).eval()
    if preset == "compact":
        for module in model.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)
    features = torch.zeros(1, 20)
    seconds = []
    with torch.inference_mode():
        for run in range(runs + (2 if preset == "compact" else 0)):
            started = time.perf_counter()
            model.on_grid(model(features, model.draw(1, run)))
            seconds.append(time.perf_counter() - started)
    if preset == "compact":
        seconds = seconds[2:]
    return {
        "median_ms": 1000 * statistics.median(seconds),
        "fastest_ms": 1000 * min(seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_over_import_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "parameters": float(model.generating_parameters()),
        "runs": float(len(seconds)),
    }


def main() -> int:
    """Print the table; `--one` is how the script calls itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--paper-runs", type=int, default=1, help="0: leave the paper's preset out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=["compact", "paper"])
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.runs, args.threads)))
        return 0
    print(f"{'preset':8s} {'ms/brain':>9s} {'fastest':>9s} {'peak MB':>8s} {'M values':>9s} {'runs':>5s}")
    found = {}
    for preset, runs in (("compact", args.runs), ("paper", args.paper_runs)):
        if not runs:
            continue
        command = [
            sys.executable,
            __file__,
            "--one",
            preset,
            "--runs",
            str(runs),
            "--threads",
            str(args.threads),
        ]
        out = subprocess.run(
            command, cwd=ROOT, env=_environment(), check=True, capture_output=True, text=True
        ).stdout
        r = found[preset] = json.loads(out)
        print(
            f"{preset:8s} {r['median_ms']:9.0f} {r['fastest_ms']:9.0f} {r['peak_mb']:8.0f} "
            f"{r['parameters'] / 1e6:9.2f} {r['runs']:5.0f}"
        )
    if len(found) == 2:
        print(f"paper / compact: {found['paper']['median_ms'] / found['compact']['median_ms']:.0f} times")
    return 0


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    raise SystemExit(main())
