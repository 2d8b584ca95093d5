"""`python -m train csegsynth --cohort DIR --out RUN` and its siblings."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from csegsynth_core.errors import CSegSynthError


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("csegsynth", help="train CSegSynth on a prepared cohort")
    run.add_argument("--cohort", type=Path, required=True, help="folder made by `csegsynth_core prepare`")
    run.add_argument("--out", type=Path, required=True, help="folder of the run; run again to resume")
    run.add_argument("--preset", choices=["compact", "paper", "tiny"], default="compact")
    run.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="override settings, e.g. batch=4 steps=10,10,5"
    )
    run.add_argument("--stop-after", type=int, default=0, metavar="N", help="stop after N steps; resume later")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.set_defaults(run=_csegsynth)
    return parser


def _csegsynth(args: argparse.Namespace) -> int:
    from train.config import TrainConfig
    from train.csegsynth import train

    config = TrainConfig.named(args.preset).with_overrides(args.set)
    path = train(args.cohort, args.out, config, progress=not args.quiet, stop_after=args.stop_after)
    print(f"Checkpoint: {path}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except CSegSynthError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from the last checkpoint.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
