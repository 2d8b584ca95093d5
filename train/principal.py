"""Where the compact generator's training starts: at the principal components of people's own fields.

Every training brain is first fitted by itself: the template is carried onto it by an affine map, a velocity
field and a log-ratio field of its own (those that a code controls later). The principal components of these
fields become the generator's linear part, and people's scores on them, which have mean 0 and variance 1 as
N(0, I) has, become the first codes. So α-GAN training (Eq. 6–8) starts at a linear-Gaussian model of anatomy
and has to improve on it; what costs thousands of steps from a random start costs minutes.

Fitting by gradient descent on a smooth velocity field: Beg et al. 2005, Ashburner 2007 (stationary velocity).
Components of deformations: Rueckert et al. 2003 ("statistical deformation models").
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from csegsynth_core.losses import reconstruction_bce
from csegsynth_core.models.csegsynth import Controls, TemplateGenerator
from csegsynth_core.side_by_side import side_by_side
from csegsynth_core.volumes import volumes_ml

logger = logging.getLogger(__name__)

ROUGH_VELOCITY = 2e-4
"""Weight of the mean squared difference between neighbouring velocities, mm²."""
ROUGH_RATIO = 4e-3
"""The same for log-ratios."""
LARGE_RATIO = 4e-4
"""Weight of the mean squared log-ratio field: where both can, the template is moved rather than re-weighted."""
VOLUME = 2e-4
"""Weight of the mean absolute volume error, per mL."""


RATES = (0.12, 0.04, 0.02)
"""Learning rates of velocity, log-ratios and affine map."""


SLOPE_STEP = 0.25
"""Step of code for slopes of volumes."""
NEWTON_STEPS = 4
LONGEST = 2.0


@dataclass(frozen=True)
class Fields:
    """What people's own fields add to the average's; see `Controls` for units."""

    velocity: Float[Tensor, "n 3 i4 j4 k4"]
    ratios: Float[Tensor, "n 3 i4 j4 k4"]
    affine: Float[Tensor, "n 12"]

    @classmethod
    def nothing(cls, people: int, generator: TemplateGenerator) -> Fields:
        """The average's fields for everybody."""
        zeros = torch.zeros(people, 3, *generator.coarse, device=generator.template.device)
        return cls(zeros, zeros.clone(), torch.zeros(people, 12, device=zeros.device))


def fit_people(
    generator: TemplateGenerator,
    maps_of: Callable[[list[int]], Float[Tensor, "n 4 i j k"]],
    people: int,
    *,
    steps: int,
    batch: int = 4,
    progress: bool = True,
) -> Fields:
    """Carry the template onto each of `people` brains.

    Args:
        generator: gives the template and the average's fields, from which everybody starts.
        maps_of: maps of some people inside the generator's region, at 2 mm.
        steps: of gradient descent for each person, each on every second voxel from another one.
    """
    with torch.no_grad():
        mean = generator.controls(
            torch.zeros(1, generator.expand.in_features, device=generator.template.device)
        )
    found = []
    for first in tqdm(range(0, people, batch), desc="fields", unit="batch", disable=not progress):
        rows = list(range(first, min(first + batch, people)))
        found.append(_descend(generator, mean, maps_of(rows), steps))
    return Fields(*(torch.cat([getattr(f, k) for f in found]) for k in ("velocity", "ratios", "affine")))


def _descend(generator: TemplateGenerator, mean: Controls, real: Tensor, steps: int) -> Fields:
    own = Fields.nothing(len(real), generator)
    groups = [
        {"params": [t.requires_grad_(True)], "lr": rate}
        for t, rate in zip((own.velocity, own.ratios, own.affine), RATES, strict=True)
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    volume = volumes_ml(real)[:, :3]
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, RATES, strict=True):
            group["lr"] = rate * min(1.0, 2.0 * (1.0 - step / steps) + 0.05)
        i, j, k = (int(v) for v in torch.randint(2, (3,)))
        now = Controls(mean.velocity + own.velocity, mean.ratios + own.ratios, mean.affine + own.affine)
        made = generator.render(now, 2, (i, j, k))
        loss = (
            reconstruction_bce(made, real[..., i::2, j::2, k::2])
            + ROUGH_VELOCITY * _roughness(own.velocity)
            + ROUGH_RATIO * _roughness(own.ratios)
            + LARGE_RATIO * own.ratios.square().mean()
            + VOLUME * (volumes_ml(made, 2)[:, :3] - volume).abs().mean()
        )
        optimiser.zero_grad()
        (len(real) * loss).backward()
        optimiser.step()
    logger.debug("fields: loss %.4f", float(loss.detach()))
    return Fields(own.velocity.detach(), own.ratios.detach(), own.affine.detach())


def start_at_components(
    generator: TemplateGenerator, fields: Fields, volumes: Float[Tensor, "n v"]
) -> Float[Tensor, "n latent"]:
    """Make the generator's linear part the principal components of people's fields.

    Displacement (velocity and affine), log-ratios and tissue volumes count alike: each is divided by the root of
    its total variance. Volumes are among them so that what sets them is not lost in a late component.

    Args:
        volumes: mL, of the same people.

    Returns:
        Scores on the components, mean 0 and standard deviation 1; zeros beyond the components.
    """
    device = fields.velocity.device
    flat = [t.flatten(1) for t in (fields.velocity, fields.ratios, fields.affine)]
    moved = generator.displacement_of_affine(fields.affine).flatten(1) + flat[0]
    seen = [t - t.mean(dim=0) for t in (moved, flat[1], volumes.log())]
    gram = sum((t @ t.T / t.square().sum() for t in seen), torch.zeros((), device=device)).double()
    values, vectors = torch.linalg.eigh(gram)
    people = len(vectors)
    count = min(generator.components, people - 1)
    scores = (vectors.flip(1)[:, :count] * people**0.5).float()
    scores = scores - scores.mean(dim=0)
    share = float(values.flip(0)[:count].sum() / values.sum())
    logger.info(
        "%d components hold %.1f %% of the variance of %d people's fields", count, 100 * share, people
    )
    with torch.no_grad():
        per_unit = [(scores.T @ t / people).T for t in flat]  # regression on scores of variance 1
        generator.linear.weight[:, :count] = torch.cat([per_unit[0], per_unit[1]])
        generator.linear.bias += torch.cat([flat[0].mean(dim=0), flat[1].mean(dim=0)])
        generator.affine.weight[:, :count] = per_unit[2]
        generator.affine.bias += flat[2].mean(dim=0)
    return F.pad(scores, (0, generator.expand.in_features - count))


@torch.no_grad()
def log_volumes(generator: TemplateGenerator, codes: Float[Tensor, "n latent"]) -> Float[Tensor, "n 3"]:
    """Logarithms of WM, GM and CSF, mL, of codes' brains without noise, by every second voxel."""

    def volumes(code: Float[Tensor, " latent"]) -> Float[Tensor, "1 3"]:
        return volumes_ml(generator(code[None], 2), 2)[:, :3]

    each = side_by_side(volumes, list(codes)) if codes.device.type == "cpu" else map(volumes, codes)
    return torch.cat(list(each)).log()


@torch.no_grad()
def at_volumes(
    generator: TemplateGenerator, codes: Float[Tensor, "n latent"], volumes: Float[Tensor, "n 3"]
) -> Float[Tensor, "n latent"]:
    """The nearest codes whose brains have these volumes.

    Newton's method on the logarithms of volumes, with their slopes about the mean code, in steps no longer than
    `LONGEST`, so that codes on which volumes hardly depend stay near where they were.

    Args:
        generator: makes brains of codes.
        codes: of people.
        volumes: WM, GM and CSF of the same people, mL.
    """
    near = codes.mean(dim=0) + SLOPE_STEP * torch.eye(codes.shape[1], device=codes.device)
    far = codes.mean(dim=0) - SLOPE_STEP * torch.eye(codes.shape[1], device=codes.device)
    slopes = (log_volumes(generator, near) - log_volumes(generator, far)) / (2 * SLOPE_STEP)
    back = torch.linalg.pinv(slopes.T)
    for _ in range(NEWTON_STEPS):
        off = volumes.log() - log_volumes(generator, codes)
        logger.info("volumes of codes are off by %s %%", (100 * off.std(dim=0)).cpu().numpy().round(1))
        step = off @ back.T
        codes = codes + step / step.norm(dim=1, keepdim=True).div(LONGEST).clamp_min(1.0)
    return codes


def evenly(people: int, most: int) -> NDArray[np.int64]:
    """Places of so many people at most, at even distances."""
    return np.linspace(0, people - 1, min(people, most)).round().astype(np.int64)


def _roughness(field: Float[Tensor, "n c i j k"]) -> Tensor:
    """Sum over directions of the mean squared difference between neighbours."""
    return sum((field.diff(dim=d).square().mean() for d in (2, 3, 4)), torch.zeros((), device=field.device))
