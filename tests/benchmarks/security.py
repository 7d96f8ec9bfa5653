"""What holds under attack, each figure counted now.

    python tests/benchmarks/security.py [--only WORD …] [--list]

One line per row: the attack, the figure that is promised, what was measured, and whether it holds. Some minutes in all,
on loopback and in this process. Exit status 1 where a figure does not hold. `--only slow wire` measures those whose
names contain one of the words.
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

import security_figures as figures  # noqa: E402
from figures import Row  # noqa: E402

FIGURES: dict[str, Callable[[], list[Row]]] = {
    "origin": figures.origin,
    "underscores": figures.underscores,
    "bytes": partial(figures.shots, "bytes"),
    "headers": partial(figures.shots, "headers"),
    "chunking": partial(figures.shots, "chunking"),
    "pages": partial(figures.shots, "pages"),
    "wire": figures.wire,
    "framing": figures.framing,
    "slow_uvicorn_h11": partial(figures.slow, "uvicorn h11"),
    "slow_uvicorn_httptools": partial(figures.slow, "uvicorn httptools"),
    "slow_hypercorn": partial(figures.slow, "hypercorn"),
    "one_visitor": figures.one_visitor,
    "rolling": figures.rolling,
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
    failed = 0
    for name in chosen:
        for row in FIGURES[name]():
            failed += not row.holds
            print(f"{row.fault}: {row.figure}: {row.measured}: {'yes' if row.holds else 'NO'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    logging.getLogger("reve_middleware").addHandler(logging.NullHandler())
    logging.getLogger("reve_middleware").propagate = False
    raise SystemExit(main())
