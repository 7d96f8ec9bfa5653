"""An outbox whose file cannot be used: the memory takes over, the log says so once, and then it goes back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import Log, listening, push
from outboxes import AGAIN, UNUSABLE, Machine, always, connection, mended

from reve_middleware import database, writer
from reve_middleware.ledger import Entries
from reve_middleware.messages import Offered
from reve_middleware.outbox import LOOK_SECONDS, Outbox


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "folder").mkdir()
    machine = Machine(tmp_path / "folder" / "outbox.sqlite3")
    yield machine
    machine.stop()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a lock."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.02)


# Each way in which a file fails ----------------------------------------------------------------


def no_folder(machine: Machine) -> None:
    shutil.rmtree(machine.path.parent)


def a_folder(machine: Machine) -> None:
    machine.path.mkdir()


def a_file_above(machine: Machine) -> None:
    shutil.rmtree(machine.path.parent)
    machine.path.parent.write_text("")


def garbage(machine: Machine) -> None:
    machine.path.write_bytes(b"neither a database nor anything else " * 100)


def half_a_file(machine: Machine) -> None:
    made(machine)
    size = machine.path.stat().st_size
    with machine.path.open("r+b") as file:
        file.truncate(size // 2)


def somebody_elses_database(machine: Machine) -> None:
    with contextlib.closing(sqlite3.connect(machine.path)) as db:
        db.execute("CREATE TABLE users (name)")


def of_another_version(machine: Machine) -> None:
    made(machine)
    with contextlib.closing(sqlite3.connect(machine.path)) as db:
        db.execute(f"PRAGMA user_version = {database.VERSION + 1}")


def made(machine: Machine) -> None:
    box = machine.worker()
    box.offer(push("before"), machine.now)
    machine.deliver_all(box)
    box.hand_back()


BROKEN = [
    (no_folder, "No such file or directory"),
    (a_folder, "it is no file"),
    (a_file_above, "Not a directory"),
    (garbage, "file is not a database"),
    (half_a_file, "database disk image is malformed"),
    (somebody_elses_database, "it is no outbox"),
    (of_another_version, "it was made by another version"),
]


@pytest.mark.parametrize(("spoil", "why"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_cannot_be_used(machine: Machine, log: Log, spoil: Callable[[Machine], None], why: str) -> None:
    """Where the file cannot be used, every offer is answered, the memory delivers it, and one error says why."""
    spoil(machine)
    box = machine.worker()
    for number in range(3):
        assert box.offer(push("s", b"%d" % number), machine.now).status == "queued"
    box.let_go(("b", "s"), 5, machine.now)
    assert box.offer(push("s", captured=4), machine.now).status == "signed_out"
    assert box.offer(push("s", b"3", captured=6), machine.now).status == "queued"
    assert (box.sizes(), box.at_risk(), box.bots_waiting()) == ((1, 0), 1, ["b"])
    assert box.next_due(machine.now, always) == machine.now
    for _ in range(3):  # looks for the file again, and again in vain
        mended(machine, box)
    letter = machine.claim(box)
    assert box.again(letter, machine.now + 0.5, machine.now) == ""
    machine.time_passes(0.5)
    assert machine.deliver_all(box) == [b"3"]
    assert box.next_due(machine.now, always) == machine.now + LOOK_SECONDS
    assert box.give_up_waiting(always, machine.now) == []  # type: ignore[arg-type]
    assert log.texts() == [UNUSABLE % why]
    assert log.codes() == ["outbox"]
    assert box.counts["offered"] == box.counts["superseded"] + box.counts["delivered"] + box.dropped["signed_out"]


def test_a_database_of_somebody_else_is_left_alone(machine: Machine) -> None:
    """A file that is no outbox is not changed, whatever it is."""
    somebody_elses_database(machine)
    machine.path.chmod(0o644)
    before = machine.path.read_bytes()
    box = machine.worker()
    box.offer(push("s"), machine.now)
    mended(machine, box)
    assert (machine.path.read_bytes(), machine.path.stat().st_mode & 0o777) == (before, 0o644)


def test_a_file_of_another_user_is_not_used(machine: Machine, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that belongs to somebody else, who could read it, is not written to."""
    made(machine)
    monkeypatch.setattr("os.geteuid", lambda: machine.path.stat().st_uid + 1)
    box = machine.worker()
    assert box.offer(push("s"), machine.now).status == "queued"
    assert log.texts() == [UNUSABLE % "it belongs to somebody else"]
    assert machine.deliver_all(box) == [b"{}"]


def full(machine: Machine, box: Outbox) -> None:
    connection(box).execute("PRAGMA max_page_count = 1")


def read_only(machine: Machine, box: Outbox) -> None:
    connection(box).execute("PRAGMA query_only = ON")


def vanished(machine: Machine, box: Outbox) -> None:
    shutil.rmtree(machine.path.parent)


FAILING = [
    (full, "database or disk is full"),
    (read_only, "attempt to write a readonly database"),
    (vanished, "No such file or directory"),
]


@pytest.mark.parametrize(("spoil", "why"), FAILING, ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_fails_meanwhile(
    machine: Machine, log: Log, spoil: Callable[[Machine, Outbox], None], why: str
) -> None:
    """A file that can be written no more costs no push: the memory takes it, and gives it back when it can."""
    box, other = machine.worker(), machine.worker()
    spoil(machine, box)
    big = b"1" * 20000
    assert box.offer(push("s", big), machine.now).status == "queued"
    assert (box.at_risk(), log.texts()) == (1, [UNUSABLE % why])
    machine.path.parent.mkdir(exist_ok=True)
    mended(machine, box)
    assert box.at_risk() == 0
    assert machine.deliver_all(other) == [big]
    assert box.sizes() == (0, 0)
    assert log.texts() == [UNUSABLE % why, AGAIN]


LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
db.execute("UPDATE chat SET at = at")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_process_has_locked(machine: Machine, log: Log) -> None:
    """While another process keeps the file to itself, the memory delivers; afterwards the file is used again."""
    made(machine)
    arguments = [sys.executable, "-c", LOCK, str(machine.path)]
    box = machine.worker()
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert box.offer(push("s", b"1"), machine.now).status == "queued"
        assert machine.deliver_all(box) == [b"1"]
        assert box.offer(push("s", b"2"), machine.now).status == "queued"
        mended(machine, box)
        assert log.texts() == [UNUSABLE % "database is locked"]
        process.communicate("")
    mended(machine, box)
    assert box.at_risk() == 0
    assert [row.size for row in machine.rows()] == [1]
    assert log.texts() == [UNUSABLE % "database is locked", AGAIN]


@pytest.mark.usefixtures("impatient")
def test_looking_waits_for_nobody(machine: Machine, log: Log) -> None:
    """While somebody else writes, a worker that finds nothing to do looks all the same, and complains of nothing."""
    made(machine)
    box = machine.worker()
    with machine.locked():
        assert machine.nothing_for(box)
        assert box.next_due(machine.now, always) == machine.now + LOOK_SECONDS
        assert (box.bots_waiting(), box.sizes()) == ([], (0, 0))
    assert log.texts() == []


def test_after_a_failure_nobody_waits_for_the_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file has failed, responses do not wait for it any more; only the sender's looks try it."""
    box = machine.worker()
    a_folder(machine)
    box.offer(push("s"), machine.now)
    asked: list[str] = []
    monkeypatch.setattr(box._writer._database, "_open", lambda: asked.append("opened"))
    for number in range(10):
        box.offer(push(f"s{number}"), machine.now)
        box.let_go(("b", f"s{number}"), 5, machine.now)
    assert asked == []
    mended(machine, box)
    assert asked


# A disk that does not answer -------------------------------------------------------------------


def test_a_disk_that_does_not_answer(machine: Machine, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response waits three seconds for the disk at most; then the memory takes its push."""
    assert writer.STORE_SECONDS == 3.0
    box = machine.worker()
    go, stuck = threading.Event(), threading.Event()

    def hang(entries: Entries) -> None:
        stuck.set()
        go.wait(20.0)

    job = box._writer.submit(hang, lambda: None)
    stuck.wait(20.0)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "STORE_SECONDS", 0.02)
        assert box.offer(push("s", b"1"), machine.now).status == "queued"
        assert (box.at_risk(), log.texts()) == (1, [UNUSABLE % "it does not answer"])
        assert box._writer.answer(job, "unknown") == "unknown"
    began = time.monotonic()
    assert box.offer(push("t", b"2"), machine.now).status == "queued"
    assert time.monotonic() - began < writer.STORE_SECONDS, "nobody waits any more"
    go.set()
    mended(machine, box)
    assert sorted(machine.deliver_all(box)) == [b"1", b"2"]
    assert log.texts() == [UNUSABLE % "it does not answer", AGAIN]


def test_a_push_of_which_nobody_knows_is_not_marked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that is being written when the time is up counts as not taken: it is offered again, and sent once."""
    box = machine.worker()
    go, begun, offer = threading.Event(), threading.Event(), Entries.offer

    def slow(entries: Entries, *arguments: Any) -> Offered:
        begun.set()
        go.wait(20.0)
        return offer(entries, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "offer", slow)
        job = box._offer(push("s", b"1", transition="t", at=1), machine.now, 0.0)
        begun.wait(20.0)
        patch.setattr(writer, "STORE_SECONDS", 0.02)
        assert box._writer.answer(job, Offered("busy", 1)) == ("busy", 1)
    go.set()
    mended(machine, box)
    assert box.offer(push("s", b"1", transition="t", at=2), machine.now) == ("current", 1)
    assert machine.deliver_all(box) == [b"1"]


def test_no_thread_can_be_started(machine: Machine, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no thread can be started the memory keeps what comes, and gives it back later."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    box = machine.worker()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert box.offer(push("s", b"1"), machine.now).status == "queued"
        mended(machine, box)
    assert box.at_risk() == 1
    mended(machine, box)
    assert machine.deliver_all(box) == [b"1"]
    assert log.texts() == [UNUSABLE % "no thread can be started", AGAIN]


def test_a_file_that_comes_and_goes_fills_no_log(machine: Machine, log: Log, impatient: None) -> None:
    """A file that fails again and again is complained of once a minute at most."""
    box = machine.worker()
    box.offer(push("s"), machine.now)
    for _ in range(5):
        with machine.locked():
            box.offer(push("s"), machine.now)
        mended(machine, box)
    assert log.texts() == [UNUSABLE % "database is locked", AGAIN]
