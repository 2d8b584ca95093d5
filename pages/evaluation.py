"""How well the pack does: everything in its metrics, its model card, and the command that measures it again."""

from __future__ import annotations

from html import escape
from shlex import quote

import streamlit as st

from csegsynth_core import measured
from pages import (
    _about,
    _evaluation_brains,
    _evaluation_export,
    _evaluation_more,
    _evaluation_tables,
    _figure_export,
    _link,
    _state,
)

_link.routed()
pack = _state.current_pack()
whole = measured.tidy(pack.metrics)
tables = list(dict.fromkeys(whole["table"]))
pairs = measured.every_pair(pack.metrics)
more = measured.others(pack.metrics)
kept = pack.metrics.get("n_validation", pack.metrics.get("n"))

with st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head"):
    people = f"{kept} people that training never saw" if kept else "people that training never saw"
    st.html(
        f"<h1>Evaluation <small>{escape(pack.name)} · {people}</small></h1>"
        + _about.notice(
            "Errors against volumes of prepared maps. Good group errors say little about one person; see the model "
            "card's limits."
        )
    )
    _evaluation_export.popover(pack)
said = measured.summary(pack.metrics)
if said:
    st.html(f'<p class="notice summary">{escape(" ".join(said))}</p>')
titles = [_evaluation_tables.title_of(t) for t in tables]
titles += ["Paired"] if len(pairs) else []
titles += ["One person, all models", "Real beside generated", "Further measurements", "Model card"]
tabs = dict(zip(titles, st.tabs(titles, on_change="rerun", key="evaluation-tabs"), strict=True))
for name, title in zip(tables, titles, strict=False):
    with tabs[title]:
        _evaluation_tables.show(whole, name, pack.metrics.get("extractors", {}))
        if name == "regions":
            _evaluation_more.show_counts(measured.regions_counted(pack.metrics))
if len(pairs):
    with tabs["Paired"]:
        _evaluation_more.show_pairs(pairs)
with tabs["One person, all models"] as tab:
    if tab.open:
        _evaluation_brains.one_person(pack)
with tabs["Real beside generated"] as tab:
    if tab.open:
        _evaluation_brains.groups(pack)
with tabs["Further measurements"] as tab:
    if not more:
        st.caption("None in this pack.")
    elif tab.open:
        _evaluation_more.show_more(more, pack)
with tabs["Model card"]:
    st.caption("The command that measures all of this again, on the cohort prepared as the README says:")
    _figure_export.own_pack(pack)
    st.code(f"python -m train evaluate --pack {quote(pack.name)} --cohort COHORT", language="sh")
    st.markdown(pack.card)
