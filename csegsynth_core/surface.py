"""Triangle meshes of a brain's surfaces, and what is measured on them: folding, and how far a surface has moved.

A surface is where a fraction crosses one half. It is found by naive surface nets (Gibson 1998, "Constrained
elastic surface nets", MICCAI): one vertex in every cell of the lattice that the surface crosses, at the mean of
the crossings on the cell's edges, and one quadrilateral for every edge that it crosses.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom

from csegsynth_core import grid
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.tissue import index

Floats = NDArray[np.float32]

LEVEL: Final = 0.5
LATTICE_MM: Final = 2.5
"""Edge of a cell of the lattice that the cortex is found on, mm: a mesh of it is small enough for a browser."""
REACH_MM: Final = 6.0
"""How far along its normal the other surface is looked for, mm."""

_BLUR_VOXELS: Final = 0.5
_STEP_MM: Final = 1.0
_GM_WEIGHT: Final = np.float32(0.58)
_HULL_MM: Final = 14.0  # a ball of this radius does not fit into a sulcus


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh of triangles in world millimetres."""

    vertices: Floats
    """(n, 3) mm, R/A/S positive."""
    faces: NDArray[np.int32]
    """(m, 3) vertices of each triangle, anticlockwise seen from outside."""

    @property
    def normals(self) -> Floats:
        """Outward unit normals at the vertices, (n, 3)."""
        corners = self.vertices[self.faces]
        each = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        out = np.stack(
            [
                np.bincount(self.faces.ravel(), np.repeat(each[:, a], 3), minlength=len(self.vertices))
                for a in range(3)
            ],
            axis=1,
        )
        return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    @property
    def volume_ml(self) -> float:
        """Volume that the mesh encloses, mL (divergence theorem)."""
        a, b, c = np.moveaxis(self.vertices[self.faces].astype(float), 1, 0)
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000.0)


def brain_fraction(maps: Floats) -> Floats:
    """WM + 0.58 GM, (80, 128, 128): one half is just inside the pial surface, where narrow sulci are open at 2 mm."""
    return maps[index("wm")] + _GM_WEIGHT * maps[index("gm")]


def cortex(maps: Floats, ventricles: Floats, *, lattice_mm: float = LATTICE_MM) -> Surface:
    """Surface of the cortex (see `brain_fraction`) with cerebellum and brainstem; what lies inside is left out.

    Args:
        maps: (≥ 3, 80, 128, 128) fractions in the order of `csegsynth_core.tissue.TISSUES`.
        ventricles: (80, 128, 128) fraction of ventricular CSF, as from `regions.parcel_map`.
        lattice_mm: edge of a cell, mm.

    Raises:
        CSegSynthError: there is no brain in the maps.
    """
    return largest(isosurface(brain_fraction(maps) + ventricles, lattice_mm=lattice_mm))


def isosurface(fraction: Floats, *, level: float = LEVEL, lattice_mm: float = grid.VOXEL_MM) -> Surface:
    """Where a map on the grid crosses a level.

    Args:
        fraction: (80, 128, 128).
        level: in the map's unit.
        lattice_mm: edge of a cell, mm; larger ones give smaller meshes.

    Raises:
        CSegSynthError: the map has another shape, or never crosses the level.
    """
    if fraction.shape != grid.SHAPE:
        raise CSegSynthError("no surface", expected=f"a map of {grid.SHAPE}", got=str(fraction.shape))
    field = np.pad(gaussian_filter(fraction[grid.BOX], _BLUR_VOXELS), 1)
    factor = grid.VOXEL_MM / lattice_mm
    if factor != 1:
        field = zoom(field, factor, order=1, grid_mode=False)
    steps = [
        (n + 1) / (s - 1) for n, s in zip((b.stop - b.start for b in grid.BOX), field.shape, strict=True)
    ]
    vertices, faces = _nets(field, level)
    if not len(faces):
        raise CSegSynthError(
            "no surface", expected=f"a map that crosses {level:g}", got="none of its voxels does"
        )
    voxel = vertices * np.asarray(steps) + np.asarray([b.start - 1 for b in grid.BOX], float)
    return Surface(grid.voxel_to_mm(voxel).astype(np.float32), faces)


def largest(surface: Surface) -> Surface:
    """The connected part with the most vertices."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, faces = len(surface.vertices), surface.faces
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
    part = connected_components(links, directed=False)[1]
    kept = part == np.bincount(part).argmax()
    number = np.cumsum(kept) - 1
    return Surface(surface.vertices[kept], number[faces[kept[faces[:, 0]]]].astype(np.int32))


def sulcal_depth_mm(surface: Surface, maps: Floats) -> Floats:
    """Depth of every vertex below the smooth hull of the brain, mm, (n,): 0 on gyral crowns.

    The hull is the closing of the brain by a ball of 14 mm.
    """
    step = 2
    inside = brain_fraction(maps)[grid.BOX][::step, ::step, ::step] > LEVEL
    size, edge = grid.VOXEL_MM * step, int(np.ceil(_HULL_MM / (grid.VOXEL_MM * step))) + 1
    inside = np.pad(inside, edge)
    near = distance_transform_edt(~inside, sampling=size) < _HULL_MM
    depth = np.maximum(distance_transform_edt(near, sampling=size) - _HULL_MM, 0).astype(np.float32)
    at = (_voxels(surface.vertices) - np.asarray([b.start for b in grid.BOX])) / step + edge
    return map_coordinates(gaussian_filter(depth, 0.5), at.T, order=1, mode="nearest").astype(np.float32)


def moved_mm(surface: Surface, maps: Floats, baseline: Floats) -> Floats:
    """How far a brain's surface lies outside that of another brain, along its own normal, mm, (n,).

    Along every normal the nearest place within `REACH_MM` counts where `brain_fraction` falls below one half, in
    both brains alike, so that a brain has not moved from itself. Inside is negative; NaN where there is no place.

    Args:
        surface: of the brain, as from `cortex`.
        maps: of the brain.
        baseline: of the other brain.
    """
    offsets = np.arange(-REACH_MM, REACH_MM + _STEP_MM / 2, _STEP_MM, dtype=np.float32)
    points = surface.vertices[:, None] + offsets[:, None] * surface.normals[:, None]
    at = _voxels(points.reshape(-1, 3)).T
    own, other = (_falls_at(m, at, offsets) for m in (maps, baseline))
    return (own - other).astype(np.float32)


def _falls_at(maps: Floats, at: NDArray[Any], offsets: Floats) -> NDArray[Any]:
    """Offset nearest to 0 at which the fraction falls below one half on every normal, mm, (n,); NaN for none."""
    field = gaussian_filter(brain_fraction(maps), _BLUR_VOXELS)
    values = map_coordinates(field, at, order=1, mode="constant").reshape(-1, len(offsets)) - LEVEL
    falls = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
    share = values[:, :-1] / np.where(falls, values[:, :-1] - values[:, 1:], 1.0)
    where = np.where(falls, offsets[:-1] + _STEP_MM * share, np.inf)
    nearest = where[np.arange(len(where)), np.abs(where).argmin(axis=1)]
    return np.where(np.isfinite(nearest), nearest, np.nan)


def _voxels(mm: NDArray[Any]) -> NDArray[Any]:
    """Index on the grid of world positions, not rounded."""
    half = (np.asarray(grid.SHAPE, np.float32) - 1) / 2
    return (mm - np.asarray(grid.CENTRE_MM, np.float32)) / np.float32(grid.VOXEL_MM) + half


def _nets(field: Floats, level: float) -> tuple[Floats, NDArray[np.int32]]:
    """Surface nets: vertices in lattice units, (n, 3), and triangles, (m, 3)."""
    inside = field > level
    cells = tuple(s - 1 for s in field.shape)
    corners = np.zeros(cells, np.uint8)
    for shift in product((0, 1), repeat=3):
        corners += inside[_shifted(shift, cells)]
    active = (corners > 0) & (corners < 8)
    where = np.argwhere(active)
    total, count = np.zeros((len(where), 3), np.float32), np.zeros(len(where), np.float32)
    i, j, k = where.T
    for axis in range(3):
        along = np.eye(3, dtype=int)[axis]
        others = [a for a in range(3) if a != axis]
        for p, q in product((0, 1), repeat=2):
            start = np.zeros(3, int)
            start[others] = p, q
            a = field[i + start[0], j + start[1], k + start[2]] - level
            stop = start + along
            b = field[i + stop[0], j + stop[1], k + stop[2]] - level
            crosses = (a > 0) != (b > 0)
            share = np.where(crosses, a / np.where(crosses, a - b, 1), 0)
            total += crosses[:, None] * (start + share[:, None] * along)
            count += crosses
    number = np.full(cells, -1, np.int32)
    number[active] = np.arange(len(where), dtype=np.int32)
    faces = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3  # anticlockwise around the axis
        low = np.take(inside, range(inside.shape[axis] - 1), axis)
        high = np.take(inside, range(1, inside.shape[axis]), axis)
        for sign, crossing in ((1, low & ~high), (-1, ~low & high)):
            at = np.argwhere(crossing)
            at = at[(at[:, b] > 0) & (at[:, c] > 0) & (at[:, b] < cells[b]) & (at[:, c] < cells[c])]
            around = []
            for db, dc in ((-1, -1), (0, -1), (0, 0), (-1, 0))[::sign]:
                cell = at.copy()
                cell[:, b] += db
                cell[:, c] += dc
                around.append(number[tuple(cell.T)])
            quad = np.stack(around, axis=1)
            faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    vertices = (where + total / np.maximum(count, 1)[:, None]).astype(np.float32)
    return vertices, np.concatenate(faces).astype(np.int32)


def _shifted(shift: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(s, s + n) for s, n in zip(shift, size, strict=True))
