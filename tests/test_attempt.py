"""One attempt against a webhook that goes wrong in every way we know of."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from delivering import bot
from faults import (
    PATIENCE,
    Answer,
    FaultServer,
    Line,
    answer_bytes,
    bomb,
    close_after_request,
    drip,
    flood,
    raw,
    refusing,
    reply,
    reset,
    reset_after_request,
    silence,
    unanswered,
)

from reve_middleware import webhook
from reve_middleware.outcome import Outcome
from reve_middleware.webhook import Clients, attempt
from reve_middleware.wire import Wire

OK = b"HTTP/1.1 200 OK\r\n"


def attempts(
    url: str,
    count: int = 1,
    *,
    endpoint: str | None = None,
    body: bytes = b"{}",
    token: str = "tok",
    seconds: float = 10.0,
    factory: Callable[[], Any] | None = None,
) -> list[Outcome]:
    """So many attempts, one after another, with one client."""

    async def run() -> list[Outcome]:
        clients = Clients(factory)
        client = clients.take()
        try:
            return [await attempt(client, bot("b", url), endpoint, body, token, seconds) for _ in range(count)]
        finally:
            clients.give_back(client)
            await clients.close()

    return asyncio.run(run())


def outcome_of(answer: Answer, *, seconds: float = 10.0) -> Outcome:
    with FaultServer(answer) as server:
        (outcome,) = attempts(server.url, seconds=seconds)
        return outcome


# What is sent ----------------------------------------------------------------------------------


def test_the_request_is_what_reve_asks_for() -> None:
    """POST to the link or to an endpoint under it, with bearer token and JSON; nothing may be compressed."""
    with FaultServer() as server:
        attempts(server.url, body=b'{"botId":"b"}', token="s3cret")
        attempts(server.url, endpoint="login")
        first, second = server.received
    assert first.line == "POST /hook/path HTTP/1.1"
    assert second.line == "POST /hook/path/login HTTP/1.1"
    assert first.body == b'{"botId":"b"}'
    assert first.header("Authorization") == "Bearer s3cret"
    assert first.header("Content-Type") == "application/json; charset=utf-8"
    assert first.header("Content-Length") == "13"
    assert first.header("Accept") == "application/json"
    assert first.header("Accept-Encoding") == "identity"
    assert first.header("User-Agent") == "reve-middleware"
    assert first.header("Cookie") is None


def test_a_connection_is_used_again() -> None:
    """Attempts one after another share a connection."""
    with FaultServer(default=reply(200, body=b'{"ok":true}')) as server:
        assert [outcome.kind for outcome in attempts(server.url, 3)] == ["delivered"] * 3
        assert server.connections == 1


def ending(is_over: threading.Event, last: bytes, has_ended: threading.Event | None = None) -> Answer:
    """An answer; when it is over, a last word, and the end."""

    def answer(line: Line) -> None:
        line.read()
        line.send(answer_bytes(204))
        is_over.wait(PATIENCE)
        line.send(last)
        line.sock.close()
        if has_ended is not None:
            has_ended.set()

    return answer


@pytest.mark.parametrize("last", [b"", answer_bytes(408)], ids=["silently", "with a 408"])
def test_a_connection_that_ended_meanwhile_is_not_used_again(last: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook may close a connection that is idle, and say so: the next attempt has one of its own, and takes nothing
    for its answer that was said before."""
    is_over = threading.Event()

    async def run(url: str) -> list[str]:
        has_ended = asyncio.Event()
        really = Wire.eof_received
        monkeypatch.setattr(Wire, "eof_received", lambda wire: (really(wire), has_ended.set())[0])
        client = Clients(None).take()
        first = await attempt(client, bot("b", url), None, b"{}", "tok", 10.0)
        is_over.set()
        await has_ended.wait()
        second = await attempt(client, bot("b", url), None, b"{}", "tok", 10.0)
        await client.aclose()
        return [first.reason, second.reason]

    with FaultServer(ending(is_over, last)) as server:
        assert asyncio.run(run(server.url)) == ["status_204", "status_204"]
        assert server.connections == 2


@pytest.mark.parametrize("last", [b"", answer_bytes(408)], ids=["silently", "with a 408"])
def test_a_connection_that_ended_a_moment_ago_is_not_used_again(last: bytes) -> None:
    """Nor one of whose end the event loop has not heard yet: some webhooks close each one, and do not say that they
    will."""
    is_over = threading.Event()
    has_ended = threading.Event()

    async def run(url: str) -> list[str]:
        client = Clients(None).take()
        first = await attempt(client, bot("b", url), None, b"{}", "tok", 10.0)
        is_over.set()
        has_ended.wait(PATIENCE)
        second = await attempt(client, bot("b", url), None, b"{}", "tok", 10.0)
        await client.aclose()
        return [first.reason, second.reason]

    with FaultServer(ending(is_over, last, has_ended), default=reply(202)) as server:
        assert asyncio.run(run(server.url)) == ["status_204", "status_202"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"Content-Length: 0\r\n\r\n" + answer_bytes(500), id="a second answer"),
        pytest.param(OK + b"Content-Length: 1\r\n\r\nabc", id="too long a body"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n{}", id="a body where none may be"),
    ],
)
def test_more_than_was_asked_for_is_nobody_elses_answer(answer: bytes) -> None:
    """What follows an answer, even at once, is not taken for the answer to the next push."""

    def say(line: Line) -> None:
        line.read()
        line.send(answer)

    with FaultServer(say, default=reply(202)) as server:
        assert [outcome.reason for outcome in attempts(server.url, 3)][1:] == ["status_202", "status_202"]
        assert (server.connections, len(server.received)) == (2, 3)


@pytest.mark.parametrize("end", [close_after_request, reset_after_request])
def test_a_connection_that_ends_as_the_push_goes_out(end: Answer) -> None:
    """A kept connection that a webhook ends at the very moment it is used again costs the push nothing: that goes out
    once more at once, on a new one."""
    with FaultServer(reply(204), end, default=reply(202)) as server:
        assert [outcome.reason for outcome in attempts(server.url, 2)] == ["status_204", "status_202"]
        assert server.connections == 2


@pytest.mark.parametrize("end", [close_after_request, reset_after_request])
def test_a_push_goes_out_once_more_and_no_more(end: Answer) -> None:
    """A new connection that ends without an answer is a failure; the schedule decides when to try again."""
    with FaultServer(end, reply(204), end, end, default=reply(202)) as server:
        reasons = [outcome.reason for outcome in attempts(server.url, 4)]
        assert reasons == ["network", "status_204", "network", "status_202"]
        assert server.connections == 4


def test_a_push_that_was_answered_in_part_does_not_go_out_again() -> None:
    """Whoever has begun to answer has had the push."""
    with FaultServer(reply(204), raw(b"HTTP/1.1 20"), default=reply(202)) as server:
        assert [outcome.reason for outcome in attempts(server.url, 2)] == ["status_204", "network"]
        assert server.connections == 1


def test_a_push_that_somebody_worked_at_does_not_go_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the connection ended late: the webhook may have failed over it."""
    monkeypatch.setattr(webhook, "AT_ONCE_SECONDS", -1.0)
    with FaultServer(reply(204), close_after_request, default=reply(202)) as server:
        assert [outcome.reason for outcome in attempts(server.url, 2)] == ["status_204", "network"]


def test_one_client_for_several_bots() -> None:
    """A client goes from one bot's host to another's, and leaves no connection open behind it."""

    async def run(*urls: str) -> list[str]:
        client = Clients(None).take()
        outcomes = [await attempt(client, bot("b", url), None, b"{}", "tok", 10.0) for url in urls]
        await client.aclose()
        return [outcome.kind for outcome in outcomes]

    with FaultServer() as one, FaultServer() as two:
        assert asyncio.run(run(one.url, two.url, two.url, one.url)) == ["delivered"] * 4
        assert (one.connections, two.connections) == (2, 1)


def test_a_webhook_leaves_nothing_in_us() -> None:
    """Cookies of an answer are not kept: the next request carries none."""
    with FaultServer(default=reply(204, {"Set-Cookie": "tracked=1; Path=/"})) as server:
        attempts(server.url, 2)
        assert [received.header("Cookie") for received in server.received] == [None, None]


# What comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "delivered"), (202, "delivered"), (400, "refused"), (401, "token"), (404, "refused"), (410, "hold"),
     (429, "again"), (500, "again"), (503, "again")],
)  # fmt: skip
def test_an_answer_of_every_class(status: int, kind: str) -> None:
    """The status line of a real answer decides."""
    assert outcome_of(reply(status, body=b"whatever")) == Outcome(kind, f"status_{status}", status)


def test_retry_after_of_a_real_answer() -> None:
    """The header is read, and ignored where it comes twice."""
    assert outcome_of(reply(503, {"Retry-After": "12"})).retry_after == 12.0
    twice = answer_bytes(503, {"Retry-After": "12", "retry-after": "13"})
    assert outcome_of(raw(twice)).retry_after is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reset, id="reset at once"),
        pytest.param(reset_after_request, id="reset after the request"),
        pytest.param(close_after_request, id="closed after the request"),
        pytest.param(raw(b"HTTP/1.1 200 O", then_reset=True), id="reset in the status line"),
        pytest.param(raw(OK + b"Content-Le", then_reset=True), id="reset in the head"),
        pytest.param(raw(OK + b"Content-Le"), id="closed in the head"),
        pytest.param(raw(b"\x00\xff\x16\x03 garbage \r\n\r\n"), id="garbage"),
        pytest.param(raw(b"220 mail.example ESMTP\r\n\r\n"), id="another protocol"),
        pytest.param(raw(b"HTTP/1.1 abc OK\r\n\r\n"), id="no status"),
        pytest.param(raw(OK + b"no colon here\r\n\r\n"), id="no header"),
        pytest.param(raw(OK + b"Content-Length: -5\r\n\r\n"), id="negative length"),
        pytest.param(raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), id="two lengths"),
        pytest.param(raw(OK + b"X-Big: " + b"x" * 200_000 + b"\r\n\r\n"), id="huge head"),
        pytest.param(raw(OK + b"X: y\r\n" * 50_000 + b"\r\n"), id="many headers"),
    ],
)
def test_a_broken_answer_is_a_network_fault(answer: Answer) -> None:
    """What ends or breaks before the answer's head is whole is tried again; no exception leaves."""
    assert outcome_of(answer) == Outcome("again", "network")


def test_nobody_listens() -> None:
    """A refused connection is tried again."""
    with refusing() as url:
        assert attempts(url) == [Outcome("again", "network")]


def test_a_name_that_does_not_resolve() -> None:
    """A host that is not known is tried again."""
    assert attempts("https://no-such-host.invalid/hook") == [Outcome("again", "network")]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(OK + b"Content-Length: 100\r\n\r\nabc"), id="too short"),
        pytest.param(raw(OK + b"Content-Length: 100\r\n\r\nabc", then_reset=True), id="reset in the body"),
        pytest.param(raw(OK + b"Content-Length: 1\r\n\r\nabcdef"), id="too long"),
        pytest.param(raw(OK + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nabc"), id="broken chunks"),
        pytest.param(raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), id="not gzip"),
        pytest.param(raw(OK + b"Content-Type: application/json\r\n\r\n{nonsense"), id="not JSON"),
        pytest.param(raw(b"HTTP/1.0 200 OK\r\n\r\nold"), id="HTTP/1.0"),
        pytest.param(raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), id="after early hints"),
    ],
)
def test_a_broken_body_changes_nothing(answer: Answer) -> None:
    """Once the head said 200, the push is delivered, whatever becomes of the body; and the client can be used again."""
    with FaultServer(answer) as server:
        outcomes = attempts(server.url, 3)  # the second may still find the connection that was closed
        assert [outcomes[0].kind, outcomes[2].kind] == ["delivered", "delivered"]


# Time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(silence, id="silence"),
        pytest.param(drip(b"HTTP/1.1 200 OK" + b"K" * 10_000), id="dripping status line"),
        pytest.param(drip(b"X-Slow: y\r\n", at_once=OK), id="dripping head"),
        pytest.param(drip(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.001), id="dripping interim answers"),
        pytest.param(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40), id="a flood of interim answers"),
    ],
)
def test_an_attempt_has_a_deadline_as_a_whole(answer: Answer) -> None:
    """A webhook that keeps sending without ever answering is given up at the deadline."""
    began = time.monotonic()
    assert outcome_of(answer, seconds=0.3) == Outcome("again", "timeout")
    assert time.monotonic() - began < 3.0


def test_a_connect_has_a_deadline() -> None:
    """A webhook that does not take the connection is given up at the deadline."""
    with unanswered() as url:
        assert attempts(url, seconds=0.3) == [Outcome("again", "timeout")]


def test_a_connect_has_a_shorter_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting may take 3 s of the attempt's time, no more."""
    assert webhook.CONNECT_SECONDS == 3.0
    monkeypatch.setattr(webhook, "CONNECT_SECONDS", 0.1)
    began = time.monotonic()
    with unanswered() as url:
        assert attempts(url, seconds=10.0) == [Outcome("again", "timeout")]
    assert time.monotonic() - began < 5.0


def test_a_body_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivered push is delivered, though its answer's body never ends."""
    monkeypatch.setattr(webhook, "READ_AFTER_STATUS_SECONDS", 0.1)
    began = time.monotonic()
    assert outcome_of(drip(b"x", at_once=OK + b"Content-Length: 1000000\r\n\r\n")).kind == "delivered"
    assert time.monotonic() - began < 5.0


def test_a_body_that_drips_beyond_the_deadline_is_delivered_all_the_same() -> None:
    """The deadline of the attempt takes back nothing that the status line has said."""
    answer = drip(b"x", at_once=OK + b"Content-Length: 1000000\r\n\r\n")
    assert outcome_of(answer, seconds=0.3).kind == "delivered"


@pytest.mark.parametrize("answer", [silence, drip(b"X: y\r\n", at_once=OK), reset_after_request, reset, reply(503)])
def test_a_client_survives_what_went_wrong(answer: Answer) -> None:
    """After a time-out or a lost connection the same client works again: nothing of the failure is left in it."""
    with FaultServer(answer, answer) as server:
        assert [outcome.kind for outcome in attempts(server.url, 3, seconds=0.4)] == ["again", "again", "delivered"]


# Size ------------------------------------------------------------------------------------------


def test_a_huge_body_is_left_alone() -> None:
    """Of 300 MB only what the sockets' buffers hold is taken, and the connection is closed."""
    answer = flood(answer_bytes(200, {"Content-Length": str(300 * 1024 * 1024)}), b"x" * 65536)
    with FaultServer(answer) as server:
        assert [outcome.kind for outcome in attempts(server.url, 2)] == ["delivered", "delivered"]
        assert server.connections == 2
        assert server.flooded < 32 * 1024 * 1024


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed answer is not unpacked."""
    import httpx._decoders

    unpacked: list[object] = []

    def unpack(*given: object) -> bytes:
        unpacked.append(given)
        return b""

    monkeypatch.setattr(httpx._decoders.GZipDecoder, "decode", unpack)
    data = bomb()
    assert outcome_of(reply(200, {"Content-Encoding": "gzip"}, data)).kind == "delivered"
    small = bomb(1000)
    assert len(small) < 4096
    assert outcome_of(reply(200, {"Content-Encoding": "gzip"}, small)).kind == "delivered"
    assert unpacked == []


# Elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is a failure: nothing is sent to where it points."""
    with FaultServer() as sink, FaultServer(reply(status, {"Location": sink.url})) as server:
        assert attempts(server.url) == [Outcome("hold", f"status_{status}", status)]
        assert sink.connections == 0


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """No profile goes through a proxy that the environment names."""
    with FaultServer() as sink, FaultServer() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, sink.url.rpartition("/hook")[0])
        monkeypatch.setenv("NO_PROXY", "")
        assert attempts(server.url)[0].kind == "delivered"
        assert sink.connections == 0
        assert len(server.received) == 1


@pytest.mark.parametrize("error", [httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL])
def test_a_request_that_cannot_be_made_holds_the_bot(error: type[Exception]) -> None:
    """A link or header that no request can be made of is a fault of the configuration, not of the network."""
    assert attempts("http://127.0.0.1:9/hook", factory=lambda: Failing(error("no"))) == [Outcome("hold", "request")]


def test_nothing_that_a_client_raises_leaves() -> None:
    """Whatever a client of one's own raises, an attempt comes back with an outcome."""
    for error in (ZeroDivisionError(), OSError(), httpx.TooManyRedirects("no"), RuntimeError("no")):
        assert attempts("http://127.0.0.1:9/hook", factory=lambda: Failing(error)) == [Outcome("again", "network")]  # noqa: B023
    assert attempts("http://127.0.0.1:9/hook", factory=lambda: Failing(httpx.PoolTimeout(""))) == [
        Outcome("again", "timeout")
    ]


class Failing:
    """A client that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def stream(self, *_: object, **__: object) -> Any:
        raise self.error

    async def aclose(self) -> None:
        """Nothing is open."""
