"""`check` where a real server is not needed: sites that stop answering, and sites on plain http in public."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from checking import PAGE, answering, wrapped

from reve_middleware.bot import Bot
from reve_middleware.check import browser, look
from reve_middleware.check.finding import Report
from reve_middleware.check.look import Wish
from reve_middleware.check.response import LARGEST_BODY
from reve_middleware.outcome import Outcome

MOST = 25
"""Requests of a look at a right site, and some more."""


class Site(httpx.AsyncBaseTransport):
    """An application, asked without a socket; after so many requests nothing answers."""

    def __init__(self, app: Any, until: int, kind: Callable[[str], Exception]) -> None:
        self._inner = httpx.ASGITransport(app)
        self._until = until
        self._kind = kind
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if len(self.sent) > self._until:
            raise self._kind("https://canary/")
        return await self._inner.handle_async_request(request)


def looked_at(
    monkeypatch: pytest.MonkeyPatch,
    app: Any,
    *,
    until: int = 99,
    kind: Callable[[str], Exception] = httpx.ConnectError,
    transport: type[Site] = Site,
    **wish: Any,
) -> tuple[Report, Site]:
    site = transport(app, until, kind)
    monkeypatch.setattr(browser.httpx, "create_ssl_context", lambda **_: None)
    monkeypatch.setattr(browser.httpx, "AsyncHTTPTransport", lambda **_: site)
    return asyncio.run(look.look(Wish(**{"url": "https://shop.example/", **wish}))), site


def codes(report: Report) -> dict[str, str]:
    return {one.code: one.level for one in report.findings if one.level in ("warning", "error")}


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.RemoteProtocolError])
def test_a_site_that_stops_answering(monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Exception]) -> None:
    """Wherever a site stops to answer, the look ends with a report, which shows nothing of the exception; and a chat
    that was captured is forgotten, or it is said that it is not."""
    app = wrapped(profile=None)
    for until in range(MOST):
        report, _ = looked_at(monkeypatch, app, until=until, kind=kind, session_id="canary", chatbot_id="shop-bot")
        found = codes(report)
        assert report.was_looked_at is (until > 0)
        assert "canary" not in str(report)
        if until == 0:
            assert list(found) == ["unreachable"]
        elif until <= 2:
            assert found["script_unreachable"] == "error"
    assert found == {"capture": "warning"}, "25 requests are enough"
    report, site = looked_at(monkeypatch, app, session_id="canary", chatbot_id="shop-bot")
    assert [one.method for one in site.sent][-3:] == ["POST", "GET", "DELETE"]
    report, _ = looked_at(monkeypatch, app, until=len(site.sent) - 1, session_id="canary", chatbot_id="shop-bot")
    assert codes(report)["undone"] == "warning"


def test_plain_http_in_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """On plain http in public no chat is captured, or everybody can read the cookies: an error either way. As a browser
    does, it sends no Fetch Metadata there; and it keeps the cookie that it was given to itself."""
    wish = {"url": "http://shop.example/", "cookie": "session=canary"}
    report, site = looked_at(monkeypatch, wrapped(), **wish)
    assert codes(report) == {"plain_http": "error", "cookie_withheld": "warning"}
    assert not any(name.startswith("sec-fetch") or name == "cookie" for one in site.sent for name in one.headers)
    report, _ = looked_at(monkeypatch, wrapped(dev=True), **wish)
    assert codes(report) == {"dev_in_public": "error", "cookie_withheld": "warning"}


def test_a_step_up_to_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect to https on the same host is followed; from there on the cookie is sent, and what the page sets is
    kept as browsers keep it."""
    inner = wrapped(answering(headers={"set-cookie": "theme=; Max-Age=0"}))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        moved = answering(301, {"location": "https://shop.example/", "set-cookie": "seen=1"})
        await (moved if scope["scheme"] == "http" else inner)(scope, receive, send)

    report, site = looked_at(monkeypatch, app, url="http://shop.example/", cookie="session=a; theme=dark")
    assert codes(report) == {}
    assert "redirect_https" in {one.code for one in report.findings}
    cookies = [one.headers.get("cookie") for one in site.sent[:4]]
    assert cookies == [None, "session=a; theme=dark; seen=1", "session=a; seen=1", "session=a; seen=1"]


def test_a_tag_that_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on another origin is not asked for."""
    there = PAGE.replace(b"<head>", b'<head><script src="https://cdn.invalid/_reve/bridge.js"></script>')
    report, site = looked_at(monkeypatch, answering(body=there))
    assert codes(report) == {"tag_elsewhere": "error"}
    assert {one.url.host for one in site.sent} == {"shop.example"}


def test_a_page_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a page that is too long, its beginning is looked at."""
    report, _ = looked_at(monkeypatch, wrapped(answering(body=PAGE + bytes(2 * LARGEST_BODY))))
    assert codes(report) == {}


def test_a_lost_connection_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection that the server has closed meanwhile is no finding."""
    app, lost = wrapped(), []

    class Losing(Site):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if len(self.sent) == 5 and not lost:
                lost.append(request)
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            return await super().handle_async_request(request)

    report, _ = looked_at(monkeypatch, app, transport=Losing)
    assert (codes(report), len(lost)) == ({}, 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("x"), "the connection failed"),
        (httpx.ConnectTimeout("x"), "no answer within"),
        (httpx.UnsupportedProtocol("x"), "no address that can be asked"),
    ],
)
def test_words_for_what_went_wrong(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    """Why nothing came back stands in words of ours."""
    report, _ = looked_at(monkeypatch, answering(), until=0, kind=lambda _: error)
    assert words in report.findings[0].text


def test_names_and_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not known and a host that speaks no TLS are told apart, however deep the reason lies."""
    import socket
    import ssl

    def caused_by(cause: Exception) -> Callable[[str], Exception]:
        def made(text: str) -> Exception:
            error = httpx.ConnectError(text)
            error.__cause__ = cause
            return error

        return made

    for cause, words in ((socket.gaierror(-2, "x"), "name is not known"), (ssl.SSLError("x"), "does not speak TLS")):
        report, _ = looked_at(monkeypatch, answering(), until=0, kind=caused_by(cause))
        assert words in report.findings[0].text


def test_what_is_not_known_of_reve(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a webhook of REVE's own it is said what no look can tell."""

    async def reach(address: str, seconds: float) -> Outcome:
        return Outcome("reached", "status_405", 405)

    monkeypatch.setattr(look, "reach", reach)
    bot = Bot(webhook_url="https://reve.example/hook", token="canary", chatbot_id="shop-bot")
    report, _ = looked_at(monkeypatch, wrapped(), bot=bot)
    assert {one.code for one in report.findings if one.code.startswith("unknown_")} == {
        "unknown_body", "unknown_answer", "unknown_rate", "unknown_session_id", "unknown_frame",
    }  # fmt: skip
