"""Real servers with tests/security_site.py on them, one process each, and bytes sent to them as they are."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from programs import check_installed

PATIENCE = 20.0
"""Seconds after which a server that does not answer has failed; none needs that long."""
HERE = Path(__file__).resolve().parent
KEY = "only for attacks on servers, and long enough"
PROGRAMS = {
    "uvicorn h11": "uvicorn security_site:asgi --fd {fd} --http h11 --log-level error",
    "uvicorn httptools": "uvicorn security_site:asgi --fd {fd} --http httptools --log-level error",
    "hypercorn": "hypercorn security_site:asgi --bind fd://{fd}",
    "granian asgi": "granian security_site:asgi --interface asgi --uds {path}",
    "daphne": "daphne -v 0 -u {path} security_site:asgi",
    "gunicorn sync": "gunicorn security_site:wsgi --bind fd://{fd} --log-level critical",
    "gunicorn gthread": "gunicorn security_site:wsgi --bind fd://{fd} --threads 4 --log-level critical",
    "granian wsgi": "granian security_site:wsgi --interface wsgi --uds {path}",
    "waitress": "waitress --unix-socket {path} security_site:wsgi",
    "cheroot": "cheroot --bind {path} security_site:wsgi",
    "uwsgi": "uwsgi --module security_site:wsgi --http-socket {path} --master --need-app --disable-logging",
}
"""The name of a server, and how it is started; its first word is the package."""


class Server:
    """A server, from its start to the end of the `with` block. It starts while its maker goes on."""

    def __init__(
        self, name: str, keys: Iterable[str] = (KEY,), read_seconds: float = 5.0, site: str | None = None
    ) -> None:
        """`site`: another object of security_site.py to serve."""
        check_installed(name.partition(" ")[0])
        self.name = name
        self._temporary = tempfile.TemporaryDirectory(prefix="attack-")  # the path of a socket is short
        folder = self._temporary.name
        self._output = open(f"{folder}/output", "w+")  # noqa: SIM115
        command = PROGRAMS[name]
        if site is not None:
            command = re.sub(r"security_site:\w+", f"security_site:{site}", command)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.address: Any = f"{folder}/socket" if "{path}" in command else listener.getsockname()
            program, *options = command.format(fd=listener.fileno(), path=f"{folder}/socket").split()
            first = [sys.executable, "-m", program]
            if program == "uwsgi":  # a program, no module
                first = [str(Path(sys.executable).with_name(program))]
            environment = {
                "PYTHONPATH": os.pathsep.join((str(HERE.parent), str(HERE))),
                "XDG_RUNTIME_DIR": folder,  # where gunicorn puts a socket for its control program
                "SITE_KEYS": json.dumps(list(keys)),
                "SITE_READ_SECONDS": str(read_seconds),
            }
            self._process = subprocess.Popen(
                [*first, *options],
                env={**os.environ, **environment},
                cwd=folder,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.fail("it did not start")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._output.close()
        self._temporary.cleanup()

    def _answers(self) -> bool:
        try:
            return self.ask("/runs") == []
        except OSError:
            return False

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(self.address)
        except OSError:  # it is not there yet
            sock.close()
            raise
        return sock

    def send(self, data: bytes, *, hang_up: bool = False) -> bytes:
        """Everything that comes back until the server closes the connection; `hang_up`: nothing more will be sent."""
        found = b""
        with self.connect() as sock, suppress(ConnectionError):
            sock.sendall(data)
            if hang_up:
                sock.shutdown(socket.SHUT_WR)
            while new := sock.recv(65536):
                found += new
        return found

    def ask(self, path: str) -> list[Any] | None:
        """What the site says of itself; None where it did not answer."""
        answer = self.send(b"GET %b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n" % path.encode())
        body = re.search(rb"\r\n\r\n(?:[0-9a-f]+\r\n)?(\[.*\])", answer, re.DOTALL)
        return json.loads(body[1]) if body else None

    def fail(self, what: str) -> NoReturn:
        self._output.flush()
        raise AssertionError(f"{self.name}: {what}. Its output:\n{Path(self._output.name).read_text()[-4000:]}")


@contextmanager
def running(names: Iterable[str], **how: Any) -> Iterator[dict[str, Server]]:
    """Several servers, started at the same time."""
    with ExitStack() as stack:
        made = [Server(name, **how) for name in names]
        for server in made:
            stack.push(server.__exit__)
        for server in made:
            server.__enter__()
        yield {server.name: server for server in made}


def statuses(answer: bytes) -> list[int]:
    """Of every response in what came back."""
    return [int(one) for one in re.findall(rb"HTTP/1\.\d (\d{3})", answer)]
