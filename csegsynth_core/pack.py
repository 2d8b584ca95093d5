"""A model pack: everything that generation needs, in one folder, without pickle.

| file | holds |
|---|---|
| `pack.json` | format, version, name, data, licence, hash of every other file |
| `config.json` | `model`: the family (`csegsynth_core.models.family`; CSegSynth if left out), shapes of networks |
| `weights.safetensors` | the networks that generate, half precision |
| `features.json` | feature schema, training statistics, regressions on age, volume centiles, cohort summary |
| `metrics.json` | what `python -m train pack` measured on people that training never saw |
| `card.md` | the model card |
| `regressions.safetensors` | plain regressions of tissues and regions on the same people, for comparison |
| `comparison/MODEL/` | packs of other models trained on the same people, for comparison |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from csegsynth_core import __version__
from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.encoder import Encoder
from csegsynth_core.data.nifti import write_bytes, write_text
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.volume_centiles import VolumeCentiles
from csegsynth_core.errors import PackError
from csegsynth_core.models.family import ConditionalModel, family

FORMAT = "csegsynth-pack"
VERSION = 3
"""Of packs that are written. Older ones are read where their networks are still today's."""
SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "models"
"""Where the packs that come with the project are."""

COMPARISON = "comparison"
"""Folder of a pack that holds the packs of other models."""

_FILES = ("config.json", "weights.safetensors", "features.json", "metrics.json", "card.md")


@dataclass(frozen=True)
class Pack:
    """A loaded model pack."""

    folder: Path
    about: dict[str, Any]
    """`name`, `title`, `simulated`, `licence`, `attribution`, `created`, …"""
    model: ConditionalModel
    """The networks that generate, in evaluation mode."""
    encoder: Encoder
    regressions: AgeRegressions | None
    """Cubic regressions of the features on age; None for a schema without age."""
    centiles: VolumeCentiles
    metrics: dict[str, Any]
    hash: str
    """SHA-256 of `pack.json`, which itself holds the hashes of all other files."""

    @property
    def name(self) -> str:
        """Name of the pack, such as `ixi`."""
        return str(self.about["name"])

    @property
    def schema(self) -> Schema:
        """The features that the model knows."""
        return self.encoder.schema

    @property
    def simulated(self) -> bool:
        """Whether the people it was trained on are simulated."""
        return bool(self.about["simulated"])

    def comparisons(self) -> dict[str, Path]:
        """Folders of the packs of other models trained on the same people, by family; `load_pack` opens them."""
        found = sorted((self.folder / COMPARISON).glob("*/pack.json"))
        return {path.parent.name: path.parent for path in found}

    def payload(self, file: str) -> bytes:
        """Content of a file that generation does not need, such as `regressions.safetensors`.

        Raises:
            PackError: the pack lacks it, or it is damaged.
        """
        if file not in self.about["files"]:
            raise PackError(
                f"pack {self.folder} has no {file}", fix="make the pack again with `python -m train pack`"
            )
        return _checked(self.folder / file, self.about["files"][file])

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        return (self.folder / "card.md").read_text("utf-8")


def available(*folders: Path) -> dict[str, Path]:
    """Folders of packs by name: the shipped ones, and those found in `folders`."""
    out: dict[str, Path] = {}
    for root in (SHIPPED, *folders):
        for path in sorted(root.glob("*/pack.json")) if root.is_dir() else []:
            out.setdefault(path.parent.name, path.parent)
    return out


def find(name: str | Path) -> Path:
    """Folder of a pack given its folder or its name: of a shipped one, or of one in the folders that the environment
    variable CSEGSYNTH_PACKS names.

    Raises:
        PackError: there is none.
    """
    path = Path(name)
    if (path / "pack.json").is_file():
        return path
    known = available()
    if str(name) not in known:
        from csegsynth_core.pack_folders import find_all, folders_of_environment  # which imports this module

        known = find_all(folders_of_environment()).packs
    if str(name) in known:
        return known[str(name)]
    raise PackError(
        f"no model pack {str(name)!r}",
        expected=f"a folder with a pack.json, or one of {', '.join(known) or '(none shipped)'}",
        fix="check the name, or name the folder of your own packs with CSEGSYNTH_PACKS=FOLDER; a clone without large "
        "files may lack assets/models",
    )


def load_pack(name: str | Path) -> Pack:
    """Load a pack after checking its version and the hash of every file.

    Raises:
        PackError: missing, damaged or of another version.
    """
    folder = find(name)
    about_bytes = (folder / "pack.json").read_bytes()
    try:
        about = json.loads(about_bytes)
        if about["format"] != FORMAT or not 1 <= about["version"] <= VERSION:
            raise _of_another_version(folder, about)
        contents = {file: _checked(folder / file, about["files"][file]) for file in _FILES}
        config = json.loads(contents["config.json"])
        features = json.loads(contents["features.json"])
        model = family(config.pop("model", "csegsynth")).from_config(config)
        tensors = {k: v.float() for k, v in load(contents["weights.safetensors"]).items()}
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            if about["version"] < VERSION:
                raise _of_another_version(folder, about) from error
            raise
        model.eval().requires_grad_(False)
        for module in model.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        regressions = features["regressions"]
        return Pack(
            folder=folder,
            about=about,
            model=model,
            encoder=Encoder.from_dict(features["encoder"]),
            regressions=AgeRegressions.from_dict(regressions) if regressions else None,
            centiles=VolumeCentiles.from_dict(features["centiles"]),
            metrics=json.loads(contents["metrics.json"]),
            hash=hashlib.sha256(about_bytes).hexdigest(),
        )
    except ImportError as error:  # MONAI's attention layers, in latent diffusion
        raise PackError(
            f"pack {folder} needs a library that is not installed",
            got=str(error).splitlines()[0],
            fix="pip install -r requirements.txt",
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PackError(
            f"pack {folder} is damaged", got=str(error)[:200], fix="restore the folder"
        ) from error


def found_by_name(pack: Pack) -> bool:
    """Whether commands find a pack by its name."""
    try:
        return find(pack.name).resolve() == pack.folder.resolve()
    except PackError:
        return False


def _of_another_version(folder: Path, about: dict[str, Any]) -> PackError:
    return PackError(
        f"{folder} is a pack of another version",
        expected=f"{FORMAT} version {VERSION}",
        got=f"{about['format']} version {about['version']}",
        fix=f"use the CSegSynth release it was made with ({about.get('software', 'unknown')}), or make it again from "
        "its run (python -m train pack)",
    )


def models_of(pack: Pack) -> dict[str, Pack]:
    """The pack's own model (`csegsynth`) and those that lie with it for comparison, by name; all take its features.

    Raises:
        PackError: one of them is damaged, or was trained on other people.
    """
    out = {"csegsynth": pack}
    for name, folder in pack.comparisons().items():
        found = load_pack(folder)
        if found.about["people"]["train"] != pack.about["people"]["train"]:
            raise PackError(
                f"{folder} was trained on other people than pack {pack.name}",
                expected="models of the same training people",
                fix="train it again on the pack's cohort, or remove the folder",
            )
        out[name] = replace(pack, model=found.model, about=found.about, folder=found.folder)
    return out


def save_pack(
    folder: Path,
    *,
    about: dict[str, Any],
    model: ConditionalModel,
    encoder: Encoder,
    regressions: AgeRegressions | None,
    centiles: VolumeCentiles,
    metrics: dict[str, Any],
    card: str,
    summary: CohortSummary | None = None,
    extras: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a pack; `pack.json`, which makes it one, comes last.

    Args:
        about: `name`, `title`, `simulated`, `data`, `licence`, `attribution`, `created`.
        summary: of the training people, for the page that shows them.
        extras: further files by name, such as `regressions.safetensors`.
    """
    tensors = {k: _small(v.detach()).contiguous() for k, v in model.generating_state().items()}
    features = {
        "encoder": encoder.to_dict(),
        "regressions": regressions.to_dict() if regressions else None,
        "centiles": centiles.to_dict(),
        "cohort": summary.to_dict() if summary else None,
    }
    payloads = {
        "config.json": _json({"model": model.family} | model.config.to_dict()),
        "weights.safetensors": save(tensors),
        "features.json": _json(features),
        "metrics.json": _json(metrics),
        "card.md": card.encode(),
        **(extras or {}),
    }
    for file, payload in payloads.items():
        write_bytes(folder / file, payload)
    hashes = {file: hashlib.sha256(payload).hexdigest() for file, payload in payloads.items()}
    text = _json({"format": FORMAT, "version": VERSION, "software": __version__, **about, "files": hashes})
    write_text(folder / "pack.json", text.decode())
    return folder


def add_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Put further files into a pack, or replace what it holds of these names, and set their hashes.

    Args:
        folder: of a pack.
        files: content by name; `pack.json` itself cannot be among them.

    Raises:
        PackError: the folder is no pack, or a name is not that of a file in it.
    """
    try:
        about = json.loads((folder / "pack.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PackError(
            f"{folder} is not a pack", expected="a folder with a pack.json", got=str(error)
        ) from error
    wrong = [name for name in files if name == "pack.json" or Path(name).name != name]
    if wrong:
        raise PackError(
            f"{wrong[0]} cannot be put into a pack", expected="a plain file name other than pack.json"
        )
    for file, payload in files.items():
        write_bytes(folder / file, payload)
        about["files"][file] = hashlib.sha256(payload).hexdigest()
    write_text(folder / "pack.json", _json(about).decode())
    return folder


def _small(x: torch.Tensor) -> torch.Tensor:
    """Half precision; whole numbers stay what they are."""
    return x.half() if x.is_floating_point() else x


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def _checked(path: Path, expected: str) -> bytes:
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise PackError(f"pack {path.parent} lacks {path.name}", fix="restore the folder") from error
    found = hashlib.sha256(payload).hexdigest()
    if found != expected:
        raise PackError(
            f"{path} is damaged or was changed",
            expected=f"SHA-256 {expected[:16]}…",
            got=f"{found[:16]}… ({len(payload)} bytes)",
            fix="restore the file from the release (with Git LFS or a shallow copy it may be a pointer)",
        )
    return payload
