"""T1 → tissue maps: known fractions, orientation, both back ends, and the real AOMIC scan."""

from __future__ import annotations

import stat
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from csegsynth_core.data import _pve, segment_t1
from csegsynth_core.data.segment_t1 import available_backends, brain_hull, stripped_support
from csegsynth_core.errors import PipelineError

ANAT = Path(__file__).parents[2] / "shared" / "data" / "aomic" / "sub-0001" / "anat"
SPACING = 2.0
FINE = 2  # phantom is drawn this many times finer, then averaged into known fractions


def phantom(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Skull-stripped head of 2 mm voxels: T1 (noise, bias field), true CSF/GM/WM fractions, affine.

    Folded ellipsoids: WM with ventricles, 6 mm of GM, CSF in the grooves. About 1300 mL.
    """
    shape = np.array([80, 96, 80])
    fine = [np.arange(n * FINE) * (SPACING / FINE) for n in shape]
    x, y, z = np.meshgrid(*[v - v.mean() for v in fine], indexing="ij", sparse=True)
    radius = np.sqrt((x / 66) ** 2 + (y / 80) ** 2 + (z / 62) ** 2)
    folds = np.sin(x / 5) * np.sin(y / 5) * np.sin(z / 5) * (radius > 0.4)
    ventricle = (x / 12) ** 2 + (y / 34) ** 2 + (z / 14) ** 2 < 1
    label = np.zeros(radius.shape, np.int8)
    label[radius < 1.0] = 1
    label[radius + 0.1 * folds < 0.94] = 2
    label[radius + 0.1 * folds < 0.8] = 3
    label[ventricle] = 1
    pure = [(label == k).astype(np.float32) for k in (1, 2, 3)]
    n = [int(v) for v in shape]
    blocks = (n[0], FINE, n[1], FINE, n[2], FINE)
    truth = np.stack([p.reshape(blocks).mean(axis=(1, 3, 5)) for p in pure])
    rng = np.random.default_rng(seed)
    t1 = np.einsum("k,kxyz->xyz", [60.0, 120.0, 185.0], truth) + rng.normal(0, 4, n) * (truth.sum(0) > 0)
    bias = np.exp(0.25 * np.linspace(-1, 1, n[0]))[:, None, None]
    t1 = np.where(truth.sum(0) >= 0.5, np.maximum(t1 * bias, 1), 0).astype(np.float32)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -SPACING * (shape - 1) / 2
    return t1, truth.astype(np.float32), affine


@pytest.fixture(autouse=True, scope="module")
def fewer_iterations() -> Iterator[None]:
    """N4 on a small smooth phantom needs few iterations; the AOMIC test puts the real number back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_t1, "_N4_ITERATIONS", (5, 5, 5))
        yield


@pytest.fixture(scope="module")
def stripped() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    return phantom()


@pytest.fixture(scope="module")
def result(stripped: tuple) -> segment_t1.Segmentation:
    t1, _, affine = stripped
    return segment_t1.segment_t1(t1, affine, backend="builtin")


# ------------------------------------------------------------------------------------- partial volumes


def test_pve_recovers_known_fractions(stripped: tuple) -> None:
    _, truth, _ = stripped
    mask = truth.sum(0) > 0.99
    rng = np.random.default_rng(1)
    mean = np.array([60.0, 120.0, 185.0])
    image = (np.einsum("k,kxyz->xyz", mean, truth) + rng.normal(0, 4, mask.shape)).astype(np.float32)
    spacing = np.full(3, SPACING)
    classes, fitted, corrected = _pve.hidden_markov_field(image, mask, spacing)
    pure = _pve.pure_tissue(corrected, classes, fitted)
    np.testing.assert_allclose(pure.mean, mean, rtol=0.03)
    shares = _pve.partial_volumes(corrected, mask, pure, spacing)
    assert shares.min() >= 0 and shares.max() <= 1
    np.testing.assert_allclose(shares.sum(0)[mask], 1, atol=1e-5)
    assert not shares[:, ~mask].any()
    assert np.abs(shares - truth)[:, mask].mean() < 0.04
    for k in range(3):
        assert shares[k].sum() == pytest.approx(truth[k][mask].sum(), rel=0.06)


def test_mixed_share_is_linear_in_intensity() -> None:
    pure = _pve.PureTissue(np.array([50.0, 120.0, 190.0]), np.full(3, 2.0))
    _, share = _pve._mixel_tables(np.array([85.0, 155.0]), pure)
    np.testing.assert_allclose([share[0, 0], share[1, 1]], 0.5, atol=1e-3)


def test_residual_bias_is_removed(stripped: tuple) -> None:
    _, truth, _ = stripped
    mask = truth.sum(0) > 0.99
    image = np.einsum("k,kxyz->xyz", [60.0, 120.0, 185.0], truth).astype(np.float32)
    ramp = np.exp(0.12 * np.linspace(-1, 1, mask.shape[1]))[None, :, None].astype(np.float32)
    _, _, corrected = _pve.hidden_markov_field(image * ramp, mask, np.full(3, SPACING))
    wm = truth[2] > 0.99
    assert corrected[wm].std() < 0.35 * (image * ramp)[wm].std()


def test_flat_intensities_do_not_cluster() -> None:
    with pytest.raises(ValueError, match="equal"):
        _pve.cluster_intensities(np.full(100, 7, np.float32))


# ------------------------------------------------------------------------------------ builtin back end


def test_builtin_on_phantom(stripped: tuple, result: segment_t1.Segmentation) -> None:
    _, truth, affine = stripped
    assert result.backend == "builtin" and result.notes["mask"] == "input was skull-stripped"
    assert set(result.maps) == {"wm", "gm", "csf"}
    np.testing.assert_array_equal(result.affine, affine)
    ml = SPACING**3 / 1000
    for k, tissue in enumerate(("csf", "gm", "wm")):
        found = result.maps[tissue]
        assert found.dtype == np.float32 and found.shape == truth.shape[1:]
        assert found.min() >= 0 and found.max() <= 1
        if tissue != "csf":  # the hull drops outer CSF on purpose
            assert found.sum() * ml == pytest.approx(truth[k].sum() * ml, rel=0.08)
    assert sum(result.maps.values()).max() <= 1 + 1e-5
    inner = truth[2] + truth[1] > 0.99
    assert np.abs(result.maps["wm"] - truth[2])[inner].mean() < 0.06
    assert not result.brain[sum(result.maps.values()) == 0].any()


def test_orientation_does_not_matter(stripped: tuple, result: segment_t1.Segmentation) -> None:
    t1, _, affine = stripped
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = t1.shape[0] - 1
    turned = np.ascontiguousarray(t1[::-1].transpose(2, 0, 1))
    order = np.zeros((4, 4))
    order[[1, 2, 0, 3], [0, 1, 2, 3]] = 1  # new axis (k, i, j) → old (i, j, k)
    other_affine = affine @ flip @ np.linalg.inv(order)
    assert nib.aff2axcodes(other_affine) == ("S", "L", "A")
    other = segment_t1.segment_t1(turned, other_affine, backend="builtin")
    np.testing.assert_allclose(other.affine, result.affine, atol=1e-9)
    for tissue, values in result.maps.items():
        np.testing.assert_allclose(other.maps[tissue], values, atol=1e-5)


def test_fine_axes_are_resampled_in_place() -> None:
    x = np.zeros((60, 40, 40), np.float32)
    x[20:40, 10:30, 10:30] = 1
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    image, grid = segment_t1._to_working_grid(x, affine)
    assert image.shape == (30, 40, 40)
    np.testing.assert_allclose(segment_t1._spacing(grid), 1.0)
    before = affine[:3, :3] @ np.array(ndimage.center_of_mass(x)) + affine[:3, 3]
    after = grid[:3, :3] @ np.array(ndimage.center_of_mass(image)) + grid[:3, 3]
    np.testing.assert_allclose(after, before, atol=0.05)


def test_hull_drops_outer_shell_but_keeps_grooves() -> None:
    x, y, z = np.ogrid[-40:41, -40:41, -40:41]
    radius = np.sqrt(x**2 + y**2 + z**2)
    image = np.where(radius < 24, 180.0, np.where(radius < 30, 120.0, 40.0)).astype(np.float32)
    image[37:44, :, 50:] = 40  # a groove 7 mm wide
    rng = np.random.default_rng(0)
    image += rng.normal(0, 2, image.shape).astype(np.float32)
    mask = radius < 36
    hull = brain_hull(image, mask, np.ones(3))
    assert not hull[radius > 32].any()
    assert hull[40, 40, 55] and hull[40, 40, 66]
    assert hull[radius < 28].all()


def test_whole_heads_are_not_taken_for_brains(stripped: tuple) -> None:
    t1, truth, _ = stripped
    spacing = np.full(3, SPACING)
    support = stripped_support(t1, spacing)
    assert support is not None and support[truth.sum(0) > 0.99].all()
    head = np.pad(np.full((90, 100, 90), 50, np.float32), 30)  # 6.5 L, with zeros around, as if defaced
    assert stripped_support(head, spacing) is None
    assert stripped_support(t1 + 1, spacing) is None


# ---------------------------------------------------------------------------------------- not a brain


def ball(values: NDArray[np.float64], radius: float = 34.0) -> NDArray[np.float32]:
    grid = np.indices(values.shape) - (np.array(values.shape) / 2)[:, None, None, None]
    return np.where(np.linalg.norm(grid, axis=0) < radius, values, 0).astype(np.float32)


def test_noise_and_phantoms_fail_clearly() -> None:
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    with pytest.raises(PipelineError, match="Fix: check that the file is a T1"):
        segment_t1.segment_t1(ball(rng.normal(100, 10, (90, 90, 90))), affine, backend="builtin")
    with pytest.raises(PipelineError, match="Fix: check that the file is a T1"):
        segment_t1.segment_t1(ball(np.full((90, 90, 90), 100.0)), affine, backend="builtin")


def test_implausible_volume_says_what_was_expected(stripped: tuple) -> None:
    t1, _, affine = stripped
    small = affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    with pytest.raises(PipelineError, match=r"600–2200 mL.*Got: 1\d\d mL"):
        segment_t1.segment_t1(t1, small, backend="builtin")


def test_inverted_contrast_and_empty_tissue_fail(stripped: tuple, result: segment_t1.Segmentation) -> None:
    t1, _, affine = stripped
    with pytest.raises(PipelineError):
        segment_t1.segment_t1(np.where(t1 > 0, 260 - t1, 0).astype(np.float32), affine, backend="builtin")
    maps = {
        **result.maps,
        "gm": result.maps["gm"] + result.maps["wm"],
        "wm": np.zeros_like(result.maps["wm"]),
    }
    with pytest.raises(PipelineError, match="Almost no WM"):
        segment_t1._check_plausible(maps, affine)


def test_bad_arguments(stripped: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    t1, _, affine = stripped
    with pytest.raises(ValueError, match="unknown backend 'spm'"):
        segment_t1.segment_t1(t1, affine, backend="spm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3-D"):
        segment_t1.segment_t1(t1[0], affine)
    monkeypatch.setattr(segment_t1, "available_backends", lambda: ())
    with pytest.raises(PipelineError, match="No back end"):
        segment_t1.segment_t1(t1, affine)


# --------------------------------------------------------------------------------------- FSL back end

FAKE_BET = """
    import sys
    import nibabel as nib, numpy as np
    assert sys.argv[3:] == ["-R", "-m"], sys.argv
    image = nib.load(sys.argv[1])
    t1 = np.asarray(image.dataobj, np.float32)
    nib.save(nib.Nifti1Image(np.where(t1 > 2, t1, 0), image.affine), sys.argv[2])
"""
FAKE_FAST = """
    import os, pathlib, sys
    import nibabel as nib, numpy as np
    assert sys.argv[1:7] == ["-t", "1", "-n", "3", "-B", "-o"], sys.argv
    assert os.environ["FSLOUTPUTTYPE"] == "NIFTI_GZ"
    image = nib.load(sys.argv[8])
    t1 = np.asarray(image.dataobj, np.float32)
    cuts = [(1, 90), (90, 150), (150, 1e9)]
    for n, (low, high) in enumerate(cuts):
        pve = ((t1 >= low) & (t1 < high)).astype(np.float32) * 1.02
        nib.save(nib.Nifti1Image(pve, image.affine), f"{sys.argv[7]}_pve_{n}.nii.gz")
    nib.save(image, f"{sys.argv[7]}_restore.nii.gz")
"""


def install(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_fsl_commands_and_numbering(stripped: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t1, truth, affine = stripped
    (tmp_path / "bin").mkdir()
    install(tmp_path / "bin", "bet", FAKE_BET)
    install(tmp_path / "bin", "fast", FAKE_FAST)
    monkeypatch.setenv("FSLDIR", str(tmp_path))  # found there though not on PATH
    assert "fsl" in available_backends()
    whole = np.where(t1 > 0, t1, 2).astype(np.float32)  # no zeros: BET has to run
    for image, mask in ((t1, "input was skull-stripped"), (whole, "bet")):
        found = segment_t1.segment_t1(image, affine, backend="fsl")
        assert found.backend == "fsl" and found.notes["mask"] == mask
        assert max(float(v.max()) for v in found.maps.values()) <= 1
        brain = found.maps["wm"] + found.maps["gm"] + found.maps["csf"]
        assert float(found.maps["csf"][truth[0] > 0.99].mean()) > 0.9
        assert float(found.maps["wm"][truth[2] > 0.99].mean()) > 0.8
        assert not brain[t1 == 0].any() and not found.brain[t1 == 0].any()


def test_fsl_failure_shows_stderr(stripped: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t1, _, affine = stripped
    install(tmp_path, "bet", FAKE_BET)
    install(tmp_path, "fast", "import sys; sys.exit('Not enough memory for tissues')")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PipelineError, match=r"fast failed.*exit status 1: Not enough memory"):
        segment_t1.segment_t1(t1, affine, backend="fsl")
    install(tmp_path, "fast", "pass")
    with pytest.raises(PipelineError, match=r"wrote no tissue_pve_"):
        segment_t1.segment_t1(t1, affine, backend="fsl")


def test_fsl_absent(stripped: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t1, _, affine = stripped
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FSLDIR", raising=False)
    with pytest.raises(PipelineError, match=r"back end fsl is not available.*bet and fast on PATH"):
        segment_t1.segment_t1(t1, affine, backend="fsl")


# ---------------------------------------------------------------------------------------- a real head


@pytest.mark.slow
@pytest.mark.skipif(not ANAT.is_dir(), reason="shared AOMIC data absent")
def test_aomic_volumes_match_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """FSL FAST found WM 501, GM 690, CSF 253 mL (hard classes); Dice on FAST's own grid."""
    monkeypatch.setattr(segment_t1, "_N4_ITERATIONS", (20, 20, 20, 20))
    image = nib.load(ANAT / "sub-0001_T1w.nii.gz")
    began = time.perf_counter()
    found = segment_t1.segment_t1(
        image.get_fdata(dtype=np.float32), image.affine, backend="builtin", threads=2
    )
    assert time.perf_counter() - began < 70
    assert found.notes["mask"] == "deepbet"
    assert float(found.notes["wm_ml"]) == pytest.approx(501, rel=0.05)
    assert float(found.notes["gm_ml"]) == pytest.approx(690, rel=0.10)
    assert float(found.notes["csf_ml"]) == pytest.approx(253, rel=0.25)

    labels = nib.load(ANAT / "sub-0001_dseg.nii.gz")
    fast = np.asarray(labels.dataobj).astype(np.uint8)
    move = np.linalg.inv(found.affine) @ labels.affine
    shares = np.stack(
        [
            ndimage.affine_transform(found.maps[t], move[:3, :3], move[:3, 3], fast.shape, order=1)
            for t in ("gm", "wm", "csf")
        ]
    )
    ours = np.where(shares.sum(0) > 0.5, shares.argmax(0) + 1, 0)
    dice = {
        n: 2 * ((ours == n) & (fast == n)).sum() / ((ours == n).sum() + (fast == n).sum()) for n in (1, 2)
    }
    assert dice[1] >= 0.85 and dice[2] >= 0.90
    brain = sum(found.maps.values()) > 0.5
    assert 0.15 < float(((found.maps["wm"] > 0.05) & (found.maps["wm"] < 0.95))[brain].mean()) < 0.45
