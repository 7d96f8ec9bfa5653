"""A few daemon threads of our own, for callables that may block.

Not a ThreadPoolExecutor: its threads are joined when the interpreter ends, so one callable that hangs
would hold the process back, and it takes no work during `atexit`, when host names must still resolve.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from .concurrency import Signal, drop

Job = Callable[[], None]

importing = threading.Lock()
"""Held while a thread of ours imports. A fork waits for it: in the child, what was being imported could never be."""


class DaemonThreads:
    """At most `most` threads; started when needed, and anew in a forked child."""

    def __init__(self, name: str, most: int, *, queues: bool = False) -> None:
        """`queues`: where every thread is busy a job waits for one; otherwise it is refused."""
        self._name = name
        self._most = most
        self._queues = queues
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._free = 0
        """Less than none where jobs wait."""

    def submit(self, job: Job) -> bool:
        """Run `job`, which must not raise, in a thread; False where it is refused."""
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._free <= 0 and not self._start() and not (self._queues and self._threads):
                return False
            self._free -= 1
        self._jobs.put(job)
        return True

    def prepare(self) -> None:
        """Start one thread now: none can be started while the interpreter ends."""
        with self._lock:
            if self._threads == 0:
                self._start()

    def end(self) -> None:
        """Let the threads end when their jobs have; to be called by whoever submits no more."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _start(self) -> bool:
        if self._threads >= self._most:
            return False
        thread = threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or the machine has no thread left
            return False
        self._threads += 1
        self._free += 1
        return True

    def _work(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        while True:
            job = jobs.get()
            if job is None:
                return
            with contextlib.suppress(BaseException):
                job()
            del job
            with self._lock:
                if self._jobs is jobs:
                    self._free += 1


async def run_in(threads: DaemonThreads, function: Callable[..., Any], *args: Any) -> Any:
    """Await `function(*args)` in one of the threads. Raises what it raises, and `NoThreadError` where it is
    refused."""
    ended = Signal()
    is_awaited = True
    result: Any = None
    error: BaseException | None = None

    def job() -> None:
        nonlocal result, error
        if not is_awaited:  # since it waited for a thread for too long
            return
        try:
            result = function(*args)
        except BaseException as raised:
            error = raised
        if not is_awaited:
            drop(result)
        ended.give()

    if not threads.submit(job):
        raise NoThreadError
    try:
        await ended.wait()
    except BaseException:
        is_awaited = False
        drop(result)
        raise
    if error is not None:
        try:
            raise error
        finally:
            error = None  # whose traceback leads to this frame
    return result


class NoThreadError(RuntimeError):
    """Every thread is busy, or none can be started."""
