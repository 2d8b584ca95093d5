"""What the Method page tells of: the person, and the analyses whose settings this session holds."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import page_views
from csegsynth_core.pack import Pack
from csegsynth_core.page_export import Session
from pages import _link, _state


def chosen(pack: Pack) -> Session:
    """The session, with the analyses that the user wants told; at first those that were set or opened."""
    held = _state.memory(pack)
    names = [name for name in page_views.ANALYSES if name != "sweep" or pack.schema.age is not None]
    wanted = st.pills(
        "Analyses told", names, selection_mode="multi", default=[n for n in names if held.get(n) is not None],
        format_func=page_views.ANALYSES.get, key=f"told-{pack.hash[:8]}", label_visibility="collapsed",
        help="Those that you set on their pages are told from the start; others with their usual settings.",
    )  # fmt: skip
    return page_views.session_of(pack, _link.scenario_of(pack), wanted, held.get("compare"))
