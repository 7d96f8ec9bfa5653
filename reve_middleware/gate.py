"""A bot's history of outcomes: may we try, and when.

Pure: time (seconds of one monotonic clock) and randomness (0 ≤ x < 1) are passed in.

    new     ── one attempt at a time, until the bot has answered one ──▶ open
    open    ── five failures in a row, or the server asks for a pause ──▶ closed
    open    ── 401/403, 3xx, 410, TLS ──▶ held (loudly; age does not count meanwhile)
    closed, held ── the wait is over: one probe ──▶ ramping: rounds of 1, 2, 4, 8 attempts ──▶ open
"""

from __future__ import annotations

from typing import Final

FAILURES_THAT_CLOSE = 5
FIRST_WAIT = 1.0
"""Seconds; doubles with each failure."""
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 300.0
"""Seconds for which a server's Retry-After is believed."""
RETRY_AFTER_JITTER = 0.1
HELD_FOR_TOKEN = 60.0
"""Seconds between two probes with a token that is refused."""
HELD_FOR_CONFIGURATION = 300.0
"""Seconds between two probes of a link that is wrong: redirects, 410, TLS."""
LARGEST_ROUND = 8
"""Attempts in the last round of the ramp; after it only the sender's own limit counts."""
ROUND_SECONDS = 1.0
"""No round of the ramp begins sooner after the one before."""

UNLIMITED: Final = 1 << 30


def back_off(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures: full jitter, doubling from 1 s to 60 s."""
    return chance * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 16))


def wait_for(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait: the back-off, or what the server asks for if that is more, and a little."""
    wait = back_off(failures, chance)
    if retry_after is None:
        return wait
    return max(wait, min(retry_after, LONGEST_RETRY_AFTER)) * (1 + RETRY_AFTER_JITTER * chance)


class Gate:
    """May this bot be tried? One per bot."""

    def __init__(self) -> None:
        self._failures = 0
        self._in_flight = 0
        self._at_once = 1  # a token or link that is wrong is found by one attempt, not by as many as there are slots
        self._round: int | None = None
        """How many attempts this round of the ramp may still start; None outside the ramp."""
        self._round_until = 0.0
        self._shut_until: float | None = None
        self._is_probing = False
        self._held_since: float | None = None
        self._held_before = 0.0
        self.reason = ""
        """Why it is not open: "overload", "token", "configuration"; empty while it is open."""

    def may_try(self, now: float) -> bool:
        if self._shut_until is not None:
            return now >= self._shut_until and self._in_flight == 0
        if self._round == 0:
            return now >= self._round_until and self._in_flight == 0
        return self._in_flight < self._at_once

    @property
    def is_idle(self) -> bool:
        """Is no attempt under way?"""
        return self._in_flight == 0

    def opens_at(self) -> float | None:
        """When the next attempt may go; None where that is no matter of time: it is open, or an answer is awaited."""
        if self._in_flight:
            return None
        return self._round_until if self._round == 0 else self._shut_until

    def started(self, now: float) -> None:
        """An attempt begins."""
        self._in_flight += 1
        if self._shut_until is not None:
            self._is_probing = True
        elif self._round is not None:
            if self._round == 0 and not self._begin_round(self._at_once * 2, now):
                return
            self._round -= 1

    def succeeded(self, now: float) -> bool:
        """An attempt ended well, or was answered in a way that is about that one push alone.
        Returns True where this opened the gate."""
        self._in_flight -= 1
        if self._shut_until is not None and not self._is_probing:
            return False  # it was under way when the gate shut, and shortens no pause
        self._failures = 0
        self._end_hold(now)
        opened = self._is_probing
        if opened:
            self._is_probing = False
            self._shut_until = None
            self.reason = ""
            self._begin_round(1, now)
        elif self._round is None:
            self._at_once = UNLIMITED
        return opened

    def failed(self, now: float, retry_after: float | None, chance: float) -> bool:
        """An attempt found no server, or an overloaded one. Returns True where this closed the gate."""
        self._in_flight -= 1
        was_open = self._shut_until is None
        if was_open or self._is_probing:
            self._failures += 1
            self._end_hold(now)
        elif retry_after is None:
            return False  # it was under way when the gate shut, and tells nothing new
        if not was_open or self._failures >= FAILURES_THAT_CLOSE or self._round is not None or retry_after is not None:
            reason = "overload" if was_open or self._is_probing else self.reason
            self._shut(now + wait_for(self._failures, retry_after, chance), reason)
            return was_open
        return False

    def hold(self, now: float, seconds: float, reason: str) -> bool:
        """The token or the configuration is wrong. Returns True where that is new."""
        self._in_flight -= 1
        new = self.reason != reason
        if self._held_since is None:
            self._held_since = now
        self._shut(now + seconds, reason)
        return new

    def abandoned(self) -> None:
        """An attempt was broken off by us: it says nothing about the bot."""
        self._in_flight -= 1
        self._is_probing = False
        if self._round is not None:
            self._round += 1

    def held(self, now: float) -> float:
        """Seconds for which this bot has been held by a wrong token or configuration, in all."""
        since = self._held_since
        return self._held_before if since is None else self._held_before + (now - since)

    def _begin_round(self, size: int, now: float) -> bool:
        """The next round of the ramp; False where it is over."""
        over = size > LARGEST_ROUND
        self._at_once = UNLIMITED if over else size
        self._round = None if over else size
        self._round_until = now + ROUND_SECONDS
        return not over

    def _shut(self, until: float, reason: str) -> None:
        # One that was under way shortens no pause.
        self._shut_until = until if self._is_probing else max(until, self._shut_until or until)
        self._is_probing = False
        self._round = None
        self.reason = reason

    def _end_hold(self, now: float) -> None:
        self._held_before = self.held(now)
        self._held_since = None
