"""Requests in process, WSGI: what each layer adds to a bare application. See speed_asgi.py.

Django is a bare view of a `WSGIRequest` that reads the user's id from `request.session`, inside its SessionMiddleware
with the signed_cookies backend, compared to the same view that reads nothing, without the middleware.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import speed_site as site
from speed_peers import WSGI_PEERS, PlainWSGIInjector, has
from speed_rounds import WARM, Goal, Row, Slice, added, bare_of, interleave

from reve_middleware import ReveWSGIMiddleware

PART = "wsgi"
API, PAGE = "/api/orders", "/account/orders"
ERRORS = sys.stderr

Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Any], Any]


class Requests(NamedTuple):
    """Requests of one kind: a path, and headers for each visitor."""

    path: str
    headers: list[list[tuple[str, str]]]

    def environs(self, count: int) -> list[Environ]:
        """So many, of the visitors in turn, the first of them last."""
        return [self._environ(number % len(self.headers)) for number in reversed(range(count))]

    def _environ(self, number: int) -> Environ:
        return environ(self.headers[number], self.path, site.user_of(number))


def requests(path: str, cookies: list[str]) -> Requests:
    proxied = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")]
    kinds = [site.browser_headers(one, page=path == PAGE) + proxied for one in cookies]
    return Requests(path, [[("HTTP_" + name.upper().replace("-", "_"), value) for name, value in one] for one in kinds])


def environ(headers: list[tuple[str, str]], path: str, user: Any) -> Environ:
    """An environ as servers make it: fresh text for each request."""
    made = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "RAW_URI": path,
        "REMOTE_ADDR": "10.0.0.2",
        "REMOTE_PORT": "51234",
        "SERVER_NAME": "10.0.0.1",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn/23",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": ERRORS,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "site.user": user,
    }
    for name, value in headers:
        made[name] = value.encode("latin-1").decode("latin-1")
    return made


def started(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
    """A server that is infinitely fast."""
    return written


def written(data: bytes) -> None: ...


def serve(app: WSGIApp, environ: Environ) -> None:
    iterable = app(environ, started)
    for _ in iterable:
        pass
    if hasattr(iterable, "close"):
        iterable.close()


class Contestant(NamedTuple):
    app: WSGIApp
    bare: WSGIApp
    """The same without the layer."""
    requests: Requests
    serve: Callable[[Any, Environ], Any] = serve
    tags: int = 0
    """How many scripts are to be in its pages."""


def slices_of(found: dict[str, Contestant]) -> dict[str, Slice]:
    """Each contestant next to its bare application."""
    slices = {}
    for name, contestant in found.items():
        slices[bare_of(name)] = slice_of(contestant.bare, contestant)
        slices[name] = slice_of(contestant.app, contestant)
    return slices


def slice_of(app: WSGIApp, contestant: Contestant) -> Slice:
    serve, requests = contestant.serve, contestant.requests

    def run(calls: int) -> float:
        for one in requests.environs(min(WARM, calls)):
            serve(app, one)
        environs = requests.environs(calls)
        began = time.process_time_ns()
        while environs:
            serve(app, environs.pop())
        return time.process_time_ns() - began

    return run


def json_app(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(site.JSON_BODY)))])
    return [site.JSON_BODY]


def html_app(page: bytes) -> WSGIApp:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))])
        return [page]

    return app


# Django ----------------------------------------------------------------------------------------


def django_contestants() -> dict[str, Contestant]:
    from django.conf import settings
    from django.contrib.sessions.backends.signed_cookies import SessionStore
    from django.contrib.sessions.middleware import SessionMiddleware
    from django.core.handlers.wsgi import WSGIRequest
    from django.http import HttpResponse

    if not settings.configured:
        settings.configure(
            SECRET_KEY="a secret key for benchmarks, long enough",
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
            SESSION_COOKIE_SECURE=True,
        )

    def view(request: Any) -> Any:
        return HttpResponse(b"7", content_type="text/plain")

    def reading_view(request: Any) -> Any:
        return HttpResponse(b"%d" % request.session["user_id"], content_type="text/plain")

    def answer(handler: Any, environ: Environ) -> Any:
        return handler(WSGIRequest(environ))

    store = SessionStore()
    store.update({"user_id": 7, "cart": [1, 2]})
    store.save()
    member = requests(API, [f"{site.OTHER_COOKIES}; sessionid={store.session_key}"])
    return {DJANGO: Contestant(SessionMiddleware(reading_view), view, member, answer)}


# The table -------------------------------------------------------------------------------------

DJANGO = "Django, signed-cookie session"
PROXY_FIX = "Werkzeug ProxyFix"
GOALS: dict[str, tuple[str, dict[str, Goal | None]]] = {
    "ours": ("WSGI JSON, no chat", {**dict.fromkeys(WSGI_PEERS), PROXY_FIX: Goal(1)}),
    "ours, chat": ("WSGI JSON, chat, identity with version", {DJANGO: Goal(1 / 10)}),
    "ours, chat, ready profile": ("WSGI JSON, chat, ready profile", {DJANGO: None}),
    "ours, 10 kB": ("WSGI HTML 10 kB", {"plain injector, 10 kB": Goal(1 / 2.5)}),
}


def contestants(visitors: int) -> dict[str, Contestant]:
    html = html_app(site.html_page(10_000))
    ready: dict[str, Any] = {"profile": site.profile_now}
    versioned = {**ready, "identity": site.identity_now}
    stranger = requests(API, [site.OTHER_COOKIES])
    reader = requests(PAGE, [site.OTHER_COOKIES])
    # the cookies are the same for both shells
    chatting = requests(API, site.chats(visitors, profile=site.profile, identity=site.identity))
    chatting_ready = requests(API, site.chats(visitors, profile=site.profile))
    found = {
        "ours": Contestant(site.wrapped_wsgi(json_app, **versioned), json_app, stranger),
        "ours, chat": Contestant(site.wrapped_wsgi(json_app, **versioned), json_app, chatting),
        "ours, chat, ready profile": Contestant(site.wrapped_wsgi(json_app, **ready), json_app, chatting_ready),
        "ours, 10 kB": Contestant(site.wrapped_wsgi(html, **versioned), html, reader, tags=1),
        "plain injector, 10 kB": Contestant(PlainWSGIInjector(html), html, reader, tags=1),
    }
    for name, (package, build) in WSGI_PEERS.items():
        if has(package):
            found[name] = Contestant(build(json_app), json_app, stranger)
    if has("django"):
        found |= django_contestants()
    return found


def run(*, quick: bool = False) -> list[Row]:
    """All of it, in one process."""
    found = contestants(3 if quick else site.VISITORS)
    check(found)
    taken = interleave(slices_of(found), *((2, 5) if quick else (121, 250)))
    costs = {name: added(taken, name) for name in found}
    return [
        Row(PART, case, peer, costs[ours], costs[peer], goal=goal)
        for ours, (case, peers) in GOALS.items()
        for peer, goal in peers.items()
        if peer in costs
    ]


def check(found: dict[str, Contestant]) -> None:
    """Does each layer do what it is measured for? A layer that stands aside is quick."""
    for name, contestant in found.items():
        before = offered(contestant.app)
        for one in contestant.requests.environs(3):
            if contestant.serve is not serve:
                good = contestant.serve(contestant.app, one).content == b"7"
            else:
                heads: list[Any] = []

                def start(status: str, headers: Any, *third: Any, heads: list[Any] = heads) -> Any:
                    heads.append((status, {name.lower(): value for name, value in headers}))
                    return written

                body = b"".join(contestant.app(one, start))
                ((status, headers),) = heads
                good = (
                    status == "200 OK"
                    and "set-cookie" not in headers
                    and headers["content-length"] == str(len(body))
                    and body.count(b"<script") == contestant.tags
                )
            if not good:
                raise SystemExit(f"{name} does not do what it is measured for")
        if offered(contestant.app) != before:
            raise SystemExit(f"{name}: something was pushed")


def offered(app: Any) -> int:
    """How many pushes a layer of ours has offered."""
    return int(app.stats()["offered"]) if isinstance(app, ReveWSGIMiddleware) else 0
