"""One metric of several methods, side by side for each tissue or region, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT
from csegsynth_core.tissue import BY_NAME

MAX_PANELS = 4


def methods_figure(
    table: pd.DataFrame, names: Mapping[str, str], title: str, *, dark: bool = False
) -> go.Figure:
    """Dots with 95 % bootstrap intervals, a row for each method, a panel for each of the first four parts.

    Args:
        table: rows of `measured.tidy` of one table and one metric; method `floor` is drawn as a line.
        names: method → as people call it.
        title: of the metric, with its unit.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    parts = list(dict.fromkeys(table["part"]))[:MAX_PANELS]
    methods = [m for m in dict.fromkeys(table["method"]) if m != "floor"]
    layout: dict[str, Any] = {
        "height": 28 * len(methods) + 74,
        "margin": {"l": 10, "r": 12, "t": 24, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink},
        "showlegend": False,
        "dragmode": False,
        "annotations": [],
        "shapes": [],
    }
    traces = []
    width = 1 / max(len(parts), 1)
    for n, part in enumerate(parts):
        suffix = "" if n == 0 else str(n + 1)
        own = table[table["part"] == part].set_index("method")
        tissue = BY_NAME.get(part)
        colour = tissue.colour if tissue else "#5B7F95"
        here = [m for m in methods if m in own.index]
        values = own.loc[here, "value"].to_numpy(float)
        low, high = (own.loc[here, k].to_numpy(float) for k in ("low", "high"))
        layout[f"xaxis{suffix}"] = {
            "domain": [n * width, (n + 1) * width - (0.03 if n + 1 < len(parts) else 0)],
            "anchor": f"y{suffix}",
            "title": {"text": title, "font": {"size": 12}, "standoff": 4},
            "gridcolor": "rgba(128,140,155,0.22)",
            "zeroline": False,
            "fixedrange": True,
            "tickfont": {"size": 11},
            "nticks": 5,
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "range": [len(methods) - 0.5, -0.5],
            "fixedrange": True,
            "tickmode": "array",
            "tickvals": list(range(len(methods))),
            "ticktext": [names.get(m, m) for m in methods] if n == 0 else [""] * len(methods),
            "automargin": True,
            "gridcolor": "rgba(128,140,155,0.12)",
            "zeroline": False,
        }
        layout["annotations"].append(
            {
                "text": f"<b>{tissue.bids if tissue else part}</b>",
                "xref": f"x{suffix} domain",
                "yref": "paper",
            }
            | {"x": 0, "y": 1, "yanchor": "bottom", "showarrow": False, "font": {"size": 13, "color": ink}}
        )
        if "floor" in own.index:
            floor = float(own.loc["floor", "value"])
            layout["shapes"].append(
                {"type": "line", "xref": f"x{suffix}", "yref": f"y{suffix} domain", "x0": floor, "x1": floor}
                | {"y0": 0, "y1": 1, "line": {"color": ink, "width": 1, "dash": "dot"}}
            )
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": values,
                "y": [methods.index(m) for m in here],
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "marker": {"color": colour, "size": 9},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": np.nan_to_num(high - values),
                    "arrayminus": np.nan_to_num(values - low),
                    "color": colour,
                    "thickness": 1.6,
                    "width": 3,
                },
                "text": [names.get(m, m) for m in here],
                "hovertemplate": "<b>%{text}</b><br>" + title + ": %{x:.4g}<extra></extra>",
            }
        )
    return go.Figure({"data": traces, "layout": layout})
