"""An application that raises, through both shells: the same exception, behind the same bytes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from drive import HOST, WSGI_STYLES, Call, Last, ShellKind, Start, asgi_app, call_asgi, call_wsgi, wsgi_app
from test_table import TAG, chat_cookie, profile

JSON = Start(200, [("Content-Type", "application/json")])
HTML = Start(200, [("Content-Type", "text/html")])
SIZED = Start(200, [("Content-Type", "text/html"), ("Content-Length", "1000"), ("ETag", '"abc"')])
ENCODED = Start(200, [("Content-Type", "text/html"), ("Content-Encoding", "gzip")])

RAISED_AFTER = {
    "nothing": [],
    "the start of a page": [HTML],
    "the start of a page of known length": [SIZED],
    "the start of another body": [JSON],
    "a chunk without a head": [SIZED, b"<!doctype html>"],
    "two chunks without a head": [HTML, b"<!doctype ", b"html>"],
    "empty chunks": [HTML, b"", b""],
    "a chunk of no page": [SIZED, b"<p>"],
    "a chunk with the head": [HTML, b"<html><head>@"],
    "two chunks with the head": [SIZED, b"<html>", b"<head>@<title>"],
    "a chunk of another body": [JSON, b"{}"],
    "a chunk of compressed bytes": [ENCODED, b"\x1f\x8b"],
    "the end of a page": [HTML, b"<html><head>@", Last(b"</head>")],
}
FORMS = ("asgi", *(f"wsgi-{style}" for style in WSGI_STYLES))


class Trouble(Exception):
    """The application's own."""


VISITORS = {"stranger": "a=b", "chat": chat_cookie(), "known": f"{chat_cookie()}; user=ada"}


def raising(form: str, steps: list[Any], trouble: Exception, tag: bytes) -> Any:
    """The application that says these steps and raises then; `@` stands for the tag."""

    def app(_: Any) -> Any:
        yield from (step.replace(b"@", tag) if isinstance(step, bytes) else step for step in steps)
        raise trouble

    protocol, _, style = form.partition("-")
    return asgi_app(app) if protocol == "asgi" else wsgi_app(app, style)


def went_out(form: str, application: Any, visitor: str) -> tuple[Exception, Any, list[bytes]]:
    """What comes out, what the server has been told to start with, and what it has sent."""
    call = Call(headers=[("Host", HOST), ("Cookie", VISITORS[visitor])])
    with pytest.raises(Trouble) as raised:
        (call_asgi if form == "asgi" else call_wsgi)(application, call)
    error: Any = raised.value
    if form == "asgi":
        head = next(((one["status"], one["headers"]) for one in error.sent if "status" in one), None)
        return error, head, [one["body"] for one in error.sent if "body" in one]
    server = error.server
    return error, server.head, [b"(head)"] * (server.gone_out is not None) + server.chunks


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RAISED_AFTER)
def test_the_same_exception_comes_out_behind_the_same_bytes(name: str, form: str, visitor: str) -> None:
    """What an application raises comes out as the very same object, and what it has said before goes out first."""
    steps, trouble = RAISED_AFTER[name], Trouble()
    _, bare_head, bare_chunks = went_out(form, raising(form, steps, trouble, TAG), visitor)
    kind = ShellKind(form.partition("-")[0])
    try:
        error, head, chunks = went_out(form, kind.wrap(raising(form, steps, trouble, b""), profile=profile), visitor)
    finally:
        kind.close()
    assert error is trouble
    assert error.__context__ is None
    assert error.__cause__ is None
    assert chunks == bare_chunks
    assert (head is None) == (bare_head is None)
    if head is not None:
        assert head[0] == bare_head[0]
        rewritten = any(TAG in chunk for chunk in chunks)
        assert text(head[1]) == [grown(*pair) if rewritten else pair for pair in text(bare_head[1])]


@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("name", RAISED_AFTER)
def test_a_cancellation_that_is_not_the_requests_own(name: str, visitor: str) -> None:
    """An application that waits for what somebody else has cancelled fails like any other."""

    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asgi_app(lambda asked: raising_steps(RAISED_AFTER[name]))(scope, receive, send)
        except Trouble:
            raise asyncio.CancelledError from None

    call = Call(headers=[("Host", HOST), ("Cookie", VISITORS[visitor])])
    kind = ShellKind("asgi")
    try:
        with pytest.raises(asyncio.CancelledError) as raised:
            call_asgi(kind.wrap(cancelled, profile=profile), call)
    finally:
        kind.close()
    said = [step.replace(b"@", TAG) for step in RAISED_AFTER[name] if isinstance(step, bytes)]
    said += [step.data for step in RAISED_AFTER[name] if isinstance(step, Last)]
    assert [one["body"] for one in raised.value.sent if "body" in one] == said  # type: ignore[attr-defined]


def raising_steps(steps: list[Any]) -> Iterator[Any]:
    """These steps, without a tag, and trouble behind them."""
    yield from (step.replace(b"@", b"") if isinstance(step, bytes) else step for step in steps)
    raise Trouble


def text(headers: Any) -> list[tuple[str, str]]:
    """The headers, lower case, but for those of a visitor who is known."""
    pairs = [tuple(one.decode() if isinstance(one, bytes) else one for one in pair) for pair in headers]
    return [(name.lower(), value) for name, value in pairs if name.lower() not in ("set-cookie", "cache-control")]


def grown(name: str, value: str) -> tuple[str, str]:
    """A header of a page that has got the tag."""
    if name == "content-length":
        return name, str(int(value) + len(TAG))
    return name, f"W/{value}" if name == "etag" else value
