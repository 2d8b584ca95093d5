"""Rigid alignment of a person's brain to ICBM152 axes, and resampling onto the grid.

The person is registered to ICBM152 with twelve degrees of freedom; the rotation nearest to that affine
(its polar factor) and the shift that keeps the brain's centre are what is applied, so that axes and
centre agree with ICBM152 while every volume stays as it was (the idea of an "AC–PC alignment").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.linalg import polar

from csegsynth_core import grid
from csegsynth_core.data.nifti import Volume
from csegsynth_core.errors import PipelineError

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS (nibabel) <-> LPS (ITK)


@dataclass(frozen=True)
class Rigid:
    """Rigid map from grid world space (ICBM152, mm, RAS+) to the person's scanner space."""

    matrix: NDArray[np.float64]
    """(4, 4), rotation and translation only."""
    score: float
    """Correlation of the person's T1 with ICBM152's after the full affine, in [-1, 1].

    About 0.6 to 0.7 in real people, 0.2 to 0.4 where the brain is upside down, cut, or no brain.
    """

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation in degrees."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1.0) / 2.0
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))

    @property
    def shift_mm(self) -> float:
        """Distance in mm by which the grid's centre moves."""
        centre = np.append(np.asarray(grid.CENTRE_MM), 1.0)
        return float(np.linalg.norm((self.matrix @ centre)[:3] - centre[:3]))


def identity() -> Rigid:
    """No movement: the image already lies in ICBM152 space."""
    return Rigid(np.eye(4), 1.0)


def align(brain: Volume, *, threads: int = 1) -> Rigid:
    """Find the rigid map that brings a brain-masked T1 to ICBM152 axes.

    Args:
        brain: T1, zero outside the brain, any spacing.
        threads: how many threads ITK may use.

    Raises:
        PipelineError: registration failed or ended somewhere absurd.
    """
    from csegsynth_core.data import icbm

    if not np.any(brain.data > 0):
        raise PipelineError(
            "alignment to ICBM152 failed",
            expected="a brain of positive intensities",
            got="no brain: all zero",
        )
    fixed = _shrunk(icbm.native()["t1"])
    moving = _shrunk(brain)
    start = sitk.AffineTransform(3)
    start.SetCenter(_centre_of_mass(fixed).tolist())
    start.SetTranslation(_centre_of_mass(moving) - _centre_of_mass(fixed))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(threads)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.2], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=120, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([3.0, 1.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError as error:
        raise PipelineError(
            "alignment to ICBM152 failed", expected="a whole, upright brain", got=str(error)[-160:]
        ) from error
    affine_lps = _matrix(found)
    affine_ras = _FLIP @ affine_lps @ _FLIP
    rotation, stretch = polar(affine_ras[:3, :3])
    scales = np.linalg.eigvalsh(stretch)
    if np.linalg.det(rotation) < 0 or scales.min() < 0.6 or scales.max() > 1.6:
        raise PipelineError(
            "alignment to ICBM152 went astray",
            expected="scales between 0.6 and 1.6",
            got=", ".join(f"{s:.2f}" for s in scales),
            fix="check the scan's orientation and brain mask",
        )
    centre = np.asarray(grid.CENTRE_MM)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    target = affine_ras[:3, :3] @ centre + affine_ras[:3, 3]
    matrix[:3, 3] = target - rotation @ centre
    warped = sitk.GetArrayViewFromImage(sitk.Resample(moving, fixed, found, sitk.sitkLinear, 0.0))
    reference = sitk.GetArrayViewFromImage(fixed)
    inside = reference > 0
    score = float(np.corrcoef(warped[inside], reference[inside])[0, 1])
    return Rigid(matrix, score)


def resample(
    volume: Volume, rigid: Rigid, *, factor: int = 1, labels: bool = False, order: int = 1
) -> NDArray[np.float32]:
    """Resample onto the grid (or one `factor` times finer), shape (80·f, 128·f, 128·f).

    Args:
        volume: image in the person's space.
        rigid: from grid space to the person's space.
        factor: refinement; average back with `block_average`.
        labels: keep integers, by linear votes among labels, instead of interpolating values.
        order: 1 (linear, for maps) or 3 (cubic B-spline, for intensities).
    """
    reference = sitk.Image([s * factor for s in grid.SHAPE], sitk.sitkFloat32)
    spacing = grid.VOXEL_MM / factor
    first = grid.affine()[:3, 3] - grid.VOXEL_MM / 2 + spacing / 2
    reference.SetSpacing([spacing] * 3)
    reference.SetOrigin((_FLIP[:3, :3] @ first).tolist())
    reference.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())
    transform = sitk.AffineTransform(3)
    lps = _FLIP @ rigid.matrix @ _FLIP
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    if labels:
        image = to_sitk(Volume(volume.data.astype(np.int32), volume.affine))
        interpolator = sitk.sitkLabelLinear
    else:
        image = to_sitk(volume)
        interpolator = sitk.sitkBSpline3 if order == 3 else sitk.sitkLinear
    out = sitk.Resample(image, reference, transform, interpolator, 0.0, image.GetPixelID())
    return np.ascontiguousarray(sitk.GetArrayFromImage(out).transpose(2, 1, 0).astype(np.float32))


def block_average(data: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean over blocks of `factor`³ voxels along the last three axes, so that volumes are kept."""
    if factor == 1:
        return data
    *lead, i, j, k = data.shape
    split = data.reshape(*lead, i // factor, factor, j // factor, factor, k // factor, factor)
    return split.mean(axis=(-5, -3, -1)).astype(np.float32)


def to_sitk(volume: Volume) -> sitk.Image:
    """A SimpleITK image (LPS world) of a RAS+ volume."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    lps = _FLIP @ volume.affine
    spacing = volume.spacing_mm
    # ITK wants an orthonormal direction: remove the rounding (and any shear) of the stored affine.
    direction, _ = polar(lps[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def _shrunk(volume: Volume) -> sitk.Image:
    # A few bright vessels must not stretch the histogram.
    ceiling = np.percentile(volume.data[volume.data > 0], 99.0) if np.any(volume.data > 0) else 1.0
    image = to_sitk(Volume(np.clip(volume.data, 0.0, ceiling), volume.affine))
    shrink = [max(1, round(2.0 / s)) for s in volume.spacing_mm]
    return sitk.Cast(sitk.BinShrink(image, shrink), sitk.sitkFloat32)


def _centre_of_mass(image: sitk.Image) -> NDArray[np.float64]:
    weights = sitk.GetArrayViewFromImage(image) > 0
    index = np.argwhere(weights).mean(axis=0)[::-1]
    return np.asarray(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def _matrix(transform: sitk.Transform) -> NDArray[np.float64]:
    """(4, 4) matrix of an affine transform, read off where it takes the origin and the unit vectors."""
    out = np.eye(4)
    out[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        out[:3, axis] = np.asarray(transform.TransformPoint(np.eye(3)[axis].tolist())) - out[:3, 3]
    return out
