"""Real servers under load: how much CPU uvicorn's process takes for one request, with our layer and without.

A process for each application, all of them there all the time, loaded in turn by this one over eight kept connections.
They count their own CPU (`time.process_time`), so what this process does, and what else runs on the machine, does not
count. uvicorn has what it finds: httptools and uvloop, if they are installed.
"""

from __future__ import annotations

import re
import socket
import statistics
from contextlib import ExitStack

import speed_site as site
from speed_loopback import uvicorn
from speed_peers import has
from speed_rounds import Goal, Row, Slice, absolute, bare_of, interleave

PART = "servers"
CONNECTIONS = 8
PATIENCE = 30.0
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CASES = {
    "JSON, no chat": ("json", "/api/orders", False, Goal(1.12)),
    "JSON, chat, identity with version": ("json", "/api/orders", True, Goal(1.12)),
    "HTML 10 kB, no chat": ("html", "/account/orders", False, Goal(1.22)),
    "HTML 10 kB, chat, identity with version": ("html", "/account/orders", True, Goal(1.22)),
}
"""The application, the path, whether the visitor has a chat, and the goal."""


class Line:
    """One kept connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> None:
        self._socket.sendall(request)

    def answer(self) -> bytes:
        """The whole answer, head and body."""
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = LENGTH.search(data, 0, end)
        if length is None or not data.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"a server answered {data[:200]!r}")
        whole = end + 4 + int(length[1])
        while len(data) < whole:
            data += self._more()
        return data

    def _more(self) -> bytes:
        more = self._socket.recv(262_144)
        if not more:
            raise SystemExit("a server closed a connection")
        return more

    def close(self) -> None:
        self._socket.close()


def request(path: str, cookies: str) -> bytes:
    headers = site.browser_headers(cookies, page=path == "/account/orders")
    return f"GET {path} HTTP/1.1\r\n".encode() + site.block_of(headers) + b"\r\n\r\n"


CPU = request("/cpu", site.OTHER_COOKIES)


def slice_of(lines: list[Line], asked: bytes, *, tags: int) -> Slice:
    def cpu() -> int:
        lines[0].ask(CPU)
        return int(lines[0].answer().partition(b"\r\n\r\n")[2])

    def run(calls: int) -> float:
        began = cpu()
        for _ in range(-(-calls // len(lines))):
            for line in lines:
                line.ask(asked)
            for line in lines:
                body = line.answer()
        if body.count(b"<script") != tags or b"set-cookie" in body.lower():
            raise SystemExit("a server does not do what it is measured for")
        return cpu() - began

    return run


def run(*, quick: bool = False) -> list[Row]:
    if not has("uvicorn"):
        return []
    (chatting,) = site.chats(1, profile=site.profile, identity=site.identity)
    with ExitStack() as stack:
        lines: dict[str, list[Line]] = {}
        for application in ("json", "html"):
            for name in (application, f"{application}_ours"):
                address = stack.enter_context(uvicorn(name))
                lines[name] = [Line(address) for _ in range(CONNECTIONS)]
                for line in lines[name]:
                    stack.callback(line.close)
        slices: dict[str, Slice] = {}
        for case, (application, path, chat, _) in CASES.items():
            asked = request(path, chatting if chat else site.OTHER_COOKIES)
            slices[bare_of(case)] = slice_of(lines[application], asked, tags=0)
            slices[case] = slice_of(lines[f"{application}_ours"], asked, tags=int(application == "html"))
        taken = interleave(slices, *((2, 16) if quick else (31, 800)))
    rows = []
    for case, (_, _, _, goal) in CASES.items():
        ours, bare = taken[case], taken[bare_of(case)]
        ratio = statistics.median(mine / without for mine, without in zip(ours, bare, strict=True))
        costs = absolute(taken, case), absolute(taken, bare_of(case))
        rows.append(Row(PART, f"uvicorn, CPU per request, {case}", "bare", *costs, goal=goal, in_pairs=ratio))
    return rows
