"""What the WSGI shell makes of a request: the report's body, the internal GET, and the request callables see."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from drive import HOST, PAGE, Asked, Call, Last, ShellKind, Start, Visitor, call_wsgi, environ_of, page

from reve_middleware import SettingsError, identify, script_tag
from reve_middleware import wsgi as shell_module
from reve_middleware.environ import EnvironScope, scope_of

REPORT = json.dumps({"session_id": "s-1", "chatbot_id": "bot"}).encode()
BRIDGE = {
    "Host": HOST,
    "Origin": f"https://{HOST}",
    "Sec-Fetch-Site": "same-origin",
    "X-Reve-Bridge": "1",
    "Content-Type": "application/json",
}


@pytest.fixture
def wsgi() -> Iterator[ShellKind]:
    kind = ShellKind("wsgi")
    yield kind
    kind.close()


# The report's body -----------------------------------------------------------------------------


class Input(io.BytesIO):
    """What a server gives us to read, and how much of it was asked for."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        super().__init__(data)
        self.error = error
        self.asked: list[int | None] = []

    def read(self, size: int | None = -1) -> bytes:
        self.asked.append(size)
        if self.error is not None:
            raise self.error
        return super().read(size)


def report(wsgi: ShellKind, given: Input, length: str | None, **environ: Any) -> tuple[int, str]:
    """Status and text of the answer to a report with this body and this Content-Length."""
    whole = environ_of(Call("POST", "/_reve/session", BRIDGE.items())) | {"wsgi.input": given, **environ}
    del whole["CONTENT_LENGTH"]
    if length is not None:
        whole["CONTENT_LENGTH"] = length
    started: list[Any] = []
    layer = wsgi.wrap(wsgi.application(page()))
    (body,) = layer(whole, lambda status, headers: started.append(status))
    answer = json.loads(body)
    return int(started[0][:3]), answer["detail"] if "detail" in answer else answer["status"]


BAD = (400, "The body must be one JSON object without repeated keys.")
LARGE = (413, "The body may have at most 2048 bytes.")


def test_no_more_is_read_than_the_length_says(wsgi: ShellKind) -> None:
    """A server may keep the connection open behind the body: more than Content-Length is never read."""
    given = Input(REPORT + b"the next request")
    assert report(wsgi, given, str(len(REPORT))) == (200, "anonymous")
    assert given.asked == [len(REPORT)]


def test_a_body_whose_end_the_server_marks(wsgi: ShellKind) -> None:
    """With `wsgi.input_terminated` a body needs no length, and one byte more than 2 KiB is all that is read."""
    assert report(wsgi, Input(REPORT), None, **{"wsgi.input_terminated": True}) == (200, "anonymous")
    given = Input(b" " * 5000)
    assert report(wsgi, given, None, **{"wsgi.input_terminated": True}) == LARGE
    assert given.asked == [2049]


@pytest.mark.parametrize("length", [None, "", "x", "-1", "²"])
def test_a_body_without_a_length_is_not_read(wsgi: ShellKind, length: str | None) -> None:
    """Without a length and without a marked end nothing is read: the server might wait for ever."""
    given = Input(REPORT)
    assert report(wsgi, given, length) == BAD
    assert given.asked == []


@pytest.mark.parametrize("length", ["2049", "9" * 9, "9" * 5000])
def test_a_body_that_is_too_large_is_not_read(wsgi: ShellKind, length: str) -> None:
    """A length over 2 KiB is refused before a byte is read, however long the number."""
    given = Input(b" " * 5000)
    assert report(wsgi, given, length) == LARGE
    assert given.asked == []


def test_a_body_that_breaks_off(wsgi: ShellKind) -> None:
    """A client that goes away in the middle of its report has captured nothing."""
    assert report(wsgi, Input(REPORT[:-3]), str(len(REPORT))) == BAD
    assert report(wsgi, Input(REPORT, OSError("gone")), str(len(REPORT))) == BAD


# The internal GET ------------------------------------------------------------------------------


def test_the_internal_get_is_an_environ_of_its_own(wsgi: ShellKind) -> None:
    """The application sees a GET without body and without what belongs to the browser's report; the browser's own
    names and cookies are there, and the server's keys say the same path."""
    seen: dict[str, Any] = {}

    def app(asked: Asked) -> Any:
        seen.update(asked.raw, body=asked.raw["wsgi.input"].read())
        return [Start(200), Last(PAGE)]

    layer = wsgi.wrap(wsgi.application(app), subrequest="/who/%C3%BC?a=1")
    headers = {**BRIDGE, "Cookie": "user=ada", "User-Agent": "test", "If-None-Match": '"a"', "Range": "bytes=0-1"}
    environ = environ_of(Call("POST", "/_reve/session", headers.items(), REPORT, mount="/möunt"))
    environ["REQUEST_URI"] = environ["RAW_URI"] = "/m%C3%B6unt/_reve/session"
    before = dict(environ)
    layer(environ, lambda status, headers: None)
    assert environ == before
    assert {name: seen[name] for name in seen if name.startswith(("HTTP_", "CONTENT_"))} == {
        "HTTP_HOST": HOST,
        "HTTP_COOKIE": "user=ada",
        "HTTP_USER_AGENT": "test",
    }
    assert (seen["REQUEST_METHOD"], seen["QUERY_STRING"], seen["body"]) == ("GET", "a=1", b"")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == tuple(
        one.encode().decode("latin-1") for one in ("/möunt", "/who/ü")
    )
    assert seen["REQUEST_URI"] == seen["RAW_URI"] == "/m%C3%B6unt/who/%C3%BC?a=1"


def test_the_answer_of_the_internal_get_is_thrown_away(wsgi: ShellKind) -> None:
    """What the application writes or returns for the internal GET goes nowhere; it is closed, and an endless body
    is left in the middle."""
    closed: list[int] = []

    class Endless:
        taken = 0

        def __iter__(self) -> Iterator[bytes]:
            while True:
                self.taken += 1
                yield b"nobody reads this"

        def close(self) -> None:
            closed.append(self.taken)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"nor this")
        return Endless()

    visitor = Visitor(wsgi.wrap(app), wsgi)
    assert visitor.capture().body == b'{"status": "anonymous"}'
    assert len(closed) == 1
    assert closed[0] <= shell_module.MOST_THROWN_AWAY + 1


def test_an_application_may_start_the_look_up_twice(wsgi: ShellKind) -> None:
    """An application that fails and starts anew with `exc_info` is asked once, at its first start."""
    asked: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Set-Cookie", "a=1")])
        start_response("500 Internal Server Error", [("Set-Cookie", "b=2")], (ValueError, ValueError(), None))
        return [b"an error page"]

    def profile(request: Any) -> Any:
        asked.append(request.method)
        return {"id": 1}

    reply = Visitor(wsgi.wrap(app, profile=profile), wsgi).capture()
    assert reply.values("set-cookie")[0] == "a=1"
    assert len(reply.cookies) == 3
    assert asked == ["GET"]


def test_an_application_that_never_starts(wsgi: ShellKind) -> None:
    """A response without a start is the application's mistake, and the server says so as it would have."""
    layer = wsgi.wrap(lambda environ, start_response: iter([]))
    with pytest.raises(AssertionError, match="a chunk comes after the start"):
        call_wsgi(layer, Call(), valid=False)
    assert Visitor(layer, wsgi).capture().json == {"status": "anonymous"}


# The callables ---------------------------------------------------------------------------------


def test_callables_get_a_request_that_reads_no_body(wsgi: ShellKind) -> None:
    """`profile` sees a Starlette request made of the environ, which is in its scope; its body is not to be had."""
    seen: list[Any] = []

    def profile(request: Any) -> Any:
        seen.append((request.method, str(request.url), dict(request.query_params), request.cookies["user"]))
        seen.append((request.headers.get("x-a"), request.client.host, request.scope["wsgi.environ"]["the.framework"]))
        with pytest.raises(RuntimeError, match="Receive channel has not been made available"):
            request.body().send(None)

    def app(asked: Asked) -> Any:
        asked.raw["the.framework"] = "its user"
        assert asked.method == "GET" or asked.raw["wsgi.input"].read(4) == b"body"
        return [Start(200), Last(PAGE)]

    visitor = wsgi.site(app, profile=profile)
    visitor.jar["user"] = "ada"
    visitor.capture()
    seen.clear()
    visitor.post("/a?c=d", b"body", x_a="1")
    assert seen == [
        ("POST", f"https://{HOST}/a?c=d", {"c": "d"}, "ada"),
        ("1", "192.0.2.1", "its user"),
    ]


def test_what_is_said_while_a_body_is_made_counts(wsgi: ShellKind) -> None:
    """A generator runs when the server asks for its chunks: `identify()` in it is said in its own request's context,
    and nothing of that is left behind."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        if environ["PATH_INFO"] == "/who":
            identify({"id": 1})
        start_response("200 OK", [("Content-Type", "text/html")])
        yield PAGE

    visitor = Visitor(wsgi.wrap(app), wsgi)
    assert visitor.capture().json == {"status": "anonymous"}
    assert list(visitor.get("/who").cookies) == ["__Host-reve-mark"]
    assert script_tag() == ""


def test_async_callables_are_refused_when_the_object_is_built(wsgi: ShellKind) -> None:
    """WSGI has no event loop, and the error says so before a request comes."""

    async def asynchronous(request: Any) -> None: ...

    class Asynchronous:
        async def __call__(self, request: Any) -> None: ...

    for name in ("profile", "identity", "consent"):
        for value in (asynchronous, Asynchronous()):
            with pytest.raises(SettingsError) as raised:
                wsgi.wrap(wsgi.application(page()), **{name: value})
            assert str(raised.value) == f"{name}= is async, and WSGI has no event loop: pass a plain function"


def test_a_coroutine_is_no_profile(wsgi: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A plain function that returns a coroutine is told so; nothing is left unawaited."""

    async def asynchronous() -> Any:
        return {"id": 1}

    visitor = wsgi.site(profile=lambda request: asynchronous())
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/").status == 200
    (record,) = caplog.records
    text = (
        "profile= returned a coroutine, and WSGI has no event loop: pass a plain function that returns the value itself"
    )
    assert record.getMessage() == f"{text}; the visitor counts as unknown"


def test_no_server_key_is_needed(wsgi: ShellKind) -> None:
    """A request of a client without an address, over a port that is no number, has no client and no port."""
    seen: list[Any] = []
    visitor = wsgi.site(profile=lambda request: seen.append((request.client, request.scope["server"])))
    visitor.capture()
    call = Call(
        headers=[("Host", HOST), ("Cookie", "; ".join(f"{name}={value}" for name, value in visitor.jar.items()))]
    )
    environ = environ_of(call) | {"SERVER_PORT": "", "REMOTE_ADDR": ""}
    seen.clear()
    list(visitor.middleware(environ, lambda status, headers: None))
    assert seen == [(None, (HOST, None))]
    environ = environ_of(call) | {"SERVER_PORT": 8000}  # as Starlette's WSGIMiddleware says it
    seen.clear()
    list(visitor.middleware(environ, lambda status, headers: None))
    assert [server for _, server in seen] == [(HOST, 8000)]
    assert call_wsgi(visitor.middleware, call).status == 200


# The scope of an environ -------------------------------------------------------------------------

ENVIRON = environ_of(Call(path="/a", headers=[("Cookie", "a=1")]))
READINGS: dict[str, Callable[[Any], Any]] = {
    "[]": lambda scope: scope["path"],
    "[] of what is there at once": lambda scope: scope["wsgi.environ"] is ENVIRON,
    "get": lambda scope: (scope.get("method"), scope.get("other", 7)),
    "in": lambda scope: ("headers" in scope, "other" in scope),
    "len": len,
    "iteration": sorted,
    "keys": lambda scope: sorted(scope.keys()),
    "values": lambda scope: len(scope.values()),
    "items": lambda scope: dict(scope.items()),
    "dict()": dict,
    "{**}": lambda scope: {**scope},
    "copy": lambda scope: type(scope.copy()) is dict and scope.copy(),
    "==": lambda scope: scope == {**scope},
    "repr": repr,
    "pop": lambda scope: scope.get("path") and scope.pop("path"),
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_the_scope_of_an_environ_is_whole_however_it_is_read(read: Callable[[Any], Any]) -> None:
    """`request.scope` under WSGI is made when it is looked at, and nobody can tell: whichever way it is read first."""
    whole = {"type": "http", "wsgi.environ": ENVIRON, **scope_of(ENVIRON)}
    assert read(EnvironScope(ENVIRON)) == read(dict(whole))


def test_a_key_that_no_scope_has() -> None:
    """What is not there is a KeyError, at the first look and at the second."""
    scope = EnvironScope(ENVIRON)
    for _ in range(2):
        with pytest.raises(KeyError, match="session"):
            scope["session"]
