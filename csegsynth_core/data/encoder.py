"""Values of features → the numbers that a network sees, and back to natural units for gradients.

Numeric, binary and ordinal features are one standardised column each (binary and ordinal: the index of
the level). A nominal feature is a centred one-hot block, each column divided by the standard deviation
of its indicator, but by 0.25 at least, so that rare levels do not explode. All statistics come from the
training people only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core.data.feature import Feature, FeatureGroup, FeatureKind, suggestion
from csegsynth_core.data.schema import Parsed, Schema, check_format
from csegsynth_core.errors import PackError, TableError

RARE_BELOW: Final = 3
"""Levels with fewer training people are "rare"; those of a nominal feature are encoded as its mean."""

NOMINAL_FLOOR: Final = 0.25
"""Smallest divisor of a column of a one-hot block (the standard deviation at a share of about 7 %)."""

MISSING: Final = "imputed (missing)"
"""Flag of a value that nobody knew."""

_FORMAT: Final = "csegsynth-encoder"
_VERSION: Final = 1
_CELL_PEOPLE: Final = 3  # people that a cell of sex and age decade needs to vote on a missing level
_REGRESSION_PEOPLE: Final = 12  # people that the regression for missing numbers needs


@dataclass(frozen=True)
class NumericStats:
    """Training statistics of a numeric feature, in its units."""

    n: int
    mean: float
    sd: float
    """Population standard deviation."""
    median: float
    minimum: float
    maximum: float
    centile1: float
    centile99: float
    impute: tuple[float, ...]
    """Missing values: intercept, slope for each standard deviation of age, shift of each sex but the
    first. Only the intercept (the mean; for age the median) where there is too little to regress on."""


@dataclass(frozen=True)
class LevelStats:
    """Training statistics of a feature with levels."""

    n: int
    counts: dict[str, int]
    """People with each level, in the order of the schema."""
    mode: str
    """Most frequent level; of equals, the first."""
    cells: dict[str, str]
    """Most frequent level of each `sex|decade` (decade of age: 20, 30, …) with at least 3 people."""
    mean: float
    """Mean of the index of the level."""
    sd: float
    """Population standard deviation of the index of the level."""
    kept: tuple[str, ...]
    """Nominal features: levels with a column of their own; empty otherwise."""
    shares: tuple[float, ...]
    """Share of each kept level among the people with a kept level."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a network sees, and what was done to get there."""

    x: NDArray[np.float32]
    """Shape (people, width), standardised."""
    columns: list[str]
    """Name of each column of `x`: `age`, or `ethnicity=white` for a level of a nominal feature."""
    owners: list[str]
    """Feature that each column of `x` belongs to."""
    flags: pd.DataFrame
    """(people, features): `""`, `imputed (missing)`, `imputed (implausible: 110 cm)`,
    `outside training range (18.0–82.2 years)` or `rare level`."""
    natural: pd.DataFrame
    """(people, features): natural values after filling in, float or key of a level."""

    def flags_of(self, row: int) -> dict[str, str]:
        """Flags of one person by feature, empty ones left out."""
        return {str(k): str(v) for k, v in self.flags.iloc[row].items() if v}

    def remarks(self) -> list[str]:
        """What has to be told about the people of a table, a line for each feature and kind of flag.

        `age: 1 of 12 people imputed (implausible: 105 years)`; of several people the first one's reason stands there.
        Features that nobody has a value of share a line.
        """
        out, people = [], len(self.flags)
        unknown = [str(k) for k, v in self.flags.items() if (v == MISSING).all()]
        if unknown:
            out.append(f"unknown of everybody, imputed: {', '.join(unknown)}")
        for name, flags in self.flags.drop(columns=unknown).items():
            said = [str(f) for f in flags if f]
            for kind in dict.fromkeys(f.split(":")[0] for f in said):
                own = [f for f in said if f.split(":")[0] == kind]
                out.append(f"{name}: {len(own)} of {people} people {own[0]}")
        return out


@dataclass(frozen=True)
class Control:
    """What a page needs to ask for one feature."""

    name: str
    label: str
    kind: FeatureKind
    group: FeatureGroup
    description: str
    units: str
    minimum: float | None
    """Smallest training value, in `units`; None for features with levels."""
    maximum: float | None
    step: float | None
    levels: dict[str, str]
    """Value → label; empty for numbers."""
    rare: tuple[str, ...]
    """Levels that fewer than 3 training people have."""


class Encoder:
    """Turns parsed tables into arrays with the statistics of the training people."""

    def __init__(
        self, schema: Schema, numeric: dict[str, NumericStats], levels: dict[str, LevelStats]
    ) -> None:
        """Use `fit` or `from_dict` instead."""
        self.schema = schema
        self.numeric = numeric
        self.levels = levels
        self.columns: list[str] = []
        """Name of each column."""
        self.owners: list[str] = []
        """Feature that each column belongs to. Every feature owns at least one column."""
        for one in schema.features:
            kept = levels[one.name].kept if one.kind == "nominal" else ()
            names = [f"{one.name}={level}" for level in kept] or [one.name]
            self.columns += names
            self.owners += [one.name] * len(names)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @classmethod
    def fit(cls, schema: Schema, training: Parsed) -> Encoder:
        """Statistics of the training people.

        Raises:
            TableError: `training` was parsed with another schema, or a feature has no usable value.
        """
        _same_schema(schema, training)
        for one in schema.features:
            if bool(training.data[one.name].isna().all()):
                counts = training.flags[one.name].value_counts()
                implausible = int(counts.get("implausible", 0))
                bounds = f"; {implausible} outside {span(one, *one.plausible)}" if one.plausible else ""
                raise TableError(
                    f"{training.source}, column {one.name}: no usable value among the training people",
                    got=f"{int(counts.get('missing', 0))} missing{bounds}",
                    fix='check "Units", set "Plausible" in participants.json, or leave the feature out',
                )
        ages = None if schema.age is None else training.data[schema.age.name].to_numpy(float)
        sexes = None if schema.sex is None else training.data[schema.sex.name]
        numeric, levels = {}, {}
        for one in schema.features:
            column = training.data[one.name]
            if one.is_numeric:
                own = one == schema.age
                numeric[one.name] = _numeric_stats(
                    column.to_numpy(float), None if own else ages, None if own else sexes, schema.sex, own
                )
            else:
                own = one == schema.sex
                levels[one.name] = _level_stats(one, column, None if own else ages, None if own else sexes)
        return cls(schema, numeric, levels)

    def encode(self, parsed: Parsed) -> Encoded:
        """Encode people; what is missing or implausible is filled in and flagged.

        Missing age or sex: median or mode of the training people. Other numbers: linear regression on age
        and sex among the training people (their mean, where fewer than 12 have all three); age and outcome
        are kept within the training range. Other levels: the most frequent of the same sex and age decade,
        overall where fewer than 3 training people are alike. A number that is 0 for people like this one
        (`Feature.zero_unless`) is 0. Values outside the training range are flagged, not changed.

        Raises:
            TableError: `parsed` was made with another schema.
        """
        _same_schema(self.schema, parsed)
        filled = self._filled(parsed)
        flags = np.empty((len(parsed), len(self.schema.features)), dtype=object)
        states, raws = parsed.flags.to_numpy(object), parsed.raw.to_numpy(object)
        missing = parsed.data.isna().to_numpy()
        blocks = []
        for k, one in enumerate(self.schema.features):
            absent = missing[:, k]
            state, raw = states[:, k].tolist(), raws[:, k].tolist()
            flag = [_imputed(one, s, r) if a else "" for a, s, r in zip(absent, state, raw, strict=True)]
            if one.is_numeric:
                stats, numbers = self.numeric[one.name], filled[one.name]
                beyond = (numbers < stats.minimum) | (numbers > stats.maximum)
                for far in np.flatnonzero(beyond & ~absent):
                    flag[far] = f"outside training range ({span(one, stats.minimum, stats.maximum)})"
                blocks.append(_standardise(numbers, stats.mean, stats.sd))
            else:
                votes, keys = self.levels[one.name], filled[one.name].tolist()
                for i, key in enumerate(keys):
                    if votes.counts[key] < RARE_BELOW and not flag[i]:
                        flag[i] = "rare level"
                blocks.append(_level_columns(one, votes, keys))
            flags[:, k] = flag
        index, names = parsed.data.index, [one.name for one in self.schema.features]
        return Encoded(
            x=np.concatenate(blocks, axis=1).astype(np.float32),
            columns=list(self.columns),
            owners=list(self.owners),
            flags=pd.DataFrame(flags, index=index, columns=names, dtype=object),
            natural=pd.DataFrame(filled, index=index),
        )

    def d_natural(self, name: str) -> float:
        """Natural units for each unit of the encoded column of feature `name`: its standard deviation.

        A gradient with respect to the column, divided by this, is one for each natural unit (for ordinal
        and binary features: for each step of a level). 0 when all training people have the same value:
        the column is then 0 for everybody and has no meaningful gradient.

        Raises:
            TableError: no such feature, or a nominal one (its levels have no common unit).
        """
        one = self.schema.feature(name)
        if one.kind == "nominal":
            raise TableError(
                f"feature {name!r} has no natural unit", expected="a numeric, ordinal or binary feature"
            )
        return self.numeric[name].sd if one.is_numeric else self.levels[name].sd

    def column_sd(self) -> NDArray[np.float64]:
        """Standard deviation of every encoded column among training people with a kept level, (columns,).

        1, but less for rare levels of nominal features, whose divisor has a floor (`NOMINAL_FLOOR`). Columns in
        which nobody differs have 1, too.
        """
        out = np.ones(self.width)
        for one in self.schema.features:
            if one.kind == "nominal" and self.levels[one.name].kept:
                shares = np.asarray(self.levels[one.name].shares)
                own = np.sqrt(shares * (1 - shares))
                out[np.array(self.owners) == one.name] = np.where(
                    own > 0, own / np.maximum(own, NOMINAL_FLOOR), 1.0
                )
        return out

    def scales(self) -> dict[str, float]:
        """Population standard deviation of every numeric feature, in its units."""
        return {name: stats.sd for name, stats in self.numeric.items()}

    def default_person(self, sex: str | None = None, age: float | None = None) -> dict[str, float | str]:
        """A typical training person: median and mode of every feature, but 0 where a number is for such people
        (`Feature.zero_unless`).

        With `sex` (key or label of a level) or `age` (years) given, the other features are what `encode`
        would fill in for such a person instead. Whole-number features are rounded.

        Raises:
            TableError: the schema has no such feature, or the value is not possible.
        """
        person: dict[str, float | str] = {}
        given: dict[str, float | str] = {}
        if sex is not None:
            given |= _given_sex(self.schema, sex)
        if age is not None:
            given |= _given_age(self.schema, age)
        ages = sexes = None
        if self.schema.age is not None:
            name = self.schema.age.name
            ages = np.array([float(given.get(name, self.numeric[name].median))])
        if self.schema.sex is not None:
            name = self.schema.sex.name
            sexes = [str(given.get(name, self.levels[name].mode))]
        for one in self.schema.features:
            if one.name in given:
                person[one.name] = given[one.name]
            elif one.is_numeric:
                stats = self.numeric[one.name]
                number = float(self._guess(stats, ages, sexes, 1)[0]) if given else stats.median
                number = min(max(number, stats.minimum), stats.maximum)
                person[one.name] = float(round(number)) if one.integer else number
            else:
                votes = self.levels[one.name]
                person[one.name] = self._vote(votes, ages, sexes, 0) if given else votes.mode
        return self.schema.agreed(person, keep=given)

    def ranges(self) -> dict[str, Control]:
        """What a page needs to ask for each feature, in the order of the schema."""
        out = {}
        for one in self.schema.features:
            stats = self.numeric.get(one.name)
            counts = self.levels[one.name].counts if stats is None else {}
            out[one.name] = Control(
                name=one.name,
                label=one.label,
                kind=one.kind,
                group=one.group,
                description=one.description,
                units=one.units,
                minimum=stats.minimum if stats else None,
                maximum=stats.maximum if stats else None,
                step=_step(one, stats) if stats else None,
                levels=dict(one.levels),
                rare=tuple(k for k, n in counts.items() if n < RARE_BELOW),
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; floats survive a round trip through JSON bit for bit."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "schema": self.schema.to_dict(),
            "numeric": {name: asdict(stats) for name, stats in self.numeric.items()},
            "levels": {name: asdict(stats) for name, stats in self.levels.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Encoder:
        """Inverse of `to_dict`.

        Raises:
            PackError: not an encoder, damaged, or of another version.
        """
        check_format(data, _FORMAT, _VERSION)
        try:
            schema = Schema.from_dict(data["schema"])
            numeric = {
                n: NumericStats(**{**s, "impute": tuple(s["impute"])}) for n, s in data["numeric"].items()
            }
            levels = {
                n: LevelStats(**{**s, "kept": tuple(s["kept"]), "shares": tuple(s["shares"])})
                for n, s in data["levels"].items()
            }
            if {*numeric, *levels} != set(schema.names):
                raise KeyError("statistics of some features")
            return cls(schema, numeric, levels)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PackError("the encoder is damaged", got=f"{type(error).__name__}: {error}") from error

    def _filled(self, parsed: Parsed) -> dict[str, np.ndarray]:
        """Natural values by feature, (people,), with what is missing filled in as `encode` says."""
        age, sex = self.schema.age, self.schema.sex
        ages = sexes = None
        if age is not None:
            known = parsed.data[age.name].to_numpy(float)
            ages = np.where(np.isnan(known), self.numeric[age.name].median, known)
        if sex is not None:
            mode = self.levels[sex.name].mode
            sexes = [mode if pd.isna(s) else str(s) for s in parsed.data[sex.name]]
        absent = {one.name: parsed.data[one.name].isna().to_numpy() for one in self.schema.features}
        out: dict[str, np.ndarray] = {}
        for one in self.schema.features:
            column = parsed.data[one.name]
            if one.is_numeric:
                stats = self.numeric[one.name]
                guess = np.clip(self._guess(stats, ages, sexes, len(parsed)), stats.minimum, stats.maximum)
                out[one.name] = np.where(absent[one.name], guess, column.to_numpy(float))
            else:
                votes = self.levels[one.name]
                keys = [
                    self._vote(votes, ages, sexes, i) if gone else str(key)
                    for i, (key, gone) in enumerate(zip(column, absent[one.name], strict=True))
                ]
                out[one.name] = np.array(keys, dtype=object)
        for one, rule in self.schema.dependent:
            unmet = np.array([not rule.met(value) for value in out[rule.feature]])
            out[one.name] = np.where(absent[one.name] & unmet, 0.0, out[one.name])
        return out

    def _guess(
        self, stats: NumericStats, ages: NDArray[np.float64] | None, sexes: list[str] | None, people: int
    ) -> NDArray[np.float64]:
        """Numbers to fill in for people of these ages and sexes."""
        guess = np.full(people, stats.impute[0])
        if len(stats.impute) > 1:
            age = None if self.schema.age is None else self.numeric[self.schema.age.name]
            scaled = None
            if ages is not None and age is not None:
                scaled = _standardise(np.clip(ages, age.minimum, age.maximum), age.mean, age.sd)[:, 0]
            design = _design(scaled, sexes, self.schema.sex, people)
            guess = (design * np.asarray(stats.impute)).sum(axis=1)  # no BLAS: the same in any batch
        return guess

    def _vote(
        self, stats: LevelStats, ages: NDArray[np.float64] | None, sexes: list[str] | None, i: int
    ) -> str:
        """Level to fill in for person `i`."""
        cell = _cell(None if ages is None else float(ages[i]), None if sexes is None else sexes[i])
        return stats.cells.get(cell, stats.mode)


def _same_schema(schema: Schema, parsed: Parsed) -> None:
    """Refuse a table that was parsed with another schema."""
    if parsed.schema != schema or parsed.schema.hash() != schema.hash():
        raise TableError(
            f"{parsed.source}: validated with another schema",
            expected=f"features {', '.join(schema.names)}",
            got=f"features {', '.join(parsed.schema.names)}",
            fix="validate the table with the schema of the encoder",
        )


def _given_sex(schema: Schema, sex: str) -> dict[str, str]:
    """`{feature: level}` for a sex given by key or label."""
    one = schema.sex
    if one is None:
        raise TableError(
            "the schema has no feature 'sex' with levels", got=f"sex {sex!r}", fix="leave sex out"
        )
    level = one.level_of(str(sex))
    if level is None:
        raise TableError(
            "unknown level of sex",
            expected=one.expected,
            got=repr(sex),
            fix=suggestion(str(sex), [*one.levels, *one.levels.values()]),
        )
    return {one.name: level}


def _given_age(schema: Schema, age: float) -> dict[str, float]:
    """`{feature: age}` for a finite age in years."""
    if schema.age is None:
        raise TableError("the schema has no numeric feature 'age'", got=f"age {age!r}", fix="leave age out")
    if not np.isfinite(age):
        raise TableError("age is not a number", expected=schema.age.expected, got=repr(age))
    return {schema.age.name: float(age)}


def _imputed(one: Feature, state: str, raw: str | None) -> str:
    """Flag of a value that was filled in."""
    if state == "implausible":
        return f"imputed (implausible: {' '.join(part for part in (raw, one.units) if part)})"
    return MISSING


def span(one: Feature, low: float, high: float) -> str:
    """A range of a numeric feature in words: `18.0–82.2 years`."""
    digits = 0 if one.integer else 1 if max(abs(low), abs(high)) >= 10 else 2
    return f"{low:.{digits}f}–{high:.{digits}f} {one.units}".strip()


def _step(one: Feature, stats: NumericStats) -> float:
    """A round step of a control: 1 for whole numbers, else the power of ten below 1/200 of the range."""
    span = stats.maximum - stats.minimum
    return 1.0 if one.integer or span <= 0 else float(f"1e{int(np.floor(np.log10(span / 200)))}")


def _standardise(values: NDArray[np.float64], mean: float, sd: float) -> NDArray[np.float64]:
    """(values − mean) / sd as one column; zeros when sd is 0."""
    return ((values - mean) / sd if sd > 0 else np.zeros(len(values)))[:, None]


def _level_columns(one: Feature, stats: LevelStats, keys: Sequence[str]) -> NDArray[np.float64]:
    """Columns of a feature with levels, shape (people, columns)."""
    if one.kind != "nominal":
        order = {key: float(i) for i, key in enumerate(one.levels)}
        return _standardise(np.array([order[k] for k in keys]), stats.mean, stats.sd)
    if not stats.kept:
        return np.zeros((len(keys), 1))
    shares = np.asarray(stats.shares)
    hot = np.array([[float(k == level) for level in stats.kept] for k in keys])
    out = (hot - shares) / np.maximum(np.sqrt(shares * (1 - shares)), NOMINAL_FLOOR)
    return np.where(hot.any(axis=1, keepdims=True), out, 0.0)


def _design(
    age: NDArray[np.float64] | None, sexes: Sequence[str] | None, sex: Feature | None, people: int
) -> NDArray[np.float64]:
    """Columns 1, standardised age, indicator of each sex but the first; those that exist."""
    columns = [np.ones(people)]
    if age is not None:
        columns.append(age)
    if sexes is not None and sex is not None:
        columns += [np.array([float(s == level) for s in sexes]) for level in list(sex.levels)[1:]]
    return np.stack(columns, axis=1)


def _cell(age: float | None, sex: str | None) -> str:
    """Key of people alike: `F|50`."""
    return f"{sex or ''}|{'' if age is None else int(age // 10 * 10)}"


def _numeric_stats(
    numbers: NDArray[np.float64],
    ages: NDArray[np.float64] | None,
    sexes: pd.Series | None,
    sex: Feature | None,
    by_median: bool,
) -> NumericStats:
    """Statistics of one numeric feature; `by_median`: fill in the median (age itself)."""
    known = numbers[~np.isnan(numbers)]
    impute: tuple[float, ...] = (float(np.median(known)) if by_median else float(known.mean()),)
    use = ~np.isnan(numbers)
    scaled = None
    if ages is not None:
        use &= ~np.isnan(ages)
        present = ages[~np.isnan(ages)]
        scaled = _standardise(ages, float(present.mean()), float(present.std()))[use, 0]
    if sexes is not None:
        use_sex = sexes.notna().to_numpy()
        scaled = None if scaled is None else scaled[use_sex[use]]
        use &= use_sex
    if (ages is not None or sexes is not None) and int(use.sum()) >= _REGRESSION_PEOPLE:
        who = None if sexes is None else [str(s) for s in sexes[use]]
        design = _design(scaled, who, sex, int(use.sum()))
        impute = tuple(float(c) for c in np.linalg.lstsq(design, numbers[use], rcond=None)[0])
    low, high = np.percentile(known, [1.0, 99.0])
    spread = float(known.max() - known.min())
    return NumericStats(
        n=len(known),
        mean=float(known.mean()),
        sd=float(known.std()) if spread > 0 else 0.0,
        median=float(np.median(known)),
        minimum=float(known.min()),
        maximum=float(known.max()),
        centile1=float(low),
        centile99=float(high),
        impute=impute,
    )


def _level_stats(
    one: Feature, column: pd.Series, ages: NDArray[np.float64] | None, sexes: pd.Series | None
) -> LevelStats:
    """Statistics of one feature with levels."""
    keys = list(one.levels)
    texts = [None if pd.isna(v) else str(v) for v in column]
    known = [t for t in texts if t is not None]
    counts = {key: known.count(key) for key in keys}
    members: dict[str, list[str]] = {}
    if ages is not None or sexes is not None:
        for i, text in enumerate(texts):
            age = None if ages is None else float(ages[i])
            sex = None if sexes is None else sexes.iloc[i]
            if text is None or (age is not None and np.isnan(age)) or (sexes is not None and pd.isna(sex)):
                continue
            members.setdefault(_cell(age, None if sex is None else str(sex)), []).append(text)
    cells = {
        cell: max(keys, key=lambda k, m=same: m.count(k))  # type: ignore[misc]
        for cell, same in sorted(members.items())
        if len(same) >= _CELL_PEOPLE
    }
    index = np.array([keys.index(t) for t in known], dtype=float)
    kept: tuple[str, ...] = ()
    if one.kind == "nominal":
        kept = tuple(k for k in keys if counts[k] >= RARE_BELOW)
        kept = kept if len(kept) > 1 else ()
    total = sum(counts[k] for k in kept)
    return LevelStats(
        n=len(known),
        counts=counts,
        mode=max(keys, key=lambda k: counts[k]),
        cells=cells,
        mean=float(index.mean()),
        sd=float(index.std()),
        kept=kept,
        shares=tuple(counts[k] / total for k in kept),
    )
