"""What lies in a folder of scans: raw T1s, T1s with anatomical labels, or tissue maps made elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from csegsynth_core.errors import SourceError, TableError
from csegsynth_core.tissue import BY_NAME, TISSUES

Kind = Literal["labels", "maps", "t1"]

_FAST = {"0": "csf", "1": "gm", "2": "wm"}  # FAST numbers by T1 intensity
_SPM = {"1": "gm", "2": "wm", "3": "csf"}
_SPM_NAME = re.compile(r"^(?P<prefix>[a-z0-9]*?)(?P<key>[pc])(?P<number>[123])(?P<stem>.+)$")
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
    skipped: dict[str, str]
    """Files that were seen and not used, with the reason."""


def find(folder: Path, *, kind: Kind | None = None) -> Source:
    """Look into `folder` and decide what can be prepared from it.

    Tissue maps are preferred to labels and labels to raw scans, unless `kind` says otherwise.

    Raises:
        SourceError: no such folder, or nothing usable in it; says what was looked for and what was refused.
        TableError: a `dseg.tsv` that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder", expected="a folder with one scan or set of maps per person")
    skipped: dict[str, str] = {}
    images = sorted(p for p in folder.rglob("*.nii*") if p.name.endswith((".nii", ".nii.gz")) and _visible(p, folder))
    tissue_of, label_names, label_key = _label_table(folder)
    found: dict[Kind, list[Person]] = {
        "maps": _maps(images, skipped),
        "labels": _labels(images, label_key) if tissue_of else [],
        "t1": _raw(images),
    }
    wanted: Iterable[Kind] = (kind,) if kind else ("maps", "labels", "t1")
    for candidate in wanted:
        if found[candidate]:
            return Source(folder, candidate, found[candidate], tissue_of, label_names, skipped)
    reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
    raise SourceError(
        f"nothing in {folder} can be prepared" + (f" as {kind}" if kind else ""),
        expected="*_T1w.nii.gz; or T1s with *_dseg.nii.gz and a dseg.tsv that has a `tissue` column; or maps named "
        "*_label-GM_probseg.nii.gz (WM, CSF likewise), *_pve_{0,1,2}.nii.gz (FAST), p1*/p2*/p3* (CAT12) or "
        "c1*/c2*/c3* (SPM) in native space",
        got=(f"{len(images)} NIfTI files" + (f"; refused: {reasons}" if reasons else "")),
    )


def _visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _label_table(folder: Path) -> tuple[dict[int, str], dict[int, str], str]:
    """Tissue and name of each label, and the `desc-` value that the table belongs to (or "")."""
    for path in sorted(folder.glob("*dseg.tsv")):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        if not {"index", "tissue"} <= set(table.columns):
            continue
        tissue_of: dict[int, str] = {}
        names: dict[int, str] = {}
        for row, (index, tissue) in enumerate(zip(table["index"], table["tissue"], strict=True), start=2):
            if not index.strip().lstrip("-").isdigit():
                raise TableError(f"{path}, row {row}, column index", expected="a whole number", got=repr(index))
            name = tissue.strip().lower()
            if name in ("", "n/a", "background", "none"):
                continue
            if name not in BY_NAME:
                raise TableError(
                    f"{path}, row {row}, column tissue", expected=", ".join((*TISSUES, "n/a")), got=repr(tissue)
                )
            tissue_of[int(index)] = name
            names[int(index)] = str(table["name"].iloc[row - 2]) if "name" in table else index
        return tissue_of, names, _entity(path.name, "desc")
    return {}, {}, ""


def _labels(images: list[Path], desc: str) -> list[Person]:
    people: dict[str, Person] = {}
    for path in images:
        if not _stem(path).endswith("_dseg") or _entity(path.name, "desc") != desc:
            continue
        t1 = sorted(p for p in path.parent.glob("*_T1w.nii*") if _subject(p) == _subject(path))
        if t1:
            _add(people, Person(_subject(path), "labels", {"t1": t1[0], "labels": path}))
    return list(people.values())


def _raw(images: list[Path]) -> list[Person]:
    people: dict[str, Person] = {}
    for path in images:
        if _stem(path).endswith("_T1w") and not _entity(path.name, "space"):
            _add(people, Person(_subject(path), "t1", {"t1": path}))
    return list(people.values())


def _maps(images: list[Path], skipped: dict[str, str]) -> list[Person]:
    sets: dict[tuple[Path, str], Person] = {}
    for path in images:
        named = _map_name(path, skipped)
        if named:
            tissue, stem = named
            person = sets.setdefault((path.parent, stem), Person(_subject(path, stem), "maps"))
            person.files[tissue] = path
    people: dict[str, Person] = {}
    for (parent, stem), person in sets.items():
        missing = [t for t in TISSUES if t not in person.files]
        if missing:
            skipped[str(parent / stem)] = f"no map of {', '.join(missing)}"
        else:
            _add(people, person)
    return list(people.values())


def _map_name(path: Path, skipped: dict[str, str]) -> tuple[str, str] | None:
    """Tissue and common stem of a file that is a tissue map in native space, else None."""
    stem = _stem(path)
    if stem.endswith("_probseg"):
        label = _entity(path.name, "label").lower()
        if label not in TISSUES:
            return None
        space = _entity(path.name, "space")
        if space and space not in ("T1w", "orig", "individual", "native"):
            skipped[path.name] = f"space-{space}: {_NOT_NATIVE}"
            return None
        if _entity(path.name, "desc") in ("modulated", "warped"):
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


def _add(people: dict[str, Person], person: Person) -> None:
    """Keep one set of files per person: the first session, with a note about the rest."""
    known = people.setdefault(person.participant_id, person)
    if known is not person:
        known.note = "several sessions or runs: the first was used"


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _entity(name: str, key: str) -> str:
    match = re.search(rf"(?:^|_){key}-([A-Za-z0-9+]+)", name)
    return match[1] if match else ""


def _subject(path: Path, stem: str = "") -> str:
    match = re.search(r"sub-([A-Za-z0-9]+)", path.name) or re.search(r"sub-([A-Za-z0-9]+)", str(path.parent))
    label = match[1] if match else re.sub(r"[^A-Za-z0-9]", "", re.sub(r"_T1w$", "", stem or _stem(path)))
    return f"sub-{label}"
