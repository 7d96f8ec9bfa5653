"""The ASGI shell under trio: one call as in servers.py, and the `ShellKind` that makes it.

`seconds(…)` runs a function on a clock that jumps to the next deadline when everybody waits: nothing sleeps, and
what it returns was waited for to the moment.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from drive import ShellKind
from fakes import PATIENCE
from oracle import Sent, check_scope
from servers import Call, Reply, reply_of, scope_of
from trio.testing import MockClock


class TrioKind(ShellKind):
    """The ASGI shell, called by a server that runs trio."""

    def __init__(self) -> None:
        super().__init__("asgi")

    def __repr__(self) -> str:
        return "trio"

    def call(self, application: Any, call: Call) -> Reply:
        return call_trio(application, call)


def call_trio(app: Any, call: Call, *, lower: bool = True) -> Reply:
    """One request in a run of its own; raises what the application raises, `sent` on the exception."""
    scope = scope_of(call)
    check_scope(scope)
    sent = Sent(scope, lower=lower)
    trio.run(_within_patience, functools.partial(serve, app, scope, call.body, sent))
    return reply_of(sent.messages)


async def _within_patience(running: Callable[[], Awaitable[Any]]) -> None:
    with trio.fail_after(PATIENCE):
        await running()


async def serve(app: Any, scope: Any, body: bytes, sent: Sent) -> None:
    """A server's part of one request."""
    over = trio.Event()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()  # a server that waits for its socket
        sent.take(message)
        if sent.ended:
            over.set()

    try:
        await app(scope, receive, send)
    except BaseException as error:
        sent.close(whole=False)
        error.sent = sent.messages  # type: ignore[attr-defined]
        raise
    sent.close(whole=True)


def seconds(function: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """How long it takes by trio's clock, and its value."""

    async def main() -> tuple[float, Any]:
        began = trio.current_time()
        value = await function()
        return trio.current_time() - began, value

    took, value = trio.run(main, clock=MockClock(autojump_threshold=0))
    return round(took, 6), value
