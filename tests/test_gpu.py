"""Training and generation on a GPU; skipped where there is none."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from csegsynth_core.models.family import family
from csegsynth_core.volumes import volumes_ml
from tests.toy import make_cohort
from train import checkpoint
from train.config import TrainConfig
from train.engine import build, open_people, train
from train.steps import train_both

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
MODELS = ("csegsynth", "c_vae", "c_gan", "c_ldm")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("gpu") / "toy", people=10)


@pytest.mark.parametrize("precision", ["mixed", "full"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_end_to_end(toy, tmp_path, model, precision):
    config = TrainConfig.named("tiny", model).with_overrides([f"precision={precision}"])
    run = train if model == "csegsynth" else train_both
    state = checkpoint.read(run(toy, tmp_path, config, progress=False))
    assert state["device"] == torch.cuda.get_device_name()
    assert all(torch.isfinite(v).all() for v in state["averaged"].values())
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["value"]) for row in csv.DictReader(file)]
    assert losses and np.isfinite(losses).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_gpu_makes_the_brain_that_a_cpu_makes(toy, model):
    config = TrainConfig.named("tiny", model).with_overrides(["precision=full"])
    engine = build(open_people(toy, config), config)
    there = engine.model.eval()
    here = family(model).from_config(there.config.to_dict()).eval()
    here.load_state_dict(there.generating_state())
    y, z = engine.features[:2], here.draw(2, 5)
    with torch.inference_mode():
        far, near = there(y, z.to(y.device)).cpu(), here(y.cpu(), z)
    assert torch.allclose(far.sum(dim=1), torch.ones(()), atol=1e-4)
    assert float((far - near).abs().mean()) < 2e-3
    found, wanted = (volumes_ml(x)[:, :3] for x in (far, near))
    assert torch.allclose(found, wanted, rtol=0.01)


def test_mixed_precision_keeps_volumes_to_a_percent(toy):
    config = TrainConfig.named("tiny").with_overrides(["precision=mixed"])
    engine = build(open_people(toy, config), config)
    generator = engine.model.generator
    z = torch.randn(2, engine.model.config.latent, device=engine.fabric.device)
    with torch.inference_mode():
        with engine.fabric.autocast():
            mixed = volumes_ml(generator(z))[:, :3]
        full = volumes_ml(generator(z))[:, :3]
    assert torch.allclose(mixed.float(), full, rtol=0.01)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(toy, tmp_path):
    config = TrainConfig.named("tiny").with_overrides(["precision=full"])
    # One start for both: fits differ in rounding.
    train(toy, tmp_path / "whole", config, progress=False, stop_after=1)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    whole = checkpoint.read(train(toy, tmp_path / "whole", config, progress=False))
    train(toy, tmp_path / "parts", config, progress=False, stop_after=1)
    parts = checkpoint.read(train(toy, tmp_path / "parts", config, progress=False))
    assert whole["done"] == parts["done"] > 2
    # Additions on a GPU come in no fixed order: two whole runs differ by up to 1e-2 in a bias of 7, on average 3e-7.
    both = [
        (v.flatten().float(), parts["averaged"][k].flatten().float()) for k, v in whole["averaged"].items()
    ]
    apart = torch.cat([a - b for a, b in both]).abs()
    assert float(apart.mean()) < 3e-6
    assert all(float((a - b).abs().max()) < 5e-3 * max(1.0, float(a.abs().max())) for a, b in both)
