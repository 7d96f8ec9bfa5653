"""What one stored offer costs with an outbox, when many come at once and when they come one by one.

A file of its own for each slice; the thread that delivers is not started. The time that a response waits, and in lines
of their own the CPU's.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable

import speed_site as site
from speed_offering import Idle, push_of, word
from speed_rounds import Goal, Row, Slice, absolute, interleave

from reve_middleware.push import Push
from reve_middleware.settings import Settings

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


def run(*, quick: bool = False) -> list[Row]:
    rows: list[Row] = []
    for case, at_once, calls in (("all at once", True, 1000), ("one by one", False, 100)):
        slices = {
            case: slice_of(time.perf_counter_ns, at_once=at_once),
            f"{case}, CPU": slice_of(time.process_time_ns, at_once=at_once),
        }
        taken = interleave(slices, *((2, 20) if quick else (11, calls)))
        rows += [
            Row(PART, f"one stored offer, {name}", "", absolute(taken, name), None, goal=GOALS.get(name))
            for name in slices
        ]
    return rows
