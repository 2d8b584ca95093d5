"""The pages besides the first, without a browser: their numbers are the core's, and mistakes end in messages."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from csegsynth_core import (
    compare,
    coverage,
    measured,
    methods_text,
    saliency,
    scenario_checks,
    synthetic_people,
)
from csegsynth_core import pack as packs
from csegsynth_core.data.cohort_summary import CohortSummary, Histogram
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Schema
from csegsynth_core.errors import PackError, TableError
from csegsynth_core.generate import generate_one, volumes_over_draws
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from tests.conftest import forget_sessions
from tests.toy import PARTICIPANTS_JSON

testing = pytest.importorskip("streamlit.testing.v1")
pytestmark = pytest.mark.usefixtures("coarse_brains", "few_spread_draws")
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90


def of(pack: packs.Pack, key: str) -> str:
    """Key of a control that each pack has for itself."""
    return f"{key}-{pack.hash[:8]}"


def open_page(name: str, pack: packs.Pack | None = None, **state: Any) -> Any:
    """The app after going from the first page to another; controls in a state, with a pack those of its own."""
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    for key, value in state.items():
        key = key.replace("__", "-")
        app.session_state[key if pack is None else of(pack, key)] = value
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception
    return app


def html_of(app: Any) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def typical(pack: packs.Pack) -> dict[str, Any]:
    """The person the app starts with."""
    sex = pack.encoder.levels["sex"].mode
    return {**pack.encoder.default_person(sex=sex), "age": 48.0}


def frame(app: Any, n: int = 0) -> pd.DataFrame:
    return app.dataframe[n].value


@contextmanager
def gradients_of(**these: Any) -> Iterator[None]:
    """Gradients of these draws, voxels or measures, whatever pages ask for: where others do not matter."""
    own = saliency.gradients
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saliency, "gradients", lambda *a, **how: own(*a, **(how | these)))
        yield
    forget_sessions()


@pytest.fixture
def tissue_gradients() -> Iterator[None]:
    with gradients_of(draws=1, measures=(saliency.TISSUE_VOLUMES,)):
        yield


@pytest.fixture
def rough_gradients() -> Iterator[None]:
    """Where not even their values matter."""
    with gradients_of(draws=1, resolution=2, measures=(saliency.TISSUE_VOLUMES,)):
        yield


@pytest.fixture
def few_typical_people(monkeypatch) -> None:
    monkeypatch.setattr(synthetic_people, "AGES", 4)


def test_influence_of_this_person_is_the_cores(pack) -> None:
    app = open_page("influence", pack, influence__draws__True=2)
    assert not app.error
    found = saliency.gradients(pack, typical(pack), draws=2)  # of all voxels
    expected = saliency.to_show(saliency.summarise(pack, found), None, "gm", 10)
    shown = frame(app)
    assert list(shown["label"]) == list(expected["label"])
    assert np.allclose(shown["value_ml"], expected["value_ml"], rtol=1e-4)
    fast = saliency.summarise(pack, saliency.gradients(pack, typical(pack), draws=2, resolution=2))
    fast = saliency.to_show(fast, None, "gm", 10)
    assert not np.allclose(np.sort(shown["value_ml"]), np.sort(fast["value_ml"]), rtol=1e-3)
    assert not [t for t in app.toggle if t.label == "All voxels"]
    text = html_of(app)
    assert saliency.EVERY_SECOND not in text and "Where it acts, in this person" in text
    assert text.count("Associations that the model learned, not effects") == 1
    assert "Whiskers: spread over latent draws, ±1 SD" in text
    app.selectbox(key=f"influence-column-{pack.hash[:8]}").set_value(expected["column"].iloc[2]).run()
    assert not app.exception


@pytest.mark.usefixtures("tissue_gradients")
def test_the_map_follows_the_measure_and_keeps_a_choice(pack) -> None:
    app = open_page("influence", pack, influence__draws__True=1)
    whole = saliency.summarise(pack, saliency.gradients(pack, typical(pack), draws=1))
    ranked = {m: list(part["column"]) for m, part in whole.groupby("measure")}
    key = of(pack, "influence-column")
    assert app.selectbox(key=key).value == ranked["gm"][0]
    for measure in ("csf", "gm"):
        app.selectbox(key=of(pack, "influence-measure")).set_value(measure).run()
        assert app.selectbox(key=key).value == ranked[measure][0]
        app.selectbox(key=key).set_value(ranked[measure][2]).run()
        app.number_input(key=of(pack, "influence-top")).set_value(4 if measure == "csf" else 5).run()
        assert app.selectbox(key=key).value == ranked[measure][2]


@pytest.mark.usefixtures("few_typical_people")
def test_influence_of_a_subgroup_in_natural_units(pack) -> None:
    few = {"influence__top": 3, "influence__draws__False": 1}
    app = open_page("influence", pack, influence__whose="typical", **few)
    app.session_state[of(pack, "influence-unit")] = "natural"
    key = f"filter-{pack.hash[:8]}-age"
    low = app.slider(key=key).min
    app.slider(key=key).set_value((low, 50.0)).run()
    assert not app.exception and not app.error
    people = synthetic_people.typical_people(pack)
    where = {"age": (low, 50.0)}
    whole = saliency.summarise(pack, saliency.gradients(pack, people, draws=1, resolution=2), where=where)
    columns = list(whole[whole["measure"] == "gm"].head(3)["column"])
    contrasts = saliency.contrasts(pack, people, columns, where=where, resolution=2)
    expected = saliency.to_show(whole, contrasts, "gm", 3)
    assert list(frame(app)["unit"]) == list(expected["unit"])
    assert np.allclose(frame(app)["value_ml"], expected["value_ml"], rtol=1e-4)
    assert f"n = {int((people['age'] <= 50).sum())}" in html_of(app)
    assert "95 % bootstrap interval of the mean over people" in html_of(app)
    assert f"· {saliency.EVERY_SECOND}</small>" in html_of(app)
    assert f"Where it acts, mean of {int((people['age'] <= 50).sum())} people" in html_of(app)


@pytest.mark.usefixtures("tissue_gradients")
def test_influence_of_the_users_table(pack) -> None:
    app = open_page("influence", pack, influence__whose="table")
    assert not app.dataframe
    table = b"participant_id,age,sex,height\n01,63.5,male,181\n02,30,F,n/a\n"
    uploader = app.file_uploader(key=f"influence-table-{pack.hash[:8]}")
    uploader.set_value(("people.csv", table, "text/csv")).run()
    assert "2 people of people.csv" in html_of(app) and not app.error
    assert "2 of 2 people have values that were imputed, out of the training range or rare" in html_of(app)
    assert f"· {saliency.EVERY_SECOND}</small>" in html_of(app)
    app.toggle(key=of(pack, "influence-every")).set_value(True).run()
    assert saliency.EVERY_SECOND not in html_of(app)
    bad = b"participant_id,age\n01,forty\n"
    uploader = app.file_uploader(key=f"influence-table-{pack.hash[:8]}")
    uploader.set_value(("people.csv", bad, "text/csv")).run()
    assert "people.csv, row 2, column age" in app.error[0].value and not app.exception


@pytest.mark.usefixtures("rough_gradients")
def test_choices_and_the_users_table_are_kept_over_pages(pack) -> None:
    app = open_page("influence", pack, influence__draws__False=1)
    app.selectbox(key=of(pack, "influence-whose")).set_value("table").run()
    table = b"participant_id,age,sex,height\n01,63.5,male,181\n02,30,F,n/a\n"
    app.file_uploader(key=f"influence-table-{pack.hash[:8]}").set_value(
        ("people.csv", table, "text/csv")
    ).run()
    assert not [b for b in app.button if b.label.startswith("Remove")]
    app.selectbox(key=of(pack, "influence-measure")).set_value("csf").run()
    app.number_input(key=of(pack, "influence-top")).set_value(4).run()
    app.slider(key=f"filter-{pack.hash[:8]}-age").set_value((50.0, 70.0)).run()
    assert "CSF volume" in html_of(app) and len(frame(app)) == 4
    app.switch_page("pages/compare.py").run()
    app.number_input(key=of(pack, "compare-draws")).set_value(3).run()
    app.toggle(key="compare-regions").set_value(True).run()
    app.switch_page("pages/individual.py").run()
    app.toggle(key="regions").set_value(True).run()
    app.switch_page("pages/influence.py").run()
    assert not app.exception and not app.error
    assert "2 people of people.csv" in html_of(app) and "CSF volume" in html_of(app)
    assert app.slider(key=f"filter-{pack.hash[:8]}-age").value == (50.0, 70.0) and len(frame(app)) == 4
    next(b for b in app.button if b.label == "Remove people.csv").click().run()
    assert not app.dataframe and not [b for b in app.button if b.label.startswith("Remove")]
    app.switch_page("pages/compare.py").run()
    assert (
        app.number_input(key=of(pack, "compare-draws")).value == 3 and app.toggle(key="compare-regions").value
    )
    app.switch_page("pages/individual.py").run()
    assert app.toggle(key="regions").value and not app.exception


def test_compare_shows_paired_differences(pack) -> None:
    app = open_page("compare", pack, compare__draws=3)
    assert not app.error
    start = compare.starting_scenarios(pack, typical(pack))
    people = compare.filled(pack, start.reset_index(), typical(pack))
    assert list(people) == list(start.index) and len(people) == 3
    volumes = np.stack([volumes_over_draws(pack, p, draws=3)[0] for p in people.values()])
    table = compare.compared(list(people), volumes)
    text = html_of(app)
    for row in table.to_dict("records"):
        assert f'<b class="ml">{row["mean_ml"]:.1f}</b>' in text
        if row["scenario"] != compare.FIRST:
            change = f"{row['difference_ml']:+.1f} ± {row['difference_sd_draws_ml']:.1f}".replace("-", "−")
            assert change in text
    assert len(app.get("plotly_chart")) == 6  # three brains, two differences, one figure of volumes
    wide = compare.with_features(table, people)
    assert set(pack.schema.names) < set(wide.columns) and len(wide) == len(table)


def test_compare_keeps_what_was_edited(pack) -> None:
    app = open_page("compare", pack, compare__draws=2)
    key = f"scenarios-{pack.hash[:8]}"
    held = app.session_state[key]
    rows = pd.concat(
        [held["now"], held["now"].iloc[:1].assign(scenario="tall", height=190.0)], ignore_index=True
    )
    held["now"] = rows  # as after an edit: the grid cannot be edited from here

    def shown() -> list[tuple[str, str]]:
        return re.findall(r"data-scenario='([^']+)'.*?class=\"ml\">([\d.]+)<", html_of(app))

    app.multiselect(key=f"{key}-columns").set_value(["age", "sex", "height"]).run()
    before = shown()
    assert len(before) == 4
    expected = volumes_over_draws(pack, typical(pack) | {"height": 190.0}, draws=2)[0].mean(axis=0)
    assert before[3] == ("tall", f"{expected[0]:.1f}")
    app.multiselect(key=f"{key}-columns").set_value(["age", "height"]).run()  # other columns: a new grid
    assert not app.exception and shown() == before
    app.switch_page("pages/cohort.py").run()
    app.switch_page("pages/compare.py").run()
    assert not app.exception and shown() == before
    assert app.multiselect(key=f"{key}-columns").value == ["age", "height"]
    next(b for b in app.button if b.label.startswith("From the person")).click().run()
    assert len(shown()) == 3


def test_scenarios_of_the_users_table_are_in_no_link_and_no_file(pack, monkeypatch) -> None:
    from csegsynth_core import page_export
    from pages import _figure_export, _link

    zips: list[str] = []
    monkeypatch.setattr(page_export, "compare_zip", lambda *_, scenario, **__: zips.append(scenario))
    monkeypatch.setattr(
        _figure_export, "popover", lambda _, page, *__, everything, **___: page == "compare" and everything()
    )
    app = arrive("compare", pack="ixi", compare="draws=2", compare1="name=a&p.age=31", compare2="name=b")
    assert "compare1" in query_of(app) and '"a"' in zips[-1]
    key = f"scenarios-{pack.hash[:8]}"
    uploader = next(u for u in app.file_uploader if u.key.startswith(f"{key}-file"))
    uploader.set_value(("mine.csv", b"scenario,age\nsub-01,33\nsub-02,77\n", "text/csv")).run()
    assert not app.exception and [n for n, _ in compared_in(app)] == ["sub-01", "sub-02"]
    saved = []
    make = _link.scenario_of
    monkeypatch.setattr(_link, "scenario_of", lambda p: saved.append(make(p)) or saved[-1])

    def said() -> bool:
        """Whether an address, a file or a zip, of this page or of another, says who is compared."""
        return "compare1" in query_of(app) or any(one.compare for one in saved) or "sub-0" in zips[-1]

    app.run()
    assert saved and not said()
    app.switch_page("pages/individual.py").run()
    assert not said()
    app.switch_page("pages/compare.py").run()
    assert [n for n, _ in compared_in(app)] == ["sub-01", "sub-02"] and not said()
    next(b for b in app.button if b.label.startswith("From the person")).click().run()
    assert query_of(app)["compare1"] == "name=Current+person"  # two draws are not as usual


def few_columns(monkeypatch) -> None:
    """As with a pack of so many features that not all have a column."""
    from pages import _compare_table

    monkeypatch.setattr(_compare_table, "ALL_BELOW", 0)
    monkeypatch.setattr(_compare_table, "FEW", 1)


def compared_as(pack, people: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Name and white matter of people, two draws, as `compared_in` finds them."""
    found = {n: volumes_over_draws(pack, p, draws=2)[0].mean(axis=0)[0] for n, p in people.items()}
    return [(n, f"{ml:.1f}") for n, ml in found.items()]


def test_what_all_scenarios_share_is_shown_and_counts(pack, monkeypatch) -> None:
    few_columns(monkeypatch)
    tall = {
        "compare": "draws=2",
        "compare1": "name=a&p.height=199",
        "compare2": "name=b&p.age=70&p.height=199",
    }
    app = arrive("compare", pack="ixi", **tall)
    key = f"scenarios-{pack.hash[:8]}-columns"
    assert set(app.multiselect(key=key).value) == {"age", "height"}
    a = typical(pack) | {"height": 199.0}
    expected = compared_as(pack, {"a": a, "b": a | {"age": 70.0}})
    assert compared_in(app) == expected
    assert {k: v for k, v in query_of(app).items() if k in tall} == tall
    assert not [c for c in app.caption if "without a column" in c.value]
    app.multiselect(key=key).set_value(["age"]).run()  # hidden, and all the same there
    assert compared_in(app) == expected
    label = pack.schema.feature("height").label
    assert [c.value for c in app.caption if "without a column" in c.value] == [
        f"Scenarios also differ, without a column, in: {label}."
    ]
    assert {k: v for k, v in query_of(app).items() if k in tall} == tall


def test_features_that_some_scenario_changes(pack) -> None:
    start = typical(pack) | {"weight": None}
    rows = pd.DataFrame({"height": [199, 199], "age": [None, start["age"]], "weight": [None, 70.0]})
    assert compare.changed(pack, rows, start) == ["height", "weight"]
    assert compare.changed(pack, rows.head(1), start) == ["height"]


def test_compare_takes_a_table_and_shows_regions(pack) -> None:
    app = open_page("compare", pack, compare__draws=2)
    app.toggle(key="compare-regions").set_value(True).run()
    key = f"scenarios-{pack.hash[:8]}"
    table = b"scenario,age,sex\nyoung,30,\nold,75,\nan old man,75,male\n"
    uploader = next(u for u in app.file_uploader if u.key.startswith(f"{key}-file"))
    uploader.set_value(("mine.csv", table, "text/csv")).run()
    assert not app.exception and not app.error
    people = [typical(pack) | {"age": a} for a in (30.0, 75.0)] + [typical(pack) | {"age": 75.0, "sex": "M"}]
    found = np.stack([compare.volumes_of_draws(pack, p, draws=2, regions=True) for p in people])
    tidy = compare.compared(["young", "old", "an old man"], found).set_index(["scenario", "measure"])
    text = html_of(app)
    for region in REGIONS:
        row = re.search(rf'data-region="{region.name}">(.*?)</tr>', text)[1]
        assert re.findall(r'class="ml">([\d.]+)<', row) == [
            f"{tidy.loc[(s, region.name), 'mean_ml']:.1f}" for s in ("young", "old", "an old man")
        ]
    ventricles = tidy.loc[("old", "ventricles")]
    assert ventricles["difference_percent"] == pytest.approx(
        100 * ventricles["difference_ml"] / tidy.loc[("young", "ventricles"), "mean_ml"]
    )
    assert np.allclose(found[0][:, :3], volumes_over_draws(pack, people[0], draws=2)[0])
    bad = b"scenario,age\nyoung,thirty\n"
    uploader = next(u for u in app.file_uploader if u.key.startswith(f"{key}-file"))
    uploader.set_value(("mine.csv", bad, "text/csv")).run()
    assert "mine.csv, row 2, column age" in app.error[0].value and not app.exception


def arrive(name: str | None, **query: str) -> Any:
    """The app after a link to a page; None: to the first."""
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if name is not None:
        app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception
    return app


def query_of(app: Any) -> dict[str, str]:
    """The address after a run."""
    return {k: v[0] if isinstance(v, list) else v for k, v in app.query_params.items()}


def open_file(app: Any, scenario: Any) -> Any:
    """Open a scenario file in the sidebar: a scenario, or the content of a file."""
    opener = next(u for u in app.file_uploader if u.label == "Open a scenario")
    text = json.dumps(scenario) if isinstance(scenario, dict) else scenario.to_json()
    return opener.set_value(("a.json", text.encode(), "application/json")).run()


def compared_in(app: Any) -> list[tuple[str, str]]:
    """Name and white matter of every scenario shown."""
    return re.findall(r"data-scenario='([^']+)'.*?class=\"ml\">([\d.]+)<", html_of(app))


def test_a_link_holds_the_table_of_scenarios(pack) -> None:
    link = {
        "pack": "ixi", "v": "4", "p.age": "40", "compare": "p.height=181&draws=2", "compare1": "name=me",
        "compare2": "name=old+%26+tall&p.age=75&p.height=195",
    }  # fmt: skip
    app = arrive("compare", **link)
    assert not app.error
    me = typical(pack) | {"age": 40.0, "height": 181.0}
    people = {"me": me, "old &amp; tall": me | {"age": 75.0, "height": 195.0}}
    wanted = [
        (n, f"{volumes_over_draws(pack, p, draws=2)[0].mean(axis=0)[0]:.1f}") for n, p in people.items()
    ]
    assert compared_in(app) == wanted
    assert {k: v for k, v in query_of(app).items() if k in link} == link
    next(b for b in app.button if b.label.startswith("From the person")).click().run()
    assert len(compared_in(app)) == 3
    assert query_of(app)["compare2"] == "name=10+years+older&p.age=50"  # two draws are not as usual
    app.number_input(key=of(pack, "compare-draws")).set_value(6).run()
    assert not [k for k in query_of(app) if k.startswith("compare")]


def test_a_scenario_file_holds_the_table_and_puts_it_back(pack) -> None:
    from csegsynth_core.scenario_file import Scenario
    from csegsynth_core.scenario_pages import Comparison

    person = typical(pack)
    table = Comparison(person, {"a": {"age": 30.0}, "b": {"age": 70.0, "sex": "M"}}, 2)
    app = open_page("compare", pack, compare__draws=2)
    assert len(compared_in(app)) == 3
    open_file(app, Scenario("ixi", pack.hash, person, compare=table))
    assert not app.exception and not app.error
    assert [name for name, _ in compared_in(app)] == ["a", "b"]
    assert query_of(app)["compare2"] == "name=b&p.age=70&p.sex=M"
    open_file(app, Scenario("ixi", pack.hash, person))
    assert not app.exception and compared_in(app)[0][0] == compare.FIRST and len(compared_in(app)) == 3


@pytest.mark.parametrize("version", [1, 2])
def test_older_scenario_files_leave_pages_that_they_do_not_know(pack, version) -> None:
    from csegsynth_core.scenario_file import Scenario

    link = {
        "compare": "draws=2",
        "compare1": "name=a&p.age=31",
        "compare2": "name=b&p.sex=M",
        "influence": "top=4",
    }
    app = arrive("compare", pack="ixi", **link)
    shown = compared_in(app)
    old = Scenario("ixi", pack.hash, typical(pack) | {"age": 66.0}).to_dict() | {"version": version}
    old = {k: v for k, v in old.items() if k not in ("compare", "influence")}
    open_file(app, old)
    assert not app.exception and not app.error
    query = query_of(app)
    assert query["p.age"] == "66" and compared_in(app) == shown
    assert {k: query[k] for k in ("compare1", "compare2", "influence")} == {
        k: link[k] for k in list(link)[1:]
    }
    open_file(app, old | {"version": 3, "compare": None, "influence": None})  # as usual: that is said
    assert compared_in(app)[0][0] == compare.FIRST and "influence" not in query_of(app)


def test_a_table_too_long_for_a_link_is_said(pack, monkeypatch) -> None:
    from csegsynth_core import scenario_file

    monkeypatch.setattr(scenario_file, "MAX_LINK", 200)
    link = {"pack": "ixi", "compare": "draws=2"} | {f"compare{n}": f"name={n}+{'x' * 70}" for n in (1, 2)}
    app = arrive("compare", **link)
    assert "too long for the address" in html_of(app) and "save a scenario file" in html_of(app)
    assert len(compared_in(app)) == 2
    assert not [k for k in query_of(app) if k.startswith("compare")]


def test_a_bad_table_in_a_link_ends_in_a_message_and_the_rest_counts(pack) -> None:
    bad = {"v": "9", "compare1": "name=A&p.shoe=44", "influence": "measure=spleen"}
    app = arrive(None, **{"pack": "ixi", "p.age": "61"}, **bad)
    said = [e.value for e in app.error]
    for part in ("link is of another version", "unknown feature 'shoe'", "unknown measure"):
        assert len([text for text in said if part in text]) == 1
    query = query_of(app)
    assert (query["p.age"], query["v"]) == ("61", "4") and not {"compare1", "influence"} & set(query)


def test_what_can_be_used_of_a_person_in_a_link_counts(pack) -> None:
    link = {"p.age": "abc", "p.height": "185", "b.weight": "x", "subgroup": "foo", "utm_source": "mail"}
    app = arrive(None, pack="ixi", **link)
    said = [e.value for e in app.error]
    assert len(said) == 2 and "the link, age: not a possible value" in said[0]
    assert "the link's baseline, weight" in said[1] and "n/a for unknown; left out, it is typical" in said[1]
    assert query_of(app) == {"v": "4", "pack": "ixi", "draw": "0", "p.height": "185"}
    assert [w.value for w in app.warning if "link" in w.value] == ["Not known in a link, ignored: subgroup"]


@pytest.mark.usefixtures("tissue_gradients")
def test_columns_that_the_pack_does_not_know_are_left_out_and_named(pack) -> None:
    """Of every table in the app; what is wrong in the others is still refused."""
    rows = "participant_id,age,heigth,group\nsub-a,50,170,patients\nsub-b,60,171,patients\n"
    said = "Columns that ixi does not know, left out: heigth (perhaps 'height' was meant), group."
    app = open_page("influence", pack, influence__whose="table")
    uploader = of(pack, "influence-table")
    app.file_uploader(key=uploader).set_value(("mine.csv", rows.encode(), "text/csv")).run()
    assert not app.exception and not app.error and [w.value for w in app.warning] == [said]
    assert "2 people of mine.csv" in html_of(app)
    app.file_uploader(key=of(pack, "table")).set_value(("mine.csv", rows.encode(), "text/csv")).run()
    assert not app.error and [w.value for w in app.warning] == 2 * [said]
    bad = rows.replace("sub-b,60", "sub-b,sixty").encode()
    app.file_uploader(key=of(pack, "table")).set_value(("mine.csv", bad, "text/csv")).run()
    assert "mine.csv, row 3, column age" in app.error[0].value


def test_scenarios_of_a_file_may_have_columns_that_the_pack_does_not_know(pack) -> None:
    app = open_page("compare", pack, compare__draws=2)
    rows = b"scenario,age,group\nyoung,30,x\nold,70,x\n"
    assert compare.read_scenarios(pack, rows, "mine.csv", typical(pack))[1] == ["group"]
    next(u for u in app.file_uploader if u.label == "Table of scenarios").set_value(
        ("mine.csv", rows, "text/csv")
    ).run()
    assert not app.error and [name for name, _ in compared_in(app)] == ["young", "old"]
    assert "left out: group" in app.warning[0].value
    app.toggle(key="compare-regions").set_value(True).run()
    assert "left out: group" in app.warning[0].value, "as long as this table is compared"
    next(b for b in app.button if b.label == "From the person in the sidebar").click().run()
    assert not app.warning


@pytest.mark.usefixtures("rough_gradients")
def test_a_link_holds_the_settings_of_the_influence_page(pack) -> None:
    said = "whose=typical&measure=csf&top=4&draws=2&in.age=50.0&in.age=70.5&in.sex=F"
    app = arrive("influence", pack="ixi", v="3", influence=said)
    assert not app.error
    assert "CSF volume" in html_of(app) and len(frame(app)) == 4 and "2 draws from 0" in html_of(app)
    people = synthetic_people.typical_people(pack)
    inside = people["age"].between(50, 70.5) & (people["sex"] == "F")
    assert f"n = {int(inside.sum())}" in html_of(app)
    assert app.slider(key=f"filter-{pack.hash[:8]}-age").value == (50.0, 70.5)
    assert query_of(app)["influence"] == said
    app.switch_page("pages/cohort.py").run()
    assert query_of(app)["influence"] == said
    app.switch_page("pages/influence.py").run()
    app.selectbox(key=of(pack, "influence-whose")).set_value("person").run()
    app.number_input(key=of(pack, "influence-top")).set_value(10).run()
    app.selectbox(key=of(pack, "influence-measure")).set_value("gm").run()
    assert "influence" not in query_of(app)  # as usual


@pytest.mark.usefixtures("rough_gradients")
def test_settings_of_pages_are_of_each_pack_apart(pack, tmp_path, monkeypatch) -> None:
    """What a page shows is what the link says, also after another pack was chosen and again on the first."""
    other = tmp_path / "other"
    shutil.copytree(pack.folder, other, ignore=shutil.ignore_patterns("comparison"))
    about = json.loads((other / "pack.json").read_text("utf-8")) | {"name": "other"}
    (other / "pack.json").write_text(json.dumps(about), "utf-8")
    monkeypatch.setenv("CSEGSYNTH_PACKS", str(tmp_path))
    said = {
        "influence": "measure=csf&top=4&draws=2",
        "compare": "draws=3",
        "compare1": "name=a",
        "compare2": "name=b&p.sex=M",
    }
    app = arrive("influence", pack="ixi", **said)
    assert "CSF volume" in html_of(app)
    app.selectbox(key="pack").set_value("other").run()
    assert not app.exception and query_of(app)["pack"] == "other"
    assert not set(said) & set(query_of(app))
    assert "GM volume" in html_of(app) and len(frame(app)) == 10
    app.switch_page("pages/compare.py").run()
    assert "6 draws from 0" in html_of(app) and not set(said) & set(query_of(app))
    app.selectbox(key="pack").set_value("ixi").run()
    assert "3 draws from 0" in html_of(app) and [n for n, _ in compared_in(app)] == ["a", "b"]
    app.switch_page("pages/influence.py").run()
    assert "CSF volume" in html_of(app) and "2 draws from 0" in html_of(app) and len(frame(app)) == 4
    assert {k: v for k, v in query_of(app).items() if k in said} == said


def test_settings_of_the_influence_page_are_those_that_files_know(pack) -> None:
    from csegsynth_core import scenario_pages
    from pages import _influence_people

    with gradients_of(draws=1, resolution=2):
        app = open_page("influence")
        assert tuple(_influence_people.WHOSE) == scenario_pages.WHOSE
        assert len(app.selectbox(key=of(pack, "influence-measure")).options) == len(scenario_pages.MEASURES)
        for name in scenario_pages.MEASURES:
            assert not app.selectbox(key=of(pack, "influence-measure")).set_value(name).run().exception


@pytest.mark.usefixtures("rough_gradients", "few_typical_people")
def test_a_scenario_file_holds_the_settings_of_the_influence_page(pack) -> None:
    from csegsynth_core.scenario_file import Scenario
    from csegsynth_core.scenario_pages import InfluenceView

    app = open_page("influence")
    view = InfluenceView("typical", "wm", "natural", 3, {"height": (160.0, 180.0)})
    open_file(app, Scenario("ixi", pack.hash, typical(pack), influence=view))
    assert not app.exception and not app.error
    assert "WM volume" in html_of(app) and len(frame(app)) == 3 and "unit" in frame(app)
    assert app.slider(key=f"filter-{pack.hash[:8]}-height").value == (160.0, 180.0)
    assert app.session_state[f"memory-{pack.hash[:12]}"]["influence"] == view
    open_file(app, Scenario("ixi", pack.hash, typical(pack)))
    assert not app.exception and "GM volume" in html_of(app) and len(frame(app)) == 10
    assert app.session_state[f"memory-{pack.hash[:12]}"]["influence"] == InfluenceView()


def test_an_edited_table_keeps_its_other_columns() -> None:
    before = pd.DataFrame({"scenario": ["a", "b", "c"], "age": [40.0, 50.0, 60.0], "sex": ["F", "M", None]})
    edited = pd.DataFrame({"scenario": ["a", "C", "new"], "age": [41.0, 60.0, None]}, index=[0, 2, 3])
    after = compare.kept(before, edited)
    assert after.to_dict("list") == {
        "scenario": ["a", "C", "new"],
        "age": [41.0, 60.0, None],
        "sex": ["F", None, None],
    }
    assert list(after.index) == [0, 1, 2]


def long_worded(pack: packs.Pack) -> packs.Pack:
    """The pack with labels and levels as long as BIDS lets them be, and a soft hyphen in each."""
    features = tuple(
        replace(
            one,
            label=f"{one.label}\u00ad{' as asked in the interview' * 4}",
            levels={k: f"{v}\u00ad{' or nearly so' * 7}" for k, v in one.levels.items()},
        )
        for one in pack.schema.features
    )
    schema = replace(pack.schema, features=features)
    return replace(pack, encoder=Encoder(schema, pack.encoder.numeric, pack.encoder.levels))


def test_generated_names_fit_whatever_the_pack_calls_its_features(pack) -> None:
    wordy = long_worded(pack)
    start = compare.starting_scenarios(wordy, typical(pack))
    people = compare.filled(wordy, start.reset_index(), typical(pack))
    assert list(people) == list(start.index) and len(people) == 3
    usual = compare.starting_people(pack, typical(pack))
    assert list(people.values()) == list(usual.values())
    assert scenario_checks.MAX_NAME - 5 < max(map(len, people)) <= scenario_checks.MAX_NAME
    label, said = list(people)[2].split("…: ")
    assert list(usual)[2].startswith(label[:5]) and said.endswith("…")
    assert "\u00ad" not in "".join(people)
    one = scenario_checks.made_name("x" * 100)
    other = scenario_checks.made_name("x" * 100, [one])
    assert other == f"{'x' * 75}… (2)" and scenario_checks.check_name(other, "it") == other
    assert scenario_checks.made_name("\u00ad ") == "Unnamed"


def alike(pack: packs.Pack, **values: float) -> packs.Pack:
    """The pack as if all training people had these numbers, of which nobody knows what is plausible."""
    features = [replace(o, plausible=None) if o.name in values else o for o in pack.schema.features]
    numeric = dict(pack.encoder.numeric)
    for name, v in values.items():
        same = dict.fromkeys(("mean", "median", "minimum", "maximum", "centile1", "centile99"), v)
        numeric[name] = replace(numeric[name], sd=0.0, impute=(v,), **same)
    encoder = Encoder(replace(pack.schema, features=tuple(features)), numeric, pack.encoder.levels)
    return replace(pack, encoder=encoder)


def test_pages_open_where_nobody_differs_in_a_feature(pack, monkeypatch) -> None:
    from pages import _state

    same = alike(pack, height=170.0)
    monkeypatch.setattr(_state, "_load", lambda *_: same)
    app = open_page("cohort")
    place = frame(app).set_index("label").loc["Height", "place"]
    assert place == "–" and not app.error
    height = next(s for s in app.slider if s.key.endswith("-height"))
    assert height.min <= height.value == 170.0 < height.max
    app.switch_page("pages/compare.py").run()
    assert not app.exception and not app.error and len(compared_in(app)) == 3


@pytest.mark.parametrize("name", ["age", "height"])
def test_nobody_is_filtered_by_a_feature_that_nobody_differs_in(pack, monkeypatch, name) -> None:
    from pages import _state

    same = alike(pack, **{name: 50.0})
    monkeypatch.setattr(_state, "_load", lambda *_: same)

    def script() -> None:
        from pages import _influence_filters, _state

        _influence_filters.filters(_state.load("ixi"))

    app = testing.AppTest.from_function(script, default_timeout=PATIENCE).run()
    offered = [o for o in pack.schema.features if o.name != name]
    assert not app.exception and app.multiselect[0].options == [o.label for o in offered]
    app.multiselect[0].set_value([o.name for o in offered]).run()
    assert not app.exception and len(app.slider) == 2


def test_a_link_may_name_a_feature_that_nobody_differs_in(pack, monkeypatch) -> None:
    import streamlit as st

    from pages import _influence_filters

    monkeypatch.setattr(st, "session_state", {})
    _influence_filters.take(alike(pack, age=30.0), {"age": (30.0, 30.0), "height": (160.0, 170.0)})
    assert sorted(st.session_state[of(pack, "filter-by")]) == ["height", "sex"]
    assert f"filter-{pack.hash[:8]}-age" not in st.session_state


@pytest.mark.parametrize(
    ("plausible", "ends"),
    [(None, (200.0, 201.0)), ((35.0, 210.0), (200.0, 201.0)), ((35.0, 200.0), (199.0, 200.0))],
)
def test_a_slider_has_a_length(pack, plausible, ends) -> None:
    from pages import _numbers

    same = alike(pack, weight=200.0)
    features = [replace(o, plausible=plausible) if o.name == "weight" else o for o in same.schema.features]
    schema = replace(same.schema, features=tuple(features))
    same = replace(same, encoder=Encoder(schema, same.encoder.numeric, same.encoder.levels))
    assert _numbers.reach(same, same.encoder.ranges()["weight"], 200.0) == (*ends, 1.0)


@pytest.mark.parametrize(
    ("ages", "age", "title", "other"),
    [
        ((18.0, 80.0), 48.0, "10 years older", 58.0),
        ((18.0, 80.0), 75.0, "10 years younger", 65.0),
        ((18.0, 26.0), 20.0, "6 years older", 26.0),
        ((18.0, 26.0), 24.5, "6 years younger", 18.5),
        ((10.0, 26.0), 24.0, "6 years younger", 18.0),  # 14 is not plausible
        ((18.0, 80.0), 92.0, None, None),  # no age within ten years is within the training range
        ((20.0, 21.5), 20.0, "1 year older", 21.0),
        ((20.0, 20.5), 20.0, None, None),
    ],
)
def test_scenarios_start_at_ages_that_the_model_knows(pack, ages, age, title, other) -> None:
    stats = replace(pack.encoder.numeric["age"], minimum=ages[0], maximum=ages[1])
    encoder = Encoder(pack.schema, {**pack.encoder.numeric, "age": stats}, pack.encoder.levels)
    start = compare.starting_people(replace(pack, encoder=encoder), typical(pack) | {"age": age})
    found = {name: one["age"] for name, one in start.items() if "year" in name}
    assert found == ({title: other} if title else {})


def test_no_scenario_is_a_value_that_everybody_has(pack) -> None:
    same = alike(pack, height=170.5, weight=70.0)
    for name in ("height", "weight"):
        assert compare._other_value(same, same.schema.feature(name), typical(same)[name]) is None


def test_pages_open_whatever_the_pack_calls_its_features(pack, monkeypatch) -> None:
    from pages import _state

    wordy = long_worded(pack)
    monkeypatch.setattr(_state, "_load", lambda *_: wordy)
    app = open_page("compare")
    assert not app.error and len(compared_in(app)) == 3
    assert "compare1" not in query_of(app)  # as usual


def test_scenarios_fill_in_and_refuse(pack) -> None:
    person = typical(pack)
    edited = pd.DataFrame({"scenario": ["a", None], "age": [None, 70.0]})
    people = compare.filled(pack, edited, person)
    assert people["a"] == person
    assert people["Scenario 2"] == person | {"age": 70.0}
    with pytest.raises(TableError, match="two scenarios are named 'a'"):
        compare.filled(pack, pd.DataFrame({"scenario": ["a", "a"]}), person)
    with pytest.raises(TableError, match="unusable number of scenarios"):
        compare.filled(pack, pd.DataFrame({"scenario": [str(i) for i in range(9)]}), person)
    values = np.random.default_rng(0).normal(500, 10, (2, 6, 3))
    table = compare.compared(["x", "y"], values).set_index(["scenario", "measure"])
    row = table.loc[("y", "csf")]
    assert row["difference_ml"] == pytest.approx((values[1, :, 2] - values[0, :, 2]).mean())
    change = (values[1] - values[0])[:, 2].reshape(3, 2)  # pairs of opposite noise
    spread = np.square(np.diff(change) / 2).mean() + change.mean(axis=1).var(ddof=1)
    assert row["difference_sd_draws_ml"] == pytest.approx(np.sqrt(spread))
    assert table.loc[("x", "wm+gm+csf"), "difference_ml"] == 0.0


def test_the_most_influential_features_come_first(pack) -> None:
    order = compare.influence_order(pack)
    size = [max(pack.metrics["influence"][n].values()) for n in order]
    assert size == sorted(size, reverse=True)
    assert compare.sidebar_order(pack)[:2] == ["age", "sex"]


def test_cohort_without_a_summary(pack) -> None:
    app = open_page("cohort")
    places = coverage.placed(pack, typical(pack))
    assert list(frame(app)["label"]) == list(places["label"])
    assert f"{coverage.training_people(pack)} people trained on" in html_of(app)
    height = places.set_index("feature").loc["height"]
    stats = pack.encoder.numeric["height"]
    assert height["z"] == pytest.approx((height["used"] - stats.mean) / stats.sd)
    assert 'role="alert"' not in html_of(app)


@pytest.mark.usefixtures("rough_gradients")
@pytest.mark.parametrize(
    ("page", "gives"),
    [
        ("cohort", "This person's volumes (the other numbers of the page are read from the pack)"),
        ("influence", "The table of gradients per SD"),
        ("compare", "The same numbers"),
    ],
)
def test_exports_say_what_their_command_gives(pack, page, gives) -> None:
    app = open_page(page, **{f"export__{page}": True})
    said = [c.value for c in app.caption if "from the command line" in c.value]
    assert said == [f"{gives} from the command line (`people.csv` is in the zip):"]
    assert any(c.value.startswith("python -m csegsynth_core") for c in app.code)


ODD = {"age": 21.0, "occupation": "retired", "marital_status": "widowed", "weight": None}
"""A person whom no training person is like."""


def notes_of(app: Any) -> str:
    """The strip of notes, of which there must be one at most; empty without."""
    found = [body for body in (e.proto.body for e in app.get("html")) if 'class="notes"' in body]
    assert len(found) < 2
    return "".join(found)


@pytest.mark.usefixtures("rough_gradients")
@pytest.mark.parametrize("name", ["individual", "ageing", "influence", "cohort"])
def test_every_page_tells_the_same_of_a_person_before_the_result(pack, name) -> None:
    query = {f"p.{k}": "n/a" if v is None else str(v) for k, v in ODD.items()}
    sweep = {"from": "30", "to": "50", "step": "5", "draws": "1", "scenario": "ideal"}
    app = arrive(name, pack="ixi", v="3", influence="draws=1", **query, **sweep)
    assert not app.exception and not app.error
    who = "women aged 21 in the training data"
    assert who in notes_of(app)
    for said in (f"<b>Occupation</b> Retired, fewer than 1 % of {who}", "<b>Weight</b> imputed (missing)"):
        assert notes_of(app).count(said) == 1


def test_what_is_extreme_at_any_age_is_in_the_same_strip_once(pack) -> None:
    from pages import _notes

    stats = pack.encoder.numeric["weight"]
    heavy = typical(pack) | {"weight": stats.mean + 3.2 * stats.sd}
    wide = Encoder(
        pack.schema, {**pack.encoder.numeric, "weight": replace(stats, maximum=200.0)}, pack.encoder.levels
    )
    brain = generate_one(replace(pack, encoder=wide), heavy)
    assert "weight" not in brain.flags
    told = " ".join(_notes.of_brain(pack, brain))
    assert told.count("<b>Weight</b>") == 1
    assert _notes.of_features(pack, brain.features, {}, skip=["weight"]) == []


@pytest.mark.parametrize("name", ["individual", "cohort", "compare"])
def test_no_page_has_notes_on_a_typical_person(pack, name) -> None:
    assert notes_of(arrive(name)) == ""


def test_notes_on_scenarios_tell_of_whom_they_are(pack) -> None:
    from pages import _notes

    who = {"a<b": typical(pack) | ODD, "c": typical(pack) | ODD, "d": typical(pack)}
    notes = _notes.of_scenarios(pack, {name: generate_one(pack, one) for name, one in who.items()})
    assert len(notes) == 3 and all(note.startswith("a&lt;b, c: <b>") for note in notes)


def test_a_few_notes_are_seen_at_once(pack) -> None:
    unknown = {f"p.{k}": "n/a" for k in pack.schema.names}
    strip = notes_of(arrive("individual", **unknown))
    more = len(pack.schema.names) - 5
    assert strip.count("imputed (missing)") == len(pack.schema.names)
    assert strip.split("<details>")[0].count("imputed (missing)") == 5
    assert f"<summary>and {more} more</summary>" in strip


def test_cohort_says_what_is_out_of_range(pack) -> None:
    far = typical(pack) | {"age": 95.0, "height": None}
    places = coverage.placed(pack, far).set_index("feature")
    assert places.loc["age", "flag"].startswith("outside training range")
    assert places.loc["height", "flag"] == "imputed (missing)"
    assert coverage.first_to_show(pack, places.reset_index()) == 0
    along = coverage.along_age(pack, "height")
    assert set(along["sex"]) == set(pack.schema.sex.levels)
    assert ((along["high"] - along["low"]) > 0).all()


def with_counts(pack: packs.Pack, name: str, *counts: int) -> packs.Pack:
    """The pack as if so many training people had the levels of a feature."""
    votes = pack.encoder.levels[name]
    votes = replace(votes, n=sum(counts), counts=dict(zip(votes.counts, counts, strict=True)))
    encoder = Encoder(pack.schema, pack.encoder.numeric, {**pack.encoder.levels, name: votes})
    return replace(pack, encoder=encoder)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((40, 30, 20, 10, 1), (40, 30, 20, None, None)),  # the sum would tell the one
        ((40, 30, 20, 2, 1), (40, 30, 20, None, None)),
        ((40, 30, 20, 10, 0), (40, 30, 20, 10, 0)),
    ],
)
def test_cohort_tells_of_no_group_of_one_or_two(pack, counts, told) -> None:
    few = with_counts(pack, "marital_status", *counts)
    shares = coverage.level_shares(few, "marital_status")
    assert [None if n != n else n for n in shares["people"]] == list(told)
    for key, people, count in zip(few.schema.feature("marital_status").levels, told, counts, strict=True):
        places = coverage.placed(few, typical(few) | {"marital_status": key})
        row = places.set_index("feature").loc["marital_status"]
        text = coverage.as_text(places).set_index("label").loc[row["label"], "place"]
        share = 100 * count / sum(counts)
        wanted = np.nan if people is None else share
        assert row["share_percent"] == pytest.approx(wanted, nan_ok=True)
        assert text == ("withheld" if people is None else f"{share:.0f} % have it")


def test_cohort_tells_the_range_that_flags_are_of(pack) -> None:
    """The table of the page, and the one that it exports."""
    far = {name: stats.maximum + 0.3 * stats.sd for name, stats in pack.encoder.numeric.items()}
    places = coverage.placed(pack, typical(pack) | far)
    assert list(frame(open_page("cohort"))["range"]) == list(coverage.as_text(places)["range"])
    for name, stats in pack.encoder.numeric.items():
        row = places.set_index("feature").loc[name]
        assert (row["minimum"], row["maximum"]) == (stats.minimum, stats.maximum)
        assert row["flag"] == f"outside training range ({row['range']})"
    assert set(places.loc[places["kind"] != "numeric", "range"]) == {""}


def test_a_chosen_row_is_of_its_own_pack(pack, monkeypatch) -> None:
    import streamlit as st

    from pages import _cohort_views, _influence_table

    cells: list[tuple[int, str]] = []
    given: dict[str, Any] = {}

    def dataframe(_: pd.DataFrame, **settings: Any) -> dict[str, Any]:
        given.update(settings)
        return {"selection": {"cells": cells}}

    monkeypatch.setattr(st, "dataframe", dataframe)
    monkeypatch.setattr(st, "session_state", {})
    places = coverage.placed(pack, typical(pack))
    usual = coverage.first_to_show(pack, places)
    other = replace(pack, hash="0" * 64)
    keys = set()
    for row, shown in ((None, usual), (3, 3), (len(places), usual), (100, usual)):
        cells[:] = [] if row is None else [(row, "label")]
        assert _cohort_views.table(pack, places) == shown
        keys.add(given["key"])
    _cohort_views.table(other, places)
    assert len(keys) == 1 and given["key"] not in keys
    bars = pd.DataFrame({"column": ["age", "height"], "is_contrast": False, "unit": "", "rank": [1, 2]})
    for row, column in ((1, "height"), (100, "height"), (0, "age")):
        _influence_table.table(pack, bars, "sd", "")
        st.session_state[given["key"]] = {"selection": {"cells": [(row, "label")]}}
        given["on_select"]()
        assert st.session_state[_influence_table.map_key(pack)] == column
    before = given["key"]
    _influence_table.table(other, bars, "sd", "")
    assert given["key"] != before


@pytest.fixture(scope="module")
def summary() -> tuple[CohortSummary, Any]:
    rng = np.random.default_rng(1)
    n = 90
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:03d}" for i in range(n)],
            "age": rng.uniform(20, 79, n).round(1),
            "sex": np.where(np.arange(n) % 3 == 0, "M", "F"),
            "height": rng.normal(170, 8, n).round(),
            "marital_status": ["widowed"] + ["single", "married"] * ((n - 1) // 2) + ["single"],
        }
    )
    table.loc[:6, "height"] = np.nan
    table.loc[7, "age"] = np.nan
    schema = Schema.from_participants_json(PARTICIPANTS_JSON, table)
    gm = 800 - 2 * table["age"].fillna(50)
    volumes = pd.DataFrame({"wm": rng.normal(500, 40, n), "gm": gm, "csf": rng.normal(200, 30, n)})
    parsed = schema.validate(table)
    return CohortSummary.fit(parsed, volumes.set_index(pd.Index(parsed.ids))), parsed


def test_a_cohort_summary_tells_of_nobody(summary) -> None:
    found, parsed = summary
    assert found.n == 90 and found.missing["height"] == 7
    assert found.missing["age"] is None  # one person
    known = [c for h in found.histograms.values() for c in h.counts]
    assert not [c for c in known if c in (1, 2)]
    status = found.histograms["marital_status"]
    counts = dict(zip(status.levels, status.counts, strict=True))
    assert counts["widowed"] is None  # one person,
    assert sum(c is None for c in counts.values()) == 2  # whom the sum would tell
    for cells in (*zip(*found.by_age_sex, strict=True), *(h.counts for h in found.histograms.values())):
        assert not [c for c in cells if c in (1, 2)]
        assert sum(c is None for c in cells) != 1 or not any(cells)
    heights = parsed.data["height"].dropna().to_numpy()
    edges = found.histograms["height"].edges
    assert edges[0] <= heights.min() and edges[-1] > heights.max()
    rows = dict(zip(found.names, found.correlations, strict=True))
    assert rows["age"][found.names.index("gm")] < -0.9
    assert rows["age"][found.names.index("age")] == 1.0
    few, rho = found.strongest(1)
    assert few == ("age", "wm", "gm", "csf") and rho[0][2] == rows["age"][found.names.index("gm")]
    text = json.dumps(found.to_dict())
    assert CohortSummary.from_dict(json.loads(text)) == found
    with pytest.raises(PackError, match="damaged"):
        CohortSummary.from_dict({**found.to_dict(), "histograms": 3})
    with pytest.raises(TableError, match="no summary of this cohort"):
        CohortSummary.fit(parsed.select(parsed.ids[:5]), pd.DataFrame(index=parsed.ids))


def test_withheld_cells_are_hatched_stubs_that_tell_no_count() -> None:
    """On screen and on paper, with words for them; a zero is none."""
    from csegsynth_core import figures, static_charts

    row = dict.fromkeys(("mean", "median", "used"), 40.0) | {
        "sd": 9.0,
        "label": "Age",
        "units": "years",
        "said": "40",
    }
    row |= {"centile1": 21.0, "centile99": 79.0, "minimum": 20.2, "maximum": 81.9}
    histogram = Histogram((20.0, 40.0, 60.0, 80.0, 100.0), (), (30, 0, None, None))
    shares = pd.DataFrame({"level": ["a", "b", "c"], "label": ["A", "B", "C"], "people": [20.0, None, 0.0]})
    shares["percent"] = [100.0, np.nan, 0.0]
    crossed = CohortSummary(40, {}, {}, (), (), (20.0, 60.0, 80.0), ("M", "F"), ((20, None), (None, 0)))
    stub = figures.distribution_figure(row, histogram).data[1]
    assert list(stub.x) == [70.0, 90.0] and list(stub.text) == ["*", "*"] and stub.marker.pattern.shape == "/"
    assert len(set(stub.y)) == 1 and 0 < stub.y[0] < 3 and stub.hovertext[0] == "60–80 years: withheld"
    levels = figures.levels_figure(shares, "a").data[0]
    assert list(levels.text)[1:] == ["* withheld", "0 people"] and list(levels.marker.pattern.shape) == [
        "",
        "/",
        "",
    ]
    assert list(levels.x)[1] > 0 and list(levels.x)[2] == 0
    bars = figures.age_sex_figure(crossed, {"M": "male", "F": "female"})
    stubs = [t for t in bars.data if t.text and set(t.text) == {"*"}]
    assert [list(t.x) for t in stubs] == [["60–80"], ["20–60"]] and len({y for t in stubs for y in t.y}) == 1
    assert [t.offsetgroup for t in stubs] == ["M", "F"]
    assert bars.data[-1].name == "* withheld (few people)"
    for figure in (figures.distribution_figure(row, histogram), figures.levels_figure(shares, "a")):
        assert "withheld: one or two people" in figure.layout.annotations[0].text
    files = (
        static_charts.distribution_file(row, histogram),
        static_charts.levels_file(shares, "a"),
        static_charts.age_sex_file(crossed, {}),
    )
    for file in files:
        drawn = ElementTree.fromstring(file)  # noqa: S314 - our own
        text = " ".join("".join(t.itertext()) for t in drawn.iter() if t.tag.endswith("}text"))
        assert "*, hatched: withheld" in " ".join(text.split()) and b"<pattern" in file
    whole = Histogram(histogram.edges, (), (30, 0, 4, 3))
    assert not figures.distribution_figure(row, whole).layout.annotations
    assert b"withheld" not in static_charts.distribution_file(row, whole)


def test_cohort_shows_a_summary_that_the_pack_has(pack, tmp_path, monkeypatch) -> None:
    import hashlib

    import streamlit as st

    people = synthetic_people.varied_people(pack, 60)
    parsed = pack.schema.validate(people)
    ml = np.random.default_rng(0).normal(500, 50, (60, 3))
    found = CohortSummary.fit(parsed, pd.DataFrame(ml, columns=["wm", "gm", "csf"], index=parsed.ids))
    folder = tmp_path / "ixi"
    shutil.copytree(pack.folder, folder)
    features = json.loads((folder / "features.json").read_text()) | {"cohort": found.to_dict()}
    (folder / "features.json").write_text(json.dumps(features))
    about = json.loads((folder / "pack.json").read_text())
    about["files"]["features.json"] = hashlib.sha256((folder / "features.json").read_bytes()).hexdigest()
    (folder / "pack.json").write_text(json.dumps(about))
    monkeypatch.setattr(packs, "SHIPPED", tmp_path)
    st.cache_resource.clear()
    app = open_page("cohort")
    captions = " ".join(c.value for c in app.caption)
    assert "n = 60. Cells of one or two people are withheld" in captions
    assert len(app.get("plotly_chart")) == 5


FUTURE = {
    "cohort": "ixi",
    "split": "test",
    "n": 30,
    "volumes": {
        "csegsynth": {
            "gm": {"mape": {"value": 5.0, "low": 4.0, "high": 6.0}, "pearson": {"value": 0.8, "p": 0.01}}
        },
        "ridge": {"gm": {"mape": {"value": 5.5, "low": 4.2, "high": 6.7}}},
    },
    "images": {"csegsynth": {"gm": {"fid_3d": {"value": 0.02}}}},
    "floors": {"gm": {"fid_3d": {"value": 0.01}}},
    "regions": {"csegsynth": {"ventricles": {"mape": {"value": 20.0}}}},
    "paired": {"ridge": {"gm": {"difference_ml": -2.0, "low": -4.0, "high": 0.5, "p": 0.1}}},
    "achievable": {"csegsynth": {"gm": {"mae_ratio": {"value": 1.07, "low": 0.9, "high": 1.2}}}},
    "memorisation": {"real_kept_aside": {"brain": {"nearest": {"value": 0.2}}}},
    "extractors": {"fid_3d": "a network of ours"},
    "surprise": {"a": {"b": 1.5}},
}


def test_evaluation_tables_take_both_shapes(pack) -> None:
    now = measured.tidy(pack.metrics)
    some = pack.metrics["volumes"]
    method = next(iter(some))
    row = now[(now["method"] == method) & (now["part"] == "gm") & (now["metric"] == "mape")].iloc[0]
    held = some[method]["gm"]["mape"]
    assert row["value"] == (held["value"] if isinstance(held, dict) else held)
    later = measured.tidy(FUTURE)
    assert set(later["table"]) == {"volumes", "images", "regions", "achievable", "memorisation"}
    assert measured.name_of("c_vae_single_draw") == "C-VAE, single draw"
    assert later[later["method"] == "floor"]["value"].tolist() == [0.01]
    one = later[
        (later["method"] == "csegsynth") & (later["metric"] == "mape") & (later["part"] == "gm")
    ].iloc[0]
    assert (one["value"], one["low"], one["high"]) == (5.0, 4.0, 6.0)
    assert measured.paired(FUTURE)["difference_ml"].tolist() == [-2.0]
    assert measured.others(FUTURE)["surprise"].to_dict("records") == [{"what": "a", "b": "1.5"}]
    assert set(measured.tidy({"test": FUTURE})["table"]) == {f"test/{t}" for t in set(later["table"])}
    assert measured.tidy({}).empty and measured.best(later["value"], "lower") == 0.01


def test_small_numbers_keep_two_digits_and_their_sign() -> None:
    shown = [measured.number(v, "mmd") for v in (1.56e-3, 2.4e-5, -3e-6, -1.47e-4, 0.0, -0.0)]
    assert shown == ["1.6", "0.024", "-0.0030", "-0.15", "0", "0"]
    assert measured.headed("mmd") == "MMD (linear), ×10⁻³" and measured.headed("mape") == "MAPE, %"
    assert [measured.number(v, "fid_2d") for v in (195.81, 0.0579, 0.0996, 2e-7)] == [
        *("196", "0.058", "0.10", "2.0e-07")
    ]
    assert measured.number(-0.001, "r2") == "0.00" and measured.number(float("nan"), "r2") == "n/a"
    assert [measured.p_value(p) for p in (0.0, 0.0123, 1.0)] == ["<0.001", "0.012", "1.000"]
    table = measured.tidy({"images": {"csegsynth": {"gm": {"mmd": 0.0015}}}})
    assert measured.scaled(table, "mmd")["value"].tolist() == [pytest.approx(1.5)]


def test_further_measurements_are_in_words() -> None:
    metrics = {
        "models": {"c_vae": {"training_minutes": 10.2, "people": 116}, "ridge": {"people": 116}},
        "influence": {"height": {"gm": 9.5}, "alcohol_units": {"gm": 23.6}},
        "ageing": {"ages": [25.0, 75.0], "M": {"wm": [596.2, 561.8]}},
        "extractors": {"fid_2d": "networks of ours"},
        "split": "test",
        "beats_training_mean": {
            "c_vae": {"gm": {"difference_ml": -11.41, "low": -21.72, "high": 1.169, "p": 0.0, "beats": False}}
        },
    }
    more = measured.others(metrics)
    names = {"M": "Male", "height": "Body height"}
    told = {key: measured.worded(key, table, names) for key, table in more.items()}
    assert told["models"].to_dict("list") == {
        "Property": ["Training, min", "Training people"], "C-VAE": ["10.2", "116"], "Ridge regression": ["", "116"],
    }  # fmt: skip
    assert told["influence"].to_dict("list") == {
        "Feature": ["Body height", "Alcohol units"], "GM": [9.5, 23.6],
    }  # fmt: skip
    assert told["ageing"].to_dict("list") == {"25 → 75 years": ["Male"], "WM": ["596.2 → 561.8"]}
    assert told["extractors"].to_dict("list") == {"Metric": ["2D-FID"], "Features": ["networks of ours"]}
    assert told["beats_training_mean"].to_dict("list") == {
        "What": ["C-VAE"], "GM": ["−11.4 [−21.7, 1.2], p <0.001"],
    }  # fmt: skip
    assert told["single numbers"].to_dict("list") == {"What": ["Measured on"], "Value": ["people kept aside"]}


def test_the_summary_says_what_csegsynth_is_not_best_at(pack) -> None:
    def errors(**mape: float) -> dict[str, Any]:
        return {part: {"mape": {"value": value}} for part, value in mape.items()}

    metrics = {
        "split": "test",
        "n": 30,
        "volumes": {
            "csegsynth": errors(wm=9.0, gm=5.0),
            "csegsynth_typical": errors(wm=1.0, gm=1.0),
            "c_vae_single_draw": errors(wm=2.0, gm=2.0),
            "svr": errors(wm=8.0, gm=6.0),
            "ridge": errors(wm=10.0, gm=4.0),
        },
        "images": {
            "csegsynth": {"gm": {"mmd": 2e-3, "fid_3d": 0.2}},
            "c_vae": {"gm": {"mmd": -1e-6, "fid_3d": 9.0}},
        },
        "floors": {"gm": {"mmd": -1e-4, "fid_3d": 0.1}},
    }
    assert measured.summary(metrics) == [
        "Measured on 30 people kept aside, CSegSynth is best in 0 of 2 volumes (MAPE, 3 methods; elsewhere "
        "Support-vector regression in WM, Ridge regression in GM) and 1 of 2 columns of images (Table I, 2 "
        "generative models; elsewhere C-VAE in MMD (linear) of GM)."
    ]
    names = [r.name for r in REGIONS[:4]]
    few = {"csegsynth": errors(**dict.fromkeys(names, 5.0)), "c_vae": errors(**dict.fromkeys(names, 4.0))}
    counted = "CSegSynth is best in 0 of 4 regions (MAPE, 2 generative models; elsewhere C-VAE in 4)."
    assert measured.summary({"regions": few}) == [counted]
    assert measured.summary({}) == []
    own = {
        m: by
        for m, by in pack.metrics["volumes"].items()
        if m == "csegsynth" or not (m.startswith("csegsynth_") or m.endswith("_single_draw"))
    }
    best = {t: min(own, key=lambda m: own[m][t]["mape"]["value"]) for t in TISSUES}
    said = measured.summary(pack.metrics)[0]
    assert f"best in {list(best.values()).count('csegsynth')} of 3 volumes" in said
    others = {m: [t.upper() for t in TISSUES if best[t] == m] for m in {*best.values()} - {"csegsynth"}}
    for method, tissues in others.items():
        assert f"{measured.name_of(method)} in {' and '.join(tissues)}" in said


def test_errors_of_all_methods_stand_beside_the_best_achievable() -> None:
    mae, ratio = {"mae_ml": {"value": 30.0}}, {"mae_ratio": {"value": 1.1}}
    metrics = {
        "volumes": {
            m: {"gm": {"mae_ml": {"value": 33.0, "low": 30.0, "high": 36.0}}} for m in ("csegsynth", "ridge")
        },
        "achievable": {"best_achievable": {"gm": mae}, "csegsynth": {"gm": ratio}, "ridge": {"gm": ratio}},
    }
    whole = measured.tidy(metrics)
    own = whole[(whole["table"] == "achievable") & (whole["metric"] == "mae_ml")]
    assert own.set_index("method")["value"].to_dict() == {
        "best_achievable": 30.0,
        "csegsynth": 33.0,
        "ridge": 33.0,
    }

    def page(whole):
        from pages import _evaluation_tables

        _evaluation_tables.show(whole, "achievable", {})

    app = testing.AppTest.from_function(page, args=(whole,), default_timeout=60).run()
    assert "beside that of the best predictor" in app.caption[0].value
    assert html_of(app).count("data-method=") == 3
    app.session_state["metric-achievable"] = "mae_ratio"
    app.run()
    assert "1 is the best possible" in app.caption[0].value


@pytest.mark.parametrize("later", [False, True])
def test_evaluation_page(pack, later, tmp_path, monkeypatch) -> None:
    import hashlib

    import streamlit as st

    metrics = pack.metrics
    if later:
        shutil.copytree(pack.folder, tmp_path / "ixi")
        (tmp_path / "ixi" / "metrics.json").write_text(json.dumps(FUTURE))
        about = json.loads((tmp_path / "ixi" / "pack.json").read_text())
        about["files"]["metrics.json"] = hashlib.sha256(json.dumps(FUTURE).encode()).hexdigest()
        (tmp_path / "ixi" / "pack.json").write_text(json.dumps(about))
        monkeypatch.setattr(packs, "SHIPPED", tmp_path)
        st.cache_resource.clear()
        metrics = FUTURE
    app = open_page("evaluation")
    text = html_of(app)
    for method in metrics["volumes"]:
        assert (f'data-method="{method}"' in text) == (not method.endswith("_single_draw"))
    assert all(escape(sentence) in text for sentence in measured.summary(metrics))
    assert f"python -m train evaluate --pack {pack.name}" in app.code[0].value
    if later:
        assert "4.0 to 6.0" in text and "real against real (floor)" in text
        expected = ["Volumes", "Images", "Regions", "Best achievable", "Memorisation", "Paired"]
        assert [t.label for t in app.tabs][:6] == expected
        assert any("Features: a network of ours." in c.value for c in app.caption)
        assert "−2.0<small>−4.0 to 0.5; p 0.100</small>" in text
    else:
        app.toggle(key="single-volumes").set_value(True).run()
        shown = html_of(app)
        assert all(f'data-method="{method}"' in shown for method in metrics["volumes"])
        counted = measured.regions_counted(metrics)
        assert any("counted by method" in e.label for e in app.expander) and "better, after Holm" in shown
        assert all(f">{name}</th>" in shown for name in counted.index)
    app.session_state["evaluation-tabs"] = "Further measurements"
    app.run()
    chosen = next(r for r in app.radio if r.label == "Measurement")
    for key in list(measured.others(metrics))[1:3]:
        chosen.set_value(key).run()
        assert not app.exception and measured.title_of(key).replace("'", "&#x27;") in html_of(app)


def test_regions_of_all_methods_are_a_row_each_and_their_pairs_are_shown() -> None:
    methods = [*("csegsynth", "c_gan", "c_ldm", "c_vae", "linear_gaussian"), *measured.REGRESSIONS, "new_one"]
    number = {"mape": {"value": 5.0, "low": 4.0, "high": 6.0}, "r2": {"value": 0.5}}
    pair = {"difference_ml": -2.0, "low": -4.0, "high": 0.5, "p": 0.001}
    names = [r.name for r in REGIONS]
    metrics = {
        "regions": {m: dict.fromkeys(names, number) for m in methods},
        "paired": {m: {"gm": pair} for m in methods[1:]},
        "paired_regions": {m: dict.fromkeys(names, pair) for m in methods[1:]},
    }
    pairs = pd.concat([measured.paired(metrics, key) for key in ("paired", "paired_regions")])

    def page(whole, pairs):
        from pages import _evaluation_more, _evaluation_tables

        _evaluation_tables.show(whole, "regions", {})
        _evaluation_more.show_pairs(pairs)

    app = testing.AppTest.from_function(page, args=(measured.tidy(metrics), pairs), default_timeout=60).run()
    assert not app.exception
    table, paired = (h.proto.body for h in app.get("html"))
    assert 'class="volumes measured dense wide"' in table and not app.get("plotly_chart")
    for method in methods:
        row = table.split(f'data-method="{method}"')[1].split("</tr>")[0]
        assert row.count("<td>") == len(REGIONS) and row.count("4.0 to 6.0") == len(REGIONS)
    assert paired.count("data-method=") == len(methods) - 1  # of tissues first
    assert "−4.0 to 0.5; p 0.001 (0.011)" in paired
    app.session_state["paired-of"] = "paired_regions"
    app.session_state["view-regions"] = "figure"
    app.run()
    (paired,) = (h.proto.body for h in app.get("html"))
    assert paired.count("−4.0 to 0.5</small><small>p 0.001 (") == (len(methods) - 1) * len(REGIONS)
    (chart,) = app.get("plotly_chart")
    layout = json.loads(chart.proto.spec)["layout"]
    assert layout["height"] <= 480


def test_one_person_through_all_models(pack, tmp_path, monkeypatch) -> None:
    """The tab draws the current person by every model of the pack; volumes are the core's."""
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    app.session_state["evaluation-tabs"] = "One person, all models"
    app.switch_page("pages/evaluation.py").run()
    assert not app.exception, app.exception
    from pages import _state

    person = _state.typical(pack, None)
    models = packs.models_of(pack)
    figure = json.loads(app.get("plotly_chart")[-1].proto.spec)
    notes = [a["text"] for a in figure["layout"]["annotations"]]
    assert len(figure["layout"]["images"]) == len(models)
    notes, sides = notes[: len(models)], notes[len(models) :]
    assert sides == [f"<b>{side}</b>" for side in "PAISLRISLRPA"]  # of the first brain's three planes
    for note, (name, one) in zip(notes, models.items(), strict=True):
        ml = generate_one(one, person, seed=0).volumes_ml
        assert measured.name_of(name) in note and f"{ml['wm']:.0f} · {ml['gm']:.0f}" in note


def test_groups_real_beside_generated(pack) -> None:
    from csegsynth_core.group_means import GroupMeans

    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    app.session_state["evaluation-tabs"] = "Real beside generated"
    app.switch_page("pages/evaluation.py").run()
    assert not app.exception, app.exception
    means = GroupMeans.read(pack)
    if means is None:
        assert any("has no mean maps" in c.value for c in app.caption)
        return
    figure = json.loads(app.get("plotly_chart")[-1].proto.spec)
    notes = [a["text"] for a in figure["layout"]["annotations"]]
    for group, note in zip(means.groups, notes, strict=False):
        assert all(part in note for part in (*group.label.split(", "), f"n {group.people}"))
    assert any("Nobody's own scan is in the pack" in c.value for c in app.caption)


def test_method_page_and_words_for_papers(pack) -> None:
    app = open_page("method")
    paragraph = methods_text.methods_paragraph(pack, seed=0, who="female, 48 years")
    assert app.code[0].value == paragraph and "noise set to zero (seed 0)" in paragraph
    assert pack.hash[:12] in paragraph and f"{coverage.training_people(pack)} people" in paragraph
    several = methods_text.methods_paragraph(pack, seed=7, draws=3)
    assert "3 latent draws (seed 7)" in several
    kept = replace(pack, metrics={"split": "test", "n": 30})
    assert "evaluated on 30 people kept aside" in methods_text.methods_paragraph(kept, seed=7)
    entries = methods_text.bibtex()
    assert entries.startswith("@article{wang2025,") and "Mérillat, Susan" in entries
    assert re.search(r"@software\{csegsynth,[^@]*license = \{Apache-2\.0\}", entries)
    assert entries.count("{") == entries.count("}")
    numbers = [title.split(" ·")[0] for title, _, _ in methods_text.EQUATIONS]
    assert numbers == ["Eq. 6", "Eq. 7", "Eq. 8", "Eq. 13", "Eq. 14", "Eq. 15"]
    for _, latex, _ in (*methods_text.EQUATIONS, *methods_text.COMPUTED):
        assert latex.count("{") == latex.count("}")
        for line in latex.split(r"\\"):  # none wider than half of a small window
            assert (
                len(
                    re.sub(
                        r"\\(begin|end)\{aligned\}|\\(hat|tilde|math..|mathcal|left|right)|[{}&]", "", line
                    )
                )
                < 69
            )


def test_method_page_tells_the_sessions_settings(pack) -> None:
    """Settings of Ageing, Compare and Feature influence, as their own pages' methods say them."""
    from csegsynth_core.page_export import compare_methods, influence_methods
    from csegsynth_core.scenario_pages import Comparison, InfluenceView
    from csegsynth_core.scenarios import Plan
    from csegsynth_core.sweep_report import plan_methods

    app = open_page("method")
    held = app.session_state[f"memory-{pack.hash[:12]}"]
    person = held["person"]
    rows = {"as now": person, "older": person | {"age": 70.0}}
    held["sweep"] = Plan(30.0, 50.0, 5.0, ("ideal",), draws=5, seed=9)
    held["compare"] = Comparison.of(rows, person, 12)
    held["influence"] = InfluenceView("varied", subgroup={"age": (30.0, 50.0)}, draws=3, every_voxel=True)
    app.switch_page("pages/cohort.py").run()
    app.switch_page("pages/method.py").run()
    assert not app.exception
    told = app.code[0].value.split("\n\n")
    stats = pack.encoder.numeric["age"]
    plan = Plan(30.0, 50.0, 5.0, ("ideal",), draws=5, seed=0)  # the draw is the sidebar's
    people = "people drawn from the pack's statistics (Age 30–50 years)"
    assert told[1:] == [
        plan_methods(plan, (stats.minimum, stats.maximum)),
        compare_methods(["as now", "older"], draws=12, seed=0),
        influence_methods(people, True, draws=3, resolution=1),
    ]
    app.button_group[0].set_value(["influence"]).run()
    assert app.code[0].value.split("\n\n") == [told[0], told[3]]
    held["influence"] = (
        InfluenceView()
    )  # one person's gradients are of all voxels, whatever the switch of groups
    app.run()
    assert app.code[0].value.split("\n\n")[1] == influence_methods("1 person", False, draws=4, resolution=1)


def test_the_saliency_command_resumes(pack, tmp_path, capsys) -> None:
    from csegsynth_core.__main__ import main

    table = tmp_path / "people.csv"
    table.write_text("participant_id,age,sex,height\n01,63.5,male,181\n02,30,F,n/a\n03,44,F,160\n")
    command = [
        "saliency",
        "--table",
        str(table),
        "--out",
        str(tmp_path / "out"),
        "--fast",
        "--quiet",
    ]
    assert main([*command, "--draws", "2"]) == 0
    assert "3 computed, 0 already there" in capsys.readouterr().out
    before = (tmp_path / "out" / "summary.tsv").read_bytes()
    (tmp_path / "out" / "people" / "sub-02_saliency.tsv").unlink()
    assert main([*command, "--draws", "2"]) == 0
    assert "1 computed, 2 already there;" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "out" / "summary.tsv", sep="\t")["measure"]) >= {"wm_gm_csf", "gm"}
    assert (tmp_path / "out" / "summary.tsv").read_bytes() == before
    person = pd.read_csv(tmp_path / "out" / "people" / "sub-01_saliency.tsv", sep="\t")
    one = {"age": 63.5, "sex": "M", "height": 181.0}
    found = saliency.gradients(pack, one, draws=2, resolution=2, measures=saliency.EVERYTHING)
    expected = saliency.summarise(pack, found)
    assert np.allclose(person["per_sd_ml"], expected["per_sd_ml"], rtol=1e-5)
    assert main([*command, "--draws", "3"]) == 2
    assert "other settings" in capsys.readouterr().err
