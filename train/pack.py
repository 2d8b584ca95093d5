"""From a finished run to a model pack, with its measurements and card."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from tqdm import tqdm

from csegsynth_core import __version__, measured
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.icbm import ATTRIBUTION
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.schema import Parsed
from csegsynth_core.data.volume_centiles import VolumeCentiles
from csegsynth_core.errors import CSegSynthError, TableError
from csegsynth_core.group_means import FEWEST, PICTURE, Group, GroupMeans
from csegsynth_core.models.csegsynth import CSegSynth
from csegsynth_core.models.family import ConditionalModel, family
from csegsynth_core.pack import COMPARISON, Pack, add_files, load_pack, save_pack
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import ALL, TISSUES
from train import baselines, checkpoint, report
from train.calibrate import calibrate
from train.evaluate import AGES, DRAWS, evaluate, real_regions, regressions_of
from train.people import gather, maps_of, person_key
from train.run_folder import CHECKPOINT, check_split, inherited_by

_CHOSEN = (
    "One run from start to end. But which of several runs and calibrations is shipped, {}, were settled after "
    "looking at what the people kept aside said of them: what is measured on these people is somewhat optimistic. "
)
_MATCHED = (
    "How like real maps the generated ones are may look better than it is, too: what is matched (the distribution of "
    "fractions, softness of outlines, mean fractions at every place) was decided after comparing both, people kept "
    "aside among them. The match itself uses training people alone."
)
ABOUT = {
    "ixi": {
        "name": "ixi",
        "title": "IXI: 146 real adults, 20–82 years",
        "licence": "CC BY-SA 3.0",
        "attribution": "IXI Dataset, Imperial College London, EPSRC GR/S21533/02 (brain-development.org), CC BY-SA 3.0. "  # noqa: E501
        "Anatomical labels: DLMUSE / NiChart, Section of Biomedical Image Analysis, University of Pennsylvania (SBIA "
        f"licence), used to prepare the training maps. Template: {ATTRIBUTION}.",
        "notes": _CHOSEN.format("how the networks start, and the sizes of some weights and penalties")
        + _MATCHED,
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
        "nothing about real people. "
        + _CHOSEN.format("how the prior network starts, and its learning rate")
        + _MATCHED,
        "limits": "- Simulated: effects have the signs and sizes that were written into the simulation "
        "(assets/simulation.md).\n- Its 198 features are correlated, and much of what age does goes through its "
        "correlates (retirement, reaction\n  times): with all else held (`ideal`), ageing is smaller than along "
        "`regressed`.\n- Nothing that this pack shows is evidence about real people.",
    },
}
"""What the shipped packs say of themselves."""


LARGEST_COMPARISON = 8_000_000
"""Bytes of weights of a model that travels with a pack for comparison."""

_STAGES = {
    "pretrain": "α-GAN pre-training (Eq. 6–8)",
    "finetune": "fine-tuning (Eq. 13–15)",
    "prior": "of the prior network alone",
}


_STARTS = (
    "The generator deforms a sharpened ICBM152 template; gyri are the template's, moved and re-weighted. Before "
    "these steps the template was fitted to {brains} ({steps} steps each). The principal components of "
    "these fits are where the generator's linear part started, and ridge regression of people's codes{moved} on "
    "their features and the square of age where the prior network's did."
)
_MOVED = " (moved so that their brains have these people's volumes)"


_RECORDED = "What follows is as `train pack` recorded it on the training people. "
_AGAIN = (
    "The pack was calibrated again, from its own weights and the template as it was before any texture "
    "(`train calibrate`); `train pack` calibrates once, and makes a like pack, not this very one. "
)
_T1 = (
    "In the template, {template_t1:.0%} of the contrast of CSF to grey matter is told by the T1 average of the "
    "people whose tissue probabilities tell the rest, because it is crisper. "
)
_VIRTUAL = "Virtual people's brains are made of the same T1 average, so that this flatters them. "
_TEXTURE = (
    "After training, the template's tissues were raised alike in depth, where nobody has background, and the "
    "texture of maps was matched to the training people's: {sharpness_wm:.2f}, {sharpness_gm:.2f} and "
    "{sharpness_csf:.2f} of its own detail were added to the template's log-ratios (WM, GM, CSF), and draws get "
    "voxel-wise noise of standard deviation {grain_wm:.2f}, {grain_gm:.2f} and {grain_csf:.2f} in them, as "
    "segmentations have it (the brain without noise has none). {matched} What codes add to log-ratios was "
    "multiplied by {response:.2f}, so that volumes differ between people by what they differed by before; the "
    "prior network's line and curve were then changed so that features tell the {told}. The "
    "mean square by which a fraction differs from its neighbours' is now {detail_wm:.2f}, {detail_gm:.2f} and "
    "{detail_csf:.2f} of the real maps' (WM, GM, CSF), from those two voxels away {detail2_wm:.2f}, "
    "{detail2_gm:.2f} and {detail2_csf:.2f}, and the share of brain in mixed voxels {mixed_made:.3f} (real: "
    "{mixed_real:.3f}). Shifts of the log-ratios give draws, and the brain without noise, the training people's "
    "mean volumes{places}."
)
_TOLD = "very volumes that they told"
_CAUTIOUS = (
    "volumes that they told, but for a factor of {caution_wm:.2f}, {caution_gm:.2f} and {caution_csf:.2f} on the "
    "logarithm's differences between people (WM, GM, CSF), with which draws follow features as far as ridge "
    "regression does whose penalty minimises the errors of people left out"
)
_CURVES = (
    "Curves give each tissue's fractions, and those of background at the surface, the distribution that they have "
    "in real maps."
)
_CHAIN = (
    "Real maps of this cohort mix neighbours of the chain background, CSF, GM, WM alone (99 % of tissue and more), "
    "as segmentation by brightness does; generated ones do so, too, and one curve of brightness gives fractions the "
    "distribution that they have in real maps."
)
_PLACES = ", and draws as much of every tissue as these people have on average at every place, over 8 mm"
_NOISE = (
    "Noise beside the code was measured on the training people after training: folds slide along the surface by "
    "{folds_mm:.1f} mm (standard deviation in the cortex{alike}{falx}), so that generated brains are as unlike each "
    "other as real ones are (mean SSIM of WM {ssim_made:.3f} and {ssim_real:.3f}); the tissues' balance and the "
    "brain's size vary so that volumes of draws spread as people do about ridge regression."
)


_ALIKE = "; what differs between both sides is {mirrored:.0%} smaller than what they share"
_FALX = "; near the middle, within some {falx_mm:.0f} mm, they do not move sideways"
_NARROWED = (
    " Codes were narrowed in those directions in which volumes of one person's draws differed more than that "
    "(variance up to {excess:.2f} times people's)."
)


_MEANS = """`group_means.png` holds means of the maps of groups of training people and of a generated brain of each,
under the same licence.
"""


_VOXELS = {1: "all voxels", 2: "every second voxel along each axis"}


def make_pack(run: Path, cohort_folder: Path, out: Path, about: dict[str, str]) -> dict[str, Any]:
    """Assemble a pack from the averaged weights of a run, measure it and write its card.

    Args:
        run: folder of a run of CSegSynth; for other models see `make_comparison`.
        cohort_folder: the cohort it was trained on.
        out: folder of the pack.
        about: `name`, `title`, `licence`, `attribution` and, if there is anything to tell, `notes`.

    Returns:
        The measurements that stand in `metrics.json`.

    Raises:
        CSegSynthError: the run is of another model, was begun on other people, or `about` lacks something.
        TableError: there is no age.
    """
    model, settings, state = model_of_run(run)
    if not isinstance(model, CSegSynth):
        raise CSegSynthError(
            f"{run} is of {model.family}, which is no pack by itself",
            expected="a run of csegsynth",
            fix=f"put it beside a pack of CSegSynth: --out PACK/{COMPARISON}/{model.family}",
        )
    if lacking := [k for k in ("name", "title", "licence", "attribution") if not about.get(k)]:
        raise CSegSynthError(
            "a pack has to say whose it is", expected=", ".join(lacking), fix="add them to --about"
        )
    cohort = Cohort.open(cohort_folder)
    people = gather(cohort, model.region, settings["validation_fraction"], settings["seed"])
    check_split(run, people)
    ids = cohort.ids
    training = people.parsed.select([ids[int(r)] for r in people.train])
    schema = people.parsed.schema
    _check_comparisons(out, {person_key(i) for i in training.ids})
    if schema.age is None:
        raise TableError(
            "a pack needs everybody's age", expected="a feature that is an age in years", got=", ".join(schema.names),
            fix="give participants.tsv a column `age`",
        )  # fmt: skip
    volumes = cohort.volumes_ml.loc[training.ids]
    ages = training.data[schema.age.name].to_numpy(float)
    sexes = list(training.data[schema.sex.name]) if schema.sex else None
    regional = real_regions(cohort, training.ids)
    reference = {t: volumes[t].to_numpy(float) for t in TISSUES}
    reference |= {r.name: regional[:, k] for k, r in enumerate(REGIONS)}
    x = people.encoder.encode(training).x.astype(float)
    fitted = baselines.to_tensors(baselines.fit(x, volumes.to_numpy(float)))
    fitted |= baselines.to_tensors(baselines.fit_regions(x, regional), baselines.REGIONS_KIND)
    training_of = _training_of(run, state, settings)
    began = time.perf_counter()
    noise = calibrate(
        model,
        lambda rows: maps_of(cohort, rows, model.region, 1),
        people.train.tolist(),
        people.features,
        people.volumes_ml[:, : len(TISSUES)],
    )
    if noise:
        noise["template_t1"] = settings.get("template_t1", 0.0)
    training_of["calibration_minutes"] = round((time.perf_counter() - began) / 60, 1)
    details = {
        "simulated": cohort.simulated,
        "created": datetime.now(UTC).date().isoformat(),
        "steps": int(state["done"]),
        "run": settings,
        "training": training_of,
        **({"noise": noise} if noise else {}),
        "people": {
            "train": sorted(person_key(i) for i in training.ids),
            "validation": sorted(person_key(ids[int(r)]) for r in people.validation),
            "images_only": sorted(person_key(ids[int(r)]) for r in people.images_only),
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
        "extras": {"regressions.safetensors": save(fitted)},
        "centiles": VolumeCentiles.fit(ages, sexes, reference),
    }
    # Measure what is shipped: written once without measurements, loaded, measured, written again.
    save_pack(out, about=about | details, metrics={}, card="", **parts)
    pack = load_pack(out)
    parts["extras"] |= group_means(pack, cohort, progress=False).files()
    metrics = evaluate(pack, cohort)
    save_pack(out, about=about | details, metrics=metrics, card=card(pack, metrics, settings), **parts)
    write_text(run / "evaluation.json", json.dumps(metrics, indent=1))
    return metrics


def _check_comparisons(out: Path, train: set[str]) -> None:
    """Refuse to make a pack where models of other people wait to be compared with it, before any work is done."""
    for about in sorted(out.glob(f"{COMPARISON}/*/pack.json")):
        if set(json.loads(about.read_text("utf-8"))["people"]["train"]) != train:
            raise CSegSynthError(
                f"{about.parent} was trained on other people than this run",
                expected="models for comparison that were trained on the same people",
                fix="remove that folder, or write to another one; then put models of the same people beside the pack",
            )


def model_of_run(run: Path) -> tuple[ConditionalModel, dict[str, Any], dict[str, Any]]:
    """The model of a run with its averaged weights, the run's settings, and its checkpoint.

    Raises:
        PackError: the checkpoint cannot be read.
        CSegSynthError: weights are missing or not numbers.
    """
    state = checkpoint.read(run / CHECKPOINT)
    settings = json.loads(state["config"])
    model = family(settings.get("model", "csegsynth")).from_config(json.loads(state["shapes"]))
    averaged = {k.removeprefix("module."): v for k, v in state["averaged"].items()}
    model.load_state_dict({k: v for k, v in averaged.items() if k in model.generating_state()})
    _check_finite(model)
    return model, settings, state


def make_comparison(run: Path, cohort_folder: Path, out: Path) -> Path:
    """Put the model of a run into the pack that it is to be compared with.

    Args:
        run: of a conditional model, on the pack's people.
        cohort_folder: the cohort that both were trained on.
        out: `PACK/comparison/NAME`.

    Returns:
        `out`.

    Raises:
        CSegSynthError: other people were trained on, the model takes no features or is too large, or `out` is not
            in a pack's folder for comparisons.
    """
    if out.parent.name != COMPARISON:
        raise CSegSynthError(
            f"{out} is no place for a model to compare with", expected=f"PACK/{COMPARISON}/NAME"
        )
    pack, cohort = load_pack(out.parent.parent), Cohort.open(cohort_folder)
    model, settings, state = model_of_run(run)
    if not model.conditional:
        raise CSegSynthError(
            f"{run} is of {model.family}, which takes no features",
            fix="fine-tune it: `python -m train finetune`",
        )
    people = gather(cohort, model.region, settings["validation_fraction"], settings["seed"])
    check_split(run, people)
    trained = {person_key(cohort.ids[int(r)]) for r in people.train}
    if trained != set(pack.about["people"]["train"]):
        raise CSegSynthError(
            f"{run} was trained on other people than pack {pack.name}",
            expected="the same cohort, seed and validation_fraction",
            got=f"{len(trained & set(pack.about['people']['train']))} of {len(trained)} people in common",
        )
    if not _alike(people.encoder.to_dict(), pack.encoder.to_dict()):
        raise CSegSynthError(
            f"{run} encodes features otherwise than pack {pack.name}", fix="make the pack again"
        )
    size = sum(v.numel() for v in model.generating_state().values()) * 2
    if size > LARGEST_COMPARISON:
        raise CSegSynthError(
            f"{run} is too large to travel with a pack",
            expected=f"{LARGEST_COMPARISON / 1e6:.0f} MB at most",
            got=f"{size / 1e6:.1f} MB",
            fix="use preset compact",
        )
    return save_comparison(pack, model, _training_of(run, state, settings), name=out.name)


def _alike(one: Any, other: Any) -> bool:
    """Whether nested lists and dictionaries are the same but for rounding, which differs between machines."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)


def _training_of(run: Path, state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Steps and wall-clock seconds of a run and of the one it started from."""
    training: dict[str, Any] = {
        "steps": int(state["done"]),
        "preset": settings["preset"],
        "batch": settings["batch"] * settings.get("accumulate", 1),
    }
    if settings.get("select", "last") != "last":
        training["weights"] = "those that validated best"
    if "seconds" in state:  # runs of older versions did not count
        training["seconds"] = round(float(state["seconds"][0]), 1)
    if "device" in state:
        training["device"] = state["device"]
    if sum(state.get("stage_steps", [])) == training["steps"]:
        training["stage_steps"] = state["stage_steps"]
    first = inherited_by(run)
    if first is not None:
        if "steps" not in first:  # of an older version, which did not note them
            before = checkpoint.read(Path(first["from"]) / CHECKPOINT)
            first |= {"steps": int(before["done"])}
            first |= {"seconds": float(before["seconds"][0])} if "seconds" in before else {}
        training["pretraining_steps"] = int(first["steps"])
        if "seconds" in first:
            training["pretraining_seconds"] = round(float(first["seconds"]), 1)
            training["seconds"] = round(training.get("seconds", 0.0) + training["pretraining_seconds"], 1)
        else:
            training.pop("seconds", None)  # of one step alone they would mislead
    return training


def measure(
    folder: Path, cohort: Cohort, run: Path | None = None, *, progress: bool = True
) -> dict[str, Any]:
    """Measure a pack again, such as after another model was put beside it, and write its measurements and card.

    Args:
        folder: of the pack.
        cohort: the one it was trained on.
        run: folder of the run, for a pack that does not hold the run's settings.

    Raises:
        CSegSynthError: nothing says how the pack was trained.
    """
    pack = load_pack(folder)
    settings = pack.about.get("run")
    if settings is None:
        if run is None:
            raise CSegSynthError(
                f"pack {folder} does not say how it was trained", fix="give the folder of its run with --run"
            )
        settings = json.loads((run / "config.json").read_text("utf-8"))
    metrics = evaluate(pack, cohort, progress=progress)
    files = {"metrics.json": json.dumps(metrics, indent=1) + "\n", "card.md": card(pack, metrics, settings)}
    add_files(folder, {name: text.encode() for name, text in files.items()})
    return metrics


def add_regional_regressions(folder: Path, cohort: Cohort, *, progress: bool = True) -> Path:
    """Fit regressions of regional volumes to a pack's training people and put them beside those of tissues.

    Nothing is trained, calibrated or measured, and the regressions of tissues stay as they are.

    Args:
        folder: of the pack.
        cohort: the one it was trained on; regions are read off its maps (`train.evaluate.real_regions`).

    Raises:
        TableError: the cohort lacks some of the training people.
        PackError: the pack has no regressions of tissues.
    """
    pack = load_pack(folder)
    tissues = baselines.to_tensors(regressions_of(pack))
    people = training_people(pack, cohort)
    x = pack.encoder.encode(people).x.astype(float)
    regional = real_regions(cohort, people.ids, what="regions of training people", progress=progress)
    found = baselines.to_tensors(baselines.fit_regions(x, regional), baselines.REGIONS_KIND)
    return add_files(folder, {"regressions.safetensors": save(tissues | found)})


def training_people(pack: Pack, cohort: Cohort) -> Parsed:
    """The people of a cohort that a pack was trained on.

    Raises:
        TableError: the cohort lacks some of them.
    """
    keys = set(pack.about["people"]["train"])
    ids = [i for i in cohort.ids if person_key(i) in keys]
    if cohort.features is None or len(ids) != len(keys):
        raise TableError(
            f"{cohort.folder} is not the cohort that pack {pack.name} was trained on",
            expected=f"{len(keys)} training people with features",
            got=f"{len(ids)} of them",
        )
    return pack.schema.validate(cohort.features.loc[ids].reset_index(), source="participants.tsv")


def save_comparison(
    pack: Pack, model: ConditionalModel, training: dict[str, Any], *, name: str | None = None
) -> Path:
    """Put another model that was trained on a pack's people into that pack, for comparison.

    Args:
        pack: with the people, features and licence.
        model: any family.
        training: how it was made, such as `steps` and `seconds`; stands in its `pack.json` and in reports.
        name: of its folder in the pack's `comparison`; default the model's family.

    Returns:
        Folder of the comparison pack.
    """
    name = name or model.family
    own = ("files", "format", "version", "software", "notes", "limits", "steps", "run", "training", "noise")
    about = {k: v for k, v in pack.about.items() if k not in own}
    about |= {
        "name": f"{pack.name}-{name}",
        "title": f"{measured.name_of(name)} for comparison with {pack.name}",
        "created": datetime.now(UTC).date().isoformat(),
        "training": training,
    }
    said = "".join(f"| {k.replace('_', ' ')} | {v} |\n" for k, v in training.items())
    text = f"""# {about["title"]}

{"**SIMULATED PEOPLE.** " if pack.simulated else ""}Trained on the people, features and maps of the pack
`{pack.name}`, whose card tells about them. Scored beside it by
`python -m train evaluate --pack {pack.name} --cohort DIR`. Research use only.

Attribution: {pack.about["attribution"]}
Licence: {pack.about["licence"]}.

| how it was made | |
|---|---|
{said}"""
    return save_pack(
        pack.folder / COMPARISON / name,
        about=about,
        model=model,
        encoder=pack.encoder,
        regressions=pack.regressions,
        centiles=pack.centiles,
        metrics={},
        card=text,
    )


AGE_GROUPS = (40.0, 60.0)
"""Years that divide training people into groups."""
MOST_OF_A_GROUP = 40
"""People whose maps a group's mean is taken over; beyond these, the first."""


def group_means(pack: Pack, cohort: Cohort, *, seed: int = 0, progress: bool = True) -> GroupMeans:
    """Mean maps of the training people by sex and age, and of one generated brain of each of the same people.

    Groups with fewer people than `csegsynth_core.group_means.FEWEST` are left out.
    """
    people = training_people(pack, cohort)
    groups, real, model = [], [], []
    for label, ids in _groups(people):
        if len(ids) < FEWEST:
            continue
        some = people.select(ids[:MOST_OF_A_GROUP])
        groups.append(Group(label, len(some)))
        real.append(np.mean([cohort.maps(i) for i in some.ids], axis=0, dtype=np.float32))
        total = np.zeros_like(real[-1])
        encoded = pack.encoder.encode(some).x
        for row, x in enumerate(tqdm(encoded, desc=label, unit="person", disable=not progress)):
            with torch.inference_mode():
                z = pack.model.draw(1, seed + 1 + row)
                total += pack.model.on_grid(pack.model(torch.from_numpy(x[None]), z))[
                    0, : len(TISSUES)
                ].numpy()
        model.append(total / len(some))
    return GroupMeans.of(groups, real, model)


def _groups(people: Parsed) -> list[tuple[str, list[str]]]:
    """People by sex and age, as far as the features have these."""
    age, sex = people.schema.age, people.schema.sex
    table = people.data
    out: list[tuple[str, list[str]]] = []
    for level in list(sex.levels) if sex else [None]:
        own = table[table[sex.name] == level] if sex else table
        who = sex.levels[level] if sex else "everybody"
        if age is None:
            out.append((who, list(own.index)))
            continue
        years = own[age.name].astype(float)
        low, high = AGE_GROUPS
        out.append((f"{who}, under {low:.0f}", list(own.index[years < low])))
        out.append((f"{who}, {low:.0f} to {high:.0f}", list(own.index[(years >= low) & (years < high)])))
        out.append((f"{who}, {high:.0f} and over", list(own.index[years >= high])))
    return out


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118)


def _features(pack: Pack) -> str:
    """Their names, or how many of each group where they are many."""
    if len(pack.schema.names) <= 20:
        return ", ".join(pack.schema.names)
    groups = Counter(one.group for one in pack.schema.features)
    return f"{len(pack.schema.names)} ({', '.join(f'{n} {group}' for group, n in groups.items())})"


def _brains_alone(pack: Pack) -> str:
    """How many brains more pre-training saw."""
    more = len(pack.about["people"].get("images_only", []))
    who = "brain of a person" if more == 1 else f"brains of {more} people"
    return f"\nThe {who} without features took part in pre-training and in the start." if more else ""


def _check_finite(model: ConditionalModel) -> None:
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise CSegSynthError(f"the run's weights are unusable: {name} holds values that are not numbers")


def _steps_said(about: dict[str, Any], settings: dict[str, Any]) -> str:
    """Steps of each stage; where time was up before they were done and nothing tells where, of all together."""
    most = [int(s["steps"]) for s in settings["stages"]]
    done = about.get("training", {}).get("stage_steps", most)
    total = int(about.get("steps", sum(done)))
    said = "; ".join(
        f"{n} steps {_STAGES[s['kind']]} at {_VOXELS[s['resolution']]}"
        for n, s in zip(done, settings["stages"], strict=True)
        if s["steps"]
    )
    if sum(done) == total:
        return said
    return f"{total} steps of at most {sum(done)}, when the time that was given was up ({said} at most)"


def _start_and_calibration(about: dict[str, Any], settings: dict[str, Any]) -> str:
    """Where training started, and what was set after it."""
    said, most = [], settings.get("component_people", 0)
    if settings["component_steps"]:
        some = 0 < most < len(about["people"]["train"])
        brains = f"{most} of the training brains" if some else "each training brain"
        moved = _MOVED if "component_people" in settings else ""  # both came together
        said.append(_STARTS.format(brains=brains, steps=settings["component_steps"], moved=moved))
    noise = about.get("noise", {})
    if "grain_gm" in noise:  # older packs lack it
        names = [f"{kind}_{t}" for kind in ("detail", "detail2") for t in TISSUES]
        detail = {name: noise[f"{name}_made"] / noise[f"{name}_real"] for name in names}
        matched = _CHAIN if noise.get("chain") else _CURVES
        places = _PLACES if "mirrored" in noise else ""  # both came together
        again = _AGAIN * bool(about.get("training", {}).get("calibrated_again"))
        told = _CAUTIOUS.format(**noise) if "caution_csf" in noise else _TOLD
        words = {"matched": matched, "places": places, "told": told}
        t1 = _T1.format(**noise) if noise.get("template_t1") else ""
        t1 += _VIRTUAL * bool(t1 and about.get("simulated"))
        said.append(_RECORDED + again + t1 + _TEXTURE.format(**noise | detail | words))
    if noise:
        alike = _ALIKE.format(**noise) if noise.get("mirrored") else ""
        falx = _FALX.format(**noise) if "falx_mm" in noise else ""
        narrowed = _NARROWED * (noise.get("excess", 0.0) > 1.0)
        said.append((_NOISE + narrowed).format(**noise | {"alike": alike, "falx": falx}))
    return " ".join(said)


def _regions_by_method(metrics: dict[str, Any]) -> str:
    """All methods in all regions for the card, Markdown, and what it comes to."""
    said = [_wrapped(measured.regions_said(metrics))]
    for head, table in (
        ("MAPE, %, of every method:", report.regions_scored(metrics)),
        (f"{report.PAIRED} {report.MARKS}", report.regions_compared(metrics)),
        (measured.COUNTED, measured.regions_counted(metrics)),
    ):
        if len(table):
            rows = [f"| {name} | {' | '.join(map(str, cells))} |" for name, *cells in table.itertuples()]
            columns = f"| method | {' | '.join(table.columns)} |\n|{'---|' * (len(table.columns) + 1)}"
            said += [_wrapped(head), "\n".join([columns, *rows])]
    return "".join(f"\n{one}\n" for one in said if one)


def card(pack: Pack, metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """The model card, Markdown; numbers come from `metrics`, the run's settings and what `make_pack` recorded."""

    def cell(by: dict[str, Any], name: str, form: str) -> str:
        value, low, high = (by[name][k] for k in ("value", "low", "high"))
        if value is None:
            return "n/a"
        return f"{value:{form}}" + ("" if low is None else f" [{low:{form}}, {high:{form}}]")

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
    image_rows = []
    for metric in next(iter(metrics["floors"].values())):
        said = measured.metric_of(metric)[0].replace("|", r"\|")  # within a Markdown table
        floor = [cell(metrics["floors"][t], metric, ".4g") for t in TISSUES]
        for method, by in metrics["images"].items():
            found = [cell(by[t], metric, ".4g") for t in TISSUES]
            image_rows.append(f"| {said} | {measured.name_of(method)} | {' | '.join(found)} |")
        image_rows.append(f"| {said} | real against real | {' | '.join(floor)} |")
    region_rows = [
        f"| {name.replace('_', ' ')} | "
        + " | ".join(cell(by, m, form) for m, form in (("mape", ".1f"), ("r2", ".2f"), ("pearson", ".2f")))
        + " |"
        for name, by in metrics["regions"]["csegsynth"].items()
    ]
    copied = [
        f"| {measured.name_of(name)} | {cell(by['brain'], 'nearest', '.4f')} | "
        f"{cell(by['brain'], 'relative', '.3f')} | {by['brain']['close']['value']:.0f} |"
        for name, by in metrics.get("memorisation", {}).items()
    ]
    achieved = [
        f"| {measured.name_of(method)} | "
        + " | ".join(cell(by[t], "mae_ratio", ".2f") for t in TISSUES)
        + " |"
        for method, by in metrics.get("achievable", {}).items()
        if method != "best_achievable"
    ]
    told = [
        f"| {' | '.join(budget)} | {by['parameters'] / 1e6:.2f} | {by['weights_mb']:.1f} | "
        f"{by['seconds_per_brain']:.2f} |"
        for budget, by in zip(report.budgets(metrics), metrics["models"].values(), strict=True)
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
    stages = _steps_said(pack.about, settings)
    stages = f"{stages}; batch {settings['batch']}, seed {settings['seed']}. Averaged weights " + (
        "of the last step."
        if settings.get("select", "last") == "last"
        else "that validated best: errors on the people kept aside are somewhat optimistic."
    )
    started = _start_and_calibration(pack.about, settings)
    artefacts = report.artefacts_of(metrics)
    extractors = "; ".join(dict.fromkeys(metrics["extractors"].values()))
    lines = "\n".join
    memory, beside = "", ""
    if copied:
        memory = f"""
## Memorisation
Distance of each brain to its nearest training brain (root mean square difference of fractions), and the same over
its median distance to all of them; `close`: percent of brains nearer than 95 % of the real people kept aside.

| brains | nearest | nearest / median | close % |
|---|---|---|---|
{lines(copied)}
"""
    if achieved:
        beside = f"""
## Beside the best achievable
Mean absolute error over that of the best predictor that the simulation allows: the median volume given everything
that the table records of a person.

| method | WM | GM | CSF |
|---|---|---|---|
{lines(achieved)}
"""
    spread, inside = (metrics[k]["csegsynth"] for k in ("spread_over_draws_ml", "inside_90_percent_of_draws"))
    return f"""# Model card: `{pack.name}`

**{pack.about["title"]}.** CSegSynth {__version__}, preset `{settings["preset"]}`, made {
        pack.about["created"]
    }.
{
        "**SIMULATED PEOPLE.** " if pack.simulated else ""
    }Research use only. Not for diagnosis, prognosis or any decision
about a person. A generated brain is a sample of a model: a hypothesis about a population, not a forecast.

## Data
{metrics["n_train"]} people trained on, {metrics["n"]} kept aside, alike in age and sex.{_brains_alone(pack)}
Features: {_features(pack)}. Missing values are imputed and flagged.
Maps: `python -m csegsynth_core {
        "simulate" if pack.simulated else "prepare"
    }`, 2 mm, rigidly aligned to ICBM152 axes.

Attribution: {pack.about["attribution"]}
Licence of the pack: {pack.about["licence"]}.
{_MEANS if PICTURE in pack.about["files"] else ""}
## Training
{_wrapped(stages)}
{_wrapped(pack.about.get("notes", ""))}
Generator and prior network: {metrics["parameters"] / 1e6:.2f} M parameters and template values.
{_wrapped(started)}

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

{_wrapped(report.beats_mean(metrics))}

Ratio of MAPE to ridge's: {", ".join(f"{t.upper()} {metrics['mape_over_ridge'][t]:.2f}" for t in TISSUES)}.
`typical` is the brain without noise (seed 0). Standard deviation over draws:
{", ".join(f"{t.upper()} {sd:.1f} mL" for t, sd in spread.items())}. Of these people's own volumes
{
        ", ".join(f"{100 * inside[t]:.0f} % ({t.upper()})" for t in TISSUES)
    } lie between the 5th and 95th percentile of
their {DRAWS} draws; draws that spread as real people do would hold {100 * metrics["inside_expected"]:.0f} %.

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
Read by the parcellation network off generated maps (mean of {metrics["region_draws"]} draws) and off the same
people's real maps. Regressions were fitted to its reading of the training people's real maps. CSegSynth:

| region | MAPE % | R² | Pearson r |
|---|---|---|---|
{lines(region_rows)}
{_regions_by_method(metrics)}
## Images
One draw of each person against the real maps, with 95 % jackknife intervals over people, and what other real people
score (mean and range over choices of people). Lower is better.
{_wrapped(f"FID looks through {extractors}. {report.floor_said(metrics)}")}

| metric | method | WM | GM | CSF |
|---|---|---|---|---|
{lines(image_rows)}

Gradient energy of generated maps over the same people's real maps:
{", ".join(f"{measured.name_of(k)} {v:.2f}" for k, v in metrics["sharpness"].items())}.

{_wrapped(report.ARTEFACTS)}

| {" | ".join(artefacts.columns)} |
|{"---|" * len(artefacts.columns)}
{lines(f"| {' | '.join(row)} |" for row in artefacts.itertuples(index=False))}
{memory}{beside}
## Models
{_wrapped(report.budget_said(metrics))}

| model | steps | minutes of training | minutes of calibration | parameters, M | weights, MB | s per brain |
|---|---|---|---|---|---|---|
{lines(told)}

## Limits
{pack.about.get("limits", "")}
- Folds are those of one average template, displaced at random from draw to draw: nobody's own. Do not use the maps
  to study sulcal variability.
- Associations, not effects: changing a feature shows what people with that value look like.

## Again
`python -m train evaluate --pack {pack.name} --cohort DIR` measures all of this again on the prepared cohort.
"""
