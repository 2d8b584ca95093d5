"""Regression lines, their confidence interval, and the spread over draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.scenarios import MEASURES, VOLUMES
from csegsynth_core.substructures import REGIONS
from csegsynth_core.uncertainty import (
    LINE_AGES,
    check_ages,
    draw_spread,
    fitted_lines,
    paired_spread,
    regression_line,
    spread_name,
    trajectory,
)


def test_a_line_has_a_step_where_something_changes() -> None:
    ages = np.arange(20.0, 81.0, 4)
    cubic = 600 - 0.002 * (ages - 30) ** 3
    values = cubic - 25 * (ages >= 51) + 7 * (ages >= 63)
    breaks = (63.0, 51.0, 50.0, 20.0, 81.0)  # 50 and 51 part the same two ages; the ends part none
    line = regression_line(ages, values, breaks=breaks)
    assert np.allclose(line["fit"], values) and np.allclose(line["low"], line["high"])
    near = regression_line(ages, values, at=[50.9, 51.0], breaks=breaks)["fit"].tolist()
    assert near[1] - near[0] == pytest.approx(-25, abs=0.5)
    assert np.abs(regression_line(ages, values)["fit"] - values).max() > 4
    plain = regression_line(ages, values, breaks=(10.0, 20.0, 80.5))
    pd.testing.assert_frame_equal(plain, regression_line(ages, values))
    check_ages(ages[:7], breaks)
    with pytest.raises(
        CSegSynthError, match=r"at least 6 different ages: 5, and one for each change.*5.*smaller step"
    ):
        check_ages(np.arange(40.0, 60.0, 4), breaks)
    volumes = pd.DataFrame({"scenario": "ideal", "age": ages, "draw": 0, "trained": True, "gm": values})
    assert np.allclose(trajectory(volumes, ["gm"], breaks)["fit"], values)
    curve = fitted_lines(volumes, ["gm"], breaks)
    assert curve["fit"].diff().min() < -20


def test_the_interval_is_the_textbook_one(rng) -> None:
    ages = np.arange(20.0, 81.0, 3)
    values = 600 - 0.02 * (ages - 20) ** 2 + rng.normal(0, 5, len(ages))
    line = regression_line(ages, values, at=[30.0, 77.0])
    t = (ages - 50) / 30
    design = np.vander(t, 4)
    beta, *_ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(ages) - 4
    variance = ((values - design @ beta) ** 2).sum() / freedom
    for _, row in line.iterrows():
        x = np.vander([(row["age"] - 50) / 30], 4)[0]
        half = stats.t.ppf(0.975, freedom) * np.sqrt(variance * x @ np.linalg.inv(design.T @ design) @ x)
        assert row["fit"] == pytest.approx(x @ beta)
        assert row["low"] == pytest.approx(x @ beta - half)
        assert row["high"] == pytest.approx(x @ beta + half)


def test_the_interval_of_the_mean_covers_the_mean_95_times_in_100(rng) -> None:
    ages = np.linspace(20, 80, 30)
    truth = 500 + 0.001 * (ages - 50) ** 3
    hits = []
    for _ in range(300):
        line = regression_line(ages, truth + rng.normal(0, 10, len(ages)), at=[40.0])
        hits.append(line["low"][0] <= 500 - 1 <= line["high"][0])
    assert 0.91 <= np.mean(hits) <= 0.985


def test_the_line_is_cubic_whatever_the_ages_and_too_few_are_refused() -> None:
    ages = np.array([20.0, 30, 40, 50, 60])
    line = regression_line(ages, ages**3, at=[25.0])
    assert line["fit"].item() == pytest.approx(25.0**3)
    for few in ([48.0, 49.0], [20.0, 30, 40], [20.0, 30, 40, 50], [20.0, 20, 30, 40, 50]):
        with pytest.raises(CSegSynthError, match=r"at least 5 different ages.*smaller step or a wider range"):
            regression_line(few, few)
    with pytest.raises(CSegSynthError, match="finite"):
        regression_line([20, 30, 40, 50, 60], [1.0, np.nan, 2.0, 3.0, 4.0])


def _volumes(draws: int) -> pd.DataFrame:
    ages = np.arange(20.0, 61.0, 5)
    rows = [
        {"scenario": s, "age": a, "draw": d, "trained": a < 50}
        | {v: 100.0 * (k + 1) + a + d for k, v in enumerate(VOLUMES)}
        for s in ("ideal", "regressed")
        for d in range(draws)
        for a in ages
    ]
    return pd.DataFrame(rows)


def test_spread_is_of_draws_and_is_named_so() -> None:
    spread = draw_spread(_volumes(11))
    one = spread.query("scenario == 'ideal' and volume == 'gm' and age == 30").iloc[0]
    assert (one["low"], one["mean"], one["high"], one["draws"]) == (230.5, 235.0, 239.5, 11)
    assert spread_name(11) == "spread over 11 latent draws (5–95 %)"


def test_the_spread_of_a_difference_is_of_the_same_draws(rng) -> None:
    base = rng.normal(500, 40, (10, 3 + len(REGIONS)))
    person = base + rng.normal(7, 1, base.shape)
    found = paired_spread(person, base)
    assert found.draws == 10 and list(found.person) == list(found.change) == list(MEASURES)
    assert found.person["wm"] == tuple(np.percentile(person[:, 0], (5, 95)))
    assert found.change_mean["csf"] == pytest.approx((person[:, 2] - base[:, 2]).mean())
    assert found.person_mean["wm+gm+csf"] == pytest.approx(person[:, :3].sum(axis=1).mean())
    assert found.change["csf"] == tuple(np.percentile(person[:, 2] - base[:, 2], (5, 95)))
    total = (person - base)[:, :3].sum(axis=1)
    assert found.change["wm+gm+csf"] == pytest.approx(np.percentile(total, (5, 95)))
    low, high = found.change[REGIONS[-1].name]
    assert 0 < high - low < 5 < np.ptp(found.person[REGIONS[-1].name])  # what draws have in common cancels
    assert paired_spread(person, person).change["gm"] == (0.0, 0.0)
    with pytest.raises(CSegSynthError, match="same draws"):
        paired_spread(person, base[:5])


def test_a_trajectory_has_everything_that_a_figure_draws() -> None:
    frame = trajectory(_volumes(3))
    assert not frame.duplicated(["scenario", "volume", "age"]).any()
    assert len(frame) == 2 * 4 * 9
    assert not frame.isna().any().any()
    one = frame.query("scenario == 'regressed' and volume == 'wm' and age == 40").iloc[0]
    assert one["value"] == 140.0
    assert one["fit"] == pytest.approx(140.0)
    assert one["ci_low"] <= one["fit"] <= one["ci_high"]
    assert trajectory(_volumes(1))[["draws_low", "draws_mean", "draws_high"]].isna().all().all()


def test_lines_are_drawn_finely_and_agree_with_the_table() -> None:
    volumes = _volumes(1)
    volumes["gm"] = 600 - 0.001 * (volumes["age"] - 20) ** 3 + np.sin(volumes["age"])
    curves, table = fitted_lines(volumes, ["gm"]), trajectory(volumes, ["gm"])
    assert set(curves["volume"]) == set(table["volume"]) == {"gm"}
    one = curves[curves["scenario"] == "ideal"]
    assert len(one) == LINE_AGES
    assert one["age"].diff().dropna().max() < 0.4
    for _, row in table[table["scenario"] == "ideal"].iterrows():
        near = one.iloc[(one["age"] - row["age"]).abs().argmin()]
        assert near["age"] == pytest.approx(row["age"])
        assert near[["fit", "ci_low", "ci_high"]].tolist() == pytest.approx(
            row[["fit", "ci_low", "ci_high"]].tolist()
        )
