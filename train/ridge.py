"""Ridge regression that spares some columns its penalty."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor

from train.people import People

Floats = NDArray[np.float64]
PENALTIES = np.logspace(0, 4, 33)


def fit_sparing(x: Floats, y: Floats, spared: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Regress on columns of which some bear no penalty.

    What the spared columns explain is first taken out of the others and of `y` (Frisch, Waugh and Lovell); the
    penalty of each target is chosen by leave-one-out cross-validation on what is left. A penalty on all alike would
    hand the effect of age to the many features that go with it.

    Args:
        x: (people, columns), standardised.
        y: (people, targets).
        spared: (columns,), True: without penalty. None need be.

    Returns:
        Coefficients (targets, columns) and intercepts (targets,).
    """
    free = np.column_stack([np.ones(len(x)), x[:, spared]])
    others = x[:, ~spared]
    out = np.zeros((y.shape[1], x.shape[1]))
    if others.shape[1]:
        left, right = (t - free @ np.linalg.lstsq(free, t, rcond=None)[0] for t in (others, y))
        fit = RidgeCV(alphas=PENALTIES, alpha_per_target=True, fit_intercept=False).fit(left, right)
        out[:, ~spared] = np.atleast_2d(fit.coef_)
    rest = np.linalg.lstsq(free, y - others @ out[:, ~spared].T, rcond=None)[0]
    out[:, spared] = rest[1:].T
    return out, rest[0]


def fit_codes(people: People, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression of the training people's codes on their features; age and sex bear no penalty.

    Args:
        codes: (training people, codes), in the order of `people.train`.

    Returns:
        Coefficients (codes, features) and intercepts (codes,).
    """
    encoder = people.encoder
    roles = {one.name for one in (encoder.schema.age, encoder.schema.sex) if one}
    spared = np.asarray([owner in roles for owner in encoder.owners])
    known = people.features[torch.from_numpy(people.train)].numpy().astype(float)
    weight, bias = fit_sparing(known, codes.cpu().numpy().astype(float), spared)
    return torch.from_numpy(weight), torch.from_numpy(bias)
