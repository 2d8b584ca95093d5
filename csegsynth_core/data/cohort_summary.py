"""A cohort in numbers that tell of nobody: histograms, correlations, missingness, people by age and sex.

It travels with a pack, so that the app can show who a model was trained on without anybody's row. Cells of
fewer than three people are withheld (None), and so is a second cell of the same table row where the first
could be found by subtraction from its sum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core.data.feature import Feature
from csegsynth_core.data.schema import Parsed, check_format
from csegsynth_core.errors import PackError, TableError
from csegsynth_core.tissue import TISSUES

SMALL: Final = 3
"""Cells with fewer people are withheld."""
BINS: Final = 12
BAND_YEARS: Final = 10.0

_FORMAT: Final = "csegsynth-cohort-summary"
_VERSION: Final = 1
_PAIRS: Final = 12  # people that a correlation needs


@dataclass(frozen=True)
class Histogram:
    """How a number or the levels of a feature are distributed."""

    edges: tuple[float, ...]
    """Ends of the bins in the feature's units (mL for volumes), one more than bins; empty for levels. Rounded
    outwards, so that the extremes of the cohort are not told."""
    levels: tuple[str, ...]
    """Keys of levels; empty for numbers."""
    counts: tuple[int | None, ...]
    """People in each bin or level; None where 1 or 2, and where needed to hide them."""


@dataclass(frozen=True)
class CohortSummary:
    """Summary of the people that a model was trained on."""

    n: int
    missing: dict[str, int | None]
    """Feature → people without a (plausible) value; None where 1 or 2."""
    histograms: dict[str, Histogram]
    """Features, and volumes `wm`, `gm`, `csf`."""
    names: tuple[str, ...]
    """Rows and columns of the correlations: numeric, ordinal and binary features, then the volumes."""
    correlations: tuple[tuple[float | None, ...], ...]
    """Spearman's ρ over people with both values, rounded to two digits; None with fewer than 12 people or
    without variation."""
    ages: tuple[float, ...]
    """Ends of the age bands, years; empty without age."""
    sexes: tuple[str, ...]
    """Keys of levels of sex; empty without."""
    by_age_sex: tuple[tuple[int | None, ...], ...]
    """People of each age band (rows) and sex (columns; one for all without sex); None where withheld."""

    @classmethod
    def fit(cls, parsed: Parsed, volumes: pd.DataFrame) -> CohortSummary:
        """Summarise the training people.

        Args:
            parsed: their features.
            volumes: `wm`, `gm`, `csf` in mL, index participant_id; a row for each of them.

        Raises:
            TableError: somebody has no volumes, or there are fewer than 12 people.
        """
        absent = [i for i in parsed.ids if i not in volumes.index]
        if absent or len(parsed) < _PAIRS:
            raise TableError(
                f"{parsed.source}: no summary of this cohort",
                expected=f"volumes of everybody, and {_PAIRS} people or more",
                got=f"{len(parsed)} people, {len(absent)} without volumes",
            )
        ml = volumes.loc[parsed.ids, list(TISSUES)]
        columns: dict[str, NDArray[np.float64]] = {}
        histograms: dict[str, Histogram] = {}
        for one in parsed.schema.features:
            numbers = _numbers(one, parsed.data[one.name])
            if one.kind != "nominal":
                columns[one.name] = numbers
            if one.is_numeric:
                histograms[one.name] = _of_numbers(numbers)
            else:
                counts = [int((numbers == i).sum()) for i in range(len(one.levels))]
                histograms[one.name] = Histogram((), tuple(one.levels), withheld(counts))
        for tissue in TISSUES:
            columns[tissue] = ml[tissue].to_numpy(float)
            histograms[tissue] = _of_numbers(columns[tissue])
        ages, sexes, table = _age_sex(parsed)
        return cls(
            n=len(parsed),
            missing={n: _hidden(int(parsed.data[n].isna().sum())) for n in parsed.schema.names},
            histograms=histograms,
            names=tuple(columns),
            correlations=_correlations(pd.DataFrame(columns)),
            ages=ages,
            sexes=sexes,
            by_age_sex=table,
        )

    def strongest(self, count: int) -> tuple[tuple[str, ...], tuple[tuple[float | None, ...], ...]]:
        """Names and correlations of the volumes and of the features most correlated with any of them.

        Args:
            count: how many features at most; they keep their order.
        """
        volumes = [i for i, n in enumerate(self.names) if n in TISSUES]
        features = [i for i in range(len(self.names)) if i not in volumes]
        size = {i: max((abs(self.correlations[i][v] or 0.0) for v in volumes), default=0.0) for i in features}
        kept = sorted(sorted(features, key=lambda i: -size[i])[:count]) + volumes
        rows = tuple(tuple(self.correlations[i][j] for j in kept) for i in kept)
        return tuple(self.names[i] for i in kept), rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"format": _FORMAT, "version": _VERSION, **json.loads(json.dumps(asdict(self)))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CohortSummary:
        """Inverse of `to_dict`.

        Raises:
            PackError: not a summary, damaged, or of another version.
        """
        check_format(data, _FORMAT, _VERSION)
        try:
            histograms = {
                name: Histogram(tuple(h["edges"]), tuple(h["levels"]), tuple(h["counts"]))
                for name, h in data["histograms"].items()
            }
            return cls(
                n=int(data["n"]),
                missing=dict(data["missing"]),
                histograms=histograms,
                names=tuple(data["names"]),
                correlations=tuple(tuple(row) for row in data["correlations"]),
                ages=tuple(data["ages"]),
                sexes=tuple(data["sexes"]),
                by_age_sex=tuple(tuple(row) for row in data["by_age_sex"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise PackError("the cohort summary is damaged", got=got) from error

    @classmethod
    def of_pack(cls, folder: Path) -> CohortSummary | None:
        """The summary in a pack's `features.json` (key `cohort`); None where the pack has none."""
        found = json.loads((folder / "features.json").read_text("utf-8")).get("cohort")
        return None if found is None else cls.from_dict(found)


def _numbers(one: Feature, column: pd.Series) -> NDArray[np.float64]:
    """Numbers, or the index of the level; NaN for unknown."""
    if one.is_numeric:
        return column.to_numpy(float)
    order = {key: float(i) for i, key in enumerate(one.levels)}
    return np.array([order.get(v, np.nan) if isinstance(v, str) else np.nan for v in column])


def _of_numbers(numbers: NDArray[np.float64]) -> Histogram:
    """Histogram with round edges."""
    known = numbers[np.isfinite(numbers)]
    edges = _edges(float(known.min()), float(known.max()))
    counts = np.histogram(known, edges)[0]
    return Histogram(tuple(float(f"{e:.10g}") for e in edges), (), withheld([int(c) for c in counts]))


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Round ends of about `BINS` equal bins that hold all from `low` to `high`."""
    step = _round_step((high - low) / BINS) if high > low else 1.0
    return np.arange(np.floor(low / step), np.floor(high / step) + 1.5) * step


def _round_step(wanted: float) -> float:
    """The next of 1, 2, 5 × 10ⁿ."""
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(next(k * power for k in (1, 2, 5, 10) if k * power >= wanted * (1 - 1e-9)))


def _hidden(count: int) -> int | None:
    return count if count == 0 or count >= SMALL else None


def withheld(counts: list[int]) -> tuple[int | None, ...]:
    """Counts without the small ones; where only one is small, the next smallest is withheld with it."""
    out = [_hidden(c) for c in counts]
    if sum(c is None for c in out) == 1:
        rest = [i for i, c in enumerate(out) if c]
        if rest:
            out[min(rest, key=lambda i: counts[i])] = None
    return tuple(out)


def _correlations(columns: pd.DataFrame) -> tuple[tuple[float | None, ...], ...]:
    """Spearman's ρ of every pair."""
    found = columns.corr(method="spearman", min_periods=_PAIRS).to_numpy()
    return tuple(tuple(None if not np.isfinite(r) else round(float(r), 2) for r in row) for row in found)


def _age_sex(
    parsed: Parsed,
) -> tuple[tuple[float, ...], tuple[str, ...], tuple[tuple[int | None, ...], ...]]:
    """Ends of age bands, sexes and people of each."""
    age, sex = parsed.schema.age, parsed.schema.sex
    if age is None:
        return (), () if sex is None else tuple(sex.levels), ()
    years = parsed.data[age.name].to_numpy(float)
    low = np.floor(np.nanmin(years) / BAND_YEARS) * BAND_YEARS
    edges = np.arange(low, np.nanmax(years) + BAND_YEARS, BAND_YEARS)
    if edges[-1] <= np.nanmax(years):
        edges = np.append(edges, edges[-1] + BAND_YEARS)
    levels = () if sex is None else tuple(sex.levels)
    masks = (
        [np.ones(len(years), bool)]
        if sex is None
        else [(parsed.data[sex.name] == s).to_numpy() for s in levels]
    )
    bands = list(pairwise(edges))
    by_sex = [withheld([int(((years >= a) & (years < b) & m).sum()) for a, b in bands]) for m in masks]
    return tuple(float(e) for e in edges), levels, tuple(zip(*by_sex, strict=True))
