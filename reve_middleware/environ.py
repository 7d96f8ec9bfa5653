"""What an environ says (PEP 3333), in the words of the core and of Starlette's request."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from starlette.requests import Request as StarletteRequest

from . import inject
from .messages import READ_BY_THE_CORE, BodyFault, Headers, Request

Environ: TypeAlias = dict[str, Any]
TextHeaders: TypeAlias = list[tuple[str, str]]

REASONS = {
    200: "200 OK",
    400: "400 Bad Request",
    403: "403 Forbidden",
    405: "405 Method Not Allowed",
    408: "408 Request Timeout",
    413: "413 Content Too Large",
    415: "415 Unsupported Media Type",
    422: "422 Unprocessable Content",
}

NOT_LOOKED_UP = ("CONTENT_", "HTTP_CONTENT_", "HTTP_IF_", "HTTP_SEC_", "HTTP_X_REVE_")
NOT_LOOKED_UP_WHOLE = ("HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_RANGE", "HTTP_ORIGIN", "HTTP_UPGRADE")


UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")
READ = [
    (name, key if key in UNPREFIXED else f"HTTP_{key}")
    for name in READ_BY_THE_CORE
    for key in [name.decode().upper().replace("-", "_")]
]
OF_FRAGMENTS = [(name, key) for name, key in READ if name in (b"hx-request", b"hx-boosted", b"x-requested-with")]
PAGE_DESTINATIONS = (None, *(one.decode() for one in inject.PAGE_DESTINATIONS))
"""`Sec-Fetch-Dest` of requests that may be for a page."""
PLAIN_DESTINATIONS = (None, "empty", "document")
"""Of requests about which `Quiet.look` may be asked."""
NOTHING_TELLING = (b"", b"")


class _Telling(dict[str, bytes]):
    """Names of a response's headers as `inject.look_at` knows them; b"" for those that it passes over. Made once for
    each: a site has few."""

    def __missing__(self, name: str) -> bytes:
        lower = name.lower().encode("latin-1", "replace")
        telling = lower if lower in inject.TELLING else b""
        if len(self) >= 256:
            self.clear()
        self[name] = telling
        return telling


TELLING = _Telling()


TAKE_UNDERSCORES = ("Granian", "Cheroot", "CherryPy", "WSGIServer")
"""How `SERVER_SOFTWARE` begins of servers that take `Sec_Fetch_Site`, which any script may send where a CORS layer lets
it, for `Sec-Fetch-Site`; of some the last of the two counts. uWSGI joins them, which helps only where both are sent.
Others (gunicorn, waitress, gevent, Werkzeug, Apache) drop names with underscores."""


def report_of(environ: Environ) -> Request:
    """The head of a request for the capture path."""
    doubtful = "uwsgi.version" in environ or str(environ.get("SERVER_SOFTWARE", "")).startswith(TAKE_UNDERSCORES)
    return request_of(environ)._replace(site_is_doubtful=doubtful)


def request_of(environ: Environ) -> Request:
    """The head of a request, with those of its headers that the core reads."""
    headers: Headers = []
    for name, key in READ:
        value = environ.get(key)
        if isinstance(value, str):
            headers.append((name, value.encode("latin-1", "replace")))
    return Request(
        environ.get("REQUEST_METHOD", "GET"),
        decode(environ.get("PATH_INFO", "")),
        decode(environ.get("SCRIPT_NAME", "")),
        environ.get("wsgi.url_scheme", "http"),
        headers,
    )


def headers_of(environ: Environ) -> Headers:
    """All headers of a request."""
    return [
        (key.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for key, value in environ.items()
        if isinstance(value, str) and (key.startswith("HTTP_") or key in UNPREFIXED)
    ]


class EnvironRequest(StarletteRequest):
    """Starlette's request, made of an environ when it is looked at: many callables never do."""

    def __init__(self, environ: Environ) -> None:
        self.scope = EnvironScope(environ)

    def __getattr__(self, name: str) -> Any:
        """What Starlette's own `__init__` makes."""
        if name.startswith("__") or "_receive" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__init__(self.scope)
        return getattr(self, name)


class EnvironScope(dict[str, Any]):
    """A scope made of an environ, which is in it; the rest of it is made when it is looked at."""

    __slots__ = ("_is_whole",)

    def __init__(self, environ: Environ) -> None:
        self["type"] = "http"
        self["wsgi.environ"] = environ
        self._is_whole = False

    def __missing__(self, key: str) -> Any:
        if self._is_whole:
            raise KeyError(key)
        return self.whole()[key]

    def whole(self) -> EnvironScope:
        """Itself, with all its keys."""
        if not self._is_whole:
            self._is_whole = True
            self.update(scope_of(self["wsgi.environ"]))
        return self

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self.whole(), key)

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self.whole())

    def __len__(self) -> int:
        return dict.__len__(self.whole())

    def __eq__(self, other: object) -> bool:
        return dict.__eq__(self.whole(), other)

    def __repr__(self) -> str:
        return dict.__repr__(self.whole())

    def get(self, key: str, default: Any = None) -> Any:
        return dict.get(self.whole(), key, default)

    def keys(self) -> Any:
        return dict.keys(self.whole())

    def values(self) -> Any:
        return dict.values(self.whole())

    def items(self) -> Any:
        return dict.items(self.whole())

    def copy(self) -> dict[str, Any]:
        return dict(self)


def scope_of(environ: Environ) -> dict[str, Any]:
    """What a scope says of an environ."""
    request = request_of(environ)
    port = str(environ.get("SERVER_PORT", ""))  # Starlette's WSGIMiddleware puts a number there
    return {
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2] or "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.mount + request.path,
        "root_path": request.mount,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers_of(environ),
        "server": (environ.get("SERVER_NAME", ""), int(port) if port.isdigit() else None),
        "client": (environ["REMOTE_ADDR"], 0) if environ.get("REMOTE_ADDR") else None,
    }


def look_up_environ(environ: Environ, path: str) -> Environ:
    """The environ of the internal GET: the browser's own cookies and names, nothing of its report."""
    path, _, query = path.partition("?")
    inner = {
        key: value
        for key, value in environ.items()
        if not key.startswith(NOT_LOOKED_UP) and key not in NOT_LOOKED_UP_WHOLE
    }
    whole = quote(environ.get("SCRIPT_NAME", ""), encoding="latin-1") + path + ("?" + query if query else "")
    inner.update({key: whole for key in ("REQUEST_URI", "RAW_URI") if key in environ})
    inner.update(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(),
        }
    )
    return inner


def read_body(environ: Environ, limit: int) -> bytes | BodyFault:
    length = environ.get("CONTENT_LENGTH") or ""
    try:
        if length.isdigit():
            if int(length) > limit:
                return BodyFault(413)
            body: bytes = environ["wsgi.input"].read(int(length))
            return body if len(body) == int(length) else BodyFault(400)
        if environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(limit + 1)
            return body if len(body) <= limit else BodyFault(413)
    except Exception:  # the client went away, or the server gave up waiting for it
        return BodyFault(400)
    return BodyFault(400)


def decode(path: str) -> str:
    """A path as WSGI carries it (PEP 3333: bytes as latin-1) as text."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def may_be_page(headers: TextHeaders) -> bool:
    """A first look at responses to clients that do not say what for (`Sec-Fetch-Dest`): most are no pages."""
    for name, value in headers:
        if name == "Content-Type" or name.lower() == "content-type":
            return "ml" in value.lower()
    return False


def told_of_fragment(environ: Environ) -> Headers:
    """Those of a request's headers that tell whether it is for a fragment of a page."""
    return [
        (name, value.encode("latin-1", "replace"))
        for name, key in OF_FRAGMENTS
        if isinstance(value := environ.get(key), str)
    ]


def as_telling(headers: TextHeaders) -> Headers:
    """The headers of a response for `inject.look_at`, which passes over the others."""
    return [
        (telling, value.encode("latin-1")) if (telling := TELLING[name]) else NOTHING_TELLING for name, value in headers
    ]


def as_text(headers: Headers) -> TextHeaders:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def as_raw(headers: TextHeaders) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
