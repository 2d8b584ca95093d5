"""The person in the sidebar: features by group, draw and baseline."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core.compare import sidebar_order
from csegsynth_core.data.encoder import Control
from csegsynth_core.data.feature import GROUPS
from csegsynth_core.pack import Pack
from pages import _draw, _scenario, _state, _table

SEARCH_ABOVE = 20
"""Features above which there is a search box."""

TOP = 10
"""So many features that move the volumes most stand first where there is a search box."""

BEYOND = 0.15
"""How far a slider goes beyond the training range, as a share of it."""

UNKNOWN = "n/a"
"""What a value is called that nobody knows, in all controls."""


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
                    held["person"][one.name] = _control(pack, one, held)
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


def _control(pack: Pack, one: Control, held: dict[str, Any]) -> Any:
    key = f"{pack.hash[:8]}-{held['turn']}-{one.name}"
    value = held["person"].get(one.name)
    if one.kind == "numeric":
        return _number(pack, one, value, key, held)
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


def _number(pack: Pack, one: Control, value: float | None, key: str, held: dict[str, Any]) -> float | None:
    low, high, step = _reach(pack, one, held["start"].get(one.name))
    na = f"{key}-na"
    if na not in st.session_state:
        st.session_state[na] = value is None
        st.session_state[key] = float(one.default if value is None else value)
    whole = step >= 1 and float(st.session_state[key]).is_integer()
    ends = (f"{v:.0f}" if abs(v) >= 1000 else f"{v:.3g}" for v in (one.minimum, one.maximum))
    trained = f"{'–'.join(ends)} {one.units}".strip()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"number-{key}"):
        number = st.slider(
            f"{one.label} :gray[{trained}]",
            low,
            high,
            step=step,
            format="%.0f" if whole else "%.4g",
            key=key,
            disabled=st.session_state[na],
        )
        if st.checkbox(f"{one.label}: {UNKNOWN}", key=na):  # the style sheet shows the last word alone
            return None
    if number < one.minimum or number > one.maximum:
        st.badge("outside training range", icon=":material/warning:", color="orange")
    return float(number)


def _reach(pack: Pack, one: Control, start: float | None) -> tuple[float, float, float]:
    """Ends and step of a slider: a little beyond the training range, but plausible; a loaded value is inside.
    Where everybody has the same value, the ends are a step apart."""
    step = float(one.step or 1.0)
    span = one.maximum - one.minimum
    step = step if span / step <= 150 else step * 10
    plausible = pack.schema.feature(one.name).plausible or (one.minimum, one.maximum)
    low = max(plausible[0], step * ((one.minimum - BEYOND * span) // step))
    high = min(plausible[1], step * ((one.maximum + BEYOND * span) // step + 1))
    inside = [] if start is None else [start]
    low, high = float(min([low, one.minimum, *inside])), float(max([high, one.maximum, *inside]))
    if low == high and plausible[0] < high == plausible[1]:
        low = max(low - step, plausible[0])  # nothing above is plausible
    return low, high if low < high else high + step, step
