"""An outbox whose file failed for a while: the order of things is kept, through the failure and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import Log, listening, push
from outboxes import AGAIN, UNUSABLE, Machine, always, mended

from reve_middleware import database
from reve_middleware.outbox import LOOK_SECONDS


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Where nobody waits long for a lock."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.02)
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


def test_what_the_memory_has_sent_is_not_sent_older(machine: Machine) -> None:
    """What memory took or let go while the file was locked counts in the file afterwards: nothing older is sent."""
    box, other = machine.worker(), machine.worker()
    for session in ("newer", "out", "same"):
        box.offer(push(session, b"old", captured=10, at=10, transition=session), machine.now)
    with machine.locked():
        assert box.offer(push("newer", b"new", captured=10, at=20), machine.now).status == "queued"
        assert machine.deliver_all(box) == [b"new"]
        box.let_go(("b", "out"), 30, machine.now)
    mended(machine, box)
    assert other.offer(push("out", captured=20), machine.now).status == "signed_out"
    assert machine.deliver_all(other) == [b"old"]
    assert other.offer(push("same", transition="same"), machine.now).status == "current"


def test_what_the_memory_holds_goes_back_in_order(machine: Machine) -> None:
    """What memory holds goes into the file: before what is older, behind what is newer, not after a sign-out."""
    box, other = machine.worker(), machine.worker()
    box.offer(push("first", captured=10), machine.now)
    with machine.locked():
        for session in ("newest", "behind", "out"):
            box.offer(push(session, b"memory", captured=10, at=20), machine.now - 100.0)
    other.offer(push("newest", b"file", captured=10, at=10), machine.now)
    other.offer(push("behind", b"file", captured=10, at=30), machine.now)
    other.let_go(("b", "out"), 30, machine.now)
    mended(machine, box)
    found = {}
    while (letter := other.claim(machine.now, always)) is not None:
        found[letter.push.session_id] = letter.push.body, machine.now - letter.offered
    assert found == {"first": (b"{}", 1.0), "newest": (b"memory", 101.0), "behind": (b"file", 1.0)}
    assert (box.counts["superseded"], box.dropped["signed_out"]) == (2, 1)


def test_a_chat_is_in_flight_once_whoever_keeps_it(machine: Machine) -> None:
    """A push that came from the file is in flight: the memory's of that chat waits for it, and the other way round."""
    box = machine.worker()
    box.offer(push("s", b"1", at=1), machine.now)
    first = machine.claim(box)
    with machine.locked():
        box.offer(push("s", b"2", at=2, urgent=True), machine.now)
        assert machine.nothing_for(box)
        box.done(first)
        machine.time_passes(LOOK_SECONDS)
        second = machine.claim(box)
        assert (second.push.body, second.generation) == (b"2", 0)
    mended(machine, box)
    box.offer(push("s", b"3", at=3, urgent=True), machine.now)
    assert machine.nothing_for(box)
    assert box.again(second, machine.now, machine.now) == ""
    mended(machine, box)
    assert machine.deliver_all(box) == [b"3"]


def test_a_verdict_that_cannot_be_written_is_written_later(machine: Machine) -> None:
    """What was delivered or dropped while the file was locked is not sent again when it is free."""
    box, other = machine.worker(), machine.worker()
    for session in ("done", "again", "refused"):
        box.offer(push(session, session.encode()), machine.now)
    letters = {letter.push.session_id: letter for letter in [machine.claim(box) for _ in range(3)]}
    with machine.locked():
        box.offer(push("now it is known"), machine.now)
        box.done(letters["done"])
        box.give_up(letters["refused"], "status_400", machine.now, offer_again=False)
        letters["again"].attempts += 1
        assert box.again(letters["again"], machine.now, machine.now) == ""
    mended(machine, box)
    assert sorted(machine.deliver_all(other)) == [b"again", b"{}"]
    assert (box.counts["delivered"], box.dropped["status_400"]) == (1, 1)


def test_going_back_may_fail_as_well(machine: Machine, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file fails again while it is told what it missed, nothing of that is lost."""
    box, other = machine.worker(), machine.worker()
    box.offer(push("out", captured=10), machine.now)
    with machine.locked():
        box.offer(push("s", b"1" * 20000), machine.now)
        box.let_go(("b", "out"), 20, machine.now)
    opened = box._writer._database._open

    def small() -> sqlite3.Connection:
        db = opened()
        db.execute("PRAGMA max_page_count = 1")
        return db

    with monkeypatch.context() as patch:
        patch.setattr(box._writer._database, "_open", small)
        mended(machine, box)
    assert box.at_risk() == 1
    mended(machine, box)
    assert machine.deliver_all(other) == [b"1" * 20000]
    assert log.texts() == [UNUSABLE % "database is locked", AGAIN]
