"""Subgroup of the people of the Feature influence page."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core.pack import Pack


def filters(pack: Pack) -> dict[str, Any]:
    """Subgroup: sex, age band, and any other features the user picks."""
    where: dict[str, Any] = {}
    controls = pack.encoder.ranges()
    usual = [one.name for one in (pack.schema.sex, pack.schema.age) if one is not None]
    more = st.multiselect(
        "Filter by",
        list(controls),
        default=usual,
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
