"""`handoff=`: each push goes to the site's own task queue (contract §7). The worker's side: test_worker.py."""

import asyncio
import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import Log, listening, push
from drive import ShellKind, Visitor, elsewhere, side_by_side
from fakes import PATIENCE
from shop import Shop

from reve_middleware import handoff, sign_out
from reve_middleware.handoff import HandOff
from reve_middleware.notes import Notes
from reve_middleware.push import Push

AGAIN = "the push is offered again with the next response"
TIMED_OUT = f"handoff= failed with a time-out (2 s); {AGAIN}"
SUSPENDED = "handoff= took too long three times in a row: it is not asked for 30 s"


class Queue:
    """A site's task queue; `down` holds what it raises."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.down: BaseException | None = None
        self.calls = 0

    def put(self, task: dict[str, Any]) -> str:
        self.calls += 1
        self.threads.append(threading.current_thread())
        if self.down is not None:
            raise self.down
        self.tasks.append(task)
        return "an id"

    async def __call__(self, task: dict[str, Any]) -> str:
        self.loops.append(asyncio.get_running_loop())
        return self.put(task)


class Stuck:
    """A broker that does not answer before it is let go."""

    def __init__(self) -> None:
        self.entered, self.free, self.done = threading.Event(), threading.Event(), threading.Semaphore(0)
        self.handed: list[str] = []
        self.down: Exception | None = None

    def __call__(self, task: dict[str, Any]) -> None:
        self.entered.set()
        assert self.free.wait(PATIENCE)
        if self.down is not None:
            raise self.down
        self.handed.append(task["session_id"])


class Never:
    """An async one that never answers."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, task: dict[str, Any]) -> None:
        self.calls += 1
        await asyncio.get_running_loop().create_future()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(handoff, "HAND_OFF_SECONDS", 0.05)


def hand_off_to(callable_: Any) -> HandOff:
    return HandOff(callable_, Notes())


def offered(hand_off: HandOff, push: Push) -> str:
    """The answer under ASGI."""
    return asyncio.run(hand_off.offer_async(push)).status


def until_settled(hand_off: HandOff) -> None:
    """A thread that went on has ended."""
    while hand_off.stats()["in_hand"]:
        assert handoff._threads.submit(lambda: None)


def logged_in(shell: ShellKind, **keywords: Any) -> Visitor:
    visitor = Shop().visitor(shell, **keywords)
    visitor.get("/login?user=ada")
    return visitor


# What is handed on ---------------------------------------------------------------------------------


def test_a_push_is_handed_on_as_json(shell: ShellKind, queue: Queue) -> None:
    """The task queue gets a push as JSON values, bot, session, endpoint, body and time, once, and nothing is sent."""
    visitor = logged_in(shell, handoff=queue.put, endpoint="login")
    before = time.time()
    assert visitor.capture("s-1").json == {"status": "queued"}
    visitor.get()
    [task] = queue.tasks
    assert type(task) is dict
    assert json.loads(json.dumps(task)) == task
    assert before <= task.pop("offered") <= time.time()
    assert json.loads(task.pop("body")) == {"botId": "bot", "sessionId": "s-1", "data": {"id": 1, "name": "Ada"}}
    assert task == {"chatbot_id": "bot", "session_id": "s-1", "endpoint": "login"}
    assert shell.webhook.posts == []
    assert visitor.middleware.stats() == {"offered": 1, "busy": 0, "in_hand": 0}


def test_no_secret_travels(shell: ShellKind, queue: Queue) -> None:
    """Neither the token nor the webhook's address nor the cookies' key is in what the task queue gets."""
    secrets = {"webhook_url": "https://canary.example/path", "token": "canary-token", "secret_key": "canary-key" * 4}
    visitor = logged_in(shell, handoff=queue.put, logout_endpoint="logout", logout_routes=("/logout",), **secrets)
    visitor.capture()
    visitor.get("/logout")
    assert [task["endpoint"] for task in queue.tasks] == [None, "logout"]
    assert "canary" not in json.dumps(queue.tasks)


FORMS: dict[str, Callable[[Queue], Any]] = {
    "a function": lambda queue: queue.put,
    "an async function": lambda queue: queue.__call__,
    "an object that is called": lambda queue: queue,
    "a partial": lambda queue: functools.partial(queue),
    "a function that returns a coroutine": lambda queue: lambda task: queue(task),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_a_callable(shell: ShellKind, queue: Queue, form: str) -> None:
    """`handoff=` may be plain or async, a function or an object, and may return what is to be awaited."""
    for session in ("s-1", "s-2"):
        assert logged_in(shell, handoff=FORMS[form](queue)).capture(session).json == {"status": "queued"}
    assert [task["session_id"] for task in queue.tasks] == ["s-1", "s-2"]
    if shell.name == "wsgi":
        assert len(set(map(id, queue.loops))) == (form != "a function")  # connections belong to one loop


@pytest.mark.parametrize("form", [form for form in FORMS if form != "a function"])
def test_asgi_awaits_in_the_applications_loop(queue: Queue, form: str) -> None:
    """Under ASGI what is to be awaited runs in the application's own event loop, where its connections are."""
    hand_off = hand_off_to(FORMS[form](queue))

    async def main() -> None:
        assert (await hand_off.offer_async(push())).status == "queued"
        assert queue.loops == [asyncio.get_running_loop()]

    asyncio.run(main())


def test_a_plain_callable_holds_up_no_event_loop(queue: Queue) -> None:
    """Under ASGI a plain callable runs in a thread of ours; under WSGI in place."""
    hand_off = hand_off_to(queue.put)
    assert offered(hand_off, push()) == "queued"
    assert hand_off.offer(push("other")).status == "queued"
    assert [thread.name for thread in queue.threads] == ["reve-middleware-handoff", threading.current_thread().name]


# A broker that is down -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_broker_that_is_down(shell: ShellKind, queue: Queue, log: Log, form: str) -> None:
    """While the broker is down nothing is marked, each response offers the push again, and the log says so once a
    minute, without the exception's text."""
    queue.down = ConnectionError("redis://:canary@10.0.0.1")
    visitor = logged_in(shell, handoff=FORMS[form](queue))
    assert visitor.capture().json == {"status": "busy"}
    jar = dict(visitor.jar)
    for _ in range(20):
        assert visitor.get().status == 200
    assert visitor.jar == jar
    assert queue.calls == 21
    assert visitor.middleware.stats() == {"offered": 0, "busy": 21, "in_hand": 0}
    [text] = log.texts()
    assert re.fullmatch(rf"handoff= failed with ConnectionError at test_handoff\.py:\d+; {AGAIN}", text)
    assert "canary" not in str([vars(record) for record in log.records])
    queue.down = None
    visitor.get()
    visitor.get()
    assert (len(queue.tasks), len(visitor.jar)) == (1, len(jar) + 1)


def test_what_hangs_under_asgi(quick: None, log: Log) -> None:
    """Whoever waits for a plain callable that hangs is answered "busy" after 2 s; when it comes to an end all the same,
    the push counts as handed on, and is not handed on twice."""
    broker, one = Stuck(), push("s")
    hand_off = hand_off_to(broker)
    assert offered(hand_off, one) == "busy"
    assert log.texts() == [TIMED_OUT]
    assert offered(hand_off, one) == "busy"
    broker.free.set()
    until_settled(hand_off)
    assert offered(hand_off, one) == "current"
    assert broker.handed == ["s"]
    assert hand_off.stats() == {"offered": 0, "busy": 2, "in_hand": 0}


def test_what_hangs_and_fails_at_last(quick: None, log: Log) -> None:
    """A plain callable that hangs and then fails has handed nothing on: the next response offers the push again."""
    broker, one = Stuck(), push("s")
    broker.down = OSError("canary")
    hand_off = hand_off_to(broker)
    assert offered(hand_off, one) == "busy"
    broker.free.set()
    until_settled(hand_off)
    log.wait_for("handoff")
    broker.down = None
    assert offered(hand_off, one) == "queued"
    assert broker.handed == ["s"]
    assert "canary" not in str(log.texts())


@pytest.mark.parametrize("call", [offered, lambda hand_off, push: hand_off.offer(push).status], ids=["asgi", "wsgi"])
def test_an_async_callable_that_hangs(quick: None, log: Log, call: Callable[..., str]) -> None:
    """An async callable that hangs is cancelled after 2 s; after three in a row it is not called for 30 s."""
    broker = Never()
    hand_off = hand_off_to(broker)
    assert [call(hand_off, push(f"s{number}")) for number in range(5)] == ["busy"] * 5
    assert broker.calls == 3
    assert sorted(set(log.texts())) == sorted({*log.texts()[:1], SUSPENDED})
    assert hand_off.stats() == {"offered": 0, "busy": 5, "in_hand": 0}


def test_it_is_called_again_after_a_rest(quick: None, monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    """After 30 s the task queue is called again, and one that answers is called as before."""
    now = 1000.0
    monkeypatch.setattr(handoff, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    callables: list[Any] = [Never()]

    async def broker(task: dict[str, Any]) -> None:
        await callables[0](task)

    hand_off = hand_off_to(broker)
    for number in range(3):
        assert offered(hand_off, push(f"s{number}")) == "busy"
    callables[0] = queue
    now += 29.9
    assert offered(hand_off, push()) == "busy"
    now += 0.2
    for number in range(3):
        assert offered(hand_off, push(f"s{number}")) == "queued"
    callables[0] = Never()
    assert offered(hand_off, push("s0")) == "busy"
    callables[0] = queue
    assert offered(hand_off, push("s0")) == "queued"


def test_a_slow_broker_under_wsgi(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """Under WSGI a plain callable cannot be cut short, but after three that took 2 s it is not called for 30 s."""
    now = 1000.0
    monkeypatch.setattr(handoff, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    calls = 0

    def broker(task: dict[str, Any]) -> None:
        nonlocal now, calls
        now += 2.0
        calls += 1
        if calls != 2:
            raise OSError

    hand_off = hand_off_to(broker)
    answers = [hand_off.offer(push(f"s{number}")).status for number in range(4)]
    assert answers == ["busy", "queued", "busy", "busy"]
    assert calls == 3
    assert SUSPENDED in log.texts()


def test_every_thread_hangs(quick: None, log: Log) -> None:
    """Where all eight threads hang in the task queue, the next push is busy at once."""
    broker = Stuck()
    hand_offs = [hand_off_to(broker) for _ in range(9)]  # three time-outs and a rest, each
    answers = side_by_side([functools.partial(offered, hand_off, push()) for hand_off in hand_offs[:8]])
    assert answers == ["busy"] * 8
    assert offered(hand_offs[8], push()) == "busy"
    assert log.texts()[-1] == f"handoff= failed with no free thread (8 wait for it); {AGAIN}"
    assert hand_offs[8].stats() == {"offered": 0, "busy": 1, "in_hand": 0}
    broker.free.set()
    for hand_off in hand_offs:
        until_settled(hand_off)


# One at a time, in order ---------------------------------------------------------------------------


def test_one_push_of_a_chat_at_a_time() -> None:
    """While a push is being handed on, another one of that chat is busy, other chats are not, and a sign-out is not."""
    broker = Stuck()
    hand_off = hand_off_to(lambda task: broker(task) if task["session_id"] == "s" and not task["endpoint"] else None)

    def meanwhile() -> list[str]:
        assert broker.entered.wait(PATIENCE)
        pushes = push("s"), push("t"), push("s", endpoint="logout", transition=""), push("s")
        answers = [hand_off.offer(one).status for one in pushes]
        broker.free.set()
        return answers

    first, others = side_by_side([lambda: hand_off.offer(push("s")).status, meanwhile])
    assert (first, others) == ("queued", ["busy", "queued", "queued", "busy"])
    assert hand_off.offer(push("s")).status == "queued"


def test_side_by_side_it_is_handed_on_once(shell: ShellKind, queue: Queue) -> None:
    """Eight responses side by side, right after a login, hand one push on, and the visitor is marked in the end."""
    visitor = Shop().visitor(shell, handoff=queue.put)
    visitor.capture()
    visitor.get("/login?user=ada")
    side_by_side([visitor.get] * 8)
    assert visitor.get().header("set-cookie") is None
    assert len(queue.tasks) == 1


def test_nothing_is_handed_on_late(queue: Queue) -> None:
    """After a sign-out nothing that was captured before is handed on; what the widget reports afterwards is."""
    hand_off = hand_off_to(queue.put)
    for let_go in (hand_off.let_go, lambda key, at: asyncio.run(hand_off.let_go_async(key, at))):
        queue.tasks.clear()
        let_go(("b", "s"), 1000)
        assert hand_off.offer(push("s", captured=999)).status == "signed_out"
        assert offered(hand_off, push("s", captured=1000)) == "signed_out"
        assert queue.tasks == []
        assert hand_off.offer(push("s", captured=1001)).status == "queued"


def test_sign_out(shell: ShellKind, queue: Queue) -> None:
    """A sign-out hands `{}` to the bot's endpoint for it, and a response that began before hands nothing on."""
    shop = Shop()
    shop.before["/out"] = sign_out
    visitor = shop.visitor(shell, handoff=queue.put, logout_endpoint="logout")
    visitor.get("/login?user=ada")
    visitor.capture()
    late = Visitor(visitor.middleware, shell)
    late.jar = dict(visitor.jar)
    visitor.get("/out")
    shop.people["ada"] = {"id": 1, "name": "Ada", "phone": "2"}
    late.get()
    assert [(task["endpoint"], json.loads(task["body"])["data"]) for task in queue.tasks] == [
        (None, {"id": 1, "name": "Ada"}),
        ("logout", {}),
    ]


# Cancelled, ended, closed --------------------------------------------------------------------------


def test_a_request_that_is_cancelled() -> None:
    """Where a request is cancelled while its push is handed on, the push counts as not handed on."""
    gone: list[str] = []

    async def broker(task: dict[str, Any]) -> None:
        if not gone:
            started.set()
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        nonlocal started
        started = asyncio.Event()
        request = asyncio.create_task(hand_off.offer_async(one))
        await started.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        gone.append("gone")
        assert (await hand_off.offer_async(one)).status == "queued"

    started = asyncio.Event()
    one, hand_off = push(), hand_off_to(broker)
    asyncio.run(main())


def test_something_else_is_cancelled(queue: Queue, log: Log) -> None:
    """Where something is cancelled that the callable waited for, the request goes on, and its push is busy."""
    queue.down = asyncio.CancelledError()
    for form in FORMS.values():
        assert offered(hand_off_to(form(queue)), push()) == "busy"
    queue.down = None
    assert {record.levelname for record in log.records} == {"ERROR"}


def test_what_ends_a_wsgi_worker_passes(queue: Queue) -> None:
    """What a WSGI server raises to end its worker passes through, and the push counts as not handed on."""
    queue.down = SystemExit()
    hand_off, one = hand_off_to(queue.put), push()
    with pytest.raises(SystemExit):
        hand_off.offer(one)
    queue.down = None
    assert hand_off.offer(one).status == "queued"


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch, queue: Queue, log: Log) -> None:
    """Where a machine has no thread left for a loop of ours, the push is busy, and a later one is handed on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(handoff, "_background", handoff._Background())
    hand_off = hand_off_to(queue)
    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="never awaited"):
        patch.setattr(threading.Thread, "start", refuse)
        assert hand_off.offer(push("s")).status == "busy"
    assert log.codes() == ["handoff"]
    assert hand_off.offer(push("s")).status == "queued"


def test_the_end(shell: ShellKind, queue: Queue) -> None:
    """Nothing waits in this process: closing takes no time, and a later push is handed on."""
    visitor = logged_in(shell, handoff=queue.put)
    visitor.middleware.close()
    assert visitor.capture().json == {"status": "queued"}
    elsewhere(asyncio.run, visitor.middleware._sender.aclose())
    assert visitor.middleware._sender.is_lost(("bot", "s-1")) is False
