"""Signed bars of how much each feature moves a volume, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT

_CHARACTERS = 30


@dataclass(frozen=True)
class InfluenceBar:
    """One feature."""

    label: str
    value: float
    low: float
    """Ends of the interval; NaN where there is none."""
    high: float
    unit: str
    """`mL per SD`, `mL per year`, `mL (contrast)`."""
    is_contrast: bool = False
    """A finite difference between levels; hatched, since it is not a gradient."""


def influence_figure(
    bars: Sequence[InfluenceBar],
    *,
    colour: str,
    axis: str,
    band: str = "",
    row_px: int = 24,
    dark: bool = False,
    show_unit: bool = False,
) -> go.Figure:
    """Horizontal bars from zero, most influential on top, with their intervals.

    Args:
        colour: of the tissue.
        axis: title of the axis, with its unit.
        band: what the interval is; for the read-out.
        row_px: height of a bar's row, pixels.
        show_unit: write each bar's own unit behind its name.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    grid_colour = "rgba(128,140,155,0.25)"
    names = [_short(b.label) + (f" <i>{b.unit.removeprefix('mL ')}</i>" if show_unit else "") for b in bars]
    values = [b.value for b in bars]
    ends = [e for b in bars for e in (b.low, b.high, b.value) if np.isfinite(e)] or [1.0]
    low, high = min(0.0, *ends), max(0.0, *ends)
    pad = 0.06 * ((high - low) or 1.0)
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "x": values,
            "y": list(range(len(bars))),
            "marker": {
                "color": colour,
                "line": {"width": 0},
                "pattern": {
                    "shape": ["/" if b.is_contrast else "" for b in bars],
                    "fgcolor": "rgba(255,255,255,0.75)",
                    "size": 5,
                    "solidity": 0.25,
                },
            },
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [_gap(b.high - b.value) for b in bars],
                "arrayminus": [_gap(b.value - b.low) for b in bars],
                "color": ink,
                "thickness": 1.3,
                "width": 3,
            },
            "customdata": [[b.label, b.unit, _interval(b, band)] for b in bars],
            "hovertemplate": "<b>%{customdata[0]}</b><br>%{x:+.2f} %{customdata[1]}%{customdata[2]}<extra></extra>",
        }
    ]
    layout = {
        "height": row_px * max(len(bars), 1) + 46,
        "margin": {"l": 8, "r": 10, "t": 4, "b": 42},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink, "size": 13},
        "showlegend": False,
        "bargap": 0.32,
        "dragmode": False,
        "xaxis": {
            "title": {"text": axis, "font": {"size": 12}, "standoff": 6},
            "range": [low - pad, high + pad],
            "fixedrange": True,
            "gridcolor": grid_colour,
            "zeroline": True,
            "zerolinecolor": ink,
            "zerolinewidth": 1,
            "tickfont": {"size": 11},
        },
        "yaxis": {
            "autorange": "reversed",
            "fixedrange": True,
            "tickmode": "array",
            "tickvals": list(range(len(bars))),
            "ticktext": names,
            "automargin": True,
            "ticks": "",
        },
    }
    return go.Figure({"data": traces, "layout": layout})


def _short(label: str) -> str:
    return label if len(label) <= _CHARACTERS else label[: _CHARACTERS - 1].rstrip() + "…"


def _gap(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def _interval(bar: InfluenceBar, band: str) -> str:
    if not (band and np.isfinite(bar.low)):
        return ""
    return f"<br>{bar.low:+.2f} to {bar.high:+.2f}: {band}"
