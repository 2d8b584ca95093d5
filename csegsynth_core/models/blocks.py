"""Building blocks shared by the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def zeros_if_absent(*names: str) -> Callable[..., None]:
    """A hook for loading weights from before some tensors were there: zeros, with which they change nothing."""

    def fill(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for name in names:
            state.setdefault(prefix + name, torch.zeros_like(getattr(module, name)))

    return fill


def gone_if_zero(*names: str) -> Callable[..., None]:
    """A hook for loading weights from when there were some more tensors, where these are zero and changed nothing."""

    def drop(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for name in names:
            if prefix + name in state and not state[prefix + name].any():
                del state[prefix + name]

    return drop


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every voxel (Ba et al. 2016)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n c i j k"]:
        last = x.permute(0, 2, 3, 4, 1)
        out = F.layer_norm(last, (x.shape[1],), self.weight, self.bias, self.eps)
        return out.permute(0, 4, 1, 2, 3)


class ConvNeXt3d(nn.Module):
    """ConvNeXt block in 3-D (Liu et al. 2022; CSegSynth paper, Fig. 5).

    Depthwise convolution → layer norm → pointwise ×`expansion` → GELU → pointwise → scale → residual.

    Args:
        channels: in and out.
        kernel: of the depthwise convolution; the paper's is (3, 5, 5).
        expansion: of the pointwise layers; the paper's is 4.
        scale: initial value of the per-channel scale; the reference's is 1e-6.
    """

    def __init__(
        self, channels: int, kernel: tuple[int, int, int] = (3, 5, 5), expansion: int = 4, scale: float = 1e-6
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.depthwise = nn.Conv3d(channels, channels, kernel, padding=padding, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n c i j k"]:
        out = self.depthwise(x).permute(0, 2, 3, 4, 1)
        out = self.narrow(F.gelu(self.widen(self.norm(out))))
        return x + (self.scale * out).permute(0, 4, 1, 2, 3)


class Dropout(nn.Dropout):
    """Dropout whose numbers come from `draw`, so that training can draw them for all people of a step at once."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)
        self.draw: Callable[[Tensor], Tensor] = torch.rand_like
        """U[0, 1) in the shape of a tensor; see `dropout_drawn`."""

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        if not self.training or not self.p:
            return x
        return x * (self.draw(x) >= self.p) / (1.0 - self.p or 1.0)


@contextmanager
def dropout_drawn(model: nn.Module, draw: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let every `Dropout` of a model take its numbers from `draw`: U[0, 1) in the shape of a tensor."""
    layers = [module for module in model.modules() if isinstance(module, Dropout)]
    for layer in layers:
        layer.draw = draw
    try:
        yield
    finally:
        for layer in layers:
            layer.draw = torch.rand_like


def feed_forward(features: int, out: int, dropout: float = 0.0) -> nn.Sequential:
    """Three linear layers with LeakyReLU between them, widths F → 64 → 256 → out as in the reference."""
    return nn.Sequential(
        nn.Linear(features, 64),
        nn.LeakyReLU(),
        Dropout(dropout),
        nn.Linear(64, 256),
        nn.LeakyReLU(),
        Dropout(dropout),
        nn.Linear(256, out),
    )


class FeatureNetwork(nn.Module):
    """Features to numbers: `feed_forward`, and with `straight` a linear layer and a curve beside it (ours).

    With a few hundred people most of what can be learned is linear, or bends with age as white matter does, which
    peaks in mid-life; ridge regression finds both at once (`start_at`). The curve is a multiple of u² − 1, where u is
    the feature that `bends` marks, none at first.
    """

    bends: Float[Tensor, " features"]
    """1 for the one feature whose square counts too, 0 for the others."""

    def __init__(self, features: int, out: int, dropout: float = 0.0, *, straight: bool = False) -> None:
        super().__init__()
        self.layers = feed_forward(features, out, dropout)
        self.straight = nn.Linear(features, out) if straight else None
        if straight:
            self.curve = nn.Parameter(torch.zeros(out))
            self.register_buffer("bends", torch.zeros(features))
            self.register_load_state_dict_pre_hook(zeros_if_absent("curve", "bends"))

    def forward(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n out"]:
        out: Tensor = self.layers(y)
        if self.straight is None:
            return out
        squares = (y @ self.bends).square() - self.bends.sum()
        return out + self.straight(y) + squares[:, None] * self.curve

    @torch.no_grad()
    def start_at(
        self,
        weight: Float[Tensor, "out features"],
        bias: Float[Tensor, " out"],
        curve: Float[Tensor, " out"] | None = None,
        bends: int | None = None,
    ) -> None:
        """Make the network this function, to be trained from there.

        Args:
            weight: of the features.
            bias: what the average person has.
            curve: of u² − 1.
            bends: column of u.

        Raises:
            ValueError: it has no linear layer, or gets a curve of nothing.
        """
        if self.straight is None:
            raise ValueError("a network without its linear layer cannot start at a linear function")
        if (curve is None) != (bends is None):
            raise ValueError(
                "a curve needs the column of the feature that it is a function of, and the reverse"
            )
        self.straight.weight.copy_(weight)
        self.straight.bias.copy_(bias)
        self.curve.zero_()
        self.bends.zero_()
        if curve is not None and bends is not None:
            self.curve.copy_(curve)
            self.bends[bends] = 1.0
        for tensor in list(self.layers.parameters())[-2:]:
            tensor.zero_()


class PriorNetwork(FeatureNetwork):
    """P_ψ: features to the shift of the noise vector, ẑ_cnd = ẑ_rnd + FFN_prior(y) (paper, section IV-C4).

    See `FeatureNetwork` for its layers. With `straight` it also has `spread`, ours: a matrix that narrows the noise,
    ẑ_cnd = S ẑ_rnd + FFN_prior(y) with S Sᵀ = I − Cov[FFN_prior(y)]. What the features explain is taken out of the
    noise, so that ẑ_cnd of people like the training people follows N(0, I) again, the distribution that the generator
    was trained on. In the paper S = I. Calibration may narrow S further (`train.calibrate`).

    Args:
        features: width of the encoded feature vector.
        latent: width of the code.
        dropout: on the hidden layers while training (0 in the paper; a small one helps with few people).
        straight: with linear layer and `spread`.
    """

    spread: Float[Tensor, "latent latent"]

    def __init__(self, features: int, latent: int, dropout: float = 0.0, *, straight: bool = False) -> None:
        super().__init__(features, latent, dropout, straight=straight)
        if straight:
            self.register_buffer("spread", torch.eye(latent))

    def condition(
        self, z: Float[Tensor, "n latent"], y: Float[Tensor, "n features"]
    ) -> Float[Tensor, "n latent"]:
        """ẑ_cnd of noise `z` and features `y`."""
        return self.narrow(z) + self(y)

    def narrow(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n latent"]:
        """S ẑ_rnd."""
        return z if self.straight is None else z @ self.spread.T

    @torch.no_grad()
    def set_spread(self, y: Float[Tensor, "people features"], least: float = 0.1) -> None:
        """Narrow the noise by what the features of these people explain.

        Args:
            least: smallest standard deviation that any direction keeps.
        """
        if self.straight is None:
            return
        training = self.training
        covariance = torch.cov(self.eval()(y).T)
        self.train(training)
        values, vectors = torch.linalg.eigh(covariance.double())
        left = (1.0 - values).clamp(least**2, 1.0).sqrt()
        self.spread.copy_((vectors * left) @ vectors.T)


class CodeDiscriminator(nn.Module):
    """C_η: tells codes from draws of the prior; three linear layers with GELU (paper, section IV-B4)."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, " n"]:
        return self.layers(z).squeeze(-1)


def convolve(layer: nn.Conv3d, x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n d a b e"]:
    """`layer(x)`, but for a single small input as quick as for each of several.

    On a CPU with one thread torch gives a lone input of few values to an implementation that takes ten times as long
    at our sizes, and several inputs to oneDNN, where it has it: which is asked directly here.
    """
    lone = x.shape[0] == 1 and x.device.type == "cpu" and x.dtype == torch.float32
    if lone and not torch.is_grad_enabled() and torch.backends.mkldnn.is_available():
        x = x.contiguous(memory_format=torch.channels_last_3d)
        how: tuple[Any, ...] = (layer.padding, layer.stride, layer.dilation, layer.groups)
        out: Tensor = torch.mkldnn_convolution(x, layer.weight, layer.bias, *how)
        return out
    return layer(x)


def shuffle_up(x: Float[Tensor, "n c8 i j k"]) -> Float[Tensor, "n c i2 j2 k2"]:
    """Sub-pixel shuffle: eight channels become one of twice the resolution (Shi et al. 2016).

    The same as MONAI's `pixelshuffle` (a test compares them), whose import alone takes five seconds.
    """
    n, c8, i, j, k = x.shape
    blocks = x.reshape(n, c8 // 8, 2, 2, 2, i, j, k).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(n, c8 // 8, 2 * i, 2 * j, 2 * k)


def shuffle_down(x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n c8 i2 j2 k2"]:
    """Inverse of `shuffle_up`: every 2×2×2 block becomes eight channels."""
    n, c, i, j, k = x.shape
    blocks = x.reshape(n, c, i // 2, 2, j // 2, 2, k // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(n, 8 * c, i // 2, j // 2, k // 2)
