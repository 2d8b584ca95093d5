"""Virtual people: features, volumes, derivatives, counterfactuals, calibration."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csegsynth_core.data.schema import Schema
from csegsynth_core.data.simulate import cohort, describe, effects, features, people
from csegsynth_core.data.simulate.labels import _WORDS
from csegsynth_core.errors import TableError


@pytest.fixture(scope="module")
def many() -> people.People:
    return people.draw(20_000)


def text_of(some: people.People, name: str, row: int = 0) -> str:
    return str(some.table(complete=True)[name].iloc[row])


def same(one: people.People, other: people.People) -> bool:
    """Bit for bit: every variable and every volume."""
    variables = all(np.array_equal(one.variables[n], other.variables[n]) for n in one.variables)
    return variables and all(np.array_equal(one.volumes[v], other.volumes[v]) for v in effects.VOLUMES)


def test_198_features_with_everything_that_a_table_needs() -> None:
    schema = people.schema()
    assert len(schema.features) == 198 and schema.age is not None and schema.sex is not None
    assert {f.group for f in schema.features} == {"demographic", "interview", "cognitive", "lifestyle"}
    described = schema.to_participants_json()
    assert Schema.from_participants_json(described).features == schema.features
    assert all("simulated" in f.description for f in schema.features)
    assert all(f.plausible and f.units for f in schema.features if f.is_numeric)


def test_causes_come_before_effects() -> None:
    known: set[str] = set()
    for one in features.EQUATIONS:
        assert one.sources() <= known, one.name
        known.add(one.name)
    assert {e.feature for e in effects.EFFECTS} <= {f.name for f in features.FEATURES}


def test_rules_read_only_what_they_declare() -> None:
    """Otherwise the graph in `assets/simulation.md` would be wrong."""

    class Watched(dict):
        read: set[str]

        def __getitem__(self, key):
            self.read.add(key)
            return super().__getitem__(key)

    values = dict(people.draw(50).variables)
    for one in features.EQUATIONS:
        watched = Watched(values)
        watched.read = set()
        one.value(watched, np.zeros(50))
        assert watched.read <= one.sources(), one.name


def test_tables_pass_their_own_schema_with_little_missing() -> None:
    table = people.draw(3000, first=50_000).table()
    parsed = people.schema().validate(table.reset_index(), source="simulated")
    missing = (parsed.flags == "missing").mean()
    assert missing[["age", "sex"]].max() == 0
    others = missing.drop(["age", "sex"])
    assert others.min() > 0.005 and others.max() < 0.06
    assert 0.01 < others.mean() < 0.05
    assert not (parsed.flags == "implausible").any().any()
    assert table.nunique().min() >= 2


def test_every_number_that_is_0_for_some_people_says_so(many: people.People) -> None:
    """Whatever else is 0 for everybody of a level, such as `years_retired` of students, follows from these."""
    declared = json.loads(json.dumps(people.schema().to_participants_json()))
    rules = {name: entry["ZeroUnless"] for name, entry in declared.items() if "ZeroUnless" in entry}
    assert rules["cigarettes_per_day"] == {"smoking_status": ["former", "current"]}
    assert rules["grandchildren"] == {"children": ">0"} and len(rules) == 9
    some = people.schema().validate(people.draw(500).table(complete=True)).data.to_dict("records")
    assert not any(people.schema().at_odds(dict(one)) for one in some)
    for one in features.FEATURES:
        zero = many.variables[one.name] == 0
        if not one.is_numeric or not zero.any() or one.name in rules:
            continue
        for other in features.FEATURES:
            levels = range(len(other.levels) or 1)  # of a number: where it is 0, too
            for k in levels if other is not one else ():
                those = zero[many.variables[other.name] == k]
                assert len(those) < 20 or not those.all(), (one.name, other.name, k)


def test_what_makes_such_tables_hard(many: people.People) -> None:
    v = many.variables

    def r(a: str, b: str) -> float:
        return float(np.corrcoef(v[a], v[b])[0, 1])

    assert r("hads_a_tense", "hads_a_worry") > 0.2  # items of one scale
    assert r("cattell_series", "cattell_matrices") > 0.4
    assert r("retired", "age") > 0.6
    assert 0.3 < r("weight", "height") < 0.8
    assert r("cattell_total", "age") < -0.35
    assert 17.5 < v["age"].min() < 18.5 and 87.5 < v["age"].max() <= 88


def test_person_depends_on_seed_and_number_only() -> None:
    all_at_once, later = people.draw(300, seed=5), people.draw(7, seed=5, first=293)
    scattered = people.People(5, np.asarray([299, 17, 18, 296]))
    for name in all_at_once.variables:
        assert np.array_equal(all_at_once.variables[name][293:], later.variables[name]), name
        assert np.array_equal(all_at_once.variables[name][[299, 17, 18, 296]], scattered.variables[name])
    one = people.draw(1, seed=5, first=296)
    for volume in effects.VOLUMES:
        assert all_at_once.volumes[volume][296] == one.volumes[volume][0]
    pd.testing.assert_frame_equal(one.table(), later.table().iloc[3:4])
    assert people.draw(1, seed=6).volumes != people.draw(1, seed=5).volumes
    assert people.draw(1, stream="pre").volumes["gm"][0] != people.draw(1).volumes["gm"][0]


@pytest.mark.parametrize("hold", [True, False])
def test_own_value_changes_nothing(hold: bool) -> None:
    some = people.draw(1, first=12)
    for one in features.FEATURES:
        value: object = text_of(some, one.name)
        assert same(some, people.counterfactual(some, {one.name: value}, hold_others=hold)), one.name
    age = float(some.variables["age"][0])
    assert same(some, people.counterfactual(some, {"age": age}, hold_others=hold))


@pytest.mark.parametrize("hold", [True, False])
def test_two_changes_in_sequence_equal_one(hold: bool) -> None:
    some = people.draw(40)
    changes = {"age": 61, "smoking_status": "current", "education_years": 11}
    together = people.counterfactual(some, changes, hold_others=hold)
    in_turn = some
    for name, value in changes.items():
        in_turn = people.counterfactual(in_turn, {name: value}, hold_others=hold)
    assert same(together, in_turn)
    assert not same(together, some)
    mixed = people.counterfactual(
        people.counterfactual(some, {"age": 61}), {"height": 170}, hold_others=False
    )
    other = people.counterfactual(
        people.counterfactual(some, {"height": 170}, hold_others=False), {"age": 61}
    )
    assert same(mixed, other)


def test_hold_others_or_let_them_follow() -> None:
    some = people.draw(500)
    held = people.counterfactual(some, {"age": 75})
    free = people.counterfactual(some, {"age": 75}, hold_others=False)
    for name in some.variables:
        if name != "age":
            assert np.array_equal(held.variables[name], some.variables[name]), name
    assert np.all(free.variables["age"] == 75)
    assert free.variables["retired"].mean() > some.variables["retired"].mean() + 0.3
    for untouched in ("sex", "reserve", "vascular"):
        assert np.array_equal(free.variables[untouched], some.variables[untouched])
    assert all(np.array_equal(free.noise[n], some.noise[n]) for n in some.noise)


def test_twenty_years_more_with_others_held() -> None:
    some = people.draw(500)
    older = people.counterfactual(some, {"age": some.variables["age"] + 20})
    assert np.all(older.volumes["gm"] < some.volumes["gm"])
    assert np.all(older.volumes["ventricles"] > some.volumes["ventricles"])
    assert same(some, people.counterfactual(older, {"age": some.variables["age"]}))


def test_unknown_changes_are_refused() -> None:
    with pytest.raises(TableError, match="no feature 'agee'"):
        people.counterfactual(people.draw(1), {"agee": 3})
    with pytest.raises(TableError, match=r"'sex' cannot be set.*Expected: one of F \(female\), M"):
        people.counterfactual(people.draw(1), {"sex": "other"})
    with pytest.raises(TableError, match=r"'age' cannot be set"):
        people.counterfactual(people.draw(1), {"age": "old"})
    with pytest.raises(TableError, match=r"or one for each of 3 people"):
        people.counterfactual(people.draw(3), {"age": [30, 40]})


def test_derivatives_against_finite_differences() -> None:
    some = people.draw(6, first=30)
    table = some.derivatives()
    assert {c.split("/d_")[1].split("=")[0] for c in table} == {e.feature for e in effects.EFFECTS}
    for name, level in {(e.feature, e.level) for e in effects.EFFECTS}:
        if level:
            rest = next(k for k in features.BY_NAME[name].levels if k != level)
            on, off = (people.counterfactual(some, {name: k}).volumes for k in (level, rest))
            found = {v: on[v] - off[v] for v in effects.VOLUMES}
        else:
            found = {v: np.empty(6) for v in effects.VOLUMES}
            for row in range(6):
                one = people.People(0, some.numbers[row : row + 1])
                x, h = float(one.variables[name][0]), 1e-4
                up, down = (people.replace(one, set_held={name: x + s * h}).volumes for s in (1, -1))
                for volume in effects.VOLUMES:
                    found[volume][row] = (up[volume][0] - down[volume][0]) / (2 * h)
        for volume in effects.VOLUMES:
            column = f"d_{volume}/d_{name}" + (f"={level}" if level else "")
            assert table[column].to_numpy() == pytest.approx(found[volume], rel=1e-5, abs=1e-6), column


def test_features_without_effect_have_none() -> None:
    some = people.draw(30)
    for name, value in (("retired", 1), ("cattell_total", 40), ("hours_worked", 20)):
        changed = people.counterfactual(some, {name: value})
        assert all(np.array_equal(changed.volumes[v], some.volumes[v]) for v in effects.VOLUMES)


# ---------------------------------------------------------------- calibration: the targets


def by_age(many: people.People, volume: str, low: float, high: float) -> float:
    age = many.variables["age"]
    return float(many.volumes[volume][(age >= low) & (age < high)].mean())


@pytest.mark.parametrize(("volume", "mean", "sd"), [("wm", 534, 74), ("gm", 580, 70), ("csf", 288, 58)])
def test_means_and_deviations(many: people.People, volume: str, mean: float, sd: float) -> None:
    assert many.volumes[volume].mean() == pytest.approx(mean, rel=0.05)
    assert many.volumes[volume].std() == pytest.approx(sd, rel=0.15)


def test_grey_matter_falls_by_a_third_of_a_percent_a_year(many: people.People) -> None:
    age, gm = many.variables["age"], many.volumes["gm"]
    bins = [(18, 35), (35, 53), (53, 70), (70, 88)]
    for low, high in bins:
        inside = (age >= low) & (age < high)
        slope = np.polyfit(age[inside], np.log(gm[inside]), 1)[0]
        assert -0.0043 < slope < -0.0027, (low, high, slope)
    assert -0.0041 < np.polyfit(age, np.log(gm), 1)[0] < -0.0030


def test_white_matter_peaks_in_the_forties(many: people.People) -> None:
    curve = np.polynomial.Polynomial.fit(many.variables["age"], many.volumes["wm"], 3)
    ages = np.arange(18, 88.5, 0.5)
    assert 40 <= ages[np.argmax(curve(ages))] < 50
    assert curve(20) < curve(45) and all(curve.deriv()(a) < 0 for a in range(60, 88))
    assert by_age(many, "wm", 60, 70) < by_age(many, "wm", 40, 50) * 0.985


def test_csf_rises_ever_faster(many: people.People) -> None:
    curve = np.polynomial.Polynomial.fit(many.variables["age"], many.volumes["csf"], 3)
    slopes = curve.deriv()(np.arange(22, 86, 4.0))
    assert slopes[0] > 0 and np.all(np.diff(slopes) > 0)


def test_ventricles_triple(many: people.People) -> None:
    assert 2.5 < by_age(many, "ventricles", 78, 82) / by_age(many, "ventricles", 18, 22) < 3.5


@pytest.mark.parametrize("volume", ["wm", "gm", "csf"])
def test_mens_volumes(many: people.People, volume: str) -> None:
    male = many.variables["sex"] == 1
    assert 1.09 < many.volumes[volume][male].mean() / many.volumes[volume][~male].mean() < 1.13


def test_what_features_explain_at_best() -> None:
    found = cohort.best_r2(20_000)
    assert 0.65 <= found["wm"] <= 0.75
    assert 0.70 <= found["gm"] <= 0.80
    assert 0.55 <= found["csf"] <= 0.70


def test_volumes_are_possible(many: people.People) -> None:
    v = many.volumes
    assert np.all(v["ventricles"] < 0.6 * v["csf"])
    total = v["wm"] + v["gm"] + v["csf"]
    assert total.min() > 700 and total.max() < 2300


def test_truth_table_is_whole() -> None:
    some = people.draw(5)
    truth = cohort.truth_table(some)
    assert isinstance(truth, pd.DataFrame) and list(truth.index) == some.ids
    assert {"latent_reserve", "true_gm", "noise_free_csf", "d_gm/d_age"} <= set(truth.columns)
    assert not truth.isna().any().any()


def test_the_page_tells_the_model_as_it_is() -> None:
    page = (Path(__file__).parents[1] / "assets" / "simulation.md").read_text("utf-8")
    for part in (describe.effects_table(), describe.equations_table(), describe.references()):
        assert part in page, "run `python -m csegsynth_core.data.simulate.describe assets/simulation.md`"
    assert describe.filled(page) == page


def test_every_effect_has_a_source_that_is_listed() -> None:
    for effect in effects.EFFECTS:
        assert "wn choice" in effect.source or any(key in effect.source for key in effects.REFERENCES)
    for key in effects.REFERENCES:
        assert any(key in e.source for e in effects.EFFECTS) or key == "Pietschnig 2015", key


def test_every_feature_has_a_name_for_people() -> None:
    """Short enough for the figures, each its own, and no name of a column with its abbreviations."""
    labels = {one.name: one.label for one in features.FEATURES}
    assert len(set(labels.values())) == len(labels) == 198
    assert max(map(len, labels.values())) <= 34
    assert labels["vstm_rt_sd_3"] == "VSTM 3 items: reaction time, SD"
    assert labels["hads_a_tense"] == "HADS anxiety: tense"
    assert labels["cattell_series_attempted"] == "Cattell series: tried"
    assert labels["leisure_cycling"] == "Leisure: cycling" and labels["hypertension"] == "Hypertension"
    raw = re.compile(r"\b(Vstm|Hads|Audit|Tv|rt|dprime|Ucla)\b|_|[a-z] (minutes|hours) ")
    assert [v for v in labels.values() if raw.search(v)] == []
    assert set(_WORDS) <= set(labels)
