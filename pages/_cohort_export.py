"""Exports of the Cohort page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from csegsynth_core import page_views
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from pages import _figure_export, _link


def popover(
    pack: Pack, row: dict[str, Any], places: pd.DataFrame, person: Brain, summary: CohortSummary | None
) -> None:
    """Figures of the page, the table of all features, the zip."""
    view = page_views.View(feature=str(row["feature"]))
    page = page_views.cohort(pack, _link.scenario_of(pack), view, places, person, summary)
    _figure_export.popover(
        pack,
        "cohort",
        page.figures,
        files=[_figure_export.table("All features, CSV", f"csegsynth_{pack.name}_cohort", lambda: places)],
        everything=page.everything,
        commands=page.commands,
        gives=page.gives,
        show=page.show,
    )
