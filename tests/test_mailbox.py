"""The mailbox: the newest push of each chat, in order, bounded, and every one accounted for."""

import threading
from collections.abc import Iterator

import pytest
from delivering import push
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reve_middleware import mailbox as module
from reve_middleware import recollection
from reve_middleware.mailbox import MOST_BYTES, MOST_CHATS, MOST_CHATS_OF_ONE_VISITOR, SPACING, Key, Letter, Mailbox


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
    assert box.again(old, 5.0, 0.0) is False
    assert list(bodies(box)) == [b"new"]
    assert sum_is_right(box)


def test_a_failed_push_is_claimed_again_when_it_is_due() -> None:
    """A push that is to be tried again is not claimed before its time."""
    box = Mailbox()
    box.offer(push("s"), 0.0)
    letter = claim(box)
    assert box.again(letter, 7.0, 0.0) is True
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
    assert not box.is_lost(("b", "s"))
    assert box.offer(push("s", transition="t"), 1.0).status == "current"
    assert box.dropped == {"status_400": 1}


def test_a_push_that_was_given_up_is_offered_again() -> None:
    """What was given up as too old counts as not handed over: the visitor's next response brings it back."""
    box = Mailbox()
    box.offer(push("s", transition="t"), 0.0)
    box.give_up(claim(box), "expired", 0.0, offer_again=True)
    assert box.is_lost(("b", "s"))
    assert box.offer(push("s", transition="t"), 1.0).status == "queued"
    assert not box.is_lost(("b", "s"))


def test_a_push_that_was_given_up_behind_a_newer_one_is_not_missed() -> None:
    """A push that is given up while a newer one waits leaves nothing to be offered again."""
    box = Mailbox()
    box.offer(push("s"), 0.0)
    old = claim(box)
    box.offer(push("s"), 0.0)
    box.give_up(old, "expired", 0.0, offer_again=True)
    assert not box.is_lost(("b", "s"))
    assert box.sizes() == (1, 0)


def test_what_waits_too_long_is_given_up_and_offered_again() -> None:
    """Waiting pushes that are too old are dropped, counted, and lost; others stay."""
    box = Mailbox()
    box.offer(push("old", b"1"), 0.0)
    box.offer(push("new", b"2"), 50.0)
    given_up = box.give_up_waiting(lambda letter: letter.offered < 10.0, 60.0)
    assert [letter.push.session_id for letter in given_up] == ["old"]
    assert box.is_lost(("b", "old"))
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
    assert box.again(letter, 1.0, 0.0) is False
    assert box.sizes() == (0, 0)
    assert box.dropped == {"signed_out": 1}


def test_the_word_of_a_sign_out_itself_is_sent() -> None:
    """The push that tells the bot the visitor is gone passes, and is tried again."""
    box = Mailbox()
    box.let_go(("b", "s"), 20, 0.0)
    assert box.offer(push("s", b"bye", transition="", captured=20, urgent=True), 0.0).status == "queued"
    assert box.again(claim(box), 1.0, 0.0) is True
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
    assert box.is_lost(("b", "0"))
    assert not any(box.is_lost(("b", str(number))) for number in range(1, 6))
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
    assert box.is_lost(("b", "0"))
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
    assert (box._bytes, dict(box._by_visitor), dict(box._chats)) == (0, {}, {})


# Any sequence ----------------------------------------------------------------------------------

KEYS = [("b", "1"), ("b", "2"), ("b", "3"), ("c", "1"), ("c", "2")]


class AnySequence(RuleBasedStateMachine):
    """Offers, claims and verdicts in any order, beside a model that is a few dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Mailbox()
        self.now = 100.0
        self.number = 0
        self.offered = 0
        self.waiting: dict[Key, tuple[int, float, bool]] = {}  # number, due, urgent
        self.in_flight: dict[Key, tuple[int, Letter]] = {}
        self.started: dict[Key, float] = {}
        self.retried: set[int] = set()
        self.delivered: dict[Key, list[int]] = {key: [] for key in KEYS}
        self.last: dict[Key, int] = {}  # the newest that was taken and not dropped
        self.handed_over: dict[Key, int] = {}  # the newest that a response side by side would repeat
        self.signed_out: dict[Key, int] = {}

    def teardown(self) -> None:
        for key in list(self.in_flight):
            self.finish(key)
        while (letter := self.box.claim(self.now, always, hurry=True)) is not None:
            self.take(letter)
            self.finish(letter.push.key)
        for key, number in self.last.items():
            assert self.delivered[key][-1] == number, "the last delivered is the last offered"
        assert not self.waiting
        self.the_books_balance()
        assert (self.box._bytes, self.box._by_visitor, self.box._chats) == (0, {}, {})

    def take(self, letter: Letter) -> int:
        key = letter.push.key
        number, _, _ = self.waiting.pop(key)
        assert letter.push.body == b"%06d" % number, "the newest goes"
        assert key not in self.in_flight, "one in flight per chat"
        self.in_flight[key] = number, letter
        self.started[key] = self.now
        return number

    def finish(self, key: Key) -> None:
        number, letter = self.in_flight.pop(key)
        self.box.done(letter)
        assert all(number > before for before in self.delivered[key]), "in order"
        self.delivered[key].append(number)

    @rule(
        key=st.sampled_from(KEYS), visitor=st.sampled_from(["", "ada", "bob"]), urgent=st.booleans(), late=st.booleans()
    )
    def offer(self, key: Key, visitor: str, urgent: bool, late: bool) -> None:
        number = self.number = self.number + 1
        captured = number if not late else 0
        news = push(
            key[1], b"%06d" % number, bot=key[0], visitor=visitor,
            transition=f"t{number}", captured=captured, at=number, urgent=urgent,
        )  # fmt: skip
        evicted = self.box.dropped["visitor"]
        status = self.box.offer(news, self.now).status
        if key in self.signed_out and captured <= self.signed_out[key]:
            assert status == "signed_out"
            return
        if status == "busy":
            assert visitor
            return
        assert status == "queued"
        self.offered += 1
        if self.box.dropped["visitor"] > evicted:
            (lost,) = [other for other in self.waiting if other != key and self.box.is_lost(other)]
            del self.waiting[lost], self.last[lost], self.handed_over[lost]
        spaced = self.now - self.started.get(key, -SPACING) <= SPACING and not urgent
        self.waiting[key] = number, self.started[key] + SPACING if spaced else self.now, urgent
        self.last[key] = self.handed_over[key] = number

    @precondition(lambda self: self.handed_over)
    @rule(data=st.data())
    def offer_side_by_side(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.handed_over)))
        number = self.handed_over[key]
        same = push(key[1], b"again", bot=key[0], transition=f"t{number}", captured=self.number, at=0)
        assert self.box.offer(same, self.now) == ("current", number)

    @rule(hurry=st.booleans(), bots=st.sampled_from(["b", "c", "bc"]))
    def claim(self, hurry: bool, bots: str) -> None:
        ready = [
            key
            for key, (_, due, _) in self.waiting.items()
            if key[0] in bots and key not in self.in_flight and (hurry or due <= self.now)
        ]
        before = dict(self.started)
        letter = self.box.claim(self.now, lambda bot: bot in bots, hurry=hurry)
        assert (letter is not None) == bool(ready), "whatever may go goes"
        if letter is None:
            return
        assert letter.push.key in ready
        _, _, urgent = self.waiting[letter.push.key]
        number = self.take(letter)
        if not (hurry or urgent or number in self.retried):
            assert self.now >= before.get(letter.push.key, -SPACING) + SPACING, "spaced"

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), wait=st.floats(0, 20))
    def again(self, data: st.DataObject, wait: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        number, letter = self.in_flight.pop(key)
        kept = self.box.again(letter, self.now + wait, self.now)
        gone = key in self.signed_out and letter.push.captured <= self.signed_out[key]
        assert kept == (key not in self.waiting and not gone)
        if kept:
            self.waiting[key] = number, self.now + wait, False
            self.retried.add(number)
        elif key not in self.waiting:
            self.last.pop(key, None)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.in_flight))))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), offer_again=st.booleans())
    def give_up(self, data: st.DataObject, offer_again: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        _, letter = self.in_flight.pop(key)
        self.box.give_up(letter, "status_400", self.now, offer_again=offer_again)
        if key not in self.waiting:
            self.last.pop(key, None)
            if offer_again:
                assert self.box.is_lost(key)
                self.handed_over.pop(key, None)

    @rule(key=st.sampled_from(KEYS))
    def let_go(self, key: Key) -> None:
        self.signed_out[key] = self.number
        self.box.let_go(key, self.number, self.now)
        self.handed_over.pop(key, None)
        if self.waiting.pop(key, None) is not None:
            del self.last[key]
        if key in self.in_flight:
            self.last[key] = self.in_flight[key][0]

    @precondition(lambda self: self.waiting)
    @rule()
    def sweep(self) -> None:
        oldest = min(number for number, _, _ in self.waiting.values())
        (letter,) = self.box.give_up_waiting(lambda letter: letter.push.body == b"%06d" % oldest, self.now)
        key = letter.push.key
        del self.waiting[key], self.last[key], self.handed_over[key]
        assert self.box.is_lost(key)

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_books_balance(self) -> None:
        assert sum_is_right(self.box)
        assert self.box.counts["offered"] == self.offered
        assert self.box.sizes() == (len(self.waiting), len(self.in_flight))
        assert self.box._bytes == 6 * (len(self.waiting) + len(self.in_flight))

    @invariant()
    def no_visitor_has_too_many(self) -> None:
        for visitor in ("ada", "bob"):
            assert len(self.box._by_visitor.get(visitor, ())) <= 2

    @invariant()
    def the_next_time_is_known(self) -> None:
        due = [due for key, (_, due, _) in self.waiting.items() if key not in self.in_flight]
        assert self.box.next_due(0.0, always) == (min(due) if due else None)


def test_any_sequence_keeps_order_and_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in whatever order: the last delivered is the last offered, never two of a chat are in flight,
    and offered = delivered + superseded + dropped + waiting + in flight."""
    monkeypatch.setattr(module, "MOST_CHATS_OF_ONE_VISITOR", 2)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AnySequence, settings=hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
