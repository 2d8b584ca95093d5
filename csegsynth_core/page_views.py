"""What pages export, gathered from a scenario and from what a page shows beyond it.

The app's pages and the command `show` call the same functions here: the pages with results that the session keeps,
the command with results made anew.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import compare as comparing
from csegsynth_core import coverage, figures, measured, page_export, page_figures, saliency, synthetic_people
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.errors import TableError
from csegsynth_core.figure_export import SAME, ExportFigure, Tell, untold
from csegsynth_core.figures import Display, Frame, Plane, Voxel
from csegsynth_core.generate import Brain, generate, generate_one
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_file import MAX_LINES, Overlay, Scenario
from csegsynth_core.scenario_pages import USUAL_DRAWS, Comparison, InfluenceView
from csegsynth_core.scenarios import SHOWN_AGES, Plan, unusual_in
from csegsynth_core.side_by_side import side_by_side
from csegsynth_core.static_figures import every_form, strip_file
from csegsynth_core.tissue import BY_NAME, TISSUES

if TYPE_CHECKING:
    from csegsynth_core.data.schema import Parsed
    from csegsynth_core.page_figures import Maps
    from csegsynth_core.scenarios import Sweep
    from csegsynth_core.surface import Surface
    from csegsynth_core.sweep_report import Named
    from csegsynth_core.uncertainty import PairedSpread

SPREAD_DRAWS: Final = 10
"""Latent draws whose spread stands beside the volumes of the Individual page."""
AVERAGED: Final = 16
"""Latent draws whose mean lies behind contours."""
VENTRICLE_LEVEL: Final = 0.4
"""Share of a voxel that is ventricle where their surface runs."""
STRIP_AGES: Final = SHOWN_AGES
"""Ages of the filmstrip at most."""
MAX_PEOPLE: Final = 500
"""People of a user's table on the Feature influence page at most."""
DRAWN: Final = 50
"""People drawn from the pack's statistics there."""
GRADIENT_DRAWS: Final = {True: 4, False: 1}
"""Latent draws of the Feature influence page to start with: of one person, of a group."""
AXES: Final = {"sd": "mL per SD of the feature", "natural": "mL per natural unit"}
"""What the bars of the Feature influence page are in."""
ANALYSES: Final = {"sweep": "Ageing", "compare": "Compare", "influence": "Feature influence"}
"""What the Method page can tell of → the page it is from."""
SCENARIOS_BASELINE: Final = "the scenario's baseline"
"""What a baseline is called that a scenario holds."""
_ABOUT: Final = {
    "person": "the person in the sidebar",
    "typical": "typical people made from the pack's statistics",
    "varied": "people drawn from the pack's statistics",
}
_WORDS: Final = _ABOUT | {"person": "1 person", "table": "people of a table"}
_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "individual": ("at", "mode", "tissue", "label"),
    "ageing": ("unit", "maps"),
    "influence": ("at", "tissue", "column"),
    "compare": ("at", "plane", "tissue", "regions"),
    "cohort": ("feature",),
    "evaluation": (),
    "method": ("told",),
}
PAGES: Final = tuple(_OPTIONS)
"""Pages by name."""

Person = Mapping[str, Any]
"""Natural value of each feature; None for unknown."""


@dataclass(frozen=True)
class View:
    """What a page shows that no scenario holds; by default as a page starts."""

    at: Voxel = figures.CENTRE
    """Voxel that planes go through."""
    mode: str = "tissues"
    """What planes of the Individual page show, one of `figures.MODES`."""
    tissue: str = ""
    """Whose difference or map is shown; by default GM, or the tissue of the measure."""
    plane: Plane = "axial"
    """Of the Compare page."""
    label: str = ""
    """What the baseline is called; by default see `baseline_of`."""
    regions: bool = False
    """Compare: with volumes of regions."""
    unit: str = "ml"
    """Ageing: `ml`, or `percent`."""
    maps: bool = False
    """Ageing: with the filmstrip's maps."""
    column: str = ""
    """Feature influence: encoded column whose map is shown; by default the most influential one."""
    feature: str = ""
    """Cohort: whose distribution is shown; by default see `coverage.first_to_show`."""
    told: tuple[str, ...] | None = None
    """Method: analyses told, of `ANALYSES`; None: those that the scenario sets."""

    def options(self, page: str) -> list[str]:
        """What the command `show` needs to show the same of a page."""
        out: list[str] = []
        for name in _OPTIONS[page]:
            value = getattr(self, name)
            if value == _START[name]:
                continue
            given = () if value is True else value if isinstance(value, tuple) else (value,)
            out += [f"--{name}", *map(str, given)]
        return out


_START: Final[dict[str, Any]] = dict(vars(View()))


@dataclass(frozen=True)
class Page:
    """What can be saved of a page."""

    figures: Sequence[ExportFigure]
    make: Callable[[Tell], bytes]
    """Makes the zip."""
    commands: Sequence[str]
    """Lines for a shell that make its numbers again."""
    show: str
    """The line that makes the whole zip again."""
    gives: str = SAME
    """Which numbers `commands` make."""

    def everything(self, tell: Tell = untold) -> bytes:
        """The zip; tells what is made."""
        return self.make(tell)


def show_command(
    page: str, view: View, *, scenario: str = "scenario.json", table: str = "", out: str = "again_page"
) -> str:
    """The line for a shell that makes everything of a page again, figures included."""
    words = ["python", "-m", "csegsynth_core", "show", scenario, "--page", page, "--out", out]
    return shlex.join([*words, *(["--table", table] if table else []), *view.options(page)])


def typical(pack: Pack, sex: str | None) -> dict[str, Any]:
    """A typical training person of a sex, on the steps of the controls."""
    one = pack.schema.sex
    sex = sex or (str(pack.encoder.default_person()[one.name]) if one else None)
    person = pack.encoder.default_person(sex=sex) if one else pack.encoder.default_person()
    age = pack.schema.age.name if pack.schema.age is not None else None
    return {k: float(round(float(v))) if k == age else v for k, v in person.items()}


def _sex_of(pack: Pack, person: Person) -> str | None:
    """Key of a person's sex; None where it is not known."""
    sex = person.get(pack.schema.sex.name) if pack.schema.sex else None
    return None if sex is None else str(sex)


def typical_like(pack: Pack, person: Person) -> dict[str, Any]:
    """A typical training person of somebody's sex; links leave out what is as theirs."""
    return typical(pack, _sex_of(pack, person))


def baseline_of(pack: Pack, person: Person, given: Person | None, label: str = "") -> tuple[Person, str]:
    """Whom a person is compared with, and what to call them.

    Args:
        given: the baseline; None: a typical person of the same sex.
        label: of a given one.
    """
    if given is not None:
        return given, label or SCENARIOS_BASELINE
    one, sex = pack.schema.sex, _sex_of(pack, person)
    called = f"typical {one.levels[sex]} person" if one and sex else "typical person"
    return typical_like(pack, person), called


def average_person(pack: Pack, person: Brain) -> dict[str, Any]:
    """Whose mean brain over `AVERAGED` draws lies behind a person's contours: a typical one of the same sex."""
    return typical_like(pack, person.features)


def meshes_of(brain: Brain) -> tuple[Surface, Maps, Surface]:
    """Cortex, depth of its folds in mm, ventricles."""
    from csegsynth_core import regions, surface

    inside = regions.parcel_map(brain.maps, "ventricles")
    cortex = surface.cortex(brain.maps, inside)
    depth = surface.sulcal_depth_mm(cortex, brain.maps)
    return cortex, depth, surface.isosurface(inside, level=VENTRICLE_LEVEL)


def display_of(scenario: Scenario) -> Display:
    """The scenario's display convention."""
    return Display(bool(scenario.display.get("radiological")), bool(scenario.display.get("nose_left")))


def _smooth(scenario: Scenario) -> bool:
    return not scenario.display.get("voxels", False)


def individual(
    pack: Pack,
    scenario: Scenario,
    view: View,
    person: Brain,
    baseline: Brain,
    *,
    spread: Callable[[], PairedSpread],
    behind: Callable[[], Maps],
    meshes: Callable[[], tuple[Surface, Maps, Surface]],
) -> Page:
    """The Individual page.

    Args:
        spread, behind, meshes: see `page_figures.person_figures`.
    """
    usual = baseline_of(pack, scenario.person, scenario.baseline)[1]
    label = view.label or usual
    show = show_command("individual", replace(view, label="" if label == usual else label))
    shown = page_figures.person_figures(
        pack, person, baseline, label=label, at=view.at, display=display_of(scenario), mode=view.mode,
        tissue=view.tissue or "gm", smooth=_smooth(scenario), spread=spread, draws=SPREAD_DRAWS, behind=behind,
        meshes=meshes,
    )  # fmt: skip
    return Page(
        shown,
        lambda tell: page_export.person_zip(
            pack, shown, person, baseline, label=label, draws=SPREAD_DRAWS, scenario=scenario.to_json(), show=show,
            tell=tell,
        ),
        page_export.person_commands(pack, person.seed),
        show,
    )  # fmt: skip


def default_plan(pack: Pack) -> Plan:
    """The sweep that the Ageing page starts with: all training ages in steps of two years, both scenarios, ten
    draws."""
    assert pack.schema.age is not None  # noqa: S101 - the caller looked
    stats = pack.encoder.numeric[pack.schema.age.name]
    scenarios = ("ideal", "regressed") if pack.regressions is not None else ("ideal",)
    return Plan(math.ceil(stats.minimum), math.floor(stats.maximum), 2.0, scenarios, draws=10)


def plan_of(pack: Pack, scenario: Scenario) -> Plan:
    """The scenario's sweep, or the usual one."""
    return replace(scenario.sweep or default_plan(pack), seed=scenario.seed)


def sweeps_of(
    pack: Pack, person: dict[str, Any], seed: int, overlays: Sequence[Overlay], plan: Plan
) -> list[tuple[str, dict[str, Any], Plan]]:
    """Name, person and sweep of everybody whose lines are drawn, the current person first, while there is room."""
    from csegsynth_core.sweep_report import overlay_names, own_name

    names = overlay_names(pack.schema, person, seed, overlays, plan.changes)
    out, room = [(own_name(pack.schema, plan.changes), person, plan)], MAX_LINES - len(plan.scenarios)
    for name, one in zip(names, overlays, strict=True):
        room -= len(one.scenarios)
        if room < 0:
            break
        how: dict[str, Any] = {"scenarios": one.scenarios, "keep_distance": one.keep_distance}
        own = replace(plan, seed=one.seed, changes=one.changes, **how)
        out.append((name, one.person, own))
    return out


Asked = tuple[dict[str, Any], float, bool]
"""Of a film's frame: the person, their age in years, whether it is within the training range."""


def film_of(
    pack: Pack,
    one: Sweep,
    way: str,
    count: int = STRIP_AGES,
    *,
    frames: Callable[[list[Asked]], Iterator[Frame]] | None = None,
    done: Callable[[float], object] = lambda _: None,
) -> list[Frame]:
    """Frames of at most `count` evenly spaced ages of a sweep (`sweep_report.path_sample`).

    Args:
        way: scenario of the sweep.
        frames: makes frames, in the order that they are asked for; default several at a time (`frame_of`).
        done: told the share that is made, after each frame but the last.
    """
    from csegsynth_core.sweep_report import path_sample

    rows = path_sample(one, way, count).to_dict("records")
    asked = [_asked(pack, row) for row in rows]
    made = (
        side_by_side(lambda ask: frame_of(pack, ask, one.plan.seed), asked)
        if frames is None
        else frames(asked)
    )
    out = []
    for n, (row, frame) in enumerate(zip(rows, made, strict=True)):
        labels = tuple(pack.schema.feature(name).label for name in unusual_in(row["unusual"]))
        out.append(replace(frame, unusual=labels))
        if n + 1 < len(rows):
            done((n + 1) / len(rows))
    return out


def _asked(pack: Pack, row: Mapping[Hashable, Any]) -> Asked:
    """What a row of a path asks for."""
    assert pack.schema.age is not None  # noqa: S101 - there would be no sweep
    person = {name: row[name] for name in pack.schema.names}
    return person, float(row[pack.schema.age.name]), bool(row["trained"])


def frames_seen(
    pack: Pack, one: Sweep, shown: Mapping[tuple[str, int], NDArray[np.uint8]]
) -> list[tuple[Asked, Frame]]:
    """Frames of brains that a sweep has shown, by what asks for them.

    Args:
        shown: as from `scenarios.sweep`.
    """
    out = []
    for (way, place), packed in shown.items():
        row = one.features[one.features["scenario"] == way].iloc[place].to_dict()
        asked = _asked(pack, row)
        of = one.volumes[(one.volumes["scenario"] == way) & (one.volumes["age"] == asked[1])].iloc[0]
        out.append((asked, Frame(asked[1], packed, {t: float(of[t]) for t in TISSUES}, asked[2])))
    return out


def frame_of(pack: Pack, asked: Asked, seed: int) -> Frame:
    """One frame of a film, generated."""
    person, age, trained = asked
    return Frame.of(generate_one(pack, person, seed=seed), age, trained=trained)


def strip_files(
    pack: Pack, one: Sweep, film: Callable[[str], Sequence[Frame]], display: Display
) -> dict[str, bytes]:
    """The filmstrip in every form, as it is on the screen.

    Args:
        film: scenario of the sweep → its frames.
    """
    from csegsynth_core.sweep_report import note

    assert pack.schema.age is not None  # noqa: S101 - there would be no sweep
    strip = figures.Strip.of({way: film(way) for way in one.plan.scenarios}, display)
    with every_form() as made:
        strip_file(strip, age_units=pack.schema.age.units, note=note(one))
    return {f"filmstrip.{form}": content for form, content in made.items()}


def ageing_zip(
    pack: Pack,
    scenario: Scenario,
    view: View,
    people: Sequence[Named],
    film: Callable[[str], Sequence[Frame]],
    tell: Tell = untold,
) -> bytes:
    """Everything of the Ageing page, with the filmstrip.

    Args:
        people: the current person first; overlaid ones after.
        film: scenario of the sweep → frames of at most `STRIP_AGES` ages (`sweep_report.path_sample`).
    """
    from csegsynth_core import sweep_report as report

    assert pack.schema.age is not None  # noqa: S101 - there would be no sweep
    one, brains = people[0][1], {}
    for way in one.plan.scenarios if view.maps else ():
        some = report.path_sample(one, way, STRIP_AGES)
        ids = [f"sub-age{str(round(10 * a)).zfill(4)}" for a in some[pack.schema.age.name]]
        table = some[list(pack.schema.names)].assign(participant_id=ids)
        brains[way] = generate(pack, table, seed=one.plan.seed)
    tell(0.0, "Filmstrip")
    extra = strip_files(pack, one, film, display_of(scenario))
    extra["scenario.json"] = scenario.to_json().encode()
    show = show_command("ageing", view)
    return report.everything(people, pack, unit=view.unit, brains=brains, extra=extra, show=show, tell=tell)


def table_people(pack: Pack, table: pd.DataFrame, name: str) -> tuple[Parsed, str, list[str]]:
    """The people of a user's table for the Feature influence page, what to call them, and notes on what of the table
    is not used.

    Raises:
        TableError: it cannot be used, or has too many people.
    """
    known, unknown = pack.schema.known_of(table)
    parsed = pack.schema.validate(known, source=name)
    if len(parsed) > MAX_PEOPLE:
        raise TableError(
            f"{name}: too many people for a page",
            expected=f"at most {MAX_PEOPLE}",
            got=str(len(parsed)),
            fix="use python -m csegsynth_core saliency for larger tables",
        )
    notes = [pack.schema.left_out(unknown, pack.name)] if unknown else []
    odd = parsed.implausible()
    if odd:
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        notes.append(f"Not plausible, taken as unknown and filled in: {'; '.join(odd[:5])}{more}.")
    return parsed, f"{len(parsed)} people of {name}", notes


def influence_people(pack: Pack, whose: str, person: Person) -> tuple[pd.DataFrame, str]:
    """Whose gradients are shown, and what to call them; of all of `scenario_pages.WHOSE` but a user's table."""
    if whose == "typical":
        return synthetic_people.typical_people(pack), _ABOUT[whose]
    if whose == "varied":
        return synthetic_people.varied_people(pack, DRAWN), _ABOUT[whose]
    index = pd.Index(["sub-person"], name="participant_id")
    return pd.DataFrame([dict(person)], index=index, dtype=object), _ABOUT["person"]


def resolution_of(pack: Pack, every_voxel: bool, *, one: bool) -> int:
    """Of the voxels that gradients are of: one person's, and where wanted a group's, of all of them."""
    return 1 if one or every_voxel or 2 not in pack.model.resolutions else 2


def _draws_of(view: InfluenceView) -> int:
    """Latent draws of each person."""
    return view.draws or GRADIENT_DRAWS[view.whose == "person"]


def _resolution(pack: Pack, view: InfluenceView) -> int:
    return resolution_of(pack, view.every_voxel, one=view.whose == "person")


def measure_name(measure: str) -> str:
    """What a volume is called on the Feature influence page."""
    titles = {r.name: r.title for r in saliency.WHOLE_REGIONS}
    return titles.get(measure) or page_figures.NAMES[measure]


def colour_of(measure: str) -> str:
    """Colour of a volume's tissue."""
    tissues = {r.name: r.tissue for r in saliency.WHOLE_REGIONS}
    return figures.SUM_COLOUR if measure == TOTAL else BY_NAME[tissues.get(measure, measure)].colour


@dataclass(frozen=True)
class Bars:
    """What the Feature influence page computes."""

    view: InfluenceView
    people: pd.DataFrame = field(repr=False)
    """As given."""
    found: saliency.Gradients
    whole: pd.DataFrame
    """As from `saliency.summarise`."""
    contrasts: pd.DataFrame | None
    shown: pd.DataFrame
    """As from `saliency.to_show`."""
    mapped: dict[str, str]
    """Encoded column → label of the features whose map can be shown, most influential first."""
    draws: int
    band: str
    about: str
    """Whose they are."""

    @property
    def count(self) -> int:
        """People in the subgroup."""
        return int(self.whole["people"].iloc[0])

    @property
    def sampled(self) -> str:
        """Which voxels, where not all."""
        return saliency.EVERY_SECOND if self.found.resolution == 2 else ""

    @property
    def tissue(self) -> str:
        """Whose map is shown to start with: the measure's, or GM."""
        return self.view.measure if self.view.measure in TISSUES else "gm"

    @property
    def map_of(self) -> str:
        """What the map is a mean of, where it is one."""
        return saliency.averaged_words(self.count, self.draws) if self.view.is_mean else ""

    @property
    def title(self) -> str:
        """Whose volume, and of whom."""
        many = f" (n = {self.count})" if self.count > 1 else ""
        more = f", {self.sampled}" if self.sampled else ""
        return f"Influence on {measure_name(self.view.measure)} volume, {self.about}{many}{more}"


def bars_of(
    pack: Pack,
    view: InfluenceView,
    people: pd.DataFrame,
    about: str,
    seed: int,
    *,
    gradients: Callable[..., saliency.Gradients],
    contrasts: Callable[..., pd.DataFrame],
) -> Bars:
    """The bars of the Feature influence page.

    Args:
        people: natural values, index participant_id.
        about: what to call them.
        gradients: pack, people, draws, seed, resolution → gradients of `saliency.EVERYTHING`.
        contrasts: pack, people, encoded columns, subgroup, draws, seed, resolution → `saliency.contrasts`.
    """
    draws, resolution, where = _draws_of(view), _resolution(pack, view), view.subgroup
    found = gradients(pack, people, draws, seed, resolution)
    whole = saliency.summarise(pack, found, where=where)
    top = whole[whole["measure"] == view.measure].head(view.top)
    levels = None
    if view.unit == "natural":
        levels = contrasts(pack, people, list(top["column"]), where, draws, seed, resolution)
    return Bars(
        view, people, found, whole, levels, saliency.to_show(whole, levels, view.measure, view.top),
        dict(zip(top["column"], top["label"], strict=True)), draws, saliency.band_name(whole), about,
    )  # fmt: skip


def influence(
    pack: Pack,
    scenario: Scenario,
    view: View,
    bars: Bars,
    brain: Brain,
    change: Callable[[str], Maps],
    mean: Callable[[str], saliency.MeanMap],
) -> Page:
    """The Feature influence page.

    Args:
        brain: of the person whose map is shown where it is no mean (`InfluenceView.is_mean`).
        change: encoded column → what `saliency.voxel_map` gives.
        mean: encoded column → `saliency.mean_map` of `mapped_people`.
    """
    shown, found, one = bars.shown, bars.found, bars.view
    brain = replace(brain, participant_id=page_export.PERSON)
    column = view.column if view.column in bars.mapped else next(iter(bars.mapped))
    tissue = view.tissue or bars.tissue
    many = one.is_mean
    of_many: dict[str, Any] = {"whose": bars.map_of, "anatomy": lambda: mean(column).anatomy} if many else {}
    both = [
        *page_figures.influence_figures(
            pack, shown, colour=colour_of(one.measure), axis=AXES[one.unit], band=bars.band, title=bars.title,
            whole=lambda: saliency.with_provenance(bars.whole, found),
        ),
        page_figures.map_figure(
            pack, brain, lambda: mean(column).change if many else change(column), column, bars.mapped[column],
            tissue=tissue, at=view.at, display=display_of(scenario), smooth=_smooth(scenario), **of_many,
        ),
    ]  # fmt: skip
    table = page_export.OWN_TABLE if one.whose == "table" else ""
    show = show_command("influence", view, table=table)
    return Page(
        both,
        lambda tell: page_export.influence_zip(
            pack, both, found, bars.whole, where=one.subgroup, draws=bars.draws,
            maps=influence_maps(pack, bars, brain, column, change, mean), contrasts=bars.contrasts,
            bars=bars_table(bars), given=bars.people if table else None, scenario=scenario.to_json(), show=show,
            tell=tell,
        ),
        page_export.influence_commands(pack, found.seed, bars.draws, found.resolution),
        show,
        page_export.INFLUENCE_GIVES,
    )  # fmt: skip


def mapped_people(pack: Pack, bars: Bars) -> pd.DataFrame:
    """The people over whom a map is the mean: those of the subgroup."""
    return bars.people[saliency.matching(pack, bars.found.natural, bars.view.subgroup)]


def influence_maps(
    pack: Pack,
    bars: Bars,
    brain: Brain,
    column: str,
    change: Callable[[str], Maps],
    mean: Callable[[str], saliency.MeanMap],
) -> Iterator[tuple[str, bytes]]:
    """Files of the map that is shown; arguments as for `influence`."""
    brain = replace(brain, participant_id=page_export.PERSON)
    if not bars.view.is_mean:
        return page_figures.map_files(pack, brain, change(column), column)
    found = mean(column)
    return page_figures.map_files(pack, brain, found.change, column, mean=found)


def bars_table(bars: Bars) -> pd.DataFrame:
    """The bars as shown."""
    return page_export.bars_table(
        bars.shown, bars.found, measure=bars.view.measure, band=bars.band, people=bars.count, draws=bars.draws
    )


def comparison_of(pack: Pack, scenario: Scenario) -> Comparison:
    """The scenario's table of the Compare page, or what it starts with."""
    return scenario.compare or _usual_comparison(pack, scenario, USUAL_DRAWS)


def _usual_comparison(pack: Pack, scenario: Scenario, draws: int) -> Comparison:
    """What the Compare page starts with."""
    return Comparison.of(comparing.starting_people(pack, scenario.person), scenario.person, draws)


def compare(
    pack: Pack,
    scenario: Scenario,
    view: View,
    comparison: Comparison,
    table: pd.DataFrame,
    brains: Mapping[str, Brain],
    *,
    own: bool = False,
) -> Page:
    """The Compare page.

    Args:
        table: as from `compare.compared`.
        brains: scenario → brain.
        own: the scenarios are those of a user's table, which no scenario file holds: it has the usual ones in their
            place.
    """
    people, draws, seed = comparison.people, comparison.draws, scenario.seed
    if own:
        scenario = replace(scenario, compare=_usual_comparison(pack, scenario, draws))
    shown = page_figures.compare_figures(
        pack, table, brains, people, plane=view.plane, tissue=view.tissue or "gm", at=view.at,
        display=display_of(scenario), smooth=_smooth(scenario),
    )  # fmt: skip
    show = show_command("compare", view, table=page_export.OWN_TABLE if own else "")
    return Page(
        shown,
        lambda tell: page_export.compare_zip(
            pack, shown, table, brains, draws=draws, seed=seed, scenario=scenario.to_json(),
            given=people if own else None, show=show, tell=tell,
        ),
        page_export.compare_commands(pack, seed, draws),
        show,
    )  # fmt: skip


def cohort(
    pack: Pack,
    scenario: Scenario,
    view: View,
    places: pd.DataFrame,
    person: Brain,
    summary: CohortSummary | None,
) -> Page:
    """The Cohort page.

    Args:
        places: as from `coverage.placed`.
    """
    names = list(places["feature"])
    place = names.index(view.feature) if view.feature else coverage.first_to_show(pack, places)
    row = {str(k): v for k, v in places.iloc[place].items()}
    shown = page_figures.cohort_figures(pack, row, places, person, summary)
    show = show_command("cohort", view)
    return Page(
        shown,
        lambda tell: page_export.cohort_zip(
            pack, shown, places, person, scenario=scenario.to_json(), show=show, tell=tell
        ),
        page_export.person_commands(pack, person.seed),
        show,
        page_export.COHORT_GIVES,
    )


def evaluation(pack: Pack, scenario: Scenario) -> Page:
    """The Evaluation page; all but the pack is the same for every scenario."""
    shown = page_figures.evaluation_figures(pack)
    tables = {"evaluation": measured.tidy(pack.metrics), "paired": measured.every_pair(pack.metrics)}
    show = show_command("evaluation", View())
    return Page(
        shown,
        lambda tell: page_export.evaluation_zip(
            pack, shown, tables, scenario=scenario.to_json(), show=show, tell=tell
        ),
        [],
        show,
    )


def told_of(pack: Pack, scenario: Scenario) -> tuple[str, ...]:
    """Analyses that a scenario sets, of `ANALYSES`."""
    set_there = {
        "sweep": scenario.sweep is not None and pack.schema.age is not None,
        "compare": scenario.compare is not None,
        "influence": scenario.influence != InfluenceView(),
    }
    return tuple(name for name in ANALYSES if set_there[name])


def session_of(
    pack: Pack, scenario: Scenario, told: Sequence[str], comparison: Comparison | None = None
) -> page_export.Session:
    """What the Method page tells.

    Args:
        told: analyses, of `ANALYSES`.
        comparison: where it is another than the scenario's.
    """
    return page_export.Session(
        scenario.person,
        scenario.seed,
        plan_of(pack, scenario) if "sweep" in told else None,
        (comparison or comparison_of(pack, scenario)) if "compare" in told else None,
        _gradient_settings(pack, scenario.influence) if "influence" in told else None,
    )


def _gradient_settings(pack: Pack, view: InfluenceView) -> page_export.GradientSettings:
    among = [f"{pack.schema.feature(n).label} {_wanted(pack, n, w)}" for n, w in view.subgroup.items()]
    people = _WORDS[view.whose] + (f" ({'; '.join(among)})" if among else "")
    return page_export.GradientSettings(
        people, view.whose != "person", _draws_of(view), _resolution(pack, view)
    )


def _wanted(pack: Pack, name: str, wanted: Sequence[Any]) -> str:
    """A range or levels in words."""
    feature = pack.schema.feature(name)
    if feature.is_numeric:
        return f"{wanted[0]:g}–{wanted[1]:g} {feature.units}".strip()
    return " or ".join(feature.levels[str(level)] for level in wanted)


def method(pack: Pack, scenario: Scenario, session: page_export.Session) -> Page:
    """The Method page; a table of the user's is in the zip, in no scenario, and so has no line."""
    parts = {"sweep": session.sweep, "compare": session.comparison, "influence": session.gradients}
    told = tuple(name for name, part in parts.items() if part is not None)
    same = session == session_of(pack, scenario, told)
    show = show_command("method", View(told=told)) if same else ""
    return Page(
        [],
        lambda tell: page_export.method_zip(pack, session, scenario=scenario.to_json(), show=show, tell=tell),
        session.commands(pack),
        show,
        page_export.METHOD_GIVES,
    )
