"""A prepared cohort: people's maps, features and volumes, read alike whoever made it.

On disk it is a BIDS derivative (see `prepare`) with a packed copy of all maps for training:
`packed.npy`, uint8, shape (people, 3, i, j, k), 255 = 1.0, cut to the box named in `packed.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from csegsynth_core import grid
from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import SourceError
from csegsynth_core.tissue import ALL, TISSUES


@dataclass(frozen=True)
class Cohort:
    """Prepared people. Open one with `Cohort.open(folder)`."""

    folder: Path
    ids: tuple[str, ...]
    box: tuple[slice, slice, slice]
    """The part of the grid that `packed` covers; everywhere else is background."""
    volumes_ml: pd.DataFrame
    """Columns `wm`, `gm`, `csf` in mL, index participant_id."""
    features: pd.DataFrame | None
    """Features as text, index participant_id; None if the source had no table."""
    participants_json: dict[str, Any]
    simulated: bool

    @classmethod
    def open(cls, folder: Path) -> Cohort:
        """Open a prepared cohort.

        Raises:
            SourceError: the folder is not a finished prepared cohort.
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / "packed.json").read_text("utf-8"))
            description = json.loads((folder / "dataset_description.json").read_text("utf-8"))
            volumes = pd.read_csv(folder / "volumes.tsv", sep="\t").set_index("participant_id")
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(
                f"{folder} is not a prepared cohort",
                expected="packed.json, packed.npy, volumes.tsv and dataset_description.json",
                got=str(error),
                fix="run `python -m csegsynth_core prepare SOURCE DEST`",
            ) from error
        table, features = folder / "participants.tsv", None
        if table.is_file():
            features = read_table(table).set_index("participant_id")
            if len(features.columns) == 0:
                features = None
        meta = folder / "participants.json"
        return cls(
            folder=folder,
            ids=tuple(index["participants"]),
            box=tuple(slice(a, b) for a, b in index["box"]),  # type: ignore[arg-type]
            volumes_ml=volumes.loc[index["participants"], list(TISSUES)],
            features=features,
            participants_json=json.loads(meta.read_text("utf-8")) if meta.is_file() else {},
            simulated=bool(description.get("Simulated", False)),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def packed(self) -> NDArray[np.uint8]:
        """All maps, memory-mapped: (people, 3, i, j, k), 255 = 1.0, cut to `box`."""
        return np.load(self.folder / "packed.npy", mmap_mode="r", allow_pickle=False)

    def maps(self, person: int | str) -> NDArray[np.float32]:
        """Tissue maps of one person on the whole grid, shape (3, 80, 128, 128), in [0, 1]."""
        row = self.ids.index(person) if isinstance(person, str) else person
        out = np.zeros((len(TISSUES), *grid.SHAPE), np.float32)
        out[(slice(None), *self.box)] = np.asarray(self.packed[row], np.float32) / 255.0
        return out


def read_features(folder: Path, ids: list[str]) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """Rows of the source's participants table for `ids`, and its `participants.json`.

    The table is checked against its schema here, so that a bad value is told before hours of work.

    Raises:
        TableError: the table cannot be used; names file, row and column.
    """
    from csegsynth_core.data.schema import Schema

    meta: dict[str, Any] = {}
    if (folder / "participants.json").is_file():
        meta = json.loads((folder / "participants.json").read_text("utf-8"))
    for name in ("participants.tsv", "participants.csv", "participants.xlsx"):
        path = folder / name
        if path.is_file():
            table = read_table(path)
            if meta:
                Schema.from_participants_json(meta, table).validate(table, source=str(path))
            table = table.set_index("participant_id")
            table = table.reindex([i for i in ids])
            return table, meta
    return None, meta


def write_features(dest: Path, ids: list[str], table: pd.DataFrame | None, meta: dict[str, Any]) -> None:
    """Write `participants.tsv/json` of a prepared cohort; people without a row get `n/a`."""
    if table is None:
        table = pd.DataFrame(index=pd.Index(ids, name="participant_id"))
    out = table.reindex(ids)
    out.index.name = "participant_id"
    write_text(dest / "participants.tsv", out.reset_index().to_csv(sep="\t", index=False, na_rep="n/a"))
    write_text(dest / "participants.json", json.dumps(meta, indent=1, ensure_ascii=False))


def write_packed(dest: Path, ids: list[str]) -> None:
    """Gather the maps of `ids` into `packed.npy`, one person in memory at a time."""
    low = np.asarray([s.start for s in grid.BOX])
    high = np.asarray([s.stop for s in grid.BOX])
    shape = (len(ids), len(TISSUES), *(high - low))
    part = dest / ".part-packed.npy"
    try:
        packed = open_memmap(part, mode="w+", dtype=np.uint8, shape=tuple(int(s) for s in shape))
        for row, participant in enumerate(ids):
            maps = _read_person(dest, participant)
            inside = maps[(slice(None), *grid.BOX)]
            packed[row] = np.rint(inside * 255.0).astype(np.uint8)
        packed.flush()
        del packed
        part.replace(dest / "packed.npy")
    finally:
        part.unlink(missing_ok=True)
    index = {
        "participants": ids,
        "tissues": list(TISSUES),
        "box": [[int(a), int(b)] for a, b in zip(low, high, strict=True)],
        "scale": 255,
        "affine": grid.affine().tolist(),
    }
    write_text(dest / "packed.json", json.dumps(index, indent=1))


def _read_person(dest: Path, participant: str) -> NDArray[np.float32]:
    stem = f"{participant}_space-{grid.SPACE}"
    folder = dest / participant / "anat"
    paths = [folder / f"{stem}_label-{t.bids}_probseg.nii.gz" for t in ALL]
    return np.stack([np.asarray(nib.load(p).dataobj, np.float32) for p in paths])
