"""Does the page's Content-Security-Policy let a browser run the script and send the report? Is a nonce used once?"""

from __future__ import annotations

import re

from reve_middleware import csp

from .finding import Finding
from .markup import Element, elements
from .page import Page, age
from .response import Response, origin_of, path_of
from .tag import Tag

ANY_NONCE = re.compile(csp.NONCE.pattern, re.IGNORECASE)


def findings(page: Page, tag: Tag) -> list[Finding]:
    """What the policies of a page with a tag say to it."""
    policies = [one.decode("latin-1") for one in page.shown.values(b"content-security-policy")]
    metas = _metas(page.shown)
    if not policies and not metas:
        return []
    blocked = _blocked(policies, page.url, tag)
    if blocked is None:
        blocked = _blocked_by_meta(metas, page.url, tag)
    if blocked is not None:
        return [blocked]
    allowed = Finding("ok", "policy", "The Content-Security-Policy allows the script and its report.")
    return [allowed, *_nonces(page, policies)]


def _blocked(policies: list[str], url: str, tag: Tag) -> Finding | None:
    advice = _advice(policies, url, tag)
    if advice is None:
        return None
    what = "report" if advice.startswith("connect-src") else "script"
    return Finding(
        "error",
        "policy_blocks",
        f"The page's Content-Security-Policy blocks the {what}.",
        f"Add {advice} to the policy." if advice else "Its sandbox needs allow-scripts and allow-same-origin.",
    )


def _advice(policies: list[str], url: str, tag: Tag) -> str | None:
    """None where tag and report are allowed. The tag's own nonce counts, and no other."""
    own = tag.attributes.get("nonce", "")

    def kept(match: re.Match[str]) -> str:
        return match[0] if own and match[1] == own else ""

    reduced = [ANY_NONCE.sub(kept, policy) for policy in policies]
    script = path_of(tag.url)
    post = script.removesuffix("bridge.js") + "session"
    permission = csp.permission(reduced, [origin_of(url) or ""], script, post)
    return None if permission.allowed else permission.advice


def _metas(response: Response) -> list[tuple[int, str]]:
    """The policies that stand in the page, and how many tags stand above each."""
    return [
        (at, element.attributes.get("content", ""))
        for at, element in enumerate(elements(response.body or b""))
        if element.name == "meta" and _is_policy(element)
    ]


def _is_policy(meta: Element) -> bool:
    return meta.attributes.get("http-equiv", "").strip().lower() == "content-security-policy"


def _blocked_by_meta(metas: list[tuple[int, str]], url: str, tag: Tag) -> Finding | None:
    """A policy in a <meta> holds for what comes after it, and for every report (CSP Level 3 §3.3)."""
    for at, policy in metas:
        advice = _advice([policy], url, tag)
        if advice and (advice.startswith("connect-src") or at < len(tag.before)):
            return Finding(
                "error",
                "policy_blocks",
                "A Content-Security-Policy in a <meta> of the page blocks the "
                f"{'report' if advice.startswith('connect-src') else 'script'}; the middleware cannot see it.",
                f"Add {advice} to that policy.",
            )
    return None


def _nonces(page: Page, policies: list[str]) -> list[Finding]:
    first = {match[1] for policy in policies for match in ANY_NONCE.finditer(policy)}
    other = page.plain if page.shown is page.asked else page.asked
    second = {
        match[1]
        for policy in other.values(b"content-security-policy")
        for match in ANY_NONCE.finditer(policy.decode("latin-1"))
    }
    if first & second:
        return [
            Finding(
                "error",
                "nonce_repeated",
                "The policy's nonce was the same in two answers, so it protects nobody (CSP Level 3 8.1).",
                "Make a new one for each response, and keep such pages out of caches: Cache-Control: no-store.",
            )
        ]
    control = page.shown.cache_control
    kept = age(page.shown) or ({b"public", b"s-maxage"} & set(control) or control.get(b"max-age", b"0").strip(b"0"))
    if first and kept and not {b"no-store", b"no-cache"} & set(control):
        return [
            Finding(
                "warning",
                "nonce_cached",
                "The page has a nonce in its policy, and caches may keep the page: a nonce that comes twice protects "
                "nobody.",
                "Send pages with a nonce with Cache-Control: no-store, or use script-src 'self' instead.",
            )
        ]
    return []
