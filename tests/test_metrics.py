"""Metrics against hand-computed values, intervals that cover, and tests between methods."""

import numpy as np
import pytest
import torch

from csegsynth_core import metrics
from train import baselines
from train.images import mean_ssim, mmd_rbf


def test_hand_computed():
    predicted, true = np.array([90.0, 210.0, 300.0]), np.array([100.0, 200.0, 300.0])
    assert metrics.mape(predicted, true) == pytest.approx(5.0)
    assert metrics.mae(predicted, true) == pytest.approx(20 / 3)
    assert metrics.r2(predicted, true) == pytest.approx(1 - 200 / 20000)
    assert metrics.spearman(predicted, true) == metrics.kendall(predicted, true) == pytest.approx(1.0)
    assert np.isnan(metrics.pearson(np.ones(3), true)) and np.isnan(metrics.r2(predicted, np.ones(3)))


def test_scores_have_intervals_and_nothing_that_json_lacks(rng):
    true = rng.normal(500, 50, 40)
    found = metrics.scored(true + rng.normal(0, 25, 40), true)
    assert list(found) == list(metrics.METRICS)
    for cell in found.values():
        assert cell["low"] <= cell["value"] <= cell["high"]
    assert found["pearson"]["p"] < 1e-6 and "p" not in found["mape"]
    constant = metrics.scored(np.full(40, 500.0), true)
    assert constant["pearson"] == {"value": None, "low": None, "high": None, "p": None}
    with pytest.raises(ValueError, match="3 or more, got 2 and 2"):
        metrics.scored(true[:2], true[:2])


def test_intervals_cover_the_truth(rng):
    """Of 30 samples, about 95 % have an interval around the population's error (3.99 mL for normal noise of 5)."""
    expected = 5 * np.sqrt(2 / np.pi)
    inside = 0
    for _ in range(30):
        true = rng.normal(500, 50, 40)
        cell = metrics.scored(true + rng.normal(0, 5, 40), true, resamples=80)["mae_ml"]
        inside += cell["low"] <= expected <= cell["high"]
    assert inside >= 24


def test_paired_sees_who_is_better(rng):
    true = rng.normal(500, 50, 40)
    good, bad = true + rng.normal(0, 5, 40), true + rng.normal(0, 25, 40)
    found = metrics.paired(good, bad, true)
    assert found["high"] < 0 and found["p"] < 0.001
    assert metrics.paired(good, good, true) == {"difference_ml": 0.0, "low": 0.0, "high": 0.0, "p": None}


def test_regressions_recover_what_is_there_and_travel(rng):
    x = rng.normal(size=(150, 5))
    ml = np.stack([500 + 30 * x[:, 0], 600 - 40 * x[:, 1] + 10 * x[:, 2], 250 + 20 * x[:, 0] ** 2], axis=1)
    ml += rng.normal(0, 3, ml.shape)
    fitted = baselines.fit(x[:120], ml[:120])
    again = baselines.from_tensors(baselines.to_tensors(fitted))
    errors = {}
    for method in baselines.METHODS:
        found = baselines.predict(method, again[method], x[120:])
        assert np.allclose(found, baselines.predict(method, fitted[method], x[120:]), atol=0.01)
        errors[method] = np.abs(found - ml[120:]).mean(axis=0)
        assert errors[method][0] < 10 and errors[method][1] < 12, method
    assert errors["polynomial"][2] < 5 < errors["linear"][2]  # only powers see the parabola
    with pytest.raises(KeyError, match="expected one of linear"):
        baselines.predict("magic", {}, x)


def test_image_metrics_know_alike_from_different(rng):
    one, two = (torch.from_numpy(rng.normal(size=(40, 30))) for _ in range(2))
    assert abs(mmd_rbf(one, two)) < 0.02 < 0.1 < mmd_rbf(one, two + 1.0)
    same = np.repeat(rng.random((1, 9, 9, 9)), 4, axis=0).astype(np.float32)
    assert mean_ssim(same, 10) == pytest.approx(1.0)
    assert mean_ssim(rng.random((4, 9, 9, 9)).astype(np.float32), 10) < 0.5
