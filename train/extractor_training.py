"""Training of our own feature extractor (`train.extractor_network`) on the training people of prepared cohorts.

Its networks see one tissue of one brain, whole or degraded, and learn to tell what is wrong with it and how much
(`train.degrade`), the tissue, the person's age and sex, and the place of the slice or block: coarse and fine at once.
A network that is trained for anatomy alone hardly minds when gyri are blurred, which people do. No generated brain is
shown to it, nor anybody who is kept aside with the same share and seed. Its record has the keys of the people it
saw, so that tables can say how many of those they measure on are among them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import write_text
from csegsynth_core.tissue import TISSUES
from train.degrade import KINDS, degrade
from train.extractor_network import FeatureExtractor
from train.people import gather, person_key
from train.small_networks import descend, save_network

logger = logging.getLogger(__name__)

RATE: Final = 2e-3
BATCH: Final = {2: 48, 3: 12}
BLOCK: Final = (48, 56, 48)
"""Voxels of the blocks that the network of volumes is trained on."""
WHOLE: Final = 0.2
"""Share of pictures that nothing is done to."""
AGE: Final = (50.0, 18.0)
"""Years that stand for 0, and for 1 more."""


@dataclass(frozen=True)
class Seen:
    """People to learn from, or to be measured on."""

    cohort: Cohort
    rows: NDArray[np.int64]
    known: NDArray[np.float32]
    """(rows, 2): age and sex (±1), NaN where unknown."""


def train_extractor(
    cohorts: Sequence[Path],
    out: Path,
    about: dict[str, str],
    *,
    steps: tuple[int, int] = (1500, 500),
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train both networks, measure them on people kept aside, and write them.

    Args:
        about: `attribution` and `licence` of the brains.
        steps: of gradient descent, for the networks of slices and of volumes.

    Returns:
        What `extractor.json` says.
    """
    opened = [gather(Cohort.open(folder), grid.BOX, 0.2, 0, features_needed=False) for folder in cohorts]
    learn, keep = [], []
    for people in opened:
        age_and_sex = _age_and_sex(people)
        for rows, where in (
            (np.concatenate([people.train, people.images_only]), learn),
            (people.validation, keep),
        ):
            where.append(Seen(people.cohort, rows, age_and_sex[rows]))
    weights, measured = {}, {}
    for name, dimensions, count in (("slices", 2, steps[0]), ("volumes", 3, steps[1])):
        torch.manual_seed(seed)
        model = _train(dimensions, learn, count, np.random.default_rng(seed), progress=progress)
        weights |= {f"{name}.{k}": v for k, v in model.state_dict().items()}
        measured[name] = measure(model, dimensions, keep, np.random.default_rng(seed + 1))
        logger.info("%s: %s", name, measured[name])
    own = {
        "kinds": list(KINDS),
        "n_train": sum(len(one.rows) for one in learn),
        "people": sorted(person_key(one.cohort.ids[r]) for one in learn for r in one.rows),
        "cohorts": [one.cohort.name for one in learn],
        "steps": list(steps),
        "measured": measured,
    }
    record = save_network(out, "extractor", weights, own | about)
    write_text(out / "card.md", card(record))
    return record


def _age_and_sex(people: Any) -> NDArray[np.float32]:
    """(cohort, 2): standardised age, sex −1 or 1; NaN where unknown."""
    out = np.full((len(people.cohort), 2), np.nan, np.float32)
    if people.parsed is None:
        return out
    data, schema = people.parsed.data, people.parsed.schema
    rows = [people.cohort.ids.index(i) for i in people.parsed.ids]
    if schema.age is not None:
        out[rows, 0] = (data[schema.age.name].to_numpy(np.float32) - AGE[0]) / AGE[1]
    if schema.sex is not None:
        said = data[schema.sex.name].astype("string").str.lower().str[:1]
        out[rows, 1] = said.map({"f": -1.0, "m": 1.0}).to_numpy(np.float32, na_value=np.nan)
    return out


def _train(
    dimensions: int, seen: Sequence[Seen], steps: int, rng: np.random.Generator, *, progress: bool
) -> FeatureExtractor:
    model = FeatureExtractor(dimensions)

    def loss() -> Tensor:
        x, wanted = batch(dimensions, seen, BATCH[dimensions], rng)
        return loss_of(model, model(x), wanted)

    descend(model, loss, rate=RATE, steps=steps, progress=progress)
    return model.eval().requires_grad_(False)


def batch(
    dimensions: int, seen: Sequence[Seen], n: int, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures of one tissue each, (n, 1, *size), and what is to be told of them.

    Slices of a batch lie in one plane, so that they have one shape.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    plane = int(rng.integers(3))
    pictures, strengths, tissues, people, places = [], [], [], [], []
    for _ in range(n):
        one = seen[int(rng.choice(len(seen), p=_shares(seen)))]
        at, other = (int(v) for v in rng.integers(len(one.rows), size=2))
        tissue = int(rng.integers(len(TISSUES)))
        cut, place = _cut(dimensions, plane, rng)
        x, somebody = (
            torch.from_numpy(np.array(one.cohort.packed[int(one.rows[r])][(tissue, *cut)])).float()[None]
            / 255
            for r in (at, other)
        )
        told = torch.zeros(len(KINDS))
        if rng.random() >= WHOLE:
            kind, strength = int(rng.integers(len(KINDS))), float(rng.random())
            x = degrade(KINDS[kind], x, strength, somebody)
            told[kind] = strength
        pictures.append(x)
        strengths.append(told)
        tissues.append(tissue)
        people.append(torch.from_numpy(one.known[at]))
        places.append(torch.tensor(place))
    return torch.stack(pictures), {
        "degraded": torch.stack(strengths),
        "tissue": torch.tensor(tissues),
        "person": torch.stack(people),
        "place": torch.stack(places),
    }


def _shares(seen: Sequence[Seen]) -> NDArray[np.float64]:
    """Cohorts alike, but for those with nobody."""
    some = np.asarray([bool(len(one.rows)) for one in seen], float)
    return np.asarray(some / some.sum())


def _cut(
    dimensions: int, plane: int, rng: np.random.Generator
) -> tuple[tuple[slice | int, ...], list[float]]:
    """Where a picture is taken from, and that place as numbers from −1 to 1."""
    size = tuple(s.stop - s.start for s in grid.BOX)
    if dimensions == 2:
        at = int(rng.integers(size[plane]))
        cut = tuple(at if axis == plane else slice(None) for axis in range(3))
        return cut, [2.0 * at / (size[plane] - 1) - 1.0, float(plane) - 1.0]
    first = [int(rng.integers(s - b + 1)) for s, b in zip(size, BLOCK, strict=True)]
    cut = tuple(slice(f, f + b) for f, b in zip(first, BLOCK, strict=True))
    return cut, [2.0 * f / (s - b) - 1.0 for f, s, b in zip(first, size, BLOCK, strict=True)]


def loss_of(model: FeatureExtractor, features: Tensor, wanted: dict[str, Tensor]) -> Tensor:
    """Cross-entropies of strengths and tissue, squared errors of person and place; unknown ones do not count."""
    known = ~wanted["person"].isnan()
    person = (model.person(features) - wanted["person"].nan_to_num()).square()
    return (
        len(KINDS) * F.binary_cross_entropy_with_logits(model.degraded(features), wanted["degraded"])
        + F.cross_entropy(model.tissue(features), wanted["tissue"])
        + (person * known).sum() / known.sum().clamp_min(1)
        + (model.place(features) - wanted["place"]).square().mean()
    )


@torch.inference_mode()
def measure(
    model: FeatureExtractor, dimensions: int, seen: Sequence[Seen], rng: np.random.Generator
) -> dict[str, Any]:
    """What the network tells of pictures of people it never saw.

    Returns:
        `tissue`: share told rightly; correlations of `age`, `place` and of each kind's strength with what is told,
        over pictures that it was done to or nothing was.
    """
    told: dict[str, list[Tensor]] = {}
    for _ in range(12):
        x, wanted = batch(dimensions, seen, 32, rng)
        features = model(x)
        for name, values in wanted.items():
            told.setdefault(name, []).append(values)
            told.setdefault(f"{name}_told", []).append(getattr(model, name)(features))
    all_of = {k: torch.cat(v) for k, v in told.items()}
    whole = all_of["degraded"].sum(dim=1) == 0
    right = all_of["tissue_told"].argmax(dim=1) == all_of["tissue"]
    out: dict[str, Any] = {"tissue": round(float(right.float().mean()), 3)}
    out["age"] = _correlation(all_of["person_told"][:, 0], all_of["person"][:, 0])
    out["place"] = _correlation(all_of["place_told"][:, 0], all_of["place"][:, 0])
    for k, kind in enumerate(KINDS):
        some = whole | (all_of["degraded"][:, k] > 0)
        out[kind] = _correlation(all_of["degraded_told"][some, k].sigmoid(), all_of["degraded"][some, k])
    return out


def _correlation(one: Tensor, other: Tensor) -> float | None:
    some = ~(one.isnan() | other.isnan())
    if int(some.sum()) < 3:
        return None
    return round(float(torch.corrcoef(torch.stack([one[some], other[some]]))[0, 1]), 3)


def card(record: dict[str, Any]) -> str:
    """The networks' card, Markdown."""
    measured, again = record["measured"], " ".join(map(str, record["steps"]))
    names = {"tissue": "tissue told rightly (share)", "age": "age (r)", "place": "place (r)"}
    rows = "\n".join(
        f"| {names.get(k, f'{k}: strength (r)')} | {measured['slices'][k]} | {measured['volumes'][k]} |"
        for k in measured["slices"]
    )
    return f"""# Feature extractor

What 2D-FID and 3D-FID of our tables look at where no pre-trained weights are given: two small networks of single
tissue maps at 2 mm, trained to tell what was done to a picture and how strongly, the tissue, the person's age and
sex, and the place. {record["steps"][0]} and {record["steps"][1]} steps on {record["n_train"]} training people of
{" and ".join(record["cohorts"])}; no generated brain. Measured on pictures of people they never saw:

| | slices | volumes |
|---|---|---|
{rows}

FIDs through it can be compared with each other and with the floor of real people, not with other papers'.

Attribution: {record["attribution"]}
Licence: {record["licence"]}.

Again: `python -m train extractor --cohort DIR --cohort DIR --out FOLDER --steps {again}`
"""
