"""The site of tests/server_bytes_site.py, bare, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
from server_bytes_answers import (
    ANSWERS,
    BODY,
    FAIL,
    HEAD,
    HTML,
    PAGE,
    PATIENCE,
    PIECE,
    TEXT,
    WAIT,
    Failure,
    Made,
    Wait,
    address,
    file_of,
    request_seen,
)  # fmt: skip


async def site(scope: Any, receive: Any, send: Any) -> None:
    kind = scope["type"]
    if kind == "lifespan":
        return await _lifespan(scope, receive, send)
    if kind == "websocket":
        return await _websocket(scope, receive, send)
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    if path == "/fails":
        raise Failure
    if path == "/echo":
        body = b"".join([chunk async for chunk in _body(receive)])
        return await _send(Made([HTML], (HEAD, str(len(body)).encode(), body[-20:])), send)
    if path == "/seen":
        return await _send(Made([TEXT], (request_seen(scope),)), send)
    if path == "/leave":
        return await _asgi_leave(query, receive, send)
    if path in ("/file", "/file-page"):
        return await _asgi_file(path, scope, send)
    if path in ("/hints", "/trailers", "/push"):
        return await _extra(path, scope, send)
    return await _send(ANSWERS.get(path, ANSWERS["/not-found"]), send, query, head=scope["method"] == "HEAD")


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if "state" in scope:
        scope["state"]["shop"] = "open"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Any) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _start(made: Made, **more: Any) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in made.all_headers()]
    return {"type": "http.response.start", "status": int(made.status[:3]), "headers": headers, **more}


async def _send(made: Made, send: Any, query: str = "", *, head: bool = False) -> None:
    await send(_start(made))
    steps = list(made.steps)
    chunks = [] if head else [step for step in steps if step is WAIT or step is FAIL or isinstance(step, bytes)]
    for number, step in enumerate(chunks):
        if isinstance(step, Failure):
            raise Failure
        if isinstance(step, Wait):
            async with await anyio.connect_tcp(*address(query)) as gate:
                with anyio.move_on_after(PATIENCE), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    await gate.receive(1)
        else:
            last = number == len(chunks) - 1 and made.length is None
            await send({"type": "http.response.body", "body": step, **({} if last else {"more_body": True})})
    if not chunks or made.length is not None:
        await send({"type": "http.response.body"})


async def _asgi_leave(query: str, receive: Any, send: Any) -> None:
    """Tells the test what becomes of a request whose visitor leaves."""
    await send(_start(Made([HTML], length=-1)))
    await send({"type": "http.response.body", "body": HEAD, "more_body": True})
    async with await anyio.connect_tcp(*address(query)) as gate:
        kinds = []
        with anyio.move_on_after(PATIENCE):
            while not kinds or kinds[-1] == "http.request":
                kinds.append((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": BODY})
            sent = "sent"
        except Exception as error:
            sent = type(error).__name__
        await gate.send(f"{kinds[-1:]} {sent}".encode())


async def _asgi_file(path: str, scope: Any, send: Any) -> None:
    handed = "http.response.pathsend" in scope.get("extensions", {}) and scope["method"] != "HEAD"
    made, file = file_of(path, handed=handed)
    await send(_start(made))
    if handed:
        await send({"type": "http.response.pathsend", "path": str(file)})
        return
    data = b"" if scope["method"] == "HEAD" else file.read_bytes()
    for at in range(0, max(len(data), 1), len(PIECE)):
        more = at + len(PIECE) < len(data)
        await send({"type": "http.response.body", "body": data[at : at + len(PIECE)], "more_body": more})


async def _extra(path: str, scope: Any, send: Any) -> None:
    """Early hints, a push, trailers: where the server knows of them."""
    known = scope.get("extensions", {})
    made = Made([HTML], length=-1)
    trailing = path == "/trailers" and "http.response.trailers" in known
    if path == "/hints" and "http.response.early_hint" in known:
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    if path == "/push" and "http.response.push" in known:
        await send({"type": "http.response.push", "path": "/json", "headers": [(b"x-way", b"bare")]})
    await send(_start(made, **({"trailers": True} if trailing else {})))
    await send({"type": "http.response.body", "body": PAGE})
    if trailing:
        headers = [(b"x-sum", b"1"), (b"x-sum", b"2")]
        await send({"type": "http.response.trailers", "headers": headers, "more_trailers": False})


async def _websocket(scope: Any, receive: Any, send: Any) -> None:
    """Echoes until it is told to end; refuses, with a page where the server lets it."""
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/fails":
        raise Failure
    if scope["path"] == "/refused":
        if "websocket.http.response" not in scope.get("extensions", {}):
            return await send({"type": "websocket.close"})
        start = {"status": 403, "headers": [(b"content-type", b"text/html"), (b"x-socket", b"1")]}
        await send({**start, "type": "websocket.http.response.start"})
        return await send({"type": "websocket.http.response.body", "body": PAGE})
    await send({"type": "websocket.accept", "subprotocol": None, "headers": [(b"x-socket", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "end":
            return await send({"type": "websocket.close", "code": 4001, "reason": "as you say"})
        echo = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
        await send({"type": "websocket.send", **echo})
    return None
