"""Pages of other origins against a shop, in a real Chromium. Each docstring is a promise.

Every try has a label, and what arrived is compared with a table: an attack that never reached the shop proves nothing.
"""

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from attacking import ATTACKS, SHOP, Seen, Stage
from browser import chromium
from fakes import PATIENCE
from starlette.middleware.cors import CORSMiddleware

from reve_middleware.cookie import Ids
from reve_middleware.mark import Mark

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

FOES = {
    "another port": (SHOP, True),
    "plain http": (SHOP, False),
    "a sub-domain": ("user.www.shop.test", True),
    "a sibling": ("blog.shop.test", True),
    "another site": ("evil.test", True),
}
REFUSED = 403
"""`POST`s that arrive."""
ARRIVES = {
    REFUSED: [
        "no-cors", "no-cors JSON", "no-cors bridge", "no-cors blob", "no-cors keepalive", "no-cors by the site",
        "no-cors by a redirect", "cors", "cors without cookies", "cors by a redirect", "XHR", "beacon text",
        "beacon blob", "beacon form", "beacon parameters", "ping", "form, urlencoded", "form, multipart",
        "form, text", "form, by the site", "form, new window", "sandboxed, no-cors", "sandboxed, form",
        "blob:, no-cors", "blob:, form",
    ],
    "preflight": [
        "cors JSON", "cors bridge", "cors DELETE", "cors DELETE bridge", "cors PUT", "XHR bridge", "beacon JSON",
        "sandboxed, cors", "blob:, cors",
    ],
    "GET": [
        "cors GET", "img", "script", "script, module", "script, crossorigin", "stylesheet", "prefetch", "video",
        "embed", "object", "iframe", "iframe, meta refresh", "iframe, location", "iframe, no credentials",
        "EventSource", "importScripts", "window.open", "window.open, noopener", "link", "link, noreferrer",
    ],
    "HEAD": ["no-cors HEAD"],
}  # fmt: skip
MADE_OF = {REFUSED: ("POST", 403), "preflight": ("OPTIONS", 405), "GET": ("GET", 405), "HEAD": ("HEAD", 405)}
EXPECTED = {label: MADE_OF[kind] for kind, labels in ARRIVES.items() for label in labels}
NUMBERS = count(1)
TRIES = 3
NOT_SENT = {"same-origin": "TypeError", "no-cors DELETE": "TypeError"}
"""What the browser itself refuses."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def wsgi_stage() -> Iterator[Stage]:
    with Stage(wsgi=True) as stage:
        yield stage


@pytest.fixture(scope="module")
def open_stage() -> Iterator[Stage]:
    with Stage(outside=open_to_all) as stage:
        yield stage


@pytest.fixture
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    with browser.new_context(ignore_https_errors=True) as context:
        yield context


@pytest.fixture
def session() -> str:
    """One that no test before has had: the shop remembers."""
    return f"own-{next(NUMBERS)}"


def log_in(context: "BrowserContext", stage: Stage, user: str = "ada") -> "Page":
    stage.forget()
    stage.webhook.posts.clear()
    page = context.new_page()
    page.goto(f"{stage.shop}/login?user={user}")
    return page


def capture(page: "Page", session: str) -> Any:
    return page.evaluate("(session) => chatbot.identify({session_id: session})", session)


def own_cookies(context: "BrowserContext", stage: Stage) -> dict[str, str]:
    """Those without a `Domain=`. (By name it cannot be told: Playwright shows `\\xa0__Host-reve` as `__Host-reve`.)"""
    return {
        one["name"]: one["value"]
        for one in context.cookies(stage.shop)
        if (one["domain"], one["name"][:2]) == (SHOP, "__")
    }


def attack(context: "BrowserContext", stage: Stage, foe: str) -> list[Seen]:
    """A page of that origin tries all it can; what came of it. (Now and then, about once in a hundred pages, a frame
    under a debugger hangs: then the page is loaded once more.)"""
    host, tls = FOES[foe]
    for _ in range(TRIES):
        page = context.new_page()
        page.goto(stage.foe(host, tls=tls))
        told = page.evaluate(ATTACKS, f"{stage.shop}/_reve/session")
        assert NOT_SENT.items() <= told.items()
        complete = stage.have_come({*EXPECTED}, PATIENCE / TRIES)
        for other in context.pages[1:]:
            other.close()
        if complete:
            break
    return stage.reports()


def assert_refused(seen: list[Seen]) -> None:
    assert {one.label: (one.method, one.status) for one in seen} == EXPECTED
    assert [one for one in seen if one.set_cookies] == []
    assert {one.headers["sec-fetch-site"] for one in seen} <= {"cross-site", "same-site"}


@pytest.mark.parametrize("foe", FOES)
def test_another_origin_changes_nothing(stage: Stage, context: "BrowserContext", session: str, foe: str) -> None:
    """Forms, fetch in every mode, beacons, whatever loads, frames, redirects and navigations, from another port,
    scheme, sub-domain, sibling or site, with the visitor's login in hand: all refused, no cookie is set, changed or
    dropped, nothing is pushed."""
    page = log_in(context, stage)
    assert capture(page, session) == {"status": "queued"}
    cookies = own_cookies(context, stage)
    assert set(cookies) == {"__Host-reve", "__Host-reve-mark"}
    stage.forget()
    assert_refused(attack(context, stage, foe))
    page.goto(f"{stage.shop}/account")
    assert own_cookies(context, stage) == cookies
    assert [push.chat for push in stage.pushed()] == [("bot", session)]


def test_another_origin_plants_nothing(wsgi_stage: Stage, context: "BrowserContext", session: str) -> None:
    """The same where the visitor has no chat yet: none is planted, nobody hears who the visitor is. (Over WSGI, where
    header names have been through an environ.)"""
    page = log_in(context, wsgi_stage)
    assert_refused(attack(context, wsgi_stage, "a sub-domain"))
    page.goto(f"{wsgi_stage.shop}/account")
    assert (own_cookies(context, wsgi_stage), wsgi_stage.pushed()) == ({}, [])
    assert capture(page, session) == {"status": "queued"}
    assert [push.chat for push in wsgi_stage.pushed()] == [("bot", session)]


def test_the_shops_own_page_by_way_of_a_foe(stage: Stage, context: "BrowserContext", session: str) -> None:
    """A report that the shop's own page sends, and that a foe redirects back to the shop, is refused: it has passed
    through other hands. The same report sent straight is taken."""
    page = log_in(context, stage)
    send = """([address, session]) => fetch(address, {
      method: "POST", mode: address.startsWith(location.origin) ? "same-origin" : "no-cors", credentials: "include",
      headers: {"Content-Type": "application/json", "X-Reve-Bridge": "1"},
      body: JSON.stringify({session_id: session, chatbot_id: "bot"}),
    }).then((answer) => answer.status)"""
    address = f"{stage.shop}/_reve/session"
    stage.forget()
    for foe in ("user.www.shop.test", "evil.test"):
        page.evaluate(send, [stage.foe(foe, f"/307?{address}"), "theirs"])
    for _ in range(200):  # one is noted when it has been answered
        if len(stage.reports()) >= 2:
            break
        page.wait_for_timeout(10)
    assert [(one.method, one.status, one.set_cookies) for one in stage.reports()] == [("POST", 403, [])] * 2
    assert page.evaluate(send, [address, session]) == 200
    assert [push.chat for push in stage.pushed()] == [("bot", session)]


def open_to_all(app: Any) -> Any:
    return CORSMiddleware(
        app, allow_origin_regex=".*", allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
    )


def test_behind_a_cors_layer_that_is_open_to_all(open_stage: Stage, context: "BrowserContext", session: str) -> None:
    """Where a CORS layer around us lets every origin send everything, and read the answers, a page of another origin
    can send what the bridge sends, header for header: it is refused for where it comes from alone."""
    send = """([address, method]) => fetch(address, {
      method, mode: "cors", credentials: "include", body: method === "DELETE" ? undefined :
      JSON.stringify({session_id: "theirs", chatbot_id: "bot"}),
      headers: {"Content-Type": "application/json", "X-Reve-Bridge": "1"},
    }).then(async (answer) => [answer.status, (await answer.json()).detail])"""
    page = log_in(context, open_stage)
    assert capture(page, session) == {"status": "queued"}
    before = own_cookies(context, open_stage)
    for foe in ("user.www.shop.test", "evil.test"):
        page.goto(open_stage.foe(foe))
        for method in ("POST", "DELETE"):
            told = page.evaluate(send, [f"{open_stage.shop}/_reve/session", method])
            assert told == [403, "The request must come from a page of the same origin."]
    page.goto(f"{open_stage.shop}/account")
    assert own_cookies(context, open_stage) == before
    assert [push.chat for push in open_stage.pushed()] == [("bot", session)]


# Cookies that a sub-domain sets ----------------------------------------------------------------


def names() -> Iterator[str]:
    """Names like ours, as a sub-domain may try to set them."""
    for base in ("__Host-reve", "__Host-reve-mark"):
        yield from (base, base.lower(), base.upper(), f" {base}", f"\t{base}", f"={base}", f'"{base}"', f"{base}\x0b")
        yield from (f"\u2000{base}", f"\xa0{base}", f"\x85{base}", f"{base}\u3000", base.removeprefix("__Host-"))
        yield base.replace("__Host-", "__Secure-")


def test_a_sub_domain_sets_cookies(stage: Stage, context: "BrowserContext", session: str) -> None:
    """A sub-domain that sets genuine cookies of its own chat for the whole domain, under our names and names like ours,
    by header and by script: they reach the shop, and not one of them is believed, before the visitor has a chat or
    after."""
    cookies = stage.middleware._settings.cookies
    now = context.new_page().evaluate("Date.now()") * 1000
    ids = cookies.write_ids(Ids("bot", "theirs", now)).decode().partition("=")[2].partition(";")[0]
    hasher = stage.middleware._settings.hasher
    theirs = Mark(hasher.digest("session", "bot\0theirs"), "who", "", "profile", now)
    mark = cookies.write_mark(theirs, Ids("bot", "theirs", now), now).decode().partition("=")[2].partition(";")[0]
    stage.toss = [
        f"{name}={mark if 'mark' in name.lower() else ids}; Domain={domain}; Path={path}; Secure"
        for name in names()
        for domain, path in (("shop.test", "/"), ("www.shop.test", "/account"))
    ]
    page = log_in(context, stage)

    def toss() -> None:
        foe = context.new_page()
        foe.goto(stage.foe("user.www.shop.test", "/toss"))
        foe.evaluate("(cookies) => { for (const cookie of cookies) document.cookie = cookie; }", stage.toss)
        foe.close()

    def at_the_shop() -> tuple[list[str], str]:
        """What the shop set, and what it was sent."""
        stage.forget()
        page.goto(f"{stage.shop}/account")
        (seen,) = (one for one in stage.seen if one.path == "/account")
        return seen.set_cookies, seen.headers["cookie"]

    toss()
    set_cookies, sent = at_the_shop()
    assert sent.count(ids) > 4, "they came along"
    assert "__Host-reve=" not in sent.split("; ")
    assert (set_cookies, own_cookies(context, stage), stage.pushed()) == ([], {}, [])

    assert capture(page, session) == {"status": "queued"}
    before = own_cookies(context, stage)
    toss()
    set_cookies, sent = at_the_shop()
    assert sent.count(ids) > 4
    assert (set_cookies, own_cookies(context, stage)) == ([], before)
    page.goto(f"{stage.shop}/login?user=grace")
    page.goto(f"{stage.shop}/account")
    assert [push.chat for push in stage.pushed()] == [("bot", session)]
