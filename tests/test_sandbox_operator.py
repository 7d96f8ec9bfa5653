"""What the operator's page asks of the sandbox, and who else may not. Each docstring is a promise."""

import asyncio
from typing import Any

import httpx
import pytest

from reve_middleware.sandbox import Misbehaviour, Sandbox, views
from reve_middleware.sandbox.bot import Conversation
from reve_middleware.sandbox.operator_routes import why_not


def ask(sandbox: Sandbox, method: str, path: str, **more: Any) -> httpx.Response:
    """One request, without a server."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox.test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


def push(sandbox: Sandbox, data: object, endpoint: str = "login") -> httpx.Response:
    body = {"botId": sandbox.chatbot_id, "sessionId": "s-1", "data": data}
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    return ask(sandbox, "POST", f"{sandbox.webhook_path}/{endpoint}", json=body, headers=headers)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(patience=0)


# ---- who may


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8001", "[::1]:8001", "localhost", "LOCALHOST:80", "shop.localhost", "sandbox:8001", "sandbox.test"],
)
def test_a_name_that_nobody_else_can_have(host: str) -> None:
    """An address, or a name that no registry gives away."""
    assert why_not("GET", {"host": host}) == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8001", "localhost.evil.example", "", "[", ":8001"]
)
def test_a_name_that_somebody_else_may_have(host: str) -> None:
    """It may lead here by DNS rebinding: not even a look is allowed."""
    assert "an address, localhost, or a name without a dot" in why_not("GET", {"host": host})


HERE = "127.0.0.1:8001"


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),  # no browser
        ({"origin": f"http://{HERE}"}, True),
        ({"origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://127.0.0.1:8000"}, False),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site"}, False),
        ({"origin": f"http://{HERE}", "sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://["}, False),
        ({"origin": "http://evil.example"}, False),
    ],
)
def test_changes_come_from_this_origin(headers: dict[str, str], may: bool) -> None:
    """Where a browser says whence, it must be from here; a look is anybody's, who then cannot read it."""
    assert (why_not("POST", {"host": HERE, **headers}) == "") is may
    assert why_not("GET", {"host": HERE, **headers}) == ""


@pytest.mark.parametrize("what", ["rotate", "misbehave", "behave", "token"])
def test_another_site_changes_nothing(sandbox: Sandbox, what: str) -> None:
    """Each order asks first, and none is given by a GET."""
    sandbox.misbehave(status=418)
    token = sandbox.token
    for headers in ({"Origin": "http://site.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        answer = ask(sandbox, "POST", f"/operator/{what}", headers=headers, json={"status": 500})
        assert answer.status_code == 403
        assert token not in answer.text
    assert ask(sandbox, "GET", f"/operator/{what}").status_code == 405
    assert (sandbox.token, sandbox.misbehaviour) == (token, Misbehaviour(status=418))


@pytest.mark.parametrize("path", ["/", "/operator/state", "/operator.js", "/nothing"])
def test_a_rebound_name_sees_nothing(sandbox: Sandbox, path: str) -> None:
    """What visitors said and who they are stays with whoever watches; the webhook and the widget are for everybody."""
    headers = {"Host": "evil.example"}
    assert ask(sandbox, "GET", path, headers=headers).status_code == 403
    assert ask(sandbox, "POST", "/widget/session", headers=headers).status_code == 200
    assert ask(sandbox, "POST", sandbox.webhook_path, headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/", "/operator.js", "/drawing.js", "/theme.js", "/operator.css"])
def test_every_file_has_the_policy(sandbox: Sandbox, path: str) -> None:
    """Its own script and style, no other host, no frame, no HTML made of text; and its type is not guessed."""
    headers = ask(sandbox, "GET", path).headers
    policy = headers["content-security-policy"]
    for rule in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for"):
        assert rule in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


# ---- orders


def test_the_operator_lets_it_go_wrong_and_right_again(sandbox: Sandbox) -> None:
    """All four values arrive; what holds is part of the state, and counts down in it."""
    values = {"status": 503, "retry_after": "30", "seconds": 0, "times": 2}
    answer = ask(sandbox, "POST", "/operator/misbehave", json=values)
    assert (answer.status_code, answer.json()) == (200, {"misbehaviour": values})
    assert sandbox.misbehaviour == Misbehaviour(status=503, retry_after="30", seconds=0, times=2)
    push(sandbox, {"name": "Ada"})
    state = ask(sandbox, "GET", "/operator/state").json()
    assert state["misbehaviour"] == {**values, "times": 1}
    assert (state["received"], state["accepted"]) == (1, 0)
    (request,) = state["requests"]
    assert (request["status"], request["phrase"]) == (503, "Service Unavailable")
    assert request["why"] == "told to answer 503, Retry-After: 30"
    assert request["misbehaviour"] == values
    assert ask(sandbox, "POST", "/operator/behave").json() == {"misbehaviour": None}
    assert sandbox.misbehaviour is None
    assert ask(sandbox, "GET", "/operator/state").json()["misbehaviour"] is None


@pytest.mark.parametrize(
    ("body", "cure"),
    [
        (b'{"status": "abc"}', "status='abc': use a number from 200 to 599"),
        (b'{"status": 500, "times": [1]}', "times=[1]: use a whole number"),
        (b'{"status": 500, "seconds": 1e999}', "seconds=inf: use a number from 0 to 60"),
        (b'{"status": 500, "retry_after": {}}', "retry_after={}: use seconds"),
        (b"{}", "give status= or seconds="),
        (b'{"statuss": 500}', "not an object of retry_after, seconds, status, times"),
        (b"[]", "not an object of"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 4000, "not JSON"),
        (b'{"status": "' + b"x" * 5000 + b'"}', "longer than 4096 bytes"),
    ],
)
def test_an_order_that_is_none(sandbox: Sandbox, body: bytes, cure: str) -> None:
    """It is told what would be right, and nothing changes."""
    answer = ask(sandbox, "POST", "/operator/misbehave", content=body)
    assert answer.status_code == (413 if len(body) > 4096 else 400)
    assert cure in answer.json()["error"]
    assert sandbox.misbehaviour is None


def test_the_token_for_the_clipboard(sandbox: Sandbox) -> None:
    """The only place where all of it is given, to an order from the page; the snippet names this address."""
    assert ask(sandbox, "POST", "/operator/token").json() == {"token": sandbox.token}
    state = ask(sandbox, "GET", "/operator/state")
    assert sandbox.token not in state.text
    assert state.json()["bot"]["snippet"] == sandbox.snippet("http://sandbox.test/")


@pytest.mark.parametrize(("secret", "shown"), [("x" * 32, "xxxx…"), ("abcdefgh", "ab…"), ("abc", "…"), ("", "…")])
def test_a_token_is_shown_by_a_quarter_at_most(secret: str, shown: str) -> None:
    """A short one is not given away by its beginning."""
    assert views.shortened(secret) == shown


# ---- what changed


def test_what_the_last_push_changed() -> None:
    """Each field with what it was; what came again unchanged is not in it, and logging out leaves nothing."""
    conversation = Conversation("s", from_widget=True)
    assert (conversation.pushes, conversation.changed) == (0, {})
    conversation.learn({"name": "Ada", "phone": None})
    assert conversation.changed == {"name": None, "phone": None}
    conversation.learn({"name": "Ada", "phone": "2", "age": 36})
    assert conversation.changed == {"phone": (None,), "age": None}
    conversation.learn({"name": "Ada"})
    assert conversation.changed == {}
    conversation.learn({"name": "Grace"})
    conversation.forget()
    assert (conversation.pushes, conversation.changed) == (5, {})


def test_the_pages_are_told_what_changed(sandbox: Sandbox) -> None:
    """What a field was before, as text, or null for a new one: to the operator, and to the widget."""
    push(sandbox, {"name": "Ada", "plan": {"tier": 1}})
    push(sandbox, {"name": "Ada", "plan": {"tier": 2}, "age": 36})
    (conversation,) = ask(sandbox, "GET", "/operator/state").json()["conversations"]
    assert conversation["changed"] == {"plan": '{"tier": 1}', "age": None}
    assert conversation["pushes"] == 2
    session = ask(sandbox, "POST", "/widget/session").json()["session_id"]
    assert ask(sandbox, "GET", f"/widget/session/{session}").json()["changed"] == {}


def test_a_status_without_a_name(sandbox: Sandbox) -> None:
    """HTTP has not named all of them."""
    sandbox.misbehave(status=599)
    push(sandbox, {})
    assert ask(sandbox, "GET", "/operator/state").json()["requests"][0]["phrase"] == ""
