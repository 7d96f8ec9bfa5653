"""A key is rolled through two workers, one after the other, while visitors come and go; nobody's chat is lost.

As in docs/how-to/key-rotation.md: the new key verifies everywhere, then it signs everywhere, then, when every cookie
of the old one has ended, the old key goes. A worker is a middleware in this process (drive.ShellKind calls it) or a
server.
"""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from drive import Call, Reply, Visitor
from security_cookies import MARK

PATIENCE = 30.0
OLD, NEW = "the key that is to go, long enough", "the key that is to come, long enough"
STEPS = [[OLD, NEW], [NEW, OLD], [NEW]]
"""What stands in `secret_key=`, everywhere, before the next step."""
BETWEEN_STEPS = 25
"""Requests that must have been answered before another worker changes; a chat is reported in every tenth."""


class OverHTTP:
    """Calls a server as drive.ShellKind calls a middleware."""

    def call(self, server: Any, call: Call) -> Reply:
        connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
        try:
            connection.request(call.method, call.path, call.body, dict(call.headers))
            answer = connection.getresponse()
            headers = [(name.lower(), value) for name, value in answer.getheaders()]
            return Reply(answer.status, headers, body := answer.read(), [body], None)
        finally:
            connection.close()


class Workers:
    """Two of them; a request takes either."""

    def __init__(self, workers: list[Any]) -> None:
        self._now = workers
        self._busy: Counter[int] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def either(self) -> Iterator[Any]:
        with self._changed:
            worker = random.choice(self._now)
            self._busy[id(worker)] += 1
        try:
            yield worker
        finally:
            with self._changed:
                self._busy[id(worker)] -= 1
                self._changed.notify_all()

    def replace(self, at: int, worker: Any) -> None:
        """New requests go to this one; returns when the old one has answered its last."""
        with self._changed:
            old, self._now[at] = self._now[at], worker
            if not self._changed.wait_for(lambda: not self._busy[id(old)], PATIENCE):
                raise AssertionError("a worker did not answer its last request")


class Load:
    """Visitors with a chat each, in threads of their own. Each edits the profile and asks for a page, again and again:
    a response without a mark means that the chat's cookie was not believed, or the mark's."""

    def __init__(self, visitors: list[Visitor], workers: Workers) -> None:
        self._visitors = visitors
        self._workers = workers
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._reports: Counter[int] = Counter()
        self.requests = 0
        self.rejects: list[str] = []

    def run(self, roll: Callable[[], None]) -> None:
        """Until the roll is done."""
        with ThreadPoolExecutor(len(self._visitors)) as pool:
            coming = [pool.submit(self._come, number) for number in range(len(self._visitors))]
            try:
                roll()
            finally:
                self._over.set()
            for one in coming:
                one.result(PATIENCE)

    def _come(self, number: int) -> None:
        visitor = self._visitors[number]
        visitor.jar |= {"user": f"user-{number}", "phone": "0"}
        self._report(visitor, number, "queued")
        while not self._over.is_set():
            for _ in range(9):
                visitor.jar["phone"] = str(int(visitor.jar["phone"]) + 1)
                with self._workers.either() as visitor.middleware:
                    reply = visitor.get("/")
                self._count(list(reply.cookies) == [MARK], f"a page: {reply.status}, {list(reply.cookies)}")
            self._report(visitor, number, "current")

    def _report(self, visitor: Visitor, number: int, status: str) -> None:
        with self._workers.either() as visitor.middleware:
            reply = visitor.capture(f"chat-{number}")
        self._count(reply.json == {"status": status}, f"a report: {reply.status}, {reply.body!r}")
        with self._changed:
            self._reports[number] += 1
            self._changed.notify_all()

    def _count(self, good: bool, what: str) -> None:
        with self._changed:
            self.requests += 1
            if not good:
                self.rejects.append(what)
            self._changed.notify_all()

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            before = self.requests
            if not self._changed.wait_for(lambda: self.requests >= before + count, PATIENCE):
                raise AssertionError("the visitors do not come any more")

    def wait_for_reports(self) -> None:
        """Every chat has been reported anew: cookies from before are as good as ended."""
        with self._changed:
            before = dict(self._reports)
            if not self._changed.wait_for(lambda: all(self._reports[n] > before[n] + 1 for n in before), PATIENCE):
                raise AssertionError("the widgets do not report any more")


def roll(workers: Workers, load: Load, make: Callable[[list[str]], Any], between: int = BETWEEN_STEPS) -> None:
    """The three steps, one worker at a time."""
    load.wait_for_requests(between)
    for keys in STEPS:
        if OLD not in keys:
            load.wait_for_reports()
        for at in range(2):
            workers.replace(at, make(keys))
            load.wait_for_requests(between)
