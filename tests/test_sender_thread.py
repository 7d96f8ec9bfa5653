"""Several bots and senders; the sender's thread: its birth, its end, and its failures."""

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import Clock, Results, answered, books_balance, bot, listening, push, sending, settings
from faults import PATIENCE, Answer, FaultServer, Line, answer_bytes, held, refusing, reply, reset, silence

from reve_middleware import delivery, gate
from reve_middleware.sender import Sender


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter that always comes out at nothing: what is tried again is tried at once."""
    monkeypatch.setattr(gate, "ROUND_SECONDS", 0.0)
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


# Several bots and senders ----------------------------------------------------------------------


@pytest.mark.parametrize("answer", [reset, reply(503), reply(401), reply(302)])
def test_a_bot_that_is_down_holds_up_no_other(server: FaultServer, answer: Answer) -> None:
    """While one bot fails, is held or refuses, pushes of another go."""
    with FaultServer(default=answer) as down:
        bots = [bot("down", down.url), bot("up", server.url)]
        with sending(settings(bots=bots)) as sender:
            for number in range(20):
                sender.offer(push(f"s{number}", bot="down"))
            for number in range(20):
                sender.offer(push(f"s{number}", bot="up"))
            assert len(server.wait_for(20)) == 20


def test_a_bot_that_hangs_holds_up_no_other(server: FaultServer, results: Results) -> None:
    """A bot that never answers takes every slot but one of each other bot's: theirs are delivered meanwhile."""
    with FaultServer(default=silence) as down:
        bots = [bot("down", down.url), bot("up", server.url)]
        with sending(settings(bots=bots, on_result=results)) as sender:
            answered(sender)
            for number in range(20):
                sender.offer(push(f"s{number}", bot="down"))
            down.wait_for(8)
            for number in range(5):
                sender.offer(push(f"s{number}", bot="up"))
            told = [(result.chatbot_id, result.outcome) for result in results.wait_for(5)]
            assert told == [("up", "delivered")] * 5
            assert len(down.received) == 8


def test_a_host_that_refuses_connections(results: Results, server: FaultServer) -> None:
    """A port where nobody listens is a network fault."""
    with refusing() as url, sending(settings(url, on_result=results)) as sender:
        sender.offer(push())
        assert results.next() == ("again", "network")


def test_several_senders_share_nothing(results: Results) -> None:
    """Two wrapped mounts deliver each to its own webhook with its own token."""
    other = Results()
    with (
        FaultServer() as one,
        FaultServer() as two,
        sending(settings(one.url, token="tok-1", on_result=results)) as first,
        sending(settings(two.url, token="tok-2", on_result=other)) as second,
    ):
        for number in range(5):
            first.offer(push(f"s{number}", b"1"))
            second.offer(push(f"s{number}", b"2"))
        results.wait_for(5)
        other.wait_for(5)
        for server, body, token in ((one, b"1", "Bearer tok-1"), (two, b"2", "Bearer tok-2")):
            assert {(r.body, r.header("Authorization")) for r in server.received} == {(body, token)}
            assert len(server.received) == 5


# Birth and death of the thread -----------------------------------------------------------------


@pytest.mark.parametrize("seconds_of_the_clock", [0.0, 1000.0, 3000.0, 10_000.0, 50_000.0])
def test_an_idle_thread_ends_and_starts_anew(
    server: FaultServer, results: Results, monkeypatch: pytest.MonkeyPatch, seconds_of_the_clock: float
) -> None:
    """With nothing to do the thread ends, with all that it started, and the next push starts another, whatever the
    clock says."""
    monkeypatch.setattr(delivery, "IDLE_SECONDS", 0.02)  # 1000 + 0.02 - 1000 is a little less than 0.02
    before = threads()
    with sending(settings(server.url, on_result=results), Clock(seconds_of_the_clock)) as sender:
        for _ in range(3):
            sender.offer(push())
            assert results.next() == ("delivered", "status_204")
            for thread in set(threads()) - set(before):
                thread.join(PATIENCE)
            assert set(threads()) <= set(before)
            sender.mailbox._started.drop(("b", "s"))


def test_a_sender_that_nobody_needs_is_forgotten(server: FaultServer, results: Results) -> None:
    """A middleware that is thrown away, as in tests, takes its sender with it once that has ended."""
    sender = Sender(settings(server.url, on_result=results))
    gone = weakref.ref(sender)
    sender.offer(push())
    results.wait_for(1)
    run = sender._run
    assert run is not None
    sender.close()
    run._thread.join(PATIENCE)
    del sender, run
    gc.collect()
    assert gone() is None


def test_a_thread_that_waits_for_a_retry_is_not_idle(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a push waits, the thread stays, and tries again when it is time."""
    monkeypatch.setattr(delivery, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "_random", SimpleNamespace(random=lambda: 0.1))
    with FaultServer(reply(503)) as server, sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push())
        assert [result.outcome for result in results.wait_for(2)] == ["again", "delivered"]
        assert results.all[1].attempt == 2


def test_a_fault_of_ours_loses_nothing(results: Results) -> None:
    """When the thread fails, that is one error naming the type; the next push starts it anew, and what was in flight
    is tried again."""
    go = threading.Event()
    with (
        FaultServer(held(go)) as server,
        sending(settings(server.url, on_result=results)) as sender,
        listening() as log,
    ):
        answered(sender)
        sender.offer(push("s1", b"1"))
        server.wait_for(1)
        run, claim = sender._run, sender.mailbox.claim
        assert run is not None

        def fail(*_: object, **__: object) -> None:
            sender.mailbox.claim = claim  # type: ignore[method-assign]
            raise ZeroDivisionError("canary")

        sender.mailbox.claim = fail  # type: ignore[method-assign,assignment]
        sender.offer(push("s2", b"2"))
        assert run.ended.wait(PATIENCE)
        assert log.codes() == ["sender_failed"]
        assert log.texts() == ["the sender failed with ZeroDivisionError"]
        go.set()
        sender.offer(push("s3", b"3"))
        assert {result.outcome for result in results.wait_for(3)} == {"delivered"}
        assert sorted(received.body for received in server.received[1:]) == [b"1", b"2", b"3"]
        assert sender.stats()["in_flight"] == 0
        assert sender.gates["b"]._in_flight == 0
        assert books_balance(sender.stats())


def test_a_fault_of_ours_right_after_a_claim_loses_nothing(server: FaultServer, results: Results) -> None:
    """When the thread fails before an attempt has begun, its push is not stuck: it is delivered by the next thread."""
    with sending(settings(server.url, on_result=results)) as sender, listening() as log:
        claim, claims = sender.mailbox.claim, []

        def fail(*args: Any, **keywords: Any) -> Any:
            claims.append(1)
            if len(claims) == 2:
                raise ZeroDivisionError
            return claim(*args, **keywords)

        sender.mailbox.claim = fail  # type: ignore[method-assign]
        sender.offer(push("s1", b"1"))
        log.wait_for("sender_failed")
        run = sender._run
        assert run is not None
        assert run.ended.wait(PATIENCE)
        assert sender.stats()["in_flight"] == sender.gates["b"]._in_flight == 0
        sender.offer(push("s2", b"2"))
        assert {result.outcome for result in results.wait_for(2)} == {"delivered"}


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError(24, "Too many open files")])
def test_a_thread_that_cannot_be_started(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where no thread or no event loop can be had, an offer raises nothing, and a later one works."""

    def fail(*_: object) -> None:
        raise error

    with sending(settings(server.url)) as sender:
        if isinstance(error, OSError):
            monkeypatch.setattr(delivery._Loop, "_make_self_pipe", fail)
        else:
            monkeypatch.setattr(delivery.Run, "start", fail)
        assert sender.offer(push("s1")).status == "queued"
        assert sender.stats()["waiting"] == 1
        monkeypatch.undo()
        sender.offer(push("s2"))
        assert len(server.wait_for(2)) == 2


def test_a_child_forked_without_hooks_begins_empty(
    server: FaultServer, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a server forks behind Python's back, the first call in the child notices: nothing of the parent's is
    sent, asked or waited for, though every lock is held."""
    with sending(settings(server.url, on_result=results)) as sender:
        sender.offer(push("parent"))
        results.wait_for(1)
        parents = sender._run, sender.mailbox
        pid = os.getpid() + 1
        with sender._lock, sender.mailbox._lock:
            monkeypatch.setattr("reve_middleware.sender.os.getpid", lambda: pid)
            sender.close()
            sender.mailbox, sender._pid = parents[1], -1  # type: ignore[assignment]
            assert sender.stats()["offered"] == 0
            sender.offer(push("child"))
            results.wait_for(1)
        assert sender.stats()["delivered"] == 1
        assert sender.mailbox is not parents[1]
        sender.close()
        assert parents[0] is not None
        parents[0].close(0)
        assert parents[0].ended.wait(PATIENCE)


def test_a_sender_can_be_offered_to_from_many_threads(server: FaultServer, results: Results) -> None:
    """Offers from several threads at once are all delivered."""
    with sending(settings(server.url, on_result=results)) as sender:

        def offer(name: int) -> None:
            for number in range(20):
                sender.offer(push(f"{name}-{number}"))

        workers = [threading.Thread(target=offer, args=(name,)) for name in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        results.wait_for(80)
        assert sender.stats()["delivered"] == 80
        assert isinstance(sender, Sender)


def test_a_slow_answer_is_told_with_its_time(results: Results) -> None:
    """Result.seconds is how long the attempt took."""
    clock = Clock()

    def slow(line: Line) -> None:
        line.read()
        clock.now += 3.0
        line.send(answer_bytes(204))

    with FaultServer(slow) as server, sending(settings(server.url, on_result=results), clock) as sender:
        sender.offer(push())
        (result,) = results.wait_for(1)
        assert result.seconds == 3.0
