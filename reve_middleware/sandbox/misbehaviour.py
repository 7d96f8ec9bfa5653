"""How the webhook is to go wrong, and the answers that it holds back while it does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeGuard

LONGEST = 60.0
"""Seconds that an answer may be held back: six times what a client should wait, and an end to every request."""
MAX_RETRY_AFTER = 200
"""Characters of a Retry-After header."""


@dataclass(frozen=True)
class Misbehaviour:
    """One way to go wrong. `ValueError`, with what would be right, for one that cannot be."""

    status: int | None = None
    """Of the answer; `None`: the right one."""
    retry_after: str | None = None
    """The header's value, sent as it is: REVE may send nonsense too."""
    seconds: float = 0.0
    """How long the answer is held back."""
    times: int | None = None
    """How many requests it is still for; `None`: all."""

    def __post_init__(self) -> None:
        if self.status is None and self.seconds == 0:
            raise ValueError("nothing would go wrong: give status= or seconds=; behave() ends a misbehaviour")
        if self.status is not None and not (_is_int(self.status) and 200 <= self.status <= 599):
            raise ValueError(
                f"status={self.status!r}: use a number from 200 to 599, such as 503 (a 1xx is not an answer yet)"
            )
        if not isinstance(self.seconds, int | float) or not 0 <= self.seconds <= LONGEST:
            raise ValueError(f"seconds={self.seconds!r}: use a number from 0 to {LONGEST:g}")
        if self.times is not None and not (_is_int(self.times) and self.times >= 1):
            raise ValueError(f"times={self.times!r}: use a whole number from 1, or None for all until behave()")
        if self.retry_after is not None and self.status is None:
            raise ValueError("retry_after= belongs to an answer that goes wrong: give status=429 or status=503 too")

    @property
    def why(self) -> str:
        """The reason on record for a request that was answered wrongly."""
        return f"told to answer {self.status}" + (f", Retry-After: {self.retry_after}" if self.retry_after else "")

    def once_less(self) -> "Misbehaviour | None":
        """What is left of it after one request."""
        if self.times is None:
            return self
        return replace(self, times=self.times - 1) if self.times > 1 else None


class Held:
    """The answers that are held back, on any event loop; any thread may let them go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: set[int] = set()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def expect(self, number: int) -> None:
        """The answer to this request is to be held back: it counts from now on, and can be let go before `hold`."""
        with self._lock:
            self._expected.add(number)

    async def hold(self, number: int, seconds: float, gone: Callable[[], Awaitable[object]]) -> None:
        """Wait so many seconds, or until `let_go`, or until `gone()` returns: nobody waits for this answer any more."""
        free = asyncio.Event()
        with self._lock:
            if number not in self._expected:
                return  # let go meanwhile
            self._expected.remove(number)
            self._waiting[free] = asyncio.get_running_loop()
        ends = [asyncio.ensure_future(free.wait()), asyncio.ensure_future(gone())]
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            with self._lock:
                del self._waiting[free]
            for each in ends:
                each.cancel()

    def let_go(self) -> None:
        """Send all that are held back, now."""
        with self._lock:
            self._expected.clear()
            waiting = list(self._waiting.items())
        for free, loop in waiting:
            with suppress(RuntimeError):  # its loop has ended in between
                loop.call_soon_threadsafe(free.set)

    def __len__(self) -> int:
        with self._lock:
            return len(self._expected) + len(self._waiting)


def retry_after_header(value: str | int | None) -> str | None:
    """The header's value; `ValueError` for one that cannot be sent."""
    if _is_int(value) and value >= 0:
        return str(value)
    if value is None or (
        isinstance(value, str)
        and 0 < len(value) <= MAX_RETRY_AFTER
        and value.isascii()
        and value.isprintable()
        and value == value.strip()
    ):
        return value
    raise ValueError(
        f"retry_after={value!r}: use seconds, such as 30, or text, such as an HTTP date "
        f"(ASCII on one line, at most {MAX_RETRY_AFTER} characters)"
    )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
