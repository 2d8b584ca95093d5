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
SPREAD = (
    f"Mean, 5th to 95th percentile of {SPREAD_DRAWS} latent draws of this person: what the model leaves open"
)
PAIRED = (
    f"Mean, and 5th to 95th percentile, of the difference over {SPREAD_DRAWS} latent draws, each the same for both "
    "people: what the model leaves open of the change. Above it: of the brains shown, which are one draw of each"
)
_STRIP_HEAD = (
    '<div class="strip-head">Centiles 5–95, 25–75, median · mL, each row on its own scale<br><b>●</b> person, '
    f'<b title="{SPREAD}">━</b> 5–95 % of draws · <b>○</b> baseline</div>'
)
_NAMES = {t.name: (t.bids, t.title, t.colour) for t in ALL} | {
    TOTAL: ("WM+GM+CSF", "sum", figures.SUM_COLOUR)
}

Ends = tuple[float, float, float] | None
"""Mean, lower and upper end over draws; None before they are known."""

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
    people = alike(pack, person)
    among = ""
    if people.age is not None:
        few = f'<em class="spread">curves of {pack.centiles.people(people.sex)} people</em>'
        among = f'<span title="{html.escape(people.who)}">among {html.escape(people.people)}</span>{few}'
    rows = []
    for key, (short, title, colour) in _NAMES.items():
        ml, base = volume_ml(person, key), volume_ml(baseline, key)
        own, paired = spread_of(spread, key)
        words = ""
        if people.age is not None:
            words = figures.centile_words(pack.centiles.centile_of(key, people.age, people.sex, ml))
        rows.append(
            f'<tr data-volume="{key}"><th><i style="background:{colour}"></i>{short}<small>{title}</small></th>'
            f'<td><span class="ml">{ml:.1f}</span>{ends(own, 0)}</td>'
            f"<td>{100 * ml / person.total_ml:.1f}</td>"
            f"<td>{change(ml - base)}{ends(paired, 1, signed=True)}</td>"
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
    people = alike(pack, person)
    rows = []
    for key, (short, _, colour) in _NAMES.items() if people.age is not None else ():
        curve = pack.centiles.curve(key, people.sex, [people.age]).iloc[0]
        bands = tuple(float(curve[f"c{c}"]) for c in CENTILES)
        own = spread.person[key] if spread else None
        rows.append(
            figures.VolumeRow(short, colour, volume_ml(person, key), volume_ml(baseline, key), bands, own)
        )
    return rows


def spread_of(spread: PairedSpread | None, key: str) -> tuple[Ends, Ends]:
    """Mean and ends over draws of a volume and of its change."""
    if spread is None:
        return None, None
    return (spread.person_mean[key], *spread.person[key]), (spread.change_mean[key], *spread.change[key])


def change(value: float) -> str:
    """A change with its sign, one digit after the point."""
    text = f"{value:+.1f}".replace("-", "−")
    return "±0.0" if text in ("+0.0", "−0.0") else text


def heads(label: str) -> tuple[str, str]:
    """Heads of the columns of volumes and of their changes, with what stands below each number (HTML)."""
    below = '<em class="spread">mean (5–95 %) of draws</em>'
    return (
        f'<td title="{SPREAD}">mL{below}</td>',
        f'<td title="To the {html.escape(label)}. {PAIRED}">Δ mL{below}</td>',
    )


def ends(found: Ends, digits: int, *, signed: bool = False) -> str:
    """Mean and ends below a number (HTML): `662 (601–731)`, of changes `−39 (−47 to −31)`; dots where they are not
    known yet."""
    if found is None:
        return '<em class="spread">…</em>'
    zero = f"{0:.{digits}f}"
    texts = [f"{v:{'+' if signed else ''}.{digits}f}".replace("-", "−") for v in found]
    mean, low, high = (zero if v.lstrip("+−") == zero else v for v in texts)
    said = (low if low == high else f"{low} to {high}") if signed else f"{low}–{high}"
    return f'<em class="spread">{mean if low == high else f"{mean} ({said})"}</em>'


def beyond_reference(pack: Pack, person: Brain) -> list[str]:
    """What has to be said where the person is younger or older than the people behind the centiles."""
    people = alike(pack, person)
    low, high = pack.centiles.ages(people.sex)
    if people.age is None or low <= people.age <= high:
        return []
    return [f"centiles are those of the nearest reference age ({low:.0f}–{high:.0f} years)"]
