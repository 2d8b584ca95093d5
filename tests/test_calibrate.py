"""Noise behind the code: what it does to a brain, and how much of it calibration finds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from csegsynth_core.models.csegsynth import CURVE_STEPS, Config, CSegSynth, mirror_image
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train import calibrate, principal, texture
from train.ridge import EASED, PENALTIES, fit_codes, fit_sparing
from train.template import set_template
from train.texture import packed, texture_of

FEATURES = 3


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = CSegSynth(Config.compact(FEATURES, latent=16, width=16)).eval()
    set_template(model.generator)
    return model.requires_grad_(False)


@pytest.fixture
def model(made, monkeypatch):
    few = {
        "PEOPLE": 3,
        "PAIRS": 2,
        "DRAWS": 4,
        "HALVINGS": 3,
        "FIRST_HALVINGS": 2,
        "VARIED": 2,
        "FIRST_VARIED": 2,
        "AGAIN": 1,
    }
    for name, number in few.items():
        monkeypatch.setattr(calibrate, name, number)
    monkeypatch.setattr(texture, "TRIALS", 1)
    monkeypatch.setattr(texture, "SHARE", 4 * texture.SHARE)
    monkeypatch.setattr(principal, "NEWTON_STEPS", 2)
    state = {k: v.clone() for k, v in made.state_dict().items()}
    yield made
    made.load_state_dict(state)


def codes_and_noise(model, n, seed):
    z = model.draw(n, seed)
    assert z.shape == (n, 16 + model.generator.noise_width)
    return z


def test_without_amplitudes_noise_changes_nothing(model):
    z = codes_and_noise(model, 1, 4)
    y = torch.zeros(1, FEATURES)
    assert torch.equal(model(y, z, 2), model(y, z[:, :16], 2))
    assert not codes_and_noise(model, 1, 0).any(), "seed 0 is the typical brain"


def test_weights_from_before_the_noise_load_as_without(model):
    later = ("folds", "mirrored", "held", "balance", "steady", "grain", "curves", "edge", "rim", "chain")
    state = {k: v for k, v in model.state_dict().items() if k.split(".")[-1] not in later}
    other = CSegSynth(model.config)
    for name in later:
        getattr(other.generator, name).fill_(1.0)
    other.load_state_dict(state)
    assert not any(getattr(other.generator, name).any() for name in later)
    other.load_state_dict(state | {"generator.least": torch.zeros(())})  # a run from before the curves
    with pytest.raises(RuntimeError, match=r"generator\.least"):  # a pack from before them
        other.load_state_dict(state | {"generator.least": torch.tensor(0.05)})


def test_smooth_noise_has_unit_variance_and_keeps_to_the_surface(model):
    generator = model.generator
    generator.folds[0] = 2.0
    generator.folds[1] = 1.0  # no velocity left to right
    white = torch.randn(40, 3, *generator.coarse, generator=torch.Generator().manual_seed(1))
    velocity = generator._folding(white)
    assert velocity[:, 0].abs().max() < 1e-5
    assert velocity[:, 1:].std().item() == pytest.approx(2.0, rel=0.02)
    near = (velocity[:, 1, 1:] * velocity[:, 1, :-1]).mean() / 4
    far = (velocity[:, 1, 6:] * velocity[:, 1, :-6]).mean() / 4
    assert near > 0.4 and abs(far) < 0.05


def test_balance_shifts_tissues_and_size(model):
    z = torch.zeros(1, 16 + model.generator.noise_width)
    z[0, 16 + 1] = 1.0
    y = torch.zeros(1, FEATURES)
    before = volumes_ml(model(y, 0 * z, 2), 2)[0, :3]
    model.generator.balance[2, 1] = 0.5
    more_csf = volumes_ml(model(y, z, 2), 2)[0, :3] - before
    assert more_csf[2] > 5.0
    assert more_csf[0] < 0 and more_csf[1] < 0
    model.generator.balance.zero_()
    model.generator.balance[3, 1] = np.log(0.9)  # a tenth smaller along each axis
    smaller = volumes_ml(model(y, z, 2), 2)[0, :3]
    assert (smaller.sum() / before.sum()).item() == pytest.approx(0.9**3, rel=0.02)


def test_no_background_in_depth(model):
    """A deep spot that is half background becomes tissue, each with its share; the surface stays as it is."""
    generator = model.generator
    depth = calibrate._depth_mm(calibrate._average(generator))
    spot = np.unravel_index(depth.argmax(), depth.shape)
    here = (0, slice(None, 3), *spot)
    place = (slice(None), *(slice(v - 1, v + 2) for v in spot))
    log_ratios = generator.template[place]
    generator.template[place] -= torch.logsumexp(log_ratios, dim=0)  # as much of tissue as of background
    before = calibrate._average(generator)
    assert before[0, 3][tuple(spot)].item() == pytest.approx(0.5, abs=0.05)
    generator.template += calibrate._raised(depth)
    after = calibrate._average(generator)
    assert after[0, 3][tuple(spot)] < 1e-3
    shares = [x[here] / x[here].sum() for x in (before, after)]
    assert torch.allclose(*shares, atol=1e-3)
    outside = torch.from_numpy(depth == 0.0)
    rim = outside & (before[0, 3] < 0.99)
    assert int(rim.sum()) > 1000
    assert after[0, 3, rim].mean().item() == pytest.approx(before[0, 3, rim].mean().item(), rel=0.01)


def test_places_get_what_people_have_there(model):
    """Of a cohort that is this generator's with more CSF on one side and less grey matter below."""
    generator, rows = model.generator, [0, 1, 2]
    features = torch.randn(len(rows), FEATURES, generator=torch.Generator().manual_seed(2))
    z = model.draw(len(rows), calibrate.SEED)
    ratios = generator.linear.bias.view(2, 3, *generator.coarse)[1]
    before = ratios.clone()
    half, third = generator.coarse[0] // 2, generator.coarse[2] // 3
    ratios[TISSUES.index("csf"), :half] += 0.7
    ratios[TISSUES.index("gm"), ..., :third] -= 0.5
    brains = [model(features[r : r + 1], z[r : r + 1]) for r in rows]
    ratios.copy_(before)

    def off():
        made, _ = calibrate._mean_places(model(features[r : r + 1], z[r : r + 1]) for r in rows)
        found = calibrate._smooth(wanted - made)
        return (
            np.abs(found[2, : half - 1]).mean(),
            np.abs(found[1, ..., : third - 1]).mean(),
            np.abs(found).mean(),
        )

    wanted, room = calibrate._mean_places(brains)
    assert (
        wanted.shape == room.shape == (3, *generator.coarse) and (room <= wanted * (1 - wanted) + 1e-6).all()
    )
    first = off()
    calibrate._set_places(model, features, wanted, rows)
    last = off()
    assert all(now < 0.35 * then for then, now in zip(first, last, strict=True)), (first, last)


def test_folds_of_both_sides_are_as_alike_as_shapes(model):
    generator = model.generator
    assert calibrate._mirrored(generator) == 0.0  # an untrained one tells nothing
    draw = torch.Generator().manual_seed(4)
    white = torch.randn(generator.components, 3, *generator.coarse, generator=draw)
    for share in (0.25, 1.0):
        mirror = mirror_image(white)
        both = white + mirror + share * (white - mirror)
        weight = generator.linear.weight.unflatten(0, (2, 3, *generator.coarse))
        weight[0] = both.movedim(0, -1)
        assert calibrate._mirrored(generator) == pytest.approx(1.0 - share, abs=0.05)
    generator.folds[0] = 2.0
    for amount in (0.0, 0.6, 1.0):
        generator.mirrored.fill_(amount)
        velocity = generator._folding(torch.randn(40, 3, *generator.coarse, generator=draw))
        mirror = mirror_image(velocity)
        even, odd = ((velocity + s * mirror).square().sum().sqrt() for s in (1.0, -1.0))
        assert float(odd / even) == pytest.approx(1.0 - amount, abs=0.05)
        assert velocity.std().item() == pytest.approx(2.0, rel=0.1)


def test_nothing_moves_sideways_in_the_middle(model):
    """The fissure between the hemispheres stays straight; elsewhere, and in other directions, nothing changes."""
    generator = model.generator
    generator.folds[0] = 2.0
    white = torch.randn(20, 3, *generator.coarse, generator=torch.Generator().manual_seed(5))
    free = generator._folding(white)
    generator.held.copy_(calibrate._held(generator))
    held = generator._folding(white)
    assert torch.equal(held[:, 1:], free[:, 1:])
    left = held[:, 0].std(dim=(0, 2, 3)) / free[:, 0].std(dim=(0, 2, 3))
    middle = len(left) // 2
    assert torch.allclose(left, left.flip(0), atol=1e-5), "both sides alike"
    assert (left.diff()[middle:] >= 0).all()
    assert left[middle] < 0.1
    assert left[0] > 0.99
    away = (torch.arange(len(left)) - (len(left) - 1) / 2) * 8.0  # mm
    assert torch.allclose(left, 1.0 - torch.exp(-((away / calibrate.FALX_MM) ** 2) / 2), atol=1e-5)


def test_depth_is_that_of_the_brain_where_it_looks(model):
    """A generator whose brains are smaller than its template looks at places farther out in it."""
    generator = model.generator
    generator.affine.bias[[0, 5, 10]] = 1.0  # a tenth
    depth = calibrate._depth_mm(calibrate._average(generator))
    found = calibrate._in_template(generator, depth)
    own = calibrate._depth_mm(
        torch.cat([generator.template, torch.zeros_like(generator.template[:1])]).softmax(0)[None]
    )
    assert (depth > 0).sum() < 0.8 * (own > 0).sum()
    assert (found > 1).sum() == pytest.approx((own > 0).sum(), rel=0.05)
    off = [np.abs(v - own)[own > 0].mean() for v in (depth, found)]
    assert off[1] < 0.4 * off[0], off


@pytest.mark.slow
def test_calibration_matches_similarity_and_spread(model, monkeypatch):
    """Of a cohort whose brains are this generator's with known noise, calibration finds the noise again."""
    monkeypatch.setattr(texture.Texture, "search", lambda *_: None)
    monkeypatch.setattr(texture.Texture, "fit_curves", lambda *_: None)
    monkeypatch.setattr(calibrate, "PLACE_STEPS", 1)
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    generator, rows = model.generator, list(range(6))
    features = torch.randn(6, FEATURES, generator=torch.Generator().manual_seed(2))
    generator.folds.copy_(calibrate._where(generator))
    generator.folds[0] *= 2.0
    generator.balance[2, 0] = 0.3
    z = model.draw(6, 5)
    brains = torch.cat([model(features[k : k + 1], z[k : k + 1], 1) for k in rows])
    volumes = volumes_ml(brains)[:, :3]
    found = calibrate.calibrate(model, lambda some: brains[some], rows, features, volumes)
    assert found["folds_mm"] == pytest.approx(2.0, abs=0.5)
    assert found["ssim_made"] == pytest.approx(found["ssim_real"], abs=0.02)
    assert generator.folds[0].max().item() == pytest.approx(found["folds_mm"], rel=0.02)
    draws = [calibrate._ml(model, features[:1], one) for one in model.draw(16, 9)[:, None]]
    assert np.std(draws, axis=0)[2] == pytest.approx(volumes.std(dim=0)[2].item(), rel=0.5)


def test_balance_that_is_set_again_replaces_the_old_one(model):
    features = torch.randn(8, FEATURES, generator=torch.Generator().manual_seed(2))
    volumes = torch.tensor([500.0, 700.0, 200.0]) + 40.0 * torch.randn(
        8, 3, generator=torch.Generator().manual_seed(3)
    )
    found = []
    for _ in range(2):
        calibrate._set_balance(model, features, volumes, list(range(8)), 2)
        found.append(model.generator.balance.clone())
    assert found[0].abs().max() > 0.01 and torch.allclose(found[0], found[1])


def test_codes_are_narrowed_in_directions_of_volume_alone(model, monkeypatch):
    """Of codes of which one changes CSF: its spread shrinks until volumes vary as wanted; the others keep theirs."""
    monkeypatch.setattr(calibrate, "DRAWS", 24)
    generator, y = model.generator, torch.zeros(2, FEATURES)
    half = len(generator.linear.bias) // 2
    generator.linear.weight[half + 2 * half // 3 :, 5] = 0.6
    generator.affine.weight.zero_()  # the other codes change no volume
    generator.heads.weight.zero_()

    def spread():
        return np.mean([np.cov(calibrate._pairs_ml(model, y[:1], seed).T) for seed in (7, 8)], axis=0)

    before = spread()
    wanted = np.diag([50.0, 50.0, 20.0]) ** 2 + 1.0
    wanted[2, 2] = 0.25 * before[2, 2]
    for _ in range(3):
        calibrate._narrow(model, y, [0, 1], wanted)
    after = spread()
    assert after[2, 2] == pytest.approx(wanted[2, 2], rel=0.25)
    kept = model.prior.spread.diagonal()
    assert kept[5] < 0.7 and (torch.cat([kept[:5], kept[6:]]) - 1.0).abs().max() < 0.05
    narrowed = model.prior.spread.clone()
    calibrate._narrow(model, y, [0, 1], 2.0 * wanted)
    assert torch.allclose(model.prior.spread, narrowed, atol=1e-6), "enough room: nothing is taken"


def test_shift_changes_a_tissues_odds_everywhere_and_the_size(model):
    generator, z = model.generator, model.draw(1, 3)[:, :16]
    before = generator(z)
    generator.shift(torch.tensor([0.0, 0.0, 0.4, 0.0]))
    odds = (generator(z)[:, 2] / generator(z)[:, 0]) / (before[:, 2] / before[:, 0])
    inside = (before[:, 2] > 0.01) & (before[:, 0] > 0.01)
    assert torch.allclose(odds[inside].log(), torch.full((int(inside.sum()),), 0.4), atol=1e-3)
    generator.shift(torch.tensor([0.0, 0.0, -0.4, np.log(1.05)]))
    larger = volumes_ml(generator(z))[0, :3].sum() / volumes_ml(before)[0, :3].sum()
    assert larger.item() == pytest.approx(1.05**3, rel=0.02)


def test_log_ratios_of_codes_are_amplified_and_velocities_stay(model):
    generator = model.generator
    controls = [generator.controls(z) for z in (torch.zeros(1, 16), 2.0 * torch.eye(16)[:1])]
    generator.amplify(1.5)
    after = [generator.controls(z) for z in (torch.zeros(1, 16), 2.0 * torch.eye(16)[:1])]
    change = [b.ratios - a.ratios for a, b in (controls, after)]
    assert change[0].abs().max() > 0
    assert torch.allclose(change[1], 1.5 * change[0], atol=1e-5)
    assert torch.equal(controls[1].velocity, after[1].velocity)


def test_spread_is_that_of_the_volumes_that_features_tell(model):
    """Volumes of brains without noise; another response changes how far apart they are."""
    rows, features = list(range(6)), torch.randn(6, FEATURES, generator=torch.Generator().manual_seed(2))
    model.prior.straight.weight[0, 0] = 1.0
    model.generator.linear.weight[len(model.generator.linear.bias) // 2 :, 0] = 0.2
    found = calibrate._spread(model, features, rows)
    still = model.draw(1, 0)
    volumes = [volumes_ml(model(features[r : r + 1], still, 2), 2)[0, :3].log().numpy() for r in rows]
    assert found == pytest.approx(np.std(volumes, axis=0), abs=1e-5)
    model.generator.amplify(2.0)
    assert (calibrate._spread(model, features, rows) > 1.2 * found).any()


def test_features_tell_what_they_told_after_another_texture(model):
    """Of a generator whose codes change volumes; softened, the prior network's line and curve make up for it."""
    generator, prior, rows = model.generator, model.prior, list(range(30))
    features = torch.randn(30, FEATURES, generator=torch.Generator().manual_seed(2))
    draw = torch.Generator().manual_seed(5)
    half = len(generator.linear.bias) // 2
    for tissue in range(3):  # a code for each tissue
        place = slice(half + tissue * half // 3, half + (tissue + 1) * half // 3)
        generator.linear.weight[place, tissue] = 0.3
    prior.straight.weight.copy_(0.5 * torch.randn(prior.straight.weight.shape, generator=draw))
    prior.bends[0] = 1.0
    told = calibrate._told(model, features, rows)
    generator.amplify(0.6)
    before = (calibrate._told(model, features, rows) - told).std(dim=0)
    prior.spread.mul_(0.5)
    narrowed = prior.spread.clone()
    calibrate._keep_told(model, features, rows, told)
    assert torch.equal(prior.spread, narrowed), "what was narrowed stays so"
    after = (calibrate._told(model, features, rows) - told).std(dim=0)
    assert before.max() > 0.05 * told.std(dim=0).max() and (after < 0.25 * before.max()).all()


def test_what_features_tell_is_as_cautious_as_ridge_regression(model, monkeypatch):
    """Features without any meaning are told no more of than left-out people confirm; where nothing is told, nothing
    is changed."""
    people, width = 40, 12
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.normal(size=(people, width))).float()
    true = 0.1 * x[:, :1].double().numpy() * [1.0, 1.0, 0.0]
    logs = np.log([500.0, 600.0, 250.0]) + true + 0.1 * rng.normal(size=(people, 3))
    volumes = torch.from_numpy(np.exp(logs)).float()
    rows = list(range(people))
    design = np.column_stack([np.ones(people), x.double().numpy()])
    fitted = design @ np.linalg.lstsq(design, logs, rcond=None)[0]  # every chance is told
    told = torch.from_numpy(fitted - fitted.mean(axis=0)).float()
    drawn = np.exp(fitted.mean(axis=0) + 1.1 * (fitted - fitted.mean(axis=0)))  # and draws go further
    monkeypatch.setattr(calibrate, "_drawn_ml", lambda *_: drawn)
    monkeypatch.setattr(calibrate, "CAUTION", (0.0, 9.0))
    found = calibrate._caution(model, x, volumes, rows, told).numpy()
    ridge, _ = calibrate._ridge(x.double().numpy(), logs)
    following = fitted.mean(axis=0) + 1.1 * found * (fitted - fitted.mean(axis=0))
    for k in range(3):  # now draws have ridge regression's slope
        slopes = [np.polyfit(made[:, k], logs[:, k], 1)[0] for made in (following, ridge)]
        assert slopes[0] == pytest.approx(slopes[1], rel=1e-5)
    assert found[2] < found[:2].min() < 1.0 / 1.1, "least of what there is nothing to tell of"
    assert calibrate._caution(model, x, volumes, rows, 0 * told).tolist() == [1.0, 1.0, 1.0]


def test_sharper_templates_differ_more_from_their_surroundings_tissue_by_tissue(model):
    before = model.generator.template.clone()
    model.generator.sharpen((0.0, 1.0, 0.0))
    after = model.generator.template
    assert torch.equal(after[0], before[0]) and torch.equal(after[2], before[2])
    rough = [t[1].diff(dim=0).square().mean() for t in (before, after)]
    assert rough[1] > 1.2 * rough[0]
    assert after[1].mean().item() == pytest.approx(before[1].mean().item(), abs=0.05)


def test_a_brain_without_noise_has_its_own_shift(model):
    """The shift fades with the square of the noise: it is whole without any, and gone in an ordinary draw."""
    generator, y = model.generator, torch.zeros(1, FEATURES)
    none, some = model.draw(1, 0), model.draw(1, 4)
    before = [volumes_ml(model(y, z, 2), 2)[0, 2] for z in (none, some)]
    generator.steady[2] = 0.3
    after = [volumes_ml(model(y, z, 2), 2)[0, 2] for z in (none, some)]
    assert after[0] / before[0] > 1.1
    assert (after[1] / before[1]).item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_calibration_finds_texture_and_mean_volumes(model, monkeypatch):
    """Of a cohort that is this generator's, but sharper, grainy, with curves of its own and with more CSF."""
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    monkeypatch.setattr(calibrate, "PLACE_STEPS", 1)
    for name, few in {"HALVINGS": 1, "FIRST_HALVINGS": 1, "VARIED": 3}.items():
        monkeypatch.setattr(calibrate, name, few)
    monkeypatch.setattr(texture, "FIRMLY", 0.0)  # an untrained generator's codes add nothing to log-ratios
    generator, rows = model.generator, list(range(4))
    features = torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(4))
    state = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.sharpen((0.5, 0.8, 0.5))
    generator.grain.fill_(0.5)
    generator.curves[2, : CURVE_STEPS // 3] = -3.0
    generator.shift(torch.tensor([0.0, 0.0, 0.3, 0.0]))
    z = model.draw(4, 8)
    brains = torch.cat([model(features[k : k + 1], z[k : k + 1], 1) for k in rows])
    volumes = volumes_ml(brains)[:, :3]
    generator.load_state_dict(state)
    before = texture_of(packed(torch.cat([model(features[k : k + 1], z[k : k + 1]) for k in rows])))
    found = calibrate.calibrate(model, lambda some: brains[some], rows, features, volumes)
    for name, was in before.items():
        off = np.log(found[f"{name}_made"] / found[f"{name}_real"])
        assert abs(off) < max(0.06, 0.5 * abs(np.log(was / found[f"{name}_real"]))), name
    draws = np.mean([calibrate._ml(model, features[:1], one) for one in model.draw(12, 9)[:, None]], axis=0)
    assert draws == pytest.approx(volumes.mean(dim=0).numpy(), rel=0.03)
    still = np.mean([calibrate._ml(model, f[None], model.draw(1, 0)) for f in features], axis=0)
    assert still == pytest.approx(volumes.mean(dim=0).numpy(), rel=0.01)


def test_errors_for_people_left_out_are_those_of_refitting():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    _, found = calibrate._ridge(x, y)
    refitted = [
        [
            (y[k] - Ridge(a).fit(np.delete(x, k, 0), np.delete(y, k, 0)).predict(x[k : k + 1])).item()
            for k in range(20)
        ]
        for a in PENALTIES
    ]
    best = min(refitted, key=lambda e: float(np.square(e).mean()))
    assert found[:, 0] == pytest.approx(best, abs=1e-6)


def test_calibration_leaves_alike_brains_alike(model, monkeypatch):
    monkeypatch.setattr(texture.Texture, "search", lambda *_: None)
    monkeypatch.setattr(texture.Texture, "fit_curves", lambda *_: None)
    monkeypatch.setattr(calibrate, "PLACE_STEPS", 1)
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    brain = model(torch.zeros(1, FEATURES), torch.zeros(1, 16))
    features = torch.randn(4, FEATURES)
    volumes = volumes_ml(brain)[:, :3].repeat(4, 1)
    found = calibrate.calibrate(
        model, lambda some: brain.expand(len(some), -1, -1, -1, -1), list(range(4)), features, volumes
    )
    assert found["folds_mm"] == 0.0 and not model.generator.folds[0].any()
    assert max(found[f"balance_{t}"] for t in ("wm", "gm", "csf", "length")) < 0.01


def test_ridge_that_spares_none_is_ridge_with_the_penalty_that_tells_the_guides_best():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    y[:, 0] += x[:, 1]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    guides = np.stack([y[:, 0] + y[:, 1], y[:, 1], 7.0 * y[:, 0]], axis=1)
    weight, bias = fit_sparing(x, y, np.zeros(5, bool), guides=guides)
    seen = guides / guides.std(axis=0)
    errors = []
    for alpha in PENALTIES:
        one = Ridge(alpha, fit_intercept=False)
        left = [
            one.fit(np.delete(x, k, 0), np.delete(seen, k, 0)).predict(x[[k]])[0] - seen[k] for k in range(60)
        ]
        errors.append(np.square(left).mean())
    best = Ridge(PENALTIES[int(np.argmin(errors))], fit_intercept=False).fit(x, y)
    assert np.allclose(weight, best.coef_) and np.allclose(bias, 0.0)


def test_ridge_spares_age_what_its_many_correlates_would_take():
    """One column that acts, forty that only go with it: sparing it keeps its effect near the truth."""
    rng = np.random.default_rng(1)
    age = rng.normal(size=(150, 1))
    x = np.concatenate([age, age + 0.7 * rng.normal(size=(150, 40))], axis=1)
    y = 2.0 * age + rng.normal(size=(150, 1))
    spared = np.arange(41) == 0
    weight, _ = fit_sparing(x, y, spared)
    even, _ = fit_sparing(x, y, np.zeros(41, bool))
    assert abs(weight[0, 0] - 2.0) < 0.5
    assert even[0, 0] < 1.0
    assert np.allclose(fit_sparing(x, y, np.ones(41, bool))[0][0], np.linalg.lstsq(
        np.column_stack([x, np.ones(150)]), y, rcond=None)[0][:-1, 0])  # fmt: skip


def test_eased_columns_bear_a_share_of_the_penalty():
    """The same as ridge regression on columns made larger, whose coefficients are then made larger, too."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 1))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    eased = np.asarray([True, False, False, True])
    weight, _ = fit_sparing(x, y, np.zeros(4, bool), eased=eased)
    larger = np.where(eased, EASED**-0.5, 1.0)
    tried = [Ridge(a, fit_intercept=False).fit(x * larger, y[:, 0]).coef_ * larger for a in PENALTIES]
    assert min(np.abs(one - weight[0]).max() for one in tried) < 1e-8


def test_codes_that_bend_with_age_are_told_from_features():
    """`fit_codes` finds a line in every feature and a parabola in age, and says which column age is."""
    rng = np.random.default_rng(2)
    y = torch.from_numpy(rng.normal(size=(80, 3))).float()
    roles = SimpleNamespace(age=SimpleNamespace(name="age"), sex=None)
    encoder = SimpleNamespace(schema=roles, owners=("height", "age", "schooling"))
    codes = torch.stack([y[:, 1] ** 2 - 0.5 * y[:, 1] + 3.0, y[:, 0]], dim=1)
    volumes = torch.cat([codes, codes[:, :1] - codes[:, 1:], codes[:, :1]], dim=1).mul(0.1).exp()
    people = SimpleNamespace(encoder=encoder, features=y, train=np.arange(80), volumes_ml=volumes)
    fit = fit_codes(people, codes)
    assert fit.bends == 1
    assert torch.allclose(fit.curve.float(), torch.tensor([1.0, 0.0]), atol=0.03)
    assert torch.allclose(fit.at(y), codes, atol=0.1)
    encoder.schema = SimpleNamespace(age=None, sex=None)
    straight = fit_codes(people, codes)
    assert straight.curve is None and torch.allclose(straight.at(y)[:, 1], codes[:, 1], atol=0.3)
