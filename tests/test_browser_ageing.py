"""The Ageing page in a real browser: sweep, scrub, download, reload the link."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from csegsynth_core.generate import generate_one
from csegsynth_core.scenarios import Plan, sweep
from csegsynth_core.substructures import REGIONS
from tests.browser import PATIENCE, settle

QUERY = "from=30&to=60&step=5&draws=2&scenario=both"


@pytest.fixture(scope="module")
def page(site) -> Iterator[Any]:
    """A page that came by a link to somebody's sweep, once the filmstrip is there."""
    with site.open(f"/ageing?draw=1&p.sex=M&p.age=52&{QUERY}") as page:
        _wait_for_film(page)
        yield page


def _wait_for_film(page: Any) -> None:
    page.wait_for_selector(".st-key-film .imagelayer image", timeout=60_000 * PATIENCE)
    settle(page)


def _points(page: Any, name: str) -> list[list[float]]:
    """Volumes drawn for one line of the legend, by panel."""
    return page.evaluate(
        """name => [...document.querySelectorAll('.js-plotly-plot')]
            .flatMap(g => g._fullData || []).filter(t => t.name === name && t.mode === 'markers')
            .map(t => Array.from(t.y))""",
        name,
    )


def test_the_sweep_shows_the_cores_numbers(page, pack) -> None:
    assert page.failures == []
    assert page.get_by_text("Page not found").count() == 0
    assert "male, 52 years · draw 1" in page.locator("h1").inner_text()
    person = {**pack.encoder.default_person(sex="M"), "age": 52.0}
    one = sweep(pack, person, Plan(30, 60, 5, draws=2, seed=1))
    for scenario in ("ideal", "regressed"):
        own = one.volumes.query("scenario == @scenario and draw == 0")
        drawn = _points(page, f"this person: {scenario}")
        assert len(drawn) == 4
        for values, volume in zip(drawn, ("wm", "gm", "csf", "wm+gm+csf"), strict=True):
            assert values == pytest.approx(own[volume].tolist(), rel=1e-4)


def test_the_main_view_needs_no_scrolling(page) -> None:
    for width, height in ((1280, 800), (1440, 900)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(600)
        box = page.locator(".st-key-film").bounding_box()
        assert box["y"] + box["height"] <= height
        assert box["y"] + box["height"] > height - 70  # what room there is, is used
    page.set_viewport_size({"width": 1280, "height": 800})


def test_the_filmstrip_fills_its_box_after_any_change_of_the_window(page) -> None:
    def size() -> list[float]:
        page.wait_for_timeout(600)
        boxes = [one.bounding_box() for one in page.locator(".st-key-film .imagelayer image").all()]
        return [round(v) for box in boxes for v in (box["width"], box["height"])]

    page.set_viewport_size({"width": 1280, "height": 800})
    before = size()
    for width in (1920, 1100, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(600)
    page.set_viewport_size({"width": 1280, "height": 800})
    assert size() == before


def test_the_figure_downloads_as_pdf_and_svg(page, tmp_path) -> None:
    page.get_by_role("button", name="Export").click()
    for form in ("PDF", "SVG"):
        with page.expect_download(timeout=30_000 * PATIENCE) as waiting:
            page.get_by_role("button", name=form, exact=True).click()
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        payload = path.read_bytes()
        if form == "PDF":
            assert path.name == "csegsynth_ixi_ageing.pdf"
            assert payload.startswith(b"%PDF-")
            assert b"/FontFile2" in payload
        else:
            text = " ".join(ElementTree.fromstring(payload).itertext())  # noqa: S314 - our own
            assert "this person: regressed" in text
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)


def test_the_scrubber_asks_no_server(page, pack) -> None:
    page.get_by_text("Brain", exact=True).click()
    page.wait_for_selector(".st-key-morph .imagelayer image", timeout=60_000 * PATIENCE)
    settle(page)
    source = ".st-key-morph .imagelayer image"
    first = page.locator(source).get_attribute("href")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.locator(".st-key-morph .slider-rail-rect").scroll_into_view_if_needed()
    box = page.locator(".st-key-morph .slider-rail-rect").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    end = time.monotonic() + 5 * PATIENCE
    while page.locator(source).get_attribute("href") == first:
        assert time.monotonic() < end, "the brain did not move"
        page.wait_for_timeout(30)
    assert asked == []
    said = page.locator(".st-key-morph").inner_text()
    assert "60 years" in said
    person = {**pack.encoder.default_person(sex="M"), "age": 52.0}
    last = sweep(pack, person, Plan(30, 60, 30, ("regressed",))).features.iloc[-1]
    brain = generate_one(pack, last[list(pack.schema.names)].to_dict(), seed=1)
    assert f"GM {brain.volumes_ml['gm']:.0f}" in said.replace("\xa0", " ")


def _until(page: Any, script: str) -> None:
    page.wait_for_function(script, timeout=5_000 * PATIENCE)


def test_the_brain_moves_by_keyboard_and_asks_no_server(page) -> None:
    """Tab reaches the slider; keys move it by one age and to its ends; buttons obey; what is shown is read aloud."""
    page.get_by_text("Brain", exact=True).click()
    page.wait_for_selector(".st-key-morph .imagelayer image", timeout=60_000 * PATIENCE)
    settle(page)
    slider = page.get_by_role("slider", name="Age of the brain shown")
    source = page.locator(".st-key-morph .imagelayer image")
    page.get_by_role("switch", name="Nose left").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Age of the brain shown"
    assert slider.evaluate("s => getComputedStyle(s.querySelector('.slider-grip-rect')).strokeWidth") == "3px"
    asked: list[str] = []
    page.on("request", lambda r: None if r.resource_type == "font" else asked.append(r.url))
    pictures = set()
    shown = "document.activeElement.getAttribute('aria-valuenow')"
    for key, age in {"Home": 30, "ArrowRight": 35, "ArrowUp": 40, "ArrowLeft": 35, "End": 60}.items():
        page.keyboard.press(key)
        _until(page, f"{shown} === '{age}'")
        assert (slider.get_attribute("aria-valuetext") or "").startswith(f"{age} years regressed WM ")
        assert f"{age} years" in page.locator(".st-key-morph").inner_text()
        pictures.add(source.get_attribute("href"))
    page.keyboard.press("ArrowRight")  # there is no further age
    page.wait_for_timeout(200)
    assert slider.get_attribute("aria-valuenow") == "60"
    assert len(pictures) == 4
    page.keyboard.press("Home")
    _until(page, f"{shown} === '30'")
    page.get_by_role("button", name="Play over the ages").focus()
    for key in ("Space", "Enter"):
        page.keyboard.press(key)
        _until(page, "document.querySelector('.slider-group').getAttribute('aria-valuenow') === '60'")
        slider.press("Home")
        _until(page, "document.querySelector('.slider-group').getAttribute('aria-valuenow') === '30'")
        page.get_by_role("button", name="Play over the ages").focus()
    assert page.get_by_role("button", name="Pause").count() == 1
    assert asked == []
    page.locator(".st-key-morph-mode").get_by_text("GM", exact=True).click()  # another film in its place
    settle(page)
    slider.press("End")
    _until(page, "document.querySelector('.slider-group').getAttribute('aria-valuenow') === '60'")
    assert page.failures == []


def test_the_address_opens_the_same_view_again(page) -> None:
    page.get_by_text("Tissues", exact=True).first.click()
    _wait_for_film(page)
    page.get_by_role("slider", name=re.compile("^Age ")).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("location.search.includes('p.age=53')", timeout=20_000 * PATIENCE)
    _wait_for_film(page)
    before = _points(page, "this person: regressed")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    _wait_for_film(page)
    assert "male, 53 years · draw 1" in page.locator("h1").inner_text()
    assert len(before) == 4
    assert _points(page, "this person: regressed") == before
    assert page.failures == []


def test_regions_are_shown_and_overlays_come_back_by_link(page, pack) -> None:
    page.get_by_text("Regions", exact=True).first.click()
    page.wait_for_selector(".st-key-ageing-regions", timeout=20_000 * PATIENCE)
    settle(page)
    who = page.locator("h1").inner_text()
    years = re.search(r"male, (\d+) years", who)[1]
    person = {**pack.encoder.default_person(sex="M"), "age": float(years)}
    own = sweep(pack, person, Plan(30, 60, 5, draws=2, seed=1)).volumes.query("draw == 0")
    drawn = _points(page, "this person: ideal")
    assert len(drawn) == len(REGIONS)
    for values, region in zip(drawn, REGIONS, strict=True):
        wanted = own.query("scenario == 'ideal'")[region.name]
        assert values == pytest.approx(wanted.tolist(), rel=1e-4)
    page.get_by_role("button", name="Overlay").click()
    page.get_by_role("button", name="Keep these lines").click()
    page.wait_for_function("location.search.includes('overlay1')", timeout=20_000 * PATIENCE)
    settle(page)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    _wait_for_film(page)
    assert len(_points(page, f"A (male, {years} years, draw 1): ideal")) == 4
    assert page.failures == []


def test_two_overlays_leave_the_heading_in_one_line_and_the_ages_of_the_strip_in_view(site) -> None:
    query = "from=30&to=60&step=5&draws=1&scenario=both&p.age=52&p.sex=M"
    for n, what in enumerate(("p.height=190", "p.height=160")):
        query += f"&overlay{n + 1}=" + quote(f"name={'AB'[n]}&scenario=both&{what}")
    with site.open(f"/ageing?{query}") as page:
        page.set_viewport_size({"width": 1280, "height": 800})
        _wait_for_film(page)
        assert page.locator("h1").bounding_box()["height"] < 40
        assert page.locator("h1").get_attribute("title") == "male, 52 years · draw 0"
        film = page.locator(".st-key-film").bounding_box()
        assert film["y"] + film["height"] <= 800
        drawn = page.locator(".st-key-lines-of-tissues .js-plotly-plot").bounding_box()
        assert drawn["y"] + drawn["height"] <= film["y"]
        panel = page.locator(".st-key-lines-of-tissues .nsewdrag").first.bounding_box()
        assert panel["height"] > 110
        assert len(_points(page, "B (height 160 cm): regressed")) == 4
        assert page.failures == []


def test_a_picture_of_the_film_fades_into_the_next(page) -> None:
    page.get_by_text("Brain", exact=True).click()
    page.wait_for_selector(".st-key-morph .imagelayer image", timeout=60_000 * PATIENCE)
    settle(page)
    page.evaluate(
        """() => {
          window.faded = [];
          new MutationObserver(all => all.forEach(one => one.addedNodes.forEach(node => {
            if (node.classList?.contains('fading')) window.faded.push(node.getAttribute('href'));
          }))).observe(document.querySelector('.st-key-morph'), {childList: true, subtree: true});
        }"""
    )
    source = page.locator(".st-key-morph .imagelayer image")
    slider = page.get_by_role("slider", name="Age of the brain shown")
    slider.press("Home")
    _until(page, "document.querySelector('.slider-group').getAttribute('aria-valuenow') === '30'")
    page.wait_for_function("!document.querySelector('.fading')", timeout=5_000 * PATIENCE)
    first = source.get_attribute("href")
    page.evaluate("window.faded = []")
    slider.press("ArrowRight")
    _until(page, "document.querySelector('.slider-group').getAttribute('aria-valuenow') === '35'")
    _until(page, "window.faded.length > 0 && !document.querySelector('.fading')")
    assert page.evaluate("window.faded") == [first]
    assert source.count() == 1 and source.get_attribute("href") != first
    assert page.failures == []
