"""Pictures of the pages for the README: `python tests/screenshots.py OUT [WIDTH HEIGHT]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.test_browser import chromium_path, server, wait_for_brain


def main(out: Path, width: int, height: int) -> None:
    """`individual-light.png` and `individual-dark.png` in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with server() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        try:
            for theme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.goto(address)
                wait_for_brain(page)
                time.sleep(1.5)
                page.screenshot(path=out / f"individual-{theme}.png")
                page.close()
        finally:
            browser.close()


if __name__ == "__main__":
    size = [int(v) for v in sys.argv[2:4]] or [1440, 900]
    main(Path(sys.argv[1]), *size)
