"""Rigid alignment to ICBM152 and resampling that keeps volumes and sides."""

from __future__ import annotations

import numpy as np
import pytest

from csegsynth_core import grid
from csegsynth_core.data import align
from csegsynth_core.data.nifti import Volume, to_ras
from csegsynth_core.data.prepare import LOW_ALIGNMENT
from csegsynth_core.errors import PipelineError
from tests.conftest import Brain


def test_known_movement_is_found(brain: Brain) -> None:
    found = align.align(to_ras(Volume(brain.t1, brain.affine)))
    residual = np.linalg.inv(brain.rigid) @ found.matrix
    turn = np.degrees(np.arccos(np.clip((np.trace(residual[:3, :3]) - 1) / 2, -1, 1)))
    assert turn < 1.0
    centre = np.append(grid.CENTRE_MM, 1.0)
    assert np.linalg.norm((residual @ centre - centre)[:3]) < 1.5
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found.matrix[:3, :3]) == pytest.approx(1)
    assert found.score > 0.8
    assert found.rotation_deg == pytest.approx(15.7, abs=1)
    assert found.shift_mm == pytest.approx(16.6, abs=1.5)


def test_a_wrong_brain_scores_low(brain: Brain) -> None:
    """Upside down, as when the header has lost the orientation. Real, upright people score 0.6 to 0.7."""
    try:
        assert align.align(Volume(brain.t1[:, :, ::-1].copy(), brain.affine)).score < LOW_ALIGNMENT
    except PipelineError as error:
        assert "alignment to ICBM152" in str(error)


@pytest.mark.parametrize(("axes", "factor"), [("RAS", 1), ("LAS", 2), ("PIR", 1)])
def test_volumes_are_kept(brain: Brain, axes: str, factor: int) -> None:
    stored = brain.stored(axes)
    rigid = align.Rigid(brain.rigid, 1.0)
    for name, data in stored.maps.items():
        volume = to_ras(Volume(data, stored.affine))
        out = align.block_average(align.resample(volume, rigid, factor=factor), factor)
        assert out.shape == grid.SHAPE and out.dtype == np.float32
        assert float(out.sum(dtype=np.float64)) * grid.VOXEL_ML == pytest.approx(
            brain.volume_ml(name), rel=0.01
        )


def test_resampling_lands_at_the_right_place() -> None:
    """A cube at a known place in scanner space, no movement: its centre of mass stays."""
    data = np.zeros((60, 60, 60), np.float32)
    data[10:20, 30:40, 5:15] = 1.0
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [-70.0, 10.0, -20.0]
    expected = affine[:3, :3] @ [14.5, 34.5, 9.5] + affine[:3, 3]
    out = align.block_average(align.resample(Volume(data, affine), align.identity(), factor=2), 2)
    assert float(out.sum()) * grid.VOXEL_ML == pytest.approx(1.0, rel=1e-4)
    centre = np.argwhere(np.ones_like(out)).T @ out.ravel() / out.sum()
    np.testing.assert_allclose(grid.voxel_to_mm(tuple(centre)), expected, atol=0.05)


def test_labels_stay_whole_numbers_and_in_place(brain: Brain) -> None:
    volume = Volume(brain.labels.astype(np.float32), brain.affine)
    out = align.resample(volume, align.Rigid(brain.rigid, 1.0), labels=True)
    assert set(np.unique(out)) <= set(np.unique(brain.labels).astype(float))
    x = grid.voxel_to_mm((0.0, 0.0, 0.0))[0] + grid.VOXEL_MM * np.argwhere(out == 6)[:, 0]
    assert x.mean() == pytest.approx(-28.0, abs=1.0)
    before = float((brain.labels == 6).sum()) * volume.voxel_ml
    assert float((out == 6).sum()) * grid.VOXEL_ML == pytest.approx(before, rel=0.03)


def test_block_average_keeps_the_sum(rng: np.random.Generator) -> None:
    data = rng.random((3, 4, 6, 8)).astype(np.float32)
    out = align.block_average(data, 2)
    assert out.shape == (3, 2, 3, 4)
    np.testing.assert_allclose(out.sum((1, 2, 3)) * 8, data.sum((1, 2, 3)), rtol=1e-6)
    assert align.block_average(data, 1) is data


def test_nothing_to_align() -> None:
    with pytest.raises(PipelineError, match="no brain"):
        align.align(Volume(np.zeros((20, 20, 20), np.float32), np.diag([2.0, 2, 2, 1])))
