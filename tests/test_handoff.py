"""`handoff=`: each push goes to the site's own task queue (contract §7); see also test_handoff_down.py, and for the
worker's side test_worker.py."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import LATEST, Log, listening, push
from drive import ShellKind, Visitor, elsewhere, side_by_side
from fakes import PATIENCE
from handing import AGAIN, FORMS, Never, Queue, Settling, Stuck, hand_off_to, logged_in, offered
from shop import Shop

from reve_middleware import handoff, sign_out
from reve_middleware.handoff import HandOff
from reve_middleware.push import Push


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log


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


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_a_callable(queue: Queue, form: str) -> None:
    """Under ASGI `handoff=` may be plain or async, a function or an object, and may return what is to be awaited."""
    shell = ShellKind("asgi")
    for session in ("s-1", "s-2"):
        assert logged_in(shell, handoff=FORMS[form](queue)).capture(session).json == {"status": "queued"}
    assert [task["session_id"] for task in queue.tasks] == ["s-1", "s-2"]


def test_wsgi_awaits_nothing(queue: Queue, log: Log) -> None:
    """Under WSGI a callable that returns a coroutine hands nothing on, and the log says why."""
    hand_off = hand_off_to(FORMS["a function that returns a coroutine"](queue))
    assert hand_off.offer(push()).status == "busy"
    assert log.texts() == [f"handoff= failed with a coroutine, which WSGI cannot await; {AGAIN}"]
    future: asyncio.Future[None] = asyncio.Future(loop=asyncio.new_event_loop())
    assert hand_off_to(lambda task: future).offer(push()).status == "busy"
    future.get_loop().close()
    assert queue.tasks == []


@pytest.mark.parametrize("form", FORMS)
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
    assert queue.threads == ["reve-middleware-handoff", threading.current_thread().name]


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


async def cancelled(hand_off: HandOff, one: Push, began: Callable[[], Awaitable[Any]]) -> None:
    """A request that is cancelled while its push is handed on."""
    request = asyncio.create_task(hand_off.offer_async(one))
    await began()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


def test_a_request_that_is_cancelled(queue: Queue) -> None:
    """Where a request is cancelled while its push is handed on, an async callable is cancelled with it, and the push
    counts as not handed on."""
    broker: list[Any] = [Never()]

    async def main() -> None:
        hand_off, one = hand_off_to(call), push()
        await cancelled(hand_off, one, lambda: asyncio.sleep(0))
        broker[0] = queue
        assert (await hand_off.offer_async(one)).status == "queued"

    async def call(task: dict[str, Any]) -> None:
        await broker[0](task)

    asyncio.run(main())


def test_a_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a request is cancelled whose push is handed on in a thread, the push is handed on, and not once more."""
    broker, settle = Stuck(), Settling(monkeypatch)
    hand_off, one = hand_off_to(broker), push("s")
    asyncio.run(cancelled(hand_off, one, lambda: asyncio.to_thread(broker.entered.wait, PATIENCE)))
    broker.free.set()
    settle()
    assert offered(hand_off, one) == "current"
    assert broker.handed == ["s"]


def test_something_else_is_cancelled(queue: Queue, log: Log) -> None:
    """Where something is cancelled that the callable waited for, the request goes on, and its push is busy."""
    queue.down = asyncio.CancelledError()
    for form in FORMS.values():
        assert offered(hand_off_to(form(queue)), push()) == "busy"
    queue.down = None
    assert {record.levelname for record in log.records} == {"ERROR"}


@pytest.mark.parametrize("transition", ["t", ""], ids=["profile", "sign-out"])
def test_what_ends_a_wsgi_worker_passes(queue: Queue, transition: str) -> None:
    """What a WSGI server raises to end its worker passes through, and the push counts as not handed on."""
    queue.down = SystemExit()
    hand_off, one = hand_off_to(queue.put), push(transition=transition)
    with pytest.raises(SystemExit):
        hand_off.offer(one)
    queue.down = None
    assert hand_off.offer(one).status == "queued"


FORK = """
import asyncio, os, sys, threading
from delivering import push
from reve_middleware import handoff, worker
from handing import hand_off_to

hooks = sys.argv[1] == "hooks"
handed = []
hand_off = hand_off_to(handed.append)
hand_off.offer(push("s"))
held, done = threading.Event(), threading.Event()

def hold():
    with hand_off._lock, worker._lock, handoff._threads._lock:
        held.set()
        done.wait(20)

if not hooks:  # as uWSGI forks
    handoff._hand_offs.clear()
threading.Thread(target=hold, daemon=True).start()
held.wait(20)
child = os.fork()
if child == 0:
    assert hand_off.stats() == {"offered": 0, "busy": 0, "in_hand": 0}
    hand_off.let_go(("b", "t"), 1)
    assert hand_off.offer(push("s")).status == "queued"
    assert asyncio.run(hand_off.offer_async(push("u"))).status == "queued"
    assert len(handed) == 3
    os._exit(7 if not hooks or worker._is_newest(("b", "s"), 1.0) else 8)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
done.set()
sys.exit(status)
"""


@pytest.mark.parametrize("how", ["hooks", "no hooks"])
def test_a_fork_with_every_lock_held(how: str) -> None:
    """A child that was forked while the parent's threads held every lock hands its own pushes on."""
    assert run("-c", FORK, how).returncode == 7


def test_another_process(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was forked without Python's hooks notices it, and remembers nothing of its parent."""
    hand_off, one = hand_off_to(queue.put), push()
    assert hand_off.offer(one).status == "queued"
    assert hand_off.offer(one).status == "current"
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert hand_off.stats() == {"offered": 0, "busy": 0, "in_hand": 0}
    assert hand_off.offer(one).status == "queued"
    handoff._after_fork_in_child()
    assert hand_off.offer(one).status == "queued"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).resolve().parent
    path = os.pathsep.join((str(here), str(here.parent)))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *arguments]  # of a fork with threads
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, timeout=PATIENCE, check=False, text=True)


def test_the_end(shell: ShellKind, queue: Queue) -> None:
    """Nothing waits in this process: closing takes no time, and a later push is handed on."""
    visitor = logged_in(shell, handoff=queue.put)
    visitor.middleware.close()
    assert visitor.capture().json == {"status": "queued"}
    elsewhere(asyncio.run, visitor.middleware._sender.aclose())
    assert visitor.middleware._sender.outdates(("bot", "s-1"), LATEST) is False
