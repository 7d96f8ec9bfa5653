"""What every `ReveMiddleware` of a Django process shares: it carries messages between Django's objects and the core.

Sync and async differ in how a verb is carried out, and in nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, TypeAlias

from . import bridge, capture
from . import shell as clock
from .concurrency import is_stray, time_limit
from .django_objects import (
    Pull,
    cookies_of,
    first_of,
    first_of_async,
    headers_of,
    look_up_request,
    nonce_of,
    put_in,
    read,
    request_of,
    response_of,
    take_over,
    throw_away,
)
from .django_settings import keywords
from .inject import PAGE_TYPES
from .messages import Ask, Discard, LookedUp, LookUp, Offer, ReadBody, Start
from .shell import Shell
from .visitor import KEY, Visit, current_visit, is_inside

Flow: TypeAlias = Generator[Any, Any, Any]

PAGES = tuple(kind.decode() for kind in PAGE_TYPES)


def _django(request: Any) -> None:
    """In the place of an application: Django gives one to each middleware."""


class DjangoShell(Shell):
    """One for a process: Django makes a middleware for each handler and each test client."""

    protocol = "Django"

    def __init__(self, under_asgi: bool) -> None:
        super().__init__(_django, **keywords(under_asgi))
        self._under_asgi = under_asgi

    def __repr__(self) -> str:
        return f"<ReveMiddleware of Django, {getattr(self, '_settings', None)!r}>"

    # Whose request is it? ----------------------------------------------------------------------

    def stands_down(self, request: Any) -> bool:
        """Is a layer of ours outside?"""
        visit = request.META.get(KEY) or getattr(request, "scope", {}).get(KEY)
        if visit is None or visit.over:  # (who tries one application after another leaves one that is over)
            if not is_inside():
                return False
            visit = None
        if not self._stands_down:
            self._stand_down(visit)
        return True

    def is_own(self, request: Any) -> bool:
        if not self._begun:
            self._begin()
        return request.path_info in (self._core.bridge_path, self._core.session_path)

    def visit(self, request: Any, began: int) -> Visit:
        """The holder of a request, put on it."""
        visit = Visit(self._core, request.META.get("SCRIPT_NAME", ""), request.path_info, began)
        request.META[KEY] = visit
        if hasattr(request, "scope"):
            request.scope[KEY] = visit
        return visit

    def concerns(self, request: Any, response: Any) -> bool:
        """Has this visitor a chat, or may this be a page?"""
        if self._ids_cookie_text in request.META.get("HTTP_COOKIE", ""):
            return True
        headers = getattr(response, "headers", {})  # of what is no response Django itself will complain
        return self._injects and headers.get("Content-Type", "").lower().startswith(PAGES)

    # What becomes of it ------------------------------------------------------------------------

    def own(self, request: Any) -> Flow:
        """The answer to a request for one of our two paths."""
        head = request_of(request)
        if head.path == self._core.bridge_path:
            return response_of(
                bridge.serve(head.method, request.META.get("QUERY_STRING", "").encode("latin-1", "replace"))
            )
        answer = yield from self._core.session(head, clock.now_in_microseconds())
        return response_of(answer)

    def unknown(self) -> Any:
        """The answer to a report on which a fault of ours came to light."""
        return response_of(capture.answer("anonymous", []))

    def outgoing(self, request: Any, response: Any, visit: Visit) -> Flow:
        """Give a response its cookies, and its page the tag."""
        headers = headers_of(response)
        head = request_of(request)._replace(path=visit.path, mount=visit.mount)
        start = Start(response.status_code, headers)
        outgoing = yield from self._core.response(head, start, visit, clock.now_in_microseconds())
        if outgoing.headers is not headers:
            take_over(response, headers, outgoing.headers)
        tag = outgoing.tag
        if tag is None:
            return
        if "Content-Security-Policy" not in response and (nonce := nonce_of(request)) is not None:
            tag = self._core.tag(visit.mount, nonce).encode()
        yield from put_in(response, tag, self._notes, request.META, self._under_asgi)

    # Carrying out what a flow asks for ---------------------------------------------------------

    def drive(self, flow: Flow, request: Any, get_response: Any) -> Any:
        """What the flow returns; None where it has a fault of ours."""
        try:
            return self._drive(flow, request, get_response)
        except Exception as error:
            self._notes.fault(error)
            return None

    async def drive_async(self, flow: Flow, request: Any, get_response: Any) -> Any:
        """The same under ASGI."""
        try:
            return await self._drive_async(flow, request, get_response)
        except Exception as error:
            self._notes.fault(error)
            return None

    def _drive(self, flow: Flow, request: Any, get_response: Any) -> Any:
        answer: Any = None
        while True:
            try:
                verb = flow.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = None  # error trackers show the locals of whoever is running
            match verb:
                case Ask(what):
                    answer = self._callables.ask_now(what, request)
                case ReadBody(limit):
                    answer = read(request, limit)
                case LookUp():
                    answer = self._look_up(verb, request, get_response)
                case Pull(chunks):
                    answer = first_of(chunks)
                case _:
                    answer = self._perform(verb)

    async def _drive_async(self, flow: Flow, request: Any, get_response: Any) -> Any:
        answer: Any = None
        while True:
            try:
                verb = flow.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = None
            match verb:
                case Ask(what):
                    answer = await self._callables.ask(what, request)
                case ReadBody(limit):
                    answer = read(request, limit)
                case LookUp():
                    answer = await self._look_up_async(verb, request, get_response)
                case Pull(chunks):
                    answer = await first_of_async(chunks)
                case Offer(push):
                    answer = await self._sender.offer_async(push)
                case Discard(key):
                    await self._sender.let_go_async(key, clock.now_in_microseconds())
                case _:
                    answer = self._perform(verb)

    def _look_up(self, verb: LookUp, request: Any, get_response: Any) -> LookedUp:
        """One internal GET through the layers inside of ours; then the inquiry, of the request that they have made of
        it. Whatever goes wrong in there is the application's answer to a request that nobody sent."""
        inner = look_up_request(request, verb.path)
        visit = self.visit(inner, 0)
        token = current_visit.set(visit)
        response = None
        try:
            with contextlib.suppress(Exception):
                response = get_response(inner)
            found = self.drive(verb.inquiry(visit), inner, get_response)
            return LookedUp(found, cookies_of(response))
        finally:
            visit.end()
            current_visit.reset(token)
            throw_away(response)

    async def _look_up_async(self, verb: LookUp, request: Any, get_response: Any) -> LookedUp:
        inner = look_up_request(request, verb.path)
        visit = self.visit(inner, 0)
        token = current_visit.set(visit)
        response: Any = None
        limit = time_limit(verb.seconds)
        try:
            try:
                async with limit:
                    response = await get_response(inner)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_stray(error):
                    raise
            found = None if limit.expired() else await self.drive_async(verb.inquiry(visit), inner, get_response)
            return LookedUp(found, cookies_of(response))
        finally:
            visit.end()
            current_visit.reset(token)
            throw_away(response)
