"""What-if paths of a person through age, and the volumes of the brains along them (paper, section III, Fig. 3).

*ideal*: only age changes. *regressed*: every feature but age and sex follows its cubic regression on age
among the training people of the same sex, either at the regression's value (the paper's reading) or keeping
the person's own distance from it. Numbers stay within the training range and levels stay levels. In both, a feature
can change at an age (`csegsynth_core.changes`): from there on it has the value given.

Volumes of tissues and regions are exact sums over all voxels at some ages of a sweep; at the others they are read
off a smooth surface over the model's codes (`csegsynth_core.code_surface`), both scenarios together. For the
person's own draw the brains of a filmstrip are decoded (`sample`), then more until four of them had been predicted
within `OWN_TOLERANCE`; for a further draw, whose difference from the own one the surface goes through, one within
`DRAW_TOLERANCE`; regions, which differ more between people, within twice that. `Plan(exact=True)` decodes every age
and draw. Measured on some paths of both shipped packs: the own draw is within 0.07 % (tissues) and 0.3 % (regions) of
the exact sums, further draws within 0.9 % and 4 %: ventricles, whose draws spread by ten times that
(`tests/benchmarks/sweep.py` measures others; a test holds what they are on one).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.changes import Change, check_together, checked, value_at
from csegsynth_core.code_surface import BATCH, CodeSurface
from csegsynth_core.coverage import unusual_features
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.feature import Feature
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.generate import MAX_SEED, encode, numbered_draws
from csegsynth_core.pack import Pack
from csegsynth_core.regions import region_volumes_ml
from csegsynth_core.side_by_side import TURN, side_by_side
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml

SCENARIOS: Final[dict[str, str]] = {
    "ideal": "only age changes",
    "regressed": "other features follow their regression on age",
}
"""Name of each scenario → what it means, in a few words."""

VOLUMES: Final[tuple[str, ...]] = (*TISSUES, TOTAL)
"""Tissue volumes of a sweep: `wm`, `gm`, `csf` and their sum."""

MEASURES: Final[tuple[str, ...]] = (*VOLUMES, *(r.name for r in REGIONS))
"""All volumes of a sweep: tissues, their sum, and every region of `csegsynth_core.substructures.REGIONS`."""

SHOWN_AGES: Final = 13
"""Ages of a path whose brains are shown at most (`sample`); a sweep decodes these in any case."""

MAX_AGES: Final = 200
MAX_DRAWS: Final = 100

OWN_TOLERANCE: Final = 0.001
"""How well the last brains of the own draw have to be predicted before they are decoded: 0.1 % of every tissue."""

DRAW_TOLERANCE: Final = 0.02
"""The same for further draws. What is predicted then, between more of them, is far nearer."""

REGIONS_TOLERANCE: Final = 2.0
"""How much further off regions may be, whose volumes differ more between people and between draws."""

_OWN_START, _DRAW_START = 12, 6  # brains decoded before predictions are put to the test
_DRAW_BATCH = 1

Progress = Callable[[float], None]
"""Is given the share of the work that is done, in [0, 1]."""

See = Callable[[int, Tensor], None]
"""Is given a row and its brain's tissues inside `grid.BOX`."""


@dataclass(frozen=True)
class Plan:
    """What a sweep computes.

    Raises:
        CSegSynthError: a number that makes no sense, or an unknown scenario; says what was expected.
    """

    start: float
    """First age, years."""
    stop: float
    """Last age, years; always part of the sweep."""
    step: float = 1.0
    """Years from one age to the next."""
    scenarios: tuple[str, ...] = ("ideal", "regressed")
    keep_distance: bool = False
    """Regressed: keep the person's own distance from the regression instead of taking its value."""
    draws: int = 1
    """Latent draws, those of `csegsynth_core.generate.latent_draws`; the brain that `seed` alone stands for is made
    in any case (`numbered_draws`)."""
    seed: int = 0
    exact: bool = False
    """Decode every age and draw (slower)."""
    changes: tuple[Change, ...] = ()
    """Features that change at an age, in every scenario; of several changes of one feature, the last that is not
    after an age holds there."""

    def __post_init__(self) -> None:
        """Check that the parts agree."""
        check_together(self.changes)
        numbers = {"start": self.start, "stop": self.stop, "step": self.step}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise CSegSynthError(
                    f"{name} of the sweep is not a number", expected="years", got=repr(value)
                )
        if not self.start < self.stop:
            raise CSegSynthError(
                "the sweep has no ages",
                expected="start < stop (years)",
                got=f"{self.start:g} to {self.stop:g}",
            )
        if self.step <= 0 or (self.stop - self.start) / self.step > MAX_AGES - 1:
            raise CSegSynthError(
                "unusable step of the sweep",
                expected=f"more than 0 years, and at most {MAX_AGES} ages in all",
                got=f"{self.step:g} years from {self.start:g} to {self.stop:g}",
            )
        unknown = [s for s in self.scenarios if s not in SCENARIOS]
        if unknown or not self.scenarios or len(set(self.scenarios)) < len(self.scenarios):
            raise CSegSynthError(
                "unusable scenarios of the sweep",
                expected=f"one or more of {', '.join(SCENARIOS)}",
                got=", ".join(self.scenarios) or "none",
            )
        if not 1 <= self.draws <= MAX_DRAWS:
            raise CSegSynthError(
                "unusable number of draws", expected=f"1 to {MAX_DRAWS}", got=str(self.draws)
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise CSegSynthError("unusable seed", expected=f"0 to {MAX_SEED}", got=str(self.seed))

    @property
    def ages(self) -> NDArray[np.float64]:
        """Ages in years: `start`, `start + step`, …, `stop`."""
        count = math.floor((self.stop - self.start) / self.step + 1e-9) + 1
        ages = self.start + self.step * np.arange(count, dtype=np.float64)
        last = [self.stop] if self.stop - ages[-1] > 1e-6 else []
        return np.asarray([*ages, *last], np.float64)

    @property
    def breaks(self) -> tuple[float, ...]:
        """Ages at which features change, in the order of `changes`."""
        return tuple(one.age for one in self.changes)


@dataclass(frozen=True, eq=False)
class Sweep:
    """One person's way through age."""

    person: dict[str, Any]
    """Natural values that the sweep starts from, after filling in what was unknown."""
    plan: Plan
    pack_name: str
    pack_hash: str
    simulated: bool
    """Whether the people that the model was trained on are simulated."""
    volumes: pd.DataFrame
    """One row for each scenario, age and draw: `scenario`, `age` (years), `draw` (as in `generate`; −1: without
    noise), `trained` (whether the age is within the training range), and every volume of `MEASURES` (mL)."""
    features: pd.DataFrame
    """One row for each scenario and age: `scenario`, `trained`, `unusual` (names of the features whose values are
    unusual at that age, see `csegsynth_core.coverage.unusual_features`; None for none), every feature's value."""
    trained_ages: tuple[float, float]
    """Youngest and oldest training person, years."""
    schema: Schema
    """Of the features."""


def check_plausible(age: Feature, ages: NDArray[np.float64]) -> None:
    """See that people may be of these ages (years), by the feature `age`; 0 to 130 where it does not say.

    Raises:
        CSegSynthError: they may not; says from which age to which they may.
    """
    low, high = age.plausible or (0.0, 130.0)
    if float(ages.min()) < low or float(ages.max()) > high:
        raise CSegSynthError(
            "ages of the sweep are not plausible",
            expected=f"{low:g} to {high:g} {age.units}".strip(),
            got=f"{ages.min():g} to {ages.max():g}",
            fix=f"choose ages from {low:g} to {high:g}",
        )


def path(
    pack: Pack,
    person: Mapping[str, Any],
    scenario: str,
    ages: NDArray[np.float64],
    *,
    keep_distance: bool = False,
    changes: Sequence[Change] = (),
) -> pd.DataFrame:
    """Natural features along a scenario.

    What is unknown (None or left out) is filled in once, at the person's own age, and stays as it is under
    *ideal*. With `keep_distance` a number, or the index of an ordinal level, is moved by the change of its
    regression since the person's own age; a binary or nominal level stays until the regressed probability of
    another one has gained enough (the same rule for each level's indicator: own indicator plus the change of
    its regression, the largest wins). At the person's own age nothing changes then, but for `changes`.
    A number that is 0 for people like the one of an age (`Feature.zero_unless`) is 0 there, unless a change gives
    another one, or the person's own values are at odds already and the scenario keeps to them.

    Args:
        person: natural values by feature.
        scenario: `ideal` or `regressed`.
        ages: years.
        changes: features that have another value from an age on.

    Returns:
        One row for each age, one column for each feature; numbers within the training range (or the person's
        own value, where nothing moves it, or that of a change).

    Raises:
        CSegSynthError: the pack has no age, no regressions, does not know the scenario, or cannot make a change
            (`csegsynth_core.changes.checked`).
        TableError: unknown feature or level.
    """
    age = pack.schema.age
    if age is None:
        raise CSegSynthError(
            f"pack {pack.name} cannot sweep age",
            expected="a numeric feature 'age'",
            got=", ".join(pack.schema.names),
        )
    if scenario not in SCENARIOS:
        raise CSegSynthError(
            "unknown scenario", expected=f"one of {', '.join(SCENARIOS)}", got=repr(scenario)
        )
    check_plausible(age, ages)
    own = {str(k): v for k, v in encode(pack, person).natural.iloc[0].items()}
    rows = [{**own, age.name: float(a)} for a in ages]
    if scenario == "regressed":
        if pack.regressions is None:
            raise CSegSynthError(
                f"pack {pack.name} has no regressions on age",
                expected="a model trained with ages and other features",
                got=AgeRegressions.unavailable(pack.schema) or "none stored",
                fix="use the 'ideal' scenario",
            )
        sex = str(own[pack.schema.sex.name]) if pack.schema.sex else None
        for row in rows:
            if keep_distance:
                row |= _kept_distance(pack, own, float(own[age.name]), row[age.name], sex)
            else:
                row |= pack.regressions.predict(row[age.name], sex)
    made = checked(changes, pack.schema)
    kept = scenario == "ideal" or keep_distance
    odd = {one.name for one in pack.schema.at_odds(own)} if kept else set()
    for k, row in enumerate(rows):
        given = value_at(made, row[age.name])
        rows[k] = pack.schema.agreed(row | given, keep={*given, *odd})
    return pd.DataFrame(rows, columns=list(pack.schema.names))


def sample(plan: Plan, count: int = SHOWN_AGES) -> list[int]:
    """Places of no more than `count` ages of a plan: the first one, every n-th step after it, and the last one."""
    steps = math.floor((plan.stop - plan.start) / plan.step + 1e-9)
    every = max(-(-steps // max(count - 1, 1)), 1)
    wanted = list(range(0, steps + 1, every))
    return wanted + [steps] * (wanted[-1] != steps)


def unusual_in(told: str | None) -> list[str]:
    """Names of features in a value of the column `unusual` of `Sweep.features`."""
    return [] if told is None else told.split(", ")


def paths(pack: Pack, person: Mapping[str, Any], plan: Plan) -> dict[str, pd.DataFrame]:
    """`path` along every scenario of a plan."""
    how: dict[str, Any] = {"keep_distance": plan.keep_distance, "changes": plan.changes}
    return {s: path(pack, person, s, plan.ages, **how) for s in plan.scenarios}


def sweep(
    pack: Pack,
    person: Mapping[str, Any],
    plan: Plan,
    *,
    progress: Progress | None = None,
    known: Sweep | None = None,
    shown: dict[tuple[str, int], NDArray[np.uint8]] | None = None,
) -> Sweep:
    """Volumes along the scenarios of a plan (see the module for how they are measured).

    Args:
        person: natural values by feature; None for unknown.
        progress: told how much is done.
        known: the same sweep with one draw only, whose work is then not done again.
        shown: gets the own draw's brains that are to be shown, unless `known` has them: scenario and place among
            the ages (`sample`) → (3, i, j, k) fractions of tissues inside `grid.BOX`, 255 for 1.

    Raises:
        CSegSynthError, TableError: see `path`.
    """
    ages = plan.ages
    start = encode(pack, person).natural.iloc[0]
    same = known is not None and known.pack_hash == pack.hash and known.plan == replace(plan, draws=1)
    if known is not None and same and known.person == start.to_dict():
        own, features = np.log(known.volumes[list(MEASURES)].to_numpy(float)), known.features
    else:
        own, features = None, _features(pack, paths(pack, person, plan), ages)
    count = len(ages)
    x = {}
    for k, scenario in enumerate(plan.scenarios):
        way = features.iloc[k * count : (k + 1) * count, -len(pack.schema.names) :]
        x[scenario] = encode(pack, way.reset_index(drop=True), source=f"the {scenario} path").x
    assert pack.schema.age is not None  # noqa: S101 - `path` has refused otherwise
    name = pack.schema.age.name
    stats = pack.encoder.numeric[name]
    first = [k * count + i for k in range(len(x)) for i in (0, count - 1)]
    first += [k * count + int(np.abs(ages - float(start[name])).argmin()) for k in range(len(x))]
    for age in sorted(set(plan.breaks)):  # both sides of a jump
        after = int(np.searchsorted(ages, age))
        first += [k * count + i for k in range(len(x)) for i in (after - 1, after) if 0 < after < count]
    numbers, z = numbered_draws(pack, plan.draws, plan.seed)
    pictured = {k * count + i: (s, i) for k, s in enumerate(x) for i in sample(plan)}

    def see(row: int, maps: Tensor) -> None:
        if shown is not None and row in pictured:
            shown[pictured[row]] = maps[0].mul(255.0).round().to(torch.uint8).numpy()

    ml = _measure(pack, x, first, list(pictured), z, plan.exact, own, progress or (lambda _: None), see)
    ml[:, :, len(TISSUES)] = ml[:, :, : len(TISSUES)].sum(axis=-1)
    trained = _trained(pack, ages)
    parts = []
    for k, scenario in enumerate(x):
        for d, number in enumerate(numbers):
            part = pd.DataFrame({"scenario": scenario, "age": ages, "draw": number, "trained": trained})
            values = pd.DataFrame(ml[d, k * count : (k + 1) * count], columns=list(MEASURES))
            parts.append(pd.concat([part, values], axis=1))
    return Sweep(
        person={str(k): v for k, v in start.items()},
        plan=plan,
        pack_name=pack.name,
        pack_hash=pack.hash,
        simulated=pack.simulated,
        volumes=pd.concat(parts, ignore_index=True),
        features=features,
        trained_ages=(stats.minimum, stats.maximum),
        schema=pack.schema,
    )


def _trained(pack: Pack, ages: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether ages are within the training range."""
    assert pack.schema.age is not None  # noqa: S101 - `path` has refused otherwise
    stats = pack.encoder.numeric[pack.schema.age.name]
    return (ages >= stats.minimum) & (ages <= stats.maximum)


def _features(pack: Pack, frames: Mapping[str, pd.DataFrame], ages: NDArray[np.float64]) -> pd.DataFrame:
    """`Sweep.features` of paths by scenario."""
    parts = []
    for scenario, frame in frames.items():
        lead = pd.DataFrame({"scenario": scenario, "trained": _trained(pack, ages)}, index=frame.index)
        odd = [", ".join(names) or None for names in unusual_features(pack, frame)]
        lead["unusual"] = pd.Series(odd, frame.index, dtype=object)
        parts.append(pd.concat([lead, frame], axis=1))
    return pd.concat(parts, ignore_index=True)


def change_percent(volumes: pd.DataFrame) -> pd.DataFrame:
    """Volumes of a sweep as % change from the first age of the same scenario and draw."""
    out = volumes.sort_values(["scenario", "draw", "age"], kind="stable").copy()
    names = [v for v in MEASURES if v in out.columns]
    start = out.groupby(["scenario", "draw"])[names].transform("first")
    out[names] = 100 * (out[names] / start - 1)
    return out


def _kept_distance(
    pack: Pack, own: Mapping[str, Any], own_age: float, age: float, sex: str | None
) -> dict[str, float | str]:
    """Every regressed feature at `age`, at the person's own distance from the regression."""
    assert pack.regressions is not None  # noqa: S101 - `path` has refused otherwise
    out: dict[str, float | str] = {}
    for one in pack.schema.features:
        if one in (pack.schema.age, pack.schema.sex):
            continue
        moved = [c.at(age) - c.at(own_age) for c in pack.regressions.curves(one.name, sex)]
        out[one.name] = _moved(pack, one, own[one.name], moved)
    return out


def _moved(pack: Pack, one: Feature, value: float | str, moved: list[float]) -> float | str:
    """A value after its regressions have changed by `moved`."""
    if one.is_numeric:
        stats = pack.encoder.numeric[one.name]
        # Somebody who is beyond the training range is not drawn into it, but not moved further out either.
        low, high = min(stats.minimum, float(value)), max(stats.maximum, float(value))
        return min(max(float(value) + moved[0], low), high)
    keys = list(one.levels)
    if one.kind == "ordinal":
        return keys[min(max(round(keys.index(str(value)) + moved[0]), 0), len(keys) - 1)]
    scores = {k: float(k == value) + m for k, m in zip(keys, moved, strict=True)}
    return max(scores, key=lambda k: scores[k])


def _measure(
    pack: Pack,
    x: dict[str, NDArray[np.float32]],
    first: list[int],
    pictured: list[int],
    z: Float[Tensor, "draws latent"],
    exact: bool,
    known: NDArray[np.float64] | None,
    progress: Progress,
    see: See,
) -> NDArray[np.float64]:
    """Volumes in mL, shape (draws, rows, measures), rows being all ages of one scenario, then of the next.

    Args:
        x: encoded features by scenario.
        first: rows to decode before all others.
        pictured: rows to decode next, with the own draw.
        z: latent draws, the own one first.
        exact: decode every row with every draw.
        known: logarithms of the own draw's volumes, (rows, measures), which are then not measured again.
        see: is shown every brain of the own draw that is decoded.
    """
    rows = torch.from_numpy(np.concatenate(list(x.values())))
    codes = _codes(pack, rows, z[:1])
    nodes = max(_OWN_START, len({*first, *pictured}))
    own_start, draw_start = (len(rows), len(rows)) if exact else (nodes, _DRAW_START)
    expected = (known is None) * min(own_start + 2 * BATCH, len(rows))
    ahead = (len(z) - 1) * min(draw_start + _DRAW_BATCH, len(rows))
    width = np.where(np.arange(len(MEASURES)) < len(VOLUMES), 1.0, REGIONS_TOLERANCE)
    done = 0

    def decode(some: NDArray[np.int64], draws: Sequence[int]) -> NDArray[np.float64]:
        """(draws, rows, measures)"""
        nonlocal done
        measures = {d: _measurer(pack, rows, z[d : d + 1], *[see] * (d == 0)) for d in draws}
        brains = [(d, row) for d in draws for row in some.tolist()]
        found = []
        for one in side_by_side(lambda at: measures[at[0]](at[1]), brains):
            found.append(one)
            done += 1
            progress(min(done / max(expected + ahead, 1), 0.99))
        return np.stack(found).reshape(len(draws), len(some), -1)

    own = known
    if own is None:
        surface = CodeSurface(codes, [*first, *pictured])
        own = surface.read(
            lambda some: decode(some, [0])[0], start=own_start, tolerance=OWN_TOLERANCE * width
        )
    out = [own]
    if len(z) > 1:
        done = expected
        out += [
            *CodeSurface(codes, first).read_each(
                lambda some, draws: decode(some, [d + 1 for d in draws]),
                len(z) - 1,
                start=draw_start,
                tolerance=DRAW_TOLERANCE * width,
                batch=_DRAW_BATCH,
                base=own,
            )
        ]
    progress(1.0)
    return np.exp(np.stack(out))


def _measurer(
    pack: Pack,
    y: Float[Tensor, "rows features"],
    z: Float[Tensor, "1 latent"],
    see: See = lambda *_: None,
) -> Callable[[int], NDArray[np.float64]]:
    """Number of a row → logarithms of its brain's volumes in mL, (measures,), with this draw; `see` is shown each."""

    def measure(row: int) -> NDArray[np.float64]:
        with TURN, torch.inference_mode():
            maps = pack.model(y[row : row + 1], z)[:, : len(TISSUES)]
            tissues = volumes_ml(maps).double()
            total = tissues.sum(dim=1, keepdim=True)
            parts = [tissues, total, region_volumes_ml(maps).double()]
            ml: NDArray[np.float64] = torch.cat(parts, dim=1)[0].numpy()
            see(row, maps if maps.shape[2:] != grid.SHAPE else maps[(..., *grid.BOX)])
        return np.log(np.maximum(ml, 1e-6))

    return measure


def _codes(
    pack: Pack, y: Float[Tensor, "rows features"], z: Float[Tensor, "1 latent"]
) -> NDArray[np.float32]:
    """Codes of encoded people with one draw; the features themselves for a model family without codes."""
    condition = getattr(pack.model, "condition", None)
    if condition is None:
        return y.numpy()
    with torch.inference_mode():  # noise behind the code is the same for all
        codes: Tensor = condition(z[:, : pack.model.config.latent].expand(len(y), -1), y)
    return codes.numpy()
