"""Who the model was trained on, and where the current person lies."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core import coverage
from csegsynth_core.errors import CSegSynthError
from pages import _about, _cohort_export, _cohort_views, _link, _notes, _state

_link.routed()
pack = _state.current_pack()
person = _state.memory(pack)["person"]
try:
    brain = _state.brain_of(pack, person, _state.memory(pack)["seed"])
    places = coverage.placed(pack, person)
    summary = _cohort_views.summary_of(pack.hash, pack)
except CSegSynthError as error:
    _about.show_error(error)
    st.stop()

kind = "simulated people" if pack.simulated else "people"
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
with head:
    st.html(
        f"<h1>Cohort <small>{coverage.training_people(pack)} {kind} trained on · {len(places)} features · "
        f"{escape(str(pack.about.get('title', pack.name)))}</small></h1>"
        + _about.notice(
            "From the summary statistics in the pack; it holds nobody's row. A generated brain is as good as there "
            "were people alike."
        )
    )
_notes.strip(_notes.of_brain(pack, brain))
row = places.iloc[_cohort_views.table(pack, places)].to_dict()
with head:
    _cohort_export.popover(pack, row, places, brain, summary)
left, right = st.columns([50, 50], gap="medium")
with left:
    st.html(f'<div class="panel-head">{escape(str(row["label"]))} <small>choose a row above</small></div>')
    _cohort_views.feature(pack, row, brain, summary)
with right:
    one, two, three = st.tabs(["Volumes by age", "People by age and sex", "Correlations"])
    with one:
        _cohort_views.volumes(pack, brain)
    with two:
        _cohort_views.crossed(pack, summary)
    with three:
        _cohort_views.correlations(pack, summary)
