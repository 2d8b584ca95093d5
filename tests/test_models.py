"""Shapes, sums, determinism and gradients of the networks, for every preset."""

import pytest
import torch

from csegsynth_core import grid
from csegsynth_core.models.blocks import PriorNetwork, convolve, shuffle_down, shuffle_up
from csegsynth_core.models.csegsynth import Config, CSegSynth
from csegsynth_core.models.family import WHOLE
from csegsynth_core.volumes import volumes_ml
from train.template import set_template

FEATURES = 5
COMPACT = Config.compact(FEATURES, latent=16, width=16)
PAPER = Config("paper", FEATURES, latent=256, width=8, code_width=16)  # the least width that the groups allow


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CSegSynth(COMPACT).eval()


def test_paper_preset_generates_and_learns():
    """One forward and backward pass for all, since its convolutions are slow."""
    torch.manual_seed(0)
    model = CSegSynth(PAPER).eval()
    y = torch.randn(1, FEATURES, requires_grad=True)
    maps = model(y, model.draw(1, 0))
    assert maps.shape == (1, 4, *grid.SHAPE) and model.on_grid(maps) is maps
    assert torch.allclose(maps.sum(dim=1), torch.ones(1, *grid.SHAPE), atol=1e-5)
    maps[:, 1].sum().backward()
    assert torch.all(y.grad != 0)
    with torch.inference_mode():
        assert model.encoder(maps).shape == (1, PAPER.latent)
        assert model.discriminator(maps).shape == (1,)
    with pytest.raises(ValueError, match="resolution 1 only"):
        model(y, model.draw(1, 0), 2)


def test_output_is_on_the_grid_and_sums_to_one(model):
    with torch.inference_mode():
        inside = model(torch.randn(2, FEATURES), model.draw(2, 0))
        maps = model.on_grid(inside)
    assert maps.shape == (2, 4, *grid.SHAPE)
    assert float(maps.min()) >= 0
    assert torch.allclose(maps.sum(dim=1), torch.ones(2, *grid.SHAPE), atol=1e-5)
    assert torch.equal(maps[(slice(None), slice(None), *model.region)], inside)
    outside = torch.ones(grid.SHAPE, dtype=torch.bool)
    outside[model.region] = False
    assert torch.all(maps[0, 3][outside] == 1)


def test_every_feature_gets_a_gradient(model):
    y = torch.randn(1, FEATURES, requires_grad=True)
    model(y, model.draw(1, 0))[:, 1].sum().backward()
    assert torch.all(y.grad != 0)


def test_same_seed_same_brain_and_draws_differ(model):
    y = torch.randn(1, FEATURES)
    with torch.inference_mode():
        first, again, other = (model(y, model.draw(1, s)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(model.draw(3, 7)[:1], model.draw(1, 7))  # more draws do not change the first


def test_trunks_give_one_code_and_one_score(model):
    with torch.inference_mode():
        x = model(torch.randn(1, FEATURES), model.draw(1, 0))
        assert model.encoder(x).shape == (1, model.config.latent)
        assert model.discriminator(x).shape == (1,)
        assert model.code_discriminator(torch.zeros(1, model.config.latent)).shape == (1,)


def test_paper_preset_has_the_references_widths():
    config = Config.paper(198)
    with torch.device("meta"):
        model = CSegSynth(config)
    assert (config.latent, config.width, config.code_width) == (1024, 32, 4096)
    assert model.region == WHOLE
    shapes = {tuple(m.weight.shape) for m in model.generator.modules() if isinstance(m, torch.nn.Conv3d)}
    assert (256, 4, 3, 5, 5) in shapes and (64, 4, 3, 5, 5) in shapes and (4, 16, 3, 5, 5) in shapes
    assert model.generator.seed.weight.shape == (1024, 1, 10, 16, 16)
    assert [m.out_features for m in model.prior.layers if isinstance(m, torch.nn.Linear)] == [64, 256, 1024]


def test_compact_preset_is_small():
    assert CSegSynth(Config.compact(20), training_networks=False).generating_parameters() <= 8_000_000


def test_shuffles_agree_with_monai():
    utils = pytest.importorskip("monai.networks.utils")
    x = torch.randn(2, 16, 3, 4, 5)
    assert torch.equal(shuffle_up(x), utils.pixelshuffle(x, 3, 2))
    assert torch.equal(shuffle_down(shuffle_up(x)), x)


def test_coarse_input_equals_repeated_voxels():
    model = CSegSynth(COMPACT).eval()
    size = [s // 2 for s in model.discriminator.trunk.region_size]
    coarse = torch.rand(1, 4, *size)
    repeated = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    with torch.inference_mode():
        assert torch.allclose(model.encoder(coarse), model.encoder(repeated), atol=1e-4)


def test_lone_brain_gives_what_a_batch_gives():
    for stride, bias in ((1, True), (2, True), (1, False)):
        layer = torch.nn.Conv3d(16, 16, 3, stride=stride, padding=1, bias=bias)
        x = torch.randn(1, 16, 5, 6, 7)
        with torch.inference_mode():
            assert torch.allclose(convolve(layer, x), layer(x), atol=1e-5)
            assert torch.allclose(convolve(layer.double(), x.double()), layer(x.double()))
    model = CSegSynth(COMPACT).eval()
    y, z = torch.randn(2, FEATURES), model.draw(2, 0)
    with torch.inference_mode():
        assert torch.allclose(model(y, z)[:1], model(y[:1], z[:1]), atol=1e-4)


def test_affine_moves_the_template_where_it_says():
    """A shift of +10 mm along x in the sampling map moves the brain 10 mm to the left."""
    model = CSegSynth(COMPACT).eval()
    generator = model.generator
    for parameter in generator.parameters():
        torch.nn.init.zeros_(parameter)
    generator.template.fill_(-6.0)
    generator.template[1, 40:44, 50:54, 30:34] = 6.0
    generator.affine.bias.data[3] = 10.0 / 100.0 / 0.1
    with torch.inference_mode():
        gm = generator(torch.zeros(1, model.config.latent))[0, 1]
    where = torch.nonzero(gm > 0.5).float().mean(dim=0)
    assert where.tolist() == pytest.approx([41.5 - 5.0, 51.5, 31.5], abs=0.1)


def test_every_second_voxel_has_the_values_of_all(model):
    """Resolution 2 makes the very values of resolution 1 at every second voxel, and nearly its volumes."""
    generator = model.generator
    set_template(generator)
    torch.nn.init.normal_(generator.linear.weight, std=0.05)
    z = model.draw(2, 3)
    with torch.inference_mode():
        whole, part = generator(z), generator(z, 2, (1, 0, 1))
    assert torch.allclose(whole[..., 1::2, 0::2, 1::2], part, atol=1e-5)
    assert torch.allclose(volumes_ml(whole), volumes_ml(part, 2), rtol=0.02)
    with torch.enable_grad():
        assert torch.allclose(generator(z, 2, (1, 0, 1)), part, atol=1e-5)


def test_features_and_noise_together_are_standard_normal():
    """`set_spread`: S Sᵀ + Cov[P(y)] = I, so that ẑ_cnd has the distribution the generator knows."""
    torch.manual_seed(0)
    prior = PriorNetwork(6, 4, straight=True)
    y = torch.randn(500, 6)
    prior.start_at(0.15 * torch.randn(4, 6), torch.zeros(4))
    prior.set_spread(y)
    with torch.no_grad():
        total = prior.spread @ prior.spread.T + torch.cov(prior(y).T)
    assert torch.allclose(total, torch.eye(4), atol=1e-3)
    z = torch.randn(3, 4)
    assert torch.allclose(prior.condition(z, y[:3]), z @ prior.spread.T + prior(y[:3]))
    with pytest.raises(ValueError, match="linear layer"):
        PriorNetwork(6, 4).start_at(torch.zeros(4, 6), torch.zeros(4))


def test_a_feature_network_starts_at_a_line_and_a_curve():
    """`start_at`: weight · y + bias + curve · (u² − 1); weights of before the curve are those of a flat one."""
    torch.manual_seed(0)
    network = PriorNetwork(6, 4, straight=True).eval()
    y, weight, bias, curve = torch.randn(5, 6), torch.randn(4, 6), torch.randn(4), torch.randn(4)
    network.start_at(weight, bias, curve, 2)
    line = y @ weight.T + bias
    assert torch.allclose(network(y), line + (y[:, 2:3] ** 2 - 1) * curve, atol=1e-6)
    with pytest.raises(ValueError, match="column"):
        network.start_at(weight, bias, curve)
    old = {k: v for k, v in network.state_dict().items() if k not in ("curve", "bends")}
    flat = PriorNetwork(6, 4, straight=True).eval()
    flat.load_state_dict(old)
    assert torch.allclose(flat(y), line, atol=1e-6)
