"""One feature: its kind, units, levels and plausible range, and how a cell's text is understood.

The knowledge about well-known features (plausible ranges of adults, units, groups) lives here too.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from csegsynth_core.data.tables import ID
from csegsynth_core.errors import TableError

FeatureKind = Literal["numeric", "binary", "ordinal", "nominal"]
FeatureGroup = Literal["demographic", "interview", "cognitive", "lifestyle"]

KINDS: Final[tuple[FeatureKind, ...]] = get_args(FeatureKind)
GROUPS: Final[tuple[FeatureGroup, ...]] = get_args(FeatureGroup)

_PLAUSIBLE_ADULT: Final[dict[str, tuple[float, float, str]]] = {
    "age": (18.0, 100.0, "years"),
    "height": (130.0, 220.0, "cm"),
    "weight": (35.0, 200.0, "kg"),
    "bmi": (12.0, 60.0, "kg/m²"),
}
_UNITS: Final[tuple[tuple[str, str], ...]] = (
    (r"years?\b", "years"),
    (r"(cm|centimet(er|re)s?)$", "cm"),
    (r"(kg|kilograms?)$", "kg"),
    (r"(kg|kilograms?) ?(/|per) ?(m2|m\^2|m²|(squared?|sq) met(er|re)s?|met(er|re)s? squared)$", "kg/m²"),
)
_GROUP_STEMS: Final[dict[FeatureGroup, str]] = {
    "lifestyle": "smok cigar tobacco drink alcohol activit exercis sport sleep diet coffee "
    "caffein cannabis drug",
    "cognitive": "raven neo vstm cattell mmse moca iq memory stroop cognit reaction fluency vocab intellig "
    "trail wais ist recall reasoning",
    "demographic": "age sex gender height weight bmi ethnic race educat qualif handed",
    "interview": "marital occupation employ religi income household",
}
_SHORT_STEMS: Final = frozenset({"age", "sex", "neo", "iq", "ist", "race", "bmi"})  # whole words only
_NO: Final = frozenset({"no", "n", "false", "0", "never", "absent", "negative"})
_YES: Final = frozenset({"yes", "y", "true", "1", "ever", "present", "positive"})
_ABOVE_ZERO: Final = ">0"
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class ZeroUnless:
    """What another feature has to be for a number to be anything but 0: cigarettes a day, unless somebody smokes."""

    feature: str
    """Name of the other feature."""
    levels: tuple[str, ...] = ()
    """Keys of its levels; empty where it is a number, which has to be above 0."""

    def met(self, value: Any) -> bool:
        """Whether somebody with this natural value of the other feature may have another number than 0."""
        return str(value) in self.levels if self.levels else float(value) > 0

    def to_json(self) -> dict[str, Any]:
        """As in participants.json: `{"smoker": ["yes"]}`, or `{"children": ">0"}`."""
        return {self.feature: list(self.levels) or _ABOVE_ZERO}

    @classmethod
    def from_json(cls, data: Any, about: str) -> ZeroUnless:
        """Inverse of `to_json`.

        Args:
            about: what the message begins with.

        Raises:
            TableError: not of this form.
        """
        if isinstance(data, Mapping) and len(data) == 1:
            name, levels = next(iter(data.items()))
            if levels == _ABOVE_ZERO:
                return cls(str(name))
            if isinstance(levels, Sequence) and not isinstance(levels, str) and len(levels) > 0:
                return cls(str(name), tuple(map(str, levels)))
        raise TableError(
            f"{about}: ZeroUnless cannot be read",
            expected=f'{{"feature": ["level", …]}}, or {{"feature": "{_ABOVE_ZERO}"}} for a numeric one',
            got=repr(data),
        )


@dataclass(frozen=True)
class Feature:
    """One thing that anybody can say about a person."""

    name: str
    """Column in the table."""
    kind: FeatureKind
    group: FeatureGroup = "interview"
    description: str = ""
    units: str = ""
    """Units of a numeric feature, as people read them; empty when unknown or not numeric."""
    levels: dict[str, str] = field(default_factory=dict, hash=False)
    """Value in the table → label for people, in order (an ordinal feature: from lowest to highest)."""
    plausible: tuple[float, float] | None = None
    """Lowest and highest plausible value in `units`; values outside are treated as missing."""
    integer: bool = False
    """Whether a numeric feature takes whole numbers only."""
    label: str = ""
    """Short name for people; made from `name` when empty."""
    zero_unless: ZeroUnless | None = None
    """Numeric: the number is 0 unless this is met."""

    def __post_init__(self) -> None:
        """Check that the parts agree.

        Raises:
            TableError: unknown kind or group, the wrong number of levels, an empty plausible range, or a
                `zero_unless` of a feature that cannot be 0.
        """
        about = f"feature {self.name!r}"
        if not self.name or self.name == ID or re.search(r"[\t\r\n]", self.name):
            raise TableError(f"{about}: not a name for a feature", expected=f"one line of text, not {ID}")
        for title, value, allowed in (("Kind", self.kind, KINDS), ("Group", self.group, GROUPS)):
            if value not in allowed:
                raise TableError(
                    f"{about}: unknown {title}", expected=f"one of {', '.join(allowed)}", got=repr(value)
                )
        if self.kind == "numeric" and self.levels:
            raise TableError(f"{about}: a numeric feature has no levels", got=", ".join(self.levels))
        if self.kind == "binary" and len(self.levels) != 2:
            raise TableError(
                f"{about}: a binary feature has two levels",
                got=f"{len(self.levels)}: {', '.join(self.levels)}",
            )
        if self.kind in ("ordinal", "nominal") and len(self.levels) < 2:
            raise TableError(
                f"{about}: {self.kind} features need at least two levels",
                got=f"{len(self.levels)} ({', '.join(self.levels) or 'none'})",
                fix='list every value of the column under "Levels" in participants.json',
            )
        if self.plausible is not None and not self.plausible[0] < self.plausible[1]:
            raise TableError(
                f"{about}: the plausible range is empty", expected="lowest < highest", got=str(self.plausible)
            )
        low, high = self.plausible or (0.0, 0.0)
        if self.zero_unless is not None and (not self.is_numeric or not low <= 0 <= high):
            raise TableError(
                f"{about}: ZeroUnless does not apply",
                expected="a numeric feature for which 0 is plausible",
                got=self.kind if self.plausible is None else f"{self.kind}, {low:g} to {high:g}",
            )
        if not self.label:
            words = self.name.replace("_", " ").strip()
            object.__setattr__(self, "label", words[:1].upper() + words[1:])

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers rather than levels."""
        return self.kind == "numeric"

    @property
    def expected(self) -> str:
        """What a cell may hold, for messages."""
        if self.is_numeric:
            return f"a number in {self.units}" if self.units else "a number"
        shown = [k if k == label else f"{k} ({label})" for k, label in self.levels.items()]
        return "one of " + ", ".join(shown)

    def said(self, value: Any) -> str:
        """A natural value as people say it: `179 cm`, or the label of a level."""
        return f"{float(value):.4g} {self.units}".strip() if self.is_numeric else self.levels[str(value)]

    def level_of(self, text: str) -> str | None:
        """Key of the level that `text` means, None when it means none or more than one.

        Tried in turn: the key; the key and then the label without case and punctuation; the number (`1.0`
        for `1`); and for a binary feature one of whose levels means yes and the other no: 0/1, true/false,
        yes/no.
        """
        if text in self.levels:
            return text
        for names in ({k: k for k in self.levels}, self.levels):
            found = [k for k, name in names.items() if loose(name) == loose(text)]
            if found:
                return found[0] if len(found) == 1 else None
        number = number_of(text)
        if number is not None:
            found = [k for k in self.levels if number_of(k) == number]
            if len(found) == 1:
                return found[0]
        return self._yes_or_no(loose(text)) if self.kind == "binary" else None

    def _yes_or_no(self, text: str) -> str | None:
        """Level of a binary feature meant by a yes or a no, when its levels are a yes and a no."""
        sides: dict[bool, list[str]] = {False: [], True: []}
        for key, label in self.levels.items():
            names = {loose(key), loose(label)}
            if len(names) > 1:
                names -= {"0", "1"}  # mere codes, unless the level has no other name
            says_no, says_yes = bool(names & _NO), bool(names & _YES)
            if says_no != says_yes:
                sides[says_yes].append(key)
        if len(sides[False]) != 1 or len(sides[True]) != 1 or (text in _NO) == (text in _YES):
            return None
        return sides[text in _YES][0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; the order of levels is kept by a list of pairs."""
        rule = {} if self.zero_unless is None else {"zero_unless": self.zero_unless.to_json()}
        return {
            "name": self.name,
            "kind": self.kind,
            "group": self.group,
            "description": self.description,
            "units": self.units,
            "levels": [[k, v] for k, v in self.levels.items()],
            "plausible": None if self.plausible is None else list(self.plausible),
            "integer": self.integer,
            "label": self.label,
            **rule,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Feature:
        """Inverse of `to_dict`."""
        plausible, rule = data["plausible"], data.get("zero_unless")
        return cls(
            name=data["name"],
            kind=data["kind"],
            group=data["group"],
            description=data["description"],
            units=data["units"],
            levels={k: v for k, v in data["levels"]},
            plausible=None if plausible is None else (float(plausible[0]), float(plausible[1])),
            integer=bool(data["integer"]),
            label=data["label"],
            zero_unless=None if rule is None else ZeroUnless.from_json(rule, f"feature {data['name']!r}"),
        )


def feature_from_sidecar(name: str, entry: Any, texts: Sequence[str | None] | None, source: str) -> Feature:
    """One feature from its entry in participants.json; `texts` is its column where there is a table."""
    about = f"{source}, {name!r}"
    if not isinstance(entry, Mapping):
        raise TableError(f"{about}: not a description", expected="an object", got=type(entry).__name__)
    levels = entry.get("Levels") or {}
    if isinstance(levels, Sequence) and not isinstance(levels, str):
        levels = {str(v): str(v) for v in levels}
    if not isinstance(levels, Mapping):
        raise TableError(
            f"{about}: Levels cannot be read",
            expected="an object of value: label",
            got=type(levels).__name__,
        )
    labelled = {
        str(k): str(v.get("Description", k) if isinstance(v, Mapping) else v) for k, v in levels.items()
    }
    kind: Any = entry.get("Kind")
    if kind is None:
        kind = "numeric" if not labelled else "binary" if len(labelled) == 2 else "nominal"
        if kind == "nominal" and re.search(r"qualification|education", name, flags=re.IGNORECASE):
            kind = "ordinal"
    elif kind == "numeric":
        labelled = {}
    units = str(entry.get("Units") or "").strip()
    for pattern, short in _UNITS:
        if re.match(pattern, units, flags=re.IGNORECASE):
            units = short
            break
    plausible: tuple[float, float] | None = None
    known = _PLAUSIBLE_ADULT.get(name.casefold())
    if kind == "numeric" and known is not None and units in ("", known[2]):
        plausible, units = (known[0], known[1]), known[2]
    if "Plausible" in entry:
        given = entry["Plausible"]
        try:
            plausible = None if given is None else (float(given[0]), float(given[1]))
            if given is not None and (len(given) != 2 or kind != "numeric"):
                raise ValueError
        except (TypeError, ValueError, IndexError, KeyError):
            raise TableError(
                f"{about}: Plausible cannot be read",
                expected="[lowest, highest] of a numeric feature",
                got=repr(given),
            ) from None
    rule = entry.get("ZeroUnless")
    integer = entry.get("Integer")
    if integer is None:
        numbers = [None if t is None else number_of(t) for t in texts or ()]
        present = [x for x in numbers if x is not None]
        integer = kind == "numeric" and bool(present) and all(x.is_integer() for x in present)
    long_name = str(entry.get("LongName") or "").strip()
    label = long_name
    if label.count("(") > label.count(")"):  # an unfinished remark in brackets
        label = label[: label.rindex("(")].strip()
    return Feature(
        name=name,
        kind=kind,
        group=entry.get("Group") or _group(name),
        description=str(entry.get("Description", long_name)).strip(),
        units=units,
        levels=labelled,
        plausible=plausible,
        integer=bool(integer),
        label=label,
        zero_unless=None if rule is None else ZeroUnless.from_json(rule, about),
    )


def _group(name: str) -> FeatureGroup:
    """Group of a feature, from words in its name."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).casefold()
    for group, stems in _GROUP_STEMS.items():
        for word in re.split(r"[^a-z]+", words):
            if any(word == s if s in _SHORT_STEMS else word.startswith(s) for s in stems.split()):
                return group
    return "interview"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`perhaps 'height' was meant` when something known is close to `name`, otherwise an empty text."""
    options = {loose(k): k for k in reversed(list(known))}
    near = difflib.get_close_matches(loose(name), list(options), n=1, cutoff=0.6)
    return f"perhaps {options[near[0]]!r} was meant" if near else ""


def loose(text: str) -> str:
    """Text without case, and with blanks, hyphens and underscores made equal."""
    return re.sub(r"[\s_\-]+", " ", text).strip().casefold()


def number_of(text: str) -> float | None:
    """Finite number written in `text`, None when there is none."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
