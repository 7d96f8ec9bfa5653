"""Pushes delivered to a local server: our sender, against what one would write instead.

The server is a process of its own that answers 204 at once. Each turn delivers so many pushes, one or fifty at a time,
over connections that are there already. CPU per push is this process's; pushes a second go by the clock. Ours counts
from the first offer to the last result, with the mailbox, the gate and the thread in it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import speed_site as site
from speed_loopback import webhook
from speed_offering import push_of, word
from speed_peers import has
from speed_rounds import Goal, Row, Spread, no_garbage_collection, order

from reve_middleware.sender import Sender
from reve_middleware.settings import Settings

PART = "delivery"
PATIENCE = 60.0
HEADERS = {"Authorization": "Bearer token-1", "Content-Type": "application/json; charset=utf-8"}
SHARED, THREADS, AIOHTTP = "one httpx.AsyncClient", "httpx.Client in threads", "aiohttp"
GOALS = {("CPU", 1, SHARED): Goal(1.05), ("pushes/s", 50, SHARED): Goal(6, at_least=True)}

Turn = Callable[[int], None]
"""Delivers so many pushes."""


def bodies(count: int) -> list[bytes]:
    return [push_of(word(number)).body for number in range(count)]


class Ours:
    """One sender for all turns; the chats are new ones each time."""

    def __init__(self, url: str, at_once: int) -> None:
        self._left = 0
        self._all_told = threading.Event()
        keywords = {**site.KEYWORDS, "webhook_url": url, "concurrency": at_once, "on_result": self._told}
        self._sender = Sender(Settings(keywords))
        self._number = 0

    def _told(self, result: Any) -> None:
        if result.outcome == "delivered":
            self._left -= 1
            if not self._left:
                self._all_told.set()

    def __call__(self, count: int) -> None:
        first, self._number = self._number, self._number + count
        self._left = count
        self._all_told.clear()
        for number in range(first, first + count):
            self._sender.offer(push_of(word(number)))
        if not self._all_told.wait(PATIENCE):
            raise SystemExit(f"{self._left} pushes were not delivered: {self._sender.stats()}")

    def close(self) -> None:
        self._sender.close()


def in_tasks(runner: asyncio.Runner, post: Callable[[bytes], Awaitable[None]], at_once: int) -> Turn:
    """So many tasks share one client."""

    async def deliver(count: int) -> None:
        waiting = iter(bodies(count))

        async def work() -> None:
            for body in waiting:
                await post(body)

        await asyncio.gather(*(work() for _ in range(at_once)))

    return lambda count: runner.run(deliver(count))


def shared_httpx(stack: AsyncExitStack, runner: asyncio.Runner, url: str, at_once: int) -> Turn:
    async def enter() -> httpx.AsyncClient:
        return await stack.enter_async_context(httpx.AsyncClient(trust_env=False))

    client = runner.run(enter())

    async def post(body: bytes) -> None:
        (await client.post(url, content=body, headers=HEADERS)).raise_for_status()

    return in_tasks(runner, post, at_once)


def shared_aiohttp(stack: AsyncExitStack, runner: asyncio.Runner, url: str, at_once: int) -> Turn:
    import aiohttp

    async def enter() -> aiohttp.ClientSession:
        return await stack.enter_async_context(aiohttp.ClientSession())

    client = runner.run(enter())

    async def post(body: bytes) -> None:
        async with client.post(url, data=body, headers=HEADERS) as response:
            response.raise_for_status()
            await response.read()

    return in_tasks(runner, post, at_once)


def threads(stack: ExitStack, url: str, at_once: int) -> Turn:
    """A client for each thread of a pool, as a task queue's worker would have it."""
    pool = stack.enter_context(ThreadPoolExecutor(at_once))
    local = threading.local()
    context = httpx.create_ssl_context(trust_env=False)  # takes its time, and need not be made for each

    def post(body: bytes) -> None:
        if not hasattr(local, "client"):
            local.client = httpx.Client(verify=context, trust_env=False)
        local.client.post(url, content=body, headers=HEADERS).raise_for_status()

    def deliver(count: int) -> None:
        for _ in pool.map(post, bodies(count)):
            pass

    return deliver


def measure(turns: dict[str, Turn], rounds: int, count: int, warm: int) -> dict[str, list[tuple[float, float]]]:
    """CPU microseconds for each push, and pushes a second, round by round."""
    for turn in turns.values():
        turn(warm)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in order(list(turns), number):
            with no_garbage_collection():
                wall, cpu = time.perf_counter_ns(), time.process_time_ns()
                turns[name](count)
                wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            taken[name].append((cpu / count / 1000, count / wall * 1e9))
    return taken


def run(*, quick: bool = False) -> list[Row]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    rows: list[Row] = []
    with webhook() as (host, port), asyncio.Runner() as runner, ExitStack() as stack:
        url = f"http://{host}:{port}/hook"
        clients = AsyncExitStack()
        stack.callback(lambda: runner.run(clients.aclose()))
        for at_once, count in ((1, 200), (50, 500)):
            ours = Ours(url, at_once)
            stack.callback(ours.close)
            turns: dict[str, Turn] = {"ours": ours, SHARED: shared_httpx(clients, runner, url, at_once)}
            turns[THREADS] = threads(stack, url, at_once)
            if has("aiohttp"):
                turns[AIOHTTP] = shared_aiohttp(clients, runner, url, at_once)
            taken = measure(turns, *((2, 10, 10) if quick else (15, count, count)))
            for column, unit in enumerate(("CPU", "pushes/s")):
                costs = {name: Spread.of(pair[column] for pair in taken[name]) for name in turns}
                rows += [
                    Row(
                        PART,
                        f"delivery, {at_once} at once, {'CPU per push' if unit == 'CPU' else unit}",
                        peer,
                        costs["ours"],
                        costs[peer],
                        "µs" if unit == "CPU" else "/s",
                        GOALS.get((unit, at_once, peer)),
                    )
                    for peer in turns
                    if peer != "ours"
                ]
    return rows
