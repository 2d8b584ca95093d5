"""BIDS names, sidecars and dataset descriptions; hard segmentations; left and right."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csegsynth_core import __version__, tissue

BIDS_VERSION = "1.9.0"
_RIGHT = re.compile(r"(^Right[-_]|^rh[-_]|[-_]R$|[-_]Right$)", re.IGNORECASE)
_LEFT = re.compile(r"(^Left[-_]|^lh[-_]|[-_]L$|[-_]Left$)", re.IGNORECASE)


def entity(name: str, key: str) -> str:
    """Value of the BIDS entity `key-` in a file name, or ""."""
    match = re.search(rf"(?:^|_){key}-([A-Za-z0-9+]+)", name)
    return match[1] if match else ""


def sidecar(fields: dict[str, Any]) -> str:
    """JSON text of a sidecar, with the software's version added."""
    return json.dumps(fields | {"SoftwareVersion": __version__}, indent=1, ensure_ascii=False)


def dataset_description(name: str, *, synthetic: bool = False, licence: str = "") -> str:
    """Text of a derivative's `dataset_description.json`."""
    out: dict[str, Any] = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "CSegSynth", "Version": __version__}],
    }
    if synthetic:
        out["Synthetic"] = True
        out["GeneratedBy"][0]["Description"] = "Synthetic brains made by a generative model; not scans of people."
    if licence:
        out["License"] = licence
    return json.dumps(out, indent=1)


def dseg_table() -> str:
    """Text of the `dseg.tsv` that explains our tissue classes (BIDS order: GM, WM, CSF)."""
    rows = sorted((t.dseg, t.title, t.bids, t.colour) for t in tissue.ALL)
    return "index\tname\tabbreviation\tcolor\n" + "".join(f"{i}\t{n}\t{b}\t{c}\n" for i, n, b, c in rows)


def hard_segmentation(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The most likely tissue of each voxel, with the values of `dseg.tsv`; 0 is background.

    Args:
        maps: (3, i, j, k) fractions in the order of `TISSUES`.
    """
    stack = np.concatenate([maps[:3], 1.0 - maps[:3].sum(axis=0, keepdims=True)])
    values = np.asarray([*(t.dseg for t in tissue.ALL), 0], np.uint8)
    return values[stack.argmax(axis=0)]


def mend_left_right(
    labels: NDArray[np.int32], names: dict[int, str]
) -> tuple[NDArray[np.int32], bool]:
    """Exchange left and right labels if they lie on the wrong sides.

    Args:
        labels: on a grid whose first axis runs to the right and is centred on the brain.
        names: name of each label; `…_R`, `Right-…` and their like say which side it should lie on.

    Returns:
        The labels, and whether they had to be exchanged.
    """
    partner: dict[int, int] = {}
    by_name = {name: value for value, name in names.items()}
    for value, name in names.items():
        for pattern, other in ((_RIGHT, "L"), (_LEFT, "R")):
            match = pattern.search(name)
            if match:
                twin = name[: match.start()] + _other_side(match[0], other) + name[match.end() :]
                if twin in by_name:
                    partner[value] = by_name[twin]
    right = [v for v in partner if _RIGHT.search(names[v])]
    if not right:
        return labels, False
    middle = (labels.shape[0] - 1) / 2.0
    column = np.arange(labels.shape[0])
    counts = np.isin(labels, right).sum(axis=(1, 2))
    if counts.sum() == 0 or (counts * column).sum() / counts.sum() >= middle:
        return labels, False
    lookup = np.arange(int(max(labels.max(), *partner, *partner.values())) + 1)
    for value, twin_value in partner.items():
        lookup[value] = twin_value
    return lookup[labels].astype(np.int32), True


def _other_side(text: str, letter: str) -> str:
    swap = {"right": "left", "left": "right", "rh": "lh", "lh": "rh", "r": "l", "l": "r"}
    word = re.sub(r"[-_]", "", text)
    new = swap[word.lower()]
    new = new.upper() if word.isupper() else new.capitalize() if word[0].isupper() else new
    return text.replace(word, new)
