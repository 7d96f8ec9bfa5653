"""Offers that wait for the file together are judged together: nobody can tell from the answers, nor from the file."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from delivering import push
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reve_middleware import intake
from reve_middleware.database import Database
from reve_middleware.intake import Offer
from reve_middleware.ledger import Entries, Work
from reve_middleware.mailbox import Letter
from reve_middleware.messages import Offered

SEQUENCES = 200
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
FEW = {"MOST_CHATS": 4, "MOST_BYTES": 20, "MOST_CHATS_OF_ONE_VISITOR": 2}
WALL = 1_700_000_000.0
SHOWN = (
    "SELECT bot, session, body, visitor, transition, captured, at, offered, due, attempts, lease_until, held_until"
    " FROM letter ORDER BY generation",
    "SELECT chat, transition, at, signed_out, seen, started, lease IS NULL, lease_until FROM chat ORDER BY chat",
    "SELECT * FROM total",
)

answered: Counter[str] = Counter()

Step = Callable[["Worker", float], Offer | Work]
"""What is to be done at that time."""


class Worker:
    """A file, and the letters in hand."""

    def __init__(self, path: Path) -> None:
        self.database = Database(str(path))
        self.path = path
        self.hand: list[Letter] = []
        self.answers: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.others: list[Any] = []

    def do(self, works: list[Offer | Work]) -> None:
        """In one transaction."""
        with self.database.entries() as entries:
            self.answers += entries.carry_out(works)
        self.counts += entries.counts + Counter({f"dropped {why}": count for why, count in entries.dropped.items()})
        self.others += [entries.found, entries.lost]

    def seen(self) -> tuple[Any, ...]:
        """All that anybody could see of it."""
        self.database.close()
        with closing(sqlite3.connect(self.path)) as db:
            tables = [db.execute(sql).fetchall() for sql in SHOWN]
            counted = db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM push").fetchall()
        assert tables[-1] == counted, "how much there is"
        found = [key for keys in self.others[::2] for key in keys]
        lost = [key for keys in self.others[1::2] for key in keys]
        return self.answers, self.counts, found, lost, tables


def shown(letter: Letter | None) -> tuple[Any, ...] | None:
    return letter and (letter.push.key, letter.push.body, letter.offered, letter.due, letter.attempts)


KEYS = st.sampled_from([("b", "1"), ("b", "2"), ("b", "3"), ("c", "1"), ("c", "2"), ("c", "3")])
VISITORS = st.sampled_from(["", "ada", "ada", "bob"])
TIMES = st.integers(1, 6)
TRANSITIONS = st.sampled_from(["", "t"]) | st.builds(
    "{}.{}.{}".format, st.sampled_from([0, 0, 3]), st.sampled_from("xy"), st.sampled_from("pq")
)


@st.composite
def offers(draw: st.DrawFn) -> Step:
    key, visitor, transition, size = draw(KEYS), draw(VISITORS), draw(TRANSITIONS), draw(st.integers(0, 9))
    captured, at, urgent = draw(TIMES), draw(TIMES), draw(st.booleans())
    one = push(
        key[1], b"." * size, bot=key[0], visitor=visitor, transition=transition, captured=captured, at=at, urgent=urgent
    )
    one.began = draw(st.sampled_from([0, 3, 9]))
    return lambda worker, now: Offer(one, now, WALL + now)


@st.composite
def other_steps(draw: st.DrawFn) -> Step:
    """What a sender does, and sign-outs."""
    kind = draw(st.sampled_from(["let go", "claim", "claim", "done", "again", "give up", "expire", "note", "bring"]))
    key, instant, number = draw(KEYS), draw(TIMES), draw(st.integers(0, 3))
    one = push(key[1], b"in memory", bot=key[0], visitor=draw(VISITORS), transition="m", captured=instant, at=instant)

    def step(worker: Worker, now: float) -> Work:
        def work(entries: Entries) -> Any:
            if kind == "let go":
                return entries.let_go(key, instant, now)
            if kind == "claim":
                letter = entries.claim([key[0]], now, now + 3.0, WALL + now)
                worker.hand += [letter] if letter else []
                return shown(letter)
            if kind == "expire":
                return [shown(letter) for letter in entries.expire(4.0, now, WALL + now)]
            if kind == "note":
                return entries.note(one, now)
            if kind == "bring":
                return entries.bring(Letter(one, now - 1.0, now + number), now, WALL + now)
            if not worker.hand:
                return None
            letter = worker.hand.pop(number % len(worker.hand))
            if kind == "done":
                return entries.done(letter)
            if kind == "again":
                return entries.again(letter, now + number)
            return entries.give_up(letter, "status_400", now, offer_again=number > 1)

        return work

    return step


STEPS = st.lists(st.one_of(offers(), offers(), offers(), other_steps()), min_size=15, max_size=40)


@hypothesis_settings(max_examples=SEQUENCES, deadline=None, database=None)
@given(steps=STEPS, batch=st.integers(2, 40), hurry=st.sampled_from([0.0, 0.1, 1.0, 3.0]))
def any_sequence(steps: list[Step], batch: int, hurry: float) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder, patch.multiple(intake, **FEW):
        one, all_at_once = Worker(Path(folder) / "one"), Worker(Path(folder) / "all")
        times = [1000.0 + number * hurry for number in range(len(steps))]
        for step, now in zip(steps, times, strict=True):
            one.do([step(one, now)])
        for first in range(0, len(steps), batch):
            together = zip(steps[first : first + batch], times[first : first + batch], strict=True)
            all_at_once.do([step(all_at_once, now) for step, now in together])
        assert all_at_once.seen() == one.seen()
    answered.update(answer.status for answer in one.answers if isinstance(answer, Offered))


def test_together_is_as_one_by_one() -> None:
    """Whatever is offered, claimed, settled and signed out in one transaction is answered, counted and stored as in a
    transaction each: where chats and visitors come twice, and where there is no room."""
    answered.clear()
    any_sequence()
    assert answered.keys() == {"queued", "busy", "signed_out", "current", "late", "another"}, "nothing is left untried"
