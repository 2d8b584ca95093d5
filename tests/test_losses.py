"""Every loss term against a value computed by hand."""

import math

import pytest
import torch

from csegsynth_core.losses import gradient_penalty, reconstruction_bce, volume_l1, volume_triplet
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
