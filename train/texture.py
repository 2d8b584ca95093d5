"""How crisp the compact model's maps are, matched to those of training people after training.

Looking between voxels, and deforming by a mean over people, make a generated map unlike a segmented one: smoother,
with more voxels that are half and half, and with fewer that hold a trace of a second tissue. Five things mend that:

* **sharpness**: how much of their own detail is added to the template's log-ratios, for each tissue;
* **grain**: voxel-wise noise in each tissue's logarithm, as segmentations leave;
* **curves**: what every fraction of a tissue is multiplied by before tissues are made to sum to what they did, such
  that each tissue's fractions are distributed as in the training people's maps (histogram matching, Nyúl and Udupa
  1999, iterated because of the sum);
* **edge**: the same for the odds of background at the brain's surface; in depth it would let background in. How soft
  outlines are is matched, not where they lie.

Some segmentations mix neighbours of the chain background, CSF, grey matter, white matter alone. Where the originals
do, one function takes the place of curves and edge: the **chain**, of brightness. It matches, tissue by tissue, how
voxels that are mostly of one are distributed about it; mixtures of two halves stay, and so does, nearly, what tissues
have in all.

Sharpness and grain are found together with a factor on the log-ratios that codes add (**response**), by least
squares: what a voxel differs by from its neighbours, and from those two voxels away, is to be what it is in real
maps, and volumes are to differ between people by what they differed by before. Curves are fitted anew each time.
What these differences do when one number changes is tried once, and brought up to date with each step (Broyden 1965).
Grain too faint to change a fraction by a hundredth is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from csegsynth_core.models.csegsynth import (
    CHAIN_STEPS,
    CURVE_ENDS,
    TemplateGenerator,
    bend,
    brightness_of,
    chain_brightness,
    chain_knots,
    knots_of,
    mixtures,
    trim,
)
from csegsynth_core.side_by_side import side_by_side
from csegsynth_core.tissue import CHANNELS, TISSUES
from train.images import pack_maps

logger = logging.getLogger(__name__)

BOUNDS = (*[(0.0, 2.0)] * len(TISSUES), *[(0.0, 2.0)] * len(TISSUES), (-0.7, 0.4))
"""Least and largest sharpness and grain of each tissue, and logarithm of the response, that are tried."""
START = (*[0.3] * len(TISSUES), *[0.3] * len(TISSUES), 0.0)
"""Where the search begins."""
TRIALS = 6
"""Times that all numbers are improved together in a search, where it is not told otherwise."""
TRIED = 0.1
"""By which share of itself each number is changed to see what that does."""
FAINT = 0.01
"""Grain of all tissues below which there is none: log-ratios of a standard deviation so small change fractions by a
quarter of it at most."""
FIRMLY = 3.0
"""How much more what features do counts than each number of texture."""
ALONE = 253
"""From this fraction (of 255) on a voxel is of one tissue alone."""
DISTANCES = (1, 2)
"""Voxels to the neighbours that are compared."""
FIRST_ROUNDS, ROUNDS = 25, 3
"""Iterations of the curves' fit: to begin with, and from curves that were near."""
SHARE = 16
"""One of so many voxels is looked at for curves."""
LARGEST_STEP = 2.0
LARGEST = 8.0
"""Bound of the logarithm of factors."""
OFF_CHAIN = 0.01
"""Maps count as mixed along the chain where less than so much of the tissue lies elsewhere."""
NEAR = 0.5
"""Background is matched where so much of `edge` counts."""
_TRACE = 2e-4  # a fraction that counts as none
_INSIDE = 1e-3  # from the bounds inwards, where a search may begin
_SEARCHED = tuple(f"{kind}_{t}" for kind in ("sharpness", "grain") for t in TISSUES)
_ORIGIN = 1.0  # added to what is searched: its steps are in proportion to it, and it may be 0

Unfinished = tuple[Float[Tensor, "n 4 i j k"], Float[Tensor, "n 1 i j k"] | None]
"""Brains before `edge` and `curves`, see `TemplateGenerator.unfinished`."""


class Texture:
    """Numbers and curves that make a generator's brains more or less crisp, and the search for the best.

    Args:
        generator: gets every texture that is tried, and keeps the last.
        originals: maps of training people, (people, 3, i, j, k), 255 for 1.
        spread: standard deviations over people of the logarithms of what features tell of volumes, by the generator
            as it is.
        told: what they are to be; default what they are now.
        raised: what is added to the template's log-ratios after they were sharpened.
        near: sharpness and grain where the search begins, as `numbers` has them, of a generator that has been given
            its response before: none is looked for. Default `START`, with a response.
        keep: leave them there, and find curves alone.
    """

    def __init__(
        self,
        generator: TemplateGenerator,
        originals: NDArray[np.uint8],
        spread: Callable[[], NDArray[np.float64]],
        told: NDArray[np.float64] | None = None,
        raised: Float[Tensor, "i j k"] | None = None,
        near: Mapping[str, float] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.generator, self.template, self.raised = generator, generator.template.clone(), raised
        self.spread, self.told = spread, spread() if told is None else told
        self.response, self.responds, self.keep = 1.0, near is None, keep
        self.slopes: NDArray[np.float64] | None = None
        self.wanted = texture_of(originals)
        every = originals[0, 0].size
        rng = np.random.default_rng(every)
        self.voxels = torch.from_numpy(rng.choice(every, max(1, every // SHARE), replace=False))
        shares = torch.from_numpy(originals).flatten(2)[..., self.voxels].float() / 255.0
        shares = torch.cat([shares, 1.0 - shares.sum(dim=1, keepdim=True)], dim=1)
        self.sorted = shares.transpose(0, 1).flatten(1).sort(dim=1).values
        self.brightness = (
            brightness_of(shares).flatten().sort().values if _off_chain(shares) < OFF_CHAIN else None
        )
        if self.brightness is not None:
            generator.rim.zero_()
        first = START if near is None else [near[name] for name in _SEARCHED]
        low, high = np.asarray(BOUNDS[: len(first)]).T
        self.bounds = low + _ORIGIN, high + _ORIGIN
        self.apply(np.clip(np.asarray(first), low + _INSIDE, high - _INSIDE) + _ORIGIN)

    def apply(self, searched: NDArray[np.float64]) -> None:
        """Give the generator these numbers in the place of its present ones."""
        self.searched = searched
        now = self.numbers()
        self.generator.amplify(now["response"] / self.response)
        self.response = now["response"]
        self.generator.template.copy_(self.template)
        self.generator.sharpen([now[f"sharpness_{t}"] for t in TISSUES])
        if self.raised is not None:
            self.generator.template += self.raised
        self.generator.grain.copy_(torch.tensor([now[f"grain_{t}"] for t in TISSUES]))

    def numbers(self) -> dict[str, float]:
        """`sharpness_wm`, …, `grain_wm`, …, `response`."""
        found = [float(v) for v in self.searched - _ORIGIN]
        response = float(np.exp(found[-1])) if self.responds else 1.0
        return dict(zip(_SEARCHED, found, strict=False)) | {"response": response}

    def search(self, make: Callable[[], Unfinished], trials: int | None = None) -> None:
        """Find the texture with which brains that are made are nearest to real ones, and features do what they did.

        Args:
            make: brains of as many people as `originals` had, by the generator as it is.
            trials: times that all numbers are improved together; default `TRIALS`.
        """
        generator = self.generator
        self.fit_curves(make)
        if self.keep:
            return
        start = generator.edge.clone(), generator.curves.clone()

        def differences(searched: NDArray[np.float64]) -> NDArray[np.float64]:
            self.apply(searched)
            generator.edge.copy_(start[0])
            generator.curves.copy_(start[1])
            found = texture_of(packed(self.fit_curves(make, near=True)))
            apart = [
                np.log(max(value, 1e-9) / max(self.wanted[name], 1e-9))
                for name, value in found.items()
                if name.startswith("detail")
            ]
            if self.responds:
                apart.append(FIRMLY * np.log(self.spread() / self.told).mean())
            return np.asarray(apart)

        steps = Slopes(differences, self.bounds[1], self.slopes)
        best = least_squares(steps, self.searched, steps.at, bounds=self.bounds, max_nfev=trials or TRIALS)
        self.slopes = steps.slopes
        found, grain = best.x.copy(), slice(len(TISSUES), 2 * len(TISSUES))
        if (found[grain] < _ORIGIN + FAINT).all():
            found[grain] = _ORIGIN
        logger.info("texture: off by %s with %s", differences(found).round(3), self.numbers())

    def fit_curves(self, make: Callable[[], Unfinished], *, near: bool = False) -> Float[Tensor, "n 4 i j k"]:
        """Give the generator the chain, or edge and curves, with which fractions are distributed as in the originals.

        Each round of curves takes every tissue's fractions to the originals' of the same rank, and averages the
        factors that this takes over fractions between the same knots.

        Args:
            make: see `search`.
            near: go on from the generator's curves, which need few rounds; else begin with none. Fits that go on from
                each other for long drift: factors that all tissues have in common change nothing.

        Returns:
            The brains with these curves.
        """
        generator = self.generator
        if not near:
            generator.edge.zero_()
            generator.curves.zero_()
        generator.chain.zero_()
        plain, rim = make()
        seen = plain.flatten(2)[..., self.voxels]
        if self.brightness is not None:
            generator.chain.copy_(_chain(brightness_of(seen).flatten(), self.brightness))
        else:
            at = None if rim is None else rim.flatten(2)[..., self.voxels]
            self._bend(seen, at, ROUNDS if near else FIRST_ROUNDS)

        def finish(n: int) -> Float[Tensor, "1 4 i j k"]:
            return generator.finished(plain[n : n + 1], None if rim is None else rim[n : n + 1])

        return torch.cat(list(side_by_side(finish, range(len(plain)))))

    def _bend(
        self, seen: Float[Tensor, "n 4 voxels"], at: Float[Tensor, "n 1 voxels"] | None, rounds: int
    ) -> None:
        """Take edge and curves nearer to the originals' distributions, in so many rounds.

        Args:
            seen: fractions of brains as they are.
            at: how much of `edge` counts there; None: nowhere.
        """
        edge, curves = self.generator.edge, self.generator.curves
        background = self._knots(seen[:, -1])
        for _ in range(rounds):
            trimmed = seen
            if at is not None:
                trimmed = trim(seen, edge, at)
                wanted = self._outlined(trimmed[:, -1])
                self._nearer(edge, trimmed[:, -1], wanted, background, at[:, 0] > NEAR)
                trimmed = trim(seen, edge, at)
            bent = bend(trimmed, curves)

            def nearer(k: int, bent: Tensor = bent, trimmed: Tensor = trimmed) -> None:
                # Half of it, since the other fractions of a place get theirs in the same round.
                self._nearer(curves[k], bent[:, k], self.sorted[k], self._knots(trimmed[:, k]), share=0.5)

            list(side_by_side(nearer, range(len(curves))))

    def _outlined(self, background: Tensor) -> Tensor:
        """The originals' background in ascending order, as many as these voxels and as many of them less than a
        half: how soft outlines are is matched, not where they lie."""
        wanted = self.sorted[-1]
        first = int((wanted < 0.5).sum()) - int((background < 0.5).sum())
        places = torch.arange(background.numel()) + first
        return wanted[places.clamp(0, len(wanted) - 1)]

    def _knots(self, fractions: Tensor) -> Tensor:
        """The nearest knot of every fraction."""
        return knots_of(fractions, len(self.generator.edge) - 1).round().long().flatten()

    @staticmethod
    def _nearer(
        curve: Tensor,
        now: Tensor,
        wanted: Tensor,
        knots: Tensor,
        where: Tensor | None = None,
        share: float = 1.0,
    ) -> None:
        """Take a curve a step towards that with which fractions have a distribution; both may be of some places."""
        now = now.flatten()
        ranked = torch.empty_like(now)
        ranked[now.argsort()] = wanted
        if where is not None:
            now, ranked, knots = (v[where.flatten()] for v in (now, ranked, knots))
        curve += share * _step(now, ranked, knots, len(curve))
        curve.copy_(_rising(curve, knots))


class Slopes:
    """A function of a few numbers with its slopes, which cost an evaluation for each number but once.

    From then on every step corrects them by what the function did along it (Broyden 1965, "A class of methods for
    solving nonlinear simultaneous equations", Eq. 4.5).

    Args:
        function: of the numbers, to as many or more.
        high: bounds that no number may exceed.
        slopes: those of another call, (values, numbers), if there are any.
    """

    def __init__(
        self,
        function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        high: NDArray[np.float64],
        slopes: NDArray[np.float64] | None = None,
    ) -> None:
        self._function, self._high, self.slopes = function, high, slopes
        self._known: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the function is, remembered for the last place that was asked for."""
        if not self._known or (self._known[-1][0] != x).any():
            self._known = [*self._known[-1:], (x.copy(), self._function(x))]
            self._corrected()
        return self._known[-1][1]

    def _corrected(self) -> None:
        if self.slopes is None or len(self._known) < 2:
            return
        (before, was), (x, now) = self._known
        step = x - before
        self.slopes = self.slopes + np.outer(now - was - self.slopes @ step, step) / (step @ step)

    def at(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its slopes, (values, numbers)."""
        if self.slopes is None:
            here, columns = self(x), []
            for k, value in enumerate(x):
                step = TRIED * value if value * (1.0 + TRIED) <= self._high[k] else -TRIED * value
                other = x.copy()
                other[k] += step
                columns.append((self._function(other) - here) / step)
            self.slopes = np.stack(columns, axis=1)
        return self.slopes


def _off_chain(fractions: Float[Tensor, "n 4 *size"]) -> float:
    """How much of the tissue is not where the chain has it: not a mixture of two neighbours."""
    moved = (fractions - mixtures(brightness_of(fractions))).abs().sum() / 2.0
    return float(moved / fractions[:, :-1].sum().clamp_min(1e-12))


def _chain(made: Float[Tensor, " voxels"], wanted: Float[Tensor, " originals"]) -> Float[Tensor, " knots"]:
    """The chain that distributes brightness as wanted between mixtures of two halves, which stay.

    Args:
        made: brightness of brains as they are, in any order.
        wanted: the originals', ascending.
    """
    both = np.sort(made.numpy()), wanted.numpy()
    ends = [np.searchsorted(v, (-np.inf, 0.5, 1.5, 2.5, np.inf)) for v in both]
    chain = np.empty(len(CHANNELS) * CHAIN_STEPS + 1, np.float32)
    for k in range(len(CHANNELS)):
        own, goal = (v[e[k] : e[k + 1]] for v, e in zip(both, ends, strict=True))
        part = chain[k * CHAIN_STEPS : (k + 1) * CHAIN_STEPS + 1]
        part[:] = chain_brightness(k)
        if len(own) and len(goal):
            if k == 0:  # as many voxels from the outline on: how large the box is does not matter
                goal = goal[np.clip(np.arange(len(own)) + len(goal) - len(own), 0, len(goal) - 1)]
            else:
                ranks = np.linspace(0.0, len(goal) - 1.0, len(own))
                goal = np.interp(ranks, np.arange(len(goal)), goal)
            knots = chain_knots(torch.from_numpy(own)).round().long().numpy() - k * CHAIN_STEPS
            voxels = np.bincount(knots, minlength=len(part))
            means = np.bincount(knots, goal, len(part)) / np.maximum(voxels, 1)
            known = [0, *(np.flatnonzero(voxels[1:-1]) + 1), len(part) - 1]
            means[[0, -1]] = part[[0, -1]]
            part[:] = np.maximum.accumulate(np.interp(np.arange(len(part)), known, means[known]))
    return torch.from_numpy(chain)


def _step(now: Tensor, wanted: Tensor, knot: Tensor, count: int) -> Float[Tensor, " knots"]:
    """Logarithms of the factors from what fractions are to what they should be, where there are any; elsewhere what
    lies between. A factor on one fraction, before all are made to sum to what they did, is one on its odds."""
    people = np.bincount(knot.numpy(), minlength=count)
    there = np.flatnonzero(people)

    def odds(values: Tensor) -> NDArray[np.float64]:
        mean = np.bincount(knot.numpy(), values.double().numpy(), count)[there] / people[there]
        return np.asarray((mean + _TRACE) / (1.0 - mean + _TRACE))

    everywhere = np.interp(np.arange(count), there, np.log(odds(wanted) / odds(now)))
    return torch.from_numpy(everywhere).float().clamp(-LARGEST_STEP, LARGEST_STEP)


def _rising(curve: Float[Tensor, " knots"], knot: Tensor) -> Float[Tensor, " knots"]:
    """The nearest curve with which greater odds never become less, within its bounds (isotonic regression, every
    knot with the weight of its voxels)."""
    odds = np.linspace(-CURVE_ENDS, CURVE_ENDS, len(curve))
    people = np.bincount(knot.numpy(), minlength=len(curve)) + 1e-3
    found = isotonic_regression(odds + curve.double().numpy(), sample_weight=people) - odds
    return torch.from_numpy(found).float().clamp(-LARGEST, LARGEST)


def packed(maps: Float[Tensor, "n c i j k"]) -> NDArray[np.uint8]:
    """Tissues alone, 255 for 1."""
    return pack_maps(maps[:, : len(TISSUES)].numpy())


def texture_of(images: NDArray[np.uint8]) -> dict[str, float]:
    """How crisp brains are.

    `detail_wm`, …: mean square of what a fraction differs by from the mean of its six neighbours, over that of all
    brain; `detail2_wm`, …: the same with those two voxels away. `alone_wm`, …: of the voxels that are mostly of a
    tissue, the share that is of it alone. `mixed`: how much of the brain lies in mixed voxels, 1 − Σ p² over tissues
    and background, summed, over all tissue.

    Args:
        images: (people, 3, i, j, k), 255 for 1.
    """
    detail, alone, mixed, tissue = np.zeros((2, len(TISSUES))), np.zeros((2, len(TISSUES))), 0.0, 0.0
    for one in images:
        shares = torch.from_numpy(one).float() / 255.0
        for n, d in enumerate(DISTANCES):
            around = sum((shares.roll(s, a) for a in (1, 2, 3) for s in (d, -d)), torch.zeros(())) / 6.0
            detail[n] += (shares - around).square().sum(dim=(1, 2, 3)).double().numpy()
        alone += [[int((t >= limit).sum()) for t in one] for limit in (ALONE, 128)]
        inside = shares.sum(dim=0)
        mixed += float((1.0 - shares.square().sum(dim=0) - (1.0 - inside).square()).sum())
        tissue += float(inside.sum())
    out: dict[str, float] = {}
    for name, values in zip(("detail", "detail2"), detail, strict=True):
        out |= {f"{name}_{t}": float(v) for t, v in zip(TISSUES, values / max(tissue, 1.0), strict=True)}
    share = alone[0] / np.maximum(alone[1], 1.0)
    out |= {f"alone_{t}": float(v) for t, v in zip(TISSUES, share, strict=True)}
    return out | {"mixed": mixed / max(tissue, 1.0)}
