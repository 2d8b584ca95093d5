"""Table I of the paper: how generated maps, as a set of images, compare with real ones, beside a floor.

MMD is MONAI's without a feature mapping, as in the paper: a linear kernel, which compares means alone (here per
voxel); `mmd_rbf` has a Gaussian kernel whose width is the median distance (Gretton et al. 2012). FID (Heusel et al.
2017) is of features averaged over the volume (`fid_3d`), or over every slice of the three planes (`fid_2d`, their
mean), see `train.extractors`. |ΔSSIM| is the absolute difference of the mean structural similarity (Wang et al.
2004) of 500 pairs of generated and of the same pairs of real people, over the whole grid as in the paper.

Generated fractions are rounded to 1/255, as prepared ones are. Intervals are 95 %, by the jackknife over people
(Efron and Tibshirani 1993): resampling with repetition, as the bootstrap does, would make any set look less diverse.
Those of FID are worked out for its root, those of |ΔSSIM| for the difference with its sign: none reaches below 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.tissue import TISSUES
from train.extractors import PLANES, Features

PAIRS = 500
"""Pairs of brains for |ΔSSIM|, as in the paper; fewer where fewer people make fewer pairs."""
FLOORS = 10
"""Random choices of other real people that a floor is averaged over."""
POOL = 3
"""Times as many other people as are compared, at most, from whom they are chosen."""
WINDOW: Final = 7
"""Voxels along each edge of SSIM's window, which is put at every second voxel."""
GROUPS: Final = 30
"""Most groups of people that the jackknife leaves out in turn."""
BIASED: Final = ("fid_2d", "fid_3d")
"""Metrics whose bias is in proportion to 1/people (Chong and Forsyth 2020, arXiv:1911.07023): of two sets of one
population they are nothing else."""
_WIDEST: Final = 256
"""Widest features whose FID is repeated for an interval."""

Packed = NDArray[np.uint8]
"""Maps of people, (n, 3, 80, 104, 80) inside `grid.BOX`, 255 = 1.0."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Described:
    """A set of brains with what the comparisons need of it."""

    maps: Packed
    features: list[dict[str, Tensor]]
    """By tissue: `volume` (n, 1, width), and (n, slices, width) of each plane."""
    ssim: dict[tuple[int, int], Floats] = field(default_factory=dict)
    """By tissue and number of pairs, filled when asked for."""

    def similarity(self, tissue: int, pairs: NDArray[np.int64]) -> Floats:
        """`ssim_of_pairs` of one tissue, worked out once."""
        key = (tissue, len(pairs))
        if key not in self.ssim:
            self.ssim[key] = ssim_of_pairs(self.maps[:, tissue], pairs)
        return self.ssim[key]

    def some(self, rows: NDArray[np.int64]) -> Described:
        """Some of the brains."""
        return Described(self.maps[rows], [{k: v[rows] for k, v in by.items()} for by in self.features])

    def __len__(self) -> int:
        return len(self.maps)


def packed_of(cohort: Cohort, ids: Sequence[str]) -> Packed:
    """Real people's maps."""
    rows = [cohort.ids.index(i) for i in ids]
    if cohort.box == grid.BOX:
        return np.stack([np.asarray(cohort.packed[r]) for r in rows])
    return np.stack([pack_maps(cohort.maps(r)[(slice(None), *grid.BOX)]) for r in rows])


def pack_maps(maps: NDArray[np.float32]) -> Packed:
    """Fractions rounded to 1/255, as in prepared cohorts."""
    return np.rint(np.clip(maps, 0.0, 1.0) * 255.0).astype(np.uint8)


def describe(maps: Packed, features: Features) -> Described:
    """Work out the features of a set of brains, once for all comparisons."""
    found: list[list[dict[str, Tensor]]] = [[] for _ in TISSUES]
    with torch.inference_mode():
        for one in maps:
            fractions = torch.from_numpy(one).float() / 255.0
            for k in range(len(TISSUES)):
                found[k].append(features(fractions, k))
    stacked = [{key: torch.stack([p[key] for p in by]) for key in by[0]} for by in found]
    return Described(maps, stacked)


def compare(
    made: Described, real: Described, *, pairs: int | None = None, intervals: bool = True
) -> dict[str, Any]:
    """Every metric of two sets of as many brains: tissue → metric → `{"value", "low", "high"}`.

    Raises:
        ValueError: the sets differ in size, or have fewer than three brains.
    """
    people = len(made.maps)
    if people != len(real.maps) or people < 3:
        raise ValueError(
            f"expected as many generated as real brains, 3 or more, got {people}, {len(real.maps)}"
        )
    groups = np.array_split(np.random.default_rng(people).permutation(people), min(people, GROUPS))
    keeps = [np.setdiff1d(np.arange(people), g) for g in groups] if intervals and people > 3 else []
    chosen = pairs_of(people, PAIRS if pairs is None else pairs)
    out: dict[str, Any] = {}
    for k, tissue in enumerate(TISSUES):
        gram = gram_of(np.concatenate([made.maps[:, k], real.maps[:, k]]))
        kernel = gaussian_kernel(gram, people)
        ssim = [s.similarity(k, chosen) for s in (made, real)]
        own, other = made.features[k], real.features[k]
        measures: dict[str, Callable[[NDArray[np.int64]], float]] = {
            "mmd": lambda rows, gram=gram: mmd_linear(*_blocks(gram, rows)),
            "mmd_rbf": lambda rows, kernel=kernel: mmd_linear(*_blocks(kernel, rows)),
            "fid_2d": lambda rows, own=own, other=other: float(
                np.mean([fid(own[p][rows], other[p][rows]) for p in PLANES])
            ),
            "fid_3d": lambda rows, own=own, other=other: fid(own["volume"][rows], other["volume"][rows]),
            "delta_ssim": lambda rows, ssim=ssim: _delta(ssim, np.isin(chosen, rows).all(axis=1)),
        }  # fmt: skip
        scales = {"fid_2d": ROOT, "fid_3d": ROOT, "delta_ssim": SIZE}
        widths = {"fid_2d": own[PLANES[0]].shape[-1], "fid_3d": own["volume"].shape[-1]}
        out[tissue] = {
            name: jackknife(
                measure, people, keeps if widths.get(name, 0) <= _WIDEST else [], scales.get(name, PLAIN)
            )
            for name, measure in measures.items()
        }
    return out


def floors(sets: Sequence[tuple[Described, Described]], pairs: int | None = None) -> dict[str, Any]:
    """What real people score against others: mean over choices of people, `low` and `high` their range."""
    every = [compare(*one, pairs=pairs, intervals=False) for one in sets]
    out: dict[str, Any] = {}
    for tissue in TISSUES:
        out[tissue] = {}
        for name in every[0][tissue]:
            found = [e[tissue][name]["value"] for e in every]
            out[tissue][name] = _cell(float(np.mean(found)), min(found), max(found))
    return out


def rescaled(found: dict[str, Any], compared: int, people: int) -> dict[str, Any]:
    """Floors of two sets of `compared` people of one population, as two sets of `people` would score: FID times
    `compared`/`people` (see `BIASED`), all else as it is.

    Where features are wider than people are many FID falls more slowly, and the floor found is low: a strict bar.

    Args:
        found: tissue → metric → `{"value", "low", "high"}`.
    """
    share = compared / people
    return {
        tissue: {
            name: {k: round(v * share, 6) for k, v in cell.items()} if name in BIASED else cell
            for name, cell in by.items()
        }
        for tissue, by in found.items()
    }


@dataclass(frozen=True)
class Scale:
    """On which scale the interval of a measure is symmetric."""

    forth: Callable[[float], float]
    """From what is measured."""
    back: Callable[[float, float], tuple[float, float]]
    """From the ends of an interval there to those of what is told."""
    told: Callable[[float], float] = lambda v: v
    """From what is measured to what is told."""


PLAIN: Final = Scale(lambda v: v, lambda low, high: (low, high))
ROOT: Final = Scale(lambda v: max(v, 0.0) ** 0.5, lambda low, high: (max(low, 0.0) ** 2, max(high, 0.0) ** 2))
"""Of squared distances."""
SIZE: Final = Scale(
    lambda v: v,
    lambda low, high: (0.0 if low <= 0.0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high))),
    abs,
)
"""Of differences of which the size alone is told."""


def jackknife(
    measure: Callable[[NDArray[np.int64]], float],
    people: int,
    keeps: Sequence[NDArray[np.int64]],
    scale: Scale = PLAIN,
) -> dict[str, Any]:
    """A measure with its 95 % interval; none where nobody is left out."""
    found = measure(np.arange(people))
    value = scale.told(found)
    if len(keeps) < 3:
        return _cell(value, None, None)
    left = np.asarray([scale.forth(measure(rows)) for rows in keeps])
    error = 1.96 * float(np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()))
    middle = scale.forth(found)
    return _cell(value, *scale.back(middle - error, middle + error))


def _cell(value: float, low: float | None, high: float | None) -> dict[str, Any]:
    found = {"value": value, "low": low, "high": high}
    return {k: None if v is None or not math.isfinite(v) else round(v, 6) for k, v in found.items()}


# ------------------------------------------------------------------ distances


def gram_of(one: Packed, other: Packed | None = None) -> Floats:
    """Mean product over voxels of the fractions of every brain with every other, (n, m)."""
    flat = [s.reshape(len(s), -1) for s in (one, one if other is None else other)]
    voxels = flat[0].shape[1]
    out = np.zeros((len(flat[0]), len(flat[1])))
    for first in range(0, voxels, 1 << 16):
        a = flat[0][:, first : first + (1 << 16)].astype(np.float32)
        b = a if other is None else flat[1][:, first : first + (1 << 16)].astype(np.float32)
        out += a @ b.T
    return out / (255.0**2 * voxels)


def mmd_linear(one: Floats, two: Floats, across: Floats) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, Eq. 3) of kernels within and across."""
    n, m = len(one), len(two)
    within = (one.sum() - np.trace(one)) / (n * (n - 1)) + (two.sum() - np.trace(two)) / (m * (m - 1))
    return float(within - 2.0 * across.mean())


def gaussian_kernel(gram: Floats, others: int = 0) -> Floats:
    """exp(−d²/median d²) of all brains, from their products.

    Args:
        others: the median is of brains from this one on: of real ones alone, so that every method that is compared
            with them, and the floor, has the same kernel.
    """
    norms = np.diag(gram)
    squared = np.maximum(norms[:, None] + norms - 2.0 * gram, 0.0)
    own = squared[others:, others:]
    median = np.median(own[~np.eye(len(own), dtype=bool)])
    return np.asarray(np.exp(-squared / max(float(median), 1e-12)))


def _blocks(kernel: Floats, rows: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Within the chosen generated, within the chosen real, and across."""
    real = rows + len(kernel) // 2
    return kernel[np.ix_(rows, rows)], kernel[np.ix_(real, real)], kernel[np.ix_(rows, real)]


def fid(one: Tensor, two: Tensor) -> float:
    """Fréchet distance of two sets of features as normal distributions (Heusel et al. 2017).

    tr((Σ₁Σ₂)^½) is the sum of the singular values of the product of the centred features, which needs no matrix root.

    Args:
        one: (…, width).
        two: (…, width).
    """
    flat = [s.reshape(-1, s.shape[-1]).double() for s in (one, two)]
    means = [s.mean(dim=0) for s in flat]
    roots = [(s - m) / max(len(s) - 1, 1) ** 0.5 for s, m in zip(flat, means, strict=True)]
    spread = sum(float(r.square().sum()) for r in roots)
    short = [torch.linalg.qr(r, mode="r")[1] if len(r) > r.shape[1] else r for r in roots]
    shared = float(torch.linalg.svdvals(short[0] @ short[1].T).sum())
    return float((means[0] - means[1]).square().sum()) + spread - 2.0 * shared


# ------------------------------------------------------------------ structural similarity


def pairs_of(people: int, count: int) -> NDArray[np.int64]:
    """Random pairs of different people, (pairs, 2), each at most once; the same for the same numbers."""
    every = np.asarray([(a, b) for a in range(people) for b in range(a)], np.int64)
    if len(every) <= count:
        return every
    return every[np.random.default_rng(people).choice(len(every), count, replace=False)]


def ssim_of_pairs(maps: Packed, pairs: NDArray[np.int64]) -> Floats:
    """Mean structural similarity over the grid of each pair (Wang et al. 2004, Eq. 13), one tissue.

    Windows that hold background alone in both count as 1, as they do in the paper's whole images.

    Args:
        maps: (n, 80, 104, 80) inside `grid.BOX`, or any other shape, which then is the whole image.
    """
    inside = tuple(maps.shape[1:]) == tuple(s.stop - s.start for s in grid.BOX)
    edges = (
        [_edges(s, size) for s, size in zip(grid.BOX, grid.SHAPE, strict=True)] if inside else [(0, 0)] * 3
    )
    sizes = [n + before + after for n, (before, after) in zip(maps.shape[1:], edges, strict=True)]
    whole = grid.SHAPE if inside else maps.shape[1:]
    windows = [int(np.prod([(n - WINDOW) // 2 + 1 for n in shape])) for shape in (sizes, whole)]

    def fractions(row: int) -> Tensor:
        return torch.from_numpy(np.pad(maps[row], edges)).float() / 255.0

    c1, c2 = 0.01**2, 0.03**2
    used = sorted({int(v) for v in pairs.ravel()})
    means = {row: _windows(fractions(row)) for row in used}
    squares = {row: _windows(fractions(row).square()) for row in used}
    out = []
    for a, b in ((int(a), int(b)) for a, b in pairs):
        product = means[a] * means[b]
        covariance = _windows(fractions(a) * fractions(b)) - product
        luminance = (2 * product + c1) / (means[a].square() + means[b].square() + c1)
        variance = squares[a] + squares[b] - means[a].square() - means[b].square()
        found = float((luminance * (2 * covariance + c2) / (variance + c2)).sum(dtype=torch.float64))
        out.append((found + windows[1] - windows[0]) / windows[1])
    return np.asarray(out)


def _edges(box: slice, size: int) -> tuple[int, int]:
    """Voxels around the box that windows with some of it reach, an even number so that windows stay in step."""
    reach = WINDOW - 1
    return min(reach, box.start), min(reach, size - box.stop)


def _windows(x: Tensor) -> Tensor:
    """Means over windows of `WINDOW` voxels along each edge, at every second voxel."""
    for axis, size in enumerate(x.shape):
        x = torch.movedim(torch.matmul(torch.movedim(x, axis, -1), _box(size).T), -1, axis)
    return x


@lru_cache(maxsize=8)
def _box(size: int) -> Tensor:
    out = torch.zeros((size - WINDOW) // 2 + 1, size)
    for row in range(len(out)):
        out[row, 2 * row : 2 * row + WINDOW] = 1.0 / WINDOW
    return out


def _delta(ssim: Sequence[Floats], chosen: NDArray[np.bool_]) -> float:
    return float(ssim[0][chosen].mean()) - float(ssim[1][chosen].mean())
