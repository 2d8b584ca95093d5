"""A person's features and that person's generated brain."""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.uncertainty import PairedSpread
from pages import _about, _draws, _individual_export, _link, _notes, _regions, _state, _viewer, _volumes

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
fills = [_volumes.show(pack, brain, base, base_label)]
regions = _regions.wanted()
if regions:
    fills.append(_regions.show(pack, brain, base, base_label))


def fill(spread: PairedSpread | None) -> None:
    """Show volumes and regions, with their spread over draws where it is known."""
    for one in fills:
        one(spread)


whose = (pack, person, base_person, seed, regions)
fill(_draws.known(*whose))
if _draws.known(*whose) is None:  # after the pictures, and left for the next run as soon as there is one
    resting = st.empty()
    fill(_draws.made(*whose, waiting=resting.empty))
