"""Ridge regression that spares some columns its penalty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
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


class CodeFit(NamedTuple):
    """What features tell of codes: codes ≈ weight · y + bias + curve · (u² − 1), u being column `bends` of y."""

    weight: Float[Tensor, "codes features"]
    bias: Float[Tensor, " codes"]
    curve: Float[Tensor, " codes"] | None
    """None where there is no age."""
    bends: int | None

    def at(self, y: Float[Tensor, "n features"]) -> Float[Tensor, "n codes"]:
        """The codes that features tell."""
        out = y @ self.weight.to(y).T + self.bias.to(y)
        if self.curve is None:
            return out
        return out + (y[:, self.bends, None].square() - 1.0) * self.curve.to(y)


def fit_codes(people: People, codes: Tensor) -> CodeFit:
    """Ridge regression of the training people's codes on their features and age squared.

    Age, its square and sex bear no penalty.

    Args:
        codes: (training people, codes), in the order of `people.train`.
    """
    encoder = people.encoder
    age, sex = encoder.schema.age, encoder.schema.sex
    roles = {one.name for one in (age, sex) if one}
    spared = np.asarray([owner in roles for owner in encoder.owners])
    known = people.features[torch.from_numpy(people.train)].numpy().astype(float)
    bends = list(encoder.owners).index(age.name) if age else None
    if bends is not None:
        known = np.column_stack([known, known[:, bends] ** 2 - 1.0])
        spared = np.append(spared, True)
    weight, bias = (
        torch.from_numpy(t) for t in fit_sparing(known, codes.cpu().numpy().astype(float), spared)
    )
    if bends is None:
        return CodeFit(weight, bias, None, None)
    return CodeFit(weight[:, :-1], bias, weight[:, -1], bends)
