"""What stands in the outbox's file: what waits for each chat, who has it in hand, what was handed over last.

Statements alone: database.py has the tables and opens the file, outbox.py decides what to do where that fails.
Times are the machine's monotonic clock's (`now`): every process shares it, and nobody sets it. The age of a push
alone is the wall clock's (`wall`), since it outlives a reboot.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from .mailbox import MOST_BYTES, MOST_CHATS, MOST_CHATS_OF_ONE_VISITOR, SPACING, Letter
from .messages import Offered
from .push import Push
from .recollection import REMEMBER_SIGNED_OUT, Key, judge

if TYPE_CHECKING:
    from sqlite3 import Connection, Cursor

MOST_REMEMBERED = 50_000
"""Chats of which the last hand-over and sign-out are known."""
FURTHEST = 400.0
"""Seconds ahead; no wait is longer (`Retry-After` counts up to 330 s). What lies beyond is from before a reboot."""
SKEW = 60.0


class _Chat(NamedTuple):
    """What is known of a chat, and of its row in `push` if there is one."""

    key: bytes
    transition: str | None = None
    at: int | None = None
    signed_out: int | None = None
    started: float = 0.0
    claimed: int | None = None
    lease_until: float = 0.0
    generation: int | None = None
    size: int | None = None
    others: int = 0  # pushes of the visitor for other chats

    def waits(self, now: float) -> bool:
        """Is there a push that is not in flight?"""
        return self.generation is not None and not (self.lease_until > now and self.claimed == self.generation)

    def forbids(self, push: Push) -> bool:
        """Was the chat let go after this was captured? A push without a transition says just that."""
        return push.transition != "" and self.signed_out is not None and push.captured <= self.signed_out


class Row(NamedTuple):
    """A push as it may be shown."""

    bot: str
    age: float
    size: int
    attempts: int
    due_in: float
    in_flight: bool


class Entries:
    """One transaction. What it did besides its answers counts once it is committed."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._full: list[int] | None = None
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.found: list[Key] = []
        self.lost: list[tuple[Key, float]] = []

    def begin(self) -> None:
        """From here on nobody else writes. Who only looks waits for nobody."""
        if not self._db.in_transaction:
            self._run("BEGIN IMMEDIATE")

    # The application's side --------------------------------------------------------------------

    def offer(self, push: Push, now: float, wall: float) -> Offered:
        """Store a push if it is news and there is room."""
        chat = self._look_up(push.key, push.visitor)
        if chat.forbids(push):
            return Offered("signed_out", push.at)
        known = None if chat.transition is None else judge(chat.transition, chat.at or push.at, push)
        if known is not None:
            return known
        if not self._make_room(push, chat, now):
            self.counts["busy"] += 1
            return Offered("busy", push.at)
        spaced = now if push.urgent else min(max(now, chat.started + SPACING), now + SPACING)
        self._store(Letter(push, wall, spaced), chat, now)
        self.counts["offered"] += 1
        self.found.append(push.key)
        return Offered("queued", push.at)

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what was captured for a chat until `instant`, and take nothing such any more. One in
        flight goes too: should it fail, it is not tried again."""
        chat = self._look_up(key)
        gone = self._run(
            "DELETE FROM push WHERE chat = ? AND captured <= ? AND transition != ''", chat.key, instant
        ).rowcount
        if gone and chat.waits(now):
            self.dropped["signed_out"] += 1
        self._run(
            "INSERT INTO chat (chat, signed_out, seen) VALUES (?, ?, ?) ON CONFLICT (chat) DO UPDATE SET"
            " signed_out = max(excluded.signed_out, coalesce(signed_out, 0)), transition = NULL, seen = excluded.seen",
            chat.key, instant, now,
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
                letter.generation, letter.turn, until, now, now, _key(letter.push.key),
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
            self._lose(letter.push.key, now)

    def expire(self, too_old: float, now: float, wall: float) -> list[Letter]:
        """Drop what has waited for more than `too_old` seconds, and forget what need not be known any more."""
        self.begin()
        self._run("UPDATE push SET offered = ? WHERE offered > ?", wall, wall + SKEW)  # the clock was set
        self._run("UPDATE push SET due = ? WHERE due > ?", now, now + FURTHEST)  # the machine was started anew
        self._run("UPDATE chat SET lease_until = 0 WHERE lease_until > ?", now + FURTHEST)
        rows = self._run("SELECT * FROM letter WHERE offered < ? AND held_until <= ?", wall - too_old, now).fetchall()
        letters = [_letter(row, now, wall) for row in rows]
        for letter in letters:
            self._drop(letter.generation, letter.push.key, "expired", now)
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
        chat = self._look_up(push.key)
        if self._run("DELETE FROM push WHERE chat = ? AND at < ?", chat.key, push.at).rowcount:
            self.counts["superseded"] += chat.waits(now)
        if chat.at is None or chat.at < push.at:
            self._remember(push, chat, now)

    def bring(self, letter: Letter, now: float, wall: float) -> None:
        """The memory gives this one back, as old as it is."""
        chat = self._look_up(letter.push.key)
        if chat.forbids(letter.push):
            self.dropped["signed_out"] += 1
        elif chat.at is not None and chat.at > letter.push.at:
            self.counts["superseded"] += 1
        else:
            age = now - letter.offered
            self._store(Letter(letter.push, wall - age, letter.due, attempts=letter.attempts), chat, now)

    # For people --------------------------------------------------------------------------------

    def rows(self, now: float, wall: float) -> list[Row]:
        """Everything, oldest first."""
        rows = self._run(
            "SELECT bot, offered, size, attempts, max(due, lease_until), held_until > ? FROM letter"
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
        return self._run("DELETE FROM push").rowcount

    # Inside ------------------------------------------------------------------------------------

    def _run(self, sql: str, *values: Any) -> Cursor:
        return self._db.execute(sql, values)

    def _look_up(self, key: Key, visitor: str = "") -> _Chat:
        """In one statement: each of them lets go of the GIL, and waits for it."""
        self.begin()
        known = self._run(
            "SELECT wanted, chat.transition, chat.at, signed_out, coalesce(started, 0), claimed,"
            " coalesce(lease_until, 0), generation, size,"
            " (SELECT count(*) FROM push WHERE visitor = ?2 AND chat != ?1)"
            " FROM (SELECT ?1 AS wanted) LEFT JOIN chat ON chat.chat = wanted LEFT JOIN push ON push.chat = wanted",
            _key(key), visitor or None,
        ).fetchone()  # fmt: skip
        return _Chat(*known)

    def _make_room(self, push: Push, chat: _Chat, now: float) -> bool:
        if self._full is None:
            self._full = list(self._run("SELECT count(*), coalesce(sum(size), 0) FROM push").fetchone())
        chats = self._full[0] + (chat.generation is None)
        size = self._full[1] - (chat.size or 0) + len(push.body)
        if chats > MOST_CHATS or size > MOST_BYTES:
            return False
        self._full = [chats, size]
        return not push.visitor or self._make_room_for_visitor(push, chat, now)

    def _make_room_for_visitor(self, push: Push, chat: _Chat, now: float) -> bool:
        """The oldest of their other chats gives way, if there are too many."""
        if chat.others < MOST_CHATS_OF_ONE_VISITOR:
            return True
        others = self._run(
            "SELECT generation, bot, session, held_until > ? FROM letter WHERE visitor = ? AND chat != ?"
            " ORDER BY generation", now, push.visitor, chat.key,
        ).fetchall()  # fmt: skip
        for generation, bot, session, in_flight in others:
            if not in_flight:
                self._drop(generation, (bot, session), "visitor", now)
                return True
        return False

    def _store(self, letter: Letter, chat: _Chat, now: float) -> None:
        """In place of what waits; `letter.offered` is the wall clock's."""
        push = letter.push
        self.counts["superseded"] += chat.waits(now)
        self._run(
            "INSERT OR REPLACE INTO push (chat, bot, session, endpoint, body, size, visitor, transition, captured, at,"
            " offered, due, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            chat.key, *push.key, push.endpoint, push.body, len(push.body), push.visitor, push.transition,
            push.captured, push.at, letter.offered, letter.due, letter.attempts,
        )  # fmt: skip
        self._remember(push, chat, now)

    def _remember(self, push: Push, chat: _Chat, now: float) -> None:
        self._run(
            "INSERT INTO chat (chat, transition, at, seen) VALUES (?, ?, ?, ?) ON CONFLICT (chat) DO UPDATE SET"
            " transition = excluded.transition, at = excluded.at, seen = excluded.seen",
            chat.key, push.transition, push.at, now,
        )  # fmt: skip

    def _end(self, letter: Letter) -> bool:
        """The letter goes; False where something else stands in its place."""
        self._end_lease(letter)
        return bool(self._run("DELETE FROM push WHERE generation = ?", letter.generation).rowcount)

    def _end_lease(self, letter: Letter) -> _Chat:
        chat = self._look_up(letter.push.key)
        self._run("UPDATE chat SET lease = NULL, lease_until = 0 WHERE chat = ? AND lease = ?", chat.key, letter.turn)
        return chat

    def _drop(self, generation: int, key: Key, reason: str, now: float) -> None:
        self._run("DELETE FROM push WHERE generation = ?", generation)
        self._lose(key, now)
        self.dropped[reason] += 1
        self._full = None

    def _lose(self, key: Key, now: float) -> None:
        """This chat's last push was given up: the same one is news again."""
        self._run("UPDATE chat SET transition = NULL WHERE chat = ?", _key(key))
        self.lost.append((key, now))


def _key(key: Key) -> bytes:
    """A chat's name in the file: nothing of a chat stays there in clear once its push is gone."""
    return blake2b("\0".join(key).encode(), digest_size=16).digest()


def _letter(row: tuple[Any, ...], now: float, wall: float) -> Letter:
    generation, bot, session, endpoint, body, visitor, transition, captured, at, offered, due, attempts = row[:12]
    push = Push(bot, session, endpoint, body, visitor, transition, captured, at)
    return Letter(push, now - (wall - offered), due, 0.0, attempts, generation)
