"""The mailbox under any sequence of offers, claims and verdicts."""

from collections.abc import Iterator

import pytest
from delivering import LATEST, push
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reve_middleware import mailbox as module
from reve_middleware.mailbox import SPACING, Key, Letter, Mailbox


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
        assert (self.box._bytes, self.box._by_visitor, self.box._waiting, self.box._in_flight) == (0, {}, {}, {})

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
            (lost,) = [other for other in self.waiting if other != key and self.box.outdates(other, LATEST)]
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
        why_not = self.box.again(letter, self.now + wait, self.now)
        gone = key in self.signed_out and letter.push.captured <= self.signed_out[key]
        assert why_not == ("superseded" if key in self.waiting else "signed_out" if gone else "")
        if not why_not:
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
                assert self.box.outdates(key, LATEST)
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
        del self.waiting[key]
        self.last.pop(key, None)
        self.handed_over.pop(key, None)
        assert self.box.outdates(key, LATEST)

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
