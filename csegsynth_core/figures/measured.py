"""One metric of several methods, side by side for each tissue or region, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from csegsynth_core.figures.style import FONT, named

ACROSS: Final = 5
"""Panels in a row, at most."""
_TOP, _BOTTOM, _BETWEEN, _ROW, _LOW_ROW = 24, 46, 56, 28, 18  # pixels
_ROOM: Final = 400  # pixels for the panels' rows: as many as a small window has
_LEAST_ROW: Final = 13
_LONG: Final = 16  # characters that a panel's title has room for


def methods_figure(
    table: pd.DataFrame, names: Mapping[str, str], title: str, *, dark: bool = False
) -> go.Figure:
    """Dots with 95 % intervals: a row for each method, a panel for each tissue or region, five in a row at most.

    Args:
        table: rows of `measured.tidy` of one table and one metric; method `floor` is drawn as a line.
        names: method → as people call it.
        title: of the metric, with its unit.
    """
    ink = "#E8EDF2" if dark else "#1F2A37"
    parts = list(dict.fromkeys(table["part"]))
    methods = [m for m in dict.fromkeys(table["method"]) if m != "floor"]
    across = max(min(len(parts), ACROSS), 1)
    down = max(-(-len(parts) // across), 1)
    room = (_ROOM - (down - 1) * _BETWEEN) / (down * max(len(methods), 1))
    panel = max(min(_ROW if down == 1 else _LOW_ROW, room), _LEAST_ROW) * len(methods) + 4
    inner = down * panel + (down - 1) * _BETWEEN
    layout: dict[str, Any] = {
        "height": inner + _TOP + _BOTTOM,
        "margin": {"l": 10, "r": 12, "t": _TOP, "b": _BOTTOM},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink},
        "showlegend": False,
        "dragmode": False,
        "annotations": [],
        "shapes": [],
    }
    traces = []
    width = 1 / across
    for n, part in enumerate(parts):
        suffix = "" if n == 0 else str(n + 1)
        own = table[table["part"] == part].set_index("method")
        said, colour = named(part)
        line, column = divmod(n, across)
        top = 1 - line * (panel + _BETWEEN) / inner
        here = [m for m in methods if m in own.index]
        values = own.loc[here, "value"].to_numpy(float)
        low, high = (own.loc[here, k].to_numpy(float) for k in ("low", "high"))
        layout[f"xaxis{suffix}"] = {
            "domain": [column * width, (column + 1) * width - (0.03 if column + 1 < across else 0)],
            "anchor": f"y{suffix}",
            "gridcolor": "rgba(128,140,155,0.22)",
            "zeroline": False,
            "fixedrange": True,
            "tickfont": {"size": 11},
            "exponentformat": "power",
            "nticks": 5 if down == 1 else 4,
        }
        if n + across >= len(parts):
            words = {"text": title, "font": {"size": 12}, "standoff": 4}
            layout[f"xaxis{suffix}"]["title"] = words
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "domain": [max(top - panel / inner, 0.0), top],
            "range": [len(methods) - 0.5, -0.5],
            "fixedrange": True,
            "tickmode": "array",
            "tickvals": list(range(len(methods))),
            "ticktext": [names.get(m, m) for m in methods] if column == 0 else [""] * len(methods),
            "automargin": True,
            "gridcolor": "rgba(128,140,155,0.12)",
            "zeroline": False,
        }
        layout["annotations"].append(
            {
                "text": f"<b>{said if len(said) <= _LONG else said.replace(' and ', '<br>and ')}</b>",
                "xref": f"x{suffix} domain",
                "yref": "paper",
            }
            | {"x": 0, "y": top, "xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left"}
            | {"font": {"size": 13 if down == 1 else 12, "color": ink}}
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
