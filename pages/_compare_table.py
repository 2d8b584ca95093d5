"""The what-if table of the Compare page, and its results."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from csegsynth_core import compare, figures
from csegsynth_core.data.volume_centiles import KINDS
from csegsynth_core.generate import Brain, volumes_over_draws
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import BY_NAME
from pages import _state
from pages._remember import remembered

ALL_BELOW = 9
"""Up to so many features all have a column from the start."""


def editor(pack: Pack, person: _state.Person) -> tuple[dict[str, _state.Person], int]:
    """The table that the user edits; the people of its scenarios, and the number of draws.

    Raises:
        TableError: too many scenarios, or two of the same name.
    """
    key = f"scenarios-{pack.hash[:8]}"
    if key not in st.session_state:
        st.session_state[key] = {"start": dict(person), "turn": 0}
    held = st.session_state[key]
    order = compare.influence_order(pack)
    start = compare.starting_scenarios(pack, held["start"])
    varied = [n for n in pack.schema.names if len(set(start[n])) > 1]
    few = list(pack.schema.names) if len(order) <= ALL_BELOW else [*varied, *order][:6]
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="compare-bar"):
        with st.popover("Options", icon=":material/tune:"):
            shown = st.multiselect(
                "Features with a column; all others are as in the current person",
                order,
                default=list(dict.fromkeys(few)),
                format_func=lambda n: pack.schema.feature(n).label,
                key=f"{key}-columns",
                width=420,
            )
            draws = int(st.number_input("Latent draws", 2, 32, 6, key="compare-draws"))

        def again() -> None:
            held["start"], held["turn"] = dict(_state.memory(pack)["person"]), held["turn"] + 1

        st.button("From the person in the sidebar", on_click=again, icon=":material/restart_alt:")
    shown = [n for n in pack.schema.names if n in shown]
    edited = st.data_editor(
        start[shown].reset_index(),
        key=f"{key}-{held['turn']}-{'-'.join(shown)}",
        num_rows="dynamic",
        hide_index=True,
        row_height=30,
        column_config={"scenario": st.column_config.TextColumn("Scenario", width="medium", required=True)}
        | {n: _column(pack, n) for n in shown},
    )
    return compare.filled(pack, edited, held["start"]), draws


def _column(pack: Pack, name: str) -> Any:
    one, control = pack.schema.feature(name), pack.encoder.ranges()[name]
    if one.levels:
        return st.column_config.SelectboxColumn(
            one.label, options=list(one.levels), format_func=one.levels.get
        )
    low, high = one.plausible or (None, None)
    trained = f"Training people: {control.minimum:.4g}–{control.maximum:.4g} {one.units}"
    form = f"%.5g {one.units.replace('%', '%%')}".strip()
    return st.column_config.NumberColumn(
        one.label, min_value=low, max_value=high, format=form, help=trained, width="small"
    )


def volumes(pack: Pack, people: dict[str, _state.Person], draws: int, seed: int) -> pd.DataFrame:
    """`compare.compared` of the scenarios; each person is computed once."""

    def one(person: _state.Person) -> np.ndarray:
        key = ("volumes", pack.hash, tuple(person.items()), draws, seed)
        return remembered(
            key, "Latent draws", lambda _: volumes_over_draws(pack, person, draws=draws, seed=seed)[0]
        )

    return compare.compared(list(people), np.stack([one(p) for p in people.values()]))


def results(table: pd.DataFrame) -> None:
    """Volumes with their difference to the first scenario, and the figure."""
    names = list(dict.fromkeys(table["scenario"]))
    heads = "".join(f"<td>{BY_NAME[k].bids if k in BY_NAME else 'WM+GM+CSF'}</td>" for k in KINDS)
    rows = []
    for n, name in enumerate(names):
        mine = table[table["scenario"] == name].set_index("measure")
        cells = "".join(_cell(mine.loc[k].to_dict(), first=n == 0) for k in KINDS)
        rows.append(
            f"<tr data-scenario='{html.escape(name, quote=True)}'><th>{figures.scenario_symbol(n)} "
            f"{html.escape(name)}</th>{cells}</tr>"
        )
    st.html(
        f'<table class="volumes scenarios"><thead><tr><th>mL, mean over draws</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    st.plotly_chart(
        figures.scenarios_figure(table, dark=st.context.theme.type == "dark"),
        key="scenarios-chart",
        config={"displayModeBar": False},
        theme=None,
        alt="Volumes of the scenarios with their spread over draws",
    )


def _cell(row: dict[str, Any], *, first: bool) -> str:
    change = "" if first else f"{row['difference_ml']:+.1f} ± {row['difference_sd_draws_ml']:.1f}"
    return f'<td><b class="ml">{row["mean_ml"]:.1f}</b><small>{change.replace("-", "−") or "&nbsp;"}</small></td>'


def notes(pack: Pack, brains: dict[str, Brain]) -> None:
    """What was filled in, out of range or rare in each scenario."""
    texts = [
        f"<b>{html.escape(name)}</b>: {html.escape(pack.schema.feature(k).label)} {html.escape(flag)}"
        for name, brain in brains.items()
        for k, flag in brain.flags.items()
    ]
    if texts:
        st.html(f'<div class="notes" role="alert"><b>⚠</b> {" &ensp;·&ensp; ".join(texts)}</div>')
