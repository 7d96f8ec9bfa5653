"""However a body is cut, both shells and every kind of application make the same bytes of it."""

from itertools import pairwise
from typing import Any

from drive import WSGI_STYLES, Call, Last, ShellKind, Start, asgi_app, call_asgi, call_wsgi, wsgi_app
from hypothesis import given, settings
from hypothesis import strategies as st
from test_table import TAG

PIECES = [
    b"<!doctype html>", b"<!DOCTYPE", b"<html", b"<html>", b"<head", b"<head>", b"<header>", b" lang='>'", b">", b"<",
    b"<!--", b"-->", b"--!>", b"-", b"\xef\xbb\xbf", b"\xef", b"\n", b" ", b'"', b"<?xml?>", b"x", b"</head>", b"\x00",
]  # fmt: skip
bodies = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)
cuts = st.lists(st.integers(0, 60), max_size=6)
KINDS = {name: ShellKind(name) for name in ("asgi", "wsgi")}


def through(form: str, chunks: list[bytes], headers: list[tuple[str, str]]) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and headers of a page that comes in these chunks."""

    def app(_: Any) -> Any:
        yield Start(200, headers)
        yield from chunks[:-1]
        yield Last(chunks[-1])

    protocol, _, style = form.partition("-")
    if protocol == "asgi":
        reply = call_asgi(KINDS["asgi"].wrap(asgi_app(app)), Call())
    else:
        reply = call_wsgi(KINDS["wsgi"].wrap(wsgi_app(app, style)), Call())
    return reply.body, reply.headers


@settings(max_examples=60, deadline=None)
@given(body=bodies, at=cuts, sized=st.booleans())
def test_however_a_body_is_cut_the_same_bytes_come_out(body: bytes, at: list[int], sized: bool) -> None:
    """At most one tag is put in, at the same place however the body is cut and whoever sends it; the rest is kept."""
    headers = [("Content-Type", "text/html"), *([("Content-Length", str(len(body)))] if sized else [])]
    places = sorted({0, len(body), *(cut for cut in at if cut < len(body))})
    chunks = [body[start:end] for start, end in pairwise(places)] or [b""]
    whole = through("asgi", [body], headers)
    assert whole[0] == body or whole[0].replace(TAG, b"", 1) == body
    assert (whole[0] != body) <= (b"<head" in body.lower())
    for form in ("asgi", *(f"wsgi-{style}" for style in WSGI_STYLES)):
        assert through(form, chunks, headers) == whole, form
