"""The end of a sender: what is left is delivered, for so long and no longer, and a later push works all the same."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from delivering import LATEST, Results, answered, books_balance, listening, push, sending, settings
from faults import PATIENCE, FaultServer, held, raw, reply, silence

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, clock
from reve_middleware import sender as module
from reve_middleware.delivery import Run
from reve_middleware.sender import Sender


@pytest.fixture
def results() -> Results:
    return Results()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def test_what_is_left_is_delivered(server: FaultServer) -> None:
    """close() comes back when all that waited is delivered."""
    sender = Sender(settings(server.url))
    for number in range(100):
        sender.offer(push(f"s{number}"))
    with listening() as log:
        sender.close(PATIENCE)
    assert len(server.received) == 100
    assert sender.stats()["delivered"] == 100
    assert log.texts() == []


def test_what_is_not_due_yet_is_delivered_as_well(server: FaultServer, results: Results) -> None:
    """At the end a push waits neither for the spacing of its chat nor for its next attempt."""
    server.answers.append(reply(503))
    sender = Sender(settings(server.url, on_result=results))
    sender.offer(push("retried", b"1"))
    assert results.next() == ("again", "status_503")
    sender.offer(push("spaced", b"2"))
    results.wait_for(1)
    sender.offer(push("spaced", b"3"))
    sender.close()
    assert sorted(received.body for received in server.received) == [b"1", b"1", b"2", b"3"]


def test_with_nothing_to_do_it_comes_back_at_once(server: FaultServer) -> None:
    """close() of a sender that has nothing to do, or never had, costs no time."""
    began = clock.now()
    sender = Sender(settings(server.url))
    sender.close()
    sender.offer(push())
    server.wait_for(1)
    sender.close()
    sender.close()
    assert clock.now() - began < 1.5


def test_the_thread_is_gone_afterwards(server: FaultServer) -> None:
    """After close() neither thread nor connection is left."""
    before = set(threading.enumerate())
    sender = Sender(settings(server.url))
    sender.offer(push())
    ours = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("reve")]
    assert ours
    sender.close()
    for thread in ours:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_hung_webhook_is_not_waited_for() -> None:
    """With a webhook that never answers, close() takes 2 s, not more than 2.5, and the log counts what is left."""
    assert module.CLOSE_SECONDS == 2.0
    with FaultServer(default=silence) as server, listening() as log:
        sender = Sender(settings(server.url))
        answered(sender)
        for number in range(20):
            sender.offer(push(f"s{number}"))
        server.wait_for(8)
        began = clock.now()
        sender.close()
        assert 1.9 < clock.now() - began < 3.0
        log.wait_for("left_behind")
    assert log.texts() == ["20 pushes were not delivered before the end"]
    assert sender.stats()["dropped"] == {"closed": 8}
    assert sender.stats()["in_flight"] == 0
    assert books_balance(sender.stats())


def test_a_failing_webhook_is_tried_once_more_and_no_longer(results: Results) -> None:
    """At the end each push has one attempt; what fails is counted, and offered again if the process goes on."""
    with FaultServer(default=reply(503)) as server, listening() as log:
        sender = Sender(settings(server.url, on_result=results, concurrency=2))
        sender.gates["b"].started(0.0)
        sender.gates["b"].failed(clock.now(), 0.0, 0.0)  # shut: one probe at a time
        sender.offer(push("s"))
        began = clock.now()
        sender.close()
        assert clock.now() - began < 1.5
        assert len(server.received) <= 2
    assert log.texts()[-1] == "1 pushes were not delivered before the end"
    assert sender.outdates(("b", "s"), LATEST) or sender.stats()["waiting"] == 1


def test_what_is_held_stays_and_is_counted(results: Results) -> None:
    """Pushes of a bot that is held are counted at the end; they are not thrown away."""
    with FaultServer(reply(401)) as server, listening() as log:
        sender = Sender(settings(server.url, on_result=results))
        sender.offer(push("s"))
        assert results.next() == ("held", "status_401")
        began = clock.now()
        sender.close()
        assert clock.now() - began < 1.5
        assert sender.stats()["waiting"] == 1
    assert log.texts()[-1] == "1 pushes were not delivered before the end"


def test_no_time_at_all(results: Results) -> None:
    """close(0) attempts nothing, counts what is left, and breaks nothing: later pushes of the same chats go."""
    go = threading.Event()
    with FaultServer(default=held(go)) as server, listening() as log:
        sender = Sender(settings(server.url, on_result=results))
        for number in range(20):
            sender.offer(push(f"s{number}"))
        sender.close(0)
        log.wait_for("left_behind")
        assert log.texts() == ["20 pushes were not delivered before the end"]
        assert sender.stats()["in_flight"] == 0
        assert sender.gates["b"]._in_flight == 0
        assert books_balance(sender.stats())
        go.set()
        for number in range(20):
            sender.offer(push(f"s{number}"))
        sender.close()
        assert sender.stats()["waiting"] == sender.stats()["in_flight"] == 0
        assert len({result.attempt for result in results.all if result.outcome == "delivered"}) == 1


def test_it_works_again_after_a_close(server: FaultServer) -> None:
    """A push after close() starts the thread anew."""
    sender = Sender(settings(server.url))
    for number in range(3):
        sender.offer(push(f"s{number}"))
        sender.close()
        assert len(server.received) == number + 1


def test_a_push_while_it_closes(results: Results) -> None:
    """A push offered while the sender closes is delivered by the thread that follows."""
    go = threading.Event()
    with FaultServer(held(go)) as server, sending(settings(server.url, on_result=results)) as sender:
        answered(sender)
        sender.offer(push("s1"))
        server.wait_for(1)
        closing = threading.Thread(target=sender.close, args=(PATIENCE,))
        closing.start()
        sender.offer(push("s2"))
        server.wait_for(2)
        go.set()
        assert [result.outcome for result in results.wait_for(2)] == ["delivered"] * 2
        closing.join(PATIENCE)


def test_closing_waits_for_no_endless_body(server: FaultServer) -> None:
    """A delivered push whose answer's body never ends is no reason to wait."""
    server.answers.append(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", then_wait=True))
    sender = Sender(settings(server.url))
    sender.offer(push())
    sender.close()
    assert sender.stats()["delivered"] == 1


@pytest.mark.parametrize("middleware", [ReveMiddleware, ReveWSGIMiddleware])
def test_the_middlewares_close(server: FaultServer, middleware: type) -> None:
    """middleware.close() and stats() are the sender's."""

    def app(*_: object) -> None:
        """Never called."""

    wrapped = middleware(
        (lambda scope, receive, send: None) if middleware is ReveMiddleware else (lambda environ, start_response: []),
        webhook_url=server.url, token="tok", chatbot_id="b", secret_key="k" * 32, profile=lambda request: None,
    )  # fmt: skip
    wrapped._sender.offer(push())
    wrapped.close()
    assert wrapped.stats()["delivered"] == 1
    assert len(server.received) == 1


# From an event loop ----------------------------------------------------------------------------


def test_an_event_loop_goes_on_meanwhile(results: Results) -> None:
    """aclose() delivers what is left while the application's event loop goes on."""
    go = threading.Event()
    with FaultServer(held(go)) as server:
        sender = Sender(settings(server.url, on_result=results))

        async def main() -> None:
            sender.offer(push())
            closing = asyncio.ensure_future(sender.aclose())
            await asyncio.to_thread(server.wait_for, 1)
            assert not closing.done()
            go.set()
            await closing
            await sender.aclose()

        asyncio.run(main())
        assert sender.stats()["delivered"] == 1


def test_an_event_loop_does_not_wait_for_a_hung_webhook() -> None:
    """aclose() ends in time, whatever the webhook does."""
    with FaultServer(default=silence) as server, listening() as log:
        sender = Sender(settings(server.url))

        async def main() -> float:
            sender.offer(push())
            await asyncio.to_thread(server.wait_for, 1)
            began = clock.now()
            await sender.aclose(0.2)
            return clock.now() - began

        assert asyncio.run(main()) < 1.0
        log.wait_for("left_behind")
    assert log.texts() == ["1 pushes were not delivered before the end"]


def test_an_event_loop_that_ends_before_its_sender() -> None:
    """Where the application's event loop is gone when the sender ends, nobody is told, and nothing is raised."""
    go = threading.Event()
    with FaultServer(held(go)) as server:
        sender = Sender(settings(server.url))

        async def main() -> Run | None:
            sender.offer(push())
            run = sender._run
            await asyncio.to_thread(server.wait_for, 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await sender.aclose(PATIENCE)
            return run

        run = asyncio.run(main())
        assert run is not None
        go.set()
        run._thread.join(PATIENCE)
        assert sender.stats()["delivered"] == 1


def test_a_sender_that_has_ended_already(server: FaultServer, results: Results) -> None:
    """Who asks to be told of an end that has come is told at once."""
    sender = Sender(settings(server.url, on_result=results))
    sender.offer(push())
    results.wait_for(1)
    run = sender._run
    assert run is not None
    sender.close()
    told = threading.Event()
    run.when_ended(told.set)
    assert told.is_set()


def test_a_sender_that_does_not_end(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread itself is stuck, in a callable that never returns, close() and aclose() leave it behind."""
    go = threading.Event()
    sender = Sender(settings(server.url, on_result=lambda _: go.wait(PATIENCE)))
    sender.offer(push())
    server.wait_for(1)
    began = clock.now()
    run = sender._run
    asyncio.run(sender.aclose(0.1))
    assert 0.5 < clock.now() - began < 2.0
    assert run is not None
    assert not run.ended.is_set()
    go.set()
    assert run.ended.wait(PATIENCE)
