"""Clients that send a report a byte at a time, many at once, against a real server.

python security_slow.py ADDRESS COUNT SECONDS       such clients alone, in a process of their own; a line when all
                                                    of them have begun, and how each report ended at the end
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

HEAD = (
    b"POST /_reve/session HTTP/1.1\r\nHost: shop.example\r\nSec-Fetch-Site: same-origin\r\nX-Reve-Bridge: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2000\r\n\r\n"
)
BETWEEN = 1.0
"""Seconds between two bytes."""


class Slow:
    """So many clients at once; one whose report has ended begins another."""

    def __init__(self, address: Any, count: int) -> None:
        self._address = address
        self._count = count
        self.ended: Counter[int] = Counter()
        """How reports ended, by status; 0: without an answer."""

    async def attack(self, seconds: float, begun: Callable[[], None]) -> None:
        ready = asyncio.Barrier(self._count + 1)
        clients = [asyncio.ensure_future(self._client(ready)) for _ in range(self._count)]
        await ready.wait()
        begun()
        await asyncio.wait(clients, timeout=seconds)
        for client in clients:
            if client.done():
                client.result()  # which failed
            client.cancel()

    async def _client(self, ready: asyncio.Barrier) -> None:
        first = True
        while True:
            if isinstance(self._address, str):
                reader, writer = await asyncio.open_unix_connection(self._address)
            else:
                reader, writer = await asyncio.open_connection(*self._address)
            writer.write(HEAD)
            await writer.drain()
            if first:
                await ready.wait()
                first = False
            self.ended[await self._drip(reader, writer)] += 1
            writer.close()

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        answer = asyncio.ensure_future(reader.readline())
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait([answer], timeout=BETWEEN)
        line = answer.result() if answer.exception() is None else b""
        return int(line[9:12]) if line[9:12].isdigit() else 0


@contextmanager
def slow_clients(address: Any, count: int, seconds: float) -> Iterator[Callable[[], dict[str, int]]]:
    """In a process of their own, while the block lasts; then the function tells how their reports ended."""
    command = [sys.executable, __file__, json.dumps(address), str(count), str(seconds)]
    told: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            raise AssertionError("the slow clients did not begin")
        yield lambda: told
        told.update(json.loads(process.communicate()[0]))


class Pages:
    """An ordinary visitor, whose pages are timed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=20)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def times(self, count: int) -> list[float]:
        """Seconds that each of so many pages took."""
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            self._connection.request("GET", "/", headers={"Host": "shop.example"})
            answer = self._connection.getresponse()
            answer.read()
            found.append(time.perf_counter() - begun)
            assert answer.status == 200
        return found


def p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    slow = Slow(given if isinstance(given, str) else tuple(given), int(sys.argv[2]))
    asyncio.run(slow.attack(float(sys.argv[3]), lambda: print("begun", flush=True)))
    print(json.dumps(slow.ended))
