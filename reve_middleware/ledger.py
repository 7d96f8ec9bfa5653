"""What stands in the outbox's file: what waits for each chat, who has it in hand, what was handed over last.

Statements alone: database.py has the tables and opens the file, outbox.py decides what to do where that fails.
Times are the machine's monotonic clock's (`now`): every process shares it, and nobody sets it. The age of a push
alone is the wall clock's (`wall`), since it outlives a reboot.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from .intake import Intake, Offer
from .mailbox import Letter
from .messages import Offered
from .push import Push
from .recollection import REMEMBER_SIGNED_OUT, Key
from .tables import Chat, Tables, chat_row, name_of, push_row

MOST_REMEMBERED = 50_000
"""Chats of which the last hand-over and sign-out are known."""
FURTHEST = 400.0
"""Seconds ahead; no wait is longer (`Retry-After` counts up to 330 s). What lies beyond is from before a reboot."""
SKEW = 60.0


class Row(NamedTuple):
    """A push as it may be shown."""

    bot: str
    age: float
    size: int
    attempts: int
    due_in: float
    in_flight: bool


Work: TypeAlias = Callable[["Entries"], Any]


class Entries(Tables):
    """What may be asked of the file, all in one transaction."""

    def carry_out(self, works: Iterable[Offer | Work]) -> list[Any]:
        """Everything in its order, but offers that follow one another at once."""
        answers: list[Any] = []
        offers: list[Offer] = []
        for work in works:
            if isinstance(work, Offer):
                offers.append(work)
                continue
            answers += self.offer(offers)
            offers = []
            answers.append(work(self))
        return answers + self.offer(offers)

    # The application's side --------------------------------------------------------------------

    def offer(self, offers: Sequence[Offer]) -> list[Offered]:
        """Store each push if it is news and there is room."""
        if not offers:
            return []
        intake = Intake(self, offers)
        answers = [intake.answer(offer) for offer in offers]
        intake.write()
        return answers

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what was captured for a chat until `instant`, and take nothing such any more. One in
        flight goes too: should it fail, it is not tried again."""
        chat = self._chat(key)
        if self._run(
            "DELETE FROM push WHERE chat = ? AND captured <= ? AND transition != ''", chat.name, instant
        ).rowcount:
            self.gone(chat.size)
            self.dropped["signed_out"] += chat.waits(now)
        self._run(
            "INSERT INTO chat (chat, signed_out, seen) VALUES (?, ?, ?) ON CONFLICT (chat) DO UPDATE SET"
            " signed_out = max(excluded.signed_out, coalesce(signed_out, 0)), transition = NULL, seen = excluded.seen",
            chat.name, instant, now,
        )  # fmt: skip

    # The sender's side -------------------------------------------------------------------------

    def claim(self, bots: Iterable[str], now: float, until: float, wall: float) -> Letter | None:
        """Lease the next push that is due for one of these bots, until `until`."""
        due = "SELECT * FROM letter WHERE bot = ? AND due <= ? AND lease_until <= ? ORDER BY due LIMIT 1"
        for bot in bots:
            if self._run(due, bot, now, now).fetchone() is None:
                continue
            self.begin()
            row = self._run(due, bot, now, now).fetchone()
            if row is None:  # another worker was quicker
                continue
            letter = _letter(row, now, wall)
            letter.turn = secrets.randbits(62)
            self._run(
                "UPDATE chat SET claimed = ?, lease = ?, lease_until = ?, started = ?, seen = ? WHERE chat = ?",
                letter.generation, letter.turn, until, now, now, name_of(letter.push.key),
            )  # fmt: skip
            return letter
        return None

    def done(self, letter: Letter) -> None:
        """It is delivered, and goes unless a newer one has taken its place."""
        self.counts["delivered"] += 1
        self._end(letter)

    def again(self, letter: Letter, due: float) -> str:
        """Try it again at `due`; otherwise what has taken its place: a newer one ("superseded"), or "signed_out"."""
        chat = self._end_lease(letter)
        if chat.generation == letter.generation:
            self._run(
                "UPDATE push SET due = ?, attempts = ? WHERE generation = ?", due, letter.attempts, letter.generation
            )
            return ""
        if chat.forbids(letter.push):
            self.dropped["signed_out"] += 1
            return "signed_out"
        self.counts["superseded"] += 1
        return "superseded"

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        """Drop it. `offer_again`: the visitor's next response may bring it back."""
        self.dropped[reason] += 1
        if self._end(letter) and offer_again:
            self.lose(letter.push.key, now)

    def expire(self, too_old: float, now: float, wall: float) -> list[Letter]:
        """Drop what has waited for more than `too_old` seconds, and forget what need not be known any more."""
        self.begin()
        self._run("UPDATE push SET offered = ? WHERE offered > ?", wall, wall + SKEW)  # the clock was set
        self._run("UPDATE push SET due = ? WHERE due > ?", now, now + FURTHEST)  # the machine was started anew
        self._run("UPDATE chat SET lease_until = 0 WHERE lease_until > ?", now + FURTHEST)
        rows = self._run("SELECT * FROM letter WHERE offered < ? AND held_until <= ?", wall - too_old, now).fetchall()
        letters = [_letter(row, now, wall) for row in rows]
        for letter in letters:
            self.drop(letter.generation, letter.push.key, len(letter.push.body), "expired", now)
        self.count_anew()
        last = self._run("SELECT seen FROM chat ORDER BY seen DESC LIMIT 1 OFFSET ?", MOST_REMEMBERED).fetchone()
        self._run(
            "DELETE FROM chat WHERE (seen <= ? OR seen > ?) AND lease_until <= ?"
            " AND chat NOT IN (SELECT chat FROM push)",
            max(now - REMEMBER_SIGNED_OUT, last[0] if last else 0.0), now + FURTHEST, now,
        )  # fmt: skip
        return letters

    def soonest(self, bots: Iterable[str], now: float, latest: float) -> float:
        """When the next push of one of these bots may go; `latest`, if none earlier."""
        soonest = latest
        for bot in bots:
            (due,) = self._run(
                "SELECT min(max(due, lease_until)) FROM letter WHERE bot = ? AND due < ? AND lease_until < ?",
                bot, latest, latest,
            ).fetchone()  # fmt: skip
            soonest = soonest if due is None else min(soonest, max(due, now))
        return soonest

    def waiting(self, bots: Iterable[str]) -> list[str]:
        """For which of these bots there is anything."""
        return [bot for bot in bots if self._run("SELECT 1 FROM push WHERE bot = ? LIMIT 1", bot).fetchone()]

    def sizes(self, now: float) -> tuple[int, int]:
        """How many wait, and how many are in flight."""
        (waiting,) = self._run("SELECT count(*) FROM letter WHERE held_until <= ?", now).fetchone()
        (in_flight,) = self._run("SELECT count(*) FROM chat WHERE lease_until > 0 AND lease_until > ?", now).fetchone()
        return waiting, in_flight

    # What the memory held meanwhile ------------------------------------------------------------

    def note(self, push: Push, now: float) -> None:
        """The memory took this one: nothing older is to be sent."""
        chat = self._chat(push.key)
        if self._run("DELETE FROM push WHERE chat = ? AND at < ?", chat.name, push.at).rowcount:
            self.gone(chat.size)
            self.counts["superseded"] += chat.waits(now)
        if chat.at is None or chat.at < push.at:
            self.store([], [chat_row(chat.name, push, now)])

    def bring(self, letter: Letter, now: float, wall: float) -> None:
        """The memory gives this one back, as old as it is."""
        push = letter.push
        chat = self._chat(push.key)
        if chat.forbids(push):
            self.dropped["signed_out"] += 1
        elif chat.at is not None and chat.at > push.at:
            self.counts["superseded"] += 1
        else:
            age = now - letter.offered
            self.make_way(chat, push, now)
            row = push_row(chat.name, push, wall - age, letter.due, letter.attempts)
            self.store([row], [chat_row(chat.name, push, now)])

    # For people --------------------------------------------------------------------------------

    def rows(self, now: float, wall: float) -> list[Row]:
        """Everything, oldest first."""
        rows = self._run(
            "SELECT bot, offered, length(body), attempts, max(due, lease_until), held_until > ? FROM letter"
            " ORDER BY generation", now,
        )  # fmt: skip
        return [
            Row(bot, max(0.0, wall - offered), size, attempts, max(0.0, due - now), bool(in_flight))
            for bot, offered, size, attempts, due, in_flight in rows
        ]

    def purge(self) -> int:
        """Delete everything; how many pushes that were."""
        self.begin()
        self._run("DELETE FROM chat")
        deleted = self._run("DELETE FROM push").rowcount
        self.count_anew()
        return deleted

    # Inside ------------------------------------------------------------------------------------

    def _chat(self, key: Key) -> Chat:
        return self.look_up([key])[key]

    def _end(self, letter: Letter) -> bool:
        """The letter goes; False where something else stands in its place."""
        chat = self._end_lease(letter)
        if chat.generation != letter.generation:
            return False
        self._run("DELETE FROM push WHERE generation = ?", letter.generation)
        self.gone(chat.size)
        return True

    def _end_lease(self, letter: Letter) -> Chat:
        chat = self._chat(letter.push.key)
        self._run("UPDATE chat SET lease = NULL, lease_until = 0 WHERE chat = ? AND lease = ?", chat.name, letter.turn)
        return chat


def _letter(row: tuple[Any, ...], now: float, wall: float) -> Letter:
    generation, bot, session, endpoint, body, visitor, transition, captured, at, offered, due, attempts = row[:12]
    push = Push(bot, session, endpoint, body, visitor, transition, captured, at)
    return Letter(push, now - (wall - offered), due, 0.0, attempts, generation)
