"""Features that change at an age: "retires at 60". They belong to a person's path through age, whatever the scenario.

As text: `occupation=retired@60` on the command line; `occupation:60=retired&smoker:50=no` in a link.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from csegsynth_core.data.feature import number_of
from csegsynth_core.data.schema import Schema
from csegsynth_core.errors import ScenarioError
from csegsynth_core.scenario_checks import MEND, brief, feature_of, is_number, value_of

MAX_CHANGES: Final = 20
"""Changes of one path."""

WRITTEN: Final = "FEATURE=VALUE@AGE"
"""A change as text."""


@dataclass(frozen=True)
class Change:
    """From an age on, that age included, a feature has a value."""

    feature: str
    age: float
    """In the units of the feature `age`, mostly years."""
    value: float | str
    """Natural value: a number, or the key of a level."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"feature": self.feature, "age": self.age, "value": self.value}

    @property
    def text(self) -> str:
        """As on the command line: `occupation=retired@60`."""
        return f"{self.feature}={_plain(self.value)}@{_plain(self.age)}"


def check_together(changes: Sequence[Change]) -> None:
    """See that changes can hold together.

    Raises:
        ScenarioError: an age that is not a number, two of one feature at one age, or too many.
    """
    seen: set[tuple[str, float]] = set()
    for one in changes:
        if not math.isfinite(one.age):
            raise ScenarioError(
                f"the change of {one.feature} has no age", expected="a number", got=repr(one.age), fix=MEND
            )
        if (one.feature, one.age) in seen:
            raise ScenarioError(
                f"{one.feature} changes twice at the age of {one.age:g}",
                expected="one value of a feature at an age",
                got=one.text,
                fix="leave one of the two out, or give it another age",
            )
        seen.add((one.feature, one.age))
    if len(changes) > MAX_CHANGES:
        raise ScenarioError(
            "too many changes at an age",
            expected=f"at most {MAX_CHANGES}",
            got=str(len(changes)),
            fix="leave some out",
        )


def checked(changes: Iterable[Change], schema: Schema, whose: str = "the sweep") -> tuple[Change, ...]:
    """Changes of features that a model pack knows, to values that they can have; levels by their keys.

    Args:
        whose: for messages.

    Raises:
        ScenarioError: an unknown feature, age or sex, a value that is not possible, or what `check_together` refuses.
    """
    rows = [one.to_dict() for one in changes]
    return changes_of(rows, schema, whose)


def changes_of(data: Any, schema: Schema, whose: str) -> tuple[Change, ...]:
    """Changes of a scenario file: a list of feature, age and value; None for none.

    Args:
        whose: for messages, such as `overlay 2`.

    Raises:
        ScenarioError: see `checked`; or not such a list.
    """
    rows = [] if data is None else data
    if not isinstance(rows, list) or not all(isinstance(one, Mapping) for one in rows):
        raise ScenarioError(
            f"the changes of {whose} cannot be read",
            expected="a list, each with feature, age and value",
            got=brief(data),
            fix=MEND,
        )
    out = []
    for n, row in enumerate(rows):
        what = f"change {n + 1} of {whose}"
        one = feature_of(str(row.get("feature")), schema, what)
        if one in (schema.age, schema.sex):
            raise ScenarioError(
                f"{what}: {one.name} does not change at an age",
                expected="any feature but age and sex",
                got=one.name,
                fix="leave it out",
            )
        age, value = row.get("age"), value_of(one, row.get("value"), what, "leave the change out")
        if not is_number(age) or not math.isfinite(age):
            raise ScenarioError(
                f"{what}, {one.name}: unusable age", expected="a number", got=brief(age), fix=MEND
            )
        if value is None:
            raise ScenarioError(
                f"{what}, {one.name}: no value", expected=one.expected, got="none", fix="give one of these"
            )
        out.append(Change(one.name, float(age), value))
    check_together(out)
    return tuple(out)


def changes_of_texts(texts: Sequence[str], schema: Schema) -> tuple[Change, ...]:
    """Changes given on the command line, each as `WRITTEN`.

    Raises:
        ScenarioError: not of this form; or see `checked`.
    """
    rows = []
    for text in texts:
        said, _, age = text.rpartition("@")
        known = [
            name for name in schema.names if said.startswith(f"{name}=")
        ]  # names may have a "=" of their own
        name = max(known, key=len, default=said.partition("=")[0])
        value = said.removeprefix(name)
        if not value.startswith("=") or number_of(age) is None:
            raise ScenarioError(
                "a change at an age cannot be read",
                expected=f"{WRITTEN}, such as {_example(schema)}",
                got=brief(text),
                fix="write feature, value and age in this form",
            )
        rows.append(_row(name, age, value[1:], schema))
    return changes_of(rows, schema, "the sweep")


def to_link(changes: Sequence[Change]) -> str:
    """Changes as the value of one parameter of a link."""
    return urlencode([(f"{one.feature}:{_plain(one.age)}", _plain(one.value)) for one in changes], safe=":")


def changes_of_link(text: str, schema: Schema, whose: str) -> tuple[Change, ...]:
    """Inverse of `to_link`.

    Raises:
        ScenarioError: see `checked`.
    """
    rows = []
    for key, value in parse_qsl(text, keep_blank_values=True):
        name, _, age = key.rpartition(":")
        rows.append(_row(name, age, value, schema))
    return changes_of(rows, schema, whose)


def value_at(changes: Sequence[Change], age: float) -> dict[str, float | str]:
    """Feature → what it has been changed to by an age: the last of its changes that is not after it."""
    due = sorted((one for one in changes if one.age <= age), key=lambda one: one.age)
    return {one.feature: one.value for one in due}


def _row(name: str, age: str, value: str, schema: Schema) -> dict[str, Any]:
    """A change written as text; numbers as numbers, where they are."""
    numeric = name in schema.names and schema.feature(name).is_numeric
    number, years = number_of(value) if numeric else None, number_of(age)
    return {
        "feature": name,
        "age": age if years is None else years,
        "value": value if number is None else number,
    }


def _example(schema: Schema) -> str:
    for one in schema.features:
        if one not in (schema.age, schema.sex):
            value = next(reversed(one.levels), None) or f"{(one.plausible or (0.0, 1.0))[1]:g}"
            return f"{one.name}={value}@60"
    return "occupation=retired@60"


def _plain(value: float | str) -> str:
    """A value as text that is read as the same value."""
    if isinstance(value, str):
        return value
    short = f"{value:.10g}"
    return short if float(short) == value else repr(float(value))
