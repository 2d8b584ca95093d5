"""Saliency of many people on disk: one table for each, whole or absent, and a summary; resumes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from csegsynth_core import __version__, saliency
from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import TableError
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack

_SETTINGS = "settings.json"


def write_tables(
    pack: Pack,
    people: pd.DataFrame,
    out: Path,
    *,
    draws: int = saliency.DRAWS,
    seed: int = 0,
    resolution: int = 1,
    progress: saliency.Progress | None = None,
) -> tuple[int, int]:
    """Write `people/sub-X_saliency.tsv` for everybody, `summary.tsv` and `settings.json`.

    Each person's table holds the mean gradient over draws and its spread (`saliency.summarise`); the summary the
    mean over all people with its bootstrap interval. A person whose table is there, with the same features, is
    not computed again.

    Args:
        people: as from `read_table`.
        out: folder; made when it is not there.
        progress: told after each person.

    Returns:
        How many people were computed, and how many were already there.

    Raises:
        TableError: `people` cannot be used, or `out` holds tables made with other settings.
    """
    encoded = encode(pack, people, source=str(people.attrs.get("source", "people")))
    settings = {
        "pack": pack.name,
        "pack_hash": pack.hash,
        "draws": draws,
        "seed": seed,
        "resolution": resolution,
    }
    _same_settings(out, settings)
    names = [str(i) for i in encoded.natural.index]
    made, slopes, last = 0, [], None
    for row, name in enumerate(names):
        person = encoded.natural.iloc[[row]]
        stamp = hashlib.sha256(encoded.x[row].tobytes()).hexdigest()[:16]
        path = out / "people" / f"{name}_saliency.tsv"
        held = _read(path, stamp, pack, draws)
        if held is None:
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
    text = saliency.with_provenance(whole, together).to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g"
    )
    write_text(out / "summary.tsv", text)
    return made, len(names) - made


def _same_settings(out: Path, settings: dict[str, object]) -> None:
    """Refuse to mix tables of different settings in one folder."""
    path = out / _SETTINGS
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        different = [k for k, v in settings.items() if before.get(k) != v]
        if different:
            raise TableError(
                f"{out} holds tables made with other settings",
                expected=", ".join(f"{k} {before.get(k)}" for k in different),
                got=", ".join(f"{k} {settings[k]}" for k in different),
                fix="choose another folder with --out, or repeat the settings",
            )
    described = settings | {
        "software": f"CSegSynth {__version__}",
        "description": "Gradients of generated volumes with respect to standardised features (mL per SD); "
        "associations that a model learned from cross-sectional data, not effects",
    }
    write_text(path, json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _write(path: Path, table: pd.DataFrame, stamp: str) -> None:
    """A person's table; the last column recognises the features that it was made for."""
    table = table.drop(columns=["low_ml", "high_ml", "per_unit_low_ml", "per_unit_high_ml", "people"])
    text = table.assign(features=stamp).to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g")
    write_text(path, text)


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
        return (
            wide.reindex(index=measures, columns=pack.encoder.columns)
            .fillna(0.0)
            .to_numpy(np.float32)[None, None]
        )
    except (KeyError, ValueError):
        return None
