"""A new user's first minutes, with nothing but the README: five questions, answered in less than five minutes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd

from csegsynth_core.generate import generate_one
from csegsynth_core.pack import load_pack
from csegsynth_core.static_figures import COLUMN_MM
from csegsynth_core.tissue import TISSUES
from tests.browser import PATIENCE, go, says, settle, volumes, wait_for_brain

MINUTES = 5


def download(page: Any, name: str, folder: Path) -> Path:
    """What a button gives."""
    with page.expect_download(timeout=30_000 * PATIENCE) as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def step(page: Any, label: str, feature: str, key: str, times: int = 1) -> None:
    """Move a slider of the sidebar by keyboard, until the address says where it stands."""
    slider = page.get_by_role("slider", name=re.compile(f"^{label} ")).first
    before = slider.input_value()
    slider.focus()
    for _ in range(times):
        page.keyboard.press(key)
    now = slider.input_value()
    assert now != before
    page.wait_for_function(
        "([name, value]) => parseFloat(new URLSearchParams(location.search).get(name)) === parseFloat(value)",
        arg=[f"p.{feature}", now],
        timeout=30_000 * PATIENCE,
    )
    settle(page)


def change(page: Any, tissue: str) -> float:
    """Change to the baseline, mL, as the page says it."""
    row = page.locator(f'tr[data-volume="{tissue}"]').first.inner_text().replace("\u2212", "-")
    return float(re.search(r"[+-]\d+\.\d", row)[0])


def test_a_new_user_finds_their_way(site, tmp_path) -> None:
    start = time.monotonic()
    pack = load_pack("lifespan")
    with site.open() as page:
        wait_for_brain(page)
        settle(page)
        # The model with lifestyle features; age and two of them edited.
        page.get_by_role("combobox", name="Model pack").click()
        page.get_by_role("option", name="Model pack: lifespan").click()
        page.wait_for_function("location.search.includes('pack=lifespan')", timeout=30_000 * PATIENCE)
        settle(page)
        step(page, "Age", "age", "ArrowRight", 8)
        page.get_by_text(re.compile("^Lifestyle ")).click()
        page.get_by_role("slider", name=re.compile("^Pack-years smoked ")).first.wait_for()
        step(page, "Pack-years smoked", "pack_years", "ArrowRight", 5)
        step(page, "Alcohol a week", "alcohol_units_week", "ArrowRight", 5)
        # How grey matter changes.
        shown, gm = volumes(page), change(page, "gm")
        query = dict(part.split("=") for part in page.url.split("?")[1].split("&"))
        moved = {k[2:]: float(v) for k, v in query.items() if k.startswith("p.")}
        assert {"age", "pack_years", "alcohol_units_week"} <= set(moved)
        typical = pack.encoder.default_person(sex=pack.encoder.levels["sex"].mode)
        typical["age"] = float(round(typical["age"]))
        person, base = generate_one(pack, typical | moved), generate_one(pack, typical)
        assert {t: shown[t] for t in TISSUES} == {t: f"{v:.1f}" for t, v in person.volumes_ml.items()}
        assert gm == round(person.volumes_ml["gm"] - base.volumes_ml["gm"], 1) < 0
        # The trajectory as a PDF for a paper.
        go(page, "Ageing", "Ageing")
        page.wait_for_selector(".st-key-film .imagelayer image", timeout=60_000 * PATIENCE)
        settle(page)
        page.get_by_role("button", name="Export").click()
        pdf = download(page, "PDF", tmp_path).read_bytes()
        width = float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)[1])
        assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
        assert abs(width / 72 * 25.4 - COLUMN_MM) < 1
        page.keyboard.press("Escape")
        # Which feature matters most for CSF.
        go(page, "Feature influence", "Feature influence")
        page.wait_for_selector(".st-key-influence-bars .js-plotly-plot", timeout=60_000 * PATIENCE)
        page.locator("[class*=st-key-influence-measure]").get_by_role("combobox").click()
        page.get_by_role("option", name="CSF", exact=True).click()
        says(page, "CSF volume")
        page.get_by_role("button", name="Export").click()
        table = pd.read_csv(download(page, "CSV", tmp_path))
        page.keyboard.press("Escape")
        csf = table[table["measure"] == "csf"]
        most = csf.loc[csf["per_sd_ml"].abs().idxmax(), "label"]
        assert most in page.locator(".st-key-influence-bars").inner_text()
        # The scenario saved, and opened by somebody else.
        page.get_by_text("Save or open a scenario").click()
        saved = download(page, "Save scenario", tmp_path)
        assert json.loads(saved.read_text("utf-8"))["person"]["age"] == moved["age"]
        assert page.failures == []
    with site.open() as page:
        wait_for_brain(page)
        settle(page)
        page.get_by_text("Save or open a scenario").click()
        page.locator(".st-key-scenario-file input[type=file]").set_input_files(saved)
        page.wait_for_function("location.search.includes('pack=lifespan')", timeout=30_000 * PATIENCE)
        settle(page)
        assert volumes(page) == shown
        assert page.failures == []
    assert time.monotonic() - start < 60 * MINUTES
