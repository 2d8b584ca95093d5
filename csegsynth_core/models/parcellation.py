"""A small network that divides each tissue of a brain into parcels, from its tissue maps alone.

It works on any brain on our grid, real or generated, and is differentiable, so that the volume of a region has a
gradient with respect to whatever made the brain. An encoder and a decoder with skips (Ronneberger et al. 2015,
"U-Net") at 4, 8 and 16 mm; the position of each voxel is among its inputs, since lobes have no borders of their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.models.blocks import ChannelNorm, convolve
from csegsynth_core.substructures import PARCELS
from csegsynth_core.tissue import TISSUES

SIZE: tuple[int, int, int] = tuple((s.stop - s.start) // 2 for s in grid.BOX)  # type: ignore[assignment]
"""Voxels of 4 mm inside `grid.BOX`."""

GROUPS: dict[str, slice] = {}
for _tissue in TISSUES:
    _own = [k for k, tissue in enumerate(PARCELS.values()) if tissue == _tissue]
    GROUPS[_tissue] = slice(_own[0], _own[-1] + 1)


class _Parts(torch.autograd.Function):
    """A 3×3×3 convolution whose output channels are used in parts, of `sizes` channels.

    The same as `conv3d(x, weight, bias, padding=1).split(sizes, 1)`, but a gradient goes back only through those
    parts that it came from: that of the ventricles' volume has 2 of 13 channels, and takes a fifth of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, weight)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        out = F.conv3d(x, weight, bias, padding=1)
        return tuple(part.contiguous() for part in out.split(sizes, dim=1))

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[:3])
        used = torch.cat(
            [torch.full((size,), grad is not None) for grad, size in zip(grads, ctx.sizes, strict=True)]
        )
        grad = torch.cat([g for g in grads if g is not None], dim=1)
        by_input, own_weight, own_bias = torch.ops.aten.convolution_backward(
            grad, x, weight[used], [grad.shape[1]], [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1, wanted
        )

        def among_all(own: Tensor) -> Tensor:
            out = own.new_zeros(len(weight), *own.shape[1:])
            out[used] = own
            return out

        by_weight = among_all(own_weight) if wanted[1] else None
        return by_input, by_weight, among_all(own_bias) if wanted[2] else None, None


def _convolve_and_shuffle(layer: nn.Conv3d, x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n d i2 j2 k2"]:
    """`shuffle_up(layer(x))` of a 1×1×1 layer, as the transposed convolution that it is: quicker, above all back."""
    weight = layer.weight.reshape(-1, 2, 2, 2, x.shape[1]).permute(4, 0, 1, 2, 3)
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    out = F.conv_transpose3d(x, weight, stride=2)
    blocks = out.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    blocks = blocks + layer.bias.reshape(-1, 1, 2, 1, 2, 1, 2)  # type: ignore[union-attr]
    return blocks.flatten(6, 7).flatten(4, 5).flatten(2, 3)


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
        """Shares in [0, 1]; those of the parcels of one tissue sum to 1 at every voxel. See `by_tissue`."""
        return torch.cat(list(self.by_tissue(x).values()), dim=1)

    def by_tissue(self, x: Float[Tensor, "n 3 a b c"]) -> dict[str, Float[Tensor, "n own a b c"]]:
        """The shares of each tissue's own parcels (`GROUPS`), which sum to 1 at every voxel.

        Everything works with channels last: otherwise a CPU takes up to four times as long for few channels.

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
        both = torch.cat([_convolve_and_shuffle(self.up_4mm, up), fine], dim=1)
        sizes = [own.stop - own.start for own in GROUPS.values()]
        parts = _Parts.apply(both, self.out.weight, self.out.bias, sizes)
        return {t: part.softmax(dim=1) for t, part in zip(GROUPS, parts, strict=True)}

    def activations(
        self, x: Float[Tensor, "n 3 a b c"]
    ) -> tuple[Float[Tensor, "n 16 a b c"], Float[Tensor, "n width d e f"], Float[Tensor, "n width2 g h i"]]:
        """What the encoder makes of tissue maps at 4, 8 and 16 mm."""
        place = _places(str(x.device)).expand(len(x), -1, -1, -1, -1)
        full = torch.cat([x, place], dim=1).contiguous(memory_format=torch.channels_last_3d)
        fine = F.gelu(self.norm_fine(convolve(self.fine, full)))
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
