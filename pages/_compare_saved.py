"""The table of the Compare page: what is remembered of it, and what links and scenario files hold."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import compare
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_pages import USUAL_DRAWS, Comparison
from pages import _state


def held_of(pack: Pack, person: _state.Person) -> dict[str, Any]:
    """What is remembered of the table: the person it started from, the rows given to the grid, the rows as edited,
    and whether they are from a file of the user's (`own`)."""
    key = _key(pack)
    if key not in st.session_state:
        st.session_state[key] = {"key": key, "turn": 0}
        begin(pack, st.session_state[key], dict(person))
    return st.session_state[key]


def _key(pack: Pack) -> str:
    """Of the session's state."""
    return f"scenarios-{pack.hash[:8]}"


def begin(
    pack: Pack, held: dict[str, Any], person: _state.Person, rows: Any = None, *, own: bool = False
) -> None:
    """Start anew from a person, or from rows; `own`: of the user's file, which no link and no scenario file holds."""
    held["own"] = own
    rows = compare.starting_scenarios(pack, person) if rows is None else rows
    held["start"], held["now"], held["turn"] = person, rows.reset_index(), held["turn"] + 1


def is_own(pack: Pack) -> bool:
    """Whether the table came from a file of the user's, whatever was edited since."""
    return bool(st.session_state.get(_key(pack), {}).get("own"))


def to_save(pack: Pack) -> Comparison | None:
    """The table as edited; None where it is as it starts from the current person, or from a file of the user's."""
    person, found = _state.memory(pack)["person"], _state.memory(pack).get("compare")
    if found is None or is_own(pack):
        return None
    usual = Comparison.of(compare.starting_people(pack, person), person, USUAL_DRAWS)
    return None if found == usual else found


def take(pack: Pack, opened: Comparison | None) -> None:
    """Show an opened table; None: start anew from the current person. To be called before it is drawn."""
    person = dict(_state.memory(pack)["person"])
    held = held_of(pack, person)
    _state.memory(pack)["compare"] = opened
    st.session_state[f"compare-draws-{pack.hash[:8]}"] = USUAL_DRAWS if opened is None else opened.draws
    st.session_state.pop(f"{held['key']}-columns", None)
    if opened is None:
        begin(pack, held, person)
    else:
        begin(pack, held, dict(opened.start), compare.table_of(pack, opened.people))
