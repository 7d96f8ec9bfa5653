"""`deliver` and `adeliver`: what a task queue's worker calls with what `handoff=` was given (contract §7, §8)."""

import asyncio
import contextlib
import copy
import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from delivering import listening
from drive import elsewhere
from fakes import PATIENCE, Answer, Webhook
from faults import FaultServer, drip, reply, silence

from reve_middleware import Bot, NotDelivered, ReveError, SettingsError, adeliver, deliver, worker

URL = "https://reve.example/hook"
BODY = '{"botId":"bot","sessionId":"s-1","data":{"name":"Ada ☃"}}'


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Each test has a process of its own."""
    worker._forget()
    yield
    worker._forget()


def task(**fields: Any) -> dict[str, Any]:
    made = {"chatbot_id": "bot", "session_id": "s-1", "endpoint": None, "body": BODY, "offered": time.time()}
    return {**made, **fields}


def bot(url: str = URL, token: Any = "token-1", chatbot_id: str = "bot") -> Bot:
    return Bot(webhook_url=url, token=token, chatbot_id=chatbot_id)


def by_adeliver(push: Any, bots: Any = None, **keywords: Any) -> str:
    return asyncio.run(adeliver(push, bots, **keywords))


@pytest.fixture(params=[deliver, by_adeliver], ids=["deliver", "adeliver"])
def call(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Each test that asks for it runs with both."""
    return request.param  # type: ignore[no-any-return]


# One attempt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("endpoint", "url"), [(None, URL), ("login", f"{URL}/login")])
def test_what_is_sent(call: Callable[..., str], endpoint: str | None, url: str) -> None:
    """The body goes out as it was handed on, to the bot's own address, with the bot's own token."""
    webhook = Webhook()
    assert call(json.loads(json.dumps(task(endpoint=endpoint))), bot(), client=webhook) == "delivered"
    [posted] = webhook.posts
    assert (posted.url, posted.body) == (url, BODY.encode())
    assert posted.headers["Authorization"] == "Bearer token-1"
    assert webhook.open_clients == 0


@pytest.mark.parametrize(
    ("status", "said"), [(200, "delivered"), (299, "delivered"), (400, "refused"), (404, "refused"), (422, "refused")]
)
def test_what_is_final(call: Callable[..., str], status: int, said: str) -> None:
    """2xx is "delivered", and a 4xx that no repetition mends is "refused"."""
    assert call(task(), bot(), client=Webhook(status)) == said


@pytest.mark.parametrize(
    ("answer", "reason", "retry_after"),
    [
        (500, "status_500", None),
        (408, "status_408", None),
        ((503, {"Retry-After": "7"}), "status_503", 7.0),
        ((429, {"Retry-After": "99999"}), "status_429", 300.0),
        ((429, {"Retry-After": "soon"}), "status_429", None),
        (401, "status_401", 60.0),
        (403, "status_403", 60.0),
        (302, "status_302", 300.0),
        (410, "status_410", 300.0),
        (httpx.ConnectError("canary"), "network", None),
        (httpx.ReadTimeout("canary"), "timeout", None),
    ],
)
def test_what_is_to_be_tried_again(
    call: Callable[..., str], answer: Answer, reason: str, retry_after: float | None
) -> None:
    """What a later attempt may mend raises NotDelivered, with the reason and how long to wait at least: what the server
    asks for up to 300 s, 60 s for a token, 300 s for a link that does not work."""
    webhook = Webhook(answer)
    with pytest.raises(NotDelivered) as raised:
        call(task(), bot(), client=webhook)
    error = raised.value
    assert (error.reason, error.retry_after) == (reason, retry_after)
    assert str(error) == f"the push was not delivered ({reason})"
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(webhook.posts) == 1
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), type(error)(*error.args)):
        assert (type(twin), str(twin)) == (NotDelivered, str(error))
        assert (twin.reason, twin.retry_after) == (reason, retry_after)


def test_the_whole_attempt_is_bounded(call: Callable[..., str]) -> None:
    """An attempt ends after `seconds`, also where the webhook sends its answer byte by byte."""
    for answer in (silence, drip(b"HTTP/1.1 200 OK\r\nx: ", every=0.02)):
        with FaultServer(answer) as server, pytest.raises(NotDelivered, match="timeout"):
            call(task(), bot(server.url), seconds=0.2)


def test_a_name_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name whose look-up hangs holds up the worker no longer than `seconds`."""
    free = threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        free.wait(PATIENCE)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with pytest.raises(NotDelivered) as raised:
        deliver(task(), bot("http://hook.localhost:9/"), seconds=0.1)
    assert raised.value.reason == "timeout"
    assert not free.is_set()
    free.set()


# The token -----------------------------------------------------------------------------------------


def test_a_refused_token_is_asked_for_once_more(call: Callable[..., str]) -> None:
    """A callable is asked for the token of each push, and once anew where it is refused."""
    for kind in ("plain", "async"):
        tokens = ["old", "new", "never"]

        async def later(tokens: list[str] = tokens) -> str:
            return tokens.pop(0)

        def now(tokens: list[str] = tokens) -> str:
            return tokens.pop(0)

        webhook = Webhook(401)
        assert call(task(), bot(token=now if kind == "plain" else later), client=webhook) == "delivered"
        assert [posted.headers["Authorization"] for posted in webhook.posts] == ["Bearer old", "Bearer new"]
        assert tokens == ["never"]


def test_a_token_that_stays_refused(call: Callable[..., str]) -> None:
    """The second refusal is the queue's business: NotDelivered, after two requests."""
    webhook = Webhook(401, 403)
    with pytest.raises(NotDelivered) as raised:
        call(task(), bot(token=lambda: "t"), client=webhook)
    assert (raised.value.reason, raised.value.retry_after, len(webhook.posts)) == ("status_403", 60.0, 2)


def test_no_token(call: Callable[..., str]) -> None:
    """Where the callable raises or returns what is no token, nothing is sent; neither log nor error holds its words."""

    def raises() -> str:
        raise ValueError("canary")

    for source in (raises, lambda: "canary canary"):
        webhook = Webhook()
        with listening() as log, pytest.raises(NotDelivered) as raised:
            call(task(), bot(token=source), client=webhook)
        assert (raised.value.reason, raised.value.retry_after, webhook.posts) == ("no_token", 60.0, [])
        assert webhook.open_clients == 0
        assert log.records
        assert "canary" not in str([vars(record) for record in log.records])
        assert raised.value.__context__ is None


# What is not sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "said"), [(7201.0, "expired"), (7190.0, "delivered"), (-60.0, "delivered")])
def test_too_old(call: Callable[..., str], age: float, said: str) -> None:
    """A push that waited more than 2 h in the task queue is not sent any more."""
    webhook = Webhook()
    assert call(task(offered=time.time() - age), bot(), client=webhook) == said
    assert len(webhook.posts) == (said == "delivered")


def test_never_an_older_one_after_a_newer_one(call: Callable[..., str]) -> None:
    """A process delivers no push that is older than one it has tried to deliver to that chat; the same one again, and
    those of other chats, it does."""
    now, bots = time.time(), [bot(), bot(chatbot_id="other")]
    webhook = Webhook(204, 503)
    assert call(task(offered=now - 2), bots, client=webhook) == "delivered"
    with pytest.raises(NotDelivered):
        call(task(offered=now), bots, client=webhook)
    for fields, said in (
        ({"offered": now - 1}, "superseded"),
        ({"offered": now - 1, "endpoint": "logout"}, "superseded"),
        ({"offered": now - 1, "session_id": "s-2"}, "delivered"),
        ({"offered": now - 1, "chatbot_id": "other"}, "delivered"),
        ({"offered": now}, "delivered"),
        ({"offered": now}, "delivered"),
        ({"offered": now + 1}, "delivered"),
    ):
        assert call(task(**fields), bots, client=webhook) == said


def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen is forgotten when nothing older would be sent any more."""
    now = 1000.0
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now))
    assert worker._is_newest(("b", "s"), 5.0)
    now += 7200.0
    assert not worker._is_newest(("b", "s"), 4.0)
    now += 1.0
    assert worker._is_newest(("b", "s"), 4.0)


# Mistakes ------------------------------------------------------------------------------------------

CURE = "pass the dict that handoff= was given, as it was"
WRONG: list[tuple[str, Any]] = [
    ("chatbot_id", 1),
    ("session_id", b"s"),
    ("endpoint", "../canary"),
    ("endpoint", 7),
    ("body", None),
    ("body", "canary \ud800"),
    ("offered", "1"),
    ("offered", float("nan")),
    ("offered", float("inf")),
]


@pytest.mark.parametrize(("push", "kind"), [("canary", "str"), (None, "NoneType"), ([task()], "list")])
def test_what_is_no_dict(call: Callable[..., str], push: Any, kind: str) -> None:
    """What is no dict raises a plain ReveError that says what it is, and the cure."""
    with pytest.raises(ReveError) as raised:
        call(push, bot())
    assert (type(raised.value), str(raised.value)) == (ReveError, f"this is a {kind}, no push: {CURE}")


@pytest.mark.parametrize(
    ("push", "name"),
    [({key: value for key, value in task().items() if key != name}, name) for name in task()]
    + [(task(**{name: value}), name) for name, value in WRONG],
    ids=[f"no {name}" for name in task()] + [f"{name} {value!a}" for name, value in WRONG],
)
def test_what_is_no_push(call: Callable[..., str], push: Any, name: str) -> None:
    """A dict that is no push raises a plain ReveError that names the field, no value, and the cure."""
    with pytest.raises(ReveError) as raised:
        call(push, bot())
    text = f"this is no push, its {name!r} is missing or wrong: {CURE}"
    assert (type(raised.value), str(raised.value)) == (ReveError, text)
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("bots", "text"),
    [
        (bot(chatbot_id="x"), "a push is for the bot 'bot': pass it as bots=, or set REVE_CHATBOT_ID"),
        ([], "a push is for the bot 'bot': pass it as bots=, or set REVE_CHATBOT_ID"),
        ("bot", "bots is a str: it must be a Bot(…) or a list of them"),
        ([bot(), "bot"], "bots is a list: it must be a Bot(…) or a list of them"),
    ],
)
def test_no_such_bot(call: Callable[..., str], bots: Any, text: str) -> None:
    """A push for none of the worker's bots, and what is no bot, is a SettingsError that says so."""
    with pytest.raises(SettingsError) as raised:
        call(task(), bots)
    assert str(raised.value) == text


def test_the_bot_of_the_environment(call: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `bots` the bot is the environment's, and what is missing there is named."""
    for name, value in (("WEBHOOK_URL", URL), ("TOKEN", "token-2"), ("CHATBOT_ID", "bot")):
        monkeypatch.setenv(f"REVE_{name}", value)
    webhook = Webhook()
    assert call(task(), client=webhook) == "delivered"
    assert webhook.posts[0].headers["Authorization"] == "Bearer token-2"
    monkeypatch.delenv("REVE_TOKEN")
    with pytest.raises(SettingsError, match=r"token is missing: .* \(or set REVE_TOKEN in the environment\)"):
        call(task(), client=webhook)


def test_deliver_in_a_thread_that_runs_an_event_loop() -> None:
    """In a thread that runs an event loop `deliver` sends nothing and says what to call instead."""
    webhook = Webhook()

    async def main() -> None:
        with pytest.raises(ReveError) as raised:
            deliver(task(), bot(), client=webhook)
        assert str(raised.value) == (
            "deliver() would hold up the event loop of this thread: await adeliver(push, …) instead"
        )
        assert await adeliver(task(), bot(), client=webhook) == "delivered"

    asyncio.run(main())
    assert len(webhook.posts) == 1


def test_the_workers_own_event_loop_stays() -> None:
    """`deliver` leaves the event loop that a thread has set, and may be called in any thread."""

    def in_thread() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        with contextlib.closing(loop):
            assert deliver(task(), bot(), client=Webhook()) == "delivered"
            assert asyncio.get_event_loop_policy().get_event_loop() is loop
            assert loop.run_until_complete(adeliver(task(), bot(), client=Webhook())) == "delivered"
        asyncio.set_event_loop(None)

    elsewhere(in_thread)


# By hand -------------------------------------------------------------------------------------------


def test_try_once_says_all_and_minds_no_other_push() -> None:
    """Status and Retry-After come back as they are, after one attempt, whatever this process has sent before."""
    newest = time.time()
    with FaultServer(default=reply(429, {"Retry-After": "900"})) as server:
        with pytest.raises(NotDelivered):
            deliver(task(offered=newest), bot(server.url))
        outcome = worker.try_once(task(offered=newest - 60), bot(server.url))
        assert (outcome.kind, outcome.status, outcome.retry_after) == ("again", 429, 900.0)
        assert len(server.received) == 2
        with pytest.raises(ReveError, match="its 'body' is missing or wrong"):
            worker.try_once(task(body=b"{}"), bot(server.url))
        assert len(server.received) == 2
