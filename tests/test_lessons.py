"""Mistakes that others made, and that an earlier layer of ours made (issue 4): none of them is made again.

Others stand where they belong, above all in test_table.py, test_raising.py, test_asgi.py and test_wsgi.py.
"""

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

import pytest
from drive import HOST, PAGE, Asked, Call, Last, Server, ShellKind, Start, Visitor, call_asgi, environ_of, scope_of
from test_asgi import BODY, REWRITTEN, START, saying
from test_asgi_limits import BRIDGE, REPORT, never, part
from test_table import chat_cookie

COOKIES = {"stranger": "a=b", "chat": chat_cookie()}
HTML, JSON, EVENTS = "text/html", "application/json", "text/event-stream"


@pytest.fixture
def asgi() -> Iterator[ShellKind]:
    kind = ShellKind("asgi")
    yield kind
    kind.close()


@pytest.fixture
def wsgi() -> Iterator[ShellKind]:
    kind = ShellKind("wsgi")
    yield kind
    kind.close()


def call(visitor: str) -> Call:
    return Call(headers=[("Host", HOST), ("Cookie", COOKIES[visitor])])


def known(request: Any) -> Any:
    return {"id": 1}


# WSGI ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("body", [[], [b""], [b"", b""], [b"", PAGE[:9], b"", PAGE[9:]]], ids=str)
def test_nothing_is_yielded_before_its_start(wsgi: ShellKind, body: list[bytes], etag: bool, lazy: bool) -> None:
    """While a start is held nothing is yielded, not even `b""`: servers begin with the first chunk, whatever it is."""
    length = str(sum(map(len, body)))
    headers = [("Content-Type", HTML), ("ETag", 'W/"a"') if etag else ("Content-Length", length)]

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        yield from body

    def early(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return iter(body)

    server = Server()
    chunks = []
    for chunk in wsgi.wrap(app if lazy else early)(environ_of(Call()), server.start_response):
        assert server.head is not None, "a chunk before its start"
        chunks.append(chunk)
    assert server.head is not None
    assert b"".join(chunks) == (REWRITTEN if any(body) else b"")
    assert etag or dict(server.head[1])["Content-Length"] == str(len(b"".join(chunks)))


@pytest.mark.parametrize("kind", [HTML, JSON])
def test_an_empty_environ(wsgi: ShellKind, kind: str) -> None:
    """An application may be called with an environ that has nothing in it, as tests do."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", kind)])
        return [PAGE]

    server = Server()
    server.run(wsgi.wrap(app, profile=known), {})
    assert server.head == ("200 OK", [("Content-Type", kind)])
    assert b"".join(server.chunks) == (REWRITTEN if kind == HTML else PAGE)


ODD = ["299 Fine", "600 Beyond", "999 Odd", "200", "OK", "", "20", "abc def", "-12 x"]


@pytest.mark.parametrize("visitor", COOKIES)
@pytest.mark.parametrize("status", ODD)
def test_an_odd_status_line_is_the_servers_to_judge(wsgi: ShellKind, status: str, visitor: str) -> None:
    """A status that HTTP does not know, or that is none, reaches the server as it is, with its body and a mark."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", JSON)])
        return body

    body, server, environ = [b"{}"], Server(), environ_of(call(visitor))
    assert wsgi.wrap(app, profile=known)(environ, server.start_response) is body
    assert server.head is not None
    assert server.head[0] == status
    assert len(server.head[1]) == (3 if visitor == "chat" else 1)


@pytest.mark.parametrize("data", ["text", "", None, 5, bytearray(b"<html><head>"), memoryview(b"x")], ids=type)
@pytest.mark.parametrize("kind", [HTML, JSON])
def test_what_is_written_and_is_not_bytes(wsgi: ShellKind, kind: str, data: Any) -> None:
    """`write()` with something that is not bytes hands on that very thing, after what was written before it."""
    written: list[Any] = []

    def start_response(*_: Any) -> Any:
        return written.append

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Type", kind)])
        for one in (b"<!doctype html>", data, b"<html><head>"):
            write(one)
        return []

    list(wsgi.wrap(app)(environ_of(Call()), start_response))
    assert written == [b"<!doctype html>", data, b"<html><head>"]
    assert written[1] is data


# ASGI ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visitor", COOKIES)
@pytest.mark.parametrize("status", [299, 600, 999, 0, -1, "200", None, 200.5])
def test_an_odd_status_is_the_servers_to_judge(asgi: ShellKind, status: Any, visitor: str) -> None:
    """A status that HTTP does not know, or that is none, reaches the server as it is."""
    start = {**START, "headers": [(b"content-type", b"application/json")], "status": status}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi.wrap(saying(start, BODY), profile=known)(scope_of(call(visitor)), None, send))
    assert sent[0] == {**start, "headers": sent[0]["headers"]}
    assert (sent[0] is start) == (visitor == "stranger")
    assert sent[1] is BODY


@pytest.mark.parametrize("visitor", COOKIES)
@pytest.mark.parametrize("once", [True, False])
def test_headers_keep_their_duplicates_and_their_list(asgi: ShellKind, once: bool, visitor: str) -> None:
    """Headers that come twice go out twice, in order, whether they may be read once or more often; the application's
    own list is never changed."""
    theirs = [(b"content-type", b"text/html"), (b"set-cookie", b"a=1"), (b"x-a", b"1"), (b"set-cookie", b"b=2")]
    before = list(theirs)
    start = {**START, "headers": iter(theirs) if once else theirs}
    reply = call_asgi(asgi.wrap(saying(start, BODY), profile=known), call(visitor))
    assert theirs == before
    went = [pair for pair in reply.headers if pair[0] != "cache-control" and not pair[1].startswith("__Host-")]
    assert went == [("content-type", HTML), ("set-cookie", "a=1"), ("x-a", "1"), ("set-cookie", "b=2")]
    assert reply.body == REWRITTEN


def test_the_application_runs_in_the_servers_own_task_and_context(asgi: ShellKind) -> None:
    """No task is made around the application: it runs in the server's, and shares its context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.current_task())
        variable.set("the application's")
        await send(START)
        tasks.append(asyncio.current_task())
        await send(BODY)

    async def send(message: Any) -> None:
        tasks.append(asyncio.current_task())

    async def server() -> None:
        before = asyncio.all_tasks()
        await asgi.wrap(app, profile=known)(scope_of(call("chat")), None, send)
        assert set(tasks) == {asyncio.current_task()}
        assert asyncio.all_tasks() == before
        assert variable.get() == "the application's"

    asyncio.run(server())


def test_a_cancellation_in_the_look_up_that_is_the_applications_own(asgi: ShellKind) -> None:
    """An application that lets through the cancellation of something it waited for has failed in a request that nobody
    sent: the profile is asked all the same."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    visitor = Visitor(asgi.wrap(app, profile=lambda request: {"id": 1}), asgi)
    assert visitor.capture().json == {"status": "queued"}


def test_a_look_up_whose_request_is_cancelled(asgi: ShellKind) -> None:
    """A server that gives up a report while the application is asked gets its cancellation through."""
    asked = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await never()

    async def receive() -> Any:
        return part(REPORT, more=False)

    async def main() -> None:
        layer = asgi.wrap(app, profile=lambda request: {"id": 1})
        task = asyncio.create_task(layer(scope_of(Call("POST", "/_reve/session", BRIDGE.items())), receive, None))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


# Both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visitor", COOKIES)
def test_the_request_is_the_applications(shell: ShellKind, visitor: str) -> None:
    """`Accept-Encoding` and every other header reach the application as they came: compressing is not our business."""
    seen: list[Any] = []
    headers = {"Accept-Encoding": "br, gzip;q=0.5", "X-A": "1", "Range": "bytes=0-", "Cookie": COOKIES[visitor]}

    def app(asked: Asked) -> Any:
        seen.append(asked.headers)
        return [Start(), Last(PAGE)]

    shell.site(app).get("/", **{name.lower().replace("-", "_"): value for name, value in headers.items()})
    (found,) = seen
    assert {name: found[name] for name in ("accept-encoding", "x-a", "range", "cookie")} == {
        name.lower(): value for name, value in headers.items()
    }


@pytest.mark.parametrize("visitor", COOKIES)
@pytest.mark.parametrize("kind", [EVENTS, JSON, "text/plain", "application/x-ndjson", "multipart/x-mixed-replace"])
def test_nothing_but_html_is_ever_held_back(asgi: ShellKind, wsgi: ShellKind, kind: str, visitor: str) -> None:
    """A stream of events goes out event by event, its start before the first, even where an event looks like a page."""
    events = [b"data: 1\n\n", b"<!doctype html><html>", b"", b"<head>\n\n"]
    out: list[int] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-type", kind.encode())]})
        out.append(len(sent))
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            out.append(len(sent))
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi.wrap(app, profile=known)(scope_of(call(visitor)), None, send))
    assert out == [1, 2, 3, 4, 5]
    assert [message["body"] for message in sent[1:-1]] == events

    def stream(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", kind)])
        return body

    body, server = iter(events), Server()
    assert wsgi.wrap(stream, profile=known)(environ_of(call(visitor)), server.start_response) is body
    assert server.head is not None
    assert list(body) == events, "nothing of it was taken"
