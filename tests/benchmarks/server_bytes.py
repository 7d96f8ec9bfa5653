"""What real servers send for a site wrapped that they do not send for it bare, byte by byte.

    python tests/benchmarks/server_bytes.py [--only WORD …] [--rounds 1] [--list]

One process of each server serves the same site bare, wrapped, wrapped with `inject=False`, and to a visitor with a
chat. A line for each server: the answers compared, the connections they came on, and the differences but for the tag,
its length, and the cookie of a visitor whom the bot is told of; below it what the server was not asked, and why.
`--only gunicorn` takes the servers whose names contain it.

A server whose package is missing is named and left out (mod_wsgi needs Debian's `apache2-dev` to be built, and a Python
that another user may read). Exit status 1 where there is a difference.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
if sys.path[0] == str(TESTS / "benchmarks"):  # run as a program
    sys.path[0:1] = [str(TESTS), str(TESTS.parent)]

from server_bytes_compare import WAYS, Comparison, scripts_for  # noqa: E402
from server_bytes_programs import PROGRAMS, package_of  # noqa: E402
from server_bytes_running import Running  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="those with one of them in their name")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="ask everything so often")
    parser.add_argument("--list", action="store_true", help="print the servers' names alone")
    given = parser.parse_args(arguments)
    chosen = [name for name in PROGRAMS if any(word in name for word in given.only)]
    if not chosen:
        parser.error(f"no server is called like that; there are {', '.join(PROGRAMS)}")
    if given.list:
        print(*chosen, sep="\n")
        return 0
    print(f"{'server':20}{'answers':>9}{'connections':>13}{'differences':>13}")
    return min(1, sum(show(name, given.rounds) for name in chosen))


def show(name: str, rounds: int) -> int:
    """Print a server's line; how many differences there are."""
    package = package_of(name)
    if package and importlib.util.find_spec(package) is None:
        print(f"{name:20}{'not installed':>35}")
        return 0
    found: list[str] = []
    answers = connections = 0
    with Running(name) as server:
        for _ in range(rounds):
            comparison = Comparison(server)
            for way in WAYS:
                for script in scripts_for(server.program, slow=True):
                    found += comparison.differences(script, way)
                    connections += 1
            answers += comparison.answers
    print(f"{name:20}{answers:>9}{connections:>13}{len(found):>13}", flush=True)
    for one in found:
        print(f"    {one}")
    reasons = server.program.without
    for reason in dict.fromkeys(reasons.values()):
        scripts = ", ".join(f'"{glob}"' for glob, why in reasons.items() if why == reason)
        print(f"    not asked, since {reason}: {scripts}")
    return len(found)


if __name__ == "__main__":
    raise SystemExit(main())
