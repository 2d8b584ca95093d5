"""The surface of the generated brain, which can be turned; computed when it is shown."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figures, page_views, surface
from csegsynth_core.generate import Brain
from pages import _surface_camera

_COLOURS = {"folds": "Folding", "moved": "Change", "inside": "Ventricles"}
_SIDES = {
    "left": "Left side", "right": "Right side", "front": "From the front", "back": "From behind",
    "above": "From above", "below": "From below",
}  # fmt: skip
_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": True}


def switches() -> tuple[str, figures.Side]:
    """What the surface shows, and where it is seen from."""
    colour = st.segmented_control(
        "Surface", list(_COLOURS), default="folds", required=True, format_func=_COLOURS.get, key="surface-colour",
        persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    side = st.selectbox(
        "Seen from",
        list(_SIDES),
        format_func=_SIDES.get,
        key="surface-side",
        persist_state="session",
        width=150,
        label_visibility="collapsed",
    )
    return colour, side


def show(person: Brain, baseline: Brain, label: str, colour: str, side: figures.Side) -> None:
    """The figure."""
    cortex, depth, ventricles = _meshes(*_identity(person), person)
    values, inner, note = depth, [], ""
    if colour == "moved":
        values = _moved(_identity(person), _identity(baseline), person, baseline)
        note = f"baseline: {label}" + (" (the same brain)" if person is baseline else "")
    elif colour == "inside":
        inner = [(ventricles, *figures.VENTRICLES)]
    figure = figures.surface_figure(
        cortex, values, moved=colour == "moved", inner=inner, side=side, note=note
    )
    st.plotly_chart(
        figure,
        key=_surface_camera.KEY,
        theme=None,
        config=_CONFIG,
        height="stretch",
        alt="Surface of the brain",
    )
    _surface_camera.keep(side, colour, _identity(person), _identity(baseline), label)


def read_out(person: Brain) -> str:
    """Below the surface: what it is, and how to turn it."""
    return (
        '<div class="readout" role="status"><span class="mm">Cortical surface</span>'
        f"<span>ventricles <b>{person.regions_ml['ventricles']:.1f}</b> mL</span>"
        '<span class="hint">drag to turn, scroll to come closer</span></div>'
    )


def meshes(brain: Brain) -> Any:
    """Cortex, depth of its folds, ventricles; computed once."""
    return _meshes(*_identity(brain), brain)


def _identity(brain: Brain) -> tuple[str, tuple[tuple[str, Any], ...], int]:
    return brain.pack_hash, tuple(brain.features.items()), brain.seed


@st.cache_resource(max_entries=8, show_spinner=False, scope="session")
def _meshes(pack_hash: str, features: tuple[tuple[str, Any], ...], seed: int, _brain: Brain) -> Any:
    return page_views.meshes_of(_brain)


@st.cache_resource(max_entries=8, show_spinner=False, scope="session")
def _moved(identity: tuple[Any, ...], other: tuple[Any, ...], _brain: Brain, _baseline: Brain) -> Any:
    return surface.moved_mm(_meshes(*identity, _brain)[0], _brain.maps, _baseline.maps)
