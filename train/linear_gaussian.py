"""Fit the linear-Gaussian generative model to a cohort's training people; minutes, no gradient descent."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import RidgeCV
from torch import Tensor
from tqdm import tqdm

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.models.linear_gaussian import LinearGaussian
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml

logger = logging.getLogger(__name__)

COMPONENTS = 56
"""Most components; as many as a pack of 8 MB holds."""
LEAST = 0.01
"""Added to fractions before their log-ratios are taken."""
ROUNDS = 6
"""Times that the mean is shifted so that training people's mean volumes come out right."""

Floats = NDArray[np.float64]


def fit(
    cohort: Cohort, ids: list[str], x: Floats, *, components: int = COMPONENTS, progress: bool = True
) -> tuple[LinearGaussian, dict[str, Any]]:
    """Fit to people of a cohort.

    Principal components of log-ratios at 4 mm; ridge regression of the scores on the features, its penalty
    cross-validated (leave one out); the residual's covariance from leave-one-out residuals, shrunk (Ledoit and Wolf
    2004). A softmax of means is not a mean of softmaxes: the mean is shifted by one number for each tissue so that
    the training people's mean volumes come out right.

    Args:
        ids: people to fit to.
        x: (people, width) their encoded features.

    Returns:
        The model, and how it was made: `components`, `variance` (share held), `penalty`, `seconds`.
    """
    started = time.perf_counter()
    rows = [cohort.ids.index(i) for i in ids]
    mean = torch.zeros(len(TISSUES), *(s.stop - s.start for s in grid.BOX))
    reached = torch.zeros(mean.shape[1:], dtype=torch.bool)
    coarse = []
    for row in tqdm(rows, desc="log-ratios", unit="person", disable=not progress):
        maps = torch.from_numpy(cohort.maps(row)[(slice(None), *grid.BOX)])
        logits = log_ratios(maps)
        mean += logits / len(rows)
        reached |= maps.sum(dim=0) > LEAST
        coarse.append(F.avg_pool3d(logits[None], 2)[0])
    flat = torch.stack(coarse).flatten(1)
    flat -= flat.mean(dim=0)
    values, vectors = torch.linalg.eigh((flat @ flat.T).double())
    count = min(components, len(rows) - 1)
    scores = vectors.flip(1)[:, :count] * len(rows) ** 0.5  # variance 1
    shapes = (scores.float().T @ flat / len(rows)).view(count, *coarse[0].shape)
    size = values.flip(0)[:count].clamp_min(0).sqrt()  # so that big components count for more
    held = float(values.flip(0)[:count].sum() / values.sum())
    slope, intercept, root, penalty = regress(x, scores.numpy(), size.numpy())
    parts = (shapes, *(torch.from_numpy(v).float() for v in (slope, intercept, root)))
    model = _with_right_volumes(mean, parts, reached.numpy(), x, cohort.volumes_ml.loc[ids].to_numpy(float))
    about = {
        "components": count,
        "variance": round(held, 4),
        "penalty": penalty,
        "seconds": round(time.perf_counter() - started, 1),
    }
    logger.info("%d components hold %.1f %% of the variance of log-ratios at 4 mm", count, 100 * held)
    return model, about


def log_ratios(maps: Tensor) -> Tensor:
    """Log-ratios tissue : background of fractions (3, …), each with a little added."""
    background = (1.0 - maps.sum(dim=0)).clamp_min(0.0)
    return torch.log((maps + LEAST) / (background + LEAST))


def regress(x: Floats, scores: Floats, size: Floats) -> tuple[Floats, Floats, Floats, float]:
    """Slopes (components, width), intercepts, root of the residual's covariance, and the penalty."""
    ridge = RidgeCV(alphas=np.logspace(-1, 4, 21)).fit(x, scores * size)
    slope, intercept = ridge.coef_ / size[:, None], ridge.intercept_ / size
    centred = x - x.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred + ridge.alpha_ * np.eye(x.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", centred, inverse, centred) + 1.0 / len(x)
    left = (scores - (x @ slope.T + intercept)) / (1.0 - leverage)[:, None]  # as if each had been left out
    covariance = LedoitWolf(assume_centered=True).fit(left).covariance_
    return slope, intercept, np.linalg.cholesky(covariance), float(ridge.alpha_)


def _with_right_volumes(
    mean: Tensor, parts: tuple[Tensor, ...], reached: NDArray[np.bool_], x: Floats, ml: Floats
) -> LinearGaussian:
    """The model whose brains of these people, a draw each, have their mean volumes."""
    y = torch.from_numpy(x).float()
    some = np.random.default_rng(0).permutation(len(x))[:32]
    aim = torch.from_numpy(ml[some].mean(axis=0)).float()
    shift = torch.zeros(len(TISSUES))
    model = LinearGaussian.of(mean, *parts, inside=reached)
    z = model.draw(len(x), 1)
    for _ in range(ROUNDS):
        with torch.inference_mode():
            found = torch.stack([volumes_ml(model(y[[k]], z[[k]]))[0, : len(TISSUES)] for k in some])
        logger.debug("mean volumes %s mL", [round(float(v), 1) for v in found.mean(dim=0)])
        shift = shift + torch.log(aim / found.mean(dim=0))
        model = LinearGaussian.of(mean + shift[:, None, None, None], *parts, inside=reached)
    return model
