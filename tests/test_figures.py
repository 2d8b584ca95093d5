"""Figures: every pixel and click at the right voxel, under every display convention."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from PIL import Image

from csegsynth_core import figures, grid
from csegsynth_core.figures import CENTRE, PLANES, Display
from csegsynth_core.tissue import ALL, TISSUES, index

DISPLAYS = [Display(radiological=r, nose_left=n) for r, n in product((False, True), repeat=2)]


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """A ball of three shells, WM inside, with a lump of CSF on the person's left, front and top only."""
    i, j, k = np.indices(grid.SHAPE)
    radius = np.hypot(np.hypot(i - 39.5, j - 63.5), k - 63.5)
    out = np.zeros((3, *grid.SHAPE), np.float32)
    out[index("wm")] = radius < 20
    out[index("gm")] = (radius >= 20) & (radius < 28)
    lump = (i < 20) & (i > 12) & (j > 90) & (j < 100) & (k > 84) & (k < 92)
    out[index("csf")] = lump
    return out


def _picture(figure, n: int = 0) -> np.ndarray:
    source = figure.layout.images[n].source
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("plane", PLANES)
def test_every_point_of_the_picture_is_the_voxel_that_a_click_there_picks(plane, display) -> None:
    rng = np.random.default_rng(7)
    maps = np.zeros((3, *grid.SHAPE), np.float32)
    maps[index("gm")] = rng.random(grid.SHAPE)
    at = (30, 70, 55)
    figure = figures.slice_figure(maps, plane, at, display=display, mode="gm", smooth=False)
    picture = _picture(figure)[..., 1] / 158.0  # green of GM is 158
    (x0, x1), (y0, y1) = figure.layout.xaxis.range, figure.layout.yaxis.range
    trace = figure.data[0]
    for n in rng.integers(0, len(trace.x), 40):
        x, y = float(trace.x[n]), float(trace.y[n])
        column = int((x - x0) / (x1 - x0) * picture.shape[1])
        row = int((y - y1) / (y0 - y1) * picture.shape[0])
        voxel = figures.picked_voxel(plane, at, x, y)
        assert picture[row, column] == pytest.approx(maps[(index("gm"), *voxel)], abs=0.01)
        through = PLANES.index(plane)
        assert voxel[through] == at[through]
        assert np.allclose(grid.voxel_to_mm(voxel)[[a for a in range(3) if a != through]], [x, y])


@pytest.mark.parametrize("display", DISPLAYS)
def test_left_is_where_the_convention_puts_it(maps, display) -> None:
    for plane, lump_low in (("axial", True), ("coronal", True), ("sagittal", False)):
        view = figures.view(plane, display)
        at = {"axial": 88, "coronal": 95, "sagittal": 16}[plane]
        rgb = figures.slice_rgb(maps, view, at, mode="csf")
        columns = np.flatnonzero(rgb.sum(axis=(0, 2)))
        rows = np.flatnonzero(rgb.sum(axis=(1, 2)))
        on_left = columns.mean() < rgb.shape[1] / 2
        mirrored = display.nose_left if plane == "sagittal" else display.radiological
        assert on_left == (lump_low != mirrored)
        assert rows.mean() < rgb.shape[0] / 2  # anterior (axial) and superior are up
        wanted = {"axial": "L", "coronal": "L", "sagittal": "A"}[plane]
        assert view.letters[0 if on_left else 1] == wanted


def test_letters() -> None:
    assert figures.view("axial").letters == ("L", "R", "P", "A")
    assert figures.view("coronal").letters == ("L", "R", "I", "S")
    assert figures.view("sagittal").letters == ("P", "A", "I", "S")
    assert figures.view("axial", Display(radiological=True)).letters == ("R", "L", "P", "A")
    assert figures.view("coronal", Display(radiological=True)).letters == ("R", "L", "I", "S")
    assert figures.view("sagittal", Display(radiological=True)).letters == ("P", "A", "I", "S")
    assert figures.view("sagittal", Display(nose_left=True)).letters == ("A", "P", "I", "S")


def test_letters_are_on_all_four_sides_of_every_plane(maps) -> None:
    figure = figures.planes_figure(maps)
    for n, plane in enumerate(PLANES, start=1):
        ref = "x domain" if n == 1 else f"x{n} domain"
        spots = {
            (a.x, a.y): a.text
            for a in figure.layout.annotations
            if a.xref == ref and a.yref.endswith("domain")
        }
        left, right, bottom, top = figures.view(plane).letters
        assert spots == {
            (0, 0.5): f"<b>{left}</b>",
            (1, 0.5): f"<b>{right}</b>",
            (0.5, 0): f"<b>{bottom}</b>",
            (0.5, 1): f"<b>{top}</b>",
        }


def test_planes_share_one_scale(maps) -> None:
    layout = figures.planes_figure(maps).layout
    scales = [
        (ax.domain[1] - ax.domain[0]) / abs(ax.range[1] - ax.range[0])
        for ax in (layout.xaxis, layout.xaxis2, layout.xaxis3)
    ]
    assert np.allclose(scales, scales[0])
    heights = [
        (ax.domain[1] - ax.domain[0]) / abs(ax.range[1] - ax.range[0])
        for ax in (layout.yaxis, layout.yaxis2, layout.yaxis3)
    ]
    assert np.allclose(heights, heights[0])
    assert all(layout[a].scaleanchor == "x" for a in ("yaxis", "xaxis2", "yaxis2", "xaxis3", "yaxis3"))


def test_events_pick_voxels_and_ignore_everything_else() -> None:
    at = (30, 70, 55)
    x, y, _ = grid.voxel_to_mm((50, 40, 55))
    assert figures.picked_from_event([{"curve_number": 2, "x": x, "y": y}], at) == (50, 40, 55)
    assert figures.picked_from_event([{"curve_number": 0, "x": y, "y": 4.9}], at)[0] == 30
    assert figures.picked_from_event([], at) is None
    assert figures.picked_from_event([{"curve_number": 7, "x": 0, "y": 0}], at) is None
    assert figures.picked_voxel("axial", at, 1e4, -1e4) == (79, 0, 55)  # stays on the grid


def test_hover_tells_the_truth(maps) -> None:
    baseline = maps.copy()
    baseline[index("gm")] *= 0.75
    trace = figures.planes_figure(maps, CENTRE, mode="gm", baseline=baseline).data[2]
    n = int(np.flatnonzero((trace.customdata[:, 0] == 39) & (trace.customdata[:, 1] == 88))[0])
    assert (trace.x[n], trace.y[n]) == (-1, 31)
    assert trace.customdata[n].tolist() == [39, 88, 0, 100, 0, 250]
    assert f"z {grid.voxel_to_mm(CENTRE)[2]:.0f} mm" in trace.hovertemplate.replace("−", "-")


def test_composite_has_the_tissues_colours(maps) -> None:
    rgb = figures.slice_rgb(maps, figures.view("axial"), 63)
    middle = np.rint(255 * rgb[rgb.shape[0] // 2, rgb.shape[1] // 2]).astype(int)
    assert "#" + "".join(f"{c:02X}" for c in middle) == ALL[TISSUES.index("wm")].colour
    assert rgb[0].max() == 0


def test_difference_colours_are_symmetric() -> None:
    t = np.linspace(0, 1, 41, dtype=np.float32)
    hot, cold = figures.difference_rgb(t), figures.difference_rgb(-t)
    assert np.all(hot[0] == 0)
    assert np.all(cold[0] == 0)
    assert np.all(hot[1:, 0] > hot[1:, 2])
    assert np.all(cold[1:, 2] > cold[1:, 0])
    weight = np.array([0.2126, 0.7152, 0.0722], np.float32)
    assert np.allclose(hot @ weight, cold @ weight, atol=0.09)
    assert np.all(np.diff(hot @ weight) > 0)
    assert np.all(np.diff(cold @ weight) > 0)


def test_difference_scale_is_round_and_symmetric(maps) -> None:
    assert figures.difference_limit(np.zeros((4, 4, 4), np.float32)) == 0.02
    assert figures.difference_limit(np.full((4, 4, 4), -0.3, np.float32)) == 0.5
    baseline = maps.copy()
    baseline[index("gm")] *= 0.7
    texts = [a.text for a in figures.planes_figure(maps, mode="gm", baseline=baseline).layout.annotations]
    assert {"−0.5", "0", "+0.5"} <= set(texts)
    assert any("Δ fraction" in t for t in texts)


def test_figures_are_small() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.random((3, *grid.SHAPE)).astype(np.float32) / 3
    from scipy.ndimage import gaussian_filter

    brain = np.stack([gaussian_filter(c, 1.5) for c in coarse])
    for plane in PLANES:
        assert len(figures.slice_figure(brain, plane).to_json()) < 300_000


def test_points_are_there_but_not_drawn(maps) -> None:
    for trace in figures.planes_figure(maps).data:
        assert trace.marker.opacity == 0
        assert trace.marker.maxdisplayed == 1
        assert len(trace.x) == len(trace.y) == len(trace.customdata) > 5000


@pytest.mark.parametrize(
    ("centile", "words"),
    [
        (1.2, "1st centile"),
        (2.0, "2nd centile"),
        (11.4, "11th centile"),
        (37.0, "37th centile"),
        (92.6, "93rd centile"),
        (0.5, "below the 1st centile"),
        (99.5, "above the 99th centile"),
    ],
)
def test_centile_words(centile, words) -> None:
    assert figures.centile_words(centile) == words


def test_the_spread_over_draws_lies_below_the_person_and_inside_the_strip() -> None:
    row = figures.VolumeRow("GM", "#009E73", 700.0, 650.0, (500, 600, 650, 700, 800), (640.0, 905.0))
    figure = figures.centile_figure([row])
    spread = next(t for t in figure.data if "spread over draws" in (t.hovertemplate or ""))
    assert tuple(spread.x) == (640.0, 905.0) and spread.line.color == "#009E73" and max(spread.y) < 0
    assert figure.layout.xaxis.range[1] > 905
    without = figures.centile_figure([replace(row, spread=None)])
    assert len(without.data) == len(figure.data) - 1


def test_centile_figure_marks_person_and_baseline() -> None:
    row = figures.VolumeRow("GM", "#009E73", 700.0, 650.0, (500, 600, 650, 700, 800))
    figure = figures.centile_figure([row, row])
    person = [t for t in figure.data if "this person" in (t.hovertemplate or "")]
    assert [t.x[0] for t in person] == [700.0, 700.0]
    assert person[0].marker.color == "#009E73"
    low, high = figure.layout.xaxis.range
    assert low < 500 < 800 < high


def test_contours_lie_where_the_fraction_is_one_half(maps) -> None:
    average = np.zeros_like(maps)
    average[index("wm")] = 1.0
    figure = figures.planes_figure(maps, (39, 63, 63), mode=figures.CONTOURS, baseline=average)
    assert (
        np.ptp(_picture(figure)) == 0 and _picture(figure).max() > 100
    )  # behind it the other brain, in grey
    middle = grid.voxel_to_mm((39.5, 63.5, 63.5))
    for n, plane in enumerate(PLANES):
        _, across, up = figures.slices._AXES[plane]
        lines = {t.name: t for t in figure.data[3 + 3 * n : 6 + 3 * n]}
        assert {t.xaxis for t in lines.values()} == {figure.data[n].xaxis}
        for name, voxels in (("WM boundary", 20), ("pial and ventricular boundary", 28)):
            radius = np.hypot(lines[name].x - middle[across], lines[name].y - middle[up])
            assert np.nanmedian(radius) == pytest.approx(2 * voxels, abs=1.5)
    assert all(t.hoverinfo == "skip" for t in figure.data[3:])


@pytest.mark.parametrize("display", DISPLAYS)
def test_two_brains_side_by_side_share_scale_crosshair_and_clicks(maps, display) -> None:
    other = maps.copy()
    other[index("csf")] = 0
    at = (30, 70, 55)
    figure = figures.pair_figure(
        maps, other, at, titles=("This person", "Baseline"), display=display, mode="gm"
    )
    layout = figure.layout
    assert [a.text for a in layout.annotations if a.text in ("This person", "Baseline")] == [
        "This person",
        "Baseline",
    ]
    axes = ["", "2", "3", "4", "5", "6"]
    wide = [np.ptp(layout[f"xaxis{a}"].domain) / np.ptp(layout[f"xaxis{a}"].range) for a in axes]
    tall = [np.ptp(layout[f"yaxis{a}"].domain) / np.ptp(layout[f"yaxis{a}"].range) for a in axes]
    assert np.allclose(wide, wide[0]) and np.allclose(tall, tall[0])
    for n, plane in enumerate(PLANES):
        for a in (axes[n], axes[n + 3]):
            x0, x1 = layout[f"xaxis{a}"].range
            mirrored = display.nose_left if plane == "sagittal" else display.radiological
            assert (x0 > x1) == mirrored
        first = [(s.x0, s.y0) for s in layout.shapes if s.xref == f"x{axes[n]}"]
        second = [(s.x0, s.y0) for s in layout.shapes if s.xref == f"x{axes[n + 3]}"]
        assert first == second and len(first) == 4
        clicks = [
            figures.picked_from_event([{"curve_number": c, "x": 11.0, "y": 21.0}], at) for c in (n, n + 3)
        ]
        assert clicks[0] == clicks[1] == figures.picked_voxel(plane, at, 11.0, 21.0)
    assert sum("<b>L</b>" in a.text for a in layout.annotations) == 4
