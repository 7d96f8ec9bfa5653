"""What is offered to the outbox, however much at once: read once, judged in its order, written once.

A statement costs ten times what a decision does. Each answer, and what stands in the file afterwards, are as if
the offers had come one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .mailbox import MOST_BYTES, MOST_CHATS, MOST_CHATS_OF_ONE_VISITOR, SPACING
from .messages import Offered
from .push import Push
from .recollection import judge
from .tables import Chat, Tables, Values, chat_row, push_row


class Offer(NamedTuple):
    """A push to be stored if it is news and there is room."""

    push: Push
    now: float
    wall: float


class Intake:
    """What the offers need to know, kept up to date from one to the next, and what is to be written."""

    def __init__(self, tables: Tables, offers: Sequence[Offer]) -> None:
        self._tables = tables
        self._chats = tables.look_up([offer.push.key for offer in offers])
        self._chats_of = tables.chats_of({offer.push.visitor for offer in offers} - {""})
        self._stored_chats, self._stored_bytes = tables.totals()
        self._rows: dict[bytes, tuple[Values, Values]] = {}

    def answer(self, offer: Offer) -> Offered:
        push = offer.push
        chat = self._chats[push.key]
        if chat.forbids(push):
            return Offered("signed_out", push.at)
        known = None if chat.transition is None else judge(chat.transition, chat.at or push.at, push)
        if known is not None:
            return known
        if not self._has_room(push, chat) or not self._make_room_for_visitor(push, chat, offer.now):
            self._tables.counts["busy"] += 1
            return Offered("busy", push.at)
        self._take(offer, chat)
        return Offered("queued", push.at)

    def write(self) -> None:
        """Store what was taken."""
        rows, self._rows = self._rows, {}
        self._tables.store([push for push, _ in rows.values()], [chat for _, chat in rows.values()])

    def _has_room(self, push: Push, chat: Chat) -> bool:
        chats = self._stored_chats + self._tables.more_chats + (chat.generation is None)
        size = self._stored_bytes + self._tables.more_bytes - chat.size + len(push.body)
        return chats <= MOST_CHATS and size <= MOST_BYTES

    def _make_room_for_visitor(self, push: Push, chat: Chat, now: float) -> bool:
        """The oldest of their other chats gives way, if there are too many."""
        visitor = push.visitor
        others = self._chats_of.get(visitor, 0) - (chat.visitor == visitor)
        if not visitor or others < MOST_CHATS_OF_ONE_VISITOR:
            return True
        self.write()  # it may be among those that were just taken
        oldest = self._tables.oldest_of(visitor, chat.name, now)
        if oldest is None:
            return False
        generation, key, size = oldest
        self._tables.drop(generation, key, size, "visitor", now)
        self._chats_of[visitor] -= 1
        if key in self._chats:
            other = self._chats[key]
            other.transition, other.generation, other.size, other.visitor = None, None, 0, ""
        return True

    def _take(self, offer: Offer, chat: Chat) -> None:
        push, now, wall = offer
        self._tables.counts["offered"] += 1
        self._tables.found.append(push.key)
        self._tables.make_way(chat, push, now)
        due = now if push.urgent else min(max(now, chat.started + SPACING), now + SPACING)
        self._rows.pop(chat.name, None)  # the later ones are the younger ones
        self._rows[chat.name] = push_row(chat.name, push, wall, due), chat_row(chat.name, push, now)
        for visitor, more in ((chat.visitor, -1), (push.visitor, 1)):
            self._chats_of[visitor] = self._chats_of.get(visitor, 0) + more
        chat.transition, chat.at, chat.visitor = push.transition, push.at, push.visitor
        chat.generation, chat.size = 0, len(push.body)
