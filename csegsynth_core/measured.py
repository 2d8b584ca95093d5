"""What a pack's `metrics.json` says, as tidy tables, whichever of its shapes it has.

Two are known: bare numbers by method, tissue and metric, and `{"value", "low", "high", "p"}` in the place of each
number, with further tables `images`, `floors`, `regions`, `paired` and `paired_regions`. Keys that nobody knew when
this was written are shown as they are rather than dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import ALL

METRICS: Final[dict[str, tuple[str, str, str]]] = {
    "mape": ("MAPE, %", "lower", ".1f"),
    "mae_ml": ("MAE, mL", "lower", ".1f"),
    "r2": ("R²", "higher", ".2f"),
    "pearson": ("Pearson r", "higher", ".2f"),
    "spearman": ("Spearman ρ", "higher", ".2f"),
    "kendall": ("Kendall τ", "higher", ".2f"),
    "mmd": ("MMD (linear)", "lower", ".3g"),
    "mmd_rbf": ("MMD (RBF)", "lower", ".3g"),
    "fid_2d": ("2D-FID", "lower", ".3g"),
    "fid_3d": ("3D-FID", "lower", ".3g"),
    "delta_ssim": ("|ΔSSIM|", "lower", ".3g"),
    "dice": ("Dice", "higher", ".2f"),
    "nearest": ("Distance to the nearest training brain (RMS fraction)", "", ".4f"),
    "relative": ("The same over the median distance to all of them", "", ".3f"),
    "smallest": ("Smallest of these ratios", "", ".3f"),
    "close": ("Brains nearer than 95 % of real people, %", "", ".0f"),
    "mae_ratio": ("MAE over the best achievable", "lower", ".2f"),
}
"""Metric → name, which direction is better, format."""

POWERS: Final[dict[str, int]] = {"mmd": -3, "mmd_rbf": -3, "delta_ssim": -3}
"""Metric → power of ten that its numbers are shown in units of; others as they are."""

METHODS: Final[dict[str, str]] = {
    "csegsynth": "CSegSynth",
    "csegsynth_mean_of_draws": "CSegSynth, mean of draws",
    "csegsynth_typical": "CSegSynth, no noise",
    "csegsynth_single_draw": "CSegSynth, single draw",
    "csegsynth_voxel": "CSegSynth, voxel decoder",
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
    "beats_training_mean": "Error less that of predicting the training mean, mL (below 0: better)",
    "energy_at_2_and_4_voxels": "Energy of patterns of 2 and 4 voxels over the same people's real maps",
    "left_right_asymmetry": "Left-right asymmetry of volumes, |L − R|/(L + R)",
    "floors_of_halves": "Floor as measured between halves",
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

MEAN: Final = "training_mean"
"""What predicts the training people's mean of everybody."""

REGRESSIONS: Final = ("linear", "polynomial", "svr", "ffn", "ridge", MEAN)
"""Methods that predict volumes without making brains."""

OWN: Final = "csegsynth"
"""The method that all of this is about."""

SIGNIFICANT: Final = 0.05
"""p below which a difference is called significant."""

PARTS: Final[dict[str, str]] = {t.name: t.bids for t in ALL} | {r.name: r.title for r in REGIONS}
"""Tissue or region → as people call it."""

_WORDS: Final[dict[str, str]] = {
    "people": "Training people",
    "steps": "Steps of training",
    "preset": "Networks",
    "batch": "People in a batch",
    "training_minutes": "Training, min",
    "device": "Trained on",
    "parameters": "Parameters",
    "weights_mb": "Weights, MB",
    "seconds_per_brain": "Time for a brain, s",
    "pretraining_steps": "Steps of pre-training",
    "finetuning_steps": "Steps of fine-tuning",
    "pretraining_minutes": "Pre-training, min",
    "calibration_minutes": "Calibration after training, min",
    "components": "Principal components",
    "variance": "Share of variance in them",
    "penalty": "Penalty of the ridge regression",
    "imputed": "Filled in, people",
    "outside training range": "Outside training range, people",
    "cohort": "Cohort",
    "split": "Measured on",
    "n": "People measured",
    "n_train": "Training people",
    "n_trained_on": "People measured whom training saw",
    "draws": "Latent draws of each person",
    "region_draws": "The same, for regions",
    "inside_expected": "Share inside the 5–95 % range, of draws that spread as real people do",
    "seconds": "Time to measure all of this, s",
}
"""Rows and columns of further measurements → as people call them."""
_HEADS: Final[dict[str, tuple[str, str]]] = {
    "models": ("Property", ""),
    "extractors": ("Metric", "Features"),
    "sharpness": ("Model", "Ratio"),
    "spread_over_draws_ml": ("Model", ""),
    "inside_90_percent_of_draws": ("Model", ""),
    "mape_over_ridge": ("Tissue", "Ratio"),
    "flagged_features": ("Feature", "People"),
    "influence": ("Feature", "Change, mL"),
}
"""Further measurement → heads of its first column and of single values."""
_NAMED: Final = 3
"""Columns in which others are best, beyond which they are counted."""
_SPLITS: Final = {"test": "people kept aside", "all": "everybody in the cohort"}

TABLES: Final = ("volumes", "images", "regions", "achievable", "memorisation")
"""Tables by method, tissue or region, and metric."""
PAIRED: Final = ("paired", "paired_regions")
"""Tables of differences to other methods on the same people: of tissues, of regions."""
_COLUMNS: Final = ["table", "method", "part", "metric", "value", "low", "high", "p"]
_SKIPPED: Final = frozenset(
    {"n_train", "n_validation", "draws", "region_draws", "parameters", "n_trained_on"}
)


def tidy(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every number of the tables by method.

    Beside the best achievable errors stand those of `volumes` of every method that has a ratio to them.

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
                if table == "achievable":
                    rows += _errors_beside(f"{prefix}{table}", method, parts, found.get("volumes"))
        rows += _rows(f"{prefix}images", "floor", found.get("floors"))
    return pd.DataFrame(rows, columns=_COLUMNS)


def paired(metrics: Mapping[str, Any], key: str = "paired") -> pd.DataFrame:
    """Paired differences of absolute error to other methods: `table`, `method`, `part`, `difference_ml`, `low`,
    `high`, `p`.

    Args:
        key: `paired`: of tissues; `paired_regions`: of regions. Empty where the pack has none.
    """
    rows = []
    for prefix, found in _evaluations(metrics):
        for method, parts in _items(found.get(key)):
            for part, numbers in _items(parts):
                if isinstance(numbers, Mapping):
                    own = {k: _number(numbers.get(k)) for k in ("difference_ml", "low", "high", "p")}
                    rows.append({"table": f"{prefix}{key}", "method": method, "part": part} | own)
    return pd.DataFrame(rows, columns=["table", "method", "part", "difference_ml", "low", "high", "p"])


def every_pair(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """`paired` of tissues, and below them of regions."""
    return pd.concat([paired(metrics, key) for key in PAIRED])


def corrected(pairs: pd.DataFrame) -> pd.Series:
    """p of paired differences after Holm's (1979) correction for the number of tests in each table of `pairs`.

    Args:
        pairs: as from `paired`.

    Returns:
        One for each row, in its index; NaN where there was no test.
    """
    out = pd.Series(math.nan, index=pairs.index, dtype=float, name="p_holm")
    for _, own in pairs.dropna(subset=["p"]).groupby("table", sort=False):
        rising = own["p"].astype(float).sort_values()
        # statsmodels' correction collects garbage at every call, which takes long
        times = rising * range(len(rising), 0, -1)
        out.loc[rising.index] = times.cummax().clip(upper=1.0)
    return out


def regions_said(metrics: Mapping[str, Any]) -> str:
    """In which regions a regression's absolute error is significantly smaller than CSegSynth's, before and after
    Holm's correction; empty without paired tests of regressions."""
    pairs = _region_pairs(metrics)
    shown = pairs[pairs["method"].isin(REGRESSIONS)]
    if shown.empty:
        return ""
    better, of = shown[shown["difference_ml"] > 0], shown["part"].nunique()
    found = better[better["p"] < SIGNIFICANT]
    test = f"(MAE, paired, p < {SIGNIFICANT})"
    if found.empty:
        return f"No regression has significantly smaller errors than CSegSynth {test} in any of {of} regions."
    corrected_for = f"after Holm's correction for {int(pairs['p'].notna().sum())} tests"
    return (
        f"A regression has significantly smaller errors than CSegSynth {test} in {found['part'].nunique()} of {of} "
        f"regions ({_by_method(found)}), {corrected_for} in {_numbered(better[better['p_holm'] < SIGNIFICANT])}."
    )


def regions_counted(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """In how many regions each other method's absolute error is smaller (`better`) or larger (`worse`) than
    CSegSynth's, in how many of these with p < `SIGNIFICANT`, and after Holm's correction.

    Returns:
        A row for each method, named as people call it; empty without paired tests of regions.
    """
    rows = {}
    for method, own in _region_pairs(metrics).groupby("method", sort=False):
        rows[name_of(str(method))] = {
            f"{which}{sign}": int((wanted & certain).sum())
            for which, wanted in (("better", own["difference_ml"] > 0), ("worse", own["difference_ml"] < 0))
            for sign, certain in (
                ("", True),
                (f", p < {SIGNIFICANT}", own["p"] < SIGNIFICANT),
                (", after Holm", own["p_holm"] < SIGNIFICANT),
            )
        }
    return pd.DataFrame.from_dict(rows, orient="index")


COUNTED: Final = (
    "In how many regions each other method's absolute error is smaller (better) or larger (worse) than CSegSynth's, "
    f"on the same people; in how many of these with p < {SIGNIFICANT}, and after Holm's correction for all tests."
)
"""What `regions_counted` holds."""


def _region_pairs(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Paired differences of regions with p after Holm's correction for all of their tests."""
    pairs = paired(metrics, "paired_regions")
    pairs = pairs[pairs["table"] == "paired_regions"]
    return pairs.assign(p_holm=corrected(pairs))


def _numbered(found: pd.DataFrame) -> str:
    """`2 (Ridge regression in Deep GM and Cerebellum)`, or `none`."""
    return f"{found['part'].nunique()} ({_by_method(found)})" if len(found) else "none"


def _by_method(found: pd.DataFrame) -> str:
    """Regions of each method, counted where they are more than `_NAMED`."""
    return "; ".join(
        f"{name_of(str(method))} in "
        + (_listed([PARTS.get(str(p), str(p)) for p in parts]) if len(parts) <= _NAMED else str(len(parts)))
        for method, parts in found.groupby("method", sort=False)["part"]
    )


def others(metrics: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Everything else by its key: one table each, of rows `what` and one column for each inner key."""
    known = {*TABLES, "floors", *PAIRED}
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


def worded(key: str, table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """A further measurement in words, with units.

    Args:
        key: of the measurement.
        table: as from `others`.
        names: feature, or level of a feature → as people call it.

    Returns:
        Rows as in `table`, but the models' properties one below the other; columns of numbers alone are numbers,
        except of the models.
    """
    head, value = _HEADS.get(key, ("What", "Value"))
    if key == "models":
        table = table.set_index("what").T.rename_axis(index="what", columns=None).reset_index()
    ages = table[table["what"] == "ages"]
    if key == "ageing" and len(ages) == 1:
        head = f"{ages['value'].iloc[0]} years"
        table = table.drop(index=ages.index, columns="value")
    if key == "single numbers":
        told = [_SPLITS.get(v, v) if w == "split" else v for w, v in table.itertuples(index=False)]
        table = table.assign(value=told)
    out = table.assign(what=[_word(str(w), names) for w in table["what"]])
    out = out.rename(
        columns={"what": head, "value": value} | {c: _word(c, {}) for c in table.columns[1:] if c != "value"}
    )
    for column in out.columns[1:] if key != "models" else ():  # of models, a column holds several quantities
        numbers = pd.to_numeric(out[column], errors="coerce")
        if numbers.notna().all():
            out[column] = numbers
    return out


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """What the tables say of CSegSynth: in how many columns it is best, and who is in the others; then
    `regions_said`. Empty without measurements.

    Errors of volumes are means over draws; single draws and CSegSynth's other rows are not compared. Of images and
    regions, the generative models are ranked.
    """
    whole = tidy(metrics)
    whole = whole[~whole["method"].isin(REFERENCES) & ~whole["method"].str.endswith("_single_draw")]
    whole = whole[(whole["method"] == OWN) | ~whole["method"].str.startswith(f"{OWN}_")]
    count = metrics.get("n_validation", metrics.get("n"))
    people = "people kept aside" if metrics.get("split") == "test" else "people"
    volumes = whole[(whole["table"] == "volumes") & (whole["metric"] == "mape")]
    images = whole[whole["table"] == "images"]
    regions = whole[
        (whole["table"] == "regions") & (whole["metric"] == "mape") & ~whole["method"].isin(REGRESSIONS)
    ]
    placed = [
        _placed(volumes, "volumes", "MAPE", "methods"),
        _placed(images, "columns of images", "Table I", "generative models"),
        _placed(regions, "regions", "MAPE", "generative models"),
    ]
    whom = f"Measured on {count} {people}, " if count else ""
    told = _listed([p for p in placed if p])
    ranks = f"{whom}CSegSynth is best in {told}." if told else ""
    return [s for s in (ranks, regions_said(metrics)) if s]


def _placed(rows: pd.DataFrame, columns: str, measure: str, models: str) -> str:
    """In how many columns CSegSynth is the best of the models, and who is in the others; these are named where they
    are of several metrics or no more than `_NAMED`.

    Args:
        columns, measure, models: what they are called.
    """
    leaders, count = _leaders(rows), rows["method"].nunique()
    if count < 2 or OWN not in set(rows["method"]):
        return ""
    better: dict[str, dict[str, list[str]]] = {}
    for (metric, part), methods in leaders.items():
        for method in methods if OWN not in methods else ():
            better.setdefault(name_of(method), {}).setdefault(metric, []).append(PARTS.get(part, part))
    won = sum(OWN in methods for methods in leaders.values())
    several = len(set(rows["metric"])) > 1
    if several:
        where = [
            ", ".join(f"{metric_of(m)[0]} of {_listed(p)}" for m, p in by.items()) for by in better.values()
        ]
    else:
        lost = [p for by in better.values() for p in by.values()]
        where = [_listed(p) if len(leaders) - won <= _NAMED else str(len(p)) for p in lost]
    who = [f"{name} in {place}" for name, place in zip(better, where, strict=True)]
    best_there = f"; elsewhere {', '.join(who)}" if who else ""
    return f"{won} of {len(leaders)} {columns} ({measure}, {count} {models}{best_there})"


def _listed(words: Sequence[str]) -> str:
    """`WM, GM and CSF`; empty without words."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _leaders(rows: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Metric and part → the methods with the best value."""
    out = {}
    for (metric, part), own in rows.groupby(["metric", "part"], sort=False):
        top = best(own["value"], metric_of(str(metric))[1])
        if not math.isnan(top):
            out[str(metric), str(part)] = [str(m) for m in own.loc[own["value"] == top, "method"]]
    return out


def number(value: float, metric: str) -> str:
    """A value as it is printed below `headed`: in units of its power of ten, never a negative zero.

    Metrics without fixed decimals have two significant digits, or all digits before the point.
    """
    if math.isnan(value):
        return "n/a"
    form = metric_of(metric)[2]
    value = value / 10 ** POWERS.get(metric, 0)
    if form.endswith("g"):
        size = abs(float(f"{value:.1e}"))
        digits = 1 - math.floor(math.log10(size)) if size else 0
        form = f".{max(digits, 0)}f" if digits < 5 else ".1e"
    text = f"{value:{form}}"
    return text if float(text) else text.lstrip("-")


def p_value(p: float) -> str:
    """A p-value as papers print it."""
    return "n/a" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def headed(metric: str) -> str:
    """Name of a metric with the power of ten that its numbers are in units of."""
    power = str(POWERS.get(metric, "")).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{metric_of(metric)[0]}, ×10{power}" if power else metric_of(metric)[0]


def scaled(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of `tidy` in units of the metric's power of ten, for figures below `headed`."""
    numbers = ["value", "low", "high"]
    return table.assign(**{k: table[k] / 10 ** POWERS.get(metric, 0) for k in numbers})


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


def _errors_beside(table: str, method: str, parts: Any, volumes: Any) -> list[dict[str, Any]]:
    """A method's mean absolute errors of volumes, in the tissues where a table tells only their ratio."""
    errors = dict(_items(dict(_items(volumes)).get(method)))
    lacking = [part for part, numbers in _items(parts) if "mae_ml" not in dict(_items(numbers))]
    told = {part: dict(_items(errors.get(part))).get("mae_ml") for part in lacking}
    return _rows(table, method, {part: {"mae_ml": mae} for part, mae in told.items() if mae is not None})


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


def _word(text: str, names: Mapping[str, str]) -> str:
    """A row's or column's key as people call it."""
    if text in METRICS:
        return METRICS[text][0]
    known = names.get(text) or _WORDS.get(text) or PARTS.get(text)
    if known:
        return known
    if text in METHODS or text.endswith("_single_draw"):
        return name_of(text)
    return text[:1].upper() + text[1:].replace("_", " ")


def _said(value: Any) -> str:
    if isinstance(value, Mapping) and "difference_ml" in value:
        difference, low, high, p = (_number(value.get(k)) for k in ("difference_ml", "low", "high", "p"))
        interval = "" if math.isnan(low) else f" [{number(low, 'mae_ml')}, {number(high, 'mae_ml')}]"
        return f"{number(difference, 'mae_ml')}{interval}, p {p_value(p)}".replace("-", "−")
    if isinstance(value, Mapping):
        value = value.get("value", ", ".join(f"{k} {_said(v)}" for k, v in value.items()))
    if isinstance(value, list | tuple):
        return " → ".join(_said(v) for v in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
