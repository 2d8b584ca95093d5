"""Whether a model gives its training people back: distances of generated brains to their nearest training brain.

The measure to compare with is how far real people are from their nearest training person: the people kept aside,
and the training people themselves from their nearest other. A model that copies is nearer than those; one whose
brains are smooth may be nearer too without copying anybody, so the distance is also given relative to the median
distance of the same brain to all training people, which smoothness shrinks alike.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.images import Floats, Packed, gram_of

CLOSE: Final = 5.0
"""Centile of real people's relative distances below which a generated brain counts as close."""


def distances(one: Packed, other: Packed) -> Floats:
    """Root mean square difference of tissue fractions over the box, (n, m)."""
    squares = [_squares(s) for s in (one, other)]
    squared = squares[0][:, None] + squares[1] - 2.0 * gram_of(one, other)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


class Memory:
    """One row of numbers for each method, and for real people.

    A row has `nearest` and `relative` (medians with 95 % bootstrap intervals over brains), `smallest` (the smallest
    relative distance) and `close` (percent of brains with a smaller relative distance than 95 % of the real people
    kept aside).

    Args:
        kept: real maps of people that training never saw.
        training: real maps of the training people.
        seed: of the bootstrap.
    """

    def __init__(self, kept: Packed, training: Packed, *, seed: int = 0) -> None:
        self.training, self.seed = training, seed
        self.rows: dict[str, Any] = {}
        among = distances(training, training)
        np.fill_diagonal(among, np.nan)
        reference = distances(kept, training) if len(kept) > 2 else among
        self.close = float(np.percentile(_relative(reference), CLOSE))
        if reference is not among:
            self._row("real_kept_aside", reference)
        self._row("real_training", among)

    def add(self, method: str, made: Packed) -> None:
        """Measure generated maps, one for each person."""
        self._row(method, distances(made, self.training))

    def _row(self, name: str, found: Floats) -> None:
        self.rows[name] = {"brain": _row(found, self.close, self.seed)}


def _squares(maps: Packed) -> Floats:
    """Mean square of every brain's fractions."""
    return np.asarray(
        [float(np.square(one.astype(np.float32) / 255.0).mean(dtype=np.float64)) for one in maps]
    )


def _relative(found: Floats) -> Floats:
    return np.asarray(np.nanmin(found, axis=1) / np.nanmedian(found, axis=1))


def _row(found: Floats, close: float, seed: int) -> dict[str, Any]:
    nearest, relative = np.nanmin(found, axis=1), _relative(found)
    draws = np.random.default_rng(seed).integers(len(found), size=(1000, len(found)))
    return {
        "nearest": _median(nearest, draws),
        "relative": _median(relative, draws),
        "smallest": {"value": round(float(relative.min()), 5)},
        "close": {"value": round(100.0 * float(np.mean(relative < close)), 2)},
    }


def _median(values: Floats, draws: NDArray[np.int64]) -> dict[str, float]:
    low, high = np.percentile(np.median(values[draws], axis=1), [2.5, 97.5])
    return {
        "value": round(float(np.median(values)), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
    }
