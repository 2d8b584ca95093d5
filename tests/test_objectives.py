"""Every objective, Eq. 2-15, as its method puts it together, against values computed by hand.

Two people with maps of two voxels of 4 mm, and networks so simple that all they make can be written down:

    E(x) = (4 wm − 2, 4 gm), D(x) = 3 wm + gm² of the first voxel; C(a, b) = 2a + b²
    G(a, b): (0.2 + 0.1a, 0.3 + 0.1b, 0.1, 0.4 − 0.1a − 0.1b) and (0.1, 0.2, 0.3, 0.4) in the order of `CHANNELS`
    P(y) = FFN_cgan(y) = (y, −2y); y is 0.5 and 1, and y + y_n is 1 and 0

                      x            ẑ_rec          ẑ_rnd          ẑ_cnd          ẑ′_cnd
    code                           (0, 1)         (1, 0)         (1.5, −1)      (2, −2)
                                   (−1, 2)        (−1, 1)        (0, −1)        (−1, 1)
    first wm, gm      0.50, 0.25   0.20, 0.40     0.30, 0.30     0.35, 0.20
                      0.25, 0.50   0.10, 0.50     0.10, 0.40     0.20, 0.20
    D                 1.5625       0.76           0.99           1.09
                      1            0.55           0.46           0.64
    C                              1              2              4
                                   2              −1             1

Volumes in voxels (v: the people's own), and their mean absolute differences from v:

    v      0.45 0.45 0.4 0.7            0.2 0.6 0.5 0.7
    rec    0.3  0.6  0.4 0.7   0.075    0.2 0.7 0.4 0.7   0.05
    cnd    0.45 0.4  0.4 0.75  0.025    0.3 0.4 0.4 0.9   0.15
    cnd′   0.5  0.3  0.4 0.8   0.075    0.2 0.6 0.4 0.8   0.05
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from csegsynth_core.models.blocks import PriorNetwork
from csegsynth_core.models.gan import CGan, Gan
from csegsynth_core.models.vae import CVae, Vae
from csegsynth_core.models.voxel import Conditioner, VoxelShapes
from train.config import Stage, TrainConfig, Weights
from train.csegsynth import CSegSynthMethod
from train.engine import Batch
from train.gan import GanMethod
from train.vae import VaeMethod

REAL = torch.tensor(
    [
        [[0.5, 0.25], [0.25, 0.5], [0.125, 0.125], [0.125, 0.125]],
        [[0.25, 0.5], [0.5, 0.0], [0.0, 0.25], [0.25, 0.25]],
    ]
).view(2, 4, 1, 1, 2)
VOXEL = 0.008 * 8
"""mL of a voxel of 4 mm."""
VOLUME = VOXEL * torch.tensor([[0.45, 0.45, 0.4, 0.7], [0.2, 0.6, 0.5, 0.7]])
Y = torch.tensor([[0.5], [1.0]])
Y_N = torch.tensor([[0.5], [-1.0]])
Z_RND = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
PRETRAIN, FINETUNE = Stage("pretrain", 2, 1, 1e-3), Stage("finetune", 2, 1, 1e-3)
WEIGHTS = Weights(
    adversarial=0.5, code=0.2, reconstruction=3.0, volume=7.0, triplet=11.0, penalty=10.0, code_regression=0.0
)


class E(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        wm, gm = x[:, 0, 0, 0, 0], x[:, 1, 0, 0, 0]
        return torch.stack([self.slope * wm - 2, self.slope * gm], dim=1)


class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))

    def forward(self, z, resolution=1, offset=(0, 0, 0)):
        a, b = (self.slope * z).unbind(dim=1)
        first = torch.stack([0.2 + a, 0.3 + b, torch.full_like(a, 0.1), 0.4 - a - b], dim=1)
        second = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand_as(first)
        return torch.stack([first, second], dim=2).view(-1, 4, 1, 1, 2)


class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return self.slope * x[:, 0, 0, 0, 0] + x[:, 1, 0, 0, 0] ** 2


class C(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))

    def forward(self, z):
        return self.slope * z[:, 0] + z[:, 1] ** 2


def linear(weight, bias=None):
    """A layer with these numbers; `weight` has a row for each output."""
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else torch.tensor(bias))
    return layer


def reads_features(kind, *slopes):
    """A network of features that multiplies the one there is by each of `slopes`."""
    network = kind(1, len(slopes))
    network.layers = nn.Sequential(linear([[s] for s in slopes]))
    return network


def config_of(model, **weights):
    return replace(TrainConfig.named("paper", model), weights=replace(WEIGHTS, **weights), critic_steps=1)


def phases_of(method, stage, normal=(), uniform=(), integers=()):
    """What the method descends in one step with these draws, all of which it must take, each by its shape."""
    batch = Batch(np.arange(2), REAL, Y, VOLUME, (2, (0, 0, 0)), step=0, total=2, own=slice(0, 2))
    left = [*normal]

    def normal_like(x):
        return left.pop(next(k for k, draw in enumerate(left) if draw.shape == x.shape))

    shares, whole = iter([torch.tensor(u) for u in uniform]), iter([torch.tensor(n) for n in integers])
    batch.normal_like, batch.uniform = normal_like, lambda: next(shares)
    batch.integers = lambda below: next(whole)
    found = list(method.phases(batch, stage))
    assert not left and next(shares, None) is None and next(whole, None) is None
    return {phase.optimiser: phase.terms for phase in found}


def check(terms, **by_hand):
    """Terms are those that were worked out, and so is what is descended, their sum."""
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(by_hand, rel=1e-5)
    assert sum(terms.values()).item() == pytest.approx(sum(by_hand.values()), rel=1e-5)


def cross_entropy(first, second):
    """Of the people's maps when the first voxel's fractions are these; the second's are always the same."""
    constant = (0.1, 0.2, 0.3, 0.4)
    made = [
        *zip((0.5, 0.25, 0.125, 0.125), first, strict=True),
        *zip((0.25, 0.5, 0.125, 0.125), constant, strict=True),
        *zip((0.25, 0.5, 0.0, 0.25), second, strict=True),
        *zip((0.5, 0.0, 0.25, 0.25), constant, strict=True),
    ]
    return sum(-x * math.log(m) - (1 - x) * math.log(1 - m) for x, m in made) / 16


def d_penalty(first_gm, second_gm):
    """(‖∇D‖ − 1)², mean over people; the slope of D is 3 in wm and 2 gm in gm."""
    one, other = math.sqrt(9 + (2 * first_gm) ** 2), math.sqrt(9 + (2 * second_gm) ** 2)
    return ((one - 1) ** 2 + (other - 1) ** 2) / 2


def c_penalty(first_b, second_b):
    """(‖∇C‖ − 1)², mean over people; the slope of C is 2 in a and 2b in b."""
    one, other = math.sqrt(4 + (2 * first_b) ** 2), math.sqrt(4 + (2 * second_b) ** 2)
    return ((one - 1) ** 2 + (other - 1) ** 2) / 2


# ------------------------------------------------------------- VAE and C-VAE


def vae_of(kind, features):
    model = kind(VoxelShapes("tiny", features, latent=2, width=2, hidden=2))
    model.encoder, model.decoder = E(), G()
    model.mean = linear([[1.0, 0.0], [0.0, 1.0]])
    model.log_variance = linear([[0.0, 0.0], [0.0, 0.0]], [math.log(0.25), 0.0])  # σ = (0.5, 1)
    return model


def test_eq_2_vae():
    """L_vae = λ1 KL(N(μ, σ²) ‖ N(0, I)) − λ2 log p(x | z), with μ = E(x): (0, 1) and (−1, 2)."""
    method = VaeMethod(vae_of(Vae, 0), config_of("vae", kl=0.3), None)
    # z = μ + σε: (0 + 0.5·2, 1 − 2) = (1, −1) and (−1 + 0.5·3, 2 − 1) = (0.5, 1)
    found = phases_of(method, PRETRAIN, normal=[torch.tensor([[2.0, -2.0], [3.0, -1.0]])])
    # (σ² + μ² − 1 − ln σ²)/2 of each number of the code
    one = 0.5 * (0.25 + 0 - 1 + math.log(4)) + 0.5 * (1 + 1 - 1 - 0)
    other = 0.5 * (0.25 + 1 - 1 + math.log(4)) + 0.5 * (1 + 4 - 1 - 0)
    check(
        found["main"],
        kl=0.3 * (one + other) / 2,
        reconstruction=3 * cross_entropy((0.3, 0.2, 0.1, 0.4), (0.25, 0.4, 0.1, 0.25)),
    )


def test_eq_9_c_vae():
    """L_cvae = λ1 KL(q(z | x, y) ‖ p(z | y)) − λ2 log p(x | z, y) + λ3 L1(Vol(x̂), v)."""
    model = vae_of(CVae, 1)
    model.condition_encoder = reads_features(Conditioner, 1.0, -1.0)
    model.condition_decoder = reads_features(Conditioner, 2.0, -1.0)
    model.prior.both = reads_features(Conditioner, 2.0, -1.0, 0.0, 0.0)
    with torch.no_grad():
        model.prior.both.layers[-1].bias.copy_(torch.tensor([0.0, 0.0, math.log(4), math.log(0.25)]))
    method = VaeMethod(model, config_of("c_vae", kl=0.3), None)
    # μ = E(x) + (y, −y): (0.5, 0.5) and (0, 1). z = μ + σε: (0, 1) and (0.5, 0). With (2y, −y) added (1, 0.5)
    # and (2.5, −1).
    found = phases_of(method, FINETUNE, normal=[torch.tensor([[-1.0, 0.5], [1.0, -1.0]])])
    # ln(σ_p/σ_q) + (σ_q² + (μ_q − μ_p)²)/(2σ_p²) − 1/2, with μ_p = (2y, −y): (1, −0.5) and (2, −1); σ_p = (2, 0.5)
    one = (math.log(2 / 0.5) + (0.25 + (0.5 - 1) ** 2) / 8 - 0.5) + (
        math.log(0.5 / 1) + (1 + (0.5 + 0.5) ** 2) / 0.5 - 0.5
    )
    other = (math.log(2 / 0.5) + (0.25 + (0 - 2) ** 2) / 8 - 0.5) + (
        math.log(0.5 / 1) + (1 + (1 + 1) ** 2) / 0.5 - 0.5
    )
    # volumes (0.4, 0.55, 0.4, 0.65) and (0.55, 0.4, 0.4, 0.65)
    l1 = ((0.05 + 0.1 + 0 + 0.05) / 4 + (0.35 + 0.2 + 0.1 + 0.05) / 4) / 2
    check(
        found["main"],
        kl=0.3 * (one + other) / 2,
        reconstruction=3 * cross_entropy((0.3, 0.35, 0.1, 0.25), (0.45, 0.2, 0.1, 0.25)),
        volume=7 * l1 * VOXEL,
    )


# ------------------------------------------------------------- GAN and C-GAN


def gan_phases(stage):
    kind, features = (Gan, 0) if stage.kind == "pretrain" else (CGan, 1)
    model = kind(VoxelShapes("tiny", features, latent=2, width=2, hidden=2))
    model.generator, model.discriminator = G(), D()
    draws = [Z_RND]
    if features:
        model.conditioner = reads_features(Conditioner, 1.0, -2.0)
        draws.append(Y_N)
    return phases_of(
        GanMethod(model, config_of(kind.family), None), stage, normal=draws, uniform=[[0.25, 0.5]]
    )


def test_eq_3_gan_discriminator():
    """L_dis = D(x̂) − D(x) + λ (‖∇D(x̃)‖ − 1)², x̃ = εx + (1 − ε)x̂ with ε 0.25 and 0.5."""
    check(
        gan_phases(PRETRAIN)["critic"],
        critic=(0.99 + 0.46) / 2 - (1.5625 + 1) / 2,
        penalty=10 * d_penalty(0.25 * 0.25 + 0.75 * 0.3, 0.5 * 0.5 + 0.5 * 0.4),
    )


def test_eq_4_gan_generator():
    """L_gen = −D(G(ẑ)); the weight is 1 in the paper."""
    check(gan_phases(PRETRAIN)["generator"], score=-0.5 * (0.99 + 0.46) / 2)


def test_eq_10_c_gan_generator():
    """L_cgen = −D(x̂) + λ1 L1(Vol(x̂), v) + λ2 TML(v, Vol(x̂), Vol(x̂′)), ẑ + FFN_cgan(y) as ẑ_cnd above."""
    check(
        gan_phases(FINETUNE)["generator"],
        score=-0.5 * (1.09 + 0.64) / 2,
        volume=7 * VOXEL * (0.025 + 0.15) / 2,
        # the first person's own features are nearer by 0.05, the second's further by 0.1
        triplet=11 * VOXEL * (0 + (0.15 - 0.05)) / 2,
    )


def test_eq_11_c_gan_discriminator():
    """L_cdis = D(x̂) − D(x) + λ3 (‖∇D(x̃)‖ − 1)², ε 0.25 and 0.5."""
    check(
        gan_phases(FINETUNE)["critic"],
        critic=(1.09 + 0.64) / 2 - (1.5625 + 1) / 2,
        penalty=10 * d_penalty(0.25 * 0.25 + 0.75 * 0.2, 0.5 * 0.5 + 0.5 * 0.2),
    )


# ------------------------------------------------------------- LDM and C-LDM


def diffused(stage, slope=0.0):
    """The terms with latents 0.5 and −1 (first number) and 0 of spread 0.5, at t = 0 and 2.

    The U-Net is ε_θ(z_t, t, c) = z_t/2 + t/10 + c, and features enter its context: c = 1/4 + `slope` y.
    """
    pytest.importorskip("einops")  # MONAI's attention layers
    from csegsynth_core.models.family import family
    from csegsynth_core.models.ldm import LdmShapes
    from train.ldm import LdmMethod

    class UNet(nn.Module):
        def forward(self, x, timesteps, context):
            return x / 2 + (timesteps / 10 + context.mean(dim=(1, 2))).view(-1, 1, 1, 1, 1)

    name, features = ("ldm", 0) if stage.kind == "pretrain" else ("c_ldm", 1)
    model = family(name)(replace(LdmShapes.named("tiny", features), components=0))
    model.config = SimpleNamespace(latent_size=[1, 1, 2], padded_size=[1, 1, 2])
    model.unet = UNet()
    model.scale.fill_(2.0)
    with torch.no_grad():
        model.constant.fill_(0.25)
    if features:
        model.conditioner = reads_features(Conditioner, *[slope] * model.constant.numel())
    method = LdmMethod(model, config_of(name), None)
    spread = torch.tensor([0.0, 0.5]).view(1, 1, 1, 1, 2)
    method.latents = {
        row: (torch.tensor([first, 0.0]).view(1, 1, 1, 1, 2), spread) for row, first in ((0, 0.5), (1, -1.0))
    }
    drawn = torch.tensor([[5.0, 1.0], [5.0, -2.0]]).view(2, 1, 1, 1, 2)
    noise = torch.tensor([[1.0, -1.0], [0.5, 2.0]]).view(2, 1, 1, 1, 2)
    return phases_of(method, stage, normal=[drawn, noise], integers=[[0, 2]])


def noise_by_hand(first_context, second_context):
    """Of `diffused`: squares, and per number, as Ho et al. 2020, Eq. 14, have them; the paper prints the norm.

    z is twice (0.5, 0 + 0.5·1) and twice (−1, 0 − 0.5·2); z_t = √ᾱ z + √(1 − ᾱ) ε, ᾱ the product of 1 − β up to t,
    and √β goes in equal steps from √0.0015 to √0.0195.
    """
    betas = [(math.sqrt(0.0015) + k / 999 * (math.sqrt(0.0195) - math.sqrt(0.0015))) ** 2 for k in range(3)]
    kept = (1 - betas[0], (1 - betas[0]) * (1 - betas[1]) * (1 - betas[2]))
    squares = []
    for z, noise, at, t, context in (
        (1.0, 1.0, kept[0], 0, first_context),
        (1.0, -1.0, kept[0], 0, first_context),
        (-2.0, 0.5, kept[1], 2, second_context),
        (-2.0, 2.0, kept[1], 2, second_context),
    ):
        noised = math.sqrt(at) * z + math.sqrt(1 - at) * noise
        squares.append((noise - (noised / 2 + t / 10 + context)) ** 2)
    return sum(squares) / 4


def test_eq_5_ldm():
    """L_ldm = ‖ε − ε_θ(z_t, t)‖."""
    check(diffused(PRETRAIN)["diffusion"], noise=noise_by_hand(0.25, 0.25))


def test_eq_12_c_ldm():
    """L_cldm = ‖ε − ε_θ(z_t, t, y)‖: the context is 1/4 + 3y."""
    check(
        diffused(FINETUNE, slope=3.0)["diffusion"],
        noise=noise_by_hand(0.25 + 3 * 0.5, 0.25 + 3 * 1),
    )


# ------------------------------------------------------------- α-GAN and CSegSynth


def csegsynth_phases(stage, normal, uniform, **weights):
    model = nn.Module()
    model.encoder, model.generator, model.discriminator, model.code_discriminator = E(), G(), D(), C()
    model.conditional = stage.kind != "pretrain"
    if model.conditional:
        model.prior = reads_features(PriorNetwork, 1.0, -2.0)
    settings = replace(
        config_of("csegsynth" if model.conditional else "alpha_gan", **weights), freeze_discriminator=False
    )
    return phases_of(CSegSynthMethod(model, settings, None), stage, normal=normal, uniform=uniform)


def pretrained():
    """ε of brains: 0.25, 0.5 (drawn) and 0.5, 0.75 (rebuilt); of codes 0.25, 0.5."""
    return csegsynth_phases(PRETRAIN, [Z_RND], [[0.25, 0.5], [0.5, 0.75], [0.25, 0.5]])


def finetuned():
    """ε of brains and of codes: 0.25, 0.5 (conditioned) and 0.5, 0.75 (rebuilt); another ẑ_rnd for the last."""
    shares = [[0.25, 0.5], [0.5, 0.75]]
    fresh = torch.tensor([[-1.0, 2.0], [1.0, 0.0]])
    return csegsynth_phases(FINETUNE, [Z_RND, Y_N, fresh], shares * 2)


def test_eq_6_alpha_gan_encoder_and_generator():
    """L_a1 = −D(x̂_rnd) − D(x̂_rec) − λ1 C(ẑ_rec) + λ2 L_BCE(x̂_rec, x); the weight of −D is 1 in the paper."""
    check(
        pretrained()["main"],
        adversarial=-0.5 * ((0.99 + 0.46) / 2 + (0.76 + 0.55) / 2),
        code=-0.2 * (1 + 2) / 2,
        reconstruction=3 * cross_entropy((0.2, 0.4, 0.1, 0.3), (0.1, 0.5, 0.1, 0.3)),
    )


def test_eq_7_alpha_gan_discriminator():
    """L_a2 = D(x̂_rnd) + D(x̂_rec) − 2D(x) + λ3 ((‖∇D(x̃)‖ − 1)² + (‖∇D(x̃′)‖ − 1)²)."""
    drawn = d_penalty(0.25 * 0.25 + 0.75 * 0.3, 0.5 * 0.5 + 0.5 * 0.4)
    rebuilt = d_penalty(0.5 * 0.25 + 0.5 * 0.4, 0.75 * 0.5 + 0.25 * 0.5)
    scores = (0.99 + 0.46) / 2 + (0.76 + 0.55) / 2 - 2 * (1.5625 + 1) / 2
    check(pretrained()["image"], critic=scores + 10 * (drawn + rebuilt))


def test_eq_8_alpha_gan_code_discriminator():
    """L_a3 = C(ẑ_rec) − C(ẑ_rnd) + λ4 (‖∇C(z̃)‖ − 1)², z̃ = ε ẑ_rnd + (1 − ε) ẑ_rec."""
    penalty = c_penalty(0.25 * 0 + 0.75 * 1, 0.5 * 1 + 0.5 * 2)
    check(pretrained()["code"], code_critic=(1 + 2) / 2 - (2 - 1) / 2 + 10 * penalty)


def test_eq_13_csegsynth_encoder_generator_and_prior():
    """L_c1 = −D(x̂_cnd) − D(x̂_rec) − λ1 (C(ẑ_cnd) + C(ẑ_rec)) + λ2 (L1(Vol(x̂_cnd), v) + L1(Vol(x̂_rec), v))
    + λ3 L_BCE(x̂_rec, x) + λ4 TML(v, Vol(x̂_cnd), Vol(x̂′_cnd))."""
    check(
        finetuned()["main"],
        adversarial=-0.5 * ((1.09 + 0.64) / 2 + (0.76 + 0.55) / 2),
        code=-0.2 * ((4 + 1) / 2 + (1 + 2) / 2),
        volume=7 * VOXEL * ((0.025 + 0.15) / 2 + (0.075 + 0.05) / 2),
        reconstruction=3 * cross_entropy((0.2, 0.4, 0.1, 0.3), (0.1, 0.5, 0.1, 0.3)),
        # the first person's own features are nearer by 0.05, the second's further by 0.1
        triplet=11 * VOXEL * (0 + (0.15 - 0.05)) / 2,
    )


def test_eq_14_csegsynth_discriminator():
    """L_c2 = D(x̂_cnd) + D(x̂_rec) − 2D(x) + λ5 ((‖∇D(x̃)‖ − 1)² + (‖∇D(x̃′)‖ − 1)²)."""
    conditioned = d_penalty(0.25 * 0.25 + 0.75 * 0.2, 0.5 * 0.5 + 0.5 * 0.2)
    rebuilt = d_penalty(0.5 * 0.25 + 0.5 * 0.4, 0.75 * 0.5 + 0.25 * 0.5)
    scores = (1.09 + 0.64) / 2 + (0.76 + 0.55) / 2 - 2 * (1.5625 + 1) / 2
    check(finetuned()["image"], critic=scores + 10 * (conditioned + rebuilt))


def test_eq_15_csegsynth_code_discriminator():
    """L_c3 = C(ẑ_cnd) + C(ẑ_rec) − 2C(ẑ_rnd) + λ6 ((‖∇C(z̃)‖ − 1)² + (‖∇C(z̃′)‖ − 1)²).

    ẑ_rnd is a draw of its own, (−1, 2) and (1, 0) of scores 2 and 2, not the one that was shifted to ẑ_cnd.
    """
    conditioned = c_penalty(0.25 * 2 + 0.75 * -1, 0.5 * 0 + 0.5 * -1)
    rebuilt = c_penalty(0.5 * 2 + 0.5 * 1, 0.75 * 0 + 0.25 * 2)
    scores = (4 + 1) / 2 + (1 + 2) / 2 - 2 * (2 + 2) / 2
    check(finetuned()["code"], code_critic=scores + 10 * (conditioned + rebuilt))


def test_eq_13_of_the_prior_network_alone():
    """Its terms of Eq. 13, with a stage's factor on volumes, and code regression beside them (ours).

    P(y) is (0.5, −1) and (1, −2), the people's own codes (0, 1) and (−1, 2).
    """
    stage = Stage("prior", 2, 1, 1e-3, volume_factor=2.0)
    fresh = torch.tensor([[-1.0, 2.0], [1.0, 0.0]])
    found = csegsynth_phases(stage, [Z_RND, Y_N, fresh], [[0.25, 0.5], [0.5, 0.75]], code_regression=13.0)
    assert found.keys() == {"main", "code"}
    check(
        found["main"],
        code=-0.2 * (4 + 1) / 2,
        volume=2 * 7 * VOXEL * (0.025 + 0.15) / 2,
        triplet=2 * 11 * VOXEL * (0 + (0.15 - 0.05)) / 2,
        code_regression=13 * (0.5**2 + 2**2 + 2**2 + 4**2) / 4,
    )
