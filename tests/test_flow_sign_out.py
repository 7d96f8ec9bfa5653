"""Signing out, consent, and cookies that are not believed, through both shells (contract §4, §5)."""

from typing import Any

import pytest
from drive import Clock, ShellKind, elsewhere, said
from shop import Shop
from test_flow_who import GONE, IDS, MARK

from reve_middleware import identify, sign_out


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def leave(shop: Shop, how: str) -> dict[str, Any]:
    """Keywords for, and views of, a shop that is left in this way, at /logout."""
    if how == "route":
        return {"logout_routes": ("/log*",)}
    shop.before["/logout"] = sign_out
    return {}


# Signing out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["route", "view"])
def test_signing_out_lets_the_chat_go(shell: ShellKind, shop: Shop, how: str) -> None:
    """`sign_out()` in a view, and a route in `logout_routes`: both cookies go, what waits is taken out, nobody is
    asked, and the bot is told with empty data where it has an endpoint for that."""
    visitor = shop.visitor(shell, endpoint="login", logout_endpoint="logout", **leave(shop, how))
    visitor.jar["user"] = "ada"
    shell.webhook.hold()
    visitor.capture()
    shell.webhook.wait_for(1)
    shop.people["ada"]["name"] = "Countess"
    visitor.get("/")  # waits behind the push in flight
    shop.asked.clear()
    reply = visitor.get("/logout")
    assert reply.values("set-cookie") == ["user=; Path=/; Max-Age=0", *GONE]
    assert reply.header("cache-control") == "private"
    assert shop.asked == []
    shell.webhook.release()
    posts = visitor.pushed()
    assert [post.url for post in posts] == ["https://reve.example/hook/login", "https://reve.example/hook/logout"]
    assert posts[1].body == b'{"botId":"bot","sessionId":"s-1","data":{}}'
    assert visitor.jar == {}


@pytest.mark.parametrize("how", ["route", "view"])
def test_without_a_logout_endpoint_the_bot_is_told_nothing(shell: ShellKind, shop: Shop, how: str) -> None:
    """Without `logout_endpoint` nothing is pushed; a stranger's sign-out does nothing at all."""
    visitor = shop.visitor(shell, **leave(shop, how))
    assert visitor.get("/logout").values("set-cookie") == ["user=; Path=/; Max-Age=0"]
    visitor.capture()
    assert visitor.get("/logout").values("set-cookie") == ["user=; Path=/; Max-Age=0", *GONE]
    assert visitor.pushed() == []


@pytest.mark.parametrize("how", ["route", "view"])
def test_a_late_response_of_a_chat_that_was_let_go(shell: ShellKind, shop: Shop, how: str) -> None:
    """A response that began before the sign-out and ends after it pushes nothing and brings no cookie back."""
    visitor = shop.visitor(shell, **leave(shop, how))
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.before["/slow"] = lambda: elsewhere(visitor.get, "/logout")
    reply = visitor.get("/slow")
    assert reply.values("set-cookie") == []
    assert visitor.jar == {}
    assert visitor.pushed() == []


def test_a_late_response_never_brings_an_older_chat_back(shell: ShellKind, shop: Shop) -> None:
    """A response that began with an older chat writes no ids; the newer chat stays and gets its profile."""
    visitor = shop.visitor(shell)
    visitor.capture("s-1")
    visitor.jar["user"] = "ada"
    shop.before["/slow"] = lambda: elsewhere(visitor.capture, "s-2")
    reply = visitor.get("/slow")
    assert IDS not in reply.cookies
    visitor.get("/")
    assert {post.chat[1] for post in visitor.pushed()} == {"s-1", "s-2"}
    shop.people["ada"]["name"] = "Countess"
    visitor.get("/")
    assert visitor.pushed()[-1].chat == ("bot", "s-2")


def test_a_capture_that_was_overtaken_by_a_sign_out(shell: ShellKind, shop: Shop) -> None:
    """A sign-out while a capture is under way wins: the chat is not captured and hears of nobody."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.before["/_reve/session"] = lambda: elsewhere(visitor.forget)
    reply = visitor.capture()
    assert (reply.json, reply.values("set-cookie")) == ({"status": "anonymous"}, [])
    assert visitor.pushed() == []


def test_after_a_sign_out_the_widget_may_report_again(shell: ShellKind, shop: Shop) -> None:
    """A chat that is reported anew after a sign-out is a new capture, even under the same session id."""
    visitor = shop.visitor(shell, **leave(shop, "route"))
    visitor.jar["user"] = "ada"
    visitor.capture()
    assert len(visitor.pushed()) == 1
    visitor.get("/logout")
    visitor.jar["user"] = "ada"
    assert visitor.get("/").values("set-cookie") == []
    assert visitor.capture().json == {"status": "queued"}
    assert len(visitor.pushed()) == 2


def test_signing_out_beats_identify_and_disabled_routes(shell: ShellKind, shop: Shop) -> None:
    """A view that says both who it is and that they leave is left; a sign-out counts on every route."""
    visitor = shop.visitor(shell, exclude=("/logout",), logout_routes=("/logout",))
    visitor.jar["user"] = "ada"
    visitor.capture()

    def both() -> None:
        identify({"id": 1})
        sign_out()

    shop.before["/"] = both
    assert visitor.get("/").values("set-cookie") == GONE
    visitor.capture()
    assert visitor.get("/logout").values("set-cookie")[1:] == GONE


# Consent ---------------------------------------------------------------------------------------


def test_without_a_yes_nothing_is_captured(shell: ShellKind, shop: Shop) -> None:
    """`consent` is asked before anything else: without a yes no cookie, no question who it is, no push."""
    visitor = shop.visitor(shell, consent=lambda request: request.cookies.get("consent") == "yes")
    visitor.jar["user"] = "ada"
    reply = visitor.capture()
    assert (reply.status, reply.body) == (200, b'{"status": "declined"}')
    assert reply.values("set-cookie") == []
    assert shop.asked == []
    visitor.jar["consent"] = "yes"
    assert visitor.capture().json == {"status": "queued"}
    assert len(visitor.pushed()) == 1


def test_a_consent_that_is_taken_back_ends_the_chat(shell: ShellKind, shop: Shop) -> None:
    """A no on a later response drops the cookies and takes out what waits; the bot is not told of the sign-out."""
    visitor = shop.visitor(
        shell, consent=lambda request: request.cookies.get("consent"), logout_endpoint="logout", logout_routes=("/out",)
    )
    visitor.jar |= {"user": "ada", "consent": "yes"}
    visitor.capture()
    shell.webhook.wait_for(1)
    del visitor.jar["consent"]
    kept = dict(visitor.jar)
    assert visitor.get("/").values("set-cookie") == GONE
    visitor.jar = kept
    assert visitor.get("/out").values("set-cookie") == GONE
    assert [post.url for post in visitor.pushed()] == ["https://reve.example/hook"]


def test_a_consent_that_fails_is_no_yes(shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Where `consent` raises, nothing is captured or pushed; a chat that was captured is kept for when it answers."""
    broken: list[int] = []

    def consent(request: Any) -> bool:
        return not broken or bool(1 / 0)

    visitor = shop.visitor(shell, consent=consent)
    visitor.capture()
    visitor.jar["user"] = "ada"
    broken.append(1)
    assert visitor.get("/").values("set-cookie") == []
    assert visitor.capture().json == {"status": "declined"}
    assert visitor.pushed() == []
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("consent= raised ZeroDivisionError at test_flow_sign_out.py:")
    broken.clear()
    assert list(visitor.get("/").cookies) == [MARK]
