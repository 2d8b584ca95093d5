"""Volumes with their change and centiles."""

from __future__ import annotations

import html
from collections.abc import Callable

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.data.volume_centiles import CENTILES, TOTAL
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import alike, volume_ml
from csegsynth_core.page_views import SPREAD_DRAWS
from csegsynth_core.tissue import ALL
from csegsynth_core.uncertainty import PairedSpread

_ROW_PX = 38
SPREAD = f"5th to 95th percentile of {SPREAD_DRAWS} latent draws of this person: what the model leaves open"
PAIRED = (
    f"5th to 95th percentile of the difference over {SPREAD_DRAWS} latent draws, each the same for both people: what "
    "the model leaves open of the change"
)
_STRIP_HEAD = (
    '<div class="strip-head">Centiles 5–95, 25–75, median<br><b>●</b> person, '
    f'<b title="{SPREAD}">━</b> 5–95 % of draws · <b>○</b> baseline</div>'
)
_NAMES = {t.name: (t.bids, t.title, t.colour) for t in ALL} | {
    TOTAL: ("WM+GM+CSF", "sum", figures.SUM_COLOUR)
}

Fill = Callable[[PairedSpread | None], None]
"""Shows volumes, with their spread over draws or, None, before it is known."""

_CURVES = "Centile curves over age, drawn through that many training people of all ages"


def show(pack: Pack, person: Brain, baseline: Brain, label: str) -> Fill:
    """Places for a table of volumes and for strips of centiles beside it; gives what fills them."""
    left, right = st.columns([62, 38], gap="small")
    place = left.empty()
    with right, st.container(gap=None):
        st.html(_STRIP_HEAD)
        strips = st.empty()

    def fill(spread: PairedSpread | None) -> None:
        place.html(_table(pack, person, baseline, label, spread))
        rows = _strips(pack, person, baseline, spread)
        if rows:
            strips.plotly_chart(
                figures.centile_figure(rows, row_px=_ROW_PX, dark=st.context.theme.type == "dark"),
                key="centiles" if spread is None else "centiles-draws",
                config={"displayModeBar": False},
                theme=None,
                alt="Volumes among the centiles of people of the same age and sex",
            )

    return fill


def _table(pack: Pack, person: Brain, baseline: Brain, label: str, spread: PairedSpread | None) -> str:
    """Volumes with their change, both with their spread over draws, and centiles (HTML)."""
    age, sex, who = alike(pack, person)
    among = html.escape(f"among {who}" if who else "")
    rows = []
    for key, (short, title, colour) in _NAMES.items():
        ml, base = volume_ml(person, key), volume_ml(baseline, key)
        words = ""
        if age is not None:
            words = figures.centile_words(pack.centiles.centile_of(key, age, sex, ml))
        rows.append(
            f'<tr data-volume="{key}"><th><i style="background:{colour}"></i>{short}<small>{title}</small></th>'
            f'<td><span class="ml">{ml:.1f}</span>{ends(spread and spread.person[key], 0)}</td>'
            f"<td>{100 * ml / person.total_ml:.1f}</td>"
            f"<td>{change(ml - base)}{ends(spread and spread.change[key], 1, signed=True)}</td>"
            f'<td class="words">{words}</td></tr>'
        )
    return (
        f'<table class="volumes"><thead><tr><th>Volume</th>{heads(label)[0]}<td>% of sum</td>{heads(label)[1]}'
        f'<td class="words" title="{_CURVES}">{among}</td></tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _strips(
    pack: Pack, person: Brain, baseline: Brain, spread: PairedSpread | None
) -> list[figures.VolumeRow]:
    """Volumes among their centiles; none without an age."""
    age, sex, _ = alike(pack, person)
    rows = []
    for key, (short, _, colour) in _NAMES.items() if age is not None else ():
        curve = pack.centiles.curve(key, sex, [age]).iloc[0]
        bands = tuple(float(curve[f"c{c}"]) for c in CENTILES)
        own = spread.person[key] if spread else None
        rows.append(
            figures.VolumeRow(short, colour, volume_ml(person, key), volume_ml(baseline, key), bands, own)
        )
    return rows


def change(value: float) -> str:
    """A change with its sign, one digit after the point."""
    text = f"{value:+.1f}".replace("-", "−")
    return "±0.0" if text in ("+0.0", "−0.0") else text


def heads(label: str) -> tuple[str, str]:
    """Heads of the columns of volumes and of their changes, with what stands below each number (HTML)."""
    own = f'<td title="{SPREAD}">mL<em class="spread">5–95 % of draws</em></td>'
    change = (
        f'<td title="To the {html.escape(label)}. {PAIRED}">Δ mL<em class="spread">5–95 % of draws</em></td>'
    )
    return own, change


def ends(pair: tuple[float, float] | None, digits: int, *, signed: bool = False) -> str:
    """`601–731`, of changes `−47 to −31`, below a number (HTML); dots where they are not known yet."""
    if pair is None:
        return '<em class="spread">…</em>'
    low, high = (f"{v:{'+' if signed else ''}.{digits}f}".replace("-", "−") for v in pair)
    zero = f"{0:.{digits}f}"
    low, high = (zero if v.lstrip("+−") == zero else v for v in (low, high))
    said = (low if low == high else f"{low} to {high}") if signed else f"{low}–{high}"
    return f'<em class="spread">{said}</em>'


def beyond_reference(pack: Pack, person: Brain) -> list[str]:
    """What has to be said where the person is younger or older than the people behind the centiles."""
    age, sex, _ = alike(pack, person)
    low, high = pack.centiles.ages(sex)
    if age is None or low <= age <= high:
        return []
    return [f"centiles are those of the nearest reference age ({low:.0f}–{high:.0f} years)"]
