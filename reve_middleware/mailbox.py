"""The newest push of each chat session, bounded, in memory.

At most one push waits and at most one is in flight per chat; what is newer replaces what waits. Time
is passed in (seconds of one monotonic clock). One lock guards it all: offers come from any thread,
claims and verdicts from the sender's.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from .messages import Offered
from .push import Push

MOST_CHATS = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""Of bodies that wait or are in flight."""
MOST_CHATS_OF_ONE_VISITOR = 5
SPACING = 5.0
"""Seconds between two pushes to one chat."""
REMEMBER_HANDED_OVER = 600.0
"""Seconds for which a response that ran side by side with another is recognised."""
REMEMBER_SIGNED_OUT = 3600.0
"""Seconds for which a late response of a chat that was let go is recognised."""

Key: TypeAlias = tuple[str, str]


@dataclass(slots=True, eq=False, repr=False)
class Letter:
    """A push in the mailbox, and its history."""

    push: Push
    offered: float
    due: float
    held_before: float = 0.0
    """Seconds for which the bot had been held when this was offered."""
    attempts: int = 0


class _Chat:
    """The places of one chat: one waits, one is in flight."""

    __slots__ = ("in_flight", "waiting")

    def __init__(self) -> None:
        self.waiting: Letter | None = None
        self.in_flight: Letter | None = None


T = TypeVar("T")


class _Recent(Generic[T]):
    """A dictionary whose entries are forgotten after a while, oldest first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: OrderedDict[Key, tuple[float, T]] = OrderedDict()

    def put(self, key: Key, value: T, now: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (now, value)
        while self._entries:
            oldest, (when, _) = next(iter(self._entries.items()))
            if now - when <= self._seconds and len(self._entries) <= MOST_CHATS:
                return
            del self._entries[oldest]

    def get(self, key: Key, now: float) -> T | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now - entry[0] <= self._seconds else None

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries


class Mailbox:
    """Offer, claim, settle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chats: dict[Key, _Chat] = {}
        self._due: dict[str, list[tuple[float, int, Key]]] = {}  # a heap per bot: one that is down delays no other
        self._turn = 0
        self._bytes = 0
        self._by_visitor: dict[str, OrderedDict[Key, None]] = {}
        self._handed_over: _Recent[tuple[str, int]] = _Recent(REMEMBER_HANDED_OVER)  # transition, at
        self._signed_out: _Recent[int] = _Recent(REMEMBER_SIGNED_OUT)  # the instant
        self._started: _Recent[float] = _Recent(SPACING)
        self._lost: _Recent[None] = _Recent(REMEMBER_SIGNED_OUT)
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Take a push if it is news and there is room. Never raises, never waits for anything slow."""
        with self._lock:
            key = push.key
            gone = self._signed_out.get(key, now)
            if gone is not None and push.transition and push.captured <= gone:
                return Offered("signed_out", push.at)
            known = self._handed_over.get(key, now)
            if known is not None and push.transition and known[0] == push.transition:
                return Offered("current", known[1])
            if not self._make_room(push, now):
                self.counts["busy"] += 1
                return Offered("busy", push.at)
            self._put(push, now, held_before)
            self._lost.drop(key)
            self._handed_over.put(key, (push.transition, push.at), now)
            self.counts["offered"] += 1
            return Offered("queued", push.at)

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Take out what waits for a chat, and take nothing more that was captured before `instant`
        (microseconds since the epoch)."""
        with self._lock:
            chat = self._chats.get(key)
            if chat is not None and chat.waiting is not None:
                self._take_out(key, chat)
                self.dropped["signed_out"] += 1
            self._signed_out.put(key, instant, now)
            self._handed_over.drop(key)
            self._lost.drop(key)

    def is_lost(self, key: Key) -> bool:
        """Was the last push of this chat given up, so that its mark counts for nothing?"""
        return key in self._lost

    # What the sender calls ---------------------------------------------------------------------

    def claim(self, now: float, may_try: Callable[[str], bool], *, hurry: bool = False) -> Letter | None:
        """The next letter that is due for a bot that may be tried; it is in flight from now on.
        `hurry`: those that are not due yet as well."""
        with self._lock:
            for bot, heap in self._due.items():
                self._prune(heap)
                if heap and (hurry or heap[0][0] <= now) and may_try(bot):
                    key = heapq.heappop(heap)[2]
                    chat = self._chats[key]
                    letter, chat.in_flight, chat.waiting = chat.waiting, chat.waiting, None
                    assert letter is not None, "pruned heaps lead to chats with a waiting letter"  # noqa: S101
                    self._started.put(key, now, now)
                    return letter
        return None

    def next_due(self, may_try: Callable[[str], bool]) -> float | None:
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

    def again(self, letter: Letter, due: float, now: float) -> bool:
        """Try the letter again at `due`, unless a newer one waits; was it kept?"""
        with self._lock:
            key = letter.push.key
            chat = self._chats[key]
            if chat.waiting is not None:
                self.counts["superseded"] += 1
                self._release(letter)
                return False
            gone = self._signed_out.get(key, now)
            if gone is not None and letter.push.captured <= gone and letter.push.transition:
                self.dropped["signed_out"] += 1
                self._release(letter)
                return False
            letter.due = due
            chat.in_flight, chat.waiting = None, letter
            self._push_due(letter)
            return True

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        """Drop the letter. `offer_again`: the visitor's next response may bring it back."""
        with self._lock:
            self.dropped[reason] += 1
            chat = self._chats[letter.push.key]
            if offer_again and chat.waiting is None:
                self._lose(letter.push.key, now)
            self._release(letter)

    def give_up_waiting(self, expired: Callable[[Letter], bool], now: float) -> list[Letter]:
        """Drop every waiting letter that `expired` says is too old; they may be offered again."""
        with self._lock:
            old = [
                (key, chat, chat.waiting)
                for key, chat in self._chats.items()
                if chat.waiting is not None and expired(chat.waiting)
            ]
            for key, chat, _ in old:
                self._take_out(key, chat)
                self._lose(key, now)
                self.dropped["expired"] += 1
            return [letter for _, _, letter in old]

    def sizes(self) -> tuple[int, int]:
        """How many letters wait, and how many are in flight."""
        with self._lock:
            waiting = sum(chat.waiting is not None for chat in self._chats.values())
            return waiting, sum(chat.in_flight is not None for chat in self._chats.values())

    # Inside, with the lock held ----------------------------------------------------------------

    def _make_room(self, push: Push, now: float) -> bool:
        chat = self._chats.get(push.key)
        replaced = len(chat.waiting.push.body) if chat is not None and chat.waiting is not None else 0
        if self._bytes - replaced + len(push.body) > MOST_BYTES:
            return False
        if chat is not None:
            return True
        if len(self._chats) >= MOST_CHATS:
            return False
        own = self._by_visitor.get(push.visitor) if push.visitor else None
        if own is not None and len(own) >= MOST_CHATS_OF_ONE_VISITOR:
            for key in own:
                oldest = self._chats[key]
                if oldest.waiting is not None:
                    self.dropped["visitor"] += 1
                    self._take_out(key, oldest)
                    self._lose(key, now)
                    break
            else:
                return False
        return True

    def _put(self, push: Push, now: float, held_before: float) -> None:
        key = push.key
        chat = self._chats.get(key)
        if chat is None:
            chat = self._chats[key] = _Chat()
        elif chat.waiting is not None:
            self.counts["superseded"] += 1
            self._bytes -= len(chat.waiting.push.body)
            self._disown(chat.waiting.push)
        started = self._started.get(key, now)
        due = now if push.urgent or started is None else started + SPACING
        letter = chat.waiting = Letter(push, now, due, held_before)
        self._bytes += len(push.body)
        if push.visitor:
            self._by_visitor.setdefault(push.visitor, OrderedDict())[key] = None
        self._push_due(letter)

    def _push_due(self, letter: Letter) -> None:
        self._turn += 1
        heap = self._due.setdefault(letter.push.chatbot_id, [])
        heapq.heappush(heap, (letter.due, self._turn, letter.push.key))
        if len(heap) > 64 and len(heap) > 4 * len(self._chats):  # superseded entries: keep them few
            heap[:] = [entry for entry in heap if self._is_live(entry)]
            heapq.heapify(heap)

    def _is_live(self, entry: tuple[float, int, Key]) -> bool:
        chat = self._chats.get(entry[2])
        return chat is not None and chat.waiting is not None and chat.in_flight is None and chat.waiting.due == entry[0]

    def _prune(self, heap: list[tuple[float, int, Key]]) -> None:
        while heap and not self._is_live(heap[0]):
            heapq.heappop(heap)

    def _release(self, letter: Letter) -> None:
        """The letter in flight is gone; what waited behind it may go."""
        key = letter.push.key
        chat = self._chats[key]
        chat.in_flight = None
        self._bytes -= len(letter.push.body)
        if chat.waiting is not None:
            if chat.waiting.push.visitor != letter.push.visitor:
                self._disown(letter.push)
            self._push_due(chat.waiting)
        else:
            self._disown(letter.push)
            del self._chats[key]

    def _take_out(self, key: Key, chat: _Chat) -> None:
        """The waiting letter of a chat goes."""
        letter, chat.waiting = chat.waiting, None
        if letter is not None:
            self._bytes -= len(letter.push.body)
            if chat.in_flight is None:
                self._disown(letter.push)
                del self._chats[key]

    def _disown(self, push: Push) -> None:
        own = self._by_visitor.get(push.visitor)
        if own is not None:
            own.pop(push.key, None)
            if not own:
                del self._by_visitor[push.visitor]

    def _lose(self, key: Key, now: float) -> None:
        self._handed_over.drop(key)
        self._lost.put(key, None, now)
