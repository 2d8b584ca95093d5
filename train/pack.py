"""From a finished run to a model pack, with its measurements and card."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from csegsynth_core import __version__
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.icbm import ATTRIBUTION
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.volume_centiles import VolumeCentiles
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.csegsynth import Config, CSegSynth
from csegsynth_core.pack import Pack, load_pack, save_pack
from csegsynth_core.tissue import ALL, TISSUES
from train import checkpoint
from train.evaluate import AGES, evaluate, person_key
from train.people import gather

IXI = {
    "name": "ixi",
    "title": "IXI: 146 real adults, 20–82 years",
    "licence": "CC BY-SA 3.0",
    "attribution": "IXI Dataset, Imperial College London, EPSRC GR/S21533/02 (brain-development.org), CC BY-SA 3.0. "
    "Anatomical labels: DLMUSE / NiChart, Section of Biomedical Image Analysis, University of Pennsylvania (SBIA "
    f"licence), used to prepare the training maps. Template: {ATTRIBUTION}.",
    "notes": "The networks were trained in four runs, each started from the one before: 700 steps of pre-training "
    "and 1000 of fine-tuning at 4 mm (before the generator had its linear heads), 350 of fine-tuning at 4 mm and 50 "
    "at 2 mm, then the prior network anew, in two runs of 360 and 276 steps. No weights were picked by the people "
    "kept aside, but their errors were looked at between runs and led to a larger weight of the volume terms, the "
    "linear heads, and noise on the features (whose size is the ridge penalty cross-validated on training people). "
    "Their errors are therefore somewhat optimistic.",
}


_STAGES = {
    "pretrain": "α-GAN pre-training (Eq. 6–8)",
    "finetune": "fine-tuning (Eq. 13–15)",
    "prior": "of the prior network alone",
}


def make_pack(run: Path, cohort_folder: Path, out: Path, about: dict[str, str]) -> dict[str, Any]:
    """Assemble a pack from the averaged weights of a run, measure it and write its card.

    Args:
        run: folder of a `train csegsynth` run.
        cohort_folder: the cohort it was trained on.
        out: folder of the pack.
        about: `name`, `title`, `licence`, `attribution` and, if there is anything to tell, `notes`.

    Returns:
        The measurements that stand in `metrics.json`.
    """
    state = checkpoint.read(run / "checkpoint.safetensors")
    settings = json.loads(state["config"])
    shapes = Config(**json.loads(state["shapes"]))
    model = CSegSynth(shapes, training_networks=False)
    averaged = {k.removeprefix("module."): v for k, v in state["averaged"].items() if k.startswith("module.")}
    model.load_state_dict(averaged)
    _check_finite(model)
    cohort = Cohort.open(cohort_folder)
    people = gather(cohort, model.region, settings["validation_fraction"], settings["seed"])
    ids = cohort.ids
    training = people.parsed.select([ids[int(r)] for r in people.train])
    schema = people.parsed.schema
    volumes = cohort.volumes_ml.loc[training.ids]
    ages = training.data[schema.age.name].to_numpy(float) if schema.age else volumes["gm"].to_numpy() * 0
    sexes = list(training.data[schema.sex.name]) if schema.sex else None
    details = {
        "simulated": cohort.simulated,
        "created": datetime.now(UTC).date().isoformat(),
        "steps": int(state["done"]),
        "people": {
            "train": sorted(person_key(i) for i in training.ids),
            "validation": sorted(person_key(ids[int(r)]) for r in people.validation),
        },
    }
    parts = {
        "model": model,
        "encoder": people.encoder,
        "regressions": AgeRegressions.fit(schema, training)
        if not AgeRegressions.unavailable(schema)
        else None,
        "centiles": VolumeCentiles.fit(ages, sexes, {t: volumes[t].to_numpy(float) for t in TISSUES}),
    }
    # Measure what is shipped: written once without measurements, loaded, measured, written again.
    save_pack(out, about=about | details, metrics={}, card="", **parts)
    pack = load_pack(out)
    metrics = evaluate(pack, cohort)
    save_pack(out, about=about | details, metrics=metrics, card=card(pack, metrics, settings), **parts)
    write_text(run / "evaluation.json", json.dumps(metrics, indent=1))
    return metrics


def _check_finite(model: CSegSynth) -> None:
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise CSegSynthError(f"the run's weights are unusable: {name} holds values that are not numbers")


def card(pack: Pack, metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """The model card, Markdown; every number comes from `metrics` or the run's settings."""
    rows = []
    for method, by_tissue in metrics["volumes"].items():
        cells = [
            f"{by_tissue[t.name]['mape']:.1f} / {by_tissue[t.name]['mae_ml']:.0f} / {by_tissue[t.name]['r2']:.2f}"
            for t in ALL
        ]
        rows.append(f"| {method.replace('_', ' ')} | " + " | ".join(cells) + " |")
    ageing = []
    for sex, values in metrics["ageing"].items():
        if sex == "ages":
            continue
        for key, (young, old) in values.items():
            ageing.append(
                f"| {sex} | {key.replace('_', ' ')} | {young:.1f} | {old:.1f} | {old - young:+.1f} |"
            )
    influence = [
        f"| {name} | " + " | ".join(f"{by[t.name]:.1f}" for t in ALL) + " |"
        for name, by in metrics["influence"].items()
    ]
    stages = "; ".join(
        f"{s['steps']} steps {_STAGES[s['kind']]} at {2 * s['resolution']} mm"
        for s in settings["stages"]
        if s["steps"]
    )
    lines = "\n".join
    spread = metrics["spread_over_draws_ml"]
    return f"""# Model card: `{pack.name}`

**{pack.about["title"]}.** CSegSynth {__version__}, preset `{settings["preset"]}`, made {pack.about["created"]}.
{"**SIMULATED PEOPLE.** " if pack.simulated else ""}Research use only. Not for diagnosis, prognosis or any decision
about a person. A generated brain is a sample of a model: a hypothesis about a population, not a forecast.

## Data
{metrics["n_train"]} people trained on, {metrics["n_validation"]} kept aside, alike in age and sex.
Features: {", ".join(pack.schema.names)}. Missing values are imputed and flagged.
Maps: `python -m csegsynth_core prepare`, 2 mm, rigidly aligned to ICBM152 axes.

Attribution: {pack.about["attribution"]}
Licence of the pack: {pack.about["licence"]}.

## Training
{stages}; batch {settings["batch"]}, seed {settings["seed"]}. Averaged weights of the last step.
{pack.about.get("notes", "")}
Generator and prior network: {metrics["parameters"] / 1e6:.2f} M parameters and template values.
The generator deforms a sharpened ICBM152 template; gyri are the template's, moved and re-weighted.

## Volumes of the {metrics["n_validation"]} people kept aside
MAPE % / MAE mL / R², against the prepared maps' volumes; mean over {metrics["draws"]} latent draws unless said.
`ridge` is ridge regression with cross-validated penalty on the same features and people.

| method | WM | GM | CSF |
|---|---|---|---|
{lines(rows)}

Ratio of MAPE to ridge's: {", ".join(f"{t.upper()} {metrics['mape_over_ridge'][t]:.2f}" for t in TISSUES)}.
Standard deviation over draws: {", ".join(f"{t.upper()} {sd:.1f} mL" for t, sd in spread.items())}.
It is the model's own spread and narrower than the spread of real people with these features.

## The typical person at {AGES[0]:.0f} and {AGES[1]:.0f} years, all else equal (mL)
`deep csf` is CSF at least 24 mm below the surface: lateral and third ventricles, nearly.

| sex | what | {AGES[0]:.0f} y | {AGES[1]:.0f} y | change |
|---|---|---|---|---|
{lines(ageing)}

## Does every feature count?
Largest change in mL (one draw) when one feature runs from its 1st to its 99th training centile, or over its levels.

| feature | WM | GM | CSF |
|---|---|---|---|
{lines(influence)}

## Sharpness
Gradient energy of generated maps over the same people's real maps: {metrics["sharpness"]:.2f}.

## Limits
- Cross-sectional, one city, three scanners, mostly white and well educated; few people above 75.
- Labels and intensities come from 2 mm images: cortex is at the limit of resolution. CSF is what lies inside the
  labels and is less than FSL FAST's.
- Folding patterns are those of one average template: do not use the maps to study sulcal variability.
- Associations, not effects: changing a feature shows what people with that value look like.

## Again
`python -m train evaluate --pack {pack.name} --cohort DIR` measures all of this again on the prepared cohort.
"""
