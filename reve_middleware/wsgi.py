"""The WSGI shell: environ and start_response <-> the core.

`__call__` is no generator. Nothing is yielded before a held start is released; what is not a page of ours
is returned as the same object; `close()`, `write()`, `exc_info` and `wsgi.file_wrapper` stay what they are.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeAlias

from . import bridge, capture
from .environ import (
    REASONS,
    Environ,
    EnvironRequest,
    TextHeaders,
    as_raw,
    as_text,
    decode,
    look_up_environ,
    may_be_page,
    read_body,
    report_of,
    request_of,
)
from .exchange import Outgoing
from .inject import HeadFinder, insert, with_tag
from .messages import Answer, Ask, LookedUp, LookUp, Pending, ReadBody, Start, Verb
from .quiet import NOTHING_ASKED, PLAIN_DESTINATIONS
from .shell import Shell, now_in_microseconds
from .visitor import KEY, Visit, current_visit, is_inside

StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

MOST_THROWN_AWAY = 1024
"""Chunks of an internal GET's answer that are taken before it is closed."""


class ReveWSGIMiddleware(Shell):
    """Wraps a WSGI application: `app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, webhook_url=…, …)`.

    Keywords: see the README's table. Raises `SettingsError` where one is missing or wrong; `profile`,
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
        began = now_in_microseconds() if self._has_chat(environ) else 0
        visit = environ[KEY] = Visit(self._core, decode(mount) if mount else "", path, began)
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

    def _has_chat(self, environ: Environ) -> bool:
        return self._ids_cookie_text in environ.get("HTTP_COOKIE", "")

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

    def start(self, status: str, headers: TextHeaders, *third: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        """What the application sees as `start_response`. Servers let the third argument be named, against PEP 3333."""
        if exc_info is not None:
            third = (exc_info,)
        if self.started and not (self.held and not self.chunks and third and third[0]):
            self._flush()
            return self._start_response(status, headers, *third)
        self.started = True
        self.held = self.searching = False
        try:
            headers, tag = self._decide(status, headers)
        except Exception as error:
            self._shell._notes.fault(error)
            tag = None
        if tag is None:
            return self._start_response(status, headers, *third)
        self._tag, self._finder, self.searching = tag, HeadFinder(), True
        if any(name.lower() in ("content-length", "etag") for name, _ in headers):
            self.held = True  # they depend on whether the tag goes in
            self._status, self._headers, self._exc_info = status, headers, third
        else:
            self._write = self._start_response(status, headers, *third)
        return self.write

    def _decide(self, status: str, headers: TextHeaders) -> tuple[TextHeaders, bytes | None]:
        """The headers that go out, and the tag if this may be a page."""
        shell, environ, visit = self._shell, self._environ, self._visit
        is_page = shell._injects and may_be_page(headers)
        asked: dict[str, Any] | None = None
        if shell._has_chat(environ):
            now = now_in_microseconds()
            asked = self._look(headers, now)
        if asked is None and not is_page:
            return headers, None
        raw = as_raw(headers)
        request = request_of(environ)._replace(path=decode(visit.path), mount=visit.mount)
        start = Start(int(status[:3]) if status[:3].isdigit() else 0, raw)
        if asked is None:
            tag, note = shell._core.page(request, start, visit)
            if note is not None:
                shell._perform(note)
            return headers, tag
        outgoing: Outgoing = shell._drive(shell._core.response(request, start, visit, now), environ, asked)
        return headers if outgoing.headers is raw else as_text(outgoing.headers), outgoing.tag

    def _look(self, headers: TextHeaders, now: int) -> dict[str, Any] | None:
        """What Quiet.look says of this response."""
        environ, visit, quiet = self._environ, self._visit, self._shell._core.quiet
        if environ.get("HTTP_SEC_FETCH_DEST", "empty").encode("latin-1") not in PLAIN_DESTINATIONS:
            return NOTHING_ASKED
        if any(name.lower() == "cache-control" for name, _ in headers):
            return NOTHING_ASKED
        path = decode(visit.path) if quiet.minds_paths else ""
        cookie = environ["HTTP_COOKIE"].encode("latin-1", "replace")
        return quiet.look(cookie, path, visit, now, self._shell._ask_in_place, environ)

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
            self._shell._notes.no_head(self._finder, self._environ.get("HTTP_SEC_FETCH_DEST") == "document")
        else:
            chunks = insert(chunks, found, self._tag)
            if self.held:
                self._headers = as_text(with_tag(as_raw(self._headers), len(self._tag)))
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
        return self._write  # type: ignore[return-value]  # None from a server without it: fails as it does bare

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

    @property
    def status_code(self) -> Any:
        """Django hands its response object to the server, and who stands between may ask for its status."""
        return self._iterable.status_code  # type: ignore[attr-defined]

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
    start_response(REASONS[answer.status], as_text(answer.headers))
    return [answer.body]


def _throw_away(_: bytes) -> None:
    """The `write` of an answer nobody reads."""
