"""How the speed programs measure, and what they print.

Competitors take turns in one process: every round runs each of them once, for a slice of so many calls, in an order
that rotates and turns round, so that a busy or a slow machine meets them all alike. The garbage collector is off in a
slice. Time is the CPU's, of this process. What counts is the median over the rounds of what a competitor costs more
than its own bare application in the same round; spread is the middle half.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

Slice = Callable[[int], float]
"""Runs so many calls; the nanoseconds that they took together."""

WARM = 30
"""Calls at the head of each slice that do not count, at most as many as count."""


class Spread(NamedTuple):
    """The median, and the borders of the middle half."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        if len(values) == 1:
            return cls(*values * 3)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


class Goal(NamedTuple):
    """What the ratio ours : peer may be at most, or must be at least."""

    limit: float
    at_least: bool = False

    def holds(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {as_ratio(self.limit)}"


class Row(NamedTuple):
    """One line of the table."""

    part: str
    case: str
    peer: str
    ours: Spread
    theirs: Spread | None
    """None: the goal is a figure, not a ratio."""
    unit: str = "µs"
    goal: Goal | None = None
    in_pairs: float | None = None
    """The median of the ratios, round by round, where that is to count instead of the ratio of the medians."""

    @property
    def ratio(self) -> float | None:
        if self.in_pairs is not None:
            return self.in_pairs
        if self.theirs is None or self.theirs.median <= 0:
            return None
        return max(0.0, self.ours.median) / self.theirs.median

    @property
    def holds(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        measured = self.ours.median if self.theirs is None else self.ratio
        return measured is not None and self.goal.holds(measured)

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "case": self.case,
            "peer": self.peer,
            "unit": self.unit,
            "ours": self.ours._asdict(),
            "peers": None if self.theirs is None else self.theirs._asdict(),
            "ratio": self.ratio,
            "goal": None if self.goal is None else self.goal._asdict(),
            "holds": self.holds,
        }


# Measuring -------------------------------------------------------------------------------------


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleave(slices: Mapping[str, Slice], rounds: int, calls: int) -> dict[str, list[float]]:
    """Nanoseconds for each call of each competitor, round by round."""
    for run in slices.values():
        run(min(WARM, calls))
    taken: dict[str, list[float]] = {name: [] for name in slices}
    for number in range(rounds):
        with no_garbage_collection():
            for name in order(list(slices), number):
                taken[name].append(slices[name](calls) / calls)
    return taken


def order(names: list[str], number: int) -> list[str]:
    """Whose turn it is in the round of that number: another first each time, and every second round backwards."""
    first = number // 2 % len(names)
    rotated = names[first:] + names[:first]
    return rotated[::-1] if number % 2 else rotated


def bare_of(name: str) -> str:
    """What the bare application next to a competitor is called."""
    return f"{name}, bare"


def added(taken: Mapping[str, list[float]], name: str) -> Spread:
    """Microseconds that a competitor costs more than the bare application next to it, in the same round."""
    return Spread.of((mine - bare) / 1000 for mine, bare in zip(taken[name], taken[bare_of(name)], strict=True))


def absolute(taken: Mapping[str, list[float]], name: str) -> Spread:
    """Microseconds that a competitor costs."""
    return Spread.of(nanoseconds / 1000 for nanoseconds in taken[name])


# Printing --------------------------------------------------------------------------------------


def as_ratio(ratio: float | None) -> str:
    """Fractions are easier to compare as 1/n."""
    if ratio is None:
        return ""
    if ratio == 0:
        return "0"
    return f"{ratio:.3g}" if ratio >= 1 else f"1/{1 / ratio:.3g}"


def as_figure(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return ""
    median, low, high = (f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}" for value in spread)
    return f"{median} {unit} ({low}…{high})"


ADDED = ("asgi", "wsgi", "injection", "growth")
"""The parts whose figures are what is added to a bare application."""


def table(rows: Iterable[Row]) -> str:
    """The table of one part as Markdown; the middle half of the rounds stands in parentheses."""
    rows = list(rows)
    verb = "adds" if rows and rows[0].part in ADDED else "costs"
    lines = [("case", "peer", f"ours {verb}", f"peer {verb}", "ratio", "goal", "holds")]
    for row in rows:
        lines.append(
            (
                row.case,
                row.peer,
                as_figure(row.ours, row.unit),
                as_figure(row.theirs, row.unit),
                as_ratio(row.ratio),
                "" if row.goal is None else f"≤ {row.goal.limit:g} {row.unit}" if row.theirs is None else str(row.goal),
                {None: "", True: "yes", False: "NO"}[row.holds],
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def report(rows: list[Row], missing: Iterable[str], seconds: float) -> str:
    """All of it as one JSON object."""
    return json.dumps(
        {
            "python": platform.python_version(),
            "packages": {name: found for name in PACKAGES if (found := version_of(name)) is not None},
            "missing": sorted(missing),
            "seconds": round(seconds, 1),
            "rows": [row.as_json() for row in rows],
            "holds": all(row.holds is not False for row in rows),
        },
        indent=2,
    )


# Peers -----------------------------------------------------------------------------------------

PACKAGES = {
    "aiohttp": "aiohttp",
    "asgi-correlation-id": "asgi_correlation_id",
    "asgi-csrf": "asgi_csrf",
    "django": "django",
    "httpx": "httpx",
    "posthog": "posthog",
    "segment-analytics-python": "segment.analytics",
    "sentry-sdk": "sentry_sdk",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "werkzeug": "werkzeug",
    "whitenoise": "whitenoise",
}
"""Every package that is measured, and its module."""


def is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(PACKAGES[package]) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
