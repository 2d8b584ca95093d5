"""What image decoders are known to leave behind: patterns that repeat every few voxels, and a brain of unlike halves.

Transposed and strided convolutions draw checkerboards that repeat every two or four voxels (Odena et al. 2016,
doi:10.23915/distill.00003): the energy of generated maps at these periods, over that of real maps, shows them. Left
and right are told apart by the middle of the grid (x = 0 mm): the index |L − R|/(L + R) of a tissue's volume is
small in real people, and one-sided brains have a large one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from csegsynth_core import grid, metrics
from csegsynth_core.tissue import TISSUES
from train.images import Floats, Packed, jackknife

PERIODS: Final = (2, 4)
"""Voxels after which a pattern repeats; the first is the Nyquist frequency."""
AXES: Final = ("x", "y", "z")


def energies(maps: Packed) -> Floats:
    """Energy of every brain's tissue maps at each of `PERIODS` along each axis, summed over lines and tissues.

    Args:
        maps: (n, 3, i, j, k), 255 for 1; sizes are multiples of 4, or a constant would count as a pattern.

    Returns:
        (n, axes, periods), squares of the discrete Fourier transform's coefficients along the axis.
    """
    out = np.zeros((len(maps), len(AXES), len(PERIODS)))
    for row, one in enumerate(maps):
        fractions = one.astype(np.float32) / 255.0
        for axis in range(len(AXES)):
            waves = _waves(fractions.shape[axis + 1])
            found = np.square(np.tensordot(waves, fractions, axes=(1, axis + 1))).reshape(len(PERIODS), -1)
            out[row, axis] = found.sum(axis=1, dtype=np.float64)
    return out


def _waves(size: int) -> Floats:
    """Cosine and sine of each period, (2 · periods, size)."""
    turns = 2.0 * np.pi * np.arange(size) / np.asarray(PERIODS)[:, None]
    return np.stack([np.cos(turns), np.sin(turns)], axis=1).reshape(-1, size).astype(np.float32)


def spectrum(made: Floats, real: Floats) -> dict[str, Any]:
    """Mean energy of generated over that of real brains of the same people, `energies` of both.

    Returns:
        `x_2_voxels`, `x_4_voxels`, `y_2_voxels`, … → `{"value", "low", "high"}`, 95 % bootstrap intervals over
        people.
    """
    return {
        f"{axis}_{period}_voxels": metrics.ratio_of_errors(made[:, a, p], real[:, a, p], np.zeros(len(made)))
        for a, axis in enumerate(AXES)
        for p, period in enumerate(PERIODS)
    }


def asymmetry(maps: Packed) -> dict[str, Any]:
    """Mean over people of |L − R|/(L + R) of each tissue's volume, 0 for alike halves and 1 for a single one.

    Args:
        maps: (n, 3, 80, j, k) inside `grid.BOX`, whose first axis is symmetric about x = 0 mm.

    Returns:
        Tissue → `{"value", "low", "high"}`, 95 % jackknife intervals over people.
    """
    middle = grid.SHAPE[0] // 2 - grid.BOX[0].start
    left, right = (half.sum(axis=(2, 3, 4), dtype=np.float64) for half in np.split(maps, [middle], axis=2))
    index = np.abs(left - right) / np.maximum(left + right, 1.0)
    keeps = [np.delete(np.arange(len(index)), n) for n in range(len(index))]
    return {
        t: jackknife(lambda rows, own=index[:, k]: float(own[rows].mean()), len(index), keeps)  # type: ignore[misc]
        for k, t in enumerate(TISSUES)
    }
