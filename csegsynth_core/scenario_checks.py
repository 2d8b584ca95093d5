"""What scenario files and links are checked with: features, values and numbers that anybody may have written."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from csegsynth_core.data.feature import Feature, number_of, suggestion
from csegsynth_core.data.schema import Schema
from csegsynth_core.errors import CSegSynthError, ScenarioError
from csegsynth_core.generate import MAX_SEED

UNKNOWN: Final = "n/a"
"""An unknown value in a link."""

PERSON: Final = "p."
"""Start of a feature's key in a link."""

MEND: Final = "correct it, or save the scenario (or copy the link) again"
"""What to do about something that this app does not write."""

Value = float | str | None
"""Natural value of a feature; None for unknown."""

_IN_A_LINK: Final = f"{UNKNOWN} for unknown; left out, it is as in the person that the link shows"
_SAID: Final = 5  # features of a message

MAX_NAME: Final = 80
"""Characters of the name of a scenario or an overlay."""

_JOINERS: Final = "\u200c\u200d"
"""Zero-width non-joiner and joiner: Persian, Indic scripts and others are written with them."""


def check_name(name: Any, what: str, error: type[CSegSynthError] = ScenarioError) -> str:
    """A name of a scenario or an overlay: 1 to `MAX_NAME` characters, each of which can be printed or joins others.

    Args:
        what: whose name; begins the message.
        error: class of the error.

    Raises:
        CSegSynthError: not a text, nothing that can be seen, too long, or with a character that cannot be printed.
    """
    problem = {"problem": f"{what}: unusable name", "expected": f"1 to {MAX_NAME} characters"}
    if not isinstance(name, str) or not name.strip(f"{_JOINERS} "):
        raise error(**problem, got=brief(name), fix="give it a name")
    odd = next((c for c in name if not _printable(c)), None)
    if odd is not None:
        problem["expected"] += " that can be printed"
        raise error(**problem, got=f"{brief(name)}, with U+{ord(odd):04X}", fix="leave that character out")
    if len(name) > MAX_NAME:
        raise error(**problem, got=f"{len(name)} characters, {brief(name)}", fix="give it a shorter name")
    return name


def made_name(text: str, taken: Collection[str] = ()) -> str:
    """A name that `check_name` takes, of a text of the software's making.

    Returns:
        The text in one line without what cannot be printed, shortened where it is too long, and with a number where
        it would be one of `taken`.
    """
    text = "".join(c for c in " ".join(text.split()) if _printable(c))
    text = text if text.strip(f"{_JOINERS} ") else "Unnamed"
    name, n = shortened(text, MAX_NAME), 1
    while name in taken:
        n += 1
        name = f"{shortened(text, MAX_NAME - len(f' ({n})'))} ({n})"
    return name


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters; `…` stands for what was cut off."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _printable(character: str) -> bool:
    return character.isprintable() or character in _JOINERS


def is_number(value: Any) -> bool:
    """Whether a value read from JSON is a number that fits into a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def brief(value: Any) -> str:
    """A value as it was written, shortened."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def seed_of(seed: Any) -> int:
    """A draw.

    Raises:
        ScenarioError: not a whole number in range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ScenarioError(
            "unusable draw", expected=f"a whole number, 0 to {MAX_SEED}", got=brief(seed), fix=MEND
        )
    return seed


def person_of_query(
    query: Mapping[str, str], schema: Schema, start: str = PERSON, otherwise: str = _IN_A_LINK
) -> dict[str, Value]:
    """Features that a link gives.

    Args:
        start: of their keys; `BASELINE` for those of the baseline.
        otherwise: as for `value_of`.

    Raises:
        ScenarioError: an unknown feature or level, a value that is not possible.
    """
    given, bad = usable_of_query(query, schema, start, otherwise=otherwise)
    if bad:
        raise bad[0]
    return given


def usable_of_query(
    query: Mapping[str, str],
    schema: Schema,
    start: str = PERSON,
    what: str = "the link",
    otherwise: str = _IN_A_LINK,
) -> tuple[dict[str, Value], list[ScenarioError]]:
    """Features that a link gives and that can be used, and what is wrong with each of the others.

    Args:
        start, otherwise: as for `person_of_query`.
        what: whose features, for messages.
    """
    given: dict[str, Value] = {}
    bad = []
    for key, text in query.items():
        if not key.startswith(start):
            continue
        try:
            one = feature_of(key.removeprefix(start), schema, what)
            number = number_of(text) if one.is_numeric else None
            value = None if text == UNKNOWN else text if number is None else number
            given[one.name] = value_of(one, value, what, otherwise)
        except ScenarioError as error:
            bad.append(error)
    return given, bad


def in_one(errors: Sequence[ScenarioError], what: str) -> ScenarioError:
    """One error for several features that cannot be used, as from `usable_of_query`."""
    if len(errors) == 1:
        return errors[0]
    said = [
        one.problem.removeprefix(what).lstrip(":, ")
        + (f" {one.got}, expected {one.expected}" if one.got else "")
        for one in errors
    ]
    more = f"; and {len(said) - _SAID} more" if len(said) > _SAID else ""
    return ScenarioError(
        f"{what}: {len(errors)} features cannot be used",
        got="; ".join(said[:_SAID]) + more,
        fix="correct them, or leave them out: they are then typical",
    )


def person_of(data: Any, schema: Schema, what: str) -> dict[str, float | str | None]:
    """Every feature of the schema; what is left out is unknown.

    Args:
        what: whose features, for messages.

    Raises:
        ScenarioError: not features by name, an unknown feature or level, a value that is not possible.
    """
    if not isinstance(data, Mapping):
        raise ScenarioError(
            f"the scenario has no {what}",
            expected="features by name",
            got=type(data).__name__,
            fix=MEND,
        )
    given = {feature_of(str(k), schema, what).name: v for k, v in data.items()}
    return {one.name: value_of(one, given.get(one.name), what) for one in schema.features}


def feature_of(name: str, schema: Schema, what: str) -> Feature:
    """A feature of the schema.

    Raises:
        ScenarioError: there is none of this name.
    """
    if name not in schema.names:
        raise ScenarioError(
            f"{what}: unknown feature {brief(name)}",
            expected=f"one of {', '.join(schema.names[:20])}" + (", …" if len(schema.names) > 20 else ""),
            fix=suggestion(name, schema.names) or "leave it out, or choose the model pack that knows it",
        )
    return schema.feature(name)


def value_of(
    one: Feature, value: Any, what: str, otherwise: str = "leave it out for unknown"
) -> float | str | None:
    """A value that the feature can have; None stays unknown.

    Args:
        what: whose, for messages.
        otherwise: what else to do about a value that cannot be.

    Raises:
        ScenarioError: an unknown level, or a number that is not possible.
    """
    if value is None:
        return None
    if one.is_numeric:
        good = is_number(value)
        low, high = one.plausible or (-math.inf, math.inf)
        if not good or not low <= float(value) <= high:
            span = f" from {low:g} to {high:g}" if one.plausible else ""
            raise ScenarioError(
                f"{what}, {one.name}: not a possible value",
                expected=one.expected + span,
                got=brief(value),
                fix=f"give a value within it, or {otherwise}",
            )
        return float(value)
    level = one.level_of(str(value))
    if level is None:
        raise ScenarioError(
            f"{what}, {one.name}: unknown level",
            expected=one.expected,
            got=brief(value),
            fix=suggestion(str(value)[:100], [*one.levels, *one.levels.values()])
            or f"give one of these, or {otherwise}",
        )
    return level


def text_of(value: float | str | None) -> str:
    """A value as in a link."""
    return UNKNOWN if value is None else value if isinstance(value, str) else f"{value:.10g}"
