"""The app without a browser: its numbers are the core's, and mistakes end in messages."""

from __future__ import annotations

import ast
import json
import re
import shutil
import threading
import tomllib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csegsynth_core import pack as packs
from csegsynth_core.compare import volumes_draw_by_draw, volumes_of_draws
from csegsynth_core.errors import PackError, TableError
from csegsynth_core.generate import encode, generate_one
from csegsynth_core.page_views import SPREAD_DRAWS
from csegsynth_core.uncertainty import paired_spread
from tests.conftest import every_second_voxel

testing = pytest.importorskip("streamlit.testing.v1")
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60


def _opened() -> Any:
    import streamlit as st

    st.cache_resource.clear()
    return testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()


@pytest.fixture(scope="module")
def untouched(pack) -> Any:
    """The app as it opens, for those who only look."""
    return _opened()


@pytest.fixture
def app(pack, few_spread_draws) -> Iterator[Any]:
    """The app as it opens, for those who change something; its spread is that of few draws, of coarse brains."""
    with every_second_voxel():
        yield _opened()


def _html(app: Any) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def _volumes(app: Any) -> dict[str, str]:
    found = re.findall(r'data-volume="([a-z+]+)">.*?class="ml">([\d.]+)<', _html(app))
    return dict(found)


def _expected(brain: Any) -> dict[str, str]:
    ml = {**brain.volumes_ml, "wm+gm+csf": brain.total_ml}
    return {k: f"{v:.1f}" for k, v in ml.items()}


def _by_label(widgets: Any, start: str) -> Any:
    return next(w for w in widgets if w.label.startswith(start))


def _unknown(app: Any, name: str) -> Any:
    return next(w for w in app.checkbox if w.key.endswith(f"-{name}-na"))


def test_headings_leave_ids_as_they_are() -> None:
    from pages import _viewer

    assert _viewer._headed("sub-CC110033") == "sub-CC110033"
    assert _viewer._headed("typical female MCI person") == "Typical female MCI person"


def test_every_checkbox_says_which_feature_it_is_of(untouched) -> None:
    names = [w.label for w in untouched.checkbox if w.key.endswith("-na")]
    assert "Height: n/a" in names and len(set(names)) == len(names) > 1
    words = {o for w in untouched.sidebar.selectbox for o in w.options if o in ("Unknown", "n/a")}
    assert words == {"n/a"}  # one word for it in all controls


def test_sliders_have_names_without_marks(untouched) -> None:
    """A name is read aloud as it is; what is seen in its place has the range in grey."""
    assert "Age 20.2–81.9 years" in [s.label for s in untouched.slider]
    assert not [s.label for s in untouched.slider if re.search(r"[\[\]:*]", s.label)]
    assert '<div class="named" aria-hidden="true">Age <span>20.2–81.9 years</span></div>' in _html(untouched)


def _typical(pack: packs.Pack, sex: str) -> dict[str, Any]:
    return {**pack.encoder.default_person(sex=sex), "age": 48.0}


def test_opens_with_a_typical_brain(untouched, pack) -> None:
    assert not untouched.exception
    assert not untouched.error
    person = _typical(pack, pack.encoder.levels["sex"].mode)
    assert _volumes(untouched) == _expected(generate_one(pack, person, seed=0))
    text = _html(untouched)
    assert text.count("Research use only") == 1
    assert "intracranial" not in text.casefold()
    assert 'class="notes"' not in text
    assert len(untouched.get("plotly_chart")) == 2
    ranges = re.findall(r'class="spread">(\d+) \((\d+)–(\d+)\)<', text)
    assert len(ranges) == 4
    assert all(int(low) < int(mean) < int(high) for mean, low, high in ranges)
    ml = volumes_of_draws(pack, person, draws=SPREAD_DRAWS)
    spread = paired_spread(ml, ml)
    for key, shown in zip(("wm", "gm", "csf", "wm+gm+csf"), ranges, strict=True):
        wanted = spread.person_mean[key], *spread.person[key]
        assert [float(v) for v in shown] == pytest.approx(wanted, abs=0.51), key


def test_every_feature_has_a_control(untouched, pack) -> None:
    for one in pack.encoder.ranges().values():
        widgets = (
            [*untouched.slider, *untouched.selectbox, *untouched.segmented_control]
            if hasattr(untouched, "segmented_control")
            else []
        )
        widgets = widgets or [*untouched.slider, *untouched.selectbox, *untouched.button_group]
        control = _by_label(widgets, one.label)
        if one.kind == "numeric":
            assert control.min <= one.minimum < one.maximum <= control.max
            assert one.units in control.label


def test_moving_age_gives_the_cores_volumes(app, pack) -> None:
    person = _typical(pack, pack.encoder.levels["sex"].mode)
    _by_label(app.slider, "Age").set_value(75.0).run()
    brain = generate_one(pack, {**person, "age": 75.0}, seed=0)
    assert _volumes(app) == _expected(brain)
    assert "aged 75" in _html(app)
    app.number_input[0].set_value(5).run()
    assert _volumes(app) == _expected(generate_one(pack, {**person, "age": 75.0}, seed=5))
    _by_label(app.button, "Reset").click().run()
    assert _volumes(app) == _expected(generate_one(pack, person, seed=5))


def test_a_new_draw_is_the_next_seed(app) -> None:
    _by_label(app.button, "New draw").click().run()
    assert app.number_input[0].value == 1
    assert "draw 1" in _html(app)


def test_unknown_is_imputed_and_flagged(app, pack) -> None:
    _unknown(app, "weight").check().run()
    person = {**_typical(pack, pack.encoder.levels["sex"].mode), "weight": None}
    brain = generate_one(pack, person, seed=0)
    assert _volumes(app) == _expected(brain)
    assert brain.flags["weight"].startswith("imputed")
    assert re.search(r'class="notes".*<b>Weight</b> imputed \(missing\)', _html(app))


def _sidebar(name: str) -> Any:
    """The controls of a pack's person alone."""

    def script(name: str) -> None:
        from pages import _controls, _state

        _controls.person_controls(_state.load(name))

    return testing.AppTest.from_function(script, default_timeout=PATIENCE, args=(name,)).run()


def _held(app: Any, pack: packs.Pack) -> dict[str, Any]:
    """What is remembered of the person."""
    return app.session_state[f"memory-{pack.hash[:12]}"]


def test_a_slider_stands_where_the_model_takes_an_unknown_number_to_be(pack) -> None:
    app = _sidebar("ixi")
    _by_label(app.slider, "Weight").set_value(90.0).run()
    _unknown(app, "weight").check().run()
    for sex, age in (("M", 30.0), ("F", 70.0)):
        _by_label([*app.get("button_group"), *app.segmented_control], "Sex").set_value(sex)
        _by_label(app.slider, "Age").set_value(age).run()
        weight, person = _by_label(app.slider, "Weight"), _held(app, pack)["person"]
        assert weight.disabled and (person["sex"], person["age"], person["weight"]) == (sex, age, None)
        assert weight.value == pytest.approx(encode(pack, person).natural["weight"].iloc[0])
    _unknown(app, "weight").uncheck().run()
    assert not app.exception and _held(app, pack)["person"]["weight"] == 90.0


def test_a_whole_number_that_was_unknown_starts_as_one(pack) -> None:
    app = _sidebar("ixi")
    _held(app, pack)["person"]["weight"] = None
    _held(app, pack)["turn"] += 1
    weight = _by_label(app.run().slider, "Weight")
    assert weight.disabled and weight.value != round(weight.value)
    _unknown(app, "weight").uncheck().run()
    assert not app.exception and _held(app, pack)["person"]["weight"] == round(weight.value)


def test_what_an_unknown_number_depends_on_may_stand_below_it() -> None:
    try:
        lifespan = packs.load_pack("lifespan")
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")
    app = _sidebar("lifespan")
    _by_label(app.text_input, "Search").set_value("smok").run()
    _unknown(app, "cigarettes_per_day").check().run()
    for level in ("current", "never"):
        next(s for s in app.selectbox if s.key.endswith("-smoking_status")).set_value(level).run()
        slider = next(s for s in app.slider if s.key.endswith("-cigarettes_per_day"))
        person = _held(app, lifespan)["person"]
        assert person["smoking_status"] == level and (slider.value == 0) == (level == "never")
        assert slider.value == pytest.approx(encode(lifespan, person).natural["cigarettes_per_day"].iloc[0])


def test_an_unknown_level_is_said_in_its_control(app, pack) -> None:
    box = _by_label(app.selectbox, pack.schema.feature("ethnicity").label)
    box.set_value("n/a").run()
    person = {**_typical(pack, pack.encoder.levels["sex"].mode), "ethnicity": None}
    assert _volumes(app) == _expected(generate_one(pack, person, seed=0))
    other = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    other.query_params["p.ethnicity"] = "n/a"
    for one in (app, other.run()):
        assert not one.exception
        assert _by_label(one.selectbox, pack.schema.feature("ethnicity").label).value == "n/a"
        assert re.search(r'class="notes".*<b>Ethnicity</b> imputed \(missing\)', _html(one))
    _by_label(other.selectbox, pack.schema.feature("ethnicity").label).set_value("asian").run()
    assert "imputed" not in _html(other)


def test_outside_the_training_range_is_said(app) -> None:
    age = _by_label(app.slider, "Age")
    age.set_value(age.max).run()
    assert re.search(r'class="notes".*<b>Age</b> 92 years, outside training range', _html(app))
    assert not app.exception


def test_a_baseline_is_kept(app) -> None:
    _by_label(app.slider, "Age").set_value(70.0).run()
    _by_label(app.button, "Set as baseline").click().run()
    same = r'<td>([^<]*\d)<em class="spread">([^<]*)</em></td><td class="words">'
    assert re.findall(same, _html(app)) == [("±0.0", "0.0")] * 4


def test_what_differs_is_said_of_the_person_shown(app) -> None:
    """Not of the one before: after a change of sex the baseline is another one, too."""
    said = [c.value for c in app.caption if "from the baseline" in c.value]
    assert said == ["No feature differs from the baseline"]
    _by_label(app.slider, "Age").set_value(70.0).run()
    assert [c.value for c in app.caption if "from the baseline" in c.value] == [
        "1 feature differs from the baseline"
    ]
    sex = _by_label([*app.get("button_group"), *app.segmented_control], "Sex")
    sex.set_value("M" if sex.value == "F" else "F").run()
    assert not app.exception
    (found,) = [c.value for c in app.caption if "from the baseline" in c.value]
    assert int(found.split()[0]) >= 3, "age, and height and weight, which stayed"


def test_the_spread_over_draws_stands_beside_volumes_changes_and_regions(app, pack, monkeypatch) -> None:
    from pages import _draws

    draws = 4
    monkeypatch.setattr(_draws, "SPREAD_DRAWS", draws)
    person = _typical(pack, pack.encoder.levels["sex"].mode)
    app.session_state["regions"] = True
    _by_label(app.slider, "Age").set_value(75.0).run()
    assert not app.exception
    old, base = (
        volumes_of_draws(pack, {**person, "age": age}, draws=draws, regions=True) for age in (75.0, 48.0)
    )
    spread = paired_spread(old, base)
    text = _html(app)
    for key in ("gm", "wm+gm+csf", "ventricles", "cortical_gm"):
        row = re.search(rf'<tr data-(?:volume|region)="{re.escape(key)}">.*?</tr>', text)[0].replace("−", "-")
        own, paired = re.findall(r'<em class="spread">([^<]*)</em>', row)
        wanted = spread.person_mean[key], *spread.person[key]
        assert [float(v) for v in re.split(r"[ (–)]+", own)[:3]] == pytest.approx(wanted, abs=0.51)
        wanted = spread.change_mean[key], *spread.change[key]
        assert [float(v) for v in re.split(r" to |[ ()]+", paired)[:3]] == pytest.approx(wanted, abs=0.051)
    strips = json.loads(app.get("plotly_chart")[-1].proto.spec)
    line = next(t for t in strips["data"] if t.get("hovertemplate", "").startswith("GM spread over draws"))
    assert line["x"] == pytest.approx(spread.person["gm"], abs=1e-3)
    assert "…</em>" not in text


def test_draws_are_made_once_and_go_on_where_a_run_ended(pack, monkeypatch) -> None:
    """Another change to the page ends a run between two draws; the draws that are made stay."""
    from pages import _draws

    made = []

    def counted(*args: Any, **more: Any) -> Any:
        for row in volumes_draw_by_draw(*args, **more):
            made.append(args[1]["age"])
            yield row

    store, draws = (OrderedDict[Any, Any](), threading.Lock()), 4
    monkeypatch.setattr(_draws, "SPREAD_DRAWS", draws)
    monkeypatch.setattr(_draws, "volumes_draw_by_draw", counted)
    monkeypatch.setattr(_draws, "_store", lambda: store)
    base = _typical(pack, "F")
    person = {**base, "age": 60.0}

    def stop_at_three() -> None:
        if made.count(60.0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _draws.made(pack, person, base, 5, False, stop_at_three)
    assert _draws.known(pack, person, base, 5, False) is None
    found = _draws.made(pack, person, base, 5, False)
    assert made == [48.0] * draws + [60.0] * draws
    ml = [volumes_of_draws(pack, one, draws=draws, seed=5) for one in (person, base)]
    assert found == paired_spread(*ml)
    assert _draws.made(pack, person, base, 5, False) == found and len(made) == 2 * draws
    whole = _draws.made(pack, person, base, 5, True)
    assert set(whole.change) > set(found.change)
    assert _draws.known(pack, base, person, 5, False).change["gm"] == pytest.approx(
        [-v for v in reversed(found.change["gm"])], abs=1e-3
    )


def test_every_view_of_the_brain(app, pack) -> None:
    _by_label(app.slider, "Age").set_value(70.0).run()
    person = _typical(pack, pack.encoder.levels["sex"].mode)
    old, base = (generate_one(pack, {**person, "age": age}) for age in (70.0, 48.0))
    specs = {}
    for view in ("pair", "difference", "surface", "person"):
        app.session_state["viewer-view"] = view
        app.run()
        assert not app.exception and not app.error
        specs[view] = json.loads(app.get("plotly_chart")[0].proto.spec)
    texts = " ".join(a["text"] for a in specs["pair"]["layout"]["annotations"])
    for brain in (old, base):
        assert f"GM {brain.volumes_ml['gm']:.1f} mL" in texts
    assert len(specs["pair"]["layout"]["images"]) == 6
    assert {t["name"] for t in specs["surface"]["data"]} == {"cortex", "letters"}
    app.session_state["viewer-mode"] = "contours"
    app.run()
    lines = [t for t in json.loads(app.get("plotly_chart")[0].proto.spec)["data"] if t["mode"] == "lines"]
    assert len(lines) == 9 and "over the mean of 16 draws of the pack's typical female person" in _html(app)


def test_the_surface_shows_change_and_ventricles(pack, few_spread_draws) -> None:
    app = _opened()
    _by_label(app.slider, "Age").set_value(75.0).run()
    app.session_state["viewer-view"] = "surface"
    seen = {}
    for colour in ("moved", "inside"):
        app.session_state["surface-colour"] = colour
        app.run()
        assert not app.exception
        seen[colour] = json.loads(app.get("plotly_chart")[0].proto.spec)
    bar = next(t for t in seen["moved"]["data"] if t["name"] == "cortex")["colorbar"]
    assert bar["title"]["text"] == "moved outwards from the baseline, mm"
    assert [t["name"] for t in seen["inside"]["data"]] == ["ventricles", "cortex", "letters"]
    assert max(len(json.dumps(s)) for s in seen.values()) < 1_500_000


def test_an_own_table(app, pack, tmp_path) -> None:
    table = b"participant_id,age,sex,height\n01,63.5,male,181\n02,30,F,n/a\n03,30,F,110\n"
    app.file_uploader[0].set_value(("people.csv", table, "text/csv")).run()
    assert not app.error
    who = _by_label(app.selectbox, "Person")
    assert who.options == ["sub-01", "sub-02", "sub-03"]
    who.set_value("sub-01").run()
    assert _by_label(app.slider, "Age").value == 63.5
    brain = generate_one(pack, {"age": 63.5, "sex": "M", "height": 181.0}, seed=0)
    assert _volumes(app) == _expected(brain)
    assert "baseline: sub-01" in _html(app)
    _by_label(app.selectbox, "Person").set_value("sub-03").run()
    assert _unknown(app, "height").value
    assert "height: 110 in people.csv is not plausible" in _html(app)


def test_a_bad_table_names_row_and_column(app) -> None:
    table = b"participant_id\tage\nsub-01\tforty\n"
    app.file_uploader[0].set_value(("people.tsv", table, "text/tab-separated-values")).run()
    assert len(app.error) == 1
    assert "people.tsv, row 2, column age" in app.error[0].value
    assert not app.exception


def test_people_of_a_table(pack) -> None:
    from pages._table import people_of

    people, unknown = people_of(pack, b"participant_id,age,sex,shoe\n7,40,F,44\n", "a.csv")
    assert unknown == ["shoe"]
    person, notes = people["sub-7"]
    assert (person["age"], person["sex"], person["height"], notes) == (40.0, "F", None, [])
    with pytest.raises(TableError, match=r"a\.csv.*age.*not a number"):
        people_of(pack, b"participant_id,age,shoe\n7,old,44\n", "a.csv")
    with pytest.raises(TableError, match="none of the features"):
        people_of(pack, b"participant_id,shoe\n7,44\n", "a.csv")


def test_damaged_and_missing_packs_end_in_a_message(pack, tmp_path, monkeypatch) -> None:
    import streamlit as st

    for damage in ("truncated", "missing"):
        root = tmp_path / damage
        root.mkdir()
        if damage == "truncated":
            shutil.copytree(pack.folder, root / "ixi")
            weights = root / "ixi" / "weights.safetensors"
            weights.write_bytes(weights.read_bytes()[:1000])
        st.cache_resource.clear()
        monkeypatch.setattr(packs, "SHIPPED", root)
        app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
        assert not app.exception
        assert len(app.error) == 1
        text = app.error[0].value
        assert ("is damaged" if damage == "truncated" else "no model pack") in text
        assert "Fix:" in text


def test_a_simulated_pack_is_labelled(pack, tmp_path, monkeypatch) -> None:
    import streamlit as st

    shutil.copytree(pack.folder, tmp_path / "pretend")
    about = json.loads((tmp_path / "pretend" / "pack.json").read_text())
    (tmp_path / "pretend" / "pack.json").write_text(
        json.dumps({**about, "simulated": True, "name": "pretend"})
    )
    st.cache_resource.clear()
    monkeypatch.setattr(packs, "SHIPPED", tmp_path)
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    assert not app.exception
    assert _html(app).count("Simulated people, not real ones") == 1


def test_a_page_is_found_under_the_name_of_its_file() -> None:
    """Until the router has run, Streamlit looks for the name of a link among the files of `pages/`."""
    found = re.findall(
        r'st\.Page\("pages/(\w+)\.py", title="[^"]+", (.+)\)', (ROOT / "app.py").read_text("utf-8")
    )
    files = {path.stem for path in (ROOT / "pages").glob("[a-z]*.py")}
    assert {name for name, _ in found} == files and len(found) == 7
    for name, how in found:
        assert how in (f'url_path="{name}"', "default=True")
        body = ast.parse((ROOT / "pages" / f"{name}.py").read_text("utf-8")).body
        imports = (ast.Import, ast.ImportFrom)
        first = next(x for x in body[1:] if not isinstance(x, imports))  # after the docstring
        assert ast.unparse(first) == "_link.routed()", name


def test_what_a_person_gave_goes_with_the_session() -> None:
    """What is known of models and cohorts is shared by all; every result about somebody is the session's own."""
    shared = {
        "_state._load",
        "_cohort_views.summary_of",
        "_evaluation_brains._models",
        "_evaluation_brains._means",
    }
    found = {}
    for path in (ROOT / "pages").glob("*.py"):
        for one in ast.walk(ast.parse(path.read_text("utf-8"))):
            for how in one.decorator_list if isinstance(one, ast.FunctionDef) else []:
                if ast.unparse(how).startswith(("st.cache_resource", "st.cache_data")):
                    found[f"{path.stem}.{one.name}"] = ast.unparse(how)
    assert shared < set(found)
    assert {name for name, how in found.items() if "scope='session'" not in how} == shared


def test_uploads_are_small_and_served_to_this_computer_only() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    assert config["server"]["maxUploadSize"] <= 20
    assert config["server"]["address"] == "localhost"
    assert config["browser"]["gatherUsageStats"] is False
    for path in (ROOT / "pages").glob("*.py"):
        for one in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(one, ast.Call) and ast.unparse(one.func).endswith("file_uploader"):
                types = next(k.value for k in one.keywords if k.arg == "type")
                assert {ast.literal_eval(t) for t in types.elts} <= {"json", "tsv", "csv", "xlsx"}, path


def test_the_style_sheet_has_the_themes_page_colour() -> None:
    """Once."""
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))["theme"]
    css = (ROOT / "assets" / "style.css").read_text("utf-8")
    light, dark = (theme[name]["backgroundColor"] for name in ("light", "dark"))
    assert css.count(f"light-dark({light}, {dark})") == css.count("light-dark(") == 1


def test_no_page_is_long() -> None:
    for path in (ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))):
        assert len(path.read_text("utf-8").splitlines()) <= 150, path


def test_many_features_stay_usable() -> None:
    from csegsynth_core import compare

    try:
        many = packs.load_pack("lifespan")
    except PackError as error:
        pytest.skip(f"the shipped pack cannot be used: {error}")
    app = testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.session_state["pack"] = "lifespan"
    app.run()
    titles = [e.label for e in app.expander if "·" in e.label]
    assert titles[0] == "Most influential · 10"
    assert sum(int(t.split(" · ")[1]) for t in titles) == len(many.schema.names)
    made = {w.key for w in (*app.slider, *app.selectbox)}
    top = compare.sidebar_order(many)[:10]
    assert all(
        any(str(k).endswith(f"-{n}") for k in made) for n in top if many.encoder.ranges()[n].kind == "numeric"
    )
    other = next(n for n in compare.sidebar_order(many)[10:] if many.encoder.ranges()[n].kind == "numeric")
    label = many.schema.feature(other).label
    _by_label(app.text_input, "Search").set_value(label.upper()).run()
    assert not app.exception
    slider = _by_label(app.slider, label)
    assert slider.key.endswith(f"-{other}")
    slider.set_value(slider.max).run()
    _by_label(app.text_input, "Search").set_value("").run()
    said = next(c for c in app.caption if "from the baseline" in c.value)
    assert said.value == "1 feature differs from the baseline" and said.help == label
    _by_label(app.text_input, "Search").set_value("no such thing").run()
    assert "No feature has all of these words" in app.info[0].value
