"""A server's part in both protocols: one call, one reply, and the rules checked on the way."""

import asyncio
import io
import json
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

from fakes import PATIENCE
from oracle import Sent, check_scope

HOST = "shop.example"
EXTENSIONS = ("http.response.trailers", "http.response.pathsend", "http.response.early_hint")


class Reply(NamedTuple):
    """A response as it left the middleware."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case, in order."""
    body: bytes
    chunks: list[bytes]
    raw: Any
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
        """What is set: each cookie's value with its attributes behind."""
        return dict(value.split("=", 1) for value in self.values("set-cookie"))


class Call(NamedTuple):
    """A request, before it is a scope or an environ."""

    method: str = "GET"
    path: str = "/"
    """Inside the mount; decoded, with its query."""
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    mount: str = ""
    scheme: str = "https"


# ASGI ------------------------------------------------------------------------------------------


def scope_of(call: Call) -> dict[str, Any]:
    path, _, query = call.path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": call.scheme,
        "path": call.mount + path,
        "raw_path": quote(call.mount + path).encode(),
        "root_path": call.mount,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in call.headers],
        "server": (HOST, 443),
        "client": ("192.0.2.1", 50000),
        "extensions": {name: {} for name in EXTENSIONS},
    }


def call_asgi(app: Any, call: Call, *, lower: bool = True) -> Reply:
    """One request in a loop of its own; raises what the application raises, `sent` on the exception."""
    scope = scope_of(call)
    check_scope(scope)
    sent = Sent(scope, lower=lower)
    asyncio.run(_within_patience(_asgi(app, scope, call.body, sent)))
    return reply_of(sent.messages)


async def _within_patience(running: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        await running


async def _asgi(app: Any, scope: Any, body: bytes, sent: Sent) -> None:
    over = asyncio.Event()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # a server that waits for its socket
        sent.take(message)
        if sent.ended:
            over.set()

    try:
        await app(scope, receive, send)
    except BaseException as error:
        sent.close(whole=False)
        error.sent = sent.messages  # type: ignore[attr-defined]
        raise
    sent.close(whole=True)


def reply_of(messages: list[Any]) -> Reply:
    start = next(message for message in messages if message["type"] == "http.response.start")
    headers = [(name.lower().decode(), value.decode("latin-1")) for name, value in start.get("headers", ())]
    chunks = [message.get("body", b"") for message in messages if message["type"] == "http.response.body"]
    return Reply(start["status"], headers, b"".join(chunks), chunks, messages)


# WSGI ------------------------------------------------------------------------------------------


def environ_of(call: Call) -> dict[str, Any]:
    path, _, query = call.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": call.mount.encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": HOST,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": call.scheme,
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.multithread": True,
    }
    setup_testing_defaults(environ)
    del environ["HTTP_HOST"]
    if call.body or call.method == "POST":
        environ["CONTENT_LENGTH"] = str(len(call.body))
    for name, value in call.headers:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = environ[key] + joint + value if key in environ and key != "CONTENT_LENGTH" else value
    return environ


class Server:
    """What a WSGI server does (PEP 3333), and what it may expect."""

    def __init__(self) -> None:
        self.head: tuple[str, list[tuple[str, str]]] | None = None
        self.gone_out: tuple[str, list[tuple[str, str]]] | None = None
        self.chunks: list[bytes] = []
        self.closed = 0

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None and self.gone_out is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        assert self.head is None or exc_info is not None, "WSGI: a second start needs exc_info"
        self.head = status, list(headers)
        return self.write

    def write(self, data: bytes) -> None:
        assert type(data) is bytes, "WSGI: a chunk is bytes"
        assert self.head is not None, "WSGI: a chunk comes after the start"
        self.gone_out = self.gone_out or self.head
        self.chunks.append(data)

    def run(self, app: Any, environ: dict[str, Any]) -> None:
        iterable = app(environ, self.start_response)
        try:
            for chunk in iterable:
                if chunk:
                    self.write(chunk)
            self.write(b"")
        finally:
            if hasattr(iterable, "close"):
                iterable.close()

    def reply(self, raw: Any, method: str) -> Reply:
        assert self.gone_out is not None
        status, headers = self.gone_out
        found = [(name.lower(), value) for name, value in headers]
        chunks = [chunk for chunk in self.chunks if chunk]
        lengths = [int(value) for name, value in found if name == "content-length"]
        if lengths and method != "HEAD" and not status.startswith(("204", "304")):
            assert lengths == [sum(map(len, chunks))], "WSGI: Content-Length is the body's"
        return Reply(int(status[:3]), found, b"".join(chunks), chunks, raw)


def call_wsgi(app: Any, call: Call, *, valid: bool = True) -> Reply:
    """One request; raises what the application raises, the `server` on the exception.

    `valid=False`: without `wsgiref.validate`, for applications that break its rules themselves."""
    server = Server()
    returned: list[Any] = []

    def tapped(environ: Any, start_response: Any) -> Any:
        returned.append(app(environ, start_response))
        return returned[0]

    try:
        server.run(validator(tapped) if valid else tapped, environ_of(call))
    except BaseException as error:
        error.server = server  # type: ignore[attr-defined]
        raise
    return server.reply(returned[0], call.method)
