"""What a run's folder tells besides weights: whom it has seen, what it started from, how far it has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from csegsynth_core.data.nifti import write_text
from csegsynth_core.errors import CSegSynthError
from train.people import People

CHECKPOINT: Final = "checkpoint.safetensors"
_SPLIT, _INHERITED, _TIME = "split.json", "inherited.json", "time.json"
_PARTS: Final = ("train", "validation", "images_only")


def write_split(run: Path, people: People) -> None:
    """Note who is trained on and who is kept aside."""
    write_text(run / _SPLIT, json.dumps(_split_of(people), indent=1))


def check_split(run: Path, people: People) -> None:
    """See that a run was begun on these very people, split as they are.

    Raises:
        CSegSynthError: on others, or nothing tells.
    """
    noted = _noted_split(run)
    here = _split_of(people)
    own = noted.get("train", [])
    apart = [name for name in _PARTS if sorted(noted.get(name, [])) != sorted(here[name])]
    if apart:
        theirs, ours = (sum(len(one.get(name, [])) for name in _PARTS) for one in (noted, here))
        both = len(set(own) & set(here["train"]))
        raise CSegSynthError(
            f"the run in {run} was begun on other people than {people.cohort.folder} gives",
            expected=f"the cohort of {theirs} people that it was begun on, unchanged",
            got=f"{ours} people; {both} of the {len(own)} trained on are among those to train on here",
            fix="give that cohort, or start a new run",
        )


def write_inherited(run: Path, start_from: Path, tensors: list[str], made: Mapping[str, Any]) -> None:
    """Note where a run's networks come from, and what has to be known of that run should it be gone.

    Args:
        made: the other run's checkpoint.
    """
    noted = {
        "from": str(start_from.resolve()),
        "tensors": tensors,
        "steps": int(made["done"]),
        "seen": sorted(seen_by(start_from)),
    }
    if "seconds" in made:
        noted["seconds"] = round(float(made["seconds"][0]), 1)
    write_text(run / _INHERITED, json.dumps(noted, indent=1))


def inherited_by(run: Path) -> dict[str, Any] | None:
    """What a run started from: `from`, `tensors`, `steps`, `seen` and, where they were counted, `seconds`; None where
    it started by itself."""
    return _read(run / _INHERITED)


def seen_by(run: Path) -> set[str]:
    """Identifiers of the people whose brains a run, and those that it started from, were trained on.

    Raises:
        CSegSynthError: nothing tells.
    """
    noted, first = _noted_split(run), inherited_by(run)
    seen = {*noted.get("train", []), *noted.get("images_only", [])}
    if first is None:
        return seen
    return seen | (set(first["seen"]) if "seen" in first else seen_by(Path(first["from"])))


def check_unseen(people: People, start_from: Path) -> None:
    """Refuse networks that have seen people who are kept aside now.

    Raises:
        CSegSynthError: the run, or one that it started from, was trained on some of them, or nothing tells.
    """
    kept = {people.cohort.ids[int(r)] for r in people.validation}
    if both := sorted(kept & seen_by(start_from)):
        raise CSegSynthError(
            f"{start_from}, or a run that it started from, was trained on people who are kept aside now",
            expected="a run on other people, or on this cohort with the same seed and validation_fraction",
            got=f"{len(both)} of {len(kept)}, such as {both[0]}",
            fix="pre-train without them",
        )


def write_time(run: Path, steps: int, seconds: float) -> None:
    """Note how far a run has come."""
    write_text(run / _TIME, json.dumps({"steps": steps, "minutes": round(seconds / 60, 3)}))


def steps_of(run: Path) -> int:
    """Steps that a run has done; 0 before it has begun."""
    return int((_read(run / _TIME) or {}).get("steps", 0))


def _noted_split(run: Path) -> dict[str, list[str]]:
    """Who was trained on and kept aside. Raises CSegSynthError where nothing tells."""
    noted = _read(run / _SPLIT)
    if noted is None:
        raise CSegSynthError(
            f"nothing tells whom the run in {run} was trained on",
            expected=f"{run / _SPLIT}, which training writes",
            fix="copy the whole folder of the run",
        )
    return noted


def _split_of(people: People) -> dict[str, list[str]]:
    ids = people.cohort.ids
    return {name: [ids[int(r)] for r in getattr(people, name)] for name in _PARTS}


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
