"""What only an ASGI application or server can meet."""

import asyncio
import contextlib
import contextvars
import copy
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from drive import HOST, PAGE, Call, ShellKind, Watched, call_asgi, scope_of
from test_table import TAG, chat_cookie

from reve_middleware import identify, script_tag
from reve_middleware.scope import told_by_browser

AT = PAGE.index(b"<title>")
REWRITTEN = PAGE[:AT] + TAG + PAGE[AT:]
HTML = [(b"content-type", b"text/html")]
START = {"type": "http.response.start", "status": 200, "headers": HTML}
BODY = {"type": "http.response.body", "body": PAGE}


@pytest.fixture
def asgi() -> Iterator[ShellKind]:
    kind = ShellKind("asgi")
    yield kind
    kind.close()


def saying(*messages: Any) -> Any:
    """An application that sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


# What passes untouched -------------------------------------------------------------------------


def test_the_application_gets_the_servers_own_scope_and_receive(asgi: ShellKind) -> None:
    """The scope is not copied and `receive` not wrapped, so that what an inner layer puts there is seen outside."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> str:
        seen.extend((scope, receive))
        await send(START)
        await send(BODY)
        return "returned"

    async def receive() -> Any: ...

    async def send(message: Any) -> None: ...

    scope = scope_of(Call())
    assert asyncio.run(asgi.wrap(app)(scope, receive, send)) == "returned"
    assert seen[0] is scope
    assert seen[1] is receive


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "something new"])
def test_other_protocols_pass(asgi: ShellKind, kind: str) -> None:
    """What is not HTTP goes to the application as it is, and its exceptions come out: a server without lifespan
    support learns it from them."""
    trouble = ValueError("no lifespan here")
    scope = {"type": kind}
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, await receive()))
        await send({"type": f"{kind}.shutdown.complete"})
        raise trouble

    async def receive() -> str:
        return "a message"

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ValueError, match="no lifespan") as raised:
        asyncio.run(asgi.wrap(app)(scope, receive, send))
    assert raised.value is trouble
    assert seen[0] is scope
    assert seen[1:] == [receive, "a message"]
    assert sent == [{"type": f"{kind}.shutdown.complete"}]
    assert scope == {"type": kind}


def test_lifespan_shutdown_waits_for_the_pushes(asgi: ShellKind) -> None:
    """What is left is delivered before the server hears that the shutdown is complete."""
    visitor = asgi.site(profile=lambda request: {"id": 1})
    asgi.webhook.hold()
    assert visitor.capture().json == {"status": "queued"}
    asgi.webhook.wait_for(1)
    delivered: list[int] = []

    async def send(message: Any) -> None:
        delivered.append(visitor.middleware.stats()["delivered"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        asgi.webhook.release()
        await send({"type": "lifespan.shutdown.complete"})

    visitor.middleware.app = app
    asyncio.run(visitor.middleware({"type": "lifespan"}, None, send))
    assert delivered == [0, 1]


UNUSUAL: dict[str, list[dict[str, Any]]] = {
    "file by its path": [START, {"type": "http.response.pathsend", "path": "/srv/page.html"}],
    "early hint first": [{"type": "http.response.early_hint", "links": [b"</a.css>"]}, {**START, "headers": []}, BODY],
    "no headers": [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}],
    "headers as a tuple": [{**START, "headers": ((b"content-type", b"text/plain"),)}, BODY],
    "body without body": [START, {"type": "http.response.body"}],
    "bodies without body": [START, {"type": "http.response.body", "more_body": True}, {"type": "http.response.body"}],
    "body as a memoryview": [START, {"type": "http.response.body", "body": memoryview(PAGE)}],
    "body as a bytearray": [START, {"type": "http.response.body", "body": bytearray(PAGE)}],
    "type said twice": [{**START, "headers": HTML * 2}, BODY],
    "trailers of no page": [
        {**START, "headers": [(b"content-type", b"text/plain")], "trailers": True},
        BODY,
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]},
    ],
}


@pytest.mark.parametrize("cookie", ["a=b", chat_cookie()], ids=["stranger", "chat"])
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_messages_pass_as_the_same_objects(
    asgi: ShellKind, name: str, cookie: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not rewritten leaves as the same objects, in the same order, and is no fault of ours."""
    messages = UNUSUAL[name]
    layer = asgi.wrap(saying(*messages), profile=lambda request: None)
    reply = call_asgi(layer, Call(headers=[("Host", HOST), ("Cookie", cookie)]))
    assert all(came is went for came, went in zip(reply.raw, messages, strict=True))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("headers", [[b"oops"], [("content-type", "text/html")], [(b"a", b"b", b"c")], [None]], ids=str)
@pytest.mark.parametrize("cookie", ["a=b", chat_cookie()], ids=["stranger", "chat"])
def test_headers_that_are_none_are_refused_by_the_server(asgi: ShellKind, headers: Any, cookie: str) -> None:
    """What is no header is the application's mistake: the start goes out as it came, and the server says so."""
    start = {**START, "headers": headers}
    taken: list[Any] = []

    async def send(message: Any) -> None:
        taken.append(message)
        raise TypeError("no headers")

    layer = asgi.wrap(saying(start, BODY), profile=lambda request: {"id": 1})
    scope = scope_of(Call(headers=[("Host", HOST), ("Cookie", cookie)]))
    with pytest.raises(TypeError, match="no headers"):
        asyncio.run(layer(scope, None, send))
    assert len(taken) == 1
    assert taken[0]["headers"][:1] == headers


@pytest.mark.parametrize("kind", [bytearray(b"text/html"), "text/html"], ids=["bytearray", "text"])
def test_a_content_type_that_is_no_bytes(asgi: ShellKind, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Some servers take what is like bytes for them: it passes as it is, and is no fault of ours."""
    messages = [{**START, "headers": [(b"content-type", kind)]}, BODY]
    taken: list[Any] = []

    async def send(message: Any) -> None:
        taken.append(message)

    asyncio.run(asgi.wrap(saying(*messages))(scope_of(Call()), None, send))
    assert all(came is went for came, went in zip(taken, messages, strict=True))
    assert caplog.records == []


def test_what_no_server_takes_is_refused_by_the_server(asgi: ShellKind) -> None:
    """A body of text is the application's mistake, and the server says so as it would have."""
    layer = asgi.wrap(saying(START, {"type": "http.response.body", "body": "<head>"}))
    with pytest.raises(AssertionError, match="a body is bytes") as raised:
        call_asgi(layer, Call())
    assert raised.value.sent == [START]  # type: ignore[attr-defined]


# What is rewritten -----------------------------------------------------------------------------


def test_keys_of_messages_are_kept(asgi: ShellKind) -> None:
    """The start of a rewritten page still announces its trailers, and they come."""
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    reply = call_asgi(asgi.wrap(saying({**START, "trailers": True}, BODY, trailers)), Call())
    assert reply.raw[0] == {**START, "trailers": True}
    assert reply.raw[2] is trailers
    assert reply.body == REWRITTEN


def test_keys_of_a_marked_start_are_kept(asgi: ShellKind) -> None:
    """The start of a response that sets the mark still announces its trailers."""
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
    trailers = {"type": "http.response.trailers", "headers": []}
    layer = asgi.wrap(saying(start, BODY, trailers), profile=lambda request: {"id": 1})
    reply = call_asgi(layer, Call(headers=[("Host", HOST), ("Cookie", chat_cookie())]))
    assert list(reply.cookies) == ["__Host-reve-mark"]
    assert reply.raw[0] == {**start, "headers": reply.raw[0]["headers"]}
    assert reply.raw[1] is BODY


@pytest.mark.parametrize(
    "make",
    [
        lambda pairs: iter(pairs),
        lambda pairs: (pair for pair in pairs),
        lambda pairs: [list(pair) for pair in pairs],
        lambda pairs: map(list, pairs),
        tuple,
    ],
    ids=["iterator", "generator", "lists", "map", "tuple"],
)
@pytest.mark.parametrize("length", [[], [len(PAGE)]], ids=["of any length", "with its length"])
def test_headers_may_be_any_iterable(asgi: ShellKind, make: Callable[[Any], Any], length: list[int]) -> None:
    """An iterable of headers that can be read once is read once, and the server still gets them all."""
    headers = make(HTML + [(b"content-length", b"%d" % size) for size in length])
    reply = call_asgi(asgi.wrap(saying({**START, "headers": headers}, BODY)), Call())
    assert reply.headers == [("content-type", "text/html")] + [("content-length", str(len(REWRITTEN))) for _ in length]
    assert reply.body == REWRITTEN


def test_names_in_capitals_are_understood_and_kept(asgi: ShellKind) -> None:
    """An application that breaks ASGI's rule of lower case is served, and its names go out as it wrote them."""
    headers = [
        (b"Content-Type", b"text/html"),
        (b"CONTENT-LENGTH", b"%d" % len(PAGE)),
        (b"ETag", b'"a"'),
        (b"X-A", b"1"),
    ]
    reply = call_asgi(asgi.wrap(saying({**START, "headers": headers}, BODY)), Call(), lower=False)
    expected = [headers[0], (b"CONTENT-LENGTH", b"%d" % len(REWRITTEN)), (b"ETag", b'W/"a"'), headers[3]]
    assert reply.raw[0]["headers"] == expected
    encoded = [(b"Content-Type", b"text/html"), (b"Content-Encoding", b"gzip")]
    reply = call_asgi(asgi.wrap(saying({**START, "headers": encoded}, BODY)), Call(), lower=False)
    assert reply.body == PAGE


def test_streaming_stays_streaming(asgi: ShellKind) -> None:
    """Only until the head is found is anything of the body held back; from then on each message goes out as it comes.
    A start that does not depend on the body is not held."""
    out: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for body in (None, b"<!doctype html>", b"<html><head>", b"<title>", b"</title>"):
            more = {"type": "http.response.body", "body": body, "more_body": True}
            await send(START if body is None else more)
            out.append(len(sent))
        await send({"type": "http.response.body"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi.wrap(app)(scope_of(Call()), None, send))
    assert out == [1, 1, 3, 4, 5]
    assert b"".join(message.get("body", b"") for message in sent).endswith(TAG + b"<title></title>")


@pytest.mark.parametrize("end", [b"", b"</html>", memoryview(b"</html>")], ids=["nothing", "bytes", "memoryview"])
@pytest.mark.parametrize("size", [3, 20, 30, 100])
def test_one_dict_may_be_filled_anew_for_each_message(asgi: ShellKind, size: int, end: Any) -> None:
    """What an application has sent has been said, whatever it does with its dict afterwards."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        message: dict[str, Any] = {"type": "http.response.body", "more_body": True}
        for at in range(0, len(PAGE), size):
            message["body"] = PAGE[at : at + size]
            await send(message)
        message.update(body=end, more_body=False)
        await send(message)

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(bytes(message.get("body", b"")))

    asyncio.run(asgi.wrap(app)(scope_of(Call()), None, send))
    assert b"".join(sent) == REWRITTEN + end


def test_an_unfinished_response_goes_out_unfinished(asgi: ShellKind) -> None:
    """An application that returns in the middle of its page has said what it has said."""
    part = {"type": "http.response.body", "body": b"<html>", "more_body": True}
    with pytest.raises(AssertionError, match="a response is whole when the application returns"):
        call_asgi(asgi.wrap(saying(START, part)), Call())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi.wrap(saying(START, part))(scope_of(Call()), None, send))
    assert sent == [START, part]


def test_what_the_server_raises_reaches_the_application(asgi: ShellKind) -> None:
    """A client that went away is told to the application by the very exception the server raised."""
    gone = OSError("the client went away")
    caught: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
            await send(BODY)
        except OSError as error:
            caught.append(error)
            raise

    async def send(message: Any) -> None:
        raise gone

    with pytest.raises(OSError, match="went away") as raised:
        asyncio.run(asgi.wrap(app)(scope_of(Call()), None, send))
    assert raised.value is gone
    assert caught == [gone]


def test_a_request_that_is_cancelled_ends_at_once(asgi: ShellKind) -> None:
    """A server that gives up a request while a profile is computed gets its cancellation through."""
    computing = asyncio.Event()

    async def profile(request: Any) -> None:
        computing.set()
        await asyncio.Event().wait()

    layer = asgi.wrap(saying(START, BODY), profile=profile)
    scope = scope_of(Call(headers=[("Host", HOST), ("Cookie", chat_cookie())]))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        task = asyncio.create_task(layer(scope, None, send))
        await computing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert sent == []


def test_nothing_is_left_behind_in_the_context(asgi: ShellKind) -> None:
    """Servers may run one request after another in the same context: none is taken for the one before it."""
    layer = asgi.wrap(saying(START, BODY))

    async def send(message: Any) -> None: ...

    async def run() -> str:
        await layer(scope_of(Call()), None, send)
        return script_tag()

    assert asyncio.run(run()) == ""


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
@pytest.mark.parametrize("routes", [("*",), ("/elsewhere",)], ids=["ours", "off"])
@pytest.mark.parametrize("destination", ["document", "empty"])
@pytest.mark.parametrize("cookie", ["a=b", chat_cookie()], ids=["stranger", "chat"])
def test_copied_contexts_keep_no_request(
    asgi: ShellKind, cookie: str, destination: str, routes: tuple[str, ...], fails: bool
) -> None:
    """A timer that a server sets while it sends (uvicorn's for idle connections, from the context of the request) keeps
    neither the scope nor a profile in memory."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        said = Watched(name="Ada")
        seen.append(weakref.ref(said))
        identify(said)
        contexts.append(contextvars.copy_context())
        if fails:
            del said
            raise LookupError
        await send(START)
        await send(BODY)

    async def send(message: Any) -> None:
        contexts.append(contextvars.copy_context())

    async def run() -> None:
        headers = [("Host", HOST), ("Cookie", cookie), ("Sec-Fetch-Dest", destination)]
        scope = Watched(scope_of(Call(headers=headers)))
        seen.append(weakref.ref(scope))
        with contextlib.suppress(LookupError):
            await asyncio.create_task(layer(scope, None, send))

    seen: list[Any] = []
    contexts: list[contextvars.Context] = []
    layer = asgi.wrap(app, routes=routes, profile=lambda request: {"id": 1})
    asyncio.run(run())
    assert len(contexts) == (1 if fails else 3)
    assert [one() for one in seen] == [None, None]


def test_what_holds_send_may_be_copied(asgi: ShellKind) -> None:
    """An application may copy deeply what it keeps its `send` in: it is the same `send`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        copied = copy.deepcopy({"scope": scope, "send": send})
        await copied["send"](START)
        await send(BODY)

    assert call_asgi(asgi.wrap(app), Call()).body == REWRITTEN


def test_cookies_in_several_headers(asgi: ShellKind) -> None:
    """HTTP/2 clients may send one header for each cookie (RFC 9113 §8.2.3)."""
    visitor = asgi.site(profile=lambda request: {"id": 1})
    headers = [("Host", HOST), ("Cookie", "a=b"), ("Cookie", chat_cookie()), ("Cookie", "c=d")]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {**scope_of(Call(headers=headers)), "http_version": "2"}
    asyncio.run(visitor.middleware(scope, receive, send))
    (cookie,) = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert cookie.startswith(b"__Host-reve-mark=")


def test_a_server_may_leave_the_mount_out_of_the_path(asgi: ShellKind) -> None:
    """Older servers put `root_path` beside the path, not before it; both are understood."""
    layer = asgi.wrap(saying(START, BODY), routes=("/shop",))
    for path in ("/shop", "/mount/shop"):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        asyncio.run(layer({**scope_of(Call()), "path": path, "root_path": "/mount"}, None, send))
        assert sent[1]["body"].count(b'src="/mount/_reve/bridge.js') == 1


CRUMBS = {
    "the last has ours": ([b"a=1", b"reve=x"], b"reve=x"),
    "an earlier one has ours": ([b"reve=x", b"a=1"], None),
    "both have ours": ([b"reve=x", b"reve=y"], b"reve=y"),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("case", CRUMBS)
def test_several_cookie_headers(case: str, place: int) -> None:
    """HTTP/1 has one Cookie header (RFC 6265, 5.4): of several the last counts, wherever Sec-Fetch-Dest stands. Of
    HTTP/2 all are looked at, and two with our cookies are told from one."""
    values, of_1 = CRUMBS[case]
    headers = [(b"cookie", value) for value in values]
    headers.insert(place, (b"sec-fetch-dest", b"document"))
    assert told_by_browser({"headers": headers, "http_version": "1.1"}, b"reve")[0] == of_1
    of_2 = told_by_browser({"headers": headers, "http_version": "2"}, b"reve")[0]
    assert of_2 == (b"" if case == "both have ours" else b"reve=x")
