"""A pytest plugin for the tests of your own site: a stand-in for REVE as the fixture `reve`.

    # conftest.py, in the folder where pytest starts
    pytest_plugins = ["reve_middleware.testing"]

    # test_site.py
    def test_the_bot_knows_who_is_logged_in(reve):
        client = TestClient(build_site(**reve.settings))
        client.post("/login", data={"name": "ada", "password": "lovelace"})
        visitor = reve.visitor(client)

        assert visitor.chat() == "queued"
        assert visitor.knows == {"id": 7, "name": "Ada Lovelace"}

The middleware is the real one, and what it sends goes over HTTP on this machine; nothing is patched, and no test
sleeps. `reve.pushes` and `visitor.knows` first wait until the site has nothing more to send. Where it would only wait
itself (five seconds between two pushes of a chat, a back-off, a `Retry-After`) that time is skipped: what is sent, and
in which order, is the same.

A site is told where the bot is in one of two ways:

- by `reve.settings`, the keywords, for a site that a function builds; `reve.django_settings` for Django's `REVE`;
- by the environment, for a module that builds its site when it is imported: as soon as the plugin is there, and until
  pytest ends, REVE_WEBHOOK_URL, REVE_TOKEN, REVE_CHATBOT_ID and REVE_SECRET_KEY are the stand-in's, whatever they were;
  so no test reaches your real bot. A conftest.py is imported before the plugins it names: import the site in the
  test modules or in a fixture, not at its top; or load the plugin with `addopts = "-p reve_middleware.testing"`.

Test clients speak plain http unless told otherwise, which the middleware refuses without `dev=True` (`reve.settings`
has it). A site without it is visited by https: `reve.visitor(client, secure=True)`.

The plugin is not loaded by itself: it would import this package in every run of pytest in which it is installed. It
needs uvicorn: `pip install 'reve-middleware[testing]'`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .sandbox import Pushed, Received
from .testing_standin import Address, Reve
from .testing_visitor import AsyncVisitor, Visitor

__all__ = ["AsyncVisitor", "Pushed", "Received", "Reve", "Visitor", "stand_in"]


@contextmanager
def stand_in() -> Iterator[Reve]:
    """The same without the fixture, for unittest and scripts: `with stand_in() as reve:`. Leaves the environment as
    it is."""
    address = Address()
    try:
        reve = Reve(address)
        try:
            yield reve
        finally:
            reve.close()
    finally:
        address.close()


# pytest ------------------------------------------------------------------------------------------

_ADDRESS = pytest.StashKey[Address]()
_BEFORE = pytest.StashKey[dict[str, str | None]]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Loaded by `-p`, we come before the first conftest.py, which may import its site."""
    pytest_configure(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Give the environment the stand-in's address, before a test module imports its site."""
    if _ADDRESS not in config.stash:
        address = config.stash[_ADDRESS] = Address()
        config.stash[_BEFORE] = {name: os.environ.get(name) for name in address.environment}
        os.environ.update(address.environment)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    for name, value in config.stash[_BEFORE].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    config.stash[_ADDRESS].close()


@pytest.fixture(name="reve")
def _reve(request: pytest.FixtureRequest) -> Iterator[Reve]:
    """A stand-in for REVE that has heard nothing yet; see `reve_middleware.testing`."""
    reve = Reve(request.config.stash[_ADDRESS])
    yield reve
    reve.close()
