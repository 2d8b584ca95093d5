"""Exports of the Individual page."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from csegsynth_core import figures, page_export, page_views
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import TISSUES
from pages import _draws, _figure_export, _link, _state, _surface, _viewer


def popover(pack: Pack, person: Brain, baseline: Brain, label: str) -> None:
    """Planes as the viewer has them, difference, volumes; maps; the zip."""
    held = st.session_state.get("viewer-held", {})
    mode, tissue = held.get("viewer-mode", "tissues"), held.get("viewer-difference", "gm")
    view = page_views.View(
        at=st.session_state.get("crosshair", figures.CENTRE),
        mode=mode if mode in figures.MODES else "tissues",
        tissue=tissue if tissue in TISSUES else "gm",
        label=label,
    )
    page = page_views.individual(
        pack,
        _link.scenario_of(pack),
        view,
        person,
        baseline,
        spread=lambda: _draws.made(
            pack, _state.memory(pack)["person"], _state.baseline(pack)[0], person.seed, regions=True
        ),
        behind=lambda: _viewer.average(pack, person).maps,
        meshes=lambda: _surface.meshes(person),
    )
    _figure_export.popover(
        pack,
        "individual",
        page.figures,
        files=[
            (
                "Download maps",
                f"csegsynth_{pack.name}_seed-{person.seed}.zip",
                "application/zip",
                lambda: _maps(pack, person),
            )
        ],
        everything=page.everything,
        commands=page.commands,
        show=page.show,
    )


def _maps(pack: Pack, person: Brain) -> bytes:
    from csegsynth_core.export import zip_bytes  # imports nibabel, which the page does not need to start

    return zip_bytes([replace(person, participant_id=page_export.PERSON)], pack)
