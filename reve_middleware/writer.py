"""The one thread that touches the outbox's file, so that a response waits for the disk and an event loop does not.

It carries out whatever has gathered in one transaction. Where that fails, each job's `instead` is done, and
nothing more is asked of the file until a mending job has succeeded.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .concurrency import Signal, give_all
from .database import Database, plainly
from .intake import Offer
from .ledger import Entries, Work
from .mailbox import MOST_CHATS

log = logging.getLogger("reve_middleware")

STORE_SECONDS = 3.0
"""How long anybody waits for the disk; then the memory takes over."""
IDLE_SECONDS = 10.0
"""Seconds after which a thread with nothing to do ends."""
BATCH = 256
COMPLAIN_SECONDS = 60.0
CODE = {"reve": "outbox"}


class Job:
    """Something to be done with the file, or else `instead`."""

    __slots__ = ("instead", "is_done", "is_waiting", "mends", "result", "signal", "work")

    def __init__(self, work: Offer | Work, instead: Callable[[], Any], *, mends: bool) -> None:
        self.work = work
        self.instead = instead
        self.mends = mends
        self.is_waiting = True
        """Has nobody taken it in hand, or withdrawn it?"""
        self.is_done = False
        self.result: Any = None
        self.signal: Signal | threading.Event | None = None
        """To be given when it is done."""

    def finish(self, result: Any) -> None:
        self.result = result
        self.is_done = True  # in this order: whoever sees it reads the result


class Writer:
    """Carries out jobs, in order. The thread starts with the first one, and ends when none have come for a while."""

    def __init__(self, database: Database, done: Callable[[Entries], None]) -> None:
        """`done` is told of each transaction when it is committed."""
        self._database = database
        self._done = done
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._complained: float | None = None
        self._is_known = False
        """Does the log say that the file cannot be used?"""
        self.usable = True
        self.owed: deque[Work] = deque(maxlen=MOST_CHATS)
        """What the file must be told when it can be used again."""

    def submit(self, work: Offer | Work, instead: Callable[[], Any], *, mends: bool = False) -> Job:
        """Carry out `work`, or `instead` where the file cannot be used."""
        job = Job(work, instead, mends=mends)
        started = True
        with self._lock:
            if self.usable or mends:
                started = self._has_started()
                if started:
                    self._jobs.put(job)
                    return job
        if not started:
            self.cannot("no thread can be started")
        job.finish(instead())
        return job

    def tell(self, work: Work) -> Job:
        """Carry out `work`; where the file cannot be used, sooner or later."""
        return self.submit(work, lambda: self.owed.append(work))

    def answer(self, job: Job, unknown: Any) -> Any:
        """What came of a job; `unknown` where it takes too long and may be under way."""
        job.signal = done = threading.Event()
        if not job.is_done:  # in this order: the writer looks whom to tell when it has the result
            done.wait(STORE_SECONDS)
        return self._result(job, unknown)

    async def answer_async(self, job: Job, unknown: Any) -> Any:
        """The same for an event loop, which goes on meanwhile."""
        job.signal = done = Signal()
        try:
            if not job.is_done:
                await done.wait_for(STORE_SECONDS)
        except BaseException:  # the request is cancelled
            if self._withdraw(job):
                job.instead()
            raise
        return self._result(job, unknown)

    def end(self) -> None:
        """End the thread when it has done what there is, and close the file."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._jobs.put(None)
        if thread is not None:
            thread.join(STORE_SECONDS)

    def resume(self) -> None:
        """The file can be used: from now on jobs line up behind the one that found out."""
        with self._lock:
            self.usable = True

    def cannot(self, why: str) -> None:
        """The file cannot be used; the log says so once."""
        now = time.monotonic()
        with self._lock:
            first = self.usable and (self._complained is None or now - self._complained > COMPLAIN_SECONDS)
            self.usable = False
            if first:
                self._complained, self._is_known = now, True
        if first:
            log.error("the outbox cannot be used (%s): pushes are kept in memory meanwhile", why, extra=CODE)

    def can_again(self) -> None:
        """And so does it when that is over."""
        known, self._is_known = self._is_known, False
        if known:
            log.warning("the outbox is used again", extra=CODE)

    # Inside ------------------------------------------------------------------------------------

    def _result(self, job: Job, unknown: Any) -> Any:
        if job.is_done:
            return job.result
        self.cannot("it does not answer")
        return job.instead() if self._withdraw(job) else unknown

    def _withdraw(self, job: Job) -> bool:
        """Is it still in line? Then nobody does it any more."""
        with self._lock:
            waited, job.is_waiting = job.is_waiting, False
        return waited

    def _has_started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="reve-middleware-outbox", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or the machine has no thread left
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        """`None` among the jobs: end."""
        while True:
            batch: list[Job | None] = []
            with contextlib.suppress(queue.Empty):
                batch.append(self._jobs.get(timeout=IDLE_SECONDS))
                while len(batch) < BATCH:
                    batch.append(self._jobs.get_nowait())
            with self._lock:
                jobs = [job for job in batch if job is not None and job.is_waiting]
                for job in jobs:
                    job.is_waiting = False
            if jobs:
                self._carry_out(jobs)
            if self._jobs.empty():
                self._database.tidy()
            if None in batch or not batch:
                self._database.close()
                with self._lock:
                    if self._jobs.empty():
                        self._thread = None
                        return

    def _carry_out(self, jobs: list[Job]) -> None:
        results: list[Any] | None = None
        if self.usable or any(job.mends for job in jobs):
            try:
                with self._database.entries() as entries:
                    results = entries.carry_out([job.work for job in jobs])
                self._done(entries)
            except Exception as error:
                results = None
                self.cannot(plainly(error))
        for number, job in enumerate(jobs):
            job.finish(job.instead() if results is None else results[number])
        told = [job.signal for job in jobs]
        for signal in told:
            if isinstance(signal, threading.Event):
                signal.set()
        give_all(signal for signal in told if isinstance(signal, Signal))
