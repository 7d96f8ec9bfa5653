"""One layer of ours inside another, across protocols: Flask in FastAPI and the reverse, both of them wrapped."""

import asyncio
import contextvars
import importlib
import importlib.util
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from a2wsgi import ASGIMiddleware, WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from drive import PAGE, Call, ShellKind, Visitor, call_asgi, call_wsgi, page
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from reve_middleware import disabled, enabled, identify, script_tag, sign_out

IDS, MARK = "__Host-reve", "__Host-reve-mark"
ADA = {"id": 1, "name": "Ada"}
TAGGED = '<head><script src="/_reve/bridge.js?v='
"""The outer layer's tag: its path knows nothing of the mount."""


def starlettes() -> Any:
    """Starlette's own adapter, deprecated in favour of a2wsgi."""
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module("starlette.middleware.wsgi").WSGIMiddleware


ADAPTERS: dict[str, Callable[[Any], Any]] = {"a2wsgi": WSGIMiddleware, "asgiref": WsgiToAsgi}
if importlib.util.find_spec("starlette.middleware.wsgi"):
    ADAPTERS["starlette"] = lambda app: starlettes()(app)


class Kinds:
    """The outer and the inner shell, each with a webhook of its own."""

    def __init__(self) -> None:
        self.asgi, self.wsgi = ShellKind("asgi"), ShellKind("wsgi")


@pytest.fixture
def kinds() -> Iterator[Kinds]:
    made = Kinds()
    yield made
    made.asgi.close()
    made.wsgi.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Where a2wsgi runs ASGI applications under WSGI."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def views() -> dict[str, Callable[[], str]]:
    """What both frameworks serve, by path."""
    html = PAGE.decode()

    def me() -> str:
        identify(ADA)
        return html

    def logout() -> str:
        sign_out()
        return html

    def by_hand() -> str:
        return f"{script_tag()}|"

    return {
        "/": lambda: html,
        "/me": me,
        "/logout": logout,
        "/off": disabled(lambda: html),
        "/closed/on": enabled(lambda: html),
        "/closed/off": lambda: html,
        "/hand": by_hand,
    }


def flask_site() -> Flask:
    site = Flask("inner")
    for path, view in views().items():
        site.add_url_rule(path, path, view)
    return site


def fastapi_site() -> FastAPI:
    site = FastAPI()
    for path, view in views().items():
        site.add_api_route(path, view, response_class=HTMLResponse)
    return site


@pytest.fixture(params=[*ADAPTERS, "a2wsgi, reversed"])
def visitor(request: pytest.FixtureRequest, kinds: Kinds, loop: asyncio.AbstractEventLoop) -> Visitor:
    """Of a site that has another mounted at /in, both wrapped: Flask in FastAPI, or the reverse."""
    keywords: dict[str, Any] = {"exclude": ("/in/closed/*",), "subrequest": "/in/me"}
    if request.param in ADAPTERS:
        inner = flask_site()
        inner.wsgi_app = kinds.wsgi.wrap(inner.wsgi_app)  # type: ignore[method-assign]
        outer = fastapi_site()
        outer.mount("/in", ADAPTERS[request.param](inner))
        return Visitor(kinds.asgi.wrap(outer, **keywords), kinds.asgi)
    api: Any = ASGIMiddleware(kinds.asgi.wrap(fastapi_site()), loop=loop)
    return Visitor(kinds.wsgi.wrap(DispatcherMiddleware(flask_site(), {"/in": api}), **keywords), kinds.wsgi)


def test_the_inner_layer_stands_down(visitor: Visitor, kinds: Kinds) -> None:
    """A page of the mounted site gets one tag, the outer layer's; and only the outer one takes reports and pushes."""
    for path in ("/", "/in/"):
        reply = visitor.get(path)
        assert (reply.status, reply.body.count(b"<script")) == (200, 1)
        assert TAGGED in reply.body.decode()
    assert visitor.get("/in/_reve/bridge.js").status == 404
    assert visitor.capture().json == {"status": "queued"}
    assert set(visitor.jar) == {IDS, MARK}
    assert visitor.get("/in/me").values("set-cookie") == []
    assert [post.data for post in visitor.pushed()] == [ADA]
    assert len(kinds.asgi.webhook.posts) + len(kinds.wsgi.webhook.posts) == 1


def test_what_the_inner_site_says_is_heard_outside(visitor: Visitor) -> None:
    """identify(), sign_out(), @enabled, @disabled and script_tag() in the mounted site act on the outer layer."""
    visitor.middleware._settings.subrequest = None
    assert visitor.capture().json == {"status": "anonymous"}
    for path, is_on in {"/in/off": False, "/in/closed/off": False, "/in/closed/on": True, "/in/": True}.items():
        assert (TAGGED in visitor.get(path).body.decode()) is is_on, path
    by_hand = visitor.get("/in/hand").body.decode()
    assert f"<head>{by_hand}".startswith(TAGGED)
    assert MARK in visitor.get("/in/me").cookies
    visitor.get("/in/logout")
    assert set(visitor.jar) == set()
    assert [post.data for post in visitor.pushed()] == [ADA]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_wsgi_layer_alone_works_under_asgi(adapter: str, kinds: Kinds) -> None:
    """Where no layer of ours is outside, one inside an adapter does its work."""
    inner = flask_site()
    inner.wsgi_app = kinds.wsgi.wrap(inner.wsgi_app, path="/x")  # type: ignore[method-assign]
    outer = FastAPI()
    outer.mount("/in", ADAPTERS[adapter](inner))
    assert b'<script src="/in/x/bridge.js' in call_asgi(outer, Call(path="/in/")).body


def test_an_asgi_layer_alone_works_under_wsgi(kinds: Kinds, loop: asyncio.AbstractEventLoop) -> None:
    """Where no layer of ours is outside, one inside an adapter does its work."""
    api: Any = ASGIMiddleware(kinds.asgi.wrap(fastapi_site(), path="/x"), loop=loop)
    reply = call_wsgi(DispatcherMiddleware(flask_site(), {"/in": api}), Call(path="/in/"))
    assert b'<script src="/in/x/bridge.js' in reply.body


def test_a_context_that_leaked_makes_no_layer_stand_down(kinds: Kinds) -> None:
    """asyncio may begin a connection's next request in the context of the last one: a layer in there works, since
    what that context knows of is over; while it was not, there was a layer outside."""
    inner = kinds.wsgi.site()
    leaked: list[contextvars.Context] = []
    found: list[int] = []

    def remember(asked: Any) -> Any:
        leaked.append(contextvars.copy_context())
        found.append(leaked[0].run(inner.get).body.count(b"<script"))
        return page()(asked)

    kinds.asgi.site(remember).get()
    found.append(leaked[0].run(inner.get).body.count(b"<script"))
    assert found == [0, 1]


def of_one(request: object) -> str:
    """A view of the kind that Pyramid tells from one of two arguments."""
    return "one"


async def of_two(context: object, request: object = None) -> str:
    return "two"


@pytest.mark.parametrize("switch", [enabled, disabled])
def test_a_decorated_view_keeps_its_signature(switch: Any) -> None:
    """Frameworks that look at a view's arguments see those of the view itself, without looking for what is wrapped."""
    for view in (of_one, of_two):
        assert inspect.getfullargspec(switch(view)) == inspect.getfullargspec(view)
    assert switch(max)(1, 2) == 2  # which has no signature
