"""What only a WSGI application or server can meet."""

import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from drive import HOST, PAGE, Call, Server, ShellKind, call_wsgi, environ_of
from test_table import TAG, chat_cookie

AT = PAGE.index(b"<title>")
REWRITTEN = PAGE[:AT] + TAG + PAGE[AT:]
HTML = [("Content-Type", "text/html")]
SIZED = [*HTML, ("Content-Length", str(len(PAGE)))]
GROWN = [*HTML, ("Content-Length", str(len(REWRITTEN)))]
JSON = [("Content-Type", "application/json")]
CHAT = [("Host", HOST), ("Cookie", chat_cookie())]


@pytest.fixture
def wsgi() -> Iterator[ShellKind]:
    kind = ShellKind("wsgi")
    yield kind
    kind.close()


def saying(headers: Any, body: Iterable[bytes]) -> Any:
    """An application that starts when it is called, and returns this body."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return body

    return app


class Body:
    """An iterator that says what was taken of it, and whether it was closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.left = list(reversed(chunks))
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        return self.left.pop()

    def close(self) -> None:
        self.closed += 1


# What is returned ------------------------------------------------------------------------------


def test_a_list_stays_a_list_of_the_same_length(wsgi: ShellKind) -> None:
    """Servers look at the length of a list; a page in one piece leaves in one piece."""
    assert call_wsgi(wsgi.wrap(saying(SIZED, [PAGE])), Call()).raw == [REWRITTEN]
    assert call_wsgi(wsgi.wrap(saying(HTML, (PAGE[:5], PAGE[5:]))), Call()).raw == [PAGE[:5], REWRITTEN[5:]]


@pytest.mark.parametrize(
    "body", [[b"Hello"], (b"Hel", b"lo"), [], [b"<html>", b"<body>"]], ids=["one", "two", "none", "no head"]
)
def test_what_is_not_rewritten_is_handed_back(body: Any, wsgi: ShellKind) -> None:
    """A list or tuple in which no head is found is returned as it is, the very object."""
    headers = [("Content-Type", "text/html"), ("Content-Length", str(sum(map(len, body))))]
    assert call_wsgi(wsgi.wrap(lambda environ, start: saying(headers, body)(environ, start)), Call()).raw is body


@pytest.mark.parametrize("headers", [SIZED, HTML, JSON], ids=["page with length", "page", "JSON"])
def test_a_wrapped_file_is_handed_back(wsgi: ShellKind, headers: Any) -> None:
    """`wsgi.file_wrapper`'s object reaches the server, which may send the file itself; nothing is read or changed."""
    files: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        files.append(environ["wsgi.file_wrapper"](io.BytesIO(PAGE)))
        return files[0]

    reply = call_wsgi(wsgi.wrap(app), Call())
    assert reply.raw is files[0]
    assert reply.headers == [(name.lower(), value) for name, value in headers]
    assert reply.body == PAGE


@pytest.mark.parametrize("headers", [SIZED, HTML, JSON], ids=["page with length", "page", "JSON"])
def test_what_was_written_comes_before_a_wrapped_file(wsgi: ShellKind, headers: Any) -> None:
    """An application may write before it returns a file; what it wrote goes out first."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)(PAGE[:20])
        return environ["wsgi.file_wrapper"](io.BytesIO(PAGE[20:]))

    assert call_wsgi(wsgi.wrap(app), Call()).body == PAGE


def test_a_file_wrapper_that_is_a_function(wsgi: ShellKind) -> None:
    """Where a server's wrapper is no class, its objects are iterables like others."""
    body = Body(PAGE)
    server = Server()
    environ = environ_of(Call()) | {"wsgi.file_wrapper": lambda file: body}
    app = wsgi.wrap(lambda environ, start: saying(SIZED, environ["wsgi.file_wrapper"](None))(environ, start))
    server.run(app, environ)
    assert b"".join(server.chunks) == REWRITTEN
    assert body.closed == 1


def test_without_injection_a_strangers_response_is_never_touched(wsgi: ShellKind) -> None:
    """With `inject=False` a visitor without a chat gets the very iterable, even one that has not started."""
    made: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        def lazy() -> Iterator[bytes]:
            start_response("200 OK", HTML)
            yield PAGE

        made.append(lazy())
        return made[-1]

    assert call_wsgi(wsgi.wrap(app, inject=False), Call()).raw is made[0]
    reply = call_wsgi(wsgi.wrap(app, inject=False, profile=lambda request: {"id": 1}), Call(headers=CHAT))
    assert list(reply.cookies) == ["__Host-reve-mark"]
    assert reply.body == PAGE


def test_close_is_called_once_wherever_the_server_stops(wsgi: ShellKind) -> None:
    """`close()` of the application's iterable is called when the server calls ours: at the end, or before it."""
    for taken in range(4):
        body = Body(b"<!doctype html>", b"<html>", b"<head>", b"<title>")
        iterable = wsgi.wrap(saying(HTML, body))(environ_of(Call()), Server().start_response)
        for _ in range(taken):
            next(iterable)
        assert body.closed == 0
        iterable.close()
        assert body.closed == 1


class Broken(Body):
    """One that fails when it is asked for its iterator."""

    def __iter__(self) -> Iterator[bytes]:
        raise LookupError("the application's own")


class Ending(Body):
    """One in which the process, or gevent's time-out, ends the request."""

    def __next__(self) -> bytes:
        raise SystemExit


@pytest.mark.parametrize("body", [Broken, Ending])
@pytest.mark.parametrize("headers", [SIZED, HTML, JSON], ids=["page with length", "page", "JSON"])
def test_close_is_called_once_however_an_iterable_fails(wsgi: ShellKind, headers: Any, body: type[Body]) -> None:
    """What fails before the server has got it is closed all the same: connections are given back there."""
    returned = body()
    with pytest.raises((LookupError, SystemExit)):
        call_wsgi(wsgi.wrap(saying(headers, returned)), Call(), valid=False)
    assert returned.closed == 1


def test_an_iterable_without_close(wsgi: ShellKind) -> None:
    """An iterable needs no `close()`."""
    assert call_wsgi(wsgi.wrap(saying(HTML, iter([PAGE]))), Call()).body == REWRITTEN


# When it goes out ------------------------------------------------------------------------------


def test_streaming_stays_streaming(wsgi: ShellKind) -> None:
    """Nothing is taken before the server asks, only the chunks up to the head are taken together, and what comes
    behind it is taken one by one. A start that does not depend on the body is not held."""
    body = Body(b"<!doctype html>", b"<html><head>", b"<title>", b"</title>")
    server = Server()
    iterable: Any = wsgi.wrap(saying(HTML, body))(environ_of(Call()), server.start_response)
    assert server.head == ("200 OK", HTML)
    assert len(body.left) == 4
    assert next(iterable) == b"<!doctype html>"
    assert len(body.left) == 2
    assert next(iterable) == b"<html><head>" + TAG
    assert len(body.left) == 2
    assert next(iterable) == b"<title>"
    assert len(body.left) == 1


def test_a_length_waits_for_the_head(wsgi: ShellKind) -> None:
    """A start that says how long the page is, is held until the head is found, and no longer than until we return."""
    body = Body(PAGE[:5], PAGE[5:])
    server = Server()
    wsgi.wrap(saying(SIZED, body))(environ_of(Call()), server.start_response)
    assert server.head == ("200 OK", GROWN)


def test_an_application_may_start_late(wsgi: ShellKind) -> None:
    """A generator starts when it is iterated, even after an empty chunk; nothing of it runs before."""
    began: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        began.append("began")
        yield b""
        start_response("200 OK", SIZED)
        yield PAGE

    server = Server()
    iterable = wsgi.wrap(app)(environ_of(Call()), server.start_response)
    assert began == []
    assert list(iterable) == [b"", REWRITTEN]
    assert server.head == ("200 OK", GROWN)


# write() ---------------------------------------------------------------------------------------


def test_write_and_the_iterable_are_one_body(wsgi: ShellKind) -> None:
    """The head may be written in pieces, and what is returned comes behind it."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", SIZED)
        write(PAGE[:3])
        write(PAGE[3 : AT + 2])
        write(PAGE[AT + 2 : AT + 5])
        return [PAGE[AT + 5 :]]

    reply = call_wsgi(wsgi.wrap(app), Call())
    assert reply.body == REWRITTEN
    assert reply.headers == [(name.lower(), value) for name, value in GROWN]


def test_what_was_written_without_a_head_comes_before_the_iterable(wsgi: ShellKind) -> None:
    """A head that is never written may still be in what is returned, or nowhere; the order stays."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)(b"<!doctype html>")
        return iter([b"<html>", environ["QUERY_STRING"].encode(), b"</html>"])

    layer = wsgi.wrap(app)
    assert call_wsgi(layer, Call(path="/?<head>")).body == b"<!doctype html><html><head>" + TAG + b"</html>"
    assert call_wsgi(layer, Call(path="/?<body>")).body == b"<!doctype html><html><body></html>"


def test_write_of_what_is_no_page_is_the_servers_own(wsgi: ShellKind) -> None:
    """Where nothing is looked for, the application writes to the server itself."""
    server = Server()
    given: list[Any] = []
    layer = wsgi.wrap(lambda environ, start: given.append(start("200 OK", JSON)) or [])
    layer(environ_of(Call()), server.start_response)
    assert given == [server.write]


# start_response, twice -------------------------------------------------------------------------


def failing(headers: Any, before: Iterable[bytes], error_headers: Any = HTML, *, lazy: bool = True) -> Any:
    """An application that starts, says something, fails, and starts an error page with `exc_info`."""

    def app(environ: Any, start_response: Any) -> Any:
        def run() -> Iterator[bytes]:
            start_response("200 OK", headers)
            yield from before
            try:
                raise LookupError("the application's own")
            except LookupError:
                start_response("500 Internal Server Error", error_headers, sys.exc_info())
            yield PAGE

        return run() if lazy else list(run())

    return app


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("headers", [SIZED, HTML, JSON], ids=["page with length", "page", "JSON"])
def test_an_error_page_takes_the_place_of_what_has_not_gone_out(wsgi: ShellKind, headers: Any, lazy: bool) -> None:
    """Before its first bytes an application may start anew with `exc_info`: nothing of the first start is left."""
    reply = call_wsgi(wsgi.wrap(failing(headers, [], SIZED, lazy=lazy)), Call())
    assert reply.status == 500
    rewritten = reply.body == REWRITTEN
    assert reply.body == (REWRITTEN if rewritten else PAGE)
    assert reply.headers == [(name.lower(), value) for name, value in (GROWN if rewritten else SIZED)]
    assert rewritten == (headers is SIZED)


def test_what_replaces_a_page_need_not_be_one(wsgi: ShellKind) -> None:
    """An error in JSON behind a held page is no page."""
    reply = call_wsgi(wsgi.wrap(failing(SIZED, [], JSON)), Call())
    assert (reply.status, reply.body) == (500, PAGE)
    assert reply.headers == [("content-type", "application/json")]


@pytest.mark.parametrize("before", [b"<!doctype html>", b"<html><head>", b"<p>"])
@pytest.mark.parametrize("headers", [SIZED, HTML, JSON], ids=["page with length", "page", "JSON"])
def test_after_the_first_bytes_it_is_too_late(wsgi: ShellKind, headers: Any, before: bytes) -> None:
    """With bytes out, `start_response` raises the error it is given, and what was said before has gone out."""
    with pytest.raises(LookupError, match="the application's own") as raised:
        call_wsgi(wsgi.wrap(failing(headers, [before])), Call())
    server = raised.value.server  # type: ignore[attr-defined]
    tagged = TAG if before.endswith(b"<head>") and headers is not JSON else b""
    assert b"".join(server.chunks) == before + tagged
    assert server.gone_out[0] == "200 OK"


def test_a_second_start_without_a_reason_is_the_servers_to_refuse(wsgi: ShellKind) -> None:
    """Two starts without `exc_info` are the application's mistake, and the server says so as it would have."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", SIZED)
        start_response("200 OK", SIZED)
        return [PAGE]

    with pytest.raises(AssertionError, match="a second start needs exc_info"):
        call_wsgi(wsgi.wrap(app), Call(), valid=False)


# What breaks the rules -------------------------------------------------------------------------


def test_text_in_place_of_bytes_is_the_servers_to_refuse(wsgi: ShellKind) -> None:
    """A chunk of text is the application's mistake; it is passed on, and the server says so as it would have."""
    for body in ([PAGE.decode()], iter([PAGE.decode()])):
        with pytest.raises(AssertionError, match="a chunk is bytes") as raised:
            call_wsgi(wsgi.wrap(saying(SIZED, body)), Call(), valid=False)  # type: ignore[arg-type]
        assert raised.value.server.head == ("200 OK", SIZED)  # type: ignore[attr-defined]


def test_a_header_that_no_protocol_carries_is_passed_on(wsgi: ShellKind) -> None:
    """A header that is not latin-1 is the server's to refuse: it goes out as it came."""
    headers = [*HTML, ("X-Price", "5 €")]
    reply = call_wsgi(wsgi.wrap(saying(headers, [PAGE])), Call(), valid=False)
    assert (reply.body, reply.headers) == (REWRITTEN, [("content-type", "text/html"), ("x-price", "5 €")])


def test_a_telling_header_that_no_protocol_carries(wsgi: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """One of ours to read that is not latin-1: the page goes out as it came, and the log says so."""
    headers = [*HTML, ("Cache-Control", "5 €")]
    reply = call_wsgi(wsgi.wrap(saying(headers, [PAGE])), Call(), valid=False)
    assert (reply.body, reply.headers) == (PAGE, [("content-type", "text/html"), ("cache-control", "5 €")])
    (record,) = caplog.records
    assert record.getMessage().startswith("a fault of reve-middleware (UnicodeEncodeError at environ.py:")


@pytest.mark.parametrize("call", [Call(), Call(headers=CHAT)], ids=["stranger", "known"])
def test_headers_that_can_be_read_once(wsgi: ShellKind, call: Call) -> None:
    """PEP 3333 wants a list, but servers take any iterable: one that can be read once still reaches them whole."""

    def app(environ: Any, start_response: Any) -> Any:
        return saying(iter(SIZED), [PAGE])(environ, start_response)

    reply = call_wsgi(wsgi.wrap(app, profile=lambda request: {"id": 1}), call, valid=False)
    assert (reply.body, reply.headers[:2]) == (REWRITTEN, [(name.lower(), value) for name, value in GROWN])


@pytest.mark.parametrize("headers", [(), (("Content-Type", "application/json"),)])
@pytest.mark.parametrize("call", [Call(), Call(headers=CHAT)], ids=["stranger", "known"])
def test_headers_in_a_tuple_stay_in_it(wsgi: ShellKind, call: Call, headers: Any) -> None:
    """Pyramid's own tests start a response with an empty tuple: what is not changed is the very same object."""
    seen: list[Any] = []

    layer = wsgi.wrap(saying(headers, [b"{}"]), profile=lambda request: None)
    layer(environ_of(call), lambda status, headers: seen.append(headers))
    assert seen == [headers]
    assert seen[0] is headers


def test_an_inner_layer_may_take_the_cookies_away(wsgi: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """Where the environ has no cookies any more there is no chat; the page is a page, and nobody is at fault."""

    def app(environ: Any, start_response: Any) -> Any:
        del environ["HTTP_COOKIE"]
        return saying(SIZED, [PAGE])(environ, start_response)

    reply = call_wsgi(wsgi.wrap(app, profile=lambda request: {"id": 1}), Call(headers=CHAT), valid=False)
    assert (reply.body, reply.cookies, caplog.records) == (REWRITTEN, {}, [])


def test_the_application_finds_a_valid_environ(wsgi: ShellKind) -> None:
    """What we put into the environ leaves it valid for the application (PEP 3333)."""
    assert call_wsgi(wsgi.wrap(validator(saying(HTML, [PAGE]))), Call()).body == REWRITTEN


def test_an_environ_of_bare_necessities(wsgi: ShellKind) -> None:
    """Keys that PEP 3333 lets a server leave out may be absent."""
    environ = environ_of(Call(headers=CHAT))
    for key in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "SERVER_PORT"):
        del environ[key]
    server = Server()
    server.run(wsgi.wrap(saying(HTML, [PAGE]), profile=lambda request: {"id": str(request.url)}), environ)
    assert b"".join(server.chunks) == REWRITTEN
    assert server.head is not None
    assert [name.lower() for name, _ in server.head[1]] == ["content-type", "cache-control", "set-cookie"]
