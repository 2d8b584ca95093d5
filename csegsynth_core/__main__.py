"""`python -m csegsynth_core prepare SOURCE DEST` and its siblings."""

from __future__ import annotations

import argparse
import errno
import json
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csegsynth_core import __version__
from csegsynth_core.errors import CSegSynthError, SourceError
from csegsynth_core.memory import keep_freed_memory

if TYPE_CHECKING:
    import pandas as pd

    from csegsynth_core.data.encoder import Encoded
    from csegsynth_core.pack import Pack


_PAGES = ("individual", "ageing", "influence", "compare", "cohort", "evaluation", "method")


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="python -m csegsynth_core", description=__doc__)
    parser.add_argument("--version", action="version", version=f"csegsynth {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser(
        "prepare",
        help="turn a folder of scans into a prepared cohort",
        description="Scans to a prepared cohort.",
    )
    prepare.add_argument("source", type=Path, help="folder of raw T1s, T1s with labels, or tissue maps")
    prepare.add_argument("dest", type=Path, help="folder for the BIDS derivative; run again to resume")
    prepare.add_argument("--kind", choices=["t1", "labels", "maps"], help="take SOURCE to hold this kind")
    prepare.add_argument(
        "--backend", choices=["auto", "builtin", "fsl"], default="auto", help="segmentation of raw T1s"
    )
    prepare.add_argument("--workers", type=_positive, metavar="N", help="processes (default: one per core)")
    prepare.add_argument("--limit", type=_positive, metavar="N", help="only the first N people")
    prepare.add_argument("--quiet", action="store_true", help="no progress bar")
    prepare.add_argument("--json", action="store_true", help="print the outcome as JSON")
    prepare.set_defaults(run=_prepare)
    make = commands.add_parser("generate", help="make synthetic brains for the people of a table")
    _add_people(make)
    make.add_argument(
        "--out", type=Path, required=True, help="folder for the BIDS derivative; run again to resume"
    )
    make.add_argument("--seed", type=int, default=0, help="of the latent draws (default: 0)")
    make.add_argument("--draws", type=_positive, default=1, metavar="N", help="brains a person (default: 1)")
    make.add_argument("--no-maps", action="store_true", help="tables of volumes only, no NIfTI maps")
    make.add_argument("--no-regions", action="store_true", help="no table of regional volumes (quicker)")
    make.add_argument("--quiet", action="store_true", help="no progress bar")
    make.set_defaults(run=_generate)
    virtual = commands.add_parser(
        "simulate",
        help="make a virtual cohort: people who do not exist, with known truth",
        description="Virtual people to a prepared cohort. What it makes is simulated: see assets/simulation.md.",
    )
    virtual.add_argument("dest", type=Path, nargs="?", help="folder for the cohort; run again to resume")
    virtual.add_argument(
        "--preset", choices=["tiny", "camcan", "pretrain"], help="8, 462 or 2000 people (default: camcan)"
    )
    virtual.add_argument("--n", type=_positive, metavar="N", help="number of people")
    virtual.add_argument("--seed", type=_natural, default=0, help="of everything (default: 0)")
    virtual.add_argument(
        "--unconditional", action="store_true", default=None, help="no features: for pre-training"
    )
    virtual.add_argument("--t1", action="store_true", default=None, help="T1-like images, too")
    virtual.add_argument("--volumes-only", action="store_true", help="features, volumes and truth; no brains")
    virtual.add_argument("--workers", type=_positive, metavar="N", help="processes (default: one per core)")
    virtual.add_argument("--montage", type=Path, metavar="PNG", help="a picture of 20 brains by age and sex")
    virtual.add_argument("--quiet", action="store_true", help="no progress bar")
    virtual.set_defaults(run=_simulate)
    _add_saliency(commands)
    path = commands.add_parser(
        "sweep",
        help="volumes of tissues and regions over age for the people of a table",
        description="Volumes and features over age: two TSVs for each person.",
    )
    _add_people(path)
    path.add_argument("--out", type=Path, required=True, help="folder; run again to resume")
    path.add_argument(
        "--from", dest="start", type=float, metavar="AGE", help="years (default: youngest trained)"
    )
    path.add_argument("--to", dest="stop", type=float, metavar="AGE", help="years (default: oldest trained)")
    path.add_argument("--step", type=float, default=1.0, metavar="YEARS", help="(default: 1)")
    path.add_argument("--draws", type=_positive, default=1, metavar="N", help="latent draws (default: 1)")
    path.add_argument(
        "--scenario", choices=["ideal", "regressed", "both"], default="both", help="(default: both)"
    )
    path.add_argument("--seed", type=int, default=0, help="of the latent draws (default: 0)")
    path.add_argument(
        "--keep-distance",
        action="store_true",
        help="regressed: keep each person's distance from the regression",
    )
    path.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="FEATURE=VALUE@AGE",
        help="set a feature to a value from an age on, in every scenario, for everybody; may be repeated",
    )
    path.add_argument("--exact", action="store_true", help="decode every age and draw (slower)")
    path.add_argument("--quiet", action="store_true", help="no progress bar")
    path.set_defaults(run=_sweep)
    _add_show(commands)
    return parser


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The grammar of `show`; what pages show by default is in `page_views.View`."""
    one = commands.add_parser(
        "show",
        help="everything of a page of the app from a saved scenario: figures, tables, maps, methods",
        description="What the zip of a page holds, from a scenario file alone. Options say what the page shows that "
        "no scenario holds; without them it is as the page starts. The line in a zip's README.txt has them.",
    )
    one.add_argument("scenario", type=Path, help="file saved in the app, or scenario.json of a page's zip")
    one.add_argument("--page", required=True, choices=_PAGES, help="which page")
    place = one.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, metavar="DIR", help="new or empty folder")
    place.add_argument("--zip", type=Path, metavar="FILE", help="new file, as the app saves it")
    one.add_argument(
        "--pack", metavar="PACK", help="name or folder of the model pack (default: the scenario's)"
    )
    one.add_argument(
        "--table", type=Path, help="table of yours that the page shows: scenarios of Compare, or the people of "
        "Feature influence; columns that the pack does not know are left out",
    )  # fmt: skip
    one.add_argument("--at", type=_natural, nargs=3, metavar="N", help="voxel that planes go through: x y z")
    one.add_argument("--mode", choices=["tissues", "wm", "gm", "csf"], help="Individual: planes show")
    one.add_argument("--tissue", choices=["wm", "gm", "csf"], help="whose difference or map is shown")
    one.add_argument("--plane", choices=["sagittal", "coronal", "axial"], help="Compare: of the slices")
    one.add_argument("--label", metavar="TEXT", help="Individual: what the baseline is called")
    one.add_argument("--regions", action="store_true", default=None, help="Compare: volumes of regions, too")
    one.add_argument("--unit", choices=["ml", "percent"], help="Ageing: of volumes")
    one.add_argument("--maps", action="store_true", default=None, help="Ageing: the filmstrip's maps, too")
    one.add_argument("--column", metavar="NAME", help="Feature influence: encoded column whose map is shown")
    one.add_argument("--feature", metavar="NAME", help="Cohort: whose distribution is shown")
    one.add_argument(
        "--told", nargs="*", choices=["sweep", "compare", "influence"], help="Method: analyses told"
    )
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    one.set_defaults(run=_show)


def _add_saliency(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The grammar of `saliency`."""
    one = commands.add_parser(
        "saliency",
        help="how much each feature moves the volumes of the people of a table",
        description="Gradients of volumes with respect to every feature: a table for each person, and a summary.",
    )
    _add_people(one)
    one.add_argument("--out", type=Path, required=True, help="folder for the tables; run again to resume")
    one.add_argument("--draws", type=_positive, default=4, help="latent draws of each person (default: 4)")
    one.add_argument("--seed", type=int, default=0, help="of the latent draws (default: 0)")
    one.add_argument(
        "--fast",
        action="store_true",
        help="every second voxel: some three times faster; gradients differ by per cents, more in small regions",
    )
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    one.set_defaults(run=_saliency)


def _people(pack: Pack, args: argparse.Namespace) -> pd.DataFrame:
    """The table of a command; columns that are left out go to stderr.

    Raises:
        TableError: it cannot be read.
    """
    from csegsynth_core.data.tables import read_table

    table = read_table(args.table)
    known, unknown = pack.schema.known_of(table)
    if args.ignore_unknown and unknown:
        table = known
        print(pack.schema.left_out(unknown, pack.name), file=sys.stderr)
    return table


def _remark(encoded: Encoded) -> None:
    """What is to be known about the people of a table goes to stderr, above a progress bar."""
    from tqdm import tqdm

    for line in encoded.remarks():
        tqdm.write(line, file=sys.stderr)


def _there(kept: int, replaced: Sequence[str]) -> str:
    """`2 already there, 1 replaced`: people of a folder; replaced are those who had other features before."""
    return f"{kept} already there" + (f", {len(replaced)} replaced" if replaced else "")


def _add_people(command: argparse.ArgumentParser) -> None:
    """Whom a command is about."""
    command.add_argument("--pack", default="ixi", help="name of a shipped pack, or a folder (default: ixi)")
    command.add_argument(
        "--table", type=Path, required=True, help="TSV, CSV or Excel with one row per person"
    )
    command.add_argument(
        "--ignore-unknown", action="store_true", help="leave out columns that the pack does not know"
    )


def _natural(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def _stop(*_: object) -> None:
    """A request to end (SIGTERM) is treated like Ctrl-C: clean up, then go."""
    raise KeyboardInterrupt


def _prepare(args: argparse.Namespace) -> int:
    from csegsynth_core.data.prepare import prepare, run_asdict

    outcome = prepare(
        args.source,
        args.dest,
        kind=args.kind,
        backend=args.backend,
        workers=args.workers,
        limit=args.limit,
        progress=not args.quiet,
    )
    if args.json:
        print(json.dumps(run_asdict(outcome), indent=1))
    else:
        print(f"{outcome.prepared} prepared, {outcome.reused} already there, {len(outcome.failures)} failed.")
        if outcome.failures:
            print(f"Reasons are in {args.dest / 'failures.tsv'}.", file=sys.stderr)
    return 0 if outcome.prepared + outcome.reused else 1


def _generate(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from csegsynth_core.generate_folder import generate_folder
    from csegsynth_core.pack import load_pack

    pack = load_pack(args.pack)
    table, replaced = _people(pack, args), list[str]()
    with tqdm(total=len(table), unit="person", disable=args.quiet) as bar:
        made, kept = generate_folder(
            pack,
            table,
            args.out,
            seed=args.seed,
            draws=args.draws,
            maps=not args.no_maps,
            regions=not args.no_regions,
            source=str(args.table),
            told=_remark,
            done=bar.update,
            replaced=replaced.append,
        )
    there = _there(kept, replaced)
    print(f"{made * args.draws} synthetic brains of {made} people, {there}, in {args.out}.")
    return 0


def _simulate(args: argparse.Namespace) -> int:
    from csegsynth_core.data.simulate.cohort import simulate, with_options
    from csegsynth_core.data.simulate.montage import write_montage

    if args.dest is None and args.montage is None:
        raise SourceError("nothing to do", expected="DEST, a folder for the cohort, or --montage PNG")
    if args.montage is not None:
        write_montage(args.montage, seed=args.seed, progress=not args.quiet)
        print(f"20 simulated brains in {args.montage}.")
    if args.dest is not None:
        plan = with_options(
            args.preset, n=args.n, seed=args.seed, unconditional=args.unconditional, t1=args.t1
        )
        outcome = simulate(
            args.dest,
            plan,
            workers=args.workers,
            progress=not args.quiet,
            volumes_only=args.volumes_only,
        )
        kind = "people with volumes only" if args.volumes_only else "simulated people"
        print(f"{outcome.made} {kind} made, {outcome.reused} already there, in {outcome.folder}.")
    return 0


def _saliency(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from csegsynth_core.pack import load_pack
    from csegsynth_core.saliency_tables import write_tables

    pack = load_pack(args.pack)
    table, replaced = _people(pack, args), list[str]()
    settings = {"draws": args.draws, "seed": args.seed, "resolution": 2 if args.fast else 1}
    with tqdm(total=len(table), unit="person", disable=args.quiet) as bar:

        def progress(done: int, _: int) -> None:
            bar.update(done - bar.n)

        made, reused = write_tables(
            pack, table, args.out, told=_remark, progress=progress, replaced=replaced.append, **settings
        )
    print(f"{made} computed, {_there(reused, replaced)}; summary in {args.out / 'summary.tsv'}.")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    import math

    from tqdm import tqdm

    from csegsynth_core.changes import changes_of_texts
    from csegsynth_core.pack import load_pack
    from csegsynth_core.scenarios import Plan
    from csegsynth_core.sweep_folder import sweep_folder

    pack = load_pack(args.pack)
    if pack.schema.age is None:
        raise CSegSynthError(f"pack {pack.name} cannot sweep age", expected="a numeric feature 'age'")
    trained = pack.encoder.numeric[pack.schema.age.name]
    plan = Plan(
        start=math.ceil(trained.minimum) if args.start is None else args.start,
        stop=math.floor(trained.maximum) if args.stop is None else args.stop,
        step=args.step,
        scenarios=("ideal", "regressed") if args.scenario == "both" else (args.scenario,),
        keep_distance=args.keep_distance,
        draws=args.draws,
        seed=args.seed,
        exact=args.exact,
        changes=changes_of_texts(args.change, pack.schema),
    )
    table, replaced = _people(pack, args), list[str]()
    with tqdm(total=len(table), unit="person", disable=args.quiet) as bar:
        made, kept = sweep_folder(
            pack, table, plan, args.out, source=str(args.table), told=_remark, done=bar.update,
            replaced=replaced.append,
        )  # fmt: skip
    print(f"{made} people swept, {_there(kept, replaced)}, in {args.out}.")
    return 0


def _show(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from csegsynth_core import show
    from csegsynth_core.page_views import View

    show.check_free(args.out, args.zip)
    pack, scenario, notes = show.opened(args.scenario, args.pack)
    for note in notes:
        print(f"Note: {note}.", file=sys.stderr)
    asked: dict[str, Any] = {name: getattr(args, name) for name in vars(View())}
    asked |= {name: tuple(value) for name, value in asked.items() if isinstance(value, list)}
    view = replace(View(), **{name: value for name, value in asked.items() if value is not None})
    with tqdm(total=100, disable=args.quiet, bar_format="{percentage:3.0f}% |{bar}| {desc}") as bar:

        def tell(share: float, what: str) -> None:
            bar.set_description_str(what, refresh=False)
            bar.update(round(100 * share) - bar.n)

        def noted(said: str) -> None:
            tqdm.write(said, file=sys.stderr)

        payload = show.page_zip(pack, scenario, args.page, view, table=args.table, tell=tell, note=noted)
        bar.update(100 - bar.n)
    if args.zip is not None:
        show.save(payload, args.zip)
        print(f"Everything of the page in {args.zip}.")
    else:
        print(f"{show.unpack(payload, args.out)} files in {args.out}.")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors a user can mend are one message, not a traceback."""
    args = build_parser().parse_args(argv)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _stop) if in_main else None
    try:
        return int(args.run(args))
    except CSegSynthError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or "the destination"
        if error.errno in (errno.EEXIST, errno.EISDIR):
            print(f"Cannot use {where}: {error.strerror}. Name another folder.", file=sys.stderr)
            return 3
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            print(f"Cannot write or read {where}: {error.strerror}.", file=sys.stderr)
            return 3
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"The disk is full: could not write {where}. What was finished is kept; free some space and run the "
            "same command again to go on.",
            file=sys.stderr,
        )
        return 3
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; run the same command again to go on.", file=sys.stderr)
        return 130
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    keep_freed_memory()
    raise SystemExit(main())
