"""What shared caches may make of the page, and what its security headers mean for us."""

from __future__ import annotations

from urllib.parse import urlsplit

from reve_middleware.bot import LOOPBACK

from .finding import Finding
from .page import Page, age
from .response import Response


def is_loopback(url: str) -> bool:
    """This machine, which browsers trust without TLS (Secure Contexts §3.1)."""
    return LOOPBACK.fullmatch(urlsplit(url).hostname or "") is not None


def is_trustworthy(url: str) -> bool:
    """Do browsers send Fetch Metadata to it?"""
    return url.startswith("https://") or is_loopback(url)


def is_for_everybody(response: Response) -> bool:
    """Does it declare that a shared cache may keep it (RFC 9111 §5.2.2)?"""
    return bool({b"public", b"s-maxage"} & set(response.cache_control))


def findings(page: Page) -> list[Finding]:
    """Of the page as it came."""
    response = page.asked
    found = []
    if response.values(b"set-cookie") and (age(response) or is_for_everybody(response)):
        why = f"and came out of a cache ({age(response)})" if age(response) else "and lets shared caches keep it"
        found.append(
            Finding(
                "error" if age(response) else "warning",
                "page_cookie_shared",
                f"The page sets a cookie, {why}: one visitor's cookie goes to others.",
                "Send such pages with Cache-Control: private, and let the cache keep no answer with a Set-Cookie.",
            )
        )
    elif is_for_everybody(response):
        found.append(
            Finding(
                "info",
                "page_shared",
                "The page is the same for everybody (public or s-maxage): it never tells the bot anything.",
                "Pages that are not the same for everybody: private. The bot hears from the others, and from the "
                "capture.",
            )
        )
    elif age(response):
        found.append(
            Finding(
                "info",
                "page_from_cache",
                f"The page came out of a cache ({age(response)}): there nobody is asked who the visitor is.",
                "Fine for pages that are the same for everybody.",
            )
        )
    return found + _notes(page)


def _notes(page: Page) -> list[Finding]:
    response = page.asked
    found = []
    if b"no-referrer" in response.first(b"referrer-policy").lower().split(b",")[-1].split():
        found.append(
            Finding(
                "info",
                "no_referrer",
                "Referrer-Policy: no-referrer makes browsers send Origin: null: those without Fetch Metadata "
                "report no chat.",
                "strict-origin-when-cross-origin, or same-origin, serves them too.",
            )
        )
    if page.url.startswith("https://") and not response.values(b"strict-transport-security"):
        found.append(
            Finding(
                "info",
                "no_hsts",
                "The page has no Strict-Transport-Security: a first visit by plain http can be led astray.",
                "Send Strict-Transport-Security: max-age=31536000 once the whole site is on https.",
            )
        )
    if response.first(b"x-content-type-options").lower() != b"nosniff":
        found.append(
            Finding(
                "info",
                "no_nosniff",
                "The page has no X-Content-Type-Options: nosniff.",
                "Send it with every answer of the site.",
            )
        )
    return found
