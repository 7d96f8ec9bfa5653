"""Requests in process, ASGI: what each layer adds to a bare application.

A contestant is an application and the requests it gets: scopes of browsers with a dozen headers, fresh bytes each, a
hundred visitors in turn, made before the clock starts. Its bare application gets the same requests.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import speed_site as site
from speed_peers import ASGI_PEERS, PlainInjector, has, session_middleware, starlette_session
from speed_rounds import WARM, Goal, Row, Slice, added, bare_of, interleave
from speed_site import ASGIApp

from reve_middleware import ReveMiddleware

PART = "asgi"
API, PAGE = "/api/orders", "/account/orders"


class Requests:
    """Requests of one kind, of so many visitors in turn."""

    def __init__(self, path: str, cookies: list[str]) -> None:
        self._path = path
        self._head = site.block_of(site.browser_headers("", page=path == PAGE))  # the cookie stands last in it
        self._cookies = cookies
        self._next = 0

    def scopes(self, count: int) -> list[dict[str, Any]]:
        """The next so many, the first of them last."""
        first, self._next = self._next, self._next + count
        return [self._scope(number % len(self._cookies)) for number in reversed(range(first, first + count))]

    def _scope(self, number: int) -> dict[str, Any]:
        return site.scope_from(self._head + self._cookies[number].encode(), self._path, user=site.user_of(number))


class Contestant(NamedTuple):
    app: ASGIApp
    bare: ASGIApp
    """The same without the layer."""
    requests: Requests
    tags: int = 0
    """How many scripts are to be in its pages."""
    session: bool = False
    """Are its visitors to be found in a session?"""


def slices_of(loop: asyncio.AbstractEventLoop, found: dict[str, Contestant]) -> dict[str, Slice]:
    """Each contestant next to its bare application."""
    slices = {}
    for name, contestant in found.items():
        slices[bare_of(name)] = slice_of(loop, contestant.bare, contestant.requests)
        slices[name] = slice_of(loop, contestant.app, contestant.requests)
    return slices


def slice_of(loop: asyncio.AbstractEventLoop, app: ASGIApp, requests: Requests) -> Slice:
    receive, send = site.receive, site.send

    async def run(calls: int) -> float:
        for scope in requests.scopes(min(WARM, calls)):
            await app(scope, receive, send)
        scopes = requests.scopes(calls)
        began = time.process_time_ns()
        while scopes:  # taken out, so that what a layer leaves in a scope is put away within the slice
            await app(scopes.pop(), receive, send)
        return time.process_time_ns() - began

    return lambda calls: loop.run_until_complete(run(calls))


def contestants(visitors: int) -> dict[str, Contestant]:
    bare, html = site.json_app(), site.html_app([site.html_page(10_000)])
    html_in_ten = site.html_app(site.chunks_of(site.html_page(100_000), 10))
    ready: dict[str, Any] = {"profile": site.profile}
    versioned = {**ready, "identity": site.identity}
    stranger = Requests(API, [site.OTHER_COOKIES])
    reader = Requests(PAGE, [site.OTHER_COOKIES])
    member = Requests(API, [f"{site.OTHER_COOKIES}; {starlette_session({'user_id': 7, 'cart': [1, 2]})}"])
    chatting = Requests(API, site.chats(visitors, **versioned))
    chatting_ready = Requests(API, site.chats(visitors, **ready))
    elsewhere = {**versioned, "routes": ("/shop/*", "/help/*")}
    found = {
        "ours": Contestant(site.wrapped(bare, **versioned), bare, stranger),
        "ours, chat": Contestant(site.wrapped(bare, **versioned), bare, chatting),
        "ours, chat, ready profile": Contestant(site.wrapped(bare, **ready), bare, chatting_ready),
        "ours, not enabled": Contestant(site.wrapped(bare, **elsewhere), bare, stranger),
        "ours, not enabled, chat": Contestant(site.wrapped(bare, **elsewhere), bare, chatting),
        "ours, 10 kB": Contestant(site.wrapped(html, **versioned), html, reader, tags=1),
        "ours, 100 kB": Contestant(site.wrapped(html_in_ten, **versioned), html_in_ten, reader, tags=1),
        "SessionMiddleware, valid cookie": Contestant(session_middleware(bare), bare, member, session=True),
        "plain injector, 10 kB": Contestant(PlainInjector(html), html, reader, tags=1),
        "plain injector, 100 kB": Contestant(PlainInjector(html_in_ten), html_in_ten, reader, tags=1),
    }
    for name, (package, build) in ASGI_PEERS.items():
        if has(package):
            found[name] = Contestant(build(bare), bare, stranger)
    return found


GOALS: dict[str, tuple[str, dict[str, Goal | None]]] = {
    "ours": (
        "JSON, no chat",
        {
            **dict.fromkeys(ASGI_PEERS),
            "SessionMiddleware, no cookie": Goal(1 / 3),
            "BaseHTTPMiddleware": Goal(1 / 60),
        },
    ),
    "ours, chat": ("JSON, chat, identity with version", {"SessionMiddleware, valid cookie": Goal(1 / 3)}),
    "ours, chat, ready profile": ("JSON, chat, async profile", {"SessionMiddleware, valid cookie": Goal(1 / 2)}),
    "ours, not enabled": ("JSON, route not enabled, no chat", {"BaseHTTPMiddleware": Goal(1 / 100)}),
    "ours, not enabled, chat": ("JSON, route not enabled, chat", {"BaseHTTPMiddleware": Goal(1 / 100)}),
    "ours, 10 kB": ("HTML 10 kB in one chunk", {"plain injector, 10 kB": Goal(1 / 2.5)}),
    "ours, 100 kB": ("HTML 100 kB in ten chunks", {"plain injector, 100 kB": Goal(1 / 10)}),
}
"""What the table calls each of ours, and whom it is held against."""


def run(*, quick: bool = False) -> list[Row]:
    """All of it, in one process."""
    found = contestants(3 if quick else site.VISITORS)
    loop = asyncio.new_event_loop()
    try:
        check(loop, found)
        taken = interleave(slices_of(loop, found), *((2, 5) if quick else (121, 250)))
    finally:
        loop.close()
    costs = {name: added(taken, name) for name in found}
    return [
        Row(PART, case, peer, costs[ours], costs[peer], goal=goal)
        for ours, (case, peers) in GOALS.items()
        for peer, goal in peers.items()
        if peer in costs
    ]


def check(loop: asyncio.AbstractEventLoop, found: dict[str, Contestant]) -> None:
    """Does each layer do what it is measured for? A layer that stands aside is quick."""
    for name, contestant in found.items():
        before = offered(contestant.app)
        for scope in contestant.requests.scopes(3):
            sent: list[Any] = []

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            loop.run_until_complete(contestant.app(scope, site.receive, send))
            start, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
            headers = dict(start["headers"])
            good = (
                start["status"] == 200
                and b"set-cookie" not in headers
                and headers[b"content-length"] == b"%d" % len(body)
                and body.count(b"<script") == contestant.tags
                and bool(scope.get("session")) == contestant.session
            )
            if not good:
                raise SystemExit(f"{name} does not do what it is measured for: {start}")
        if offered(contestant.app) != before:
            raise SystemExit(f"{name}: something was pushed")


def offered(app: Any) -> int:
    """How many pushes a layer of ours has offered."""
    return int(app.stats()["offered"]) if isinstance(app, ReveMiddleware) else 0
