"""T1 with anatomical labels to partial-volume maps: labels as spatial prior, intensities as likelihood.

Every voxel is taken to hold at most two tissues (the "mixel" model of Choi et al. 1991 and Santago & Gage
1993, which FSL FAST also uses for its partial volumes). If p_k is the share of tissue k among the labels
around a voxel, the voxel is pure k with prior probability p_k² and a mixture of a and b with 2 p_a p_b: two
independent looks at the neighbourhood. A mixture's fraction f has a Gaussian prior around p_a / (p_a + p_b).
The intensity is Normal about the mixture of the local class means, whose slow change over the brain
follows what is left of the bias field and the lighter grey of deep nuclei. The map is the posterior mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from csegsynth_core.data.align import Rigid, align, resample
from csegsynth_core.data.nifti import Volume
from csegsynth_core.errors import ImageError
from csegsynth_core.tissue import TISSUES

PRIOR_SIGMA_MM = 0.7
"""Blur of the labels, mm: a third of a 2 mm voxel of doubt about where their border runs."""
BIAS_DEGREE = 4
"""Total degree of the bias field's polynomials."""
FRACTION_SD = 0.25
"""Standard deviation of a mixture's fraction about the labels' share."""
LOCAL_MEAN_SIGMA_MM = 16.0
"""Reach of the local class means, mm."""
_STEPS = np.linspace(0.05, 0.95, 10, dtype=np.float32)


@dataclass(frozen=True)
class LabelledMaps:
    """Tissue maps and T1 on a grid `factor` times as fine as ours, and labels."""

    maps: NDArray[np.float32]
    """(3, i, j, k) in the order of `TISSUES`; what is missing from 1 is background."""
    t1: NDArray[np.float32]
    labels: NDArray[np.int32]
    """Anatomical labels on our grid (not the finer one)."""
    rigid: Rigid
    factor: int


def correct_bias(volume: Volume, hard: NDArray[np.uint8]) -> Volume:
    """Remove the slow intensity change over a T1, knowing which tissue each voxel is.

    Least squares of log-intensity on one mean per tissue and Legendre polynomials of the position up to
    total degree `BIAS_DEGREE`, over voxels well inside a label, refitted once without outliers. With labels
    at hand this has one well-posed solution, where N4 has to guess the tissues from the histogram.

    Args:
        volume: T1, positive inside the brain.
        hard: tissue of each voxel, 0 outside, else 1 + its place in `TISSUES`; same shape.

    Raises:
        ImageError: too few voxels to fit.
    """
    core = np.zeros(hard.shape, bool)
    for k in range(len(TISSUES)):
        core |= binary_erosion(hard == k + 1)
    core &= volume.data > 0
    if int(core.sum()) < 2000:
        raise ImageError(
            "too few labelled voxels with signal", expected="2000 or more", got=str(int(core.sum()))
        )
    where = np.argwhere(hard > 0)
    low, high = where.min(axis=0), where.max(axis=0)

    def basis(index: NDArray[np.int64]) -> NDArray[np.float64]:
        unit = 2.0 * (index - low) / np.maximum(high - low, 1) - 1.0
        powers = [legvander(unit[:, d], BIAS_DEGREE) for d in range(3)]
        columns = [
            powers[0][:, i] * powers[1][:, j] * powers[2][:, k]
            for i in range(BIAS_DEGREE + 1)
            for j in range(BIAS_DEGREE + 1 - i)
            for k in range(BIAS_DEGREE + 1 - i - j)
            if i + j + k > 0
        ]
        return np.stack(columns, axis=1)

    index = np.argwhere(core)
    tissue = hard[core].astype(int) - 1
    present = np.unique(tissue)
    onehot = (tissue[:, None] == present[None, :]).astype(float)
    design = np.concatenate([onehot, basis(index)], axis=1)
    target = np.log(volume.data[core].astype(float))
    keep = np.ones(len(target), bool)
    for _ in range(2):
        solution, *_ = np.linalg.lstsq(design[keep], target[keep], rcond=None)
        residual = target - design @ solution
        spread = 1.4826 * np.median(np.abs(residual[keep]))
        keep = np.abs(residual) < 2.5 * spread
    field = np.zeros(hard.shape, np.float32)
    field[hard > 0] = basis(where) @ solution[len(present) :]
    return Volume((volume.data / np.exp(field)).astype(np.float32), volume.affine)


def segment_with_labels(
    t1: Volume, labels: Volume, tissue_of: dict[int, str], *, threads: int = 1
) -> LabelledMaps:
    """Partial-volume maps, aligned to ICBM152 axes, from a T1 and anatomical labels on the same grid.

    Args:
        t1: T1-weighted image, masked or not.
        labels: integer labels, 0 outside the skull cavity.
        tissue_of: tissue name of each label; labels not listed count as outside.
        threads: how many threads ITK may use.

    Raises:
        ImageError: the two images lie on different grids, or the labels cover no brain.
        PipelineError: alignment failed.
    """
    if t1.data.shape != labels.data.shape or not np.allclose(t1.affine, labels.affine, atol=1e-2):
        raise ImageError(
            "T1 and labels lie on different grids",
            expected=f"labels of shape {t1.data.shape} with the T1's affine",
            got=f"shape {labels.data.shape}",
            fix="resample the labels onto the T1 with nearest-neighbour interpolation",
        )
    whole = np.rint(labels.data).astype(np.int32)
    if float(np.abs(labels.data - whole).max()) > 0.01 or int(whole.min()) < 0:
        raise ImageError(
            "the label image does not hold labels",
            expected="whole numbers, 0 or above",
            got=f"values such as {float(labels.data.flat[np.abs(labels.data - whole).argmax()]):.3g}"
            f" and a minimum of {float(labels.data.min()):.3g}",
            fix="resample labels with nearest-neighbour interpolation only",
        )
    lookup = np.zeros(max(int(whole.max()), *tissue_of) + 1, np.uint8)
    for value, name in tissue_of.items():
        lookup[value] = TISSUES.index(name) + 1
    hard = lookup[whole]
    inside = hard > 0
    brain_ml = float(inside.sum()) * labels.voxel_ml
    if not 400.0 < brain_ml < 2500.0:
        raise ImageError(
            "labels do not cover a brain",
            expected="400 to 2500 mL of labelled voxels",
            got=f"{brain_ml:.0f} mL",
            fix="check that dseg.tsv lists the labels used in the image",
        )
    corrected = correct_bias(t1, hard)
    brain = Volume(corrected.data * inside, t1.affine)
    rigid = align(brain, threads=threads)
    factor = 2 if float(t1.spacing_mm.min()) < 1.5 else 1
    intensity = resample(corrected, rigid, factor=factor, order=3)
    shares = np.stack(
        [
            resample(Volume((hard == k + 1).astype(np.float32), t1.affine), rigid, factor=factor)
            for k in range(len(TISSUES))
        ]
    )
    aligned = resample(Volume(whole.astype(np.float32), t1.affine), rigid, labels=True)
    maps = partial_volumes(intensity, shares, spacing_mm=2.0 / factor)
    return LabelledMaps(maps, intensity * (shares.sum(0) > 0.5), aligned.astype(np.int32), rigid, factor)


def partial_volumes(
    intensity: NDArray[np.float32], shares: NDArray[np.float32], *, spacing_mm: float
) -> NDArray[np.float32]:
    """Posterior mean tissue fractions, shape (3, i, j, k).

    Args:
        intensity: bias-corrected T1, shape (i, j, k).
        shares: share of each tissue's labels in each voxel, shape (3, i, j, k), sum ≤ 1; what is missing
            from 1 is background and stays so.
        spacing_mm: edge of a voxel in mm.
    """
    full_shape = intensity.shape
    box = _bounding_box(shares.sum(axis=0) > 1e-3)
    intensity, shares = intensity[box], shares[(slice(None), *box)]
    support = np.clip(shares.sum(axis=0), 0.0, 1.0)
    brain = support > 1e-3
    prior = np.stack([gaussian_filter(s, PRIOR_SIGMA_MM / spacing_mm) for s in shares])
    prior /= np.maximum(prior.sum(axis=0), 1e-6)
    value = intensity[brain]
    share = prior[:, brain]
    weights = np.where(share > 0.85, share**2, 0.0) * (support[brain] > 0.99)
    for _ in range(2):
        means, sd = _class_statistics(intensity, brain, weights, spacing_mm)
        fractions, pure = _posterior(value, share, means, sd)
        weights = np.where(pure > 0.8, pure, 0.0) * (support[brain] > 0.99)
    inner = np.zeros(shares.shape, np.float32)
    inner[:, brain] = fractions * support[brain]
    out = np.zeros((len(TISSUES), *full_shape), np.float32)
    out[(slice(None), *box)] = inner
    return out


def _bounding_box(mask: NDArray[np.bool_], pad: int = 2) -> tuple[slice, slice, slice]:
    where = np.argwhere(mask)
    low = np.maximum(where.min(axis=0) - pad, 0)
    high = np.minimum(where.max(axis=0) + pad + 1, mask.shape)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _class_statistics(
    intensity: NDArray[np.float32], brain: NDArray[np.bool_], weights: NDArray[np.float32], spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Local mean (3, n) and overall standard deviation (3,) of each tissue's pure voxels."""
    means, deviations = [], []
    sigma = LOCAL_MEAN_SIGMA_MM / spacing_mm
    for weight in weights:
        dense = np.zeros(intensity.shape, np.float32)
        dense[brain] = weight
        value = intensity[brain]
        overall = float((weight * value).sum() / max(float(weight.sum()), 1e-6))
        near = gaussian_filter(dense, sigma)
        local = gaussian_filter(dense * intensity, sigma)
        # The overall mean counts as a few voxels' worth of evidence, so that it rules where a tissue is rare.
        faith = 0.02
        mean = (local + faith * overall) / (near + faith)
        residual = value - mean[brain]
        spread = np.sqrt((weight * residual**2).sum() / max(float(weight.sum()), 1e-6))
        means.append(mean[brain])
        deviations.append(max(float(spread), 1e-3 * max(abs(overall), 1.0)))
    return np.stack(means), np.asarray(deviations, np.float32)


def _posterior(
    value: NDArray[np.float32],
    share: NDArray[np.float32],
    means: NDArray[np.float32],
    sd: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Posterior mean fractions (3, n) and probability of being pure (3, n)."""
    total = np.zeros(value.shape, np.float32)
    fractions = np.zeros(share.shape, np.float32)
    pure = np.zeros(share.shape, np.float32)

    def likelihood(mean: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
        # A floor, so that a vessel or artefact far from every class falls back on its prior.
        return np.exp(-0.5 * ((value - mean) / deviation) ** 2) / deviation + 1e-4 / deviation

    for k in range(len(TISSUES)):
        mass = share[k] ** 2 * likelihood(means[k], float(sd[k]))
        total += mass
        fractions[k] += mass
        pure[k] = mass
    for a in range(len(TISSUES)):
        for b in range(a + 1, len(TISSUES)):
            both = 2.0 * share[a] * share[b]
            centre = share[a] / np.maximum(share[a] + share[b], 1e-6)
            prior = [np.exp(-0.5 * ((f - centre) / FRACTION_SD) ** 2) for f in _STEPS]
            norm = np.maximum(np.sum(prior, axis=0), 1e-6)
            for f, weight in zip(_STEPS, prior, strict=True):
                deviation = float(np.sqrt(f * sd[a] ** 2 + (1 - f) * sd[b] ** 2))
                mass = both * weight / norm * likelihood(f * means[a] + (1 - f) * means[b], deviation)
                total += mass
                fractions[a] += f * mass
                fractions[b] += (1 - f) * mass
    total = np.maximum(total, 1e-12)
    return fractions / total, pure / total
