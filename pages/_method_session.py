"""What the Method page tells of: the person, and the analyses whose settings this session holds."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from csegsynth_core import compare
from csegsynth_core.pack import Pack
from csegsynth_core.page_export import GradientSettings, Session
from csegsynth_core.scenario_pages import USUAL_DRAWS, Comparison, InfluenceView
from pages import _influence_filters, _state, _sweep_controls

_ANALYSES = {"sweep": "Ageing", "compare": "Compare", "influence": "Feature influence"}
_PEOPLE = {
    "person": "1 person",
    "typical": "typical people made from the pack's statistics",
    "varied": "people drawn from the pack's statistics",
    "table": "people of a table",
}


def chosen(pack: Pack) -> Session:
    """The session, with the analyses that the user wants told; at first those that were set or opened."""
    held = _state.memory(pack)
    person, seed = held["person"], int(held["seed"])
    names = [name for name in _ANALYSES if name != "sweep" or pack.schema.age is not None]
    wanted = st.pills(
        "Analyses told", names, selection_mode="multi", default=[n for n in names if held.get(n) is not None],
        format_func=_ANALYSES.get, key=f"told-{pack.hash[:8]}", label_visibility="collapsed",
        help="Those that you set on their pages are told from the start; others with their usual settings.",
    )  # fmt: skip
    plan = comparison = gradients = None
    if "sweep" in wanted:
        plan = replace(held["sweep"] or _sweep_controls.default_plan(pack), seed=seed)
    if "compare" in wanted:
        usual = Comparison.of(compare.starting_people(pack, person), person, USUAL_DRAWS)
        comparison = held.get("compare") or usual
    if "influence" in wanted:
        gradients = _gradients(pack, held.get("influence") or InfluenceView())
    return Session(person, seed, plan, comparison, gradients)


def _gradients(pack: Pack, view: InfluenceView) -> GradientSettings:
    one = view.whose == "person"
    draws = view.draws or _influence_filters.DRAWS[one]
    resolution = _influence_filters.resolution_of(pack, view.every_voxel, one=one)
    among = [
        f"{pack.schema.feature(name).label} {_wanted(pack, name, wanted)}"
        for name, wanted in view.subgroup.items()
    ]
    people = _PEOPLE[view.whose] + (f" ({'; '.join(among)})" if among else "")
    return GradientSettings(people, not one, draws, resolution)


def _wanted(pack: Pack, name: str, wanted: tuple) -> str:
    """A range or levels in words."""
    feature = pack.schema.feature(name)
    if feature.is_numeric:
        return f"{wanted[0]:g}–{wanted[1]:g} {feature.units}".strip()
    return " or ".join(feature.levels[str(level)] for level in wanted)
