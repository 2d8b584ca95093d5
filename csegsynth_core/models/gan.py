"""Wasserstein GAN with gradient penalty (Eq. 3-4) and C-GAN (Eq. 10-11): paper, sections IV-B2 and IV-C2."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from csegsynth_core.models.family import ConditionalModel, Offset
from csegsynth_core.models.voxel import Conditioner, VoxelShapes, critic_of, decoder_of


class Gan(ConditionalModel):
    """Generator G_θ, which has the VAE decoder's structure, and discriminator D_ω, which has its encoder's."""

    family = "gan"
    shapes = VoxelShapes
    generating: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: VoxelShapes, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        self.generator = decoder_of(config)
        if training_networks:
            self.discriminator = critic_of(config)

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂ = G_θ(ẑ) (Eq. 3); see `ConditionalModel.forward`."""
        return self.generator(z, resolution, offset)


class CGan(Gan):
    """C-GAN: x̂ = G_θ(ẑ + FFN_cgan(y)); the discriminator is the unconditional model's (Eq. 10-11)."""

    family = "c_gan"
    generating: ClassVar[tuple[str, ...]] = ("generator", "conditioner")

    def __init__(self, config: VoxelShapes, *, training_networks: bool = True) -> None:
        super().__init__(config, training_networks=training_networks)
        self.conditioner = Conditioner(
            config.features, config.latent, config.dropout, straight=config.preset != "paper"
        )

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂ = G_θ(ẑ | y) (Eq. 10); see `ConditionalModel.forward`."""
        return self.generator(z + self.conditioner(y), resolution, offset)
