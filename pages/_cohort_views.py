"""The pictures of the Cohort page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from csegsynth_core import coverage, figures, page_figures
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.volume_centiles import KINDS
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import BY_NAME

_CONFIG = {"displayModeBar": False, "responsive": True}


@st.cache_data(max_entries=8, show_spinner=False)
def summary_of(pack_hash: str, _pack: Pack) -> CohortSummary | None:
    """The pack's cohort summary, if it has one."""
    return CohortSummary.of_pack(_pack.folder)


def chart(figure: Any, key: str, alt: str) -> None:
    """A figure in the app's manner."""
    st.plotly_chart(figure, key=key, config=_CONFIG, theme=None, alt=alt)


def _dark() -> bool:
    return st.context.theme.type == "dark"


def sexes(pack: Pack) -> dict[str, str]:
    """Sex → label."""
    return dict(pack.schema.sex.levels) if pack.schema.sex else {}


def feature(pack: Pack, row: dict[str, Any], person: Brain, summary: CohortSummary | None) -> None:
    """One feature among the training people."""
    name = str(row["feature"])
    if row["kind"] != "numeric":
        shares = coverage.level_shares(pack, name)
        height = 60 + 30 * max(len(shares), 3)
        figure = figures.levels_figure(shares, str(row["used"]), height=height, dark=_dark())
        chart(figure, "cohort-levels", f"Training people with each level of {row['label']}")
        return
    histogram = summary.histograms.get(name) if summary else None
    chart(
        figures.distribution_figure(row, histogram, height=158 if histogram else 96, dark=_dark()),
        "cohort-distribution",
        f"Distribution of {row['label']} among training people",
    )
    along = coverage.along_age(pack, name)
    if len(along) and pack.schema.age is not None:
        age = float(person.features[pack.schema.age.name])
        look = {"age_units": pack.schema.age.units, "height": 196, "dark": _dark()}
        figure = figures.along_age_figure(along, row, age, sexes(pack), **look)
        chart(figure, "cohort-age", f"{row['label']} by age and sex")


def volumes(pack: Pack, person: Brain) -> None:
    """Centiles of volumes by age, and the person's generated brain."""
    if pack.schema.age is None:
        st.caption("The table had no ages.")
        return
    sex = str(person.features[pack.schema.sex.name]) if pack.schema.sex else None
    own = {**person.volumes_ml, KINDS[-1]: person.total_ml}
    years = np.linspace(*pack.centiles.ages(sex), 60)
    curves = {kind: pack.centiles.curve(kind, sex, years) for kind in KINDS}
    age = float(person.features[pack.schema.age.name])
    look = {"age_units": pack.schema.age.units, "height": 310, "dark": _dark()}
    figure = figures.volumes_by_age_figure(curves, age, own, **look)
    who = sexes(pack).get(sex or "", "people") if sex in pack.centiles.sexes else "people of both sexes"
    st.caption(
        f"Prepared maps of {pack.centiles.people(sex)} training people ({who}): median, 25–75 and 5–95 centile "
        "bands. ◆ this person's generated brain."
    )
    chart(figure, "cohort-volumes", "Centiles of volumes by age")


def crossed(pack: Pack, summary: CohortSummary | None) -> None:
    """People by age and sex."""
    if summary is None:
        _absent()
        return
    units = pack.schema.age.units if pack.schema.age else "years"
    st.caption(f"n = {summary.n}. Cells of one or two people are withheld, and those that would tell them.")
    chart(
        figures.age_sex_figure(summary, sexes(pack), age_units=units, height=310, dark=_dark()),
        "cohort-age-sex",
        "People by age and sex",
    )


def correlations(pack: Pack, summary: CohortSummary | None) -> None:
    """Spearman's correlations."""
    if summary is None:
        _absent()
        return
    names, rho = summary.strongest(page_figures.STRONGEST)
    labels = [BY_NAME[n].bids if n in BY_NAME else pack.schema.feature(n).label for n in names]
    which = (
        f" The {page_figures.STRONGEST} features most correlated with a volume."
        if len(summary.names) > page_figures.STRONGEST + 3
        else ""
    )
    st.caption(f"Spearman's ρ among training people with both values; volumes of their prepared maps.{which}")
    figure = figures.correlation_figure(labels, rho, height=330, dark=_dark())
    chart(figure, "cohort-correlations", "Correlations of features and volumes")


def _absent() -> None:
    st.info(
        "This pack was made without a cohort summary. What is shown in the table and the other tabs comes from "
        "the statistics that every pack has.",
        icon=":material/info:",
    )


def table(pack: Pack, places: pd.DataFrame) -> int:
    """Every feature with the person's place; the row that was chosen.

    A pack's choice is its own, so that no row of one pack is looked for in another.
    """
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    event = st.dataframe(
        coverage.as_text(places),
        key=f"cohort-rows-{pack.hash[:8]}",
        hide_index=True,
        row_height=26,
        height=min(252, 40 + 26 * len(places)),
        on_select="rerun",
        selection_mode="single-cell",
        column_config={
            "label": text("Feature", width=176),
            "said": text("This person", width=150),
            "place": text("Place among them", width=118, help="SD from the mean, or share with this level"),
            "flag": text("Note", width=124),
            "known": number("Known", width=62, help="training people with a value"),
            "missing_percent": number("Missing", format="%.0f %%", width=70),
            "mean_sd": text("Mean ± SD", width=100),
            "range": text("Range", width=120),
        },
    )
    cells = event["selection"]["cells"]
    chosen = [int(row) for row, *_ in cells if row < len(places)]
    return chosen[0] if chosen else coverage.first_to_show(pack, places)
