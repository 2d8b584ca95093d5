"""The person in the sidebar: features by group, draw and baseline."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from csegsynth_core.compare import sidebar_order
from csegsynth_core.data.encoder import Control
from csegsynth_core.data.feature import GROUPS
from csegsynth_core.pack import Pack
from pages import _draw, _notes, _numbers, _scenario, _state, _table
from pages._numbers import UNKNOWN

SEARCH_ABOVE = 20
"""Features above which there is a search box."""

TOP = 10
"""So many features that move the volumes most stand first where there is a search box."""


def person_controls(pack: Pack) -> _state.Person:
    """All controls of the sidebar; returns the person they describe."""
    held = _state.memory(pack)
    with st.container(key="actions"):
        _draw.draw(pack, held)
        _draw.baseline(pack, held)
    _table.loader(pack)
    _scenario.saver(pack)
    controls = pack.encoder.ranges()
    order = sidebar_order(pack)
    many = len(controls) > SEARCH_ABOVE
    words: list[str] = []
    if many:
        text = st.text_input(
            "Search", placeholder=f"Find one of {len(controls)} features", icon=":material/search:",
            label_visibility="collapsed", key=f"search-{pack.hash[:8]}",
        )  # fmt: skip
        words = text.casefold().split()
    st.caption("Grey: range of the training people. n/a: not known, filled in from age and sex.")
    differences = st.empty()  # filled once the controls have said who the person is
    top = order[:TOP] if many and not words else []
    groups = {"most influential": top} if top else {}
    groups |= {g: [n for n in order if n not in top and controls[n].group == g] for g in GROUPS}
    first = next(g for g in groups if groups[g])
    found = False
    filled = cache(lambda: _notes.filled(pack, _as_set(pack, held)))
    for group, everyone in groups.items():
        mine = [controls[n] for n in everyone if _matches(pack, controls[n], words)]
        if mine:
            found = True
            few = not many or bool(words) or group == first
            key = f"group-{group}-{few}-{bool(words)}"
            title = f"{group.capitalize()} · {len(mine)}"
            # Controls of a closed group are not made at all: 198 of them would delay every picture.
            place = st.expander(title, expanded=few, key=key, on_change="rerun")
            with place:
                for one in mine if place.open else ():
                    held["person"][one.name] = _control(pack, one, held, filled)
    _differences(differences, pack, held["person"])
    if not found:
        st.info("No feature has all of these words in its name, label or description.")
    return held["person"]


def _matches(pack: Pack, one: Control, words: list[str]) -> bool:
    """Whether every word is in what is said about a feature."""
    said = f"{one.name} {one.label} {one.group} {pack.schema.feature(one.name).description}".casefold()
    return all(w in said for w in words)


def _differences(place: Any, pack: Pack, person: _state.Person) -> None:
    """Which features the person and the baseline differ in; their controls may be in closed groups."""
    other = _state.baseline(pack)[0]
    names = [pack.schema.feature(n).label for n in sidebar_order(pack) if person.get(n) != other.get(n)]
    said = f"{len(names) or 'No'} feature{'s' * (len(names) > 1)} differ{'s' * (len(names) < 2)} from the baseline"
    place.caption(said, help=", ".join(names) or None)  # always one line: nothing moves under the mouse


def _key(pack: Pack, held: dict[str, Any], name: str) -> str:
    return f"{pack.hash[:8]}-{held['turn']}-{name}"


def _as_set(pack: Pack, held: dict[str, Any]) -> _state.Person:
    """The person as all controls say, also those that have not been made yet since the user changed one."""
    out = dict(held["person"])
    for name in out:
        key = _key(pack, held, name)
        said = st.session_state.get(f"{key}-choice", st.session_state.get(key, out[name]))
        unknown = said == UNKNOWN or st.session_state.get(f"{key}-na")
        out[name] = None if unknown else said
    return out


def _control(pack: Pack, one: Control, held: dict[str, Any], filled: Callable[[], _state.Person]) -> Any:
    key = _key(pack, held, one.name)
    value = held["person"].get(one.name)
    if one.kind == "numeric":
        return _numbers.control(pack, one, value, key, held["start"].get(one.name), filled)
    rare = ", ".join(one.levels[k] for k in one.rare)
    help_text = f"Fewer than 3 training people: {rare}" if rare else None
    names = {**one.levels, UNKNOWN: UNKNOWN}
    if len(one.levels) > 2:
        st.session_state.setdefault(key, value or UNKNOWN)
        chosen = st.selectbox(one.label, list(names), format_func=names.get, key=key, help=help_text)
    else:
        names |= {k: name[:1].upper() + name[1:] for k, name in one.levels.items()}
        chosen = st.segmented_control(
            one.label,
            list(names),
            format_func=names.get,
            key=f"{key}-choice",
            default=value or UNKNOWN,
            required=True,
            help=help_text,
            width="stretch",
        )
    return None if chosen == UNKNOWN else chosen
