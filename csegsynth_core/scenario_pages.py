"""What scenario files and links hold of two pages: the table of Compare, the settings of Feature influence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from csegsynth_core.compare import MAX_SCENARIOS
from csegsynth_core.data.feature import number_of
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.errors import ScenarioError
from csegsynth_core.pack import Pack
from csegsynth_core.saliency import WHOLE_REGIONS
from csegsynth_core.scenario_checks import (
    MEND,
    PERSON,
    Value,
    brief,
    check_name,
    feature_of,
    is_number,
    person_of,
    person_of_query,
    text_of,
    value_of,
)
from csegsynth_core.tissue import TISSUES

COMPARE: Final = "compare"
"""A file's key of the Compare page's table; a link's key of what it starts from, with a number behind it of a
scenario."""

INFLUENCE: Final = "influence"
"""A file's or link's key of the settings of the Feature influence page."""

SUBGROUP: Final = "in."
"""Start of a feature's key in those settings: the ends of a range, or the levels wanted."""

COMPARE_DRAWS: Final = (2, 32)
USUAL_DRAWS: Final = 6
"""Latent draws of the Compare page."""
WHOSE: Final = ("person", "typical", "varied", "table")
"""Whose gradients: the current person's, typical people's, drawn people's, those of the user's table (which neither
files nor links hold)."""
MEASURES: Final = (*TISSUES, TOTAL, *(r.name for r in WHOLE_REGIONS))
UNITS: Final = ("sd", "natural")
TOP: Final = (3, 60)
INFLUENCE_DRAWS: Final = (1, 32)
_AS_START: Final = "leave it out: it is then as in the person that the table starts from"
_MAP: Final = {True: "mean", False: "one"}
"""What a link says of the map: a mean, or of one brain."""


@dataclass(frozen=True)
class Comparison:
    """The table of the Compare page."""

    start: dict[str, Value]
    """Natural value of each feature of the person that the table started from."""
    scenarios: dict[str, dict[str, Value]]
    """Name → the features in which it differs from `start`; the first is the one compared with."""
    draws: int = USUAL_DRAWS

    @classmethod
    def of(cls, people: Mapping[str, Mapping[str, Any]], start: Mapping[str, Any], draws: int) -> Comparison:
        """The table of these people.

        Args:
            people: name → every feature, as from `compare.filled`.
        """
        plain = {str(k): _plain(v) for k, v in start.items()}
        changes = {
            name: {str(k): v for k, given in one.items() if (v := _plain(given)) != plain.get(str(k))}
            for name, one in people.items()
        }
        return cls(plain, changes, draws)

    @property
    def people(self) -> dict[str, dict[str, Value]]:
        """Name → every feature."""
        return {name: self.start | changes for name, changes in self.scenarios.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        rows = [{"name": name, "changes": dict(changes)} for name, changes in self.scenarios.items()]
        return {"person": dict(self.start), "scenarios": rows, "draws": self.draws}

    @classmethod
    def from_dict(cls, data: Any, schema: Schema) -> Comparison | None:
        """The table of a file; None without one.

        Raises:
            ScenarioError: names that `check_name` refuses or that are taken, too many scenarios, an unknown feature
                or level, a value that is not possible.
        """
        if data is None:
            return None
        rows = data.get("scenarios") if isinstance(data, Mapping) else None
        if not isinstance(rows, list) or not all(isinstance(one, Mapping) for one in rows):
            raise ScenarioError(
                "the table of the Compare page cannot be read",
                expected="person, scenarios (a list of name and changes) and draws",
                got=brief(data),
                fix=MEND,
            )
        if not 1 <= len(rows) <= MAX_SCENARIOS:
            raise ScenarioError(
                "unusable number of scenarios to compare",
                expected=f"1 to {MAX_SCENARIOS}",
                got=str(len(rows)),
                fix="leave some out",
            )
        start = person_of(data.get("person"), schema, "person that the Compare page's table starts from")
        scenarios: dict[str, dict[str, Value]] = {}
        for n, one in enumerate(rows):
            what = f"scenario {n + 1} to compare"
            name, changes = check_name(one.get("name"), what), one.get("changes", {})
            if name in scenarios:
                raise ScenarioError(
                    f"{what}: its name is taken",
                    expected="names that differ, so that scenarios can be told apart",
                    got=brief(name),
                    fix="give it another name",
                )
            scenarios[name] = _changes(changes, start, schema, what)
        return cls(
            start,
            scenarios,
            _whole(data.get("draws", USUAL_DRAWS), COMPARE_DRAWS, "draws of the Compare page"),
        )

    def to_query(self, person: Mapping[str, Value]) -> dict[str, str]:
        """Parameters of a link.

        Args:
            person: whom the link shows; what the table starts from is said where it differs.
        """
        said = {PERSON + k: text_of(v) for k, v in self.start.items() if v != person.get(k)}
        said |= {} if self.draws == USUAL_DRAWS else {"draws": str(self.draws)}
        out = {COMPARE: urlencode(said)} if said else {}
        for n, (name, changes) in enumerate(self.scenarios.items()):
            row = {"name": name} | {PERSON + k: text_of(v) for k, v in changes.items()}
            out[f"{COMPARE}{n + 1}"] = urlencode(row)
        return out

    @classmethod
    def of_query(
        cls, query: Mapping[str, str], person: Mapping[str, Value], schema: Schema
    ) -> Comparison | None:
        """The table that a link gives; None without one.

        Raises:
            ScenarioError: see `from_dict`.
        """
        keys = sorted((k for k in query if re.fullmatch(rf"{COMPARE}[0-9]{{1,3}}", k)), key=_number_in)
        if not keys and COMPARE not in query:
            return None
        said = _first(query.get(COMPARE, ""))
        rows = []
        for key in keys:
            row = _first(query[key])
            rows.append(
                {"name": row.get("name", key), "changes": person_of_query(row, schema, otherwise=_AS_START)}
            )
        data = {"person": {**person, **person_of_query(said, schema)}, "scenarios": rows}
        draws = number_of(said.get("draws", str(USUAL_DRAWS)))
        return cls.from_dict(data | {"draws": _integer(draws, said.get("draws"))}, schema)


@dataclass(frozen=True)
class InfluenceView:
    """The settings of the Feature influence page."""

    whose: str = "person"
    """One of `WHOSE`."""
    measure: str = "gm"
    """One of `MEASURES`: whose volume."""
    unit: str = "sd"
    """One of `UNITS`: per standard deviation, or per natural unit."""
    top: int = 10
    """Features shown."""
    subgroup: dict[str, tuple[float, float] | tuple[str, ...]] = field(default_factory=dict)
    """Feature → lowest and highest value, or the levels wanted; of groups only."""
    draws: int | None = None
    """Latent draws of each person; None: 4 of one person, 1 of a group."""
    every_voxel: bool = False
    """All voxels of a group's brains, not every second one. One person's gradients are of all of them in any case."""
    mean_map: bool | None = None
    """Whether the map of where a feature acts is the mean over these people and draws, or of the current person's
    brain; None: a group's mean, one person's brain."""

    @property
    def is_mean(self) -> bool:
        """Whether the map is a mean."""
        return self.whose != "person" if self.mean_map is None else self.mean_map

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "whose": self.whose,
            "measure": self.measure,
            "unit": self.unit,
            "top": self.top,
            "subgroup": {name: list(wanted) for name, wanted in self.subgroup.items()},
            "draws": self.draws,
            "every_voxel": self.every_voxel,
            "mean_map": self.mean_map,
        }

    @classmethod
    def from_dict(cls, data: Any, pack: Pack) -> InfluenceView:
        """The settings of a file; what is left out is as usual.

        Raises:
            ScenarioError: an unknown setting, or a value of one that cannot be.
        """
        if data is None:
            return cls()
        if not isinstance(data, Mapping) or set(data) - set(cls().to_dict()):
            raise ScenarioError(
                "the settings of the Feature influence page cannot be read",
                expected=", ".join(cls().to_dict()),
                got=", ".join(map(str, data))[:100] if isinstance(data, Mapping) else brief(data),
                fix=MEND,
            )
        given = cls().to_dict() | dict(data)
        for name, known in {"whose": WHOSE, "measure": MEASURES, "unit": UNITS}.items():
            if given[name] not in known:
                raise ScenarioError(
                    f"Feature influence: unknown {name}",
                    expected=f"one of {', '.join(known)}",
                    got=brief(given[name]),
                    fix=MEND,
                )
        for name, possible in {"every_voxel": (True, False), "mean_map": (True, False, None)}.items():
            if not any(given[name] is one for one in possible):
                raise ScenarioError(
                    f"Feature influence: unusable {name}",
                    expected="true or false" + (", or null for the usual" if None in possible else ""),
                    got=brief(given[name]),
                    fix=MEND,
                )
        draws = given["draws"]
        if draws is not None:
            draws = _whole(draws, INFLUENCE_DRAWS, "draws of the Feature influence page")
        return cls(
            whose=given["whose"],
            measure=given["measure"],
            unit=given["unit"],
            top=_whole(given["top"], TOP, "number of features shown"),
            subgroup=_subgroup(given["subgroup"], given["whose"], pack),
            draws=draws,
            every_voxel=given["every_voxel"],
            mean_map=given["mean_map"],
        )

    def to_query(self) -> dict[str, str]:
        """Parameters of a link: what is not as usual."""
        usual = InfluenceView()
        said: dict[str, Any] = {
            name: str(getattr(self, name))
            for name in ("whose", "measure", "unit", "top", "draws")
            if getattr(self, name) != getattr(usual, name)
        }
        said |= {"all": "1"} if self.every_voxel else {}
        said |= {} if self.mean_map is None else {"map": _MAP[self.mean_map]}
        # Numbers with every digit: an end of the training range has to stay within it.
        for name, wanted in self.subgroup.items():
            said[SUBGROUP + name] = [v if isinstance(v, str) else repr(float(v)) for v in wanted]
        return {INFLUENCE: urlencode(said, doseq=True)} if said else {}

    @classmethod
    def of_query(cls, query: Mapping[str, str], pack: Pack) -> InfluenceView:
        """The settings that a link gives; as usual without any.

        Raises:
            ScenarioError: see `from_dict`.
        """
        said = parse_qs(query.get(INFLUENCE, ""), keep_blank_values=True)
        data: dict[str, Any] = {k: said[k][0] for k in ("whose", "measure", "unit") if k in said}
        for name in ("top", "draws"):
            if name in said:
                data[name] = _integer(number_of(said[name][0]), said[name][0])
        data["every_voxel"] = said.get("all") == ["1"]
        if "map" in said:
            data["mean_map"] = {v: k for k, v in _MAP.items()}.get(said["map"][0], said["map"][0])
        data["subgroup"] = {}
        for key, wanted in said.items():
            if key.startswith(SUBGROUP):
                one = feature_of(key.removeprefix(SUBGROUP), pack.schema, "the link's subgroup")
                data["subgroup"][one.name] = [number_of(v) for v in wanted] if one.is_numeric else wanted
        return cls.from_dict(data, pack)


def _changes(data: Any, start: Mapping[str, Value], schema: Schema, what: str) -> dict[str, Value]:
    """Features in which a scenario differs from what its table starts from."""
    if not isinstance(data, Mapping):
        raise ScenarioError(
            f"{what}: its changes cannot be read", expected="features by name", got=brief(data), fix=MEND
        )
    out: dict[str, Value] = {}
    for key, given in data.items():
        one = feature_of(str(key), schema, what)
        value = value_of(one, given, what, _AS_START)
        if value is None and start[one.name] is not None:
            raise ScenarioError(
                f"{what}, {one.name}: an empty cell is as in the person that the table starts from",
                expected=one.expected,
                got="unknown",
                fix="leave it out, or make it unknown in that person",
            )
        if value != start[one.name]:
            out[one.name] = value
    return out


def _subgroup(data: Any, whose: str, pack: Pack) -> dict[str, tuple[float, float] | tuple[str, ...]]:
    """Filters that the page's controls can take."""
    if not isinstance(data, Mapping) or not all(isinstance(v, list) for v in data.values()):
        raise ScenarioError(
            "the subgroup cannot be read",
            expected="features by name, each with its lowest and highest value or its levels",
            got=brief(data),
            fix=MEND,
        )
    if data and whose == "person":
        raise ScenarioError(
            "one person has no subgroup",
            expected=f"whose {', '.join(WHOSE[1:])}",
            got="whose 'person'",
            fix="leave the subgroup out, or choose a group",
        )
    out: dict[str, tuple[float, float] | tuple[str, ...]] = {}
    for key, wanted in data.items():
        one = feature_of(str(key), pack.schema, "the subgroup")
        if one.is_numeric:
            out[one.name] = _span(one.name, wanted, pack)
            continue
        levels = [value_of(one, v, "the subgroup", "leave it out") for v in wanted]
        if not levels or None in levels or len(set(levels)) < len(levels):
            raise ScenarioError(
                f"the subgroup, {one.name}: unusable levels",
                expected=f"{one.expected}, each once",
                got=brief(wanted),
                fix=MEND,
            )
        out[one.name] = tuple(map(str, levels))
    return out


def _span(name: str, wanted: Sequence[Any], pack: Pack) -> tuple[float, float]:
    """Lowest and highest value, within the training range."""
    stats = pack.encoder.numeric[name]
    good = len(wanted) == 2 and all(map(is_number, wanted))
    if not good or not stats.minimum <= wanted[0] <= wanted[1] <= stats.maximum:
        raise ScenarioError(
            f"the subgroup, {name}: not a range",
            expected=f"lowest and highest, within the training range {stats.minimum:g} to {stats.maximum:g}",
            got=brief(wanted),
            fix=MEND,
        )
    return float(wanted[0]), float(wanted[1])


def _whole(value: Any, span: tuple[int, int], what: str) -> int:
    """A whole number within its ends."""
    if isinstance(value, bool) or not isinstance(value, int) or not span[0] <= value <= span[1]:
        raise ScenarioError(
            f"unusable {what}", expected=f"a whole number, {span[0]} to {span[1]}", got=brief(value), fix=MEND
        )
    return value


def _integer(number: float | None, text: str | None) -> Any:
    """A number of a link as an integer where it is one; otherwise what was written, to be refused."""
    return int(number) if number is not None and float(number).is_integer() else text


def _plain(value: Any) -> Value:
    """A cell of a table as it is in a file; not-a-number is unknown."""
    if isinstance(value, str):
        return value
    return None if value is None or value != value else float(value)


def _first(text: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(text, keep_blank_values=True).items()}


def _number_in(key: str) -> int:
    return int(key.removeprefix(COMPARE))
