"""bridge.js in a real Chromium, against a small site on loopback. Each docstring is a promise.

Time is never waited for: where a test is about waiting, `timers` stands in for the page's setTimeout, tells
what the bridge waits for and lets it elapse on demand.
"""

import json
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import uvicorn
from browser import chromium, executable, missing
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import reve_middleware
from reve_middleware.cli.group import commands

pytestmark = pytest.mark.browser

BRIDGE = Path(reve_middleware.__path__[0]) / "bridge.js"
PATIENCE = 10  # seconds; only a failing test ever takes that long

# Math.random is part of a wait too; 15000 is the bound of an attempt, not a wait.
TIMERS = """
(() => {
  const timers = new Map();
  let last = 0;
  const waits = () => [...timers].filter(([n, timer]) => timer.ms !== 15000);
  Math.random = () => 1;
  window.setTimeout = (call, ms, ...args) => {
    timers.set(++last, {ms, call: () => call(...args)});
    return last;
  };
  window.clearTimeout = (n) => timers.delete(n);
  const fire = ([n, timer]) => { timers.delete(n); timer.call(); return timer.ms; };
  window.waits = () => waits().map(([n, timer]) => timer.ms);
  window.elapse = () => waits().map(fire);
  window.bounds = () => [...timers].filter(([n, timer]) => timer.ms === 15000);
  window.timeOut = () => window.bounds().map(fire);
})();
"""

WATCH = """
const later = window.setTimeout;
window.tooLong = () => new Promise((_, reject) => later(() => reject(new Error("took too long")), PATIENCE_MS));
window.events = [];
document.addEventListener("reve:session", (event) => window.events.push(event.detail));
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective));
""".replace("PATIENCE_MS", str(PATIENCE * 1000))


@dataclass
class Answer:
    """What the site answers to one request; `hold()` makes it wait until `release()`."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"status": "queued"})
    headers: dict[str, str] = field(default_factory=dict)
    held: threading.Event | None = None
    cut: bool = False  # the connection breaks in the middle of the body

    def hold(self) -> "Answer":
        self.held = threading.Event()
        return self

    def release(self) -> None:
        assert self.held is not None
        self.held.set()


class CutResponse(Response):
    async def __call__(self, scope, receive, send):
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"status": ', "more_body": True})


@dataclass
class Seen:
    """A request that reached the capture URL."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    abandoned: bool | None = None

    @property
    def ids(self) -> Any:
        return json.loads(self.body)


class Site:
    """The site: any URL is the page `html`, …/_reve/bridge.js the bridge, …/_reve/session answers as told."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.port = 0
        self.reset()

    def reset(self) -> None:
        self.html = ""
        self.headers: dict[str, str] = {}
        self.answers: deque[Answer] = deque()
        self.told: list[Answer] = []
        self.seen: list[Seen] = []
        self.under_way = self.most_under_way = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, *answers: Answer) -> None:
        self.answers.extend(answers)
        self.told.extend(answers)

    def wait(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE), (self.seen, self.under_way)

    def wait_seen(self, count: int) -> list[Seen]:
        self.wait(lambda: len(self.seen) >= count)
        return self.seen

    async def session(self, request: Request) -> Response:
        seen = Seen(request.method, request.url.path, dict(request.headers), await request.body())
        with self.changed:
            self.seen.append(seen)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            answer = self.answers.popleft() if self.answers else Answer()
            self.changed.notify_all()
        try:
            if answer.held is not None:
                await anyio.to_thread.run_sync(answer.held.wait, PATIENCE)
            abandoned = await request.is_disconnected()
        finally:
            with self.changed:
                self.under_way -= 1
                seen.abandoned = abandoned
                self.changed.notify_all()
        if answer.cut:
            return CutResponse(status_code=answer.status)
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, answer.headers, media_type="text/html")
        return JSONResponse(answer.body, answer.status, answer.headers)

    async def everything(self, request: Request) -> Response:
        path = request.url.path
        if path.endswith("/_reve/session"):
            return await self.session(request)
        if path.endswith("/_reve/bridge.js"):
            return Response(BRIDGE.read_bytes(), media_type="text/javascript")
        if path == "/favicon.ico":
            return Response(status_code=204)
        html = "<!doctype html><title>other</title>" if path == "/app/other" else self.html
        return Response(html, headers=self.headers, media_type="text/html")


def tag(src: str = "/app/_reve/bridge.js?v=abc", attributes: str = "", **data: str) -> str:
    data = {"function": "identify", "bot": "shop-bot"} | data
    pairs = " ".join(f'data-{key}="{value}"' for key, value in data.items() if value)
    return f'<script src="{src}" {pairs} {attributes}></script>'


WIDGET = tag(account="123", attributes='nonce="x"')


class Tab:
    """A browser tab on the site, and what went wrong in it. One for all tests: a new one takes its time."""

    def __init__(self, page: Any, site: Site) -> None:
        self.page = page
        self.site = site
        self.reset()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", lambda message: message.type == "warning" and self.warnings.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(error.message))

    def reset(self) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.first = script(WATCH)
        self.page.unroute_all()
        self.page.context.set_offline(False)

    def visit(self, before: str = "", bridge: str | None = None, after: str = "", path: str = "/app/page") -> None:
        """A page with the bridge in its <head>; `before` stands before it, `after` behind it."""
        head = self.first + before + (tag() if bridge is None else bridge) + after
        self.site.html = f"<!doctype html><html><head>{head}<title>page</title></head><body>text</body></html>"
        self.page.goto(self.site.url + path)

    def run(self, function: str, argument: Any = None) -> Any:
        """Calls a function in the page, and awaits what it returns. Playwright has no bound for that; we have."""
        bound = "...(window.tooLong ? [window.tooLong()] : [])"
        return self.page.evaluate(f"(argument) => Promise.race([({function})(argument), {bound}])", argument)

    def identify(self, session: Any = "s1", **more: Any) -> Any:
        """Calls what the widget calls, and awaits the promise."""
        return self.run("(param) => window.chatbot.identify(param)", {"session_id": session} | more)

    def start(self, name: str, call: str) -> None:
        """Makes a call and keeps its promise as window[name]; does not await it."""
        self.run(f"() => {{ window.{name} = {call}; }}")

    def until(self, condition: str) -> None:
        self.page.wait_for_function(condition)


def script(text: str) -> str:
    return f'<script nonce="x">{text}</script>'


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server():
    site = Site()
    app = Starlette(routes=[Route("/{path:path}", site.everything, methods=["GET", "POST", "DELETE"])])
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site.port = listener.getsockname()[1]
        # asyncio does so for its own sockets only; without it an answer takes 40 ms more.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield site
        server.should_exit = True
        thread.join()


@pytest.fixture
def site(server):
    server.reset()
    yield server
    for answer in server.told:
        if answer.held is not None:
            answer.held.set()
    server.wait(lambda: not server.under_way)


@pytest.fixture(scope="module")
def shared_tab(browser, server):
    with browser.new_context() as context:
        yield Tab(context.new_page(), server)


@pytest.fixture
def tab(shared_tab, site):
    shared_tab.reset()
    yield shared_tab
    assert shared_tab.errors == []


@pytest.fixture
def widget(tab):
    """Stands in for REVE's server; the list of the URLs that were loaded from it."""
    loaded: list[str] = []

    def fulfil(route):
        loaded.append(route.request.url)
        route.fulfill(content_type="text/javascript", body="window.widget = (window.widget || 0) + 1;")

    tab.page.route("https://static.revechat.com/**", fulfil)
    return loaded


@pytest.fixture
def timers(tab):
    tab.first += script(TIMERS)


# ---- What is sent ------------------------------------------------------------------------------------------


def test_ids_reach_the_capture_url(tab, site):
    """A call of the widget becomes one POST of both ids, as JSON, with the bridge's own header."""
    tab.visit()
    assert tab.identify("s1", chatbot_id="bot 1") == {"status": "queued"}
    (seen,) = site.seen
    assert (seen.method, seen.path) == ("POST", "/app/_reve/session")
    assert seen.body == b'{"session_id":"s1","chatbot_id":"bot 1"}'
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-reve-bridge"] == "1"
    assert seen.headers["sec-fetch-site"] == "same-origin"


def test_json_text_is_taken_too(tab, site):
    """The widget may hand over a JSON string instead of an object; ids in it are never rounded."""
    tab.visit()
    text = '{"session_id": 12345678901234567891, "chatbot_id": "b", "more": [1, 2]}'
    assert tab.run("(text) => chatbot.identify(text)", text) == {"status": "queued"}
    assert site.seen[0].ids == {"session_id": "12345678901234567891", "chatbot_id": "b"}


def test_numbers_become_text(tab, site):
    """Ids are sent as text, whatever they came as."""
    tab.visit()
    assert tab.run("() => chatbot.identify({session_id: 17, chatbot_id: 5n})") == {"status": "queued"}
    assert site.seen[0].ids == {"session_id": "17", "chatbot_id": "5"}


def test_one_bot_fills_a_missing_chatbot_id(tab, site):
    """With one bot a missing chatbot id is filled in; one that is there is kept, for the server to judge."""
    tab.visit()
    tab.identify("s1")
    tab.identify("s1", chatbot_id="other")
    tab.identify("s2", chatbot_id=None)
    assert [seen.ids["chatbot_id"] for seen in site.seen] == ["shop-bot", "other", "shop-bot"]


def test_fetch_options(tab):
    """A request can't leave the origin, be redirected or cached; it carries cookies and outlives the page."""
    tab.visit(
        before=script(
            "const own = window.fetch; window.init = [];"
            "window.fetch = function (url, init) { window.init.push({url, ...init, signal: !!init.signal});"
            " return own.call(this, url, init); };"
        )
    )
    tab.identify("s1")
    tab.run("() => chatbot.forget()")
    same = {
        "url": tab.site.url + "/app/_reve/session",
        "mode": "same-origin",
        "credentials": "same-origin",
        "redirect": "error",
        "cache": "no-store",
        "keepalive": True,
        "signal": True,
    }
    post, delete = tab.run("() => window.init")
    assert post == same | {
        "method": "POST",
        "body": '{"session_id":"s1","chatbot_id":"shop-bot"}',
        "headers": {"Content-Type": "application/json", "X-Reve-Bridge": "1"},
    }
    assert delete == same | {"method": "DELETE", "body": None, "headers": {"X-Reve-Bridge": "1"}}


def test_a_later_wrapper_of_fetch_sees_nothing(tab, site):
    """Session recorders that wrap window.fetch later on get no ids to record."""
    tab.visit(after=script("window.fetch = () => { throw new Error('recorded'); };"))
    assert tab.identify() == {"status": "queued"}
    assert len(site.seen) == 1


@pytest.mark.parametrize("mount", ["", "/app", "/deep/er/mount"])
def test_mount_prefix(tab, site, mount):
    """The capture URL is the script's own neighbour, whatever the mount, the page's path or its <base>."""
    bridge = tag(f"{mount}/_reve/bridge.js?v=a/b")
    tab.visit(bridge=bridge, after='<base href="/elsewhere/">', path="/some/page?x=/y/z")
    assert tab.identify() == {"status": "queued"}
    assert site.seen[0].path == f"{mount}/_reve/session"


def test_another_function_name(tab):
    """The function's name is what data-function says; no other is added."""
    tab.visit(bridge=tag(function="whoIsIt"))
    assert tab.run("() => chatbot.whoIsIt({session_id: 's'})") == {"status": "queued"}
    assert tab.run("() => Object.keys(chatbot)") == ["whoIsIt", "forget"]


def test_names_without_settings(tab):
    """A bare tag means identify, and no bot."""
    tab.visit(bridge=tag(function="", bot=""))
    assert tab.identify("s1", chatbot_id="b") == {"status": "queued"}


# ---- What is not sent --------------------------------------------------------------------------------------

RUBBISH = [
    "undefined",
    "null",
    "{}",
    "[]",
    "7",
    "true",
    "''",
    "'nonsense'",
    "'null'",
    "'[1]'",
    "Symbol()",
    "() => 1",
    "{session_id: ''}",
    "{session_id: null}",
    "{session_id: {}}",
    "{session_id: ['s']}",
    "{session_id: true}",
    "{session_id: NaN}",
    "{session_id: 1.5}",
    "{session_id: 2 ** 60}",
    "{get session_id() { throw new Error('no'); }}",
    "new Proxy({}, {get() { throw new Error('no'); }})",
    "{session_id: {toString() { throw new Error('no'); }}}",
]


def test_rubbish_is_ignored(tab, site):
    """Without a session id nothing is sent, nothing is thrown, and the promise resolves to say so."""
    tab.visit()
    for param in RUBBISH:
        outcome = tab.run(f"() => chatbot.identify({param})")
        assert outcome == {"status": "ignored", "reason": "no session_id"}, param
    assert tab.run("() => chatbot.identify()") == {"status": "ignored", "reason": "no session_id"}
    assert tab.run("() => window.events") == []
    assert site.seen == []


def test_no_chatbot_id(tab, site):
    """With several bots and no chatbot id nothing is sent, and the promise says so."""
    tab.visit(bridge=tag(bot=""))
    assert tab.identify() == {"status": "ignored", "reason": "no chatbot_id"}
    assert site.seen == []


def test_too_long(tab, site):
    """Ids the server would refuse for their length alone are not sent."""
    tab.visit()
    assert tab.identify("s" * 2048) == {"status": "ignored", "reason": "ids too long"}
    assert site.seen == []


# ---- What is answered --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["queued", "current", "anonymous", "declined", "busy", "forgotten"])
def test_answers(tab, site, status):
    """What the server says is what the promise says, and one event without ids tells the page."""
    site.answer(Answer(body={"status": status, "more": "ignored"}))
    tab.visit()
    assert tab.identify() == {"status": status}
    assert tab.run("() => window.events") == [{"status": status}]


@pytest.mark.parametrize("code", [400, 403, 405, 413, 415, 422, 404])
def test_refusals_are_not_repeated(tab, site, timers, code):
    """A refusal resolves the promise with code and reason, and is not repeated."""
    problem = {"title": "Not from here", "detail": "more", "status": code}
    site.answer(Answer(code, problem, {"content-type": "application/problem+json"}))
    tab.visit()
    assert tab.identify() == {"status": "refused", "code": code, "reason": "Not from here"}
    assert tab.run("() => window.waits()") == []
    assert tab.run("() => window.bounds().length") == 0
    assert tab.run("() => window.events") == [{"status": "refused"}]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(403, {"detail": "in detail"}), "in detail"),
        (Answer(403, b"<h1>login</h1>"), "not reve-middleware's answer"),
        (Answer(403, None), "not reve-middleware's answer"),
        (Answer(200, b"<h1>login</h1>"), "not reve-middleware's answer"),
        (Answer(200, {"status": 5}), "not reve-middleware's answer"),
        (Answer(204, b""), "not reve-middleware's answer"),
    ],
)
def test_answers_of_others(tab, site, timers, answer, reason):
    """An answer that is not ours (a login page, say) is a refusal, not a success, and not repeated."""
    site.answer(answer)
    tab.visit()
    assert tab.identify() == {"status": "refused", "code": answer.status, "reason": reason}
    assert tab.run("() => window.waits()") == []


def test_answers_cut_short(tab, site, timers):
    """Where the connection breaks in the middle of an answer, a success is asked for again, a refusal is not."""
    site.answer(Answer(413, cut=True), Answer(200, cut=True))
    tab.visit()
    assert tab.identify("a")["code"] == 413
    assert tab.run("() => window.waits()") == []
    tab.start("outcome", "chatbot.identify({session_id: 'b'})")
    tab.until("window.waits().length")
    tab.run("() => window.elapse()")
    assert tab.run("() => window.outcome") == {"status": "queued"}


# ---- Repeating ---------------------------------------------------------------------------------------------


def test_back_off(tab, site, timers):
    """429 and 5xx are repeated, after 1 s doubling to 60 s, until it works; then the wait starts anew."""
    codes = [429, 500, 501, 502, 503, 504, 599, 503]
    site.answer(*(Answer(code) for code in codes))
    tab.visit()
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    waits = []
    for _ in codes:
        tab.until("window.waits().length")
        waits += tab.run("() => window.elapse()")
    assert waits == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    assert tab.run("() => window.outcome") == {"status": "queued"}
    assert tab.run("() => window.events") == [{"status": "queued"}]
    assert len({seen.body for seen in site.seen}) == 1
    site.answer(Answer(503))
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    tab.until("window.waits().length")
    assert tab.run("() => window.waits()") == [1000]


def test_408_is_repeated(tab, site, timers):
    """So is 408. (Chromium itself already repeats it once on a connection that was used before.)"""
    site.answer(*[Answer(408)] * 4)
    tab.visit()
    tab.start("outcome", "chatbot.identify({session_id: 's1'}).then((outcome) => window.done = outcome)")
    tab.until("(window.elapse(), window.done)")
    assert tab.run("() => window.done") == {"status": "queued"}
    assert len(site.seen) == 5


def test_jitter(tab, site, timers):
    """A wait is shortened by chance, by up to a half: visitors do not come back all at one moment."""
    site.answer(Answer(503))
    tab.visit()
    tab.run("() => { Math.random = () => 0; }")
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    tab.until("window.waits().length")
    assert tab.run("() => window.waits()") == [500]


def test_network_failure_is_repeated(tab, site, timers):
    """A connection that fails is tried again."""
    tab.visit()
    tab.page.route("**/_reve/session", lambda route: route.abort(), times=1)
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    tab.until("window.waits().length")
    assert site.seen == []
    tab.run("() => window.elapse()")
    assert tab.run("() => window.outcome") == {"status": "queued"}


def test_redirects_are_not_followed(tab, site, timers):
    """The ids are never sent on to where a redirect points; it counts as a failed attempt."""
    site.answer(Answer(307, b"", {"location": "/app/elsewhere/_reve/session"}))
    tab.visit()
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    tab.until("window.waits().length")
    assert [seen.path for seen in site.seen] == ["/app/_reve/session"]


def test_an_attempt_has_a_bound(tab, site, timers):
    """An attempt without an answer is given up after 15 s and repeated."""
    stuck = Answer().hold()
    site.answer(stuck)
    tab.visit()
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    site.wait_seen(1)
    assert tab.run("() => window.timeOut()") == [15000]
    tab.until("window.waits().length")
    assert tab.run("() => window.elapse()") == [1000]
    assert tab.run("() => window.outcome") == {"status": "queued"}
    assert len(site.seen) == 2


def test_offline_then_online(tab, site, timers):
    """What failed for want of a network is sent as soon as the browser is online again, without waiting."""
    tab.visit()
    tab.page.context.set_offline(True)
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    for wait in (1000, 2000, 4000):
        tab.until("window.waits().length")
        assert tab.run("() => window.elapse()") == [wait]
    tab.until("window.waits().length")
    assert site.seen == []
    site.answer(Answer(503))
    tab.page.context.set_offline(False)  # nothing elapses until it has been sent
    site.wait_seen(1)
    tab.until("window.waits().length")
    assert tab.run("() => window.elapse()") == [1000]  # and what comes then begins anew
    assert tab.run("() => window.outcome") == {"status": "queued"}
    assert len(site.seen) == 2


def test_online_disturbs_nothing(tab, site):
    """An `online` event with nothing waiting, or with an attempt under way, does nothing."""
    held = Answer().hold()
    site.answer(held)
    tab.visit()
    tab.run("() => window.dispatchEvent(new Event('online'))")
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    site.wait_seen(1)
    tab.run("() => window.dispatchEvent(new Event('online'))")
    held.release()
    assert tab.run("() => window.outcome") == {"status": "queued"}
    assert len(site.seen) == 1


def test_the_page_is_left_right_after_the_call(tab, site):
    """A visitor who follows a link right after the call is still reported: the request outlives the page."""
    held = Answer().hold()
    site.answer(held)
    tab.visit()
    with tab.page.expect_navigation(url="**/app/other"):
        tab.run("() => { chatbot.identify({session_id: 's1'}); location.href = '/app/other'; }")
    assert tab.run("() => document.title") == "other"
    site.wait_seen(1)
    held.release()
    site.wait(lambda: not site.under_way)
    (seen,) = site.seen
    assert seen.ids["session_id"] == "s1"
    assert seen.abandoned is False


# ---- Order -------------------------------------------------------------------------------------------------


def test_one_at_a_time_and_the_newest_wins(tab, site):
    """While an attempt is under way, only the newest of the later calls is sent next; the others say so."""
    held = Answer().hold()
    site.answer(held)
    tab.visit()
    for session in ("a", "b", "c"):
        tab.start(session, f"chatbot.identify({{session_id: '{session}'}})")
    assert tab.run("() => window.b") == {"status": "superseded"}
    site.wait_seen(1)
    held.release()
    assert tab.run("() => Promise.all([window.a, window.c])") == [{"status": "queued"}] * 2
    assert [seen.ids["session_id"] for seen in site.seen] == ["a", "c"]
    assert site.most_under_way == 1
    assert tab.run("() => window.events") == [{"status": "queued"}] * 2


def test_a_newer_call_ends_the_waiting_of_an_older(tab, site, timers):
    """A newer call is sent at once when an older one waits to be repeated; the older is never sent again."""
    site.answer(Answer(503))
    tab.visit()
    tab.start("a", "chatbot.identify({session_id: 'a'})")
    tab.until("window.waits().length")
    assert tab.identify("b") == {"status": "queued"}
    assert tab.run("() => window.a") == {"status": "superseded"}
    assert tab.run("() => window.waits()") == []
    assert [seen.ids["session_id"] for seen in site.seen] == ["a", "b"]
    assert tab.run("() => window.events") == [{"status": "queued"}]


def test_a_failed_attempt_is_not_repeated_when_a_newer_call_waits(tab, site, timers):
    """An attempt that fails while a newer call waits makes room for it."""
    held = Answer(503).hold()
    site.answer(held)
    tab.visit()
    tab.start("a", "chatbot.identify({session_id: 'a'})")
    tab.start("b", "chatbot.identify({session_id: 'b'})")
    site.wait_seen(1)
    held.release()
    assert tab.run("() => window.a") == {"status": "superseded"}
    assert tab.run("() => window.b") == {"status": "queued"}
    assert tab.run("() => window.waits()") == []


def test_same_ids_same_promise(tab, site, timers):
    """A call with the ids of one that is under way, waits to be repeated or is next returns its promise."""
    first, second = Answer(503).hold(), Answer()
    site.answer(first, second)
    tab.visit()
    assert tab.run("""() => {
      const call = (s) => chatbot.identify({session_id: s});
      window.a = call("a");
      window.b = call("b");
      const text = chatbot.identify('{"session_id": "b"}');
      return [call("b") === window.b, text === window.b, call("a") === window.a];
    }""") == [True, True, True]
    assert tab.run("() => window.b") == {"status": "superseded"}  # back to "a", which is under way
    site.wait_seen(1)
    first.release()
    tab.until("window.waits().length")
    assert tab.run("() => chatbot.identify({session_id: 'a'}) === window.a") is True
    assert tab.run("() => window.waits()") == [1000]
    tab.run("() => window.elapse()")
    assert tab.run("() => window.a") == {"status": "queued"}
    assert [seen.ids["session_id"] for seen in site.seen] == ["a", "a"]
    tab.start("again", "chatbot.identify({session_id: 'a'})")
    assert tab.run("async () => (await window.again) !== (await window.a)") is True
    assert len(site.seen) == 3


def test_a_listener_may_call_again(tab, site):
    """A listener of reve:session may call the bridge, and may throw: order and promises stay right."""
    held = Answer().hold()
    site.answer(held)
    tab.visit()
    tab.run("""() => document.addEventListener("reve:session", () => {
      window.d = window.d || chatbot.identify({session_id: "d"});
      throw new Error("listener");
    })""")
    tab.start("a", "chatbot.identify({session_id: 'a'})")
    tab.start("b", "chatbot.identify({session_id: 'b'})")
    site.wait_seen(1)
    held.release()
    outcomes = tab.run("async () => [await window.a, await window.b, await window.d]")
    assert outcomes == [{"status": "queued"}] * 3
    assert [seen.ids["session_id"] for seen in site.seen] == ["a", "b", "d"]
    assert site.most_under_way == 1
    assert set(tab.errors) == {"listener"}
    tab.errors.clear()


# ---- forget() ----------------------------------------------------------------------------------------------


def test_forget(tab, site):
    """chatbot.forget() sends DELETE with the bridge's header and no body, and says "forgotten"."""
    site.answer(Answer(body={"status": "forgotten"}))
    tab.visit()
    assert tab.run("() => chatbot.forget()") == {"status": "forgotten"}
    (seen,) = site.seen
    assert (seen.method, seen.path, seen.body) == ("DELETE", "/app/_reve/session", b"")
    assert seen.headers["x-reve-bridge"] == "1"
    assert "content-type" not in seen.headers
    assert tab.run("() => window.events") == [{"status": "forgotten"}]


def test_forget_cancels_what_waits(tab, site, timers):
    """A call that waits to be repeated is cancelled by forget(); forget() itself is repeated as any other."""
    site.answer(Answer(503), Answer(503), Answer(body={"status": "forgotten"}))
    tab.visit()
    tab.start("a", "chatbot.identify({session_id: 'a'})")
    tab.until("window.waits().length")
    tab.start("gone", "chatbot.forget()")
    assert tab.run("() => window.a") == {"status": "superseded"}
    tab.until("window.waits().length")
    assert tab.run("() => window.elapse()") == [1000]
    assert tab.run("() => window.gone") == {"status": "forgotten"}
    assert [seen.method for seen in site.seen] == ["POST", "DELETE", "DELETE"]
    assert tab.run("() => window.waits()") == []


def test_forget_comes_after_what_is_under_way(tab, site):
    """An attempt under way ends before forget() is sent, so that forgetting has the last word."""
    held = Answer().hold()
    site.answer(held, Answer(body={"status": "forgotten"}))
    tab.visit()
    tab.start("a", "chatbot.identify({session_id: 'a'})")
    tab.start("b", "chatbot.identify({session_id: 'b'})")
    tab.start("gone", "chatbot.forget()")
    assert tab.run("() => window.b") == {"status": "superseded"}
    site.wait_seen(1)
    held.release()
    assert tab.run("() => window.a") == {"status": "queued"}
    assert tab.run("() => window.gone") == {"status": "forgotten"}
    assert [seen.method for seen in site.seen] == ["POST", "DELETE"]
    assert site.most_under_way == 1


# ---- A window.chatbot of the site's ------------------------------------------------------------------------

SITES_OWN = "{greeting: 'hello', identify(...args) { window.told = [this === window.chatbot, ...args]; }}"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("declaration", ["var chatbot", "window.chatbot", "let chatbot", "const chatbot"])
def test_the_sites_object_and_ours_are_one(tab, site, where, declaration):
    """However the site makes its chatbot, earlier or later, it keeps its object, with our functions in it."""
    own = script(f"{declaration} = {{greeting: 'hello'}}; window.kept = chatbot;")
    tab.visit(**{where: own})
    assert tab.run("() => chatbot === window.kept && chatbot.greeting") == "hello"
    assert tab.run("() => chatbot.identify({session_id: 's1'})") == {"status": "queued"}
    assert tab.run("() => typeof chatbot.forget") == "function"
    assert tab.identify("s2") == {"status": "queued"}
    assert len(site.seen) == 2
    assert tab.warnings == []


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_function_or_class_of_that_name(tab, where):
    """A site whose chatbot is a function or a class keeps it, and gets our functions on it."""
    for declaration in ("function chatbot() { return 7; }", "class chatbot { static seven() { return 7; } }"):
        tab.visit(**{where: script(declaration)})
        assert tab.run("() => (chatbot.seven || chatbot)()") == 7
        assert tab.run("() => chatbot.identify({session_id: 's1'})") == {"status": "queued"}
    assert tab.warnings == []


def test_a_later_object_works_at_once(tab):
    """Our functions are in a later `var chatbot = {…}` at once, not only when the page is loaded."""
    tab.visit(after=script("var chatbot = {greeting: 1}; window.early = chatbot.identify({session_id: 's'});"))
    assert tab.run("() => window.early") == {"status": "queued"}


def test_one_object_after_another(tab, site):
    """Every object the site puts in place of the one before has our functions at once."""
    for declaration in ("window.chatbot =", "var chatbot ="):
        tab.visit(
            before=script("window.chatbot = {first: 1};"),
            after=script(f"{declaration} {{second: 2}}; window.early = chatbot.identify({{session_id: 's'}});"),
        )
        assert tab.run("() => window.early") == {"status": "queued"}
        assert tab.run("() => [chatbot.first, chatbot.second]") == [None, 2]


def test_an_accessor_of_the_sites(tab):
    """A site's own accessor for chatbot goes on working, and our functions are added to what it gives."""
    tab.visit(
        before=script(
            "let held = {}; window.sets = 0; Object.defineProperty(window, 'chatbot',"
            "{get: () => held, set(value) { held = value; window.sets++; }, configurable: true});"
        ),
        after=script("window.chatbot = {greeting: 'hello'};"),
    )
    tab.until("document.readyState === 'complete'")
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => [window.sets, chatbot.greeting]") == [1, "hello"]
    assert tab.warnings == []


def test_frozen_afterwards(tab):
    """A site that freezes its object when ours is in it keeps that very object."""
    tab.visit(
        after=script(
            "window.kept = window.chatbot = {identify() { window.told = true; }}; Object.freeze(chatbot);"
            "window.chatbot = chatbot;"
        )
    )
    assert tab.run("() => chatbot === window.kept") is True
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => window.told") is True


def test_an_uninitialised_var(tab):
    """`var chatbot;` without a value, before or after, gets or keeps our object."""
    tab.visit(before=script("var chatbot;"))
    assert tab.identify() == {"status": "queued"}
    tab.visit(after=script("var chatbot;"))
    assert tab.identify() == {"status": "queued"}
    assert tab.warnings == []


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("declaration", ["var chatbot =", "window.chatbot ="])
def test_the_sites_own_function_is_called_too(tab, site, where, declaration):
    """A function of our name is not lost: ours calls it with the same this and arguments, and answers."""
    tab.visit(**{where: script(f"{declaration} {SITES_OWN};")})
    assert tab.run("() => chatbot.identify({session_id: 's1'}, 'more')") == {"status": "queued"}
    assert tab.run("() => window.told") == [True, {"session_id": "s1"}, "more"]
    assert len(site.seen) == 1


def test_the_usual_line_of_the_docs(tab, site):
    """`chatbot.identify = function …`, as REVE's documentation has it, joins ours instead of replacing it."""
    tab.visit(
        after=script(
            "window.chatbot = window.chatbot || {};"
            "chatbot.identify = () => { window.told = 1; }; chatbot.identify = () => { window.told = 2; };"
        )
    )
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => window.told") == 2
    assert tab.run("() => { chatbot.identify = null; return chatbot.identify({session_id: 's2'}); }") == {
        "status": "queued"
    }
    assert len(site.seen) == 2


def test_a_method_of_a_class(tab, site):
    """An instance whose class has the function keeps it, private fields and all."""
    tab.visit(
        after=script(
            "window.chatbot = new (class { #told = 'private';"
            " identify() { window.told = this.#told; } forget() { window.forgot = this.#told; } });"
        )
    )
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => chatbot.forget()") == {"status": "queued"}
    assert tab.run("() => [window.told, window.forgot]") == ["private", "private"]
    assert [seen.method for seen in site.seen] == ["POST", "DELETE"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_sites_function_throws(tab, site, where):
    """What the site's own function throws goes to the site's error handler, not to the widget."""
    tab.visit(**{where: script("window.chatbot = {identify() { throw new Error('the site'); }};")})
    with tab.page.expect_event("pageerror"):
        assert tab.identify() == {"status": "queued"}
    assert tab.errors == ["the site"]
    tab.errors.clear()
    assert len(site.seen) == 1


def test_a_site_that_wraps_ours(tab, site):
    """A site that wraps our function, calling it at once or later, makes no loop and no second request."""
    tab.visit(
        after=script(
            "window.calls = 0; const old = chatbot.identify;"
            "chatbot.identify = async (param) => { window.calls++; return old(param); };"
        )
    )
    assert tab.identify() == {"status": "queued"}
    tab.run(
        "() => { const old = chatbot.identify;"
        " chatbot.identify = async (param) => { window.calls++; await null; return old(param); }; }"
    )
    assert tab.identify("s2") == {"status": "queued"}
    assert tab.run("() => window.calls") == 3
    assert [seen.ids["session_id"] for seen in site.seen] == ["s1", "s2"]


def test_ours_is_never_chained_to_itself(tab, site):
    """Handing our own object or functions back, whole or copied, changes nothing; a copy is as good."""
    tab.visit()
    assert tab.run("""() => {
      const object = window.chatbot, own = object.identify;
      window.chatbot = {};
      window.chatbot = object;
      chatbot.identify = own;
      const same = window.chatbot === object && chatbot.identify === own;
      window.chatbot = {...object, more: 1};
      const copied = chatbot.identify === own;
      chatbot.identify = () => { window.told = true; };
      return [same, copied, chatbot.more];
    }""") == [True, True, 1]
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => window.told") is True
    assert len(site.seen) == 1


HOSTILE = {
    "frozen": "Object.freeze({greeting: 'hello'})",
    "frozen with ours": "Object.freeze({greeting: 'hello', identify() { window.told = true; }})",
    "sealed": "Object.seal({greeting: 'hello', identify() { window.told = true; }})",
    "getter": "{greeting: 'hello', get identify() { throw new Error('no'); }}",
    "fixed getter": "Object.defineProperty({greeting: 'hello'}, 'identify', {get: () => 1})",
    "frozen class": "Object.freeze(class { static greeting = 'hello' })",
    "no prototype": "Object.assign(Object.create(null), {greeting: 'hello'})",
    "lying proxy": "new Proxy({greeting: 'hello'}, {defineProperty: () => true})",
    "throwing proxy": "new Proxy({}, {get() { throw new Error('no'); }, has() { throw new Error('no'); },"
    " defineProperty() { throw new Error('no'); }, getOwnPropertyDescriptor() { throw new Error('no'); }})",
    "revoked proxy": "(() => { const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return proxy; })()",
}


@pytest.mark.parametrize(
    ("where", "declaration"),
    [("before", "var chatbot ="), ("before", "window.chatbot ="), ("after", "var chatbot =")],
)
def test_hostile_objects(tab, site, where, declaration):
    """Frozen, sealed, proxied: our functions work, what the object had is there, and nothing is thrown."""
    for name, value in HOSTILE.items():
        tab.visit(**{where: script(f"{declaration} {value};")})
        site.seen.clear()
        outcome = tab.run("""async () => {
          const calls = [await chatbot.identify({session_id: "s1"}), await window.chatbot.forget()];
          let greeting;
          try { greeting = chatbot.greeting; } catch (error) { greeting = error.name; }
          return [...calls, greeting, window.told];
        }""")
        greeting = "hello" if "greeting" in value else "TypeError" if "revoked" in name else "Error"
        told = True if "told" in value else None
        assert outcome == [{"status": "queued"}, {"status": "queued"}, greeting, told], name
        assert [seen.method for seen in site.seen] == ["POST", "DELETE"], name
    assert tab.warnings == []


@pytest.mark.parametrize("value", ["null", "undefined", "'text'", "17", "false", "Symbol()"])
def test_values_that_are_no_objects(tab, value):
    """A window.chatbot that is no object is ignored: ours stays."""
    tab.visit(after=script(f"window.kept = window.chatbot; window.chatbot = {value};"))
    assert tab.run("() => window.chatbot === window.kept") is True
    assert tab.identify() == {"status": "queued"}
    tab.visit(before=script(f"window.chatbot = {value};"))
    assert tab.identify() == {"status": "queued"}
    assert tab.warnings == []


def test_getter_only(tab):
    """Where window.chatbot is a property nobody may change, our functions are added to its value."""
    for flags in ("", ", configurable: true", ", enumerable: true"):
        tab.visit(
            before=script(
                f"const own = {{}}; Object.defineProperty(window, 'chatbot', {{get: () => own{flags}}});"
                "window.intact = () => window.chatbot === own;"
            )
        )
        assert tab.identify() == {"status": "queued"}
        assert tab.run("() => window.intact()") is True
    tab.visit(before=script("Object.defineProperty(window, 'chatbot', {value: {}});"))
    assert tab.identify() == {"status": "queued"}
    assert tab.warnings == []


@pytest.mark.parametrize(
    "hopeless",
    [
        "Object.defineProperty(window, 'chatbot', {value: Object.freeze({})});",
        "Object.defineProperty(window, 'chatbot', {get: () => Object.freeze({})});",
        "Object.defineProperty(window, 'chatbot', {get() { throw new Error('no'); }});",
        "Object.defineProperty(window, 'chatbot', {value: null});",
        "const chatbot = Object.freeze({});",
        "const chatbot = 7;",
    ],
)
def test_one_warning_where_nothing_can_be_done(tab, hopeless):
    """Where our functions cannot be added anywhere the console says so, once, and the page works on."""
    tab.visit(before=script(hopeless), after=script("window.after = true;"))
    tab.until("document.readyState === 'complete'")
    assert tab.run("() => window.after") is True
    (warning,) = tab.warnings
    assert warning.startswith("reve-middleware: chatbot.identify could not be added")


def test_a_later_let_is_no_syntax_error(tab):
    """A later `let`, `const` or `class chatbot` runs: our property does not forbid it."""
    for declaration in ("let chatbot = {}", "const chatbot = {}", "class chatbot {}"):
        tab.visit(after=script(f"{declaration}; window.ran = true;"))
        assert tab.run("() => window.ran") is True
    assert tab.errors == []


def test_an_element_of_that_name(tab):
    """An element with id="chatbot" stays what it is."""
    tab.visit(after='<meta id="chatbot" content="x">' + tag())
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => document.getElementById('chatbot').content") == "x"


def test_loaded_twice(tab, site, widget):
    """A second load, even with other settings, changes nothing: one request, one event, one widget."""
    first = script("window.first = chatbot.identify;")
    tab.visit(bridge=WIDGET, after=first + WIDGET + tag(function="other"))
    tab.until("document.readyState === 'complete'")
    assert tab.run("() => chatbot.identify === window.first && !chatbot.other") is True
    assert tab.identify() == {"status": "queued"}
    assert len(site.seen) == 1
    assert tab.run("() => document.querySelectorAll('script[src*=revechat]').length") == 1
    assert len(widget) == 1
    assert tab.run("() => window.events.length") == 1


# ---- Where it comes from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attributes", ["async", "defer"])
def test_async_and_defer(tab, attributes):
    """Placed by hand with async or defer it works as well."""
    tab.visit(bridge=tag(attributes=attributes))
    tab.until("document.readyState === 'complete'")
    assert tab.identify() == {"status": "queued"}


def test_a_module_is_told_so(tab):
    """Loaded as a module, where it cannot see its own tag, it says what to do and touches nothing."""
    tab.visit(bridge=tag(attributes='type="module"'))
    tab.until("document.readyState === 'complete'")
    assert tab.warnings == ["reve-middleware: bridge.js works as a plain <script src>, not as a module"]
    assert tab.run("() => typeof window.chatbot") == "undefined"


def test_a_clobbered_current_script(tab, site):
    """Markup named "currentScript" cannot pass itself off as the bridge's tag and choose where the ids go."""
    image = '<img name="currentScript" src="https://evil.example/_reve/bridge.js" data-function="identify">'
    tab.page.route("https://evil.example/**", lambda route: route.abort())
    tab.visit(bridge="", after=image + tag())
    assert tab.run("() => typeof window.chatbot") == "undefined"
    assert len(tab.warnings) == 1


def test_another_origin(tab, site):
    """A bridge from another origin sends nothing anywhere, and says so in the promise."""
    tab.visit(bridge=tag(f"http://localhost:{site.port}/app/_reve/bridge.js"))
    nothing = {"status": "ignored", "reason": "bridge.js is not from this page's origin"}
    assert tab.identify() == nothing
    assert tab.run("() => chatbot.forget()") == nothing
    assert site.seen == []


def test_nothing_is_kept_in_the_browser(tab):
    """Nothing is stored, and no unload listener keeps the page out of the back-forward cache."""
    tab.visit(
        before=script(
            "const add = EventTarget.prototype.addEventListener; window.listened = [];"
            "EventTarget.prototype.addEventListener = function (type, ...rest)"
            " { window.listened.push(type); return add.call(this, type, ...rest); };"
        )
    )
    assert tab.identify("s3cr3t") == {"status": "queued"}
    assert set(tab.run("() => window.listened")) == {"online", "DOMContentLoaded", "load"}
    stored = tab.run("() => [document.cookie, localStorage.length, sessionStorage.length, name]")
    assert stored == ["", 0, 0, ""]
    assert tab.run("() => indexedDB.databases()") == []
    assert "s3cr3t" not in tab.page.content()


# ---- Content Security Policy -------------------------------------------------------------------------------

NONCE = tag(attributes='nonce="x"')


@pytest.mark.parametrize(
    ("policy", "bridge"),
    [
        ("require-trusted-types-for 'script'; script-src 'nonce-x'", NONCE),
        (
            "require-trusted-types-for 'script'; trusted-types 'none'; script-src 'nonce-x' 'strict-dynamic'",
            NONCE,
        ),
        ("default-src 'none'; script-src 'nonce-x'; connect-src 'self'", NONCE),
        ("default-src 'self'; script-src 'self' 'nonce-x'", tag()),
    ],
)
def test_policies(tab, site, policy, bridge):
    """Under a strict policy, Trusted Types included, the bridge works and nothing is reported."""
    site.headers = {"content-security-policy": policy}
    tab.visit(bridge=bridge, after=bridge + script("window.chatbot = {identify() { window.told = true; }};"))
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => window.told") is True
    assert tab.run("() => window.violations") == []
    assert tab.warnings == []


# ---- The widget --------------------------------------------------------------------------------------------


ADDRESS = re.compile(r"https://static\.revechat\.com/widget/scripts/new-livechat\.js\?\d{13}")


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "script-src 'nonce-x'",
        "script-src 'nonce-x' 'strict-dynamic'; require-trusted-types-for 'script'",
        "script-src 'nonce-x'; require-trusted-types-for 'script'; trusted-types reve-bridge",
    ],
)
def test_the_widget_is_loaded(tab, site, widget, policy):
    """With an account the widget is loaded, from REVE's host, with the nonce, under Trusted Types too."""
    site.headers = {"content-security-policy": policy} if policy else {}
    tab.visit(bridge=WIDGET)
    tab.until("window.widget")
    (url,) = widget
    assert ADDRESS.fullmatch(url)
    assert tab.run("() => [__revechat_account, __revechat_version, widget]") == ["123", 2, 1]
    assert tab.run(
        "() => { const tag = document.querySelector('script[src*=revechat]');"
        " return [tag.async, tag.nonce, tag.parentNode.nodeName]; }"
    ) == [True, "x", "HEAD"]
    assert tab.identify() == {"status": "queued"}
    assert tab.run("() => window.violations") == []
    assert tab.warnings == []


def test_the_queue_is_there_at_once(tab, widget):
    """REVE's queue remembers callbacks from the page's first script on, for the widget to call."""
    tab.visit(
        bridge=WIDGET,
        after=script("$_REVECHAT_API(() => 7); window.queued = $_REVECHAT_API._.map((call) => call());"),
    )
    assert tab.run("() => window.queued") == [7]


def test_a_queue_of_the_pages_is_kept(tab, widget):
    """A queue that is there already is not replaced."""
    tab.visit(before=script("window.$_REVECHAT_API = window.mine = () => {};"), bridge=WIDGET)
    tab.until("window.widget")
    assert tab.run("() => window.$_REVECHAT_API === window.mine") is True


def test_no_account_no_widget(tab, widget):
    """Without an account nothing of REVE's is loaded or set."""
    tab.visit()
    tab.until("document.readyState === 'complete'")
    assert widget == []
    assert tab.run("() => [typeof $_REVECHAT_API, typeof __revechat_account]") == ["undefined"] * 2


LOADING = (
    "const tag = document.createElement('script'); tag.async = true;"
    "tag.src = 'https://static.revechat.com/widget/scripts/new-livechat.js?page'; document.head.append(tag);"
)


@pytest.mark.parametrize(
    ("where", "snippet", "account"),
    [
        ("before", f"window.__revechat_account = '9'; {LOADING}", "9"),
        ("after", f"window.__revechat_account = '9'; {LOADING}", "9"),
        ("after", f"if (!window.$_REVECHAT_API) {{ window.__revechat_account = '9'; {LOADING} }}", "123"),
    ],
)
def test_a_widget_of_the_pages(tab, widget, where, snippet, account):
    """A page that brings its own widget, before the bridge or after it, ends up with one widget."""
    tab.visit(bridge=WIDGET, **{where: script(snippet)})
    tab.until("document.readyState === 'complete' && window.widget")
    assert len(widget) == 1
    assert tab.run("() => [window.widget, window.__revechat_account]") == [1, account]


def test_the_widget_of_a_late_bridge(tab, widget):
    """A bridge that is loaded after the page (by a tag manager, say) loads the widget as well."""
    tab.visit(bridge="")
    tab.until("document.readyState === 'complete'")
    tab.run("""() => {
      const tag = document.createElement("script");
      tag.src = "/app/_reve/bridge.js";
      tag.dataset.account = "123";
      document.body.append(tag);
    }""")
    tab.until("window.widget")
    assert len(widget) == 1


def test_a_refused_policy(tab, site, widget):
    """Where Trusted Types refuse our policy there is a warning and no widget, and the rest works."""
    site.headers = {"content-security-policy": "require-trusted-types-for 'script'; trusted-types theirs"}
    tab.visit(bridge=WIDGET)
    tab.until("document.readyState === 'complete'")
    (warning,) = [warning for warning in tab.warnings if warning.startswith("reve-middleware:")]
    assert warning.endswith("the widget is not loaded: the policy of this page has no `trusted-types reve-bridge`")
    assert tab.identify() == {"status": "queued"}
    assert widget == []
    assert tab.run("() => typeof window.__revechat_account") == "undefined"


def test_the_policy_lets_nothing_else_through(tab, widget):
    """Our Trusted Types policy makes a script URL of REVE's widget and of nothing else."""
    tab.visit(
        before=script(
            "const create = trustedTypes.createPolicy.bind(trustedTypes);"
            "trustedTypes.createPolicy = (name, rules) =>"
            " { const policy = create(name, rules); window.policy = {name, rules, policy}; return policy; };"
        ),
        bridge=WIDGET,
    )
    tab.until("window.widget")
    assert tab.run("() => [window.policy.name, Object.keys(window.policy.rules)]") == [
        "reve-bridge",
        ["createScriptURL"],
    ]
    refused = """(url) => {
      try { return String(window.policy.policy.createScriptURL(url)); } catch (e) { return e.name; }
    }"""
    host = "https://static.revechat.com"
    for url in (
        "https://evil.example/",
        f"{host}.evil.example/",
        f"{host}/other.js",
        "data:,x",
        "javascript:1",
        "",
    ):
        assert tab.run(refused, url) == "TypeError"


# ---- What the console says of mistakes ----------------------------------------------------------------------


def test_a_refusal_is_told_once(tab, site, timers):
    """A site that refuses the chat says why in the console, once for each reason."""
    detail = "chatbot_id is not one of the bots that are configured here."
    for _ in range(2):
        site.answer(Answer(422, {"title": "Unprocessable Content", "detail": detail}))
    site.answer(Answer(401, b"<h1>login</h1>"))
    tab.visit()
    for session in ("s1", "s2", "s3"):
        assert tab.identify(session)["status"] == "refused"
    assert tab.warnings == [
        f"reve-middleware: this site refused the chat (422): {detail}",
        "reve-middleware: this site refused the chat (401): not reve-middleware's answer",
    ]


def test_a_blocked_report_is_told_once(tab, timers):
    """An ad blocker that stops the report: after three tries the console asks for it, once, and it is tried on."""
    tab.visit()
    tab.page.route("**/_reve/session", lambda route: route.abort("blockedbyclient"), times=5)
    tab.start("outcome", "chatbot.identify({session_id: 's1'})")
    for tries in range(5):
        tab.until("window.waits().length")
        assert len(tab.warnings) == (tries >= 2)
        tab.run("() => window.elapse()")
    assert tab.run("() => window.outcome") == {"status": "queued"}
    assert tab.warnings == [
        "reve-middleware: three tries to reach /app/_reve/session failed: does an ad blocker stop it?"
    ]


def test_a_call_without_ids_is_told_once(tab):
    """A call that does nothing says so in the console as well."""
    tab.visit()
    tab.run("() => { chatbot.identify(); chatbot.identify({}); }")
    assert tab.warnings == ["reve-middleware: chatbot.identify does nothing: no session_id"]


def test_another_name_than_the_settings(tab):
    """A bot that calls another function than function= says: both names are in the console; nothing else changes."""
    tab.visit(bridge=tag(function="whoIsIt"))
    assert tab.run("() => { try { chatbot.identify({}); } catch (error) { return error.name; } }") == "TypeError"
    tab.run("() => [chatbot.identify, chatbot.whoIsIt, chatbot.forget, chatbot.then, `${chatbot}`, 'x' in chatbot]")
    assert tab.warnings == [
        "reve-middleware: chatbot.identify is asked for, and there is none: function= says chatbot.whoIsIt"
    ]
    tab.visit(before=script("window.chatbot = {own: 1};"), bridge=tag(function="whoIsIt"))
    assert tab.run("() => [chatbot.own, typeof chatbot.identify]") == [1, "undefined"]


# ---- tests/browser.py --------------------------------------------------------------------------------------


def test_missing_is_a_skip_at_home_and_a_failure_in_ci(monkeypatch):
    """CI must not be green because there was no browser; at home nobody needs one."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(pytest.skip.Exception, match="/nowhere/chromium"):
        executable()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a thing"):
        missing("a thing")
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        executable()


def test_nested_browsers_are_one(browser):
    """A module's browser and a second one asked for inside it are the same."""
    with chromium() as again:
        assert again is browser
    assert browser.is_connected()


# ---- The bot's half, as `reve-middleware snippet` prints it ----------------------------------------------------


@pytest.mark.parametrize(
    ("received", "known"),
    [
        ({"botId": "b", "sessionId": "s", "data": {"name": "Ada", "age": 0}}, ["Ada", 0]),
        ({"botId": "b", "sessionId": "s", "name": "Ada", "age": 36}, ["Ada", 36]),
        ('{"data": {"name": "Ada"}}', ["Ada", ""]),
        ({"name": None, "age": False}, ["", False]),
        ({"data": {}}, ["", ""]),
        ("", ["", ""]),
        (None, ["", ""]),
    ],
)
def test_the_script_that_reads_what_arrived(shared_tab, received, known):
    """As JavaScript it finds the fields, whether the whole body arrives, nested or flat, or its data, or text."""
    text = CliRunner().invoke(commands, ["snippet", "name", "age"]).stdout
    (code,) = re.findall(r"^    var body = .*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert shared_tab.page.evaluate(f"(received) => {{\n{code}\nreturn [name_, age_];\n}}", received) == known
