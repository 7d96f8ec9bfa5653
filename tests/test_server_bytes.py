"""Real servers, the same requests to a site bare and wrapped, compared byte by byte.

What is sent stands in server_bytes_scripts.py and server_bytes_h2.py, which servers and what each of them does in its
own way in server_bytes_programs.py. All servers, the slow scripts too: `python tests/benchmarks/server_bytes.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Iterator
from fnmatch import filter as matching
from pathlib import Path

import pytest
from raw import Answer
from server_bytes_answers import BODY, HEAD, PAGE
from server_bytes_compare import (
    IDS,
    INJECT,
    MARKED,
    MUTE,
    NEWS,
    REPORT,
    Comparison,
    Talk,
    Way,
    differences,
    scripts_for,
)
from server_bytes_h2 import H2_SCRIPTS
from server_bytes_programs import IN_SUITE, PROGRAMS, Program
from server_bytes_running import Running
from server_bytes_scripts import PLAIN, SCRIPTS, Ask, Seen, echo, get, one_by_one

BENCHMARK = Path(__file__).resolve().parent / "benchmarks" / "server_bytes.py"
ENOUGH = 4
"""Differences that are looked for; each may take a while, where a server waits."""
SOME = {
    *PLAIN,
    "a long connection",
    "pipelined",
    "POST",
    "/fails",
    "/file",
    "/file-page",
    "/seen",
    "HTTP/2: one by one",
}
"""Scripts that are played where all have been played before in another way; the program plays all in every way."""


@pytest.fixture(scope="module", params=IN_SUITE)
def comparison(request: pytest.FixtureRequest) -> Iterator[Comparison]:
    """A server, which runs until its tests are over."""
    with Running(request.param) as server:
        yield Comparison(server)


def compare(comparison: Comparison, way: Way, scripts: Container[str] | None = None) -> None:
    """Play all scripts, or those with these names."""
    found: list[str] = []
    for script in scripts_for(comparison.server.program):
        if scripts is None or script.name in scripts:
            found += comparison.differences(script, way)
            assert len(found) < ENOUGH, found
    assert found == []


def test_the_tag_and_its_length_alone(comparison: Comparison) -> None:
    """Under each server a wrapped site's answers are those of the bare one byte by byte, on as many connections, but
    for a page's tag, its Content-Length, and its ETag, which is weak."""
    compare(comparison, INJECT)
    assert comparison.answers > 200


def test_without_injection_nothing(comparison: Comparison) -> None:
    """With `inject=False` a visitor without a chat gets the bare site's bytes."""
    compare(comparison, MUTE, SOME)


def test_a_visitor_whom_the_bot_knows(comparison: Comparison) -> None:
    """A visitor with a chat, whose profile was handed over, gets the same bytes as one without."""
    compare(comparison, MARKED, SOME)


def test_a_visitor_whom_the_bot_is_told_of(comparison: Comparison) -> None:
    """An answer that marks a visitor's profile as handed over has one Set-Cookie of ours more, and is private."""
    compare(comparison, NEWS)


def test_our_own_answers(comparison: Comparison) -> None:
    """The bridge's script and the capture end a connection no sooner than the application would, a body that is
    refused unread included."""
    ours = [
        Ask("/_reve/bridge.js"),
        Ask("/_reve/bridge.js", "HEAD"),
        Ask("/_reve/session", "POST", REPORT, IDS),
        Ask("/_reve/session", "DELETE", REPORT),
        Ask("/_reve/session", "POST", body=IDS),
    ]
    script = [get("/json"), get("/json", method="HEAD")]
    theirs = [*script, echo(body=IDS), Ask("/json", "DELETE"), Ask("/json", "POST", body=IDS)]
    statuses = [_statuses(comparison, way, asks) for way, asks in (("ours", ours), ("bare", theirs))]
    assert statuses[0] == [200, 200, 200, 200, 403, 200][: len(statuses[0])]
    assert len(statuses[0]) == len(statuses[1])


def _statuses(comparison: Comparison, way: str, asks: list[Ask]) -> list[int]:
    """Of the answers on one connection."""
    seen = one_by_one(*asks)(Talk(comparison.server, way))
    return [one.answer.status for one in seen if isinstance(one.answer, Answer) and one.answer.head]


# The comparison itself -------------------------------------------------------------------------------


TAG = b"<script></script>"
TAGGED = HEAD + TAG + BODY
LENGTH, LONGER = b"Content-Length: %d" % len(PAGE), b"Content-Length: %d" % len(TAGGED)
MARK = b"set-cookie: reve-mark=a.b; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax"
PRIVATE = b"cache-control: private"


def answer(*lines: bytes, body: tuple[bytes, ...] = (PAGE,), sizes: tuple[bytes, ...] = ()) -> Answer:
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 200 OK", b"X-App: 1", *lines, b""))
    return Answer((), head, sizes, body, b"", is_whole=True)


BARE = answer(LENGTH, b'ETag: "1"', b"Date: then")
OURS = answer(LONGER, b'ETag: W/"1"', b"Date: now", body=(TAGGED,))
CHUNKED = answer(body=(HEAD, BODY), sizes=(b"1c\r\n", b"1e6\r\n", b"0\r\n"))
SAME = [
    (BARE, OURS),
    (CHUNKED, answer(body=(HEAD + TAG, BODY), sizes=(b"2d\r\n", b"1e6\r\n", b"0\r\n"))),
]
DIFFERENT = {
    "no tag": BARE,
    "two tags": OURS._replace(chunks=(HEAD + TAG + TAG + BODY,)),
    "a tag elsewhere": OURS._replace(chunks=(PAGE + TAG,)),
    "an old length": OURS._replace(head=OURS.head.replace(LONGER, LENGTH)),
    "a strong ETag": OURS._replace(head=OURS.head.replace(b"W/", b"")),
    "a header's case": OURS._replace(head=OURS.head.replace(b"X-App", b"x-app")),
    "an order": answer(b'ETag: W/"1"', LONGER, b"Date: now", body=(TAGGED,)),
    "a header more": answer(LONGER, b'ETag: W/"1"', b"Date: now", b"X: y", body=(TAGGED,)),
    "a reason": OURS._replace(head=OURS.head.replace(b"OK", b"Fine")),
    "an end": OURS._replace(is_whole=False),
    "a chunk's border": OURS._replace(chunks=(HEAD + TAG, BODY)),
    "an interim answer": OURS._replace(interim=(b"HTTP/1.1 100 Continue\r\n\r\n",)),
    "no answer": OURS._replace(head=b"", chunks=()),
    "news": OURS._replace(head=OURS.head.replace(b"X-App", MARK + b"\r\n" + PRIVATE + b"\r\nX-App")),
}


def compared(bare: Answer, ours: Answer, *, tagged: bool = True, has_news: bool = False) -> list[str]:
    ask = Ask(tagged=tagged)
    return list(differences(Seen(bare, ask), Seen(ours, ask), TAG, has_news=has_news))


@pytest.mark.parametrize(("bare", "ours"), SAME)
def test_a_page_with_its_tag_is_no_difference(bare: Answer, ours: Answer) -> None:
    """The comparison takes the tag, its length, a weak ETag and another date for no difference."""
    assert compared(bare, ours) == []


@pytest.mark.parametrize("what", DIFFERENT)
def test_each_difference_is_found(what: str) -> None:
    """The comparison finds whatever else is different."""
    assert compared(BARE, DIFFERENT[what]) != []


def test_what_is_no_page_has_no_tag() -> None:
    """The comparison finds a tag in an answer that must have none."""
    assert compared(BARE, OURS, tagged=False) != []


@pytest.mark.parametrize("missing", [MARK, PRIVATE])
def test_news_are_two_lines(missing: bytes) -> None:
    """The comparison wants both lines of an answer that marks a profile as handed over."""
    lines = [LONGER, b'ETag: W/"1"', b"Date: now", PRIVATE, MARK]
    assert compared(BARE, answer(*lines, body=(TAGGED,)), has_news=True) == []
    lines.remove(missing)
    assert compared(BARE, answer(*lines, body=(TAGGED,)), has_news=True) != []


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_server_is_not_asked_is_a_script(name: str) -> None:
    """Each exception that is made for a server names a script that there is."""
    names = [script.name for script in SCRIPTS + H2_SCRIPTS]
    globs = (*PROGRAMS[name].without, *PROGRAMS[name].slow)
    assert [glob for glob in globs if not matching(names, glob)] == []


def test_a_server_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server does not start, the failure says which one, and what it printed."""
    monkeypatch.setitem(PROGRAMS, "broken", Program("wsgi", "server_bytes_wsgiref no-number {path}"))
    with pytest.raises(AssertionError) as failure, Running("broken"):
        """Not reached."""
    assert str(failure.value).startswith("broken: it did not start. Its output:\n")
    assert "ValueError: invalid literal for int() with base 10: 'no-number'" in str(failure.value)


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_prints_a_line_for_each_server() -> None:
    """The program prints for each server how much was compared, the differences, and what was not asked, and why."""
    done = benchmark("--only", "wsgiref")
    assert (done.returncode, done.stderr) == (0, "")
    head, line, not_asked = done.stdout.splitlines()
    assert head.split() == ["server", "answers", "connections", "differences"]
    name, answers, connections, found = line.split()
    assert (name, found) == ("wsgiref", "0")
    assert int(answers) > int(connections) > 400
    assert not_asked == '    not asked, since it does not ask for the body: "100-continue, read"'


def test_the_program_names_its_servers() -> None:
    """A name that no server has is an error that lists those there are."""
    done = benchmark("--only", "apache")
    assert done.returncode == 2
    assert "no server is called like that; there are uvicorn h11, uvicorn httptools, hypercorn," in done.stderr
