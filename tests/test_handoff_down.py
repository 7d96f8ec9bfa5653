"""`handoff=` while the task queue's broker is down or hangs (contract §7)."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import Log, listening, push
from drive import ShellKind
from fakes import PATIENCE
from handing import AGAIN, FORMS, Never, Queue, Settling, Stuck, hand_off_to, logged_in, offered

from reve_middleware import handoff

TESTS_LIMITS = True
TIMED_OUT = f"handoff= failed with a time-out (2 s); {AGAIN}"
SUSPENDED = "handoff= took too long three times in a row: it is not asked for 30 s"


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(handoff, "HAND_OFF_SECONDS", 0.05)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long, but until a thread has begun."""
    monkeypatch.setattr(handoff, "HAND_OFF_SECONDS", 0.4)


@pytest.fixture
def until_settled(monkeypatch: pytest.MonkeyPatch) -> Settling:
    return Settling(monkeypatch)


@pytest.mark.parametrize(
    ("protocol", "form"),
    [(protocol, "a function") for protocol in ("asgi", "wsgi")] + [("asgi", form) for form in FORMS],
)
def test_a_broker_that_is_down(protocol: str, form: str, queue: Queue, log: Log) -> None:
    """While the broker is down nothing is marked, each response offers the push again, and the log says so once a
    minute, without the exception's text."""
    queue.down = ConnectionError("redis://:canary@10.0.0.1")
    visitor = logged_in(ShellKind(protocol), handoff=queue.put if form == "a function" else FORMS[form](queue))
    assert visitor.capture().json == {"status": "busy"}
    jar = dict(visitor.jar)
    for _ in range(20):
        assert visitor.get().status == 200
    assert visitor.jar == jar
    assert queue.calls == 21
    assert visitor.middleware.stats() == {"offered": 0, "busy": 21, "in_hand": 0}
    [text] = log.texts()
    assert re.fullmatch(rf"handoff= failed with ConnectionError at handing\.py:\d+; {AGAIN}", text)
    assert "canary" not in str([vars(record) for record in log.records])
    queue.down = None
    visitor.get()
    visitor.get()
    assert (len(queue.tasks), len(visitor.jar)) == (1, len(jar) + 1)


def test_what_hangs_under_asgi(patient: None, until_settled: Settling, log: Log) -> None:
    """Whoever waits for a plain callable that hangs is answered "busy" after 2 s; when it comes to an end all the same,
    the push counts as handed on, and is not handed on twice."""
    broker, one = Stuck(), push("s")
    hand_off = hand_off_to(broker)
    assert offered(hand_off, one) == "busy"
    assert log.texts() == [TIMED_OUT]
    assert offered(hand_off, one) == "busy"
    broker.free.set()
    until_settled()
    assert offered(hand_off, one) == "current"
    assert broker.handed == ["s"]
    assert hand_off.stats() == {"offered": 0, "busy": 2, "in_hand": 0}


def test_what_hangs_and_fails_at_last(patient: None, until_settled: Settling, log: Log) -> None:
    """A plain callable that hangs and then fails has handed nothing on, and took too long just once: the next response
    offers the push again."""
    broker, one = Stuck(), push("s")
    broker.down = OSError("canary")
    hand_off = hand_off_to(broker)
    for _ in range(2):
        broker.free.clear()
        assert offered(hand_off, one) == "busy"
        broker.free.set()
        until_settled()
    broker.down = None
    assert offered(hand_off, one) == "queued"
    assert broker.handed == ["s"]
    assert len(log.texts()) == 2
    assert "canary" not in str(log.texts())


def test_an_async_callable_that_hangs(quick: None, log: Log) -> None:
    """An async callable that hangs is cancelled after 2 s; after three in a row it is not called for 30 s."""
    broker = Never()
    hand_off = hand_off_to(broker)
    assert [offered(hand_off, push(f"s{number}")) for number in range(5)] == ["busy"] * 5
    assert broker.calls == 3
    assert log.texts() == [TIMED_OUT, SUSPENDED]
    assert hand_off.stats() == {"offered": 0, "busy": 5, "in_hand": 0}


def test_a_coroutine_that_hangs(quick: None, until_settled: Settling, log: Log) -> None:
    """What a plain callable returns to be awaited is cancelled after 2 s too, and holds up neither chat nor thread."""

    async def main() -> None:
        assert (await hand_off.offer_async(one)).status == "busy"
        await asyncio.to_thread(until_settled)
        broker[0] = queue
        assert (await hand_off.offer_async(one)).status == "queued"

    queue, one = Queue(), push()
    broker: list[Any] = [Never()]
    hand_off = hand_off_to(lambda task: broker[0](task))
    asyncio.run(main())
    assert log.texts() == [TIMED_OUT]


def test_it_is_called_again_after_a_rest(quick: None, monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    """After 30 s the task queue is called again, and one that answers is called as before."""
    now = 1000.0
    monkeypatch.setattr(handoff, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    callables: list[Any] = [Never()]

    async def broker(task: dict[str, Any]) -> None:
        await callables[0](task)

    hand_off = hand_off_to(broker)
    for number in range(3):
        assert offered(hand_off, push(f"s{number}")) == "busy"
    callables[0] = queue
    now += 29.9
    assert offered(hand_off, push()) == "busy"
    now += 0.2
    for number in range(3):
        assert offered(hand_off, push(f"s{number}")) == "queued"
    callables[0] = Never()
    assert offered(hand_off, push("s0")) == "busy"
    callables[0] = queue
    assert offered(hand_off, push("s0")) == "queued"


def test_a_slow_broker_under_wsgi(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """Under WSGI a plain callable cannot be cut short, but after three that took 2 s it is not called for 30 s."""
    now = 1000.0
    monkeypatch.setattr(handoff, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    calls = 0

    def broker(task: dict[str, Any]) -> None:
        nonlocal now, calls
        now += 2.0
        calls += 1
        if calls != 2:
            raise OSError

    hand_off = hand_off_to(broker)
    answers = [hand_off.offer(push(f"s{number}")).status for number in range(4)]
    assert answers == ["busy", "queued", "busy", "busy"]
    assert calls == 3
    assert SUSPENDED in log.texts()


def test_every_thread_hangs(until_settled: Settling, log: Log) -> None:
    """Where all eight threads hang in the task queue, the next push is busy at once."""
    broker, hand_off = Stuck(), hand_off_to(print)
    for _ in range(8):
        assert handoff._threads.submit(lambda: broker({"session_id": "s"}))
    assert offered(hand_off, push()) == "busy"
    assert log.texts() == [f"handoff= failed with no free thread (8 wait for it); {AGAIN}"]
    assert hand_off.stats() == {"offered": 0, "busy": 1, "in_hand": 0}
    broker.free.set()
    until_settled()


class LateThreads:
    """Threads that begin when they are told to."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        return True


def test_a_thread_that_begins_too_late(quick: None, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push whose thread had not begun when its time was over is not handed on late, and its chat is free."""
    late, one = LateThreads(), push("s")
    hand_off = hand_off_to(queue.put)
    with monkeypatch.context() as patch:
        patch.setattr(handoff, "_threads", late)
        assert offered(hand_off, one) == "busy"
    late.jobs[0]()
    assert (queue.tasks, hand_off.stats()["in_hand"]) == ([], 0)
    assert offered(hand_off, one) == "queued"
    assert len(queue.tasks) == 1


def test_a_thread_that_begins_at_that_moment(quick: None, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a thread begins just when the time is over, either it hands the push on or the next response does."""
    over = threading.Event()

    def slow(function: Callable[..., Any], *arguments: Any) -> Any:
        assert over.wait(PATIENCE)
        return function(*arguments)

    one, settle = push("s"), Settling(monkeypatch)
    hand_off = hand_off_to(queue.put)
    with monkeypatch.context() as patch:
        patch.setattr(handoff, "copy_context", lambda: SimpleNamespace(run=slow))
        assert offered(hand_off, one) == "busy"
    over.set()
    settle()
    assert queue.tasks == []
    assert offered(hand_off, one) == "queued"
