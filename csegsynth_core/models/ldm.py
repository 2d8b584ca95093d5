"""Latent diffusion (Eq. 5) and C-LDM (Eq. 12) with MONAI's networks: paper, sections IV-B3 and IV-C3.

An autoencoder makes a small latent volume of a brain (Rombach et al. 2022; Pinaya et al. 2022); a U-Net learns to
take noise out of it, in 1000 steps while training and fewer, deterministic ones while sampling (DDIM, Song et al.
2021). A draw of noise is therefore ẑ_T, all that a brain depends on beside the features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.schedulers.ddpm import DDPMScheduler
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.models.blocks import shuffle_down, shuffle_up
from csegsynth_core.models.csegsynth import CompactTrunk, PaperTrunk, Score
from csegsynth_core.models.family import WHOLE, ConditionalModel, Offset, Region, Shapes, extent
from csegsynth_core.models.voxel import START_LOG_VARIANCE, Conditioner, SubPixel, ratios_at_8mm
from csegsynth_core.tissue import CHANNELS, TISSUES

STEPS = 1000
"""T of Eq. 5 and 12."""
SCHEDULE: Final[dict[str, Any]] = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195}
TOKENS = 4
"""Vectors that features become for cross-attention."""


@dataclass(frozen=True)
class LdmShapes(Shapes):
    """Shapes of LDM and C-LDM; `latent` is the size of ẑ_T, padded to what the U-Net can halve."""

    width: int
    """Channels of the autoencoder's first level; the others have twice as many."""
    latent_channels: int
    unet_width: int
    """Channels of the U-Net's first level; each further one has as many more."""
    unet_levels: int
    groups: int
    """Of group normalisation."""
    sampling_steps: int
    dropout: float = 0.0
    components: int = 0
    """Of latent volumes, in what the U-Net's prediction is added to (`GaussianDenoiser`); 0 in the paper."""

    @classmethod
    def named(cls, preset: str, features: int) -> LdmShapes:
        """Shapes of `paper`, `compact` or `tiny`."""
        if preset == "paper":
            return cls("paper", features, 0, 64, 3, 256, 3, 32, 50).sized()
        if preset == "compact":
            return cls("compact", features, 0, 16, 6, 24, 2, 8, 10, dropout=0.1, components=32).sized()
        return cls("tiny", features, 0, 8, 1, 8, 2, 8, 2, components=8).sized()

    def sized(self) -> LdmShapes:
        """The same with `latent` as the other numbers have it."""
        return replace(self, latent=self.latent_channels * prod(self.padded_size))

    @property
    def region(self) -> Region:
        """What the autoencoder sees: the whole grid (`paper`), or the box that brains occupy."""
        return WHOLE if self.preset == "paper" else grid.BOX

    @property
    def latent_size(self) -> list[int]:
        """Of a latent volume: an eighth of the region along each axis."""
        return [s // 8 for s in extent(self.region)]

    @property
    def padded_size(self) -> list[int]:
        """The same rounded up to what the U-Net can halve."""
        step = 2 ** (self.unet_levels - 1)
        return [-(-s // step) * step for s in self.latent_size]


class TissueAutoencoder(nn.Module):
    """MONAI's `AutoencoderKL` for tissue maps: voxels to a latent volume at 16 mm, and back through softmax.

    `paper` takes voxels of 2 mm as they are and halves them three times. `compact` takes blocks of 2×2×2 voxels as
    channels, halves twice, and ends in `SubPixel`; beside it a linear way leads from log-ratios at 8 mm to the latent
    volume and back, since the networks alone would learn nothing of it within minutes.
    """

    centre: Float[Tensor, "3 i4 j4 k4"]

    def __init__(self, config: LdmShapes) -> None:
        super().__init__()
        self.blocks = config.preset != "paper"
        widths = (config.width, *([2 * config.width] * (2 if self.blocks else 3)))
        channels = len(CHANNELS) * (8 if self.blocks else 1)
        self.network = AutoencoderKL(
            spatial_dims=3,
            in_channels=channels,
            out_channels=config.width if self.blocks else channels,
            num_res_blocks=1 if self.blocks else 2,
            channels=widths,
            attention_levels=[False] * len(widths),
            latent_channels=config.latent_channels,
            norm_num_groups=config.groups if config.groups < 2 * config.width else config.width,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        self.output = SubPixel(config.width) if self.blocks else None
        if self.blocks:
            small = 8 * len(TISSUES)
            self.reads = nn.Conv3d(small, config.latent_channels, 1, bias=False)
            self.writes = nn.Conv3d(config.latent_channels, small, 1, bias=False)
            self.register_buffer(
                "centre", torch.zeros(len(TISSUES), *(s // 4 for s in extent(config.region)))
            )

    @torch.no_grad()
    def start_at(
        self,
        mean: Float[Tensor, "4 i j k"],
        centre: Float[Tensor, "3 i4 j4 k4"],
        reads: Float[Tensor, "c 24"],
        writes: Float[Tensor, "24 c"],
    ) -> None:
        """Start at mean maps, and at components of blocks of log-ratios about `centre`, to be trained from there.

        Args:
            reads: what makes a latent number, of variance 1, of a block's log-ratios.
            writes: what a unit of each latent number adds to them.
        """
        assert self.output is not None  # noqa: S101 - `paper` has no straight way
        self.output.start_at(mean)
        self.centre.copy_(centre)
        self.reads.weight.copy_(reads[..., None, None, None])
        self.writes.weight.copy_(writes[..., None, None, None])
        mu, log_sigma = self.network.quant_conv_mu.conv, self.network.quant_conv_log_sigma.conv
        for layer in (mu, log_sigma):
            assert isinstance(layer, nn.Conv3d) and layer.bias is not None  # noqa: S101 - MONAI's are
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, 0.0 if layer is mu else START_LOG_VARIANCE)

    def encode(self, x: Float[Tensor, "n 4 i j k"]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a brain's latent volume, each (n, c, i8, j8, k8)."""
        if not self.blocks:
            return self.network.encode(x)
        mean, deviation = self.network.encode(shuffle_down(x))
        return mean + self.reads(shuffle_down(ratios_at_8mm(x) - self.centre)), deviation

    def decode(
        self, latents: Float[Tensor, "n c i8 j8 k8"], resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions of a latent volume."""
        x = self.network.decode(latents)
        if self.output is None:
            return torch.softmax(x, dim=1)
        return self.output(x, resolution, offset, shuffle_up(self.writes(latents)))

    def encode_stage_2_inputs(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n c i8 j8 k8"]:
        """A sample of the latent volume: the name that MONAI's inferer calls."""
        return self.network.sampling(*self.encode(x))

    def decode_stage_2_outputs(self, latents: Float[Tensor, "n c i8 j8 k8"]) -> Float[Tensor, "n 4 i j k"]:
        """The same as `decode`: the name that MONAI's inferer calls."""
        return self.decode(latents)


class GaussianDenoiser(nn.Module):
    """E[ε | z_t] if latent volumes were Gaussian, N(m, Uᵀ diag(v) U + r I) (ours): where the U-Net starts.

    With z_t = √ā z + √(1 − ā) ε it is √(1 − ā) (ā Σ + (1 − ā) I)⁻¹ (z_t − √ā m). The U-Net then has to learn only
    what is not Gaussian, which minutes allow.

    Args:
        components: rows of U.
        width: numbers of a latent volume.
    """

    centre: Float[Tensor, " width"]
    axes: Float[Tensor, "components width"]
    """U, orthonormal."""
    variance: Float[Tensor, " components"]
    """v, what components have beyond `rest`."""
    rest: Float[Tensor, ""]
    """r."""

    def __init__(self, components: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(components, width))
        self.register_buffer("variance", torch.zeros(components))
        self.register_buffer("rest", torch.ones(()))

    def forward(
        self,
        noised: Float[Tensor, "n c i k j"],
        kept: Float[Tensor, " n"],
        expected: Float[Tensor, "n components"] | None = None,
    ) -> Float[Tensor, "n c i k j"]:
        """The noise in z_t.

        Args:
            noised: z_t.
            kept: ā of t.
            expected: of these people's scores on the components; default 0.
        """
        kept = kept[:, None]
        mean = self.centre if expected is None else self.centre + expected @ self.axes
        off = noised.flatten(1) - kept.sqrt() * mean
        least = kept * self.rest + 1.0 - kept
        scores = off @ self.axes.T
        taken = scores * (kept * self.variance / (kept * self.variance + least))
        return ((1.0 - kept).sqrt() / least * (off - taken @ self.axes)).view_as(noised)

    def moved(
        self,
        noised: Float[Tensor, "n c i k j"],
        kept: Float[Tensor, ""],
        after: Float[Tensor, ""],
        expected: Float[Tensor, "n components"] | None = None,
    ) -> Float[Tensor, "n c i k j"]:
        """z of a less noisy time, on the path along which z_t's distribution goes over into that of then.

        The probability flow of a Gaussian, solved exactly (Song et al. 2021, Eq. 13, of which DDIM's steps are an
        approximation): places relative to √ā m are multiplied by the ratio of standard deviations.

        Args:
            kept: ā of t; 0 for noise N(0, I).
            after: ā of then; 1 for a latent volume.
        """
        mean = self.centre if expected is None else self.centre + expected @ self.axes
        off = noised.flatten(1) - kept.sqrt() * mean
        before, then = (k * self.rest + 1.0 - k for k in (kept, after))
        rest = (then / before).sqrt()
        along = ((after * self.variance + then) / (kept * self.variance + before)).sqrt()
        out = after.sqrt() * mean + rest * off + ((along - rest) * (off @ self.axes.T)) @ self.axes
        return out.view_as(noised)

    @torch.no_grad()
    def fit(self, latents: Float[Tensor, "people width"], noise: float) -> None:
        """Take mean and principal components of people's latent volumes.

        Args:
            noise: variance of what the encoder adds to each of these means.
        """
        self.centre.copy_(latents.mean(dim=0))
        seen = latents - self.centre
        values, vectors = torch.linalg.eigh((seen @ seen.T / len(seen)).double())
        count = min(len(self.axes), len(seen) - 1)
        values, vectors = values.flip(0).clamp_min(1e-9), vectors.flip(1)
        left = float(values[count:].sum()) / max(latents.shape[1] - count, 1)
        axes = vectors[:, :count].T.float() @ seen
        self.axes.zero_()
        self.variance.zero_()
        self.axes[:count] = axes / axes.norm(dim=1, keepdim=True).clamp_min(1e-6)
        self.variance[:count] = (values[:count] - left).clamp_min(0.0).float()
        self.rest.fill_(left + noise)

    def scores(self, latents: Float[Tensor, "people width"]) -> Float[Tensor, "people components"]:
        """People's places along the components."""
        return (latents - self.centre) @ self.axes.T


class Ldm(ConditionalModel):
    """Autoencoder and U-Net; the U-Net's cross-attention sees a constant (Eq. 5)."""

    family = "ldm"
    shapes = LdmShapes
    generating: ClassVar[tuple[str, ...]] = ("autoencoder", "unet", "constant", "scale", "gaussian")
    scale: Float[Tensor, ""]

    def __init__(self, config: LdmShapes, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = TissueAutoencoder(config)
        token = config.unet_width * 2
        levels = [config.unet_width * (k + 1) for k in range(config.unet_levels)]
        self.unet = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            num_res_blocks=1 if config.preset != "paper" else 2,
            channels=levels,
            attention_levels=[k > 0 for k in range(config.unet_levels)],
            norm_num_groups=config.groups,
            num_head_channels=config.unet_width,
            with_conditioning=True,
            cross_attention_dim=token,
        )
        self.constant = nn.Parameter(0.1 * torch.randn(TOKENS, token))
        self.register_buffer("scale", torch.ones(()))
        self.gaussian = GaussianDenoiser(config.components, config.latent) if config.components else None
        if training_networks:
            self.discriminator = Score(
                PaperTrunk(1, config.width)
                if config.preset == "paper"
                else CompactTrunk(1, config.width, pool=True)
            )
        self.ddpm = DDPMScheduler(num_train_timesteps=STEPS, clip_sample=False, **SCHEDULE)

    @property
    def region(self) -> Region:
        """The part of the grid that the networks see."""
        return self.config.region

    @property
    def resolutions(self) -> tuple[int, ...]:
        """All voxels, and for `compact` every second one too."""
        return (1,) if self.config.preset == "paper" else (1, 2)

    def context(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n tokens width"]:
        """Keys and values of the U-Net's cross-attention."""
        return self.constant.expand(len(y), -1, -1)

    def pad(self, latents: Float[Tensor, "n c i8 j8 k8"]) -> Float[Tensor, "n c i k j"]:
        """Zeros around a latent volume, as MONAI's `LatentDiffusionInferer` has them.

        (That one cuts an odd size off again one voxel further on, by `CenterSpatialCrop`; `crop` undoes `pad`.)
        """
        order: list[int] = []
        for size, padded in zip(self.config.latent_size[::-1], self.config.padded_size[::-1], strict=True):
            before = (padded - size) // 2
            order += [before, padded - size - before]
        return F.pad(latents, order)

    def crop(self, latents: Float[Tensor, "n c i k j"]) -> Float[Tensor, "n c i8 j8 k8"]:
        """Inverse of `pad`."""
        inner = [
            slice((padded - size) // 2, (padded - size) // 2 + size)
            for size, padded in zip(self.config.latent_size, self.config.padded_size, strict=True)
        ]
        return latents[(slice(None), slice(None), *inner)]

    def noised(self, latents: Tensor, noise: Tensor, t: Float[Tensor, " n"]) -> Tensor:
        """z_t of z, ε and t (Ho et al. 2020, Eq. 4)."""
        return self.ddpm.add_noise(original_samples=latents, noise=noise, timesteps=t)

    def expected(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n components"] | None:
        """Of `GaussianDenoiser`: None without features."""
        return None

    def noise_in(
        self, noised: Float[Tensor, "n c i k j"], t: Float[Tensor, " n"], y: Float[Tensor, "n features"]
    ) -> Float[Tensor, "n c i k j"]:
        """ε̂ of z_t: the U-Net's (paper), added to `GaussianDenoiser`'s (not in `paper`)."""
        out: Tensor = self.unet(noised, timesteps=t, context=self.context(y))
        if self.gaussian is None:
            return out
        kept = self.ddpm.alphas_cumprod.to(noised)[t]
        return out + self.gaussian(noised, kept, self.expected(y))

    def denoise(
        self, noise: Float[Tensor, "n c i k j"], y: Float[Tensor, "n features"]
    ) -> Float[Tensor, "n c i k j"]:
        """ẑ of ẑ_T by DDIM in `sampling_steps` steps; differentiable."""
        scheduler = DDIMScheduler(num_train_timesteps=STEPS, clip_sample=False, **SCHEDULE)
        scheduler.set_timesteps(self.config.sampling_steps)
        if self.gaussian is not None:
            return self._with_gaussian(noise, y, scheduler)
        out = noise
        for t in scheduler.timesteps:
            predicted = self.noise_in(out, t[None].to(out.device).expand(len(out)), y)
            out, _ = scheduler.step(predicted, int(t), out)
        return out

    def _with_gaussian(self, noise: Tensor, y: Tensor, scheduler: DDIMScheduler) -> Tensor:
        """The Gaussian's part of every step is solved exactly, the U-Net's is DDIM's: few steps lose no variety."""
        assert self.gaussian is not None  # noqa: S101 - `denoise` asks
        every = self.ddpm.alphas_cumprod.to(noise)
        context, expected = self.context(y), self.expected(y)
        times = [int(t) for t in scheduler.timesteps]
        kept = torch.zeros((), device=noise.device)
        out, less = noise, torch.zeros_like(noise)
        for n, t in enumerate(times):
            out = self.gaussian.moved(out, kept, every[t], expected) + less
            kept = every[t]
            after = every[times[n + 1]] if n + 1 < len(times) else torch.ones_like(kept)
            step = torch.full((len(out),), t, device=noise.device)
            share = (1.0 - after).sqrt() - (after * (1.0 - kept) / kept).sqrt()
            less = share * self.unet(out, timesteps=step, context=context)
        return self.gaussian.moved(out, kept, torch.ones_like(kept), expected) + less

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """The decoded ẑ of ẑ_T = z (paper, section IV-B3); see `ConditionalModel.forward`."""
        noise = z.view(len(z), self.config.latent_channels, *self.config.padded_size)
        latents = self.crop(self.denoise(noise, y)) / self.scale
        return self.autoencoder.decode(latents, resolution, offset)


class CLdm(Ldm):
    """C-LDM: the U-Net's cross-attention sees the features; the autoencoder is LDM's (Eq. 12)."""

    family = "c_ldm"
    generating: ClassVar[tuple[str, ...]] = (*Ldm.generating, "conditioner", "expects")

    def __init__(self, config: LdmShapes, *, training_networks: bool = True) -> None:
        super().__init__(config, training_networks=training_networks)
        self.conditioner = Conditioner(
            config.features, self.constant.numel(), config.dropout, straight=config.preset != "paper"
        )
        self.expects = (
            Conditioner(config.features, config.components, config.dropout, straight=True)
            if config.components
            else None
        )

    def context(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n tokens width"]:
        """Keys and values of the U-Net's cross-attention: FFN(y) beside the unconditional model's constant."""
        return self.constant + self.conditioner(y).unflatten(1, tuple(self.constant.shape))

    def expected(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n components"] | None:
        """What features tell of the latent volume's components; not in `paper`."""
        found: Tensor | None = None if self.expects is None else self.expects(y)
        return found
