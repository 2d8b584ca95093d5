"""The table of the Compare page as links and scenario files hold it."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import compare
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_pages import USUAL_DRAWS, Comparison
from pages import _compare_table, _state


def to_save(pack: Pack) -> Comparison | None:
    """The table as edited; None where it is as it starts from the current person."""
    person, found = _state.memory(pack)["person"], _state.memory(pack).get("compare")
    usual = Comparison.of(compare.starting_people(pack, person), person, USUAL_DRAWS)
    return None if found == usual else found


def take(pack: Pack, opened: Comparison | None) -> None:
    """Show an opened table; None: start anew from the current person. To be called before it is drawn."""
    person = dict(_state.memory(pack)["person"])
    held = _compare_table.held_of(pack, person)
    _state.memory(pack)["compare"] = opened
    st.session_state["compare-draws"] = USUAL_DRAWS if opened is None else opened.draws
    st.session_state.pop(f"{held['key']}-columns", None)
    if opened is None:
        _compare_table.begin(pack, held, person)
    else:
        _compare_table.begin(pack, held, dict(opened.start), compare.table_of(pack, opened.people))
