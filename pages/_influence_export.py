"""Exports of the Feature influence page."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import figure_export, figures, page_views, saliency
from csegsynth_core.pack import Pack
from pages import _figure_export, _influence_map, _influence_table, _link, _state


def popover(pack: Pack, bars: page_views.Bars) -> None:
    """Bars, the map that is shown, the whole table; the zip."""
    seed = bars.found.seed
    brain = _state.brain_of(pack, _state.memory(pack)["person"], seed)
    column = st.session_state.get(_influence_table.map_key(pack))
    column = column if column in bars.mapped else next(iter(bars.mapped))
    view = page_views.View(
        at=st.session_state.get("crosshair", figures.CENTRE),
        tissue=str(st.session_state.get(f"influence-tissue-{bars.tissue}") or bars.tissue),
        column=column,
    )

    def change(column: str) -> Any:
        """The voxel map that the page shows; computed once."""
        return _influence_map._map(
            pack.hash, tuple(_state.memory(pack)["person"].items()), column, seed, pack
        )

    def mean(column: str) -> saliency.MeanMap:
        return _influence_map.mean_of(pack, bars, column)

    def maps() -> bytes:
        return figure_export.zipped(page_views.influence_maps(pack, bars, brain, column, change, mean))

    page = page_views.influence(pack, _link.scenario_of(pack), view, bars, brain, change, mean)
    stem = f"csegsynth_{pack.name}_influence"
    _figure_export.popover(
        pack,
        "influence",
        page.figures,
        files=[
            _figure_export.table("Bars as shown, CSV", f"{stem}_bars", lambda: page_views.bars_table(bars)),
            ("Map (NIfTI, BIDS)", f"{stem}_map.zip", "application/zip", maps),
        ],
        everything=page.everything,
        commands=page.commands,
        gives=page.gives,
        show=page.show,
    )
