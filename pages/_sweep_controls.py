"""What the Ageing page asks: ages, scenarios, how to regress, draws."""

from __future__ import annotations

import math
from dataclasses import replace

import streamlit as st

from csegsynth_core.pack import Pack
from csegsynth_core.page_views import default_plan
from csegsynth_core.scenarios import Plan
from pages import _changes, _state

STEPS = (0.5, 1.0, 2.0, 5.0)
DRAWS = (1, 5, 10, 20)
_CHOICES = {"both": ("ideal", "regressed"), "ideal": ("ideal",), "regressed": ("regressed",)}
_HELP = (
    "**Ideal**: only age changes. **Regressed**: every other feature follows its cubic regression on age among "
    "training people of the same sex."
)


def plan_controls(pack: Pack) -> Plan:
    """Controls in one row; returns the sweep they describe."""
    held = _state.memory(pack)
    before = held["sweep"] or default_plan(pack)
    turn = f"{pack.hash[:8]}-{held.get('sweep-turn', 0)}"
    age = pack.schema.age
    stats = pack.encoder.numeric[age.name]
    low, high = age.plausible or (stats.minimum, stats.maximum)
    a, b, c, d, e, f = st.columns([2.2, 0.95, 2.75, 1.75, 0.9, 1.45], gap="small")
    start, stop = a.slider(
        f"Ages ({age.units})",
        min(math.ceil(low), math.floor(before.start)),
        max(math.floor(high), math.ceil(before.stop)),
        (round(before.start), round(before.stop)),
        key=f"ages-{turn}",
    )
    step = b.selectbox(
        "Step", _with(STEPS, before.step), _with(STEPS, before.step).index(before.step),
        format_func=lambda v: f"{v:g}", key=f"step-{turn}",
    )  # fmt: skip
    names = list(_CHOICES) if pack.regressions is not None else ["ideal"]
    now = "both" if len(before.scenarios) > 1 else before.scenarios[0]
    chosen = c.segmented_control(
        "Scenario", names, default=now if now in names else "ideal", required=True, format_func=str.capitalize,
        key=f"scenario-{turn}", help=_HELP,
    )  # fmt: skip
    keep = d.selectbox(
        "Regressed features", ["value", "distance"], int(before.keep_distance), key=f"keep-{turn}",
        format_func={"value": "at regression", "distance": "own distance"}.get, disabled=chosen == "ideal",
        help="At the regression's value, as in the paper, or keeping this person's own distance from it.",
    )  # fmt: skip
    options = _with(DRAWS, before.draws)
    draws = e.selectbox(
        "Draws", options, options.index(before.draws), key=f"draws-{turn}",
        help="Latent draws whose spread is shown. The first is the draw of the sidebar.",
    )  # fmt: skip
    with f:
        st.space(8)  # where the others have their labels
        changes = _changes.controls(pack, before, turn)
    stop = stop if stop > start else start + 1
    plan = Plan(
        float(start), float(stop), float(step), _CHOICES[chosen],
        keep_distance=keep == "distance" and chosen != "ideal", draws=int(draws), seed=int(held["seed"]),
        changes=changes,
    )  # fmt: skip
    held["sweep"] = None if plan == replace(default_plan(pack), seed=plan.seed) else plan
    return plan


def _with(options: tuple, value: float) -> list:
    """Options, with the value of an opened scenario among them."""
    return sorted({*options, value})
