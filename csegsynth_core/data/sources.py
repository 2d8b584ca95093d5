"""What lies in a folder of scans: raw T1s, T1s with anatomical labels, or tissue maps made elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from csegsynth_core import grid
from csegsynth_core.data.bids import entity
from csegsynth_core.errors import SourceError, TableError
from csegsynth_core.tissue import BY_NAME, TISSUES

Kind = Literal["labels", "maps", "t1"]

_FAST = {"0": "csf", "1": "gm", "2": "wm"}  # FAST numbers by T1 intensity
_SPM = {"1": "gm", "2": "wm", "3": "csf"}
_SPM_NAME = re.compile(r"^(?P<prefix>[a-z0-9]*?)(?P<key>[pc])(?P<number>[123])(?P<stem>.+)$")
_NATIVE = ("T1w", "orig", "individual", "native", "scanner")
"""`space-` values that mean the person's own space."""
_OTHER_DATASETS = ("derivatives", "sourcedata", "code", "stimuli")
"""Folders that hold other datasets (BIDS); looked into only when they are given as SOURCE."""
_NOT_NATIVE = "it was warped or modulated, so that its volumes are no longer the person's"


@dataclass
class Person:
    """One person's input files."""

    participant_id: str
    kind: Kind
    files: dict[str, Path] = field(default_factory=dict)
    """`t1`; `t1` and `labels`; or `wm`, `gm` and `csf`."""
    note: str = ""


@dataclass
class Source:
    """A folder of scans and what was found in it."""

    folder: Path
    kind: Kind
    people: list[Person]
    tissue_of: dict[int, str]
    """Tissue of each anatomical label (kind `labels` only)."""
    label_names: dict[int, str]
    """Name of each label of the table, those without a tissue included."""
    skipped: dict[str, str]
    """Files and people that were seen and not used, with the reason."""


def find(folder: Path, *, kind: Kind | None = None, apart_from: Path | None = None) -> Source:
    """Look into `folder` and decide what can be prepared from it.

    Tissue maps are preferred to labels and labels to raw scans, unless `kind` says otherwise.

    Args:
        folder: searched in depth, apart from hidden folders and other datasets (`derivatives`, `sourcedata`).
        kind: take the folder to hold this kind.
        apart_from: a folder inside `folder` that is not looked into: where results go.

    Raises:
        SourceError: no such folder, or nothing usable in it; says what was looked for and what was refused.
        TableError: a `dseg.tsv` that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is not a folder",
            expected="a folder with one scan or set of maps per person",
            got="a file" if folder.exists() else "nothing of that name",
        )
    skipped: dict[str, str] = {}
    images, elsewhere = _images(folder, apart_from)
    tissue_of, label_names, label_key = _label_table(folder, skipped)
    found: dict[Kind, list[Person]] = {
        "maps": _maps(images, folder, skipped),
        "labels": _labels(images, folder, label_key, skipped) if tissue_of else [],
        "t1": _raw(images, folder, skipped),
    }
    wanted: Iterable[Kind] = (kind,) if kind else ("maps", "labels", "t1")
    for candidate in wanted:
        if found[candidate]:
            chosen = {p.participant_id for p in found[candidate]}
            for other in ("labels", "t1"):
                for person in found[other]:
                    if person.participant_id not in chosen:
                        skipped.setdefault(
                            person.participant_id,
                            f"has no {_KIND_TITLE[candidate]}, only a {_KIND_TITLE[other]}: "
                            f"prepare it separately with --kind {other}",
                        )
            return Source(folder, candidate, found[candidate], tissue_of, label_names, skipped)
    reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
    raise SourceError(
        f"nothing in {folder} can be prepared" + (f" as {kind}" if kind else ""),
        expected="*_T1w.nii.gz; or T1s with *_dseg.nii.gz and a dseg.tsv that has a `tissue` column; or maps named "
        "*_label-GM_probseg.nii.gz (WM, CSF likewise), *_pve_{0,1,2}.nii.gz (FAST), p1*/p2*/p3* (CAT12) or "
        "c1*/c2*/c3* (SPM) in native space",
        got=(f"{len(images)} NIfTI files" + (f"; refused: {reasons}" if reasons else "")),
        fix=f"give one of the datasets inside it as SOURCE, such as {elsewhere}" if elsewhere else "",
    )


_KIND_TITLE: dict[Kind, str] = {"maps": "set of tissue maps", "labels": "T1 with labels", "t1": "raw T1"}


def _images(folder: Path, apart_from: Path | None) -> tuple[list[Path], str]:
    """NIfTI files below `folder` in order, and a folder of another dataset that was not looked into, or ""."""
    hidden = apart_from.resolve() if apart_from is not None else None
    images, elsewhere = [], ""
    for path in sorted(folder.rglob("*.nii*")):
        parts = path.relative_to(folder).parts
        if (
            not path.name.endswith((".nii", ".nii.gz"))
            or path.is_dir()
            or any(p.startswith(".") for p in parts)
        ):
            continue
        if hidden is not None and path.parent.resolve().is_relative_to(hidden):
            continue
        other = next((i for i, p in enumerate(parts[:-1]) if p in _OTHER_DATASETS), None)
        if other is None:
            images.append(path)
        elif not elsewhere:
            elsewhere = str(folder.joinpath(*parts[: min(other + 2, len(parts) - 1)]))
    return images, elsewhere


def _label_table(folder: Path, skipped: dict[str, str]) -> tuple[dict[int, str], dict[int, str], str]:
    """Tissue and name of each label, and the `desc-` value that the table belongs to (or "")."""
    for path in sorted(folder.glob("*dseg.tsv")):
        try:
            table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
            raise TableError(
                f"{path} cannot be read",
                expected="a table with columns index, name and tissue, separated by tabs (UTF-8)",
                got=str(error).strip(),
            ) from error
        lacking = {"index", "tissue"} - set(table.columns)
        if lacking:
            skipped[path.name] = f"no column {' and '.join(sorted(lacking))}: its labels cannot be used"
            continue
        tissue_of: dict[int, str] = {}
        names: dict[int, str] = {}
        for row, (index, tissue) in enumerate(zip(table["index"], table["tissue"], strict=True), start=2):
            if not re.fullmatch(r"[0-9]{1,6}", index.strip()):
                raise TableError(
                    f"{path}, row {row}, column index",
                    expected="a whole number from 0 to 999999",
                    got=repr(index),
                )
            value = int(index)
            if value in names:
                raise TableError(
                    f"{path}, row {row}, column index",
                    expected="every label once",
                    got=f"{value} a second time",
                )
            names[value] = str(table["name"].iloc[row - 2]) if "name" in table else index
            name = tissue.strip().lower()
            if name in ("", "n/a", "background", "none"):
                continue
            if name not in BY_NAME:
                raise TableError(
                    f"{path}, row {row}, column tissue",
                    expected=", ".join((*TISSUES, "n/a")),
                    got=repr(tissue),
                )
            tissue_of[value] = name
        return tissue_of, names, entity(path.name, "desc")
    return {}, {}, ""


def _labels(images: list[Path], folder: Path, desc: str, skipped: dict[str, str]) -> list[Person]:
    whole: list[Person] = []
    for path in images:
        if not _stem(path).endswith("_dseg") or entity(path.name, "desc") != desc:
            continue
        same = [
            p
            for p in images
            if p.parent == path.parent
            and _stem(p).endswith("_T1w")
            and all(entity(p.name, key) == entity(path.name, key) for key in ("sub", "ses", "run", "space"))
        ]
        if same:
            whole.append(Person(_subject(path, folder), "labels", {"t1": same[0], "labels": path}))
        else:
            skipped[path.name] = "labels without a T1 of the same name (sub-, ses-, run-, space-) beside them"
    return _one_each(whole, folder, skipped)


def _raw(images: list[Path], folder: Path, skipped: dict[str, str]) -> list[Person]:
    whole: list[Person] = []
    for path in images:
        # Programs put their letters before the name: `mwp1sub-1_T1w`, `y_sub-1_T1w`, `msub-1_T1w` are not raw.
        derived = path.name in skipped or path.name.find("sub-") > 0 or _map_name(path, {}) is not None
        if not _stem(path).endswith("_T1w") or derived:
            continue
        space = entity(path.name, "space")
        if space and space not in _NATIVE:
            skipped[path.name] = f"space-{space}: not a raw scan"
            continue
        whole.append(Person(_subject(path, folder), "t1", {"t1": path}))
    return _one_each(whole, folder, skipped)


def _maps(images: list[Path], folder: Path, skipped: dict[str, str]) -> list[Person]:
    sets: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in images:
        named = _map_name(path, skipped)
        if named:
            tissue, stem = named
            sets.setdefault((path.parent, stem), {})[tissue] = path
    whole: list[Person] = []
    for (parent, stem), files in sets.items():
        missing = [t for t in TISSUES if t not in files]
        if missing:
            where = (parent / stem).relative_to(folder)
            skipped[str(where)] = f"no map of {', '.join(t.upper() for t in missing)}"
        else:
            whole.append(Person(_subject(next(iter(files.values())), folder, stem), "maps", files))
    return _one_each(whole, folder, skipped)


def _one_each(whole: list[Person], folder: Path, skipped: dict[str, str]) -> list[Person]:
    """One set of files per person: of several sessions or runs the first, with a note.

    Programs such as fsl_anat give everybody's files one name (`T1_fast_pve_0`): where names without `sub-`
    recur in several folders, the folder's name is the person's.
    """
    folders: dict[str, set[Path]] = {}
    for person in whole:
        folders.setdefault(person.participant_id, set()).add(_place(person))
    people: dict[str, Person] = {}
    for person in whole:
        place = _place(person)
        named = "sub-" in str(next(iter(person.files.values())).relative_to(folder))
        if not named and len(folders[person.participant_id]) > 1:
            label = _alphanumeric(str(place.relative_to(folder)))
            person.participant_id = f"sub-{label}" if label else person.participant_id
        known = people.setdefault(person.participant_id, person)
        if known is person:
            continue
        if named:
            known.note = "several sessions or runs: the first was used"
        else:
            name = next(iter(person.files.values())).name
            skipped[name] = f"would be called {person.participant_id}, as another person is: rename the files"
    return list(people.values())


def _place(person: Person) -> Path:
    return next(iter(person.files.values())).parent


def _map_name(path: Path, skipped: dict[str, str]) -> tuple[str, str] | None:
    """Tissue and common stem of a file that is a tissue map in native space, else None."""
    stem = _stem(path)
    if stem.endswith("_probseg"):
        label = entity(path.name, "label").lower()
        if label not in TISSUES:
            return None
        space = entity(path.name, "space")
        if space and space not in _NATIVE:
            why = "it was prepared by CSegSynth already" if space == grid.SPACE else _NOT_NATIVE
            skipped[path.name] = f"space-{space}: {why}"
            return None
        if entity(path.name, "desc") in ("modulated", "warped"):
            skipped[path.name] = _NOT_NATIVE
            return None
        return label, re.sub(r"_label-[A-Za-z0-9]+", "", stem)
    fast = re.fullmatch(r"(.+)_pve_([012])", stem)
    if fast:
        return _FAST[fast[2]], fast[1]
    spm = _SPM_NAME.match(stem)
    if spm:
        if not spm["prefix"]:
            return _SPM[spm["number"]], spm["stem"]
        if re.fullmatch(r"s?\d*m?0?[wr]|r|s\d*m?w?", spm["prefix"]):
            skipped[path.name] = f"prefix {spm['prefix']}: {_NOT_NATIVE}"
    return None


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _alphanumeric(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _subject(path: Path, folder: Path, stem: str = "") -> str:
    """`sub-X` from the file's name, else from the folders between it and SOURCE, else made of its name."""
    inside = path.parent.relative_to(folder)
    match = re.search(r"sub-([A-Za-z0-9]+)", path.name) or re.search(r"sub-([A-Za-z0-9]+)", str(inside))
    return (
        f"sub-{match[1] if match else _alphanumeric(re.sub(r'_T1w$', '', stem or _stem(path))) or 'unnamed'}"
    )
