"""ASGI under trio: each time limit of the shell to the moment, on a clock that jumps where everybody waits."""

import math
import threading
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from drive import HOST, PAGE, Call, ShellKind, page, said, scope_of
from oracle import Sent
from servers import Reply, reply_of
from test_asgi_limits import BRIDGE, REPORT, part
from test_table import chat_cookie
from under_trio import TrioKind, seconds, serve

from reve_middleware import asking, capture
from reve_middleware.threads import DaemonThreads

TESTS_LIMITS = True

READ, LOOK_UP, ASK = 5.0, 5.0, 2.0
CHAT = [("Host", HOST), ("Cookie", chat_cookie())]


@pytest.fixture
def kind() -> Iterator[TrioKind]:
    kind = TrioKind()
    yield kind
    kind.close()


def test_the_figures() -> None:
    """5 s for a report and for the look-up, 2 s for a callable."""
    assert (capture.READ_SECONDS, capture.LOOK_UP_SECONDS, asking.ASK_SECONDS) == (READ, LOOK_UP, ASK)


async def answer(app: Any, call: Call) -> Reply:
    sent = Sent(scope_of(call))
    await serve(app, sent.scope, call.body, sent)
    return reply_of(sent.messages)


def report() -> Call:
    """What the bridge sends."""
    return Call("POST", "/_reve/session", BRIDGE.items(), REPORT)


# Reading the report ----------------------------------------------------------------------------


async def reported(kind: ShellKind, pauses: list[float], messages: list[Any]) -> Reply:
    """The answer to a report whose messages come so many seconds after one another; then nothing comes."""
    left = list(zip(pauses, messages, strict=True))
    sent = Sent(scope_of(report()))

    async def receive() -> Any:
        if not left:
            await trio.sleep_forever()
        pause, message = left.pop(0)
        await trio.sleep(pause)
        return message

    async def send(message: Any) -> None:
        sent.take(message)

    await kind.wrap(kind.application(page()), subrequest=None)(sent.scope, receive, send)
    return reply_of(sent.messages)


@pytest.mark.parametrize("messages", [[], [part(REPORT)]], ids=["nothing", "all but the end"])
def test_a_report_that_does_not_come_is_given_up(kind: ShellKind, messages: list[Any]) -> None:
    """After 5 s a body that has not arrived in full is answered with 408."""
    took, reply = seconds(partial(reported, kind, [1.0] * len(messages), messages))
    assert took == READ
    assert (reply.status, reply.json["detail"]) == (408, "The body did not arrive in time.")


def test_a_report_that_comes_slowly_is_read(kind: ShellKind) -> None:
    """A body whose last byte comes a moment before the 5 s are over is read."""
    messages = [part(REPORT[:9]), part(REPORT[9:]), {"type": "http.request"}]
    took, reply = seconds(partial(reported, kind, [1.0, 2.0, 1.9], messages))
    assert (took, reply.json) == (4.9, {"status": "anonymous"})


# The look-up -----------------------------------------------------------------------------------


def answering(after: float, ends: float = 0.0) -> Any:
    """An application that needs so many seconds for its start, and so many more for its end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(after)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await trio.sleep(ends)
        await send({"type": "http.response.body"})

    return app


async def waiting_for_a_disconnect(scope: Any, receive: Any, send: Any) -> None:
    assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
    await receive()


async def known(request: Any) -> Any:
    return {"id": 1}


@pytest.mark.parametrize(
    ("app", "expected", "status"),
    [
        (answering(0.0), 0.0, "queued"),
        (answering(4.9), 4.9, "queued"),
        (answering(5.1), LOOK_UP, "anonymous"),
        (answering(1.0, ends=3600.0), LOOK_UP, "queued"),
        (waiting_for_a_disconnect, LOOK_UP, "anonymous"),
    ],
    ids=["at once", "just in time", "too late", "without end", "for a disconnect"],
)
def test_a_look_up_has_five_seconds(kind: ShellKind, app: Any, expected: float, status: str) -> None:
    """The application has 5 s for the internal GET; its start is what counts, and the chat is captured all the same."""
    took, reply = seconds(partial(answer, kind.wrap(app, profile=known), report()))
    assert (took, reply.json) == (expected, {"status": status})
    assert "__Host-reve" in reply.cookies


def test_an_application_that_comes_apart_when_its_time_is_over(
    kind: ShellKind, caplog: pytest.LogCaptureFixture
) -> None:
    """A task of the application's that fails while the look-up is given up makes a group of exceptions: it is the
    answer to a request that nobody sent, and the chat is captured."""

    async def falls_apart() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleaning up")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(falls_apart)

    took, reply = seconds(partial(answer, kind.wrap(app, profile=known), report()))
    assert (took, reply.json) == (LOOK_UP, {"status": "anonymous"})
    assert "__Host-reve" in reply.cookies
    assert said(caplog) == []


# The callables ---------------------------------------------------------------------------------


class Slow:
    """An async callable that needs so many seconds."""

    def __init__(self, needs: float) -> None:
        self.needs = needs
        self.asked = 0

    async def __call__(self, request: Any) -> Any:
        self.asked += 1
        await trio.sleep(self.needs)
        return {"id": 1}

    async def in_a_nursery(self, request: Any) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self, request)
        return {"id": 1}

    async def in_a_scope(self, request: Any) -> Any:
        """A scope that is open at the first step, and closed before a later one."""
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        await trio.sleep(self.needs - 0.5)
        return {"id": 1}


FORMS = {
    "an object": lambda slow: slow,
    "a method": lambda slow: slow.__call__,
    "with a nursery": lambda slow: slow.in_a_nursery,
    "with a scope": lambda slow: slow.in_a_scope,
}


def marks(reply: Reply) -> list[str]:
    return list(reply.cookies)


@pytest.mark.parametrize("form", FORMS)
def test_an_async_callable_has_two_seconds(kind: ShellKind, caplog: pytest.LogCaptureFixture, form: str) -> None:
    """An async callable is waited for 2 s: what it says until then counts, and the page goes out in any case."""
    for needs, expected, cookies in ((1.9, 1.9, ["__Host-reve-mark"]), (2.1, ASK, [])):
        layer = kind.wrap(kind.application(page()), profile=FORMS[form](Slow(needs)))
        took, reply = seconds(partial(answer, layer, Call(headers=CHAT)))
        assert (took, marks(reply)) == (expected, cookies)
        assert reply.body.endswith(PAGE[-20:])
    assert said(caplog) == [
        (
            "timed_out",
            "profile= took more than 2 s (read what the login has loaded); the visitor counts as unknown",
        )
    ]


@pytest.mark.parametrize("keyword", ["consent", "identity"])
def test_every_callable_has_two_seconds(kind: ShellKind, caplog: pytest.LogCaptureFixture, keyword: str) -> None:
    """So have `consent=` and `identity=`."""
    layer = kind.wrap(kind.application(page()), **{"profile": known, keyword: Slow(2.1)})
    took, reply = seconds(partial(answer, layer, Call(headers=CHAT)))
    assert (took, marks(reply)) == (ASK, [])
    assert said(caplog) == [
        (
            "timed_out",
            f"{keyword}= took more than 2 s (read what the login has loaded); the visitor counts as unknown",
        )
    ]


def test_after_three_time_outs_it_is_left_alone(
    kind: ShellKind, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three time-outs in a row a callable is not asked for 30 s, and visitors wait for nothing."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: clock.now))
    slow = Slow(3.0)
    layer = kind.wrap(kind.application(page()), profile=slow)
    times = [seconds(partial(answer, layer, Call(headers=CHAT)))[0] for _ in range(5)]
    assert times == [ASK, ASK, ASK, 0.0, 0.0]
    clock.now += 30.0
    assert seconds(partial(answer, layer, Call(headers=CHAT)))[0] == ASK
    assert slow.asked == 4
    assert [code for code, _ in said(caplog)] == ["timed_out", "suspended"]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonThreads]:
    """One thread for callables, of this test's own."""
    threads = DaemonThreads("test-trio", 1, queues=True)
    monkeypatch.setattr(asking, "_threads", threads)
    yield threads
    threads.end()


@pytest.mark.usefixtures("threads")
def test_a_plain_callable_has_two_seconds(kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A plain callable runs in a thread of ours; after 2 s nobody waits for it, nor for one that waits for a thread,
    which is then not called at all."""
    go, asked = threading.Event(), []
    begun: list[Any] = []

    def profile(request: Any) -> Any:
        asked.append(threading.current_thread().name)
        if begun:
            begun.pop()()
        assert go.wait(20.0)
        return {"id": 1}

    async def until_it_has_begun() -> Reply:
        token = trio.lowlevel.current_trio_token()
        begun.append(partial(token.run_sync_soon, jump, stand_still()))
        return await answer(layer, Call(headers=CHAT))

    layer = kind.wrap(kind.application(page()), profile=profile)
    for main in (until_it_has_begun, partial(answer, layer, Call(headers=CHAT))):
        took, reply = seconds(main)
        assert (took, marks(reply)) == (ASK, [])
    go.set()
    assert marks(kind.call(layer, Call(headers=CHAT))) == ["__Host-reve-mark"]
    assert asked == ["test-trio", "test-trio"]
    assert said(caplog) == [
        (
            "timed_out",
            "profile= took more than 2 s (read what the login has loaded); the visitor counts as unknown",
        )
    ]


def stand_still() -> Any:
    """The clock, which now does not jump: a thread works."""
    clock: Any = trio.lowlevel.current_clock()
    clock.autojump_threshold = math.inf
    return clock


def jump(clock: Any) -> None:
    clock.autojump_threshold = 0.0


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("needs", "expected", "cookies"), [(1.9, 1.9, ["__Host-reve-mark"]), (2.1, ASK, [])])
def test_what_a_plain_callable_returns_is_awaited(
    kind: ShellKind, needs: float, expected: float, cookies: list[str]
) -> None:
    """A plain callable may return what is to be awaited: that runs in the request's own task, for 2 s."""
    tasks: list[Any] = []

    async def slow() -> Any:
        tasks.append(trio.lowlevel.current_task())
        jump(trio.lowlevel.current_clock())
        await trio.sleep(needs)
        return {"id": 1}

    async def main() -> Reply:
        tasks.append(trio.lowlevel.current_task())
        stand_still()
        return await answer(kind.wrap(kind.application(page()), profile=lambda request: slow()), Call(headers=CHAT))

    took, reply = seconds(main)
    assert (took, marks(reply)) == (expected, cookies)
    assert tasks[0] is tasks[1]
