"""Exports of the Feature influence page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import figure_export, figures, page_export, page_figures, saliency
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import TISSUES
from pages import _figure_export, _influence_map, _influence_table, _link, _planes, _state


def popover(
    pack: Pack,
    found: saliency.Gradients,
    whole: pd.DataFrame,
    shown: pd.DataFrame,
    mapped: Mapping[str, str],
    *,
    contrasts: pd.DataFrame | None,
    measure: str,
    unit: str,
    band: str,
    title: str,
    where: saliency.Where,
) -> None:
    """Bars, the map that is shown, the whole table; the zip.

    Args:
        mapped: encoded column → label of the features whose map can be shown.
    """
    seed, draws = found.seed, int(whole["draws"].iloc[0])
    brain = replace(
        _state.brain_of(pack, _state.memory(pack)["person"], seed), participant_id=page_export.PERSON
    )
    column = st.session_state.get(_influence_table.map_key(pack))
    column = column if column in mapped else next(iter(mapped))
    start = measure if measure in TISSUES else "gm"
    tissue = str(st.session_state.get(f"influence-tissue-{start}") or start)
    at = st.session_state.get("crosshair", figures.CENTRE)
    look: dict[str, Any] = {
        "tissue": tissue,
        "at": at,
        "display": _planes.conventions(),
        "smooth": _planes.smooth(),
    }

    bars = page_figures.influence_figures(
        pack,
        shown,
        colour=_influence_table.colour_of(measure),
        axis=_influence_table.AXES[unit],
        band=band,
        title=title,
        whole=lambda: saliency.with_provenance(whole, found),
    )
    place = page_figures.map_figure(
        pack, brain, lambda: _change(pack, brain, column, seed), column, mapped[column], **look
    )
    both = [*bars, place]
    stem = f"csegsynth_{pack.name}_influence"

    def as_shown() -> pd.DataFrame:
        return page_export.bars_table(
            shown, found, measure=measure, band=band, people=int(whole["people"].iloc[0]), draws=draws
        )

    _figure_export.popover(
        pack,
        "influence",
        both,
        files=[
            _figure_export.table("Bars as shown, CSV", f"{stem}_bars", as_shown),
            (
                "Map (NIfTI, BIDS)",
                f"{stem}_map.zip",
                "application/zip",
                lambda: figure_export.zipped(
                    page_figures.map_files(pack, brain, _change(pack, brain, column, seed), column)
                ),
            ),
        ],
        everything=lambda: page_export.influence_zip(
            pack,
            both,
            found,
            whole,
            where=where,
            draws=draws,
            maps=page_figures.map_files(pack, brain, _change(pack, brain, column, seed), column),
            contrasts=contrasts,
            bars=as_shown(),
            scenario=_link.scenario_of(pack).to_json(),
        ),
        commands=page_export.influence_commands(pack, seed, draws, found.resolution),
        gives=page_export.INFLUENCE_GIVES,
    )


def _change(pack: Pack, brain: Brain, column: str, seed: int) -> Any:
    """The voxel map that the page shows; computed once."""
    return _influence_map._map(pack.hash, tuple(_state.memory(pack)["person"].items()), column, seed, pack)
