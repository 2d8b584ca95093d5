"""Where a person lies among the people that a pack was trained on, and which values of theirs do not go together.

All from the summary statistics and the regressions on age that a pack holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

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
                row["z_at_age"] = _z_at_age(pack, one, float(used), age, sex)
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
    chances = _chances(pack, years, sex)
    found: list[tuple[float, Unusual]] = []
    for one in pack.schema.features:
        if one in (age, pack.schema.sex) or one.name in skip:
            continue
        value = features[one.name]
        said = one.said(value)
        if one.name in chances:
            chance = chances[one.name][str(value)]
            if chance < SELDOM:
                words = f"{said}, fewer than {100 * SELDOM:.0f} % of {_alike(pack, one, years, sex)}"
                found.append((chance - 1.0, Unusual(one.name, one.label, words)))
            continue
        stats = pack.encoder.numeric[one.name] if one.is_numeric else pack.encoder.levels[one.name]
        number = float(value) if one.is_numeric else float(list(one.levels).index(str(value)))
        z, of_all = _z_at_age(pack, one, number, years, sex), abs(number - stats.mean) / (stats.sd or np.inf)
        if abs(z) > max(FAR_SD, of_all + AGE_COUNTS_SD):
            side = "above" if z > 0 else "below"
            words = f"{said}, {abs(z):.1f} SD {side} {_alike(pack, one, years, sex)}"
            found.append((1.0 / abs(z), Unusual(one.name, one.label, words)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _z_at_age(pack: Pack, one: Feature, number: float, age: float, sex: str | None) -> float:
    """Residuals' standard deviations between a number and its regression on age; NaN where nobody differs."""
    assert pack.regressions is not None  # noqa: S101 - the callers looked
    curve = pack.regressions.curves(one.name, sex)[0]
    return (number - curve.at(age)) / curve.residual_sd if curve.residual_sd > 0 else np.nan


def _chances(pack: Pack, age: float, sex: str | None) -> dict[str, dict[str, float]]:
    """Probability of each level at an age; near an end of the training ages, the smallest from there inwards."""
    assert pack.regressions is not None and pack.schema.age is not None  # noqa: S101 - the caller looked
    stats = pack.encoder.numeric[pack.schema.age.name]
    end = _ENDS * (stats.maximum - stats.minimum)
    inner = min(max(age, stats.minimum + end), stats.maximum - end)
    nearest = min(max(age, stats.minimum), stats.maximum)
    ages = np.linspace(nearest, inner, 1 if nearest == inner else 5).tolist()
    found = [pack.regressions.probabilities(a, sex) for a in ages]
    return {
        name: {level: min(f[name][level] for f in found) for level in levels}
        for name, levels in found[0].items()
    }


def _alike(pack: Pack, one: Feature, age: float, sex: str | None) -> str:
    """`men aged 81 in the training data`: whom a feature's regression describes."""
    assert pack.regressions is not None  # noqa: S101 - the caller looked
    people = "people"
    if pack.schema.sex is not None and sex is not None and not pack.regressions.is_pooled(one.name, sex):
        people = people_called(pack.schema.sex.levels[sex])
    low, high = pack.regressions.curves(one.name, sex)[0].ages
    return f"{people} aged {min(max(age, low), high):.0f} in the training data"


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
