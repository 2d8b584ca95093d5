"""Volumes of regions beside the tissues': one compact table that opens on demand."""

from __future__ import annotations

import html

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import alike
from csegsynth_core.substructures import REGIONS, RegionOfInterest
from csegsynth_core.tissue import BY_NAME
from csegsynth_core.uncertainty import PairedSpread
from pages import _volumes


def wanted() -> bool:
    """The switch that shows regions."""
    return st.toggle(
        "Regions",
        key="regions",
        persist_state="session",
        help="Ventricles, cortex, lobes and more, read off the maps by a network trained on labelled brains "
        "(its Dice scores: assets/parcellation/card.md)",
    )


def show(pack: Pack, person: Brain, baseline: Brain, label: str) -> _volumes.Fill:
    """Places for regions of the person with their change to the baseline and centiles, in two columns; gives what
    fills them."""
    own, base = person.regions_ml, baseline.regions_ml
    people = alike(pack, person)
    age = people.age
    words = {
        r.name: figures.centile_words(pack.centiles.centile_of(r.name, age, people.sex, own[r.name])).replace(
            " centile", ""
        )
        for r in REGIONS
        if age is not None and r.name in pack.centiles.kinds
    }
    among = html.escape(f"among {people.who}") if words else ""
    half = (len(REGIONS) + 1) // 2
    places = [column.empty() for column in st.columns(2, gap="medium")]

    def fill(spread: PairedSpread | None) -> None:
        for place, part in zip(places, (REGIONS[:half], REGIONS[half:]), strict=True):
            rows = "".join(_row(r, own[r.name], base[r.name], words.get(r.name, ""), spread) for r in part)
            place.html(
                f'<table class="volumes regions"><thead><tr><th>Region</th>{"".join(_volumes.heads(label))}'
                f'<td>Δ %</td><td class="words" title="{among}">{"centile" if words else ""}</td></tr></thead>'
                f"<tbody>{rows}</tbody></table>"
            )

    return fill


def _row(region: RegionOfInterest, ml: float, base: float, words: str, spread: PairedSpread | None) -> str:
    digits = 0 if ml >= 100 else 1
    own, paired = _volumes.spread_of(spread, region.name)
    return (
        f'<tr data-region="{region.name}"><th title="{region.title}">'
        f'<i style="background:{BY_NAME[region.tissue].colour}"></i>{region.title}</th>'
        f"<td>{ml:.1f}{_volumes.ends(own, digits)}</td>"
        f"<td>{_volumes.change(ml - base)}{_volumes.ends(paired, 1, signed=True)}</td>"
        f"<td>{_volumes.change(100 * (ml / base - 1) if base else 0.0)}</td>"
        f'<td class="words">{words}</td></tr>'
    )
