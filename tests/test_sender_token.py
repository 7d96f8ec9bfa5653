"""The sender when the token or the link is wrong: pushes are kept, and the log says so once."""

import re
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import LATEST, Clock, Results, answered, books_balance, bot, listening, push, sending, settings
from faults import PATIENCE, FaultServer, Line, answer_bytes, reply

from reve_middleware import cures, delivery, gate


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(delivery, "_random", SimpleNamespace(random=lambda: 0.0))


@pytest.fixture
def results() -> Results:
    return Results()


class Tokens:
    """A token callable; the newest of its tokens is the one it returns."""

    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        token = self.tokens[min(self.asked, len(self.tokens)) - 1]
        if isinstance(token, Exception):
            raise token
        return token


class Door:
    """Answers 204 to the right token and 401 to others; the first so many only when all have come."""

    def __init__(self, token: str, together: int = 1) -> None:
        self.token = token
        self.refused = 0
        self._barrier = threading.Barrier(together)

    def __call__(self, line: Line) -> None:
        received = line.read()
        if received is None:
            return
        right = received.header("Authorization") == f"Bearer {self.token}"
        if not right:
            self.refused += 1
            self._barrier.wait(PATIENCE)
        line.send(answer_bytes(204 if right else 401))


TOKEN = "bot b does not accept the token (%s); its pushes wait, and it is probed once a minute" + f": {cures.REFRESHED}"
LINK = "bot b: the webhook link does not work (%s); its pushes wait, and it is probed every 5 minutes"
NO_TOKEN = "bot b: token= gives no token (%s); its pushes wait, and it is asked once a minute"


def test_a_token_that_rotates_costs_nothing(results: Results) -> None:
    """When the token changes under 20 pushes in flight, its callable is asked once more, and each push is tried again
    at once: 20 refusals, 20 deliveries, nothing lost, nothing in the log."""
    tokens, door = Tokens("old", "new"), Door("new", together=20)
    with (
        FaultServer(default=door) as server,
        sending(settings(server.url, token=tokens, concurrency=20, on_result=results)) as sender,
        listening() as log,
    ):
        answered(sender)
        for number in range(20):
            sender.offer(push(f"s{number}"))
        assert {(result.outcome, result.attempt) for result in results.wait_for(20)} == {("delivered", 1)}
        assert tokens.asked == 2
        assert door.refused == 20
        assert len(server.received) == 40
        assert log.texts() == []


def test_a_token_that_stays_wrong_holds_the_bot(results: Results) -> None:
    """A callable that has no other token than the refused one holds the bot with one error: one request, then one each
    minute, and nothing is dropped."""
    clock, tokens, door = Clock(), Tokens("wrong"), Door("right")
    with (
        FaultServer(default=door) as server,
        sending(settings(server.url, token=tokens, on_result=results), clock) as sender,
        listening() as log,
    ):
        sender.offer(push("s0"))
        assert results.next() == ("held", "status_401")
        assert (door.refused, tokens.asked) == (1, 2)
        for minute in (1, 2, 3):
            clock.now += 59.9
            sender.offer(push(f"s{minute}"))
            assert not sender.gates["b"].may_try(clock.now)
            clock.now += 0.1
            sender.offer(push(f"t{minute}"))
            assert results.next() == ("held", "status_401")
            assert door.refused == 1 + minute
        assert sender.stats()["bots"] == {"b": "token"}
        assert log.texts() == [TOKEN % "status_401"]
        door.token = "wrong"
        clock.now += 60.0
        sender.offer(push("last"))
        assert {result.outcome for result in results.wait_for(8)} == {"delivered"}
        assert log.texts() == [TOKEN % "status_401", "bot b is reached again"]
        assert sender.stats()["dropped"] == {}
        assert books_balance(sender.stats())


def test_tokens_that_keep_changing_and_are_all_wrong(results: Results) -> None:
    """A fresh token is tried at once, once; after that each probe is one request with one fresh token."""
    clock, tokens, door = Clock(), Tokens(*(f"wrong-{number}" for number in range(9))), Door("right")
    with (
        FaultServer(default=door) as server,
        sending(settings(server.url, token=tokens, on_result=results), clock) as sender,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", "status_401")
        assert door.refused == 2
        for minute in (1, 2, 3):
            clock.now += 60.0
            sender.offer(push(f"s{minute}"))
            assert results.next() == ("held", "status_401")
            assert door.refused == 2 + minute
        sent = [received.header("Authorization") for received in server.received]
        assert sent == [f"Bearer wrong-{number}" for number in range(5)]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_text_and_wrong(results: Results, status: int) -> None:
    """A refused token that is text is not tried twice; the bot is held, the push kept."""
    with (
        FaultServer(default=reply(status)) as server,
        sending(settings(server.url, on_result=results), Clock()) as sender,
        listening() as log,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", f"status_{status}")
        assert sender.stats()["waiting"] == 1
        assert len(server.received) == 1
        assert log.texts() == [TOKEN % f"status_{status}"]
        assert log.codes() == [f"status_{status}"]


def test_a_token_that_cannot_be_had(results: Results) -> None:
    """Without a token nothing is sent; the bot is held until there is one."""
    clock, tokens = Clock(), Tokens(ValueError("canary"), "tok")
    with (
        FaultServer() as server,
        sending(settings(server.url, token=tokens, on_result=results), clock) as sender,
        listening() as log,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", "no_token")
        assert server.connections == 0
        assert log.texts() == [log.texts()[0], NO_TOKEN % "no_token"]
        assert re.fullmatch(r"token= raised ValueError at test_sender_token\.py:\d+", log.texts()[0])
        clock.now += 60.0
        sender.offer(push("t"))
        assert [result.outcome for result in results.wait_for(2)] == ["delivered"] * 2


def test_asking_for_the_token_is_part_of_the_attempt(results: Results) -> None:
    """The deadline of an attempt holds for the token too: the push is tried again, as after any time-out."""
    go = threading.Event()
    with FaultServer() as server:
        given = settings(server.url, token=lambda: "tok" if go.wait(PATIENCE) else "", timeout=0.1, on_result=results)
        with sending(given) as sender:
            sender.offer(push("s"))
            assert results.next() == ("again", "no_token")
            assert server.connections == 0
            go.set()


def test_a_token_callable_that_hangs_stops_no_names(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hanging token callables take no thread from those that resolve names."""
    monkeypatch.setattr("reve_middleware.bearer.TOKEN_SECONDS", 0.01)
    go, clock = threading.Event(), Clock()

    def hang() -> str:
        go.wait(PATIENCE)
        return "tok"

    with FaultServer() as server:
        bots = [
            bot("hangs", server.url, hang),
            bot("works", server.url.replace("127.0.0.1", "localhost"), "tok"),
        ]
        with sending(settings(bots=bots, on_result=results), clock) as sender:
            for number in range(6):
                sender.offer(push(f"s{number}", bot="hangs"))
                assert results.next() == ("held", "no_token")
                clock.now += 60.0
            sender.offer(push("s", bot="works"))
            told = {(result.chatbot_id, result.outcome) for result in results.wait_for(2)}
            assert ("works", "delivered") in told
            go.set()


@pytest.mark.parametrize("status", [301, 307, 410])
def test_a_link_that_is_wrong_holds_the_bot(results: Results, status: int) -> None:
    """Redirects and 410 hold the bot for five minutes with one error; the push is kept."""
    clock = Clock()
    with (
        FaultServer(reply(status, {"Location": "/elsewhere"})) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
        listening() as log,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", f"status_{status}")
        assert log.texts() == [f"{LINK % f'status_{status}'}: {cures.LINK if status == 410 else cures.MOVED}"]
        assert sender.stats()["bots"] == {"b": "configuration"}
        clock.now += 299.9
        sender.offer(push("t"))
        assert not sender.gates["b"].may_try(clock.now)
        clock.now += 0.1
        sender.offer(push("u"))
        assert [result.outcome for result in results.wait_for(3)] == ["delivered"] * 3
        assert len(server.received) == 4


def test_a_bot_that_is_held_lets_nothing_grow_old(results: Results) -> None:
    """While a bot is held, age does not count."""
    clock = Clock()
    with (
        FaultServer(reply(401)) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", "status_401")
        clock.now += 7000.0
        sender.offer(push("t"))
        assert [result.outcome for result in results.wait_for(2)] == ["delivered"] * 2


def test_a_hold_is_no_excuse_for_ever(results: Results) -> None:
    """After two hours a push is given up, held or not."""
    clock = Clock()
    with (
        FaultServer(reply(401)) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s"))
        assert results.next() == ("held", "status_401")
        clock.now += 7201.0
        sender.offer(push("t"))
        assert sorted(result.reason for result in results.wait_for(2)) == ["expired", "status_204"]
        assert sender.outdates(("b", "s"), LATEST)


def test_time_before_and_after_a_hold_counts(results: Results) -> None:
    """The age that counts is the time without that under the hold: here 310 s, a hold of 1000 s, 301 s."""
    clock = Clock()
    with (
        FaultServer(reply(503, {"Retry-After": "300"}), reply(401), reply(503, {"Retry-After": "300"})) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s"))
        assert results.next() == ("again", "status_503")
        for seconds, told in ((310.0, ("held", "status_401")), (1000.0, ("again", "status_503"))):
            clock.now += seconds
            sender.offer(push(f"after {seconds}"))
            assert results.next() == told
        clock.now += 301.0
        sender.offer(push("last"))
        assert sorted(result.reason for result in results.wait_for(4)) == ["expired", *["status_204"] * 3]
        assert sender.outdates(("b", "s"), LATEST)
