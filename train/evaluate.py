"""How well a pack's brains fit people that training never saw, beside other models and plain regressions.

The paper's Tables I to III for the pack's CSegSynth, every model that lies with it for comparison and every
regression that travels with it, and what the paper leaves out: paired tests, regions, memorisation and, on virtual
cohorts, the best that any predictor could do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from scipy.ndimage import sobel
from tqdm import tqdm

from csegsynth_core import grid, metrics
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.schema import Parsed
from csegsynth_core.data.simulate.achievable import best_volumes
from csegsynth_core.errors import TableError
from csegsynth_core.generate import encode, generate, generate_one
from csegsynth_core.models.family import WHOLE
from csegsynth_core.pack import Pack, models_of
from csegsynth_core.regions import region_table, region_volumes_ml
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train import artefacts, baselines, images
from train.extractors import OWN, Features
from train.memorisation import Memory
from train.people import person_key

logger = logging.getLogger(__name__)

DRAWS = 16
REGION_DRAWS = 4
"""How many of them have their regions read."""
TOGETHER = 4
"""Draws that are made at once."""
FEWEST = 6
"""People: floors compare halves, and a metric needs three brains of each."""
EVALUATION_SEED = 2026
AGES = (25.0, 75.0)
NOT_RECORDED = "not recorded"
"""Minutes of calibration of packs that were made before they were counted."""


def people_of(pack: Pack, cohort: Cohort, split: Literal["test", "all"]) -> Parsed:
    """The people to measure on, with their features checked by the pack's schema.

    Args:
        split: `test`: those that were kept aside when the pack was trained, found in its own cohort by their keys.
            `all`: everybody of the cohort who has features.

    Raises:
        TableError: the cohort has no features, or none of the people kept aside.
    """
    if cohort.features is None:
        raise TableError(f"cohort {cohort.folder} has no features", expected="participants.tsv with features")
    wanted = set(pack.about["people"]["validation"])
    known = cohort.features.notna().any(axis=1)
    ids = [i for i in cohort.ids if (person_key(i) in wanted if split == "test" else known[i])]
    if len(ids) < FEWEST:
        test = split == "test"
        who = "of the people kept aside when the pack was trained" if test else "people with features"
        raise TableError(
            f"too few people of {cohort.folder} to measure on",
            expected=f"{FEWEST} {who} or more",
            got=str(len(ids)),
            fix="give the cohort that the pack was trained on, or use --split all"
            if test
            else "give a larger cohort",
        )
    found = cohort.features.loc[ids].reset_index()
    unknown = [c for c in found.columns[1:] if c not in pack.schema.names]
    if unknown:
        logger.warning("columns that pack %s does not know are left out: %s", pack.name, ", ".join(unknown))
    return pack.schema.validate(found, source="participants.tsv", extra="ignore")


def seen_by(pack: Pack) -> set[str]:
    """Keys of everybody whose brain training looked at, with or without features."""
    people = pack.about["people"]
    return {*people["train"], *people.get("images_only", [])}


def _flagged(pack: Pack, people: Parsed) -> dict[str, dict[str, int]]:
    """Feature → what was done with it or is unusual → for how many people; features without any are left out."""
    flags = pack.encoder.encode(people).flags
    kinds = flags.map(lambda said: str(said).split(" (")[0])
    counts = {str(name): kinds[name][kinds[name] != ""].value_counts() for name in kinds}
    found = {name: {str(k): int(v) for k, v in count.items()} for name, count in counts.items() if len(count)}
    for name, count in found.items():
        if count.get("imputed", 0) > len(people) / 2:
            logger.warning("%s was filled in for %d of %d people", name, count["imputed"], len(people))
    return found


def expected_inside(draws: int = DRAWS, people: int = 20_000, seed: int = 0) -> float:
    """Share of people between the 5th and 95th percentile of few draws that spread exactly as they do.

    Percentiles of few draws lie nearer to the middle than the distribution's: of 16 in opposite pairs 0.82, not 0.90.
    """
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((people, (draws + 1) // 2))
    low, high = np.percentile(np.concatenate([half, -half], axis=1)[:, :draws], [5, 95], axis=1)
    own = rng.standard_normal(people)
    return float(np.mean((own >= low) & (own <= high)))


def regressions_of(pack: Pack, kind: str = "") -> dict[str, baselines.Coefficients]:
    """The regressions that travel with the pack.

    Args:
        kind: default those of tissues; `baselines.REGIONS_KIND`: of regions, empty in packs that lack them.

    Raises:
        PackError: the file is missing or damaged.
    """
    return baselines.from_tensors(load(pack.payload("regressions.safetensors")), kind)


def real_regions(
    cohort: Cohort, ids: Sequence[str], *, what: str = "real regions", progress: bool = False
) -> NDArray[np.float64]:
    """Volumes of regions of real people, (people, regions) in mL, a brain at a time.

    The parcellation network reads them off the people's prepared maps, as it reads generated ones; they are not the
    volumes of anatomical labels.
    """
    bar = tqdm(ids, desc=what, unit="person", disable=not progress)
    return np.asarray([list(region_table(cohort.maps(i)).values()) for i in bar])


@dataclass(frozen=True)
class Drawn:
    """Brains of some people by one model."""

    volumes: NDArray[np.float64]
    """(people, draws, 3) mL."""
    regions: NDArray[np.float64]
    """(people, `REGION_DRAWS`, regions) mL, as the parcellation network reads them."""
    typical: NDArray[np.float64]
    """(people, 3) mL of the brain without noise."""
    maps: images.Packed
    """Each person's first draw."""
    seconds: float
    """Of one whole brain."""


@torch.inference_mode()
def draw_brains(
    pack: Pack, people: Parsed, *, draws: int, seed: int, what: str = "brains", progress: bool = True
) -> Drawn:
    """Draw brains of people; everybody has draws of their own, in pairs ẑ, −ẑ (antithetic variates).

    The first `REGION_DRAWS` are made whole and their regions read. For the volumes of the others every second voxel
    along each axis is enough where the model can leave the rest out, every few from another first voxel: an eighth
    of the work, and less than 0.2 % of a mean volume.
    """
    encoded = encode(pack, _frame(people))
    model = pack.model
    numbers, parts, typical, maps, seconds = [], [], [], [], 0.0
    for row, x in enumerate(tqdm(encoded.x, desc=what, unit="person", disable=not progress)):
        y = torch.from_numpy(x[None])
        half = model.draw((draws + 1) // 2, seed + 1 + row)
        z = torch.stack([half, -half], dim=1).flatten(0, 1)[:draws]
        began = time.perf_counter()
        typical.append(volumes_ml(model(y, model.draw(1, 0)))[0, : len(TISSUES)])
        seconds += time.perf_counter() - began
        own, regions = [], []
        for d in range(0, draws, TOGETHER):
            some = z[d : d + TOGETHER]
            many = y.expand(len(some), -1)
            coarse = d >= REGION_DRAWS and 2 in model.resolutions
            made = model(many, some, 2, _offset(d // TOGETHER)) if coarse else model(many, some)
            own.append(volumes_ml(made, 2 if coarse else 1)[:, : len(TISSUES)])
            if d < REGION_DRAWS:
                regions.append(region_volumes_ml(made))
            if d == 0:
                inside = made[(..., *grid.BOX)] if model.region == WHOLE else made
                maps.append(images.pack_maps(inside[0, : len(TISSUES)].numpy()))
        numbers.append(torch.cat(own))
        parts.append(torch.cat(regions)[:REGION_DRAWS])
    return Drawn(
        volumes=torch.stack(numbers).double().numpy(),
        regions=torch.stack(parts).double().numpy(),
        typical=torch.stack(typical).double().numpy(),
        maps=np.stack(maps),
        seconds=seconds / len(maps),
    )


def evaluate(
    pack: Pack,
    cohort: Cohort,
    split: Literal["test", "all"] = "test",
    *,
    seed: int = EVALUATION_SEED,
    features: Features | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Everything that a pack's `metrics.json` and card say (paper, Tables I to III).

    Volumes: a generative model's name alone is the mean over `DRAWS` latent draws; `…_single_draw` one draw;
    `csegsynth_typical` the brain without noise. Regions are read off generated maps (means over `REGION_DRAWS`) and
    compared with the same network's reading of the real maps (`real_regions`); regressions of regions were fitted to
    this network's reading of the training people's real maps, and packs without them have generative models alone
    there. Images: one draw of each person against the same people's real maps; `floors` says what real people score
    against other real people.

    Args:
        features: what FID looks at; default our own extractor.

    Returns:
        `cohort`, `split`, `n`, `n_trained_on` (how many of these people training saw, recognised by their ids
        alone), `volumes`, `regions`, `paired`, `paired_regions` (as `paired`, for regions: method → region →
        `difference_ml`, `low`, `high`, `p`, not corrected for their number), `images`, `floors`, and beside them
        `memorisation` (where the cohort holds the training people),
        `achievable` (virtual cohorts), `models` (size and training of each), `extractors`, `ageing` (the same people
        at two ages), `sharpness` (gradient energy of generated over real maps), `energy_at_2_and_4_voxels` (of
        repeating patterns, generated over real maps), `left_right_asymmetry` (also of the real maps),
        `beats_training_mean` (generative models: paired difference of absolute error to that of predicting the
        training people's mean, and whether it is below 0), `floor_people` (how many are compared with how many for
        the floor), `floors_of_halves` (as measured, where `floors` are rescaled from halves to all people, see
        `train.images.rescaled`), `influence` (mL that each feature can move), `spread_over_draws_ml`,
        `inside_90_percent_of_draws` beside `inside_expected`, `flagged_features`
        (filled in, out of range or rare: feature → flag → people), `seconds` and `parameters`.
    """
    started, seen_people = time.perf_counter(), seen_by(pack)
    people = people_of(pack, cohort, split)
    true = cohort.volumes_ml.loc[people.ids].to_numpy(float)
    real_parts = real_regions(cohort, people.ids, progress=progress)
    models = models_of(pack)
    seen = _Images(pack, cohort, people, features or Features(), seed)
    predicted: dict[str, NDArray[np.float64]] = {}
    predicted_parts: dict[str, NDArray[np.float64]] = {}
    about: dict[str, Any] = {}
    spread, inside, sharp, repeating = {}, {}, {}, {}
    real_energies = artefacts.energies(seen.real.maps)
    halves = {"real": artefacts.asymmetry(seen.real.maps)}
    for name, one in models.items():
        drawn = draw_brains(one, people, draws=DRAWS, seed=seed, what=name, progress=progress)
        predicted[name] = drawn.volumes.mean(axis=1)
        if name == "csegsynth":
            predicted[f"{name}_typical"] = drawn.typical
        predicted[f"{name}_single_draw"] = drawn.volumes[:, 0]
        predicted_parts[name] = drawn.regions.mean(axis=1)
        spread[name] = {t: float(drawn.volumes[:, :, k].std(axis=1).mean()) for k, t in enumerate(TISSUES)}
        inside[name] = _inside(drawn.volumes, true)
        sharp[name] = sharpness(drawn.maps, seen.real.maps)
        repeating[name] = artefacts.spectrum(artefacts.energies(drawn.maps), real_energies)
        halves[name] = artefacts.asymmetry(drawn.maps)
        about[name] = _told(one, drawn.seconds)
        seen.add(name, drawn.maps)
        logger.debug("%s measured after %.0f s", name, time.perf_counter() - started)
    x = pack.encoder.encode(people).x.astype(float)
    fitted = regressions_of(pack)
    mean = np.asarray([pack.about["people"]["mean_ml"][t] for t in TISSUES])
    predicted |= {m: baselines.predict(m, fitted[m], x) for m in baselines.METHODS}
    predicted[baselines.MEAN] = baselines.predict(baselines.MEAN, {"bias": mean}, x)
    predicted_parts |= {
        m: baselines.predict(m, found, x) for m, found in regressions_of(pack, baselines.REGIONS_KIND).items()
    }
    volumes = {
        method: {t: metrics.scored(ml[:, k], true[:, k]) for k, t in enumerate(TISSUES)}
        for method, ml in predicted.items()
    }
    own, own_parts = predicted["csegsynth"], predicted_parts["csegsynth"]
    out = {
        "cohort": cohort.name,
        "split": split,
        "n": len(people),
        "n_train": len(pack.about["people"]["train"]),
        "n_trained_on": sum(person_key(i) in seen_people for i in people.ids),
        "draws": DRAWS,
        "region_draws": min(DRAWS, REGION_DRAWS),
        "volumes": volumes,
        "regions": {
            method: {r.name: metrics.scored(ml[:, k], real_parts[:, k]) for k, r in enumerate(REGIONS)}
            for method, ml in predicted_parts.items()
        },
        "paired": {
            method: {t: metrics.paired(own[:, k], ml[:, k], true[:, k]) for k, t in enumerate(TISSUES)}
            for method, ml in predicted.items()
            if method not in ("csegsynth", "csegsynth_typical") and not method.endswith("_single_draw")
        },
        "paired_regions": {
            method: {
                r.name: metrics.paired(own_parts[:, k], ml[:, k], real_parts[:, k])
                for k, r in enumerate(REGIONS)
            }
            for method, ml in predicted_parts.items()
            if method != "csegsynth"
        },
        "beats_training_mean": {
            name: {
                t: _beaten(
                    metrics.paired(predicted[name][:, k], predicted["training_mean"][:, k], true[:, k])
                )
                for k, t in enumerate(TISSUES)
            }
            for name in models
        },
        "images": seen.tables,
        **seen.floors(),
        "extractors": _eyes(seen.features, people),
        "memorisation": seen.memory.rows if seen.memory else {},
        "achievable": _achievable(cohort, people, predicted, true),
        "models": about,
        "mape_over_ridge": {
            t: volumes["csegsynth"][t]["mape"]["value"] / volumes["ridge"][t]["mape"]["value"]
            for t in TISSUES
        },
        "spread_over_draws_ml": spread,
        "inside_90_percent_of_draws": inside,
        "inside_expected": round(expected_inside(), 3),
        "flagged_features": _flagged(pack, people),
        "ageing": ageing(pack),
        "sharpness": sharp,
        "energy_at_2_and_4_voxels": repeating,
        "left_right_asymmetry": halves,
        "influence": influence(pack),
        "parameters": pack.model.generating_parameters(),
    }
    return {k: v for k, v in out.items() if v != {}} | {"seconds": round(time.perf_counter() - started, 1)}


class _Images:
    """Table I and memorisation, a model at a time, so that few models' maps are in memory."""

    def __init__(self, pack: Pack, cohort: Cohort, people: Parsed, features: Features, seed: int) -> None:
        self.features, self.cohort = features, cohort
        self.rng = np.random.default_rng(seed)
        self.real = images.describe(images.packed_of(cohort, people.ids), features)
        self.tables: dict[str, Any] = {}
        keys = seen_by(pack)
        training = [i for i in cohort.ids if person_key(i) in keys]
        self.others = [i for i in training if i not in set(people.ids)]
        self.memory = None
        if len(training) == len(keys) > 2:
            kept = [k for k, i in enumerate(people.ids) if person_key(i) not in keys]
            self.memory = Memory(self.real.maps[kept], images.packed_of(cohort, training))

    def add(self, name: str, maps: images.Packed) -> None:
        """Measure a model's brains."""
        self.tables[name] = images.compare(images.describe(maps, self.features), self.real)
        if self.memory:
            self.memory.add(name, maps)

    def floors(self) -> dict[str, Any]:
        """Other real people against these: as many training people, or where there are too few one half against the
        other, rescaled to as many people as models are compared on.

        Returns:
            `floors`, `floor_people` and, of halves, `floors_of_halves` as measured.
        """
        count = len(self.real)
        if len(self.others) >= count:
            pool = self.rng.choice(self.others, min(len(self.others), images.POOL * count), replace=False)
            other = images.describe(images.packed_of(self.cohort, list(pool)), self.features)
            sets = [
                (other.some(self.rng.choice(len(pool), count, replace=False)), self.real)
                for _ in range(images.FLOORS)
            ]
            return {"floors": images.floors(sets), "floor_people": [count, count]}
        half, orders = count // 2, [self.rng.permutation(count) for _ in range(images.FLOORS)]
        measured = images.floors(
            [(self.real.some(order[:half]), self.real.some(order[half : 2 * half])) for order in orders]
        )
        return {
            "floors": images.rescaled(measured, half, count),
            "floor_people": [half, half],
            "floors_of_halves": measured,
        }


def _beaten(difference: dict[str, Any]) -> dict[str, Any]:
    """Whether a paired difference is below 0 with its whole interval."""
    return difference | {"beats": difference["high"] is not None and difference["high"] < 0.0}


def _eyes(features: Features, people: Parsed) -> dict[str, str]:
    """What each FID looks at, and how many of these people's maps it was trained on."""
    saw = sum(person_key(i) in features.saw for i in people.ids)
    more = f"; trained on maps of {saw} of these {len(people)} people, among others" if saw else ""
    return {k: v + more * v.startswith(OWN) for k, v in features.names.items()}


def _told(pack: Pack, seconds: float) -> dict[str, Any]:
    """What a model is and how it was made, as its pack says, and seconds per brain here.

    `steps` are those of both steps of training; `calibration_minutes` only where there was a calibration after it.
    """
    said = dict(pack.about.get("training", {}))
    if "seconds" in said:
        said["training_minutes"] = round(said.pop("seconds") / 60, 1)
    if "pretraining_seconds" in said:
        said["pretraining_minutes"] = round(said.pop("pretraining_seconds") / 60, 1)
    steps = said.pop("steps", pack.about.get("steps", ""))
    if "pretraining_steps" in said:
        said["finetuning_steps"] = steps
        steps += said["pretraining_steps"]
    else:  # both in one run, or no such steps at all
        stages = pack.about.get("run", {}).get("stages", [])
        done = said.pop("stage_steps", None)
        if done is None and steps and sum(int(s["steps"]) for s in stages) == steps:
            done = [int(s["steps"]) for s in stages]  # none was cut short
        if done and any(s["kind"] == "pretrain" for s in stages):
            before = sum(
                n for n, s in zip(done, stages, strict=True) if s["kind"] in ("autoencoder", "pretrain")
            )
            said |= {"pretraining_steps": before, "finetuning_steps": sum(done) - before}
    said.pop("stage_steps", None)
    if pack.model.family == "csegsynth" and pack.about.get("noise"):
        said.setdefault("calibration_minutes", NOT_RECORDED)
    size = sum(p.stat().st_size for p in pack.folder.iterdir() if p.name == "weights.safetensors")
    return {
        "people": len(pack.about["people"]["train"]),
        "steps": steps,
        **said,
        "parameters": pack.model.generating_parameters(),
        "weights_mb": round(size / 1e6, 1),
        "seconds_per_brain": round(seconds, 3),
    }


def _inside(draws: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """Share of people whose volume lies between the 5th and 95th percentile of their draws."""
    low, high = np.percentile(draws, [5, 95], axis=1)
    return {
        t: float(np.mean((true[:, k] >= low[:, k]) & (true[:, k] <= high[:, k])))
        for k, t in enumerate(TISSUES)
    }


def _achievable(
    cohort: Cohort,
    people: Parsed,
    predicted: Mapping[str, NDArray[np.float64]],
    true: NDArray[np.float64],
) -> dict[str, Any]:
    """Absolute errors over those of the best possible predictor; nothing for a cohort without known truth."""
    if not cohort.simulated:
        return {}
    try:
        best = best_volumes(people.ids)[list(TISSUES)].to_numpy(float)
    except TableError:  # simulated by something else
        return {}
    out: dict[str, Any] = {
        "best_achievable": {
            t: {"mae_ml": metrics.scored(best[:, k], true[:, k])["mae_ml"]} for k, t in enumerate(TISSUES)
        }
    }
    for method, ml in predicted.items():
        out[method] = {
            t: {"mae_ratio": metrics.ratio_of_errors(ml[:, k], best[:, k], true[:, k])}
            for k, t in enumerate(TISSUES)
        }
    return out


def _offset(draw: int) -> tuple[int, int, int]:
    """The eight first voxels in turn."""
    return draw >> 2 & 1, draw >> 1 & 1, draw & 1


def ageing(pack: Pack) -> dict[str, Any]:
    """The typical woman and man at two ages, all else equal, no noise: volumes and ventricles in mL."""
    out: dict[str, Any] = {"ages": list(AGES)}
    if pack.schema.age is None:
        return out
    sexes: list[str | None] = list(pack.schema.sex.levels) if pack.schema.sex else [None]
    for sex in sexes:
        person = pack.encoder.default_person(sex=sex)
        rows = []
        for age in AGES:
            brain = generate_one(pack, person | {pack.schema.age.name: age}, seed=0)
            rows.append({**brain.volumes_ml, "ventricles": region_table(brain.maps)["ventricles"]})
        out[sex or "all"] = {key: [round(r[key], 2) for r in rows] for key in rows[0]}
    return out


def gradient_energy(maps: NDArray[np.float32]) -> float:
    """Mean squared Sobel gradient of the tissue maps inside the brain: how crisp they are."""
    brain = maps[:3].sum(axis=0) > 0.5
    energy = sum(sobel(m, axis=a) ** 2 for m in maps[:3] for a in range(3))
    return float(np.mean(energy[brain]))


def sharpness(made: images.Packed, real: images.Packed, count: int = 10) -> float:
    """Gradient energy of generated brains over that of the same people's real maps (the first `count`)."""
    energies = [
        np.mean([gradient_energy(one.astype(np.float32) / 255.0) for one in some[:count]])
        for some in (made, real)
    ]
    return float(energies[0] / energies[1])


def influence(pack: Pack) -> dict[str, dict[str, float]]:
    """For each feature the largest change in mL between its values, all else typical: it must not be ignored."""
    typical = pack.encoder.default_person()
    out: dict[str, dict[str, float]] = {}
    for name, control in pack.encoder.ranges().items():
        values: list[Any] = (
            [v for v in control.levels if v not in control.rare]
            if control.levels
            else [pack.encoder.numeric[name].centile1, pack.encoder.numeric[name].centile99]
        )
        people = pd.DataFrame([typical | {name: v} for v in values])
        found = np.array([list(b.volumes_ml.values()) for b in generate(pack, people, seed=0)])
        out[name] = {t: round(float(np.ptp(found[:, k])), 2) for k, t in enumerate(TISSUES)}
    return out


def _frame(people: Parsed) -> pd.DataFrame:
    frame = people.raw.copy()
    frame.index.name = "participant_id"
    return frame.reset_index()
