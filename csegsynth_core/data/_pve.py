"""Partial volumes of CSF, grey and white matter from one bias-corrected, brain-masked T1.

Three steps, all written for this project after the papers they cite:

1. `cluster_intensities` — 1-D k-means of the histogram: a start, and the GM/CSF cut for the brain hull.
2. `hidden_markov_field` — three Gaussian classes under a Markov random field, fitted by
   expectation–maximisation. Zhang, Brady & Smith 2001, IEEE Trans Med Imaging 20(1):45–57 (the model of FSL
   FAST), with mean-field responsibilities in place of iterated conditional modes (Zhang, J. 1992, IEEE Trans
   Signal Process 40(10):2570–2583).
3. `partial_volumes` — every voxel is one of five types: pure CSF, CSF+GM, pure GM, GM+WM, pure WM. In a mixed
   voxel the share of the brighter tissue is uniform on [0, 1] (Santago & Gage 1993, IEEE Trans Med Imaging
   12(3):566–574; Shattuck et al. 2001, NeuroImage 13(5):856–876). Types are smoothed by a Markov random
   field (mean-field); a voxel's shares are their posterior means over types and, within mixed ones, over
   the share, so they are not biased towards whichever type is commoner.

The parameters of the pure types come from `pure_tissue`: voxels all of whose six neighbours belong to their
own class cannot straddle a tissue border, so their median is (nearly) free of partial volume, whereas the
means of whole classes are drawn towards each other by it.

Everything here is ordered CSF, GM, WM — dark to bright on T1. Callers name the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

HMRF_BETA: Final = 1.0
"""Log-odds that one face neighbour of the same class adds (three pure classes)."""
MIXEL_BETA: Final = 1.0
"""Log-odds that one face neighbour of the same type adds; half of it for the next type along the chain
CSF, CSF+GM, GM, GM+WM, WM, because those share a tissue."""
_SHARES: Final = (np.arange(21) + 0.5) / 21
"""Quadrature nodes for the share of the brighter tissue in a mixed voxel."""
_TABLE: Final = 2048
"""Entries of the intensity look-up tables."""
_MIN_CORE_VOXELS: Final = 500
"""Fewer voxels than this inside a class: its core is not used (thin tissue on a coarse grid)."""


@dataclass(frozen=True)
class PureTissue:
    """Intensity of pure CSF, GM and WM: means and standard deviations, each of shape (3,), dark to bright."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def contrast(self) -> NDArray[np.float64]:
        """Distance of neighbouring means in units of their mean standard deviation, shape (2,)."""
        return np.diff(self.mean) / np.maximum((self.sd[1:] + self.sd[:-1]) / 2.0, 1e-12)


def cluster_intensities(values: Floats, iterations: int = 100) -> PureTissue:
    """Three clusters of `values` (1-D) by k-means on their histogram (0.5th to 99.8th percentile).

    Raises:
        ValueError: the intensities do not form three clusters.
    """
    low, high = np.percentile(values, [0.5, 99.8]) if values.size else (0.0, 0.0)
    if not high > low:
        raise ValueError("all intensities are equal")
    counts, edges = np.histogram(values, 512, (float(low), float(high)))
    centres = (edges[1:] + edges[:-1]) / 2.0
    mean = np.percentile(values, [8.0, 50.0, 90.0])
    sd = np.zeros(3)
    for _ in range(iterations):
        nearest = np.abs(centres[:, None] - mean).argmin(axis=1)
        weight = np.stack([np.where(nearest == k, counts, 0) for k in range(3)]).astype(float)
        total = weight.sum(axis=1)
        if (total == 0).any():
            raise ValueError("fewer than three intensity clusters")
        moved = (weight @ centres) / total
        sd = np.sqrt((weight * (centres - moved[:, None]) ** 2).sum(axis=1) / total)
        if np.allclose(moved, mean, rtol=0, atol=1e-6 * (high - low)):
            break
        mean = moved
    return PureTissue(np.asarray(mean, float), np.maximum(sd, (high - low) / 512))


def _neighbour_weights(spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of a face neighbour along each axis: inverse distance, mean 1."""
    weight = 1.0 / np.asarray(spacing_mm, float)
    return weight / weight.mean()


def _neighbour_sum(field: Floats, weights: NDArray[np.float64]) -> Floats:
    """Weighted sum of `field` (i, j, k) over the six face neighbours (nothing beyond the edge)."""
    out = np.zeros_like(field)
    for axis, weight in enumerate(weights):
        near, far = [slice(None)] * 3, [slice(None)] * 3
        near[axis], far[axis] = slice(1, None), slice(None, -1)
        w = np.float32(weight)
        out[tuple(near)] += w * field[tuple(far)]
        out[tuple(far)] += w * field[tuple(near)]
    return out


def _softmax(log: Floats) -> Floats:
    """Normalised exponentials over the first axis, in place."""
    log -= log.max(axis=0)
    np.exp(log, out=log)
    log /= log.sum(axis=0)
    return log


def hidden_markov_field(
    image: Floats,
    mask: Mask,
    spacing_mm: NDArray[np.float64],
    *,
    start: PureTissue | None = None,
    beta: float = HMRF_BETA,
    iterations: int = 10,
) -> tuple[NDArray[np.int8], PureTissue]:
    """Three Gaussian classes under a Markov random field, by expectation–maximisation (Zhang 2001).

    Args:
        image: bias-corrected T1, shape (i, j, k).
        mask: voxels to classify, shape (i, j, k).
        spacing_mm: edges of a voxel in mm, shape (3,).
        start: first means and standard deviations; from `cluster_intensities` if not given.
        beta: log-odds per agreeing face neighbour.
        iterations: of expectation–maximisation.

    Returns:
        Classes of shape (i, j, k): −1 outside, 0 CSF, 1 GM, 2 WM; and the classes' means and deviations.

    Raises:
        ValueError: the intensities do not form three classes.
    """
    values = image[mask].astype(np.float32)
    start = start or cluster_intensities(values)
    mean, sd = start.mean, start.sd
    floor = float(mean[2] - mean[0]) / 100.0
    weights = _neighbour_weights(spacing_mm)
    field = np.zeros((3, *image.shape), np.float32)
    share = np.empty((3, values.size), np.float32)
    for step in range(iterations):
        for k in range(3):
            share[k] = -0.5 * ((values - np.float32(mean[k])) / np.float32(sd[k])) ** 2 - np.float32(
                np.log(sd[k])
            )
            if step:
                share[k] += np.float32(beta) * _neighbour_sum(field[k], weights)[mask]
        _softmax(share)
        for k in range(3):
            field[k][mask] = share[k]
        total = share.sum(axis=1, dtype=np.float64)
        if (total < 1.0).any():
            raise ValueError("a tissue class became empty")
        mean = (share * values).sum(axis=1, dtype=np.float64) / total
        spread = (values - mean[:, None].astype(np.float32)) ** 2
        sd = np.maximum(np.sqrt((share * spread).sum(axis=1, dtype=np.float64) / total), floor)
    if not (np.diff(mean) > 0).all():
        raise ValueError("the tissue classes changed places")
    classes = np.full(image.shape, -1, np.int8)
    classes[mask] = share.argmax(axis=0)
    return classes, PureTissue(mean, sd)


def pure_tissue(image: Floats, classes: NDArray[np.int8], fallback: PureTissue) -> PureTissue:
    """Intensity of pure tissue: median and scaled median deviation over each class's core.

    A core voxel has six face neighbours of its own class. A class with fewer than 500 of them (thin cortex on
    a coarse grid) keeps `fallback`, as do all if the medians are not in order.
    """
    mean, sd = fallback.mean.copy(), fallback.sd.copy()
    for k in range(3):
        core = image[ndimage.binary_erosion(classes == k)]
        if core.size >= _MIN_CORE_VOXELS:
            mean[k] = np.median(core)
            sd[k] = 1.4826 * np.median(np.abs(core - mean[k]))
    if not (np.diff(mean) > 0).all():
        return fallback
    return PureTissue(mean, np.maximum(sd, (mean[2] - mean[0]) / 100.0))


def _mixel_tables(
    grid: NDArray[np.float64], pure: PureTissue
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-likelihood of the five types, shape (5, n), and mean share of the brighter tissue in the two mixed
    ones, shape (2, n), at the intensities `grid` of shape (n,). Shattuck 2001, equations 7 and 8."""

    def log_normal(mean: float, variance: float) -> NDArray[np.float64]:
        return -0.5 * ((grid - mean) ** 2 / variance + np.log(2.0 * np.pi * variance))

    log, share = np.empty((5, grid.size)), np.empty((2, grid.size))
    for k in range(3):
        log[2 * k] = log_normal(pure.mean[k], pure.sd[k] ** 2)
    for j in range(2):
        (m0, m1), (v0, v1) = pure.mean[j : j + 2], pure.sd[j : j + 2] ** 2
        parts = np.stack([log_normal((1 - f) * m0 + f * m1, (1 - f) * v0 + f * v1) for f in _SHARES])
        top = parts.max(axis=0)
        weight = np.exp(parts - top)
        log[2 * j + 1] = top + np.log(weight.mean(axis=0))
        share[j] = (weight * _SHARES[:, None]).sum(axis=0) / weight.sum(axis=0)
    return log, share


def partial_volumes(
    image: Floats,
    mask: Mask,
    pure: PureTissue,
    spacing_mm: NDArray[np.float64],
    *,
    beta: float = MIXEL_BETA,
    iterations: int = 6,
) -> Floats:
    """Shares of CSF, GM and WM in every voxel, shape (3, i, j, k), 0 outside `mask`, summing to 1 within.

    All five types have the same prior: with a free one, the broad CSF+GM type swallows pure CSF.

    Args:
        image: bias-corrected T1, shape (i, j, k).
        mask: brain, shape (i, j, k).
        pure: intensity of the pure tissues.
        spacing_mm: edges of a voxel in mm, shape (3,).
        beta: log-odds per agreeing face neighbour.
        iterations: of the mean-field update.
    """
    values = np.clip(image[mask], pure.mean[0] - 4 * pure.sd[0], pure.mean[2] + 4 * pure.sd[2])
    grid = np.linspace(float(values.min()), float(values.max()) + 1e-6, _TABLE)
    log, share = _mixel_tables(grid, pure)
    entry = np.rint((values - grid[0]) / (grid[1] - grid[0])).astype(np.int64).clip(0, _TABLE - 1)
    likelihood = log.astype(np.float32)[:, entry]
    weights = _neighbour_weights(spacing_mm)
    field = np.zeros((5, *image.shape), np.float32)
    belief = _softmax(likelihood.copy())
    for _ in range(iterations):
        for t in range(5):
            field[t][mask] = belief[t]
        support = np.stack([_neighbour_sum(field[t], weights)[mask] for t in range(5)])
        belief = likelihood + np.float32(beta) * support
        belief[1:] += np.float32(beta / 2) * support[:-1]
        belief[:-1] += np.float32(beta / 2) * support[1:]
        _softmax(belief)
    low, high = share.astype(np.float32)[:, entry]
    csf = belief[0] + belief[1] * (1 - low)
    wm = belief[4] + belief[3] * high
    out = np.zeros((3, *image.shape), np.float32)
    out[0][mask], out[1][mask], out[2][mask] = csf, np.maximum(1 - csf - wm, 0), wm
    return out
