"""The mailbox on disk: durable, and shared by every worker of the machine.

The same protocol as `mailbox.Mailbox`. A claim is a lease longer than an attempt's deadline, so a worker that
dies loses nothing; a verdict compares generations, which never repeat, so it cannot take away what is newer.

One thread of our own writes, so that a response waits for the disk and an event loop does not. Where the file
cannot be used (locked, full, read-only, broken), a mailbox in memory takes over, the log says so once, and what
it holds goes back into the file when that can be used again. Meanwhile the promises are those of a mailbox in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .database import Database, plainly
from .ledger import Entries
from .mailbox import MOST_CHATS, Letter, Mailbox
from .messages import Offered
from .push import Push
from .recollection import Key

log = logging.getLogger("reve_middleware")

LEASE_SECONDS = 15.0
"""Longer than the attempt's deadline of 10 s and what comes before and after it."""
STORE_SECONDS = 3.0
"""How long a response waits until its push is stored; then the memory takes it."""
LOOK_SECONDS = 1.0
"""How often a worker looks what others have stored, or left behind, and whether the file can be used again."""
SLOW_SECONDS = 0.05
"""After a claim that took so long the sender does something else first: leases are running."""
IDLE_SECONDS = 10.0
"""Seconds after which a writer with nothing to do ends."""
BATCH = 256
COMPLAIN_SECONDS = 60.0

Work = Callable[[Entries], Any]


@dataclass(slots=True, eq=False)
class _Job:
    """Something for the writer."""

    work: Work
    instead: Callable[[], Any]
    """Where the file cannot be used."""
    future: Future[Any] = field(default_factory=Future)


class Outbox:
    """Offer, claim, settle; on disk where that works, in memory where it does not."""

    too_old = 7200.0

    def __init__(
        self, path: str, bots: Iterable[str], lease: float = LEASE_SECONDS, wall: Callable[[], float] = time.time
    ) -> None:
        """`bots`: whose pushes to claim; others' may be in the same file. Opens nothing."""
        self._database = Database(path)
        self._bots = list(bots)
        self._lease = lease
        self._wall = wall
        self._memory = Mailbox()
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._usable = True
        self._complained: float | None = None
        self._owed: deque[Work] = deque(maxlen=MOST_CHATS)
        """What the file must be told when it can be used again."""
        self._mending = False
        self._mend_at = 0.0
        self._slow = False
        self._in_flight: dict[Key, float] = {}
        """The chats whose letters this process has claimed, from the file or from the memory, and until when."""
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        return self._sum(self._counts, self._memory.counts)

    @property
    def dropped(self) -> Counter[str]:
        return self._sum(self._dropped, self._memory.dropped)

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Store a push if it is news and there is room; waits for the disk."""
        return self._answer(self._offer(push, now, held_before), Offered("busy", push.at))  # type: ignore[no-any-return]

    async def offer_async(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """The same for an event loop, which goes on meanwhile."""
        return await self._answer_async(  # type: ignore[no-any-return]
            self._offer(push, now, held_before), Offered("busy", push.at)
        )

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what waits for a chat, and take nothing more that was captured before `instant`."""
        self._answer(self._let_go(key, instant, now), None)

    async def let_go_async(self, key: Key, instant: int, now: float) -> None:
        """The same for an event loop, which goes on meanwhile."""
        await self._answer_async(self._let_go(key, instant, now), None)

    def is_lost(self, key: Key) -> bool:
        """Was the last push of this chat given up by this process?"""
        return self._memory.is_lost(key)

    def _offer(self, push: Push, now: float, held_before: float) -> _Job:
        def into_memory() -> Offered:
            offered = self._memory.offer(push, now, held_before)
            if offered.status == "queued":
                self._owed.append(lambda entries: entries.note(replace(push, body=b""), now, self._wall()))
            return offered

        return self._submit(lambda entries: entries.offer(push, now, self._wall()), into_memory)

    def _let_go(self, key: Key, instant: int, now: float) -> _Job:
        self._memory.let_go(key, instant, now)
        return self._submit_owing(lambda entries: entries.let_go(key, instant, now, self._wall()))

    # What the sender calls ---------------------------------------------------------------------

    def claim(self, now: float, may_try: Callable[[str], bool], *, hurry: bool = False) -> Letter | None:
        """Lease the next letter that is due, on this machine; `hurry` concerns the memory alone, since
        what waits on disk is not lost."""
        self._mend(now)
        if self._usable:
            letter = self._claim_from_file(now, may_try)
        else:
            letter = self._memory.claim(now, may_try, hurry=hurry)
        if letter is None:
            return None
        key = letter.push.key
        if self._in_flight.get(key, now) > now:  # another one of this chat, from the other keeper
            self._put_back(letter, now + LOOK_SECONDS, now)
            return None
        self._in_flight[key] = now + self._lease
        return letter

    def _claim_from_file(self, now: float, may_try: Callable[[str], bool]) -> Letter | None:
        if self._slow:
            self._slow = False
            return None
        bots = [bot for bot in self._bots if may_try(bot)]
        began = time.monotonic()

        def work(entries: Entries) -> Letter | None:
            waited = time.monotonic() - began
            return entries.claim(bots, now, now + waited + self._lease, self._wall())

        letter: Letter | None = self._answer(self._submit(work, _nothing), None)
        self._slow = time.monotonic() - began > SLOW_SECONDS
        if letter is not None:  # the bots take turns
            self._bots.remove(letter.push.chatbot_id)
            self._bots.append(letter.push.chatbot_id)
        return letter

    def next_due(self, now: float, may_try: Callable[[str], bool]) -> float | None:
        """When to look again: another worker may have stored something, or died, at any time."""
        self._mend(now)
        look = now + LOOK_SECONDS
        if not self._usable:
            due = self._memory.next_due(now, may_try)
            return look if due is None else min(due, look)
        bots = [bot for bot in self._bots if may_try(bot)]
        soonest: float = self._answer(self._submit(lambda entries: entries.soonest(bots, now, look), lambda: look), look)
        return soonest

    def bots_waiting(self) -> list[str]:
        found = self._memory.bots_waiting()
        in_file = self._answer(self._submit(lambda entries: entries.waiting(self._bots), list), [])
        return found + [bot for bot in in_file if bot not in found]

    def done(self, letter: Letter) -> None:
        self._in_flight.pop(letter.push.key, None)
        if letter.generation:
            self._submit_owing(lambda entries: entries.done(letter))
        else:
            self._memory.done(letter)

    def again(self, letter: Letter, due: float, now: float) -> bool:
        self._in_flight.pop(letter.push.key, None)
        return self._put_back(letter, due, now)

    def _put_back(self, letter: Letter, due: float, now: float) -> bool:
        if not letter.generation:
            return self._memory.again(letter, due, now)
        return self._answer(self._submit_owing(lambda entries: entries.again(letter, due)), None) is not False

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        self._in_flight.pop(letter.push.key, None)
        if letter.generation:
            self._submit_owing(lambda entries: entries.give_up(letter, reason, now, offer_again=offer_again))
        else:
            self._memory.give_up(letter, reason, now, offer_again=offer_again)

    def give_up_waiting(self, expired: Callable[[Letter], bool], now: float) -> list[Letter]:
        """Those in memory that `expired` says are too old, and those on disk that are."""
        old = self._memory.give_up_waiting(expired, now)
        return old + self._answer(
            self._submit(lambda entries: entries.expire(self.too_old, now, self._wall()), list), []
        )

    def sizes(self) -> tuple[int, int]:
        """How many wait, and how many are in flight, on this machine and in this process's memory."""
        waiting, in_flight = self._memory.sizes()
        none = (0, 0)
        on_disk, leased = self._answer(self._submit(lambda entries: entries.sizes(time.monotonic()), lambda: none), none)
        return waiting + on_disk, in_flight + leased

    def at_risk(self) -> int:
        """How many letters are lost if the process ends now: those that could not be stored."""
        return self._memory.at_risk()

    def hand_back(self) -> None:
        """The sender's thread ends, and so does the writer, when it has written everything."""
        with self._lock:
            writer = self._writer
            if writer is not None:
                self._jobs.put(None)
        if writer is not None:
            writer.join(STORE_SECONDS)

    # The writer --------------------------------------------------------------------------------

    def _submit(self, work: Work, instead: Callable[[], Any], *, mending: bool = False) -> _Job:
        job = _Job(work, instead)
        with self._lock:
            if (self._usable or mending) and self._has_writer():
                self._jobs.put(job)
                return job
        job.future.set_result(instead())
        return job

    def _submit_owing(self, work: Work) -> _Job:
        """What the file must be told sooner or later."""
        return self._submit(work, partial(self._owed.append, work))

    def _has_writer(self) -> bool:
        if self._writer is None:
            writer = threading.Thread(target=self._write, name="reve-middleware-outbox", daemon=True)
            try:
                writer.start()
            except RuntimeError:  # the interpreter ends, or there are too many threads
                self._usable = False
                return False
            self._writer = writer
        return True

    def _write(self) -> None:
        """Carry out whatever has gathered, in one transaction; then again. `None` in the queue: end."""
        while True:
            batch: list[_Job | None] = []
            with contextlib.suppress(queue.Empty):
                batch.append(self._jobs.get(timeout=IDLE_SECONDS))
                while len(batch) < BATCH:
                    batch.append(self._jobs.get_nowait())
            jobs = [job for job in batch if job is not None and job.future.set_running_or_notify_cancel()]
            if jobs:
                self._carry_out(jobs)
            if self._jobs.empty():
                self._database.tidy()
            if len(jobs) < len(batch) or not batch:
                self._database.close()
                with self._lock:
                    if self._jobs.empty():
                        self._writer = None
                        return

    def _carry_out(self, jobs: list[_Job]) -> None:
        entries: Entries | None = None
        try:
            with self._database.entries() as entries:
                results = [job.work(entries) for job in jobs]
        except Exception as error:
            self._cannot(plainly(error))
            results = [job.instead() for job in jobs]
        else:
            self._account(entries)
        for job, result in zip(jobs, results, strict=True):
            job.future.set_result(result)

    def _account(self, entries: Entries) -> None:
        with self._lock:
            self._counts.update(entries.counts)
            self._dropped.update(entries.dropped)
        for key in entries.found:
            self._memory.found(key)
        for key, now in entries.lost:
            self._memory.lose(key, now)

    def _sum(self, own: Counter[str], of_memory: Counter[str]) -> Counter[str]:
        with self._lock:
            return Counter(dict(own)) + Counter(dict(of_memory))

    def _answer(self, job: _Job, unknown: Any) -> Any:
        try:
            return job.future.result(STORE_SECONDS)
        except TimeoutError:
            return self._overdue(job, unknown)

    async def _answer_async(self, job: _Job, unknown: Any) -> Any:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await asyncio.wrap_future(job.future)
        except TimeoutError:
            return self._overdue(job, unknown)

    def _overdue(self, job: _Job, unknown: Any) -> Any:
        """The writer is too slow. Where it has begun already, nobody knows what will come of it."""
        self._cannot("it does not answer")
        return job.instead() if job.future.cancel() else unknown

    # Without the file, and back ----------------------------------------------------------------

    def _cannot(self, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            first = self._usable and (self._complained is None or now - self._complained > COMPLAIN_SECONDS)
            self._usable = False
            if first:
                self._complained = now
        if first:
            log.error("the outbox cannot be used (%s): pushes are kept in memory meanwhile", why, extra=CODE)

    def _mend(self, now: float) -> None:
        """Try the file again, tell it what it is owed, and move into it what the memory holds."""
        done = self._usable and not self._owed and not self._memory.at_risk()
        if done or self._mending or now < self._mend_at:
            return
        self._mending, self._mend_at = True, now + LOOK_SECONDS
        owed: list[Work] = []
        moved: list[Letter] = []

        def work(entries: Entries) -> bool:
            entries.try_to_write()
            with self._lock:
                self._usable = True  # from now on offers line up behind this
            while self._owed:
                owed.append(self._owed.popleft())
                owed[-1](entries)
            while letter := self._memory.claim(now, _anything, hurry=True):
                moved.append(letter)
                entries.bring(letter, now, self._wall())
            return True

        def instead() -> bool:
            self._owed.extendleft(reversed(owed))
            for letter in moved:
                self._memory.again(letter, letter.due, now)
            return False

        def settle(mended: Future[bool]) -> None:
            if mended.result():
                for letter in moved:
                    self._memory.hand_on(letter)
                log.warning("the outbox is used again", extra=CODE)
            self._mending = False

        self._submit(work, instead, mending=True).future.add_done_callback(settle)


CODE = {"reve": "outbox"}


def _nothing() -> None:
    return None


def _anything(_: str) -> bool:
    return True
