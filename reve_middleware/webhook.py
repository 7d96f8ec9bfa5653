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
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import h11
import httpx

from .outcome import Outcome, judge, judge_exception
from .wire import Wire

if TYPE_CHECKING:
    from .bot import Bot

READ_AFTER_STATUS_SECONDS = 1.0
READ_AFTER_STATUS_BYTES = 4096
CONNECT_SECONDS = 3.0
"""With the handshake. The deadline of the whole attempt bounds the rest."""
MOST_OF_A_HEAD = 100 * 1024
"""Bytes of an answer's head, as in httpx."""
AT_ONCE_SECONDS = 1.0
"""A connection that ends within them was over; later, somebody may have been at work on the push."""
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


Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""


class Answer(NamedTuple):
    """What of a response is looked at, as httpx calls it."""

    status_code: int
    headers: httpx.Headers
    aiter_raw: Callable[[], AsyncIterator[bytes]]


class OwnClient:
    """What sends where `client=` brings nothing: one connection, and h11, which is what httpx itself speaks HTTP with.
    All that httpx puts around it (a pool, cookies, redirects, proxies, logs, and what error trackers and tracers hang
    on to) is not wanted here."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._wire: Wire | None = None
        self._to: Origin | None = None
        self._http: h11.Connection
        self._until = 0.0
        """When the connection has been idle for too long (seconds of the event loop)."""

    @contextlib.asynccontextmanager
    async def post(self, link: str, body: bytes, token: str) -> AsyncIterator[Answer]:
        origin, host, path = _target(link)
        headers = [
            (b"Host", host),
            *RAW_HEADERS,
            (b"Authorization", b"Bearer " + token.encode("ascii")),
            (b"Content-Length", b"%d" % len(body)),
        ]
        request = h11.Request(method=b"POST", target=path, headers=headers)
        try:
            head = await self._head(origin, [request, h11.Data(data=body), h11.EndOfMessage()])
            yield Answer(head.status_code, httpx.Headers(head.headers.raw_items()), self._body)
        finally:
            await self._end()

    async def _head(self, origin: Origin, events: list[h11.Event]) -> h11.Response:
        """Send, and wait for the head of the answer. A connection that was used before and ends without a word had been
        over before the push came: that goes out once more, on a new one (RFC 9110 §9.2.2: a client may, where it knows
        that the same may be said twice)."""
        began = asyncio.get_running_loop().time()
        is_old = await self._connect(origin)
        try:
            return await self._ask(events)
        except (ConnectionError, h11.RemoteProtocolError):
            late = asyncio.get_running_loop().time() - began > AT_ONCE_SECONDS
            if not is_old or late or self._http.trailing_data[0]:
                raise
        await self.aclose()
        await self._connect(origin)
        return await self._ask(events)

    async def _ask(self, events: list[h11.Event]) -> h11.Response:
        assert self._wire is not None  # noqa: S101
        self._wire.write(b"".join(self._http.send(event) or b"" for event in events))
        while isinstance(head := await self._next(), h11.InformationalResponse):
            pass
        return head  # type: ignore[no-any-return]

    async def _end(self) -> None:
        """Keep the connection if it can be used again."""
        if self._wire is None:
            return
        is_over = self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        if is_over and not self._http.trailing_data[0]:  # what else was said would be the next push's answer
            self._http.start_next_cycle()
            self._until = asyncio.get_running_loop().time() + IDLE_SECONDS
        else:
            await self.aclose()

    async def _connect(self, origin: Origin) -> bool:
        """Have a connection: True where it is the one that was used before, which can be used again."""
        if self._wire is not None:
            if self._to == origin and asyncio.get_running_loop().time() < self._until and await self._wire.is_quiet():
                return True
            await self.aclose()
        scheme, host, port = origin
        self._wire = await Wire.connect(host, port, self._context if scheme == "https" else None, CONNECT_SECONDS)
        self._to = origin
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_OF_A_HEAD)
        return False

    async def _next(self) -> Any:
        """The next event of the answer."""
        assert self._wire is not None  # noqa: S101
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._wire.read())
        return event

    async def _body(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.aclose()


@lru_cache(16)
def _parts(link: str) -> tuple[httpx.URL, bytes]:
    """Origin and path of a link."""
    url = httpx.URL(link)
    return url.copy_with(raw_path=b"/"), url.raw_path


@lru_cache(16)
def _target(link: str) -> tuple[Origin, bytes, bytes]:
    """Of a link: where to connect, the header `Host`, and the path."""
    url = httpx.URL(link)
    port = url.port or (443 if url.scheme == "https" else 80)
    return (url.scheme, url.raw_host.decode("ascii"), port), url.netloc, url.raw_path


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
        """Let httpx import what it imports late, with its first certificates. A process that is forked in the middle of
        that could never import it."""
        if self._factory == self._default:
            self.give_back(self._default())

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
