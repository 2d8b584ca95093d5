"""How far an export is: told by the thread that makes it, shown while its popover is open.

A download is made when no page runs, so that nothing can be drawn from there: a fragment looks every second. What a
page waits for itself it shows as it is told, at a pace (`paced`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import streamlit as st

from csegsynth_core.figure_export import Tell


@st.cache_resource(show_spinner=False, scope="session")
def _now() -> dict[str, tuple[float, str]]:
    """Key of a download that is being made → the share that is done, and what is made now."""
    return {}


def told(key: str, make: Callable[[Tell], bytes]) -> Callable[[], bytes]:
    """What makes a download and tells `bar` of it."""
    held = _now()

    def run() -> bytes:
        try:
            return make(lambda share, what: held.update({key: (share, what)}))
        finally:
            held.pop(key, None)

    return run


@st.fragment(run_every=1.0)
def bar(key: str) -> None:
    """How far a download is, and what is made now; nothing while none is made."""
    found = _now().get(key)
    if found is not None:
        share, what = found
        st.progress(min(share, 1.0), text=what)


def paced(show: Callable[[float], object], every: float = 0.4) -> Callable[[float], None]:
    """What is told of progress, shown no more often than each `every` seconds: a browser that draws a bar for every
    brain takes a tenth of the time away from making them, where both share a machine."""
    last = -math.inf

    def told(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            show(share)

    return told
