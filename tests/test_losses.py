"""Every loss term against a value computed by hand."""

import math

import pytest
import torch

from csegsynth_core.losses import (
    critic_difference,
    feature_distance,
    generator_score,
    gradient_penalty,
    kl_normal,
    latent_kl,
    least_squares,
    noise_error,
    reconstruction_bce,
    reconstruction_l1,
    volume_l1,
    volume_triplet,
)
from csegsynth_core.volumes import volumes_ml


def test_gradient_penalty_is_per_sample():
    # critic(x) = a·x has the gradient a everywhere: norms 5 and 0 per sample, never per voxel.
    slopes = torch.tensor([[3.0, 4.0], [0.0, 0.0]])

    def critic(x):
        return (x * slopes).sum(dim=1)

    value = gradient_penalty(critic, torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([0.2, 0.7]))
    assert value.item() == pytest.approx(((5 - 1) ** 2 + (0 - 1) ** 2) / 2)


def test_gradient_penalty_is_taken_between_real_and_fake():
    # critic(x) = x² has gradient 2x: at 0.25·4 + 0.75·0 = 1 it is 2, so the penalty is 1.
    value = gradient_penalty(
        lambda x: (x**2).sum(dim=1), torch.tensor([[4.0]]), torch.zeros(1, 1), torch.tensor([0.25])
    )
    assert value.item() == pytest.approx(1.0)


def test_gradient_penalty_trains_the_critic():
    weight = torch.tensor([2.0], requires_grad=True)
    gradient_penalty(
        lambda x: (x * weight).sum(dim=1), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1)
    ).backward()
    assert weight.grad.item() == pytest.approx(2.0)  # d(w − 1)²/dw at 2


def test_reconstruction_bce():
    made, real = torch.full((1, 1, 1, 1, 2), 0.25), torch.tensor([1.0, 0.5]).view(1, 1, 1, 1, 2)
    by_hand = (-math.log(0.25) + -0.5 * math.log(0.25) - 0.5 * math.log(0.75)) / 2
    assert float(reconstruction_bce(made, real)) == pytest.approx(by_hand, rel=1e-6)


def test_volume_terms_are_in_ml():
    x = torch.zeros(1, 4, 80, 128, 128)
    x[0, 1, :50, :50, :50] = 0.5
    volumes = volumes_ml(x)
    assert float(volumes[0, 1]) == pytest.approx(50**3 * 0.5 * 0.008)
    assert float(volumes_ml(x[..., ::2, ::2, ::2], resolution=2)[0, 1]) == pytest.approx(25**3 * 0.5 * 0.064)
    assert float(volume_l1(torch.tensor([[500.0, 600.0]]), torch.tensor([[510.0, 560.0]]))) == pytest.approx(
        25.0
    )


def test_triplet_prefers_the_right_persons_volume():
    true, right, wrong = torch.tensor([[500.0]]), torch.tensor([[520.0]]), torch.tensor([[505.0]])
    assert float(volume_triplet(true, right, wrong)) == pytest.approx(15.0)
    assert float(volume_triplet(true, wrong, right)) == 0.0
    assert float(volume_triplet(true, wrong, right, margin_ml=20.0)) == pytest.approx(5.0)


def test_kl_to_the_standard_normal():
    """Eq. 2: KL(N(μ, σ²) ‖ N(0, 1)) = (σ² + μ² − 1 − ln σ²)/2, summed over the code, mean over people."""
    mean, log_variance = (
        torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        torch.log(torch.tensor([[4.0, 1.0], [1.0, 1.0]])),
    )
    by_hand = 0.5 * (4 + 1 - 1 - math.log(4)) / 2
    assert float(kl_normal(mean, log_variance)) == pytest.approx(by_hand, rel=1e-6)
    volume = (x.view(2, 1, 1, 1, 2) for x in (mean, (0.5 * log_variance).exp()))
    assert float(latent_kl(*volume)) == pytest.approx(by_hand, rel=1e-6)


def test_kl_to_the_features_prior():
    """Eq. 9: KL(N(3, 2²) ‖ N(1, 4²)) = ln(4/2) + (2² + (3 − 1)²)/(2·4²) − 1/2; 0 for the same two."""
    q, p = (
        (torch.tensor([[3.0]]), torch.tensor([[4.0]]).log()),
        (torch.tensor([[1.0]]), torch.tensor([[16.0]]).log()),
    )
    assert float(kl_normal(*q, *p)) == pytest.approx(math.log(2) + 8 / 32 - 0.5, rel=1e-6)
    assert float(kl_normal(*q, *q)) == pytest.approx(0.0, abs=1e-7)


def test_wasserstein_terms():
    """Eq. 3 and 11: D(x̂) − D(x) + λ(‖∇D(x̃)‖ − 1)²; Eq. 4 and 10: −D(G(ẑ)). With D(x) = 3x the slope is 3."""
    real, fake = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [0.1]])

    def critic(x):
        return 3.0 * x[:, 0]

    whole = critic_difference(critic(fake), critic(real)) + 10.0 * gradient_penalty(
        critic, real, fake, torch.tensor([0.3, 0.6])
    )
    assert float(whole) == pytest.approx(3 * (0.3 - 1.5) + 10 * (3 - 1) ** 2, rel=1e-6)
    assert float(generator_score(critic(fake))) == pytest.approx(-0.9, rel=1e-6)


def test_noise_error():
    """Eq. 5 and 12, squared and per number."""
    noise, predicted = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 3.0]])
    assert float(noise_error(noise, predicted)) == pytest.approx((1 + 0 + 0 + 9) / 4)


def test_autoencoder_terms():
    made, real = torch.full((1, 1, 1, 1, 2), 0.25), torch.tensor([1.0, 0.5]).view(1, 1, 1, 1, 2)
    assert float(reconstruction_l1(made, real)) == pytest.approx((0.75 + 0.25) / 2)
    assert float(least_squares(torch.tensor([0.5, 2.0]), 1.0)) == pytest.approx((0.25 + 1.0) / 2)
    # directions (3, 4)/5 and (1, 0): squared distance 0.4² + 0.8² = 0.8; a layer of equal directions adds nothing
    layers = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1, 1), torch.tensor([2.0, 0.0]).view(1, 2, 1, 1, 1)]
    others = [torch.tensor([7.0, 0.0]).view(1, 2, 1, 1, 1), torch.tensor([5.0, 0.0]).view(1, 2, 1, 1, 1)]
    assert float(feature_distance(layers, others)) == pytest.approx(0.4, rel=1e-6)
