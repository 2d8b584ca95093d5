"""Numbers that are 0 for people like one, in typical people, along paths through age, and in notes.

With the pack `lifespan`, whose features say so as its simulation declares them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from csegsynth_core import coverage, sweep_report
from csegsynth_core.changes import Change
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.simulate import people
from csegsynth_core.errors import PackError
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack, load_pack
from csegsynth_core.page_views import typical
from csegsynth_core.scenarios import Plan, path, paths
from csegsynth_core.synthetic_people import typical_people, varied_people

AGES = np.arange(20.0, 86.0, 5.0)
SMOKING = ("smoking_years", "cigarettes_per_day", "pack_years", "years_since_quit")


@pytest.fixture(scope="module")
def lifespan() -> Pack:
    """The shipped pack, with the simulation's rules."""
    try:
        pack = load_pack("lifespan")
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")
    rules = {one.name: rule for one, rule in people.schema().dependent}
    schema = Schema(tuple(replace(one, zero_unless=rules.get(one.name)) for one in pack.schema.features))
    return replace(pack, encoder=Encoder(schema, pack.encoder.numeric, pack.encoder.levels))


@pytest.fixture(scope="module")
def worker(lifespan) -> dict[str, Any]:
    """Never smoked, works full-time at 48."""
    person = typical(lifespan, "F") | {"age": 48.0}
    assert (person["smoking_status"], person["employment_status"]) == ("never", "full_time")
    return person


def test_typical_people_are_possible(lifespan) -> None:
    for sex in (None, "F", "M"):
        person = typical(lifespan, sex)
        assert lifespan.schema.at_odds(person) == []
        assert person["smoking_status"] == "never" and not any(person[name] for name in SMOKING)
        assert person["hours_worked"] > 0 and person["years_retired"] == 0
        for age in (20, 40, 60, 80):
            assert lifespan.schema.at_odds(lifespan.encoder.default_person(sex=sex, age=age)) == []
    for table in (typical_people(lifespan), varied_people(lifespan, 40)):
        assert not any(lifespan.schema.at_odds(dict(one)) for one in table.to_dict("records"))
    assert (table["cigarettes_per_day"] > 0).any()


@pytest.mark.parametrize("keep", [False, True])
def test_regressed_paths_are_possible(lifespan, worker, keep) -> None:
    frame = path(lifespan, worker, "regressed", AGES, keep_distance=keep)
    rows = [dict(one) for one in frame.to_dict("records")]
    assert not any(lifespan.schema.at_odds(one) for one in rows)
    works = frame["employment_status"].isin(["full_time", "part_time"]).to_numpy()
    assert works.any() and not works.all()
    assert (frame["hours_worked"] > 0).tolist() == works.tolist()
    assert not frame.loc[frame["smoking_status"] == "never", list(SMOKING)].any(axis=None)


@pytest.mark.parametrize("scenario", ["ideal", "regressed"])
def test_a_change_takes_what_depends_on_it_along(lifespan, worker, scenario) -> None:
    leaves = Change("employment_status", 40.0, "home")
    frame = path(lifespan, worker, scenario, AGES, changes=(leaves,)).set_index("age")
    assert (frame.loc[:39, "hours_worked"] > 0).all() and not frame.loc[40:, "hours_worked"].any()
    changes = (leaves, Change("hours_worked", 60.0, 12.0))  # what a change says holds
    frame = path(lifespan, worker, scenario, AGES, changes=changes).set_index("age")
    assert not frame.loc[40:59, "hours_worked"].any() and (frame.loc[60:, "hours_worked"] == 12.0).all()
    odd = coverage.unusual_features(lifespan, frame.reset_index())
    assert ["hours_worked" in names for names in odd] == (frame.index >= 60).tolist()
    words = {one.words for one in coverage.unusual_ages(lifespan, frame.reset_index()) if "but" in one.words}
    assert any(w.startswith("12 hours a week, but Employment status is ") for w in words)
    assert all(w.endswith("years: 0 for them in training") for w in words)


def test_what_a_person_was_given_stays(lifespan, worker) -> None:
    odd = worker | {"cigarettes_per_day": 8.0, "smoking_years": None}
    frame = path(lifespan, odd, "ideal", AGES)
    assert (frame["cigarettes_per_day"] == 8.0).all() and not frame["smoking_years"].any()
    now = path(lifespan, odd, "regressed", np.array([48.0]), keep_distance=True).iloc[0]
    assert now["cigarettes_per_day"] == 8.0
    frame = path(lifespan, odd, "regressed", AGES)  # where a person's own values do not count
    assert not frame.loc[frame["smoking_status"] == "never", "cigarettes_per_day"].any()


def test_what_a_change_takes_from_a_person_is_told(lifespan, worker) -> None:
    leaves = Change("employment_status", 60.0, "retired")
    told = dict(sweep_report.unusual_of(lifespan, worker, Plan(50, 70, 10, changes=(leaves,))))
    assert told["Paid work"] == "0 from 60 on, as Employment status is retired"
    kept = (leaves, Change("hours_worked", 55.0, 12.0))
    told = dict(sweep_report.unusual_of(lifespan, worker, Plan(50, 70, 10, changes=kept)))
    assert "12 hours a week, but Employment status is retired at 60–70 years" in told["Paid work"]
    regressed = Plan(50, 70, 10, ("regressed",), changes=(leaves,))
    assert "Paid work" not in dict(sweep_report.unusual_of(lifespan, worker, regressed))
    methods = sweep_report.plan_methods(regressed, (18.0, 88.0), schema=lifespan.schema)
    assert "another feature (Years of smoking, Cigarettes a day, " in methods


def test_a_person_at_odds_with_the_rule_is_noted(lifespan, worker) -> None:
    from pages import _notes

    def notes(person: dict[str, Any]) -> list[str]:
        encoded = encode(lifespan, person)
        return _notes.of_features(lifespan, encoded.natural.iloc[0].to_dict(), encoded.flags_of(0))

    assert notes(typical(lifespan, "F")) == []
    said = "<b>Cigarettes a day</b> 8 cigarettes, but Smoking status is never smoked"
    assert notes(worker | {"cigarettes_per_day": 8.0}) == [f"{said}: 0 for them in training"]
    unknown = notes(worker | {"cigarettes_per_day": 8.0, "smoking_status": None})
    assert unknown[0] == f"{said} (imputed): 0 for them in training" and len(unknown) == 2
    assert notes(worker | {"cigarettes_per_day": 8.0, "smoking_status": "current"}) == []
    many = [one for one in notes(worker | {"years_retired": 30.0}) if "Years since retirement" in one]
    assert len(many) == 1 and "but Retired is no" in many[0]  # not unusual at 48 as well


def test_paths_without_rules_are_as_before(lifespan, worker) -> None:
    schema = Schema(tuple(replace(one, zero_unless=None) for one in lifespan.schema.features))
    plain = replace(lifespan, encoder=Encoder(schema, lifespan.encoder.numeric, lifespan.encoder.levels))
    frame = paths(plain, worker, Plan(30, 80, 10, ("regressed",)))["regressed"]
    assert (frame["cigarettes_per_day"] > 0).any()
    np.testing.assert_array_equal(encode(plain, worker).x, encode(lifespan, worker).x)
