"""Real servers with worker processes, and full say over which of them answers (for test_servers.py).

    with Site("uvicorn", 4, environment, directory) as site:
        with site.all_held() as workers:        # every process waits inside a request of ours
            with workers[0].free():             # this one alone serves
                httpx.get(site.url)

Nothing sleeps: requests that wait are let go by hanging up on them, and a server's output is read as it comes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import httpx
import programs
import pytest

PATIENCE = 20.0
"""Seconds after which a test that waits has failed; none waits that long when all is well."""
STOP_SECONDS = 5.0
"""Seconds in which a server must have ended after SIGTERM."""
HERE = Path(__file__).resolve().parent
BOT = "shop-bot"


class Late:
    """A request that waits inside the site until it is let go."""

    def __init__(self, site: Site, gate: socket.socket, answer: Future[httpx.Response]) -> None:
        self._site = site
        self._gate = gate
        self._answer = answer
        self.pid = int(gate.recv(32))

    def finish(self) -> httpx.Response:
        self._gate.close()
        return self._site.result(self._answer)


class Worker:
    """One process, which waits inside a request but where it is set free."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._late = site.late("/hold")
        self.pid = self._late.pid

    @contextmanager
    def free(self) -> Iterator[None]:
        """While all others are held: from here on this process answers, and no other."""
        self._late.finish()
        yield
        self._late = self._site.late("/hold")
        if self._late.pid != self.pid:
            self._site.fail(f"process {self.pid} alone was free, and {self._late.pid} took a request")

    def let_go(self) -> None:
        self._late.finish()


class Site:
    """tests/sites.py on a server; ends with the `with` block, within 5 s and without a traceback."""

    def __init__(self, name: str, workers: int, environment: dict[str, str], directory: Path) -> None:
        programs.check_installed(name.partition(" ")[0])
        self.name = name
        self.workers = workers
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._gates: list[socket.socket] = []
        self._is_over = False
        path = os.pathsep.join((str(HERE.parent), str(HERE)))
        # gunicorn puts a socket for its control program under XDG_RUNTIME_DIR
        extra = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": str(directory), **environment}
        self._folder = tempfile.TemporaryDirectory(prefix="site-")  # the path of a socket is short
        self._path = f"{self._folder.name}/socket" if "{path}" in programs.PROGRAMS[name] else None
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:  # whoever comes early waits in it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            command = programs.command(name, fd=listener.fileno(), path=self._path, workers=workers)
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **extra},
                cwd=directory,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            stack.callback(self._folder.cleanup)
            stack.callback(self._kill)
            self._wait_until_it_listens()
            self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self._listener.settimeout(PATIENCE)
            self._pool = stack.enter_context(ThreadPoolExecutor(16))
            self._client = stack.enter_context(self.client())
            self.request(self._client, "GET", "/")
            with self.all_held():
                """Every process has started."""
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.let_all_go()
        with self._stack:
            if kind is None:
                self.stop()

    # What a test does ----------------------------------------------------------------------------

    def client(self) -> httpx.Client:
        """A browser; a connection for each request, so that any process may take it."""
        way = httpx.HTTPTransport(uds=self._path, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
        return httpx.Client(base_url=self.url, transport=way, timeout=PATIENCE, trust_env=False)

    def connect(self) -> socket.socket:
        """A connection for a request by hand."""
        sock = socket.socket(socket.AF_UNIX if self._path else socket.AF_INET)
        sock.settimeout(PATIENCE)
        sock.connect(self._path or ("127.0.0.1", int(self.url.rpartition(":")[2])))
        return sock

    def send(self, client: httpx.Client, request: httpx.Request) -> Future[httpx.Response]:
        """Send a request that was built before, cookies and all, in a thread."""
        return self._pool.submit(client.send, request)

    def result(self, answer: Future[httpx.Response]) -> httpx.Response:
        try:
            return answer.result(PATIENCE).raise_for_status()
        except (httpx.HTTPError, TimeoutError) as error:
            self.fail(f"a request came to {error!r}")

    def request(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
        return self.result(self.send(client, client.build_request(method, path, **options)))

    def late(self, path: str, client: httpx.Client | None = None) -> Late:
        """Send a request for `/late` or `/hold`; returns when it waits inside the site."""
        client = client or self._client
        port = self._listener.getsockname()[1]
        answer = self.send(client, client.build_request("GET", path, params={"port": port}))
        try:
            gate, _ = self._listener.accept()
        except TimeoutError:
            self.fail(f"no process took a request for {path} within {PATIENCE:g} s")
        self._gates.append(gate)
        gate.settimeout(PATIENCE)
        return Late(self, gate, answer)

    @contextmanager
    def all_held(self) -> Iterator[list[Worker]]:
        """Every process, each in a request of ours; they are different since a held one takes no other."""
        workers = [Worker(self) for _ in range(self.workers)]
        yield workers
        for worker in workers:
            worker.let_go()

    def let_all_go(self) -> None:
        """Nothing waits any longer: what a test that failed has left behind."""
        while self._gates:
            self._gates.pop().close()

    def flush(self) -> list[dict[str, Any]]:
        """Let every process deliver what it has; their `stats()`. Afterwards nothing is on its way."""
        found = []
        with self.all_held() as workers:
            for worker in workers:
                with worker.free():
                    found.append(json.loads(self.request(self._client, "POST", "/flush").content))
        return found

    def stop(self) -> None:
        """SIGTERM, as whoever runs the server sends it: all processes must end in time, and cleanly."""
        if not self._is_over:
            self.send_signal(signal.SIGTERM)
            self.wait_for_the_end()

    def send_signal(self, number: signal.Signals) -> None:
        """To the process that was started; SIGKILL, which a server cannot hand on, to all of them."""
        if number == signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._last_signal = number

    def wait_for_the_end(self) -> None:
        """All processes must end in time, and cleanly."""
        number = self._last_signal
        try:
            status = self._process.wait(STOP_SECONDS)
            self._reader.join(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.fail(f"it did not end within {STOP_SECONDS:g} s of {number.name}")
        if self._reader.is_alive():
            self.fail("it ended, and a process of its lives on")
        self._is_over = True
        if status not in (0, -number):
            self.fail(f"it ended with status {status}")
        if "Traceback" in self.output and number != signal.SIGQUIT:  # gunicorn breaks a request off with one
            self.fail("it printed a traceback")

    # Its output ----------------------------------------------------------------------------------

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def fail(self, what: str) -> NoReturn:
        pytest.fail(f"{self.name}: {what}. Its output:\n{self.output}", pytrace=False)

    def _read(self) -> None:
        """Until the last process has closed it."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()

    def _wait_until_it_listens(self) -> None:
        """On a socket of its own; ours takes requests before the server does."""
        if self._path is not None and not self.wait_until(self._listens):
            self.fail(f"it did not listen within {PATIENCE:g} s")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(self._path or "") == 0

    def wait_until_idle(self) -> None:
        """uWSGI says when no process is in a request any more; one that is has already answered it."""
        if self.name.startswith("uwsgi") and not self.wait_until(self._is_idle):
            self.fail(f"it was not idle within {PATIENCE:g} s")

    def _is_idle(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as stats:
            sock.connect(f"{self._path}.stats")
            return all(worker["status"] == "idle" for worker in json.load(stats)["workers"])

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        """Asked with each line of output, and every now and then; False where it does not come true."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while not (true := holds()) and time.monotonic() < end and self._reader.is_alive():
                self._news.wait(0.05)
            return true

    def _kill(self) -> None:
        """What is left of it; a group of our own making."""
        if self._reader.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(STOP_SECONDS)


class Visitor:
    """A browser on the site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = site.client()

    def get(self, path: str = "/") -> httpx.Response:
        return self.site.request(self.client, "GET", path)

    def post(self, path: str) -> httpx.Response:
        return self.site.request(self.client, "POST", path)

    def late(self, path: str) -> Late:
        """A request that leaves now, with the cookies there are now."""
        return self.site.late(path, self.client)

    def report(self, chat: str) -> str:
        """What the bridge does when the widget opens a chat."""
        ids = {"session_id": chat, "chatbot_id": BOT}
        headers = {"X-Reve-Bridge": "1", "Origin": self.site.url, "Sec-Fetch-Site": "same-origin"}
        answer = self.site.request(self.client, "POST", "/_reve/session", json=ids, headers=headers)
        return str(answer.json()["status"])

    @property
    def ids(self) -> str | None:
        """The cookie that says which chat this is."""
        return self.client.cookies.get("reve")

    @property
    def ours(self) -> list[str]:
        """The names of our cookies in the jar."""
        return sorted(name for name in self.client.cookies if name.startswith("reve"))


@contextmanager
def visit(site: Site) -> Iterator[Visitor]:
    visitor = Visitor(site)
    with visitor.client:
        yield visitor


def names_set(response: httpx.Response) -> list[str]:
    """The names of our cookies that a response sets."""
    names = (value.partition("=")[0] for value in response.headers.get_list("set-cookie"))
    return [name for name in names if name.startswith("reve")]
