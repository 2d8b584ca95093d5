"""Our own feature extractor: what it learns to see, its training, and what the shipped one sees."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from csegsynth_core import grid
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.errors import PackError
from tests.toy import make_cohort
from train import evaluate, extractor_training, images
from train.degrade import KINDS, blur, coarse, degrade
from train.extractor_network import FOLDER, FeatureExtractor, own_extractors
from train.extractors import OWN, PLANES, Features
from train.people import person_key


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return Cohort.open(make_cohort(tmp_path_factory.mktemp("toy"), people=14))


@pytest.mark.parametrize("size", [(40, 36), (20, 24, 18)])
@pytest.mark.parametrize("kind", KINDS)
def test_degradations_keep_shape_and_range_and_grow_with_strength(kind, size):
    torch.manual_seed(0)
    ball = sum((torch.linspace(-1, 1, s).view([-1 if k == n else 1 for k in range(len(size))])) ** 2
               for n, s in enumerate(size))  # fmt: skip
    x, other = ((1.5 * level - 3 * ball).sigmoid()[None] for level in (1.0, 1.4))
    changes = []
    for strength in (0.05, 1.0):
        torch.manual_seed(1)
        found = degrade(kind, x, strength, other)
        assert found.shape == x.shape and found.min() >= 0 and found.max() <= 1
        changes.append(float((found - x).abs().mean()))
    assert changes[1] > 1.3 * changes[0]


def test_blur_and_coarseness_are_known_filters():
    """Of a single bright voxel: the blur's sum stays and its width is the one asked for; a block's mean is spread."""
    x = torch.zeros(1, 41, 41)
    x[0, 20, 20] = 1.0
    soft = blur(x, 1.0)[0]
    places = torch.arange(41) - 20.0
    assert soft.sum() == pytest.approx(1.0, abs=1e-4)
    assert float((soft.sum(dim=1) * places**2).sum()) == pytest.approx(4.0, rel=0.03)
    assert coarse(torch.full((1, 9, 9, 9), 0.3), 1.0) == pytest.approx(0.3, abs=1e-6)


def test_training_writes_networks_that_load_and_a_card(cohort, tmp_path):
    record = extractor_training.train_extractor(
        [cohort.folder],
        tmp_path,
        {"attribution": "toy people", "licence": "none"},
        steps=(3, 2),
        progress=False,
    )
    slices, volumes = own_extractors(tmp_path)
    assert (slices.layers[0].weight.ndim, volumes.layers[0].weight.ndim) == (4, 5)
    assert set(record["measured"]) == {"slices", "volumes"} and record["n_train"] == 12
    assert slices.saw == volumes.saw == set(record["people"]) and len(slices.saw) == 12
    assert {"tissue", "age", *KINDS} <= set(record["measured"]["slices"])
    card = (tmp_path / "card.md").read_text("utf-8")
    assert "toy people" in card and "ghost: strength" in card
    (tmp_path / "weights.safetensors").write_bytes(b"damaged")
    own_extractors.cache_clear()
    with pytest.raises(PackError, match=r"extractor in .* cannot be used.*SHA-256.*train extractor"):
        own_extractors(tmp_path)


def test_tables_say_how_many_of_the_people_the_networks_saw():
    ids = ["sub-1", "sub-2", "sub-3"]
    people = type("People", (), {"ids": ids, "__len__": lambda self: len(self.ids)})()
    names = {"fid_2d": "pre-trained ResNet-50", "fid_3d": OWN}
    seen = SimpleNamespace(names=names, saw=frozenset({person_key("sub-2"), "another"}))
    told = evaluate._eyes(seen, people)
    assert told["fid_2d"] == names["fid_2d"] and "trained on maps of 1 of these 3 people" in told["fid_3d"]
    assert evaluate._eyes(SimpleNamespace(names=names, saw=frozenset()), people) == names


def test_a_batch_says_what_was_done_to_each_picture(cohort):
    seen = [extractor_training.Seen(cohort, np.arange(10), np.full((10, 2), np.nan, np.float32))]
    x, wanted = extractor_training.batch(3, seen, 6, np.random.default_rng(3))
    assert x.shape == (6, 1, *extractor_training.BLOCK) and wanted["place"].shape == (6, 3)
    assert ((wanted["degraded"] > 0).sum(dim=1) <= 1).all() and (wanted["degraded"] > 0).any()
    model = FeatureExtractor(3)
    loss = extractor_training.loss_of(model, model(x), wanted)
    assert loss.isfinite(), "unknown ages and sexes do not count"


@pytest.mark.slow
def test_the_shipped_extractor_minds_blur(cohort):
    """Brains against their own blurred selves are further apart than one half of them from the other."""
    rows = np.stack([np.asarray(cohort.packed[k]) for k in range(12)])
    soft = np.stack([images.pack_maps(blur(torch.from_numpy(m).float() / 255, 0.6).numpy()) for m in rows])
    one = images.describe(rows[:1], Features()).features[0]
    assert one["volume"].shape[:2] == (1, 1)
    assert [one[p].shape[1] for p in PLANES] == [(s.stop - s.start) // 2 for s in grid.BOX]
    see = own_extractors()[1]
    with torch.inference_mode():
        real, blurred = (
            [
                torch.cat([see(torch.from_numpy(m[k]).float()[None, None] / 255) for m in brains])
                for k in range(3)
            ]
            for brains in (rows, soft)
        )
    for own, other in zip(real, blurred, strict=True):
        assert images.fid(other, own) > 2 * images.fid(own[:6], own[6:])


def test_what_is_shipped_is_what_its_record_says():
    record = json.loads((FOLDER / "extractor.json").read_text("utf-8"))
    assert record["kinds"] == list(KINDS)
    assert record["attribution"] in (FOLDER / "card.md").read_text("utf-8")
