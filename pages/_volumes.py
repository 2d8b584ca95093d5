"""Volumes with their change and centiles."""

from __future__ import annotations

import html
import re
from typing import Any

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.data.volume_centiles import CENTILES, TOTAL
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import alike, volume_ml
from csegsynth_core.tissue import ALL
from csegsynth_core.uncertainty import quick_draw_spread
from pages import _state

DRAWS = 10
"""Latent draws whose spread stands beside the volumes."""

_ROW_PX = 38
_SPREAD = f"Spread over {DRAWS} latent draws of this person: what the model leaves open"

_CURVES = "Centile curves over age, drawn through that many training people of all ages"


def show(pack: Pack, person: Brain, baseline: Brain, label: str) -> Any:
    """Table of volumes beside strips of centiles; returns the table's place and what `spread` needs."""
    names = {t.name: (t.bids, t.title, t.colour) for t in ALL} | {
        TOTAL: ("WM+GM+CSF", "sum", figures.SUM_COLOUR)
    }
    age, sex, who = alike(pack, person)
    among = html.escape(f"among {who}" if who else "")
    rows, strips = [], []
    for key, (short, title, colour) in names.items():
        ml, base = volume_ml(person, key), volume_ml(baseline, key)
        words = ""
        if age is not None:
            words = figures.centile_words(pack.centiles.centile_of(key, age, sex, ml))
            curve = pack.centiles.curve(key, sex, [age]).iloc[0]
            bands = tuple(float(curve[f"c{c}"]) for c in CENTILES)
            strips.append(figures.VolumeRow(short, colour, ml, base, bands))
        change = f"{ml - base:+.1f}".replace("-", "−")
        change = "±0.0" if change in ("+0.0", "−0.0") else change
        rows.append(
            f'<tr data-volume="{key}"><th><i style="background:{colour}"></i>{short}<small>{title}</small></th>'
            f'<td class="ml">{ml:.1f}</td><td class="spread">@{key}@</td>'
            f"<td>{100 * ml / person.total_ml:.1f}</td><td>{change}</td>"
            f'<td class="words">{words}</td></tr>'
        )
    left, right = st.columns([62, 38], gap="small")
    table = (
        f'<table class="volumes"><thead><tr><th>Volume</th><td>mL</td><td title="{_SPREAD}">5–95 % of draws</td>'
        f'<td>% of sum</td><td title="{html.escape(label)}">Δ mL</td>'
        f'<td class="words" title="{_CURVES}">{among}</td></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    place = left.empty()
    place.html(re.sub("@[a-z+]+@", "…", table))
    with right, st.container(gap=None):
        st.html(
            '<div class="strip-head">Centiles 5–95, 25–75, median · <b>●</b> person · <b>○</b> baseline</div>'
        )
        if strips:
            st.plotly_chart(
                figures.centile_figure(strips, row_px=_ROW_PX, dark=st.context.theme.type == "dark"),
                key="centiles",
                config={"displayModeBar": False},
                theme=None,
                alt="Volumes among the centiles of people of the same age and sex",
            )
    return place, table


@st.cache_data(max_entries=64, show_spinner=False, scope="session")
def _draws(pack_hash: str, person: tuple[tuple[str, Any], ...], seed: int, _pack: Pack) -> dict[str, Any]:
    return quick_draw_spread(_pack, dict(person), draws=DRAWS, seed=seed)


def draws_of(pack: Pack, person: _state.Person, seed: int) -> dict[str, tuple[float, float]]:
    """Spread of each volume over `DRAWS` draws of this person, mL; computed once."""
    return _draws(pack.hash, tuple(person.items()), seed, pack)


def fill_spread(place: Any, table: str, spread: dict[str, tuple[float, float]]) -> None:
    """Put the spread over draws into the table, once it is known."""
    place.html(re.sub("@([a-z+]+)@", lambda m: "{:.0f}–{:.0f}".format(*spread[m[1]]), table))


def beyond_reference(pack: Pack, person: Brain) -> list[str]:
    """What has to be said where the person is younger or older than the people behind the centiles."""
    age, sex, _ = alike(pack, person)
    low, high = pack.centiles.ages(sex)
    if age is None or low <= age <= high:
        return []
    return [f"centiles are those of the nearest reference age ({low:.0f}–{high:.0f} years)"]
