"""The site that the speed programs measure with: browsers' requests, visitors with chats, and our layer around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fakes import Webhook

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware

HOST = "www.example.com"
KEYWORDS: dict[str, Any] = {
    "webhook_url": "https://reve.example/hook",
    "token": "token-1",
    "chatbot_id": "bot",
    "secret_key": "a secret key for benchmarks, long enough",
}
VISITORS = 100
"""Different visitors whose requests take turns."""

BROWSER = (
    ("host", HOST),
    ("connection", "keep-alive"),
    ("sec-ch-ua", '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"'),
    ("sec-ch-ua-mobile", "?0"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"),
    ("accept", "{accept}"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "{mode}"),
    ("sec-fetch-dest", "{destination}"),
    ("referer", f"https://{HOST}/account/orders"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
)
OTHER_COOKIES = "_ga=GA1.1.1283918465.1763300000; theme=dark"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]

JSON_BODY = json.dumps({"items": [{"sku": "A-1", "count": 2}, {"sku": "B-7", "count": 1}], "total": "49.90"}).encode()


def html_page(size: int) -> bytes:
    """A document of so many bytes, with a short head."""
    head = b"<!doctype html>\n<html lang=en>\n<head><meta charset=utf-8><title>Orders</title></head>\n<body>\n"
    tail = b"\n</body>\n</html>\n"
    line = b'<p class="order">An order of <b>two</b> things, sent on Monday.</p>\n'
    filling = size - len(head) - len(tail)
    return head + (line * (filling // len(line) + 1))[:filling] + tail


def chunks_of(body: bytes, count: int) -> list[bytes]:
    size = -(-len(body) // count)
    return [body[at : at + size] for at in range(0, len(body), size)]


def browser_headers(cookies: str, *, page: bool) -> list[tuple[str, str]]:
    """What Chromium sends for a page, or for a script's fetch."""
    said = {
        "accept": "text/html,application/xhtml+xml,*/*;q=0.8" if page else "*/*",
        "mode": "navigate" if page else "cors",
        "destination": "document" if page else "empty",
    }
    return [(name, value.format(**said)) for name, value in BROWSER] + [("cookie", cookies)]


def profile_of(number: int) -> dict[str, Any]:
    """What the bot may know of one visitor: four fields."""
    return {"name": "Ada Lovelace", "email": f"ada-{number}@example.com", "plan": "gold", "orders": number}


def scope_from(block: bytes, path: str, method: str = "GET", user: Any = None) -> dict[str, Any]:
    """A scope as servers make it: fresh bytes for each request. `user`: what an authentication put there."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [tuple(line.split(b": ", 1)) for line in block.split(b"\r\n")],
        "server": ("10.0.0.1", 443),
        "client": ("10.0.0.2", 51234),
        "state": {},
        "user": user,
    }


def block_of(headers: list[tuple[str, str]]) -> bytes:
    return b"\r\n".join(f"{name}: {value}".encode() for name, value in headers)


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    """A server that is infinitely fast."""


def json_app() -> ASGIApp:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(JSON_BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": JSON_BODY})

    return app


def html_app(chunks: list[bytes]) -> ASGIApp:
    length = b"%d" % sum(map(len, chunks))

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        last = len(chunks) - 1
        for number, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < last})

    return app


# Visitors with a chat --------------------------------------------------------------------------


async def profile(request: Any) -> dict[str, Any]:
    """A callable that has its answer ready."""
    return request["user"][1]  # type: ignore[no-any-return]


def identity(request: Any) -> tuple[str, int]:
    """Who, and a version."""
    return request["user"][0], 3


def profile_now(request: Any) -> dict[str, Any]:
    """The same for WSGI."""
    return request["wsgi.environ"]["site.user"][1]  # type: ignore[no-any-return]


def identity_now(request: Any) -> tuple[str, int]:
    return request["wsgi.environ"]["site.user"][0], 3


def user_of(number: int) -> tuple[str, dict[str, Any]]:
    return f"user-{number}", profile_of(number)


def wrapped(app: ASGIApp, **keywords: Any) -> ReveMiddleware:
    return ReveMiddleware(app, **{**KEYWORDS, "client": Webhook(), **keywords})


def wrapped_wsgi(app: Any, **keywords: Any) -> ReveWSGIMiddleware:
    return ReveWSGIMiddleware(app, **{**KEYWORDS, "client": Webhook(), **keywords})


async def captured(middleware: ReveMiddleware, number: int) -> str:
    """The cookies that a browser has when the widget has reported its chat, as a `Cookie` header."""
    body = json.dumps({"session_id": f"chat-{number}", "chatbot_id": "bot"}).encode()
    headers = browser_headers(OTHER_COOKIES, page=False)
    headers += [("content-type", "application/json"), ("origin", f"https://{HOST}"), ("x-reve-bridge", "1")]
    scope = scope_from(block_of(headers), "/_reve/session", "POST", user_of(number))
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await middleware(scope, receive, send)
    answer = json.loads(sent[1]["body"])
    if answer != {"status": "queued"}:
        raise SystemExit(f"a capture was answered {answer}")
    cookies = [value.partition(b";")[0] for name, value in sent[0]["headers"] if name == b"set-cookie"]
    return "; ".join([OTHER_COOKIES, *(cookie.decode() for cookie in cookies)])


def chats(count: int, **keywords: Any) -> list[str]:
    """`Cookie` headers of so many visitors with a chat and a mark; their profiles are delivered."""
    middleware = wrapped(json_app(), **keywords)

    async def all_of_them() -> list[str]:
        return [await captured(middleware, number) for number in range(count)]

    try:
        return asyncio.run(all_of_them())
    finally:
        middleware.close(30)
