"""Reference centiles of volumes of tissues and regions by age and sex.

Restricted quantile regression (He 1997, "Quantile curves without crossing") for each sex: the median is a quadratic
of age (Koenker and Bassett 1978), people's distance from it grows or shrinks along a line, and in units of that
line's height everybody's distances have the same centiles. Right for samples of some sixty people, too few for GAMLSS
and for every centile's curve to be fitted by itself, which wiggles and crosses others.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from csegsynth_core.data.feature import suggestion
from csegsynth_core.data.schema import check_format
from csegsynth_core.errors import PackError, TableError
from csegsynth_core.tissue import TISSUES

CENTILES: Final[tuple[int, ...]] = (5, 25, 50, 75, 95)
TOTAL: Final = "+".join(TISSUES)
"""`wm+gm+csf`: the sum of the three volumes, in packs, links and scenarios."""

TOTAL_IN_TABLES: Final = "_".join(TISSUES)
"""`wm_gm_csf`: what it is called in every table that is written; columns of BIDS tables are in snake case."""

KINDS: Final[tuple[str, ...]] = (*TISSUES, TOTAL)
"""Volumes that always have centiles; packs have those of regions too."""

MIN_PEOPLE: Final = 20
"""People of one sex that curves of their own need; the pooled ones are used otherwise."""

CLIP: Final[tuple[float, float]] = (0.5, 99.5)
"""No centile beyond these is reported: the data cannot tell."""

_NAMING: Final = ("measure", "volume")  # columns of tidy tables that say which volume
_DEGREE: Final = 2
_TILT: Final = 0.4  # most that distances from the median may change from the middle of the ages to either end
_GAP_ML: Final = 1e-6  # neighbouring curves are kept this far apart, so that their order is always defined
_FORMAT: Final = "csegsynth-volume-centiles"
_VERSION: Final = 1


def as_written(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as files have it: the sum of the tissues is `TOTAL_IN_TABLES`, as a column or in a column of names."""
    named = {c: frame[c].replace(TOTAL, TOTAL_IN_TABLES) for c in _NAMING if c in frame}
    return frame.assign(**named).rename(columns={TOTAL: TOTAL_IN_TABLES})


@dataclass(frozen=True)
class _Group:
    """Curves of the people of one sex, or of all."""

    n: int
    centre: float
    half: float
    coefficients: dict[str, tuple[tuple[float, ...], ...]]
    """Volume → for each of `CENTILES`, ascending powers of t = (age − centre) / half; mL."""

    def at(self, kind: str, ages: NDArray[np.float64]) -> NDArray[np.float64]:
        """Volumes in mL, shape (ages, centiles), rising along the second axis and never negative."""
        t = np.clip((ages - self.centre) / self.half, -1.0, 1.0)
        curves = np.stack([polynomial.polyval(t, np.asarray(c)) for c in self.coefficients[kind]], axis=1)
        curves = np.sort(np.maximum(curves, 0.0), axis=1)
        steps = _GAP_ML * np.arange(curves.shape[1])
        return np.maximum.accumulate(curves - steps, axis=1) + steps


class VolumeCentiles:
    """Centiles 5, 25, 50, 75 and 95 of `wm`, `gm`, `csf`, `wm+gm+csf` and of regions in mL, by age and sex."""

    def __init__(self, pooled: _Group, by_sex: dict[str, _Group]) -> None:
        """Use `fit` or `from_dict` instead."""
        self._pooled = pooled
        self._by_sex = by_sex

    @classmethod
    def fit(
        cls,
        ages: ArrayLike | None,
        sexes: Sequence[str | None] | None,
        volumes_ml: Mapping[str, ArrayLike],
    ) -> VolumeCentiles:
        """Fit to reference people; those without an age or a volume are left out.

        Args:
            ages: years, shape (people,).
            sexes: key of a level of `sex` for each person (None: unknown), or None when nobody's is known;
                then there are pooled curves only. A sex with fewer than 20 people has no curves of its own.
            volumes_ml: `wm`, `gm`, `csf` and any others by name, mL, each of shape (people,).

        Raises:
            TableError: ages or a tissue are missing, lengths differ, fewer than 20 people are complete, or
                all are of one age.
        """
        if ages is None:
            raise TableError(
                "reference centiles are unavailable", expected="an age (years) for each person", got="no ages"
            )
        years = np.asarray(ages, dtype=float)
        absent = [t for t in TISSUES if t not in volumes_ml]
        if absent:
            raise TableError(
                "reference centiles are unavailable",
                expected=f"volumes of {', '.join(TISSUES)}",
                got=", ".join(volumes_ml) or "none",
            )
        volumes = {name: np.asarray(ml, dtype=float) for name, ml in volumes_ml.items()}
        people = [None] * len(years) if sexes is None else [None if s != s else s for s in sexes]
        lengths = {"ages": len(years), "sexes": len(people)} | {t: len(v) for t, v in volumes.items()}
        if len(set(lengths.values())) > 1:
            raise TableError(
                "reference centiles: lengths differ",
                expected="one age, sex and volume for each person",
                got=", ".join(f"{n} {name}" for name, n in lengths.items()),
            )
        volumes[TOTAL] = np.sum([volumes[t] for t in TISSUES], axis=0)
        use = np.isfinite(years) & np.isfinite(np.stack(list(volumes.values()))).all(axis=0)
        if int(use.sum()) < MIN_PEOPLE or len(np.unique(years[use])) <= _DEGREE:
            raise TableError(
                "reference centiles are unavailable",
                expected=f"at least {MIN_PEOPLE} people of different ages with all volumes",
                got=f"{int(use.sum())} people, {len(np.unique(years[use]))} different ages",
            )
        by_sex = {}
        for sex in sorted({str(s) for s in people if s is not None}):
            mine = use & np.array([s == sex for s in people])
            if int(mine.sum()) >= MIN_PEOPLE and len(np.unique(years[mine])) > _DEGREE:
                by_sex[sex] = _fit_group(years[mine], {k: v[mine] for k, v in volumes.items()})
        return cls(_fit_group(years[use], {k: v[use] for k, v in volumes.items()}), by_sex)

    @property
    def sexes(self) -> tuple[str, ...]:
        """Sexes with curves of their own."""
        return tuple(self._by_sex)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Volumes that have centiles: `KINDS`, then regions."""
        there = self._pooled.coefficients
        return KINDS + tuple(k for k in there if k not in KINDS)

    def people(self, sex: str | None = None) -> int:
        """How many people the curves for `sex` rest on."""
        return self._group(sex).n

    def ages(self, sex: str | None = None) -> tuple[float, float]:
        """Youngest and oldest reference person, years."""
        group = self._group(sex)
        return group.centre - group.half, group.centre + group.half

    def centile_of(self, tissue: str, age: float, sex: str | None, ml: float) -> float:
        """Centile of a volume among reference people of that age and sex, in [0.5, 99.5].

        At the given age, the curves are placed at the normal scores of 5, 25, 50, 75 and 95 %, and joined
        by straight lines: between two curves the volumes follow a normal distribution. Beyond the outer
        curves the outermost line goes on. Ages beyond the reference range count as its end.

        Args:
            tissue: one of `kinds`.
            age: years.
            sex: a sex of the reference people; None, or one without curves of its own: all together.
            ml: volume in mL.

        Raises:
            TableError: no such tissue, or age or volume is not a number.
        """
        self._check_kind(tissue)
        if not (np.isfinite(age) and np.isfinite(ml)):
            raise TableError(
                "no centile", expected="an age in years and a volume in mL", got=f"{age!r} and {ml!r}"
            )
        curve = self._group(sex).at(tissue, np.array([float(age)]))[0]
        normal = NormalDist()
        scores = np.array([normal.inv_cdf(c / 100) for c in CENTILES])
        i = int(np.clip(np.searchsorted(curve, ml) - 1, 0, len(curve) - 2))
        slope = (scores[i + 1] - scores[i]) / (curve[i + 1] - curve[i])
        score = float(np.clip(scores[i] + slope * (ml - curve[i]), -8.0, 8.0))
        return float(np.clip(100 * normal.cdf(score), *CLIP))

    def curve(self, tissue: str, sex: str | None, ages: ArrayLike) -> pd.DataFrame:
        """Centile curves, one row for each age.

        Args:
            tissue: one of `kinds`.
            sex: as for `centile_of`.
            ages: years.

        Returns:
            Columns `age` (years), `c5`, `c25`, `c50`, `c75`, `c95` (mL), and `inside`: whether the age lies
            in the reference range (beyond it, the curves are flat).

        Raises:
            TableError: no such tissue.
        """
        self._check_kind(tissue)
        years = np.atleast_1d(np.asarray(ages, dtype=float))
        group = self._group(sex)
        volumes = group.at(tissue, years)
        low, high = self.ages(sex)
        out: dict[str, Any] = {"age": years} | {f"c{c}": volumes[:, i] for i, c in enumerate(CENTILES)}
        return pd.DataFrame(out | {"inside": (years >= low) & (years <= high)})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; floats survive a round trip through JSON bit for bit."""

        def plain(group: _Group) -> dict[str, Any]:
            curves = {k: [list(c) for c in curves] for k, curves in group.coefficients.items()}
            return {"n": group.n, "centre": group.centre, "half": group.half, "coefficients": curves}

        return {
            "format": _FORMAT,
            "version": _VERSION,
            "centiles": list(CENTILES),
            "pooled": plain(self._pooled),
            "by_sex": {sex: plain(group) for sex, group in self._by_sex.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VolumeCentiles:
        """Inverse of `to_dict`.

        Raises:
            PackError: not volume centiles, damaged, or of another version.
        """

        def group(plain: Mapping[str, Any]) -> _Group:
            curves = {
                kind: tuple(tuple(float(x) for x in c) for c in found)
                for kind, found in plain["coefficients"].items()
            }
            if absent := [kind for kind in KINDS if kind not in curves]:
                raise ValueError(f"no curves of {', '.join(absent)}")
            if any(len(c) != len(CENTILES) for c in curves.values()):
                raise ValueError("number of curves")
            return _Group(int(plain["n"]), float(plain["centre"]), float(plain["half"]), curves)

        check_format(data, _FORMAT, _VERSION)
        try:
            if list(data["centiles"]) != list(CENTILES):
                raise ValueError(f"centiles {data['centiles']}")
            return cls(group(data["pooled"]), {sex: group(plain) for sex, plain in data["by_sex"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise PackError("the volume centiles are damaged", got=got) from error

    def _group(self, sex: str | None) -> _Group:
        """Curves for `sex`, or the pooled ones."""
        return self._pooled if sex is None else self._by_sex.get(sex, self._pooled)

    def _check_kind(self, tissue: str) -> None:
        """Refuse a volume that has no centiles."""
        if tissue not in self.kinds:
            raise TableError(
                f"no centiles of {tissue!r}",
                expected=f"one of {', '.join(self.kinds)}",
                fix=suggestion(tissue, self.kinds),
            )


def _fit_group(ages: NDArray[np.float64], volumes: Mapping[str, NDArray[np.float64]]) -> _Group:
    """Curves of each volume as quadratics of age scaled to [−1, 1]: median + centile of distances · their line."""
    from statsmodels.regression.quantile_regression import QuantReg  # slow to import, needed to fit only
    from statsmodels.tools.sm_exceptions import IterationLimitWarning

    low, high = float(ages.min()), float(ages.max())
    centre, half = (low + high) / 2, (high - low) / 2
    t = (ages - centre) / half
    coefficients: dict[str, tuple[tuple[float, ...], ...]] = {}

    def median(values: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            # At the limit the iterations cycle between neighbouring solutions within a fraction of a mL.
            warnings.simplefilter("ignore", IterationLimitWarning)
            fit = QuantReg(values, polynomial.polyvander(t, degree)).fit(q=0.5, max_iter=2000)
        return np.asarray(fit.params, float)

    for kind, values in volumes.items():
        middle, scale = float(np.median(values)), float(values.std()) or 1.0
        own = median((values - middle) / scale, _DEGREE) * scale
        own[0] += middle
        away = values - polynomial.polyval(t, own)
        mean = float(np.abs(away).mean()) or 1.0
        line = median(np.abs(away) / mean, 1) * mean
        # A line that would fall to nothing at one end, or grow without measure, is the chance of few people.
        line[1] = float(np.clip(line[1], -_TILT * line[0], _TILT * line[0]))
        if line[0] <= 0:
            line = np.asarray([mean, 0.0])
        apart = np.percentile(away / polynomial.polyval(t, line), CENTILES)
        apart[CENTILES.index(50)] = 0.0
        curves = own + np.pad(np.outer(apart, line), ((0, 0), (0, _DEGREE - 1)))
        coefficients[kind] = tuple(tuple(float(c) for c in curve) for curve in curves)
    return _Group(len(ages), centre, half, coefficients)
