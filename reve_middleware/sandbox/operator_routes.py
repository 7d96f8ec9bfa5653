"""The operator's page: for the one who watches, on this machine, and for no other site."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import views
from .answers import NOT_KEPT, read, refused, text

if TYPE_CHECKING:
    from .standin import Sandbox

SHOWN = 50
"""Requests and conversations on the page."""
MAX_ORDER = 4096
"""Bytes of what the page sends."""
ORDER = {"status", "retry_after", "seconds", "times"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
GUARDS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FILES = ("operator.js", "drawing.js", "theme.js", "operator.css")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class Operator:
    """The routes of the page."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def mounted(self) -> Mount:
        """Everything that is not the webhook's or the widget's."""
        routes = [
            Route("/", _file("operator.html")),
            *(Route(f"/{name}", _file(name)) for name in FILES),
            Route("/operator/state", self.state),
            Route("/operator/token", self.token, methods=["POST"]),
            Route("/operator/rotate", self.rotate, methods=["POST"]),
            Route("/operator/misbehave", self.misbehave, methods=["POST"]),
            Route("/operator/behave", self.behave, methods=["POST"]),
        ]
        return Mount("/", routes=routes, middleware=[Middleware(_Guarded)])

    def state(self, request: Request) -> Response:
        now = self.sandbox.overview(SHOWN)
        if request.query_params.get("version") == str(now.version):
            return Response(status_code=204, headers=NOT_KEPT)
        bot = {
            "chatbot_id": self.sandbox.chatbot_id,
            "webhook_path": self.sandbox.webhook_path,
            "token": views.shortened(self.sandbox.token),
            "function": self.sandbox.function,
            "snippet": self.sandbox.snippet(str(request.base_url)),
        }
        found = {
            "version": now.version,
            "bot": bot,
            "received": now.received,
            "accepted": now.accepted,
            "misbehaviour": views.misbehaviour(now.misbehaviour),
            "requests": [views.request(record) for record in now.requests],
            "conversations": [views.conversation(view) for view in now.conversations],
        }
        return JSONResponse(found, headers=NOT_KEPT)

    def token(self, request: Request) -> Response:
        """The whole of it, for the clipboard: whoever watches has to put it into the website's settings."""
        return JSONResponse({"token": self.sandbox.token}, headers=NOT_KEPT)

    def rotate(self, request: Request) -> Response:
        return JSONResponse({"token": views.shortened(self.sandbox.rotate_token())}, headers=NOT_KEPT)

    async def misbehave(self, request: Request) -> Response:
        body = await read(request, MAX_ORDER)
        if len(body) > MAX_ORDER:
            return refused(413, f"the body is longer than {MAX_ORDER} bytes")
        try:
            order = json.loads(body)
        except (ValueError, RecursionError):
            return refused(400, "the body is not JSON")
        if not isinstance(order, dict) or not order.keys() <= ORDER:
            return refused(400, f"the body is not an object of {', '.join(sorted(ORDER))}")
        try:
            self.sandbox.misbehave(**order)
        except ValueError as error:
            return refused(400, str(error))
        return JSONResponse({"misbehaviour": views.misbehaviour(self.sandbox.misbehaviour)}, headers=NOT_KEPT)

    def behave(self, request: Request) -> Response:
        self.sandbox.behave()
        return JSONResponse({"misbehaviour": None}, headers=NOT_KEPT)


def why_not(method: str, headers: Mapping[str, str]) -> str:
    """Why a request is not the page's own, or nothing.

    The host must be a name that no other site can have: else one could be resolved to this machine, and its pages
    would be of our origin (DNS rebinding). What changes something must come from our origin, where a browser says
    from which it comes (Fetch Metadata, and the Origin header of RFC 6454); what is no browser may do as it likes.
    """
    host = headers.get("host", "")
    if not _nobody_elses(host):
        return "the operator's page is reached by an address, localhost, or a name without a dot"
    if method in ("GET", "HEAD"):
        return ""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin") or (origin is not None and origin.partition("://")[2] != host):
        return "only the operator's page may do this"
    return ""


def _nobody_elses(host: str) -> bool:
    """Whether it is an address, or a name that cannot be registered: `localhost`, `*.localhost`, `*.test` (RFC 6761),
    or one of a single label, as containers have."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith((".localhost", ".test")))
    return True


class _Guarded:
    """Asks `why_not` first, of every route of the page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = why_not(scope["method"], Request(scope).headers)
        await (refused(403, why) if why else self.app)(scope, receive, send)


def _file(name: str) -> Callable[[Request], Response]:
    content, kind = text(name), KINDS[PurePath(name).suffix]

    def file(request: Request) -> Response:
        return Response(content, media_type=kind, headers={**NOT_KEPT, **GUARDS})

    return file
