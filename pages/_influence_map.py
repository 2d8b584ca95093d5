"""Where in the brain a feature acts: three linked planes. A fragment, as the viewer of the first page."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from csegsynth_core import figures, page_views, saliency
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import BY_NAME, TISSUES
from pages import _display, _influence_table, _planes, _state
from pages._remember import remembered

MEANS = 4
"""Mean maps that are kept, 32 MB each."""


@st.cache_resource(max_entries=24, show_spinner="Where the feature acts…", scope="session")
def _map(
    pack_hash: str, person: tuple[tuple[str, object], ...], column: str, seed: int, _pack: Pack
) -> object:
    change = saliency.voxel_map(_pack, dict(person), column, seed=seed)
    change.flags.writeable = False
    return change


def mean_of(pack: Pack, bars: page_views.Bars, column: str) -> saliency.MeanMap:
    """The mean map over the people and draws of the bars; computed once, with progress."""
    people, seed = page_views.mapped_people(pack, bars), bars.found.seed
    return remembered(
        ("map", pack.hash, people.to_csv(), column, bars.draws, seed),
        "Where the feature acts",
        lambda progress: saliency.mean_map(
            pack, people, column, draws=bars.draws, seed=seed, progress=progress
        ),
        kept=MEANS,
    )  # type: ignore[no-any-return]


def follow(pack: Pack, columns: dict[str, str], measure: str) -> None:
    """Show the most influential feature of a measure that was chosen just now; otherwise the one that was shown.

    To be called before anything reads what is shown.

    Args:
        columns: encoded column → label, most influential first.
        measure: whose volume.
    """
    key, held = _influence_table.map_key(pack), _state.memory(pack)
    if st.session_state.get(key) not in columns or held.get("mapped", measure) != measure:
        st.session_state[key] = next(iter(columns))
    held["mapped"] = measure


@st.fragment
def show(pack: Pack, person: _state.Person, seed: int, bars: page_views.Bars) -> None:
    """Derivative of maps for one feature, over the anatomy: of the person's brain, or the mean over the people and
    draws of the bars; after `follow`. Starts with the tissue of the measure; a sum with GM.
    """
    columns, start, many = bars.mapped, bars.tissue, bars.view.is_mean
    key = _influence_table.map_key(pack)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="influence-map-bar"):
        whom = "in this person" if bars.view.whose == "person" else "in the person in the sidebar"
        st.html(f'<span class="bar-label">Where it acts, {bars.map_of if many else whom}</span>')
        column = st.selectbox(
            "Feature",
            list(columns),
            format_func=columns.get,
            key=key,
            persist_state="session",
            label_visibility="collapsed",
            width=240,
        )
        tissue = st.segmented_control(
            "Tissue of the map",
            list(TISSUES),
            default=start,
            required=True,
            format_func=lambda t: BY_NAME[t].bids,
            key=f"influence-tissue-{start}",
            persist_state="session",
            label_visibility="collapsed",
        )
        st.space("stretch")
        with st.popover(
            "Display", icon=":material/visibility:", help="Conventions, and the crosshair by keyboard"
        ):
            display, voxels = _display.toggles()
            at = _planes.by_keyboard()
    brain = _state.brain_of(pack, person, seed)
    if many:
        mean = mean_of(pack, bars, column)
        change, brain = mean.change, replace(brain, maps=mean.anatomy)
    else:
        change = _map(pack.hash, tuple(person.items()), column, seed, pack)
    figure = figures.planes_figure(
        brain.maps,
        at,
        display=display,
        mode=tissue,
        baseline=brain.maps - change,
        smooth=not voxels,
        change="Δ fraction per SD",
    )
    with st.container(key="viewer", gap=None):
        with st.container(key="influence-planes", gap=None, height=300):
            _planes.chart(
                figure, "influence-planes-chart", "Where the feature acts, three planes", height="stretch"
            )
        hint = f"{_planes.convention(display)} · Δ per SD · click a plane"
        _planes.read_out(brain, at, changes=change, hint=hint)
