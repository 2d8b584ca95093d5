"""Exported brains: affine, sides, names, order of tissues, the command line."""

import gzip
import io
import json
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from csegsynth_core import grid
from csegsynth_core.__main__ import main
from csegsynth_core.data.bids import hard_segmentation
from csegsynth_core.data.nifti import write_bytes
from csegsynth_core.export import bids_files, participant_label, zip_bytes
from csegsynth_core.generate import Brain, volumes_over_draws
from csegsynth_core.pack import SHIPPED, load_pack
from csegsynth_core.tissue import GM, TISSUES, index

needs_pack = pytest.mark.skipif(
    not (SHIPPED / "ixi" / "pack.json").is_file(), reason="the ixi pack is not there"
)


def lopsided() -> Brain:
    """Grey matter in the left hemisphere only, white matter in the right only."""
    maps = np.zeros((3, *grid.SHAPE), np.float32)
    maps[index("gm"), 10:40, 40:80, 50:70] = 1.0
    maps[index("wm"), 40:70, 40:80, 50:70] = 0.75
    maps[index("csf"), 40:70, 40:80, 50:70] = 0.25
    return Brain("sub-lopsided", maps, dict.fromkeys(TISSUES, 1.0), {"age": 40.0}, {}, 7, "ixi", "0" * 64)


def written(folder):
    for name, content in bids_files([lopsided()], load_pack("ixi")):
        write_bytes(folder / name, content)


@needs_pack
def test_left_stays_left_and_values_survive(tmp_path):
    brain = lopsided()
    written(tmp_path)
    for name in TISSUES:
        path = (
            tmp_path
            / "sub-lopsided"
            / "anat"
            / (f"sub-lopsided_space-{grid.SPACE}_label-{name.upper()}_desc-synthetic_probseg.nii.gz")
        )
        image = nib.load(path)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.array_equal(image.affine, grid.affine())
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 2)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert np.allclose(image.get_qform(), grid.affine(), atol=1e-5)
        assert np.array_equal(np.asarray(image.dataobj), brain.maps[index(name)])
        world = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0))
        assert (world[:, 0] < 0).all() if name == "gm" else (world[:, 0] > 0).all()


@needs_pack
def test_dseg_and_tables(tmp_path):
    written(tmp_path)
    dseg = nib.load(next((tmp_path / "sub-lopsided" / "anat").glob("*_dseg.nii.gz")))
    values = np.asarray(dseg.dataobj)
    assert values[20, 50, 60] == GM.dseg and values[50, 50, 60] == 2 and values[0, 0, 0] == 0
    table = (tmp_path / "dseg.tsv").read_text().splitlines()
    assert table[0].split("\t")[:3] == ["index", "name", "abbreviation"]
    assert [row.split("\t")[2] for row in table[1:]] == ["GM", "WM", "CSF"]
    description = json.loads((tmp_path / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["Synthetic"] is True
    sidecars = [json.loads(p.read_text("utf-8")) for p in (tmp_path / "sub-lopsided").rglob("*.json")]
    assert len(sidecars) == 4
    for fields in sidecars:  # our space is none of BIDS's own
        assert "ICBM152 2009 nonlinear symmetric" in fields["SpatialReference"]
    assert "not scans of anybody" in (tmp_path / "README.md").read_text()


@needs_pack
def test_zip_is_reproducible_and_opens_in_nilearn(tmp_path):
    from nilearn.image import load_img, resample_to_img

    pack = load_pack("ixi")
    payload = zip_bytes([lopsided()], pack)
    assert payload == zip_bytes([lopsided()], pack)
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("label-GM_desc-synthetic_probseg.nii.gz"))
        archive.extract(name, tmp_path)
        assert len(gzip.decompress(archive.read(name))) > 352
    image = load_img(str(tmp_path / name))
    again = resample_to_img(image, image, force_resample=True, copy_header=True)
    assert np.allclose(again.get_fdata(), image.get_fdata())


def test_names_are_safe():
    brain = lopsided()
    for given, expected in (
        ("sub-01", "sub-01"),
        ("../../etc", "sub-etc"),
        ("row-1", "sub-row1"),
        ("///", "sub-synthetic"),
    ):
        object.__setattr__(brain, "participant_id", given)
        assert participant_label(brain) == expected


def test_hard_segmentation_prefers_the_larger_share():
    maps = np.zeros((3, 1, 1, 2), np.float32)
    maps[:, 0, 0, 0] = [0.3, 0.3, 0.1]  # 0.3 background ties with WM: a tissue wins
    maps[:, 0, 0, 1] = [0.1, 0.1, 0.2]  # 0.6 background
    assert hard_segmentation(maps)[0, 0].tolist() == [2, 0]


@needs_pack
def test_generate_command(tmp_path, capsys):
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tage\tsex\nsub-a\t30\tF\nsub-b\t70\tM\n")
    assert main(["generate", "--table", str(table), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "2 synthetic brains" in capsys.readouterr().out
    assert len(list((tmp_path / "out").rglob("*_probseg.nii.gz"))) == 6
    volumes = (tmp_path / "out" / "volumes.tsv").read_text().splitlines()
    assert volumes[0].split("\t")[0] == "participant_id" and len(volumes) == 3
    lost = next((tmp_path / "out" / "sub-b").rglob("*_label-GM_desc-synthetic_probseg.nii.gz"))
    held = lost.read_bytes()
    lost.unlink()  # somebody without all maps is not finished
    assert main(["generate", "--table", str(table), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "1 synthetic brains of 1 people, 1 already there" in capsys.readouterr().out
    assert lost.read_bytes() == held


@needs_pack
def test_generate_command_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    from csegsynth_core import generate_folder as folders

    table, out = tmp_path / "people.tsv", tmp_path / "out"
    table.write_text("participant_id\tage\tsex\nsub-a\t30\tF\nsub-b\t70\tM\nsub-c\t50\tF\n")
    command = ["generate", "--table", str(table), "--out", str(out), "--quiet", "--no-maps", "--draws", "2"]
    write, marks = folders.write_text, []

    def fails_at_the_second(path, text):
        if path.name.endswith("_volumes.json"):
            marks.append(path)
            if len(marks) == 2:
                raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(folders, "write_text", fails_at_the_second)
    assert main(command) == 130
    assert not (out / "volumes.tsv").exists()
    monkeypatch.undo()
    mended = out / "sub-c" / "sub-c_desc-synthetic_volumes.json"
    mended.parent.mkdir()
    mended.write_text('{"FeaturesHash": "ab')  # half a file is not a finished person
    capsys.readouterr()
    assert main(command) == 0
    assert "4 synthetic brains of 2 people, 1 already there" in capsys.readouterr().out
    volumes = pd.read_csv(out / "volumes.tsv", sep="\t")
    assert list(volumes["participant_id"]) == [f"sub-{p}" for p in "aabbcc"]
    assert list(volumes["draw"]) == [0, 1] * 3
    people = pd.DataFrame({"age": [30, 70, 50], "sex": ["F", "M", "F"]})
    expected = volumes_over_draws(load_pack("ixi"), people, draws=2).reshape(6, 3)
    assert np.allclose(volumes[list(TISSUES)], expected, atol=2e-3)
    assert not list(out.rglob("*.nii.gz")) and (out / "regions.tsv").is_file()
    before = (out / "volumes.tsv").read_bytes()
    table.write_text(table.read_text().replace("sub-b\t70", "sub-b\t71"))
    assert main(command) == 0
    assert "2 synthetic brains of 1 people, 2 already there" in capsys.readouterr().out
    assert (out / "volumes.tsv").read_bytes() != before
    assert main([*command, "--seed", "5"]) == 2
    message = capsys.readouterr().err
    assert "other settings" in message and "Seed 0" in message and "Seed 5" in message


@needs_pack
def test_generate_command_names_row_and_column(tmp_path, capsys):
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tage\tsex\nsub-a\t30\tF\nsub-b\told\tM\n")
    assert main(["generate", "--table", str(table), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    message = capsys.readouterr().err
    assert "people.tsv" in message and "row 3" in message and "age" in message and "'old'" in message
    assert not (tmp_path / "out").exists()
