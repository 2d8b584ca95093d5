"""Slices of brains for papers: three planes of one brain, or one plane of several; see `static_figures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import grid
from csegsynth_core.data.pictures import hex_rgb
from csegsynth_core.figures.contours import LINE_COLOURS, OUTLINE_NAMES, OUTLINES, tissue_outline
from csegsynth_core.figures.slices import (
    CONTOURS,
    PLANES,
    Display,
    Plane,
    View,
    Voxel,
    difference_limit,
    difference_rgb,
    slice_rgb,
    view,
)
from csegsynth_core.static_figures import (
    COLUMN_MM,
    EDGE_MM,
    INK,
    bar_mm,
    bar_title,
    colour_bar,
    saved,
    shortened,
    side_letters,
)
from csegsynth_core.tissue import ALL, BY_NAME, index

NEUROLOGICAL: Final = Display()
BAR_MM: Final = 50.0
"""Length of the scale bar, in the brain."""
_GAP: Final = 1.0  # mm on paper
_TITLE, _SAMPLES = 4.2, 5.0  # mm on paper, height of each line
_ABOVE_KEY: Final = 1.2  # mm on paper
_LETTERS: Final = "#DCE6F0"

Maps = NDArray[np.float32]


def planes_file(
    maps: Maps,
    at: Voxel,
    *,
    display: Display = NEUROLOGICAL,
    mode: str = "tissues",
    baseline: Maps | None = None,
    change: str = "change of fraction (person − baseline)",
    smooth: bool = True,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Sagittal, coronal and axial plane through a voxel, with sides, place in mm, scale and colour key.

    Args:
        maps, at, display, mode, baseline, change: as for `figures.planes_figure`, contours included.
        smooth: interpolate between voxels; otherwise voxels show.
        form: `svg`, `pdf` or `png` (300 dpi).
        width_mm: 88 for a column, 180 for a page.
        note: a line below the figure.

    Raises:
        CSegSynthError: unknown form.
    """
    views = [view(p, display) for p in PLANES]
    across = sum(v.size_mm[0] for v in views)
    scale = (width_mm - 2 * EDGE_MM - _GAP * (len(views) - 1)) / across
    tall = max(v.size_mm[1] for v in views) * scale
    lines = mode == CONTOURS
    limit = None
    if baseline is not None and not lines:
        limit = difference_limit(maps[index(mode)] - baseline[index(mode)])
    composite = limit is None and mode in ("tissues", CONTOURS)
    title = "" if composite else bar_title(_bar_text(mode, limit, change), width_mm)
    height = _TITLE + tall + (_SAMPLES if composite else _ABOVE_KEY + bar_mm(title))

    def draw(figure: Any) -> None:
        left = EDGE_MM
        for n, one in enumerate(views):
            w, h = (s * scale for s in one.size_mm)
            ax = _axes(figure, left, _TITLE + (tall - h), w, h)
            rgb = slice_rgb(maps, one, at[one.through], mode=mode, baseline=baseline, limit=limit)
            _slice(ax, one, rgb, smooth)
            if lines:
                _outlines(ax, maps, one, at[one.through])
            _title(ax, one, at)
            if n == len(views) - 1:
                _scale_bar(ax, one)
            left += w + _GAP
        _key(figure, _TITLE + tall + _ABOVE_KEY, mode, limit, title, width_mm)

    return saved(draw, form, width_mm, height, note=note, layout=None)


def scenarios_slices_file(
    brains: Mapping[str, Maps],
    plane: Plane,
    at: Voxel,
    *,
    tissue: str = "gm",
    display: Display = NEUROLOGICAL,
    smooth: bool = True,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """One plane of every scenario; below the second and later ones the difference to the first, on one scale.

    Args:
        brains: name → maps (3, 80, 128, 128); the first is what the others are compared with.
        tissue: whose difference is shown.
        others: as for `planes_file`.

    Raises:
        CSegSynthError: unknown form.
    """
    one = view(plane, display)
    names, stacks = list(brains), list(brains.values())
    first, k = stacks[0], index(tissue)
    limit = max((difference_limit(m[k] - first[k]) for m in stacks[1:]), default=0.02)
    columns = len(names) if len(names) <= 3 or width_mm > 1.5 * COLUMN_MM else 3
    lines = -(-len(names) // columns)
    w = (width_mm - 2 * EDGE_MM - _GAP * (columns - 1)) / columns
    w = min(w, 42.0)
    scale = w / one.size_mm[0]
    h = one.size_mm[1] * scale
    block = _TITLE + 2 * h + _GAP
    change = f"change of fraction to “{names[0]}”; {place_of(one.plane, at)}"
    title = bar_title(_bar_text(tissue, limit, change), width_mm)
    height = lines * (block + 1.0) + _SAMPLES + bar_mm(title)

    def draw(figure: Any) -> None:
        for n, (name, maps) in enumerate(zip(names, stacks, strict=True)):
            left = EDGE_MM + (n % columns) * (w + _GAP)
            top = (n // columns) * (block + 1.0) + _TITLE
            ax = _axes(figure, left, top, w, h)
            _slice(ax, one, slice_rgb(maps, one, at[one.through]), smooth)
            ax.set_title(shortened(name, w, 7), loc="left", pad=2)
            if n == 0:
                _scale_bar(ax, one)
                continue
            ax = _axes(figure, left, top + h + _GAP, w, h)
            rgb = slice_rgb(maps, one, at[one.through], mode=tissue, baseline=first, limit=limit)
            _slice(ax, one, rgb, smooth)
        below = lines * (block + 1.0)
        _key(figure, below, "tissues", None, "", width_mm)
        _key(figure, below + _SAMPLES, tissue, limit, title, width_mm)

    return saved(draw, form, width_mm, height, note=note, layout=None)


def _axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes at a place in millimetres from the left and the top of the paper."""
    across, tall = (25.4 * s for s in figure.get_size_inches())
    return figure.add_axes(
        (left / across, 1 - (top + height) / tall, width / across, height / tall), in_layout=False
    )


def _slice(ax: Any, one: View, rgb: NDArray[np.float32], smooth: bool) -> None:
    """A picture with letters at its four sides; axes are mm."""
    (x0, x1), (y0, y1) = one.range_mm(one.across), one.range_mm(one.up)
    ax.imshow(
        np.clip(rgb, 0, 1),
        extent=(0, x1 - x0, 0, y1 - y0),
        interpolation="lanczos" if smooth else "nearest",
        aspect="auto",
    )
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    side_letters(ax, one)


def _outlines(ax: Any, maps: Maps, one: View, at: int) -> None:
    """Outlines of the tissues over a slice."""
    cut = one.cut(maps[: len(ALL)], at)
    width, height = one.size_mm
    rows, columns = cut.shape[1:]
    across = (np.arange(columns) + 0.5) * width / columns
    up = height - (np.arange(rows) + 0.5) * height / rows
    for name in reversed(OUTLINES):
        ax.plot(*tissue_outline(cut, name, across, up), color=LINE_COLOURS[name], lw=0.6)
    ax.set(xlim=(0, width), ylim=(0, height))


def _title(ax: Any, one: View, at: Voxel) -> None:
    ax.set_title(place_of(one.plane, at), pad=2, fontweight="normal")


def place_of(plane: Plane, at: Voxel) -> str:
    """Where a plane through a voxel lies: `axial, z = 3 mm`."""
    through = view(plane).through
    mm = float(grid.voxel_to_mm(at)[through])
    return f"{plane}, {'xyz'[through]} = {mm:.0f} mm".replace("-", "−")


def _scale_bar(ax: Any, one: View) -> None:
    width, height = one.size_mm
    x, y = 0.05 * width, 0.045 * height
    ax.plot([x, x + BAR_MM], [y, y], color=_LETTERS, lw=1.2, solid_capstyle="butt")
    ax.text(x, y + 0.02 * height, f"{BAR_MM:g} mm", color=_LETTERS, fontsize=6, ha="left", va="bottom")
    ax.set(xlim=(0, width), ylim=(0, height))


def _bar_text(tissue: str, limit: float | None, change: str) -> str:
    """What the colour bar of a tissue shows."""
    name = BY_NAME[tissue].title.capitalize()
    return f"{name}, fraction" if limit is None else f"{name}: {change}"


def _key(figure: Any, top: float, mode: str, limit: float | None, title: str, width_mm: float) -> None:
    """What the colours mean: samples of the tissues, of the outlines, or a colour bar."""
    if mode == CONTOURS:
        ax = _axes(figure, EDGE_MM, top, width_mm - 2 * EDGE_MM, 3.5)
        ax.set_axis_off()
        ax.set(xlim=(0, width_mm), ylim=(0, 1))
        for n, outline in enumerate(OUTLINES):
            x = (0.0, 0.24, 0.74)[n] * min(width_mm, 100.0)
            ax.plot([x + 0.5, x + 3], [0.5, 0.5], color=LINE_COLOURS[outline], lw=1.2)
            ax.text(x + 4, 0.5, OUTLINE_NAMES[outline], va="center", fontsize=6, color=INK)
        return
    if limit is None and mode == "tissues":
        ax = _axes(figure, EDGE_MM, top, width_mm - 2 * EDGE_MM, 3.5)
        ax.set_axis_off()
        ax.set(xlim=(0, width_mm), ylim=(0, 1))
        for n, tissue in enumerate(ALL):
            x = n * min(34.0, width_mm / 3.05)
            ax.plot([x + 1], [0.5], "s", color=tissue.colour, ms=4)
            ax.text(x + 3, 0.5, f"{tissue.bids} {tissue.title}", va="center", fontsize=6.5, color=INK)
        return
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    if limit is None:
        colours = ramp[:, None] * hex_rgb(BY_NAME[mode].colour)
        ticks = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]
    else:
        colours = difference_rgb(2 * ramp - 1)
        ticks = [(-limit, f"−{limit:g}"), (0.0, "0"), (limit, f"+{limit:g}")]
    colour_bar(figure, top, colours, ticks, title, width_mm)


def planes_table(maps: Maps, at: Voxel, baseline: Maps | None = None) -> pd.DataFrame:
    """The voxels of the three planes through a voxel: the table behind `planes_file`.

    Returns:
        `plane`, voxel `i`, `j`, `k`, `x_mm`, `y_mm`, `z_mm`, fractions `wm`, `gm`, `csf`, and with a baseline their
        differences `change_wm`, `change_gm`, `change_csf`. Voxels without tissue in either brain are left out.
    """
    return pd.concat([plane_table(maps, p, at, baseline) for p in PLANES], ignore_index=True)


def plane_table(maps: Maps, plane: Plane, at: Voxel, baseline: Maps | None = None) -> pd.DataFrame:
    """`planes_table` for one plane."""
    through = view(plane).through
    shown = np.take(maps[: len(ALL)], at[through], axis=1 + through)
    before = None if baseline is None else np.take(baseline[: len(ALL)], at[through], axis=1 + through)
    tissue = shown.sum(axis=0) if before is None else np.maximum(shown.sum(axis=0), before.sum(axis=0))
    where = np.argwhere(tissue > 0.005)
    ijk = np.insert(where, through, at[through], axis=1)
    table = pd.DataFrame(ijk, columns=list("ijk"))
    table.insert(0, "plane", plane)
    mm = grid.voxel_to_mm(ijk.astype(float))
    for n, axis in enumerate("xyz"):
        table[f"{axis}_mm"] = mm[:, n]
    for n, t in enumerate(ALL):
        table[t.name] = shown[n][tuple(where.T)]
        if before is not None:
            table[f"change_{t.name}"] = (shown[n] - before[n])[tuple(where.T)]
    return table
