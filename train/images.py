"""Table I of the paper: how generated maps, as a set of images, compare with real ones, beside a floor.

MMD is MONAI's without a feature mapping, as in the paper: a linear kernel, which compares means alone; `mmd_rbf` has
a Gaussian kernel whose width is the median distance (Gretton et al. 2012). FID (Heusel et al. 2017) needs a feature
extractor; pre-trained ones are not to be had without a network connection, so ours is the parcellation network
(`csegsynth_core.regions`), whose activations are averaged over the volume (`fid_3d`) or over every slice of the three
planes (`fid_2d`): values are comparable with each other and with the floor, not with other papers'. |ΔSSIM| is the
absolute difference of the mean structural similarity (Wang et al. 2004, a window of 7 voxels) of pairs of generated
and of pairs of real brains.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.schema import Parsed
from csegsynth_core.generate import over_draws
from csegsynth_core.pack import Pack
from csegsynth_core.regions import at_4mm, network
from csegsynth_core.tissue import TISSUES
from train.people import person_key

PAIRS: Final = 200
"""Pairs of brains for |ΔSSIM| (500 in the paper); fewer where fewer people make fewer pairs."""
FLOORS: Final = 3
"""Random choices of other real people that a floor is averaged over."""
EXTRACTOR: Final = "activations of the parcellation network"

Images = NDArray[np.float32]


def image_tables(
    pack: Pack, cohort: Cohort, people: Parsed, *, seed: int, pairs: int = PAIRS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`images` and `floors`: method → tissue → metric → `{"value"}`, and tissue → metric → `{"value"}`.

    Every person's generated brain has a draw of its own. The floor compares these people's real maps with those of
    as many other real people: the pack's training people where the cohort has enough of them, otherwise two halves.
    """
    rng = np.random.default_rng(seed)
    real = np.stack([cohort.maps(i)[(slice(None), *grid.BOX)] for i in people.ids])
    frame = people.raw.copy()
    frame.index.name = "participant_id"
    made = np.concatenate(
        [
            over_draws(pack, frame.iloc[[k]].reset_index(), _tissues, draws=1, seed=seed + 1 + k)[:, 0]
            for k in range(len(frame))
        ]
    ).reshape(len(frame), len(TISSUES), -1)
    made = made.reshape(len(frame), len(TISSUES), *[s.stop - s.start for s in pack.model.region])
    if made.shape[2:] != real.shape[2:]:  # the paper's networks work on the whole grid
        made = made[(slice(None), slice(None), *grid.BOX)]
    keys = set(pack.about["people"]["train"])
    others = [i for i in cohort.ids if person_key(i) in keys and i not in set(people.ids)]
    floors: list[dict[str, dict[str, float]]] = []
    for _ in range(FLOORS):
        if len(others) >= len(people):
            chosen = rng.choice(others, len(people), replace=False)
            floors.append(
                _compare(np.stack([cohort.maps(i)[(slice(None), *grid.BOX)] for i in chosen]), real, pairs)
            )
        else:
            order = rng.permutation(len(real))
            half = len(real) // 2
            floors.append(_compare(real[order[:half]], real[order[half : 2 * half]], pairs))
    images = {"csegsynth": _boxed(_compare(made, real, pairs))}
    mean = {t: {m: float(np.mean([f[t][m] for f in floors])) for m in floors[0][t]} for t in TISSUES}
    return images, _boxed(mean)


def _boxed(table: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {t: {m: {"value": round(v, 6)} for m, v in by.items()} for t, by in table.items()}


def _tissues(x: Tensor) -> Tensor:
    return x[:, : len(TISSUES)].flatten(1)


def _compare(made: Images, real: Images, pairs: int) -> dict[str, dict[str, float]]:
    """Every metric of two sets of maps, (people, 3, i, j, k), by tissue."""
    from monai.metrics import MMDMetric
    from monai.metrics.fid import get_fid_score

    out: dict[str, dict[str, float]] = {}
    for k, tissue in enumerate(TISSUES):
        one, two = (torch.from_numpy(np.ascontiguousarray(s[:, k : k + 1])) for s in (made, real))
        whole = [_features(s, k) for s in (made, real)]
        slices = [
            float(get_fid_score(whole[0][plane], whole[1][plane]).real)
            for plane in ("sagittal", "coronal", "axial")
        ]
        out[tissue] = {
            "mmd": float(MMDMetric()(two, one)) / one[0].numel(),
            "mmd_rbf": mmd_rbf(one.flatten(1), two.flatten(1)),
            "fid_2d": float(np.mean(slices)),
            "fid_3d": float(get_fid_score(whole[0]["volume"], whole[1]["volume"]).real),
            "delta_ssim": abs(mean_ssim(made[:, k], pairs) - mean_ssim(real[:, k], pairs)),
        }
    return out


def mmd_rbf(one: Tensor, two: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy, Gaussian kernel of the median distance (Gretton et al. 2012)."""
    both = torch.cat([one, two]).double()
    squared = torch.cdist(both, both).square()
    n, m = len(one), len(two)
    off = ~torch.eye(n + m, dtype=torch.bool)
    kernel = torch.exp(-squared / squared[off].median())
    within = [
        (block.sum() - block.diagonal().sum()) / (len(block) * (len(block) - 1))
        for block in (kernel[:n, :n], kernel[n:, n:])
    ]
    return float(within[0] + within[1] - 2.0 * kernel[:n, n:].mean())


def mean_ssim(images: Images, pairs: int) -> float:
    """Mean structural similarity of random pairs of images, (n, i, j, k) in [0, 1] (Wang et al. 2004, Eq. 13)."""
    rng = np.random.default_rng(len(images))
    every = np.asarray([(a, b) for a in range(len(images)) for b in range(a)])
    chosen = every if len(every) <= pairs else every[rng.choice(len(every), pairs, replace=False)]
    means = [uniform_filter(x, 7) for x in images]
    squares = [uniform_filter(x * x, 7) for x in images]
    c1, c2 = 0.01**2, 0.03**2
    found = []
    for a, b in chosen:
        product = means[a] * means[b]
        covariance = uniform_filter(images[a] * images[b], 7) - product
        variance = squares[a] + squares[b] - means[a] ** 2 - means[b] ** 2
        luminance = (2 * product + c1) / (means[a] ** 2 + means[b] ** 2 + c1)
        found.append(float(np.mean(luminance * (2 * covariance + c2) / (variance + c2))))
    return float(np.mean(found))


def _features(maps: Images, tissue: int) -> dict[str, Tensor]:
    """Activations of the parcellation network for one tissue alone, averaged over the volume and over slices."""
    model = network()
    alone = np.zeros_like(maps)
    alone[:, tissue] = maps[:, tissue]
    kept: dict[str, list[Tensor]] = {"volume": [], "sagittal": [], "coronal": [], "axial": []}
    with torch.inference_mode():
        for one in alone:
            fine, middle, deep = model.activations(at_4mm(torch.from_numpy(one[None])))
            kept["volume"].append(torch.cat([a.mean(dim=(2, 3, 4)) for a in (middle, deep)], dim=1))
            up = F.interpolate(middle, size=list(fine.shape[2:]), mode="nearest")
            both = torch.cat([fine, up], dim=1)[0]
            for axis, plane in enumerate(("sagittal", "coronal", "axial")):
                others = [d for d in (1, 2, 3) if d != axis + 1]
                kept[plane].append(both.mean(dim=others).T)
    return {k: torch.cat(v).double() for k, v in kept.items()}
