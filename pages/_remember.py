"""Results that take seconds: computed once, with a progress bar, and shared by all pages. Gone with the session."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

KEPT = 48
"""Results kept; the least recently used go first."""


@st.cache_resource(show_spinner=False, scope="session")
def _store(kept: int) -> tuple[OrderedDict[Any, Any], threading.Lock]:
    """Results that were computed, by what they depend on; the least recently used go first."""
    return OrderedDict(), threading.Lock()


def remembered(
    key: tuple[Any, ...], label: str, make: Callable[[Callable[[int, int], None]], Any], kept: int = KEPT
) -> Any:
    """A result, computed once with a progress bar.

    Args:
        kept: results that are kept together with this one; fewer where each is large.
    """
    held, lock = _store(kept)
    with lock:
        if key in held:
            held.move_to_end(key)
            return held[key]
    bar = st.progress(0.0, text=label)
    try:
        result = make(lambda done, total: bar.progress(done / total, text=f"{label}: {done} of {total}"))
    finally:
        bar.empty()
    with lock:
        held[key] = result
        while len(held) > kept:
            held.popitem(last=False)
    return result


def in_session(make: Callable[[], Any]) -> Callable[[], Any]:
    """What makes a download, with the session of this run.

    Streamlit calls it in a thread that knows no session: without this it would find another person, and nothing that
    the session remembers. What it would draw on the page is dropped.
    """
    here = get_script_run_ctx()
    if here is None:
        return make
    silent = copy.copy(here)
    silent._enqueue = lambda message: None

    def run() -> Any:
        def enter() -> None:
            add_script_run_ctx(threading.current_thread(), silent)

        with ThreadPoolExecutor(1, initializer=enter) as pool:
            return pool.submit(make).result()

    return run
