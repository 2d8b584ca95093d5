"""Where the voxel-decoding models start: at the mean brain, and at principal components of brains at 8 mm.

From a random start the decoder first learns what all brains have in common, does without its code meanwhile, and the
code collapses: on two cores that would take hours. CSegSynth starts at principal components too (`train.principal`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from csegsynth_core.models.blocks import shuffle_down
from csegsynth_core.models.csegsynth import CompactTrunk
from csegsynth_core.models.ldm import TissueAutoencoder
from csegsynth_core.models.voxel import VoxelDecoder, ratios_at_8mm
from csegsynth_core.tissue import TISSUES
from train.engine import Engine

PEOPLE_PER_COMPONENT = 3
"""At least so many training people for each component."""


@dataclass(frozen=True)
class Components:
    """Principal components of the training people's tissues at 8 mm."""

    mean: Float[Tensor, "4 i j k"]
    """Mean maps."""
    centre: Float[Tensor, " v"]
    """Mean of the tissues at 8 mm, flat."""
    score: Float[Tensor, "components v"]
    """What makes a score, of variance 1, of tissues at 8 mm less their mean."""
    ratios: Float[Tensor, "components v"]
    """What a unit of each score adds to the log-ratios tissue : background at 8 mm."""


@torch.no_grad()
def components(engine: Engine, most: int) -> Components:
    """Components of everybody but the validation people, `most` at most."""
    rows = _rows(engine)
    total = torch.zeros_like(engine.maps([rows[0]])[0])

    def tell(maps: Tensor) -> Tensor:
        total.add_(maps[0])
        tissues = F.avg_pool3d(maps[:, : len(TISSUES)], 4).flatten(1)
        return torch.stack([tissues, ratios_at_8mm(maps).flatten(1)], dim=1)

    seen, ratios = engine.told_by_maps(rows, tell).unbind(dim=1)
    centre = seen.mean(dim=0)
    _, spread, directions = torch.linalg.svd(seen - centre, full_matrices=False)
    count = max(1, min(most, len(rows) // PEOPLE_PER_COMPONENT))
    score = directions[:count] * (len(rows) ** 0.5 / spread[:count, None].clamp_min(1e-6))
    scores = (seen - centre) @ score.T
    by_score = scores.T @ (ratios - ratios.mean(dim=0)) / len(rows)
    return Components(total / len(rows), centre, score, by_score)


def _rows(engine: Engine) -> list[int]:
    """Everybody but the validation people."""
    return [int(row) for row in engine.rows(engine.config.stages[0])]


def start_decoder(engine: Engine, decoder: VoxelDecoder) -> Components:
    """Make a decoder's straight way that of the components."""
    found = components(engine, decoder.straight.in_features)
    decoder.start_at(found.mean, found.ratios)
    return found


@torch.no_grad()
def start_encoder(trunk: CompactTrunk, mean: nn.Linear, log_variance: nn.Linear, found: Components) -> None:
    """Make an encoder's mean the scores. Codes beyond the components say nothing at first.

    The numbers between trunk and heads pass through a GELU; since GELU(a) − GELU(−a) = a, a pair of them carries a
    score unchanged.

    Args:
        mean: last layer of the head of means, 2 × components inputs or more; fewer carry the first components alone.
        log_variance: last layer of the other head.
    """
    count = min(len(found.score), mean.in_features // 2)
    weight, bias = torch.zeros_like(trunk.straight.weight), torch.zeros_like(trunk.straight.bias)
    weight[:count], weight[count : 2 * count] = found.score[:count], -found.score[:count]
    bias[: 2 * count] = -(weight[: 2 * count] @ found.centre)
    trunk.start_at(weight, bias)
    for tensor in (mean.weight, mean.bias, log_variance.weight):
        nn.init.zeros_(tensor)
    k = torch.arange(count)
    mean.weight[k, k], mean.weight[k, count + k] = 1.0, -1.0
    log_variance.bias[count:] = 0.0


@torch.no_grad()
def codes_of_people(engine: Engine, decoder: VoxelDecoder) -> Float[Tensor, "n latent"]:
    """Codes of the training people by the decoder's straight way alone: least squares, nothing where it is empty."""
    ratios = engine.told_by_maps(engine.people.train, lambda maps: ratios_at_8mm(maps).flatten(1))
    weight = decoder.straight.weight
    if not weight.any():
        return torch.zeros(len(ratios), weight.shape[1], device=weight.device)
    gram = weight.T @ weight
    some = 1e-3 * gram.diagonal().max() * torch.eye(len(gram), device=gram.device)
    return torch.linalg.solve(gram + some, weight.T @ (ratios - ratios.mean(dim=0)).T).T


@torch.no_grad()
def start_autoencoder(engine: Engine, autoencoder: TissueAutoencoder) -> None:
    """Make an autoencoder's straight way, both directions, the principal components of small blocks.

    A block is 2×2×2 voxels of 8 mm: 24 log-ratios, less their mean over people, become as many numbers as the latent
    volume has channels; components are the same for every block and person. Each log-ratio counts in units of its
    standard deviation, and each block as much as its mean fractions f can change, f (1 − f): a shift of log-ratios
    changes little in white matter or background, and among all blocks alike CSF would be lost.
    """
    rows = _rows(engine)
    total = torch.zeros_like(engine.maps([rows[0]])[0])

    def tell(maps: Tensor) -> Tensor:
        total.add_(maps[0])
        return ratios_at_8mm(maps)

    every = engine.told_by_maps(rows, tell)
    centre, mean = every.mean(dim=0), total / len(rows)
    blocks = shuffle_down(every - centre).flatten(2)  # (people, 24, blocks)
    unit = blocks.square().mean(dim=(0, 2)).sqrt().clamp_min(1e-6)
    fractions = F.avg_pool3d(mean[: len(TISSUES)], 4)
    weight = shuffle_down((fractions * (1.0 - fractions))[None]).flatten(2).mean(dim=1)  # (1, blocks)
    blocks = blocks / unit[:, None]
    covariance = torch.einsum("nib,njb->ij", blocks * weight, blocks) / len(rows)
    _, vectors = torch.linalg.eigh(covariance)
    directions = vectors[:, -autoencoder.reads.out_channels :].T
    scores = torch.einsum("ci,nib->cnb", directions, blocks)
    spread = scores.square().mean(dim=(1, 2)).sqrt().clamp_min(1e-6)[:, None]
    autoencoder.start_at(mean, centre, directions / spread / unit, (directions * spread * unit).T)
