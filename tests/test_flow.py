"""The flow of one chat through both shells: captured, handed over, changed, let go (contract §3 to §5)."""

import threading
from typing import Any

import pytest
from drive import PATIENCE, Clock, ShellKind, said, side_by_side
from shop import Shop

from reve_middleware import mailbox

SECURE = "; Path=/; HttpOnly; SameSite=Lax; Secure"
PLAIN = "; Path=/; HttpOnly; SameSite=Lax"
IDS, MARK = "__Host-reve", "__Host-reve-mark"


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def value(set_cookie: str) -> str:
    return set_cookie.partition(";")[0]


def attributes(set_cookie: str) -> str:
    return set_cookie[len(value(set_cookie)) :]


# From a stranger to a name ---------------------------------------------------------------------


def test_a_chat_is_captured_before_its_visitor_logs_in(shell: ShellKind, shop: Shop, clock: Clock) -> None:
    """A stranger's chat is kept in one signed cookie for 12 hours; the answer says so and nothing is pushed."""
    visitor = shop.visitor(shell)
    reply = visitor.capture()
    assert (reply.status, reply.body) == (200, b'{"status": "anonymous"}')
    assert reply.headers[:4] == [
        ("content-type", "application/json"),
        ("content-length", "23"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    assert list(reply.cookies) == [IDS]
    assert attributes(reply.cookies[IDS]) == f"; Max-Age={12 * 60 * 60}{SECURE}"
    assert visitor.pushed() == []


def test_the_next_response_after_a_login_hands_the_profile_over(shell: ShellKind, shop: Shop, clock: Clock) -> None:
    """The first response to a visitor who is known sets the mark, becomes private, and its profile is pushed."""
    visitor = shop.visitor(shell)
    visitor.capture("s-1")
    bare = visitor.get("/")
    visitor.get("/login?user=ada")
    clock.seconds += 60
    reply = visitor.get("/")
    assert reply.headers[:-2] == bare.headers
    assert reply.headers[-2] == ("cache-control", "private")
    assert list(reply.cookies) == [MARK]
    assert attributes(reply.cookies[MARK]) == f"; Max-Age={12 * 60 * 60 - 60}{SECURE}"
    assert "Ada" not in reply.cookies[MARK]
    (post,) = visitor.pushed()
    assert post.url == "https://reve.example/hook"
    assert post.body == b'{"botId":"bot","sessionId":"s-1","data":{"id":1,"name":"Ada"}}'
    assert post.headers["authorization"] == "Bearer token-1"
    assert post.headers["content-type"] == "application/json; charset=utf-8"


def test_a_chat_hears_a_profile_once_and_again_when_it_changed(shell: ShellKind, shop: Shop) -> None:
    """Responses with nothing new set no cookie and push nothing; an edit is pushed once."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "queued"}
    for path in ("/", "/json", "/elsewhere"):
        assert visitor.get(path).values("set-cookie") == []
        assert visitor.get(path).header("cache-control") is None
    assert len(visitor.pushed()) == 1
    shop.people["ada"]["name"] = "Ada Lovelace"
    assert list(visitor.get("/json").cookies) == [MARK]
    assert visitor.get("/").values("set-cookie") == []
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada", "Ada Lovelace"]


def test_a_capture_of_a_known_visitor_is_marked_at_once(shell: ShellKind, shop: Shop, clock: Clock) -> None:
    """Who is logged in when the widget reports is handed over with the capture's own answer, both cookies on it."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    reply = visitor.capture()
    assert reply.json == {"status": "queued"}
    assert [attributes(one) for one in reply.cookies.values()] == [f"; Max-Age={12 * 60 * 60}{SECURE}"] * 2
    assert list(reply.cookies) == [IDS, MARK]
    again = visitor.capture()
    assert again.json == {"status": "current"}
    assert len(visitor.pushed()) == 1


def test_another_chat_of_the_same_visitor_gets_the_profile_too(shell: ShellKind, shop: Shop) -> None:
    """A mark for another session counts as none."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    assert visitor.capture("s-1").json == visitor.capture("s-2").json == {"status": "queued"}
    assert sorted(post.chat for post in visitor.pushed()) == [("bot", "s-1"), ("bot", "s-2")]


def test_cookies_in_development(shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """`dev=True` allows plain http, without prefix and without `Secure`, and says so in the log."""
    visitor = shop.visitor(shell, dev=True, cookie="chat")
    assert said(caplog) == [
        ("dev", "dev=True: cookies go over plain http, without Secure and __Host-; never in production")
    ]
    visitor.scheme, visitor.host = "http", "localhost:8000"
    visitor.jar["user"] = "ada"
    reply = visitor.capture(sec_fetch_site=None)
    assert list(reply.cookies) == ["chat", "chat-mark"]
    assert [attributes(one) for one in reply.cookies.values()] == [f"; Max-Age={12 * 60 * 60}{PLAIN}"] * 2
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == 1


def body_of_ours(chatbot_id: str, session_id: str, profile: Any) -> Any:
    return {"chat": f"{chatbot_id}/{session_id}", "who": profile["id"]}


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ("nested", b'{"botId":"bot","sessionId":"s-1","data":{"id":1,"name":"Ada"}}'),
        ("flat", b'{"botId":"bot","id":1,"name":"Ada","sessionId":"s-1"}'),
        (body_of_ours, b'{"chat":"bot/s-1","who":1}'),
    ],
)
def test_the_body_is_what_payload_says(shell: ShellKind, shop: Shop, payload: Any, body: bytes) -> None:
    """REVE's nested body, a flat one, or what a callable makes of bot, session and profile."""
    visitor = shop.visitor(shell, payload=payload, endpoint="login")
    visitor.jar["user"] = "ada"
    visitor.capture()
    (post,) = visitor.pushed()
    assert (post.url, post.body) == ("https://reve.example/hook/login", body)


# What may be marked ----------------------------------------------------------------------------

CACHED = {
    "public": None,
    "public, max-age=60": None,
    "max-age=5, S-MaxAge=60": None,
    "max-age=60": "max-age=60, private",
    "no-cache": "no-cache, private",
    "private": "private",
    "Private, max-age=60": "Private, max-age=60",
    "no-store": "no-store",
    "": "private",
}


@pytest.mark.parametrize("directives", CACHED)
def test_what_caches_may_share_is_never_marked(shell: ShellKind, shop: Shop, directives: str) -> None:
    """A response that declares itself `public` or `s-maxage` sets no cookie and pushes nothing; one that is marked
    becomes private, and keeps what else it said."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.headers["/"] = [("Cache-Control", directives)] if directives else []
    reply = visitor.get("/")
    expected = CACHED[directives]
    assert reply.header("cache-control") == (expected or directives)
    assert list(reply.cookies) == ([] if expected is None else [MARK])
    assert len(visitor.pushed()) == (expected is not None)
    visitor.get("/json")
    assert len(visitor.pushed()) == 1


@pytest.mark.parametrize("kind", ["image", "style", "script", "font", "audio", "video", "track", "manifest", "worker"])
def test_requests_for_parts_of_a_page_are_never_asked_about(shell: ShellKind, shop: Shop, kind: str) -> None:
    """The visitor of an image, a style, a script or a font is not looked at."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.asked.clear()
    assert visitor.get("/", sec_fetch_dest=kind).values("set-cookie") == []
    assert shop.asked == []


def test_responses_side_by_side_push_once(shell: ShellKind, shop: Shop) -> None:
    """Eight responses that run at the same time right after a login cause one push, and all carry the same mark."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    meeting = threading.Barrier(8)
    shop.before["/"] = lambda: meeting.wait(PATIENCE)
    replies = side_by_side([visitor.get] * 8)
    assert len({value(reply.cookies[MARK]) for reply in replies}) == 1
    assert len(visitor.pushed()) == 1


# What the sender says back ---------------------------------------------------------------------


def test_a_full_mailbox_marks_nothing(shell: ShellKind, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the mailbox takes nothing the capture answers "busy", no mark is set, and a later response tries again."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    with monkeypatch.context() as full:
        full.setattr(mailbox, "MOST_CHATS", 0)
        reply = visitor.capture()
        assert reply.json == {"status": "busy"}
        assert list(reply.cookies) == [IDS]
        assert visitor.get("/").values("set-cookie") == []
    assert list(visitor.get("/").cookies) == [MARK]
    assert len(visitor.pushed()) == 1


@pytest.mark.parametrize("versions", [{}, {"ada": "v1"}], ids=["by profile", "by version"])
def test_what_was_given_up_is_offered_again(shell: ShellKind, shop: Shop, versions: dict[str, str]) -> None:
    """A push that could not be delivered counts as unmarked: the visitor's next response brings it again."""
    shell.webhook.answers.extend([503] * 4)
    shop.versions = versions
    visitor = shop.visitor(shell, identity=shop.identity)
    visitor.jar["user"] = "ada"
    visitor.capture()
    tried = len(visitor.pushed())
    shell.webhook.answers.clear()
    assert list(visitor.get("/").cookies) == [MARK]
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == tried + 1
    assert visitor.middleware.stats()["delivered"] == 1


def test_what_was_refused_is_not_repeated_until_it_changes(shell: ShellKind, shop: Shop) -> None:
    """A profile that the webhook refused (4xx) is not pushed again; another one is."""
    shell.webhook.answers.append(422)
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    assert len(visitor.pushed()) == 1
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == 1
    shop.people["ada"]["name"] = "Countess"
    visitor.get("/")
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada", "Countess"]


def test_a_profile_that_never_keeps_still_is_warned_about(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """A field that differs on every response is named once: it would run the bot's flow on every page."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    for count in range(10):
        shop.people["ada"]["last_seen"] = count
        visitor.get("/")
    text = (
        "the profile's field 'last_seen' differs on every response: each time the bot's flow runs again. "
        "Leave it out, or give it a steady order"
    )
    assert said(caplog) == [("restless", text)]


def test_edits_with_quiet_pages_between_are_edits(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """A field that changes now and then, with responses between that change nothing, is no fault."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    for count in range(10):
        shop.people["ada"]["phone"] = count
        visitor.get("/")
        visitor.get("/")
    assert said(caplog) == []


def test_a_page_waits_and_a_capture_does_not(shell: ShellKind, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after a push to a chat the newest profile of its pages waits; a capture goes out at once."""
    assert mailbox.SPACING == 5.0
    monkeypatch.setattr(mailbox, "SPACING", 10 * PATIENCE)
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    shell.webhook.wait_for(1)
    shop.people["ada"]["name"] = "Lovelace"
    visitor.get("/")
    shop.people["ada"]["name"] = "Countess"
    assert visitor.capture().json == {"status": "queued"}
    assert [post.data["name"] for post in shell.webhook.wait_for(2)] == ["Ada", "Countess"]


# Forgetting ------------------------------------------------------------------------------------


def test_forget_undoes_a_capture(shell: ShellKind, shop: Shop) -> None:
    """`DELETE` drops both cookies and takes out what waits; without a chat it says the same."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    shell.webhook.hold()
    visitor.capture()
    shell.webhook.wait_for(1)
    shop.people["ada"]["name"] = "Countess"
    visitor.get("/")
    reply = visitor.forget()
    assert (reply.status, reply.body) == (200, b'{"status": "forgotten"}')
    assert reply.values("set-cookie") == [f"{IDS}=; Max-Age=0{SECURE}", f"{MARK}=; Max-Age=0{SECURE}"]
    assert list(visitor.jar) == ["user"]
    shell.webhook.release()
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada"]
    assert visitor.forget().json == {"status": "forgotten"}
    visitor.get("/")
    assert len(visitor.pushed()) == 1
