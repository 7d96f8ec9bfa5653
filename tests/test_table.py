"""One table of responses, through both shells: what goes in, and the same bytes out.

A body has `@` where the tag must stand; without one the response must come out untouched. Every line runs as an
ASGI application and as four kinds of WSGI application, with and without Content-Length, for four visitors.
"""

import hashlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from drive import HOST, KEY, WSGI_STYLES, Call, Last, Reply, ShellKind, Start, asgi_app, call_asgi, call_wsgi, wsgi_app

import reve_middleware
from reve_middleware.cookie import Cookies, Ids

SCRIPT = (Path(reve_middleware.__file__).parent / "bridge.js").read_bytes()
URL = f"/_reve/bridge.js?v={hashlib.sha256(SCRIPT).hexdigest()[:16]}"
TAG = f'<script src="{URL}" data-function="identify" data-bot="bot"></script>'.encode()
NONCED = TAG.replace(b"></script>", b' nonce="r4nd0m"></script>')
BORDER = 64 * 1024
HEAD = b"<!doctype html><html><head>@<title>x</title></head><body></body></html>"
PLAIN = HEAD.replace(b"@", b"")


class Line(NamedTuple):
    """One line of the table."""

    name: str
    chunks: tuple[bytes, ...]
    """Of the body, `@` where the tag must stand."""
    status: int = 200
    method: str = "GET"
    asked: dict[str, str] = {}  # noqa: RUF012
    """Headers of the request."""
    headers: dict[str, str] = {}  # noqa: RUF012
    changed: dict[str, str] = {}  # noqa: RUF012
    """Headers that must differ, other than Content-Length."""
    tag: bytes = TAG
    told: bool = False
    """Untouched already because of the head of request or response: WSGI's iterable is the same object."""
    marked: bool = True
    """Is a visitor with a chat looked at?"""
    lengths: tuple[bool, ...] = (True, False)
    """With a Content-Length, without one, or both."""


def page(name: str, *chunks: bytes, **more: Any) -> Line:
    return Line(name, chunks, **more)


def told(name: str, *chunks: bytes, **more: Any) -> Line:
    return Line(name, chunks or (PLAIN,), told=True, **more)


def padded(end: int, *, tag: bool) -> bytes:
    """A page whose head tag ends at this byte."""
    before = b"<!doctype html><!--" + b"-" * (end - 19 - 3 - 12) + b"--><html><head>"
    assert len(before) == end
    return before + (b"@" if tag else b"") + b"</head></html>"


LONG = padded(BORDER, tag=True)


def csp(policy: str) -> dict[str, str]:
    return {"Content-Security-Policy": policy}


def bytewise(body: bytes) -> list[bytes]:
    """One chunk for each byte; the mark stands with the byte before it."""
    before, after = body.split(b"@")
    chunks = [bytes([one]) for one in before + after]
    chunks[len(before) - 1] += b"@"
    return chunks


TABLE = [
    # The tag goes in.
    page("whole page", HEAD),
    page("head split over chunks", b"<!doctype html><html><he", b"ad>@<title>x</title>", b"</head></html>"),
    page("head at the end of a chunk", b"<html><head>@", b"</head></html>"),
    page("byte by byte", *bytewise(HEAD)),
    page("empty chunks first", b"", b"", HEAD),
    page("everything behind the page's end", HEAD, b"<!-- more -->", b"\n"),
    page("comment before the head", b"<!-- <head> --><html><!-- <head>--!><head>@</head></html>"),
    page("comments byte by byte", *bytewise(b"<!-- a --!><html><!--b--><head>@</head>")),
    page("comment that ends at once", b"<!--><html><head>@</head><!-- x -->"),
    page("comment that almost ends at once", b"<html><!---><head>@</head><!-- x -->"),
    page("byte order mark", b"\xef\xbb\xbf" + HEAD),
    page("byte order mark split", b"\xef", b"\xbb", b"\xbf<html>", b"<head>@</head>"),
    page("blanks first", b" \r\n\t\f", b"\n" + HEAD),
    page("no doctype", b"<html><head>@</head></html>"),
    page("nothing but a head", b"<head>@</head>"),
    page("capitals", b"<!DOCTYPE HTML><HTML><HEAD>@</HEAD></HTML>"),
    page("old doctype", b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"\n "http://w3.example/x.dtd">\n<head>@'),
    page("legacy doctype", b'<!doctype\thtml SYSTEM "about:legacy-compat" ><html><head>@</head>'),
    page("attributes", b"""<html lang=en data-a="b>c" class='d>"e' hidden><head prefix="<head>" >@</head>"""),
    page("attributes over lines", b"<html\n  lang = 'en'\n><head\n>@</head>"),
    page("XHTML", b"<?xml version='1.0'?>\n<html><head>@</head>", headers={"Content-Type": "application/xhtml+xml"}),
    page("type in capitals", HEAD, headers={"Content-Type": "Text/HTML"}),
    page("content type in any letters", HEAD, headers={"Content-Type": "tEXT/HTmL"}),
    page("charset in quotes", HEAD, headers={"Content-Type": 'text/html;charset="UTF-8"'}),
    page("charset like ASCII", b"<head>@<title>\xe4\x80", headers={"Content-Type": "text/html; charset=cp1252"}),
    page("error page", HEAD, status=404),
    page("fault page", HEAD, status=500),
    page("answer to a POST", HEAD, method="POST"),
    page("boosted htmx", HEAD, asked={"HX-Request": "true", "HX-Boosted": "true"}),
    page("document", HEAD, asked={"Sec-Fetch-Dest": "document"}),
    page("frame", HEAD, asked={"Sec-Fetch-Dest": "iframe"}),
    page("strong ETag", HEAD, headers={"ETag": '"abc"'}, changed={"etag": 'W/"abc"'}),
    page("weak ETag", HEAD, headers={"ETag": 'W/"abc"'}),
    page("identity encoding", HEAD, headers={"Content-Encoding": "identity"}),
    page("inline", HEAD, headers={"Content-Disposition": "inline"}),
    page("policy with nonce", HEAD, headers=csp("script-src 'nonce-r4nd0m'"), tag=NONCED),
    page("policy with nonce, strict", HEAD, headers=csp("script-src 'strict-dynamic' 'nonce-r4nd0m'"), tag=NONCED),
    page("policy with self", HEAD, headers=csp("default-src 'self'; img-src *")),
    page("policy that names us", HEAD, headers=csp(f"script-src https://{HOST}; connect-src https://{HOST}/_reve/")),
    page("policy only reported", HEAD, headers={"Content-Security-Policy-Report-Only": "default-src 'none'"}),
    page("head ends at 64 KiB", padded(BORDER, tag=True)),
    page("head ends at 64 KiB, in chunks", LONG[:999], LONG[999:-30], LONG[-30:]),
    # It does not, as the head of request or response tells.
    told("JSON", b'{"a": "<head>"}', headers={"Content-Type": "application/json"}),
    told("text", headers={"Content-Type": "text/plain"}),
    told("almost HTML", headers={"Content-Type": "application/html"}),
    told("fragment for htmx", asked={"HX-Request": "true"}),
    told("fragment for a script", asked={"X-Requested-With": "XMLHttpRequest"}),
    told("fragment for fetch", asked={"Sec-Fetch-Dest": "empty"}),
    told("image", asked={"Sec-Fetch-Dest": "image"}, marked=False),
    told("script", asked={"Sec-Fetch-Dest": "script"}, marked=False),
    told("gzip", b"\x1f\x8b<head>", headers={"Content-Encoding": "gzip"}),
    told("Brotli", headers={"Content-Encoding": "BR"}),
    told("attachment", headers={"Content-Disposition": 'Attachment; filename="a.html"'}),
    told("no-transform", headers={"Cache-Control": "max-age=5, No-Transform"}),
    told("206", status=206, headers={"Content-Range": "bytes 0-0/1"}),
    told("204", b"", status=204, headers={"Content-Type": ""}, lengths=(False,)),
    told("304", b"", status=304, headers={"Content-Type": "", "ETag": '"abc"'}, lengths=(False,)),
    told("redirect", status=302, headers={"Location": "/"}),
    told("HEAD", b"", method="HEAD", headers={"Content-Length": "70", "ETag": '"abc"'}, lengths=(False,)),
    told("empty body, said so", b"", lengths=(True,)),
    told("UTF-16", PLAIN.decode().encode("utf-16"), headers={"Content-Type": "text/html; charset=utf-16"}),
    told("UTF-7", headers={"Content-Type": "text/html; charset=utf-7"}),
    told("unknown charset", headers={"Content-Type": "text/html; charset=x-unheard-of"}),
    told("Content-MD5", headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
    told("Digest", headers={"Digest": "sha-256=x"}),
    told("Content-Digest", headers={"Content-Digest": "sha-256=:x:"}),
    told("Repr-Digest", headers={"Repr-Digest": "sha-256=:x:"}),
    told("policy without us", headers=csp("script-src 'unsafe-inline' https://cdn.example")),
    told("policy that wants hashes", headers=csp("script-src 'self' 'strict-dynamic'")),
    told("policy that forbids the report", headers=csp("script-src 'self'; connect-src https://api.example")),
    told("two policies, none about us but one", headers=csp("img-src 'self', script-src 'none'")),
    told("two policies, one without us", headers=csp("script-src 'self', script-src 'none'")),
    # It does not, as the body tells.
    page("no head", b"<!doctype html><html><body><p>x</p></body></html>"),
    page("header first", b"<header>x</header><head></head>"),
    page("header in html", b"<html><header>x</header><head></head>"),
    page("fragment", b"<p>x</p><head></head>"),
    page("text", b"x<head></head>"),
    page("script before the head", b"<script>'<head>'</script><head></head>"),
    page("a head in a comment", b"<!doctype html><!-- <html><head></head> -->"),
    page("a comment without end", b"<!doctype html><!-- <head> ", b"-- >"),
    page("ends within the tag", b"<!doctype html><html><hea"),
    page("a stray quote", b"<html \"><head></head>"),
    page("empty body", b"", lengths=(False,)),
    page("empty body in pieces", b"", b"", lengths=(False,)),
    page("blanks alone", b" \n"),
    page("head ends behind 64 KiB", padded(BORDER + 1, tag=False)),
    page("head ends behind 64 KiB, in chunks", padded(BORDER + 1, tag=False)[:BORDER], b"><p>", b"</p>"),
    page("no end of a comment in 64 KiB", b"<!--" + b"x" * BORDER, b"--><head></head>"),
]  # fmt: skip
FORMS = ("asgi", *(f"wsgi-{style}" for style in WSGI_STYLES))
VISITORS = ("stranger", "chat", "known", "twice")
"""Without a chat; with one, but not logged in; with one and logged in; the same of a site that is wrapped twice."""
COOKIES = Cookies("reve", [KEY], dev=False)


def profile(request: Any) -> Any:
    return {"id": 7} if request.cookies.get("user") else None


def chat_cookie() -> str:
    ids = COOKIES.write_ids(Ids("bot", "s-1", time.time_ns() // 1000))
    return ids.partition(b";")[0].decode()


def through(form: str, line: Line, headers: dict[str, str], visitor: str) -> tuple[Reply, Any]:
    """The line's reply, and the application it came from."""
    protocol, _, style = form.partition("-")
    kind = ShellKind(protocol)
    sent = tuple(chunk.replace(b"@", b"") for chunk in line.chunks)

    def app(_: Any) -> Any:
        yield Start(line.status, list(headers.items()))
        yield from sent[:-1]
        yield Last(sent[-1])

    application = asgi_app(app) if protocol == "asgi" else wsgi_app(app, style)
    layer = kind.wrap(application, profile=profile)
    if visitor == "twice":
        layer = kind.wrap(layer, profile=profile)
    cookies = {"stranger": "a=b", "chat": chat_cookie()}.get(visitor, f"{chat_cookie()}; user=ada")
    call = Call(line.method, "/", {"Host": HOST, "Cookie": cookies, **line.asked}.items())
    try:
        return (call_asgi if protocol == "asgi" else call_wsgi)(layer, call), application
    finally:
        kind.close()


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("line", TABLE, ids=[line.name for line in TABLE])
def test_the_same_bytes_come_out_of_both_shells(line: Line, form: str) -> None:
    """A page gets the tag behind its head and nothing else; what is no page leaves bit for bit as it came."""
    rewritten = any(b"@" in chunk for chunk in line.chunks)
    chunks = [chunk.replace(b"@", line.tag) for chunk in line.chunks]
    for length in line.lengths:
        headers = {"Content-Type": "text/html; charset=utf-8", "X-Other": "1", **line.headers}
        headers = {name: value for name, value in headers.items() if value}
        expected = {name.lower(): value for name, value in headers.items()} | line.changed
        if length:
            headers["Content-Length"] = str(len(b"".join(line.chunks).replace(b"@", b"")))
            expected["content-length"] = str(len(b"".join(chunks)))
        for visitor in VISITORS:
            where = f"length {length}, visitor {visitor}"
            reply, application = through(form, line, headers, visitor)
            assert reply.body == b"".join(chunks), where
            assert [chunk for chunk in reply.chunks if chunk] == [chunk for chunk in chunks if chunk], where
            assert reply.status == line.status, where
            marked = visitor in ("known", "twice") and line.marked
            got = list(reply.headers)
            if marked:
                assert got.pop()[1].startswith("__Host-reve-mark="), where
                assert "private" in got.pop()[1], where
                expected_now = {name: value for name, value in expected.items() if name != "cache-control"}
            else:
                expected_now = expected
            assert got == list(expected_now.items()), where
            if form == "asgi":
                new = [ours is not theirs for ours, theirs in zip(reply.raw, application.sent, strict=True)]
                assert sum(new[1:]) == rewritten, where
                grown = rewritten and any(name.lower() in ("content-length", "etag") for name in headers)
                assert new[0] == (marked or grown), where
            elif form in ("wsgi-early", "wsgi-list", "wsgi-write") and line.told:
                assert reply.raw is application.returned, where
            if form in ("wsgi-early", "wsgi-lazy"):
                assert application.closed == 1, where


ENCODED = (
    "a page is compressed already when it comes here, so the script is not put in: "
    "put the compression outside of this middleware"
)
POLICY = "a page's Content-Security-Policy does not allow the script, so the page is not touched: add "
NO_HEAD = (
    "a page has no <head> tag within its first 64 KiB, so the script is not put in: give it one, or place "
    "script_tag() by hand. Where it is meant to have none, name its path in exclude="
)
SAID = {
    "gzip": [("WARNING", "encoded", ENCODED)],
    "policy without us": [("WARNING", "policy", POLICY + "script-src 'self', or a nonce")],
    "policy that forbids the report": [("WARNING", "policy", POLICY + "connect-src 'self'")],
    "no head": [("WARNING", "no_head", NO_HEAD)],
    "whole page": [],
    "JSON": [],
    "fragment for htmx": [],
    "HEAD": [],
    "no-transform": [],
    "UTF-16": [],
    "Digest": [],
}


@pytest.mark.parametrize("name", SAID)
def test_why_a_page_is_not_touched_is_said_once(name: str, shell: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """What a site should mend is said once, with the cure; what is left alone on purpose is not spoken of."""
    caplog.set_level("INFO", "reve_middleware")
    line = next(line for line in TABLE if line.name == name)
    headers = {"Content-Type": "text/html", **line.headers}
    site = shell.site(lambda _: [Start(line.status, headers.items()), *line.chunks])
    for _ in range(2):
        site.request(line.method, "/", **{name.lower().replace("-", "_"): value for name, value in line.asked.items()})
    said: list[Any] = [(one.levelname, one.__dict__["reve"], one.getMessage()) for one in caplog.records]
    assert said == SAID[name]
