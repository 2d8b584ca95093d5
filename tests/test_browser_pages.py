"""The pages besides the first in a real browser, as a person would use them."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from csegsynth_core import compare, methods_text, saliency
from csegsynth_core.__main__ import main
from csegsynth_core.generate import generate_one, volumes_over_draws
from csegsynth_core.measured import summary
from csegsynth_core.tissue import TISSUES
from tests.browser import PATIENCE, go, says, settle, wait_for_brain
from tests.test_browser import read_out, typical


@pytest.fixture(scope="module")
def page(site) -> Iterator[Any]:
    """The app after the first brain, at 1280×800; the person is 52 years old."""
    with site.open() as page:
        wait_for_brain(page)
        settle(page)
        page.get_by_role("slider").first.focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        says(page, "52 years")
        yield page


def csv(page: Any, label: str = "CSV") -> pd.DataFrame:
    """A table from the page's exports."""
    page.get_by_role("button", name="Export", exact=False).first.click()
    with page.expect_download(timeout=30_000 * PATIENCE) as waiting:
        page.get_by_role("button", name=label, exact=True).click()
    with open(waiting.value.path(), "rb") as file:  # noqa: PTH123 - the browser's own path
        table = pd.read_csv(io.BytesIO(file.read()))
    page.keyboard.press("Escape")
    return table


def fits(page: Any, selector: str) -> bool:
    """Whether an element ends within the window."""
    box = page.locator(selector).last.bounding_box()
    return box["y"] + box["height"] <= page.viewport_size["height"] + 1


def test_influence_of_the_person_and_where_it_acts(page, pack) -> None:
    go(page, "Feature influence", "Feature influence")
    says(page, "per SD · click a plane")
    person = {**typical(pack), "age": 52.0}
    whole = saliency.summarise(pack, saliency.gradients(pack, person, draws=4, measures=saliency.EVERYTHING))
    shown = csv(page)
    assert list(shown["column"]) == list(whole["column"])
    assert np.allclose(shown["per_sd_ml"], whole["per_sd_ml"], rtol=1e-3, atol=1e-3)
    assert (shown["pack_hash"] == pack.hash).all() and shown["every_voxel"].all()
    assert fits(page, ".readout")
    top = whole[whole["measure"] == "gm"].iloc[0]
    change = saliency.voxel_map(pack, person, top["column"])
    box = page.locator(".st-key-influence-planes .nsewdrag").nth(2).bounding_box()
    before = read_out(page)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_timeout(200)
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_function(
        f"!document.querySelector('.voxel').innerText.includes('{' '.join(map(str, before[0]))}')",
        timeout=10_000 * PATIENCE,
    )
    settle(page)
    voxel, _ = read_out(page)
    text = page.locator(".readout").inner_text().replace("−", "-")
    slopes = [float(v) for v in re.findall(r"(?:WM|GM|CSF)\s+[\d.]+\s+([+-][\d.]+)", text)]
    assert slopes == pytest.approx([float(change[(n, *voxel)]) for n in range(3)], abs=2e-3)


def test_another_volume_and_natural_units(page) -> None:
    page.locator("[class*=st-key-influence-measure]").get_by_role("combobox").click()
    page.get_by_role("option", name="CSF", exact=True).click()
    says(page, "CSF volume")
    page.get_by_text("Natural unit", exact=True).click()
    page.wait_for_function(
        "document.querySelector('.st-key-influence-bars')?.textContent.includes('contrast between two levels')",
        timeout=60_000 * PATIENCE,
    )
    settle(page)


def edit_cell(page: Any, x: float, row: int, text: str) -> None:
    """Change a cell of the table as a person would: double click, see the cell open, type, Enter.

    The first cell that opens fetches its editor, and what is typed before it is there goes nowhere.
    """
    box = page.locator('[data-testid="stDataFrame"]').first.bounding_box()
    page.mouse.dblclick(box["x"] + x, box["y"] + 35 + 30 * row + 15)
    cell = page.locator("#portal input, #portal textarea").first
    cell.wait_for(timeout=10_000 * PATIENCE)
    cell.fill(text)
    page.keyboard.press("Enter")


def test_compare_what_if_in_results_out(page, pack) -> None:
    go(page, "Compare", "Compare")
    page.wait_for_selector("table.scenarios", timeout=60_000 * PATIENCE)
    settle(page)
    person = {**typical(pack), "age": 52.0}
    start = compare.starting_scenarios(pack, person)
    people = compare.filled(pack, start.reset_index(), person)
    first = page.locator("table.scenarios tbody tr").first.locator(".ml").all_inner_texts()
    expected = volumes_over_draws(pack, people[compare.FIRST], draws=6)[0].astype(float).mean(axis=0)
    assert first[:3] == [f"{v:.1f}" for v in expected]
    assert fits(page, ".st-key-compare-brains")
    seventy = people[start.index[1]] | {"age": 70.0}
    older = volumes_over_draws(pack, seventy, draws=6)[0].astype(float).mean(axis=0)
    edit_cell(page, 280, 1, "70")
    row = page.locator("table.scenarios tbody tr").nth(1)
    row.get_by_text(f"{older[1]:.1f}", exact=True).wait_for(timeout=20_000 * PATIENCE)
    settle(page)
    table = csv(page)
    assert set(table[table["scenario"] == start.index[1]]["age"]) == {70.0}
    gm = table[(table["scenario"] == start.index[1]) & (table["measure"] == "gm")].iloc[0]
    assert gm["mean_ml"] == pytest.approx(older[1], abs=0.01)
    page.wait_for_function("location.search.includes('p.age%3D70')", timeout=10_000 * PATIENCE)
    shown = page.locator("table.scenarios").inner_text()
    page.reload()  # the address holds what was edited
    page.locator("table.scenarios").get_by_text(f"{older[1]:.1f}", exact=True).wait_for(
        timeout=60_000 * PATIENCE
    )
    settle(page)
    assert page.locator("table.scenarios").inner_text() == shown


def test_six_scenarios_and_their_regions_fit_the_window(page, tmp_path) -> None:
    rows = ["scenario,age", *(f"aged {age},{age}" for age in range(25, 85, 10))]
    file = tmp_path / "six.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    page.get_by_role("button", name="Table").click()
    page.locator("input[type=file]").last.set_input_files(file)
    page.locator("table.scenarios tbody tr").nth(5).wait_for(timeout=60_000 * PATIENCE)
    page.keyboard.press("Escape")
    settle(page)
    assert page.locator(".st-key-compare-brains .scenario").count() == 6
    for shown in (".st-key-compare-brains", ".st-key-scenarios-chart"):
        assert fits(page, shown), shown
    page.get_by_text("Regions", exact=True).first.click()
    page.locator("table.by-region").wait_for(timeout=60_000 * PATIENCE)
    settle(page)
    assert fits(page, "table.by-region")
    page.get_by_text("Regions", exact=True).first.click()
    page.locator("table.by-region").wait_for(state="detached", timeout=60_000 * PATIENCE)
    settle(page)
    page.get_by_role("button", name="From the person in the sidebar").click()
    page.locator("table.scenarios tbody tr").nth(3).wait_for(state="detached", timeout=60_000 * PATIENCE)
    settle(page)


def test_the_person_is_the_same_on_every_page(page, pack) -> None:
    go(page, "Cohort", "Cohort")
    table = csv(page, "All features, CSV").set_index("feature")
    assert float(table.loc["age", "used"]) == 52.0
    assert fits(page, '[data-testid="stPlotlyChart"]:visible')
    go(page, "Evaluation", "Evaluation")
    go(page, "Individual", "Generated brain")
    says(page, "52 years")
    brain = generate_one(pack, {**typical(pack), "age": 52.0})
    for tissue in TISSUES:
        assert (
            page.locator(f'tr[data-volume="{tissue}"] .ml').inner_text() == f"{brain.volumes_ml[tissue]:.1f}"
        )


TABLES = {"Volumes": "mape", "Images": "mmd", "Regions": "mape", "Memorisation": "nearest"}
"""Tab of the Evaluation page → the metric that it shows first."""


def rows_of(page: Any) -> dict[str, list[list[str]]]:
    """The table that is seen: method → lines of each cell, minus signs as in Python."""
    rows = page.locator("table.measured:visible tr[data-method]").all()
    return {
        row.get_attribute("data-method"): [
            text.replace("−", "-").split("\n") for text in row.locator("td").all_inner_texts()
        ]
        for row in rows
    }


def test_evaluation_shows_and_saves_what_was_measured(page, pack) -> None:
    go(page, "Evaluation", "Evaluation")
    for said in summary(pack.metrics):
        assert said in page.locator(".summary").inner_text()
    for tab, metric in TABLES.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        settle(page)
        measured = {m: v for m, v in pack.metrics[tab.lower()].items() if not m.endswith("_single_draw")}
        shown = rows_of(page)
        assert set(shown) - {"floor"} == set(measured), tab
        for method, parts in measured.items():
            values = [one[metric]["value"] for one in parts.values()]
            cells = [cell[0] for cell in shown[method]]
            if metric == "mmd":  # in units of 10⁻³, two significant digits
                assert cells == [f"{1000 * value:#.2g}" for value in values]
            else:
                assert [float(cell) for cell in cells] == pytest.approx(values, abs=0.051)
        assert fits(page, "table.measured:visible"), tab
    page.get_by_role("tab", name="Paired", exact=True).click()
    settle(page)
    shown = rows_of(page)
    for method, parts in pack.metrics["paired"].items():
        for (value, more), one in zip(shown[method], parts.values(), strict=True):
            assert float(value) == pytest.approx(one["difference_ml"], abs=0.051)
            p = more.split("p ")[1].split()[0]  # Holm's in brackets behind it
            assert float(p.lstrip("<")) == pytest.approx(one["p"], abs=0.001)
    assert fits(page, "table.measured:visible")
    page.get_by_role("tab", name="Further measurements", exact=True).click()
    page.get_by_text("Models: training and size", exact=True).click()
    row = page.locator("table.measured:visible tr").filter(has_text=re.compile("^Training, min"))
    row.wait_for(timeout=10_000 * PATIENCE)
    minutes = [one["training_minutes"] for one in pack.metrics["models"].values()]
    assert [float(t) for t in row.locator("td").all_inner_texts()] == pytest.approx(minutes, rel=1e-3)
    whole = csv(page, "All tables, CSV")
    for table in map(str.lower, TABLES):
        assert set(whole[whole["table"] == table]["method"]) - {"floor"} == set(pack.metrics[table])
    one = whole.query("table == 'volumes' and method == 'csegsynth' and part == 'wm' and metric == 'mape'")
    held = pack.metrics["volumes"]["csegsynth"]["wm"]["mape"]
    assert one[list(held)].to_numpy().ravel() == pytest.approx(list(held.values()), rel=1e-4)


def test_method_tells_what_the_session_holds(page, pack) -> None:
    go(page, "Method", "Method")
    code = page.locator("code").filter(has_text="Synthetic white-matter")
    who = pack.schema.describe({**typical(pack), "age": 52.0})
    first = code.inner_text().split("\n\n")[0]
    assert first.strip() == methods_text.methods_paragraph(pack, seed=0, who=who)
    wanted = {"Compare": "6 latent draws (seed 0)", "Feature influence": "over 4 latent draws and 1 person"}
    for analysis, words in wanted.items():
        if words not in code.inner_text():  # not set in this session
            page.get_by_test_id("stButtonGroup").get_by_text(analysis, exact=True).click()
        page.locator("code").filter(has_text=words).wait_for(timeout=10_000 * PATIENCE)
    settle(page)
    assert page.locator(".katex").count() >= 3
    for shown in page.locator('[data-testid="stCode"]:visible').all():
        box = shown.bounding_box()
        assert box["y"] + box["height"] <= page.viewport_size["height"]
    assert page.failures == []


def test_an_export_tells_what_it_makes_and_is_made_again_by_its_command(page, tmp_path) -> None:
    """The zip of the Compare page, with progress, against the files that `show` makes from the scenario in it."""
    go(page, "Compare", "Compare")
    settle(page)
    page.get_by_role("button", name="Export", exact=False).first.click()
    with page.expect_download(timeout=90_000 * PATIENCE) as waiting:
        page.get_by_role("button", name="Everything (zip)").click()
        bar = page.locator('.stPopover [data-testid="stProgress"], [data-testid="stPopoverBody"] .stProgress')
        bar.first.wait_for(timeout=20_000 * PATIENCE)
        assert re.search("Volumes|Slices|Maps and tables", bar.first.inner_text())
    folder = tmp_path / "zip"
    with zipfile.ZipFile(waiting.value.path()) as archive:
        archive.extractall(folder)
    bar.first.wait_for(state="detached", timeout=10_000 * PATIENCE)  # done: nothing is told any more
    page.keyboard.press("Escape")
    readme = (folder / "README.txt").read_text("utf-8").splitlines()
    words = shlex.split(next(line for line in readme if "csegsynth_core show " in line))
    words[words.index("--out") + 1] = str(tmp_path / "again")
    words[words.index("show") + 1] = str(folder / "scenario.json")
    assert main([*words[3:], "--quiet"]) == 0
    files = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    }
    assert not [f for f in files if (folder / f).read_bytes() != (tmp_path / "again" / f).read_bytes()]
