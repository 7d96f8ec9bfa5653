"""What real servers do with 100 queued pushes when they are told to end.

    python tests/benchmarks/server_ends.py [--only WORD] [--json]

One visitor each opens 100 chats; the bot, given by host name, holds its answers; then comes the signal. Four things
are asked of each server: how long it takes to end with nothing queued; how many pushes are delivered, and how soon,
when the bot answers from then on; how long it takes, and what is lost, when the bot never answers; and the same with
an outbox, where the next start, with a bot that answers, must deliver all 100. What was in flight when a process was
killed comes a second time, when its lease is over; that is waited for, and counted.

Exit status 1 where a count is not as it must be, where 100 pushes take more than 2 s, or where a bot that never
answers costs a server more than 2.5 s beyond what it takes anyway.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from ends import AT_ONCE, PUSHES, Bot, End, end, queue  # noqa: E402
from workers import Site  # noqa: E402

DELIVERED_SECONDS = 2.0
HUNG_SECONDS = 2.5
AT_A_TIME = 4
"""Servers that end at the same time, where what takes long is waiting."""


class Case(NamedTuple):
    """A server, and how it is told to end."""

    name: str
    number: signal.Signals = signal.SIGTERM
    workers: int = 1
    has_hook: bool = True
    busy: bool = False
    """Is it in a request at that moment?"""

    def __str__(self) -> str:
        workers = f" --workers {self.workers}" if self.workers > 1 else ""
        return f"{self.name}{workers}, {self.number.name}{' in a request' if self.busy else ''}"


CASES = [
    Case("uvicorn"),
    Case("uvicorn", workers=2),
    Case("uvicorn --lifespan off", has_hook=False),
    Case("hypercorn"),
    Case("granian asgi"),
    Case("granian asginl"),
    Case("granian wsgi"),
    Case("gunicorn sync"),
    Case("gunicorn gthread"),
    Case("gunicorn --preload", workers=2),
    Case("gunicorn sync", signal.SIGQUIT),
    Case("uwsgi"),
    Case("uwsgi --enable-threads", workers=2),
    Case("uwsgi --enable-threads", has_hook=False, busy=True),
    Case("waitress", has_hook=False),
    Case("waitress", signal.SIGINT),
    Case("uvicorn", signal.SIGKILL, has_hook=False),
    Case("gunicorn sync", signal.SIGKILL, has_hook=False),
]


class Found(NamedTuple):
    """What came of a case."""

    idle: float
    """Seconds to end with nothing queued."""
    healthy: End | None
    """With a bot that answers; None where no hook runs."""
    hung: End
    outbox: End
    """With an outbox, and a bot that does not answer."""
    again: Counter[int]
    """How many chats were told once and twice when the next start had delivered all."""
    again_in: float
    """Seconds until the next start had told all 100."""

    def lost(self) -> int:
        """Pushes that the bot never saw."""
        return PUSHES - (self.healthy or self.hung).told

    def faults(self, case: Case) -> list[str]:
        """What is not as it must be."""
        flying = AT_ONCE * case.workers
        must = {
            "pushes under way at the signal": (self.hung.before, flying),
            "lost, counted in the log": (self.hung.left, PUSHES if case.has_hook else 0),
            "lost": (self.lost(), 0 if case.has_hook else PUSHES - flying),
            "lost with the outbox, counted in the log": (self.outbox.left, 0),
            "told by the next start": (dict(self.again), {1: PUSHES - flying, 2: flying}),
        }
        faults = [f"{what}: {found}, not {right}" for what, (found, right) in must.items() if found != right]
        if self.healthy is not None and self.healthy.delivered_in > DELIVERED_SECONDS:
            faults.append(f"100 pushes took {self.healthy.delivered_in:.2f} s")
        if self.hung.gone_in - self.idle > HUNG_SECONDS:
            faults.append(f"it ended after {self.hung.gone_in:.2f} s, {self.idle:.2f} s with nothing queued")
        return faults


@contextmanager
def serving(case: Case) -> Iterator[tuple[Site, Bot]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Bot() as bot,
        Site(case.name, case.workers, bot.environment(), Path(folder)) as site,
    ):
        yield site, bot


def idle(case: Case) -> float:
    with serving(case) as (site, bot):
        return end(site, bot, case.number, busy=case.busy).gone_in


def in_memory(case: Case, *, hung: bool) -> End:
    with serving(case) as (site, bot):
        queue(site, bot)
        return end(site, bot, case.number, hung=hung, busy=case.busy)


def with_outbox(case: Case) -> tuple[End, Counter[int], float]:
    with tempfile.TemporaryDirectory() as folder, Bot() as bot:
        environment = bot.environment(Path(folder) / "reve.sqlite3")
        with Site(case.name, case.workers, environment, Path(folder)) as site:
            queue(site, bot)
            found = end(site, bot, case.number, hung=True, busy=case.busy)
        bot.go.set()
        with Site(case.name, case.workers, environment, Path(folder)):
            seconds = bot.wait_until_told(PUSHES)
            bot.wait_for(PUSHES + AT_ONCE * case.workers)
            return found, Counter(bot.told().values()), seconds


Answer = TypeVar("Answer")


def ask(what: str, cases: list[Case], question: Callable[[Case], Answer], at_a_time: int) -> list[Answer]:
    print(what, end=" ", file=sys.stderr, flush=True)

    def asked(case: Case) -> Answer:
        answer = question(case)
        print(".", end="", file=sys.stderr, flush=True)
        return answer

    with ThreadPoolExecutor(at_a_time) as pool:
        answers = list(pool.map(asked, cases))
    print(file=sys.stderr)
    return answers


def run(cases: list[Case]) -> list[Found]:
    idles = ask("nothing queued", cases, idle, 1)
    hooks = [case for case in cases if case.has_hook]
    healthy = dict(
        zip(hooks, ask("a bot that answers", hooks, lambda case: in_memory(case, hung=False), 1), strict=True)
    )
    hung = ask("a bot that never answers", cases, lambda case: in_memory(case, hung=True), AT_A_TIME)
    outbox = ask("the same with an outbox", cases, with_outbox, AT_A_TIME)
    return [
        Found(seconds, healthy.get(case), without, *kept)
        for case, seconds, without, kept in zip(cases, idles, hung, outbox, strict=True)
    ]


HEAD = [
    "server, signal", "delivered without outbox", "in", "with outbox, next start", "again", "ends idle", "bot hung",
    "with outbox",
]  # fmt: skip


def row(case: Case, found: Found) -> list[str]:
    healthy = found.healthy
    return [
        str(case),
        f"{PUSHES - found.lost()}" if healthy else f"{PUSHES - found.lost()}, those in flight; {found.lost()} lost",
        f"{healthy.delivered_in:.2f} s" if healthy else "-",
        f"{found.again.total()} in {found.again_in:.2f} s",
        f"{found.again[2]}",
        *(f"{seconds:.2f} s" for seconds in (found.idle, found.hung.gone_in, found.outbox.gone_in)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="only the rows with this word in their first column")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in str(case)]
    if not cases:
        parser.error(f"no row has {arguments.only!r} in it; there are: " + "; ".join(map(str, CASES)))
    table = dict(zip(cases, run(cases), strict=True))
    faults = [f"{case}: {fault}" for case, found in table.items() for fault in found.faults(case)]
    if arguments.json:
        print(json.dumps({str(case): as_json(found) for case, found in table.items()} | {"faults": faults}, indent=2))
    else:
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        for case, found in table.items():
            print(f"| {' | '.join(row(case, found))} |")
        for fault in faults:
            print(fault)
    return 1 if faults else 0


def as_json(found: Found) -> dict[str, object]:
    return {
        **found._asdict(),
        "healthy": found.healthy and found.healthy._asdict(),
        "hung": found.hung._asdict(),
        "outbox": found.outbox._asdict(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
