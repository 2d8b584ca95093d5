"""The loss terms of Eq. 6–8 and 13–15, as pure functions of tensors. Volumes are in mL throughout."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def reconstruction_bce(
    reconstructed: Float[Tensor, "n c i j k"], real: Float[Tensor, "n c i j k"]
) -> Float[Tensor, ""]:
    """L_BCE: voxel-wise binary cross-entropy of fractions, mean over voxels and channels (Eq. 6, 13)."""
    return F.binary_cross_entropy(reconstructed.clamp(1e-6, 1 - 1e-6), real)


def volume_l1(predicted: Float[Tensor, "n v"], true: Float[Tensor, "n v"]) -> Float[Tensor, ""]:
    """L1(Vol(x̂), v): mean absolute volume error in mL (Eq. 9, 10, 13)."""
    return (predicted - true).abs().mean()


def volume_triplet(
    anchor: Float[Tensor, "n v"],
    positive: Float[Tensor, "n v"],
    negative: Float[Tensor, "n v"],
    margin_ml: float = 0.0,
) -> Float[Tensor, ""]:
    """TML(v, Vol(x̂), Vol(x̂′)): the right features' volumes must be nearer than the wrong ones' (Eq. 10, 13).

    Distances are mean absolute differences in mL, like `volume_l1`; Schroff et al. 2015.
    """
    near = (anchor - positive).abs().mean(dim=1)
    far = (anchor - negative).abs().mean(dim=1)
    return F.relu(near - far + margin_ml).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Float[Tensor, "n ..."],
    fake: Float[Tensor, "n ..."],
    share: Float[Tensor, " n"],
) -> Float[Tensor, ""]:
    """(‖∇ critic(x̃)‖₂ − 1)² with x̃ = ε real + (1 − ε) fake, one norm per sample (Eq. 3, 7, 8, 14, 15).

    Args:
        share: ε of each sample, drawn from U[0, 1].
    """
    weight = share.view(-1, *([1] * (real.dim() - 1)))
    mixed = (weight * real + (1 - weight) * fake).detach().requires_grad_(True)
    score = critic(mixed)
    (gradient,) = torch.autograd.grad(score.sum(), mixed, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()
