"""The sandbox's pages in a real Chromium. Each docstring is a promise.

With SCREENSHOTS=directory in the environment the tests leave pictures there; one of them is
docs/images/sandbox.png.
"""

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from browser import chromium
from browsing import ADA, LOOKS, PATIENCE, expect, picture
from looking import faint, focused, overflow, texts

from reve_middleware.sandbox import Misbehaviour, Sandbox
from reve_middleware.sandbox.serving import serve_asgi
from reve_middleware.sandbox.shop import Shop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

LONG = "x" * 300
STILL = {**LOOKS, "reduced_motion": "reduce"}
NARROW = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


class Operator:
    """Somebody at the operator's page, and a website that pushes."""

    def __init__(self, page: "Page", site: httpx.Client, sandbox: Sandbox) -> None:
        self.page, self.site, self.sandbox = page, site, sandbox
        self.url = str(site.base_url).rstrip("/")
        self.complaints: list[str] = []
        """Errors and warnings in the browser's console; the policy's violations are among them."""
        self.hosts: set[str] = set()
        """Whom the page asked."""
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(error.message))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def come(self) -> None:
        self.page.goto(self.url)
        expect(self.find("live")).to_have_text("Live")

    def find(self, testid: str) -> "Locator":
        return self.page.get_by_test_id(testid)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def open_session(self) -> str:
        session: str = self.site.post("/widget/session").json()["session_id"]
        self.site.post(f"/widget/session/{session}/begin?outcome=called")
        return session

    def push(self, session: str = "s-1", token: str | None = None, **data: object) -> int:
        """The status of the answer."""
        body = {"botId": self.sandbox.chatbot_id, "sessionId": session, "data": data}
        headers = {"Authorization": f"Bearer {token or self.sandbox.token}", "User-Agent": "a-website/1.0"}
        answer = self.site.post(f"{self.sandbox.webhook_path}/login", json=body, headers=headers)
        return answer.status_code

    def refuse_to_misbehave(self, why: str) -> None:
        """Press the button, and be told why not."""
        self.find("misbehave").click()
        expect(self.find("fault-wrong")).to_contain_text(why)

    def tell_a_story(self) -> str:
        """A visitor who logs in and edits the phone; a token that was rotated; a webhook that was down for once."""
        session = self.open_session()
        self.push(session, **ADA)
        old = self.sandbox.token
        self.sandbox.rotate_token()
        edited = ADA | {"phone": "+44 20 7946 0999"}
        assert self.push(session, token=old, **edited) == 401
        self.sandbox.misbehave(status=503, retry_after=2, times=1)
        assert [self.push(session, **edited) for _ in range(2)] == [503, 200]
        self.site.post(f"/widget/session/{session}/say", json={"text": "Which plan do I have?"})
        return session


def site(url: str) -> httpx.Client:
    """The website's own client; there is no TLS to make ready for."""
    return httpx.Client(base_url=url, verify=False, timeout=30)


@pytest.fixture
def operator(browser: "Browser") -> Iterator[Operator]:
    """At the page of a new sandbox. The console must stay empty, and nobody else may be asked."""
    sandbox = Sandbox(patience=0)
    with serve_asgi(sandbox.app) as url, site(url) as client, browser.new_context(**STILL) as context:
        operator = Operator(context.new_page(), client, sandbox)
        operator.come()
        yield operator
        assert operator.complaints == []
        assert operator.hosts == {urlsplit(url).netloc}


# ---- the switches


SWITCHES = {
    "503 Unavailable": Misbehaviour(status=503),
    "429 Wait 10 s": Misbehaviour(status=429, retry_after="10"),
    "500 Broken": Misbehaviour(status=500),
    "401 Token refused": Misbehaviour(status=401),
    "410 Gone": Misbehaviour(status=410),
    "15 s Right, but late": Misbehaviour(seconds=15),
}


def test_each_switch_does_what_it_says(operator: Operator) -> None:
    """One press and the webhook goes wrong so; a second press, and it does not; only one is pressed at a time."""
    pressed = operator.page.locator("#switches [aria-pressed=true]")
    for name, misbehaviour in SWITCHES.items():
        operator.page.get_by_role("button", name=name).click()
        expect(pressed).to_have_text([name])
        assert operator.sandbox.misbehaviour == misbehaviour
        if misbehaviour.status:
            assert operator.push(**ADA) == misbehaviour.status
    expect(operator.find("alarm")).to_contain_text("The webhook answers rightly, but after 15 s.")
    pressed.click()
    expect(pressed).to_have_count(0)
    expect(operator.find("alarm")).to_be_hidden()
    assert operator.sandbox.misbehaviour is None
    assert operator.push(**ADA) == 200
    expect(operator.find("request")).to_have_count(6)
    expect(operator.find("counts")).to_have_text("6 in all, 1 taken, 5 refused")


def test_any_misbehaviour_can_be_written(operator: Operator) -> None:
    """Status, Retry-After, stall and times; what cannot be is told with the cure, and changes nothing."""
    for name, value in {"status": "50x", "retry-after": "soon", "seconds": "0.01", "times": "2"}.items():
        operator.find(f"fault-{name}").fill(value)
    operator.refuse_to_misbehave("status='50x': use a number from 200 to 599")
    assert "400 (Bad Request)" in operator.complaints.pop()  # the browser's own note of it
    assert operator.sandbox.misbehaviour is None

    operator.find("fault-status").fill("502")
    operator.find("fault-times").press("Enter")
    expect(operator.find("alarm")).to_contain_text("answers 502 after 0.01 s, with Retry-After: soon, 2 times more.")
    expect(operator.find("fault-wrong")).to_be_empty()
    assert operator.sandbox.misbehaviour == Misbehaviour(status=502, retry_after="soon", seconds=0.01, times=2)
    assert operator.push(**ADA) == 502
    expect(operator.find("alarm")).to_contain_text("with Retry-After: soon, once.")
    assert operator.push(**ADA) == 502
    expect(operator.find("alarm")).to_be_hidden()
    assert operator.push(**ADA) == 200


def test_a_stalled_push_is_let_go(operator: Operator) -> None:
    """It is in the log while its caller waits; "Behave again" lets it go, and the focus does not get lost."""
    operator.find("fault-seconds").fill("60")
    operator.find("misbehave").click()
    expect(operator.find("alarm")).to_be_visible()
    answers: list[int] = []
    late = threading.Thread(target=lambda: answers.append(operator.push(**ADA)))
    late.start()
    expect(operator.find("request")).to_contain_text("60 s late")
    assert answers == []
    operator.page.get_by_role("button", name="Behave again").press("Enter")
    late.join(PATIENCE / 1000)
    assert answers == [200]
    expect(operator.find("alarm")).to_be_hidden()
    assert focused(operator.page) == ("button", "Misbehave", True)


# ---- what came


def test_the_log_shows_everything_but_the_token(operator: Operator) -> None:
    """Body, headers, answer and reason of each request; of what the bot knows, what the last push changed."""
    session = operator.tell_a_story()
    requests = operator.find("request")
    expect(requests).to_have_count(4)
    expect(requests.locator("summary .badge")).to_have_text(["200", "503", "401", "200"])
    expect(requests.nth(1)).to_contain_text("told to answer 503, Retry-After: 2")
    expect(requests.nth(2)).to_contain_text("this token is not (or no longer) valid")
    newest = requests.first
    expect(newest.locator("pre")).to_contain_text('"phone": "+44 20 7946 0999"')
    expect(newest.get_by_role("table", name="Headers")).to_contain_text("a-website/1.0")
    expect(newest.get_by_role("table", name="Headers")).to_contain_text(f"Bearer {operator.sandbox.token[:4]}…")
    assert operator.sandbox.token not in operator.page.content()

    (card,) = operator.find("session").all()
    assert card.get_attribute("data-session") == session
    expect(card.locator("tr.changed")).to_have_text("phone+44 20 7946 0101 +44 20 7946 0999 changed")
    expect(card.get_by_role("table").locator("tr")).to_have_count(len(ADA))
    expect(card.locator(".talk p").last).to_have_text("bot: Your plan is premium.")
    operator.push(session, **ADA, age=36)
    expect(card.locator("tr.changed")).to_have_count(2)
    expect(card.locator("tr.changed").last).to_have_text("age36 new")
    operator.page.get_by_role("button", name="429").click()
    assert operator.push(session, **ADA) == 429
    expect(requests).to_have_count(6)
    requests.first.locator("summary").click()
    expect(requests.first).not_to_have_attribute("open", "")
    operator.page.mouse.move(0, 0)
    picture(operator.page, "sandbox")


def test_what_is_heard(operator: Operator) -> None:
    """A screen reader is told of each request, of what an order did, and of its refusal."""
    operator.sandbox.misbehave(status=503, times=1)
    operator.push(**ADA)
    expect(operator.find("news")).to_have_text("New request: login, answered 503. told to answer 503")
    assert operator.find("news").get_attribute("aria-live") == "polite"
    operator.find("rotate-token").click()
    expect(operator.page.get_by_role("status")).to_have_text("New token. The old one is refused from now on.")
    operator.refuse_to_misbehave("give a status, or seconds to stall")
    assert operator.find("fault-wrong").get_attribute("role") == "alert"


def test_a_site_s_words_stay_words(operator: Operator) -> None:
    """Whatever a push says, it is text on the page."""
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    operator.push(evil, **{evil: evil, "name": evil})
    expect(operator.find("session").locator("td .value, td").first).to_have_text(evil)
    assert operator.page.locator("img, main script").count() == 0


def test_copying(operator: Operator) -> None:
    """The whole token, the webhook's address and the widget's HTML go to the clipboard; the page shows no more of the
    token than before."""
    operator.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=operator.url)
    wanted = {
        "Copy the token": operator.sandbox.token,
        "Copy the webhook\u2019s address": operator.url + operator.sandbox.webhook_path,
        "Copy the widget\u2019s HTML": operator.sandbox.snippet(operator.url),
    }
    for name, text in wanted.items():
        operator.page.get_by_role("button", name=name).click()
        expect(operator.find("told")).to_have_text(f"Copied the {name.removeprefix('Copy the ')}.")
        assert operator.page.evaluate("() => navigator.clipboard.readText()") == text
    assert operator.sandbox.token not in operator.page.content()


# ---- how it looks, and how it is reached


def look(operator: Operator, name: str) -> None:
    """In light and in dark, every text can be read; with a picture of each."""
    for scheme in ("dark", "light"):
        operator.page.emulate_media(color_scheme=scheme)
        assert faint(operator.page) == []
        picture(operator.page, f"operator-{name}-{scheme}")


def test_everything_can_be_read(operator: Operator) -> None:
    """In light and in dark every text has a contrast of 4.5 or more: empty, with pushes, and with something wrong; at
    360 pixels nothing is wider than the window, however long the words."""
    look(operator, "empty")
    operator.tell_a_story()
    expect(operator.find("request")).to_have_count(4)
    assert {"changed", "login", "premium", "as ever"} <= texts(operator.page).keys()
    look(operator, "pushes")

    operator.refuse_to_misbehave("give a status, or seconds to stall")
    operator.sandbox.misbehave(status=429, retry_after="1" * 200)
    operator.push(LONG, **{LONG: LONG})
    operator.sandbox.misbehave(status=599, seconds=0.001)
    operator.push(LONG, **{LONG: LONG})
    operator.sandbox.behave()
    operator.push(LONG, **{LONG: LONG})
    operator.sandbox.misbehave(status=429, retry_after="1" * 200, times=3)
    expect(operator.find("request")).to_have_count(7)
    expect(operator.find("alarm")).to_contain_text("3 times more")
    for each in operator.find("request").all():
        each.evaluate("(details) => { details.open = true; }")
    look(operator, "faults")
    operator.page.set_viewport_size(NARROW)
    assert overflow(operator.page) == 0
    picture(operator.page, "operator-narrow")


def test_light_and_dark(operator: Operator) -> None:
    """As the system has it, until the page is told otherwise; that lasts, and can be taken back."""
    page = operator.page
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.get_by_role("radio", name="Auto").focus()
    operator.press("ArrowRight")
    assert page.get_by_role("radio", name="Light").is_checked()
    assert page.evaluate(ground) == light
    operator.come()
    assert page.get_by_role("radio", name="Light").is_checked()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="light")
    operator.page.get_by_role("radio", name="Dark").check(force=True)
    assert page.evaluate(ground) == dark
    operator.page.get_by_role("radio", name="Auto").check(force=True)
    assert page.evaluate(ground) == light


KEYS = [
    "Skip to the requests", "Auto", "Copy the webhook\u2019s address", "Copy the token", "Rotate the token",
    "Copy the widget\u2019s HTML", "503", "429", "500", "401", "410", "15 s", "Status", "Retry-After", "Stall, seconds",
    "Times", "Misbehave", "Behave", "the bot knows", "200", "Body",
]  # fmt: skip


def test_all_of_it_by_keyboard(operator: Operator) -> None:
    """Tab reaches everything in the order it is read in, and one sees where one is; the link at the top skips to the
    requests; Enter opens one and Escape closes it; a switch is thrown with Space."""
    operator.push(**ADA)
    expect(operator.find("request")).to_have_count(1)
    reached = []
    for _ in KEYS:
        operator.press("Tab")
        element, name, shows = focused(operator.page)
        assert shows, name
        reached.append("the bot knows" if element == "div" else re.sub(r"\s+", " ", name))
    assert reached == KEYS

    request = operator.find("request")
    assert request.get_attribute("open") is not None
    operator.press("Escape")
    assert request.get_attribute("open") is None
    assert focused(operator.page)[0] == "summary"
    operator.press("Enter")
    assert request.get_attribute("open") is not None

    operator.come()
    operator.press("Tab", "Enter")
    assert focused(operator.page)[1] == "Webhook requests"
    operator.press("Tab")
    assert focused(operator.page)[0] == "summary"
    operator.page.get_by_role("button", name="503").focus()
    operator.press("Space")
    expect(operator.page.get_by_role("button", name="503")).to_have_attribute("aria-pressed", "true")
    assert operator.sandbox.misbehaviour == Misbehaviour(status=503)


def test_what_is_read_is_not_closed(operator: Operator) -> None:
    """The newest request opens itself, but not while somebody is in the one before it."""
    operator.push(**ADA)
    first = operator.page.locator("[data-number='1']")
    expect(first).to_have_attribute("open", "")
    first.locator("pre").focus()
    operator.push(**ADA)
    expect(operator.find("request")).to_have_count(2)
    expect(first).to_have_attribute("open", "")
    first.locator("pre").blur()
    operator.push(**ADA)
    expect(operator.page.locator("[data-number='3']")).to_have_attribute("open", "")
    expect(first).not_to_have_attribute("open", "")


# ---- other sites

ATTACK = """async (address) => {
  for (const what of ["rotate", "misbehave", "behave", "token"]) {
    for (const mode of ["no-cors", "cors"]) {
      const options = { method: "POST", mode, credentials: "include", body: '{"status": 500}' };
      const sent = fetch(`${address}/operator/${what}`, options);
      const came = await sent.then((answer) => answer.type, (error) => error.name);
      if (came !== (mode === "cors" ? "TypeError" : "opaque")) throw new Error(`${mode} ${what}: ${came}`);
    }
  }
}"""
FORM = """(address) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: address, enctype: "text/plain" });
  const input = document.createElement("input");
  Object.assign(input, { name: '{"status": 500, "retry_after": "', value: '"}' });
  form.append(input);
  document.body.append(form);
  form.submit();
}"""


def test_another_site_can_do_nothing(operator: Operator) -> None:
    """Scripts and forms of another port and of another host name: the token stays, and the webhook behaves."""
    token = operator.sandbox.token
    shop = Shop()
    with serve_asgi(shop.asgi) as url:
        for origin in (url, url.replace("127.0.0.1", "localhost")):
            page = operator.page.context.new_page()
            page.goto(origin)
            page.evaluate(ATTACK, operator.url)
            with page.expect_navigation() as navigation:
                page.evaluate(FORM, f"{operator.url}/operator/misbehave")
            assert navigation.value.status == 403
            page.close()
    assert (operator.sandbox.token, operator.sandbox.misbehaviour) == (token, None)


# ---- the chat on a site


def test_the_chat_can_be_read(browser: "Browser") -> None:
    """In light and in dark, as the page has it, which the shop lets one choose. What a push changed is marked in words.
    At 360 pixels it fits. Escape closes it, and the focus is where it was."""
    sandbox = Sandbox(patience=0)
    with serve_asgi(sandbox.app) as reve, site(reve) as client, browser.new_context(**STILL) as context:
        shop = Shop(head_html=sandbox.snippet(reve), note_html="<h2>Try this</h2><p>Open the chat.</p>")
        with serve_asgi(shop.asgi) as url:
            page = context.new_page()
            visitor = Operator(page, client, sandbox)
            page.goto(url)
            page.get_by_test_id("chat-button").press("Enter")
            expect(page.get_by_test_id("messages")).to_contain_text("Hello stranger!")
            session = page.get_by_test_id("session-id").get_attribute("title") or ""
            visitor.push(session, **ADA)
            expect(page.get_by_test_id("knows").locator("tr")).to_have_count(len(ADA))
            expect(page.locator("tr.changed")).to_have_count(0)
            visitor.push(session, **ADA | {"plan": LONG, "age": 36})
            expect(page.locator("tr.changed")).to_have_count(2)
            page.keyboard.type("Which plan?")
            page.keyboard.press("Enter")
            expect(page.get_by_test_id("messages")).to_contain_text(f"Your plan is {LONG}")
            assert {'"changed"', '"new"', "online", "Which plan?"} <= texts(page).keys()
            read_in_both(page)
            for path in ("/login", "/account"):
                page.goto(url + path)
                read_in_both(page)

            page.set_viewport_size(NARROW)
            assert overflow(page) == 0
            box = page.get_by_test_id("chat-window").bounding_box()
            assert box
            assert 0 <= box["x"] <= NARROW["width"] - box["width"]
            page.get_by_test_id("chat-input").focus()
            page.keyboard.press("Escape")
            expect(page.get_by_test_id("chat-window")).to_be_hidden()
            assert focused(page) == ("button", "Chat", True)
            visitor.push(session, **ADA | {"age": 37})
            expect(page.get_by_test_id("chat-button")).to_have_attribute("aria-label", "Chat, with a new message")
            assert visitor.complaints == []
            assert visitor.hosts == {urlsplit(url).netloc, urlsplit(reve).netloc}


def read_in_both(page: "Page") -> None:
    """The shop's page and its chat, in the colours that the shop's own buttons give."""
    expect(page.get_by_test_id("chat-status")).to_have_text("online")
    grounds = []
    for scheme in ("Dark", "Light"):
        page.get_by_role("radio", name=scheme).press("Space")
        grounds.append(
            page.evaluate(
                "(elements) => elements.map((element) => getComputedStyle(element).backgroundColor)",
                [page.query_selector("body"), page.get_by_test_id("chat-window").element_handle()],
            )
        )
        assert faint(page) == []
    assert grounds[0][0] != grounds[1][0]
    assert grounds[0][1] != grounds[1][1]
