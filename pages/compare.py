"""Scenarios side by side: what-if table in, brains and volumes out."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core import compare, figures
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.tissue import ALL, BY_NAME
from pages import _about, _compare_table, _link, _state

_link.routed()
_CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
PER_ROW = 3

pack = _state.current_pack()
person = _state.memory(pack)["person"]
seed = _state.memory(pack)["seed"]
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
try:
    people, draws = _compare_table.editor(pack, person)
    brains = {name: _state.brain_of(pack, one, seed) for name, one in people.items()}
    table = _compare_table.volumes(pack, people, draws, seed)
except CSegSynthError as error:
    _about.show_error(error)
    st.stop()
with head:
    st.html(
        "<h1>Compare <small>scenarios share their latent draws and differ by features alone · "
        f"{draws} draws from {seed}</small></h1><p class='notice'>± and whiskers: spread over latent draws, 1 SD. "
        "Associations among people, not effects of changing somebody's life. Research use only.</p>"
    )
    st.download_button(
        "CSV",
        data=lambda: compare.with_features(table, people).to_csv(index=False).encode(),
        file_name=f"csegsynth_{pack.name}_scenarios_seed-{seed}.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        type="primary",
    )
_compare_table.notes(pack, brains)


@st.fragment
def show_brains() -> None:
    """A slice of every scenario, and below it what differs from the first."""
    at = st.session_state.setdefault("crosshair", figures.CENTRE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        plane = st.selectbox(
            "Plane", figures.PLANES, index=2, key="compare-plane", width=112,
            format_func=str.capitalize, label_visibility="collapsed",
        )  # fmt: skip
        tissue = st.segmented_control(
            "Difference of", [t.name for t in ALL], default="gm", required=True, key="compare-tissue",
            format_func=lambda t: f"Δ {BY_NAME[t].bids}", label_visibility="collapsed",
        )  # fmt: skip
        radiological = st.toggle("Radiological", key="radiological")
    shown = figures.Display(radiological=radiological, nose_left=st.session_state.get("nose-left", False))
    first = next(iter(brains.values())).maps
    limit = figures.shared_limit([b.maps for b in brains.values()], first, tissue)
    with st.container(key="compare-brains", gap="xxsmall"):
        for start in range(0, len(brains), PER_ROW):
            columns = st.columns(PER_ROW if len(brains) > PER_ROW else len(brains), gap="xxsmall")
            for n, column in zip(range(start, len(brains)), columns, strict=False):
                with column, st.container(gap=None):
                    name, brain = list(brains.items())[n]
                    st.html(f'<div class="scenario">{figures.scenario_symbol(n)} {escape(name)}</div>')
                    _slice(n, brain, None, "tissues", plane, at, shown, limit)
                    if n:
                        _slice(n, brain, first, tissue, plane, at, shown, limit)
                    else:
                        st.html(figures.difference_key(limit, f"Δ {BY_NAME[tissue].bids} to the first"))


def _slice(n, brain, other, mode, plane, at, shown, limit) -> None:  # type: ignore[no-untyped-def]
    """One slice that can be clicked."""
    figure = figures.slice_figure(
        brain.maps, plane, at, display=shown, mode=mode, baseline=other, limit=limit
    )
    key = f"slice-{n}-{'difference' if other is not None else 'tissues'}"
    st.plotly_chart(
        figure.update_layout(height=178), key=key, theme=None, config=_CONFIG,
        on_select=lambda: pick(key, plane), selection_mode="points", alt=f"{plane} plane of scenario {n + 1}",
    )  # fmt: skip


def pick(key: str, plane: figures.Plane) -> None:
    """Move the crosshair to the point that was clicked."""
    points = st.session_state[key]["selection"]["points"]
    if points:
        st.session_state["crosshair"] = figures.picked_voxel(
            plane, st.session_state["crosshair"], float(points[0]["x"]), float(points[0]["y"])
        )


left, right = st.columns([54, 46], gap="medium")
with left:
    show_brains()
with right:
    _compare_table.results(table)
