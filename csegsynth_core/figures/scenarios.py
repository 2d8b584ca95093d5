"""Volumes of several scenarios with their spread over latent draws, as a Plotly figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT, named

_AXIS_PX, _TITLE_PX = 24, 18
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")


def scenarios_figure(
    table: pd.DataFrame, *, row_px: int = 17, dark: bool = False, alone: bool = False
) -> go.Figure:
    """One panel for each volume, one row for each scenario: mean over draws ± their standard deviation.

    Args:
        table: as from `compare.compared`.
        row_px: height of a scenario's row in each panel.
        alone: no table stands beside it: names of the scenarios at the left, titles above the panels.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    names = list(dict.fromkeys(table["scenario"]))
    measures = list(dict.fromkeys(table["measure"]))
    head_px = _TITLE_PX if alone else 0
    panel_px = row_px * len(names) + _AXIS_PX + head_px
    height = panel_px * len(measures)
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 86, "r": 8, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink},
        "showlegend": False,
        "dragmode": False,
        "annotations": [],
    }
    traces = []
    for n, measure in enumerate(measures):
        part = table[table["measure"] == measure]
        suffix = "" if n == 0 else str(n + 1)
        title, colour = named(measure)
        top = 1 - (n * panel_px + head_px) / height
        spread = np.nan_to_num(part["sd_draws_ml"].to_numpy(float))
        mean = part["mean_ml"].to_numpy(float)
        low, high = float((mean - spread).min()), float((mean + spread).max())
        pad = 0.08 * (high - low) or 1.0
        layout[f"xaxis{suffix}"] = {
            "anchor": f"y{suffix}",
            "range": [low - pad, high + pad],
            "fixedrange": True,
            "gridcolor": "rgba(128,140,155,0.25)",
            "zeroline": False,
            "ticksuffix": " mL",
            "nticks": 5,
            "tickfont": {"size": 10},
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "domain": [max(top - row_px * len(names) / height, 0), top],
            "range": [len(names) - 0.5, -0.5],
            "fixedrange": True,
            "showticklabels": alone,
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "automargin": alone,
            "gridcolor": "rgba(128,140,155,0.12)",
            "zeroline": False,
        }
        layout["annotations"].append(
            {
                "text": f"<b>{title}</b>",
                "x": 0,
                "xref": "paper",
                "showarrow": False,
                "font": {"size": 12, "color": ink},
            }
            | (
                {"y": top, "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
                if alone
                else {"y": (len(names) - 1) / 2, "yref": f"y{suffix}", "xanchor": "right", "xshift": -8}
            )
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": mean,
                "y": list(range(len(names))),
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "marker": {
                    "color": colour,
                    "size": min(row_px, 9),
                    "symbol": [_SYMBOLS[i % len(_SYMBOLS)] for i in range(len(names))],
                },
                "error_x": {"type": "data", "array": spread, "color": colour, "thickness": 1.6, "width": 3},
                "customdata": [
                    [who, d, s] for who, d, s in zip(names, part["difference_ml"], spread, strict=True)
                ],
                "hovertemplate": f"<b>%{{customdata[0]}}</b><br>{title} %{{x:.1f}} mL, spread over draws "
                "±%{customdata[2]:.1f}<br>difference to the first %{customdata[1]:+.1f} mL<extra></extra>",
            }
        )
    return go.Figure({"data": traces, "layout": layout})


def scenario_symbol(n: int) -> str:
    """The sign that stands for scenario `n` in text, as in the figure."""
    return "●■◆▲✚✖"[n % len(_SYMBOLS)]
