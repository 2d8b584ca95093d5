"""The browser's Back and Forward: an address that was shown before shows again what it showed then."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from string import Template
from typing import Any, Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from csegsynth_core.pack import Pack
from csegsynth_core.scenario_file import Scenario
from csegsynth_core.scenario_pages import COMPARE, INFLUENCE
from pages import _compare_saved, _opened, _packs, _state

KEPT: Final = 100
"""Addresses that a session remembers the views of."""
_STEP: Final = Template(
    "<script>history.$way() // $token</script>"
)  # another text each time, or it would not run


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
    """Where the browser went back or forward to an address of this visit: show what it showed. To be called in every
    run, before any control is drawn.

    A link to another page leaves two steps in the browser's history, that page's bare address before the one with the
    view; who comes to it either way is taken one more step.
    """
    st.session_state["history-steps"] = False
    run = get_script_run_ctx()
    if run is None:
        return
    before = st.session_state.get("page-shown")
    st.session_state["page-shown"] = run.page_script_hash
    if not run.is_history_navigation:
        return
    query = st.query_params.to_dict()
    if not query:
        way = "back" if before == run.page_script_hash else "forward"
        st.session_state["history-steps"] = way == "forward"
        st.html(_STEP.substitute(way=way, token=time.monotonic_ns()), unsafe_allow_javascript=True)
    views, key = _views(), _key(query)
    if key not in views or key == next(reversed(views)):  # a bare address; what is shown already
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


def steps_forward() -> bool:
    """Whether this run is on its way to the next address, which another one written now would take out of reach."""
    return bool(st.session_state.get("history-steps"))


def _views() -> OrderedDict[Any, tuple[Scenario, str]]:
    return st.session_state.setdefault("views", OrderedDict())


def _key(query: Mapping[str, str]) -> Any:
    return tuple(sorted(query.items()))
