"""One connection to a webhook: httpcore, which httpx sends with, on an asyncio transport.

httpcore's own streams go through anyio, and send the head and the body of a request in a system call each. This one
sends both in one, and a push costs a third. Time is bounded from outside: by the deadline of the whole attempt, and
for the connecting here.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpcore

CONNECT_SECONDS = 3.0
KEEP_SECONDS = 5.0
"""How long a connection that is not used is kept; httpx's own measure."""
HAPPY_EYEBALLS_SECONDS = 0.25
"""How long one address of a host has a start over the next (RFC 8305 §8)."""
MOST_AHEAD = 64 * 1024
"""Bytes that are taken from the kernel before somebody asks for them."""
TIMEOUTS = {"timeout": {"connect": CONNECT_SECONDS}}


class Connection:
    """Connected when it is needed, and as long as it can be used; for one request at a time."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connection: Any = None

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        """The head of the answer; the caller closes it. Raises httpcore's exceptions, and OSError."""
        connection, origin = self._connection, request.url.origin
        usable = connection is not None and connection.can_handle_request(origin) and connection.is_available()
        if not usable or connection.has_expired():
            await self.close()
            connection = self._connection = await self._connect(origin)
        answer: httpcore.Response = await connection.handle_async_request(request)
        return answer

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _connect(self, origin: httpcore.Origin) -> Any:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):  # the loop of a worker of the site's, which may be uvloop's
            return httpcore.AsyncHTTPConnection(origin, self._context, KEEP_SECONDS)
        tls = self._context if origin.scheme == b"https" else None
        async with asyncio.timeout(CONNECT_SECONDS):
            _, wire = await loop.create_connection(
                _Wire, origin.host.decode("ascii"), origin.port, ssl=tls, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS
            )
        return httpcore.AsyncHTTP11Connection(origin, _Stream(wire), KEEP_SECONDS)


class _Wire(asyncio.Protocol):
    """What has come, and whether more may."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._come = bytearray()
        self._waiting: asyncio.Future[None] | None = None
        self._is_paused = False
        self._error: Exception | None = None
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._come += data
        if len(self._come) >= MOST_AHEAD and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._has_ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._has_ended = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def is_readable(self) -> bool:
        return self._has_ended or bool(self._come)

    async def read(self, most: int) -> bytes:
        """Up to so many bytes, when there are any; none where the other side has ended."""
        while not self._come:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return b""
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        data = bytes(self._come[:most])
        del self._come[:most]
        if self._is_paused and len(self._come) < MOST_AHEAD:
            self._is_paused = False
            self.transport.resume_reading()
        return data


class _Stream(httpcore.AsyncNetworkStream):
    """Sends what is written when an answer is awaited."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._written: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._written:
            self._wire.transport.write(b"".join(self._written))
            self._written.clear()
        return await self._wire.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._written.append(buffer)

    async def aclose(self) -> None:
        """At once: what has not been read by now is not wanted."""
        self._wire.transport.abort()
        await asyncio.sleep(0)  # the loop lets go of the socket

    def get_extra_info(self, info: str) -> Any:
        """Just what httpcore asks before it uses a connection again."""
        return self._wire.is_readable if info == "is_readable" else None
