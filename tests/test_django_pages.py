"""Pages and bodies of Django: streams, files, what a proxy says, test clients, faults."""

import asyncio
import io
import threading
import types
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.test.utils import override_settings
from django_world import OURS, Kind
from drive import HOST, HTML, PAGE, Call, Visitor, call_wsgi, said
from test_django_layers import TAGGED
from test_table import TAG

from reve_middleware import exchange
from reve_middleware.django import ReveMiddleware
from reve_middleware.django_objects import look_up_request

HEAD, REST = b"<!doctype html><html><head>", b"</head><body></body></html>"


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind = Kind(request.param)
    yield kind
    kind.close()


def page(request: Any) -> HttpResponse:
    return HttpResponse(PAGE)


# Streams ---------------------------------------------------------------------------------------


def streamed(*parts: bytes | Exception, **headers: str) -> Any:
    """A view that streams in the manner of its protocol, and what it has made so far."""
    made: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, Exception):
                raise part
            made.append(part)
            yield part

    async def achunks() -> AsyncIterator[bytes]:
        for part in chunks():
            await asyncio.sleep(0)
            yield part

    def view(request: Any) -> Any:
        return StreamingHttpResponse((achunks if hasattr(request, "scope") else chunks)(), headers=headers)

    return view, made


async def response_through(kind: Kind, view: Any) -> Any:
    """What the adapter makes of a view's response."""

    async def aview(request: Any) -> Any:
        return view(request)

    if kind.under_asgi:
        return await ReveMiddleware(aview)(AsyncRequestFactory().get("/"))
    return ReveMiddleware(view)(RequestFactory().get("/"))


async def taken(response: Any, count: int) -> list[bytes]:
    """The first chunks of a stream."""
    content = response.streaming_content
    return [await anext(content) if response.is_async else next(content) for _ in range(count)]


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "62"}, {"ETag": '"a"'}], ids=["lazily", "length", "ETag"])
def test_streaming_stays_streaming(kind: Kind, headers: dict[str, str]) -> None:
    """The tag goes out with the chunk that has the head, before the next one is made; a length grows by it."""
    view, made = streamed(HEAD, b"<title>x</title>", REST, **headers)
    kind.site_of(view, [OURS])

    async def go() -> None:
        response = await response_through(kind, view)
        assert made == [HEAD] * bool(headers)
        assert (await taken(response, 1), made) == ([HEAD + TAG], [HEAD])
        changed = {"Content-Length": str(62 + len(TAG)), "ETag": 'W/"a"'}
        assert all(response[name] == changed[name] for name in headers)

    asyncio.run(go())


@pytest.mark.parametrize("headers", [{}, {"ETag": '"a"'}], ids=["lazily", "with an ETag"])
@pytest.mark.parametrize("said_before", [(), (b"<html>",), (HEAD,)], ids=["nothing", "a part", "the head"])
def test_a_stream_that_fails(kind: Kind, headers: dict[str, str], said_before: tuple[bytes, ...]) -> None:
    """What a stream said before it failed goes out, and then it fails as it would have."""
    view, _ = streamed(*said_before, OSError("the disk"), **headers)
    kind.site_of(view, [OURS])
    got: list[bytes] = []

    async def go() -> None:
        response = await response_through(kind, view)
        while True:
            got.extend(await taken(response, 1))

    with pytest.raises(OSError, match="the disk"):
        asyncio.run(go())
    assert b"".join(got) == b"".join(said_before).replace(HEAD, HEAD + TAG)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("file", ["page", "text", "fragment"])
def test_a_page_in_a_file(kind: Kind, tmp_path: Path, file: str) -> None:
    """A page that is sent as a file gets the tag, and its length; another file is handed on as a file."""
    path = tmp_path / {"text": "a.txt"}.get(file, "a.html")
    path.write_bytes(PAGE if file != "fragment" else b"<p>")
    reply = kind.visitor(lambda request: FileResponse(path.open("rb")), [OURS]).get("/")
    assert reply.body == {"page": TAGGED, "text": PAGE}.get(file, b"<p>")
    assert reply.header("content-length") == str(len(reply.body))
    assert reply.header("content-disposition") == f'inline; filename="{path.name}"'


def test_a_sync_stream_is_not_begun_on_the_event_loop() -> None:
    """Under ASGI what a sync stream does first, such as opening a file, happens in the request's thread."""
    kind, began = Kind("django-asgi"), []

    def chunks() -> Iterator[bytes]:
        began.append(threading.current_thread())
        yield PAGE

    view = lambda request: StreamingHttpResponse(chunks(), headers={"ETag": '"a"'})  # noqa: E731
    with warnings.catch_warnings(action="ignore"):
        assert kind.visitor(view, [OURS]).get("/").body == TAGGED
    assert threading.main_thread() not in began
    kind.close()


def test_a_page_without_a_head_is_spoken_of(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """That a page has no head is said once."""
    caplog.set_level("INFO", "reve_middleware")
    visitor = kind.visitor(lambda request: HttpResponse(b"<p>x</p>"), [OURS])
    assert [visitor.get("/").body for _ in range(2)] == [b"<p>x</p>"] * 2
    assert [code for code, _ in said(caplog)] == ["no_head"]


def test_what_is_no_page_is_the_same_object() -> None:
    """What is not rewritten comes back as the same object, with the same content and the same headers."""
    with override_settings(MIDDLEWARE=[OURS]):
        made = StreamingHttpResponse(iter([b"x"]), content_type="text/plain")
        iterator, headers = made._iterator, dict(made.headers)
        assert ReveMiddleware(lambda request: made)(RequestFactory().get("/")) is made
        assert (made._iterator, dict(made.headers)) == (iterator, headers)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(len(HEAD + REST))}], ids=["lazily", "with its length"])
def test_a_stream_of_the_other_world(kind: Kind, headers: dict[str, str]) -> None:
    """A sync stream under ASGI and an async one under WSGI, which Django collects, are whole; with a length the async
    one passes untouched."""
    view, _ = streamed(HEAD, REST, **headers)

    def other(request: Any) -> Any:
        swapped = types.SimpleNamespace(**({} if kind.under_asgi else {"scope": {}}))
        return view(swapped)

    untouched = headers and not kind.under_asgi
    assert kind.visitor(other, [OURS]).get("/").body == HEAD + (b"" if untouched else TAG) + REST


# Proxies, clients, faults ----------------------------------------------------------------------


def reported(visitor: Visitor, **headers: str | None) -> int:
    return visitor.capture(sec_fetch_site=None, **headers).status


def test_scheme_and_host_are_what_django_takes_them_for(kind: Kind) -> None:
    """`SECURE_PROXY_SSL_HEADER` says whether we are reached by https, and `USE_X_FORWARDED_HOST` by which name."""
    visitor = kind.visitor(page, [OURS])
    assert reported(visitor) == 200
    assert reported(visitor, origin="https://www.example") == 403
    with override_settings(USE_X_FORWARDED_HOST=True):
        assert reported(visitor, origin="https://www.example", x_forwarded_host="www.example") == 200
        assert reported(visitor) == 200
    assert reported(visitor, origin="https://www.example", x_forwarded_host="www.example") == 403
    visitor.scheme = "http"
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert visitor.capture(origin="null", sec_fetch_site=None, x_forwarded_proto="https").status == 403
        assert visitor.capture(origin=None, x_forwarded_proto="https").status == 200


def test_a_forced_mount(kind: Kind) -> None:
    """`FORCE_SCRIPT_NAME` is the mount, whether the server's path begins with it or not."""
    with override_settings(FORCE_SCRIPT_NAME="/shop"):
        visitor = kind.visitor(page, [OURS], profile=lambda request: {"id": request.path}, subrequest="/me")
        assert TAG.replace(b"/_reve", b"/shop/_reve", 1) in visitor.get("/").body
        assert visitor.capture().json == {"status": "queued"}
        assert [post.data for post in visitor.pushed()] == [{"id": "/me" if kind.under_asgi else "/shop/me"}]
        assert look_up_request(AsyncRequestFactory().get("/shop/x"), "/me").path == "/shop/me"


def test_djangos_test_clients() -> None:
    """`Client` and `AsyncClient` see the tag, and keep the cookies of a capture."""
    report = {"session_id": "s-1", "chatbot_id": "bot"}
    headers = {"X-Reve-Bridge": "1", "Sec-Fetch-Site": "same-origin"}
    kind = Kind("django-wsgi")
    with override_settings(MIDDLEWARE=[OURS], ROOT_URLCONF="django_urls"):
        client = Client(headers=headers)
        assert client.get("/").content == TAGGED
        reply = client.post("/_reve/session", report, content_type="application/json", secure=True)
        assert reply.json() == {"status": "anonymous"}
        morsel = client.cookies["__Host-reve"]
        assert (morsel["max-age"], morsel["path"], morsel["secure"], morsel["httponly"]) == ("43200", "/", True, True)
        assert client.delete("/_reve/session", secure=True).json() == {"status": "forgotten"}
        assert client.cookies["__Host-reve"].value == ""

        async def go() -> None:
            aclient = AsyncClient()
            assert (await aclient.get("/")).content == TAGGED
            given: dict[str, Any] = {"content_type": "application/json", "secure": True, "headers": headers}
            areply = await aclient.post("/_reve/session", report, **given)
            assert areply.json() == {"status": "anonymous"}

        asyncio.run(go())
    kind.close()


def test_a_fault_of_ours(kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours leaves the response as it was, and the report without an answer to who it is; the log says so."""

    def broken(*_: Any) -> Any:
        raise LookupError("a canary")

    visitor = kind.visitor(page, [OURS])
    monkeypatch.setattr(exchange.Core, "response", broken)
    monkeypatch.setattr(exchange.Core, "session", broken)
    reply = visitor.get("/")
    assert (reply.body, reply.header("content-type")) == (PAGE, HTML)
    assert visitor.capture().json == {"status": "anonymous"}
    assert {code for code, _ in said(caplog)} == {"internal"}
    assert "canary" not in caplog.text


# The body of a report --------------------------------------------------------------------------

REPORT = b'{"session_id": "s-1", "chatbot_id": "bot"}'


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("the client went away")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, 200),
        ({"CONTENT_LENGTH": ""}, 400),
        ({"CONTENT_LENGTH": str(len(REPORT) + 1)}, 400),
        ({"wsgi.input": Broken(REPORT)}, 400),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b" " * 2049)}, 413),
    ],
    ids=[
        "whole",
        "in chunks",
        "without length",
        "cut short",
        "broken off",
        "too large, in chunks",
    ],
)
def test_bodies_of_wsgi(change: dict[str, Any], status: int) -> None:
    """A report's body is read as the WSGI shell reads it, in chunks too where the server ends them."""
    assert status_of_report(change) == status


def test_a_server_that_takes_underscores() -> None:
    """Where `Sec-Fetch-Site` may be a script's word under WSGI, `Origin` must be ours, as in the WSGI shell."""
    assert status_of_report({"SERVER_SOFTWARE": "Granian"}) == 403
    assert status_of_report({"SERVER_SOFTWARE": "Granian", "HTTP_ORIGIN": f"https://{HOST}"}) == 200


def status_of_report(change: dict[str, Any]) -> int:
    """The answer to a report in an environ that differs from a good one."""
    kind = Kind("django-wsgi")
    site = kind.site_of(page, [OURS])

    def server(environ: dict[str, Any], start_response: Any) -> Any:
        environ |= change
        return site(environ, start_response)

    given = {"X-Reve-Bridge": "1", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json", "Host": HOST}
    reply = call_wsgi(server, Call("POST", "/_reve/session", given.items(), REPORT), valid=False)
    kind.close()
    return reply.status
