"""A virtual person's brain: the template, deformed and thinned until its maps have the person's volumes.

    random smooth velocity → flow (invertible) → size and shape → growth of the ventricles → scores of tissues
    → folds, thinning by region, segmentation noise → fractions whose sums are solved for (Newton)

All offsets run backwards, from a point of the person's brain to the point of the template that lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from csegsynth_core import grid
from csegsynth_core.data.simulate.template import (
    BRAINSTEM,
    CEREBELLUM,
    CEREBRUM,
    DEEP,
    FLOW_STEPS,
    VENTRICLE,
    Template,
    exponential,
    template,
)
from csegsynth_core.errors import PipelineError
from csegsynth_core.tissue import TISSUES

Floats = NDArray[np.float32]

TOLERANCE: Final = 0.002
"""Relative error at which the search for a tissue's volume ends; promised are 0.5 %."""
SCALES: Final = ((28.0, 1.6), (14.0, 1.3), (7.5, 1.1))
"""Random deformation: smoothness (standard deviation of the Gaussian) and root-mean-square size, both in mm."""
ASYMMETRY: Final = 0.25
"""Size of the left-right odd part of the deformation relative to its even part."""
SHAPE_SD: Final = 0.022
"""Standard deviation of the log stretch along each axis."""
FOLD_MM: Final = (3.1, 4.8)
"""Folds: random field between these two Gaussian widths."""
FOLD_SIZE: Final = 3.2
"""Log-odds by which a person's own folds move tissue borders."""
NOISE_SIZE: Final = 0.8
"""Log-odds of segmentation noise, whose width is about a voxel."""
_EDGE_MM: Final = 0.4
"""Width of the brain's outer border."""
_LATTICE_MM: Final = 4.0
_ROUNDS: Final = 4
"""Most corrections of the ventricles after their first growth."""
_CAVITY: Final = 0.97
"""Measured CSF of the ventricles, beside the template's cavity once deformed."""


@dataclass(frozen=True)
class Targets:
    """What a brain must measure, in mL, and what shapes it."""

    wm: float
    gm: float
    csf: float
    ventricles: float
    age: float
    stretch: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Log stretch along x, y, z beyond that of size."""


@dataclass(frozen=True)
class VirtualBrain:
    """Maps and what is known about them."""

    maps: Floats
    """(3, 80, 128, 128) fractions in the order of `TISSUES`, multiples of 1/255."""
    t1: Floats | None
    """(80, 128, 128) T1-like intensities, 0 outside, or None."""
    regions_ml: dict[str, float]
    """Ventricles, cortical and deep grey matter, cerebellum, brainstem, from the parts carried along."""
    deformation: Deformation
    """The random deformation and the stretch."""
    solved: dict[str, float]
    """The parameters found: growth of ventricles, shifts of CSF, white matter and surface."""


@dataclass(frozen=True)
class Deformation:
    """Where each point of a person's brain lies in the template."""

    offset: Floats
    """(3, 40, 52, 40) mm on the 4 mm lattice over `grid.BOX`: the smooth random part."""
    stretch: NDArray[np.float64]
    """Factor along each axis, person / template."""
    least_jacobian: float

    def to_template(self, points: Floats) -> Floats:
        """Template positions (3, n) in mm of the person's positions (3, n) in mm, before ventricles grow."""
        first = (_box_start() + 0.5 * (_LATTICE_MM - grid.VOXEL_MM))[:, None]
        at = (points - first) / np.float32(_LATTICE_MM)
        return self._scaled(points + np.stack([_sample(c, at) for c in self.offset]))

    def lattice(self, every: int = 1) -> Floats:
        """Template positions (3, n) in mm of the points of the offsets' lattice, or every second, … of them."""
        shape = self.offset.shape[1:]
        start = _box_start() + 0.5 * (_LATTICE_MM - grid.VOXEL_MM)
        axes = [
            start[a] + np.float32(_LATTICE_MM) * np.arange(n, dtype=np.float32) for a, n in enumerate(shape)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij")) + self.offset
        return self._scaled(points[:, ::every, ::every, ::every].reshape(3, -1))

    def _scaled(self, points: Floats) -> Floats:
        centre = np.asarray(grid.CENTRE_MM, np.float32)[:, None]
        # Tall heads sit lower, so that the box cuts the spinal cord's end and not the vertex.
        lower = np.asarray([[0.0], [0.0], [55.0 * max(0.0, float(self.stretch[2]) - 0.92)]], np.float32)
        factor = self.stretch[:, None].astype(np.float32)
        return ((points + lower - centre) / factor + centre).astype(np.float32)


def draw_deformation(noise: np.random.Generator, stretch: NDArray[np.float64]) -> Deformation:
    """A smooth invertible deformation; depends on `noise` alone, `stretch` is only carried along.

    If any Jacobian determinant were not clearly positive, the velocity is made smaller until all are.
    """
    shape = tuple(int((s.stop - s.start) * grid.VOXEL_MM / _LATTICE_MM) for s in grid.BOX)
    velocity = np.zeros((3, *shape), np.float32)
    for smooth, size in SCALES:
        field = np.stack([_band(noise, shape, smooth / _LATTICE_MM, None) for _ in range(3)])
        mirrored = field[:, ::-1].copy()
        mirrored[0] *= -1
        even, odd = (field + mirrored) / np.sqrt(2), (field - mirrored) / np.sqrt(2)
        field = (even + ASYMMETRY * odd) / np.sqrt(1 + ASYMMETRY**2)
        velocity += size * (field - field.mean(axis=(1, 2, 3), keepdims=True))
    for _ in range(8):
        offset = exponential(velocity, spacing_mm=_LATTICE_MM, squarings=4)
        least = float(jacobian(offset, _LATTICE_MM).min())
        if least > 0.1:
            return Deformation(offset, stretch, least)
        velocity *= 0.8
    raise PipelineError("no invertible deformation was found", got=f"a Jacobian determinant of {least:.3g}")


def jacobian(offset: Floats, spacing_mm: float) -> Floats:
    """Jacobian determinant of x → x + offset(x) by central differences, (i, j, k) from (3, i, j, k) in mm."""
    matrix = np.stack([np.stack(np.gradient(c, spacing_mm)) for c in offset])
    matrix += np.eye(3, dtype=np.float32)[:, :, None, None, None]
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def make_brain(
    targets: Targets, seed: np.random.SeedSequence, *, t1: bool = False, coarse: bool = False
) -> VirtualBrain:
    """The brain with these volumes.

    Args:
        targets: volumes in mL and age in years.
        seed: of the person's shape, folds and noise; the same seed gives the same head at any volumes.
        t1: whether to make a T1-like image, too.
        coarse: compute on 4 mm voxels (a fraction of the time, for tests).

    Raises:
        PipelineError: no brain with these volumes was found.
    """
    deforming, folding, speckle, contrast = (
        np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, part)))
        for part in range(4)  # not seed.spawn, which gives others the next time
    )
    full = template()
    total = targets.wm + targets.gm + targets.csf
    shape = deforming.normal(0.0, SHAPE_SD, 3)
    shape += np.asarray(targets.stretch) - np.mean(shape + np.asarray(targets.stretch))
    stretch = np.exp(shape) * (total / full.volume_ml) ** (1 / 3)
    deformation = draw_deformation(deforming, stretch)
    step = 2 if coarse else 1
    deformation = _sized(full, deformation, total)
    points, where, shape_ijk = _points(full, deformation, step)
    at = deformation.to_template(points)
    folds = _band(folding, _box_shape(1), FOLD_MM[0] / 2, FOLD_MM[1] / 2)[::step, ::step, ::step][where]
    grain = _band(speckle, _box_shape(1), 0.45, None)
    grain_csf = grain[::step, ::step, ::step][where]
    grain_wm = np.roll(grain, (7, 11, 13), (0, 1, 2))[::step, ::step, ::step][where]
    voxel_ml = grid.VOXEL_ML * step**3
    growth, slope = _solve_growth(full, at, targets.ventricles / _CAVITY, voxel_ml)
    shifts = np.asarray([2.0, -1.0, 0.0])
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        grown = _grown(full, at, growth)
        fields = _Fields.at(full, grown)
        fields.perturb(folds, grain_csf, grain_wm, targets.age)
        part = _lookup(full, full.parts, grown)
        shifts, fractions = _solve(fields, targets, voxel_ml, shifts)
        measured = float(fractions[TISSUES.index("csf")][part == VENTRICLE].sum(dtype=np.float64)) * voxel_ml
        tried.append((growth, float(np.log(max(measured, 0.1) / targets.ventricles))))
        if abs(tried[-1][1]) < 2 * TOLERANCE:
            break
        growth = _next_growth(tried, slope)
    else:
        growth = tried[-1][0]
    box = np.zeros((len(TISSUES), *shape_ijk), np.float32)
    for k in range(len(TISSUES)):
        box[k][where] = fractions[k]
    box = _quantised(box)
    regions = _regions(box, where, part, voxel_ml)
    maps = np.zeros((len(TISSUES), *grid.SHAPE), np.float32)
    maps[(slice(None), *grid.BOX)] = _repeat(box, step)
    image = _t1_like(contrast, full, grown, where, box, step) if t1 else None
    solved = {"growth": growth, "csf": shifts[0], "wm": shifts[1], "surface_mm": shifts[2]}
    return VirtualBrain(maps, image, regions, deformation, solved)


# ---------------------------------------------------------------- geometry


def _box_shape(step: int) -> tuple[int, ...]:
    return tuple((s.stop - s.start) // step for s in grid.BOX)


def _box_start() -> Floats:
    """World position in mm of the first voxel of `grid.BOX`."""
    first = np.asarray([s.start for s in grid.BOX], float)
    return grid.voxel_to_mm(first).astype(np.float32)


def _sample(field: NDArray[Any], at: NDArray[Any], *, outside: float | None = None) -> Floats:
    """Trilinear values of (i, j, k) `field` at voxel positions (3, n)."""
    mode, value = ("nearest", 0.0) if outside is None else ("constant", outside)
    return ndimage.map_coordinates(field, at, order=1, mode=mode, cval=value, prefilter=False)


def _band(noise: np.random.Generator, shape: tuple[int, ...], low: float, high: float | None) -> Floats:
    """Gaussian noise of variance 1, smoothed by Gaussian `low` and, if given, without what `high` leaves.

    Args:
        low, high: standard deviations in voxels.
    """
    white = noise.standard_normal(shape, dtype=np.float32)
    axes = [fft.fftfreq(n).astype(np.float32) for n in shape[:2]] + [
        fft.rfftfreq(shape[2]).astype(np.float32)
    ]
    square = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    gain = np.exp((-2 * np.pi**2 * low**2) * square)
    if high is not None:
        gain = gain - np.exp((-2 * np.pi**2 * high**2) * square)
    out = fft.irfftn(fft.rfftn(white) * gain, s=shape)
    weight = np.full(gain.shape[-1], 2.0, np.float32)
    weight[0] = 1.0
    if shape[2] % 2 == 0:
        weight[-1] = 1.0
    variance = float(np.sum(gain.astype(np.float64) ** 2 * weight)) / np.prod(shape)
    return (out / np.sqrt(variance)).astype(np.float32)


def _sized(full: Template, deformation: Deformation, total_ml: float) -> Deformation:
    """The same deformation, stretched so that the whole brain measures about `total_ml`."""
    every = 2
    for _ in range(2):
        depth = _depth(full, deformation.lattice(every))
        measured = float(np.clip(depth / 3.0 + 0.5, 0.0, 1.0).sum()) * (every * _LATTICE_MM) ** 3 / 1000.0
        stretch = deformation.stretch * (total_ml / measured) ** (1 / 3)
        deformation = Deformation(deformation.offset, stretch, deformation.least_jacobian)
    return deformation


def _depth(full: Template, at: Floats) -> Floats:
    """Distance in mm to the brain's surface at template positions (3, n), positive inside."""
    return _sample(full.inside, at - full.origin[:, None].astype(np.float32), outside=-5.0)


def _points(
    full: Template, deformation: Deformation, step: int
) -> tuple[Floats, tuple[NDArray[np.int64], ...], tuple[int, ...]]:
    """Positions (3, n) in mm of the voxels that may hold brain, their indices in the box, and its shape."""
    near = (_depth(full, deformation.lattice()) > -3.5).reshape(deformation.offset.shape[1:])
    near = ndimage.binary_dilation(near)
    if step == 1:
        near = near.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    where = np.nonzero(near)
    spacing = grid.VOXEL_MM * step
    start = _box_start() + 0.5 * (spacing - grid.VOXEL_MM)
    points = np.stack([start[a] + spacing * where[a].astype(np.float32) for a in range(3)])
    return points.astype(np.float32), where, near.shape


def _grown(full: Template, at: Floats, growth: float) -> Floats:
    """Template positions once ventricles have grown: `at` followed by the flow towards the ventricles."""
    place = np.clip((growth - FLOW_STEPS[0]) / (FLOW_STEPS[1] - FLOW_STEPS[0]), 0, len(FLOW_STEPS) - 1.001)
    low = int(place)
    share = np.float32(place - low)
    lattice = (at - full.flow_origin[:, None].astype(np.float32)) / 2.0
    size = np.asarray(full.flow[0].shape[1:], np.float32)[:, None]
    near = np.flatnonzero(np.all((lattice > 0) & (lattice < size - 1), axis=0))
    index = lattice[:, near]
    out = at.copy()
    for axis in range(3):
        field = (1 - share) * full.flow[low][axis] + share * full.flow[low + 1][axis]
        out[axis, near] += _sample(field, index)
    return out


def _solve_growth(full: Template, at: Floats, target_ml: float, voxel_ml: float) -> tuple[float, float]:
    """Growth that gives ventricles about `target_ml`, and the slope of their log volume (secant)."""
    near = at[:, _lookup(full, full.near, at)]

    def excess(growth: float) -> float:
        place = _grown(full, near, growth) - full.origin[:, None].astype(np.float32)
        return float(np.log(max(float(_sample(full.cavity, place).sum()) * voxel_ml, 0.1) / target_ml))

    low, high = float(FLOW_STEPS[0]), float(FLOW_STEPS[-1])
    a, slope = 1.0, 0.22
    fa = excess(a)
    for _ in range(6):
        b = float(np.clip(a - fa / slope, low, high))
        if abs(fa) < 0.01 or a == b:
            break
        fb = excess(b)
        slope = float(np.clip((fb - fa) / (b - a), 0.05, 1.0))
        a, fa = b, fb
    return a, slope


# ---------------------------------------------------------------- tissues


@dataclass
class _Fields:
    """Scores at the person's voxels, each (n,)."""

    wm: Floats
    csf: Floats
    inside: Floats
    sulcal: Floats
    early: Floats
    fold: Floats

    @classmethod
    def at(cls, full: Template, points: Floats) -> _Fields:
        index = points - full.origin[:, None].astype(np.float32)
        return cls(
            wm=_sample(full.wm, index),
            csf=_sample(full.csf, index),
            inside=_depth(full, points),
            sulcal=_lookup(full, full.sulcal, points),
            early=_lookup(full, full.early, points),
            fold=_lookup(full, full.fold, points),
        )

    def perturb(self, folds: Floats, grain_csf: Floats, grain_wm: Floats, age: float) -> None:
        """Add the person's folds and the noise of segmentation; set how thinning goes by region."""
        # Crests of the field are gyri with a blade of white matter, troughs are sulci.
        self.csf = self.csf - FOLD_SIZE * self.fold * folds + NOISE_SIZE * grain_csf
        self.wm = self.wm + FOLD_SIZE * self.fold * folds + NOISE_SIZE * grain_wm
        late = float(np.clip((age - 35.0) / 45.0, 0.0, 1.0))
        self.sulcal = self.sulcal * (1.0 + 0.35 * late * self.early)


def _sigmoid(x: Floats) -> Floats:
    return (1.0 / (1.0 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)


def _fractions(fields: _Fields, csf: float, wm: float, surface: float) -> tuple[Floats, Floats, Floats]:
    """(wm, gm, csf) shares within the brain, (3, n); the brain's share of each voxel; its log-odds' slope."""
    a = np.clip(fields.wm + np.float32(wm), -30, 30)
    b = np.clip(fields.csf + np.float32(csf) * fields.sulcal, -30, 30)
    ea, eb = np.exp(a), np.exp(b)
    norm = 1.0 / (1.0 + ea + eb)
    brain = _sigmoid((fields.inside + np.float32(surface)) / np.float32(_EDGE_MM))
    return np.stack([ea * norm, norm, eb * norm]), brain, brain * (1 - brain) / np.float32(_EDGE_MM)


def _next_growth(tried: list[tuple[float, float]], slope: float) -> float:
    """Growth of the ventricles to try next, from (growth, log of measured / wanted) of those tried."""
    b, fb = tried[-1]
    if len(tried) > 1 and abs(b - tried[-2][0]) > 0.02:
        slope = (fb - tried[-2][1]) / (b - tried[-2][0])
    return float(np.clip(b - fb / float(np.clip(slope, 0.05, 1.0)), FLOW_STEPS[0], FLOW_STEPS[-1]))


def _solve(
    fields: _Fields, targets: Targets, voxel_ml: float, start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Floats]:
    """Newton's method for the shifts of CSF, white matter and surface that give the three volumes.

    Returns:
        The three shifts, and the fractions (3, n).
    """
    goal = np.asarray([getattr(targets, t) for t in TISSUES])
    x = start
    limit = np.asarray([6.0, 6.0, 1.0])
    for _ in range(14):
        share, brain, slope = _fractions(fields, *x)
        maps = share * brain
        volumes = maps.sum(axis=1, dtype=np.float64) * voxel_ml
        wrong = volumes - goal
        if np.all(np.abs(wrong) < TOLERANCE * goal):
            return x, maps
        wm, _, csf = share
        weighted = brain * csf * fields.sulcal
        d_csf = np.stack([-weighted * wm, -weighted * share[1], weighted * (1 - csf)])
        d_wm = np.stack([brain * wm * (1 - wm), -brain * wm * share[1], -brain * wm * csf])
        d_surface = share * slope
        matrix = np.stack([d.sum(axis=1, dtype=np.float64) for d in (d_csf, d_wm, d_surface)], axis=1)
        x = x - np.clip(np.linalg.solve(matrix * voxel_ml, wrong), -limit, limit)
    raise PipelineError(
        "no brain with these volumes was found",
        expected=", ".join(f"{t} {g:.0f} mL" for t, g in zip(TISSUES, goal, strict=True)),
        got=", ".join(f"{t} {g:.0f} mL" for t, g in zip(TISSUES, volumes, strict=True)),
        fix="volumes of an adult brain, nearer to those of others",
    )


def _quantised(box: Floats) -> Floats:
    """Fractions as multiples of 1/255 whose sum stays at most 1."""
    steps = np.rint(box * 255.0)
    over = np.maximum(steps.sum(axis=0) - 255.0, 0.0)
    largest = steps.argmax(axis=0)
    for k in range(len(TISSUES)):
        steps[k] -= over * (largest == k)
    return (steps / 255.0).astype(np.float32)


def _repeat(box: Floats, step: int) -> Floats:
    return box if step == 1 else box.repeat(step, -3).repeat(step, -2).repeat(step, -1)


# ---------------------------------------------------------------- regions and images


def _lookup(full: Template, field: NDArray[Any], points: Floats) -> NDArray[Any]:
    """Value of a template field at the voxel nearest to each template position (3, n); 0 outside."""
    spacing = 1.0 if field.shape == full.parts.shape else 2.0
    index = np.rint((points - full.origin[:, None]) / spacing).astype(np.int64)
    size = np.asarray(field.shape)[:, None]
    valid = np.all((index >= 0) & (index < size), axis=0)
    i, j, k = np.where(valid, index, 0)
    return np.where(valid, field[i, j, k], 0).astype(field.dtype)


def _regions(
    box: Floats, where: tuple[NDArray[np.int64], ...], part: NDArray[np.uint8], voxel_ml: float
) -> dict[str, float]:
    wm, gm, csf = (box[TISSUES.index(t)][where] for t in ("wm", "gm", "csf"))

    def ml(values: Floats, *parts: int) -> float:
        return float(values[np.isin(part, parts)].sum(dtype=np.float64) * voxel_ml)

    return {
        "ventricles": ml(csf, VENTRICLE),
        "cortical_gm": ml(gm, CEREBRUM, 0),
        "deep_gm": ml(gm, DEEP),
        "cerebellum": ml(gm + wm, CEREBELLUM),
        "brainstem": ml(gm + wm, BRAINSTEM),
    }


def _t1_like(
    noise: np.random.Generator,
    full: Template,
    points: Floats,
    where: tuple[NDArray[np.int64], ...],
    box: Floats,
    step: int,
) -> Floats:
    """T1-like intensities: the person's tissues, detail of the template's T1, bias field and Rician noise."""
    means: dict[str, float] = {
        "wm": float(noise.normal(1.0, 0.03)),
        "gm": float(noise.normal(0.72, 0.03)),
        "csf": float(noise.normal(0.26, 0.04)),
    }
    fractions = [box[k][where] for k in range(len(TISSUES))]
    image = np.sum([means[t] * f for t, f in zip(TISSUES, fractions, strict=True)], axis=0)
    here = _sample(full.t1, points - full.origin[:, None].astype(np.float32), outside=0.0)
    expected = 0.83 * fractions[0] + 0.66 * fractions[1] + 0.36 * fractions[2]
    brain = np.sum(fractions, axis=0)
    image = image + 0.5 * np.clip(here - expected, -0.1, 0.1) * brain
    shape = box.shape[1:]
    spacing = grid.VOXEL_MM * step
    image = image * np.exp(float(noise.uniform(0.02, 0.1)) * _band(noise, shape, 45.0 / spacing, None)[where])
    sigma = float(noise.uniform(0.01, 0.035))
    real, imaginary = noise.normal(0.0, sigma, (2, len(image)))
    image = np.hypot(image + real, imaginary) * (brain > 0.3)
    out = np.zeros(shape, np.float32)
    out[where] = image
    whole = np.zeros(grid.SHAPE, np.float32)
    whole[grid.BOX] = _repeat(out, step)
    return whole
