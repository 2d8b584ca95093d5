"""Volumes of tissue maps: the sum of fractions times the volume of a voxel."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.tissue import TISSUES


def volumes_ml(x: Float[Tensor, "n c i j k"], resolution: int = 1) -> Float[Tensor, "n c"]:
    """Volume in mL of every channel; differentiable (paper, section II-C: 8 mm³ times the sum).

    Args:
        x: fractions of voxels of 2 mm.
        resolution: 2 when `x` holds every second voxel along each axis, each standing for eight.
    """
    return x.sum(dim=(2, 3, 4)) * (grid.VOXEL_ML * resolution**3)


def volume_table(maps: NDArray[np.float32]) -> dict[str, float]:
    """Volumes in mL by tissue name of maps of shape (≥ 3, i, j, k) at 2 mm."""
    return {t: float(maps[k].sum(dtype=np.float64) * grid.VOXEL_ML) for k, t in enumerate(TISSUES)}
