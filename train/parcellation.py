"""Training of the parcellation network on a prepared cohort that has anatomical labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import read_volume, write_text
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.models.parcellation import GROUPS, ParcellationNetwork
from csegsynth_core.regions import at_4mm, network
from csegsynth_core.substructures import PARCELS, REGIONS, parcel_of
from csegsynth_core.tissue import TISSUES
from train.people import gather
from train.small_networks import descend, save_network, write_record

logger = logging.getLogger(__name__)

BATCH, RATE = 4, 3e-3


def parcels_of_labels(cohort: Cohort) -> NDArray[np.uint8]:
    """Number of the parcel (1 for the first of `PARCELS`, 0 for none) of every label value of the cohort.

    Raises:
        CSegSynthError: the cohort has no labels, or lacks some parcel.
    """
    tables = sorted(p for p in cohort.folder.glob("*dseg.tsv") if p.name != "dseg.tsv")
    if not tables:
        raise CSegSynthError(
            f"{cohort.folder} has no anatomical labels",
            expected="a cohort prepared from T1s with labels (desc-…_dseg.tsv beside volumes.tsv)",
        )
    table = pd.read_csv(tables[0], sep="\t")
    out = np.zeros(int(table["index"].max()) + 1, np.uint8)
    names = list(PARCELS)
    for value, name, tissue in table[["index", "name", "tissue"]].itertuples(index=False):
        parcel = parcel_of(str(name), str(tissue))
        if parcel:
            out[int(value)] = names.index(parcel) + 1
    absent = [p for k, p in enumerate(names) if k + 1 not in out]
    if absent:
        raise CSegSynthError(f"no label of {tables[0]} belongs to {', '.join(absent)}")
    return out


def parcels_of(cohort: Cohort, person: str, lookup: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Parcel numbers of one person inside `grid.BOX` at 2 mm, from the labels beside the maps."""
    found = sorted((cohort.folder / person / "anat").glob(f"{person}_*desc-*_dseg.nii.gz"))
    if not found:
        raise CSegSynthError(f"{person} has no labels in {cohort.folder}")
    return lookup[np.rint(read_volume(found[0]).data).astype(int)[grid.BOX]]


def targets(parcels: NDArray[np.uint8]) -> Float[Tensor, "parcels a b c"]:
    """How much of every voxel of 4 mm each parcel's labels fill, from parcel numbers at 2 mm."""
    hot = torch.stack([torch.from_numpy(parcels == k + 1).float() for k in range(len(PARCELS))])
    return F.avg_pool3d(hot, 2)


def loss_of(shares: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """Cross-entropy of shares, weighted by how much of the tissue a voxel holds; mean over voxels."""
    total = torch.zeros((), device=shares.device)
    for k, own in enumerate(GROUPS.values()):
        labelled = target[:, own].sum(dim=1, keepdim=True)
        wanted = target[:, own] / labelled.clamp_min(1e-6)
        weight = maps[:, k : k + 1] * (labelled > 0)
        total = total - (
            weight * wanted * shares[:, own].clamp_min(1e-6).log()
        ).sum() / weight.sum().clamp_min(1)
    return total


def train_parcellation(
    cohort_folder: Path,
    out: Path,
    about: dict[str, str],
    *,
    steps: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train on the people that the packs are trained on, measure on those kept aside, and write the network.

    Args:
        about: `attribution` and `licence` of the labels.
        steps: of gradient descent, four brains each, mirrored at random, averaged or every second voxel at random.

    Returns:
        What `parcellation.json` says.
    """
    cohort = Cohort.open(cohort_folder)
    people = gather(cohort, grid.BOX, 0.2, 0)
    lookup = parcels_of_labels(cohort)
    rows = np.concatenate([people.train, people.images_only])
    known = {int(r): targets(parcels_of(cohort, cohort.ids[int(r)], lookup)).half() for r in rows}
    torch.manual_seed(seed)
    model = ParcellationNetwork()

    def loss() -> Tensor:
        chosen = rows[torch.randint(len(rows), (BATCH,)).numpy()]
        maps = torch.from_numpy(np.stack([np.asarray(cohort.packed[int(r)]) for r in chosen])).float() / 255.0
        every_second = bool(torch.rand(()) < 0.5)
        small = maps[..., ::2, ::2, ::2] if every_second else at_4mm(maps)
        target = torch.stack([known[int(r)] for r in chosen]).float()
        if torch.rand(()) < 0.5:
            small, target = small.flip(2), target.flip(2)
        return loss_of(model(small), target, small)

    descend(model, loss, rate=RATE, steps=steps, progress=progress)
    own = {"parcels": list(PARCELS), "width": model.width, "n_train": len(rows), "steps": steps}
    record = save_network(out, "parcellation", model.state_dict(), own | about)
    record["measured"] = measure(cohort, [cohort.ids[int(r)] for r in people.validation], out)
    write_record(out, "parcellation", record)
    write_text(out / "card.md", card(record))
    return record


def measure(cohort: Cohort, people: list[str], folder: Path) -> dict[str, Any]:
    """Dice of every region at 2 mm, and volumes against the labels', on people with labels.

    A voxel counts as a region's when its most likely tissue is the region's and more than half of that tissue there
    is given to the region. Volumes of the labels are hard; both are compared by correlation.
    """
    lookup, model = parcels_of_labels(cohort), network(folder)
    tissue = np.asarray([TISSUES.index(t) for t in PARCELS.values()])
    names = list(PARCELS)
    overlap: dict[str, list[float]] = {r.name: [] for r in REGIONS}
    volumes: dict[str, list[tuple[float, float]]] = {r.name: [] for r in REGIONS}
    for person in people:
        truth = parcels_of(cohort, person, lookup)
        maps = cohort.maps(person)[(slice(None), *grid.BOX)]
        with torch.inference_mode():
            small = at_4mm(torch.from_numpy(maps[None]))
            shares = model(small)
            parcels = ((small[:, tissue] * shares).sum(dim=(2, 3, 4))[0] * grid.VOXEL_ML * 8).numpy()
            fine = F.interpolate(shares, scale_factor=2, mode="trilinear", align_corners=False)[0].numpy()
        rest = 1.0 - maps.sum(axis=0)
        hard = np.concatenate([maps, rest[None]]).argmax(axis=0)
        for region in REGIONS:
            own = [names.index(p) for p in region.parcels]
            found = np.zeros(hard.shape, bool)
            for t in {int(tissue[k]) for k in own}:
                found |= (hard == t) & (fine[[k for k in own if tissue[k] == t]].sum(axis=0) > 0.5)
            wanted = np.isin(truth, [k + 1 for k in own])
            overlap[region.name].append(
                2.0 * float((found & wanted).sum()) / float(found.sum() + wanted.sum())
            )
            volumes[region.name].append((float(parcels[own].sum()), float(wanted.sum() * grid.VOXEL_ML)))
    out: dict[str, Any] = {}
    for region in REGIONS:
        pairs = np.asarray(volumes[region.name])
        out[region.name] = {
            "dice": round(float(np.mean(overlap[region.name])), 3),
            "dice_lowest": round(float(np.min(overlap[region.name])), 3),
            "pearson": round(float(np.corrcoef(pairs.T)[0, 1]), 3) if len(pairs) > 2 else None,
            "mean_ml": round(float(pairs[:, 0].mean()), 1),
            "mean_label_ml": round(float(pairs[:, 1].mean()), 1),
        }
    return {"n": len(people), "regions": out}


def card(record: dict[str, Any]) -> str:
    """The network's card, Markdown."""
    rows = []
    for region in REGIONS:
        m = record["measured"]["regions"][region.name]
        cells = [m["dice"], m["dice_lowest"], m["pearson"], m["mean_ml"], m["mean_label_ml"]]
        rows.append(f"| {region.title} | " + " | ".join(str(c) for c in cells) + " |")
    table = "\n".join(rows)
    return f"""# Parcellation network

Divides each tissue of a brain into parcels, from its tissue maps alone; {record["steps"]} steps on
{record["n_train"]} people with anatomical labels. Measured on {record["measured"]["n"]} people it never saw:

| region | Dice | lowest | r of volumes | mean mL | labels' mean mL |
|---|---|---|---|---|---|
{table}

Volumes are of partial-volume fractions, those of the labels of whole voxels: they differ where a region is thin.

Attribution: {record["attribution"]}
Licence: {record["licence"]}.

Again: `python -m train parcellation --cohort DIR --out FOLDER`
"""
