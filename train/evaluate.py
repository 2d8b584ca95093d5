"""How well a pack's brains fit people that training never saw, beside plain regressions (paper, Tables I to III)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from scipy.ndimage import sobel
from torch import Tensor

from csegsynth_core import metrics
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.schema import Parsed
from csegsynth_core.errors import TableError
from csegsynth_core.generate import generate, generate_one, over_draws
from csegsynth_core.pack import Pack
from csegsynth_core.regions import region_table, region_volumes_ml
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train import baselines
from train.images import image_tables
from train.people import person_key

DRAWS = 16
EVALUATION_SEED = 2026
AGES = (25.0, 75.0)


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
    if len(ids) < 3:
        raise TableError(
            f"too few people of {cohort.folder} to measure on",
            expected="the cohort that the pack was trained on, for split 'test'; 3 people or more",
            got=f"{len(ids)} people",
            fix="give that cohort, or use --split all",
        )
    return pack.schema.validate(cohort.features.loc[ids].reset_index(), source="participants.tsv")


def regressions_of(pack: Pack) -> dict[str, baselines.Coefficients]:
    """The regressions that travel with the pack.

    Raises:
        PackError: they are missing or damaged.
    """
    return baselines.from_tensors(load(pack.payload("regressions.safetensors")))


def evaluate(
    pack: Pack, cohort: Cohort, split: Literal["test", "all"] = "test", *, seed: int = EVALUATION_SEED
) -> dict[str, Any]:
    """Everything that a pack's `metrics.json` and card say (paper, Tables I to III).

    Volumes: `csegsynth` is the mean over `DRAWS` latent draws; `csegsynth_typical` the brain without noise;
    `csegsynth_single_draw` one draw. Regions are read off generated maps and compared with the same network's
    reading of the real maps. Images: one draw of each person against the same people's real maps; `floors`
    says what real people score against other real people.

    Returns:
        `cohort`, `split`, `n`, `volumes`, `regions`, `paired`, `images`, `floors`, and beside them `ageing` (the same
        people at two ages), `sharpness` (gradient energy of generated over real maps), `influence` (mL that each
        feature can move), `spread_over_draws_ml`, `inside_90_percent_of_draws` and `parameters`.
    """
    people = people_of(pack, cohort, split)
    table = _frame(people)
    true = cohort.volumes_ml.loc[people.ids].to_numpy(float)
    both = over_draws(pack, table, _volumes_and_regions, draws=DRAWS, seed=seed).astype(float)
    draws, parts = both[:, :, : len(TISSUES)], both[:, :, len(TISSUES) :].mean(axis=1)
    real_parts = np.asarray([list(region_table(cohort.maps(i)).values()) for i in people.ids])
    typical = np.asarray([list(b.volumes_ml.values()) for b in generate(pack, table, seed=0)])
    mean = np.asarray([pack.about["people"]["mean_ml"][t] for t in TISSUES])
    x = pack.encoder.encode(people).x.astype(float)
    fitted = regressions_of(pack)
    predicted = {
        "csegsynth": draws.mean(axis=1),
        "csegsynth_typical": typical,
        "csegsynth_single_draw": draws[:, 0],
        **{m: baselines.predict(m, fitted[m], x) for m in baselines.METHODS},
        "training_mean": np.repeat(mean[None], len(true), axis=0),
    }
    volumes = {
        method: {t: metrics.scored(ml[:, k], true[:, k]) for k, t in enumerate(TISSUES)}
        for method, ml in predicted.items()
    }
    own = predicted["csegsynth"]
    low, high = np.percentile(draws, [5, 95], axis=1)
    images, floors = image_tables(pack, cohort, people, seed=seed)
    return {
        "cohort": cohort.name,
        "split": split,
        "n": len(people),
        "n_train": len(pack.about["people"]["train"]),
        "draws": DRAWS,
        "volumes": volumes,
        "regions": {
            "csegsynth": {
                r.name: metrics.scored(parts[:, k], real_parts[:, k]) for k, r in enumerate(REGIONS)
            }
        },
        "paired": {
            method: {t: metrics.paired(own[:, k], ml[:, k], true[:, k]) for k, t in enumerate(TISSUES)}
            for method, ml in predicted.items()
            if not method.startswith("csegsynth")
        },
        "images": images,
        "floors": floors,
        "mape_over_ridge": {
            t: volumes["csegsynth"][t]["mape"]["value"] / volumes["ridge"][t]["mape"]["value"]
            for t in TISSUES
        },
        "spread_over_draws_ml": {t: float(draws[:, :, k].std(axis=1).mean()) for k, t in enumerate(TISSUES)},
        "inside_90_percent_of_draws": {
            t: float(np.mean((true[:, k] >= low[:, k]) & (true[:, k] <= high[:, k])))
            for k, t in enumerate(TISSUES)
        },
        "ageing": ageing(pack),
        "sharpness": sharpness(pack, cohort, people),
        "influence": influence(pack),
        "parameters": pack.model.generating_parameters(),
    }


def _volumes_and_regions(x: Tensor) -> Tensor:
    return torch.cat([volumes_ml(x)[:, : len(TISSUES)], region_volumes_ml(x)], dim=1)


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


def sharpness(pack: Pack, cohort: Cohort, people: Parsed, count: int = 10) -> float:
    """Gradient energy of generated brains over that of the same people's real maps."""
    some = people.select(people.ids[:count])
    made = np.mean([gradient_energy(b.maps) for b in generate(pack, _frame(some), seed=EVALUATION_SEED)])
    real = np.mean([gradient_energy(cohort.maps(i)) for i in some.ids])
    return float(made / real)


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


def as_text(found: dict[str, Any]) -> str:
    """Volume errors as fixed-width text, with their 95 % bootstrap intervals over people."""
    lines = [
        f"{found['n']} people of {found['cohort']}, split {found['split']}; MAPE % [95 % interval], Pearson r"
    ]
    lines.append(f"{'method':24s}" + "".join(f"{t.upper():>28s}" for t in TISSUES))
    for method, by_tissue in found["volumes"].items():
        cells = []
        for t in TISSUES:
            m, r = by_tissue[t]["mape"], by_tissue[t]["pearson"]["value"]
            shown = "  n/a" if r is None else f"{r:5.2f}"
            cells.append(f"{m['value']:8.2f} [{m['low']:5.2f}, {m['high']:5.2f}] {shown}")
        lines.append(f"{method:24s}" + "".join(f"{c:>28s}" for c in cells))
    return "\n".join(lines)
