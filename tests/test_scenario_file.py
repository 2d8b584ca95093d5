"""Scenarios as files and as links: they come back as they were, and what is wrong is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from csegsynth_core.changes import Change, changes_of_texts
from csegsynth_core.errors import ScenarioError
from csegsynth_core.scenario_checks import in_one, person_of, usable_of_query
from csegsynth_core.scenario_file import (
    BASELINE,
    MAX_BYTES,
    MAX_LINK,
    Overlay,
    Scenario,
    check_version_of_query,
    display_of_query,
    fitted,
    from_dict,
    overlays_of_query,
    person_of_query,
    plan_of_query,
    read_json,
    seed_of_query,
    to_query,
    unknown_of_query,
)
from csegsynth_core.scenario_pages import Comparison, InfluenceView
from csegsynth_core.scenarios import Plan

COMPARED: dict[str, Any] = {"person": {"age": 50}, "scenarios": [{"name": "A"}], "draws": 6}
GROUP: dict[str, Any] = {"whose": "typical"}
PLAN: dict[str, Any] = {
    "start": 20, "stop": 60, "step": 1, "scenarios": ["ideal"], "keep_distance": False, "draws": 1,
}  # fmt: skip


RETIRES: dict[str, Any] = {"feature": "occupation", "age": 60, "value": "retired"}


def _change(second: dict[str, Any]) -> dict[str, Any]:
    """A sweep whose second change is this."""
    return {"sweep": PLAN | {"changes": [RETIRES, second]}}


def _row(changes: Any) -> dict[str, Any]:
    """A table of one scenario with these changes."""
    return {"compare": COMPARED | {"scenarios": [{"name": "A", "changes": changes}]}}


@pytest.fixture
def scenario(pack) -> Scenario:
    person: dict[str, Any] = {**pack.encoder.default_person(sex="M"), "age": 61.25, "weight": None}
    return Scenario(
        pack_name=pack.name,
        pack_hash=pack.hash,
        person=person,
        seed=7,
        display={"radiological": True, "nose_left": False, "voxels": True},
        baseline={**person, "age": 30.0},
        sweep=Plan(
            25,
            80.5,
            2.5,
            ("regressed",),
            keep_distance=True,
            draws=5,
            seed=7,
            changes=(Change("occupation", 60.0, "retired"), Change("weight", 50.25, 200 / 3)),
        ),
        overlays=(
            Overlay("A (male, 61 years, draw 7)", dict(person)),
            Overlay(
                "B & C = 50 %",
                {**person, "sex": "F", "height": None},
                12,
                ("ideal",),
                keep_distance=True,
                changes=(Change("occupation", 70.0, "retired"), Change("occupation", 30.0, "student")),
            ),
        ),
        compare=Comparison(
            {**person, "height": 170.5},
            {"Current person": {}, "old & tall = 90 %": {"age": 90.0, "height": 199.0}, "her": {"sex": "F"}},
            draws=9,
        ),
        influence=InfluenceView(
            "typical",
            "ventricles",
            "natural",
            4,
            {"age": (50.0, 70.25), "sex": ("F",)},
            2,
            every_voxel=True,
            mean_map=False,
        ),
    )


def test_a_file_comes_back_as_it_was(pack, scenario) -> None:
    again, notes = from_dict(read_json(scenario.to_json().encode()), pack)
    assert again == scenario
    assert notes == []
    bare = replace(scenario, baseline=None, sweep=None, overlays=(), compare=None, influence=InfluenceView())
    assert from_dict(read_json(bare.to_json()), pack)[0] == bare


def test_a_link_comes_back_as_it_was_and_is_short(pack, scenario) -> None:
    typical = pack.encoder.default_person(sex="M")
    query = to_query(scenario, typical)
    assert set(query) == {
        "pack", "draw", "view", "p.age", "p.weight", "from", "to", "step", "scenario", "draws", "keep", "change",
        "overlay1", "overlay2", "b.age", "b.weight", "v", "compare", "compare1", "compare2", "compare3", "influence",
    }  # fmt: skip
    assert query["change"] == f"occupation:60=retired&weight:50.25={200 / 3!r}"
    assert len(urlencode(query)) < 1100
    assert typical | person_of_query(query, pack.schema) == scenario.person
    assert typical | person_of_query(query, pack.schema, BASELINE) == scenario.baseline
    usual = pack.encoder.default_person(sex="F")
    assert (
        usual | person_of_query(to_query(scenario, typical, usual), pack.schema, BASELINE)
        == scenario.baseline
    )
    assert (seed_of_query(query), display_of_query(query)) == (7, scenario.display)
    assert plan_of_query(query, pack.schema, 7) == scenario.sweep
    assert overlays_of_query(query, scenario.person, pack.schema) == scenario.overlays
    assert overlays_of_query({"pack": "ixi"}, scenario.person, pack.schema) == ()
    assert plan_of_query({"pack": "ixi"}, pack.schema) is None
    assert seed_of_query({}) == 0
    assert Comparison.of_query(query, scenario.person, pack.schema) == scenario.compare
    assert InfluenceView.of_query(query, pack) == scenario.influence
    check_version_of_query(query)


def test_a_link_says_what_is_not_as_usual_alone(pack, scenario) -> None:
    query = to_query(replace(scenario, compare=None, influence=InfluenceView(top=5)), scenario.person)
    assert query["influence"] == "top=5"
    assert not [k for k in query if k.startswith("compare")]
    assert "influence" not in to_query(replace(scenario, influence=InfluenceView()), scenario.person)
    mean = to_query(replace(scenario, influence=InfluenceView(mean_map=True)), scenario.person)
    assert mean["influence"] == "map=mean"
    assert InfluenceView.of_query(mean, pack).is_mean and not InfluenceView().is_mean
    assert InfluenceView("typical").is_mean and not InfluenceView("typical", mean_map=False).is_mean
    with pytest.raises(ScenarioError, match="unusable mean_map"):
        InfluenceView.of_query({"influence": "map=some"}, pack)
    low = pack.encoder.numeric["height"].minimum  # of many digits; it has to stay within the training range
    ends = InfluenceView("varied", subgroup={"height": (low, low + 1 / 3)})
    assert InfluenceView.of_query(to_query(replace(scenario, influence=ends), scenario.person), pack) == ends


def test_links_of_version_2_still_open(pack) -> None:
    """As copied from the address bar before links said their version."""
    old = {
        "pack": "ixi",
        "draw": "3",
        "view": "r",
        "p.age": "44",
        "from": "30",
        "to": "60",
        "overlay1": "name=A",
    }
    check_version_of_query(old)
    assert Comparison.of_query(old, {}, pack.schema) is None
    assert InfluenceView.of_query(old, pack) == InfluenceView()
    assert person_of_query(old, pack.schema) == {"age": 44.0}
    with pytest.raises(ScenarioError, match=r"link is of another version.*1, 2, 3, 4.*'5'"):
        check_version_of_query(old | {"v": "5"})


def test_a_link_that_is_too_long_leaves_out_the_table_first(pack, scenario) -> None:
    query = to_query(scenario, scenario.person)
    assert fitted(query) == (query, ())
    names = {f"{n} {'x' * 70}": {"age": 20.0 + n} for n in range(6)}
    long = to_query(replace(scenario, compare=replace(scenario.compare, scenarios=names)), scenario.person)
    assert fitted(long) == (long, ())
    wide = long | {"compare6": "y" * MAX_LINK}
    short, left_out = fitted(wide)
    assert left_out == ("compare",) and len(urlencode(short)) <= MAX_LINK
    assert short == {k: v for k, v in query.items() if not k.startswith("compare")}
    short, left_out = fitted(wide | {"influence": "z" * MAX_LINK})
    assert left_out == ("compare", "influence") and "influence" not in short
    short, left_out = fitted(query | {"influence": "z" * MAX_LINK})
    assert left_out == ("influence",)  # without it the table fits
    assert short == {k: v for k, v in query.items() if k != "influence"}
    half = {"pack": "ixi", "influence": "z" * (MAX_LINK // 2), "compare1": "y" * (MAX_LINK // 2)}
    assert fitted(half) == ({k: v for k, v in half.items() if k != "compare1"}, ("compare",))
    assert fitted({"pack": "ixi", "influence": "z" * MAX_LINK}) == ({"pack": "ixi"}, ("influence",))
    assert fitted({"p.age": "1" * MAX_LINK})[1] == ()  # person and overlays are always said


def test_a_table_is_what_differs_from_the_person_it_started_from(pack) -> None:
    from csegsynth_core import compare

    person = {**pack.encoder.default_person(sex="F"), "age": 50.0, "weight": None}
    rows = compare.starting_scenarios(pack, person).reset_index()
    people = compare.filled(pack, rows, person)
    found = Comparison.of(people, person, 6)
    assert found.people == people
    assert list(found.scenarios.values())[:2] == [{}, {"age": 60.0}]
    table = compare.table_of(pack, found.people).reset_index()
    assert compare.filled(pack, table, found.start) == people


def test_names_may_have_joiners_and_what_is_wrong_with_one_is_said(pack) -> None:
    import pandas as pd

    from csegsynth_core import compare
    from csegsynth_core.errors import TableError

    person = pack.encoder.default_person(sex="F")

    def filled(name: str) -> list[str]:
        return list(compare.filled(pack, pd.DataFrame({"scenario": [name]}), person))

    joined = ["می\u200cخواهم", "क्\u200dष"]  # Persian with a non-joiner, Devanagari with a joiner
    for name in joined:
        assert filled(name) == [name]
        again = Comparison.from_dict({"person": person, "scenarios": [{"name": name}]}, pack.schema)
        assert list(again.scenarios) == [name]
        overlay = urlencode({"name": name})
        assert overlays_of_query({"overlay1": overlay}, person, pack.schema)[0].name == name
    for name, message in {
        "soft\u00adhyphen": r"scenario 1: unusable name.*can be printed.*U\+00AD.*leave that character out",
        "x" * 81: r"scenario 1: unusable name.*1 to 80 characters.*81 characters.*shorter",
        "\u200d": r"scenario 1: unusable name.*give it a name",
    }.items():
        with pytest.raises(TableError, match=message):
            filled(name)


def test_files_of_version_1_are_still_read(pack, scenario) -> None:
    old = scenario.to_dict() | {"version": 1}
    for newer in ("overlays", "compare", "influence"):
        del old[newer]
    bare = replace(scenario, overlays=(), compare=None, influence=InfluenceView())
    assert from_dict(read_json(json.dumps(old)), pack)[0] == bare
    second = old | {"version": 2, "overlays": scenario.to_dict()["overlays"]}
    assert from_dict(read_json(json.dumps(second)), pack)[0] == replace(bare, overlays=scenario.overlays)


def test_files_of_version_3_have_no_changes(pack, scenario) -> None:
    old = scenario.to_dict() | {"version": 3}
    del old["sweep"]["changes"]
    for one in old["overlays"]:
        del one["changes"]
    again = from_dict(read_json(json.dumps(old)), pack)[0]
    overlays = tuple(replace(one, changes=()) for one in scenario.overlays)
    assert again == replace(scenario, sweep=replace(scenario.sweep, changes=()), overlays=overlays)


def test_levels_may_be_written_as_labels(pack) -> None:
    assert person_of_query({"p.sex": "female", "p.height": "n/a"}, pack.schema) == {
        "sex": "F",
        "height": None,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, r"not a scenario file.*'csegsynth-scenario'.*'something'"),
        ({"version": 5}, r"another version.*version 1, 2, 3, 4.*version 5.*software"),
        ({"version": True}, r"another version"),
        ({"overlays": "A"}, r"overlays.*cannot be read.*list"),
        ({"overlays": [{}] * 6}, r"too many overlays.*at most 5.*6"),
        ({"overlays": [{"name": "A"}]}, r"has no overlay 1"),
        ({"overlays": [{"name": "", "person": {}}]}, r"overlay 1: unusable name"),
        ({"overlays": [{"name": "A\n", "person": {}}]}, r"overlay 1: unusable name"),
        ({"overlays": [{"name": "A", "person": {"shoe": 44}}]}, r"overlay 1: unknown feature 'shoe'"),
        ({"overlays": [{"name": "A", "person": {}, "draw": -1}]}, r"unusable draw"),
        ({"overlays": [{"name": "A", "person": {}, "scenarios": ["best"]}]}, r"overlay 1: unusable scenarios"),
        ({"overlays": [{"name": "A", "person": {}, "scenarios": [[]]}]}, r"overlay 1: unusable scenarios"),
        (
            {"overlays": [{"name": "A", "person": {}, "scenarios": ["ideal"]}] * 2},
            r"overlay 2: its name is taken.*'A'.*another name",
        ),
        ({"overlays": [{"name": "this person", "person": {}}]}, r"overlay 1: its name is taken"),
        (
            {"overlays": [{"name": n, "person": {}} for n in "ABC"]},
            r"overlays have too many lines.*at most 5.*6.*leave some out",
        ),
        ({"compare": "A"}, r"table of the Compare page cannot be read.*person, scenarios"),
        ({"compare": {"person": {}, "scenarios": []}}, r"number of scenarios to compare.*1 to 6.*0"),
        ({"compare": {"person": {}, "scenarios": [{}] * 7}}, r"number of scenarios to compare.*1 to 6.*7"),
        ({"compare": {"scenarios": [{"name": "A"}]}}, r"has no person that the Compare page's table starts from"),
        ({"compare": COMPARED | {"scenarios": [{"name": " "}]}}, r"scenario 1 to compare: unusable name.*1 to 80"),
        ({"compare": COMPARED | {"scenarios": [{"name": 81 * "A"}]}}, r"scenario 1 to compare: unusable name"),
        ({"compare": COMPARED | {"scenarios": [{"name": "A"}] * 2}}, r"scenario 2 to compare: its name is taken"),
        (_row(7), r"scenario 1 to compare: its changes cannot"),
        (_row({"shoe": 4}), r"1 to compare: unknown feature 'shoe'"),
        (_row({"age": 140}), r"compare, age: not a possible.*18 to"),
        (_row({"age": None}), r"compare, age: an empty cell is as"),
        ({"compare": COMPARED | {"draws": 1}}, r"unusable draws of the Compare page.*2 to 32.*1"),
        ({"compare": COMPARED | {"draws": True}}, r"unusable draws of the Compare page"),
        ({"influence": ["gm"]}, r"settings of the Feature influence page cannot be read"),
        ({"influence": {"mesure": "gm"}}, r"Feature influence page cannot be read.*measure.*mesure"),
        ({"influence": {"measure": "spleen"}}, r"unknown measure.*ventricles.*'spleen'"),
        ({"influence": {"whose": ["person"]}}, r"unknown whose.*person, typical"),
        ({"influence": {"unit": "ml"}}, r"unknown unit.*sd, natural"),
        ({"influence": {"top": 2}}, r"unusable number of features shown.*3 to 60.*2"),
        ({"influence": {"draws": 0}}, r"unusable draws of the Feature influence page.*1 to 32"),
        ({"influence": {"every_voxel": "yes"}}, r"every_voxel.*true or false"),
        ({"influence": {"subgroup": {"age": [50, 60]}}}, r"one person has no subgroup"),
        ({"influence": GROUP | {"subgroup": ["age"]}}, r"subgroup cannot be read"),
        ({"influence": GROUP | {"subgroup": {"shoe": [1, 2]}}}, r"the subgroup: unknown feature 'shoe'"),
        ({"influence": GROUP | {"subgroup": {"age": [60, 50]}}}, r"the subgroup, age: not a range.*training range"),
        ({"influence": GROUP | {"subgroup": {"age": [1, 50]}}}, r"the subgroup, age: not a range"),
        ({"influence": GROUP | {"subgroup": {"age": [50, math.nan]}}}, r"the subgroup, age: not a range"),
        ({"influence": GROUP | {"subgroup": {"sex": []}}}, r"the subgroup, sex: unusable levels"),
        ({"influence": GROUP | {"subgroup": {"sex": ["X"]}}}, r"the subgroup, sex: unknown level"),
        ({"pack": {"name": "lifespan", "hash": "x"}}, r"another model pack.*ixi.*lifespan"),
        ({"pack": None}, r"names no model pack"),
        ({"person": {"age": 40, "hieght": 180}}, r"person: unknown feature 'hieght'.*'height' was meant"),
        ({"person": {"sex": "X"}}, r"person, sex: unknown level.*M \(male\).*'X'"),
        ({"person": {"age": "old"}}, r"person, age: not a possible value.*years.*'old'"),
        ({"person": {"age": 140}}, r"18 to 100"),
        ({"person": {"age": True}}, r"not a possible value"),
        ({"person": [1]}, r"has no person"),
        ({"baseline": {"shoe": 44}}, r"baseline: unknown feature 'shoe'"),
        ({"draw": -1}, r"unusable draw.*whole number"),
        ({"draw": True}, r"unusable draw"),
        ({"display": {"upside_down": True}}, r"unknown display convention.*upside_down"),
        ({"display": True}, r"unknown display convention.*radiological.*True"),
        ({"display": False}, r"unknown display convention"),
        ({"display": ["radiological"]}, r"unknown display convention"),
        ({"person": {"age": 10**400}}, r"person, age: not a possible value"),
        ({"draw": 10**400}, r"unusable draw.*1000.*…"),
        ({"sweep": {"start": 20}}, r"sweep of the scenario cannot be read"),
        ({"sweep": [20, 60]}, r"sweep of the scenario cannot be read"),
        ({"sweep": PLAN | {"scenarios": "ideal"}}, r"a list of scenarios.*'ideal'"),
        ({"sweep": PLAN | {"stop": 1e300, "step": 1e299}}, r"unusable ages"),
        *[
            ({"sweep": PLAN | {key: value}}, r"sweep of the scenario cannot be read")
            for key in ("start", "step", "draws")
            for value in (math.inf, math.nan, 10**400, True, "2", None, [])
        ],
        ({"sweep": PLAN | {"changes": "retired"}}, r"changes of the sweep cannot be read.*'retired'"),
        (_change({"feature": "shoe"}), r"change 2 of the sweep: unknown feature 'shoe'"),
        (_change({"feature": "sex", "age": 60, "value": "M"}), r"change 2 of the sweep: sex does not change"),
        (_change({"feature": "age", "age": 60, "value": 50}), r"change 2 of the sweep: age does not change"),
        (_change({"feature": "height", "age": 60, "value": 900}), r"2 of the sweep, height: not a possible value"),
        (_change({"feature": "height", "age": 60}), r"change 2 of the sweep, height: no value"),
        (_change({"feature": "height", "age": math.nan, "value": 170}), r"2 of the sweep, height: unusable age"),
        (_change({"feature": "occupation", "age": 60.0, "value": "student"}), r"changes twice at the age of 60"),
        ({"sweep": PLAN | {"changes": 21 * [RETIRES]}}, r"occupation changes twice"),
        (
            {"sweep": PLAN | {"changes": [RETIRES | {"age": n} for n in range(21)]}},
            r"too many changes at an age.*at most 20.*21",
        ),
        (
            {"overlays": [{"name": "A", "person": {}, "changes": [RETIRES | {"value": "king"}]}]},
            r"change 1 of overlay 1, occupation: unknown level.*'king'",
        ),
        ({"sweep": PLAN | {"draws": 2.5}}, r"a whole number of draws.*2.5"),
        (
            {"sweep": PLAN | {"start": 90}},
            r"start < stop",
        ),
        (
            {"sweep": PLAN | {"scenarios": ["best"]}},
            r"ideal, regressed.*best",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(pack, scenario, change, message) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        from_dict(scenario.to_dict() | change, pack)
    assert caught.value.fix and len(str(caught.value)) < 600


def test_another_version_of_the_model_is_said(pack, scenario) -> None:
    data = scenario.to_dict() | {"pack": {"name": pack.name, "hash": "0" * 64}}
    again, notes = from_dict(data, pack)
    assert again.pack_hash == pack.hash
    assert "another version of the model pack ixi" in notes[0]


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"[1]", b"{", b"[" * 100_000, b"x" * (MAX_BYTES + 1)])
def test_what_is_not_a_scenario_is_refused(payload) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_json(payload)
    assert caught.value.fix


def test_what_can_be_used_of_a_link_is(pack) -> None:
    query = {
        "p.age": "abc",
        "p.height": "185",
        "p.sex": "X",
        "p.shoe": "44",
        "p.weight": "n/a",
        "b.age": "50",
    }
    given, bad = usable_of_query(query, pack.schema)
    assert given == {"height": 185.0, "weight": None}
    for name, error in zip(("age", "sex", "shoe"), bad, strict=True):
        assert name in error.problem
    assert "n/a for unknown; left out" in bad[0].fix and in_one(bad[:1], "the link") is bad[0]
    every = in_one(bad, "the link")
    assert every.problem == "the link: 3 features cannot be used"
    for part in ("age: not a possible value 'abc', expected", "sex: unknown level 'X'", "feature 'shoe'"):
        assert part in every.got


def test_advice_depends_on_where_a_value_stands(pack) -> None:
    """Left out is unknown in a file only."""
    with pytest.raises(ScenarioError, match="or leave it out for unknown"):
        person_of({"age": "abc"}, pack.schema, "person")
    with pytest.raises(
        ScenarioError, match="n/a for unknown; left out, it is as in the person that the link"
    ):
        overlays_of_query({"overlay1": "name=A&p.age=abc"}, {}, pack.schema)
    with pytest.raises(ScenarioError, match="or leave the change out"):
        changes_of_texts(["height=tall@60"], pack.schema)
    with pytest.raises(ScenarioError, match="as in the person that the table starts from"):
        Comparison.of_query({"compare1": "name=A&p.age=abc"}, {}, pack.schema)


def test_keys_of_a_link_that_say_nothing_are_told(pack) -> None:
    ours = {
        **dict.fromkeys(
            ["v", "pack", "draw", "view", "from", "to", "step", "scenario", "draws", "keep", "change"], "1"
        )
    }
    ours |= dict.fromkeys(("compare", "compare2", "overlay1", "influence", "p.age", "b.shoe"), "1")
    theirs = dict.fromkeys(("utm_source", "fbclid", "gclid", "embed", "embed_options", "mc_cid"), "1")
    assert unknown_of_query({**ours, "subgroup": "foo", **theirs, "sweep": "10-200"}) == ["subgroup", "sweep"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"p.shoe": "44"}, r"the link: unknown feature 'shoe'"),
        ({"p.age": "young"}, r"the link, age"),
        ({"p.age": "1e9"}, r"18 to 100"),
        ({"b.shoe": "44"}, r"the link: unknown feature 'shoe'"),
        ({"b.age": "young"}, r"the link, age"),
        ({"draw": "-1"}, r"draw is unusable"),
        ({"draw": "٣"}, r"draw is unusable"),
        ({"from": "80", "to": "20"}, r"start < stop"),
        ({"from": "a", "to": "20"}, r"cannot be read"),
        ({"from": "20", "to": "60", "scenario": "best"}, r"ideal, regressed"),
        ({"overlay1": "name=A&p.shoe=44"}, r"the link: unknown feature 'shoe'"),
        ({"overlay1": "name=A&draw=x"}, r"draw is unusable"),
        ({f"overlay{n}": "name=A" for n in range(9)}, r"too many overlays"),
        ({f"overlay{n}": "name=A" for n in range(2)}, r"overlay 2: its name is taken"),
        ({f"overlay{n}": f"name={n}" for n in range(3)}, r"too many lines"),
        ({"draw": 5000 * "9"}, r"draw is unusable"),
        ({"compare1": "name=A&p.shoe=44"}, r"the link: unknown feature 'shoe'"),
        ({"compare1": "name=A", "compare2": "name=A"}, r"scenario 2 to compare: its name is taken"),
        ({f"compare{n}": f"name={n}" for n in range(7)}, r"unusable number of scenarios to compare"),
        ({"compare": "draws=5"}, r"unusable number of scenarios to compare.*0"),
        ({"compare": "draws=2.5", "compare1": "name=A"}, r"unusable draws of the Compare page.*'2.5'"),
        ({"influence": "measure=spleen"}, r"unknown measure"),
        ({"influence": "top=many"}, r"unusable number of features shown.*'many'"),
        ({"influence": "whose=typical&in.shoe=4"}, r"the link's subgroup: unknown feature 'shoe'"),
        ({"influence": "whose=typical&in.age=old"}, r"the subgroup, age: not a range"),
        ({"change": "occupation:60=retired"}, r"changes at an age but no sweep"),
        ({"from": "20", "to": "60", "change": "occupation:old=retired"}, r"occupation: unusable age.*'old'"),
        (
            {"from": "20", "to": "60", "change": "occupation=retired"},
            r"change 1 of the sweep: unknown feature ''",
        ),
        ({"from": "20", "to": "60", "change": "height:60=tall"}, r"height: not a possible value.*'tall'"),
        ({"overlay1": "name=A&change=shoe:60%3D44"}, r"change 1 of overlay 1: unknown feature 'shoe'"),
        ({"from": "20", "to": "60", "draws": "1e400"}, r"cannot be read"),
        ({"from": "20", "to": "60", "draws": 400 * "9"}, r"cannot be read"),
    ],
)
def test_bad_links_are_named(pack, query, message) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        person_of_query(query, pack.schema)
        person_of_query(query, pack.schema, BASELINE)
        seed_of_query(query)
        plan_of_query(query, pack.schema)
        overlays_of_query(query, {}, pack.schema)
        Comparison.of_query(query, {}, pack.schema)
        InfluenceView.of_query(query, pack)
    assert caught.value.fix


def test_the_file_is_plain_json(scenario) -> None:
    data = json.loads(scenario.to_json())
    assert (data["format"], data["version"], data["person"]["weight"]) == ("csegsynth-scenario", 4, None)
