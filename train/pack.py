"""From a finished run to a model pack, with its measurements and card."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from csegsynth_core import __version__
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.icbm import ATTRIBUTION
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.volume_centiles import VolumeCentiles
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.csegsynth import Config, CSegSynth
from csegsynth_core.pack import Pack, load_pack, save_pack
from csegsynth_core.tissue import ALL, TISSUES
from train import baselines, checkpoint
from train.evaluate import AGES, evaluate
from train.people import gather, person_key

ABOUT = {
    "ixi": {
        "name": "ixi",
        "title": "IXI: 146 real adults, 20–82 years",
        "licence": "CC BY-SA 3.0",
        "attribution": "IXI Dataset, Imperial College London, EPSRC GR/S21533/02 (brain-development.org), CC BY-SA 3.0. "  # noqa: E501
        "Anatomical labels: DLMUSE / NiChart, Section of Biomedical Image Analysis, University of Pennsylvania (SBIA "
        f"licence), used to prepare the training maps. Template: {ATTRIBUTION}.",
        "notes": "One run from start to end; no weights were picked by the people kept aside. But how the networks "
        "start, and the sizes of some weights and penalties, were settled after looking at their errors in earlier "
        "runs: their errors are therefore somewhat optimistic.",
        "limits": "- Cross-sectional, one city, three scanners, mostly white and well educated; few people above "
        "75.\n- Labels and intensities come from 2 mm images: cortex is at the limit of resolution. CSF is what lies "
        "inside the\n  labels and is less than FSL FAST's.",
    },
    "lifespan": {
        "name": "lifespan",
        "title": "Virtual lifespan cohort: SIMULATED people, 18–88 years, 198 features",
        "licence": "Apache-2.0",
        "attribution": "Simulated by `python -m csegsynth_core simulate`; nobody's data. "
        f"Template: {ATTRIBUTION}.",
        "notes": "Trained on people who do not exist. What it learned is what the simulation's equations say, and "
        "nothing about real people.",
        "limits": "- Simulated: effects have the signs and sizes that were written into the simulation "
        "(assets/simulation.md).\n- Its 198 features are correlated and the model spreads what age does over age's "
        "correlates (retirement, reaction\n  times): with all else held (`ideal`), ageing is far smaller than in the "
        "simulation itself. Use `regressed`.\n- Nothing that this pack shows is evidence about real people.",
    },
}
"""What the shipped packs say of themselves."""


_STAGES = {
    "pretrain": "α-GAN pre-training (Eq. 6–8)",
    "finetune": "fine-tuning (Eq. 13–15)",
    "prior": "of the prior network alone",
}


_VOXELS = {1: "all voxels", 2: "every second voxel along each axis"}


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
    fitted = baselines.fit(people.encoder.encode(training).x.astype(float), volumes.to_numpy(float))
    details = {
        "simulated": cohort.simulated,
        "created": datetime.now(UTC).date().isoformat(),
        "steps": int(state["done"]),
        "people": {
            "train": sorted(person_key(i) for i in training.ids),
            "validation": sorted(person_key(ids[int(r)]) for r in people.validation),
            "mean_ml": {t: round(float(volumes[t].mean()), 2) for t in TISSUES},
        },
    }
    parts = {
        "model": model,
        "encoder": people.encoder,
        "regressions": AgeRegressions.fit(schema, training)
        if not AgeRegressions.unavailable(schema)
        else None,
        "summary": CohortSummary.fit(training, volumes),
        "extras": {"regressions.safetensors": save(baselines.to_tensors(fitted))},
        "centiles": VolumeCentiles.fit(ages, sexes, {t: volumes[t].to_numpy(float) for t in TISSUES}),
    }
    # Measure what is shipped: written once without measurements, loaded, measured, written again.
    save_pack(out, about=about | details, metrics={}, card="", **parts)
    pack = load_pack(out)
    metrics = evaluate(pack, cohort)
    save_pack(out, about=about | details, metrics=metrics, card=card(pack, metrics, settings), **parts)
    write_text(run / "evaluation.json", json.dumps(metrics, indent=1))
    return metrics


def _features(pack: Pack) -> str:
    """Their names, or how many of each group where they are many."""
    if len(pack.schema.names) <= 20:
        return ", ".join(pack.schema.names)
    groups = Counter(one.group for one in pack.schema.features)
    return f"{len(pack.schema.names)} ({', '.join(f'{n} {group}' for group, n in groups.items())})"


def _check_finite(model: CSegSynth) -> None:
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise CSegSynthError(f"the run's weights are unusable: {name} holds values that are not numbers")


def card(pack: Pack, metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """The model card, Markdown; every number comes from `metrics` or the run's settings."""

    def cell(by: dict[str, Any], name: str, form: str) -> str:
        value, low, high = (by[name][k] for k in ("value", "low", "high"))
        return "n/a" if value is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"

    rows, correlations = [], []
    for method, by_tissue in metrics["volumes"].items():
        name = method.replace("_", " ")
        mape = [cell(by_tissue[t], "mape", ".1f") for t in TISSUES]
        mae = [f"{by_tissue[t]['mae_ml']['value']:.0f}" for t in TISSUES]
        r2 = [cell(by_tissue[t], "r2", ".2f") for t in TISSUES]
        rows.append(f"| {name} | {' | '.join(mape)} | {' / '.join(mae)} | {' | '.join(r2)} |")
        correlations.append(
            f"| {name} | " + " | ".join(cell(by_tissue[t], "pearson", ".2f") for t in TISSUES) + " |"
        )
    compared = [
        f"| {method.replace('_', ' ')} | "
        + " | ".join(
            f"{by[t]['difference_ml']:+.1f} [{by[t]['low']:+.1f}, {by[t]['high']:+.1f}]" for t in TISSUES
        )
        + " |"
        for method, by in metrics["paired"].items()
    ]
    image_rows = [
        f"| {name} | "
        + " | ".join(f"{by[t]['value']:.4g} (floor {floor[t]['value']:.4g})" for t in TISSUES)
        + " |"
        for name in next(iter(metrics["floors"].values()))
        for by in [{t: metrics["images"]["csegsynth"][t][name] for t in TISSUES}]
        for floor in [{t: metrics["floors"][t][name] for t in TISSUES}]
    ]
    region_rows = [
        f"| {name.replace('_', ' ')} | "
        + " | ".join(cell(by, m, form) for m, form in (("mape", ".1f"), ("r2", ".2f"), ("pearson", ".2f")))
        + " |"
        for name, by in metrics["regions"]["csegsynth"].items()
    ]
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
        for name, by in sorted(metrics["influence"].items(), key=lambda item: -max(item[1].values()))[:20]
    ]
    stages = "; ".join(
        f"{s['steps']} steps {_STAGES[s['kind']]} at {_VOXELS[s['resolution']]}"
        for s in settings["stages"]
        if s["steps"]
    )
    lines = "\n".join
    spread, inside = metrics["spread_over_draws_ml"], metrics["inside_90_percent_of_draws"]
    return f"""# Model card: `{pack.name}`

**{pack.about["title"]}.** CSegSynth {__version__}, preset `{settings["preset"]}`, made {pack.about["created"]}.
{"**SIMULATED PEOPLE.** " if pack.simulated else ""}Research use only. Not for diagnosis, prognosis or any decision
about a person. A generated brain is a sample of a model: a hypothesis about a population, not a forecast.

## Data
{metrics["n_train"]} people trained on, {metrics["n"]} kept aside, alike in age and sex.
Features: {_features(pack)}. Missing values are imputed and flagged.
Maps: `python -m csegsynth_core {"simulate" if pack.simulated else "prepare"}`, 2 mm, rigidly aligned to ICBM152 axes.

Attribution: {pack.about["attribution"]}
Licence of the pack: {pack.about["licence"]}.

## Training
{stages}; batch {settings["batch"]}, seed {settings["seed"]}. Averaged weights of the last step.
{pack.about.get("notes", "")}
Generator and prior network: {metrics["parameters"] / 1e6:.2f} M parameters and template values.
The generator deforms a sharpened ICBM152 template; gyri are the template's, moved and re-weighted. Before the steps
above, the template was fitted to each training brain ({settings["component_steps"]} steps each); the principal
components of these fits are where the generator's linear part started, and ridge regression of people's codes on
their features where the prior network's did.

## Volumes of the {metrics["n"]} people kept aside
Against the prepared maps' volumes, with 95 % bootstrap intervals over people. `csegsynth` is the mean over
{metrics["draws"]} latent draws. The regressions have the same features and training people.

| method | MAPE % WM | GM | CSF | MAE mL | R² WM | GM | CSF |
|---|---|---|---|---|---|---|---|
{lines(rows)}

| Pearson r | WM | GM | CSF |
|---|---|---|---|
{lines(correlations)}

Absolute error of CSegSynth minus that of the other method on the same people, mL (below 0: CSegSynth is better):

| method | WM | GM | CSF |
|---|---|---|---|
{lines(compared)}

Ratio of MAPE to ridge's: {", ".join(f"{t.upper()} {metrics['mape_over_ridge'][t]:.2f}" for t in TISSUES)}.
`typical` is the brain without noise (seed 0). Standard deviation over draws:
{", ".join(f"{t.upper()} {sd:.1f} mL" for t, sd in spread.items())}. Of these people's own volumes
{", ".join(f"{100 * inside[t]:.0f} % ({t.upper()})" for t in TISSUES)} lie between the 5th and 95th percentile of
their draws; draws that spread as real people do would hold 90 %.

## The typical person at {AGES[0]:.0f} and {AGES[1]:.0f} years, all else equal (mL)
`ventricles` as the parcellation network reads them (assets/parcellation).

| sex | what | {AGES[0]:.0f} y | {AGES[1]:.0f} y | change |
|---|---|---|---|---|
{lines(ageing)}

## Does every feature count?
Largest change in mL (typical brain) when one feature runs from its 1st to its 99th training centile, or over its
levels; the 20 strongest of {len(metrics["influence"])} (all in metrics.json), the weakest moves
{min(max(by.values()) for by in metrics["influence"].values()):.1f} mL.

| feature | WM | GM | CSF |
|---|---|---|---|
{lines(influence)}

## Regions
Read by the parcellation network off generated maps (mean of draws) and off the same people's real maps.

| region | MAPE % | R² | Pearson r |
|---|---|---|---|
{lines(region_rows)}

## Images
One draw of each person against the real maps; in brackets what other real people score. FID by
activations of the parcellation network: comparable with the floor, not with other papers.

| lower is better | WM | GM | CSF |
|---|---|---|---|
{lines(image_rows)}

## Sharpness
Gradient energy of generated maps over the same people's real maps: {metrics["sharpness"]:.2f}.

## Limits
{pack.about.get("limits", "")}
- Folding patterns are those of one average template: do not use the maps to study sulcal variability.
- Associations, not effects: changing a feature shows what people with that value look like.

## Again
`python -m train evaluate --pack {pack.name} --cohort DIR` measures all of this again on the prepared cohort.
"""
