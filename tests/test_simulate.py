"""Virtual brains and the cohort of them on disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csegsynth_core import grid
from csegsynth_core.__main__ import main
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import read_volume
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.simulate import anatomy, people
from csegsynth_core.data.simulate.cohort import Plan, simulate, with_options
from csegsynth_core.data.simulate.template import template
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import SourceError
from csegsynth_core.tissue import TISSUES

TINY = Plan(n=3, seed=1, coarse=True)


def measured(maps: np.ndarray) -> np.ndarray:
    return maps.sum(axis=(1, 2, 3), dtype=np.float64) * grid.VOXEL_ML


def brain_of(one: people.People, **options: bool) -> anatomy.VirtualBrain:
    return anatomy.make_brain(one.targets(), one.brain_seed(), **options)


def digest(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people on the coarse grid, made in this process."""
    folder = tmp_path_factory.mktemp("simulated") / "tiny"
    simulate(folder, TINY, workers=1, progress=False)
    return folder


# ---------------------------------------------------------------- brains


@pytest.fixture(scope="module")
def pair() -> dict[str, tuple[people.People, anatomy.VirtualBrain]]:
    """The same person at 30 and at 30 + 50, all else held."""
    some = people.draw(40)
    row = int(np.argmin(np.abs(some.variables["age"] - 30)))
    young = people.People(0, some.numbers[row : row + 1])
    old = people.counterfactual(young, {"age": float(young.variables["age"][0]) + 50})
    return {"young": (young, brain_of(young, t1=True)), "old": (old, brain_of(old))}


def test_maps_are_fractions_with_the_asked_volumes(pair) -> None:
    for one, brain in pair.values():
        assert brain.maps.shape == (3, *grid.SHAPE) and brain.maps.dtype == np.float32
        assert brain.maps.min() >= 0 and brain.maps.sum(axis=0).max() <= 1 + 1e-6
        wanted = [one.volumes[t][0] for t in TISSUES]
        assert measured(brain.maps) == pytest.approx(wanted, rel=0.005)
        assert brain.regions_ml["ventricles"] == pytest.approx(one.volumes["ventricles"][0], rel=0.01)
        outside = brain.maps.copy()
        outside[(slice(None), *grid.BOX)] = 0
        assert not outside.any()


@pytest.mark.parametrize("which", ["smallest", "largest", "widest"])
def test_unusual_volumes_are_reached(which: str) -> None:
    some = people.draw(2000)
    total = sum(some.volumes[t] for t in TISSUES)
    row = {
        "smallest": np.argmin(total),
        "largest": np.argmax(total),
        "widest": np.argmax(some.volumes["csf"] / total),
    }[which]
    brain = anatomy.make_brain(some.targets(int(row)), some.brain_seed(int(row)))
    assert measured(brain.maps) == pytest.approx([some.volumes[t][row] for t in TISSUES], rel=0.005)


def test_older_self_has_the_same_head_with_larger_ventricles(pair) -> None:
    (young, before), (old, after) = pair["young"], pair["old"]
    assert np.array_equal(before.deformation.offset, after.deformation.offset)
    assert after.regions_ml["ventricles"] > 1.8 * before.regions_ml["ventricles"]
    assert measured(after.maps)[1] < measured(before.maps)[1]
    assert old.volumes["gm"][0] < young.volumes["gm"][0]
    overlap = np.minimum(before.maps[0], after.maps[0]).sum() / before.maps[0].sum()
    assert overlap > 0.6  # another person's white matter overlaps much less
    stranger = brain_of(people.draw(1, first=999))
    assert np.minimum(before.maps[0], stranger.maps[0]).sum() / before.maps[0].sum() < overlap


def test_same_values_same_brain_bit_for_bit(pair) -> None:
    young, brain = pair["young"]
    again = people.counterfactual(young, {"age": float(young.variables["age"][0])})
    assert np.array_equal(brain_of(again).maps, brain.maps)


def test_deformations_never_fold() -> None:
    """On the lattice, and again for the whole map from person to template with ventricles at their widest."""
    for number in range(4):
        seed = people.draw(1, first=number).brain_seed()
        made = anatomy.draw_deformation(np.random.default_rng(seed), np.ones(3))
        assert made.least_jacobian > 0
        assert anatomy.jacobian(made.offset, 4.0).min() == pytest.approx(made.least_jacobian)
    full = template()
    for offset in full.flow:
        assert anatomy.jacobian(offset, 2.0).min() > 0
    axes = [np.arange(-70.0, 71.0, 3.0), np.arange(-95.0, 60.0, 3.0), np.arange(-60.0, 75.0, 3.0)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    ends = anatomy._grown(full, made.to_template(points.reshape(3, -1)), 12.0).reshape(points.shape)
    assert anatomy.jacobian(ends - points, 3.0).min() > 0


def test_folding_differs_between_people_and_sides() -> None:
    a, b = (brain_of(people.draw(1, first=n)).maps for n in (0, 1))
    assert np.corrcoef(a[2].ravel(), b[2].ravel())[0, 1] < 0.8
    left_right = np.corrcoef(a[2].ravel(), a[2][::-1].ravel())[0, 1]
    assert 0.3 < left_right < 0.95


def test_t1_looks_like_one(pair) -> None:
    _, brain = pair["young"]
    assert brain.t1 is not None and brain.t1.shape == grid.SHAPE
    mean = [float(brain.t1[brain.maps[k] > 0.95].mean()) for k in range(3)]
    assert mean[0] > mean[1] > mean[2] > 0
    assert not brain.t1[brain.maps.sum(axis=0) == 0].any()
    assert pair["old"][1].t1 is None


def test_a_brain_takes_a_second() -> None:
    one = people.draw(1, first=3)
    template()
    seconds = []
    for _ in range(3):
        start = time.process_time()
        brain_of(one)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


# ---------------------------------------------------------------- cohorts


def test_it_is_a_cohort_that_says_simulated(tiny: Path) -> None:
    opened = Cohort.open(tiny)
    assert opened.simulated and len(opened) == 3 and opened.features is not None
    assert opened.features.shape == (3, 198)
    assert measured(opened.maps(1)) == pytest.approx(opened.volumes_ml.iloc[1].to_numpy(), rel=1e-3)
    table = read_table(tiny / "participants.tsv")
    schema = Schema.from_participants_json(tiny / "participants.json", table)
    assert len(schema.validate(table)) == 3
    about = json.loads((tiny / "dataset_description.json").read_text("utf-8"))
    assert about["Simulated"] is True and "do not exist" in about["Notice"]
    sidecars = list(tiny.rglob("*_probseg.json"))
    assert len(sidecars) == 9 and all(json.loads(p.read_text("utf-8"))["Simulated"] for p in sidecars)
    assert all(json.loads(p.read_text("utf-8"))["SpatialReference"] == grid.REFERENCE for p in sidecars)
    path = next(tiny.rglob("*label-GM_probseg.nii.gz"))
    assert np.allclose(read_volume(path).affine, grid.affine())


def test_truth_lies_beside_it(tiny: Path) -> None:
    truth = pd.read_csv(tiny / "truth.tsv", sep="\t", index_col=0)
    volumes = pd.read_csv(tiny / "volumes.tsv", sep="\t", index_col=0)
    for tissue in TISSUES:
        assert truth[f"true_{tissue}"].to_numpy() == pytest.approx(volumes[tissue].to_numpy(), rel=0.005)
    regions = ["ventricles", "cortical_gm", "deep_gm", "cerebellum", "brainstem"]
    assert (truth[[f"region_{r}" for r in regions]] > 0).all().all()
    described = json.loads((tiny / "truth.json").read_text("utf-8"))
    assert set(truth.columns) == set(described["Columns"])
    assert "retired" in described["FeaturesWithoutEffect"] and described["Effects"][0]["source"]
    one = people.draw(1, seed=1, first=2)
    assert truth["d_gm/d_age"].iloc[2] == pytest.approx(float(one.derivatives()["d_gm/d_age"].iloc[0]))


def test_same_bytes_for_any_number_of_workers_and_people(tiny: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "two", TINY, workers=2, progress=False)
    assert digest(tiny) == digest(tmp_path / "two")
    simulate(tmp_path / "more", with_options(None, n=4, seed=1), volumes_only=True, progress=False)
    rows = (tmp_path / "more" / "participants.tsv").read_text("utf-8").splitlines()
    assert rows[:4] == (tiny / "participants.tsv").read_text("utf-8").splitlines()


def test_more_people_are_added_to_those_there(tiny: Path, tmp_path: Path) -> None:
    first = simulate(tmp_path / "c", Plan(n=2, seed=1, coarse=True), workers=1, progress=False)
    then = simulate(tmp_path / "c", TINY, workers=1, progress=False)
    assert (first.made, first.reused) == (2, 0) and (then.made, then.reused) == (1, 2)
    assert digest(tiny) == digest(tmp_path / "c")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_run_is_taken_up(tiny: Path, tmp_path: Path) -> None:
    dest = tmp_path / "killed"
    code = (
        "from pathlib import Path; import sys\n"
        "from csegsynth_core.data.simulate.cohort import Plan, simulate\n"
        "simulate(Path(sys.argv[1]), Plan(n=3, seed=1, coarse=True), workers=1, progress=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code, str(dest)], env=environment)
    try:
        deadline = time.monotonic() + 90
        while not (dest / "sub-sim1p00000").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(SourceError, match="is not a prepared cohort"):
        Cohort.open(dest)
    (dest / ".part-sub-sim1p00002" / "anat").mkdir(parents=True)  # half of somebody
    outcome = simulate(dest, TINY, workers=1, progress=False)
    assert outcome.reused >= 1
    assert digest(tiny) == digest(dest)


def test_without_features_for_pre_training(tmp_path: Path) -> None:
    plan = Plan(n=1, seed=1, coarse=True, unconditional=True, t1=True)
    simulate(tmp_path / "pre", plan, workers=1, progress=False)
    opened = Cohort.open(tmp_path / "pre")
    assert opened.features is None and opened.simulated
    assert opened.ids == ("sub-pre1p00000",)  # never a person of the cohort with features
    assert len(list((tmp_path / "pre").rglob("*_desc-brain_T1w.nii.gz"))) == 1


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dest = tmp_path / "v"
    assert main(["simulate", str(dest), "--n", "5", "--volumes-only", "--quiet"]) == 0
    assert "5 people with volumes only made" in capsys.readouterr().out
    assert not (dest / "packed.npy").exists() and len(read_table(dest / "participants.tsv")) == 5
    assert main(["simulate", str(dest), "--n", "5", "--seed", "2", "--volumes-only", "--quiet"]) == 2
    assert "holds another simulation" in capsys.readouterr().err
    assert main(["simulate"]) == 2
    assert "nothing to do" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", "utf-8")
    assert main(["simulate", str(tmp_path / "mine"), "--quiet"]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_presets() -> None:
    assert (with_options("tiny").n, with_options("tiny").coarse) == (8, True)
    assert with_options("camcan").n == 462 and with_options(None) == with_options("camcan")
    assert with_options("pretrain").n == 2000 and with_options("pretrain").unconditional
    assert with_options("tiny", n=3, seed=4).n == 3
