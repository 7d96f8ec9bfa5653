"""The outbox's limits: how much it holds, which clocks it believes, which threads it has."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from delivering import LATEST, listening, push
from outboxes import Machine, always

from reve_middleware import intake, ledger
from reve_middleware.database import Database
from reve_middleware.intake import Offer
from reve_middleware.ledger import FURTHEST
from reve_middleware.mailbox import MOST_BYTES, MOST_CHATS, SPACING
from reve_middleware.outbox import Outbox


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "outbox.sqlite3")
    yield machine
    machine.stop()


@pytest.fixture
def two(machine: Machine) -> tuple[Outbox, Outbox]:
    """Two workers."""
    return machine.worker(), machine.worker()


Two = tuple[Outbox, Outbox]


# Bounds ----------------------------------------------------------------------------------------


def test_ten_thousand_chats_fit_and_no_more(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many chats wait in the file, whoever offers; what takes the place of another always fits."""
    assert MOST_CHATS == 10_000
    monkeypatch.setattr(intake, "MOST_CHATS", 3)
    one, other = machine.worker(), machine.worker()
    assert [one.offer(push(f"s{n}"), machine.now).status for n in range(4)] == ["queued"] * 3 + ["busy"]
    assert other.offer(push("t"), machine.now).status == "busy"
    assert other.offer(push("s1"), machine.now).status == "queued"
    assert (one.counts["busy"], other.counts["busy"]) == (1, 1)
    other.done(machine.claim(other))
    assert other.offer(push("t"), machine.now).status == "queued"


def test_sixteen_mebibytes_fit_and_no_more(machine: Machine) -> None:
    """At most 16 MiB wait in the file."""
    box = machine.worker()
    big = bytes(1024 * 1024)
    assert 16 * len(big) == MOST_BYTES
    assert [box.offer(push(f"s{n}", big), machine.now).status for n in range(17)] == ["queued"] * 16 + ["busy"]
    assert box.offer(push("s0", b"small"), machine.now).status == "queued"
    assert box.offer(push("t", big[:-5]), machine.now).status == "queued"
    assert box.offer(push("u", b"x"), machine.now).status == "busy"


def test_one_visitor_has_five_chats_at_most(machine: Machine, two: Two) -> None:
    """Of one visitor five chats wait, over all workers; the oldest gives way, and is offered again."""
    one, other = two
    for number in range(5):
        two[number % 2].offer(push(f"s{number}", visitor="ada", transition=f"v{number}"), machine.now)
    in_flight = machine.claim(one)
    assert in_flight.push.session_id == "s0"
    assert other.offer(push("s5", visitor="ada"), machine.now).status == "queued"
    assert (other.dropped, other.outdates(("b", "s1"), LATEST)) == ({"visitor": 1}, True)
    assert other.offer(push("s2", visitor="ada"), machine.now).status == "queued"
    assert other.dropped == {"visitor": 1}, "what takes the place of its own needs no other place"
    for _ in range(4):
        machine.claim(one)
    assert other.offer(push("s6", visitor="ada"), machine.now).status == "busy"
    assert other.offer(push("s7", visitor="bob"), machine.now).status == "queued"
    one.offer(push("s7", visitor="ada"), machine.now)
    assert [row.in_flight for row in machine.rows()].count(True) == 5


def test_a_chat_that_gave_way_leaves_its_place(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a visitor's oldest chat gives way, its place is free at once, for others in the same transaction too."""
    monkeypatch.setattr(intake, "MOST_CHATS", 6)
    database = Database(str(machine.path))
    with database.entries() as entries:
        pushes = [push(f"s{n}", visitor="ada") for n in range(6)] + [push(session, visitor="bob") for session in "tu"]
        said = entries.offer([Offer(one, machine.now, 0.0) for one in pushes])
    database.close()
    assert [offered.status for offered in said] == ["queued"] * 7 + ["busy"]


def test_what_was_deleted_by_hand_leaves_its_place(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody has deleted rows by hand, their places are free after the next sweep; after a purge at once."""
    monkeypatch.setattr(intake, "MOST_CHATS", 2)
    box = machine.worker()
    box.offer(push("s"), machine.now)
    box.offer(push("t"), machine.now)
    with closing(sqlite3.connect(machine.path, isolation_level=None)) as db:
        db.execute("DELETE FROM push WHERE session = 's'")
    assert box.offer(push("u"), machine.now).status == "busy"
    box.give_up_waiting(always, machine.now)  # type: ignore[arg-type]
    assert [box.offer(push(session), machine.now).status for session in "uv"] == ["queued", "busy"]
    with Database(str(machine.path)).entries() as entries:
        entries.purge()
    assert [box.offer(push(session), machine.now).status for session in "uvw"] == ["queued", "queued", "busy"]


def test_what_is_remembered_is_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks and sign-outs are known for an hour, the newest 50 000 of them; what is in flight is never forgotten."""
    assert ledger.MOST_REMEMBERED == 50_000
    monkeypatch.setattr(ledger, "MOST_REMEMBERED", 2)
    box = machine.worker()
    for number in range(5):
        box.let_go(("b", f"s{number}"), 10, machine.now)
        machine.time_passes(1.0)
    box.offer(push("held"), machine.now)
    machine.claim(box)
    box.give_up_waiting(always, machine.now)  # type: ignore[arg-type]
    known = [box.offer(push(f"s{n}", captured=5), machine.now).status == "signed_out" for n in range(5)]
    assert known == [False, False, False, False, True]
    machine.time_passes(3601.0)
    box.give_up_waiting(always, machine.now)  # type: ignore[arg-type]
    assert box.offer(push("s4", captured=5), machine.now).status == "queued"
    assert {row.bot for row in machine.rows()} == {"b"}


# Clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -86400.0])
def test_setting_the_clock_neither_frees_nor_holds_anything(machine: Machine, two: Two, jump: float) -> None:
    """However the wall clock is set, leases last, and what waits goes when it is due."""
    one, other = two
    one.offer(push("leased", b"1"), machine.now)
    machine.claim(one)
    one.offer(push("waits", b"2"), machine.now)
    letter = machine.claim(one)
    one.again(letter, machine.now + 10.0, machine.now)
    machine.wall.now += jump
    assert machine.nothing_for(other)
    machine.time_passes(10.0)
    assert machine.deliver_all(other) == [b"2"]
    machine.time_passes(5.5)
    assert machine.deliver_all(other) == [b"1"]


def test_what_is_from_before_a_reboot_goes_at_once(machine: Machine) -> None:
    """After a reboot the machine's clock begins anew: neither a lease nor a wait of before holds anything up."""
    one = machine.worker()
    machine.clock.now = 1_000_000.0
    one.offer(push("leased", b"1"), machine.now)
    machine.claim(one)
    one.offer(push("waits", b"2"), machine.now)
    one.again(machine.claim(one), machine.now + 10.0, machine.now)
    for session in ("sent", "before the sweep"):
        one.offer(push(session), machine.now)
    machine.deliver_all(one)
    machine.clock.now = 50.0
    other = machine.worker()
    other.offer(push("before the sweep", b"0"), machine.now)
    machine.time_passes(SPACING)
    assert machine.deliver_all(other) == [b"0"]
    other.give_up_waiting(always, machine.now)  # type: ignore[arg-type]
    assert sorted(machine.deliver_all(other)) == [b"1", b"2"]
    other.offer(push("sent", b"3"), machine.now)
    machine.time_passes(SPACING)
    assert machine.deliver_all(other) == [b"3"]
    assert FURTHEST < 600.0


def test_a_clock_that_was_ahead_keeps_nothing_for_ever(machine: Machine) -> None:
    """What was stored while the wall clock was a day ahead is given up two hours after it was set right."""
    box = machine.worker()
    machine.wall.now += 86400.0
    box.offer(push("s"), machine.now)
    machine.wall.now -= 86400.0
    assert box.give_up_waiting(always, machine.now) == []  # type: ignore[arg-type]
    machine.time_passes(7201.0)
    assert len(box.give_up_waiting(always, machine.now)) == 1  # type: ignore[arg-type]


# Threads ---------------------------------------------------------------------------------------


def test_building_opens_nothing_and_ending_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    """Building an outbox opens no file and starts no thread; when the sender ends, so does the writer."""
    before = threading.active_count()
    boxes = [machine.worker() for _ in range(50)]
    assert (threading.active_count(), list(tmp_path.iterdir())) == (before, [])
    for number, box in enumerate(boxes):
        box.offer(push(f"s{number}"), machine.now)
        box.hand_back()
    assert threading.active_count() == before
    assert [file.name for file in tmp_path.iterdir()] == ["outbox.sqlite3"]
    assert len(machine.deliver_all(boxes[0])) == 50
    boxes[1].hand_back()  # what never started ends as well


def test_many_threads_offer_at_once(machine: Machine, two: Two) -> None:
    """Offers from many threads to two workers lose nothing, and each chat has its newest."""
    with listening() as log:

        def offer(worker: Outbox, thread: int) -> None:
            for number in range(25):
                assert worker.offer(push(f"s{thread}", b"%d" % number), machine.now).status == "queued"

        threads = [threading.Thread(target=offer, args=(two[n % 2], n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert machine.deliver_all(two[0]) == [b"24"] * 8
        assert log.texts() == []
