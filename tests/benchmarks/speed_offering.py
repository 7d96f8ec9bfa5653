"""What it costs to say one thing: our offer, against the clients of two trackers that send in the background.

Ours checks and encodes the profile, makes the push and puts it into the mailbox. Twice:

    nobody sends    no thread is started, ours nor theirs; the CPU's time
    threads run     each client is as it comes, in front of a port of this machine where nobody listens, so nothing is
                    delivered; the time that the caller waits, since threads of one interpreter hold each other up

Nothing leaves this machine.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import speed_site as site
from speed_peers import has
from speed_rounds import Goal, Row, Slice, absolute, interleave

from reve_middleware.push import Push, encode_body, encode_profile
from reve_middleware.sender import Sender
from reve_middleware.settings import Settings

PART = "offering"
NOBODY = "http://127.0.0.1:9"
"""The discard port of this machine."""
PATIENCE = 30.0
MOST = 1_000_000
SEGMENT, POSTHOG = "segment's track", "posthog's capture"
GOALS = {SEGMENT: Goal(1 / 12), POSTHOG: Goal(1 / 25)}


class Word(NamedTuple):
    """One thing to say, as it is known before a push is made of it: the hashes belong to the mark."""

    profile: dict[str, Any]
    session_id: str
    visitor: str
    transition: str
    at: int


def word(number: int) -> Word:
    """For a chat and a visitor of its own, with hashes as long as they are."""
    visitor, at = f"visitor-{number:08}", 1_800_000_000_000_000 + number
    return Word(site.profile_of(number), f"chat-{number}", visitor, f"0.{visitor}.profile-{number:08}", at)


def push_of(said: Word) -> Push:
    """What handover.py makes of it."""
    body = encode_body("nested", "bot", said.session_id, encode_profile(said.profile))
    return Push("bot", said.session_id, None, body, said.visitor, said.transition, said.at, said.at)


class Idle(Sender):
    """A sender that nobody wakes."""

    def _wake(self) -> None: ...


def ours(clock: Callable[[], int], *, runs: bool) -> Slice:
    def run(calls: int) -> float:
        tried = threading.Event()
        keywords = {**site.KEYWORDS, "webhook_url": NOBODY, "on_result": lambda result: tried.set()}
        sender = (Sender if runs else Idle)(Settings(keywords))
        if runs:  # one attempt has failed, and the next has a while to wait
            sender.offer(push_of(word(0)))
            if not tried.wait(PATIENCE):
                raise SystemExit("the sender does nothing")
        whole = [word(number) for number in range(1, calls + 1)]
        began = clock()
        for said in whole:
            sender.offer(push_of(said))
        taken = clock() - began
        if sender.stats()["waiting"] < calls:
            raise SystemExit("an offer was not taken")
        sender.close(0)
        return taken

    return run


def theirs(say: Callable[[str, dict[str, Any]], Any], queue: Any, clock: Callable[[], int], *, runs: bool) -> Slice:
    def run(calls: int) -> float:
        whole = [(f"user-{number}", site.profile_of(number)) for number in range(calls)]
        began = clock()
        for who, profile in whole:
            say(who, profile)
        taken = clock() - began
        if runs:
            queue.join()  # its thread has tried, and given up, before somebody else's turn
        elif queue.qsize() != calls:
            raise SystemExit(f"{queue.qsize()} of {calls} events wait")
        while queue.qsize():
            queue.get_nowait()
            queue.task_done()
        return taken

    return run


def segment(clock: Callable[[], int], *, runs: bool) -> Slice:
    from segment.analytics.client import Client

    client = Client("key", host=NOBODY, send=runs, max_queue_size=MOST, max_retries=0, upload_interval=0.1)
    client.send = True  # if its thread was not started, what is tracked is put into the queue all the same
    return theirs(lambda who, profile: client.track(who, "profile", profile), client.queue, clock, runs=runs)


def posthog(clock: Callable[[], int], *, runs: bool) -> Slice:
    from posthog import Posthog

    client = Posthog("key", host=NOBODY, send=runs, max_queue_size=MOST, max_retries=0, flush_interval=0.1)
    client.send = True

    def say(who: str, profile: dict[str, Any]) -> None:
        client.capture("profile", distinct_id=who, properties=profile)

    return theirs(say, client.queue, clock, runs=runs)


def run(*, quick: bool = False) -> list[Row]:
    os.environ["NO_PROXY"] = "127.0.0.1"  # else they would send it to the proxy of whoever has one
    logging.disable()  # that nobody listens they all say
    try:
        return measured(quick=quick)
    finally:
        logging.disable(logging.NOTSET)


def measured(*, quick: bool) -> list[Row]:
    rows: list[Row] = []
    for case, runs, clock in (
        ("one push, nobody sends", False, time.process_time_ns),
        ("one push, threads run", True, time.perf_counter_ns),
    ):
        slices = {"ours": ours(clock, runs=runs)}
        if has("segment-analytics-python"):
            slices[SEGMENT] = segment(clock, runs=runs)
        if has("posthog"):
            slices[POSTHOG] = posthog(clock, runs=runs)
        taken = interleave(slices, *((2, 5) if quick else (25, 300)))
        costs = {name: absolute(taken, name) for name in slices}
        peers = [name for name in slices if name != "ours"]
        rows += [
            Row(PART, case, peer, costs["ours"], costs[peer], goal=GOALS[peer] if runs else None) for peer in peers
        ]
        if not peers:
            rows.append(Row(PART, case, "", costs["ours"], None))
    return rows
