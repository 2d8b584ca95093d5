"""A number of the person in the sidebar: a slider, and whether the number is known."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from csegsynth_core.data.encoder import Control
from csegsynth_core.pack import Pack
from pages._state import Person

BEYOND = 0.15
"""How far a slider goes beyond the training range, as a share of it."""

UNKNOWN = "n/a"
"""What a value is called that nobody knows, in all controls."""


def control(
    pack: Pack, one: Control, value: float | None, key: str, start: float | None, filled: Callable[[], Person]
) -> float | None:
    """The number; None where it is not known. Then the slider stands where the model takes it to be.

    Args:
        value: to start with.
        start: a value of a person who was loaded; the slider reaches it.
        filled: the person with what is filled in.
    """
    low, high, step = reach(pack, one, start)
    na, own = f"{key}-na", f"{key}-own"
    if na not in st.session_state:
        st.session_state[na] = value is None
        if value is not None:
            st.session_state[key] = float(value)
    if st.session_state[na]:
        st.session_state[key] = min(max(float(filled()[one.name]), low), high)

    def switched() -> None:
        """What the user had set comes back once it is known again."""
        if st.session_state[na]:
            st.session_state[own] = st.session_state[key]
            return
        number = st.session_state.get(own, st.session_state[key])
        st.session_state[key] = float(round(number)) if pack.schema.feature(one.name).integer else number

    whole = step >= 1 and float(st.session_state[key]).is_integer()
    ends = (f"{v:.0f}" if abs(v) >= 1000 else f"{v:.3g}" for v in (one.minimum, one.maximum))
    trained = f"{'–'.join(ends)} {one.units}".strip()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"number-{key}"):
        name = f"{escape(one.label)} <span>{escape(trained)}</span>"  # lies over the slider's own, which has no grey
        st.html(f'<div class="named" aria-hidden="true">{name}</div>')
        number = st.slider(
            f"{one.label} {trained}",
            low,
            high,
            step=step,
            format="%.0f" if whole else "%.4g",
            key=key,
            disabled=st.session_state[na],
            label_visibility="hidden",
        )
        unknown = f"{one.label}: {UNKNOWN}"  # the style sheet shows the last word alone
        if st.checkbox(unknown, key=na, on_change=switched):
            return None
    if number < one.minimum or number > one.maximum:
        st.badge("outside training range", icon=":material/warning:", color="orange")
    return float(number)


def reach(pack: Pack, one: Control, start: float | None) -> tuple[float, float, float]:
    """Ends and step of a slider: a little beyond the training range, but plausible; a loaded value is inside.
    Where everybody has the same value, the ends are a step apart."""
    step = float(one.step or 1.0)
    span = one.maximum - one.minimum
    step = step if span / step <= 150 else step * 10
    plausible = pack.schema.feature(one.name).plausible or (one.minimum, one.maximum)
    low = max(plausible[0], step * ((one.minimum - BEYOND * span) // step))
    high = min(plausible[1], step * ((one.maximum + BEYOND * span) // step + 1))
    inside = [] if start is None else [start]
    low, high = float(min([low, one.minimum, *inside])), float(max([high, one.maximum, *inside]))
    if low == high and plausible[0] < high == plausible[1]:
        low = max(low - step, plausible[0])  # nothing above is plausible
    return low, high if low < high else high + step, step
