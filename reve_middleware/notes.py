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
from typing import Protocol

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
    "dev_https": (
        WARNING,
        None,
        "dev=True, but the page came over https: the cookies go without Secure and __Host-. Take dev=True out",
    ),
    "workers": (
        WARNING,
        None,
        "the server runs %s workers, and each keeps what waits in its own memory: pass outbox=, the path of one file "
        "that all of them share, so that a chat ends with the newest profile",
    ),
    "one_page": (
        INFO,
        None,
        "routes=: %s is that one page alone; for what is below it, name it with '/*' at its end as well",
    ),
    "inner": (
        WARNING,
        None,
        "this middleware stands inside another of its kind, which does all the work: the keywords of the inner one "
        "count for nothing. Wrap once",
    ),
    "plain_http": (
        ERROR,
        None,
        "the bridge's report came over plain http: browsers would drop the cookie, so nothing is captured. "
        "Serve the site over https; on a developer's machine pass dev=True",
    ),
    "cross_origin": (
        WARNING,
        None,
        "the bridge's report was refused, for its Origin is not the Host that came with it: a proxy must hand on the "
        "browser's Host header (nginx: proxy_set_header Host $host); another address of the site's own goes into "
        "allowed_origins=",
    ),
    "bot": (
        WARNING,
        None,
        "the widget reported a chat of a bot that is not configured here: compare chatbot_id= (%s) with the bot's id "
        "in REVE's dashboard; for several bots pass bots=",
    ),
    "ids": (
        WARNING,
        None,
        "the widget reported a chat whose session_id is missing, or is not what session_id_pattern= allows: look at "
        "the body of the browser's POST to …/session, and pass session_id_pattern=",
    ),
    "foreign_key": (
        WARNING,
        None,
        "a visitor's cookie is signed with another secret_key, so it counts for nothing: secret_key must be the same "
        "in every worker and after every restart (not made anew at start). To change it, pass [new, old]; another site "
        "on the same host needs another cookie=",
    ),
    "nobody": (
        WARNING,
        None,
        "the widget reported a chat, and nobody said who the visitor is: there is no profile=, and no code that "
        "subrequest= reaches called identify(). Pass profile=, or name a quick route that is behind the login, such as "
        "subrequest='/users/me'",
    ),
    "no_sign_out": (
        WARNING,
        None,
        "a visitor whom the bot knows is not logged in any more, and nobody said so: call sign_out() in the view that "
        "logs out, or name its path in logout_routes=. (A login that ran out by itself needs nothing.)",
    ),
    "public": (
        INFO,
        None,
        "a visitor with a chat got a page with Cache-Control: public or s-maxage, which never tells the bot anything: "
        "others may be served it from a cache. A page that shows who is logged in must be private",
    ),
    "no_identity": (
        ERROR,
        None,
        "a profile says not who it is about, so it is not pushed: put 'id', 'email' or 'phone' into it "
        "(text that is not empty, or a number), or pass identity=",
    ),
    "slow": (
        WARNING,
        None,
        "%s took more than 0.5 s five times, and each response to a visitor with a chat waits for it: "
        "let it read what the login "
        "has loaded already, or pass identity= with a version, so that it is asked less. Async code must not block",
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
    "no_head": (
        WARNING,
        None,
        "a page has no <head> tag within its first 64 KiB, so the script is not put in: give it one, or place "
        "script_tag() by hand. Where it is meant to have none, name its path in exclude=",
    ),
    "fragment": (INFO, None, "a response of text/html begins with no <html> or <head>, so the script is not put in"),
    "restless": (
        WARNING,
        None,
        "the profile's field %s differs on every response: each time the bot's flow runs again. "
        "Leave it out, or give it a steady order",
    ),
    "handoff": (ERROR, ONCE_A_MINUTE, "handoff= failed with %s; the push is offered again with the next response"),
    "internal": (ERROR, ONCE_A_MINUTE, "a fault of reve-middleware (%s); the response went out as it was"),
}


class Finder(Protocol):
    """What has looked for a head."""

    def begins_like_a_page(self) -> bool: ...


class Notes:
    """Says each note as often as it may be said."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], float] = {}

    def say(self, code: str, detail: str = "") -> None:
        level, every, text = TEXTS[code]
        if self.may_say(code, detail, every):
            with contextlib.suppress(Exception):  # a site's filter or handler that fails must not reach its visitors
                log.log(level, text, *((detail,) if "%s" in text else ()), extra={"reve": code})

    def may_say(self, code: str, detail: str, every: float | None = ONCE_A_MINUTE) -> bool:
        """Is it time to say this (again)? Then it counts as said."""
        key = (code, detail)
        if every is None and key in self._said:
            return False  # without the lock: some are said with each response
        now = time.monotonic()
        if self._pid != os.getpid():  # a forked child: the lock may have been held by a thread of the parent
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            last = self._said.get(key)
            if last is not None and (every is None or now - last < every):
                return False
            if len(self._said) > 1000:
                self._said.clear()
            self._said[key] = now
        return True

    def no_head(self, finder: Finder, is_visited: bool) -> None:
        """A page without a head; or no page, which needs none. `is_visited`: the browser shows it by itself, and
        does not put it into a page."""
        if is_visited or finder.begins_like_a_page():
            self.say("no_head")
        else:
            self.say("fragment")

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
