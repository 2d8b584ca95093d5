"""The linear-Gaussian model: its equation by hand, what fitting recovers, and its life in a pack."""

import math

import numpy as np
import pytest
import torch

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Schema
from csegsynth_core.models.family import extent
from csegsynth_core.models.linear_gaussian import LinearGaussian, inside_blocks
from csegsynth_core.volumes import volumes_ml
from tests.toy import make_cohort
from train import linear_gaussian

SIZE = extent(grid.BOX)


def test_one_voxel_by_hand():
    """Mean log-ratio ln 2 for WM, one constant component of GM, score 3·y + 1 + 0.5·z."""
    inside = np.zeros(SIZE, bool)
    inside[10:30, 20:40, 10:30] = True
    mean = torch.zeros(3, *SIZE)
    mean[0] = math.log(2.0)
    components = torch.zeros(1, 3, *(s // 2 for s in SIZE))
    components[0, 1] = 0.1
    one = torch.ones(1, 1)
    model = LinearGaussian.of(mean, components, 3 * one, one[0], 0.5 * one, inside)
    assert model.scores(2 * one, 4 * one).item() == pytest.approx(3 * 2 + 1 + 0.5 * 4)
    x = model(2 * one, 4 * one)[0]
    weights = np.array([2.0, math.exp(0.9), 1.0, 1.0])  # WM, GM, CSF, background
    assert x[:, 20, 30, 20].numpy() == pytest.approx(weights / weights.sum(), rel=1e-3)
    assert float(x[3, 50, 50, 50]) > 0.999  # outside
    assert inside_blocks(inside).sum() * 8 == inside.sum()
    half = model(2 * one, 4 * one, 2, (0, 1, 0))[0]
    assert torch.equal(half, x[:, 0::2, 1::2, 0::2])


def test_regression_and_residual_are_recovered(rng):
    x = rng.normal(size=(4000, 3))
    slope = np.array([[0.6, 0.0, 0.0], [0.0, 0.3, -0.3]])
    scores = x @ slope.T + rng.normal(size=(4000, 2)) * [0.8, 0.5]
    found, intercept, root, _ = linear_gaussian.regress(x, scores, np.array([1.0, 1.0]))
    assert np.allclose(found, slope, atol=0.1) and np.allclose(intercept, 0, atol=0.1)
    assert np.allclose(root @ root.T, np.diag([0.64, 0.25]), atol=0.08)


def test_log_ratios_of_certain_voxels():
    maps = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1, 1)
    expected = math.log(1.01 / 0.01)
    assert linear_gaussian.log_ratios(maps).flatten().tolist() == pytest.approx(
        [expected, 0.0, 0.0], abs=1e-4
    )


def test_fitted_to_people_it_follows_their_features(tmp_path, monkeypatch):
    monkeypatch.setattr(linear_gaussian, "ROUNDS", 2)
    cohort = Cohort.open(make_cohort(tmp_path / "toy", people=14))
    schema = Schema.from_participants_json(cohort.participants_json, cohort.features)
    known = cohort.features[cohort.features.notna().any(axis=1)]
    people = schema.validate(known.reset_index(), source="toy")
    encoder = Encoder.fit(schema, people)
    x = encoder.encode(people).x.astype(float)
    model, about = linear_gaussian.fit(cohort, people.ids, x, components=5, progress=False)
    assert about["components"] == 5 and about["variance"] > 0.8
    true = cohort.volumes_ml.loc[people.ids].to_numpy()
    with torch.inference_mode():
        y = torch.from_numpy(x).float()
        found = torch.cat([volumes_ml(model(y[[k]], model.draw(1, 0)))[:, :3] for k in range(len(y))]).numpy()
    assert np.allclose(found.mean(axis=0), true.mean(axis=0), rtol=0.05)
    for k in range(3):
        assert np.corrcoef(found[:, k], true[:, k])[0, 1] > 0.8
