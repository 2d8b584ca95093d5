"""Switches of the display convention: radiological, nose to the left, voxels."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.scenario_file import DISPLAY
from pages import _link, _state

_TOGGLES = {"radiological": "Radiological", "nose_left": "Nose left", "voxels": "Voxels"}


def toggles(*, voxels: bool = True) -> tuple[figures.Display, bool]:
    """Switches of the display convention, the same on every page; the second value: voxels, not smoothed.

    Args:
        voxels: with the switch for voxels; without where pictures are always smoothed.
    """
    held: dict[str, Any] = st.session_state.setdefault("display", dict.fromkeys(DISPLAY, False))
    for name, title in _TOGGLES.items():
        if name == "voxels" and not voxels:
            continue
        key = f"display-{name}"
        st.session_state.setdefault(key, held[name])
        st.toggle(title, key=key, on_change=_note, args=(name,))
    return figures.Display(radiological=held["radiological"], nose_left=held["nose_left"]), held["voxels"]


def _note(name: str) -> None:
    """Remember a switch beyond its page, and put it into the address."""
    st.session_state["display"][name] = st.session_state[f"display-{name}"]
    _link.write(_state.current_pack())
