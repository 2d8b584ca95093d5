"""Meshes: where they lie, which way they face, and what is measured on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from csegsynth_core import figures, grid, regions, surface
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.generate import generate_one
from csegsynth_core.tissue import index


def ball(radius_mm: float, centre_mm: tuple[float, float, float] = (0.0, -18.0, 4.0)) -> np.ndarray:
    """Maps of a ball of WM with soft edges, (3, 80, 128, 128)."""
    ijk = np.stack(np.indices(grid.SHAPE), axis=-1)
    distance = np.linalg.norm(grid.voxel_to_mm(ijk) - centre_mm, axis=-1)
    out = np.zeros((3, *grid.SHAPE), np.float32)
    out[index("wm")] = np.clip((radius_mm - distance) / grid.VOXEL_MM + 0.5, 0, 1)
    return out


NONE = np.zeros(grid.SHAPE, np.float32)


def test_a_ball_has_its_place_its_volume_and_normals_that_point_out() -> None:
    centre = (8.0, -30.0, 10.0)
    mesh = surface.cortex(ball(40, centre), NONE)
    away = mesh.vertices - np.float32(centre)
    assert np.abs(np.linalg.norm(away, axis=1) - 40).max() < 0.6
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * 4.0**3, rel=0.02)
    assert (mesh.normals * away).sum(axis=1).min() > 0.9 * 40
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}  # closed: every edge has two triangles


def test_a_larger_ball_has_moved_outwards_by_the_difference_of_the_radii() -> None:
    maps = ball(42)
    mesh = surface.cortex(maps, NONE)
    assert np.nanmedian(surface.moved_mm(mesh, maps, ball(40))) == pytest.approx(2.0, abs=0.1)
    assert np.nanmedian(surface.moved_mm(mesh, maps, ball(45))) == pytest.approx(-3.0, abs=0.1)
    assert np.all(surface.moved_mm(mesh, maps, maps) == 0)
    assert np.isnan(surface.moved_mm(mesh, maps, ball(20))).all()  # out of reach


def test_a_furrow_is_deep_and_the_rest_is_not() -> None:
    maps = ball(45)
    i, _, k = np.indices(grid.SHAPE)
    furrow = (np.abs(i - 39.5) < 2) & (k > 70)  # x = 0, from about z = 17 mm to the top
    maps[:, furrow] = 0
    mesh = surface.cortex(maps, NONE)
    depth = surface.sulcal_depth_mm(mesh, maps)
    bottom = (np.abs(mesh.vertices[:, 0]) < 2) & (np.abs(mesh.vertices[:, 2] - 18) < 3)
    bottom &= np.abs(mesh.vertices[:, 1] + 18) < 15
    crown = np.abs(mesh.vertices[:, 0]) > 20
    assert depth[bottom].min() > 15
    assert np.median(depth[crown]) < 2.5


def test_no_brain_is_an_error() -> None:
    with pytest.raises(CSegSynthError, match="no surface"):
        surface.isosurface(NONE)
    with pytest.raises(CSegSynthError, match=r"80, 128, 128"):
        surface.isosurface(NONE[:40])


def test_the_shipped_brain_travels_light(pack) -> None:
    brain = generate_one(pack, pack.encoder.default_person())
    inside = regions.parcel_map(brain.maps, "ventricles")
    assert inside.sum() * grid.VOXEL_ML == pytest.approx(brain.regions_ml["ventricles"], rel=0.05)
    assert np.all(inside <= brain.maps[index("csf")] + 1e-6)
    mesh = surface.cortex(brain.maps, inside)
    depth = surface.sulcal_depth_mm(mesh, brain.maps)
    ventricles = surface.isosurface(inside, level=0.4)
    figure = figures.surface_figure(mesh, depth, inner=[(ventricles, *figures.VENTRICLES)], side="above")
    assert len(figure.to_json()) < 1_500_000
    outer = next(t for t in figure.data if t.name == "cortex")
    assert outer.opacity < 0.5  # to be seen through
    letters = next(t for t in figure.data if t.name == "letters")
    left = list(letters.text).index("<b>L</b>")
    assert letters.x[left] < mesh.vertices[:, 0].min()
    eye = figure.layout.scene.camera.eye
    assert eye.z > 0 and eye.x == eye.y == 0
    moved = figures.surface_figure(
        mesh, np.where(depth > 5, np.nan, -depth / 5).astype(np.float32), moved=True
    )
    shade = np.asarray(next(t for t in moved.data if t.name == "cortex").intensity)
    assert set(shade[depth > 5]) == {0} and shade[depth <= 5].min() >= 1  # grey where there is no counterpart
    assert json.loads(moved.to_json())["data"][0]["colorbar"]["ticktext"][1] == "0"
