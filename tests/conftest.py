"""What holds for every test: the fixture of the promises that both shells keep, and two things that are made once."""

import functools
import os
import sys
from collections.abc import Iterator

import httpx
import pytest
from drive import ShellKind

# An environment may forbid bytecode (containers often do): then pytest would rewrite every test anew in each worker, and
# each of the hundreds of interpreters that tests start would compile the package. Who does so for a test says it there.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The TLS context of a sender's own client depends on nothing but the machine, and takes 30 ms to make.
httpx.create_ssl_context = functools.cache(httpx.create_ssl_context)


@pytest.fixture(params=["asgi", "wsgi"])
def shell(request: pytest.FixtureRequest) -> Iterator[ShellKind]:
    """Each test that asks for it runs over ASGI and over WSGI."""
    kind = ShellKind(request.param)
    yield kind
    kind.close()
