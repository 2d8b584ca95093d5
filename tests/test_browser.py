"""The app in a real browser, as a person would use it."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from csegsynth_core import figures, grid
from csegsynth_core.generate import generate_one
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import ALL, TISSUES
from tests.browser import PATIENCE, go, settle, until, wait_for_brain


@pytest.fixture(scope="module")
def page(site) -> Iterator[Any]:
    """A page of the app on which the first brain has been drawn; `page.opened_in` says after how many seconds."""
    start = time.monotonic()
    with site.open(width=1440, height=900) as page:
        wait_for_brain(page)
        page.opened_in = time.monotonic() - start
        settle(page)
        yield page


def read_out(page: Any) -> tuple[list[int], dict[str, float]]:
    """Voxel and fractions below the planes."""
    text = page.locator(".readout").inner_text()
    voxel = [int(v) for v in re.search(r"voxel (\d+) (\d+) (\d+)", text).groups()]
    return voxel, {k.lower(): float(v) for k, v in re.findall(r"(WM|GM|CSF)\s+([\d.]+)", text)}


def click_plane(page: Any, n: int, across: float, down: float) -> None:
    """Click plane `n` at a share of its width and height."""
    box = page.locator(".st-key-planes .nsewdrag").nth(n).bounding_box()
    before = read_out(page)
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    page.mouse.move(x, y)
    page.wait_for_timeout(200)
    page.mouse.click(x, y)
    end = time.monotonic() + 10 * PATIENCE
    while read_out(page) == before:
        assert time.monotonic() < end, "the crosshair did not move"
        page.wait_for_timeout(30)
    settle(page)


def expected_voxel(
    plane: figures.Plane, display: figures.Display, share: float, down: float
) -> tuple[int, int]:
    """Voxel of a place on the screen along both axes of a plane."""
    view = figures.view(plane, display)
    (x0, x1), (y0, y1) = view.range_mm(view.across), view.range_mm(view.up)
    x = x1 - share * (x1 - x0) if view.mirrored else x0 + share * (x1 - x0)
    mm = [0.0, 0.0, 0.0]
    mm[view.across], mm[view.up] = x, y1 - down * (y1 - y0)
    voxel = grid.mm_to_voxel(mm)
    return int(voxel[view.across]), int(voxel[view.up])


def typical(pack: Pack) -> dict[str, Any]:
    """The person the page starts with."""
    return {**pack.encoder.default_person(sex=pack.encoder.levels["sex"].mode), "age": 48.0}


def test_the_first_brain_is_there_in_ten_seconds(page) -> None:
    assert page.opened_in < 10 * PATIENCE
    assert page.failures == []  # nothing asked of other machines, no script errors


def test_the_main_view_needs_no_scrolling(page) -> None:
    for width, height in ((1280, 800), (1440, 900)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(600)
        last = page.locator("table.volumes tr").last.bounding_box()
        assert last["y"] + last["height"] <= height


def test_a_click_moves_the_crosshair_to_the_voxel_under_the_mouse(page, pack) -> None:
    maps = generate_one(pack, typical(pack)).maps
    start, _ = read_out(page)
    click_plane(page, 2, 0.30, 0.42)
    voxel, fractions = read_out(page)
    wanted = expected_voxel("axial", figures.Display(), 0.30, 0.42)
    assert np.abs(np.subtract(voxel[:2], wanted)).max() <= 1
    assert voxel[0] < 40  # the left of the screen is the person's left
    assert voxel[2] == start[2]
    for n, tissue in enumerate(TISSUES):
        assert fractions[tissue] == pytest.approx(maps[(n, *voxel)], abs=0.006)


def test_the_export_is_of_the_view_on_screen(page, pack) -> None:
    page.get_by_text("GM", exact=True).first.click()
    settle(page)
    click_plane(page, 2, 0.62, 0.55)  # redraws the viewer alone
    voxel, fractions = read_out(page)
    page.get_by_role("button", name="Export").first.click()
    assert page.get_by_role("combobox", name="Figure").input_value() == "Planes, GM"
    with page.expect_download(timeout=30_000 * PATIENCE) as waiting:
        page.get_by_role("button", name="CSV", exact=True).click()
    table = pd.read_csv(waiting.value.path()).set_index("plane")
    normal = {"sagittal": 0, "coronal": 1, "axial": 2}
    for plane, axis in normal.items():
        across, up = (a for a in range(3) if a != axis)
        here = table.loc[plane]
        assert set(here["ijk"[axis]]) == {voxel[axis]}
        mine = here[(here["ijk"[across]] == voxel[across]) & (here["ijk"[up]] == voxel[up])]
        assert mine["gm"].item() == pytest.approx(fractions["gm"], abs=0.006)
    page.keyboard.press("Escape")
    settle(page)
    assert page.get_by_role("button", name="CSV", exact=True).count() == 0
    page.set_viewport_size({"width": 1900, "height": 900})  # the bar lies beside the popover
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("combobox", name="Figure").wait_for()
    page.locator(".st-key-viewer-bar").get_by_text("CSF", exact=True).click()
    figure = page.get_by_role("combobox", name="Figure")  # Streamlit leaves it open
    until(page, figure.input_value, "Planes, CSF")
    settle(page)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    settle(page)
    page.get_by_text("Tissues", exact=True).first.click()
    settle(page)


def toggle_display(page: Any, name: str) -> None:
    """Change a display convention, in the popover of the viewer."""
    page.get_by_role("button", name="Display").click()
    page.get_by_text(name, exact=True).click()
    settle(page)
    page.keyboard.press("Escape")


def test_radiological_exchanges_the_sides_of_screen_and_clicks(page) -> None:
    toggle_display(page, "Radiological")
    assert "view=r" in page.url
    click_plane(page, 1, 0.30, 0.5)
    voxel, _ = read_out(page)
    wanted = expected_voxel("coronal", figures.Display(radiological=True), 0.30, 0.5)
    assert np.abs(np.subtract([voxel[0], voxel[2]], wanted)).max() <= 1
    assert voxel[0] > 40
    assert "radiological" in page.locator(".readout").inner_text()
    toggle_display(page, "Radiological")


def test_age_by_keyboard_gives_the_cores_volumes(page, pack) -> None:
    page.get_by_role("slider").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    brain = generate_one(pack, {**typical(pack), "age": 52.0})
    page.wait_for_function("document.body.innerText.includes('52 years')", timeout=20_000 * PATIENCE)
    settle(page)
    for tissue in TISSUES:
        shown = page.locator(f'tr[data-volume="{tissue}"] .ml').inner_text()
        assert shown == f"{brain.volumes_ml[tissue]:.1f}"
    page.get_by_role("radiogroup").first.wait_for()
    page.get_by_text("Difference", exact=True).click()
    page.wait_for_function("document.querySelector('.st-key-planes').innerText.includes('Δ fraction')")


def test_back_and_forward_show_the_earlier_person(page) -> None:
    age, volumes_of = page.get_by_role("slider").first, page.locator("table.volumes .ml").all_inner_texts

    def seen() -> tuple[str, str, list[str]]:
        return page.locator("h1").inner_text(), age.input_value(), volumes_of()

    first, address = seen(), page.url
    age.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.location.href !== {address!r}", timeout=20_000 * PATIENCE)
    settle(page)
    second = seen()
    assert float(second[1]) == float(first[1]) + 1 and second[2] != first[2]
    for move, wanted in ((page.go_back, first), (page.go_forward, second), (page.go_back, first)):
        move()
        until(page, seen, wanted)
        settle(page)
    assert page.url == address
    go(page, "Cohort", "Cohort")
    page.go_back()
    until(page, lambda: "Generated brain" in page.locator("h1").inner_text(), True)
    settle(page)
    assert seen() == first
    page.go_forward()  # one press: over the page's bare address to its view
    until(page, lambda: page.locator("h1").inner_text().startswith("Cohort") and "?" in page.url, True)
    settle(page)
    page.go_back()
    until(page, lambda: "Generated brain" in page.locator("h1").inner_text(), True)
    settle(page)
    assert seen() == first and page.url == address


def test_the_download_opens_in_nibabel_with_left_on_the_left(page, pack, tmp_path) -> None:
    import nibabel as nib

    with page.expect_download(timeout=30_000 * PATIENCE) as waiting:
        page.get_by_role("button", name="Export").first.click()
        page.get_by_role("button", name="Download maps").click()
    download = waiting.value
    assert download.suggested_filename == "csegsynth_ixi_seed-0.zip"
    download.save_as(tmp_path / "maps.zip")
    with zipfile.ZipFile(tmp_path / "maps.zip") as archive:
        archive.extractall(tmp_path)
    age = float(re.search(r"(\d+) years", page.locator("h1").inner_text())[1])
    brain = generate_one(pack, {**typical(pack), "age": age})
    for n, tissue in enumerate(ALL):
        image = nib.load(next(tmp_path.rglob(f"*label-{tissue.bids}_desc-synthetic_probseg.nii.gz")))
        assert np.array_equal(image.affine, grid.affine())
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        data = np.asarray(image.dataobj)
        assert np.array_equal(data, brain.maps[n])
        assert not np.array_equal(data, data[::-1])  # the brain is not symmetric, so a flip would be seen
    sidecar = json.loads(next(tmp_path.rglob("*label-GM_desc-synthetic_probseg.json")).read_text())
    assert sidecar["Synthetic"] is True
    assert (sidecar["Seed"], sidecar["Features"]["age"]) == (0, age)


def eye(page: Any) -> list[float]:
    """Where the surface is seen from."""
    chart = "document.querySelector('.st-key-surface-chart .js-plotly-plot')"
    at = f"{chart}?._fullLayout?.scene?._scene?.getCamera().eye"
    page.wait_for_function(at, timeout=30_000 * PATIENCE)
    page.wait_for_timeout(1000)  # Streamlit draws a new chart several times
    return list(page.evaluate(at).values())


def test_a_turned_surface_stays_turned_for_another_person(page) -> None:
    page.keyboard.press("Escape")
    settle(page)
    page.get_by_text("3-D surface", exact=True).click()
    start = eye(page)
    box = page.locator(".st-key-surface-chart .js-plotly-plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 30, steps=6)
    page.mouse.up()
    turned = eye(page)
    assert np.abs(np.subtract(turned, start)).max() > 0.5
    ventricles = page.locator(".readout").inner_text()
    page.get_by_role("slider").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        f"document.querySelector('.readout').innerText !== {ventricles!r}", timeout=30_000 * PATIENCE
    )
    settle(page)
    assert eye(page) == pytest.approx(turned, abs=1e-3)
    page.get_by_text("Ventricles", exact=True).first.click()
    settle(page)
    assert eye(page) == pytest.approx(turned, abs=1e-3)
    page.locator(".st-key-surface-side").get_by_role("combobox").click()
    page.get_by_role("option", name="From above").click()
    settle(page)
    above = eye(page)
    assert above[2] == pytest.approx(max(above)) and above[:2] == pytest.approx([0, 0], abs=1e-3)
