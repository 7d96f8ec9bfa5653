"""One attempt over HTTP -> Outcome.

The only file that knows httpx. No exception of httpx leaves it, and neither URL, token, header nor
body reaches a log or a traceback: httpx logs whole URLs, and its exceptions carry whole requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import httpcore
import httpx

from .wire import Wire

if TYPE_CHECKING:
    from .bot import Bot

READ_AFTER_STATUS_SECONDS = 1.0
READ_AFTER_STATUS_BYTES = 4096
CONNECT_SECONDS = 3.0
"""With the handshake. The deadline of the whole attempt bounds the rest."""
IDLE_SECONDS = 5.0
"""How long a connection is kept for the next push: as httpx does, and less than most servers keep one."""
HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "reve-middleware",
}
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
HTTP_LOGGERS = tuple(
    name
    for two in ("", "2")  # httpx2 is httpx under another name: client= may bring it
    for name in (
        f"httpx{two}",
        f"httpcore{two}",
        *(f"httpcore{two}.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
    )
)
TLS_FAULTS = (ssl.SSLError, ssl.SSLCertVerificationError)
"""Just these: their other subclasses say that bytes are awaited, or that the connection ended, and stand in the
context of every time-out over TLS."""


class Outcome(NamedTuple):
    """What one attempt came to."""

    kind: str
    """"delivered", "again" (network, 408, 429, 5xx), "token" (401, 403), "hold" (3xx, 410, TLS) or
    "refused" (another 4xx)."""
    reason: str
    """A code for logs and metrics: "status_503", "timeout", "network", "tls" …"""
    status: int | None = None
    retry_after: float | None = None
    """Seconds the server asks us to wait."""


def judge(status: int, retry_after: str | None, now: datetime) -> Outcome:
    """The outcome that a status line decides (REVE.md: any 2xx is success)."""
    reason = f"status_{status}"
    if 200 <= status < 300:
        return Outcome("delivered", reason, status)
    if status in (401, 403):
        return Outcome("token", reason, status)
    if status in (408, 429) or status >= 500:
        return Outcome("again", reason, status, parse_retry_after(retry_after, now))
    if status < 400 or status == 410:
        return Outcome("hold", reason, status)
    return Outcome("refused", reason, status)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110 §10.2.3); None for anything else."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 10:
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = (when - now).total_seconds()
    return seconds if seconds > 0 else None


def judge_exception(error: BaseException) -> Outcome:
    """The outcome of an attempt that ended before a status line."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        if type(seen) in TLS_FAULTS:
            return Outcome("hold", "tls")
        seen = seen.__cause__ or seen.__context__
    names = {kind.__name__ for kind in type(error).__mro__}  # by name: httpx2 has the same classes, and others
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"}:
        return Outcome("hold", "request")
    if names & {"TimeoutError", "TimeoutException"}:
        return Outcome("again", "timeout")
    return Outcome("again", "network")


class Secrets(httpx.Auth):
    """The token and the path of the link. They go in when the request is on its way: error trackers and tracers take
    down each request's URL where it begins, and find the host alone."""

    def __init__(self, token: str, link: str) -> None:
        origin, self.__path = _parts(link)
        self.origin = str(origin)
        self.__token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield self(request)

    def __call__(self, request: Any) -> Any:  # httpx2, which does not know httpx's classes, takes a callable
        request.headers["Authorization"] = f"Bearer {self.__token}"
        request.url = request.url.copy_with(raw_path=self.__path)
        return request


class Answer(NamedTuple):
    """What of a response is looked at, as httpx calls it."""

    status_code: int
    headers: httpx.Headers
    aiter_raw: Callable[[], AsyncIterator[bytes]]


class OwnClient:
    """What sends where `client=` brings nothing: one connection of httpcore's, which is what httpx itself sends with.
    All that httpx puts around it (a pool, cookies, redirects, proxies, logs, and what error trackers and tracers hang
    on to) is not wanted here."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connection: httpcore.AsyncHTTP11Connection | None = None

    @contextlib.asynccontextmanager
    async def post(self, link: str, body: bytes, token: str) -> AsyncIterator[Answer]:
        url, host = _target(link)
        headers = [
            (b"Host", host),
            *RAW_HEADERS,
            (b"Authorization", b"Bearer " + token.encode("ascii")),
            (b"Content-Length", b"%d" % len(body)),
        ]
        connection = await self._connected(url.origin)
        response = await connection.handle_async_request(httpcore.Request(b"POST", url, headers=headers, content=body))
        try:
            yield Answer(response.status, httpx.Headers(response.headers), response.aiter_stream)
        finally:
            await response.aclose()

    async def _connected(self, origin: httpcore.Origin) -> httpcore.AsyncHTTP11Connection:
        """The connection there is, if it can be used again; else a new one."""
        old = self._connection
        if old is not None:
            if old.can_handle_request(origin) and old.is_available() and not old.has_expired():
                return old
            await self.aclose()
        async with asyncio.timeout(CONNECT_SECONDS):
            context = self._context if origin.scheme == b"https" else None
            stream = await _Stream.connect(origin.host.decode("ascii"), origin.port, context)
        self._connection = httpcore.AsyncHTTP11Connection(origin, stream, IDLE_SECONDS)
        return self._connection

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


class _Stream(Wire, httpcore.AsyncNetworkStream):
    """A wire is all that httpcore asks of a stream."""


@lru_cache(16)
def _parts(link: str) -> tuple[httpx.URL, bytes]:
    """Origin and path of a link."""
    url = httpx.URL(link)
    return url.copy_with(raw_path=b"/"), url.raw_path


@lru_cache(16)
def _target(link: str) -> tuple[httpcore.URL, bytes]:
    """A link as httpcore takes it, and the header `Host`."""
    url = httpx.URL(link)
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path), url.netloc


class Clients:
    """One connection for each slot of the sender: httpx's shared pool slows down when many use it."""

    def __init__(self, factory: Callable[[], Any] | None) -> None:
        """`factory`: makes a ready client with httpx's interface; None: an OwnClient."""
        self._factory = factory or self._default
        self._context: ssl.SSLContext | None = None
        self._idle: list[Any] = []

    def _default(self) -> OwnClient:
        if self._context is None:
            self._context = httpx.create_ssl_context(trust_env=False)
            self._context.set_alpn_protocols(["http/1.1"])
        return OwnClient(self._context)

    def take(self) -> Any:
        return self._idle.pop() if self._idle else self._factory()

    def give_back(self, client: Any) -> None:
        self._idle.append(client)

    async def warm_up(self) -> None:
        """Let httpx import what it imports with its first request. A process that is forked in the middle of that
        could never import it."""
        if self._factory == self._default:
            self.give_back(self._default())
            stream = httpcore.AsyncMockStream([b"HTTP/1.1 204 No Content\r\n\r\n"])
            async with httpcore.AsyncHTTP11Connection(httpcore.Origin(b"http", b"nowhere", 80), stream) as connection:
                await connection.request(b"POST", b"http://nowhere/", content=b"")

    async def close(self) -> None:
        while self._idle:
            with contextlib.suppress(Exception):
                await self._idle.pop().aclose()


async def attempt(client: Any, bot: Bot, endpoint: str | None, body: bytes, token: str, seconds: float) -> Outcome:
    """POST `body` once, within `seconds` in all. Never raises but for its own cancellation."""
    outcome: Outcome | None = None
    try:
        link = bot.url(endpoint)
        answer = client.post(link, body, token) if isinstance(client, OwnClient) else _stream(client, link, body, token)
        async with asyncio.timeout(seconds), answer as response:
            outcome = judge(response.status_code, response.headers.get("Retry-After"), datetime.now(UTC))
            await _read_a_little(response.aiter_raw())
    except Exception as error:
        return outcome or judge_exception(error)
    return outcome


def _stream(client: Any, link: str, body: bytes, token: str) -> Any:
    secrets = Secrets(token, link)
    return client.stream("POST", secrets.origin, content=body, headers=HEADERS, auth=secrets, follow_redirects=False)


async def _read_a_little(chunks: Any) -> None:
    """What follows the status line, so that the connection can be used again; if it is short."""
    size = 0
    try:
        async with asyncio.timeout(READ_AFTER_STATUS_SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size > READ_AFTER_STATUS_BYTES:
                    return
    except TimeoutError:
        return
    finally:
        await chunks.aclose()


class _OnlyOthers(logging.Filter):
    """Lets pass what others log, in other threads and other tasks: the application may use httpx too."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = threading.local()
        self.tasks: ContextVar[bool] = ContextVar("reve_middleware_quietly", default=False)

    def filter(self, record: logging.LogRecord) -> bool:
        return not (self.tasks.get() or getattr(self.threads, "ours", False))


_only_others = _OnlyOthers()


def keep_quiet() -> None:
    """From now on the HTTP client logs nothing in this thread. Filters are not inherited, so each
    of its loggers gets one."""
    _only_others.threads.ours = True
    _install()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Meanwhile the HTTP client logs nothing in this task, whatever others of its thread do."""
    _install()
    token = _only_others.tasks.set(True)
    try:
        yield
    finally:
        _only_others.tasks.reset(token)


def _install() -> None:
    for name in HTTP_LOGGERS:
        logger = logging.getLogger(name)
        if _only_others not in logger.filters:
            logger.addFilter(_only_others)
