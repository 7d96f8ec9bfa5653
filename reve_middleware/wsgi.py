"""The WSGI shell: environ and start_response <-> the core.

`__call__` is no generator. Nothing is yielded before a held start is released; what is not a page of ours
is returned as the same object; `close()`, `write()`, `exc_info` and `wsgi.file_wrapper` stay what they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from time import time_ns
from typing import Any, TypeAlias

from . import bridge, capture
from .environ import (
    PAGE_DESTINATIONS,
    REASONS,
    Environ,
    EnvironRequest,
    TextHeaders,
    as_text,
    decode,
    look_up_environ,
    read_body,
    report_of,
    request_of,
)
from .messages import Answer, Ask, LookedUp, LookUp, Pending, ReadBody, Verb
from .quiet import NOTHING_ASKED
from .shell import Shell, now_in_microseconds
from .visitor import KEY, UNSAID, BlankVisit, Visit, current_visit, is_inside
from .wsgi_response import Response, StartResponse

WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

MOST_THROWN_AWAY = 1024
"""Chunks of an internal GET's answer that are taken before it is closed."""


enter, leave = current_visit.set, current_visit.reset


class ReveWSGIMiddleware(Shell):
    """Wraps a WSGI application: `app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, webhook_url=…, …)`.

    Keywords: see docs/reference/keywords.md. Raises `SettingsError` where one is missing or wrong; `profile`,
    `identity` and `consent` must be plain functions here.
    """

    protocol = "WSGI"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if KEY in environ or is_inside():  # a layer of ours is outside: this one stands down
            if not self._stands_down:
                self._stand_down(environ.get(KEY))
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        if not self._begun:
            self._begin()
        path, mount = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        if self._within in path:
            answer = self._own(environ)
            if answer is not None:
                return _send(answer, start_response)
        has_chat = self._ids_cookie_text in environ.get("HTTP_COOKIE", "")
        visit = environ[KEY] = BlankVisit()
        visit._tagger = self._core
        visit.mount = decode(mount) if mount else ""
        visit.over = False
        token = enter(visit)
        if not has_chat and not (self._injects and environ.get("HTTP_SEC_FETCH_DEST") in PAGE_DESTINATIONS):
            try:
                return self.app(environ, start_response)  # type: ignore[no-any-return]
            finally:
                leave(token)
        visit.path = path
        visit.began = time_ns() // 1000 if has_chat else 0  # now_in_microseconds() itself is a call more
        visit.profile = UNSAID
        visit.enabled = None
        visit.signed_out = False
        response = Response()
        response.shell = self
        response.environ = environ
        response.visit = visit
        response.has_chat = has_chat
        response.server_start = start_response
        response.started = response.held = response.searching = False
        response.chunks = []
        response._write = None
        try:
            iterable = self.app(environ, response.start)
            return response.body(iterable)
        except Exception:
            response.write_after_failure()
            raise
        finally:
            leave(token)

    def _ask_in_place(self, what: str, environ: Environ) -> Any:
        return self._callables.ask_in_place(what, EnvironRequest(environ))

    def _own(self, environ: Environ) -> Answer | None:
        """The answer to a request for one of our two paths."""
        request = request_of(environ)
        if request.path == self._core.bridge_path:
            return bridge.serve(request.method, environ.get("QUERY_STRING", "").encode("latin-1", "replace"))
        if request.path == self._core.session_path:
            flow = self._core.session(report_of(environ), now_in_microseconds())
            try:
                return self._drive(flow, environ)  # type: ignore[no-any-return]
            except Exception as error:
                self._notes.fault(error)
                return capture.answer("anonymous", [])
        return None

    def _drive(self, flow: Generator[Verb, Any, Any], environ: Environ, asked: Any = NOTHING_ASKED) -> Any:
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
                        answer = self._callables.give_up(what, answer)
                case Ask(what):
                    answer = self._callables.ask_now(what, EnvironRequest(environ))
                case ReadBody(limit):
                    answer = read_body(environ, limit)
                case LookUp():
                    answer = self._look_up(verb, environ)
                case _:
                    answer = self._perform(verb)

    def _look_up(self, verb: LookUp, environ: Environ) -> LookedUp:
        """One internal GET; the inquiry runs at its response start. Whatever goes wrong in there is
        the application's answer to a request that nobody sent."""
        inner = look_up_environ(environ, verb.path)
        visit = inner[KEY] = Visit(self._core, decode(inner.get("SCRIPT_NAME", "")), inner["PATH_INFO"])
        started = False
        found: Any = None
        cookies: list[bytes] = []

        def start_response(status: str, headers: TextHeaders, exc_info: Any = None) -> Callable[[bytes], object]:
            nonlocal started, found
            if not started:
                started = True
                cookies.extend(value.encode("latin-1") for name, value in headers if name.lower() == "set-cookie")
                found = self._inquire(verb, visit, inner)
            return _throw_away

        token = current_visit.set(visit)
        try:
            with contextlib.suppress(Exception):
                iterable = self.app(inner, start_response)
                try:
                    for _, _ in zip(range(MOST_THROWN_AWAY), iterable, strict=False):
                        pass
                finally:
                    if hasattr(iterable, "close"):
                        iterable.close()
        finally:
            current_visit.reset(token)
        if not started:
            found = self._inquire(verb, visit, inner)
        return LookedUp(found, cookies)

    def _inquire(self, verb: LookUp, visit: Visit, inner: Environ) -> Any:
        """What the inquiry finds; None where it has a fault of ours."""
        try:
            return self._drive(verb.inquiry(visit), inner)
        except Exception as error:
            self._notes.fault(error)
            return None
        finally:
            visit.profile = None  # see Visit.end


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    start_response(REASONS[answer.status], as_text(answer.headers))
    return [answer.body]


def _throw_away(_: bytes) -> None:
    """The `write` of an answer nobody reads."""
