"""Volumes of several latent draws of the person and of the baseline: made once, after the pictures are there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from csegsynth_core.compare import volumes_draw_by_draw
from csegsynth_core.pack import Pack
from csegsynth_core.page_views import SPREAD_DRAWS
from csegsynth_core.uncertainty import PairedSpread, paired_spread
from pages import _state

KEPT = 64
"""People whose draws are kept; the least recently used go first."""

Rows = tuple[NDArray[np.float32], ...]
"""Volumes in mL of each draw that is made: tissues, or tissues and regions."""


@st.cache_resource(show_spinner=False, scope="session")
def _store() -> tuple[OrderedDict[tuple[Any, ...], Rows], threading.Lock]:
    """Draws by what they depend on."""
    return OrderedDict(), threading.Lock()


def _key(pack: Pack, person: _state.Person, seed: int, regions: bool) -> tuple[Any, ...]:
    return pack.hash, tuple(person.items()), seed, regions


def _held(pack: Pack, person: _state.Person, seed: int, regions: bool) -> Rows:
    """The draws of somebody that are made; those with regions serve where they are all there."""
    held, lock = _store()
    with lock:
        whole = held.get(_key(pack, person, seed, True), ())
        key = _key(pack, person, seed, regions or len(whole) == SPREAD_DRAWS)
        if key in held:
            held.move_to_end(key)
        return held.get(key, ())


def known(
    pack: Pack, person: _state.Person, baseline: _state.Person, seed: int, regions: bool
) -> PairedSpread | None:
    """Spread over draws, if all of them are made."""
    both = [_held(pack, one, seed, regions) for one in (person, baseline)]
    if min(map(len, both)) < SPREAD_DRAWS:
        return None
    shared = min(len(rows[0]) for rows in both)
    return paired_spread(*(np.stack(rows)[:, :shared] for rows in both))


def made(
    pack: Pack,
    person: _state.Person,
    baseline: _state.Person,
    seed: int,
    regions: bool,
    waiting: Callable[[], object] = lambda: None,
) -> PairedSpread:
    """Spread over `SPREAD_DRAWS` draws, the same for both people; draws that are not there are made.

    Args:
        regions: of regions, too.
        waiting: called after each draw; a Streamlit call in it lets a run of the page end here for the next one.
    """
    held, lock = _store()
    for one in (baseline, person):
        rows, key = _held(pack, one, seed, regions), _key(pack, one, seed, regions)
        if len(rows) == SPREAD_DRAWS:
            continue
        more = volumes_draw_by_draw(
            pack, dict(one), draws=SPREAD_DRAWS, seed=seed, regions=regions, start=len(rows)
        )
        for row in more:
            rows = (*rows, row)
            with lock:
                held[key] = rows
                while len(held) > KEPT:
                    held.popitem(last=False)
            waiting()
    found = known(pack, person, baseline, seed, regions)
    assert found is not None  # noqa: S101 - they were made above
    return found
