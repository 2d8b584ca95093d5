"""Volumes over age: points, regression lines and named bands, as a Plotly figure.

What is drawn is described by `Line` and `Reference`, which `csegsynth_core.static_figures` draws too, so that
a figure on screen and one on paper show the same numbers in the same colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from csegsynth_core.data.pictures import hex_rgb
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.figures.style import FONT
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import ALL, BY_NAME
from csegsynth_core.uncertainty import CI_NAME, spread_name

PANELS: Final[dict[str, tuple[str, str]]] = {
    **{t.name: (f"{t.bids}, {t.title}", t.colour) for t in ALL},
    TOTAL: ("WM+GM+CSF, sum", "#7C8996"),
    **{r.name: (r.title, BY_NAME[r.tissue].colour) for r in REGIONS},
}
"""Volume → title and colour of its panel: a tissue's title is its abbreviation, a comma and its name."""

ACROSS: Final = 5
"""Panels in a row, at most."""

LEGEND_ROW: Final = 19
"""Height of a row of the legend, pixels."""

UNITS: Final[dict[str, str]] = {"ml": "mL", "percent": "% change"}

DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
SAMPLE: Final = "#6B7785"
"""Colour of the first person's sample in a legend, since the panels have different colours."""
CI_NOTE: Final = (
    "Narrow bands: 95 % confidence interval of the fitted curve through one draw, not between people."
)
"""What belongs below every figure with the intervals of regression lines."""
OUTSIDE: Final = "outside the training ages"

_LEGEND: Final[dict[str, Any]] = {
    **{"xanchor": "left", "y": 1, "yref": "container", "yanchor": "top", "font": {"size": 12}},
    **{"itemclick": False, "itemdoubleclick": False, "bgcolor": "rgba(0,0,0,0)"},
}


@dataclass(frozen=True)
class Line:
    """One person in one scenario."""

    name: str
    """As in the legend, such as `this person, ideal`."""
    data: pd.DataFrame
    """Rows of `csegsynth_core.uncertainty.trajectory` of one scenario: what is known at the ages of the sweep."""
    curve: pd.DataFrame
    """Rows of `csegsynth_core.uncertainty.fitted_lines` of that scenario: regression line and interval as drawn."""
    who: int = 0
    """Number of the person, 0 for the current one."""
    way: int = 0
    """Number of the scenario among that person's."""


@dataclass(frozen=True)
class Reference:
    """Cohort centiles behind the lines."""

    name: str
    """Who, such as `82 women of the training cohort`."""
    data: pd.DataFrame
    """Columns `volume`, `age` (years), `c5`, `c25`, `c50`, `c75`, `c95` (mL)."""


def _percent_of(lines: Sequence[Line], age_units: str) -> str:
    """`% since 21 years`: since each line's first age where these differ."""
    firsts = {float(one.data["age"].min()) for one in lines}
    return "% since " + (f"{firsts.pop():g} {age_units}" if len(firsts) == 1 else "the first age")


def mixed(colour: str, towards: str, share: float) -> str:
    """A colour mixed with a share of another, both `#RRGGBB`."""
    rgb = (1 - share) * hex_rgb(colour) + share * hex_rgb(towards)
    return "#" + "".join(f"{round(255 * float(v)):02X}" for v in rgb)


@dataclass(frozen=True)
class Look:
    """How a line is told from the others, in colour and without."""

    ink: float
    """Share of black (on dark paper of white) in its colour."""
    dash: int
    """Number of its dashes, no two lines having the same."""
    symbol: int
    """Number of its person's marker."""
    filled: bool
    """Whether the marker is: that of the person's first scenario."""

    def colour(self, tissue: str, *, dark: bool = False) -> str:
        """Its colour where that of the tissue is `tissue`, both `#RRGGBB`."""
        return mixed(tissue, "#FFFFFF" if dark else "#000000", self.ink)


def looks(lines: Sequence[Line]) -> list[Look]:
    """Looks of the lines of a figure: people go from the tissue's colour to darker (on dark paper lighter) ones and
    have a marker each; scenarios of one person differ less in brightness, and in whether the marker is filled.
    """
    places = [one.who + 0.4 * one.way for one in lines]
    each = min(1.1, 0.65 / max([*places, 0.1]))
    return [
        Look(each * place, k % len(DASHES), one.who % len(SYMBOLS), one.way == 0)
        for k, (one, place) in enumerate(zip(lines, places, strict=True))
    ]


def legend_rows(lines: Sequence[Line], reference: Reference | None, trained: tuple[float, float]) -> int:
    """Rows that the legend needs: lines on the left, bands on the right."""
    return max(len(lines), len(legend_bands(lines, reference)) + bool(outside_spans(lines, trained)), 2)


def legend_bands(lines: Sequence[Line], reference: Reference | None) -> dict[str, str]:
    """Every band that is drawn, by key (`ci`, `spread`, `centiles`), with the name that says what it is."""
    out = {"ci": CI_NAME}
    draws = max((int(one.data["draws"].max()) for one in lines), default=1)
    if draws > 1:
        out["spread"] = spread_name(draws)
    if reference is not None and has_centiles(lines, reference):
        out["centiles"] = f"{reference.name}: centiles 5–95, 25–75, median"
    return out


def shown_volumes(lines: Sequence[Line]) -> tuple[str, ...]:
    """Volumes that the lines have, in the order of `PANELS`."""
    there = set(lines[0].data["volume"])
    return tuple(v for v in PANELS if v in there)


def has_centiles(lines: Sequence[Line], reference: Reference | None) -> bool:
    """Whether a volume that is drawn has cohort centiles."""
    return reference is not None and bool(set(shown_volumes(lines)) & set(reference.data["volume"]))


def outside_spans(lines: Sequence[Line], trained: tuple[float, float]) -> list[tuple[float, float]]:
    """Parts of the ages drawn that lie outside the training ages, years."""
    ages = np.concatenate([one.data["age"].to_numpy(float) for one in lines])
    first, last = float(ages.min()), float(ages.max())
    spans = [(first, min(trained[0], last)), (max(trained[1], first), last)]
    return [(a, b) for a, b in spans if b > a]


def trajectory_figure(
    lines: Sequence[Line],
    reference: Reference | None = None,
    *,
    trained: tuple[float, float] = (-np.inf, np.inf),
    unit: str = "ml",
    age_units: str = "years",
    dark: bool = False,
    height: int = 380,
    note: str = "",
) -> go.Figure:
    """A panel for each volume of the lines, five in a row at most: a point for each age, regression line with the
    confidence interval of its mean, spread over draws, cohort centiles behind; ages outside the training
    range are shaded.

    Args:
        lines: one for each person and scenario, the current person first; all with the same volumes.
        reference: cohort centiles; mL only.
        trained: youngest and oldest training person, years.
        unit: `ml` or `percent`; says what the numbers of `lines` are.
        height: of the whole, pixels; the legend takes `LEGEND_ROW` of it for each of its rows (`legend_rows`).
        note: below the figure, such as `Simulated training data`; lines are parted by `<br>`.
    """
    ink, grid_colour = ("#E4EAF0", "#2C3743") if dark else ("#1B2530", "#E3E8ED")
    traces: list[dict[str, Any]] = []
    volumes = shown_volumes(lines)
    across = min(len(volumes), ACROSS)
    down = -(-len(volumes) // across)
    rows = legend_rows(lines, reference if unit == "ml" else None, trained)
    top, bottom = 25 + LEGEND_ROW * rows, 40 + (23 + 14 * note.count("<br>") if note else 0)
    gap = 0.0 if down == 1 else 44 / (height - top - bottom)  # for ages and titles between rows of panels
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 46 if across == ACROSS else 30, "r": 6, "t": top, "b": bottom},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "color": ink, "size": 13},
        "hovermode": "closest",
        "dragmode": False,
        "shapes": [],
        "annotations": [],
        "legend": _LEGEND | {"x": -0.02},
        "legend2": _LEGEND | {"x": 0.43},
    }
    ages = np.concatenate([one.data["age"].to_numpy(float) for one in lines])
    first, last, spans = float(ages.min()), float(ages.max()), outside_spans(lines, trained)
    pad = 0.025 * (last - first)
    for n, volume in enumerate(volumes):
        title, colour = PANELS[volume]
        row, column = divmod(n, across)
        lowest = n + across >= len(volumes)
        suffix = "" if n == 0 else str(n + 1)
        x, y = f"x{suffix}", f"y{suffix}"
        left = column / across
        tall = (1 - gap * (down - 1)) / down
        bottom_at = max(1 - (row + 1) * tall - row * gap, 0.0)
        axis = {"gridcolor": grid_colour, "zeroline": False, "fixedrange": True, "tickfont": {"size": 11}}
        layout[f"xaxis{suffix}"] = axis | {
            "domain": [left, left + (1 - 0.16) / across if across > 1 else 1],
            "anchor": y,
            "range": [first - pad, last + pad],
            "nticks": 6,
        }
        if lowest:
            below = {"text": f"Age ({age_units})", "standoff": 4, "font": {"size": 12}}
            layout[f"xaxis{suffix}"]["title"] = below
        layout[f"yaxis{suffix}"] = axis | {
            "anchor": x,
            "domain": [bottom_at, min(bottom_at + tall, 1.0)],
            "nticks": 7 if down == 1 else 5,
        }
        name, _, rest = title.partition(", ")
        rest = f" {rest}" if rest and across < ACROSS else ""
        size = 12 if across == ACROSS else 13
        units = UNITS["ml"] if unit == "ml" else _percent_of(lines, age_units)
        rest = rest if unit == "ml" else ""  # no room for both
        said = f"<b>{name}</b>{rest}" + ("" if across == ACROSS else f", {units}")
        if across == ACROSS and column == 0:  # no room in the titles
            layout[f"yaxis{suffix}"]["title"] = {"text": units, "standoff": 2, "font": {"size": 12}}
        layout["annotations"].append(
            {"x": left, "y": min(bottom_at + tall, 1.0), "xref": "paper", "yref": "paper", "xanchor": "left"}
            | {"yshift": 3, "yanchor": "bottom", "showarrow": False, "font": {"size": size}, "align": "left"}
            | {"text": f'<span style="color:{colour}">■</span> {said}'}
        )
        for a, b in spans:
            layout["shapes"].append(
                {"type": "rect", "xref": x, "yref": f"{y} domain", "x0": a, "x1": b, "y0": 0, "y1": 1}
                | {"layer": "below", "line": {"width": 0}, "fillcolor": "rgba(217,130,43,0.16)"}
            )
        axes = {"xaxis": x, "yaxis": y}
        if reference is not None and unit == "ml" and volume in set(reference.data["volume"]):
            traces += [t | axes for t in _centile_traces(reference, volume, ink)]
        for look, one in zip(looks(lines), lines, strict=True):
            part = one.data[one.data["volume"] == volume].sort_values("age")
            curve = one.curve[one.curve["volume"] == volume]
            own = look.colour(colour, dark=dark)
            traces += [t | axes for t in _line_traces(part, curve, own, look, one.name, unit)]
    traces += _legend(lines, reference if unit == "ml" else None, ink, dark=dark, outside=bool(spans))
    if note:
        layout["annotations"].append(
            {
                "x": 0,
                "y": 0,
                "yshift": -44,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "top",
            }
            | {"showarrow": False, "text": note, "font": {"size": 11}, "opacity": 0.75}
        )
    return go.Figure({"data": traces, "layout": layout})


def _rgba(colour: str, alpha: float) -> str:
    r, g, b = (round(255 * float(v)) for v in hex_rgb(colour))
    return f"rgba({r},{g},{b},{alpha:g})"


def _band(x: pd.Series, low: pd.Series, high: pd.Series, fill: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [*x, *x.iloc[::-1]],
        "y": [*high, *low.iloc[::-1]],
        "fill": "toself",
        "fillcolor": fill,
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _centile_traces(reference: Reference, volume: str, ink: str) -> list[dict[str, Any]]:
    rows = reference.data[reference.data["volume"] == volume].sort_values("age")
    grey = "rgba(138,151,166,%.2f)"
    middle = {"type": "scatter", "mode": "lines", "x": rows["age"], "y": rows["c50"], "showlegend": False}
    return [
        _band(rows["age"], rows["c5"], rows["c95"], grey % 0.16),
        _band(rows["age"], rows["c25"], rows["c75"], grey % 0.2),
        middle | {"line": {"color": _rgba("#8A97A6", 0.9), "width": 1.2}, "hoverinfo": "skip"},
    ]


def _line_traces(
    rows: pd.DataFrame, curve: pd.DataFrame, colour: str, look: Look, name: str, unit: str
) -> list[dict[str, Any]]:
    out = []
    if rows["draws_low"].notna().any():
        out.append(_band(rows["age"], rows["draws_low"], rows["draws_high"], _rgba(colour, 0.17)))
    out.append(_band(curve["age"], curve["ci_low"], curve["ci_high"], _rgba(colour, 0.4)))
    short = "mL" if unit == "ml" else "%"
    shared = {"type": "scatter", "showlegend": False, "name": name}
    out.append(
        shared
        | {"mode": "lines", "x": curve["age"], "y": curve["fit"], "hoverinfo": "skip"}
        | {"line": {"color": colour, "width": 1.8, "dash": DASHES[look.dash]}}
    )
    few = ".2f" if float(rows["value"].abs().max()) < 30 else ".1f"
    tell = f"<b>{name}</b><br>age %{{x:.4g}}: <b>%{{y:{few}}} {short}</b><br>regression %{{customdata[0]:{few}}} "
    tell += f"(95 % CI %{{customdata[1]:{few}}} to %{{customdata[2]:{few}}},<br>"
    tell += "of the fitted curve through one draw, not between people)"
    columns = ["fit", "ci_low", "ci_high"]
    if rows["draws_low"].notna().any():
        tell += f"<br>%{{customdata[5]}} draws, 5–95 %: %{{customdata[3]:{few}}} to %{{customdata[4]:{few}}}"
        columns += ["draws_low", "draws_high", "draws"]
    out.append(
        shared
        | {"mode": "markers", "x": rows["age"], "y": rows["value"], "customdata": rows[columns].to_numpy()}
        | {
            "marker": {
                "color": colour,
                "size": 5.5,
                "symbol": _symbol(look),
                "line": {"width": 1.1, "color": colour},
            }
        }
        | {"hovertemplate": tell + "<extra></extra>"}
    )
    return out


def _symbol(look: Look) -> str:
    return SYMBOLS[look.symbol] + ("" if look.filled else "-open")


def _legend(
    lines: Sequence[Line], reference: Reference | None, ink: str, *, dark: bool, outside: bool
) -> list[dict[str, Any]]:
    """Samples without numbers: lines in greys as bright as theirs, since the panels have different colours."""
    nothing = {"type": "scatter", "x": [None], "y": [None], "showlegend": True, "hoverinfo": "skip"}
    out: list[dict[str, Any]] = []
    for look, one in zip(looks(lines), lines, strict=True):
        own = look.colour(SAMPLE, dark=dark)
        out.append(
            nothing
            | {"name": one.name, "mode": "lines+markers", "line": {"color": own, "dash": DASHES[look.dash]}}
            | {"marker": {"color": own, "symbol": _symbol(look), "size": 6}}
        )
    bands = legend_bands(lines, reference)
    if outside:
        bands["outside"] = OUTSIDE
    fills = {
        "ci": _rgba(ink, 0.5),
        "spread": _rgba(ink, 0.22),
        "centiles": "rgba(138,151,166,0.3)",
        "outside": "rgba(217,130,43,0.4)",
    }
    square = {"symbol": "square", "size": 12, "line": {"width": 0}}
    out += [
        nothing | {"name": t, "legend": "legend2", "mode": "markers", "marker": square | {"color": fills[k]}}
        for k, t in bands.items()
    ]
    return out
