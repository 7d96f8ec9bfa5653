"""The time limits that only ASGI can hold: reading a report, the internal look-up, the application's callables."""

import asyncio
import contextvars
import json
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from drive import HOST, PAGE, Call, Last, ShellKind, Start, Visitor, Watched, said, scope_of
from oracle import Sent

from reve_middleware import asking, capture, identify
from reve_middleware.threads import DaemonThreads

TESTS_LIMITS = True

BRIDGE = {
    "Host": HOST,
    "Origin": f"https://{HOST}",
    "Sec-Fetch-Site": "same-origin",
    "X-Reve-Bridge": "1",
    "Content-Type": "application/json",
}
REPORT = json.dumps({"session_id": "s-1", "chatbot_id": "bot"}).encode()
SHORT = 0.05
"""Seconds, in place of the real limits."""


@pytest.fixture
def asgi() -> Iterator[ShellKind]:
    kind = ShellKind("asgi")
    yield kind
    kind.close()


# Reading the report ----------------------------------------------------------------------------


async def never() -> Any:
    await asyncio.Event().wait()


def report(asgi: ShellKind, *messages: Any) -> tuple[int, Any, int]:
    """Status, body and how many messages were taken, of a report that comes like this; then nothing comes."""
    middleware = asgi.wrap(lambda scope, receive, send: never(), subrequest=None)
    scope = scope_of(Call("POST", "/_reve/session", BRIDGE.items()))
    left = list(reversed(messages))
    sent = Sent(scope)

    async def receive() -> Any:
        return left.pop() if left else await never()

    async def send(message: Any) -> None:
        sent.take(message)

    asyncio.run(middleware(scope, receive, send))
    sent.close(whole=True)
    answer = json.loads(sent.messages[1]["body"])
    return sent.messages[0]["status"], answer, len(messages) - len(left)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_report_in_pieces_is_one_report(asgi: ShellKind) -> None:
    """However its bytes come, a report is read to its end; a message without `body` is an empty one."""
    pieces = [part(REPORT[at : at + 1]) for at in range(len(REPORT))]
    status, answer, _ = report(asgi, *pieces, {"type": "http.request"})
    assert (status, answer) == (200, {"status": "anonymous"})


@pytest.mark.parametrize("messages", [[], [part(REPORT)]], ids=["nothing", "all but the end"])
def test_a_report_that_does_not_come_is_given_up(
    asgi: ShellKind, monkeypatch: pytest.MonkeyPatch, messages: list[Any]
) -> None:
    """A body has 5 seconds to arrive in full; then the answer is 408."""
    assert capture.READ_SECONDS == 5.0
    monkeypatch.setattr(capture, "READ_SECONDS", SHORT)
    status, answer, _ = report(asgi, *messages)
    assert status == 408
    assert answer["detail"] == "The body did not arrive in time."


def test_a_report_that_breaks_off_is_refused(asgi: ShellKind) -> None:
    """A client that goes away in the middle of its report has captured nothing."""
    status, answer, _ = report(asgi, part(REPORT), {"type": "http.disconnect"})
    assert status == 400
    assert answer["detail"] == "The body must be one JSON object without repeated keys."


def test_a_report_that_is_too_large_is_not_read_to_its_end(asgi: ShellKind) -> None:
    """Reading stops with the message that passes 2 KiB."""
    status, answer, taken = report(asgi, part(b" " * 2048), part(b" "), part(REPORT, more=False))
    assert status == 413
    assert answer["detail"] == "The body may have at most 2048 bytes."
    assert taken == 2


# The look-up -----------------------------------------------------------------------------------


def hanging(where: str) -> Any:
    """An application that never answers a GET of the capture path; `where`: before or after its start."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if where == "after the start":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if where == "for a disconnect":
            await receive()
            await receive()
        await never()

    return app


@pytest.mark.parametrize(
    ("where", "status"),
    [("before the start", "anonymous"), ("for a disconnect", "anonymous"), ("after the start", "queued")],
)
def test_a_look_up_without_end_is_given_up(
    asgi: ShellKind, monkeypatch: pytest.MonkeyPatch, where: str, status: str
) -> None:
    """The application has 5 seconds for the internal GET; its start is what counts, its end is not waited for
    any longer, and the chat is captured all the same."""
    assert capture.LOOK_UP_SECONDS == 5.0
    monkeypatch.setattr(capture, "LOOK_UP_SECONDS", SHORT)

    async def profile(request: Any) -> Any:
        return {"id": 1}

    visitor = Visitor(asgi.wrap(hanging(where), profile=profile), asgi)
    assert visitor.capture().json == {"status": status}
    assert "__Host-reve" in visitor.jar


def test_a_look_up_that_is_given_up_keeps_no_profile(asgi: ShellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the view said before it hung is forgotten, whatever copied its context."""
    monkeypatch.setattr(capture, "LOOK_UP_SECONDS", SHORT)
    copied: list[contextvars.Context] = []
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        profile = Watched(id=1)
        identify(profile)
        seen.append(weakref.ref(profile))
        copied.append(contextvars.copy_context())
        del profile
        await asyncio.Event().wait()

    visitor = Visitor(asgi.wrap(app), asgi)
    assert visitor.capture().json == {"status": "anonymous"}
    assert len(copied) == 1
    assert seen[0]() is None


def test_without_a_yes_a_look_up_without_end_captures_nothing(asgi: ShellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where consent is asked for and the application never answers, there is no yes."""
    monkeypatch.setattr(capture, "LOOK_UP_SECONDS", SHORT)
    visitor = Visitor(asgi.wrap(hanging("before the start"), consent=lambda request: True), asgi)
    assert visitor.capture().json == {"status": "declined"}
    assert visitor.jar == {}


# The callables ---------------------------------------------------------------------------------


class Patience:
    """A callable that hangs while it is told to, counted; the limit is short only meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.asked = 0
        self.hangs = False
        self.error: Exception | None = None
        self.end = threading.Event()

    def hang_from_now(self) -> None:
        self.hangs, self.asked = True, 0
        self._monkeypatch.setattr(asking, "ASK_SECONDS", SHORT)

    def answer_from_now(self) -> None:
        self.hangs = False
        self._monkeypatch.setattr(asking, "ASK_SECONDS", 20.0)

    def sync(self, request: Any) -> Any:
        self.asked += 1
        if self.hangs:
            self.end.wait()
        return {"id": 1}

    async def hang(self, request: Any) -> Any:
        self.asked += 1
        if self.hangs:
            await never()
        if self.error is not None:
            raise self.error
        return {"id": 1}

    async def hang_later(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return await self.hang(request)

    def returns_awaitable(self, request: Any) -> Any:
        return self.hang_later(request)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patience]:
    assert (asking.ASK_SECONDS, asking.SUSPENDED_SECONDS, asking.MOST_THREADS) == (2.0, 30.0, 8)
    monkeypatch.setattr(asking, "_threads", DaemonThreads("test", asking.MOST_THREADS, queues=True))
    found = Patience(monkeypatch)
    yield found
    found.end.set()


@pytest.mark.parametrize("name", ["sync", "hang", "hang_later", "returns_awaitable"])
@pytest.mark.parametrize("keyword", ["profile", "consent"])
def test_a_callable_that_hangs_three_times_is_left_alone(
    asgi: ShellKind,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    patience: Patience,
    name: str,
    keyword: str,
) -> None:
    """A callable has 2 s; after three time-outs in a row it is not asked for 30 s, and pages go out all the while."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: clock.now))
    keywords: dict[str, Any] = {"profile": lambda request: {"id": 1}, keyword: getattr(patience, name)}
    visitor = asgi.site(lambda asked: [Start(), Last(PAGE)], **keywords)
    visitor.capture()
    patience.hang_from_now()
    bare = visitor.get("/")
    assert patience.asked == 1
    for _ in range(4):
        reply = visitor.get("/")
        assert (reply.status, reply.headers, reply.body) == (bare.status, bare.headers, bare.body)
    assert patience.asked == 3
    clock.now += 29.0
    visitor.get("/")
    assert patience.asked == 3
    clock.now += 1.0
    patience.answer_from_now()
    visitor.get("/")
    visitor.get("/")
    assert patience.asked == 5
    assert said(caplog) == [
        (
            "timed_out",
            f"{keyword}= took more than 0.05 s (read what the login has loaded); the visitor counts as unknown",
        ),
        ("suspended", f"{keyword}= took too long three times in a row: it is not asked for 30 s"),
    ]


def test_only_time_outs_in_a_row_count(asgi: ShellKind, caplog: pytest.LogCaptureFixture, patience: Patience) -> None:
    """An answer or an exception between time-outs begins the count anew."""
    visitor = asgi.site(profile=patience.hang)
    visitor.capture()
    for error in (None, ValueError(), None):
        patience.hang_from_now()
        for _ in range(2):
            visitor.get("/")
        assert patience.asked == 2
        patience.answer_from_now()
        patience.error = error
        visitor.get("/")
    assert "suspended" not in [code for code, _ in said(caplog)]


def test_when_every_thread_hangs_a_visitor_waits_no_longer_than_for_one(
    asgi: ShellKind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patience: Patience
) -> None:
    """Plain functions run in a few threads of ours; when all of them hang, a visitor counts as unknown in time."""
    visitor = asgi.site(profile=patience.sync)
    visitor.capture()
    monkeypatch.setattr(asking, "_threads", DaemonThreads("test", 1, queues=True))
    patience.hang_from_now()
    visitor.get("/")
    visitor.get("/")
    assert patience.asked == 1
    assert said(caplog)[-1][0] == "timed_out"
    assert said(caplog)[-1][1].startswith("profile= took more than ")


def test_a_time_limit_of_the_callables_own_is_its_own(
    asgi: ShellKind, caplog: pytest.LogCaptureFixture, patience: Patience
) -> None:
    """A callable that runs into a time limit of its own has raised, and is asked again."""

    async def profile(request: Any) -> Any:
        patience.asked += 1
        async with asyncio.timeout(0):
            await never()

    visitor = asgi.site(profile=profile)
    for _ in range(5):
        visitor.capture()
    assert patience.asked == 5
    assert [code for code, _ in said(caplog)] == ["raised"]


def test_what_a_callable_waits_for_may_be_cancelled(asgi: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A cancellation inside a callable, of what it waited for, is its own exception, not the request's."""

    async def profile(request: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    visitor = asgi.site(profile=profile)
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/").status == 200
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("profile= raised CancelledError at test_asgi_limits.py:")


def test_a_generator_is_no_answer(asgi: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """An async generator in place of a profile is told by its type."""

    async def profile(request: Any) -> AsyncIterator[Any]:
        yield {"id": 1}

    visitor = asgi.site(profile=profile)
    assert visitor.capture().json == {"status": "anonymous"}
    assert said(caplog) == [
        (
            "profile",
            "the profile is not pushed: the profile is a async_generator: "
            'it must be a dict of what the bot may know, such as {"id": user.id, "name": user.name}',
        )
    ]
