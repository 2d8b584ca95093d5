"""A small network that divides each tissue of a brain into parcels, from its tissue maps alone.

It works on any brain on our grid, real or generated, and is differentiable, so that the volume of a region has a
gradient with respect to whatever made the brain. An encoder and a decoder with skips (Ronneberger et al. 2015,
"U-Net") at 4, 8 and 16 mm; the position of each voxel is among its inputs, since lobes have no borders of their own.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.models.blocks import ChannelNorm, convolve, shuffle_up
from csegsynth_core.substructures import PARCELS
from csegsynth_core.tissue import TISSUES

SIZE: tuple[int, int, int] = tuple((s.stop - s.start) // 2 for s in grid.BOX)  # type: ignore[assignment]
"""Voxels of 4 mm inside `grid.BOX`."""

GROUPS: dict[str, slice] = {}
for _tissue in TISSUES:
    _own = [k for k, tissue in enumerate(PARCELS.values()) if tissue == _tissue]
    GROUPS[_tissue] = slice(_own[0], _own[-1] + 1)


class ParcellationNetwork(nn.Module):
    """Tissue maps at 4 mm → share of each tissue that belongs to each of its parcels, at every voxel.

    Args:
        width: channels at 8 mm; twice as many at 16 mm.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        inputs = len(TISSUES) + 3
        self.fine = nn.Conv3d(inputs, 16, 3, padding=1)
        self.norm_fine = ChannelNorm(16)
        self.down_8mm = nn.Conv3d(16, width, 3, stride=2, padding=1)
        self.norm_8mm = ChannelNorm(width)
        self.down_16mm = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)
        self.norm_16mm = ChannelNorm(2 * width)
        self.deep = nn.Conv3d(2 * width, 2 * width, 3, padding=1)
        self.norm_deep = ChannelNorm(2 * width)
        self.up_8mm = nn.Conv3d(3 * width, width, 3, padding=1)
        self.norm_up = ChannelNorm(width)
        self.up_4mm = nn.Conv3d(width, 8 * 16, 1)
        self.out = nn.Conv3d(32, len(PARCELS), 3, padding=1)

    def forward(self, x: Float[Tensor, "n 3 a b c"]) -> Float[Tensor, "n parcels a b c"]:
        """Shares in [0, 1]; those of the parcels of one tissue sum to 1 at every voxel.

        Args:
            x: fractions of WM, GM and CSF inside `grid.BOX`, (n, 3, 40, 52, 40), averaged over 4 mm or every
                second voxel.

        Raises:
            ValueError: another shape.
        """
        if tuple(x.shape[1:]) != (len(TISSUES), *SIZE):
            raise ValueError(f"expected maps of shape (n, {len(TISSUES)}, {SIZE}), got {tuple(x.shape)}")
        fine, middle, deep = self.activations(x)
        up = F.interpolate(deep, size=list(middle.shape[2:]), mode="trilinear", align_corners=False)
        up = F.gelu(self.norm_up(self.up_8mm(torch.cat([up, middle], dim=1))))
        logits = self.out(torch.cat([shuffle_up(self.up_4mm(up)), fine], dim=1))
        return torch.cat([logits[:, own].softmax(dim=1) for own in GROUPS.values()], dim=1)

    def activations(
        self, x: Float[Tensor, "n 3 a b c"]
    ) -> tuple[Float[Tensor, "n 16 a b c"], Float[Tensor, "n width d e f"], Float[Tensor, "n width2 g h i"]]:
        """What the encoder makes of tissue maps at 4, 8 and 16 mm."""
        place = _places(str(x.device)).expand(len(x), -1, -1, -1, -1)
        # Six channels are slow on a CPU (ten times): empty ones make them sixteen.
        empty = x.new_zeros(len(x), 16 - self.fine.in_channels, *x.shape[2:])
        weight = F.pad(self.fine.weight, (0, 0, 0, 0, 0, 0, 0, empty.shape[1]))
        fine = F.conv3d(torch.cat([x, place, empty], dim=1), weight, self.fine.bias, padding=1)
        fine = F.gelu(self.norm_fine(fine))
        middle = F.gelu(self.norm_8mm(convolve(self.down_8mm, fine)))
        deep = F.gelu(self.norm_16mm(convolve(self.down_16mm, middle)))
        return fine, middle, F.gelu(self.norm_deep(convolve(self.deep, deep)))


@lru_cache(maxsize=4)
def _places(device: str) -> Float[Tensor, "1 3 a b c"]:
    """Position of every voxel, −1 to 1 along each axis; the first as distance from the middle plane."""
    with torch.inference_mode(False):
        axes = [torch.linspace(-1, 1, s, device=device) for s in SIZE]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)
        return torch.cat([place[:, :1].abs(), place[:, 1:]], dim=1)
