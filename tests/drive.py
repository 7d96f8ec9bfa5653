"""Drives both middlewares without a server, from one description of the application.

An application is a function of an `Asked` that yields steps. It becomes a real ASGI and a real WSGI application:

    def shop(asked):
        if asked.path == "/logout":
            sign_out()                                  # runs in the application's own context
        yield Start(200, [("Content-Type", "text/html")])
        yield b"<!doctype html><head>"                  # more follows
        yield Last(b"</head>")                          # nothing follows

    def test_something(shell):                          # twice: over ASGI and over WSGI
        visitor = shell.site(shop, profile=…)           # a browser with a cookie jar
        visitor.capture("s-1")
        reply = visitor.get("/")
        visitor.pushed()                                # flushes; what came to shell.webhook
"""

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

from fakes import PATIENCE, Posted, Webhook
from oracle import Sent, check_received, check_scope

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware

HTML = "text/html; charset=utf-8"
PAGE = b"<!doctype html><html><head><title>x</title></head><body></body></html>"
KEY = "a secret key for tests, long enough"
KEYWORDS = {"webhook_url": "https://reve.example/hook", "token": "token-1", "chatbot_id": "bot", "secret_key": KEY}
WSGI_STYLES = ("early", "lazy", "list", "write")
EXTENSIONS = ("http.response.trailers", "http.response.pathsend", "http.response.early_hint")

Pairs = Iterable[tuple[str, str]]


class Start(NamedTuple):
    status: int = 200
    headers: Pairs = (("Content-Type", HTML),)
    exc_info: Any = None
    """WSGI's second `start_response`."""
    extra: dict[str, Any] = {}  # noqa: RUF012
    """More keys of ASGI's message."""


class Last(NamedTuple):
    """The end of the body; without it an empty message ends it."""

    data: bytes = b""


class Message(NamedTuple):
    """An ASGI message as it is; WSGI has no such thing."""

    message: dict[str, Any]


Step = Start | Last | Message | bytes
App = Callable[["Asked"], Iterable[Step]]


class Asked(NamedTuple):
    """The request, as an application sees it."""

    method: str
    path: str
    """Inside the mount."""
    mount: str
    query: str
    headers: dict[str, str]
    """Names in lower case."""
    raw: Any
    """The scope or the environ."""

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}


class Reply(NamedTuple):
    """A response as it left the middleware."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case, in order."""
    body: bytes
    chunks: list[bytes]
    raw: Any = None
    """ASGI: the list of messages. WSGI: the iterable that the middleware returned."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """The one value of a header; None where there is none."""
        found = self.values(name)
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that are set, with their attributes behind."""
        return dict(value.split("=", 1) for value in self.values("set-cookie"))


def page(body: bytes = PAGE, *headers: tuple[str, str], status: int = 200) -> App:
    """An application that answers every request with one page."""
    return lambda asked: [Start(status, [("Content-Type", HTML), *headers]), Last(body)]


# The neutral application as a real one ---------------------------------------------------------


def asgi_app(app: App) -> Any:
    """`sent` of what this returns: the messages of the last request, as the application made them."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        check_scope(scope)
        check_received(await receive())
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"].removeprefix(scope["root_path"])
        asked = Asked(scope["method"], path, scope["root_path"], scope["query_string"].decode(), headers, scope)
        call.sent = []  # type: ignore[attr-defined]
        ended = False
        for step in [*[None], *[]] or ():
            assert step is None
        for step in app(asked):
            message, ended = as_message(step), isinstance(step, (Last, Message))
            call.sent.append(message)  # type: ignore[attr-defined]
            await send(message)
        if not ended:
            call.sent.append(as_message(Last()))  # type: ignore[attr-defined]
            await send(call.sent[-1])  # type: ignore[attr-defined]

    return call


def as_message(step: Step) -> dict[str, Any]:
    match step:
        case Start(status, headers, _, extra):
            pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
            return {"type": "http.response.start", "status": status, "headers": pairs, **extra}
        case Last(data):
            return {"type": "http.response.body", "body": data}
        case Message(message):
            return message
    return {"type": "http.response.body", "body": step, "more_body": True}


def wsgi_app(app: App, style: str = "early") -> Any:
    """`early`: starts when called, then an iterator with `close()`; `lazy`: starts when iterated;
    `list`: a list; `write`: everything through `write()`. `closed` of what this returns: how often."""

    def call(environ: Any, start_response: Any) -> Any:
        names = {name: name.removeprefix("HTTP_") for name in environ if name.startswith(("HTTP_", "CONTENT_"))}
        headers = {name.replace("_", "-").lower(): environ[key] for key, name in names.items()}
        path, mount = (environ[name].encode("latin-1").decode() for name in ("PATH_INFO", "SCRIPT_NAME"))
        asked = Asked(environ["REQUEST_METHOD"], path, mount, environ["QUERY_STRING"], headers, environ)
        body = _Body(call, app(asked), start_response)
        if style != "lazy":
            body.start()
        if style == "write":
            for chunk in body:
                body.write(chunk)
        return body if style in ("early", "lazy") else list(body)

    call.closed = 0  # type: ignore[attr-defined]
    return call


class _Body:
    def __init__(self, owner: Any, steps: Iterable[Step], start_response: Any) -> None:
        self._owner = owner
        self._steps = iter(steps)
        self._start_response = start_response
        self._ready: list[bytes] = []

    def start(self) -> None:
        self._ready = [chunk for chunk in [self._next(until_start=True)] if chunk is not None]

    def _next(self, *, until_start: bool = False) -> bytes | None:
        for step in self._steps:
            match step:
                case Start(status, headers, exc_info):
                    more = () if exc_info is None else (exc_info,)
                    self.write = self._start_response(status_line(status), list(headers), *more)
                    if until_start:
                        return None
                case Last(data):
                    return data
                case bytes():
                    return step
        return None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._ready.pop() if self._ready else self._next()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        self._owner.closed += 1
        if hasattr(self._steps, "close"):
            self._steps.close()


def status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
