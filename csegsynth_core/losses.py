"""The loss terms of Eq. 2–15, as pure functions of tensors. Volumes are in mL throughout."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def reconstruction_bce(
    reconstructed: Float[Tensor, "n c i j k"], real: Float[Tensor, "n c i j k"]
) -> Float[Tensor, ""]:
    """L_BCE: voxel-wise binary cross-entropy of fractions, mean over voxels and channels (Eq. 6, 13).

    The same, as −log p_θ(x | z) of independent voxels, is the reconstruction term of Eq. 2 and 9.
    """
    with torch.autocast(reconstructed.device.type, enabled=False):  # torch refuses it in half precision
        return F.binary_cross_entropy(reconstructed.float().clamp(1e-6, 1 - 1e-6), real)


def kl_normal(
    mean: Float[Tensor, "n latent"],
    log_variance: Float[Tensor, "n latent"],
    prior_mean: Float[Tensor, "n latent"] | None = None,
    prior_log_variance: Float[Tensor, "n latent"] | None = None,
) -> Float[Tensor, ""]:
    """KL(q ‖ p) in nats of diagonal Gaussians, summed over the code, mean over people.

    Args:
        prior_mean: of p(z | y) (Eq. 9); without it p is N(0, I) (Eq. 2).
        prior_log_variance: the same.
    """
    if prior_mean is None or prior_log_variance is None:
        prior_mean, prior_log_variance = torch.zeros_like(mean), torch.zeros_like(mean)
    ratio = log_variance - prior_log_variance
    apart = (mean - prior_mean).square() * (-prior_log_variance).exp()
    return 0.5 * (ratio.exp() + apart - 1.0 - ratio).sum(dim=1).mean()


def latent_kl(mean: Float[Tensor, "n c i j k"], deviation: Float[Tensor, "n c i j k"]) -> Float[Tensor, ""]:
    """KL to N(0, I) of an autoencoder's latent volume, summed over it, mean over people (Rombach et al. 2022)."""
    return kl_normal(mean.flatten(1), 2.0 * deviation.flatten(1).clamp_min(1e-6).log())


def critic_difference(fake: Float[Tensor, " n"], real: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """D(x̂) − D(x), mean over each: what the critic descends beside `gradient_penalty` (Eq. 3, 11)."""
    return fake.mean() - real.mean()


def generator_score(fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """−D(G(ẑ)), mean over brains: what the generator descends (Eq. 4; first term of Eq. 10)."""
    return -fake.mean()


def noise_error(noise: Float[Tensor, "n ..."], predicted: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """‖ε − ε_θ‖² per number of the latent, mean over people (Eq. 5, 12).

    The paper prints the norm; its reference for training (Ho et al. 2020, Eq. 14) squares it, and so do we.
    """
    return F.mse_loss(predicted, noise)


def reconstruction_l1(
    reconstructed: Float[Tensor, "n c i j k"], real: Float[Tensor, "n c i j k"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of fractions: the autoencoder's reconstruction term (paper, section IV-B3)."""
    return (reconstructed - real).abs().mean()


def least_squares(score: Float[Tensor, " n"], target: float) -> Float[Tensor, ""]:
    """Mean squared distance of scores to 1 (real) or 0 (made): the autoencoder's adversarial term.

    Mao et al. 2017, as in the latent diffusion model of Pinaya et al. 2022 that the paper follows (section IV-B3).
    """
    return (score - target).square().mean()


def feature_distance(made: list[Tensor], real: list[Tensor]) -> Float[Tensor, ""]:
    """Perceptual term: mean squared difference of a network's activations, normalised over channels in each place.

    Zhang et al. 2018, Eq. 1, with equal weights; the layers' means are averaged.
    """
    total = torch.zeros((), device=made[0].device)
    for a, b in zip(made, real, strict=True):
        total = total + (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(dim=1).mean()
    return total / len(made)


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
