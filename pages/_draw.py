"""Which latent draw, and whom to compare with: the buttons at the top of the sidebar."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core.generate import MAX_SEED
from csegsynth_core.pack import Pack
from pages import _state


def draw(pack: Pack, held: dict[str, Any]) -> None:
    """Seed of the latent draw, and the button for another."""
    left, right = st.columns([1, 1], vertical_alignment="bottom", gap="small")
    key = f"seed-{pack.hash[:8]}"
    if key not in st.session_state:
        st.session_state[key] = held["seed"]
    held["seed"] = left.number_input(
        "Draw (seed)",
        0,
        MAX_SEED,
        step=1,
        key=key,
        help="Number of the latent draw. Person and baseline share it, so they differ by features alone; the "
        "same person and seed give the same brain, bit for bit.",
    )

    def another() -> None:
        st.session_state[key] = (st.session_state[key] + 1) % (MAX_SEED + 1)

    right.button("New draw", icon=":material/casino:", on_click=another, width="stretch", key=f"new-{key}")


def baseline(pack: Pack, held: dict[str, Any]) -> None:
    """Buttons: compare with this person; back to a typical one."""
    left, right = st.columns([1, 1], gap="small")

    def reset() -> None:
        one = pack.schema.sex
        sex = held["person"].get(one.name) if one else None
        _state.set_person(pack, _state.typical(pack, sex))
        _state.set_baseline(pack, None)

    def keep() -> None:
        _state.set_baseline(pack, held["person"], "the person you set")

    left.button(
        "Set as baseline", on_click=keep, width="stretch", help="Compare with this person from now on"
    )
    right.button("Reset", on_click=reset, width="stretch", help="Person and baseline: typical for this sex")
