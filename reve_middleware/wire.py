"""One connection on asyncio's own transports, as httpcore wants to be given one.

httpcore's own is anyio's, whose time limits, checks and pauses around each read and write cost more than HTTP itself.
Here nothing is bounded but the connecting: the sender has a deadline around the whole attempt.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import Self, cast

MOST_UNREAD = 65536
"""Bytes that are taken in before they are asked for; the rest is the kernel's."""
OTHER_ADDRESS_SECONDS = 0.25
"""When a host's next address is tried beside the one that does not answer yet (RFC 8305 §5)."""


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
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None) -> Self:
        # A name alone is raced for, since asyncio forgets the winner's socket if it is cancelled at that very moment.
        delay = None if _is_address(host) else OTHER_ADDRESS_SECONDS
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, host, port, ssl=tls, happy_eyeballs_delay=delay))[1]

    @property
    def is_quiet(self) -> bool:
        """While no answer is awaited: whoever speaks then, or leaves, is not asked again."""
        return not (self._has_ended or self._unread)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
