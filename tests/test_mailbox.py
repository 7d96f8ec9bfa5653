"""The mailbox: the newest push of each chat, in order, bounded, and every one accounted for."""

from collections.abc import Iterator

import pytest
from delivering import LATEST, push

from reve_middleware import recollection
from reve_middleware.mailbox import SPACING, Letter, Mailbox


def always(_: str) -> bool:
    return True


def claim(box: Mailbox, now: float = 0.0, *, hurry: bool = False) -> Letter:
    letter = box.claim(now, always, hurry=hurry)
    assert letter is not None
    return letter


def sum_is_right(box: Mailbox) -> bool:
    waiting, in_flight = box.sizes()
    counts = box.counts
    gone = counts["delivered"] + counts["superseded"] + sum(box.dropped.values())
    return counts["offered"] == gone + waiting + in_flight


def bodies(box: Mailbox) -> Iterator[bytes]:
    """Everything that waits, delivered at once."""
    while (letter := box.claim(0.0, always, hurry=True)) is not None:
        yield letter.push.body
        box.done(letter)


# The newest wins, in order ---------------------------------------------------------------------


def test_the_newest_profile_of_a_chat_replaces_the_one_that_waits() -> None:
    """Of several profiles offered before one is sent, only the newest is sent."""
    box = Mailbox()
    for number in range(3):
        assert box.offer(push("s", b"%d" % number), 0.0).status == "queued"
    assert list(bodies(box)) == [b"2"]
    assert box.counts == {"offered": 3, "superseded": 2, "delivered": 1}


def test_one_push_of_a_chat_is_in_flight_at_a_time() -> None:
    """While a push of a chat is in flight, the next one of that chat waits and others go."""
    box = Mailbox()
    box.offer(push("s", b"1"), 0.0)
    first = claim(box)
    box.offer(push("s", b"2", urgent=True), 0.0)
    box.offer(push("other", b"3"), 0.0)
    assert claim(box).push.body == b"3"
    assert box.claim(100.0, always, hurry=True) is None
    box.done(first)
    assert claim(box).push.body == b"2"


def test_a_failed_push_gives_way_to_a_newer_one() -> None:
    """A push that is to be tried again is forgotten when a newer one waits: old never overwrites new."""
    box = Mailbox()
    box.offer(push("s", b"old"), 0.0)
    old = claim(box)
    box.offer(push("s", b"new", urgent=True), 0.0)
    assert box.again(old, 5.0, 0.0) == "superseded"
    assert list(bodies(box)) == [b"new"]
    assert sum_is_right(box)


def test_a_failed_push_is_claimed_again_when_it_is_due() -> None:
    """A push that is to be tried again is not claimed before its time."""
    box = Mailbox()
    box.offer(push("s"), 0.0)
    letter = claim(box)
    assert box.again(letter, 7.0, 0.0) == ""
    assert box.claim(6.99, always) is None
    assert box.next_due(0.0, always) == 7.0
    assert box.claim(7.0, always) is letter


def test_pushes_of_one_bot_are_claimed_by_time() -> None:
    """What is due first goes first, whatever the order of the offers."""
    box = Mailbox()
    for session in "abc":
        box.offer(push(session), 0.0)
    late, early, middle = (claim(box) for _ in range(3))
    for letter, due in ((late, 9.0), (early, 1.0), (middle, 5.0)):
        box.again(letter, due, 0.0)
    assert [claim(box, 10.0) for _ in range(3)] == [early, middle, late]


def test_a_bot_that_may_not_be_tried_delays_no_other() -> None:
    """Pushes for a bot whose gate is shut stay where they are, and those of other bots go."""
    box = Mailbox()
    box.offer(push("s", bot="down"), 0.0)
    box.offer(push("s", bot="up"), 0.0)
    letter = box.claim(0.0, lambda bot: bot == "up")
    assert letter is not None
    assert letter.push.chatbot_id == "up"
    assert box.claim(0.0, lambda bot: bot == "up") is None
    assert box.next_due(0.0, lambda bot: bot == "up") is None
    assert box.bots_waiting() == ["down"]


def test_bots_take_turns() -> None:
    """A bot with a long queue leaves every other claim to the others."""
    box = Mailbox()
    for number in range(10):
        box.offer(push(f"s{number}", bot="busy"), 0.0)
    for number in range(2):
        box.offer(push(f"s{number}", bot="calm"), 0.0)
    assert [claim(box).push.chatbot_id for _ in range(4)].count("calm") == 2


# Spacing ---------------------------------------------------------------------------------------


def test_pushes_to_one_chat_are_spaced() -> None:
    """At most one push per chat goes in 5 s; the newest waits."""
    box = Mailbox()
    box.offer(push("s", b"1"), 0.0)
    box.done(claim(box))
    box.offer(push("s", b"2"), 1.0)
    box.offer(push("s", b"3"), 2.0)
    assert box.claim(SPACING - 0.01, always) is None
    assert box.next_due(0.0, always) == SPACING
    assert claim(box, SPACING).push.body == b"3"


def test_a_capture_is_not_spaced() -> None:
    """A push of a capture, or of a sign-out, goes at once."""
    box = Mailbox()
    box.offer(push("s", b"1"), 0.0)
    box.done(claim(box))
    box.offer(push("s", b"2", urgent=True), 1.0)
    assert claim(box, 1.0).push.body == b"2"


def test_a_chat_that_was_quiet_is_not_spaced() -> None:
    """A push goes at once when the one before it began 5 s ago or more."""
    box = Mailbox()
    box.offer(push("s", b"1"), 0.0)
    box.done(claim(box))
    box.offer(push("s", b"2"), SPACING)
    assert claim(box, SPACING).push.body == b"2"


def test_in_a_hurry_everything_goes() -> None:
    """When the server ends, what is not due yet goes as well."""
    box = Mailbox()
    box.offer(push("s", b"1"), 0.0)
    box.again(claim(box), 60.0, 0.0)
    assert claim(box, 0.0, hurry=True).push.body == b"1"


# Side by side, signed out, lost ----------------------------------------------------------------


def test_two_responses_side_by_side_hand_over_once() -> None:
    """The same step from the same mark is pushed once, and both responses get the same instant for their marks."""
    box = Mailbox()
    assert box.offer(push("s", transition="0.who.profile", at=111), 0.0) == ("queued", 111)
    assert box.offer(push("s", transition="0.who.profile", at=222), 0.1) == ("current", 111)
    box.done(claim(box, 1.0))
    assert box.offer(push("s", transition="0.who.profile", at=333), 2.0) == ("current", 111)
    assert box.offer(push("other", transition="0.who.profile", at=333), 2.0) == ("queued", 333)
    assert box.counts["offered"] == 2


def test_side_by_side_is_a_matter_of_minutes() -> None:
    """The same step again after ten minutes is news: its mark was never kept."""
    box = Mailbox()
    box.offer(push("s", transition="t"), 0.0)
    assert box.offer(push("s", transition="t"), recollection.REMEMBER_HANDED_OVER).status == "current"
    assert box.offer(push("s", transition="t"), recollection.REMEMBER_HANDED_OVER + 1).status == "queued"


def test_a_refused_push_is_not_repeated_until_it_changes() -> None:
    """What the webhook refused for good is not taken again from a response that ran side by side."""
    box = Mailbox()
    box.offer(push("s", transition="t"), 0.0)
    box.give_up(claim(box), "status_400", 0.0, offer_again=False)
    assert not box.outdates(("b", "s"), LATEST)
    assert box.offer(push("s", transition="t"), 1.0).status == "current"
    assert box.dropped == {"status_400": 1}


def test_a_push_that_was_given_up_is_offered_again() -> None:
    """What was given up as too old counts as not handed over: the visitor's next response brings it back."""
    box = Mailbox()
    box.offer(push("s", transition="t"), 0.0)
    box.give_up(claim(box), "expired", 0.0, offer_again=True)
    assert box.outdates(("b", "s"), LATEST)
    assert box.offer(push("s", transition="t"), 1.0).status == "queued"
    assert not box.outdates(("b", "s"), LATEST)


def test_a_push_that_was_given_up_behind_a_newer_one_is_not_missed() -> None:
    """A push that is given up while a newer one waits leaves nothing to be offered again."""
    box = Mailbox()
    box.offer(push("s"), 0.0)
    old = claim(box)
    box.offer(push("s"), 0.0)
    box.give_up(old, "expired", 0.0, offer_again=True)
    assert not box.outdates(("b", "s"), LATEST)
    assert box.sizes() == (1, 0)


def test_what_waits_too_long_is_given_up_and_offered_again() -> None:
    """Waiting pushes that are too old are dropped, counted, and lost; others stay."""
    box = Mailbox()
    box.offer(push("old", b"1"), 0.0)
    box.offer(push("new", b"2"), 50.0)
    given_up = box.give_up_waiting(lambda letter: letter.offered < 10.0, 60.0)
    assert [letter.push.session_id for letter in given_up] == ["old"]
    assert box.outdates(("b", "old"), LATEST)
    assert box.dropped == {"expired": 1}
    assert list(bodies(box)) == [b"2"]


def test_signing_out_takes_what_waits() -> None:
    """After a sign-out nothing that was captured before is sent, not even from a slow response; a later capture is."""
    box = Mailbox()
    box.offer(push("s", b"1", captured=10), 0.0)
    box.let_go(("b", "s"), 20, 0.0)
    assert box.offer(push("s", b"2", captured=20), 1.0).status == "signed_out"
    assert list(bodies(box)) == []
    assert box.offer(push("s", b"3", captured=21), 1.0).status == "queued"
    assert list(bodies(box)) == [b"3"]
    assert box.dropped == {"signed_out": 1}
    assert sum_is_right(box)


def test_a_push_in_flight_is_not_tried_again_after_a_sign_out() -> None:
    """What was in flight at a sign-out is tried no second time."""
    box = Mailbox()
    box.offer(push("s", captured=10), 0.0)
    letter = claim(box)
    box.let_go(("b", "s"), 20, 0.0)
    assert box.again(letter, 1.0, 0.0) == "signed_out"
    assert box.sizes() == (0, 0)
    assert box.dropped == {"signed_out": 1}


def test_the_word_of_a_sign_out_itself_is_sent() -> None:
    """The push that tells the bot the visitor is gone passes, and is tried again."""
    box = Mailbox()
    box.let_go(("b", "s"), 20, 0.0)
    assert box.offer(push("s", b"bye", transition="", captured=20, urgent=True), 0.0).status == "queued"
    assert box.again(claim(box), 1.0, 0.0) == ""
    assert list(bodies(box)) == [b"bye"]


def test_a_sign_out_is_forgotten_after_an_hour() -> None:
    """Nothing is remembered for ever."""
    box = Mailbox()
    box.let_go(("b", "s"), 20, 0.0)
    assert box.offer(push("s", captured=1), recollection.REMEMBER_SIGNED_OUT).status == "signed_out"
    assert box.offer(push("s", captured=1), recollection.REMEMBER_SIGNED_OUT + 1).status == "queued"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories of chats are dropped, oldest first, when there are too many."""
    monkeypatch.setattr(recollection, "MOST_ENTRIES", 3)
    box = Mailbox()
    for number in range(5):
        box.let_go(("b", str(number)), 20, 0.0)
    assert [box.offer(push(str(number), captured=1), 0.0).status for number in range(5)] == [
        *("queued",) * 2,
        *("signed_out",) * 3,
    ]
