"""Where the voxel-decoding models start: principal components at 8 mm, read by encoder and drawn by decoder."""

from dataclasses import replace

import pytest
import torch

from csegsynth_core.losses import reconstruction_bce
from csegsynth_core.models.ldm import CLdm, GaussianDenoiser, LdmShapes
from csegsynth_core.volumes import volumes_ml
from tests.toy import make_cohort
from train.config import TrainConfig
from train.engine import build, open_people
from train.start import components


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("toy"), people=24)


def started(cohort, model):
    config = replace(TrainConfig.named("tiny", model), pictures_every=0)
    engine = build(open_people(cohort, config), config)
    engine.method.start(engine, progress=False)
    rows = [int(r) for r in engine.rows(config.stages[0])]
    return engine, engine.maps(rows)


def nearer_than(average, made, maps):
    """How many brains of their own are nearer to the real ones than the average is."""
    own = [float(reconstruction_bce(x[None], real[None])) for x, real in zip(made, maps, strict=True)]
    shared = [float(reconstruction_bce(average[:1], real[None])) for real in maps]
    return sum(a < b for a, b in zip(own, shared, strict=True))


@torch.no_grad()
def test_the_vae_reads_and_draws_components(cohort) -> None:
    engine, maps = started(cohort, "vae")
    model, y = engine.model.eval(), torch.zeros(len(maps), 0)
    found = components(engine, model.decoder.straight.in_features)
    count = len(found.score)
    assert count == len(maps) // 3
    mean, log_variance = model.encode(maps, y)
    read = min(count, model.config.hidden // 2)
    assert torch.allclose(mean[:, :read].var(dim=0, unbiased=False), torch.ones(read), atol=1e-3)
    assert torch.corrcoef(mean[:, :read].T).fill_diagonal_(0).abs().max() < 1e-3
    assert (mean[:, read:] == 0).all() and (log_variance[:, read:] == 0).all()
    assert (log_variance[:, :read] < -3).all()
    average = model.decode(torch.zeros_like(mean), y)
    assert (average - found.mean).abs().mean() < 1e-3
    assert nearer_than(average, model.decode(mean, y), maps) >= 0.9 * len(maps)


@torch.no_grad()
def test_the_gan_draws_components(cohort) -> None:
    engine, maps = started(cohort, "gan")
    z = torch.randn(16, engine.model.config.latent)
    made = engine.model.eval()(torch.zeros(16, 0), z)
    assert torch.allclose(made.sum(dim=1), torch.ones_like(made[:, 0]), atol=1e-5)
    assert made.std(dim=0).mean() > 0.2 * maps.std(dim=0).mean()


@torch.no_grad()
def test_the_autoencoder_reads_and_draws_components_of_blocks(cohort) -> None:
    engine, maps = started(cohort, "ldm")
    autoencoder = engine.model.autoencoder.eval()
    latents, deviation = autoencoder.encode(maps)
    assert latents.std() == pytest.approx(1.0, abs=0.05)
    assert latents.mean(dim=0).abs().max() < 1e-3
    assert (deviation < 0.2).all()
    average = autoencoder.decode(torch.zeros_like(latents[:1]))
    assert (average[0] - maps.mean(dim=0)).abs().mean() < 1e-3
    assert nearer_than(average, autoencoder.decode(latents), maps) >= 0.9 * len(maps)


@pytest.mark.slow
@torch.no_grad()
def test_diffusion_begins_with_a_decoder_that_keeps_mean_volumes(cohort) -> None:
    engine, maps = started(cohort, "ldm")
    autoencoder, stages = engine.model.autoencoder, engine.config.stages
    autoencoder.output.average += torch.tensor([0.4, -0.3, 0.8])[:, None, None, None]
    rows = torch.from_numpy(engine.rows(stages[1]))
    wanted = engine.volumes[rows, :3].mean(dim=0)

    def off() -> torch.Tensor:
        made = autoencoder.eval().decode(autoencoder.encode(maps)[0])
        return (volumes_ml(made)[:, :3].mean(dim=0) / wanted - 1.0).abs()

    assert off().min() > 0.04
    engine.method.begin_stage(engine, stages[1])
    engine.method.before_step(engine, stages[1], 0)
    assert off().max() < 0.01
    now = autoencoder.output.average
    assert torch.equal(engine.averaged["autoencoder.output.average"], now)
    before = now.clone()
    engine.method.before_step(engine, stages[1], 1)
    assert torch.equal(autoencoder.output.average, before)


def test_a_gaussians_latents_are_drawn_with_its_mean_and_spread():
    """DDIM of a U-Net that says nothing: N(m + e U, Σ) at any number of steps, however wide the components are."""
    torch.manual_seed(0)
    model = CLdm(LdmShapes.named("tiny", 3)).eval()
    model.config = replace(model.config, sampling_steps=3)
    for parameter in model.unet.parameters():
        parameter.data.zero_()
    gaussian, width = model.gaussian, model.config.latent
    with torch.no_grad():
        gaussian.axes.copy_(torch.linalg.qr(torch.randn(width, 8))[0].T)
        gaussian.variance.copy_(torch.tensor([1000.0, 300, 100, 30, 10, 3, 1, 0]))
        gaussian.rest.fill_(0.2)
        gaussian.centre.fill_(0.5)
        model.expects.start_at(torch.zeros(8, 3), torch.tensor([20.0, -10, 5, 0, 0, 0, 0, 1]))
        y, noise = torch.zeros(400, 3), torch.randn(400, 1, *model.config.padded_size)
        scores = gaussian.scores(model.denoise(noise, y).flatten(1))
    sd = (gaussian.variance + gaussian.rest).sqrt()
    assert torch.allclose(scores.mean(dim=0), model.expected(y)[0], atol=0.15 * float(sd[0]))
    assert (scores.std(dim=0) / sd).sub(1).abs().max() < 0.12
    with torch.no_grad():  # without noise: what is expected, to the number
        typical = gaussian.scores(model.denoise(0 * noise[:1], y[:1]).flatten(1))
    assert torch.allclose(typical, model.expected(y[:1]), atol=0.02)


def test_the_gaussian_denoiser_is_the_expectation_of_noise():
    """E[ε | z_t] of z ~ N(m, Σ), against the same with the matrix written out and inverted."""
    torch.manual_seed(0)
    people, width = 30, 24
    latents = torch.randn(people, 3) @ torch.randn(3, width) + 0.1 * torch.randn(people, width) + 2.0
    denoiser = GaussianDenoiser(5, width)
    denoiser.fit(latents, 0.04)
    assert torch.allclose(denoiser.axes @ denoiser.axes.T, torch.eye(5), atol=1e-4)
    noised, kept, scores = torch.randn(4, 2, 3, 2, 2), torch.tensor([0.9, 0.5, 0.1, 0.001]), torch.randn(4, 5)
    found = denoiser(noised, kept, scores)
    u = denoiser.axes
    sigma = u.T @ torch.diag(denoiser.variance) @ u + denoiser.rest * torch.eye(width)
    for z, a, s, ours in zip(noised, kept, scores, found, strict=True):
        off = z.flatten() - a.sqrt() * (latents.mean(dim=0) + s @ u)
        wanted = (1 - a).sqrt() * torch.linalg.solve(a * sigma + (1 - a) * torch.eye(width), off)
        assert torch.allclose(ours.flatten(), wanted, atol=1e-3)
    total = float(denoiser.variance.sum() + width * denoiser.rest)
    assert total == pytest.approx(float(latents.var(dim=0, correction=0).sum()) + width * 0.04, rel=1e-3)
    spread = denoiser.scores(latents).var(dim=0, correction=0)
    assert torch.allclose(spread, denoiser.variance + denoiser.rest - 0.04, rtol=1e-3)
