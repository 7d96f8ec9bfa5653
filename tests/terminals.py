"""A terminal of the tests' own: for a command in this process, and for one that runs by itself."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path

import pytest

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PATIENCE = 20
"""Seconds that a command may take; none does when all is well."""


@contextlib.contextmanager
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Standard output and error are a terminal; what is called afterwards returns what came on it."""
    master, slave = pty.openpty()
    seen = StringIO()

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while data := os.read(master, 65536):
                seen.write(data.decode())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def ended() -> str:
        screen.close()
        reader.join(PATIENCE)
        return seen.getvalue().replace("\r\n", "\n")

    with open(slave, "w", encoding="utf-8") as screen, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", screen)
        patch.setattr(sys, "stderr", screen)
        try:
            yield ended
        finally:
            ended()
            os.close(master)


def installed() -> str:
    """The command as pip put it there."""
    return str(Path(sys.executable).with_name("reve-middleware"))


def type_into(command: list[str], environment: Mapping[str, str], prompt: str, answer: str) -> tuple[int, str]:
    """Run a command in a terminal, which controls it, as a person's does; type `answer` where `prompt` appears. Its
    exit status, and the screen."""
    master, slave = pty.openpty()
    script = 'exec "$0" "$@" <"$SCREEN" >"$SCREEN" 2>&1'
    everything = {**os.environ, **environment, "SCREEN": os.ttyname(slave)}
    process = subprocess.Popen(["sh", "-c", script, *command], env=everything, start_new_session=True)
    stop = threading.Timer(PATIENCE, process.kill)
    stop.start()
    seen = ""
    try:
        while prompt not in seen:
            seen += os.read(master, 65536).decode()
        os.close(slave)
        slave = -1
        os.write(master, answer.encode() + b"\n")
        with contextlib.suppress(OSError):
            while data := os.read(master, 65536):
                seen += data.decode()
        return process.wait(PATIENCE), seen.replace("\r\n", "\n")
    finally:
        stop.cancel()
        process.kill()
        process.wait(PATIENCE)
        os.close(master)
        if slave >= 0:
            os.close(slave)
