"""Checkpoints without pickle: every tensor in one safetensors file, everything else as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from csegsynth_core.data.nifti import write_bytes
from csegsynth_core.errors import PackError

VERSION = 1


def write(path: Path, state: dict[str, Any]) -> None:
    """Write nested dictionaries and lists of tensors, numbers, strings, booleans and None; all or nothing.

    Raises:
        TypeError: something else is in there.
        OSError: the disk is full or not writable; the previous checkpoint stays.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _flatten(state, "", tensors)
    header = {"version": str(VERSION), "skeleton": json.dumps(skeleton)}
    write_bytes(path, save(tensors, metadata=header))


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        PackError: not there, damaged or of another version.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
        tensors = load(Path(path).read_bytes())
    except (OSError, SafetensorError) as error:
        raise PackError(
            f"checkpoint {path} cannot be read", got=str(error), fix="start the run anew"
        ) from error
    if header.get("version") != str(VERSION):
        raise PackError(
            f"checkpoint {path} is of another version", expected=str(VERSION), got=str(header.get("version"))
        )
    if "skeleton" not in header:
        raise PackError(f"checkpoint {path} is damaged", expected="a header that says what its tensors are")
    out = _rebuild(json.loads(header["skeleton"]), tensors)
    assert isinstance(out, dict)  # noqa: S101 - written by `write`, which takes a dictionary
    return out


def _flatten(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        items = []
        for k, v in value.items():
            if not isinstance(k, (str, int)):
                raise TypeError(f"key {k!r} at {name!r} is neither a string nor a number")
            items.append([k, _flatten(v, f"{name}/{k}", tensors)])
        return {"dict": items}
    if isinstance(value, (list, tuple)):
        return {"list": [_flatten(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"cannot store {type(value).__name__} at {name!r}")


def _rebuild(node: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "dict" in node:
        return {k: _rebuild(v, tensors) for k, v in node["dict"]}
    if "list" in node:
        return [_rebuild(v, tensors) for v in node["list"]]
    return node["value"]
