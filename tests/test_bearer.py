"""A bot's token: text, or a callable that is asked when it must be."""

import asyncio
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from delivering import listening
from faults import PATIENCE

from reve_middleware import bearer
from reve_middleware.bearer import CurrentToken
from reve_middleware.bot import Secret
from reve_middleware.threads import DaemonThreads


@pytest.fixture
def threads() -> Iterator[DaemonThreads]:
    threads = DaemonThreads("test-token", 2)
    yield threads
    threads.end()


class Source:
    """A token callable: t1, t2, … ; and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return f"t{self.asked}"


def run(flow: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await flow()

    return asyncio.run(main())


def test_a_token_that_is_text(threads: DaemonThreads) -> None:
    """A token given as text is that text, and there is no other when it is refused."""
    token = CurrentToken(Secret("tok"))
    assert run(lambda: token.value(threads)) == "tok"
    assert token.refused("tok") is False


def test_a_callable_is_asked_once(threads: DaemonThreads) -> None:
    """However many pushes wait for a token, its callable is asked once, and its answer is kept."""
    source = Source()
    token = CurrentToken(source)

    async def flow() -> list[str | None]:
        many = await asyncio.gather(*(token.value(threads) for _ in range(20)))
        return [*many, await token.value(threads)]

    assert run(flow) == ["t1"] * 21
    assert source.asked == 1


def test_a_refused_token_is_asked_for_again_once(threads: DaemonThreads) -> None:
    """When many pushes come back with the same refused token, the callable is asked once more, for all."""
    source = Source()
    token = CurrentToken(source)

    async def push() -> str | None:
        value = await token.value(threads)
        assert value is not None
        await asyncio.sleep(0)
        assert token.refused(value) is True
        return await token.value(threads)

    async def flow() -> list[str | None]:
        await token.value(threads)
        return await asyncio.gather(*(push() for _ in range(20)))

    assert run(flow) == ["t2"] * 20
    assert source.asked == 2


def test_a_late_refusal_does_not_spend_the_newer_token(threads: DaemonThreads) -> None:
    """A refusal of the old token that arrives when the new one is known changes nothing."""
    source = Source()
    token = CurrentToken(source)

    async def flow() -> str | None:
        assert await token.value(threads) == "t1"
        assert token.refused("t1")
        assert await token.value(threads) == "t2"
        assert token.refused("t1")
        return await token.value(threads)

    assert run(flow) == "t2"
    assert source.asked == 2


class AsyncObject:
    async def __call__(self) -> str:
        await asyncio.sleep(0)
        return "async-object"


async def asynchronous() -> str:
    await asyncio.sleep(0)
    return "async"


def returns_an_awaitable() -> Awaitable[str]:
    return asynchronous()


@pytest.mark.parametrize(
    ("source", "value"),
    [(asynchronous, "async"), (AsyncObject(), "async-object"), (returns_an_awaitable, "async"), (lambda: "x", "x")],
)
def test_every_kind_of_callable(threads: DaemonThreads, source: Any, value: str) -> None:
    """A token callable may be a function, a coroutine function, an object, or return something to await."""
    assert run(lambda: CurrentToken(source).value(threads)) == value


def test_a_plain_callable_holds_up_no_loop(threads: DaemonThreads) -> None:
    """A plain function runs in a thread of ours."""
    seen: list[str] = []

    def source() -> str:
        seen.append(threading.current_thread().name)
        return "t"

    run(lambda: CurrentToken(source).value(threads))
    assert seen == ["test-token"]


def test_a_callable_that_raises(threads: DaemonThreads) -> None:
    """An exception is one error that names its type and not its text; the callable is asked again next time."""
    answers: Iterator[Any] = iter([ValueError("canary"), "t"])

    def source() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    token = CurrentToken(source)

    async def flow() -> list[str | None]:
        return [*await asyncio.gather(token.value(threads), token.value(threads)), await token.value(threads)]

    with listening() as log:
        assert run(flow) == [None, None, "t"]
    assert re.fullmatch(r"token= raised ValueError at test_bearer\.py:\d+", *log.texts())
    assert log.codes() == ["token_raised"]


@pytest.mark.parametrize("wrong", ["", "can ary", "canary\n", "canary\r\nX: y", "cänary", "canary\x00", None, 5, b"t"])
def test_what_is_no_token(threads: DaemonThreads, wrong: Any) -> None:
    """What could not stand in a header is refused, and not shown."""
    with listening() as log:
        assert run(lambda: CurrentToken(lambda: wrong).value(threads)) is None
    (text,) = log.texts()
    assert re.match(r"token= returned what is no token: it (is (no text|empty)|has blanks|has a blank)", text)
    assert "nary" not in text
    assert log.codes() == ["token_wrong"]


def test_a_callable_that_hangs(threads: DaemonThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token callable has 10 s, sync or async."""
    assert bearer.TOKEN_SECONDS == 10.0
    monkeypatch.setattr(bearer, "TOKEN_SECONDS", 0.02)
    go = threading.Event()

    async def never() -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    with listening() as log:
        assert run(lambda: CurrentToken(lambda: go.wait(PATIENCE)).value(threads)) is None
        assert run(lambda: CurrentToken(never).value(threads)) is None
    go.set()
    assert log.texts() == ["token= raised TimeoutError"] * 2


def test_a_push_that_is_broken_off_takes_the_token_from_nobody(threads: DaemonThreads) -> None:
    """When one of those who wait for a token is cancelled, the others get it all the same."""

    async def flow() -> str | None:
        answer = asyncio.get_running_loop().create_future()

        async def source() -> str:
            return str(await answer)

        token = CurrentToken(source)
        first, second = (asyncio.ensure_future(token.value(threads)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        answer.set_result("t")
        return await second

    assert run(flow) == "t"


def test_debug_mode_shows_no_token(threads: DaemonThreads) -> None:
    """In asyncio's debug mode, which logs what a slow task returned, a token does not appear."""

    async def plain() -> str:
        return "canary"

    async def ask() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        for source in (plain, lambda: "canary"):
            assert await CurrentToken(source).value(threads) == "canary"
            await asyncio.sleep(0)

    with listening("asyncio") as log:
        asyncio.run(ask(), debug=True)
    texts = log.texts(logging.DEBUG)
    assert any("CurrentToken._ask()" in text for text in texts), "the log was on"
    assert "canary" not in "".join(texts)
