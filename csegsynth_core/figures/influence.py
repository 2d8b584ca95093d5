"""Signed bars of how much each feature moves a volume, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT

_CHARACTERS = 34
_AXIS_PX = 44
_ROW_PX = 19.0


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
    fit_px: float = 0.0,
    dark: bool = False,
) -> go.Figure:
    """Horizontal bars from zero, most influential on top, with their intervals.

    Contrasts between levels stand in a panel of their own, with their own axis: they are not gradients.
    Where gradients have unlike units (mL per year, per cm), the names carry them.

    Args:
        colour: of the tissue.
        axis: title of the axis of the gradients, with its unit.
        band: what the interval is; for the read-out.
        fit_px: height to fill, pixels; more where the bars are many.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    slopes, contrasts = [b for b in bars if not b.is_contrast], [b for b in bars if b.is_contrast]
    mixed = len({b.unit for b in slopes}) > 1 or bool(contrasts and slopes)
    panels = [(p, t) for p, t in ((slopes, axis), (contrasts, "mL, contrast between two levels")) if p]
    row_px = max(_ROW_PX, (fit_px - _AXIS_PX * len(panels)) / max(len(bars), 1))
    height = row_px * max(len(bars), 1) + _AXIS_PX * max(len(panels), 1)
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 10, "t": 0, "b": _AXIS_PX},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink, "size": 13},
        "showlegend": False,
        "bargap": 0.32,
        "dragmode": False,
    }
    traces = []
    top, inner = 1.0, max(height - _AXIS_PX, 1)
    for n, (panel, title) in enumerate(panels):
        suffix = "" if n == 0 else str(n + 1)
        bottom = top - row_px * len(panel) / inner
        ends = [e for b in panel for e in (b.low, b.high, b.value) if np.isfinite(e)]
        low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
        pad = 0.06 * ((high - low) or 1.0)
        names = [
            _short(b.label) + (f" <i>{b.unit.removeprefix('mL ')}</i>" if mixed and not b.is_contrast else "")
            for b in panel
        ]
        layout[f"xaxis{suffix}"] = {
            "anchor": f"y{suffix}",
            "title": {"text": title, "font": {"size": 12}, "standoff": 4},
            "range": [low - pad, high + pad],
            "fixedrange": True,
            "gridcolor": "rgba(128,140,155,0.25)",
            "zeroline": True,
            "zerolinecolor": ink,
            "zerolinewidth": 1,
            "tickfont": {"size": 11},
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "domain": [max(bottom, 0.0), top],
            "range": [len(panel) - 0.5, -0.5],
            "fixedrange": True,
            "tickmode": "array",
            "tickvals": list(range(len(panel))),
            "ticktext": names,
            "automargin": True,
            "ticks": "",
        }
        traces.append(_bars(panel, colour, ink, band) | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
        top = bottom - _AXIS_PX / inner
    return go.Figure({"data": traces, "layout": layout})


def _bars(panel: Sequence[InfluenceBar], colour: str, ink: str, band: str) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": colour, "line": {"width": 0}}
    if panel[0].is_contrast:
        marker["pattern"] = {"shape": "/", "bgcolor": colour, "fgcolor": "rgba(255,255,255,0.55)", "size": 6}
        marker["pattern"]["solidity"] = 0.2
    return {
        "type": "bar",
        "orientation": "h",
        "x": [b.value for b in panel],
        "y": list(range(len(panel))),
        "marker": marker,
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_gap(b.high - b.value) for b in panel],
            "arrayminus": [_gap(b.value - b.low) for b in panel],
            "color": ink,
            "thickness": 1.3,
            "width": 3,
        },
        "customdata": [[b.label, b.unit, _interval(b, band)] for b in panel],
        "hovertemplate": "<b>%{customdata[0]}</b><br>%{x:+.2f} %{customdata[1]}%{customdata[2]}<extra></extra>",
    }


def _short(label: str) -> str:
    return label if len(label) <= _CHARACTERS else label[: _CHARACTERS - 1].rstrip() + "…"


def _gap(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def _interval(bar: InfluenceBar, band: str) -> str:
    if not (band and np.isfinite(bar.low)):
        return ""
    return f"<br>{bar.low:+.2f} to {bar.high:+.2f}: {band}"
