"""Training: what moves, exact resumption, divergence, packs."""

import contextlib
import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from csegsynth_core import metrics
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.errors import CSegSynthError, PackError
from csegsynth_core.export import bids_files
from csegsynth_core.generate import generate_one, volumes_over_draws
from csegsynth_core.models.linear_gaussian import LinearGaussian
from csegsynth_core.pack import VERSION, add_files, load_pack, models_of
from csegsynth_core.regions import region_table
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from tests.toy import make_cohort
from train import (
    baselines,
    calibrate,
    checkpoint,
    evaluate,
    images,
    linear_gaussian,
    principal,
    recalibrate,
    run_folder,
    texture,
)
from train.__main__ import main
from train.config import TrainConfig, completed
from train.engine import Engine, build, open_people, train
from train.evaluate import people_of, regressions_of
from train.extractors import Features
from train.pack import _alike, _steps_said, make_pack, measure, save_comparison, training_people
from train.people import gather, maps_of, split
from train.principal import LONGEST, NEWTON_STEPS, at_volumes, evenly, fit_people, start_at_components
from train.report import as_html, as_text, floor_said
from train.template import start_at_average


@pytest.fixture(scope="module", autouse=True)
def each_map_looked_at_once():
    """Evaluations of the toy pack have the same real people, and most of the generated brains: what our extractors
    see in a map, at 4 mm here, and the regions of a map are kept."""
    own, seen = Features.__call__, {}
    regions, read = evaluate.region_table, {}

    def kept(self, maps, tissue):
        assert tuple(maps.shape) == (len(TISSUES), *(s.stop - s.start for s in _region()))
        if self.slices is not None or self.volumes is not None:
            return own(self, maps, tissue)
        key = hashlib.sha256(maps[tissue].numpy().tobytes()).digest()
        if key not in seen:
            seen[key] = own(self, torch.nn.functional.avg_pool3d(maps, 2), tissue)
        return dict(seen[key])

    def read_once(maps):
        key = hashlib.sha256(maps.tobytes()).digest()
        if key not in read:
            read[key] = regions(maps)
        return dict(read[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Features, "__call__", kept)
        patch.setattr(evaluate, "region_table", read_once)
        yield


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("toy"))


TINY = TrainConfig.named("tiny").with_overrides(["component_steps=2", "component_people=12"])


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(principal, "NEWTON_STEPS", 1)
        train(cohort, out, TINY, progress=False)
    return out


@contextlib.contextmanager
def fewer():
    """Calibration and measurements on fewer people and draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "DRAWS", 4)
        patch.setattr(images, "FLOORS", 1)
        patch.setattr(images, "POOL", 1)
        patch.setattr(texture.Texture, "search", lambda self, make, *_: self.fit_curves(make))
        patch.setattr(texture, "FIRST_ROUNDS", 5)
        patch.setattr(texture, "SHARE", 4 * texture.SHARE)
        patch.setattr(principal, "NEWTON_STEPS", 1)
        few = {
            "PEOPLE": 4,
            "PAIRS": 2,
            "HALVINGS": 1,
            "FIRST_HALVINGS": 1,
            "NARROWINGS": 1,
            "SHIFTS": 1,
            "DRAWS": 4,
            "VARIED": 2,
            "FIRST_VARIED": 2,
            "PLACED": 4,
            "PLACE_STEPS": 1,
            "FEW": 8,
            "RESPONDING": 6,
            "ALIKE": 4,
            "ROUNDS": 1,
        }
        for name, number in few.items():
            patch.setattr(calibrate, name, number)
        yield patch


@pytest.fixture(scope="module")
def pack_folder(cohort, finished, tmp_path_factory):
    about = {"name": "toy", "title": "Toy", "licence": "CC0", "attribution": "nobody"}
    out = tmp_path_factory.mktemp("packs") / "toy"
    with fewer():
        make_pack(finished, cohort, out, about)
    return out


def make_engine(cohort, **settings):
    config = TrainConfig.named("tiny").with_overrides([f"{k}={v}" for k, v in settings.items()])
    return build(open_people(cohort, config), config)


def _region():
    from csegsynth_core import grid

    return grid.BOX


def test_validation_people_are_never_in_training(cohort):
    people = gather(Cohort.open(cohort), _region(), 0.2, 0)
    assert not set(people.train) & set(people.validation)
    assert len(people.train) + len(people.validation) == 30 and len(people.validation) == 6
    assert [people.cohort.ids[i] for i in people.images_only] == ["sub-toy30"]
    everybody = people.parsed
    assert split(everybody, 0.2, 0) == split(everybody, 0.2, 0) != split(everybody, 0.2, 1)


def test_maps_have_the_cohorts_volumes(cohort):
    opened = Cohort.open(cohort)
    maps = maps_of(opened, [0, 3], _region(), 1)
    assert torch.allclose(maps.sum(dim=1), torch.ones_like(maps[:, 0]), atol=1e-5)
    true = opened.volumes_ml.iloc[[0, 3]].to_numpy()
    assert np.allclose(maps.sum(dim=(2, 3, 4))[:, :3].numpy() * 0.008, true, rtol=1e-4)
    every_second = maps_of(opened, [0, 3], _region(), 2, (1, 0, 1))
    assert torch.equal(every_second, maps[..., 1::2, 0::2, 1::2])
    assert np.allclose(every_second.sum(dim=(2, 3, 4))[:, :3].numpy() * 0.064, true, rtol=0.01)


@pytest.mark.slow
def test_training_starts_at_peoples_components(cohort):
    """After the start the generator remakes training people's volumes from their scores, without any step."""
    engine = make_engine(cohort)
    people, generator = engine.people, engine.model.generator
    rows = people.train[:14]
    start_at_average(generator, maps_of(people.cohort, rows, generator.region, 2).mean(dim=0), steps=40)
    fields = fit_people(
        generator,
        lambda k: maps_of(people.cohort, rows[k], generator.region, 1),
        len(rows),
        steps=25,
        batch=7,
        progress=False,
    )
    true = people.volumes_ml[torch.from_numpy(rows), :3]
    scores = start_at_components(generator, fields, true)
    count = len(rows) - 1
    assert torch.all(scores[:, count:] == 0)
    assert torch.allclose(scores[:, :count].mean(dim=0), torch.zeros(count), atol=1e-4)
    assert torch.allclose(scores[:, :count].std(dim=0, correction=0), torch.ones(count), atol=1e-2)
    with torch.no_grad():
        found = volumes_ml(generator(scores, 2), 2)[:, :3]
    for k in range(3):
        assert np.corrcoef(found[:, k], true[:, k])[0, 1] > 0.95
    # From codes that tell too little, to the volumes of the whole.
    near = at_volumes(generator, 0.8 * scores, found)
    with torch.no_grad():
        off = [
            (volumes_ml(generator(z, 2), 2)[:, :3] / found).log().abs().max() for z in (0.8 * scores, near)
        ]
    assert off[0] > 0.02 and off[1] < 0.3 * off[0]


def test_codes_stay_near_where_no_volume_depends_on_them(cohort):
    generator = make_engine(cohort).model.generator
    generator.linear.weight.data.zero_()
    codes = torch.randn(3, generator.latent, generator=torch.Generator().manual_seed(1))
    wanted = torch.tensor([[500.0, 600.0, 200.0]] * 3)
    moved = (at_volumes(generator, codes, wanted) - codes).norm(dim=1)
    assert torch.isfinite(moved).all() and moved.max() < 1.01 * LONGEST * NEWTON_STEPS


def test_some_people_are_taken_evenly():
    assert evenly(5, 240).tolist() == [0, 1, 2, 3, 4]
    assert evenly(1350, 240)[[0, -1]].tolist() == [0, 1349] and len(set(evenly(1350, 240))) == 240


def test_prior_network_starts_at_ridge_regression(cohort, monkeypatch):
    monkeypatch.setattr(principal, "NEWTON_STEPS", 1)
    engine = make_engine(cohort)
    engine.method.start_prior(engine)
    people, prior = engine.people, engine.model.prior.eval()
    y = people.features[torch.from_numpy(people.train)]
    with torch.no_grad():
        codes = engine.model.encoder(maps_of(people.cohort, people.train, engine.model.region, 1))
        codes = at_volumes(engine.model.generator, codes, people.volumes_ml[people.train, :3])
        shift = prior(y)
    assert torch.allclose(shift.mean(dim=0), codes.mean(dim=0), atol=0.01)
    slopes = np.linalg.lstsq(np.c_[y.numpy(), np.ones(len(y))], shift.numpy(), rcond=None)
    assert np.allclose(slopes[1], 0, atol=1e-5)  # linear, no residual


def test_run_resumes_bit_for_bit(cohort, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(principal, "NEWTON_STEPS", 1)
    train(cohort, tmp_path, TINY, progress=False, stop_after=3)
    assert checkpoint.read(tmp_path / "checkpoint.safetensors")["done"] == 3
    train(cohort, tmp_path, TINY, progress=False)
    one, two = (checkpoint.read(p / "checkpoint.safetensors") for p in (finished, tmp_path))
    for part in ("model", "averaged"):
        assert all(torch.equal(one[part][k], two[part][k]) for k in one[part]), part
    assert (finished / "metrics.csv").read_text() == (tmp_path / "metrics.csv").read_text()


def test_settings_that_a_run_could_not_know_are_at_their_defaults():
    """A run of before there were critic rates of stages goes on where these are as they were."""
    config = TrainConfig.named("compact")
    stored = json.loads(json.dumps(config.to_dict()))
    now = json.loads(json.dumps(config.to_dict()))
    del stored["code_critic_factor"], stored["networks"]
    for stage in stored["stages"]:
        del stage["critic_rate"], stage["penalty"]
    assert completed(stored) == now
    assert completed(stored | {"seed": 1}) != now


def test_resuming_with_other_settings_is_refused(cohort, finished):
    with pytest.raises(CSegSynthError, match="started with other settings"):
        train(cohort, finished, TINY.with_overrides(["seed=1"]), progress=False)


def test_divergence_stops_the_run(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "step", lambda self: {"reconstruction": float("nan")})
    config = TINY.with_overrides(["component_steps=0"])
    with pytest.raises(CSegSynthError, match=r"diverged at step 0.*last good checkpoint"):
        train(cohort, tmp_path, config, progress=False)


def test_checkpoint_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(TypeError, match="cannot store set"):
        checkpoint.write(tmp_path / "x.safetensors", {"a": {1, 2}})
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(PackError, match="cannot be read"):
        checkpoint.read(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("text", ["steps=1,2", "nonsense=1", "batch=many", "batch=0", "networks.features=5"])
def test_bad_settings_are_told(text, cohort, tmp_path, capsys):
    status = main(
        [
            "csegsynth",
            "--cohort",
            str(cohort),
            "--out",
            str(tmp_path / "r"),
            "--preset",
            "tiny",
            "--set",
            text,
        ]
    )
    assert status == 2 and "Expected" in capsys.readouterr().err


def test_pack_round_trip(pack_folder, cohort):
    pack = load_pack(pack_folder)
    assert (pack.name, pack.simulated, pack.schema.names) == (
        "toy",
        False,
        ("age", "sex", "height", "marital_status"),
    )
    brain = generate_one(pack, {"age": 40, "sex": "F"}, seed=3)
    assert (
        brain.maps.shape == (3, 80, 128, 128)
        and brain.maps.min() >= 0
        and brain.maps.sum(axis=0).max() <= 1 + 1e-5
    )
    assert set(brain.flags) == {"height", "marital_status"}
    again = generate_one(load_pack(pack_folder), {"age": 40, "sex": "F"}, seed=3)
    assert np.array_equal(brain.maps, again.maps)
    draws = volumes_over_draws(pack, {"age": 40, "sex": "F"}, draws=2, seed=3)
    assert draws.shape == (1, 2, 3)
    assert draws[0, 0] == pytest.approx(list(brain.volumes_ml.values()), rel=1e-4)
    assert "sub-toy" not in "".join(p.read_text() for p in pack_folder.glob("*.json"))  # nobody is named


@pytest.mark.slow
def test_a_pack_is_calibrated_again_from_its_own_weights(pack_folder, cohort, tmp_path):
    """Texture starts anew, at the template as it was before any; mean volumes are the people's as before."""
    again = tmp_path / "again"
    shutil.copytree(pack_folder, again)
    with fewer() as patch:
        patch.setattr(recalibrate, "measure", lambda folder, *_, **__: {"measured": folder})
        assert recalibrate.recalibrate(again, Cohort.open(cohort), progress=False) == {"measured": again}
    before, after = load_pack(pack_folder), load_pack(again)
    assert (
        after.about["training"].pop("calibrated_again") and "calibrated_again" not in before.about["training"]
    )
    for key in ("people", "run", "steps", "licence", "attribution", "notes"):
        assert after.about.get(key) == before.about.get(key), key
    assert set(after.about["files"]) == set(before.about["files"])
    noise = (before.about["noise"], after.about["noise"])
    assert noise[1]["response"] == noise[0]["response"], "codes have been given it"
    assert noise[1]["grain_gm"] == noise[0]["grain_gm"] == pytest.approx(texture.START[4]), "not added up"
    assert noise[1]["template_t1"] == noise[0]["template_t1"] == 0.0
    contrasts = [t - t.mean(dim=0) for t in (p.model.generator.template for p in (before, after))]
    assert float((contrasts[1] - contrasts[0]).abs().max()) < 0.05, "no sharper than once"
    people = training_people(before, Cohort.open(cohort))
    wanted = Cohort.open(cohort).volumes_ml.loc[people.ids].mean().to_numpy()
    for pack in (before, after):
        y, still = torch.from_numpy(pack.encoder.encode(people).x), pack.model.draw(1, 0)
        made = np.mean([calibrate._ml(pack.model, one[None], still) for one in y], axis=0)
        assert made == pytest.approx(wanted, rel=0.03)


def test_a_share_of_t1_that_there_is_not_is_refused(pack_folder, cohort):
    with pytest.raises(CSegSynthError, match="no such share") as caught:
        recalibrate.recalibrate(pack_folder, Cohort.open(cohort), template_t1=1.5)
    assert "0 to 1" in str(caught.value) and "1.5" in str(caught.value)


def test_a_pack_from_before_textures_has_none_to_keep(pack_folder, cohort, tmp_path):
    older = shutil.copytree(pack_folder, tmp_path / "older")
    about = json.loads((older / "pack.json").read_text("utf-8"))
    about["noise"] = {"folds_mm": about["noise"]["folds_mm"]}
    (older / "pack.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(CSegSynthError, match="no texture to keep"):
        recalibrate.recalibrate(older, Cohort.open(cohort), keep_texture=True)


def test_a_model_without_a_template_has_nothing_to_calibrate(pack_folder, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(linear_gaussian, "ROUNDS", 1)
    pack = load_pack(pack_folder)
    people = training_people(pack, Cohort.open(cohort))
    x = pack.encoder.encode(people).x.astype(float)
    model, about = linear_gaussian.fit(Cohort.open(cohort), people.ids, x, components=2, progress=False)
    shutil.copytree(pack_folder, tmp_path / "toy")
    folder = save_comparison(load_pack(tmp_path / "toy"), model, about)
    with pytest.raises(CSegSynthError, match="nothing to calibrate"):
        recalibrate.recalibrate(folder, Cohort.open(cohort), progress=False)


def test_evaluation_has_the_shape_that_others_read(pack_folder, cohort, tmp_path):
    """`evaluate --json`: the keys and cells that the issue tracker fixed, and numbers that the core reproduces."""
    found = json.loads((pack_folder / "metrics.json").read_text(), parse_constant=_no_constant)
    regressions = {"linear", "polynomial", "svr", "ffn", "ridge", "training_mean"}
    ours = {"csegsynth", "csegsynth_typical", "csegsynth_single_draw"}
    assert set(found["volumes"]) == regressions | ours and set(found["paired"]) == regressions
    assert "achievable" not in found and set(found["models"]) == set(found["sharpness"]) == {"csegsynth"}
    assert set(found["memorisation"]) == {"real_kept_aside", "real_training", "csegsynth"}
    assert (found["split"], found["n"]) == ("test", 6)
    for by_tissue in found["volumes"].values():
        for cells in by_tissue.values():
            assert list(cells) == ["mape", "mae_ml", "r2", "pearson", "spearman", "kendall"]
            assert cells["mape"]["low"] <= cells["mape"]["value"] <= cells["mape"]["high"]
    for table in (found["images"]["csegsynth"], found["floors"]):
        assert set(table) == {"wm", "gm", "csf"}
        for cells in table.values():
            assert set(cells) == {"mmd", "mmd_rbf", "fid_2d", "fid_3d", "delta_ssim"}
            assert all(np.isfinite(c["value"]) for c in cells.values())
    assert set(found["paired"]["ridge"]["gm"]) == {"difference_ml", "low", "high", "p"}
    assert (
        set(found["regions"]) == regressions | {"csegsynth"} and set(found["paired_regions"]) == regressions
    )
    for cells in (*found["regions"].values(), *found["paired_regions"].values()):
        assert list(cells) == [r.name for r in REGIONS]
    assert set(found["paired_regions"]["svr"]["ventricles"]) == {"difference_ml", "low", "high", "p"}
    assert found["floor_people"] == [6, 6] and "floors_of_halves" not in found
    assert set(found["beats_training_mean"]["csegsynth"]) == {"wm", "gm", "csf"}
    mean = found["paired"]["training_mean"]["gm"]
    beats = found["beats_training_mean"]["csegsynth"]["gm"]
    assert beats == mean | {"beats": mean["high"] < 0}
    assert set(found["left_right_asymmetry"]) == {"real", "csegsynth"}
    assert set(found["energy_at_2_and_4_voxels"]) == {"csegsynth"}

    pack, opened = load_pack(pack_folder), Cohort.open(cohort)
    kept = people_of(pack, opened, "test")
    x = pack.encoder.encode(kept).x.astype(float)
    ridge = baselines.predict("ridge", regressions_of(pack)["ridge"], x)
    true = opened.volumes_ml.loc[kept.ids].to_numpy(float)
    shown = found["volumes"]["ridge"]["gm"]["mape"]["value"]
    assert metrics.mape(ridge[:, 1], true[:, 1]) == pytest.approx(shown, abs=2e-6)
    parts = baselines.predict("ridge", regressions_of(pack, baselines.REGIONS_KIND)["ridge"], x)
    real = np.asarray([list(region_table(opened.maps(i)).values()) for i in kept.ids])
    shown = found["regions"]["ridge"]["cortical_gm"]["mae_ml"]["value"]
    assert metrics.mae(parts[:, 1], real[:, 1]) == pytest.approx(shown, abs=2e-6)
    everybody = people_of(pack, opened, "all")
    assert len(everybody) == 30
    with pytest.MonkeyPatch.context() as patch:  # nobody is left to compare with: halves
        patch.setattr(images, "FLOORS", 1)
        patch.setattr(images, "POOL", 1)
        patch.setattr(images, "PAIRS", 5)
        floors = evaluate._Images(pack, opened, everybody, Features(), 0).floors()
    assert floors["floor_people"] == [15, 15]
    measured = floors["floors_of_halves"]["gm"]["fid_3d"]["value"]
    assert floors["floors"]["gm"]["fid_3d"]["value"] == pytest.approx(measured / 2, abs=1e-5)
    said = floor_said(floors | {"n": 30})
    assert "15 of these 30 people against 15 others" in said and f"GM {measured:.3g}" in said
    with pytest.raises(PackError, match=r"has no nothing\.bin"):
        pack.payload("nothing.bin")


def test_a_cohort_that_nobody_has_seen_is_measured(pack_folder, tmp_path, monkeypatch, capsys):
    """`evaluate --split all` with fewer columns than the pack knows and one that it does not, as a user types it."""
    strange = make_cohort(tmp_path / "strange", people=7, seed=5, who="strange")
    table = pd.read_csv(strange / "participants.tsv", sep="\t")[["participant_id", "age", "sex"]]
    table.assign(shoes=40).iloc[:-1].to_csv(strange / "participants.tsv", sep="\t", index=False)
    monkeypatch.setattr(evaluate, "DRAWS", 2)
    monkeypatch.setattr(images, "FLOORS", 1)
    words = ["evaluate", "--pack", str(pack_folder), "--cohort", str(strange), "--quiet"]
    files = ["--json", str(tmp_path / "new" / "found.json"), "--html", str(tmp_path / "found.html")]
    assert main([*words, "--split", "all", *files]) == 0
    found = json.loads((tmp_path / "new" / "found.json").read_text(), parse_constant=_no_constant)
    assert {"cohort", "split", "n", "volumes", "images", "floors", "regions", "paired"} <= found.keys()
    assert (found["cohort"], found["split"], found["n"], found["n_trained_on"]) == ("strange", "all", 7, 0)
    assert found["flagged_features"]["height"] == {"imputed": 7} and "memorisation" not in found
    assert found["floor_people"] == [3, 3]
    page = (tmp_path / "found.html").read_text()
    assert "Ridge regression" in page and "strange" in page
    capsys.readouterr()
    for more, said in (
        (["--split", "test"], "too few people.*6 of the people kept aside when the pack was trained"),
        (["--split", "all", "--json", str(tmp_path)], "expected: the name of a file.*a folder"),
        (["--split", "all", "--html", str(pack_folder / "pack.json" / "a.html")], "cannot be written"),
    ):
        assert main([*words, *more]) == 2
        assert re.search(said, capsys.readouterr().err, re.IGNORECASE | re.DOTALL), said
    (strange / "participants.json").write_text("{")
    assert main([*words, "--split", "all"]) == 2 and "not a prepared cohort" in capsys.readouterr().err


def test_a_pack_says_whose_it_is(finished, cohort, tmp_path, capsys):
    words = ["pack", "--run", str(finished), "--cohort", str(cohort), "--out", str(tmp_path / "pack")]
    (tmp_path / "about.json").write_text('{"name": "toy", "title": "Toy"}')
    (tmp_path / "broken.json").write_text("[")
    for about, said in (
        ([], "--about FILE"),
        (["--about", str(tmp_path / "none.json")], "none.json cannot be read"),
        (["--about", str(tmp_path / "broken.json")], "a JSON object"),
        (["--about", str(tmp_path / "about.json")], "licence, attribution"),
    ):
        assert main([*words, *about]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


def test_steps_that_time_cut_short_are_told_as_such():
    stages = [
        {"kind": "pretrain", "resolution": 2, "steps": 50},
        {"kind": "finetune", "resolution": 1, "steps": 70},
        {"kind": "prior", "resolution": 1, "steps": 0},
    ]
    whole = _steps_said({"steps": 120}, {"stages": stages})
    assert "50 steps" in whole and "70 steps" in whole and "at most" not in whole
    short = _steps_said({"steps": 90}, {"stages": stages})
    assert short.startswith("90 steps of at most 120")
    known = _steps_said({"steps": 90, "training": {"stage_steps": [50, 40, 0]}}, {"stages": stages})
    assert "40 steps" in known and "at most" not in known


def test_models_beside_a_pack_are_measured_with_it(pack_folder, cohort, tmp_path, capsys):
    """`measure` and `evaluate --json --html` with a comparison model in the pack."""
    folder, opened = tmp_path / "toy", Cohort.open(cohort)
    shutil.copytree(pack_folder, folder)
    pack = load_pack(folder)
    width = pack.encoder.width
    other = LinearGaussian(LinearGaussian.shapes.named("tiny", width))
    save_comparison(pack, other, {"components": 4, "seconds": 1.5})
    assert set(models_of(load_pack(folder))) == {"csegsynth", "linear_gaussian"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "DRAWS", 2)
        patch.setattr(images, "FLOORS", 1)
        patch.setattr(images, "POOL", 1)
        found = measure(folder, opened, progress=False)
    again = load_pack(folder)
    assert again.metrics == json.loads(json.dumps(found))
    for table in ("images", "regions", "paired", "models", "memorisation", "sharpness"):
        assert "linear_gaussian" in found[table], table
    assert {"linear_gaussian", "linear_gaussian_single_draw"} <= set(found["volumes"])
    told = found["models"]
    assert told["csegsynth"]["steps"] == sum(
        told["csegsynth"][k] for k in ("pretraining_steps", "finetuning_steps")
    )
    assert (
        told["csegsynth"]["calibration_minutes"] >= 0 and "calibration_minutes" not in told["linear_gaussian"]
    )
    before = {k: v for k, v in pack.about["training"].items() if k != "calibration_minutes"}
    older = evaluate._told(replace(pack, about=pack.about | {"training": before}), 1.0)
    assert older["calibration_minutes"] == "not recorded"
    assert told["linear_gaussian"]["components"] == 4 and told["csegsynth"]["training_minutes"] >= 0
    rows = [line.replace(r"\|", "") for line in again.card.splitlines() if "ΔSSIM" in line]
    assert len(rows) == 3 and all(row.count("|") == 6 for row in rows)
    assert "{" not in again.card, "every field of the card is filled in"
    assert "| Linear-Gaussian |" in again.card and max(map(len, _prose(again.card))) <= 120
    with torch.inference_mode():  # means over draws of each person's own noise, as said
        people = people_of(again, opened, "test")
        x = torch.from_numpy(pack.encoder.encode(people).x[:1])
        z = other.draw(1, evaluate.EVALUATION_SEED + 1)
        ml = torch.cat([volumes_ml(other(x, v))[:, 1] for v in (z, -z)]).mean()
    drawn = evaluate.draw_brains(
        models_of(again)["linear_gaussian"], people, draws=2, seed=evaluate.EVALUATION_SEED, progress=False
    )
    assert drawn.volumes[0, :, 1].mean() == pytest.approx(float(ml), rel=1e-3)
    page = as_html(found, again, opened)
    assert page.count("<img ") == 3 * 3 and "https://" not in page and "<script" not in page
    assert page.count("<td>Linear-Gaussian</td>") > 5 and "Linear-gaussian" not in page
    assert f"{found['volumes']['ridge']['gm']['mape']['value']:.1f}" in page
    text = as_text(found)
    assert "Table III: Kendall" in text
    for said in (
        "significantly smaller errors than CSegSynth (MAE, paired, p",
        "absolute error is smaller (better) or larger (worse)",
        "alone is calibrated",
        "beats predicting",
        "Nyquist",
        "asymmetry",
        "6 training people against",
    ):
        assert all(said in " ".join(shown.split()) for shown in (text, page, again.card)), said
    about = json.loads((folder / "comparison" / "linear_gaussian" / "pack.json").read_text())
    about["people"]["train"] = about["people"]["train"][1:]
    (folder / "comparison" / "linear_gaussian" / "pack.json").write_text(json.dumps(about))
    with pytest.raises(PackError, match="trained on other people"):
        models_of(again)


def test_regressions_of_regions_are_added_to_an_older_pack(pack_folder, cohort, tmp_path):
    """A pack without them is still measured; the command fits what `train pack` fits, and changes nothing else."""
    folder, opened = tmp_path / "toy", Cohort.open(cohort)
    shutil.copytree(pack_folder, folder)
    whole = load(load_pack(folder).payload("regressions.safetensors"))
    tissues = {k: v for k, v in whole.items() if not k.startswith("regions.")}
    assert 0 < len(tissues) < len(whole)
    add_files(folder, {"regressions.safetensors": save(tissues)})
    older = load_pack(folder)
    assert regressions_of(older, baselines.REGIONS_KIND) == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "DRAWS", 2)
        patch.setattr(images, "FLOORS", 1)
        patch.setattr(images, "POOL", 1)
        found = evaluate.evaluate(older, opened)
    assert set(found["regions"]) == {"csegsynth"} and "paired_regions" not in found
    assert "ridge" in found["volumes"] and "smaller errors than CSegSynth" not in as_text(found)
    command = ["regressions", "--pack", str(folder), "--cohort", str(cohort), "--quiet"]
    assert main(command) == 0
    again = load(load_pack(folder).payload("regressions.safetensors"))
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[k], v) for k, v in tissues.items())
    assert all(torch.allclose(again[k], v, rtol=1e-4, atol=1e-4) for k, v in whole.items())
    apart = (
        json.loads((folder / "pack.json").read_text()),
        json.loads((pack_folder / "pack.json").read_text()),
    )
    for about in apart:
        about["files"].pop("regressions.safetensors")
    assert apart[0] == apart[1]


def _prose(card):
    return [line for line in card.splitlines() if not line.startswith(("|", "Attribution", "Features"))]


def _no_constant(text):
    raise AssertionError(f"{text} is not JSON")


def test_export_says_that_it_is_synthetic(pack_folder):
    pack = load_pack(pack_folder)
    files = dict(bids_files([generate_one(pack, {"age": 40}, seed=1)], pack))
    assert json.loads(files["dataset_description.json"])["DatasetType"] == "derivative"
    sidecars = [json.loads(v) for k, v in files.items() if k.startswith("sub-") and k.endswith(".json")]
    assert len(sidecars) == 4
    for sidecar in sidecars:
        assert sidecar["Synthetic"] is True and sidecar["Seed"] == 1 and sidecar["ModelHash"] == pack.hash
    assert sum(k.endswith(".nii.gz") for k in files) == 4


@pytest.mark.parametrize("file", ["weights.safetensors", "features.json", "config.json", "card.md"])
def test_damaged_pack_is_refused(pack_folder, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(pack_folder, copy)
    payload = bytearray((copy / file).read_bytes())
    payload[len(payload) // 2] ^= 1
    (copy / file).write_bytes(payload)
    with pytest.raises(PackError, match=rf"{file} is damaged or was changed"):
        load_pack(copy)


def test_an_older_pack_is_read_where_its_networks_are_todays(pack_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(pack_folder, copy)
    about = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps(about | {"version": 1}))
    y, z = torch.zeros(1, load_pack(copy).model.config.features), load_pack(copy).model.draw(1, 3)
    assert torch.equal(load_pack(copy).model(y, z), load_pack(pack_folder).model(y, z))
    weights = load_file(copy / "weights.safetensors") | {"generator.gone": torch.ones(1)}
    save_file(weights, copy / "weights.safetensors")
    hashed = hashlib.sha256((copy / "weights.safetensors").read_bytes()).hexdigest()
    files = about["files"] | {"weights.safetensors": hashed}
    for version, words in ((VERSION - 1, "another version"), (VERSION, "damaged")):
        (copy / "pack.json").write_text(json.dumps(about | {"version": version, "files": files}))
        with pytest.raises(PackError, match=words):
            load_pack(copy)


def test_other_version_and_missing_pack(pack_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(pack_folder, copy)
    about = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(PackError, match="another version"):
        load_pack(copy)
    with pytest.raises(PackError, match="no model pack 'nothing'"):
        load_pack("nothing")
    (copy / "card.md").unlink()
    (copy / "pack.json").write_text(json.dumps(about))
    with pytest.raises(PackError, match=r"lacks card\.md"):
        load_pack(copy)


def test_run_starts_from_another_runs_networks(cohort, finished, tmp_path):
    engine = make_engine(cohort)
    found = checkpoint.read(finished / "checkpoint.safetensors")
    taken = engine.inherit(found, finished)
    before = found["model"] | found["averaged"]
    assert taken == sorted(engine.model.state_dict())
    for name, value in engine.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in engine.averaged.items():
        assert torch.equal(value, before[name]), name
    assert engine.done == 0
    with pytest.raises(CSegSynthError, match="holds no generator of this preset"):
        engine.inherit({"model": {"generator.seed": torch.zeros(1)}}, tmp_path)


def test_template_is_background_far_from_tissue():
    from train.template import template_fractions

    fractions = template_fractions(_region())
    assert torch.allclose(fractions.sum(dim=0), torch.ones_like(fractions[0]), atol=1e-3)
    assert float(fractions[3, :2].min()) > 0.999
    volume = fractions.sum(dim=(1, 2, 3)) * 0.008
    assert 400 < float(volume[0]) < 900 and 800 < float(volume[1]) < 1400
    assert torch.allclose(fractions[1], fractions[1].flip(0), atol=0.05)  # ICBM152 symmetric: left as right


def test_networks_that_saw_people_kept_aside_are_refused(cohort, tmp_path):
    """The run itself, and one that it started from, also when that is gone; a run on others is taken."""
    people = open_people(cohort, TrainConfig.named("tiny"))
    ids = people.cohort.ids
    kept, seen = ids[int(people.validation[0])], ids[int(people.train[0])]
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for run, one in ((first, kept), (second, seen), (third, seen)):
        run.mkdir()
        (run / "split.json").write_text(json.dumps({"train": [one], "images_only": []}))
    run_folder.check_unseen(people, second)
    (second / "inherited.json").write_text(json.dumps({"from": str(first)}))  # of an older version
    with pytest.raises(CSegSynthError, match=rf"{second}.*trained on people who are kept aside.*{kept}"):
        run_folder.check_unseen(people, second)
    run_folder.write_inherited(third, second, [], {"done": 3})
    shutil.rmtree(first)
    with pytest.raises(CSegSynthError, match=rf"{third}.*kept aside.*{kept}"):
        run_folder.check_unseen(people, third)
    with pytest.raises(CSegSynthError, match=r"nothing tells whom the run in .*first"):
        run_folder.check_unseen(people, second)


def test_few_draws_hold_fewer_people_than_their_percentiles_say():
    assert evaluate.expected_inside() == pytest.approx(0.82, abs=0.01)
    assert evaluate.expected_inside(2000, 2000) == pytest.approx(0.90, abs=0.02)


def test_encoders_of_one_cohort_are_alike_but_for_rounding() -> None:
    one = {"height": {"impute": [177.10360875368752, -0.98]}, "names": ["a", "b"], "levels": None}
    rounded = {"height": {"impute": (177.1036087536875, -0.98)}, "names": ["a", "b"], "levels": None}
    assert _alike(one, rounded)
    for other in (
        rounded | {"height": {"impute": [177.2, -0.98]}},
        rounded | {"height": {"impute": [177.10360875368752]}},
        rounded | {"names": ["a", "c"]},
        rounded | {"levels": 0},
        {"names": ["a", "b"], "levels": None},
    ):
        assert not _alike(one, other)
