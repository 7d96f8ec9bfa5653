"""Real parts for test_handoff_queues.py: a Redis, worker processes that can be killed, and the examples."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browser import missing
from drive import Call, Reply, Visitor
from fakes import PATIENCE
from oracle import Sent
from servers import _asgi, reply_of, scope_of

ROOT = Path(__file__).resolve().parents[1]
CANARIES = {"token": "canary-token-4711", "path": "canary-path-4711", "secret_key": "canary-key-4711-" * 3}


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            missing(f"{package}: pip install {package}")


class Process:
    """A program with a group of its own, whose output is shown where it was to no avail."""

    def __init__(self, command: list[str], directory: Path, **environment: str) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()
        with self._said:
            self.lines.append("(it has ended)")
            self._said.notify_all()

    def says(self, text: str) -> bool:
        """Wait until it says so; False where it ends before."""
        with self._said:
            ended = self._said.wait_for(
                lambda: any(text in line or line == "(it has ended)" for line in self.lines), PATIENCE
            )
            return ended and any(text in line for line in self.lines)

    def kill(self) -> None:
        """SIGKILL to all of it, in the middle of what it does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def end(self) -> int:
        """SIGTERM, and its status."""
        self._process.terminate()
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.kill()
        if kind is not None:
            print("".join(self.lines))


def program(directory: Path, *arguments: str, **environment: str) -> Process:
    """A Python program that knows the package, the examples, and what stands in `directory`."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "examples", directory)))
    return Process([sys.executable, "-m", *arguments], directory, PYTHONPATH=path, **environment)


class Redis:
    """A Redis of one test module, that keeps nothing."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def everything(self, number: int) -> bytes:
        """All that one of its databases holds, keys and values, and what is base64 in them once more in plain."""
        from redis import Redis as Client

        with Client.from_url(self.url(number)) as client:
            keys = list(client.scan_iter())
            readers = {
                b"string": client.get,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                b"hash": client.hgetall,
                b"stream": client.xrange,
            }
            data = repr([(key, readers[client.type(key)](key)) for key in keys]).encode()
        return data + b"".join(_plain(word) for word in data.replace(b"'", b'"').split(b'"'))


def _plain(word: bytes) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        return b""


@contextmanager
def redis(directory: Path) -> Iterator[Redis]:
    """A Redis on a free loopback port."""
    path = shutil.which("redis-server") or missing("redis-server: apt-get install redis-server")
    for _ in range(3):  # another program may be quicker to take the port
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        options = f"--port {port} --bind 127.0.0.1 --appendonly no --maxmemory 64mb --save".split()
        with Process([path, *options, ""], directory) as process:
            if process.says("Ready to accept connections"):
                yield Redis(port)
                return
    pytest.fail(f"redis-server does not start:\n{''.join(process.lines)}")


class OneLoop:
    """Calls an ASGI application, each time in the same event loop: what its connections belong to."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def call(self, application: Any, call: Call) -> Reply:
        scope = scope_of(call)
        sent = Sent(scope)
        self._runner.run(_asgi(application, scope, call.body, sent))
        return reply_of(sent.messages)


class Example:
    """One of the examples, imported as a site would; what it needs stands in the environment."""

    def __init__(self, name: str, webhook_url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
        self.environment = {
            "REVE_WEBHOOK_URL": webhook_url,
            "REVE_TOKEN": CANARIES["token"],
            "REVE_CHATBOT_ID": "bot",
            "REVE_SECRET_KEY": CANARIES["secret_key"],
            **environment,
        }
        for variable, value in self.environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.syspath_prepend(ROOT / "examples")
        monkeypatch.delitem(sys.modules, name, raising=False)
        self.module: ModuleType = importlib.import_module(name)

    def visitor(self, runner: asyncio.Runner, user: str = "ada") -> Visitor:
        """Somebody who is logged in."""
        kind: Any = OneLoop(runner)
        visitor = Visitor(self.module.app, kind)
        visitor.jar["user"] = user
        return visitor
