"""One picture of twenty virtual brains: women above, men below, young to old."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from csegsynth_core.data.nifti import write_bytes
from csegsynth_core.data.pictures import tissue_rgb
from csegsynth_core.data.simulate.anatomy import make_brain
from csegsynth_core.data.simulate.people import draw

AGES: Final = (20, 27, 35, 42, 50, 57, 65, 72, 80, 87)
_CUTS: Final = ((2, 68), (1, 58), (0, 37))
"""Axial, coronal and sagittal slice: (axis, voxel)."""
_TILE: Final = (88, 116)
"""Width and height of a slice, in voxels."""


def write_montage(path: Path, *, seed: int = 0, progress: bool = True) -> None:
    """Write the picture: ten ages across, women and men, three slices each."""
    some = draw(4000, seed=seed)
    age, male = some.variables["age"], some.variables["sex"] > 0
    chosen = [
        int(np.argmin(np.abs(age - a) + 100.0 * (male != is_male))) for is_male in (False, True) for a in AGES
    ]
    columns = []
    for row in tqdm(chosen, unit="brain", desc="montage", disable=not progress):
        maps = make_brain(some.targets(row), some.brain_seed(row)).maps
        rgb = tissue_rgb(maps)
        title = f"{'M' if male[row] else 'F'} {age[row]:.0f}"
        columns.append(np.concatenate([_titled(title), *(_tile(rgb, *cut) for cut in _CUTS)]))
    rows = [np.concatenate(columns[i : i + len(AGES)], axis=1) for i in (0, len(AGES))]
    whole = np.concatenate([*rows, _titled("SIMULATED: these people do not exist", rows[0].shape[1])])
    image = Image.fromarray(np.rint(whole * 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


def _tile(rgb: NDArray[np.float32], axis: int, cut: int) -> NDArray[np.float32]:
    width, height = (116, 88) if axis == 0 else _TILE
    plane = np.take(rgb, cut, axis=axis).transpose(1, 0, 2)[::-1]
    out = np.zeros((_TILE[1] if axis != 0 else 88, _TILE[0] if axis != 0 else 116, 3), np.float32)
    top, left = (plane.shape[0] - height) // 2, (plane.shape[1] - width) // 2
    source = plane[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
    y, x = (out.shape[0] - source.shape[0]) // 2, (out.shape[1] - source.shape[1]) // 2
    out[y : y + source.shape[0], x : x + source.shape[1]] = source
    pad = 116 - out.shape[1]
    return np.pad(out, ((0, 0), (pad // 2, pad - pad // 2), (0, 0)))


def _titled(text: str, width: int = 116) -> NDArray[np.float32]:
    image = Image.new("RGB", (width, 16))
    ImageDraw.Draw(image).text((width // 2, 8), text, fill=(235, 235, 235), anchor="mm")
    return np.asarray(image, np.float32) / 255.0
