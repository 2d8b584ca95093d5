"""How well the pack does: everything in its metrics, its model card, and the command that measures it again."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from csegsynth_core import figures, measured
from csegsynth_core.tissue import BY_NAME
from pages import _link, _state

_link.routed()
pack = _state.current_pack()
whole = measured.tidy(pack.metrics)
tables = list(dict.fromkeys(whole["table"]))
pairs = measured.paired(pack.metrics)
more = measured.others(pack.metrics)
kept = pack.metrics.get("n_validation", pack.metrics.get("n"))
WITH_INTERVALS = bool(whole["low"].notna().any())


def show_table(part: pd.DataFrame, metric: str) -> None:
    """Methods × tissues, the best in bold, with intervals where there are any."""
    _, direction, form = measured.metric_of(metric)
    parts = list(dict.fromkeys(part["part"]))
    best = {
        p: measured.best(part[(part["part"] == p) & (part["method"] != "floor")]["value"], direction)
        for p in parts
    }
    rows = []
    for method, own in part.groupby("method", sort=False):
        cells = []
        for one in parts:
            found = own[own["part"] == one].to_dict("records")
            cells.append(f"<td>{_cell(found[0], form, best[one]) if found else '–'}</td>")
        name = "real against real (floor)" if method == "floor" else measured.name_of(str(method))
        rows.append(f'<tr data-method="{escape(str(method))}"><th>{escape(name)}</th>{"".join(cells)}</tr>')
    heads = "".join(f"<td>{BY_NAME[p].bids if p in BY_NAME else escape(p)}</td>" for p in parts)
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


def by_method(name: str) -> None:
    """One of the paper's tables: choose a metric, see methods side by side."""
    part = whole[whole["table"] == name]
    metrics = list(dict.fromkeys(part["metric"]))
    metric = st.segmented_control(
        "Metric", metrics, default=metrics[0], required=True, key=f"metric-{name}",
        format_func=lambda m: measured.metric_of(m)[0], label_visibility="collapsed",
    )  # fmt: skip
    own = part[part["metric"] == metric]
    title, direction, _ = measured.metric_of(metric)
    names = {m: measured.name_of(m) for m in own["method"]}
    said = f"{direction.capitalize()} is better. " if direction else ""
    st.caption(
        f"{said}{'Intervals: 95 % bootstrap over people.' if WITH_INTERVALS else 'No intervals in this pack.'}"
    )
    left, right = st.columns([45, 55], gap="medium")
    with left:
        show_table(own, metric)
    right.plotly_chart(
        figures.methods_figure(own, names, title, dark=st.context.theme.type == "dark"),
        key=f"figure-{name}", config={"displayModeBar": False}, theme=None, alt=f"{title} of each method",
    )  # fmt: skip


with st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head"):
    people = f"{kept} people that training never saw" if kept else "people that training never saw"
    st.html(
        f"<h1>Evaluation <small>{escape(pack.name)} · {people}</small></h1>"
        '<p class="notice">Errors against the volumes of prepared scans. Good group errors say little about any one '
        "person; see the limits in the model card.</p>"
    )
    st.download_button(
        "CSV", data=lambda: whole.to_csv(index=False).encode(), file_name=f"csegsynth_{pack.name}_evaluation.csv",
        mime="text/csv", on_click="ignore", icon=":material/download:", type="primary",
    )  # fmt: skip
titles = [t.replace("/", ": ").capitalize() for t in tables]
titles += ["Paired"] if len(pairs) else []
tabs = st.tabs([*titles, "Further measurements", "Model card"])
for tab, name in zip(tabs, tables, strict=False):
    with tab:
        by_method(name)
if len(pairs):
    with tabs[len(tables)]:
        st.caption(
            "Absolute error of CSegSynth minus that of the other method, the same people; below 0: better."
        )
        st.dataframe(
            pairs.assign(method=pairs["method"].map(measured.name_of)), hide_index=True, key="paired"
        )
with tabs[-2]:
    if not more:
        st.caption("None in this pack.")
    columns = st.columns(2, gap="medium")
    for n, (key, table) in enumerate(more.items()):
        with columns[n % 2]:
            st.html(f'<div class="panel-head">{escape(measured.title_of(key))}</div>')
            st.dataframe(
                table, hide_index=True, key=f"more-{key}", height="content" if len(table) < 10 else 320
            )
with tabs[-1]:
    st.markdown(pack.card)
st.caption("The command that measures all of this again, on the cohort prepared as the README says:")
st.code(f"python -m train evaluate --pack {pack.name} --cohort COHORT", language="sh")
