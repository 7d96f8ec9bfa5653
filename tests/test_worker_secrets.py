"""Nothing of a push, a token or an address shows while a task queue's worker delivers (contract §8)."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import httpx
import pytest
from delivering import Log, listening
from fakes import PATIENCE
from faults import Answer, FaultServer, Line, answer_bytes, refusing, reply, reset, silence

from reve_middleware import Bot, ReveError, SettingsError, adeliver, deliver, worker

CANARY = "canary"


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    worker._forget()
    yield
    worker._forget()


@pytest.fixture
def everything() -> Iterator[Log]:
    """All that is logged anywhere, at DEBUG."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(listening(""))
        for name in ("httpx", "httpcore", "asyncio", "reve_middleware"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        yield log


def task(session: str = "1") -> dict[str, Any]:
    body = f'{{"email":"{CANARY}@mail.example"}}'
    session = f"{CANARY}-session-{session}"
    return {"chatbot_id": "bot", "session_id": session, "endpoint": None, "body": body, "offered": time.time()}


def bot(url: str, chatbot_id: str = "bot") -> Bot:
    return Bot(webhook_url=url, token=f"{CANARY}-token", chatbot_id=chatbot_id)


def server(*answers: Answer) -> FaultServer:
    return FaultServer(*answers, path=f"/{CANARY}/path")


def held(free: threading.Event) -> Answer:
    """204, but not before."""

    def answer(line: Line) -> None:
        line.read()
        free.wait(PATIENCE)
        line.send(answer_bytes(204))

    return answer


def raised_by(call: Callable[[dict[str, Any]], Any]) -> ReveError:
    with pytest.raises(ReveError) as raised:
        call(task())
    return raised.value


def shown_by(error: BaseException) -> Iterator[str]:
    """What an error tracker sends: the chain of exceptions, and the locals of every frame but the test's own."""
    seen: BaseException | None = error
    while seen is not None:
        yield repr(seen)
        yield str(seen)
        trace: TracebackType | None = seen.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            if frame.f_code.co_filename != __file__:
                yield from (f"{frame.f_code.co_name}: {name} = {value!r}" for name, value in frame.f_locals.items())
            trace = trace.tb_next
        seen = seen.__cause__ or seen.__context__


CALLS: dict[str, Callable[..., Any]] = {
    "deliver": deliver,
    "adeliver": lambda push, bots, **keywords: asyncio.run(adeliver(push, bots, **keywords)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_frame_shows_it(call: Callable[..., Any]) -> None:
    """No exception of `deliver`, none it comes from, and no frame on its way shows a token, an address or a push."""
    errors = [
        raised_by(lambda push: call({**push, "body": 7}, bot("https://canary.example/"))),
        raised_by(lambda push: call(push, bot("https://canary.example/", "other"))),
        raised_by(lambda push: call(push, "canary"[:0])),
    ]
    for answer in (reply(503), reply(401), reply(307, {"Location": "/canary"}), reset, silence):
        with server(answer) as webhook:
            errors.append(raised_by(lambda push, url=webhook.url: call(push, bot(url), seconds=0.3)))  # type: ignore[misc]
    with refusing() as url:
        errors.append(raised_by(lambda push: call(push, bot(f"{url}/{CANARY}"))))
    shown = [line for error in errors for line in shown_by(error)]
    assert any(line.startswith("_answer: answer = NotDelivered('status_503', None)") for line in shown)
    assert [line for line in shown if CANARY in line] == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_log_shows_it(call: Callable[..., Any], everything: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log record shows it either, at DEBUG and in asyncio's debug mode; afterwards the thread's own requests are
    logged as before."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with server(reply(204), reply(422), reply(503), reset) as webhook:
        for said in ("delivered", "refused"):
            assert call(task(), bot(webhook.url)) == said
        for _ in range(2):
            raised_by(lambda push: call(push, bot(webhook.url)))
        assert [record for record in everything.records if CANARY in str(vars(record))] == []
        assert "httpx" not in {record.name for record in everything.records}
        httpx.get(webhook.url.replace(CANARY, "own"), trust_env=False)
    assert f"HTTP Request: GET {webhook.url.replace(CANARY, 'own')}" in str(everything.texts(logging.DEBUG))


def test_side_by_side(everything: Log) -> None:
    """Two deliveries in one event loop, one of which ends before the other, log nothing; what the worker's own tasks
    request meanwhile is logged."""
    free = threading.Event()

    async def main() -> None:
        first = asyncio.create_task(adeliver(task("1"), bot(quick.url)))
        await asyncio.to_thread(quick.wait_for, 1)
        second = asyncio.create_task(adeliver(task("2"), bot(slow.url)))
        await asyncio.to_thread(slow.wait_for, 1)
        first_free.set()
        assert await first == "delivered"
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(own.url)
        free.set()
        assert await second == "delivered"

    first_free = threading.Event()
    with server(held(first_free)) as quick, server(held(free)) as slow, FaultServer() as own:
        asyncio.run(main())
    said = everything.texts(logging.DEBUG)
    assert [text for text in said if text.startswith("HTTP Request")] == [
        f'HTTP Request: GET {own.url} "HTTP/1.1 204 Whatever"'
    ]
    assert [record for record in everything.records if CANARY in str(vars(record))] == []


@pytest.mark.parametrize(
    ("url", "token"), [("https://canary.example/a?b", "t"), ("ftp://canary/", "t"), ("https://x.example/", "canary c")]
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_environment(call: Callable[..., Any], url: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value in the worker's environment is a SettingsError that shows none of its secrets."""
    for name, value in (("WEBHOOK_URL", url), ("TOKEN", token), ("CHATBOT_ID", "bot")):
        monkeypatch.setenv(f"REVE_{name}", value)
    error = raised_by(lambda push: call(push, None))
    assert isinstance(error, SettingsError)
    assert [line for line in shown_by(error) if CANARY in line] == []
