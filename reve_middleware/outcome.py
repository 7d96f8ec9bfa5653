"""What one attempt came to: by the status line of its answer, or by what ended it before there was one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

TLS_FAULTS = (ssl.SSLError, ssl.SSLCertVerificationError)
"""Just these: their other subclasses say that bytes are awaited, or that the connection ended, and stand in the
context of every time-out over TLS."""


class Outcome(NamedTuple):
    """What one attempt came to."""

    kind: str
    """"delivered", "again" (network, 408, 429, 5xx), "token" (401, 403), "hold" (3xx, 410, TLS) or
    "refused" (another 4xx)."""
    reason: str
    """A code for logs and metrics: "status_503", "timeout", "network", "tls" …"""
    status: int | None = None
    retry_after: float | None = None
    """Seconds the server asks us to wait."""


def judge(status: int, retry_after: str | None, now: datetime) -> Outcome:
    """The outcome that a status line decides (REVE.md: any 2xx is success)."""
    reason = f"status_{status}"
    if 200 <= status < 300:
        return Outcome("delivered", reason, status)
    if status in (401, 403):
        return Outcome("token", reason, status)
    if status in (408, 429) or status >= 500:
        return Outcome("again", reason, status, parse_retry_after(retry_after, now))
    if status < 400 or status == 410:
        return Outcome("hold", reason, status)
    return Outcome("refused", reason, status)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110 §10.2.3); None for anything else."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 10:
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = (when - now).total_seconds()
    return seconds if seconds > 0 else None


def judge_exception(error: BaseException) -> Outcome:
    """The outcome of an attempt that ended before a status line."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        if type(seen) in TLS_FAULTS:
            return Outcome("hold", "tls")
        seen = seen.__cause__ or seen.__context__
    names = {kind.__name__ for kind in type(error).__mro__}  # by name: httpx2 has the same classes, and others
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"}:
        return Outcome("hold", "request")
    if names & {"TimeoutError", "TimeoutException"}:
        return Outcome("again", "timeout")
    return Outcome("again", "network")
