"""Small trained networks that come with the project: a folder with weights, a record with their hash, a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors.torch import load
from torch import Tensor

from csegsynth_core.errors import PackError

WEIGHTS: Final = "weights.safetensors"
Network = TypeVar("Network")


def load_network(
    folder: Path,
    kind: str,
    build: Callable[[dict[str, Any], dict[str, Tensor]], Network],
    *,
    title: str,
) -> Network:
    """What `build` makes of a folder's record and tensors, after checking that they belong together.

    Args:
        folder: holds `weights.safetensors` and the record, `KIND.json`.
        kind: the record's name, and the command of `python -m train` that makes the folder.
        build: raises ValueError, KeyError or the like where a record or tensors are not what it needs.
        title: what errors call it.

    Raises:
        PackError: missing, or damaged.
    """
    try:
        about = json.loads((folder / f"{kind}.json").read_text("utf-8"))
        payload = (folder / WEIGHTS).read_bytes()
        found = hashlib.sha256(payload).hexdigest()
        if found != about["sha256"]:
            raise ValueError(f"SHA-256 {found[:16]}… instead of {about['sha256'][:16]}…")
        with torch.inference_mode(False):
            return build(about, {k: v.float() for k, v in load(payload).items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise PackError(
            f"the {title} in {folder} cannot be used",
            expected=f"{kind}.json and the weights that belong to it",
            got=str(error)[:200],
            fix=f"restore the folder from the release, or make it with `python -m train {kind}`",
        ) from error
