"""Runs the sites of `examples/` in this process, with the sandbox's webhook as their bot's.

site = load("flask", environment)                   # as a server would import it
with running(site) as server:
    Customer(site, server).log_in()
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from drive import KEY, Call, Reply, Visitor, call_wsgi
from fakes import PATIENCE
from oracle import Sent
from servers import _asgi, reply_of, scope_of

from reve_middleware.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Site(NamedTuple):
    """What is where on an example."""

    kind: str
    on: tuple[str, ...] = ("/",)
    """Pages that get the tag; the first of them says who is logged in."""
    off: str = "/press"
    mount: str = ""
    """Where its forms are sent."""


SITES = {
    "bottle": Site("wsgi"),
    "falcon_asgi": Site("asgi"),
    "falcon_wsgi": Site("wsgi"),
    "fastapi": Site("asgi"),
    "fastapi_flask": Site("asgi", on=("/old/", "/"), off="/old/press", mount="/old"),
    "flask": Site("wsgi"),
    "litestar": Site("asgi"),
    "pyramid": Site("wsgi"),
    "quart": Site("asgi", on=("/", "/legal/contact"), off="/legal/terms"),
    "starlette": Site("asgi", on=("/", "/legal/contact"), off="/legal/terms"),
}


def environment(sandbox: Sandbox, address: str, **more: str) -> dict[str, str]:
    """What a site finds in its environment."""
    return {
        "DEV": "",
        "SITE_SECRET": "a secret of the site, for tests",
        "REVE_WEBHOOK_URL": address + sandbox.webhook_path,
        "REVE_TOKEN": sandbox.token,
        "REVE_CHATBOT_ID": sandbox.chatbot_id,
        "REVE_SECRET_KEY": KEY,
        **more,
    }


def load(name: str, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of an example, made anew."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    spec = importlib.util.spec_from_file_location(f"{name}_site", EXAMPLES / f"{name}_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where Flask looks for it
    spec.loader.exec_module(module)
    return module


class AsgiServer:
    """One event loop for all requests; it begins and ends the application's life as servers do."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._runner = asyncio.Runner()
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._told: asyncio.Queue[Any] = asyncio.Queue()
        self._life = self._run(self._begin())

    def _run(self, running: Any) -> Any:
        return self._runner.run(asyncio.wait_for(running, PATIENCE), context=contextvars.copy_context())

    async def _begin(self) -> asyncio.Future[None]:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        life = asyncio.ensure_future(self._application(scope, self._heard.get, self._told.put))
        await self._say("startup")
        return life

    async def _say(self, word: str) -> None:
        self._heard.put_nowait({"type": f"lifespan.{word}"})
        assert (await self._told.get())["type"] == f"lifespan.{word}.complete"

    def call(self, application: Any, call: Call) -> Reply:
        scope = scope_of(call)
        sent = Sent(scope)
        self._run(_asgi(application, scope, call.body, sent))
        return reply_of(sent.messages)

    async def _end(self) -> None:
        await self._say("shutdown")
        await self._life

    def end(self) -> None:
        with self._runner:
            self._run(self._end())


class WsgiServer:
    """Ends as Python does, with what we do at its exit."""

    def __init__(self, application: Any) -> None:
        self._middleware = getattr(application, "wsgi_app", application)  # Flask's way

    def call(self, application: Any, call: Call) -> Reply:
        return call_wsgi(application, call)

    def end(self) -> None:
        self._middleware.close()


@contextmanager
def running(name: str, application: Any) -> Iterator[Any]:
    """A server for the site; when the block ends, everything is delivered."""
    server = (AsgiServer if SITES[name].kind == "asgi" else WsgiServer)(application)
    try:
        yield server
    finally:
        server.end()


class Customer(Visitor):
    """Somebody with a browser of their own."""

    def __init__(self, name: str, application: Any, server: Any) -> None:
        super().__init__(application, server)
        self.site = SITES[name]

    def send(self, form: str, **fields: str) -> Reply:
        body = urlencode(fields).encode()
        kind = {"content_type": "application/x-www-form-urlencoded", "content_length": str(len(body))}
        return self.post(f"{self.site.mount}/{form}", body, **kind)

    def log_in(self, password: str = "lovelace") -> Reply:
        return self.send("login", name="ada", password=password)
