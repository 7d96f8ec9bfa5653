"""The stand-in's webhook when it is told to go wrong. Each docstring is a promise."""

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reve_middleware.sandbox import Misbehaviour, Sandbox, routes
from reve_middleware.sandbox.serving import serve_asgi


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(patience=0)


def call(sandbox: Sandbox, session: str = "s", **data: object) -> dict[str, Any]:
    """The keywords of a push in order."""
    return {
        "url": f"{sandbox.webhook_path}/login",
        "json": {"botId": sandbox.chatbot_id, "sessionId": session, "data": data},
        "headers": {"Authorization": f"Bearer {sandbox.token}"},
    }


def client(sandbox: Sandbox) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app), base_url="http://sandbox.test")


def push(sandbox: Sandbox, session: str = "s", **data: object) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client(sandbox) as asking:
            return await asking.post(**call(sandbox, session, **data))

    return asyncio.run(go())


async def until_held(sandbox: Sandbox, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(sandbox.held) < count:  # noqa: ASYNC110 (an event would be in the product for this alone)
            await asyncio.sleep(0)


# ---- answers


def test_it_behaves_unless_told_otherwise(sandbox: Sandbox) -> None:
    """Nothing is wrong with a new sandbox."""
    assert sandbox.misbehaviour is None
    assert push(sandbox, name="Ada").status_code == 200
    assert sandbox.requests[0].misbehaviour is None


def test_a_push_of_nothing_is_a_sign_out(sandbox: Sandbox) -> None:
    """At whatever endpoint `{}` comes, as `logout_endpoint=` gets it, the bot forgets what it knows in that chat."""
    push(sandbox, name="Ada")
    assert sandbox.knows("s") == {"name": "Ada"}
    assert push(sandbox).status_code == 200
    assert sandbox.knows("s") == {}


def test_a_status_until_it_behaves(sandbox: Sandbox) -> None:
    """The bot hears nothing, every request is on record with the reason, and `behave()` ends it."""
    sandbox.misbehave(status=503)
    answer = push(sandbox, name="Ada")
    assert (answer.status_code, answer.json()) == (503, {"error": "told to answer 503"})
    assert push(sandbox, name="Ada").status_code == 503
    assert "retry-after" not in answer.headers
    assert (sandbox.pushes, sandbox.knows("s")) == ([], None)
    assert [(each.status, each.why) for each in sandbox.requests] == [(503, "told to answer 503")] * 2
    assert json.loads(sandbox.requests[0].body)["data"] == {"name": "Ada"}
    assert sandbox.requests[0].misbehaviour == Misbehaviour(status=503) == sandbox.misbehaviour
    sandbox.behave()
    assert sandbox.misbehaviour is None
    assert push(sandbox, name="Ada").status_code == 200
    assert sandbox.knows("s") == {"name": "Ada"}


@pytest.mark.parametrize("given", [30, "30", "Fri, 31 Dec 1999 23:59:59 GMT", "soon", 0])
def test_retry_after_is_sent_as_it_is(sandbox: Sandbox, given: str | int) -> None:
    """Seconds, a date, or nonsense: a client has to live with all of them."""
    sandbox.misbehave(status=429, retry_after=given)
    answer = push(sandbox)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, str(given))
    assert sandbox.requests[0].why == f"told to answer 429, Retry-After: {given}"


def test_so_many_times(sandbox: Sandbox) -> None:
    """It counts down, and what comes after is taken as ever."""
    sandbox.misbehave(status=500, times=2)
    left = []
    for _ in range(3):
        left.append(sandbox.misbehaviour.times if sandbox.misbehaviour else None)
        push(sandbox)
    assert left == [2, 1, None]
    assert [each.status for each in sandbox.requests] == [500, 500, 200]
    assert sandbox.misbehaviour is None


def test_the_newest_order_holds(sandbox: Sandbox) -> None:
    """One misbehaviour at a time."""
    sandbox.misbehave(status=500, times=5)
    sandbox.misbehave(status=410)
    assert sandbox.misbehaviour == Misbehaviour(status=410)
    assert push(sandbox).status_code == 410


def test_threads_share_the_count(sandbox: Sandbox) -> None:
    """However many ask at once, so many are answered wrongly, and no more."""
    sandbox.misbehave(status=500, times=25)
    start = threading.Barrier(8)

    def receive() -> None:
        start.wait()
        for _ in range(10):
            sandbox.receive("POST", "/", {}, b"")

    threads = [threading.Thread(target=receive) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.status for each in sandbox.requests].count(500) == 25
    assert len(sandbox.requests) == 80


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Sandbox]]:
    """A real server: it complains of an answer that HTTP does not allow."""
    sandbox = Sandbox(patience=0)
    with serve_asgi(sandbox.app) as url:
        yield url, sandbox


@pytest.mark.parametrize("status", [200, 201, 204, 205, 299, 301, 304, 400, 404, 405, 410, 418, 429, 500, 599])
def test_any_status_can_be_sent(served: tuple[str, Sandbox], status: int) -> None:
    """Over a real server, on one connection, also those that have no body."""
    url, sandbox = served
    sandbox.misbehave(status=status, times=1)
    with httpx.Client(base_url=url) as asking:
        answers = [asking.post(**call(sandbox)) for _ in range(2)]
    assert [each.status_code for each in answers] == [status, 200]
    assert bool(answers[0].content) is (status not in (204, 205, 304))


# ---- stalls


def test_a_right_answer_that_is_late(sandbox: Sandbox) -> None:
    """The bot has heard of it at once; only the caller does not know yet. Others are answered meanwhile."""

    async def go() -> None:
        async with client(sandbox) as asking:
            sandbox.misbehave(seconds=60, times=1)
            late = asyncio.create_task(asking.post(**call(sandbox, name="Ada")))
            await until_held(sandbox)
            assert sandbox.knows("s") == {"name": "Ada"}
            assert [(each.status, each.why) for each in sandbox.requests] == [(200, "")]
            assert (await asking.post(**call(sandbox, "other"))).status_code == 200
            assert (await asking.get("/operator/state")).status_code == 200
            assert not late.done()
            sandbox.behave()
            assert (await late).json() == {"status": "success"}

    asyncio.run(go())
    assert len(sandbox.held) == 0


def test_a_wrong_answer_that_is_late(sandbox: Sandbox) -> None:
    """A thread's `behave()` lets all of them go, each with the answer it was to get."""

    async def go() -> None:
        async with client(sandbox) as asking:
            sandbox.misbehave(status=503, seconds=60, retry_after=1)
            late = [asyncio.create_task(asking.post(**call(sandbox))) for _ in range(3)]
            await until_held(sandbox, 3)
            await asyncio.to_thread(sandbox.behave)
            assert [(await each).status_code for each in late] == [503] * 3

    asyncio.run(go())
    assert sandbox.pushes == []


def test_an_answer_can_be_let_go_before_it_is_held(sandbox: Sandbox) -> None:
    """It counts as held back as soon as the request is on record, and `behave()` frees it from then on."""
    sandbox.misbehave(seconds=60)
    record = sandbox.receive("POST", "/", {}, b"")
    assert len(sandbox.held) == 1
    sandbox.behave()
    assert len(sandbox.held) == 0
    asyncio.run(asyncio.wait_for(sandbox.held.hold(record.number, 60, asyncio.Event().wait), 10))


def test_an_answer_comes_when_its_time_is_over(sandbox: Sandbox) -> None:
    """By itself; and never before."""
    sandbox.misbehave(status=500, seconds=0.05)
    answer = push(sandbox)
    assert answer.status_code == 500
    assert answer.elapsed.total_seconds() >= 0.04
    assert len(sandbox.held) == 0


def test_a_caller_that_has_gone_is_not_waited_for(sandbox: Sandbox) -> None:
    """Its answer is held no longer, though the body was too long to be read to its end."""
    sandbox.misbehave(seconds=60)
    messages = [{"type": "http.request", "body": b"x" * 200_000, "more_body": True} for _ in range(3)]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None: ...

    scope = {"type": "http", "method": "POST", "path": "/api/webhook/x", "headers": [], "query_string": b""}

    async def go() -> None:
        async with asyncio.timeout(10):
            await sandbox.app(scope, receive, send)

    asyncio.run(go())
    assert (messages, len(sandbox.held)) == ([], 0)


def test_a_server_that_stops_waits_for_no_stalled_answer(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent at once, as it was to be: it is neither cut off nor waited for."""
    held = threading.Event()
    gone = routes._gone

    def told(request: Any) -> Any:
        held.set()
        return gone(request)

    monkeypatch.setattr(routes, "_gone", told)
    sandbox.misbehave(status=503, seconds=60)
    found: list[int] = []
    with serve_asgi(sandbox.app) as url:
        keywords = call(sandbox)
        target = url + keywords.pop("url")
        late = threading.Thread(target=lambda: found.append(httpx.post(target, timeout=30, **keywords).status_code))
        late.start()
        assert held.wait(10)
    late.join()
    assert found == [503]


def test_an_event_loop_that_has_ended_is_no_error(sandbox: Sandbox) -> None:
    """`behave()` never fails: what was held on that loop is gone with it."""
    loop = asyncio.new_event_loop()
    loop.close()
    sandbox.held._waiting[asyncio.Event()] = loop
    sandbox.behave()


# ---- mistakes


@pytest.mark.parametrize(
    ("keywords", "cure"),
    [
        ({}, "give status= or seconds="),
        ({"times": 3}, "give status= or seconds="),
        ({"status": 99}, "status=99: use a number from 200 to 599"),
        ({"status": 101}, "a 1xx is not an answer yet"),
        ({"status": 600}, "use a number from 200 to 599"),
        ({"status": "503"}, "status='503': use a number from 200 to 599"),
        ({"status": True}, "status=True: use a number"),
        ({"seconds": -1}, "seconds=-1: use a number from 0 to 60"),
        ({"seconds": 61}, "use a number from 0 to 60"),
        ({"seconds": math.nan}, "seconds=nan: use a number"),
        ({"seconds": "5"}, "seconds='5': use a number"),
        ({"status": 500, "times": 0}, "times=0: use a whole number from 1, or None"),
        ({"status": 500, "times": 1.5}, "times=1.5: use a whole number from 1"),
        ({"seconds": 1, "retry_after": 5}, "give status=429 or status=503 too"),
        ({"status": 429, "retry_after": -1}, "retry_after=-1: use seconds, such as 30"),
        ({"status": 429, "retry_after": 1.5}, "retry_after=1.5: use seconds, such as 30"),
        ({"status": 429, "retry_after": True}, "retry_after=True: use seconds"),
        ({"status": 429, "retry_after": ""}, "retry_after='': use seconds"),
        ({"status": 429, "retry_after": "1\r\nX: y"}, "ASCII on one line"),
        ({"status": 429, "retry_after": "bald ü"}, "ASCII on one line"),
        ({"status": 429, "retry_after": "1 "}, "retry_after='1 ': use seconds"),
        ({"status": 429, "retry_after": "1" * 201}, "at most 200 characters"),
    ],
)
def test_a_mistake_is_told_with_the_cure(sandbox: Sandbox, keywords: dict[str, Any], cure: str) -> None:
    """And what held before still holds."""
    sandbox.misbehave(status=418)
    with pytest.raises(ValueError, match=cure.replace("(", r"\(").replace("+", r"\+")):
        sandbox.misbehave(**keywords)
    assert sandbox.misbehaviour == Misbehaviour(status=418)
