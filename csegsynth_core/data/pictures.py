"""Small pictures of tissue maps, made with Pillow alone so that workers start fast."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core.tissue import ALL


def hex_rgb(colour: str) -> NDArray[np.float32]:
    """`#RRGGBB` as three numbers in [0, 1]."""
    return np.asarray([int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)], np.float32)


def tissue_rgb(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Composite colour of tissue fractions (3, …) over black, shape (…, 3), in [0, 1]."""
    palette = np.stack([hex_rgb(t.colour) for t in ALL])
    return np.clip(np.tensordot(np.moveaxis(maps[:3], 0, -1), palette, axes=1), 0.0, 1.0)


def person_picture(maps: NDArray[np.float32], t1: NDArray[np.float32] | None = None) -> bytes:
    """PNG of nine slices (three a plane) of the tissues, and of the T1 below them where there is one.

    Neurological display: left is left.

    Args:
        maps: (3, 80, 128, 128) tissue fractions.
        t1: (80, 128, 128) intensities or None.
    """
    rows = [_row(tissue_rgb(maps))]
    if t1 is not None and np.any(t1 > 0):
        grey = np.clip(t1 / max(float(np.percentile(t1[t1 > 0], 99.5)), 1e-6), 0, 1)
        rows.append(_row(np.repeat(grey[..., None], 3, axis=-1)))
    image = Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _row(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    tiles = []
    for axis, cuts in ((0, (30, 38, 50)), (1, (45, 62, 80)), (2, (52, 64, 76))):
        for cut in cuts:
            plane = np.take(rgb, cut, axis=axis).transpose(1, 0, 2)[::-1]
            tile = np.zeros((112, 112, 3), np.float32)
            top, left = (plane.shape[0] - 112) // 2, (plane.shape[1] - 112) // 2
            if left >= 0:
                plane = plane[:, left : left + 112]
                tile[:, : plane.shape[1]] = plane[top : top + 112]
            else:
                tile[:, -left : -left + plane.shape[1]] = plane[top : top + 112]
            tiles.append(tile)
    return np.concatenate(tiles, axis=1)
