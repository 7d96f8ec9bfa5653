"""The sender: a real thread, a real webhook on loopback."""

import random
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from delivering import LATEST, Clock, Results, answered, books_balance, listening, push, sending, settings
from faults import PATIENCE, FaultServer, held, reply, reset

from reve_middleware import delivery, gate
from reve_middleware.cures import cure_of
from reve_middleware.delivery import Result
from reve_middleware.outcome import Outcome

CHANCE = delivery._random


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ROUND_SECONDS", 0.0)
    """Full jitter that always comes out at nothing: what is tried again is tried at once."""
    monkeypatch.setattr(delivery, "_random", SimpleNamespace(random=lambda: 0.0))


@pytest.fixture
def results() -> Results:
    return Results()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reve-middleware")]


# The usual way ---------------------------------------------------------------------------------


def test_a_push_is_delivered(server: FaultServer, results: Results) -> None:
    """What is offered is posted to the bot's webhook, and the books say so."""
    with sending(settings(server.url, on_result=results)) as sender:
        assert sender.offer(push("s", b'{"data":1}', endpoint="login", at=7)) == ("queued", 7)
        (result,) = results.wait_for(1)
        (received,) = server.received
        assert (received.line, received.body) == ("POST /hook/path/login HTTP/1.1", b'{"data":1}')
        assert (result.chatbot_id, result.outcome, result.reason, result.attempt) == ("b", "delivered", "status_204", 1)
        assert 0 <= result.seconds < PATIENCE
        assert sender.stats() == {
            "waiting": 0,
            "in_flight": 0,
            "offered": 1,
            "delivered": 1,
            "superseded": 0,
            "busy": 0,
            "dropped": {},
            "attempts": {"status_204": 1},
            "bots": {"b": "open"},
        }


def test_nothing_runs_before_the_first_push(server: FaultServer) -> None:
    """A sender that has had nothing to do has no thread and no connection."""
    before = {*threads()}
    with sending(settings(server.url)) as sender:
        assert {*threads()} <= before, "those of other tests may end"
        sender.offer(push())
        assert {*threads()} - before
        server.wait_for(1)


def test_what_the_mailbox_does_not_take_wakes_nobody(server: FaultServer) -> None:
    """An offer that is no news starts no thread."""
    before = threads()
    with sending(settings(server.url)) as sender:
        sender.let_go(("b", "s"), 10)
        assert sender.offer(push("s", captured=5)).status == "signed_out"
        assert {*threads()} <= {*before}


def test_the_newest_waits_behind_the_one_in_flight(results: Results) -> None:
    """While one push of a chat is in flight, only the newest of those that follow is sent, afterwards."""
    go = threading.Event()
    with FaultServer(held(go)) as server, sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push("s", b"1"))
        server.wait_for(1)
        sender.offer(push("s", b"2", urgent=True))
        sender.offer(push("s", b"3", urgent=True))
        assert sender.stats()["in_flight"] == 1
        go.set()
        results.wait_for(2)
        assert [received.body for received in server.received] == [b"1", b"3"]
        assert sender.stats()["superseded"] == 1
        assert books_balance(sender.stats())


def test_at_most_eight_at_once(results: Results) -> None:
    """However many chats wait, eight attempts are under way at most."""
    go = threading.Event()
    with FaultServer(default=held(go)) as server, sending(settings(server.url, on_result=results)) as sender:
        answered(sender)
        for number in range(30):
            sender.offer(push(f"s{number}"))
        server.wait_for(8)
        assert sender.stats()["in_flight"] == 8
        go.set()
        results.wait_for(30)
        assert server.most_at_once == 8
        assert server.connections <= 8


# Again -----------------------------------------------------------------------------------------


def test_what_fails_for_now_is_tried_until_it_is_delivered(results: Results) -> None:
    """Network faults, 408, 429 and 5xx are tried again; each attempt is counted, and told."""
    answers = [reset, reply(500), reply(503), reply(408), reply(429)]
    with FaultServer(*answers) as server, sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push("s", b"body"))
        told = [(result.outcome, result.reason, result.attempt) for result in results.wait_for(6)]
        assert told == [
            ("again", "network", 1),
            ("again", "status_500", 2),
            ("again", "status_503", 3),
            ("again", "status_408", 4),
            ("again", "status_429", 5),
            ("delivered", "status_204", 6),
        ]
        assert {received.body for received in server.received} == {b"body"}
        assert sender.stats()["attempts"] == {reason: 1 for _, reason, _ in told}


def test_the_sites_generator_is_left_alone(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site may have seeded `random`: a wait by chance takes none of its numbers."""
    monkeypatch.setattr(delivery, "_random", CHANCE)
    monkeypatch.setattr(delivery, "wait_for", lambda attempts, asked, chance: 0.0 * chance)
    state = random.getstate()
    with FaultServer(reply(503), reply(204)) as server, sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push())
        results.wait_for(2)
    assert random.getstate() == state


def test_a_newer_profile_replaces_one_that_is_tried_again(results: Results) -> None:
    """When the old one fails while a newer one waits, only the newer one is sent."""
    go = threading.Event()
    with FaultServer(held(go, 503)) as server, sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push("s", b"old"))
        server.wait_for(1)
        sender.offer(push("s", b"new", urgent=True))
        go.set()
        told = [(result.outcome, result.reason) for result in results.wait_for(2)]
        assert told == [("dropped", "superseded"), ("delivered", "status_204")]
        assert [received.body for received in server.received] == [b"old", b"new"]
        assert (sender.stats()["superseded"], sender.stats()["delivered"]) == (1, 1)


def test_five_failures_close_the_gate_and_one_probe_opens_it(results: Results) -> None:
    """A bot that is down is said to be, once; when it is up again, that is said once; nothing is lost."""
    clock = Clock()
    with (
        FaultServer(*[reply(503)] * 5) as server,
        sending(settings(server.url, on_result=results, concurrency=1), clock) as sender,
        listening() as log,
    ):
        for number in range(5):
            sender.offer(push(f"s{number}"))
        results.wait_for(10)
        assert [result.outcome for result in results.all].count("delivered") == 5
        assert log.texts() == ["bot b is not reached (status_503); pushes wait", "bot b is reached again"]
        assert log.codes() == ["status_503", "reached_again"]


def test_a_pause_that_the_server_asks_for(results: Results) -> None:
    """After Retry-After nothing of this bot is sent for so long, whatever is offered."""
    clock = Clock()
    with (
        FaultServer(reply(429, {"Retry-After": "30"})) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s1"))
        assert results.next() == ("again", "status_429")
        sender.offer(push("s2"))
        assert sender.gates["b"].opens_at() == clock.now + 30.0
        assert sender.stats()["bots"] == {"b": "overload"}
        clock.now += 29.9
        sender.offer(push("s3"))
        assert not sender.gates["b"].may_try(clock.now)
        assert sender.stats()["waiting"] == 3
        clock.now += 0.1
        sender.offer(push("s4"))
        results.wait_for(4)
        assert len(server.received) == 5
        assert server.most_at_once <= 4


# For good --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 415, 422])
def test_what_is_refused_is_dropped(results: Results, status: int) -> None:
    """Another 4xx drops the push after one attempt, with one error, and it is not offered again."""
    with (
        FaultServer(reply(status)) as server,
        sending(settings(server.url, on_result=results)) as sender,
        listening() as log,
    ):
        sender.offer(push("s", transition="t"))
        assert results.next() == ("dropped", f"status_{status}")
        assert sender.stats()["dropped"] == {f"status_{status}": 1}
        cure = cure_of(Outcome("refused", f"status_{status}", status))
        assert log.texts() == [f"bot b refused a push (status_{status}); it is dropped{cure}"]
        assert not sender.outdates(("b", "s"), LATEST)
        assert sender.offer(push("s", transition="t")).status == "current"
        sender.offer(push("other"))
        assert results.next() == ("delivered", "status_204")
        assert len(server.received) == 2


def test_what_is_too_old_is_given_up_and_offered_again(results: Results) -> None:
    """After ten minutes a push is given up and counted; the visitor's next response brings it back."""
    clock = Clock()
    with (
        FaultServer(reply(503, {"Retry-After": "300"})) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s", transition="t"))
        assert results.next() == ("again", "status_503")
        clock.now += 600.5
        sender.offer(push("other"))
        told = {(result.outcome, result.reason) for result in results.wait_for(2)}
        assert told == {("dropped", "expired"), ("delivered", "status_204")}
        assert sender.stats()["dropped"] == {"expired": 1}
        assert sender.outdates(("b", "s"), LATEST)
        assert sender.offer(push("s", transition="t")).status == "queued"
        assert results.next() == ("delivered", "status_204")
        assert not sender.outdates(("b", "s"), LATEST)
        assert books_balance(sender.stats())


def test_what_grows_too_old_between_two_looks_is_given_up_when_its_turn_comes(results: Results) -> None:
    """A push that is too old when it is claimed is not attempted any more."""
    clock = Clock()
    answers = [reply(503, {"Retry-After": "300"}), reply(503, {"Retry-After": "5"})]
    with FaultServer(*answers) as server, sending(settings(server.url, on_result=results), clock) as sender:
        sender.offer(push("s"))
        assert results.next() == ("again", "status_503")
        clock.now += 590.0
        sender.offer(push("other"))
        assert results.next() == ("again", "status_503")
        clock.now += 11.0
        sender.offer(push("last"))
        told = sorted((result.outcome, result.reason, result.attempt) for result in results.wait_for(3))
        assert told == [("delivered", "status_204", 1)] * 2 + [("dropped", "expired", 2)]
        assert sender.outdates(("b", "s"), LATEST)
        assert sender.stats()["dropped"] == {"expired": 1}
        assert len(server.received) == 4


def test_what_is_not_quite_too_old_is_tried(results: Results) -> None:
    """Until its tenth minute a push is tried."""
    clock = Clock()
    with (
        FaultServer(reply(503, {"Retry-After": "300"})) as server,
        sending(settings(server.url, on_result=results), clock) as sender,
    ):
        sender.offer(push("s"))
        results.wait_for(1)
        clock.now += 599.5
        sender.offer(push("other"))
        assert [result.outcome for result in results.wait_for(2)] == ["delivered"] * 2


# Results and failures of others ----------------------------------------------------------------


def test_results_hold_nothing_personal(server: FaultServer, results: Results) -> None:
    """on_result hears of the bot, the outcome, the reason, the attempt and the time, and of nothing else."""
    with sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push("s3cret", b"s3cret", visitor="s3cret", transition="s3cret"))
        (result,) = results.wait_for(1)
        assert isinstance(result, Result)
        assert set(result.__slots__) == {"chatbot_id", "outcome", "reason", "attempt", "seconds"}
        assert "s3cret" not in repr(result)


def test_an_on_result_that_raises(server: FaultServer) -> None:
    """What on_result raises is one error that names its type alone, and stops nothing."""

    def fail(_: Result) -> None:
        raise ValueError("canary")

    with sending(settings(server.url, on_result=fail)) as sender, listening() as log:
        sender.offer(push("s1"))
        log.wait_for("on_result_raised")
        sender.offer(push("s2"))
        server.wait_for(2)
    assert set(log.texts()) == {"on_result raised ValueError"}


def test_a_client_that_cannot_be_made(results: Results) -> None:
    """What client= raises is a failed attempt like any other."""
    made: list[int] = []

    def factory() -> object:
        made.append(1)
        raise ValueError("canary")

    with sending(settings(client=factory, on_result=results)) as sender:
        sender.offer(push())
        assert results.next() == ("again", "failed")
        assert results.next() == ("again", "failed")
        assert made[:2] == [1, 1]
