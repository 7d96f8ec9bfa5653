"""Gives each push to a task queue the site already has; worker.py delivers what its worker brings back.

What travels is plain JSON: which bot, which endpoint, the body, and when it was offered. No token and no
address: the worker knows those itself. Per process, one push of a chat is handed on at a time; one that comes
meanwhile is busy, so its response is not marked and the visitor's next one brings it again.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from .asking import SUSPENDED_SECONDS, TIME_OUTS_IN_A_ROW, is_async
from .concurrency import Home, is_stray, time_limit
from .messages import Offered
from .notes import Notes, where
from .push import Push
from .recollection import Key, Recollection
from .threads import DaemonThreads, NoThreadError, run_in

HAND_OFF_SECONDS = 2.0
"""Seconds a visitor may wait for the task queue."""
MOST_THREADS = 8
TIMED_OUT = f"a time-out ({HAND_OFF_SECONDS:g} s)"
UNAWAITED = "a coroutine, which WSGI cannot await"

_threads = DaemonThreads("reve-middleware-handoff", MOST_THREADS)


def as_task(push: Push) -> dict[str, Any]:
    """A push as JSON values."""
    return {
        "chatbot_id": push.chatbot_id,
        "session_id": push.session_id,
        "endpoint": push.endpoint,
        "body": push.body.decode(),
        "offered": time.time(),
    }


class HandOff:
    """The mailbox's side of the application, with a task queue behind it."""

    def __init__(self, hand_off: Callable[[dict[str, Any]], Any], notes: Notes) -> None:
        self._hand_off = hand_off
        self._is_async = is_async(hand_off)
        self._notes = notes
        self._reset()
        _hand_offs.add(self)

    def _reset(self) -> None:
        """Also in a forked child, where a thread that held the lock does not exist."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._known = Recollection()
        self._in_hand: set[Key] = set()
        self._time_outs = 0
        self._rests_until = 0.0
        self._counts: Counter[str] = Counter()

    # What the shells call ----------------------------------------------------------------------

    def offer(self, push: Push) -> Offered:
        """Hand a push on, in place."""
        return self._count(self._take(push) or self._hand_on(push, None))

    async def offer_async(self, push: Push) -> Offered:
        """Hand a push on; a plain callable in a thread of ours, so that a broker holds up no event loop."""
        return self._count(self._take(push) or await self._hand_on_async(push))

    def let_go(self, key: Key, instant: int) -> None:
        """Hand nothing on that was captured for this chat before `instant`. What the queue has, it has."""
        self._same_process()
        with self._lock:
            self._known.let_go(key, instant, time.monotonic())

    async def let_go_async(self, key: Key, instant: int) -> None:
        """The same: there is nothing to wait for."""
        self.let_go(key, instant)

    def outdates(self, key: Key, at: int) -> bool:
        """Has this process handed something on for the chat since that time (microseconds)? Nothing is given up: a push
        that could not be handed on has left no mark, and the queue keeps the others."""
        return self._known.outdates(key, at)

    def stats(self) -> dict[str, Any]:
        """Counts since the process started; what became of a push, the task queue knows."""
        self._same_process()
        return {"offered": self._counts["queued"], "busy": self._counts["busy"], "in_hand": len(self._in_hand)}

    def begin(self) -> None:
        """There is nothing to begin: the task queue runs elsewhere."""

    def close(self, seconds: float = 0.0) -> None:
        """There is nothing to flush: each push was handed on at once."""

    async def aclose(self) -> None:
        """There is nothing to flush: each push was handed on at once."""

    # From the take to the verdict --------------------------------------------------------------

    def _same_process(self) -> None:
        if self._pid != os.getpid():  # forked without Python's hooks, as uWSGI does
            self._reset()

    def _take(self, push: Push) -> Offered | None:
        """The answer, where the push is not to be handed on now. A sign-out waits for nobody: it comes once."""
        self._same_process()
        now = time.monotonic()
        with self._lock:
            answer = self._known.answer(push, now)
            if answer is None and (now < self._rests_until or (push.transition and push.key in self._in_hand)):
                answer = Offered("busy", push.at)
            if answer is None and push.transition:
                self._in_hand.add(push.key)
        return answer

    async def _hand_on_async(self, push: Push) -> Offered:
        """Call the callable, and wait so long for it. A thread that has begun settles its push, whoever waits."""
        limit = time_limit(HAND_OFF_SECONDS)
        claim = threading.Lock()  # taken once: by the thread that begins, or by us who wait no longer for it to begin
        try:
            async with limit:
                if self._is_async:
                    await self._hand_off(as_task(push))
                else:
                    begin = self._hand_on_if_wanted, push, Home(), claim
                    answer: Offered = await run_in(_threads, copy_context().run, *begin)
                    return answer
        except NoThreadError:  # no strike: many at once are no sign of a queue that hangs
            return self._settle(push, f"no free thread ({MOST_THREADS} wait for it)", late=True)
        except Exception as error:
            if not limit.expired():
                return self._settle(push, where(error))
            self._strike()
            if claim.acquire(blocking=False):
                return self._settle(push, TIMED_OUT, late=True)
            self._notes.say("handoff", TIMED_OUT)
            return Offered("busy", push.at)
        except BaseException as error:
            if is_stray(error):
                return self._settle(push, where(error))  # of something that the callable waited for
            if claim.acquire(blocking=False):
                self._release(push)
            raise
        return self._settle(push, None)

    def _hand_on_if_wanted(self, push: Push, home: Home, claim: threading.Lock) -> Offered | None:
        """In a thread of ours, which may have come too late."""
        return self._hand_on(push, home) if claim.acquire(blocking=False) else None

    def _hand_on(self, push: Push, home: Home | None) -> Offered:
        """Call the callable in place: with a `home` in a thread of ours, for somebody who waits there, and what it
        returns to be awaited runs there; else for whoever called."""
        fault, timed_out = None, False
        began = time.monotonic()
        try:
            result = self._hand_off(as_task(push))
            if inspect.isawaitable(result):
                if home is not None:
                    home.wait_for(result, HAND_OFF_SECONDS)
                else:
                    fault = UNAWAITED
                    if inspect.iscoroutine(result):
                        result.close()
        except BaseException as error:
            if home is None and not isinstance(error, Exception):
                self._release(push)
                raise
            fault, timed_out = where(error), isinstance(error, TimeoutError)
        late = time.monotonic() - began >= HAND_OFF_SECONDS
        if late and home is None:
            self._strike()
        return self._settle(push, TIMED_OUT if late and timed_out else fault, late=late)

    def _settle(self, push: Push, fault: str | None, *, late: bool = False) -> Offered:
        """The queue has the push, or could not take it. `late`: too late to say that it is quick again."""
        with self._lock:
            if push.transition:
                self._in_hand.discard(push.key)
            if fault is None:
                self._known.took(push, time.monotonic())
            if not late:
                self._time_outs = 0
        if fault is None:
            return Offered("queued", push.at)
        self._notes.say("handoff", fault)
        return Offered("busy", push.at)

    def _release(self, push: Push) -> None:
        with self._lock:
            if push.transition:
                self._in_hand.discard(push.key)

    def _strike(self) -> None:
        """It took too long: after three in a row nobody waits for it for a while."""
        with self._lock:
            self._time_outs += 1
            rests = self._time_outs >= TIME_OUTS_IN_A_ROW
            if rests:
                self._rests_until = time.monotonic() + SUSPENDED_SECONDS
        if rests:
            self._notes.say("suspended", "handoff=")

    def _count(self, answer: Offered) -> Offered:
        with self._lock:
            self._counts[answer.status] += 1
        return answer


_hand_offs: weakref.WeakSet[HandOff] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for hand_off in list(_hand_offs):
        hand_off._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
