"""Nothing personal leaks: canaries in every secret place, every fault, and every log, repr and frame searched."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from delivering import Results, bot, push
from faults import Answer, FaultServer, answer_bytes, raw, refusing, reply, reset, silence
from watching import (
    BODY,
    EMAIL,
    PATH,
    PROFILE,
    SESSION,
    TOKEN,
    Everything,
    fail,
    found_in,
    middleware,
    silent,
    watching,
    wsgi_silent,
)

from reve_middleware.delivery import Result
from reve_middleware.messages import Offered
from reve_middleware.outcome import Outcome
from reve_middleware.webhook import HTTP_LOGGERS


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    with watching(monkeypatch) as handler:
        yield handler


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
