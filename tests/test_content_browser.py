"""Policies and hostile pages in a real Chromium, with our layer in front (contract §2). Each docstring is a promise."""

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from attacking import Stage
from browser import chromium
from drive import said

from reve_middleware import script_tag

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PAGE = b"<!doctype html><html><head>%b<title>A page</title></head><body>Text</body></html>"
INLINE = b"window.ran = true;"
HASH = b64encode(sha256(INLINE).digest()).decode()
OWN = b'<script nonce="r4nd0m">%b</script>' % INLINE
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def tab(shared: Stage, browser: "Browser") -> "Iterator[Page]":
    with browser.new_context(ignore_https_errors=True) as context:
        context.add_init_script(WATCH)
        yield context.new_page()


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.middleware._notes._said.clear()
    shared.headers = {}
    shared.page = PAGE % OWN
    return shared


def identify(tab: "Page", session: str = "s-1") -> Any:
    return tab.evaluate("(session) => window.chatbot?.identify({session_id: session})", session)


SCRIPT, CONNECT = "script-src 'self', or a nonce", "connect-src 'self'"
POLICIES: dict[str, tuple[str, str | None]] = {
    "nonce": ("default-src 'none'; script-src 'nonce-r4nd0m'; connect-src 'self'", None),
    "hash": (f"script-src 'sha256-{HASH}'", SCRIPT),
    "hash, strict-dynamic": (f"script-src 'strict-dynamic' 'sha256-{HASH}'", SCRIPT),
    "strict-dynamic": ("script-src 'strict-dynamic' 'nonce-r4nd0m' https: 'unsafe-inline'; object-src 'none'", None),
    "'self'": (f"default-src 'self'; script-src 'self' 'sha256-{HASH}'", None),
    "'none'": ("script-src 'none'", SCRIPT),
    "default 'none'": ("default-src 'none'", f"{SCRIPT}; and {CONNECT}"),
    "connect-src elsewhere": ("script-src 'nonce-r4nd0m'; connect-src https://elsewhere.test", CONNECT),
    "trusted types": ("require-trusted-types-for 'script'; trusted-types 'none'; script-src 'nonce-r4nd0m'", None),
}


@pytest.mark.parametrize(("policy", "advice"), POLICIES.values(), ids=POLICIES)
def test_no_policy_is_violated(
    stage: Stage, tab: "Page", caplog: pytest.LogCaptureFixture, policy: str, advice: str | None
) -> None:
    """Under a policy that lets the script run, it runs, works and violates nothing; under one that does not, the page
    comes as the site wrote it, and one warning says what to add."""
    stage.headers = {"content-security-policy": policy}
    if "'none'" in policy.partition(";")[0] and advice:
        stage.page = PAGE % b""  # the page itself has no script then
    for _ in range(2):
        answer = tab.goto(f"{stage.shop}/")
        assert answer
    assert (answer.body() == stage.page) == (advice is not None)
    assert identify(tab) == (None if advice else {"status": "anonymous"})
    assert tab.evaluate("() => violations") == []
    text = "a page's Content-Security-Policy does not allow the script, so the page is not touched: add "
    assert said(caplog) == ([] if advice is None else [("policy", text + advice)])


def test_a_violation_would_be_seen(stage: Stage, tab: "Page") -> None:
    """The tag put in by hand where the policy forbids it is a violation: what is counted above is what happens."""
    stage.headers = {"content-security-policy": "script-src 'none'"}
    stage.page = PAGE % b'<script src="/_reve/bridge.js"></script>'
    tab.goto(f"{stage.shop}/")
    assert tab.evaluate("() => violations") == ["script-src-elem"]
    assert script_tag() == "", "which is what nobody outside of a request gets"


@pytest.mark.parametrize("policy", ["sandbox", "sandbox allow-scripts"])
def test_a_sandboxed_page(stage: Stage, tab: "Page", policy: str) -> None:
    """A page that its policy puts into a sandbox comes as the site wrote it, and the browser has nothing to say."""
    complaints: list[str] = []
    stage.headers = {"content-security-policy": policy}
    stage.page = PAGE % b""
    tab.on("console", lambda message: complaints.append(message.text))
    answer = tab.goto(f"{stage.shop}/")
    assert answer
    assert (answer.body(), complaints) == (stage.page, [])


XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">%b<body><p>Text</p></body></html>'


def test_xhtml(stage: Stage, tab: "Page") -> None:
    """In XHTML the tag is first in the head and works; an empty head is left empty, and the page stays well-formed."""
    stage.headers = {"content-type": "application/xhtml+xml"}
    for head, tagged in ((b"<head><title>x</title></head>", True), (b"<head/>", False)):
        stage.page = XHTML % head
        answer = tab.goto(f"{stage.shop}/")
        assert answer
        assert (answer.body() != stage.page) is tagged
        assert tab.evaluate("() => document.querySelectorAll('head > script:first-child').length") == int(tagged)
        assert tab.evaluate("() => document.querySelector('p').textContent") == "Text"
        assert identify(tab) == ({"status": "anonymous"} if tagged else None)


# A hostile window.chatbot ----------------------------------------------------------------------

OBJECTS = {
    "frozen": "Object.freeze({})",
    "frozen, of no prototype": "Object.freeze(Object.create(null))",
    "no prototype": "Object.create(null)",
    "getter alone": "{get identify() { return () => {}; }}",
    "throwing getter": "{get identify() { throw new Error('no'); }}",
    "throwing setter": "{set identify(value) { throw new Error('no'); }}",
    "both throw": "{get identify() { throw new Error('no'); }, set identify(value) { throw new Error('no'); }}",
    "proxy": "new Proxy({}, {get() { return 1; }, set() { return false; }, defineProperty() { return false; }})",
    "throwing proxy": "new Proxy({}, new Proxy({}, {get() { throw new Error('no'); }}))",
    "a function": "function () {}",
    "an array": "[]",
    "null": "null",
    "undefined": "undefined",
    "text": "'chatbot'",
    "a number": "7",
    "a symbol": "Symbol('chatbot')",
}
WINDOWS = {
    "accessor": "let own = {}; Object.defineProperty(window, 'chatbot', "
    "{get() { return own; }, set(value) { own = value; }, configurable: true});",
    "throwing setter": "const own = {}; Object.defineProperty(window, 'chatbot', "
    "{get() { return own; }, set() { throw new Error('no'); }});",
}
STRICT = "require-trusted-types-for 'script'; trusted-types 'none'; script-src 'nonce-r4nd0m'; connect-src 'self'"


@pytest.mark.parametrize("where", ["before", "after"])
def test_whatever_chatbot_is(stage: Stage, tab: "Page", where: str) -> None:
    """Whatever the page or an extension makes of `window.chatbot`, before the script runs or after, under Trusted
    Types: nothing is thrown, the function works, and no policy is violated."""
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(error.message))
    stage.headers = {"content-security-policy": STRICT}
    codes = {name: f"window.chatbot = {value};" for name, value in OBJECTS.items()}
    if where == "before":
        codes |= WINDOWS
    for name, code in codes.items():
        script = f'<script nonce="r4nd0m">{{ {code} }}</script>'.encode()
        stage.page = PAGE % script
        if where == "before":  # by hand: what our layer puts in is first
            by_hand = b'<script nonce="r4nd0m" src="/_reve/bridge.js" data-bot="bot"></script>'
            stage.page = b"<!doctype html>" + script + by_hand + b"<title>A page</title>"
        tab.goto(f"{stage.shop}/")
        assert identify(tab) == {"status": "anonymous"}, name
        assert tab.evaluate("() => window.chatbot.forget()") == {"status": "forgotten"}, name
        assert (tab.evaluate("() => violations"), errors) == ([], []), name


def test_what_the_site_said_is_no_code(stage: Stage, tab: "Page") -> None:
    """Ids that look like HTML or code reach the site as text, or are refused by it; the page does not change."""
    stage.headers = {"content-security-policy": STRICT}
    tab.goto(f"{stage.shop}/")
    before = tab.content()
    for value in ("<img src=x onerror=alert(1)>", "javascript:alert(1)", "${alert(1)}", "__proto__", "{}"):
        for param in (
            {"session_id": value},
            json.dumps({"session_id": value}),
            {"session_id": "s", "chatbot_id": value},
        ):
            told = tab.evaluate("(param) => chatbot.identify(param)", param)
            assert told["status"] in ("refused", "ignored") or value == "__proto__", (value, told)
    tab.evaluate('() => chatbot.identify(JSON.parse(\'{"__proto__": {"session_id": "s"}}\'))')
    assert tab.evaluate("() => ({}).session_id === undefined")
    assert (tab.content(), tab.evaluate("() => violations")) == (before, [])
