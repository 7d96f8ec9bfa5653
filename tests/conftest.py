"""The fixture every test of a promise uses that both shells can keep."""

from collections.abc import Iterator

import pytest
from drive import ShellKind


@pytest.fixture(params=["asgi", "wsgi"])
def shell(request: pytest.FixtureRequest) -> Iterator[ShellKind]:
    """Each test that asks for it runs over ASGI and over WSGI."""
    kind = ShellKind(request.param)
    yield kind
    kind.close()
