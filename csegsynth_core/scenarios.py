"""What-if paths of a person through age, and the volumes of the brains along them (paper, section III, Fig. 3).

*ideal*: only age changes. *regressed*: every feature but age and sex follows its cubic regression on age
among the training people of the same sex, either at the regression's value (the paper's reading) or keeping
the person's own distance from it. Numbers stay within the training range and levels stay levels.

Volumes are quick readings: every second voxel is decoded where the model can, and corrected to all by the ratio
measured at a few ages of the same sweep (`ANCHORS`, and both sides of the largest `BREAKS` steps of the path,
where a level changes), joined by straight lines of its logarithm. The person's own draw is decoded at every
age. For further draws the logarithm of their ratio to the own draw is decoded at `NODES` ages and beside those
steps, and joined by straight lines. `Plan(exact=True)` decodes all voxels at every age and draw. Measured on one
path of the first pack `ixi`, quick readings of the own draw were off by 0.4 % at most, those of a further draw
by 0.5 % (WM, GM) and 2.5 % (CSF). A test holds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.feature import Feature
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.generate import MAX_SEED, encode
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml

SCENARIOS: Final[dict[str, str]] = {
    "ideal": "only age changes",
    "regressed": "other features follow their regression on age",
}
"""Name of each scenario → what it means, in a few words."""

VOLUMES: Final[tuple[str, ...]] = (*TISSUES, TOTAL)
"""Volumes of a sweep: `wm`, `gm`, `csf` and their sum."""

MAX_AGES: Final = 200
MAX_DRAWS: Final = 100

ANCHORS: Final = 5
"""Ages at which all voxels of the own draw are decoded."""

DRAW_ANCHORS: Final = 3
"""Ages at which all voxels of every further draw are decoded."""

NODES: Final = 12
"""Ages at which further draws are decoded."""

BREAKS: Final = 4
"""Steps of a path whose both sides are decoded as well."""

_BATCH: Final = 16
_FINE_COST: Final = 4  # all voxels of one brain take about as long as every second one of so many in a batch

Progress = Callable[[float], None]
"""Is given the share of the work that is done, in [0, 1]."""


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
    """Latent draws; the first is that of `seed`, as everywhere."""
    seed: int = 0
    exact: bool = False
    """Decode all voxels at every age and draw (slower)."""

    def __post_init__(self) -> None:
        """Check that the parts agree."""
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
    """One row for each scenario, age and draw: `scenario`, `age` (years), `draw` (0: that of the seed),
    `trained` (whether the age is within the training range), `wm`, `gm`, `csf`, `wm+gm+csf` (mL)."""
    features: pd.DataFrame
    """One row for each scenario and age: `scenario`, `age`, `trained`, every feature's natural value."""
    trained_ages: tuple[float, float]
    """Youngest and oldest training person, years."""


def path(
    pack: Pack,
    person: Mapping[str, Any],
    scenario: str,
    ages: NDArray[np.float64],
    *,
    keep_distance: bool = False,
) -> pd.DataFrame:
    """Natural features along a scenario.

    What is unknown (None or left out) is filled in once, at the person's own age, and stays as it is under
    *ideal*. With `keep_distance` a number, or the index of an ordinal level, is moved by the change of its
    regression since the person's own age; a binary or nominal level stays until the regressed probability of
    another one has gained enough (the same rule for each level's indicator: own indicator plus the change of
    its regression, the largest wins). At the person's own age nothing changes then.

    Args:
        person: natural values by feature.
        scenario: `ideal` or `regressed`.
        ages: years.

    Returns:
        One row for each age, one column for each feature; numbers within the training range (or the person's
        own value, where nothing moves it).

    Raises:
        CSegSynthError: the pack has no age, no regressions, or does not know the scenario.
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
    low, high = age.plausible or (0.0, 130.0)
    if float(ages.min()) < low or float(ages.max()) > high:
        raise CSegSynthError(
            "ages of the sweep are not plausible",
            expected=f"{low:g} to {high:g} {age.units}".strip(),
            got=f"{ages.min():g} to {ages.max():g}",
        )
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
    return pd.DataFrame(rows, columns=list(pack.schema.names))


def sweep(
    pack: Pack,
    person: Mapping[str, Any],
    plan: Plan,
    *,
    progress: Progress | None = None,
    known: Sweep | None = None,
) -> Sweep:
    """Volumes along the scenarios of a plan (see the module for how they are measured).

    Args:
        person: natural values by feature; None for unknown.
        progress: told how much is done.
        known: the same sweep with one draw only, whose work is then not done again.

    Raises:
        CSegSynthError, TableError: see `path`.
    """
    ages = plan.ages
    frames = {s: path(pack, person, s, ages, keep_distance=plan.keep_distance) for s in plan.scenarios}
    x = {s: encode(pack, f, source=f"the {s} path").x for s, f in frames.items()}
    assert pack.schema.age is not None  # noqa: S101 - `path` has refused otherwise
    name = pack.schema.age.name
    stats = pack.encoder.numeric[name]
    first = None
    if known is not None and known.pack_hash == pack.hash and known.plan == replace(plan, draws=1):
        own = known.volumes.groupby("scenario")
        first = {s: own.get_group(s)[list(TISSUES)].to_numpy(float) for s in plan.scenarios}
    own_age = float(encode(pack, person).natural[name].iloc[0])
    steps = {s: _steps(pack, f) for s, f in frames.items()}
    values = _measure(pack, x, steps, ages, own_age, plan, first, progress or (lambda _: None))
    trained = (ages >= stats.minimum) & (ages <= stats.maximum)
    parts, features = [], []
    for scenario, ml in values.items():
        for d in range(plan.draws):
            part = pd.DataFrame({"scenario": scenario, "age": ages, "draw": d, "trained": trained})
            part[list(TISSUES)] = ml[d]
            part[TOTAL] = ml[d].sum(axis=1)
            parts.append(part)
        frame = frames[scenario].copy()
        frame.insert(0, "trained", trained)
        frame.insert(0, "scenario", scenario)
        features.append(frame)
    start = encode(pack, person).natural.iloc[0]
    return Sweep(
        person={str(k): v for k, v in start.items()},
        plan=plan,
        pack_name=pack.name,
        pack_hash=pack.hash,
        simulated=pack.simulated,
        volumes=pd.concat(parts, ignore_index=True),
        features=pd.concat(features, ignore_index=True),
        trained_ages=(stats.minimum, stats.maximum),
    )


def quick_draws(pack: Pack, person: Mapping[str, Any], *, draws: int, seed: int = 0) -> NDArray[np.float64]:
    """Volumes of several draws of one person, quickly: mL, shape (draws, 3), the first draw that of the seed.

    Every second voxel where the model can, corrected to all by the ratio of the first draw: good for a spread
    (differences between draws were up to 4 % off for CSF); `generate.volumes_over_draws` is exact and slower.

    Raises:
        TableError: see `csegsynth_core.generate.encode`.
    """
    rows = encode(pack, person).x
    z = torch.cat([pack.model.draw(1, seed), pack.model.draw(draws, seed)[1:]])
    resolution = 2 if _can_skip(pack) else 1
    with torch.inference_mode():
        y = torch.from_numpy(rows)
        if resolution == 1:
            parts = [volumes_ml(pack.model(y, z[d : d + 1])) for d in range(draws)]
            return torch.cat(parts)[:, : len(TISSUES)].double().numpy()
        ml = volumes_ml(pack.model(y.expand(draws, -1), z, resolution=resolution), resolution)
        ratio = volumes_ml(pack.model(y, z[:1])) / ml[:1]
        return (ml * ratio)[:, : len(TISSUES)].double().numpy()


def change_percent(volumes: pd.DataFrame) -> pd.DataFrame:
    """Volumes of a sweep as % change from the first age of the same scenario and draw."""
    out = volumes.sort_values(["scenario", "draw", "age"], kind="stable").copy()
    start = out.groupby(["scenario", "draw"])[list(VOLUMES)].transform("first")
    out[list(VOLUMES)] = 100 * (out[list(VOLUMES)] / start - 1)
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
    steps: dict[str, NDArray[np.int64]],
    ages: NDArray[np.float64],
    own_age: float,
    plan: Plan,
    first: dict[str, NDArray[np.float64]] | None,
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """Volumes in mL by scenario, shape (draws, ages, 3)."""
    z = torch.cat([pack.model.draw(1, plan.seed), pack.model.draw(plan.draws, plan.seed)[1:]])
    others = [z[d : d + 1] for d in range(1, len(z))]
    meter = _Meter(pack, progress)
    values = {}
    if plan.exact or not _can_skip(pack):
        meter.total = _FINE_COST * len(x) * len(ages) * (len(z) - (first is not None))
        for scenario, rows in x.items():
            own = np.log(first[scenario]) if first else meter.read(rows, z[:1], 1)
            values[scenario] = np.exp(np.stack([own, *(meter.read(rows, one, 1) for one in others)]))
        return values
    few = _spread_indices(len(ages), DRAW_ANCHORS)
    even = np.unique([*_spread_indices(len(ages), NODES), *few])
    anchors = np.unique([*_spread_indices(len(ages), ANCHORS), int(np.abs(ages - own_age).argmin())])
    for scenario in x:
        side = 2 * min(len(steps[scenario]), BREAKS)
        own_cost = 0 if first else len(ages) + _FINE_COST * (len(anchors) + side)
        again = len(even) + side if first and others else 0
        meter.total += own_cost + again + len(others) * (len(even) + side + _FINE_COST * len(few))
    for scenario, rows in x.items():
        quick = np.log(first[scenario]) if first else meter.read(rows, z[:1], 2)
        jump = np.abs(np.diff(quick, axis=0)).max(axis=1)
        largest = steps[scenario][np.argsort(-jump[steps[scenario] - 1])][:BREAKS]
        sides = np.concatenate([largest - 1, largest])
        node = np.unique(np.concatenate([even, sides]))
        own, own_skipped = quick, quick[node]
        if first is None:
            at = np.unique(np.concatenate([anchors, sides]))
            own = quick + _joined(ages, ages[at], meter.read(rows[at], z[:1], 1) - quick[at])
        elif others:
            own_skipped = meter.read(rows[node], z[:1], 2)
        draws = [own]
        for one in others:
            apart = meter.read(rows[node], one, 2) - own_skipped
            rest = meter.read(rows[few], one, 1) - own[few] - apart[np.searchsorted(node, few)]
            draws.append(own + _joined(ages, ages[node], apart + _joined(ages[node], ages[few], rest)))
        values[scenario] = np.exp(np.stack(draws))
    progress(1.0)
    return values


class _Meter:
    """Reads volumes and tells how much is done."""

    def __init__(self, pack: Pack, progress: Progress) -> None:
        self.pack, self.progress = pack, progress
        self.total, self.done = 0, 0

    def read(self, rows: NDArray[np.float32], code: torch.Tensor, resolution: int) -> NDArray[np.float64]:
        """Logarithms of volumes in mL of encoded people with one draw, (rows, 3)."""
        out = []
        size = _BATCH if resolution > 1 else 2
        for begin in range(0, len(rows), size):
            y = torch.from_numpy(np.ascontiguousarray(rows[begin : begin + size]))
            with torch.inference_mode():
                z = code.expand(len(y), -1)
                maps = (
                    self.pack.model(y, z) if resolution == 1 else self.pack.model(y, z, resolution=resolution)
                )
                out.append(volumes_ml(maps, resolution)[:, : len(TISSUES)].double().numpy())
            self.done += len(y) * (_FINE_COST if resolution == 1 else 1)
            self.progress(min(self.done / max(self.total, 1), 1.0))
        return np.log(np.maximum(np.concatenate(out), 1e-6))


def _joined(
    at: NDArray[np.float64], ages: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (ages, 3) joined by straight lines, read at other ages."""
    return np.stack([np.interp(at, ages, values[:, k]) for k in range(values.shape[1])], axis=1)


def _spread_indices(count: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` indices from 0 to count − 1, both ends among them, evenly spread."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, wanted))).astype(np.int64))


def _steps(pack: Pack, frame: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of a path at which a level changes."""
    levels = frame[[one.name for one in pack.schema.features if not one.is_numeric]]
    changed = (levels != levels.shift()).any(axis=1).to_numpy()
    return np.flatnonzero(changed)[1:].astype(np.int64)


def _can_skip(pack: Pack) -> bool:
    """Whether the model can decode every second voxel alone."""
    return 2 in pack.model.resolutions
