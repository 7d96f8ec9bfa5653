"""What importing the package, and building its objects, does not do. Each in an interpreter of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = ROOT / "tests" / "benchmarks" / "import_time.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answer_of(program: str) -> Any:
    """What a program prints as JSON."""
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_brings_only_what_every_site_needs() -> None:
    """Importing the package imports no HTTP client, no server, no database and no stand-in, and starts no thread."""
    found = answer_of(
        "import json, sys, threading, reve_middleware\n"
        "print(json.dumps({'modules': sorted(sys.modules), 'threads': threading.active_count()}))\n"
    )
    unwanted = {"httpx", "httpcore", "uvicorn", "waitress", "sqlite3", "pytest", "django", "reve_middleware.sandbox"}
    assert unwanted & set(found["modules"]) == set()
    assert "reve_middleware.webhook" not in found["modules"]
    assert found["threads"] == 1


CONSTRUCTION = """
import json, os, sys, threading
from reve_middleware import ReveMiddleware, ReveWSGIMiddleware

async def asgi(scope, receive, send): ...
def wsgi(environ, start_response): ...

seen = []
def watch(event, args):
    if watching and event in ("open", "socket.__new__", "subprocess.Popen"):
        seen.append(f"{event} {args[0]}")

watching = False
sys.addaudithook(watch)
threading.Thread.start = lambda thread: seen.append(f"thread {thread.name}")
keywords = dict(
    webhook_url="https://bot.example/hook", token="t", chatbot_id="shop", secret_key="k" * 32,
    profile=lambda request: None, identity=lambda request: None, consent=lambda request: True,
    routes=("/account/*",), exclude=("/account/help",), logout_routes=("/logout",),
)
built = []
watching = True
for _ in range(1000):
    built.append(ReveMiddleware(asgi, **keywords))
    built.append(ReveWSGIMiddleware(wsgi, **keywords))
first = list(seen)
open(os.devnull).close()  # the watch does see
threading.Thread(name="last").start()
watching = False
print(json.dumps({"before": first, "built": len(built), "seen": seen, "threads": threading.active_count()}))
"""


def test_building_starts_nothing() -> None:
    """Building 2 000 middlewares starts no thread and opens no file and no socket."""
    found = answer_of(CONSTRUCTION)
    assert found["before"] == []
    assert found["seen"] == [f"open {os.devnull}", "thread last"]
    assert (found["built"], found["threads"]) == (2000, 1)


def test_the_import_time_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints medians, spread and the ratio, as JSON too, says that httpx stayed out, and fails above the limit."""
    done = run(str(BENCHMARK), "--rounds", "2", "--limit", "50", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(found["seconds"]) == {"reve_middleware", "starlette.requests, itsdangerous"}
    for spread in (*found["seconds"].values(), found["ratio"]):
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    assert (found["rounds"], found["limit"], found["httpx_imported"], found["passed"]) == (2, 50, False, True)

    spec = importlib.util.spec_from_file_location("import_time", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, program)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program, "run", lambda rounds: ([0.05, 0.07], [0.05, 0.05], False))
    for limit, status in (("1.19", 1), ("1.21", 0)):
        monkeypatch.setattr(sys, "argv", ["import_time.py", "--rounds", "2", "--limit", limit])
        assert program.main() == status
        said = capsys.readouterr().out
        assert f"ratio, one by one: 1.20, the middle half 1.10 to 1.30 (2 interpreters; the limit is {limit})\n" in said
        assert said.endswith("httpx was not imported\n")


@pytest.mark.parametrize("rounds", ["1", "x", "-2"])
def test_too_few_rounds(rounds: str) -> None:
    """A spread needs two rounds: fewer are refused in one line."""
    done = run(str(BENCHMARK), f"--rounds={rounds}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --rounds: '{rounds}' is wrong: it must be a whole number, 2 or more\n")
