"""Virtual people: noise → features → volumes, and the same people under other circumstances.

Person k of a seed depends on the seed and k alone. All noise of a person is drawn at once from one
counter-based stream (Philox), so that any run of people can be made in one go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from csegsynth_core.data.schema import Schema
from csegsynth_core.data.simulate.anatomy import Targets
from csegsynth_core.data.simulate.effects import (
    AGE_CENTRE,
    BASE_ML,
    CSF_TO_VENTRICLES,
    EFFECTS,
    HEAD,
    HEAD_SD,
    NOISE_SD,
    RESERVE,
    VOLUMES,
    Effect,
)
from csegsynth_core.data.simulate.features import BLOCKS, BY_NAME, EQUATIONS, FEATURES, LATENT, Values
from csegsynth_core.errors import TableError

Numbers = NDArray[np.float64]

STREAMS: Final = {"sim": 0, "pre": 1}
"""Prefix of ids → stream of noise. People for pre-training are never those of a cohort with features."""

_VARIABLES: Final = (*(e.name for e in EQUATIONS), "head", *VOLUMES)
_CELLS: Final = tuple(f.name for f in FEATURES)
_DRAWS: Final = 4 * -(-(len(_VARIABLES) + len(_CELLS) + len(BLOCKS)) // 4)
"""Uniform numbers per person; a multiple of 4, the numbers in one step of Philox."""
_NEVER_MISSING: Final = frozenset({"age", "sex"})
_BLOCK_MISSING: Final = 0.012


@dataclass(frozen=True, eq=False)
class People:
    """Some virtual people, features and volumes worked out when asked for."""

    seed: int
    numbers: NDArray[np.int64]
    """(n,) which people of the seed."""
    stream: str = "sim"
    set_free: dict[str, Numbers] = field(default_factory=dict)
    """Features set to values, each () or (n,), while what they cause follows."""
    set_held: dict[str, Numbers] = field(default_factory=dict)
    """Features set to values, each () or (n,), while all others stay."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def ids(self) -> list[str]:
        """BIDS ids, such as `sub-sim0p00012` for person 12 of seed 0."""
        return [f"sub-{self.stream}{self.seed}p{k:05d}" for k in self.numbers]

    @cached_property
    def uniform(self) -> Numbers:
        """(n, draws) numbers between 0 and 1, exclusive: everything that chance decides."""
        key = np.random.SeedSequence([self.seed, STREAMS[self.stream]]).generate_state(2, np.uint64)
        out = np.empty((len(self), _DRAWS))
        row = 0
        while row < len(self):
            first = int(self.numbers[row])
            stop = row + 1
            while stop < len(self) and self.numbers[stop] == self.numbers[stop - 1] + 1:
                stop += 1
            bits = np.random.Philox(key=key)
            bits.advance(first * (_DRAWS // 4))
            out[row:stop] = np.random.Generator(bits).random((stop - row, _DRAWS))
            row = stop
        return out + 2.0**-54

    @cached_property
    def noise(self) -> dict[str, Numbers]:
        """Standard normal noise of every variable, each (n,)."""
        normal = ndtri(np.minimum(self.uniform[:, : len(_VARIABLES)], 1 - 2.0**-53))
        return {name: normal[:, i] for i, name in enumerate(_VARIABLES)}

    @cached_property
    def variables(self) -> Values:
        """Every feature and latent variable, each (n,); levels as their place, from 0."""
        out: dict[str, Numbers] = {}
        for one in EQUATIONS:
            if one.name in self.set_free:
                out[one.name] = self._everybody(self.set_free[one.name])
            else:
                out[one.name] = one.value(out, self.noise[one.name])
        for name, value in self.set_held.items():
            out[name] = self._everybody(value)
        return out

    def _everybody(self, value: Numbers) -> Numbers:
        return np.broadcast_to(np.asarray(value, float), (len(self),)).copy()

    @cached_property
    def log_effects(self) -> dict[str, Numbers]:
        """Logarithm of each volume without noise of its own, each (n,)."""
        out = {}
        for volume in VOLUMES:
            total = np.log(BASE_ML[volume]) + RESERVE[volume] * self.variables["reserve"]
            for effect in EFFECTS:
                total = total + effect.size(volume) * _term(effect, self.variables)
            out[volume] = total
        return out

    @cached_property
    def volumes(self) -> dict[str, Numbers]:
        """Volumes in mL of `VOLUMES`, each (n,)."""
        own = {v: NOISE_SD[v] * self.noise[v] for v in VOLUMES}
        own["ventricles"] = own["ventricles"] + CSF_TO_VENTRICLES * own["csf"]
        return {
            v: np.exp(self.log_effects[v] + HEAD[v] * HEAD_SD * self.noise["head"] + own[v]) for v in VOLUMES
        }

    @property
    def noise_free(self) -> dict[str, Numbers]:
        """Volumes in mL that features and reserve alone would give, each (n,)."""
        return {v: np.exp(x) for v, x in self.log_effects.items()}

    def derivatives(self) -> pd.DataFrame:
        """True direct effects: columns `d_<volume>/d_<feature>`, mL per unit, people as rows.

        For a numeric or ordinal feature the derivative of the volume at the person's value, all else held; for
        a level that is named (`sex=M`), volume with the level minus volume without it.
        """
        columns: dict[str, Numbers] = {}
        for volume in VOLUMES:
            now = self.volumes[volume]
            for name, effects in _by_feature().items():
                if any(e.level for e in effects):
                    on = np.sum(
                        [e.size(volume) * _term(e, self.variables, at_level=True) for e in effects], axis=0
                    )
                    is_on = _at_level(effects[0], self.variables)
                    without = now * np.exp(-on * is_on)
                    columns[f"d_{volume}/d_{name}={effects[0].level}"] = without * (np.exp(on) - 1.0)
                else:
                    slope = np.sum([e.size(volume) * _slope(e, self.variables) for e in effects], axis=0)
                    if name == "age":
                        slope = slope + np.sum(
                            [
                                e.size(volume) * _term(e, self.variables, without_age=True) / 10.0
                                for e in EFFECTS
                                if e.with_age
                            ],
                            axis=0,
                        )
                    columns[f"d_{volume}/d_{name}"] = now * slope
        return pd.DataFrame(columns, index=pd.Index(self.ids, name="participant_id"))

    def missing(self) -> NDArray[np.bool_]:
        """(n, features) cells that the table lacks: 1–5 % a feature, parts of the visit together."""
        start = len(_VARIABLES)
        cells = self.uniform[:, start : start + len(_CELLS)]
        blocks = self.uniform[:, start + len(_CELLS) :]
        out = np.zeros((len(self), len(_CELLS)), bool)
        for column, name in enumerate(_CELLS):
            if name in _NEVER_MISSING:
                continue
            share = missing_share(name)
            block = BY_NAME[name].block
            if block:
                gone = blocks[:, BLOCKS.index(block)] < _BLOCK_MISSING
                out[:, column] = gone | (cells[:, column] < share - _BLOCK_MISSING)
            else:
                out[:, column] = cells[:, column] < share
        return out

    def table(self, *, complete: bool = False) -> pd.DataFrame:
        """Features as text, people as rows, None where missing; nothing is missing when `complete`."""
        gone = np.zeros((len(self), len(_CELLS)), bool) if complete else self.missing()
        columns = {}
        for column, name in enumerate(_CELLS):
            texts = np.asarray(_texts(name, self.variables[name]), object)
            texts[gone[:, column]] = None
            columns[name] = texts
        return pd.DataFrame(columns, index=pd.Index(self.ids, name="participant_id"), dtype=object)

    def targets(self, row: int = 0) -> Targets:
        """What the brain of one of these people must measure."""
        of = {v: float(x[row]) for v, x in self.volumes.items()}
        broad = 0.004 * (float(self.variables["weight"][row]) - 75.0) / 15.0
        tall = 0.006 * (float(self.variables["height"][row]) - 169.0) / 10.0
        age = float(self.variables["age"][row])
        return Targets(of["wm"], of["gm"], of["csf"], of["ventricles"], age, (broad, 0.0, tall))

    def brain_seed(self, row: int = 0) -> np.random.SeedSequence:
        """Seed of a person's shape, folds and noise: whatever the features, the same person."""
        return np.random.SeedSequence([self.seed, STREAMS[self.stream], int(self.numbers[row]), 7])


def draw(count: int, *, seed: int = 0, first: int = 0, stream: str = "sim") -> People:
    """People `first`, `first` + 1, … of a seed."""
    return People(seed, np.arange(first, first + count, dtype=np.int64), stream)


def counterfactual(people: People, changes: Mapping[str, object], *, hold_others: bool = True) -> People:
    """The same people, noise and all, had the features in `changes` been set to these values.

    Args:
        people: one or more.
        changes: feature → number, numbers (one per person), or key of a level.
        hold_others: whether everything else that can be told of the person stays as it is and only the brain
            responds (the "ideal" scenario of Wang et al. 2025); otherwise what the features cause follows.

    Raises:
        TableError: not a feature, or not a value of it.
    """
    coded = {name: _coded(name, value, len(people)) for name, value in changes.items()}
    if hold_others:
        return replace(people, set_held=people.set_held | coded)
    held = {k: v for k, v in people.set_held.items() if k not in coded}
    return replace(people, set_free=people.set_free | coded, set_held=held)


def schema() -> Schema:
    """The 198 features."""
    return Schema(FEATURES)


def missing_share(name: str) -> float:
    """Share of people for whom a feature is missing, 0 for age and sex."""
    return 0.0 if name in _NEVER_MISSING else 0.014 + 0.032 * ((_CELLS.index(name) * 7) % 11) / 10


def latent_table(people: People) -> pd.DataFrame:
    """Latent variables and head size, people as rows."""
    columns = {name: people.variables[name] for name in LATENT} | {"head": people.noise["head"]}
    return pd.DataFrame(columns, index=pd.Index(people.ids, name="participant_id"))


def feature_columns(values: Values) -> list[Numbers]:
    """What a regression on everything that is recorded looks at, each (n,): features, their levels, their bends."""
    columns: list[Numbers] = []
    for one in EQUATIONS:
        if one.feature is None:
            continue
        x = values[one.name]
        if one.form == "choice":
            columns += [(x == level).astype(float) for level in range(1, len(one.levels))]
        else:
            columns.append(x)
        if one.form == "skewed":
            columns.append(np.log1p(np.maximum(x, 0.0)))
    return columns


def _coded(name: str, value: object, people: int) -> Numbers:
    one = BY_NAME.get(name)
    if one is None or one.feature is None:
        raise TableError(f"no feature {name!r} to change", expected="one of the 198 simulated features")
    if one.levels:
        key = one.feature.level_of(str(value))
        if key is None:
            raise TableError(
                f"feature {name!r} cannot be set", expected=one.feature.expected, got=repr(value)
            )
        return np.asarray(float(one.levels.index(key)))
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if not np.all(np.isfinite(numbers)) or numbers.shape not in ((), (people,)):
        raise TableError(
            f"feature {name!r} cannot be set",
            expected=f"{one.feature.expected}, or one for each of {people} people",
            got=repr(value),
        )
    return numbers


def _texts(name: str, values: Numbers) -> list[str]:
    one = BY_NAME[name]
    if one.levels:
        return [one.levels[int(v)] for v in values]
    if one.step >= 1:
        return [f"{v:.0f}" for v in values]
    return [f"{v:.12g}" for v in values]


def _by_feature() -> dict[str, list[Effect]]:
    out: dict[str, list[Effect]] = {}
    for effect in EFFECTS:
        out.setdefault(effect.feature, []).append(effect)
    return out


def _at_level(effect: Effect, values: Values) -> Numbers:
    levels = BY_NAME[effect.feature].levels
    return (values[effect.feature] == levels.index(effect.level)).astype(float)


def _term(effect: Effect, values: Values, *, at_level: bool = False, without_age: bool = False) -> Numbers:
    """The term that an effect's size multiplies, (n,)."""
    if effect.level:
        here = _at_level(effect, values)
        out = np.ones_like(here) if at_level else here
    else:
        out = ((values[effect.feature] - effect.centre) / effect.unit) ** effect.power
    if effect.with_age and not without_age:
        out = out * (values["age"] - AGE_CENTRE) / 10.0
    return out


def _slope(effect: Effect, values: Values) -> Numbers:
    """Derivative of `_term` by its feature."""
    x = (values[effect.feature] - effect.centre) / effect.unit
    out = effect.power * x ** (effect.power - 1) / effect.unit
    return out * (values["age"] - AGE_CENTRE) / 10.0 if effect.with_age else out
