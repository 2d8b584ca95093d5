"""Where a person lies among the people that a pack was trained on, and which values of theirs do not go together.

All from the summary statistics and the regressions on age that a pack holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core.data.cohort_summary import withheld
from csegsynth_core.data.encoder import span
from csegsynth_core.data.feature import Feature
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack

_PEOPLE: Final = {"female": "women", "male": "men"}

FAR_SD: Final = 3.0
"""Numbers farther than this from people of the same age and sex are unusual; standard deviations of the residuals."""

AGE_COUNTS_SD: Final = 1.0
"""… if they lie at least so much less far from all people: otherwise they are just large or small."""

SELDOM: Final = 0.01
"""Levels with a smaller probability at an age and sex are unusual."""

_ENDS: Final = 0.1  # share of the training ages at each end where a cubic may rise though nobody has a level


@dataclass(frozen=True)
class Unusual:
    """A value that few or no training people of the same age and sex have."""

    feature: str
    label: str
    words: str
    """`48 kg, 3.4 SD below men aged 81 in the training data`."""


@dataclass(frozen=True)
class UnusualAges:
    """Ages of a path at which a value is one that few or no training people of the same age and sex have."""

    feature: str
    label: str
    words: str
    """`Retired, unusual among women of 20–44 years`."""


def people_called(label: str) -> str:
    """What people of a sex are called: `women` where its label is `Female`; other labels as they are."""
    return _PEOPLE.get(label.casefold(), label)


def training_people(pack: Pack) -> int:
    """How many people a pack was trained on: what it says, or the most that any feature is known of."""
    people = pack.about.get("people", {}).get("train")
    known = [s.n for s in pack.encoder.numeric.values()] + [s.n for s in pack.encoder.levels.values()]
    return len(people) if people else max(known, default=0)


def placed(pack: Pack, person: Mapping[str, Any]) -> pd.DataFrame:
    """Each feature's distribution in training and the person's place in it.

    Returns:
        One row for each feature in the order of the schema: `feature`, `label`, `group`, `kind`, `units`,
        `known` (training people with a value), `missing_percent`; for numbers `mean`, `sd`, `centile1`,
        `median`, `centile99`, `minimum`, `maximum`, `range` (both in words: outside it values are flagged);
        `value` (the person's, None for unknown), `used` (what the model sees), `said` (as text), `z` (standard
        deviations from the training mean, NaN where nobody differs), `z_at_age` (from the regression on age
        for the person's age and sex, in standard deviations of its residuals), `share_percent` (training people
        with this level, NaN where withheld as in `level_shares`), `flag` (`imputed …`, `outside training range …`,
        `rare level`, or empty).
    """
    encoded = encode(pack, person)
    natural, flags = encoded.natural.iloc[0], encoded.flags.iloc[0]
    total = training_people(pack)
    age = float(natural[pack.schema.age.name]) if pack.schema.age else None
    sex = str(natural[pack.schema.sex.name]) if pack.schema.sex else None
    rows = []
    for one in pack.schema.features:
        used, given = natural[one.name], person.get(one.name)
        row: dict[str, Any] = {
            "feature": one.name,
            "label": one.label,
            "group": one.group,
            "kind": one.kind,
            "units": one.units,
            "value": given,
            "used": used,
            "said": one.said(used),
            "flag": str(flags[one.name]),
        }
        if one.is_numeric:
            stats = pack.encoder.numeric[one.name]
            row |= {k: getattr(stats, k) for k in ("mean", "sd", "median")}
            row |= {k: getattr(stats, k) for k in ("centile1", "centile99", "minimum", "maximum")}
            row |= {"known": stats.n, "range": span(one, stats.minimum, stats.maximum).replace("-", "−")}
            row["z"] = (float(used) - stats.mean) / stats.sd if stats.sd > 0 else np.nan
            if pack.regressions is not None and age is not None and one != pack.schema.age:
                row["z_at_age"] = float(
                    _z_at_age(pack, one, np.array([used], float), np.array([age]), sex)[0]
                )
        else:
            votes = pack.encoder.levels[one.name]
            row |= {"known": votes.n, "range": ""}
            shares = level_shares(pack, one.name).set_index("level")["percent"]
            row["share_percent"] = float(shares[str(used)])
        row["missing_percent"] = 100.0 * max(total - row["known"], 0) / total if total else np.nan
        rows.append(row)
    first = ["feature", "label", "group", "kind", "units", "known", "missing_percent"]
    numbers = ["mean", "sd", "centile1", "median", "centile99", "minimum", "maximum", "range"]
    last = ["value", "used", "said", "z", "z_at_age", "share_percent", "flag"]
    return pd.DataFrame(rows).reindex(columns=[*first, *numbers, *last])


def as_text(places: pd.DataFrame) -> pd.DataFrame:
    """`placed` for reading: `label`, `said`, `place`, `flag`, `known`, `missing_percent`, `mean_sd`, `range`."""
    rows = places.to_dict("records")
    numeric = [r["kind"] == "numeric" for r in rows]
    place = [_place(r) for r in rows]
    spread = [f"{r['mean']:.4g} ± {r['sd']:.3g}" if n else "" for r, n in zip(rows, numeric, strict=True)]
    columns = ["label", "said", "place", "flag", "known", "missing_percent", "mean_sd", "range"]
    return places.assign(place=place, mean_sd=spread)[columns]


def unusual(pack: Pack, features: Mapping[str, Any], skip: Collection[str] = ()) -> list[Unusual]:
    """Values that do not go with the person's age and sex, by the pack's regressions on age.

    Numbers, and the index of ordinal levels: more than `FAR_SD` from people of that age and sex, though not from all
    people alike (`AGE_COUNTS_SD`). Other levels: a probability below `SELDOM`. Cubic regressions turn up at their
    ends, so that there a level must be as probable a little nearer to the middle, too. Beyond the training ages, the
    youngest or oldest count.

    Args:
        features: natural value of every feature, as in `Brain.features`.
        skip: features to leave out: those flagged by themselves, as in `Brain.flags`.

    Returns:
        Levels first, the least probable before others, then numbers and ordinal levels, the farthest first. Empty
        where the pack has no regressions.
    """
    age = pack.schema.age
    if pack.regressions is None or age is None:
        return []
    sex = str(features[pack.schema.sex.name]) if pack.schema.sex else None
    years = float(features[age.name])
    found: list[tuple[float, Unusual]] = []
    for one in pack.schema.features:
        if one in (age, pack.schema.sex) or one.name in skip:
            continue
        value = features[one.name]
        odd, measures = _judged(pack, one, [value], np.array([years]), sex)
        if not odd[0]:
            continue
        measure, alike = float(measures[0]), _alike(pack, one, years, sex)
        if _has_chances(one):
            words = f"{one.said(value)}, fewer than {100 * SELDOM:.0f} % of {alike}"
            found.append((measure - 1.0, Unusual(one.name, one.label, words)))
        else:
            side = "above" if measure > 0 else "below"
            words = f"{one.said(value)}, {abs(measure):.1f} SD {side} {alike}"
            found.append((1.0 / abs(measure), Unusual(one.name, one.label, words)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def at_odds(pack: Pack, features: Mapping[str, Any], flags: Mapping[str, str]) -> list[Unusual]:
    """Numbers that were 0 in training for everybody with the same value of another feature (`Feature.zero_unless`).

    Each after the one that it depends on; `8 cigarettes, but Smoking is never smoked: 0 for them in training`.

    Args:
        features: natural value of every feature, as in `Brain.features`.
        flags: as in `Brain.flags`: which of them were filled in.
    """
    out = []
    for one, other in _odd_pairs(pack, features):
        why = f"{other.label} is {other.said(features[other.name])}"
        if flags.get(other.name, "").startswith("imputed"):
            why += " (imputed)"
        words = f"{one.said(features[one.name])}, but {why}: 0 for them in training"
        out.append(Unusual(one.name, one.label, words))
    return out


def extreme(pack: Pack, features: Mapping[str, Any], skip: Collection[str] = ()) -> list[Unusual]:
    """Values that are extreme among all training people, whatever their age and sex, though within their range.

    Numbers more than `FAR_SD` standard deviations from the mean, and levels that a share below `SELDOM` has.

    Args:
        features: natural value of every feature, as in `Brain.features`.
        skip: features to leave out: those flagged by themselves, and those that `unusual` tells.

    Returns:
        Levels first, the least frequent before others, then numbers, the farthest first.
    """
    found: list[tuple[float, Unusual]] = []
    for one in pack.schema.features:
        if one.name in skip:
            continue
        value = features[one.name]
        if one.is_numeric:
            stats = pack.encoder.numeric[one.name]
            z = (float(value) - stats.mean) / (stats.sd or np.inf)
            if abs(z) > FAR_SD:
                where = f"{abs(z):.1f} SD {'above' if z > 0 else 'below'}"
                beyond = float(value) > stats.centile99 if z > 0 else float(value) < stats.centile1
                words = f"{where} the mean of the training people"
                if beyond:
                    words = f"{'higher' if z > 0 else 'lower'} than 99 % of the training people ({where} their mean)"
                found.append((1.0 / abs(z), Unusual(one.name, one.label, f"{one.said(value)}, {words}")))
            continue
        votes = pack.encoder.levels[one.name]
        share = votes.counts[str(value)] / max(votes.n, 1)
        if share < SELDOM:
            words = f"{one.said(value)}, fewer than {100 * SELDOM:.0f} % of the training people"
            found.append((share - 1.0, Unusual(one.name, one.label, words)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def unusual_features(pack: Pack, path: pd.DataFrame) -> list[list[str]]:
    """Features whose values do not go with the age and sex at each age of a path, by the rule of `unusual`, or with
    another feature, by that of `at_odds`.

    Args:
        path: natural features of one person at rising ages, one row for each, as from `scenarios.path`.

    Returns:
        For each row names of features in the order of the schema. Without regressions, those of `at_odds` alone.
    """
    found = _along(pack, path)
    for one, _, odd in _odd_along(pack, path):
        found[one.name] = odd | found.get(one.name, odd)
    order = [name for name in pack.schema.names if name in found]
    return [[name for name in order if found[name][row]] for row in range(len(path))]


def unusual_ages(pack: Pack, path: pd.DataFrame) -> list[UnusualAges]:
    """The same in words: for each such feature, and each of its levels, the ages at which it is unusual.

    Those at odds with others come first.
    """
    age, out = pack.schema.age, []
    for one, other, odd in _odd_along(pack, path):
        assert age is not None  # noqa: S101 - a path has ages
        for level, same in _grouped(other, path[other.name], odd):
            for said, some in _grouped(one, path[one.name], same):
                when = f"at {_spans(path[age.name].to_numpy(float), some)} {age.units}".rstrip()
                words = f"{said}, but {other.label} is {level} {when}: 0 for them in training"
                out.append(UnusualAges(one.name, one.label, words))
    for name, odd in _along(pack, path).items():
        assert age is not None  # noqa: S101 - nothing is found without
        one, ages, values = pack.schema.feature(name), path[age.name].to_numpy(float), path[name]
        alike = _people(pack, one, _sex_of(pack, path))
        for said, some in _grouped(one, values, odd):
            words = f"{said}, unusual among {alike} of {_spans(ages, some)} {age.units}".rstrip()
            out.append(UnusualAges(name, one.label, words))
    return out


def _along(pack: Pack, path: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Features that are unusual at some age of a path → at which rows; in the order of the schema."""
    age = pack.schema.age
    if pack.regressions is None or age is None:
        return {}
    ages, sex = path[age.name].to_numpy(float), _sex_of(pack, path)
    judged = {
        one.name: _judged(pack, one, path[one.name].to_list(), ages, sex)[0]
        for one in pack.schema.features
        if one not in (age, pack.schema.sex)
    }
    return {name: odd for name, odd in judged.items() if odd.any()}


def _odd_pairs(pack: Pack, person: Mapping[str, Any]) -> list[tuple[Feature, Feature]]:
    """Features that are not 0, and those for whose sake they should be."""
    odd = pack.schema.at_odds(person)
    return [(one, pack.schema.feature(one.zero_unless.feature)) for one in odd if one.zero_unless is not None]


def _odd_along(pack: Pack, path: pd.DataFrame) -> list[tuple[Feature, Feature, NDArray[np.bool_]]]:
    """`_odd_pairs` at some age of a path, and at which rows."""
    if not pack.schema.dependent:
        return []
    rows = [_odd_pairs(pack, {str(k): v for k, v in row.items()}) for row in path.to_dict("records")]
    pairs = dict.fromkeys(pair for pairs in rows for pair in pairs)
    return [(*pair, np.array([pair in pairs for pairs in rows])) for pair in pairs]


def _sex_of(pack: Pack, path: pd.DataFrame) -> str | None:
    return str(path[pack.schema.sex.name].iloc[0]) if pack.schema.sex else None


def _grouped(one: Feature, values: pd.Series, odd: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Unusual values in words, and their rows: each level by itself, numbers together."""
    if not one.is_numeric:
        levels = dict.fromkeys(map(str, values[odd]))
        return [(one.said(level), odd & (values.astype(str) == level).to_numpy()) for level in levels]
    low, high = float(values[odd].min()), float(values[odd].max())
    said = one.said(high)
    return [(said if one.said(low) == said else f"{low:.4g}–{said}", odd)]


def _spans(ages: NDArray[np.float64], some: NDArray[np.bool_]) -> str:
    """`20–44 and 70`: the chosen of rising ages."""
    starts = np.flatnonzero(some & ~np.r_[False, some[:-1]])
    ends = np.flatnonzero(some & ~np.r_[some[1:], False])
    said = [
        f"{ages[a]:g}" if a == b else f"{ages[a]:g}–{ages[b]:g}" for a, b in zip(starts, ends, strict=True)
    ]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _has_chances(one: Feature) -> bool:
    """Whether a feature's levels are judged by their probabilities."""
    return one.kind in ("binary", "nominal")


def _judged(
    pack: Pack, one: Feature, values: Sequence[Any], ages: NDArray[np.float64], sex: str | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether values of a feature are unusual at ages, and what they are judged by: their levels' probabilities, or
    their distances from people of that age and sex in standard deviations; all of shape (ages,)."""
    keys = {key: n for n, key in enumerate(one.levels)}
    if _has_chances(one):
        chances = _chances(pack, one, ages, sex)[[keys[str(v)] for v in values], np.arange(len(ages))]
        return chances < SELDOM, chances
    stats = pack.encoder.numeric[one.name] if one.is_numeric else pack.encoder.levels[one.name]
    numbers = np.array([float(v) if one.is_numeric else float(keys[str(v)]) for v in values])
    z, of_all = _z_at_age(pack, one, numbers, ages, sex), np.abs(numbers - stats.mean) / (stats.sd or np.inf)
    return np.abs(z) > np.maximum(FAR_SD, of_all + AGE_COUNTS_SD), z


def _z_at_age(
    pack: Pack, one: Feature, numbers: NDArray[np.float64], ages: NDArray[np.float64], sex: str | None
) -> NDArray[np.float64]:
    """Residuals' standard deviations between numbers and their regression on age; NaN where nobody differs."""
    assert pack.regressions is not None  # noqa: S101 - the callers looked
    curve = pack.regressions.curves(one.name, sex)[0]
    return (numbers - curve.along(ages)) / (curve.residual_sd if curve.residual_sd > 0 else np.nan)


def _chances(pack: Pack, one: Feature, ages: NDArray[np.float64], sex: str | None) -> NDArray[np.float64]:
    """Probability of each level at ages, (levels, ages); near an end of the training ages, the smallest from there
    inwards."""
    assert pack.regressions is not None and pack.schema.age is not None  # noqa: S101 - the callers looked
    stats = pack.encoder.numeric[pack.schema.age.name]
    end = _ENDS * (stats.maximum - stats.minimum)
    inner = np.clip(ages, stats.minimum + end, stats.maximum - end)
    nearest = np.clip(ages, stats.minimum, stats.maximum)
    return pack.regressions.chances(one.name, np.linspace(nearest, inner, 5), sex).min(axis=1)


def _alike(pack: Pack, one: Feature, age: float, sex: str | None) -> str:
    """`men aged 81 in the training data`: whom a feature's regression describes."""
    assert pack.regressions is not None  # noqa: S101 - the caller looked
    low, high = pack.regressions.curves(one.name, sex)[0].ages
    return f"{_people(pack, one, sex)} aged {min(max(age, low), high):.0f} in the training data"


def _people(pack: Pack, one: Feature, sex: str | None) -> str:
    """`men`, or `people` where those of all sexes stand in for them."""
    assert pack.regressions is not None  # noqa: S101 - the callers looked
    if pack.schema.sex is None or sex is None or pack.regressions.is_pooled(one.name, sex):
        return "people"
    return people_called(pack.schema.sex.levels[sex])


def _place(row: Mapping[Any, Any]) -> str:
    """`+1.2 SD` or `34 % have it`; `–` for a number in which nobody differs, `withheld` for small groups."""
    if row["kind"] == "numeric":
        return f"{row['z']:+.1f} SD".replace("-", "−") if np.isfinite(row["z"]) else "–"
    return f"{row['share_percent']:.0f} % have it" if np.isfinite(row["share_percent"]) else "withheld"


def first_to_show(pack: Pack, places: pd.DataFrame) -> int:
    """Row of `placed` worth seeing first: out of range, else the first number with a regression on age."""
    flagged = np.flatnonzero((places["flag"] != "").to_numpy())
    numbers = np.flatnonzero((places["kind"] == "numeric").to_numpy() & places["z_at_age"].notna().to_numpy())
    return int([*flagged, *numbers, 0][0])


def along_age(pack: Pack, feature: str, points: int = 60) -> pd.DataFrame:
    """A numeric feature's regression on age among training people, for each sex.

    Returns:
        Tidy: `sex` (key; empty without), `age`, `value`, `low`, `high` (± one standard deviation of the
        residuals), `n`. Empty where the pack has no regressions.
    """
    columns = ["sex", "age", "value", "low", "high", "n"]
    one = pack.schema.feature(feature)
    if pack.regressions is None or not one.is_numeric or one == pack.schema.age:
        return pd.DataFrame(columns=columns)
    rows: list[dict[str, Any]] = []
    for sex in list(pack.schema.sex.levels) if pack.schema.sex else [None]:
        curve = pack.regressions.curves(feature, sex)[0]
        for age in np.linspace(*curve.ages, points):
            value = curve.at(float(age))
            ends = {"low": value - curve.residual_sd, "high": value + curve.residual_sd}
            rows.append({"sex": sex or "", "age": float(age), "value": value, "n": curve.n} | ends)
    return pd.DataFrame(rows, columns=columns)


def level_shares(pack: Pack, feature: str) -> pd.DataFrame:
    """Training people with each level: `level`, `label`, `people`, `percent`.

    The last two are None and NaN where one or two people have a level, and where needed to hide them, as in a
    `CohortSummary`.
    """
    one, votes = pack.schema.feature(feature), pack.encoder.levels[feature]
    rows = []
    people = withheld([votes.counts[key] for key in one.levels])
    for (key, label), n in zip(one.levels.items(), people, strict=True):
        percent = np.nan if n is None else 100 * n / max(votes.n, 1)
        rows.append({"level": key, "label": label, "people": n, "percent": percent})
    return pd.DataFrame(rows)
