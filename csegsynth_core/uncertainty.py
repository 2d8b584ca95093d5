"""Regression lines and bands of a sweep. Every band has a name that says what it is.

Two bands are not to be confused:

* **95 % confidence interval of the mean**: of the cubic regression line through one draw's volumes over age
  (the paper's Fig. 3). All ages share one latent draw, so the points carry no noise of their own; the
  interval says how well a cubic describes the model's path, and nothing about people.
* **spread over draws**: 5th to 95th percentile of the volumes of several latent draws at one age; what the
  model leaves open once the features are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.generate import WITHOUT_NOISE
from csegsynth_core.scenarios import MEASURES
from csegsynth_core.tissue import TISSUES

DEGREE: Final = 3
LEVEL: Final = 0.95
SPREAD: Final[tuple[float, float]] = (5.0, 95.0)
LEAST_AGES: Final = DEGREE + 2
"""Different ages that a regression line needs: one more than coefficients, so that it has an interval."""
LINE_AGES: Final = 121
"""Ages at which a regression line is drawn."""

CI_NAME: Final = "95 % confidence interval of the mean (cubic regression)"


def spread_name(draws: int) -> str:
    """What the band over draws is called."""
    return f"spread over {draws} latent draws (5–95 %)"


def regression_line(
    ages: ArrayLike,
    values: ArrayLike,
    at: ArrayLike | None = None,
    *,
    level: float = LEVEL,
    breaks: Sequence[float] = (),
) -> pd.DataFrame:
    """Ordinary least squares of a cubic of age, with the confidence interval of its mean.

    Args:
        ages: years, shape (n,), at least `LEAST_AGES` different ones.
        values: any unit, shape (n,).
        at: ages to read the line at; by default the different `ages`.
        level: of the confidence interval, 0.95 for 95 %.
        breaks: ages (years) from which on something is different: the line has a step there, one more coefficient
            each. Those before the first or after the last age count for nothing.

    Returns:
        Columns `age`, `fit`, `low`, `high`.

    Raises:
        CSegSynthError: too few ages, lengths differ, or a value is not a number.
    """
    x, y = np.asarray(ages, float), np.asarray(values, float)
    if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CSegSynthError(
            "no regression line",
            expected="as many finite ages as values",
            got=f"shapes {x.shape} and {y.shape}",
        )
    check_ages(x, breaks)
    different = np.unique(x)
    steps = _steps(different, breaks)
    centre, half = (different[0] + different[-1]) / 2, (different[-1] - different[0]) / 2
    where = different if at is None else np.atleast_1d(np.asarray(at, float))

    def design(years: NDArray[np.float64]) -> NDArray[np.float64]:
        cubic = np.vander((years - centre) / half, DEGREE + 1, increasing=True)
        return np.hstack([cubic, (years[:, None] >= steps).astype(float)])

    q, r = np.linalg.qr(design(x))
    coefficients = np.linalg.solve(r, q.T @ y)
    freedom = len(x) - DEGREE - 1 - len(steps)
    variance = ((y - design(x) @ coefficients) ** 2).sum() / freedom
    there = design(where)
    leverage = (np.linalg.solve(r.T, there.T) ** 2).sum(axis=0)
    half_width = stdtrit(freedom, 0.5 + level / 2) * np.sqrt(variance * leverage)
    fit = there @ coefficients
    return pd.DataFrame({"age": where, "fit": fit, "low": fit - half_width, "high": fit + half_width})


def check_ages(ages: ArrayLike, breaks: Sequence[float] = ()) -> None:
    """See that a cubic regression line with a step at each break can be drawn through these ages.

    Raises:
        CSegSynthError: there are too few.
    """
    different = np.unique(np.asarray(ages, float))
    steps = len(_steps(different, breaks))
    if len(different) < LEAST_AGES + steps:
        more = f": {LEAST_AGES}, and one for each change between them" if steps else ""
        raise CSegSynthError(
            "too few ages for a cubic regression line",
            expected=f"at least {LEAST_AGES + steps} different ages{more}",
            got=str(len(different)),
            fix="use a smaller step or a wider range of ages",
        )


def _steps(ages: NDArray[np.float64], breaks: Sequence[float]) -> NDArray[np.float64]:
    """Breaks that part rising ages; of several between the same two ages, the last."""
    inside = sorted(b for b in breaks if len(ages) and ages[0] < b <= ages[-1])
    return np.array(list({int(np.searchsorted(ages, b)): b for b in inside}.values()), np.float64)


def draw_spread(volumes: pd.DataFrame, measures: Sequence[str] | None = None) -> pd.DataFrame:
    """Spread over draws at every age. A brain without noise beside them (`generate.WITHOUT_NOISE`) is none of them.

    Args:
        volumes: `Sweep.volumes`, or the same as % change.
        measures: volumes wanted; by default all that are there.

    Returns:
        Columns `scenario`, `volume`, `age`, `draws`, `mean`, `low`, `high`; `low` and `high` are the 5th and
        95th percentile of the draws (linear between them), in the unit of `volumes`.
    """
    names = _present(volumes, measures)
    rows = volumes[volumes["draw"] != WITHOUT_NOISE].sort_values(["scenario", "age", "draw"], kind="stable")
    parts = []
    for scenario in dict.fromkeys(volumes["scenario"]):
        mine = rows[rows["scenario"] == scenario]
        ages = mine["age"].drop_duplicates().to_numpy(float)
        values = mine[list(names)].to_numpy(float).reshape(len(ages), -1, len(names))
        low, high = np.percentile(values, SPREAD, axis=1)
        mean = values.mean(axis=1)
        for k, name in enumerate(names):
            one = {"scenario": scenario, "volume": name, "age": ages, "draws": values.shape[1]}
            parts.append(pd.DataFrame(one | {"mean": mean[:, k], "low": low[:, k], "high": high[:, k]}))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class PairedSpread:
    """Volumes over the same latent draws of two people, mL, by volume."""

    person: dict[str, tuple[float, float]]
    """5th and 95th percentile."""
    change: dict[str, tuple[float, float]]
    """Of the person's volume less the baseline's, draw by draw: what both draws have in common cancels."""
    draws: int
    person_mean: dict[str, float]
    """Means over these draws; the brain on the screen, of one draw or without noise, need not be near."""
    change_mean: dict[str, float]


def paired_spread(person: ArrayLike, baseline: ArrayLike) -> PairedSpread:
    """Spread over draws of a person's volumes and of their differences to a baseline's.

    Args:
        person: mL, shape (draws, 3 or 3 + regions), as from `compare.volumes_of_draws`.
        baseline: the same of the same draws.

    Raises:
        CSegSynthError: shapes differ.
    """
    own, other = np.asarray(person, float), np.asarray(baseline, float)
    if own.shape != other.shape:
        raise CSegSynthError(
            "no paired spread",
            expected="the same draws and volumes of both people",
            got=f"{own.shape} and {other.shape}",
        )
    changes = own - other
    return PairedSpread(_ends(own), _ends(changes), len(own), _means(own), _means(changes))


def _every(ml: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volumes in the order of `MEASURES`, of tissues and regions (draws, volumes)."""
    tissues, regions = ml[:, : len(TISSUES)], ml[:, len(TISSUES) :]
    return np.concatenate([tissues, tissues.sum(axis=1, keepdims=True), regions], axis=1)


def _ends(ml: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Ends of the spread by volume."""
    low, high = np.percentile(_every(ml), SPREAD, axis=0)
    return {v: (float(low[k]), float(high[k])) for k, v in enumerate(MEASURES[: len(low)])}


def _means(ml: NDArray[np.float64]) -> dict[str, float]:
    """Means over draws by volume."""
    found = _every(ml).mean(axis=0)
    return {v: float(found[k]) for k, v in enumerate(MEASURES[: len(found)])}


def trajectory(
    volumes: pd.DataFrame, measures: Sequence[str] | None = None, breaks: Sequence[float] = ()
) -> pd.DataFrame:
    """What a trajectory figure draws at the ages of a sweep, tidy.

    Args:
        volumes: `Sweep.volumes`, or the same as % change.
        measures: volumes wanted; by default all that are there.
        breaks: ages (years) at which features change; see `regression_line`.

    Returns:
        One row for each scenario, volume and age: `scenario`, `volume`, `age`, `trained`, `value` (the draw of
        the seed), `fit`, `ci_low`, `ci_high` (regression line through `value` and 95 % confidence interval of
        its mean), `draws`, `draws_mean`, `draws_low`, `draws_high` (spread over draws; empty with one draw).
    """
    spread = draw_spread(volumes, measures).rename(
        columns={"mean": "draws_mean", "low": "draws_low", "high": "draws_high"}
    )
    spread.loc[spread["draws"] < 2, ["draws_mean", "draws_low", "draws_high"]] = np.nan
    parts = []
    for keys, rows in _own(volumes, measures):
        line = regression_line(rows["age"], rows["value"], breaks=breaks)
        line = line.rename(columns={"low": "ci_low", "high": "ci_high"})
        parts.append(rows.assign(**keys).merge(line, on="age", validate="one_to_one"))
    out = pd.concat(parts, ignore_index=True).merge(spread, on=["scenario", "volume", "age"], how="left")
    first = ["scenario", "volume", "age", "trained", "value"]
    return out[[*first, *(c for c in out.columns if c not in first)]]


def fitted_lines(
    volumes: pd.DataFrame,
    measures: Sequence[str] | None = None,
    breaks: Sequence[float] = (),
    *,
    count: int = LINE_AGES,
) -> pd.DataFrame:
    """The regression lines of `trajectory` at many ages, so that they are drawn as the curves they are.

    Args:
        volumes, measures, breaks: as for `trajectory`.
        count: ages, evenly from the first to the last of the sweep.

    Returns:
        Columns `scenario`, `volume`, `age`, `fit`, `ci_low`, `ci_high`.
    """
    parts = []
    for keys, rows in _own(volumes, measures):
        at = np.linspace(rows["age"].min(), rows["age"].max(), count)
        line = regression_line(rows["age"], rows["value"], at, breaks=breaks)
        parts.append(line.rename(columns={"low": "ci_low", "high": "ci_high"}).assign(**keys))
    out = pd.concat(parts, ignore_index=True)
    return out[["scenario", "volume", "age", "fit", "ci_low", "ci_high"]]


def _own(
    volumes: pd.DataFrame, measures: Sequence[str] | None
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """`age`, `trained` and `value` of the draw of the seed, for every scenario and volume."""
    own = volumes[volumes["draw"] == volumes["draw"].min()].sort_values("age", kind="stable")
    for scenario in dict.fromkeys(volumes["scenario"]):
        mine = own[own["scenario"] == scenario]
        for name in _present(volumes, measures):
            rows = mine[["age", "trained", name]].rename(columns={name: "value"})
            yield {"scenario": str(scenario), "volume": name}, rows.reset_index(drop=True)


def _present(volumes: pd.DataFrame, measures: Sequence[str] | None) -> tuple[str, ...]:
    """The volumes wanted, those that are there by default."""
    return tuple(v for v in MEASURES if v in volumes.columns) if measures is None else tuple(measures)
