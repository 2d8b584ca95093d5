"""Measures of many brains of which only some are decoded.

A brain is a smooth function of its code, and so are the logarithms of its volumes. The codes of a path through age
cost nothing (the prior network alone), whatever jumps its features make. So a few brains are decoded, with all
voxels, and the others' measures are read off a surface over codes: the mean of a Gaussian process with a Matérn-5/2
kernel and a linear trend (Rasmussen and Williams 2006, "Gaussian processes for machine learning", Eq. 2.25, 2.41 and
4.17). The next brain to decode is always the one that the surface knows least about (largest posterior variance; the
greedy order of a pivoted Cholesky factorisation, De Marchi, Schaback and Wendland 2005). Decoding goes on
until brains were predicted, before they were decoded, within a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Decode = Callable[[NDArray[np.int64]], Floats]
"""Rows of the codes → logarithms of their measures, (rows, measures)."""
DecodeEach = Callable[[NDArray[np.int64], list[int]], Floats]
"""Rows of the codes and numbers of draws → logarithms of the measures of each row with each draw, (draws, rows,
measures)."""

BATCH: Final = 4
"""Brains decoded at a time."""

_LENGTH: Final = 2.5  # of the kernel, in root mean square distances of the codes from their mean
_TREND: Final = 3.0  # variance of constant and linear trend, in variances of the kernel
_JITTER: Final = 1e-9


class CodeSurface:
    """Codes, the order in which to decode them, and the surface through those decoded.

    Args:
        codes: (rows, latent).
        first: rows to decode before all others.
    """

    def __init__(self, codes: NDArray[np.floating], first: Sequence[int] = ()) -> None:
        x = np.asarray(codes, np.float64)
        x = x - x.mean(axis=0)
        x /= _LENGTH * (np.sqrt((x**2).sum(axis=1).mean()) or 1.0)
        squares = (x**2).sum(axis=1)
        dot = x @ x.T
        apart = np.sqrt(5 * np.maximum(squares[:, None] + squares[None] - 2 * dot, 0))
        self._kernel = (1 + apart + apart**2 / 3) * np.exp(-apart) + _TREND * (1 + dot)
        self.order = self._ordered(list(dict.fromkeys(int(i) for i in first)))
        """Every row, those first that the surface knows least about."""

    def _ordered(self, first: list[int]) -> NDArray[np.int64]:
        left = self._kernel.copy()
        order: list[int] = []
        while len(order) < len(left):
            variance = np.diag(left).copy()
            variance[order] = -np.inf
            nearest = first[len(order)] if len(order) < len(first) else int(variance.argmax())
            order.append(nearest)
            column = left[:, nearest] / np.sqrt(max(left[nearest, nearest], 1e-12))
            left -= np.outer(column, column)
        return np.asarray(order, np.int64)

    def through(self, nodes: NDArray[np.int64], values: Floats) -> Floats:
        """Values at every row, (rows, measures), given those at `nodes`, which stay as they are."""
        among = self._kernel[np.ix_(nodes, nodes)]
        middle = values.mean(axis=0)
        weights = np.linalg.solve(among + _JITTER * np.trace(among) * np.eye(len(nodes)), values - middle)
        out = middle + self._kernel[:, nodes] @ weights
        out[nodes] = values
        return out

    def read(
        self,
        decode: Decode,
        *,
        start: int,
        tolerance: float | Floats,
        batch: int = BATCH,
        base: Floats | None = None,
    ) -> Floats:
        """Measures of every row; see `read_each`."""

        def alone(rows: NDArray[np.int64], _: list[int]) -> Floats:
            return decode(rows)[None]

        return self.read_each(alone, 1, start=start, tolerance=tolerance, batch=batch, base=base)[0]

    def read_each(
        self,
        decode: DecodeEach,
        count: int,
        *,
        start: int,
        tolerance: float | Floats,
        batch: int = BATCH,
        base: Floats | None = None,
    ) -> Floats:
        """Measures of every row with each of several draws, each with a surface of its own.

        Args:
            decode: makes brains and measures them.
            count: number of draws.
            start: rows to decode before the surfaces are put to the test; fewer if there are fewer.
            tolerance: of logarithms, also one for each measure; a draw's batch predicted within it is the last of
                this draw that is decoded.
            batch: rows that are predicted and decoded at a time.
            base: known values of every row that are near those wanted; surfaces then go through differences.

        Returns:
            Logarithms, (draws, rows, measures).
        """
        about = np.zeros(1) if base is None else base

        def more(some: NDArray[np.int64], which: list[int]) -> Floats:
            return decode(some, which) - (about if base is None else base[some])

        nodes = self.order[:start]
        values = dict(enumerate(more(nodes, list(range(count)))))
        left = list(values)
        while left and len(nodes) < len(self.order):
            some = self.order[len(nodes) : len(nodes) + batch]
            missed = []
            for draw, found in zip(left, more(some, left), strict=True):
                apart = np.abs(found - self.through(nodes, values[draw])[some])
                if (apart > tolerance).any():
                    missed.append(draw)
                values[draw] = np.concatenate([values[draw], found])
            nodes = self.order[: len(nodes) + len(some)]
            left = missed
        each = [self.through(self.order[: len(own)], own) for own in values.values()]
        return about + np.stack(each)
