"""What a scope and a start message say (ASGI), in the words of the core."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from .inject import REFUSED, page_type
from .messages import Request

PAGE_DESTINATIONS = frozenset({b"document", None, b"iframe", b"frame"})
"""Of requests that may be for a page: `inject.PAGE_DESTINATIONS`, and of clients that do not say."""
PLAIN_DESTINATIONS = (b"empty", b"document", None)
"""Of requests about which `Quiet.look` may be asked."""

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]

NOT_LOOKED_UP = (b"content-", b"if-", b"sec-", b"x-reve-")
"""How headers begin that belong to the browser's report and not to the internal GET."""
NOT_LOOKED_UP_WHOLE = frozenset({b"transfer-encoding", b"expect", b"range", b"origin", b"te", b"trailer", b"upgrade"})


def inside(path: str, mount: str) -> str:
    """The path inside the mount: some servers put the mount before a path, some do not."""
    if mount and path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
        return path[len(mount) :]
    return path


def request_of(scope: Scope, path: str, mount: str) -> Request:
    """The head of a request; `path` and `mount` as they were when it came in."""
    return Request(scope["method"], inside(path, mount), mount, scope.get("scheme", "http"), scope.get("headers", []))


def look_up_scope(scope: Scope, path: str) -> dict[str, Any]:
    """The scope of the internal GET: the browser's own cookies and names, nothing of its report."""
    path, _, query = path.partition("?")
    whole = scope["path"].removesuffix(inside(scope["path"], scope.get("root_path", ""))) + unquote(path)
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if not name.startswith(NOT_LOOKED_UP) and name not in NOT_LOOKED_UP_WHOLE
    ]
    return {
        **scope,
        "method": "GET",
        "path": whole,
        "raw_path": quote(whole).encode(),
        "query_string": query.encode(),
        "headers": headers,
        "extensions": {  # those of the connection, such as `tls`; its answer goes to no server
            name: value for name, value in (scope.get("extensions") or {}).items() if not name.startswith("http.")
        },
    }


ONE_COOKIE_HEADER = ("1.1", "1.0")
"""Where a browser sends no more than one `Cookie` header (RFC 6265 §5.4); with HTTP/2 it may (RFC 9113 §8.2.3)."""
AMBIGUOUS = b""
"""Stands for two `Cookie` headers with our names in them."""


def headers_of(scope: Scope) -> Any:
    """A list or a tuple; a hand-made scope may have none, or what can be read once."""
    headers = scope.get("headers", ())
    if not isinstance(headers, (list, tuple)):  # the application reads them, too
        headers = scope["headers"] = [tuple(pair) for pair in headers]
    return headers


def told_by_browser(scope: Scope, name: bytes) -> tuple[bytes | None, bytes | None]:
    """The one `Cookie` header value with that name in it, and `Sec-Fetch-Dest`; Nones where there are none.

    From the end, where browsers send them, and no further than needed."""
    try:
        headers, version = scope["headers"], scope["http_version"]
    except KeyError:  # it is made by hand
        headers, version = None, scope.get("http_version")
    if type(headers) is not list:
        headers = headers_of(scope)
    cookie: bytes | None = None
    destination: bytes | None = None
    has_cookie = False
    """Has the one that counts been seen?"""
    for header, value in headers[::-1]:
        if header == b"cookie":
            if not has_cookie:
                if value.partition(name)[1]:  # `find` takes half as long again, and `in` three times as long
                    cookie = value if cookie is None else AMBIGUOUS
                has_cookie = version in ONE_COOKIE_HEADER
        elif header == b"sec-fetch-dest":
            if destination is None:
                destination = value
        else:
            continue
        if has_cookie and destination is not None:
            break
    return cookie, destination


def may_be_page(start: Message) -> bool:
    """A first look at responses to clients that do not say what for (`Sec-Fetch-Dest`): most are no pages."""
    try:
        headers = start["headers"]
        if type(headers) is list:
            for name, value in headers:
                if name == b"content-type":
                    return REFUSED[value] != "type"
        elif type(headers) is not tuple:
            return True  # an iterator can be read once, so it is read where that is minded
        return page_type(headers) is not None  # some write their headers' names in capitals
    except Exception:  # no headers as ASGI has them: the server will say so
        return False


def is_plain(start_headers: Any) -> bool:
    """May `Quiet.look` be asked about a response with these headers?"""
    if type(start_headers) is not list:
        return False
    for name, _ in start_headers:  # noqa: SIM110
        if len(name) == 13 and name.lower() == b"cache-control":
            return False
    return True
