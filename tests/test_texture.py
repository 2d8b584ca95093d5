"""Grain and curves of the compact generator, and how well they are found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from csegsynth_core.models.csegsynth import (
    CHAIN_SOFT,
    CHAIN_STEPS,
    CURVE_ENDS,
    CURVE_STEPS,
    Config,
    CSegSynth,
    bend,
    brightness_of,
    chain_brightness,
    chained,
    mixtures,
    trim,
)
from train import texture
from train.template import set_template
from train.texture import Texture, packed, texture_of


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = CSegSynth(Config.compact(3, latent=16, width=16)).eval()
    set_template(model.generator)
    return model.requires_grad_(False)


@pytest.fixture
def model(made):
    state = {k: v.clone() for k, v in made.state_dict().items()}
    yield made
    made.load_state_dict(state)


def test_texture_of_a_made_up_brain():
    """A block of white matter with one voxel that is half grey: every number can be told by hand."""
    brain = np.zeros((1, 3, 8, 8, 8), np.uint8)
    brain[0, 0, 2:5, 2:5, 2:5] = 255
    brain[0, :2, 3, 3, 3] = 127, 128
    found = texture_of(brain)
    assert found["alone_wm"] == pytest.approx(1.0) and found["alone_gm"] == 0.0 and found["alone_csf"] == 0.0
    a, b = 127 / 255, 128 / 255
    assert found["mixed"] == pytest.approx((1 - a**2 - b**2) / 27)
    for name in ("detail", "detail2"):  # the voxel and the six that have it for a neighbour
        assert found[f"{name}_gm"] == pytest.approx((b**2 + 6 * (b / 6) ** 2) / 27)
        assert found[f"{name}_csf"] == 0.0


def test_curves_change_what_tissues_have_of_their_sum():
    """A constant is a shift of a tissue's odds among tissues; a knot acts at its own fraction alone."""
    shares = torch.softmax(2 * torch.randn(2, 4, 5, 6, 7, generator=torch.Generator().manual_seed(1)), dim=1)
    curves = torch.zeros(3, CURVE_STEPS + 1)
    assert torch.allclose(bend(shares, curves), shares, atol=1e-6)
    curves[1] = 0.7
    bent = bend(shares, curves)
    assert torch.allclose(bent.sum(dim=1), torch.ones(2, 5, 6, 7), atol=1e-6)
    assert torch.equal(bent[:, 3], shares[:, 3]), "background keeps its fraction"
    odds = (bent[:, 1] / bent[:, 0]) / (shares[:, 1] / shares[:, 0])
    assert torch.allclose(odds.log(), torch.full_like(odds, 0.7), atol=1e-4)
    curves.zero_()
    knot = CURVE_STEPS // 4
    curves[2, knot] = -2.0
    there = torch.sigmoid(torch.linspace(-CURVE_ENDS, CURVE_ENDS, CURVE_STEPS + 1)[knot])
    two = torch.stack([1 - there, there * 0, there, there * 0]).view(1, 4, 1)
    left = float(there * np.exp(-2.0))
    assert bend(two, curves)[0, 2].item() == pytest.approx(left / (1 - float(there) + left), rel=1e-3)
    nothing = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 4, 1)
    assert torch.equal(bend(nothing, curves), nothing)


def test_the_chain_has_two_neighbours_as_bright_as_what_was_there():
    """0.5 WM, 0.2 GM, 0.3 CSF is as bright on T1 as 0.2 WM and 0.8 GM, with tissues evenly apart."""
    same = torch.cat([chain_brightness(k)[:-1] for k in range(4)] + [torch.tensor([3.0])])
    one = torch.tensor([0.5, 0.2, 0.3, 0.0]).view(1, 4, 1)
    assert chained(one, same).flatten().tolist() == pytest.approx([0.2, 0.8, 0.0, 0.0], abs=2e-3)
    shares = torch.softmax(3 * torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    found = chained(shares, same)
    assert torch.allclose(found.sum(dim=1), torch.ones(2, 5, 6), atol=1e-5) and (found >= 0).all()
    assert (found > 0).sum(dim=1).max() == 2, "no voxel holds three"
    for apart in ((0, 2), (0, 3), (1, 3)):
        assert not torch.minimum(*(found[:, k] for k in apart)).any()
    assert torch.allclose(brightness_of(found), brightness_of(shares), atol=3e-3)
    assert torch.allclose(chained(found, same), found, atol=3e-3), "what is on the chain stays"


def test_the_chain_changes_brightness_about_each_tissue_alone():
    chain = torch.cat([chain_brightness(k)[:-1] for k in range(4)] + [torch.tensor([3.0])])
    chain[2 * CHAIN_STEPS : 3 * CHAIN_STEPS] = torch.linspace(1.5, 2.5, CHAIN_STEPS + 1)[:-1]
    pure = torch.eye(4)[None].permute(0, 2, 1)  # four voxels, one of each
    assert torch.allclose(chained(pure, chain), pure, atol=1e-6)
    traces = torch.tensor([[0.01, 0.99, 0.0, 0.0], [0.0, 0.01, 0.99, 0.0], [0.0, 0.0, 0.01, 0.99]]).T[None]
    found = chained(traces, chain)
    away = np.arcsinh(0.01 / CHAIN_SOFT) / np.arcsinh(0.5 / CHAIN_SOFT) / 2
    assert found[0, :, 0].tolist() == pytest.approx([away, 1 - away, 0, 0], abs=1e-4)
    assert torch.allclose(found[..., 1:], traces[..., 1:], atol=2e-4)


def test_maps_mixed_along_the_chain_get_one_and_their_distribution(model):
    """Originals are this generator's brains, mixed along the chain and softer about every tissue; others are as the
    generator makes them, in which white matter and CSF share voxels."""
    generator = model.generator
    controls = generator.controls(model.draw(3, 5))
    template, plain = generator.template.clone(), generator.render(controls)
    away = mixtures(brightness_of(plain) + 0.25 * torch.sin(2 * np.pi * brightness_of(plain)))
    for originals, along in ((packed(away), True), (packed(plain), False)):
        generator.rim.fill_(1.0)
        found = Texture(generator, originals, lambda: np.ones(3))
        assert bool(generator.rim.any()) != along, "background is part of the chain"
        generator.template.copy_(template)  # as it was: the search's start sharpens
        generator.grain.zero_()
        made = found.fit_curves(lambda: generator.unfinished(controls))
        assert torch.allclose(made, generator.render(controls), atol=1e-6), "the generator has what was found"
        assert bool(generator.chain.any()) == along and bool(generator.curves.any()) != along
        if along:
            assert (generator.chain.diff() >= 0).all() and generator.chain[[0, -1]].tolist() == [0.0, 3.0]
            halves = generator.chain[CHAIN_STEPS::CHAIN_STEPS][:3].tolist()
            assert halves == pytest.approx([0.5, 1.5, 2.5])
            real = torch.from_numpy(originals).float() / 255.0
            for k in range(3):
                for limit in (0.02, 0.2, 0.8, 0.98):
                    below = [(x[:, k] < limit).float().mean().item() for x in (plain, real, made)]
                    assert abs(below[2] - below[1]) < max(0.2 * abs(below[0] - below[1]), 2e-3), (
                        k,
                        limit,
                        below,
                    )


def test_how_soft_outlines_are_is_matched_and_not_where_they_lie(model):
    """Originals with a margin of background, in a larger box so to say, ask for no other outline."""
    generator = model.generator
    found = Texture(generator, packed(generator(model.draw(1, 5))), lambda: np.ones(3))
    found.sorted[-1] = torch.cat([torch.zeros(100), torch.linspace(0, 1, 20), torch.ones(10**6)])[
        : found.sorted.shape[1]
    ]
    own = torch.cat([torch.zeros(50), torch.linspace(0, 1, 10), torch.ones(60)])
    wanted = found._outlined(own)
    assert (wanted < 0.5).sum() == (own < 0.5).sum() and len(wanted) == len(own)
    assert ((wanted > 0) & (wanted < 1)).sum() == 18, "twice as soft"


def test_the_edge_changes_the_odds_of_background_where_it_counts():
    """A constant is a shift of its log-odds, by so much as the place has of the rim; tissues keep their shares."""
    shares = torch.softmax(2 * torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(1)), dim=1)
    rim = torch.linspace(0.0, 1.0, 50).expand(2, 1, 50)
    edge = torch.full((CURVE_STEPS + 1,), -0.7)
    trimmed = trim(shares, edge, rim)
    assert torch.allclose(trimmed.sum(dim=1), torch.ones(2, 50), atol=1e-6)
    assert torch.allclose(trimmed[:, 3].logit() - shares[:, 3].logit(), -0.7 * rim[:, 0], atol=1e-4)
    for k in (1, 2):
        assert torch.allclose(trimmed[:, k] / trimmed[:, 0], shares[:, k] / shares[:, 0], rtol=1e-4)
    edge = torch.linspace(-CURVE_ENDS, CURVE_ENDS, CURVE_STEPS + 1) / 4  # at its own fraction
    slope = trim(shares, edge, torch.ones(2, 1, 50))[:, 3].logit()
    assert torch.allclose(slope, 1.25 * shares[:, 3].logit(), atol=1e-4)


def test_the_edge_spares_what_is_far_from_the_rim(model):
    generator, z = model.generator, model.draw(1, 0)
    before = generator(z)
    generator.edge.fill_(3.0)
    assert torch.equal(generator(z), before), "no place has any of the rim"
    generator.rim[:, : generator.middle[0] // 2] = 1.0
    after = generator(z)[0, 3] - before[0, 3]
    half = generator.middle[0]
    assert after[: half - 4].max() > 0.3 and after[half + 4 :].abs().max() < 1e-6


def test_curves_pass_gradients_on(model):
    generator, z = model.generator, model.draw(1, 3)
    generator.grain.fill_(0.4)
    generator.rim.fill_(0.8)
    generator.edge.copy_(0.3 * torch.randn(CURVE_STEPS + 1, generator=torch.Generator().manual_seed(3)))
    generator.curves.copy_(0.3 * torch.randn(3, CURVE_STEPS + 1, generator=torch.Generator().manual_seed(2)))
    plain = generator(z)
    z = z.clone().requires_grad_(True)
    with torch.enable_grad():
        same = generator(z)
        same[:, 2].sum().backward()
    assert torch.allclose(same, plain, atol=1e-5)
    assert z.grad.isfinite().all() and z.grad[:, :16].abs().sum() > 0


def test_the_chain_passes_gradients_on(model):
    generator, z = model.generator, model.draw(1, 3)
    generator.grain.fill_(0.4)
    generator.chain.copy_(torch.linspace(0, 3, 4 * CHAIN_STEPS + 1))
    plain = generator(z)
    z = z.clone().requires_grad_(True)
    with torch.enable_grad():
        same = generator(z)
        same[:, 2].sum().backward()
    assert torch.allclose(same, plain, atol=1e-5)
    assert z.grad.isfinite().all() and z.grad[:, :16].abs().sum() > 0


def test_grain_is_white_of_its_amplitude_and_each_draws_own(model):
    generator, y = model.generator, torch.zeros(1, 3)
    one, other = model.draw(1, 3), model.draw(1, 4)
    before = model(y, one)
    generator.grain.copy_(torch.tensor([0.2, 0.4, 0.6]))
    logs = [(model(y, one) / before).log() for _ in range(2)]
    assert torch.equal(logs[0], logs[1]), "the same draw has the same grain"
    assert torch.allclose(model(y, one)[:, 3], before[:, 3], atol=1e-6), "background keeps its fraction"
    mixed = (before > 1e-4).all(dim=1)  # where no logarithm is lost in rounding
    grain = logs[0][:, :3].movedim(1, 0)[:, mixed]
    assert int(mixed.sum()) > 2000
    grain = grain[[0, 1]] - grain[2]  # what tissues have in common was taken off
    assert grain.std(dim=1).numpy() == pytest.approx([np.hypot(0.2, 0.6), np.hypot(0.4, 0.6)], rel=0.05)
    mine, others = (generator._grain(generator.controls(z).grain, 1, (0, 0, 0)) for z in (one, other))
    for a, b in ((mine, others), (mine[:, :, 1:], mine[:, :, :-1])):  # another draw, and neighbours
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.01
    assert torch.equal(model(y, one, 2, (1, 0, 1)), model(y, one)[:, :, 1::2, ::2, 1::2])


def test_the_typical_brain_has_no_grain(model):
    y, still = torch.zeros(1, 3), model.draw(1, 0)
    before = model(y, still)
    model.generator.grain.fill_(1.0)
    assert torch.equal(model(y, still), before)


def test_fitted_curves_give_fractions_the_originals_distribution(model, monkeypatch):
    """Originals are this generator's brains with an edge that makes it crisper, and with curves that make voxels
    purer; the fit starts without any."""
    monkeypatch.setattr(texture, "SHARE", 4 * texture.SHARE)  # voxels enough for a distribution
    generator = model.generator
    generator.rim.fill_(1.0)
    controls = generator.controls(model.draw(3, 5))

    def make():
        return generator.unfinished(controls)

    plain = generator.render(controls)
    generator.edge.copy_(torch.linspace(-2.0, 2.0, CURVE_STEPS + 1))
    generator.curves[:, : CURVE_STEPS // 3] = torch.tensor([-1.0, -4.0, -0.5])[:, None]
    generator.curves[1, CURVE_STEPS // 2 :] = 1.0
    wanted = generator.render(controls)
    generator.edge.zero_()
    generator.curves.zero_()
    found = Texture(generator, packed(wanted), lambda: np.ones(3))
    generator.template.copy_(found.template)  # as it was: the search's start sharpens
    generator.grain.zero_()
    made = found.fit_curves(make)
    assert torch.allclose(made, generator.render(controls), atol=1e-6), "the generator has the curves"
    limits = (torch.arange(1, 26) - 0.5) / 25.5
    for k in range(4):
        below = [torch.stack([(x[:, k] < v).float().mean() for v in limits]) for x in (plain, wanted, made)]
        off = [(b - below[1]).abs().max().item() for b in below]
        assert off[2] < max(0.2 * off[0], 1.5e-3), (k, off)
    odds = torch.linspace(-CURVE_ENDS, CURVE_ENDS, CURVE_STEPS + 1)
    for curve in (*generator.curves, generator.edge):
        assert ((curve + odds).diff() > -1e-4).all(), "greater odds never become less"


def test_the_search_reports_what_the_generator_has(model, monkeypatch):
    monkeypatch.setattr(texture, "TRIALS", 1)
    monkeypatch.setattr(texture, "FIRST_ROUNDS", 6)
    monkeypatch.setattr(texture, "SHARE", 4 * texture.SHARE)
    generator = model.generator
    controls = generator.controls(model.draw(2, 5))

    def texture_now():
        return texture_of(packed(generator.render(controls)))

    generator.grain.fill_(0.5)
    wanted = packed(generator.render(controls))
    generator.grain.zero_()
    found = Texture(generator, wanted, lambda: np.ones(3))
    before = texture_now()
    found.search(lambda: generator.unfinished(controls))
    after, numbers, real = texture_now(), found.numbers(), texture_of(wanted)
    assert generator.grain.tolist() == pytest.approx(
        [numbers[f"grain_{t}"] for t in ("wm", "gm", "csf")], rel=1e-5
    )

    def off(of):
        return sum(abs(np.log(of[k] / real[k])) for k in real if k.startswith("detail"))

    assert off(after) < off(before)


def test_slopes_are_tried_once_and_follow_each_step():
    """Least squares of three curved functions of two numbers, with a bound; the minimum is known."""
    asked = []

    def function(x):
        asked.append(x.copy())
        return np.asarray([x[0] ** 2 - 1.44, x[0] * x[1] - 1.8, 0.1 * (x[1] - 1.5)])

    high = np.asarray([3.0, 2.0])
    steps = texture.Slopes(function, high)
    start = np.asarray([2.0, 1.95])
    found = least_squares(steps, start, steps.at, bounds=((1.0, 1.0), high), max_nfev=12)
    assert found.x == pytest.approx([1.2, 1.5], abs=1e-3)
    assert len(asked) <= 14 and asked[1].tolist() == [2.2, 1.95], "the first number is tried upwards"
    assert asked[2].tolist() == pytest.approx([2.0, 1.755]), (
        "and the second downwards, since its bound is near"
    )
    again = texture.Slopes(function, high, steps.slopes)
    before = len(asked)
    assert again.at(start).shape == (3, 2) and len(asked) == before, (
        "slopes that are known are not tried again"
    )


def test_grain_too_faint_to_see_is_left_out(model, monkeypatch):
    monkeypatch.setattr(texture, "FIRST_ROUNDS", 1)
    controls = model.generator.controls(model.draw(1, 5))
    kinds = [f"{kind}_{t}" for kind in ("sharpness", "grain") for t in ("wm", "gm", "csf")]
    originals = packed(model.generator.render(controls))

    def stay(steps, start, *_, **__):  # a search that ends where it began
        steps(start)
        return SimpleNamespace(x=start)

    monkeypatch.setattr(texture, "least_squares", stay)
    for grain, left in ((0.008, 0.0), (0.05, 0.05)):
        near = dict(zip(kinds, (0.5, 0.2, 0.1, 0.002, grain, 0.004), strict=True))
        found = Texture(model.generator, originals, lambda: np.ones(3), near=near)
        found.search(lambda: model.generator.unfinished(controls))
        assert found.numbers()["grain_gm"] == pytest.approx(left) == model.generator.grain[1].item()


def test_a_search_near_another_texture_begins_there_and_leaves_the_response(model):
    generator = model.generator
    kinds = [f"{kind}_{t}" for kind in ("sharpness", "grain") for t in ("wm", "gm", "csf")]
    before = dict(zip(kinds, (0.5, 0.2, 0.1, 0.3, 1.2, 0.7), strict=True))
    codes = generator.linear.weight.clone()
    wanted = packed(generator(model.draw(2, 5)))
    found = Texture(generator, wanted, lambda: np.ones(3), near=before | {"response": 1.4})
    assert found.numbers() == pytest.approx(before | {"response": 1.0})
    assert generator.grain.tolist() == pytest.approx([0.3, 1.2, 0.7])
    found.apply(found.searched + 0.1)
    assert found.numbers()["response"] == 1.0 and torch.equal(generator.linear.weight, codes)
    assert found.numbers()["grain_csf"] == pytest.approx(0.8)


def test_a_texture_that_is_kept_gets_curves_alone(model, monkeypatch):
    monkeypatch.setattr(texture, "FIRST_ROUNDS", 1)
    generator = model.generator
    controls = generator.controls(model.draw(1, 5))
    kinds = [f"{kind}_{t}" for kind in ("sharpness", "grain") for t in ("wm", "gm", "csf")]
    kept = dict(zip(kinds, (0.5, 0.2, 0.1, 0.3, 1.2, 0.7), strict=True))
    found = Texture(generator, packed(generator.render(controls)), lambda: np.ones(3), near=kept, keep=True)
    template = generator.template.clone()
    found.search(lambda: generator.unfinished(controls))
    assert found.numbers() == pytest.approx(kept | {"response": 1.0})
    assert torch.equal(generator.template, template) and generator.curves.any()
