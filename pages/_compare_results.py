"""Volumes of the scenarios on the Compare page: tissues and regions, and their differences to the first."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from csegsynth_core import compare, figures
from csegsynth_core.data.volume_centiles import KINDS
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import NAMES
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import BY_NAME
from pages import _state
from pages._remember import remembered

_FEW = 3
"""Up to so many scenarios rows are high; lower ones keep more of them on one screen."""


def volumes(
    pack: Pack, people: Mapping[str, _state.Person], draws: int, seed: int, regions: bool
) -> pd.DataFrame:
    """`compare.compared` of the scenarios; each person is computed once."""

    def one(person: _state.Person) -> np.ndarray:
        key = ("volumes", pack.hash, tuple(person.items()), draws, seed, regions)
        return remembered(
            key,
            "Latent draws",
            lambda _: compare.volumes_of_draws(pack, person, draws=draws, seed=seed, regions=regions),
        )

    return compare.compared(list(people), np.stack([one(p) for p in people.values()]))


def show(table: pd.DataFrame, regions: bool) -> None:
    """Volumes with their differences to the first scenario: tissues and the figure, or tissues and regions."""
    by_name = {name: part.set_index("measure") for name, part in table.groupby("scenario", sort=False)}
    if regions:
        _with_regions(by_name)
        return
    heads = "".join(f"<td>{NAMES[k]}</td>" for k in KINDS)
    rows = [
        f"<tr data-scenario='{html.escape(name, quote=True)}'><th>{figures.scenario_symbol(n)} "
        f"{html.escape(name)}</th>{''.join(_cell(mine.loc[k], first=n == 0) for k in KINDS)}</tr>"
        for n, (name, mine) in enumerate(by_name.items())
    ]
    many = len(by_name) > _FEW
    st.html(
        f'<table class="volumes scenarios{" many" if many else ""}"><thead><tr><th>mL, mean over draws</th>'
        f"{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    st.plotly_chart(
        figures.scenarios_figure(
            table, row_px=28 // len(by_name) if many else 17, dark=st.context.theme.type == "dark"
        ),
        key="scenarios-chart",
        config={"displayModeBar": False},
        theme=None,
        alt="Volumes of the scenarios with their spread over draws",
    )


def _with_regions(by_name: Mapping[str, pd.DataFrame]) -> None:
    """One row for each tissue, their sum and each region; one column for each scenario."""
    heads = "".join(
        f'<td title="{html.escape(name, quote=True)}">{figures.scenario_symbol(n)}</td>'
        for n, name in enumerate(by_name)
    )
    named = [(k, NAMES[k], BY_NAME[k].colour if k in BY_NAME else figures.SUM_COLOUR) for k in KINDS]
    named += [(r.name, r.title, BY_NAME[r.tissue].colour) for r in REGIONS]
    rows = []
    for key, title, colour in named:
        cells = "".join(_cell(t.loc[key], first=n == 0) for n, t in enumerate(by_name.values()))
        rows.append(
            f'<tr data-region="{key}"><th title="{title}"><i style="background:{colour}"></i>{title}</th>{cells}</tr>'
        )
    st.html(
        f'<div class="wide"><table class="volumes scenarios by-region"><thead><tr><th>mL, mean over draws</th>{heads}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(row: Any, *, first: bool) -> str:
    change = "" if first else f"{row['difference_ml']:+.1f} ± {row['difference_sd_draws_ml']:.1f}"
    return f'<td><b class="ml">{row["mean_ml"]:.1f}</b><small>{change.replace("-", "−") or "&nbsp;"}</small></td>'
