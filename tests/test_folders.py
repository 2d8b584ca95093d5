"""Tables of many people: what is told of them, and folders of results that are gone on with."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest

from csegsynth_core import compare, page_figures, saliency
from csegsynth_core.__main__ import main
from csegsynth_core.errors import TableError
from csegsynth_core.generate import encode, generate, generate_one, latent_draws, mean_brain, sd_over_draws
from csegsynth_core.resume import keep_settings
from csegsynth_core.tissue import TISSUES


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.tsv"
    path.write_text("participant_id\tage\tsex\theight\nsub-a\t105\tF\t1.62\nsub-b\t70\tM\tn/a\n")
    return path


def run(command, table, out, *more):
    return main([command, "--table", str(table), "--out", str(out), "--quiet", *more])


def test_what_is_filled_in_is_told_and_kept(pack, table, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("generate", table, out, "--no-maps", "--no-regions") == 0
    said = capsys.readouterr().err
    assert "age: 1 of 2 people imputed (implausible: 105 years)" in said
    assert "height: 1 of 2 people imputed (implausible: 1.62 cm)" in said
    assert "height: 1 of 2 people imputed (missing)" in said
    assert "unknown of everybody, imputed: " in said and "weight" in said
    held = json.loads((out / "sub-a" / "sub-a_desc-synthetic_volumes.json").read_text())
    assert held["FeatureFlags"]["age"] == "imputed (implausible: 105 years)"
    assert held["FeatureFlags"]["weight"] == "imputed (missing)" and "sex" not in held["FeatureFlags"]
    readme = (out / "README.md").read_text()
    assert "--no-maps --no-regions" in readme and "partial-volume" not in readme
    volumes = pd.read_csv(out / "volumes.tsv", sep="\t").set_index("participant_id")
    assert json.loads(volumes.loc["sub-a", "flags"]) == held["FeatureFlags"]
    assert "imputed" in json.loads((out / "volumes.json").read_text())["flags"]["Description"]
    sweeps = tmp_path / "sweeps"
    table.write_text(table.read_text().replace("105", "60"))
    assert (
        run("sweep", table, sweeps, "--from", "50", "--to", "60", "--step", "5", "--scenario", "ideal") == 0
    )
    held = json.loads((sweeps / "sub-a_sweep.json").read_text())
    assert held["FeatureFlags"]["height"] == "imputed (implausible: 1.62 cm)"
    assert held["Features"]["height"] is None


def test_the_command_of_a_folder_knows_what_was_given(pack, table, tmp_path, monkeypatch, capsys):
    """`participants.tsv` holds what was filled in; made from that, nothing would be told of it."""
    out = tmp_path / "out"
    assert run("generate", table, out, "--no-maps", "--no-regions") == 0
    assert (out / "given.tsv").read_text() == table.read_text()
    (words,) = re.findall(r"^    python -m csegsynth_core (.*)$", (out / "README.md").read_text(), re.M)
    monkeypatch.chdir(out)
    assert main([*shlex.split(words), "--quiet"]) == 0
    for name in ("volumes.tsv", "participants.tsv", "given.tsv", "sub-a/sub-a_desc-synthetic_volumes.json"):
        assert (out / "DIR" / name).read_bytes() == (out / name).read_bytes(), name
    mark = out / "sub-a" / "sub-a_desc-synthetic_volumes.json"  # of a folder before `given.tsv`
    mark.write_text(json.dumps({k: v for k, v in json.loads(mark.read_text()).items() if k != "Given"}))
    capsys.readouterr()
    assert run("generate", table, out, "--no-maps", "--no-regions") == 0
    assert "2 already there" in capsys.readouterr().out
    given = pd.read_csv(out / "given.tsv", sep="\t", keep_default_na=False).set_index("participant_id")
    assert list(given.loc["sub-a", ["age", "sex", "weight"]]) == ["n/a", "F", "n/a"]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("generate", ("--no-maps", "--no-regions")),
        ("sweep", ("--from", "50", "--to", "60", "--step", "5", "--scenario", "ideal")),
        ("saliency", ("--fast", "--draws", "1")),
    ],
)
def test_people_who_had_other_features_before_are_counted(pack, tmp_path, capsys, command, more):
    table, out = tmp_path / "people.tsv", tmp_path / "out"
    table.write_text("participant_id\tage\tsex\nsub-a\t45\tF\n")
    assert run(command, table, out, *more) == 0
    assert "0 already there" in (said := capsys.readouterr().out) and "replaced" not in said
    assert run(command, table, out, *more) == 0
    assert "1 already there" in (said := capsys.readouterr().out) and "replaced" not in said
    table.write_text("participant_id\tage\tsex\na\t70\tF\n")
    assert run(command, table, out, *more) == 0
    assert "0 already there, 1 replaced" in capsys.readouterr().out


def test_a_value_that_was_given_is_not_one_filled_in(pack, tmp_path, capsys):
    """Though the brain is the same: the files say which."""
    table, out, quick = tmp_path / "people.tsv", tmp_path / "out", ("--no-maps", "--no-regions")
    table.write_text("participant_id\tage\tsex\nsub-a\t200\tF\n")
    assert run("generate", table, out, *quick) == 0
    table.write_text((out / "participants.tsv").read_text())
    capsys.readouterr()
    assert run("generate", table, out, *quick) == 0
    assert "1 replaced" in capsys.readouterr().out
    assert json.loads(pd.read_csv(out / "volumes.tsv", sep="\t").loc[0, "flags"]) == {}


def test_a_refused_run_leaves_its_folder_usable(pack, table, tmp_path, capsys):
    out = tmp_path / "out"
    quick = ("--no-maps", "--no-regions")
    assert run("generate", table, out, *quick, "--seed", "-1") == 2
    assert run("generate", table, out, *quick, "--seed", "1") == 0
    assert run("generate", table, out, *quick, "--seed", "2") == 2  # there are brains now
    assert "Seed 1" in capsys.readouterr().err
    settings = tmp_path / "settings.json"
    keep_settings(settings, {"Seed": -1}, what="x", finished="done/*.tsv")
    keep_settings(settings, {"Seed": 1}, what="x", finished="done/*.tsv")
    assert json.loads(settings.read_text())["Seed"] == 1


def test_a_second_table_adds_people(pack, table, tmp_path, capsys):
    """Tables of the folder hold everybody in it; somebody whose segmentation was lost is made again."""
    out = tmp_path / "out"
    assert run("generate", table, out, "--no-regions") == 0
    table.write_text("participant_id\tage\tsex\nsub-c\t40\tM\n")
    lost = next((out / "sub-b").rglob("*_dseg.nii.gz"))
    lost.unlink()
    assert run("generate", table, out, "--no-regions") == 0
    for name in ("participants.tsv", "volumes.tsv"):
        people = pd.read_csv(out / name, sep="\t")["participant_id"]
        assert list(people) == ["sub-c", "sub-a", "sub-b"], name
    table.write_text("participant_id\tage\tsex\theight\nsub-b\t70\tM\tn/a\n")
    capsys.readouterr()
    assert run("generate", table, out, "--no-regions") == 0
    assert "1 synthetic brains of 1 people, 0 already there" in capsys.readouterr().out
    assert lost.is_file()


def test_a_file_in_the_place_of_the_folder_is_no_traceback(pack, table, capsys):
    assert run("generate", table, table, "--no-maps", "--no-regions") == 3
    assert "Name another folder" in capsys.readouterr().err


def test_columns_of_others_can_be_left_out(pack, table, tmp_path, capsys):
    table.write_text("participant_id\tage\tsex\tgroup\nsub-a\t50\tF\tpatients\n")
    out = tmp_path / "out"
    assert run("generate", table, out, "--no-maps", "--no-regions") == 2
    assert "--ignore-unknown" in capsys.readouterr().err
    assert run("generate", table, out, "--no-maps", "--no-regions", "--ignore-unknown") == 0
    assert "left out: group" in capsys.readouterr().err


def test_scenarios_of_a_file_must_be_possible(pack):
    """An implausible number is no empty cell: it would silently be the starting person's."""
    person = pack.encoder.default_person()
    with pytest.raises(TableError, match=r"age of row-2: 105 \(expected .* years\).*height of row-2: 1\.80"):
        compare.read_scenarios(pack, b"scenario,age,height\nA,60,\nB,105,1.80\n", "my.csv", person)


def test_the_mean_brain_is_the_mean_of_the_draws(pack):
    person = pack.encoder.default_person()
    mean, draws = mean_brain(pack, person, draws=3, seed=4), list(generate(pack, person, draws=3, seed=4))
    assert np.allclose(mean.maps, np.mean([b.maps for b in draws], axis=0), atol=1e-6)
    for tissue in TISSUES:
        assert mean.volumes_ml[tissue] == pytest.approx(
            np.mean([b.volumes_ml[tissue] for b in draws]), rel=1e-5
        )
    assert (mean.features, mean.seed) == (draws[0].features, 4)


def test_the_spread_over_few_draws_is_that_of_many(pack):
    """Draws come in pairs of opposite noise, whose sample standard deviation is too large."""
    rng = np.random.default_rng(4)
    slope = rng.normal(size=latent_draws(pack, 2, 1).shape[1])
    slope /= np.linalg.norm(slope)
    for draws, off in ((2, 0.12), (6, 0.06)):
        z = np.stack([latent_draws(pack, draws, seed).numpy() for seed in range(1, 61)])
        volumes = 500 + 40 * z @ slope + 10 * ((z @ rng.permutation(slope)) ** 2 if draws > 2 else 0)
        found = np.sqrt(np.square(sd_over_draws(volumes, axis=1)).mean())
        assert found == pytest.approx(volumes.std(), rel=off), draws
        assert np.sqrt(volumes.var(axis=1, ddof=1).mean()) > (1 + off) * found or draws > 2
    assert np.isnan(sd_over_draws(np.ones((1, 3)))).all()


def test_gradients_are_per_standard_deviation_also_of_rare_levels(pack):
    """A level's encoded column has a floor under its divisor; what is shown has not."""
    scale = dict(zip(pack.encoder.columns, pack.encoder.column_sd(), strict=True))
    assert scale["age"] == scale["sex"] == 1.0
    rare = [c for c, s in scale.items() if s < 0.99]
    assert rare, "the pack has a rare level"
    person = pack.encoder.default_person()
    found = saliency.gradients(pack, person, draws=1, resolution=2)
    shown = saliency.summarise(pack, found).query("measure == 'gm'").set_index("column")["per_sd_ml"]
    raw = dict(zip(found.columns, found.slopes[0, 0, list(found.measures).index("gm")], strict=True))
    for column in ("age", *rare):
        owner = column.split("=")[0]
        if owner != column:
            stats = pack.encoder.levels[owner]
            share = dict(zip(stats.kept, stats.shares, strict=True))[column.split("=")[1]]
            assert scale[column] == pytest.approx(np.sqrt(share * (1 - share)) / 0.25)
        assert shown[column] == pytest.approx(raw[column] * scale[column], rel=1e-5)


def test_the_most_frequent_level_has_a_contrast_of_its_own(pack):
    owner = next(f.name for f in pack.schema.features if f.kind == "nominal")
    stats = pack.encoder.levels[owner]
    usual, second = sorted(stats.counts, key=lambda k: -stats.counts[k])[:2]
    assert saliency.comparisons(pack, [f"{owner}={usual}"]) == [(owner, second, usual)]
    assert (owner, usual, second) in saliency.comparisons(pack, [owner])


def test_centiles_beyond_the_reference_name_the_age_they_are_of(pack):
    sex = pack.schema.sex.name
    low, high = pack.centiles.ages("F")
    for age, wanted in ((high + 9, high), (50.0, 50.0)):
        brain = generate_one(pack, pack.encoder.default_person() | {"age": age, sex: "F"})
        alike = page_figures.alike(pack, brain)
        words = alike.who
        assert alike.people == f"women aged {wanted:.0f}" and words == f"{alike.people} ({alike.curves})"
        assert (f"nearest reference age to {age:.0f}" in words) == (age > high)
        assert set(page_figures.volume_table(pack, brain, brain)["reference_age"]) == {wanted}
    assert low < 50.0 < high
    assert encode(pack, {"age": 50.0}).flags_of(0)[sex] == "imputed (missing)"
