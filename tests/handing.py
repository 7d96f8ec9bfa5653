"""Task queues for the tests of `handoff=`: one that takes what it is given, and two that never answer."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from drive import ShellKind, Visitor
from fakes import PATIENCE
from shop import Shop

from reve_middleware import handoff
from reve_middleware.handoff import HandOff
from reve_middleware.notes import Notes
from reve_middleware.push import Push
from reve_middleware.threads import DaemonThreads

AGAIN = "the push is offered again with the next response"
_numbers = itertools.count()


class Queue:
    """A site's task queue; `down` holds what it raises."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.threads: list[str] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.down: BaseException | None = None
        self.calls = 0

    def put(self, task: dict[str, Any]) -> str:
        self.calls += 1
        self.threads.append(threading.current_thread().name)
        if self.down is not None:
            raise self.down
        self.tasks.append(task)
        return "an id"

    async def __call__(self, task: dict[str, Any]) -> str:
        self.loops.append(asyncio.get_running_loop())
        return self.put(task)


FORMS: dict[str, Callable[[Any], Any]] = {
    "an async function": lambda queue: queue.__call__,
    "an object that is called": lambda queue: queue,
    "a partial": lambda queue: functools.partial(queue),
    "a function that returns a coroutine": lambda queue: lambda task: queue(task),
}
"""What `handoff=` may be under ASGI, beside a plain function."""


class Stuck:
    """A broker that does not answer before it is let go."""

    def __init__(self) -> None:
        self.entered, self.free = threading.Event(), threading.Event()
        self.handed: list[str] = []
        self.down: Exception | None = None

    def __call__(self, task: dict[str, Any]) -> None:
        self.entered.set()
        assert self.free.wait(PATIENCE)
        if self.down is not None:
            raise self.down
        self.handed.append(task["session_id"])


class Never:
    """An async one that never answers."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, task: dict[str, Any]) -> None:
        self.calls += 1
        await asyncio.get_running_loop().create_future()


class Settling:
    """Threads of ours for one test, and a wait until each has ended what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._renew()

    def _renew(self) -> None:
        self._name = f"settling {next(_numbers)}"
        threads = DaemonThreads(self._name, 8)
        threads.prepare()
        self._monkeypatch.setattr(handoff, "_threads", threads)

    def __call__(self) -> None:
        handoff._threads.end()
        for thread in threading.enumerate():
            if thread.name == self._name:
                thread.join(PATIENCE / 2)
                assert not thread.is_alive()
        self._renew()


def hand_off_to(callable_: Any) -> HandOff:
    return HandOff(callable_, Notes())


def offered(hand_off: HandOff, push: Push) -> str:
    """The answer under ASGI."""
    return asyncio.run(hand_off.offer_async(push)).status


def logged_in(shell: ShellKind, **keywords: Any) -> Visitor:
    visitor = Shop().visitor(shell, **keywords)
    visitor.get("/login?user=ada")
    return visitor
