"""Nothing personal leaks while a request is served: canaries in every callable."""

import asyncio
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import FaultServer
from watching import (
    EMAIL,
    PATH,
    PHONE,
    PROFILE,
    SESSION,
    Everything,
    fail,
    found_in,
    locals_of,
    middleware,
    silent,
    watching,
    wsgi_silent,
)

from reve_middleware import identify


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    with watching(monkeypatch) as handler:
        yield handler


HEADERS = [
    (b"host", b"shop.example"),
    (b"origin", b"https://shop.example"),
    (b"sec-fetch-site", b"same-origin"),
    (b"x-reve-bridge", b"1"),
    (b"content-type", b"application/json"),
]


async def request(app: Any, method: str, path: str, body: bytes, cookies: dict[str, str]) -> int:
    """One request over ASGI; keeps the cookies."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items()).encode()
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "https",
        "query_string": b"", "headers": [*HEADERS, (b"cookie", cookie)], "server": None, "client": None,
    }  # fmt: skip
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                key, _, rest = value.decode().partition("=")
                cookies[key] = rest.partition(";")[0]

    await app(scope, receive, send)
    return status


def wsgi_request(app: Any, method: str, path: str, body: bytes, cookies: dict[str, str]) -> int:
    """The same over WSGI."""
    import io

    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json",
        "SERVER_NAME": "shop.example", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        **{f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in HEADERS[:4]},
    }  # fmt: skip
    statuses = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
        statuses.append(int(status[:3]))
        for name, value in headers:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                cookies[key] = rest.partition(";")[0]
        return lambda data: None

    list(app(environ, start_response))
    return statuses[-1]


def visit(app: Any, *, wsgi: bool) -> None:
    """Report a chat, then load a page twice."""
    cookies: dict[str, str] = {}
    report = json.dumps({"session_id": SESSION, "chatbot_id": "b"}).encode()
    for method, path, body in (("POST", "/_reve/session", report), ("GET", "/", b""), ("GET", "/", b"")):
        if wsgi:
            status = wsgi_request(app, method, path, body, cookies)
        else:
            status = asyncio.run(request(app, method, path, body, cookies))
        assert status == 200


async def late(_: Any) -> Any:
    await asyncio.sleep(0)
    raise ValueError(f"{PROFILE}")


@pytest.mark.parametrize("wsgi", [False, True], ids=["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("keywords", "code"),
    [
        pytest.param({"profile": fail}, "raised", id="profile raises"),
        pytest.param({"profile": lambda _: PROFILE, "identity": fail}, "raised", id="identity raises"),
        pytest.param({"profile": lambda _: PROFILE, "consent": fail}, "raised", id="consent raises"),
        pytest.param({"profile": lambda _: [EMAIL]}, "profile", id="no dict"),
        pytest.param({"profile": lambda _: {**PROFILE, "x": {EMAIL}}}, "profile", id="not JSON"),
        pytest.param({"profile": lambda _: {**PROFILE, "x": EMAIL * 9999}}, "profile", id="too large"),
        pytest.param({"profile": lambda _: {"plan": PHONE}}, "no_identity", id="nobody"),
        pytest.param({"profile": lambda _: PROFILE, "identity": lambda _: [EMAIL]}, "identity", id="no identity"),
        pytest.param({"profile": lambda _: PROFILE, "identity": lambda _: (EMAIL, [PHONE])}, "identity", id="version"),
        pytest.param({"profile": lambda _: PROFILE, "payload": lambda *_: fail()}, "profile", id="payload raises"),
        pytest.param({"profile": late}, "raised", id="async profile raises"),
    ],
)
def test_no_callable_shows_what_it_knows(
    everything: Everything, monkeypatch: pytest.MonkeyPatch, wsgi: bool, keywords: dict[str, Any], code: str
) -> None:
    """When a callable raises or returns what cannot be sent, the log names the fault; neither it nor the locals of our
    functions hold what the callable returned or raised, or the chat."""
    if wsgi and keywords["profile"] is late:
        keywords = {"profile": lambda _: fail()}
    with FaultServer(path=PATH) as server:
        app = middleware(wsgi_silent if wsgi else silent, server.url, wsgi=wsgi, **keywords)
        visit(app, wsgi=wsgi)
        app.close(1.0)
    assert any(f"'reve': '{code}'" in text for text in everything.texts), everything.texts
    assert everything.leaks() == []


@pytest.mark.parametrize("wsgi", [False, True], ids=["asgi", "wsgi"])
def test_our_frames_show_nothing_when_the_application_fails(wsgi: bool) -> None:
    """An error tracker that sees the application fail, during the look-up of a visitor or later, finds nothing in our
    frames: not the report's body, not the profile."""
    seen: list[str] = []

    def track(error: Exception) -> None:
        seen.extend(locals_of(sys._getframe()))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            seen.extend(locals_of(frame))

    def consent(_: Any) -> bool:
        track(ValueError())
        return True

    def profile(_: Any) -> dict[str, Any]:
        track(ValueError())
        return PROFILE

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identify(PROFILE)
        await silent(scope, receive, send)
        try:
            raise ValueError(EMAIL)
        except ValueError as error:
            track(error)
            raise

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        identify(PROFILE)
        start_response("200 OK", [])
        track(ValueError(EMAIL))
        return [b""]

    with FaultServer(path=PATH) as server:
        wrapped = middleware(
            wsgi_app if wsgi else app, server.url, wsgi=wsgi, profile=profile, consent=consent, identity=lambda _: EMAIL
        )
        cookies: dict[str, str] = {}
        report = json.dumps({"session_id": SESSION, "chatbot_id": "b"}).encode()
        for method, path, body in (("POST", "/_reve/session", report), ("GET", "/", b"")):
            if wsgi:
                wsgi_request(wrapped, method, path, body, cookies)
                continue
            try:
                asyncio.run(request(wrapped, method, path, body, cookies))
            except ValueError as error:
                track(error)
        wrapped.close(1.0)
    assert seen
    assert [text for text in seen if found_in(text)] == []
