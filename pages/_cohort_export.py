"""Exports of the Cohort page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from csegsynth_core import page_export, page_figures
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from pages import _figure_export, _link


def popover(
    pack: Pack, row: dict[str, Any], places: pd.DataFrame, person: Brain, summary: CohortSummary | None
) -> None:
    """Figures of the page, the table of all features, the zip."""
    shown = page_figures.cohort_figures(pack, row, places, person, summary)
    _figure_export.popover(
        pack,
        "cohort",
        shown,
        files=[_figure_export.table("All features, CSV", f"csegsynth_{pack.name}_cohort", lambda: places)],
        everything=lambda: page_export.cohort_zip(
            pack, shown, places, person, scenario=_link.scenario_of(pack).to_json()
        ),
        commands=page_export.person_commands(pack, person.seed),
        gives=page_export.COHORT_GIVES,
    )
