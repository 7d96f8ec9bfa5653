"""Error pages for developers (Django's, Starlette's, Werkzeug's), and dumps. An application that fails behind our
layer, for a visitor with a chat, shows nothing of ours on them. Each docstring is a promise.

These pages print the request, and with it the visitor's own cookies, where the chat's id stands in base64: their values
are taken out before the search. Source lines are printed too; this file names its canaries, and holds none.
"""

import faulthandler
import html
import threading
import traceback
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from canaries import forms
from delivering import bot
from django.http import HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django_world import Kind
from drive import KEYWORDS, PAGE, Call, Reply, ShellKind, Visitor, call_wsgi
from faults import FaultServer, silence
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from watching import CANARIES, EMAIL, KEY, OURS, PATH, PROFILE, SESSION, TOKEN
from werkzeug.debug import DebuggedApplication

from reve_middleware import ReveMiddleware, identify

SECRETS: dict[str, Any] = {
    "webhook_url": f"https://reve.example{PATH}",
    "token": TOKEN,
    "chatbot_id": "bot",
    "secret_key": KEY,
}
WAYS = ("/view", "/said", "/streamed")


class OwnFault(Exception):
    pass


def found_on(page: bytes, visitor: Visitor | None = None) -> list[str]:
    """The canaries on an error page, in any of their forms, and where."""
    text = html.unescape(page.decode())
    for value in () if visitor is None else visitor.jar.values():
        text = text.replace(value, "")
    places = [(canary, text.find(form)) for canary in CANARIES for form in forms(canary)]
    return [f"{canary}: …{text[max(0, at - 200) : at + 60]}…" for canary, at in places if at >= 0]


def profile(request: Any) -> Any:
    return PROFILE


def fail(path: str) -> None:
    """What the application does: fails, or says who it is and fails."""
    if path == "/said":
        identify(PROFILE)
    if path != "/":
        raise OwnFault("the site's own")


# Starlette -------------------------------------------------------------------------------------


async def torn() -> AsyncIterator[bytes]:
    yield PAGE[:20]
    fail("/streamed")


def starlette_view(request: Request) -> Response:
    if request.url.path == "/streamed":
        return StreamingResponse(torn(), media_type="text/html")
    fail(request.url.path)
    return HTMLResponse(PAGE)


@pytest.mark.parametrize("path", WAYS)
def test_starlettes_debug_page(path: str) -> None:
    """Starlette's page for developers, and the traceback it hands to the server's log, show the failure with our frames
    in it, and no token, link, key, chat or profile."""
    kind = ShellKind("asgi")
    routes = [Route("/{path:path}", starlette_view)]
    layer = Middleware(ReveMiddleware, **SECRETS, profile=profile, client=kind.webhook)
    app = Starlette(debug=True, routes=routes, middleware=[layer])
    sent: list[bytes] = []

    async def tapped(scope: Any, receive: Any, send: Any) -> None:
        async def outgoing(message: Any) -> None:
            sent.append(message.get("body", b""))
            await send(message)

        await app(scope, receive, outgoing)

    visitor = Visitor(tapped, kind)
    assert visitor.capture(SESSION).json == {"status": "queued"}
    sent.clear()
    with pytest.raises((OwnFault, ExceptionGroup)) as failed:  # its page is sent, then it is raised again
        visitor.get(path, accept="text/html", user_agent="a browser")
    page, text = b"".join(sent), "".join(traceback.format_exception(failed.value)).encode()
    assert b"/reve_middleware/asgi.py" in text, "our frames are in it"
    assert b"OwnFault" in page or path == "/streamed"
    assert found_on(page, visitor) + found_on(text, visitor) == []
    kind.close()


# Werkzeug --------------------------------------------------------------------------------------


class Unchecked(ShellKind):
    """Without `wsgiref.validate`: the debugger has a way of its own."""

    def call(self, application: Any, call: Call) -> Reply:
        return call_wsgi(application, call, valid=False)


def wsgi_application(environ: Any, start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path != "/streamed":
        fail(path)
    start_response("200 OK", [("Content-Type", "text/html")])
    return (fail(path) or chunk for chunk in [PAGE])  # type: ignore[func-returns-value]


@pytest.mark.parametrize("evalex", [False, True])
@pytest.mark.parametrize("path", WAYS)
def test_werkzeugs_debugger(path: str, evalex: bool) -> None:
    """Werkzeug's page, with its console or without, and what it writes to the server's log show the failure with our
    frames in it, and nothing else of ours. (Who has the console's PIN can run anything, as everywhere.)"""
    kind = Unchecked("wsgi")
    debugged = DebuggedApplication(kind.wrap(wsgi_application, profile=profile, **SECRETS), evalex=evalex)
    logs: list[Any] = []

    def tapped(environ: Any, start_response: Any) -> Any:
        logs.append(environ["wsgi.errors"])
        return debugged(environ, start_response)

    visitor = Visitor(tapped, kind)
    assert visitor.capture(SESSION).json == {"status": "queued"}
    page = visitor.get(path).body
    log = "".join(one.getvalue() for one in logs).encode()
    assert b"/reve_middleware/wsgi" in log, "our frames are in it"
    assert b"OwnFault" in page or path == "/streamed"
    assert found_on(page, visitor) + found_on(log, visitor) == []
    kind.close()


# Django ----------------------------------------------------------------------------------------


def django_view(request: Any) -> Any:
    if request.path == "/streamed":
        return StreamingHttpResponse(7)
    fail(request.path)
    return HttpResponse(PAGE)


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize("protocol", ["django-wsgi", "django-asgi"])
def test_djangos_debug_page(protocol: str, path: str, accept: str) -> None:
    """Django's page for developers, and the text of its mails to ADMINS, list all settings, `REVE` among them, the
    request and the locals of every frame: no token, link, key, chat or profile is to be seen."""
    kind = Kind(protocol)
    reve = {name.upper(): value for name, value in {**KEYWORDS, **SECRETS}.items()}
    given = {**reve, "PROFILE": profile, "CLIENT": kind.webhook}
    application = kind.handler(django_view, layers=["reve_middleware.django.ReveMiddleware"], reve=given)
    kind._built.append(application)
    visitor = Visitor(application, kind)
    assert visitor.capture(SESSION).json == {"status": "queued"}
    with override_settings(DEBUG=True, REVE=given):
        reply = visitor.get(path, accept=accept)
    kind.close()
    assert reply.status == 500
    assert b"REVE" in reply.body, "the settings are on it"
    assert found_on(reply.body, visitor) == []


# Dumps -----------------------------------------------------------------------------------------


def test_faulthandlers_dump(tmp_path: Path, shell: ShellKind) -> None:
    """What faulthandler writes of all threads, while a push is under way and a visitor is asked for, names files, lines
    and functions of ours, and no value."""
    dumps: list[str] = []

    def dumping(request: Any) -> Any:
        with (tmp_path / "dump").open("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            dumps.append(file.read())
        return PROFILE

    with FaultServer(default=silence, path=PATH) as server:
        visitor = shell.site(profile=dumping, bots=[bot("bot", server.url, TOKEN)], client=None, timeout=0.3)
        visitor.capture(SESSION)
        server.wait_for(1)
        visitor.get("/")
        assert any(thread.name.startswith("reve") for thread in threading.enumerate())
        visitor.middleware.close(0)
    assert len(dumps) == 2
    assert all(f'"{OURS}' in dump for dump in dumps)
    assert "delivery.py" in dumps[-1]
    assert found_on("".join(dumps).encode()) == []


def test_a_traceback_with_locals(shell: ShellKind) -> None:
    """`traceback` with `capture_locals`, as loggers and trackers use it, shows our frames without anything in them."""
    shown: list[str] = []

    def tracked(request: Any) -> Any:
        stack = traceback.StackSummary.extract(traceback.walk_stack(None), capture_locals=True)
        shown.extend(str(frame.locals) for frame in stack if frame.filename.startswith(OURS))
        return PROFILE

    visitor = shell.site(profile=tracked, identity=lambda request: tracked(request) and EMAIL, **SECRETS)
    visitor.capture(SESSION)
    visitor.get("/")
    assert len(shown) > 8
    assert [one for one in shown if found_on(one.encode(), visitor)] == []
