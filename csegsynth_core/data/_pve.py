"""Partial volumes of CSF, grey and white matter from one bias-corrected, brain-masked T1.

Three steps, all written for this project after the papers they cite:

1. `cluster_intensities` — best split of the histogram in three: a start, and the GM/CSF cut for the hull.
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
BIAS_FWHM_MM: Final = 20.0
"""Full width at half maximum in mm of the low-pass of the residual bias field: FAST's default."""
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


def cluster_intensities(values: Floats) -> PureTissue:
    """Three clusters of `values` (1-D): the split of their histogram with the least variance within clusters.

    The histogram runs from the 0.5th to the 99.8th percentile. The best split is found exactly (Otsu 1979,
    IEEE Trans Syst Man Cybern 9(1):62–66), so that no start can mislead it.

    Raises:
        ValueError: the intensities do not form three clusters.
    """
    low, high = np.percentile(values, [0.5, 99.8]) if values.size else (0.0, 0.0)
    if not high > low:
        raise ValueError("all intensities are equal")
    counts, edges = np.histogram(values, 256, (float(low), float(high)))
    centres = (edges[1:] + edges[:-1]) / 2.0
    count, first, second = (np.append(0.0, np.cumsum(counts * centres**p)) for p in (0, 1, 2))

    def score(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared sum over count of the bins from `start` to before `stop`: larger is tighter."""
        n, total = count[stop] - count[start], first[stop] - first[start]
        return np.where(n > 0, total**2 / np.maximum(n, 1), -np.inf)

    cut_a, cut_b = np.triu_indices(centres.size, k=1)
    cut_a, cut_b = cut_a[cut_a > 0], cut_b[cut_a > 0]
    scores = score(np.zeros_like(cut_a), cut_a) + score(cut_a, cut_b)
    scores += score(cut_b, np.full_like(cut_b, centres.size))
    best = int(scores.argmax())
    if not np.isfinite(scores[best]):
        raise ValueError("fewer than three intensity clusters")
    bounds = np.array([0, cut_a[best], cut_b[best], centres.size])
    n = np.diff(count[bounds])
    mean = np.diff(first[bounds]) / n
    sd = np.sqrt(np.maximum(np.diff(second[bounds]) / n - mean**2, 0))
    return PureTissue(mean, np.maximum(sd, (high - low) / 256))


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


def _residual_log_bias(
    image: Floats,
    mask: Mask,
    expected: Floats,
    precision: Floats,
    spacing_mm: NDArray[np.float64],
) -> Floats:
    """Smooth log ratio of `image` to the intensity its class leads one to expect, shape (i, j, k).

    Precision-weighted residuals of the masked voxels, gathered in blocks of about 4 mm and low-passed with a
    Gaussian (Zhang 2001, equation 26; FAST's 20 mm). Mean 0 over the mask.
    """
    residual = np.log(np.maximum(image[mask], np.float32(1e-6))) - np.log(expected)
    factors = [max(1, round(4.0 / float(s))) for s in spacing_mm]
    shape = [-(-n // f) for n, f in zip(image.shape, factors, strict=True)]
    cell = np.ravel_multi_index(
        tuple(i // f for i, f in zip(np.nonzero(mask), factors, strict=True)), tuple(shape)
    )
    size = int(np.prod(shape))
    top = np.bincount(cell, residual * precision, size).reshape(shape)
    bottom = np.bincount(cell, precision, size).reshape(shape)
    sigma = [BIAS_FWHM_MM / 2.3548 / (float(s) * f) for s, f in zip(spacing_mm, factors, strict=True)]
    top, bottom = ndimage.gaussian_filter(top, sigma), ndimage.gaussian_filter(bottom, sigma)
    coarse = (top / (bottom + 1e-6 * bottom.max())).astype(np.float32)
    scale = 1.0 / np.asarray(factors, float)
    field = ndimage.affine_transform(
        coarse, scale, (scale - 1.0) / 2.0, output_shape=image.shape, order=1, mode="nearest"
    )
    return field - field[mask].mean()


def hidden_markov_field(
    image: Floats,
    mask: Mask,
    spacing_mm: NDArray[np.float64],
    *,
    start: PureTissue | None = None,
    beta: float = HMRF_BETA,
    iterations: int = 10,
) -> tuple[NDArray[np.int8], PureTissue, Floats]:
    """Three Gaussian classes under a Markov random field, by expectation–maximisation (Zhang 2001).

    Like FAST it re-estimates a smooth bias field on the way: N4, which knows no tissues, leaves cortex at the
    poles and under surface coils a little too dark or bright, which moves the GM/CSF border.

    Args:
        image: bias-corrected T1, shape (i, j, k).
        mask: voxels to classify, shape (i, j, k).
        spacing_mm: edges of a voxel in mm, shape (3,).
        start: first means and standard deviations; from `cluster_intensities` if not given.
        beta: log-odds per agreeing face neighbour.
        iterations: of expectation–maximisation.

    Returns:
        Classes of shape (i, j, k): −1 outside, 0 CSF, 1 GM, 2 WM; the classes' means and deviations; and the
        image without its residual bias, shape (i, j, k).

    Raises:
        ValueError: the intensities do not form three classes.
    """
    values = image[mask].astype(np.float32)
    start = start or cluster_intensities(values)
    mean, sd = start.mean, start.sd
    floor = float(mean[2] - mean[0]) / 100.0
    corrected = image
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
        if 0 < step < iterations - 1 and mean[0] > 0:
            weight = np.einsum("kn,k->n", share, (mean / sd) ** 2).astype(np.float32)
            expected = np.exp(np.einsum("kn,k->n", share, np.log(mean))).astype(np.float32)
            field_log = _residual_log_bias(image, mask, expected, weight, spacing_mm)
            corrected = image * np.exp(-field_log)
            values = corrected[mask]
    if not (np.diff(mean) > 0).all():
        raise ValueError("the tissue classes changed places")
    classes = np.full(image.shape, -1, np.int8)
    classes[mask] = share.argmax(axis=0)
    return classes, PureTissue(mean, sd), corrected


def pure_tissue(image: Floats, classes: NDArray[np.int8], fallback: PureTissue) -> PureTissue:
    """Intensity of pure tissue: each class's median and scaled median deviation over its core.

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
