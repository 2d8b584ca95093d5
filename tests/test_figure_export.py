"""What leaves the pages: figures open in every form, zips hold what they say, their commands repeat the numbers."""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from csegsynth_core import __main__ as cli
from csegsynth_core import (
    compare,
    coverage,
    figures,
    grid,
    measured,
    page_export,
    page_figures,
    saliency,
    surface,
)
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.schema import Schema
from csegsynth_core.figure_export import ExportFigure
from csegsynth_core.generate import generate_one, volumes_over_draws
from csegsynth_core.pack import find
from csegsynth_core.scenario_file import Scenario, from_dict, read_json
from csegsynth_core.scenarios import MEASURES
from csegsynth_core.static_figures import COLUMN_MM, PAGE_MM
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import BY_NAME, TISSUES
from csegsynth_core.uncertainty import PairedSpread
from tests.test_static_figures import cut, written

pytestmark = pytest.mark.usefixtures("coarse_brains")
SVG = "{http://www.w3.org/2000/svg}"
ENDS = PairedSpread(
    person={v: (ml - 9.0, ml + 9.0) for v, ml in zip(MEASURES, range(500, 800, 20), strict=False)},
    change={v: (ml - 30.0, ml - 28.0) for v, ml in zip(MEASURES, range(0, 300, 20), strict=False)},
    draws=10,
    person_mean={v: float(ml) for v, ml in zip(MEASURES, range(500, 800, 20), strict=False)},
    change_mean={v: ml - 29.0 for v, ml in zip(MEASURES, range(0, 300, 20), strict=False)},
)
"""As if of draws; changes of some volumes lie outside."""


@pytest.fixture(scope="module")
def brains(pack) -> tuple[Any, Any]:
    person = pack.encoder.default_person(sex="F")
    return generate_one(pack, {**person, "age": 70.0}, seed=3), generate_one(
        pack, {**person, "age": 40.0}, seed=3
    )


def _figures(
    pack: Any,
    brains: tuple[Any, Any],
    *,
    label: str = "typical female person",
    names: Sequence[str] = ("now", "older"),
    title: str = "GM",
    **more: Any,
) -> dict[str, ExportFigure]:
    """Figures of all pages by name.

    Args:
        names: of scenarios.
        title: of the influence figure.
        more: for the Individual page; then regions are compared too, and each table of the evaluation is there.
    """
    person, base = brains
    out = page_figures.person_figures(pack, person, base, label=label, spread=lambda: ENDS, draws=10, **more)
    found = saliency.gradients(pack, person.features, draws=2, resolution=2)
    whole = saliency.summarise(pack, found)
    shown = saliency.to_show(whole, None, "gm", 6)
    band = saliency.band_name(whole)
    out += page_figures.influence_figures(
        pack, shown, colour="#009E73", axis="mL per SD", band=band, title=title, whole=lambda: whole
    )
    change = (person.maps - base.maps) / 10
    age = pack.schema.age.label
    out.append(page_figures.map_figure(pack, person, lambda: change, "age", age, tissue="gm"))
    ml = np.random.default_rng(0).normal(500, 9, (len(names), 4, 3 + (len(REGIONS) if more else 0)))
    table = compare.compared(list(names), ml)
    two = {name: (base, person)[n % 2] for n, name in enumerate(names)}
    people = {name: brain.features for name, brain in two.items()}
    out += page_figures.compare_figures(pack, table, two, people, plane="axial", tissue="gm")
    places = coverage.placed(pack, person.features)
    summary = CohortSummary.of_pack(pack.folder)
    for kind in ("numeric", "nominal"):
        row = places[(places["kind"] == kind) & (places["feature"] != "age")].iloc[0].to_dict()
        out += page_figures.cohort_figures(pack, row, places, person, summary)
    of_tables = {one.name.split("_")[0]: one for one in reversed(page_figures.evaluation_figures(pack))}
    return {one.name: one for one in [*out, *(of_tables.values() if more else [of_tables["volumes"]])]}


@pytest.fixture(scope="module")
def everything_shown(pack, brains) -> dict[str, ExportFigure]:
    """Figures of all pages by name."""
    return _figures(pack, brains)


@pytest.fixture(scope="module")
def long_named(pack, brains) -> dict[str, ExportFigure]:
    """All figures of a pack of simulated people where everything has a long name."""
    encoder = copy(pack.encoder)
    long = "and how that was found out in the interview"
    encoder.schema = Schema(
        tuple(
            replace(f, label=f"{f.label} {long}", levels={k: f"{v}, {long}" for k, v in f.levels.items()})
            for f in pack.schema.features
        )
    )
    about = pack.about | {"simulated": True, "name": "simulated_people_of_all_ages_and_many_features"}
    simulated = replace(pack, encoder=encoder, about=about)
    cortex = surface.isosurface(surface.brain_fraction(brains[0].maps), lattice_mm=8.0)
    depth = np.linspace(0, 9, len(cortex.vertices), dtype=np.float32)
    return _figures(
        simulated,
        brains,
        label=f"somebody else, typical in everything but age, {long}",
        names=[f"{n}: as before but with all of their habits changed {long}" for n in "ABCD"],
        title=f"Grey matter of a person, at the age of 70 years, compared with others of the same sex {long}",
        behind=lambda: brains[1].maps,
        meshes=lambda: (cortex, depth, cortex),
    )


@pytest.mark.parametrize("width", [COLUMN_MM, PAGE_MM])
def test_no_text_is_cut_off_the_paper(long_named, width) -> None:
    simulated = []
    for name, one in long_named.items():
        with written() as found:
            one.file("png", width)
        assert not cut(found), name
        if any("SIMULATED" in text for text in found):
            simulated.append(name)
    assert simulated == list(long_named)
    assert {"contours", "surface_moved", "surface_inside", "scenarios_regions", "regions_mape"} <= set(
        simulated
    )


def test_every_page_has_its_figures(everything_shown) -> None:
    names = set(everything_shown)
    wanted = {"planes", "planes_baseline", "difference_gm", "volumes", "influence", "map_Age_gm"}
    wanted |= {"scenarios_volumes", "scenarios_slices", "volumes_by_age", "people_by_age_and_sex"}
    assert wanted | {"correlations", "coverage"} <= names
    assert any(n.startswith("levels_") for n in names) and any(n.startswith("distribution_") for n in names)


def test_units_of_age_and_names_of_sexes_are_the_packs(pack, brains) -> None:
    """Also a name that matplotlib would leave out of a key, since it begins with "_"."""
    person, _ = brains
    schema = pack.schema
    assert schema.age is not None and schema.sex is not None
    encoder = copy(pack.encoder)
    encoder.schema = Schema(
        tuple(
            replace(f, units="weeks")
            if f.name == schema.age.name
            else replace(f, levels={k: f"_{v}" for k, v in f.levels.items()})
            if f.name == schema.sex.name
            else f
            for f in schema.features
        )
    )
    weeks, summary = replace(pack, encoder=encoder), CohortSummary.of_pack(pack.folder)
    places = coverage.placed(weeks, person.features)
    row = places[places["feature"] == "height"].iloc[0].to_dict()
    by_name = {one.name: one for one in page_figures.cohort_figures(weeks, row, places, person, summary)}
    for name in ("age_Height", "volumes_by_age", "people_by_age_and_sex"):
        root = ElementTree.fromstring(by_name[name].file("svg", COLUMN_MM))  # noqa: S314 - our own
        text = " ".join("".join(t.itertext()) for t in root.iter(f"{SVG}text"))
        assert "Age (weeks)" in text and "years" not in text, name
        shown = by_name[name].html().to_json()
        assert "Age, weeks" in shown and "years" not in shown, name
        if name != "volumes_by_age":
            assert all(label in text for label in ("_female", "_male")), name


def test_svg_is_xml_with_legible_text(everything_shown) -> None:
    for name, one in everything_shown.items():
        payload = one.file("svg", COLUMN_MM)
        root = ElementTree.fromstring(payload)  # noqa: S314 - our own
        width = float(root.get("width").removesuffix("pt")) / 72 * 25.4
        assert width == pytest.approx(COLUMN_MM, abs=0.5), name
        text = " ".join("".join(t.itertext()) for t in root.iter(f"{SVG}text"))
        assert "CSegSynth pack" in text, name
        sizes = [float(s) for s in re.findall(rb"font(?:-size)?: ?(?:bold )?([\d.]+)px", payload)]
        assert min(sizes) >= 6, name  # points
    planes = everything_shown["difference_gm"].file("svg", COLUMN_MM).decode()
    for words in ("sagittal, x = −1 mm", "axial, z =", "50 mm", ">L<", ">R<", ">A<", ">P<", ">S<", ">I<"):
        assert words in planes, words
    assert "Grey matter: change of fraction (person − baseline)" in planes
    volumes = everything_shown["volumes"].file("svg", COLUMN_MM).decode()
    assert "5–95 % of 10 latent draws" in volumes and "women aged 70" in volumes


def test_pdf_embeds_its_fonts_on_one_page(everything_shown) -> None:
    for name in ("planes", "volumes", "influence", "correlations"):
        payload = everything_shown[name].file("pdf", PAGE_MM)
        assert payload.startswith(b"%PDF-1.") and payload.rstrip().endswith(b"%%EOF")
        assert b"/FontFile2" in payload and b"/Type3" not in payload
        assert len(re.findall(rb"/Type /Page\b", payload)) == 1
        box = [float(v) for v in re.search(rb"/MediaBox \[([^\]]*)\]", payload)[1].split()]
        assert box[2] / 72 * 25.4 == pytest.approx(PAGE_MM, abs=0.5)


def test_png_has_300_dpi_and_sides_are_right(pack, everything_shown) -> None:
    image = Image.open(io.BytesIO(everything_shown["planes"].file("png", COLUMN_MM)))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.5)
    assert image.width == pytest.approx(COLUMN_MM / 25.4 * 300, abs=2)
    assert everything_shown["planes"].file("png", PAGE_MM) == everything_shown["planes"].file("png", PAGE_MM)


def test_tables_hold_the_numbers_of_the_figures(pack, brains, everything_shown) -> None:
    person, base = brains
    volumes = pd.read_csv(io.BytesIO(everything_shown["volumes"].csv())).set_index("volume")
    assert volumes.loc["gm", "person_ml"] == pytest.approx(person.volumes_ml["gm"], rel=1e-5)
    change = person.volumes_ml["gm"] - base.volumes_ml["gm"]
    assert volumes.loc["gm", "change_ml"] == pytest.approx(change, rel=1e-4)
    for volume in ("csf", "ventricles"):
        own, paired = ENDS.person[volume], ENDS.change[volume]
        assert tuple(volumes.loc[volume, ["draws_low_ml", "draws_high_ml"]]) == own
        assert tuple(volumes.loc[volume, ["change_draws_low_ml", "change_draws_high_ml"]]) == paired
        assert volumes.loc[volume, "change_draws_mean_ml"] == ENDS.change_mean[volume]
    assert (volumes["draws"] == 10).all()
    voxels = everything_shown["difference_gm"].table()
    assert set(voxels["plane"]) == {"sagittal", "coronal", "axial"}
    row = voxels[voxels["plane"] == "axial"].iloc[500]
    i, j, k = int(row["i"]), int(row["j"]), int(row["k"])
    assert row["change_gm"] == pytest.approx(person.maps[1, i, j, k] - base.maps[1, i, j, k], abs=1e-6)
    assert list(grid.voxel_to_mm((i, j, k))) == [row["x_mm"], row["y_mm"], row["z_mm"]]
    for name, one in everything_shown.items():
        assert len(pd.read_csv(io.BytesIO(one.csv()))) > 0, name


def test_interactive_pages_need_no_network(everything_shown) -> None:
    for name in ("planes", "scenarios_slices", "influence"):
        page = everything_shown[name].page()
        assert b"plotly.js v" in page and b'src="https://' not in page
        assert everything_shown[name].page("directory") == everything_shown[name].page("directory")
        assert b'src="plotly.min.js"' in everything_shown[name].page("directory")


def test_sides_are_marked_on_slices_of_scenarios(pack, brains) -> None:
    two, people = {"now": brains[1], "older": brains[0]}, {"now": {}, "older": {}}
    table = compare.compared(["now", "older"], np.random.default_rng(0).normal(500, 9, (2, 4, 3)))
    for display, left in ((figures.Display(), "L"), (figures.Display(radiological=True), "R")):
        shown = page_figures.compare_figures(
            pack, table, two, people, plane="axial", tissue="gm", display=display
        )
        figure = next(f for f in shown if f.name == "scenarios_slices").html()
        marks = [a for a in figure.layout.annotations if a.text in ("<b>L</b>", "<b>R</b>", "<b>A</b>")]
        assert {(a.xref, a.text) for a in marks} == {
            (x, f"<b>{t}</b>") for x in ("x", "x2", "x4") for t in "LRA"
        }
        assert {a.text for a in marks if a.x == -0.5} == {f"<b>{left}</b>"}


def _text(svg: bytes) -> str:
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    return " ".join("".join(t.itertext()) for t in root.iter(f"{SVG}text"))


def test_figures_of_the_evaluation_show_every_region_and_name_their_intervals(pack) -> None:
    made = {f.name: f for f in page_figures.evaluation_figures(pack)}
    regions = made["regions_mae_ml"]
    assert regions.title == "Regions: MAE, mL"
    figure = regions.html()
    titles = {re.sub("</?b>", "", a.text.replace("<br>", " ")) for a in figure.layout.annotations}
    assert {r.title for r in REGIONS} <= titles and len(figure.data) == len(REGIONS)
    first, second = (figure.layout[axis].domain for axis in ("yaxis", "yaxis6"))  # one of each row of panels
    assert first[0] > second[1] and second[0] >= 0
    for width in (COLUMN_MM, PAGE_MM):
        text = _text(regions.file("svg", width))
        assert all(r.title in text for r in REGIONS) and "95 % bootstrap over people" in text
    assert "95 % jackknife over people" in _text(made["images_mmd"].file("svg", COLUMN_MM))
    simulated = replace(pack, about=pack.about | {"simulated": True})
    made = {f.name: f for f in page_figures.evaluation_figures(simulated)}
    assert "SIMULATED training data" in _text(made["volumes_mape"].file("svg", PAGE_MM))


def _layout(page: str) -> dict[str, Any]:
    """Layout of the figure in an interactive page: the third argument of the call that draws it."""
    rest = page[page.index("Plotly.newPlot(") + len("Plotly.newPlot(") :]
    found: Any = None
    for _ in range(3):
        found, end = json.JSONDecoder().raw_decode(rest.lstrip())
        rest = rest.lstrip()[end:].lstrip().removeprefix(",")
    return found


def test_interactive_figures_say_what_they_are(pack, brains, everything_shown) -> None:
    for name, one in everything_shown.items():
        assert one.note, name
        if name.startswith("surface"):
            continue
        before, page = one.html(), one.page("directory").decode()
        assert f"<title>{one.title}</title>" in page, name
        shown = _layout(page)
        head = shown["title"]["text"]
        assert head.startswith(f"<b>{one.title}</b>"), name
        words = re.sub(r"<[^>]*>", " ", head)
        assert f"CSegSynth pack {pack.name}" in words and "Research use only" in words, name
        room = shown["margin"]["t"] - (100 if before.layout.margin.t is None else before.layout.margin.t)
        assert room > 0 and shown["height"] == (before.layout.height or 450) + room, name
    assert "This person: female, 70 years; draw 3" in everything_shown["planes"].note
    simulated = replace(pack, about=pack.about | {"simulated": True})
    for one in [
        *page_figures.person_figures(simulated, *brains, label="somebody"),
        *page_figures.evaluation_figures(simulated)[:1],
    ]:
        assert "SIMULATED training data" in one.note
    centiles = everything_shown["volumes"].html()
    assert {f"<b>{n}</b>" for n in ("WM", "GM", "CSF", "WM+GM+CSF")} <= {
        a.text for a in centiles.layout.annotations
    }
    assert centiles.layout.xaxis4.title.text == "Volume (mL), each row on its own scale"
    assert "each row on its own scale" in _text(everything_shown["volumes"].file("svg", COLUMN_MM))
    volumes = everything_shown["scenarios_volumes"].html()
    assert volumes.layout.yaxis.ticktext == ("now", "older") and volumes.layout.yaxis.showticklabels


def test_interactive_scenarios_name_their_regions() -> None:
    ml = np.random.default_rng(0).normal(50, 9, (2, 4, 3 + len(REGIONS)))
    table = compare.compared(["now", "older"], ml)
    figure = figures.scenarios_figure(table, alone=True)
    assert {f"<b>{r.title}</b>" for r in REGIONS} <= {a.text for a in figure.layout.annotations}
    assert {t.marker.color for t in figure.data} >= {BY_NAME[r.tissue].colour for r in REGIONS}


def _run(archive: zipfile.ZipFile, folder: Path, monkeypatch: Any, n: int = 0) -> None:
    """Unpack and run the n-th command of the README, but for its progress bar."""
    archive.extractall(folder)
    monkeypatch.chdir(folder)
    lines = [s.strip() for s in (folder / "README.txt").read_text("utf-8").splitlines()]
    words = shlex.split([s for s in lines if s.startswith("python -m csegsynth_core")][n])
    assert cli.main([*words[3:], "--quiet"]) == 0


def test_the_person_zip_opens_everywhere_and_repeats_itself(
    pack, brains, everything_shown, tmp_path, monkeypatch
) -> None:
    from nilearn.image import load_img

    person, base = brains
    scenario = Scenario(pack.name, pack.hash, dict(person.features), seed=3).to_json()
    shown = [everything_shown["volumes"]]
    payload = page_export.person_zip(
        pack, shown, person, base, label="somebody older", draws=10, scenario=scenario
    )
    archive = zipfile.ZipFile(io.BytesIO(payload))
    methods = archive.read("methods.txt").decode()
    who = page_figures.alike(pack, person).who
    assert "compared with a baseline: somebody older (" in methods and "over 10 latent draws" in methods
    assert f"training people's prepared maps: {who}, by restricted quantile regression" in methods
    names = set(archive.namelist())
    for end in ("svg", "pdf", "png", "csv", "html"):
        assert f"figures/volumes.{end}" in names
    assert {"figures/volumes_wide.pdf", "figures/plotly.min.js", "methods.txt", "citation.bib"} <= names
    assert from_dict(read_json(archive.read("scenario.json")), pack)[0].person == person.features
    settings = json.loads(archive.read("settings.json"))
    assert settings["ModelHash"] == pack.hash and settings["Seed"] == 3 and settings["Synthetic"] is True
    _run(archive, tmp_path, monkeypatch)
    told = pd.read_csv(tmp_path / "volumes.csv").set_index("participant_id")
    again = pd.read_csv(tmp_path / "again" / "volumes.tsv", sep="\t").set_index("participant_id")
    names = [*TISSUES, "wm_gm_csf"]
    assert np.allclose(again.loc[told.index, names], told[names], atol=2e-3)
    for label in ("WM", "GM", "CSF"):
        name = (
            f"sub-synthetic/anat/sub-synthetic_space-{grid.SPACE}_label-{label}_desc-synthetic_probseg.nii.gz"
        )
        image = load_img(str(tmp_path / "maps" / name))
        assert np.array_equal(image.affine, grid.affine())
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 2)
        made = nib.load(tmp_path / "again" / name)
        assert np.array_equal(np.asarray(made.dataobj), np.asarray(image.dataobj))


def test_the_scenarios_zip_repeats_its_means(pack, brains, tmp_path, monkeypatch) -> None:
    two = {"now": brains[1], "older": brains[0]}
    ml = np.stack([volumes_over_draws(pack, b.features, draws=4, seed=3)[0] for b in two.values()])
    table = compare.compared(list(two), ml)
    payload = page_export.compare_zip(pack, [], table, two, draws=4, seed=3, scenario="")
    archive = zipfile.ZipFile(io.BytesIO(payload))
    assert sum(n.endswith("_probseg.nii.gz") for n in archive.namelist()) == 6
    _run(archive, tmp_path, monkeypatch)
    again = pd.read_csv(tmp_path / "again_volumes" / "volumes.tsv", sep="\t")
    again = again.groupby("participant_id").mean(numeric_only=True)
    told = pd.read_csv(tmp_path / "volumes.csv").query("measure in ('wm', 'gm', 'csf', 'wm_gm_csf')")
    assert len(told) == 8
    for row in told.to_dict("records"):
        assert again.loc[row["participant_id"], row["measure"]] == pytest.approx(row["mean_ml"], abs=0.01)


def test_files_of_a_mean_map_tell_whose_mean_it_is(pack, brains) -> None:
    person = brains[0]
    people = pd.DataFrame([dict(b.features) for b in brains], index=["sub-1", "sub-2"])
    people.index.name = "participant_id"
    change = (person.maps - brains[1].maps) / 10
    mean = saliency.MeanMap(change, brains[1].maps, people, of=7, draws=3, seed=9)
    files = dict(page_figures.map_files(pack, person, change, "age", mean=mean))
    stem = "sub-mean/anat/sub-mean_space-"
    (path,) = (
        n for n in files if n.startswith(stem) and n.endswith("label-GM_desc-gradientAge_statmap.json")
    )
    sidecar = json.loads(files[path])
    assert sidecar["Description"].startswith("Mean over 2 of 7 people and 3 latent draws of each. Derivative")
    assert (sidecar["People"], sidecar["PeopleInAll"], sidecar["Draws"], sidecar["Seed"]) == (2, 7, 3, 9)
    assert sidecar["Participants"] == ["sub-1", "sub-2"] and "Features" not in sidecar
    assert "Mean over 2 of 7 people" in files["README.md"].decode()
    assert "Mean over 2 of 7 people" in json.loads(files["dataset_description.json"])["Name"]
    listed = pd.read_csv(io.BytesIO(files["participants.tsv"]), sep="\t")
    assert listed["participant_id"].tolist() == ["sub-1", "sub-2"]
    whose = saliency.averaged_words(7, 3)
    shown = page_figures.map_figure(
        pack, person, lambda: change, "age", "Age", tissue="gm", whose=whose, anatomy=lambda: mean.anatomy
    )
    assert whose in shown.title and whose in shown.note and "one person:" not in shown.note
    assert b"mean of 7 people" in shown.file("svg", PAGE_MM)
    voxels, below = (
        page_figures.map_figure(pack, b, lambda: change, "age", "Age", tissue="gm").table() for b in brains
    )
    assert shown.table().equals(below) and not shown.table().equals(voxels)


def test_the_influence_zip_repeats_its_table(pack, brains, tmp_path, monkeypatch) -> None:
    person = brains[0]
    people = pd.DataFrame([dict(b.features) for b in brains], index=["sub-1", "sub-2"])
    people.index.name = "participant_id"
    found = saliency.gradients(pack, people, draws=1, seed=2, resolution=2, measures=saliency.EVERYTHING)
    where = {"age": (60.0, 80.0)}
    whole = saliency.summarise(pack, found, where=where)
    change = (person.maps - brains[1].maps) / 10
    contrasts = saliency.contrasts(pack, people, ["sex"], where=where, draws=1, seed=2, resolution=2)
    shown = saliency.to_show(whole, contrasts, "gm", 60)
    payload = page_export.influence_zip(
        pack, [], found, whole, where=where, draws=1, scenario="",
        maps=page_figures.map_files(pack, person, change, "age"),
        bars=page_export.bars_table(shown, found, measure="gm", band=saliency.band_name(whole), people=1, draws=1),
        contrasts=contrasts,
    )  # fmt: skip
    archive = zipfile.ZipFile(io.BytesIO(payload))
    _run(archive, tmp_path, monkeypatch)
    bars = pd.read_csv(io.BytesIO(archive.read("bars.csv")))  # in natural units, with contrasts, as drawn
    assert np.allclose(bars["value_ml"], shown["value_ml"], rtol=1e-5)
    assert set(bars["unit"]) >= {"mL per year", "mL (contrast)"} and set(bars["measure"]) == {"gm"}
    assert set(bars["pack_hash"]) == {pack.hash} and set(bars["seed"]) == {2}
    methods = archive.read("methods.txt").decode()
    assert (
        "averaged over 1 latent draw and 1 person; every second voxel along each axis was summed." in methods
    )
    assert "Brains were generated with one latent draw (seed 2)" in methods
    for name in ("influence.csv", "bars.csv", "contrasts.csv"):
        assert not pd.read_csv(io.BytesIO(archive.read(name)))["every_voxel"].any(), name
    keys = ["measure", "column"]
    told = pd.read_csv(tmp_path / "influence.csv").set_index(keys)
    again = pd.read_csv(tmp_path / "again" / "summary.csv").set_index(keys).loc[told.index]
    off = (again["per_sd_ml"] - told["per_sd_ml"]).abs()
    assert off.max() < 1e-4 * told["per_sd_ml"].abs().max(), off.nlargest(3)
    assert set(again["people"]) == {1} and set(again["pack_hash"]) == {pack.hash}
    path = next((tmp_path / "maps").rglob("*_label-GM_desc-gradientAge_statmap.nii.gz"))
    assert np.array_equal(np.asarray(nib.load(path).dataobj), change[1])
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text("utf-8"))
    assert sidecar["Units"] == "fraction per standard deviation of the feature"
    assert "ICBM152 2009 nonlinear symmetric" in sidecar["SpatialReference"]
    described = json.loads((tmp_path / "maps" / "dataset_description.json").read_text("utf-8"))
    assert described["DatasetType"] == "derivative" and described["Synthetic"] is True
    mapped = pd.read_csv(tmp_path / "maps" / "participants.tsv", sep="\t")
    assert mapped["participant_id"].tolist() == [path.name.split("_")[0]]
    about = json.loads((tmp_path / "again" / "settings.json").read_text("utf-8"))
    assert (about["Draws"], about["Seed"], about["ModelHash"]) == (1, 2, pack.hash)
    assert about["Columns"]["per_sd_ml"]["Units"] == "mL"


def test_the_cohort_zip_repeats_the_person_and_says_where_they_lie(
    pack, brains, tmp_path, monkeypatch
) -> None:
    person = brains[0]
    places = coverage.placed(pack, person.features)
    archive = zipfile.ZipFile(io.BytesIO(page_export.cohort_zip(pack, [], places, person, scenario="")))
    _run(archive, tmp_path, monkeypatch)
    told = pd.read_csv(tmp_path / "volumes.csv").set_index("participant_id")
    again = pd.read_csv(tmp_path / "again" / "volumes.tsv", sep="\t").set_index("participant_id")
    names = [*TISSUES, "wm_gm_csf"]
    assert np.allclose(again.loc[told.index, names], told[names], atol=2e-3)
    assert len(pd.read_csv(tmp_path / "features.csv")) == len(pack.schema.names)
    readme = (tmp_path / "README.txt").read_text("utf-8")
    assert f"{page_export.COHORT_GIVES} from the command line" in readme and "same numbers" not in readme


def test_the_method_zip_repeats_every_analysis(pack, tmp_path, monkeypatch) -> None:
    from csegsynth_core.__main__ import main
    from csegsynth_core.scenario_pages import Comparison
    from csegsynth_core.scenarios import Plan

    person = dict.fromkeys(pack.schema.names) | {"age": 48.0, "sex": "F"}
    session = page_export.Session(
        person,
        3,
        sweep=Plan(40.0, 60.0, 20.0, ("ideal",), seed=3),
        comparison=Comparison.of({"as now": person, "older": person | {"age": 70.0}}, person, 2),
        gradients=page_export.GradientSettings("1 person", False, 1, 2),
    )
    archive = zipfile.ZipFile(io.BytesIO(page_export.method_zip(pack, session, scenario="{}")))
    archive.extractall(tmp_path)
    assert {"methods.txt", "citation.bib", "licences.txt", "scenario.json"} <= set(archive.namelist())
    methods = archive.read("methods.txt").decode()
    assert methods == session.methods(pack) + "\n"
    for words in (
        "(seed 3)",
        "40 to 60 years",
        "as now, older",
        "2 latent draws",
        "1 latent draw and 1 person",
    ):
        assert words in methods
    assert str(pack.about["licence"]) in archive.read("licences.txt").decode()
    monkeypatch.chdir(tmp_path)
    readme = archive.read("README.txt").decode().splitlines()
    lines = [line.strip() for line in readme if line.strip().startswith("python -m csegsynth_core")]
    assert lines == session.commands(pack) and len(lines) == 5
    for line in lines:
        assert main([*shlex.split(line)[3:], "--quiet"]) == 0, line
    made = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert made == {"again", "again_sweep", "again_volumes", "again_maps", "again_influence"}


def test_the_evaluation_zip_holds_the_measurements_and_a_command_that_is_one(pack, tmp_path) -> None:
    from train.__main__ import build_parser

    tables = {"evaluation": measured.tidy(pack.metrics), "paired": measured.paired(pack.metrics)}
    archive = zipfile.ZipFile(io.BytesIO(page_export.evaluation_zip(pack, [], tables)))
    readme = archive.read("README.txt").decode()
    line = next(s.strip() for s in readme.splitlines() if s.strip().startswith("python -m train evaluate"))
    args = build_parser().parse_args(shlex.split(line)[3:])
    assert find(args.pack) == pack.folder and args.split == "test"
    table = pd.read_csv(io.BytesIO(archive.read("evaluation.csv")))
    cell = table.query("table == 'volumes' and method == 'csegsynth' and part == 'gm' and metric == 'mape'")
    assert cell["value"].tolist() == [
        pytest.approx(pack.metrics["volumes"]["csegsynth"]["gm"]["mape"]["value"])
    ]
    assert archive.read("card.md").decode() == pack.card
