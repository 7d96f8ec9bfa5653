"""A visitor of a site with the sandbox's chat, in a real browser; and what the bot was really told.

`Visitor.told()` has the middleware deliver all that waits before it looks into the sandbox, so that "nothing" is
final and no test sleeps.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from reve_middleware import ReveMiddleware
from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page
    from playwright.sync_api import Route as Routed

PATIENCE = 10_000  # ms; only a failing test ever takes that long
PICTURES = os.environ.get("SCREENSHOTS")
LOOKS: dict[str, Any] = {
    "viewport": {"width": 1320, "height": 800},
    "color_scheme": "light",
    "device_scale_factor": 1.5 if PICTURES else 1,
}

ADA = {
    "id": "ada",
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "phone": "+44 20 7946 0101",
    "plan": "premium",
}
GRACE = {
    "id": "grace",
    "name": "Grace Hopper",
    "email": "grace@example.com",
    "phone": "+1 202 555 0142",
    "plan": "basic",
}


def expect(locator: "Locator") -> Any:
    """Playwright's `expect`, imported when Playwright is known to be there."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    return expect(locator)


def picture(page: "Page", name: str) -> None:
    """Leave a picture in the directory that SCREENSHOTS in the environment names, if it does."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES) / f"{name}.png", animations="disabled")


class Visitor:
    """A browser tab with a stranger to the site at `url`."""

    def __init__(self, page: "Page", url: str, sandbox: Sandbox, middleware: Any) -> None:
        self.page, self.url, self.sandbox, self.middleware = page, url, sandbox, middleware
        self.complaints: list[str] = []
        """Errors and warnings in the browser's console."""
        self.loads: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(error.message))
        page.on("framenavigated", lambda frame: self.loads.append(frame.url))

    # -- what a visitor does ---------------------------------------------------------------------

    def visit(self, path: str = "/") -> bytes:
        """Go to a page; the bytes that came."""
        answer = self.page.goto(self.url + path)
        assert answer
        return answer.body()

    def log_in(self, name: str) -> None:
        self.page.get_by_role("link", name="Log in").click()
        self.choose(name)

    def choose(self, name: str) -> None:
        """On the page with the two people, be this one."""
        self.page.get_by_role("button", name=name).click()
        expect(self.page.get_by_role("link", name=name)).to_be_visible()

    def log_out(self) -> None:
        self.page.get_by_role("button", name="Log out").click()
        expect(self.page.get_by_role("link", name="Log in")).to_be_visible()

    def change_phone(self, phone: str) -> None:
        self.visit("/account")
        self.page.get_by_label("Phone number").fill(phone)
        self.page.get_by_role("button", name="Save").click()

    def open_chat(self) -> str:
        """Open the chat; its session, once the bot has spoken."""
        self.find("chat-button").click()
        expect(self.bot.first).to_be_visible()
        return self.session

    def say(self, text: str) -> None:
        self.find("chat-input").fill(text)
        self.find("chat-send").click()

    # -- what a visitor sees ---------------------------------------------------------------------

    def find(self, testid: str) -> "Locator":
        return self.page.get_by_test_id(testid)

    @property
    def session(self) -> str:
        return self.find("session-id").get_attribute("title") or ""

    @property
    def bot(self) -> "Locator":
        """What the bot said."""
        return self.page.locator("[data-testid=message][data-speaker=bot]")

    def sees_known(self, person: dict[str, str], timeout: int = PATIENCE) -> None:
        """Wait until the table of what the bot knows holds this, and nothing else."""
        rows = [f"{field}{value}" for field, value in sorted(person.items())]
        expect(self.find("knows").locator("tr")).to_have_text(rows, timeout=timeout)

    # -- what a visitor does not see -------------------------------------------------------------

    def cookies(self) -> dict[str, Any]:
        """The middleware's cookies."""
        found = self.page.context.cookies(self.url)
        return {each["name"]: each for each in found if each["name"].startswith("reve")}

    def told(self, session: str | None = None) -> list[tuple[str | None, Any]]:
        """What came to the webhook for a session (else: for all), when all that waits has been delivered."""
        self.middleware.close()
        stats = self.middleware.stats()
        assert (stats["waiting"], stats["in_flight"]) == (0, 0)
        bodies = [(each.endpoint, json.loads(each.body)) for each in self.sandbox.requests]
        return [(endpoint, body["data"]) for endpoint, body in bodies if session in (None, body["sessionId"])]


PLAIN = b"<!doctype html><html><head><title>A page</title></head><body>Text</body></html>"


@contextmanager
def plain_site(browser: "Browser", headers: dict[str, str] | None = None, **keywords: Any) -> Iterator[Visitor]:
    """A visitor of a one-page site where everybody is Ada. REVE's own address leads to the sandbox."""

    def page(request: Request) -> Response:
        return HTMLResponse(PLAIN, headers=headers)

    sandbox = Sandbox()
    with ExitStack() as stack:
        reve = stack.enter_context(serve_asgi(sandbox.app))
        middleware = ReveMiddleware(
            Starlette(routes=[Route("/", page)]),
            webhook_url=reve + sandbox.webhook_path,
            token=sandbox.token,
            chatbot_id=sandbox.chatbot_id,
            secret_key="a secret key for tests, long enough",
            profile=lambda request: ADA,
            dev=True,
            **keywords,
        )
        url = stack.enter_context(serve_asgi(middleware))
        context = stack.enter_context(browser.new_context(**LOOKS))

        def lead(route: "Routed") -> None:
            route.fulfill(response=route.fetch(url=route.request.url.replace("https://static.revechat.com", reve)))

        context.route("https://static.revechat.com/**", lead)
        visitor = Visitor(context.new_page(), url, sandbox, middleware)
        yield visitor
        assert visitor.complaints == []
        visitor.page.goto("about:blank")  # the widget asks for ever; let what it asked last end before its routes do
        context.unroute_all(behavior="ignoreErrors")
