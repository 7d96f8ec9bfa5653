"""The ASGI shell: scope and messages <-> the core.

Looks at nothing before the response starts, but for its own path. The scope is not copied, no task is
made around the application, and what is not a page of ours passes as the same objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, TypeAlias

from starlette.requests import Request as StarletteRequest

from . import bridge, capture
from .concurrency import forever, is_stray, time_limit
from .exchange import Outgoing
from .inject import GROWING, HeadFinder, with_tag
from .messages import (
    Answer,
    Ask,
    BodyFault,
    Discard,
    Headers,
    LookedUp,
    LookUp,
    Offer,
    Pending,
    ReadBody,
    Start,
    Verb,
)
from .quiet import NOTHING_ASKED
from .scope import Message, Scope, is_plain, look_up_scope, may_be_page, request_of
from .shell import Shell, now_in_microseconds
from .visitor import KEY, Visit, current_visit

Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]

AMBIGUOUS = b""
"""Stands for two `Cookie` headers with our names in them."""


class ReveMiddleware(Shell):
    """Wraps an ASGI application: `app = ReveMiddleware(app, webhook_url=…, token=…, …)`.

    Keywords: see the README's table. Raises `SettingsError` where one is missing or wrong.
    """

    protocol = "ASGI"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                send = self._flush_at_shutdown(send)
                self._begin()
            return await self.app(scope, receive, send)
        if KEY in scope or ("wsgi_environ" in scope and KEY in scope["wsgi_environ"]):  # (which a2wsgi puts there)
            if not self._stands_down:
                self._stand_down(scope.get(KEY))
            return await self.app(scope, receive, send)  # a layer of ours is outside: this one stands down
        if not self._begun:
            self._begin()
        path, headers = scope["path"], scope.get("headers", ())  # a hand-made scope may have none
        if type(headers) is not list and not isinstance(headers, (list, tuple)):  # the application reads them, too
            headers = scope["headers"] = [tuple(pair) for pair in headers]
        if self._within in path:
            answer = await self._own(scope, receive)
            if answer is not None:
                return await _send(answer, send)

        cookie: bytes | None = None
        for name, value in headers:
            if name == b"cookie" and self._ids_cookie in value:
                cookie = value if cookie is None else AMBIGUOUS
        began = 0 if cookie is None else now_in_microseconds()
        visit = scope[KEY] = Visit(self._core, scope.get("root_path", ""), path, began)
        response: _Response | None = None
        started = False

        def outgoing(message: Message) -> Awaitable[None]:
            nonlocal response, started
            if not started:
                if message["type"] == "http.response.start":
                    started = True
                    asked = None if cookie is None else self._look(cookie, scope, visit, message)
                    if asked is not None or (self._injects and may_be_page(message)):
                        response = _Response(self, scope, visit, send)
                        return response.start(message, asked)
            elif response is not None and response.held is not None:
                return response.more(message)
            return send(message)

        token = current_visit.set(visit)
        try:
            result = await self.app(scope, receive, outgoing)
        except Exception:
            if response is not None:
                with contextlib.suppress(Exception):
                    await response.release()
            raise
        finally:
            visit.over = True
            current_visit.reset(token)
        if response is not None and response.held is not None:
            await response.release()
        return result

    def _look(self, cookie: bytes, scope: Scope, visit: Visit, start: Message) -> dict[str, Any] | None:
        """None where there is nothing to say to a visitor with a chat; otherwise what has been asked for that."""
        try:
            if not is_plain(scope["headers"], start.get("headers")):
                return NOTHING_ASKED
            quiet = self._core.quiet
            path = request_of(scope, visit.path, visit.mount).path if quiet.minds_paths else ""
            return quiet.look(cookie, path, visit, now_in_microseconds(), self._ask_at_once, scope)
        except Exception as error:
            self._notes.fault(error)
            return None

    async def _own(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to a request for one of our two paths."""
        request = request_of(scope, scope["path"], scope.get("root_path", ""))
        if request.path == self._core.bridge_path:
            return bridge.serve(request.method, scope.get("query_string", b""))
        if request.path == self._core.session_path:
            flow = self._core.session(request, now_in_microseconds())
            try:
                return await self._drive(flow, scope, receive)  # type: ignore[no-any-return]
            except Exception as error:
                self._notes.fault(error)
                return capture.answer("anonymous", [])
        return None

    async def _drive(
        self, flow: Generator[Verb, Any, Any], scope: Scope, receive: Receive | None = None, asked: Any = NOTHING_ASKED
    ) -> Any:
        """Carry out what a flow of the core asks for, in the application's own context. `asked`: what need not be
        asked again."""
        answer: Any = None
        while True:
            try:
                verb = flow.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = None  # error trackers show the locals of whoever is running
            match verb:
                case Ask(what) if what in asked:
                    answer = asked.pop(what)
                    if isinstance(answer, Pending):
                        answer = await self._callables.finish(what, answer)
                case Ask(what):
                    answer = await self._callables.ask(what, StarletteRequest(scope))
                case ReadBody(limit, seconds):
                    answer = BodyFault(400) if receive is None else await _read(receive, limit, seconds)
                case LookUp():
                    answer = await self._look_up(verb, scope)
                case Offer(push):
                    answer = await self._sender.offer_async(push)
                case Discard(key):
                    await self._sender.let_go_async(key, now_in_microseconds())
                    answer = None
                case _:
                    answer = self._perform(verb)

    def _ask_at_once(self, what: str, scope: Scope) -> Any:
        return self._callables.ask_at_once(what, StarletteRequest(scope))

    async def _look_up(self, verb: LookUp, scope: Scope) -> LookedUp:
        """One internal GET; the inquiry runs at its response start. Whatever goes wrong in there is
        the application's answer to a request that nobody sent."""
        inner = look_up_scope(scope, verb.path)
        visit = inner[KEY] = Visit(self._core, inner.get("root_path", ""), inner["path"])
        started = False
        found: Any = None
        cookies: list[bytes] = []
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await forever()  # nobody disconnects
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal started, found
            if message["type"] == "http.response.start" and not started:
                started = True
                cookies.extend(value for name, value in message.get("headers", ()) if name.lower() == b"set-cookie")
                found = await self._inquire(verb, visit, inner)

        token = current_visit.set(visit)
        limit = time_limit(verb.seconds)
        try:
            async with limit:
                await self.app(inner, receive, send)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_stray(error):
                raise
        finally:
            current_visit.reset(token)
        if not started and not limit.expired():
            found = await self._inquire(verb, visit, inner)
        return LookedUp(found, cookies)

    async def _inquire(self, verb: LookUp, visit: Visit, inner: Scope) -> Any:
        """What the inquiry finds; None where it has a fault of ours."""
        try:
            return await self._drive(verb.inquiry(visit), inner)
        except Exception as error:
            self._notes.fault(error)
            return None

    def _flush_at_shutdown(self, send: Send) -> Send:
        async def outgoing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._sender.aclose()
            await send(message)

        return outgoing


class _Response:
    """One response that may concern us, from its start message on."""

    __slots__ = ("_finder", "_passed", "_scope", "_send", "_shell", "_tag", "_visit", "held")

    def __init__(self, shell: ReveMiddleware, scope: Scope, visit: Visit, send: Send) -> None:
        self._shell = shell
        self._scope = scope
        self._visit = visit
        self._send = send
        self.held: list[Message] | None = None
        """The messages that wait for the head to be found; the start among them where the tag changes it."""

    def start(self, message: Message, asked: dict[str, Any] | None) -> Awaitable[None]:
        """The start message. `asked`: what has been asked for a chat that may have something to hear."""
        given = message.get("headers", ())
        headers = given if type(given) is list else list(given)
        if headers is not given and type(given) is not tuple:
            message = {**message, "headers": headers}
        if asked is not None:
            return self._go_the_whole_way(message, headers, asked)
        tag: bytes | None = None
        try:
            tag = self._tag_for(Start(message["status"], headers))
        except Exception as error:
            self._shell._notes.fault(error)
        return self._hold_or_send(message, tag)

    async def _go_the_whole_way(self, message: Message, headers: Headers, asked: dict[str, Any]) -> None:
        shell, scope, visit = self._shell, self._scope, self._visit
        outgoing = Outgoing(headers, None)
        try:
            request, start = request_of(scope, visit.path, visit.mount), Start(message["status"], headers)
            flow = shell._core.response(request, start, visit, now_in_microseconds())
            outgoing = await shell._drive(flow, scope, None, asked)
        except Exception as error:
            shell._notes.fault(error)
        if outgoing.headers is not headers:
            message = {**message, "headers": outgoing.headers}
        await self._hold_or_send(message, outgoing.tag)

    def _tag_for(self, start: Start) -> bytes | None:
        shell, visit = self._shell, self._visit
        tag, note = shell._core.page(request_of(self._scope, visit.path, visit.mount), start, visit)
        if note is not None:
            shell._perform(note)
        return tag

    def _hold_or_send(self, start: Message, tag: bytes | None) -> Awaitable[None]:
        if tag is None:
            return self._send(start)
        self._tag = tag
        self._finder = HeadFinder()
        self._passed = 0
        for name, _ in start.get("headers", ()):
            if name in GROWING or name.lower() in GROWING:
                self.held = [start]  # it depends on whether the tag goes in
                return NOTHING
        self.held = []
        return self._send(start)

    def more(self, message: Message) -> Awaitable[None]:
        """The next message while the head is looked for."""
        held = self.held
        assert held is not None  # noqa: S101
        held.append(message)
        body = message.get("body", b"")
        if message["type"] == "http.response.body" and isinstance(body, bytes):
            found = self._finder.feed(body, last=not message.get("more_body", False))
            if found == HeadFinder.MORE:
                self._passed += len(body)
                return NOTHING
            if found == HeadFinder.NONE:
                is_visited = (b"sec-fetch-dest", b"document") in self._scope.get("headers", ())
                self._shell._notes.no_head(self._finder, is_visited)
            else:
                at = found - self._passed  # it ends in this piece: otherwise it would have been found before
                held[-1] = {**message, "body": body[:at] + self._tag + body[at:]}
                start = held[0]
                if start["type"] == "http.response.start":
                    held[0] = {**start, "headers": with_tag(start["headers"], len(self._tag))}
        return self.release()

    def release(self) -> Awaitable[None]:
        """Send what is held, and hold nothing more."""
        held, self.held = self.held, None
        return _send_all(held or (), self._send)


class _Nothing:
    """An awaitable that is done."""

    __slots__ = ()

    def __await__(self) -> Any:
        return iter(())


NOTHING = _Nothing()


async def _send_all(messages: Iterable[Message], send: Send) -> None:
    for message in messages:
        await send(message)


async def _read(receive: Receive, limit: int, seconds: float) -> bytes | BodyFault:
    body: bytes = b""
    try:
        async with time_limit(seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return BodyFault(400)
                body += message.get("body", b"")
                if len(body) > limit:
                    return BodyFault(413)
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        return BodyFault(408)


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
