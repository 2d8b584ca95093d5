"""T1 with labels → partial volumes: known fractions, bias, and input that cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

from csegsynth_core import grid
from csegsynth_core.data import label_prior
from csegsynth_core.data.nifti import Volume, to_ras
from csegsynth_core.errors import ImageError
from csegsynth_core.tissue import TISSUES
from tests.conftest import LABELS, Brain

TISSUE_OF = {value: tissue for value, (_, tissue) in LABELS.items() if tissue in TISSUES}


def volumes(brain: Brain) -> tuple[Volume, Volume]:
    return Volume(brain.t1, brain.affine), Volume(brain.labels.astype(np.float32), brain.affine)


@pytest.mark.usefixtures("known_alignment")
def test_maps_of_a_known_brain(brain: Brain) -> None:
    t1, labels = (to_ras(v) for v in volumes(brain.stored("LAS")))
    made = label_prior.segment_with_labels(t1, labels, TISSUE_OF)
    assert made.factor == 1 and made.maps.shape == (3, *grid.SHAPE) and made.labels.shape == grid.SHAPE
    assert made.maps.min() >= 0 and made.maps.sum(0).max() <= 1 + 1e-5
    for name in ("wm", "gm"):
        hard = sum((brain.labels == v).sum() for v, t in TISSUE_OF.items() if t == name) * labels.voxel_ml
        soft = float(made.maps[TISSUES.index(name)].sum(dtype=np.float64)) * grid.VOXEL_ML
        assert soft == pytest.approx(hard, rel=0.06)
    inside = made.maps.sum(0) > 0.5
    partial = ((made.maps > 0.05) & (made.maps < 0.95)).any(0)[inside].mean()
    assert 0.1 < partial < 0.6
    cavity = np.argwhere(made.labels == 6)
    assert (grid.voxel_to_mm(cavity.astype(float))[:, 0] < 0).all()
    middle = tuple(np.rint(cavity.mean(0)).astype(int))
    assert made.maps[(TISSUES.index("csf"), *middle)] > 0.9


def test_partial_volumes_follow_the_intensity() -> None:
    """A plane between grey and white matter: voxels on the border get the fraction that their intensity says."""
    n = 40
    truth = np.clip((np.arange(n) - 19.7) / 1.0 + 0.5, 0, 1)[:, None, None] * np.ones((n, n, n))
    rng = np.random.default_rng(0)
    intensity = (700 + 300 * truth + rng.normal(0, 5, truth.shape)).astype(np.float32)
    wm = (truth > 0.5).astype(np.float32)
    shares = np.stack([wm, 1 - wm, np.zeros_like(wm)])
    maps = label_prior.partial_volumes(intensity, shares, spacing_mm=2.0)
    np.testing.assert_allclose(maps.sum(0), 1, atol=1e-4)
    border = (truth > 0.05) & (truth < 0.95)
    # A sharp prior draws the border a little towards the labels; alone they would err by 0.3.
    assert np.abs(maps[0] - truth)[border].mean() < 0.15
    assert np.abs(maps[0] - truth)[~border].mean() < 0.01


def test_bias_field_is_removed(brain: Brain) -> None:
    t1, _ = volumes(brain)
    hard = np.zeros(brain.labels.shape, np.uint8)
    for value, name in TISSUE_OF.items():
        hard[brain.labels == value] = TISSUES.index(name) + 1
    ramp = np.exp(0.3 * np.linspace(-1, 1, t1.data.shape[1]))[None, :, None].astype(np.float32)
    corrected = label_prior.correct_bias(Volume(t1.data * ramp, t1.affine), hard)
    inner = (brain.maps["wm"] > 0.99) & (hard == 1)
    before, after = (t1.data * ramp)[inner], corrected.data[inner]
    assert after.std() / after.mean() < 0.3 * before.std() / before.mean()


def test_other_grid(brain: Brain) -> None:
    t1, labels = volumes(brain)
    with pytest.raises(ImageError, match=r"different grids.*nearest-neighbour"):
        label_prior.segment_with_labels(t1, Volume(labels.data[:-1], labels.affine), TISSUE_OF)
    moved = labels.affine.copy()
    moved[0, 3] += 3
    with pytest.raises(ImageError, match="different grids"):
        label_prior.segment_with_labels(t1, Volume(labels.data, moved), TISSUE_OF)


def test_interpolated_labels(brain: Brain) -> None:
    t1, labels = volumes(brain)
    with pytest.raises(ImageError, match=r"does not hold labels.*nearest-neighbour"):
        label_prior.segment_with_labels(t1, Volume(labels.data * 0.7, labels.affine), TISSUE_OF)
    with pytest.raises(ImageError, match="does not hold labels"):
        label_prior.segment_with_labels(t1, Volume(labels.data - 1, labels.affine), TISSUE_OF)


def test_labels_without_a_brain(brain: Brain) -> None:
    t1, labels = volumes(brain)
    with pytest.raises(ImageError, match=r"do not cover a brain.*400 to 2500 mL.*dseg\.tsv"):
        label_prior.segment_with_labels(t1, labels, {77: "gm"})
    dark = Volume(np.zeros_like(t1.data), t1.affine)
    with pytest.raises(ImageError, match=r"too few labelled voxels with signal"):
        label_prior.segment_with_labels(dark, labels, TISSUE_OF)
