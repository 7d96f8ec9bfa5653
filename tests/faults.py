"""A webhook that goes wrong, on a raw loopback socket.

    with FaultServer(reset, reply(503), default=reply(204)) as server:
        …                                    # server.url, server.received, server.connections

Each answer is a function of one `Line` (a connection). The first request of a connection takes the next answer as
soon as the connection is there, a later one as soon as its bytes come; when the list is used up, `default` answers.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

PATIENCE = 20.0
"""Seconds after which a test that waits has failed; none waits that long when all is well."""


class Received(NamedTuple):
    """One request, as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.strip().decode()
        return None


class Line:
    """One connection."""

    def __init__(self, server: FaultServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.stop = server.stop
        self.reading = 0
        """Requests that were read and are not answered yet."""
        self._rest = b""

    def read(self) -> Received | None:
        """A whole request; None where the other side left."""
        data, self._rest = self._rest, b""
        while b"\r\n\r\n" not in data:
            data += (more := self.sock.recv(65536))
            if not more:
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        received = Received(head, b"")
        length = int(received.header("Content-Length") or 0)
        while len(body) < length:
            body += (more := self.sock.recv(65536))
            if not more:
                return None
        self._rest = body[length:]
        received = Received(head, body[:length])
        self.reading += 1
        self.server.note(received, 1)
        return received

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """End with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_until_left(self) -> None:
        """Until the other side closes, or the server does."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def has_more(self) -> bool:
        with contextlib.suppress(OSError):
            self._rest = self._rest or self.sock.recv(65536)
        return bool(self._rest)


Answer = Callable[[Line], None]


def answer_bytes(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A response; its length is said unless `headers` says another."""
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


def reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """An orderly answer."""

    def answer(line: Line) -> None:
        if line.read() is not None:
            line.send(answer_bytes(status, headers, body))

    return answer


def reset(line: Line) -> None:
    """RST before a byte is read."""
    line.reset()


def reset_after_request(line: Line) -> None:
    line.read()
    line.reset()


def close_after_request(line: Line) -> None:
    line.read()
    line.sock.close()


def raw(data: bytes, *, then_reset: bool = False, then_wait: bool = False) -> Answer:
    """These bytes, whatever they are; then FIN, RST, or nothing more."""

    def answer(line: Line) -> None:
        line.read()
        line.send(data)
        if then_wait:
            line.wait_until_left()
        elif then_reset:
            line.reset()
        else:
            line.sock.close()

    return answer


def held(until: threading.Event, status: int = 204) -> Answer:
    """Reads the request, and answers when `until` is set."""

    def answer(line: Line) -> None:
        if line.read() is not None:
            until.wait(PATIENCE)
            line.send(answer_bytes(status))

    return answer


def silence(line: Line) -> None:
    """Reads the request and never answers."""
    line.read()
    line.wait_until_left()


def drip(data: bytes, at_once: bytes = b"", every: float = 0.02) -> Answer:
    """`at_once`, then `data` over and over, a byte every so many seconds, until the other side has enough."""

    def answer(line: Line) -> None:
        line.read()
        line.send(at_once)
        with contextlib.suppress(OSError):
            for byte in itertools.cycle(data):
                if line.stop.wait(every):
                    break
                line.send(bytes([byte]))

    return answer


def flood(at_once: bytes, chunk: bytes) -> Answer:
    """`at_once`, then `chunk` over and over as fast as it is taken; `server.flooded` counts bytes."""

    def answer(line: Line) -> None:
        line.read()
        line.send(at_once)
        with contextlib.suppress(OSError):
            for _ in range(300 * 1024 * 1024 // len(chunk)):
                line.send(chunk)
                line.server.flooded += len(chunk)

    return answer


def bomb(size: int = 50 * 1024 * 1024) -> bytes:
    """A small gzip that grows large."""
    return gzip.compress(b"\0" * size, 9)


class FaultServer:
    """Answers each request with the next of `answers`."""

    def __init__(
        self,
        *answers: Answer,
        default: Answer | None = None,
        tls: ssl.SSLContext | None = None,
        path: str = "/hook/path",
    ) -> None:
        self.answers = deque(answers)
        self.default = default or reply(204)
        self.received: list[Received] = []
        self.connections = 0
        self.flooded = 0
        self.most_at_once = 0
        self.stop = threading.Event()
        self._at_once = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}{path}"
        self._start(self._accept)

    def note(self, received: Received | None, change: int) -> None:
        """A request came, or so many were answered."""
        with self._changed:
            if received is not None:
                self.received.append(received)
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Received]:
        """The requests, as soon as there are `count` of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, PATIENCE):
                raise AssertionError(f"{len(self.received)} requests came, not {count}")
            return list(self.received)

    def close(self) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, function: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=function, args=args, name="fault-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self._changed.notify_all()
            self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            if self._tls is not None:
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                self._open.add(sock)
            with sock:
                if isinstance(sock, ssl.SSLSocket):
                    sock.do_handshake()
                line = Line(self, sock)
                more = True
                while more:
                    try:
                        (self.answers.popleft() if self.answers else self.default)(line)
                    finally:
                        self.note(None, -line.reading)
                        line.reading = 0
                    more = sock.fileno() >= 0 and line.has_more()
        self._open.discard(sock)


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """The address of a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/hook/path"


@contextlib.contextmanager
def unanswered() -> Iterator[str]:
    """The address of a port whose queue of new connections is full: a connect waits."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook/path"
