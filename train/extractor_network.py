"""Our own feature extractor for FID: two small networks, of slices and of volumes, that see single voxels of 2 mm."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core.network_folder import load_network
from csegsynth_core.tissue import TISSUES
from train.degrade import KINDS

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "extractor"
"""Where the trained networks are: `weights.safetensors`, `extractor.json` (hash, data, measurements), `card.md`."""
WIDTHS: Final = (12, 24, 48, 64)
"""Channels at 2, 4, 8 and 16 mm."""


class FeatureExtractor(nn.Module):
    """Convolutions that halve resolution three times, and linear heads for what is trained for.

    Args:
        dimensions: 2 for slices, 3 for volumes.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        before = 1
        layers = []
        for k, width in enumerate(WIDTHS):
            layers.append(kind(before, width, 3, stride=1 if k == 0 else 2, padding=1))
            before = width
        self.layers = nn.ModuleList(layers)
        self.width = WIDTHS[-2] + WIDTHS[-1]
        self.degraded = nn.Linear(self.width, len(KINDS))
        self.tissue = nn.Linear(self.width, len(TISSUES))
        self.person = nn.Linear(self.width, 2)
        self.place = nn.Linear(self.width, dimensions)
        self.saw: frozenset[str] = frozenset()
        """Keys of the people that it was trained on (`train.people.person_key`)."""

    def forward(self, x: Float[Tensor, "n 1 *size"]) -> Float[Tensor, "n width"]:
        """Activations of the last two layers, averaged over places."""
        means = []
        for layer in self.layers:
            x = torch.relu(layer(x))
            means.append(x.flatten(2).mean(dim=2))
        return torch.cat(means[-2:], dim=1)


@lru_cache(maxsize=2)
def own_extractors(folder: Path = FOLDER) -> tuple[FeatureExtractor, FeatureExtractor]:
    """The trained networks of slices and of volumes, in evaluation mode.

    Raises:
        PackError: missing, or damaged.
    """

    def build(about: dict[str, Any], weights: dict[str, Tensor]) -> tuple[FeatureExtractor, FeatureExtractor]:
        models = (FeatureExtractor(2), FeatureExtractor(3))
        for name, model in zip(("slices.", "volumes."), models, strict=True):
            model.load_state_dict({k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)})
            model.eval().requires_grad_(False)
            model.saw = frozenset(about.get("people", ()))
        return models

    return load_network(folder, "extractor", build, title="feature extractor")
