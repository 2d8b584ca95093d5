"""Values that do not go together at an age and sex, told from what a pack holds."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from csegsynth_core import coverage
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Schema
from csegsynth_core.errors import PackError
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack, load_pack


@pytest.fixture(scope="module", params=["ixi", "lifespan"])
def shipped(request) -> Pack:
    """Each shipped pack; skipped where it cannot be used."""
    try:
        return load_pack(request.param)
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")


def unusual(pack: Pack, person: dict[str, Any]) -> dict[str, str]:
    """Feature → words."""
    encoded = encode(pack, person)
    features = {str(k): v for k, v in encoded.natural.iloc[0].items()}
    return {one.feature: one.words for one in coverage.unusual(pack, features, encoded.flags_of(0))}


def without(pack: Pack, *names: str) -> Pack:
    """The pack as if its training people had no such features, and so no regressions where age is one of them."""
    schema = Schema(tuple(one for one in pack.schema.features if one.name not in names))
    kept = {k: v for k, v in pack.encoder.numeric.items() if k not in names}
    numeric = {k: replace(v, impute=v.impute[:1]) for k, v in kept.items()}
    levels = {k: v for k, v in pack.encoder.levels.items() if k not in names}
    regressions = None
    if pack.regressions is not None and "age" not in names:
        data = pack.regressions.to_dict() | {"schema": schema.to_dict(), "by_sex": {}}
        regressions = AgeRegressions.from_dict(data)
    return replace(pack, encoder=Encoder(schema, numeric, levels), regressions=regressions)


def test_typical_people_are_hardly_unusual(shipped) -> None:
    for sex in shipped.schema.sex.levels:
        assert unusual(shipped, shipped.encoder.default_person(sex=sex)) == {}
        for age in (20, 25, 30, 40, 50, 60, 70, 80):
            found = unusual(shipped, shipped.encoder.default_person(sex=sex, age=age))
            assert len(found) <= (age >= 70), (sex, age, found)


@pytest.mark.parametrize("sex", ["F", "M"])
@pytest.mark.parametrize(
    ("name", "person", "wanted"),
    [
        (
            "ixi",
            {"age": 21.0, "occupation": "retired", "marital_status": "widowed"},
            {"occupation": "Retired, fewer than 1 % of", "marital_status": "Widowed, fewer than 1 % of"},
        ),
        (
            "lifespan",
            {"age": 20.0, "employment_status": "retired", "years_retired": 30.0},
            {"employment_status": "retired, fewer than 1 % of", "years_retired": "30 years, "},
        ),
    ],
)
def test_values_that_do_not_go_with_an_age_are_told(name, person, wanted, sex) -> None:
    try:
        pack = load_pack(name)
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")
    found = unusual(pack, pack.encoder.default_person(sex=sex, age=person["age"]) | person)
    assert set(found) == set(wanted)
    people = f"{'women' if sex == 'F' else 'men'} aged {person['age']:.0f} in the training data"
    for feature, words in found.items():
        assert words.startswith(wanted[feature]) and words.endswith(people)


def test_a_number_is_told_in_standard_deviations_of_its_residuals(pack) -> None:
    person = pack.encoder.default_person(sex="M", age=60)
    curve = pack.regressions.curves("height", "M")[0]
    stats = pack.encoder.numeric["height"]
    low = {"height": stats.minimum}
    z = (curve.at(60) - stats.minimum) / curve.residual_sd
    assert z > coverage.FAR_SD  # the smallest are women
    assert unusual(pack, person | low) == {
        "height": f"{stats.minimum:.4g} cm, {z:.1f} SD below men aged 60 in the training data"
    }
    assert "height" not in unusual(pack, person | {"sex": "F"} | low)
    assert "height" not in unusual(pack, person | {"height": curve.at(60) - 2.9 * curve.residual_sd})


def test_the_farthest_come_first_and_levels_before_numbers(pack) -> None:
    stats = pack.encoder.numeric
    person = pack.encoder.default_person(sex="M", age=21) | {
        "marital_status": "widowed", "occupation": "retired", "height": stats["height"].minimum,
    }  # fmt: skip
    assert list(unusual(pack, person)) == ["marital_status", "occupation", "height"]
    curves = {k: c[0] for k in ("height", "weight") if (c := pack.regressions.curves(k, "M"))}
    for near, far in (("height", "weight"), ("weight", "height")):
        features = person | {k: c.at(21) - (9 if k == far else 7) * c.residual_sd for k, c in curves.items()}
        found = [one.feature for one in coverage.unusual(pack, features)]
        assert found[2:] == [far, near]


def test_what_is_flagged_by_itself_and_what_is_large_at_any_age_is_not_told_again(pack) -> None:
    person = pack.encoder.default_person(sex="F", age=48)
    stats = pack.encoder.numeric["height"]
    assert "height" not in unusual(
        pack, person | {"height": stats.maximum + 9.0}
    )  # outside the training range
    assert "weight" not in unusual(pack, person | {"weight": None})
    curve = pack.regressions.curves("height", "F")[0]
    tall = person | {"height": curve.at(48) + 4.0 * curve.residual_sd}
    assert [one.feature for one in coverage.unusual(pack, tall)] == ["height"]
    shorter = replace(
        stats, mean=stats.mean - 20 * stats.sd
    )  # all people: the height is far from theirs, too
    encoder = Encoder(pack.schema, {**pack.encoder.numeric, "height": shorter}, pack.encoder.levels)
    assert coverage.unusual(replace(pack, encoder=encoder), tall) == []


def test_what_is_extreme_at_any_age_is_told_by_itself(pack) -> None:
    person = pack.encoder.default_person(sex="F", age=48)
    assert coverage.extreme(pack, person) == []
    stats = pack.encoder.numeric["weight"]
    low = person | {"weight": stats.mean - 3.2 * stats.sd}
    (found,) = coverage.extreme(pack, low)
    assert found.feature == "weight" and found.label == pack.schema.feature("weight").label
    said = pack.schema.feature("weight").said(low["weight"])
    assert found.words == f"{said}, lower than 99 % of the training people (3.2 SD below their mean)"
    assert coverage.extreme(pack, low, skip=["weight"]) == []
    assert coverage.extreme(pack, person | {"weight": stats.mean - 2.9 * stats.sd}) == []
    tails = replace(stats, centile99=stats.mean + 4 * stats.sd)  # more than one in a hundred is as heavy
    votes = pack.encoder.levels["occupation"]
    counts = dict.fromkeys(votes.counts, 4) | {"retired": 9 * votes.n}
    seldom = replace(votes, counts=counts, n=sum(counts.values()))
    encoder = Encoder(
        pack.schema, {**pack.encoder.numeric, "weight": tails}, {**pack.encoder.levels, "occupation": seldom}
    )
    heavy = person | {"weight": stats.mean + 3.1 * stats.sd, "occupation": "student"}
    told = [one.words for one in coverage.extreme(replace(pack, encoder=encoder), heavy)]
    student = pack.schema.feature("occupation").levels["student"]
    assert told[0] == f"{student}, fewer than 1 % of the training people"
    assert told[1].endswith(", 3.1 SD above the mean of the training people")


def test_typical_people_are_never_extreme(shipped) -> None:
    for sex in shipped.schema.sex.levels:
        for age in (25, 50, 75):
            assert coverage.extreme(shipped, shipped.encoder.default_person(sex=sex, age=age)) == []


def test_beyond_the_training_ages_the_nearest_people_are_named(pack) -> None:
    person = pack.encoder.default_person(sex="F", age=80) | {"age": 95.0, "occupation": "student"}
    oldest = pack.regressions.curves("occupation", "F")[0].ages[1]
    assert unusual(pack, person)["occupation"].endswith(f"women aged {oldest:.0f} in the training data")


def test_packs_without_age_sex_or_regressions(pack) -> None:
    odd = pack.encoder.default_person(sex="M", age=21) | {
        "occupation": "retired",
        "marital_status": "widowed",
    }
    assert unusual(replace(pack, regressions=None), odd) == {}
    ageless = without(pack, "age")
    assert unusual(ageless, {k: v for k, v in odd.items() if k != "age"}) == {}
    sexless = without(pack, "sex")
    found = unusual(sexless, {k: v for k, v in odd.items() if k != "sex"})
    assert found and all(
        re.search("people aged 2[0-9] in the training data$", words) for words in found.values()
    )
