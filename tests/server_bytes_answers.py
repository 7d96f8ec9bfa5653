"""What the site of tests/server_bytes_site.py answers, path by path, and which of it are pages that get the tag."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from reve_middleware.visitor import KEY

PATIENCE = 20.0
"""Seconds after which what waits goes on by itself; the test has failed before."""
FOLDER = Path(os.environ.get("SITE_FOLDER", "."))
"""Has `page.html` and `data.bin`."""
HANDED = ("X-File", "1")
"""On an answer whose file is handed to the server."""
PIECE = b"x" * 65536
PIECES = 64

HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain")
SOURCE = ("X-App", "1")
"""On every answer that the application made, and on none that the server made."""
HEAD = b"<!doctype html>\n<html><head>"
BODY = b"<title>Shop</title></head><body>" + b"<p>text</p>" * 40 + b"</body></html>"
PAGE = HEAD + BODY

Headers = list[tuple[str, str]]


class Failure(Exception):
    """What the application raises."""


class Wait(NamedTuple):
    """The application waits until the test hangs up."""


WAIT, FAIL = Wait(), Failure()
Step = bytes | str | Wait | Failure


class Made(NamedTuple):
    """An answer, before it is messages or an iterable."""

    headers: Headers
    steps: tuple[Step, ...] = (PAGE,)
    status: str = "200 OK"
    length: int | None = None
    """What `Content-Length` says, where it is not the sum of the steps; -1: there is none."""

    def all_headers(self) -> Headers:
        length = sum(len(step) for step in self.steps if isinstance(step, (bytes, str)))
        length = length if self.length is None else self.length
        return [*self.headers, SOURCE, *([("Content-Length", str(length))] if length >= 0 else [])]


COOKIES = [("Set-Cookie", f"c{number}=v; Path=/") for number in range(12)]
EVENTS = ("Content-Type", "text/event-stream")
THIRDS = (HEAD[:20], HEAD[20:] + BODY[:9], BODY[9:])
PAGES = {
    "/page": Made([HTML]),
    "/etag": Made([HTML, ("ETag", '"one"'), ("Vary", "Accept-Encoding")]),
    "/weak": Made([HTML, ("ETag", 'W/"one"')]),
    "/thirds": Made([HTML], THIRDS),
    "/streamed": Made([HTML], THIRDS, length=-1),
    "/etag-streamed": Made([HTML, ("ETag", '"one"')], THIRDS, length=-1),
    "/one-chunk": Made([HTML], length=-1),
    "/empty-chunks": Made([HTML], (b"", HEAD, b"", BODY, b"")),
    "/empty-chunks-streamed": Made([HTML], (b"", HEAD, b"", BODY, b""), length=-1),
    "/cookies": Made([HTML, *COOKIES, ("X-Twice", "1"), ("X-Other", ""), ("X-Twice", "2"), ("x-LOWER", "caf\xe9")]),
    "/not-found": Made([HTML], status="404 Not Found"),
    "/sorry": Made([HTML], status="500 Sorry"),
    "/cached": Made([HTML, ("Cache-Control", "max-age=60")]),
    "/public": Made([HTML, ("Cache-Control", "public, max-age=60")]),
    "/long": Made([HTML], (HEAD + BODY * 200, *[BODY * 400] * 4)),
    "/too-short": Made([HTML], length=len(PAGE) + 50),
    "/too-long": Made([HTML], length=len(PAGE) - 50),
    "/page-of-events": Made([HTML], (HEAD, WAIT, BODY), length=-1),
    "/fails-in-page": Made([HTML], (HEAD, FAIL), length=len(PAGE)),
    "/fails-in-streamed-page": Made([HTML], (HEAD, FAIL), length=-1),
}
"""Documents with a head."""
OTHERS = {
    # HTML that gets no tag
    "/part": Made([HTML], (b"<p>a part of a page</p>",)),
    "/part-streamed": Made([HTML], (b"<p>a part</p>", b"<p>of a page</p>"), length=-1),
    "/part-of-events": Made([HTML], (b"<p>a part</p>", WAIT, b"<p>of a page</p>"), length=-1),
    "/no-head": Made([HTML], (b"<!doctype html>\n", b"<title>x</title>")),
    "/unfinished": Made([HTML], (HEAD[:9], HEAD[9:20])),
    "/unfinished-streamed": Made([HTML], (HEAD[:9], HEAD[9:20]), length=-1),
    "/no-bytes": Made([HTML], (b"",)),
    "/no-bytes-streamed": Made([HTML], (), length=-1),
    "/digest": Made([HTML, ("Content-Digest", "sha-256=:x:")]),
    "/range": Made([HTML, ("Content-Range", "bytes 0-9/99")], (PAGE[:10],), "206 Partial Content"),
    "/redirect": Made([HTML, ("Location", "/page")], status="302 Found"),
    "/not-modified": Made([("ETag", '"one"')], (), "304 Not Modified", length=-1),
    "/not-modified-length": Made([HTML, ("ETag", '"one"')], (), "304 Not Modified", length=len(PAGE)),
    "/none": Made([], (), "204 No Content", length=-1),
    "/fails-before-head": Made([HTML], (HEAD[:20], FAIL), length=len(PAGE)),
    "/fails-after-start": Made([HTML], (b"", FAIL), length=len(PAGE)),
    "/fails-before-streamed-head": Made([HTML], (HEAD[:20], FAIL), length=-1),
    # No HTML
    "/json": Made([("Content-Type", "application/json")], (b'{"a": 1}',)),
    "/text-streamed": Made([TEXT], (b"one\n", b"two\n", b"three\n"), length=-1),
    "/empty": Made([TEXT], (b"",)),
    "/events": Made([EVENTS], (b"data: 1\n\n", WAIT, b"data: 2\n\n"), length=-1),
    "/fails-in-text": Made([TEXT], (b"one\n", FAIL), length=20),
    "/fails-in-streamed-text": Made([TEXT], (b"one\n", FAIL), length=-1),
    **{f"/status-{code}": Made([TEXT], (b"odd",), f"{code} Odd") for code in (203, 299, 418, 451, 500, 599)},
}
ANSWERS = PAGES | OTHERS
STR = {"/str": Made([HTML], (PAGE.decode(),)), "/str-in-page": Made([HTML], (HEAD, BODY.decode()))}
"""Answers that break WSGI's rules."""


def address(query: str) -> tuple[str, int]:
    return "127.0.0.1", int(parse_qs(query)["port"][0])


def request_seen(request: dict[str, Any]) -> bytes:
    """What the application sees of the request, but for what changes from one to the next."""
    changing = ("client", "REMOTE_PORT", "HTTP_X_WAY", "mod_wsgi.")
    names = sorted(name for name in request if name != KEY and not name.startswith(changing))
    seen = {name: str(_plain(request[name])) for name in names}
    return json.dumps(seen, indent=1).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value if b"x-way" not in (one if isinstance(one, tuple) else ())]
    return value if isinstance(value, (str, bytes, int, float, bool, type(None))) else type(value).__name__


def file_of(path: str, *, handed: bool) -> tuple[Made, Path]:
    file = FOLDER / ("page.html" if path == "/file-page" else "data.bin")
    kind = HTML if path == "/file-page" else ("Content-Type", "application/octet-stream")
    return Made([kind, *([HANDED] if handed else [])], length=file.stat().st_size), file
