"""How fast the app is, measured in headless Chromium: `python tests/benchmarks/app.py [PART …]`.

Parts, all of them by default: `cold`, `slider`, `sweep`, `users`, `memory`. Every figure stands beside its bar; the
load of the machine is printed with them, since they mean little on a busy one.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.browser import Server, Site, chromium_path, go, serving, settle, wait_for_brain

PACKS = ("ixi", "lifespan")
"""Those that sliders and sweeps are measured on."""
RELEASES = 36
WATCH = """() => {
  const src = () => [...document.querySelectorAll('.st-key-planes image')].slice(0, 3)
    .map(i => i.getAttribute('href') || i.getAttributeNS('http://www.w3.org/1999/xlink', 'href')).join('|');
  const text = () => document.querySelector('table.volumes tbody')?.textContent || '';
  window.watch = kind => {
    const before = src(), table = text(), w = {released: null, picture: null, spread: null};
    window.watched = w;
    window.addEventListener(kind, () => {
      w.released = performance.now();
      let seen = false;
      const observer = new MutationObserver(() => {
        if (!seen && src() !== before) {
          seen = true;  // painted by the end of the next frame
          requestAnimationFrame(() => requestAnimationFrame(() => { w.picture = performance.now(); }));
        }
        if (w.spread === null && text() !== table && !text().includes('…')) w.spread = performance.now();
        if (seen && w.spread !== null) observer.disconnect();
      });
      observer.observe(document.body, {subtree: true, childList: true, characterData: true,
        attributeFilter: ['href', 'xlink:href']});
    }, {capture: true, once: true});
  };
}"""
"""After `watch('pointerup')`, the next release of a slider is timed until other pictures have been painted, and until
every number of the volumes stands there."""


def main(parts: list[str]) -> None:
    """Print the figures of the parts."""
    parts = parts or ["cold", "slider", "sweep", "users", "memory"]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    with sync_playwright() as play:
        if "cold" in parts:
            cold(play)
        with serving() as running, browser(play) as chromium:
            site = Site(running.address, chromium)
            for pack in PACKS if {"slider", "sweep"} & {*parts} else ():
                with site.open(width=1440, height=900) as page:
                    wait_for_brain(page)
                    if "sweep" in parts:
                        sweep(page, pack)
                    if "slider" in parts:
                        page.goto(f"{running.address}/?pack={pack}")
                        wait_for_brain(page)
                        settle(page)
                        sliders(page, pack)
            if "users" in parts:
                users(site)
            if "memory" in parts:
                memory(site, running)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


@contextlib.contextmanager
def browser(play: Any) -> Iterator[Any]:
    """A headless Chromium."""
    chromium = play.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
    try:
        yield chromium
    finally:
        chromium.close()


def say(what: str, figure: str, bar: str) -> None:
    """One line of the report."""
    print(f"{what:58s} {figure:>24s}   bar {bar}", flush=True)


def cold(play: Any) -> None:
    """From starting the server and a browser to the first brain."""
    start = time.monotonic()
    with browser(play) as chromium, serving() as running:
        ready = time.monotonic()
        with Site(running.address, chromium).open(width=1440, height=900) as page:
            wait_for_brain(page)
            end = time.monotonic()
    say(
        "cold start to first brain", f"{end - start:.1f} s ({end - ready:.1f} s from opening the page)", "8 s"
    )


def release(page: Any, slider: Any, share: float | None) -> tuple[float, float]:
    """Seconds from releasing a slider to other pictures, and to every number of the volumes.

    Args:
        share: where along its rail the mouse lets the thumb go; None: one step by keyboard.
    """
    slider.scroll_into_view_if_needed()
    if share is None:
        slider.focus()
        page.evaluate("watch('keyup')")
        page.keyboard.press("ArrowRight")
    else:
        thumb = slider.locator("xpath=..").locator("xpath=..")
        group = page.locator('[data-testid="stSlider"]').filter(has=slider).bounding_box()
        held = thumb.bounding_box()
        y = held["y"] + held["height"] / 2
        page.mouse.move(held["x"] + held["width"] / 2, y)
        page.mouse.down()
        goal = group["x"] + share * group["width"]
        page.mouse.move(goal - 6, y)
        page.mouse.move(goal, y)
        page.evaluate("watch('pointerup')")
        page.mouse.up()
    page.wait_for_function("watched.picture !== null && watched.spread !== null", timeout=60_000)
    times = page.evaluate("[watched.picture - watched.released, watched.spread - watched.released]")
    settle(page)
    return times[0] / 1000, times[1] / 1000


def sliders(
    page: Any, pack: str, releases: int = RELEASES, names: tuple[str, ...] = ("Age", "Height", "Weight")
) -> None:
    """Median and 95th percentile over releases of several features' sliders, by mouse and by keyboard."""
    page.evaluate(WATCH)
    rng = np.random.default_rng(0)
    found = []
    for n in range(releases):
        slider = page.get_by_role("slider", name=names[n % len(names)]).first
        share = (
            None if n % 4 == 3 else 0.12 + 0.76 * ((n // len(names) * 0.381966 + rng.uniform(0, 0.05)) % 1)
        )
        found.append(release(page, slider, share))
    pictures, all_numbers = np.array(found).T
    for what, values, bar in (
        (f"{pack}: slider released to new pictures, {releases} times", pictures, "0.5 / 0.9 s"),
        ("… and to the spread over draws beside the volumes", all_numbers, "none"),
    ):
        say(what, f"{np.median(values):.2f} / {np.quantile(values, 0.95):.2f} s", bar)


def sweep(page: Any, pack: str) -> None:
    """60 ages, both scenarios, ten draws, on the Ageing page; and again in the same visit. A pack other than the
    first is opened for it."""
    of = "p.age=51&from=21&to=80&step=1&draws=10&scenario=both"
    address = f"{page.url.split('?')[0].rstrip('/')}/ageing?pack={pack}&{of}"
    start = time.monotonic()
    page.goto("about:blank")
    page.goto(address)
    _drawn(page)
    say(f"{pack}: 60-age sweep, page opened to everything drawn", f"{time.monotonic() - start:.1f} s", "15 s")
    go(page, "Individual", "Generated brain")
    settle(page)
    start = time.monotonic()
    go(page, "Ageing", "Ageing")
    _drawn(page)
    say("… repeated: another page, and back", f"{time.monotonic() - start:.1f} s", "instant")


def _drawn(page: Any) -> None:
    page.wait_for_selector(".st-key-film .imagelayer image", timeout=200_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=200_000)


def users(site: Site, count: int = 5, rounds: int = 6) -> None:
    """Five browsers edit at the same time; each must go on seeing its own person."""
    with contextlib.ExitStack() as stack:
        pages = [
            stack.enter_context(site.open(f"/?p.age={30 + 8 * n}&draw={n}", width=1440, height=900))
            for n in range(count)
        ]
        for page in pages:
            wait_for_brain(page)
            settle(page)
            page.evaluate(WATCH)
        times = []
        for done in range(1, rounds + 1):
            for page in pages:
                page.get_by_role("slider", name="Age").first.focus()
                page.evaluate("watch('keyup')")
            for page in pages:
                page.keyboard.press("ArrowRight")
            for n, page in enumerate(pages):
                page.wait_for_function("watched.picture !== null && watched.spread !== null", timeout=60_000)
                times.append(page.evaluate("watched.picture - watched.released") / 1000)
                assert f"{30 + 8 * n + done} years · draw {n}" in page.locator("h1").inner_text()
        wrong = sum(len(p.failures) + p.locator('[data-testid="stException"]').count() for p in pages)
    figure = f"{statistics.median(times):.2f} / {np.quantile(times, 0.95):.2f} s"
    say(f"{count} users at once, released to new pictures; {wrong} errors", figure, "no error")


def memory(site: Site, running: Server) -> None:
    """The server's memory after every page with both packs."""
    for pack in PACKS:
        with site.open(f"/?pack={pack}", width=1440, height=900) as page:
            wait_for_brain(page)
            settle(page)
            for title in ("Ageing", "Feature influence", "Compare", "Cohort", "Evaluation", "Method"):
                go(page, title, title)
                page.wait_for_timeout(1000)
                settle(page)
    status = Path(f"/proc/{running.pid}/status").read_text("utf-8")
    kb = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.startswith("Vm")}
    say("server after every page with both packs", f"{kb['VmRSS'] / 1024:.0f} MB", "1500 MB")
    say("… at most", f"{kb['VmHWM'] / 1024:.0f} MB", "")


if __name__ == "__main__":
    main(sys.argv[1:])
