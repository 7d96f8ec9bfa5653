"""Mistakes that show with requests: each is told once in the log, with its cure, however many requests there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from a2wsgi import WSGIMiddleware
from drive import KEYWORDS, ShellKind, Visitor
from mistaken import Newcomer, ada, flask_app, starlette_app
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from reve_middleware import ReveWSGIMiddleware


@pytest.fixture
def asgi(caplog: pytest.LogCaptureFixture) -> Iterator[Newcomer]:
    kind = ShellKind("asgi")
    yield Newcomer(kind, caplog)
    kind.close()


@pytest.fixture
def wsgi(caplog: pytest.LogCaptureFixture) -> Iterator[Newcomer]:
    kind = ShellKind("wsgi")
    yield Newcomer(kind, caplog)
    kind.close()


# Nothing is wrong ------------------------------------------------------------------------------


def test_nothing_is_said_where_nothing_is_wrong(asgi: Newcomer, wsgi: Newcomer) -> None:
    """A site with a layer of ours and a profile says nothing at all, logged out and in again included."""
    for newcomer, app in ((asgi, starlette_app()), (wsgi, flask_app().wsgi_app)):
        visitor = newcomer.visit(app, profile=ada)
        assert b"bridge.js" in visitor.get("/").body
        assert [posted.data for posted in visitor.pushed()] == [{"id": 7, "name": "Ada"}]
    assert asgi.heard == []


# Pages without the script ----------------------------------------------------------------------


def test_compression_inside(asgi: Newcomer) -> None:
    """GZipMiddleware inside of ours: pages come compressed, and are told to be."""
    visitor = asgi.visitor(starlette_app(Middleware(GZipMiddleware, minimum_size=1)), profile=ada)
    for _ in range(3):
        assert visitor.get("/", accept_encoding="gzip").header("content-encoding") == "gzip"
    code, text = asgi.once()
    assert (code, text.endswith("put the compression outside of this middleware")) == ("encoded", True)


@pytest.mark.parametrize("html", ["<!doctype html><body>Hello</body>", "<h1>Hello</h1>"])
def test_no_head(html: str, asgi: Newcomer, wsgi: Newcomer) -> None:
    """A page without <head>, or a bare <h1> that the browser shows as a page: where the script might go is told."""
    for newcomer, app in ((asgi, starlette_app(html=html)), (wsgi, flask_app(html).wsgi_app)):
        assert [reply.body for reply in newcomer.look(app, profile=ada)] == [html.encode()] * 3
    codes_and_texts = asgi.heard
    assert [code for code, _ in codes_and_texts] == ["no_head", "no_head"]  # each wrapper for itself
    assert "give it one, or place script_tag() by hand" in codes_and_texts[0][1]


def test_fragments_are_no_mistake(asgi: Newcomer, wsgi: Newcomer, caplog: pytest.LogCaptureFixture) -> None:
    """A piece of HTML that no browser shows as a page of its own is no reason for a warning."""
    for newcomer, app in ((asgi, starlette_app(html="<p>ok")), (wsgi, flask_app("ok").wsgi_app)):
        visitor = newcomer.visitor(app, profile=ada)
        visitor.get("/", sec_fetch_dest=None)
    assert {record.levelname for record in caplog.records} <= {"INFO", "DEBUG"}


def test_a_policy_without_self(asgi: Newcomer) -> None:
    """A Content-Security-Policy that lets neither the script nor its report through: both additions in one text."""
    asgi.look(starlette_app(Content_Security_Policy="default-src https://cdn.example"), profile=ada)
    code, text = asgi.once()
    assert code == "policy"
    assert text.endswith("add script-src 'self', or a nonce; and connect-src 'self'")


def test_a_route_that_is_one_page(asgi: Newcomer, caplog: pytest.LogCaptureFixture) -> None:
    """routes=("/account",) for all below it: told at start, where the log takes information."""
    caplog.set_level("INFO", "reve_middleware")
    asgi.look(starlette_app(), profile=ada, routes=("/account", "/shop", "/shop/*", "/", "/terms.html"))
    code, text = asgi.once()
    assert code == "one_page"
    assert text.startswith("routes=: '/account' is that one page alone")


# Reports that are refused ----------------------------------------------------------------------


def test_another_bot(asgi: Newcomer) -> None:
    """chatbot_id= is not the bot's: the log names what is configured, the browser is told why, nothing of it shows."""
    visitor = asgi.visitor(starlette_app(), profile=ada)
    replies = [visitor.capture(chatbot_id="canary") for _ in range(3)]
    assert {(reply.status, reply.json["detail"]) for reply in replies} == {
        (422, "chatbot_id is not one of the bots that are configured here.")
    }
    code, text = asgi.once()
    assert code == "bot"
    assert "compare chatbot_id= (bot) with the bot's id in REVE's dashboard" in text
    assert "canary" not in text


def test_session_ids_of_another_kind(asgi: Newcomer) -> None:
    """Session ids that session_id_pattern= does not know: told with that keyword's name."""
    visitor = asgi.visitor(starlette_app(), profile=ada)
    assert {visitor.capture("a/canary=").status for _ in range(3)} == {422}
    code, text = asgi.once()
    assert (code, text.endswith("and pass session_id_pattern=")) == ("ids", True)
    assert "canary" not in text


def test_http_in_development(asgi: Newcomer, wsgi: Newcomer) -> None:
    """Plain http without dev=True: one error that names dev=True."""
    for newcomer, app in ((asgi, starlette_app()), (wsgi, flask_app().wsgi_app)):
        newcomer.visit(app, profile=ada, over={"scheme": "http", "host": "127.0.0.1:8000"})
    (code, text), again = asgi.heard
    assert (code, text) == again
    assert (code, text.endswith("on a developer's machine pass dev=True")) == ("plain_http", True)


def test_dev_left_on(asgi: Newcomer) -> None:
    """dev=True in production: a warning at start, and another when a page came over https."""
    asgi.visit(starlette_app(), profile=ada, dev=True)
    (started, _), (code, text) = asgi.heard
    assert (started, code) == ("dev", "dev_https")
    assert text.endswith("Take dev=True out")


def test_dev_at_home(asgi: Newcomer) -> None:
    """dev=True over http is what it is for: nothing more is said than at start."""
    asgi.visit(starlette_app(), profile=ada, dev=True, over={"scheme": "http", "host": "127.0.0.1:8000"})
    assert asgi.once()[0] == "dev"


def test_a_proxy_without_host(asgi: Newcomer) -> None:
    """A proxy that does not hand on Host: an old browser's report is refused, and the header is named."""
    visitor = asgi.visitor(starlette_app(), profile=ada, over={"host": "127.0.0.1:8000"})
    for _ in range(3):
        assert visitor.capture(origin="https://shop.example", sec_fetch_site=None).status == 403
    code, text = asgi.once()
    assert (code, "proxy_set_header Host $host" in text) == ("cross_origin", True)


def test_another_site_is_no_mistake(asgi: Newcomer) -> None:
    """A report that the browser itself says to come from another site is refused without a word."""
    visitor = asgi.visitor(starlette_app(), profile=ada)
    assert visitor.capture(origin="https://evil.example", sec_fetch_site="cross-site").status == 403
    assert asgi.heard == []


# Wrapping --------------------------------------------------------------------------------------


def test_two_wrappers(asgi: Newcomer, wsgi: Newcomer) -> None:
    """Wrapped twice: one profile is pushed, and the inner wrapper says that its keywords count for nothing."""
    inner = asgi.kind.wrap(starlette_app(), profile=lambda request: {"id": "inner"})
    assert [posted.data["id"] for posted in asgi.visit(inner, profile=ada).pushed()] == [7]
    inner = wsgi.kind.wrap(flask_app().wsgi_app, profile=lambda request: {"id": "inner"})
    wsgi.visit(inner, profile=ada)
    (code, text), again = asgi.heard
    assert (code, text) == again
    assert (code, text.endswith("Wrap once")) == ("inner", True)


def test_two_wrappers_of_two_kinds(asgi: Newcomer) -> None:
    """A wrapped Flask inside of a wrapped ASGI application: the same."""
    flask_inside: Any = WSGIMiddleware(ReveWSGIMiddleware(flask_app().wsgi_app, **KEYWORDS))  # type: ignore[arg-type]
    asgi.look(flask_inside, profile=ada)
    assert asgi.once()[0] == "inner"


def test_workers_without_an_outbox(asgi: Newcomer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Several workers without outbox=: told at start; with it, or with a task queue, nothing is."""
    monkeypatch.setattr("sys.argv", ["uvicorn", "site:app", "--workers", "4"])
    asgi.visitor(starlette_app(), profile=ada, outbox=tmp_path / "reve.sqlite3")
    asgi.visitor(starlette_app(), profile=ada, handoff=lambda push: None)
    assert asgi.heard == []
    asgi.look(starlette_app(), profile=ada)
    code, text = asgi.once()
    assert code == "workers"
    assert text.startswith("the server runs 4 workers, and each keeps what waits in its own memory: pass outbox=")


# secret_key ------------------------------------------------------------------------------------


def test_another_secret_after_each_restart(asgi: Newcomer, wsgi: Newcomer) -> None:
    """secret_key=secrets.token_hex() at start, or another in each worker: the cookies of before say so."""
    for newcomer, app in ((asgi, starlette_app()), (wsgi, flask_app().wsgi_app)):
        visitor = newcomer.visit(app, profile=ada)
        visitor.middleware = newcomer.kind.wrap(app, profile=ada, secret_key="made anew, and long enough for a key")
        for _ in range(3):
            assert visitor.get("/").cookies == {}
    (code, text), again = asgi.heard
    assert (code, text) == again
    assert code == "foreign_key"
    assert "the same in every worker and after every restart (not made anew at start)" in text


def test_keys_that_rotate(asgi: Newcomer) -> None:
    """A key that is changed in the three steps is no mistake; nor is a cookie that somebody made up."""
    visitor = asgi.visit(starlette_app(), profile=ada)
    new = "the next key of this site, long enough"
    visitor.middleware = asgi.kind.wrap(starlette_app(), profile=ada, secret_key=[new, KEYWORDS["secret_key"]])
    visitor.get("/")
    for forged in ("canary", "canary.canary", "W10.canary", "." * 5000):
        visitor.jar["__Host-reve"] = forged
        visitor.get("/")
    assert asgi.heard == []


# The webhook -----------------------------------------------------------------------------------

LINK = (
    "paste the bot's own webhook link from REVE's dashboard (of the sandbox: what it printed at its last start) into "
    "webhook_url= (REVE_WEBHOOK_URL)"
)
TOKEN = "paste the token anew from REVE's dashboard (of the sandbox: what it printed last) into token= (REVE_TOKEN)"
BODY = "is chatbot_id= that of this link's bot"


@pytest.mark.parametrize(
    ("answer", "begins", "cure"),
    [
        (401, "bot bot does not accept the token (status_401)", TOKEN),
        (403, "bot bot does not accept the token (status_403)", TOKEN),
        (404, "bot bot refused a push (status_404)", LINK),
        (301, "bot bot: the webhook link does not work (status_301)", f"redirects are not followed: {LINK}"),
        (400, "bot bot refused a push (status_400)", BODY),
    ],
)
def test_a_webhook_that_is_not_the_bots(answer: int, begins: str, cure: str, asgi: Newcomer) -> None:
    """A wrong token, link or bot, as the webhook answers it: told once for many visitors, with what to paste where."""
    asgi.kind.webhook.answers.extend([answer] * 20)
    middleware = asgi.kind.wrap(starlette_app(), profile=ada)
    for number in range(3):
        Visitor(middleware, asgi.kind).capture(f"s-{number}")
    asgi.kind.webhook.wait_for(3 if begins.startswith("bot bot refused") else 1)
    middleware.close(0.1)
    (_, text), *later = asgi.heard
    assert text.startswith(begins)
    assert f": {cure}" in text
    assert [code for code, _ in later] in ([], ["left_behind"])


def test_a_host_that_is_not_there(asgi: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a host that nobody knows: told after five failures, with a look at webhook_url=."""
    monkeypatch.setattr("reve_middleware.gate.FIRST_WAIT", 0.0)
    asgi.kind.webhook.answers.extend([httpx.ConnectError("canary")] * 5)
    visitor = asgi.visit(starlette_app(), times=0, profile=ada)
    asgi.kind.webhook.wait_for(6)
    visitor.pushed()
    (code, text), *_ = asgi.heard
    assert code == "network"
    assert text.endswith("is the host of webhook_url= right, and may this machine reach it?")


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("Bearer canary", "it begins with 'Bearer': give the token alone, that word is added"),
        ("canary\n", "it has a blank or a line end around it: take it off, such as with .strip()"),
        ("", "it is empty"),
        (None, "it is no text"),
    ],
)
def test_a_callable_that_returns_no_token(token: Any, fault: str, asgi: Newcomer) -> None:
    """token= as a callable that returns what is no token: told as what is wrong with it; the bot is not blamed."""
    visitor = asgi.visit(starlette_app(), profile=ada, token=lambda: token)
    visitor.middleware.close(0.1)
    (_, wrong), (_, held), *later = asgi.heard
    assert wrong == f"token= returned what is no token: {fault}"
    assert held.startswith("bot bot: token= gives no token (no_token)")
    assert [code for code, _ in later] in ([], ["left_behind"])
    assert asgi.kind.webhook.posts == []
