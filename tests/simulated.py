"""Delivery in simulated time: ten minutes of outage in seconds.

The sender, its mailbox, gates, thread and event loop, httpx and the sockets on loopback are the real ones. Only the
clock is not: it is passed to the sender, the event loop of its thread goes by it as well, and it jumps to the next
timer as soon as no byte moves. The webhook answers in the same event loop, so that its own time is simulated too.

    with Simulation() as world:
        webhook = Webhook(world, answer=lambda request: 204, seconds=0.2)
        world.at(600.0, webhook.listen)
        world.run(settings(webhook.url), [(0.0, push(…)), …])
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from faults import PATIENCE, answer_bytes

from reve_middleware import delivery
from reve_middleware.push import Push
from reve_middleware.sender import Sender
from reve_middleware.settings import Settings

BYTES_COME = 2.0
"""Real seconds in which the kernel brings what is on its way; it takes microseconds on an idle machine."""


class Request(NamedTuple):
    """One request that came to a simulated webhook."""

    at: float
    """Simulated seconds."""
    at_once: int
    """How many were under way then, this one included."""
    body: bytes
    token: str
    status: int | None
    """Of the answer; None for a reset."""


class Loop(delivery._Loop):
    """Its clock is the world's, and jumps while no byte moves."""

    def __init__(self, world: Simulation, **keywords: Any) -> None:
        self._world = world
        super().__init__(**keywords)
        self._really_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]
        for at, function in world.script:
            self.call_at(at, self._perform, function)
        for webhook in world.webhooks:
            if webhook.listens:
                self.call_soon(webhook.listen)

    def close(self) -> None:
        for webhook in self._world.webhooks:
            webhook.end()
        super().close()

    def time(self) -> float:
        return self._world.now

    def _select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = self._really_select(0)
        if ready or timeout == 0:
            return ready
        if self._world.bytes_move():
            ready = self._really_select(BYTES_COME)
        if not ready and timeout is not None:
            self._world.now += timeout
        return ready

    def _perform(self, function: Callable[[], Any]) -> None:
        self._world.performed += 1
        function()


class Steered(Sender):
    """A sender that does not end while the script goes on."""

    world: Simulation

    def may_end(self, run: delivery.Run) -> bool:
        return self.world.performed == len(self.world.script) and super().may_end(run)


class Simulation:
    """The world of one sender: its clock, its webhooks, and what happens when."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.webhooks: list[Webhook] = []
        self.script: list[tuple[float, Callable[[], Any]]] = []
        self.performed = 0
        self.sender: Steered | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Simulation:
        for name, value in (("_Loop", lambda **keywords: Loop(self, **keywords)), ("_random", self.random)):
            self._stack.callback(setattr, delivery, name, getattr(delivery, name))
            setattr(delivery, name, value)
        return self

    def __exit__(self, *_: object) -> None:
        for webhook in self.webhooks:
            webhook.sock.close()
        self._stack.close()

    def at(self, when: float, function: Callable[[], Any]) -> None:
        """Call `function` in the sender's event loop; only before `run`."""
        self.script.append((when, function))

    def bytes_move(self) -> bool:
        """Is an attempt under way that the webhook does not have before it?"""
        run = self.sender._run if self.sender is not None else None
        return run is not None and len(run._tasks) > sum(webhook.at_once for webhook in self.webhooks)

    def run(self, settings: Settings, offers: Iterable[tuple[float, Push]] = ()) -> Sender:
        """Let it all happen until nothing more is to do; the sender, for its books."""
        sender = self.sender = Steered(settings, lambda: self.now)
        sender.world = self
        for when, push in offers:
            self.at(when, lambda push=push: sender.offer(push))  # type: ignore[misc]
        self.script.sort(key=lambda item: item[0])
        sender._wake()
        run = sender._run
        assert run is not None
        if not run.ended.wait(4 * PATIENCE):
            raise AssertionError(f"it goes on and on: {self.now:.0f} s, {sender.stats()}")
        return sender


class Webhook:
    """A webhook in the sender's own event loop; refuses connections until `listen`."""

    def __init__(
        self,
        world: Simulation,
        answer: Callable[[Webhook], int | bytes | None] = lambda webhook: 204,
        seconds: float = 0.0,
        *,
        listens: bool = True,
    ) -> None:
        """`answer`: a status, a whole answer, or None for a reset; asked when a request is there. `seconds`: how long
        each answer takes. `listens`: from the beginning."""
        self.answer = answer
        self.seconds = seconds
        self.listens = listens
        self.requests: list[Request] = []
        self.at_once = 0
        self.accepts: Callable[[], bool] = lambda: True
        """Is this connection accepted, or reset at once?"""
        self.body = b""
        """Of the request that is being answered."""
        self.token = ""
        self.world = world
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/hook"
        self._starting: asyncio.Task[asyncio.Server] | None = None
        world.webhooks.append(self)

    def listen(self) -> None:
        """From now on, for whatever `answer` says."""
        self.listens = True
        self._starting = asyncio.ensure_future(asyncio.start_server(self._serve, sock=self.sock.dup()))

    def end(self) -> None:
        """The event loop ends; another may follow."""
        if self._starting is not None:
            self._starting.result().close()
            self._starting = None

    def delivered(self) -> list[bytes]:
        """The bodies that were answered with 2xx, in order."""
        return [one.body for one in self.requests if one.status in (200, 204)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.accepts():
                reset(writer)
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()
        except asyncio.CancelledError:  # the end
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().strip().split(b"\r\n")[1:])
        self.body = await reader.readexactly(int(fields[b"content-length"]))
        self.token = fields[b"authorization"].removeprefix(b"bearer ").decode()
        self.at_once += 1
        try:
            answer = self.answer(self)
            whole = answer_bytes(answer) if isinstance(answer, int) else answer
            status = int(whole.split()[1]) if whole is not None else None
            self.requests.append(Request(self.world.now, self.at_once, self.body, self.token, status))
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if whole is None:
            reset(writer)
        else:
            writer.write(whole)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
