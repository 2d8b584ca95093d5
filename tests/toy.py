"""A toy cohort of egg-shaped brains whose volumes depend on age, sex and height, made in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from csegsynth_core import grid
from csegsynth_core.data import bids, cohort
from csegsynth_core.tissue import TISSUES

PARTICIPANTS_JSON = {
    "age": {"Description": "age", "Units": "years"},
    "sex": {"Description": "sex", "Levels": {"M": "male", "F": "female"}},
    "height": {"Description": "standing height", "Units": "cm"},
    "marital_status": {
        "Description": "marital status",
        "Levels": {"single": "Single", "married": "Married", "widowed": "Widowed"},
    },
}


def egg(scale: float, ventricle: float) -> np.ndarray:
    """Maps (3, 80, 128, 128) of nested ellipsoids: ventricle, white matter, cortex, outer CSF."""
    axes = [np.arange(s) - (s - 1) / 2 for s in grid.SHAPE]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((i / 32) ** 2 + (j / 43) ** 2 + (k / 33) ** 2) / scale

    def below(limit: float) -> np.ndarray:
        return np.clip((limit - radius) * 15 + 0.5, 0, 1)

    inner, core, cortex, brain = below(ventricle), below(0.72), below(0.93), below(1.0)
    return np.stack([core - inner, cortex - core, inner + brain - cortex]).astype(np.float32)


def make_cohort(folder: Path, people: int = 30, seed: int = 0, who: str = "toy") -> Path:
    """Write a prepared cohort of `people` with features, and one person more without any."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"sub-{who}{n:02d}" for n in range(people + 1)]
    age = rng.uniform(20, 80, people).round(1)
    sex = np.where(np.arange(people) % 2 == 0, "M", "F")
    height = (165 + 10 * (sex == "M") + rng.normal(0, 5, people)).round(0)
    table = pd.DataFrame(
        {
            "age": age.astype(str),
            "sex": sex,
            "height": height.astype(str),
            "marital_status": rng.choice(["single", "married", "widowed"], people),
        },
        index=pd.Index(ids[:-1], name="participant_id"),
    )
    low = [s.start for s in grid.BOX]
    high = [s.stop for s in grid.BOX]
    packed = np.zeros((len(ids), 3, *(b - a for a, b in zip(low, high, strict=True))), np.uint8)
    volumes = []
    for n in range(len(ids)):
        years, tall = (age[n], height[n]) if n < people else (50.0, 170.0)
        maps = egg(0.95 + 0.004 * (tall - 170), 0.12 + 0.002 * (years - 20))
        packed[n] = np.rint(maps[(slice(None), *grid.BOX)] * 255)
        volumes.append(packed[n].sum(axis=(1, 2, 3)) / 255 * grid.VOXEL_ML)
    np.save(folder / "packed.npy", packed)
    index = {"participants": ids, "box": [list(b) for b in zip(low, high, strict=True)]}
    (folder / "packed.json").write_text(json.dumps(index))
    frame = pd.DataFrame(volumes, columns=list(TISSUES), index=pd.Index(ids, name="participant_id"))
    frame.reset_index().to_csv(folder / "volumes.tsv", sep="\t", index=False)
    (folder / "dataset_description.json").write_text(bids.dataset_description("toy"))
    cohort.write_features(folder, ids, table, PARTICIPANTS_JSON)
    return folder
