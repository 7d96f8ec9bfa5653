"""A response as check sees it: plain values, its body unpacked within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from reve_middleware.messages import Header, values

LARGEST_BODY = 2 * 1024 * 1024
"""Bytes of a body that are looked at, packed and unpacked alike."""
UNPACKED = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""What is asked for, as a browser would, and can be undone; zlib's window size for each (RFC 9110 §8.4.1)."""


class Response(NamedTuple):
    """A response's head and body."""

    status: int
    headers: Sequence[Header] = ()
    body: bytes | None = b""
    """Unpacked; None where its `Content-Encoding` cannot be undone here."""
    is_whole: bool = True
    """False where it was cut at LARGEST_BODY."""

    def values(self, name: bytes) -> list[bytes]:
        return values(self.headers, name)

    def first(self, name: bytes) -> bytes:
        return next(iter(self.values(name)), b"")

    @property
    def kind(self) -> bytes:
        """The media type, in lower case, without parameters."""
        return self.first(b"content-type").partition(b";")[0].strip().lower()

    @property
    def encodings(self) -> list[bytes]:
        """What its body is packed with, `identity` left out."""
        return words(self.values(b"content-encoding"), without=b"identity")

    @property
    def cache_control(self) -> dict[bytes, bytes]:
        """The directives and their arguments (RFC 9111 §5.2)."""
        pairs = (one.partition(b"=") for one in words(self.values(b"cache-control")))
        return {name.strip(): argument.strip(b' "') for name, _, argument in pairs}


def words(fields: Sequence[bytes], *, without: bytes = b"") -> list[bytes]:
    """The members of a list header, in lower case."""
    found = (one.strip().lower() for field in fields for one in field.split(b","))
    return [one for one in found if one and one != without]


def received(status: int, headers: Sequence[Header], raw: bytes, *, is_whole: bool = True) -> Response:
    """The response whose body came as `raw`."""
    plain = Response(status, headers, raw, is_whole)
    body: bytes | None = raw
    for encoding in reversed(plain.encodings):
        body = None if body is None else _unpacked(body, encoding)
    if body is not None and len(body) > LARGEST_BODY:
        body, is_whole = body[:LARGEST_BODY], False
    return plain._replace(body=body, is_whole=is_whole)


def _unpacked(data: bytes, encoding: bytes) -> bytes | None:
    if encoding not in UNPACKED:
        return None
    for window in (UNPACKED[encoding], -15) if encoding == b"deflate" else (UNPACKED[encoding],):
        try:
            return zlib.decompressobj(window).decompress(data, LARGEST_BODY + 1)
        except zlib.error:
            continue  # many servers send `deflate` without the wrapper that the name asks for
    return None


# Addresses -------------------------------------------------------------------------------------


def origin_of(url: str) -> str | None:
    """`scheme://host[:port]` of an address, as browsers write it; None where it has none."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    is_default = port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{name}" if is_default else f"{parts.scheme}://{name}:{port}"


def resolved(base: str, reference: str) -> str | None:
    """The whole address of a reference in a page or a `Location`; None where it is none. Without a fragment."""
    try:
        url = urljoin(base, reference.strip(" \t\r\n\f")).partition("#")[0]
    except ValueError:
        return None
    return url if origin_of(url) else None


def path_of(url: str) -> str:
    """The path alone: a query may hold what is nobody's business."""
    return urlsplit(url).path or "/"
