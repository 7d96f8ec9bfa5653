"""What the frameworks' own test suites taught us (tests/upstream/run.py): each was a test of theirs that passed
bare and failed behind our layer."""

import asyncio
import functools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from drive import PAGE, Call, Server, ShellKind, environ_of, scope_of
from test_asgi import BODY, REWRITTEN, START, saying
from werkzeug import Request, Response

from reve_middleware import SettingsError, disabled, enabled

HTML = [("Content-Type", "text/html")]
SIZED = [*HTML, ("Content-Length", str(len(PAGE)))]
TEXT = [("Content-Type", "text/plain")]


@pytest.fixture
def kinds() -> Iterator[dict[str, ShellKind]]:
    made = {name: ShellKind(name) for name in ("asgi", "wsgi")}
    yield made
    for kind in made.values():
        kind.close()


@pytest.mark.parametrize("headers", [HTML, SIZED, TEXT], ids=["html", "sized", "text"])
def test_the_third_argument_of_a_start_may_be_named(kinds: dict[str, ShellKind], headers: Any) -> None:
    """`start_response(…, exc_info=…)` works as it does with every server, though PEP 3333 wants it without the name
    (WebOb, test_response.py::test_cookies)."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", headers)
        try:
            raise ValueError("a view failed")
        except ValueError:
            start_response("500 Sorry", headers, exc_info=sys.exc_info())
        return [PAGE]

    server = Server()
    server.run(kinds["wsgi"].wrap(app), environ_of(Call()))
    assert server.head is not None
    assert server.head[0] == "500 Sorry"
    assert b"".join(server.chunks) == (REWRITTEN if headers is SIZED else PAGE)


def test_a_named_third_argument_may_be_none(kinds: dict[str, ShellKind]) -> None:
    """`start_response(…, exc_info=None)`, as wrappers hand it on, is a first start like any other."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", SIZED, exc_info=None)
        return [PAGE]

    server = Server()
    server.run(kinds["wsgi"].wrap(app), environ_of(Call()))
    assert server.head == ("200 OK", [*HTML, ("Content-Length", str(len(REWRITTEN)))])
    assert b"".join(server.chunks) == REWRITTEN


@pytest.mark.parametrize("inject", [False, True])
def test_a_scope_may_have_no_headers(kinds: dict[str, ShellKind], inject: bool) -> None:
    """A scope made by hand, with the keys alone that the application reads, is served as it would have been
    (Starlette, test_base.py::test_run_background_tasks_even_if_client_disconnects)."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {name: value for name, value in scope_of(Call()).items() if name in ("type", "method", "path")}
    asyncio.run(kinds["asgi"].wrap(saying(START, BODY), inject=inject)(scope, None, send))
    assert b"".join(message.get("body", b"") for message in sent) == (REWRITTEN if inject else PAGE)


@pytest.mark.parametrize("inject", [False, True])
@pytest.mark.parametrize("path", ["/", "/_reve/no-path-of-ours"])
def test_a_scopes_headers_may_be_read_once(kinds: dict[str, ShellKind], inject: bool, path: str) -> None:
    """ASGI calls a request's headers an iterable of iterables. One that can be read once is still whole when the
    application reads it, and so it is for us (Falcon, whose test client makes such scopes)."""
    pairs = [(b"host", b"shop.example"), (b"cookie", b"a=b")]
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((bytes(name), bytes(value)) for name, value in scope["headers"])
        await send(START)
        await send(BODY)

    async def send(message: Any) -> None: ...

    scope = scope_of(Call(path=path)) | {"headers": iter([iter(pair) for pair in pairs])}
    asyncio.run(kinds["asgi"].wrap(app, inject=inject)(scope, None, send))
    assert seen == pairs


@pytest.mark.parametrize("kind", [list, tuple, type("Headers", (list,), {})])
def test_a_scopes_headers_that_can_be_read_twice_stay(kinds: dict[str, ShellKind], kind: Any) -> None:
    """Headers that are a list or a tuple, or a kind of one, stay the object they are."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    scope = scope_of(Call())
    headers = scope["headers"] = kind(scope["headers"])
    asyncio.run(kinds["asgi"].wrap(app)(scope, None, None))
    assert seen[0] is headers


@pytest.mark.parametrize(("length", "started"), [((), True), (((b"content-length", b"%d" % len(PAGE)),), False)])
def test_a_stream_starts_at_once(kinds: dict[str, ShellKind], length: Any, started: bool) -> None:
    """A page without a length starts as soon as the application says so, however long its first words take: whoever
    waits for its status is told (Django, asgi: test_asyncio_streaming_cancel_error). A length waits for the head."""
    sent: list[Any] = []
    start = {**START, "headers": [*START["headers"], *length]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        assert any(message is start for message in sent) == started
        await send(BODY)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(kinds["asgi"].wrap(app)(scope_of(Call()), None, send))
    grown = [(b"content-length", b"%d" % len(REWRITTEN))] if length else []
    assert sent[0]["headers"] == [*START["headers"], *grown]
    assert sent[1]["body"] == REWRITTEN


def test_the_status_of_a_response_object_can_be_asked_for(kinds: dict[str, ShellKind]) -> None:
    """Django's response object is its WSGI iterable: around a page, its `status_code` is still to be had, and where
    there was none there is none."""

    class Response(list[bytes]):
        status_code = 200

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return Response([PAGE]) if environ["PATH_INFO"] == "/" else iter([PAGE])

    layer = kinds["wsgi"].wrap(application)
    for path, status in (("/", 200), ("/other", None)):
        environ = environ_of(Call("GET", path))
        body = layer(environ, lambda *_: lambda _: None)
        assert getattr(body, "status_code", None) == status
        assert b"bridge.js" in b"".join(body)


@pytest.mark.parametrize("decorate", [lambda view: view, enabled, disabled], ids=["bare", "enabled", "disabled"])
@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
def test_a_decorator_makes_an_application_of_a_function(
    kinds: dict[str, ShellKind], decorate: Any, outside: bool
) -> None:
    """What is wrapped is judged by its own arguments, not by those that functools.wraps shows: Werkzeug's
    Request.application is called with two, and what it decorates with one (Werkzeug, live_apps/run.py)."""

    def view(request: Request) -> Response:
        return Response(PAGE, mimetype="text/html")

    application = decorate(Request.application(view)) if outside else Request.application(decorate(view))
    server = Server()
    server.run(kinds["wsgi"].wrap(application), environ_of(Call()))
    assert server.head is not None
    assert server.head[0] == "200 OK"
    assert b"".join(server.chunks) == (PAGE if decorate is disabled else REWRITTEN)


def test_a_decorator_makes_an_asgi_application_of_a_function(kinds: dict[str, ShellKind]) -> None:
    """The same in ASGI."""

    def made(view: Any) -> Any:
        @functools.wraps(view)
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send({**BODY, "body": view(scope)})

        return application

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(kinds["asgi"].wrap(made(lambda scope: PAGE))(scope_of(Call()), None, send))
    assert sent[1]["body"] == REWRITTEN


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_decorator_gives_a_callable_its_arguments(kinds: dict[str, ShellKind], kind: str) -> None:
    """A profile= of two arguments whose decorator adds one is called with one. A decorator that itself takes
    another number is told, by its own arguments."""

    def with_session(function: Any) -> Any:
        @functools.wraps(function)
        def given_one(request: Any) -> Any:
            return function(request, "a session")

        return given_one

    def undecided(function: Any) -> Any:
        @functools.wraps(function)
        def given_two(request: Any, session: Any) -> Any:
            return function(request)

        return given_two

    def profile(request: Any, session: Any = None) -> dict[str, Any]:
        return {"id": 7, "session": session}

    def of_two(request: Any, session: Any) -> dict[str, Any]:
        return {"id": 7, "session": session}

    application = saying() if kind == "asgi" else lambda environ, start_response: []
    kinds[kind].wrap(application, profile=with_session(of_two))
    text = r"^profile=profile\(request, session\) is wrong: it is called with one argument$"
    with pytest.raises(SettingsError, match=text):
        kinds[kind].wrap(application, profile=undecided(profile))
