"""What a process remembers of what it handed over, for some minutes: bounded, with time passed in."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Any, Generic, TypeAlias, TypeVar

from .messages import Offered
from .push import Push

MOST_ENTRIES = 10_000
REMEMBER_HANDED_OVER = 600.0
"""Seconds for which a response that ran side by side with another is recognised."""
REMEMBER_SIGNED_OUT = 3600.0
"""Seconds for which a late response of a chat that was let go is recognised."""

Key: TypeAlias = tuple[str, str]
"""Bot and chat session."""

Entry = TypeVar("Entry", bound=tuple[Any, ...])
"""Begins with its time, in seconds."""


class Recent(Generic[Entry]):
    """A dictionary whose entries are forgotten after a while, oldest first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self.latest = self._entries.get
        """An entry, however old it is."""
        self._begins = -inf
        """When the oldest entry was put, at the last look: there is no need to look for each new one."""

    def put(self, key: Key, entry: Entry) -> None:
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
        entries[key] = entry
        if entry[0] - self._begins > self._seconds or len(entries) > MOST_ENTRIES:
            self._forget(entry[0])

    def _forget(self, now: float) -> None:
        entries = self._entries
        while True:
            oldest = next(iter(entries))
            self._begins = entries[oldest][0]
            if now - self._begins <= self._seconds and len(entries) <= MOST_ENTRIES:
                return
            del entries[oldest]

    def get(self, key: Key, now: float) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and now - entry[0] <= self._seconds else None

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries


def judge(transition: str, at: int, push: Push) -> Offered | None:
    """The answer to an offer, after this hand-over, the last of its chat; None: it is to be taken.

    An offer may start from a mark that is older than that hand-over: its response ran side by side with the
    other one, or comes late, or the browser never got the other one. Who and what it says is only news if its
    request began afterwards; otherwise it may be from before, and the visitor's next response will tell.
    """
    if not push.transition:
        return None
    if push.transition == transition:
        return Offered("current", at)
    before, now = transition.split("."), push.transition.split(".")
    if push.urgent or len(before) != 3 or len(now) != 3 or int(now[0]) >= at:
        return None
    if before[1:] == now[1:]:
        return Offered("current", at)
    if push.began <= at:
        return Offered("late", at)
    return None if before[1] == now[1] else Offered("another", at)


class Recollection:
    """Which hand-over was the last of each chat, which chats were let go, which pushes were given up."""

    def __init__(self) -> None:
        self._handed_over: Recent[tuple[float, str, int]] = Recent(REMEMBER_HANDED_OVER)
        self._signed_out: Recent[tuple[float, int]] = Recent(REMEMBER_SIGNED_OUT)
        self._lost: Recent[tuple[float]] = Recent(REMEMBER_SIGNED_OUT)

    def answer(self, push: Push, now: float) -> Offered | None:
        """The answer to an offer that is not to be taken: it comes late, or for the second time."""
        if self.is_signed_out(push, now):
            return Offered("signed_out", push.at)
        known = self._handed_over.get(push.key, now)
        return None if known is None else judge(known[1], known[2], push)

    def outdates(self, key: Key, at: int) -> bool:
        """Does a mark of this chat from that time (microseconds since the epoch) count for nothing: was its push given
        up, or has something been handed over since?"""
        known = self._handed_over.latest(key)
        return (known is not None and known[2] > at) or self._lost.latest(key) is not None

    def took(self, push: Push, now: float) -> None:
        self._lost.drop(push.key)
        self._handed_over.put(push.key, (now, push.transition, push.at))

    def let_go(self, key: Key, instant: int, now: float) -> None:
        """Nothing that was captured for this chat before `instant` (microseconds) is taken any more."""
        self._signed_out.put(key, (now, instant))
        self._handed_over.drop(key)
        self._lost.drop(key)

    def is_signed_out(self, push: Push, now: float) -> bool:
        """Was its chat let go after it was captured? A push without a transition says just that."""
        gone = self._signed_out.get(push.key, now)
        return gone is not None and push.transition != "" and push.captured <= gone[1]

    def lose(self, key: Key, now: float) -> None:
        """The last push of this chat was given up."""
        self._handed_over.drop(key)
        self._lost.put(key, (now,))

    def found(self, key: Key) -> None:
        self._lost.drop(key)
