"""A linear-Gaussian generative model of tissue maps: what a deep model has to beat to be worth its cost.

The log-ratios tissue : background of a brain are their mean (at 2 mm) plus principal components (at 4 mm, held
voxel by voxel between them) whose scores are a linear function of the features plus a normal residual:

    x = softmax(μ + U(A y + b + L z)),   z ~ N(0, I)

Log-ratios of compositions: Aitchison 1986; principal components of images as a generative model: Turk and Pentland
1991; with a linear regression on covariates, as in statistical shape modelling (Cootes et al. 1995).
Everything is held as whole numbers of 8 bits with a scale, in the voxels that any training brain reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.models.family import ConditionalModel, Offset, Shapes, extent
from csegsynth_core.tissue import TISSUES

OUTSIDE = -10.0
"""Log-ratio tissue : background where no training brain has any tissue."""


@dataclass(frozen=True)
class Config(Shapes):
    """Everything that fixes the model's tensors; `latent` is the number of components."""

    voxels: int = 0
    """Voxels of 2 mm that any training brain reaches."""
    blocks: int = 0
    """Blocks of 4 mm with such voxels."""

    @classmethod
    def named(cls, preset: Literal["paper", "compact", "tiny"], features: int) -> Config:
        """Sizes before anything is known of the brains: every voxel of the box."""
        voxels = int(np.prod(extent(grid.BOX)))
        return cls(preset, features, 4 if preset == "tiny" else 56, voxels, voxels // 8)


class LinearGaussian(ConditionalModel):
    """p(x | y) of the module's equation. Filled by `of`, see `python -m train linear_gaussian`; before that its
    components are noise.

    Args:
        config: sizes.
        training_networks: ignored: nothing is trained by gradient descent.
    """

    family = "linear_gaussian"
    shapes = Config
    generating = (
        "inside",
        "mean",
        "mean_scale",
        "components",
        "component_scales",
        "slope",
        "intercept",
        "root",
    )

    inside: Tensor
    mean: Tensor
    mean_scale: Tensor
    components: Tensor
    component_scales: Tensor
    slope: Tensor
    intercept: Tensor
    root: Tensor

    def __init__(self, config: Config, *, training_networks: bool = False) -> None:
        super().__init__()
        self.config = config
        size = extent(grid.BOX)
        count, tissues = config.latent, len(TISSUES)
        shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "inside": (torch.uint8, (-(-int(np.prod(size)) // 8),)),  # a bit for each voxel
            "mean": (torch.int8, (tissues, config.voxels)),
            "mean_scale": (torch.float32, (1,)),
            "components": (torch.int8, (count, tissues, config.blocks)),
            "component_scales": (torch.float32, (count,)),
            "slope": (torch.float32, (count, config.features)),
            "intercept": (torch.float32, (count,)),
            "root": (torch.float32, (count, count)),
        }
        for name, (kind, shape) in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=kind))
        if config.voxels == int(np.prod(size)):
            noise = torch.Generator().manual_seed(0)
            self.inside.fill_(255)
            self.components.random_(-127, 128, generator=noise)
            self.component_scales.fill_(1.0 / 127.0)
            self.slope.normal_(generator=noise)
            self.root.copy_(torch.eye(count))

    @classmethod
    def of(
        cls,
        mean: Float[Tensor, "3 i j k"],
        components: Float[Tensor, "latent 3 a b c"],
        slope: Float[Tensor, "latent features"],
        intercept: Float[Tensor, " latent"],
        root: Float[Tensor, "latent latent"],
        inside: NDArray[np.bool_],
    ) -> LinearGaussian:
        """The model with these parts, rounded to 8 bits.

        Args:
            mean: log-ratios at 2 mm inside `grid.BOX`.
            components: log-ratios per unit of score at 4 mm.
            slope: of scores on encoded features.
            intercept: scores of an encoded person of zeros.
            root: L with L Lᵀ the covariance of the residual.
            inside: voxels that any brain reaches, (i, j, k).
        """
        blocks = inside_blocks(inside)
        config = Config("compact", slope.shape[1], len(slope), int(inside.sum()), int(blocks.sum()))
        model = cls(config)
        chosen = components[:, :, torch.from_numpy(blocks)]
        parts = {
            "inside": torch.from_numpy(np.packbits(inside.ravel())),
            "slope": slope,
            "intercept": intercept,
            "root": root,
        }
        parts["mean"], scale = _rounded(mean[:, torch.from_numpy(inside)].flatten()[None])
        parts["mean"], parts["mean_scale"] = parts["mean"].view(len(TISSUES), -1), scale
        rounded, parts["component_scales"] = _rounded(chosen.flatten(1))
        parts["components"] = rounded.view(chosen.shape)
        model.load_state_dict(parts)
        return model.eval().requires_grad_(False)

    def scores(
        self, y: Float[Tensor, "n features"], z: Float[Tensor, "n latent"]
    ) -> Float[Tensor, "n latent"]:
        """A y + b + L z."""
        free = self.intercept + z @ self.root.T
        return free + y @ self.slope.T if self.conditional else free

    def forward(
        self,
        y: Float[Tensor, "n features"],
        z: Float[Tensor, "n latent"],
        resolution: int = 1,
        offset: Offset = (0, 0, 0),
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions inside `grid.BOX`; every second voxel of them, from `offset` on, at resolution 2."""
        return self.render(self.scores(y, z), resolution, offset)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """All voxels, or every second one."""
        return (1, 2)

    def render(
        self, scores: Float[Tensor, "n latent"], resolution: int = 1, offset: Offset = (0, 0, 0)
    ) -> Float[Tensor, "n 4 i j k"]:
        """Tissue fractions that scores make."""
        inside, blocks = self._masks()
        weighed = scores * self.component_scales
        field = weighed @ self.components.flatten(1).to(scores.dtype)
        coarse = field.new_zeros(len(scores), len(TISSUES), *blocks.shape)
        coarse[:, :, blocks] = field.view(len(scores), len(TISSUES), -1)
        fine = F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
        mean = fine.new_full((len(TISSUES), *inside.shape), OUTSIDE)
        mean[:, inside] = self.mean * self.mean_scale
        if resolution == 2:
            i, j, k = offset
            inside, mean, fine = (x[..., i::2, j::2, k::2] for x in (inside, mean, fine))
        logits = torch.where(inside, mean + fine, mean)
        return torch.softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)

    def _masks(self) -> tuple[Tensor, Tensor]:
        size = extent(grid.BOX)
        bits = np.unpackbits(self.inside.cpu().numpy(), count=int(np.prod(size))).reshape(size).astype(bool)
        device = self.inside.device
        return torch.from_numpy(bits).to(device), torch.from_numpy(inside_blocks(bits)).to(device)


def inside_blocks(inside: NDArray[np.bool_]) -> NDArray[Any]:
    """Blocks of 4 mm with any voxel that is inside."""
    a, b, c = (s // 2 for s in inside.shape)
    return np.asarray(inside.reshape(a, 2, b, 2, c, 2).any(axis=(1, 3, 5)))


def _rounded(x: Float[Tensor, "n v"]) -> tuple[Tensor, Tensor]:
    """Each row as whole numbers from −127 to 127, and its scale."""
    scale = x.abs().amax(dim=1).clamp_min(1e-12) / 127.0
    return torch.round(x / scale[:, None]).to(torch.int8), scale
