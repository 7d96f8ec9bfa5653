"""Attacks on real servers: framing in dispute, names with underscores, bodies that never end (THREATS T12, T15)."""

import select
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from security_framing import Attack, Finding, attacks, complaint, launch, report
from security_servers import Server, running, statuses
from security_slow import HEAD

# The program (tests/benchmarks/security.py) has more of them.
NAMES = [
    "uvicorn h11",
    "uvicorn httptools",
    "hypercorn",
    "gunicorn sync",
    "gunicorn gthread",
    "granian wsgi",
    "waitress",
]
SLOW = 60
"""Clients."""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """One process each, all started at once."""
    with running(NAMES) as found:
        yield found


@pytest.fixture(params=NAMES)
def server(servers: dict[str, Server], request: pytest.FixtureRequest) -> Server:
    found = servers[request.param]
    found.ask("/runs")  # what another test has left behind
    return found


def test_framing_in_dispute(server: Server) -> None:
    """However a request's end is in dispute, our endpoint runs once at most for it, never fails, takes nothing of
    another site, and takes nothing in the body of one request for another, nor with somebody else's cookies."""
    found = [(attack.name, finding, complaint(attack, finding)) for attack, finding in launch(server, attacks())]
    assert [one for one in found if one[2] is not None] == []
    assert any(finding.outer for _, finding, _ in found)


def test_a_report_goes_through(server: Server) -> None:
    """The same server takes an honest report, once."""
    answer = server.send(report(b"same-origin", b"Cookie: user=ada", b"Connection: close"))
    assert statuses(answer) == [200]
    assert answer.count(b'{"status": "queued"}') == 1
    assert [run["status"] for run in server.ask("/runs") or []] == [200]


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_name_with_underscores_is_not_the_browsers(server: Server, first: bool) -> None:
    """`Sec_Fetch_Site`, which a script may send, never stands for `Sec-Fetch-Site`, whatever the server makes of it."""
    browser, script = b"Sec-Fetch-Site: cross-site", b"Sec_Fetch_Site: same-origin"
    both = b"\r\n".join((script, browser) if first else (browser, script))
    more = (b"Cookie: user=ada", b"Connection: close")
    for lines in (both, script):
        answer = server.send(report(b"cross-site", *more).replace(browser, lines))
        assert statuses(answer) == [403]


@pytest.mark.parametrize("name", ["uvicorn h11", "uvicorn httptools", "hypercorn", "waitress"])
def test_many_slow_bodies_hold_nobody_up(servers: dict[str, Server], name: str) -> None:
    """While many clients send their reports a byte at a time, pages go out; a client that goes away leaves nothing."""
    server = servers[name]
    server.ask("/runs")
    with ExitStack() as stack:
        slow: list[socket.socket] = [stack.enter_context(server.connect()) for _ in range(SLOW)]
        for sock in slow:
            sock.sendall(HEAD + b" ")
        for _ in range(10):
            assert server.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(b"</html>")
        assert select.select(slow, [], [], 0)[0] == [], "every slow report is still waited for"
    ended: Counter[int] = Counter()
    for _ in range(1000):
        ended.update(run["status"] for run in server.ask("/runs") or [])
        if name == "waitress" or ended[400] == SLOW:
            break
    assert ended == ({} if name == "waitress" else {400: SLOW})  # it waits for the whole body before we hear of it


WRONG: dict[str, Finding] = {
    "our endpoint ran twice": Finding([403, 403], [403, 403], [], []),
    "our endpoint ran without an answer": Finding([], [403], [], []),
    "we answered with a server error": Finding([500], [500], [], []),
    "the server failed": Finding([502], [], [], []),
    "a report of another site was taken": Finding([200], [200], [], []),
    "what stood in a body was taken for a request": Finding([403, 200], [403], [200], []),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(what: str) -> None:
    """Each thing that may go wrong on a server is told apart."""
    attack = Attack("", b"POST /_reve/session", whole=True)
    assert complaint(attack, WRONG[what]) == what
    assert complaint(attack, Finding([403], [403], [], [])) is None
