"""What holds for any page: where it is cut does not matter, nothing but the tag changes, and a browser's parser sees
the script first in the head (contract §2)."""

from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reve_middleware.inject import HELD_BACK, HeadFinder, insert

TAG = b'<script src="/_reve/bridge.js?v=1" data-function="identify"></script>'
NONE, MORE = HeadFinder.NONE, HeadFinder.MORE


def whole(page: bytes) -> int:
    return HeadFinder().feed(page, last=True)


def cut(page: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(page) + 1) for place in at), len(page)]
    return [page[start:end] for start, end in pairwise(edges)]


def fed(chunks: list[bytes], *, end: bool) -> tuple[int, int]:
    """The verdict over chunks, and how many it took; `end`: does an empty last chunk say that it is the end?"""
    finder = HeadFinder()
    for number, chunk in enumerate(chunks, 1):
        found = finder.feed(chunk, last=not end and number == len(chunks))
        if found != MORE:
            return found, number
    return finder.feed(b"", last=True), len(chunks) + 1


TOKENS = st.sampled_from(
    [
        b"<!doctype html>", b"<!DOCTYPE html PUBLIC 'x'>", b"<html>", b"<html lang=en>", b'<html a="<head>">',
        b"<head>", b"<HEAD a='>'>", b"<head\n", b"<header>", b"<!--", b"-->", b"--!>", b"<!-->", b"-", b">", b"<",
        b"<head", b" ",
        b"\n", b"\xef\xbb\xbf", b"<?xml version='1.0'?>", b"<script>", b"</script>", b"<title>", b"x", b'"', b"'", b"/",
        b"=", b"\0", b"\xff", b"\x0b", b"<!doctype", b"html",
    ]
)  # fmt: skip
SOUP = st.lists(TOKENS, max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 300), max_size=8)


@given(SOUP | st.binary(max_size=40), CUTS, st.booleans())
@effort(max_examples=150, deadline=None)
def test_where_a_page_is_cut_does_not_matter(page: bytes, at: list[int], end: bool) -> None:
    """For any page and any cuts, the head is found where it is found in the whole; and nothing ever raises."""
    assert fed(cut(page, at), end=end)[0] == whole(page)


@given(SOUP)
@effort(max_examples=200, deadline=None)
def test_byte_by_byte(page: bytes) -> None:
    """Byte by byte the same place is found, with the head's last byte and no later."""
    found, taken = fed([page[i : i + 1] for i in range(len(page))], end=True)
    assert found == whole(page)
    if found != NONE:
        assert taken == found


@given(
    st.sampled_from([b"<!--", b"<!doctype html ", b"<html a='", b"<?", b"", b"<html>"]),
    st.integers(-12, 12),
    st.sampled_from([b"--><head>", b"><head>", b"'><head>", b"<head>", b"<head a='b'>"]),
    st.lists(st.integers(HELD_BACK - 12, HELD_BACK + 12), max_size=4),
)
@effort(max_examples=150, deadline=None)
def test_the_border_of_64_kib_is_the_same_for_any_cuts(start: bytes, more: int, stop: bytes, at: list[int]) -> None:
    """At the 64 KiB border too, where a page is cut decides nothing."""
    page = (start + b" " * (HELD_BACK - len(start) - len(stop) + more) + stop).ljust(HELD_BACK + 20, b"x")
    found, _ = fed(cut(page, at), end=False)
    assert found == whole(page)
    assert found <= HELD_BACK


@given(SOUP, CUTS)
@effort(max_examples=150, deadline=None)
def test_nothing_but_the_tag_is_added(page: bytes, at: list[int]) -> None:
    """Without the tag, what comes out is what came in, chunk by chunk."""
    offset = whole(page)
    chunks = cut(page, at)
    if offset == NONE:
        return
    changed = insert(chunks, offset, TAG)
    assert b"".join(changed) == page[:offset] + TAG + page[offset:]
    assert [len(one) - len(other) for one, other in zip(changed, chunks, strict=True)].count(0) == len(chunks) - 1


# A reference: Python's own parser ---------------------------------------------------------------


class Outline(HTMLParser):
    """What comes before the first tag that is neither `html` nor `head`, and that tag."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.first: dict[str, str | None] | None = None
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.first is None:
            self.seen.append(tag)
            if tag not in ("html", "head"):
                self.first = dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.first is None:
            self.seen.append("/" + tag)

    def handle_data(self, data: str) -> None:
        if self.first is None:
            self.text += data


def outline(page: bytes) -> Outline:
    parser = Outline()
    parser.feed(page.decode("latin-1"))
    return parser


BLANKS = st.text(" \t\r\n\f", max_size=4)
WORDS = st.text("abcxyz", min_size=1, max_size=6)
COMMENTS = st.text("ab <>!'\"=/\n", max_size=12).map(lambda text: f"<!-- {text} -->")
BETWEEN = st.lists(BLANKS | COMMENTS | st.just("<!-- <head> -->"), max_size=3).map("".join)
VALUES = st.text("ab<>= /é", max_size=8)
ATTRIBUTES = st.lists(
    st.one_of(
        WORDS,
        st.builds('{}="{}"'.format, WORDS, VALUES),
        st.builds("{} = '{}'".format, WORDS, VALUES),
        st.builds("{}={}".format, WORDS, WORDS),
    ),
    max_size=3,
).map(lambda attributes: "".join(" " + attribute for attribute in attributes))
DOCTYPES = st.sampled_from(["", "<!doctype html>", "<!DOCTYPE HTML PUBLIC '-//W3C//DTD HTML 4.01//EN' 'http://x/y'>"])
HTML_TAGS = st.just("") | st.builds("<{}{}>".format, st.sampled_from(["html", "HTML"]), ATTRIBUTES)
HEAD_TAGS = st.builds(
    "<{}{}{}>".format, st.sampled_from(["head", "Head"]), ATTRIBUTES, st.sampled_from(["", " ", "\n"])
)
REST = st.sampled_from(["", "<title>x</title></head>", "<script>'<head>'</script>", "text", "</head><body><header>"])
DOCUMENTS = st.tuples(BLANKS, DOCTYPES, BETWEEN, HTML_TAGS, BETWEEN, HEAD_TAGS, REST)


@given(DOCUMENTS, st.sampled_from([b"", b"\xef\xbb\xbf"]))
@effort(max_examples=150, deadline=None)
def test_in_any_document_our_script_is_the_first_thing_in_the_head(parts: tuple[str, ...], mark: bytes) -> None:
    """In every document that is written by the rules, the tag goes in, and a parser sees it first in the head."""
    before = mark + "".join(parts[:-1]).encode()
    page = before + parts[-1].encode()
    assert whole(page) == len(before)
    seen = outline(b"".join(insert([page], whole(page), TAG))[len(mark) :])
    assert [tag for tag in seen.seen if tag != "html"] == ["head", "script"]
    assert seen.first == {"src": "/_reve/bridge.js?v=1", "data-function": "identify"}
    assert seen.text.strip(" \t\r\n\f") == ""


SAFE_TOKENS = st.sampled_from(
    ["<html>", "<html lang='en'>", "<head>", "<head a='>'>", "<head", "<header>", "</head>", "<title>", "</title>", "x",
     "<script>", "</script>", "<!-- <head> -->", "<!-- x", " -->", " ", "<!doctype html>", "<body>", "<textarea>", ">",
     "<style>", "<!--> -->", "</html>", "<svg>", "<p a='<head>'>"],
)  # fmt: skip


@given(st.lists(SAFE_TOKENS, max_size=8).map("".join))
@effort(max_examples=150, deadline=None)
def test_wherever_the_tag_goes_in_it_is_first_in_the_head(text: str) -> None:
    """Whatever a page is made of: where the tag goes in at all, a parser sees it first in the first head, with no
    text and no other element before it."""
    page = text.encode()
    offset = whole(page)
    if offset == NONE:
        return
    seen = outline(page[:offset] + TAG + page[offset:])
    assert seen.seen[-2:] == ["head", "script"]
    assert set(seen.seen[:-2]) <= {"html"}
    assert seen.first == {"src": "/_reve/bridge.js?v=1", "data-function": "identify"}
    assert seen.text.strip() == ""
