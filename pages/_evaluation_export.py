"""Exports of the Evaluation page."""

from __future__ import annotations

from csegsynth_core import measured, page_views
from csegsynth_core.pack import Pack
from pages import _figure_export, _link


def popover(pack: Pack) -> None:
    """A figure for each table and metric, all numbers, the zip."""
    page = page_views.evaluation(pack, _link.scenario_of(pack))
    whole = measured.tidy(pack.metrics)
    _figure_export.popover(
        pack,
        "evaluation",
        page.figures,
        files=[_figure_export.table("All tables, CSV", f"csegsynth_{pack.name}_evaluation", lambda: whole)],
        everything=page.everything,
        show=page.show,
    )
