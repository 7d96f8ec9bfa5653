"""A small website as ASGI and as WSGI, for the worker processes of real servers (test_servers.py).

Who is logged in and their phone number stand in the site's own plain cookies, so that every worker knows it
without a store. `/late` waits until the test lets it go on; `/hold` does the same and lets its whole process
do nothing else meanwhile, so that the test decides which process answers. REVE_… in the environment says the rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, sign_out

PATIENCE = 30.0
"""Seconds after which a request goes on by itself; the test has failed long before."""
PAGE = b"<!doctype html><html><head><title>Shop</title></head><body></body></html>"

Headers = list[tuple[str, str]]
Shell = ReveMiddleware | ReveWSGIMiddleware


def profile(request: Request) -> dict[str, Any] | None:
    user = request.cookies.get("user")
    return {"id": user, "phone": request.cookies.get("phone", "1")} if user else None


def payload(chatbot_id: str, session_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """What REVE takes, and which process it comes from."""
    return {"botId": chatbot_id, "sessionId": session_id, "data": {**data, "pid": os.getpid()}}


def view(shell: Shell, method: str, path: str, query: dict[str, str]) -> tuple[str, Headers, bytes]:
    """What the site answers; waiting, where there is any, is over."""
    cookie, kind, body = None, "text/html; charset=utf-8", PAGE
    match method, path:
        case "POST", "/login":
            cookie = f"user={query['user']}; Path=/"
        case "POST", "/phone":
            cookie = f"phone={query['phone']}; Path=/"
        case "POST", "/logout":
            sign_out()
            cookie = "user=; Path=/; Max-Age=0"
        case "POST", "/flush":
            shell.close(5.0)
            kind, body = "application/json", json.dumps(shell.stats()).encode()
        case "GET", "/" | "/late" | "/hold":
            pass
        case _:
            return _answer(404, "text/plain", b"there is no such page")
    return _answer(200, kind, body, cookie)


def _answer(status: int, kind: str, body: bytes, cookie: str | None = None) -> tuple[str, Headers, bytes]:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Pid", str(os.getpid()))]
    if cookie is not None:
        headers.append(("Set-Cookie", cookie))
    return f"{status} {HTTPStatus(status).phrase}", headers, body


def wait_for_the_test(port: str) -> None:
    """Say which process this is, and wait until the test hangs up."""
    with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as gate:
        gate.sendall(str(os.getpid()).encode())
        gate.recv(1)


async def async_wait_for_the_test(port: str) -> None:
    """The same, while the event loop goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(str(os.getpid()).encode())
    async with asyncio.timeout(PATIENCE):
        await reader.read(1)
    writer.close()


def _query(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text).items()}


async def _asgi(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    query = _query(scope["query_string"].decode())
    if scope["path"] == "/late":
        await async_wait_for_the_test(query["port"])
    if scope["path"] == "/hold":
        wait_for_the_test(query["port"])
    status, headers, body = view(asgi, scope["method"], scope["path"], query)
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    query = _query(environ.get("QUERY_STRING", ""))
    if environ["PATH_INFO"] in ("/late", "/hold"):
        wait_for_the_test(query["port"])
    status, headers, body = view(wsgi, environ["REQUEST_METHOD"], environ["PATH_INFO"], query)
    start_response(status, headers)
    return [body]


_outbox = os.environ.get("SITE_OUTBOX")
asgi = ReveMiddleware(_asgi, profile=profile, payload=payload, outbox=_outbox, dev=True)
wsgi = ReveWSGIMiddleware(_wsgi, profile=profile, payload=payload, outbox=_outbox, dev=True)
