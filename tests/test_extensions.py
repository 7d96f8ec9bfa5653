"""What ASGI's extensions add to a request and to its response: it passes, and the rest is as it would be without."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from drive import HOST, PAGE, Call, ShellKind, Visitor, call_wsgi, scope_of
from oracle import Sent
from servers import Reply, reply_of
from test_asgi import BODY, REWRITTEN, START, saying
from test_table import chat_cookie
from under_trio import TrioKind

EXTENSIONS = ("pathsend", "zerocopysend", "trailers", "early_hint", "push", "debug")
PATH = {"type": "http.response.pathsend", "path": "/srv/page.html"}
FILE: dict[str, Any] = {"type": "http.response.zerocopysend", "file": object(), "offset": 3, "count": 5}
HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload; as=style"]}
PUSH = {"type": "http.response.push", "path": "/a.css", "headers": []}
DEBUG = {"type": "http.response.debug", "info": {"template": object(), "context": {"request": object()}}}
SUM = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True}
END = {"type": "http.response.trailers", "headers": [(b"x-end", b"1")]}
SIZED = {**START, "headers": [*START["headers"], (b"content-length", b"%d" % len(PAGE)), (b"etag", b'"a"')]}  # type: ignore[misc]
PART = {"type": "http.response.body", "body": b"<!doctype html>", "more_body": True}
COOKIES = {"stranger": "a=b", "chat": chat_cookie(), "known": f"{chat_cookie()}; user=ada"}


@pytest.fixture(params=["asyncio", "trio"])
def asgi(request: pytest.FixtureRequest) -> Iterator[ShellKind]:
    kind = ShellKind("asgi") if request.param == "asyncio" else TrioKind()
    yield kind
    kind.close()


def profile(request: Any) -> Any:
    return {"id": 1} if request.cookies.get("user") else None


def sent_by(app: Any, call: Call) -> Reply:
    """What goes to a server that has every extension."""
    scope = {**scope_of(call), "extensions": {f"http.response.{name}": {} for name in EXTENSIONS}}
    sent = Sent(scope)

    async def send(message: Any) -> None:
        sent.take(message)

    asyncio.run(app(scope, None, send))
    sent.close(whole=True)
    return reply_of(sent.messages)


UNTOUCHED: dict[str, list[dict[str, Any]]] = {
    "a file by its path": [START, PATH],
    "a file by its path, of known length": [SIZED, PATH],
    "an open file": [SIZED, FILE],
    "two open files": [START, {**FILE, "more_body": True}, FILE],
    "an open file behind a part": [SIZED, PART, FILE],
    "a part behind an open file": [START, {**FILE, "more_body": True}, BODY],
    "a file, and trailers": [{**SIZED, "trailers": True}, PATH, SUM, END],
    "a page without a head, and trailers": [{**START, "trailers": True}, {**BODY, "body": b"<p>"}, SUM, END],
}


@pytest.mark.parametrize("visitor", COOKIES)
@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_the_server_sends_itself_is_not_rewritten(name: str, visitor: str) -> None:
    """A file that the server reads itself leaves with the length and the ETag it came with, in the same messages; but
    for the cookie of a visitor who is known, the start is the same object too."""
    messages, kind = UNTOUCHED[name], ShellKind("asgi")
    layer = kind.wrap(saying(*messages), profile=profile)
    start, *rest = sent_by(layer, Call(headers=[("Host", HOST), ("Cookie", COOKIES[visitor])])).raw
    kind.close()
    assert [came is went for came, went in zip(rest, messages[1:], strict=True)] == [True] * len(rest)
    assert (start is messages[0]) == (visitor != "known")
    others = [pair for pair in start["headers"] if pair[0] not in (b"set-cookie", b"cache-control")]
    assert {**start, "headers": others} == messages[0]


BEFORE = {"early hints": [HINT, HINT], "a push": [PUSH], "debug": [DEBUG], "all": [HINT, DEBUG, PUSH]}


@pytest.mark.parametrize("name", BEFORE)
def test_what_comes_before_a_page_goes_out_at_once(name: str) -> None:
    """Early hints, pushes and a framework's debug message leave as the same objects before the page has begun, and the
    page has its tag."""
    out: list[int] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in BEFORE[name]:
            await send(message)
            out.append(len(sent))
        await send(SIZED)
        assert len(sent) == len(out), "a start that says how long the page is, is held"
        await send(BODY)

    async def send(message: Any) -> None:
        sent.append(message)

    kind = ShellKind("asgi")
    asyncio.run(kind.wrap(app)(scope_of(Call()), None, send))
    kind.close()
    assert out == [number + 1 for number in range(len(out))]
    assert [came is went for came, went in zip(BEFORE[name], sent, strict=False)] == [True] * len(out)
    assert sent[-1]["body"] == REWRITTEN


def test_trailers_of_a_page() -> None:
    """A page with trailers gets its tag, announces them, and they leave as the same objects."""
    kind = ShellKind("asgi")
    reply = sent_by(kind.wrap(saying({**START, "trailers": True}, BODY, SUM, END)), Call())
    kind.close()
    assert reply.raw[0]["trailers"] is True
    assert reply.body == REWRITTEN
    assert reply.raw[2] is SUM
    assert reply.raw[3] is END


# The look-up -----------------------------------------------------------------------------------


def test_the_look_up_has_the_connections_extensions_alone(asgi: ShellKind) -> None:
    """What the connection is known by, such as a client's certificate, is known in the internal GET; ways to answer,
    such as a file by its path, are not offered there: no server takes them."""
    certificate = {"client_cert_name": "CN=ada"}
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])
        await send(START)
        await send(BODY)

    async def server(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["tls"] = certificate
        await layer(scope, receive, send)

    layer = asgi.wrap(app, profile=lambda request: {"id": request.scope["extensions"]["tls"]["client_cert_name"]})
    visitor = Visitor(server, asgi)
    assert visitor.capture().json == {"status": "queued"}
    assert seen == [{"tls": certificate}]
    assert seen[0]["tls"] is certificate
    visitor.middleware = layer
    assert visitor.pushed()[0].data == {"id": "CN=ada"}


@pytest.mark.parametrize("extensions", [None, {}])
def test_a_server_need_not_have_extensions(asgi: ShellKind, extensions: Any) -> None:
    """A scope may have no extensions, or None."""

    async def server(scope: Any, receive: Any, send: Any) -> None:
        del scope["extensions"]
        if extensions is None:
            scope["extensions"] = None
        await layer(scope, receive, send)

    layer = asgi.wrap(saying(START, BODY), profile=lambda request: {"id": 1})
    assert Visitor(server, asgi).capture().json == {"status": "queued"}


# State -----------------------------------------------------------------------------------------


def test_the_state_of_the_lifespan_reaches_every_request(asgi: ShellKind) -> None:
    """What the application opens at its start is in `state`, the server's own object: in a request, in the internal GET
    and for `profile`; and what a request adds there the server's other layers see."""
    pool, seen = object(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = pool
            await send({"type": "lifespan.startup.complete"})
            return
        seen.append((scope["method"], scope["state"]["pool"]))
        scope["state"]["user"] = "ada"
        await send(START)
        await send(BODY)

    def who(request: Any) -> Any:
        seen.append(("profile", request.state.pool))
        return {"id": request.state.user}

    state: dict[str, Any] = {}
    of_requests: list[dict[str, Any]] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        of_requests.append(dict(state))
        await layer({**scope, "state": of_requests[-1]}, receive, send)

    async def sends(message: Any) -> None: ...

    layer = asgi.wrap(app, profile=who)
    asyncio.run(layer({"type": "lifespan", "state": state}, None, sends))
    assert state == {"pool": pool}
    visitor = Visitor(server, asgi)
    assert visitor.capture().json == {"status": "queued"}
    visitor.get("/")
    assert seen == [("GET", pool), ("profile", pool)] * 2
    assert of_requests == [{"pool": pool, "user": "ada"}] * 2
    assert state == {"pool": pool}


# Web sockets -----------------------------------------------------------------------------------


def test_a_web_socket_is_not_touched() -> None:
    """A web socket's scope, `receive` and `send` reach the application as the server made them, with nothing added; so
    a refusal with a page (`websocket.http.response`) is the application's alone."""
    start = {**START, "type": "websocket.http.response.start", "status": 403}
    body = {**BODY, "type": "websocket.http.response.body"}
    seen: list[Any] = []
    sent: list[Any] = []

    async def app(*given: Any) -> str:
        seen.extend(given)
        await given[2](start)
        await given[2](body)
        return "returned"

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode()), (b"cookie", COOKIES["known"].encode())]
    scope = {"type": "websocket", "path": "/_reve/session", "headers": headers, "state": {}}
    before = dict(scope)
    kind = ShellKind("asgi")
    assert asyncio.run(kind.wrap(app, profile=profile)(scope, receive, send)) == "returned"
    kind.close()
    assert [one is other for one, other in zip(seen, (scope, receive, send), strict=True)] == [True] * 3
    assert scope == before
    assert sent[0] is start
    assert sent[1] is body


# WSGI's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [[("Content-Type", "text/html")], [("Content-Type", "image/png")]], ids=str)
def test_a_wrapped_file_is_handed_back_with_a_mark(headers: list[tuple[str, str]]) -> None:
    """`wsgi.file_wrapper`'s object reaches the server even where the response sets a visitor's mark."""
    files: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        with open(__file__, "rb") as file:
            files.append(environ["wsgi.file_wrapper"](file))
            return files[0]

    kind = ShellKind("wsgi")
    layer = kind.wrap(app, profile=lambda request: {"id": 1})
    returned: list[Any] = []
    environ_headers = [("Host", HOST), ("Cookie", COOKIES["chat"])]

    def server(environ: Any, start_response: Any) -> Any:
        returned.append(layer(environ, start_response))
        return []

    reply = call_wsgi(server, Call(headers=environ_headers))
    kind.close()
    assert list(reply.cookies) == ["__Host-reve-mark"]
    assert returned[0] is files[0]
