"""What the voxel-decoding models share: decoder, trunk and the layers that add features to a code.

`paper` has the reference's networks on the whole grid (paper, Fig. 5). `compact` is made for a CPU: the same plan
(a vector grows into maps by upsampling and convolutions) inside the box that brains occupy, with its last features
at 4 mm, each of which is shuffled into 2×2×2 voxels of 2 mm (Shi et al. 2016), an output bias that starts at the
log-ratios of the mean training maps, and a linear way from the code to log-ratios at 8 mm. No template is deformed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.models.blocks import ChannelNorm, ConvNeXt3d, FeatureNetwork, convolve, shuffle_up
from csegsynth_core.models.csegsynth import CompactTrunk, PaperGenerator, PaperTrunk, Score
from csegsynth_core.models.csegsynth import Config as PaperShapes
from csegsynth_core.models.family import Offset, Region, Shapes, extent
from csegsynth_core.tissue import CHANNELS, TISSUES

LEAST_FRACTION = 1e-4
"""Least mean fraction that the output bias starts at."""


START_LOG_VARIANCE = -4.0
"""Of codes at first, except in `paper`: with 1 the decoder learns to ignore codes before it needs them."""
LEAST_OF_ONE = 0.05
"""Fractions of one brain below it count as it in `ratios_at_8mm`."""


def ratios_at_8mm(maps: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n 3 i4 j4 k4"]:
    """Log-ratios tissue : background of brains, averaged over 8 mm: what a linear model of them can be made of."""
    held = maps.clamp_min(LEAST_OF_ONE).log()
    return F.avg_pool3d(held[:, :-1] - held[:, -1:], 4)


@dataclass(frozen=True)
class VoxelShapes(Shapes):
    """Shapes of VAE, GAN and their conditional forms."""

    width: int
    """`paper`: the reference's channel base b; otherwise channels at 4 mm."""
    hidden: int
    """Numbers that the encoder makes of a brain before its heads."""
    dropout: float = 0.0
    """In the layers that take features."""

    @classmethod
    def named(cls, preset: str, features: int) -> VoxelShapes:
        """Shapes of `paper`, `compact` or `tiny`."""
        if preset == "paper":
            return cls("paper", features, latent=1024, width=32, hidden=1024)
        if preset == "compact":
            return cls("compact", features, latent=36, width=32, hidden=128, dropout=0.1)
        return cls("tiny", features, latent=16, width=8, hidden=16)


class SubPixel(nn.Module):
    """Features at 4 mm to tissue fractions at 2 mm: convolution, shuffle, output bias, softmax.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = nn.Conv3d(channels, 8 * len(CHANNELS), 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-2)
        assert self.head.bias is not None  # noqa: S101 - it has one
        nn.init.zeros_(self.head.bias)
        self.average = nn.Parameter(torch.zeros(len(TISSUES), *extent(grid.BOX)))

    @torch.no_grad()
    def start_at(self, mean: Float[Tensor, "4 i j k"]) -> None:
        """Give the mean maps, and next to nothing else: the output bias is their log-ratios tissue : background."""
        nn.init.normal_(self.head.weight, std=1e-4)
        held = mean.clamp_min(LEAST_FRACTION)
        self.average.copy_(held[:-1].log() - held[-1:].log())

    def forward(
        self,
        x: Float[Tensor, "n c i2 j2 k2"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
        ratios: Float[Tensor, "n 3 i4 j4 k4"] | None = None,
    ) -> Float[Tensor, "n 4 i j k"]:
        """Fractions of all voxels, or with `resolution` 2 of every second one from `offset` on.

        Args:
            ratios: log-ratios tissue : background at 8 mm to be added.
        """
        x = convolve(self.head, x)
        added: Tensor = self.average
        if ratios is not None:
            size = list(added.shape[1:])
            added = added + F.interpolate(ratios, size=size, mode="trilinear", align_corners=False)
        if resolution == 1:
            x = shuffle_up(x)
        else:
            i, j, k = offset
            x = x[:, 4 * i + 2 * j + k :: 8]
            added = added[..., i::2, j::2, k::2]
        return torch.softmax(x + F.pad(added, (0, 0) * 3 + (0, 1)), dim=1)


class VoxelDecoder(nn.Module):
    """A code to tissue maps by upsampling and convolutions: 32 mm → 16 → 8 → 4 → (shuffle) 2 mm.

    Beside them a straight way from the code to log-ratios at 8 mm, as the compact generator of CSegSynth has. Without
    it nothing of the code reaches the maps within minutes of training: what all brains have in common comes first.
    """

    region: Region = grid.BOX
    resolutions = (1, 2)
    noise_width = 0

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        size = extent(self.region)
        self.sizes = [[s // d for s in size] for d in (8, 4, 2)]
        self.start = [-(-s // 16) for s in size]
        deep = 2 * width
        self.expand = nn.Linear(latent, deep * self.start[0] * self.start[1] * self.start[2])
        widths = (deep, deep, width, width)
        self.norms = nn.ModuleList([ChannelNorm(w) for w in widths])
        self.convolutions = nn.ModuleList([nn.Conv3d(a, b, 3, padding=1) for a, b in pairwise(widths)])
        self.block = ConvNeXt3d(deep, (3, 3, 3), expansion=2, scale=0.1)
        self.output = SubPixel(width)
        self.coarse = self.sizes[1]
        self.straight = nn.Linear(
            latent, len(TISSUES) * self.coarse[0] * self.coarse[1] * self.coarse[2], bias=False
        )
        nn.init.zeros_(self.straight.weight)

    @torch.no_grad()
    def start_at(self, mean: Float[Tensor, "4 i j k"], ratios: Float[Tensor, "components v"]) -> None:
        """Start at mean maps, and at log-ratios at 8 mm (flat) for each of the first numbers of a code."""
        self.output.start_at(mean)
        self.straight.weight[:, : len(ratios)] = ratios.T

    def forward(
        self, z: Float[Tensor, "n latent"], resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `region`; see `SubPixel` for `resolution` and `offset`."""
        ratios = self.straight(z).unflatten(1, (len(TISSUES), *self.coarse))
        x = self.expand(z).unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last_3d)
        x = F.gelu(self.norms[0](x))
        for k, (layer, size) in enumerate(zip(self.convolutions, self.sizes, strict=True)):
            x = F.interpolate(x, size=size, mode="trilinear", align_corners=False)
            x = F.gelu(self.norms[k + 1](convolve(layer, x)))  # type: ignore[arg-type]
            if k == 0:
                x = self.block(x)
        return self.output(x, resolution, offset, ratios)


class Conditioner(FeatureNetwork):
    """FFN(y), which is added to a code or to what makes one (paper, sections IV-C1 and IV-C2).

    See `FeatureNetwork` for its layers. With `straight` both ways start near zero, so that fine-tuning starts at the
    unconditional model.
    """

    def __init__(self, features: int, out: int, dropout: float = 0.0, *, straight: bool = False) -> None:
        super().__init__(features, out, dropout, straight=straight)
        if self.straight is not None:
            for layer in (self.straight, self.layers[-1]):
                nn.init.normal_(layer.weight, std=1e-3)  # type: ignore[arg-type]
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def decoder_of(config: VoxelShapes) -> VoxelDecoder | PaperGenerator:
    """The decoder of a preset (paper, Fig. 5 right)."""
    if config.preset == "paper":
        return PaperGenerator(
            PaperShapes("paper", config.features, config.latent, config.width, code_width=0)
        )
    return VoxelDecoder(config.latent, config.width)


def trunk_of(config: VoxelShapes) -> nn.Module:
    """Maps to `config.hidden` numbers: the encoder up to its heads (paper, Fig. 5 left)."""
    if config.preset != "paper":
        return CompactTrunk(config.hidden, config.width, pool=False)
    trunk = PaperTrunk(1, config.width)
    trunk.head = nn.Sequential()
    return trunk


def critic_of(config: VoxelShapes) -> nn.Module:
    """D_ω: maps to one score, in the structure of the encoder (paper, section IV-B2)."""
    if config.preset == "paper":
        return Score(PaperTrunk(1, config.width))
    return Score(CompactTrunk(1, config.width, pool=True))


def head_of(config: VoxelShapes) -> nn.Module:
    """One of the encoder's feed-forward heads: `hidden` numbers to a code."""
    if config.preset == "paper":
        return nn.Sequential(
            nn.Linear(config.hidden, 4 * config.hidden),
            nn.GELU(),
            nn.Linear(4 * config.hidden, config.latent),
        )
    return nn.Sequential(nn.GELU(), nn.Linear(config.hidden, config.latent))
