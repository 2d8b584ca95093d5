"""Mean maps of groups: what is kept comes back, small groups are refused, and packs take and check the files."""

import json
import shutil

import numpy as np
import pytest

from csegsynth_core import figures, grid
from csegsynth_core.errors import PackError
from csegsynth_core.group_means import CUTS, STEP, Group, GroupMeans
from csegsynth_core.pack import add_files, load_pack


@pytest.fixture
def means(rng):
    def one():
        maps = np.zeros((3, *grid.SHAPE), np.float32)
        maps[(slice(None), *grid.BOX)] = rng.random((3, *(s.stop - s.start for s in grid.BOX))) / 3
        return maps

    maps = [one() for _ in range(4)]
    groups = [Group("female, under 40", 9), Group("male, under 40", 5)]
    return maps, GroupMeans.of(groups, maps[:2], maps[2:])


def test_kept_slices_come_back(means):
    maps, found = means
    again = found.maps(1, "model")
    for axis, cuts in enumerate(CUTS):
        for cut in cuts:
            here = np.take(again, cut, axis=axis + 1)
            assert np.allclose(here, np.take(maps[3], cut, axis=axis + 1), atol=STEP / 2 / 255 + 1e-6)
    off = np.ones(grid.SHAPE, bool)
    off[list(CUTS[0])], off[:, list(CUTS[1])], off[:, :, list(CUTS[2])] = False, False, False
    assert not again[:, off].any()


def test_few_people_are_no_mean(means):
    maps, _ = means
    with pytest.raises(ValueError, match="5 people or more in every group, few has fewer"):
        GroupMeans.of([Group("few", 4)], maps[:1], maps[1:2])


def test_a_pack_takes_them_and_checks_them(means, pack, tmp_path):
    _, found = means
    folder = tmp_path / "copy"
    shutil.copytree(pack.folder, folder)
    add_files(folder, found.files())
    again = GroupMeans.read(load_pack(folder))
    assert again is not None and again.groups == found.groups
    assert np.array_equal(again.tiles, found.tiles)
    layout = json.loads((folder / "group_means.json").read_text())
    assert layout["groups"][0] == {"label": "female, under 40", "people": 9}
    (folder / "group_means.png").write_bytes(b"nonsense")
    with pytest.raises(PackError, match=r"group_means\.png is damaged or was changed"):
        GroupMeans.read(load_pack(folder))
    with pytest.raises(PackError, match="plain file name"):
        add_files(folder, {"../weights.safetensors": b""})
    with pytest.raises(PackError, match="is not a pack"):
        add_files(tmp_path, {"a": b""})


def test_groups_figure_shows_means_and_difference(means):
    _, found = means
    figure = figures.groups_figure(found, "axial", CUTS[2][4], "gm").to_dict()
    k = CUTS[2][4]
    pairs = [[found.maps(g, kind)[1, :, :, k] for kind in ("real", "model")] for g in (0, 1)]
    ends = [figures.difference_limit(model - real) for real, model in pairs]
    layout = figure["layout"]
    assert len(layout["images"]) == 3  # two groups and the colour bar
    notes = [a["text"] for a in layout["annotations"]]
    assert notes[:2] == ["<b>female</b><br>under 40, n 9", "<b>male</b><br>under 40, n 5"]
    assert notes[2:5] == ["real", "generated", "difference"]
    assert notes[5:17] == [f"<b>{side}</b>" for side in "LRPA"] * 3
    assert notes[17:] == [f"−{max(ends):g}", "generated − real, GM fraction", f"+{max(ends):g}"]
    assert layout["images"][0]["sizex"] == layout["images"][1]["sizex"]
