"""The Ageing page's three views: volumes over age with a filmstrip, the moving brain, the features."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import Sweep
from csegsynth_core.sweep_report import Named, feature_table, lines_of, note, reference_of
from csegsynth_core.tissue import ALL, BY_NAME
from pages import _link, _sweeps

CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
VIEWS = {"ml": "Volumes, mL", "percent": "Change, %", "brain": "Brain", "features": "Features"}
STRIP_AGES, FILM_AGES = 11, 16
_MODES = {"tissues": "Tissues", **{t.name: t.bids for t in ALL}, "change": "Change"}


def trajectories(pack: Pack, people: list[Named], unit: str, place: Any, *, key: str | None) -> None:
    """Volumes over age, in the place given."""
    one = people[0][1]
    reference = reference_of(pack, one) if unit == "ml" else None
    figure = figures.trajectory_figure(
        lines_of(people, unit=unit),
        reference,
        trained=one.trained_ages,
        unit=unit,
        age_units=pack.schema.age.units,
        dark=st.context.theme.type == "dark",
        height=330,
        note=note(one) if one.simulated else "",
    )
    place.plotly_chart(
        figure, key=key, config=CONFIG, theme=None, alt="Volumes of WM, GM, CSF and their sum over age"
    )


def filmstrip(pack: Pack, one: Sweep, bar: Any) -> None:
    """Brains at some ages, one row for each scenario."""
    rows, frames = [], []
    held = st.session_state.get("display", {})
    display = figures.Display(bool(held.get("radiological")), bool(held.get("nose_left")))
    for scenario in one.plan.scenarios:
        frames = _sweeps.film(pack, one, scenario, STRIP_AGES, bar)
        rows.append((scenario, figures.film_slices(frames, display=display)))
    figure = figures.strip_figure(
        rows, [f.age for f in frames], [f.trained for f in frames], age_units=pack.schema.age.units
    )
    with st.container(key="film", gap=None):
        st.plotly_chart(
            figure.update_layout(height=88 * len(rows) + 16),
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
                format_func=str.capitalize, key="morph-scenario", label_visibility="collapsed",
            )  # fmt: skip
        mode = st.segmented_control(
            "Show", list(_MODES), default="tissues", required=True, format_func=_MODES.get, key="morph-mode",
            label_visibility="collapsed",
        )  # fmt: skip
        tissue = mode
        if mode == "change":
            tissue = st.segmented_control(
                "Change of", [t.name for t in ALL], default="csf", required=True, key="morph-tissue",
                format_func=lambda t: f"Δ {BY_NAME[t].bids}", label_visibility="collapsed",
            )  # fmt: skip
        st.space("stretch")
        display, _ = _link.display_toggles()
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
        st.html('<p class="hint">Every frame is one generated brain, made beforehand. ▶ plays them.</p>')


def features(pack: Pack, one: Sweep) -> None:
    """Every feature along the path."""
    if "regressed" not in one.plan.scenarios:
        st.info(
            "Under *ideal* only age changes. Choose *regressed* or *both* to see the other features move."
        )
        return
    table = feature_table(one, pack, "regressed", STRIP_AGES)
    st.dataframe(table, height=min(35 * (len(table) + 1) + 3, 560), hide_index=True, key="features")
    st.caption(
        "Regressed scenario; *now* is this person before the sweep. All ages are in the CSV of the export. "
        "A regression describes differences between people of different ages, not the course of one person."
    )
