"""Callables that misbehave again and again; what runs within a limit; and WSGI."""

import asyncio
import contextvars
import gc
import threading
from collections.abc import Awaitable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import Clock, listening
from faults import PATIENCE
from test_asking import AsyncObject, callables, fails, immediate

from reve_middleware import asking, notes
from reve_middleware.asking import is_async, within
from reve_middleware.messages import NO_ANSWER

TESTS_LIMITS = True

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(notes, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callables have 50 ms; those that answer in such a test answer at once."""
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)


# Time-outs in a row ----------------------------------------------------------------------------


class Moody:
    """Hangs, or answers."""

    def __init__(self) -> None:
        self.hangs = True
        self.asked = 0

    async def __call__(self, _: Any) -> str:
        self.asked += 1
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return "answer"


@pytest.mark.usefixtures("_soon")
def test_after_three_time_outs_it_is_left_alone(clock: Clock) -> None:
    """After three time-outs in a row a callable is not asked for 30 s; then it is, and one more suspends it again."""
    moody = Moody()
    asked = callables(profile=moody)

    async def times(count: int) -> list[Any]:
        return [await asked.ask("profile", None) for _ in range(count)]

    with listening() as log:
        assert asyncio.run(times(5)) == [NO_ANSWER] * 5
        assert moody.asked == 3
        assert log.texts() == [
            "profile= took more than 0.05 s (read what the login has loaded); the visitor counts as unknown",
            "profile= took too long three times in a row: it is not asked for 30 s",
        ]
        assert log.codes() == ["timed_out", "suspended"]
        clock.now += 29.9
        asyncio.run(times(1))
        assert moody.asked == 3
        clock.now += 0.1
        asyncio.run(times(3))
        assert moody.asked == 4
        clock.now += 30.0
        moody.hangs = False
        assert asyncio.run(times(3)) == ["answer"] * 3
        assert moody.asked == 7


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("in_between", ["an answer", "an exception"])
def test_time_outs_that_are_not_in_a_row(in_between: str) -> None:
    """An answer, or an exception, in between begins the count anew."""
    script: list[Any] = ["hang", "hang", in_between, "hang", "hang", "an answer"]

    async def profile(_: Any) -> Any:
        step = script.pop(0)
        if step == "hang":
            await asyncio.get_running_loop().create_future()
        if step == "an exception":
            raise ValueError
        return step

    async def main() -> list[Any]:
        asked = callables(profile=profile)
        return [await asked.ask("profile", None) for _ in range(6)]

    assert asyncio.run(main())[-1] == "an answer"


@pytest.mark.usefixtures("_soon")
def test_one_callable_does_not_suspend_another() -> None:
    """consent= is still asked while profile= is not."""

    async def hang(_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def agree(_: Any) -> bool:
        return True

    async def main() -> list[Any]:
        asked = callables(profile=hang, consent=agree)
        return [await asked.ask(name, None) for name in ("profile",) * 4 + ("consent",)]

    assert asyncio.run(main()) == [NO_ANSWER] * 4 + [True]


# within() --------------------------------------------------------------------------------------


def test_within_passes_everything_through() -> None:
    """Values, exceptions and cancellations go in and out of an awaitable as if it were awaited plainly."""

    async def talk() -> list[str]:
        heard = []
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("told"))
        try:
            await future
        except ValueError as error:
            heard.append(str(error))
        async with asyncio.timeout(0.01) as limit:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
            heard.append("cancelled inside")
            raise asyncio.CancelledError
        raise AssertionError(limit)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await within(asyncio.timeout(PATIENCE), talk())

    asyncio.run(main())


def test_within_lets_scopes_inside_be() -> None:
    """A time limit of the callable's own, entered in its first step, works: the two do not get in each other's way."""

    async def inner() -> str:
        async with asyncio.timeout(PATIENCE):
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                return "its own"
        return "none"

    async def main() -> Any:
        return await within(asyncio.timeout(PATIENCE), inner())

    assert asyncio.run(main()) == "its own"


def test_within_closes_what_it_leaves() -> None:
    """An awaitable that is left in the middle runs its finally blocks."""
    ended: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("finally")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await within(asyncio.timeout(0.01), inner())

    asyncio.run(main())
    assert ended == ["finally"]


# WSGI ------------------------------------------------------------------------------------------


def test_under_wsgi_callables_run_in_place() -> None:
    """Under WSGI a callable runs in the request's own thread."""
    asked = callables(profile=lambda request: (request, threading.current_thread().name))
    assert asked.ask_now("profile", "r") == ("r", threading.current_thread().name)


def test_under_wsgi_an_exception_stays_inside() -> None:
    """A callable that raises is no answer; the log names its type and line, not its text."""
    with listening() as log:
        assert callables(profile=fails).ask_now("profile", None) is NO_ANSWER
    line = fails.__code__.co_firstlineno + 1
    assert log.texts() == [f"profile= raised CanaryError at test_asking.py:{line}; the visitor counts as unknown"]


def test_under_wsgi_nothing_can_be_awaited() -> None:
    """A coroutine that a plain function returns is closed, and is an error in the log, not a warning of Python's."""

    def profile(request: Any) -> Awaitable[Any]:
        return immediate(request)

    with listening() as log:
        assert callables(profile=profile).ask_now("profile", None) is NO_ANSWER
        gc.collect()
    assert log.codes() == ["raised"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [(immediate, True), (AsyncObject(), True), (partial(immediate), True), (fails, False), (Moody(), True),
     (print, False), (None, False)],
)  # fmt: skip
def test_which_callables_are_async(function: Any, expected: bool) -> None:
    """Coroutine functions, partials of them, and objects that are called like one."""
    assert is_async(function) is expected
