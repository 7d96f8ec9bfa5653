"""Real servers that end while pushes are queued, the bot's webhook given by host name.

All servers and the exact seconds: `python tests/benchmarks/server_ends.py`.
"""

from __future__ import annotations

import multiprocessing.process
import multiprocessing.util
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from delivering import listening, push, sending, settings
from ends import AT_ONCE, PUSHES, Bot, End, end, queue
from programs import check_installed
from workers import Site

from reve_middleware import ReveWSGIMiddleware
from reve_middleware import sender as module

SIGINT, SIGKILL, SIGQUIT, SIGTERM = signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM


FEW = 25
"""Pushes that are queued where it is not tested how soon many are delivered."""


class Case(NamedTuple):
    """A server, and how it is told to end."""

    name: str
    number: signal.Signals = SIGTERM
    workers: int = 1
    hung: bool = False
    busy: bool = False
    outbox: bool = False
    pushes: int = PUSHES
    """How many are queued."""
    again: int = 0
    """Pushes that were in flight, which the next start delivers at once, with the others."""


class Ended(NamedTuple):
    """What came of it."""

    end: End
    told: Counter[str]
    """How often the bot was told in each chat, when the server was gone."""
    told_again: Counter[str]
    """And when the next start, with the same outbox and a bot that answers, had told it in each."""


def run(case: Case, folder: Path) -> Ended:
    with Bot() as bot:
        environment = bot.environment(folder / "reve.sqlite3" if case.outbox else None)
        with Site(case.name, case.workers, environment, folder) as site:
            queue(site, bot, case.pushes)
            found = end(site, bot, case.number, hung=case.hung, busy=case.busy)
        told = bot.told()
        if case.outbox:
            bot.go.set()
            with Site(case.name, case.workers, environment, folder):
                bot.wait_for(case.pushes + case.again)
        return Ended(found, told, bot.told())


HOOKS = [
    Case("uvicorn"),  # lifespan
    Case("hypercorn"),
    Case("granian wsgi"),  # neither lifespan nor atexit, but multiprocessing's own end
    Case("gunicorn sync"),  # atexit
    Case("gunicorn --preload", SIGQUIT, workers=2),
    Case("uwsgi --enable-threads"),
    Case("waitress", SIGINT),
]
HUNG = [Case(name, hung=True, pushes=FEW) for name in ("uvicorn", "gunicorn sync")]
NO_HOOK = [
    Case("uvicorn --lifespan off", hung=True, pushes=FEW),
    Case("gunicorn sync", SIGKILL, hung=True, pushes=FEW),
    # it runs no hook in a process that is in a request
    Case("uwsgi --enable-threads", hung=True, busy=True, pushes=FEW),
]
STORED = [Case("gunicorn sync", hung=True, outbox=True, pushes=FEW, again=AT_ONCE)]
KEPT = [case._replace(outbox=True) for case in NO_HOOK]
AT_A_TIME = 2
"""More would have to share the processor while they deliver."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Ended]]:
    """What came of a case; some are run while others are looked at, and others that mostly wait beside them."""
    folder = tmp_path_factory.mktemp
    with ThreadPoolExecutor(AT_A_TIME) as pool, ThreadPoolExecutor(AT_A_TIME) as waiting:
        found = {case: pool.submit(run, case, folder("site")) for case in HOOKS}
        found |= {case: waiting.submit(run, case, folder("site")) for case in (*HUNG, *NO_HOOK, *STORED, *KEPT)}
        yield lambda case: found[case].result()
        pool.shutdown(cancel_futures=True)
        waiting.shutdown(cancel_futures=True)


def called(case: Case) -> str:
    return f"{case.name} {case.number.name}"


@pytest.mark.parametrize("case", HOOKS, ids=called)
def test_what_is_queued_is_delivered(case: Case, ended: Callable[[Case], Ended]) -> None:
    """A server that is told to end delivers all of 100 queued pushes within 2 s, each once."""
    found, told, _ = ended(case)
    assert (found.before, found.told, found.left) == (AT_ONCE * case.workers, PUSHES, 0)
    assert found.delivered_in <= 2.0
    assert set(told.values()) == {1}


@pytest.mark.parametrize("case", HUNG, ids=called)
def test_a_hung_bot_holds_no_server_back(case: Case, ended: Callable[[Case], Ended]) -> None:
    """With a bot that never answers a server ends within 2.5 s, and the log counts what is lost."""
    found, _, _ = ended(case)
    assert (found.told, found.left) == (AT_ONCE, case.pushes)
    assert 1.9 < found.gone_in < 3.5  # the machine is busy with others


@pytest.mark.parametrize("case", NO_HOOK, ids=called)
def test_where_no_hook_runs_only_the_outbox_keeps_it(case: Case, ended: Callable[[Case], Ended]) -> None:
    """Where a server ends without a hook, what waits in memory is lost, without a count in the log; what waits in an
    outbox is delivered when the server is started again."""
    lost, _, _ = ended(case)
    assert (lost.told, lost.left) == (AT_ONCE, 0)

    kept, _, told = ended(case._replace(outbox=True))
    assert (kept.told, kept.left) == (AT_ONCE, 0)
    assert set(told.values()) == {1}  # those that were in flight come again when their lease is over
    assert len(told) == case.pushes


@pytest.mark.parametrize("case", STORED, ids=called)
def test_what_a_hook_cannot_deliver_stays_in_the_outbox(case: Case, ended: Callable[[Case], Ended]) -> None:
    """With an outbox and a bot that does not answer, a server ends as soon, nothing is lost, and the next start
    delivers all of it at once, what was in flight as well."""
    found, before, told = ended(case)
    assert (found.told, found.left) == (AT_ONCE, 0)
    assert 1.9 < found.gone_in < 3.5
    assert len(told) == case.pushes
    assert told == before + Counter(dict.fromkeys(told, 1))


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn sync"])
def test_another_worker_delivers_what_a_killed_one_had(name: str, tmp_path: Path) -> None:
    """With an outbox, one of two workers is killed, and what it had queued is delivered by the others."""
    with Bot() as bot, Site(name, 2, bot.environment(tmp_path / "reve.sqlite3"), tmp_path) as site:
        killed, _ = queue(site, bot, FEW)
        os.kill(killed, SIGKILL)
        bot.go.set()
        bot.wait_until_told(FEW)
        assert set(bot.told().values()) == {1}
        with site.all_held():
            """Its successor runs: a server that is just starting one does not end as soon."""


def test_processes_of_multiprocessing_have_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that multiprocessing started, which may end without atexit, is given one hook before its others, with
    its first push."""
    hooks: list[tuple[Any, ...]] = []
    monkeypatch.setattr(multiprocessing.process, "parent_process", lambda: "not None")
    monkeypatch.setattr(
        multiprocessing.util, "Finalize", lambda *args, exitpriority: hooks.append((*args, exitpriority))
    )
    monkeypatch.setattr(module, "_hooked", None)
    with Bot() as bot:
        bot.go.set()
        for _ in range(2):
            with sending(settings(bot.url)) as sender:
                sender.offer(push(body=b'{"sessionId": "s"}'))
                sender.close()
    assert hooks == [(None, module._at_exit, 100)]


# uWSGI until 2.0.26 --------------------------------------------------------------------------------


WITHOUT_THREADS = "uWSGI runs without threads, so nothing is sent while no request runs: set enable-threads = true"


@pytest.mark.parametrize(
    ("version", "options", "said"),
    [
        ((2, 0, 26, 0, b""), {"master": True}, [WITHOUT_THREADS]),
        ((2, 0, 26, 0, b""), {"enable-threads": b"False"}, [WITHOUT_THREADS]),
        ((2, 0, 26, 0, b""), {"enable-threads": b"true"}, []),
        ((2, 0, 26, 0, b""), {"enable-threads": True}, []),
        ((2, 0, 26, 0, b""), {"threads": b"1"}, []),
        ((2, 0, 27, 0, b""), {}, []),
        ((2, 1, 0, 0, b""), {"enable-threads": b"false"}, []),
    ],
)
def test_uwsgi_without_threads_is_warned_of(
    version: Any, options: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that starts on a uWSGI without threads has one warning in its log, with the cure."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(version_info=version, opt=options))
    with listening() as log:
        build()
    assert log.texts() == said


def test_who_runs_no_uwsgi_is_not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is called uwsgi and is none causes no warning and no error."""
    with listening() as log:
        build()
        monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace())
        build()
    assert log.texts() == []


def build() -> None:
    ReveWSGIMiddleware(
        lambda environ, start_response: [],
        webhook_url="https://bot.example/hook", token="tok", chatbot_id="b", secret_key="k" * 32,
        profile=lambda request: None,
    )  # fmt: skip


def test_a_missing_uwsgi_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uWSGI is not installed, one sentence says which package brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(pytest.fail.Exception) as failure:
        check_installed("uwsgi")
    assert str(failure.value) == "uwsgi is missing, and these tests run it: pip install pyuwsgi"
