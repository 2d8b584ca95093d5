"""What `find` makes of folders as other programs leave them. It looks at names only, so files may be empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from csegsynth_core.data.sources import Source, find
from csegsynth_core.errors import SourceError, TableError


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(source: Source) -> dict[str, dict[str, str]]:
    return {p.participant_id: {k: f.name for k, f in p.files.items()} for p in source.people}


def probseg(stem: str) -> list[str]:
    return [f"{stem}_label-{t}_probseg.nii.gz" for t in ("GM", "WM", "CSF")]


def test_fmriprep(tmp_path: Path) -> None:
    lay(
        tmp_path,
        *probseg("sub-01/anat/sub-01"),
        *probseg("sub-01/anat/sub-01_space-MNI152NLin2009cAsym"),
        "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "sub-01/anat/sub-01_dseg.nii.gz",
        *probseg("sub-02/anat/sub-02_space-MNI152NLin6Asym_res-2"),
        "sub-02/anat/sub-02_desc-preproc_T1w.nii.gz",
        "desc-aseg_dseg.tsv",
    )
    (tmp_path / "desc-aseg_dseg.tsv").write_text("index\tname\n2\tLeft-Cerebral-White-Matter\n", "utf-8")
    found = find(tmp_path)
    assert found.kind == "maps"
    expected = {t.lower(): f"sub-01_label-{t}_probseg.nii.gz" for t in ("WM", "GM", "CSF")}
    assert names(found) == {"sub-01": expected}
    assert "warped" in found.skipped["sub-01_space-MNI152NLin2009cAsym_label-GM_probseg.nii.gz"]
    assert found.skipped["sub-02"] == (
        "has no set of tissue maps, only a raw T1: prepare it separately with --kind t1"
    )
    assert "no column tissue" in found.skipped["desc-aseg_dseg.tsv"]
    assert set(names(find(tmp_path, kind="t1"))) == {"sub-01", "sub-02"}


def test_only_template_space_is_refused_with_the_reason(tmp_path: Path) -> None:
    lay(tmp_path, *probseg("sub-01/anat/sub-01_space-MNI152NLin2009cAsym"))
    with pytest.raises(
        SourceError, match=r"3 NIfTI files; refused: .*space-MNI152NLin2009cAsym: it was warped"
    ):
        find(tmp_path)


def test_own_results_are_not_prepared_again(tmp_path: Path) -> None:
    lay(tmp_path, *probseg("sub-01/anat/sub-01_space-ICBM152Rigid2mm"))
    with pytest.raises(SourceError, match="prepared by CSegSynth already"):
        find(tmp_path)


def test_smriprep_sessions(tmp_path: Path) -> None:
    lay(
        tmp_path,
        *probseg("sub-01/ses-b/anat/sub-01_ses-b_space-T1w"),
        *probseg("sub-01/ses-a/anat/sub-01_ses-a_space-T1w"),
        *probseg("sub-02/ses-a/anat/sub-02_ses-a_run-1"),
    )
    found = find(tmp_path)
    assert names(found)["sub-01"]["gm"] == "sub-01_ses-a_space-T1w_label-GM_probseg.nii.gz"
    notes = {p.participant_id: p.note for p in found.people}
    assert notes == {"sub-01": "several sessions or runs: the first was used", "sub-02": ""}


def test_fast(tmp_path: Path) -> None:
    lay(
        tmp_path,
        *[f"sub-7/sub-7_T1w_brain_pve_{n}.nii.gz" for n in "012"],
        "sub-7/sub-7_T1w_brain_seg.nii.gz",
    )
    lay(tmp_path, *[f"Jane_pve_{n}.nii" for n in "012"], "John_pve_0.nii", "John_pve_1.nii")
    found = find(tmp_path)
    assert names(found)["sub-7"] == {  # FAST numbers by T1 intensity: 0 is CSF
        "csf": "sub-7_T1w_brain_pve_0.nii.gz",
        "gm": "sub-7_T1w_brain_pve_1.nii.gz",
        "wm": "sub-7_T1w_brain_pve_2.nii.gz",
    }
    assert set(names(found)) == {"sub-7", "sub-Jane"}
    assert found.skipped["John"] == "no map of WM"


def test_fsl_anat_gives_everybody_the_same_file_names(tmp_path: Path) -> None:
    for who in ("a1.anat", "a2.anat"):
        lay(tmp_path, *[f"{who}/T1_fast_pve_{n}.nii.gz" for n in "012"])
    assert set(names(find(tmp_path))) == {"sub-a1anat", "sub-a2anat"}


def test_a_parent_folder_called_sub_is_nobody(tmp_path: Path) -> None:
    folder = lay(tmp_path / "sub-study", "x_T1w.nii.gz", "y_T1w.nii.gz")
    assert set(names(find(folder))) == {"sub-x", "sub-y"}


def test_names_that_become_one_are_not_mixed_up(tmp_path: Path) -> None:
    found = find(lay(tmp_path, "a_1_T1w.nii.gz", "a1_T1w.nii.gz"))
    assert set(names(found)) == {"sub-a1"}
    assert any("as another person is" in why for why in found.skipped.values())


def test_spm_and_cat12(tmp_path: Path) -> None:
    spm = lay(tmp_path / "spm", "sub-1/c1sub-1_T1w.nii", "sub-1/c2sub-1_T1w.nii", "sub-1/c3sub-1_T1w.nii")
    lay(spm, "sub-1/c4sub-1_T1w.nii", "sub-1/y_sub-1_T1w.nii")
    expected = {"gm": "c1sub-1_T1w.nii", "wm": "c2sub-1_T1w.nii", "csf": "c3sub-1_T1w.nii"}
    assert names(find(spm)) == {"sub-1": expected}
    cat = lay(
        tmp_path / "cat",
        *[f"mri/p{n}IXI012-T1.nii" for n in "0123"],
        *[f"mri/p{n}IXI013-T1.nii" for n in "123"],
    )
    assert set(names(find(cat))) == {"sub-IXI012T1", "sub-IXI013T1"}


@pytest.mark.parametrize(
    "prefix", ["wp", "mwp", "rp", "smwp", "s8mwp", "m0wp", "s6m0wp", "wc", "mwc", "rc", "swc", "smwc"]
)
def test_warped_modulated_and_smoothed_maps_are_refused(tmp_path: Path, prefix: str) -> None:
    lay(tmp_path, *[f"mri/{prefix}{n}sub-1_T1w.nii" for n in "123"])
    with pytest.raises(SourceError, match=rf"refused: {prefix}1sub-1_T1w\.nii: prefix .*warped or modulated"):
        find(tmp_path)


def test_ixi_layout(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "sub-1/anat/sub-1_desc-brain_T1w.nii.gz",
        "sub-1/anat/sub-1_desc-dlmuse_dseg.nii.gz",
        "sub-2/anat/sub-2_desc-brain_T1w.nii.gz",
        "sub-3/anat/sub-3_desc-dlmuse_dseg.nii.gz",
        "sub-4/anat/sub-4_ses-1_T1w.nii.gz",
        "sub-4/anat/sub-4_ses-2_desc-dlmuse_dseg.nii.gz",
    )
    table = "index\tname\ttissue\n1\tCortCSF\tcsf\n23\tAccumbens_R\tGM\n7\tSkull\tn/a\n"
    (tmp_path / "desc-dlmuse_dseg.tsv").write_text(table, "utf-8")
    found = find(tmp_path)
    assert found.kind == "labels"
    assert names(found) == {
        "sub-1": {"t1": "sub-1_desc-brain_T1w.nii.gz", "labels": "sub-1_desc-dlmuse_dseg.nii.gz"}
    }
    assert found.tissue_of == {1: "csf", 23: "gm"}
    assert found.label_names == {1: "CortCSF", 23: "Accumbens_R", 7: "Skull"}
    assert "only a raw T1" in found.skipped["sub-2"]
    assert "without a T1" in found.skipped["sub-3_desc-dlmuse_dseg.nii.gz"]
    assert "without a T1" in found.skipped["sub-4_ses-2_desc-dlmuse_dseg.nii.gz"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "index\tname\ttissue\n1\ta\tgm\n2\tb\tbone\n",
            r"dseg\.tsv, row 3, column tissue.*wm, gm, csf, n/a.*'bone'",
        ),
        ("index\tname\ttissue\n1.5\ta\tgm\n", r"row 2, column index.*whole number.*'1\.5'"),
        ("index\tname\ttissue\n-1\ta\tgm\n", r"row 2, column index"),
        (
            "index\tname\ttissue\n1\ta\tgm\n1\tb\twm\n",
            r"row 3, column index.*every label once.*1 a second time",
        ),
        (
            "index\tname\ttissue\n1\ta\tgm\textra\tmore\n2\tb\n3\tc\tx\ty\tz\tq\n",
            r"dseg\.tsv cannot be read.*tabs",
        ),
        ("", r"dseg\.tsv cannot be read"),
    ],
)
def test_label_table_errors_name_row_and_column(tmp_path: Path, table: str, message: str) -> None:
    lay(tmp_path, "sub-1_T1w.nii.gz", "sub-1_dseg.nii.gz")
    (tmp_path / "dseg.tsv").write_text(table, "utf-8")
    with pytest.raises(TableError, match=message):
        find(tmp_path)


def test_label_table_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "dseg.tsv").write_bytes(b"index\ttissue\n\xff\xfe\xfa\tgm\n")
    with pytest.raises(TableError, match="cannot be read"):
        find(tmp_path)


def test_raw_bids(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz",
        "sub-03/anat/sub-03_space-MNI152_T1w.nii.gz",
        "sub-04/anat/sub-04_T2w.nii.gz",
        ".git/annex/sub-05_T1w.nii.gz",
        "sourcedata/sub-06/anat/sub-06_T1w.nii.gz",
        *probseg("derivatives/fmriprep/sub-01/anat/sub-01"),
    )
    found = find(tmp_path)
    assert found.kind == "t1"
    assert set(names(found)) == {"sub-01", "sub-02"}
    assert found.skipped == {"sub-03_space-MNI152_T1w.nii.gz": "space-MNI152: not a raw scan"}
    assert find(tmp_path / "derivatives" / "fmriprep").kind == "maps"


def test_only_derivatives_inside(tmp_path: Path) -> None:
    lay(tmp_path, *probseg("derivatives/fmriprep/sub-01/anat/sub-01"))
    with pytest.raises(SourceError, match=r"Fix: give one of the datasets.*derivatives/fmriprep"):
        find(tmp_path)


def test_results_inside_the_source_are_not_looked_into(tmp_path: Path) -> None:
    lay(tmp_path, "sub-01_T1w.nii.gz", "out/sub-02_T1w.nii.gz")
    assert set(names(find(tmp_path, apart_from=tmp_path / "out"))) == {"sub-01"}
    assert set(names(find(tmp_path, apart_from=tmp_path / "elsewhere"))) == {"sub-01", "sub-02"}


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing is not a folder.*nothing of that name"):
        find(tmp_path / "missing")
    lay(tmp_path, "notes.txt", "scan.dcm")
    with pytest.raises(SourceError, match=r"nothing in .* can be prepared.*_T1w\.nii\.gz.*0 NIfTI files"):
        find(tmp_path)
    with pytest.raises(SourceError, match="can be prepared as maps"):
        find(lay(tmp_path, "sub-1_T1w.nii.gz"), kind="maps")
    with pytest.raises(SourceError, match=r"is not a folder.*Got: a file"):
        find(tmp_path / "notes.txt")
