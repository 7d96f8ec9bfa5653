"""Asking the application's callables: in time, in the right place, and with nothing lost when they misbehave."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import Clock, listening
from faults import PATIENCE

from reve_middleware import asking, notes
from reve_middleware.asking import Callables, within
from reve_middleware.messages import NO_ANSWER
from reve_middleware.notes import Notes
from reve_middleware.threads import DaemonThreads

TESTS_LIMITS = True

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonThreads]:
    """Two threads of this test's own."""
    threads = DaemonThreads("test-ask", 2, queues=True)
    monkeypatch.setattr(asking, "_threads", threads)
    yield threads
    threads.end()


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callables have 50 ms; those that answer in such a test answer at once."""
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(notes, "time", SimpleNamespace(monotonic=clock))
    return clock


def callables(**given: Callable[..., Any]) -> Callables:
    settings: Any = SimpleNamespace(**{"profile": None, "identity": None, "consent": None, **given})
    return Callables(settings, Notes())


def ask(name: str = "profile", request: Any = None, **given: Callable[..., Any]) -> Any:
    """What asking once brings, under asyncio."""
    return asyncio.run(callables(**given).ask(name, request))


# The bounds ------------------------------------------------------------------------------------


def test_the_figures() -> None:
    """2 s, eight threads, three time-outs, thirty seconds."""
    assert (asking.ASK_SECONDS, asking.MOST_THREADS) == (2.0, 8)
    assert (asking.TIME_OUTS_IN_A_ROW, asking.SUSPENDED_SECONDS) == (3, 30.0)


# Async -----------------------------------------------------------------------------------------


async def immediate(request: Any) -> Any:
    return {"request": request}


async def in_steps(request: Any) -> Any:
    for _ in range(3):
        await asyncio.sleep(0)
    return {"request": request}


class AsyncObject:
    async def __call__(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return {"request": request}


class Hand:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        return self.value


async def a_future(request: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, {"request": request})
    return await future


@pytest.mark.parametrize(
    "profile",
    [immediate, in_steps, AsyncObject(), a_future, partial(in_steps), lambda request: Hand({"request": request}),
     lambda request: in_steps(request), lambda request: {"request": request}],
)  # fmt: skip
def test_every_kind_of_callable(profile: Callable[[Any], Any]) -> None:
    """Functions, coroutine functions, objects, partials, and functions that return something to await."""
    assert ask(request="r", profile=profile) == {"request": "r"}


def test_an_async_callable_runs_in_place() -> None:
    """An async callable runs in the application's task and context: it sees its variables, and sets them."""

    async def profile(_: Any) -> str:
        await asyncio.sleep(0)
        variable.set("set inside")
        return threading.current_thread().name

    async def main() -> tuple[Any, str]:
        return await callables(profile=profile).ask("profile", None), variable.get()

    assert asyncio.run(main()) == (threading.current_thread().name, "set inside")


@pytest.mark.usefixtures("_soon")
def test_an_async_callable_has_its_time() -> None:
    """An async callable that takes too long is cancelled; one error names it and the limit."""
    cancelled: list[bool] = []

    async def profile(_: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with listening() as log:
        assert ask(profile=profile) is NO_ANSWER
    assert cancelled == [True]
    assert log.texts() == [
        "profile= took more than 0.05 s (read what the login has loaded); the visitor counts as unknown"
    ]
    assert log.codes() == ["timed_out"]


def test_the_first_step_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callable that never really waits costs no time limit: none is begun."""

    def begin(*_: object) -> None:
        raise AssertionError("a time limit was begun")

    limit = SimpleNamespace(__aenter__=begin, expired=lambda: False)

    async def main() -> Any:
        return await within(limit, immediate("r"))  # type: ignore[arg-type]

    assert asyncio.run(main()) == {"request": "r"}


# Sync ------------------------------------------------------------------------------------------


def test_a_plain_callable_runs_in_a_thread_of_ours() -> None:
    """A plain callable runs in our thread, never in the application's pool, and sees the request's variables."""

    def profile(request: Any) -> tuple[str, str, Any]:
        return threading.current_thread().name, variable.get(), request

    async def main() -> Any:
        variable.set("the request's")
        return await callables(profile=profile).ask("profile", "r")

    assert asyncio.run(main()) == ("test-ask", "the request's", "r")


def test_what_a_plain_callable_sets_stays_its_own() -> None:
    """A context variable that a plain callable sets is not seen by the application."""

    async def main() -> str:
        await callables(profile=lambda _: variable.set("inside")).ask("profile", None)
        return variable.get()

    assert asyncio.run(main()) == ""


@pytest.mark.usefixtures("_soon")
def test_a_plain_callable_has_its_time() -> None:
    """A plain callable that takes too long is not waited for."""
    go = threading.Event()
    with listening() as log:
        assert ask(profile=lambda _: go.wait(PATIENCE)) is NO_ANSWER
    go.set()
    assert log.texts() == [
        "profile= took more than 0.05 s (read what the login has loaded); the visitor counts as unknown"
    ]


def test_a_burst_waits_for_a_thread() -> None:
    """More visitors at once than threads: each is asked about in its turn, within its time."""

    async def main() -> list[Any]:
        busy = callables(profile=lambda request: {"id": request})
        return await asyncio.gather(*(busy.ask("profile", number) for number in range(30)))

    with listening() as log:
        assert asyncio.run(main()) == [{"id": number} for number in range(30)]
    assert log.texts() == []


@pytest.mark.usefixtures("_soon")
def test_with_every_thread_stuck_nobody_is_asked() -> None:
    """With all threads stuck the visitor counts as unknown when the time is up, and is not asked about later."""
    go, asked = threading.Event(), []

    async def main() -> list[Any]:
        stuck = callables(profile=lambda _: go.wait(PATIENCE))
        other = callables(profile=asked.append)
        first = [asyncio.ensure_future(stuck.ask("profile", None)) for _ in range(2)]
        await asyncio.sleep(0)
        answers = [await other.ask("profile", None)]
        return answers + await asyncio.gather(*first)

    with listening() as log:
        assert asyncio.run(main()) == [NO_ANSWER] * 3
    go.set()
    assert asked == []
    assert set(log.texts()) == {
        "profile= took more than 0.05 s (read what the login has loaded); the visitor counts as unknown"
    }


@pytest.mark.usefixtures("_soon")
def test_when_no_thread_can_be_started_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has no thread left the visitor counts as unknown at once, and the log says why."""
    monkeypatch.setattr(asking, "_threads", DaemonThreads("test", 0, queues=True))
    with listening() as log:
        assert ask(profile=lambda _: {"id": 1}) is NO_ANSWER
    assert log.texts() == ["profile= was not asked: no thread can be started; the visitor counts as unknown"]


def test_identity_runs_in_place() -> None:
    """identity= is cheap by contract: it runs in the application's own thread."""
    name = threading.current_thread().name
    assert ask("identity", identity=lambda _: threading.current_thread().name) == name
    assert ask("identity", identity=in_steps) == {"request": None}


# Those that raise ------------------------------------------------------------------------------


class CanaryError(Exception):
    pass


def fails(_: Any) -> None:
    raise CanaryError("s3cret")


async def fails_late(_: Any) -> None:
    await asyncio.sleep(0)
    raise CanaryError("s3cret")


async def fails_at_once(_: Any) -> None:
    raise CanaryError("s3cret")


@pytest.mark.parametrize("function", [fails, fails_late, fails_at_once])
@pytest.mark.parametrize("name", ["profile", "consent", "identity"])
def test_an_exception_stays_inside(name: str, function: Callable[[Any], Any]) -> None:
    """A callable that raises is no answer; the log names its type and line, not its text."""
    with listening() as log:
        assert ask(name, **{name: function}) is NO_ANSWER
    (text,) = log.texts()
    line = function.__code__.co_firstlineno + (2 if function is fails_late else 1)
    assert text == f"{name}= raised CanaryError at test_asking.py:{line}; the visitor counts as unknown"
    assert log.codes() == ["raised"]
    assert log.records[0].exc_info is None


@pytest.mark.parametrize("error", [StopIteration("x"), StopAsyncIteration("x"), TimeoutError("x"), KeyError("x")])
@pytest.mark.parametrize("name", ["profile", "identity"])
def test_exceptions_that_mean_something_to_python(name: str, error: Exception) -> None:
    """Even an exception that iterators and time limits use is one that the callable raised."""

    def function(_: Any) -> None:
        raise error

    with listening() as log:
        assert ask(name, **{name: function}) is NO_ANSWER
    assert log.codes() == ["raised"]


def test_a_cancellation_that_is_the_callables_own() -> None:
    """A callable that lets through the cancellation of something it waited for has raised: the request goes on."""

    async def profile(_: Any) -> None:
        other = asyncio.ensure_future(asyncio.sleep(PATIENCE))
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    with listening() as log:
        assert ask(profile=profile) is NO_ANSWER
    assert log.codes() == ["raised"]
    assert log.texts()[0].startswith("profile= raised CancelledError at ")


def test_a_request_that_is_cancelled_is_cancelled() -> None:
    """When the server cancels the request, the callable is cancelled with it, and the cancellation goes on."""
    cancelled: list[bool] = []

    async def profile(_: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> None:
        task = asyncio.ensure_future(callables(profile=profile).ask("profile", None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with listening() as log:
        asyncio.run(main())
    assert cancelled == [True]
    assert log.texts() == []


def test_an_error_is_logged_once_a_minute(clock: Clock) -> None:
    """The same error is said once a minute, not once a request."""
    with listening() as log:
        asked = callables(profile=fails)

        async def main() -> None:
            for _ in range(3):
                await asked.ask("profile", None)

        asyncio.run(main())
        assert len(log.texts()) == 1
        clock.now += 59.9
        asyncio.run(main())
        assert len(log.texts()) == 1
        clock.now += 0.2
        asyncio.run(main())
        assert len(log.texts()) == 2
