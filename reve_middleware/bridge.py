"""The script: its bytes, its hash, its URL, its tag.

The same bytes for everybody; what differs from site to site stands in the tag's data attributes, and
those do not differ from visitor to visitor either.
"""

from __future__ import annotations

import hashlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from .messages import Answer, Headers

if TYPE_CHECKING:
    from .settings import Settings

FOR_EVER = b"public, max-age=31536000, immutable"
"""For the one URL that names the content's hash (RFC 8246)."""
ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""As `html.escape`; that module brings a table of 2,231 names, and the first page would import it on its event loop."""


@cache
def script() -> tuple[bytes, str]:
    """The script and its hash; read once per process."""
    data = pkgutil.get_data("reve_middleware", "bridge.js") or b""
    return data, hashlib.sha256(data).hexdigest()[:16]


script()  # at import: the first page would read a file on its event loop


def url(settings: Settings, mount: str) -> str:
    """The script's address inside this mount, quoted. One slash at its start: two would name a host."""
    prefix = mount.strip("/")
    return f"{'/' + quote(prefix) if prefix else ''}{settings.path}/bridge.js?v={script()[1]}"


def tag(settings: Settings, mount: str, nonce: str | None = None) -> str:
    """The one constant tag of a page; a nonce is all that may differ."""
    attributes = {"src": url(settings, mount), "data-function": settings.function}
    if len(settings.bots) == 1:
        attributes["data-bot"] = settings.bots[0].chatbot_id
    if settings.account_id is not None:
        attributes["data-account"] = settings.account_id
    if nonce is not None:
        attributes["nonce"] = nonce
    written = " ".join(f'{name}="{value.translate(ESCAPED)}"' for name, value in attributes.items())
    return f"<script {written}></script>"


def serve(method: str, query: bytes) -> Answer:
    """The answer to a request for the script."""
    data, digest = script()
    if method not in ("GET", "HEAD"):
        return Answer(405, [(b"allow", b"GET, HEAD"), (b"content-type", b"text/plain"), (b"content-length", b"0")], b"")
    current = query == b"v=" + digest.encode()
    headers: Headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(data)).encode()),
        (b"cache-control", FOR_EVER if current else b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    return Answer(200, headers, data if method == "GET" else b"")
