"""The paper's networks: their sizes, what they take and give, and a step of both training steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from csegsynth_core import grid
from csegsynth_core.models.csegsynth import PaperGenerator
from csegsynth_core.models.family import family
from tests.toy import make_cohort
from train.config import TrainConfig
from train.engine import build, open_people

FEATURES = 198
PARAMETERS = {
    "c_vae": {
        "decoder": 11_861_588,
        "encoder": 10_259_616,
        "mean": 8_393_728,
        "log_variance": 8_393_728,
        "prior": 555_712,
        "condition_encoder": 292_544,
        "condition_decoder": 292_544,
    },
    "c_gan": {"generator": 11_861_588, "discriminator": 14_462_113, "conditioner": 292_544},
    "c_ldm": {
        "autoencoder": 13_776_619,
        "unet": 526_464_003,
        "constant": 2_048,
        "discriminator": 57_305_409,
        "conditioner": 555_712,
    },
    "csegsynth": {
        "encoder": 18_653_344,
        "generator": 11_861_588,
        "prior": 292_544,
        "discriminator": 14_462_113,
        "code_discriminator": 20_983_809,
    },
}
"""Parameters of each network at the reference's widths and 198 features."""
SMALL = {
    "c_vae": ["networks.width=8", "networks.latent=256"],
    "c_gan": ["networks.width=8", "networks.latent=256", "critic_steps=1"],
    "c_ldm": [
        *("networks.width=8", "networks.unet_width=8", "networks.groups=8", "networks.sampling_steps=2"),
        *("warm_up=0", "weights.perceptual=0"),  # its network takes whole brains
    ],
    "csegsynth": ["networks.width=8", "networks.latent=256", "networks.code_width=16"],
}
"""The least widths that the groups allow."""
PART = (slice(32, 48), slice(48, 80), slice(48, 80))
"""Of the grid: the whole one would take minutes."""
STEPS = {
    "c_vae": [
        ({"kl", "reconstruction"}, {"encoder", "mean", "log_variance", "decoder"}),
        ({"kl", "reconstruction", "volume"}, set(PARAMETERS["c_vae"])),
    ],
    "c_gan": [
        ({"critic", "penalty", "score"}, {"generator", "discriminator"}),
        ({"critic", "penalty", "score", "volume", "triplet"}, set(PARAMETERS["c_gan"])),
    ],
    "c_ldm": [
        ({"reconstruction", "kl", "adversarial", "critic"}, {"autoencoder", "discriminator"}),
        ({"noise"}, {"unet", "constant"}),
        ({"noise"}, {"unet", "constant", "conditioner"}),
    ],
    "csegsynth": [
        (
            {"adversarial", "code", "reconstruction", "critic", "code_critic"},
            {"encoder", "generator", "discriminator", "code_discriminator"},
        ),
        (
            {"adversarial", "code", "reconstruction", "volume", "triplet", "code_critic"},
            {"encoder", "generator", "prior", "code_discriminator"},
        ),
    ],
}
"""Of each stage: the terms of its losses, and the networks that it moves."""


def needs(model):
    if model == "c_ldm":
        pytest.importorskip("einops")  # MONAI's attention layers


def network_of(name):
    """The network that a parameter belongs to."""
    return name.split(".")[0]


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_references_sizes_and_take_whole_brains(name):
    """At full width and on the whole grid, without memory or arithmetic."""
    needs(name)
    with torch.device("meta"), torch.inference_mode():
        shapes = TrainConfig.named("paper", name).shapes(FEATURES)
        model = family(name)(shapes, training_networks=True).eval()
        y, x = torch.empty(2, FEATURES), torch.empty(2, 4, *grid.SHAPE)
        found = dict.fromkeys(PARAMETERS[name], 0)
        for parameter, value in model.named_parameters():
            found[network_of(parameter)] += value.numel()
        assert found == PARAMETERS[name]
        if name == "c_ldm":
            latents, deviation = model.autoencoder.encode(x)
            assert latents.shape == deviation.shape == (2, 3, 10, 16, 16)
            padded = model.pad(latents)
            assert padded.shape == (2, 3, 12, 16, 16) and shapes.latent == padded[0].numel()
            assert model.noise_in(padded, torch.empty(2, dtype=torch.long), y).shape == padded.shape
            made = model.autoencoder.decode(model.crop(padded))
        else:
            made = model(y, torch.empty(2, shapes.latent))
        assert made.shape == x.shape
        if name == "c_vae":
            assert [code.shape for code in model.encode(x, y)] == [(2, 1024), (2, 1024)]
        else:
            assert model.discriminator(x).shape == (2,)


class PartGenerator(PaperGenerator):
    """The paper's generator for a part of the grid: its first layer gives a fifth or a quarter along each axis."""

    region = PART

    def __init__(self, config):
        super().__init__(config)
        wide = 32 * config.width
        self.seed = nn.ConvTranspose3d(config.latent, wide, (2, 4, 4), groups=wide)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("toy"), people=10)


@pytest.mark.parametrize("name", STEPS)
def test_every_stage_trains_and_validates(cohort, name, monkeypatch):
    """Every layer and loss of both steps in small; which terms there are, which networks move, what is validated."""
    needs(name)
    for module in ("csegsynth", "voxel"):
        monkeypatch.setattr(f"csegsynth_core.models.{module}.PaperGenerator", PartGenerator)
    if name == "c_ldm":
        monkeypatch.setattr("csegsynth_core.models.ldm.WHOLE", PART)
    whole = TrainConfig.named("paper", name).with_overrides(["batch=2", "accumulate=1", *SMALL[name]])
    seen = []
    for config in (whole.only("pretrain"), whole.only("finetune")):
        config = replace(config, stages=tuple(replace(stage, steps=1) for stage in config.stages))
        engine = build(open_people(cohort, config), config)
        assert engine.model.region == PART
        with torch.no_grad():  # some start at zero, and nothing behind them would get a gradient
            for parameter in engine.model.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        while not engine.ended():
            before = {k: v.clone() for k, v in engine.model.named_parameters()}
            report = engine.step()
            assert all(torch.isfinite(torch.tensor(list(report.values()))))
            now = dict(engine.model.named_parameters())
            moved = {network_of(k) for k, v in now.items() if not torch.equal(v, before[k])}
            seen.append((set(report), moved))
        found = engine.validate()
        kind = "validation_r_" if config.conditional else "validation_mean_error_"
        assert {f"{kind}{tissue}" for tissue in ("wm", "gm", "csf")} <= set(found)
        assert all(torch.isfinite(torch.tensor(list(found.values()))))
    assert seen == STEPS[name]
