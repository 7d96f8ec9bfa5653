"""The few daemon threads for callables that may block."""

import asyncio
import gc
import logging
import os
import queue
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest
from delivering import listening
from faults import PATIENCE

from reve_middleware.threads import DaemonThreads, NoThreadError, run_in


@pytest.fixture
def threads() -> Iterator[DaemonThreads]:
    threads = DaemonThreads("test-threads", 2)
    yield threads
    end(threads)


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "test-threads"]


def end(threads: DaemonThreads) -> None:
    """The next test finds none of them."""
    threads.end()
    for thread in running():
        thread.join(PATIENCE)


def test_jobs_run_in_daemon_threads_of_that_name(threads: DaemonThreads) -> None:
    """Jobs run in threads that hold no process back."""
    ran: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    assert threads.submit(lambda: ran.put(threading.current_thread()))
    thread = ran.get(timeout=PATIENCE)
    assert thread.daemon
    assert thread.name == "test-threads"


def test_no_more_threads_than_said(threads: DaemonThreads) -> None:
    """When all are busy a job is refused at once, and taken again when one is free."""
    go, begun = threading.Event(), threading.Semaphore(0)
    freed: queue.SimpleQueue[int] = queue.SimpleQueue()

    def job() -> None:
        begun.release()
        go.wait(PATIENCE)

    assert threads.submit(job)
    assert threads.submit(job)
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert threads.submit(job) is False
    assert len(running()) == 2
    go.set()
    while not threads.submit(lambda: freed.put(1)):
        pass
    assert freed.get(timeout=PATIENCE) == 1
    assert len(running()) == 2


def test_jobs_may_wait_for_a_thread() -> None:
    """With queues=True a job waits where every thread is busy, and none is refused."""
    threads = DaemonThreads("test-threads", 2, queues=True)
    go = threading.Event()
    ran: queue.SimpleQueue[int] = queue.SimpleQueue()

    def job(number: int) -> None:
        go.wait(PATIENCE)
        ran.put(number)

    for number in range(10):
        assert threads.submit(partial(job, number))
    assert len(running()) == 2
    go.set()
    assert sorted(ran.get(timeout=PATIENCE) for _ in range(10)) == list(range(10))
    end(threads)


def test_where_one_thread_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter ends, when no thread can be started, the one that was prepared does all jobs that may
    wait; without one they are refused."""
    prepared, empty = (DaemonThreads("test-threads", 4, queues=True) for _ in range(2))
    prepared.prepare()
    ran: queue.SimpleQueue[int] = queue.SimpleQueue()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as ending:
        ending.setattr(threading.Thread, "start", start)
        for number in range(10):
            assert prepared.submit(partial(ran.put, number))
        assert empty.submit(partial(ran.put, 0)) is False
    assert [ran.get(timeout=PATIENCE) for _ in range(10)] == list(range(10))
    end(prepared)


def test_a_job_that_raises_costs_no_thread(threads: DaemonThreads) -> None:
    """A thread survives whatever its job does."""
    ran: queue.SimpleQueue[int] = queue.SimpleQueue()

    def fail() -> None:
        ran.put(1)
        raise SystemExit(3)

    for _ in range(5):
        while not threads.submit(fail):
            pass
        assert ran.get(timeout=PATIENCE) == 1
    assert 1 <= len(running()) <= 2


def test_a_job_is_let_go_of(threads: DaemonThreads) -> None:
    """An idle thread keeps nothing of its last job alive."""

    class Big:
        pass

    big, ran = Big(), threading.Event()
    gone = weakref.ref(big)
    threads.submit(lambda big=big: ran.set())  # type: ignore[misc]
    del big
    assert ran.wait(PATIENCE)
    second = threading.Event()
    while not threads.submit(second.set):
        pass
    assert second.wait(PATIENCE)
    gc.collect()
    assert gone() is None


def test_a_thread_can_be_had_in_advance(threads: DaemonThreads) -> None:
    """prepare() starts one thread, and only one."""
    threads.prepare()
    threads.prepare()
    assert len(running()) == 1


def test_threads_end_when_told_to() -> None:
    """After end() the threads are gone as soon as their jobs are done."""
    threads = DaemonThreads("test-threads", 2)
    go = threading.Event()
    threads.submit(lambda: go.wait(PATIENCE) and None)
    threads.submit(lambda: None)
    before = running()
    assert len(before) == 2
    threads.end()
    go.set()
    for thread in before:
        thread.join(PATIENCE)
    assert running() == []


def test_no_thread_can_be_started(threads: DaemonThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter ends no thread starts: a job is refused, nothing is raised."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    threads.prepare()
    assert threads.submit(lambda: None) is False
    monkeypatch.undo()
    assert threads.submit(lambda: None) is True


def test_another_process_has_threads_of_its_own(threads: DaemonThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked child, where no thread is left and a lock may be held, threads start anew."""
    go = threading.Event()
    for _ in range(2):
        threads.submit(lambda: go.wait(PATIENCE) and None)
    pid, jobs = os.getpid(), threads._jobs
    threads._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    ran = threading.Event()
    assert threads.submit(ran.set)
    assert ran.wait(PATIENCE)
    go.set()
    for _ in range(2):
        jobs.put(None)


# From an event loop ----------------------------------------------------------------------------


def test_a_result_comes_back(threads: DaemonThreads) -> None:
    """run_in awaits a function in a thread: its arguments, its value."""
    assert asyncio.run(run_in(threads, divmod, 17, 5)) == (3, 2)


@pytest.mark.parametrize(
    ("raised", "seen"), [(ValueError("x"), ValueError), (StopIteration(1), RuntimeError), (KeyError(1), KeyError)]
)
def test_an_exception_comes_back(threads: DaemonThreads, raised: Exception, seen: type[Exception]) -> None:
    """run_in raises what the function raised; a StopIteration, which no future takes, as a RuntimeError."""

    def fail() -> None:
        raise raised

    with pytest.raises(seen):
        asyncio.run(run_in(threads, fail))


def test_all_busy_is_an_error_of_its_own(threads: DaemonThreads) -> None:
    """Where every thread is busy, run_in waits for none."""
    go = threading.Event()
    for _ in range(2):
        threads.submit(lambda: go.wait(PATIENCE) and None)
    with pytest.raises(NoThreadError):
        asyncio.run(run_in(threads, int))
    go.set()


def both_are_free(threads: DaemonThreads) -> None:
    """Wait until two jobs are done at the same time."""
    barrier = threading.Barrier(3)
    for _ in range(2):
        while not threads.submit(lambda: barrier.wait(PATIENCE) and None):
            pass
    barrier.wait(PATIENCE)


@pytest.mark.parametrize("close_the_loop", [True, False])
def test_a_result_that_nobody_awaits_any_more(threads: DaemonThreads, close_the_loop: bool) -> None:
    """A result that comes after its time-out, or after its loop, is dropped without a word."""
    begun, go, late = (threading.Event() for _ in range(3))

    def slow() -> int:
        begun.set()
        go.wait(PATIENCE)
        late.set()
        raise ValueError("late")

    async def ask() -> None:
        asking = asyncio.ensure_future(run_in(threads, slow))
        await asyncio.to_thread(begun.wait, PATIENCE)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        if not close_the_loop:
            go.set()
            await asyncio.to_thread(late.wait, PATIENCE)
            await asyncio.to_thread(both_are_free, threads)
            await asyncio.sleep(0)

    with listening("asyncio") as log:
        asyncio.run(ask())
        go.set()
        both_are_free(threads)
        gc.collect()
    assert log.texts(logging.WARNING) == []


def test_what_waits_and_is_not_awaited_any_more_is_not_begun() -> None:
    """A function that waits for a thread longer than it is awaited is not called."""
    threads = DaemonThreads("test-threads", 1, queues=True)
    go, done = threading.Event(), threading.Event()
    called: list[int] = []

    async def ask() -> None:
        threads.submit(lambda: go.wait(PATIENCE) and None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run_in(threads, called.append, 1)

    asyncio.run(ask())
    go.set()
    threads.submit(done.set)
    assert done.wait(PATIENCE)
    assert called == []
    end(threads)


def test_debug_mode_shows_no_result(threads: DaemonThreads) -> None:
    """In asyncio's debug mode, which logs slow calls with their arguments, a result does not appear."""

    async def ask() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        value = await run_in(threads, lambda: {"email": "canary@example.com"})
        assert value
        del value
        await asyncio.sleep(0)

    with listening("asyncio") as log:
        asyncio.run(ask(), debug=True)
    texts = log.texts(logging.DEBUG)
    assert any(text.startswith("Executing") for text in texts), "the log was on"
    assert "canary" not in "".join(texts)
