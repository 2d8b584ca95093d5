"""Gradients are exact, natural units and contrasts mean what they say, intervals repeat, filters filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from csegsynth_core import grid, saliency, synthetic_people
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.volume_centiles import TOTAL, VolumeCentiles
from csegsynth_core.errors import CSegSynthError, PackError, TableError
from csegsynth_core.generate import encode, latent_draws
from csegsynth_core.natural_units import natural_step, per_step, singular
from csegsynth_core.pack import Pack, load_pack
from csegsynth_core.volumes import volumes_ml
from tests.toy import PARTICIPANTS_JSON

SIDECAR = PARTICIPANTS_JSON | {
    "smoker": {"Description": "smokes", "Levels": {"no": "no", "yes": "yes"}},
    "schooling": {"Levels": {"a": "low", "b": "middle", "c": "high"}, "Kind": "ordinal"},
}


class Smooth(torch.nn.Module):
    """A stand-in for the model whose volumes are a known smooth function of features and draw."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resolutions = (1, 2)
        weight = torch.randn(4, width, generator=torch.Generator().manual_seed(3))
        self.weight = torch.nn.Parameter(0.2 * weight, requires_grad=False)
        self.passes = 0

    def draw(self, n: int, seed: int) -> torch.Tensor:
        return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))

    def forward(self, y: torch.Tensor, z: torch.Tensor, resolution: int = 1) -> torch.Tensor:
        self.passes += 1
        share = torch.softmax(y @ self.weight.T + 0.1 * z, dim=1)
        size = [s // resolution // 8 for s in grid.SHAPE]
        return share[:, :, None, None, None].expand(-1, -1, *size)

    def on_grid(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def toy() -> Pack:
    rng = np.random.default_rng(0)
    n = 80
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:03d}" for i in range(n)],
            "age": rng.uniform(20, 80, n).round(1),
            "sex": np.where(np.arange(n) % 2 == 0, "M", "F"),
            "height": rng.normal(170, 8, n).round(),
            "marital_status": rng.choice(["single", "married", "widowed"], n, p=[0.3, 0.5, 0.2]),
            "smoker": rng.choice(["no", "yes"], n),
            "schooling": rng.choice(["a", "b", "c"], n),
        }
    )
    schema = Schema.from_participants_json(SIDECAR, table)
    parsed = schema.validate(table)
    encoder = Encoder.fit(schema, parsed)
    volumes = {t: rng.normal(500, 50, n) for t in ("wm", "gm", "csf")}
    return Pack(
        folder=None,  # type: ignore[arg-type]
        about={"name": "toy", "simulated": True},
        model=Smooth(encoder.width),  # type: ignore[arg-type]
        encoder=encoder,
        regressions=AgeRegressions.fit(schema, parsed),
        centiles=VolumeCentiles.fit(table["age"], list(table["sex"]), volumes),
        metrics={},
        hash="0" * 64,
    )


@pytest.fixture(scope="module")
def ixi() -> Pack:
    try:
        return load_pack("ixi")
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")


@pytest.fixture(scope="module")
def people(toy) -> pd.DataFrame:
    return synthetic_people.varied_people(toy, 24, seed=1)


def volumes(pack: Pack, x: np.ndarray, z: torch.Tensor, resolution: int) -> np.ndarray:
    with torch.inference_mode():
        maps = pack.model(torch.from_numpy(x.astype(np.float32)), z.expand(len(x), -1), resolution)
        return volumes_ml(maps, resolution)[:, :3].numpy().astype(float)


def test_gradients_equal_finite_differences_in_every_feature(toy, people) -> None:
    found = saliency.gradients(toy, people, draws=3, seed=5, batch=7)
    assert found.slopes.shape == (24, 3, 4, toy.encoder.width)
    assert found.measures == ("wm", "gm", "csf", TOTAL)
    x = toy.encoder.encode(toy.schema.validate(people)).x
    z = latent_draws(toy, 3, 5)
    step = 0.02
    for column in range(toy.encoder.width):
        shift = np.zeros(toy.encoder.width, np.float32)
        shift[column] = step
        for d in range(3):
            ends = [volumes(toy, x + s, z[d : d + 1], 1) for s in (shift, -shift)]
            slope = (ends[0] - ends[1]) / (2 * step)
            assert np.allclose(found.slopes[:, d, :3, column], slope, atol=2e-3, rtol=1e-2)
    assert np.allclose(found.slopes[:, :, 3], found.slopes[:, :, :3].sum(axis=2), atol=1e-5)


def test_the_shipped_generator_agrees_with_finite_differences(ixi) -> None:
    person = ixi.encoder.default_person()
    found = saliency.gradients(ixi, person, draws=2, seed=1, resolution=2)
    x = ixi.encoder.encode(ixi.schema.validate(pd.DataFrame([person]))).x
    z = latent_draws(ixi, 2, 1)
    for column in (0, 1, ixi.encoder.width - 1):
        shift = np.zeros(ixi.encoder.width, np.float32)
        shift[column] = 0.05
        for d in range(2):
            ends = [volumes(ixi, x + s, z[d : d + 1], 2) for s in (shift, -shift)]
            slope = (ends[0] - ends[1])[0] / 0.1
            got = found.slopes[0, d, :3, column]
            assert np.allclose(got, slope, atol=0.25 + 0.12 * np.abs(slope).max())


def test_every_second_voxel_gives_nearly_the_gradients_of_tissue_volumes(ixi) -> None:
    """Distance over all features, as a share of the exact gradient's length; not the tenths of a per cent of sums."""
    person = ixi.encoder.default_person()
    exact, fast = (
        saliency.summarise(ixi, saliency.gradients(ixi, person, draws=2, resolution=r)) for r in (1, 2)
    )
    for measure, most in {"wm": 0.05, "gm": 0.05, "csf": 0.15}.items():
        one, two = (
            t[t["measure"] == measure].set_index("column")["per_sd_ml"].sort_index() for t in (exact, fast)
        )
        off = float(np.linalg.norm(two - one) / np.linalg.norm(one))
        assert 0.001 < off < most, (measure, off)


def test_the_voxel_map_sums_to_the_gradient_of_the_volumes(toy, ixi) -> None:
    person = toy.encoder.default_person()
    change = saliency.voxel_map(toy, person, "age", seed=2)
    gradient = saliency.gradients(toy, person, draws=1, seed=2).slopes[0, 0, :3, 0]
    assert np.allclose(change.sum(axis=(1, 2, 3)) * grid.VOXEL_ML, gradient, rtol=1e-2)
    with pytest.raises(TableError, match=r"no column .ages.*age"):
        saliency.voxel_map(toy, person, "ages")
    real = saliency.voxel_map(ixi, ixi.encoder.default_person(), ixi.encoder.columns[0])
    assert real.shape == (3, *grid.SHAPE)
    assert np.isfinite(real).all() and np.abs(real).max() > 1e-3


def test_a_mean_map_is_the_mean_of_the_maps_of_people_and_draws(toy, people) -> None:
    told: list[tuple[int, int]] = []
    found = saliency.mean_map(
        toy, people.iloc[:3], "age", draws=2, seed=2, progress=lambda done, total: told.append((done, total))
    )
    assert (found.of, found.draws, found.seed) == (3, 2, 2) and told[-1] == (6, 6) and len(told) == 6
    assert list(found.natural.index) == list(people.index[:3])
    z = latent_draws(toy, 2, 2)
    x = torch.from_numpy(encode(toy, people.iloc[:3]).x)
    shift = torch.zeros(1, x.shape[1])
    place = toy.encoder.columns.index("age")
    shift[0, place] = saliency.STEP_SD * float(toy.encoder.column_sd()[place])
    with torch.inference_mode():
        ends = [
            torch.stack(
                [toy.model.on_grid(toy.model(y[None] + s, one[None]))[0, :3] for y in x for one in z]
            ).mean(dim=0)
            for s in (shift, -shift)
        ]
    assert np.allclose(found.change, (ends[0] - ends[1]).numpy() / (2 * saliency.STEP_SD), atol=1e-5)
    assert np.allclose(found.anatomy, (ends[0] + ends[1]).numpy() / 2, atol=1e-5)
    one = saliency.mean_map(toy, people.iloc[:1], "age", seed=2)
    person = {k: v for k, v in people.iloc[0].items()}
    assert np.allclose(one.change, saliency.voxel_map(toy, person, "age", seed=2), atol=1e-6)


def test_a_mean_map_is_of_so_many_people_at_most_and_says_so(toy, people) -> None:
    assert saliency.averaged(50, 4) == ([n * 50 // 32 for n in range(32)], 1)
    assert saliency.averaged(14, 4) == (list(range(14)), 2)
    words = {(50, 1): "mean of 32 of 50 people, 1 draw each", (14, 4): "mean of 14 people, 2 of 4 draws each"}
    words |= {(3, 2): "mean of 3 people, 2 draws each", (1, 4): "mean of 4 draws of one person"}
    assert {k: saliency.averaged_words(*k) for k in words} == words
    some = saliency.mean_map(toy, people.iloc[:5], "age", draws=3, most=2)
    assert list(some.natural.index) == [people.index[0], people.index[2]] and (some.of, some.draws) == (5, 1)
    with pytest.raises(TableError, match="at least one person"):
        saliency.mean_map(toy, people.iloc[:0], "age")
    with pytest.raises(TableError, match="no column"):
        saliency.mean_map(toy, people.iloc[:1], "ages")


def test_the_cost_does_not_depend_on_the_number_of_features(toy, people) -> None:
    toy.model.passes = 0
    told: list[tuple[int, int]] = []
    saliency.gradients(toy, people, draws=2, batch=16, progress=lambda *done: told.append(done))
    assert toy.model.passes == 3  # 48 people × draws in batches of 16, one forward pass each
    assert told == [(16, 48), (32, 48), (48, 48)]


def test_natural_units_are_slopes_divided_by_the_training_sd(toy, people) -> None:
    found = saliency.gradients(toy, people, draws=2)
    table = saliency.summarise(toy, found)
    row = table[(table["measure"] == "gm") & (table["column"] == "age")].iloc[0]
    sd = toy.encoder.numeric["age"].sd
    assert row["per_unit_ml"] == pytest.approx(found.slopes[:, :, 1, 0].mean() / sd, rel=1e-5)
    assert row["per_unit_low_ml"] < row["per_unit_ml"] < row["per_unit_high_ml"]
    assert row["units"] == "years"
    assert table.loc[table["kind"] != "numeric", "per_unit_ml"].isna().all()
    for _, part in table.groupby("measure"):
        size = part["per_sd_ml"].abs().to_numpy()
        assert (np.diff(size) <= 0).all() and list(part["rank"]) == list(range(1, len(part) + 1))


def test_the_bootstrap_repeats_and_covers(toy, people) -> None:
    found = saliency.gradients(toy, people, draws=2)
    one, two = (saliency.summarise(toy, found, seed=4) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert not saliency.summarise(toy, found, seed=5)["low_ml"].equals(one["low_ml"])
    assert (one["low_ml"] <= one["per_sd_ml"]).all() and (one["per_sd_ml"] <= one["high_ml"]).all()
    values = np.random.default_rng(0).normal(3, 1, (400, 2))
    low, high = saliency.bootstrap_interval(values)
    assert np.allclose(high - low, 2 * 1.96 / 20, rtol=0.15)


def test_one_person_has_a_spread_over_draws_and_no_interval(toy) -> None:
    table = saliency.summarise(toy, saliency.gradients(toy, toy.encoder.default_person(), draws=3))
    assert table["low_ml"].isna().all() and (table["sd_draws_ml"] > 0).all()
    assert saliency.band_name(table) == "spread over latent draws, ±1 SD"
    shown = saliency.to_show(table, None, "csf", 4)
    assert len(shown) == 4 and set(shown["unit"]) == {"mL per SD"}
    assert np.allclose(
        shown["high_ml"] - shown["low_ml"], 2 * table["sd_draws_ml"][table["measure"] == "csf"][:4]
    )


def test_filters_choose_the_subgroup(toy, people) -> None:
    found = saliency.gradients(toy, people, draws=1)
    keep = ((people["sex"] == "F") & people["age"].between(30, 60)).to_numpy()
    where = {"sex": ["F"], "age": (30.0, 60.0)}
    assert np.array_equal(saliency.matching(toy, found.natural, where), keep)
    table = saliency.summarise(toy, found, where=where)
    assert (table["people"] == keep.sum()).all()
    row = table[(table["measure"] == "wm") & (table["column"] == "height")].iloc[0]
    column = found.columns.index("height")
    assert row["per_sd_ml"] == pytest.approx(float(found.slopes[keep][:, 0, 0, column].mean()), rel=1e-5)
    with pytest.raises(TableError, match="nobody is in this subgroup"):
        saliency.summarise(toy, found, where={"age": (1.0, 2.0)})
    with pytest.raises(TableError, match="no such level"):
        saliency.matching(toy, found.natural, {"sex": ["X"]})
    with pytest.raises(TableError, match="not a range"):
        saliency.matching(toy, found.natural, {"age": (3.0, 2.0)})
    with pytest.raises(TableError, match="unknown feature 'shoe'"):
        saliency.matching(toy, found.natural, {"shoe": (3.0, 4.0)})


def test_contrasts_are_differences_between_whole_levels(toy, people) -> None:
    table = saliency.contrasts(toy, people, list(toy.schema.names), draws=2, seed=3)
    assert "age" not in set(table["feature"])
    mine = table[(table["measure"] == "gm") & (table["feature"] == "smoker")].iloc[0]
    assert (mine["from_level"], mine["to_level"], mine["label"]) == ("no", "yes", "Smoker: yes − no")
    z = latent_draws(toy, 2, 3)
    both = []
    for level in ("no", "yes"):
        x = toy.encoder.encode(toy.schema.validate(people.assign(smoker=level))).x
        both.append(np.mean([volumes(toy, x, z[d : d + 1], 1)[:, 1] for d in range(2)]))
    assert mine["contrast_ml"] == pytest.approx(both[1] - both[0], abs=1e-3)
    ordinal = table[table["feature"] == "schooling"].iloc[0]
    assert (ordinal["from_level"], ordinal["to_level"]) == ("a", "c")
    usual = toy.encoder.levels["marital_status"].mode
    nominal = table[(table["feature"] == "marital_status") & (table["measure"] == "wm")]
    assert set(nominal["from_level"]) == {usual} and len(nominal) == 2
    counts = toy.encoder.levels["marital_status"].counts
    second = sorted(counts, key=lambda k: -counts[k])[1]
    found = saliency.comparisons(toy, [f"marital_status={usual}", "age"])
    assert found == [("marital_status", second, usual)]


def test_natural_units_show_gradients_and_contrasts_apart(toy, people) -> None:
    whole = saliency.summarise(toy, saliency.gradients(toy, people, draws=1))
    top = whole[whole["measure"] == "wm"].head(12)
    shown = saliency.to_show(whole, saliency.contrasts(toy, people, list(top["column"])), "wm", 12)
    units = dict(zip(shown["column"], shown["unit"], strict=True))
    assert (units["age"], units["height"], units["sex"]) == ("mL per year", "mL per cm", "mL (contrast)")
    assert "Sex: female − male" in set(shown["label"])
    assert shown.loc[shown["unit"] == "mL (contrast)", "is_contrast"].all()
    whole = whole[whole["measure"] == "wm"]
    columns = list(whole["column"])
    every = saliency.to_show(whole, saliency.contrasts(toy, people, columns), "wm", len(columns))
    pairs = [label.partition(": ") for label in every.loc[every["is_contrast"], "label"]]
    assert len({(name, frozenset(levels.split(" − "))) for name, _, levels in pairs}) == len(pairs)
    levels = len(toy.encoder.levels["marital_status"].counts)
    assert sum(name.startswith("Marital") for name, *_ in pairs) == levels - 1, "each pair once"


def test_a_unit_beyond_the_spread_of_a_feature_is_divided(toy, people) -> None:
    whole = saliency.summarise(toy, saliency.gradients(toy, people, draws=1))
    narrow = whole.assign(sd=whole["sd"].where(whole["column"] != "height", 0.026))
    contrasts = saliency.contrasts(toy, people, ["sex"])
    columns = ["value_ml", "low_ml", "high_ml"]
    usual, fine = (
        saliency.to_show(t, contrasts, "wm", 12).set_index("column").loc["height"] for t in (whole, narrow)
    )
    assert (usual["unit"], fine["unit"]) == ("mL per cm", "mL per 0.01 cm")
    per_sd = whole[(whole["measure"] == "wm") & (whole["column"] == "height")].iloc[0]
    assert fine["value_ml"] == pytest.approx(per_sd["per_sd_ml"] / 0.026 * 0.01)
    scale = 0.01 / 0.026 * per_sd["sd"]
    assert np.allclose(fine[columns].astype(float), usual[columns].astype(float) * scale)


@pytest.mark.parametrize(
    ("units", "one"),
    [
        ("years", "year"),
        ("people a week", "person a week"),
        ("pack-years", "pack-year"),
        ("cigarettes", "cigarette"),
        ("countries", "country"),
        ("calories", "calorie"),
        ("glasses", "glass"),
        ("ms", "ms"),
        ("mm/s", "mm/s"),
        ("Celsius", "Celsius"),
        ("%", "%"),
        ("", ""),
    ],
)
def test_units_are_said_of_one(units, one) -> None:
    assert singular(units) == one


def test_steps_are_round_and_no_more_than_the_spread() -> None:
    assert [natural_step(sd) for sd in (12.0, 0.5, 0.43, 0.1, 0.088, 0.001)] == [1, 1, 0.1, 0.1, 0.01, 0.001]
    assert per_step("Vstm capacity", "items", 0.1) == "mL per 0.1 items"
    assert per_step("Cigarettes per day", "cigarettes", 1.0) == "mL per 1 more"
    assert per_step("Score", "", 1.0) == "mL per unit"


def test_people_with_flagged_values_are_counted_and_named(toy, people) -> None:
    table = people.head(6).copy()
    assert saliency.flag_words(toy, saliency.gradients(toy, table, draws=1)) == ""
    table["height"] = [np.nan, 300.0, 2000.0, *table["height"].iloc[3:]]
    table["age"] = [np.nan, 30.0, 40.0, 50.0, 95.0, 60.0]
    found = saliency.gradients(toy, table, draws=1)
    assert set(saliency.summarise(toy, found)["flagged_people"]) == {4}
    words = saliency.flag_words(toy, found)
    assert words.startswith(
        "4 of 6 people have values that were imputed, out of the training range or rare: "
    )
    assert words.endswith("Height (3), Age (2).")
    some = {"age": (35.0, 55.0)}  # whose unknown age is filled in as the training people's median
    kept = saliency.matching(toy, found.natural, some)
    assert set(saliency.summarise(toy, found, where=some)["flagged_people"]) == {2} and kept.sum() == 3
    assert saliency.flag_words(toy, found, some).startswith("2 of 3 people")


def test_further_measures_can_be_added(toy, people) -> None:
    def halves(maps: torch.Tensor, resolution: int) -> list[torch.Tensor]:
        middle = maps.shape[2] // 2
        return [volumes_ml(part, resolution)[:, 1] for part in (maps[:, :, :middle], maps[:, :, middle:])]

    regional = saliency.Measures(("gm_left", "gm_right"), halves)
    found = saliency.gradients(toy, people, draws=1, measures=(saliency.TISSUE_VOLUMES, regional))
    assert found.measures == ("wm", "gm", "csf", "gm_left", "gm_right", TOTAL)
    assert np.allclose(found.slopes[:, :, 3] + found.slopes[:, :, 4], found.slopes[:, :, 1], atol=1e-4)


def test_people_are_made_from_statistics(toy) -> None:
    typical = synthetic_people.typical_people(toy)
    assert len(typical) == 14 and set(typical["sex"]) == {"M", "F"}
    row: dict[str, Any] = typical.iloc[2].to_dict()
    assert row["height"] == toy.regressions.predict(row["age"], row["sex"])["height"]
    drawn = synthetic_people.varied_people(toy, 200, seed=2)
    pd.testing.assert_frame_equal(drawn, synthetic_people.varied_people(toy, 200, seed=2))
    stats = toy.encoder.numeric["height"]
    assert drawn["height"].between(stats.minimum, stats.maximum).all()
    assert drawn["height"].std() == pytest.approx(stats.sd, rel=0.25)
    toy.schema.validate(drawn)
    with pytest.raises(TableError, match="unknown level of sex"):
        synthetic_people.typical_people(toy, sexes=["X"])


def test_unusable_settings_are_refused(toy) -> None:
    person = toy.encoder.default_person()
    with pytest.raises(CSegSynthError, match="does not work at resolution 4"):
        saliency.gradients(toy, person, resolution=4)
    with pytest.raises(CSegSynthError, match="unusable number of draws"):
        saliency.gradients(toy, person, draws=0)
    with pytest.raises(CSegSynthError, match="unusable seed"):
        saliency.gradients(replace(toy), person, seed=-1)
