"""One description of an application, and the real ASGI and WSGI applications it becomes.

An application is a function of an `Asked` that yields steps:

    def shop(asked):
        if asked.path == "/logout":
            sign_out()                                  # runs in the application's own context
        yield Start(200, [("Content-Type", "text/html")])
        yield b"<!doctype html><head>"                  # more follows
        yield Last(b"</head>")                          # nothing follows
"""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from oracle import check_received, check_scope

HTML = "text/html; charset=utf-8"
PAGE = b"<!doctype html><html><head><title>x</title></head><body></body></html>"
WSGI_STYLES = ("early", "lazy", "list", "write")

Pairs = Iterable[tuple[str, str]]


class Start(NamedTuple):
    status: int = 200
    headers: Pairs = (("Content-Type", HTML),)
    exc_info: Any = None
    """Of WSGI's second `start_response`."""
    extra: tuple[tuple[str, Any], ...] = ()
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


def page(body: bytes = PAGE, *headers: tuple[str, str], status: int = 200) -> App:
    """An application that answers every request with one page."""
    return lambda asked: [Start(status, [("Content-Type", HTML), *headers]), Last(body)]


def asgi_app(app: App) -> Any:
    """`sent` of what this returns: the messages of the last response, as the application made them."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        check_scope(scope)
        check_received(await receive())
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"].removeprefix(scope["root_path"])
        asked = Asked(scope["method"], path, scope["root_path"], scope["query_string"].decode(), headers, scope)
        sent = call.sent = []  # type: ignore[attr-defined]
        ended = False
        for step in app(asked):
            sent.append(as_message(step))
            ended = isinstance(step, (Last, Message))
            await send(sent[-1])
        if not ended:
            sent.append(as_message(Last()))
            await send(sent[-1])

    return call


def as_message(step: Step) -> dict[str, Any]:
    match step:
        case Start(status, headers, _, extra):
            pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
            return {"type": "http.response.start", "status": status, "headers": pairs, **dict(extra)}
        case Last(data):
            return {"type": "http.response.body", "body": data}
        case Message(message):
            return message
    return {"type": "http.response.body", "body": step, "more_body": True}


def wsgi_app(app: App, style: str = "early") -> Any:
    """`early`: starts when called, then an iterator with `close()`; `lazy`: starts when iterated; `list`:
    a list; `write`: all of it through `write()`.

    `closed` of what this returns: how often `close()` was called; `returned`: the last iterable."""

    def call(environ: Any, start_response: Any) -> Any:
        keys = {key: key.removeprefix("HTTP_") for key in environ if key.startswith(("HTTP_", "CONTENT_"))}
        headers = {name.replace("_", "-").lower(): environ[key] for key, name in keys.items()}
        path, mount = (environ[name].encode("latin-1").decode() for name in ("PATH_INFO", "SCRIPT_NAME"))
        asked = Asked(environ["REQUEST_METHOD"], path, mount, environ["QUERY_STRING"], headers, environ)
        body = _Body(call, app(asked), start_response)
        if style != "lazy":
            body.start()
        if style == "write":
            for chunk in body:
                body.write(chunk)
        call.returned = body if style in ("early", "lazy") else list(body)  # type: ignore[attr-defined]
        return call.returned  # type: ignore[attr-defined]

    call.closed = 0  # type: ignore[attr-defined]
    return call


class _Body:
    def __init__(self, owner: Any, steps: Iterable[Step], start_response: Any) -> None:
        self._owner = owner
        self._steps = iter(steps)
        self._start_response = start_response
        self.write: Any = None

    def start(self) -> None:
        for step in self._steps:
            assert isinstance(step, Start), "the first step is a start"
            self._take(step)
            return

    def _take(self, start: Start) -> None:
        more = () if start.exc_info is None else (start.exc_info,)
        self.write = self._start_response(status_line(start.status), list(start.headers), *more)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for step in self._steps:
            if isinstance(step, Start):
                self._take(step)
            elif isinstance(step, Last):
                return step.data
            elif isinstance(step, bytes):
                return step
        raise StopIteration

    def close(self) -> None:
        self._owner.closed += 1
        if hasattr(self._steps, "close"):
            self._steps.close()


def status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
