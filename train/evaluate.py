"""How well a pack's volumes fit people that training never saw, beside plain regressions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import sobel
from scipy.stats import pearsonr
from sklearn.linear_model import RidgeCV

from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.schema import Parsed
from csegsynth_core.generate import generate, generate_one, volumes_over_draws
from csegsynth_core.pack import Pack
from csegsynth_core.substructures import deep_csf_ml
from csegsynth_core.tissue import TISSUES

DRAWS = 16
EVALUATION_SEED = 2026
AGES = (25.0, 75.0)


def person_key(participant_id: str) -> str:
    """What stands for a person in a pack: enough to recognise them in the cohort, no name."""
    return hashlib.sha256(participant_id.encode()).hexdigest()[:16]


def table_metrics(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """MAPE (percent), MAE (mL), R² and Pearson r for each tissue (paper, Tables II and III).

    Args:
        predicted: (people, 3) mL.
        true: (people, 3) mL.
    """
    out = {}
    for k, tissue in enumerate(TISSUES):
        p, t = predicted[:, k].astype(float), true[:, k].astype(float)
        spread = float(((t - t.mean()) ** 2).sum())
        constant = float(np.ptp(p)) == 0.0
        out[tissue] = {
            "mape": float(np.mean(np.abs(p - t) / t) * 100),
            "mae_ml": float(np.mean(np.abs(p - t))),
            "r2": float(1.0 - ((p - t) ** 2).sum() / spread),
            "pearson": float("nan") if constant else float(pearsonr(p, t).statistic),
        }
    return out


def people_of(pack: Pack, cohort: Cohort, keys: list[str]) -> Parsed:
    """The people of the cohort whose keys are listed, with their features checked by the pack's schema."""
    assert cohort.features is not None  # noqa: S101 - `prepare` of a cohort without a table is refused before
    wanted = set(keys)
    ids = [i for i in cohort.ids if person_key(i) in wanted]
    return pack.schema.validate(cohort.features.loc[ids].reset_index(), source="participants.tsv")


def ridge_predictions(
    encoder: Encoder, training: Parsed, train_ml: NDArray[np.float64], people: Parsed
) -> NDArray[np.float64]:
    """Ridge regression with cross-validated penalty, features to mL, fitted on the training people."""
    model = RidgeCV(alphas=np.logspace(-2, 4, 25))
    model.fit(encoder.encode(training).x, train_ml)
    return np.asarray(model.predict(encoder.encode(people).x), float)


def evaluate(pack: Pack, cohort: Cohort) -> dict[str, Any]:
    """Everything that a pack's `metrics.json` and card say, measured on its validation people.

    Returns:
        `n`, `volumes` by method and tissue, `ageing` (the same people at two ages), `sharpness` (gradient
        energy of generated over real maps), `influence` (mL that each feature can move) and `parameters`.
    """
    training = people_of(pack, cohort, pack.about["people"]["train"])
    validation = people_of(pack, cohort, pack.about["people"]["validation"])
    true = cohort.volumes_ml.loc[validation.ids].to_numpy(float)
    train_ml = cohort.volumes_ml.loc[training.ids].to_numpy(float)
    table = validation.raw
    draws = volumes_over_draws(pack, _frame(validation), draws=DRAWS, seed=EVALUATION_SEED).astype(float)
    ridge = ridge_predictions(pack.encoder, training, train_ml, validation)
    mean = np.repeat(train_ml.mean(axis=0, keepdims=True), len(true), axis=0)
    volumes = {
        "csegsynth_mean_of_draws": table_metrics(draws.mean(axis=1), true),
        "csegsynth_single_draw": table_metrics(draws[:, 0], true),
        "ridge": table_metrics(ridge, true),
        "training_mean": table_metrics(mean, true),
    }
    ratio = {t: volumes["csegsynth_mean_of_draws"][t]["mape"] / volumes["ridge"][t]["mape"] for t in TISSUES}
    return {
        "n_train": len(training),
        "n_validation": len(table),
        "draws": DRAWS,
        "volumes": volumes,
        "mape_over_ridge": ratio,
        "spread_over_draws_ml": {t: float(draws[:, :, k].std(axis=1).mean()) for k, t in enumerate(TISSUES)},
        "ageing": ageing(pack),
        "sharpness": sharpness(pack, cohort, validation),
        "influence": influence(pack),
        "parameters": pack.model.generating_parameters(),
    }


def ageing(pack: Pack, seed: int = EVALUATION_SEED) -> dict[str, Any]:
    """The typical woman and man at two ages, all else equal: volumes and deep CSF in mL."""
    out: dict[str, Any] = {"ages": list(AGES)}
    if pack.schema.age is None:
        return out
    sexes: list[str | None] = list(pack.schema.sex.levels) if pack.schema.sex else [None]
    for sex in sexes:
        person = pack.encoder.default_person(sex=sex)
        rows = []
        for age in AGES:
            brain = generate_one(pack, person | {pack.schema.age.name: age}, seed=seed)
            rows.append({**brain.volumes_ml, "deep_csf": deep_csf_ml(brain.maps)})
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


def influence(pack: Pack, seed: int = EVALUATION_SEED) -> dict[str, dict[str, float]]:
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
        found = volumes_over_draws(pack, people, draws=1, seed=seed)[:, 0]
        out[name] = {t: round(float(np.ptp(found[:, k])), 2) for k, t in enumerate(TISSUES)}
    return out


def _frame(people: Parsed) -> pd.DataFrame:
    frame = people.raw.copy()
    frame.index.name = "participant_id"
    return frame.reset_index()


def as_text(metrics: dict[str, Any]) -> str:
    """The volume table as fixed-width text."""
    lines = [
        f"{'method':26s}" + "".join(f"{t.upper() + ' ' + m:>13s}" for t in TISSUES for m in ("MAPE %", "r"))
    ]
    for method, by_tissue in metrics["volumes"].items():
        cells = "".join(f"{by_tissue[t]['mape']:13.2f}{by_tissue[t]['pearson']:13.2f}" for t in TISSUES)
        lines.append(f"{method:26s}{cells}")
    return "\n".join(lines)
