"""The WSGI shell: environ and start_response <-> the core.

`__call__` is no generator. Nothing is yielded before a held start is released; what is not a page of ours
is returned as the same object; `close()`, `write()`, `exc_info` and `wsgi.file_wrapper` stay what they are.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeAlias

from starlette.requests import Request as StarletteRequest

from . import bridge, capture
from .environ import Environ, decode, look_up_environ, read_body, request_of, scope_of
from .exchange import Outgoing
from .inject import PAGE_TYPES, HeadFinder, insert, with_tag
from .messages import Answer, Ask, Headers, LookedUp, LookUp, ReadBody, Start, Verb
from .shell import Shell, now_in_microseconds
from .visitor import KEY, Visit, current_visit

StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
TextHeaders: TypeAlias = list[tuple[str, str]]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

REASONS = {
    200: "200 OK",
    400: "400 Bad Request",
    403: "403 Forbidden",
    405: "405 Method Not Allowed",
    408: "408 Request Timeout",
    413: "413 Content Too Large",
    415: "415 Unsupported Media Type",
    422: "422 Unprocessable Content",
}
MOST_THROWN_AWAY = 1024
"""Chunks of an internal GET's answer that are taken before it is closed."""


class ReveWSGIMiddleware(Shell):
    """Wraps a WSGI application: `app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, webhook_url=…, …)`.

    Keywords: see the README's table. Raises `SettingsError` where one is missing or wrong; `profile`,
    `identity` and `consent` must be plain functions here.
    """

    protocol = "WSGI"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if KEY in environ:  # a layer of ours is outside: this one stands down
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        if not self._begun:
            self._begin()
        path, mount = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        if self._within in path:
            answer = self._own(environ)
            if answer is not None:
                return _send(answer, start_response)
        visit = environ[KEY] = Visit(self._core, decode(mount), path, now_in_microseconds())
        response = _Response(self, environ, visit, start_response)
        token = current_visit.set(visit)
        try:
            iterable = self.app(environ, response.start)
            return response.body(iterable)
        except Exception:
            response.write_after_failure()
            raise
        finally:
            current_visit.reset(token)

    def _concerns(self, environ: Environ, headers: TextHeaders) -> bool:
        """Has this visitor a chat, or may this be a page?"""
        if self._has_chat(environ):
            return True
        return self._settings.inject and any(
            name.lower() == "content-type" and value.lstrip().lower().encode("latin-1").startswith(PAGE_TYPES)
            for name, value in headers
        )

    def _has_chat(self, environ: Environ) -> bool:
        cookie = environ.get("HTTP_COOKIE", "")
        return cookie != "" and self._settings.cookies.ids_name.decode() in cookie

    def _own(self, environ: Environ) -> Answer | None:
        """The answer to a request for one of our two paths."""
        request = request_of(environ)
        if request.path == self._core.bridge_path:
            return bridge.serve(request.method, environ.get("QUERY_STRING", "").encode("latin-1"))
        if request.path == self._core.session_path:
            flow = self._core.session(request, now_in_microseconds())
            try:
                return self._drive(flow, environ)  # type: ignore[no-any-return]
            except Exception as error:
                self._notes.fault(error)
                return capture.answer("anonymous", [])
        return None

    def _drive(self, flow: Generator[Verb, Any, Any], environ: Environ) -> Any:
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
                    answer = self._callables.ask_now(what, StarletteRequest(scope_of(environ)))
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


class _Response:
    """One response, from `start_response` on."""

    __slots__ = (
        "_environ", "_exc_info", "_finder", "_headers", "_shell", "_start_response", "_status", "_tag", "_visit",
        "_write", "chunks", "held", "searching", "started",
    )  # fmt: skip

    def __init__(
        self, shell: ReveWSGIMiddleware, environ: Environ, visit: Visit, start_response: StartResponse
    ) -> None:
        self._shell = shell
        self._environ = environ
        self._visit = visit
        self._start_response = start_response
        self._write: Callable[[bytes], object] | None = None
        self.started = False
        """Has the application called `start_response`?"""
        self.held = False
        """Is its start held back?"""
        self.searching = False
        """Is the head looked for?"""
        self.chunks: list[bytes] = []

    def start(self, status: str, headers: TextHeaders, *exc_info: Any) -> Callable[[bytes], object]:
        """What the application sees as `start_response`."""
        if self.started and not (self.held and not self.chunks and exc_info and exc_info[0]):
            self._flush()
            return self._start_response(status, headers, *exc_info)
        self.started = True
        self.held = self.searching = False
        try:
            headers, tag = self._decide(status, headers)
        except Exception as error:
            self._shell._notes.fault(error)
            tag = None
        if tag is None:
            return self._start_response(status, headers, *exc_info)
        self._tag, self._finder, self.searching = tag, HeadFinder(), True
        if any(name.lower() in ("content-length", "etag") for name, _ in headers):
            self.held = True  # they depend on whether the tag goes in
            self._status, self._headers, self._exc_info = status, headers, exc_info
        else:
            self._write = self._start_response(status, headers, *exc_info)
        return self.write

    def _decide(self, status: str, headers: TextHeaders) -> tuple[TextHeaders, bytes | None]:
        """The headers that go out, and the tag if this may be a page."""
        shell, visit = self._shell, self._visit
        if not shell._concerns(self._environ, headers):
            return headers, None
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        request = request_of(self._environ)._replace(path=decode(visit.path), mount=visit.mount)
        start = Start(int(status[:3]) if status[:3].isdigit() else 0, raw)
        flow = shell._core.response(request, start, visit, now_in_microseconds())
        outgoing: Outgoing = shell._drive(flow, self._environ)
        return headers if outgoing.headers is raw else _as_text(outgoing.headers), outgoing.tag

    def _flush(self) -> None:
        """What the application wrote while the head was looked for goes out as it is."""
        self.searching = False
        chunks, self.chunks = self.chunks, []
        write = self._release_start()
        for chunk in chunks:
            write(chunk)

    def write(self, data: bytes) -> None:
        """What the application sees as `write` while the head is looked for."""
        ready = self.take(data, last=False) if self.searching else [data]
        for chunk in ready:
            self._release_start()(chunk)

    def take(self, data: Any, *, last: bool) -> list[bytes]:
        """One more chunk; what may go out now. Empty while the head is looked for."""
        self.chunks.append(data)
        found = self._finder.feed(data, last=last) if isinstance(data, bytes) else HeadFinder.NONE
        if found == HeadFinder.MORE:
            return []
        self.searching = False
        chunks, self.chunks = self.chunks, []
        if found == HeadFinder.NONE:
            self._shell._notes.say("no_head")
        else:
            chunks = insert(chunks, found, self._tag)
            if self.held:
                raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]
                self._headers = _as_text(with_tag(raw, len(self._tag)))
        self._release_start()
        return chunks

    def end(self) -> list[bytes]:
        """The body has ended; what is still to go out."""
        if not self.searching:
            return []
        ready = self.take(b"", last=True)
        return ready[:-1]

    def _release_start(self) -> Callable[[bytes], object]:
        if self.held:
            self.held = False
            exc_info, self._exc_info = self._exc_info, ()
            self._write = self._start_response(self._status, self._headers, *exc_info)
        return self._write or _throw_away

    def release_after_failure(self) -> list[bytes]:
        """The application failed: its start goes out as it would have; what is held of its body is returned."""
        self.searching = False
        with contextlib.suppress(Exception):
            self._release_start()
        held, self.chunks = self.chunks, []
        return held

    def write_after_failure(self) -> None:
        """The application failed before it returned: what it wrote goes out as it would have."""
        with contextlib.suppress(Exception):
            self._flush()

    def body(self, iterable: Iterable[bytes]) -> Iterable[bytes]:
        """What is returned to the server."""
        if self.started and not self.searching:
            return iterable
        if not (self.started or self._shell._settings.inject or self._shell._has_chat(self._environ)):
            return iterable
        wrapper = self._environ.get("wsgi.file_wrapper")
        if self.started and isinstance(wrapper, type) and isinstance(iterable, wrapper):
            self.searching = False
            self._release_start()
            return iterable
        body = _Body(self, iterable)
        if self.started and type(iterable) in (list, tuple):
            return list(body)  # servers look at a list's length
        if self.held:
            body.begin()
        return body


class _Body:
    """The rest of a body, handed on chunk by chunk."""

    def __init__(self, response: _Response, iterable: Iterable[bytes]) -> None:
        self._response = response
        self._iterable = iterable
        self._iterator: Iterator[bytes] = iter(iterable)
        self._ready: deque[bytes] = deque()
        self._ended = False
        self._failure: Exception | None = None
        """What the application raised, until what it said before is out."""

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        if self._ready:
            return self._ready.popleft()
        if self._ended:
            raise self._take_failure() or StopIteration
        if self._response.started and not self._response.searching:
            return next(self._iterator)
        self.begin()
        return next(self)

    def _take_failure(self) -> Exception | None:
        failure, self._failure = self._failure, None
        return failure

    def begin(self) -> None:
        """Take chunks until something may go out, or the application has ended or failed."""
        response = self._response
        token = current_visit.set(response._visit)
        try:
            while not self._ready and not self._ended:
                try:
                    chunk = next(self._iterator)
                except StopIteration:
                    self._ended = True
                    self._ready.extend(response.end())
                else:
                    self._ready.extend(response.take(chunk, last=False) if response.searching else [chunk])
        except Exception as failure:
            self._ended, self._failure = True, failure
            self._ready.extend(response.release_after_failure())
        finally:
            current_visit.reset(token)

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    start_response(REASONS[answer.status], _as_text(answer.headers))
    return [answer.body]


def _as_text(headers: Headers) -> TextHeaders:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _throw_away(_: bytes) -> None:
    """The `write` of an answer nobody reads."""
