"""Pictures of a run: validation people's own brains above those that the model makes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core.data.nifti import write_bytes
from csegsynth_core.data.pictures import tissue_rgb

if TYPE_CHECKING:
    from train.engine import Engine

PEOPLE = 3


def slices(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Middle sagittal (a little off the midline), coronal and axial slice side by side, (112, 336, 3)."""
    rgb = tissue_rgb(maps)
    tiles = []
    for axis, cut in ((0, 34), (1, 62), (2, 62)):
        plane = np.take(rgb, cut, axis=axis).transpose(1, 0, 2)[::-1]
        tile = np.zeros((112, 112, 3), np.float32)
        high, wide = (min(s, 112) for s in plane.shape[:2])
        top, left = ((s - n) // 2 for s, n in zip(plane.shape[:2], (high, wide), strict=True))
        row, column = (112 - high) // 2, (112 - wide) // 2
        tile[row : row + high, column : column + wide] = plane[top : top + high, left : left + wide]
        tiles.append(tile)
    return (np.concatenate(tiles, axis=1) * 255).astype(np.uint8)


def write_pictures(engine: Engine, folder: Path) -> NDArray[np.uint8]:
    """Write `step-NNNNNN.png`: real brains, the same people's typical ones, and one draw each.

    Returns:
        The picture, (rows, columns, 3).
    """
    model, people = engine.smooth, engine.people
    model.load_state_dict(engine.averaged)
    rows = [int(r) for r in people.validation[:PEOPLE]]
    lines = [[people.cohort.maps(r) for r in rows]]
    for draws in (torch.zeros_like(model.draw(len(rows), 1)), model.draw(len(rows), 1)):
        with torch.inference_mode():
            y = engine.features[torch.tensor(rows)]
            made = [
                model.on_grid(model(y[k : k + 1], z[None].to(y.device)))[0, :3].float().cpu().numpy()
                for k, z in enumerate(draws)
            ]
        lines.append(made)
    rgb = np.concatenate([np.concatenate([slices(m) for m in line], axis=1) for line in lines])
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", optimize=True)
    write_bytes(folder / f"step-{engine.done:06d}.png", out.getvalue())
    return rgb
