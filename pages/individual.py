"""A person's features and that person's generated brain."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core.errors import CSegSynthError
from pages import _about, _individual_export, _link, _notes, _regions, _state, _viewer, _volumes

_link.routed()
pack = _state.current_pack()
person, seed = _state.memory(pack)["person"], _state.memory(pack)["seed"]
base_person, base_label = _state.baseline(pack)
try:
    brain = _state.brain_of(pack, person, seed)
    base = _state.brain_of(pack, base_person, seed)
except CSegSynthError as error:
    _about.show_error(error)
    st.stop()

with st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head"):
    st.html(
        f"<h1>Generated brain <small>{escape(_state.describe(pack, brain))} · draw {seed} · "
        f"baseline: {escape(base_label)}</small></h1>" + _about.notice(_about.CROSS_SECTIONAL)
    )
    _individual_export.popover(pack, brain, base, base_label)
more = [*_state.memory(pack)["notes"], *_volumes.beyond_reference(pack, brain)]
_notes.strip([*_notes.of_brain(pack, brain), *map(escape, more)])
_viewer.show(pack, brain, base, base_label)
place, table = _volumes.show(pack, brain, base, base_label)
_volumes.fill_spread(place, table, _volumes.draws_of(pack, person, seed))
_regions.show(pack, brain, base, base_label)
