"""The browser that tests look with: Debian's Chromium, headless, that talks to nobody but the page."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ALONE = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Root has no sandbox to give, and a test calls nobody at home."""


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none, except in CI."""
    if not CHROMIUM.exists() and "EXPANDD_CI" not in os.environ:
        pytest.skip("Debian's Chromium is not installed: apt-get install chromium")
    # It keeps sockets in its directory, and the paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="chromium-") as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ALONE], env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of the browser and everything in its console that is no good."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)
