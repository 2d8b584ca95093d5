"""Scenarios side by side: what-if table in, brains and volumes out."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.scenario_pages import COMPARE
from csegsynth_core.tissue import ALL, BY_NAME
from pages import (
    _about,
    _compare_export,
    _compare_results,
    _compare_table,
    _display,
    _link,
    _notes,
    _planes,
    _state,
)

_link.routed()
# Streamlit gives no figure less width than this. Three stand side by side; more scenarios make a second row of
# lower pictures, so that nothing scrolls in a window of 1280 × 800.
LEAST_PX, PER_ROW = 150, 3

NOTICE = _about.notice(
    "± and whiskers: spread over latent draws, 1 SD. Associations among people, not effects of changing somebody's "
    "life."
)


def heading(said: str = "") -> str:
    """The page's title, what is said beside it, and below it what the page may be used for (HTML)."""
    return f"<h1>Compare {said}</h1>{NOTICE}"


pack = _state.current_pack()
person = _state.memory(pack)["person"]
seed = _state.memory(pack)["seed"]
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
try:
    people, draws, regions = _compare_table.editor(pack, person)
    _link.write_with(pack, COMPARE, "These scenarios are")
    brains = {name: _state.brain_of(pack, one, seed) for name, one in people.items()}
    table = _compare_results.volumes(pack, people, draws, seed, regions)
except CSegSynthError as error:
    head.html(heading())
    _about.show_error(error)
    st.stop()
with head:
    noise = ", without noise" if seed == 0 else ""
    said = (
        f"scenarios share their latent draws and differ by features alone · pictures: draw {seed}{noise} · "
        f"volumes: mean of {draws} draws from {seed}"
    )
    st.html(heading(f"<small>{said}</small>"))
    _compare_export.popover(pack, table, brains, regions=regions)
_notes.strip(_notes.of_scenarios(pack, brains), shown=1)


@st.fragment
def show_brains() -> None:
    """A slice of every scenario, and below it what differs from the first."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        plane = st.selectbox(
            "Plane", figures.PLANES, index=2, key="compare-plane", persist_state="session", width=112,
            format_func=str.capitalize, label_visibility="collapsed",
        )  # fmt: skip
        tissue = st.segmented_control(
            "Difference of", [t.name for t in ALL], default="gm", required=True, key="compare-tissue",
            persist_state="session", format_func=lambda t: f"Δ {BY_NAME[t].bids}", label_visibility="collapsed",
        )  # fmt: skip
        with st.popover(
            "Display", icon=":material/visibility:", help="Conventions, and the crosshair by keyboard"
        ):
            shown, voxels = _display.toggles()
            at = _planes.by_keyboard()
    first = next(iter(brains.values())).maps
    limit = figures.shared_limit([b.maps for b in brains.values()], first, tissue)
    with st.container(key="compare-brains", gap="xxsmall"):
        rows = -(-len(brains) // PER_ROW)
        cells = [c for _ in range(rows) for c in st.columns(min(len(brains), PER_ROW), gap="xxsmall")]
        for n, (cell, (name, brain)) in enumerate(zip(cells, brains.items(), strict=False)):
            with cell, st.container(gap=None):
                said = escape(name, quote=True)
                st.html(f'<div class="scenario" title="{said}">{figures.scenario_symbol(n)} {said}</div>')
                _slice(n, brain, None, "tissues", plane, at, shown, limit, not voxels)
                if n:
                    _slice(n, brain, first, tissue, plane, at, shown, limit, not voxels)
                else:
                    key = figures.difference_key(limit, f"Δ {BY_NAME[tissue].bids} to the first")
                    st.html(f'<div class="rows-{rows}">{key}</div>')


def _slice(n, brain, other, mode, plane, at, shown, limit, smooth) -> None:  # type: ignore[no-untyped-def]
    """One slice that can be clicked."""
    figure = figures.slice_figure(
        brain.maps, plane, at, display=shown, mode=mode, baseline=other, limit=limit, smooth=smooth
    )
    key = f"slice-{n}-{'difference' if other is not None else 'tissues'}"
    alt = f"{plane} plane of scenario {n + 1}"
    wide, high = figures.view(plane, shown).size_mm
    height = min(178, LEAST_PX * high / wide) if len(brains) <= PER_ROW else 76
    _planes.chart(figure.update_layout(height=int(height)), key, alt, plane=plane)


left, right = st.columns([54, 46], gap="medium")
with left:
    show_brains()
with right:
    _compare_results.show(table, regions)
