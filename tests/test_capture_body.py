"""The body of a capture: two ids or a refusal, whatever the bytes (contract §3, THREATS T7, T12)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import make_settings

from reve_middleware import Bot
from reve_middleware.capture import Captured, Refusal, read_ids

SETTINGS = make_settings()
GOOD = b'{"session_id": "chat-1", "chatbot_id": "bot-1"}'


def body(session_id: Any = "chat-1", chatbot_id: Any = "bot-1", **more: Any) -> bytes:
    return json.dumps({"session_id": session_id, "chatbot_id": chatbot_id, **more}).encode()


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        b"\r\n" + GOOD + b"\n",
        body(more={"deep": [1, {"x": None}]}, number=1e300),
        b'{"chatbot_id":"bot-1","session_id":"\\u0063hat-1"}',
    ],
)
def test_two_ids_are_taken_and_the_rest_is_ignored(good: bytes) -> None:
    """The two ids are taken from any JSON object; other keys are ignored."""
    assert read_ids(good, SETTINGS) == Captured("chat-1", "bot-1")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b" ",
        b"{}x",
        b"[]",
        b'["session_id", "chatbot_id"]',
        b'"session_id"',
        b"1",
        b"null",
        b"true",
        b"session_id=chat-1&chatbot_id=bot-1",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b'{"session_id": "\xff", "chatbot_id": "bot-1"}',
        b"\0" + GOOD,
        GOOD[:-1],
        GOOD + GOOD,
        GOOD.replace(b'"', b"'"),
        b'{"session_id": "chat-1", "chatbot_id": "bot-1",}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "session_id": "chat-2"}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "session_id": "chat-1"}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "x": {"y": 1, "y": 1}}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "\\u0073ession_id": "chat-2"}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "x": NaN}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "x": -Infinity}',
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "x": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"session_id": "chat-1", "chatbot_id": "bot-1", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_anything_but_one_json_object_is_a_bad_request(bad: bytes) -> None:
    """What is not one JSON object (RFC 8259: no NaN, no byte order mark), and repeated keys at any depth, are a 400."""
    assert read_ids(bad, SETTINGS) == Refusal("bad_request")


@pytest.mark.parametrize(
    "bad",
    [
        b"{}",
        b'{"session_id": "chat-1"}',
        b'{"chatbot_id": "bot-1"}',
        body(session_id=None),
        body(session_id=1),
        body(session_id=["chat-1"]),
        body(session_id={"a": 1}),
        body(session_id=True),
        body(session_id=""),
        body(session_id="x" * 129),
        body(session_id="a b"),
        body(session_id="a\n"),
        body(session_id="chat-1\n"),
        body(session_id="a/b"),
        body(session_id="a\0"),
        body(session_id="ä"),
        body(session_id="\ud800"),
        body(session_id="٣"),
        body(session_id="a;b"),
        body(session_id="<script>"),
        body(chatbot_id=None),
        body(chatbot_id=["bot-1"]),
    ],
)
def test_ids_that_are_malformed_are_a_422(bad: bytes) -> None:
    """A session id is 1 to 128 characters of `[A-Za-z0-9._:~-]`; both ids are text."""
    assert read_ids(bad, SETTINGS) == Refusal("ids")


@pytest.mark.parametrize(
    "bad",
    [
        body(chatbot_id=""),
        body(chatbot_id="bot-2"),
        body(chatbot_id="BOT-1"),
        body(chatbot_id="bot-1 "),
        body(chatbot_id="bot-1\n"),
        body(chatbot_id="https://attacker.example"),
        body(chatbot_id="\ud800"),
    ],
)
def test_another_bot_is_a_422(bad: bytes) -> None:
    """A chatbot id is exactly one of the configured ones."""
    assert read_ids(bad, SETTINGS) == Refusal("bot")


@pytest.mark.parametrize("session_id", ["a", "x" * 128, "AZaz09._:~-", "0"])
def test_the_alphabet_of_session_ids(session_id: str) -> None:
    """Every character of the alphabet is taken, up to 128 of them."""
    assert read_ids(body(session_id), SETTINGS) == Captured(session_id, "bot-1")


def test_the_alphabet_is_a_setting_within_visible_ascii() -> None:
    """`session_id_pattern` decides, but never lets in more than 1 to 128 visible characters."""
    anything = make_settings(session_id_pattern=r"(?s).*")
    assert read_ids(body("a/b+c="), anything) == Captured("a/b+c=", "bot-1")
    for bad in ("", "a b", "a\n", "ä", "x" * 129):
        assert read_ids(body(bad), anything) == Refusal("ids")
    digits = make_settings(session_id_pattern=r"\d+")
    assert read_ids(body("123"), digits) == Captured("123", "bot-1")
    assert read_ids(body("123x"), digits) == Refusal("ids")


def test_each_of_several_bots_is_known() -> None:
    """With several bots, each of their ids is taken and no other."""
    bots = [Bot(webhook_url="https://reve.example/1", token="t", chatbot_id=name) for name in ("one", "two")]
    settings = make_settings(bots=bots)
    assert read_ids(body(chatbot_id="one"), settings) == Captured("chat-1", "one")
    assert read_ids(body(chatbot_id="two"), settings) == Captured("chat-1", "two")
    assert read_ids(body(chatbot_id="bot-1"), settings) == Refusal("bot")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
IDS = JSON_VALUES | st.sampled_from(["chat-1", "bot-1"])


@given(
    st.binary(max_size=2048)
    | st.builds(lambda before, inside, after: before + GOOD[:-1] + inside + after, *[st.binary(max_size=9)] * 3)
    | st.builds(
        lambda one, two, more: json.dumps({**more, "session_id": one, "chatbot_id": two}).encode(),
        IDS,
        IDS,
        st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=3),
    )
)
@effort(max_examples=150, deadline=None)
def test_any_body_is_ids_or_a_refusal(raw: bytes) -> None:
    """Whatever the bytes of a body, there come out two allowed ids or a refusal, and never an exception."""
    said = read_ids(raw, SETTINGS)
    if isinstance(said, Refusal):
        assert said.reason in ("bad_request", "ids", "bot")
    else:
        assert said.chatbot_id == "bot-1"
        assert SETTINGS.session_id.fullmatch(said.session_id)
