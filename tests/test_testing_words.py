"""What the test kit says where a site does not go along: what is wrong, and what to do."""

from typing import Any

import httpx
import pytest
from starlette.middleware.gzip import GZipMiddleware
from starlette.testclient import TestClient
from visiting import ADA, PAGE, Shop, address, in_front, reve
from werkzeug.test import Client

from reve_middleware import ReveMiddleware, testing_standin
from reve_middleware.testing import Reve

__all__ = ["address", "reve"]


def refused(reve: Reve, site: Any, **visitor: Any) -> str:
    """What the first chat on this site fails with."""
    with pytest.raises(AssertionError) as failed:
        reve.visitor(TestClient(site), **visitor).chat()
    text = str(failed.value)
    for secret in (*reve.environment.values(), reve.sandbox.token, reve.sandbox.webhook_path):
        assert secret == reve.chatbot_id or secret not in text
    return text


def test_a_site_that_is_not_wrapped(reve: Reve) -> None:
    """It is told how to wrap it."""
    said = refused(reve, Shop().bare)
    assert "The page / has no tag: the site is not wrapped" in said
    assert "ReveMiddleware(app, **reve.settings" in said


@pytest.mark.parametrize(
    ("shop", "words"),
    [
        (Shop('{"a": 1}', "application/json"), "it is application/json, and only HTML gets one"),
        (Shop(content_encoding="gzip"), "it is compressed by a layer inside of ReveMiddleware"),
        (Shop("<!doctype html><p>Hello."), "it has no <head>"),
        (Shop(content_security_policy="script-src 'none'"), "its Content-Security-Policy does not allow the script"),
        (Shop(cache_control="no-transform"), "its route is left out by routes=, exclude= or @disabled, or inject=Fal"),
    ],
    ids=["no_html", "compressed", "no_head", "policy", "no_transform"],
)
def test_a_page_that_gets_no_tag(reve: Reve, shop: Shop, words: str) -> None:
    """The reason is read from the page itself, whichever the client."""
    assert words in refused(reve, shop.asgi(**reve.settings))
    with pytest.raises(AssertionError, match=words.partition(" (")[0]):
        reve.visitor(Client(shop.wsgi(**reve.settings))).chat()


def test_a_page_that_is_not_there(reve: Reve) -> None:
    """Another page is to be named."""
    said = refused(reve, Shop().asgi(**reve.settings), page="/none")
    assert "The page /none has no tag: it is answered with 404" in said
    assert "reve.visitor(client, page='/…')" in said


def test_a_route_that_is_left_out(reve: Reve) -> None:
    """Routes that are off are named as the reason."""
    assert "exclude=" in refused(reve, Shop().asgi(**reve.settings, exclude=("/*",)))


def test_what_the_log_said_is_told(reve: Reve) -> None:
    """Where the middleware's log knows the reason, it is told along."""
    said = refused(reve, Shop(content_encoding="gzip").asgi(**reve.settings))
    assert "\nThe log of reve_middleware says: a page is compressed already" in said


def test_compression_outside_is_right(reve: Reve) -> None:
    """A page that is compressed outside of us has its tag, whatever client unpacks it."""
    assert reve.visitor(TestClient(GZipMiddleware(Shop().asgi(**reve.settings), minimum_size=1))).chat() == "anonymous"
    wrapped = Shop().wsgi(**reve.settings)

    def compressing(environ: dict[str, Any], start_response: Any) -> Any:
        import gzip

        body: list[bytes] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
            return start_response(status, [*kept, ("Content-Encoding", "gzip")])

        body.extend(wrapped(environ, start))
        return [gzip.compress(b"".join(body))]

    assert reve.visitor(Client(compressing)).chat() == "anonymous"


def test_plain_http_without_dev(reve: Reve) -> None:
    """It is told both cures."""
    said = refused(reve, Shop().asgi(**{**reve.settings, "dev": False}))
    assert "refuses the report of the chat (403: The page must be loaded over https.)" in said
    assert "dev=True" in said
    assert "reve.visitor(client, secure=True)" in said


def test_another_bot(reve: Reve) -> None:
    """A site with another bot's id refuses the stand-in's chats."""
    said = refused(reve, Shop().asgi(**{**reve.settings, "chatbot_id": "another"}))
    assert "Its chatbot_id is not the stand-in's" in said


def test_another_webhook(reve: Reve) -> None:
    """A site whose webhook is elsewhere takes the report, and would be waited for in vain."""
    shop = Shop()
    shop.person = ADA
    elsewhere = {**reve.settings, "webhook_url": "http://127.0.0.1:9/hook"}
    assert "its webhook_url is not the stand-in's" in refused(reve, shop.asgi(**elsewhere))
    shop.made[0].close(0)


def test_another_webhook_after_the_login(reve: Reve) -> None:
    """So it is when the chat begins before the login: nobody is known, and the reason is said."""
    shop = Shop()
    client = TestClient(shop.asgi(**{**reve.settings, "webhook_url": "http://127.0.0.1:9/hook"}))
    visitor = reve.visitor(client)
    assert visitor.chat() == "anonymous"
    assert visitor.knows is None
    shop.person = ADA
    client.get("/")
    with pytest.raises(AssertionError, match=r"not the stand-in's.*not in conftest\.py"):
        assert visitor.knows == ADA
    shop.made[0].close(0)


def test_an_older_tests_site_may_go(reve: Reve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was offered elsewhere since the chat began is seen, whatever becomes of a middleware of before."""
    elsewhere = {**reve.settings, "webhook_url": "http://127.0.0.1:9/hook"}
    older, shop = Shop(), Shop()
    older.person = ADA
    refused(reve, older.asgi(**elsewhere))
    older.made[0].close(0)
    client = TestClient(shop.asgi(**elsewhere))
    visitor = reve.visitor(client)
    assert visitor.chat() == "anonymous"
    monkeypatch.setattr(testing_standin, "senders", lambda: [shop.made[0]._sender])  # the other one is collected
    shop.person = ADA
    client.get("/")
    with pytest.raises(AssertionError, match=r"not the stand-in's"):
        assert visitor.knows == ADA
    shop.made[0].close(0)


def test_a_layer_that_was_faster(reve: Reve) -> None:
    """CSRF and login walls outside of us answer the report in our place."""
    for status, kind in ((403, "text/html"), (302, "text/html"), (200, "application/json")):
        said = refused(reve, in_front(Shop().asgi(**reve.settings), status, of="/session", kind=kind))
        assert f"is answered with {status} ({kind}), and not by reve-middleware" in said
        assert "outermost" in said


def test_a_layer_that_hides_the_script(reve: Reve) -> None:
    """The tag is there and its script is not."""
    shop = Shop()
    site = in_front(shop.asgi(**reve.settings), 404, of="/bridge.js")
    assert "has the tag, but its script /_reve/bridge.js is answered with 404 (text/html)" in refused(reve, site)


def test_a_layer_that_changes_the_host(reve: Reve) -> None:
    """A report that no longer looks like one of the same origin is refused, and the headers are named."""
    site = Shop().asgi(**reve.settings)

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name, b"inside" if name == b"host" else value) for name, value in scope["headers"]]
        await site({**scope, "headers": headers}, receive, send)

    assert "(403: The request must come from a page of the same origin.) Does a layer between" in refused(reve, proxy)


def test_a_tag_that_only_looks_like_ours(reve: Reve) -> None:
    """Another script, a comment or a text is no tag."""
    others = (
        '<!-- <script src="/_reve/bridge.js?v=0" data-function=""> --><script></script><script src="/b.js"></script>'
    )
    page = PAGE.replace("<head>", f"<head>{others}")
    assert "inject=False" in refused(reve, Shop(page).asgi(**reve.settings, inject=False))


def test_pushes_that_do_not_come(reve: Reve) -> None:
    """Waiting in vain says what the webhook answered and what the log says."""
    shop = Shop()
    shop.person = ADA
    reve.misbehave(status=400)
    reve.visitor(TestClient(shop.asgi(**reve.settings))).chat()
    with pytest.raises(
        AssertionError, match=r"0 of 1 pushes within 0\.01 s; the webhook answered \[400\]\n.*refused a"
    ):
        reve.wait_for(1, seconds=0.01)


def test_an_answer_that_is_held_back_for_too_long(reve: Reve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that is not done in time is told apart from one that has nothing to send."""
    monkeypatch.setattr("reve_middleware.testing_standin.SETTLE_SECONDS", 0.05)
    shop = Shop()
    shop.person = ADA
    reve.misbehave(seconds=30)
    reve.visitor(TestClient(shop.asgi(**reve.settings))).chat()
    reve.sandbox.wait_for_pushes(1)
    with pytest.raises(AssertionError, match=r"not done after 0\.05 s: 1 pushes under way, 0 wait\. .*misbehave\(s"):
        reve.settle()


def test_nothing_shows_itself(reve: Reve) -> None:
    """The objects that a failed test prints show no token, no link and no chat."""
    visitor = reve.visitor(httpx.Client(base_url="http://shop.example"))
    assert repr(reve) == "<Reve: a stand-in for tests>"
    assert repr(visitor) == "<Visitor of />"
    assert isinstance(Shop().asgi(**reve.settings), ReveMiddleware)
