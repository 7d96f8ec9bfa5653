"""A bot's webhook without a socket: pass the object itself as `client=`.

    webhook = Webhook()
    middleware = ReveMiddleware(app, client=webhook, …)
    webhook.wait_for(1)[0].data == {"name": "Ada"}

It answers 204, or what stands in `answers`, first come first served: a status, a pair (status, headers), or an
exception to raise. `hold()` lets nobody have an answer until `release()`.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

PATIENCE = 20.0
"""Seconds after which a test that waits has failed; none waits that long when all is well."""

Answer = int | tuple[int, dict[str, str]] | BaseException


class Posted(NamedTuple):
    """One request to the webhook."""

    url: str
    body: bytes
    headers: httpx.Headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def chat(self) -> tuple[str, str]:
        return self.json["botId"], self.json["sessionId"]

    @property
    def data(self) -> Any:
        return self.json["data"]


class Webhook:
    """Every request is recorded when it comes, before it is answered. Calling it makes a client."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: deque[Answer] = deque(answers)
        self.posts: list[Posted] = []
        self.open_clients = 0
        self._changed = threading.Condition()
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] | None = None

    def __call__(self) -> "Client":
        self.open_clients += 1
        return Client(self)

    def wait_for(self, count: int) -> list[Posted]:
        """The posts, as soon as there are `count` of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.posts) >= count, PATIENCE):
                raise AssertionError(f"{len(self.posts)} pushes came, not {count}")
            return list(self.posts)

    def hold(self) -> None:
        with self._changed:
            self._held = []

    def release(self) -> None:
        with self._changed:
            held, self._held = self._held or [], None
        for loop, event in held:
            loop.call_soon_threadsafe(event.set)

    async def answer(self, posted: Posted) -> tuple[int, dict[str, str]]:
        event = asyncio.Event()
        with self._changed:
            self.posts.append(posted)
            self._changed.notify_all()
            answer = self.answers.popleft() if self.answers else 204
            if self._held is None:
                event.set()
            else:
                self._held.append((asyncio.get_running_loop(), event))
        await event.wait()
        if isinstance(answer, BaseException):
            raise answer
        return (answer, {}) if isinstance(answer, int) else answer


class Response(NamedTuple):
    status_code: int
    headers: httpx.Headers

    async def aiter_raw(self) -> AsyncGenerator[bytes, None]:
        yield b""


class Client:
    """As much of an `httpx.AsyncClient` as the sender uses."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: dict[str, str],
        auth: httpx.Auth,
        follow_redirects: bool,
    ) -> AsyncIterator[Response]:
        assert method == "POST"
        assert follow_redirects is False
        request = next(auth.sync_auth_flow(httpx.Request(method, url, content=content, headers=headers)))
        status, answered = await self._webhook.answer(Posted(str(request.url), content, request.headers))
        yield Response(status, httpx.Headers(answered))

    async def aclose(self) -> None:
        self._webhook.open_clients -= 1
