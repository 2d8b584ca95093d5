"""What the training of small supervised networks has in common: the descent, and the folder they are written to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from csegsynth_core import __version__
from csegsynth_core.data.nifti import write_bytes, write_text
from csegsynth_core.network_folder import WEIGHTS


def descend(
    model: nn.Module, loss: Callable[[], Tensor], *, rate: float, steps: int, progress: bool = True
) -> None:
    """AdamW with one cycle of the learning rate (Smith and Topin 2019).

    Args:
        loss: of a new batch.
        rate: the highest.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    bar = tqdm(range(steps), unit="step", disable=not progress)
    for _ in bar:
        now = loss()
        optimiser.zero_grad()
        now.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{float(now.detach()):.3f}")


def save_network(
    out: Path, kind: str, weights: Mapping[str, Tensor], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write weights in half precision and the record that `load_network` checks them against.

    Returns:
        The record: `about` and beside it format, software, date and hash.
    """
    payload = save({k: v.half().contiguous() for k, v in weights.items()})
    record: dict[str, Any] = {
        "format": f"csegsynth-{kind}",
        "software": __version__,
        "created": datetime.now(UTC).date().isoformat(),
        "sha256": hashlib.sha256(payload).hexdigest(),
        **about,
    }
    write_bytes(out / WEIGHTS, payload)
    write_record(out, kind, record)
    return record


def write_record(out: Path, kind: str, record: Mapping[str, Any]) -> None:
    """Write a network's record, such as after it was measured."""
    write_text(out / f"{kind}.json", json.dumps(record, indent=1))
