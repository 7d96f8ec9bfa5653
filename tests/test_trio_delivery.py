"""ASGI under trio: the outbox, the task queue, our threads, and the flush at the end."""

import contextlib
import inspect
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from delivering import Log, listening, push
from drive import PATIENCE, Call, Visitor, call_asgi, page
from handing import AGAIN, Settling, Stuck, hand_off_to
from outboxes import UNUSABLE, Machine, mended
from test_asgi import BODY, START, saying
from test_outbox_shells import waiting
from test_outbox_writer import Busy
from test_trio import CHAT, answer, jump, known, marks, stand_still
from under_trio import TrioKind, seconds

from reve_middleware.threads import DaemonThreads, NoThreadError, run_in

TESTS_LIMITS = True


@pytest.fixture
def kind() -> Iterator[TrioKind]:
    kind = TrioKind()
    yield kind
    kind.close()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


# The outbox ------------------------------------------------------------------------------------


def test_the_outbox_takes_offers_and_sign_outs(machine: Machine) -> None:
    """What is offered and let go under trio is as if a thread had done it."""
    box = machine.worker()

    async def main() -> list[str]:
        first = await box.offer_async(push("s", captured=1), machine.now)
        await box.let_go_async(("b", "s"), 5, machine.now)
        late = await box.offer_async(push("s", captured=4), machine.now)
        return [first.status, late.status]

    assert trio.run(main) == ["queued", "signed_out"]
    assert machine.nothing_for(box)


def test_a_disk_that_does_not_answer(machine: Machine, log: Log) -> None:
    """A request waits 3 s for the disk; then the memory takes its push."""
    box = machine.worker()
    busy = Busy(box)
    took, offered = seconds(lambda: box.offer_async(push("s", b"1"), machine.now))
    assert (took, offered.status) == (3.0, "queued")
    assert log.texts() == [UNUSABLE % "it does not answer"]
    busy.over()
    mended(machine, box)
    assert machine.deliver_all(box) == [b"1"]


def test_a_slow_disk_holds_up_no_other_request(kind: TrioKind, tmp_path: Path) -> None:
    """While one response waits for the disk, trio serves others; then it is marked."""
    path = tmp_path / "outbox.sqlite3"
    app = kind.wrap(kind.application(page()), outbox=path, profile=known)
    call_asgi(app, Call())  # creates the file
    app.close(PATIENCE)
    waited: list[Any] = []

    async def main(db: sqlite3.Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(20):
                assert (await answer(app, Call())).status == 200
            assert waited == []
            db.execute("ROLLBACK")

    async def slow() -> None:
        waited.append(marks(await answer(app, Call(headers=CHAT))))

    kind.webhook.hold()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        trio.run(main, db)
    assert waited == [["__Host-reve-mark"]]
    assert [bot for bot, _ in waiting(path)] == ["bot"]


# The task queue --------------------------------------------------------------------------------


class Queue:
    """A site's task queue, for trio."""

    def __init__(self, needs: float = 0.0) -> None:
        self.needs = needs
        self.taken: list[str] = []
        self.tokens: list[Any] = []

    async def __call__(self, task: dict[str, Any]) -> None:
        self.tokens.append(trio.lowlevel.current_trio_token())
        jump(trio.lowlevel.current_clock())
        await trio.sleep(self.needs)
        stand_still()
        self.taken.append(task["session_id"])

    async def handed(self, callable_: Any) -> str:
        """What becomes of a push."""
        stand_still()
        offered = await hand_off_to(callable_).offer_async(push("s"))
        assert set(self.tokens) <= {trio.lowlevel.current_trio_token()}
        return offered.status


FORMS: dict[str, Callable[[Queue], Any]] = {
    "an async callable": lambda queue: queue,
    "a function that returns a coroutine": lambda queue: lambda task: queue(task),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_task_queue_has_two_seconds(form: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `handoff=` awaits runs under the application's own trio, for 2 s."""
    settle = Settling(monkeypatch)
    for needs, took, status in ((1.9, 1.9, "queued"), (2.1, 2.0, "busy")):
        queue = Queue(needs)
        assert seconds(partial(queue.handed, FORMS[form](queue))) == (took, status)
        assert queue.taken == ["s"] * (status == "queued")
    settle()
    assert f"handoff= failed with a time-out (2 s); {AGAIN}" in log.texts()
    assert set(log.codes()) == {"handoff"}


def test_a_plain_task_queue_holds_up_nobody(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain `handoff=` that hangs is waited for 2 s; it has begun, so its push counts when it comes to an end."""
    broker, one, settle = Stuck(), push("s"), Settling(monkeypatch)
    hand_off = hand_off_to(broker)

    async def main() -> str:
        clock = stand_still()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begun, clock)
            return (await hand_off.offer_async(one)).status

    async def begun(clock: Any) -> None:
        await trio.to_thread.run_sync(broker.entered.wait, PATIENCE)
        jump(clock)

    assert seconds(main) == (2.0, "busy")
    broker.free.set()
    settle()
    assert broker.handed == ["s"]
    assert log.codes() == ["handoff"]


# Threads ---------------------------------------------------------------------------------------


def test_threads_work_for_trio() -> None:
    """What runs in a thread of ours comes back under trio: values, exceptions, and that no thread is to be had."""
    threads = DaemonThreads("test-trio", 1, queues=True)

    async def main() -> None:
        assert await run_in(threads, divmod, 17, 5) == (3, 2)
        with pytest.raises(KeyError):
            await run_in(threads, {}.__getitem__, 1)
        with pytest.raises(NoThreadError):
            await run_in(DaemonThreads("test-trio", 0), int)

    trio.run(main)
    threads.end()


def test_a_thread_that_ends_after_trio() -> None:
    """A result that comes when its trio is over is dropped without a word, a coroutine closed."""
    threads = DaemonThreads("test-trio", 1)
    begun, go = threading.Event(), threading.Event()

    async def never() -> None: ...

    left = never()

    def slow() -> Any:
        begun.set()
        go.wait(PATIENCE)
        return left

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_in, threads, slow)
            await trio.to_thread.run_sync(begun.wait, PATIENCE)
            nursery.cancel_scope.cancel()

    trio.run(main)
    go.set()
    done = threading.Event()
    while not threads.submit(done.set):
        pass
    assert done.wait(PATIENCE)
    assert inspect.getcoroutinestate(left) == inspect.CORO_CLOSED
    threads.end()


# The end ---------------------------------------------------------------------------------------


def shutting_down(delivered: list[int], kind: TrioKind, before: Callable[[], Any]) -> Any:
    """A lifespan, from its start to its end; what had been delivered when the server heard of each."""
    visitor = Visitor(kind.wrap(saying(START, BODY), profile=known), kind)
    kind.webhook.hold()
    assert visitor.capture().json == {"status": "queued"}
    kind.webhook.wait_for(1)

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        before()
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Any) -> None:
        delivered.append(visitor.middleware.stats()["delivered"])

    visitor.middleware.app = lifespan
    return partial(visitor.middleware, {"type": "lifespan"}, None, send)


def test_the_flush_at_the_end(kind: TrioKind) -> None:
    """What is left is delivered before the server hears that the shutdown is complete."""
    delivered: list[int] = []
    trio.run(shutting_down(delivered, kind, kind.webhook.release))
    assert delivered == [0, 1]


def test_the_flush_does_not_wait_for_ever(kind: TrioKind) -> None:
    """A webhook that hangs holds the shutdown up for 2 s, and half a second for its thread."""
    delivered: list[int] = []
    took, _ = seconds(shutting_down(delivered, kind, lambda: None))
    assert (took, delivered) == (2.5, [0, 0])


def test_nothing_to_flush(kind: TrioKind) -> None:
    """Where nothing was ever pushed the shutdown waits for nothing."""
    layer = kind.wrap(saying({"type": "lifespan.shutdown.complete"}))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    assert seconds(partial(layer, {"type": "lifespan"}, None, send))[0] == 0.0
    assert sent == [{"type": "lifespan.shutdown.complete"}]
