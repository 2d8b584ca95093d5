"""Everything of a page from a scenario file alone: the figures, tables, maps and words of the page's zip, without a
browser."""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import compare, coverage, grid, page_views, saliency
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.nifti import write_bytes
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import CSegSynthError, SourceError
from csegsynth_core.figure_export import Tell, untold
from csegsynth_core.generate import Brain, generate_one, mean_brain
from csegsynth_core.pack import Pack, load_pack
from csegsynth_core.page_views import View
from csegsynth_core.scenario_file import Scenario, from_dict, read_json
from csegsynth_core.scenario_pages import USUAL_DRAWS, Comparison
from csegsynth_core.scenarios import check_plausible, sweep
from csegsynth_core.uncertainty import check_ages, paired_spread

Note = Callable[[str], object]
"""Is told a sentence that the user has to know."""


def unnoted(said: str) -> None:
    """Where nobody is told."""


@dataclass(frozen=True)
class _Given:
    """A table of the user's, and who is told what of it is not used."""

    table: Path
    note: Note


def opened(path: Path, pack: str | None = None) -> tuple[Pack, Scenario, list[str]]:
    """A scenario file with its model pack, and notes on what differs: see `scenario_file.from_dict`.

    Args:
        pack: name or folder of the pack; None: the one that the scenario names.

    Raises:
        SourceError: no such file.
        ScenarioError: not a scenario, of another version or another pack, or something in it cannot be used.
        PackError: the pack is not here, or damaged.
    """
    if not path.is_file():
        raise SourceError(
            f"there is no scenario file {path}",
            expected="a file saved with \"Save scenario\" in the app's sidebar, or scenario.json of a page's zip",
            got="a folder" if path.is_dir() else "nothing of this name",
        )
    data = read_json(path.read_bytes())
    found = load_pack(pack or data["pack"]["name"])
    scenario, notes = from_dict(data, found)
    return found, scenario, notes


def page_zip(
    pack: Pack,
    scenario: Scenario,
    page: str,
    view: View,
    *,
    table: Path | None = None,
    tell: Tell = untold,
    note: Note = unnoted,
) -> bytes:
    """The zip that a page of the app makes for this scenario.

    Args:
        page: one of `page_views.PAGES`.
        view: what the page shows that no scenario holds.
        table: of the user's, where the page shows one: scenarios of Compare, people of Feature influence.
        tell: told what is made.
        note: told what of the table is not used.

    Raises:
        CSegSynthError: the scenario or the view asks for something that the pack cannot give.
    """
    _check(pack, scenario, page, view, table)
    tell(0.0, "Brains and volumes")

    def later(share: float, what: str) -> None:
        tell(0.2 + 0.8 * share, what)

    given = None if table is None else _Given(table, note)
    return _MAKERS[page](pack, scenario, view, given, later)


def _check(pack: Pack, scenario: Scenario, page: str, view: View, table: Path | None) -> None:
    """See that the pack, the scenario and the table fit the page and the view."""
    if page == "ageing" and pack.schema.age is None:
        raise CSegSynthError(f"pack {pack.name} cannot sweep age", expected="a numeric feature 'age'")
    if any(not box.start <= n < box.stop for n, box in zip(view.at, grid.BOX, strict=True)):
        raise CSegSynthError(
            "the voxel of --at lies outside the box that brains occupy",
            expected=", ".join(f"{axis} {b.start} to {b.stop - 1}" for axis, b in zip("xyz", grid.BOX, strict=True)),
            got=" ".join(map(str, view.at)),
        )  # fmt: skip
    if view.feature and view.feature not in pack.schema.names:
        raise CSegSynthError(
            f"pack {pack.name} has no feature {view.feature!r}",
            expected=f"one of {', '.join(pack.schema.names)}"[:300],
        )
    own = page == "influence" and scenario.influence.whose == "table"
    if own and table is None:
        raise SourceError(
            "the scenario shows people of a table, which no scenario file holds",
            expected="--table FILE with these people (table.csv in the page's zip)",
        )
    if table is not None and page != "compare" and not own:
        raise SourceError(
            "this page shows no table",
            expected="--page compare, or --page influence with a scenario whose people are those of a table",
            got=f"--page {page} --table {table}",
            fix="leave --table out",
        )


def _individual(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    person = generate_one(pack, dict(scenario.person), seed=scenario.seed)
    other, _ = page_views.baseline_of(pack, scenario.person, scenario.baseline)
    base = generate_one(pack, dict(other), seed=scenario.seed)
    average = page_views.average_person(pack, person)

    def over_draws(one: Mapping[str, Any]) -> NDArray[np.float32]:
        draws = page_views.SPREAD_DRAWS
        return compare.volumes_of_draws(pack, one, draws=draws, seed=scenario.seed, regions=True)

    return page_views.individual(
        pack,
        scenario,
        view,
        person,
        base,
        spread=functools.cache(lambda: paired_spread(*map(over_draws, (scenario.person, other)))),
        behind=functools.cache(lambda: mean_brain(pack, average, draws=page_views.AVERAGED).maps),
        meshes=functools.cache(lambda: page_views.meshes_of(person)),
    ).everything(tell)


def _ageing(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    plan = page_views.plan_of(pack, scenario)
    assert pack.schema.age is not None  # noqa: S101 - `_check` looked
    check_plausible(pack.schema.age, plan.ages)
    entries = page_views.sweeps_of(pack, scenario.person, scenario.seed, scenario.overlays, plan)
    for _, _, own in entries:
        check_ages(own.ages, own.breaks)
    people = [(name, sweep(pack, who, own)) for name, who, own in entries]
    return page_views.ageing_zip(
        pack, scenario, view, people, lambda way: page_views.film_of(pack, people[0][1], way), tell
    )


def _influence(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    if given is None:
        people, about = page_views.influence_people(pack, scenario.influence.whose, scenario.person)
    else:
        parsed, about, notes = page_views.table_people(pack, read_table(given.table), given.table.name)
        people = parsed.data
        for said in notes:
            given.note(said)
    bars = page_views.bars_of(
        pack, scenario.influence, people, about, scenario.seed, gradients=_gradients, contrasts=_contrasts
    )
    if view.column and view.column not in bars.mapped:
        raise CSegSynthError(
            f"no map of {view.column!r}", expected=f"one of {', '.join(bars.mapped)}", fix="choose another --column"
        )  # fmt: skip
    brain = generate_one(pack, dict(scenario.person), seed=scenario.seed)
    change = functools.cache(
        lambda column: saliency.voxel_map(pack, scenario.person, column, seed=scenario.seed)
    )
    people = page_views.mapped_people(pack, bars)
    mean = functools.cache(
        lambda column: saliency.mean_map(pack, people, column, draws=bars.draws, seed=scenario.seed)
    )
    return page_views.influence(pack, scenario, view, bars, brain, change, mean).everything(tell)


def _gradients(pack: Pack, people: pd.DataFrame, draws: int, seed: int, resolution: int) -> Any:
    return saliency.gradients(
        pack, people, draws=draws, seed=seed, resolution=resolution, measures=saliency.EVERYTHING
    )


def _contrasts(
    pack: Pack, people: pd.DataFrame, names: list[str], where: Any, draws: int, seed: int, resolution: int
) -> pd.DataFrame:
    return saliency.contrasts(
        pack, people, names, where=where, draws=draws, seed=seed, resolution=resolution,
        measures=saliency.EVERYTHING,
    )  # fmt: skip


def _compare(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    compared = page_views.comparison_of(pack, scenario)
    if given is not None:
        rows, unknown = compare.read_scenarios(
            pack, given.table.read_bytes(), given.table.name, scenario.person
        )
        if unknown:
            given.note(pack.schema.left_out(unknown, pack.name))
        people = compare.filled(pack, rows.reset_index(), scenario.person)
        draws = scenario.compare.draws if scenario.compare is not None else USUAL_DRAWS
        compared = Comparison.of(people, scenario.person, draws)
    named = compared.people
    brains: dict[str, Brain] = {n: generate_one(pack, dict(p), seed=scenario.seed) for n, p in named.items()}
    volumes = [
        compare.volumes_of_draws(pack, p, draws=compared.draws, seed=scenario.seed, regions=view.regions)
        for p in named.values()
    ]
    numbers = compare.compared(list(named), np.stack(volumes))
    page = page_views.compare(pack, scenario, view, compared, numbers, brains, own=given is not None)
    return page.everything(tell)


def _cohort(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    person = generate_one(pack, dict(scenario.person), seed=scenario.seed)
    places, summary = coverage.placed(pack, scenario.person), CohortSummary.of_pack(pack.folder)
    return page_views.cohort(pack, scenario, view, places, person, summary).everything(tell)


def _evaluation(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    return page_views.evaluation(pack, scenario).everything(tell)


def _method(pack: Pack, scenario: Scenario, view: View, given: _Given | None, tell: Tell) -> bytes:
    told = page_views.told_of(pack, scenario) if view.told is None else view.told
    return page_views.method(pack, scenario, page_views.session_of(pack, scenario, told)).everything(tell)


_MAKERS: Final[dict[str, Callable[[Pack, Scenario, View, _Given | None, Tell], bytes]]] = {
    "individual": _individual,
    "ageing": _ageing,
    "influence": _influence,
    "compare": _compare,
    "cohort": _cohort,
    "evaluation": _evaluation,
    "method": _method,
}


def check_free(folder: Path | None, file: Path | None) -> None:
    """Refuse a place that holds something: nothing is overwritten.

    Args:
        folder: has to be absent or empty.
        file: has to be absent.

    Raises:
        SourceError: there is something.
    """
    fix = "choose another place, or move away what is there"
    if folder is not None and folder.exists():
        held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else None
        if held is None or held:
            got = "a file" if held is None else ", ".join(held[:5]) + (" …" if len(held) > 5 else "")
            raise SourceError(f"{folder} is taken", expected="a new or an empty folder", got=got, fix=fix)
    if file is not None and file.exists():
        raise SourceError(f"{file} is there already", expected="the name of a new file", fix=fix)


def unpack(payload: bytes, folder: Path) -> int:
    """Put the files of a zip into a new or an empty folder, all of them or none; returns how many.

    Raises:
        SourceError: the folder holds something.
    """
    check_free(folder, None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            archive.extractall(place)
            count = len(archive.namelist())
        check_free(folder, None)
        folder.mkdir(exist_ok=True)
        for one in place.iterdir():
            one.replace(folder / one.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return count


def save(payload: bytes, file: Path) -> None:
    """Write a zip as a new file.

    Raises:
        SourceError: there is a file of this name.
    """
    check_free(None, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, payload)
