"""α-GAN (Eq. 6-8): CSegSynth's unconditional first step as a model of its own (paper, section IV-B4)."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from csegsynth_core.models.blocks import CodeDiscriminator
from csegsynth_core.models.csegsynth import Config, discriminator_of, encoder_of, generator_of
from csegsynth_core.models.family import ConditionalModel, Offset


class AlphaGan(ConditionalModel):
    """Encoder E_φ, generator G_θ, discriminator D_ω and code discriminator C_η; a new brain is G_θ(ẑ), ẑ ~ N(0, I).

    The same networks as CSegSynth's but for the prior network, so that CSegSynth inherits them all.
    """

    family = "alpha_gan"
    shapes = Config
    generating: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: Config, *, training_networks: bool = True) -> None:
        super().__init__()
        self.config = config
        self.generator = generator_of(config)
        if training_networks:
            self.encoder = encoder_of(config)
            self.discriminator = discriminator_of(config)
            self.code_discriminator = CodeDiscriminator(config.latent, config.code_width)

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """x̂_rnd = G_θ(ẑ_rnd) (Eq. 6); see `ConditionalModel.forward`."""
        return self.generator(z, resolution, offset)
