"""The demo in a real Chromium, over ASGI and WSGI. Each docstring is a promise.

With SCREENSHOTS=directory in the environment the tests leave pictures there: phone.png is docs/images/demo.png.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium
from browsing import ADA, GRACE, LOOKS, PATIENCE, PLAIN, Visitor, expect, picture, plain_site
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import reve_middleware
from reve_middleware import ReveWSGIMiddleware
from reve_middleware.cli import DemoSite, demo_site
from reve_middleware.mailbox import SPACING
from reve_middleware.sandbox.serving import serve_asgi
from reve_middleware.sandbox.shop import Ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

SCRIPT = (Path(reve_middleware.__path__[0]) / "bridge.js").read_bytes()
TAG = (
    f'<script src="/_reve/bridge.js?v={hashlib.sha256(SCRIPT).hexdigest()[:16]}" '
    'data-function="identify" data-bot="shop-bot"></script>'
).encode()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["asgi", "wsgi"])
def demo(request: pytest.FixtureRequest) -> Iterator[DemoSite]:
    with demo_site(wsgi=request.param == "wsgi") as site:
        yield site


@pytest.fixture
def visitor(browser: "Browser", demo: DemoSite) -> Iterator[Visitor]:
    """On the demo's first page. The browser's console must stay empty."""
    with browser.new_context(**LOOKS) as context:
        visitor = Visitor(context.new_page(), demo.url, demo.sandbox, demo.middleware)
        visitor.visit()
        yield visitor
        assert visitor.complaints == []


# ---- The main job ---------------------------------------------------------------------------------------------


def later(visitor: Visitor) -> Callable[[float], None]:
    """Has the sender's clock say so many seconds more from then on; to be made before its first push."""
    ahead = [0.0]
    visitor.middleware._sender._clock = lambda: time.monotonic() + sum(ahead)
    return ahead.append


def test_the_whole_story(visitor: Visitor) -> None:
    """A stranger's chat learns with the next response who logged in, within 6 s what changed, and of the next
    person nothing until the widget reports again."""
    passed = later(visitor)
    session = visitor.open_chat()
    expect(visitor.bot).to_have_text(["Hello stranger!"])
    expect(visitor.find("knows-nothing")).to_be_visible()
    assert (set(visitor.cookies()), visitor.told()) == ({"reve"}, [])
    picture(visitor.page, "stranger")

    with visitor.page.expect_response(visitor.url + "/") as home:  # the first response to somebody logged in
        visitor.log_in("Ada")
    assert [value.partition("=")[0] for value in home.value.header_values("set-cookie")] == ["reve-mark"]
    expect(visitor.bot).to_have_text(["Hello stranger!", "Hello Ada Lovelace!"])
    visitor.sees_known(ADA)
    assert visitor.told() == [("login", ADA)]
    picture(visitor.page, "known")

    edited = ADA | {"phone": "+44 20 7946 0999"}
    if isinstance(visitor.middleware, ReveWSGIMiddleware):  # over ASGI it is waited for
        passed(SPACING)
    visitor.change_phone(edited["phone"])
    visitor.sees_known(edited, timeout=6000)
    expect(visitor.bot.last).to_have_text("I now have your phone: +44 20 7946 0999")
    picture(visitor.page, "phone")

    visitor.log_out()
    expect(visitor.bot.last).to_have_text("Goodbye.")
    expect(visitor.find("knows-nothing")).to_be_visible()
    story = [("login", ADA), ("login", edited), ("logout", {})]
    assert (visitor.cookies(), visitor.told()) == ({}, story)
    picture(visitor.page, "logged-out")

    visitor.log_in("Grace")
    visitor.change_phone(GRACE["phone"])
    assert b"Grace Hopper" in visitor.visit()
    assert (visitor.session, visitor.cookies(), visitor.told()) == (session, {}, story)

    ids = {"session_id": session, "chatbot_id": "shop-bot"}  # what the widget says when it reports again
    assert visitor.page.evaluate("(ids) => chatbot.identify(ids)", ids) == {"status": "queued"}
    visitor.sees_known(GRACE)
    expect(visitor.bot).to_have_text(
        [
            "Hello stranger!",
            "Hello Ada Lovelace!",
            "I now have your phone: +44 20 7946 0999",
            "Goodbye.",
            "Hello Grace Hopper!",
        ]
    )
    assert visitor.told() == visitor.told(session) == [*story, ("login", GRACE)]


def test_a_chat_that_begins_while_logged_in(visitor: Visitor) -> None:
    """The bot knows the name before its second message, with no page load in between."""
    visitor.log_in("Ada")
    visitor.sandbox.patience = PATIENCE / 1000  # the bot waits to be told, as long as a slow machine takes
    visitor.loads.clear()
    session = visitor.open_chat()
    expect(visitor.bot).to_have_text(["Hello Ada Lovelace!"])
    visitor.sees_known(ADA)
    visitor.say("Which plan do I have?")
    expect(visitor.bot).to_have_text(["Hello Ada Lovelace!", "Your plan is premium."])
    assert visitor.loads == []
    assert visitor.told() == visitor.told(session) == [("login", ADA)]
    picture(visitor.page, "ada")


def test_another_person_without_a_logout(visitor: Visitor) -> None:
    """The old chat hears nothing of them; the next conversation is theirs."""
    visitor.log_in("Ada")
    old = visitor.open_chat()
    visitor.sees_known(ADA)
    visitor.visit("/login")
    visitor.choose("Grace")
    visitor.visit("/account")
    assert (visitor.cookies(), visitor.told()) == ({}, [("login", ADA)])

    visitor.find("new-conversation").click()
    visitor.sees_known(GRACE)
    assert visitor.told(old) == [("login", ADA)]
    assert visitor.told(visitor.session) == [("login", GRACE)]


def test_the_token_is_rotated(visitor: Visitor, demo: DemoSite) -> None:
    """A new token, made on the operator's page while a chat is open, costs no push: the next one asks for it anew."""
    visitor.log_in("Ada")
    visitor.open_chat()
    visitor.sees_known(ADA)
    operator = visitor.page.context.new_page()
    operator.goto(demo.operator_url)
    expect(operator.get_by_test_id("live")).to_have_text("Live")
    expect(operator.get_by_test_id("request")).to_have_count(1)
    old = demo.sandbox.token
    operator.get_by_test_id("rotate-token").click()
    expect(operator.get_by_test_id("told")).to_have_text("New token. The old one is refused from now on.")
    expect(operator.get_by_test_id("token")).to_have_text(f"{demo.sandbox.token[:4]}…")
    assert demo.sandbox.token != old

    visitor.find("new-conversation").click()
    visitor.sees_known(ADA)
    visitor.told()
    assert [request.status for request in demo.sandbox.requests] == [200, 401, 200]
    expect(operator.get_by_test_id("request")).to_have_count(3)
    picture(operator, "operator")


# ---- What the browser gets ------------------------------------------------------------------------------------


def test_a_page_is_the_shops_own_and_one_tag(visitor: Visitor, demo: DemoSite) -> None:
    """With somebody logged in and a chat open, a page is what the shop wrote and one constant tag, first in head."""
    visitor.log_in("Ada")
    visitor.open_chat()
    visitor.sees_known(ADA)
    (login,) = (each["value"] for each in visitor.page.context.cookies() if each["name"] == demo.shop.cookie)
    for path in ("/", "/account", "/login"):
        bare = demo.shop.answer(Ask("GET", path, cookies=f"{demo.shop.cookie}={login}")).body
        assert b"Ada Lovelace" in bare
        assert visitor.visit(path) == bare.replace(b"<head>", b"<head>" + TAG, 1)
        assert visitor.page.evaluate("() => document.head.firstElementChild.outerHTML") == TAG.decode()


def test_the_cookies_are_out_of_reach_and_can_be_forgotten(visitor: Visitor) -> None:
    """No script reads the cookies, but `chatbot.forget()` drops them; what changes afterwards is not told."""
    visitor.log_in("Ada")
    visitor.open_chat()
    visitor.sees_known(ADA)
    cookies = visitor.cookies()
    assert set(cookies) == {"reve", "reve-mark"}
    for cookie in cookies.values():
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert visitor.page.evaluate("() => document.cookie") == ""

    assert visitor.page.evaluate("() => chatbot.forget()") == {"status": "forgotten"}
    assert visitor.cookies() == {}
    visitor.change_phone("+44 20 7946 0888")
    expect(visitor.page.get_by_role("status")).to_have_text("Saved.")
    assert (visitor.cookies(), visitor.told()) == ({}, [("login", ADA)])


# ---- What other origins can do --------------------------------------------------------------------------------

ATTACK = """async (address) => {
  const body = JSON.stringify({session_id: "theirs", chatbot_id: "shop-bot"});
  const json = {"Content-Type": "application/json"};
  const bridge = {...json, "X-Reve-Bridge": "1"};
  const tried = {
    "no-cors": {mode: "no-cors", body},
    "no-cors, more headers": {mode: "no-cors", body, headers: bridge},
    "cors, simple": {mode: "cors", body},
    "cors, JSON": {mode: "cors", body, headers: json},
    "cors, the bridge's headers": {mode: "cors", body, headers: bridge},
    "cors, forget": {mode: "cors", method: "DELETE", headers: {"X-Reve-Bridge": "1"}},
  };
  const came = {};
  for (const [name, options] of Object.entries(tried)) {
    const sent = fetch(address, {method: "POST", credentials: "include", ...options});
    came[name] = await sent.then((answer) => `${answer.type} ${answer.status}`, (error) => error.name);
  }
  for (const type of ["text/plain", "application/json"]) {
    came[`beacon, ${type}`] = navigator.sendBeacon(address, new Blob([body], {type}));
  }
  return came;
}"""
REFUSED = {
    "no-cors": "opaque 0",
    "no-cors, more headers": "opaque 0",
    "cors, simple": "TypeError",
    "cors, JSON": "TypeError",
    "cors, the bridge's headers": "TypeError",
    "cors, forget": "TypeError",
    "beacon, text/plain": True,  # it was sent
    "beacon, application/json": True,  # its preflight was
}
FORM = """(address) => {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: address, enctype: "text/plain"});
  const input = document.createElement("input");
  input.name = '{"session_id":"theirs","chatbot_id":"shop-bot","x":"';
  input.value = '"}';
  form.append(input);
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def others() -> Iterator[list[str]]:
    """Two origins that are not the shop's: one of the same site (another port), one of another site."""

    def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>elsewhere</title>")

    with serve_asgi(Starlette(routes=[Route("/", page)])) as url:
        yield [url, url.replace("127.0.0.1", "localhost")]


def attack(visitor: Visitor, origin: str) -> None:
    """A page of that origin, in the visitor's browser, tries all it can; and all of it has ended."""
    address = f"{visitor.url}/_reve/session"
    page = visitor.page.context.new_page()
    page.goto(origin)
    with (
        page.expect_event("requestfinished", lambda request: request.resource_type == "ping"),
        page.expect_event("requestfailed", lambda request: request.resource_type == "ping"),
    ):
        assert page.evaluate(ATTACK, address) == REFUSED
    with page.expect_navigation() as navigation:
        page.evaluate(FORM, address)
    assert (navigation.value.url, navigation.value.status) == (address, 403)
    page.close()


def test_another_origin_captures_nothing(visitor: Visitor, others: list[str]) -> None:
    """Whatever a page of another origin sends: no cookie is set, changed or dropped, and nothing is pushed."""
    visitor.log_in("Ada")
    for origin in others:
        attack(visitor, origin)
    visitor.visit("/account")
    assert (visitor.cookies(), visitor.told()) == ({}, [])

    session = visitor.open_chat()
    visitor.sees_known(ADA)
    cookies = visitor.cookies()
    for origin in others:
        attack(visitor, origin)
    visitor.visit("/account")
    assert visitor.cookies() == cookies
    assert visitor.told() == visitor.told(session) == [("login", ADA)]


# ---- Sites of other kinds -------------------------------------------------------------------------------------


def test_account_id_loads_the_widget(browser: "Browser") -> None:
    """With `account_id=` a page that knows nothing of REVE has the widget, and its bot greets by name."""
    with plain_site(browser, account_id="123") as visitor:
        tag = TAG.replace(b"></script>", b' data-account="123"></script>')
        assert visitor.visit() == PLAIN.replace(b"<head>", b"<head>" + tag)
        visitor.sandbox.patience = PATIENCE / 1000
        session = visitor.open_chat()
        expect(visitor.bot).to_have_text(["Hello Ada Lovelace!"])
        assert visitor.page.evaluate("() => __revechat_account") == "123"
        assert visitor.told() == visitor.told(session) == [(None, ADA)]


def test_a_strict_policy(browser: "Browser") -> None:
    """Under a policy that allows next to nothing but a nonce, all works and the browser complains of nothing."""
    policy = "default-src 'none'; script-src 'nonce-abc'; connect-src 'self'"
    with plain_site(browser, headers={"Content-Security-Policy": policy}) as visitor:
        visitor.page.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));"
        )
        tag = TAG.replace(b"></script>", b' nonce="abc"></script>')
        assert visitor.visit() == PLAIN.replace(b"<head>", b"<head>" + tag)
        identify = "() => chatbot.identify({session_id: 's-1'})"
        assert visitor.page.evaluate(identify) == {"status": "queued"}
        assert visitor.told() == visitor.told("s-1") == [(None, ADA)]
        assert visitor.page.evaluate("() => violations") == []
