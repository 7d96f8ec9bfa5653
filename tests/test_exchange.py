"""One request and its response, in the order of the flow: capture (contract §3, §4; THREATS T1, T5, T18)."""

import json
from typing import Any

import pytest
from pure import KEY, NOW, SECOND, Played, make_ids, make_memory, make_request, make_settings, play

from reve_middleware import capture
from reve_middleware.cookie import Ids
from reve_middleware.exchange import Core
from reve_middleware.handover import ANONYMOUS, DECLINED, UNKNOWN, Verdict, hand_over
from reve_middleware.mark import Hasher, Mark
from reve_middleware.messages import Answer, BodyFault, Discard, LookedUp, LookUp, Note, ReadBody
from reve_middleware.visitor import Visit

GOOD = [("host", "shop.example"), ("sec-fetch-site", "same-origin"), ("x-reve-bridge", "1")]
JSON = ("content-type", "application/json")
BODY = b'{"session_id": "chat-1", "chatbot_id": "bot-1"}'
ADA = {"id": "ada"}
SETTINGS = make_settings()
DROPPED = [
    b"__Host-reve=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
    b"__Host-reve-mark=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
]
FRESH = Mark("s", "w", "", "p", NOW)


def core(**keywords: Any) -> Core:
    return Core(make_settings(**keywords), make_memory())


def sent_back(*set_cookies: bytes) -> tuple[str, str]:
    """The `Cookie` header of a browser that was told these."""
    return ("cookie", "; ".join(cookie.decode().partition(";")[0] for cookie in set_cookies))


def post(*more: tuple[str, str], now: int = NOW, keywords: dict[str, Any] | None = None, **answers: Any) -> Played:
    """One capture, from the head to the answer."""
    request = make_request("POST", "/_reve/session", *GOOD, JSON, *more)
    return play(core(**(keywords or {})).session(request, now), **{"body": BODY, **answers})


def set_cookies(answer: Answer) -> list[bytes]:
    return [value for name, value in answer.headers if name == b"set-cookie"]


def status(answer: Answer) -> str:
    assert answer.status == 200
    assert (b"cache-control", b"no-store") in answer.headers
    return str(json.loads(answer.body)["status"])


# Refused ---------------------------------------------------------------------------------------

REFUSED = [
    ("method", "GET", GOOD),
    ("method", "HEAD", GOOD),
    ("method", "OPTIONS", [("host", "shop.example"), ("origin", "https://attacker.example")]),
    ("cross_origin", "POST", [("host", "shop.example"), JSON]),
    ("cross_origin", "DELETE", [("host", "shop.example"), ("sec-fetch-site", "cross-site")]),
    ("no_bridge", "POST", [*GOOD[:2], JSON]),
    ("media_type", "POST", [*GOOD, ("content-type", "text/plain")]),
    ("too_large", "POST", [*GOOD, JSON, ("content-length", "2049")]),
]


@pytest.mark.parametrize(("reason", "method", "headers"), REFUSED)
def test_a_refused_head_is_answered_unread(reason: str, method: str, headers: list[tuple[str, str]]) -> None:
    """A refused request is answered before its body is read or anybody is asked: it sets no cookie, queues nothing,
    and a chat that was there before stays."""
    cookie = sent_back(SETTINGS.cookies.write_ids(make_ids()))
    played = play(core(consent=print, profile=print).session(make_request(method, "/", *headers, cookie), NOW))
    assert played.verbs == []
    refusal = capture.refuse(reason)
    assert played.returned == (refusal._replace(body=b"") if method == "HEAD" else refusal)


def test_plain_http_is_one_loud_note() -> None:
    """Plain http without `dev=True` is refused, and told in the log."""
    headers = [("host", "shop.example"), ("origin", "http://shop.example"), ("x-reve-bridge", "1"), JSON]
    played = play(core().session(make_request("POST", "/", *headers, scheme="http"), NOW))
    assert played.verbs == [Note("plain_http")]
    assert played.returned == capture.refuse("plain_http")


@pytest.mark.parametrize(("fault", "reason"), [(400, "bad_request"), (408, "timeout"), (413, "too_large")])
def test_a_body_that_does_not_come(fault: int, reason: str) -> None:
    """A body that breaks off, comes too slowly or is too long is a 400, 408 or 413; at most 2 KiB in 5 s are read."""
    played = post(body=BodyFault(fault))
    assert played.verbs == [ReadBody(2048, 5.0)]
    assert played.returned == capture.refuse(reason)


OTHER_BOT = b'{"session_id": "chat-1", "chatbot_id": "bot-2"}'


@pytest.mark.parametrize(("body", "reason"), [(b"[]", "bad_request"), (b"{}", "ids"), (OTHER_BOT, "bot")])
def test_a_body_that_says_something_else(body: bytes, reason: str) -> None:
    """A body without two allowed ids is a 400 or 422, and nobody is asked; ids that are not ours to know are told."""
    played = post(body=body)
    notes = {"bad_request": [], "ids": [Note("ids")], "bot": [Note("bot", "bot-1")]}
    assert played.verbs == [ReadBody(2048, 5.0), *notes[reason]]
    assert played.returned == capture.refuse(reason)


# Captured --------------------------------------------------------------------------------------

IDS_COOKIE = SETTINGS.cookies.write_ids(make_ids())
MARK_COOKIE = SETTINGS.cookies.write_mark(FRESH, make_ids(), NOW)
OF_THE_APPLICATION = [b"app=1; Path=/", b"other=2"]


@pytest.mark.parametrize(
    ("verdict", "said", "cookies"),
    [
        (Verdict("queued", FRESH), "queued", [*OF_THE_APPLICATION, IDS_COOKIE, MARK_COOKIE]),
        (Verdict("current", FRESH), "current", [*OF_THE_APPLICATION, IDS_COOKIE, MARK_COOKIE]),
        (Verdict("busy"), "busy", [*OF_THE_APPLICATION, IDS_COOKIE]),
        (ANONYMOUS, "anonymous", [IDS_COOKIE]),
        (UNKNOWN, "anonymous", [IDS_COOKIE]),
        (None, "anonymous", [IDS_COOKIE]),
        (DECLINED, "declined", []),
        (Verdict("signed_out"), "anonymous", []),
    ],
)
def test_what_the_look_up_found_is_answered(verdict: Verdict | None, said: str, cookies: list[bytes]) -> None:
    """The answer says what became of the chat. The look-up's own `Set-Cookie` are passed on when somebody was found;
    without consent, or after a sign-out, nothing is kept."""
    played = post(looked_up=LookedUp(verdict, OF_THE_APPLICATION))
    assert (status(played.returned), set_cookies(played.returned)) == (said, cookies)
    assert [type(verb) for verb in played.verbs] == [ReadBody, LookUp]


def test_a_look_up_that_never_answered_has_no_consent() -> None:
    """Where the look-up came to nothing in time, nobody said yes: with `consent=` nothing is captured."""
    played = post(looked_up=LookedUp(None, []), keywords={"consent": print})
    assert (status(played.returned), set_cookies(played.returned)) == ("declined", [])


def test_the_look_up_asks_as_a_response_would() -> None:
    """The look-up is one internal GET of `subrequest=`, at most 5 s long, at whose response start the visitor is asked
    about for the chat that was just reported."""
    played = post(looked_up=LookedUp(None, []), keywords={"subrequest": "/users/me", "profile": print})
    look_up = played.verbs[1]
    assert isinstance(look_up, LookUp)
    assert (look_up.path, look_up.seconds) == ("/users/me", 5.0)
    inquiry = play(look_up.inquiry(Visit()), profile=ADA)
    (push,) = inquiry.pushes()
    assert (push.key, push.captured, push.urgent) == (("bot-1", "chat-1"), NOW, True)
    assert inquiry.returned.status == "queued"
    visit = Visit()
    visit.profile = {"id": "bob"}
    assert json.loads(play(look_up.inquiry(visit)).pushes()[0].body)["data"] == {"id": "bob"}


def test_the_capture_path_itself_is_looked_up_unless_told_otherwise() -> None:
    """The look-up goes to the capture path unless `subrequest=` names another."""
    look_up = post(looked_up=LookedUp(None, [])).verbs[1]
    assert isinstance(look_up, LookUp)
    assert look_up.path == "/_reve/session"
    moved = post(looked_up=LookedUp(None, []), keywords={"path": "/chat"}).verbs[1]
    assert isinstance(moved, LookUp)
    assert moved.path == "/chat/session"


def test_without_a_look_up_the_request_itself_is_asked() -> None:
    """With `subrequest=None` the callables are asked with the capture request itself."""
    keywords = {"subrequest": None, "profile": print, "identity": print, "consent": print}
    played = post(consent=True, identity="ada", profile=ADA, keywords=keywords)
    assert played.asked() == ["consent", "identity", "profile"]
    assert status(played.returned) == "queued"
    assert len(set_cookies(played.returned)) == 2
    nobody = post(profile=None, keywords={"subrequest": None, "profile": print})
    assert (status(nobody.returned), set_cookies(nobody.returned)) == ("anonymous", [IDS_COOKIE])


def test_the_mark_that_the_browser_has_is_looked_at() -> None:
    """A capture of a chat whose mark is there already is no news; one of another chat is."""
    keywords = {"subrequest": None, "profile": print}
    first = post(profile=ADA, keywords=keywords)
    cookie = sent_back(*set_cookies(first.returned))
    again = post(cookie, profile=ADA, keywords=keywords, now=NOW + SECOND)
    assert (status(again.returned), again.pushes()) == ("current", [])
    other = post(cookie, profile=ADA, keywords=keywords, body=BODY.replace(b"chat-1", b"chat-2"))
    assert (status(other.returned), other.pushes()[0].session_id) == ("queued", "chat-2")


def test_what_is_written_can_be_read() -> None:
    """The cookies of a capture are read back as the chat, its instant, and what was handed over."""
    played = post(profile=ADA, keywords={"subrequest": None, "profile": print})
    cookie = [sent_back(*set_cookies(played.returned))[1].encode()]
    assert SETTINGS.cookies.ids(cookie, NOW) == Ids("bot-1", "chat-1", NOW)
    mark = SETTINGS.cookies.mark(cookie)
    assert mark is not None
    assert mark.at == NOW
    assert Hasher([KEY]).same(mark.who, "who", "ada")


def test_nothing_of_the_profile_is_in_a_cookie() -> None:
    """No cookie carries a profile or a user's id, not even encoded."""
    profile = {"id": "canary-id", "email": "canary@example.com"}
    played = post(profile=profile, keywords={"subrequest": None, "profile": print})
    for cookie in set_cookies(played.returned):
        for part in cookie.replace(b";", b".").replace(b"=", b".").split(b"."):
            for padding in (b"", b"=", b"==", b"==="):
                try:
                    decoded = __import__("base64").urlsafe_b64decode(part + padding)
                except ValueError:
                    continue
                assert b"canary" not in decoded
        assert b"canary" not in cookie


# Forgotten -------------------------------------------------------------------------------------


def test_delete_forgets() -> None:
    """`DELETE` takes what waits for the chat out of the mailbox and drops both cookies; nobody is asked."""
    request = make_request("DELETE", "/_reve/session", *GOOD, sent_back(IDS_COOKIE))
    played = play(core(consent=print, profile=print, logout_endpoint="bye").session(request, NOW))
    assert played.verbs == [Discard(("bot-1", "chat-1"))]
    assert (status(played.returned), set_cookies(played.returned)) == ("forgotten", DROPPED)


def test_delete_without_a_chat() -> None:
    """Without a chat, or with one that is too old or forged, there is nothing to take out; the cookies go."""
    old = sent_back(SETTINGS.cookies.write_ids(make_ids(captured=NOW - 13 * 3600 * SECOND)))
    for more in ([], [old], [("cookie", "__Host-reve=x")]):
        played = play(core().session(make_request("DELETE", "/", *GOOD, *more), NOW))
        assert played.verbs == []
        assert set_cookies(played.returned) == DROPPED


def test_the_flow_is_the_same_as_a_responses() -> None:
    """A capture's question is `hand_over` itself: no second set of rules."""
    settings, memory = make_settings(profile=print), make_memory()
    own = play(hand_over(settings, memory, make_ids(), None, Visit(), NOW, capture=True), profile=ADA)
    captured = post(profile=ADA, keywords={"subrequest": None, "profile": print})
    (one,), (other,) = own.pushes(), captured.pushes()
    assert (one.body, one.transition, one.visitor) == (other.body, other.transition, other.visitor)
