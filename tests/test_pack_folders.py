"""Packs in folders of the user's: found by name, checked, and never outside the folder."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from csegsynth_core import page_export
from csegsynth_core.errors import PackError
from csegsynth_core.pack import available, find, load_pack
from csegsynth_core.pack_folders import VARIABLE, checked_folder, find_all, folders_of_environment

testing = pytest.importorskip("streamlit.testing.v1")
APP = Path(__file__).resolve().parents[1] / "app.py"


@pytest.fixture
def folder(pack, tmp_path) -> Path:
    """A folder with a pack `mine`, whose own folder is named otherwise."""
    shutil.copytree(pack.folder, tmp_path / "packs" / "run-7")
    _rename(tmp_path / "packs" / "run-7", "mine")
    return tmp_path / "packs"


def _rename(path: Path, name: Any) -> None:
    about = json.loads((path / "pack.json").read_text("utf-8"))
    (path / "pack.json").write_text(json.dumps({**about, "name": name}), "utf-8")


def test_packs_of_a_folder_come_after_the_shipped_ones(folder) -> None:
    found = find_all([folder])
    assert found.problems == []
    assert list(found.packs) == [*available(), "mine"]
    assert load_pack(found.packs["mine"]).name == "mine"
    assert find_all([folder / "run-7"]).packs == found.packs  # a pack's own folder will do


def test_folders_of_the_environment(folder, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{folder}:/nowhere")
    found = find_all(folders_of_environment())
    assert "mine" in found.packs
    assert [p.got for p in found.problems] == ["/nowhere"]
    monkeypatch.delenv(VARIABLE)
    assert folders_of_environment() == []


def test_commands_find_a_pack_of_ones_own_by_the_name_that_they_print(folder, monkeypatch) -> None:
    with pytest.raises(PackError, match=r"no model pack 'mine'.*CSEGSYNTH_PACKS=FOLDER"):
        find("mine")
    monkeypatch.setenv(VARIABLE, f"/nowhere:{folder}")
    pack = load_pack("mine")
    assert pack.folder == find("mine") == folder / "run-7"
    line = shlex.split(page_export.person_commands(pack, 3)[0])
    assert load_pack(line[line.index("--pack") + 1]).hash == pack.hash
    assert find("ixi") == available()["ixi"]  # shipped ones come first
    with pytest.raises(PackError, match=r"one of .*mine"):
        find("yours")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("packs", "not absolute"),
        ("../packs", "not absolute"),
        ("", "unusable path"),
        ("/a\0b", "unusable path"),
        ("/" + 5000 * "x", "unusable path"),
        ("~nobody-of-this-name/packs", "unusable path|not absolute"),
        ("/nowhere/packs", "no such folder"),
        (str(APP), "no such folder"),
    ],
)
def test_unusable_paths(text, problem) -> None:
    with pytest.raises(PackError, match=problem):
        checked_folder(text)


def test_a_folder_without_packs_says_so(tmp_path) -> None:
    assert "no model pack in" in find_all([tmp_path]).problems[0].problem


def test_a_name_is_taken_once(folder) -> None:
    _rename(folder / "run-7", "ixi")
    found = find_all([folder])
    assert found.packs == available()
    assert "two model packs are named 'ixi'" in found.problems[0].problem


def test_links_out_of_the_folder_are_refused(folder, tmp_path) -> None:
    shutil.move(folder / "run-7", tmp_path / "elsewhere")
    (folder / "run-7").symlink_to(tmp_path / "elsewhere")
    found = find_all([folder])
    assert "is a link out of" in found.problems[0].problem
    assert found.packs == available()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": "other"}', '{"format": "csegsynth-pack", "name": 3}', "x" * 1_000_001]
)
def test_what_is_no_pack_is_named(folder, content) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "pack.json").write_text(content)
    found = find_all([folder])
    assert "mine" in found.packs  # the rest counts all the same
    assert len(found.problems) == 1 and "other" in str(found.problems[0])


def _app() -> Any:
    return testing.AppTest.from_file(str(APP), default_timeout=60)


def test_the_app_takes_a_pack_from_a_folder(pack, folder) -> None:
    app = _app()
    app.query_params["pack"] = "mine"
    app.query_params["p.age"] = "33"
    app.run()
    assert "'mine' is not here" in app.error[0].value
    assert app.selectbox(key="pack").options == [f"Model pack: {name}" for name in available()]
    app.text_input(key="packs-folder").set_value(str(folder)).run()
    assert not app.error and not app.exception
    assert app.selectbox(key="pack").value == "mine"
    assert next(s for s in app.slider if s.label.startswith("Age")).value == 33  # the link was waiting
    assert app.query_params["pack"] == "mine"
    app.text_input(key="packs-folder").set_value("/nowhere").run()
    assert "no such folder" in app.error[0].value
    assert app.selectbox(key="pack").value == "ixi" and not app.exception


def test_a_damaged_pack_of_ones_own_ends_in_a_message(folder) -> None:
    weights = folder / "run-7" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    app = _app().run()
    app.text_input(key="packs-folder").set_value(str(folder)).run()
    assert "is damaged or was changed" in app.error[0].value
    assert hashlib.sha256(weights.read_bytes()).hexdigest()[:16] in app.error[0].value
    assert not app.exception
    app.selectbox(key="pack").set_value("ixi").run()
    assert not app.error


def test_a_shared_server_offers_no_field(folder, monkeypatch) -> None:
    from streamlit import config

    monkeypatch.setenv("CSEGSYNTH_PACK_FIELD", "off")
    monkeypatch.setenv(VARIABLE, str(folder))
    app = _app()
    app.session_state["packs-folder"] = "/etc"
    app.run()
    assert not app.error  # nobody looked into it
    assert [t.key for t in app.text_input] == []
    assert "Model pack: mine" in app.selectbox(key="pack").options
    monkeypatch.delenv("CSEGSYNTH_PACK_FIELD")
    before = config.get_option("server.address")
    config.set_option("server.address", "0.0.0.0")  # noqa: S104 - not served, only said
    try:
        assert [t.key for t in _app().run().text_input] == []
    finally:
        config.set_option("server.address", before)
