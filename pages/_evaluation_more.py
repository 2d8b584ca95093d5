"""What the Evaluation page tells besides the paper's tables: paired differences, further measurements."""

from __future__ import annotations

import math
from html import escape

import pandas as pd
import streamlit as st

from csegsynth_core import figures, measured
from csegsynth_core.pack import Pack
from pages import _evaluation_tables

_LONG, _FRAME_PX = 16, 480
"""Rows beyond which a table scrolls in a frame, and that frame's height."""
_SENTENCE = 40
"""Characters beyond which a cell is text that runs on over lines."""


def show_pairs(pairs: pd.DataFrame) -> None:
    """Paired differences of absolute error to every other method, of tissues or of regions.

    Args:
        pairs: as from `measured.paired`, of several tables one below the other.
    """
    tables = list(dict.fromkeys(pairs["table"]))
    own = pairs
    if len(tables) > 1:
        chosen = st.segmented_control(
            "Differences of", tables, default=tables[0], required=True, key="paired-of", format_func=_paired_title,
            label_visibility="collapsed",
        )  # fmt: skip
        own = pairs[pairs["table"] == chosen]
    st.caption(
        "Absolute error of CSegSynth minus that of the other method on the same people, mL; below 0: CSegSynth is "
        "better. Intervals: 95 %, bootstrap over people; p: Wilcoxon's signed-rank test"
        + (f"; in brackets after Holm's correction for {len(own)} tests." if len(own) > 1 else ".")
    )
    own = own.assign(p_holm=measured.corrected(own) if len(own) > 1 else math.nan)
    parts = list(dict.fromkeys(own["part"]))
    narrow = len(parts) > figures.ACROSS
    rows = []
    for method, mine in own.groupby("method", sort=False):
        found = {str(one["part"]): one for one in mine.to_dict("records")}
        rows.append((str(method), [_pair(found[p], narrow) if p in found else "–" for p in parts]))
    _evaluation_tables.methods_table("Difference, mL", parts, rows)


def show_counts(counted: pd.DataFrame) -> None:
    """In how many regions other methods are better and worse, folded; nothing without tests.

    Args:
        counted: as from `measured.regions_counted`.
    """
    if counted.empty:
        return
    with st.expander("Paired tests of regions, counted by method"):
        st.caption(measured.COUNTED)
        _html_table(counted.rename_axis("Method").reset_index())


def _paired_title(table: str) -> str:
    """What a table of paired differences is of."""
    prefix, _, name = table.rpartition("/")
    of = "Regions" if name.endswith("regions") else "Volumes"
    return f"{prefix.capitalize()}: {of}" if prefix else of


def show_more(more: dict[str, pd.DataFrame], pack: Pack) -> None:
    """Further measurements (as from `measured.others`), one at a time."""
    left, right = st.columns([30, 70], gap="medium")
    key = left.radio("Measurement", list(more), format_func=measured.title_of, label_visibility="collapsed")
    table = measured.worded(key, more[key], _names_of(pack))
    with right:
        st.html(f'<div class="panel-head">{escape(measured.title_of(key))}</div>')
        if len(table) > _LONG:
            st.dataframe(table, hide_index=True, key=f"more-{key}", height=_FRAME_PX)
            return
        _html_table(table)


def _html_table(table: pd.DataFrame) -> None:
    """A table whose first column names its rows."""
    heads = "".join(map(_value, table.columns[1:]))
    lines = "".join(
        f"<tr>{_value(what, 'th')}{''.join(map(_value, cells))}</tr>"
        for what, *cells in table.itertuples(index=False)
    )
    st.html(
        f'<table class="volumes measured"><thead><tr><th>'
        f"{escape(str(table.columns[0]))}</th>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    )


def _names_of(pack: Pack) -> dict[str, str]:
    """Feature, or level of sex → as people call it."""
    levels = dict(pack.schema.sex.levels) if pack.schema.sex else {}
    return levels | {f.name: f.label for f in pack.schema.features}


def _pair(row: dict[str, float], narrow: bool) -> str:
    """A difference with its interval and p (HTML); in two lines where columns are narrow."""
    value, low, high = (measured.number(row[k], "mae_ml") for k in ("difference_ml", "low", "high"))
    p = escape(measured.p_value(row["p"]))
    p += "" if math.isnan(row["p_holm"]) else f" ({escape(measured.p_value(row['p_holm']))})"
    between = "</small><small>" if narrow else "; "
    return f"{value}<small>{low} to {high}{between}p {p}</small>".replace("-", "−")


def _value(value: object, tag: str = "td") -> str:
    """A cell (HTML); text runs on over lines, what is short does not."""
    text = str(value)
    long = "white-space: normal; text-align: left"
    return f'<{tag} style="{long if len(text) > _SENTENCE else "white-space: nowrap"}">{escape(text)}</{tag}>'
