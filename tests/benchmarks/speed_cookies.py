"""What the two signed cookies cost: reading both, seen before or never, and writing one.

Against itsdangerous' own serializer with a time stamp, and against Starlette's SessionMiddleware for a whole request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import speed_site as site
from itsdangerous import URLSafeTimedSerializer
from speed_rounds import WARM, Row, Slice, absolute, interleave

from reve_middleware.cookie import Cookies, Ids
from reve_middleware.mark import Mark

PART = "cookies"
SECRET = site.KEYWORDS["secret_key"]
NOW = 1_800_000_000_000_000


def new() -> Cookies:
    return Cookies("reve", [SECRET], dev=False)


def ids_of(number: int) -> Ids:
    return Ids("bot", f"chat-{number}", NOW)


MARK = Mark("s" * 16, "w" * 16, "v" * 16, "p" * 16, NOW)


def headers(count: int) -> list[bytes]:
    """`Cookie` headers with both, of different visitors."""
    cookies = new()
    pairs = [
        (cookies.write_ids(ids_of(number)), cookies.write_mark(MARK._replace(at=NOW + number), ids_of(number), NOW))
        for number in range(count)
    ]
    return [b"; ".join([site.OTHER_COOKIES.encode(), *(one.partition(b";")[0] for one in both)]) for both in pairs]


def timed(once: Callable[[Any], object], values: list[Any]) -> float:
    for value in values[:WARM]:
        once(value)
    began = time.process_time_ns()
    for value in values:
        once(value)
    return time.process_time_ns() - began


def reading(*, seen: bool) -> Slice:
    def run(calls: int) -> float:
        cookies = new()

        def read(header: bytes) -> None:
            ids, mark = cookies.ids((header,), NOW), cookies.mark((header,))
            if ids is None or mark is None:
                raise SystemExit("a cookie is not read")

        many = headers(100 if seen else calls + WARM)
        if seen:
            for header in many:
                read(header)
            return timed(read, [bytes(bytearray(many[number % 100])) for number in range(calls)])
        for header in many[calls:]:
            read(header)
        began = time.process_time_ns()
        for header in many[:calls]:
            read(header)
        return time.process_time_ns() - began

    return run


def writing() -> Slice:
    cookies = new()
    return lambda calls: timed(cookies.write_ids, [ids_of(number) for number in range(calls)])


def serializer(*, reads: bool) -> Slice:
    made = URLSafeTimedSerializer(SECRET)

    def run(calls: int) -> float:
        values: list[Any] = [{"bot": "bot", "chat": f"chat-{number}"} for number in range(calls)]
        if reads:
            return timed(made.loads, [made.dumps(value) for value in values])
        return timed(made.dumps, values)

    return run


def run(*, quick: bool = False) -> list[Row]:
    slices = {
        "seen": reading(seen=True),
        "new": reading(seen=False),
        "write": writing(),
        "loads": serializer(reads=True),
        "dumps": serializer(reads=False),
    }
    taken = interleave(slices, *((2, 5) if quick else (41, 500)))
    costs = {name: absolute(taken, name) for name in slices}
    return [
        Row(PART, "read ids and mark, seen before", "itsdangerous loads", costs["seen"], costs["loads"]),
        Row(PART, "read ids and mark, never seen", "itsdangerous loads", costs["new"], costs["loads"]),
        Row(PART, "write ids", "itsdangerous dumps", costs["write"], costs["dumps"]),
    ]
