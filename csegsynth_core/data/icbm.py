"""The ICBM152 average brain (2009, nonlinear, symmetric) that nilearn carries, on our grid.

Copyright 1993–2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
McGill University; use, copying and distribution are permitted with this notice.
Source: Fonov et al. 2011, NeuroImage 54(1).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from csegsynth_core.data.nifti import Volume, to_ras

ATTRIBUTION = (
    "ICBM152 2009 nonlinear symmetric average: (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
    "Montreal Neurological Institute, McGill University"
)


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


def _volume(image: object) -> Volume:
    data = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
    data = data / max(float(data.max()), 1e-6)
    return to_ras(Volume(data, np.asarray(image.affine, np.float64)))  # type: ignore[attr-defined]
