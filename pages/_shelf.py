"""The brains that are kept: for each session apart, and not more of them the more people use the app."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Hashable

import streamlit as st

from csegsynth_core.generate import Brain

OWN = 8
"""Brains of one session: those of a comparison, and what they are compared with."""
ALL = 16
"""Brains of all sessions together, 16 MB each."""

_lock = threading.Lock()
_clock = itertools.count()
_shelves: weakref.WeakSet[Shelf] = weakref.WeakSet()


class Shelf:
    """Brains of one session by what they were made from; it goes with its session."""

    def __init__(self) -> None:
        self._brains: dict[Hashable, tuple[int, Brain]] = {}
        with _lock:
            _shelves.add(self)

    def __len__(self) -> int:
        return len(self._brains)

    def take(self, key: Hashable, make: Callable[[], Brain]) -> Brain:
        """A brain, made where it is not there; those that were not used for longest make room, whoever's they are."""
        with _lock:
            held = self._brains.get(key)
        brain = held[1] if held else make()
        with _lock:
            self._brains[key] = (next(_clock), brain)
            while len(self) > OWN:
                self._drop_oldest()
            while sum(map(len, _shelves)) > ALL:
                min((s for s in _shelves if len(s)), key=Shelf._oldest)._drop_oldest()
        return brain

    def _oldest(self) -> int:
        return min(used for used, _ in self._brains.values())

    def _drop_oldest(self) -> None:
        del self._brains[min(self._brains, key=lambda k: self._brains[k][0])]


@st.cache_resource(show_spinner=False, scope="session")
def of_session() -> Shelf:
    """The shelf of this session."""
    return Shelf()
