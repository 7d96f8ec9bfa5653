"""One response on its way through the WSGI shell, from `start_response` on."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import TYPE_CHECKING, Any, TypeAlias

from .environ import (
    PAGE_DESTINATIONS,
    PLAIN_DESTINATIONS,
    Environ,
    TextHeaders,
    as_raw,
    as_telling,
    as_text,
    decode,
    may_be_page,
    request_of,
    told_of_fragment,
)
from .exchange import Outgoing, Page
from .inject import HeadFinder, grown, insert
from .messages import Note, Request, Start
from .quiet import NOTHING_ASKED
from .routes import EVERYWHERE, Route
from .shell import now_in_microseconds
from .visitor import Visit, current_visit

if TYPE_CHECKING:
    from .wsgi import ReveWSGIMiddleware

StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]


class Response:
    """One response, from `start_response` on. Filled where it is made."""

    __slots__ = (
        "_exc_info", "_finder", "_headers", "_page", "_status", "_write", "chunks", "environ", "has_chat", "held",
        "searching", "server_start", "shell", "started", "visit",
    )  # fmt: skip

    shell: ReveWSGIMiddleware
    environ: Environ
    visit: Visit
    has_chat: bool
    server_start: StartResponse
    started: bool
    """Has the application called `start_response`?"""
    held: bool
    """Is its start held back?"""
    searching: bool
    """Is the head looked for?"""
    chunks: list[bytes]
    """What waits for that."""
    _write: Callable[[bytes], object] | None
    """The server's `write`."""
    _finder: HeadFinder | None

    def start(self, status: str, headers: TextHeaders, *third: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        """What the application sees as `start_response`. Servers let the third argument be named, against PEP 3333."""
        if exc_info is not None:
            third = (exc_info,)
        if self.started and not (self.held and not self.chunks and third and third[0]):
            self._flush()
            return self.server_start(status, headers, *third)
        self.started = True
        self.held = self.searching = False
        page: Page | None = None
        try:
            if not isinstance(headers, (list, tuple)):
                headers = list(headers)  # against PEP 3333; it may be one that can be read once
            asked = self._look(headers) if self.has_chat else None
            if asked is not None:
                headers, page = self._go_the_whole_way(status, headers, asked)
            else:
                destination = self.environ.get("HTTP_SEC_FETCH_DEST")
                if (
                    self.shell._injects
                    and destination in PAGE_DESTINATIONS
                    and (destination is not None or may_be_page(headers))
                ):
                    page = self._decide(status, headers, destination)
        except Exception as error:
            self.shell._notes.fault(error)
            page = None
        if page is None:
            server_start = self.server_start
            return server_start(status, headers, *third) if third else server_start(status, headers)
        self._page, self._finder, self.searching = page, None, True
        if page[1]:
            self.held = True  # some headers depend on whether the tag goes in
            self._status, self._headers, self._exc_info = status, headers, third
        else:
            self._write = self.server_start(status, headers, *third)
        return self.write

    def _look(self, headers: TextHeaders) -> dict[str, Any] | None:
        """What Quiet.look says of this response."""
        environ, visit, shell = self.environ, self.visit, self.shell
        if environ.get("HTTP_SEC_FETCH_DEST") not in PLAIN_DESTINATIONS:
            return NOTHING_ASKED
        for name, _ in headers:
            if len(name) == 13 and name.lower() == "cache-control":
                return NOTHING_ASKED
        cookie = environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
        return shell._core.quiet.look(cookie, self._route(), visit, shell._ask_in_place, environ)

    def _route(self) -> Route:
        shell = self.shell
        return EVERYWHERE if shell._all_alike else shell._settings.routes.of(decode(self.visit.path))

    def _decide(self, status: str, headers: TextHeaders, destination: str | None) -> Page | None:
        """What goes into this response, if it is a page."""
        environ = self.environ
        page = self.shell._core.page(
            environ.get("REQUEST_METHOD", "GET"),
            None if destination is None else destination.encode(),
            told_of_fragment(environ) if destination is None else (),
            _number(status),
            as_telling(headers),
            self.visit,
            self._route(),
            self._request,
        )
        if isinstance(page, Note):
            self.shell._perform(page)
            return None
        return page

    def _request(self) -> Request:
        visit = self.visit
        return request_of(self.environ)._replace(path=decode(visit.path), mount=visit.mount)

    def _go_the_whole_way(self, status: str, headers: TextHeaders, asked: Any) -> tuple[TextHeaders, Page | None]:
        shell = self.shell
        raw = as_raw(headers)
        flow = shell._core.response(self._request(), Start(_number(status), raw), self.visit, now_in_microseconds())
        outgoing: Outgoing = shell._drive(flow, self.environ, asked)
        return headers if outgoing.headers is raw else as_text(outgoing.headers), outgoing.page

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
        tag, beginning = self._page[0], self.shell._beginning
        if self._finder is None:
            grown = beginning.with_tag(data, tag) if type(data) is bytes else None
            if grown is not None:
                self._release(with_tag=True)
                return [grown]
            self._finder = HeadFinder()
        self.chunks.append(data)
        found = self._finder.feed(data, last=last) if isinstance(data, bytes) else HeadFinder.NONE
        if found == HeadFinder.MORE:
            return []
        chunks = self.chunks
        if found == HeadFinder.NONE:
            self.shell._notes.no_head(self._finder, self.environ.get("HTTP_SEC_FETCH_DEST") == "document")
        else:
            if found <= len(chunks[0]):
                beginning.learn(chunks[0][:found])
            chunks = insert(chunks, found, tag)
        self._release(with_tag=found != HeadFinder.NONE)
        return chunks

    def _release(self, *, with_tag: bool) -> None:
        """The search is over; the start goes out."""
        self.searching = False
        self.chunks = []
        if with_tag and self.held:
            tag, growing = self._page
            self._headers = [*self._headers]
            for number in growing:
                name, value = self._headers[number]
                said = grown(name.encode("latin-1"), value.encode("latin-1"), len(tag))
                self._headers[number] = (name, said.decode("latin-1"))
        self._release_start()

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
            self._write = self.server_start(self._status, self._headers, *exc_info)
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
        try:
            return self._body(iterable)
        except BaseException:  # the server gets nothing that it could close
            _close(iterable)
            raise

    def _body(self, iterable: Iterable[bytes]) -> Iterable[bytes]:
        wrapper = self.environ.get("wsgi.file_wrapper")
        if self.started and isinstance(wrapper, type) and isinstance(iterable, wrapper):
            self._flush()
            return iterable
        if self.started and type(iterable) in (list, tuple):
            if len(iterable) == 1:  # type: ignore[arg-type]
                (only,) = iterable
                ready = self.take(only, last=True)
                return iterable if len(ready) == 1 and ready[0] is only else ready
            ready = list(Body(self, iterable))  # servers look at the length as well
            return iterable if len(ready) == len(iterable) and all(map(is_, ready, iterable)) else ready  # type: ignore[arg-type]
        body = Body(self, iterable)
        if self.held:
            body.begin()
        return body


class Body:
    """The rest of a body, handed on chunk by chunk."""

    def __init__(self, response: Response, iterable: Iterable[bytes]) -> None:
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

    def __iter__(self) -> Body:
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
        token = current_visit.set(response.visit)
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
        _close(self._iterable)


def _close(iterable: Iterable[bytes]) -> None:
    close = getattr(iterable, "close", None)
    if close is not None:
        close()


@functools.lru_cache(256)
def _number(status: str) -> int:
    return int(status[:3]) if status[:3].isdigit() else 0
