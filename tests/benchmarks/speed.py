"""What does it cost? Each figure next to what people already accept, and to its goal.

    python tests/benchmarks/speed.py [--only WORD ...] [--quick] [--json]

    memory       what waits, for 1, 10³ and 10⁵ profiles
    asgi, wsgi   requests in process: what each layer adds to a bare application
    injection    the tag, by size of the page and by chunks
    cookies      reading and writing the two signed cookies
    offering     what saying one thing costs the caller
    outbox       the same, stored on disk
    delivery     pushes to a local server
    servers      CPU of uvicorn's process under load
    growth       a request, for 1, 10³ and 10⁵ visitors, chats and bots

All of it takes some minutes; leave the machine alone meanwhile. One process or one run holds all competitors of a
line, in turn, round by round (speed_rounds.py). Peers that are not installed are left out and named at the end;
`pip install -e '.[benchmark]'` brings them. Exit status 1 where a goal is missed; never with --quick, which only shows
that the programs work.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import speed_peers  # noqa: E402
from speed_rounds import Row, report, table  # noqa: E402

PARTS = (
    "memory", "asgi", "wsgi", "injection", "cookies", "offering", "outbox", "delivery", "servers", "growth",
)  # fmt: skip
"""Each is a file speed_<part>.py with a `run`. Memory comes first: what other parts leave behind would count."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""], help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a few calls each: do the programs work?")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    chosen = [part for part in PARTS if any(word in part for word in options.only)]
    if not chosen:
        parser.error(f"no part is called {' or '.join(options.only)}; there are {', '.join(PARTS)}")

    began = time.monotonic()
    rows: list[Row] = []
    for part in chosen:
        found = importlib.import_module(f"speed_{part}").run(quick=options.quick)
        rows += found
        if not options.json:
            print(f"{part}\n\n{table(found)}\n", flush=True)
    seconds = time.monotonic() - began
    missed = [row for row in rows if row.holds is False]
    if options.json:
        print(report(rows, speed_peers.missing, seconds))
    else:
        for row in missed:
            print(f"missed: {row.part}: {row.case}{row.peer and ', against '}{row.peer}")
        if speed_peers.missing:
            print(f"not installed, and left out: pip install {' '.join(sorted(speed_peers.missing))}")
        print(f"{seconds:.0f} s, {len(missed)} of {sum(row.goal is not None for row in rows)} goals missed")
    return int(bool(missed) and not options.quick)


if __name__ == "__main__":
    raise SystemExit(main())
