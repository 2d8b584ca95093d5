"""How far predictions are from the truth, with honest intervals: pure functions on arrays.

Intervals are 95 % percentile bootstrap intervals over people (Efron and Tibshirani 1993), made with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES: Final = 2000

Floats = NDArray[np.float64]


def mape(predicted: Floats, true: Floats) -> float:
    """Mean absolute percentage error, % (paper, Table II)."""
    return float(np.mean(np.abs(predicted - true) / true) * 100)


def mae(predicted: Floats, true: Floats) -> float:
    """Mean absolute error, in the units of the arguments (paper, Table II)."""
    return float(np.mean(np.abs(predicted - true)))


def r2(predicted: Floats, true: Floats) -> float:
    """Coefficient of determination about the mean of `true` (paper, Table II); NaN when nothing varies."""
    spread = float(((true - true.mean()) ** 2).sum())
    return float(1.0 - ((predicted - true) ** 2).sum() / spread) if spread > 0 else float("nan")


def _correlation(kind: Callable[..., Any]) -> Callable[[Floats, Floats], float]:
    def measure(predicted: Floats, true: Floats) -> float:
        if np.ptp(predicted) == 0 or np.ptp(true) == 0:
            return float("nan")
        return float(kind(predicted, true).statistic)

    return measure


pearson = _correlation(stats.pearsonr)
spearman = _correlation(stats.spearmanr)
kendall = _correlation(stats.kendalltau)

METRICS: Final[dict[str, Callable[[Floats, Floats], float]]] = {
    "mape": mape,
    "mae_ml": mae,
    "r2": r2,
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}
"""Tables II and III of the paper."""

_TESTS: Final = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}


def scored(predicted: Floats, true: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Every metric of `METRICS` as `{"value", "low", "high"}`, correlations with `p` too; None for what has no value.

    Args:
        predicted: (people,) mL.
        true: (people,) mL.

    Raises:
        ValueError: the arguments differ in length, or there are fewer than three people.
    """
    if len(predicted) != len(true) or len(true) < 3:
        raise ValueError(
            f"expected as many predictions as people, 3 or more, got {len(predicted)} and {len(true)}"
        )
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    rows = np.random.default_rng(seed).integers(len(t), size=(resamples, len(t)))
    out: dict[str, Any] = {}
    for name, measure in METRICS.items():
        value = measure(p, t)
        # Kendall's statistic is slow to bootstrap: a quarter of the resamples is enough for two digits.
        some = rows[: resamples // 4] if name == "kendall" else rows
        spread = _ROWWISE[name](p[some], t[some]) if np.isfinite(value) else np.asarray([np.nan])
        out[name] = {"value": _plain(value)} | _interval(spread)
        if name in _TESTS:
            out[name]["p"] = _plain(float(_TESTS[name](p, t).pvalue)) if np.isfinite(value) else None
    return out


def ratio_of_errors(
    one: Floats, other: Floats, true: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Mean absolute error of one method over another's on the same people, with its interval.

    Returns:
        `value`, `low`, `high`; below 1: `one` is better.
    """
    first, second = np.abs(one - true), np.abs(other - true)
    rows = np.random.default_rng(seed).integers(len(true), size=(resamples, len(true)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(first.mean() / second.mean())
        spread = first[rows].mean(axis=1) / second[rows].mean(axis=1)
    return {"value": _plain(value)} | _interval(spread)


def _pearson_of_rows(p: Floats, t: Floats) -> Floats:
    p, t = p - p.mean(axis=1, keepdims=True), t - t.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = (p * t).sum(axis=1) / np.sqrt((p**2).sum(axis=1) * (t**2).sum(axis=1))
    return np.asarray(out, float)


def _r2_of_rows(p: Floats, t: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = ((p - t) ** 2).sum(axis=1) / ((t - t.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.where(np.isfinite(share), 1.0 - share, np.nan)


def _kendall_of_rows(p: Floats, t: Floats) -> Floats:
    """τ-b (Kendall 1945), a row at a time: people times people in memory."""
    out = []
    for one, two in zip(p, t, strict=True):
        a, b = np.sign(one[:, None] - one), np.sign(two[:, None] - two)
        both = float(np.abs(a).sum() * np.abs(b).sum())
        out.append(float((a * b).sum()) / both**0.5 if both else np.nan)
    return np.asarray(out)


_ROWWISE: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "mape": lambda p, t: np.mean(np.abs(p - t) / t, axis=1) * 100,
    "mae_ml": lambda p, t: np.mean(np.abs(p - t), axis=1),
    "r2": _r2_of_rows,
    "pearson": _pearson_of_rows,
    "spearman": lambda p, t: _pearson_of_rows(stats.rankdata(p, axis=1), stats.rankdata(t, axis=1)),
    "kendall": _kendall_of_rows,
}
"""`METRICS` of many resamples at once, each a row."""


def paired(one: Floats, other: Floats, true: Floats, *, seed: int = 0) -> dict[str, Any]:
    """Whether one method's absolute errors are smaller than another's on the same people.

    Returns:
        `difference_ml` (mean absolute error of `one` minus that of `other`; below 0: `one` is better) with its
        interval, and `p` of Wilcoxon's signed-rank test.
    """
    difference = np.abs(one - true) - np.abs(other - true)
    rows = np.random.default_rng(seed).integers(len(true), size=(RESAMPLES, len(true)))
    equal = not np.any(difference)
    p = None if equal else _plain(float(stats.wilcoxon(difference).pvalue))
    return (
        {"difference_ml": _plain(float(difference.mean()))}
        | _interval(difference[rows].mean(axis=1))
        | {"p": p}
    )


def _interval(values: Floats) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"low": None, "high": None}
    low, high = np.percentile(known, [2.5, 97.5])
    return {"low": _plain(float(low)), "high": _plain(float(high))}


def _plain(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
