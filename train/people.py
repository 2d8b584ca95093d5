"""Who is trained on and who is kept aside, and batches of their maps."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Parsed, Schema
from csegsynth_core.errors import TableError
from csegsynth_core.models.csegsynth import Offset, Region

logger = logging.getLogger(__name__)

FEWEST = 5
"""People without whom there is nothing to train on."""


@dataclass(frozen=True)
class People:
    """A cohort made ready for training."""

    cohort: Cohort
    parsed: Parsed | None
    """All people with features; None where there are none."""
    encoder: Encoder | None
    """Fitted to the training people alone; None where there are no features."""
    train: NDArray[np.int64]
    """Rows of the cohort: people with features that are trained on."""
    validation: NDArray[np.int64]
    """Rows that training never sees."""
    images_only: NDArray[np.int64]
    """Rows without features, used for pre-training."""
    features: Tensor
    """(people, width) encoded features; zeros for people without any."""
    volumes_ml: Tensor
    """(people, 4): WM, GM, CSF and background of the region, mL."""


def person_key(participant_id: str) -> str:
    """What stands for a person in a pack: enough to recognise them in the cohort, no name."""
    return hashlib.sha256(participant_id.encode()).hexdigest()[:16]


def split(parsed: Parsed, fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Identifiers of training and validation people, alike in age and sex.

    People are sorted by sex and age and one of every 1/fraction neighbours is drawn for validation.
    """
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(index=parsed.data.index)
    for role in (parsed.schema.sex, parsed.schema.age):
        table[role.name if role else "none"] = parsed.data[role.name] if role else 0
    order = table.sort_values(list(table.columns), kind="stable").index.to_list()
    block = max(2, round(1.0 / fraction))
    held = {b[int(rng.integers(len(b)))] for b in (order[i : i + block] for i in range(0, len(order), block))}
    return [i for i in parsed.ids if i not in held], [i for i in parsed.ids if i in held]


def gather(
    cohort: Cohort, region: Region, fraction: float, seed: int, *, features_needed: bool = True
) -> People:
    """Split the cohort, fit the encoder to the training part and encode everybody.

    Args:
        features_needed: otherwise a cohort without features, or with those of a few people alone, is split by
            chance, for pre-training.

    Raises:
        TableError: the cohort has no features, or too few people.
    """
    if not features_needed:
        told = 0 if cohort.features is None else int(cohort.features.notna().any(axis=1).sum())
        if told < FEWEST or not cohort.participants_json:
            if told:
                logger.warning("features of %d people alone are not looked at: all are split by chance", told)
            return _without_features(cohort, region, fraction, seed)
    if cohort.features is None or not cohort.participants_json:
        raise TableError(
            f"cohort {cohort.folder} has no features",
            expected="participants.tsv with features and participants.json",
            fix="put both beside the scans and run `prepare` again",
        )
    table = cohort.features
    known = table.index[table.notna().any(axis=1)]
    schema = Schema.from_participants_json(cohort.participants_json, table)
    parsed = schema.validate(table.loc[known].reset_index(), source=str(cohort.folder / "participants.tsv"))
    if len(parsed) < FEWEST:
        raise TableError(
            "too few people with features to train on", expected=f"{FEWEST} or more", got=str(len(parsed))
        )
    train_ids, validation_ids = split(parsed, fraction, seed)
    encoder = Encoder.fit(schema, parsed.select(train_ids))
    encoded = encoder.encode(parsed)
    row_of = {participant: row for row, participant in enumerate(cohort.ids)}
    features = torch.zeros(len(cohort), encoder.width)
    for participant, values in zip(parsed.ids, encoded.x, strict=True):
        features[row_of[participant]] = torch.from_numpy(values)
    rows = lambda ids: np.asarray(sorted(row_of[i] for i in ids), np.int64)  # noqa: E731
    return People(
        cohort=cohort,
        parsed=parsed,
        encoder=encoder,
        train=rows(train_ids),
        validation=rows(validation_ids),
        images_only=rows(set(cohort.ids) - set(parsed.ids)),
        features=features,
        volumes_ml=_volumes(cohort, region),
    )


def _volumes(cohort: Cohort, region: Region) -> Float[Tensor, "people 4"]:
    """mL of WM, GM, CSF and of the region's background."""
    tissue = torch.tensor(cohort.volumes_ml.to_numpy(np.float32))
    size = [s.stop - s.start for s in region]
    rest = float(np.prod(size)) * grid.VOXEL_ML - tissue.sum(dim=1, keepdim=True)
    return torch.cat([tissue, rest], dim=1)


def _without_features(cohort: Cohort, region: Region, fraction: float, seed: int) -> People:
    if len(cohort) < FEWEST:
        raise TableError("too few people to train on", expected=f"{FEWEST} or more", got=str(len(cohort)))
    order = np.random.default_rng(seed).permutation(len(cohort))
    held = max(1, round(fraction * len(cohort)))
    nobody = np.asarray([], np.int64)
    return People(
        cohort=cohort,
        parsed=None,
        encoder=None,
        train=nobody,
        validation=np.sort(order[:held]),
        images_only=np.sort(order[held:]),
        features=torch.zeros(len(cohort), 0),
        volumes_ml=_volumes(cohort, region),
    )


def maps_of(
    cohort: Cohort,
    rows: NDArray[np.int64] | list[int],
    region: Region,
    resolution: int,
    offset: Offset = (0, 0, 0),
) -> Float[Tensor, "n 4 i j k"]:
    """Fractions of the people in `rows` inside `region`, background last.

    With `resolution` 2 every second voxel along each axis, from `offset` on.
    """
    packed = torch.from_numpy(np.stack([np.asarray(cohort.packed[int(r)]) for r in rows])).float() / 255.0
    if region != cohort.box:
        whole = torch.zeros(len(rows), packed.shape[1], *grid.SHAPE)
        whole[(slice(None), slice(None), *cohort.box)] = packed
        packed = whole[(slice(None), slice(None), *region)]
    if resolution > 1:
        i, j, k = offset
        packed = packed[..., i::resolution, j::resolution, k::resolution]
    return torch.cat([packed, (1.0 - packed.sum(dim=1, keepdim=True)).clamp_min(0.0)], dim=1)
