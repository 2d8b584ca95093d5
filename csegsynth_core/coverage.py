"""Where a person lies among the people that a pack was trained on, from its summary statistics alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from csegsynth_core.data.cohort_summary import rounded_ends, withheld
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack


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
        `median`, `centile99`, `minimum`, `maximum` (rounded outwards); `value` (the person's, None for unknown),
        `used` (what the model sees), `said` (as text), `z` (standard deviations from the training mean, NaN where
        nobody differs), `z_at_age` (from the regression on age for the person's age and sex, in standard deviations
        of its residuals), `share_percent` (training people with this level, NaN where withheld as in
        `level_shares`), `flag` (`imputed …`, `outside training range …`, `rare level`, or empty).
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
            "flag": str(flags[one.name]),
        }
        if one.is_numeric:
            stats = pack.encoder.numeric[one.name]
            row |= {k: getattr(stats, k) for k in ("mean", "sd", "median")}
            row["minimum"], row["maximum"] = rounded_ends(stats.minimum, stats.maximum)
            row |= {"centile1": stats.centile1, "centile99": stats.centile99, "known": stats.n}
            row["z"] = (float(used) - stats.mean) / stats.sd if stats.sd > 0 else np.nan
            row["said"] = f"{float(used):.4g} {one.units}".strip()
            if pack.regressions is not None and age is not None and one != pack.schema.age:
                curve = pack.regressions.curves(one.name, sex)[0]
                spread = curve.residual_sd
                row["z_at_age"] = (float(used) - curve.at(age)) / spread if spread > 0 else np.nan
        else:
            votes = pack.encoder.levels[one.name]
            row |= {"known": votes.n, "said": one.levels[str(used)]}
            shares = level_shares(pack, one.name).set_index("level")["percent"]
            row["share_percent"] = float(shares[str(used)])
        row["missing_percent"] = 100.0 * max(total - row["known"], 0) / total if total else np.nan
        rows.append(row)
    first = ["feature", "label", "group", "kind", "units", "known", "missing_percent"]
    numbers = ["mean", "sd", "centile1", "median", "centile99", "minimum", "maximum"]
    last = ["value", "used", "said", "z", "z_at_age", "share_percent", "flag"]
    return pd.DataFrame(rows).reindex(columns=[*first, *numbers, *last])


def as_text(places: pd.DataFrame) -> pd.DataFrame:
    """`placed` for reading: `label`, `said`, `place`, `flag`, `known`, `missing_percent`, `mean_sd`, `range`."""
    rows = places.to_dict("records")
    numeric = [r["kind"] == "numeric" for r in rows]
    place = [_place(r) for r in rows]
    spread = [f"{r['mean']:.4g} ± {r['sd']:.3g}" if n else "" for r, n in zip(rows, numeric, strict=True)]
    ends = [
        f"{r['minimum']:.10g}–{r['maximum']:.10g} {r['units']}".strip().replace("-", "−") if n else ""
        for r, n in zip(rows, numeric, strict=True)
    ]
    columns = ["label", "said", "place", "flag", "known", "missing_percent", "mean_sd", "range"]
    return places.assign(place=place, mean_sd=spread, range=ends)[columns]


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
