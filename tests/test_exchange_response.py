"""One request and its response, in the order of the flow: any response (contract §5; THREATS T5, T9)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import KEY, NOW, OLD_KEY, SECOND, make_ids, make_memory, make_request, make_settings, play, respond, visiting

from reve_middleware import bridge
from reve_middleware.exchange import NEVER_ASKED, Core, Outgoing, as_private, is_shared
from reve_middleware.messages import NO_ANSWER, Discard, Headers, Note, Offer, Start
from reve_middleware.visitor import Visit

ADA = {"id": "ada"}
SETTINGS = make_settings()
HTML = (b"content-type", b"text/html")
TAG = bridge.tag(SETTINGS, "").encode()
CHAT = ("bot-1", "chat-1")
DROPPED = [(b"set-cookie", value) for value in SETTINGS.cookies.drop()]
PRIVATE = (b"cache-control", b"private")
WITH_CHAT = ("cookie", SETTINGS.cookies.write_ids(make_ids()).decode().partition(";")[0])


def set_cookies(outgoing: Outgoing) -> list[bytes]:
    return [value for name, value in outgoing.headers if name == b"set-cookie"]


def marked(**answers: Any) -> tuple[str, str]:
    """The `Cookie` header of a visitor whose profile was handed over."""
    (cookie,) = set_cookies(respond(WITH_CHAT, **answers).returned)
    return ("cookie", f"{WITH_CHAT[1]}; {cookie.decode().partition(';')[0]}")


OF_ANOTHER_KEY = ("cookie", make_settings(secret_key=OLD_KEY).cookies.write_ids(make_ids()).decode().partition(";")[0])


# Whom it concerns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("cookie", "a=b")],
        [("cookie", "__Host-reve=forged")],
        [("cookie", "reve" + WITH_CHAT[1].removeprefix("__Host-reve"))],
        [WITH_CHAT, WITH_CHAT],
        [OF_ANOTHER_KEY],
        [("cookie", SETTINGS.cookies.write_ids(make_ids(chatbot_id="gone")).decode().partition(";")[0])],
    ],
)
def test_who_has_no_chat_is_asked_nothing(pairs: list[tuple[str, str]]) -> None:
    """Without a valid cookie of a bot that is ours, nobody is asked and the headers go out as the same object."""
    headers: Headers = [(b"x", b"y")]
    played = respond(*pairs, headers=headers, profile=ADA, identity="ada", consent=True)
    assert played.verbs == ([Note("foreign_key")] if pairs == [OF_ANOTHER_KEY] else [])
    assert played.returned.headers is headers
    assert played.returned.tag is None


def test_an_old_chat_is_asked_nothing() -> None:
    """A chat that was captured more than 12 h ago counts for nothing."""
    assert respond(WITH_CHAT, profile=ADA, now=NOW + 12 * 3600 * SECOND).asked() == ["profile"]
    assert respond(WITH_CHAT, profile=ADA, now=NOW + 12 * 3600 * SECOND + 1).verbs == []


def test_any_response_hands_over_and_is_marked() -> None:
    """Any response, HTML or not, of a visitor with a chat hands the profile over, sets the mark and nothing else, and
    becomes private."""
    for headers in ([(b"content-type", b"application/json")], [], [(b"location", b"/")]):
        played = respond(WITH_CHAT, headers=list(headers), profile=ADA, method="POST", status=303)
        assert [type(verb).__name__ for verb in played.verbs] == ["Ask", "Offer"]
        *before, private, (name, cookie) = played.returned.headers
        assert (before, private, name) == (headers, PRIVATE, b"set-cookie")
        assert cookie.startswith(b"__Host-reve-mark=")
        assert played.returned.tag is None


def test_the_mark_lives_as_long_as_the_chat() -> None:
    """The mark's cookie ends with the chat's, 12 h after the capture."""
    (cookie,) = set_cookies(respond(WITH_CHAT, profile=ADA, now=NOW + 3600 * SECOND).returned)
    assert b"; Max-Age=39600; " in cookie


def test_nothing_new_changes_nothing() -> None:
    """The same profile again: nothing is pushed, no cookie set, and the headers go out as the same object."""
    headers: Headers = [HTML]
    played = respond(marked(profile=ADA), headers=headers, profile=ADA, inject=False)
    assert played.pushes() == []
    assert played.returned.headers is headers


@pytest.mark.parametrize("answers", [{"profile": None}, {"profile": NO_ANSWER}, {"profile": []}])
def test_nobody_and_no_answer_change_nothing(answers: dict[str, Any]) -> None:
    """Where nobody is there, or the callable fails, the headers go out as the same object."""
    headers: Headers = [(b"x", b"y")]
    assert respond(WITH_CHAT, headers=headers, **answers).returned.headers is headers


def test_a_mark_under_an_older_key_is_written_anew() -> None:
    """After a rotation of the keys the mark is written under the newest, without a push."""
    old = make_settings(secret_key=OLD_KEY)
    ids = old.cookies.write_ids(make_ids()).decode().partition(";")[0]
    request = make_request("GET", "/", ("cookie", ids))
    flow = Core(make_settings(secret_key=OLD_KEY, profile=print), make_memory()).response(
        request, Start(200, []), Visit(), NOW
    )
    (mark,) = set_cookies(play(flow, profile=ADA).returned)
    cookie = ("cookie", f"{ids}; {mark.decode().partition(';')[0]}")
    played = respond(cookie, profile=ADA, secret_key=[KEY, OLD_KEY])
    assert played.pushes() == []
    assert len(set_cookies(played.returned)) == 1
    assert respond(cookie, profile=ADA, secret_key=[KEY]).verbs == [Note("foreign_key")]


@pytest.mark.parametrize("destination", sorted(NEVER_ASKED))
def test_images_styles_scripts_and_fonts_are_never_asked_about(destination: bytes) -> None:
    """Requests for what a page loads besides are never asked about."""
    played = respond(WITH_CHAT, ("sec-fetch-dest", destination.decode()), profile=ADA)
    assert (played.verbs, played.returned.headers) == ([], [])


@pytest.mark.parametrize("destination", ["document", "iframe", "empty", "", "object"])
def test_pages_and_calls_are_asked_about(destination: str) -> None:
    """Pages, frames and calls from scripts are asked about."""
    assert respond(WITH_CHAT, ("sec-fetch-dest", destination), profile=ADA).asked() == ["profile"]


# Caches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        (b"public", True),
        (b"max-age=60, Public", True),
        (b"s-maxage=60", True),
        (b"S-MaxAge=0", True),
        (b"private", False),
        (b"max-age=60", False),
        (b"publicity", False),
        (b"no-store", False),
        (b"", False),
        (b",, ,", False),
    ],
)
def test_what_shared_caches_may_keep_is_never_marked(value: bytes, shared: bool) -> None:
    """A response that declares itself `public` or `s-maxage` is never marked and never pushes: nobody is asked."""
    headers: Headers = [(b"Cache-Control", value)]
    assert is_shared(headers) is shared
    played = respond(WITH_CHAT, headers=headers, profile=ADA)
    assert (played.verbs == []) is shared


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"private"]),
        ([b"max-age=60"], [b"max-age=60, private"]),
        ([b"max-age=60", b"no-cache"], [b"max-age=60, no-cache, private"]),
        ([b"private"], [b"private"]),
        ([b"no-store"], [b"no-store"]),
        ([b"public, max-age=60"], [b"max-age=60, private"]),
        ([b"s-maxage=60"], [b"private"]),
        ([b""], [b"", b"private"]),
    ],
)
def test_a_response_with_a_cookie_of_ours_is_private(before: list[bytes], after: list[bytes]) -> None:
    """A response that sets a cookie of ours becomes private, and is not made more cacheable than it was."""
    headers: Headers = [(b"x", b"y"), *[(b"Cache-Control", value) for value in before]]
    kept = list(headers)
    changed = as_private(headers)
    assert [value for name, value in changed if name.lower() == b"cache-control"] == after
    assert changed[0] == (b"x", b"y")
    assert headers == kept, "the application's own list is not touched"
    assert changed is not headers


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"public", b"private, x", b"s-maxage=1"]), max_size=3))
@effort(max_examples=200, deadline=None)
def test_any_cache_control_becomes_private(fields: list[bytes]) -> None:
    """Whatever `Cache-Control` says, the result is private or not stored, and shared no more."""
    changed = as_private([(b"cache-control", field) for field in fields])
    text = b",".join(value for _, value in changed).lower()
    assert b"private" in text or b"no-store" in text
    if b"no-store" not in text and not any(b"private" in field.lower() for field in fields):
        assert not is_shared(changed)


# The end of a chat -----------------------------------------------------------------------------


def test_another_visitor_ends_the_chat() -> None:
    """Another who than the mark's: what waits is taken out and both cookies are dropped, on this very response."""
    played = respond(marked(profile=ADA), profile={"id": "bob"}, headers=[HTML], inject=False)
    assert played.verbs[-1] == Discard(CHAT)
    assert played.pushes() == []
    assert played.returned.headers == [HTML, PRIVATE, *DROPPED]


def test_a_no_ends_the_chat() -> None:
    """A visitor who does not consent any more keeps no cookie, and what waits is taken out."""
    played = respond(marked(profile=ADA), consent=False, profile=ADA)
    assert played.asked() == ["consent"]
    assert played.let_go() == [CHAT]
    assert played.returned.headers == [PRIVATE, *DROPPED]


@pytest.mark.parametrize(
    "signed_out",
    [
        {"visit": visiting(signed_out=True)},
        {"path": "/logout", "logout_routes": ["/logout"]},
        {"path": "/users/logout", "logout_routes": ["*/logout"], "routes": ()},
        {"visit": visiting(signed_out=True, enabled=False)},
        {"visit": visiting(signed_out=True), "headers": [(b"cache-control", b"public")]},
    ],
)
def test_signing_out_ends_the_chat(signed_out: dict[str, Any]) -> None:
    """`sign_out()` in a view, or a route of `logout_routes`, drops both cookies and takes out what waits, wherever the
    middleware is enabled or not; nobody is asked."""
    played = respond(WITH_CHAT, profile=ADA, **signed_out)
    assert played.verbs == [Discard(CHAT)]
    assert played.returned.headers == [PRIVATE, *DROPPED]


def test_the_bot_is_told_where_it_wants_to_be() -> None:
    """With a `logout_endpoint` the bot is told, after everything else was taken out; not without consent."""
    keywords = {"logout_endpoint": "bye", "visit": visiting(signed_out=True)}
    played = respond(WITH_CHAT, **keywords)
    discard, offer = played.verbs
    assert discard == Discard(CHAT)
    assert isinstance(offer, Offer)
    assert (offer.push.endpoint, offer.push.captured) == ("bye", NOW)
    assert len(respond(WITH_CHAT, consent=True, **keywords).pushes()) == 1
    for no in (False, NO_ANSWER):
        declined = respond(WITH_CHAT, consent=no, **keywords)
        assert (declined.let_go(), declined.pushes()) == ([CHAT], [])
        assert declined.returned.headers == [PRIVATE, *DROPPED]


def test_who_has_no_chat_signs_out_unnoticed() -> None:
    """Signing out without a chat changes nothing."""
    played = respond(visit=visiting(signed_out=True), logout_endpoint="bye")
    assert (played.verbs, played.returned) == ([], Outgoing([], None))
