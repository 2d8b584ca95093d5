"""What every model of the paper has in common, and where each is found by name.

A model takes encoded features and a draw of noise to tissue maps. Pages, packs, training and evaluation know models
by this interface alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core import grid
from csegsynth_core.errors import PackError
from csegsynth_core.volumes import volumes_ml

Region = tuple[slice, slice, slice]
Offset = tuple[int, int, int]
WHOLE: Final[Region] = (slice(0, grid.SHAPE[0]), slice(0, grid.SHAPE[1]), slice(0, grid.SHAPE[2]))


def extent(region: Region) -> tuple[int, int, int]:
    """Voxels of a region along each axis."""
    return tuple(s.stop - s.start for s in region)  # type: ignore[return-value]


@dataclass(frozen=True)
class Shapes:
    """What fixes a model's networks; each family adds its own. Stored in a pack's `config.json`."""

    preset: Literal["paper", "compact", "tiny"]
    features: int
    """Width of the encoded feature vector; 0 for a model that takes none."""
    latent: int
    """Width of the code."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Generated:
    """What `ConditionalModel.generate` returns."""

    maps: Float[Tensor, "people n 4 80 128 128"]
    """Fractions of WM, GM, CSF and background on the grid; they sum to one in every voxel."""
    volumes_ml: Float[Tensor, "people n 4"]
    """mL of each, background's inside the model's region."""


class ConditionalModel(nn.Module):
    """A generative model of tissue maps: p(x | y) as a function of features y and noise z ~ N(0, I).

    A subclass has `forward`, and says which of its networks generate. One whose unconditional step takes no
    features (VAE, GAN, LDM, α-GAN) is the same with `config.features` 0, and ignores y.
    """

    family: ClassVar[str]
    """Name in the registry, such as `c_vae`."""
    shapes: ClassVar[type[Any]]
    """Class of `config`."""
    generating: ClassVar[tuple[str, ...]]
    """Names of the sub-networks that generation needs; the others serve training alone and are not shipped."""
    config: Any

    @classmethod
    def from_config(cls, config: dict[str, Any], *, training_networks: bool = False) -> ConditionalModel:
        """The untrained model of a stored `config`."""
        return cls(cls.shapes(**config), training_networks=training_networks)  # type: ignore[call-arg]

    @property
    def region(self) -> Region:
        """The part of the grid that the networks see: what the first of `generating` says, or the brains' box."""
        region: Region = getattr(getattr(self, self.generating[0]), "region", grid.BOX)
        return region

    @property
    def resolutions(self) -> tuple[int, ...]:
        """What `forward` takes: 1 all voxels; 2 every second one along each axis, for less work."""
        found: tuple[int, ...] = getattr(getattr(self, self.generating[0]), "resolutions", (1,))
        return found

    @property
    def conditional(self) -> bool:
        """Whether features matter at all."""
        return bool(self.config.features)

    @property
    def noise_width(self) -> int:
        """Noise numbers that stand behind the code's in a draw, which features have no say in."""
        return 0

    def draw(self, n: int, seed: int) -> Float[Tensor, "n width"]:
        """n draws of noise ~ N(0, I), always the same for the same seed: `latent` numbers and `noise_width` more.

        A single draw with seed 0 is zero, the middle of the distribution, which gives the typical brain of people
        with these features.
        """
        if n == 1 and seed == 0:
            return torch.zeros(1, self.config.latent + self.noise_width)
        parts = []
        for width, number in ((self.config.latent, seed), (self.noise_width, 2**31 + seed)):
            generator = torch.Generator().manual_seed(
                number
            )  # row by row: more draws must not change the first
            parts.append(torch.stack([torch.randn(width, generator=generator) for _ in range(n)]))
        return torch.cat(parts, dim=1)

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n width"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `region`, channels in the order of `CHANNELS`.

        Args:
            y: encoded features.
            z: noise, as from `draw`.
            resolution: one of `resolutions`.
            offset: of the first voxel along each axis, 0 or 1; for resolution 2.
        """
        raise NotImplementedError

    @torch.inference_mode()
    def generate(self, y: Float[Tensor, "people features"], n: int = 1, seed: int = 0) -> Generated:
        """`n` brains of each person, with the same draws for everybody.

        Args:
            y: encoded features, as from `csegsynth_core.generate.encode`.
            n: brains of each person.
            seed: of the draws; see `draw`.
        """
        z = self.draw(n, seed).to(y.device)
        inside = torch.stack(
            [torch.cat([self(y[p : p + 1], z[d : d + 1]) for d in range(n)]) for p in range(len(y))]
        )
        maps = self.on_grid(inside.flatten(0, 1))
        return Generated(
            maps.unflatten(0, (len(y), n)), volumes_ml(inside.flatten(0, 1)).unflatten(0, (len(y), n))
        )

    def on_grid(self, x: Float[Tensor, "n 4 i j k"]) -> Float[Tensor, "n 4 80 128 128"]:
        """Pad maps of `region` with background to the whole grid."""
        if self.region == WHOLE:
            return x
        pad = [v for s, size in zip(self.region, grid.SHAPE, strict=True) for v in (s.start, size - s.stop)]
        order = [pad[4], pad[5], pad[2], pad[3], pad[0], pad[1]]
        tissues = F.pad(x[:, :-1], order)
        background = F.pad(x[:, -1:], order, value=1.0)
        return torch.cat([tissues, background], dim=1)

    def generating_state(self) -> dict[str, Tensor]:
        """The tensors that generation needs, by name: what a pack holds."""
        prefixes = tuple(f"{name}." for name in self.generating)
        return {k: v for k, v in self.state_dict().items() if k.startswith(prefixes) or k in self.generating}

    def generating_parameters(self) -> int:
        """How many numbers one brain needs: parameters and fixed tensors of the generating networks."""
        return sum(v.numel() for v in self.generating_state().values())


_FAMILIES: Final[dict[str, str]] = {
    "csegsynth": "csegsynth_core.models.csegsynth:CSegSynth",
    "c_vae": "csegsynth_core.models.vae:CVae",
    "c_gan": "csegsynth_core.models.gan:CGan",
    "c_ldm": "csegsynth_core.models.ldm:CLdm",
    "vae": "csegsynth_core.models.vae:Vae",
    "gan": "csegsynth_core.models.gan:Gan",
    "ldm": "csegsynth_core.models.ldm:Ldm",
    "alpha_gan": "csegsynth_core.models.alpha_gan:AlphaGan",
    "linear_gaussian": "csegsynth_core.models.linear_gaussian:LinearGaussian",
}
"""Where each family's class is, `module:class`; imported only when asked for."""

UNCONDITIONAL: Final[dict[str, str]] = {
    "csegsynth": "alpha_gan",
    "c_vae": "vae",
    "c_gan": "gan",
    "c_ldm": "ldm",
}
"""Conditional family → the one that it is pre-trained as and inherits networks from (paper, Fig. 1)."""


def families() -> tuple[str, ...]:
    """Names of all families."""
    return tuple(_FAMILIES)


def family(name: str) -> type[ConditionalModel]:
    """The class of a family.

    Raises:
        PackError: there is no such family.
    """
    if name not in _FAMILIES:
        raise PackError(
            f"no model family {name!r}",
            expected=f"one of {', '.join(_FAMILIES)}",
            fix="use the CSegSynth release that the pack or run was made with",
        )
    module, _, attribute = _FAMILIES[name].partition(":")
    found: type[ConditionalModel] = getattr(import_module(module), attribute)
    return found
