"""CSegSynth: encoder, code discriminator, prior network, generator and discriminator (paper, section IV-C4).

Two presets share one interface. `paper` has the reference's networks. `compact` is made for a laptop: its
generator carries a template brain through a map that the code chooses (affine, smooth velocity field, fine
displacement) and shifts the tissues' log-ratios at 8 mm, so that gyri stay as crisp as the template's and
no convolution runs at more than 8 mm. Where the idea comes from: Dalca et al. 2019 ("Learning conditional
deformable templates"), log-Euclidean integration by scaling and squaring (Arsigny et al. 2006).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.models.blocks import (
    ChannelNorm,
    CodeDiscriminator,
    ConvNeXt3d,
    PriorNetwork,
    convolve,
    shuffle_down,
    shuffle_up,
)
from csegsynth_core.tissue import CHANNELS, TISSUES

Region = tuple[slice, slice, slice]
WHOLE: Region = (slice(0, grid.SHAPE[0]), slice(0, grid.SHAPE[1]), slice(0, grid.SHAPE[2]))


@dataclass(frozen=True)
class Config:
    """Everything that fixes the networks' shapes; stored in a pack's `config.json`."""

    preset: Literal["paper", "compact"]
    features: int
    """Width of the encoded feature vector."""
    latent: int
    width: int
    """`paper`: the reference's channel base b; `compact`: channels at 8 mm."""
    code_width: int
    dropout: float = 0.0

    @classmethod
    def paper(cls, features: int) -> Config:
        """The reference's networks: latent 1024, channel base 32."""
        return cls("paper", features, latent=1024, width=32, code_width=4096)

    @classmethod
    def compact(cls, features: int, *, latent: int = 128, width: int = 32) -> Config:
        """The shipped networks."""
        return cls("compact", features, latent=latent, width=width, code_width=256, dropout=0.1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def _extent(region: Region) -> tuple[int, int, int]:
    return tuple(s.stop - s.start for s in region)  # type: ignore[return-value]


# ------------------------------------------------------------------ compact


class TemplateGenerator(nn.Module):
    """G_θ of the compact preset: a code to tissue maps, by deforming and re-weighting a template.

    With ψ(x) = A(x + u(x) + w(x)), where A is affine, u integrates a stationary velocity field given at
    8 mm and w is a bounded displacement given at 4 mm, the output is
    softmax(T(ψ(x)) + r(x)); T holds the template's log-ratios tissue : background and r is a log-ratio
    field given at 8 mm, too coarse to blur a gyrus. All of A, u, w and r depend on the code; T does not.
    """

    region: Region = grid.BOX
    resolutions = (1, 2)

    FINE_MM = 3.0
    """Bound of the fine displacement, mm."""
    template: Tensor
    _extent_mm: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = _extent(self.region)
        self.coarse = tuple(s // 4 for s in size)  # 8 mm
        self.middle = tuple(s // 2 for s in size)  # 4 mm
        self.start = tuple(-(-s // 16) for s in size)  # 32 mm, rounded up
        self.deep = 2 * config.width
        width = config.width
        self.expand = nn.Linear(config.latent, self.deep * self.start[0] * self.start[1] * self.start[2])
        self.norm_start = ChannelNorm(self.deep)
        self.conv_16mm = nn.Conv3d(self.deep, width, 3, padding=1)
        self.norm_16mm = ChannelNorm(width)
        self.conv_8mm = nn.Conv3d(width, width, 3, padding=1)
        self.norm_8mm = ChannelNorm(width)
        # Velocity, log-ratios and (before the shuffle to 4 mm) fine displacement, from one convolution: widths
        # of a few channels are slow on a CPU. Two channels are left over to make 32.
        self.heads = nn.Conv3d(width, 32, 3, padding=1)
        self.affine = nn.Linear(config.latent, 12)
        # A straight way from the code to velocity and log-ratios at 16 mm: without it the regional balance of
        # tissues, and so the volume of CSF, is learned very slowly.
        self.linear = nn.Linear(
            config.latent, 6 * (self.coarse[0] // 2) * (self.coarse[1] // 2) * (self.coarse[2] // 2)
        )
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        # The part of the log-ratio field that everybody shares, so that training starts at the average brain.
        self.shared = nn.Parameter(torch.zeros(len(TISSUES), *self.coarse))
        self.register_buffer("template", torch.zeros(len(TISSUES), *size))
        for weight in (self.heads.weight, self.affine.weight):
            nn.init.normal_(weight, std=1e-2)
        for bias in (self.heads.bias, self.affine.bias):
            assert bias is not None  # noqa: S101 - both layers have one
            nn.init.zeros_(bias)
        self.register_buffer("_extent_mm", torch.tensor(size) * grid.VOXEL_MM, persistent=False)

    def forward(self, z: Float[Tensor, "n latent"], resolution: int = 1) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `region`, at 2 mm × `resolution`; channels in the order of `CHANNELS`."""
        displacement, ratios = self.fields(z)
        size = [s // resolution for s in _extent(self.region)]
        template = self.template if resolution == 1 else self._coarser(resolution)
        where = self._locations(displacement, size)
        warped = _sample(template.unsqueeze(0), where)
        if size != list(self.coarse):
            ratios = F.interpolate(ratios, size=size, mode="trilinear", align_corners=False)
        logits = warped + ratios
        background = torch.zeros_like(logits[:, :1])
        return torch.softmax(torch.cat([logits, background], dim=1), dim=1)

    def fields(
        self, z: Float[Tensor, "n latent"]
    ) -> tuple[Float[Tensor, "n 3 i2 j2 k2"], Float[Tensor, "n 3 i4 j4 k4"]]:
        """Displacement in mm at 4 mm and log-ratio field at 8 mm that the code chooses."""
        n = z.shape[0]
        x = self.expand(z).view(n, self.deep, *self.start)
        x = F.gelu(self.norm_start(x.contiguous(memory_format=torch.channels_last_3d)))
        x = F.interpolate(x, size=[s // 2 for s in self.coarse], mode="trilinear", align_corners=False)
        x = F.gelu(self.norm_16mm(convolve(self.conv_16mm, x)))
        x = F.interpolate(x, size=list(self.coarse), mode="trilinear", align_corners=False)
        x = F.gelu(self.norm_8mm(convolve(self.conv_8mm, x)))
        heads = convolve(self.heads, x)
        straight = self.linear(z).view(n, 6, *(s // 2 for s in self.coarse))
        both = heads[:, :6] + F.interpolate(
            straight, size=list(self.coarse), mode="trilinear", align_corners=False
        )
        smooth = _integrate(4.0 * both[:, :3], self._extent_mm)
        fine = shuffle_up(heads[:, 6:30])
        moved = F.interpolate(smooth, size=list(self.middle), mode="trilinear", align_corners=False)
        moved = moved + self.FINE_MM * torch.tanh(fine)
        position = _identity_mm(self.middle, self._extent_mm)
        change = 0.1 * self.affine(z).view(n, 3, 4)
        shift = torch.tensor([0.0, 0.0, 0.0, 100.0], device=z.device, dtype=z.dtype)
        linear = change[:, :, :3]
        offset = (change * shift)[:, :, 3]
        target = position + moved
        displacement = (
            moved + torch.einsum("nab,nbijk->naijk", linear, target) + offset[:, :, None, None, None]
        )
        return displacement, both[:, 3:] + self.shared

    def _coarser(self, resolution: int) -> Tensor:
        stacked = torch.cat([self.template, torch.zeros_like(self.template[:1])])
        pooled = F.avg_pool3d(torch.softmax(stacked, dim=0).unsqueeze(0), resolution)[0].clamp_min(1e-4)
        return torch.log(pooled[:-1]) - torch.log(pooled[-1:])

    def _locations(self, displacement: Tensor, size: list[int]) -> Float[Tensor, "n i j k 3"]:
        if size != list(displacement.shape[2:]):
            displacement = F.interpolate(displacement, size=size, mode="trilinear", align_corners=False)
        where = _identity_mm(size, self._extent_mm) + displacement
        unit = where / (self._extent_mm.view(1, 3, 1, 1, 1) / 2)
        return unit.flip(1).permute(0, 2, 3, 4, 1)


def _identity_mm(size: tuple[int, ...] | list[int], extent_mm: Tensor) -> Float[Tensor, "1 3 i j k"]:
    """Position of every voxel relative to the region's centre, mm."""
    axes = [
        ((torch.arange(s, device=extent_mm.device, dtype=torch.float32) + 0.5) / s - 0.5) * extent_mm[d]
        for d, s in enumerate(size)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def _sample(
    image: Float[Tensor, "1 c i j k"], where: Float[Tensor, "n a b d 3"]
) -> Float[Tensor, "n c a b d"]:
    """Trilinear look-up of one image at n sets of places.

    torch runs 3-D look-ups on one thread per item: a single brain is cut into slabs so that all cores help.
    """
    n, a = where.shape[:2]
    parts = 1
    if n == 1 and where.device.type == "cpu" and not torch.is_grad_enabled():
        parts = next((p for p in (8, 4, 2) if a % p == 0 and p <= 2 * torch.get_num_threads()), 1)
    slabs = where.reshape(n * parts, a // parts, *where.shape[2:])
    image = image.to(where.dtype).expand(n * parts, -1, -1, -1, -1)
    out = F.grid_sample(image, slabs, mode="bilinear", padding_mode="border", align_corners=False)
    if parts == 1:
        return out
    return out.transpose(0, 1).reshape(1, out.shape[1], a, *out.shape[3:])


def _integrate(velocity: Float[Tensor, "n 3 i j k"], extent_mm: Tensor, steps: int = 4) -> Tensor:
    """Displacement in mm of a stationary velocity field (mm), by scaling and squaring (Arsigny et al. 2006)."""
    size = list(velocity.shape[2:])
    identity = _identity_mm(size, extent_mm)
    half = extent_mm.view(1, 3, 1, 1, 1) / 2
    moved = velocity / 2**steps
    for _ in range(steps):
        where = ((identity + moved) / half).flip(1).permute(0, 2, 3, 4, 1)
        moved = moved + F.grid_sample(moved, where, padding_mode="border", align_corners=False)
    return moved


class CompactTrunk(nn.Module):
    """Encoder and discriminator of the compact preset: maps to `out` numbers.

    Takes maps at 2 mm, or at 4 mm as if every voxel were a 2×2×2 block, so that training may start coarse.
    """

    def __init__(self, out: int, width: int, *, pool: bool) -> None:
        super().__init__()
        channels = 8 * len(CHANNELS)
        self.region_size = _extent(TemplateGenerator.region)
        widths = (width, 2 * width, 4 * width)
        before = channels
        downs: list[nn.Conv3d] = []
        for after in widths:
            downs.append(nn.Conv3d(before, after, 3, stride=2, padding=1))
            before = after
        self.stem = downs[0]
        self.downs = nn.ModuleList(downs[1:])
        self.norms = nn.ModuleList([ChannelNorm(width) for width in widths])
        self.block = ConvNeXt3d(before, (3, 3, 3), expansion=2, scale=0.1)
        self.pool = pool
        if pool:
            self.head: nn.Module = nn.Sequential(
                nn.LayerNorm(before), nn.Linear(before, 2 * before), nn.GELU(), nn.Linear(2 * before, out)
            )
        else:
            self.squeeze = nn.Conv3d(before, 32, 1)
            places = 1
            for size in self.region_size:
                places *= -(-size // 16)
            self.head = nn.Linear(32 * places, out)

    def forward(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n out"]:
        if x.shape[-1] == self.region_size[-1]:
            x = self.stem(shuffle_down(x).contiguous(memory_format=torch.channels_last_3d))
        else:  # the same as repeating every voxel eight times, without the work
            weight = self.stem.weight.unflatten(1, (len(CHANNELS), 8)).sum(dim=2)
            x = F.conv3d(x, weight, self.stem.bias, stride=2, padding=1)
        x = F.gelu(self.norms[0](x))
        for down, norm in zip(self.downs, self.norms[1:], strict=True):
            x = F.gelu(norm(down(x)))
        x = self.block(x)
        return self.head(x.mean(dim=(2, 3, 4)) if self.pool else self.squeeze(x).flatten(1))


# -------------------------------------------------------------------- paper


class PaperGenerator(nn.Module):
    """G_θ as the reference has it: widths 32b, 8b, 2b, 4; blocks 1, 1, 3, 1 (paper, Fig. 5)."""

    region: Region = WHOLE
    resolutions = (1,)

    def __init__(self, config: Config) -> None:
        super().__init__()
        b = config.width
        widths, blocks = (32 * b, 8 * b, 2 * b, len(CHANNELS)), (1, 1, 3, 1)
        self.seed = nn.ConvTranspose3d(config.latent, widths[0], (10, 16, 16), groups=widths[0])
        stages: list[nn.Module] = [ConvNeXt3d(widths[0]) for _ in range(blocks[0])]
        for before, after, count in zip(widths, widths[1:], blocks[1:], strict=False):
            stages += [
                ChannelNorm(before),
                nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False),
                nn.Conv3d(before, after, (3, 5, 5), padding=(1, 2, 2), groups=after),
            ]
            stages += [ConvNeXt3d(after) for _ in range(count)]
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Float[Tensor, "n latent"], resolution: int = 1) -> Float[Tensor, "n 4 80 128 128"]:
        """Tissue fractions on the whole grid. Raises ValueError for a resolution other than 1."""
        if resolution != 1:
            raise ValueError(f"the paper's generator works at resolution 1 only, got {resolution}")
        return torch.softmax(self.stages(self.seed(z[:, :, None, None, None])), dim=1)


class PaperTrunk(nn.Module):
    """Encoder and discriminator as the reference has them: widths b/2, 2b, 8b, 32b; blocks 1, 1, 3, 1."""

    def __init__(self, out: int, b: int) -> None:
        super().__init__()
        widths, blocks = (b // 2, 2 * b, 8 * b, 32 * b), (1, 1, 3, 1)
        kernel = {"kernel_size": (3, 5, 5), "stride": 2, "padding": (1, 2, 2)}
        stages: list[nn.Module] = [nn.Conv3d(len(CHANNELS), widths[0], groups=len(CHANNELS), **kernel)]  # type: ignore[arg-type]
        stages += [ConvNeXt3d(widths[0]) for _ in range(blocks[0])]
        for before, after, count in zip(widths, widths[1:], blocks[1:], strict=False):
            stages += [ChannelNorm(before), nn.Conv3d(before, after, groups=before, **kernel)]  # type: ignore[arg-type]
            stages += [ConvNeXt3d(after) for _ in range(count)]
        self.stages = nn.Sequential(*stages)
        last = widths[-1]
        self.norm = nn.LayerNorm(last)
        self.head = nn.Sequential(nn.Linear(last, 4 * last), nn.GELU(), nn.Linear(4 * last, out))

    def forward(self, x: Float[Tensor, "n 4 80 128 128"]) -> Float[Tensor, "n out"]:
        return self.head(self.norm(self.stages(x).mean(dim=(2, 3, 4))))


# --------------------------------------------------------------- the system


class Score(nn.Module):
    """D_ω: one number per brain, higher for what looks real."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, " n"]:
        return self.trunk(x).squeeze(-1)


class CSegSynth(nn.Module):
    """The five networks of CSegSynth (paper, Fig. 6b). Use `training_networks=False` to load for generation.

    Args:
        config: shapes; see `Config.paper` and `Config.compact`.
        training_networks: also build encoder, discriminator and code discriminator.
    """

    def __init__(self, config: Config, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        compact = config.preset == "compact"
        self.generator: TemplateGenerator | PaperGenerator = (
            TemplateGenerator(config) if compact else PaperGenerator(config)
        )
        self.prior = PriorNetwork(config.features, config.latent, config.dropout)
        if training_networks:
            if compact:
                self.encoder: nn.Module = CompactTrunk(config.latent, config.width, pool=False)
                self.discriminator: nn.Module = Score(CompactTrunk(1, config.width, pool=True))
            else:
                self.encoder = PaperTrunk(config.latent, config.width)
                self.discriminator = Score(PaperTrunk(1, config.width))
            self.code_discriminator: nn.Module = CodeDiscriminator(config.latent, config.code_width)

    @property
    def region(self) -> Region:
        """The part of the grid that the networks see."""
        return self.generator.region

    def draw(self, n: int, seed: int) -> Float[Tensor, "n latent"]:
        """n draws ẑ_rnd ~ N(0, I), always the same for the same seed."""
        return torch.randn(n, self.config.latent, generator=torch.Generator().manual_seed(seed))

    def condition(
        self, z: Float[Tensor, "n latent"], y: Float[Tensor, "n features"]
    ) -> Float[Tensor, "n latent"]:
        """ẑ_cnd = ẑ_rnd + P_ψ(y)."""
        return z + self.prior(y)

    def forward(
        self, y: Float[Tensor, "n features"], z: Float[Tensor, "n latent"], resolution: int = 1
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂ = G_θ(P_ψ(ẑ | y)) inside `region` (paper, end of section IV-C4)."""
        return self.generator(self.condition(z, y), resolution)

    def on_grid(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n 4 80 128 128"]:
        """Pad maps of `region` with background to the whole grid."""
        if self.region == WHOLE:
            return x
        pad = [v for s, size in zip(self.region, grid.SHAPE, strict=True) for v in (s.start, size - s.stop)]
        order = [pad[4], pad[5], pad[2], pad[3], pad[0], pad[1]]
        tissues = F.pad(x[:, :-1], order)
        background = F.pad(x[:, -1:], order, value=1.0)
        return torch.cat([tissues, background], dim=1)

    def generating_parameters(self) -> int:
        """Parameters and template values that one brain needs (generator and prior network)."""
        tensors = [*self.generator.parameters(), *self.prior.parameters(), *self.generator.buffers()]
        return sum(t.numel() for t in tensors)
