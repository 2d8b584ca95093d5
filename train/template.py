"""The template that the compact generator deforms, and where its training starts.

The template is ICBM152 with its tissue probabilities sharpened at 1 mm and averaged to 2 mm: crisp gyri,
real partial volumes at their borders, no person's anatomy. It stays as it is; what is learned is how to move it.

Probabilities say where sulci of many people lie, not how sharp anybody's are. So the contrast of CSF to grey matter
may be told in part by the T1 average of the same people, which is crisper (`TrainConfig.template_t1`).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from csegsynth_core.data import icbm
from csegsynth_core.data.align import block_average
from csegsynth_core.models.csegsynth import Controls, Region, TemplateGenerator
from csegsynth_core.tissue import TISSUES

SHARPNESS = 5.0
"""Exponent on ICBM152's tissue probabilities at 1 mm: as many voxels of one tissue alone as real maps have."""
FLOOR = 5e-4
"""Least fraction kept before the logarithm, so that log-ratios stay finite: small, so that a voxel of one tissue
remains one when the tissues' balance is shifted."""

DEEP_FLOOR = 5e-5
"""The same where the template is background alone: further from any tissue, so that none leaks out there."""


def template_fractions(region: Region) -> Float[Tensor, "4 i j k"]:
    """Sharpened ICBM152 fractions inside `region` at 2 mm, channels in the order of `CHANNELS`."""
    fine = icbm.on_grid(factor=2)
    tissues = torch.stack([torch.from_numpy(fine[t]) for t in TISSUES])
    background = (1.0 - tissues.sum(dim=0, keepdim=True)).clamp(0.0, 1.0)
    sharp = torch.cat([tissues, background]).clamp(0.0, 1.0) ** SHARPNESS
    sharp = sharp / sharp.sum(dim=0, keepdim=True).clamp_min(1e-8)
    return torch.from_numpy(block_average(sharp.numpy(), 2))[(slice(None), *region)].contiguous()


def log_ratios(region: Region, t1_share: float = 0.0) -> Float[Tensor, "3 i j k"]:
    """The template's log-ratios tissue : background inside `region`.

    Args:
        t1_share: how much of the log-odds of CSF against grey matter is told by T1 intensities
            (`icbm.contrasts`, averaged to 2 mm), 0 to 1; the rest by probabilities. What tissues have together stays.
    """
    return _log_ratios(tuple((s.start, s.stop) for s in region), t1_share).clone()


@lru_cache(maxsize=2)
def _log_ratios(bounds: tuple[tuple[int, int], ...], t1_share: float) -> Float[Tensor, "3 i j k"]:
    """`log_ratios` inside these bounds, worked out once: a second each."""
    region = tuple(slice(low, high) for low, high in bounds)
    fractions = template_fractions(region)
    outside = fractions[-1:] > 0.999
    fractions = torch.where(outside, fractions.clamp_min(DEEP_FLOOR), fractions.clamp_min(FLOOR))
    ratios = torch.log(fractions[:-1]) - torch.log(fractions[-1:])
    if not t1_share:
        return ratios
    told = torch.from_numpy(block_average(icbm.csf_contrast_on_grid(factor=2)[None], 2))[(0, *region)]
    together = ratios.logsumexp(dim=0, keepdim=True)
    wm, gm, csf = (TISSUES.index(t) for t in ("wm", "gm", "csf"))
    out = torch.zeros_like(ratios)
    out[wm] = ratios[wm] - ratios[gm]
    out[csf] = t1_share * told + (1.0 - t1_share) * (ratios[csf] - ratios[gm])
    return out - out.logsumexp(dim=0, keepdim=True) + together


def set_template(generator: TemplateGenerator, t1_share: float = 0.0) -> None:
    """Store the template's log-ratios in the generator (see `log_ratios`)."""
    generator.template.copy_(log_ratios(generator.region, t1_share))


def start_at_average(
    generator: TemplateGenerator, average: Float[Tensor, "4 i2 j2 k2"], *, steps: int = 80
) -> float:
    """Fit size, place and regional tissue shares of the undisturbed template to the average training brain.

    Only the affine's bias and the shared log-ratio field move. Both brains are compared after averaging over
    12 mm, so that the template keeps its gyri where the average's have been blurred away.

    Args:
        average: mean training maps inside the generator's region, at 4 mm.

    Returns:
        Final mean absolute difference of the compared fractions.
    """
    shared = torch.zeros(1, len(TISSUES), *generator.coarse, device=average.device, requires_grad=True)
    parameters = [generator.affine.bias, shared]
    optimiser = torch.optim.Adam(
        [{"params": parameters[:1], "lr": 0.03}, {"params": parameters[1:], "lr": 0.05}], betas=(0.9, 0.99)
    )
    code = torch.zeros(1, generator.expand.in_features, device=average.device)
    with torch.no_grad():
        still = generator.controls(code)
    target = F.avg_pool3d(average.unsqueeze(0), 3)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        now = Controls(still.velocity, still.ratios + shared, generator.affine.bias[None])
        found = F.avg_pool3d(generator.render(now, 2), 3)
        loss = (found - target).abs().mean()
        (loss + 1e-4 * shared.square().mean()).backward()
        optimiser.step()
    generator.zero_grad()
    with torch.no_grad():
        generator.linear.bias.view(2, -1)[1] += shared.flatten()
    return float(loss.detach())
