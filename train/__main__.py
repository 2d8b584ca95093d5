"""`python -m train csegsynth|pretrain|finetune|both|pack|evaluate …`; each has `--help`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.memory import keep_freed_memory
from csegsynth_core.models.family import UNCONDITIONAL


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    conditional, unconditional = tuple(UNCONDITIONAL), tuple(UNCONDITIONAL.values())
    for name, models, about in (
        ("pretrain", unconditional, "first step: train a model on many brains, without features"),
        ("finetune", conditional, "second step: go on from a pre-trained run, with features"),
        ("both", conditional, "both steps on one cohort: RUN/pretrain, then RUN (csegsynth: one run)"),
    ):
        step = commands.add_parser(name, help=about, description=about)
        step.add_argument("model", choices=models)
        _add_training(step)
        if name == "finetune":
            step.add_argument(
                "--from",
                type=Path,
                dest="start_from",
                metavar="RUN0",
                required=True,
                help="the pre-trained run",
            )
        step.set_defaults(run=_step, step=name)
    run = commands.add_parser("csegsynth", help="train CSegSynth on a prepared cohort, both steps in one run")
    _add_training(run)
    run.add_argument(
        "--from", type=Path, dest="start_from", metavar="RUN", help="start from another run's networks"
    )
    run.set_defaults(run=_step, step="csegsynth", model="csegsynth")
    pack = commands.add_parser("pack", help="make a model pack from a finished run, and measure it")
    pack.add_argument("--run", type=Path, required=True, dest="run_folder", help="folder of the run")
    pack.add_argument("--cohort", type=Path, required=True, help="the cohort that it was trained on")
    pack.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the pack, e.g. assets/models/ixi; PACK/comparison/NAME puts a model beside it",
    )
    pack.add_argument(
        "--about",
        help="JSON with name, title, licence, attribution (and notes, limits), or ixi or lifespan for what the "
        "shipped packs say; not needed for PACK/comparison/NAME",
    )
    pack.set_defaults(run=_pack)
    simple = commands.add_parser(
        "linear_gaussian",
        help="fit a linear-Gaussian generative model to a pack's training people, to compare with",
    )
    simple.add_argument(
        "--pack", required=True, help="name of a shipped pack, or a folder; the model is put there"
    )
    simple.add_argument("--cohort", type=Path, required=True, help="the cohort that the pack was trained on")
    simple.add_argument(
        "--components", type=_positive, metavar="N", help="most principal components (default: 56)"
    )
    simple.add_argument("--quiet", action="store_true", help="no progress bar")
    simple.set_defaults(run=_linear_gaussian)
    means = commands.add_parser(
        "group_means", help="put mean maps of groups of training people, real and generated, into a pack"
    )
    means.add_argument("--pack", required=True, help="name of a shipped pack, or a folder")
    means.add_argument("--cohort", type=Path, required=True, help="the cohort that the pack was trained on")
    means.set_defaults(run=_group_means)
    plain = commands.add_parser(
        "regressions",
        help="fit regressions of regional volumes to a pack's training people and put them into the pack; "
        "`measure` then scores them",
    )
    plain.add_argument("--pack", required=True, help="name of a shipped pack, or a folder")
    plain.add_argument("--cohort", type=Path, required=True, help="the cohort that the pack was trained on")
    plain.add_argument("--quiet", action="store_true", help="no progress bar")
    plain.set_defaults(run=_regressions)
    calibrated = commands.add_parser(
        "calibrate",
        help="set again what `pack` sets after training (texture, mean volumes, how draws differ), and measure; no "
        "run is needed",
    )
    calibrated.add_argument("--pack", type=Path, required=True, help="folder of the pack, which is changed")
    calibrated.add_argument("--cohort", type=Path, required=True, help="the cohort that it was trained on")
    calibrated.add_argument(
        "--template-t1",
        type=float,
        metavar="SHARE",
        help="how much of the template's contrast of CSF to grey matter the T1 average tells, 0 to 1 (default: as "
        "much as in the pack)",
    )
    calibrated.add_argument(
        "--keep-texture",
        action="store_true",
        help="leave sharpness and grain what they are in the pack",
    )
    calibrated.set_defaults(run=_calibrate)
    again = commands.add_parser("measure", help="measure a pack again and write its measurements and card")
    again.add_argument("--pack", required=True, help="name of a shipped pack, or a folder")
    again.add_argument("--cohort", type=Path, required=True, help="the cohort that it was trained on")
    again.add_argument(
        "--run",
        type=Path,
        dest="run_folder",
        help="the run's folder, for a pack that does not hold its settings",
    )
    again.set_defaults(run=_measure)
    score = commands.add_parser("evaluate", help="measure a pack, its regressions and its images on a cohort")
    score.add_argument("--pack", required=True, help="name of a shipped pack, or a folder")
    score.add_argument("--cohort", type=Path, required=True, help="the prepared cohort")
    score.add_argument(
        "--split",
        choices=["test", "all"],
        default="test",
        help="test: the people kept aside when the pack was trained; all: everybody of the cohort (default: test)",
    )
    score.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    score.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page there; it shows a real person of the cohort"
    )
    score.add_argument(
        "--features-2d", type=Path, metavar="FILE", help="RadImageNet's ResNet as safetensors, for 2D-FID"
    )
    score.add_argument(
        "--features-3d", type=Path, metavar="FILE", help="MedicalNet's ResNet as safetensors, for 3D-FID"
    )
    score.add_argument("--quiet", action="store_true", help="no progress bars")
    score.set_defaults(run=_evaluate)
    parcels = commands.add_parser("parcellation", help="train the network that gives regions their volumes")
    parcels.add_argument(
        "--cohort", type=Path, required=True, help="a prepared cohort with anatomical labels"
    )
    parcels.add_argument("--out", type=Path, required=True, help="folder, e.g. assets/parcellation")
    parcels.add_argument("--steps", type=_positive, default=500)
    parcels.add_argument("--about", type=Path, help="JSON with licence and attribution (default: IXI's)")
    parcels.set_defaults(run=_parcellation)
    sees = commands.add_parser("extractor", help="train the networks that FID looks through")
    sees.add_argument(
        "--cohort", type=Path, action="append", required=True, help="a prepared cohort; give it for each"
    )
    sees.add_argument("--out", type=Path, required=True, help="folder, e.g. assets/extractor")
    sees.add_argument(
        "--steps", type=_positive, nargs=2, default=(1500, 500), metavar="N", help="for slices, for volumes"
    )
    sees.add_argument("--about", type=Path, help="JSON with licence and attribution (default: IXI's)")
    sees.set_defaults(run=_extractor)
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cohort", type=Path, required=True, help="folder made by `csegsynth_core prepare`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; run again to resume")
    parser.add_argument("--preset", choices=["compact", "paper", "tiny"], default="compact")
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="override settings, e.g. batch=4 steps=10,10,5 minutes=30 weights.kl=1e-5 stages.0.rate=1e-4",
    )
    parser.add_argument(
        "--stop-after", type=int, default=0, metavar="N", help="stop after N steps; resume later"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _step(args: argparse.Namespace) -> int:
    from train.config import TrainConfig
    from train.engine import train
    from train.steps import train_both

    known = {"progress": not args.quiet, "stop_after": args.stop_after}
    config = TrainConfig.named(args.preset, args.model)
    if args.step == "both" and args.model != "csegsynth":
        path = train_both(args.cohort, args.out, config.with_overrides(args.set), **known)
    else:
        if args.step == "finetune":
            config = config.only("finetune")
        start = getattr(args, "start_from", None)
        path = train(args.cohort, args.out, config.with_overrides(args.set), start_from=start, **known)
    print(f"Checkpoint: {path}")
    return 0


def _pack(args: argparse.Namespace) -> int:
    from csegsynth_core.pack import COMPARISON
    from train.pack import ABOUT, make_comparison, make_pack
    from train.report import as_text

    if args.out.parent.name == COMPARISON:
        print(f"{make_comparison(args.run_folder, args.cohort, args.out)}: measure it with `train evaluate`")
        return 0
    if args.about is None:
        raise CSegSynthError(
            "a pack has to say whose it is",
            expected="--about FILE, JSON with name, title, licence and attribution",
            got="no --about",
        )
    about = ABOUT.get(args.about) or _read_json(Path(args.about))
    print(as_text(make_pack(args.run_folder, args.cohort, args.out, about)))
    return 0


def _linear_gaussian(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from csegsynth_core.pack import load_pack
    from train import linear_gaussian
    from train.pack import save_comparison, training_people

    pack, cohort = load_pack(args.pack), Cohort.open(args.cohort)
    people = training_people(pack, cohort)
    count = args.components or linear_gaussian.COMPONENTS
    x = pack.encoder.encode(people).x.astype(float)
    model, about = linear_gaussian.fit(cohort, people.ids, x, components=count, progress=not args.quiet)
    print(save_comparison(pack, model, about))
    return 0


def _group_means(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from csegsynth_core.pack import add_files, load_pack
    from train.pack import group_means

    pack = load_pack(args.pack)
    found = group_means(pack, Cohort.open(args.cohort))
    add_files(pack.folder, found.files())
    for group in found.groups:
        print(f"{group.label}: {group.people} people")
    return 0


def _regressions(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from csegsynth_core.pack import find
    from train.pack import add_regional_regressions

    print(add_regional_regressions(find(args.pack), Cohort.open(args.cohort), progress=not args.quiet))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from train.recalibrate import recalibrate
    from train.report import as_text

    found = recalibrate(
        args.pack,
        Cohort.open(args.cohort),
        template_t1=args.template_t1,
        keep_texture=args.keep_texture,
    )
    print(as_text(found))
    return 0


def _measure(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from csegsynth_core.pack import find
    from train.pack import measure
    from train.report import as_text

    print(as_text(measure(find(args.pack), Cohort.open(args.cohort), args.run_folder)))
    return 0


def _licence_of(file: Path | None) -> dict[str, str]:
    """Licence and attribution that a user's JSON gives, or those of IXI."""
    from train.pack import ABOUT

    about = _read_json(file) if file else ABOUT["ixi"]
    if lacking := [k for k in ("licence", "attribution") if not about.get(k)]:
        raise CSegSynthError(
            f"{file} lacks {' and '.join(lacking)}", expected="licence and attribution of the data"
        )
    return {k: about[k] for k in ("licence", "attribution")}


def _read_json(file: Path) -> dict[str, Any]:
    """An object that a user wrote. Raises CSegSynthError where there is none."""
    try:
        found = json.loads(file.read_text("utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except (OSError, ValueError) as error:
        raise CSegSynthError(f"{file} cannot be read", expected="a JSON object", got=str(error)) from error
    return found


def _check_place(file: Path | None) -> None:
    """See that a file can be written there, before hours of work. Raises CSegSynthError otherwise."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CSegSynthError(f"{file} cannot be written", got=str(error), fix="name another place") from error
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        got = "a folder" if file.is_dir() else f"{file.parent}, which cannot be written to"
        raise CSegSynthError(f"{file} cannot be written", expected="the name of a file", got=got)


def _positive(text: str) -> int:
    """A number of things."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _parcellation(args: argparse.Namespace) -> int:
    from train.parcellation import train_parcellation

    record = train_parcellation(args.cohort, args.out, _licence_of(args.about), steps=args.steps)
    for name, found in record["measured"]["regions"].items():
        print(
            f"{name:24s} Dice {found['dice']:.3f} (lowest {found['dice_lowest']:.3f}), r {found['pearson']}"
        )
    return 0


def _extractor(args: argparse.Namespace) -> int:
    from train.extractor_training import train_extractor

    record = train_extractor(args.cohort, args.out, _licence_of(args.about), steps=tuple(args.steps))
    for name, found in record["measured"].items():
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in found.items()))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from csegsynth_core.data.cohort import Cohort
    from csegsynth_core.data.nifti import write_text
    from csegsynth_core.pack import load_pack
    from train.evaluate import evaluate
    from train.extractors import Features
    from train.report import as_html, as_text

    for file in (args.json, args.html):
        _check_place(file)
    features = Features(args.features_2d, args.features_3d)
    pack, cohort = load_pack(args.pack), Cohort.open(args.cohort)
    metrics = evaluate(pack, cohort, args.split, features=features, progress=not args.quiet)
    print(as_text(metrics))
    if args.json:
        write_text(args.json, json.dumps(metrics, indent=1, allow_nan=False))
    if args.html:
        write_text(args.html, as_html(metrics, pack, cohort))
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
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from the last checkpoint.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    keep_freed_memory(4096)
    raise SystemExit(main())
