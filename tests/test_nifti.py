"""Reading with checks at the door; writing whole files or none."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from csegsynth_core.data.nifti import Volume, read_volume, to_ras, write_bytes, write_nifti
from csegsynth_core.errors import ImageError
from tests.conftest import write_image

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])


@pytest.fixture
def data(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(1, 100, (6, 7, 8)).astype(np.float32)


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    return write_image(path, data, affine)


def test_read_gives_ras_float32(tmp_path: Path, data: np.ndarray) -> None:
    flipped = AFFINE @ np.array([[-1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = read_volume(write(tmp_path / "las.nii.gz", data[::-1], flipped))
    assert volume.data.dtype == np.float32 and volume.data.flags.c_contiguous
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, AFFINE)
    np.testing.assert_allclose(volume.spacing_mm, 2)
    assert volume.voxel_ml == pytest.approx(0.008)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PIR", "SLA", "AIL"])
def test_any_order_of_axes_is_the_same_image(data: np.ndarray, axes: str) -> None:
    turn = nib.orientations.axcodes2ornt(axes)
    turned = nib.apply_orientation(data, nib.orientations.ornt_transform(nib.io_orientation(np.eye(4)), turn))
    inverse = nib.orientations.ornt_transform(nib.io_orientation(np.eye(4)), turn)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(inverse, data.shape)
    back = to_ras(Volume(turned, affine))
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, AFFINE)


def test_scaled_integers_and_last_axis_of_one(tmp_path: Path) -> None:
    stored = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6, 1)
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").data, stored[..., 0] * 0.5 + 3)


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"T1 .*nothing\.nii\.gz does not exist"):
        read_volume(tmp_path / "nothing.nii.gz", what="T1")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "annex" / "object")
    with pytest.raises(ImageError, match="datalad get"):
        read_volume(tmp_path / "link.nii.gz")


def test_truncated(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = write(tmp_path / "whole.nii.gz", rng.normal(size=(20, 20, 20)).astype(np.float32)).read_bytes()
    for keep in (len(whole) // 2, 200):
        (tmp_path / "cut.nii.gz").write_bytes(whole[:keep])
        with pytest.raises(ImageError, match=r"cut\.nii\.gz is truncated or damaged.*Fix: copy or download"):
            read_volume(tmp_path / "cut.nii.gz")
    plain = write(tmp_path / "plain.nii", np.ones((20, 20, 20), np.float32)).read_bytes()
    (tmp_path / "cut.nii").write_bytes(plain[:5000])
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_volume(tmp_path / "cut.nii")


def test_one_wrong_bit_is_noticed(tmp_path: Path, rng: np.random.Generator) -> None:
    """nibabel alone would return wrong values here: it does not read on to the checksum."""
    whole = write(tmp_path / "whole.nii.gz", rng.integers(0, 255, (20, 20, 20)).astype(np.uint8)).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    (tmp_path / "bits.nii.gz").write_bytes(flipped)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_volume(tmp_path / "bits.nii.gz")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "none.nii.gz").write_bytes(b"")
    with pytest.raises(ImageError, match=r"none\.nii\.gz is truncated or damaged.*the file is empty"):
        read_volume(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("name", ["text.nii.gz", "text.nii"])
def test_text_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("participant_id\tage\n" * 40, "utf-8")
    with pytest.raises(ImageError, match=rf"{name} is not a NIfTI image.*starts with b'participant_id"):
        read_volume(tmp_path / name)


def test_other_format(tmp_path: Path, data: np.ndarray) -> None:
    nib.save(nib.MGHImage(data, AFFINE), tmp_path / "t1.mgz")
    with pytest.raises(ImageError, match=r"not a NIfTI image.*'\.mgz'.*mri_convert"):
        read_volume(tmp_path / "t1.mgz")


def test_four_dimensions(tmp_path: Path) -> None:
    path = write(tmp_path / "bold.nii.gz", np.ones((4, 5, 6, 3), np.float32))
    with pytest.raises(ImageError, match=r"not a 3-D image.*\(4, 5, 6, 3\).*fslroi"):
        read_volume(path)


def test_flat_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"unusable size.*\(1, 5, 6\)"):
        read_volume(write(tmp_path / "flat.nii.gz", np.ones((1, 5, 6), np.float32)))


def test_not_a_number(tmp_path: Path, data: np.ndarray) -> None:
    data[0, 0, :2] = np.nan, np.inf
    with pytest.raises(ImageError, match=r"not numbers.*2 voxels with NaN or infinity.*fslmaths"):
        read_volume(write(tmp_path / "nan.nii.gz", data))


def test_all_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "zero.nii.gz", np.zeros((4, 5, 6), np.float32))
    with pytest.raises(ImageError, match=r"zero\.nii\.gz is empty.*every voxel is 0"):
        read_volume(path)
    assert not read_volume(path, allow_empty=True).data.any()


def test_colours_and_complex_numbers(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageError, match=r"one real number a voxel.*colours \(RGB\)"):
        read_volume(write(tmp_path / "rgb.nii.gz", colours))
    with pytest.raises(ImageError, match="complex64"):
        read_volume(write(tmp_path / "complex.nii.gz", np.ones((4, 5, 6), np.complex64)))


def test_huge_image_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.float64)
    header.set_sform(AFFINE, 1)
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + b"\0" * 100)
    with pytest.raises(ImageError, match="unusable size"):
        read_volume(tmp_path / "huge.nii")


def test_header_without_orientation(tmp_path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, None), tmp_path / "lost.nii.gz")
    with pytest.raises(ImageError, match="does not say which side is left"):
        read_volume(tmp_path / "lost.nii.gz")


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([2e-3, 2e-3, 2e-3, 1]), r"implausible voxel sizes.*0\.002 × 0\.002 × 0\.002 mm.*units"),
        (np.diag([2.0, 2.0, 30.0, 1]), "implausible voxel sizes"),
        (np.array([[2.0, 0.6, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]), "not at right angles"),
        (np.array([[2.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]), "no usable affine"),
    ],
)
def test_affine_that_no_scanner_writes(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, message: str
) -> None:
    image = nib.Nifti1Image(data, np.eye(4))
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = affine[row]
    image.header["sform_code"] = 1
    image.header["qform_code"] = 0
    (tmp_path / "odd.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + data.tobytes("F"))
    with pytest.raises(ImageError, match=message):
        read_volume(tmp_path / "odd.nii")


# ------------------------------------------------------------------------------------------------ writing


def test_written_image_opens_elsewhere(tmp_path: Path, data: np.ndarray) -> None:
    path = tmp_path / "new" / "map.nii.gz"
    write_nifti(path, data, AFFINE, description="grey matter")
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE)
    assert image.header.get_xyzt_units()[0] == "mm" and image.get_data_dtype() == np.float32
    assert bytes(image.header["descrip"]).startswith(b"grey matter")
    first = path.read_bytes()
    write_nifti(path, data, AFFINE, description="grey matter")
    assert path.read_bytes() == first, "the same content gives the same file"


def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.txt").write_text("old", "utf-8")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*old\.txt"):
        write_bytes(tmp_path / "old.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["old.txt"]
    assert (tmp_path / "old.txt").read_text("utf-8") == "old"


def test_written_file_is_readable_by_others(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"1")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
