"""A small site as ASGI and as WSGI, for the attacks that need a real server: it remembers every run of our endpoint.

Who is logged in and their phone number stand in the site's own plain cookies. `/runs` says what ran since it was last
asked, `/pushed` how many pushes there were in all, `/memory` how many KiB the process holds: each as a list.

SITE_KEYS: a JSON list, newest first; SITE_READ_SECONDS: how long a report may take.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from starlette.requests import Request

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, capture

PAGE = b"<!doctype html><html><head><title>Shop</title></head><body></body></html>"
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
runs: list[dict[str, Any]] = []
"""Each request that our endpoint has answered: what the browser is said to have said, and our status."""
pushed: list[dict[str, Any]] = []


def profile(request: Request) -> dict[str, Any] | None:
    user = request.cookies.get("user")
    return {"id": user, "phone": request.cookies.get("phone", "1")} if user else None


async def take(push: dict[str, Any]) -> None:
    """A task queue of ASGI's; a plain one would have to share eight threads."""
    pushed.append(push)


def record(headers: Iterable[tuple[bytes, bytes]], status: int) -> None:
    said = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    runs.append({"headers": said, "status": status})


class ASGI(ReveMiddleware):
    async def _own(self, scope: Any, receive: Any) -> Any:
        answer = await super()._own(scope, receive)
        if answer is not None:
            record(scope["headers"], answer.status)
        return answer


class WSGI(ReveWSGIMiddleware):
    def _own(self, environ: Any) -> Any:
        answer = super()._own(environ)
        if answer is not None:
            names = [key for key in environ if key.startswith("HTTP_")]
            record([(key[5:].lower().encode(), environ[key].encode("latin-1")) for key in names], answer.status)
        return answer


def view(path: str) -> tuple[bytes, bytes]:
    """Type and body of an answer."""
    match path:
        case "/runs":
            said = json.dumps(runs).encode()
            runs.clear()
            return b"application/json", said
        case "/pushed":
            return b"application/json", json.dumps([len(pushed)]).encode()
        case "/memory":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return b"application/json", json.dumps([pages * PAGE_SIZE // 1024]).encode()
    return b"text/html; charset=utf-8", PAGE


async def _asgi(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    kind, body = view(scope["path"])
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def bare(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The site without us, which reads the body of a report itself for as long as we would."""
    status = 200
    if scope.get("method") == "POST":
        try:
            async with asyncio.timeout(capture.READ_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        except TimeoutError:
            status = 408
    await _asgi(scope, receive, lambda message: send({**message, "status": status} if "status" in message else message))


def _wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    kind, body = view(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", kind.decode()), ("Content-Length", str(len(body)))])
    return [body]


capture.READ_SECONDS = float(os.environ.get("SITE_READ_SECONDS", capture.READ_SECONDS))
_keywords: dict[str, Any] = {
    "webhook_url": "https://reve.example/hook",
    "token": "token-1",
    "chatbot_id": "bot",
    "secret_key": json.loads(os.environ["SITE_KEYS"]),
    "profile": profile,
}
asgi = ASGI(_asgi, **_keywords, handoff=take)
wsgi = WSGI(_wsgi, **_keywords, handoff=pushed.append)
