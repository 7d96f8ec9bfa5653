"""`client=` takes a ready factory: httpx, httpx2, or either over another transport, and all come to the same."""

import inspect
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest
from delivering import Log, Results, push, sending, settings
from faults import Answer, FaultServer, drip, raw, refusing, reply, reset, reset_after_request, silence, unanswered
from test_webhook_tls import certificate, serving

from reve_middleware.outcome import judge_exception
from reve_middleware.webhook import HTTP_LOGGERS

HERE = Path(__file__).parent
LIBRARIES = {"httpx": httpx, "httpx2": httpx2}
Factory = Callable[[], Any]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> ModuleType:
    return LIBRARIES[request.param]


@pytest.fixture(params=["none", *LIBRARIES])
def client(request: pytest.FixtureRequest) -> Factory | None:
    """No factory, and one of each library."""
    library = LIBRARIES.get(request.param)
    return None if library is None else lambda: library.AsyncClient(trust_env=False)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


def result_of(url: str, client: Factory | None, **keywords: Any) -> tuple[str, str]:
    """What the first attempt of a real sender comes to."""
    results = Results()
    with sending(settings(url, client=client, on_result=results, **keywords)) as sender:
        sender.offer(push("s", b'{"data":1}'))
        return results.next()


# What comes of it ------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        pytest.param(reply(204), ("delivered", "status_204"), id="delivered"),
        pytest.param(reply(200, {"Content-Encoding": "gzip"}, b"no gzip"), ("delivered", "status_200"), id="not gzip"),
        pytest.param(raw(OK + b"Content-Length: 9\r\n\r\nabc"), ("delivered", "status_200"), id="too short"),
        pytest.param(reply(503), ("again", "status_503"), id="503"),
        pytest.param(reply(401), ("held", "status_401"), id="401"),
        pytest.param(reply(302, {"Location": "/elsewhere"}), ("held", "status_302"), id="redirect"),
        pytest.param(reply(404), ("dropped", "status_404"), id="404"),
        pytest.param(silence, ("again", "timeout"), id="silence"),
        pytest.param(drip(b"X: y\r\n", at_once=OK), ("again", "timeout"), id="a byte at a time"),
        pytest.param(reset, ("again", "network"), id="reset"),
        pytest.param(reset_after_request, ("again", "network"), id="reset after the request"),
        pytest.param(raw(b"garbage\r\n\r\n"), ("again", "network"), id="garbage"),
    ],
)
def test_every_client_comes_to_the_same(client: Factory | None, answer: Answer, result: tuple[str, str]) -> None:
    """Whatever the webhook does, an attempt over httpx2 comes to what it comes to over httpx."""
    with FaultServer(default=answer) as server:
        assert result_of(server.url, client, timeout=0.5) == result


def test_where_nobody_answers(client: Factory | None) -> None:
    """Nor do refused connections, connects that hang and names that do not resolve differ."""
    with refusing() as url:
        assert result_of(url, client) == ("again", "network")
    with unanswered() as url:
        assert result_of(url, client, timeout=0.3) == ("again", "timeout")
    assert result_of("https://no-such-host.invalid/hook", client) == ("again", "network")


def test_a_self_signed_certificate(client: Factory | None, ours: Path) -> None:
    """Every client refuses a certificate that nobody vouches for: the bot is held, and nothing was sent."""
    with serving(ours) as server:
        assert result_of(server.url, client) == ("held", "tls")
        assert server.received == []


def test_an_authority_of_ones_own(library: ModuleType, ours: Path) -> None:
    """A factory may bring its own trust."""
    context = ssl.create_default_context(cafile=str(ours))
    with serving(ours) as server:
        client = lambda: library.AsyncClient(verify=context, trust_env=False)  # noqa: E731
        assert result_of(server.url, client) == ("delivered", "status_204")


def test_a_client_with_less_patience_than_ours(library: ModuleType) -> None:
    """A client's own time-out is a time-out, though its exception is none of Python's."""
    with FaultServer(default=silence) as server:
        client = lambda: library.AsyncClient(timeout=0.1, trust_env=False)  # noqa: E731
        assert result_of(server.url, client) == ("again", "timeout")


def exceptions(library: ModuleType) -> dict[str, type[Exception]]:
    found = {name: getattr(library, name) for name in library.__all__}
    return {name: kind for name, kind in found.items() if inspect.isclass(kind) and issubclass(kind, Exception)}


@pytest.mark.parametrize("name", sorted(set(exceptions(httpx)) - {"HTTPStatusError"}))
def test_exceptions_of_httpx2_are_judged_like_those_of_httpx(name: str) -> None:
    """Each exception class of httpx has a namesake in httpx2, and both mean the same."""

    def make(kind: type[Exception]) -> Exception:
        error = kind.__new__(kind)
        Exception.__init__(error, "no")
        return error

    one, two = (judge_exception(make(exceptions(library)[name])) for library in (httpx, httpx2))
    assert one == two
    assert (one.kind, one.reason) == {
        "InvalidURL": ("hold", "request"),
        "UnsupportedProtocol": ("hold", "request"),
        "LocalProtocolError": ("hold", "request"),
        **dict.fromkeys(("TimeoutException", "ConnectTimeout", "PoolTimeout", "ReadTimeout"), ("again", "timeout")),
        "WriteTimeout": ("again", "timeout"),
    }.get(name, ("again", "network"))


def test_httpx2_is_not_imported_by_us() -> None:
    """Judging its exceptions takes no import: who does not use httpx2 does not load it."""
    program = "import sys, reve_middleware.webhook; print('httpx' in sys.modules, 'httpx2' in sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "True False\n"


# What is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/hook/path", "POST /hook/path HTTP/1.1"),
        ("", "POST / HTTP/1.1"),
        ("/", "POST / HTTP/1.1"),
        ("/a//b/", "POST /a//b/ HTTP/1.1"),
        ("/h%C3%B6ok/%2F;v=1/@x:~y", "POST /h%C3%B6ok/%2F;v=1/@x:~y HTTP/1.1"),
    ],
)
def test_every_client_sends_the_same(client: Factory | None, path: str, line: str) -> None:
    """The request arrives whole with every client: path, token, body and what describes it."""
    with FaultServer(path=path) as server:
        assert result_of(server.url, client) == ("delivered", "status_204")
        (received,) = server.received
    assert (received.line, received.body) == (line, b'{"data":1}')
    assert received.header("Host") == f"127.0.0.1:{server.port}"
    assert received.header("Authorization") == "Bearer tok"
    assert received.header("Content-Type") == "application/json; charset=utf-8"
    assert received.header("Content-Length") == "10"
    assert received.header("Accept-Encoding") == "identity"


def test_another_transport(library: ModuleType) -> None:
    """A client over another transport is given the whole address, the token and the body."""
    seen: list[tuple[str, str, bytes]] = []

    def answer(request: Any) -> Any:
        seen.append((str(request.url), request.headers["Authorization"], request.content))
        return library.Response(204)

    def client() -> Any:
        return library.AsyncClient(transport=library.MockTransport(answer))

    assert result_of("https://reve.example/hook/path", client) == ("delivered", "status_204")
    assert seen == [("https://reve.example/hook/path", "Bearer tok", b'{"data":1}')]


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What trackers do to both libraries: note the URL where a request begins, and add headers of their own."""
    noted: list[str] = []
    for library in LIBRARIES.values():

        async def send(self: Any, request: Any, *, really: Any = library.AsyncClient.send, **keywords: Any) -> Any:
            noted.append(f"{request.url} {dict(request.headers)}")
            request.headers["baggage"] = "release=1234567"
            response = await really(self, request, **keywords)
            noted.append(f"{response!r}")
            return response

        monkeypatch.setattr(library.AsyncClient, "send", send)
    return noted  # type: ignore[return-value]


def test_a_tracker_learns_the_host_alone(client: Factory | None, tracker: list[str]) -> None:
    """Who watches each request of httpx or httpx2 where it begins sees neither the link's path nor the token."""
    with FaultServer() as server:
        assert result_of(server.url, client) == ("delivered", "status_204")
        if client is None:
            assert tracker == [], "with no client of httpx's around it, there is nothing to watch"
        else:
            assert tracker[0].startswith(f"http://127.0.0.1:{server.port}/ {{")
        assert "hook" not in "".join(tracker)
        assert "tok" not in "".join(tracker)
        assert server.received[0].line == "POST /hook/path HTTP/1.1"


def test_what_a_tracker_adds_is_not_sent(tracker: list[str]) -> None:
    """The webhook is not told what trackers tell one's own services; a client of one's own may send what it likes."""
    with FaultServer() as server:
        result_of(server.url, None)
        result_of(server.url, lambda: httpx.AsyncClient(trust_env=False, headers={"X-Gateway": "1"}))
        plain, own = server.received
    assert len(tracker) == 2
    assert plain.header("baggage") is None
    assert (own.header("baggage"), own.header("X-Gateway")) == ("release=1234567", "1")


def test_nothing_of_httpx_is_given_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the client that is made where none is given, no request passes what tracers of httpx hang on to, its
    transport."""
    seen: list[object] = []
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", seen.append)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "__init__", seen.append)
    with FaultServer() as server:
        assert result_of(server.url, None) == ("delivered", "status_204")
        assert server.received[0].line == "POST /hook/path HTTP/1.1"
    assert seen == []


WARM = """
import asyncio, sys
from delivering import bot
from reve_middleware.delivery import _Loop
from reve_middleware.webhook import Clients, attempt

async def main():
    clients = Clients(None)
    await clients.warm_up()
    before = {*sys.modules}
    client = clients.take()
    outcome = await attempt(client, bot("b", sys.argv[1]), None, b"{}", "tok", 10.0)
    print(outcome.kind, *sorted({*sys.modules} - before))
    await client.aclose()

with asyncio.Runner(loop_factory=lambda: _Loop(asks_for_tokens=False)) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_first_request_imports_nothing(host: str) -> None:
    """What httpx and those below it import late is there before the first push: a fork finds no half of it."""
    with FaultServer() as server:
        path = os.pathsep.join(map(str, (HERE.parent, HERE)))
        command = [sys.executable, "-c", WARM, server.url.replace("127.0.0.1", host)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
        )
    assert done.stdout == "delivered\n"


# What is logged --------------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[Log]:
    """Everything that is logged, at DEBUG."""
    log, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    yield log
    root.removeHandler(log)
    root.setLevel(level)


def test_clients_are_quiet_in_our_thread(client: Factory | None, log: Log) -> None:
    """httpx and httpx2 log whole URLs; in our thread they log nothing, and in others what they always do."""
    with FaultServer() as server, FaultServer(default=reset) as broken:
        result_of(server.url, client)
        result_of(broken.url, client)
        assert {record.name for record in log.records} <= {"reve_middleware", "asyncio"}
        for library in LIBRARIES.values():
            with library.Client(trust_env=False) as theirs:
                theirs.get(server.url)
    assert {"httpx", "httpx2", "httpcore.http11", "httpcore2.http11"} <= {record.name for record in log.records}


def test_every_logger_of_theirs_is_known() -> None:
    """Filters are not inherited: each logger that httpx, httpx2 and what is below them have is on our list."""
    assert httpcore.__name__ == "httpcore"
    assert httpcore2.__name__ == "httpcore2"
    names = {name for name in logging.Logger.manager.loggerDict if name.startswith(("httpx", "httpcore"))}
    assert {"httpx", "httpx2", "httpcore.connection", "httpcore2.connection"} <= names
    assert names <= set(HTTP_LOGGERS)
