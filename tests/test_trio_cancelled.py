"""ASGI under trio: what is cancelled, by the server or by a callable itself, and what is not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from delivering import push
from drive import PATIENCE, Call, ShellKind, page, said, scope_of
from outboxes import Machine, mended
from test_asgi import BODY, START, saying
from test_outbox_writer import Busy
from test_trio import CHAT, answer, answering, known, marks, report
from under_trio import TrioKind, seconds

TESTS_LIMITS = True


@pytest.fixture
def kind() -> Iterator[TrioKind]:
    kind = TrioKind()
    yield kind
    kind.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


async def given_up(running: Callable[[], Awaitable[Any]], begun: Awaitable[Any]) -> BaseException:
    """What comes out of something that is cancelled as soon as it has begun."""
    out: list[BaseException] = []

    async def run() -> None:
        try:
            await running()
        except BaseException as error:
            out.append(error)
            raise

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await begun
            nursery.cancel_scope.cancel()
    (error,) = out
    return error


class Hanging:
    """Whatever hangs, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.end = threading.Event()

    async def call(self, *_: Any) -> Any:
        self.begun.set()
        await trio.sleep_forever()

    def block(self, _: Any) -> Any:
        self.token.run_sync_soon(self.begun.set)
        self.end.wait(PATIENCE)


WHILE: dict[str, Callable[[ShellKind, Hanging], tuple[Any, Call]]] = {
    "the application runs": lambda kind, hanging: (kind.wrap(hanging.call), Call(headers=CHAT)),
    "an async profile is computed": lambda kind, hanging: (
        kind.wrap(saying(START, BODY), profile=hanging.call),
        Call(headers=CHAT),
    ),
    "a plain profile is computed": lambda kind, hanging: (
        kind.wrap(saying(START, BODY), profile=hanging.block),
        Call(headers=CHAT),
    ),
    "an async handoff= runs": lambda kind, hanging: (
        kind.wrap(saying(START, BODY), profile=known, handoff=hanging.call),
        Call(headers=CHAT),
    ),
    "a plain handoff= runs": lambda kind, hanging: (
        kind.wrap(saying(START, BODY), profile=known, handoff=hanging.block),
        Call(headers=CHAT),
    ),
    "the look-up runs": lambda kind, hanging: (kind.wrap(hanging.call, profile=known), report()),
    "a profile is computed in the look-up": lambda kind, hanging: (
        kind.wrap(saying(START, BODY), profile=hanging.call),
        report(),
    ),
}


@pytest.mark.parametrize("name", WHILE)
def test_a_request_that_is_cancelled_ends_at_once(kind: ShellKind, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that gives up a request gets trio's own cancellation through, wherever the request is; nothing is sent
    any more, and the log says nothing."""

    async def main() -> None:
        hanging = Hanging()
        middleware, call = WHILE[name](kind, hanging)
        requests = [{"type": "http.request", "body": call.body}]
        sent: list[Any] = []

        async def receive() -> Any:
            return requests.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = scope_of(call)
        error = await given_up(lambda: middleware(scope, receive, send), hanging.begun.wait())
        hanging.end.set()
        assert type(error) is trio.Cancelled
        assert sent == []

    trio.run(main)
    assert said(caplog) == []


def test_a_report_whose_request_is_cancelled(kind: ShellKind) -> None:
    """So does one whose body is being read."""

    async def main() -> None:
        hanging = Hanging()
        middleware = kind.wrap(saying(START, BODY))
        error = await given_up(lambda: middleware(scope_of(report()), hanging.call, None), hanging.begun.wait())
        assert type(error) is trio.Cancelled

    trio.run(main)


def test_what_waits_for_the_disk_is_not_lost(machine: Machine) -> None:
    """Where a request is cancelled while it waits for the disk, its sign-out counts all the same, on the whole machine,
    and its push is kept."""
    box, other = machine.worker(), machine.worker()
    other.offer(push("out", captured=1), machine.now)

    async def main() -> None:
        busy = Busy(box)
        for waiting in (
            lambda: box.let_go_async(("b", "out"), 5, machine.now),
            lambda: box.offer_async(push("s", b"kept"), machine.now),
        ):
            error = await given_up(waiting, trio.testing.wait_all_tasks_blocked())
            assert type(error) is trio.Cancelled
        busy.over()

    trio.run(main)
    assert box.at_risk() == 1
    mended(machine, box)
    assert other.offer(push("out", captured=4), machine.now).status == "signed_out"
    assert machine.deliver_all(other) == [b"kept"]


# What callables do to themselves -----------------------------------------------------------------


def test_a_time_limit_of_the_callables_own(kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A callable that runs into a time limit of its own has raised, and is asked again."""
    asked: list[Any] = []

    async def profile(request: Any) -> Any:
        asked.append(request)
        with trio.fail_after(1.0):
            await trio.sleep_forever()

    layer = kind.wrap(kind.application(page()), profile=profile)
    for _ in range(4):
        took, reply = seconds(lambda: answer(layer, Call(headers=CHAT)))
        assert (took, marks(reply)) == (1.0, [])
    assert len(asked) == 4
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("profile= raised TooSlowError at ")


def test_tasks_of_the_callables_own_that_fail(kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """What fails in a callable's nursery comes as a group of exceptions: it has raised."""

    async def fail() -> None:
        raise ValueError("a canary")

    async def profile(request: Any) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    assert marks(kind.call(kind.wrap(kind.application(page()), profile=profile), Call(headers=CHAT))) == []
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("profile= raised ExceptionGroup at ")
    assert "canary" not in text


def test_tasks_that_fail_when_time_is_over(kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A callable whose tasks fail because its time is over has taken too long."""

    async def falls_apart() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleaning up")

    async def profile(request: Any) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(falls_apart)

    layer = kind.wrap(kind.application(page()), profile=profile)
    took, reply = seconds(lambda: answer(layer, Call(headers=CHAT)))
    assert (took, marks(reply)) == (2.0, [])
    assert said(caplog) == [
        (
            "timed_out",
            "profile= took more than 2 s (read what the login has loaded); the visitor counts as unknown",
        )
    ]


def test_an_outer_limit_of_the_servers(kind: ShellKind) -> None:
    """A limit around the whole request that ends before ours is the server's: the request is cancelled."""

    async def hang(request: Any) -> None:
        await trio.sleep_forever()

    middleware = kind.wrap(answering(0.0), profile=hang)

    async def main() -> bool:
        with trio.move_on_after(1.0) as outer:
            await answer(middleware, Call(headers=CHAT))
        return outer.cancelled_caught

    assert seconds(main) == (1.0, True)


def test_another_librarys_cancellation_is_an_exception(kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio's cancellation means nothing under trio: whoever raises it has raised."""

    async def profile(request: Any) -> Any:
        raise asyncio.CancelledError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    layer = kind.wrap(kind.application(page()), profile=profile)
    assert marks(kind.call(layer, Call(headers=CHAT))) == []
    assert said(caplog)[0][1].startswith("profile= raised CancelledError at test_trio_cancelled.py:")
    reply = kind.call(kind.wrap(app, profile=known), report())
    assert reply.json == {"status": "queued"}
