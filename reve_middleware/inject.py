"""May this response be rewritten? Then the tag goes in, right behind `<head>`, across chunk borders.

Bytes are inserted, never parsed into something else and written again. Before the head only what HTML
allows there is passed over (HTML Standard §13.1): a byte order mark, blanks, comments, the doctype,
processing instructions (XHTML) and the `html` tag. Whatever else comes first ends the search: a `<head>`
behind it would be no head, or not a real one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Final

from .messages import Header, Headers, values

HELD_BACK: Final = 64 * 1024
"""Bytes in which a head must begin and end its tag; then the page passes untouched."""
WITHOUT_PAGE = frozenset({204, 205, 206, 301, 302, 303, 304, 307, 308})
PAGE_TYPES = (b"text/html", b"application/xhtml+xml")
DIGESTS = frozenset({b"content-md5", b"digest", b"content-digest", b"repr-digest"})
POLICY = b"content-security-policy"
GROWING = (b"content-length", b"etag")
"""Headers that a tag changes: with one of them the start waits until it is known whether there is a head."""
TELLING = DIGESTS | {
    b"content-type", b"content-encoding", b"content-disposition", b"cache-control", POLICY, *GROWING,
}  # fmt: skip
"""Headers of a response that matter here."""
AS_LONG_AS_TELLING = frozenset(map(len, TELLING))
"""Most other headers are recognised by this alone."""
PAGE_DESTINATIONS = (b"document", b"iframe", b"frame")
ASCII_CHARSETS = (
    r"utf-8|ascii|iso8859-\d+|cp125\d|cp874|koi8-[ru]|mac-\w+|shift_jis|cp932|euc_(jp|kr)|gb2312|gbk|gb18030|big5"
)
"""Python's names of the charsets in which `<head>` is the same bytes as in ASCII."""

BLANKS: Final = re.compile(rb"[ \t\r\n\f]*+")
BLANK: Final = re.compile(rb"[ \t\r\n\f]+")
COMMENT_END: Final = re.compile(rb"--!?>")
_REST_OF_TAG: Final = (
    rb"""(?:[ \t\r\n\f/]++(?:[^\s/>="'<]++"""
    rb"""(?:[ \t\r\n\f]*+=[ \t\r\n\f]*+(?:"[^"]*+"|'[^']*+'|[^\s>"'=<`]++))?+)?+)*+>"""
)
TAG: Final = re.compile(rb"<(html|head)" + _REST_OF_TAG, re.IGNORECASE)
"""A whole tag, attributes as the standard writes them; one with a stray quote, or a vertical tab, which is no
blank in HTML, is not understood."""
_DOCTYPE: Final = rb"<!doctype[ \t\r\n\f]+html[^>]*+>"
DECLARED: Final = re.compile(_DOCTYPE, re.IGNORECASE)
PLAIN: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?+(?:[ \t\r\n\f]++|%b|<html%b)*+<head%b(?<!/>)" % (_DOCTYPE, _REST_OF_TAG, _REST_OF_TAG),
    re.IGNORECASE,
)
"""What most pages begin with; whatever it does not match is looked at step by step."""
BEGUN: Final = re.compile(rb"<(?:html|head)[ \t\r\n\f/]|<!doctype[ \t\r\n\f]+html", re.IGNORECASE)
BEGINS_LIKE_A_PAGE: Final = re.compile(rb"<(?:!doctype|html)", re.IGNORECASE)
WORDS: Final = (b"<!--", b"<!doctype html", b"<html", b"<head")


def page_type(headers: Iterable[Header]) -> bytes | None:
    """The content type, where it is a page's."""
    found = values(headers, b"content-type")
    return found[0] if len(found) == 1 and is_page_type(found[0]) else None


def is_page_type(content_type: bytes) -> bool:
    return REFUSED[content_type] != "type"


class _Refused(dict[bytes, str | None]):
    """Why pages of a content type are not rewritten; None where they are. Found once for each: a site has few."""

    def __missing__(self, content_type: bytes) -> str | None:
        if content_type.partition(b";")[0].strip().lower() not in PAGE_TYPES:
            reason: str | None = "type"
        else:
            reason = None if is_ascii_charset(content_type) else "charset"
        if len(self) >= 256:
            self.clear()
        self[content_type] = reason
        return reason


REFUSED: Final = _Refused()


def look_at(status: int, headers: Headers) -> tuple[str | None, list[bytes], list[int]]:
    """What the head of a response says about rewriting it: why it is not to be rewritten, None where it may be; its
    Content-Security-Policies; and which of its headers the tag changes, by their place."""
    refused: str | None = "type"
    is_typed = False
    reason: str | None = None
    policies: list[bytes] = []
    growing: list[int] = []
    place = -1
    for name, value in headers:
        place += 1
        if name != b"content-type" and name != b"content-length":  # at first sight: most names are in lower case
            if len(name) not in AS_LONG_AS_TELLING:
                continue
            name = name.lower()
        if name == b"content-type":
            try:
                refused = "type" if is_typed else REFUSED[value]
            except (AttributeError, TypeError):  # no bytes, but what some servers take for them
                refused = "type"
            if refused == "type":  # most that is no page goes no further
                return refused, policies, growing
            is_typed = True
        elif name in GROWING:
            growing.append(place)
            if value == b"0" and name == b"content-length":
                reason = reason or "empty"
        elif name == POLICY:
            policies.append(value)
        elif name in TELLING:
            reason = reason or _told_by(name, value)
    if refused is None and (status < 200 or status in WITHOUT_PAGE):
        refused = "status"
    return refused or reason, policies, growing


def growing_in(headers: Headers) -> list[int]:
    """Which of these headers a tag changes."""
    return [number for number, (name, _) in enumerate(headers) if name.lower() in GROWING]


def _told_by(name: bytes, value: bytes) -> str | None:
    match name:
        case b"content-encoding" if value.strip().lower() not in (b"", b"identity"):
            return "encoded"
        case b"content-disposition" if value.lstrip().lower().startswith(b"attachment"):
            return "attachment"
        case b"cache-control" if b"no-transform" in value.lower():
            return "no_transform"
        case digest if digest in DIGESTS:
            return "digest"
    return None


def is_for_page(destination: bytes | None, asked: Iterable[Header]) -> bool:
    """May the request be for a page? Where the browser says what for (`Sec-Fetch-Dest`), that decides. Otherwise one
    with these headers is visibly for a part of a page, where htmx or XMLHttpRequest is named in them."""
    if destination is not None:
        return destination in PAGE_DESTINATIONS
    for name, value in asked:
        if name == b"x-requested-with":
            return False
        if name == b"hx-request" and value.lower() == b"true" and values(asked, b"hx-boosted") != [b"true"]:
            return False
    return True


def is_ascii_charset(content_type: bytes) -> bool:
    match = re.search(rb";\s*charset\s*=\s*\"?([^\s\";]+)", content_type, re.IGNORECASE)
    if match is None:
        return True
    try:
        name = codecs.lookup(match[1].decode("ascii")).name
    except (LookupError, ValueError):
        return False
    return re.fullmatch(ASCII_CHARSETS, name) is not None


def with_tag(headers: Headers, growing: Iterable[int], added: int) -> Headers:
    """The headers of a page that grew by so many bytes; `growing`: those that say so, as `look_at` found them."""
    changed = list(headers)
    for place in growing:
        name, value = changed[place]
        changed[place] = name, grown(name, value, added)
    return changed


def grown(name: bytes, value: bytes, added: int) -> bytes:
    """What a header in GROWING says of a page that grew by so many bytes."""
    if len(name) == len(b"etag"):
        return value if value.startswith(b"W/") else b"W/" + value
    return b"%d" % (int(value) + added) if value.isdigit() or value.strip().isdigit() else value


class HeadFinder:
    """Takes a page's first bytes and says where its head begins."""

    MORE: Final = -1
    NONE: Final = -2

    __slots__ = ("_at", "_search_from", "_seen")

    def __init__(self) -> None:
        self._seen = bytearray()
        self._at = 0
        self._search_from = 0

    def feed(self, data: bytes, *, last: bool) -> int:
        """The offset just behind `<head …>` in all that was fed; NONE; or MORE."""
        if not self._seen and (plain := PLAIN.match(data, 0, HELD_BACK)) is not None:
            return plain.end()
        self._seen += data  # 64 KiB at most, and most pages come in one piece or two
        found = self._scan(last)
        if found == self.MORE and (last or len(self._seen) >= HELD_BACK):
            return self.NONE
        return self.NONE if found > HELD_BACK else found

    def begins_like_a_page(self) -> bool:
        """Was there a doctype or an `html` tag, where no head was found?"""
        return BEGINS_LIKE_A_PAGE.search(self._seen, 0, self._at) is not None

    def _scan(self, last: bool) -> int:
        seen = self._seen
        if self._at == 0:
            if seen.startswith(codecs.BOM_UTF8):
                self._at = 3
            elif codecs.BOM_UTF8.startswith(seen):
                return self.MORE
        while True:
            self._at = BLANKS.match(seen, self._at).end()  # type: ignore[union-attr]
            at = self._at
            if at == len(seen):
                return self.MORE
            if seen[at] != 0x3C:
                return self.NONE
            if seen.startswith(b"<!--", at):
                after = self._behind_comment(at)
            elif seen.startswith(b"<?", at):
                after = seen.find(b">", at) + 1 or self.MORE
            elif (match := TAG.match(seen, at)) is not None:
                after = match.end()
                if match[1].lower() == b"head":
                    return self.NONE if seen.endswith(b"/>", at, after) else after  # `<head/>`: XHTML's is empty
            elif (match := DECLARED.match(seen, at)) is not None:
                after = match.end()
            else:
                return self._unfinished(at)
            if after == self.MORE:
                return self.MORE
            self._at = after

    def _behind_comment(self, at: int) -> int:
        """A comment also ends at `--!>`, and at once as `<!-->` or `<!--->`."""
        seen = self._seen
        for abrupt in (b"<!-->", b"<!--->"):
            if seen.startswith(abrupt, at):
                return at + len(abrupt)
        match = COMMENT_END.search(seen, max(at + 4, self._search_from))
        if match is None:
            self._search_from = max(at + 4, len(seen) - 3)
            return self.MORE
        return match.end()

    def _unfinished(self, at: int) -> int:
        """Is what begins here the beginning of something we pass over?"""
        rest = BLANK.sub(b" ", bytes(self._seen[at : at + 64])).lower()
        if any(word.startswith(rest) for word in WORDS) or BEGUN.match(self._seen, at):
            return self.MORE
        return self.NONE


class Beginning:
    """How the last page began, up to the end of its head's tag: most pages of a site begin alike."""

    LONGEST: Final = 1024

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = b""

    def learn(self, beginning: bytes) -> None:
        """A page began with these bytes, and there its head was found."""
        if len(beginning) <= self.LONGEST:
            self._seen = beginning

    def with_tag(self, data: bytes, tag: bytes) -> bytes | None:
        """A page's first bytes with the tag in them; None where they begin otherwise, and a HeadFinder has to look."""
        seen = self._seen
        return data.replace(seen, seen + tag, 1) if seen and data.startswith(seen) else None


def insert(chunks: Iterable[bytes], offset: int, tag: bytes) -> list[bytes]:
    """The same chunks, with the tag put in at `offset` of them all."""
    changed = []
    left: int | None = offset
    for chunk in chunks:
        if left is not None:
            if left <= len(chunk):
                chunk, left = chunk[:left] + tag + chunk[left:], None
            else:
                left -= len(chunk)
        changed.append(chunk)
    return changed
