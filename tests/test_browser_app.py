"""The whole app in a real browser: several users at once, links to every page, a view that follows its user."""

from __future__ import annotations

import contextlib
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from csegsynth_core import RESEARCH_USE
from csegsynth_core.generate import generate_one
from csegsynth_core.pack import load_pack
from csegsynth_core.tissue import TISSUES
from tests.browser import PATIENCE, Site, says, serving, settle, volumes, wait_for_brain

PAGES = {
    "Ageing": "Ageing",
    "Feature influence": "Feature influence",
    "Compare": "Compare",
    "Cohort": "Cohort",
    "Evaluation": "Evaluation",
    "Method": "Method",
    "Individual": "Generated brain",
}
"""Title in the navigation → how the page's heading begins."""


def test_five_users_at_once_see_their_own_person(site, pack) -> None:
    people = [("F", 25), ("M", 34), ("F", 47), ("M", 58), ("F", 66)]
    with contextlib.ExitStack() as stack:
        pages = [
            stack.enter_context(site.open(f"/?p.sex={sex}&p.age={age}&draw={n}"))
            for n, (sex, age) in enumerate(people)
        ]
        for page in pages:
            wait_for_brain(page)
        for _ in range(2):  # all at once: nobody waits for another
            for page in pages:
                page.get_by_role("slider", name="Age").first.focus()
                page.keyboard.press("ArrowRight")
        for n, (page, (sex, age)) in enumerate(zip(pages, people, strict=True)):
            says(page, f"{age + 2} years · draw {n}")
            brain = generate_one(pack, pack.encoder.default_person(sex=sex) | {"age": age + 2.0}, seed=n)
            shown = volumes(page)
            assert {t: shown[t] for t in TISSUES} == {t: f"{v:.1f}" for t, v in brain.volumes_ml.items()}
            assert page.locator('[data-testid="stException"], [data-testid="stAlert"]').count() == 0
            assert page.failures == []


def test_a_servers_first_visitor_may_come_by_a_link(site) -> None:
    with serving() as fresh, Site(fresh.address, site.browser).open("/method?p.age=61") as page:
        says(page, "Method and citation")
        assert urlsplit(page.url).path == "/method"
        assert page.get_by_text("Page not found").count() == 0
        assert page.failures == []


def _query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_the_view_follows_through_all_pages_and_survives_a_reload(site) -> None:
    """Pack, person, draw, sweep and display; that the people are simulated is said on every page."""
    pack = load_pack("lifespan")
    assert pack.simulated
    wanted = {"pack": ["lifespan"], "draw": ["3"], "view": ["r"], "p.age": ["61"]}
    with site.open("/?pack=lifespan&draw=3&view=r&p.age=61&from=40&to=60&step=5&draws=1") as page:
        wait_for_brain(page)
        settle(page)
        first, link = volumes(page), _query(page)
        assert wanted.items() <= link.items()
        sex = pack.encoder.levels["sex"].mode
        brain = generate_one(pack, pack.encoder.default_person(sex=sex) | {"age": 61.0}, seed=3)
        assert first["gm"] == f"{brain.volumes_ml['gm']:.1f}"
        for title, heading in PAGES.items():
            page.get_by_role("link", name=title, exact=True).click()
            page.wait_for_function(
                f"document.querySelector('h1')?.innerText.startsWith({heading!r})", timeout=30_000 * PATIENCE
            )
            said = page.get_by_text(re.compile("research (use )?only", re.IGNORECASE)).filter(visible=True)
            said.first.wait_for(timeout=30_000 * PATIENCE)
            settle(page)
            assert page.locator(".simulated").is_visible(), title
            assert said.count() == 1, title
            notice = page.locator(".notice").filter(has_text=RESEARCH_USE)
            box = notice.bounding_box()
            assert box["y"] + box["height"] < 130, title  # below the heading, before anything scrolls
        wait_for_brain(page)
        settle(page)
        assert (volumes(page), _query(page)) == (first, link)
        assert "radiological" in page.locator(".readout").first.inner_text()
        page.reload()
        wait_for_brain(page)
        settle(page)
        assert (volumes(page), _query(page)) == (first, link)
        assert page.failures == []
