"""Other people, or this one in other scenarios, whose lines are drawn over this person's."""

from __future__ import annotations

import streamlit as st

from csegsynth_core.pack import Pack
from csegsynth_core.page_views import sweeps_of
from csegsynth_core.scenario_file import MAX_LINES, Overlay
from csegsynth_core.scenarios import Plan
from csegsynth_core.sweep_report import overlay_names
from pages import _state


def controls(pack: Pack, plan: Plan) -> None:
    """Keep this person's lines as an overlay; drop overlays."""
    held = _state.memory(pack)
    overlays: list[Overlay] = held["overlay"]
    own = Overlay(
        name=_letter(overlays),
        person=dict(held["person"]),
        seed=int(held["seed"]),
        scenarios=plan.scenarios,
        keep_distance=plan.keep_distance,
        changes=plan.changes,
    )
    room = MAX_LINES - len(plan.scenarios) - sum(len(one.scenarios) for one in overlays)
    label = f"Overlay ({len(overlays)})" if overlays else "Overlay"
    with st.popover(label, icon=":material/layers:", help="Lines of several people or scenarios together."):
        st.button(
            "Keep these lines",
            on_click=overlays.append,
            args=(own,),
            icon=":material/add:",
            disabled=room < len(own.scenarios),
            help="They stay while you change the person, the draw, the scenario or what changes at an age, or load "
            "somebody from your table.",
        )
        for n, (name, one) in enumerate(zip(_names(pack, plan), overlays, strict=True)):
            st.button(
                name,
                on_click=overlays.remove,
                args=(one,),
                icon=":material/delete:",
                key=f"drop-{n}",
                help=f"Drop {', '.join(one.scenarios)} of {name}",
            )
        if room < len(own.scenarios):
            st.caption(f"{MAX_LINES} lines are the most: drop one, or choose one scenario.")


def _names(pack: Pack, plan: Plan) -> list[str]:
    """What the overlays are called beside the current person."""
    held = _state.memory(pack)
    return overlay_names(pack.schema, held["person"], int(held["seed"]), held["overlay"], plan.changes)


def _letter(overlays: list[Overlay]) -> str:
    """The first letter that no overlay's name begins with."""
    taken = {one.name.split(" ")[0] for one in overlays}
    return next(c for c in "ABCDEFGHIJ" if c not in taken)


def warnings(pack: Pack, plan: Plan) -> list[str]:
    """Which overlays are not drawn, and how to see them."""
    left_out = _names(pack, plan)[len(entries(pack, plan)) - 1 :]
    return [
        f"{name} is not drawn: {MAX_LINES} lines are the most. Choose one scenario, or drop an overlay."
        for name in left_out
    ]


def entries(pack: Pack, plan: Plan) -> list[tuple[str, _state.Person, Plan]]:
    """Name, person and sweep of everybody whose lines are drawn, the current person first, while there is room."""
    held = _state.memory(pack)
    return sweeps_of(pack, held["person"], int(held["seed"]), held["overlay"], plan)
