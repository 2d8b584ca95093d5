"""Sweeps and films, computed once: kept by model, person and settings while the browser is open, and no longer, since
they hold a person's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import figures, page_views
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import Plan, Sweep, sweep
from csegsynth_core.side_by_side import side_by_side
from csegsynth_core.sweep_report import Named
from pages import _making, _state
from pages._store import Store

KEPT = 32
"""Sweeps that a session remembers."""
ROWS = 200_000
"""Rows of volumes that they have together, about 150 bytes each; a usual sweep has 700."""
FRAMES = 64
"""Frames of films that a session remembers, 2 MB each."""


@st.cache_resource(max_entries=1, show_spinner=False, scope="session")
def _store() -> Store[Sweep]:
    return Store(KEPT, lambda one: len(one.volumes), ROWS)


@st.cache_resource(max_entries=1, show_spinner=False, scope="session")
def _frames() -> Store[figures.Frame]:
    return Store(FRAMES)


def _key(pack: Pack, person: _state.Person, plan: Plan) -> Any:
    return pack.hash, tuple(sorted(person.items())), plan


def known(pack: Pack, person: _state.Person, plan: Plan) -> Sweep | None:
    """A sweep that was already made."""
    return _store().get(_key(pack, person, plan))


class _Later(Sweep):
    """A sweep of which the volumes are computed when they are asked for; all else is known."""

    def __init__(self, known: Sweep, plan: Plan, make: Callable[[], Sweep]) -> None:
        own = {f.name: getattr(known, f.name) for f in fields(known) if f.name != "volumes"}
        self.__dict__.update(own | {"plan": plan, "make": make})

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """As of a sweep with all draws of the plan."""
        return self.__dict__["make"]().volumes


def all_draws(pack: Pack, people: list[Named], entries: list[tuple[str, _state.Person, Plan]]) -> list[Named]:
    """Sweeps with all draws of their plans, for exports: computed when a file is asked for.

    Args:
        people: the same with one draw; paths do not depend on draws.
    """

    def of(one: Sweep, person: _state.Person, plan: Plan) -> Sweep:
        own = dict(person)  # the page's changes with its controls
        return _Later(one, plan, lambda: run(pack, own, plan, st.empty(), "Volumes"))

    return [(name, of(one, who, plan)) for (name, one), (_, who, plan) in zip(people, entries, strict=True)]


def run(pack: Pack, person: _state.Person, plan: Plan, bar: Any, text: str, *, film: bool = False) -> Sweep:
    """A sweep, with a progress bar in the place `bar` where it has to be made.

    Args:
        film: also remember the frames of its filmstrip.
    """
    found = known(pack, person, plan)
    if found is not None:
        return found
    shown: dict[tuple[str, int], Any] | None = {} if film else None
    made = sweep(
        pack,
        person,
        plan,
        progress=_making.paced(lambda share: bar.progress(share, text=text)),
        known=known(pack, person, replace(plan, draws=1)),
        shown=shown,
    )
    _store().put(_key(pack, person, plan), made)
    for asked, frame in page_views.frames_seen(pack, made, shown or {}):
        _frames().put(_frame_key(pack, asked, plan.seed), frame)
    bar.empty()
    return made


def _frame_key(pack: Pack, asked: page_views.Asked, seed: int) -> Any:
    who, age, trained = asked
    return pack.hash, tuple(who.items()), age, trained, seed


def film(pack: Pack, one: Sweep, scenario: str, count: int, bar: Any) -> list[figures.Frame]:
    """Frames of at most `count` evenly spaced ages of a sweep (`path_sample`)."""
    store, seed = _frames(), one.plan.seed

    def frames(asked: list[page_views.Asked]) -> Iterator[figures.Frame]:
        keys = [_frame_key(pack, ask, seed) for ask in asked]
        held = [store.get(key) for key in keys]
        lacking = [ask for ask, frame in zip(asked, held, strict=True) if frame is None]
        made = side_by_side(lambda ask: page_views.frame_of(pack, ask, seed), lacking)
        for key, frame in zip(keys, held, strict=True):
            found = next(made) if frame is None else frame
            store.put(key, found)
            yield found

    out = page_views.film_of(
        pack, one, scenario, count,
        frames=frames,
        done=lambda share: bar.progress(share, text=f"Brains, {scenario}"),
    )  # fmt: skip
    bar.empty()
    return out
