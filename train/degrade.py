"""What can be wrong with a picture of one tissue, by how much: what the feature extractor learns to see.

Each function takes fractions in [0, 1] of shape (1, *size), two- or three-dimensional, and a strength from 0 (next to
nothing) to 1, and gives fractions of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHED: Final = (0.4, 2.0)
"""Voxels: standard deviation of the weakest and of the strongest blur."""
NOISE: Final = 0.25
"""Standard deviation of the strongest noise."""
COARSER: Final = 3
"""Voxels that become one."""
BOARD: Final = 0.4
"""Part of a fraction by which the strongest checkerboard raises and lowers it."""
WOBBLE: Final = (0.5, 2.5)
"""Voxels: standard deviation of the weakest and of the strongest displacement."""
WOBBLE_EVERY: Final = 6
"""Voxels between independent displacements."""
STEEPER: Final = 2.0
"""What is added to the exponent of a fraction's odds."""


def degrade(kind: str, x: Tensor, strength: float, other: Tensor) -> Tensor:
    """One of `KINDS` applied.

    Args:
        x: (1, *size) fractions.
        other: the same of somebody else, for `ghost`.
    """
    if kind == "ghost":
        return torch.lerp(x, other, 0.5 * strength)
    return _FUNCTIONS[kind](x, strength).clamp(0.0, 1.0)


def blur(x: Tensor, strength: float) -> Tensor:
    """A Gaussian filter, axis by axis."""
    width = SMOOTHED[0] + strength * (SMOOTHED[1] - SMOOTHED[0])
    reach = int(3 * width) + 1
    places = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (places / width).square())
    kernel = kernel / kernel.sum()
    for axis in range(1, x.ndim):
        moved = x.movedim(axis, -1)
        flat = F.conv1d(moved.reshape(-1, 1, moved.shape[-1]), kernel[None, None], padding=reach)
        x = flat.view(moved.shape).movedim(-1, axis)
    return x


def noise(x: Tensor, strength: float) -> Tensor:
    """Independent noise in every voxel."""
    return x + NOISE * strength * torch.randn_like(x)


def coarse(x: Tensor, strength: float) -> Tensor:
    """A share of what averaging and interpolating back leaves, up to a voxel off at the far edge."""
    mode = "bilinear" if x.ndim == 3 else "trilinear"
    pool = F.avg_pool2d if x.ndim == 3 else F.avg_pool3d
    small = pool(x[None], COARSER, ceil_mode=True, count_include_pad=False)
    return torch.lerp(x, F.interpolate(small, size=x.shape[1:], mode=mode)[0], strength)


def checkerboard(x: Tensor, strength: float) -> Tensor:
    """What transposed convolutions leave: every other voxel higher and lower."""
    signs = torch.ones(())
    for size in x.shape[1:]:
        signs = signs[..., None] * (1.0 - 2.0 * (torch.arange(size) % 2))
    return x * (1.0 + BOARD * strength * signs)


def wobble(x: Tensor, strength: float) -> Tensor:
    """A random displacement that folds in places: shapes that no anatomy has."""
    size, axes = x.shape[1:], x.ndim - 1
    mode = "bilinear" if axes == 2 else "trilinear"
    few = [max(2, s // WOBBLE_EVERY) for s in size]
    voxels = WOBBLE[0] + strength * (WOBBLE[1] - WOBBLE[0])
    moved = F.interpolate(voxels * torch.randn(1, axes, *few), size=size, mode=mode, align_corners=True)
    steps = [torch.linspace(-1, 1, s) for s in size]
    here = torch.stack(torch.meshgrid(*steps, indexing="ij"))
    scale = torch.tensor([2.0 / max(s - 1, 1) for s in size]).view(-1, *[1] * axes)
    where = (here + scale * moved[0]).flip(0).movedim(0, -1)
    return F.grid_sample(x[None], where[None], align_corners=True)[0]


def contrast(x: Tensor, strength: float) -> Tensor:
    """Partial volumes pushed to 0 and 1."""
    power = 1.0 + STEEPER * strength
    up, down = x.clamp(0, 1) ** power, (1.0 - x.clamp(0, 1)) ** power
    return up / (up + down)


_FUNCTIONS: Final[dict[str, Callable[[Tensor, float], Tensor]]] = {
    "blur": blur,
    "noise": noise,
    "coarse": coarse,
    "checkerboard": checkerboard,
    "wobble": wobble,
    "contrast": contrast,
}
KINDS: Final = (*_FUNCTIONS, "ghost")
"""Names of all; `ghost` is a share of somebody else's brain."""
