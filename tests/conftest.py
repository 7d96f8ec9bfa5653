"""What holds for every test: the fixture of the promises that both shells keep, and what is made or done once."""

import functools
import gc
import os
import signal
import ssl
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import sitecustomize  # what every interpreter that tests start begins with, this one too  # noqa: F401
from drive import ShellKind

from reve_middleware import asking, handoff
from reve_middleware.sender import Sender

# An environment may forbid bytecode, as containers often do: pytest would then rewrite every test anew in each worker,
# and each of the hundreds of interpreters that tests start would compile the package anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that runs tests in the background may leave SIGINT ignored, and each server would inherit that and never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_create_default_context = ssl.create_default_context
_with_authorities = functools.cache(ssl.create_default_context)


def create_default_context(*args: Any, **keywords: Any) -> ssl.SSLContext:
    """To read the certificates of all authorities takes 30 ms, and every HTTP client does: the same file, once."""
    return (_with_authorities if "cafile" in keywords else _create_default_context)(*args, **keywords)


ssl.create_default_context = create_default_context


@pytest.fixture(params=["asgi", "wsgi"])
def shell(request: pytest.FixtureRequest) -> Iterator[ShellKind]:
    """Each test that asks for it runs over ASGI and over WSGI."""
    kind = ShellKind(request.param)
    yield kind
    kind.close()


@pytest.fixture
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of thousands of sites would start a thread for its one push, where nobody asks what the bot was told."""
    monkeypatch.setattr(Sender, "_wake", lambda _: None)


@pytest.fixture(autouse=True, scope="module")
def _patient(request: pytest.FixtureRequest) -> Iterator[None]:
    """The 2 s that a callable or a task queue has are no matter of how busy the machine that runs the tests is, but
    where they are what is tested: a file with TESTS_LIMITS."""
    with pytest.MonkeyPatch.context() as patch:
        if not hasattr(request.module, "TESTS_LIMITS"):
            patch.setattr(asking, "ASK_SECONDS", 20.0)
            patch.setattr(handoff, "HAND_OFF_SECONDS", 20.0)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nearly nine thousand tests and all frameworks stay until the end: no garbage collection looks through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are processors: while a test waits for a server or a browser, another goes on."""
    return (yield) + 1
