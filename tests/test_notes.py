"""What the log says, and how often (contract §5, §8)."""

import logging
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from reve_middleware import notes
from reve_middleware.notes import TEXTS, Notes, where

MINUTE = 60.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(notes, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record)


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """What the logger `reve_middleware` was told."""
    handler, before = Records(), notes.log.level
    notes.log.addHandler(handler)
    notes.log.setLevel(logging.DEBUG)
    yield handler.said
    notes.log.setLevel(before)
    notes.log.removeHandler(handler)


ERROR, WARNING, INFO = logging.ERROR, logging.WARNING, logging.INFO
SAID = [
    (
        "dev",
        "",
        WARNING,
        "dev=True: cookies go over plain http, without Secure and __Host-; never in production",
    ),
    (
        "uwsgi",
        "",
        WARNING,
        "uWSGI runs without threads, so nothing is sent while no request runs: set enable-threads = true",
    ),
    (
        "dev_https",
        "",
        WARNING,
        "dev=True, but the page came over https: the cookies go without Secure and __Host-. Take dev=True out",
    ),
    (
        "workers",
        "4",
        WARNING,
        "the server runs 4 workers, and each keeps what waits in its own memory: pass outbox=, the path of "
        "one file that all of them share, so that a chat ends with the newest profile",
    ),
    (
        "one_page",
        "'/account'",
        INFO,
        "routes=: '/account' is that one page alone; for what is below it, name it with '/*' at its end as well",
    ),
    (
        "inner",
        "",
        WARNING,
        "this middleware stands inside another of its kind, which does all the work: the keywords of the "
        "inner one count for nothing. Wrap once",
    ),
    (
        "plain_http",
        "",
        ERROR,
        "the bridge's report came over plain http: browsers would drop the cookie, so nothing is captured. "
        "Serve the site over https; on a developer's machine pass dev=True",
    ),
    (
        "cross_origin",
        "",
        WARNING,
        "the bridge's report was refused, for its Origin is not the Host that came with it: a proxy must hand"
        " on the browser's Host header (nginx: proxy_set_header Host $host); another address of the site's "
        "own goes into allowed_origins=",
    ),
    (
        "bot",
        "bot-1, bot-2",
        WARNING,
        "the widget reported a chat of a bot that is not configured here: compare chatbot_id= (bot-1, bot-2) "
        "with the bot's id in REVE's dashboard; for several bots pass bots=",
    ),
    (
        "ids",
        "",
        WARNING,
        "the widget reported a chat whose session_id is missing, or is not what session_id_pattern= allows: "
        "look at the body of the browser's POST to …/session, and pass session_id_pattern=",
    ),
    (
        "foreign_key",
        "",
        WARNING,
        "a visitor's cookie is signed with another secret_key, so it counts for nothing: secret_key must be "
        "the same in every worker and after every restart (not made anew at start). To change it, pass [new, "
        "old]; another site on the same host needs another cookie=",
    ),
    (
        "nobody",
        "",
        WARNING,
        "the widget reported a chat, and nobody said who the visitor is: there is no profile=, and no code "
        "that subrequest= reaches called identify(). Pass profile=, or name a quick route that is behind the "
        "login, such as subrequest='/users/me'",
    ),
    (
        "no_sign_out",
        "",
        WARNING,
        "a visitor whom the bot knows is not logged in any more, and nobody said so: call sign_out() in the "
        "view that logs out, or name its path in logout_routes=. (A login that ran out by itself needs "
        "nothing.)",
    ),
    (
        "public",
        "",
        INFO,
        "a visitor with a chat got a page with Cache-Control: public or s-maxage, which never tells the bot "
        "anything: others may be served it from a cache. A page that shows who is logged in must be private",
    ),
    (
        "no_identity",
        "",
        ERROR,
        "a profile says not who it is about, so it is not pushed: put 'id', 'email' or 'phone' into it (text "
        "that is not empty, or a number), or pass identity=",
    ),
    (
        "slow",
        "profile=",
        WARNING,
        "profile= took more than 0.5 s five times, and each response to a visitor with a chat waits for it: "
        "let it read "
        "what the login has loaded already, or pass identity= with a version, so that it is asked less. Async"
        " code must not block",
    ),
    (
        "profile",
        "field 'x' …",
        ERROR,
        "the profile is not pushed: field 'x' …",
    ),
    (
        "identity",
        "identity= returned …",
        ERROR,
        "the visitor is not known: identity= returned …",
    ),
    (
        "raised",
        "profile= raised KeyError at views.py:7",
        ERROR,
        "profile= raised KeyError at views.py:7; the visitor counts as unknown",
    ),
    (
        "timed_out",
        "profile= took more than 2 s",
        ERROR,
        "profile= took more than 2 s; the visitor counts as unknown",
    ),
    (
        "suspended",
        "profile=",
        ERROR,
        "profile= took too long three times in a row: it is not asked for 30 s",
    ),
    (
        "encoded",
        "",
        WARNING,
        "a page is compressed already when it comes here, so the script is not put in: put the compression "
        "outside of this middleware",
    ),
    (
        "policy",
        "connect-src 'self'",
        WARNING,
        "a page's Content-Security-Policy does not allow the script, so the page is not touched: add "
        "connect-src 'self'",
    ),
    (
        "sandbox",
        "",
        INFO,
        "a page's Content-Security-Policy puts it into a sandbox without scripts or without an origin, so the"
        " page is not touched",
    ),
    (
        "no_head",
        "",
        WARNING,
        "a page has no <head> tag within its first 64 KiB, so the script is not put in: give it one, or place"
        " script_tag() by hand. Where it is meant to have none, name its path in exclude=",
    ),
    (
        "fragment",
        "",
        INFO,
        "a response of text/html begins with no <html> or <head>, so the script is not put in",
    ),
    (
        "restless",
        "'last_seen'",
        WARNING,
        "the profile's field 'last_seen' differs on every response: each time the bot's flow runs again. "
        "Leave it out, or give it a steady order",
    ),
    (
        "handoff",
        "OSError at tasks.py:3",
        ERROR,
        "handoff= failed with OSError at tasks.py:3; the push is offered again with the next response",
    ),
    (
        "internal",
        "KeyError at core.py:1",
        ERROR,
        "a fault of reve-middleware (KeyError at core.py:1); the response went out as it was",
    ),
]


@pytest.mark.parametrize(("code", "detail", "level", "text"), SAID, ids=[row[0] for row in SAID])
def test_each_note_says_what_is_wrong_and_the_cure(
    code: str, detail: str, level: int, text: str, log: list[logging.LogRecord]
) -> None:
    """Each note is one plain sentence with its cure, from the logger `reve_middleware`; `record.reve` is its code."""
    Notes().say(code, detail)
    (record,) = log
    assert (record.name, record.levelno, record.getMessage()) == ("reve_middleware", level, text)
    assert vars(record)["reve"] == code


def test_every_note_is_in_this_table() -> None:
    """No note is without a test of its text."""
    assert [row[0] for row in SAID] == list(TEXTS)


def test_a_mistake_is_told_once_or_once_a_minute(clock: Clock, log: list[logging.LogRecord]) -> None:
    """A mistake in the settings is told once; what an application does wrong, once a minute."""
    teller = Notes()
    for _ in range(3):
        teller.say("encoded")
        teller.say("raised", "profile= raised KeyError at a.py:1")
    assert [vars(record)["reve"] for record in log] == ["encoded", "raised"]
    clock.now += MINUTE - 0.1
    teller.say("raised", "profile= raised KeyError at a.py:1")
    assert len(log) == 2
    clock.now += 0.2
    teller.say("encoded")
    teller.say("raised", "profile= raised KeyError at a.py:1")
    assert [vars(record)["reve"] for record in log] == ["encoded", "raised", "raised"]


def test_different_mistakes_do_not_hide_each_other(clock: Clock, log: list[logging.LogRecord]) -> None:
    """Two mistakes of one kind are told apart by their detail; each middleware tells its own."""
    one, other = Notes(), Notes()
    one.say("policy", "connect-src 'self'")
    one.say("policy", "script-src 'self', or a nonce")
    other.say("policy", "connect-src 'self'")
    assert len(log) == 3


def test_what_was_told_is_remembered_within_bounds(clock: Clock, log: list[logging.LogRecord]) -> None:
    """However many mistakes there are, only so many are remembered."""
    teller = Notes()
    for number in range(1200):
        teller.say("raised", f"profile= raised Error{number}")
    assert len(log) == 1200
    assert len(teller._said) <= 1001


def test_a_percent_sign_is_no_placeholder(log: list[logging.LogRecord]) -> None:
    """A detail with a percent sign stands in the log as it is."""
    Notes().say("restless", "'%s %d'")
    assert log[0].getMessage().startswith("the profile's field '%s %d' differs")


def test_a_forked_child_does_not_wait_for_its_parent(log: list[logging.LogRecord]) -> None:
    """In a forked child, a lock that a thread of the parent held at that moment is not waited for."""
    teller = Notes()
    teller._lock.acquire()
    with pytest.MonkeyPatch.context() as child:
        child.setattr(notes.os, "getpid", lambda: -1)
        teller.say("encoded")
        teller.say("encoded")
    assert len(log) == 1


def test_threads_tell_a_mistake_once(clock: Clock, log: list[logging.LogRecord]) -> None:
    """Many threads that see the same mistake at once tell it once."""
    teller = Notes()
    together = threading.Barrier(8)

    def tell() -> None:
        together.wait(10)
        teller.say("encoded")

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(log) == 1


def fail(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_fault_is_told_by_type_and_line_alone(log: list[logging.LogRecord]) -> None:
    """An exception is told by its type and the line it came from: its text may hold anything."""
    Notes().fault(fail(KeyError("canary")))
    message = log[0].getMessage()
    assert re.search(r"\(KeyError at test_notes\.py:\d+\); the response went out as it was$", message)
    assert "canary" not in message
    assert log[0].exc_info is None


def test_an_exception_that_never_was_raised_has_no_line() -> None:
    """Without a traceback there is the type alone."""
    assert where(ValueError("canary")) == "ValueError"


def test_the_line_is_the_innermost() -> None:
    """The line is where the exception came from, not where it was caught."""

    def inner() -> Any:
        return int("canary")

    with pytest.raises(ValueError, match="canary") as caught:
        inner()
    line = inner.__code__.co_firstlineno + 1
    assert where(caught.value) == f"ValueError at test_notes.py:{line}"


def test_a_log_that_fails_stops_nobody(log: list[logging.LogRecord]) -> None:
    """A site's filter or handler that raises does not reach the visitor whose response is noted."""

    class Failing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the site's own fault")

    failing = Failing()
    notes.log.addFilter(failing)
    try:
        Notes().say("no_head")
        Notes().fault(KeyError("canary"))
    finally:
        notes.log.removeFilter(failing)
    assert log == []
