"""Ridge regression that spares some columns its penalty."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from torch import Tensor

from csegsynth_core.tissue import TISSUES
from train.people import People

Floats = NDArray[np.float64]
PENALTIES = np.logspace(0, 4, 33)
EASED: Final = 0.09
"""What penalty eased columns bear, as a share of the others'."""


def fit_sparing(
    x: Floats,
    y: Floats,
    spared: NDArray[np.bool_],
    *,
    eased: NDArray[np.bool_] | None = None,
    guides: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Regress on columns of which some bear no penalty, and some little.

    What the spared columns explain is first taken out of the others and of `y` (Frisch, Waugh and Lovell). There is
    one penalty for all targets, chosen by leave-one-out cross-validation on what is left of the guides, each in
    units of its standard deviation. A penalty on all alike would hand the effect of age to the many features that go
    with it.

    Args:
        x: (people, columns), standardised.
        y: (people, targets).
        spared: (columns,), True: without penalty. None need be.
        eased: (columns,), True: with `EASED` times the penalty.
        guides: (people, guides), what the penalty is chosen by; default `y`.

    Returns:
        Coefficients (targets, columns) and intercepts (targets,).
    """
    free = np.column_stack([np.ones(len(x)), x[:, spared]])
    scale = np.ones(x.shape[1]) if eased is None else np.where(eased, EASED**-0.5, 1.0)
    others = (x * scale)[:, ~spared]
    seen = y if guides is None else guides
    seen = seen / np.maximum(seen.std(axis=0), 1e-12)
    out = np.zeros((y.shape[1], x.shape[1]))
    if others.shape[1]:
        left, told, right = (t - free @ np.linalg.lstsq(free, t, rcond=None)[0] for t in (others, seen, y))
        penalty = RidgeCV(alphas=PENALTIES, fit_intercept=False).fit(left, told).alpha_
        fitted = Ridge(penalty, fit_intercept=False).fit(left, right)
        out[:, ~spared] = np.atleast_2d(fitted.coef_) * scale[~spared]
    rest = np.linalg.lstsq(free, y - x[:, ~spared] @ out[:, ~spared].T, rcond=None)[0]
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

    Age bears no penalty, its square and sex little. The penalty is the one with which the logarithms of tissue
    volumes would be told best: codes are many, and what most of them hold no feature tells.

    Args:
        codes: (training people, codes), in the order of `people.train`.
    """
    encoder = people.encoder
    age, sex = encoder.schema.age, encoder.schema.sex
    spared, eased = (
        np.asarray([role is not None and o == role.name for o in encoder.owners]) for role in (age, sex)
    )
    rows = torch.from_numpy(people.train)
    known = people.features[rows].numpy().astype(float)
    volumes = people.volumes_ml[rows, : len(TISSUES)].numpy().astype(float)
    bends = list(encoder.owners).index(age.name) if age else None
    if bends is not None:
        known = np.column_stack([known, known[:, bends] ** 2 - 1.0])
        spared, eased = np.append(spared, False), np.append(eased, True)
    found = fit_sparing(known, codes.cpu().numpy().astype(float), spared, eased=eased, guides=np.log(volumes))
    weight, bias = (torch.from_numpy(t) for t in found)
    if bends is None:
        return CodeFit(weight, bias, None, None)
    return CodeFit(weight[:, :-1], bias, weight[:, -1], bends)
