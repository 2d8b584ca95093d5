"""The cortical surface for papers: one mesh seen from several sides; see `static_figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core.data.pictures import hex_rgb
from csegsynth_core.figures.surface import (
    CAMERAS,
    DEEPEST_MM,
    ENDS,
    FOLDS,
    MOVED,
    NOT_KNOWN,
    Side,
    value_limit,
)
from csegsynth_core.static_figures import COLUMN_MM, DPI, EDGE_MM, bar_mm, bar_title, colour_bar, saved
from csegsynth_core.surface import Surface

SIDES: Final[tuple[Side, ...]] = ("left", "above", "right")
_GAP, _TITLE, _ABOVE_BAR = 1.0, 4.2, 1.2  # mm on paper
_MARGIN_MM: Final = 7.0  # of a panel, in the brain
_AMBIENT: Final = 0.42
_LETTERS: Final = "#DCE6F0"
_GLASS: Final = 0.16

Floats = NDArray[np.float32]


def surface_file(
    cortex: Surface,
    values: Floats,
    *,
    moved: bool = False,
    inner: Sequence[tuple[Surface, str, str]] = (),
    sides: Sequence[Side] = SIDES,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """A mesh from several sides on one scale, orthographic, with a colour bar; triangles become a 300-dpi picture.

    Args:
        cortex, values, moved, inner: as for `figures.surface_figure`.
        sides: where it is seen from, one panel each.
        form: `svg`, `pdf` or `png` (300 dpi).
        width_mm: 88 for a column, 180 for a page.
        note: a line below the figure.

    Raises:
        CSegSynthError: unknown form.
    """
    middle = (cortex.vertices.min(axis=0) + cortex.vertices.max(axis=0)) / 2
    half = np.ptp(cortex.vertices, axis=0) / 2 + _MARGIN_MM
    frames = [_frame(side) for side in sides]
    sizes = [(2 * float(np.abs(r) @ half), 2 * float(np.abs(u) @ half)) for r, u, _ in frames]
    scale = (width_mm - 2 * EDGE_MM - _GAP * (len(sides) - 1)) / sum(w for w, _ in sizes)
    tall = max(h for _, h in sizes) * scale
    limit = value_limit(values) if moved else DEEPEST_MM
    title = bar_title(
        "Moved outwards from the baseline, mm" if moved else "Depth below the hull, mm", width_mm
    )
    height = _TITLE + tall + (0 if inner else _ABOVE_BAR + bar_mm(title)) + EDGE_MM

    def draw(figure: Any) -> None:
        across, high = (25.4 * s for s in figure.get_size_inches())
        left = EDGE_MM
        for side, frame, size in zip(sides, frames, sizes, strict=True):
            w, h = (s * scale for s in size)
            top = _TITLE + (tall - h) / 2
            ax = figure.add_axes((left / across, 1 - (top + h) / high, w / across, h / high), in_layout=False)
            ax.set(xlim=(-size[0] / 2, size[0] / 2), ylim=(-size[1] / 2, size[1] / 2), xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            painted = [(one, np.asarray(hex_rgb(colour))[None], 1.0) for one, colour, _ in inner]
            painted.append((cortex, _colours(cortex, values, moved, limit), _GLASS if inner else 1.0))
            picture = _picture(painted, middle, frame, size, scale)
            ax.imshow(
                picture, extent=(*ax.get_xlim(), *ax.get_ylim()), aspect="auto", interpolation="nearest"
            )
            _letters(ax, frame)
            ax.set_title(side if side in ("above", "below") else f"{side} side", pad=2, fontweight="normal")
            left += w + _GAP
        if not inner:
            _bar(figure, _TITLE + tall + _ABOVE_BAR, moved, limit, title, width_mm)

    return saved(draw, form, width_mm, height, note=note, layout=None)


def surface_table(cortex: Surface, values: Floats, name: str) -> pd.DataFrame:
    """Every vertex: `x_mm`, `y_mm`, `z_mm` and what it is coloured by."""
    table = pd.DataFrame(cortex.vertices, columns=["x_mm", "y_mm", "z_mm"])
    return table.assign(**{name: values})


def _frame(side: Side) -> tuple[Floats, Floats, Floats]:
    """Unit vectors to the right and up on the screen, and to the eye."""
    eye, up = (np.asarray(v, np.float32) for v in CAMERAS[side])
    return np.cross(-eye, up), up, eye


def _picture(
    painted: Sequence[tuple[Surface, Floats, float]],
    middle: Floats,
    frame: tuple[Floats, Floats, Floats],
    size: tuple[float, float],
    scale: float,
) -> NDArray[np.uint8]:
    """Meshes on black, (rows, columns, 3), as large as a panel of that size is at 300 dpi: made once, whatever forms
    the figure is saved in.

    Args:
        painted: mesh, colour of each triangle (or one), opacity; the farthest first.
        size: of the panel in mm of the brain.
        scale: paper over brain.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, high = (max(1, round(s * scale / 25.4 * DPI)) / DPI for s in size)
    figure: Any = Figure(figsize=(across, high), dpi=DPI, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-size[0] / 2, size[0] / 2), ylim=(-size[1] / 2, size[1] / 2))
    ax.axis("off")
    for mesh, colours, alpha in painted:
        _triangles(ax, mesh, middle, frame, colours, alpha)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _triangles(
    ax: Any,
    mesh: Surface,
    middle: Floats,
    frame: tuple[Floats, Floats, Floats],
    colours: Floats,
    alpha: float,
) -> None:
    """Triangles that face the eye, the nearest last."""
    from matplotlib.collections import PolyCollection

    right, up, eye = frame
    corners = (mesh.vertices - middle)[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen = np.flatnonzero(normals @ eye > 0)
    seen = seen[np.argsort((corners[seen].mean(axis=1)) @ eye)]
    lamp = eye + 0.5 * up - 0.35 * right
    light = _AMBIENT + (1 - _AMBIENT) * np.clip(normals[seen] @ (lamp / np.linalg.norm(lamp)), 0, 1)
    shaded = np.clip((colours if len(colours) == 1 else colours[seen]) * light[:, None], 0, 1)
    flat = np.stack([corners[seen] @ right, corners[seen] @ up], axis=-1)
    painted = np.column_stack([shaded, np.full(len(seen), alpha)])
    ax.add_collection(
        PolyCollection(
            flat,  # type: ignore[arg-type]  # many times faster than a list
            facecolors=painted,
            edgecolors=painted if alpha == 1 else "none",
            lw=0.15,
        )
    )


def _colours(mesh: Surface, values: Floats, moved: bool, limit: float) -> Floats:
    """Colour of every triangle, (m, 3)."""
    return _ramp(values[mesh.faces].mean(axis=1), moved, limit)


def _ramp(values: Floats, moved: bool, limit: float) -> Floats:
    share = (values + limit) / (2 * limit) if moved else values / limit
    stops = MOVED if moved else FOLDS
    rgb = np.asarray([hex_rgb(colour) for _, colour in stops])
    known = np.isfinite(share)
    at = np.clip(np.where(known, share, 0.0), 0, 1)
    out = np.stack([np.interp(at, [s for s, _ in stops], rgb[:, c]) for c in range(3)], axis=-1)
    out[~known] = hex_rgb(NOT_KNOWN)
    return out.astype(np.float32)


def _letters(ax: Any, frame: tuple[Floats, Floats, Floats]) -> None:
    """Which side of the body lies at each edge."""
    for direction, low, high in (
        (frame[0], (0.03, 0.5, "left", "center"), (0.97, 0.5, "right", "center")),
        (frame[1], (0.5, 0.02, "center", "bottom"), (0.5, 0.98, "center", "top")),
    ):
        axis = int(np.abs(direction).argmax())
        ends = ENDS[axis] if direction[axis] > 0 else ENDS[axis][::-1]
        for text, (x, y, ha, va) in zip(ends, (low, high), strict=True):
            ax.text(
                *(x, y, text), ha=ha, va=va, color=_LETTERS, fontsize=6.5, fontweight="bold", transform=ax.transAxes
            )  # fmt: skip


def _bar(figure: Any, top: float, moved: bool, limit: float, title: str, width_mm: float) -> None:
    low = -limit if moved else 0.0
    values = np.linspace(low, limit, 256, dtype=np.float32)
    places = (low, (low + limit) / 2, limit)
    ticks = [(t, f"{t:+g}".replace("-", "−") if moved and t else f"{t:g}") for t in places]
    colour_bar(figure, top, _ramp(values, moved, limit), ticks, title, width_mm)
