"""Model packs in folders of the user's, beside the shipped ones.

A folder may hold packs (`FOLDER/NAME/pack.json`) or be one (`FOLDER/pack.json`). Nothing outside it is looked at:
a link that leads out of it is refused. Nothing in it is run; `load_pack` checks every file against its hash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from csegsynth_core.errors import PackError
from csegsynth_core.pack import FORMAT, available

VARIABLE: Final = "CSEGSYNTH_PACKS"
"""Environment variable: folders of model packs, separated as in PATH."""

MOST: Final = 100
"""Packs that are listed of one folder."""

MOST_BYTES: Final = 1_000_000
"""Largest `pack.json` that is read."""


@dataclass
class Found:
    """Packs by name, and what could not be used."""

    packs: dict[str, Path] = field(default_factory=dict)
    problems: list[PackError] = field(default_factory=list)


def folders_of_environment() -> list[str]:
    """Folders that the environment variable names."""
    return [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]


def find_all(folders: Sequence[str | Path]) -> Found:
    """The shipped packs, and those in folders of the user's, by the name that each one gives itself.

    Of two with one name the first counts: a link or a scenario file knows a pack by its name.
    """
    found = Found(dict(available()))
    for folder in folders:
        try:
            _look_into(folder, found)
        except PackError as error:
            found.problems.append(error)
    return found


def _look_into(folder: str | Path, found: Found) -> None:
    root = checked_folder(folder)
    try:
        inside = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
        paths = [p for p in inside if (p / "pack.json").is_file()]
    except OSError as error:
        raise PackError(
            f"the folder {root} cannot be read", got=str(error), fix="check its permissions"
        ) from error
    if not paths:
        raise PackError(
            f"no model pack in {root}",
            expected="NAME/pack.json in it, as 'python -m train pack --out' writes",
            fix="name the folder that holds your packs, or the pack's own folder",
        )
    for path in paths[:MOST]:
        try:
            name = _name_of(path, root)
            known = found.packs.setdefault(name, path)
        except PackError as error:
            found.problems.append(error)
            continue
        if known.resolve() != path.resolve():
            found.problems.append(
                PackError(
                    f"two model packs are named {name!r}",
                    got=f"{known} and {path}; the first is used",
                    fix="make yours again with another name",
                )
            )
    if len(paths) > MOST:
        found.problems.append(PackError(f"{root} holds {len(paths)} packs; the first {MOST} are listed"))


def checked_folder(folder: str | Path) -> Path:
    """A folder as an absolute path.

    Raises:
        PackError: it is not an absolute path (or one from `~`), or there is no such folder.
    """
    text = str(folder).strip()
    expected = "the absolute path of a folder on the computer that runs the app, such as ~/packs"
    fix = "copy the path from your file manager"
    if not text or "\0" in text or len(text) > 4096:
        raise PackError("unusable path of a folder", expected=expected, got=repr(text[:60]), fix=fix)
    try:
        path = Path(text).expanduser()
        if not path.is_absolute():
            raise PackError("the folder's path is not absolute", expected=expected, got=text, fix=fix)
        path = path.resolve()
        there = path.is_dir()
    except (OSError, RuntimeError) as error:
        raise PackError("unusable path of a folder", expected=expected, got=text, fix=fix) from error
    if not there:
        raise PackError("there is no such folder", expected=expected, got=text, fix=fix)
    return path


def _name_of(path: Path, root: Path) -> str:
    """The name in a pack's `pack.json`."""
    file = path / "pack.json"
    if not file.resolve().is_relative_to(root):
        raise PackError(
            f"{path.name} is a link out of {root}", expected="packs inside the folder", fix="copy the pack"
        )
    try:
        if file.stat().st_size > MOST_BYTES:
            raise PackError(f"{file} is too large", expected=f"at most {MOST_BYTES // 1000} kB")
        about = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PackError(f"{file} is damaged", got=str(error)[:200], fix="restore the folder") from error
    name = about.get("name") if isinstance(about, dict) and about.get("format") == FORMAT else None
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise PackError(
            f"{path.name} is no model pack",
            expected=f"a pack.json with format {FORMAT!r} and a name",
            got=repr(name),
            fix="make it with 'python -m train pack'",
        )
    return name
