"""Features to brains: what every page and command calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from csegsynth_core.data.encoder import Encoded
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.pack import Pack
from csegsynth_core.regions import region_table
from csegsynth_core.side_by_side import TURN
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volume_table, volumes_ml

MAX_SEED = 2**31 - 1
WITHOUT_NOISE = -1
"""Number of the brain of seed 0 beside several draws, see `numbered_draws`."""


@dataclass(frozen=True)
class Brain:
    """One generated brain."""

    participant_id: str
    maps: NDArray[np.float32]
    """(3, 80, 128, 128) fractions of WM, GM and CSF on the grid, in [0, 1], sum ≤ 1."""
    volumes_ml: dict[str, float]
    """mL by tissue."""
    features: dict[str, Any]
    """Natural values that the model saw, after filling in."""
    flags: dict[str, str]
    """What was imputed, out of range or rare, by feature; empty strings left out."""
    seed: int
    """Of the latent draw, 0: no noise. The same person and seed give the same brain, bit for bit."""
    pack_name: str
    pack_hash: str
    draw: int = 0
    """Which of `draws` draws from the seed."""
    draws: int = 1

    @cached_property
    def regions_ml(self) -> dict[str, float]:
        """mL by name of every region of `csegsynth_core.substructures.REGIONS`, read by the parcellation network."""
        return region_table(self.maps)

    @property
    def total_ml(self) -> float:
        """WM + GM + CSF in mL."""
        return float(sum(self.volumes_ml.values()))


def encode(pack: Pack, people: pd.DataFrame | Mapping[str, Any], *, source: str = "person") -> Encoded:
    """Check and encode people's features.

    Args:
        people: a table as from `read_table`, or one person's features by name (None for unknown).

    Raises:
        TableError: unknown column or level, wrong type; names file, row and column.
    """
    if isinstance(people, Mapping):
        people = pd.DataFrame([{k: v for k, v in people.items() if v is not None}])
        if people.shape[1] == 0:
            people = pd.DataFrame([{pack.schema.names[0]: None}])
    return pack.encoder.encode(pack.schema.validate(people, source=source))


def generate(
    pack: Pack,
    people: pd.DataFrame | Mapping[str, Any],
    *,
    seed: int = 0,
    draws: int = 1,
    source: str = "person",
) -> Iterator[Brain]:
    """Generate brains: x̂ = G(P(ẑ | y)), ẑ ~ N(0, I) from `seed` (paper, section IV-C4).

    A single draw with seed 0 takes ẑ = 0, the middle of the distribution: the brain that is typical for these
    features. Everybody gets the same draws, so that differences between brains come from features alone.

    Args:
        draws: brains of each person, one after the other; the draws are those of `over_draws`.

    Raises:
        TableError: see `encode`.
        CSegSynthError: the seed is not a whole number from 0 to 2³¹ − 1, or there is no draw.
    """
    encoded = encode(pack, people, source=source)
    yield from generate_encoded(pack, encoded, range(len(encoded.x)), seed=seed, draws=draws)


def generate_encoded(
    pack: Pack, encoded: Encoded, rows: Iterable[int], *, seed: int = 0, draws: int = 1
) -> Iterator[Brain]:
    """`generate` for some rows of people who are encoded already.

    Raises:
        CSegSynthError: see `generate`.
    """
    z = latent_draws(pack, draws, seed)
    for row in rows:
        participant = encoded.natural.index[row]
        flags = encoded.flags_of(row)
        for draw in range(draws):
            with TURN, torch.inference_mode():
                y = torch.from_numpy(encoded.x[row : row + 1])
                made = pack.model.on_grid(pack.model(y, z[draw : draw + 1]))
                maps = made[0, : len(TISSUES)].clone().numpy()  # not a view, which would keep background
            yield Brain(
                participant_id=str(participant),
                maps=maps,
                volumes_ml=volume_table(maps),
                features={str(k): v for k, v in encoded.natural.iloc[row].items()},
                flags=flags,
                seed=seed,
                pack_name=pack.name,
                pack_hash=pack.hash,
                draw=draw,
                draws=draws,
            )


def latent_draws(pack: Pack, draws: int, seed: int) -> Float[Tensor, "draws latent"]:
    """Latent draws ẑ for any person; always the same for equal arguments.

    Several come in pairs ẑ, −ẑ, whose mean settles sooner (antithetic variates); a single one with seed 0 is 0.

    Raises:
        CSegSynthError: the seed is not a whole number from 0 to 2³¹ − 1, or `draws` is below 1.
    """
    if draws < 1:
        raise CSegSynthError("unusable number of draws", expected="1 or more", got=repr(draws))
    if draws == 1:
        return pack.model.draw(1, _checked_seed(seed))
    half = pack.model.draw(max(2, (draws + 1) // 2), _checked_seed(seed))  # a lone one of seed 0 would be 0
    return torch.stack([half, -half], dim=1).flatten(0, 1)[:draws]


def numbered_draws(pack: Pack, draws: int, seed: int) -> tuple[list[int], Float[Tensor, "some latent"]]:
    """The latent draw that a seed alone stands for, then the others of `latent_draws`, with their numbers.

    Numbers are those of `generate`. Beside several draws of seed 0 the one without noise comes first, as
    `WITHOUT_NOISE`: it is typical, not one of those that differ as people do.

    Raises:
        CSegSynthError: see `latent_draws`.
    """
    z = latent_draws(pack, draws, seed)
    if seed != 0 or draws == 1:
        return list(range(draws)), z
    return [WITHOUT_NOISE, *range(draws)], torch.cat([pack.model.draw(1, 0), z])


def sd_over_draws(values: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Standard deviation over draws as from `latent_draws`; NaN where there is no pair of them.

    In a pair of opposite noise what goes with the noise cancels: the sample standard deviation of few draws is too
    large (√2 of one pair). Here half the squared difference within pairs counts as it is, and what pairs have in
    common varies between pairs.

    Args:
        values: one for each draw along `axis`; a last one without its opposite is left out.
    """
    every = np.moveaxis(np.asarray(values, float), axis, 0)
    pairs = len(every) // 2
    if not pairs:
        return np.full(every.shape[1:], np.nan)
    one, other = every[0 : 2 * pairs : 2], every[1 : 2 * pairs : 2]
    variance = np.square((one - other) / 2).mean(axis=0)
    if pairs > 1:
        variance = variance + ((one + other) / 2).var(axis=0, ddof=1)
    return np.sqrt(variance)


def generate_one(pack: Pack, person: Mapping[str, Any], *, seed: int = 0) -> Brain:
    """`generate` for one person."""
    return next(generate(pack, person, seed=seed))


def mean_brain(pack: Pack, person: Mapping[str, Any], *, draws: int, seed: int = 0) -> Brain:
    """The mean over latent draws of one person's maps: smooth, as a group's average in a template space is.

    Its volumes are the mean draw's. See `generate` for the draws and for what is raised.
    """
    total, first = None, None
    for brain in generate(pack, person, seed=seed, draws=draws):
        first = first or brain
        total = brain.maps.astype(np.float64) if total is None else total + brain.maps
    assert first is not None and total is not None  # noqa: S101 - there is a draw, or `generate` has refused
    maps = (total / draws).astype(np.float32)
    return replace(first, maps=maps, volumes_ml=volume_table(maps))


def volumes_over_draws(
    pack: Pack, people: pd.DataFrame | Mapping[str, Any], *, draws: int = 8, seed: int = 0
) -> NDArray[np.float32]:
    """Volumes in mL of `draws` latent draws of each person, shape (people, draws, 3). See `over_draws`."""
    return over_draws(pack, people, lambda x: volumes_ml(x)[:, : len(TISSUES)], draws=draws, seed=seed)


def over_draws(
    pack: Pack,
    people: pd.DataFrame | Mapping[str, Any],
    measure: Callable[[Tensor], Tensor],
    *,
    draws: int = 8,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Something measured on `draws` latent draws of each person, shape (people, draws, numbers).

    The same `draws` are used for everybody (`latent_draws`). Their spread is the model's, not a prediction interval.

    Args:
        measure: maps inside the model's region (1, 4, i, j, k) → numbers (1, numbers).
    """
    encoded = encode(pack, people)
    z = latent_draws(pack, draws, seed)
    return np.asarray([list(_each_draw(pack, x, z, measure)) for x in encoded.x], np.float32)


def draw_by_draw(
    pack: Pack,
    person: Mapping[str, Any],
    measure: Callable[[Tensor], Tensor],
    *,
    draws: int = 8,
    seed: int = 0,
    start: int = 0,
) -> Iterator[NDArray[np.float32]]:
    """`over_draws` of one person, one draw after the other, (numbers,) each; whoever stops asking stops the work.

    Args:
        start: the first draw wanted; those before it are known already.
    """
    yield from _each_draw(pack, encode(pack, person).x[0], latent_draws(pack, draws, seed)[start:], measure)


def _each_draw(
    pack: Pack,
    x: NDArray[np.float32],
    z: Float[Tensor, "draws latent"],
    measure: Callable[[Tensor], Tensor],
) -> Iterator[NDArray[np.float32]]:
    """Something measured on the brain of each draw, for encoded features (columns,)."""
    y = torch.from_numpy(x[None])
    for d in range(len(z)):
        with TURN, torch.inference_mode():
            found = measure(pack.model(y, z[d : d + 1]))[0].numpy()
        yield found


def _checked_seed(seed: int) -> int:
    if not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) <= MAX_SEED:
        raise CSegSynthError("unusable seed", expected=f"a whole number from 0 to {MAX_SEED}", got=repr(seed))
    return int(seed)
