"""What tests share: seeded randomness, no windows, a synthetic person, and where the real data lie."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.browser import Site, chromium_path, server

os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes: each keeps to one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

Floats = NDArray[np.float32]

LONGEST = (
    "test_train",
    "test_engine",
    "test_browser_pages",
    "test_pages",
    "test_browser_app",
    "test_calibrate",
    "test_browser_trial",
)
"""Files that take longest: they come first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


LABELS = {
    1: ("Cerebrum_WM_L", "wm"),
    2: ("Cerebrum_WM_R", "wm"),
    3: ("Cortex_L", "gm"),
    4: ("Cortex_R", "gm"),
    5: ("CSF", "csf"),
    6: ("Lesion_L", "csf"),
    9: ("Skull", "n/a"),
}


@dataclass(frozen=True)
class Brain:
    """A made-up person: ICBM152 made smaller, turned and shifted, with a cavity in the left hemisphere only."""

    t1: Floats
    labels: NDArray[np.uint8]
    maps: dict[str, Floats]
    affine: NDArray[np.float64]
    """Voxel → scanner mm."""
    rigid: NDArray[np.float64]
    """(4, 4) from ICBM152 space to scanner space: what `align` should find."""

    def volume_ml(self, tissue: str) -> float:
        return float(self.maps[tissue].sum(dtype=np.float64) * abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def stored(self, axes: str) -> Brain:
        """The same brain with its voxels stored in another order, such as `LAS` or `PIR`."""
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(np.eye(4)),
            nib.orientations.axcodes2ornt(axes),
        )

        def turned(data: NDArray) -> NDArray:
            return np.ascontiguousarray(nib.apply_orientation(data, turn))

        affine = self.affine @ nib.orientations.inv_ornt_aff(turn, self.t1.shape)
        return replace(
            self,
            t1=turned(self.t1),
            labels=turned(self.labels),
            maps={name: turned(data) for name, data in self.maps.items()},
            affine=affine,
        )

    def write_maps(self, folder: Path, person: str) -> dict[str, Path]:
        paths = {}
        for name, data in self.maps.items():
            paths[name] = folder / person / "anat" / f"{person}_label-{name.upper()}_probseg.nii.gz"
            write_image(paths[name], data, self.affine)
        return paths

    def write_labels(self, folder: Path, person: str) -> None:
        anat = folder / person / "anat"
        write_image(anat / f"{person}_desc-brain_T1w.nii.gz", self.t1, self.affine)
        write_image(anat / f"{person}_desc-test_dseg.nii.gz", self.labels, self.affine)
        rows = [f"{value}\t{name}\t{tissue}" for value, (name, tissue) in LABELS.items()]
        (folder / "desc-test_dseg.tsv").write_text("\n".join(["index\tname\ttissue", *rows]) + "\n", "utf-8")


def write_image(path: Path, data: NDArray, affine: NDArray[np.float64]) -> Path:
    """Save a NIfTI image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture(scope="session", autouse=True)
def nothing_is_forced_to_disk() -> Iterator[None]:
    """Files are left to the system to write: no test cuts the power, and waiting for disks takes a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The global generators start alike in every test, whatever ran before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (for libraries that use it)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return folder


@pytest.fixture(scope="session")
def pack():
    """The shipped pack `ixi`; tests that need it skip where it cannot be used (others tell why it cannot)."""
    from csegsynth_core.errors import PackError
    from csegsynth_core.pack import load_pack

    try:
        return load_pack("ixi")
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")


def forget_sessions() -> None:
    """Sessions of all tests are one to Streamlit, which keeps what it made for them."""
    if "streamlit" in sys.modules:
        import streamlit as st

        st.cache_resource.clear()
        st.cache_data.clear()


@contextmanager
def every_second_voxel() -> Iterator[None]:
    """Brains of a template whose every second voxel is made, and stands for its block of eight: in a fraction of the
    time. For tests that pages, files and commands say what the core says, where the core is asked for the same brain;
    gradients stay as they are."""
    import torch

    from csegsynth_core.models.csegsynth import TemplateGenerator

    own = TemplateGenerator.render

    def render(self: Any, controls: Any, resolution: int = 1, offset: Any = (0, 0, 0)) -> Any:
        if resolution != 1 or torch.is_grad_enabled():
            return own(self, controls, resolution, offset)
        made = own(self, controls, 2)
        for axis in (2, 3, 4):
            made = made.repeat_interleave(2, dim=axis)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TemplateGenerator, "render", render)
        forget_sessions()
        yield
    forget_sessions()


@pytest.fixture(scope="module")
def coarse_brains() -> Iterator[None]:
    """See `every_second_voxel`."""
    with every_second_voxel():
        yield


@pytest.fixture
def few_spread_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two draws of each person on the Individual page, with which every visit to the app begins: for tests of
    something else than their spread."""
    from pages import _draws

    monkeypatch.setattr(_draws, "SPREAD_DRAWS", 2)


@pytest.fixture(scope="session")
def site(pack) -> Iterator[Site]:
    """One server and one browser for all tests in a browser; `site.open()` is somebody of their own."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = chromium_path()
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with server() as address, api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield Site(address, browser)
        finally:
            browser.close()


@pytest.fixture(scope="session")
def brain() -> Brain:
    """Turned by 15.7°, shifted by 17 mm, RAS order, edges of 1.86 mm, about 1500 mL; cavity at x < 0 only."""
    from scipy.spatial.transform import Rotation

    from csegsynth_core import grid
    from csegsynth_core.data import icbm

    maps = {name: data[grid.BOX].copy() for name, data in icbm.on_grid().items() if name != "t1"}
    shape = maps["wm"].shape
    rotation = Rotation.from_euler("xyz", [9, -6, 11], degrees=True).as_matrix()
    scale = 1.86
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    mm = scale * (index - (np.asarray(shape) - 1) / 2)  # ICBM152 axes, from the middle of the grid
    left = mm[..., 0] < 0
    cavity = np.linalg.norm(mm - [-28.0, -5.0, 22.0], axis=-1) < 14.0
    inside = sum(maps.values()) * cavity
    for name in maps:
        maps[name][cavity] = 0.0
    maps["csf"] += inside.astype(np.float32)
    hard = np.stack([maps["wm"], maps["gm"], maps["csf"]]).argmax(0)
    labels = np.choose(hard, [np.where(left, 1, 2), np.where(left, 3, 4), np.full(shape, 5)])
    labels[cavity] = 6
    labels[sum(maps.values()) < 0.5] = 0
    noise = np.random.default_rng(7).normal(0, 15, shape)
    t1 = (1000 * maps["wm"] + 700 * maps["gm"] + 300 * maps["csf"] + noise) * (labels > 0)
    rigid = np.eye(4)
    centre = np.asarray(grid.CENTRE_MM)
    rigid[:3, :3] = rotation
    rigid[:3, 3] = centre + np.array([7.0, -12.0, 9.0]) - rotation @ centre
    own = np.diag([scale, scale, scale, 1.0])
    own[:3, 3] = centre - scale * (np.asarray(shape) - 1) / 2
    return Brain(np.maximum(t1, 0).astype(np.float32), labels.astype(np.uint8), maps, rigid @ own, rigid)


@pytest.fixture
def known_alignment(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No search for the alignment (seconds): the true one of `brain` is at hand. For runs in this process."""
    from csegsynth_core.data import align, label_prior

    def found(*_: object, **__: object) -> align.Rigid:
        return align.Rigid(brain.rigid, 0.9)

    monkeypatch.setattr(align, "align", found)
    monkeypatch.setattr(label_prior, "align", found)
    yield


_MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def _keep_main():
    """Streamlit's AppTest leaves the page as `__main__`, also in fixtures of a whole module, and spawned workers
    would then run it."""
    sys.modules["__main__"] = _MAIN
    yield
    sys.modules["__main__"] = _MAIN
