"""Nothing personal leaks: canaries in every secret place, every fault, and every log, repr and frame searched."""

import asyncio
import gc
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
from delivering import Results, bot, push
from faults import Answer, FaultServer, answer_bytes, raw, refusing, reply, reset, silence

import reve_middleware
from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, delivery, identify
from reve_middleware.delivery import Result
from reve_middleware.messages import Offered
from reve_middleware.webhook import HTTP_LOGGERS, Outcome

TOKEN = "canary-token-4711"
SESSION = "canary-session-4711"
EMAIL = "canary-4711@example.com"
PHONE = "+49-4711-canary"
PATH = "/canary/path/4711"
KEY = "canary-key-4711-canary-key-4711-canary"
CANARIES = (TOKEN, SESSION, EMAIL, PHONE, PATH.strip("/"), KEY)
PROFILE = {"id": 1, "email": EMAIL, "phone": PHONE}
BODY = json.dumps({"botId": "b", "sessionId": SESSION, "data": PROFILE}).encode()
OURS = str(Path(reve_middleware.__file__).parent)


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def locals_of(frame: FrameType | None) -> Iterator[str]:
    """What an error tracker would show of our frames, from this one outwards."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            for name, value in frame.f_locals.items():
                yield f"{frame.f_code.co_name}: {name} = {value!r}"
        frame = frame.f_back


class Everything(logging.Handler):
    """Keeps all that a record says, and the locals of our functions that were running when it was made."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        said = [logging.Formatter().format(record), repr(record.__dict__)]
        if record.name == "reve_middleware":
            said += locals_of(sys._getframe())
        self.texts.append("\n".join(said))

    def leaks(self) -> list[str]:
        """The lines that hold a canary."""
        return [line for text in self.texts for line in text.splitlines() if found_in(line)]


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    """Every logger at DEBUG, and asyncio's debug mode, which logs each step of the sender's loop."""

    class Loop(delivery._Loop):
        def __init__(self, **keywords: Any) -> None:
            super().__init__(**keywords)
            self.set_debug(True)
            self.slow_callback_duration = 0.0

    monkeypatch.setattr(delivery, "_Loop", Loop)
    handler = Everything()
    loggers = [logging.getLogger(name) for name in ("", "asyncio", "reve_middleware", *HTTP_LOGGERS)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
        logger.removeHandler(handler)


def middleware(app: Any, url: str, *, wsgi: bool = False, **keywords: Any) -> Any:
    bots = keywords.pop("bots", None) or [bot("b", url, TOKEN)]
    kind = ReveWSGIMiddleware if wsgi else ReveMiddleware
    return kind(app, bots=bots, secret_key=KEY, timeout=0.3, **keywords)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


# Delivery --------------------------------------------------------------------------------------


def echo(status: int) -> Answer:
    """Answers with everything that was asked, in its head and its body."""
    headers = {"X-Echo": f"{TOKEN} {SESSION} {EMAIL} {PATH}", "Location": f"https://example.com{PATH}"}
    return reply(status, headers, BODY + TOKEN.encode())


FAULTS = [
    *(pytest.param(echo(status), id=str(status)) for status in (200, 302, 400, 401, 404, 410, 429, 500, 503)),
    pytest.param(reset, id="reset"),
    pytest.param(silence, id="silence"),
    pytest.param(raw(TOKEN.encode() + b" " + BODY + b"\r\n\r\n"), id="garbage"),
    pytest.param(raw(b"HTTP/1.1 200 OK\r\n" + BODY + b"\r\n\r\n"), id="a header that is none"),
    pytest.param(raw(answer_bytes(200, {"Content-Length": "9999"}, BODY)), id="too short"),
    pytest.param(raw(answer_bytes(200, {"Content-Encoding": "gzip"}, BODY)), id="not gzip"),
]


def deliver(url: str, results: Results, **keywords: Any) -> Any:
    """Offer a push, wait for the first result of it, and close."""
    wrapped = middleware(silent, url, on_result=results, **keywords)
    wrapped._sender.offer(push(SESSION, BODY, visitor="hash"))
    results.wait_for(1)
    wrapped.close(0.2)
    return wrapped


@pytest.mark.parametrize("answer", FAULTS)
def test_no_fault_of_a_webhook_shows_anything(everything: Everything, answer: Answer) -> None:
    """Whatever a webhook answers, no record, frame, result or repr holds token, profile, session or path."""
    results = Results()
    with FaultServer(default=answer, path=PATH) as server:
        wrapped = deliver(server.url, results)
        assert server.connections >= 1
    assert "asyncio" in everything.names, "the log was on"
    assert not everything.names & set(HTTP_LOGGERS), "the HTTP client says nothing in our thread"
    assert everything.leaks() == []
    assert found_in(repr(results.all) + repr(wrapped) + json.dumps(wrapped.stats())) == []


@pytest.mark.parametrize("url", ["https://127.0.0.1", "https://no-such-host.invalid"])
def test_no_fault_before_the_request_shows_anything(everything: Everything, url: str) -> None:
    """Nor do refused connections, names that do not resolve, and TLS faults."""
    with refusing() as nobody, FaultServer(default=lambda line: line.send(b"no TLS\r\n\r\n")) as plain:
        port = plain.port if "127" in url else 443
        for address in (nobody.replace("/hook/path", PATH), f"{url}:{port}{PATH}"):
            deliver(address, Results())
    assert everything.leaks() == []


class Failing:
    """A client whose exceptions say everything they know."""

    def stream(self, method: str, url: str, **keywords: Any) -> Any:
        request = httpx.Request(method, url, content=keywords["content"], headers={"Authorization": TOKEN})
        raise httpx.ConnectError(f"{url} {BODY!r} {TOKEN}", request=request)

    async def aclose(self) -> None:
        raise ValueError(TOKEN)


def fail(*_: Any) -> Any:
    raise ValueError(f"{TOKEN} {BODY!r}")


@pytest.mark.parametrize(
    "keywords",
    [
        pytest.param({"client": Failing}, id="client that fails"),
        pytest.param({"client": fail}, id="no client"),
        pytest.param({"token": fail}, id="token callable that raises"),
        pytest.param({"token": lambda: f"{TOKEN}\n"}, id="token that is none"),
        pytest.param({"token": lambda: TOKEN}, id="token callable"),
    ],
)
def test_no_fault_of_the_sites_own_shows_anything(everything: Everything, keywords: dict[str, Any]) -> None:
    """Nor do a client, a token callable and an on_result that fail with secrets in their mouths."""

    def on_result(result: Result) -> None:
        results(result)
        raise ValueError(f"{TOKEN} {BODY!r}")

    results = Results()
    with FaultServer(default=reply(401), path=PATH) as server:
        token = keywords.pop("token", TOKEN)
        wrapped = middleware(silent, server.url, bots=[bot("b", server.url, token)], on_result=on_result, **keywords)
        wrapped._sender.offer(push(SESSION, BODY))
        results.wait_for(1)
        wrapped.close(0.2)
    assert "reve_middleware" in everything.names
    assert everything.leaks() == []


def test_the_applications_own_httpx_still_logs(everything: Everything) -> None:
    """While our thread is quiet, what the application does with httpx in its own is logged as ever."""
    with FaultServer(path=PATH) as ours, FaultServer() as theirs:
        deliver(ours.url, Results())
        with httpx.Client(trust_env=False) as client:
            client.get(theirs.url)
    assert {"httpx", "httpcore.http11", "httpcore.connection"} <= everything.names
    assert any(f"HTTP Request: GET {theirs.url}" in text for text in everything.texts)
    assert everything.leaks() == []


# Requests --------------------------------------------------------------------------------------

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


def wsgi_silent(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


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


# Reprs -----------------------------------------------------------------------------------------


def reachable(root: Any) -> Iterator[Any]:
    """Every object of ours that can be reached from `root`."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type) or len(seen) > 100_000:
            continue
        seen[id(one)] = one
        ours = type(one).__module__.startswith("reve_middleware")
        if ours:
            yield one
        if ours or isinstance(one, (dict, list, tuple, set, frozenset)):
            waiting += gc.get_referents(one)


@pytest.mark.parametrize("wsgi", [False, True], ids=["asgi", "wsgi"])
def test_no_repr_shows_anything(wsgi: bool) -> None:
    """No object of ours, reached from a middleware with pushes waiting and in flight, shows a secret in its repr."""
    with FaultServer(default=silence, path=PATH) as server:
        wrapped = middleware(wsgi_silent if wsgi else silent, server.url, wsgi=wsgi, profile=lambda _: PROFILE)
        wrapped._sender.offer(push(SESSION, BODY))
        server.wait_for(1)
        wrapped._sender.offer(push(SESSION, BODY, urgent=True))
        objects = list(reachable(wrapped))
        names = {type(one).__name__ for one in objects}
        assert {"Sender", "Run", "Mailbox", "Letter", "Push", "Settings", "Bot", "Secret", "Gate", "Core"} <= names
        assert [found_in(repr(one)) for one in objects] == [[]] * len(objects)
        assert found_in(repr(wrapped) + repr(wrapped.stats())) == []
        wrapped.close(0)
    others = [Offered("queued", 1), Outcome("again", "timeout"), Result("b", "delivered", "status_200", 1, 0.1)]
    assert found_in(repr(others)) == []
