"""Asks the application's callables, and lets nothing they do reach the visitor.

Async ones have 2 s. Under ASGI sync ones run in a thread of ours with 2 s; under WSGI in place, where no
bound is possible. `identity=` is cheap by contract and runs in place.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .concurrency import Unfinished, first_step, is_stray, time_limit, within
from .hints import describe
from .messages import NO_ANSWER, NOT_BEGUN, Pending
from .notes import Notes
from .threads import DaemonThreads, NoThreadError, run_in

if TYPE_CHECKING:
    from .settings import Settings

ASK_SECONDS = 2.0
TIME_OUTS_IN_A_ROW = 3
SUSPENDED_SECONDS = 30.0
MOST_THREADS = 8
SLOW_SECONDS = 0.5
SLOW_ASKS = 5
"""Once may be a connection that is made, or a busy machine."""
FIRST_ASKS = 50
"""So many asks of a process are timed; the rest is not, for that costs time as well."""
PLAIN = frozenset({str, int, tuple, dict, type(None)})
"""Most answers are one of these; whether another is awaitable takes a while to find out."""

COROUTINE = "returned a coroutine, and WSGI has no event loop: pass a plain function that returns the value itself"

_threads = DaemonThreads("reve-middleware-ask", MOST_THREADS, queues=True)


class _Question:
    """One callable of the settings, and how it has behaved."""

    __slots__ = ("_notes", "_silent_until", "function", "in_place", "name", "time_outs")

    def __init__(self, name: str, function: Callable[[Any], Any], notes: Notes) -> None:
        self.name = name
        self.function = function
        self.in_place = name == "identity" or is_async(function)
        """May it be asked, under ASGI, without a thread?"""
        self.time_outs = 0
        """In a row."""
        self._notes = notes
        self._silent_until = 0.0

    def may_be_asked(self) -> bool:
        return self.time_outs < TIME_OUTS_IN_A_ROW or time.monotonic() >= self._silent_until

    def timed_out(self, what: str) -> None:
        self.time_outs += 1
        if self.time_outs >= TIME_OUTS_IN_A_ROW:
            self._silent_until = time.monotonic() + SUSPENDED_SECONDS
            self._notes.say("suspended", f"{self.name}=")
        else:
            self._notes.say("timed_out", f"{self.name}= {what}")

    def failed(self, what: str) -> None:
        """`what`: type, line and cure. Not the exception, nor called while one is handled: its text may hold anything,
        and error trackers show the locals of whoever logs."""
        self.time_outs = 0
        self._notes.say("raised", f"{self.name}= {what}")


class _Begun(Pending):
    """A callable that was asked: what is left of it, or how it failed."""

    __slots__ = ("failure", "rest")

    def __init__(self, rest: Awaitable[Any] | None, failure: str = "") -> None:
        self.rest = rest
        self.failure = failure


class Callables:
    """`profile=`, `identity=` and `consent=`."""

    def __init__(self, settings: Settings, notes: Notes) -> None:
        self._questions = {
            name: _Question(name, function, notes)
            for name in ("profile", "identity", "consent")
            if (function := getattr(settings, name)) is not None
        }
        self._notes = notes
        self._still_timed = FIRST_ASKS
        self._slow = 0

    def _took(self, name: str, began: float) -> None:
        """One of the asks that are timed has its answer. (What fails is told in any case.)"""
        if time.monotonic() - began > SLOW_SECONDS:
            self._slow += 1
            if self._slow == SLOW_ASKS:
                self._notes.say("slow", f"{name}=")
        self._still_timed -= 1

    async def ask(self, name: str, request: Any) -> Any:
        """The callable's value, or NO_ANSWER; under ASGI."""
        answer = self.ask_at_once(name, request)
        if answer is NOT_BEGUN:
            function = self._questions[name].function
            answer = _Begun(run_in(_threads, copy_context().run, function, request))
        return await self.finish(name, answer) if isinstance(answer, _Begun) else answer

    def ask_at_once(self, name: str, request: Any) -> Any:
        """As `ask`, without waiting and without a word in the log: where that cannot be, a Pending for `finish`.
        NOT_BEGUN: a plain function other than `identity=` belongs into a thread, and `ask` puts it there."""
        question = self._questions[name]
        if question.time_outs and not question.may_be_asked():
            return NO_ANSWER
        if not question.in_place:
            return NOT_BEGUN
        began = time.monotonic() if self._still_timed > 0 else 0.0
        try:
            value = question.function(request)
            if type(value) not in PLAIN and inspect.isawaitable(value):
                value = first_step(value)
                if isinstance(value, Unfinished):
                    return _Begun(value.rest)
            if name == "consent":
                value = bool(value)  # which may raise as well
        except Exception as error:
            return _Begun(None, f"raised {describe(error)}")
        except BaseException as error:
            if not is_stray(error):
                raise
            return _Begun(None, f"raised {describe(error)}")
        question.time_outs = 0
        if began:
            self._took(name, began)
        return value

    async def finish(self, name: str, begun: Any) -> Any:
        """The value of what `ask_at_once` began, or NO_ANSWER."""
        question = self._questions[name]
        if begun.rest is None:
            return self.give_up(name, begun)
        limit = time_limit(ASK_SECONDS)
        began = time.monotonic() if self._still_timed > 0 else 0.0
        try:
            async with limit:
                value = await begun.rest
            if inspect.isawaitable(value):  # of a plain function
                limit = time_limit(ASK_SECONDS)
                value = await within(limit, value)
            if name == "consent":
                value = bool(value)  # which may raise as well
        except NoThreadError:
            complain, what = question.timed_out, "was not asked: no thread can be started"
        except Exception as error:
            if limit.expired():
                complain, what = (
                    question.timed_out,
                    f"took more than {ASK_SECONDS:g} s (read what the login has loaded)",
                )
            else:
                complain, what = question.failed, f"raised {describe(error)}"
        except BaseException as error:
            if not is_stray(error):
                raise
            complain, what = question.failed, f"raised {describe(error)}"
        else:
            question.time_outs = 0
            if began:
                self._took(name, began)
            return value
        complain(what)
        return NO_ANSWER

    def ask_now(self, name: str, request: Any) -> Any:
        """The callable's value, or NO_ANSWER; under WSGI."""
        answer = self.ask_in_place(name, request)
        return self.give_up(name, answer) if isinstance(answer, _Begun) else answer

    def ask_in_place(self, name: str, request: Any) -> Any:
        """As `ask_now`, without a word in the log: where it raised, a Pending for `give_up`."""
        began = time.monotonic() if self._still_timed > 0 else 0.0
        try:
            value = self._questions[name].function(request)
            if type(value) not in PLAIN and inspect.iscoroutine(value):
                value.close()
                return _Begun(None, COROUTINE)
            if name == "consent":
                value = bool(value)  # which may raise as well
        except Exception as error:
            return _Begun(None, f"raised {describe(error)}")
        if began:
            self._took(name, began)
        return value

    def give_up(self, name: str, begun: Any) -> Any:
        """Say how it failed."""
        self._questions[name].failed(begun.failure)
        return NO_ANSWER


def is_async(function: Callable[..., Any]) -> bool:
    """Is it a coroutine function, or an object that is called like one?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
