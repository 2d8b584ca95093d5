"""The template that the compact generator deforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from csegsynth_core import grid
from csegsynth_core.data import icbm
from csegsynth_core.data.align import block_average
from csegsynth_core.models.csegsynth import Config as Shapes
from csegsynth_core.models.csegsynth import CSegSynth
from csegsynth_core.tissue import TISSUES
from train.template import log_ratios, set_template


def _apart(ratios: torch.Tensor, one: str, other: str) -> torch.Tensor:
    return ratios[TISSUES.index(one)] - ratios[TISSUES.index(other)]


@pytest.fixture(scope="module")
def ratios() -> dict[float, torch.Tensor]:
    return {share: log_ratios(grid.BOX, share) for share in (0.0, 0.4)}


def test_t1_tells_the_contrast_of_csf_and_nothing_else(ratios):
    plain, both = (_apart(ratios[share], "csf", "gm") for share in (0.0, 0.4))
    told = torch.from_numpy(block_average(icbm.csf_contrast_on_grid(factor=2)[None], 2))[(0, *grid.BOX)]
    assert both.numpy() == pytest.approx((0.4 * told + 0.6 * plain).numpy(), abs=1e-4)
    white = [_apart(ratios[share], "wm", "gm").numpy() for share in (0.0, 0.4)]
    assert white[1] == pytest.approx(white[0], abs=1e-4)
    outside = [torch.cat([r, torch.zeros_like(r[:1])]).softmax(dim=0)[-1] for r in ratios.values()]
    assert float((outside[1] - outside[0]).abs().max()) < 1e-5, "outlines stay"
    cortex = ratios[0.0].argmax(dim=0) == TISSUES.index("gm")
    cortex &= outside[0] < 0.01
    alike = np.corrcoef(told[cortex].numpy(), plain[cortex].numpy())[0, 1]
    assert 0.3 < alike < 0.99, "the same sulci, told otherwise"


def test_a_generator_gets_the_template_that_it_is_to_have(ratios):
    model = CSegSynth(Shapes.compact(2, latent=4, width=8), training_networks=False)
    set_template(model.generator, 0.4)
    assert torch.equal(model.generator.template, ratios[0.4])
    set_template(model.generator)
    assert torch.equal(model.generator.template, ratios[0.0])


def test_intensities_tell_tissues():
    """Typical intensities, by equal priors, are their own tissue's; between two tissues none is sure."""
    names = ("wm", "gm", "csf")
    sharp = np.float32([0.83, 0.66, 0.36, (0.83 + 0.66) / 2, (0.66 + 0.36) / 2])
    wm, csf = icbm.contrasts(sharp, {n: np.full(5, 1 / 3, np.float32) for n in names})
    assert wm[0] == -wm[1] == pytest.approx(0.17**2 / (2 * 0.068**2), rel=1e-4)
    assert csf[2] == -csf[1] == pytest.approx(0.30**2 / (2 * 0.068**2), rel=1e-4)
    assert wm[3] == pytest.approx(0.0, abs=1e-4) and csf[4] == pytest.approx(0.0, abs=1e-4)


def test_unsharp_masking_keeps_what_is_even_and_raises_what_stands_out():
    mask = np.ones((15, 15, 15), bool)
    even = np.full(mask.shape, 0.5, np.float32)
    assert icbm.unsharp_masked(even, mask) == pytest.approx(even, abs=1e-5)
    even[7, 7, 7] = 0.6
    sharp = icbm.unsharp_masked(even, mask)
    assert sharp[7, 7, 7] == pytest.approx(0.5 + 2.2 * 0.1, abs=0.01) and sharp[7, 7, 9] < 0.5
