"""A real Chromium for tests: Debian's, driven by Playwright, which downloads none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

# What no test bounds more closely; where nothing is to be seen, that is soon enough to say so.
expect.set_options(timeout=30_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser until the block ends."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "install Debian's chromium: .ci/setup does"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()
