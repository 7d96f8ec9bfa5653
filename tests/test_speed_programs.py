"""The programs that measure speed work: none of these tests measures anything. See benchmarks/speed.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

import speed  # noqa: E402
import speed_peers  # noqa: E402
import speed_rounds as rounds  # noqa: E402
import speed_wsgi  # noqa: E402
from speed_rounds import Goal, Row, Spread  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "speed.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# The whole program -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> Any:
    """What a tiny run of all parts reports."""
    done = run("--quick", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("part", speed.PARTS)
def test_each_part_works(everything: Any, part: str) -> None:
    """Each part measures something for every line it prints, and nothing of it is negative but for noise."""
    rows = [row for row in everything["rows"] if row["part"] == part]
    assert rows != []
    for row in rows:
        for spread in filter(None, (row["ours"], row["peers"])):
            assert spread["low"] <= spread["median"] <= spread["high"]
            assert math.isfinite(spread["median"])
            assert spread["high"] > 0 or part in rounds.ADDED


def test_the_report_says_what_was_measured(everything: Any) -> None:
    """The JSON names the Python, the versions of what was compared, and what was not installed."""
    assert everything["python"].startswith("3.")
    assert {"starlette", "httpx"} <= set(everything["packages"])
    assert set(everything["missing"]).isdisjoint(everything["packages"])
    assert everything["seconds"] > 0


def test_the_lines_of_the_issue_have_their_goals(everything: Any) -> None:
    """Every goal that was agreed on stands in the report, next to its line."""
    goals = {(row["part"], row["case"], row["peer"]): row["goal"]["limit"] for row in everything["rows"] if row["goal"]}
    for part, case, peer, limit in (
        ("asgi", "JSON, no chat", "BaseHTTPMiddleware", 1 / 60),
        ("asgi", "JSON, no chat", "SessionMiddleware, no cookie", 1 / 3),
        ("asgi", "JSON, chat, identity with version", "SessionMiddleware, valid cookie", 1 / 3),
        ("asgi", "JSON, chat, async profile", "SessionMiddleware, valid cookie", 1 / 2),
        ("asgi", "JSON, route not enabled, no chat", "BaseHTTPMiddleware", 1 / 100),
        ("asgi", "HTML 10 kB in one chunk", "plain injector, 10 kB", 1 / 2.5),
        ("asgi", "HTML 100 kB in ten chunks", "plain injector, 100 kB", 1 / 10),
        ("wsgi", "WSGI HTML 10 kB", "plain injector, 10 kB", 1 / 2.5),
        ("delivery", "delivery, 1 at once, CPU per push", "one httpx.AsyncClient", 1.05),
        ("delivery", "delivery, 50 at once, pushes/s", "one httpx.AsyncClient", 6),
        ("outbox", "one stored offer, all at once", "", 10),
    ):
        assert goals[part, case, peer] == limit


def test_a_part_alone_as_a_table() -> None:
    """--only runs the parts that are called like that, and prints a table of each."""
    done = run("--quick", "--only", "memory")
    assert done.returncode == 0, done.stderr
    title, blank, head, rule, *rest = done.stdout.splitlines()
    assert (title, blank) == ("memory", "")
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == ["case", "peer", "ours costs", "peer costs", "ratio", "goal", "holds"]
    assert set(rule) == {"|", "-"}
    assert rest[0].startswith("| memory for each of 1 waiting profiles, beyond ")
    assert "goals missed" in rest[-1]


def test_a_part_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong --only is answered with the names of all parts."""
    monkeypatch.setattr(sys, "argv", ["speed.py", "--only", "wsig"])
    with pytest.raises(SystemExit) as left:
        speed.main()
    assert left.value.code == 2
    names = "memory, asgi, wsgi, injection, cookies, offering, outbox, delivery, servers, growth"
    assert f"no part is called wsig; there are {names}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--quick"], 0)])
def test_a_goal_that_is_missed(
    options: list[str], status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A goal that is missed is named, and is an exit status of 1, but not in a quick run, which measures nothing."""
    rows = [Row("asgi", "JSON", "a layer", same(2.0), same(3.0), goal=Goal(limit)) for limit in (1 / 2, 1)]
    monkeypatch.setitem(sys.modules, "speed_asgi", SimpleNamespace(run=lambda quick: rows))
    monkeypatch.setattr(sys, "argv", ["speed.py", "--only", "asgi", *options])
    assert speed.main() == status
    said = capsys.readouterr().out
    assert "missed: asgi: JSON, against a layer\n" in said
    assert said.endswith(", 1 of 2 goals missed\n")


def test_peers_that_are_not_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A program goes on without the peers that are missing, and says how to install them."""
    monkeypatch.setattr(speed_peers, "is_installed", lambda package: False)
    monkeypatch.setattr(speed_peers, "missing", set())
    monkeypatch.setattr(sys, "argv", ["speed.py", "--only", "wsgi", "--quick"])
    assert speed.main() == 0
    said = capsys.readouterr().out
    assert "not installed, and left out: pip install django sentry-sdk werkzeug whitenoise\n" in said
    assert "plain injector" in said
    assert "Django" not in said


def test_a_layer_that_does_nothing_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of ours that stood aside would be quick: the program stops instead."""
    monkeypatch.setattr(speed_peers, "is_installed", lambda package: False)
    monkeypatch.setattr(speed_peers, "missing", set())
    monkeypatch.setattr(speed_wsgi.site, "wrapped_wsgi", lambda app, **keywords: app)
    with pytest.raises(SystemExit, match="ours, 10 kB does not do what it is measured for"):
        speed_wsgi.run(quick=True)


# How it measures -------------------------------------------------------------------------------


def same(value: float) -> Spread:
    return Spread(value, value, value)


def test_everybody_is_first_as_often_as_the_others() -> None:
    """The order of the competitors rotates and turns round, so each is first, and each last, equally often."""
    names = ["a", "b", "c"]
    orders = [rounds.order(names, number) for number in range(6)]
    assert all(sorted(order) == names for order in orders)
    assert sorted(order[0] for order in orders) == ["a", "a", "b", "b", "c", "c"]
    assert sorted(order[-1] for order in orders) == ["a", "a", "b", "b", "c", "c"]


def test_a_cost_is_a_difference_within_a_round() -> None:
    """What slows a whole round slows the bare application as well, and so does not count."""
    taken = {"layer, bare": [1000.0, 1000.0, 9000.0], "layer": [3000.0, 3500.0, 11000.0]}
    assert rounds.added(taken, "layer") == (2.0, 2.0, 2.25)
    assert rounds.absolute(taken, "layer").median == 3.5


def test_each_round_runs_every_competitor() -> None:
    """After one slice that does not count, every round takes one slice of each, divided by its calls."""
    ran: list[tuple[str, int]] = []

    def slice_of(name: str, nanoseconds: float) -> rounds.Slice:
        def run(calls: int) -> float:
            ran.append((name, calls))
            return nanoseconds

        return run

    taken = rounds.interleave({"a": slice_of("a", 100.0), "b": slice_of("b", 500.0)}, 4, 10)
    assert taken == {"a": [10.0] * 4, "b": [50.0] * 4}
    assert ran[:2] == [("a", 10), ("b", 10)]
    assert sorted(ran[2:]) == [("a", 10)] * 4 + [("b", 10)] * 4


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "ratio", "holds"),
    [
        (same(1.0), same(3.0), Goal(1 / 3), "1/3", True),
        (same(1.1), same(3.0), Goal(1 / 3), "1/2.73", False),
        (same(6.0), same(1.0), Goal(6, at_least=True), "6", True),
        (same(5.0), same(1.0), Goal(6, at_least=True), "5", False),
        (same(-0.1), same(3.0), Goal(1 / 3), "0", True),
        (same(1.0), same(-0.1), Goal(1 / 3), "", False),
        (same(9.0), None, Goal(10), "", True),
        (same(11.0), None, Goal(10), "", False),
        (same(1.0), same(2.0), None, "1/2", None),
    ],
)
def test_a_ratio_and_its_goal(ours: Spread, theirs: Spread | None, goal: Goal | None, ratio: str, holds: Any) -> None:
    """The ratio is ours to the peer's, the goal is its border, or ours alone has one; where the peer costs nothing
    there is no ratio, and no goal that holds."""
    row = Row("asgi", "case", "peer", ours, theirs, goal=goal)
    assert rounds.as_ratio(row.ratio) == ratio
    assert row.holds is holds


def test_the_table() -> None:
    """A line for each row, with the middle half of the rounds in parentheses, the ratio and the goal."""
    rows = [
        Row("asgi", "JSON", "a layer", Spread(1.0, 0.9, 1.25), same(4.0), goal=Goal(1 / 3)),
        Row("asgi", "stored", "", same(120.0), None, "B", Goal(100)),
    ]
    assert rounds.table(rows).splitlines() == [
        "| case   | peer    | ours adds           | peer adds           | ratio | goal    | holds |",
        "|--------|---------|---------------------|---------------------|-------|---------|-------|",
        "| JSON   | a layer | 1.00 µs (0.90…1.25) | 4.00 µs (4.00…4.00) | 1/4   | ≤ 1/3   | yes   |",
        "| stored |         | 120 B (120…120)     |                     |       | ≤ 100 B | NO    |",
    ]
