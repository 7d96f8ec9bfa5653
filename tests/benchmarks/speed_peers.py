"""The layers that ours is compared to, each as its own documentation builds it.

Which packages are missing is found out here, so that a program says so and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from wsgiref.headers import Headers

from speed_rounds import is_installed
from starlette.datastructures import MutableHeaders

SECRET = "a secret key for benchmarks, long enough"
missing: set[str] = set()
"""Packages that a program would have measured."""


def has(package: str) -> bool:
    """Is it installed? If not, the report will say so."""
    if is_installed(package):
        return True
    missing.add(package)
    return False


# ASGI ------------------------------------------------------------------------------------------


class EmptyWrapper:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class PlainInjector:
    """A tag before `</body>`, as people write it: keep the start, join the chunks, search, mend Content-Length."""

    def __init__(self, app: Any, snippet: str = '<script src="/static/chat.js"></script>') -> None:
        self.app = app
        self.snippet = snippet.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: Any = None
        chunks: list[bytes] = []

        async def send_wrapper(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if not headers.get("content-type", "").startswith("text/html"):
                    await send(message)
                    return
                start = message
                return
            if start is None:
                await send(message)
                return
            chunks.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = with_snippet(b"".join(chunks), self.snippet)
            headers = MutableHeaders(scope=start)
            headers["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, send_wrapper)


def with_snippet(body: bytes, snippet: bytes) -> bytes:
    at = body.lower().rfind(b"</body>")
    return body if at == -1 else body[:at] + snippet + body[at:]


def session_middleware(app: Any) -> Any:
    from starlette.middleware.sessions import SessionMiddleware

    return SessionMiddleware(app, SECRET)


def gzip_middleware(app: Any) -> Any:
    from starlette.middleware.gzip import GZipMiddleware

    return GZipMiddleware(app)


def base_http_middleware(app: Any) -> Any:
    from starlette.middleware.base import BaseHTTPMiddleware

    async def dispatch(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        return await call_next(request)

    return BaseHTTPMiddleware(app, dispatch)


def correlation_id(app: Any) -> Any:
    from asgi_correlation_id import CorrelationIdMiddleware

    return CorrelationIdMiddleware(app)


def csrf(app: Any) -> Any:
    from asgi_csrf import asgi_csrf

    return asgi_csrf(app, signing_secret=SECRET)


def sentry_asgi(app: Any) -> Any:
    import sentry_sdk
    from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

    sentry_sdk.init(default_integrations=False, auto_enabling_integrations=False)  # they would patch the other peers
    return SentryAsgiMiddleware(app)


ASGI_PEERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "empty wrapper": ("starlette", EmptyWrapper),
    "SessionMiddleware, no cookie": ("starlette", session_middleware),
    "GZipMiddleware": ("starlette", gzip_middleware),
    "asgi-correlation-id": ("asgi-correlation-id", correlation_id),
    "asgi-csrf": ("asgi-csrf", csrf),
    "Sentry, no DSN": ("sentry-sdk", sentry_asgi),
    "BaseHTTPMiddleware": ("starlette", base_http_middleware),
}
"""What the report calls it, the package, and how it is built."""


def starlette_session(value: dict[str, Any]) -> str:
    """A valid cookie of Starlette's SessionMiddleware, made by itself."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].update(value)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(session_middleware(app)({"type": "http", "headers": []}, None, send))
    (cookie,) = [text for name, text in sent[0]["headers"] if name == b"set-cookie"]
    return str(cookie.partition(b";")[0].decode())


# WSGI ------------------------------------------------------------------------------------------


class PlainWSGIInjector:
    """The same for WSGI."""

    def __init__(self, app: Any, snippet: str = '<script src="/static/chat.js"></script>') -> None:
        self.app = app
        self.snippet = snippet.encode()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        started: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            started[:] = [status, headers, exc_info]

        iterable = self.app(environ, keep)
        try:
            chunks = list(iterable)
        finally:
            if hasattr(iterable, "close"):
                iterable.close()
        status, given, exc_info = started
        headers = Headers(given)
        if (headers["Content-Type"] or "").startswith("text/html"):
            body = with_snippet(b"".join(chunks), self.snippet)
            headers["Content-Length"] = str(len(body))
            chunks = [body]
        start_response(status, given, exc_info)
        return chunks


def proxy_fix(app: Any) -> Any:
    from werkzeug.middleware.proxy_fix import ProxyFix

    return ProxyFix(app)


def whitenoise(app: Any) -> Any:
    from whitenoise import WhiteNoise

    return WhiteNoise(app)


def sentry_wsgi(app: Any) -> Any:
    import sentry_sdk
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware

    sentry_sdk.init(default_integrations=False, auto_enabling_integrations=False)
    return SentryWsgiMiddleware(app)


WSGI_PEERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Werkzeug ProxyFix": ("werkzeug", proxy_fix),
    "WhiteNoise, no file of its": ("whitenoise", whitenoise),
    "Sentry, no DSN": ("sentry-sdk", sentry_wsgi),
}
