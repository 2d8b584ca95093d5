"""Generated brains as BIDS derivatives: maps, dseg, sidecars and tables, on disk or in a zip."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import __version__, grid
from csegsynth_core.data import bids
from csegsynth_core.data.nifti import nifti_gz_bytes
from csegsynth_core.data.volume_centiles import TOTAL_IN_TABLES
from csegsynth_core.figure_export import OWN_PACK, zipped
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack, found_by_name
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import ALL

_DRAW = {
    "draw": {
        "Description": "Latent draw, counted from 0; the same for everybody. Draws 0 and 1, 2 and 3, ... are pairs "
        "of opposite noise: their mean settles sooner, but the sample standard deviation of few is too large"
    }
}
_FLAGS = {
    "flags": {
        "Description": "JSON: what of the person's features was imputed, out of the training range or rare, and why"
    }
}
GIVEN = "given.tsv"
"""People as they were given, before anything was filled in: what commands make the same brains from."""

README = """Synthetic brain tissue maps made by CSegSynth {version} with the model pack "{pack}".

These are not scans of anybody. They are samples of a generative model trained on cross-sectional data:
a hypothesis about a population, not a measurement of a person and not a forecast. Research use only,
not for diagnosis.

{maps}{table} holds the features as they were given, participants.tsv those that the model saw: unknown and
implausible ones are filled in, and `flags` in volumes.tsv says which.

{first}The command

    {command}

makes the same {what} again, with the pack and software version that the JSON files name.

{attribution}
"""
_MAPS = """\
Maps: partial-volume fractions in [0, 1] of white matter (WM), grey matter (GM) and cerebrospinal fluid (CSF),
80 x 128 x 128 voxels of 2 mm, RAS+, rigidly aligned to ICBM152 axes, never scaled. Volume in mL = sum x 0.008.

"""


def bids_files(brains: Iterable[Brain], pack: Pack) -> Iterable[tuple[str, bytes]]:
    """Relative path and content of every file of a derivative with these brains, person by person."""
    volumes, regions, people, flags, seed = [], [], {}, {}, 0
    for brain in brains:
        yield from person_files(brain, pack)
        seed = brain.seed
        volumes.append(volume_row(brain))
        regions.append(region_row(brain))
        label = participant_label(brain)
        people[label], flags[label] = brain.features, brain.flags
    given = {label: as_given(features, flags[label]) for label, features in people.items()}
    yield from dataset_files(
        pack, volumes=volumes, regions=regions, people=people, flags=flags, given=given, seed=seed
    )


def as_given(features: Mapping[str, Any], flags: Mapping[str, str]) -> dict[str, Any]:
    """Features without those that were filled in, None in their place; see `Brain.features` and `Brain.flags`."""
    return {k: None if flags.get(k, "").startswith("imputed") else v for k, v in features.items()}


def volume_row(brain: Brain) -> dict[str, Any]:
    """A brain's row of `volumes.tsv`, mL, without `flags`."""
    return _who(brain) | brain.volumes_ml | {TOTAL_IN_TABLES: brain.total_ml}


def region_row(brain: Brain) -> dict[str, Any]:
    """A brain's row of `regions.tsv`, mL."""
    return _who(brain) | brain.regions_ml


def dataset_files(
    pack: Pack,
    *,
    volumes: Sequence[Mapping[str, Any]],
    people: Mapping[str, Mapping[str, Any]],
    flags: Mapping[str, Mapping[str, str]],
    given: Mapping[str, Mapping[str, Any]],
    seed: int,
    regions: Sequence[Mapping[str, Any]] = (),
    draws: int = 1,
    maps: bool = True,
) -> Iterable[tuple[str, bytes]]:
    """Files of a derivative beside those of its people.

    Args:
        volumes: a row for each brain, as from `volume_row`.
        people: `sub-…` → the features that the model saw.
        flags: `sub-…` → what was imputed, out of range or rare, by feature.
        given: `sub-…` → the features as they were given, None for unknown.
        regions: as from `region_row`; none: no table of regions.
        maps: whether people have maps.
    """
    name = f"Synthetic brains, CSegSynth pack {pack.name}"
    licence = str(pack.about.get("licence", ""))
    yield "dataset_description.json", bids.dataset_description(name, synthetic=True, licence=licence).encode()
    attribution = str(pack.about.get("attribution", ""))
    command = [
        "python",
        "-m",
        "csegsynth_core",
        "generate",
        "--pack",
        pack.name,
        "--table",
        GIVEN,
    ]
    command += ["--out", "DIR", "--seed", str(seed), *(["--draws", str(draws)] if draws > 1 else [])]
    command += [] if maps else ["--no-maps"]
    command += [] if regions else ["--no-regions"]
    readme = README.format(
        version=__version__, pack=pack.name, maps=_MAPS if maps else "", what="maps" if maps else "tables",
        table=GIVEN, first="" if found_by_name(pack) else f"{OWN_PACK}\n\n",
        command=shlex.join(command), attribution=attribution,
    )  # fmt: skip
    yield "README.md", readme.encode()
    yield "dseg.tsv", bids.dseg_table().encode()
    meta = {t.name: {"Description": f"{t.title} volume", "Units": "mL"} for t in ALL}
    meta[TOTAL_IN_TABLES] = {"Description": "Sum of the three tissues", "Units": "mL"}
    meta |= _FLAGS | (_DRAW if draws > 1 else {})
    said = {label: json.dumps(dict(own), ensure_ascii=False) for label, own in flags.items()}
    table = pd.DataFrame([dict(row) | {"flags": said[row["participant_id"]]} for row in volumes])
    yield "volumes.tsv", table.to_csv(sep="\t", index=False, float_format="%.3f").encode()
    yield "volumes.json", json.dumps(meta, indent=1).encode()
    if regions:
        meta = {
            r.name: {"Description": f"{r.title}, read by the parcellation network", "Units": "mL"}
            for r in REGIONS
        }
        meta |= _DRAW if draws > 1 else {}
        table = pd.DataFrame(regions)
        yield "regions.tsv", table.to_csv(sep="\t", index=False, float_format="%.3f").encode()
        yield "regions.json", json.dumps(meta, indent=1).encode()
    yield GIVEN, _people_tsv(given)
    yield from participants_files(pack, people)


def participants_files(pack: Pack, people: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, bytes]]:
    """`participants.tsv` and its description; `sub-…` → the features that the model saw."""
    yield "participants.tsv", _people_tsv(people)
    yield (
        "participants.json",
        json.dumps(pack.schema.to_participants_json(), indent=1, ensure_ascii=False).encode(),
    )


def zip_bytes(brains: Iterable[Brain], pack: Pack) -> bytes:
    """The derivative as a zip file, with dates left out so that the same brains give the same bytes."""
    return zipped(bids_files(brains, pack))


def participant_label(who: Brain | str) -> str:
    """`sub-…` with letters and digits only, safe as a file name; of a brain or a participant_id."""
    name = who if isinstance(who, str) else who.participant_id
    return "sub-" + (re.sub(r"[^A-Za-z0-9]", "", name.removeprefix("sub-")) or "synthetic")


def sidecar_fields(brain: Brain, pack: Pack) -> dict[str, Any]:
    """What every sidecar of a generated map says."""
    return {
        "Synthetic": True,
        "Description": "Sample of a generative model; not a scan of a person",
        "SpatialReference": grid.REFERENCE,
        "Seed": brain.seed,
        **({"Draw": brain.draw, "Draws": brain.draws} if brain.draws > 1 else {}),
        "ModelPack": brain.pack_name,
        "ModelHash": brain.pack_hash,
        "SimulatedTrainingData": pack.simulated,
        "Features": brain.features,
        "FeatureFlags": brain.flags,
        "VolumesML": {k: round(v, 3) for k, v in brain.volumes_ml.items()},
    }


def map_name(who: str, suffix: str, *, label: str = "", desc: str = "synthetic") -> str:
    """Path of a map without its ending, entities in the order of BIDS: `sub-X/anat/sub-X_space-…_label-GM_desc-…`.

    Args:
        who: `sub-…`.
        suffix: `probseg`, `dseg`, `statmap`.
        label: tissue, as in BIDS; none for maps of all.
    """
    entities = [who, f"space-{grid.SPACE}", *([f"label-{label}"] if label else []), f"desc-{desc}", suffix]
    return f"{who}/anat/{'_'.join(entities)}"


def tissue_names(who: str, draw: int = 0, draws: int = 1) -> list[str]:
    """`map_name` of a brain's tissues, in the order of `tissue.ALL`; of the `draw`-th of so many."""
    desc = f"synthetic{_one_of_many(draw, draws)}"
    return [map_name(who, "probseg", label=t.bids, desc=desc) for t in ALL]


def map_names(who: str, draw: int = 0, draws: int = 1) -> list[str]:
    """`map_name` of all maps of a brain: tissues, then the hard segmentation; of the `draw`-th of so many."""
    dseg = map_name(who, "dseg", desc=f"synthetic{_one_of_many(draw, draws)}")
    return [*tissue_names(who, draw, draws), dseg]


def person_files(brain: Brain, pack: Pack) -> Iterable[tuple[str, bytes]]:
    """Relative path and content of one brain's maps, hard segmentation and sidecars."""
    label = participant_label(brain)
    fields = sidecar_fields(brain, pack)
    *names, dseg = map_names(label, brain.draw, brain.draws)
    for k, (tissue, name) in enumerate(zip(ALL, names, strict=True)):
        yield f"{name}.nii.gz", _nifti(brain.maps[k], f"SYNTHETIC {tissue.bids} partial volume")
        yield f"{name}.json", bids.sidecar({"Type": "Probabilistic", "Label": tissue.bids} | fields).encode()
    yield f"{dseg}.nii.gz", _nifti(bids.hard_segmentation(brain.maps), "SYNTHETIC tissue classes")
    yield f"{dseg}.json", bids.sidecar({"Type": "Discrete", "Manual": False} | fields).encode()


def _people_tsv(people: Mapping[str, Mapping[str, Any]]) -> bytes:
    rows = [{"participant_id": label} | dict(features) for label, features in people.items()]
    return pd.DataFrame(rows).to_csv(sep="\t", index=False, na_rep="n/a").encode()


def _one_of_many(draw: int, draws: int) -> str:
    return f"Draw{draw}" if draws > 1 else ""


def _who(brain: Brain) -> dict[str, Any]:
    return {"participant_id": participant_label(brain)} | ({"draw": brain.draw} if brain.draws > 1 else {})


def _nifti(data: NDArray[Any], description: str) -> bytes:
    return nifti_gz_bytes(np.ascontiguousarray(data), grid.affine(), description=description)
