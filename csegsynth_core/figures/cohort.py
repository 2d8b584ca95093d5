"""Who a model was trained on, as Plotly figures; the current person is marked in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from csegsynth_core.data.cohort_summary import CohortSummary, Histogram
from csegsynth_core.figures.style import FONT, SUM_COLOUR
from csegsynth_core.tissue import BY_NAME

SEX_COLOURS: Final = ("#8D6CC9", "#D55E00", "#5B7F95")
PERSON_COLOUR: Final = "#1F8FB3"
_DASHES: Final = ("solid", "dash", "dot")
_BAR: Final = "rgba(120,136,156,0.62)"
_SCALE: Final = [[0.0, "#2F6FB5"], [0.5, "#F4F5F7"], [1.0, "#C4472B"]]
_DARK_SCALE: Final = [[0.0, "#4E9BE8"], [0.5, "#1C242D"], [1.0, "#EE6A3C"]]
WITHHELD: Final = "withheld: one or two people, or what would tell them"
"""What hatched stubs with an asterisk are; their length tells nothing."""
STUB: Final = 0.07
"""Length of a stub over that of the longest bar."""


def stub_of(counts: Iterable[float | None]) -> float:
    """Length of the stubs that stand for withheld cells, in units of the cells.

    Args:
        counts: all cells; None or NaN where withheld.
    """
    return STUB * (max((c for c in counts if c is not None and c == c), default=0.0) or 1.0)


def distribution_figure(
    row: Mapping[str, Any], histogram: Histogram | None, *, height: int = 190, dark: bool = False
) -> go.Figure:
    """A numeric feature among training people: histogram where there is one; 1st–99th centile, mean ± SD, median.

    Bins that are withheld are hatched stubs with an asterisk.

    Args:
        row: of `coverage.placed`.
    """
    layout = _layout(height, dark)
    ink = layout["font"]["color"]
    traces: list[dict[str, Any]] = []
    top = 1.0
    if histogram is not None and histogram.edges:
        edges = np.asarray(histogram.edges)
        counts = [c if c is not None else 0 for c in histogram.counts]
        hidden = np.array([c is None for c in histogram.counts])
        top = float(max(counts) or 1)
        traces.append(
            {
                "type": "bar",
                "x": (edges[:-1] + edges[1:]) / 2,
                "y": counts,
                "width": np.diff(edges),
                "marker": {"color": _BAR, "line": {"width": 1, "color": layout["plot_bgcolor"]}},
                "customdata": np.stack([edges[:-1], edges[1:]], axis=1),
                "hovertemplate": "%{customdata[0]:.4g}–%{customdata[1]:.4g} "
                + str(row["units"])
                + ": %{y} people<extra></extra>",
            }
        )
        if hidden.any():
            layout |= {"barmode": "overlay", "annotations": [_hint()]}
            ends = [f"{a:.4g}–{b:.4g} {row['units']}" for a, b in pairwise(histogram.edges)]
            said = [f"{t}: withheld" for t, h in zip(ends, hidden, strict=True) if h]
            traces.append(
                _stubs((edges[:-1] + edges[1:])[hidden] / 2, stub_of(histogram.counts), _BAR, ink, said)
                | {"width": np.diff(edges)[hidden]}
            )
    y = -0.16 * top
    for low, high, width, name in (
        (row["centile1"], row["centile99"], 5, "1st–99th centile"),
        (row["mean"] - row["sd"], row["mean"] + row["sd"], 11, "mean ± 1 SD"),
    ):
        traces.append(
            {"type": "scatter", "mode": "lines", "x": [low, high], "y": [y, y], "hoverinfo": "text"}
            | {
                "line": {"width": width, "color": _BAR},
                "text": f"{name}: {low:.4g}–{high:.4g} {row['units']}",
            }
        )
    traces.append(
        {"type": "scatter", "mode": "markers", "x": [row["median"]], "y": [y], "hoverinfo": "text"}
        | {"marker": {"symbol": "line-ns-open", "size": 14, "color": ink, "line": {"width": 2}}}
        | {"text": f"median {row['median']:.4g} {row['units']}"}
    )
    traces.append(_person(float(row["used"]), y, ink, f"this person: {row['said']}"))
    values = [row["minimum"], row["maximum"], float(row["used"]), *(histogram.edges if histogram else ())]
    pad = 0.04 * ((max(values) - min(values)) or 1.0)
    title = f"{row['label']}, {row['units']}" if row["units"] else str(row["label"])
    layout["xaxis"] |= {
        "title": {"text": title, "font": {"size": 12}},
        "range": [min(values) - pad, max(values) + pad],
    }
    layout["yaxis"] |= {
        "range": [-0.34 * top, 1.08 * top],
        "showticklabels": bool(histogram),
        "tickmode": "auto",
    }
    layout["yaxis"] |= {"title": {"text": "people" if histogram else "", "font": {"size": 12}}, "nticks": 4}
    layout["yaxis"] |= {"showgrid": bool(histogram)}
    return go.Figure({"data": traces, "layout": layout})


def levels_figure(shares: pd.DataFrame, own: str, *, height: int = 190, dark: bool = False) -> go.Figure:
    """Share of training people with each level; the person's level stands out, and levels that are withheld are
    hatched stubs with an asterisk.

    Args:
        shares: as from `coverage.level_shares`.
        own: key of the person's level.
    """
    layout = _layout(height, dark)
    ink = layout["font"]["color"]
    hidden = shares["percent"].isna().to_numpy()
    said = ["* withheld" if h else f"{n:.0f} people" for n, h in zip(shares["people"], hidden, strict=True)]
    stub = stub_of(shares["percent"])
    labels = [t if len(t) <= 28 else t[:27] + "…" for t in shares["label"]]
    layout["xaxis"] |= {"title": {"text": "% of training people with a value", "font": {"size": 12}}}
    layout["yaxis"] |= {"range": [len(shares) - 0.5, -0.5], "showgrid": False, "tickmode": "array"}
    layout["yaxis"] |= {"tickvals": list(range(len(shares))), "ticktext": labels, "automargin": True}
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": shares["percent"].fillna(stub),
        "y": list(range(len(shares))),
        "marker": {
            "color": [PERSON_COLOUR if k == own else _BAR for k in shares["level"]],
            "opacity": np.where(hidden, _PALE, 1.0),
            "pattern": _HATCH | {"shape": ["/" if h else "" for h in hidden]},
        },
        "text": [
            f"{t}{' ◆ this person' if k == own else ''}" for t, k in zip(said, shares["level"], strict=True)
        ],
        "textposition": "auto",
        "textfont": {"size": 11, "color": ink},
        "hoverinfo": "text",
    }
    layout["annotations"] = [_hint()] if hidden.any() else []
    return go.Figure({"data": [bars], "layout": layout | {"bargap": 0.25}})


def along_age_figure(
    along: pd.DataFrame,
    row: Mapping[str, Any],
    age: float,
    names: Mapping[str, str],
    *,
    age_units: str = "years",
    height: int = 230,
    dark: bool = False,
) -> go.Figure:
    """Regression of a feature on age for each sex with ± 1 residual SD, and the person.

    Args:
        along: as from `coverage.along_age`.
        row: of `coverage.placed`.
        age: of the person, `age_units`.
        names: sex → label.
    """
    layout = _layout(height, dark)
    traces: list[dict[str, Any]] = []
    for n, (sex, part) in enumerate(along.groupby("sex", sort=False)):
        colour = SEX_COLOURS[n % len(SEX_COLOURS)]
        years = part["age"].to_numpy()
        around = np.concatenate([part["high"].to_numpy(), part["low"].to_numpy()[::-1]])
        traces.append(
            {"type": "scatter", "mode": "lines", "x": np.concatenate([years, years[::-1]]), "y": around}
            | {"fill": "toself", "fillcolor": _faint(colour), "line": {"width": 0}, "hoverinfo": "skip"}
            | {"showlegend": False}
        )
        who, at = names.get(str(sex), "all"), f", %{{x:.0f}} {age_units}: %{{y:.4g}}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": years,
                "y": part["value"],
                "name": f"{who} (n = {part['n'].iloc[0]})",
            }
            | {"line": {"color": colour, "width": 2, "dash": _DASHES[n % len(_DASHES)]}}
            | {"hovertemplate": who + at + f" {row['units']}<extra></extra>"}
        )
    traces.append(_person(age, float(row["used"]), layout["font"]["color"], f"this person: {row['said']}"))
    title = f"{row['label']}, {row['units']}" if row["units"] else str(row["label"])
    layout["yaxis"] |= {"title": {"text": title, "font": {"size": 12}}, "automargin": True}
    layout["xaxis"] |= {"title": {"text": f"Age, {age_units} · band: ± 1 residual SD", "font": {"size": 12}}}
    return go.Figure({"data": traces, "layout": layout | _LEGEND})


def volumes_by_age_figure(
    curves: Mapping[str, pd.DataFrame],
    age: float,
    own: Mapping[str, float],
    *,
    age_units: str = "years",
    height: int = 430,
    dark: bool = False,
) -> go.Figure:
    """Centiles of volumes by age among training people of one sex, with the generated person.

    Args:
        curves: volume → `VolumeCentiles.curve`.
        age: of the person, `age_units`.
        own: volume → mL of the person's generated brain.
    """
    layout = _layout(height, dark)
    traces: list[dict[str, Any]] = []
    gap, count = 0.2, len(curves)
    for n, (kind, curve) in enumerate(curves.items()):
        suffix = "" if n == 0 else str(n + 1)
        column, line = n % 2, n // 2
        lines = (count + 1) // 2
        x0, y1 = column * (0.5 + gap / 2), 1 - line * (1 + gap / 2) / lines
        layout[f"xaxis{suffix}"] = layout["xaxis"] | {
            "anchor": f"y{suffix}",
            "domain": [x0, x0 + 0.5 - gap / 2],
        }
        layout[f"yaxis{suffix}"] = layout["yaxis"] | {"anchor": f"x{suffix}"}
        layout[f"yaxis{suffix}"] |= {"domain": [max(0, y1 - (1 - gap / 2) / lines), y1], "automargin": True}
        tissue = BY_NAME.get(kind)
        colour, name = (tissue.colour, tissue.bids) if tissue else (SUM_COLOUR, "WM+GM+CSF")
        layout[f"yaxis{suffix}"]["title"] = {"text": f"{name}, mL", "font": {"size": 12}}
        if line == lines - 1:
            layout[f"xaxis{suffix}"]["title"] = {"text": f"Age, {age_units}", "font": {"size": 12}}
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": False}
        years = curve["age"].to_numpy()
        for low, high, strength in (("c5", "c95", 0.16), ("c25", "c75", 0.24)):
            around = np.concatenate([curve[high].to_numpy(), curve[low].to_numpy()[::-1]])
            traces.append(
                axes
                | {"type": "scatter", "mode": "lines", "x": np.concatenate([years, years[::-1]]), "y": around}
                | {
                    "fill": "toself",
                    "fillcolor": _faint(colour, strength),
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                }
            )
        traces.append(
            axes
            | {
                "type": "scatter",
                "mode": "lines",
                "x": years,
                "y": curve["c50"],
                "line": {"color": colour, "width": 2},
            }
            | {"hovertemplate": name + f" median at %{{x:.0f}} {age_units}: %{{y:.0f}} mL<extra></extra>"}
        )
        mark = _person(
            age, own[kind], layout["font"]["color"], f"this person's generated brain: {own[kind]:.0f} mL"
        )
        traces.append(axes | mark)
    return go.Figure({"data": traces, "layout": layout})


def age_sex_figure(
    summary: CohortSummary,
    names: Mapping[str, str],
    *,
    age_units: str = "years",
    height: int = 300,
    dark: bool = False,
) -> go.Figure:
    """People in each age band and sex; cells that are withheld are hatched stubs with an asterisk."""
    layout = _layout(height, dark)
    ink, stub = layout["font"]["color"], stub_of(c for row in summary.by_age_sex for c in row)
    bands = [f"{a:.0f}–{b:.0f}" for a, b in zip(summary.ages[:-1], summary.ages[1:], strict=True)]
    traces: list[dict[str, Any]] = []
    for n, sex in enumerate(summary.sexes or ("",)):
        counts = [row[n] for row in summary.by_age_sex]
        colour, name = SEX_COLOURS[n % len(SEX_COLOURS)], names.get(sex, "all")
        traces.append(
            {"type": "bar", "x": bands, "y": counts, "name": name, "offsetgroup": sex}
            | {"marker": {"color": colour, "line": {"width": 0.5, "color": colour}}}
            | {"hoverinfo": "text+name", "text": [f"{c}" for c in counts], "textposition": "auto"}
        )
        hidden = [band for band, c in zip(bands, counts, strict=True) if c is None]
        if hidden:
            said = [f"{name}, {band} {age_units}: withheld" for band in hidden]
            traces.append(_stubs(hidden, stub, colour, ink, said) | {"offsetgroup": sex})
    if None in [c for row in summary.by_age_sex for c in row]:
        sample = {"color": _BAR, "pattern": _HATCH | {"shape": "/"}}
        sign = {
            "name": "* withheld (few people)",
            "marker": sample,
            "offsetgroup": (summary.sexes or ("",))[0],
        }
        traces.append({"type": "bar", "x": bands[:1], "y": [None]} | sign)
    layout["xaxis"] |= {"type": "category", "title": {"text": f"Age, {age_units}", "font": {"size": 12}}}
    layout["yaxis"] |= {"title": {"text": "people", "font": {"size": 12}}}
    return go.Figure({"data": traces, "layout": layout | _LEGEND | {"barmode": "group"}})


def correlation_figure(
    names: Sequence[str],
    correlations: Sequence[Sequence[float | None]],
    *,
    height: int = 420,
    dark: bool = False,
) -> go.Figure:
    """Spearman's ρ of features and volumes.

    Args:
        names: as people call them.
        correlations: (names, names); None where unknown.
    """
    layout = _layout(height, dark)
    heat = {
        "type": "heatmap",
        "z": [[np.nan if r is None else r for r in row] for row in correlations],
        "x": list(range(len(names))),
        "y": list(range(len(names))),
        "customdata": [[[a, b] for b in names] for a in names],
        "zmin": -1,
        "zmax": 1,
        "colorscale": _DARK_SCALE if dark else _SCALE,
        "colorbar": {"title": {"text": "ρ"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": "%{customdata[0]} · %{customdata[1]}: ρ = %{z:.2f}<extra></extra>",
        "texttemplate": "%{z:.1f}",
        "textfont": {"size": 9},
        "xgap": 1,
        "ygap": 1,
    }
    short = [n if len(n) <= 20 else n[:19] + "…" for n in names]
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": short, "showgrid": False}
    layout["yaxis"] |= ticks | {"autorange": "reversed", "automargin": True}
    layout["xaxis"] |= ticks | {"automargin": True, "tickangle": -40}
    return go.Figure({"data": [heat], "layout": layout})


_LEGEND: Final[dict[str, Any]] = {
    "showlegend": True,
    "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
}


_PALE: Final = 0.55
_HATCH: Final[dict[str, Any]] = {"fillmode": "overlay", "size": 5, "solidity": 0.25}


def _stubs(x: Any, length: float, colour: str, ink: str, said: Sequence[str]) -> dict[str, Any]:
    """Upright bars of cells that are withheld."""
    return {
        "type": "bar",
        "x": x,
        "y": [length] * len(said),
        "marker": {"color": colour, "opacity": _PALE, "pattern": _HATCH | {"shape": "/"}},
        "text": ["*"] * len(said),
        "textposition": "outside",
        "textfont": {"size": 13, "color": ink},
        "hovertext": said,
        "hoverinfo": "text",
        "showlegend": False,
        "cliponaxis": False,
    }


def _hint() -> dict[str, Any]:
    """What stubs are, in the upper right corner above the axes."""
    place = {"xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom"}
    return place | {"text": f"* hatched: {WITHHELD}", "showarrow": False, "font": {"size": 11}}


def _layout(height: int, dark: bool) -> dict[str, Any]:
    ink = "#E8EDF2" if dark else "#1F2A37"
    axis = {
        "fixedrange": True,
        "gridcolor": "rgba(128,140,155,0.22)",
        "zeroline": False,
        "tickfont": {"size": 11},
    }
    return {
        "height": height,
        "margin": {"l": 46, "r": 12, "t": 22, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink},
        "showlegend": False,
        "dragmode": False,
        "xaxis": dict(axis),
        "yaxis": dict(axis),
    }


def _person(x: float, y: float, ink: str, text: str) -> dict[str, Any]:
    marker = {"symbol": "diamond", "size": 12, "color": PERSON_COLOUR, "line": {"width": 1.5, "color": ink}}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x],
        "y": [y],
        "marker": marker,
        "text": text,
        "hoverinfo": "text",
        "showlegend": False,
        "cliponaxis": False,
    }


def _faint(colour: str, strength: float = 0.16) -> str:
    return "rgba({},{},{},{})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)), strength)
