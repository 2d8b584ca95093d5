"""Where the voxel-decoding models start."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from train.engine import Engine


def mean_maps(engine: Engine) -> Float[Tensor, "4 i j k"]:
    """Mean maps of everybody but the validation people, inside the model's region."""
    rows = engine.rows(engine.config.stages[0])
    total = torch.zeros((), device=engine.fabric.device)
    for row in rows:
        total = total + engine.maps([int(row)])[0]
    return total / len(rows)
