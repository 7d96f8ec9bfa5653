"""The outbox's one thread: what waits for it may be cancelled, and forks find it at rest."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from delivering import listening, push
from outboxes import AGAIN, UNUSABLE, Machine, always, connection, mended

from reve_middleware import database, outbox, writer
from reve_middleware.ledger import Entries
from reve_middleware.outbox import Outbox


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


class Busy:
    """A writer that has its hands full until it is let go."""

    def __init__(self, box: Outbox) -> None:
        self._go = threading.Event()
        begun = threading.Event()

        def work(entries: Entries) -> None:
            begun.set()
            self._go.wait(20.0)

        box._writer.submit(work, lambda: None)
        assert begun.wait(20.0)

    def over(self) -> None:
        self._go.set()


def test_an_event_loop_offers_and_signs_out(machine: Machine) -> None:
    """What an event loop offers and lets go is as if a thread had done it."""
    box = machine.worker()

    async def main() -> list[str]:
        first = await box.offer_async(push("s", captured=1), machine.now)
        await box.let_go_async(("b", "s"), 5, machine.now)
        late = await box.offer_async(push("s", captured=4), machine.now)
        return [first.status, late.status]

    assert asyncio.run(main()) == ["queued", "signed_out"]
    assert machine.nothing_for(box)


def test_a_request_that_is_cancelled_while_it_waits(machine: Machine) -> None:
    """Where a request is cancelled while it waits for the disk, its sign-out counts all the same, on the whole
    machine, and its push is not lost."""
    box, other = machine.worker(), machine.worker()
    other.offer(push("out", captured=1), machine.now)

    async def main() -> None:
        busy = Busy(box)
        tasks = [
            asyncio.create_task(box.let_go_async(("b", "out"), 5, machine.now)),
            asyncio.create_task(box.offer_async(push("s", b"kept"), machine.now)),
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        busy.over()

    asyncio.run(main())
    assert box.at_risk() == 1
    mended(machine, box)
    assert other.offer(push("out", captured=4), machine.now).status == "signed_out"
    assert machine.deliver_all(other) == [b"kept"]


def test_a_request_that_is_cancelled_too_late(machine: Machine) -> None:
    """Where its push is being written already, it is written, and nowhere else."""
    box = machine.worker()
    offer, begun, go = Entries.offer, threading.Event(), threading.Event()

    def slow(entries: Entries, *arguments: object) -> object:
        begun.set()
        go.wait(20.0)
        return offer(entries, *arguments)  # type: ignore[arg-type]

    async def main() -> None:
        task = asyncio.create_task(box.offer_async(push("s", b"kept"), machine.now))
        await asyncio.to_thread(begun.wait, 20.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        go.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entries, "offer", slow)
        asyncio.run(main())
        box.sizes()
    assert box.at_risk() == 0
    assert machine.deliver_all(box) == [b"kept"]


def test_a_loop_does_not_wait_for_ever(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request in an event loop waits three seconds for the disk at most; then the memory takes its push."""
    box = machine.worker()
    busy = Busy(box)
    with monkeypatch.context() as patch, listening() as log:
        patch.setattr(writer, "STORE_SECONDS", 0.02)
        offered = asyncio.run(box.offer_async(push("s", b"1"), machine.now))
        assert (offered.status, log.texts()) == ("queued", [UNUSABLE % "it does not answer"])
    busy.over()
    mended(machine, box)
    assert machine.deliver_all(box) == [b"1"]


def test_who_stands_in_line_when_the_file_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file fails, those who wait in line behind that do not try it again, one after another."""
    monkeypatch.setattr(writer, "BATCH", 1)
    box = machine.worker()
    busy = Busy(box)
    jobs = [box._offer(push(f"s{number}"), machine.now, 0.0) for number in range(5)]
    tried: list[bool] = []

    def fail(_: object) -> None:
        tried.append(True)
        raise OSError(5, "Input/output error")

    with listening() as log, monkeypatch.context() as patch:
        patch.setattr(Entries, "begin", fail)
        busy.over()
        assert [box._writer.answer(job, None).status for job in jobs] == ["queued"] * 5
        assert log.texts() == [UNUSABLE % "Input/output error"]
    assert (len(tried), box.at_risk()) == (1, 5)


def test_what_goes_wrong_among_others_spoils_them_all(machine: Machine) -> None:
    """Where the file fails amid what is carried out together, nothing of that is stored, and the memory takes it all,
    what was answered before that as well as what comes after it."""
    box = machine.worker()
    busy = Busy(box)

    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    with listening() as log:
        before = box._offer(push("s", b"1"), machine.now, 0.0)
        box._writer.submit(fail, lambda: None)
        after = box._offer(push("t", b"2"), machine.now, 0.0)
        busy.over()
        assert [box._writer.answer(job, None).status for job in (before, after)] == ["queued"] * 2
        assert log.texts() == [UNUSABLE % "No space left on device"]
    assert (machine.rows(), box.at_risk(), box.counts["offered"]) == ([], 2, 2)
    mended(machine, box)
    assert machine.deliver_all(box) == [b"1", b"2"]


def test_a_sender_that_claims_for_long_is_stopped(machine: Machine) -> None:
    """A sender whose claims take longer than a second begins with what it has: leases are running."""
    box = machine.worker()
    box.offer(push("s"), machine.now)
    began = machine.now
    machine.time_passes(outbox.STALE_SECONDS + 0.1)
    assert box.claim(began, always) is None
    letter = machine.claim(box)
    other = machine.worker()
    machine.time_passes(14.9)
    assert machine.nothing_for(other)
    machine.time_passes(0.2)
    assert machine.claim(other).generation == letter.generation


def test_a_writer_with_nothing_to_do_ends(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that has had nothing to do for a while closes the file and ends; the next push starts it anew."""
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    box = machine.worker()
    box.offer(push("s", b"1"), machine.now)
    thread = box._writer._thread
    if thread is not None:
        thread.join(20.0)
    assert (box._writer._thread, box._writer._database._db) == (None, None)
    assert not machine.path.with_name("outbox.sqlite3-wal").exists()
    box.offer(push("t", b"2"), machine.now)
    assert machine.deliver_all(box) == [b"1", b"2"]


def test_a_job_after_the_end_is_done(machine: Machine) -> None:
    """What comes while the writer is told to end is done before it ends, or starts it anew."""
    box = machine.worker()
    busy = Busy(box)
    box._writer._jobs.put(None)
    thread = threading.Thread(target=box.offer, args=(push("s", b"1"), machine.now))
    thread.start()
    busy.over()
    thread.join(20.0)
    assert machine.deliver_all(box) == [b"1"]


def test_no_connection_crosses_a_fork(machine: Machine) -> None:
    """Before a fork the file is closed, and afterwards it is opened anew, on both sides."""
    box = machine.worker()
    box.offer(push("s", b"1"), machine.now)
    connection(box)
    database._before_fork()
    assert box._writer._database._db is None
    database._after_fork()
    assert machine.deliver_all(box) == [b"1"]


def test_a_fork_behind_our_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process forked without a word while the file was open, SQLite is left alone: the memory serves."""
    box = machine.worker()
    box.offer(push("s"), machine.now)
    connection(box)
    pid = os.getpid()
    with listening() as log:
        monkeypatch.setattr("os.getpid", lambda: pid + 1)
        child = machine.worker()
        assert child.offer(push("t", b"2"), machine.now).status == "queued"
        assert log.texts() == [UNUSABLE % "this process was forked while it was open"]
        assert machine.deliver_all(child) == [b"2"]
    monkeypatch.undo()
    assert machine.deliver_all(box) == [b"{}"]


def test_a_fork_does_not_wait_for_ever(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits 2.5 s for what is being written, and then no longer."""
    assert database.FORK_SECONDS == 2.5
    monkeypatch.setattr(database, "FORK_SECONDS", 0.01)
    box = machine.worker()
    with box._writer._database.lock:
        database._before_fork()
        database._after_fork()
        assert box._writer._database.lock.locked()
    box.offer(push("s", b"1"), machine.now)
    assert machine.deliver_all(box) == [b"1"]


def test_a_file_that_is_locked_from_the_beginning(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file is locked when it is first opened, that is tried for two seconds, and again later."""
    assert database.BUSY_SECONDS == 2.0
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.02)
    box = machine.worker()
    with listening() as log:
        with closing(sqlite3.connect(machine.path, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            assert box.offer(push("s", b"1"), machine.now).status == "queued"
        mended(machine, box)
        assert log.texts() == [UNUSABLE % "database is locked", AGAIN]
    assert machine.deliver_all(box) == [b"1"]
