"""What a pack's `metrics.json` says, as tidy tables, whichever of its shapes it has.

Two are known: bare numbers by method, tissue and metric, and `{"value", "low", "high", "p"}` in the place of each
number, with further tables `images`, `floors`, `regions` and `paired`. Keys that nobody knew when this was written
are shown as they are rather than dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd

METRICS: Final[dict[str, tuple[str, str, str]]] = {
    "mape": ("MAPE, %", "lower", ".1f"),
    "mae_ml": ("MAE, mL", "lower", ".1f"),
    "r2": ("R²", "higher", ".2f"),
    "pearson": ("Pearson r", "higher", ".2f"),
    "spearman": ("Spearman ρ", "higher", ".2f"),
    "kendall": ("Kendall τ", "higher", ".2f"),
    "mmd": ("MMD (linear)", "lower", ".4f"),
    "mmd_rbf": ("MMD (RBF)", "lower", ".4f"),
    "fid_2d": ("2D-FID", "lower", ".4f"),
    "fid_3d": ("3D-FID", "lower", ".4f"),
    "delta_ssim": ("|ΔSSIM|", "lower", ".4f"),
    "dice": ("Dice", "higher", ".2f"),
    "nearest": ("Distance to the nearest training brain (RMS fraction)", "", ".4f"),
    "relative": ("The same over the median distance to all of them", "", ".3f"),
    "smallest": ("Smallest of these ratios", "", ".3f"),
    "close": ("Brains nearer than 95 % of real people, %", "", ".0f"),
    "mae_ratio": ("MAE over the best achievable", "lower", ".2f"),
}
"""Metric → name, which direction is better, format."""

METHODS: Final[dict[str, str]] = {
    "csegsynth": "CSegSynth",
    "csegsynth_mean_of_draws": "CSegSynth, mean of draws",
    "csegsynth_typical": "CSegSynth, no noise",
    "csegsynth_single_draw": "CSegSynth, single draw",
    "c_vae": "C-VAE",
    "c_gan": "C-GAN",
    "c_ldm": "C-LDM",
    "linear_gaussian": "Linear-Gaussian",
    "linear": "Linear regression",
    "polynomial": "Cubic regression",
    "svr": "Support-vector regression",
    "ffn": "Feed-forward regression",
    "ridge": "Ridge regression",
    "training_mean": "Mean of training people",
    "real_kept_aside": "Real people kept aside",
    "real_training": "Real training people (nearest other)",
    "best_achievable": "Best achievable",
}

TITLES: Final[dict[str, str]] = {
    "mape_over_ridge": "MAPE over ridge regression's (ratio)",
    "inside_90_percent_of_draws": "Share of people inside the 5–95 % range of their draws",
    "inside_expected": "The same, of draws that spread as real people do",
    "flagged_features": "People whose feature was filled in, out of range or rare",
    "spread_over_draws_ml": "Standard deviation over latent draws, mL",
    "models": "Models: training and size",
    "extractors": "What FID looks at",
    "sharpness": "Gradient energy over the same people's real maps",
    "ageing": "The typical person at two ages, all else equal, mL",
    "influence": "Largest change between a feature's values, all else typical, mL",
    "single numbers": "Single numbers",
}
"""Other keys → what they are."""

SHORT: Final[dict[str, str]] = {
    "nearest": "Nearest",
    "relative": "Nearest / median",
    "smallest": "Smallest",
    "close": "Close, %",
    "mae_ratio": "Ratio",
}
"""Names for buttons where the full one is long."""

REFERENCES: Final = frozenset({"floor", "real_kept_aside", "real_training", "best_achievable"})
"""Rows that no method competes with."""

TABLES: Final = ("volumes", "images", "regions", "achievable", "memorisation")
"""Tables by method, tissue or region, and metric."""
_COLUMNS: Final = ["table", "method", "part", "metric", "value", "low", "high", "p"]
_SKIPPED: Final = frozenset(
    {"n_train", "n_validation", "draws", "region_draws", "parameters", "n_trained_on"}
)


def tidy(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every number of the tables by method.

    Returns:
        Columns `table` (one of `TABLES`; with a prefix where evaluations are nested, such as `test/volumes`),
        `method`, `part` (tissue, region, or `brain`), `metric`, `value`, `low`, `high` (95 % interval over people,
        NaN where there is none) and `p`. Floors of `images` are rows of method `floor`.
    """
    rows: list[dict[str, Any]] = []
    for prefix, found in _evaluations(metrics):
        for table in TABLES:
            for method, parts in _items(found.get(table)):
                rows += _rows(f"{prefix}{table}", method, parts)
        rows += _rows(f"{prefix}images", "floor", found.get("floors"))
    return pd.DataFrame(rows, columns=_COLUMNS)


def paired(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Paired differences of absolute error to other methods: `table`, `method`, `part`, `difference_ml`, `low`,
    `high`, `p`."""
    rows = []
    for prefix, found in _evaluations(metrics):
        for method, parts in _items(found.get("paired")):
            for part, numbers in _items(parts):
                if isinstance(numbers, Mapping):
                    own = {k: numbers.get(k, math.nan) for k in ("difference_ml", "low", "high", "p")}
                    rows.append({"table": f"{prefix}paired", "method": method, "part": part} | own)
    return pd.DataFrame(rows, columns=["table", "method", "part", "difference_ml", "low", "high", "p"])


def others(metrics: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Everything else by its key: one table each, of rows `what` and one column for each inner key."""
    known = {*TABLES, "floors", "paired"}
    nested = {prefix.rstrip("/") for prefix, _ in _evaluations(metrics) if prefix}
    out = {}
    for key, value in metrics.items():
        if key in known or key in nested or key in _SKIPPED or not isinstance(value, Mapping) or not value:
            continue
        out[key] = pd.DataFrame(_flat(value)).fillna("")
    single = {k: v for k, v in metrics.items() if isinstance(v, int | float | str)}
    if single:
        out["single numbers"] = pd.DataFrame(
            {"what": list(single), "value": [_said(v) for v in single.values()]}
        )
    return out


def name_of(method: str) -> str:
    """A method as people call it."""
    known = METHODS.get(method)
    if known is None and method.endswith("_single_draw"):
        return f"{name_of(method.removesuffix('_single_draw'))}, single draw"
    return known or method.replace("_", " ").capitalize()


def title_of(key: str) -> str:
    """What a further measurement is."""
    return TITLES.get(key, key.replace("_", " ").capitalize())


def metric_of(metric: str) -> tuple[str, str, str]:
    """Name, direction that is better (empty when unknown) and format of a metric."""
    return METRICS.get(metric, (metric.replace("_", " "), "", ".3g"))


def short_of(metric: str) -> str:
    """Name of a metric for a button."""
    return SHORT.get(metric, metric_of(metric)[0])


def interval_name(table: str) -> str:
    """How the intervals of a table were found: those of images (Table I) leave out people in turn."""
    return "jackknife" if table.rpartition("/")[2] == "images" else "bootstrap"


def best(values: pd.Series, direction: str) -> float:
    """The best of several values; NaN where the direction is unknown."""
    known = values.dropna()
    if known.empty or not direction:
        return math.nan
    return float(known.min() if direction == "lower" else known.max())


def _evaluations(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The metrics themselves, and evaluations nested in them one level down."""
    yield "", metrics
    for key, value in metrics.items():
        if isinstance(value, Mapping) and isinstance(value.get("volumes"), Mapping):
            yield f"{key}/", value


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(k), v) for k, v in value.items()] if isinstance(value, Mapping) else []


def _rows(table: str, method: str, parts: Any) -> list[dict[str, Any]]:
    rows = []
    for part, numbers in _items(parts):
        for metric, found in _items(numbers):
            numbers_of = found if isinstance(found, Mapping) else {"value": found}
            own = {k: _number(numbers_of.get(k)) for k in ("value", "low", "high", "p")}
            if not math.isnan(own["value"]) or "value" in numbers_of:
                rows.append({"table": table, "method": method, "part": part, "metric": metric} | own)
    return rows


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _flat(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each inner mapping; what is not a mapping becomes a row of its own."""
    rows: list[dict[str, Any]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            rows.append({"what": str(key)} | {str(k): _said(v) for k, v in inner.items()})
        else:
            rows.append({"what": str(key), "value": _said(inner)})
    return rows


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("value", ", ".join(f"{k} {_said(v)}" for k, v in value.items()))
    if isinstance(value, list | tuple):
        return " → ".join(_said(v) for v in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
