"""Parts of a brain read off its tissue maps."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt

from csegsynth_core import grid
from csegsynth_core.tissue import index

DEEP_MM: Final = 24.0
"""CSF at least this far below the brain's surface is counted as ventricular."""


def deep_csf_ml(maps: NDArray[np.float32]) -> float:
    """Volume in mL of CSF deep inside the brain: lateral and third ventricles, nearly.

    The surface is that of the filled brain (fractions summing to more than a half), so that sulci do not
    count as outside.

    Args:
        maps: (3, i, j, k) fractions at 2 mm in the order of `TISSUES`.
    """
    brain = maps[:3].sum(axis=0) > 0.5
    filled = binary_fill_holes(binary_closing(np.pad(brain, 4), iterations=3))[4:-4, 4:-4, 4:-4]
    depth = distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1, 1:-1] * grid.VOXEL_MM
    return float(maps[index("csf")][depth >= DEEP_MM].sum(dtype=np.float64) * grid.VOXEL_ML)
