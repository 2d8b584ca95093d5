"""Signed bars, the table behind them, and the download."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import figures
from csegsynth_core.pack import Pack
from csegsynth_core.page_views import AXES, colour_of

HEIGHT_PX = 284


def bars(shown: pd.DataFrame, measure: str, unit: str, band: str) -> None:
    """Bars with their intervals; scrolls where they are many."""
    rows = [
        figures.InfluenceBar(
            r["label"], r["value_ml"], r["low_ml"], r["high_ml"], r["unit"], r["is_contrast"]
        )
        for r in shown.to_dict("records")
    ]
    figure = figures.influence_figure(
        rows,
        colour=colour_of(measure),
        axis=AXES[unit],
        band=band,
        fit_px=HEIGHT_PX - 4,
        dark=st.context.theme.type == "dark",
    )
    with st.container(key="influence-bars", height=HEIGHT_PX, border=False, gap=None):
        st.plotly_chart(
            figure,
            key="influence-chart",
            config={"displayModeBar": False},
            theme=None,
            alt="Influence of each feature, signed bars",
        )


def table(pack: Pack, shown: pd.DataFrame, unit: str, band: str) -> None:
    """The same numbers, sortable; a chosen row is shown in the brain below."""
    key = f"influence-rows-{pack.hash[:8]}"

    def choose() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        if cells and cells[0][0] < len(shown):
            st.session_state[map_key(pack)] = str(shown["column"].iloc[cells[0][0]])

    ends = {"95 %": ("95 % from", "to"), "spre": ("−1 SD", "+1 SD")}.get(band[:4], ("low", "high"))
    number: Any = st.column_config.NumberColumn
    hidden = ["column", "is_contrast", "unit"] if unit == "sd" else ["column", "is_contrast", "rank"]
    st.dataframe(
        shown.drop(columns=hidden),
        key=key,
        hide_index=True,
        height=HEIGHT_PX,
        row_height=25,
        on_select=choose,
        selection_mode="single-cell",
        column_config={
            "rank": number("#", width=36),
            "label": st.column_config.TextColumn("Feature", width=182 if unit == "sd" else 152),
            "value_ml": number(
                "mL per SD" if unit == "sd" else "Value", format="%+.2f", width=74 if unit == "sd" else 62
            ),
            "low_ml": number(ends[0], format="%+.2f", width=74, help=band),
            "high_ml": number(ends[1], format="%+.2f", width=62, help=band),
            "unit": st.column_config.TextColumn("Unit", width=100),
        },
    )


def map_key(pack: Pack) -> str:
    """Where the column shown in the brain is kept."""
    return f"influence-column-{pack.hash[:8]}"
