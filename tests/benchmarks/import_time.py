"""How long does `import reve_middleware` take, against what every Starlette site imports anyway?

    python tests/benchmarks/import_time.py [--rounds 31] [--limit 1.3] [--json]

Fresh interpreters, each of which imports `starlette.requests` and `itsdangerous` first, and then the package, which
imports those as well. So its own part and theirs are measured a moment apart, in one process: from interpreter to
interpreter a machine's speed differs by a quarter, within one the ratio by two hundredths. The clock runs around the
import statements alone, and their bytecode is compiled, in a cache of this run. What counts is the median of the
ratios. Exit status 1 where it is above the limit, or where httpx, which is imported when it is first needed, came
along.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

LIMIT = 1.3
ROUNDS = 31
ROOT = Path(__file__).resolve().parents[2]
OURS = "reve_middleware"
THEIRS = "starlette.requests, itsdangerous"
CHILD = f"""
from time import perf_counter
began = perf_counter()
import {THEIRS}
between = perf_counter()
import {OURS}
ended = perf_counter()
import sys
print(ended - began, between - began, "httpx" in sys.modules)
"""


class Spread(NamedTuple):
    """The median, and the borders of the middle half."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def measure(environment: dict[str, str]) -> tuple[float, float, bool]:
    """Seconds that the package with all it needs took, and theirs alone; and whether httpx was among it."""
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"`import {OURS}` failed:\n{done.stderr}")
    ours, theirs, httpx = done.stdout.split()
    return float(ours), float(theirs), httpx == "True"


def environment(cache: str) -> dict[str, str]:
    """The caller's, without what changes how Python imports (profilers, coverage, no bytecode)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": cache}


def run(rounds: int) -> tuple[list[float], list[float], bool]:
    """Seconds of ours and of theirs, round by round, and whether ours brought httpx."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as cache:
        child = environment(cache)
        httpx = measure(child)[2]  # this one compiles, and its seconds do not count
        for _ in range(rounds):
            mine, other, _ = measure(child)
            ours.append(mine)
            theirs.append(other)
    return ours, theirs, httpx


def at_least_two(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is wrong: it must be a whole number, 2 or more")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=at_least_two, default=ROUNDS, help=f"interpreters (default {ROUNDS})")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"the largest ratio allowed (default {LIMIT})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    ours, theirs, httpx = run(arguments.rounds)
    ratio = Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
    passed = ratio.median <= arguments.limit and not httpx
    rows = {OURS: Spread.of(ours), THEIRS: Spread.of(theirs)}
    if arguments.json:
        found = {
            "rounds": arguments.rounds,
            "seconds": {name: spread._asdict() for name, spread in rows.items()},
            "ratio": ratio._asdict(),
            "limit": arguments.limit,
            "httpx_imported": httpx,
            "passed": passed,
        }
        print(json.dumps(found, indent=2))
    else:
        for name, spread in rows.items():
            median, low, high = (f"{1000 * seconds:.1f}" for seconds in spread)
            print(f"import {name:<33} {median:>6} ms, the middle half {low} to {high}")
        print(f"ratio, one by one: {ratio.median:.2f}, the middle half {ratio.low:.2f} to {ratio.high:.2f}", end="")
        print(f" ({arguments.rounds} interpreters; the limit is {arguments.limit:g})")
        print(f"httpx was {'imported: it must not be' if httpx else 'not imported'}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
