"""The page: is it one, is it compressed by a layer inside us; and where the tag is missing, why?"""

from __future__ import annotations

from typing import NamedTuple

from reve_middleware import csp, inject

from .finding import Finding, listed, shown
from .response import Response, origin_of
from .tag import Tag

ORDER = (
    "GZipMiddleware(ReveMiddleware(app, ...)): compression goes outside of this middleware, all else inside "
    "(with add_middleware: compression after it)."
)
SIGNS_OF_LOGIN = {401, 403}

NOT_REWRITTEN = {
    "status": ("its status is {status}", "Look at an address that answers with a page."),
    "charset": (
        "its charset is one in which <head> is not the same bytes as in ASCII",
        "Send the page as UTF-8, and say so in Content-Type.",
    ),
    "attachment": ("Content-Disposition says that it is a download", "Look at a page that is shown."),
    "no_transform": (
        "Cache-Control says no-transform",
        "Leave no-transform out, or place the tag by hand: inject=False and script_tag(request).",
    ),
    "digest": (
        "it carries a digest of its body, which a tag would falsify",
        "Make the digest outside of this middleware, or place the tag by hand with script_tag(request).",
    ),
    "empty": ("it is empty", "Look at an address that answers with a page."),
    "encoded": ("it is compressed, asked or not", f"If a layer of the application compresses it: {ORDER}"),
}
"""The codes of `inject.look_at`, in words, and the cure."""


class Page(NamedTuple):
    """One page, asked for twice."""

    url: str
    """Where the redirects ended."""
    asked: Response
    """As a browser asks for it."""
    plain: Response
    """With `Accept-Encoding: identity`."""
    tags: list[Tag]
    plain_tags: list[Tag]

    @property
    def shown(self) -> Response:
        """The answer whose body can be read."""
        return self.plain if self.asked.body is None else self.asked

    @property
    def all_tags(self) -> list[Tag]:
        return self.tags or self.plain_tags


def is_page(response: Response) -> bool:
    return inject.is_page_type(response.first(b"content-type"))


def status(response: Response) -> list[Finding]:
    """What the status and the type say."""
    kind = shown(response.kind) or "without a type"
    if response.status >= 500:
        cure = "Look into the site's log, from its start on: it fails, perhaps for want of a setting."
        return [Finding("error", "site_fails", f"The site itself fails: {response.status}, {kind}.", cure)]
    if not is_page(response):
        cure = "Give the address of a page, one that people open in a browser."
        return [Finding("error", "not_html", f"The answer is no page: {response.status}, {kind}.", cure)]
    if response.status in SIGNS_OF_LOGIN:
        return [
            Finding(
                "warning",
                "login",
                f"The page answers {response.status}: this is what people see who are not logged in.",
                "To look behind the login give the browser's session cookie, in a file (--cookie-file) or in "
                "REVE_CHECK_COOKIE.",
            )
        ]
    if not 200 <= response.status < 300:
        return [Finding("warning", "status", f"The page answers {response.status}.", "Is this the address you meant?")]
    return [Finding("ok", "page", f"The page answers {response.status}, {kind}.")]


def compression(page: Page) -> list[Finding]:
    """Is it compressed, and by a layer on which side of us?"""
    packed = listed(shown(one) for one in page.asked.encodings)
    if page.asked.body is None and page.asked.encodings:
        return [
            Finding(
                "warning",
                "encoding_unknown",
                f"The page comes with Content-Encoding {packed}, which was not asked for and is not read here.",
                "Honour Accept-Encoding (RFC 9110 12.5.3); the rest is told of the uncompressed answer.",
            )
        ]
    if not page.asked.encodings:
        return []
    if not page.tags and page.plain_tags:
        return [
            Finding(
                "error",
                "compressed_inside",
                f"Compressed ({packed}), the page has no tag; asked for uncompressed, it has one: a layer inside "
                "this middleware compresses it.",
                ORDER,
            )
        ]
    found = []
    if page.tags:
        found.append(Finding("ok", "compressed", f"The page is compressed ({packed}) outside of this middleware."))
    if not {b"*", b"accept-encoding"}.intersection(_vary(page.asked)):
        found.append(
            Finding(
                "warning",
                "vary",
                f"The page is compressed ({packed}), but does not say Vary: Accept-Encoding.",
                "Let the layer that compresses say so (nginx: gzip_vary on), or a cache gives it to those who "
                "cannot read it.",
            )
        )
    return found


def _vary(response: Response) -> list[bytes]:
    return [one.strip().lower() for field in response.values(b"vary") for one in field.split(b",")]


def without_tag(page: Page, *, bridge_is_there: bool, path: str) -> list[Finding]:
    """Why a page has no tag, as far as can be told from outside; one finding."""
    response = page.plain if page.plain.body is not None and is_page(page.plain) else page.shown
    why, cure = _reason(page.url, response, path) or _unseen(response, bridge_is_there=bridge_is_there, path=path)
    return [Finding("error", "tag_missing", f"The tag is not in the page: {why}.", cure)]


def _reason(url: str, response: Response, path: str) -> tuple[str, str] | None:
    """What the core itself would say against the page."""
    origin = origin_of(url) or ""
    headers = [(name.lower(), value) for name, value in response.headers]
    code, _, _ = inject.look_at(response.status, headers)
    if code in NOT_REWRITTEN:
        why, cure = NOT_REWRITTEN[code]
        return why.format(status=response.status), cure
    if code is not None or response.body is None:
        return "it is none that may be rewritten", "Look at a page: HTML, whole, not a part of one."
    if inject.HeadFinder().feed(response.body, last=True) < 0:
        return (
            "it has no <head> at its beginning: only a doctype, comments and <html> may stand before it, and it must "
            "begin within 64 KiB",
            "Write <head> into the page's template, or place the tag by hand with script_tag(request).",
        )
    policies = [one.decode("latin-1") for one in response.values(b"content-security-policy")]
    permission = csp.permission(policies, [origin], f"{path}/bridge.js", f"{path}/session")
    if permission.allowed:
        return None
    if not permission.advice:
        return (
            "its Content-Security-Policy puts it into a sandbox without scripts or without an origin",
            "Leave it so, if it is meant so; else add allow-scripts and allow-same-origin.",
        )
    return "its Content-Security-Policy does not allow it", f"Add {permission.advice} to the policy."


def _unseen(response: Response, *, bridge_is_there: bool, path: str) -> tuple[str, str]:
    if not bridge_is_there:
        return (
            f"there is no sign of reve-middleware on this site (nothing at {shown(path)}/bridge.js either)",
            "Wrap the application that answers here, start it anew; with path= in its settings give the same --path.",
        )
    if age(response):
        return (
            f"the middleware is there, but this page came out of a cache ({age(response)})",
            "Purge the cache: it may have kept the page from before.",
        )
    return (
        "the middleware is there, but it left this page alone",
        "See routes=, exclude=, @disabled and inject=; or a layer outside answers in its place; the site's log "
        "says more.",
    )


def age(response: Response) -> str:
    """How a cache says that it answered; empty where none does."""
    for name in (b"x-cache", b"cf-cache-status", b"x-cache-status", b"x-proxy-cache"):
        value = response.first(name)
        if value.lower().startswith(b"hit") or b" hit" in value.lower():
            return f"{name.decode()}: {shown(value)}"
    value = response.first(b"age").strip()
    return f"age: {shown(value)}" if value.isdigit() and value.strip(b"0") else ""
