"""May a response be rewritten, and how (contract §2)?"""

import pytest
from pure import make_request

from reve_middleware.inject import (
    HeadFinder,
    growing_in,
    insert,
    is_ascii_charset,
    is_for_page,
    look_at,
    page_type,
    with_tag,
)
from reve_middleware.messages import Headers, Request

HTML = (b"content-type", b"text/html; charset=utf-8")


def reason_against(request: Request, status: int, headers: Headers) -> str | None:
    reason, _, _ = look_at(status, headers)
    return reason or (
        "head"
        if request.method == "HEAD"
        else None
        if is_for_page(request.one(b"sec-fetch-dest"), request.headers)
        else "fragment"
    )


def test_a_page_may_be_rewritten() -> None:
    """A complete page, asked for by a browser or by nobody in particular, may be rewritten."""
    for pairs in ([], [("sec-fetch-dest", "document")], [("sec-fetch-dest", "iframe")], [("sec-fetch-dest", "frame")]):
        assert reason_against(make_request("GET", "/", *pairs), 200, [HTML]) is None
    assert reason_against(make_request("POST"), 200, [HTML]) is None


STATUSES = {
    200: None,
    201: None,
    203: None,
    300: None,
    400: None,
    401: None,
    404: None,
    418: None,
    500: None,
    503: None,
}
STATUSES |= dict.fromkeys([100, 101, 103, 204, 205, 206, 301, 302, 303, 304, 307, 308], "status")


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_with_a_page(status: int) -> None:
    """Error pages are pages; a part of one, a redirect and what has no body are not."""
    assert reason_against(make_request(), status, [HTML]) == STATUSES[status]


@pytest.mark.parametrize(
    ("content_type", "page"),
    [
        (b"text/html", True),
        (b"TEXT/HTML", True),
        (b" text/html ;charset=utf-8", True),
        (b"text/html;", True),
        (b"application/xhtml+xml", True),
        (b"application/xhtml+xml; charset=utf-8", True),
        (b"text/htmlx", False),
        (b"text/html-sandboxed", False),
        (b"text/html, text/plain", False),
        (b"text/plain", False),
        (b"text/plain; x=text/html", False),
        (b"application/json", False),
        (b"text/vnd.turbo-stream.html; charset=utf-8", False),
        (b"application/xml", False),
        (b"image/svg+xml", False),
        (b"text/event-stream", False),
        (b"", False),
    ],
)
def test_html_and_xhtml_are_pages(content_type: bytes, page: bool) -> None:
    """A page is `text/html` or XHTML, and nothing that only begins like it."""
    headers = [(b"Content-Type", content_type)]
    assert page_type(headers) == (content_type if page else None)
    assert reason_against(make_request(), 200, headers) == (None if page else "type")


def test_no_type_or_two_is_no_page() -> None:
    """A response that has no content type, or two, is left alone."""
    assert reason_against(make_request(), 200, []) == "type"
    assert reason_against(make_request(), 200, [HTML, HTML]) == "type"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ((b"Content-Encoding", b"gzip"), "encoded"),
        ((b"content-encoding", b"BR"), "encoded"),
        ((b"content-encoding", b"identity, gzip"), "encoded"),
        ((b"content-encoding", b" Identity "), None),
        ((b"content-encoding", b""), None),
        ((b"Content-Disposition", b'attachment; filename="x.html"'), "attachment"),
        ((b"content-disposition", b" ATTACHMENT"), "attachment"),
        ((b"content-disposition", b"inline"), None),
        ((b"Cache-Control", b"public, No-Transform"), "no_transform"),
        ((b"cache-control", b"no-store"), None),
        ((b"Content-MD5", b"x"), "digest"),
        ((b"digest", b"x"), "digest"),
        ((b"Content-Digest", b"x"), "digest"),
        ((b"repr-digest", b"x"), "digest"),
        ((b"want-digest", b"x"), None),
        ((b"Content-Length", b"0"), "empty"),
        ((b"content-length", b"10"), None),
        ((b"etag", b'"x"'), None),
    ],
)
def test_headers_that_forbid_it(more: tuple[bytes, bytes], reason: str | None) -> None:
    """An encoded body, a download, `no-transform`, a digest of the body and an empty body are each a reason."""
    assert reason_against(make_request(), 200, [HTML, more]) == reason
    assert reason_against(make_request(), 200, [more, HTML]) == reason


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("hx-request", "true")], "fragment"),
        ([("hx-request", "TRUE")], "fragment"),
        ([("hx-request", "true"), ("hx-boosted", "true")], None),
        ([("hx-boosted", "true"), ("hx-request", "true")], None),
        ([("hx-request", "false")], None),
        ([("x-requested-with", "XMLHttpRequest")], "fragment"),
        ([("x-requested-with", "com.example.webview")], "fragment"),
        ([("sec-fetch-dest", "empty")], "fragment"),
        ([("sec-fetch-dest", "script")], "fragment"),
        ([("sec-fetch-dest", "fencedframe")], "fragment"),
        ([("sec-fetch-dest", "")], "fragment"),
        ([("sec-fetch-dest", "document"), ("x-requested-with", "com.example.webview")], None),
        ([("sec-fetch-dest", "empty"), ("hx-request", "true"), ("hx-boosted", "true")], "fragment"),
        ([("sec-fetch-mode", "navigate")], None),
    ],
)
def test_a_visible_fragment_is_left_alone(pairs: list[tuple[str, str]], reason: str | None) -> None:
    """What htmx (not boosted), XMLHttpRequest or `fetch` asks for is no page, whatever its type. Where the browser says
    that it navigates, it does: Android's WebView names its application in `X-Requested-With` then, too."""
    assert reason_against(make_request("GET", "/", *pairs), 200, [HTML]) == reason


def test_head_is_left_alone() -> None:
    """A `HEAD` request's response has no body, and keeps its length."""
    assert reason_against(make_request("HEAD"), 200, [HTML]) == "head"


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii", "iso-8859-1", "latin1", "ISO-8859-15", "windows-1252",
     "windows-1250", "cp874", "koi8-r", "koi8-u", "macintosh", "shift_jis", "cp932", "euc-jp", "euc-kr",
     "gb2312", "gbk", "gb18030", "big5"],
)  # fmt: skip
def test_charsets_in_which_the_tag_is_the_same_bytes(charset: str) -> None:
    """In a charset that writes `<head>` as ASCII does, the tag may go in."""
    assert is_ascii_charset(b"text/html; charset=" + charset.encode())
    assert is_ascii_charset(b"text/html; x=y ;Charset = " + charset.encode() + b"; z=1")


@pytest.mark.parametrize(
    "charset",
    ["utf-16", "utf-16le", "utf-16be", "utf-32", "utf-7", "cp037", "cp500", "iso-2022-jp", "hz", "utf-8-sig", "hex",
     "rot13", "base64", "idna", "unicode_escape", "x-unknown", "none", "\xff", "a" * 5000, "../utf-8", "\0"],
)  # fmt: skip
def test_other_and_unknown_charsets_are_left_alone(charset: str) -> None:
    """UTF-16, EBCDIC, escaping and unknown charsets are left alone."""
    content_type = b"text/html; charset=" + charset.encode("latin-1")
    assert not is_ascii_charset(content_type)
    assert reason_against(make_request(), 200, [(b"content-type", content_type)]) == "charset"


def test_without_a_charset_the_bytes_decide() -> None:
    """Where no charset is named the tag may go in; a page in UTF-16 has no `<head>` in its bytes."""
    assert is_ascii_charset(b"text/html")
    assert is_ascii_charset(b"text/html; charset=")
    page = "<!doctype html><head>"
    for encoded in (page.encode("utf-16"), page.encode("utf-16-le"), page.encode("utf-16-be"), page.encode("utf-32")):
        assert HeadFinder().feed(encoded, last=True) == HeadFinder.NONE


# The rewriting itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "offset", "changed"),
    [
        ([b"abc"], 0, [b"Xabc"]),
        ([b"abc"], 1, [b"aXbc"]),
        ([b"abc"], 3, [b"abcX"]),
        ([b"ab", b"c"], 2, [b"abX", b"c"]),
        ([b"ab", b"", b"cd"], 3, [b"ab", b"", b"cXd"]),
        ([b"", b"ab"], 1, [b"", b"aXb"]),
    ],
)
def test_insert_keeps_the_chunks(chunks: list[bytes], offset: int, changed: list[bytes]) -> None:
    """The tag is put into the one chunk where it belongs; the others stay the same objects."""
    result = insert(chunks, offset, b"X")
    assert result == changed
    assert sum(one is other for one, other in zip(result, chunks, strict=True)) >= len(chunks) - 1


def test_length_grows_and_a_strong_etag_becomes_weak() -> None:
    """`Content-Length` grows by exactly the tag, a strong `ETag` becomes weak; everything else keeps name, value and
    place."""
    headers: Headers = [
        (b"X-First", b"1"),
        (b"Content-Length", b" 10 "),
        (b"ETag", b'"abc"'),
        (b"etag", b'W/"abc"'),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"content-length", b"x"),
    ]
    before = list(headers)
    assert with_tag(headers, growing_in(headers), 32) == [
        (b"X-First", b"1"),
        (b"Content-Length", b"42"),
        (b"ETag", b'W/"abc"'),
        (b"etag", b'W/"abc"'),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"content-length", b"x"),
    ]
    assert headers == before, "the application's own list is not touched"
