"""The browser's Back and Forward: an address that was shown before shows again what it showed then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from csegsynth_core.pack import Pack
from csegsynth_core.scenario_file import Scenario
from csegsynth_core.scenario_pages import COMPARE, INFLUENCE
from pages import _compare_saved, _opened, _packs, _state

KEPT: Final = 100
"""Addresses that a session remembers the views of."""


def remember(pack: Pack, query: Mapping[str, str], shown: Scenario) -> None:
    """Note what the view shows under its address: with what the address has no room for, and what the baseline is
    called."""
    views = _views()
    key = _key(query)
    views[key] = (shown, str(_state.memory(pack)["label"]))
    views.move_to_end(key)
    while len(views) > KEPT:
        views.popitem(last=False)


def reopen() -> None:
    """Where the browser went back or forward to an address of this visit: show what it showed. To be called before
    any control is drawn."""
    run = get_script_run_ctx()
    if run is None or not run.is_history_navigation:
        return
    views, key = _views(), _key(st.query_params.to_dict())
    if key not in views or key == next(reversed(views)):  # the bare address of a page; what is shown already
        return
    shown, label = views[key]
    if shown.pack_name not in _packs.found().packs:
        return
    pack = _state.load(shown.pack_name)
    if pack.hash != shown.pack_hash:  # trained anew meanwhile
        return
    st.session_state["pack"] = pack.name
    pages = (
        {INFLUENCE} if _compare_saved.is_own(pack) else {COMPARE, INFLUENCE}
    )  # a table of the user's stays
    _opened.scenario(pack, shown, pages)
    _state.set_baseline(pack, shown.baseline, label)


def _views() -> OrderedDict[Any, tuple[Scenario, str]]:
    return st.session_state.setdefault("views", OrderedDict())


def _key(query: Mapping[str, str]) -> Any:
    return tuple(sorted(query.items()))
