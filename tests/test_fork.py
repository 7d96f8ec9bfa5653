"""Forks: what the parent has taken the parent sends, and a child begins empty, whatever was locked at that moment."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from faults import FaultServer, held

HERE = Path(__file__).parent
SCRIPT = """
import asyncio, contextlib, json, os, sys, weakref
from types import SimpleNamespace

from delivering import push, settings
from reve_middleware import asking
from reve_middleware import sender as module
from reve_middleware.notes import Notes
from reve_middleware.sender import Sender

url, hooks = sys.argv[1:]
sender = Sender(settings(url))
notes = Notes()
callables = asking.Callables(SimpleNamespace(profile=lambda _: "known", identity=None, consent=None), notes)
assert asyncio.run(callables.ask("profile", None)) == "known"
for number in range(10):
    sender.offer(push(f"p{number}", f"parent {number}".encode()))
sys.stdin.readline()  # now eight are in flight

run = sender._run
locks = [sender._lock, sender.mailbox._lock, notes._lock, asking._threads._lock, run._callbacks_lock,
         run._loop.resolvers._lock, run._loop.askers._lock]
if hooks == "no":
    module._senders = weakref.WeakSet()


def child(name):
    stats = sender.stats()
    assert stats["offered"] == stats["waiting"] == stats["in_flight"] == 0, stats
    notes.say("dev")
    assert asyncio.run(callables.ask("profile", None)) == "known"
    for number in range(10):
        sender.offer(push(f"c{number}", f"child {name} {number}".encode()))
    sender.close(10)
    return sender.stats()["delivered"]


children = []
for name in range(4):
    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        pid = os.fork()
        if pid == 0:
            delivered = 0
            try:
                delivered = child(name)
            finally:
                sys.stderr.flush()
                os._exit(delivered)
    children.append(pid)
sender.close(10)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
print(json.dumps([sender.stats()["delivered"], *codes]))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}


@pytest.mark.parametrize("hooks", ["with hooks", "no"])
def test_each_push_is_delivered_once(hooks: str) -> None:
    """A parent forks four times with ten pushes queued and every lock held: each child begins empty and delivers its
    own ten, the parent its ten, each exactly once; nobody hangs. The same where a server forks behind Python's back
    and no hook is called."""
    go = threading.Event()
    with FaultServer(default=held(go)) as server:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, server.url, hooks]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(), text=True) as process:
            try:
                server.wait_for(1)
                assert process.stdin is not None
                process.stdin.write("fork\n")
                process.stdin.flush()
                server.wait_for(1 + 4)
                go.set()
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
        assert err.count("dev=True") == err.count("\n") == 4, err
        assert json.loads(out) == [10, 10, 10, 10, 10]
        bodies = Counter(received.body.decode() for received in server.received)
        whose = [f"parent {number}" for number in range(10)]
        whose += [f"child {name} {number}" for name in range(4) for number in range(10)]
        assert bodies == Counter(whose)
