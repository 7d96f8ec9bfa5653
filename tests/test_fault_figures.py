"""The figures of delivery under faults, smaller than the program tests/benchmarks/faults.py prints them."""

import importlib.util
import queue
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import figures
import figures_on_loopback as on_loopback
import httpx
import pytest
from delivering import push, settings
from faults import answer_bytes
from figures import Row
from simulated import Simulation, Webhook

from reve_middleware.delivery import Run

PROGRAM = Path(__file__).resolve().parent / "benchmarks" / "faults.py"


def held(rows: list[Row]) -> bool:
    """Does each row hold? Rows that do not are shown."""
    assert [row for row in rows if not row.holds] == []
    return bool(rows)


# In simulated time -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_an_outage(seed: int) -> None:
    """While the webhook is down profiles are edited; afterwards each chat that is young enough gets its newest, none an
    older one after it, and never are there more than eight at once."""
    assert held(figures.outage(150, 600.0, seed))


def test_an_outage_that_is_longer_than_the_limit() -> None:
    """What was edited last more than ten minutes before the webhook came back is given up; the rest is delivered."""
    rows = figures.outage(100, 1200.0)
    assert held(rows)
    got, given_up, lost = map(int, re.findall(r"\d+", rows[0].measured))
    assert given_up > 0
    assert got > 0
    assert got + given_up == 100
    assert lost == 0


def test_resets() -> None:
    """With three connections in ten reset, the newest of every chat is delivered."""
    assert held(figures.resets(100))


def test_a_token_that_rotates_under_a_queue() -> None:
    """The callable is asked once more, at most eight requests are refused, and nothing is lost."""
    assert held(figures.rotation(100))


def test_a_token_that_is_wrong_for_ten_minutes() -> None:
    """Ten minutes of a wrong token are at most 13 requests, and nothing is dropped: as text, as a callable that has no
    other, and as one that has another wrong one each time."""
    rows = figures.wrong_token()
    assert held(rows)
    assert len(rows) == 3


def test_every_form_of_retry_after() -> None:
    """Twenty forms of Retry-After on the wire: none is an exception, and each wait is as long as it must be."""
    assert len(figures.retry_afters()) == 20
    assert held(figures.retry_after())


def test_one_visitor_with_very_many_chats() -> None:
    """One visitor fills five places, whatever they do, and nobody else goes without."""
    assert held(figures.one_visitor(1000, 20))


def test_time_is_simulated() -> None:
    """A wait of five minutes takes no time, and the clock says five minutes later."""
    with Simulation() as world:
        busy = answer_bytes(429, {"Retry-After": "300"})
        hook = Webhook(world, lambda hook: 204 if hook.requests else busy)
        sender = world.run(settings(hook.url), [(0.0, push())])
        assert [request.status for request in hook.requests] == [429, 204]
        assert 300.0 <= hook.requests[1].at <= 330.0
        assert sender.stats()["delivered"] == 1


# On loopback -----------------------------------------------------------------------------------


def test_a_webhook_that_drips() -> None:
    """An attempt ends at its deadline though bytes still come, and another bot's pushes go meanwhile."""
    assert held(on_loopback.dripping(timeout=1.0, every=0.05, pushes=20))


def test_a_bomb() -> None:
    """An answer that would unpack to 60 MB costs the process nothing."""
    assert held(on_loopback.bomb(60 * on_loopback.MIB, answers=3))


def test_redirects_to_a_second_server() -> None:
    """The second server sees nothing, even with a client that follows redirects unless it is told not to."""
    assert held(on_loopback.redirects())


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_given_up_and_offered_again(kind: str) -> None:
    """What was given up as too old is delivered after the visitor's next response."""
    assert held(on_loopback.given_up(kind))


def test_offers_take_microseconds() -> None:
    """While the sender delivers, an offer takes well below a millisecond in 99 cases of 100."""
    assert held(on_loopback.offers(2000, limit=1e-3))


def test_no_blocking_call() -> None:
    """An ASGI application's event loop is never blocked, with an outbox either."""
    assert held(on_loopback.blocking())


def test_no_canary() -> None:
    """Whatever goes wrong, no record and nothing an error tracker would send holds token, profile, chat or link."""
    assert held(on_loopback.canaries())


def test_a_connection_per_slot() -> None:
    """Fifty at once are no slower with a client each than over one shared client."""
    assert held(on_loopback.connections(requests=100))


# A figure that does not hold is seen -----------------------------------------------------------


def test_what_is_out_of_order_is_counted() -> None:
    """An older edit after a newer one, and a newest one that never came, are seen."""
    with Simulation() as world:
        story = figures.Story(world, 2, 60.0, 1)
        heard = SimpleNamespace(delivered=lambda: [b"0 0", b"0 3", b"0 1"])
        assert story.out_of_order(heard) == 1  # type: ignore[arg-type]
        assert len(story.missing(heard)) == 2  # type: ignore[arg-type]


def without_own_slots(run: Run, now: float, bot: str) -> bool:
    return run._gates[bot].may_try(now) and len(run._tasks) < run._settings.concurrency


def with_redirects(self: httpx.AsyncClient, *arguments: Any, **keywords: Any) -> Any:
    return stream(self, *arguments, **{**keywords, "follow_redirects": True})


stream = httpx.AsyncClient.stream
MUTANTS: list[tuple[str, object, Callable[[], list[Row]]]] = [
    ("figures.settings", lambda url: settings(url, concurrency=20), lambda: figures.outage(100, 60.0)),
    ("reve_middleware.mailbox.Mailbox.too_old", 2.0, lambda: figures.resets(50)),
    ("reve_middleware.bearer.CurrentToken.refused", lambda *_: False, lambda: figures.rotation(50)),
    ("reve_middleware.delivery.HELD_FOR_TOKEN", 20.0, figures.wrong_token),
    ("reve_middleware.outcome.parse_retry_after", lambda *_: None, figures.retry_after),
    ("reve_middleware.mailbox.MOST_CHATS_OF_ONE_VISITOR", 50, lambda: figures.one_visitor(200, 10)),
    ("reve_middleware.delivery.Run._may_try", without_own_slots, lambda: on_loopback.dripping(0.5, 0.05, 20)),
    ("httpx.AsyncClient.stream", with_redirects, on_loopback.redirects),
    ("reve_middleware.recollection.Recollection.lose", lambda *_: None, on_loopback.given_up),
]


@pytest.mark.parametrize(("name", "value", "figure"), MUTANTS)
def test_a_figure_can_fail(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, figure: Callable[[], list[Row]]
) -> None:
    """With the code that holds a figure spoiled, the figure does not hold."""
    monkeypatch.setattr(name, value)
    monkeypatch.setattr("delivering.PATIENCE", 1.0)
    try:
        holds = all(row.holds for row in figure())
    except (AssertionError, queue.Empty):
        holds = False
    assert not holds


# The program -----------------------------------------------------------------------------------


@pytest.fixture
def program() -> ModuleType:
    """The program as a module; it has the name of another."""
    spec = importlib.util.spec_from_file_location("program_faults", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_program_prints_a_line_for_each_figure() -> None:
    """It prints fault, figure, what was measured, and yes, for the figures it is asked for."""
    done = subprocess.run([sys.executable, PROGRAM, "--only", "redirects"], capture_output=True, text=True, timeout=60)
    line = "301, 302, 303, 307, 308 to a second server: it sees 0 requests: 0 requests, 10 pushes kept: yes\n"
    assert (done.stdout, done.stderr, done.returncode) == (line, "", 0)


def test_the_program_fails_where_a_figure_does(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that does not hold is a NO, and exit status 1; the others are printed all the same."""
    program.FIGURES = {
        "one": lambda: [Row("a fault", "at most 1", "2", False)],
        "two": lambda: [Row("another", "at most 3", "2", True)],
    }
    assert program.main([]) == 1
    assert capsys.readouterr().out == "a fault: at most 1: 2: NO\nanother: at most 3: 2: yes\n"
    assert program.main(["--only", "two"]) == 0


def test_the_program_names_its_figures(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """--list prints the names; a word that is in none of them is refused with all of them."""
    assert program.main(["--list", "--only", "given"]) == 0
    assert capsys.readouterr().out == "given_up_asgi\ngiven_up_wsgi\n"
    with pytest.raises(SystemExit) as ended:
        program.main(["--only", "nonsense"])
    assert ended.value.code == 2
    assert "error: no figure is called like that; there are outage, resets, rotation," in capsys.readouterr().err
