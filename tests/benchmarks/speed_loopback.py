"""Processes of one's own for the speed programs: a webhook that answers at once, and uvicorn with one application.

The webhook, when this file is run as a program with an inherited listening socket, is as small as a server can be: it
takes whole requests and answers each with 204.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Webhook(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        rest = self.rest + data
        while (end := rest.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(rest, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(rest) < whole:
                break
            rest = rest[whole:]
            self.transport.write(ANSWER)
        self.rest = rest


async def serve(listening: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Webhook, sock=listening)
    await server.serve_forever()


@contextmanager
def process(program: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A file of this folder as a program, on a listening socket whose number is its last argument; where it listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        number = listening.fileno()
        running = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments, str(number)], pass_fds=[number], stdout=subprocess.DEVNULL
        )
        try:
            yield listening.getsockname()
        finally:
            running.terminate()
            running.wait(10)


def webhook() -> AbstractContextManager[tuple[str, int]]:
    return process("speed_loopback.py")


def uvicorn(application: str) -> AbstractContextManager[tuple[str, int]]:
    return process("speed_served.py", application)


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
