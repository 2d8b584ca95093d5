"""Which features move the volumes of generated brains, and where in the brain they act."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core import scenario_pages
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.page_views import GRADIENT_DRAWS, bars_of, measure_name
from csegsynth_core.scenario_pages import INFLUENCE, INFLUENCE_DRAWS, TOP, InfluenceView
from pages import (
    _about,
    _influence_export,
    _influence_filters,
    _influence_map,
    _influence_people,
    _influence_table,
    _link,
    _notes,
    _state,
)

_link.routed()
MEASURES = {name: measure_name(name) for name in scenario_pages.MEASURES}
UNITS = {"sd": "Per SD", "natural": "Natural unit"}

pack = _state.current_pack()
person = _state.memory(pack)["person"]
seed = _state.memory(pack)["seed"]
own = pack.hash[:8]  # controls are of each pack apart, as the settings that links and files hold
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
with st.container(horizontal=True, vertical_alignment="center", gap="small", key="influence-bar"):
    whose = st.selectbox(
        "Whose", list(_influence_people.WHOSE), key=f"influence-whose-{own}", persist_state="session", width=170,
        format_func=_influence_people.WHOSE.get, label_visibility="collapsed",
    )  # fmt: skip
    measure = st.selectbox(
        "Volume", list(MEASURES), index=list(MEASURES).index("gm"), key=f"influence-measure-{own}", width=170,
        persist_state="session", format_func=MEASURES.get, label_visibility="collapsed",
    )  # fmt: skip
    unit = st.segmented_control(
        "Unit", list(UNITS), default="sd", required=True, key=f"influence-unit-{own}", persist_state="session",
        format_func=UNITS.get, label_visibility="collapsed",
    )  # fmt: skip
    st.space("stretch")
    with st.popover("Options", icon=":material/tune:"):
        count = st.number_input(
            "Features shown", *TOP, 10, key=f"influence-top-{own}", persist_state="session"
        )
        draws = st.number_input(
            "Latent draws", *INFLUENCE_DRAWS, GRADIENT_DRAWS[whose == "person"],
            key=f"influence-draws-{whose == 'person'}-{own}", persist_state="session",
        )  # fmt: skip
        every = whose != "person" and st.toggle(
            "All voxels", key=f"influence-every-{own}", persist_state="session", help=_influence_people.VOXELS
        )
        map_of = st.segmented_control(
            "Map of where a feature acts", [True, False], default=whose != "person", required=True,
            key=f"influence-map-{whose == 'person'}-{own}", persist_state="session",
            format_func=_influence_people.MAP_OF[whose == "person"].get, help=_influence_people.MAPS,
        )  # fmt: skip
        st.caption(_influence_people.EXPLAINED)
        where = _influence_filters.filters(pack) if whose != "person" else {}
settings = _state.memory(pack)["influence"] = InfluenceView(
    whose, measure, unit, int(count), {name: tuple(wanted) for name, wanted in where.items()},
    None if draws == GRADIENT_DRAWS[whose == "person"] else int(draws), every,
    None if map_of == (whose != "person") else map_of,
)  # fmt: skip
_link.write_with(pack, INFLUENCE, "These settings are")

slot = st.container(key="influence-progress")  # what is shown stays where it is while something is computed
try:
    people, about = _influence_people.people_of(pack, whose, person)
    with slot:
        computed = bars_of(
            pack, settings, people, about, seed,
            gradients=_influence_people.gradients_of, contrasts=_influence_people.contrasts_of,
        )  # fmt: skip
except CSegSynthError as error:
    head.html("<h1>Feature influence</h1>" + _about.notice(_influence_people.NO_EFFECTS))
    _about.show_error(error)
    st.stop()
shown, mapped, band, n, sampled = (
    computed.shown, computed.mapped, computed.band, computed.count, computed.sampled
)  # fmt: skip
_influence_map.follow(pack, mapped, measure)
with head:
    st.html(
        f"<h1>Feature influence <small>gradient of {MEASURES[measure]} volume · {escape(about)}"
        f"{f' · n = {n}' if n > 1 else ''} · {draws} draw{'s' * (draws > 1)} from {seed}"
        f"{f' · {sampled}' if sampled else ''}</small></h1>"
        + _about.notice(f"{_influence_people.NO_EFFECTS} {f'Whiskers: {band}.' if band else ''}")
    )
    _influence_export.popover(pack, computed)
if whose != "person":
    _influence_people.flagged(pack, computed.found, where)
else:
    _notes.strip(_notes.of_person(pack, person))
left, right = st.columns([48, 52], gap="medium")
with left:
    _influence_table.bars(shown, measure, unit, band)
with right:
    _influence_table.table(pack, shown, unit, band)
_influence_map.show(pack, person, seed, computed)
