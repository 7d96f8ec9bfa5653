"""Offers from any thread, and the one thread that delivers them: its birth, its end, and forks.

The thread is a daemon with an event loop of its own, for ASGI and WSGI alike. It starts with the first
push, ends by itself when there has been nothing to do for a while, and starts anew in a forked child, with
an empty mailbox: what the parent had taken, the parent sends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

from . import clock as delivery_clock
from .concurrency import Signal, time_limit
from .delivery import Run
from .gate import Gate
from .mailbox import Mailbox
from .messages import Offered
from .notes import Notes
from .push import Push
from .threads import importing

if TYPE_CHECKING:
    from .outbox import Outbox
    from .settings import Settings

CLOSE_SECONDS = 2.0
"""Seconds in which what is left is delivered when the server ends."""
UWSGI_SECONDS = 0.7
"""Of these it leaves to uWSGI, which takes a second of its own to end."""
FIRST = 100
"""Before whatever else multiprocessing ends: its own have 10 at most."""
IMPORT_SECONDS = 5.0
"""How long a fork waits until the HTTP client is imported."""
LEASE_MARGIN = 5.0
"""Seconds that an outbox's lease is longer than an attempt may take."""


class Sender:
    """Offers from any thread; delivery in its own."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = delivery_clock.now) -> None:
        self._settings = settings
        self._clock = clock
        self.notes = Notes()
        self._begin()
        _senders.add(self)

    def _reset(self) -> None:
        """In a forked child: what the parent holds is the parent's."""
        _of_the_parent.append((self._run, self.mailbox))
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._run: Run | None = None
        self.mailbox = self._new_mailbox()
        self.gates = {bot.chatbot_id: Gate() for bot in self._settings.bots}
        self.attempts: Counter[str] = Counter()
        self.looked: Callable[[], object] = _nothing
        """Called by the thread when it has taken what may go now."""

    def _new_mailbox(self) -> Mailbox | Outbox:
        if self._settings.outbox is None:
            return Mailbox()
        from .outbox import Outbox  # sqlite3 is imported by those who use it

        bots = [bot.chatbot_id for bot in self._settings.bots]
        return Outbox(self._settings.outbox, bots, self._settings.timeout + LEASE_MARGIN, self._clock)

    # Called by the shells, from any thread -----------------------------------------------------

    def offer(self, push: Push) -> Offered:
        """Put a push into the mailbox and wake the thread. Takes microseconds, but with an outbox."""
        self._same_process()
        now = self._clock()
        offered = self.mailbox.offer(push, now, self.gates[push.chatbot_id].held(now))
        if offered.status == "queued":
            self._wake()
        return offered

    async def offer_async(self, push: Push) -> Offered:
        """The same for an event loop, which the disk does not hold up."""
        if not isinstance(self.mailbox, Mailbox):
            self._same_process()
            now = self._clock()
            offered = await self.mailbox.offer_async(push, now, self.gates[push.chatbot_id].held(now))
            if offered.status == "queued":
                self._wake()
            return offered
        return self.offer(push)

    def let_go(self, key: tuple[str, str], instant: int) -> None:
        """Nothing captured for this chat before `instant` (microseconds) is to be sent any more."""
        self._same_process()
        self.mailbox.let_go(key, instant, self._clock())

    async def let_go_async(self, key: tuple[str, str], instant: int) -> None:
        """The same for an event loop, which the disk does not hold up."""
        if not isinstance(self.mailbox, Mailbox):
            self._same_process()
            await self.mailbox.let_go_async(key, instant, self._clock())
        else:
            self.let_go(key, instant)

    def begin(self) -> None:
        """With an outbox: send what a killed process has left."""
        if self._settings.outbox is not None:
            self._same_process()
            self._wake()

    def _same_process(self) -> None:
        if self._pid != os.getpid():  # forked without Python's hooks, as uWSGI does
            self._reset()

    def outdates(self, key: tuple[str, str], at: int) -> bool:
        """Does a mark of this chat from that time (microseconds) count for nothing: was its push given up, or has this
        process handed something over since?"""
        return self.mailbox.outdates(key, at)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Deliver what is left within `seconds`, then end the thread. A later push starts it anew."""
        run = self._begin_to_close(seconds)
        if run is not None:
            run.ended.wait(seconds + 0.5)

    async def aclose(self, seconds: float = CLOSE_SECONDS) -> None:
        """`close()` for an event loop, which goes on meanwhile."""
        run = self._begin_to_close(seconds)
        if run is None:
            return
        ended = Signal()
        run.when_ended(ended.give)
        with contextlib.suppress(TimeoutError):
            async with time_limit(seconds + 0.5):
                await ended.wait()

    def stats(self) -> dict[str, Any]:
        """Counts since the process started; nothing personal."""
        self._same_process()
        waiting, in_flight = self.mailbox.sizes()
        return {
            "waiting": waiting,
            "in_flight": in_flight,
            **{name: self.mailbox.counts[name] for name in ("offered", "delivered", "superseded", "busy")},
            "dropped": dict(self.mailbox.dropped),
            "attempts": dict(self.attempts),
            "bots": {bot: gate.reason or "open" for bot, gate in self.gates.items()},
        }

    # Called by settling.py, in tests -----------------------------------------------------------

    def sends_to(self, address: str) -> bool:
        """Does the webhook link of one of its bots begin so?"""
        return any(bot.url(None).startswith(address) for bot in self._settings.bots)

    def look(self) -> None:
        """Let the thread look anew what may go now."""
        self._wake()

    def due_in(self) -> float:
        """Seconds until the first of what waits may go; 0 where nothing waits."""
        now = self._clock()
        times = []
        for bot in self.mailbox.bots_waiting():
            due, opens = self.mailbox.next_due(now, partial(eq, bot)), self.gates[bot].opens_at()
            times.append(max(now, now if due is None else due, now if opens is None else opens))
        return min(times, default=now) - now

    # Inside ------------------------------------------------------------------------------------

    def _begin_to_close(self, seconds: float) -> Run | None:
        self._same_process()
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.close(seconds)
        return run

    def _wake(self) -> None:
        with self._lock:
            if self._run is None or not self._run.wake():
                self._run = None
                with contextlib.suppress(OSError):  # no descriptor is left for an event loop: a later push tries again
                    self._run = Run(self, self._settings, self._clock)
                    try:
                        self._run.start()
                        _end_with_multiprocessing()
                    except RuntimeError:  # no thread can be started while the interpreter ends
                        self._run.discard()
                        self._run = None

    def may_end(self, run: Run) -> bool:
        """May this run end, since there is nothing to do?"""
        with self._lock:
            if self.mailbox.sizes() != (0, 0):
                return False
            if self._run is run:
                self._run = None
            return True


def senders() -> list[Sender]:
    """Every sender of this process."""
    return list(_senders)


def _nothing() -> None:
    return None


_no_import = False
_senders: weakref.WeakSet[Sender] = weakref.WeakSet()
_of_the_parent: list[object] = []
"""Kept for ever in a forked child: to close a copied event loop would take the parent's own descriptors
out of the epoll set that both share, and SQLite's connections must not cross a fork."""


def _before_fork() -> None:
    global _no_import
    _no_import = importing.acquire(timeout=IMPORT_SECONDS)


def _after_fork() -> None:
    if _no_import:
        importing.release()


def _after_fork_in_child() -> None:
    _after_fork()
    for sender in list(_senders):
        sender._reset()


def _at_exit() -> None:
    """Every sender at once, within the time of one."""
    seconds = CLOSE_SECONDS - (UWSGI_SECONDS if "uwsgi" in sys.modules else 0.0)
    runs = [run for run in (sender._begin_to_close(seconds) for sender in list(_senders)) if run is not None]
    deadline = time.monotonic() + seconds + 0.5
    for run in runs:
        run.ended.wait(max(0.0, deadline - time.monotonic()))


_hooked: int | None = None
"""The process that has the hook of `multiprocessing`."""


def _end_with_multiprocessing() -> None:
    """A process of multiprocessing's may end without `atexit`, as granian's workers do, but not without this."""
    global _hooked
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None and _hooked != os.getpid():
        from multiprocessing.util import Finalize

        _hooked = os.getpid()
        Finalize(None, _at_exit, exitpriority=FIRST)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
