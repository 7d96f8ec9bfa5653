"""The mailbox against its rules, written down plainly: every answer, and what goes in which order."""

from collections.abc import Iterator
from typing import Any

import pytest
from delivering import push as make_push
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reve_middleware import mailbox, recollection
from reve_middleware.mailbox import Letter, Mailbox
from reve_middleware.messages import Offered
from reve_middleware.push import Push
from reve_middleware.recollection import Key, Recent, judge

CHATS, BYTES, CHATS_OF_ONE, ENTRIES = 3, 20, 2, 3
"""Limits that are reached."""
SHORT, LONG, SPACING = 600.0, 3600.0, 5.0


class PlainRecent:
    """What is remembered for some seconds, in order, oldest first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.entries: list[tuple[Key, tuple[Any, ...]]] = []

    def put(self, key: Key, entry: tuple[Any, ...]) -> None:
        self.drop(key)
        self.entries.append((key, entry))
        while entry[0] - self.entries[0][1][0] > self.seconds or len(self.entries) > ENTRIES:
            del self.entries[0]

    def drop(self, key: Key) -> None:
        self.entries = [(other, entry) for other, entry in self.entries if other != key]

    def get(self, key: Key) -> tuple[Any, ...] | None:
        return dict(self.entries).get(key)

    def young(self, key: Key, now: float) -> tuple[Any, ...] | None:
        entry = self.get(key)
        return entry if entry is not None and now - entry[0] <= self.seconds else None


class PlainLetter:
    def __init__(self, push: Push, due: float) -> None:
        self.push = push
        self.due = due
        self.turn = 0


class PlainMailbox:
    """The rules, without a thought of speed."""

    def __init__(self) -> None:
        self.waiting: dict[Key, PlainLetter] = {}
        self.in_flight: dict[Key, PlainLetter] = {}
        self.places: list[tuple[str, Key]] = []  # visitors and their chats, the newest at the end
        self.bots: list[str] = []
        self.turn = 0
        self.handed_over, self.started = PlainRecent(SHORT), PlainRecent(SPACING)
        self.signed_out, self.lost = PlainRecent(LONG), PlainRecent(LONG)

    def letters(self) -> Iterator[PlainLetter]:
        yield from self.waiting.values()
        yield from self.in_flight.values()

    def offer(self, push: Push, now: float) -> tuple[str, int]:
        key, visitor = push.key, push.visitor
        if self.is_signed_out(push, now):
            return "signed_out", push.at
        known = self.handed_over.young(key, now)
        answer = judge(known[1], known[2], push) if known else None
        if answer is not None:
            return answer
        staying = [letter for letter in self.letters() if letter is not self.waiting.get(key)]
        if sum(len(letter.push.body) for letter in staying) + len(push.body) > BYTES:
            return "busy", push.at
        chats = {letter.push.key for letter in self.letters()}
        if key not in chats and len(chats) >= CHATS:
            return "busy", push.at
        own = [other for who, other in self.places if who == visitor]
        if visitor and key not in own and len(own) >= CHATS_OF_ONE:
            oldest = next((other for other in own if other not in self.in_flight), None)
            if oldest is None:
                return "busy", push.at
            del self.waiting[oldest]
            self.lose(oldest, now)
        started = None if push.urgent else self.started.young(key, now)
        self.waiting[key] = PlainLetter(push, now if started is None else started[0] + SPACING)
        self.tidy()
        self.places = [place for place in self.places if place != (visitor, key)] + [(visitor, key)]
        if key not in self.in_flight:
            self.queue(key)
        self.lost.drop(key)
        self.handed_over.put(key, (now, push.transition, push.at))
        return "queued", push.at

    def tidy(self) -> None:
        """A chat counts for a visitor as long as a letter of theirs is in it."""
        there = {(letter.push.visitor, letter.push.key) for letter in self.letters()}
        self.places = [place for place in self.places if place in there]

    def queue(self, key: Key) -> None:
        self.turn += 1
        self.waiting[key].turn = self.turn
        if key[0] not in self.bots:
            self.bots.append(key[0])

    def first(self, bot: str) -> PlainLetter | None:
        free = [one for key, one in self.waiting.items() if key[0] == bot and key not in self.in_flight]
        return min(free, key=lambda letter: (letter.due, letter.turn), default=None)

    def claim(self, now: float, bots: str, hurry: bool) -> Push | None:
        for bot in self.bots:
            letter = self.first(bot)
            if letter is not None and bot in bots and (hurry or letter.due <= now):
                key = letter.push.key
                self.in_flight[key] = self.waiting.pop(key)
                self.started.put(key, (now,))
                self.bots.remove(bot)
                self.bots.append(bot)
                return letter.push
        return None

    def next_due(self, bots: str) -> float | None:
        firsts = [self.first(bot) for bot in bots]
        return min((letter.due for letter in firsts if letter is not None), default=None)

    def release(self, key: Key) -> None:
        del self.in_flight[key]
        if key in self.waiting:
            self.queue(key)
        self.tidy()

    def again(self, key: Key, due: float, now: float) -> str:
        letter = self.in_flight[key]
        why_not = "superseded" if key in self.waiting else "signed_out" if self.is_signed_out(letter.push, now) else ""
        if why_not:
            self.release(key)
        else:
            letter.due = due
            self.waiting[key] = self.in_flight.pop(key)
            self.queue(key)
        return why_not

    def give_up(self, key: Key, now: float, offer_again: bool) -> None:
        if offer_again and key not in self.waiting:
            self.lose(key, now)
        self.release(key)

    def let_go(self, key: Key, instant: int, now: float) -> None:
        self.waiting.pop(key, None)
        self.tidy()
        self.signed_out.put(key, (now, instant))
        self.handed_over.drop(key)
        self.lost.drop(key)

    def give_up_waiting(self, bot: str, now: float) -> list[Push]:
        old = [letter.push for key, letter in self.waiting.items() if key[0] == bot]
        for push in old:
            del self.waiting[push.key]
            self.lose(push.key, now)
        self.tidy()
        return old

    def lose(self, key: Key, now: float) -> None:
        self.tidy()
        self.handed_over.drop(key)
        self.lost.put(key, (now,))

    def is_signed_out(self, push: Push, now: float) -> bool:
        gone = self.signed_out.young(push.key, now)
        return gone is not None and push.transition != "" and push.captured <= gone[1]

    def outdates(self, key: Key, at: int) -> bool:
        known = self.handed_over.get(key)
        return (known is not None and known[2] > at) or self.lost.get(key) is not None


KEYS = [("b", "1"), ("b", "2"), ("b", "3"), ("c", "1"), ("c", "2"), ("c", "3")]
SOME_BOTS = st.sampled_from(["b", "c", "bc"])
TIMES = st.sampled_from([0.0, 0.0, 1.0, SPACING, 7.0, SHORT, LONG])


class Rules(RuleBasedStateMachine):
    """The mailbox and its rules, side by side."""

    @initialize()
    def begin(self) -> None:
        self.box, self.plain = Mailbox(), PlainMailbox()
        self.now = 100.0
        self.number = 30
        self.letters: dict[Key, Letter] = {}

    @rule(
        key=st.sampled_from(KEYS), visitor=st.sampled_from(["", "ada", "bob"]), size=st.sampled_from([1, 1, 6, 9]),
        urgent=st.booleans(), who=st.sampled_from("ab"), what=st.sampled_from("xy"), word=st.booleans(),
        back=st.tuples(*[st.sampled_from([0, 1, 3, 20])] * 3),
    )  # fmt: skip
    def offer(
        self, key: Key, visitor: str, size: int, urgent: bool, who: str, what: str, word: bool, back: tuple[int, ...]
    ) -> None:
        number = self.number = self.number + 1
        since, captured, began = (number - far for far in back)
        push = make_push(
            key[1], b"x" * size, bot=key[0], visitor=visitor, urgent=urgent, captured=captured, at=number,
            transition="" if word and urgent else f"{since}.{who}.{what}",
        )  # fmt: skip
        push.began = began
        answer = self.box.offer(push, self.now)
        assert type(answer) is Offered
        assert answer == self.plain.offer(push, self.now)

    @rule(bots=SOME_BOTS, hurry=st.booleans())
    def claim(self, bots: str, hurry: bool) -> None:
        letter = self.box.claim(self.now, lambda bot: bot in bots, hurry=hurry)
        assert (letter and letter.push) is self.plain.claim(self.now, bots, hurry)
        if letter is not None:
            self.letters[letter.push.key] = letter

    @rule(data=st.data(), wait=TIMES)
    def settle(self, data: st.DataObject, wait: float) -> None:
        if not self.letters:
            return
        key = data.draw(st.sampled_from(sorted(self.letters)))
        letter = self.letters.pop(key)
        match data.draw(st.sampled_from(["done", "again", "give up", "give up, offer again"])):
            case "done":
                self.box.done(letter)
                self.plain.release(key)
            case "again":
                due = self.now + wait
                assert self.box.again(letter, due, self.now) == self.plain.again(key, due, self.now)
            case how:
                offer_again = how != "give up"
                self.box.give_up(letter, "status_400", self.now, offer_again=offer_again)
                self.plain.give_up(key, self.now, offer_again)

    @rule(key=st.sampled_from(KEYS), back=st.sampled_from([0, 1, 3, 20]))
    def let_go(self, key: Key, back: int) -> None:
        self.box.let_go(key, self.number - back, self.now)
        self.plain.let_go(key, self.number - back, self.now)

    @rule(bot=st.sampled_from("bc"))
    def give_up_waiting(self, bot: str) -> None:
        old = self.box.give_up_waiting(lambda letter: letter.push.chatbot_id == bot, self.now)
        assert [letter.push for letter in old] == self.plain.give_up_waiting(bot, self.now)

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def they_say_the_same(self) -> None:
        box, plain = self.box, self.plain
        assert box.sizes() == (len(plain.waiting), len(plain.in_flight))
        for bots in ("b", "c", "bc"):
            assert box.next_due(self.now, lambda bot, bots=bots: bot in bots) == plain.next_due(bots)  # type: ignore[misc]
        for key in KEYS:
            for at in (0, self.number - 1):
                assert box.outdates(key, at) == plain.outdates(key, at)


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MOST_CHATS", CHATS)
    monkeypatch.setattr(mailbox, "MOST_BYTES", BYTES)
    monkeypatch.setattr(mailbox, "MOST_CHATS_OF_ONE_VISITOR", CHATS_OF_ONE)
    monkeypatch.setattr(recollection, "MOST_ENTRIES", ENTRIES)


@pytest.mark.usefixtures("low_limits")
def test_the_mailbox_keeps_its_rules() -> None:
    """Whatever happens in whatever order, at the limits too: each offer gets the answer that the rules give, and each
    claim the letter: the bots take turns, and of one bot's letters the first that is due, then the first that came."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Rules, settings=hypothesis_settings(max_examples=100, stateful_step_count=50, deadline=None)
    )


@pytest.mark.usefixtures("low_limits")
def test_a_memory_forgets_by_age_and_number() -> None:
    """Neither does what is old stay for long when something new comes, nor is there ever too much."""
    recent = Recent[tuple[float, int]](10.0)
    kept = [("b", str(number)) for number in range(5)]
    for number, key in enumerate(kept):
        recent.put(key, (0.0, number))
    assert [key in recent for key in kept] == [False, False, True, True, True]
    recent.put(kept[2], (10.0, 5))
    assert recent.get(kept[3], 10.0) == recent.latest(kept[3]) == (0.0, 3)
    assert recent.get(kept[3], 10.5) is None
    recent.put(kept[0], (10.5, 6))
    assert [key in recent for key in kept] == [True, False, True, False, False]
