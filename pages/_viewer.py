"""Three linked planes. A fragment: a click redraws the viewer and nothing else."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import figures, grid
from csegsynth_core.generate import Brain
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES
from pages import _link

_MODES = {"tissues": "Tissues", **{t.name: t.bids for t in ALL}, "difference": "Difference"}
_CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}


@st.fragment
def show(person: Brain, baseline: Brain) -> None:
    """The viewer with its switches and read-out."""
    at = st.session_state.setdefault("crosshair", figures.CENTRE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="viewer-bar"):
        mode = st.segmented_control(
            "Show",
            list(_MODES),
            default="tissues",
            required=True,
            format_func=_MODES.get,
            key="mode",
            label_visibility="collapsed",
        )
        shown, other = mode, None
        if mode == "difference":
            other = baseline.maps
            shown = st.segmented_control(
                "Difference of",
                [t.name for t in ALL],
                default="gm",
                required=True,
                format_func=lambda t: f"Δ {BY_NAME[t].bids}",
                key="difference",
                label_visibility="collapsed",
            )
        st.space("stretch")
        with st.popover("x y z", help="Move the crosshair by keyboard"):
            at = _by_keyboard(at)
        display, voxels = _link.display_toggles()
    figure = figures.planes_figure(
        person.maps,
        at,
        display=display,
        mode=shown,
        baseline=other,
        smooth=not voxels,
    )
    with st.container(key="viewer", gap=None):
        with st.container(key="planes", gap=None, height=420):
            st.plotly_chart(
                figure,
                key="planes-chart",
                on_select=_click,
                selection_mode="points",
                config=_CONFIG,
                theme=None,
                height="stretch",
                alt="Sagittal, coronal and axial planes of the generated brain",
            )
        st.html(_read_out(person, other, shown, at))


def _by_keyboard(at: figures.Voxel) -> figures.Voxel:
    """Sliders for the crosshair, in voxels; they follow clicks."""
    moved = []
    for axis, name in enumerate(("x, left to right", "y, back to front", "z, bottom to top")):
        key = f"crosshair-{axis}"
        box = grid.BOX[axis]
        st.session_state[key] = min(max(at[axis], box.start), box.stop - 1)
        moved.append(st.slider(f"{name} (voxel)", box.start, box.stop - 1, key=key, on_change=_slide))
    return moved[0], moved[1], moved[2]


def _slide() -> None:
    """Take the crosshair from its sliders."""
    st.session_state["crosshair"] = tuple(st.session_state[f"crosshair-{axis}"] for axis in range(3))


def _click() -> None:
    """Move the crosshair to the point that was clicked."""
    points = st.session_state["planes-chart"]["selection"]["points"]
    voxel = figures.picked_from_event(points, st.session_state["crosshair"])
    if voxel is not None:
        st.session_state["crosshair"] = voxel


def _read_out(person: Brain, baseline: object, shown: str, at: figures.Voxel) -> str:
    x, y, z = grid.voxel_to_mm(at)
    i, j, k = at
    parts = "".join(
        f'<span><b style="color:{t.colour}">■</b> {t.bids} <b>{person.maps[(n, *at)]:.2f}</b></span>'
        for n, t in enumerate(ALL)
    )
    if baseline is not None:
        n = TISSUES.index(shown)
        change = float(person.maps[(n, *at)] - baseline[(n, *at)])
        parts += f"<span>Δ {BY_NAME[shown].bids} <b>{change:+.3f}</b></span>".replace("-", "−")
    hint = "click a plane to move the crosshair"
    if baseline is person.maps:
        hint = "no difference: this person is the baseline"
    mm = f"x {x:.0f}&ensp;y {y:.0f}&ensp;z {z:.0f} mm".replace("-", "−")
    return (
        f'<div class="readout" role="status"><span class="mm">{mm}</span>'
        f'<span class="voxel">voxel {i} {j} {k}</span>{parts}'
        f'<span class="hint">{hint}</span></div>'
    )
