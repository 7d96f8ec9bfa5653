"""The mailbox on disk: durable, and shared by every worker of the machine.

The same protocol as `mailbox.Mailbox`. A claim is a lease longer than an attempt's deadline, so a worker that
dies loses nothing; a verdict compares generations, which never repeat, so it cannot take away what is newer.

Where the file cannot be used (locked, full, read-only, broken), a mailbox in memory takes over, and what it holds
goes into the file when that can be used again. Meanwhile the promises are those of a mailbox in memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock

from .database import Database
from .intake import Offer
from .ledger import Entries, Work
from .mailbox import Letter, Mailbox
from .messages import Offered
from .push import Push
from .recollection import REMEMBER_HANDED_OVER, Key, Recent
from .writer import Job, Writer

LOOK_SECONDS = 1.0
"""How often a worker looks what others have stored, or left behind, and whether the file can be used again."""
STALE_SECONDS = 1.0
"""A sender that has claimed for so long is to begin with what it has: leases are running."""


class Outbox:
    """Offer, claim, settle; on disk where that works, in memory where it does not."""

    too_old = 7200.0

    def __init__(
        self,
        path: str,
        bots: Iterable[str],
        lease: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`bots`: whose pushes to claim; the file may hold others' too. `lease`: seconds; longer than an attempt
        and what comes before and after it. Opens nothing."""
        self._writer = Writer(Database(path), self._account)
        self._memory = Mailbox()
        self._bots = list(bots)
        self._lease = lease
        self._clock = clock
        self._wall = wall
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._in_flight: dict[Key, float] = {}
        """The chats whose letters this process has claimed, from the file or from the memory, and until when."""
        self._mending = False
        self._mend_at = 0.0
        self._handed_over: Recent[tuple[float, int]] = Recent(REMEMBER_HANDED_OVER)

    @property
    def counts(self) -> Counter[str]:
        with self._lock:
            return Counter(dict(self._counts)) + Counter(dict(self._memory.counts))

    @property
    def dropped(self) -> Counter[str]:
        with self._lock:
            return Counter(dict(self._dropped)) + Counter(dict(self._memory.dropped))

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Store a push if it is news and there is room; waits for the disk."""
        job = self._offer(push, now, held_before)
        return self._remember(push, self._writer.answer(job, Offered("busy", push.at)), now)

    async def offer_async(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """The same for an event loop, which goes on meanwhile."""
        job = self._offer(push, now, held_before)
        return self._remember(push, await self._writer.answer_async(job, Offered("busy", push.at)), now)

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what waits for a chat, and take nothing more that was captured before `instant`."""
        self._writer.answer(self._let_go(key, instant, now), None)

    async def let_go_async(self, key: Key, instant: int, now: float) -> None:
        """The same for an event loop, which goes on meanwhile."""
        await self._writer.answer_async(self._let_go(key, instant, now), None)

    def outdates(self, key: Key, at: int) -> bool:
        """Does a mark of this chat from that time (microseconds) count for nothing: was its push given up by this
        process, or has it handed something over since?"""
        known = self._handed_over.latest(key)
        return (known is not None and known[1] > at) or self._memory.outdates(key, at)

    def _remember(self, push: Push, offered: Offered, now: float) -> Offered:
        if push.transition and offered.status in ("queued", "current"):
            with self._lock:
                self._handed_over.put(push.key, (now, offered.at))
        return offered

    def _offer(self, push: Push, now: float, held_before: float) -> Job:
        def into_memory() -> Offered:
            offered = self._memory.offer(push, now, held_before)
            if offered.status == "queued":
                taken = replace(push, body=b"")
                self._writer.owed.append(lambda entries: entries.note(taken, now))
            return offered

        return self._writer.submit(Offer(push, now, self._wall()), into_memory)

    def _let_go(self, key: Key, instant: int, now: float) -> Job:
        self._memory.let_go(key, instant, now)
        with self._lock:
            self._handed_over.drop(key)
        return self._writer.tell(lambda entries: entries.let_go(key, instant, now))

    # What the sender calls ---------------------------------------------------------------------

    def claim(self, now: float, may_try: Callable[[str], bool], *, hurry: bool = False) -> Letter | None:
        """Lease the next letter that is due, on this machine; `hurry` concerns the memory alone, since
        what waits on disk is not lost."""
        self._mend(now)
        if self._writer.usable:
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
        if self._clock() - now > STALE_SECONDS:
            return None
        bots = [bot for bot in self._bots if may_try(bot)]
        job = self._writer.submit(
            lambda entries: entries.claim(bots, now, self._clock() + self._lease, self._wall()), _nothing
        )
        letter: Letter | None = self._writer.answer(job, None)
        if letter is not None:  # the bots take turns
            self._bots.remove(letter.push.chatbot_id)
            self._bots.append(letter.push.chatbot_id)
        return letter

    def next_due(self, now: float, may_try: Callable[[str], bool]) -> float | None:
        """When to look again: another worker may have stored something, or died, at any time."""
        self._mend(now)
        look = now + LOOK_SECONDS
        if not self._writer.usable:
            due = self._memory.next_due(now, may_try)
            return look if due is None else min(due, look)
        bots = [bot for bot in self._bots if may_try(bot)]
        job = self._writer.submit(lambda entries: entries.soonest(bots, now, look), lambda: look)
        soonest: float = self._writer.answer(job, look)
        return soonest

    def bots_waiting(self) -> list[str]:
        """The bots for which letters wait, on this machine."""
        found = self._memory.bots_waiting()
        on_disk = self._writer.answer(self._writer.submit(lambda entries: entries.waiting(self._bots), list), [])
        return found + [bot for bot in on_disk if bot not in found]

    def done(self, letter: Letter) -> None:
        """The letter is delivered."""
        self._in_flight.pop(letter.push.key, None)
        if letter.generation:
            self._writer.tell(lambda entries: entries.done(letter))
        else:
            self._memory.done(letter)

    def again(self, letter: Letter, due: float, now: float) -> str:
        """Try the letter again at `due`; otherwise why not: a newer one waits ("superseded"), or "signed_out"."""
        self._in_flight.pop(letter.push.key, None)
        return self._put_back(letter, due, now)

    def _put_back(self, letter: Letter, due: float, now: float) -> str:
        if not letter.generation:
            return self._memory.again(letter, due, now)
        why_not: str | None = self._writer.answer(self._writer.tell(lambda entries: entries.again(letter, due)), None)
        return why_not or ""

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        """Drop the letter. `offer_again`: the visitor's next response may bring it back."""
        self._in_flight.pop(letter.push.key, None)
        if letter.generation:
            self._writer.tell(lambda entries: entries.give_up(letter, reason, now, offer_again=offer_again))
        else:
            self._memory.give_up(letter, reason, now, offer_again=offer_again)

    def give_up_waiting(self, expired: Callable[[Letter], bool], now: float) -> list[Letter]:
        """Drop every waiting letter in memory that `expired` says is too old, and those on disk that are."""
        old = self._memory.give_up_waiting(expired, now)
        job = self._writer.submit(lambda entries: entries.expire(self.too_old, now, self._wall()), list)
        return old + list(self._writer.answer(job, []))

    def sizes(self) -> tuple[int, int]:
        """How many letters wait, and how many are in flight, on this machine and in this process's memory."""
        waiting, in_flight = self._memory.sizes()
        none = (0, 0)
        job = self._writer.submit(lambda entries: entries.sizes(self._clock()), lambda: none)
        on_disk, leased = self._writer.answer(job, none)
        return waiting + on_disk, in_flight + leased

    def at_risk(self) -> int:
        """How many letters are lost if the process ends now: those that could not be stored."""
        return self._memory.at_risk()

    def hand_back(self) -> None:
        """The sender's thread ends, and so does the writer, when it has written everything."""
        self._writer.end()

    # Inside ------------------------------------------------------------------------------------

    def _mend(self, now: float) -> None:
        """Try the file again, tell it what it is owed, and move into it what the memory holds."""
        writer, memory = self._writer, self._memory
        well = writer.usable and not writer.owed and not memory.at_risk()
        if well or self._mending or now < self._mend_at:
            return
        self._mending, self._mend_at = True, now + LOOK_SECONDS
        told: list[Work] = []
        moved: list[Letter] = []

        def work(entries: Entries) -> None:
            entries.begin()
            entries.afterwards.append(mended)
            writer.resume()
            while writer.owed:
                told.append(writer.owed.popleft())
                told[-1](entries)
            while (letter := memory.claim(now, _anything, hurry=True)) is not None:
                moved.append(letter)
                entries.bring(letter, now, self._wall())

        def mended() -> None:
            self._mending = False
            for letter in moved:
                memory.hand_on(letter)
            writer.can_again()

        def instead() -> None:
            self._mending = False
            writer.owed.extendleft(reversed(told))
            for letter in moved:
                memory.again(letter, letter.due, now)

        writer.submit(work, instead, mends=True)

    def _account(self, entries: Entries) -> None:
        """A transaction is committed."""
        with self._lock:
            self._counts.update(entries.counts)
            self._dropped.update(entries.dropped)
        for key in entries.found:
            self._memory.found(key)
        for key, now in entries.lost:
            self._memory.lose(key, now)
        for then in entries.afterwards:
            then()


def _nothing() -> None:
    return None


def _anything(_: str) -> bool:
    return True
