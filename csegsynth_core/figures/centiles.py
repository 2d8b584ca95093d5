"""Volumes among the centiles of reference people, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT

AXIS: Final = "Volume (mL), each row on its own scale"
"""Title of the axis of centile strips."""


@dataclass(frozen=True)
class VolumeRow:
    """One volume among its centiles."""

    name: str
    """As shown: `WM`, …, `WM+GM+CSF`."""
    colour: str
    ml: float
    baseline_ml: float
    centiles: tuple[float, float, float, float, float]
    """5, 25, 50, 75 and 95 % of reference people of that age and sex, mL."""
    spread: tuple[float, float] | None = None
    """Ends of the person's spread over latent draws, mL; None where it is not known."""


def centile_figure(
    rows: Sequence[VolumeRow], *, row_px: int = 40, dark: bool = False, alone: bool = False
) -> go.Figure:
    """One strip for each volume: 5–95 and 25–75 centile bands, median, the baseline, the person with the spread over
    draws below.

    Args:
        row_px: height of a strip, pixels.
        alone: no table stands beside it: names of the volumes, and an axis for each.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    band = "rgba(148,163,184,%.2f)"
    layout: dict[str, Any] = {
        "height": row_px * len(rows),
        "margin": {"l": 96, "r": 16, "t": 0, "b": 40} if alone else {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "shapes": [],
        "annotations": [],
        "font": {"family": FONT, "color": ink},
        "hoverlabel": {"bgcolor": "#10161D", "bordercolor": "#3A4756", "font": {"color": "#E8EDF2"}},
    }
    traces: list[dict[str, Any]] = []
    for n, row in enumerate(rows):
        suffix = "" if n == 0 else str(n + 1)
        points = [*row.centiles, row.ml, row.baseline_ml, *(row.spread or ())]
        pad = 0.16 * (max(points) - min(points)) or 1.0
        layout[f"xaxis{suffix}"] = {
            "range": [min(points) - pad, max(points) + pad],
            "visible": alone,
            "fixedrange": True,
            "anchor": f"y{suffix}",
            "zeroline": False,
            "gridcolor": "rgba(128,140,155,0.22)",
            "tickfont": {"size": 11},
        }
        high = 1 - n / len(rows)
        foot = 18 / (row_px * len(rows)) if alone and n + 1 < len(rows) else 0  # for the numbers of the axis
        if alone:
            layout["annotations"].append(
                {"x": 0, "y": 0, "text": f"<b>{row.name}</b>", "showarrow": False, "xref": "paper"}
                | {"yref": f"y{suffix}", "xanchor": "right", "xshift": -10, "font": {"color": row.colour}}
            )
        layout[f"yaxis{suffix}"] = {
            "range": [-1, 1],
            "visible": False,
            "fixedrange": True,
            "anchor": f"x{suffix}",
            "domain": [max(0.0, high - 1 / len(rows) + foot), high],
        }
        c5, c25, c50, c75, c95 = row.centiles
        axes = {"xref": f"x{suffix}", "yref": f"y{suffix}", "line": {"width": 0}, "layer": "below"}
        layout["shapes"] += [
            axes | {"type": "rect", "x0": c5, "x1": c95, "y0": -0.22, "y1": 0.22, "fillcolor": band % 0.28},
            axes | {"type": "rect", "x0": c25, "x1": c75, "y0": -0.22, "y1": 0.22, "fillcolor": band % 0.42},
            axes
            | {"type": "line", "x0": c50, "x1": c50, "y0": -0.34, "y1": 0.34}
            | {"line": {"width": 1.5, "color": "rgba(120,134,156,0.95)"}},
        ]
        for value, anchor, shift in ((c5, "right", -6), (c95, "left", 6)):
            near = any(0 <= (p - value) * (1 if shift > 0 else -1) < pad for p in (row.ml, row.baseline_ml))
            if not near:
                layout["annotations"].append(
                    {"x": value, "y": 0, "text": f"{value:.0f}", "showarrow": False, "opacity": 0.7}
                    | {"xref": f"x{suffix}", "yref": f"y{suffix}", "xanchor": anchor, "xshift": shift}
                    | {"font": {"size": 11}}
                )
        if row.spread:
            traces.append(
                {"type": "scatter", "mode": "lines+markers", "x": list(row.spread), "y": [-0.6, -0.6]}
                | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "line": {"color": row.colour, "width": 2}}
                | {"marker": {"symbol": "line-ns-open", "size": 6, "color": row.colour}}
                | {"hovertemplate": f"{row.name} spread over draws: %{{x:.0f}} mL<extra></extra>"}
            )
        for value, who, marker in (
            (row.baseline_ml, "baseline", {"symbol": "circle-open", "size": 11, "line": {"width": 1.5}}),
            (row.ml, "this person", {"symbol": "circle", "size": 11, "line": {"width": 1.5, "color": ink}}),
        ):
            traces.append(
                {"type": "scatter", "mode": "markers", "x": [value], "y": [0], "cliponaxis": False}
                | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
                | {"marker": {"color": ink if who == "baseline" else row.colour} | marker}
                | {"hovertemplate": f"{row.name} {who}: %{{x:.0f}} mL<extra></extra>"}
            )
        traces.append(
            {"type": "scatter", "mode": "markers", "x": list(row.centiles), "y": [0] * 5}
            | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "marker": {"size": 8, "opacity": 0}}
            | {"customdata": ["5th", "25th", "50th", "75th", "95th"]}
            | {"hovertemplate": row.name + " %{customdata} centile: %{x:.0f} mL<extra></extra>"}
        )
    if alone:
        last = "" if len(rows) == 1 else str(len(rows))
        layout["height"] += 40
        layout[f"xaxis{last}"]["title"] = {"text": AXIS, "font": {"size": 12}, "standoff": 4}
    return go.Figure({"data": traces, "layout": layout})


def centile_words(centile: float, *, low: float = 1.0, high: float = 99.0) -> str:
    """`37th centile`; `below the 1st` and `above the 99th` where the data cannot tell more."""
    if centile < low:
        return "below the 1st centile"
    if centile > high:
        return "above the 99th centile"
    number = round(centile)
    tail = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{tail} centile"
