"""`prepare` from scans to cohort: what is written, what is refused, what survives accidents."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from csegsynth_core import grid
from csegsynth_core.__main__ import main
from csegsynth_core.data import parallel, sources
from csegsynth_core.data import prepare as module
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.prepare import prepare, quality_table
from csegsynth_core.errors import SourceError, TableError
from csegsynth_core.tissue import ALL, CSF, TISSUES
from tests.conftest import Brain, write_image

STEM = f"space-{grid.SPACE}"


class Inline:
    """A process pool that works in this process, so that patches reach the work."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, work: Callable[..., None], *args: object) -> Future[None]:
        future: Future[None] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_: object) -> None: ...


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch, known_alignment: None) -> None:
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Inline)


def run(source: Path, dest: Path, **options: Any) -> module.Outcome:
    return prepare(source, dest, workers=1, progress=False, **options)


def left_and_right_ml(path: Path, at_least: float = 0.5) -> tuple[float, float]:
    """Volume (mL) at x < 0 and at x > 0 of an image, by the affine in the file alone."""
    image = nib.load(path)
    data = np.asarray(image.dataobj, float)
    weight = np.where(data >= at_least, data, 0)
    x = nib.affines.apply_affine(image.affine, np.argwhere(weight > 0))[:, 0]
    voxel = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    return float((weight[weight > 0] * (x < 0)).sum() * voxel), float(
        (weight[weight > 0] * (x > 0)).sum() * voxel
    )


def unfinished(dest: Path) -> list[str]:
    return [p.name for p in dest.rglob(".*")] if dest.exists() else []


# ------------------------------------------------------------------------- the whole command, in processes


@dataclass(frozen=True)
class Finished:
    source: Path
    dest: Path
    status: int
    error: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, brain: Brain) -> Finished:
    """One run of the command over two good people, stored differently, among eight bad ones."""
    source = tmp_path_factory.mktemp("source")
    dest = source / "derivatives" / "csegsynth"
    brain.write_maps(source, "sub-good1")
    brain.stored("LAS").write_maps(source, "sub-good2")
    small, affine = np.full((8, 8, 8), 0.1, np.float32), np.diag([2.0, 2, 2, 1])

    def bad(person: str, gm: np.ndarray | bytes, wm: np.ndarray = small) -> None:
        anat = source / person / "anat"
        for tissue, data in (("GM", gm), ("WM", wm), ("CSF", small)):
            path = anat / f"{person}_label-{tissue}_probseg.nii.gz"
            write_image(path, data if isinstance(data, np.ndarray) else small, affine)
            if isinstance(data, bytes):
                path.write_bytes(data)

    whole = (source / "sub-good1/anat/sub-good1_label-GM_probseg.nii.gz").read_bytes()
    nan = small.copy()
    nan[0, 0, 0] = np.nan
    bad("sub-cut", whole[: len(whole) // 2])
    bad("sub-four", np.zeros((8, 8, 8, 2), np.float32))
    bad("sub-nan", nan)
    bad("sub-scale", small * 2550)
    bad("sub-shape", np.full((8, 8, 9), 0.1, np.float32))
    bad("sub-sum", np.full((8, 8, 8), 0.9, np.float32), np.full((8, 8, 8), 0.9, np.float32))
    bad("sub-text", b"this is no image\n" * 50)
    bad("sub-zero", np.zeros((8, 8, 8), np.float32))
    (source / "participants.tsv").write_text(
        "participant_id\tage\tsex\ngood1\t30\tF\nsub-cut\t40\tM\nsub-ghost\t50\tM\nsub-text\tn/a\tF\n",
        "utf-8",
    )
    (source / "participants.json").write_text(
        json.dumps({"age": {"Units": "years"}, "sex": {"Levels": {"F": "female", "M": "male"}}}), "utf-8"
    )
    dest.mkdir(parents=True)
    (dest / ".part-sub-good1" / "anat").mkdir(parents=True)  # left by a killed run
    (dest / ".part-abc").write_text("half", "utf-8")
    with contextlib.redirect_stderr(io.StringIO()) as error:
        status = main(["prepare", str(source), str(dest), "--workers", "2", "--quiet"])
    return Finished(source, dest, status, error.getvalue())


def test_bad_people_are_recorded_and_the_rest_go_on(finished: Finished) -> None:
    assert finished.status == 0
    table = pd.read_csv(finished.dest / "failures.tsv", sep="\t").set_index("participant_id")["reason"]
    expected = {
        "sub-cut": "sub-cut_label-GM_probseg.nii.gz is truncated or damaged",
        "sub-four": "is not a 3-D image. Expected: shape (i, j, k). Got: shape (8, 8, 8, 2)",
        "sub-nan": "1 voxels with NaN or infinity",
        "sub-scale": "is not a tissue probability or partial-volume map. Expected: values between 0 and 1",
        "sub-shape": "lies on another grid than the person's other maps. Expected: shape (8, 8, 8)",
        "sub-sum": "add up to more than one",
        "sub-text": "sub-text_label-GM_probseg.nii.gz is not a NIfTI image",
        "sub-zero": "sub-zero_label-GM_probseg.nii.gz is empty",
    }
    assert list(table.index) == sorted(expected)
    for person, message in expected.items():
        assert message in table[person] and table[person].startswith("ImageError")
        assert not (finished.dest / person).exists()
        assert f"{person} failed" in finished.error
    assert "failures.tsv" in finished.error
    assert unfinished(finished.dest) == []


def test_cohort_of_the_good_people(finished: Finished, brain: Brain) -> None:
    cohort = Cohort.open(finished.dest)
    assert cohort.ids == ("sub-good1", "sub-good2") and not cohort.simulated
    assert cohort.packed.dtype == np.uint8 and cohort.packed.shape == (2, 3, 80, 104, 80)
    for name in TISSUES:  # aligned, on another grid, averaged to 2 mm: volumes are still the person's
        np.testing.assert_allclose(cohort.volumes_ml[name], brain.volume_ml(name), rtol=0.01)
    assert cohort.features is not None
    assert cohort.features.loc["sub-good1", "age"] == "30" and pd.isna(
        cohort.features.loc["sub-good2", "age"]
    )
    record = json.loads((finished.dest / "prepare.json").read_text("utf-8"))
    assert record["rows_without_scan"] == ["sub-ghost"]
    assert "sub-good2" in record["scans_without_row"] and "sub-good1" not in record["scans_without_row"]
    quality = pd.read_csv(finished.dest / "quality.tsv", sep="\t", na_filter=False)
    assert list(quality["outlier"]) == ["no", "no"] and (quality["alignment_score"] > 0.8).all()
    assert quality["partial_volume_fraction"].between(0.1, 0.95).all()


@pytest.mark.parametrize("person", ["sub-good1", "sub-good2"])
def test_files_of_a_person(finished: Finished, person: str) -> None:
    anat = finished.dest / person / "anat"
    maps = []
    for tissue in ALL:
        path = anat / f"{person}_{STEM}_label-{tissue.bids}_probseg.nii.gz"
        image = nib.load(path)
        np.testing.assert_allclose(image.affine, grid.affine())
        assert image.shape == grid.SHAPE and nib.aff2axcodes(image.affine) == ("R", "A", "S")
        maps.append(np.asarray(image.dataobj))
        fields = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text("utf-8"))
        assert fields["Label"] == tissue.bids and fields["Synthetic"] is False
        assert fields["SpatialReference"] == grid.REFERENCE
        assert f"{person}/anat/{person}_label-{tissue.bids}_probseg.nii.gz" in fields["Sources"]
    stack = np.stack(maps)
    assert stack.min() >= 0 and stack.sum(0).max() <= 1 + 1e-6
    hard = nib.load(anat / f"{person}_{STEM}_dseg.nii.gz")
    np.testing.assert_allclose(hard.affine, grid.affine())
    assert set(np.unique(np.asarray(hard.dataobj))) == {0, 1, 2, 3}
    assert np.asarray(hard.dataobj)[stack[TISSUES.index("csf")] > 0.6].tolist().count(CSF.dseg) > 1000
    table = pd.read_csv(finished.dest / "dseg.tsv", sep="\t").set_index("index")["abbreviation"]
    assert table.to_dict() == {1: "GM", 2: "WM", 3: "CSF"}
    description = json.loads((finished.dest / "dataset_description.json").read_text("utf-8"))
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "CSegSynth"
    for path in finished.dest.rglob("*.json"):
        json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("person", ["sub-good1", "sub-good2"])
def test_left_stays_left(finished: Finished, person: str, brain: Brain) -> None:
    """The cavity (CSF) of the left hemisphere lies at x < 0 in the file, in the array and in the picture."""
    own = left_and_right_ml(finished.source / "sub-good1/anat/sub-good1_label-CSF_probseg.nii.gz", 0.9)
    path = finished.dest / person / "anat" / f"{person}_{STEM}_label-CSF_probseg.nii.gz"
    left, right = left_and_right_ml(path, 0.9)
    assert own[0] > 0 and left > right + 6  # the cavity holds 11 mL
    csf = Cohort.open(finished.dest).maps(person)[TISSUES.index("csf")]
    x = grid.voxel_to_mm(np.argwhere(csf > 0.9).astype(float))[:, 0]
    assert (x < 0).sum() > (x > 0).sum() + 700
    np.testing.assert_allclose(csf, np.asarray(nib.load(path).dataobj)[...], atol=0.5 / 255 + 1e-6)
    picture = np.asarray(
        Image.open(finished.dest / person / "figures" / f"{person}_{STEM}_tissues.png"), float
    )
    tile = picture[:112, 8 * 112 : 9 * 112]  # the upper axial slice; neurological: left is left
    colour = np.array([int(CSF.colour[i : i + 2], 16) for i in (1, 3, 5)], float)
    blue = np.abs(tile - colour).max(axis=-1) < 30
    assert blue[:, :56].sum() > blue[:, 56:].sum() + 50


def test_run_again_reuses_and_repairs(finished: Finished, tmp_path: Path, inline: None) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    shutil.copytree(finished.source, source)
    shutil.move(source / "derivatives" / "csegsynth", dest)
    for bad in ("cut", "four", "nan", "scale", "shape", "sum", "text", "zero"):
        shutil.rmtree(source / f"sub-{bad}")
    again = run(source, dest)  # same files, but at another place: not known to be the same
    assert (again.prepared, again.reused, again.failures) == (2, 0, {})
    again = run(source, dest)
    assert (again.prepared, again.reused) == (0, 2)
    (dest / "sub-good1" / "anat" / f"sub-good1_{STEM}_label-GM_probseg.nii.gz").unlink()
    os.utime(source / "sub-good2" / "anat" / "sub-good2_label-GM_probseg.nii.gz", (1, 1))
    again = run(source, dest)
    assert (again.prepared, again.reused) == (2, 0)
    assert len(Cohort.open(dest)) == 2
    assert run(source, dest, limit=1).reused == 1
    assert Cohort.open(dest).ids == ("sub-good1",)


# --------------------------------------------------------------------------------------- in this process


@pytest.mark.parametrize("axes", ["LAS", "SPR"])
def test_labels_stay_on_their_side(tmp_path: Path, brain: Brain, inline: None, axes: str) -> None:
    brain.stored(axes).write_labels(tmp_path / "in", "sub-1")
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert (outcome.prepared, outcome.failures) == (1, {})
    anat = tmp_path / "out" / "sub-1" / "anat"
    image = nib.load(anat / f"sub-1_{STEM}_desc-test_dseg.nii.gz")
    labels = np.asarray(image.dataobj)
    names = pd.read_csv(tmp_path / "out" / "desc-test_dseg.tsv", sep="\t").set_index("name")["index"]
    for name, sign in (("Lesion_L", -1), ("Cortex_L", -1), ("Cortex_R", 1)):
        x = nib.affines.apply_affine(image.affine, np.argwhere(labels == names[name]))[:, 0]
        assert np.sign(x.mean()) == sign and (np.sign(x) == sign).mean() > 0.98
    left, right = left_and_right_ml(anat / f"sub-1_{STEM}_label-CSF_probseg.nii.gz", 0.9)
    assert left > right + 6
    record = json.loads((tmp_path / "out" / "sub-1" / "sub-1_desc-prepare_record.json").read_text("utf-8"))
    assert record["note"] == ""
    for name in ("wm", "gm"):
        assert record["volumes_ml"][name] == pytest.approx(record["label_volumes_ml"][name], rel=0.06)


def test_labels_on_the_wrong_side_are_mended_and_noted(tmp_path: Path, brain: Brain, inline: None) -> None:
    from dataclasses import replace

    swap = np.array([0, 2, 1, 4, 3, 5, 6, 0, 0, 9], np.uint8)
    replace(brain, labels=swap[brain.labels]).write_labels(tmp_path / "in", "sub-1")
    run(tmp_path / "in", tmp_path / "out")
    image = nib.load(tmp_path / "out" / "sub-1" / "anat" / f"sub-1_{STEM}_desc-test_dseg.nii.gz")
    x = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 4))[:, 0]
    assert (x > 0).mean() > 0.98, "Cortex_R lies on the right"
    quality = pd.read_csv(tmp_path / "out" / "quality.tsv", sep="\t")
    assert "left and right labels lay on the wrong side: mended" in quality["note"][0]


def test_labels_of_another_table(tmp_path: Path, brain: Brain, inline: None) -> None:
    brain.write_labels(tmp_path / "in", "sub-1")
    table = tmp_path / "in" / "desc-test_dseg.tsv"
    table.write_text("index\tname\ttissue\n1\ta\twm\n2\tb\twm\n4\tc\tgm\n5\td\tcsf\n", "utf-8")
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert "labels that dseg.tsv does not list" in outcome.failures["sub-1"]
    assert "such as 3, 6" in outcome.failures["sub-1"]


def test_everyone_bad(tmp_path: Path, inline: None, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for person in ("sub-a", "sub-b"):
        (tmp_path / "in" / f"{person}_T1w.nii.gz").write_text("no image", "utf-8")
    assert main(["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--quiet", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["prepared"] == 0 and set(said["failures"]) == {"sub-a", "sub-b"}
    table = pd.read_csv(tmp_path / "out" / "failures.tsv", sep="\t")
    assert list(table["participant_id"]) == ["sub-a", "sub-b"]
    assert table["reason"].str.contains("not a NIfTI image").all()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"failures.tsv", "dataset_description.json"}
    with pytest.raises(SourceError, match="not a prepared cohort"):
        Cohort.open(tmp_path / "out")


def test_a_fault_of_ours_takes_one_person_only(
    tmp_path: Path, brain: Brain, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    brain.write_maps(tmp_path / "in", "sub-1")
    brain.write_maps(tmp_path / "in", "sub-2")
    compute = module._compute

    def faulty(person: sources.Person, settings: module.Settings) -> Any:
        if person.participant_id == "sub-1":
            raise KeyError("a bug")
        return compute(person, settings)

    monkeypatch.setattr(module, "_compute", faulty)
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert outcome.failures == {"sub-1": "KeyError: 'a bug'"} and outcome.prepared == 1


def test_a_brain_that_leaves_the_grid(tmp_path: Path, brain: Brain, inline: None) -> None:
    paths = brain.write_maps(tmp_path / "in", "sub-1")
    shift = np.eye(4)
    shift[:3, 3] = brain.rigid[:3, :3] @ [0.0, 0.0, 50.0]
    for name, path in paths.items():
        write_image(path, brain.maps[name], shift @ brain.affine)
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert "the brain runs out of the box" in outcome.failures["sub-1"]


# ------------------------------------------------------------------------------------- where results may go


def test_dest_that_is_source_or_something_else(tmp_path: Path, brain: Brain) -> None:
    source = tmp_path / "raw"
    brain.write_maps(source, "sub-1")
    (source / "derivatives" / "x").mkdir(parents=True)
    for dest, message in (
        (source, "is SOURCE"),
        (source / "derivatives" / "x" / ".." / "..", "is SOURCE"),
        (source / "sub-1" / "anat" / "sub-1_label-GM_probseg.nii.gz", "is a file"),
    ):
        with pytest.raises(SourceError, match=message):
            run(source, dest)
    elsewhere = tmp_path / "lab"
    (elsewhere / "sub-1" / "anat").mkdir(parents=True)
    (elsewhere / "sub-1" / "anat" / "precious.nii.gz").touch()
    with pytest.raises(SourceError, match=r"holds another dataset.*Got: sub-1"):
        run(source, elsewhere)
    fmriprep = tmp_path / "fmriprep"
    fmriprep.mkdir()
    (fmriprep / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}', "utf-8")
    with pytest.raises(SourceError, match=r"holds another dataset.*of other software"):
        run(source, fmriprep)
    assert (elsewhere / "sub-1" / "anat" / "precious.nii.gz").exists()
    assert len(list(source.rglob("*.nii.gz"))) == 3


def test_two_runs_at_once(tmp_path: Path, brain: Brain) -> None:
    pytest.importorskip("fcntl")
    brain.write_maps(tmp_path / "in", "sub-1")
    (tmp_path / "out").mkdir()
    with (
        module._alone(tmp_path / "out", "prepare"),
        pytest.raises(SourceError, match="another run of prepare is writing"),
    ):
        run(tmp_path / "in", tmp_path / "out")
    assert unfinished(tmp_path / "out") == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "SourceError: " in (said := capsys.readouterr().err) and "is not a folder" in said
    assert not (tmp_path / "out").exists()
    for number in ("0", "-1", "two"):
        with pytest.raises(SystemExit):
            main(["prepare", "a", "b", "--workers", number])
        assert "a whole number of 1 or more" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- tables


def test_tables_are_checked_before_the_work(tmp_path: Path, brain: Brain) -> None:
    brain.write_maps(tmp_path, "sub-1")
    table, described = tmp_path / "participants.tsv", tmp_path / "participants.json"
    table.write_text("participant_id\tage\nsub-1\told\n", "utf-8")
    described.write_text('{"age": {"Units": "years"}', "utf-8")
    with pytest.raises(TableError, match=r"participants\.json, row 1: not valid JSON"):
        run(tmp_path, tmp_path / "out")
    described.write_text('{"age": {"Units": "years"}}', "utf-8")
    with pytest.raises(TableError, match=r"participants\.tsv, row 2, column age.*'old'"):
        run(tmp_path, tmp_path / "out")
    table.write_text("participant_id\tage\nsub-IXI1\t40\n", "utf-8")
    with pytest.raises(TableError, match=r"nobody of the table has a scan.*sub-1.*sub-IXI1"):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cohort_that_does_not_hang_together(tmp_path: Path, brain: Brain, inline: None) -> None:
    brain.write_maps(tmp_path / "in", "sub-1")
    run(tmp_path / "in", tmp_path / "out")
    assert Cohort.open(tmp_path / "out").features is None
    whole = (tmp_path / "out" / "packed.npy").read_bytes()
    (tmp_path / "out" / "packed.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="not a prepared cohort"):
        Cohort.open(tmp_path / "out")
    np.save(tmp_path / "out" / "packed.npy", np.zeros((2, 3, 4, 4, 4), np.uint8))
    with pytest.raises(SourceError, match=r"packed\.npy has shape"):
        Cohort.open(tmp_path / "out")


# ---------------------------------------------------------------------------------------------- accidents


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 700 kB, or None where mounting is not permitted."""
    place, mount = tmp_path / "tiny", shutil.which("mount")
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=700k", "tmpfs", str(place)]
    done = subprocess.run([mount, *options], capture_output=True, check=False) if mount else None
    if done is None or done.returncode:
        yield None
        return
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_while_a_person_is_written(
    tmp_path: Path,
    brain: Brain,
    inline: None,
    tiny_disk: Path | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    brain.write_maps(tmp_path / "in", "sub-1")
    dest = tmp_path / "out" if tiny_disk is None else tiny_disk / "out"
    if tiny_disk is None:
        left = [4]

        def fsync(_: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fsync)
    assert main(["prepare", str(tmp_path / "in"), str(dest), "--quiet"]) == 3
    said = capsys.readouterr().err
    assert "The disk is full: could not write" in said and "sub-1" in said and "run the same command" in said
    assert "Traceback" not in said
    assert not (dest / "sub-1").exists() and not (dest / "packed.npy").exists()
    assert unfinished(dest) == []


def test_full_disk_while_packing(
    tmp_path: Path, brain: Brain, inline: None, tiny_disk: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A memory map would kill the process with SIGBUS here; and people who are finished stay so."""
    if tiny_disk is None:
        pytest.skip("mounting a small disk is not permitted here")
    brain.write_maps(tmp_path / "in", "sub-1")
    run(tmp_path / "in", tmp_path / "out")
    mount = shutil.which("mount") or ""
    size = sum(p.stat().st_size for p in (tmp_path / "out" / "sub-1").rglob("*")) // 1024 + 400
    subprocess.run([mount, "-o", f"remount,size={size}k", str(tiny_disk)], check=True)
    shutil.copytree(tmp_path / "out" / "sub-1", tiny_disk / "out" / "sub-1")
    assert main(["prepare", str(tmp_path / "in"), str(tiny_disk / "out"), "--quiet"]) == 3
    assert "The disk is full: could not write" in (said := capsys.readouterr().err) and "packed.npy" in said
    assert (tiny_disk / "out" / "sub-1").is_dir() and unfinished(tiny_disk / "out") == []
    with pytest.raises(SourceError, match="not a prepared cohort"):
        Cohort.open(tiny_disk / "out")
    subprocess.run([mount, "-o", f"remount,size={size + 4000}k", str(tiny_disk)], check=True)
    assert run(tmp_path / "in", tiny_disk / "out").reused == 1
    assert len(Cohort.open(tiny_disk / "out")) == 1


def _work_or_die(person: sources.Person, settings: module.Settings) -> None:
    """Stands in for the work, in a worker process: leaves something unfinished, then does as the id says."""
    staging = Path(settings.dest) / f".part-{person.participant_id}"
    staging.mkdir(parents=True, exist_ok=True)
    if "killed" in person.participant_id:
        os.kill(os.getpid(), signal.SIGKILL)
    if "slow" in person.participant_id:
        time.sleep(60)
    staging.replace(Path(settings.dest) / person.participant_id)


def _people(*ids: str) -> list[sources.Person]:
    return [sources.Person(i, "t1") for i in ids]


def _settings(dest: Path) -> module.Settings:
    return module.Settings(str(dest), str(dest), "auto", {}, {}, "", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_worker_takes_nobody_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_prepare_person", _work_or_die)
    people = _people("sub-1", "sub-killed", "sub-2", "sub-3")
    failures = module._run(people, _settings(tmp_path), 2, False)
    assert list(failures) == ["sub-killed"]
    assert "was killed" in failures["sub-killed"] and "--workers" in failures["sub-killed"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sub-1", "sub-2", "sub-3"]


_INTERRUPTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs that a shell started behind it ignore it
import sys
from pathlib import Path
from csegsynth_core.data import prepare as module
from csegsynth_core import __main__
from tests import test_prepare as tests

if __name__ == "__main__":
    module._prepare_person = tests._work_or_die
    dest = Path(sys.argv[1])
    people = tests._people("sub-1", "sub-slow", "sub-2")
    __main__._prepare = lambda args: module._run(people, tests._settings(dest), 1, False)
    raise SystemExit(__main__.main(["prepare", "a", "b"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("sign", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_interrupt_leaves_nothing_half_made(tmp_path: Path, sign: signal.Signals, group: bool) -> None:
    """Ctrl-C reaches every process of the terminal's group; `kill` only the main one."""
    script, dest = tmp_path / "script.py", tmp_path / "out"
    script.write_text(_INTERRUPTED, "utf-8")
    dest.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(dest)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        deadline = time.monotonic() + 60
        while not (dest / ".part-sub-slow").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        if group:
            os.killpg(process.pid, sign)
        else:
            process.send_signal(sign)
        _, said = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 130
    assert "What was finished is kept; run the same command again" in said and "Traceback" not in said
    assert sorted(p.name for p in dest.iterdir()) == ["sub-1"]
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # the worker is gone too
            os.killpg(process.pid, 0)
            time.sleep(0.1)


# ------------------------------------------------------------------------------------------------ quality


def _record(
    person: str, wm: float = 500, gm: float = 600, csf: float = 200, score: float = 0.65
) -> dict[str, Any]:
    return {
        "participant_id": person,
        "volumes_ml": {"wm": wm, "gm": gm, "csf": csf},
        "partial_volume_fraction": 0.35,
        "alignment_score": score,
        "rotation_deg": 5.0,
        "note": "",
    }


def test_quality_table_marks_outliers(rng: np.random.Generator) -> None:
    records = [
        _record(f"sub-{i}", *(rng.normal(1, 0.05, 3) * [500, 600, 200]), rng.normal(0.65, 0.01))
        for i in range(30)
    ]
    records += [
        _record("sub-tiny", 250, 300, 100),
        _record("sub-wet", csf=420),
        _record("sub-low", score=0.55),
    ]
    records += [_record("sub-high", score=0.75)]
    table = quality_table(records).set_index("participant_id")
    assert set(table.index[table["outlier"] == "yes"]) == {"sub-tiny", "sub-wet", "sub-low"}
    assert table.loc["sub-tiny", "outlier_reason"].startswith("wm_gm_csf_ml z=-")
    assert "csf_fraction z=+" in table.loc["sub-wet", "outlier_reason"]
    assert "alignment_score z=-" in table.loc["sub-low", "outlier_reason"]
    assert table.loc["sub-0", "outlier_reason"] == "n/a"
    np.testing.assert_allclose(
        table[["wm_fraction", "gm_fraction", "csf_fraction"]].sum(axis=1), 1, atol=2e-4
    )


def test_quality_of_a_few_people_uses_an_absolute_bound() -> None:
    table = quality_table([_record("sub-1"), _record("sub-2", score=0.3)])
    assert list(table["outlier"]) == ["no", "yes"]
    assert table["outlier_reason"][1] == "alignment_score below 0.5"


# ---------------------------------------------------------------------------------------------- real people


@pytest.mark.slow
def test_real_people(shared: Path, tmp_path: Path) -> None:
    """Three people of IXI, the two with faulty labels among them, against the volumes of their labels."""
    ixi = shared / "data" / "ixi"
    if not ixi.is_dir():
        pytest.skip("no IXI in ../shared")
    source, dest = tmp_path / "ixi", tmp_path / "out"
    source.mkdir()
    people = ("sub-IXI012", "sub-IXI438", "sub-IXI638")
    for name in (*people, "desc-dlmuse_dseg.tsv", "participants.json"):
        (source / name).symlink_to(ixi / name)
    for person in people:  # rglob does not follow links to folders
        (source / person).unlink()
        shutil.copytree(ixi / person, source / person)
    lines = (ixi / "participants.tsv").read_text("utf-8").splitlines()
    kept = [lines[0], *(line for line in lines if line.startswith(people))]
    (source / "participants.tsv").write_text("\n".join(kept) + "\n", "utf-8")
    outcome = prepare(source, dest, progress=False)
    assert (outcome.prepared, outcome.failures) == (3, {})
    difference = {"wm": [], "gm": []}
    names = pd.read_csv(dest / "desc-dlmuse_dseg.tsv", sep="\t").set_index("name")["index"]
    lateral = {
        sign: [v for n, v in names.items() if n.endswith(side)] for side, sign in (("_L", -1), ("_R", 1))
    }
    for person in people:
        record = json.loads((dest / person / f"{person}_desc-prepare_record.json").read_text("utf-8"))
        assert 0.10 <= record["partial_volume_fraction"] <= 0.45
        assert record["alignment_score"] > 0.5
        for tissue, found in difference.items():
            hard = record["label_volumes_ml"][tissue]
            found.append(abs(record["volumes_ml"][tissue] - hard) / hard)
        assert ("wrong side: mended" in record["note"]) == (person != "sub-IXI012")
        image = nib.load(dest / person / "anat" / f"{person}_{STEM}_desc-dlmuse_dseg.nii.gz")
        labels = np.asarray(image.dataobj)
        counts = {}
        for sign, values in lateral.items():
            where = np.isin(labels, values)
            x = nib.affines.apply_affine(image.affine, np.argwhere(where))[:, 0]
            assert (np.sign(x) == sign).mean() > 0.98
            counts[sign] = int(where.sum())
        assert counts[-1] == pytest.approx(counts[1], rel=0.1)
    assert max(np.mean(d) for d in difference.values()) <= 0.06
