"""The end of the process without lifespan: atexit delivers what is left, for 2 s."""

import re
import subprocess
import sys
import time

import pytest
from delivering import settings
from faults import FaultServer, reply, silence
from test_fork import environment

from reve_middleware import sender
from reve_middleware.sender import CLOSE_SECONDS

BEGIN = """
import atexit, sys, threading, time
asked = threading.Semaphore(0)  # released where a sender asks for its token: all else that it needs is there
{first}
from delivering import push, settings
from reve_middleware import sender as module
from reve_middleware.sender import Sender

module.CLOSE_SECONDS = {limit}
sender = Sender(settings(sys.argv[1]{keywords}))
for number in range({count}):
    sender.offer(push(f"s{{number}}"))
print(time.monotonic(), flush=True)
{last}
"""

ASKED = ", token=lambda: asked.release() or 'tok'"
"""A busy machine may need more than the 2 s to import the HTTP client: where the 2 s are tested, it has."""
UNDER_WAY = "assert asked.acquire(timeout=20)\nprint(time.monotonic(), flush=True)"
SLOW = re.compile(r"Executing <.*> took [\d.]+ seconds\n")
"""What asyncio says in dev mode on a busy machine."""


def process(
    url: str, *, count: int = 20, first: str = "", last: str = "", keywords: str = "", limit: float = 20.0
) -> tuple[int, float, str]:
    """Run a process that offers pushes and ends: its exit code, how long its end took, and what it complained of.
    A busy machine may have more than the 2 s, where what is tested is not the time."""
    script = BEGIN.format(count=count, first=first, last=last, keywords=keywords, limit=limit)
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script, url],
        capture_output=True,
        env=environment(),
        text=True,
        timeout=30,
        check=False,
    )
    ended = time.monotonic()
    complaints = [line for line in ran.stderr.splitlines(True) if not SLOW.match(line)]
    return ran.returncode, ended - float(ran.stdout.split()[-1]), "".join(complaints)


def by_name(server: FaultServer) -> str:
    return server.url.replace("127.0.0.1", "localhost")


def test_what_is_left_is_delivered_at_exit() -> None:
    """A process that ends right after its offers delivers them all, to a webhook given by name, and without a warning
    under Python's dev mode."""
    with FaultServer() as server:
        code, _, complaints = process(by_name(server))
        assert (code, complaints) == (0, "")
        assert len(server.received) == 20


@pytest.mark.parametrize(
    ("last", "code"), [("sys.exit(3)", 3), ("raise SystemExit('bye')", 1), ("1 / 0", 1), ("del sender", 0)]
)
def test_however_the_process_ends(last: str, code: int) -> None:
    """The exit code is the application's own, and its pushes are delivered, also when the middleware is gone."""
    with FaultServer() as server:
        ended, _, _ = process(by_name(server), count=3, last=last)
        assert ended == code
        assert len(server.received) == 3


def test_a_hung_webhook_holds_no_process_back() -> None:
    """With a webhook that never answers, the process ends within 2.5 s, and says how many pushes are lost."""
    with FaultServer(default=silence) as server:
        code, seconds, complaints = process(by_name(server), keywords=ASKED, last=UNDER_WAY, limit=CLOSE_SECONDS)
        assert code == 0
        assert complaints == "20 pushes were not delivered before the end\n"
        assert 1.5 < seconds < 4.0
        assert len(server.received) <= 8


def test_uwsgi_needs_a_second_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under uWSGI, which takes a second to end, less time is left for a webhook that hangs."""
    given: list[float] = []
    monkeypatch.setattr(sender.Sender, "_begin_to_close", lambda _, seconds: given.append(seconds))
    one = sender.Sender(settings())
    sender._at_exit()
    monkeypatch.setitem(sys.modules, "uwsgi", sys)
    sender._at_exit()
    assert one is not None
    assert {*given} == {CLOSE_SECONDS, CLOSE_SECONDS - sender.UWSGI_SECONDS}
    assert CLOSE_SECONDS - sender.UWSGI_SECONDS <= 1.3


def test_several_senders_share_the_time() -> None:
    """Several hung senders take no longer than one."""
    more = f"""
others = [Sender(settings(sys.argv[1]{ASKED})) for _ in range(3)]
for other in others: other.offer(push())
for _ in range(3): assert asked.acquire(timeout=20)
{UNDER_WAY}
"""
    with FaultServer(default=silence) as server:
        code, seconds, complaints = process(by_name(server), count=1, keywords=ASKED, last=more, limit=CLOSE_SECONDS)
        assert code == 0
        assert complaints == "1 pushes were not delivered before the end\n" * 4
        assert seconds < 4.0


def test_a_token_callable_is_still_asked() -> None:
    """A first push right before the end gets its token from a callable."""
    with FaultServer() as server:
        code, _, complaints = process(by_name(server), count=1, keywords=", token=lambda: 'late'")
        assert (code, complaints) == (0, "")
        assert [received.header("Authorization") for received in server.received] == ["Bearer late"]


def test_a_webhook_that_fails_at_the_end() -> None:
    """What cannot be delivered at the end is counted in the log, and nothing is raised."""
    with FaultServer(default=reply(503)) as server:
        code, seconds, complaints = process(
            by_name(server), count=2, keywords=ASKED, last=UNDER_WAY, limit=CLOSE_SECONDS
        )
        assert code == 0
        assert complaints.endswith("2 pushes were not delivered before the end\n")
        assert seconds < 4.0


def test_an_idle_process_ends_at_once() -> None:
    """A process whose pushes are delivered waits for nothing."""
    told = ", on_result=lambda _: delivered.release()"
    wait = "for _ in range(20): assert delivered.acquire(timeout=20)\nprint(time.monotonic())"
    with FaultServer() as server:
        first = "delivered = threading.Semaphore(0)"
        code, seconds, complaints = process(by_name(server), first=first, keywords=told, last=wait)
        assert (code, complaints) == (0, "")
        assert seconds < 4.0


def test_a_push_after_the_end_raises_nothing() -> None:
    """A push that is offered when the sender has been closed by atexit is not waited for and raises nothing."""
    first = "atexit.register(lambda: sender.offer(push('late')))"
    with FaultServer() as server:
        code, _, complaints = process(by_name(server), count=1, first=first)
        assert code == 0
        assert "Traceback" not in complaints
        assert "Error" not in complaints
        assert server.received[0].body == b"{}"
