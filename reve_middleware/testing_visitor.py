"""A visitor of the site under test: what widget and browser do, and what to say where the site does not go along.

The flows are generators: they yield a request and get the answer sent in, so that one flow serves clients that are sync
and clients that are async.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from html.parser import HTMLParser
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

from .testing_clients import Client, Fetch, Page

Flow: TypeAlias = Generator[Fetch, Page, Any]
Offers: TypeAlias = "WeakKeyDictionary[Any, int]"
"""How much each sender has taken."""

BRIDGE = re.compile(r"/bridge\.js\?v=[0-9a-f]+")
USUAL_BRIDGE = "/_reve/bridge.js"
TRUSTED = re.compile(r"(.+\.)?localhost|127(\.\d+){3}|\[?::1\]?")
"""Hosts to which browsers say where a request comes from without https too (W3C Fetch Metadata §2.1, Secure Contexts
§3.1)."""


class Bot(Protocol):
    """What the visitor talks to, on the other side."""

    @property
    def chatbot_id(self) -> str: ...

    def open(self) -> str:
        """Begin a conversation; its session id."""
        ...

    def knows(self, session_id: str) -> Mapping[str, Any] | None:
        """What the bot knows in it, when everything is said."""
        ...

    def offers_elsewhere(self) -> Offers:
        """How many pushes each of the middlewares of this process has taken for other bots."""
        ...

    def listen(self) -> None:
        """Wait until the bot has heard what the site has to say, unless it is told to be slow."""
        ...

    def said(self) -> list[str]:
        """What the middleware's log has said since the test began."""
        ...


class Tag(NamedTuple):
    """Our script, as it stands in a page."""

    page: str
    src: str


class _Visitor:
    """Whose chat it is, and the flows."""

    def __init__(self, bot: Bot, client: Client, page: str) -> None:
        self._bot = bot
        self._client = client
        self._page = page
        self._loaded: set[str] = set()
        self.session_id: str | None = None
        """Of the chat that goes on; None before the first."""
        self._elsewhere: Offers = WeakKeyDictionary()
        """What was offered to other bots before it began."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._page}>"

    @property
    def knows(self) -> Mapping[str, Any] | None:
        """What the bot knows in this visitor's chat, when everything is sent; None if it has heard of nobody."""
        __tracebackhide__ = True
        if self.session_id is None:
            return None
        known = self._bot.knows(self.session_id)
        if known is None and self._tells_another():
            raise AssertionError(ELSEWHERE)
        return known

    def _tells_another(self) -> bool:
        """Has anything been offered to another bot since the chat began? (An older test's middleware may have gone.)"""
        return any(count > self._elsewhere.get(sender, 0) for sender, count in self._bot.offers_elsewhere().items())

    def _chat(self, *, anew: bool) -> Flow:
        __tracebackhide__ = True
        tag = yield from self._load()
        session_id = self._bot.open() if anew or self.session_id is None else self.session_id
        body = json.dumps({"session_id": session_id, "chatbot_id": self._bot.chatbot_id}).encode()
        self._elsewhere = self._bot.offers_elsewhere()
        status = yield from self._report(tag, "POST", body)
        self.session_id = session_id
        if status == "queued" and self._tells_another():
            raise AssertionError(ELSEWHERE)
        self._bot.listen()  # or it would be chance whether the site's next news comes in time to replace this
        return status

    def _forget(self) -> Flow:
        __tracebackhide__ = True
        return (yield from self._report((yield from self._load()), "DELETE", b""))

    def _load(self) -> Generator[Fetch, Page, Tag]:
        """Look at the page, and let the browser load our script."""
        __tracebackhide__ = True
        page = yield Fetch("GET", self._client.base + self._page, _navigating(self._client.base), follow=True)
        src = _source(page.body)
        if src is None:
            probe = yield Fetch("GET", urljoin(page.url, USUAL_BRIDGE), {})
            raise AssertionError(self._with_log(f"{_why_no_tag(self._page, page, is_wrapped=_is_script(probe))}"))
        tag = Tag(page.url, urljoin(page.url, src))
        if tag.src not in self._loaded:
            script = yield Fetch("GET", tag.src, _asking(tag, "script", "no-cors"))
            if not _is_script(script):
                path = urlsplit(tag.src).path
                raise AssertionError(
                    f"The page {self._page} has the tag, but its script {path} is answered with {_short(script)}: "
                    "a proxy or a layer outside of ReveMiddleware keeps that path from it. Let it through"
                )
            self._loaded.add(tag.src)
        return tag

    def _report(self, tag: Tag, method: str, body: bytes) -> Generator[Fetch, Page, str]:
        """What the script does when the widget calls its function."""
        __tracebackhide__ = True
        headers = _asking(tag, "empty", "same-origin") | {"X-Reve-Bridge": "1", "Origin": _origin(tag.page)}
        if body:
            headers["Content-Type"] = "application/json"
        answer = yield Fetch(method, urljoin(tag.src, "session"), headers, body)
        try:
            told = json.loads(answer.body)
        except ValueError:
            told = None
        if answer.status == 200 and isinstance(told, dict) and isinstance(told.get("status"), str):
            return str(told["status"])
        raise AssertionError(self._with_log(_why_refused(answer, told if isinstance(told, dict) else {})))

    def _with_log(self, text: str) -> str:
        said = self._bot.said()
        return "\n".join([text, *(f"The log of reve_middleware says: {line}" for line in said)])


class Visitor(_Visitor):
    """Somebody with a browser on the site, in chat with the bot. The client has their cookies."""

    def __init__(self, bot: Bot, client: Client, page: str) -> None:
        super().__init__(bot, client, page)

    def chat(self) -> str:
        """Look at the page, and let the widget report the chat; the first time it begins one. Returns what the site
        answers: "queued", "current", "anonymous", "declined" or "busy"; what is queued is sent by then, unless the
        stand-in holds its answers back. `AssertionError` says why it cannot be."""
        __tracebackhide__ = True
        return str(self._drive(self._chat(anew=False)))

    def new_chat(self) -> str:
        """The same with a new conversation."""
        __tracebackhide__ = True
        return str(self._drive(self._chat(anew=True)))

    def forget(self) -> str:
        """Call `chatbot.forget()` on the page; returns "forgotten"."""
        __tracebackhide__ = True
        return str(self._drive(self._forget()))

    def _drive(self, flow: Flow) -> Any:
        __tracebackhide__ = True
        try:
            fetch = next(flow)
            while True:
                fetch = flow.send(self._client.read(self._client.begin(fetch), fetch))
        except StopIteration as end:
            return end.value


class AsyncVisitor(_Visitor):
    """The same with a client whose methods are async."""

    async def chat(self) -> str:
        """See `Visitor.chat`."""
        __tracebackhide__ = True
        return str(await self._drive(self._chat(anew=False)))

    async def new_chat(self) -> str:
        """See `Visitor.new_chat`."""
        __tracebackhide__ = True
        return str(await self._drive(self._chat(anew=True)))

    async def forget(self) -> str:
        """See `Visitor.forget`."""
        __tracebackhide__ = True
        return str(await self._drive(self._forget()))

    async def _drive(self, flow: Flow) -> Any:
        __tracebackhide__ = True
        try:
            fetch = next(flow)
            while True:
                fetch = flow.send(self._client.read(await self._client.begin(fetch), fetch))
        except StopIteration as end:
            return end.value


# As browsers do ----------------------------------------------------------------------------------


def _navigating(url: str) -> dict[str, str]:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "gzip"}
    if _is_trusted(url):
        headers |= {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    return headers


def _asking(tag: Tag, what: str, mode: str) -> dict[str, str]:
    """The headers of a request that the page makes."""
    headers = {"Accept": "*/*", "Accept-Encoding": "gzip", "Referer": tag.page}
    if _is_trusted(tag.page):
        headers |= {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": what}
    return headers


def _is_trusted(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or TRUSTED.fullmatch(parts.hostname or "") is not None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.src: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and "data-function" in given and BRIDGE.search(given.get("src") or "") and not self.src:
            self.src = given["src"]


def _source(body: bytes) -> str | None:
    """Where the page's tag says that our script is."""
    scripts = _Scripts()
    scripts.feed(body.decode("utf-8", "replace"))
    return scripts.src


# For people --------------------------------------------------------------------------------------

ELSEWHERE = (
    "The site takes the report, but its bot is another one: its webhook_url is not the stand-in's. "
    "Build it with **reve.settings, or without webhook_url=, token=, chatbot_id= and secret_key=, so that it finds "
    "REVE_WEBHOOK_URL and the other three in the environment; a site that is built where it is imported is imported in "
    "the test's file, not in conftest.py, which is read before they are set"
)
WRAP = (
    "Wrap it: ReveMiddleware(app, **reve.settings, profile=…), or ReveWSGIMiddleware for WSGI. (Where it is wrapped "
    "with another path=, or in a mount, name a page of that mount: reve.visitor(client, page='/…'))"
)


def _is_script(answer: Page) -> bool:
    return answer.status == 200 and "javascript" in answer.headers.get("content-type", "")


def _short(answer: Page) -> str:
    kind = answer.headers.get("content-type", "nothing").partition(";")[0]
    return f"{answer.status} ({kind})"


def _why_no_tag(path: str, page: Page, *, is_wrapped: bool) -> str:
    begin = f"The page {path} has no tag: "
    name_one = "name a page of the site: reve.visitor(client, page='/…')"
    if page.status >= 400:
        return f"{begin}it is answered with {page.status}. If that is not meant, {name_one}"
    if not is_wrapped:
        return f"{begin}the site is not wrapped, since it does not serve {USUAL_BRIDGE}. {WRAP}"
    kind = page.headers.get("content-type", "nothing")
    if not kind.startswith(("text/html", "application/xhtml+xml")):
        return f"{begin}it is {kind}, and only HTML gets one; {name_one}"
    if "content-encoding" in page.headers:
        return (
            f"{begin}it is compressed by a layer inside of ReveMiddleware. Put the compression outside: "
            "GZipMiddleware(ReveMiddleware(app, …))"
        )
    if b"<head" not in page.body.lower():
        return f"{begin}it has no <head>. Write one: <!doctype html><html><head>…"
    if "content-security-policy" in page.headers:
        return (
            f"{begin}its Content-Security-Policy does not allow the script. It needs script-src 'self' (or a nonce) "
            "and connect-src 'self'"
        )
    return (
        f"{begin}its route is left out by routes=, exclude= or @disabled, or inject=False is set, or it is no whole "
        f"document that may be changed. Otherwise {name_one}"
    )


def _why_refused(answer: Page, told: Mapping[str, Any]) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return (
            f"The report of the chat is answered with {_short(answer)}, and not by reve-middleware: a layer outside "
            "of it (a login wall, CSRF) was faster. Make ReveMiddleware the outermost, but for compression"
        )
    detail = str(told.get("detail", ""))
    begin = f"The site refuses the report of the chat ({answer.status}: {detail}) "
    if answer.status == 403 and "https" in detail:
        return (
            f"{begin}Build the site with dev=True (reve.settings has it), or visit it by https: "
            "reve.visitor(client, secure=True)"
        )
    if answer.status == 422:
        return f"{begin}Its chatbot_id is not the stand-in's, or session_id_pattern= is too strict: use **reve.settings"
    return f"{begin}Does a layer between change Host or Origin, or the headers that begin with Sec-Fetch-?"
