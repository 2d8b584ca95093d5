"""A raw whole-head T1 → partial-volume maps of white matter, grey matter and CSF on its own grid.

Two back ends give the same thing:

`builtin` (pip packages only, about half a minute)
    1. brain mask by deepbet (Fisch et al. 2024, Comput Biol Med 179:108845), on the CPU, in memory;
    2. bias field by N4 (Tustison et al. 2010, IEEE Trans Med Imaging 29(6):1310–1320, in SimpleITK) on a
       grid of about 4 mm, evaluated at full resolution;
    3. brain hull (`brain_hull`): the mask of step 1 follows the inner skull; it is drawn in to the surface
       that BET, FAST and fMRIPrep users mean by "brain", so that CSF volumes are comparable;
    4. hidden Markov random field with residual bias and mixed-voxel partial volumes (`_pve.py`).
`fsl`
    BET (Smith 2002, Hum Brain Mapp 17(3):143–155) and FAST (Zhang et al. 2001, IEEE Trans Med Imaging
    20(1):45–57), run from the user's own FSL.

An image whose skull has been stripped already keeps its own mask in both.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from csegsynth_core.data import _pve
from csegsynth_core.errors import PipelineError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
Backend = Literal["auto", "builtin", "fsl"]

BRAIN_ML: Final = (600.0, 2200.0)
"""Plausible WM+GM+CSF in mL, from small children to the largest adults."""
MIN_SHARE: Final[dict[str, float]] = {"wm": 0.10, "gm": 0.15, "csf": 0.01}
"""Least share of WM+GM+CSF that a tissue can have; below it counts as empty."""
FINE_MM: Final = 0.8
"""Axes sampled more finely than this (mm) are resampled to 1 mm."""
HULL_MM: Final = 8.0
"""Radius in mm of the closing that draws the brain hull: bridges gaps of up to 16 mm, which is wider than
sulci and most Sylvian fissures even in atrophy, so that their CSF counts."""
_N4_GRID_MM: Final = 4.0
_N4_ITERATIONS: Final = (20, 20, 20, 20)
_MIN_T1_CONTRAST: Final = 0.15
"""Least difference of pure CSF from pure WM, as a part of WM (real T1s: 0.5 to 0.9)."""
_FSL_TIMEOUT_S: Final = 3600.0


@dataclass(frozen=True)
class Segmentation:
    """Tissue maps of one T1 and what is needed to check them."""

    maps: dict[str, Floats]
    """`wm`, `gm`, `csf`: shares in [0, 1], shape (i, j, k), sum at most 1, on the RAS+ grid of `affine`."""
    brain: Floats
    """Bias-corrected T1, 0 outside the brain, same grid."""
    affine: Affine
    """Voxel → world mm, shape (4, 4)."""
    backend: str
    """`builtin` or `fsl`."""
    notes: dict[str, float | str]
    """Volumes in mL, tissue means, how the mask was made, seconds."""


def available_backends() -> tuple[str, ...]:
    """Back ends that can run here, the preferred one (`builtin`: minutes faster, same everywhere) first."""
    found = []
    if all(importlib.util.find_spec(name) is not None for name in ("deepbet", "SimpleITK", "torch")):
        found.append("builtin")
    if _fsl_tool("bet") and _fsl_tool("fast"):
        found.append("fsl")
    return tuple(found)


def segment_t1(t1: Floats, affine: Affine, *, backend: Backend = "auto", threads: int = 1) -> Segmentation:
    """Partial-volume maps of white matter, grey matter and CSF of one T1-weighted head.

    Args:
        t1: whole head or skull-stripped brain, shape (i, j, k), finite, any orientation.
        affine: voxel → world mm of `t1`, shape (4, 4).
        backend: `builtin`, `fsl`, or `auto` for the first of `available_backends()`.
        threads: CPU threads to use (the builtin back end; FSL uses one).

    Returns:
        Maps on the RAS+ grid of `t1`; axes finer than 0.8 mm are resampled to 1 mm.

    Raises:
        PipelineError: the back end is missing or fails, or the result is not a plausible T1-weighted brain
            (600–2200 mL, three tissues, white matter inside).
        ValueError: unknown `backend`, or `t1` is not 3-D.
    """
    if backend not in ("auto", "builtin", "fsl"):
        raise ValueError(f"unknown backend {backend!r}: expected auto, builtin or fsl")
    if t1.ndim != 3:
        raise ValueError(f"t1 must be 3-D (i, j, k), got {t1.ndim}-D")
    began = time.perf_counter()
    name = _choose(backend)
    image, grid = _to_working_grid(np.asarray(t1, np.float32), np.asarray(affine, float))
    support = stripped_support(image, _spacing(grid))
    run = _builtin if name == "builtin" else _fsl
    maps, brain, notes = run(image, grid, support, max(1, int(threads)))
    notes["mask"] = "input was skull-stripped" if support is not None else notes["mask"]
    _check_plausible(maps, grid)
    voxel_ml = _voxel_ml(grid)
    for tissue, values in maps.items():
        notes[f"{tissue}_ml"] = round(float(values.sum(dtype=np.float64)) * voxel_ml, 2)
    notes["brain_ml"] = round(sum(float(notes[f"{tissue}_ml"]) for tissue in maps), 2)
    notes["seconds"] = round(time.perf_counter() - began, 1)
    return Segmentation(maps, brain, grid, name, notes)


# ---------------------------------------------------------------------------------------------- the grid


def _spacing(affine: Affine) -> NDArray[np.float64]:
    """Edges of a voxel in mm, shape (3,)."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def _voxel_ml(affine: Affine) -> float:
    return float(abs(np.linalg.det(affine[:3, :3])) / 1000.0)


def _to_working_grid(t1: Floats, affine: Affine) -> tuple[Floats, Affine]:
    """`t1` in RAS+ order with its affine; axes finer than 0.8 mm smoothed and resampled to 1 mm."""
    orientation = nib.orientations.io_orientation(affine)
    image = np.ascontiguousarray(nib.orientations.apply_orientation(t1, orientation), dtype=np.float32)
    grid = affine @ nib.orientations.inv_ornt_aff(orientation, t1.shape)
    spacing = _spacing(grid)
    fine = spacing < FINE_MM
    if not fine.any():
        return image, grid
    step = np.where(fine, 1.0 / spacing, 1.0)  # old voxels per new voxel
    shape = np.maximum(np.ceil(np.asarray(image.shape) / step - 1e-6), 1).astype(int)
    # Full width at half maximum of the new voxel, less what the old voxel has already.
    sigma = np.sqrt(np.maximum(step**2 - 1.0, 0.0)) / 2.3548
    offset = (step - 1.0) / 2.0  # keeps the edge of the field of view in place
    image = ndimage.affine_transform(
        ndimage.gaussian_filter(image, sigma), step, offset, tuple(shape), order=1, mode="nearest"
    )
    shift = np.eye(4)
    shift[:3, :3], shift[:3, 3] = np.diag(step), offset
    return image, grid @ shift


def stripped_support(image: Floats, spacing_mm: NDArray[np.float64]) -> Mask | None:
    """Brain mask of an image that is skull-stripped already, or None if it holds a whole head.

    Stripped means: at least a quarter of the voxels are zero, and the rest is one solid body (holes filled)
    no larger than a brain. Zeros alone do not tell: defaced or conformed heads have them too, but a head is
    larger than 2200 mL.
    """
    bright = float(np.percentile(image, 99.5))
    inside = image > max(bright, float(image.max()) * 0.05) * 1e-3
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    if inside.mean() > 0.75 or inside.sum() * voxel_ml > BRAIN_ML[1] or not inside.any():
        return None
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == sizes.argmax()
    if sizes.max() < 0.9 * inside.sum():
        return None
    body = ndimage.binary_fill_holes(body)
    return body if body.sum() * voxel_ml <= BRAIN_ML[1] else None


# ------------------------------------------------------------------------------------------- plausibility


def _not_brain(problem: str, expected: str, got: str) -> PipelineError:
    return PipelineError(
        problem,
        expected=expected,
        got=got,
        fix="check that the file is a T1-weighted scan of a whole human head, or a skull-stripped one with "
        "zeros outside the brain, with voxel sizes in mm in its header; look at it in a viewer",
    )


def _check_plausible(maps: dict[str, Floats], affine: Affine) -> None:
    """Raise PipelineError unless the maps are a T1-weighted brain's."""
    total = maps["wm"] + maps["gm"] + maps["csf"]
    brain_ml = float(total.sum(dtype=np.float64)) * _voxel_ml(affine)
    low, high = BRAIN_ML
    if not low <= brain_ml <= high:
        raise _not_brain(
            "The brain volume found is not plausible",
            f"{low:.0f}–{high:.0f} mL of WM+GM+CSF",
            f"{brain_ml:.0f} mL",
        )
    for tissue, least in MIN_SHARE.items():
        share = float(maps[tissue].sum(dtype=np.float64)) / float(total.sum(dtype=np.float64))
        if share < least:
            raise _not_brain(
                f"Almost no {tissue.upper()} was found",
                f"at least {least:.0%} of WM+GM+CSF",
                f"{share:.1%} ({share * brain_ml:.0f} mL)",
            )
    inside = total > 0.5
    rim = inside & ~ndimage.binary_erosion(inside)
    ratio = float(maps["wm"][rim].mean()) / float(maps["wm"][inside].mean())
    if ratio > 0.7:
        raise _not_brain(
            "White matter was found on the surface of the brain, as in a T2-weighted scan or noise",
            "white matter inside: its share in the outermost voxels below 70 % of that in the whole brain",
            f"{ratio:.0%}",
        )


# ---------------------------------------------------------------------------------------- builtin back end


def _builtin(
    image: Floats, affine: Affine, support: Mask | None, threads: int
) -> tuple[dict[str, Floats], Floats, dict[str, float | str]]:
    """Maps, bias-corrected brain and notes by deepbet, N4, HMRF and mixed voxels."""
    spacing, voxel_ml = _spacing(affine), _voxel_ml(affine)
    notes: dict[str, float | str] = {"mask": "deepbet"}
    clock = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        notes[f"seconds_{step}"] = round(now - clock, 2)
        clock = now

    mask = support if support is not None else _deepbet_mask(image, threads)
    notes["mask_ml"] = round(float(mask.sum()) * voxel_ml, 1)
    if not BRAIN_ML[0] <= float(notes["mask_ml"]) <= 1.25 * BRAIN_ML[1]:
        raise _not_brain(
            "The brain mask is not plausible",
            f"{BRAIN_ML[0]:.0f}–{BRAIN_ML[1]:.0f} mL",
            f"{float(notes['mask_ml']):.0f} mL",
        )
    lap("mask")
    box = _bounding_box(mask, margin=2)
    part, part_mask = np.maximum(image[box], 0), mask[box]
    corrected = _n4(part, part_mask, spacing, threads)
    lap("bias")
    try:
        _, _, corrected = _pve.hidden_markov_field(corrected, part_mask, spacing, iterations=6)
        hull = brain_hull(corrected, part_mask, spacing)
        lap("hull")
        classes, fitted, corrected = _pve.hidden_markov_field(corrected, hull, spacing)
        pure = _pve.pure_tissue(corrected, classes, fitted)
    except ValueError as error:
        raise _not_brain(
            "The brain does not separate into three tissues", "CSF, grey and white matter", str(error)
        ) from error
    contrast = pure.contrast()
    darker = 1.0 - float(pure.mean[0] / pure.mean[2])
    if contrast.min() < 1.0 or darker < _MIN_T1_CONTRAST:
        raise _not_brain(
            "The tissues do not differ enough in intensity",
            "neighbouring tissue means at least 1 standard deviation apart, CSF at least 15 % darker than WM",
            f"GM–CSF {contrast[0]:.2f}, WM–GM {contrast[1]:.2f} standard deviations, CSF {darker:.0%} darker",
        )
    csf, gm, wm = _pve.partial_volumes(corrected, hull, pure, spacing)
    lap("tissue")

    def whole(values: Floats) -> Floats:
        out = np.zeros(image.shape, np.float32)
        out[box] = values
        return out

    for k, tissue in enumerate(("csf", "gm", "wm")):
        notes[f"{tissue}_mean"] = round(float(pure.mean[k]), 4)
        notes[f"{tissue}_sd"] = round(float(pure.sd[k]), 4)
    maps = {"wm": whole(wm), "gm": whole(gm), "csf": whole(csf)}
    return maps, whole(np.where(hull, corrected, 0).astype(np.float32)), notes


def _deepbet_mask(image: Floats, threads: int) -> Mask:
    """Brain mask of a whole head (RAS+) by deepbet's network, on the CPU, without files or windows."""
    try:
        import torch
        from deepbet.bet import BrainExtraction
    except ImportError as error:
        raise PipelineError(
            "The builtin back end cannot find the brain",
            expected="the packages deepbet and torch",
            got=str(error),
            fix="pip install deepbet, or use a skull-stripped T1, or install FSL",
        ) from error
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = BrainExtraction(no_gpu=True)
            share = network.run_model(image.copy())
            mask = network.postprocess(share > 0.5)
    except (AssertionError, IndexError, ValueError, RuntimeError) as error:
        raise _not_brain(
            "No brain was found in the image",
            "a head that deepbet recognises",
            str(error) or type(error).__name__,
        ) from error
    finally:
        torch.set_num_threads(before)
    return np.asarray(mask, bool)


def _bounding_box(mask: Mask, margin: int) -> tuple[slice, slice, slice]:
    found = ndimage.find_objects(mask.astype(np.int8))[0]
    i, j, k = (
        slice(max(0, s.start - margin), min(n, s.stop + margin))
        for s, n in zip(found, mask.shape, strict=True)
    )
    return i, j, k


def _n4(image: Floats, mask: Mask, spacing_mm: NDArray[np.float64], threads: int) -> Floats:
    """`image` divided by its bias field (N4), fitted at about 4 mm, of geometric mean 1 in the mask."""
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise PipelineError(
            "The builtin back end cannot correct the bias field",
            expected="the package SimpleITK",
            got=str(error),
            fix="pip install SimpleITK, or install FSL",
        ) from error
    full = sitk.GetImageFromArray(image.transpose(2, 1, 0))
    full.SetSpacing([float(s) for s in spacing_mm])
    inside = sitk.GetImageFromArray(mask.transpose(2, 1, 0).astype(np.uint8))
    inside.CopyInformation(full)
    factors = [int(max(1, round(_N4_GRID_MM / s))) for s in spacing_mm]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(_N4_ITERATIONS))
    n4.SetConvergenceThreshold(1e-4)
    n4.SetNumberOfThreads(threads)
    try:
        n4.Execute(sitk.Shrink(full, factors), sitk.Shrink(inside, factors))
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(full)).transpose(2, 1, 0)
    except RuntimeError as error:
        raise _not_brain(
            "The bias field could not be estimated",
            "positive, varying intensities in the brain",
            str(error)[-200:],
        ) from error
    log_field = log_field - log_field[mask].mean()
    return (image / np.exp(np.clip(log_field, -5, 5))).astype(np.float32)


def brain_hull(
    image: Floats, mask: Mask, spacing_mm: NDArray[np.float64], radius_mm: float = HULL_MM
) -> Mask:
    """Part of `mask` enclosed by the closing of the parenchyma with a ball of `radius_mm`.

    Networks such as deepbet are trained to follow the inner skull, so their masks hold the whole outer
    subarachnoid space, dura and bridging veins. BET-like masks and FAST volumes end at a smooth surface
    resting on the crowns of the gyri. That surface is the morphological closing of grey and white matter:
    sulci, fissures and cisterns narrower than twice the radius stay in, ventricles are enclosed, the shell of
    CSF outside the crowns goes.

    Parenchyma is what is nearer in intensity to the GM than to the CSF cluster, opened by 1 mm and reduced to
    its largest piece, which cuts vessels and strips of dura that only touch it.

    Args:
        image: bias-corrected T1, shape (i, j, k).
        mask: generous brain mask, same shape.
        spacing_mm: edges of a voxel in mm, shape (3,).
        radius_mm: radius of the closing.

    Raises:
        ValueError: no solid piece of parenchyma, or fewer than three intensity clusters.
    """
    clusters = _pve.cluster_intensities(image[mask])
    bright = mask & (image > (clusters.mean[0] + clusters.mean[1]) / 2.0)
    steps = round(1.0 / float(np.mean(spacing_mm)))
    solid = ndimage.binary_opening(bright, iterations=steps) if steps else bright
    labels, count = ndimage.label(solid)
    if not count:
        raise ValueError("no solid grey or white matter")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    core = labels == sizes.argmax()
    tissue = bright & (ndimage.binary_dilation(core, iterations=steps) if steps else core)
    room = [int(np.ceil(radius_mm / s)) + 1 for s in spacing_mm]
    padded = np.pad(tissue, [(n, n) for n in room])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    closed = ndimage.distance_transform_edt(near, sampling=spacing_mm) > radius_mm
    closed = closed[tuple(slice(n, -n) for n in room)] | tissue
    return np.asarray(ndimage.binary_fill_holes(closed & mask), bool)


# -------------------------------------------------------------------------------------------- FSL back end


def _choose(backend: Backend) -> str:
    """Name of the back end to run.

    Raises:
        PipelineError: it is not available here.
    """
    there = available_backends()
    if backend != "auto" and backend in there:
        return backend
    if backend == "auto" and there:
        return there[0]
    needs = {
        "builtin": "the packages deepbet, torch and SimpleITK",
        "fsl": "FSL's commands bet and fast on PATH or in $FSLDIR/bin",
    }
    fixes = {
        "builtin": "pip install deepbet SimpleITK torch",
        "fsl": "install FSL, or use the builtin back end",
    }
    if backend == "auto":
        raise PipelineError(
            "No back end can segment a T1 here",
            expected=" or ".join(needs.values()),
            got="neither",
            fix="pip install deepbet SimpleITK torch",
        )
    raise PipelineError(
        f"The back end {backend} is not available",
        expected=needs[backend],
        got=f"available: {', '.join(there) or 'none'}",
        fix=fixes[backend],
    )


def _fsl_tool(name: str) -> str | None:
    """Full path of an FSL command, looked up on PATH, then in $FSLDIR/bin."""
    home = os.environ.get("FSLDIR")
    return shutil.which(name) or (shutil.which(name, path=str(Path(home) / "bin")) if home else None)


def bet_command(tool: str, head: Path, brain: Path) -> list[str]:
    """Arguments of BET: robust centre (`-R`), mask as well (`-m`)."""
    return [tool, str(head), str(brain), "-R", "-m"]


def fast_command(tool: str, brain: Path, prefix: Path) -> list[str]:
    """Arguments of FAST: T1 (`-t 1`), three classes, bias-corrected image as well (`-B`)."""
    return [tool, "-t", "1", "-n", "3", "-B", "-o", str(prefix), str(brain)]


def _run_fsl(command: list[str]) -> None:
    """Run one FSL command without a shell.

    Raises:
        PipelineError: it cannot start, fails, or takes more than an hour; with the end of its stderr.
    """
    name = Path(command[0]).name
    environment = {**os.environ, "FSLOUTPUTTYPE": "NIFTI_GZ"}
    fix = "run the command by hand to see more, or use the builtin back end"
    try:
        done = subprocess.run(  # noqa: S603 (argument list, full path, no shell)
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=_FSL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PipelineError(f"FSL's {name} could not be run", got=str(error), fix=fix) from error
    if done.returncode:
        tail = (done.stderr or done.stdout).strip()[-500:] or "no message"
        raise PipelineError(f"FSL's {name} failed", got=f"exit status {done.returncode}: {tail}", fix=fix)


def _fsl_output(path: Path, shape: tuple[int, ...], tool: str) -> Floats:
    """One image that an FSL command wrote, on the grid that it was given."""
    fix = "run the command by hand to see more, or use the builtin back end"
    if not path.is_file():
        raise PipelineError(
            f"FSL's {tool} wrote no {path.name}", expected="exit status 0 with that file", fix=fix
        )
    image = nib.load(path)
    values = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
    values = values[..., 0] if values.ndim == 4 else values
    if values.shape != shape or not np.isfinite(values).all():
        raise PipelineError(
            f"FSL's {tool} wrote an unusable {path.name}",
            expected=f"finite, shape {shape}",
            got=str(values.shape),
            fix=fix,
        )
    return values


def _fsl(
    image: Floats, affine: Affine, support: Mask | None, threads: int
) -> tuple[dict[str, Floats], Floats, dict[str, float | str]]:
    """Maps, bias-corrected brain and notes by BET and FAST. `threads` is not used: both are serial."""
    bet, fast = _fsl_tool("bet"), _fsl_tool("fast")
    if bet is None or fast is None:  # pragma: no cover - _choose has looked
        raise PipelineError("FSL is gone", expected="bet and fast", fix="use the builtin back end")
    notes: dict[str, float | str] = {"mask": "bet"}
    with tempfile.TemporaryDirectory(prefix="csegsynth_fsl_") as folder:
        head, brain, prefix = (Path(folder) / name for name in ("head.nii.gz", "brain.nii.gz", "tissue"))
        source = image if support is None else np.where(support, image, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(source, affine), head if support is None else brain)
        if support is None:
            _run_fsl(bet_command(bet, head, brain))
            found = _fsl_output(brain, image.shape, "bet")
            if not (found > 0).any():
                raise _not_brain("BET found no brain", "a T1-weighted head", "an empty mask")
        _run_fsl(fast_command(fast, brain, prefix))
        # FAST numbers tissues by T1 intensity: 0 CSF, 1 GM, 2 WM.
        maps = {
            tissue: np.clip(_fsl_output(Path(f"{prefix}_pve_{number}.nii.gz"), image.shape, "fast"), 0, 1)
            for number, tissue in ((2, "wm"), (1, "gm"), (0, "csf"))
        }
        restored = _fsl_output(Path(f"{prefix}_restore.nii.gz"), image.shape, "fast")
    total = maps["wm"] + maps["gm"] + maps["csf"]
    over = np.maximum(total, 1.0)
    for tissue in maps:
        maps[tissue] = (maps[tissue] / over).astype(np.float32)
        weight = maps[tissue] > 0.95
        notes[f"{tissue}_mean"] = round(float(restored[weight].mean()), 4) if weight.any() else 0.0
    return maps, np.where(total > 0, restored, 0).astype(np.float32), notes
