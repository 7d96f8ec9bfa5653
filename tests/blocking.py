"""Does anything of ours block the event loop of an ASGI application? A program of its own, under blockbuster.

    python tests/blocking.py WEBHOOK [OUTBOX]

Forty visitors, eight at once, report a chat and load pages with a profile that changes, with a plain profile callable
and with an async one; half of them sign out. Prints JSON: how many requests, deliveries, and each blocking call.
The sender has a thread and an event loop of its own; with an outbox, that thread reads the disk, and may.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import blockbuster.blockbuster as guard
from blockbuster import BlockBuster

from reve_middleware import ReveMiddleware, sign_out

AT_ONCE, GROUPS, PAGES = 8, 5, 5
HEADERS = [
    (b"host", b"shop.example"),
    (b"origin", b"https://shop.example"),
    (b"sec-fetch-site", b"same-origin"),
    (b"x-reve-bridge", b"1"),
    (b"content-type", b"application/json"),
]
calls: list[str] = []


class Recorded(guard.BlockingError):
    """One that is not forgotten, whoever swallows it."""

    def __init__(self, function: str) -> None:
        super().__init__(function)
        frame: Any = sys._getframe()
        while frame is not None and "reve_middleware" not in frame.f_code.co_filename:
            frame = frame.f_back
        calls.append(function + (f" in {frame.f_code.co_name}" if frame is not None else ""))


async def page(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/blocks":
        os.stat("/")
    if scope["path"] == "/logout":
        sign_out()
    html = b"<!doctype html><html><head></head><body></body></html>"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": html})


async def request(app: Any, method: str, path: str, cookies: dict[str, str], body: bytes = b"", edit: int = 0) -> int:
    """One request; keeps the cookies."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = [*HEADERS, (b"cookie", cookie.encode()), (b"x-edit", str(edit).encode())]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "scheme": "https", "headers": headers}
    status = 0

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                key, _, rest = value.decode().partition("=")
                cookies[key] = rest.partition(";")[0]

    await app({**scope, "query_string": b""}, receive, send)
    return status


async def visit(app: Any, number: int) -> list[int]:
    cookies = {"who": str(number)}
    report = json.dumps({"session_id": f"s{number}", "chatbot_id": "b"}).encode()
    statuses = [await request(app, "POST", "/_reve/session", cookies, report)]
    statuses += [await request(app, "GET", "/", cookies, edit=edit) for edit in range(PAGES)]
    return [*statuses, await request(app, "GET", "/logout" if number % 2 else "/", cookies)]


def profile(request: Any) -> dict[str, Any]:
    return {"id": request.cookies["who"], "edit": request.headers["x-edit"]}


async def async_profile(request: Any) -> dict[str, Any]:
    await asyncio.sleep(0)
    return profile(request)


async def main(apps: list[ReveMiddleware]) -> dict[str, Any]:
    statuses: list[int] = []
    delivered = 0
    for app in apps:
        for group in range(GROUPS):
            numbers = range(group * AT_ONCE, (group + 1) * AT_ONCE)
            for one in await asyncio.gather(*(visit(app, number) for number in numbers)):
                statuses += one
        await app._sender.aclose(10.0)
        stats = await asyncio.to_thread(app.stats)  # with an outbox it asks the disk
        delivered += stats["delivered"]
    seen = list(calls)
    calls.clear()
    with contextlib.suppress(guard.BlockingError):
        await request(page, "GET", "/blocks", {})
    assert calls == ["os.stat"], "the guard is on its post"
    return {
        "requests": len(statuses),
        "statuses": sorted(set(statuses)),
        "delivered": delivered,
        "blocking": sorted(set(seen)),
    }


if __name__ == "__main__":
    guard.BlockingError = Recorded  # type: ignore[misc]
    watch = BlockBuster()
    for function in watch.functions.values():
        function.can_block_in("reve_middleware/delivery.py", "_work")
    bot = {"webhook_url": sys.argv[1], "token": "t", "chatbot_id": "b", "outbox": (*sys.argv, None)[2]}
    apps = [ReveMiddleware(page, secret_key="k" * 32, profile=kind, **bot) for kind in (profile, async_profile)]
    watch.activate()
    try:
        found = asyncio.run(main(apps))
    finally:
        watch.deactivate()
    print(json.dumps(found))
