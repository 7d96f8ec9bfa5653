"""The mailbox is bounded, keeps its books, and says nothing of what it holds."""

import threading
from collections.abc import Iterator

import pytest
from delivering import LATEST, push

from reve_middleware.mailbox import MOST_BYTES, MOST_CHATS, MOST_CHATS_OF_ONE_VISITOR, Letter, Mailbox


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


# Bounds ----------------------------------------------------------------------------------------


def test_ten_thousand_chats_fit_and_no_more() -> None:
    """At 10 000 chats the next one is refused as busy, a chat that is there already is not, and room comes back."""
    box = Mailbox()
    for number in range(MOST_CHATS):
        assert box.offer(push(str(number)), 0.0).status == "queued"
    assert box.offer(push("one more"), 0.0).status == "busy"
    assert box.offer(push("0", b"newer"), 0.0).status == "queued"
    assert box.counts == {"offered": MOST_CHATS + 1, "superseded": 1, "busy": 1}
    assert MOST_CHATS == 10_000
    box.done(claim(box))
    assert box.offer(push("one more"), 0.0).status == "queued"


def test_sixteen_mebibytes_fit_and_no_more() -> None:
    """Bodies that wait or are in flight take 16 MiB at most; what is replaced counts no longer."""
    assert MOST_BYTES == 16 * 1024 * 1024
    box = Mailbox()
    half = b"x" * (MOST_BYTES // 2)
    assert box.offer(push("a", half), 0.0).status == "queued"
    assert box.offer(push("b", half), 0.0).status == "queued"
    assert box.offer(push("c", b"x"), 0.0).status == "busy"
    assert box.offer(push("b", half), 0.0).status == "queued"
    letter = claim(box)
    assert box.offer(push("c", b"x"), 0.0).status == "busy"
    box.done(letter)
    assert box.offer(push("c", b"x"), 0.0).status == "queued"


def test_one_visitor_fills_five_places_at_most() -> None:
    """A sixth chat of one visitor takes the place of the one that waited longest, which counts as lost."""
    assert MOST_CHATS_OF_ONE_VISITOR == 5
    box = Mailbox()
    for number in range(6):
        assert box.offer(push(str(number), visitor="ada"), 0.0).status == "queued"
    assert box.offer(push("x", visitor="bob"), 0.0).status == "queued"
    assert box.sizes() == (6, 0)
    assert box.outdates(("b", "0"), LATEST)
    assert not any(box.outdates(("b", str(number)), LATEST) for number in range(1, 6))
    assert box.dropped == {"visitor": 1}
    assert sum_is_right(box)


def test_a_visitor_whose_places_are_all_in_flight_is_refused() -> None:
    """What is in flight cannot be taken out: the sixth chat is refused as busy, also where more waits behind it."""
    box = Mailbox()
    letters = []
    for number in range(5):
        box.offer(push(str(number), visitor="ada"), 0.0)
        letters.append(claim(box))
    assert box.offer(push("sixth", visitor="ada"), 0.0).status == "busy"
    box.offer(push("0", visitor="ada"), 0.0)
    assert box.offer(push("sixth", visitor="ada"), 0.0).status == "busy"
    assert box.counts["busy"] == 2
    box.done(letters[1])
    assert box.offer(push("sixth", visitor="ada"), 0.0).status == "queued"
    assert sum_is_right(box)


def test_a_chat_that_changes_hands_counts_for_its_new_visitor() -> None:
    """A visitor who takes over another's chat may still not have six."""
    box = Mailbox()
    for number in range(5):
        box.offer(push(str(number), visitor="ada"), 0.0)
    box.offer(push("bobs", visitor="bob"), 0.0)
    assert box.offer(push("bobs", visitor="ada"), 0.0).status == "queued"
    assert box.sizes() == (5, 0)
    assert box.outdates(("b", "0"), LATEST)
    for number in range(5):
        assert box.offer(push(f"b{number}", visitor="bob"), 0.0).status == "queued"
    assert box.dropped == {"visitor": 1}


def test_a_chat_that_is_let_go_while_in_flight_is_forgotten_for_its_visitor() -> None:
    """Whatever happens to a chat, its visitor's places come back, and offering never raises."""
    box = Mailbox()
    box.offer(push("shared", visitor="bob"), 0.0)
    letter = claim(box)
    box.offer(push("shared", visitor="ada"), 0.0)
    box.let_go(("b", "shared"), 20, 0.0)
    box.done(letter)
    for number in range(6):
        assert box.offer(push(str(number), visitor="ada"), 0.0).status == "queued"
    assert box.sizes() == (5, 0)


@pytest.mark.parametrize("due_now", [True, False])
def test_a_chat_offered_for_ever_takes_no_more_memory(due_now: bool) -> None:
    """Replaced pushes leave nothing behind, whether they were due or spaced."""
    box = Mailbox()
    if not due_now:
        box.offer(push("s"), 0.0)
        box.done(claim(box))
    for _ in range(2000):
        box.offer(push("s"), 0.0)
    assert sum(map(len, box._due.values())) <= 65
    in_flight = claim(box, hurry=True)
    for _ in range(2000):
        box.offer(push("s"), 0.0)
    assert sum(map(len, box._due.values())) <= 65
    box.done(in_flight)
    assert box.sizes() == (1, 0)


def test_a_letter_shows_nothing() -> None:
    """Neither a push nor what the mailbox makes of it shows its chat or its body."""
    box = Mailbox()
    box.offer(push("s3cret-session", b"s3cret-body"), 0.0)
    letter = claim(box)
    assert repr(letter.push) == "<Push to b, 11 bytes>"
    assert "s3cret" not in repr(letter) + repr(box)


def test_offers_and_claims_from_many_threads_lose_nothing() -> None:
    """Offers from any thread and claims from another keep the books."""
    box = Mailbox()
    done = threading.Event()

    def deliver() -> None:
        while not done.is_set() or box.sizes() != (0, 0):
            letter = box.claim(0.0, always, hurry=True)
            if letter is not None:
                box.done(letter)

    def offer(number: int) -> None:
        for turn in range(300):
            box.offer(push(f"{turn % 7}", b"%d" % number, visitor=str(number)), 0.0)

    sender = threading.Thread(target=deliver)
    threads = [threading.Thread(target=offer, args=(number,)) for number in range(4)]
    for thread in [sender, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    sender.join()
    assert box.counts["offered"] == 1200 - box.counts["busy"]
    assert sum_is_right(box)
    assert box.sizes() == (0, 0)
    assert (box._bytes, box._by_visitor, box._waiting, box._in_flight) == (0, {}, {}, {})
