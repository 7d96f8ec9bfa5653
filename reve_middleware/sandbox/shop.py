"""A small shop to try the chat on. It has never heard of REVE: any website with a login looks like this.

The shop itself is `Shop.answer`, plain values in and out; `Shop.asgi` and `Shop.wsgi` carry requests to it.
"""

import json
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from starlette.types import Receive, Scope, Send

from .shop_pages import Page, Person

MAX_FORM = 4096
"""Bytes of a form."""
MAX_PHONE = 40
MAX_SESSIONS = 1000

PEOPLE = (
    Person("ada", "Ada Lovelace", "ada@example.com", "+44 20 7946 0101", "premium"),
    Person("grace", "Grace Hopper", "grace@example.com", "+1 202 555 0142", "basic"),
)


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    query: str = ""
    form: bytes = b""
    cookies: str = ""
    origin: str = ""
    host: str = ""


@dataclass(frozen=True)
class Reply:
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Shop:
    """A shop with a home page, a login for two people, and an account page.

    `head_html` is put at the end of every page's head, `note_html` above the goods on the home page; both as
    they are.
    """

    cookie = "shop_session"

    def __init__(self, *, head_html: str = "", note_html: str = "") -> None:
        self._page = Page(head_html=head_html, note_html=note_html)
        self._lock = threading.Lock()
        self._people = {person.id: person for person in PEOPLE}
        self._sessions: dict[str, str] = {}

    def user(self, session: str | None) -> Person | None:
        """Who is logged in with this value of the session cookie."""
        with self._lock:
            return self._people.get(self._sessions.get(session or "", ""))

    # -- the shop --------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Reply:
        """Answer one request."""
        session = _cookie(ask.cookies, self.cookie)
        person = self.user(session)
        views: dict[str, dict[str, Callable[[], Reply]]] = {
            "/": {"GET": lambda: _html(self._page.home(person))},
            "/shop.css": {"GET": lambda: _reply(200, "text/css; charset=utf-8", self._page.style)},
            "/theme.js": {"GET": lambda: _reply(200, "text/javascript; charset=utf-8", self._page.theme)},
            "/login": {
                "GET": lambda: _html(self._page.login(person, PEOPLE)),
                "POST": lambda: self._log_in(ask, session),
            },
            "/account": {
                "GET": lambda: self._account(ask, person),
                "POST": lambda: self._change_phone(ask, person),
            },
            "/logout": {"POST": lambda: self._log_out(session)},
            "/api/me": {"GET": lambda: _me(person)},
        }
        view = views.get(ask.path)
        if view is None:
            return _html(self._page.plain(person, "Not found", "There is nothing on this shelf."), 404)
        if ask.method == "POST" and ask.origin and urlsplit(ask.origin).netloc != ask.host:
            return _html(self._page.plain(person, "Refused", "This form was sent by another site."), 403)
        if len(ask.form) > MAX_FORM:
            return _html(self._page.plain(person, "Too long", "This form is longer than it can be."), 413)
        handle = view.get("GET" if ask.method == "HEAD" else ask.method)
        if handle is None:
            reply = _html(self._page.plain(person, "Not here", "This page cannot do that."), 405)
            return replace(reply, headers=[*reply.headers, ("Allow", ", ".join(view))])
        return handle()

    def _log_in(self, ask: Ask, session: str | None) -> Reply:
        chosen = _field(ask.form, "person")
        if chosen not in self._people:
            return _html(self._page.plain(None, "Nobody of that name", "Choose one of the two people."), 400)
        new = secrets.token_urlsafe(24)
        with self._lock:
            self._sessions.pop(session or "", None)
            self._sessions[new] = chosen
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        return _see_other("/", f"{self.cookie}={new}; Path=/; HttpOnly; SameSite=Lax")

    def _log_out(self, session: str | None) -> Reply:
        with self._lock:
            self._sessions.pop(session or "", None)
        return _see_other("/", f"{self.cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")

    def _account(self, ask: Ask, person: Person | None) -> Reply:
        if person is None:
            return _see_other("/login")
        return _html(self._page.account(person, saved=ask.query == "saved"))

    def _change_phone(self, ask: Ask, person: Person | None) -> Reply:
        if person is None:
            return _see_other("/login")
        phone = _field(ask.form, "phone").strip()
        if not 0 < len(phone) <= MAX_PHONE:
            wrong = f"A phone number has 1 to {MAX_PHONE} characters."
            return _html(self._page.account(person, wrong=wrong), 422)
        with self._lock:
            self._people[person.id] = replace(self._people[person.id], phone=phone)
        return _see_other("/account?saved")

    # -- the two adapters ------------------------------------------------------------------------

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The shop as an ASGI application."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the shop speaks HTTP, not {scope['type']}")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        ask = Ask(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            form=await _form(receive),
            cookies=headers.get("cookie", ""),
            origin=headers.get("origin", ""),
            host=headers.get("host", ""),
        )
        reply = self.answer(ask)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if ask.method == "HEAD" else reply.body})

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The shop as a WSGI application."""
        length = environ.get("CONTENT_LENGTH") or "0"
        ask = Ask(
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", "/"),
            query=environ.get("QUERY_STRING", ""),
            form=environ["wsgi.input"].read(min(int(length), MAX_FORM + 1)),
            cookies=environ.get("HTTP_COOKIE", ""),
            origin=environ.get("HTTP_ORIGIN", ""),
            host=environ.get("HTTP_HOST", ""),
        )
        reply = self.answer(ask)
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", reply.headers)
        return [] if ask.method == "HEAD" else [reply.body]


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _form(receive: Receive) -> bytes:
    """The request's body, or its beginning if it is too long for a form."""
    body = b""
    more = True
    while more and len(body) <= MAX_FORM:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _cookie(header: str, name: str) -> str | None:
    for pair in header.split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value
    return None


def _field(form: bytes, name: str) -> str:
    return parse_qs(form.decode("utf-8", "replace")).get(name, [""])[0]


def _me(person: Person | None) -> Reply:
    body = json.dumps({"person": asdict(person) if person else None})
    return _reply(200, "application/json", body)


def _html(page: str, status: int = 200) -> Reply:
    return _reply(status, "text/html; charset=utf-8", page)


def _see_other(where: str, cookie: str | None = None) -> Reply:
    reply = _reply(303, "text/plain; charset=utf-8", f"See {where}\n")
    more = [("Location", where), *([("Set-Cookie", cookie)] if cookie else [])]
    return replace(reply, headers=[*reply.headers, *more])


def _reply(status: int, kind: str, text: str) -> Reply:
    body = text.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-cache")]
    return Reply(status, headers, body)
