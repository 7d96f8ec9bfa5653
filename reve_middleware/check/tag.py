"""The tag in the page: is it there, exactly once, first in the head, and run at once?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from .finding import Finding, shown
from .markup import Element, elements
from .response import Response, origin_of, path_of, resolved

SCRIPT = "/bridge.js"
JAVASCRIPT = frozenset({"", "text/javascript", "application/javascript", "application/ecmascript", "text/ecmascript"})
OF_HEADS = frozenset(
    {"html", "head", "base", "link", "meta", "noscript", "script", "style", "template", "title", "/html", "/title"}
    | {"/script", "/style", "/noscript", "/template"}
)
"""What may stand in a head, or around it; anything else begins the body (HTML Standard §13.2.6.4.4)."""
ABOVE = frozenset({"html", "head"})


class Tag(NamedTuple):
    """One of our tags."""

    url: str
    """Whole, as the browser asks for it."""
    attributes: dict[str, str]
    before: list[Element]
    """What stands above it."""

    @property
    def digest(self) -> str:
        """The hash in its address; empty where there is none."""
        return (parse_qs(urlsplit(self.url).query).get("v") or [""])[0]

    @property
    def function(self) -> str:
        return self.attributes.get("data-function") or "identify"


def tags_of(page: Response, url: str, path: str | None) -> list[Tag]:
    """Our tags. `url`: the page's; `path`: as in `path=`, None where the tag is to tell it."""
    if page.body is None:
        return []
    found = []
    all_elements = elements(page.body)
    base = url
    for at, element in enumerate(all_elements):
        if element.name == "base" and base == url:
            base = resolved(url, element.attributes.get("href", "")) or url
        if element.name != "script" or "src" not in element.attributes:
            continue
        whole = resolved(base, element.attributes["src"])
        if whole is not None and _is_ours(path_of(whole), element, path):
            found.append(Tag(whole, element.attributes, all_elements[:at]))
    return found


def _is_ours(src: str, element: Element, path: str | None) -> bool:
    if path is not None:
        return src.endswith(path + SCRIPT)
    return src.endswith("/_reve" + SCRIPT) or (src.endswith(SCRIPT) and "data-function" in element.attributes)


def findings(tags: Sequence[Tag], url: str, chatbot_id: str | None) -> list[Finding]:
    """What there is to say of the tags of a page that has some."""
    tag = tags[0]
    found = [one for one in (_twice(tags), _elsewhere(tag, url), _not_run(tag), _place(tag)) if one is not None]
    if not any(one.level == "error" for one in found):
        where = "first in the head" if not found else "in the page"
        called = f"chatbot.{shown(tag.function)}"
        found.insert(0, Finding("ok", "tag", f"The tag is there, {where}; it makes {called} for the bot to call."))
    bot = tag.attributes.get("data-bot")
    if bot is not None and chatbot_id is not None and bot != chatbot_id:
        found.append(
            Finding(
                "warning",
                "tag_bot",
                "The tag names another bot than --chatbot-id (or REVE_CHATBOT_ID).",
                "Compare chatbot_id= of the running site with the bot's id in REVE's dashboard.",
            )
        )
    return found


def _twice(tags: Sequence[Tag]) -> Finding | None:
    if len(tags) == 1:
        return None
    return Finding(
        "warning",
        "tag_twice",
        f"The tag is there {len(tags)} times; only the first one counts.",
        "Wrap the application once; with a tag in the template (script_tag) pass inject=False.",
    )


def _elsewhere(tag: Tag, url: str) -> Finding | None:
    if origin_of(tag.url) == origin_of(url):
        return None
    return Finding(
        "error",
        "tag_elsewhere",
        f"The tag loads the script from {shown(origin_of(tag.url) or '')}, which is not this page's origin: "
        "then it does nothing.",
        "Let the tag's src begin with one slash; a <base> must stand below the tag.",
    )


def _not_run(tag: Tag) -> Finding | None:
    kind = tag.attributes.get("type", "").strip().lower()
    if kind not in JAVASCRIPT:
        return Finding(
            "error",
            "tag_not_run",
            f"The tag says type={shown(kind)}, so the script does not run as a plain script.",
            "Leave the type out; tell the consent manager or the optimiser that rewrites scripts to leave this "
            "one alone.",
        )
    late = [name for name in ("async", "defer") if name in tag.attributes]
    if late:
        return Finding(
            "warning",
            "tag_late",
            f"The tag says {late[0]}: the widget may call the function before it exists.",
            f"Leave {late[0]} out of the tag.",
        )
    return None


def _place(tag: Tag) -> Finding | None:
    names = [element.name for element in tag.before]
    cure = "Put it right behind <head>, above every other script (the middleware does, where it may)."
    if not OF_HEADS.issuperset(names) or "/head" in names:
        return Finding("warning", "tag_in_body", "The tag is not in the head but below it.", cure)
    if "script" in names:
        return Finding("warning", "tag_after_script", "Another script stands above the tag, and runs before it.", cure)
    if not ABOVE.issuperset(names):
        return Finding("ok", "tag_below", "The tag is above every other script, though not the first in the head.")
    return None
