"""A pack's calibration, made anew from its own weights: after calibration itself has changed no run is needed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.csegsynth import CSegSynth, TemplateGenerator
from csegsynth_core.pack import add_files, load_pack, save_pack
from csegsynth_core.tissue import TISSUES
from train.calibrate import calibrate
from train.config import RANGES
from train.pack import group_means, measure, training_people
from train.people import maps_of
from train.template import log_ratios


def recalibrate(
    folder: Path,
    cohort: Cohort,
    *,
    template_t1: float | None = None,
    keep_texture: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Calibrate a pack's CSegSynth again (`train.calibrate`), from the template as it was before any texture, and
    measure the pack.

    What features tell of volumes stays what it is in the pack, but for caution; texture is looked for near the one
    that it has.

    Args:
        folder: of the pack, which is changed.
        cohort: the one that it was trained on.
        keep_texture: sharpness and grain stay; the curves or the chain are fitted anew.
        template_t1: another share of T1 in the template than the pack's (`train.template.log_ratios`).

    Returns:
        The measurements that stand in `metrics.json`.

    Raises:
        CSegSynthError: the pack's generator has nothing to calibrate, the pack no texture to keep, or there is no
            such share.
        TableError: the cohort lacks some of the training people.
    """
    pack = load_pack(folder)
    model = pack.model
    if not isinstance(model, CSegSynth) or not isinstance(model.generator, TemplateGenerator):
        raise CSegSynthError(
            f"{folder} holds nothing to calibrate",
            expected="CSegSynth of preset compact with a template",
            got=f"{model.family} {model.config}"[:200],
        )
    people = training_people(pack, cohort)
    rows = [cohort.ids.index(i) for i in people.ids]
    before = pack.about.get("noise", {})
    share = before.get("template_t1", 0.0) if template_t1 is None else template_t1
    if share not in RANGES["template_t1"]:
        raise CSegSynthError("T1 tells no such share of the template", expected="0 to 1", got=f"{share:g}")
    near = before if "grain_gm" in before else None  # older packs lack it
    if keep_texture and near is None:
        raise CSegSynthError(
            f"{folder} has no texture to keep",
            expected="a pack that was calibrated with texture",
            got="none in pack.json's noise",
            fix="leave out --keep-texture: one is looked for",
        )
    began = time.perf_counter()
    noise = calibrate(
        model,
        lambda some: maps_of(cohort, [rows[k] for k in some], model.region, 1),
        range(len(rows)),
        torch.from_numpy(pack.encoder.encode(people).x),
        torch.from_numpy(cohort.volumes_ml.loc[people.ids].to_numpy("float32")),
        template=log_ratios(model.region, share),
        near=near,
        keep=keep_texture,
    )
    noise["template_t1"] = share
    for name in ("response", *(f"caution_{t}" for t in TISSUES)):  # since training
        noise[name] = round(noise[name] * before.get(name, 1.0), 4)
    minutes = (time.perf_counter() - began) / 60 + pack.about["training"].get("calibration_minutes", 0.0)
    training = pack.about["training"] | {"calibration_minutes": round(minutes, 1), "calibrated_again": True}
    about = {k: v for k, v in pack.about.items() if k not in ("format", "version", "software", "files")}
    about |= {"noise": noise, "training": training, "created": datetime.now(UTC).date().isoformat()}
    save_pack(
        folder,
        about=about,
        model=model,
        encoder=pack.encoder,
        regressions=pack.regressions,
        centiles=pack.centiles,
        metrics={},
        card="",
        summary=CohortSummary.of_pack(folder),
        extras={"regressions.safetensors": pack.payload("regressions.safetensors")},
    )
    add_files(folder, group_means(load_pack(folder), cohort, progress=progress).files())
    return measure(folder, cohort, progress=progress)
