"""Asks the application's callables, and lets nothing they do reach the visitor.

Async ones have 2 s. Under ASGI sync ones run in a thread of ours with 2 s; under WSGI in place, where no
bound is possible. `identity=` is cheap by contract and runs in place.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .messages import NO_ANSWER
from .notes import Notes, where
from .threads import DaemonThreads, NoThreadError, run_in

if TYPE_CHECKING:
    from .settings import Settings

ASK_SECONDS = 2.0
TIME_OUTS_IN_A_ROW = 3
SUSPENDED_SECONDS = 30.0
MOST_THREADS = 8

_threads = DaemonThreads("reve-middleware-ask", MOST_THREADS, queues=True)


class _Question:
    """One callable of the settings, and how it has behaved."""

    __slots__ = ("_notes", "_silent_until", "_time_outs", "function", "is_async", "name")

    def __init__(self, name: str, function: Callable[[Any], Any], notes: Notes) -> None:
        self.name = name
        self.function = function
        self.is_async = is_async(function)
        self._notes = notes
        self._time_outs = 0
        self._silent_until = 0.0

    def may_be_asked(self) -> bool:
        return self._time_outs < TIME_OUTS_IN_A_ROW or time.monotonic() >= self._silent_until

    def answered(self) -> None:
        self._time_outs = 0

    def timed_out(self, what: str) -> None:
        self._time_outs += 1
        if self._time_outs >= TIME_OUTS_IN_A_ROW:
            self._silent_until = time.monotonic() + SUSPENDED_SECONDS
            self._notes.say("suspended", f"{self.name}=")
        else:
            self._notes.say("timed_out", f"{self.name}= {what}")

    def raised(self, what: str) -> None:
        """`what`: type and line. Not the exception, nor called while one is handled: its text may hold anything,
        and error trackers show the locals of whoever logs."""
        self._time_outs = 0
        self._notes.say("raised", f"{self.name}= raised {what}")


class Callables:
    """`profile=`, `identity=` and `consent=`."""

    def __init__(self, settings: Settings, notes: Notes) -> None:
        self._questions = {
            name: _Question(name, function, notes)
            for name in ("profile", "identity", "consent")
            if (function := getattr(settings, name)) is not None
        }

    async def ask(self, name: str, request: Any) -> Any:
        """The callable's value, or NO_ANSWER; under asyncio."""
        question = self._questions[name]
        if not question.may_be_asked():
            return NO_ANSWER
        limit: asyncio.Timeout | None = None
        try:
            if question.is_async or name == "identity":
                value = question.function(request)
            else:
                async with asyncio.timeout(ASK_SECONDS) as limit:
                    value = await run_in(_threads, copy_context().run, question.function, request)
            if inspect.isawaitable(value):
                limit = asyncio.timeout(ASK_SECONDS)
                value = await within(limit, value)
            if name == "consent":
                value = bool(value)  # which may raise as well
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            complain, what = question.raised, where(error)  # something that the callable waited for was cancelled
        except NoThreadError:
            complain, what = question.timed_out, "was not asked: no thread can be started"
        except Exception as error:
            if limit is not None and limit.expired():
                complain, what = question.timed_out, f"took more than {ASK_SECONDS:g} s"
            else:
                complain, what = question.raised, where(error)
        else:
            question.answered()
            return value
        complain(what)
        return NO_ANSWER

    def ask_now(self, name: str, request: Any) -> Any:
        """The callable's value, or NO_ANSWER; under WSGI."""
        question = self._questions[name]
        try:
            value = question.function(request)
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError("async under WSGI")
            if name == "consent":
                value = bool(value)  # which may raise as well
        except Exception as error:
            what = where(error)
        else:
            return value
        question.raised(what)
        return NO_ANSWER


def is_async(function: Callable[..., Any]) -> bool:
    """Is it a coroutine function, or an object that is called like one?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def within(limit: asyncio.Timeout, awaitable: Awaitable[Any]) -> Any:
    """Await it within the limit; its first step without one, since most end there and a time limit
    costs more than they do."""
    steps = awaitable.__await__()
    try:
        first = steps.send(None)
    except StopIteration as stop:
        return stop.value
    async with limit:
        return await _rest(steps, first)


@types.coroutine
def _rest(steps: Generator[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """The steps of an awaitable after its first."""
    try:
        while True:
            try:
                sent = yield yielded
            except BaseException as error:
                yielded = steps.throw(error)
            else:
                yielded = steps.send(sent)
    except StopIteration as stop:
        return stop.value
