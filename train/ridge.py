"""Ridge regression that spares some columns its penalty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

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
