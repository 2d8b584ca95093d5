"""CSegSynth: encoder, code discriminator, prior network, generator and discriminator (paper, section IV-C4).

Two presets share one interface. `paper` has the reference's networks. `compact` is made for a laptop: its
generator carries a template brain through a map that the code chooses (affine, smooth velocity field, fine
displacement) and shifts the tissues' log-ratios at 8 mm, so that gyri stay as crisp as the template's and
no convolution runs at more than 8 mm. Where the idea comes from: Dalca et al. 2019 ("Learning conditional
deformable templates"), log-Euclidean integration by scaling and squaring (Arsigny et al. 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

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
    gone_if_zero,
    shuffle_down,
    shuffle_up,
    zeros_if_absent,
)
from csegsynth_core.models.family import WHOLE, ConditionalModel, Offset, Region, Shapes
from csegsynth_core.models.family import extent as _extent
from csegsynth_core.tissue import CHANNELS, TISSUES

if TYPE_CHECKING:
    from csegsynth_core.models.voxel import VoxelDecoder


@dataclass(frozen=True)
class Config(Shapes):
    """Everything that fixes the networks' shapes."""

    preset: Literal["paper", "compact"]
    width: int
    """`paper`: the reference's channel base b; `compact`: channels at 8 mm."""
    code_width: int
    dropout: float = 0.0
    components: int = 0
    """`compact`: codes that act on the fields by a straight way too (see `TemplateGenerator`)."""
    decoder: Literal["template", "voxel"] = "template"
    """`compact`: whether the generator deforms a template, or decodes voxels as the paper's does (`VoxelDecoder`), to
    see what the template is worth."""

    @classmethod
    def paper(cls, features: int) -> Config:
        """The reference's networks: latent 1024, channel base 32."""
        return cls("paper", features, latent=1024, width=32, code_width=4096)

    @classmethod
    def compact(cls, features: int, *, latent: int = 48, width: int = 32, components: int = 48) -> Config:
        """The shipped networks."""
        return cls(
            "compact",
            features,
            latent=latent,
            width=width,
            code_width=256,
            dropout=0.1,
            components=min(components, latent),
        )


# ------------------------------------------------------------------ compact

CURVE_ENDS = 12.0
"""Log-odds of the fractions at the ends of `TemplateGenerator.curves`."""
CURVE_STEPS = 128
CHAIN_STEPS = 64
"""Knots of `TemplateGenerator.chain` from one mixture of two halves to the next."""
CHAIN_SOFT = 1e-3
"""Distance from a pure tissue, in brightness, from which on knots are further apart."""
_CURVE_EPS = 1.0 / (1.0 + math.exp(CURVE_ENDS))
_PATTERN = 20210
"""Seed of the grain's pattern."""


@dataclass(frozen=True)
class Controls:
    """What a code chooses: the fields that turn the template into a brain."""

    velocity: Float[Tensor, "n 3 i4 j4 k4"]
    """Stationary velocity field at 8 mm, mm."""
    ratios: Float[Tensor, "n 3 i4 j4 k4"]
    """Additions to the log-ratios tissue : background at 8 mm."""
    affine: Float[Tensor, "n 12"]
    """Rows of a 3×4 matrix: tenths of a linear map minus identity, and a shift in units of 10 mm."""
    fine: Float[Tensor, "n 3 i2 j2 k2"] | None = None
    """Displacement at 4 mm in units of `FINE_MM`, before its bound; None: none."""
    grain: Float[Tensor, "n 4"] | None = None
    """Amount of the grain, 1 for ordinary noise, and how far its pattern is rolled along each axis, 0 to 1."""


class TemplateGenerator(nn.Module):
    """G_θ of the compact preset: a code to tissue maps, by deforming and re-weighting a template.

    With ψ(x) = A(x + u(x) + w(x)), where A is affine, u integrates a stationary velocity field given at
    8 mm and w is a bounded displacement given at 4 mm, the output is
    softmax(T(ψ(x)) + r(x)); T holds the template's log-ratios tissue : background and r is a log-ratio
    field given at 8 mm, too coarse to blur a gyrus. All of A, u, w and r depend on the code; T does not.

    A, u and r are a linear function of the code's first entries plus what a small convolutional decoder adds.
    The linear part can start at the principal components of people's own fields (see `train.principal`).

    What no code of a few dozen numbers can hold, above all how each person's cortex is folded, is left to noise
    inputs behind the code (as in StyleGAN, Karras et al. 2019): `noise_width` numbers that are N(0, 1) or, for the
    typical brain, 0. The first three shift the tissues' log-ratios everywhere and the brain's size (`balance`); the
    others are a random velocity at 8 mm that slides the cortex along itself (`folds`), and the last three of them
    also place the pattern of a voxel-wise noise in the log-ratios, such as segmentations leave (`grain`).
    `train.calibrate` finds how much of each, and the `chain`, or `edge` and `curves`, that give fractions the
    distribution that they have in real maps, where most voxels hold a trace of a second tissue and few are half and
    half.
    """

    region: Region = grid.BOX
    resolutions = (1, 2)

    FINE_MM = 3.0
    """Bound of the fine displacement, mm."""
    FOLD_WIDTH = 0.8
    """Standard deviation of the Gaussian that smooths random velocities, in units of 8 mm."""
    template: Tensor
    balance: Float[Tensor, "4 3"]
    """What three noise numbers add to the tissues' log-ratios and to the logarithm of the brain's length."""
    folds: Float[Tensor, "4 i4 j4 k4"]
    """Amplitude of random velocities, mm, and the direction in which they are taken out: across the cortex."""
    mirrored: Float[Tensor, ""]
    """How much smaller the folds' left–right odd part is than their even one: 0: not at all, each side has its own;
    1: both sides' are mirror images."""
    held: Float[Tensor, " i4"]
    """How much of random velocities from left to right is taken out, 1 for all: near the middle, where the falx keeps
    the fissure between the hemispheres straight."""
    steady: Float[Tensor, " 4"]
    """What a brain without noise has added to its tissues' log-ratios and to the logarithm of its length, so that its
    volumes are the mean draw's."""
    grain: Float[Tensor, " 3"]
    """Standard deviation of voxel-wise noise in each tissue's logarithm, which changes what tissues share of their
    sum."""
    curves: Float[Tensor, "3 knots"]
    """Logarithms of factors on each tissue's fractions, at fractions whose log-odds are evenly spaced from
    −`CURVE_ENDS` to `CURVE_ENDS`; the sum of tissues, and so the background, stays."""
    edge: Float[Tensor, " knots"]
    """Logarithm of a factor on the odds of background, likewise."""
    rim: Float[Tensor, "1 i2 j2 k2"]
    """How much of `edge` counts at every place of the template, at 4 mm: 1 at the surface and outside, 0 in depth,
    where factors on a trace of background would let it in."""
    chain: Float[Tensor, " knots"]
    """Where maps are mixed along the chain background, CSF, grey matter, white matter: what every brightness becomes
    (see `chained`), in the place of `edge` and `curves`. All 0: they are not."""
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
        # A straight way from the code to velocity and log-ratios: without it the regional balance of tissues,
        # and so the volume of CSF and the size of ventricles, is learned very slowly.
        self.latent = config.latent
        self.components = min(config.components, config.latent)
        self.linear = nn.Linear(self.components, 6 * self.coarse[0] * self.coarse[1] * self.coarse[2])
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("template", torch.zeros(len(TISSUES), *size))
        self.register_buffer("balance", torch.zeros(len(TISSUES) + 1, len(TISSUES)))
        self.register_buffer("folds", torch.zeros(4, *self.coarse))
        self.register_buffer("mirrored", torch.zeros(()))
        self.register_buffer("held", torch.zeros(self.coarse[0]))
        self.register_buffer("steady", torch.zeros(len(TISSUES) + 1))
        self.register_buffer("grain", torch.zeros(len(TISSUES)))
        self.register_buffer("curves", torch.zeros(len(TISSUES), CURVE_STEPS + 1))
        self.register_buffer("edge", torch.zeros(CURVE_STEPS + 1))
        self.register_buffer("rim", torch.zeros(1, *self.middle))
        self.register_buffer("chain", torch.zeros(len(CHANNELS) * CHAIN_STEPS + 1))
        self.noise_width = len(TISSUES) + 3 * self.coarse[0] * self.coarse[1] * self.coarse[2]
        self.register_load_state_dict_pre_hook(
            zeros_if_absent(
                "balance", "folds", "mirrored", "held", "steady", "grain", "curves", "edge", "rim", "chain"
            )
        )
        for name in ("least", "parted"):  # in runs from before the curves, and from before the chain
            self.register_load_state_dict_pre_hook(gone_if_zero(name))
        for weight in (self.heads.weight, self.affine.weight):
            nn.init.normal_(weight, std=1e-3)
        for bias in (self.heads.bias, self.affine.bias):
            assert bias is not None  # noqa: S101 - both layers have one
            nn.init.zeros_(bias)
        self.register_buffer("_extent_mm", torch.tensor(size) * grid.VOXEL_MM, persistent=False)

    def forward(
        self, z: Float[Tensor, "n width"], resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `region`; channels in the order of `CHANNELS`. See `render`."""
        return self.render(self.controls(z), resolution, offset)

    def controls(self, z: Float[Tensor, "n width"]) -> Controls:
        """The fields that a code chooses; `z` is the code, with or without the noise inputs behind it."""
        n = z.shape[0]
        z, noise = z[:, : self.latent], z[:, self.latent :]
        x = self.expand(z).view(n, self.deep, *self.start)
        x = F.gelu(self.norm_start(x.contiguous(memory_format=torch.channels_last_3d)))
        x = F.interpolate(x, size=[s // 2 for s in self.coarse], mode="trilinear", align_corners=False)
        x = F.gelu(self.norm_16mm(convolve(self.conv_16mm, x)))
        x = F.interpolate(x, size=list(self.coarse), mode="trilinear", align_corners=False)
        x = F.gelu(self.norm_8mm(convolve(self.conv_8mm, x)))
        heads = convolve(self.heads, x)
        both = heads[:, :6] + self.linear(z[:, : self.components]).view(n, 6, *self.coarse)
        own = Controls(both[:, :3], both[:, 3:], self.affine(z), shuffle_up(heads[:, 6:30]))
        return self.disturbed(own, noise) if noise.shape[1] else own

    def disturbed(self, controls: Controls, noise: Float[Tensor, "n noise"]) -> Controls:
        """Fields with what the noise inputs add to them."""
        # What noise does to mean volumes grows with its square, and so does what makes up for its absence.
        still = 1.0 - noise.square().mean(dim=1, keepdim=True)
        shift = noise[:, : len(TISSUES)] @ self.balance.T + still * self.steady
        larger = torch.zeros_like(controls.affine)
        larger[:, [0, 5, 10]] = (
            -10.0 * shift[:, -1:]
        )  # the map goes from the brain to the template, in tenths
        wander = noise[:, len(TISSUES) :].reshape(-1, 3, *self.coarse)
        amount, place = (1.0 - still).clamp_min(0.0).sqrt(), torch.special.ndtr(noise[:, -3:])
        return Controls(
            controls.velocity + self._folding(wander),
            controls.ratios + shift[:, :-1, None, None, None],
            controls.affine + larger,
            controls.fine,
            torch.cat([amount, place], dim=1),
        )

    def _folding(self, white: Float[Tensor, "n 3 i4 j4 k4"]) -> Float[Tensor, "n 3 i4 j4 k4"]:
        """Random velocity, mm: white noise made smooth, without its part across the cortex, scaled by place."""
        if self.mirrored:
            mirror, share = mirror_image(white), 1.0 - self.mirrored
            even, odd = (white + mirror) * 0.5**0.5, (white - mirror) * 0.5**0.5
            white = (even + share * odd) / (1.0 + share.square()).sqrt()
        i, j, k = (_smoothing(s, self.FOLD_WIDTH, str(white.device), white.dtype) for s in self.coarse)
        smooth = torch.matmul(j, torch.matmul(white, k.T))
        smooth = torch.einsum("ai,nxijk->nxajk", i, smooth)
        across = self.folds[1:]
        smooth = smooth - across * (across * smooth).sum(dim=1, keepdim=True)
        sideways = smooth[:, :1] * (1.0 - self.held)[:, None, None]
        return self.folds[0] * torch.cat([sideways, smooth[:, 1:]], dim=1)

    def render(
        self, controls: Controls, resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `region` that fields make of the template.

        Args:
            resolution: 1: every voxel of 2 mm. 2: every second one along each axis, with the very values that
                resolution 1 gives there, for an eighth of the work; sums times eight estimate volumes.
            offset: of the first voxel along each axis, 0 or 1; for resolution 2.
        """
        return self.finished(*self.unfinished(controls, resolution, offset))

    def unfinished(
        self, controls: Controls, resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> tuple[Float[Tensor, "n 4 i j k"], Float[Tensor, "n 1 i j k"] | None]:
        """Tissue fractions before `finished`, and how much of `edge` counts there (None: nowhere)."""
        where = self._locations(self.displacement(controls), resolution, offset)
        logits = _sample(self.template.unsqueeze(0), where)
        logits = logits + self._at_voxels(controls.ratios, 4, resolution, offset)
        if controls.grain is not None and controls.grain[:, 0].any() and self.grain.any():
            grainy = logits + self._grain(controls.grain, resolution, offset)
            # The background's fraction stays, or grain would pierce the surface.
            logits = grainy + logits.logsumexp(dim=1, keepdim=True) - grainy.logsumexp(dim=1, keepdim=True)
        return _with_background(logits), _sample(self.rim.unsqueeze(0), where) if self.rim.any() else None

    def finished(
        self, fractions: Float[Tensor, "n 4 *size"], rim: Float[Tensor, "n 1 *size"] | None
    ) -> Float[Tensor, "n 4 *size"]:
        """Fractions as `chain`, or `edge` and `curves`, leave them."""
        if self.chain.any():
            return chained(fractions, self.chain)
        if rim is not None:
            fractions = trim(fractions, self.edge, rim)
        return bend(fractions, self.curves) if self.curves.any() else fractions

    def _grain(
        self, grain: Float[Tensor, "n 4"], resolution: int, offset: Offset
    ) -> Float[Tensor, "n 3 i j k"]:
        """Voxel-wise noise in log-ratios: one pattern, rolled to a place of its own for each brain."""
        size = _extent(self.region)
        pattern = _white(size, str(grain.device), grain.dtype)
        out = []
        for amount, *places in grain.detach():
            back = [-int(float(p) * s) for s, p in zip(size, places, strict=True)]
            rolled = _every(pattern.roll(back, (1, 2, 3)), resolution, offset)
            out.append(amount * self.grain[:, None, None, None] * rolled)
        return torch.stack(out)

    @torch.no_grad()
    def amplify(self, factor: float) -> None:
        """Multiply the log-ratios that codes add."""
        for tensor in (self.linear.weight[len(self.linear.bias) // 2 :], self.heads.weight[3:6]):
            tensor.mul_(factor)

    @torch.no_grad()
    def sharpen(self, amounts: Sequence[float]) -> None:
        """Add to the template's log-ratios, tissue by tissue, so much of their difference from their surroundings."""
        width = torch.arange(-3.0, 4.0, device=self.template.device)
        kernel = torch.exp(-0.5 * width.square())
        smooth = self.template[:, None]
        for axis in range(3):  # a Gaussian of one voxel, ends held
            across = [1, 1, 1]
            across[axis] = len(kernel)
            pad = [v for a in reversed(across) for v in (a // 2, a // 2)]
            weight = (kernel / kernel.sum()).view(1, 1, *across)
            smooth = F.conv3d(F.pad(smooth, pad, mode="replicate"), weight)
        amount = torch.as_tensor(amounts, dtype=torch.float32, device=kernel.device)
        self.template += amount[:, None, None, None] * (self.template - smooth[:, 0])

    @torch.no_grad()
    def shift(self, amounts: Float[Tensor, " 4"]) -> None:
        """Add to the log-ratios of each tissue everywhere, and to the logarithm of every brain's length."""
        self.linear.bias.view(2, len(TISSUES), -1)[1] += amounts[:-1, None]
        self.affine.bias[[0, 5, 10]] -= 10.0 * amounts[-1]

    def displacement(self, controls: Controls) -> Float[Tensor, "n 3 i2 j2 k2"]:
        """ψ(x) − x in mm at 4 mm: where in the template every place looks."""
        smooth = _integrate(controls.velocity, self._extent_mm)
        moved = self._at_voxels(smooth, 2, 1, (0, 0, 0))
        if controls.fine is not None:
            moved = moved + self.FINE_MM * torch.tanh(controls.fine)
        return moved + self._turned(controls.affine, _identity_mm(self.middle, self._extent_mm) + moved)

    def displacement_of_affine(self, affine: Float[Tensor, "n 12"]) -> Float[Tensor, "n 3 i4 j4 k4"]:
        """What an affine map alone displaces, mm, at 8 mm."""
        return self._turned(affine, _identity_mm(self.coarse, self._extent_mm))

    @staticmethod
    def _turned(affine: Tensor, target: Tensor) -> Tensor:
        change = 0.1 * affine.view(-1, 3, 4)
        target = target.expand(len(change), -1, -1, -1, -1)
        return (
            torch.einsum("nab,nbijk->naijk", change[:, :, :3], target)
            + 100.0 * change[:, :, 3, None, None, None]
        )

    def looked_at(self, controls: Controls) -> Float[Tensor, "n 3 i j k"]:
        """Where in the template every voxel looks, in voxels."""
        where = self._locations(self.displacement(controls), 1, (0, 0, 0)).flip(-1).movedim(-1, 1)
        size = torch.tensor(_extent(self.region)).view(1, 3, 1, 1, 1)
        return ((where + 1.0) * size - 1.0) / 2.0

    def _locations(self, displacement: Tensor, resolution: int, offset: Offset) -> Float[Tensor, "n i j k 3"]:
        """Places in the template in `grid_sample`'s units and order."""
        half = self._extent_mm.view(1, 3, 1, 1, 1) / 2
        unit = self._at_voxels((displacement / half).flip(1), 2, resolution, offset)
        here = (_identity_mm(_extent(self.region), self._extent_mm) / half).flip(1)
        return (unit + _every(here, resolution, offset)).permute(0, 2, 3, 4, 1)

    def _at_voxels(self, field: Tensor, coarseness: int, resolution: int, offset: Offset) -> Tensor:
        """Trilinear values at voxels of a field given on voxels `coarseness` times larger.

        The same as `torch.nn.functional.interpolate`, axis by axis: as three small matrix products it is quicker.
        """
        i, j, k = (
            _interpolation(s, coarseness, resolution, first, str(field.device), field.dtype)
            for s, first in zip(field.shape[2:], offset, strict=True)
        )
        out = torch.matmul(j, torch.matmul(field, k.T))
        n, c, a, b, d = out.shape
        return torch.matmul(i, out.reshape(n, c, a, b * d)).view(n, c, len(i), b, d)


def mirror_image(field: Float[Tensor, "n 3 i j k"]) -> Float[Tensor, "n 3 i j k"]:
    """Vectors that are the others' mirror images, left for right."""
    across, *others = field.flip(2).unbind(dim=1)
    return torch.stack([-across, *others], dim=1)


@lru_cache(maxsize=2)
def _white(size: tuple[int, ...], device: str, dtype: torch.dtype) -> Float[Tensor, "3 i j k"]:
    """One pattern of white noise, the same everywhere."""
    with torch.inference_mode(False):
        draw = torch.Generator().manual_seed(_PATTERN)
        return torch.randn(len(TISSUES), *size, generator=draw).to(device=device, dtype=dtype)


def _every(x: Tensor, resolution: int, offset: Offset) -> Tensor:
    """Every `resolution`-th voxel along the last three axes."""
    if resolution == 1:
        return x
    i, j, k = offset
    return x[..., i::resolution, j::resolution, k::resolution]


@lru_cache(maxsize=64)
def _interpolation(
    size: int, coarseness: int, resolution: int, first: int, device: str, dtype: torch.dtype
) -> Float[Tensor, "out size"]:
    """Matrix of linear interpolation from `size` large voxels to the small ones inside them, ends held."""
    with torch.inference_mode(False):  # kept for training too
        at = torch.arange(first if resolution > 1 else 0, size * coarseness, resolution, dtype=torch.float64)
        at = ((at + 0.5) / coarseness - 0.5).clamp(0, size - 1)
        low = at.floor().long().clamp_max(max(size - 2, 0))
        out = torch.zeros(len(at), size, dtype=torch.float64)
        rows = torch.arange(len(at))
        out[rows, low] = 1.0 - (at - low)
        out[rows, (low + 1).clamp_max(size - 1)] += at - low
        return out.to(device=device, dtype=dtype)


@lru_cache(maxsize=16)
def _smoothing(size: int, width: float, device: str, dtype: torch.dtype) -> Float[Tensor, "size size"]:
    """Matrix of a Gaussian filter over `size` places that keeps white noise at variance 1."""
    with torch.inference_mode(False):  # kept for training too
        places = torch.arange(size, dtype=torch.float64)
        out = torch.exp(-0.5 * ((places[:, None] - places) / width).square())
        return (out / out.square().sum(dim=1, keepdim=True).sqrt()).to(device=device, dtype=dtype)


def _with_background(logits: Float[Tensor, "n 3 i j k"]) -> Float[Tensor, "n 4 i j k"]:
    """Softmax over tissues and a background of log-ratio 0; written out, since torch's is slow across planes."""
    if torch.is_grad_enabled():
        return torch.softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)
    top = logits.amax(dim=1, keepdim=True).clamp_min_(0.0)
    out = logits.new_empty(logits.shape[0], len(CHANNELS), *logits.shape[2:])
    torch.exp(logits - top, out=out[:, :-1])
    torch.exp(-top, out=out[:, -1:])
    return out.div_(out.sum(dim=1, keepdim=True))


def knots_of(fractions: Tensor, steps: int) -> Tensor:
    """Where on a curve of so many steps fractions lie: 0 at its first knot, between two of them in proportion."""
    return torch.logit(fractions, _CURVE_EPS).add(CURVE_ENDS).mul(steps / (2 * CURVE_ENDS))


def bend(
    fractions: Float[Tensor, "n 4 *size"], curves: Float[Tensor, "3 knots"]
) -> Float[Tensor, "n 4 *size"]:
    """Tissues' fractions times the factors that curves have at them, made to sum to what they did.

    Args:
        curves: see `TemplateGenerator.curves`; between its knots factors are interpolated.
    """
    factors = curves.exp().to(fractions.dtype)
    tissues = fractions[:, :-1].unbind(dim=1)
    bent = torch.stack([x * _along(own, x) for own, x in zip(factors, tissues, strict=True)], dim=1)
    background = fractions[:, -1:]
    scale = (1.0 - background) / bent.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.cat([bent * scale, background], dim=1)


def brightness_of(fractions: Float[Tensor, "n 4 *size"]) -> Tensor:
    """Where voxels lie on the chain of tissues by their brightness on T1: 0 background, 1 CSF, 2 grey and 3 white
    matter; what is between is a mixture. Shape (n, *size)."""
    wm, gm, csf, _ = fractions.unbind(dim=1)
    return csf + 2.0 * gm + 3.0 * wm


def chain_knots(brightness: Tensor) -> Tensor:
    """Where on a chain brightnesses lie: dense about pure tissues, where a trace of another one counts.
    k·`CHAIN_STEPS` is the mixture of halves below the tissue of brightness k."""
    nearest = brightness.detach().round()
    away = torch.asinh((brightness - nearest) / CHAIN_SOFT) / math.asinh(0.5 / CHAIN_SOFT)
    return (nearest + 0.5 + 0.5 * away) * CHAIN_STEPS


def chain_brightness(nearest: int) -> Float[Tensor, " knots"]:
    """What brightness the knots about a tissue stand for, from one mixture of halves to the next; there is none
    below background and none above white matter."""
    away = CHAIN_SOFT * torch.sinh(torch.linspace(-1.0, 1.0, CHAIN_STEPS + 1) * math.asinh(0.5 / CHAIN_SOFT))
    return (nearest + away).clamp(0.0, len(CHANNELS) - 1.0)


def chained(
    fractions: Float[Tensor, "n 4 *size"], chain: Float[Tensor, " knots"]
) -> Float[Tensor, "n 4 *size"]:
    """Fractions of two neighbours of the chain at most, as bright as what the chain makes of their brightness.

    Segmentations that tell tissues by brightness alone mix neighbours (Santago and Gage 1993; FSL FAST): a voxel of
    white matter and CSF is as bright as grey matter, and called that.

    Args:
        chain: brightness, never falling, at the knots of `chain_knots`; between them it is interpolated.
    """
    brightness = _between(chain.to(fractions.dtype), chain_knots(brightness_of(fractions)))
    return mixtures(brightness)


def mixtures(brightness: Tensor) -> Float[Tensor, "n 4 *size"]:
    """Fractions of the two neighbours of the chain that are as bright, in the order of `CHANNELS`."""
    away = [(brightness - k).abs() for k in (3.0, 2.0, 1.0, 0.0)]
    return torch.stack([(1.0 - a).clamp_min(0.0) for a in away], dim=1)


def trim(
    fractions: Float[Tensor, "n 4 *size"], edge: Float[Tensor, " knots"], rim: Float[Tensor, "n 1 *size"]
) -> Float[Tensor, "n 4 *size"]:
    """Fractions with the odds of background times a factor; what tissues share of their sum stays.

    Args:
        edge: see `TemplateGenerator.edge`; between its knots logarithms are interpolated.
        rim: how much of it counts, a factor on the logarithm.
    """
    background = fractions[:, -1:]
    factor = torch.exp(rim * _along(edge.to(fractions.dtype), background))
    both = torch.cat([fractions[:, :-1], background * factor], dim=1)
    return both / both.sum(dim=1, keepdim=True)


def _along(values: Float[Tensor, " knots"], fractions: Tensor) -> Tensor:
    """What a curve has at every fraction, between its knots by interpolation."""
    return _between(values, knots_of(fractions, len(values) - 1))


def _between(values: Float[Tensor, " knots"], here: Tensor) -> Tensor:
    """Values at places between knots, linearly."""
    low = here.detach().to(torch.int32).clamp_(0, len(values) - 2)
    flat = low.flatten()
    slope = values.diff().index_select(0, flat).view_as(here)
    return torch.addcmul(values.index_select(0, flat).view_as(here), slope, here - low)


@lru_cache(maxsize=16)
def _identity_at(
    size: tuple[int, ...], extent_mm: tuple[float, ...], device: str
) -> Float[Tensor, "1 3 i j k"]:
    with torch.inference_mode(False):  # kept for training too
        axes = [
            ((torch.arange(s, device=device, dtype=torch.float32) + 0.5) / s - 0.5) * extent
            for s, extent in zip(size, extent_mm, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def _identity_mm(size: tuple[int, ...] | list[int], extent_mm: Tensor) -> Float[Tensor, "1 3 i j k"]:
    """Position of every voxel relative to the region's centre, mm; made once."""
    return _identity_at(tuple(size), tuple(extent_mm.tolist()), str(extent_mm.device))


def _sample(
    image: Float[Tensor, "1 c i j k"], where: Float[Tensor, "n a b d 3"]
) -> Float[Tensor, "n c a b d"]:
    """Trilinear look-up of one image at n sets of places.

    torch runs 3-D look-ups on one thread per item: a single brain is cut into slabs so that all cores help.
    """
    n, a = where.shape[:2]
    parts = 1
    threads = torch.get_num_threads()
    if n == 1 and threads > 1 and where.device.type == "cpu" and not torch.is_grad_enabled():
        parts = next((p for p in (8, 4, 2) if a % p == 0 and p <= 2 * threads), 1)
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

    Takes maps at 2 mm, or every second voxel of them as if each stood for a block of 2×2×2, so that training may
    start with an eighth of the work.

    Args:
        pool: average over places before the head (discriminator); otherwise the head sees places (encoder), and
            a linear function of the tissues at 8 mm is added, the counterpart of the generator's linear part.
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
            blocks = [size // 4 for size in self.region_size]
            self.straight = nn.Linear(len(TISSUES) * blocks[0] * blocks[1] * blocks[2], out)
            nn.init.zeros_(self.straight.weight)
            nn.init.zeros_(self.straight.bias)

    def at_8mm(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n v"]:
        """Tissue fractions averaged over 8 mm, flat: what the linear function takes."""
        return F.avg_pool3d(x[:, : len(TISSUES)], 4 * x.shape[-1] // self.region_size[-1]).flatten(1)

    @torch.no_grad()
    def start_at(self, weight: Float[Tensor, "out v"], bias: Float[Tensor, " out"]) -> None:
        """Make an encoder this linear function of `at_8mm`, to be trained from there."""
        self.straight.weight.copy_(weight)
        self.straight.bias.copy_(bias)
        nn.init.zeros_(self.head.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n out"]:
        straight = None if self.pool else self.straight(self.at_8mm(x))
        if x.shape[-1] == self.region_size[-1]:
            x = self.stem(shuffle_down(x).contiguous(memory_format=torch.channels_last_3d))
        else:  # the same as repeating every voxel eight times, without the work
            weight = self.stem.weight.unflatten(1, (len(CHANNELS), 8)).sum(dim=2)
            x = F.conv3d(x, weight, self.stem.bias, stride=2, padding=1)
        x = F.gelu(self.norms[0](x))
        for down, norm in zip(self.downs, self.norms[1:], strict=True):
            x = F.gelu(norm(down(x)))
        x = self.block(x)
        if straight is None:
            return self.head(x.mean(dim=(2, 3, 4)))
        return straight + self.head(self.squeeze(x).flatten(1))


# -------------------------------------------------------------------- paper


class PaperGenerator(nn.Module):
    """G_θ as the reference has it: widths 32b, 8b, 2b, 4; blocks 1, 1, 3, 1 (paper, Fig. 5)."""

    region: Region = WHOLE
    resolutions = (1,)
    noise_width = 0

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

    def forward(
        self, z: Float[Tensor, "n latent"], resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 80 128 128"]:
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


def generator_of(config: Config) -> TemplateGenerator | VoxelDecoder | PaperGenerator:
    """G_θ of a preset.

    Raises:
        ValueError: the paper's has one decoder.
    """
    if config.decoder == "voxel":
        from csegsynth_core.models.voxel import VoxelDecoder  # which takes this module's trunk

        if config.preset == "paper":
            raise ValueError("the paper's generator decodes voxels as it is")
        return VoxelDecoder(config.latent, config.width)
    return TemplateGenerator(config) if config.preset == "compact" else PaperGenerator(config)


def encoder_of(config: Config) -> nn.Module:
    """E_φ of a preset."""
    if config.preset == "compact":
        return CompactTrunk(config.latent, config.width, pool=False)
    return PaperTrunk(config.latent, config.width)


def discriminator_of(config: Config) -> nn.Module:
    """D_ω of a preset."""
    if config.preset == "compact":
        return Score(CompactTrunk(1, config.width, pool=True))
    return Score(PaperTrunk(1, config.width))


class CSegSynth(ConditionalModel):
    """The five networks of CSegSynth (paper, Fig. 6b). Use `training_networks=False` to load for generation.

    Args:
        config: shapes; see `Config.paper` and `Config.compact`.
        training_networks: also build encoder, discriminator and code discriminator.
    """

    family = "csegsynth"
    shapes = Config
    generating = ("generator", "prior")

    def __init__(self, config: Config, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        self.generator = generator_of(config)
        compact = config.preset == "compact"
        self.prior = PriorNetwork(config.features, config.latent, config.dropout, straight=compact)
        if training_networks:
            self.encoder = encoder_of(config)
            self.discriminator = discriminator_of(config)
            self.code_discriminator: nn.Module = CodeDiscriminator(config.latent, config.code_width)

    @property
    def noise_width(self) -> int:
        """Of the noise inputs behind the code; see `TemplateGenerator`."""
        return self.generator.noise_width

    def condition(
        self, z: Float[Tensor, "n width"], y: Float[Tensor, "n features"]
    ) -> Float[Tensor, "n width"]:
        """ẑ_cnd = ẑ_rnd + P_ψ(y); in `compact` ẑ_rnd is narrowed first, see `PriorNetwork`.

        Noise inputs behind the code stay as they are: features have no say in them.
        """
        code, noise = z[:, : self.config.latent], z[:, self.config.latent :]
        code = self.prior.condition(code, y)
        return torch.cat([code, noise.expand(len(code), -1)], dim=1) if noise.shape[1] else code

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n width"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂ = G_θ(P_ψ(ẑ | y)) inside `region` (paper, end of section IV-C4).

        With `resolution` 2 (`compact`) only every second voxel along each axis is made.
        """
        return self.generator(self.condition(z, y), resolution, offset)
