"""Django's requests and responses in the words of the core, and the tag put into a Django response."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing
from http.cookies import CookieError, Morsel
from io import BytesIO
from itertools import chain
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped, import-not-found, unused-ignore]
from django.http import HttpResponse  # type: ignore[import-untyped, import-not-found, unused-ignore]

from .environ import look_up_environ, read_body, report_of
from .inject import HeadFinder, growing_in, insert, with_tag
from .messages import Answer, BodyFault, Headers, Request
from .notes import Notes
from .scope import look_up_scope

# Requests --------------------------------------------------------------------------------------

OWN = frozenset({"_body", "_files", "_post"})
"""What a request found out about itself; a layer that added something to it did so under another name."""
NOT_LOOKED_UP = ("HTTP_REFERER", "SCRIPT_URL", "REDIRECT_URL")
"""BrokenLinkEmailsMiddleware would write letters about the one; the others are of the report's own path."""
OF_THE_PATH = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")


def request_of(request: Any) -> Request:
    """The head of a request. Scheme, mount and host are what Django takes them for (`SECURE_PROXY_SSL_HEADER`,
    `FORCE_SCRIPT_NAME`, `USE_X_FORWARDED_HOST`)."""
    scope = getattr(request, "scope", None)
    path, mount = request.path_info, request.META.get("SCRIPT_NAME", "")
    if scope is None:
        head = report_of(request.META)._replace(path=path, mount=mount, scheme=request.scheme)
    else:
        head = Request(request.method, path, mount, request.scheme, scope["headers"])
    forwarded = request.META.get("HTTP_X_FORWARDED_HOST") if settings.USE_X_FORWARDED_HOST else None
    if forwarded is None:
        return head
    others = [(name, value) for name, value in head.headers if name != b"host"]
    return head._replace(headers=[*others, (b"host", forwarded.encode("latin-1", "replace"))])


def look_up_request(request: Any, path: str) -> Any:
    """The internal GET, as it would have come here: with what layers outside of ours have put on the request."""
    mount = request.META.get("SCRIPT_NAME", "").encode().decode("latin-1")  # Django has written it back as text
    meta = look_up_environ({**request.META, "SCRIPT_NAME": mount}, path)
    for name in NOT_LOOKED_UP:
        meta.pop(name, None)
    if hasattr(request, "scope"):
        scope = look_up_scope(request.scope, path)
        mount = request.scope["path"].removesuffix(request.path_info)  # FORCE_SCRIPT_NAME is not in the scope
        scope["path"] = mount + scope["path"].removeprefix(mount)
        inner = type(request)(scope, BytesIO())
        inner.META = meta | {key: inner.META[key] for key in OF_THE_PATH}
    else:
        inner = type(request)(meta)
    for name, value in vars(request).items():
        if name not in OWN and name not in vars(inner) and not hasattr(type(inner), name):
            setattr(inner, name, value)
    return inner


def read(request: Any, limit: int) -> bytes | BodyFault:
    """The request's body, which Django (ASGI) or the server (WSGI) has at hand."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length and request.META.get("wsgi.input_terminated"):
        return read_body(request.META, limit)  # Django takes it for empty
    try:
        body: bytes = request.read(limit + 1)
    except OSError:  # the client went away
        return BodyFault(400)
    if len(body) > limit:
        return BodyFault(413)
    return BodyFault(400) if length.isdigit() and int(length) != len(body) else body


def nonce_of(request: Any) -> str | None:
    """The nonce of a policy that a layer outside of ours will put on the response: of django-csp, or of Django 6."""
    module = sys.modules.get("django.middleware.csp")
    with contextlib.suppress(Exception):  # django-csp: it is too late, for the layer stands inside of ours
        nonce = getattr(request, "csp_nonce", None)
        if nonce is None and module is not None:
            nonce = module.get_nonce(request)
        return None if nonce is None else str(nonce)
    return None


# Responses -------------------------------------------------------------------------------------


class Cookie(Morsel[str]):
    """A cookie in the core's own words; Django would write its attributes in another order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        pair, *attributes = text.split(";")
        name, _, value = pair.partition("=")
        self.set(name, value, value)
        for attribute in attributes:
            key, equals, value = attribute.strip().partition("=")
            with contextlib.suppress(CookieError):  # an attribute that Python does not know yet
                self[key] = value if equals else True
        self._text = text

    def OutputString(self, attrs: Any = None) -> str:
        return self._text


def response_of(answer: Answer) -> Any:
    response = HttpResponse(answer.body, status=answer.status)
    take_over(response, [], answer.headers)
    return response


def headers_of(response: Any) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]


def cookies_of(response: Any) -> list[bytes]:
    """The `Set-Cookie` values of a response."""
    cookies = {} if response is None else response.cookies
    return [morsel.OutputString().encode("latin-1") for morsel in cookies.values()]


def take_over(response: Any, before: Headers, after: Headers) -> None:
    """Give a response the headers that differ from what it had."""
    for name, value in after:
        if (name, value) in before:
            continue
        text = value.decode("latin-1")
        if name == b"set-cookie":
            cookie = Cookie(text)
            response.cookies[cookie.key] = cookie
        else:
            response.headers[name.decode("latin-1").title()] = text


def throw_away(response: Any) -> None:
    """Close the answer to an internal GET, without `close()`: that tells Django that the request is over."""
    for closer in getattr(response, "_resource_closers", ()):
        with contextlib.suppress(Exception):
            closer()


# The tag ---------------------------------------------------------------------------------------


class Pull(NamedTuple):
    """Take the first chunk of a page that may go out; answered by bytes, or by what the application raised."""

    chunks: Generator[bytes, None, None] | AsyncGenerator[bytes, None]


def put_in(
    response: Any, tag: bytes, notes: Notes, meta: Mapping[str, Any], under_asgi: bool
) -> Generator[Pull, Any, None]:
    """Put the tag into a page, if it has a head. Streaming stays streaming."""
    page = _Page(tag, notes, meta)
    if not response.streaming:
        chunks = page.take(response.content, last=True)
        if page.found:
            response.content = b"".join(chunks)
            _grow(response, tag)
        return
    awaited = response.is_async
    known = "Content-Length" in response or "ETag" in response  # they depend on whether the tag goes in
    if known and awaited and not under_asgi:
        return  # Django will collect it in an event loop of its own
    given = response.streaming_content
    made: Any = _stream_async(given, page) if awaited else _stream(given, page)
    if known:
        first = yield Pull(made)
        if page.found:
            _grow(response, tag)
        made = (_behind_async if awaited else _behind)(first, made)
    response.streaming_content = made


def first_of(chunks: Any) -> bytes | Exception:
    """The first chunk of a page, which is looked for now; or what the application raised."""
    try:
        return next(chunks, b"")
    except Exception as error:
        return error


async def first_of_async(chunks: Any) -> bytes | Exception:
    """The same under ASGI, where Django takes a sync iterator's chunks in the request's thread."""
    if not isinstance(chunks, AsyncGenerator):
        return await sync_to_async(first_of, thread_sensitive=True)(chunks)
    try:
        return await anext(chunks, b"")
    except Exception as error:
        return error


def _grow(response: Any, tag: bytes) -> None:
    headers = headers_of(response)
    take_over(response, headers, with_tag(headers, growing_in(headers), len(tag)))


class _Page:
    """The beginning of a page, until its head is found."""

    def __init__(self, tag: bytes, notes: Notes, meta: Mapping[str, Any]) -> None:
        self._tag = tag
        self._notes = notes
        self._meta = meta
        self._finder = HeadFinder()
        self._held: list[bytes] = []
        self._searching = True
        self.found = False

    def take(self, chunk: bytes, *, last: bool = False) -> list[bytes]:
        """One more chunk; what may go out now."""
        if not self._searching:
            return [chunk] if chunk else []
        self._held.append(chunk)
        offset = self._finder.feed(chunk, last=last)
        if offset == HeadFinder.MORE:
            return []
        if offset == HeadFinder.NONE:
            self._notes.no_head(self._finder, self._meta.get("HTTP_SEC_FETCH_DEST") == "document")
            return self.release()
        self.found = True
        return insert(self.release(), offset, self._tag)

    def release(self) -> list[bytes]:
        """What is held goes out; nothing is looked for any more."""
        held, self._held, self._searching = self._held, [], False
        return [chunk for chunk in held if chunk]


def _stream(chunks: Iterator[bytes], page: _Page) -> Generator[bytes, None, None]:
    try:
        for chunk in chunks:
            yield from page.take(chunk)
    except Exception:
        yield from page.release()
        raise
    yield from page.take(b"", last=True)


async def _stream_async(chunks: AsyncGenerator[bytes, None], page: _Page) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                for ready in page.take(chunk):
                    yield ready
        except Exception:
            for ready in page.release():
                yield ready
            raise
        for ready in page.take(b"", last=True):
            yield ready


def _behind(first: bytes | Exception, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Behind the first chunk, the rest; what the application raised, it raises where it would have."""
    return _raise(first) if isinstance(first, Exception) else chain([first], rest)


def _raise(error: Exception) -> Iterator[bytes]:
    raise error
    yield b""  # which makes it a generator


async def _behind_async(first: bytes | Exception, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(first, Exception):
        raise first
    yield first
    async for chunk in rest:
        yield chunk
