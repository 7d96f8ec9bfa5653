"""The ASGI shell: scope and messages <-> the core.

Looks at nothing before the response starts, but for its own path. The scope is not copied, no task is
made around the application, and what is not a page of ours passes as the same objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator
from time import time_ns
from typing import Any, TypeAlias

from . import bridge, capture
from .asgi_response import Exchange, LazyRequest, Receive, Send
from .concurrency import forever, is_stray, time_limit
from .messages import Answer, Ask, BodyFault, Discard, LookedUp, LookUp, Offer, Pending, ReadBody, Verb
from .quiet import NOTHING_ASKED
from .routes import EVERYWHERE, NOWHERE
from .scope import PAGE_DESTINATIONS, Message, Scope, inside, look_up_scope, request_of, told_by_browser
from .shell import Shell, now_in_microseconds
from .visitor import KEY, UNSAID, BlankVisit, Visit, current_visit

ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]


enter, leave = current_visit.set, current_visit.reset


class ReveMiddleware(Shell):
    """Wraps an ASGI application: `app = ReveMiddleware(app, webhook_url=…, token=…, …)`.

    Keywords: see docs/reference/keywords.md. Raises `SettingsError` where one is missing or wrong.
    """

    protocol = "ASGI"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                send = self._flush_at_shutdown(send)
                self._begin()
            return await self.app(scope, receive, send)
        if KEY in scope or ("wsgi_environ" in scope and KEY in scope["wsgi_environ"]):  # (which a2wsgi puts there)
            visit = scope.get(KEY)
            if visit is None or not visit.over:  # (who tries one application after another has one that is over)
                if not self._stands_down:
                    self._stand_down(visit)
                return await self.app(scope, receive, send)  # a layer of ours is outside: this one stands down
        if not self._begun:
            self._begin()
        path = scope["path"]
        if self._within in path:
            answer = await self._own(scope, receive)
            if answer is not None:
                return await _send(answer, send)

        try:
            mount = scope["root_path"]
        except KeyError:  # servers may leave it out
            mount = ""
        route = EVERYWHERE if self._all_alike else self._settings.routes.of(inside(path, mount) if mount else path)
        cookie = destination = None
        if route is not NOWHERE:  # there a view may still say something; its browser is listened to then
            cookie, destination = told_by_browser(scope, self._ids_cookie)
        visit = scope[KEY] = BlankVisit()
        visit._tagger = self._core
        visit.mount = mount
        visit.over = False
        token = enter(visit)
        if cookie is None and route is not NOWHERE and not (self._injects and destination in PAGE_DESTINATIONS):
            try:
                return await self.app(scope, receive, send)  # what is said of this visitor changes nothing
            finally:
                visit.over = True  # these two are `visit.end()`
                visit.profile = None
                leave(token)
        visit.path = path
        visit.began = time_ns() // 1000  # now_in_microseconds() itself is a call more
        visit.profile = UNSAID
        visit.enabled = None
        visit.signed_out = False
        exchange = Exchange()
        exchange.shell = self
        exchange.scope = scope
        exchange.visit = visit
        exchange.pass_on = send
        exchange.held = None
        exchange.route = route
        exchange.cookie = cookie
        exchange.destination = destination
        try:
            result = await self.app(scope, receive, exchange.send)
        except BaseException as error:
            if exchange.held and (isinstance(error, Exception) or is_stray(error)):
                with contextlib.suppress(Exception):
                    await exchange.release()
            raise
        finally:
            visit.over = True
            if exchange.held is False or exchange.held is None:  # else its head may be under way still
                visit.profile = None
            leave(token)
        if exchange.held:
            await exchange.release()
        return result

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
                    answer = await self._callables.ask(what, LazyRequest(scope))
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
                visit.end()
                raise
        finally:
            current_visit.reset(token)
        if not started:
            if limit.expired():
                visit.end()
            else:
                found = await self._inquire(verb, visit, inner)
        return LookedUp(found, cookies)

    async def _inquire(self, verb: LookUp, visit: Visit, inner: Scope) -> Any:
        """What the inquiry finds; None where it has a fault of ours."""
        try:
            return await self._drive(verb.inquiry(visit), inner)
        except Exception as error:
            self._notes.fault(error)
            return None
        finally:
            visit.profile = None  # see Visit.end

    def _flush_at_shutdown(self, send: Send) -> Send:
        async def outgoing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._sender.aclose()
            await send(message)

        return outgoing


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
