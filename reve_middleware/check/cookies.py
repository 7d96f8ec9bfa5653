"""The two cookies as browsers get them, and what a real capture says."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import NamedTuple

from .finding import Finding, listed, shown
from .refusals import OUTSIDE, reason_of
from .response import Response

PREFIX = "__Host-"
OURS = frozenset(f"{prefix}{name}" for prefix in ("", PREFIX) for name in ("reve", "reve-mark"))
"""The cookies' names, where `cookie=` says nothing else."""


class SetCookie(NamedTuple):
    """One `Set-Cookie` (RFC 6265bis §5.6)."""

    name: str
    value: str
    attributes: dict[str, str]
    """Names in lower case."""


def set_cookies(response: Response) -> list[SetCookie]:
    found = []
    for field in response.values(b"set-cookie"):
        pair, *rest = field.decode("latin-1").split(";")
        name, equals, value = pair.partition("=")
        attributes = {key.strip().lower(): said.strip() for key, _, said in (one.partition("=") for one in rest)}
        if equals:
            found.append(SetCookie(name.strip(), value.strip(), attributes))
    return found


def deletes(cookie: SetCookie) -> bool:
    age = cookie.attributes.get("max-age", "")
    return age == "0" or age.startswith("-")


def dropped(forgotten: Response) -> list[SetCookie]:
    """Our two cookies in the answer to a DELETE, whatever their base name; others may be dropped by others."""
    found = {one.name: one for one in set_cookies(forgotten) if deletes(one)}
    pairs = [(base, f"{base}-mark") for base in found if f"{base}-mark" in found]
    return [found[name] for pair in pairs for name in pair]


def without(cookie_header: str, ours: Set[str] = OURS) -> str:
    """A `Cookie` header without our own two: a look must not speak for a chat that is under way."""
    pairs = [pair.strip() for pair in cookie_header.split(";")]
    return "; ".join(pair for pair in pairs if pair and pair.partition("=")[0].strip() not in ours)


def word_of(answer: Response | None) -> str | None:
    """The status in a capture's 200; None where it is not ours."""
    if answer is None or answer.status != 200 or answer.kind != b"application/json":
        return None
    try:
        said = json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return None
    word = said.get("status") if isinstance(said, dict) else None
    return word if isinstance(word, str) else None


def forgetting(answer: Response | None, *, is_https: bool) -> list[Finding]:
    """A DELETE without cookies forgets nobody, and shows the flags of both cookies."""
    if reason_of(answer) == "plain_http":
        return []
    if answer is None or word_of(answer) != "forgotten":
        status = "nothing" if answer is None else str(answer.status)
        return [
            Finding(
                "error",
                "forget",
                f"The capture path answers {status} to the site's own DELETE: chatbot.forget() does not work.",
                "Let the proxy or firewall pass DELETE.",
            )
        ]
    ours = dropped(answer)
    if not ours:
        return [Finding("error", "cookies_lost", "The Set-Cookie headers of the capture path are lost.", OUTSIDE)]
    return flags(ours, is_https=is_https)


def flags(ours: list[SetCookie], *, is_https: bool) -> list[Finding]:
    """Do browsers keep them, and show them to nobody?"""
    wrong = sorted({fault for one in ours for fault in _faults(one, is_https=is_https)})
    names = listed(shown(one.name) for one in ours)
    if not wrong:
        right = "Secure, HttpOnly, SameSite=Lax, Path=/, no Domain" if is_https else "HttpOnly, SameSite=Lax, Path=/"
        return [Finding("ok", "cookies", f"The cookies {names}: {right}.")]
    if "no Secure" in wrong and f"no {PREFIX} prefix" in wrong:
        return [
            Finding(
                "error",
                "dev_in_public",
                f"The cookies {names} have {listed(wrong)}: this site runs with dev=True.",
                "Leave dev=True out on a site with https.",
            )
        ]
    cure = "A proxy or a layer outside rewrites them: let Set-Cookie pass as it is."
    return [Finding("error", "cookie_flags", f"The cookies {names} have {listed(wrong)}.", cure)]


def _faults(cookie: SetCookie, *, is_https: bool) -> list[str]:
    has = cookie.attributes
    faults = {
        "no HttpOnly": "httponly" not in has,
        "no SameSite=Lax": has.get("samesite", "").lower() != "lax",
        "no Path=/": has.get("path") != "/",
        "a Domain": "domain" in has,
        "no Secure": is_https and "secure" not in has,
        f"no {PREFIX} prefix": is_https and not cookie.name.startswith(PREFIX),
    }
    return [fault for fault, is_so in faults.items() if is_so]


# A real capture, when it was asked for ------------------------------------------------------------

SAME_RELEASE = "Use the release of reve-middleware that the site has."
OUTCOMES = {
    "queued": "The chat was captured, and a push is on its way to the bot.",
    "current": "The chat was captured; the bot has this profile already.",
}
NOTHING_SAID = {
    "anonymous": (
        "The chat was captured, but nobody is logged in for this request.",
        "Give the session cookie of somebody who is (--cookie-file). If they are: does profile= return a dict "
        "for them, and "
        "does the login run for the capture path? If not, name a route in subrequest=.",
    ),
    "declined": ("The chat was not captured: consent= said no.", "Give the cookie of a visitor who agreed."),
    "busy": (
        "The chat was captured, but the mailbox takes no more pushes.",
        "Does the webhook answer? The site's log says more.",
    ),
}
KEEPS_NOTHING = frozenset({"declined"})


def captured(answer: Response | None, names: set[str], *, is_https: bool) -> list[Finding]:
    """What a real report came to. `names`: of both cookies, as a DELETE showed them."""
    word = word_of(answer)
    if answer is None or word is None:
        return [_not_captured(answer)]
    if word in OUTCOMES:
        found = [Finding("ok", "capture", OUTCOMES[word])]
    elif word in NOTHING_SAID:
        found = [Finding("warning", "capture", *NOTHING_SAID[word])]
    else:
        return [Finding("warning", "capture", "The capture path's answer is none that is known here.", SAME_RELEASE)]
    kept = [one for one in set_cookies(answer) if one.name in names and not deletes(one)]
    if kept:
        found += flags(kept, is_https=is_https)
    elif word not in KEEPS_NOTHING:
        found.append(Finding("error", "cookies_lost", "The capture set no cookie: it is lost on its way.", OUTSIDE))
    return found


def _not_captured(answer: Response | None) -> Finding:
    if reason_of(answer) == "ids":
        return Finding(
            "error",
            "capture",
            "The capture path does not take these ids.",
            "--chatbot-id must be one of the site's bots; the session id must fit session_id_pattern=.",
        )
    status = "nothing" if answer is None else str(answer.status)
    return Finding("error", "capture", f"The capture path answers {status} to a report.", OUTSIDE)


def page_with_chat(answer: Response | None, names: set[str]) -> list[Finding]:
    """A page that is sent to a visitor with a chat: where it sets our cookies, no shared cache may keep it."""
    if answer is None or not any(one.name in names for one in set_cookies(answer)):
        return []
    if {b"private", b"no-store"} & set(answer.cache_control):
        return [Finding("ok", "page_private", "A page that carries our cookie says Cache-Control: private.")]
    return [
        Finding(
            "error",
            "page_not_private",
            "A page carries our cookie, but does not say Cache-Control: private.",
            "A layer outside writes Cache-Control anew: let it leave private answers alone.",
        )
    ]


def undone(answer: Response | None) -> list[Finding]:
    """The DELETE after a real capture."""
    if word_of(answer) == "forgotten":
        return [
            Finding("ok", "undone", "The capture is undone: the chat is forgotten. What was pushed stays with the bot.")
        ]
    return [Finding("warning", "undone", "The capture could not be undone.", "It ends by itself after 12 h.")]
