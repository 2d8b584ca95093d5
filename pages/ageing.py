"""A person's brain over age: ideal and regressed scenarios."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import streamlit as st

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.scenarios import check_plausible
from csegsynth_core.sweep_report import warnings_of
from csegsynth_core.uncertainty import check_ages
from pages import (
    _about,
    _ageing_export,
    _ageing_views,
    _link,
    _notes,
    _overlay,
    _state,
    _sweep_controls,
    _sweeps,
)

_link.routed()
pack = _state.current_pack()
if pack.schema.age is None:
    st.info("This model knows no age, so there is nothing to sweep.")
    st.stop()
held = _state.memory(pack)
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
with head:
    who = escape(f"{_state.describe_person(pack, held['person'])} · draw {held['seed']}")
    st.html(f'<h1 title="{who}">Ageing <small>{who}</small></h1>')
    st.space("stretch")
    view, unit = _ageing_views.view_controls()
st.html(_about.notice(_about.CROSS_SECTIONAL))
volumes = view in ("tissues", "regions")
try:
    plan = _sweep_controls.plan_controls(pack)
    with head:
        _overlay.controls(pack, plan)
    _link.write(pack)
    measures = _ageing_views.measures(view)
    check_plausible(pack.schema.age, plan.ages)
    drawn = _overlay.entries(pack, plan)
    for _, _, own in drawn:  # of the lines on the page and in every export
        check_ages(own.ages, own.breaks)
    said = map(escape, [*warnings_of(pack, plan), *_overlay.warnings(pack, plan)])
    others = [
        f"{escape(name)}: {note}" for name, who, own in drawn[1:] for note in _notes.along(pack, who, own)
    ]
    _notes.strip([*said, *_notes.of_sweep(pack, held["person"], plan), *others], shown=1)
    bar, chart = st.empty(), st.container(key=f"lines-of-{view}", gap=None).empty()

    def sweeps(draws: int | None) -> list:
        return [
            (
                name,
                _sweeps.run(
                    pack, who, replace(own, draws=draws or own.draws), bar, f"Volumes: {name}", film=n == 0
                ),
            )
            for n, (name, who, own) in enumerate(drawn)
        ]

    if volumes and plan.draws > 1 and _sweeps.known(pack, held["person"], plan) is None:
        _ageing_views.trajectories(pack, sweeps(1), unit, measures, chart)  # while further draws are made
    people = sweeps(None if volumes else 1)
    saved = people if volumes else _sweeps.all_draws(pack, people, drawn)
except CSegSynthError as error:
    _about.show_error(error)
    st.stop()
one = people[0][1]
with head:
    _ageing_export.popover(pack, saved, unit, measures)
if volumes:
    _ageing_views.trajectories(pack, people, unit, measures, chart, key="trajectory")
if view == "tissues":
    _ageing_views.filmstrip(pack, one, bar)
elif view == "brain":
    _ageing_views.brain(pack, one)
elif view == "features":
    _ageing_views.features(pack, one)
