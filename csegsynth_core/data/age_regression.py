"""How features change with age among the training people: the "regressed" scenario.

CSegSynth paper, section III: along a trajectory of age, the other features follow their third-order
polynomial regression on age instead of staying as they are. Cross-sectional: a regression describes
differences between people, not the course of one person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from csegsynth_core.data.feature import Feature, suggestion
from csegsynth_core.data.schema import Parsed, Schema, check_format
from csegsynth_core.errors import PackError, TableError

DEGREE: Final = 3
"""Degree of the polynomials of age."""

MIN_PEOPLE: Final = 12
"""People of one sex with a value that a regression of their own needs; the pooled one is used otherwise."""

_FORMAT: Final = "csegsynth-age-regressions"
_VERSION: Final = 1


@dataclass(frozen=True)
class AgeCurve:
    """A polynomial of age."""

    coefficients: tuple[float, ...]
    """Ascending powers of t = (age − centre) / half, so that t lies in [−1, 1]; units of the feature."""
    centre: float
    """Middle of the age range, years."""
    half: float
    """Half the age range, years."""
    residual_sd: float
    """Standard deviation of the residuals (n − number of coefficients in the denominator)."""
    n: int
    """People it was fitted to."""

    @property
    def ages(self) -> tuple[float, float]:
        """Youngest and oldest person, years."""
        return self.centre - self.half, self.centre + self.half

    def at(self, age: float) -> float:
        """Value at `age` years; beyond the age range, that at its end."""
        t = 0.0 if self.half == 0 else min(max((age - self.centre) / self.half, -1.0), 1.0)
        return float(polynomial.polyval(t, np.asarray(self.coefficients)))

    def along(self, ages: NDArray[np.float64]) -> NDArray[np.float64]:
        """`at` for many ages (years) of any shape."""
        t = np.zeros_like(ages) if self.half == 0 else np.clip((ages - self.centre) / self.half, -1.0, 1.0)
        return np.asarray(polynomial.polyval(t, np.asarray(self.coefficients)), np.float64)


Curves = dict[str, tuple[AgeCurve, ...]]
"""Feature → the curve of a number or of the index of an ordinal feature, or one for each level."""


class AgeRegressions:
    """Cubic regressions of every other feature on age, for each sex and for all people together."""

    def __init__(
        self,
        schema: Schema,
        pooled: Curves,
        by_sex: dict[str, Curves],
        limits: dict[str, tuple[float, float]],
    ) -> None:
        """Use `fit` or `from_dict` instead."""
        self.schema = schema
        self._pooled = pooled
        self._by_sex = by_sex
        self._limits = limits

    @staticmethod
    def unavailable(schema: Schema) -> str:
        """Why there can be no regressions for `schema`; empty when there can be."""
        if schema.age is None:
            return "the schema has no numeric feature 'age'"
        if not _others(schema):
            return "the schema has no features besides age and sex"
        return ""

    @classmethod
    def fit(cls, schema: Schema, training: Parsed) -> AgeRegressions:
        """Fit by ordinary least squares to the training people.

        Without a feature `sex` only the pooled regressions are made. Where there are fewer than four
        different ages, the degree is lower.

        Raises:
            TableError: regressions are unavailable (`unavailable`), `training` was parsed with another
                schema, or nobody has both an age and a value of some feature.
        """
        reason = cls.unavailable(schema)
        if reason or schema.age is None:
            raise TableError(
                "age regressions are unavailable",
                expected="a numeric feature 'age' and other features",
                got=reason,
                fix="add ages (years) to the table, or use the 'ideal' scenario",
            )
        if training.schema != schema:
            raise TableError(f"{training.source}: validated with another schema")
        ages = training.data[schema.age.name].to_numpy(float)
        sexes = np.full(len(ages), None, dtype=object)
        if schema.sex is not None:
            sexes = training.data[schema.sex.name].to_numpy(object)
        pooled: Curves = {}
        by_sex: dict[str, Curves] = {} if schema.sex is None else {s: {} for s in schema.sex.levels}
        limits: dict[str, tuple[float, float]] = {}
        for one in _others(schema):
            targets = _targets(one, training)
            use = ~np.isnan(ages) & ~np.isnan(targets[0])
            if not use.any():
                raise TableError(
                    f"{training.source}, column {one.name}: nobody has both an age and a value",
                    fix="complete the table, or leave the feature out",
                )
            if one.is_numeric:
                limits[one.name] = float(targets[0][use].min()), float(targets[0][use].max())
            pooled[one.name] = tuple(_curve(ages[use], t[use]) for t in targets)
            for sex, fits in by_sex.items():
                mine = use & (sexes == sex)
                if int(mine.sum()) >= MIN_PEOPLE:
                    fits[one.name] = tuple(_curve(ages[mine], t[mine]) for t in targets)
        return cls(schema, pooled, by_sex, limits)

    def curves(self, feature: str, sex: str | None = None) -> tuple[AgeCurve, ...]:
        """The curve of a numeric or ordinal feature, or those of each level's probability.

        Args:
            feature: any feature but age and sex.
            sex: key or label of a level of `sex`; None: all people together. Where fewer than 12 people of
                that sex have a value, it is the pooled one too.

        Raises:
            TableError: no such feature or sex.
        """
        self.schema.feature(feature)
        if feature not in self._pooled:
            raise TableError(
                f"feature {feature!r} is not regressed on age", expected=f"one of {', '.join(self._pooled)}"
            )
        return self._by_sex.get(self._level(sex) or "", {}).get(feature, self._pooled[feature])

    def is_pooled(self, feature: str, sex: str) -> bool:
        """Whether people of all sexes had to stand in for `sex` (fewer than 12 with a value)."""
        return feature not in self._by_sex.get(self._level(sex) or "", {})

    def predict(self, age: float, sex: str | None = None) -> dict[str, float | str]:
        """Regressed value of every feature but age and sex.

        Numbers stay within the training range and are not rounded, so that trajectories stay smooth; the
        index of an ordinal feature is rounded to a level; of other levels the most probable is taken.
        Beyond the training ages, values are those at the youngest or oldest age.

        Args:
            age: years.
            sex: key or label of a level of `sex`; None: all people together.

        Raises:
            TableError: no such sex, or the age is not a number.
        """
        _check_age(age)
        out: dict[str, float | str] = {}
        for one in _others(self.schema):
            if one.kind == "numeric":
                low, high = self._limits[one.name]
                out[one.name] = min(max(self.curves(one.name, sex)[0].at(age), low), high)
            elif one.kind == "ordinal":
                keys = list(one.levels)
                index = round(self.curves(one.name, sex)[0].at(age))
                out[one.name] = keys[min(max(index, 0), len(keys) - 1)]
            else:
                chances = self._chances(one, age, sex)
                out[one.name] = max(chances, key=lambda key, c=chances: c[key])  # type: ignore[misc]
        return out

    def probabilities(self, age: float, sex: str | None = None) -> dict[str, dict[str, float]]:
        """Probability of each level of every binary and nominal feature, for people of `age` years.

        The regressions of the indicators, clipped to [0, 1] and scaled to a sum of 1. Arguments and errors
        as for `predict`.
        """
        _check_age(age)
        kinds = ("binary", "nominal")
        return {one.name: self._chances(one, age, sex) for one in _others(self.schema) if one.kind in kinds}

    def chances(self, feature: str, ages: NDArray[np.float64], sex: str | None = None) -> NDArray[np.float64]:
        """Probability of each level of a binary or nominal feature along ages (years) of any shape, the levels first.

        Other arguments and errors as for `curves`.
        """
        return _shared([curve.along(ages) for curve in self.curves(feature, sex)])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; floats survive a round trip through JSON bit for bit."""

        def plain(fits: Curves) -> dict[str, Any]:
            return {name: [asdict(c) for c in curves] for name, curves in fits.items()}

        return {
            "format": _FORMAT,
            "version": _VERSION,
            "schema": self.schema.to_dict(),
            "pooled": plain(self._pooled),
            "by_sex": {sex: plain(fits) for sex, fits in self._by_sex.items()},
            "limits": {name: list(pair) for name, pair in self._limits.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgeRegressions:
        """Inverse of `to_dict`.

        Raises:
            PackError: not age regressions, damaged, or of another version.
        """

        def fits(plain: Mapping[str, Any]) -> Curves:
            return {
                name: tuple(AgeCurve(**{**c, "coefficients": tuple(c["coefficients"])}) for c in curves)
                for name, curves in plain.items()
            }

        check_format(data, _FORMAT, _VERSION)
        try:
            return cls(
                Schema.from_dict(data["schema"]),
                fits(data["pooled"]),
                {sex: fits(plain) for sex, plain in data["by_sex"].items()},
                {name: (float(low), float(high)) for name, (low, high) in data["limits"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise PackError("the age regressions are damaged", got=got) from error

    def _level(self, sex: str | None) -> str | None:
        """Key of a sex given by key or label."""
        if sex is None:
            return None
        one = self.schema.sex
        if one is None:
            raise TableError(
                "the schema has no feature 'sex' with levels", got=f"sex {sex!r}", fix="leave sex out"
            )
        level = one.level_of(str(sex))
        if level is None:
            names = [*one.levels, *one.levels.values()]
            raise TableError(
                "unknown level of sex", expected=one.expected, got=repr(sex), fix=suggestion(str(sex), names)
            )
        return level

    def _chances(self, one: Feature, age: float, sex: str | None) -> dict[str, float]:
        """Probability of each level; sums to 1 (before clipping the regressions do so by themselves)."""
        shares = _shared([curve.at(age) for curve in self.curves(one.name, sex)])
        return {key: float(p) for key, p in zip(one.levels, shares, strict=True)}


def _shared(raw: Sequence[float] | Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Regressed indicators of levels, the levels first, as probabilities: within [0, 1], with a sum of 1."""
    clipped = np.clip(np.asarray(raw, np.float64), 0.0, 1.0)
    return np.asarray(clipped / clipped.sum(axis=0), np.float64)


def _others(schema: Schema) -> tuple[Feature, ...]:
    """Features but age and sex."""
    own = {one.name for one in (schema.age, schema.sex) if one is not None}
    return tuple(one for one in schema.features if one.name not in own)


def _check_age(age: float) -> None:
    """Refuse an age that is not a finite number."""
    if not np.isfinite(age):
        raise TableError("age is not a number", expected="years", got=repr(age))


def _targets(one: Feature, training: Parsed) -> list[NDArray[np.float64]]:
    """What is regressed on age: the number, the index of the level, or the indicator of each level."""
    column = training.data[one.name]
    if one.is_numeric:
        return [column.to_numpy(float)]
    keys = list(one.levels)
    index = np.array([np.nan if v is None or v != v else float(keys.index(v)) for v in column])
    if one.kind == "ordinal":
        return [index]
    return [np.where(np.isnan(index), np.nan, (index == i).astype(float)) for i in range(len(keys))]


def _curve(ages: NDArray[np.float64], values: NDArray[np.float64]) -> AgeCurve:
    """Least-squares polynomial of age; ages are scaled to [−1, 1] first."""
    low, high = float(ages.min()), float(ages.max())
    centre, half = (low + high) / 2, (high - low) / 2
    t = np.zeros(len(ages)) if half == 0 else (ages - centre) / half
    degree = min(DEGREE, len(np.unique(ages)) - 1)
    coefficients = polynomial.polyfit(t, values, degree)
    rest = values - polynomial.polyval(t, coefficients)
    freedom = max(len(values) - degree - 1, 1)
    return AgeCurve(
        coefficients=tuple(float(c) for c in coefficients),
        centre=centre,
        half=half,
        residual_sd=float(np.sqrt((rest**2).sum() / freedom)),
        n=len(values),
    )
