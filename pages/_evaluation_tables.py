"""The paper's Tables I to III on the Evaluation page: a metric at a time, methods side by side."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from csegsynth_core import figures, measured

TITLES = {
    "volumes": "Volumes",
    "images": "Images",
    "regions": "Regions",
    "achievable": "Best achievable",
    "memorisation": "Memorisation",
}
_VIEWS = {"table": "Table", "figure": "Figure"}
_MANY = 9
"""Rows beyond which they are low."""
_WORDS = {
    "volumes": "Tables II and III of the paper: volumes of generated maps against those of prepared maps. A model's "
    "name alone: mean over its latent draws.",
    "images": "Table I of the paper: one draw of each person against the same people's real maps.",
    "regions": "Read by the parcellation network off generated and off real maps.",
    "memorisation": "How near generated brains come to the nearest training brain, beside how near real people do.",
}
_OF_METRIC = {
    "achievable": {
        "mae_ml": "Simulated people: mean absolute error of every method beside that of the best predictor that the "
        "simulation allows, which knows what the table records of a person and no more.",
        "mae_ratio": "Simulated people: mean absolute error over that of the best predictor that the simulation "
        "allows; 1 is the best possible.",
    },
}
"""Table → captions by metric, where each has its own."""


def title_of(table: str) -> str:
    """What a tab says."""
    prefix, _, name = table.rpartition("/")
    return f"{prefix.capitalize()}: {name}" if prefix else TITLES.get(name, name.capitalize())


def show(whole: pd.DataFrame, name: str, extractors: dict[str, str]) -> None:
    """One table: choose a metric, see methods side by side.

    Args:
        whole: as from `measured.tidy`.
        name: of the table.
        extractors: metric → what FID looks at.
    """
    part = whole[whole["table"] == name]
    metrics = list(dict.fromkeys(part["metric"]))
    single = part["method"].str.endswith("_single_draw")
    with st.container(horizontal=True, vertical_alignment="center", key=f"bar-{name}"):
        metric = st.segmented_control(
            "Metric", metrics, default=metrics[0], required=True, key=f"metric-{name}",
            format_func=lambda m: measured.short_of(m), label_visibility="collapsed",
        )  # fmt: skip
        if single.any() and not st.toggle("Single draws too", key=f"single-{name}"):
            part = part[~single]
        many = part["part"].nunique() > figures.ACROSS  # table and figure need the whole width each
        view = "both"
        if many:
            view = st.segmented_control(
                "View", list(_VIEWS), default="table", required=True, key=f"view-{name}", persist_state="session",
                format_func=_VIEWS.get, label_visibility="collapsed",
            )  # fmt: skip
    own = part[part["metric"] == metric]
    direction = measured.metric_of(metric)[1]
    names = {m: measured.name_of(m) for m in own["method"]}
    kind = name.rpartition("/")[2]
    words = [_OF_METRIC.get(kind, {}).get(metric, _WORDS.get(kind, ""))]
    words += [f"{direction.capitalize()} is better." if direction else ""]
    if own["low"].notna().any():
        words.append(f"Intervals: 95 %, {measured.interval_name(name)} over people.")
    else:
        words.append("No intervals in this pack.")
    words.append(f"Features: {extractors[metric]}." if metric in extractors else "")
    st.caption(" ".join(w for w in words if w))
    left, right = (st.container(), st.container()) if many else st.columns([45, 55], gap="medium")
    if view != "figure":
        with left:
            _table(own, metric)
    if view == "table":
        return
    right.plotly_chart(
        figures.methods_figure(
            measured.scaled(own, metric), names, measured.headed(metric), dark=st.context.theme.type == "dark"
        ),
        key=f"figure-{name}", config={"displayModeBar": False}, theme=None,
        alt=f"{measured.metric_of(metric)[0]} of each method",
    )  # fmt: skip


def _table(part: pd.DataFrame, metric: str) -> None:
    """Methods × tissues, the best in bold, with intervals where there are any."""
    direction = measured.metric_of(metric)[1]
    parts = list(dict.fromkeys(part["part"]))
    real = part["method"].isin(measured.REFERENCES)
    best = {p: measured.best(part[(part["part"] == p) & ~real]["value"], direction) for p in parts}
    rows = []
    for method, own in part.groupby("method", sort=False):
        found = {str(one["part"]): one for one in own.to_dict("records")}
        rows.append((str(method), [_cell(found[p], metric, best[p]) if p in found else "–" for p in parts]))
    methods_table(measured.headed(metric), parts, rows)


def methods_table(head: str, parts: list[str], rows: list[tuple[str, list[str]]]) -> None:
    """A table of methods and what stands in their cells (HTML)."""
    lines = []
    for method, cells in rows:
        name = "real against real (floor)" if method == "floor" else measured.name_of(method)
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr data-method="{escape(method)}"><th>{escape(name)}</th>{shown}</tr>')
    heads = "".join(f"<td>{escape(figures.named(p)[0])}</td>" for p in parts)
    look = " dense" * (len(rows) > _MANY) + " wide" * (len(parts) > figures.ACROSS)
    st.html(
        f'<table class="volumes measured{look}"><thead><tr><th>{escape(head)}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _cell(row: dict[str, float], metric: str, best: float) -> str:
    text = measured.number(row["value"], metric)
    text = f"<b>{text}</b>" if row["value"] == best else text
    if not pd.isna(row["low"]):
        text += (
            f"<small>{measured.number(row['low'], metric)} to {measured.number(row['high'], metric)}</small>"
        )
    return text.replace("-", "−")
