"""What one stored offer costs with an outbox, when many come at once and when they come one by one.

A file of its own for each slice; the thread that delivers is not started. The time that a response waits, and in lines
of their own the CPU's. Beside them, in the same rounds, what lies below it: the same rows put into the same tables of
such a file by `executemany`, and nothing looked up, decided or answered.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable

import speed_site as site
from speed_offering import Idle, push_of, word
from speed_rounds import Goal, Row, Slice, absolute, interleave

from reve_middleware.database import Database
from reve_middleware.push import Push
from reve_middleware.settings import Settings
from reve_middleware.tables import chat_row, name_of, push_row
from reve_middleware.writer import BATCH

PART = "outbox"
GOALS = {"all at once": Goal(10)}


def slice_of(clock: Callable[[], int], *, at_once: bool) -> Slice:
    async def offer(sender: Idle, pushes: list[Push]) -> None:
        for offered in await asyncio.gather(*map(sender.offer_async, pushes)):
            if offered.status != "queued":
                raise SystemExit(f"an offer was answered {offered.status!r}")

    def run(calls: int) -> float:
        pushes = [push_of(word(number)) for number in range(calls + 1)]
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
            sender = Idle(Settings({**site.KEYWORDS, "outbox": f"{folder}/outbox.sqlite3"}))
            runner.run(offer(sender, [pushes.pop()]))  # the file is there
            began = clock()
            if at_once:
                runner.run(offer(sender, pushes))
            else:
                for push in pushes:
                    runner.run(offer(sender, [push]))
            taken = clock() - began
            sender.mailbox.hand_back()
        return taken

    return run


def bare(calls: int) -> float:
    """The rows alone; the CPU's time."""
    pushes = [push_of(word(number)) for number in range(calls)]
    names = [name_of(push.key) for push in pushes]
    rows = [push_row(name, push, 1.8e9, 1e5) for name, push in zip(names, pushes, strict=True)]
    chats = [chat_row(name, push, 1e5) for name, push in zip(names, pushes, strict=True)]
    with tempfile.TemporaryDirectory() as folder, Database(f"{folder}/outbox.sqlite3").entries() as entries:
        began = time.process_time_ns()
        for first in range(0, calls, BATCH):
            entries.begin()
            entries.store(rows[first : first + BATCH], chats[first : first + BATCH])
            entries.commit()
        return time.process_time_ns() - began


def run(*, quick: bool = False) -> list[Row]:
    rows: list[Row] = []
    for case, at_once, calls in (("all at once", True, 1000), ("one by one", False, 100)):
        slices = {
            case: slice_of(time.perf_counter_ns, at_once=at_once),
            f"{case}, CPU": slice_of(time.process_time_ns, at_once=at_once),
        }
        if at_once:
            slices["all at once, bare rows, CPU"] = bare
        taken = interleave(slices, *((2, 20) if quick else (11, calls)))
        rows += [
            Row(PART, f"one stored offer, {name}", "", absolute(taken, name), None, goal=GOALS.get(name))
            for name in slices
        ]
    return rows
