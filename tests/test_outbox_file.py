"""The outbox's file: for nobody else's eyes, and nothing stays in it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import listening, push
from outboxes import UNUSABLE, Machine, always, bytes_on_disk, connection

from reve_middleware import database
from reve_middleware.database import Database
from reve_middleware.outbox import Outbox

CANARIES = (b"Ada Canary", b"session-canary", b"visitor-canary", b"transition-canary", b"endpoint-canary")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """Where files are for everybody, unless their maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o777) for file in sorted(folder.iterdir())}


ALL_PRIVATE = {"outbox.sqlite3": "0o600", "outbox.sqlite3-shm": "0o600", "outbox.sqlite3-wal": "0o600"}


@pytest.mark.usefixtures("_open_umask")
def test_private_from_the_first_byte(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and those beside it have mode 0600 whatever the umask, before there is a byte in them."""
    seen = []
    connect = sqlite3.connect

    def look(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        seen.append((modes(machine.path.parent), machine.path.stat().st_size))
        return connect(*arguments, **keywords)

    monkeypatch.setattr(database.sqlite3, "connect", look)
    box = machine.worker()
    box.offer(push("s"), machine.now)
    assert seen == [({"outbox.sqlite3": "0o600"}, 0)]
    assert modes(machine.path.parent) == ALL_PRIVATE


@pytest.mark.usefixtures("_open_umask")
def test_an_outbox_that_others_could_read_is_closed_to_them(machine: Machine) -> None:
    """An outbox that others may read, made by a copy or by hand, gets mode 0600 before anything is written to it."""
    machine.path.touch(0o666)
    box = machine.worker()
    box.offer(push("s"), machine.now)
    assert modes(machine.path.parent) == ALL_PRIVATE
    for file in machine.path.parent.iterdir():
        file.chmod(0o644)
    other = machine.worker()
    other.offer(push("t"), machine.now)
    assert modes(machine.path.parent) == ALL_PRIVATE


def test_nothing_stays_of_what_is_delivered(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When everything is delivered, no byte of a profile, a session or a visitor is left in the file or beside it,
    while the workers still have it open."""
    monkeypatch.setattr(database, "TIDY_SECONDS", 0.0)
    one, other = machine.worker(), machine.worker()
    for number in range(40):
        body = b'{"name": "Ada Canary"}' * (1 + number * 30)  # some fill pages of their own
        one.offer(
            push(
                f"session-canary-{number}",
                body,
                visitor=f"visitor-canary-{number}",
                transition=f"transition-canary-{number}",
                endpoint="endpoint-canary",
                captured=1,
            ),
            machine.now,
        )
    one.let_go(("b", "session-canary-0"), 5, machine.now)
    written = bytes_on_disk(machine.path)
    assert all(canary in written for canary in CANARIES)
    assert len(machine.deliver_all(other)) == 39
    other.sizes()
    left = bytes_on_disk(machine.path)
    assert len(left) > 4096
    kept = [canary for canary in CANARIES if canary in left]
    assert kept == [b"transition-canary"], "the mark of the last hand-over: a keyed hash, for an hour"
    assert (machine.path.parent / "outbox.sqlite3-wal").stat().st_size == 0


def test_the_log_is_emptied_now_and_then_although_something_waits(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something always waits, what was delivered before leaves the write-ahead log within half a minute."""
    assert database.TIDY_AT_LEAST_SECONDS == 30.0
    monkeypatch.setattr(database, "TIDY_SECONDS", 0.0)
    box = machine.worker()
    box.offer(push("waits"), machine.now)
    connection(box)
    wal = machine.path.parent / "outbox.sqlite3-wal"
    box.offer(push("s", b"Ada Canary"), machine.now - 1.0)
    box.sizes()
    assert wal.stat().st_size > 0
    monkeypatch.setattr(database, "TIDY_AT_LEAST_SECONDS", 0.0)
    box.sizes()
    box.sizes()
    assert wal.stat().st_size == 0


def test_a_long_reader_holds_nobody_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who reads the file for long, such as a backup, does not make the writer wait."""
    monkeypatch.setattr(database, "TIDY_SECONDS", 0.0)
    box = machine.worker()
    box.offer(push("s", b"1"), machine.now)
    with contextlib.closing(sqlite3.connect(machine.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM push").fetchone() == (1,)
        began = time.monotonic()
        assert machine.deliver_all(box) == [b"1"]
        assert box.sizes() == (0, 0)
        assert time.monotonic() - began < database.BUSY_SECONDS
        assert reader.execute("SELECT count(*) FROM push").fetchone() == (1,)
    job = box._writer.submit(lambda entries: entries._run("PRAGMA busy_timeout").fetchone(), tuple)
    assert box._writer.answer(job, ()) == (2000,)


def test_a_file_put_in_the_place_of_another(machine: Machine) -> None:
    """Where the file was moved away, the next push goes into a new one at its place, and not into the old."""
    box = machine.worker()
    box.offer(push("s", b"1"), machine.now)
    machine.path.rename(machine.path.parent / "moved")
    assert box.offer(push("t", b"2"), machine.now).status == "queued"
    assert [row.size for row in machine.rows()] == [1]
    assert machine.deliver_all(machine.worker()) == [b"2"]


def test_a_file_system_without_shared_memory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system cannot do what processes need to share the file, the memory serves, and the log says so."""
    connect = sqlite3.connect
    monkeypatch.setattr(database.sqlite3, "connect", lambda path, **keywords: connect(":memory:", **keywords))
    box = machine.worker()
    with listening() as log:
        assert box.offer(push("s", b"1"), machine.now).status == "queued"
        assert log.texts() == [UNUSABLE % "its file system cannot be shared by processes"]
    assert machine.deliver_all(box) == [b"1"]


def test_two_that_make_the_file_at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that finds the file half made by another one waits until it is whole."""
    prepare = Database._prepare
    others: list[Outbox] = []

    def meanwhile(self: Database, db: sqlite3.Connection) -> None:
        if not others:
            others.append(machine.worker())
            others[0].offer(push("s", b"1"), machine.now)
        prepare(self, db)

    monkeypatch.setattr(Database, "_prepare", meanwhile)
    box = machine.worker()
    assert box.offer(push("t", b"2"), machine.now).status == "queued"
    assert (box.at_risk(), others[0].at_risk()) == (0, 0)
    assert sorted(machine.deliver_all(box)) == [b"1", b"2"]


def test_a_lock_that_sqlite_does_not_wait_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite says at once that the file is locked, it is tried again for two seconds."""
    prepare = Database._prepare
    tried = []

    def locked(self: Database, db: sqlite3.Connection) -> None:
        tried.append(True)
        if len(tried) < 4:
            with contextlib.closing(sqlite3.connect(machine.path.parent / "other", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                with contextlib.closing(sqlite3.connect(machine.path.parent / "other", timeout=0)) as refused:
                    refused.execute("CREATE TABLE t (x)")
        prepare(self, db)

    monkeypatch.setattr(Database, "_prepare", locked)
    box = machine.worker()
    assert box.offer(push("s", b"1"), machine.now).status == "queued"
    assert (box.at_risk(), len(tried)) == (0, 4)
    assert box.claim(machine.now, always) is not None


def test_another_process_makes_the_file_while_this_one_looks(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process makes the outbox between two looks at the same file, this one takes it for what it is."""
    connect = sqlite3.connect
    pending = [True]

    def make_it() -> None:
        if not pending:
            return
        pending.clear()
        schema = ["BEGIN IMMEDIATE", *database.SCHEMA, "COMMIT;"]
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(connect(machine.path, timeout=0)) as db:
            db.executescript(";".join(schema))

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA user_version":
                make_it()
            return super().execute(sql, *parameters)

    monkeypatch.setattr(database.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Interrupted))
    box = machine.worker()
    with listening() as log:
        assert box.offer(push("s"), machine.now).status == "queued"
        assert log.texts() == []
    assert not pending
    monkeypatch.undo()
    assert len(machine.rows()) == 1
