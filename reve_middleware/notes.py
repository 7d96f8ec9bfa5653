"""What the log says, and how often: each mistake once or once a minute, plainly, with its cure.

Records carry a reason code in `record.reve`. Never a value of a profile, a client's text or a secret.
"""

from __future__ import annotations

import contextlib
import logging
import os.path
import threading
import time
from types import TracebackType

log = logging.getLogger("reve_middleware")

ONCE_A_MINUTE = 60.0

ERROR, WARNING, INFO = logging.ERROR, logging.WARNING, logging.INFO
TEXTS: dict[str, tuple[int, float | None, str]] = {
    "dev": (WARNING, None, "dev=True: cookies go over plain http, without Secure and __Host-; never in production"),
    "uwsgi": (
        WARNING,
        None,
        "uWSGI runs without threads, so nothing is sent while no request runs: set enable-threads = true",
    ),
    "plain_http": (
        ERROR,
        None,
        "the bridge's report came over plain http: browsers would drop the cookie, so nothing is captured. "
        "Serve the site over https; on a developer's machine pass dev=True",
    ),
    "no_identity": (
        ERROR,
        None,
        "a profile says not who it is about, so it is not pushed: "
        "put 'id', 'email' or 'phone' into it, or pass identity=",
    ),
    "profile": (ERROR, ONCE_A_MINUTE, "the profile is not pushed: %s"),
    "identity": (ERROR, ONCE_A_MINUTE, "the visitor is not known: %s"),
    "raised": (ERROR, ONCE_A_MINUTE, "%s; the visitor counts as unknown"),
    "timed_out": (ERROR, ONCE_A_MINUTE, "%s; the visitor counts as unknown"),
    "suspended": (ERROR, ONCE_A_MINUTE, "%s took too long three times in a row: it is not asked for 30 s"),
    "encoded": (
        WARNING,
        None,
        "a page is compressed already when it comes here, so the script is not put in: "
        "put the compression outside of this middleware",
    ),
    "policy": (
        WARNING,
        None,
        "a page's Content-Security-Policy does not allow the script, so the page is not touched: add %s",
    ),
    "sandbox": (
        INFO,
        None,
        "a page's Content-Security-Policy puts it into a sandbox without scripts or without an origin, "
        "so the page is not touched",
    ),
    "no_head": (INFO, None, "a page has no <head> tag within its first 64 KiB, so the script is not put in"),
    "restless": (
        WARNING,
        None,
        "the profile's field %s differs on every response: each time the bot's flow runs again. "
        "Leave it out, or give it a steady order",
    ),
    "handoff": (ERROR, ONCE_A_MINUTE, "handoff= failed with %s; the push is offered again with the next response"),
    "internal": (ERROR, ONCE_A_MINUTE, "a fault of reve-middleware (%s); the response went out as it was"),
}


class Notes:
    """Says each note as often as it may be said."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], float] = {}

    def say(self, code: str, detail: str = "") -> None:
        level, every, text = TEXTS[code]
        key = (code, detail)
        now = time.monotonic()
        if self._pid != os.getpid():  # a forked child: the lock may have been held by a thread of the parent
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            last = self._said.get(key)
            if last is not None and (every is None or now - last < every):
                return
            if len(self._said) > 1000:
                self._said.clear()
            self._said[key] = now
        with contextlib.suppress(Exception):  # a site's filter or handler that fails must not reach its visitors
            log.log(level, text, *((detail,) if "%s" in text else ()), extra={"reve": code})

    def fault(self, error: BaseException) -> None:
        """An exception of our own making."""
        self.say("internal", where(error))


def where(error: BaseException) -> str:
    """An exception's type and the line it came from; not its text, which may hold anything."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
