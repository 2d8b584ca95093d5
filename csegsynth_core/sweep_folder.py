"""Sweeps of a whole table, one finished file for each person, so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from csegsynth_core.data import bids
from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import SourceError
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import Plan, sweep
from csegsynth_core.sweep_report import bibtex, methods


def sweep_folder(
    pack: Pack,
    people: pd.DataFrame,
    plan: Plan,
    folder: Path,
    *,
    source: str = "table",
    done: Callable[[int], object] = lambda _: None,
) -> tuple[int, int]:
    """Sweep everybody of a table.

    Writes `sub-X_sweep.tsv` (volumes in mL by scenario, age and draw) and `sub-X_path.tsv` (features along the
    path) for each person; the volumes come last, so that a person with volumes is finished. Existing people
    are left as they are when they were made with the same settings, model and features.

    Args:
        people: as from `csegsynth_core.data.tables.read_table`.
        done: told 1 after each person.

    Returns:
        People swept, and people already there.

    Raises:
        TableError: the table cannot be used; nothing is written then.
        SourceError: the folder holds a sweep with other settings or of another model.
    """
    parsed = pack.schema.validate(people, source=source)
    settings = {
        "Synthetic": True,
        "Description": "Volumes of generated brains over age; not measurements of anybody and not a forecast",
        "ModelPack": pack.name,
        "ModelHash": pack.hash,
        "SimulatedTrainingData": pack.simulated,
        "Plan": json.loads(json.dumps(asdict(plan))),
        "Units": {"age": pack.schema.age.units if pack.schema.age else "", "wm, gm, csf, wm+gm+csf": "mL"},
    }
    _check_settings(folder / "sweep.json", settings)
    made = kept = 0
    written = False
    for who, row in parsed.data.iterrows():
        person = {str(k): None if v is None or v != v else v for k, v in row.items()}
        digest = hashlib.sha256(json.dumps(person, sort_keys=True).encode()).hexdigest()
        stem = f"{who}" if str(who).startswith("sub-") else f"sub-{who}"
        target, mark = folder / f"{stem}_sweep.tsv", folder / f"{stem}_sweep.json"
        if (
            target.exists()
            and mark.exists()
            and json.loads(mark.read_text("utf-8"))["FeaturesHash"] == digest
        ):
            kept += 1
            done(1)
            continue
        target.unlink(missing_ok=True)
        one = sweep(pack, person, plan)
        if not written:
            write_text(folder / "methods.txt", methods(one) + "\n")
            write_text(folder / "citation.bib", bibtex())
            written = True
        write_text(folder / f"{stem}_path.tsv", _tsv(one.features))
        write_text(mark, bids.sidecar({"Synthetic": True, "FeaturesHash": digest, "Features": person}))
        write_text(target, _tsv(one.volumes))
        made += 1
        done(1)
    return made, kept


def _check_settings(path: Path, settings: dict[str, object]) -> None:
    """Write the settings of a new folder, or refuse one with others."""
    if not path.exists():
        write_text(path, bids.sidecar(settings) + "\n")
        return
    held = json.loads(path.read_text("utf-8"))
    other = [k for k, v in settings.items() if held.get(k) != v]
    if other:
        raise SourceError(
            f"{path.parent} holds a sweep with other settings",
            expected=f"the same {', '.join(other)}",
            got=", ".join(f"{k} {held.get(k)}" for k in other)[:300],
            fix="choose another folder, or the same settings to go on",
        )


def _tsv(frame: pd.DataFrame) -> str:
    return frame.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g")
