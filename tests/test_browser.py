"""The app in a real browser, as a person would use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The app on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    command += ["--server.headless=true", "--server.address=127.0.0.1"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
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
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def wait_for_brain(page: Any) -> None:
    """Until the three planes are drawn."""
    page.wait_for_selector(
        ".st-key-planes .layer-below image, .st-key-planes .imagelayer image", timeout=60_000
    )
