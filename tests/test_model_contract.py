"""What every family of models keeps: shapes, sums, determinism, gradients, packs, and what is inherited."""

import json

import pytest
import torch
from safetensors.torch import load, save

from csegsynth_core import grid
from csegsynth_core.errors import PackError
from csegsynth_core.models.csegsynth import Config
from csegsynth_core.models.family import extent, families, family
from csegsynth_core.volumes import volumes_ml

FEATURES = 3
UNCONDITIONAL = {"c_vae": "vae", "c_gan": "gan", "c_ldm": "ldm", "csegsynth": "alpha_gan"}
"""Conditional family → the one whose weights it starts from (paper, Fig. 1)."""


def shapes_of(name, features, preset="tiny"):
    shapes = family(name).shapes
    if shapes is Config:
        return Config.compact(features, latent=16, width=16) if preset == "tiny" else Config.compact(features)
    return shapes.named(preset, features)


def made(name, *, training_networks=True, features=None):
    """An untrained tiny model whose every parameter has been moved, since some start at zero."""
    torch.manual_seed(0)
    found = FEATURES if name in {*UNCONDITIONAL, "linear_gaussian"} else 0
    model = family(name)(
        shapes_of(name, found if features is None else features), training_networks=training_networks
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module", params=families())
def model(request):
    if request.param in ("ldm", "c_ldm"):
        pytest.importorskip("einops")  # MONAI's attention layers
    return made(request.param)


def test_every_family_has_its_unconditional_form():
    assert set(families()) >= set(UNCONDITIONAL) | set(UNCONDITIONAL.values())
    with pytest.raises(PackError, match=r"no model family 'diffeomorphic'.*csegsynth"):
        family("diffeomorphic")


def test_generates_maps_and_volumes_of_people_and_draws(model):
    found = model.generate(torch.randn(2, FEATURES), n=2, seed=4)
    assert found.maps.shape == (2, 2, 4, *grid.SHAPE) and found.volumes_ml.shape == (2, 2, 4)
    assert float(found.maps.min()) >= 0
    assert torch.allclose(found.maps.sum(dim=2), torch.ones(2, 2, *grid.SHAPE), atol=1e-5)
    assert torch.allclose(volumes_ml(found.maps[0])[:, :3], found.volumes_ml[0, :, :3], rtol=1e-4)
    outside = torch.ones(grid.SHAPE, dtype=torch.bool)
    outside[model.region] = False
    assert torch.all(found.maps[0, 0, 3][outside] == 1)


def test_is_deterministic_and_draws_differ(model):
    y = torch.randn(1, FEATURES)
    with torch.inference_mode():
        first, again, other, typical = (model(y, model.draw(1, s)) for s in (3, 3, 4, 0))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-6) and not torch.allclose(first, typical, atol=1e-6)
    assert torch.equal(model.draw(3, 7)[:1], model.draw(1, 7)) and not model.draw(1, 0).any()
    assert first.shape == (1, 4, *extent(model.region))


def test_every_second_voxel_has_the_values_of_all(model):
    assert model.resolutions == (1, 2)
    y, z = torch.randn(1, FEATURES), model.draw(1, 5)
    with torch.inference_mode():
        every, second = model(y, z), model(y, z, 2, (1, 0, 1))
    assert torch.allclose(second, every[..., 1::2, 0::2, 1::2], atol=1e-5)


def test_a_gradient_reaches_every_feature_and_the_noise(model):
    y = torch.randn(1, FEATURES, requires_grad=True)
    z = model.draw(1, 2).requires_grad_(True)
    volumes_ml(model(y, z, 2), 2)[:, :3].square().sum().backward()
    assert z.grad.abs().max() > 0
    if model.conditional:
        assert torch.all(y.grad != 0)
    else:
        assert y.grad is None


def test_generates_the_same_after_save_and_load(model):
    """What a pack stores (`generating_state`, config as JSON) is all that generation needs."""
    config = json.loads(json.dumps(model.config.to_dict()))
    again = family(model.family).from_config(config)
    again.load_state_dict(load(save({k: v.contiguous() for k, v in model.generating_state().items()})))
    assert set(again.state_dict()) == set(model.generating_state())
    assert again.generating_parameters() == model.generating_parameters()
    y, z = torch.randn(1, FEATURES), model.draw(1, 3)
    with torch.inference_mode():
        assert torch.equal(again.eval()(y, z), model(y, z))


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_conditional_models_inherit_the_unconditional_networks(name):
    """Fig. 1, "parameter sharing": everything but what takes features; shapes and names are the same."""
    if name == "c_ldm":
        pytest.importorskip("einops")
    one, two = made(name).state_dict(), made(UNCONDITIONAL[name]).state_dict()
    assert all(one[k].shape == v.shape for k, v in two.items())
    fresh = {k.split(".")[0] for k in one if k not in two}
    assert (
        fresh
        == {
            "c_vae": {"prior", "condition_encoder", "condition_decoder"},
            "c_gan": {"conditioner"},
            "c_ldm": {"conditioner", "expects"},
            "csegsynth": {"prior"},
        }[name]
    )


@pytest.mark.parametrize(
    "name", [n for n in families() if n not in ("csegsynth", "alpha_gan", "linear_gaussian")]
)
def test_compact_comparison_models_are_small_and_the_papers_are_the_papers(name):
    """Half precision in 8 MB; the reference's latent of 1024 and T = 1000."""
    if name in ("ldm", "c_ldm"):
        pytest.importorskip("einops")
    with torch.device("meta"):
        model = family(name)(shapes_of(name, 198, "compact"), training_networks=False)
    assert sum(p.numel() for p in model.parameters()) * 2 < 7.9e6
    paper = shapes_of(name, 198, "paper")
    if name in ("ldm", "c_ldm"):
        from csegsynth_core.models.ldm import STEPS

        assert STEPS == 1000 and paper.latent_size == [10, 16, 16] == [s // 8 for s in grid.SHAPE]
        return
    assert (paper.latent, paper.width) == (1024, 32)
    with torch.device("meta"):
        decoder = getattr(family(name)(paper), "decoder" if "vae" in name else "generator")
    assert decoder.seed.weight.shape == (1024, 1, 10, 16, 16)


def test_latent_diffusion_is_monais():
    """Our noising, padding and sampling loop give what MONAI's inferers give, where the U-Net is alone."""
    pytest.importorskip("einops")
    from monai.inferers import DiffusionInferer, LatentDiffusionInferer
    from monai.networks.schedulers import DDIMScheduler

    from csegsynth_core.models.ldm import SCHEDULE, STEPS

    model, y = made("c_ldm"), torch.randn(2, FEATURES)
    model.gaussian = None
    model.scale.fill_(0.7)
    shapes = model.config
    with torch.no_grad():
        context = model.context(y)
        volume = model.draw(2, 3).view(2, shapes.latent_channels, *shapes.padded_size)
        ddim = DDIMScheduler(num_train_timesteps=STEPS, clip_sample=False, **SCHEDULE)
        ddim.set_timesteps(shapes.sampling_steps)
        theirs = DiffusionInferer(ddim).sample(volume, model.unet, ddim, conditioning=context, verbose=False)
        assert torch.allclose(model.denoise(volume, y), theirs, atol=1e-5)
        x, t = torch.rand(2, 4, *extent(model.region)), torch.tensor([10, 900])
        inferer = LatentDiffusionInferer(
            model.ddpm, 0.7, ldm_latent_shape=shapes.padded_size, autoencoder_latent_shape=shapes.latent_size
        )
        torch.manual_seed(1)
        theirs = inferer(x, model.autoencoder, model.unet, volume, t, condition=context)
        torch.manual_seed(1)
        latents = model.pad(0.7 * model.autoencoder.encode_stage_2_inputs(x))
        ours = model.unet(model.noised(latents, volume, t), timesteps=t, context=context)
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert torch.equal(model.pad(model.crop(volume))[..., :13, :], volume[..., :13, :])


def test_a_pack_whose_library_is_missing_says_so(pack, tmp_path, monkeypatch):
    from csegsynth_core import pack as packs

    def missing(name):
        raise ImportError("from einops.layers.torch import Rearrange (No module named 'einops').\n\nmore")

    monkeypatch.setattr(packs, "family", missing)
    with pytest.raises(PackError, match=r"library that is not installed.*einops.*pip install"):
        packs.load_pack(pack.folder)
