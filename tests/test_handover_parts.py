"""The parts of the hand-over: who a profile is about, the sign-out push, what a process remembers (contract §5)."""

import datetime
import decimal
import json
import uuid
from typing import Any

import pytest
from pure import NOW, make_ids, make_memory, make_settings, play

from reve_middleware import Bot, ProfileError, handover, identify, sign_out
from reve_middleware.handover import CHANGES_IN_A_ROW, Memory, hand_over, read_identity, sign_out_push, who_of
from reve_middleware.mark import Mark
from reve_middleware.messages import NO_ANSWER
from reve_middleware.visitor import UNSAID, Visit, current_visit

CHAT = ("bot-1", "chat-1")


@pytest.mark.parametrize(
    ("profile", "who"),
    [
        ({"id": 7, "email": "a@example.com"}, "7"),
        ({"id": 0}, "0"),
        ({"id": 1.5}, "1.5"),
        ({"email": "a@example.com", "phone": "1"}, "a@example.com"),
        ({"id": "", "email": None, "phone": "+44"}, "+44"),
        ({"id": [1], "phone": 44}, "44"),
        ({"id": True, "name": "Ada"}, None),
        ({"ID": 7}, None),
        ({}, None),
    ],
)
def test_who_a_profile_is_about(profile: dict[str, Any], who: str | None) -> None:
    """A profile says who it is about by `id`, `email` or `phone`, the first there is that is text or a number."""
    assert who_of(profile) == who


ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("ada", ("ada", None)),
        (7, ("7", None)),
        (0, ("0", None)),
        (ID, (str(ID), None)),
        (("ada", None), ("ada", None)),
        (("ada", 7), ("ada", "7")),
        ((7, "v2"), ("7", "v2")),
        (("ada", datetime.date(2024, 1, 2)), ("ada", "2024-01-02")),
        (("ada", datetime.datetime(2024, 1, 2, 3, 4, 5, 6)), ("ada", "2024-01-02 03:04:05.000006")),
        (("ada", decimal.Decimal("1.10")), ("ada", "1.10")),
        (("ada", ID), ("ada", str(ID))),
        (("ada", False), ("ada", "False")),
    ],
)
def test_what_identity_may_return(answer: Any, said: tuple[str, str | None]) -> None:
    """`identity=` may return text, a number or a UUID, alone or with a version: text, a number, a date or a UUID."""
    assert read_identity(answer) == said


@pytest.mark.parametrize("answer", [None, b"ada", ("", 1), {"id": 1}, decimal.Decimal("1"), ("ada", b"1")])
def test_what_identity_must_not_return(answer: Any) -> None:
    """Anything else is a `ProfileError`."""
    with pytest.raises(ProfileError, match=r"^identity= returned a \w+ as "):
        read_identity(answer)


# What a view says ------------------------------------------------------------------------------


def test_what_a_view_says_is_kept_with_its_request() -> None:
    """`identify()` and `sign_out()` are kept with the request they were called in, and the last word counts."""
    visit = Visit()
    assert visit.profile is UNSAID
    token = current_visit.set(visit)
    try:
        identify({"id": 1})
        identify(None)
        sign_out()
    finally:
        current_visit.reset(token)
    assert visit.profile is None
    assert visit.signed_out


def test_outside_a_request_a_view_says_nothing() -> None:
    """Outside a request that passes the middleware, both do nothing."""
    assert current_visit.get() is None
    identify({"id": 1})
    sign_out()
    assert current_visit.get() is None


def test_no_answer_is_not_an_answer() -> None:
    """That a callable gave no answer can be told from every value it may give."""
    assert repr(NO_ANSWER) == "NO_ANSWER"
    assert NO_ANSWER is not UNSAID


# Sign-out --------------------------------------------------------------------------------------


def test_the_sign_out_push() -> None:
    """A bot with a `logout_endpoint` is told `{}` there, at once and whatever was said before."""
    settings = make_settings(logout_endpoint="logout", endpoint="login")
    push = sign_out_push(settings, make_ids(captured=NOW - 5), NOW)
    assert push is not None
    assert (push.endpoint, push.body) == ("logout", b'{"botId":"bot-1","sessionId":"chat-1","data":{}}')
    assert (push.key, push.visitor, push.transition, push.captured, push.at) == (CHAT, "", "", NOW, NOW)
    assert push.urgent


def test_without_an_endpoint_nobody_is_told() -> None:
    """Without a `logout_endpoint` of this bot there is no such push; nor where `payload` fails on it."""
    assert sign_out_push(make_settings(), make_ids(), NOW) is None

    def payload(chatbot_id: str, session_id: str, profile: dict[str, Any]) -> Any:
        return profile["name"]

    assert sign_out_push(make_settings(logout_endpoint="logout", payload=payload), make_ids(), NOW) is None


def test_each_bot_has_its_own_endpoints() -> None:
    """With several bots, the endpoint is that of the chat's own bot."""
    link = {"webhook_url": "https://reve.example/x", "token": "t"}
    one = Bot(**link, chatbot_id="one", endpoint="hello", logout_endpoint="bye")
    settings = make_settings(bots=[one, Bot(**link, chatbot_id="two")], profile=print)
    for name, endpoint in (("one", "hello"), ("two", None)):
        ids = make_ids(chatbot_id=name)
        played = play(hand_over(settings, make_memory(), ids, None, Visit(), NOW, capture=False), profile={"id": 1})
        assert [push.endpoint for push in played.pushes()] == [endpoint]
        push = sign_out_push(settings, ids, NOW)
        assert (push and push.endpoint) == ("bye" if endpoint else None)


def test_flat_pushes() -> None:
    """With `payload="flat"` the fields stand beside the ids, in a sign-out too."""
    settings = make_settings(payload="flat", logout_endpoint="bye", profile=print)
    flow = hand_over(settings, make_memory(), make_ids(), None, Visit(), NOW, capture=False)
    (push,) = play(flow, profile={"id": 1}).pushes()
    assert json.loads(push.body) == {"id": 1, "botId": "bot-1", "sessionId": "chat-1"}
    push = sign_out_push(settings, make_ids(), NOW)
    assert json.loads(push.body) == {"botId": "bot-1", "sessionId": "chat-1"}


# What a process remembers ----------------------------------------------------------------------


def changes(profiles: list[dict[str, Any]], **more: Any) -> list[str]:
    """The notes over responses of one chat, each with the mark that the one before set."""
    settings, memory = make_settings(profile=print), make_memory()
    notes, mark = [], None
    for profile in profiles:
        flow = hand_over(settings, memory, make_ids(), mark, Visit(), NOW, capture=False)
        played = play(flow, profile=profile, **more)
        mark = played.returned.mark
        notes += [f"{code} {detail}" for code, detail in played.notes()]
    return notes


def test_a_field_that_differs_on_every_response_is_named() -> None:
    """A field that changed with each of so many responses in a row is named, and no other."""
    restless = [{"id": 1, "name": f"Ada {n // 4}", "last_seen": n} for n in range(CHANGES_IN_A_ROW + 1)]
    assert changes(restless[:-1]) == []
    assert changes(restless) == ["restless 'last_seen'"]


def test_a_set_turned_list_is_named() -> None:
    """So is a list whose order changes each time."""
    lists = [{"id": 1, "groups": [n % 2, 1 - n % 2]} for n in range(CHANGES_IN_A_ROW + 1)]
    assert changes(lists) == ["restless 'groups'"]


def test_edits_are_not_restless() -> None:
    """Edits with quiet responses between them are no such thing, nor are different fields in turn."""
    edits = [{"id": 1, "phone": n // 2} for n in range(40)]
    assert changes(edits) == []
    turns = [{"id": 1, "a": n // 2, "b": (n + 1) // 2} for n in range(40)]
    assert changes(turns) == []


def test_what_the_mailbox_knew_already_is_no_change() -> None:
    """Responses that ran side by side with one that was queued do not count."""
    assert changes([{"id": 1, "n": n} for n in range(40)], offered="current") == []


def test_a_names_value_never_stands_in_the_note() -> None:
    """The note names the field as it may stand in a log: short, on one line."""
    name = "last\nseen" + "x" * 50
    assert changes([{"id": 1, name: n} for n in range(CHANGES_IN_A_ROW + 1)]) == [
        "restless 'last\\nseen" + "x" * 31 + "\\u2026'"
    ]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many chats there are, so many are remembered, the latest."""
    monkeypatch.setattr(handover, "REMEMBERED_CHATS", 3)
    memory = make_memory()
    for number in range(10):
        assert memory.changed(("bot-1", f"chat-{number}"), {"n": number}) is None
        memory.quiet(("bot-1", "chat-0"))
    assert [key[1] for key in memory._changes] == ["chat-7", "chat-8", "chat-9"]


def test_memory_asks_the_sender_what_is_lost() -> None:
    """Whether a chat's last push was given up, the sender is asked."""
    mark = Mark("session", "who", "", "profile", NOW)
    assert make_memory(CHAT).outdates(mark, CHAT)
    assert not make_memory(CHAT).outdates(mark, ("bot-1", "chat-2"))


def test_memory_asks_the_sender_what_was_handed_over_since() -> None:
    """A mark counts for nothing when this process has handed something over for its chat since."""
    mark = Mark("session", "who", "", "profile", NOW)
    assert Memory(lambda key, at: at < NOW + 1).outdates(mark, CHAT)
    assert not Memory(lambda key, at: at < NOW).outdates(mark, CHAT)


def test_a_version_of_nobody_is_nobody() -> None:
    """`identity=` may return `(user.id, user.changed)` without asking whether anybody is logged in."""
    settings = make_settings(identity=lambda request: (None, None))
    flow = hand_over(settings, make_memory(), make_ids(), None, Visit(), NOW, capture=False)
    assert play(flow, identity=(None, 7)).returned.status == "anonymous"
