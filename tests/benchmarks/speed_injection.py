"""The tag, by size of the page and by chunks, ASGI: against a plain injector that joins, searches and copies."""

from __future__ import annotations

import asyncio

import speed_site as site
from speed_asgi import PAGE, Contestant, Requests, check, slices_of
from speed_peers import PlainInjector
from speed_rounds import Row, added, interleave

PART = "injection"
SIZES = {"1 kB": 1_000, "10 kB": 10_000, "100 kB": 100_000, "1 MB": 1_000_000}
CHUNKS = (1, 10, 100)


def run(*, quick: bool = False) -> list[Row]:
    reader = Requests(PAGE, [site.OTHER_COOKIES])
    rows: list[Row] = []
    loop = asyncio.new_event_loop()
    try:
        for size, length in SIZES.items():
            found: dict[str, Contestant] = {}
            for count in CHUNKS:
                app = site.html_app(site.chunks_of(site.html_page(length), count))
                found[f"ours in {count}"] = Contestant(site.wrapped(app), app, reader, tags=1)
                found[f"plain in {count}"] = Contestant(PlainInjector(app), app, reader, tags=1)
            check(loop, found)
            calls = max(10, min(200, 10_000_000 // length))
            taken = interleave(slices_of(loop, found), *((2, 3) if quick else (31, calls)))
            for count in CHUNKS:
                ours, plain = (added(taken, f"{name} in {count}") for name in ("ours", "plain"))
                case = f"HTML {size} in {count} chunk{'s' if count > 1 else ''}"
                rows.append(Row(PART, case, "plain injector", ours, plain))
    finally:
        loop.close()
    return rows
