"""What `check` finds, one row a finding: where it must be found, and where it must not."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import reve_middleware
from reve_middleware import bridge, capture
from reve_middleware.check import caching, cookies, link, look, page, policy, refusals, script, tag, widget
from reve_middleware.check.finding import Finding
from reve_middleware.check.page import Page
from reve_middleware.check.refusals import Probe
from reve_middleware.check.response import Response, received
from reve_middleware.outcome import Outcome, judge

URL = "https://shop.example/bread/rye"
SCRIPT, DIGEST = bridge.script()
SRC = f"/_reve/bridge.js?v={DIGEST}"
WIDGET = "<script>(function (w) { w.$_REVECHAT_API = 1 })(window)</script>"
TAG = f'<script src="{SRC}" data-function="identify" data-bot="shop-bot"></script>'
HTML = ("Content-Type", "text/html; charset=utf-8")
NOSNIFF = ("X-Content-Type-Options", "nosniff")
STRICT = ("Strict-Transport-Security", "max-age=1")


def answer(status: int = 200, *headers: tuple[str, str], body: bytes = b"") -> Response:
    return received(status, [(name.encode(), value.encode("latin-1")) for name, value in headers], body)


# Pages -----------------------------------------------------------------------------------------------


def html(inside: str = TAG, *headers: tuple[str, str], status: int = 200) -> Response:
    """A page with this in its head."""
    return answer(
        status, HTML, *headers, body=f"<!doctype html><html><head>{inside}</head><body></body></html>".encode()
    )


def document(text: str, *headers: tuple[str, str]) -> Response:
    return answer(200, HTML, *headers, body=text.encode())


def seen(asked: Response, plain: Response | None = None, url: str = URL) -> Page:
    plain = plain or asked
    return Page(url, asked, plain, tag.tags_of(asked, url, None), tag.tags_of(plain, url, None))


def tagged(response: Response, chatbot_id: str | None = None) -> list[Finding]:
    return tag.findings(tag.tags_of(response, URL, None), URL, chatbot_id)


def csp(*policies: str) -> list[tuple[str, str]]:
    return [("Content-Security-Policy", policy) for policy in policies]


def ruled(response: Response, plain: Response | None = None) -> list[Finding]:
    both = seen(response, plain)
    return policy.findings(both, both.all_tags[0])


def packed(response: Response, encoding: str = "gzip", *headers: tuple[str, str]) -> Response:
    """The same, as if it had come with this encoding."""
    more = [(name.encode(), value.encode()) for name, value in (("Content-Encoding", encoding), *headers)]
    return response._replace(headers=[*response.headers, *more])


def missing(response: Response, *, bridge_is_there: bool = True) -> list[Finding]:
    return page.without_tag(seen(response), bridge_is_there=bridge_is_there, path="/_reve")


# The script ------------------------------------------------------------------------------------------

JAVASCRIPT = ("Content-Type", "text/javascript; charset=utf-8")
FOR_EVER = ("Cache-Control", "public, max-age=31536000, immutable")
NO_STORE = ("Cache-Control", "no-store")
OTHER = answer(200, JAVASCRIPT, NO_STORE, NOSNIFF, body=SCRIPT)


def served(*headers: tuple[str, str], body: bytes = SCRIPT) -> Response:
    return answer(200, *(headers or (JAVASCRIPT, FOR_EVER, NOSNIFF)), body=body)


def loaded(
    response: Response | None, digest: str = DIGEST, other: Response | None = OTHER, found_at: str | None = None
) -> list[Finding]:
    return script.findings(digest, response, other, "/_reve/bridge.js", found_at)


OTHER_RELEASE = b"/* reve-middleware */"

# The capture path ------------------------------------------------------------------------------------

PROBES = refusals.probes("https://shop.example")
PROBLEM = ("Content-Type", "application/problem+json")


def refusal(reason: str, *changes: tuple[str, str], without: str = "") -> Response:
    """The real answer, with headers added, or one taken out."""
    real = capture.refuse(reason)
    kept = [(name, value) for name, value in real.headers if name.decode() != without]
    return Response(real.status, [*kept, *((name.encode(), value.encode()) for name, value in changes)], real.body)


def probed(
    change: Callable[[Probe], Response | None] = lambda probe: refusal(probe.reason),
    *codes: str,
    url: str = URL,
    loopback: bool = False,
) -> list[Finding]:
    """The answers of a right site, but for these probes (all, where none is named)."""
    answers = {
        probe.code: change(probe) if not codes or probe.code in codes else refusal(probe.reason) for probe in PROBES
    }
    return refusals.findings(PROBES, answers, url, is_loopback=loopback)


def always(response: Response | None) -> Callable[[Probe], Response | None]:
    return lambda _: response


def plain_http(probe: Probe) -> Response:
    return refusal("plain_http" if probe.status not in (403, 405) else probe.reason)


def said(word: str, *set_cookies: str, status: int = 200) -> Response:
    headers = [("Set-Cookie", value) for value in set_cookies]
    body = f'{{"status": "{word}"}}'.encode()
    return answer(status, ("Content-Type", "application/json"), NO_STORE, *headers, body=body)


FLAGS = "; Path=/; HttpOnly; SameSite=Lax; Secure"
DROPS = tuple(f"__Host-reve{end}=; Max-Age=0{FLAGS}" for end in ("", "-mark"))
DEV_DROPS = tuple(f"reve{end}=; Max-Age=0; Path=/; HttpOnly; SameSite=lax" for end in ("", "-mark"))
KEEPS = f"__Host-reve=abc; Max-Age=43200{FLAGS}"
NAMES = {"__Host-reve", "__Host-reve-mark"}


def forgotten(*set_cookies: str, https: bool = True, change: tuple[str, str] = ("", "")) -> list[Finding]:
    set_cookies = tuple(one.replace(*change) for one in set_cookies)
    return cookies.forgetting(said("forgotten", *set_cookies), is_https=https)


def captured(response: Response | None) -> list[Finding]:
    return cookies.captured(response, NAMES, is_https=True)


def pushed(status: int) -> list[Finding]:
    return link.pushed(_judged(status))


def reached(status: int) -> list[Finding]:
    return link.reached(_judged(status), is_https=True)


def _judged(status: int) -> Outcome:
    from datetime import UTC, datetime

    return judge(status, None, datetime.now(UTC))


# The table -------------------------------------------------------------------------------------------


class Row(NamedTuple):
    code: str
    level: str
    there: list[Finding]
    """Where it must be found."""
    not_there: list[Finding]
    """Where it must not."""
    words: str = ""
    """Part of its text or cure."""


RIGHT = [
    *page.status(html()), *tagged(html()), *loaded(served()), *probed(), *forgotten(*DROPS),
    *captured(said("queued", KEEPS)),
    *cookies.undone(said("forgotten")), *pushed(200), *reached(405),
]  # fmt: skip
NEAR = "https://shop.example/login?next=secret"

ROWS = [
    # The page
    Row("page", "ok", page.status(html()), page.status(html(status=401))),
    Row("login", "warning", page.status(html(status=401)), page.status(html(status=404)), "REVE_CHECK_COOKIE"),
    Row("login", "warning", page.status(html(status=403)), page.status(html(status=503))),
    Row("status", "warning", page.status(html(status=404)), page.status(html())),
    Row("not_html", "error", page.status(answer(200, ("Content-Type", "image/png"))), page.status(html())),
    Row("not_html", "error", page.status(answer(200)), page.status(html()), "without a type"),
    Row("site_fails", "error", page.status(answer(500)), page.status(html(status=404)), "fails: 500"),
    Row("compressed", "ok", page.compression(seen(packed(html()), html())), page.compression(seen(html()))),
    Row("compressed_inside",
        "error", page.compression(seen(packed(html("")), html())), page.compression(seen(html("")))),
    Row("compressed_inside", "error", page.compression(seen(packed(html("")), html())),
        page.compression(seen(packed(html("")), html("")))),
    Row("encoding_unknown", "warning", page.compression(seen(packed(html()._replace(body=None), "br"), html())),
        page.compression(seen(packed(html()), html()))),
    Row("vary", "warning", page.compression(seen(packed(html()), html())),
        page.compression(seen(packed(html(), "gzip", ("Vary", "Cookie, Accept-Encoding")), html()))),
    # The tag
    Row("tag", "ok", tagged(html()), tagged(html(TAG.replace("src", "type=module src"))), "chatbot.identify"),
    Row("tag", "ok", tagged(html(TAG.replace('"identify"', '"hello"'))), [], "chatbot.hello"),
    Row("tag_below", "ok", tagged(html('<meta charset="utf-8">' + TAG)), tagged(html())),
    Row("tag_after_script",
        "warning", tagged(html("<script>1</script>" + TAG)), tagged(html(TAG + "<script>1</script>"))),
    Row("tag_in_body", "warning", tagged(document(f"<html><head></head><body>{TAG}")), tagged(html())),
    Row("tag_in_body", "warning", tagged(document(f"<p>{TAG}")), tagged(html("<noscript><p></noscript>" + TAG))),
    Row("tag_late", "warning", tagged(html(TAG.replace("src", "defer src"))), tagged(html()), "defer"),
    Row("tag_not_run", "error", tagged(html(TAG.replace("src", "type='text/plain' src"))),
        tagged(html(TAG.replace("src", "type='text/javascript' src"))), "text/plain"),
    Row("tag_twice", "warning", tagged(html(TAG + TAG)), tagged(html(f"{TAG}<!--{TAG}--><template>{TAG}</template>"))),
    Row("tag_elsewhere", "error", tagged(html(TAG.replace("/_reve", "https://cdn.example/_reve"))),
        tagged(html(TAG.replace("/_reve", "https://shop.example:443/_reve"))), "https://cdn.example"),
    Row("tag_elsewhere", "error", tagged(html(f"<base href='https://cdn.example/'>{TAG}")),
        tagged(html(f"{TAG}<base href='https://cdn.example/'>"))),
    Row("tag_bot", "warning", tagged(html(), "another"), tagged(html(), "shop-bot")),
    Row("no_widget", "warning", widget.findings(seen(html()), []), widget.findings(seen(html(WIDGET)), [])),
    Row("no_widget", "warning", widget.findings(seen(html()), []), widget.findings(seen(html(status=401)), [])),
    # Why there is none
    Row("tag_missing", "error", missing(document("<p>Hello")), RIGHT, "has no <head>"),
    Row("tag_missing", "error", missing(html("", *csp("script-src 'none'"))), RIGHT, "script-src 'self'"),
    Row("tag_missing", "error", missing(html("", *csp("sandbox"))), RIGHT, "sandbox"),
    Row("tag_missing", "error", missing(html("", ("Cache-Control", "no-transform"))), RIGHT, "no-transform"),
    Row("tag_missing", "error", missing(html("", ("Content-Disposition", "attachment"))), RIGHT, "download"),
    Row("tag_missing", "error", missing(html("", ("Content-Digest", "sha-256=:=:"))), RIGHT, "digest"),
    Row("tag_missing", "error", missing(answer(200, ("Content-Type", "text/html; charset=utf-16"))), RIGHT, "charset"),
    Row("tag_missing", "error", missing(answer(200, HTML, ("Content-Length", "0"))), RIGHT, "empty"),
    Row("tag_missing", "error", missing(html("", status=206)), RIGHT, "its status is 206"),
    Row("tag_missing", "error", missing(packed(html(""))), RIGHT, "asked or not"),
    Row("tag_missing", "error", missing(answer(200, HTML, HTML)), RIGHT, "none that may be rewritten"),
    Row("tag_missing", "error", missing(html("")), RIGHT, "exclude="),
    Row("tag_missing", "error", missing(html("", ("X-Cache", "HIT from edge"))), RIGHT, "x-cache: HIT from edge"),
    Row("tag_missing", "error", missing(html("", ("Age", "7"))), RIGHT, "age: 7"),
    Row("tag_missing", "error", missing(html(""), bridge_is_there=False), RIGHT, "no sign of reve-middleware"),
    # Its policy
    Row("policy", "ok", ruled(html(TAG, *csp("script-src 'self'"))), ruled(html())),
    Row("policy", "ok", ruled(html(TAG.replace("src", "nonce=abcd src"), *csp("script-src 'nonce-abcd'"))), []),
    Row("policy_blocks", "error", ruled(html(TAG, *csp("script-src 'nonce-abcd'"))),
        ruled(html(TAG, *csp("default-src 'self'"))), "script-src"),
    Row("policy_blocks", "error", ruled(html(TAG, *csp("connect-src 'none'"))),
        ruled(html(TAG, *csp("img-src 'none'"))), "connect-src"),
    Row("policy_blocks", "error", ruled(html(TAG, *csp("default-src *", "sandbox"))), ruled(html()), "allow-scripts"),
    Row("policy_blocks",
        "error", ruled(html(f'{TAG}<meta http-equiv=content-security-policy content="connect-src x.y">')),
        ruled(html(f'{TAG}<meta http-equiv=content-security-policy content="script-src x.y">')), "<meta>"),
    Row("policy_blocks",
        "error", ruled(html(f'<meta http-equiv=content-security-policy content="script-src x.y">{TAG}')),
        ruled(html(f'<meta http-equiv=content-security-policy content="script-src *">{TAG}')), "<meta>"),
    Row("nonce_repeated", "error", ruled(html(TAG, *csp("script-src 'self' 'nonce-abcd'"))),
        ruled(html(TAG, *csp("script-src 'self' 'nonce-abcd'")), html(TAG, *csp("script-src 'self' 'nonce-efgh'")))),
    Row("nonce_cached", "warning",
        ruled(html(TAG, *csp("script-src 'self' 'nonce-abcd'"), ("Cache-Control", "max-age=60")), html()),
        ruled(html(TAG, *csp("script-src 'self' 'nonce-abcd'"), ("Cache-Control", "max-age=0")), html())),
    # The script
    Row("script", "ok", loaded(served()), loaded(served(JAVASCRIPT, body=b"alert(1)"))),
    Row("script", "ok", loaded(served(body=OTHER_RELEASE), script.digest_of(OTHER_RELEASE)), [], "another release"),
    Row("script_kept", "ok", loaded(served()), loaded(served(JAVASCRIPT, NO_STORE))),
    Row("script_not_kept", "warning", loaded(served(JAVASCRIPT, ("Cache-Control", "max-age=60"))), RIGHT, "max-age=60"),
    Row("script_not_kept", "warning", loaded(served(JAVASCRIPT)), loaded(served(JAVASCRIPT), "0"), "(none)"),
    Row("script_other_kept", "error", loaded(served(), other=served()), loaded(served(), other=None)),
    Row("script_other_kept", "error", loaded(served(), other=answer(200, JAVASCRIPT, NO_STORE, ("Age", "9"))), RIGHT),
    Row("script_unreachable", "error", loaded(None), RIGHT),
    Row("script_status", "error", loaded(answer(404)), RIGHT, "Let the proxy hand this path"),
    Row("script_status", "error", loaded(answer(401)), RIGHT, "login"),
    Row("script_status", "error", loaded(answer(302)), RIGHT, "302"),
    Row("script_type", "error", loaded(html()), RIGHT, "text/html"),
    Row("script_type", "error", loaded(answer(200, body=SCRIPT)), RIGHT, "missing"),
    Row("script_empty", "error", loaded(served(JAVASCRIPT, body=b"")), RIGHT),
    Row("script_prefix",
        "error", loaded(answer(404), found_at="/shop/_reve/bridge.js"), loaded(answer(404)), "/shop/_reve"),
    Row("script_foreign", "error", loaded(served(JAVASCRIPT, body=b"alert(1)")), loaded(served(body=OTHER_RELEASE))),
    Row("script_altered", "warning", loaded(served(body=OTHER_RELEASE)), RIGHT),
    Row("tag_outdated", "warning", loaded(served(JAVASCRIPT, NO_STORE), "0123456789abcdef"), RIGHT),
    Row("script_cookie", "warning", loaded(served(JAVASCRIPT, FOR_EVER, ("Set-Cookie", "a=b"))), RIGHT),
    Row("script_sniffed", "warning", loaded(served(JAVASCRIPT, FOR_EVER)), RIGHT),
    # Caches, and headers
    Row("page_cookie_shared", "warning",
        caching.findings(seen(html("", ("Set-Cookie", "a=b"), ("Cache-Control", "s-maxage=9")))),
        caching.findings(seen(html("", ("Set-Cookie", "a=b"), ("Cache-Control", "private, max-age=9"))))),
    Row("page_cookie_shared", "error",
        caching.findings(seen(html("", ("Set-Cookie", "a=b"), ("CF-Cache-Status", "HIT")))),
        caching.findings(seen(html("", ("Set-Cookie", "a=b"), ("CF-Cache-Status", "MISS"), ("Age", "0"))))),
    Row("page_shared",
        "info", caching.findings(seen(html("", ("Cache-Control", "public")))), caching.findings(seen(html()))),
    Row("page_from_cache", "info", caching.findings(seen(html("", ("Age", "3")))), caching.findings(seen(html()))),
    Row("no_referrer", "info", caching.findings(seen(html("", ("Referrer-Policy", "no-referrer")))),
        caching.findings(seen(html("", ("Referrer-Policy", "no-referrer, strict-origin"))))),
    Row("no_hsts", "info", caching.findings(seen(html())), caching.findings(seen(html("", STRICT)))),
    Row("no_hsts", "info", caching.findings(seen(html())), caching.findings(seen(html(), url="http://shop.example/"))),
    Row("no_nosniff", "info", caching.findings(seen(html())), caching.findings(seen(html("", NOSNIFF)))),
    # What the capture path refuses
    Row("refuses", "ok", probed(), probed(always(answer(404))), "10 of 10"),
    Row("host", "ok", probed(), probed(always(refusal("cross_origin")), "host")),
    Row("no_cors", "ok", probed(), probed(always(refusal("ids", ("Access-Control-Allow-Origin", "*"))), "control")),
    Row("dev", "ok", probed(url="http://localhost:8000/", loopback=True), probed()),
    Row("dev_in_public", "error", probed(url="http://shop.example/"), probed(url="http://localhost/", loopback=True)),
    Row("plain_http", "error", probed(plain_http, url="http://shop.example/"), RIGHT, "Serve the site over https"),
    Row("plain_http", "error", probed(plain_http, url="http://localhost/", loopback=True), RIGHT, "dev=True"),
    Row("capture_unreachable", "error", probed(always(None)), RIGHT),
    Row("capture_refuses_all", "error", probed(always(refusal("cross_origin"))), RIGHT, "Host"),
    Row("capture_header_lost", "error", probed(always(refusal("no_bridge"))), RIGHT),
    Row("capture_foreign", "error", probed(always(answer(404))), RIGHT, "prefix and all"),
    Row("capture_foreign", "error", probed(always(answer(302))), RIGHT, "A redirect loses the report"),
    Row("capture_foreign", "error", probed(always(html(status=403))), RIGHT, "403, text/html"),
    Row("capture_foreign", "error", probed(always(answer(422, PROBLEM, body=b"[" * 9999))), RIGHT),
    Row("capture_foreign", "error", probed(always(answer(422, PROBLEM, body=b"[]"))), RIGHT),
    Row("host_changed", "warning", probed(always(refusal("cross_origin")), "host"), RIGHT, "proxy_set_header Host"),
    Row("cors", "warning", probed(always(refusal("method", ("Access-Control-Allow-Origin", "*"))), "preflight"), RIGHT),
    Row("cors", "error",
        probed(always(refusal("method", ("Access-Control-Allow-Origin", "https://stranger.invalid"),
                              ("Access-Control-Allow-Credentials", "true"))), "preflight"), RIGHT, "with credentials"),
    Row("capture_kept", "warning", probed(lambda probe: refusal(probe.reason, without="cache-control"), "get"), RIGHT),
    Row("no_allow", "warning", probed(lambda probe: refusal(probe.reason, without="allow"), "get"), RIGHT),
    *(Row(f"refuses_{probe.code}", "error", probed(always(said("anonymous")), probe.code), RIGHT, probe.what)
      for probe in PROBES if probe.code not in ("control", "host")),
    Row("refuses_form", "error", probed(always(refusal("ids")), "form"), RIGHT, "422"),
    Row("refuses_form", "warning", probed(always(answer(302)), "form"), RIGHT, "302"),
    Row("refuses_form", "warning", probed(always(None), "form"), RIGHT, "no answer"),
    # The cookies
    Row("cookies", "ok", forgotten(*DROPS), forgotten(*DROPS, change=("Lax", "None")), "SameSite=Lax"),
    Row("cookies", "ok", forgotten(*DEV_DROPS, https=False), []),
    *(Row("cookie_flags", "error", forgotten(*DROPS, change=change), RIGHT, fault)
      for change, fault in (
          (("; HttpOnly", ""), "no HttpOnly"), (("; SameSite=Lax", ""), "no SameSite=Lax"),
          (("Path=/", "Path=/a"), "no Path=/"),
          (("; Secure", "; Secure; Domain=shop.example"), "a Domain"), (("; Secure", ""), "no Secure"),
          (("__Host-", "__Secure-"), "no __Host- prefix"),
      )),
    Row("dev_in_public", "error", forgotten(*DEV_DROPS),
        forgotten(*DEV_DROPS, https=False), "dev=True"),
    Row("cookies_lost", "error", forgotten(), forgotten(*DROPS, "theme=; Max-Age=0")),
    Row("cookies_lost", "error", forgotten("theme=; Max-Age=0; Path=/"), RIGHT),
    Row("forget", "error", cookies.forgetting(None, is_https=True), forgotten(*DROPS)),
    Row("forget", "error", cookies.forgetting(answer(405), is_https=True),
        cookies.forgetting(refusal("plain_http"), is_https=False), "405"),
    # A real capture
    Row("capture", "ok", captured(said("queued", KEEPS)), captured(said("busy", KEEPS)), "push is on its way"),
    Row("capture", "ok", captured(said("current", KEEPS)), captured(said("anonymous", KEEPS)), "already"),
    Row("capture", "warning", captured(said("anonymous", KEEPS)), captured(said("queued", KEEPS)), "subrequest="),
    Row("capture", "warning", captured(said("declined")), captured(said("queued", KEEPS)), "consent="),
    Row("capture", "warning", captured(said("busy", KEEPS)), captured(said("queued", KEEPS)), "mailbox"),
    Row("capture", "warning", captured(said("new-word")), captured(said("queued", KEEPS)), "release"),
    Row("capture", "error", captured(refusal("ids")), captured(said("queued", KEEPS)), "--chatbot-id"),
    Row("capture", "error", captured(None), captured(said("queued", KEEPS)), "nothing"),
    Row("capture", "error", captured(html(status=502)), captured(said("queued", KEEPS)), "502"),
    Row("capture", "error", captured(answer(200, ("Content-Type", "application/json"), body=b"{")), RIGHT, "200"),
    Row("cookies_lost", "error", captured(said("queued", "session=x; HttpOnly")), captured(said("declined"))),
    Row("cookie_flags",
        "error", captured(said("queued", KEEPS.replace("; Secure", ""))), captured(said("queued", KEEPS))),
    Row("page_private",
        "ok", cookies.page_with_chat(html("", ("Set-Cookie", KEEPS), ("Cache-Control", "private")), NAMES),
        cookies.page_with_chat(html(), NAMES)),
    Row("page_not_private", "error", cookies.page_with_chat(html("", ("Set-Cookie", KEEPS)), NAMES),
        cookies.page_with_chat(html("", ("Set-Cookie", "a=b")), NAMES) + cookies.page_with_chat(None, NAMES)),
    Row("undone", "ok", cookies.undone(said("forgotten")), cookies.undone(None)),
    Row("undone", "warning", cookies.undone(answer(503)), cookies.undone(said("forgotten"))),
    # Redirects
    Row("redirect", "info", [look.redirect(URL, URL + "/", 308)], [look.redirect(URL, None, 302)]),
    Row("redirect", "warning", [look.redirect(URL, NEAR, 302)], [look.redirect(URL, URL + "/", 308)], "/login;"),
    Row("redirect_https", "info", [look.redirect("http://shop.example/", "https://shop.example/", 301)],
        [look.redirect("http://shop.example/", "https://www.shop.example/", 301)]),
    Row("redirect_elsewhere", "error", [look.redirect("http://shop.example/", "https://www.shop.example/", 301)],
        [look.redirect(URL, NEAR, 302)], "https://www.shop.example,"),
    Row("redirect_elsewhere",
        "error", [look.redirect(URL, "http://shop.example/", 301)], [look.redirect(URL, NEAR, 302)]),
    Row("redirect_wrong", "error", [look.redirect(URL, None, 302)], [look.redirect(URL, NEAR, 302)]),
    # The webhook
    Row("webhook", "ok", reached(401), reached(503), "certificate is right"),
    Row("webhook", "ok", reached(405), reached(404)),
    Row("webhook_redirects", "warning", reached(301), reached(200)),
    Row("webhook_not_found", "warning", reached(404), reached(200), "--push"),
    Row("webhook_down", "warning", reached(502), reached(200)),
    Row("webhook_tls", "error", link.reached(Outcome("hold", "tls"), is_https=True), reached(200)),
    Row("webhook_timeout", "error", link.pushed(Outcome("again", "timeout")), pushed(204)),
    Row("webhook_unreachable", "error", link.reached(Outcome("again", "network"), is_https=True), reached(200)),
    Row("push", "ok", pushed(204), pushed(401)),
    Row("push_token", "error", pushed(401), pushed(204)),
    Row("push_token", "error", pushed(403), pushed(400)),
    Row("push_not_found", "error", pushed(404), pushed(422), "--endpoint"),
    Row("push_refused", "warning", pushed(422), pushed(204), "payload="),
    Row("push_again", "warning", pushed(429), pushed(204), "wait"),
    Row("push_again", "warning", pushed(500), pushed(204), "500"),
    Row("push_hold", "error", pushed(307), pushed(204)),
    Row("push_hold", "error", pushed(410), pushed(404)),
    *(Row(one.code, "info", list(link.UNKNOWN), RIGHT) for one in link.UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[f"{at}-{row.code}" for at, row in enumerate(ROWS)])
def test_each_finding(row: Row) -> None:
    """Each finding is there where it must be, with its level, its text and its cure; and not where it must not."""
    found = [one for one in row.there if (one.code, one.level) == (row.code, row.level)]
    assert found, row.there
    assert row.words in f"{found[0].text} {found[0].cure}"
    assert (row.code, row.level) not in {(one.code, one.level) for one in row.not_there}


def test_a_right_site_has_nothing_wrong() -> None:
    """What a right site answers makes no finding but good ones."""
    assert {one.level for one in RIGHT} == {"ok"}


def codes() -> Iterator[str]:
    """Every code that stands in the source."""
    for file in sorted((Path(reve_middleware.__file__).parent / "check").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(ast.Name("Finding"), [_, ast.Constant(str() as code), *_]):
                    yield code


BY_HAND = {"unreachable", "redirects", "cookie_withheld"}
"""Of what is sent, not of what comes back: test_check_site.py and test_check_look.py have them."""


def test_every_finding_has_its_row() -> None:
    """No finding is without a row."""
    assert {*codes()} - BY_HAND <= {row.code for row in ROWS}
    assert len({*codes()}) > 60


def test_every_finding_is_one_plain_line() -> None:
    """A text is one line of visible ASCII that ends in a full stop; whatever is wrong has a cure."""
    for row in ROWS:
        for one in (*row.there, *row.not_there):
            assert re.fullmatch(r"[ -~]+\.", one.text), one
            assert re.fullmatch(r"([ -~]+[.?)])?", one.cure), one
            assert one.cure or one.level in ("ok", "info"), one


@pytest.mark.parametrize("probe", PROBES, ids=[probe.code for probe in PROBES])
def test_no_probe_can_capture(probe: Probe) -> None:
    """The core itself refuses each probe, for the reason that is expected."""
    from reve_middleware.messages import Request
    from reve_middleware.settings import Settings

    settings = Settings(
        {"webhook_url": "https://reve.invalid/x", "token": "t", "chatbot_id": "b", "secret_key": "k" * 32}
    )
    headers = [(name.lower().encode(), value.encode()) for name, value in probe.headers.items()]
    headers += [(b"host", b"shop.example"), (b"content-length", str(len(probe.body)).encode())]
    request = Request(probe.method, "/_reve/session", "", "https", headers)
    refused = capture.refusal_of_head(request, settings) or capture.read_ids(probe.body, settings)
    assert refused == capture.Refusal(probe.reason)


@pytest.mark.parametrize(
    ("tag_path", "page_path", "places"),
    [
        ("/_reve/bridge.js", "/", []),
        ("/_reve/bridge.js", "/shop/a/b", ["/shop/_reve/bridge.js", "/shop/a/_reve/bridge.js"]),
        ("/shop/_reve/bridge.js", "/", ["/_reve/bridge.js"]),
    ],
)
def test_where_else_the_script_may_be(tag_path: str, page_path: str, places: list[str]) -> None:
    """A script that is not where the tag says is looked for where a proxy's prefix would put it."""
    origin = "https://shop.example"
    found = script.other_places(f"{origin}{tag_path}?v=1", f"{origin}{page_path}")
    assert found == [f"{origin}{place}?v=1" for place in places]


@pytest.mark.parametrize(
    ("url", "is_this_machine"),
    [
        ("http://localhost/", True),
        ("http://shop.localhost:8000/", True),
        ("http://127.0.0.1:8000/", True),
        ("http://[::1]:8000/", True),
        ("http://[::1]/", True),
        ("http://127.example/", False),
        ("http://127.0.0.1.example/", False),
        ("http://localhost.example/", False),
        ("http://shop.example:8000/", False),
    ],
)
def test_this_machine(url: str, is_this_machine: bool) -> None:
    """Browsers trust this machine without TLS; and https wherever it leads."""
    assert caching.is_loopback(url) is is_this_machine
    assert caching.is_trustworthy(url) is is_this_machine
    assert caching.is_trustworthy(url.replace("http:", "https:"))
