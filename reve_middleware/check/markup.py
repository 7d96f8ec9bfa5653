"""A page's tags, in the order a browser meets them.

As much of the HTML Standard's tokenizer (§13.2.5) as is needed to tell a tag that counts from one that does not: what
stands in a comment, a script, a style, a title, a template or a `noscript` is no tag. Any bytes, in linear time.
"""

from __future__ import annotations

import html
import re
from typing import Final, NamedTuple

MOST_ELEMENTS: Final = 20_000
OPENED: Final = re.compile(r"<(?:(?P<comment>!--)|(?P<end>/)?(?P<name>[A-Za-z][^\s/>]*+)|[!?/])")
ATTRIBUTE: Final = re.compile(
    r"""[\s/]*+(?P<name>[^\s/>=]++)(?:\s*+=\s*+(?:"(?P<two>[^"]*+)"|'(?P<one>[^']*+)'|(?P<none>[^\s>]*+)))?+"""
)
COMMENT_END: Final = re.compile(r"--!?>")
CLOSED: Final = {
    name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE)
    for name in (
        "script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript", "template",
    )
}  # fmt: skip
"""Elements with nothing in them that counts, and where they end."""


class Element(NamedTuple):
    """A start tag; an end tag has a slash before its name, and no attributes."""

    name: str
    attributes: dict[str, str]


def elements(body: bytes) -> list[Element]:
    """The tags of a page. Only names and ASCII matter to us, so its charset does not."""
    text = body.decode("latin-1")
    found: list[Element] = []
    at = 0
    while len(found) < MOST_ELEMENTS and (match := OPENED.search(text, at)) is not None:
        at = match.end()
        if match["comment"]:
            at = _behind_comment(text, at)
            continue
        name = (match["name"] or "").lower()
        attributes, at = _attributes(text, at)
        if not name or at > len(text):
            continue
        if match["end"]:
            found.append(Element(f"/{name}", {}))
            continue
        found.append(Element(name, attributes))
        if name == "plaintext":
            break
        if name in CLOSED:
            end = CLOSED[name].search(text, at)
            at = len(text) if end is None else end.start()
    return found


def _attributes(text: str, at: int) -> tuple[dict[str, str], int]:
    """The attributes up to `>`, and where that ends; behind the end of the text where it does not."""
    found: dict[str, str] = {}
    while at < len(text):
        if text[at] == ">":
            return found, at + 1
        match = ATTRIBUTE.match(text, at)
        if match is None:
            at += 1
            continue
        value = next((one for one in (match["two"], match["one"], match["none"]) if one is not None), "")
        found.setdefault(match["name"].lower(), html.unescape(value))
        at = match.end()
    return found, len(text) + 1


def _behind_comment(text: str, at: int) -> int:
    for abrupt in (">", "->"):
        if text.startswith(abrupt, at):
            return at + len(abrupt)
    end = COMMENT_END.search(text, at)
    return len(text) if end is None else end.end()
