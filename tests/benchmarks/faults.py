"""What delivery holds under faults, each figure measured now.

    python tests/benchmarks/faults.py [--only WORD …] [--list]

One line per row: the fault, the figure that is promised, what was measured, and whether it holds. What takes long
runs in simulated time (tests/simulated.py), the rest on loopback sockets; about a minute in all. Exit status 1 where
a figure does not hold. `--only drip bomb` measures those whose names contain one of the words.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
if sys.path[0] == str(HERE):  # run as a program: this folder's "faults" is not the one that is meant
    sys.path[0:1] = [str(HERE.parent), str(HERE.parents[1])]

import figures  # noqa: E402
import figures_on_loopback as on_loopback  # noqa: E402
from figures import Row  # noqa: E402

FIGURES: dict[str, Callable[[], list[Row]]] = {
    "outage": figures.outage,
    "resets": figures.resets,
    "rotation": figures.rotation,
    "wrong_token": figures.wrong_token,
    "retry_after": figures.retry_after,
    "one_visitor": figures.one_visitor,
    "dripping": on_loopback.dripping,
    "bomb": on_loopback.bomb,
    "redirects": on_loopback.redirects,
    "given_up_asgi": partial(on_loopback.given_up, "asgi"),
    "given_up_wsgi": partial(on_loopback.given_up, "wsgi"),
    "offers": on_loopback.offers,
    "blocking": on_loopback.blocking,
    "connections": on_loopback.connections,
    "canaries": on_loopback.canaries,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="those whose names contain one of them")
    parser.add_argument("--list", action="store_true", help="print the names alone")
    given = parser.parse_args(arguments)
    chosen = [name for name in FIGURES if any(word in name for word in given.only)]
    if not chosen:
        parser.error(f"no figure is called like that; there are {', '.join(FIGURES)}")
    if given.list:
        print(*chosen, sep="\n")
        return 0
    logging.getLogger("reve_middleware").addHandler(logging.NullHandler())
    logging.getLogger("reve_middleware").propagate = False
    failed = 0
    for name in chosen:
        for row in FIGURES[name]():
            failed += not row.holds
            print(f"{row.fault}: {row.figure}: {row.measured}: {'yes' if row.holds else 'NO'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
