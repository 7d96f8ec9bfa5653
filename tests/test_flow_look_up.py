"""The internal GET at a capture, and capture's refusals, through both shells (contract §3)."""

import contextvars
import json
import weakref
from typing import Any
from urllib.parse import unquote

import pytest
from drive import HOST, HTML, Asked, Last, ShellKind, Start, Watched, said
from shop import Shop
from test_flow_who import IDS, MARK

from reve_middleware import identify

user_of_context: contextvars.ContextVar[Any] = contextvars.ContextVar("user", default=None)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def holder(request: Any) -> Any:
    """Where frameworks leave the user: the scope or the environ."""
    return request.scope.get("wsgi.environ", request.scope)


# The look-up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subrequest", ["/_reve/session", "/users/%C3%BC?full=1"])
def test_the_application_is_asked_once_with_a_get(shell: ShellKind, shop: Shop, subrequest: str) -> None:
    """One GET of the capture path, or of `subrequest=`, with the browser's cookies and nothing of its report."""
    visitor = shop.visitor(shell, subrequest=subrequest)
    visitor.jar["user"] = "ada"
    visitor.capture(user_agent="test", accept="*/*", if_none_match='"a"', range="bytes=0-")
    (asked,) = shop.seen
    path, _, query = unquote(subrequest).partition("?")
    assert (asked.method, asked.path, asked.query) == ("GET", path, query)
    assert asked.cookies == {"user": "ada"}
    assert set(asked.headers) == {"host", "cookie", "user-agent", "accept"}


def test_the_visitor_is_asked_for_in_the_context_of_the_response(shell: ShellKind) -> None:
    """At the look-up's response start the application's authentication has run: what it left in the scope, in the
    environ and in context variables is there."""
    seen: list[Any] = []

    def app(asked: Asked) -> Any:
        asked.raw["user"] = "ada"
        user_of_context.set("ada")
        yield Start()
        yield Last()

    def profile(request: Any) -> Any:
        seen.append((holder(request)["user"], user_of_context.get(), request.method))
        return {"id": 1}

    visitor = shell.site(app, profile=profile)
    assert visitor.capture().json == {"status": "queued"}
    assert seen == [("ada", "ada", "GET")]
    user_of_context.set(None)


def test_what_was_said_of_the_visitor_is_forgotten(shell: ShellKind) -> None:
    """Afterwards no copy of the context of the look-up holds the profile that the view named."""
    copied: list[contextvars.Context] = []
    seen: list[Any] = []

    def app(asked: Asked) -> Any:
        profile = Watched(id=1)
        identify(profile)
        copied.append(contextvars.copy_context())
        seen.append(weakref.ref(profile))
        yield Start()
        yield Last()

    assert shell.site(app).capture().json == {"status": "queued"}
    assert len(copied) == 1
    assert seen[0]() is None


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500])
def test_whatever_the_application_answers_the_visitor_is_asked_for(shell: ShellKind, shop: Shop, status: int) -> None:
    """A login wall, a redirect or a 404 says nothing about who it is: `profile` does."""
    visitor = shell.site(lambda asked: [Start(status), Last(b"a page")], profile=shop.profile)
    visitor.jar["user"] = "ada"
    reply = visitor.capture()
    assert (reply.status, reply.body) == (200, b'{"status": "queued"}')


@pytest.mark.parametrize("when", ["before the start", "after the start"])
def test_an_application_that_raises_in_the_look_up(
    shell: ShellKind, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A mounted router may raise its 404: the exception is swallowed, and the profile asked with the scope it left."""

    def app(asked: Asked) -> Any:
        asked.raw["user"] = {"id": 1}
        if when == "after the start":
            yield Start()
            yield b"a part"
        raise LookupError("404")

    visitor = shell.site(app, profile=lambda request: holder(request).get("user"))
    assert visitor.capture().json == {"status": "queued"}
    assert len(visitor.pushed()) == 1
    assert said(caplog) == []


def test_identify_counts_in_the_look_up(shell: ShellKind, shop: Shop) -> None:
    """What a view says during the internal GET is who the visitor is."""
    shop.before["/me"] = lambda: identify({"id": 9})
    visitor = shop.visitor(shell, subrequest="/me")
    assert visitor.capture().json == {"status": "queued"}
    assert [post.data for post in visitor.pushed()] == [{"id": 9}]


def test_cookies_of_the_look_up_are_passed_on_when_somebody_was_found(shell: ShellKind, shop: Shop) -> None:
    """A session that the look-up prolonged stays prolonged; a stranger gets no session from it."""
    shop.headers["/_reve/session"] = [("Set-Cookie", "session=1; Path=/"), ("Set-Cookie", "csrf=2"), ("X-Other", "3")]
    visitor = shop.visitor(shell)
    reply = visitor.capture()
    assert list(reply.cookies) == [IDS]
    visitor.jar["user"] = "ada"
    reply = visitor.capture()
    assert reply.values("set-cookie")[:2] == ["session=1; Path=/", "csrf=2"]
    assert list(reply.cookies) == ["session", "csrf", IDS, MARK]
    assert reply.values("x-other") == []
    assert list(visitor.capture().cookies) == ["session", "csrf", IDS, MARK]  # "current" is found as well


def test_without_a_look_up_the_capture_request_itself_is_shown(shell: ShellKind, shop: Shop) -> None:
    """With `subrequest=None` the application is not asked, and `profile` sees the capture request."""
    seen: list[str] = []

    def profile(request: Any) -> Any:
        seen.append(f"{request.method} {request.url.path}")
        return shop.profile(request)

    visitor = shop.visitor(shell, subrequest=None, profile=profile)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "queued"}
    assert shop.seen == []
    assert seen == ["POST /_reve/session"]


def test_without_a_look_up_an_exception_means_nobody(shell: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """With `subrequest=None` a `profile` that misses what only the application sets knows nobody; the chat is kept."""
    visitor = shell.site(profile=lambda request: {"id": holder(request)["user"]}, subrequest=None)
    assert visitor.capture().json == {"status": "anonymous"}
    assert IDS in visitor.jar
    assert [code for code, _ in said(caplog)] == ["raised"]


def test_the_look_up_is_no_page_view(shell: ShellKind, shop: Shop) -> None:
    """The internal GET is not captured, marked or rewritten, and leaves no trace in the capture's own request."""
    visitor = shop.visitor(shell, logout_routes=("/_reve/*",))
    visitor.jar["user"] = "ada"
    visitor.capture("s-1")
    assert visitor.capture("s-2").json == {"status": "queued"}
    assert len(visitor.pushed()) == 2


# Refusals --------------------------------------------------------------------------------------

REPORT = {"session_id": "s-1-canary", "chatbot_id": "bot"}
REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "GET": (405, {"method": "GET"}),
    "PUT": (405, {"method": "PUT"}),
    "OPTIONS": (405, {"method": "OPTIONS"}),
    "cross-site": (403, {"sec_fetch_site": "cross-site"}),
    "same-site": (403, {"sec_fetch_site": "same-site"}),
    "typed in": (403, {"sec_fetch_site": "none"}),
    "foreign origin": (403, {"sec_fetch_site": None, "origin": "https://canary.example"}),
    "http origin": (403, {"sec_fetch_site": None, "origin": f"http://{HOST}"}),
    "neither": (403, {"sec_fetch_site": None, "origin": None}),
    "plain http": (403, {"origin": f"http://{HOST}"}),
    "not the bridge": (403, {"x_reve_bridge": None}),
    "another bridge": (403, {"x_reve_bridge": "2"}),
    "no type": (415, {"content_type": None}),
    "a form": (415, {"content_type": "application/x-www-form-urlencoded"}),
    "another charset": (415, {"content_type": "application/json; charset=latin-1"}),
    "compressed": (415, {"content_encoding": "gzip"}),
    "too large": (413, {"body": json.dumps({**REPORT, "x": "x" * 2048}).encode()}),
    "no JSON": (400, {"body": b"canary"}),
    "no object": (400, {"body": b'["canary"]'}),
    "twice the same key": (400, {"body": b'{"session_id": "canary", "session_id": "canary", "chatbot_id": "bot"}'}),
    "not UTF-8": (400, {"body": b'{"session_id": "\xff", "chatbot_id": "bot"}'}),
    "empty": (400, {"body": b""}),
    "no session": (422, {"body": b'{"chatbot_id": "bot"}'}),
    "a number": (422, {"body": b'{"session_id": 1, "chatbot_id": "bot"}'}),
    "a blank": (422, {"body": b'{"session_id": "canary 1", "chatbot_id": "bot"}'}),
    "too long": (422, {"body": b'{"session_id": "%b", "chatbot_id": "bot"}' % (b"x" * 129)}),
    "another bot": (422, {"body": b'{"session_id": "s-1", "chatbot_id": "canary"}'}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_report_sets_and_queues_nothing(shell: ShellKind, shop: Shop, name: str) -> None:
    """A report that is refused is answered with a fixed problem text before the application hears of it: nothing is
    echoed, no cookie set, nothing queued, no other origin allowed."""
    status, changes = REFUSED[name]
    method, body = changes.get("method", "POST"), changes.get("body", json.dumps(REPORT).encode())
    headers = {name: value for name, value in changes.items() if name not in ("method", "body")}
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    given = {"x_reve_bridge": "1", "origin": f"https://{HOST}", "content_type": "application/json"}
    reply = visitor.request(method, "/_reve/session", body, **{**given, **headers})
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    assert set(reply.json) == {"type", "title", "status", "detail"}
    assert reply.json["status"] == status
    assert b"canary" not in reply.body
    assert (reply.header("allow") == "POST, DELETE") == (status == 405)
    assert set(dict(reply.headers)) - {"allow"} == {
        "content-type",
        "content-length",
        "cache-control",
        "x-content-type-options",
    }
    assert shop.seen == []
    assert shop.asked == []
    assert visitor.pushed() == []


def test_a_refused_head_has_no_body(shell: ShellKind, shop: Shop) -> None:
    """The answer to HEAD is a head (RFC 9110 §9.3.2): servers that trust us would break the connection's framing."""
    reply = shop.visitor(shell).request("HEAD", "/_reve/session")
    assert (reply.status, reply.header("allow"), reply.body) == (405, "POST, DELETE", b"")


def test_plain_http_is_one_loud_error(shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Over plain http without `dev=True` the log says once what to do."""
    visitor = shop.visitor(shell)
    visitor.scheme = "http"
    for _ in range(2):
        assert visitor.capture(sec_fetch_site=None).status == 403
    text = (
        "the bridge's report came over plain http: browsers would drop the cookie, so nothing is captured. "
        "Serve the site over https; on a developer's machine pass dev=True"
    )
    assert said(caplog) == [("plain_http", text)]
    assert visitor.request("GET", "/", sec_fetch_dest=None).header("content-type") == HTML


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin", "origin": None},
        {"sec_fetch_site": None, "origin": f"https://{HOST}:443"},
        {"sec_fetch_site": None, "origin": "https://www.allowed.example"},
        {"content_type": 'application/json;charset="UTF-8"'},
    ],
)
def test_what_is_the_same_origin_is_taken(shell: ShellKind, shop: Shop, headers: dict[str, Any]) -> None:
    """The browser's own word, our own origin, or one of `allowed_origins`."""
    visitor = shop.visitor(shell, allowed_origins=["https://www.allowed.example"])
    assert visitor.capture(**headers).json == {"status": "anonymous"}
