"""Planes that can be clicked, on every page that shows slices: one crosshair and one read-out for all of them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figures, grid
from csegsynth_core.generate import Brain
from csegsynth_core.tissue import ALL
from pages import _figure_export

CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
_AXES = ("x, left to right", "y, back to front", "z, bottom to top")


def crosshair() -> figures.Voxel:
    """The voxel that all planes of all pages go through."""
    return st.session_state.setdefault("crosshair", figures.CENTRE)


def conventions() -> figures.Display:
    """Display conventions of all planes of all pages."""
    held = st.session_state.get("display", {})
    return figures.Display(bool(held.get("radiological")), bool(held.get("nose_left")))


def smooth() -> bool:
    """Whether planes are smoothed between voxels, where a page leaves the choice."""
    return not st.session_state.get("display", {}).get("voxels", False)


def chart(figure: Any, key: str, alt: str, *, plane: figures.Plane | None = None, **more: Any) -> None:
    """A figure of planes; a click moves the crosshair.

    Args:
        plane: of a figure with one plane; None: a figure with `figures.PLANES`.
    """
    st.plotly_chart(
        figure,
        key=key,
        on_select=lambda: _click(key, plane),
        selection_mode="points",
        config=CONFIG,
        theme=None,
        alt=alt,
        **more,
    )


def _click(key: str, plane: figures.Plane | None) -> None:
    """Move the crosshair to the point that was clicked."""
    points = st.session_state[key]["selection"]["points"]
    at = crosshair()
    if plane is None:
        voxel = figures.picked_from_event(points, at)
    else:
        voxel = figures.picked_voxel(plane, at, points[0]["x"], points[0]["y"]) if points else None
    if voxel is not None:
        st.session_state["crosshair"] = voxel


def by_keyboard() -> figures.Voxel:
    """Sliders for the crosshair, in voxels; they follow clicks. Every viewer has them."""
    _figure_export.follow()
    at = crosshair()
    moved = []
    for axis, name in enumerate(_AXES):
        key, box = f"crosshair-{axis}", grid.BOX[axis]
        st.session_state[key] = min(max(at[axis], box.start), box.stop - 1)
        moved.append(st.slider(f"{name} (voxel)", box.start, box.stop - 1, key=key, on_change=_slide))
    return moved[0], moved[1], moved[2]


def _slide() -> None:
    """Take the crosshair from its sliders."""
    st.session_state["crosshair"] = tuple(st.session_state[f"crosshair-{axis}"] for axis in range(3))


def read_out(brain: Brain, at: figures.Voxel, *, changes: Any = None, more: str = "", hint: str = "") -> None:
    """Position in mm and voxels, and the brain's fractions there.

    Args:
        changes: (≥ 3, …) a number in every voxel for each tissue, to stand beside its fraction.
        more: HTML after the fractions.
        hint: a few words at the end.
    """
    parts = ""
    for n, tissue in enumerate(ALL):
        beside = "" if changes is None else f" {changes[(n, *at)]:+.3f}".replace("-", "−")
        value = f"{brain.maps[(n, *at)]:.2f}"
        parts += f'<span><b style="color:{tissue.colour}">■</b> {tissue.bids} <b>{value}</b>{beside}</span>'
    x, y, z = grid.voxel_to_mm(at)
    mm = f"x {x:.0f}&ensp;y {y:.0f}&ensp;z {z:.0f} mm".replace("-", "−")
    voxel = " ".join(str(v) for v in at)
    st.html(
        f'<div class="readout" role="status"><span class="mm">{mm}</span><span class="voxel">voxel {voxel}</span>'
        f'{parts}{more}<span class="hint">{hint}</span></div>'
    )


def convention(display: figures.Display) -> str:
    """What the sides of the screen are, in a word."""
    return "radiological" if display.radiological else "neurological"
