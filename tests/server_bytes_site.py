"""One website, bare and wrapped in one process, for real servers (server_bytes_running.py).

The header `X-Way` of a request says which: `bare`, `ours` (wrapped), or `mute` (wrapped, `inject=False`). The site is
the same ASGI or WSGI application each time: a table of answers, and a few that look at the request.
"""

from __future__ import annotations

from typing import Any

import server_bytes_asgi
import server_bytes_wsgi

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware


def profile(request: Any) -> dict[str, Any] | None:
    user = request.cookies.get("user")
    return {"id": user} if user else None


def _nothing(push: Any) -> None:
    """Takes each push, and does nothing with it."""


KEYWORDS: dict[str, Any] = {
    "webhook_url": "http://127.0.0.1:9/",
    "token": "only-for-tests",
    "chatbot_id": "shop-bot",
    "secret_key": "only for tests, and long enough for one",
    "profile": profile,
    "handoff": _nothing,
    "dev": True,
}
ASGI = {
    b"bare": server_bytes_asgi.site,
    b"ours": ReveMiddleware(server_bytes_asgi.site, **KEYWORDS),
    b"mute": ReveMiddleware(server_bytes_asgi.site, inject=False, **KEYWORDS),
}
WSGI = {
    "bare": server_bytes_wsgi.site,
    "ours": ReveWSGIMiddleware(server_bytes_wsgi.site, **KEYWORDS),
    "mute": ReveWSGIMiddleware(server_bytes_wsgi.site, inject=False, **KEYWORDS),
}


async def asgi(scope: Any, receive: Any, send: Any) -> Any:
    """What an ASGI server is given."""
    ways = [value for name, value in scope.get("headers", ()) if name == b"x-way"]
    return await ASGI[ways[0] if ways else b"ours"](scope, receive, send)


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    """What a WSGI server is given."""
    return WSGI[environ.get("HTTP_X_WAY", "ours")](environ, start_response)


application = wsgi
