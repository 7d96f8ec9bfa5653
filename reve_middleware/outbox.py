"""The mailbox on SQLite: durable, and shared by every worker of the machine.

The same protocol as `mailbox.Mailbox`. Storing replaces what waits for a chat; a claim is a lease longer
than an attempt's deadline, so a worker that dies loses nothing; the acknowledgement compares generations,
which never repeat, so it cannot take away what is newer. Where the file cannot be used (locked, full,
read-only, broken), the memory takes over, and the log says so once.

Times in the file are the wall clock's, since several processes read them; those of the protocol are the
caller's monotonic clock's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from .mailbox import MOST_BYTES, MOST_CHATS, MOST_CHATS_OF_ONE_VISITOR, SPACING, Letter, Mailbox
from .messages import Offered
from .push import Push
from .recollection import Key

log = logging.getLogger("reve_middleware")

LEASE_SECONDS = 15.0
"""Longer than the attempt's deadline of 10 s and what comes before and after it."""
BUSY_SECONDS = 2.0
"""How long one writer waits for another."""
STORE_SECONDS = 3.0
"""How long a response waits until its push is stored; then the memory takes it."""
BATCH = 256
REMEMBER_SECONDS = 3600.0
VERSION = 1

LOOK_SECONDS = 1.0
"""How often a worker looks what others have stored, or left behind."""
COLUMNS = "generation, bot, session, endpoint, body, visitor, transition, captured, at, offered, due, attempts"

SCHEMA = """
CREATE TABLE push (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    bot TEXT NOT NULL, session TEXT NOT NULL, endpoint TEXT, body BLOB NOT NULL, size INTEGER NOT NULL,
    visitor TEXT NOT NULL, transition TEXT NOT NULL, captured INTEGER NOT NULL, at INTEGER NOT NULL,
    offered REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    lease TEXT, lease_until REAL NOT NULL DEFAULT 0,
    UNIQUE (bot, session)
);
CREATE INDEX push_due ON push (bot, due);
CREATE INDEX push_visitor ON push (visitor);
CREATE INDEX push_size ON push (size);
CREATE TABLE chat (
    bot TEXT NOT NULL, session TEXT NOT NULL, transition TEXT, at INTEGER, signed_out INTEGER,
    started REAL NOT NULL DEFAULT 0, seen REAL NOT NULL, PRIMARY KEY (bot, session)
) WITHOUT ROWID;
CREATE INDEX chat_seen ON chat (seen);
"""


class OutboxError(Exception):
    """The file cannot be used; the text says why, without a path."""


class Outbox:
    """Offer, claim, settle; on disk where that works, in memory where it does not."""

    durable = True
    too_old = 7200.0

    def __init__(self, path: str, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._memory = Mailbox()
        self._local = threading.local()
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Future[Any]]] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()
        self._complained = False
        self._leases: dict[int, str] = {}
        self._chats, self._bytes = 0, 0.0  # as counted at the beginning of the writer's transaction
        self.counts: Counter[str] = self._memory.counts
        self.dropped: Counter[str] = self._memory.dropped

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Store a push if it is news and there is room; waits for the disk."""
        future = self._submit(self._offer, push, now)
        try:
            offered: Offered = future.result(STORE_SECONDS)
        except TimeoutError:
            return self._too_slow(future, push, now)
        return offered

    async def offer_async(self, push: Push, now: float) -> Offered:
        """The same for an event loop."""
        future = self._submit(self._offer, push, now)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                offered: Offered = await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            return self._too_slow(future, push, now)
        return offered

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what waits for a chat, and take nothing more that was captured before `instant`."""
        self._memory.let_go(key, instant, now)
        with contextlib.suppress(TimeoutError):
            self._submit(self._let_go, key, instant).result(STORE_SECONDS)

    async def let_go_async(self, key: Key, instant: int, now: float) -> None:
        """The same for an event loop."""
        self._memory.let_go(key, instant, now)
        future = self._submit(self._let_go, key, instant)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(future))

    def _too_slow(self, future: Future[Any], push: Push, now: float) -> Offered:
        """The disk does not answer in time: the memory takes the push, unless the disk still can be told not to."""
        self._complain("it does not answer")
        return self._memory.offer(push, now) if future.cancel() else Offered("queued", push.at)

    def is_lost(self, key: Key) -> bool:
        return self._memory.is_lost(key)

    def _submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="reve-middleware-outbox", daemon=True)
                try:
                    self._writer.start()
                except RuntimeError:  # the interpreter ends
                    self._writer = None
                    future.set_result(self._fall_back(work, args, "no thread"))
                    return future
        self._jobs.put((work, args, future))
        return future

    @staticmethod
    def _stored(future: Future[Any], instead: Callable[..., Any], *args: Any) -> Any:
        try:
            return future.result(STORE_SECONDS)
        except TimeoutError:
            return instead(*args)

    def _write(self) -> None:
        """The one thread that stores: whatever has gathered, in one transaction."""
        while True:
            batch = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    batch.append(self._jobs.get_nowait())
            batch = [job for job in batch if job[2].set_running_or_notify_cancel()]
            results: list[Any] = []
            try:
                with self._transaction() as db:
                    self._chats, self._bytes = db.execute("SELECT count(*), total(size) FROM push").fetchone()
                    results = [work(db, *args) for work, args, _ in batch]
                self._memory.counts.update(r.status for r in results if isinstance(r, Offered) and r.status == "busy")
            except (sqlite3.Error, OutboxError, OSError) as error:
                results = [self._fall_back(work, args, type(error).__name__) for work, args, _ in batch]
            for (_, _, future), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _fall_back(self, work: Callable[..., Any], args: tuple[Any, ...], why: str) -> Any:
        """What cannot be stored is offered to the memory, which has let go already of what is to be let go."""
        self._complain(why)
        return self._memory.offer(*args) if work == self._offer else None

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            log.error(
                "the outbox cannot be used (%s): pushes are kept in memory meanwhile", why, extra={"reve": "outbox"}
            )

    def _offer(self, db: sqlite3.Connection, push: Push, now: float) -> Offered:
        wall = self._wall()
        chat = db.execute(
            "SELECT transition, at, signed_out, started, seen FROM chat WHERE bot = ? AND session = ?", push.key
        ).fetchone() or (None, None, None, 0.0, 0.0)
        transition, at, signed_out, started, _ = chat
        if push.transition and signed_out is not None and push.captured <= signed_out:
            return Offered("signed_out", push.at)
        if push.transition and transition == push.transition:
            return Offered("current", at or push.at)
        old = db.execute(
            "SELECT size, lease, lease_until, visitor FROM push WHERE bot = ? AND session = ?", push.key
        ).fetchone()
        if not self._make_room(db, push, old, now):
            return Offered("busy", push.at)
        size, lease, lease_until, _ = old or (0, None, 0.0, "")
        if size and lease_until < wall:
            self.counts["superseded"] += 1
        due = wall if push.urgent else max(wall, started + SPACING)
        db.execute(
            "INSERT OR REPLACE INTO push (bot, session, endpoint, body, size, visitor, transition, captured, at,"
            " offered, due, lease, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*push.key, push.endpoint, push.body, len(push.body), push.visitor, push.transition, push.captured,
             push.at, wall, due, lease, lease_until),
        )  # fmt: skip
        db.execute(
            "INSERT INTO chat (bot, session, transition, at, seen) VALUES (?, ?, ?, ?, ?) ON CONFLICT (bot, session)"
            " DO UPDATE SET transition = excluded.transition, at = excluded.at, seen = excluded.seen",
            (*push.key, push.transition, push.at, wall),
        )
        self.counts["offered"] += 1
        self._memory.found(push.key)
        return Offered("queued", push.at)

    def _make_room(self, db: sqlite3.Connection, push: Push, old: tuple[Any, ...] | None, now: float) -> bool:
        more = len(push.body) - (old[0] if old else 0)
        if self._bytes + more > MOST_BYTES or (old is None and self._chats >= MOST_CHATS):
            return False
        if old is not None or not push.visitor or self._room_for_visitor(db, push, now):
            self._bytes += more
            self._chats += old is None
            return True
        return False

    def _room_for_visitor(self, db: sqlite3.Connection, push: Push, now: float) -> bool:
        own = db.execute(
            "SELECT generation, bot, session, lease_until FROM push WHERE visitor = ? ORDER BY generation",
            (push.visitor,),
        ).fetchall()
        if len(own) < MOST_CHATS_OF_ONE_VISITOR:
            return True
        for generation, bot, session, lease_until in own:
            if lease_until < self._wall():
                db.execute("DELETE FROM push WHERE generation = ?", (generation,))
                self._forget(db, (bot, session))
                self._memory.lose((bot, session), now)
                self.dropped["visitor"] += 1
                return True
        return False

    def _let_go(self, db: sqlite3.Connection, key: Key, instant: int) -> None:
        wall = self._wall()
        self.dropped["signed_out"] += db.execute(
            "DELETE FROM push WHERE bot = ? AND session = ? AND lease_until < ?", (*key, wall)
        ).rowcount
        db.execute(  # one in flight stays, emptied: what comes next for this chat must wait for its end
            "UPDATE push SET body = x'', size = 0 WHERE bot = ? AND session = ? AND transition != ''", key
        )
        db.execute(
            "INSERT INTO chat (bot, session, signed_out, seen) VALUES (?, ?, ?, ?) ON CONFLICT (bot, session)"
            " DO UPDATE SET signed_out = excluded.signed_out, transition = NULL, seen = excluded.seen",
            (*key, instant, wall),
        )

    # What the sender calls ---------------------------------------------------------------------

    def claim(self, now: float, may_try: Callable[[str], bool], *, hurry: bool = False) -> Letter | None:
        """Lease the next letter that is due, on this machine; `hurry` concerns the memory alone, since
        what waits on disk is not lost."""
        letter = self._memory.claim(now, may_try, hurry=hurry)
        if letter is not None:
            return letter
        with self._or_complain():
            wall = self._wall()
            due = "bot = ? AND due <= ? AND lease_until < ? AND size > 0"
            for bot in filter(may_try, self.bots_waiting_on_disk()):
                if self._db().execute(f"SELECT 1 FROM push WHERE {due}", (bot, wall, wall)).fetchone() is None:  # noqa: S608
                    continue
                with self._transaction() as db:
                    row = db.execute(
                        f"SELECT {COLUMNS} FROM push WHERE {due} ORDER BY due LIMIT 1",  # noqa: S608
                        (bot, wall, wall),
                    ).fetchone()
                    if row is None:
                        continue
                    letter = self._letter(row, now, wall)
                    lease = secrets.token_hex(8)
                    db.execute(
                        "UPDATE push SET lease = ?, lease_until = ? WHERE generation = ?",
                        (lease, wall + LEASE_SECONDS, letter.generation),
                    )
                    db.execute("UPDATE chat SET started = ? WHERE bot = ? AND session = ?", (wall, *letter.push.key))
                self._leases[letter.generation] = lease
                return letter
        return None

    def next_due(self, now: float, may_try: Callable[[str], bool]) -> float | None:
        """When to look again: another worker may have stored something, or died, at any time."""
        due = self._memory.next_due(now, may_try)
        look = now + LOOK_SECONDS
        with self._or_complain():
            wall = self._wall()
            for bot in filter(may_try, self.bots_waiting_on_disk()):
                soonest = (
                    self._db()
                    .execute("SELECT min(max(due, lease_until)) FROM push WHERE bot = ? AND size > 0", (bot,))
                    .fetchone()[0]
                )
                if soonest is not None:
                    look = min(look, now + max(0.0, soonest - wall))
        return look if due is None else min(due, look)

    def bots_waiting(self) -> list[str]:
        found = self._memory.bots_waiting()
        with self._or_complain():
            found += [bot for bot in self.bots_waiting_on_disk() if bot not in found]
        return found

    def bots_waiting_on_disk(self) -> list[str]:
        return [bot for (bot,) in self._db().execute("SELECT DISTINCT bot FROM push WHERE size > 0")]

    def done(self, letter: Letter) -> None:
        if not letter.generation:
            return self._memory.done(letter)
        self.counts["delivered"] += 1
        self._end(letter)
        return None

    def again(self, letter: Letter, due: float, now: float) -> bool:
        if not letter.generation:
            return self._memory.again(letter, due, now)
        kept = False
        with self._or_complain(), self._transaction() as db:
            lease = self._leases.pop(letter.generation, None)
            kept = bool(
                db.execute(
                    "UPDATE push SET due = ?, attempts = ?, lease = NULL, lease_until = 0"
                    " WHERE generation = ? AND lease = ? AND size > 0",
                    (self._wall() + due - now, letter.attempts, letter.generation, lease),
                ).rowcount
            )
            if not kept:
                signed_out = self._free(db, letter.push.key, lease)
                (self.dropped if signed_out else self.counts)["signed_out" if signed_out else "superseded"] += 1
        return kept

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        if not letter.generation:
            return self._memory.give_up(letter, reason, now, offer_again=offer_again)
        self.dropped[reason] += 1
        if self._end(letter, forget=offer_again) and offer_again:
            self._memory.lose(letter.push.key, now)
        return None

    def give_up_waiting(self, expired: Callable[[Letter], bool], now: float) -> list[Letter]:
        old = self._memory.give_up_waiting(expired, now)
        with self._or_complain():
            wall = self._wall()
            with self._transaction() as db:
                db.execute("DELETE FROM push WHERE size = 0 AND lease_until < ?", (wall,))
                db.execute("DELETE FROM chat WHERE seen < ?", (wall - REMEMBER_SECONDS,))
                rows = db.execute(
                    f"SELECT {COLUMNS} FROM push WHERE offered < ? AND lease_until < ?",  # noqa: S608
                    (wall - self.too_old, wall),
                ).fetchall()
                for letter in [self._letter(row, now, wall) for row in rows]:
                    db.execute("DELETE FROM push WHERE generation = ?", (letter.generation,))
                    self._forget(db, letter.push.key)
                    self._memory.lose(letter.push.key, now)
                    self.dropped["expired"] += 1
                    old.append(letter)
            self._db().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return old

    def sizes(self) -> tuple[int, int]:
        """How many wait, and how many are in flight, on this machine and in this process's memory."""
        waiting, in_flight = self._memory.sizes()
        with self._or_complain():
            on_disk, leased = (
                self._db()
                .execute(
                    "SELECT total(lease_until < ?1), total(lease_until >= ?1) FROM push WHERE size > 0", (self._wall(),)
                )
                .fetchone()
            )
            return waiting + int(on_disk), in_flight + int(leased)
        return waiting, in_flight

    def at_risk(self) -> int:
        """How many letters are lost if the process ends now: those that could not be stored."""
        return self._memory.at_risk()

    def hand_back(self) -> None:
        """The sender's thread ends, and gives its connection back."""
        db, self._local.db = getattr(self._local, "db", None), None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()

    # Inside ------------------------------------------------------------------------------------

    def _end(self, letter: Letter, *, forget: bool = False) -> bool:
        """The letter goes, unless a newer one has taken its place; is it gone?"""
        gone = False
        with self._or_complain(), self._transaction() as db:
            lease = self._leases.pop(letter.generation, None)
            gone = bool(
                db.execute("DELETE FROM push WHERE generation = ? AND lease = ?", (letter.generation, lease)).rowcount
            )
            if not gone:
                self._free(db, letter.push.key, lease)
            elif forget:
                self._forget(db, letter.push.key)
        return gone

    @staticmethod
    def _free(db: sqlite3.Connection, key: Key, lease: str | None) -> bool:
        """What waited behind a letter may go; was the letter itself taken back?"""
        taken_back = db.execute(
            "DELETE FROM push WHERE bot = ? AND session = ? AND lease = ? AND size = 0", (*key, lease)
        ).rowcount
        db.execute(
            "UPDATE push SET lease = NULL, lease_until = 0 WHERE bot = ? AND session = ? AND lease = ?", (*key, lease)
        )
        return bool(taken_back)

    @staticmethod
    def _forget(db: sqlite3.Connection, key: Key) -> None:
        db.execute("UPDATE chat SET transition = NULL WHERE bot = ? AND session = ?", key)

    @staticmethod
    def _letter(row: tuple[Any, ...], now: float, wall: float) -> Letter:
        generation, bot, session, endpoint, body, visitor, transition, captured, at, offered, due, attempts = row
        push = Push(bot, session, endpoint, body, visitor, transition, captured, at)
        return Letter(push, now - (wall - offered), now - (wall - due), 0.0, attempts, generation)

    @contextlib.contextmanager
    def _or_complain(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OutboxError, OSError) as error:
            self._complain(type(error).__name__)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        self._complained = False

    def _db(self) -> sqlite3.Connection:
        """This thread's connection."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise OutboxError("made by another version")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db
