"""The newest push of each chat session, bounded, in memory.

At most one push waits and at most one is in flight per chat; what is newer replaces what waits. Time
is passed in (seconds of one monotonic clock). One lock guards it all: offers come from any thread,
claims and verdicts from the sender's.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .messages import Offered
from .push import Push
from .recollection import Key, Recent, Recollection

MOST_CHATS = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""Of bodies that wait or are in flight."""
MOST_CHATS_OF_ONE_VISITOR = 5
SPACING = 5.0
"""Seconds between two pushes to one chat."""


@dataclass(slots=True, eq=False, repr=False)
class Letter:
    """A push in the mailbox, and its history."""

    push: Push
    offered: float
    due: float
    held_before: float = 0.0
    """Seconds for which the bot had been held when this was offered."""
    attempts: int = 0
    generation: int = 0
    """In an outbox: which storing it is. 0: in memory."""
    turn: int = 0
    """In memory: which of the heap's entries is its own. In an outbox: whose lease it is under."""


class Mailbox:
    """Offer, claim, settle."""

    too_old = 600.0
    """Seconds after which a push is given up; while its bot is held, age does not count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Key, Letter] = {}
        self._in_flight: dict[Key, Letter] = {}
        self._due: dict[str, list[tuple[float, int, Key]]] = {}  # a heap per bot: one that is down delays no other
        self._turn = 0
        self._bytes = 0
        self._by_visitor: dict[str, tuple[Key, ...]] = {}  # few; most have one chat
        self._known = Recollection()
        self.outdates = self._known.outdates
        self._started: Recent[tuple[float]] = Recent(SPACING)
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Take a push if it is news and there is room. Never raises, never waits for anything slow."""
        key, visitor = push.key, push.visitor
        with self._lock:
            known = self._known.answer(push, now)
            if known is not None:
                return known
            replaced = self._waiting.get(key)
            growth = len(push.body) if replaced is None else len(push.body) - len(replaced.push.body)
            own = self._by_visitor.get(visitor)
            if (
                self._bytes + growth > MOST_BYTES
                or (len(self._waiting) + len(self._in_flight) >= MOST_CHATS and not self._fits(key))
                or (own is not None and not self._has_a_place(key, own, now))
            ):
                self.counts["busy"] += 1
                return Offered("busy", push.at)
            started = None if push.urgent else self._started.get(key, now)
            letter = Letter(push, now, now if started is None else started[0] + SPACING, held_before)
            self._waiting[key] = letter
            self._bytes += growth
            if replaced is not None:
                self.counts["superseded"] += 1
                self._disown(replaced.push)
            if visitor:
                self._by_visitor[visitor] = (key,) if own is None else self._with_newest(visitor, key)
            if key not in self._in_flight:
                self._push_due(letter)
            self._known.took(push, now)
            self.counts["offered"] += 1
            return tuple.__new__(Offered, ("queued", push.at))  # Offered(…) takes three times as long

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what waits for a chat, and take nothing more that was captured before `instant`
        (microseconds since the epoch)."""
        with self._lock:
            if key in self._waiting:
                self._take_out(key)
                self.dropped["signed_out"] += 1
            self._known.let_go(key, instant, now)

    def lose(self, key: Key, now: float) -> None:
        """The last push of this chat was given up elsewhere."""
        with self._lock:
            self._known.lose(key, now)

    def found(self, key: Key) -> None:
        """This chat has a push elsewhere."""
        with self._lock:
            self._known.found(key)

    # What the sender calls ---------------------------------------------------------------------

    def claim(self, now: float, may_try: Callable[[str], bool], *, hurry: bool = False) -> Letter | None:
        """The next letter that is due for a bot that may be tried; it is in flight from now on.
        `hurry`: those that are not due yet as well."""
        with self._lock:
            for bot, heap in self._due.items():
                self._prune(heap)
                if heap and (hurry or heap[0][0] <= now) and may_try(bot):
                    key = heapq.heappop(heap)[2]
                    letter = self._in_flight[key] = self._waiting.pop(key)  # pruned heaps lead to waiting letters
                    self._started.put(key, (now,))
                    self._due[bot] = self._due.pop(bot)  # the bots take turns
                    return letter
        return None

    def next_due(self, now: float, may_try: Callable[[str], bool]) -> float | None:
        """When the next letter of a bot that may be tried is due; None where none waits."""
        with self._lock:
            for heap in self._due.values():
                self._prune(heap)
            return min((heap[0][0] for bot, heap in self._due.items() if heap and may_try(bot)), default=None)

    def bots_waiting(self) -> list[str]:
        """The bots for which letters wait."""
        with self._lock:
            return [bot for bot, heap in self._due.items() if heap]

    def done(self, letter: Letter) -> None:
        """The letter is delivered."""
        with self._lock:
            self.counts["delivered"] += 1
            self._release(letter)

    def hand_on(self, letter: Letter) -> None:
        """The letter, which was claimed, is in other hands from now on."""
        with self._lock:
            self._release(letter)

    def again(self, letter: Letter, due: float, now: float) -> str:
        """Try the letter again at `due`; otherwise why not: a newer one waits ("superseded"), or "signed_out"."""
        with self._lock:
            key = letter.push.key
            if key in self._waiting:
                self.counts["superseded"] += 1
                self._release(letter)
                return "superseded"
            if self._known.is_signed_out(letter.push, now):
                self.dropped["signed_out"] += 1
                self._release(letter)
                return "signed_out"
            letter.due = due
            self._waiting[key] = self._in_flight.pop(key)
            self._push_due(letter)
            return ""

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        """Drop the letter. `offer_again`: the visitor's next response may bring it back."""
        with self._lock:
            self.dropped[reason] += 1
            if offer_again and letter.push.key not in self._waiting:
                self._known.lose(letter.push.key, now)
            self._release(letter)

    def give_up_waiting(self, expired: Callable[[Letter], bool], now: float) -> list[Letter]:
        """Drop every waiting letter that `expired` says is too old; they may be offered again."""
        with self._lock:
            old = {key: letter for key, letter in self._waiting.items() if expired(letter)}
            for key in old:
                self._take_out(key)
                self._known.lose(key, now)
                self.dropped["expired"] += 1
            return list(old.values())

    def sizes(self) -> tuple[int, int]:
        """How many letters wait, and how many are in flight."""
        with self._lock:
            return len(self._waiting), len(self._in_flight)

    def at_risk(self) -> int:
        """How many letters are lost if the process ends now."""
        return self.sizes()[0]

    def hand_back(self) -> None:
        """The sender's thread ends; the memory holds nothing of it."""

    # Inside, with the lock held ----------------------------------------------------------------

    def _fits(self, key: Key) -> bool:
        """Is the chat there already, or is there room for another? One that waits and is in flight counts once."""
        waiting, in_flight = self._waiting, self._in_flight
        if key in waiting or key in in_flight:
            return True
        return len(waiting) + sum(other not in waiting for other in in_flight) < MOST_CHATS

    def _has_a_place(self, key: Key, own: tuple[Key, ...], now: float) -> bool:
        """Among the chats of its visitor, of which the oldest gives way if there are too many."""
        if len(own) < MOST_CHATS_OF_ONE_VISITOR or key in own:
            return True
        for other in own:
            if other not in self._in_flight:
                self.dropped["visitor"] += 1
                self._take_out(other)
                self._known.lose(other, now)
                return True
        return False

    def _with_newest(self, visitor: str, key: Key) -> tuple[Key, ...]:
        return (*(other for other in self._by_visitor.get(visitor, ()) if other != key), key)

    def _push_due(self, letter: Letter) -> None:
        self._turn = letter.turn = self._turn + 1
        heap = self._due.get(letter.push.chatbot_id)
        if heap is None:
            heap = self._due[letter.push.chatbot_id] = []
        heapq.heappush(heap, (letter.due, self._turn, letter.push.key))
        if len(heap) > 64 and len(heap) > 4 * len(self._waiting):  # superseded entries: keep them few
            heap[:] = [entry for entry in heap if self._is_live(entry)]
            heapq.heapify(heap)

    def _is_live(self, entry: tuple[float, int, Key]) -> bool:
        letter = self._waiting.get(entry[2])
        return letter is not None and letter.turn == entry[1]

    def _prune(self, heap: list[tuple[float, int, Key]]) -> None:
        while heap and not self._is_live(heap[0]):
            heapq.heappop(heap)

    def _release(self, letter: Letter) -> None:
        """The letter in flight is gone; what waited behind it may go."""
        key = letter.push.key
        del self._in_flight[key]
        self._bytes -= len(letter.push.body)
        waiting = self._waiting.get(key)
        if waiting is not None:
            self._push_due(waiting)
        self._disown(letter.push)

    def _take_out(self, key: Key) -> None:
        """The waiting letter of a chat goes."""
        letter = self._waiting.pop(key)
        self._bytes -= len(letter.push.body)
        self._disown(letter.push)

    def _disown(self, push: Push) -> None:
        """The push has left its chat: that counts for its visitor no longer, unless another one of theirs is in it."""
        for letter in (self._waiting.get(push.key), self._in_flight.get(push.key)):
            if letter is not None and letter.push.visitor == push.visitor:
                return
        own = tuple(key for key in self._by_visitor.get(push.visitor, ()) if key != push.key)
        if own:
            self._by_visitor[push.visitor] = own
        else:
            self._by_visitor.pop(push.visitor, None)
