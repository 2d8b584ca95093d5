"""What a link or a scenario file holds is put in place: before any control is drawn."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import streamlit as st

from csegsynth_core import page_views
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_checks import PERSON, UNKNOWN, in_one, usable_of_query
from csegsynth_core.scenario_file import (
    BASELINE,
    DISPLAY,
    Scenario,
    check_version_of_query,
    overlays_of_query,
    plan_of_query,
    seed_of_query,
)
from csegsynth_core.scenario_pages import COMPARE, INFLUENCE, Comparison, InfluenceView
from pages import _compare_saved, _influence_filters, _state

_LINKED = "the link's baseline"
_OTHERWISE = f"{UNKNOWN} for unknown; left out, it is typical"


def scenario(pack: Pack, opened: Scenario, given: Container[str]) -> None:
    """Show what a scenario file holds.

    Args:
        given: keys of the file; pages that it says nothing of stay as they are (files before version 3).
    """
    held = _state.memory(pack)
    _state.set_person(pack, opened.person)
    _state.set_baseline(pack, opened.baseline, page_views.SCENARIOS_BASELINE)
    _state.set_seed(pack, opened.seed)
    held["sweep"] = opened.sweep
    held["overlay"][:] = opened.overlays
    held["sweep-turn"] = held.get("sweep-turn", 0) + 1
    st.session_state["display"] = dict(opened.display)
    for key in DISPLAY:
        st.session_state[f"display-{key}"] = opened.display[key]
    if COMPARE in given:
        _compare_saved.take(pack, opened.compare)
    if INFLUENCE in given:
        influence(pack, opened.influence)


def influence(pack: Pack, view: InfluenceView) -> None:
    """Give the controls of the Feature influence page these settings."""
    _state.memory(pack)["influence"] = view
    said: dict[str, Any] = {
        "whose": view.whose,
        "measure": view.measure,
        "unit": view.unit,
        "top": view.top,
        "every": view.every_voxel,
    }
    for one, usual in page_views.GRADIENT_DRAWS.items():  # of one person, of a group
        mine = one is (view.whose == "person") and view.draws is not None
        said[f"draws-{one}"] = view.draws if mine else usual
    for one in (True, False):
        mine = one is (view.whose == "person") and view.mean_map is not None
        said[f"map-{one}"] = view.mean_map if mine else not one
    for name, value in said.items():
        st.session_state[f"influence-{name}-{pack.hash[:8]}"] = value
    _influence_filters.take(pack, view.subgroup)


def _version(pack: Pack, query: dict[str, str]) -> None:
    check_version_of_query(query)


def _person(pack: Pack, query: dict[str, str]) -> None:
    if any(key.startswith(PERSON) for key in query):
        given, bad = usable_of_query(query, pack.schema, otherwise=_OTHERWISE)
        _state.set_person(pack, page_views.typical_like(pack, given) | given)
        if bad:
            raise in_one(bad, "the link")


def _baseline(pack: Pack, query: dict[str, str]) -> None:
    if any(key.startswith(BASELINE) for key in query):
        given, bad = usable_of_query(query, pack.schema, BASELINE, _LINKED, _OTHERWISE)
        if given:
            _state.set_baseline(pack, page_views.typical_like(pack, given) | given, _LINKED)
        if bad:
            raise in_one(bad, _LINKED)


def _seed(pack: Pack, query: dict[str, str]) -> None:
    _state.set_seed(pack, seed_of_query(query))


def _sweep(pack: Pack, query: dict[str, str]) -> None:
    _state.memory(pack)["sweep"] = plan_of_query(query, pack.schema)


def _overlays(pack: Pack, query: dict[str, str]) -> None:
    held = _state.memory(pack)
    held["overlay"][:] = overlays_of_query(query, held["person"], pack.schema)


def _compare(pack: Pack, query: dict[str, str]) -> None:
    found = Comparison.of_query(query, _state.memory(pack)["person"], pack.schema)
    if found is not None:
        _compare_saved.take(pack, found)


def _influence(pack: Pack, query: dict[str, str]) -> None:
    found = InfluenceView.of_query(query, pack)
    if found != InfluenceView():
        influence(pack, found)


PARTS = (_version, _person, _baseline, _seed, _sweep, _overlays, _compare, _influence)
"""Parts of a link, each put in place by itself, as far as it can be used: a bad one leaves the others."""
