"""People made from a pack's statistics, where no real person's table is at hand.

A pack holds no training people (their privacy), only summary statistics: so nobody here is a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from csegsynth_core.data.feature import Feature
from csegsynth_core.errors import TableError
from csegsynth_core.pack import Pack

AGES = 7
"""Ages of a grid of typical people."""


def typical_people(
    pack: Pack, *, ages: Sequence[float] | None = None, sexes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Typical people of a grid of ages × sexes; their other features follow the regressions on age.

    Args:
        ages: years; by default seven whole years from the 1st to the 99th centile of the training ages.
        sexes: keys of levels of `sex`; by default all that are not rare.

    Returns:
        Natural values, index `participant_id` (`sub-F25`), columns in the order of the schema. Where the
        schema has no age or no sex, the grid lacks that side.

    Raises:
        TableError: the schema has no age or no sex although some are given, or a sex is not a level.
    """
    cells = _cells(pack, ages, sexes, AGES)
    return _table(pack, {_name(age, sex): _person(pack, age, sex) for age, sex in cells})


def varied_people(
    pack: Pack,
    count: int,
    *,
    seed: int = 0,
    age_range: tuple[float, float] | None = None,
    sexes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """People drawn from the pack's statistics: a population, though of nobody.

    Age is uniform between the 1st and 99th training centile (or in `age_range`), sex as frequent as in
    training. A number is its regression on age among that sex plus a normal residual of the regression's
    standard deviation, kept in the training range; an ordinal feature likewise, rounded to a level; levels
    of other features follow their regressed probabilities. Features depend on each other through age and
    sex alone, so their combinations are looser than in real people; but a number that is 0 for people like one
    (`Feature.zero_unless`) is 0.

    Returns:
        As `typical_people`, ids `sub-v001`, ….
    """
    rng = np.random.default_rng(seed)
    levels = _sexes(pack, sexes)
    shares = np.ones(len(levels))
    if pack.schema.sex is not None:
        counts = pack.encoder.levels[pack.schema.sex.name].counts
        shares = np.array([counts[str(s)] for s in levels], float)
    low, high = age_range or _ages(pack)
    people: dict[str, dict[str, Any]] = {}
    for n in range(count):
        age = float(rng.uniform(low, high)) if pack.schema.age is not None else None
        if age is not None and pack.schema.age is not None and pack.schema.age.integer:
            age = float(round(age))
        sex = levels[int(rng.choice(len(levels), p=shares / shares.sum()))]
        person = _person(pack, age, sex)
        if pack.regressions is not None and age is not None:
            for one in pack.schema.features:
                if one not in (pack.schema.age, pack.schema.sex):
                    person[one.name] = _varied(pack, one, age, sex, rng)
        people[f"sub-v{n + 1:03d}"] = pack.schema.agreed(person)
    return _table(pack, people)


def _varied(pack: Pack, one: Feature, age: float, sex: str | None, rng: np.random.Generator) -> float | str:
    """One feature of a drawn person."""
    assert pack.regressions is not None  # noqa: S101 - the caller looked
    if one.kind in ("binary", "nominal"):
        chances = pack.regressions.probabilities(age, sex)[one.name]
        counts = pack.encoder.levels[one.name].counts
        keys = [k for k in chances if counts[k] > 0] or list(chances)
        p = np.array([chances[k] for k in keys])
        p = p / p.sum() if p.sum() > 0 else np.full(len(keys), 1 / len(keys))
        return keys[int(rng.choice(len(keys), p=p))]
    curve = pack.regressions.curves(one.name, sex)[0]
    value = curve.at(age) + curve.residual_sd * float(rng.normal())
    if one.kind == "ordinal":
        keys = list(one.levels)
        return keys[min(max(round(value), 0), len(keys) - 1)]
    stats = pack.encoder.numeric[one.name]
    value = min(max(value, stats.minimum), stats.maximum)
    return float(round(value)) if one.integer else value


def _person(pack: Pack, age: float | None, sex: str | None) -> dict[str, Any]:
    """A typical person; regressed values where the pack has regressions, none of them at odds with another."""
    person: dict[str, Any] = dict(pack.encoder.default_person(sex=sex, age=age))
    if pack.regressions is not None and age is not None:
        person |= pack.regressions.predict(age, sex)
    return pack.schema.agreed(person)


def _cells(
    pack: Pack, ages: Sequence[float] | None, sexes: Sequence[str] | None, count: int
) -> list[tuple[float | None, str | None]]:
    years: list[float | None] = [None]
    if ages is not None and pack.schema.age is None:
        raise TableError("the schema has no numeric feature 'age'", fix="leave ages out")
    if ages is not None:
        years = [float(a) for a in ages]
    elif pack.schema.age is not None:
        years = list(dict.fromkeys(float(a) for a in np.linspace(*_ages(pack), count).round()))
    return [(age, sex) for sex in _sexes(pack, sexes) for age in years]


def _ages(pack: Pack) -> tuple[float, float]:
    """1st and 99th centile of the training ages."""
    if pack.schema.age is None:
        return 0.0, 0.0
    stats = pack.encoder.numeric[pack.schema.age.name]
    return stats.centile1, stats.centile99


def _sexes(pack: Pack, sexes: Sequence[str] | None) -> list[str | None]:
    one = pack.schema.sex
    if one is None:
        if sexes is not None:
            raise TableError("the schema has no feature 'sex' with levels", fix="leave sexes out")
        return [None]
    wrong = [s for s in sexes or () if s not in one.levels]
    if wrong or (sexes is not None and not sexes):
        raise TableError("unknown level of sex", expected=one.expected, got=", ".join(wrong) or "none")
    rare = pack.encoder.ranges()[one.name].rare
    return list(sexes) if sexes else [s for s in one.levels if s not in rare]


def _name(age: float | None, sex: str | None) -> str:
    text = "".join(c for c in f"{sex or ''}{'' if age is None else f'{age:g}'}" if c.isalnum())
    return f"sub-{text or 'typical'}"


def _table(pack: Pack, people: dict[str, dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(people, orient="index")[list(pack.schema.names)]
    frame.index.name = "participant_id"
    return frame
