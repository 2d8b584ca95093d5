"""The Ageing page, links and scenario files without a browser: numbers are the core's."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csegsynth_core import methods_text, page_views, sweep_report
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.generate import generate_one
from csegsynth_core.scenarios import Plan, path, sweep
from csegsynth_core.substructures import REGIONS

testing = pytest.importorskip("streamlit.testing.v1")
pytestmark = pytest.mark.usefixtures("coarse_brains", "few_spread_draws")
ROOT = Path(__file__).resolve().parents[1]


def _app(**query: str) -> Any:
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for key, value in query.items():
        app.query_params[re.sub("^([bp])_", r"\1.", key)] = value
    return app


def _ageing(app: Any) -> Any:
    return app.switch_page("pages/ageing.py").run()


def _html(app: Any) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def _figure(app: Any, n: int = 0) -> dict[str, Any]:
    return json.loads(app.get("plotly_chart")[n].proto.spec)


def _query(app: Any) -> dict[str, str]:
    return {k: v[0] if isinstance(v, list) else v for k, v in app.query_params.items()}


SWEEP = {"from": "30", "to": "50", "step": "5", "draws": "1", "scenario": "regressed"}


@pytest.fixture(scope="module")
def app(pack) -> Any:
    """The page with a person who came by a link."""
    return _ageing(_app(pack="ixi", draw="3", p_age="44", p_sex="M", view="r", **SWEEP).run())


def test_a_link_opens_the_same_view(app, pack) -> None:
    assert not app.exception
    assert not app.error
    assert "male, 44 years · draw 3" in _html(app)
    assert _html(app).count("Research use only") == 1
    query = _query(app)
    assert {k: query[k] for k in ("pack", "draw", "p.age", "view", *SWEEP)} == {
        "pack": "ixi", "draw": "3", "p.age": "44", "view": "r", **SWEEP,
    }  # fmt: skip


def test_the_figure_shows_the_cores_numbers(app, pack) -> None:
    person = {**pack.encoder.default_person(sex="M"), "age": 44.0}
    one = sweep(pack, person, Plan(30, 50, 5, ("regressed",), draws=1, seed=3))
    traces = [
        t
        for t in _figure(app)["data"]
        if t.get("name") == "this person: regressed" and t.get("mode") == "markers"
    ]
    assert len(traces) == 4
    for trace, volume in zip(traces, ("wm", "gm", "csf", "wm+gm+csf"), strict=True):
        assert _numbers(trace["y"]) == pytest.approx(one.volumes[volume].tolist(), rel=1e-5)
    first = generate_one(pack, one.features.iloc[0][list(pack.schema.names)].to_dict(), seed=3)
    assert _numbers(traces[1]["y"])[0] == pytest.approx(first.volumes_ml["gm"], rel=1e-4)


def _numbers(values: Any) -> list[float]:
    if isinstance(values, dict):  # Plotly's packed arrays
        import base64

        import numpy as np

        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()
    return values


def test_views_and_export_are_there(app) -> None:
    labels = {b.proto.label for b in app.get("download_button")}
    assert {
        "SVG",
        "PDF",
        "PNG",
        "HTML",
        "CSV of the figure",
        "Methods",
        "BibTeX",
        "Everything (zip)",
        "Save scenario",
    } <= labels
    assert any("csegsynth_core sweep --pack ixi" in c.value for c in app.code)
    features = _switch(app, "View", "features")
    assert not features.exception
    table = features.dataframe[0].value
    assert list(table.columns) == ["Feature", "Units", "now", "30", "35", "40", "45", "50"]
    assert "Height" in set(table["Feature"])
    moving = _switch(app, "View", "brain")
    assert not moving.exception
    frames = json.loads(moving.get("plotly_chart")[0].proto.spec)["frames"]
    assert len(frames) == 5
    _switch(app, "View", "tissues")


def _switch(app: Any, label: str, value: str) -> Any:
    widgets = app.get("button_group") or app.segmented_control
    one = next(w for w in widgets if w.label == label)
    return one.set_value(value).run()


def test_regions_can_be_plotted_and_chosen(app, pack) -> None:
    shown = _switch(app, "View", "regions")
    assert not shown.exception
    person = {**pack.encoder.default_person(sex="M"), "age": 44.0}
    one = sweep(pack, person, Plan(30, 50, 5, ("regressed",), draws=1, seed=3))
    drawn = _points_of(_figure(shown), "this person: regressed")
    assert len(drawn) == len(REGIONS)
    assert drawn[0] == pytest.approx(one.volumes["ventricles"].tolist(), rel=1e-5)
    first = generate_one(pack, one.features.iloc[0][list(pack.schema.names)].to_dict(), seed=3)
    assert drawn[0][0] == pytest.approx(first.regions_ml["ventricles"], rel=1e-4)
    pills = next(w for w in shown.get("button_group") if w.label == "Regions plotted")
    pills.set_value(["cortical_gm", "hippocampus_amygdala"]).run()
    titles = [a["text"] for a in _figure(shown)["layout"]["annotations"]]
    assert [any(w in t for t in titles) for w in ("Cortical GM", "Hippocampus", "Ventricles")] == [
        True,
        True,
        False,
    ]
    _switch(app, "View", "tissues")


def test_overlays_come_by_link_and_are_kept(pack) -> None:
    overlay = "name=A&draw=5&scenario=ideal&p.age=60&p.sex=F"
    app = _ageing(_app(pack="ixi", overlay1=overlay, p_age="44", p_sex="M", **SWEEP).run())
    assert not app.exception
    assert not app.error
    figure = _figure(app)
    names = {t["name"] for t in figure["data"] if t.get("showlegend")}
    assert {"this person: regressed", "A (60 years, female +1): ideal"} <= names
    person = {**pack.encoder.default_person(sex="M"), "age": 60.0, "sex": "F"}
    one = sweep(pack, person, Plan(30, 50, 5, ("ideal",), seed=5))
    assert _points_of(figure, "A (60 years, female +1): ideal")[0] == pytest.approx(
        one.volumes["wm"].tolist(), rel=1e-5
    )
    next(b for b in app.button if b.label == "Keep these lines").click().run()
    assert not app.exception
    kept = _query(app)
    assert kept["overlay1"].startswith("name=A&draw=5&scenario=ideal")
    assert kept["overlay2"].startswith("name=B&")
    assert "B (male, 44 years, draw 0): regressed" in {t.get("name") for t in _figure(app)["data"]}
    next(b for b in app.button if b.label.startswith("A (")).click().run()
    assert "overlay2" not in _query(app)
    assert _query(app)["overlay1"].startswith("name=B")


def test_the_command_shown_is_of_everybody_drawn(pack, tmp_path, monkeypatch) -> None:
    """Its output is what the page draws: for this person, and for overlays of another draw and another person."""
    import shlex

    import pandas as pd

    from csegsynth_core import __main__ as cli
    from pages import _ageing_export

    saved: list[Any] = []
    shown = _ageing_export.popover

    def popover(pack: Any, people: Any, *args: Any) -> None:
        saved[:] = people
        shown(pack, people, *args)

    monkeypatch.setattr(_ageing_export, "popover", popover)
    others = {"overlay1": "name=A&draw=5&scenario=ideal", "overlay2": "name=B&p.age=61&scenario=regressed"}
    app = _ageing(_app(pack="ixi", p_age="44", p_sex="M", **SWEEP, **others).run())
    assert not app.exception and not app.error
    lines = next(c.value for c in app.code if "csegsynth_core sweep" in c.value).splitlines()
    assert len(lines) == 2 and "--seed 5" in lines[1]  # B has this person's plan, A another draw
    assert any("everybody drawn" in c.value and "`people2.csv`" in c.value for c in app.caption)
    for name, table in sweep_report.repeated(saved)[0].items():
        (tmp_path / name).write_bytes(table)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert cli.main([*shlex.split(line)[3:], "--quiet"]) == 0
    assert [name for name, _ in saved] == ["this person", "A (draw 5)", "B (61 years)"]
    for k, (_, one) in enumerate(saved):
        path = next(tmp_path.glob(f"OUT*/sub-{k + 1:02d}_sweep.tsv"))
        made = pd.read_csv(path, sep="\t")
        assert made["age"].tolist() == one.volumes["age"].tolist()
        assert made["gm"].tolist() == pytest.approx(one.volumes["gm"].tolist(), rel=1e-5)


def test_more_lines_than_there_are_kinds_are_said(pack) -> None:
    overlays = {f"overlay{n}": f"name={n}&draw={n}&scenario=ideal&p.age=60" for n in range(1, 6)}
    app = _ageing(_app(pack="ixi", p_age="44", **overlays, **(SWEEP | {"scenario": "both"})).run())
    assert not app.exception and not app.error
    names = [t["name"] for t in _figure(app)["data"] if t.get("showlegend")]
    drawn = [f"{n} (60 years, draw {n}): ideal" in names for n in range(1, 6)]
    assert drawn == [True, True, True, True, False]
    assert "5 (60 years, draw 5) is not drawn: 6 lines are the most" in _html(app)
    _switch(app, "Scenario", "ideal")
    assert "is not drawn" not in _html(app) and not app.exception
    assert "5 (60 years, draw 5): ideal" in {t.get("name") for t in _figure(app)["data"]}


def test_progress_is_shown_seldom(monkeypatch) -> None:
    from pages import _making

    now, shown = [100.0], []
    monkeypatch.setattr(_making.time, "monotonic", lambda: now[0])
    tell = _making.paced(shown.append, every=0.4)
    for share in (0.1, 0.2, 0.3, 0.4):
        tell(share)
        now[0] += 0.3
    assert shown == [0.1, 0.3]


def test_a_sweep_is_made_once_for_a_person(monkeypatch) -> None:
    from pages import _sweeps

    made: list[float] = []
    monkeypatch.setattr(_sweeps, "sweep", lambda *a, **k: made.append(a[1]["age"]) or sweep(*a, **k))
    query = {"pack": "ixi", "p_sex": "F", **SWEEP}
    first = _ageing(_app(p_age="37", **query).run())
    before = _points_of(_figure(first), "this person: regressed")
    first.run()
    assert made == [37.0] and _points_of(_figure(first), "this person: regressed") == before
    other = _ageing(_app(p_age="38", **query).run())
    assert made == [37.0, 38.0] and "38 years" in _html(other) and "37 years" not in _html(other)


def test_kept_sweeps_are_bounded_and_those_used_last_stay(pack, monkeypatch) -> None:
    from pages import _sweeps

    plan = Plan(30, 70, 10, ("ideal",), exact=True)
    one = sweep(pack, {"age": 50.0, "sex": "F"}, plan)
    monkeypatch.setattr(_sweeps, "KEPT", 3)
    store = _sweeps._store.__wrapped__()
    for n in range(3):
        store.put(n, one)
    assert store.get(0) is one  # used last
    store.put(3, one)
    assert [store.get(n) is one for n in range(4)] == [True, False, True, True]
    monkeypatch.setattr(_sweeps, "ROWS", 2 * len(one.volumes))
    store._largest = _sweeps._store.__wrapped__()._largest
    store.put(4, one)
    assert [store.get(n) is one for n in range(5)] == [False, False, False, True, True]
    person = {"age": 50.0, "sex": "F"}
    keys = {
        _sweeps._key(pack, who, how)
        for who in (person, dict(reversed(person.items())), person | {"age": 51.0})
        for how in (plan, replace(plan, seed=1))
    }
    assert len(keys) == 4


def test_overlays_of_one_name_end_in_a_message(pack) -> None:
    overlays = {f"overlay{n}": "name=A&scenario=ideal&p.age=60" for n in (1, 2)}
    app = _app(pack="ixi", p_age="44", **overlays, **SWEEP).run()
    assert "overlay 2: its name is taken" in app.error[0].value
    _ageing(app)
    assert not app.exception and not app.error


def _points_of(figure: dict[str, Any], name: str) -> list[list[float]]:
    """Volumes of one line by panel."""
    found = [t for t in figure["data"] if t.get("name") == name and t.get("mode") == "markers"]
    return [_numbers(t["y"]) for t in found]


def test_all_training_ages_can_be_chosen_where_nobody_knows_what_is_plausible(pack, monkeypatch) -> None:
    from pages import _state

    features = [replace(o, plausible=None) if o.name == "age" else o for o in pack.schema.features]
    schema = replace(pack.schema, features=tuple(features))
    free = replace(pack, encoder=Encoder(schema, pack.encoder.numeric, pack.encoder.levels))
    monkeypatch.setattr(_state, "_load", lambda *_: free)
    app = _ageing(_app(pack="ixi", **SWEEP).run())
    assert not app.exception and not app.error
    ages = next(s for s in app.slider if s.label.startswith("Ages"))
    stats = pack.encoder.numeric["age"]
    assert (ages.min, ages.max) == (math.ceil(stats.minimum), math.floor(stats.maximum))
    assert ages.value == (30, 50)


def test_outside_ages_are_said_before_the_result(pack) -> None:
    app = _ageing(
        _app(pack="ixi", **(SWEEP | {"from": "70", "to": "90", "step": "5", "scenario": "ideal"})).run()
    )
    assert "lie outside the training range" in _html(app)
    assert not app.exception


@pytest.mark.parametrize("sex", ["M", "F"])
def test_a_link_holds_the_baseline(pack, sex) -> None:
    """Whoever opens it sees the same differences, also to a baseline that is typical in everything."""
    mine = _app(pack="ixi", p_age="44", p_sex="M").run()
    assert not [key for key in _query(mine) if key.startswith("b.")]
    typical = {**pack.encoder.default_person(sex=sex)}
    typical["age"] = float(round(typical["age"]))
    for other in (typical, {**typical, "age": 70.0, "weight": None}):
        mine.session_state[f"memory-{pack.hash[:12]}"]["baseline"] = other
        query = _query(mine.run())
        assert query["b.sex"] == sex
        theirs = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        for key, value in query.items():
            theirs.query_params[key] = value
        theirs.run()
        assert not theirs.exception and not theirs.error
        held = theirs.session_state[f"memory-{pack.hash[:12]}"]
        assert (held["baseline"], held["label"]) == (other, "the link's baseline")
        assert _query(theirs) == query
        assert len(_table(mine)) >= 4 and _table(theirs) == _table(mine)


def _table(app: Any) -> list[str]:
    """Volumes and their differences to the baseline."""
    return re.findall(r"<tr data-volume.*?</tr>", re.sub(r'title="[^"]*"', "", _html(app)), re.DOTALL)


def test_a_bad_link_ends_in_messages_and_the_rest_counts(pack) -> None:
    app = _app(pack="ixi", draw="4", p_shoe="44").run()
    assert not app.exception
    assert "unknown feature 'shoe'" in app.error[0].value
    assert "draw 4" in _html(app)
    app = _app(pack="nothing").run()
    assert "model pack 'nothing' is not here" in app.error[0].value
    app.run()
    assert not app.error  # told once


def test_a_scenario_is_saved_and_opened(pack) -> None:
    from csegsynth_core.scenario_file import Scenario

    person = {**pack.encoder.default_person(sex="M"), "age": 33.0, "weight": None}
    wanted = Scenario(
        "ixi", pack.hash, person, seed=9, display={"voxels": True}, baseline={**person, "age": 70.0}
    )
    app = _app().run()
    opener = next(u for u in app.file_uploader if u.label == "Open a scenario")
    opener.set_value(("a.json", wanted.to_json().encode(), "application/json")).run()
    assert not app.error
    assert not app.exception
    assert "male, 33 years · draw 9 · baseline: the scenario" in _html(app)
    brain = generate_one(pack, person, seed=9)
    assert f"{brain.volumes_ml['gm']:.1f}" in _html(app)
    assert _query(app)["view"] == "v"
    assert _query(app)["p.weight"] == "n/a"
    opener = next(u for u in app.file_uploader if u.label == "Open a scenario")
    opener.set_value(("b.json", b'{"format": "csegsynth-scenario", "version": 9}', "application/json")).run()
    assert "another version" in app.error[0].value
    assert "draw 9" in _html(app)


@pytest.mark.parametrize(
    ("view", "age"), [("brain", 46), ("features", 47)]
)  # of nobody else: sweeps are kept
def test_exports_have_all_draws_in_every_view(pack, monkeypatch, view, age) -> None:
    from pages import _ageing_export, _sweeps
    from pages._remember import in_session

    saved: list[Any] = []
    made: list[int] = []

    def popover(pack: Any, people: Any, *_: Any) -> None:
        saved[:] = [people[0][1], in_session(lambda: people[0][1].volumes)]

    monkeypatch.setattr(_ageing_export, "popover", popover)
    monkeypatch.setattr(_sweeps, "sweep", lambda *a, **k: made.append(a[2].draws) or sweep(*a, **k))
    app = _app(pack="ixi", p_age=str(age), p_sex="M", **(SWEEP | {"draws": "3"})).run()
    app.session_state["ageing-view"] = view
    _ageing(app)
    assert not app.exception and not app.error
    assert made == [1]  # the rest is made when a file is asked for
    one, volumes_of = saved
    person = {**pack.encoder.default_person(sex="M"), "age": float(age)}
    wanted = sweep(pack, person, Plan(30, 50, 5, ("regressed",), draws=3))
    assert sweep_report.command(one) == sweep_report.command(wanted)
    assert one.features.equals(wanted.features)
    volumes = volumes_of()
    assert sorted(volumes["draw"].unique()) == [-1, 0, 1, 2] and made == [1, 3]
    assert volumes["gm"].tolist() == pytest.approx(wanted.volumes["gm"].tolist(), rel=1e-6)
    assert "spread over 3 latent draws" in sweep_report.methods(one)


def test_too_few_ages_end_in_a_message_with_its_remedy(pack) -> None:
    app = _ageing(_app(pack="ixi", **(SWEEP | {"from": "48", "to": "49", "step": "2"})).run())
    assert not app.exception
    assert "at least 5 different ages" in app.error[0].value
    assert "smaller step or a wider range" in app.error[0].value
    next(s for s in app.slider if s.label.startswith("Ages")).set_value((40, 60)).run()
    assert not app.error and not app.exception


def test_views_are_kept_over_pages(pack) -> None:
    app = _ageing(_app(pack="ixi", p_age="44", p_sex="M", **SWEEP).run())
    _switch(app, "Unit", "percent")
    _switch(app, "View", "regions")
    _switch(app, "Regions plotted", ["cortical_gm", "ventricles"])
    app.switch_page("pages/individual.py").run()
    _ageing(app)
    assert not app.exception
    found = {w.label: w.value for w in app.get("button_group")}
    assert (found["View"], found["Unit"]) == ("regions", "percent")
    assert set(found["Regions plotted"]) == {"cortical_gm", "ventricles"}


def test_the_person_follows_over_pages(pack) -> None:
    app = _app(pack="ixi", **SWEEP).run()
    next(s for s in app.slider if s.label.startswith("Age ")).set_value(66.0).run()
    app.number_input[0].set_value(2).run()
    _ageing(app)
    assert "66 years · draw 2" in _html(app)
    app.switch_page("pages/individual.py").run()
    assert "66 years · draw 2" in _html(app)


def test_overlays_are_called_by_what_differs(pack) -> None:
    from csegsynth_core.scenario_file import Overlay

    person = {**pack.encoder.default_person(sex="F"), "age": 48.0, "height": 164.0, "weight": 60.0}
    others = [
        Overlay("A", dict(person)),
        Overlay("B", person | {"height": 179.0}),
        Overlay("C", person | {"height": 179.0, "weight": 70.0}, seed=4),
        Overlay("D", person | {"sex": "M", "age": None}),
        Overlay("E (female, 48 years, draw 0)", person | {"age": 61.0}),
        Overlay("Mother (1)", dict(person), seed=2),
    ]
    names = sweep_report.overlay_names(pack.schema, person, 0, others)
    assert names == [
        "A (female, 48 years, draw 0)", "B (height 179 cm)", "C (height 179 cm, weight 70 kg +1)",
        "D (age unknown, male)", "E (61 years)", "Mother (1) (draw 2)",
    ]  # fmt: skip
    one = [Overlay("A", dict(person)), Overlay("A (female, 48 years, draw 0)", dict(person))]
    assert len(set(sweep_report.overlay_names(pack.schema, person, 0, one))) == 2
    level = max(pack.schema.feature("occupation").levels.items(), key=lambda one: len(one[1]))[0]
    far = Overlay("A", person | {"occupation": level, "height": 164.2}, seed=1)
    assert sweep_report.overlay_names(pack.schema, person, 0, [far]) == ["A (height 164.2 cm +2)"]


def test_the_film_has_evenly_spaced_ages_and_the_last(pack) -> None:
    person = pack.encoder.default_person(sex="F")
    for stop, step, count, wanted in (
        (80, 2, 13, [20, 26, 32, 38, 44, 50, 56, 62, 68, 74, 80]),
        (50, 5, 13, [20, 25, 30, 35, 40, 45, 50]),
        (47, 5, 13, [20, 25, 30, 35, 40, 45]),
        (47, 5, 3, [20, 35, 45]),
        (88, 1, 8, [20, 30, 40, 50, 60, 70, 80, 88]),
    ):
        one = SimpleNamespace(plan=Plan(20, stop, step, ("ideal",)))
        one.features = path(pack, person, "ideal", one.plan.ages).assign(scenario="ideal")
        assert sweep_report.path_sample(one, "ideal", count)["age"].tolist() == wanted


def test_the_band_of_the_curve_is_said_to_be_no_spread_of_people(app, pack) -> None:
    said = "of the fitted curve through one draw, not between people"
    figure = _figure(app)
    assert any(said in a["text"] for a in figure["layout"]["annotations"])
    points = [t for t in figure["data"] if t.get("name") == "this person: regressed" and "hovertemplate" in t]
    assert len(points) == 4 and all(said in t["hovertemplate"] for t in points)
    one = sweep(pack, {"age": 50.0, "sex": "F"}, Plan(30, 70, 10, ("ideal",), exact=True))
    assert said in sweep_report.methods(one)
    lines = sweep_report.lines_of([("this person", one)])
    files = sweep_report.figure_files(lines, None, one, unit="ml")
    assert said in " ".join(re.sub("<[^>]*>", " ", files["trajectory_wide.svg"].decode()).split())
    assert said in files["trajectory.html"].decode()


def test_report_words_are_the_pages(pack) -> None:
    assert "wang2025" in methods_text.bibtex()


def test_the_film_is_given_its_keys_again_for_another_person_and_another_sweep(pack) -> None:
    query = {**SWEEP, "from": "30", "to": "34", "step": "1"}

    def script(**other: str) -> str:
        app = _app(pack="ixi", **query | {"p_sex": "M", "p_height": "181"} | other).run()
        app.session_state["ageing-view"] = "brain"
        _ageing(app)
        assert not app.exception and not app.error
        found = [e.proto.body for e in app.get("html") if "csegsynthFilm" in e.proto.body]
        assert len(found) == 1
        return found[0]

    assert script() == script()
    others = [script(), script(p_height="160"), script(draw="4"), script(to="35"), script(view="r")]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("radiological", [False, True])
def test_the_exported_strip_keeps_the_convention_of_the_screen(monkeypatch, radiological) -> None:
    import numpy as np

    from csegsynth_core import figures, grid
    from csegsynth_core.tissue import TISSUES

    packed = np.zeros((len(TISSUES), *(b.stop - b.start for b in grid.BOX)), np.uint8)
    packed[1, :30, 20:80] = 255  # grey matter on the left alone
    frame = figures.Frame(40.0, packed, dict.fromkeys(TISSUES, 1.0), trained=False)
    drawn: dict[str, Any] = {}

    def strip_file(strip: figures.Strip, **look: Any) -> bytes:
        drawn.update(look, strip=strip)
        return b""

    display = figures.Display(radiological=radiological)
    monkeypatch.setattr(page_views, "strip_file", strip_file)
    monkeypatch.setattr(sweep_report, "note", lambda _: "")
    pack = SimpleNamespace(schema=SimpleNamespace(age=SimpleNamespace(units="weeks")))
    one = SimpleNamespace(plan=SimpleNamespace(scenarios=("ideal",)))
    page_views.strip_files(pack, one, lambda _: [frame], display)
    left, right = np.array_split(drawn["strip"].rows[0][1][0].sum(axis=(0, 2)), 2)
    assert bool(left.sum() < right.sum()) is radiological
    assert drawn["strip"].side.letters[:2] == (("R", "L") if radiological else ("L", "R"))
    assert (drawn["strip"].ages, drawn["strip"].known, drawn["age_units"]) == ([40.0], [False], "weeks")


FINE = SWEEP | {"step": "2"}
RETIRED = {"change": "occupation:40=retired", "p_occupation": "full_time", "p_age": "44", "p_sex": "F"}


def _row(app: Any, label: str) -> Any:
    """A control of the last change."""
    return [w for w in [*app.selectbox, *app.number_input] if w.label.startswith(label)][-1]


def test_changes_come_by_link_and_overlays_keep_theirs(pack) -> None:
    from csegsynth_core.changes import Change

    other = {"overlay1": "name=A&scenario=regressed&change=occupation:45%3Dretired"}
    app = _ageing(_app(pack="ixi", **FINE | RETIRED | other).run())
    assert not app.exception and not app.error
    names = ["this person (Retired from 40): regressed", "A (Retired from 45): regressed"]
    assert set(names) <= {t["name"] for t in _figure(app)["data"] if t.get("showlegend")}
    person = {**pack.encoder.default_person(sex="F"), "age": 44.0, "occupation": "full_time"}
    for name, age in zip(names, (40.0, 45.0), strict=True):
        plan = Plan(30, 50, 2, ("regressed",), changes=(Change("occupation", age, "retired"),))
        one = sweep(pack, person, plan)
        assert _points_of(_figure(app), name)[1] == pytest.approx(one.volumes["gm"].tolist(), rel=1e-5)
    query = _query(app)
    assert query["change"] == "occupation:40=retired"
    (notes,) = (e.proto.body for e in app.get("html") if 'class="notes"' in e.proto.body)
    assert "<b>Occupation</b> Retired, unusual among women of 40–4" in notes
    next(b for b in app.button if b.label == "Keep these lines").click().run()
    next(b for b in app.button if (b.key or "").startswith("change-drop")).click().run()
    assert not app.exception and not app.error
    query = _query(app)
    assert "change" not in query and "change=occupation%3A40%3Dretired" in query["overlay2"]
    assert "B (Retired from 40): regressed" in {t.get("name") for t in _figure(app)["data"]}
    saved = app.session_state[f"memory-{pack.hash[:12]}"]["overlay"]
    assert [one.changes[0].age for one in saved] == [45.0, 40.0]


def test_changes_are_made_row_by_row(pack) -> None:
    app = _ageing(_app(pack="ixi", **FINE | RETIRED).run())
    next(b for b in app.button if b.label == "Add a change").click().run()
    assert _query(app)["change"] == "occupation:40=retired"  # a row counts once it is complete
    assert any("once it has feature, age and value" in c.value for c in app.caption)
    _row(app, "Feature").set_value("weight").run()
    _row(app, "Value").set_value(70.0).run()
    _row(app, "From age").set_value(47.0).run()
    assert _query(app)["change"] == "occupation:40=retired&weight:47=70"
    _row(app, "Feature").set_value("occupation").run()
    [one for one in app.selectbox if one.label == "Value"][-1].set_value("student").run()
    _row(app, "From age").set_value(40.0).run()
    assert "occupation changes twice at the age of 40" in app.error[0].value
    assert _query(app)["change"] == "occupation:40=retired" and not app.exception
    _row(app, "From age").set_value(48.0).run()
    assert not app.error and _query(app)["change"] == "occupation:40=retired&occupation:48=student"
    app.switch_page("pages/individual.py").run()
    _ageing(app)
    assert _query(app)["change"] == "occupation:40=retired&occupation:48=student" and not app.exception
    next(b for b in app.button if (b.key or "").startswith("change-drop")).click().run()
    assert _query(app)["change"] == "occupation:48=student"
    _switch(app, "View", "features")
    table = app.dataframe[0].value.set_index("Feature")
    assert table.loc["Occupation", "50"].startswith("Student") and not app.exception


def test_an_opened_scenario_brings_its_changes(pack) -> None:
    from csegsynth_core.changes import Change
    from csegsynth_core.scenario_file import Scenario

    person = pack.encoder.default_person(sex="M", age=50)
    plan = Plan(30, 50, 2, ("ideal",), draws=1, changes=(Change("weight", 41.0, 99.0),))
    app = _ageing(_app(pack="ixi", **FINE | RETIRED).run())
    opener = next(u for u in app.file_uploader if u.label == "Open a scenario")
    wanted = Scenario("ixi", pack.hash, person, sweep=plan)
    opener.set_value(("a.json", wanted.to_json().encode(), "application/json")).run()
    assert not app.exception and not app.error
    assert _query(app)["change"] == "weight:41=99"
    assert (_row(app, "Feature").value, _row(app, "Value").value) == ("weight", 99.0)
    assert app.session_state[f"memory-{pack.hash[:12]}"]["sweep"] == plan


def test_too_few_ages_for_a_step_end_in_a_message(pack) -> None:
    app = _ageing(_app(pack="ixi", **SWEEP | RETIRED).run())
    assert not app.exception and "at least 6 different ages" in app.error[0].value
    app.run()
    app.selectbox(key=next(s.key for s in app.selectbox if s.label == "Step")).set_value(2.0).run()
    assert not app.error and not app.exception


def test_a_sweep_of_implausible_ages_is_refused_alone_and_says_which_ages_can_be(pack) -> None:
    app = _ageing(_app(pack="ixi", **SWEEP | {"from": "5", "to": "95"}).run())
    low, high = pack.schema.age.plausible
    assert not app.exception
    assert f"Fix: choose ages from {low:g} to {high:g}" in app.error[0].value
    assert 'class="notes"' not in _html(app)
    assert not app.get("plotly_chart")


def test_notes_on_a_sweep_are_one_strip_before_its_lines() -> None:
    person = {"p_age": "21", "p_occupation": "retired", "p_weight": "n/a"}
    app = _ageing(_app(pack="ixi", **person, **SWEEP | {"to": "90", "scenario": "ideal"}).run())
    assert not app.exception and not app.error
    (strip,) = (e.proto.body for e in app.get("html") if 'class="notes"' in e.proto.body)
    order = ["ages lie outside the training range", "<b>Occupation</b> Retired", "<b>Weight</b> imputed"]
    places = [strip.index(words) for words in order]
    assert places == sorted(places)
