"""What has to be known about people before their result is shown, in one strip: the same on every page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from csegsynth_core import coverage
from csegsynth_core.generate import Brain, encode
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import Plan
from csegsynth_core.sweep_report import unusual_of
from pages import _state

SHOWN = 5
"""Notes that are seen at once where a page has room for them."""


def strip(notes: Sequence[str], shown: int = SHOWN) -> None:
    """Show notes (HTML); nothing where there are none. Those after the first `shown` open on a click."""
    if not notes:
        return
    said, rest = (" &ensp;·&ensp; ".join(part) for part in (notes[:shown], notes[shown:]))
    if rest:
        said += f" <details><summary>and {len(notes) - shown} more</summary> {rest}</details>"
    st.html(f'<div class="notes" role="alert"><b>⚠</b> {said}</div>')


def of_features(
    pack: Pack, features: Mapping[str, Any], flags: Mapping[str, str], skip: Collection[str] = ()
) -> list[str]:
    """Notes on a person as HTML: out of range or rare, then at odds with another value, then unusual at their age and
    sex, then extreme at any, then filled in.

    Args:
        features: natural value of every feature.
        flags: as in `Brain.flags`.
        skip: features that a page moves itself, so that the person's value does not count.
    """
    told = {k: v for k, v in flags.items() if k not in skip}
    filled = [k for k, v in told.items() if v.startswith("imputed")]
    given = [k for k in told if k not in filled]
    owners = [(k, pack.schema.feature(k)) for k in told]
    odd = coverage.at_odds(pack, features, flags)
    together = [*odd, *coverage.unusual(pack, features, {*flags, *(one.feature for one in odd)})]
    alone = coverage.extreme(pack, features, {*flags, *skip, *(one.feature for one in together)})
    items = [
        *((one.label, f"{one.said(features[k])}, {told[k]}") for k, one in owners if k in given),
        *((one.label, one.words) for one in (*together, *alone)),
        *((one.label, f"{told[k]}, {one.said(features[k])} used") for k, one in owners if k in filled),
    ]
    return [f"<b>{escape(label)}</b> {escape(words)}" for label, words in items]


def of_brain(pack: Pack, brain: Brain) -> list[str]:
    """Notes on the person of a brain, as HTML."""
    return of_features(pack, brain.features, brain.flags)


def of_sweep(pack: Pack, person: _state.Person, plan: Plan) -> list[str]:
    """Notes on a person's way through age, as HTML: values unusual at some ages of it, then notes on the person.

    Raises:
        CSegSynthError, TableError: see `csegsynth_core.scenarios.path`.
    """
    own = of_person(pack, person, skip=[pack.schema.age.name])
    return [*along(pack, person, plan), *own]


def along(pack: Pack, person: _state.Person, plan: Plan) -> list[str]:
    """At which ages of a sweep which values are unusual, as HTML; errors as in `of_sweep`."""
    found = _unusual(pack.hash, tuple(person.items()), plan, pack)
    return [f"<b>{escape(label)}</b> {escape(words)}" for label, words in found]


def of_person(pack: Pack, person: _state.Person, skip: Collection[str] = ()) -> list[str]:
    """Notes on a person without a brain; arguments as in `of_features`.

    Raises:
        TableError: unknown level, or a value of the wrong type.
    """
    features, flags = _encoded(pack.hash, tuple(person.items()), pack)
    return of_features(pack, features, flags, skip)


def of_scenarios(pack: Pack, brains: Mapping[str, Brain]) -> list[str]:
    """Notes on several people, as HTML; what is the same for some of them is said once."""
    whose: dict[str, list[str]] = {}
    for name, brain in brains.items():
        for note in of_brain(pack, brain):
            whose.setdefault(note, []).append(escape(name))
    return [f"{', '.join(names)}: {note}" for note, names in whose.items()]


def filled(pack: Pack, person: _state.Person) -> _state.Person:
    """A person with what is filled in; errors as in `of_person`."""
    return _encoded(pack.hash, tuple(person.items()), pack)[0]


@st.cache_data(max_entries=64, show_spinner=False, scope="session")
def _unusual(
    pack_hash: str, person: tuple[tuple[str, Any], ...], plan: Plan, _pack: Pack
) -> list[tuple[str, str]]:
    """As from `sweep_report.unusual_of`."""
    return unusual_of(_pack, dict(person), plan)


@st.cache_data(max_entries=64, show_spinner=False, scope="session")
def _encoded(
    pack_hash: str, person: tuple[tuple[str, Any], ...], _pack: Pack
) -> tuple[dict[str, Any], dict[str, str]]:
    """Natural values after filling in, and flags."""
    encoded = encode(_pack, dict(person))
    return {str(k): v for k, v in encoded.natural.iloc[0].items()}, encoded.flags_of(0)
