"""Reading NIfTI images with checks at the door, and writing them so that nothing half-made survives."""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from csegsynth_core.errors import ImageError

MAX_VOXELS = 512**3
"""Largest image that is read (voxels): larger ones are almost always a mistake."""
SPACING_MM = (0.1, 12.0)
"""Smallest and largest edge of a voxel (mm) that a scan of a head can have."""
MAX_SHEAR = 0.02
"""Largest cosine between two axes of an image; above it the affine was made by more than a scanner."""


@dataclass(frozen=True)
class Volume:
    """A 3-D image on a RAS+ grid: `data` of shape (i, j, k), `affine` (4, 4) voxel → mm."""

    data: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel in mm, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)


def read_volume(path: Path, *, what: str = "image", allow_empty: bool = False) -> Volume:
    """Read one 3-D image as float32, reoriented to RAS+.

    A trailing fourth axis of length one is dropped.

    Raises:
        ImageError: not there, not an image, truncated, not 3-D, not real numbers, not finite, empty, or
            without a usable affine. The message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(
            f"{what} {path} does not exist",
            expected="a NIfTI file (.nii or .nii.gz)",
            got="a link whose target is missing" if path.is_symlink() else "no such file",
            fix="fetch its content, for example with `datalad get`" if path.is_symlink() else "",
        )
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ImageError(
            f"{what} {path} is not a NIfTI image",
            expected="a file ending in .nii or .nii.gz",
            got=f"the ending {path.suffix or '(none)'!r}",
            fix="convert it, for example with `mri_convert IN OUT.nii.gz` or dcm2niix",
        )
    try:
        _check_whole(path)
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ImageFileError(f"{path} is a {type(image).__name__}")
        shape = tuple(int(s) for s in image.shape)
        if len(shape) == 4 and shape[3] == 1:
            shape = shape[:3]
        if len(shape) != 3:
            raise ImageError(
                f"{what} {path} is not a 3-D image",
                expected="shape (i, j, k)",
                got=f"shape {tuple(image.shape)}",
                fix="extract one volume, for example with `fslroi` or nilearn's `index_img`",
            )
        if min(shape) < 2 or int(np.prod(shape, dtype=np.int64)) > MAX_VOXELS:
            raise ImageError(
                f"{what} {path} has an unusable size",
                expected=f"at least 2 voxels along each axis and at most {MAX_VOXELS} in all",
                got=f"shape {shape}",
            )
        dtype = image.get_data_dtype()
        if dtype.kind not in "iufb":
            raise ImageError(
                f"{what} {path} does not hold one real number a voxel",
                expected="integer or floating-point intensities",
                got="colours (RGB)" if dtype.names else f"values of type {dtype}",
                fix="export the magnitude image in grey",
            )
        # Scaled in float32, not in float64: half the memory, and enough for intensities and labels.
        data = np.asarray(image.get_fdata(caching="unchanged", dtype=np.float32)).reshape(shape)
    except ImageFileError as error:
        raise ImageError(
            f"{what} {path} is not a NIfTI image",
            expected="a NIfTI-1 or NIfTI-2 file",
            got=_first_bytes(path),
            fix="export it again as .nii.gz (dcm2niix does)",
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile, HeaderDataError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES):
            raise
        raise ImageError(
            f"{what} {path} is truncated or damaged",
            got=f"{type(error).__name__}: {str(error)[:120]}",
            fix="copy or download the file again and compare its size",
        ) from error
    affine = _checked_affine(image, f"{what} {path}")
    bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if bad:
        raise ImageError(
            f"{what} {path} holds values that are not numbers",
            expected="finite intensities",
            got=f"{bad} voxels with NaN or infinity",
            fix="set them to 0, for example with `fslmaths IN -nan OUT`",
        )
    if not allow_empty and not np.any(data):
        raise ImageError(
            f"{what} {path} is empty",
            expected="a scan of a head",
            got="every voxel is 0",
            fix="export it again",
        )
    return to_ras(Volume(data, affine))


def _checked_affine(image: nib.Nifti1Image, what: str) -> NDArray[np.float64]:
    """Voxel-to-world affine of an image in mm.

    Raises:
        ImageError: the header does not say where left is, or says something that no scanner does.
    """
    affine = np.asarray(image.affine, np.float64)
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise ImageError(
            f"{what} does not say which side is left",
            expected="an orientation in the header: sform_code or qform_code above 0",
            got="both are 0",
            fix="convert the scan again with dcm2niix; or, if you know that its affine is right, run "
            "`fslorient -setsformcode 1 FILE`",
        )
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(f"{what} has no usable affine (sform/qform)", got=str(affine.tolist()))
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise ImageError(
            f"{what} has implausible voxel sizes",
            expected=f"edges of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm",
            got=" × ".join(f"{s:.3g}" for s in spacing) + " mm",
            fix="check the units of the header: voxel sizes must be in mm",
        )
    axes = affine[:3, :3] / spacing
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > MAX_SHEAR:
        raise ImageError(
            f"{what} has axes that are not at right angles",
            expected="an affine made of rotation, shift and voxel sizes only",
            got=f"a cosine of {shear:.2f} between two axes",
            fix="use the image in scanner space, or resample it onto a regular grid",
        )
    return affine


def to_ras(volume: Volume) -> Volume:
    """The same image with its axes permuted and flipped so that they run to the right, front and top."""
    orientation = nib.io_orientation(volume.affine)
    data = np.ascontiguousarray(nib.apply_orientation(volume.data, orientation))
    affine = volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.data.shape)
    return Volume(data, affine)


def write_nifti(path: Path, data: NDArray, affine: NDArray[np.float64], *, description: str = "") -> None:
    """Write a NIfTI-1 image, all or nothing: to a temporary file beside it first, then renamed.

    Values keep their type: labels as integers, maps as exact float32.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
    """
    path = Path(path)
    payload = nifti_bytes(data, affine, description=description)
    write_bytes(path, _compressed(payload) if path.name.endswith(".gz") else payload)


def nifti_gz_bytes(data: NDArray, affine: NDArray[np.float64], *, description: str = "") -> bytes:
    """Content of a `.nii.gz`; the same image gives the same bytes."""
    return _compressed(nifti_bytes(data, affine, description=description))


def nifti_bytes(data: NDArray, affine: NDArray[np.float64], *, description: str = "") -> bytes:
    """Content of a `.nii`: NIfTI-1 in mm, sform and qform "aligned"."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = description.encode("latin-1", "replace")[:79]
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned")
    return bytes(image.to_bytes())


def _compressed(payload: bytes) -> bytes:
    return gzip.compress(payload, compresslevel=4, mtime=0)


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that it is either whole or absent.

    Raises:
        OSError: with the file's name, when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text (UTF-8)."""
    write_bytes(path, text.encode("utf-8"))


def _check_whole(path: Path) -> None:
    """Unpack a compressed file to its end, so that its checksum is compared: nibabel stops before.

    Raises:
        EOFError, zlib.error, OSError: it is cut off or damaged.
        ImageFileError: it is not compressed although its name says so.
    """
    if path.stat().st_size == 0:
        raise EOFError("the file is empty")
    if path.suffix != ".gz":
        return
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise ImageFileError(f"{path} is not compressed")
    with gzip.open(path) as unpacked:
        left = MAX_VOXELS * 8
        while left > 0 and (block := unpacked.read(1 << 20)):
            left -= len(block)


def _first_bytes(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(24)
    return f"a file that starts with {head!r}"
