"""Pictures of all pages for the README: `python tests/screenshots.py OUT [WIDTH HEIGHT]`."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.browser import chromium_path, server, wait_for_brain

MOST_BYTES = 350_000
LINK = "/?from=22&to=80&step=2&draws=10&scenario=both"
"""Where the pictures are taken: somebody's sweep within the training ages."""


def main(out: Path, width: int, height: int) -> None:
    """`PAGE-light.png` and `PAGE-dark.png` in `out`, for every page of the navigation."""
    out.mkdir(parents=True, exist_ok=True)
    with server() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        try:
            for theme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.goto(address + LINK)
                wait_for_brain(page)
                links = page.locator('[data-testid="stTopNavLink"]')
                for n in range(links.count()):
                    title = links.nth(n).inner_text().strip()
                    links.nth(n).click()
                    quiet(page)
                    name = re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")
                    page.mouse.move(width - 5, height - 5)
                    (out / f"{name}-{theme}.png").write_bytes(small(page.screenshot()))
                page.close()
        finally:
            browser.close()


def quiet(page: Any, seconds: float = 2.0, patience: float = 600.0) -> None:
    """Until nothing has run for a while."""
    since, end = time.monotonic(), time.monotonic() + patience
    while time.monotonic() - since < seconds and time.monotonic() < end:
        page.wait_for_timeout(100)
        if page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').count() == 0:
            since = time.monotonic()


def small(png: bytes) -> bytes:
    """The picture, with fewer colours where it would be large."""
    if len(png) <= MOST_BYTES:
        return png
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


if __name__ == "__main__":
    size = [int(v) for v in sys.argv[2:4]] or [1440, 900]
    main(Path(sys.argv[1]), *size)
