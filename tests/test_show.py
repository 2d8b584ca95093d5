"""The command `show`: the files of a page's export from a scenario file alone; nothing of the user's is lost."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csegsynth_core import __main__ as cli
from csegsynth_core import compare, coverage, page_views, show, static_figures
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.errors import CSegSynthError, ScenarioError, SourceError
from csegsynth_core.generate import generate_one
from csegsynth_core.page_views import View
from csegsynth_core.scenario_file import Scenario, from_dict
from csegsynth_core.scenario_pages import Comparison, InfluenceView
from csegsynth_core.scenarios import Plan, sweep

pytestmark = pytest.mark.usefixtures("coarse_brains", "small_pictures")


@pytest.fixture(scope="module")
def small_pictures() -> Iterator[None]:
    """PNG of fewer dots: each is drawn twice, by the page and by the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_figures, "DPI", 60)
        yield


@pytest.fixture(scope="module")
def person(pack) -> dict[str, Any]:
    return page_views.typical(pack, "F") | {"age": 61.0}


def _saved(scenario: Scenario, folder: Path) -> Path:
    path = folder / "a.scenario.json"
    path.write_text(scenario.to_json(), "utf-8")
    return path


def _run(payload: bytes, scenario: Scenario, folder: Path, capsys: Any) -> dict[str, bytes]:
    """Files that the line in a zip's README makes, from the scenario alone."""
    readme = zipfile.ZipFile(io.BytesIO(payload)).read("README.txt").decode()
    line = next(s.strip() for s in readme.splitlines() if "csegsynth_core show " in s)
    words = shlex.split(line)[3:]
    words[1], words[words.index("--out") + 1] = str(_saved(scenario, folder)), str(folder / "out")
    assert cli.main([*words, "--quiet"]) == 0
    made = {
        str(p.relative_to(folder / "out")): p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()
    }
    assert f"{len(made)} files" in capsys.readouterr().out
    return made  # fmt: skip


def _files(payload: bytes) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(payload))
    return {name: archive.read(name) for name in archive.namelist()}


def test_compare_is_the_same_to_the_byte(pack, person, tmp_path, capsys) -> None:
    compared = Comparison.of({"as now": person, "older": person | {"age": 70.0}}, person, 2)
    display = {"radiological": True, "nose_left": False, "voxels": True}
    scenario = Scenario(pack.name, pack.hash, person, seed=3, display=display, compare=compared)
    view = View(at=(30, 60, 50), plane="coronal", tissue="csf")
    brains = {name: generate_one(pack, dict(one), seed=3) for name, one in compared.people.items()}
    ml = [compare.volumes_of_draws(pack, one, draws=2, seed=3) for one in compared.people.values()]
    table = compare.compared(list(brains), np.stack(ml))
    payload = page_views.compare(pack, scenario, view, compared, table, brains).everything()
    made = _run(payload, scenario, tmp_path, capsys)
    assert made == _files(payload)
    assert {"figures/scenarios_slices_wide.pdf", "volumes.csv", "methods.txt", "scenario.json"} <= set(made)


def test_scenarios_of_a_table_of_ones_own(pack, person, tmp_path, capsys) -> None:
    people = {"sub-01": person | {"age": 33.0}, "sub-02": person | {"height": None}}
    scenario = Scenario(pack.name, pack.hash, person | {"height": None})
    compared = Comparison.of(people, scenario.person, 4)
    brains = {name: generate_one(pack, dict(one), seed=0) for name, one in people.items()}
    ml = [compare.volumes_of_draws(pack, one, draws=4, seed=0) for one in people.values()]
    table = compare.compared(list(brains), np.stack(ml))
    page = page_views.compare(pack, scenario, View(), compared, table, brains, own=True)
    assert shlex.split(page.show)[4:] == [
        *("scenario.json", "--page", "compare", "--out", "again_page", "--table", "table.csv")
    ]
    files = _files(page.everything())
    held, _ = from_dict(json.loads(files["scenario.json"]), pack)
    assert held.compare is not None and held.compare.draws == 4
    assert not {"sub-01", "sub-02"} & set(
        held.compare.scenarios
    )  # no scenario file holds a table of the user's
    assert b"without the people of table.csv" in files["README.txt"]
    for name in ("scenario.json", "table.csv"):
        (tmp_path / name).write_bytes(files[name])
    first, *rows = files["table.csv"].decode().splitlines()  # columns more, as the app would take them
    more = [f"{first},heigth,group", *(f"{row},170,x" for row in rows)]
    (tmp_path / "table.csv").write_text("\n".join(more) + "\n", "utf-8")
    words = [
        "show",
        str(tmp_path / "scenario.json"),
        "--page",
        "compare",
        "--table",
        str(tmp_path / "table.csv"),
    ]
    words += ["--quiet"]
    assert cli.main([*words, "--zip", str(tmp_path / "deep" / "a.zip")]) == 0
    assert _files((tmp_path / "deep" / "a.zip").read_bytes()) == files
    said = "Columns that ixi does not know, left out: heigth (perhaps 'height' was meant), group.\n"
    assert capsys.readouterr().err == said


def test_cohort_and_method_are_the_same_to_the_byte(pack, person, tmp_path, capsys) -> None:
    plan = Plan(40.0, 60.0, 5.0, ("ideal",), draws=2, seed=5)
    scenario = Scenario(pack.name, pack.hash, person, seed=5, sweep=plan)
    brain, places = generate_one(pack, dict(person), seed=5), coverage.placed(pack, person)
    session = page_views.session_of(pack, scenario, ["sweep", "influence"])
    pages = {
        "cohort": page_views.cohort(
            pack, scenario, View(feature="sex"), places, brain, CohortSummary.of_pack(pack.folder)
        ),
        "method": page_views.method(pack, scenario, session),
    }
    for name, page in pages.items():
        (tmp_path / name).mkdir()
        payload = page.everything()
        assert _run(payload, scenario, tmp_path / name, capsys) == _files(payload), name
    assert "--feature sex" in pages["cohort"].show
    assert pages["method"].show.endswith("--told sweep influence")
    told = _files(pages["method"].everything())["methods.txt"].decode()
    assert "40 to 60 years" in told and "back-propagation" in told and "were compared" not in told


def test_the_pages_brains_are_told_by_options(pack, person, tmp_path, monkeypatch) -> None:
    """What of the Individual page no scenario holds: place, mode, tissue, and what the baseline is called."""
    base = person | {"age": 40.0}
    scenario = Scenario(pack.name, pack.hash, person, seed=2, baseline=base)
    view = View(at=(30, 60, 50), mode="wm", tissue="wm", label="the person you set")
    one, other = (generate_one(pack, dict(p), seed=2) for p in (person, base))
    kept: list[Any] = []

    def zipped(pack: Any, figures: Any, *brains: Any, scenario: str, show: str, **told: Any) -> bytes:
        assert told["label"] == "the person you set" and told["draws"] == page_views.SPREAD_DRAWS
        kept.append(([f.name for f in figures], figures[0].file("svg", 88.0), brains, scenario, show))
        return b""

    monkeypatch.setattr(page_views.page_export, "person_zip", zipped)
    page_views.individual(
        pack, scenario, view, one, other, spread=lambda: None, behind=lambda: None, meshes=lambda: None
    ).everything()  # fmt: skip
    line = shlex.split(kept[0][-1])
    assert line[line.index("--at") :] == [
        *("--at", "30", "60", "50", "--mode", "wm", "--tissue", "wm", "--label", "the person you set")
    ]
    options = cli.build_parser().parse_args([*line[3:], "--quiet"])
    asked = View(tuple(options.at), options.mode, options.tissue, label=options.label)
    assert asked == view
    again, read, notes = show.opened(_saved(scenario, tmp_path))
    show.page_zip(again, read, "individual", asked)
    assert not notes and kept[1][:2] == kept[0][:2] and kept[1][3:] == kept[0][3:]
    for made, before in zip(kept[1][2], kept[0][2], strict=True):
        assert np.array_equal(made.maps, before.maps)


def test_a_group_of_ones_own_needs_its_table(pack, person, tmp_path, capsys) -> None:
    view = InfluenceView(whose="table", unit="natural", top=3)
    scenario = Scenario(pack.name, pack.hash, person, influence=view)
    words = ["show", str(_saved(scenario, tmp_path)), "--page", "influence", "--out", str(tmp_path / "o")]
    assert cli.main([*words, "--quiet"]) == 2
    assert "--table FILE" in capsys.readouterr().err and not (tmp_path / "o").exists()
    own = tmp_path / "mine.csv"
    own.write_text("participant_id,age,sex,height,group\nsub-1,40,F,1.7,x\nsub-2,60,M,n/a,x\n", "utf-8")
    assert cli.main([*words, "--table", str(own), "--quiet"]) == 0
    said = capsys.readouterr().err
    assert "Columns that ixi does not know, left out: group.\n" in said
    assert "Not plausible, taken as unknown and filled in: height of sub-1: 1.7 (expected" in said
    kept = (tmp_path / "o" / "table.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[0] for row in kept] == ["participant_id", "sub-1", "sub-2"] and "n/a" in kept[1]
    again = (tmp_path / "o" / "README.txt").read_text("utf-8")
    assert "--page influence --out again_page --table table.csv" in again
    methods = (tmp_path / "o" / "methods.txt").read_text("utf-8")
    assert "1 latent draw and 2 people" in methods and "2 of these people were imputed" in methods
    bars = (tmp_path / "o" / "bars.csv").read_text("utf-8").splitlines()
    assert len(bars) >= 4 and (tmp_path / "o" / "contrasts.csv").is_file()


def test_the_sweep_is_that_of_the_scenario(pack, person, tmp_path, capsys) -> None:
    plan = Plan(40.0, 60.0, 5.0, ("ideal",), draws=2, seed=4)
    scenario = Scenario(pack.name, pack.hash, person, seed=4, sweep=plan)
    one = sweep(pack, person, plan)
    payload = page_views.ageing_zip(
        pack, scenario, View(unit="percent"), [("this person", one)], lambda way: page_views.film_of(pack, one, way)
    )  # fmt: skip
    made = _run(payload, scenario, tmp_path, capsys)
    assert made == _files(payload)
    assert {"trajectory.svg", "regions_wide.png", "filmstrip.pdf", "volumes.csv", "scenario.json"} <= set(
        made
    )
    assert "--unit percent" in made["README.txt"].decode()


def test_nothing_is_overwritten(pack, person, tmp_path, capsys, monkeypatch) -> None:
    path = _saved(Scenario(pack.name, pack.hash, person), tmp_path)
    out, file = tmp_path / "out", tmp_path / "mine.zip"
    out.mkdir()
    (out / "notes.txt").write_text("mine", "utf-8")
    file.write_text("mine", "utf-8")
    monkeypatch.setattr(show, "page_zip", lambda *_, **__: pytest.fail("made before it was refused"))
    for place in (["--out", str(out)], ["--out", str(file)], ["--zip", str(file)]):
        assert cli.main(["show", str(path), "--page", "method", *place, "--quiet"]) == 2
        said = capsys.readouterr().err
        assert "SourceError" in said and "choose another place" in said
    assert [p.name for p in out.iterdir()] == ["notes.txt"] and file.read_text("utf-8") == "mine"


def test_a_stopped_run_leaves_nothing_and_an_empty_folder_is_used(tmp_path, monkeypatch) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("figures/a.svg", "a")
        archive.writestr("README.txt", "b")

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", stopped)
        with pytest.raises(KeyboardInterrupt):
            show.unpack(whole.getvalue(), tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "new" / "out").mkdir()
    assert show.unpack(whole.getvalue(), tmp_path / "new" / "out") == 2
    assert (tmp_path / "new" / "out" / "figures" / "a.svg").read_text("utf-8") == "a"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]
    with pytest.raises(SourceError, match="is taken"):
        show.unpack(whole.getvalue(), tmp_path / "new" / "out")


def test_what_is_no_scenario_is_refused(pack, person, tmp_path, capsys) -> None:
    with pytest.raises(SourceError, match="there is no scenario file"):
        show.opened(tmp_path / "none.json")
    with pytest.raises(SourceError, match="a folder"):
        show.opened(tmp_path)
    good = Scenario(pack.name, pack.hash, person).to_dict()
    for wrong, words in (
        ("{", "not JSON"),
        ("[]", "not a scenario file"),
        (json.dumps(good | {"version": 99}), "of another version"),
    ):
        path = tmp_path / "wrong.json"
        path.write_text(wrong, "utf-8")
        with pytest.raises(ScenarioError, match=words):
            show.opened(path)
    with pytest.raises(SystemExit):
        cli.main(["show", "a.json", "--page", "nonsense", "--out", "o"])
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err
    with pytest.raises(ScenarioError, match="another model pack"):
        show.opened(_saved(Scenario(pack.name, pack.hash, person), tmp_path), "lifespan")


def test_another_version_of_the_pack_is_told(pack, person, tmp_path, capsys) -> None:
    path = _saved(Scenario(pack.name, "0" * 64, person), tmp_path)
    assert cli.main(["show", str(path), "--page", "method", "--out", str(tmp_path / "o"), "--quiet"]) == 0
    assert "another version of the model pack" in capsys.readouterr().err
    saved = json.loads((tmp_path / "o" / "scenario.json").read_text("utf-8"))
    assert saved["pack"]["hash"] == pack.hash


@pytest.mark.parametrize(
    ("page", "view", "table", "words"),
    [
        ("individual", View(at=(30, 5, 50)), None, "outside the box"),
        ("cohort", View(feature="shoes"), None, "no feature 'shoes'"),
        ("cohort", View(), Path("a.csv"), "shows no table"),
        ("influence", View(), Path("a.csv"), "shows no table"),
    ],
)
def test_a_view_that_cannot_be_is_refused(pack, person, page, view, table, words) -> None:
    with pytest.raises(CSegSynthError, match=words):
        show.page_zip(pack, Scenario(pack.name, pack.hash, person), page, view, table=table)


def test_every_page_and_option_of_the_command_is_one_of_the_views(pack) -> None:
    help_ = cli.build_parser()._subparsers._group_actions[0].choices["show"]  # type: ignore[union-attr]
    known = {one.dest: one for one in help_._actions}
    assert tuple(known["page"].choices) == page_views.PAGES
    assert set(vars(View())) <= set(known)
    assert tuple(known["mode"].choices) == page_views.figures.MODES
    assert tuple(known["told"].choices) == tuple(page_views.ANALYSES)
