"""Brains of several models or groups side by side: a row each, the three planes through one voxel (paper, Fig. 2)."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core.figures.slices import (
    CENTRE,
    PLANES,
    Display,
    Plane,
    View,
    Voxel,
    difference_limit,
    difference_rgb,
    side_letters,
    slice_rgb,
    view,
)
from csegsynth_core.figures.style import FITTED, FONT
from csegsynth_core.group_means import GroupMeans
from csegsynth_core.tissue import BY_NAME, index

Pictures = NDArray[np.float32]
"""Colours in [0, 1], (rows, columns, 3)."""

_ZOOM: Final = 3
_NEUROLOGICAL: Final = Display()
_TEXT: Final = "#C9D3DE"


def three_planes(
    maps: NDArray[np.float32],
    at: Voxel = CENTRE,
    *,
    display: Display = _NEUROLOGICAL,
    mode: str = "tissues",
    baseline: NDArray[np.float32] | None = None,
    limit: float | None = None,
) -> list[Pictures]:
    """Colours of the sagittal, coronal and axial slice through `at`, in the order of `PLANES`.

    Args:
        maps: (3, 80, 128, 128) fractions in the order of `TISSUES`.
        at: voxel.
        mode: `tissues`, or the name of a tissue.
        baseline: maps of another brain; then the difference of tissue `mode`.
        limit: end of the scale of the difference.
    """
    views = [view(plane, display) for plane in PLANES]
    return [slice_rgb(maps, one, at[one.through], mode=mode, baseline=baseline, limit=limit) for one in views]


def montage_figure(
    columns: Sequence[tuple[str, Sequence[Pictures]]],
    *,
    height: int = 460,
    rows: Sequence[str] = (),
    views: Sequence[View] = (),
    scale: tuple[float, str] | None = None,
) -> go.Figure:
    """A column for each brain, its three planes below each other.

    Args:
        columns: name (a second line after `<br>`), and the pictures as from `three_planes`.
        height: pixels.
        rows: what the rows are, written at the left.
        views: how the planes of each row lie; the first of each row has letters at its sides.
        scale: end of the scale of differences, and what they are of, for a colour bar below.
    """
    tall = [p.shape[0] for p in columns[0][1]]
    wide = max(p.shape[1] for p in columns[0][1])
    gap, images, notes = 4, [], []
    for n, (name, pictures) in enumerate(columns):
        column = np.concatenate([np.pad(_centred(p, wide), ((0, gap), (0, 0), (0, 0))) for p in pictures])
        images.append(
            {"source": picture_url(column[:-gap]), "xref": "x", "yref": "y", "x": n * (wide + gap), "y": 0}
            | {
                "sizex": wide,
                "sizey": sum(tall) + gap * (len(tall) - 1),
                "sizing": "stretch",
                "layer": "below",
            }
        )
        notes.append(
            {"text": name, "x": n * (wide + gap) + wide / 2, "y": 0, "xref": "x", "yref": "y"}
            | {"yanchor": "bottom", "showarrow": False, "font": {"size": 12, "color": _TEXT}}
        )
    left = 60 if rows else 0
    for n, name in enumerate(rows):
        middle = sum(tall[:n]) + gap * n + tall[n] / 2
        notes.append(
            {"text": name, "x": -4, "y": middle, "xref": "x", "yref": "y", "xanchor": "right"}
            | {"showarrow": False, "font": {"size": 12, "color": _TEXT}}
        )
    for n, one in enumerate(views):
        first, top = columns[0][1][n], sum(tall[:n]) + gap * n
        start = (wide - first.shape[1]) // 2
        ends = (start, start + first.shape[1], top + tall[n], top)
        notes += side_letters(one, {"xref": "x", "yref": "y"}, ends, size=11, over=True)
    end = len(columns) * (wide + gap) - gap
    bottom = sum(tall) + gap * (len(tall) - 1)
    lowest = bottom + 2
    if scale:
        bar = np.repeat(difference_rgb(np.linspace(-1, 1, 240, dtype=np.float32))[None], 6, axis=0)
        width, first = min(200, end), (end - min(200, end)) / 2
        images.append(
            {"source": picture_url(bar, 1), "xref": "x", "yref": "y", "x": first, "y": bottom + 6}
            | {"sizex": width, "sizey": 5, "sizing": "stretch", "layer": "below"}
        )
        words = (f"−{scale[0]:g}", scale[1], f"+{scale[0]:g}")
        for k, (text, side) in enumerate(zip(words, ("left", "center", "right"), strict=True)):
            notes.append(
                {"text": text, "x": first + k * width / 2, "y": bottom + 11, "xref": "x", "yref": "y"}
                | {
                    "yanchor": "top",
                    "xanchor": side,
                    "showarrow": False,
                    "font": {"size": 12, "color": _TEXT},
                }
            )
        lowest = bottom + 26
    layout: dict[str, Any] = {
        "images": images,
        "annotations": notes,
        "height": height,
        "paper_bgcolor": "#000000",
        "plot_bgcolor": "#000000",
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
        "font": {"family": FONT, "color": _TEXT},
        "showlegend": False,
        "dragmode": False,
        "xaxis": FITTED | {"range": [-left, end]},
        "yaxis": FITTED | {"range": [lowest, -26]} | {"scaleanchor": "x", "scaleratio": 1},
    }
    empty = {"type": "scatter", "x": [0], "y": [0], "mode": "markers", "marker": {"opacity": 0}}
    return go.Figure({"data": [empty | {"hoverinfo": "skip"}], "layout": layout})


def groups_figure(
    means: GroupMeans,
    plane: Plane,
    cut: int,
    tissue: str,
    *,
    display: Display = _NEUROLOGICAL,
    kind: str = "real",
    height: int = 470,
) -> go.Figure:
    """A column for each group: mean of real maps, mean of generated ones, and generated minus real of a tissue.

    Args:
        means: of a pack.
        plane: which.
        cut: voxel through the plane, one of `CUTS`.
        tissue: whose difference; one scale for all groups.
        kind: what the people are, `real` or `simulated`.
        height: pixels.
    """
    one, k = view(plane, display), index(tissue)
    both = [(means.maps(g, "real"), means.maps(g, "model")) for g in range(len(means.groups))]
    limit = max(difference_limit(np.take(model[k] - real[k], cut, axis=one.through)) for real, model in both)
    columns = []
    for group, (real, model) in zip(means.groups, both, strict=True):
        pictures = [slice_rgb(maps, one, cut) for maps in (real, model)]
        pictures.append(slice_rgb(model, one, cut, mode=tissue, baseline=real, limit=limit))
        who, _, age = group.label.partition(", ")
        columns.append((f"<b>{who}</b><br>{f'{age}, ' if age else ''}n {group.people}", pictures))
    said = (limit, f"generated − {kind}, {BY_NAME[tissue].bids} fraction")
    rows = (kind, "generated", "difference")
    return montage_figure(columns, height=height, rows=rows, views=[one] * len(rows), scale=said)


def picture_url(rgb: Pictures, zoom: int = _ZOOM) -> str:
    """A picture as a `data:` address, enlarged smoothly."""
    image = Image.fromarray((np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _centred(picture: Pictures, wide: int) -> Pictures:
    left = (wide - picture.shape[1]) // 2
    return np.pad(picture, ((0, 0), (left, wide - picture.shape[1] - left), (0, 0)))
