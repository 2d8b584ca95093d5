"""Figures for papers: files open, text stays text, sizes are right; and what goes with them."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from csegsynth_core import __main__ as cli
from csegsynth_core import figures, static_figures, sweep_report
from csegsynth_core.changes import Change
from csegsynth_core.data.pictures import hex_rgb
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.figures import trajectory
from csegsynth_core.generate import generate
from csegsynth_core.scenarios import MEASURES, Plan, sweep
from csegsynth_core.substructures import REGIONS

pytestmark = pytest.mark.usefixtures("coarse_brains")
SVG = "{http://www.w3.org/2000/svg}"
LONG = "SIMULATED training data. Synthetic volumes, CSegSynth pack lifespan_of_everybody (0123456789); not a forecast"


@contextmanager
def written() -> Iterator[dict[str, float]]:
    """Every text that is drawn on figures saved meanwhile → how far it reaches beyond the paper, pixels."""
    drawn: dict[Text, tuple[str, float]] = {}
    found: dict[str, float] = {}
    draw, save = Text.draw, Figure.savefig

    def drawing(one: Text, renderer: Any, *args: Any, **look: Any) -> None:
        draw(one, renderer, *args, **look)
        if one.get_visible() and one.get_text().strip():
            box, paper = one.get_window_extent(renderer), one.get_figure(root=True).bbox
            beyond = max(-box.x0, -box.y0, box.x1 - paper.x1, box.y1 - paper.y1)
            drawn[one] = (one.get_text(), float(beyond))  # the last drawing is the one that is saved

    def saving(figure: Figure, *args: Any, **look: Any) -> None:
        drawn.clear()
        save(figure, *args, **look)
        for text, beyond in drawn.values():
            found[text] = max(beyond, found.get(text, -np.inf))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", drawing)
        patch.setattr(Figure, "savefig", saving)
        yield found


def cut(found: dict[str, float]) -> dict[str, float]:
    """Texts that reach beyond the paper."""
    assert found
    return {text: beyond for text, beyond in found.items() if beyond > 0.5}


@pytest.fixture(scope="module")
def people(pack) -> list[Any]:
    person = {**pack.encoder.default_person(sex="F"), "age": 50.0}
    one = sweep(pack, person, Plan(30, 90, 10, draws=3))
    return [("this person", one), ("B", replace(one, volumes=one.volumes.assign(gm=one.volumes["gm"] + 20)))]


@pytest.fixture(scope="module")
def drawn(pack, people) -> tuple[Any, Any]:
    return sweep_report.lines_of(people), sweep_report.reference_of(pack, people[0][1])


def _text(svg: bytes) -> str:
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    return " ".join("".join(t.itertext()) for t in root.iter(f"{SVG}text"))


def _millimetres(text: str) -> float:
    return float(text.removesuffix("pt")) / 72 * 25.4


@pytest.mark.parametrize("width", [static_figures.COLUMN_MM, static_figures.PAGE_MM])
def test_svg_is_xml_with_text_of_the_right_width(drawn, width) -> None:
    payload = static_figures.trajectory_file(
        *drawn, form="svg", trained=(20, 82), width_mm=width, note="a note"
    )
    root = ElementTree.fromstring(payload)  # noqa: S314 - our own
    assert _millimetres(root.get("width")) == pytest.approx(width, abs=0.5)
    text = _text(payload)
    for words in (
        "WM+GM+CSF", "Age (years)", "Volume (mL)", "this person: ideal", "B: regressed", "a note",
        "95 % confidence interval of the mean", "spread over 3 latent draws (5–95 %)",
        "training cohort: centiles 5–95, 25–75, median", "outside the training ages",
    ):  # fmt: skip
        assert words in text, words
    sizes = [float(s) for s in re.findall(rb"font-size: ([\d.]+)px", payload)]
    assert min(sizes) >= 6  # points: legible in print


def test_people_differ_in_brightness_and_markers_and_all_lines_in_dashes(people) -> None:
    three = sweep_report.lines_of([people[0], people[1], ("C", people[0][1])])
    looks = trajectory.looks(three)
    assert [look.symbol for look in looks] == [0, 0, 1, 1, 2, 2]
    assert [look.filled for look in looks] == [True, False] * 3
    assert sorted(look.dash for look in looks) == list(range(6))
    for dark in (False, True):
        bright = [float(hex_rgb(look.colour("#009E73", dark=dark)).sum()) for look in looks]
        steps = np.diff(bright) * (1 if dark else -1)
        assert (
            steps.min() > 0.05 and steps[[1, 3]].min() > steps[[0, 2, 4]].max()
        )  # most from person to person
    drawn = figures.trajectory_figure(three).data
    own = [t for t in drawn if t.mode == "markers" and t.xaxis == "x" and t.showlegend is False]
    assert len({(t.marker.color, t.marker.symbol) for t in own}) == 6


def test_pdf_embeds_its_fonts(drawn) -> None:
    payload = static_figures.trajectory_file(*drawn, form="pdf")
    assert payload.startswith(b"%PDF-1.")
    assert payload.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in payload  # TrueType, embedded
    assert b"/Type3" not in payload
    box = [float(v) for v in re.search(rb"/MediaBox \[([^\]]*)\]", payload)[1].split()]
    assert box[2] / 72 * 25.4 == pytest.approx(static_figures.COLUMN_MM, abs=0.5)


def test_png_has_300_dpi(drawn) -> None:
    image = Image.open(io.BytesIO(static_figures.trajectory_file(*drawn, form="png")))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.5)
    assert image.width == pytest.approx(static_figures.COLUMN_MM / 25.4 * 300, abs=2)


def test_the_same_figure_gives_the_same_file(drawn) -> None:
    assert static_figures.trajectory_file(*drawn) == static_figures.trajectory_file(*drawn)
    with pytest.raises(CSegSynthError, match=r"svg, pdf, png.*'tiff'"):
        static_figures.trajectory_file(*drawn, form="tiff")


def test_axes_lie_where_the_layout_put_them_to_a_millionth() -> None:
    """Its solver's last digits differ from call to call, and would get into the file."""
    kept: list[Any] = []

    def draw(figure: Any) -> list[Any]:
        kept.append(figure)
        for ax in figure.subplots(2, 2).ravel():
            ax.set_ylabel("a label")
        return []

    static_figures.saved(draw, "svg", 88, 70, note="a note")
    boxes = np.array([ax.get_position().bounds for ax in kept[0].axes])
    assert boxes == pytest.approx(boxes.round(6), abs=1e-12)
    assert boxes[:, 2:].std(axis=0) == pytest.approx(0, abs=1e-5) and boxes[:, 0].min() > 0.05


def test_the_plotly_figure_draws_the_tables_numbers(drawn) -> None:
    lines, reference = drawn
    figure = figures.trajectory_figure(lines, reference, trained=(20, 82))
    names = [t.name for t in figure.data if t.showlegend]
    assert names[:4] == [one.name for one in lines]
    assert any(n.startswith("spread over 3 latent draws") for n in names)
    assert "outside the training ages" in names
    points = [
        t
        for t in figure.data
        if t.mode == "markers" and t.name == "this person: ideal" and t.x[0] is not None
    ]
    assert len(points) == 4
    gm = lines[0].data.query("volume == 'gm'")
    assert list(points[1].y) == list(gm["value"])
    assert [s.x0 for s in figure.layout.shapes] == [82] * 4


@pytest.mark.parametrize("width", [static_figures.COLUMN_MM, static_figures.PAGE_MM])
def test_no_text_of_the_trajectory_is_cut_off_the_paper(drawn, people, width) -> None:
    lines, reference = drawn
    long = "somebody of whom there is a lot to be said, and more than would have room in one line of a key on a page"
    lines = [replace(one, name=f"{long}: {one.name}") for one in lines]
    reference = replace(reference, name="1350 people of the simulated training cohort")
    regions = sweep_report.lines_of(people, measures=[r.name for r in REGIONS])
    look: dict[str, Any] = {"form": "png", "trained": (35, 82), "width_mm": width, "note": LONG}
    for shown, unit in ((lines, "ml"), (regions, "percent")):
        with written() as found:
            static_figures.trajectory_file(shown, reference, unit=unit, **look)
        assert not cut(found)
        assert LONG in " ".join(found).replace("\n", " ")


def test_text_that_does_not_fit_is_wrapped_or_shortened() -> None:
    for room in (20.0, 60.0):
        lines = static_figures.wrapped(f"one\n{LONG} {'x' * 99}", room).split("\n")
        assert lines[0] == "one" and "".join(lines[1:]).replace(" ", "") == f"{LONG}{'x' * 99}".replace(
            " ", ""
        )
        assert max(map(static_figures.text_mm, lines)) <= room
        short = static_figures.shortened(LONG, room)
        assert short.endswith("…") and 0.8 * room < static_figures.text_mm(short) <= room
    assert static_figures.wrapped("", 20.0) == "" and static_figures.shortened("GM", 20.0) == "GM"
    assert static_figures.wrapped("GM", 0.1) == "G\nM"


def test_dollar_signs_stay_dollar_signs(drawn) -> None:
    lines, reference = drawn
    lines = [replace(lines[0], name="from $x_1$ to $y^2$"), *lines[1:]]
    svg = static_figures.trajectory_file(lines, reference, note="costs $5 to $9")
    assert "from $x_1$ to $y^2$" in _text(svg) and "costs $5 to $9" in _text(svg)


def test_units_of_age_are_the_packs(drawn, people, monkeypatch) -> None:
    monkeypatch.setattr(sweep_report, "FORMATS", {"svg": "image/svg+xml"})
    files = sweep_report.figure_files(*drawn, people[0][1], unit="ml", age_units="weeks")
    for name in ("trajectory.svg", "trajectory_wide.svg"):
        assert "Age (weeks)" in _text(files[name]) and "years" not in _text(files[name])
    assert b"Age (weeks)" in files["trajectory.html"] and b"Age (years)" not in files["trajectory.html"]


def _pictures(ages: int) -> list[np.ndarray]:
    return [np.full((40, 30, 3), k / ages, np.float32) for k in range(ages)]


@pytest.mark.parametrize("width", [static_figures.COLUMN_MM, static_figures.PAGE_MM])
def test_the_strip_marks_ages_outside_training(width) -> None:
    ages = [15.0, *range(20, 80, 10), 87.5]
    rows = [(name, _pictures(len(ages))) for name in ("ideal", "regressed")]
    known = [20 <= a <= 82 for a in ages]
    look: dict[str, Any] = {"width_mm": width, "age_units": "weeks", "note": LONG}
    with written() as found:
        static_figures.strip_file(figures.Strip(rows, ages, known), form="png", **look)
    assert not cut(found)
    assert {"15 ⚠", "20", "70", "87.5 ⚠", "Age (weeks)"} <= set(found)
    svg = static_figures.strip_file(figures.Strip(rows, ages, known), form="svg", **look)
    assert "⚠: outside the training ages" in _text(svg) and LONG in _text(svg)
    plain = static_figures.strip_file(figures.Strip(rows, ages), form="svg", **look)
    assert "⚠" not in _text(plain) and "outside" not in _text(plain)
    with pytest.raises(CSegSynthError, match="8 values"):
        figures.Strip(rows, ages, known[1:])


def test_the_strip_marks_unusual_people() -> None:
    ages = [20.0, 50.0, 80.0]
    rows = [(name, _pictures(len(ages))) for name in ("ideal", "regressed")]
    odd = [[("Occupation",), (), ("Height", "Occupation")], [()] * 3]
    strip = figures.strip_figure(figures.Strip(rows, ages, unusual=odd))
    marks = [(a.x, a.y, a.hovertext) for a in strip.layout.annotations if a.text == figures.ODD]
    assert [(int(x), math.ceil(y)) for x, y, _ in marks] == [(0, 2), (2, 2)]  # the upper row's first and last
    assert marks[1][2].startswith("Height, Occupation: few or no training people")
    svg = _text(static_figures.strip_file(figures.Strip(rows, ages, unusual=odd), form="svg"))
    assert svg.count("◇") == 3 and "(Height, Occupation)" in svg  # two pictures and what the mark says
    plain = _text(static_figures.strip_file(figures.Strip(rows, ages, unusual=[[()] * 3] * 2), form="svg"))
    assert "◇" not in plain and "few or no" not in plain
    frames = [
        figures.Frame(
            a, np.zeros((3, 80, 104, 80), np.uint8), dict.fromkeys(("wm", "gm", "csf", "wm_gm_csf"), 1.0)
        )
        for a in ages
    ]
    frames[1] = replace(frames[1], unusual=("Occupation",))
    film = figures.morph_figure(frames)
    said = [frame.layout.annotations[-1].text for frame in film.frames]
    assert ["unusual: Occupation" in text for text in said] == [False, True, False]


def test_filmstrip_and_scrubber(pack, people) -> None:
    one = people[0][1]
    frame = one.features.query("scenario == 'regressed'").iloc[[0, 3, 6]]
    brains = list(generate(pack, frame[list(pack.schema.names)]))
    frames = [
        figures.Frame.of(b, a, trained=bool(k))
        for b, a, k in zip(brains, frame["age"], frame["trained"], strict=True)
    ]
    assert np.abs(frames[0].maps - brains[0].maps).max() <= 0.5 / 255 + 1e-6
    shown = figures.Strip.of({"regressed": frames})
    strip = figures.strip_figure(shown)
    sides = ["<b>L</b>", "<b>R</b>", "<b>P</b>", "<b>A</b>"]
    said = [a.text for a in strip.layout.annotations]
    assert said == ["<b>regressed</b>", *sides, "30 years", "60", "90 ⚠"]
    display = figures.Display(radiological=True)
    turned = figures.film_slices(frames, display=display)
    assert all(np.array_equal(a, b[:, ::-1]) for a, b in zip(turned, shown.rows[0][1], strict=True))
    both = figures.Strip.of({"ideal": frames, "regressed": frames}, display)
    assert both.known == [True, True, False]
    strip = figures.strip_figure(both)
    marks = {(a.text, a.x, a.y) for a in strip.layout.annotations if len(a.text) == len("<b>R</b>")}
    for row in (0, 1):  # on the first picture of each row, the person's left on the right
        wanted = {("<b>R</b>", 0, row + 0.5), ("<b>L</b>", 1, row + 0.5), ("<b>A</b>", 0.5, row + 1)}
        assert wanted | {("<b>P</b>", 0.5, row)} <= marks
    morph = figures.morph_figure(frames, title="regressed")
    montage = figures.montage_figure([("somebody", figures.three_planes(brains[0].maps))])
    for figure in (strip, morph, montage):  # otherwise smaller with every change of the window
        assert figure.layout.xaxis.constrain == figure.layout.yaxis.constrain == "domain"
    assert [f.name for f in morph.frames] == ["0", "1", "2"]
    assert len({f.layout.images[0].source for f in morph.frames}) == 3
    assert all(f.layout.images[0].source.startswith("data:image/webp") for f in morph.frames)
    assert f"GM {brains[1].volumes_ml['gm']:.0f}" in morph.frames[1].layout.annotations[-1].text
    assert "outside" in morph.frames[2].layout.annotations[-1].text
    left = {a.text for a in morph.layout.annotations}
    assert {"<b>L</b>", "<b>R</b>", "<b>A</b>", "<b>P</b>", "<b>S</b>", "<b>I</b>"} <= left
    svg = static_figures.strip_file(both, form="svg", note="synthetic")
    assert "Age (years)" in _text(svg)
    assert [_text(svg).split().count(letter) for letter in "LRAPSI"] == [2, 2, 2, 2, 0, 0]
    with pytest.raises(CSegSynthError, match=r"3 pictures|2 pictures"):
        figures.Strip(shown.rows, [1.0, 2.0])


@pytest.fixture(scope="module")
def everything(pack, people) -> tuple[Any, dict[str, bytes]]:
    """Two people swept with different settings, and the files of their zip."""
    mine = {**people[0][1].person, "height": 171.23456789}
    changes = (Change("occupation", 45.0, "retired"),)
    plan = Plan(20, 60, 8, ("regressed",), draws=2, seed=4, changes=changes)
    swept = [
        ("this person", sweep(pack, mine, plan)),
        ("B", sweep(pack, people[0][1].person, replace(plan, scenarios=("ideal",), draws=1, changes=()))),
    ]
    swept = [(n, replace(s, simulated=True)) for n, s in swept]
    brains = {"ideal": generate(pack, swept[0][1].features[list(pack.schema.names)].head(1))}
    payload = sweep_report.everything(swept, pack, brains=brains)
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return swept, {n: archive.read(n) for n in archive.namelist()}


def test_everything_opens_and_says_what_it_is(everything) -> None:
    swept, files = everything
    for form in ("svg", "pdf", "png"):
        assert f"trajectory.{form}" in files
        assert f"trajectory_wide.{form}" in files
    assert "SIMULATED" in _text(files["trajectory.svg"])
    assert "SIMULATED" in files["methods.txt"].decode()
    assert "SIMULATED" in files["README.txt"].decode()
    assert json.loads(files["settings.json"])[0]["simulated_training_data"] is True
    assert b"SIMULATED" in files["trajectory.html"]
    assert b"<script src=" not in files["trajectory.html"]  # nothing from other machines
    table = pd.read_csv(io.BytesIO(files["trajectory.csv"]))
    assert {"person", "scenario", "volume", "age", "value", "fit", "ci_low", "ci_high", "draws_low"} <= set(
        table
    )
    volumes = pd.read_csv(io.BytesIO(files["volumes.csv"]))
    assert len(volumes) == sum(len(s.volumes) for _, s in swept)
    assert {"wm_gm_csf", *MEASURES} - {"wm+gm+csf"} <= set(volumes) and "wm+gm+csf" not in volumes
    assert not any(b"wm+gm+csf" in content for name, content in files.items() if name.endswith(".csv"))
    assert "Draw -1" not in files["README.txt"].decode()
    for stem in ("trajectory", "regions"):
        line = pd.read_csv(io.BytesIO(files[f"{stem}_line.csv"]))
        assert line.groupby(["person", "scenario", "volume"]).size().eq(121).all()
        assert f"{stem}_wide.pdf" in files
    assert "and amygdala" in _text(files["regions.svg"])
    assert any(
        n.startswith("maps_ideal/") and n.endswith("label-GM_desc-synthetic_probseg.nii.gz") for n in files
    )
    assert files["citation.bib"].decode().count("@") == 2


def test_the_zip_says_what_the_draw_without_noise_is(pack, people, monkeypatch) -> None:
    """A mean over all rows of an age would take the brain without noise for one of the draws."""
    monkeypatch.setattr(sweep_report, "figure_files", lambda *_, **__: {})
    one = sweep(pack, people[0][1].person, Plan(30, 60, 5, ("ideal",), draws=2))
    assert set(one.volumes["draw"]) == {-1, 0, 1}
    with zipfile.ZipFile(io.BytesIO(sweep_report.everything([("this person", one)], pack))) as archive:
        readme = archive.read("README.txt").decode()
    assert "Draw -1 in volumes.csv is the brain without noise" in readme and "leave it out of means" in readme


def test_the_command_line_makes_the_same_numbers_and_goes_on(pack, people, tmp_path, capsys) -> None:
    one = sweep(pack, people[0][1].person, Plan(30, 60, 15, ("ideal",)))
    table, out = tmp_path / "people.csv", tmp_path / "out"
    pd.DataFrame([one.person]).assign(participant_id=["sub-01"]).to_csv(table, index=False)
    words = shlex.split(sweep_report.command(one, table=str(table), out=str(out)))
    assert words[:4] == ["python", "-m", "csegsynth_core", "sweep"]
    assert cli.main([*words[3:], "--quiet"]) == 0
    made = pd.read_csv(out / "sub-01_sweep.tsv", sep="\t")
    assert np.allclose(made[["wm", "gm", "csf"]], one.volumes[["wm", "gm", "csf"]], rtol=1e-4)
    assert np.allclose(made["wm_gm_csf"], one.volumes["wm+gm+csf"], rtol=1e-4)
    assert json.loads((out / "sweep.json").read_text())["Units"]["wm_gm_csf"] == "mL"
    assert pd.read_csv(out / "sub-01_path.tsv", sep="\t")["age"].tolist() == [30, 45, 60]
    capsys.readouterr()
    assert cli.main([*words[3:], "--quiet"]) == 0
    assert "0 people swept, 1 already there" in capsys.readouterr().out
    (out / "sub-01_sweep.tsv").unlink()  # as when it was stopped
    assert cli.main([*words[3:], "--quiet"]) == 0
    assert "1 people swept, 0 already there" in capsys.readouterr().out
    assert cli.main([*words[3:], "--quiet", "--seed", "5"]) == 2
    assert "other settings" in capsys.readouterr().err
    side = json.loads((out / "sweep.json").read_text())
    assert side["Synthetic"] is True
    assert side["ModelHash"] == pack.hash


def test_the_commands_of_the_zip_make_its_volumes_again(everything, tmp_path, monkeypatch) -> None:
    for name, content in everything[1].items():
        if "/" not in name:
            (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    readme = (tmp_path / "README.txt").read_text()
    commands = [shlex.split(c) for c in re.findall(r"^    (python -m csegsynth_core .*)$", readme, re.M)]
    assert len(commands) == 2  # they were swept with different settings
    assert ["occupation=retired@45" in words for words in commands] == [True, False]
    tables, lines = sweep_report.repeated(everything[0])  # as the page shows them
    assert [shlex.split(line) for line in lines] == commands
    assert {name: everything[1][name] for name in tables} == tables
    for words in commands:
        assert cli.main([*words[3:], "--quiet"]) == 0
    wanted = pd.read_csv("volumes.csv")
    assert set(wanted["participant_id"]) == {"sub-01", "sub-02"}
    for who, folder in (("sub-01", "OUT"), ("sub-02", "OUT2")):
        made = pd.read_csv(tmp_path / folder / f"{who}_sweep.tsv", sep="\t")
        rows = wanted[wanted["participant_id"] == who]
        assert made["age"].tolist() == rows["age"].tolist()
        names = ["wm_gm_csf", *(m for m in MEASURES if m != "wm+gm+csf")]
        assert np.allclose(made[names], rows[names], rtol=1e-5)


def test_what_has_to_be_said_before(pack) -> None:
    (said,) = sweep_report.warnings_of(pack, Plan(30, 90, 10))
    stats = pack.encoder.numeric["age"]
    span = f"{stats.minimum:.1f}–{stats.maximum:.1f} years"
    assert f"1 of 7 ages lie outside the training range ({span})" in said
    assert sweep_report.warnings_of(pack, Plan(30, 60, 10)) == []


def test_tables_and_methods_are_of_everybody(people) -> None:
    alone = people[:1]
    assert sweep_report.volume_table(alone).equals(people[0][1].volumes)
    assert sweep_report.methods_of(people) == sweep_report.methods(people[0][1])  # one plan for both
    for table, part in (
        (sweep_report.volume_table(people), "volumes"),
        (sweep_report.feature_rows(people), "features"),
    ):
        for name, one in people:
            own = table[table["person"] == name].drop(columns="person").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, getattr(one, part).reset_index(drop=True))
    other = replace(people[1][1], plan=replace(people[1][1].plan, scenarios=("ideal",), seed=4))
    first, second = sweep_report.methods_of([people[0], ("B", other)]).split("\n\n")
    assert first.startswith("For this person: Synthetic") and "seed 0" in first and "regressed" in first
    assert second.startswith("For B: Synthetic") and "seed 4" in second and "regressed" not in second


def test_methods_name_the_settings(people) -> None:
    text = sweep_report.methods(people[0][1])
    for words in (
        "30 to 90 years",
        "7 ages",
        "3 times (seed 0)",
        "third-order polynomial",
        "Gaussian-process surface over",
        "not forecasts",
    ):
        assert words in text
    kept = replace(people[0][1], plan=Plan(30, 60, 10, ("regressed",), keep_distance=True, exact=True))
    text = sweep_report.methods(kept, unit="percent")
    assert "own distance" in text.replace("own\ndistance", "own distance")
    assert "Every age and draw was decoded" in text
    assert '"ideal"' not in text
