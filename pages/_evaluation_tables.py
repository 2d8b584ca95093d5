"""The paper's Tables I to III on the Evaluation page: a metric at a time, methods side by side."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from csegsynth_core import figures, measured
from csegsynth_core.tissue import BY_NAME

TITLES = {
    "volumes": "Volumes",
    "images": "Images",
    "regions": "Regions",
    "achievable": "Best achievable",
    "memorisation": "Memorisation",
}
_WORDS = {
    "volumes": "Tables II and III of the paper: volumes of generated maps against those of prepared maps. A model's "
    "name alone is the mean over its latent draws.",
    "images": "Table I of the paper: one draw of each person against the same people's real maps.",
    "regions": "Read by the parcellation network off generated and off real maps.",
    "achievable": "Absolute error over that of the best predictor that the simulation allows.",
    "memorisation": "How near generated brains come to the nearest training brain, beside how near real people do.",
}


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
    metric = st.segmented_control(
        "Metric", metrics, default=metrics[0], required=True, key=f"metric-{name}",
        format_func=lambda m: measured.short_of(m), label_visibility="collapsed",
    )  # fmt: skip
    own = part[part["metric"] == metric]
    title, direction, _ = measured.metric_of(metric)
    names = {m: measured.name_of(m) for m in own["method"]}
    words = [_WORDS.get(name.rpartition("/")[2], "")]
    words += [f"{direction.capitalize()} is better." if direction else ""]
    if own["low"].notna().any():
        words.append(f"Intervals: 95 %, {measured.interval_name(name)} over people.")
    else:
        words.append("No intervals in this pack.")
    words.append(f"Features: {extractors[metric]}." if metric in extractors else "")
    st.caption(" ".join(w for w in words if w))
    many = own["part"].nunique() > figures.ACROSS  # their table needs the whole width
    left, right = (st.container(), st.container()) if many else st.columns([45, 55], gap="medium")
    with left:
        _table(own, metric)
    right.plotly_chart(
        figures.methods_figure(own, names, title, dark=st.context.theme.type == "dark"),
        key=f"figure-{name}", config={"displayModeBar": False}, theme=None, alt=f"{title} of each method",
    )  # fmt: skip


def show_pairs(pairs: pd.DataFrame) -> None:
    """Paired differences of absolute error to every other method."""
    st.caption(
        "Absolute error of CSegSynth minus that of the other method on the same people, mL; below 0: CSegSynth is "
        "better. Intervals: 95 %, bootstrap over people; p: Wilcoxon's signed-rank test."
    )
    st.dataframe(
        pairs.drop(columns="table").assign(
            method=pairs["method"].map(measured.name_of), part=[BY_NAME[p].bids for p in pairs["part"]]
        ),
        hide_index=True,
        key="paired",
        column_config={
            "part": "tissue",
            **{
                k: st.column_config.NumberColumn(label, format="%.1f")
                for k, label in (("difference_ml", "difference, mL"), ("low", "from"), ("high", "to"))
            },
            "p": st.column_config.NumberColumn("p", format="%.3f"),
        },
    )


def _table(part: pd.DataFrame, metric: str) -> None:
    """Methods × tissues, the best in bold, with intervals where there are any."""
    _, direction, form = measured.metric_of(metric)
    parts = list(dict.fromkeys(part["part"]))
    real = part["method"].isin(measured.REFERENCES)
    best = {p: measured.best(part[(part["part"] == p) & ~real]["value"], direction) for p in parts}
    rows = []
    for method, own in part.groupby("method", sort=False):
        cells = []
        for one in parts:
            found = own[own["part"] == one].to_dict("records")
            cells.append(f"<td>{_cell(found[0], form, best[one]) if found else '–'}</td>")
        name = "real against real (floor)" if method == "floor" else measured.name_of(str(method))
        rows.append(f'<tr data-method="{escape(str(method))}"><th>{escape(name)}</th>{"".join(cells)}</tr>')
    heads = "".join(f"<td>{escape(figures.named(p)[0])}</td>" for p in parts)
    st.html(
        f'<table class="volumes measured"><thead><tr><th>{escape(measured.metric_of(metric)[0])}</th>{heads}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(row: dict[str, float], form: str, best: float) -> str:
    text = "n/a" if pd.isna(row["value"]) else f"{row['value']:{form}}"
    text = f"<b>{text}</b>" if row["value"] == best else text
    if not pd.isna(row["low"]):
        text += f"<small>{row['low']:{form}} to {row['high']:{form}}</small>"
    return text.replace("-", "−")
