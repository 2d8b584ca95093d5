"""The ICBM152 average brain (2009, nonlinear, symmetric) that nilearn carries, on our grid.

Copyright 1993–2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
McGill University; use, copying and distribution are permitted with this notice.
Source: Fonov et al. 2011, NeuroImage 54(1).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from csegsynth_core.data.nifti import Volume, to_ras

ATTRIBUTION = (
    "ICBM152 2009 nonlinear symmetric average: (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
    "Montreal Neurological Institute, McGill University"
)

_INTENSITY: Final = {"wm": 0.83, "gm": 0.66, "csf": 0.36}
"""Typical unsharp-masked T1 intensities of the tissues in the average brain (brightest voxel: 1)."""
_WIDTH: Final = 0.068
"""Width of a tissue's intensities: the smaller, the crisper its borders."""


@lru_cache(maxsize=1)
def native() -> dict[str, Volume]:
    """Brain-masked T1 and tissue probabilities `wm`, `gm`, `csf` at 1 mm, values in [0, 1]."""
    from nilearn import datasets

    mask = _volume(datasets.load_mni152_brain_mask(resolution=1, threshold=0.2)).data > 0
    t1 = _volume(datasets.load_mni152_template(resolution=1))
    gm = _volume(datasets.load_mni152_gm_template(resolution=1))
    wm = _volume(datasets.load_mni152_wm_template(resolution=1))
    total = np.maximum(gm.data + wm.data, 1.0)
    gm_data, wm_data = gm.data / total * mask, wm.data / total * mask
    csf = np.clip(mask - gm_data - wm_data, 0.0, 1.0)
    return {
        "t1": Volume((t1.data * mask).astype(np.float32), t1.affine),
        "wm": Volume(wm_data.astype(np.float32), wm.affine),
        "gm": Volume(gm_data.astype(np.float32), gm.affine),
        "csf": Volume(csf.astype(np.float32), gm.affine),
    }


@lru_cache(maxsize=2)
def on_grid(factor: int = 1) -> dict[str, NDArray[np.float32]]:
    """T1 and tissue probabilities on our grid, or on one `factor` times finer; each (80·f, 128·f, 128·f)."""
    from csegsynth_core.data.align import identity, resample

    return {name: resample(volume, identity(), factor=factor) for name, volume in native().items()}


def unsharp_masked(t1: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """T1 intensities at 1 mm with more of what they differ by from the brain within 2 mm, same shape."""
    weight = np.maximum(ndimage.gaussian_filter(mask.astype(np.float32), 2.0, truncate=2.5), 1e-3)
    around = ndimage.gaussian_filter(t1 * mask, 2.0, truncate=2.5) / weight
    return np.asarray(t1 + np.float32(1.2) * (t1 - around), np.float32)


def contrasts(
    sharp: NDArray[np.float32], prior: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-odds of white matter and of CSF against grey matter, told by T1 intensities.

    Tissue probabilities are blurred by averaging over people; the T1 average of the same people is much crisper.

    Args:
        sharp: see `unsharp_masked`.
        prior: probabilities of `wm`, `gm` and `csf`, of the same shape.
    """
    clipped = np.clip(sharp, _INTENSITY["csf"], _INTENSITY["wm"])

    def score(name: str) -> NDArray[np.float32]:
        likely = -((clipped - np.float32(_INTENSITY[name])) ** 2) / np.float32(2 * _WIDTH**2)
        return likely + np.float32(0.8) * np.log(prior[name] + np.float32(0.02))

    grey = score("gm")
    return score("wm") - grey, score("csf") - grey


@lru_cache(maxsize=1)
def csf_contrast_on_grid(factor: int = 1) -> NDArray[np.float32]:
    """Log-odds of CSF against grey matter by `contrasts`, on our grid or on one `factor` times finer; 0 outside."""
    from csegsynth_core.data.align import identity, resample

    whole = native()
    prior = {name: whole[name].data for name in _INTENSITY}
    mask = np.sum(list(prior.values()), axis=0) > 0.5
    _, csf = contrasts(unsharp_masked(whole["t1"].data, mask), prior)
    return resample(Volume(csf * mask, whole["csf"].affine), identity(), factor=factor)


def _volume(image: object) -> Volume:
    data = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
    data = data / max(float(data.max()), 1e-6)
    return to_ras(Volume(data, np.asarray(image.affine, np.float64)))  # type: ignore[attr-defined]
