"""The address bar: what a view shows lives there, so that a copied address opens the same view."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_file import (
    BASELINE,
    DISPLAY,
    PERSON,
    Scenario,
    display_of_query,
    overlays_of_query,
    person_of_query,
    plan_of_query,
    seed_of_query,
    to_query,
)
from pages import _packs, _state

_TOGGLES = {"radiological": "Radiological", "nose_left": "Nose left", "voxels": "Voxels"}


def routed() -> None:
    """Run the router first where Streamlit ran a page without it (a server's first visitor, who came by a link)."""
    if not st.session_state.pop("routed", False):
        runpy.run_path(str(Path(__file__).parents[1] / "app.py"), run_name="__main__")
        st.stop()


def open_once() -> None:
    """When a browser arrives: take pack, person, draw, sweep and display from the address.

    What cannot be used ends in a message on the page, and the rest counts all the same.
    """
    if "link" in st.session_state:
        return
    query = st.session_state["link"] = st.query_params.to_dict()
    st.session_state["display"] = display_of_query(query)
    st.session_state["link-problems"] = []
    if "pack" in query:
        packs = _packs.found().packs
        if query["pack"] in packs:
            st.session_state["pack"] = query["pack"]
        else:
            st.session_state["link-problems"].append(
                CSegSynthError(
                    f"the link's model pack {query['pack']!r} is not here",
                    expected=", ".join(packs) or "a model pack",
                    fix="choose another pack in the sidebar, or name the folder that holds it there",
                )
            )


def fill(pack: Pack) -> None:
    """Give the pack's memory what the address says; once, before the controls are drawn.

    A link to a pack that is not here waits until it is.
    """
    query = st.session_state["link"]
    if not query or query.get("pack", pack.name) != pack.name:
        return
    st.session_state["link"] = {}
    for part in (_fill_person, _fill_baseline, _fill_seed, _fill_sweep, _fill_overlays):
        try:
            part(pack, query)
        except CSegSynthError as error:
            st.session_state["link-problems"].append(error)


def _fill_person(pack: Pack, query: dict[str, str]) -> None:
    if any(key.startswith(PERSON) for key in query):
        given = person_of_query(query, pack.schema)
        _state.set_person(pack, _state.typical_like(pack, given) | given)


def _fill_baseline(pack: Pack, query: dict[str, str]) -> None:
    if any(key.startswith(BASELINE) for key in query):
        given = person_of_query(query, pack.schema, BASELINE)
        _state.set_baseline(pack, _state.typical_like(pack, given) | given, "the link's baseline")


def _fill_seed(pack: Pack, query: dict[str, str]) -> None:
    _state.set_seed(pack, seed_of_query(query))


def _fill_sweep(pack: Pack, query: dict[str, str]) -> None:
    _state.memory(pack)["sweep"] = plan_of_query(query)


def _fill_overlays(pack: Pack, query: dict[str, str]) -> None:
    held = _state.memory(pack)
    held["overlay"][:] = overlays_of_query(query, held["person"], pack.schema)


def problems() -> list[CSegSynthError]:
    """What was wrong with the address; told once."""
    found, st.session_state["link-problems"] = st.session_state.get("link-problems", []), []
    return found


def scenario_of(pack: Pack) -> Scenario:
    """What the view shows now."""
    held = _state.memory(pack)
    return Scenario(
        pack_name=pack.name,
        pack_hash=pack.hash,
        person=dict(held["person"]),
        seed=int(held["seed"]),
        display=dict(st.session_state.get("display", {})),
        baseline=held["baseline"],
        sweep=held["sweep"],
        overlays=tuple(held["overlay"]),
    )


def write(pack: Pack) -> None:
    """Bring the address up to date."""
    scenario, sex = scenario_of(pack), pack.schema.sex
    other = scenario.baseline or {}
    wanted = to_query(scenario, _state.typical_like(pack, scenario.person), _state.typical_like(pack, other))
    if sex is not None and scenario.person.get(sex.name) not in (None, _state.typical(pack, None)[sex.name]):
        wanted[PERSON + sex.name] = str(scenario.person[sex.name])
    if sex is not None and other.get(sex.name) is not None:  # always: or a typical baseline would not be said
        wanted[BASELINE + sex.name] = str(other[sex.name])
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def display_toggles() -> tuple[figures.Display, bool]:
    """Switches of the display convention, the same on every page; the second value: voxels, not smoothed."""
    held: dict[str, Any] = st.session_state.setdefault("display", dict.fromkeys(DISPLAY, False))
    for name, title in _TOGGLES.items():
        key = f"display-{name}"
        st.session_state.setdefault(key, held[name])
        st.toggle(title, key=key, on_change=_note, args=(name,))
    return figures.Display(radiological=held["radiological"], nose_left=held["nose_left"]), held["voxels"]


def _note(name: str) -> None:
    """Remember a switch beyond its page, and put it into the address."""
    st.session_state["display"][name] = st.session_state[f"display-{name}"]
    write(_state.current_pack())
