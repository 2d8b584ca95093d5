"""Other people whose lines are drawn over this person's."""

from __future__ import annotations

import streamlit as st

from csegsynth_core.pack import Pack
from pages import _state

MOST = 2
"""Overlaid people; with both scenarios there are then six lines."""


def controls(pack: Pack) -> None:
    """Buttons: keep this person as an overlay, drop the overlays."""
    held = _state.memory(pack)

    def add() -> None:
        person, seed = dict(held["person"]), int(held["seed"])
        name = f"{chr(ord('A') + len(held['overlay']))} ({_state.describe_person(pack, person)}, draw {seed})"
        held["overlay"].append((name, person, seed))

    st.button(
        "Overlay",
        on_click=add,
        icon=":material/layers:",
        disabled=len(held["overlay"]) >= MOST,
        help="Keep this person's lines, then change the person or the draw, or load another from your table.",
    )
    if held["overlay"]:
        st.button(
            f"Clear ({len(held['overlay'])})", on_click=held["overlay"].clear, icon=":material/layers_clear:"
        )


def entries(pack: Pack) -> list[tuple[str, _state.Person, int]]:
    """Name, person and draw of every overlay."""
    return list(_state.memory(pack)["overlay"])
