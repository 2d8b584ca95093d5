"""Outlines of a brain's tissues on a slice: where a cumulated fraction crosses one half."""

from __future__ import annotations

from typing import Final

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from csegsynth_core.tissue import ALL, index

OUTLINES: Final[dict[str, tuple[str, ...]]] = {"wm": ("wm",), "gm": ("wm", "gm"), "csf": ("wm", "gm", "csf")}
"""Outline → the tissues inside it: WM, then the pial surface and the ventricles' walls, then all CSF."""
OUTLINE_NAMES: Final = {"wm": "WM boundary", "gm": "pial and ventricular boundary", "csf": "outer CSF"}
LINE_COLOURS: Final = {t.name: t.colour for t in ALL} | {"csf": "#56A8E8"}
"""Colours of lines; CSF's is lighter than its area colour, to be seen on dark grey."""

LEVEL: Final = 0.5


def tissue_outline(
    cut: NDArray[np.float32], outline: str, x: NDArray[np.floating], y: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lines at which the fraction of what is inside an outline is one half.

    Args:
        cut: fractions of one slice, (3, rows, columns), channels in the order of `tissue.TISSUES`.
        outline: one of `OUTLINES`.
        x: position of every column, mm.
        y: position of every row, mm.

    Returns:
        x and y of the lines' points, mm, to 0.1 mm; NaN between lines.
    """
    inside = np.asarray(cut[[index(t) for t in OUTLINES[outline]]].sum(axis=0), float)
    found = contour_generator(x=x, y=y, z=inside, line_type=LineType.ChunkCombinedNan).lines(LEVEL)
    points = found[0][0]
    if points is None:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    return points[:, 0].round(1).astype(np.float32), points[:, 1].round(1).astype(np.float32)
