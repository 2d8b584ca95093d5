"""Exports of the Compare page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from csegsynth_core import figures, page_views
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from pages import _compare_saved, _figure_export, _link, _state


def popover(pack: Pack, table: pd.DataFrame, brains: Mapping[str, Brain], *, regions: bool) -> None:
    """Volumes and slices of the scenarios; their maps; the zip, without the view of a user's own table."""
    view = page_views.View(
        at=st.session_state.get("crosshair", figures.CENTRE),
        plane=st.session_state.get("compare-plane") or "axial",
        tissue=st.session_state.get("compare-tissue") or "",
        regions=regions,
    )
    own, compared = _compare_saved.is_own(pack), _state.memory(pack)["compare"]
    page = page_views.compare(pack, _link.scenario_of(pack), view, compared, table, brains, own=own)
    _figure_export.popover(
        pack,
        "compare",
        page.figures,
        everything=page.everything,
        commands=page.commands,
        show=page.show,
    )
