"""How a server ends with 100 pushes queued: what comes to the bot, and how soon (for test_server_ends.py).

    with Webhook() as webhook:
        end = End("uvicorn", outbox=path)
        ...

The webhook holds its answers, so that everything is queued when the signal comes; then it answers at once. It is
given by host name, and closes each connection, so that each push needs a look-up of its own.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

from faults import FaultServer, Line, Received, answer_bytes
from workers import BOT, PATIENCE

PUSHES = 100
AT_ONCE = 8
"""What a process has in flight (contract §11, `concurrency`)."""


class Webhook(FaultServer):
    """Holds its answers until it is told to go on; then answers at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.last = 0.0
        """When the newest request came."""
        super().__init__(default=self._answer)
        self.environment = {
            "REVE_WEBHOOK_URL": self.url.replace("127.0.0.1", "localhost"),
            "REVE_TOKEN": "only-for-tests",
            "REVE_CHATBOT_ID": BOT,
            "REVE_SECRET_KEY": "only for tests, and long enough for one",
        }

    def _answer(self, line: Line) -> None:
        if line.read() is not None:
            self.go.wait(PATIENCE + 10)
            line.send(answer_bytes(204, {"Connection": "close"}))
            line.sock.close()

    def note(self, received: Received | None, change: int) -> None:
        if received is not None:
            self.last = time.monotonic()
        super().note(received, change)

    def chats(self) -> Counter[str]:
        """How often it was told in each chat."""
        return Counter(json.loads(received.body)["sessionId"] for received in list(self.received))

    def close(self) -> None:
        self.go.set()
        super().close()
