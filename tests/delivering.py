"""Small things that the tests of delivery share: settings, pushes, a clock, and what the log said."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faults import PATIENCE

from reve_middleware import Bot
from reve_middleware.delivery import Result
from reve_middleware.push import Push
from reve_middleware.sender import Sender
from reve_middleware.settings import Settings

SECRET_KEY = "k" * 32
_numbers = itertools.count(1)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def settings(url: str = "http://127.0.0.1:9/hook", **keywords: Any) -> Settings:
    """Settings for one bot `b`, unless `bots` are given."""
    one = {} if "bots" in keywords else {"webhook_url": url, "token": "tok", "chatbot_id": "b"}
    return Settings({"secret_key": SECRET_KEY, **one, **keywords})


def bot(chatbot_id: str, url: str, token: Any = "tok") -> Bot:
    return Bot(webhook_url=url, token=token, chatbot_id=chatbot_id)


LATEST = 2**63
"""Microseconds, later than any hand-over: a chat that outdates even that has lost its last push."""


def push(
    session: str = "s",
    body: bytes = b"{}",
    *,
    bot: str = "b",
    visitor: str = "",
    transition: str | None = None,
    captured: int = 1,
    at: int = 1,
    urgent: bool = False,
    endpoint: str | None = None,
) -> Push:
    """A push; unless said otherwise, each is news."""
    if transition is None:
        transition = f"t{next(_numbers)}"
    return Push(bot, session, endpoint, body, visitor, transition, captured, at, urgent)


class Results:
    """An `on_result=` that can be waited for."""

    def __init__(self) -> None:
        self.all: list[Result] = []
        self._queue: queue.SimpleQueue[Result] = queue.SimpleQueue()

    def __call__(self, result: Result) -> None:
        self.all.append(result)
        self._queue.put(result)

    def wait_for(self, count: int) -> list[Result]:
        """The next so many."""
        return [self._queue.get(timeout=PATIENCE) for _ in range(count)]

    def next(self) -> tuple[str, str]:
        """Outcome and reason of the next one."""
        (result,) = self.wait_for(1)
        return result.outcome, result.reason


def answered(sender: Sender) -> None:
    """As if each bot had answered before: from then on as many attempts are under way as there are slots."""
    for gate in sender.gates.values():
        gate.started(0.0)
        gate.succeeded(0.0)


@contextmanager
def sending(given: Settings, clock: Callable[[], float] | None = None) -> Iterator[Sender]:
    """A sender that is closed at the end, whatever it has not delivered."""
    sender = Sender(given) if clock is None else Sender(given, clock)
    try:
        yield sender
    finally:
        sender.close(0)


class Log(logging.Handler):
    """What one logger said, and a wait for it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def texts(self, least: int = logging.WARNING) -> list[str]:
        return [record.getMessage() for record in self.records if record.levelno >= least]

    def codes(self, least: int = logging.WARNING) -> list[str]:
        return [record.__dict__.get("reve", "") for record in self.records if record.levelno >= least]

    def wait_for(self, code: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: code in self.codes(logging.DEBUG), PATIENCE), self.texts()


@contextmanager
def listening(name: str = "reve_middleware") -> Iterator[Log]:
    """The log of `name`, at DEBUG."""
    log, logger = Log(), logging.getLogger(name)
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


def books_balance(stats: dict[str, Any]) -> bool:
    """Every offered push is somewhere, at every moment."""
    gone: int = stats["delivered"] + stats["superseded"] + sum(stats["dropped"].values())
    return bool(stats["offered"] == gone + stats["waiting"] + stats["in_flight"])
