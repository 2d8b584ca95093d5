"""Folders of results for many people: settings kept beside them, so that a stopped run can go on and no two mix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csegsynth_core.data import bids
from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import SourceError


def keep_settings(
    path: Path,
    settings: Mapping[str, Any],
    *,
    what: str,
    finished: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write the settings of a new folder, or refuse a folder that holds results with others.

    Settings of a run that finished nothing, since it was refused or stopped, are replaced.

    Args:
        path: of the settings' JSON file.
        settings: what two runs must have in common.
        what: of the folder's content, for the message: "a sweep".
        finished: pattern of a finished person's file, relative to the folder.
        about: further fields of the file, which are not compared.

    Raises:
        SourceError: the folder holds results with other settings; says which.
    """
    wanted = json.loads(json.dumps(dict(settings)))
    if path.exists() and next(path.parent.glob(finished), None) is not None:
        try:
            held = json.loads(path.read_text("utf-8"))
        except ValueError:
            held = {}
        other = [k for k, v in wanted.items() if held.get(k) != v]
        if other:
            raise SourceError(
                f"{path.parent} holds {what} with other settings",
                expected=", ".join(f"{k} {held.get(k)}" for k in other)[:300],
                got=", ".join(f"{k} {wanted[k]}" for k in other)[:300],
                fix="choose another folder with --out, or repeat the settings to go on",
            )
        return
    write_text(path, bids.sidecar(wanted | dict(about or {})) + "\n")


def features_hash(person: Mapping[str, Any]) -> str:
    """SHA-256 of a person's features; recognises whom a finished file was made for."""
    plain = {str(k): None if v is None or v != v else v for k, v in person.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=float).encode()).hexdigest()


def made_for(mark: Path, digest: str, flags: Mapping[str, str], *others: Path) -> bool:
    """Whether the file `mark` says that it was made for these features, and `others` are there.

    Args:
        mark: a JSON file with the fields `FeaturesHash` and `FeatureFlags`.
        digest: as from `features_hash`.
        flags: what was imputed, out of range or rare, by feature: a value that was given is not one filled in.
    """
    return _marked(mark) == (digest, dict(flags)) and all(other.is_file() for other in others)


def made_for_others(mark: Path, digest: str, flags: Mapping[str, str]) -> bool:
    """Whether the file `mark` says that it was made for other features; arguments as for `made_for`."""
    held = _marked(mark)
    return held is not None and held != (digest, dict(flags))


def _marked(mark: Path) -> tuple[Any, Any] | None:
    """Hash and flags of the features that a file was made for; None where it is not there or cannot be read."""
    try:
        held = json.loads(mark.read_text("utf-8"))
        return held["FeaturesHash"], held["FeatureFlags"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
