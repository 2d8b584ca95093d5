"""Volumes of regions beside the tissues': one compact table that opens on demand."""

from __future__ import annotations

import html

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import alike
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import BY_NAME


def show(pack: Pack, person: Brain, baseline: Brain, label: str) -> None:
    """Regions of the person with their change to the baseline and centiles, in two columns."""
    shown = st.toggle(
        "Regions",
        key="regions",
        persist_state="session",
        help="Ventricles, cortex, lobes and more, read off the maps by a network trained on labelled brains "
        "(its Dice scores: assets/parcellation/card.md)",
    )
    if not shown:
        return
    own, base = person.regions_ml, baseline.regions_ml
    age, sex, who = alike(pack, person)
    words = {
        r.name: figures.centile_words(pack.centiles.centile_of(r.name, age, sex, own[r.name])).replace(
            " centile", ""
        )
        for r in REGIONS
        if age is not None and r.name in pack.centiles.kinds
    }
    among = html.escape(f"among {who}") if words else ""
    half = (len(REGIONS) + 1) // 2
    for column, part in zip(st.columns(2, gap="medium"), (REGIONS[:half], REGIONS[half:]), strict=True):
        rows = "".join(
            _row(r.name, r.title, BY_NAME[r.tissue].colour, own[r.name], base[r.name], words.get(r.name, ""))
            for r in part
        )
        column.html(
            '<table class="volumes regions"><thead><tr><th>Region</th><td>mL</td>'
            f'<td title="{html.escape(label)}">Δ mL</td><td>Δ %</td>'
            f'<td class="words" title="{among}">{"centile" if words else ""}</td></tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )


def _row(name: str, title: str, colour: str, ml: float, base: float, words: str) -> str:
    change, share = (
        f"{v:+.1f}".replace("-", "−") for v in (ml - base, 100 * (ml / base - 1) if base else 0.0)
    )
    same = ("+0.0", "−0.0")
    change, share = ("±0.0" if v in same else v for v in (change, share))
    return (
        f'<tr data-region="{name}"><th><i style="background:{colour}"></i>{title}</th>'
        f'<td>{ml:.1f}</td><td>{change}</td><td>{share}</td><td class="words">{words}</td></tr>'
    )
