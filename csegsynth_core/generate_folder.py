"""Brains of a whole table as a BIDS derivative, person by person, so that a stopped run can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from csegsynth_core.data import bids
from csegsynth_core.data.encoder import Encoded
from csegsynth_core.data.nifti import write_bytes, write_text
from csegsynth_core.export import (
    as_given,
    dataset_files,
    map_names,
    participant_label,
    person_files,
    region_row,
    volume_row,
)
from csegsynth_core.generate import Brain, generate_encoded, latent_draws
from csegsynth_core.pack import Pack
from csegsynth_core.resume import features_hash, keep_settings, made_for, made_for_others

SETTINGS = "generate.json"
_MARK = "_desc-synthetic_volumes.json"


def generate_folder(
    pack: Pack,
    people: pd.DataFrame,
    folder: Path,
    *,
    seed: int = 0,
    draws: int = 1,
    maps: bool = True,
    regions: bool = True,
    source: str = "table",
    told: Callable[[Encoded], object] = lambda _: None,
    done: Callable[[int], object] = lambda _: None,
    replaced: Callable[[str], object] = lambda _: None,
) -> tuple[int, int]:
    """Generate everybody of a table, into a new folder or one that holds people with the same settings.

    Each person's maps are written first and `sub-X/sub-X_desc-synthetic_volumes.json` (volumes in mL, features,
    settings) last: a person with that file and all maps is finished, and is not made again by a later run. Tables
    (`volumes.tsv`, `regions.tsv`, `participants.tsv`, `given.tsv`) are written at the end and hold everybody in the
    folder, those of other tables after those of this one.

    Args:
        people: as from `csegsynth_core.data.tables.read_table`.
        seed, draws: latent draws of each person, see `generate.generate`.
        maps: write NIfTI maps; without, tables only.
        regions: measure volumes of regions, too.
        told: given the encoded people before anything is written, see `Encoded.remarks`.
        done: told 1 after each person.
        replaced: told the id of everybody who was there with other features; those brains are gone.

    Returns:
        People made, and people already there.

    Raises:
        TableError: the table cannot be used; nothing is written then.
        SourceError: the folder holds brains with other settings or of another model.
        CSegSynthError: `seed` or `draws` cannot be used.
    """
    parsed = pack.schema.validate(people, source=source)
    encoded = pack.encoder.encode(parsed)
    told(encoded)
    given = parsed.raw[[name for name in pack.schema.names if name in people]]
    latent_draws(pack, draws, seed)  # refused before anything is written
    settings = {
        "Synthetic": True,
        "ModelPack": pack.name,
        "ModelHash": pack.hash,
        "SimulatedTrainingData": pack.simulated,
        "Seed": seed,
        "Draws": draws,
        "Maps": maps,
        "Regions": regions,
    }
    keep_settings(folder / SETTINGS, settings, what="brains", finished=f"sub-*/*{_MARK}")
    made = kept = 0
    rows: list[dict[str, Any]] = []
    seen = []
    for row, who in enumerate(encoded.natural.index):
        digest, flags = features_hash(dict(encoded.natural.iloc[row])), encoded.flags_of(row)
        mark = _mark(folder, str(who))
        files = _maps(folder, str(who), draws) if maps else []
        if made_for(mark, digest, flags, *files):
            kept += 1
        else:
            if made_for_others(mark, digest, flags):
                replaced(str(who))
            mark.unlink(missing_ok=True)  # made for other features: not finished any more
            brains = []
            for brain in generate_encoded(pack, encoded, [row], seed=seed, draws=draws):
                for name, content in person_files(brain, pack) if maps else ():
                    write_bytes(folder / name, content)
                brains.append(_measured(brain, regions))
            written = settings | {"FeaturesHash": digest, "Features": brain.features, "Brains": brains}
            written |= {"FeatureFlags": flags, "Given": given.iloc[row].to_dict()}
            write_text(mark, bids.sidecar(written) + "\n")
            made += 1
        rows.append(json.loads(mark.read_text("utf-8")))
        seen.append(mark)
        done(1)
    rows += _others(folder, seen, settings)
    named = {one["Brains"][0]["volumes"]["participant_id"]: one for one in rows}
    together = dataset_files(
        pack,
        volumes=[b["volumes"] for one in rows for b in one["Brains"]],
        regions=[b["regions"] for one in rows for b in one["Brains"]] if regions else (),
        people={label: one["Features"] for label, one in named.items()},
        flags={label: one["FeatureFlags"] for label, one in named.items()},
        given={
            label: one.get("Given") or as_given(one["Features"], one["FeatureFlags"])
            for label, one in named.items()
        },
        seed=seed,
        draws=draws,
        maps=maps,
    )
    for name, content in together:
        if maps or name != "dseg.tsv":
            write_bytes(folder / name, content)
    return made, kept


def _measured(brain: Brain, regions: bool) -> dict[str, Any]:
    out = {"volumes": volume_row(brain)}
    return out | {"regions": region_row(brain)} if regions else out


def _mark(folder: Path, who: str) -> Path:
    label = participant_label(who)
    return folder / label / f"{label}{_MARK}"


def _maps(folder: Path, who: str, draws: int) -> list[Path]:
    """Maps and sidecars that a finished person has."""
    names = [name for draw in range(draws) for name in map_names(participant_label(who), draw, draws)]
    return [folder / f"{name}{ending}" for name in names for ending in (".nii.gz", ".json")]


def _others(folder: Path, seen: Collection[Path], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What finished people of other tables have in their files; unreadable ones and other settings left out."""
    out = []
    for mark in sorted(set(folder.glob(f"sub-*/*{_MARK}")) - set(seen)):
        try:
            one = json.loads(mark.read_text("utf-8"))
            usable = one["Brains"] and one["Features"] and isinstance(one["FeatureFlags"], dict)
            if usable and all(one[k] == v for k, v in settings.items()):
                out.append(one)
        except (ValueError, KeyError, TypeError):
            continue
    return out
