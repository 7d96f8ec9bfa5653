"""The stand-in for REVE: its webhook's rules, the bot's words, the widget's API, the operator's page."""

import ast
import asyncio
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from reve_middleware.sandbox import Sandbox, standin
from reve_middleware.sandbox.bot import Conversation
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi

FOLDER = Path(standin.__file__).parent


def ask(sandbox: Sandbox, method: str, path: str, **more: Any) -> httpx.Response:
    """One request, without a server."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox.test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


def push(sandbox: Sandbox, session: str, data: object, endpoint: str = "login", **headers: str) -> httpx.Response:
    body = {"botId": sandbox.chatbot_id, "sessionId": session, "data": data}
    given = {"Authorization": f"Bearer {sandbox.token}", **headers}
    return ask(sandbox, "POST", f"{sandbox.webhook_path}/{endpoint}", json=body, headers=given)


def said(conversation: Conversation, after: int = 0) -> list[tuple[str, str]]:
    return [(message.speaker, message.text) for message in conversation.since(after)]


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(patience=0)


# ---- the webhook


def test_a_push_in_order_is_accepted_and_remembered(sandbox: Sandbox) -> None:
    """Token, ids and data as REVE's sample sends them: 200, and the bot knows."""
    answer = push(sandbox, "s-1", {"name": "Ada", "plan": {"tier": 2}})
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert sandbox.knows("s-1") == {"name": "Ada", "plan": {"tier": 2}}
    assert sandbox.pushes == [standin.Pushed("s-1", "shop-bot", "login", {"name": "Ada", "plan": {"tier": 2}})]


def test_the_main_link_works_without_an_endpoint(sandbox: Sandbox) -> None:
    """An endpoint's name is appended to the main link; it may be left out."""
    headers = {"Authorization": f"bearer {sandbox.token}", "Content-Type": 'application/json; charset="UTF-8"'}
    body = b'{"botId":"shop-bot","sessionId":"s","data":{}}'
    assert ask(sandbox, "POST", sandbox.webhook_path, content=body, headers=headers).status_code == 200
    assert sandbox.pushes[0].endpoint is None


JSON = {"Content-Type": "application/json"}
GOOD = b'{"botId":"shop-bot","sessionId":"s","data":{}}'


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"method": "GET"}, 405, "only POST"),
        ({"path": "/api/webhook/v1/chatbot/other/login"}, 404, "no bot at this address"),
        ({"path": "/api/webhook/v2"}, 404, "no bot at this address"),
        ({"headers": JSON}, 401, "no Authorization header"),
        ({"headers": {**JSON, "Authorization": "Basic Zm9v"}}, 401, "does not say Bearer"),
        ({"headers": {**JSON, "Authorization": "Bearer wrong"}}, 401, "not (or no longer) valid"),
        ({"kind": "text/plain"}, 400, "not application/json"),
        ({"kind": "application/json; charset=latin-1"}, 400, "parameters other than"),
        ({"content": b"x" * 300_000}, 413, "longer than"),
        ({"content": b"\xff{}"}, 400, "not JSON in UTF-8"),
        ({"content": b"{"}, 400, "not JSON in UTF-8"),
        ({"content": b'{"data": NaN}'}, 400, "not JSON in UTF-8"),
        ({"content": b"[" * 200_000}, 400, "not JSON in UTF-8"),
        ({"content": b"[]"}, 400, "not a JSON object"),
        ({"content": b'{"botId":1,"sessionId":"s","data":{}}'}, 400, "as text"),
        ({"content": b'{"botId":"shop-bot","sessionId":"","data":{}}'}, 400, "as text"),
        ({"content": b'{"botId":"shop-bot","data":{}}'}, 400, "as text"),
        ({"content": b'{"botId":"shop-bot","sessionId":"s","data":[]}'}, 400, "as an object"),
        ({"content": b'{"botId":"other","sessionId":"s","data":{}}'}, 400, "another bot"),
    ],
)
def test_a_push_out_of_order_is_refused_with_the_reason(
    sandbox: Sandbox, change: dict[str, Any], status: int, why: str
) -> None:
    """Whatever is wrong is said, recorded, and changes nothing."""
    headers = {"Authorization": f"Bearer {sandbox.token}", "Content-Type": change.get("kind", "application/json")}
    answer = ask(
        sandbox,
        change.get("method", "POST"),
        change.get("path", f"{sandbox.webhook_path}/login"),
        headers=change.get("headers", headers),
        content=change.get("content", GOOD),
    )
    assert answer.status_code == status
    assert why in answer.json()["error"]
    assert (answer.headers.get("Allow") == "POST") == (status == 405)
    assert [request.status for request in sandbox.requests] == [status]
    assert sandbox.pushes == []
    assert sandbox.knows("s") is None


def test_every_request_is_recorded(sandbox: Sandbox) -> None:
    """What a test wants to look at: order, headers, body, status."""
    push(sandbox, "s", {"name": "Ada"}, **{"X-Marked": "yes"})
    push(sandbox, "s", {}, Authorization="Bearer wrong")
    first, second = sandbox.requests
    assert (first.number, first.method, first.endpoint, first.status, first.why) == (1, "POST", "login", 200, "")
    assert first.path == f"{sandbox.webhook_path}/login"
    assert first.headers["x-marked"] == "yes"
    assert json.loads(first.body)["data"] == {"name": "Ada"}
    assert first.time <= second.time
    assert second.status == 401


def test_a_rotated_token_is_refused_at_once(sandbox: Sandbox) -> None:
    """As REVE says of refreshing it."""
    old = sandbox.token
    new = sandbox.rotate_token()
    assert sandbox.token == new != old
    assert push(sandbox, "s", {}, Authorization=f"Bearer {old}").status_code == 401
    assert push(sandbox, "s", {}).status_code == 200


def test_the_token_is_in_no_repr() -> None:
    """A sandbox may stand in a failing assertion."""
    assert repr(Sandbox(token="a-secret")) == "Sandbox(chatbot_id='shop-bot')"


def test_waiting_for_pushes(sandbox: Sandbox) -> None:
    """It blocks until they are there, from any thread."""
    thread = threading.Thread(target=push, args=(sandbox, "s", {"name": "Ada"}))
    thread.start()
    assert [each.data for each in sandbox.wait_for_pushes(1)] == [{"name": "Ada"}]
    thread.join()


def test_waiting_in_vain_says_what_came_instead(sandbox: Sandbox) -> None:
    """The message is what one needs when a test fails."""
    push(sandbox, "s", {}, Authorization="Bearer wrong")
    with pytest.raises(TimeoutError, match=re.escape("0 of 1 pushes within 0 s; the webhook answered [401]")):
        sandbox.wait_for_pushes(1, timeout=0)


def test_only_so_much_is_kept(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run for days; the oldest go first."""
    monkeypatch.setattr(standin, "MAX_KEPT", 3)
    sandbox = Sandbox(patience=0)
    for number in range(5):
        push(sandbox, f"s-{number}", {"name": "Ada"})
    assert [each.session_id for each in sandbox.pushes] == ["s-2", "s-3", "s-4"]
    assert [each.number for each in sandbox.requests] == [3, 4, 5]
    assert sandbox.knows("s-1") is None
    assert len(sandbox.wait_for_pushes(5, timeout=0)) == 3


# ---- the bot


def test_the_bot_greets_whom_it_knows() -> None:
    """What arrives before the first words is used in them, and not repeated."""
    conversation = Conversation("s", from_widget=True)
    conversation.learn({"name": "Ada", "phone": "1"})
    assert said(conversation) == []
    conversation.begin("called", "identify")
    conversation.begin("called", "identify")
    assert said(conversation) == [("bot", "Hello Ada!")]


@pytest.mark.parametrize(
    ("outcome", "hint"),
    [
        ("missing", "The page has no chatbot.who(): nobody can tell the bot who you are."),
        ("failed", "The page's chatbot.who() failed."),
    ],
)
def test_the_bot_tells_when_the_page_is_not_ready(outcome: str, hint: str) -> None:
    """A site without the function gets a hint, and the conversation goes on."""
    conversation = Conversation("s", from_widget=True)
    conversation.begin(outcome, "who")
    assert said(conversation) == [("hint", hint), ("bot", "Hello stranger!")]


def test_the_bot_says_what_is_new() -> None:
    """A name is greeted; other fields are named; what is the same is passed over; what is absent stays."""
    conversation = Conversation("s", from_widget=True)
    conversation.begin("called", "identify")
    conversation.learn({"name": "Ada", "phone": "1", "plan": None})
    conversation.learn({"name": "Ada", "phone": "2", "age": 36})
    conversation.learn({"name": "Ada"})
    conversation.learn({"name": None})
    assert said(conversation, 1) == [
        ("bot", "Hello Ada!"),
        ("bot", "I now have your phone: 2"),
        ("bot", "I now have your age: 36"),
        ("bot", "I now have your name: null"),
    ]
    assert conversation.knows == {"name": None, "phone": "2", "plan": None, "age": 36}


def test_the_bot_says_goodbye_once() -> None:
    """Logging out forgets everything; there is no goodbye for a stranger."""
    conversation = Conversation("s", from_widget=True)
    conversation.begin("called", "identify")
    conversation.forget()
    conversation.learn({"name": "Ada"})
    conversation.forget()
    assert conversation.knows == {}
    assert [text for _, text in said(conversation, 2)] == [
        "Goodbye.",
        "The bot has forgotten you. It asks again in a new conversation.",
    ]


def test_the_bot_answers_from_what_it_knows() -> None:
    """It looks for its fields in what the visitor writes, and repeats the rest."""
    conversation = Conversation("s", from_widget=True)
    conversation.hear("Hello?")
    conversation.learn({"name": "Ada", "Phone": "1"})
    conversation.hear("Is that you?")
    conversation.hear("What is my phone?")
    assert said(conversation) == [
        ("visitor", "Hello?"),
        ("bot", "You said “Hello?”. I do not know who you are."),
        ("visitor", "Is that you?"),
        ("bot", "Ada, you said “Is that you?”. Ask me for anything in the table."),
        ("visitor", "What is my phone?"),
        ("bot", "Your Phone is 1."),
    ]


# ---- the widget


def opened(sandbox: Sandbox) -> str:
    ids = ask(sandbox, "POST", "/widget/session").json()
    assert ids == {"session_id": ids["session_id"], "chatbot_id": "shop-bot", "function": sandbox.function}
    session: str = ids["session_id"]
    return session


def test_a_conversation(sandbox: Sandbox) -> None:
    """Open, begin, hear of somebody, say something: each answer brings what is new after the last."""
    session = opened(sandbox)
    state = ask(sandbox, "POST", f"/widget/session/{session}/begin?outcome=called").json()
    assert state["begun"] is True
    assert state["messages"] == [{"number": 1, "speaker": "bot", "text": "Hello stranger!"}]
    push(sandbox, session, {"name": "Ada", "age": 36})
    state = ask(sandbox, "GET", f"/widget/session/{session}?after=1").json()
    assert [message["text"] for message in state["messages"]] == ["Hello Ada!"]
    assert state["knows"] == {"name": "Ada", "age": "36"}
    state = ask(sandbox, "POST", f"/widget/session/{session}/say?after=2", json={"text": " My age? "}).json()
    assert [message["text"] for message in state["messages"]] == ["My age?", "Your age is 36."]
    push(sandbox, session, {}, endpoint="logout")
    state = ask(sandbox, "GET", f"/widget/session/{session}?after=4").json()
    assert state["messages"][0]["text"] == "Goodbye."
    assert state["knows"] == {} == sandbox.knows(session)


def test_the_bot_waits_a_moment_for_the_website() -> None:
    """What the page's function set going arrives from the website's server, and may take a little."""
    sandbox = Sandbox(patience=60)
    session = opened(sandbox)
    found: list[Any] = []
    begin = threading.Thread(target=lambda: found.append(sandbox.begin(session, "called")))
    begin.start()
    push(sandbox, session, {"name": "Ada"})
    begin.join()
    assert [message.text for message in sandbox.view(session, 0).messages] == ["Hello Ada!"]


def test_the_bot_does_not_wait_where_nobody_was_told() -> None:
    """Without the page's function nothing can come."""
    sandbox = Sandbox(patience=60)
    session = opened(sandbox)
    sandbox.begin(session, "missing")
    assert [message.speaker for message in sandbox.view(session, 0).messages] == ["hint", "bot"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("POST", "/begin", None), ("POST", "/say", {"text": "Hello"})],
)
@pytest.mark.parametrize("session", ["nobody", "from-the-webhook"])
def test_a_session_the_widget_did_not_open_is_not_found(
    sandbox: Sandbox, method: str, path: str, body: object, session: str
) -> None:
    """The widget then starts anew, as after a restart of the sandbox."""
    push(sandbox, "from-the-webhook", {"name": "Ada"})
    answer = ask(sandbox, method, f"/widget/session/{session}{path}", json=body)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"text"', b'{"text": 1}', b'{"text": " "}', b'{"text": "%s"}' % (b"x" * 2001)]
)
def test_a_message_that_is_none_is_refused(sandbox: Sandbox, body: bytes) -> None:
    """A message is text of a reasonable length."""
    assert ask(sandbox, "POST", f"/widget/session/{opened(sandbox)}/say", content=body).status_code == 400


def test_any_site_may_use_the_widget_and_nothing_else(sandbox: Sandbox) -> None:
    """The widget's API is for every origin; the operator's page and the webhook are not."""
    headers = {"Origin": "http://site.test"}
    preflight = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for answer in (
        ask(sandbox, "POST", "/widget/session", headers=headers),
        ask(sandbox, "GET", "/widget/session/nobody", headers=headers),
        ask(sandbox, "OPTIONS", "/widget/session/s/say", headers=preflight),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
    for path in ("/", "/operator/state", sandbox.webhook_path):
        assert "access-control-allow-origin" not in ask(sandbox, "GET", path, headers=headers).headers


def test_the_snippet_loads_the_widget(sandbox: Sandbox) -> None:
    """The account, the version, and an async script from the sandbox; nothing can leave the script element."""
    snippet = Sandbox(account_id="</script><b>").snippet("http://127.0.0.1:9/")
    assert snippet.count("<script>") == snippet.count("</script>") == 1
    assert '"http://127.0.0.1:9/widget/scripts/new-livechat.js?"' in snippet
    assert '__revechat_account = "\\u003c/script>\\u003cb>"' in snippet
    script = ask(sandbox, "GET", "/widget/scripts/new-livechat.js?123")
    assert script.headers["content-type"].startswith("text/javascript")
    assert ":host {" in script.text
    assert '"the style sheet"' not in script.text


# ---- the operator's page


def test_the_operator_sees_everything_but_the_token(sandbox: Sandbox) -> None:
    """Requests newest first, what is known of each session; the token only begins."""
    push(sandbox, "s-1", {"name": "Ada", "age": 36})
    ask(sandbox, "POST", sandbox.webhook_path, content=b"{oops", headers={"Authorization": sandbox.token})
    answer = ask(sandbox, "GET", "/operator/state")
    assert sandbox.token not in answer.text
    state = answer.json()
    assert [(each["status"], each["endpoint"]) for each in state["requests"]] == [(401, None), (200, "login")]
    assert state["requests"][0]["body"] == "{oops"
    assert '\n  "botId": "shop-bot"' in state["requests"][1]["body"]
    assert ["authorization", f"Bearer {sandbox.token[:4]}…"] in state["requests"][1]["headers"]
    assert ["authorization", f"{sandbox.token[:4]}…"] in state["requests"][0]["headers"]
    assert state["bot"]["webhook_path"] == sandbox.webhook_path
    (conversation,) = state["conversations"]
    assert (conversation["session_id"], conversation["from_widget"]) == ("s-1", False)
    assert conversation["knows"] == {"name": "Ada", "age": "36"}
    same = ask(sandbox, "GET", f"/operator/state?version={state['version']}")
    assert (same.status_code, same.content) == (204, b"")


def test_the_operator_rotates_the_token(sandbox: Sandbox) -> None:
    """From this page only: another site's form or script is refused."""
    old = sandbox.token
    foreign = ask(sandbox, "POST", "/operator/rotate", headers={"Origin": "http://site.test"})
    assert (foreign.status_code, sandbox.token) == (403, old)
    own = ask(sandbox, "POST", "/operator/rotate", headers={"Origin": "http://sandbox.test"})
    assert own.json() == {"token": f"{sandbox.token[:4]}…"}
    assert sandbox.token != old


def test_the_operator_s_page_asks_no_other_host(sandbox: Sandbox) -> None:
    """Its own policy holds it to that, and its files are served with their types."""
    page = ask(sandbox, "GET", "/")
    assert page.text.startswith("<!doctype html>")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name, kind in (("operator.js", "text/javascript"), ("operator.css", "text/css")):
        assert f'"/{name}"' in page.text
        assert ask(sandbox, "GET", f"/{name}").headers["content-type"].startswith(kind)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.[jch][st][sm]*")), ids=lambda path: path.name)
def test_no_script_or_style_reaches_out_or_makes_html_of_data(path: Path) -> None:
    """Scripts, styles and pages name no other host, and text goes in as text."""
    text = path.read_text("utf-8")
    assert set(re.findall(r"https?://[^\s'\"]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_the_sandbox_knows_nothing_of_the_middleware() -> None:
    """It has to be wrong in its own ways: it imports the standard library, Starlette, a server, and itself."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, path
                names = [node.module] if node.level == 0 and node.module else []
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names | {"starlette", "uvicorn"}, (path, name)


# ---- serving


def test_serving_asgi_runs_the_lifespan() -> None:
    """Start-up before the first request, shutdown when the block ends, and no thread is left."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while len(events) < 2:
                message = await receive()
                events.append(message["type"])
                await send({"type": message["type"] + ".complete"})
            return
        assert events == ["lifespan.startup"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    before = threading.active_count()
    with serve_asgi(app) as url:
        assert httpx.get(url).text == "ok"
    assert events == ["lifespan.startup", "lifespan.shutdown"]
    assert threading.active_count() == before


def test_serving_an_application_that_does_not_start() -> None:
    """Its refusal is an exception here, not a server that is not there."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(RuntimeError, match="did not start"), serve_asgi(app):
        pass


def test_serving_wsgi() -> None:
    """The same for WSGI; a connection that is kept open does not hold the end up."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    before = threading.active_count()
    with httpx.Client() as client:
        with serve_wsgi(app) as url:
            assert client.get(url).text == "ok"
        assert threading.active_count() == before


@pytest.mark.parametrize("serve", [serve_asgi, serve_wsgi])
def test_a_port_in_use(serve: Any) -> None:
    """It is the caller's to say what to do about it."""
    with serve_asgi(Sandbox().app) as url:
        port = httpx.URL(url).port
        with pytest.raises(OSError, match="in use"), serve(None, port=port):
            pass


def test_other_loopback_addresses() -> None:
    """An IPv6 address stands in brackets in the URL."""
    with serve_asgi(Sandbox().app, host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert httpx.get(url).status_code == 200
