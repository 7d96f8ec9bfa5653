"""The servers that tests/server_bytes_site.py runs on, one process each, on a socket of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from programs import check_installed
from raw import Connection
from server_bytes_answers import PAGE
from server_bytes_programs import PROGRAMS, package_of

PATIENCE = 30.0
"""Seconds after which a server that does not answer has failed; none needs that long."""
HERE = Path(__file__).resolve().parent


class Running:
    """A server, from its start to the end of the `with` block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.program = PROGRAMS[name]
        word = self.program.command.split()[0]
        if package_of(name):
            check_installed(package_of(name))
        self._temporary = tempfile.TemporaryDirectory(prefix="bytes-")  # the path of a socket is short
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)  # Apache's processes are another user's
        (self.folder / "page.html").write_bytes(PAGE)
        (self.folder / "data.bin").write_bytes(bytes(range(256)) * 4096)
        self._address: str | tuple[str, int] = str(self.folder / "socket")
        self._output = (self.folder / "output").open("w+")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            if "{path}" not in self.program.command:
                self._address = listener.getsockname()
            self._process = self._start(word, listener)

    def _start(self, word: str, listener: socket.socket) -> subprocess.Popen[str]:
        places = {"path": self._address, "fd": listener.fileno(), "port": listener.getsockname()[1]}
        _, *options = self.program.command.format(**places, folder=self.folder).split()
        if "{port}" in self.program.command:
            listener.close()
        first = [sys.executable, "-m", word]
        if word in ("uwsgi", "mod_wsgi-express"):  # programs, no modules
            first = [str(Path(sys.executable).with_name(word))]
        path = os.pathsep.join((str(HERE), str(HERE.parent)))
        environment = {"PYTHONPATH": path, "SITE_FOLDER": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}
        return subprocess.Popen(
            [*first, *options],
            env={**os.environ, **environment},
            cwd=HERE,
            pass_fds=[] if listener.fileno() < 0 else [listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Running:
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.fail("it did not start")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(OSError), self.connect() as connection:
            connection.send(b"GET /json HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
            return connection.answer().status == 200
        return False

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._output.close()
        self._temporary.cleanup()

    def _stop(self) -> None:
        """How servers end is looked at in test_server_ends.py."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def connect(self) -> Connection:
        sock = socket.socket(socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET)
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return Connection(sock)

    @property
    def output(self) -> str:
        self._output.flush()
        return (self.folder / "output").read_text()

    def fail(self, what: str) -> NoReturn:
        raise AssertionError(f"{self.name}: {what}. Its output:\n{self.output[-4000:]}")
