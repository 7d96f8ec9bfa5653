"""What all statements on the outbox's file share: what is known of a chat, how a push is stored, how much there is.

How many pushes there are, and how many bytes, is written down: to count them for each offer would take longer than the
offer. So whatever takes one out says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .push import Push
from .recollection import Key

if TYPE_CHECKING:
    from sqlite3 import Connection, Cursor

Values = tuple[Any, ...]
"""Of one row."""


@dataclass(slots=True, eq=False)
class Chat:
    """What is known of a chat, and of its row in `push` if there is one."""

    name: bytes
    transition: str | None = None
    at: int | None = None
    signed_out: int | None = None
    started: float = 0.0
    claimed: int | None = None
    lease_until: float = 0.0
    generation: int | None = None
    """0 if it is not written yet: nobody has claimed it."""
    size: int = 0
    visitor: str = ""

    def waits(self, now: float) -> bool:
        """Is there a push that is not in flight?"""
        return self.generation is not None and not (self.lease_until > now and self.claimed == self.generation)

    def forbids(self, push: Push) -> bool:
        """Was the chat let go after this was captured? A push without a transition says just that."""
        return push.transition != "" and self.signed_out is not None and push.captured <= self.signed_out


class Tables:
    """One transaction. What it did besides its answers counts once it is committed."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.more_chats = 0
        self.more_bytes = 0
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.found: list[Key] = []
        self.lost: list[tuple[Key, float]] = []
        self.afterwards: list[Callable[[], None]] = []

    def begin(self) -> None:
        """From here on nobody else writes. Who only looks waits for nobody."""
        if not self._db.in_transaction:
            self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        if self.more_chats or self.more_bytes:
            self._run("UPDATE total SET chats = chats + ?, bytes = bytes + ?", self.more_chats, self.more_bytes)
        if self._db.in_transaction:
            self._run("COMMIT")

    def totals(self) -> tuple[int, int]:
        """How many pushes there were when this began, and how many bytes of bodies."""
        chats, size = self._run("SELECT chats, bytes FROM total").fetchone()
        return chats, size

    def count_anew(self) -> None:
        """So that a row that was deleted by hand does not take up room for ever."""
        self._run("UPDATE total SET (chats, bytes) = (SELECT count(*), coalesce(sum(length(body)), 0) FROM push)")
        self.more_chats = self.more_bytes = 0

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Chat]:
        """In one statement: each of them lets go of the GIL, and waits for it."""
        self.begin()
        names = {key: name_of(key) for key in keys}
        rows = self._run_with_all(
            "SELECT chat, chat.transition, chat.at, signed_out, started, claimed, lease_until, generation,"
            " coalesce(length(body), 0), coalesce(visitor, '') FROM chat LEFT JOIN push USING (chat)"
            " WHERE chat IN (...)", names.values(),
        )  # fmt: skip
        known = {row[0]: row for row in rows}
        return {key: Chat(*known.get(name, (name,))) for key, name in names.items()}

    def chats_of(self, visitors: Collection[str]) -> dict[str, int]:
        """For how many chats something waits or is in flight, of those visitors who have any."""
        by_visitor = "SELECT visitor, count(*) FROM push WHERE visitor IN (...) GROUP BY visitor"
        return dict(self._run_with_all(by_visitor, visitors).fetchall())

    def store(self, pushes: Iterable[Values], chats: Iterable[Values]) -> None:
        """Put in what `push_row` makes, and remember what `chat_row` makes."""
        self._db.executemany(
            "INSERT INTO push (chat, bot, session, endpoint, body, visitor, transition, captured, at,"
            " offered, due, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            pushes,
        )
        self._db.executemany(
            "INSERT INTO chat (chat, transition, at, seen) VALUES (?, ?, ?, ?) ON CONFLICT (chat) DO UPDATE SET"
            " transition = excluded.transition, at = excluded.at, seen = excluded.seen",
            chats,
        )

    def oldest_of(self, visitor: str, besides: bytes, now: float) -> tuple[int, Key, int] | None:
        """Of this visitor's other chats the one that waits longest: its push's generation, and how many bytes."""
        row = self._run(
            "SELECT generation, bot, session, length(body) FROM letter WHERE visitor = ? AND chat != ?"
            " AND held_until <= ? ORDER BY generation LIMIT 1", visitor, besides, now,
        ).fetchone()  # fmt: skip
        return None if row is None else (row[0], (row[1], row[2]), row[3])

    def drop(self, generation: int, key: Key, size: int, reason: str, now: float) -> None:
        """Take out what waits for a chat: it could not be kept."""
        self._run("DELETE FROM push WHERE generation = ?", generation)
        self.gone(size)
        self.lose(key, now)
        self.dropped[reason] += 1

    def lose(self, key: Key, now: float) -> None:
        """This chat's last push was given up: the same one is news again."""
        self._run("UPDATE chat SET transition = NULL WHERE chat = ?", name_of(key))
        self.lost.append((key, now))

    def make_way(self, chat: Chat, push: Push, now: float) -> None:
        """What waits for its chat goes, for this push is going to be stored."""
        self.counts["superseded"] += chat.waits(now)
        self.more_chats += chat.generation is None
        self.more_bytes += len(push.body) - chat.size
        if chat.generation is not None:  # to let the INSERT replace it would cost those more that replace nothing
            self._run("DELETE FROM push WHERE chat = ?", chat.name)

    def gone(self, size: int) -> None:
        """A push with so many bytes was taken out."""
        self.more_chats -= 1
        self.more_bytes -= size

    def _run(self, sql: str, *values: Any) -> Cursor:
        return self._db.execute(sql, values)

    def _run_with_all(self, sql: str, values: Collection[Any]) -> Cursor:
        """Where the statement says "...", there are all of them."""
        return self._run(sql.replace("...", ", ".join("?" * len(values))), *values)


def name_of(key: Key) -> bytes:
    """A chat's name in the file: nothing of a chat stays there in clear once its push is gone."""
    return blake2b("\0".join(key).encode(), digest_size=16).digest()


def push_row(name: bytes, push: Push, offered: float, due: float, attempts: int = 0) -> Values:
    """`offered`: the wall clock's."""
    return (
        name, push.chatbot_id, push.session_id, push.endpoint, push.body, push.visitor, push.transition, push.captured,
        push.at, offered, due, attempts,
    )  # fmt: skip


def chat_row(name: bytes, push: Push, now: float) -> Values:
    return name, push.transition, push.at, now
