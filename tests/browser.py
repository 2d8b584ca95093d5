"""The app in headless Chromium: a server, a browser, and how to wait for them. For tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = float(os.environ.get("CSEGSYNTH_TEST_PATIENCE", "3"))
"""How many times longer than on an idle machine things may take."""


def chromium_path() -> str | None:
    """A chromium of the system, if there is one."""
    return next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )


@dataclass(frozen=True)
class Server:
    """A running app."""

    address: str
    pid: int


@contextlib.contextmanager
def serving(**environment: str) -> Iterator[Server]:
    """The app on a free port, in a process of its own, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    command += ["--server.headless=true", "--server.address=127.0.0.1"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | environment,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 20 * PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read()  # noqa: S310
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield Server(address, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Address of the app on a free port."""
    with serving() as running:
        yield running.address


@dataclass(frozen=True)
class Site:
    """A running app and a browser."""

    address: str
    browser: Any

    @contextlib.contextmanager
    def open(self, path: str = "/", *, width: int = 1280, height: int = 800, **context: Any) -> Iterator[Any]:
        """A page of a browser of its own (no cookies, no state of others); `failures` holds what went wrong:
        errors of scripts, and whatever was asked of other machines."""
        own = self.browser.new_context(viewport={"width": width, "height": height}, **context)
        try:
            page = own.new_page()
            page.failures = []
            page.on("pageerror", lambda error: page.failures.append(str(error)))
            page.on("request", lambda request: self._note(page, request.url))
            page.goto(self.address + path)
            yield page
        finally:
            own.close()

    def _note(self, page: Any, url: str) -> None:
        if not url.startswith((self.address, self.address.replace("http", "ws", 1), "data:", "blob:")):
            page.failures.append(url)


def wait_for_brain(page: Any) -> None:
    """Until the three planes are drawn."""
    page.wait_for_selector(
        ".st-key-planes .layer-below image, .st-key-planes .imagelayer image", timeout=60_000
    )


def settle(page: Any) -> None:
    """Until the server has answered everything: nothing has run for a while.

    A slider tells the server 0.2 s after its last key. Where the server is busy with others, it may say later still
    that it runs: wait for what the answer changes first (a text, the address) where that is known.
    """
    page.wait_for_timeout(250)
    for _ in range(2):
        page.wait_for_selector(
            '[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=30_000 * PATIENCE
        )
        page.wait_for_timeout(200)


def until(page: Any, value: Callable[[], Any], wanted: Any) -> None:
    """Until something that is read off the page is what is wanted; fails with the last that was read."""
    for _ in range(int(100 * PATIENCE)):
        if value() == wanted:
            return
        page.wait_for_timeout(200)
    assert value() == wanted


def says(page: Any, text: str) -> None:
    """Until the page shows a text, and the server has answered everything."""
    page.wait_for_function(f"document.body.innerText.includes({text!r})", timeout=30_000 * PATIENCE)
    settle(page)


def go(page: Any, title: str, heading: str) -> None:
    """To another page by its link."""
    page.get_by_role("link", name=title, exact=True).click()
    page.wait_for_function(
        f"document.querySelector('h1') && document.querySelector('h1').innerText.startsWith({heading!r})",
        timeout=30_000 * PATIENCE,
    )
    settle(page)


def volumes(page: Any) -> dict[str, str]:
    """The volumes on the Individual page, mL as printed."""
    rows = page.locator("table.volumes tr[data-volume]")
    texts = {row.get_attribute("data-volume"): row.locator(".ml").inner_text() for row in rows.all()}
    return {str(k): re.sub(r"\s", "", v) for k, v in texts.items()}
