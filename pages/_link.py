"""The address bar: what a view shows lives there, so that a copied address opens the same view."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import streamlit as st

from csegsynth_core import page_views
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_checks import PERSON
from csegsynth_core.scenario_file import (
    BASELINE,
    Scenario,
    display_of_query,
    fitted,
    to_query,
    unknown_of_query,
)
from csegsynth_core.scenario_pages import InfluenceView
from pages import _compare_saved, _history, _opened, _packs, _state


def routed() -> None:
    """Run the router first where Streamlit ran a page without it (a server's first visitor, who came by a link)."""
    if not st.session_state.pop("routed", False):
        runpy.run_path(str(Path(__file__).parents[1] / "app.py"), run_name="__main__")
        st.stop()


def read() -> None:
    """When a browser arrives: take pack and display from the address, and remember it for `fill`. When it goes back
    or forward later: show what was shown then.

    What cannot be used ends in a message on the page, and the rest counts all the same.
    """
    if "link" in st.session_state:
        _history.reopen()
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
    for part in _opened.PARTS:
        try:
            part(pack, query)
        except CSegSynthError as error:
            st.session_state["link-problems"].append(error)
    unknown = [re.sub(r"[^\w.-]", "?", key)[:40] for key in unknown_of_query(query)]
    if unknown:
        said = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        st.session_state.setdefault("scenario-notes", []).append(f"Not known in a link, ignored: {said}")


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
        compare=_compare_saved.to_save(pack),
        influence=held.get("influence", InfluenceView()),
    )


def write(pack: Pack) -> tuple[str, ...]:
    """Bring the address up to date; what it has no room for: see `scenario_file.fitted`."""
    if _history.steps_forward():
        return ()
    scenario, sex = scenario_of(pack), pack.schema.sex
    other = scenario.baseline or {}
    wanted = to_query(
        scenario, page_views.typical_like(pack, scenario.person), page_views.typical_like(pack, other)
    )
    if sex is not None and scenario.person.get(sex.name) not in (None, _state.typical(pack, None)[sex.name]):
        wanted[PERSON + sex.name] = str(scenario.person[sex.name])
    if sex is not None and other.get(sex.name) is not None:  # always: or a typical baseline would not be said
        wanted[BASELINE + sex.name] = str(other[sex.name])
    wanted, left_out = fitted(wanted)
    _history.remember(pack, wanted, scenario)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    return left_out


def write_with(pack: Pack, part: str, what: str) -> None:
    """Bring the address up to date; say on the page that it has no room for a part of it."""
    if part in write(pack):
        st.html(
            f'<div class="notes" role="alert"><b>⚠</b> {what} too long for the address of this page. To keep or '
            "share them, save a scenario file (in the sidebar).</div>"
        )
