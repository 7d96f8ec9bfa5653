"""Applications that send otherwise than one message after the other from the request's own task."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from asgiref.wsgi import WsgiToAsgi
from drive import HOST, PAGE, Call, call_asgi, scope_of
from hypercorn.middleware import AsyncioWSGIMiddleware
from test_asgi import BODY, HTML, REWRITTEN, START, asgi
from test_table import TAG, chat_cookie

__all__ = ["asgi"]

SIZED = {**START, "headers": [*HTML, (b"content-length", b"%d" % len(PAGE))]}
JSON = {**START, "headers": [(b"content-type", b"application/json")]}
VISITORS = {"stranger": "a=b", "known": chat_cookie()}


async def profile(request: Any) -> dict[str, int]:
    """One that needs the event loop, and makes the start wait."""
    asyncio.get_running_loop()
    await asyncio.sleep(0)
    return {"id": 1}


async def as_tasks(send: Any, messages: list[Any]) -> None:
    for message in messages:
        await asyncio.create_task(send(message))


async def in_a_group(send: Any, messages: list[Any]) -> None:
    for message in messages:
        async with anyio.create_task_group() as group:
            group.start_soon(send, message)


async def at_once(send: Any, messages: list[Any]) -> None:
    await asyncio.gather(*map(send, messages))


async def one_ahead(send: Any, messages: list[Any]) -> None:
    """Each is begun before the one before it is over."""
    tasks = []
    for message in messages:
        tasks.append(asyncio.ensure_future(send(message)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


async def from_a_thread(send: Any, messages: list[Any]) -> None:
    loop = asyncio.get_running_loop()

    def work() -> None:
        for message in messages:
            asyncio.run_coroutine_threadsafe(send(message), loop).result()

    await asyncio.to_thread(work)


WAYS = [as_tasks, in_a_group, at_once, one_ahead, from_a_thread]


@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("start", [SIZED, START, JSON], ids=["page with length", "page", "JSON"])
@pytest.mark.parametrize("cut", [0, 9, 40], ids=["whole", "before the head", "behind the head"])
@pytest.mark.parametrize("way", WAYS)
def test_however_messages_are_sent_they_arrive_in_order(
    asgi: Any, way: Callable[[Any, list[Any]], Awaitable[None]], cut: int, start: Any, visitor: str
) -> None:
    """A message may be sent by a task of its own, or by a thread; none overtakes another, and none is lost."""
    parts = [{"type": "http.response.body", "body": PAGE[:cut], "more_body": True}] * bool(cut)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await way(send, [start, *parts, {"type": "http.response.body", "body": PAGE[cut:]}])

    headers = [("Host", HOST), ("Cookie", VISITORS[visitor])]
    reply = call_asgi(asgi.wrap(app, profile=profile), Call(headers=headers))
    assert reply.body == (PAGE if start is JSON else REWRITTEN)
    assert list(reply.cookies) == ["__Host-reve-mark"] * (visitor == "known")


@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("carrier", [AsyncioWSGIMiddleware, WsgiToAsgi])
def test_a_wsgi_application_carried_by_others(asgi: Any, carrier: Any, visitor: str) -> None:
    """Hypercorn's adapter calls `send` in a thread, where no event loop is; asgiref's warns of what is no coroutine
    function."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
        return [PAGE]

    headers = [("Host", HOST), ("Cookie", VISITORS[visitor])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reply = call_asgi(asgi.wrap(carrier(app), profile=profile), Call(headers=headers))
    assert reply.body == REWRITTEN
    assert list(reply.cookies) == ["__Host-reve-mark"] * (visitor == "known")


class SlowServer:
    """Takes a message, and lets its sender wait until the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.taken: list[Any] = []

    async def send(self, message: Any) -> None:
        self.taken.append(message)
        await self.gate.wait()

    @property
    def body(self) -> bytes:
        assert [message["type"].endswith("start") for message in self.taken] == [True] + [False] * (len(self.taken) - 1)
        return b"".join(message["body"] for message in self.taken[1:])


def test_a_send_that_is_cancelled_takes_nothing_along(asgi: Any) -> None:
    """An application that gives up one message and sends the next has lost none of those before."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(SIZED)
        task = asyncio.create_task(send({"type": "http.response.body", "body": PAGE[:40], "more_body": True}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        server.gate.set()
        await send({"type": "http.response.body", "body": PAGE[40:]})

    async def run() -> SlowServer:
        nonlocal server
        server = SlowServer()
        await asgi.wrap(app)(scope_of(Call()), None, server.send)
        return server

    server: Any = None
    assert asyncio.run(run()).body == REWRITTEN


def test_a_start_that_is_given_up_is_followed_by_another(asgi: Any) -> None:
    """Where a profile takes longer than the application has patience for its own start, its error page goes out."""
    error = {**START, "status": 504, "headers": []}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.create_task(send(START))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await send(error)
        await send(BODY)

    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    headers = [("Host", HOST), ("Cookie", chat_cookie())]
    reply = call_asgi(asgi.wrap(app, profile=never), Call(headers=headers))
    assert (reply.status, reply.body) == (504, PAGE)


def test_what_a_task_still_sends_when_the_application_returns(asgi: Any) -> None:
    """An application that leaves the last message to a task has it sent once."""
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(SIZED)
        tasks.append(asyncio.create_task(send(BODY)))
        await asyncio.sleep(0)

    async def run() -> SlowServer:
        server = SlowServer()
        await asgi.wrap(app)(scope_of(Call()), None, server.send)
        server.gate.set()
        await tasks[0]
        return server

    assert asyncio.run(run()).body == REWRITTEN


def test_one_site_after_another_is_asked_with_one_scope(asgi: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks one application, and another where the first has no such page, asks both with the same scope: the layer
    around the first is over then, and the second is not inside it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(SIZED)
        await send(BODY)

    async def unheard(message: Any) -> None: ...

    first, second = asgi.wrap(app, inject=False), asgi.wrap(app)

    async def cascade(scope: Any, receive: Any, send: Any) -> None:
        await first(scope, receive, unheard)
        await second(scope, receive, send)

    assert call_asgi(cascade, Call()).body.count(TAG) == 1
    assert caplog.records == []
