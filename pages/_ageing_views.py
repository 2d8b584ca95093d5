"""The Ageing page's views: volumes of tissues with a filmstrip, of regions, the moving brain, the features."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.figures.trajectory import CI_NOTE
from csegsynth_core.pack import Pack
from csegsynth_core.page_views import STRIP_AGES
from csegsynth_core.scenarios import VOLUMES, Sweep
from csegsynth_core.substructures import REGIONS
from csegsynth_core.sweep_report import UNUSUAL, Named, feature_table, lines_of, reference_of
from csegsynth_core.tissue import ALL, BY_NAME
from pages import _display, _film_keys, _planes, _sweeps

CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
VIEWS = {"tissues": "Tissues", "regions": "Regions", "brain": "Brain", "features": "Features"}
UNITS = {"ml": "mL", "percent": "% change"}
FILM_AGES = 31
_MODES = {"tissues": "Tissues", **{t.name: t.bids for t in ALL}, "change": "Change"}


def view_controls() -> tuple[str, str]:
    """Which view, and the unit of volumes."""
    view = st.segmented_control(
        "View", list(VIEWS), default="tissues", required=True, format_func=VIEWS.get, key="ageing-view",
        persist_state="session", label_visibility="collapsed", width="content",
    )  # fmt: skip
    unit = st.segmented_control(
        "Unit", list(UNITS), default="ml", required=True, format_func=UNITS.get, key="ageing-unit",
        persist_state="session", label_visibility="collapsed", width="content",
        disabled=view not in ("tissues", "regions"),
    )  # fmt: skip
    return view, unit


def measures(view: str) -> tuple[str, ...]:
    """Volumes that a view plots; those of regions can be chosen."""
    if view != "regions":
        return VOLUMES
    titles = {r.name: r.title for r in REGIONS}
    chosen = st.pills(
        "Regions plotted", list(titles), default=list(titles), format_func=titles.get, selection_mode="multi",
        key="ageing-regions", persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    return tuple(name for name in titles if name in chosen) or tuple(titles)


def trajectories(
    pack: Pack, people: list[Named], unit: str, wanted: tuple[str, ...], place: Any, *, key: str | None = None
) -> None:
    """Volumes over age, in the place given; `style.css` makes them grow with the window."""
    one = people[0][1]
    height = 330 if wanted == VOLUMES else 410 if len(wanted) <= figures.ACROSS else 505
    figure = figures.trajectory_figure(
        lines_of(people, unit=unit, measures=wanted),
        reference_of(pack, one) if unit == "ml" else None,
        trained=one.trained_ages,
        unit=unit,
        age_units=pack.schema.age.units,
        dark=st.context.theme.type == "dark",
        height=height,
        note=("SIMULATED training data. " if one.simulated else "") + CI_NOTE,
    )
    alt = f"Volumes over age: {', '.join(wanted)}"
    with place.container(height=int(figure.layout.height), border=False, gap=None):
        st.plotly_chart(figure, key=key, config=CONFIG, theme=None, alt=alt, height="stretch")


def filmstrip(pack: Pack, one: Sweep, bar: Any) -> None:
    """Brains at some ages, one row for each scenario."""
    films = {way: _sweeps.film(pack, one, way, STRIP_AGES, bar) for way in one.plan.scenarios}
    strip = figures.Strip.of(films, _planes.conventions())
    figure = figures.strip_figure(strip, age_units=pack.schema.age.units)
    with st.container(key="film", gap=None):
        st.plotly_chart(
            figure.update_layout(height=88 * len(strip.rows) + 16),
            key="strip",
            config=CONFIG,
            theme=None,
            alt="Axial slices of the generated brain over age",
        )


@st.fragment
def brain(pack: Pack, one: Sweep) -> None:
    """The brain at every age, moved by a slider in the browser."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="morph-bar"):
        scenario = one.plan.scenarios[0]
        if len(one.plan.scenarios) > 1:
            scenario = st.segmented_control(
                "Scenario shown", one.plan.scenarios, default="regressed", required=True,
                format_func=str.capitalize, key="morph-scenario", persist_state="session",
                label_visibility="collapsed",
            )  # fmt: skip
        mode = st.segmented_control(
            "Show", list(_MODES), default="tissues", required=True, format_func=_MODES.get, key="morph-mode",
            persist_state="session", label_visibility="collapsed",
        )  # fmt: skip
        tissue = mode
        if mode == "change":
            tissue = st.segmented_control(
                "Change of", [t.name for t in ALL], default="csf", required=True, key="morph-tissue",
                persist_state="session", format_func=lambda t: f"Δ {BY_NAME[t].bids}", label_visibility="collapsed",
            )  # fmt: skip
        st.space("stretch")
        display, _ = _display.toggles(voxels=False)
    bar = st.empty()
    frames = _sweeps.film(pack, one, scenario, FILM_AGES, bar)
    figure = figures.morph_figure(
        frames,
        st.session_state.get("crosshair", figures.FILM_AT),
        display=display,
        mode=tissue,
        change=mode == "change",
        age_units=pack.schema.age.units,
        title=scenario,
        height=450,
    )
    with st.container(key="morph", gap=None):
        st.plotly_chart(figure, key="morph-chart", config=CONFIG, theme=None, alt="The brain over age")
        st.html(
            '<p class="hint">Every frame is one generated brain, made beforehand. ▶ plays them; by keyboard: Tab to '
            "the slider, then ← → Home End.</p>"
        )
        _film_keys.listen("morph", pack.hash, one.person, one.plan, scenario, mode, tissue, display)


def features(pack: Pack, one: Sweep) -> None:
    """Every feature along the path."""
    scenario = "regressed" if "regressed" in one.plan.scenarios else "ideal"
    if scenario == "ideal" and not one.plan.changes:
        st.info("Under *ideal* only age changes. Other features move under *regressed* and by changes.")
        return
    table = feature_table(one, pack, scenario, STRIP_AGES)
    st.dataframe(table, height=min(35 * (len(table) + 1) + 3, 560), hide_index=True, key="features")
    st.caption(
        f"{scenario.capitalize()} scenario; *now* is this person before the sweep; {UNUSUAL}: few or no training "
        "people of that age and sex. All ages are in the CSV of the export. "
        "A regression describes differences between people of different ages, not the course of one person."
    )
