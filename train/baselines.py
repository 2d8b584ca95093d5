"""Regressions from features to volumes, the paper's and ridge: what a generative model has to match.

They are fitted to the training people of a pack, to volumes of tissues and of regions, and travel with it as
coefficients, so that they can be scored on people that nobody has seen. No training person is in them:
support-vector regression is linear for that reason (a kernel would keep people's features as support vectors).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.svm import LinearSVR

from csegsynth_core import measured

MEAN: Final = measured.MEAN
METHODS: Final = tuple(m for m in measured.REGRESSIONS if m != MEAN)
REGIONS_KIND: Final = "regions"
"""Kind, in the file that a pack holds, of regressions of regional volumes; those of tissues have none."""
DEGREE: Final = 3
FOLDS: Final = 5

Floats = NDArray[np.float64]
Coefficients = dict[str, Floats]


def fit(x: Floats, ml: Floats, *, seed: int = 0) -> dict[str, Coefficients]:
    """Fit every method.

    `linear`: ordinary least squares. `polynomial`: powers 1 to 3 of every feature, without products, least squares
    of least norm. `svr`: linear support-vector regression, C cross-validated. `ffn`: one hidden layer of 64, weight
    decay cross-validated. `ridge`: penalty cross-validated (leave one out).

    Args:
        x: (people, width) encoded features.
        ml: (people, volumes) in mL: of WM, GM and CSF, or of regions.
    """
    mean, sd = ml.mean(axis=0), ml.std(axis=0)
    sd = np.where(sd > 0.0, sd, 1.0)  # everybody has the same volume
    y = (ml - mean) / sd
    folds = KFold(FOLDS, shuffle=True, random_state=seed)

    def straight(weight: Floats, bias: Floats) -> Coefficients:
        return {"weight": weight * sd[:, None], "bias": bias * sd + mean}

    linear = LinearRegression().fit(x, y)
    cubic = LinearRegression().fit(_powers(x), y)
    ridge = RidgeCV(alphas=np.logspace(-2, 4, 25)).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svr = [
            GridSearchCV(
                LinearSVR(epsilon=0.1, max_iter=20_000, random_state=seed),
                {"C": [0.003, 0.01, 0.03, 0.1, 0.3]},
                cv=folds,
                scoring="neg_mean_absolute_error",
            )
            .fit(x, y[:, k])
            .best_estimator_
            for k in range(y.shape[1])
        ]
        ffn = (
            GridSearchCV(
                MLPRegressor(hidden_layer_sizes=(64,), max_iter=400, random_state=seed),
                {"alpha": [0.1, 1.0, 10.0]},
                cv=folds,
                scoring="neg_mean_absolute_error",
            )
            .fit(x, y)
            .best_estimator_
        )
    last = straight(ffn.coefs_[1].T, ffn.intercepts_[1])
    return {
        "linear": straight(linear.coef_, linear.intercept_),
        "polynomial": straight(cubic.coef_, cubic.intercept_),
        "svr": straight(
            np.stack([m.coef_ for m in svr]), np.asarray([float(np.ravel(m.intercept_)[0]) for m in svr])
        ),
        "ffn": {"hidden_weight": ffn.coefs_[0].T, "hidden_bias": ffn.intercepts_[0]} | last,
        "ridge": straight(ridge.coef_, ridge.intercept_),
    }


def predict(method: str, coefficients: Mapping[str, Floats], x: Floats) -> Floats:
    """Volumes in mL, (people, volumes), of encoded features (people, width).

    Args:
        method: one of `METHODS`, or `MEAN`, whose only coefficient is `bias`.

    Raises:
        KeyError: no such method.
    """
    if method == MEAN:
        return np.repeat(coefficients["bias"][None], len(x), axis=0)
    if method not in METHODS:
        raise KeyError(f"no regression {method!r}: expected one of {', '.join(METHODS)}")
    if method == "polynomial":
        x = _powers(x)
    if method == "ffn":
        x = np.maximum(x @ coefficients["hidden_weight"].T + coefficients["hidden_bias"], 0.0)
    return np.asarray(x @ coefficients["weight"].T + coefficients["bias"], float)


def fit_regions(x: Floats, ml: Floats, *, seed: int = 0) -> dict[str, Coefficients]:
    """Every method of `fit`, and `MEAN`, for the volumes of regions.

    Args:
        x: (people, width) encoded features.
        ml: (people, regions) volumes in mL, in the order of `csegsynth_core.substructures.REGIONS`, as the
            parcellation network reads them off these people's own maps.
    """
    return fit(x, ml, seed=seed) | {MEAN: {"bias": ml.mean(axis=0)}}


def to_tensors(fitted: Mapping[str, Coefficients], kind: str = "") -> dict[str, Any]:
    """`method/part` → tensor, for safetensors; `kind.method/part` where there is a kind."""
    import torch

    before = f"{kind}." if kind else ""
    return {
        f"{before}{m}/{k}": torch.from_numpy(np.ascontiguousarray(v)).float()
        for m, c in fitted.items()
        for k, v in c.items()
    }


def from_tensors(tensors: Mapping[str, Any], kind: str = "") -> dict[str, Coefficients]:
    """Inverse of `to_tensors`; empty where there are none of this kind."""
    out: dict[str, Coefficients] = {}
    for name, value in tensors.items():
        whose, part = name.split("/")
        found, _, method = whose.rpartition(".")
        if found == kind:
            out.setdefault(method, {})[part] = value.double().numpy()
    return out


def _powers(x: Floats) -> Floats:
    """Powers 1 to 3 of every column; standardised features are held within four deviations first."""
    held = np.clip(x, -4.0, 4.0)
    return np.concatenate([held**k for k in range(1, DEGREE + 1)], axis=1)
