"""Where in the brain a feature acts: three linked planes. A fragment, as the viewer of the first page."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import figures, grid, saliency
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES
from pages import _influence_table, _state

_CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}


@st.cache_resource(max_entries=24, show_spinner="Where the feature acts…", scope="session")
def _map(
    pack_hash: str, person: tuple[tuple[str, object], ...], column: str, seed: int, _pack: Pack
) -> object:
    change = saliency.voxel_map(_pack, dict(person), column, seed=seed)
    change.flags.writeable = False
    return change


@st.fragment
def show(pack: Pack, person: _state.Person, seed: int, columns: dict[str, str], measure: str) -> None:
    """Derivative of the person's maps for one feature, over the anatomy.

    Args:
        columns: encoded column → label, most influential first.
        measure: the tissue to start with; a sum starts with GM.
    """
    at = st.session_state.setdefault("crosshair", figures.CENTRE)
    key = _influence_table.map_key(pack)
    if st.session_state.get(key) not in columns:
        st.session_state[key] = next(iter(columns))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="influence-map-bar"):
        st.html('<span class="bar-label">Where it acts, in this person</span>')
        column = st.selectbox(
            "Feature",
            list(columns),
            format_func=columns.get,
            key=key,
            label_visibility="collapsed",
            width=300,
        )
        start = measure if measure in TISSUES else "gm"
        tissue = st.segmented_control(
            "Tissue of the map",
            list(TISSUES),
            default=start,
            required=True,
            format_func=lambda t: BY_NAME[t].bids,
            key=f"influence-tissue-{start}",
            label_visibility="collapsed",
        )
        st.space("stretch")
        radiological = st.toggle("Radiological", key="radiological")
        nose_left = st.toggle("Nose left", key="nose-left")
    brain = _state.brain_of(pack, person, seed)
    change = _map(pack.hash, tuple(person.items()), column, seed, pack)
    figure = figures.planes_figure(
        brain.maps,
        at,
        display=figures.Display(radiological=radiological, nose_left=nose_left),
        mode=tissue,
        baseline=brain.maps - change,
        change="Δ fraction per SD",
    )
    with st.container(key="viewer", gap=None):
        with st.container(key="influence-planes", gap=None, height=300):
            st.plotly_chart(
                figure,
                key="influence-planes-chart",
                on_select=_click,
                selection_mode="points",
                config=_CONFIG,
                theme=None,
                height="stretch",
                alt="Sagittal, coronal and axial planes of where the feature acts",
            )
        st.html(_read_out(brain, change, tissue, at))


def _click() -> None:
    """Move the crosshair to the point that was clicked."""
    points = st.session_state["influence-planes-chart"]["selection"]["points"]
    voxel = figures.picked_from_event(points, st.session_state["crosshair"])
    if voxel is not None:
        st.session_state["crosshair"] = voxel


def _read_out(brain: Brain, change: object, tissue: str, at: figures.Voxel) -> str:
    x, y, z = grid.voxel_to_mm(at)
    parts = "".join(
        f'<span><b style="color:{t.colour}">■</b> {t.bids} <b>{brain.maps[(n, *at)]:.2f}</b> '
        f"{change[(n, *at)]:+.3f}</span>"
        for n, t in enumerate(ALL)
    ).replace("-", "−")
    text = f"x {x:.0f}&ensp;y {y:.0f}&ensp;z {z:.0f} mm".replace("-", "−")
    voxel = " ".join(str(v) for v in at)
    return (
        f'<div class="readout" role="status"><span class="mm">{text}</span>'
        f'<span class="voxel">voxel {voxel}</span>{parts}'
        f'<span class="hint">Δ per SD · click a plane</span></div>'
    )
