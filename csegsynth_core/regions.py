"""Volumes of regions (ventricles, cortex, lobes, …) of any brain on our grid, by the shipped parcellation network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.models.parcellation import SIZE, ParcellationNetwork
from csegsynth_core.network_folder import load_network
from csegsynth_core.substructures import PARCELS, REGIONS
from csegsynth_core.tissue import TISSUES

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "parcellation"
"""Where the trained network is: `weights.safetensors`, `parcellation.json` (hash, data, Dice), `card.md`."""

_ML = grid.VOXEL_ML * 8


@lru_cache(maxsize=2)
def network(folder: Path = FOLDER) -> ParcellationNetwork:
    """The trained network, in evaluation mode.

    Raises:
        PackError: missing, or damaged.
    """

    def build(about: dict[str, Any], weights: dict[str, Tensor]) -> ParcellationNetwork:
        if about["parcels"] != list(PARCELS):
            raise ValueError("other parcels than this version's")
        out = ParcellationNetwork(int(about["width"]))
        out.load_state_dict(weights)
        return out.eval().requires_grad_(False)

    return load_network(folder, "parcellation", build, title="parcellation network")


def at_4mm(x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n 3 a b c"]:
    """Tissue maps inside `grid.BOX` at 4 mm, of maps on the whole grid, in the box, or every second voxel of it.

    Raises:
        ValueError: the maps have another shape.
    """
    x = x[:, : len(TISSUES)]
    if tuple(x.shape[2:]) == grid.SHAPE:
        x = x[(slice(None), slice(None), *grid.BOX)]
    if tuple(x.shape[2:]) == SIZE:
        return x
    if tuple(x.shape[2:]) != tuple(2 * s for s in SIZE):
        raise ValueError(
            f"expected maps of {grid.SHAPE}, its box or every second voxel, got {tuple(x.shape[2:])}"
        )
    return F.avg_pool3d(x, 2)


def region_volumes_ml(x: Float[Tensor, "n c i j k"]) -> Float[Tensor, "n regions"]:
    """Volume in mL of every region of `REGIONS`; differentiable.

    The first five (ventricles, cortical GM, deep GM, cerebellum, brainstem), cerebral WM and CSF outside the
    ventricles add up to WM + GM + CSF.

    Args:
        x: tissue fractions, channels in the order of `TISSUES` (more are ignored); see `at_4mm` for shapes.
    """
    return torch.stack(list(each_region_ml(x).values()), dim=1)


def each_region_ml(x: Float[Tensor, "n c i j k"]) -> dict[str, Float[Tensor, " n"]]:
    """The same, each region by itself: its gradient goes back through the parcels of its own tissues alone."""
    maps = at_4mm(x)
    parcels = parcels_ml(maps, parcel_shares(maps))
    return {r.name: torch.stack([parcels[p] for p in r.parcels]).sum(dim=0) for r in REGIONS}


def parcel_shares(maps: Float[Tensor, "n 3 a b c"]) -> dict[str, Float[Tensor, "n a b c"]]:
    """Parcel of `PARCELS` → its share of its tissue everywhere, at 4 mm; those of a tissue sum to 1.

    Args:
        maps: as from `at_4mm`.
    """
    found = network().by_tissue(maps)
    return {
        parcel: share
        for tissue, shares in found.items()
        for parcel, share in zip(
            (p for p, t in PARCELS.items() if t == tissue), shares.unbind(dim=1), strict=True
        )
    }


def parcels_ml(
    maps: Float[Tensor, "n 3 a b c"], shares: Mapping[str, Float[Tensor, "n a b c"]]
) -> dict[str, Float[Tensor, " n"]]:
    """Parcel → mL of something that its tissue has everywhere at 4 mm, such as its fraction; `shares` as from
    `parcel_shares`."""
    return {
        parcel: (maps[:, TISSUES.index(PARCELS[parcel])] * share).sum(dim=(1, 2, 3)) * _ML
        for parcel, share in shares.items()
    }


def region_table(maps: NDArray[np.float32]) -> dict[str, float]:
    """Volume in mL by name of every region of one brain, maps of shape (≥ 3, 80, 128, 128)."""
    with torch.inference_mode():
        inside = np.ascontiguousarray(maps[(slice(len(TISSUES)), *grid.BOX)])[None]
        found = region_volumes_ml(torch.from_numpy(inside))[0]
    return {r.name: float(v) for r, v in zip(REGIONS, found, strict=True)}


def parcel_map(maps: NDArray[np.float32], parcel: str) -> NDArray[np.float32]:
    """Fraction of one parcel in every voxel, (80, 128, 128): its tissue's map times the network's share (4 mm).

    Args:
        maps: (≥ 3, 80, 128, 128) fractions in the order of `TISSUES`.
        parcel: one of `PARCELS`, such as `ventricles`.

    Raises:
        KeyError: there is no such parcel.
        PackError: see `network`.
    """
    tissue = TISSUES.index(PARCELS[parcel])
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(maps[(slice(len(TISSUES)), *grid.BOX)])[None])
        share = parcel_shares(at_4mm(x))[parcel][:, None]
        fine = F.interpolate(share, scale_factor=2, mode="trilinear")[0, 0].numpy()
    out = np.zeros(grid.SHAPE, np.float32)
    out[grid.BOX] = maps[tissue][grid.BOX] * fine
    return out
