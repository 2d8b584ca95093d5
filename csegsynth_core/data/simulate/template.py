"""What all virtual brains are made of: the sharpened ICBM152 average and where its parts lie.

The tissue templates that nilearn carries are probabilities, blurred by averaging over people. The T1 average
of the same people is much crisper, so scores of the three tissues are taken from its unsharp-masked
intensities, with the probabilities as prior. Parts (cerebellum, brainstem, deep grey matter, ventricles) are
found by geometry in ICBM152 coordinates and a watershed; they are approximate and no atlas is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from csegsynth_core.data import icbm
from csegsynth_core.tissue import TISSUES

Floats = NDArray[np.float32]

CEREBRUM, CEREBELLUM, BRAINSTEM, DEEP, VENTRICLE = 1, 2, 3, 4, 5
"""Values of `Template.parts`."""

_REACH_MM: Final = 11.0
"""How far from the wall tissue moves when ventricles grow."""

_DEEP: Final = (  # centre and radii in mm, right side; mirrored
    ((12.0, -18.0, 8.0), (10.0, 15.0, 9.0)),  # thalamus
    ((13.0, 11.0, 10.0), (7.0, 13.0, 12.0)),  # caudate
    ((25.0, 2.0, 1.0), (9.0, 18.0, 10.0)),  # putamen and pallidum
)
_STEM: Final = (
    ((0.0, -27.0, -13.0), (15.0, 12.0, 9.0)),  # midbrain
    ((0.0, -27.0, -33.0), (18.0, 14.0, 15.0)),  # pons
    ((0.0, -39.0, -53.0), (10.0, 10.0, 17.0)),  # medulla
)


@dataclass(frozen=True)
class Template:
    """Fields over the ICBM152 brain at 1 mm; `near`, `sulcal`, `early` and `fold` on every second voxel."""

    origin: NDArray[np.float64]
    """World position in mm of the first voxel; axes are RAS, voxels 1 mm."""
    wm: Floats
    """Log-odds of white against grey matter."""
    csf: Floats
    """Log-odds of CSF against grey matter."""
    inside: Floats
    """Distance in mm to the brain's outer surface, positive inside; right within 4 mm of it."""
    t1: Floats
    """Unsharp-masked T1 intensity."""
    parts: NDArray[np.uint8]
    """Part of the brain of each voxel, 0 outside; see `CEREBRUM` and the others."""
    cavity: Floats
    """Share of ventricle, from 0 to 1."""
    near: NDArray[np.bool_]
    """Where the growth of the ventricles can move their wall to."""
    sulcal: Floats
    """How strongly CSF gives way here when cortex thins: 1 in cortex, 0 in the ventricles."""
    early: Floats
    """How early cortex thins here: positive in frontal and temporal, negative in occipital cortex."""
    fold: Floats
    """How freely folding differs between people here, from 0 to 1."""
    flow: tuple[Floats, ...]
    """For each growth of `FLOW_STEPS`, (3, i, j, k) offsets in mm that bring a point of a brain with enlarged
    ventricles back to the template."""
    flow_origin: NDArray[np.float64]
    """World position in mm of the first voxel of `flow`'s lattice, whose voxels are 2 mm; zero outside it."""
    volume_ml: float


FLOW_STEPS: Final = np.linspace(-3.0, 13.5, 12)
"""Growth of the ventricles for which `Template.flow` holds offsets; about mm by which the wall moves."""


@lru_cache(maxsize=1)
def template() -> Template:
    """The sharpened template (a few seconds, once a process)."""
    t1, prior, origin = _cropped()
    mask = np.sum(list(prior.values()), axis=0) > 0.5
    sharp = icbm.unsharp_masked(t1, mask)
    del t1
    x, y, z = (
        (origin[axis] + np.arange(n)).reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
        for axis, n in enumerate(mask.shape)
    )
    stem = _ellipsoids(_STEM, x, y, z)
    deep = _ellipsoids(_DEEP, np.abs(x), y, z)
    wm, csf = icbm.contrasts(sharp, prior)
    del prior
    wm += 6.0 * ndimage.gaussian_filter(stem.astype(np.float32), 1.5)  # FAST calls most of the stem white
    wm -= 5.0 * ndimage.gaussian_filter(deep.astype(np.float32), 1.5)
    dark = (csf > 0) & mask
    flow, first, wall = _ventricle_flow(_ventricles(dark, x, y, z))
    distance = _finer(wall, mask.shape)
    parts = np.where(mask, CEREBRUM, 0).astype(np.uint8)
    parts[mask & _cerebellum(x, y, z)] = CEREBELLUM
    parts[mask & stem] = BRAINSTEM
    parts[mask & deep] = DEEP
    parts[mask & (distance < 0.5)] = VENTRICLE
    parts[dark & (distance < 3.0)] = VENTRICLE
    del distance, stem, deep
    depth = _signed_distance(mask[::2, ::2, ::2], 2.0)
    # Deep fissures and cisterns are narrower in people than in the average of many.
    csf -= 4.0 * _finer(np.clip((depth - 12.0) / 8.0, 0, 1) * np.clip((wall - 2.0) / 4.0, 0, 1), mask.shape)
    sulcal, early, fold = _weights(parts[::2, ::2, ::2], wall, depth, x[::2], y[:, ::2], z[:, :, ::2])
    border = ndimage.gaussian_filter(mask.astype(np.float32), 1.5, truncate=3.0)
    return Template(
        origin=origin,
        wm=wm,
        csf=csf,
        inside=(1.5 * ndtri(np.clip(border, 2e-3, 1 - 2e-3))).astype(np.float32),
        t1=sharp * mask,
        parts=parts,
        cavity=ndimage.gaussian_filter(((parts == VENTRICLE) & (csf > 0)).astype(np.float32), 0.6),
        near=wall < 16.0,
        sulcal=sulcal,
        early=early,
        fold=fold,
        flow=flow,
        flow_origin=origin + first,
        volume_ml=float(mask.sum() / 1000.0),
    )


def _cropped() -> tuple[Floats, dict[str, Floats], NDArray[np.float64]]:
    """T1 and tissue probabilities around the brain at 1 mm, and the position of the first voxel in mm."""
    native = icbm.native()
    whole = (native["wm"].data + native["gm"].data + native["csf"].data) > 0.5
    found = ndimage.find_objects(whole.astype(np.int8))[0]
    crop = tuple(slice(max(s.start - 7, 0), s.stop + 7) for s in found)
    origin = native["t1"].affine[:3, 3] + np.asarray([s.start for s in crop], float)
    prior = {name: native[name].data[crop] * whole[crop] for name in TISSUES}
    return native["t1"].data[crop].copy(), prior, origin


def _ellipsoids(
    where: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...], x: Floats, y: Floats, z: Floats
) -> NDArray[np.bool_]:
    """Voxels within any of some ellipsoids, given by centre and radii in mm."""
    out = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), bool)
    for (cx, cy, cz), (rx, ry, rz) in where:
        out |= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1
    return out


def _weights(
    parts: NDArray[np.uint8], wall: Floats, depth: Floats, x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats, Floats]:
    """`sulcal`, `early` and `fold` on a lattice of 2 mm; all arguments lie on it."""
    near = np.exp(-np.maximum(wall, 0.0) / 4.0)
    sulcal = (1.0 - np.clip(1.4 * near, 0, 1)) * np.where(parts == CEREBELLUM, 0.35, 1.0)
    sulcal *= np.where((parts == DEEP) | (parts == BRAINSTEM), 0.15, 1.0)
    frontal = 1 / (1 + np.exp(-y / 8.0))
    temporal = 1 / (1 + np.exp(-(np.abs(x) - 32) / 4.0)) / (1 + np.exp((z + 2.0) / 6.0))
    temporal = temporal / (1 + np.exp(-(y + 55.0) / 6.0))
    occipital = 1 / (1 + np.exp((y + 68.0) / 6.0))
    early = np.clip(frontal + temporal, 0, 1) - occipital
    fold = np.clip((18.0 - depth) / 6.0, 0, 1) * (parts == CEREBRUM) * np.clip((np.abs(x) - 3.0) / 4.0, 0, 1)
    return (
        ndimage.gaussian_filter(sulcal.astype(np.float32), 0.75),
        early.astype(np.float32),
        ndimage.gaussian_filter(fold.astype(np.float32), 1.0),
    )


def _signed_distance(mask: NDArray[np.bool_], spacing_mm: float) -> Floats:
    """Distance to the border in mm, positive inside."""
    out = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return (out - 0.5 * np.sign(out)).astype(np.float32) * spacing_mm


def _finer(coarse: Floats, shape: tuple[int, ...]) -> Floats:
    """A field on every second voxel, on every voxel."""
    at = [np.minimum(np.arange(n) / 2.0, c - 1.0) for n, c in zip(shape, coarse.shape, strict=True)]
    for axis, index in enumerate(at):
        low = np.floor(index).astype(int)
        high = np.minimum(low + 1, coarse.shape[axis] - 1)
        share = (index - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(high, axis) * share
    return coarse.astype(np.float32)


def _ventricles(csf: NDArray[np.bool_], x: Floats, y: Floats, z: Floats) -> NDArray[np.bool_]:
    """Lateral and third ventricles: CSF where they lie, without specks."""
    side = np.abs(x)
    body = (side < 27) & (side > 1.5) & (y > -42) & (y < 33) & (z > -2) & (z < 29)
    body &= ~((side < 14) & (y < -26) & (z < 16)) & ~((side < 5) & ((y > 20) | (y < -28)))
    atrium = (side > 11) & (side < 38) & (y > -56) & (y < -24) & (z > -5) & (z < 25)
    atrium &= (side > 20) | (y > -44)
    third = (side < 5) & (y > -26) & (y < 6) & (z > -10) & (z < 18)
    labels, count = ndimage.label(csf & (body | atrium | third))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes > 150)[labels]


def _ventricle_flow(ventricle: NDArray[np.bool_]) -> tuple[tuple[Floats, ...], NDArray[np.int64], Floats]:
    """Offsets of the growing ventricles, the first voxel of their lattice, and the distance to the wall in mm.

    The distance, negative inside, lies on every second voxel.
    """
    half = ndimage.gaussian_filter(ventricle.astype(np.float32), 0.7)[::2, ::2, ::2] > 0.5
    distance = -_signed_distance(half, 2.0)
    around = ndimage.find_objects((distance < 3 * _REACH_MM).astype(np.int8))[0]
    coarse = ndimage.gaussian_filter(distance, 0.8)[around]
    reach = np.exp(-((np.maximum(coarse, 0.0) / _REACH_MM) ** 2))
    gradient = np.stack(np.gradient(coarse, 2.0))
    velocity = np.stack([ndimage.gaussian_filter(g * reach, 0.8) for g in gradient]).astype(np.float32)
    flow = _flows(velocity)
    first = np.asarray([2 * s.start for s in around], np.int64)
    return flow, first, distance


def _flows(velocity: Floats) -> tuple[Floats, ...]:
    """Offsets in mm against `velocity` for each of `FLOW_STEPS`, by composing one step again and again."""
    step = float(FLOW_STEPS[1] - FLOW_STEPS[0])
    out = {0: np.zeros_like(velocity)}
    for sign in (-1, 1):
        one = exponential(-sign * step * velocity, spacing_mm=2.0, squarings=3)
        for n in range(1, int(np.abs(FLOW_STEPS).max() / step + 0.5) + 1):
            if np.any(np.isclose(FLOW_STEPS, sign * n * step)):
                out[sign * n] = _composed(out[sign * (n - 1)], one, 2.0)
    return tuple(out[round(float(a) / step)] for a in FLOW_STEPS)


def _composed(first: Floats, then: Floats, spacing_mm: float) -> Floats:
    """Displacement in mm of x → y + then(y) where y = x + first(x)."""
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in first.shape[1:]], indexing="ij"))
    at = index + first / spacing_mm
    moved = [ndimage.map_coordinates(c, at, order=1, mode="nearest", prefilter=False) for c in then]
    return (first + np.stack(moved)).astype(np.float32)


def exponential(velocity: Floats, *, spacing_mm: float, squarings: int) -> Floats:
    """Displacement in mm of the flow along a stationary velocity field, by scaling and squaring.

    A smooth velocity gives a smooth invertible map (Arsigny et al. 2006, MICCAI).

    Args:
        velocity: (3, i, j, k) in mm.
        spacing_mm: edge of the lattice's voxels.
        squarings: the field is divided by 2 to this power, then composed with itself so often.
    """
    out = velocity / 2.0**squarings
    for _ in range(squarings):
        out = _composed(out, out, spacing_mm)
    return out.astype(np.float32)


def _cerebellum(x: Floats, y: Floats, z: Floats) -> NDArray[np.bool_]:
    """Below a tent that falls to the sides and to the back, behind the brainstem."""
    tent = -4.0 - 0.45 * np.abs(x) - 0.35 * np.maximum(-(y + 50.0), 0.0)
    return (z < tent) & (y < -34.0 - 0.3 * np.maximum(np.abs(x) - 20.0, 0.0))
