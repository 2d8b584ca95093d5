"""Subgroup of the people of the Feature influence page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from csegsynth_core.data.encoder import Control
from csegsynth_core.pack import Pack


def take(pack: Pack, subgroup: Mapping[str, Sequence[Any]]) -> None:
    """Give the controls this subgroup; to be called before they are drawn.

    Args:
        subgroup: feature → lowest and highest value, or levels; one in which nobody differs says nothing.
    """
    by, controls = f"filter-by-{pack.hash[:8]}", _offered(pack)
    before = st.session_state.get(by) or _usual(pack)
    shown = [name for name in controls if name in before or name in subgroup]
    st.session_state[by] = shown
    for name in shown:
        one = controls[name]
        all_of_it = (float(one.minimum or 0), float(one.maximum or 0)) if one.kind == "numeric" else []
        wanted = subgroup.get(name)
        chosen = all_of_it if wanted is None else tuple(wanted) if one.kind == "numeric" else list(wanted)
        st.session_state[f"filter-{pack.hash[:8]}-{name}"] = chosen


def _offered(pack: Pack) -> dict[str, Control]:
    """Features to filter by: no numbers that are the same for everybody."""
    return {k: one for k, one in pack.encoder.ranges().items() if one.levels or one.minimum < one.maximum}


def _usual(pack: Pack) -> list[str]:
    offered = _offered(pack)
    return [one.name for one in (pack.schema.sex, pack.schema.age) if one is not None and one.name in offered]


def filters(pack: Pack) -> dict[str, Any]:
    """Subgroup: sex, age band, and any other features the user picks."""
    where: dict[str, Any] = {}
    controls = _offered(pack)
    more = st.multiselect(
        "Filter by",
        list(controls),
        default=_usual(pack),
        format_func=lambda name: controls[name].label,
        key=f"filter-by-{pack.hash[:8]}",
        persist_state="session",
    )
    for name in more:
        one, key = controls[name], f"filter-{pack.hash[:8]}-{name}"
        if one.kind == "numeric":
            ends = (float(one.minimum or 0), float(one.maximum or 0))
            title = f"{one.label} ({one.units})" if one.units else one.label
            chosen = st.slider(title, *ends, value=ends, step=one.step, key=key, persist_state="session")
            if tuple(chosen) != ends:
                where[name] = tuple(chosen)
        else:
            levels = st.pills(
                one.label, list(one.levels), selection_mode="multi", key=key, format_func=one.levels.get,
                persist_state="session",
            )  # fmt: skip
            if levels:
                where[name] = list(levels)
    return where
