"""Paths of a person through age, and quick volumes along them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from csegsynth_core.errors import CSegSynthError, TableError
from csegsynth_core.generate import encode, generate, generate_one
from csegsynth_core.page_views import frame_of, frames_seen
from csegsynth_core.scenarios import MEASURES, VOLUMES, Plan, change_percent, path, sample, sweep
from csegsynth_core.tissue import TISSUES
from csegsynth_core.uncertainty import trajectory
from tests.conftest import every_second_voxel

AGES = np.array([25.0, 45.0, 60.0, 75.0])


@pytest.fixture(scope="module")
def person(pack) -> dict[str, Any]:
    """Somebody who is not typical, and whose weight is unknown."""
    return {**pack.encoder.default_person(sex="M"), "age": 45.0, "height": 190.0, "weight": None}


@pytest.fixture
def coarser() -> Iterator[None]:
    """For what does not ask how near volumes are to exact ones."""
    with every_second_voxel():
        yield


@pytest.fixture(scope="module")
def swept(pack, person) -> Any:
    return sweep(pack, person, Plan(25, 75, 10, draws=2, seed=3))


def test_under_ideal_only_age_changes(pack, person) -> None:
    frame = path(pack, person, "ideal", AGES)
    assert list(frame["age"]) == list(AGES)
    assert (frame.drop(columns="age").nunique() == 1).all()
    filled = encode(pack, person).natural["weight"].iloc[0]  # filled in once, not anew at every age
    assert frame["weight"].iloc[-1] == filled
    assert frame["height"].iloc[0] == 190.0


def test_regressed_follows_the_regressions_of_the_same_sex(pack, person) -> None:
    frame = path(pack, person, "regressed", AGES)
    for _, row in frame.iterrows():
        for name, value in pack.regressions.predict(row["age"], "M").items():
            assert row[name] == value
    assert set(frame["sex"]) == {"M"}


def test_own_distance_is_kept_and_nothing_changes_at_the_own_age(pack, person) -> None:
    frame = path(pack, person, "regressed", AGES, keep_distance=True)
    own = encode(pack, person).natural.iloc[0]
    now = frame[frame["age"] == 45.0].iloc[0]
    for name in pack.schema.names:
        assert (
            now[name] == pytest.approx(own[name])
            if pack.schema.feature(name).is_numeric
            else now[name] == own[name]
        )
    curve = pack.regressions.curves("height", "M")[0]
    assert frame["height"].iloc[3] == pytest.approx(190 + curve.at(75) - curve.at(45))


@pytest.mark.parametrize("keep", [False, True])
def test_values_stay_possible(pack, keep) -> None:
    tall = {**pack.encoder.default_person(sex="F"), "age": 70.0}
    tall |= {n: s.maximum for n, s in pack.encoder.numeric.items() if n != "age"}
    frame = path(pack, tall, "regressed", np.arange(20.0, 91.0, 5), keep_distance=keep)
    for one in pack.schema.features:
        if one.name == "age":
            continue
        if one.is_numeric:
            stats = pack.encoder.numeric[one.name]
            assert frame[one.name].between(stats.minimum - 1e-9, stats.maximum + 1e-9).all()
        else:
            assert set(frame[one.name]) <= set(one.levels)


def test_draw_0_is_the_generated_brain_of_the_same_seed(pack, person, swept) -> None:
    """The ends, and the person's own age, are read at 2 mm."""
    rows = swept.volumes.query("draw == 0 and age in [25, 45, 75]")
    for scenario, some in rows.groupby("scenario"):
        frame = path(pack, person, scenario, some["age"].to_numpy(float))
        for brain, (_, row) in zip(generate(pack, frame, seed=3), some.iterrows(), strict=True):
            for tissue in TISSUES:
                assert row[tissue] == pytest.approx(brain.volumes_ml[tissue], rel=1e-4)
            assert row["wm+gm+csf"] == pytest.approx(brain.total_ml, rel=1e-4)


def test_draws_of_a_sweep_are_those_of_generate(pack, person) -> None:
    """With seed 0 the brain without noise comes on top: lines go through it, and the spread leaves it out."""
    plan = Plan(30, 70, 10, ("ideal",), draws=2)
    volumes = sweep(pack, person, plan).volumes
    assert list(volumes["draw"].unique()) == [-1, 0, 1]
    at = volumes[volumes["age"] == 30].set_index("draw")
    wanted = [generate_one(pack, {**person, "age": 30.0}), *generate(pack, {**person, "age": 30.0}, draws=2)]
    for row, brain in zip(at["csf"], wanted, strict=True):
        assert row == pytest.approx(brain.volumes_ml["csf"], rel=2e-3)
    frame = trajectory(volumes, ["csf"]).query("age == 30").iloc[0]
    assert frame["value"] == at["csf"][-1]
    assert frame["draws"] == 2
    assert frame["draws_mean"] == pytest.approx(at["csf"][[0, 1]].mean())


def test_volumes_between_decoded_ages_are_near_exact_ones(pack, person) -> None:
    plan = Plan(25, 81, 2, draws=2)
    told: list[float] = []
    quick = sweep(pack, person, plan, progress=told.append)
    assert len(told) < 58  # brains, of 116
    some = replace(plan, step=14, scenarios=("regressed",), exact=True)
    exact = sweep(pack, person, some).volumes
    rows = quick.volumes.query("scenario == 'regressed'")
    rows = rows[rows["age"].isin(some.ages)].sort_values(["draw", "age"])
    off = 100 * np.abs(rows[list(MEASURES)].to_numpy() / exact[list(MEASURES)].to_numpy() - 1)
    own, further = off[: len(some.ages)].max(axis=0), off[len(some.ages) :].max(axis=0)
    assert own[: len(VOLUMES)].max() < 0.1
    assert own[len(VOLUMES) :].max() < 0.2
    assert further[: len(VOLUMES)].max() < 0.5
    assert further[len(VOLUMES) :].max() < 2.8


def test_regions_are_the_generated_brains(pack, person, swept) -> None:
    row = swept.volumes.query("scenario == 'regressed' and draw == 0 and age == 75").iloc[0]
    frame = path(pack, person, "regressed", np.array([75.0]))
    brain = next(generate(pack, frame, seed=3))
    assert set(brain.regions_ml) <= set(MEASURES)
    for name, ml in brain.regions_ml.items():
        assert row[name] == pytest.approx(ml, rel=1e-4)


@pytest.mark.usefixtures("coarser")
def test_brains_that_are_shown_are_kept_from_the_sweep(pack, person) -> None:
    """The frames of a filmstrip, and no other brains, without making them again."""
    plan, shown = Plan(25, 81, 2, seed=3), {}
    one = sweep(pack, person, plan, shown=shown)
    assert set(shown) == {(way, k) for way in plan.scenarios for k in sample(plan)}
    assert sample(plan) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28]
    seen = frames_seen(pack, one, shown)
    assert [frame.age for _, frame in seen if frame.age in (25.0, 81.0)].count(81.0) == 2
    for asked, frame in seen[:2] + seen[-2:]:
        made = frame_of(pack, asked, 3)
        assert np.array_equal(frame.packed, made.packed) and (frame.age, frame.trained) == asked[1:]
        assert frame.volumes_ml == pytest.approx(made.volumes_ml, rel=1e-5)
    again: dict = {}
    sweep(pack, person, replace(plan, draws=2), known=one, shown=again)
    assert not again, "they were shown with the first draw"


def test_a_known_first_draw_is_not_made_again(pack, person, swept, monkeypatch) -> None:
    plan = swept.plan
    own = swept.volumes.query("draw == 0").reset_index(drop=True)
    first = replace(swept, plan=replace(plan, draws=1), volumes=own)
    told: list[float] = []
    again = sweep(pack, person, plan, known=first, progress=told.append)
    assert np.allclose(again.volumes[list(MEASURES)], swept.volumes[list(MEASURES)], rtol=1e-4)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert told[-2] > 0.6  # no more was announced than there was to do, nearly
    other = sweep(pack, {**person, "age": 44.0}, replace(plan, draws=1, scenarios=("ideal",)), known=first)
    assert set(other.volumes["scenario"]) == {"ideal"}
    few = Plan(25, 75, 25, ("ideal",))
    mine = sweep(pack, person, few)
    somebody = sweep(pack, {**person, "height": 170.0}, few, known=mine)  # not theirs: measured anew
    assert abs(somebody.volumes["gm"].iloc[0] / mine.volumes["gm"].iloc[0] - 1) > 0.005


def test_the_frame_is_tidy_and_outside_ages_are_marked(pack, person, swept) -> None:
    frame = swept.volumes
    assert list(frame.columns) == ["scenario", "age", "draw", "trained", *MEASURES]
    assert len(frame) == 2 * len(swept.plan.ages) * 2
    assert not frame.duplicated(["scenario", "age", "draw"]).any()
    assert frame["trained"].all()
    assert np.allclose(frame[list(TISSUES)].sum(axis=1), frame["wm+gm+csf"])
    far = sweep(pack, person, Plan(80, 95, 5, ("ideal",)))
    assert list(far.volumes["trained"]) == [a <= far.trained_ages[1] for a in far.plan.ages]
    assert set(swept.features.columns) == {"scenario", "trained", "unusual", *pack.schema.names}


def test_change_is_from_the_first_age_of_the_same_draw(swept) -> None:
    change = change_percent(swept.volumes)
    first = change[change["age"] == 25]
    assert np.allclose(first[list(MEASURES)], 0)
    rows = swept.volumes.query("scenario == 'ideal' and draw == 1").set_index("age")["gm"]
    last = change.query("scenario == 'ideal' and draw == 1 and age == 75")["gm"].iloc[0]
    assert last == pytest.approx(100 * (rows[75] / rows[25] - 1))


def test_ages_of_a_plan() -> None:
    assert list(Plan(20, 25, 2).ages) == [20, 22, 24, 25]
    assert list(Plan(20, 24, 2).ages) == [20, 22, 24]
    assert len(Plan(20, 21, 0.1).ages) == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 50, "stop": 50}, "no ages.*start < stop"),
        ({"start": float("nan"), "stop": 50}, "start of the sweep is not a number"),
        ({"start": 20, "stop": 50, "step": 0}, "unusable step"),
        ({"start": 20, "stop": 80, "step": 0.1}, "at most 200 ages"),
        ({"start": 20, "stop": 50, "scenarios": ("best",)}, "ideal, regressed.*best"),
        ({"start": 20, "stop": 50, "scenarios": ()}, "one or more of"),
        ({"start": 20, "stop": 50, "draws": 0}, "1 to 100"),
        ({"start": 20, "stop": 50, "seed": -1}, "unusable seed"),
    ],
)
def test_plans_that_make_no_sense(settings, message) -> None:
    with pytest.raises(CSegSynthError, match=message):
        Plan(**settings)


def test_what_cannot_be_swept_is_said(pack, person) -> None:
    with pytest.raises(CSegSynthError, match=r"not plausible.*18 to 100"):
        path(pack, person, "ideal", np.array([20.0, 120.0]))
    with pytest.raises(CSegSynthError, match=r"unknown scenario.*ideal"):
        path(pack, person, "worst", AGES)
    with pytest.raises(CSegSynthError, match=r"no regressions.*ideal"):
        path(replace(pack, regressions=None), person, "regressed", AGES)
    with pytest.raises(TableError, match="Unknown column"):
        path(pack, {"shoe": 44}, "ideal", AGES)


def test_an_age_at_which_nothing_is_unusual_is_the_individual_page(pack, swept) -> None:
    row = swept.volumes.query("scenario == 'ideal' and age == 45 and draw == 0").iloc[0]
    brain = generate_one(pack, swept.person, seed=3)
    assert row["gm"] == pytest.approx(brain.volumes_ml["gm"], rel=1e-4)
