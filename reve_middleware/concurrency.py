"""The one door to what runs us: asyncio, or trio where the server runs that.

Trio is not imported here: where it runs, it is in `sys.modules`. It is looked for in each step that waits, and
in no other. A cancellation that came from outside passes through everything in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Protocol, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


class Limit(Protocol):
    """A time limit around a block. TimeoutError when time has run out in there; a block that ran into it and
    raised something else all the same has its way."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def expired(self) -> bool: ...


def time_limit(seconds: float) -> Limit:
    """A limit for the task that asks for it, from now on."""
    trio = _running_trio()
    return asyncio.timeout(seconds) if trio is None else _TrioLimit(trio, seconds)


class Unfinished:
    """What `first_step` did not finish."""

    __slots__ = ("rest",)

    def __init__(self, rest: Awaitable[Any]) -> None:
        self.rest = rest


def first_step(awaitable: Awaitable[Any]) -> Any:
    """Take it without waiting, since most awaitables end there: the value, or an Unfinished. Under trio it is not
    begun, for a time limit's scope must be entered before those of the awaitable; nor in a thread without an event
    loop, from which some send (Hypercorn's AsyncioWSGIMiddleware)."""
    if _running_trio() is not None or asyncio._get_running_loop() is None:
        return Unfinished(awaitable)
    steps = awaitable.__await__()
    try:
        first = steps.send(None)
    except StopIteration as stop:
        return stop.value
    return Unfinished(_rest(steps, first))


async def within(limit: Limit, awaitable: Awaitable[Any]) -> Any:
    """Await it within the limit, which its first step does without: it costs more than most awaitables do."""
    begun = first_step(awaitable)
    if not isinstance(begun, Unfinished):
        return begun
    async with limit:
        return await begun.rest


class Signal:
    """Given once, from any thread; waited for by the task that made it."""

    __slots__ = ("_given", "_soon")

    def __init__(self) -> None:
        trio = _running_trio()
        if trio is None:
            loop = asyncio.get_running_loop()
            self._given: Any = asyncio.Future(loop=loop)
            self._soon: Any = loop.call_soon_threadsafe
        else:
            self._given = trio.Event()
            self._soon = trio.lowlevel.current_trio_token().run_sync_soon

    def give(self) -> None:
        """Never raises."""
        give_all([self])

    async def wait(self) -> None:
        if isinstance(self._given, asyncio.Future):
            await self._given
        else:
            await self._given.wait()

    async def wait_for(self, seconds: float) -> None:
        """The same, but for so long at most; half as dear as a time limit, since nothing is cancelled."""
        if isinstance(self._given, asyncio.Future):
            timer = asyncio.get_running_loop().call_later(seconds, _set_all, [self._given])
            try:
                await self._given
            finally:
                timer.cancel()
        else:
            with sys.modules["trio"].move_on_after(seconds):
                await self._given.wait()


def give_all(signals: Iterable[Signal]) -> None:
    """`give` them, and wake each event loop once: that is a system call, and a switch of threads."""
    by_loop: dict[Any, list[Any]] = {}
    for signal in signals:
        by_loop.setdefault(signal._soon, []).append(signal._given)
    for soon, waiting in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            soon(_set_all, waiting)


def _set_all(waiting: list[Any]) -> None:
    for given in waiting:
        if not isinstance(given, asyncio.Future):
            given.set()
        elif not given.done():  # or cancelled, with the task that waited for it
            given.set_result(None)


def mark_coroutine_function(function: T) -> T:
    """It is called like a coroutine function, and who asks for one (asgiref does) may take it for that."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


async def forever() -> None:
    """Wait for what never comes."""
    await Signal().wait()


class Home:
    """Where the task runs that made it, for a thread that works for that task."""

    __slots__ = ("_loop", "_token", "_trio")

    def __init__(self) -> None:
        self._trio = _running_trio()
        if self._trio is None:
            self._loop = asyncio.get_running_loop()
        else:
            self._token = self._trio.lowlevel.current_trio_token()

    def wait_for(self, awaitable: Awaitable[Any], seconds: float) -> None:
        """Wait, in the thread, for what runs at home. Raises what it raises, and TimeoutError."""

        async def wait() -> None:
            await awaitable

        async def wait_in_time() -> None:
            async with time_limit(seconds):
                await awaitable

        if self._trio is not None:
            try:
                self._trio.from_thread.run(wait_in_time, trio_token=self._token)
            except RuntimeError:
                drop(awaitable)  # where trio is over it was not begun
                raise
            return
        waiting = wait()
        try:
            future = asyncio.run_coroutine_threadsafe(waiting, self._loop)
        except RuntimeError:  # the loop is closed
            drop(waiting)
            drop(awaitable)
            raise
        try:
            future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise


def drop(value: Any) -> None:
    """Nobody is going to await it: if it is a coroutine, Python need not say so."""
    if inspect.iscoroutine(value):
        value.close()


def is_stray(error: BaseException) -> bool:
    """Is this the cancellation of something that was waited for, and not of the task that waited? Under asyncio both
    are the same exception; trio's own never leaves the scope that it belongs to."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    if _running_trio() is not None:
        return True
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


class _TrioLimit:
    """What `asyncio.timeout` is, made of trio's cancel scope."""

    __slots__ = ("_scope",)

    def __init__(self, trio: Any, seconds: float) -> None:
        self._scope = trio.move_on_after(seconds)

    async def __aenter__(self) -> _TrioLimit:
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        absorbed = self._scope.__exit__(kind, error, trace)  # of a group, it raises what is not its own
        if absorbed and error is not None:
            raise TimeoutError

    def expired(self) -> bool:
        return bool(self._scope.cancel_called)


def _running_trio() -> Any:
    """Trio, where it runs the current task; None under asyncio."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        if asyncio.current_task() is not None:
            return None
    except RuntimeError:  # no event loop of asyncio's runs here
        pass
    try:
        trio.lowlevel.current_task()
    except (RuntimeError, AttributeError):  # it does not run here, or is just being imported elsewhere
        return None
    return trio


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
