"""Saliency of many people on disk: one table for each, whole or absent, and a summary; resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from csegsynth_core import saliency
from csegsynth_core.data.encoder import Encoded
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.volume_centiles import as_written
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack
from csegsynth_core.resume import keep_settings

_COLUMNS = {
    "measure": {"Description": "Volume of a tissue, of all three (wm_gm_csf), or of a region"},
    "rank": {"Description": "By size of the mean gradient, within the measure"},
    "column": {"Description": "Encoded column: a feature, or a level of a nominal one"},
    "level": {"Description": "Level that a larger code means"},
    "per_sd_ml": {
        "Description": "Mean gradient over draws (summary: and people), for one standard deviation of the column",
        "Units": "mL",
    },
    "low_ml": {"Description": "Lower end, 95 % bootstrap interval of the mean over people", "Units": "mL"},
    "high_ml": {"Description": "Upper end, 95 % bootstrap interval of the mean over people", "Units": "mL"},
    "sd_draws_ml": {
        "Description": "Standard deviation over latent draws: the model's spread",
        "Units": "mL",
    },
    "sd": {"Description": "Standard deviation of the feature among training people, in its units"},
    "units": {"Description": "Units of the feature"},
    "per_unit_ml": {
        "Description": "Mean gradient for one natural unit (numeric features)",
        "Units": "mL per unit of the column units",
    },
    "flagged_people": {
        "Description": "How many people have values that were imputed, are out of the training range or rare"
    },
    "features": {"Description": "Recognises the features that a person's table was made for"},
    "every_voxel": {"Description": "Whether all voxels were summed, or every second one along each axis"},
}
_ABOUT = {
    "Synthetic": True,
    "Description": "Gradients of generated volumes with respect to standardised features; associations that a model "
    "learned from cross-sectional data, not effects",
    "Columns": _COLUMNS,
}


def write_tables(
    pack: Pack,
    people: pd.DataFrame,
    out: Path,
    *,
    draws: int = saliency.DRAWS,
    seed: int = 0,
    resolution: int = 1,
    told: Callable[[Encoded], object] = lambda _: None,
    progress: saliency.Progress | None = None,
    replaced: Callable[[str], object] = lambda _: None,
) -> tuple[int, int]:
    """Write `people/sub-X_saliency.tsv` for everybody, `summary.tsv` and `summary.csv`, and `settings.json`.

    `features.tsv` holds what the model saw of everybody, and what of it was imputed, out of range or rare.
    Each person's table holds the mean gradient over draws and its spread (`saliency.summarise`); the summary the
    mean over all people with its bootstrap interval. A person whose table is there, with the same features, is
    not computed again.

    Args:
        people: as from `read_table`.
        out: folder; made when it is not there.
        told: given the encoded people before anything is written, see `Encoded.remarks`.
        progress: told after each person.
        replaced: told the id of everybody whose table was of other features before; it is gone.

    Returns:
        How many people were computed, and how many were already there.

    Raises:
        TableError: `people` cannot be used.
        SourceError: `out` holds tables made with other settings.
    """
    encoded = encode(pack, people, source=str(people.attrs.get("source", "people")))
    told(encoded)
    settings = {
        "ModelPack": pack.name,
        "ModelHash": pack.hash,
        "SimulatedTrainingData": pack.simulated,
        "Draws": draws,
        "Seed": seed,
        "Resolution": resolution,
    }
    finished = "people/*_saliency.tsv"
    keep_settings(out / "settings.json", settings, what="saliency tables", finished=finished, about=_ABOUT)
    names = [str(i) for i in encoded.natural.index]
    flags = [json.dumps(encoded.flags_of(row), ensure_ascii=False) for row in range(len(names))]
    write_text(out / "features.tsv", _features(encoded.natural.assign(flags=flags)))
    made, slopes, last = 0, [], None
    for row, name in enumerate(names):
        person = encoded.natural.iloc[[row]]
        stamp = hashlib.sha256(encoded.x[row].tobytes()).hexdigest()[:16]
        path = out / "people" / f"{name}_saliency.tsv"
        held = _read(path, stamp, pack, draws)
        if held is None:
            if path.is_file():
                replaced(name)
            found = saliency.gradients(
                pack, person, draws=draws, seed=seed, resolution=resolution, measures=saliency.EVERYTHING
            )
            last = found
            _write(path, saliency.summarise(pack, found), stamp)
            held = _read(path, stamp, pack, draws)  # so that a resumed run gives the same summary
            made += 1
        assert held is not None  # noqa: S101 - it was written just now
        slopes.append(held)
        if progress is not None:
            progress(row + 1, len(names))
    if last is None:  # everybody was there: one quick pass tells the measures
        last = saliency.gradients(
            pack,
            encoded.natural.iloc[[0]],
            draws=1,
            seed=seed,
            resolution=resolution,
            measures=saliency.EVERYTHING,
        )
    together = replace(last, slopes=np.concatenate(slopes), natural=encoded.natural, flags=encoded.flags)
    whole = saliency.summarise(pack, together).assign(draws=draws).drop(columns="sd_draws_ml")
    summary = as_written(saliency.with_provenance(whole, together))
    for ending, mark in (("tsv", "\t"), ("csv", ",")):
        text = summary.to_csv(sep=mark, index=False, na_rep="n/a", float_format="%.6g")
        write_text(out / f"summary.{ending}", text)
    return made, len(names) - made


def _features(table: pd.DataFrame) -> str:
    """What the model saw of everybody, and in `flags`, JSON, what was imputed, out of range or rare."""
    return table.to_csv(sep="\t", index_label="participant_id", na_rep="n/a", float_format="%.6g")


def _write(path: Path, table: pd.DataFrame, stamp: str) -> None:
    """A person's table; the last column recognises the features that it was made for."""
    of_many = ["low_ml", "high_ml", "per_unit_low_ml", "per_unit_high_ml", "people", "flagged_people"]
    table = table.drop(columns=of_many)
    table = as_written(table.assign(features=stamp))
    write_text(path, table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g"))


def _read(path: Path, stamp: str, pack: Pack, draws: int) -> np.ndarray | None:
    """Mean gradients (1, 1, measures, columns) of a finished table; None where it is not there or for others."""
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, sep="\t", na_values="n/a", dtype={"features": str})
        if set(table["features"]) != {stamp} or set(table["draws"]) != {draws}:
            return None
        measures = list(dict.fromkeys(table["measure"]))
        wide = table.pivot_table(index="measure", columns="column", values="per_sd_ml")
        # Columns in which training people did not differ have no rows; their gradient does not matter.
        each = wide.reindex(index=measures, columns=pack.encoder.columns).fillna(0.0).to_numpy(float)
        return (each / pack.encoder.column_sd()).astype(np.float32)[None, None]
    except (KeyError, ValueError):
        return None
