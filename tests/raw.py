"""HTTP/1 as bytes on a socket: what was sent back, taken apart without changing any of it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple

PATIENCE = 10.0
"""Seconds after which a read has failed; none takes that long when all is well."""


class Answer(NamedTuple):
    """One response; `head + framed body` are the bytes that came, interim responses before it."""

    interim: tuple[bytes, ...]
    head: bytes
    """Status line and headers, with the empty line; empty where the server hung up without a word."""
    sizes: tuple[bytes, ...]
    """The lines before the chunks, where the body is chunked; the last chunk's among them."""
    chunks: tuple[bytes, ...]
    """The chunks' data; of a body that is not chunked all of it, as one."""
    end: bytes
    """What follows the last chunk."""
    is_whole: bool
    """False where the server hung up before the end."""

    @property
    def status(self) -> int:
        return int(self.head[9:12]) if self.head[:5] == b"HTTP/" and self.head[9:12].isdigit() else 0

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def values(self, name: bytes) -> list[bytes]:
        lines = self.head.split(b"\r\n")[1:-2]
        pairs = (line.partition(b":") for line in lines)
        return [value.strip() for key, _, value in pairs if key.lower() == name]


class HungUp(Exception):
    """The server has closed the connection."""


class Connection:
    """A client's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._data = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send, or not, where the server has hung up."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next response; of a connection that was closed before it, an empty one."""
        interim: list[bytes] = []
        try:
            while True:
                head = self.until(b"\r\n\r\n")
                if head[9:10] != b"1" or head[9:12] == b"101":
                    break
                interim.append(head)
        except HungUp:
            data = self._left()
            return Answer(tuple(interim), data, (), (), b"", is_whole=not data)
        answer = Answer(tuple(interim), head, (), (), b"", is_whole=True)
        if method == "HEAD" or answer.status in (101, 204, 304):
            return answer
        if answer.values(b"transfer-encoding") == [b"chunked"]:
            return self._chunked(answer)
        lengths = answer.values(b"content-length")
        try:
            body = self.exactly(int(lengths[0])) if lengths else self.rest()
        except HungUp:
            return answer._replace(chunks=(self._left(),), is_whole=False)
        return answer._replace(chunks=(body,))

    def _chunked(self, answer: Answer) -> Answer:
        sizes: list[bytes] = []
        chunks: list[bytes] = []
        whole, end = True, b""
        try:
            while True:
                sizes.append(self.until(b"\r\n"))
                size = int(sizes[-1].split(b";")[0], 16)
                if not size:
                    break
                chunks.append(self.exactly(size + 2)[:-2])
            end = self.until(b"\r\n")
            while not end.endswith(b"\r\n\r\n") and end != b"\r\n":
                end += self.until(b"\r\n")
        except HungUp:
            whole, end = False, self._left()
        return answer._replace(sizes=tuple(sizes), chunks=tuple(chunks), end=end, is_whole=whole)

    # Bytes ---------------------------------------------------------------------------------------

    def until(self, mark: bytes) -> bytes:
        """The bytes up to a mark, with it."""
        while mark not in self._data:
            self._more()
        before, _, self._data = self._data.partition(mark)
        return before + mark

    def see(self, mark: bytes) -> bytes:
        """What has come, once it has a mark in it, or once the server has hung up; it is still there to be read."""
        with suppress(HungUp):
            while mark not in self._data:
                self._more()
        return self._data

    def exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        found, self._data = self._data[:size], self._data[size:]
        return found

    def rest(self) -> bytes:
        """Everything until the server hangs up."""
        with suppress(HungUp):
            while True:
                self._more()
        return self._left()

    def _left(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def _more(self) -> None:
        try:
            new = self.sock.recv(262144)
        except ConnectionResetError:
            new = b""
        if not new:
            raise HungUp
        self._data += new


# Web sockets (RFC 6455) -----------------------------------------------------------------------------

MASK = b"abcd"
TEXT, BYTES, CLOSE, PING = 1, 2, 8, 9


def frame(kind: int, data: bytes) -> bytes:
    """A client's frame, of at most 125 bytes."""
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))
    return bytes([0x80 | kind, 0x80 | len(data)]) + MASK + masked


def read_frame(connection: Connection) -> bytes:
    """A server's frame, of at most 125 bytes, as it came."""
    head = connection.exactly(2)
    return head + connection.exactly(head[1])
