"""Descriptions, hard segmentations, and labels on the right side."""

from __future__ import annotations

import json

import numpy as np
import pytest

from csegsynth_core import tissue
from csegsynth_core.data import bids

NAMES = {
    1: "Hippocampus_R",
    2: "Hippocampus_L",
    3: "Left-Thalamus",
    4: "Right-Thalamus",
    5: "ctx-rh-cuneus",
    10: "rh_insula",
    11: "lh_insula",
    20: "BrainStem",
    21: "Lonely_R",
}


def test_dataset_description() -> None:
    made = json.loads(bids.dataset_description("x"))
    assert made["DatasetType"] == "derivative" and made["GeneratedBy"][0]["Name"] == "CSegSynth"
    assert made["BIDSVersion"] and "Synthetic" not in made
    synthetic = json.loads(bids.dataset_description("x", synthetic=True, licence="CC0"))
    assert synthetic["Synthetic"] is True and "not scans" in synthetic["GeneratedBy"][0]["Description"]
    assert synthetic["License"] == "CC0"


def test_entity_and_sidecar() -> None:
    assert bids.entity("sub-1_desc-dlmuse_dseg.nii.gz", "desc") == "dlmuse"
    assert bids.entity("sub-1_T1w.nii.gz", "desc") == ""
    assert json.loads(bids.sidecar({"Sources": ["ä"]})).keys() == {"Sources", "SoftwareVersion"}


def test_hard_segmentation_agrees_with_its_table() -> None:
    maps = np.zeros((3, 2, 2, 1), np.float32)
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0))):
        maps[k, i, j] = 0.6
    hard = bids.hard_segmentation(maps)[..., 0]
    rows = [line.split("\t") for line in bids.dseg_table().splitlines()]
    assert rows[0] == ["index", "name", "abbreviation", "color"]
    by_value = {int(r[0]): r[2] for r in rows[1:]}
    assert by_value == {1: "GM", 2: "WM", 3: "CSF"}
    assert [by_value.get(int(v)) for v in hard.ravel()] == ["WM", "GM", "CSF", None]
    assert {r[3] for r in rows[1:]} == {t.colour for t in tissue.ALL}


@pytest.fixture
def sided() -> np.ndarray:
    """Right structures in the right half (high first index), left ones in the left half."""
    labels = np.zeros((10, 6, 6), np.int32)
    for right, left, row in ((1, 2, 0), (4, 3, 2), (10, 11, 4)):
        labels[5:, row], labels[:5, row] = right, left
    labels[:, 5] = 20
    return labels


def test_right_labels_stay(sided: np.ndarray) -> None:
    kept, share = bids.mend_left_right(sided, NAMES)
    assert share == 0 and kept is sided


def test_exchanged_sides_are_put_back(sided: np.ndarray) -> None:
    mended, share = bids.mend_left_right(sided[::-1].copy(), NAMES)
    assert share == 1
    np.testing.assert_array_equal(mended, sided)


def test_spilled_side_is_put_back(sided: np.ndarray) -> None:
    """As in two people of IXI: the right name on much of the left half, nothing wrong on the right."""
    faulty = sided.copy()
    faulty[:5, :, 3:][faulty[:5, :, 3:] == 2] = 1
    faulty[:5, :, 3:][faulty[:5, :, 3:] == 3] = 4
    mended, share = bids.mend_left_right(faulty, NAMES)
    assert share == pytest.approx(1 / 6)
    np.testing.assert_array_equal(mended, sided)


def test_a_bent_middle_is_left_alone(sided: np.ndarray) -> None:
    bent = sided.copy()
    bent[4, 0, 0] = 1
    kept, share = bids.mend_left_right(bent, NAMES)
    assert share == 0 and kept[4, 0, 0] == 1


def test_labels_without_a_twin_or_a_side_are_never_touched() -> None:
    labels = np.full((10, 4, 4), 21, np.int32)
    labels[:, 0] = 20
    kept, share = bids.mend_left_right(labels, NAMES)
    assert share == 0 and kept is labels
    empty = np.zeros((4, 4, 4), np.int32)
    assert bids.mend_left_right(empty, NAMES)[1] == 0
    assert bids.mend_left_right(labels, {20: "BrainStem"})[1] == 0
