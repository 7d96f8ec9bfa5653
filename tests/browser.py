"""A real Chromium for tests.

    @pytest.fixture(scope="module")
    def browser():
        with chromium() as browser:
            yield browser

Module scope on purpose, not session: while Playwright's sync API is open, this thread has a running event
loop, and `asyncio.run` in another module's test would fail. Nested uses share one browser, for Playwright
refuses a second.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # names for origins of one's own (RFC 6761)
)

_open: "list[Browser]" = []


def missing(what: str) -> NoReturn:
    """What a test needs is not on this machine: a skip at home, a failure in CI, where it went unseen."""
    if os.environ.get("CI"):
        pytest.fail(f"missing: {what} (in CI this is a failure, not a skip)", pytrace=False)
    pytest.skip(f"missing: {what}")


def executable() -> str:
    """Where Chromium is: `CHROMIUM` in the environment, else on the PATH.

    Debian's headless one comes first: the same engine, but no windows, and so half the work."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named) or missing(f"the browser that CHROMIUM names: {named!r} is no executable")
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return missing("Chromium: apt-get install chromium-headless-shell, or set CHROMIUM to its path")


@contextmanager
def chromium(**options: Any) -> "Iterator[Browser]":
    """A running headless Chromium; `options` go to Playwright's launch. A nested use gets the outer one's."""
    if _open:
        yield _open[-1]
        return
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright: pip install -e '.[test]'")
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(ARGS), **options)
        _open.append(browser)
        try:
            yield browser
        finally:
            _open.remove(browser)
            browser.close()
