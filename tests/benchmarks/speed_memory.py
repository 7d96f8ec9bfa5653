"""What waits in memory: bytes for each waiting profile beyond its JSON, for 1, 10³ and 10⁵ of them.

The mailbox holds 10 000 chats at most; its limits are raised here. `tracemalloc` counts what Python has allocated
between a mailbox through which one push has gone and a full one, each profile for a chat and a visitor of its own:
the tables of a new mailbox are made once, and are not what a profile costs.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import speed_site as site
from speed_offering import Idle, push_of, word
from speed_rounds import Goal, Row, Spread

from reve_middleware import mailbox, recollection
from reve_middleware.settings import Settings

PART = "memory"
BEYOND_JSON = 1024
"""Bytes."""


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Limits that let so many wait."""
    with (
        patch.object(mailbox, "MOST_CHATS", count),
        patch.object(mailbox, "MOST_BYTES", count * 16 * 1024),
        patch.object(recollection, "MOST_ENTRIES", count),
    ):
        yield


def measure(count: int) -> tuple[float, float]:
    """Bytes of memory for each of so many waiting profiles, and of JSON."""
    with room_for(count):
        sender = Idle(Settings(site.KEYWORDS))
        push = push_of(word(count))
        length = len(push.body)
        sender.offer(push)
        claimed = sender.mailbox.claim(time.monotonic(), lambda bot: True)
        if claimed is None:
            raise SystemExit("a push does not wait")
        sender.mailbox.done(claimed)
        del push, claimed
        gc.collect()
        tracemalloc.start(1)
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(count):
                sender.offer(push_of(word(number)))
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        if sender.stats()["waiting"] != count:
            raise SystemExit("a push does not wait")
    return held / count, length


def run(*, quick: bool = False) -> list[Row]:
    rows = []
    for count in (1, 10, 100) if quick else (1, 1_000, 100_000):
        held, length = measure(count)
        case = f"memory for each of {count} waiting profiles, beyond {length:.0f} B of JSON"
        rows.append(Row(PART, case, "", Spread.of([held - length]), None, "B", Goal(BEYOND_JSON)))
    return rows
