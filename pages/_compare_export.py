"""Exports of the Compare page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import figures, page_export, page_figures
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from pages import _compare_saved, _figure_export, _link, _planes


def popover(
    pack: Pack,
    table: pd.DataFrame,
    brains: Mapping[str, Brain],
    people: Mapping[str, Mapping[str, Any]],
    *,
    draws: int,
    seed: int,
) -> None:
    """Volumes and slices of the scenarios; their maps; the zip, without the view of a user's own table."""
    shown = page_figures.compare_figures(
        pack,
        table,
        brains,
        people,
        plane=st.session_state.get("compare-plane") or "axial",
        tissue=st.session_state.get("compare-tissue") or "gm",
        at=st.session_state.get("crosshair", figures.CENTRE),
        display=_planes.conventions(),
        smooth=_planes.smooth(),
    )
    _figure_export.popover(
        pack,
        "compare",
        shown,
        everything=lambda: page_export.compare_zip(
            pack,
            shown,
            table,
            brains,
            draws=draws,
            seed=seed,
            scenario="" if _compare_saved.is_own(pack) else _link.scenario_of(pack).to_json(),
        ),
        commands=page_export.compare_commands(pack, seed, draws),
    )
