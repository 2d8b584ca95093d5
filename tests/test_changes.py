"""Features that change at an age: as text, in links, along paths, in tables and in words."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from csegsynth_core import __main__ as cli
from csegsynth_core import coverage, sweep_report
from csegsynth_core.changes import (
    Change,
    changes_of_link,
    changes_of_texts,
    check_together,
    checked,
    to_link,
    value_at,
)
from csegsynth_core.data.feature import Feature
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.volume_centiles import as_written
from csegsynth_core.errors import CSegSynthError, PackError, ScenarioError
from csegsynth_core.figure_export import csv
from csegsynth_core.pack import load_pack
from csegsynth_core.scenario_file import Overlay
from csegsynth_core.scenarios import MEASURES, VOLUMES, Plan, path, sweep

AGES = np.array([25.0, 45.0, 59.9, 60.0, 75.0])
RETIRES = Change("occupation", 60.0, "retired")


@pytest.fixture(scope="module")
def person(pack) -> dict[str, Any]:
    return {**pack.encoder.default_person(sex="F", age=48), "age": 48.0, "occupation": "full_time"}


@pytest.fixture(scope="module")
def odd() -> Schema:
    """Features whose names and levels have the signs that changes are written with."""
    return Schema(
        (
            Feature("age", "numeric", units="years"),
            Feature("a=b", "nominal", levels={"x@1": "at", "y=2&z": "and", "t:3": "colon"}),
            Feature("a", "nominal", levels={"x@1": "one", "two": "two"}),
            Feature("c:d", "numeric"),
        )
    )


@pytest.mark.parametrize("scenario", ["ideal", "regressed", "kept"])
def test_from_its_age_on_a_feature_has_the_value_in_every_scenario(pack, person, scenario) -> None:
    how: dict[str, Any] = {"keep_distance": scenario == "kept"}
    name = "regressed" if scenario == "kept" else scenario
    before = path(pack, person, name, AGES, **how)
    changes = (Change("weight", 45.0, 140.0), RETIRES, Change("weight", 75.0, 60.0))
    after = path(pack, person, name, AGES, changes=changes, **how)
    assert list(after["occupation"]) == [*before["occupation"][:3], "retired", "retired"]
    assert list(after["weight"]) == [before["weight"][0], 140.0, 140.0, 140.0, 60.0]
    others = [n for n in pack.schema.names if n not in ("weight", "occupation")]
    assert after[others].equals(before[others])


def test_the_last_change_that_is_not_after_an_age_holds() -> None:
    some = [Change("a", 50, 2.0), Change("a", 30, 1.0), Change("b", 40, "x")]  # in any order
    assert [value_at(some, age) for age in (29, 30, 49.5, 50)] == [
        {}, {"a": 1.0}, {"a": 1.0, "b": "x"}, {"a": 2.0, "b": "x"},
    ]  # fmt: skip


def test_texts_and_links_come_back_as_they_were(odd, pack) -> None:
    some = (
        Change("a=b", 60.0, "x@1"), Change("a=b", 70.5, "y=2&z"), Change("a", 60.0, "x@1"),
        Change("a=b", 80.0, "t:3"), Change("c:d", 1 / 3, -1e-7 / 3),
    )  # fmt: skip
    assert changes_of_texts([one.text for one in some], odd) == some
    assert changes_of_link(to_link(some), odd, "the sweep") == some
    assert changes_of_texts(["occupation=Retired@60"], pack.schema) == (RETIRES,)  # a label means its level
    assert (RETIRES.text, to_link([RETIRES])) == ("occupation=retired@60", "occupation:60=retired")
    assert changes_of_link("", odd, "the sweep") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "occupation=retired",
            r"cannot be read.*FEATURE=VALUE@AGE, such as height=220@60.*'occupation=retired'",
        ),
        ("occupation@60", r"cannot be read"),
        ("occupation=retired@soon", r"cannot be read"),
        (
            "occupaton=retired@60",
            r"change 1 of the sweep: unknown feature 'occupaton'.*'occupation' was meant",
        ),
        ("occupation=king@60", r"occupation: unknown level.*'king'"),
        ("occupation=@60", r"occupation: unknown level"),
        ("height=tall@60", r"height: not a possible value.*'tall'"),
        ("height=900@60", r"height: not a possible value.*130 to 220"),
        ("sex=M@60", r"sex does not change at an age"),
        ("age=50@60", r"age does not change at an age"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(pack, text, message) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        changes_of_texts([text], pack.schema)
    assert caught.value.fix


def test_changes_that_cannot_be_together_are_refused(pack, person) -> None:
    twice = (RETIRES, Change("occupation", 60.0, "student"))
    for make in (
        check_together,
        lambda some: checked(some, pack.schema),
        lambda some: Plan(30, 70, changes=some),
    ):
        with pytest.raises(CSegSynthError, match="occupation changes twice at the age of 60"):
            make(twice)
    with pytest.raises(CSegSynthError, match="change of occupation has no age"):
        Plan(30, 70, changes=(replace(RETIRES, age=float("nan")),))
    with pytest.raises(CSegSynthError, match="unknown feature 'shoe'"):
        path(pack, person, "ideal", AGES, changes=(Change("shoe", 50.0, 44.0),))


def test_volumes_between_decoded_ages_are_near_exact_ones_where_features_jump(pack, person) -> None:
    changes = (RETIRES, Change("weight", 52.0, 100.0), Change("marital_status", 33.0, "widowed"))
    plan = Plan(25, 81, 2, seed=3, changes=changes)
    told: list[float] = []
    quick = sweep(pack, person, plan, progress=told.append).volumes
    assert len(told) < 52  # brains, of 58
    plan = replace(plan, step=8, exact=True)
    quick = quick[quick["age"].isin(plan.ages)].reset_index(drop=True)
    exact = sweep(pack, person, plan).volumes
    assert quick["age"].equals(exact["age"])
    off = 100 * np.abs(quick[list(MEASURES)].to_numpy() / exact[list(MEASURES)].to_numpy() - 1).max(axis=0)
    assert off[: len(VOLUMES)].max() < 0.1
    assert off[len(VOLUMES) :].max() < 0.2


@pytest.mark.parametrize("name", ["ixi", "lifespan"])
def test_a_path_is_unusual_where_its_people_are(name) -> None:
    try:
        pack = load_pack(name)
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")
    jobs = {"ixi": "occupation=retired@30", "lifespan": "employment_status=retired@30"}
    changes = changes_of_texts([jobs[name]], pack.schema)
    one = pack.encoder.default_person(sex="M", age=60) | {"age": 60.0}
    numbers = [f.name for f in pack.schema.features if f.is_numeric and f.name != "age"]
    one[numbers[0]] = pack.encoder.numeric[numbers[0]].maximum
    for scenario in ("ideal", "regressed"):
        frame = path(pack, one, scenario, np.arange(20.0, 91.0, 3.5), changes=changes)
        found = coverage.unusual_features(pack, frame)
        for names, row in zip(found, frame.to_dict("records"), strict=True):
            assert sorted(names) == sorted(u.feature for u in coverage.unusual(pack, row))
        assert changes[0].feature in found[3]
    assert coverage.unusual_features(replace(pack, regressions=None), frame) == [[]] * len(frame)
    assert coverage.unusual_ages(replace(pack, regressions=None), frame) == []


def test_unusual_ages_are_told_by_scenario(pack, person) -> None:
    plan = Plan(20, 80, 2, changes=(Change("occupation", 30.0, "retired"),))
    told = sweep_report.unusual_of(pack, person, plan)
    frame = path(pack, person, "ideal", plan.ages, changes=plan.changes)
    odd = np.array([bool(names) for names in coverage.unusual_features(pack, frame)])
    retired = plan.ages[odd & (frame["occupation"] == "retired").to_numpy()]
    assert retired[0] == 30 and 34 < retired[-1] < 60
    words = f"Retired, unusual among women of 30–{retired[-1]:g} years"
    young = plan.ages[odd & (frame["occupation"] == "full_time").to_numpy()]
    assert list(young) == [20]  # regressed, people of twenty study
    words_young = "Full-time employment, unusual among women of 20 years (ideal)"
    assert told == [("Occupation", words_young), ("Occupation", words)]
    alone = sweep_report.unusual_of(pack, person, replace(plan, scenarios=("regressed",)))
    assert ("Occupation", words) in alone and not any(said.endswith(")") for _, said in alone)
    heavy = replace(plan, changes=(Change("weight", 50.0, 150.0),))
    assert sweep_report.unusual_of(pack, person, heavy)[0] == (
        "Weight", "150 kg from 50, outside training range "
        f"({pack.encoder.numeric['weight'].minimum:.0f}–{pack.encoder.numeric['weight'].maximum:.0f} kg)",
    )  # fmt: skip
    assert (
        sweep_report.unusual_of(replace(pack, regressions=None), person, replace(plan, scenarios=("ideal",)))
        == []
    )


def test_spans_of_ages_and_numbers_are_short(pack) -> None:
    stats = pack.encoder.numeric["height"]
    people = {**pack.encoder.default_person(sex="M", age=50), "height": stats.minimum}
    frame = path(pack, people, "ideal", np.array([30.0, 32.0, 34.0, 40.0, 50.0]))
    curve = pack.regressions.curves("height", "M")[0]
    frame["height"] = [stats.minimum, stats.minimum + 1, curve.at(34), stats.minimum, curve.at(50)]
    (told,) = coverage.unusual_ages(pack, frame)
    low, high = f"{stats.minimum:.4g}", f"{stats.minimum + 1:.4g}"
    assert told.words == f"{low}–{high} cm, unusual among men of 30–32 and 40 years"


def test_lines_and_overlays_are_called_by_what_changes(pack, person) -> None:
    schema = pack.schema
    later = replace(RETIRES, age=70.0)
    assert sweep_report.own_name(schema, ()) == "this person"
    assert sweep_report.own_name(schema, (RETIRES,)) == "this person (Retired from 60)"
    others = [
        Overlay("A", dict(person), changes=(later,)),
        Overlay("B", dict(person)),
        Overlay("C", dict(person), changes=(RETIRES,)),
        Overlay("D", person | {"height": 179.0}, changes=(Change("weight", 50.0, 80.0),)),
    ]
    assert sweep_report.overlay_names(schema, person, 0, others, (RETIRES,)) == [
        "A (Retired from 70)", "B (no change at an age)", "C (female, 48 years, draw 0)",
        "D (weight 80 kg from 50 +1)",
    ]  # fmt: skip
    long = replace(schema.feature("occupation"), levels={"a": "x" * 50, "b": "y"})
    rest = tuple(one for one in schema.features if one.name != "occupation")
    name = sweep_report.own_name(Schema((*rest, long)), (Change("occupation", 60.0, "a"),))
    assert name.endswith("… from 60)") and len(name) < 50


def test_changes_are_told_in_methods_and_marked_in_tables(pack, person) -> None:
    plan = Plan(30, 60, 5, changes=(Change("weight", 52.5, 70.0), Change("occupation", 40.0, "retired")))
    one = sweep(pack, person, plan)
    told = sweep_report.methods(one)
    assert (
        "In every scenario, Occupation was set to Retired from the age of 40 years on and Weight was set to 70 kg"
        in told
    )
    assert "stayed as they were, apart from the changes told below" in told
    assert "on age, with a step at the age of each change, through" in told
    assert "weight was set to 70.0 from" in sweep_report.plan_methods(plan, one.trained_ages)
    for scenario in plan.scenarios:
        row = sweep_report.feature_table(one, pack, scenario, 13).set_index("Feature").loc["Occupation"]
        assert (row["40"], row["60"]) == ("Retired ⚠", "Retired")
        odd = one.features.query("scenario == @scenario").set_index("age")["unusual"]
        assert odd[40] == "occupation" and odd[60] is None
    assert b"occupation" in csv(one.features) and b",n/a," in csv(one.features)
    late = replace(plan, changes=(replace(RETIRES, age=61.0),))
    assert sweep_report.warnings_of(pack, late) == ["Retired from 61: after the last age, without effect."]


def test_the_command_line_takes_changes_and_keeps_them_apart(pack, person, tmp_path, capsys) -> None:
    import pandas as pd

    plan = Plan(
        30, 60, 15, ("ideal",), changes=(Change("occupation", 45.0, "retired"), Change("weight", 50.0, 80.5))
    )
    one = sweep(pack, person, plan)
    table, out = tmp_path / "people.csv", tmp_path / "out"
    pd.DataFrame([person]).assign(participant_id=["sub-01"]).to_csv(table, index=False)
    words = shlex.split(sweep_report.command(one, table=str(table), out=str(out)))
    assert words.count("--change") == 2 and "occupation=retired@45" in words
    assert cli.main([*words[3:], "--quiet"]) == 0
    made = pd.read_csv(out / "sub-01_sweep.tsv", sep="\t")
    wanted = as_written(one.volumes).drop(columns=["scenario", "trained"]).astype(float)
    assert np.allclose(made[list(wanted)], wanted, rtol=1e-5)
    along = pd.read_csv(out / "sub-01_path.tsv", sep="\t")
    assert along["occupation"].tolist() == ["full_time", "retired", "retired"]
    assert along["weight"].tolist()[-1] == 80.5
    capsys.readouterr()
    assert cli.main([*words[3:], "--quiet"]) == 0
    assert "0 people swept, 1 already there" in capsys.readouterr().out
    n = words.index("--change")
    for other in (words[3:n], [*words[3:n], "--change", "occupation=retired@50"]):
        assert cli.main([*other, "--quiet"]) == 2
        assert "other settings" in capsys.readouterr().err
    assert cli.main([*words[3:n], "--change", "occupation=king@50", "--quiet"]) == 2
    assert "change 1 of the sweep, occupation: unknown level" in capsys.readouterr().err


def test_folders_swept_without_changes_say_nothing_of_them(pack, person, tmp_path) -> None:
    """Those made before there were changes can be gone on with."""
    import json

    import pandas as pd

    table = tmp_path / "people.csv"
    pd.DataFrame([person]).assign(participant_id=["sub-01"]).to_csv(table, index=False)
    words = [
        "sweep",
        "--table",
        str(table),
        "--out",
        str(tmp_path / "out"),
        "--from",
        "50",
        "--to",
        "52",
        "--quiet",
    ]
    assert cli.main(words) == 0
    assert "changes" not in json.loads((tmp_path / "out" / "sweep.json").read_text())["Plan"]
