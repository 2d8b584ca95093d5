"""Linked slices of tissue maps, as Plotly figures.

Screen axes of a slice are world millimetres. Display conventions (radiological, nose left) reverse an
axis and mirror the picture; a point that was clicked therefore always carries true coordinates.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core import grid
from csegsynth_core.data.pictures import hex_rgb, tissue_rgb
from csegsynth_core.figures.contours import LINE_COLOURS, OUTLINE_NAMES, OUTLINES, tissue_outline
from csegsynth_core.figures.style import FITTED, FONT
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES, index

Plane = Literal["sagittal", "coronal", "axial"]
PLANES: Final[tuple[Plane, ...]] = ("sagittal", "coronal", "axial")
CENTRE: Final[tuple[int, int, int]] = (39, 68, 60)
"""Voxel where a crosshair starts: beside the middle plane, at the height of the lateral ventricles."""

CONTOURS: Final = "contours"
MODES: Final[tuple[str, ...]] = ("tissues", *TISSUES)
"""What a slice can show of one brain: all tissues in their colours, or one of them. With another brain: a tissue's
difference, or `CONTOURS` of the one over the anatomy of the other."""

_AXES: Final[dict[Plane, tuple[int, int, int]]] = {
    "sagittal": (0, 1, 2),
    "coronal": (1, 0, 2),
    "axial": (2, 0, 1),
}
_LETTERS: Final = (("L", "R"), ("P", "A"), ("I", "S"))  # low and high end of x, y, z
_MARGIN: Final = 3  # voxels of black around the brain's box; the letters stand there
_ZOOM: Final = 3  # pixels of the picture for each voxel when smooth
_GAP_MM: Final = 5.0
_BETWEEN_MM: Final = 36.0  # between two brains
_COLD: Final = ("#000000", "#0A4FA8", "#2F8FE8", "#BFE3FF")
_HOT: Final = ("#000000", "#A82512", "#EE6A3C", "#FFE0C8")
_STEPS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_GREY: Final = (0.72, 0.44, 0.12)  # of WM, GM and CSF: as a T1-weighted picture
_CHANGE: Final = "Δ fraction (person − baseline)"
_LETTER_COLOUR, _LINE_COLOUR, _TEXT_COLOUR = "#9FB3C8", "rgba(255,255,255,0.55)", "#C9D3DE"

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Display:
    """Display conventions."""

    radiological: bool = False
    """Left of the person on the right of the screen (coronal, axial). Neurological otherwise."""
    nose_left: bool = False
    """Anterior on the left of the screen (sagittal)."""


@dataclass(frozen=True)
class View:
    """How one plane lies on the screen."""

    plane: Plane
    through: int
    """Axis of the grid perpendicular to the plane."""
    across: int
    """Axis of the grid along the screen's horizontal."""
    up: int
    """Axis of the grid along the screen's vertical."""
    mirrored: bool
    """Whether the horizontal axis runs from right to left."""

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Letters at the left, right, bottom and top of the screen."""
        low, high = _LETTERS[self.across]
        left, right = (high, low) if self.mirrored else (low, high)
        return left, right, *_LETTERS[self.up]

    def bounds(self, axis: int) -> tuple[int, int]:
        """First voxel shown along an axis of the grid, and the one after the last; may leave the grid."""
        box = grid.BOX[axis]
        return box.start - _MARGIN, box.stop + _MARGIN

    def range_mm(self, axis: int) -> tuple[float, float]:
        """Edges of what is shown along an axis of the grid, mm."""
        first, stop = self.bounds(axis)
        return _mm(axis, first - 0.5), _mm(axis, stop - 0.5)

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of the plane on the screen, mm."""
        (x0, x1), (y0, y1) = self.range_mm(self.across), self.range_mm(self.up)
        return x1 - x0, y1 - y0

    def cut(self, volume: NDArray[Any], at: int) -> NDArray[Any]:
        """Slice `at` of a volume (…, 80, 128, 128) as it lies on the screen: (…, rows from the top, columns)."""
        out = np.take(volume, at, axis=volume.ndim - 3 + self.through)
        if self.across > self.up:
            raise AssertionError("the horizontal axis comes first in every plane")
        out = np.moveaxis(out, -1, -2)[..., ::-1, :]
        out = _crop(out, self.bounds(self.across), -1)
        low, high = self.bounds(self.up)
        size = volume.shape[volume.ndim - 3 + self.up]
        out = _crop(out, (size - high, size - low), -2)
        return out[..., ::-1] if self.mirrored else out


def view(plane: Plane, display: Display = Display()) -> View:
    """The view of a plane under display conventions."""
    through, across, up = _AXES[plane]
    return View(
        plane, through, across, up, display.nose_left if plane == "sagittal" else display.radiological
    )


def picked_voxel(plane: Plane, at: Voxel, across_mm: float, up_mm: float) -> Voxel:
    """Voxel of a click at a point of a plane through `at`; conventions do not matter, axes are true mm."""
    through, across, up = _AXES[plane]
    mm = np.zeros(3)
    mm[through], mm[across], mm[up] = _mm(through, at[through]), across_mm, up_mm
    i, j, k = (int(v) for v in grid.mm_to_voxel(mm))
    return i, j, k


def picked_from_event(points: Sequence[Mapping[str, Any]], at: Voxel) -> Voxel | None:
    """Voxel chosen by a click on `planes_figure` or `pair_figure`, from the points of Plotly's selection event."""
    for point in points:
        curve = point.get("curve_number", -1)
        if 0 <= curve < 2 * len(PLANES) and "x" in point and "y" in point:
            plane = PLANES[curve % len(PLANES)]
            return picked_voxel(plane, at, float(point["x"]), float(point["y"]))
    return None


def difference_limit(delta: NDArray[np.float32]) -> float:
    """A round end for a symmetric scale of differences in fraction: all but the top 1 % of changed voxels."""
    size = np.abs(delta[np.abs(delta) > 1e-3])
    wanted = float(np.quantile(size, 0.99)) if size.size else 0.0
    return next((step for step in _STEPS if wanted <= step), 1.0)


def shared_limit(brains: Sequence[NDArray[np.float32]], baseline: NDArray[np.float32], tissue: str) -> float:
    """One end of the scale for the differences of several brains to a baseline."""
    k = index(tissue)
    return max(difference_limit(maps[k] - baseline[k]) for maps in brains)


def difference_key(limit: float, title: str) -> str:
    """Colour bar of differences in fraction, as HTML."""
    stops = ", ".join(
        "rgb({:.0f},{:.0f},{:.0f})".format(*(255 * c))
        for c in difference_rgb(np.linspace(-1, 1, 9, dtype=np.float32))
    )
    return (
        f'<div class="difference-key"><span>{title}, fraction</span><i style="background: linear-gradient(90deg, '
        f'{stops})"></i><b><span>−{limit:g}</span><span>0</span><span>+{limit:g}</span></b></div>'
    )


def difference_rgb(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of differences scaled to [−1, 1]: blue below, black at 0, red above; shape (…, 3)."""
    size = np.clip(np.abs(t), 0.0, 1.0)[..., None] * (len(_HOT) - 1)
    low = np.minimum(size.astype(int), len(_HOT) - 2)
    part = size - low
    hot, cold = (np.stack([hex_rgb(c) for c in colours]) for colours in (_HOT, _COLD))
    mixed = [p[low[..., 0]] * (1 - part) + p[low[..., 0] + 1] * part for p in (cold, hot)]
    return np.where(t[..., None] < 0, mixed[0], mixed[1]).astype(np.float32)


def slice_rgb(
    maps: NDArray[np.float32],
    view: View,
    at: int,
    *,
    mode: str = "tissues",
    baseline: NDArray[np.float32] | None = None,
    limit: float | None = None,
) -> NDArray[np.float32]:
    """Colours of one slice on the screen, (rows, columns, 3) in [0, 1].

    Args:
        maps: (3, 80, 128, 128) fractions in the order of `TISSUES`.
        at: voxel along the axis through the plane.
        mode: `tissues`, the name of a tissue, or `contours`.
        baseline: maps of another brain; then the difference of tissue `mode` is shown over faint anatomy. With
            `contours` this is the brain that is shown, in grey.
        limit: end of the scale of the difference; by default of these two brains.
    """
    if mode == CONTOURS:
        behind = view.cut((maps if baseline is None else baseline)[: len(TISSUES)], at)
        return np.repeat(
            np.tensordot(behind, np.asarray(_GREY, np.float32), axes=(0, 0))[..., None], 3, axis=-1
        )
    cut = view.cut(maps[: len(TISSUES)], at)
    if baseline is None:
        if mode == "tissues":
            return tissue_rgb(cut)
        return np.clip(cut[index(mode)], 0, 1)[..., None] * hex_rgb(BY_NAME[mode].colour)
    k = index(mode)
    limit = difference_limit(maps[k] - baseline[k]) if limit is None else limit
    other = view.cut(baseline[: len(TISSUES)], at)
    faint = 0.16 * (other[index("wm")] + 0.55 * other[index("gm")])[..., None]
    return np.clip(faint + difference_rgb((cut[k] - other[k]) / limit), 0.0, 1.0)


def slice_figure(
    maps: NDArray[np.float32],
    plane: Plane,
    at: Voxel = CENTRE,
    *,
    display: Display = Display(),
    mode: str = "tissues",
    baseline: NDArray[np.float32] | None = None,
    smooth: bool = True,
    limit: float | None = None,
) -> go.Figure:
    """One plane with crosshair, letters, hover read-out and a layer of points that can be clicked."""
    one = view(plane, display)
    canvas = _Canvas(one.size_mm, at, smooth)
    canvas.add(_Brain(maps, mode, baseline, limit), one, 0.0, 0.0)
    return canvas.figure()


def planes_figure(
    maps: NDArray[np.float32],
    at: Voxel = CENTRE,
    *,
    display: Display = Display(),
    mode: str = "tissues",
    baseline: NDArray[np.float32] | None = None,
    smooth: bool = True,
    change: str = _CHANGE,
) -> go.Figure:
    """Sagittal, coronal and axial planes through voxel `at`, at one scale, with a legend or colour bar.

    Traces 0, 1 and 2 are the layers of points of `PLANES`; give the points of a selection event to
    `picked_from_event`. See `slice_rgb` for `mode` and `baseline`; `change` says what the difference is.
    """
    views = [view(p, display) for p in PLANES]
    width = sum(v.size_mm[0] for v in views) + _GAP_MM * (len(views) - 1)
    canvas = _Canvas((width, max(v.size_mm[1] for v in views)), at, smooth)
    brain = _Brain(maps, mode, baseline)
    left = 0.0
    for one in views:
        canvas.add(brain, one, left, 0.0)
        left += one.size_mm[0] + _GAP_MM
    _add_key(canvas.layout, mode, brain.limit, change)
    return canvas.figure()


def pair_figure(
    maps: NDArray[np.float32],
    other: NDArray[np.float32],
    at: Voxel = CENTRE,
    *,
    titles: tuple[str, str],
    display: Display = Display(),
    mode: str = "tissues",
    behind: NDArray[np.float32] | None = None,
    smooth: bool = True,
) -> go.Figure:
    """Two brains side by side, each in three planes through the same voxel, at one scale.

    Traces 0 to 2 are the layers of points of the first brain, 3 to 5 of the second; see `picked_from_event`.

    Args:
        other: maps of the second brain.
        titles: what each brain is called, a few lines of HTML.
        mode: one of `MODES`, or `CONTOURS` over the brain `behind`.
    """
    sagittal, coronal, axial = (view(p, display) for p in PLANES)
    column, row = coronal.size_mm
    half = column + sagittal.size_mm[0] + _GAP_MM
    canvas = _Canvas((2 * half + _BETWEEN_MM, row + axial.size_mm[1] + _GAP_MM), at, smooth)
    for n, brain in enumerate(_Brain(m, mode, behind if mode == CONTOURS else None) for m in (maps, other)):
        left = n * (half + _BETWEEN_MM)
        canvas.add(brain, sagittal, left + column + _GAP_MM, 0.0, toward=("left", "bottom"))
        canvas.add(brain, coronal, left, 0.0, toward=("right", "bottom"))
        canvas.add(brain, axial, left, row + _GAP_MM, toward=("right", "top"))
        sheet = 3 * n + 1
        x, y = ("x" if sheet == 1 else f"x{sheet}"), f"y{sheet + 2}"
        place = {"xref": f"{x} domain", "yref": f"{y} domain", "showarrow": False, "align": "left"}
        canvas.layout["annotations"].append(
            place | {"text": titles[n], "x": 0.06, "y": 0.92, "xanchor": "left", "yanchor": "top"}
        )
        lines = _key_lines(mode)
        canvas.layout["annotations"].append(
            place | {"text": "<br>".join(lines), "x": 0.06, "y": 0.06, "xanchor": "left", "yanchor": "bottom"}
        )
    return canvas.figure()


class _Brain:
    """What a slice shows of a brain: its maps, how, and against which other brain."""

    def __init__(
        self,
        maps: NDArray[np.float32],
        mode: str,
        baseline: NDArray[np.float32] | None = None,
        limit: float | None = None,
    ) -> None:
        self.maps, self.mode, self.other = maps, mode, baseline
        self.baseline = None if mode == CONTOURS else baseline
        """The brain that differences are taken from."""
        if self.baseline is None:
            limit = None
        elif limit is None:
            limit = difference_limit(maps[index(mode)] - self.baseline[index(mode)])
        self.limit = limit
        """End of the symmetric scale of differences."""


class _Canvas:
    """A black figure of a size in millimetres that planes are put on, all at one scale."""

    def __init__(self, size_mm: tuple[float, float], at: Voxel, smooth: bool) -> None:
        self.size_mm, self.at, self.smooth = size_mm, at, smooth
        self.layers: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {
            "images": [],
            "shapes": [],
            "annotations": [],
            "paper_bgcolor": "#000000",
            "plot_bgcolor": "#000000",
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "font": {"family": FONT, "color": _TEXT_COLOUR},
            "showlegend": False,
            "hovermode": "closest",
            "hoverdistance": 30,
            "clickmode": "event+select",
            "dragmode": False,
            "hoverlabel": {
                "bgcolor": "#10161D",
                "bordercolor": "#3A4756",
                "font": {"family": FONT, "size": 13, "color": "#E8EDF2"},
                "align": "left",
            },
        }

    def add(
        self, brain: _Brain, one: View, left: float, top: float, toward: tuple[str, str] = ("center", "top")
    ) -> None:
        """Put a plane at a place, mm from the left and from the top; `toward`: where it goes when there is room."""
        n = len(self.layers)
        width, height = self.size_mm
        w, h = one.size_mm
        x, y = ("x", "y") if n == 0 else (f"x{n + 1}", f"y{n + 1}")
        low, high = one.range_mm(one.across)
        across = FITTED | {"range": [high, low] if one.mirrored else [low, high], "anchor": y}
        across |= {"domain": [left / width, (left + w) / width], "constraintoward": toward[0]}
        if n:
            across |= {"scaleanchor": "x", "scaleratio": 1}
        self.layout[f"xaxis{x[1:]}"] = across
        rise = FITTED | {
            "range": list(one.range_mm(one.up)),
            "anchor": x,
            "scaleanchor": "x",
            "scaleratio": 1,
        }
        rise |= {"domain": [1 - (top + h) / height, 1 - top / height], "constraintoward": toward[1]}
        self.layout[f"yaxis{y[1:]}"] = rise
        at = self.at[one.through]
        rgb = slice_rgb(brain.maps, one, at, mode=brain.mode, baseline=brain.other, limit=brain.limit)
        place = {"xref": f"{x} domain", "yref": f"{y} domain"}
        picture = {"source": _png(rgb, self.smooth), "x": 0, "y": 1, "sizex": 1, "sizey": 1}
        self.layout["images"].append(place | picture | {"sizing": "stretch", "layer": "below"})
        self.layout["shapes"] += _crosshair(one, self.at, x, y)
        self.layout["annotations"] += side_letters(one, place)
        self.layers.append(_click_layer(brain.maps, one, self.at, x, y, brain.mode, brain.baseline))
        if brain.mode == CONTOURS:
            self.lines += _outlines(brain.maps, one, at, x, y)

    def figure(self) -> go.Figure:
        """The figure; layers that can be clicked come first, in the order of their planes."""
        return go.Figure({"data": [*self.layers, *self.lines], "layout": self.layout})


def _outlines(maps: NDArray[np.float32], one: View, at: int, x: str, y: str) -> list[dict[str, Any]]:
    """Outlines of the tissues on one plane."""
    cross, rise = (grid.BOX[a] for a in (one.across, one.up))
    where: list[Any] = [slice(None)] * 4
    where[1 + one.through], where[1 + one.across], where[1 + one.up] = at, cross, rise
    cut = np.swapaxes(maps[tuple(where)][: len(TISSUES)], 1, 2)
    across = _mm(one.across, np.arange(cross.start, cross.stop))
    up = _mm(one.up, np.arange(rise.start, rise.stop))
    out = []
    for name in reversed(OUTLINES):
        px, py = tissue_outline(cut, name, across, up)
        out.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": px,
                "y": py,
                "xaxis": x,
                "yaxis": y,
                "hoverinfo": "skip",
            }
            | {"line": {"color": LINE_COLOURS[name], "width": 1.4}, "name": OUTLINE_NAMES[name]}
        )
    return out


def _click_layer(
    maps: NDArray[np.float32],
    one: View,
    at: Voxel,
    x: str,
    y: str,
    mode: str,
    baseline: NDArray[np.float32] | None,
) -> dict[str, Any]:
    """Invisible points at every voxel. `maxdisplayed` keeps Plotly from drawing them; hover and click find
    them all the same."""
    cross, rise = (grid.BOX[a] for a in (one.across, one.up))
    columns, rows = np.meshgrid(np.arange(cross.start, cross.stop), np.arange(rise.start, rise.stop))
    where: list[Any] = [slice(None)] * 4
    where[1 + one.through], where[1 + one.across], where[1 + one.up] = at[one.through], cross, rise
    data = [columns, rows, *(100 * np.swapaxes(maps[tuple(where)], 1, 2)[: len(TISSUES)])]
    names = ["i", "j", "k"]
    mm = ["", "", ""]
    mm[one.through] = f"{_mm(one.through, at[one.through]):.0f}"
    mm[one.across], mm[one.up] = "%{x}", "%{y}"
    voxel = [str(at[a]) for a in range(3)]
    voxel[one.across], voxel[one.up] = "%{customdata[0]}", "%{customdata[1]}"
    parts = "   ".join(f"{t.bids} %{{customdata[{k + 2}]}} %" for k, t in enumerate(ALL))
    text = f"<b>{parts}</b><br>x {mm[0]}  y {mm[1]}  z {mm[2]} mm<br>"
    text += "voxel " + "  ".join(f"{n} {v}" for n, v in zip(names, voxel, strict=True))
    if baseline is not None:
        k = index(mode)
        where[0] = k
        data.append(1000 * (maps[tuple(where)] - baseline[tuple(where)]).T)
        text = f"<b>Δ {BY_NAME[mode].bids} %{{customdata[5]:+d}} × 10⁻³</b><br>" + text
    small = np.int8 if baseline is None else np.int16
    custom = np.stack([np.rint(d) for d in data], axis=-1).astype(small).reshape(-1, len(data))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": np.rint(_mm(one.across, columns.ravel())).astype(np.int16),
        "y": np.rint(_mm(one.up, rows.ravel())).astype(np.int16),
        "customdata": custom,
        "hovertemplate": text + "<extra></extra>",
        "xaxis": x,
        "yaxis": y,
        "marker": {"size": 4, "opacity": 0, "maxdisplayed": 1},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
    }


def _crosshair(one: View, at: Voxel, x: str, y: str) -> list[dict[str, Any]]:
    """Two thin lines with a gap where they meet."""
    h, v = _mm(one.across, at[one.across]), _mm(one.up, at[one.up])
    (x0, x1), (y0, y1) = one.range_mm(one.across), one.range_mm(one.up)
    edge, gap = 12.0, 5.0
    ends = [
        (x0 + edge, v, h - gap, v),
        (h + gap, v, x1 - edge, v),
        (h, y0 + edge, h, v - gap),
        (h, v + gap, h, y1 - edge),
    ]
    line = {"color": _LINE_COLOUR, "width": 1}
    return [
        {"type": "line", "xref": x, "yref": y, "x0": a, "y0": b, "x1": c, "y1": d, "line": line}
        for a, b, c, d in ends
        if c > a or d > b
    ]


def side_letters(
    one: View,
    place: Mapping[str, str],
    ends: tuple[float, float, float, float] = (0, 1, 0, 1),
    *,
    size: int = 13,
    over: bool = False,
) -> list[dict[str, Any]]:
    """Orientation letters at the four sides of a plane, as annotations.

    Args:
        place: `xref` and `yref`.
        ends: of the plane on these axes: x of the left and the right, y of the bottom and the top of the screen.
        size: of the letters.
        over: the picture is small, and they stand over the brain: white, on a dark ground.
    """
    ground = {"bgcolor": "rgba(0,0,0,0.7)", "borderpad": 1} if over else {"borderpad": 2}
    colour = "#FFFFFF" if over else _LETTER_COLOUR
    x0, x1, y0, y1 = ends
    left, right, bottom, top = one.letters
    spots = [
        (left, x0, (y0 + y1) / 2, "left", "middle"),
        (right, x1, (y0 + y1) / 2, "right", "middle"),
        (bottom, (x0 + x1) / 2, y0, "center", "bottom"),
        (top, (x0 + x1) / 2, y1, "center", "top"),
    ]
    return [
        dict(place)
        | {"text": f"<b>{t}</b>", "x": px, "y": py, "xanchor": ax, "yanchor": ay, "showarrow": False}
        | {"font": {"size": size, "color": colour}}
        | ground
        for t, px, py, ax, ay in spots
    ]


def _add_key(layout: dict[str, Any], mode: str, limit: float | None, change: str) -> None:
    """What the colours mean, in the corner below the sagittal plane."""

    def say(text: str, x: float, y: float, anchor: str = "left", size: int = 12) -> None:
        layout["annotations"].append(
            {"text": text, "x": x, "y": y, "xref": "x domain", "yref": "paper", "showarrow": False}
            | {"xanchor": anchor, "yanchor": "middle", "font": {"size": size, "color": _TEXT_COLOUR}}
        )

    if mode in ("tissues", CONTOURS):
        for n, line in enumerate(_key_lines(mode)):
            say(line, 0.06 + (n * 0.36 if mode == "tissues" else (0, 0.42, 1.12)[n]), 0.09)
        return
    ramp = np.linspace(0, 1, 128, dtype=np.float32)
    if limit is None:
        bar = ramp[:, None] * hex_rgb(BY_NAME[mode].colour)
        title, ticks = f"{BY_NAME[mode].title.capitalize()}, fraction", ("0", "0.5", "1")
    else:
        bar = difference_rgb(2 * ramp - 1)
        title = f"{BY_NAME[mode].title.capitalize()}, {change}"
        ticks = (f"−{limit:g}", "0", f"+{limit:g}")
    x0, width = 0.06, 0.62
    layout["images"].append(
        {"source": _png(bar[None], False), "xref": "x domain", "yref": "paper", "x": x0, "y": 0.105}
        | {"sizex": width, "sizey": 0.03, "sizing": "stretch", "layer": "above"}
    )
    say(title, x0, 0.15)
    for text, x, anchor in zip(ticks, (0, 0.5, 1), ("left", "center", "right"), strict=True):
        say(text, x0 + x * width, 0.04, anchor)


def _key_lines(mode: str) -> list[str]:
    """What each colour means, HTML; one line for each."""
    if mode == CONTOURS:
        return [f'<span style="color:{LINE_COLOURS[o]}">━</span>  {OUTLINE_NAMES[o]}' for o in OUTLINES]
    shown = ALL if mode == "tissues" else (BY_NAME[mode],)
    end = "" if mode == "tissues" else " (black 0, full colour 1)"
    return [f'<span style="color:{t.colour}">■</span>  {t.bids}  {t.title}{end}' for t in shown]


def _mm(axis: int, voxel: Any) -> Any:
    """World coordinate of a voxel index along one axis of the grid, mm."""
    return grid.CENTRE_MM[axis] + grid.VOXEL_MM * (voxel - (grid.SHAPE[axis] - 1) / 2)


def _crop(data: NDArray[Any], bounds: tuple[int, int], axis: int) -> NDArray[Any]:
    """Part of an array along one axis, with zeros where the bounds leave it."""
    first, stop = bounds
    size = data.shape[axis]
    part = np.take(data, np.arange(max(first, 0), min(stop, size)), axis=axis)
    pad = [(0, 0)] * data.ndim
    pad[axis] = (max(-first, 0), max(stop - size, 0))
    return np.pad(part, pad) if any(pad[axis]) else part


def _png(rgb: NDArray[np.float32], smooth: bool) -> str:
    """Data address of a PNG of colours in [0, 1]."""
    image = Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    if rgb.shape[0] > 1:
        size = (image.width * _ZOOM, image.height * _ZOOM)
        image = image.resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
