"""One connection, on the transports of the event loop that runs.

Nothing is bounded but the connecting, and how much is taken in unread: there is a deadline around the whole attempt.
"""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401  # what looks up a name would import it late, perhaps while somebody forks
import ipaddress
import socket
import ssl
from typing import Self, cast

MOST_UNREAD = 65536
"""Bytes that are taken in before they are asked for; the rest is the kernel's."""


class Wire(asyncio.Protocol):
    """A connection to one host."""

    _transport: asyncio.Transport
    _is_paused = False

    def __init__(self) -> None:
        self._unread = bytearray()
        self._has_ended = False
        self._fault: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Self:
        """Within so many seconds in all. Until one of the host's addresses is connected to, each has its share of them:
        one that does not answer must not keep the next from being tried. The handshake has all that is left, for it is
        several times as long. (`happy_eyeballs_delay` is asyncio's alone: uvloop does not know it, and Python 3.11
        forgets the winner's socket if it is cancelled at that very moment.)"""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        addresses = [host]
        if not _is_address(host):
            async with asyncio.timeout_at(until):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        sock = await _reach_one_of(addresses, port, until)
        async with asyncio.timeout_at(until):
            name = None if tls is None else host
            return (await loop.create_connection(cls, sock=sock, ssl=tls, server_hostname=name))[1]

    async def is_quiet(self) -> bool:
        """While no answer is awaited: whoever speaks then, or leaves, is not asked again."""
        for _ in range(2):  # the loop looks what has come in one round, and tells in the next
            await asyncio.sleep(0)
        return not (self._has_ended or self._unread)

    def write(self, data: bytes) -> None:
        """As a view, which shows nothing of it: in its debug mode asyncio logs a write that fails, with its frames."""
        self._transport.write(memoryview(data))

    async def read(self) -> bytes:
        """What has come, as soon as there is something; empty at the end."""
        if self._unread:
            await asyncio.sleep(0)  # or whoever floods us would stop the clock of the deadline
        while not self._unread:
            if self._fault is not None:
                raise ConnectionError from self._fault
            if self._has_ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = bytes(self._unread[:MOST_UNREAD])
        del self._unread[:MOST_UNREAD]
        if self._is_paused and len(self._unread) < MOST_UNREAD:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def aclose(self) -> None:
        self._transport.abort()
        await asyncio.sleep(0)  # it is closed in the loop's next round, and this may be the last

    # Called by the event loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) >= MOST_UNREAD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._has_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended, self._fault = True, exc
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


async def _reach_one_of(addresses: list[str], port: int, until: float) -> socket.socket:
    for left in range(len(addresses), 0, -1):
        try:
            async with asyncio.timeout((until - asyncio.get_running_loop().time()) / left):
                return await _reach(addresses[-left], port)
        except OSError:
            if left == 1:
                raise
    raise ConnectionError


async def _reach(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
