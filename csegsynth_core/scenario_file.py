"""A view of the app as a file (JSON) and as a link: who, which draw, which sweep, who is overlaid, which display, the
table of the Compare page and the settings of the Feature influence page.

A file is complete: it holds every feature. A link holds what differs from a typical person, so that it stays
short; both are checked against the model pack when they are opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from csegsynth_core import __version__
from csegsynth_core.changes import Change, changes_of, changes_of_link, to_link
from csegsynth_core.data.feature import number_of
from csegsynth_core.data.schema import Schema
from csegsynth_core.errors import CSegSynthError, ScenarioError
from csegsynth_core.generate import MAX_SEED
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_checks import (
    MEND,
    PERSON,
    brief,
    check_name,
    is_number,
    person_of,
    person_of_query,
    seed_of,
    text_of,
)
from csegsynth_core.scenario_pages import COMPARE, INFLUENCE, Comparison, InfluenceView
from csegsynth_core.scenarios import SCENARIOS, Plan

FORMAT: Final = "csegsynth-scenario"
VERSION: Final = 4
READABLE: Final = (1, 2, 3, 4)
"""Versions that are read; files of version 1 have no overlays, those of version 2 neither `compare` nor `influence`,
those of version 3 no `changes`. Links say their version since 3."""
MAX_BYTES: Final = 1_000_000
"""Largest file that is read; a person with 198 features needs about ten thousand."""

DISPLAY: Final[dict[str, str]] = {"radiological": "r", "nose_left": "n", "voxels": "v"}
"""Display convention → its letter in a link."""

BASELINE: Final = "b."
"""Start of a key of a feature of the baseline in a link."""

OVERLAY: Final = "overlay"
"""Start of an overlay's key in a link; a number follows."""

CHANGES: Final = "change"
"""A link's and its overlays' key of what changes at an age."""

MAX_LINK: Final = 4000
"""Characters of a link's parameters: more are cut by some mail programs and servers."""

MAX_LINES: Final = 6
"""Lines of a figure: there are as many kinds of line."""

MAX_OVERLAYS: Final = MAX_LINES - 1
"""Overlays of a file or link, and their lines in all: the current person has one at least."""

THIS_PERSON: Final = "this person"
"""What the current person is called in legends; no overlay may be."""

_KEY: Final = re.compile(
    rf"v|pack|draw|view|from|to|step|scenario|draws|keep|{CHANGES}|{OVERLAY}[0-9]+|{COMPARE}[0-9]{{0,3}}|{INFLUENCE}"
    rf"|({re.escape(PERSON)}|{re.escape(BASELINE)}).*",
    re.DOTALL,
)
_FOREIGN_KEY: Final = re.compile(
    r"embed(_options)?|utm_.*|mtm_.*|pk_.*|hsa_.*|mc_[ce]id|_ga|_gl|_hs.*|[a-z]*clid|gbraid|wbraid|igshid|si|ref|ref_src"
)
_AGES: Final = (0.0, 1000.0)
_SWEEP: Final = "start, stop, step, scenarios, keep_distance, draws and changes"


@dataclass(frozen=True)
class Overlay:
    """Somebody's lines over the current person's, at the ages and with the draws of the current sweep."""

    name: str
    """As in legends."""
    person: dict[str, float | str | None]
    """Natural value of each feature; None for unknown."""
    seed: int = 0
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    keep_distance: bool = False
    changes: tuple[Change, ...] = ()
    """What changes at an age; the current person may have other changes."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "name": self.name,
            "person": dict(self.person),
            "draw": self.seed,
            "scenarios": list(self.scenarios),
            "keep_distance": self.keep_distance,
            "changes": [one.to_dict() for one in self.changes],
        }


@dataclass(frozen=True)
class Scenario:
    """What a view shows."""

    pack_name: str
    pack_hash: str
    person: dict[str, float | str | None]
    """Natural value of each feature; None for unknown."""
    seed: int = 0
    display: dict[str, bool] = field(default_factory=dict)
    """`radiological`, `nose_left`, `voxels`; what is left out is off."""
    baseline: dict[str, float | str | None] | None = None
    """The person compared with; None: a typical one."""
    sweep: Plan | None = None
    overlays: tuple[Overlay, ...] = ()
    compare: Comparison | None = None
    """The table of the Compare page; None: as it starts from the person."""
    influence: InfluenceView = field(default_factory=InfluenceView)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plan = self.sweep
        return {
            "format": FORMAT,
            "version": VERSION,
            "software": __version__,
            "pack": {"name": self.pack_name, "hash": self.pack_hash},
            "person": dict(self.person),
            "draw": self.seed,
            "display": {k: bool(self.display.get(k)) for k in DISPLAY},
            "baseline": None if self.baseline is None else dict(self.baseline),
            "sweep": None
            if plan is None
            else {
                "start": plan.start,
                "stop": plan.stop,
                "step": plan.step,
                "scenarios": list(plan.scenarios),
                "keep_distance": plan.keep_distance,
                "draws": plan.draws,
                "changes": [one.to_dict() for one in plan.changes],
            },
            "overlays": [one.to_dict() for one in self.overlays],
            "compare": None if self.compare is None else self.compare.to_dict(),
            "influence": self.influence.to_dict(),
        }

    def to_json(self) -> str:
        """Text of the file."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"


def read_json(payload: bytes | str) -> dict[str, Any]:
    """The content of a scenario file, its format and version checked; the rest is checked by `from_dict`.

    Raises:
        ScenarioError: too large, not JSON, not a scenario, or of another version.
    """
    if len(payload) > MAX_BYTES:
        raise ScenarioError(
            "the scenario file is too large",
            expected=f"at most {MAX_BYTES // 1000} kB",
            got=f"{len(payload) // 1000} kB",
            fix="choose a file saved by this app",
        )
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(
            "the scenario file is not JSON", got=str(error)[:120], fix="choose a file saved by this app"
        ) from error
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        got = repr(data.get("format")) if isinstance(data, Mapping) else type(data).__name__
        raise ScenarioError(
            "not a scenario file",
            expected=f"format {FORMAT!r}",
            got=got[:100],
            fix="choose a file saved by this app",
        )
    if data.get("version") not in READABLE or isinstance(data.get("version"), bool):
        raise ScenarioError(
            "the scenario is of another version",
            expected=f"version {', '.join(map(str, READABLE))}",
            got=f"version {brief(data.get('version'))} (software {str(data.get('software', 'unknown'))[:40]})",
            fix="use the software version that wrote it",
        )
    pack = data.get("pack")
    if not isinstance(pack, Mapping) or not isinstance(pack.get("name"), str):
        raise ScenarioError(
            "the scenario names no model pack", expected='"pack": {"name": …, "hash": …}', fix=MEND
        )
    return dict(data)


def from_dict(data: Mapping[str, Any], pack: Pack) -> tuple[Scenario, list[str]]:
    """A scenario for a model pack, and notes about what differs.

    Args:
        data: as from `read_json`.

    Returns:
        The scenario, and a note when the pack has the same name but is another version of the model.

    Raises:
        ScenarioError: another pack, an unknown feature or level, a value or a setting that is not possible.
    """
    data = read_json(json.dumps(dict(data)))
    name, digest = str(data["pack"]["name"]), str(data["pack"].get("hash", ""))
    if name != pack.name:
        raise ScenarioError(
            "the scenario was made with another model pack",
            expected=pack.name,
            got=name[:100],
            fix="choose that model pack, then open the scenario",
        )
    notes = []
    if digest != pack.hash:
        notes.append(
            f"the scenario was made with another version of the model pack {name}: brains will differ"
        )
    baseline = data.get("baseline")
    seed = seed_of(data.get("draw", 0))
    display = {} if data.get("display") is None else data["display"]
    if not isinstance(display, Mapping) or set(display) - set(DISPLAY):
        raise ScenarioError(
            "unknown display convention",
            expected=f"{', '.join(DISPLAY)}, each true or false",
            got=", ".join(map(str, display))[:100] if isinstance(display, Mapping) else brief(display),
            fix=MEND,
        )
    scenario = Scenario(
        pack_name=name,
        pack_hash=pack.hash,
        person=person_of(data.get("person"), pack.schema, "person"),
        seed=seed,
        display={k: display.get(k) is True for k in DISPLAY},
        baseline=None if baseline is None else person_of(baseline, pack.schema, "baseline"),
        sweep=_plan(data.get("sweep"), pack.schema, seed),
        overlays=_overlays(data.get("overlays", []), pack.schema),
        compare=Comparison.from_dict(data.get("compare"), pack.schema),
        influence=InfluenceView.from_dict(data.get("influence"), pack),
    )
    return scenario, notes


def to_query(
    scenario: Scenario, typical: Mapping[str, Any], usual: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The scenario as parameters of a link.

    Args:
        typical: the person whose values need not be said. Overlays say what differs from the scenario's person.
        usual: the baseline whose values need not be said; None: `typical`.
    """
    usual = typical if usual is None else usual
    out = {"v": str(VERSION), "pack": scenario.pack_name, "draw": str(scenario.seed)}
    letters = "".join(letter for k, letter in DISPLAY.items() if scenario.display.get(k))
    if letters:
        out["view"] = letters
    for name, value in scenario.person.items():
        if value != typical.get(name):
            out[PERSON + name] = text_of(value)
    for name, value in (scenario.baseline or {}).items():
        if value != usual.get(name):
            out[BASELINE + name] = text_of(value)
    if scenario.sweep is not None:
        plan = scenario.sweep
        out |= {"from": f"{plan.start:.10g}", "to": f"{plan.stop:.10g}", "step": f"{plan.step:.10g}"}
        out |= {"scenario": "both" if len(plan.scenarios) > 1 else plan.scenarios[0]}
        out |= {"draws": str(plan.draws)} | ({"keep": "1"} if plan.keep_distance else {})
        out |= {CHANGES: to_link(plan.changes)} if plan.changes else {}
    for n, one in enumerate(scenario.overlays):
        said = {"name": one.name, "draw": str(one.seed)}
        said["scenario"] = "both" if len(one.scenarios) > 1 else one.scenarios[0]
        said |= {"keep": "1"} if one.keep_distance else {}
        said |= {CHANGES: to_link(one.changes)} if one.changes else {}
        for name, value in one.person.items():
            if value != scenario.person.get(name):
                said[PERSON + name] = text_of(value)
        out[f"{OVERLAY}{n + 1}"] = urlencode(said)
    if scenario.compare is not None:
        out |= scenario.compare.to_query(scenario.person)
    return out | scenario.influence.to_query()


def fitted(query: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """A link that is not too long: as it is; or without the table of the Compare page; or without the settings of the
    Feature influence page; or without both: the first of these that fits.

    Args:
        query: as from `to_query`.

    Returns:
        Parameters that fit into `MAX_LINK` characters (more where person and overlays alone need them), and what was
        left out, of `compare` and `influence`.
    """
    keys = {part: {k for k in query if re.fullmatch(rf"{part}[0-9]*", k)} for part in (COMPARE, INFLUENCE)}
    tried: tuple[tuple[str, ...], ...] = ((), (COMPARE,), (INFLUENCE,), (COMPARE, INFLUENCE))
    out, left_out = dict(query), tried[0]
    for left_out in tried:
        out = {k: v for k, v in query.items() if not any(k in keys[part] for part in left_out)}
        if len(urlencode(out)) <= MAX_LINK:
            break
    return out, tuple(part for part in left_out if keys[part])


def check_version_of_query(query: Mapping[str, str]) -> None:
    """Whether all of a link is understood.

    Raises:
        ScenarioError: it was made by a newer version of the software.
    """
    if query.get("v", "2") not in map(str, READABLE):
        raise ScenarioError(
            "the link is of another version",
            expected=f"version {', '.join(map(str, READABLE))}, or none",
            got=f"version {brief(query['v'])}",
            fix="what is known of it was opened; use the software version that made it for the rest",
        )


def unknown_of_query(query: Mapping[str, str]) -> list[str]:
    """Keys of a link that say nothing here; without those of Streamlit and of sites that count visits."""
    return [k for k in query if not (_KEY.fullmatch(k) or _FOREIGN_KEY.fullmatch(k))]


def overlays_of_query(
    query: Mapping[str, str], person: Mapping[str, float | str | None], schema: Schema
) -> tuple[Overlay, ...]:
    """Overlays that a link gives.

    Args:
        person: whom the link shows; overlays say what differs from them.

    Raises:
        ScenarioError: too many of them, or something in one cannot be used.
    """
    keys = sorted(k for k in query if re.fullmatch(rf"{OVERLAY}[0-9]+", k))
    _check_overlays(len(keys))
    out = []
    for n, key in enumerate(keys):
        said = dict(parse_qsl(query[key], keep_blank_values=True))
        chosen = said.get("scenario", "both")
        one = {
            "name": said.get("name", key),
            "draw": seed_of_query(said),
            "keep_distance": said.get("keep") == "1",
        }
        one["scenarios"] = list(SCENARIOS) if chosen == "both" else [chosen]
        one["person"] = {**person, **person_of_query(said, schema)}
        changes = changes_of_link(said.get(CHANGES, ""), schema, f"overlay {n + 1}")
        one["changes"] = [change.to_dict() for change in changes]
        out.append(one)
    return _overlays(out, schema)


def seed_of_query(query: Mapping[str, str]) -> int:
    """Draw that a link gives; 0 without one.

    Raises:
        ScenarioError: not a whole number in range.
    """
    text = query.get("draw", "0")
    usable = text.isascii() and text.isdecimal() and len(text) <= 20
    if not usable or int(text) > MAX_SEED:
        raise ScenarioError(
            "the link's draw is unusable", expected=f"0 to {MAX_SEED}", got=brief(text), fix=MEND
        )
    return int(text)


def display_of_query(query: Mapping[str, str]) -> dict[str, bool]:
    """Display conventions that a link gives."""
    return {k: letter in query.get("view", "") for k, letter in DISPLAY.items()}


def plan_of_query(query: Mapping[str, str], schema: Schema, seed: int = 0) -> Plan | None:
    """Sweep that a link gives, None without one.

    Raises:
        ScenarioError: a number that makes no sense, an unknown scenario, or a change at an age that cannot be.
    """
    if not {"from", "to"} <= set(query):
        if CHANGES in query:
            raise ScenarioError(
                "the link has changes at an age but no sweep", expected="from and to, ages in years", fix=MEND
            )
        return None
    chosen = query.get("scenario", "both")
    return _plan(
        {
            "start": number_of(query["from"]),
            "stop": number_of(query["to"]),
            "step": number_of(query.get("step", "2")),
            "scenarios": list(SCENARIOS) if chosen == "both" else [chosen],
            "keep_distance": query.get("keep") == "1",
            "draws": number_of(query.get("draws", "10")),
            "changes": [
                one.to_dict() for one in changes_of_link(query.get(CHANGES, ""), schema, "the sweep")
            ],
        },
        schema,
        seed,
    )


def _plan(data: Any, schema: Schema, seed: int) -> Plan | None:
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ScenarioError(
            "the sweep of the scenario cannot be read", expected=_SWEEP, got=brief(data), fix=MEND
        )
    numbers = {name: _number(data.get(name), name) for name in ("start", "stop", "step", "draws")}
    scenarios, (low, high) = data.get("scenarios"), _AGES
    if not isinstance(scenarios, list) or not numbers["draws"].is_integer():
        raise ScenarioError(
            "the sweep of the scenario cannot be read",
            expected=f"{_SWEEP}; a list of scenarios, a whole number of draws",
            got=f"scenarios {brief(scenarios)}, draws {numbers['draws']:g}",
            fix=MEND,
        )
    if not (low <= numbers["start"] <= high and low <= numbers["stop"] <= high):
        raise ScenarioError(
            "unusable ages of the sweep",
            expected=f"{low:g} to {high:g}",
            got=f"{numbers['start']:g} to {numbers['stop']:g}",
            fix=MEND,
        )
    changes = changes_of(data.get("changes"), schema, "the sweep")
    try:
        return Plan(
            start=numbers["start"],
            stop=numbers["stop"],
            step=numbers["step"],
            scenarios=tuple(str(s)[:40] for s in scenarios),
            keep_distance=data.get("keep_distance") is True,
            draws=int(numbers["draws"]),
            seed=seed,
            changes=changes,
        )
    except CSegSynthError as error:
        raise ScenarioError(
            error.problem, expected=error.expected, got=error.got, fix=error.fix or MEND
        ) from error


def _number(value: Any, name: str) -> float:
    """A finite number of the sweep."""
    if not is_number(value):
        raise ScenarioError(
            "the sweep of the scenario cannot be read",
            expected=f"{_SWEEP}; {name} a number",
            got=f"{name} {brief(value)}",
            fix=MEND,
        )
    return float(value)


def _check_overlays(count: int) -> None:
    if count > MAX_OVERLAYS:
        raise ScenarioError(
            "too many overlays", expected=f"at most {MAX_OVERLAYS}", got=str(count), fix="leave some out"
        )


def _overlays(data: Any, schema: Schema) -> tuple[Overlay, ...]:
    if not isinstance(data, list) or not all(isinstance(one, Mapping) for one in data):
        raise ScenarioError(
            "the overlays of the scenario cannot be read",
            expected="a list of people",
            got=type(data).__name__,
            fix=MEND,
        )
    _check_overlays(len(data))
    out: list[Overlay] = []
    for n, one in enumerate(data):
        what = f"overlay {n + 1}"
        name, scenarios = check_name(one.get("name"), what), one.get("scenarios", list(SCENARIOS))
        if name in (THIS_PERSON, *(other.name for other in out)):
            raise ScenarioError(
                f"{what}: its name is taken",
                expected="names that differ, so that lines can be told apart",
                got=brief(name),
                fix="give it another name",
            )
        known = isinstance(scenarios, list) and all(isinstance(s, str) and s in SCENARIOS for s in scenarios)
        if not known or not scenarios or len(set(scenarios)) < len(scenarios):
            raise ScenarioError(
                f"{what}: unusable scenarios",
                expected=f"one or more of {', '.join(SCENARIOS)}",
                got=brief(scenarios),
                fix=MEND,
            )
        out.append(
            Overlay(
                name=name,
                person=person_of(one.get("person"), schema, what),
                seed=seed_of(one.get("draw", 0)),
                scenarios=tuple(scenarios),
                keep_distance=one.get("keep_distance") is True,
                changes=changes_of(one.get("changes"), schema, what),
            )
        )
    lines = sum(len(one.scenarios) for one in out)
    if lines > MAX_OVERLAYS:
        raise ScenarioError(
            "the overlays have too many lines",
            expected=f"at most {MAX_OVERLAYS}, one for each overlay and scenario",
            got=str(lines),
            fix="leave some out, or give them one scenario",
        )
    return tuple(out)
