"""The training loop, for every family: what moves, both steps, resuming, accumulation, processes, divergence."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from csegsynth_core.data.volume_centiles import VolumeCentiles
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.generate import generate_one
from csegsynth_core.models.blocks import Dropout, dropout_drawn
from csegsynth_core.models.family import UNCONDITIONAL
from csegsynth_core.models.voxel import VoxelDecoder
from csegsynth_core.pack import load_pack, save_pack
from csegsynth_core.tissue import TISSUES
from tests.toy import make_cohort
from train import checkpoint, principal
from train.__main__ import main
from train.config import TrainConfig
from train.csegsynth import neighbours
from train.engine import Engine, _counted, build, launch, open_people, train
from train.pack import make_comparison, make_pack, model_of_run
from train.people import person_key
from train.run_folder import check_split, steps_of
from train.start import codes_of_people
from train.steps import train_both

SMALL = {
    "validation_draws": 1,
    "validate_every": 1000,
    "save_every": 1000,
    "log_every": 1,
    "pictures_every": 0,
}


NEWTON_STEPS = principal.NEWTON_STEPS


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Models without features are validated by two brains; codes are moved towards people's volumes once, and so is
    the decoder of LDM, by two people."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.engine.UNCONDITIONAL_DRAWS", 2)
        patch.setattr(principal, "NEWTON_STEPS", 1)
        patch.setattr("train.ldm.FEW", 2)
        patch.setattr("train.ldm.SHIFTS", 1)
        yield


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("toy"), people=10)


def needs(model):
    if model in ("ldm", "c_ldm"):
        pytest.importorskip("einops")  # MONAI's attention layers


def config_of(model, *texts, **settings):
    return replace(TrainConfig.named("tiny", model), **(SMALL | settings)).with_overrides(list(texts))


def curve(out):
    with (out / "metrics.csv").open(newline="") as file:
        return {(int(r["step"]), r["name"]): float(r["value"]) for r in csv.DictReader(file)}


STEPS = [
    ("vae", "pretrain", {"main": {"encoder", "mean", "log_variance", "decoder"}}),
    (
        "c_vae",
        "finetune",
        {
            "main": {
                "encoder",
                "mean",
                "log_variance",
                "decoder",
                "prior",
                "condition_encoder",
                "condition_decoder",
            }
        },
    ),
    ("gan", "pretrain", {"critic": {"discriminator"}, "generator": {"generator"}}),
    ("c_gan", "finetune", {"critic": {"discriminator"}, "generator": {"generator", "conditioner"}}),
    ("ldm", "autoencoder", {"autoencoder": {"autoencoder"}, "critic": {"discriminator"}}),
    ("ldm", "pretrain", {"diffusion": {"unet", "constant"}}),
    ("c_ldm", "finetune", {"diffusion": {"unet", "constant", "conditioner", "expects"}}),
    (
        "alpha_gan",
        "pretrain",
        {
            "main": {"encoder", "generator"},
            "image": {"discriminator"},
            "code": {"code_discriminator"},
        },
    ),
    (
        "csegsynth",
        "finetune",
        {
            "main": {"encoder", "generator", "prior"},
            "image": {"discriminator"},
            "code": {"code_discriminator"},
        },
    ),
    ("csegsynth", "prior", {"main": {"prior"}, "code": {"code_discriminator"}}),
]


@pytest.mark.parametrize(("model", "kind", "moved"), STEPS, ids=[f"{m}-{k}" for m, k, _ in STEPS])
def test_each_descent_moves_the_papers_parameters_alone(cohort, model, kind, moved, monkeypatch):
    """Eq. 2-15 name the parameters of every loss: φ, θ, ω, η, ψ."""
    needs(model)
    config = config_of(model, ridge_start=False, critic_steps=1)
    config = replace(config, stages=(replace(config.stages[-1], kind=kind, steps=1),))
    engine = build(open_people(cohort, config), config)
    with torch.no_grad():  # some start at zero, and nothing behind them would get a gradient
        for parameter in engine.model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    own = Engine._descend
    seen = {}

    def watched(self, name):
        before = {k: v.clone() for k, v in self.model.named_parameters()}
        own(self, name)
        now = dict(self.model.named_parameters())
        seen[name] = {k.split(".")[0] for k, v in now.items() if not torch.equal(v, before[k])}

    monkeypatch.setattr(Engine, "_descend", watched)
    report = engine.step()
    assert seen == moved
    assert all(np.isfinite(v) for v in report.values())


@pytest.mark.parametrize(
    ("model", "critics", "penalty"),
    [("csegsynth", {"image", "code"}, "train.csegsynth"), ("c_gan", {"critic"}, "train.gan")],
)
def test_stages_may_have_discriminator_settings_of_their_own(cohort, model, critics, penalty, monkeypatch):
    """The reference pre-trained with other critic rates and gradient penalties than it fine-tuned with."""
    config = config_of(model, "critic_rate=1e-5", "weights.penalty=0.5", critic_steps=1, ridge_start=False)
    stages = [replace(config.stages[-1], kind=k, steps=1) for k in ("pretrain", "finetune")]
    stages[0] = replace(stages[0], critic_rate=4e-5, penalty=7.0)
    engine = build(open_people(cohort, config), replace(config, stages=tuple(stages), code_critic_factor=2.0))
    monkeypatch.setattr(f"{penalty}.gradient_penalty", lambda *_: torch.ones((), requires_grad=True))
    for name in ("discriminator", "code_discriminator"):
        if hasattr(engine.model, name):
            silent = lambda x: 0.0 * (x.flatten(1).sum(1) + torch.ones((), requires_grad=True))  # noqa: E731
            monkeypatch.setattr(getattr(engine.model, name), "forward", silent)
    monkeypatch.setattr(engine.method, "before_step", lambda *_: None)
    monkeypatch.setattr(Engine, "_descend", lambda self, name: None)
    for rate, weight in ((4e-5, 7.0), (1e-5, 0.5)):
        report = engine.step()
        engine._advance()
        found = {n: engine.method.optimisers[n].param_groups[0]["lr"] for n in critics}
        assert found == pytest.approx({n: rate * (2.0 if n == "code" else 1.0) for n in critics})
        if model == "c_gan":
            assert report["penalty"] == pytest.approx(weight)
        else:  # two kinds of made brains, and of codes: α-GAN has one kind of the latter
            assert report["critic"] == pytest.approx(2 * weight)


FRESH = {
    "c_vae": {"prior", "condition_encoder", "condition_decoder"},
    "c_gan": {"conditioner"},
    "c_ldm": {"conditioner", "expects"},
    "csegsynth": {"prior"},
}
"""What takes features, and has no counterpart in the unconditional model."""


def watched_inheritance(patch):
    """Every run's tensors before and after it inherits, and its averages then; filled as runs start."""
    own, seen = Engine.inherit, []

    def inherit(self, found, run):
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        taken = own(self, found, run)
        now = {k: v.clone() for k, v in self.model.state_dict().items()}
        seen.append((before, now, {k: v.clone() for k, v in self.averaged.items()}))
        return taken

    patch.setattr(Engine, "inherit", inherit)
    return seen


def assert_inherited(model, run, pretrained, seen):
    """Every tensor of the unconditional model, averaged where it generates (Fig. 1), and nothing else of it."""
    before, now, averages = seen
    found = checkpoint.read(pretrained / "checkpoint.safetensors")
    assert json.loads(found["config"])["model"] == UNCONDITIONAL[model]
    noted = json.loads((run / "inherited.json").read_text())
    split = json.loads((pretrained / "split.json").read_text())
    assert noted == {
        "from": str(pretrained.resolve()),
        "tensors": sorted(found["model"]),
        "steps": found["done"],
        "seconds": pytest.approx(found["seconds"][0], abs=0.06),
        "seen": sorted(split["train"] + split["images_only"]),
    }
    averaged = found["averaged"]
    assert averaged and any(not torch.equal(found["model"][k], v) for k, v in averaged.items())
    for name, value in (found["model"] | averaged).items():
        assert torch.equal(now[name], value), name
    fresh = now.keys() - found["model"].keys()
    assert {name.split(".")[0] for name in fresh} == FRESH[model]
    for name in fresh:
        assert torch.equal(now[name], before[name]), name
    for name, value in averages.items():
        assert torch.equal(value, now[name]), name


@pytest.fixture(scope="module")
def csegsynth_runs(cohort, tmp_path_factory):
    """Runs `one`, α-GAN, and `two`, CSegSynth from there, in two commands; and what `two` inherited."""
    runs = tmp_path_factory.mktemp("csegsynth")
    with pytest.MonkeyPatch.context() as patch:
        seen = watched_inheritance(patch)
        for command in (
            ["pretrain", "alpha_gan", "--out", str(runs / "one")],
            ["finetune", "csegsynth", "--out", str(runs / "two"), "--from", str(runs / "one")],
        ):
            common = ["--cohort", str(cohort), "--preset", "tiny", "--quiet"]
            common += ["--set", "validate_every=1000", "save_every=1000"]
            assert main([*command, *common]) == 0
    (inherited,) = seen
    return runs, inherited


def test_csegsynth_starts_from_alpha_gan(csegsynth_runs):
    runs, inherited = csegsynth_runs
    assert_inherited("csegsynth", runs / "two", runs / "one", inherited)
    assert all(len(list((runs / name / "pictures").iterdir())) == 1 for name in ("one", "two"))


@pytest.fixture(scope="module")
def pack_folder(cohort, csegsynth_runs, tmp_path_factory):
    """A pack of CSegSynth trained in two commands, without measurements."""
    runs, out = csegsynth_runs[0], tmp_path_factory.mktemp("packs") / "toy"
    model, _, _ = model_of_run(runs / "two")
    people = open_people(cohort, TrainConfig.named("tiny"))
    ids, ages = people.cohort.ids, np.linspace(20, 80, 24)
    return save_pack(
        out,
        about={
            "name": "toy",
            "title": "Toy",
            "simulated": False,
            "licence": "CC0",
            "attribution": "nobody",
            "people": {
                "train": sorted(person_key(ids[int(r)]) for r in people.train),
                "validation": sorted(person_key(ids[int(r)]) for r in people.validation),
            },
        },
        model=model,
        encoder=people.encoder,
        regressions=None,
        centiles=VolumeCentiles.fit(ages, None, {t: 500 + np.sin(ages) for t in TISSUES}),
        metrics={},
        card="",
    )


@pytest.mark.parametrize("model", ["c_vae", "c_gan", "c_ldm"])
def test_both_steps_then_a_pack_then_a_brain(cohort, pack_folder, tmp_path, model, capsys, monkeypatch):
    """`train both`, `train pack`, `generate`: what was inherited, what was logged, what is shipped."""
    needs(model)
    run = tmp_path / "run"
    common = ["--cohort", str(cohort), "--preset", "tiny", "--quiet"]
    seen = watched_inheritance(monkeypatch)
    assert main(["both", model, *common, "--out", str(run), "--set", "save_every=1000"]) == 0
    (inherited,) = seen
    assert_inherited(model, run, run / "pretrain", inherited)
    before = checkpoint.read(run / "pretrain" / "checkpoint.safetensors")
    assert all(np.isfinite(v) for v in (curve(run) | curve(run / "pretrain")).values())
    assert json.loads((run / "time.json").read_text())["minutes"] > 0
    for one in (run, run / "pretrain"):
        steps = json.loads((one / "time.json").read_text())["steps"]
        (file,) = (one / "pictures").iterdir()
        picture = np.asarray(Image.open(file))
        assert file.name == f"step-{steps:06d}.png" and picture.shape == (3 * 112, 2 * 3 * 112, 3)
        assert picture[:112].max() > 100
    folder = pack_folder / "comparison" / model
    assert main(["pack", "--run", str(run), "--cohort", str(cohort), "--out", str(folder)]) == 0
    pack = load_pack(pack_folder)
    assert pack.comparisons()[model] == folder
    other = load_pack(folder)
    assert other.model.family == model and other.about["training"]["pretraining_steps"] == before["done"]
    brain = generate_one(other, {"age": 40, "sex": "F"}, seed=3)
    assert brain.maps.shape == (3, 80, 128, 128) and brain.maps.sum(axis=0).max() <= 1 + 1e-5
    assert brain.volumes_ml == generate_one(load_pack(folder), {"age": 40, "sex": "F"}, seed=3).volumes_ml


def test_comparison_models_must_belong_to_the_pack(cohort, pack_folder, tmp_path):
    with pytest.raises(CSegSynthError, match="no place for a model to compare with"):
        make_comparison(tmp_path, cohort, tmp_path / "c_vae")
    train(cohort, tmp_path / "other", config_of("c_vae", "seed=3").only("finetune"), progress=False)
    with pytest.raises(CSegSynthError, match="trained on other people"):
        make_comparison(tmp_path / "other", cohort, pack_folder / "comparison" / "wrong")
    train(cohort, tmp_path / "free", config_of("vae"), progress=False)
    with pytest.raises(CSegSynthError, match="takes no features"):
        make_comparison(tmp_path / "free", cohort, pack_folder / "comparison" / "wrong")
    with pytest.raises(CSegSynthError, match=r"of c_vae, which is no pack by itself.*comparison/c_vae"):
        make_pack(tmp_path / "other", cohort, tmp_path / "pack", {"name": "wrong"})


@pytest.mark.parametrize("model", ["c_vae", "gan", "ldm"])
def test_a_stopped_run_goes_on_as_it_would_have(cohort, tmp_path, model):
    needs(model)
    config = config_of(model, {"c_vae": "steps=4,3", "gan": "steps=4", "ldm": "steps=2,3"}[model])
    train(cohort, tmp_path / "whole", config, progress=False)
    train(cohort, tmp_path / "parts", config, progress=False, stop_after=3)
    train(cohort, tmp_path / "parts", config, progress=False)
    whole, parts = (
        {k: v for k, v in curve(tmp_path / name).items() if not k[1].startswith("validation")}
        for name in ("whole", "parts")
    )
    assert whole == parts and {step for step, _ in whole} == set(range(1, config.total_steps + 1))
    one, two = (checkpoint.read(tmp_path / p / "checkpoint.safetensors") for p in ("whole", "parts"))
    for part in ("model", "averaged"):
        assert all(torch.equal(one[part][k], two[part][k]) for k in one[part]), part
    assert one["stage_steps"] == two["stage_steps"] == [s.steps for s in config.stages]


def test_steps_of_a_call_are_those_of_both_steps_together(cohort, tmp_path):
    """Whichever step they are of: call after call goes on, and ends in the second one."""
    config = config_of("c_vae", "steps=2,3")
    done = []
    for _ in range(3):
        train_both(cohort, tmp_path, config, progress=False, stop_after=2)
        done.append((steps_of(tmp_path / "pretrain"), steps_of(tmp_path)))
    assert done == [(2, 0), (2, 2), (2, 3)]
    with pytest.raises(CSegSynthError, match=r"Expected: 0 \(to the end\) or more"):
        train_both(cohort, tmp_path, config, progress=False, stop_after=-1)


def test_a_run_goes_on_with_its_own_people_alone(cohort, tmp_path):
    """Neither resumed nor packed with others; `split.json` says whose it is."""
    others = make_cohort(tmp_path / "others", people=10, who="other")
    config, run = config_of("c_vae", "steps=0,2").only("finetune"), tmp_path / "run"
    train(cohort, run, config, progress=False, stop_after=1)
    with pytest.raises(CSegSynthError, match=r"begun on other people.*0 of the 8 trained on"):
        train(others, run, config, progress=False)
    train(cohort, run, config, progress=False)
    with pytest.raises(CSegSynthError, match="begun on other people"):
        check_split(run, open_people(others, config))
    (run / "split.json").unlink()
    with pytest.raises(CSegSynthError, match="nothing tells whom"):
        check_split(run, open_people(cohort, config))


def test_networks_of_another_family_are_refused(cohort, tmp_path):
    train(cohort, tmp_path / "vae", config_of("vae", "steps=1"), progress=False)
    with pytest.raises(CSegSynthError, match=r"c_gan does not start from vae.*run of c_gan or gan"):
        train(
            cohort, tmp_path / "gan", config_of("c_gan").only("finetune"), progress=False,
            start_from=tmp_path / "vae",
        )  # fmt: skip
    assert not (tmp_path / "gan" / "checkpoint.safetensors").exists()


def test_a_run_with_another_template_is_refused(cohort, tmp_path):
    """Its networks come with it: the card would tell of a template that the model does not have."""
    config = config_of("csegsynth").only("finetune")
    engine = build(open_people(cohort, config), config)
    theirs = config_of("alpha_gan", "template_t1=0.2").to_dict()
    with pytest.raises(CSegSynthError, match="another template") as caught:
        engine.inherit({"config": json.dumps(theirs), "model": {}}, tmp_path)
    assert "Expected: template_t1=0," in str(caught.value) and "Got: template_t1=0.2." in str(caught.value)


def test_csegsynth_with_a_voxel_decoder(cohort, tmp_path):
    """What the template is compared with: the same losses and start, voxels decoded as in the paper."""
    config = config_of("csegsynth", "steps=1,2,1", "networks.decoder=voxel")
    train(cohort, tmp_path, config, progress=False)
    model, _, _ = model_of_run(tmp_path)
    assert isinstance(model.generator, VoxelDecoder) and model.noise_width == 0
    assert model.generator.straight.weight.abs().sum() > 0, "it starts at principal components"
    found = model.generate(torch.zeros(1, model.config.features), 1, seed=3)
    real = open_people(cohort, config).volumes_ml[:, 1]
    assert 0.5 * real.min() < found.volumes_ml[0, 0, 1] < 2 * real.max()
    with pytest.raises(CSegSynthError, match=r"template or voxel"):
        config.with_overrides(["networks.decoder=graph"]).shapes(5)


def test_gan_without_a_start_is_fine_tuned(cohort, tmp_path):
    """Where nobody's brains have given the decoder a straight way, codes say nothing."""
    engine = build(open_people(cohort, config_of("c_gan")), config_of("c_gan"))
    codes = codes_of_people(engine, engine.model.generator)
    assert codes.shape == (len(engine.people.train), engine.model.config.latent) and not codes.any()


def test_a_stop_is_no_validation(cohort, tmp_path, monkeypatch):
    """Interrupted at every step, a run validates, waits and ends where an uninterrupted one does."""
    config = config_of("gan", "steps=9", validate_every=2, select="best", patience=1)
    monkeypatch.setattr(Engine, "validate", lambda self: {"validation_error": float(self.done)})
    for name, stop_after, calls in (("whole", 0, 1), ("parts", 1, 4)):
        for _ in range(calls):
            train(cohort, tmp_path / name, config, progress=False, stop_after=stop_after)
    whole, parts = curve(tmp_path / "whole"), curve(tmp_path / "parts")
    assert whole == parts
    assert [step for step, name in whole if name == "validation_error"] == [2, 4]
    states = [checkpoint.read(tmp_path / p / "checkpoint.safetensors") for p in ("whole", "parts")]
    assert states[0]["best"] == states[1]["best"] == [-2.0, 1]
    assert all(torch.equal(states[0]["averaged"][k], states[1]["averaged"][k]) for k in states[0]["averaged"])


def test_the_end_is_validated(cohort, tmp_path):
    """Also where the last step is that of a stop."""
    config = config_of("gan", "steps=3")
    train(cohort, tmp_path, config, progress=False, stop_after=3)
    assert {step for step, name in curve(tmp_path) if name.startswith("validation")} == {3}


def test_tensorboard_keeps_every_step_of_a_stopped_run(cohort, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = config_of("gan", "steps=4")
    for _ in range(2):
        train(cohort, tmp_path, config, progress=False, stop_after=2)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("critic")] == [1, 2, 3, 4]


PARTS = [
    ("vae", "pretrain"),
    ("gan", "pretrain"),
    ("alpha_gan", "pretrain"),
    ("csegsynth", "finetune"),
]


@pytest.mark.parametrize(("model", "step"), PARTS, ids=[m for m, _ in PARTS])
def test_parts_of_a_batch_do_what_the_batch_does(cohort, model, step):
    """Gradient accumulation: two parts of two people are a batch of four; noise, dropout and mixtures included."""
    found = []
    for batch, accumulate in ((4, 1), (2, 2)):
        config = config_of(model, batch=batch, accumulate=accumulate).only(step)
        engine = build(open_people(cohort, config), config)
        found.append([engine.step() for _ in range(2)])
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name] == pytest.approx(two[name], rel=2e-3, abs=2e-4), name


def test_people_are_mixed_in_pairs_and_dropout_is_handed_in():
    assert [neighbours(n).tolist() for n in (1, 3, 4)] == [[0], [1, 0, 2], [1, 0, 3, 2]]
    layer, x = Dropout(0.25), torch.tensor([[3.0, 6.0], [9.0, 12.0]])
    with dropout_drawn(torch.nn.Sequential(layer), lambda _: torch.tensor([[0.1, 0.25], [0.9, 0.2]])):
        assert torch.equal(layer(x), torch.tensor([[0.0, 8.0], [12.0, 0.0]]))
        assert torch.equal(layer.eval()(x), x)
    kept = layer.train()(torch.ones(4000))
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.05) and set(kept.tolist()) == {
        0.0,
        float(kept.max()),
    }
    assert not Dropout(1.0)(x).any()


def in_two_processes(*command):
    """Run a script or module under torchrun with gloo."""
    root = Path(__file__).parents[1]
    run = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [*run, *(str(part) for part in command)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_do_what_one_does_with_the_doubled_batch(cohort, tmp_path, monkeypatch):
    """The same losses, weights and one log."""
    monkeypatch.setattr(principal, "NEWTON_STEPS", NEWTON_STEPS)  # as in the other processes
    small = {"steps": "0,2,0", "component_steps": 1, "networks.latent": 6, "networks.components": 6}
    texts = [f"{k}={v}" for k, v in small.items()]
    train(cohort, tmp_path / "one", config_of("csegsynth", *texts, batch=4), progress=False)
    settings = [*texts, *(f"{k}={v}" for k, v in (SMALL | {"batch": 2}).items())]
    common = ("--preset", "tiny", "--quiet", "--cohort", cohort)
    in_two_processes("-m", "train", "csegsynth", *common, "--out", tmp_path / "two", "--set", *settings)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value == pytest.approx(two[key], rel=2e-3, abs=2e-4), key
    states = [checkpoint.read(tmp_path / p / "checkpoint.safetensors")["averaged"] for p in ("one", "two")]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-4) for k in states[0])


def test_processes_do_not_drift_apart(cohort, tmp_path):
    """The first process's clock, and what it has fitted at a stage's start, count for both."""
    in_two_processes("-m", "tests.drifting", cohort, tmp_path)
    one, two = (torch.load(tmp_path / f"rank-{k}.pt") for k in range(2))
    assert (one["rate"], one["clock"]) == (two["rate"], two["clock"])
    for part in ("weights", "averages"):
        assert all(torch.equal(one[part][k], two[part][k]) for k in one[part]), part


def test_weights_that_are_not_numbers_are_never_saved(cohort, tmp_path, monkeypatch):
    """The last good checkpoint stays, whether a loss or only a weight goes wrong."""
    config = config_of("vae", "steps=6", save_every=1)
    train(cohort, tmp_path, config, progress=False, stop_after=2)
    own = Engine._descend

    def broken(self, name):
        own(self, name)
        if self.done == 3:
            next(iter(self.model.parameters())).data.fill_(float("nan"))

    monkeypatch.setattr(Engine, "_descend", broken)
    with pytest.raises(CSegSynthError, match=r"diverged at step 4.*last good checkpoint"):
        train(cohort, tmp_path, config, progress=False)
    assert checkpoint.read(tmp_path / "checkpoint.safetensors")["done"] == 3
    monkeypatch.setattr(Engine, "step", lambda self: {"reconstruction": 1e9})
    with pytest.raises(CSegSynthError, match="diverged at step 3"):
        train(cohort, tmp_path, config, progress=False)


def test_minutes_end_a_run_and_are_recorded(cohort, tmp_path):
    config = config_of("vae", "steps=100000", "minutes=0.02")
    train(cohort, tmp_path, config, progress=False)
    used = json.loads((tmp_path / "time.json").read_text())
    assert 0.02 <= used["minutes"] < 0.2 and 0 < used["steps"] < 1000
    engine = build(open_people(cohort, config), config)
    engine.resume(tmp_path / "checkpoint.safetensors")
    assert engine.ended() and engine.seconds >= 1.2 and 0 < engine.start_seconds < engine.seconds


def test_the_bar_counts_seconds_of_a_budget(cohort):
    config = config_of("vae", "steps=100", "minutes=2")
    engine = build(open_people(cohort, config), config)
    engine.done, engine.seconds = 10, 60.0
    assert _counted(engine, end=100) == (60.0, 120.0)
    assert _counted(engine, end=12) == (100.0, 120.0)  # a call that ends after two more steps
    engine.seconds = 130.0
    assert _counted(engine, end=100) == (120.0, 120.0)
    engine.config = config.with_overrides(["minutes=0"])
    assert _counted(engine, end=100) == (10, 100)


def test_best_weights_are_kept_and_patience_ends_a_run(cohort, tmp_path, monkeypatch):
    """Selection and early stop by the mean validation correlation, of the last stage alone."""
    config = config_of("c_vae", validate_every=1, select="best", patience=2).only("finetune")
    config = config.with_overrides(["steps=9"])
    scores = iter([0.1, 0.6, 0.2, 0.3, 0.9])
    monkeypatch.setattr(Engine, "validate", lambda self: {"validation_r_gm": next(scores)})
    train(cohort, tmp_path, config, progress=False)
    state = checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert (state["done"], state["best"]) == (4, [0.6, 2])
    assert any(not torch.equal(state["averaged"][k], state["averaging"][k]) for k in state["averaged"])


def test_no_other_stage_than_the_last_is_judged(cohort, tmp_path, monkeypatch):
    """A stage's last validation is of its own weights; a last stage without steps does not hide the one before."""
    for steps, scores, best in (("2,2", [0.9, 0.95, 0.3, 0.2], 0.3), ("3,0", [0.5, 0.8, 0.7], 0.8)):
        config = config_of("c_vae", f"steps={steps}", validate_every=1, select="best")
        left = iter(scores)
        monkeypatch.setattr(Engine, "validate", lambda self, left=left: {"validation_r_gm": next(left)})
        train(cohort, tmp_path / steps, config, progress=False)
        state = checkpoint.read(tmp_path / steps / "checkpoint.safetensors")
        assert (state["done"], state["best"][0]) == (len(scores), best)


def test_parts_of_odd_size_are_warned_of(cohort, caplog):
    """They mix other people than the whole batch does; even ones, and whole batches, say nothing."""
    for batch, accumulate, warned in ((3, 2, True), (2, 2, False), (3, 1, False)):
        caplog.clear()
        config = config_of("csegsynth", batch=batch, accumulate=accumulate).only("finetune")
        engine = build(open_people(cohort, config), config)
        engine.method.begin_stage(engine, config.stages[0])
        assert ("batch=3 is odd" in caplog.text) == warned


def test_mixed_precision_trains(cohort):
    """bfloat16 on a CPU: losses near those of full precision."""
    found = []
    for precision in ("full", "mixed"):
        config = config_of("alpha_gan", f"precision={precision}")
        engine = build(open_people(cohort, config), config, launch(config))
        found.append(engine.step()["reconstruction"])
    assert found[0] == pytest.approx(found[1], rel=0.02) and found[0] != found[1]


def test_a_cohort_without_features_can_be_pretrained_on(cohort, tmp_path):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(cohort, bare)
    (bare / "participants.tsv").unlink()
    train(bare, tmp_path / "run", config_of("vae"), progress=False)
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["train"] == [] and len(split["images_only"]) == 9 and len(split["validation"]) == 2
    with pytest.raises(CSegSynthError, match="has no features"):
        train(bare, tmp_path / "two", config_of("c_vae").only("finetune"), progress=False)
    table = (cohort / "participants.tsv").read_text().splitlines()
    few = [*table[:4], *("\t".join([row.split("\t")[0], *["n/a"] * 4]) for row in table[4:])]
    (bare / "participants.tsv").write_text("\n".join(few) + "\n")
    train(bare, tmp_path / "three", config_of("vae"), progress=False)
    assert json.loads((tmp_path / "three" / "split.json").read_text()) == split


def test_settings_are_nested_and_checked():
    config = TrainConfig.named("compact", "c_vae")
    changed = config.with_overrides(
        ["weights.kl=0.5", "stages.1.rate=3e-3", "networks.width=16", "rate=1e-4"]
    )
    assert changed.weights.kl == 0.5 and changed.shapes(5).width == 16
    assert {s.rate for s in changed.stages} == {1e-4}
    with pytest.raises(CSegSynthError, match="N from 0 to 1"):
        config.with_overrides(["stages.2.rate=1"])
    with pytest.raises(CSegSynthError, match="a whole number"):
        config.with_overrides(["batch=many"])
    for text in ("weights.nothing=1", "stages.7.rate=1", "precision=half", "flips=perhaps", "preset=tiny"):
        with pytest.raises(CSegSynthError):
            config.with_overrides([text])
    with pytest.raises(CSegSynthError, match="no such shape"):
        config.with_overrides(["networks.depth=3"]).shapes(5)
    with pytest.raises(CSegSynthError, match=r"no model 'dcgan'"):
        TrainConfig.named("tiny", "dcgan")
    assert [s.kind for s in TrainConfig.named("paper", "c_ldm").only("pretrain").stages] == [
        "autoencoder",
        "pretrain",
    ]
