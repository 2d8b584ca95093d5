"""Settings of a run: what is refused and how it is told, what zero may mean, presets."""

import re
from dataclasses import replace

import pytest
import torch

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.family import UNCONDITIONAL
from train.config import Stage, TrainConfig, Weights
from train.steps import train_both

MODELS = (*UNCONDITIONAL, *UNCONDITIONAL.values())
PRESETS = ("paper", "compact", "tiny")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_presets_write_pictures_and_the_papers_keep_the_best(model, preset):
    """The reference kept the epoch with the best correlation of volumes, which only features give."""
    config = TrainConfig.named(preset, model)
    assert config.pictures_every > 0
    assert config.select == ("best" if preset == "paper" and config.conditional else "last")
    assert config.only("pretrain").select == "last"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages.0.kind=nonsense", "pretrain or finetune or prior or autoencoder"),
        ("stages.0.resolution=3", "1 or 2"),
        ("stages.0.resolution=0", "1 or 2"),
        ("stages.0.steps=-1", "a whole number of at least 0"),
        ("steps=-4,4,4", "a whole number of at least 0"),
        ("stages.0.rate=-0.0001", "a number of at least 0"),
        ("rate=inf", "a number of at least 0"),
        ("stages.0.volume_factor=nan", "a number of at least 0"),
        ("stages.0.share=-1.0", "a number of at least 0"),
        ("stages.0.critic_rate=-1.0", "a number of at least 0"),
        ("stages.0.penalty=nan", "a number of at least 0"),
        ("weights.kl=nan", "a number of at least 0"),
        ("weights.volume=-1.0", "a number of at least 0"),
        ("weights.adversarial=inf", "a number of at least 0"),
        ("batch=0", "a whole number of at least 1"),
        ("accumulate=0", "a whole number of at least 1"),
        ("critic_every=0", "a whole number of at least 1"),
        ("critic_steps=0", "a whole number of at least 1"),
        ("triplet_every=0", "a whole number of at least 1"),
        ("log_every=0", "a whole number of at least 1"),
        ("validate_every=0", "a whole number of at least 1"),
        ("save_every=0", "a whole number of at least 1"),
        ("validation_draws=0", "a whole number of at least 1"),
        ("component_people=1", "a whole number of at least 2"),
        ("pictures_every=-1", "a whole number of at least 0"),
        ("patience=-1", "a whole number of at least 0"),
        ("seed=-1", "a whole number of at least 0 and at most 4294967295"),
        ("minutes=-1.0", "a number of at least 0"),
        ("minutes=nan", "a number of at least 0"),
        ("validation_fraction=1.5", "a number above 0 and at most 0.5"),
        ("validation_fraction=0.0", "a number above 0 and at most 0.5"),
        ("average_decay=1.1", "a number of at least 0 and at most 1"),
        ("clip=0.0", "a number above 0"),
        ("prior_decay=-0.1", "a number of at least 0"),
        ("precision=half", "auto or mixed or full"),
        ("select=first", "last or best"),
    ],
)
def test_values_that_no_run_can_use_are_refused(text, expected):
    """What was expected, what came and how to mend it, before anything is read or trained."""
    name, value = text.split("=")
    got = value.split(",")[0]
    told = rf"setting \S*{name} cannot be used\. Expected: {re.escape(expected)}\. Got: '?{got}'?\. Fix: .*preset's"
    with pytest.raises(CSegSynthError, match=told.replace("stages.0.", r"stages\.N\.")):
        TrainConfig.named("tiny").with_overrides([text])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "steps=0,2,0",
            "stages.0.steps=0",
            "stages.2.rate=0",
            "stages.0.share=0",
            "stages.1.volume_factor=0",
        ),
        *("stages.0.critic_rate=0", "stages.0.penalty=0", "weights.triplet=0", "minutes=0", "seed=0"),
        *("pictures_every=0", "patience=0", "warm_up=0", "average_steps=0", "component_steps=0"),
        *("feature_noise=0", "prior_decay=0", "critic_rate=0", "prior_rate=0", "average_decay=0"),
    ],
)
def test_zeros_that_mean_none_or_never_are_taken(text):
    name = text.split("=")[0]
    found = TrainConfig.named("tiny").with_overrides([text])
    if name == "steps":
        assert [stage.steps for stage in found.stages] == [0, 2, 0]
        return
    for part in name.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    assert found == 0


@pytest.mark.parametrize("value", [2.0, "2", True, None])
def test_numbers_of_another_type_are_refused(value):
    with pytest.raises(CSegSynthError, match=rf"setting batch .*whole number.*Got: {re.escape(repr(value))}"):
        replace(TrainConfig.named("tiny"), batch=value)
    with pytest.raises(CSegSynthError, match=r"setting flips .*Expected: true or false"):
        replace(TrainConfig.named("tiny"), flips=1)
    with pytest.raises(CSegSynthError, match=r"setting preset .*Expected: paper or compact or tiny"):
        replace(TrainConfig.named("tiny"), preset="huge")
    assert Weights(1, 0, 0, 0, 0, 0, 0).adversarial == 1  # whole numbers are numbers


@pytest.mark.parametrize(
    ("model", "preset", "text", "problem"),
    [
        (
            "c_vae",
            "tiny",
            "stages.0.kind=autoencoder",
            r"c_vae has no stage 'autoencoder'.*pretrain or finetune",
        ),
        ("c_gan", "compact", "stages.1.kind=prior", r"c_gan has no stage 'prior'"),
        (
            "alpha_gan",
            "tiny",
            "stages.0.kind=finetune",
            r"alpha_gan has no stage 'finetune'.*Expected: pretrain",
        ),
        ("c_ldm", "tiny", "stages.0.resolution=2", r"an autoencoder is trained on all voxels.*resolution=1"),
        (
            "csegsynth",
            "paper",
            "stages.0.resolution=2",
            r"the paper's networks take all voxels.*resolution=1",
        ),
    ],
)
def test_stages_that_a_model_cannot_have_are_refused(model, preset, text, problem):
    with pytest.raises(CSegSynthError, match=problem):
        TrainConfig.named(preset, model).with_overrides([text])


def test_a_run_needs_a_stage_and_a_budget_needs_steps():
    with pytest.raises(CSegSynthError, match="no stages to train vae in"):
        TrainConfig.named("tiny", "vae").only("finetune")
    with pytest.raises(CSegSynthError, match="no stage to spend 5 minutes on"):
        TrainConfig.named("tiny").with_overrides(["steps=0,0,0", "minutes=5"])
    shared = TrainConfig.named("compact", "c_vae").with_overrides(["steps=0,3", "minutes=5"])
    assert shared.only("finetune").total_steps == 3
    with pytest.raises(CSegSynthError, match="no model 'dcgan' to train"):
        TrainConfig("tiny", (Stage("pretrain", 1, 1, 0.1),), Weights(1, 0, 0, 0, 0, 0, 0), model="dcgan")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        *(
            (model, f"networks.{name}")
            for model in MODELS[:3]
            for name in ("features=5", "preset=1", "depth=3")
        ),
        *(("c_vae", "networks.components=3"), ("csegsynth", "networks.hidden=8")),
    ],
)
def test_networks_name_shapes_of_the_model_alone(model, text):
    with pytest.raises(CSegSynthError, match=rf"no such shape of {model}.*networks\.width.*Got: {text[:12]}"):
        TrainConfig.named("tiny", model).with_overrides([text])


@pytest.mark.parametrize(
    ("model", "texts", "problem"),
    [
        ("csegsynth", ["networks.width=0"], r"networks\.width .*a whole number of at least 1.*Got: 0"),
        ("c_vae", ["networks.width=8.5"], r"networks\.width .*a whole number.*Got: 8\.5"),
        ("c_gan", ["networks.dropout=1.5"], r"networks\.dropout .*at most 0\.99.*Got: 1\.5"),
    ],
)
def test_sizes_of_networks_are_checked(model, texts, problem):
    with pytest.raises(CSegSynthError, match=problem):
        TrainConfig.named("tiny", model).with_overrides(texts).shapes(5)


def test_sizes_of_latent_diffusion_are_checked():
    pytest.importorskip("einops")  # MONAI's attention layers
    config = TrainConfig.named("tiny", "c_ldm")
    for text, problem in {
        "networks.latent=20": r"no such shape of c_ldm.*networks\.latent_channels",  # follows from the others
        "networks.unet_levels=0": r"networks\.unet_levels .*a whole number of at least 1",
        "networks.sampling_steps=2000": r"networks\.sampling_steps .*at most 1000.*Got: 2000",
        "networks.groups=7": r"no networks of c_ldm.*multiples of groups.*networks\.groups=7",
    }.items():
        with pytest.raises(CSegSynthError, match=problem):
            config.with_overrides([text]).shapes(5)
    shapes = config.with_overrides(["networks.latent_channels=2"]).shapes(5)
    assert shapes.latent == 2 * config.shapes(5).latent


def test_the_papers_encoder_is_as_wide_as_its_last_stage(tmp_path):
    """`hidden` follows from `width`; what the layers' groups do not divide is told before a cohort is opened."""
    config = TrainConfig.named("paper", "c_vae")
    small = config.with_overrides(["networks.width=8", "networks.latent=256"])
    assert small.shapes(5).hidden == 256 and config.shapes(5).hidden == 1024
    assert small.with_overrides(["networks.hidden=256"]).shapes(5) == small.shapes(5)
    with pytest.raises(CSegSynthError, match=r"networks\.hidden .*Expected: 256.*Got: 128"):
        small.with_overrides(["networks.hidden=128"]).shapes(5)
    for texts in (["networks.width=12"], ["networks.width=64"], ["networks.latent=1000"]):
        with pytest.raises(CSegSynthError, match=r"no networks of (c_vae|vae).*width a multiple of 8"):
            train_both(tmp_path / "none", tmp_path / "run", config.with_overrides(texts), progress=False)


def test_checking_networks_draws_no_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    TrainConfig.named("paper", "c_gan").with_overrides(["networks.width=8", "networks.latent=256"]).shapes(5)
    assert torch.equal(torch.get_rng_state(), before)
