"""Words and steps for gradients in natural units: `mL per year`, `mL per 0.1 items`."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

MOST_SD: Final = 2.0
"""A step of one unit may be this many standard deviations of a feature; beyond, a smaller one is taken."""

_IRREGULAR: Final = {
    "people": "person",
    "persons": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "feet": "foot",
    "calories": "calorie",
    "kilocalories": "kilocalorie",
    "indices": "index",
    "series": "series",
    "siemens": "siemens",
}
_SHORT: Final = 3
"""Letters up to which a word is taken for a symbol: `s`, `ms`, `cm`."""


def singular(units: str) -> str:
    """Units as they are said of one: `years` → `year`, `people a week` → `person a week`; symbols as they are."""
    first, gap, rest = units.partition(" ")
    return _one(first) + gap + rest


def natural_step(sd: float) -> float:
    """Step of a feature that a gradient is told for: 1, or where that is more than 2 SD, a smaller power of ten.

    Args:
        sd: standard deviation of the feature, in its units; above 0.

    Returns:
        1, or the largest of 0.1, 0.01, … that is not above the standard deviation.
    """
    return 1.0 if sd * MOST_SD >= 1 else float(f"1e{math.floor(math.log10(sd))}")


def per_step(label: str, units: str, step: float) -> str:
    """What a gradient is for: `mL per year`, `mL per 0.1 items`.

    `mL per 1 more` where the label begins with the unit: not "Cigarettes per day per cigarette".

    Args:
        label: of the feature: `Cigarettes per day`.
        units: of the feature, in the plural; may be empty.
        step: as from `natural_step`.
    """
    number = np.format_float_positional(step, trim="-")
    if units and label.split(" ")[0].casefold() == units.split(" ")[0].casefold():
        return f"mL per {number} more"
    if step == 1:
        return f"mL per {singular(units or 'units')}"
    return f"mL per {number} {units or 'units'}"


def _one(word: str) -> str:
    """One word in the singular."""
    small = word.casefold()
    if small in _IRREGULAR:
        return _IRREGULAR[small]
    if len(word) <= _SHORT or not word.replace("-", "").isalpha() or not small.endswith("s"):
        return word
    if small.endswith("ies"):
        return word[:-3] + "y"
    if small.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    return word if small.endswith(("ss", "us", "is")) else word[:-1]
