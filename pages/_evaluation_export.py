"""Exports of the Evaluation page."""

from __future__ import annotations

from csegsynth_core import measured, page_export, page_figures
from csegsynth_core.pack import Pack
from pages import _figure_export


def popover(pack: Pack) -> None:
    """A figure for each table and metric, all numbers, the zip."""
    shown = page_figures.evaluation_figures(pack)
    whole = measured.tidy(pack.metrics)
    tables = {"evaluation": whole, "paired": measured.paired(pack.metrics)}
    _figure_export.popover(
        pack,
        "evaluation",
        shown,
        files=[_figure_export.table("All tables, CSV", f"csegsynth_{pack.name}_evaluation", lambda: whole)],
        everything=lambda: page_export.evaluation_zip(pack, shown, tables),
    )
