"""A prepared cohort: people's maps, features and volumes, read alike whoever made it.

On disk it is a BIDS derivative (see `prepare`) with a packed copy of all maps for training:
`packed.npy`, uint8, shape (people, 3, i, j, k), 255 = 1.0, cut to the box named in `packed.json`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from csegsynth_core import grid
from csegsynth_core.data.nifti import read_volume, write_text
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import ImageError, SourceError, TableError
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
            volumes = volumes.loc[index["participants"], list(TISSUES)]
            ids, box = tuple(index["participants"]), tuple(slice(a, b) for a, b in index["box"])
            shape = np.load(folder / "packed.npy", mmap_mode="r", allow_pickle=False).shape
            expected = (len(ids), len(TISSUES), *(s.stop - s.start for s in box))
            if shape != expected:
                raise ValueError(f"packed.npy has shape {shape}, packed.json says {expected}")
            bad = volumes.index[~(np.isfinite(volumes) & (volumes > 0)).all(axis=1)]
            if len(bad):
                raise ValueError(
                    f"volumes.tsv: no volume above 0 mL of every tissue for {', '.join(bad[:3])}"
                )
            meta = folder / "participants.json"
            described = json.loads(meta.read_text("utf-8")) if meta.is_file() else {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{folder} is not a prepared cohort",
                expected="packed.json, packed.npy, volumes.tsv and dataset_description.json",
                got=str(error),
                fix="run `python -m csegsynth_core prepare SOURCE DEST` (again: what is finished is kept)",
            ) from error
        table, features = folder / "participants.tsv", None
        if table.is_file():
            features = read_table(table).set_index("participant_id").reindex(ids).copy()  # in one piece
            if len(features.columns) == 0:
                features = None
        return cls(
            folder=folder,
            ids=ids,
            box=box,  # type: ignore[arg-type]
            volumes_ml=volumes,
            features=features,
            participants_json=described,
            simulated=bool(description.get("Simulated", False)),
        )

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.resolve().name

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


def read_features(
    folder: Path, ids: list[str]
) -> tuple[pd.DataFrame | None, dict[str, Any], dict[str, list[str]]]:
    """The source's participants table for `ids`, its `participants.json`, and who lacks a scan or a row.

    The table is checked against its schema here, so that a bad value is told before hours of work.

    Raises:
        TableError: the table cannot be used (names file, row and column), or has nobody of `ids`.
    """
    from csegsynth_core.data.schema import Schema

    described = folder / "participants.json"
    schema = (
        Schema.from_participants_json(described) if described.is_file() else None
    )  # is it readable at all?
    meta: dict[str, Any] = json.loads(described.read_text("utf-8-sig")) if schema is not None else {}
    for name in ("participants.tsv", "participants.csv", "participants.xlsx"):
        path = folder / name
        if path.is_file():
            table = read_table(path)
            if schema is not None:
                Schema.from_participants_json(described, table).validate(table, source=name)
            table = table.set_index("participant_id")
            rows, scans = set(table.index), set(ids)
            if ids and not rows & scans:
                raise TableError(
                    f"{path}, column participant_id: nobody of the table has a scan",
                    expected=f"ids such as {ids[0]}",
                    got=f"ids such as {table.index[0]}",
                    fix="write the ids as in the names of the scans",
                )
            unmatched = {
                "rows_without_scan": [i for i in table.index if i not in scans],
                "scans_without_row": [i for i in ids if i not in rows],
            }
            return table.reindex(ids), meta, unmatched
    return None, meta, {}


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
    shape = (len(ids), len(TISSUES), *(int(n) for n in high - low))
    # Without its index the array counts as unfinished, so the index goes first and comes last.
    (dest / "packed.json").unlink(missing_ok=True)
    part = dest / ".part-packed.npy"
    try:
        # Written as a stream: a full disk is then an error, where in a memory map it kills the process.
        with part.open("wb") as file:
            write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for participant in ids:
                inside = _read_person(dest, participant)[(slice(None), *grid.BOX)]
                file.write(np.rint(inside * 255.0).astype(np.uint8).tobytes())
            file.flush()
            os.fsync(file.fileno())
        part.replace(dest / "packed.npy")
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(dest / "packed.npy")) from error
        raise
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


def map_paths(dest: Path, participant: str) -> list[Path]:
    """Files of a prepared person's maps in the order of `TISSUES`."""
    stem = f"{participant}_space-{grid.SPACE}"
    return [dest / participant / "anat" / f"{stem}_label-{t.bids}_probseg.nii.gz" for t in ALL]


def _read_person(dest: Path, participant: str) -> NDArray[np.float32]:
    maps = [read_volume(path, what="prepared map") for path in map_paths(dest, participant)]
    for path, volume in zip(map_paths(dest, participant), maps, strict=True):
        if volume.data.shape != grid.SHAPE or not np.allclose(volume.affine, grid.affine(), atol=1e-3):
            raise ImageError(
                f"{path} does not lie on the grid of prepared maps",
                expected=f"shape {grid.SHAPE} and the grid's affine",
                got=f"shape {volume.data.shape}",
                fix=f"remove the folder {dest / participant} and run prepare again",
            )
    return np.stack([volume.data for volume in maps])
