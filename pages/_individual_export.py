"""Exports of the Individual page."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from csegsynth_core import figures, page_export, page_figures
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import TISSUES
from pages import _figure_export, _link, _planes, _state, _surface, _viewer, _volumes


def popover(pack: Pack, person: Brain, baseline: Brain, label: str) -> None:
    """Planes as the viewer has them, difference, volumes; maps; the zip."""
    held = st.session_state.get("viewer-held", {})
    mode, tissue = held.get("viewer-mode", "tissues"), held.get("viewer-difference", "gm")
    shown = page_figures.person_figures(
        pack,
        person,
        baseline,
        label=label,
        at=st.session_state.get("crosshair", figures.CENTRE),
        display=_planes.conventions(),
        mode=mode if mode in figures.MODES else "tissues",
        tissue=tissue if tissue in TISSUES else "gm",
        smooth=_planes.smooth(),
        spread=lambda: _volumes.draws_of(pack, _state.memory(pack)["person"], person.seed),
        draws=_volumes.DRAWS,
        behind=lambda: _viewer.average(pack, person).maps,
        meshes=lambda: _surface.meshes(person),
    )
    _figure_export.popover(
        pack,
        "individual",
        shown,
        files=[
            (
                "Download maps",
                f"csegsynth_{pack.name}_seed-{person.seed}.zip",
                "application/zip",
                lambda: _maps(pack, person),
            )
        ],
        everything=lambda: page_export.person_zip(
            pack, shown, person, baseline, scenario=_link.scenario_of(pack).to_json()
        ),
        commands=page_export.person_commands(pack, person.seed),
    )


def _maps(pack: Pack, person: Brain) -> bytes:
    from csegsynth_core.export import zip_bytes  # imports nibabel, which the page does not need to start

    return zip_bytes([replace(person, participant_id=page_export.PERSON)], pack)
