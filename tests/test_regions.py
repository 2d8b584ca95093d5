"""Regions: names, sums, gradients, the shipped network, and its training on labels."""

import json
import shutil

import numpy as np
import pytest
import torch

from csegsynth_core import grid, regions
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.data.nifti import write_nifti
from csegsynth_core.errors import CSegSynthError, PackError
from csegsynth_core.generate import generate_one
from csegsynth_core.models.parcellation import GROUPS, SIZE, ParcellationNetwork
from csegsynth_core.pack import load_pack
from csegsynth_core.substructures import PARCELS, REGIONS, parcel_of
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from tests.toy import make_cohort
from train.parcellation import parcels_of_labels, train_parcellation

NAMES = [r.name for r in REGIONS]


@pytest.mark.parametrize(
    ("label", "tissue", "parcel"),
    [
        ("LateralVentricle_L", "csf", "ventricles"),
        ("CortCSF", "csf", "outer_csf"),
        ("TriangularPartInferiorFrontalGyrus_R", "gm", "frontal_gm"),
        ("AngularGyrus_L", "gm", "parietal_gm"),
        ("Precuneus_L", "gm", "parietal_gm"),
        ("Cuneus_L", "gm", "occipital_gm"),
        ("ParahippocampalGyrus_R", "gm", "temporal_gm"),
        ("Hippocampus_R", "gm", "hippocampus_amygdala"),
        ("Frontal_WM_L", "wm", "cerebral_wm"),
        ("Cerebellum_WM_R", "wm", "cerebellar_wm"),
        ("BrainStem", "wm", "brainstem"),
        ("Skull", "n/a", None),
        ("Something", "gm", None),
    ],
)
def test_labels_find_their_parcel(label, tissue, parcel):
    assert parcel_of(label, tissue) == parcel


def test_parcels_of_a_tissue_share_it():
    assert list(GROUPS) == list(TISSUES) and sum(s.stop - s.start for s in GROUPS.values()) == len(PARCELS)
    torch.manual_seed(0)
    shares = ParcellationNetwork(16)(torch.rand(2, 3, *SIZE))
    for own in GROUPS.values():
        assert torch.allclose(shares[:, own].sum(dim=1), torch.ones(2, *SIZE), atol=1e-5)
    with pytest.raises(ValueError, match="expected maps of shape"):
        ParcellationNetwork(16)(torch.rand(1, 3, 8, 8, 8))


def test_regions_of_a_generated_brain_add_up():
    brain = generate_one(load_pack("ixi"), {"age": 40, "sex": "F"})
    found = regions.region_table(brain.maps)
    assert list(found) == NAMES and all(v > 0 for v in found.values())
    lobes = sum(found[n] for n in ("frontal_gm", "parietal_gm", "temporal_gm", "occipital_gm"))
    assert lobes < found["cortical_gm"] < brain.volumes_ml["gm"]
    assert found["ventricles"] < brain.volumes_ml["csf"]
    assert found["cortical_gm"] + found["deep_gm"] < brain.volumes_ml["gm"] < found["cortical_gm"] * 1.5


def test_ventricles_grow_with_age_and_have_a_gradient():
    pack = load_pack("ixi")
    young, old = (
        regions.region_table(generate_one(pack, {"age": age, "sex": "M"}).maps)["ventricles"]
        for age in (25, 75)
    )
    assert old > 1.3 * young
    y = torch.zeros(1, pack.encoder.width, requires_grad=True)
    maps = pack.model(y, pack.model.draw(1, 0), 2)
    regions.region_volumes_ml(maps)[0, NAMES.index("ventricles")].backward()
    assert torch.isfinite(y.grad).all() and torch.count_nonzero(y.grad) == y.numel()


def test_every_way_to_give_maps_agrees():
    pack = load_pack("ixi")
    with torch.inference_mode():
        box = pack.model(torch.zeros(1, pack.encoder.width), pack.model.draw(1, 0))
        one, two, three = (
            regions.region_volumes_ml(x) for x in (box, pack.model.on_grid(box), box[..., ::2, ::2, ::2])
        )
        assert torch.equal(one, two) and torch.allclose(one, three, rtol=0.05)
        total = volumes_ml(box)[0, :3].sum()
    assert float(one[0, :5].sum()) < float(total)
    with pytest.raises(ValueError, match="its box or every second voxel"):
        regions.at_4mm(torch.zeros(1, 3, 10, 10, 10))


def test_a_damaged_network_is_told(tmp_path):
    with pytest.raises(PackError, match="cannot be used"):
        regions.network(tmp_path / "nowhere")
    shutil.copytree(regions.FOLDER, tmp_path / "copy")
    payload = bytearray((tmp_path / "copy" / "weights.safetensors").read_bytes())
    payload[-1] ^= 1
    (tmp_path / "copy" / "weights.safetensors").write_bytes(payload)
    with pytest.raises(PackError, match="SHA-256"):
        regions.network(tmp_path / "copy")


def test_training_on_labels(tmp_path):
    """Eggs whose parcels are wedges: after a few steps shares follow the labels better than chance."""
    folder = make_cohort(tmp_path / "cohort", people=8)
    cohort = Cohort.open(folder)
    names = list(PARCELS)
    rows = [f"{k + 1}\t{_LABELS[n]}\t{PARCELS[n]}" for k, n in enumerate(names)]
    with pytest.raises(CSegSynthError, match="no anatomical labels"):
        parcels_of_labels(cohort)
    (folder / "desc-toy_dseg.tsv").write_text("\n".join(["index\tname\ttissue", *rows]) + "\n")
    height = np.indices(grid.SHAPE)[1] * 1.0 / grid.SHAPE[1]
    for person in cohort.ids:
        maps = cohort.maps(person)
        labels = np.zeros(grid.SHAPE, np.int16)
        for k, tissue in enumerate(TISSUES):
            own = [names.index(n) + 1 for n in names if PARCELS[n] == tissue]
            which = np.minimum(((height - 0.2) / 0.6 * len(own)).clip(0).astype(int), len(own) - 1)
            labels = np.where(maps[k] > 0.5, np.asarray(own)[which], labels)
        path = folder / person / "anat" / f"{person}_space-x_desc-toy_dseg.nii.gz"
        write_nifti(path, labels.astype(np.int16), grid.affine())
    record = train_parcellation(
        folder, tmp_path / "out", {"licence": "none", "attribution": "nobody"}, steps=10, progress=False
    )
    assert set(record["measured"]["regions"]) == set(NAMES)
    assert record["measured"]["regions"]["cortical_gm"]["dice"] > 0.6
    assert json.loads((tmp_path / "out" / "parcellation.json").read_text())["sha256"] == record["sha256"]
    assert "Dice" in (tmp_path / "out" / "card.md").read_text()


_LABELS = {
    "cerebral_wm": "Frontal_WM_L",
    "cerebellar_wm": "Cerebellum_WM_L",
    "brainstem": "BrainStem",
    "frontal_gm": "FrontalPole_L",
    "parietal_gm": "Precuneus_L",
    "temporal_gm": "TemporalPole_L",
    "occipital_gm": "Cuneus_L",
    "limbic_insular_gm": "AnteriorInsula_L",
    "hippocampus_amygdala": "Amygdala_L",
    "basal_gm": "Putamen_L",
    "cerebellar_gm": "CerebellumExterior_L",
    "ventricles": "3rdVentricle",
    "outer_csf": "CSF",
}
