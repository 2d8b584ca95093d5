"""A brain's surface that can be turned, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from csegsynth_core.figures.style import FONT

if TYPE_CHECKING:
    from csegsynth_core.surface import Surface  # imports scipy's image functions, which no figure needs

Side = Literal["left", "right", "front", "back", "above", "below"]
VENTRICLES: Final = ("#3D9BE0", "ventricles")
"""Colour and name; lighter than CSF's own colour, which would vanish on black behind a translucent cortex."""

CAMERAS: Final[dict[Side, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    "left": ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "right": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "front": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "back": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "above": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
    "below": ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
}
"""Where the eye is, and which way is up on the screen; world axes."""

_TEXT: Final = "#C9D3DE"
_DISTANCE: Final = 2.5
_ZOOM: Final = 2.1
FOLDS: Final[tuple[tuple[float, str], ...]] = ((0.0, "#D9CFC6"), (0.35, "#A99B90"), (1.0, "#4A423D"))
MOVED: Final[tuple[tuple[float, str], ...]] = (
    (0.0, "#2A6FC9"), (0.25, "#8DB8EA"), (0.5, "#DAD7D3"), (0.75, "#F0A184"), (1.0, "#C23B22"),
)  # fmt: skip
NOT_KNOWN: Final = "#7E8894"
_LIGHT: Final = {"ambient": 0.4, "diffuse": 0.72, "specular": 0.08, "roughness": 0.7, "fresnel": 0.05}
_LAMP: Final = {
    "x": -4e4,
    "y": 7e4,
    "z": -1e5,
}  # on the screen: from the left above the eye, wherever the eye is
DEEPEST_MM: Final = 10.0
ENDS: Final = (("L", "R"), ("P", "A"), ("I", "S"))
_STEPS_MM: Final = (0.5, 1.0, 2.0, 3.0, 5.0)


def surface_figure(
    cortex: Surface,
    values: NDArray[np.float32],
    *,
    moved: bool = False,
    inner: Sequence[tuple[Surface, str, str]] = (),
    side: Side = "left",
    note: str = "",
) -> go.Figure:
    """The cortex coloured by its folding or by how far it has moved; translucent where something is inside.

    Args:
        cortex: mesh, mm.
        values: at every vertex, mm: depth below the hull, or with `moved` the distance outside the baseline's
            surface, NaN where there is none (grey).
        inner: meshes inside, each with its colour and its name.
        side: where it is seen from at first.
        note: a few words in the corner.
    """
    if moved:
        limit = value_limit(values)
        scale, low, high = MOVED, -limit, limit
        title, ticks = "moved outwards from the baseline, mm", [-limit, 0, limit]
    else:
        scale, low, high = FOLDS, 0.0, DEEPEST_MM
        title, ticks = "depth below the hull, mm", [0, DEEPEST_MM / 2, DEEPEST_MM]
    known = np.isfinite(values)
    share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1)
    shade = np.rint(share * 253).astype(np.uint8) + 1
    shade[~known] = 0
    stops = [[0, NOT_KNOWN], [0.5 / 254, NOT_KNOWN], *[[(1 + 253 * at) / 254, c] for at, c in scale]]
    stops.insert(2, [0.5 / 254, scale[0][1]])
    bar = {
        "title": {"text": title, "side": "top", "font": {"size": 12, "color": _TEXT}},
        "orientation": "h", "x": 0.02, "xanchor": "left", "y": 0.03, "yanchor": "bottom", "len": 0.3,
        "thickness": 9, "outlinewidth": 0, "tickfont": {"size": 11, "color": _TEXT},
        "tickvals": [1 + 253 * (t - low) / (high - low) for t in ticks],
        "ticktext": [f"{t:+g}".replace("-", "−") if moved and t else f"{t:g}" for t in ticks],
    }  # fmt: skip
    outer = _mesh(cortex) | {
        "name": "cortex",
        "intensity": shade,
        "cmin": 0,
        "cmax": 254,
        "colorscale": stops,
        "colorbar": bar,
        "showscale": not inner,
        "opacity": 0.22 if inner else 1.0,
        "hoverinfo": "skip",
    }
    meshes = [
        _mesh(one) | {"color": colour, "hoverinfo": "skip", "name": name} for one, colour, name in inner
    ]
    middle = (cortex.vertices.min(axis=0) + cortex.vertices.max(axis=0)) / 2
    half = np.ptp(cortex.vertices, axis=0) / 2
    eye, up = CAMERAS[side]
    plain = {"visible": False, "showspikes": False}
    reach = float(half.max()) + 12
    axes = {
        f"{n}axis": plain | {"range": [float(m - reach), float(m + reach)]}
        for n, m in zip("xyz", middle, strict=True)
    }
    layout = {
        "paper_bgcolor": "#000000",
        "font": {"family": FONT, "color": _TEXT},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "showlegend": False,
        "hovermode": False,
        "scene": axes
        | {
            "bgcolor": "#000000",
            "aspectmode": "manual",
            "aspectratio": dict.fromkeys("xyz", _ZOOM),
            "dragmode": "orbit",
            "camera": {
                "eye": {k: _DISTANCE * v for k, v in zip("xyz", eye, strict=True)},
                "up": dict(zip("xyz", up, strict=True)),
                "projection": {"type": "orthographic"},
            },
        },
        "annotations": _legend(inner, note),
    }
    return go.Figure({"data": [*meshes, outer, _letters(middle, half)], "layout": layout})


def _mesh(surface: Surface) -> dict[str, Any]:
    """A mesh in as few bytes as will do."""
    number = np.uint16 if len(surface.vertices) <= np.iinfo(np.uint16).max else np.uint32
    x, y, z = surface.vertices.T.astype(np.float32)
    i, j, k = surface.faces.T.astype(number)
    return {"type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k} | {
        "lighting": _LIGHT,
        "lightposition": _LAMP,
        "flatshading": False,
    }


def value_limit(values: NDArray[np.float32]) -> float:
    """A round end of the symmetric scale: all but the top 10 % of the moves, which are in sulci that open."""
    size = np.abs(values[np.isfinite(values)])
    wanted = float(np.quantile(size, 0.9)) if size.size else 0.0
    return next((step for step in _STEPS_MM if wanted <= step), _STEPS_MM[-1])


def _letters(middle: NDArray[Any], half: NDArray[Any]) -> dict[str, Any]:
    """Orientation letters around the brain, in space: they turn with it."""
    spots, texts = [], []
    for axis, (low, high) in enumerate(ENDS):
        for sign, letter in ((-1, low), (1, high)):
            spot = middle.astype(float).copy()
            spot[axis] += sign * (float(half[axis]) + 8)
            spots.append(spot)
            texts.append(f"<b>{letter}</b>")
    x, y, z = np.asarray(spots).T
    return {
        "type": "scatter3d", "mode": "text", "x": x, "y": y, "z": z, "text": texts, "hoverinfo": "skip",
        "textfont": {"color": "#9FB3C8", "size": 14}, "name": "letters",
    }  # fmt: skip


def _legend(inner: Sequence[tuple[Surface, str, str]], note: str) -> list[dict[str, Any]]:
    lines = [f'<span style="color:{colour}">■</span>  {name}' for _, colour, name in inner]
    lines += [note] if note else []
    corner = {
        "xref": "paper",
        "yref": "paper",
        "x": 0.985,
        "y": 0.03,
        "xanchor": "right",
        "yanchor": "bottom",
    }
    if not lines:
        return []
    return [corner | {"text": "<br>".join(lines), "showarrow": False, "align": "right", "font": {"size": 12}}]
