"""The one grid that every map lives on: 80×128×128 voxels of 2 mm, RAS+, ICBM152 axes.

World coordinates are those of ICBM152 (millimetres, R/A/S positive). The grid is centred on the
ICBM152 brain; its first axis is symmetric about the mid-sagittal plane (x = 0 mm lies between
voxels 39 and 40), so that flipping the array along axis 0 mirrors left and right exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SHAPE: Final[tuple[int, int, int]] = (80, 128, 128)
"""Voxels along x (left→right), y (posterior→anterior), z (inferior→superior)."""

VOXEL_MM: Final[float] = 2.0
"""Edge of a voxel in mm."""

VOXEL_ML: Final[float] = VOXEL_MM**3 / 1000.0
"""Volume of one voxel in mL (0.008)."""

CENTRE_MM: Final[tuple[float, float, float]] = (0.0, -18.0, 4.0)
"""World position in mm of the centre of the grid (the centre of the ICBM152 brain)."""

SPACE: Final[str] = "ICBM152Rigid2mm"
"""BIDS `space-` entity: rigidly aligned to ICBM152 axes, never scaled."""

REFERENCE: Final[str] = (
    "Axes and origin of the ICBM152 2009 nonlinear symmetric average (RAS+, mm), voxels of 2 mm. "
    "Rigid alignment alone: brains keep their own size and shape, nothing is scaled or warped to the template."
)
"""BIDS `SpatialReference` of every map, since `SPACE` is none of BIDS's own."""

BOX: Final[tuple[slice, slice, slice]] = (slice(0, 80), slice(12, 116), slice(24, 104))
"""The part of the grid that brains occupy (80×104×80 voxels); outside it all is background."""


def affine() -> NDArray[np.float64]:
    """Voxel-to-world affine of the grid, shape (4, 4), mm."""
    out = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    half = (np.asarray(SHAPE, float) - 1.0) / 2.0
    out[:3, 3] = np.asarray(CENTRE_MM) - VOXEL_MM * half
    return out


def voxel_to_mm(ijk: NDArray[np.float64] | tuple[float, float, float]) -> NDArray[np.float64]:
    """World position in mm of voxel index `ijk`, shape (…, 3)."""
    matrix = affine()
    return np.asarray(ijk, float) @ matrix[:3, :3].T + matrix[:3, 3]


def mm_to_voxel(xyz: NDArray[np.float64] | tuple[float, float, float]) -> NDArray[np.int64]:
    """Index of the voxel nearest to world position `xyz` in mm, clipped to the grid, shape (…, 3)."""
    matrix = affine()
    index = (np.asarray(xyz, float) - matrix[:3, 3]) / VOXEL_MM
    return np.clip(np.rint(index), 0, np.asarray(SHAPE) - 1).astype(np.int64)
