"""The surface and the outlines in print."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from csegsynth_core import page_figures, surface
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.figures import VENTRICLES
from csegsynth_core.generate import generate_one
from csegsynth_core.static_brains import planes_file
from csegsynth_core.static_surface import surface_file, surface_table
from tests.test_surface import ball

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> str:
    return " ".join("".join(t.itertext()) for t in ElementTree.fromstring(svg).iter(f"{SVG}text"))  # noqa: S314 - our own


@pytest.fixture(scope="module")
def mesh() -> surface.Surface:
    return surface.isosurface(surface.brain_fraction(ball(40.0)), lattice_mm=4.0)


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float) / 255


def test_what_moved_outwards_is_red_and_inwards_blue_on_its_own_side(mesh) -> None:
    """Seen from above, left on the left: a ball that grew on its left and shrank on its right."""
    moved = np.where(mesh.vertices[:, 0] < 0, 3.0, -3.0).astype(np.float32)
    rgb = picture(surface_file(mesh, moved, moved=True, sides=("above",), form="png"))
    rows, middle, reach = rgb.shape[0] // 3, rgb.shape[1] // 2, rgb.shape[1] // 8
    left, right = rgb[rows, middle - reach], rgb[rows, middle + reach]
    assert left[0] > left[2] + 0.2 and right[2] > right[0] + 0.2
    svg = surface_file(mesh, moved, moved=True, sides=("above", "left"), form="svg", note="Synthetic")
    said = texts(svg)
    assert "Moved outwards from the baseline, mm" in said and "left side" in said and "Synthetic" in said


def test_depth_darkens_and_what_is_not_known_is_grey(mesh) -> None:
    flat = np.zeros(len(mesh.vertices), np.float32)
    seen = [picture(surface_file(mesh, flat + mm, form="png", sides=("left",))) for mm in (0.0, 10.0, np.nan)]
    crown, depth, unknown = (rgb[rgb.shape[0] // 3, rgb.shape[1] // 2] for rgb in seen)
    assert crown.min() > depth.max() + 0.2
    assert crown[0] > crown[2] + 0.02  # warm
    assert unknown[2] > unknown[0] + 0.02  # cold grey


def test_what_lies_inside_is_seen_through_the_cortex(mesh) -> None:
    inner = surface.isosurface(surface.brain_fraction(ball(15.0)), lattice_mm=4.0)
    depth = np.zeros(len(mesh.vertices), np.float32)
    rgb = picture(surface_file(mesh, depth, inner=[(inner, *VENTRICLES)], sides=("left",), form="png"))
    blue = rgb[..., 2] - rgb[..., 0] > 0.3
    assert 0.01 < blue.mean() < 0.2


def test_unknown_forms_are_refused(mesh) -> None:
    with pytest.raises(CSegSynthError):
        surface_file(mesh, np.zeros(len(mesh.vertices), np.float32), form="gif")


def test_the_table_holds_every_vertex(mesh) -> None:
    depth = np.arange(len(mesh.vertices), dtype=np.float32)
    table = surface_table(mesh, depth, "depth_mm")
    assert isinstance(table, pd.DataFrame) and list(table) == ["x_mm", "y_mm", "z_mm", "depth_mm"]
    assert np.array_equal(table["depth_mm"], depth) and np.allclose(table["x_mm"], mesh.vertices[:, 0])


def test_the_individual_page_prints_contours_and_surfaces(pack) -> None:
    person = generate_one(pack, pack.encoder.default_person(sex="F") | {"age": 70.0}, seed=3)
    base = generate_one(pack, pack.encoder.default_person(sex="F"), seed=3)
    asked: list[str] = []

    def meshes():
        asked.append("meshes")
        one = surface.isosurface(surface.brain_fraction(person.maps), lattice_mm=6.0)
        return one, np.zeros(len(one.vertices), np.float32), one

    shown = page_figures.person_figures(pack, person, base, behind=lambda: base.maps, meshes=meshes)
    by_name = {one.name: one for one in shown}
    assert not asked, "nothing is computed before it is asked for"
    assert {"contours", "surface_folds", "surface_moved", "surface_inside"} <= set(by_name)
    said = texts(planes_file(person.maps, (40, 64, 60), mode="contours", baseline=base.maps, form="svg"))
    assert "WM boundary" in said and "outer CSF" in said and "axial" in said
    table = by_name["surface_moved"].table()
    known = table["moved_mm"].dropna()
    assert asked and len(known) > 0.5 * len(table) and known.abs().max() > 0
