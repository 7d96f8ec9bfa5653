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


class _Chat:
    """The places of one chat: one waits, one is in flight."""

    __slots__ = ("in_flight", "waiting")

    def __init__(self) -> None:
        self.waiting: Letter | None = None
        self.in_flight: Letter | None = None


class Mailbox:
    """Offer, claim, settle."""

    too_old = 600.0
    """Seconds after which a push is given up; while its bot is held, age does not count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chats: dict[Key, _Chat] = {}
        self._due: dict[str, list[tuple[float, int, Key]]] = {}  # a heap per bot: one that is down delays no other
        self._turn = 0
        self._bytes = 0
        self._by_visitor: dict[str, OrderedDict[Key, None]] = {}
        self._known = Recollection()
        self._started: Recent[float] = Recent(SPACING)
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    # What the application's side calls ---------------------------------------------------------

    def offer(self, push: Push, now: float, held_before: float = 0.0) -> Offered:
        """Take a push if it is news and there is room. Never raises, never waits for anything slow."""
        with self._lock:
            known = self._known.answer(push, now)
            if known is not None:
                return known
            if not self._make_room(push, now):
                self.counts["busy"] += 1
                return Offered("busy", push.at)
            self._put(push, now, held_before)
            self._known.took(push, now)
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
            self._known.let_go(key, instant, now)

    def is_lost(self, key: Key) -> bool:
        """Was the last push of this chat given up, so that its mark counts for nothing?"""
        return self._known.is_lost(key)

    def last_at(self, key: Key, now: float) -> int:
        """When this process last handed something over for the chat (microseconds); 0: not lately."""
        return self._known.last_at(key, now)

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
                    chat = self._chats[key]
                    letter, chat.in_flight, chat.waiting = chat.waiting, chat.waiting, None
                    assert letter is not None, "pruned heaps lead to chats with a waiting letter"  # noqa: S101
                    self._started.put(key, now, now)
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
            chat = self._chats[letter.push.key]
            if chat.waiting is not None:
                self.counts["superseded"] += 1
                self._release(letter)
                return "superseded"
            if self._known.is_signed_out(letter.push, now):
                self.dropped["signed_out"] += 1
                self._release(letter)
                return "signed_out"
            letter.due = due
            chat.in_flight, chat.waiting = None, letter
            self._push_due(letter)
            return ""

    def give_up(self, letter: Letter, reason: str, now: float, *, offer_again: bool) -> None:
        """Drop the letter. `offer_again`: the visitor's next response may bring it back."""
        with self._lock:
            self.dropped[reason] += 1
            chat = self._chats[letter.push.key]
            if offer_again and chat.waiting is None:
                self._known.lose(letter.push.key, now)
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
                self._known.lose(key, now)
                self.dropped["expired"] += 1
            return [letter for _, _, letter in old]

    def sizes(self) -> tuple[int, int]:
        """How many letters wait, and how many are in flight."""
        with self._lock:
            waiting = sum(chat.waiting is not None for chat in self._chats.values())
            return waiting, sum(chat.in_flight is not None for chat in self._chats.values())

    def at_risk(self) -> int:
        """How many letters are lost if the process ends now."""
        return self.sizes()[0]

    def hand_back(self) -> None:
        """The sender's thread ends; the memory holds nothing of it."""

    # Inside, with the lock held ----------------------------------------------------------------

    def _make_room(self, push: Push, now: float) -> bool:
        chat = self._chats.get(push.key)
        replaced = len(chat.waiting.push.body) if chat is not None and chat.waiting is not None else 0
        if self._bytes - replaced + len(push.body) > MOST_BYTES:
            return False
        if chat is None and len(self._chats) >= MOST_CHATS:
            return False
        own = self._by_visitor.get(push.visitor) if push.visitor else None
        if own is not None and push.key not in own and len(own) >= MOST_CHATS_OF_ONE_VISITOR:
            for key in own:
                oldest = self._chats[key]
                if oldest.waiting is not None and oldest.in_flight is None:
                    self.dropped["visitor"] += 1
                    self._take_out(key, oldest)
                    self._known.lose(key, now)
                    break
            else:
                return False
        return True

    def _put(self, push: Push, now: float, held_before: float) -> None:
        key = push.key
        chat = self._chats.get(key)
        if chat is None:
            chat = self._chats[key] = _Chat()
        replaced = chat.waiting
        started = self._started.get(key, now)
        due = now if push.urgent or started is None else started + SPACING
        letter = chat.waiting = Letter(push, now, due, held_before)
        self._bytes += len(push.body)
        if replaced is not None:
            self.counts["superseded"] += 1
            self._bytes -= len(replaced.push.body)
            self._disown(replaced.push)
        if push.visitor:
            own = self._by_visitor.setdefault(push.visitor, OrderedDict())
            own[key] = None
            own.move_to_end(key)
        if chat.in_flight is None:
            self._push_due(letter)

    def _push_due(self, letter: Letter) -> None:
        self._turn = letter.turn = self._turn + 1
        heap = self._due.setdefault(letter.push.chatbot_id, [])
        heapq.heappush(heap, (letter.due, self._turn, letter.push.key))
        if len(heap) > 64 and len(heap) > 4 * len(self._chats):  # superseded entries: keep them few
            heap[:] = [entry for entry in heap if self._is_live(entry)]
            heapq.heapify(heap)

    def _is_live(self, entry: tuple[float, int, Key]) -> bool:
        chat = self._chats.get(entry[2])
        return chat is not None and chat.waiting is not None and chat.waiting.turn == entry[1]

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
            self._push_due(chat.waiting)
        else:
            del self._chats[key]
        self._disown(letter.push)

    def _take_out(self, key: Key, chat: _Chat) -> None:
        """The waiting letter of a chat goes."""
        letter, chat.waiting = chat.waiting, None
        if letter is not None:
            self._bytes -= len(letter.push.body)
            if chat.in_flight is None:
                del self._chats[key]
            self._disown(letter.push)

    def _disown(self, push: Push) -> None:
        """The push has left its chat: that counts for its visitor no longer, unless another one of theirs is in it."""
        chat = self._chats.get(push.key)
        for letter in (chat.waiting, chat.in_flight) if chat is not None else ():
            if letter is not None and letter.push.visitor == push.visitor:
                return
        own = self._by_visitor.get(push.visitor)
        if own is not None:
            own.pop(push.key, None)
            if not own:
                del self._by_visitor[push.visitor]
