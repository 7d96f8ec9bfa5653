"""How real servers end while 100 pushes are queued (for test_server_ends.py and benchmarks/server_ends.py).

    with Bot() as bot, Site("uvicorn", 1, bot.environment(), directory) as site:
        queue(site, bot)
        print(end(site, bot))

The bot holds its answers until everything is queued and the signal is sent; then it answers at once, or, hung, never.
Its webhook is given by host name, and it closes each connection, so that each push needs a look-up of its own.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from faults import FaultServer, Line, Received, answer_bytes
from workers import BOT, PATIENCE, Site

PUSHES = 100
AT_ONCE = 1
"""Pushes that a process has in flight to a bot that has not answered it yet."""
LEFT = re.compile(r"(\d+) pushes were not delivered before the end")


class Bot(FaultServer):
    """Reads a push, and answers it when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.newest = 0.0
        super().__init__(default=self._answer)

    def _answer(self, line: Line) -> None:
        if line.read() is not None:
            self.go.wait()
            line.send(answer_bytes(204, {"Connection": "close"}))
            line.sock.close()

    def note(self, received: Received | None, change: int) -> None:
        if received is not None:
            self.newest = time.monotonic()
        super().note(received, change)

    def environment(self, outbox: Path | None = None) -> dict[str, str]:
        """What tests/sites.py reads."""
        return {
            "REVE_WEBHOOK_URL": self.url.replace("127.0.0.1", "localhost"),
            "REVE_TOKEN": "only-for-tests",
            "REVE_CHATBOT_ID": BOT,
            "REVE_SECRET_KEY": "only for tests, and long enough for one",
            **({} if outbox is None else {"SITE_OUTBOX": str(outbox)}),
        }

    def told(self) -> Counter[str]:
        """How often it was told in each chat."""
        return Counter(json.loads(received.body)["sessionId"] for received in list(self.received))

    def wait_until_told(self, chats: int) -> float:
        """Seconds until it is told in so many chats."""
        began = time.monotonic()
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.told()) >= chats, PATIENCE):
                raise AssertionError(f"it was told in {len(self.told())} chats, not {chats}")
        return time.monotonic() - began

    def close(self) -> None:
        self.go.set()
        super().close()


class End(NamedTuple):
    """What came of a signal."""

    before: int
    """Pushes that had come to the bot before it."""
    told: int
    """Chats that the bot was told in, when the server was gone."""
    delivered_in: float
    """Seconds from the signal to the newest push."""
    gone_in: float
    """Seconds from the signal to the end of the last process."""
    left: int
    """Pushes that were not delivered, as the log counts them."""


def queue(site: Site, bot: Bot, pushes: int = PUSHES) -> list[int]:
    """So many visitors who are logged in open a chat each, by every process as many; each process has a push in flight
    and the others waiting. Returns the processes."""
    with site.all_held() as workers:
        for share, worker in enumerate(workers):
            with worker.free():
                for number in range(share, pushes, site.workers):
                    _report(site, number)
    bot.wait_for(AT_ONCE * site.workers)
    return [worker.pid for worker in workers]


def _report(site: Site, number: int) -> None:
    """By hand: an HTTP client would take longer than the site, and it is asked a thousand times."""
    with closing(http.client.HTTPConnection("")) as connection:
        connection.sock = site.connect()
        headers = {
            "Host": site.url.removeprefix("http://"),
            "X-Reve-Bridge": "1",
            "Origin": site.url,
            "Sec-Fetch-Site": "same-origin",
            "Cookie": f"user=user-{number}",
            "Content-Type": "application/json",
        }
        ids = json.dumps({"session_id": f"chat-{number}", "chatbot_id": BOT})
        connection.request("POST", "/_reve/session", ids, headers)
        answer = connection.getresponse().read()
    if json.loads(answer) != {"status": "queued"}:
        site.fail(f"chat {number} is not queued: {answer.decode()}")


def end(
    site: Site, bot: Bot, number: signal.Signals = signal.SIGTERM, *, hung: bool = False, busy: bool = False
) -> End:
    """Send a signal and wait for the end. `hung`: the bot does not answer, not even now. `busy`: a process is in a
    request, which does not end."""
    if busy:
        site.late("/hold")
    else:
        site.wait_until_idle()
    before = len(bot.received)
    began = time.monotonic()
    site.send_signal(number)
    if not hung:
        bot.go.set()
    site.wait_for_the_end()
    gone = time.monotonic()
    left = sum(int(count) for count in LEFT.findall(site.output))
    return End(before, len(bot.told()), bot.newest - began, gone - began, left)
