"""Results that take seconds: computed once, with a progress bar, and shared by all pages. Gone with the session."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import streamlit as st

KEPT = 48
"""Results kept; the least recently used go first."""


@st.cache_resource(show_spinner=False, scope="session")
def _store() -> tuple[OrderedDict[Any, Any], threading.Lock]:
    """Results that were computed, by what they depend on; the least recently used go first."""
    return OrderedDict(), threading.Lock()


def remembered(key: tuple[Any, ...], label: str, make: Callable[[Callable[[int, int], None]], Any]) -> Any:
    """A result, computed once with a progress bar."""
    held, lock = _store()
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
        while len(held) > KEPT:
            held.popitem(last=False)
    return result
