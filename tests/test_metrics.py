"""Metrics against hand-computed values, intervals that cover, and tests between methods."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from statsmodels.stats.multitest import multipletests

from csegsynth_core import grid, measured, metrics
from csegsynth_core.errors import PackError
from train import artefacts, baselines, images, report
from train.extractors import PLANES, Features, load_resnet
from train.memorisation import Memory, distances


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


def test_regressions_of_regions_travel_beside_those_of_tissues(rng):
    x = rng.normal(size=(40, 3))
    ml = np.stack([20 + 4 * x[:, 0], 600 - 30 * x[:, 1], np.full(40, 5.0), 60 + x[:, 2]], axis=1)
    tissues, regions = baselines.fit(x, ml[:, :3]), baselines.fit_regions(x, ml)
    whole = baselines.to_tensors(tissues) | baselines.to_tensors(regions, baselines.REGIONS_KIND)
    assert set(baselines.from_tensors(whole)) == set(baselines.METHODS)
    found = baselines.from_tensors(whole, baselines.REGIONS_KIND)
    assert tuple(found) == (*baselines.METHODS, baselines.MEAN) == measured.REGRESSIONS
    for method, coefficients in found.items():
        predicted = baselines.predict(method, coefficients, x)
        assert predicted.shape == (40, 4) and np.allclose(predicted[:, 2], 5.0, atol=0.1), method
    assert np.allclose(baselines.predict("linear", found["linear"], x), ml, atol=1e-3)
    assert np.allclose(baselines.predict(baselines.MEAN, found[baselines.MEAN], x[:2]), ml.mean(axis=0))
    assert baselines.from_tensors(baselines.to_tensors(tissues), baselines.REGIONS_KIND) == {}


def _pair(difference, p):
    return {"difference_ml": difference, "low": difference - 1, "high": difference + 1, "p": p}


def test_holms_correction_is_that_of_statsmodels(rng):
    p = np.round(rng.uniform(0, 0.2, 12), 2)  # with ties
    pairs = pd.DataFrame({"table": "one", "p": p}, index=rng.permutation(12))
    assert measured.corrected(pairs).tolist() == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_tests_of_regions_are_told_with_holms_correction():
    """Of four tests the least p counts four times, the next three times; a test that was not made does not count."""
    found = {
        "n": 30,
        "regions": {
            "csegsynth": {"ventricles": {"mape": {"value": 9.0}}, "deep_gm": {"mape": {"value": 5.0}}},
            "ridge": {"ventricles": {"mape": {"value": 7.0}}, "deep_gm": {"mape": {"value": 6.0}}},
            "c_vae": {"ventricles": {"mape": {"value": 12.0}}, "deep_gm": {"mape": {"value": 6.0}}},
        },
        "paired_regions": {
            "ridge": {"ventricles": _pair(2.0, 0.01), "deep_gm": _pair(-0.4, 0.03)},
            "training_mean": {"ventricles": _pair(-3.0, 0.02), "deep_gm": _pair(0.0, None)},
            "c_vae": {"ventricles": _pair(-2.5, 0.2)},
        },
    }
    pairs = measured.paired(found, "paired_regions")
    assert set(pairs["table"]) == {"paired_regions"} and measured.paired(found).empty
    holm = measured.corrected(pairs).tolist()
    assert (
        holm[:3] == pytest.approx([0.04, 0.06, 0.06]) and np.isnan(holm[3]) and holm[4] == pytest.approx(0.2)
    )
    said = measured.regions_said(found)
    assert said == (
        "A regression has significantly smaller errors than CSegSynth (MAE, paired, p < 0.05) in 1 of 2 regions "
        "(Ridge regression in Ventricles), after Holm's correction for 4 tests in 1 (Ridge regression in Ventricles)."
    )
    counted = measured.regions_counted(found)
    assert counted.columns.tolist() == [
        *("better", "better, p < 0.05", "better, after Holm", "worse", "worse, p < 0.05", "worse, after Holm")
    ]
    assert counted.T.to_dict("list") == {
        "Ridge regression": [1, 1, 1, 1, 1, 0], "Mean of training people": [0, 0, 0, 1, 1, 0],
        "C-VAE": [0, 0, 0, 1, 0, 0],
    }  # fmt: skip
    ranks = "Measured on 30 people, CSegSynth is best in 2 of 2 regions (MAPE, 2 generative models)."
    assert measured.summary(found) == [ranks, said] and "paired_regions" not in measured.others(found)
    milder = {
        **found,
        "paired_regions": {"ridge": {"ventricles": _pair(2.0, 0.2), "deep_gm": _pair(-0.4, 0.03)}},
    }
    assert measured.regions_said(milder) == (
        "No regression has significantly smaller errors than CSegSynth (MAE, paired, p < 0.05) in any of 2 regions."
    )
    from train.pack import _regions_by_method

    assert "| Mean of training people | 0 | 0 | 0 | 1 | 1 | 0 |" in _regions_by_method(found)
    shown = report.regions_compared(found)
    assert shown.loc["Ridge regression"].to_dict() == {"Ventricles": "+2.00**", "Deep GM": "-0.40*"}
    assert shown.loc["C-VAE"].to_dict() == {"Ventricles": "-2.50", "Deep GM": "–"}
    assert report.regions_scored(found).loc["CSegSynth"].to_dict() == {"Ventricles": "9.0", "Deep GM": "5.0"}
    older = {"n": 30, "regions": {"csegsynth": found["regions"]["csegsynth"]}}
    assert measured.regions_said(older) == "" and report.regions_compared(older).empty
    assert measured.regions_counted(older).empty


def test_resamples_are_scored_as_one_by_one(rng):
    true, predicted = rng.normal(500, 50, (2, 6, 20)).round(-1)  # with ties
    for name, measure in metrics.METRICS.items():
        one_by_one = [measure(p, t) for p, t in zip(predicted, true, strict=True)]
        assert np.allclose(metrics._ROWWISE[name](predicted, true), one_by_one), name


def test_ratio_of_errors():
    true = np.array([100.0, 200.0, 300.0])
    found = metrics.ratio_of_errors(true + np.array([3, -6, 3]), true + np.array([1, 1, -4]), true)
    assert found["value"] == 2.0 and found["low"] <= 2.0 <= found["high"]


def noise(rng, people, shift=0.0, shape=(12, 12, 12)):
    return (np.clip(rng.normal(0.4 + shift, 0.1, (people, 3, *shape)), 0, 1) * 255).astype(np.uint8)


def test_frechet_distance_of_hand_made_features(rng):
    """One feature: (μ₁ − μ₂)² + (σ₁ − σ₂)²; several: with the root of the product of covariances."""

    def with_root(one, two):  # MONAI's own does not work with SciPy 1.18
        spreads = [np.cov(s.numpy().T) for s in (one, two)]
        root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
        apart = np.square((one.mean(dim=0) - two.mean(dim=0)).numpy()).sum()
        return apart + np.trace(spreads[0] + spreads[1] - 2 * root)

    one, two = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [10.0]])
    assert images.fid(one, two) == pytest.approx((2 - 6) ** 2 + (2**0.5 - 32**0.5) ** 2)
    many, more = (torch.from_numpy(rng.normal(s, 1 + s, (50, 5))) for s in (0.0, 0.4))
    assert images.fid(many, more) == pytest.approx(with_root(many, more), rel=1e-3)
    few = torch.from_numpy(rng.normal(size=(4, 30)))
    assert images.fid(few, few) == pytest.approx(0.0, abs=1e-9)


def test_discrepancies_of_hand_made_brains(rng):
    from monai.metrics import MMDMetric

    one, two = noise(rng, 5), noise(rng, 5, 0.1)
    gram = images.gram_of(np.concatenate([one[:, 0], two[:, 0]]))
    blocks = images._blocks(gram, np.arange(5))
    tensors = [torch.from_numpy(s[:, :1]).float() / 255 for s in (two, one)]
    expected = float(MMDMetric()(*tensors)) / one[0, 0].size
    assert images.mmd_linear(*blocks) == pytest.approx(expected, rel=1e-3)
    tiny = np.array([[[[0]]], [[[255]]]], np.uint8)  # two brains of one voxel: 0 and 1
    assert images.gram_of(tiny).tolist() == [[0, 0], [0, 1]]
    kernel = images.gaussian_kernel(images.gram_of(tiny))
    assert np.allclose(kernel, [[1, np.exp(-1)], [np.exp(-1), 1]])  # the median squared distance is 1


def test_structural_similarity_against_its_definition(rng):
    maps = noise(rng, 3, shape=(9, 8, 7))[:, 0]
    found = images.ssim_of_pairs(maps, np.array([[1, 0], [2, 2]]))
    a, b = maps[1] / 255, maps[0] / 255
    values = []
    for i in (
        0,
        2,
    ):  # windows of 7 voxels, every second place: two along the first axis, one along the others
        x, y = a[i : i + 7, :7, :7], b[i : i + 7, :7, :7]
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        top = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance + 9e-4)
        values.append(top / ((x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var() + y.var() + 9e-4)))
    assert found == pytest.approx([np.mean(values), 1.0], abs=1e-4)
    box = np.zeros((2, *(s.stop - s.start for s in grid.BOX)), np.uint8)
    box[0, 30:50, 40:60, 30:50] = 255
    found = images.ssim_of_pairs(box, np.array([[1, 0]]))
    assert 0.9 < found[0] < 1.0  # most windows of the grid hold background in both
    pairs = images.pairs_of(40, 500)
    assert len(pairs) == len({tuple(p) for p in pairs}) == 500 and np.all(pairs[:, 0] > pairs[:, 1])
    assert len(images.pairs_of(4, 500)) == 6


def test_jackknife_of_a_mean(rng):
    """For a mean the jackknife's standard error is the textbook's."""
    x = rng.normal(size=25)
    keeps = [np.delete(np.arange(25), k) for k in range(25)]
    cell = images.jackknife(lambda rows: float(x[rows].mean()), 25, keeps)
    error = 1.96 * x.std(ddof=1) / 5
    assert (cell["low"], cell["high"]) == (
        pytest.approx(x.mean() - error, abs=1e-5),
        pytest.approx(x.mean() + error, abs=1e-5),
    )


def test_intervals_of_distances_stay_above_nothing(rng):
    """Of a squared distance that is worked out for its root; of a size for the difference with its sign."""
    x = rng.normal(size=25)
    keeps = [np.delete(np.arange(25), k) for k in range(25)]
    error = 1.96 * x.std(ddof=1) / 5
    plain = images.jackknife(lambda rows: float(x[rows].mean()), 25, keeps)
    assert plain["low"] < 0 < plain["high"]
    size = images.jackknife(lambda rows: float(x[rows].mean()), 25, keeps, images.SIZE)
    expected = (abs(x.mean()), 0.0, abs(x.mean()) + error)
    assert (size["value"], size["low"], size["high"]) == pytest.approx(expected, abs=1e-5)
    away = images.jackknife(lambda rows: float(x[rows].mean() - 3), 25, keeps, images.SIZE)
    expected = (3 - x.mean(), 3 - x.mean() - error, 3 - x.mean() + error)
    assert (away["value"], away["low"], away["high"]) == pytest.approx(expected, abs=1e-5)
    squared = images.jackknife(lambda rows: float((3 + x[rows].mean()) ** 2), 25, keeps, images.ROOT)
    expected = ((3 + x.mean()) ** 2, (3 + x.mean() - error) ** 2, (3 + x.mean() + error) ** 2)
    assert (squared["value"], squared["low"], squared["high"]) == pytest.approx(expected, abs=1e-5)
    near = images.jackknife(lambda rows: float(max(0.01 + x[rows].mean(), 0) ** 2), 25, keeps, images.ROOT)
    assert near["low"] == 0.0


def test_every_method_has_the_same_kernel(rng):
    """Its width is that of the real brains, whatever they are compared with."""
    real, near, far = (noise(rng, 4, level) for level in (0.5, 0.5, 0.1))
    kernels = []
    for made in (near, far):
        gram = images.gram_of(np.concatenate([made[:, 0], real[:, 0]]))
        kernels.append(images.gaussian_kernel(gram, len(made)))
    assert np.allclose(kernels[0][4:, 4:], kernels[1][4:, 4:])
    assert np.median(-np.log(kernels[0][4:, 4:][~np.eye(4, dtype=bool)])) == pytest.approx(1.0)


def test_comparison_knows_alike_from_different(rng):
    size = tuple(s.stop - s.start for s in grid.BOX)
    centre = np.zeros((3, *size), np.float32)
    centre[:, 20:60, 20:80, 20:60] = 0.3

    def brains(people, grow):
        return np.stack([images.pack_maps(centre * grow * rng.uniform(0.9, 1.1)) for _ in range(people)])

    features = Features()
    real, like, unlike = (images.describe(brains(4, g), features) for g in (1.0, 1.0, 0.5))
    near, far = images.compare(like, real), images.compare(unlike, real)
    for tissue in ("wm", "gm", "csf"):
        for name in ("mmd", "mmd_rbf", "fid_2d", "fid_3d"):
            assert near[tissue][name]["value"] < far[tissue][name]["value"], (tissue, name)
            assert far[tissue][name]["low"] <= far[tissue][name]["value"] <= far[tissue][name]["high"]
    floor = images.floors([(like, real), (unlike, real)])
    cell = floor["gm"]["fid_3d"]
    assert cell["low"] == near["gm"]["fid_3d"]["value"] and cell["high"] == far["gm"]["fid_3d"]["value"]
    with pytest.raises(ValueError, match="as many generated as real"):
        images.compare(real.some(np.arange(3)), real)


def test_floors_of_halves_are_those_of_all_people(rng):
    """Rescaled floors of halves are what as many with as many of one population score; unscaled ones are too high."""
    people, widths = 24, torch.linspace(1.0, 0.2, 6)

    def some(count):
        by = {"volume": torch.from_numpy(rng.normal(size=(count, 1, 6))) * widths}
        by |= {p: torch.from_numpy(rng.normal(size=(count, 2, 6))) * widths for p in PLANES}
        return images.Described(noise(rng, count, shape=(7, 7, 7)), [by] * 3)

    half, found = people // 2, {name: [] for name in images.BIASED}
    for _ in range(60):
        real, rows = some(people), np.arange(people)
        halves = images.floors([(real.some(rows[:half]), real.some(rows[half:]))], pairs=1)
        scaled = images.rescaled(halves, half, people)
        true = images.floors([(some(people), real)], pairs=1)
        for name in ("mmd", "mmd_rbf", "delta_ssim"):
            assert scaled["gm"][name] == halves["gm"][name]
        for name, rows in found.items():
            rows.append([by["gm"][name]["value"] for by in (halves, scaled, true)])
    for name, rows in found.items():
        raw, mended, truth = np.mean(rows, axis=0)
        assert raw > 1.6 * truth and mended == pytest.approx(truth, rel=0.2), name


def _brains(rng, people, pattern=0.0):
    """Smooth blobs that are alike left and right but for a little, with a pattern of ±`pattern` inside."""
    size = [s.stop - s.start for s in grid.BOX]
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij")
    signs = np.where(sum(np.arange(n).reshape([-1 if a == b else 1 for b in range(3)])
                         for a, n in enumerate(size)) % 2, 1.0, -1.0)  # fmt: skip
    out = []
    for _ in range(people):
        radius = np.sqrt(sum((x / r) ** 2 for x, r in zip(axes, rng.uniform(25, 35, 3), strict=True)))
        blob = 0.3 / (1.0 + np.exp((radius - 1.0) * 20)) * (1.0 + rng.normal(0, 0.02) * (axes[0] > 0))
        out.append(images.pack_maps(np.repeat((blob + pattern * signs * (radius < 1))[None], 3, axis=0)))
    return np.stack(out)


def test_checkerboards_are_seen(rng):
    real, like, checked = (artefacts.energies(_brains(rng, 4, p)) for p in (0.0, 0.0, 0.05))
    near, far = artefacts.spectrum(like, real), artefacts.spectrum(checked, real)
    assert list(near) == [f"{a}_{p}_voxels" for a in "xyz" for p in (2, 4)]
    for axis in "xyz":
        assert 0.3 < near[f"{axis}_2_voxels"]["value"] < 3.0
        assert far[f"{axis}_2_voxels"]["low"] > 10.0 * near[f"{axis}_2_voxels"]["high"]
    for every, expected in ((2, [256.0, 0.0]), (4, [64.0, 64.0])):  # every fourth voxel has both frequencies
        stripes = np.zeros((1, 3, 8, 4, 4), np.uint8)
        stripes[0, 1, ::every] = 255
        assert np.allclose(artefacts.energies(stripes)[0], [expected, [0, 0], [0, 0]], atol=1e-3)


def test_one_sided_brains_are_seen(rng):
    whole = _brains(rng, 5)
    one_sided = whole.copy()
    one_sided[:, 0, :40] = 0  # white matter on the right alone
    found, seen = artefacts.asymmetry(whole), artefacts.asymmetry(one_sided)
    assert list(found) == ["wm", "gm", "csf"] and found["gm"] == seen["gm"]
    assert (
        0.0 < found["wm"]["value"] < 0.05 and found["wm"]["low"] < found["wm"]["value"] < found["wm"]["high"]
    )
    assert seen["wm"]["value"] == 1.0
    mirrored = np.concatenate([whole[:, :, :40], whole[:, :, 39::-1]], axis=2)
    assert artefacts.asymmetry(mirrored)["csf"]["value"] == 0.0


def test_reports_say_what_does_not_beat_the_mean():
    def cell(difference, low, high):
        return {"difference_ml": difference, "low": low, "high": high, "p": 0.5, "beats": high < 0}

    good, poor = cell(-9.0, -12.0, -5.0), cell(-0.7, -4.0, 2.0)
    tissues = ("wm", "gm", "csf")
    found = {
        "beats_training_mean": {
            "csegsynth": dict.fromkeys(tissues, good),
            "c_ldm": dict.fromkeys(tissues, good),
        },
        "volumes": {m: {t: {"r2": {"value": -0.12}} for t in tissues} for m in ("csegsynth", "c_ldm")},
    }
    assert "Every model does" in report.beats_mean(found)
    found["beats_training_mean"]["c_ldm"] = {"wm": good, "gm": good, "csf": poor}
    said = report.beats_mean(found)
    assert "NOT SO: C-LDM in CSF (-0.7 mL [-4.0, +2.0]; R² -0.12)." in said and "CSegSynth" not in said
    assert report.beats_mean({}) == report.floor_said({}) == report.budget_said({}) == ""


def test_reports_say_budgets_and_who_is_calibrated():
    models = {
        "csegsynth": {"steps": 420, "pretraining_steps": 160, "finetuning_steps": 260, "training_minutes": 10.8},
        "c_gan": {"steps": 520, "pretraining_steps": 294, "finetuning_steps": 226, "training_minutes": 10.1,
                  "pretraining_minutes": 5.0, "device": "A card"},
        "linear_gaussian": {"steps": ""},
    }  # fmt: skip
    assert "calibrated" not in report.budget_said({"models": models})
    for minutes, said in ((3.4, "took 3.4 minutes"), ("not recorded", "time: not recorded")):
        models["csegsynth"]["calibration_minutes"] = minutes
        told = report.budget_said({"models": models})
        assert f"CSegSynth alone is calibrated on the training people afterwards ({said};" in told
    models["csegsynth"] |= {"calibration_minutes": 3.4, "training_minutes": 6.5}
    models["c_vae"] = models["c_gan"] | {"training_minutes": 10.9}
    for training, said in (
        (6.5, "9.9 minutes in all, no more than"),
        (7.5, "10.9 minutes in all, MORE than"),
    ):
        models["csegsynth"]["training_minutes"] = training
        told = report.budget_said({"models": models})
        assert f"With them {said} the other networks' training: 10.1 to 10.9)" in told
    del models["c_vae"]
    models["csegsynth"] |= {"calibration_minutes": "not recorded", "training_minutes": 10.8}
    assert report.budgets({"models": models}) == [
        ("CSegSynth", "160 + 260", "10.8", "not recorded"),
        ("C-GAN", "294 + 226", "10.1 (5.0 of pre-training), A card", "–"),
        ("Linear-Gaussian", "n/a", "not recorded", "–"),
    ]


def test_copies_of_training_people_are_found(rng):
    training, kept = noise(rng, 12), noise(rng, 8)
    assert distances(training[:1] * 0, training[:1] * 0 + 255)[0, 0] == pytest.approx(1.0)
    memory = Memory(kept, training)
    memory.add("honest", noise(rng, 8))
    memory.add("copier", np.concatenate([training[:4], noise(rng, 4)]))
    rows = {name: row["brain"] for name, row in memory.rows.items()}
    assert list(rows) == ["real_kept_aside", "real_training", "honest", "copier"]
    assert rows["copier"]["smallest"]["value"] < 0.002
    assert rows["copier"]["close"]["value"] >= 50 > rows["honest"]["close"]["value"]
    assert rows["honest"]["nearest"]["low"] <= rows["honest"]["nearest"]["value"]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pretrained_extractors_are_read_from_files(tmp_path, rng, dimensions):
    from monai.networks.nets import ResNet
    from safetensors.torch import save_file

    model = ResNet(
        "basic",
        [1, 1, 1, 1],
        [64, 128, 256, 512],
        spatial_dims=dimensions,
        n_input_channels=3 if dimensions == 2 else 1,
        feed_forward=False,
        conv1_t_stride=2,
        bias_downsample=False,
    ).eval()
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{k}": v for k, v in model.state_dict().items()}, path)
    size = tuple(s.stop - s.start for s in grid.BOX)
    maps = torch.from_numpy(rng.random((3, *size)).astype(np.float32))
    with torch.inference_mode():
        if dimensions == 2:
            features = Features(slices=path)
            found = features(maps, 1)
            assert found["sagittal"].shape == (40, 512) and found["axial"].shape == (40, 512)
            means = torch.tensor([0.406, 0.456, 0.485])[:, None, None]
            expected = model(maps[1, [4]][None].expand(-1, 3, -1, -1) - means)
            got = found["sagittal"][[2]]
        else:
            features = Features(volumes=path)
            found = features(maps, 1)
            normalised = (maps[1] - maps[1].mean()) / maps[1].std()
            expected, got = model(normalised[None, None]), found["volume"]
            assert found["sagittal"].shape == (40, 112)  # ours
    assert torch.allclose(got, expected, atol=1e-4)
    assert "ResNet-10" in features.names[f"fid_{dimensions}d"]
    with pytest.raises(PackError, match=rf"holds no {5 - dimensions}-D ResNet"):
        load_resnet(path, 5 - dimensions)
    partial = {k: v for k, v in model.state_dict().items() if "layer4.0.bn2" not in k}
    save_file(partial, path)
    with pytest.raises(PackError, match=r"missing layer4\.0\.bn2"):
        load_resnet(path, dimensions)
    path.write_bytes(b"nonsense")
    with pytest.raises(PackError, match="cannot be read"):
        load_resnet(path, dimensions)


def test_best_achievable_of_virtual_people():
    from csegsynth_core.data.simulate.achievable import best_volumes
    from csegsynth_core.data.simulate.people import draw
    from csegsynth_core.errors import TableError

    people = draw(400, seed=5)
    best = best_volumes(people.ids[::-1], others=3000)
    assert list(best.index) == people.ids[::-1]
    for tissue in ("wm", "gm", "csf"):
        true = people.volumes[tissue][::-1]
        found = best[tissue].to_numpy()
        assert metrics.r2(found, true) > 0.6
        oracle = metrics.mae(people.noise_free[tissue][::-1], true)  # knows reserve and what cells lack
        assert oracle < 1.03 * metrics.mae(found, true)
        assert abs(np.median(np.log(true / found))) < 0.02
    with pytest.raises(TableError, match=r"ids such as sub-IXI012"):
        best_volumes(["sub-IXI012"])
