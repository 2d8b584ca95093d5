"""Variational autoencoder (Eq. 2) and its conditional form, C-VAE (Eq. 9): paper, sections IV-B1 and IV-C1."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core.models.family import ConditionalModel, Offset
from csegsynth_core.models.voxel import (
    START_LOG_VARIANCE,
    Conditioner,
    VoxelShapes,
    decoder_of,
    head_of,
    trunk_of,
)

Gaussian = tuple[Float[Tensor, "n latent"], Float[Tensor, "n latent"]]
"""Mean and log-variance."""


class GaussianPrior(nn.Module):
    """p_θ(z | y) = N(μ(y), σ²(y)): C-VAE's prior network, with two heads on shared layers.

    Args:
        straight: see `Conditioner`; of the mean.
    """

    def __init__(self, features: int, latent: int, dropout: float = 0.0, *, straight: bool = False) -> None:
        super().__init__()
        self.both = Conditioner(features, 2 * latent, dropout, straight=straight)

    def forward(self, y: Float[Tensor, "n features"]) -> Gaussian:
        mean, log_variance = self.both(y).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 8.0)


class Vae(ConditionalModel):
    """Encoder q_φ(z | x) and decoder p_θ(x | z); a new brain decodes z ~ N(0, I) (Eq. 2)."""

    family = "vae"
    shapes = VoxelShapes
    generating: ClassVar[tuple[str, ...]] = ("decoder",)

    def __init__(self, config: VoxelShapes, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        self.decoder = decoder_of(config)
        if training_networks:
            self.encoder = trunk_of(config)
            self.mean = head_of(config)
            self.log_variance = head_of(config)
            if config.preset != "paper":  # ours: codes that say something from the first step on
                nn.init.constant_(self.log_variance[-1].bias, START_LOG_VARIANCE)  # type: ignore[index,arg-type]

    def encode(self, x: Float[Tensor, "n 4 i j k"], y: Float[Tensor, "n features"]) -> Gaussian:
        """q_φ(z | x): mean and log-variance of a brain's code."""
        return self._heads(self.encoder(x))

    def _heads(self, h: Float[Tensor, "n hidden"]) -> Gaussian:
        return self.mean(h), self.log_variance(h).clamp(-8.0, 8.0)

    def prior_of(self, y: Float[Tensor, "n features"]) -> Gaussian:
        """p(z) = N(0, I): what codes follow."""
        zero = torch.zeros(len(y), self.config.latent, device=y.device)
        return zero, zero

    def decode(
        self,
        z: Float[Tensor, "n latent"],
        y: Float[Tensor, "n features"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """p_θ(x | z): the maps of a code."""
        return self.decoder(z, resolution, offset)

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂ of the code μ(y) + σ(y) z; see `ConditionalModel.forward`."""
        mean, log_variance = self.prior_of(y)
        return self.decode(mean + (0.5 * log_variance).exp() * z, y, resolution, offset)


class CVae(Vae):
    """C-VAE: encoder and decoder see features, and a prior network p_θ(z | y) replaces N(0, I) (Eq. 9).

    h + FFN_e(y) goes into the encoder's heads, z + FFN_d(y) into the decoder.
    """

    family = "c_vae"
    generating: ClassVar[tuple[str, ...]] = ("decoder", "prior", "condition_decoder")

    def __init__(self, config: VoxelShapes, *, training_networks: bool = True) -> None:
        super().__init__(config, training_networks=training_networks)
        few = config.preset != "paper"
        self.prior = GaussianPrior(config.features, config.latent, config.dropout, straight=few)
        self.condition_decoder = Conditioner(config.features, config.latent, config.dropout, straight=few)
        if training_networks:
            self.condition_encoder = Conditioner(config.features, config.hidden, config.dropout, straight=few)

    def encode(self, x: Float[Tensor, "n 4 i j k"], y: Float[Tensor, "n features"]) -> Gaussian:
        """q_φ(z | x, y)."""
        return self._heads(self.encoder(x) + self.condition_encoder(y))

    def prior_of(self, y: Float[Tensor, "n features"]) -> Gaussian:
        """p_θ(z | y)."""
        return self.prior(y)

    def decode(
        self,
        z: Float[Tensor, "n latent"],
        y: Float[Tensor, "n features"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """p_θ(x | z, y)."""
        return self.decoder(z + self.condition_decoder(y), resolution, offset)
