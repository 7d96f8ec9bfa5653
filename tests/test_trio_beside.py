"""Asyncio and trio in one process, even in one thread: which of them runs a request is looked at where it waits."""

import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from drive import PATIENCE, Call, call_asgi, page, scope_of
from oracle import Sent
from servers import reply_of
from test_asgi_limits import SHORT
from test_trio import CHAT, answer, marks
from under_trio import TrioKind

from reve_middleware import asking
from reve_middleware.concurrency import Home, Signal, forever, time_limit

HERE = Path(__file__).resolve().parent

WITHOUT_TRIO = """
import sys
from drive import KEYWORDS, Call, call_asgi, page, asgi_app
from test_table import chat_cookie
from reve_middleware import ReveMiddleware

def profile(request):
    return {"id": 1}

before = "trio" in sys.modules  # an older httpx, which the tests import, brings it
layer = ReveMiddleware(asgi_app(page()), **KEYWORDS, profile=profile, handoff=lambda task: None)
print(*call_asgi(layer, Call(headers=[("Cookie", chat_cookie())])).cookies)
print("trio" in sys.modules and not before)
"""


def test_trio_is_not_imported_where_it_does_not_run() -> None:
    """Under asyncio nothing of trio is imported, whatever a request waits for."""
    path = os.pathsep.join((str(HERE), str(HERE.parent)))
    command = [sys.executable, "-c", WITHOUT_TRIO]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["__Host-reve-mark", "False"]


def test_asyncio_is_asyncio_where_trio_is_imported() -> None:
    """A process that has imported trio, as HTTP clients do where it is installed, still serves under asyncio."""
    assert "trio" in sys.modules
    kind = TrioKind()

    async def profile(request: Any) -> Any:
        await asyncio.sleep(0)
        return {"id": 1}

    for one in (profile, lambda request: {"id": 1}, lambda request: profile(request)):
        assert marks(call_asgi(kind.wrap(kind.application(page()), profile=one), Call(headers=CHAT)))
    kind.close()


def test_where_trio_is_just_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is importing trio does not disturb asyncio, nor what runs outside of a task."""
    monkeypatch.setitem(sys.modules, "trio", type(sys)("trio"))

    async def main() -> None:
        for _ in range(2):
            async with time_limit(PATIENCE) as limit:
                await asyncio.sleep(0)
            assert isinstance(limit, asyncio.Timeout)

    asyncio.run(main())

    async def in_a_callback() -> Any:
        loop, made = asyncio.get_running_loop(), asyncio.Event()
        found: list[Any] = []
        loop.call_soon(lambda: (found.append(Signal()), made.set()))
        await made.wait()
        found[0].give()
        await found[0].wait()

    asyncio.run(in_a_callback())


def test_both_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trio is asyncio's guest, each serves its own requests: time limits, threads and all."""
    kind = TrioKind()
    slow = kind.wrap(kind.application(page()), profile=forever_unknown)
    quick = kind.wrap(kind.application(page()), profile=lambda request: {"id": 1})
    monkeypatch.setattr(asking, "ASK_SECONDS", SHORT)

    async def by_trio() -> list[list[str]]:
        first = marks(await answer(slow, Call(headers=CHAT)))
        monkeypatch.setattr(asking, "ASK_SECONDS", PATIENCE)
        return [first, marks(await answer(quick, Call(headers=CHAT)))]

    async def by_asyncio(app: Any) -> list[str]:
        sent = Sent(scope_of(Call(headers=CHAT)))

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            sent.take(message)

        await app(sent.scope, receive, send)
        return marks(reply_of(sent.messages))

    async def host() -> list[list[str]]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            by_trio,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        async with asyncio.timeout(PATIENCE):
            first = await by_asyncio(slow)
            found = (await done).unwrap()
            return [first, *found, await by_asyncio(quick)]

    mark = ["__Host-reve-mark"]
    assert asyncio.run(host()) == [[], [], mark, mark]
    kind.close()


def test_asyncio_inside_of_trio() -> None:
    """Where a task of trio's runs asyncio, as bridges from sync to async do, what is in there is asyncio's."""
    kind = TrioKind()

    async def profile(request: Any) -> Any:
        await asyncio.sleep(0)
        return {"id": 1}

    async def main() -> list[list[str]]:
        layers = [kind.wrap(kind.application(page()), profile=one) for one in (profile, lambda request: {"id": 1})]
        return [marks(call_asgi(layer, Call(headers=CHAT))) for layer in layers]

    assert trio.run(main) == [["__Host-reve-mark"]] * 2
    kind.close()


async def forever_unknown(request: Any) -> None:
    await forever()


def test_what_comes_too_late_is_not_heard() -> None:
    """Who gives a signal, or waits at home, when everything there is over, gets no answer."""

    async def make() -> tuple[Signal, Home]:
        return Signal(), Home()

    for signal, home in (asyncio.run(make()), trio.run(make)):
        signal.give()
        waiting = make()
        with pytest.raises(RuntimeError):
            home.wait_for(waiting, 1.0)
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED
