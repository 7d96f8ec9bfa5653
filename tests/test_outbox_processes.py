"""Processes that share an outbox: forked, killed, and many."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from delivering import push, settings
from faults import FaultServer
from outboxes import UNUSABLE, rows
from test_fork import environment

from reve_middleware.ledger import Row
from reve_middleware.sender import Sender

BENCHMARK = Path(__file__).parent / "benchmarks" / "outbox_kill.py"
FORK = """
import contextlib, json, os, sys, weakref
from delivering import push, settings
from reve_middleware import database
from reve_middleware.sender import Sender

url, path, hooks = sys.argv[1:]
sender = Sender(settings(url, outbox=path))
for number in range(10):
    assert sender.offer(push(f"p{number}", f"parent {number}".encode())).status == "queued"
if hooks == "no":  # a server that forks behind Python's back
    database._databases = weakref.WeakSet()


def child(name):
    for number in range(10):
        assert sender.offer(push(f"c{name}{number}", f"child {name} {number}".encode())).status == "queued"
    sender.close(10)


children = []
for name in range(4):
    with contextlib.ExitStack() as held:
        box = sender.mailbox
        for lock in (sender._lock, box._lock, box._memory._lock, box._writer._lock):
            held.enter_context(lock)
        pid = os.fork()
        if pid == 0:
            try:
                child(name)
            finally:
                sys.stderr.flush()
                os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
sender.close(10)
"""
DIE = """
import os, signal, sys
from delivering import push, settings
from reve_middleware.sender import Sender

sender = Sender(settings("http://127.0.0.1:9/hook", outbox=sys.argv[1]))
for number in range(20):
    assert sender.offer(push(f"s{number}", b"%d" % number)).status == "queued"
os.kill(os.getpid(), signal.SIGKILL)
"""


WORK = """
import sys, time
from delivering import push
from reve_middleware.outbox import Outbox

box = Outbox(sys.argv[1], ["b"])
for line in sys.stdin:
    assert box.offer(push(line.strip(), b"x" * 3000), time.monotonic()).status == "queued"
    print(*box.sizes(), box.at_risk(), flush=True)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("hooks", ["yes", "no"])
def test_a_fork_with_an_outbox(tmp_path: Path, hooks: str) -> None:
    """A parent forks four times while its outbox is in use and every lock is held: its ten pushes and ten of each
    child are delivered, each once; no SQLite connection is used on both sides. Where no hook is called, the children
    do without the file, and say so."""
    with FaultServer() as server:
        done = run(FORK, server.url, str(tmp_path / "outbox.sqlite3"), hooks)
        complaint = (UNUSABLE % "this process was forked while it was open") + "\n"
        assert (done.returncode, done.stderr) == (0, "" if hooks == "yes" else complaint * 4)
        bodies = Counter(received.body.decode() for received in server.received)
        whose = [f"parent {number}" for number in range(10)]
        whose += [f"child {name} {number}" for name in range(4) for number in range(10)]
        assert bodies == Counter(whose)


def test_what_is_answered_survives_the_process(tmp_path: Path) -> None:
    """Every push that was answered before its process is killed is delivered by another process."""
    path = str(tmp_path / "outbox.sqlite3")
    assert run(DIE, path).returncode == -9
    in_hand = sum(row.in_flight for row in left(path))  # they wait for their lease to run out
    with FaultServer() as server:
        sender = Sender(settings(server.url, outbox=path))
        sender.begin()
        server.wait_for(20 - in_hand)
        sender.close(5)
        heard = {int(received.body) for received in server.received}
        assert heard <= set(range(20))
        assert len(heard) + len(left(path)) == 20


def left(path: str) -> list[Row]:
    """What stands in the file."""
    return rows(Path(path), time.monotonic(), time.time())


def test_importing_the_outbox_starts_nothing(tmp_path: Path) -> None:
    """Building a sender with an outbox imports no HTTP client, opens no file and starts no thread."""
    script = (
        "import json, sys, threading\n"
        "from delivering import push, settings\n"
        "from reve_middleware.sender import Sender\n"
        "before = 'httpx' in sys.modules\n"
        "senders = [Sender(settings('http://127.0.0.1:9/hook', outbox=sys.argv[1])) for _ in range(100)]\n"
        "print(json.dumps([threading.active_count(), before, 'httpx' in sys.modules]))\n"
    )
    done = run(script, str(tmp_path / "outbox.sqlite3"))
    assert (done.stderr, json.loads(done.stdout)) == ("", [1, False, False])
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_deleted_in_use(tmp_path: Path) -> None:
    """Where somebody deletes the file while workers use it, and leaves what stands beside it, what was in it is lost;
    what any worker stores from then on is not."""
    path = tmp_path / "outbox.sqlite3"
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        workers = []
        for _ in range(2):
            command = [sys.executable, "-c", WORK, str(path)]
            worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())
            workers.append(stack.enter_context(worker))

        def offer(worker: int, session: int) -> list[int]:
            process = workers[worker]
            assert process.stdin is not None
            assert process.stdout is not None
            print(f"s{session}", file=process.stdin, flush=True)
            return [int(number) for number in process.stdout.readline().split()]

        for number in range(6):
            assert offer(number % 2, number) == [number + 1, 0, 0]
        path.unlink()
        for number in range(5):
            assert offer(0, number) == [number + 1, 0, 0]
        for number in range(5, 10):
            assert offer(1, number) == [number + 1, 0, 0]
        for number in range(10, 14):
            assert offer(number % 2, number) == [number + 1, 0, 0]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def test_the_kill_program() -> None:
    """In small, with real processes: workers that are killed lose nothing and send nothing old after new, nor do three
    during an outage; nothing is delivered after a sign-out. Without an outbox, it is."""
    done = benchmark("--kills", "5", "--updates", "120", "--sessions", "10", "--quick", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["faults"], found["killed"]["kills"], found["killed"]["updates"]) == (0, 5, 120)
    for part in ("killed", "outage"):
        assert (found[part]["newest lost"], found[part]["old after new"]) == (0, 0)
    assert found["killed"]["requests"] > found["killed"]["refused"] > 0
    assert found["signed out"] == {"sign-outs": 5, "delivered afterwards": 0}
    assert found["signed out, no outbox"]["delivered afterwards"] > 0


@pytest.mark.parametrize("kills", ["0", "x", "-2"])
def test_too_few_kills(kills: str) -> None:
    """Less than one kill is refused in one line."""
    done = benchmark(f"--kills={kills}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --kills: '{kills}' is wrong: it must be a whole number, 1 or more\n")


def test_a_push_is_not_lost_by_its_own_answer(tmp_path: Path) -> None:
    """A push that is answered is in the file or delivered, at every moment in between."""
    path = tmp_path / "outbox.sqlite3"
    with FaultServer() as server:
        sender = Sender(settings(server.url, outbox=path))
        for number in range(30):
            assert sender.offer(push(f"s{number}", b"%d" % number)).status == "queued"
            stored = len(left(str(path)))  # looked at first: a push goes from there to here
            here = {int(received.body) for received in server.received}
            assert stored + len(here) >= number + 1
        sender.close(10)
        assert sorted(int(received.body) for received in server.received) == list(range(30))
