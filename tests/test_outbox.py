"""The outbox: the mailbox's promises, between workers that share nothing but a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import LATEST, push
from outboxes import Machine, always

from reve_middleware.mailbox import SPACING
from reve_middleware.outbox import LOOK_SECONDS, Outbox


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


# The newest, once, in order ---------------------------------------------------------------------


def test_the_newest_of_all_workers_is_sent(machine: Machine, two: Two) -> None:
    """Of the profiles that several workers offer for a chat, only the newest is sent, by whoever comes first."""
    one, other = two
    for number in range(6):
        assert two[number % 2].offer(push("s", b"%d" % number), machine.now).status == "queued"
    assert machine.deliver_all(other) == [b"5"]
    assert machine.deliver_all(one) == []
    assert one.sizes() == other.sizes() == (0, 0)
    assert (one.counts["offered"], other.counts["offered"], other.counts["delivered"]) == (3, 3, 1)


def test_side_by_side_on_a_machine_is_once(machine: Machine, two: Two) -> None:
    """Responses that run side by side in two workers hand a profile over once."""
    one, other = two
    assert one.offer(push("s", transition="t", at=7), machine.now) == ("queued", 7)
    assert other.offer(push("s", transition="t", at=8), machine.now) == ("current", 7)
    assert machine.deliver_all(other) == [b"{}"]
    assert one.offer(push("s", transition="t", at=9), machine.now) == ("current", 7)


def test_one_worker_at_a_time_has_a_chat(machine: Machine, two: Two) -> None:
    """While one worker has a push of a chat in flight, nobody sends another one of that chat."""
    one, other = two
    one.offer(push("s", b"1"), machine.now)
    first = machine.claim(one)
    other.offer(push("s", b"2", urgent=True), machine.now)
    other.offer(push("t", b"3"), machine.now)
    assert machine.claim(other).push.body == b"3"
    assert machine.nothing_for(other)
    assert other.sizes() == (1, 2)
    one.done(first)
    one.sizes()
    assert machine.claim(other).push.body == b"2"


def test_what_a_dead_worker_had_is_sent_by_another(machine: Machine, two: Two) -> None:
    """A push that was in flight in a worker that died is sent by another one when the lease has run out."""
    one, other = two
    one.offer(push("s", b"1"), machine.now)
    machine.claim(one)
    assert machine.nothing_for(other)
    assert other.next_due(machine.now, always) == machine.now + LOOK_SECONDS
    machine.time_passes(14.5)
    assert machine.nothing_for(other)
    assert other.next_due(machine.now, always) == pytest.approx(machine.now + 0.5, abs=0.1)
    machine.time_passes(1.0)
    assert machine.deliver_all(other) == [b"1"]


def test_what_nobody_took_survives_the_worker(machine: Machine) -> None:
    """What waits when a worker dies is there for the next one, with its age and its number of attempts."""
    one = machine.worker()
    one.offer(push("s", b"1", endpoint="login", visitor="ada", captured=5, at=6), machine.now)
    letter = machine.claim(one)
    letter.attempts += 1
    assert one.again(letter, machine.now + 30.0, machine.now) == ""
    machine.time_passes(30.0)
    found = machine.claim(machine.worker())
    assert (found.offered, found.attempts) == (pytest.approx(machine.now - 30.0), 1)
    for name in ("chatbot_id", "session_id", "endpoint", "body", "visitor", "transition", "captured", "at"):
        assert getattr(found.push, name) == getattr(letter.push, name)


def test_a_failed_push_gives_way_to_a_newer_one(machine: Machine, two: Two) -> None:
    """A push that failed is forgotten when another worker has stored a newer one: old never overwrites new."""
    one, other = two
    one.offer(push("s", b"old"), machine.now)
    old = machine.claim(one)
    other.offer(push("s", b"new", urgent=True), machine.now)
    assert one.again(old, machine.now, machine.now) == "superseded"
    assert one.counts["superseded"] == 1
    assert machine.deliver_all(other) == [b"new"]


def test_a_delivery_does_not_take_away_what_is_newer(machine: Machine, two: Two) -> None:
    """The acknowledgement of a push leaves a newer one of that chat where it is."""
    one, other = two
    one.offer(push("s", b"old"), machine.now)
    old = machine.claim(one)
    other.offer(push("s", b"new"), machine.now)
    one.done(old)
    assert one.sizes() == (1, 0)
    machine.time_passes(SPACING)
    assert machine.deliver_all(one) == [b"new"]


def test_a_late_verdict_changes_nothing(machine: Machine, two: Two) -> None:
    """A worker whose lease ran out cannot free a chat that another one has by now."""
    one, other = two
    one.offer(push("s", b"1"), machine.now)
    late = machine.claim(one)
    machine.time_passes(15.5)
    machine.claim(other)
    assert one.again(late, machine.now, machine.now) == ""
    assert machine.nothing_for(one)
    assert other.sizes() == (0, 1)


def test_generations_never_repeat(machine: Machine, two: Two) -> None:
    """No two storings have the same generation, even where the file was empty between them."""
    seen = []
    for number in range(5):
        two[number % 2].offer(push("s", urgent=True), machine.now)
        letter = machine.claim(two[0])
        seen.append(letter.generation)
        two[0].done(letter)
    assert seen == sorted(set(seen))


def test_pushes_to_one_chat_are_spaced(machine: Machine, two: Two) -> None:
    """Two pushes to one chat lie five seconds apart, whoever sends them; a capture is not held back."""
    one, other = two
    one.offer(push("s", b"1"), machine.now)
    machine.deliver_all(one)
    other.offer(push("s", b"2"), machine.now)
    machine.time_passes(SPACING - 0.1)
    assert machine.nothing_for(one)
    other.offer(push("s", b"3", urgent=True), machine.now)
    assert machine.deliver_all(one) == [b"3"]


def test_bots_take_turns_and_none_delays_another(machine: Machine, two: Two) -> None:
    """A bot that may not be tried delays no other, and those that may take turns."""
    one, _ = two
    for number in range(3):
        for bot in "bc":
            one.offer(push(f"s{number}", bot.encode(), bot=bot), machine.now)
    assert [machine.claim(one).push.body for _ in range(4)] == [b"b", b"c", b"b", b"c"]
    assert one.claim(machine.now, lambda bot: bot == "c").push.chatbot_id == "c"  # type: ignore[union-attr]
    assert one.claim(machine.now, lambda bot: bot == "c") is None
    assert one.bots_waiting() == ["b", "c"]
    assert one.next_due(machine.now, lambda bot: bot == "b") == machine.now


def test_other_sites_may_use_the_same_file(machine: Machine) -> None:
    """Pushes for a bot that is none of this site's are left to whoever knows it."""
    one, other = machine.worker("b"), machine.worker("c")
    other.offer(push("s", b"1", bot="c"), machine.now)
    assert machine.nothing_for(one)
    assert one.bots_waiting() == []
    assert one.next_due(machine.now, always) == machine.now + LOOK_SECONDS
    assert machine.deliver_all(other) == [b"1"]


# Given up, signed out --------------------------------------------------------------------------


def test_what_is_given_up_may_be_offered_again(machine: Machine, two: Two) -> None:
    """A push that was given up as too old is news again; one that was refused is not."""
    one, other = two
    for session, offer_again in (("old", True), ("refused", False)):
        one.offer(push(session, transition=session), machine.now)
        one.give_up(machine.claim(one), "why", machine.now, offer_again=offer_again)
    assert one.sizes() == (0, 0)
    lost = [box.outdates(("b", chat), LATEST) for box, chat in ((one, "old"), (one, "refused"), (other, "old"))]
    assert lost == [True, False, False]
    assert other.offer(push("refused", transition="refused"), machine.now).status == "current"
    assert one.offer(push("old", transition="old"), machine.now).status == "queued"
    assert one.outdates(("b", "old"), LATEST) is False
    assert one.dropped == {"why": 2}


def test_what_is_given_up_behind_a_newer_one_is_not_missed(machine: Machine, two: Two) -> None:
    """A push that is given up when a newer one waits is not asked for again."""
    one, other = two
    one.offer(push("s", b"1"), machine.now)
    letter = machine.claim(one)
    other.offer(push("s", b"2", urgent=True), machine.now)
    one.give_up(letter, "expired", machine.now, offer_again=True)
    assert machine.deliver_all(one) == [b"2"]
    assert one.outdates(("b", "s"), LATEST) is False


def test_after_two_hours_it_is_given_up(machine: Machine, two: Two) -> None:
    """What has waited for more than two hours is given up, by one worker, also where the machine was off meanwhile."""
    one, other = two
    one.offer(push("s", transition="t"), machine.now)
    one.offer(push("leased"), machine.now - 1.0)
    assert machine.claim(one).push.session_id == "leased"
    machine.wall.now += 7199.0
    assert other.give_up_waiting(always, machine.now) == []  # type: ignore[arg-type]
    machine.wall.now += 2.0
    (letter,) = other.give_up_waiting(always, machine.now)  # type: ignore[arg-type]
    assert (letter.push.session_id, letter.push.chatbot_id) == ("s", "b")
    assert one.give_up_waiting(always, machine.now) == []  # type: ignore[arg-type]
    assert (other.dropped, one.dropped) == ({"expired": 1}, {})
    assert other.outdates(("b", "s"), LATEST)
    assert one.offer(push("s", transition="t"), machine.now).status == "queued"


def test_signing_out_takes_what_waits_for_any_worker(machine: Machine, two: Two) -> None:
    """A sign-out in one worker takes out what waits, and no worker takes what was captured before it."""
    one, other = two
    one.offer(push("s", captured=10), machine.now)
    other.let_go(("b", "s"), 20, machine.now)
    assert machine.nothing_for(one)
    assert one.offer(push("s", captured=20), machine.now).status == "signed_out"
    assert one.offer(push("s", b"{}", transition="", captured=20), machine.now).status == "queued"
    assert machine.deliver_all(one) == [b"{}"]
    assert one.offer(push("s", captured=21), machine.now).status == "queued"
    assert other.dropped == {"signed_out": 1}


def test_a_failed_push_is_not_tried_again_after_a_sign_out(machine: Machine, two: Two) -> None:
    """A push in flight when its visitor signs out elsewhere is not tried again, nor after its worker died."""
    one, other = two
    for session in ("fails", "dies"):
        one.offer(push(session, captured=10), machine.now)
    fails, _ = machine.claim(one), machine.claim(one)
    for session in ("fails", "dies"):
        other.let_go(("b", session), 20, machine.now)
        other.offer(push(session, session.encode(), transition="", captured=20, urgent=True), machine.now)
    assert machine.nothing_for(other)
    assert one.again(fails, machine.now, machine.now) == "signed_out"
    assert (one.dropped, other.dropped) == ({"signed_out": 1}, {})
    assert machine.deliver_all(other) == [b"fails"]
    machine.time_passes(15.5)
    assert machine.deliver_all(other) == [b"dies"]


def test_after_a_sign_out_the_same_is_news(machine: Machine, two: Two) -> None:
    """Who signs out and in again in the same chat is told to the bot again."""
    one, other = two
    one.offer(push("s", b"1", transition="0.ada.1", captured=10, urgent=True), machine.now)
    machine.deliver_all(one)
    one.let_go(("b", "s"), 20, machine.now)
    assert other.offer(push("s", b"2", transition="0.ada.1", captured=30, urgent=True), machine.now).status == "queued"
    assert machine.deliver_all(one) == [b"2"]


def test_the_word_of_a_sign_out_stays(machine: Machine, two: Two) -> None:
    """The bot hears of a sign-out although the chat is let go once more before it was told."""
    one, other = two
    one.let_go(("b", "s"), 20, machine.now)
    one.offer(push("s", b"{}", transition="", captured=20, urgent=True), machine.now)
    other.let_go(("b", "s"), 30, machine.now)
    assert machine.deliver_all(other) == [b"{}"]
    assert (one.dropped, other.dropped) == ({}, {})


def test_a_sign_out_takes_nothing_that_was_captured_after_it(machine: Machine, two: Two) -> None:
    """A sign-out that reaches the file late leaves what another worker captured meanwhile."""
    one, other = two
    other.offer(push("s", b"new", captured=30), machine.now)
    one.let_go(("b", "s"), 20, machine.now)
    one.let_go(("b", "s"), 10, machine.now)
    assert other.offer(push("s", captured=15), machine.now).status == "signed_out"
    assert machine.deliver_all(one) == [b"new"]
