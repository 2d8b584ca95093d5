"""The volumes that the best possible predictor would give a virtual person, from what the table says of them.

A simulated volume is exp(effects of features + reserve + own size of the head + noise). Of these only the effects
are in the table, and of reserve what its causes and consequences among the features tell. The best prediction under
absolute error is the median of what is left open,

    exp(effects(features) + E[reserve and what missing cells hide | features]),

whose first part is known from the equations, and whose second is estimated by least squares on many other virtual
people, with cells missing as in theirs. No model that sees the table alone can be expected to do better by more
than that estimate's error, which is small: the estimated part is a few percent of a volume's variance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core.data.simulate import people as people_module
from csegsynth_core.data.simulate.effects import EFFECTS
from csegsynth_core.data.simulate.people import People, Values, draw
from csegsynth_core.errors import TableError
from csegsynth_core.tissue import TISSUES

OTHERS: Final = 20_000
"""People that the estimate is fitted to."""
_OTHER_SEED: Final = 9_990_000
_ID: Final = re.compile(r"sub-(?P<stream>sim|pre)(?P<seed>\d+)p(?P<number>\d+)")

Floats = NDArray[np.float64]


def best_volumes(ids: Sequence[str], *, others: int = OTHERS) -> pd.DataFrame:
    """The best predictor's volumes in mL of virtual people, index `ids`, columns `wm`, `gm`, `csf`.

    Args:
        ids: of people made by `simulate`, such as `sub-sim0p00012`.
        others: people to fit the estimated part to.

    Raises:
        TableError: an id is not that of a virtual person with features.
    """
    crowd = draw(others, seed=_OTHER_SEED)
    whom = _people(ids)
    ranks = _Filled(crowd)
    known = {t: ranks.effects(crowd)[t] for t in TISSUES}
    design = ranks.design(crowd)
    own, effects = ranks.design(whom), ranks.effects(whom)
    out = {}
    for tissue in TISSUES:
        weights = np.linalg.lstsq(design, crowd.log_effects[tissue] - known[tissue], rcond=None)[0]
        out[tissue] = np.exp(effects[tissue] + own @ weights)
    return pd.DataFrame(out, index=pd.Index(list(whom.ids), name="participant_id")).loc[list(ids)]


def _people(ids: Sequence[str]) -> People:
    found = [_ID.fullmatch(i) for i in ids]
    seeds = {m["seed"] for m in found if m is not None and m["stream"] == "sim"}
    if any(m is None for m in found) or len(seeds) != 1:
        raise TableError(
            "not virtual people of one cohort",
            expected="ids such as sub-sim0p00012, as `python -m csegsynth_core simulate` gives them",
            got=f"ids such as {ids[0]}" if len(ids) else "nobody",
        )
    numbers = sorted({int(m["number"]) for m in found if m is not None})
    return People(int(seeds.pop()), np.asarray(numbers, np.int64))


class _Filled:
    """Variables with missing cells filled in from age and sex, as the crowd relates them."""

    def __init__(self, crowd: People) -> None:
        self.weights: dict[str, Floats] = {}
        basis = self._basis(crowd)
        for one in people_module.EQUATIONS:
            if one.feature is not None:
                fitted = np.linalg.lstsq(basis, crowd.variables[one.name], rcond=None)[0]
                self.weights[one.name] = np.asarray(fitted, float)
        whole = self._design(crowd)
        self.mean, self.sd = whole.mean(axis=0), np.maximum(whole.std(axis=0), 1e-9)

    @staticmethod
    def _basis(people: People) -> Floats:
        age, sex = (people.variables["age"] - 53.0) / 20.0, people.variables["sex"]
        return np.stack([np.ones(len(people)), age, age**2, sex, sex * age], axis=1)

    def variables(self, people: People) -> Values:
        """Values as the table tells them."""
        gone = people.missing()
        basis = self._basis(people)
        out = dict(people.variables)
        for column, name in enumerate(f.name for f in people_module.FEATURES):
            one = next(e for e in people_module.EQUATIONS if e.name == name)
            filled = basis @ self.weights[name]
            if one.levels:
                filled = np.clip(np.rint(filled), 0, len(one.levels) - 1)
            out[name] = np.where(gone[:, column], filled, out[name])
        return out

    def effects(self, people: People) -> dict[str, Floats]:
        """Logarithm of each volume as the recorded features alone give it."""
        values = self.variables(people)
        out = {}
        for tissue in TISSUES:
            total = np.full(len(people), np.log(people_module.BASE_ML[tissue]))
            for effect in EFFECTS:
                total = total + effect.size(tissue) * people_module._term(effect, values)
            out[tissue] = total
        return out

    def design(self, people: People) -> Floats:
        """Standardised columns that reserve is estimated from."""
        columns = (self._design(people) - self.mean) / self.sd
        return np.concatenate([np.ones((len(people), 1)), columns], axis=1)

    def _design(self, people: People) -> Floats:
        values = self.variables(people)
        columns = people_module.feature_columns(values)
        age = (values["age"] - 53.0) / 20.0
        columns += [age**2, age**3]
        return np.stack(columns, axis=1)
