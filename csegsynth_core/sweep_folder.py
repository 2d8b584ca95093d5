"""Sweeps of a whole table, one finished file for each person, so that a stopped run can go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from csegsynth_core.data import bids
from csegsynth_core.data.encoder import Encoded
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.volume_centiles import TOTAL, TOTAL_IN_TABLES, as_written
from csegsynth_core.methods_text import bibtex
from csegsynth_core.pack import Pack
from csegsynth_core.resume import features_hash, keep_settings, made_for, made_for_others
from csegsynth_core.scenarios import MEASURES, Plan, sweep
from csegsynth_core.sweep_report import methods


def sweep_folder(
    pack: Pack,
    people: pd.DataFrame,
    plan: Plan,
    folder: Path,
    *,
    source: str = "table",
    told: Callable[[Encoded], object] = lambda _: None,
    done: Callable[[int], object] = lambda _: None,
    replaced: Callable[[str], object] = lambda _: None,
) -> tuple[int, int]:
    """Sweep everybody of a table.

    Writes `sub-X_sweep.tsv` (volumes in mL by scenario, age and draw) and `sub-X_path.tsv` (features along the
    path) for each person; the volumes come last, so that a person with volumes is finished. Existing people
    are left as they are when they were made with the same settings, model and features.

    Args:
        people: as from `csegsynth_core.data.tables.read_table`.
        told: given the encoded people before the first is swept, see `Encoded.remarks`.
        done: told 1 after each person.
        replaced: told the id of everybody who was swept with other features before; those results are gone.

    Returns:
        People swept, and people already there.

    Raises:
        TableError: the table cannot be used; nothing is written then.
        SourceError: the folder holds a sweep with other settings or of another model.
    """
    parsed = pack.schema.validate(people, source=source)
    encoded = pack.encoder.encode(parsed)
    told(encoded)
    measures = (TOTAL_IN_TABLES if m == TOTAL else m for m in MEASURES)
    settings = {
        "Synthetic": True,
        "Description": "Volumes of generated brains over age; not measurements of anybody and not a forecast",
        "ModelPack": pack.name,
        "ModelHash": pack.hash,
        "SimulatedTrainingData": pack.simulated,
        "Plan": {k: v for k, v in asdict(plan).items() if k != "changes" or v},
        "Draws": {
            "draw": "as from `generate`, counted from 0; -1: without noise, what lines are fitted to and no part of "
            "the spread over draws"
        },
        "Units": {"age": pack.schema.age.units if pack.schema.age else ""} | dict.fromkeys(measures, "mL"),
    }
    about = {"unusual": "features whose values few or no training people of that age and sex have, by name"}
    keep_settings(folder / "sweep.json", settings, what="a sweep", finished="*_sweep.tsv", about=about)
    made = kept = 0
    written = False
    for n, (who, row) in enumerate(parsed.data.iterrows()):
        person = {str(k): None if v is None or v != v else v for k, v in row.items()}
        digest, flags = features_hash(person), encoded.flags_of(n)
        stem = f"{who}" if str(who).startswith("sub-") else f"sub-{who}"
        target, mark = folder / f"{stem}_sweep.tsv", folder / f"{stem}_sweep.json"
        if made_for(mark, digest, flags, target):
            kept += 1
            done(1)
            continue
        if made_for_others(mark, digest, flags):
            replaced(str(who))
        target.unlink(missing_ok=True)
        one = sweep(pack, person, plan)
        if not written:
            write_text(folder / "methods.txt", methods(one) + "\n")
            write_text(folder / "citation.bib", bibtex() + "\n")
            written = True
        write_text(folder / f"{stem}_path.tsv", _tsv(one.features))
        side = {"Synthetic": True, "FeaturesHash": digest, "Features": person, "FeatureFlags": flags}
        write_text(mark, bids.sidecar(side))
        write_text(target, _tsv(one.volumes))
        made += 1
        done(1)
    return made, kept


def _tsv(frame: pd.DataFrame) -> str:
    return as_written(frame).to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g")
