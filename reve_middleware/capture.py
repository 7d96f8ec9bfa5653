"""The browser reports a chat: same origin or nothing, and nothing but two ids.

Pure: a request's head and body in, what was captured or a refusal out. The browser says which chat gets
the profile, so another site must not be able to (contract §3, THREATS T1, T7, T12).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .messages import Answer, Headers, Request

if TYPE_CHECKING:
    from .settings import Settings

LARGEST_BODY = 2048
"""Bytes."""
READ_SECONDS = 5.0
LOOK_UP_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}

PROBLEMS = {
    "bad_request": (400, "Bad Request", "The body must be one JSON object without repeated keys."),
    "cross_origin": (403, "Forbidden", "The request must come from a page of the same origin."),
    "no_bridge": (403, "Forbidden", "The request must come from the bridge script."),
    "plain_http": (403, "Forbidden", "The page must be loaded over https."),
    "method": (405, "Method Not Allowed", "Use POST, or DELETE to forget."),
    "timeout": (408, "Request Timeout", "The body did not arrive in time."),
    "too_large": (413, "Content Too Large", "The body may have at most 2048 bytes."),
    "media_type": (415, "Unsupported Media Type", "The body must be application/json, not encoded."),
    "ids": (422, "Unprocessable Content", "session_id or chatbot_id is missing or malformed."),
    "bot": (422, "Unprocessable Content", "chatbot_id is not one of the bots that are configured here."),
}
BODY_FAULTS = {400: "bad_request", 408: "timeout", 413: "too_large"}


CHECK = "reve-middleware-check"
"""In the `User-Agent` of `reve-middleware check`, which tries what must be refused: that is no news for the log."""


class Captured(NamedTuple):
    """What the browser reported."""

    session_id: str
    chatbot_id: str

    def __repr__(self) -> str:
        return f"<Captured a chat of {self.chatbot_id}>"


class Refusal(NamedTuple):
    """Why it was not taken: a key of PROBLEMS."""

    reason: str


def refusal_of_head(request: Request, settings: Settings) -> Refusal | None:
    """Everything that can be refused before the body is read."""
    if request.method not in ("POST", "DELETE"):
        return Refusal("method")
    if not is_same_origin(request, settings.allowed_origins):
        says_nothing = request.one(b"origin") in (None, b"null") and not request.values(b"sec-fetch-site")
        plain = says_nothing and not settings.dev and came_over_plain_http(request)
        return Refusal("plain_http" if plain else "cross_origin")
    if not settings.dev and came_over_plain_http(request):
        return Refusal("plain_http")
    if request.one(b"x-reve-bridge") != b"1":
        return Refusal("no_bridge")
    if request.method == "DELETE":
        return None
    if not is_json(request.one(b"content-type")) or request.values(b"content-encoding"):
        return Refusal("media_type")
    length = request.one(b"content-length")
    if length is not None and length.isdigit() and (len(length) > 9 or int(length) > LARGEST_BODY):
        return Refusal("too_large")
    return None


def is_a_check(request: Request) -> bool:
    """Does it come from `reve-middleware check`?"""
    return CHECK.encode() in (request.one(b"user-agent") or b"")


def is_same_origin(request: Request, allowed_origins: frozenset[str]) -> bool:
    """`Sec-Fetch-Site` must be `same-origin`; where the browser sends none, or it may not be the browser's own
    word, `Origin` must be ours or allowed (Fetch Metadata §2.4; RFC 6454 §7)."""
    sites = request.values(b"sec-fetch-site")
    if sites and not (request.site_is_doubtful and sites == [b"same-origin"]):
        return sites == [b"same-origin"]
    sent = request.one(b"origin")
    host = request.one(b"host")
    if sent is None:
        return False
    try:
        origin = sent.decode("ascii")
        if origin in allowed_origins:
            return True
        parts = urlsplit(origin)
        ours = urlsplit(f"{parts.scheme}://{(host or b'').decode('ascii')}")
        if parts.scheme not in DEFAULT_PORTS or origin != f"{parts.scheme}://{parts.netloc}" or not parts.hostname:
            return False
        if "@" in parts.netloc + ours.netloc or ours.path or ours.query or ours.fragment:
            return False
        default = DEFAULT_PORTS[parts.scheme]
        theirs, own = (default if one.port is None else one.port for one in (parts, ours))
        if (parts.hostname, theirs) != (ours.hostname, own):
            return False
    except ValueError:
        return False
    return request.scheme != "https" or parts.scheme == "https"


def has_lost_its_host(request: Request) -> bool:
    """Was it refused though no browser says that it comes from elsewhere? Then a proxy may have changed `Host`."""
    origin = request.one(b"origin") or b""
    return origin.startswith((b"http://", b"https://")) and not request.values(b"sec-fetch-site")


def came_over_plain_http(request: Request) -> bool:
    """Did the browser load the page without TLS? Its `Origin` knows, even behind a proxy that ends TLS.
    Under `Referrer-Policy: no-referrer` that is `null`; but over plain http browsers send no `Sec-Fetch-Site`."""
    origin = request.one(b"origin") or b""
    if origin.startswith((b"http://", b"https://")):
        return origin.startswith(b"http://")
    return request.scheme != "https" and not request.values(b"sec-fetch-site")


def is_json(content_type: bytes | None) -> bool:
    """`application/json`, with no parameter but `charset=utf-8`."""
    if content_type is None:
        return False
    kind, _, parameter = content_type.lower().partition(b";")
    return kind.strip() == b"application/json" and parameter.strip().replace(b'"', b"") in (b"", b"charset=utf-8")


def read_ids(body: bytes, settings: Settings) -> Captured | Refusal:
    """The two ids of a request body."""
    try:
        said = json.loads(body.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Refusal("bad_request")
    if not isinstance(said, dict):
        return Refusal("bad_request")
    session_id, chatbot_id = said.get("session_id"), said.get("chatbot_id")
    if not isinstance(session_id, str) or not isinstance(chatbot_id, str):
        return Refusal("ids")
    if not re.fullmatch(r"[\x21-\x7e]{1,128}", session_id) or not settings.session_id.fullmatch(session_id):
        return Refusal("ids")
    if not settings.has_bot(chatbot_id):
        return Refusal("bot")
    return Captured(session_id, chatbot_id)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> Any:
    raise ValueError


def refuse(reason: str) -> Answer:
    """The fixed answer to a refused request (RFC 9457); nothing in it comes from the request."""
    status, title, detail = PROBLEMS[reason]
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    headers = _headers(b"application/problem+json", body_bytes := json.dumps(body).encode())
    if status == 405:
        headers.append((b"allow", b"POST, DELETE"))
    return Answer(status, headers, body_bytes)


def answer(status: str, set_cookies: list[bytes]) -> Answer:
    """200 and what became of the chat."""
    body = json.dumps({"status": status}).encode()
    return Answer(200, _headers(b"application/json", body) + [(b"set-cookie", value) for value in set_cookies], body)


def _headers(content_type: bytes, body: bytes) -> Headers:
    return [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
