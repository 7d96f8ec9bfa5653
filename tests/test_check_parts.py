"""The parts of `check`: tags of a page, bodies unpacked within bounds, cookies, words for a terminal; and the promise
that nothing a server sends can make them fail."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reve_middleware import bridge
from reve_middleware.check import caching, cookies, link, look, page, policy, refusals, report, script, tag
from reve_middleware.check.finding import Finding, Report, listed, shown
from reve_middleware.check.markup import MOST_ELEMENTS, Element, elements
from reve_middleware.check.page import Page
from reve_middleware.check.response import LARGEST_BODY, Response, origin_of, received, resolved

URL = "https://shop.example/bread"
TAG = f"<script src=/_reve/bridge.js?v={bridge.script()[1]} data-function=identify></script>".encode()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<!doctype html><html><head><title><p></title></head>", "html head title /title /head"),
        ("<!--<p>--><b><!--><i><!---><u><!-- --!><s>", "b i u s"),
        ("<!-- never ends <p>", ""),
        ("<p<b>", "p<b"),
        ("<P CLASS='a>b' data-x=\"<i>\"><br/>", "p br"),
        ("<a x='never ends", ""),
        ("<script>'<p>'</scriptx></script ><i>", "script /script i"),
        ("<script>never ends <p>", "script"),
        ("<noscript><script></script></noscript><template><p></template>", "noscript /noscript template /template"),
        ("<?xml version='1.0'?><html/><!x><//><p>", "html p"),
        ("a < b <3 <p>", "p"),
        ("<p><plaintext><i>", "p plaintext"),
    ],
)
def test_the_tags_of_a_page(text: str, names: str) -> None:
    """The tags that a browser would see, and no others."""
    assert " ".join(one.name for one in elements(text.encode())) == names


def test_the_attributes_of_a_tag() -> None:
    """Attributes in every way of writing them; the first of two counts, and character references are read."""
    text = b"<script async SRC = '/a?x=1&amp;y=2' data-x=\"a'b\" nonce=abc= =odd src=/b / >"
    assert elements(text) == [
        Element("script", {"async": "", "src": "/a?x=1&y=2", "data-x": "a'b", "nonce": "abc=", "odd": ""})
    ]


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "<a b='", '<a b="c" ', "<script>", "</", "<a =", "<!", "--!", "&amp"]
)
def test_a_long_page_takes_no_longer(piece: str) -> None:
    """Whatever a large page repeats, reading it looks at each byte a few times, and stops at so many tags."""
    found = elements(piece.encode() * (LARGEST_BODY // len(piece) // 8))
    assert len(found) <= MOST_ELEMENTS


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-Gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    ],
)
def test_bodies_are_unpacked(encoding: str, pack: Any) -> None:
    """What browsers unpack is unpacked."""
    assert received(200, [(b"Content-Encoding", encoding.encode())], pack(b"Bread")).body == b"Bread"


def test_what_cannot_be_unpacked_is_no_body() -> None:
    """Unknown encodings and broken ones leave no body."""
    assert received(200, [(b"content-encoding", b"br")], b"abc").body is None
    assert received(200, [(b"content-encoding", b"gzip")], b"abc").body is None
    assert received(200, [(b"content-encoding", b"br, gzip")], gzip.compress(b"abc")).body is None


def test_a_bomb_is_cut() -> None:
    """No body grows beyond the largest."""
    bomb = received(200, [(b"content-encoding", b"gzip")], gzip.compress(bytes(8 * LARGEST_BODY)))
    assert bomb.body is not None
    assert (len(bomb.body), bomb.is_whole) == (LARGEST_BODY, False)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Shop.Example:443/a?b", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("ftp://shop.example/", None),
        ("https:///a", None),
        ("https://[::1/", None),
        ("https://a:99999/", None),
        ("//shop.example/", None),
    ],
)
def test_origins(url: str, origin: str | None) -> None:
    """An origin as browsers write it, or none."""
    assert origin_of(url) == origin


def test_references() -> None:
    """References are resolved as browsers do, and what is none leads nowhere."""
    assert resolved(URL, " /a?b#c\n") == "https://shop.example/a?b"
    assert resolved(URL, "//cdn.example/x") == "https://cdn.example/x"
    assert resolved(URL, "javascript:1") is None
    assert resolved(URL, "http://[") is None


def test_our_cookies_are_left_out() -> None:
    """Of a browser's cookies ours are left out, whichever form they have."""
    header = "a=1; __Host-reve=x; reve-mark=y; preve=z; reve=; b=2=3;"
    assert cookies.without(header) == "a=1; preve=z; b=2=3"
    assert cookies.without(header, {"a"}) == "__Host-reve=x; reve-mark=y; preve=z; reve=; b=2=3"


def test_what_a_server_says_steers_no_terminal() -> None:
    """Words of a server are short, on one line, and visible ASCII."""
    assert shown("\x1b[2J\r\nsch\u00f6n\x9b") == "?[2J??sch?n?"
    assert shown(b"a" * 99) == "a" * 80 + "..."
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


# Nothing that a server sends can make it fail ----------------------------------------------------------

NAMES = [
    b"content-type", b"content-encoding", b"content-security-policy", b"cache-control", b"set-cookie", b"age",
    b"x-cache",
    b"vary", b"referrer-policy", b"location", b"content-length", b"allow", b"access-control-allow-origin",
]  # fmt: skip
WORDS = st.sampled_from(
    [
        b"text/html", b"text/javascript", b"application/json", b"application/problem+json", b"charset=", b";",
        b",", b"=",
        b"gzip", b"br", b"script-src", b"connect-src", b"default-src", b"'self'", b"'nonce-abc='", b"sandbox",
        b"*", b"https:",
        b"http://[", b"max-age=", b"public", b"no-store", b"__Host-reve=", b"; Path=/", b"; HttpOnly", b"HIT",
        b" ", b"\xff",
    ]
)  # fmt: skip
VALUES = st.lists(WORDS | st.binary(max_size=6), max_size=8).map(b"".join)
PIECES = st.sampled_from(
    [
        b"<head>", b"<!doctype html>", b"<html>", b"<!--", b"-->", b"<script>", b"</script>", b"<base href=",
        b"'http://[::'>",
        b"<meta http-equiv=content-security-policy content=", b"'script-src x'>", b"<script src=",
        b"/_reve/bridge.js", b"?v=",
        b"http://[/_reve/bridge.js>", b"//a:b/_reve/bridge.js ", b"data-function=", b"&#x110000;",
        b"&#xd800;", b">", b"'", b'"',
        TAG, b'{"status": ', b'"forgotten"}', b'{"detail": []}', b"[", b"reve-middleware",
    ]
)  # fmt: skip
BODIES = st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join)
RESPONSES = st.builds(
    received,
    st.sampled_from([0, 99, 200, 204, 206, 302, 401, 403, 404, 405, 413, 415, 422, 500, 999]),
    st.lists(st.tuples(st.sampled_from(NAMES) | st.binary(max_size=9), VALUES), max_size=6),
    BODIES | BODIES.map(gzip.compress),
)
MAYBE = RESPONSES | st.none()


@settings(max_examples=60, deadline=None)
@given(RESPONSES, RESPONSES, MAYBE, st.sampled_from([URL, "http://127.0.0.1:8000/", "https://[::1]:1/a//b/"]))
def test_no_page_makes_it_fail(asked: Response, plain: Response, other: Response | None, url: str) -> None:
    """Whatever the answers for page and script are, there are findings, each on one line of visible ASCII."""
    seen = Page(url, asked, plain, tag.tags_of(asked, url, None), tag.tags_of(plain, url, "/_reve"))
    found = page.status(asked) + page.compression(seen) + caching.findings(seen)
    found += page.without_tag(seen, bridge_is_there=other is not None, path="/_reve")
    for one in seen.all_tags:
        found += tag.findings([one, *seen.tags], url, "shop-bot") + policy.findings(seen, one)
        found += script.findings(one.digest, other, plain, "/_reve/bridge.js", None)
        script.other_places(one.url, url)
    found.append(look.redirect(url, resolved(url, asked.first(b"location").decode("latin-1")), asked.status))
    script.is_the_script(other)
    assert_plain(found)


@settings(max_examples=25, deadline=None)
@given(st.lists(MAYBE, min_size=12, max_size=12), MAYBE, st.booleans())
def test_no_answer_of_a_capture_path_makes_it_fail(
    answers: list[Response | None], other: Response | None, is_https: bool
) -> None:
    """Whatever the answers for the capture path are, there are findings."""
    sent = refusals.probes("https://shop.example")
    by_code = dict(zip([probe.code for probe in sent], answers, strict=True))
    found = refusals.findings(sent, by_code, URL, is_loopback=not is_https)
    found += cookies.forgetting(other, is_https=is_https) + cookies.captured(other, {"__Host-reve"}, is_https=is_https)
    found += cookies.page_with_chat(other, {"__Host-reve"}) + cookies.undone(other)
    found += refusals.findings(sent, {**by_code, "control": refusal_of_no_ids()}, URL, is_loopback=is_https)
    assert_plain(found)


def refusal_of_no_ids() -> Response:
    from reve_middleware import capture

    real = capture.refuse("ids")
    return Response(real.status, real.headers, real.body)


def assert_plain(found: list[Finding]) -> None:
    assert found
    for one in found:
        assert all(" " <= letter <= "~" for letter in one.text + one.cure), one
        assert one.level in ("ok", "info", "warning", "error")


# The report --------------------------------------------------------------------------------------------


def test_the_report() -> None:
    """One line a finding, its cure indented below, and the count; for machines the same as JSON."""
    found = [Finding("ok", "tag", "It is there."), Finding("error", "cors", "Open.", "Close it.")]
    one = Report([*found, Finding("warning", "vary", "No Vary.", "Say it."), link.UNKNOWN[0]], True)
    lines = [line for line in unstyled(report.text(one)).split("\n") if line]
    assert lines[:3] == ["ok       It is there.", "error    Open.", "         -> Close it."]
    assert lines[-1] == "1 ok, 1 warning, 1 error"
    said = json.loads(report.as_json(one))
    assert said["counts"] == {"ok": 1, "info": 1, "warning": 1, "error": 1}
    assert said["findings"][1] == {"level": "error", "code": "cors", "text": "Open.", "cure": "Close it."}
    assert (said["looked_at"], said["exit_status"]) == (True, 1)
    assert Report(found[:1], True).exit_status == 0
    assert unstyled(report.text(Report(found, False))).endswith("0 warnings, 1 error; there was no page to look at")
    assert Report(found[:1], False).exit_status == 2


def unstyled(text: str) -> str:
    import click

    return click.unstyle(text)
