"""The ASGI shell: scope and messages <-> the core.

Looks at nothing before the response starts, but for its own path. The scope is not copied, no task is
made around the application, and what is not a page of ours passes as the same objects.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from starlette.requests import Request as StarletteRequest

from . import bridge, capture
from .exchange import Outgoing
from .inject import HeadFinder, insert, page_type, with_tag
from .messages import (
    Answer,
    Ask,
    BodyFault,
    Discard,
    Headers,
    LookedUp,
    LookUp,
    Offer,
    ReadBody,
    Request,
    Start,
    Verb,
)
from .shell import Shell, now_in_microseconds
from .visitor import KEY, Visit, current_visit

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]

NOT_LOOKED_UP = (b"content-", b"if-", b"sec-", b"x-reve-")
"""How headers begin that belong to the browser's report and not to the internal GET."""
NOT_LOOKED_UP_WHOLE = frozenset({b"transfer-encoding", b"expect", b"range", b"origin", b"te", b"trailer", b"upgrade"})


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
        if KEY in scope:  # a layer of ours is outside: this one stands down
            return await self.app(scope, receive, send)
        if not self._begun:
            self._begin()
        path, mount = scope["path"], scope.get("root_path", "")
        if self._within in path:
            answer = await self._own(scope, receive)
            if answer is not None:
                return await _send(answer, send)

        visit = scope[KEY] = Visit(self._core, mount, path, now_in_microseconds())
        response: _Response | None = None

        def outgoing(message: Message) -> Awaitable[None]:
            nonlocal response
            if response is None:
                if message["type"] == "http.response.start" and self._concerns(scope, message):
                    response = _Response(self, scope, visit, send)
                    return response.start(message)
                return send(message)
            return send(message) if response.held is None else response.more(message)

        token = current_visit.set(visit)
        try:
            result = await self.app(scope, receive, outgoing)
        except Exception:
            if response is not None:
                with contextlib.suppress(Exception):
                    await response.release()
            raise
        finally:
            current_visit.reset(token)
        if response is not None:
            await response.release()
        return result

    def _concerns(self, scope: Scope, start: Message) -> bool:
        """Has this visitor a chat, or may this be a page?"""
        name = self._settings.cookies.ids_name
        for key, value in scope["headers"]:
            if key == b"cookie" and name in value:
                return True
        headers = start.get("headers", ())
        if not isinstance(headers, (list, tuple)):
            return True  # an iterator can be read once, so it is read where that is minded
        try:
            return self._settings.inject and page_type(headers) is not None
        except Exception:  # no headers as ASGI has them: the server will say so
            return False

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

    async def _drive(self, flow: Generator[Verb, Any, Any], scope: Scope, receive: Receive | None = None) -> Any:
        """Carry out what a flow of the core asks for, in the application's own context."""
        answer: Any = None
        while True:
            try:
                verb = flow.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = None  # error trackers show the locals of whoever is running
            match verb:
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
                await asyncio.get_running_loop().create_future()  # nobody disconnects
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal started, found
            if message["type"] == "http.response.start" and not started:
                started = True
                cookies.extend(value for name, value in message.get("headers", ()) if name.lower() == b"set-cookie")
                found = await self._inquire(verb, visit, inner)

        token = current_visit.set(visit)
        in_time = False
        try:
            async with asyncio.timeout(verb.seconds):
                with contextlib.suppress(Exception):
                    await self.app(inner, receive, send)
                in_time = True
        except TimeoutError:
            pass
        finally:
            current_visit.reset(token)
        if not started and in_time:
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
    """One response that concerns us, from its start message on."""

    __slots__ = ("_finder", "_scope", "_send", "_shell", "_tag", "_visit", "held")

    def __init__(self, shell: ReveMiddleware, scope: Scope, visit: Visit, send: Send) -> None:
        self._shell = shell
        self._scope = scope
        self._visit = visit
        self._send = send
        self._finder = HeadFinder()
        self._tag = b""
        self.held: list[Message] | None = None
        """The start and the body messages that wait for the head to be found."""

    async def start(self, message: Message) -> None:
        given = message.get("headers", ())
        headers: Headers = list(given)
        outgoing = Outgoing(headers, None)
        shell, visit = self._shell, self._visit
        try:
            request = request_of(self._scope, visit.path, visit.mount)
            flow = shell._core.response(request, Start(message["status"], headers), visit, now_in_microseconds())
            outgoing = await shell._drive(flow, self._scope)
        except Exception as error:
            shell._notes.fault(error)
        if outgoing.headers is not headers or not isinstance(given, (list, tuple)):
            message = {**message, "headers": outgoing.headers}
        if outgoing.tag is None:
            await self._send(message)
        else:
            self._tag = outgoing.tag
            self.held = [message]

    async def more(self, message: Message) -> None:
        """The next message while the start is held."""
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not isinstance(body, bytes):
            await self.release()
            await self._send(message)
            return
        assert self.held is not None  # noqa: S101
        self.held.append(message)
        found = self._finder.feed(body, last=not message.get("more_body", False))
        if found == HeadFinder.NONE:
            self._shell._notes.say("no_head")
            await self.release()
        elif found != HeadFinder.MORE:
            self._put_in(found)
            await self.release()

    def _put_in(self, offset: int) -> None:
        assert self.held is not None  # noqa: S101
        start, *bodies = self.held
        changed = insert([body.get("body", b"") for body in bodies], offset, self._tag)
        self.held = [
            {**start, "headers": with_tag(list(start.get("headers", ())), len(self._tag))},
            *(
                body if body.get("body", b"") is chunk else {**body, "body": chunk}
                for body, chunk in zip(bodies, changed, strict=True)
            ),
        ]

    async def release(self) -> None:
        """Send what is held, and hold nothing more."""
        held, self.held = self.held, None
        for message in held or ():
            await self._send(message)


def request_of(scope: Scope, path: str, mount: str) -> Request:
    """The head of a request; `path` and `mount` as they were when it came in."""
    if mount and path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
        path = path[len(mount) :]
    return Request(scope["method"], path, mount, scope.get("scheme", "http"), scope["headers"])


def look_up_scope(scope: Scope, path: str) -> dict[str, Any]:
    """The scope of the internal GET: the browser's own cookies and names, nothing of its report."""
    path, _, query = path.partition("?")
    path, mount = unquote(path), scope.get("root_path", "")
    whole = mount + path if scope["path"].startswith(mount) else path
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if not name.startswith(NOT_LOOKED_UP) and name not in NOT_LOOKED_UP_WHOLE
    ]
    return {
        **scope,
        "method": "GET",
        "path": whole,
        "raw_path": quote(whole).encode(),
        "query_string": query.encode(),
        "headers": headers,
        "extensions": {},
    }


async def _read(receive: Receive, limit: int, seconds: float) -> bytes | BodyFault:
    body: bytes = b""
    try:
        async with asyncio.timeout(seconds):
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
