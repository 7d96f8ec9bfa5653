"""A profile on its way: checked, encoded, and shown to nobody (contract §5, §7, §8)."""

import json
from collections import UserDict
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import NOW, no_dict, no_json

from reve_middleware import ProfileError
from reve_middleware.push import (
    LARGEST_PROFILE,
    Push,
    encode_body,
    encode_profile,
    fields_of,
    printable,
)

CANARY = "canary@example.com"


class Lazy(Mapping[str, str]):
    """Fails when it is read."""

    def __getitem__(self, key: str) -> str:
        raise ConnectionError(CANARY)

    def __iter__(self) -> Iterator[str]:
        return iter(["email"])

    def __len__(self) -> int:
        return 1


class Hostile:
    def __repr__(self) -> str:
        raise AssertionError("nobody may ask for this")

    __str__ = __repr__


class Once(dict[str, int]):
    """Fails the first time."""

    def items(self) -> Any:
        if "failed" not in self.__dict__:
            self.failed = True
            raise OSError(CANARY)
        return super().items()


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


def in_a_circle() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize(
    ("profile", "data"),
    [
        ({}, b"{}"),
        ({"name": "Ada", "id": 7}, b'{"id":7,"name":"Ada"}'),
        ({"b": {"z": 1, "a": [True, None, 1.5]}}, b'{"b":{"a":[true,null,1.5],"z":1}}'),
        ({"name": "Zoë 🎈"}, '{"name":"Zoë 🎈"}'.encode()),
        (MappingProxyType({"a": (1, 2)}), b'{"a":[1,2]}'),
        (UserDict(a=1), b'{"a":1}'),
        ({"a": {1: 2}}, b'{"a":{"1":2}}'),
    ],
)
def test_a_profile_is_canonical_json(profile: Any, data: bytes) -> None:
    """A profile becomes JSON in UTF-8 with sorted keys, so that the order of its fields makes no difference."""
    assert encode_profile(profile) == data


WRONG = [
    (None, no_dict("NoneType")),
    ([("name", CANARY)], no_dict("list")),
    (CANARY, no_dict("str")),
    (Hostile(), no_dict("Hostile")),
    (Lazy(), "the profile cannot be read: ConnectionError"),
    ({1: CANARY}, "a field's name is a int, not text"),
    ({CANARY.encode(): 1}, "a field's name is a bytes, not text"),
    ({2: CANARY, 1: CANARY}, "a field's name is a int, not text"),
    ({"a": CANARY, 1: CANARY}, "a field's name is a int, not text"),
    ({None: CANARY}, "a field's name is a NoneType, not text"),
    ({True: CANARY, 0.5: CANARY}, "a field's name is a bool, not text"),
    ({1: {CANARY}}, "a field's name is a int, not text"),
    (
        {"born": date(1815, 12, 10)},
        no_json("'born'", "date", "write .isoformat()"),
    ),
    (
        {"a": 1, "b": [Decimal("1")]},
        no_json("'b'", "holds a Decimal", "write str(…)"),
    ),
    ({"x": Hostile()}, no_json("'x'", "Hostile")),
    (
        {"x": {"y": {CANARY.encode()}}},
        no_json("'x'", "holds a set", "write sorted(…)"),
    ),
    (
        {"x": {1: 1, "a": CANARY}},
        "field 'x' is a dict whose keys are not all text, which is not JSON",
    ),
    ({"n": float("nan")}, "field 'n' (float) is not JSON (NaN, infinity, or it contains itself)"),
    ({"n": [float("-inf")]}, "field 'n' (list) is not JSON (NaN, infinity, or it contains itself)"),
    ({"me": in_a_circle()}, "field 'me' (list) is not JSON (NaN, infinity, or it contains itself)"),
    ({"deep": deep(100_000)}, "field 'deep' (list) is nested too deeply"),
    ({"name": "\ud800" + CANARY}, "field 'name' (str) has text that is not valid Unicode"),
    ({"\ud800": 1}, "field '\\ud800' (int) has text that is not valid Unicode"),
    ({"odd": Once(a=1)}, "the profile is not JSON"),
    (
        {"a": "x", "bio": CANARY * 2000},
        "the profile has 36018 bytes of JSON, more than 16384; the largest field is 'bio'",
    ),
]


@pytest.mark.parametrize(("profile", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_cannot_be_sent_is_named_but_never_shown(profile: Any, text: str) -> None:
    """A profile that is not JSON, or too large, is one error that names the field and never its value."""
    with pytest.raises(ProfileError) as caught:
        encode_profile(profile)
    assert str(caught.value) == text
    assert CANARY not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_16_kib_is_the_limit() -> None:
    """16 KiB of JSON can be sent, one byte more cannot."""
    fits = {"a": "x" * (LARGEST_PROFILE - len('{"a":""}'))}
    assert len(encode_profile(fits)) == 16 * 1024
    with pytest.raises(ProfileError, match=r"^the profile has 16385 bytes"):
        encode_profile({"a": fits["a"] + "x"})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5) | st.integers(), VALUES, max_size=4) | VALUES)
@effort(max_examples=200, deadline=None)
def test_any_profile_is_json_or_one_error(profile: Any) -> None:
    """Whatever a profile callable returns, it becomes JSON that reads back the same, or one `ProfileError`."""
    try:
        data = encode_profile(profile)
    except ProfileError:
        return
    assert json.loads(encode_profile(json.loads(data))) == json.loads(data)


NAMES = st.text(max_size=2) | st.integers(-2, 2) | st.floats() | st.booleans() | st.none() | st.binary(max_size=1)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
@effort(max_examples=300, deadline=None)
def test_a_dict_is_judged_as_any_mapping(profile: dict[Any, Any]) -> None:
    """What is quick for a dict says the same as what is slow for any mapping, whatever its names are."""

    def said_of(profile: Any) -> bytes | str:
        try:
            return encode_profile(profile)
        except ProfileError as error:
            return str(error)

    assert said_of(profile) == said_of(MappingProxyType(profile))


# The body --------------------------------------------------------------------------------------

DATA = encode_profile({"name": "Zoë", "botId": "mine"})


def test_the_body_is_what_reve_documents() -> None:
    """`payload="nested"` is `{"botId", "sessionId", "data"}`; `"flat"` puts the ids beside the fields, and they win."""
    assert encode_body("nested", "bot-1", 'a"\\', DATA) == (
        b'{"botId":"bot-1","sessionId":"a\\"\\\\","data":' + DATA + b"}"
    )
    flat = encode_body("flat", "bot-1", "chat-1", DATA)
    assert json.loads(flat) == {"name": "Zoë", "botId": "bot-1", "sessionId": "chat-1"}


def test_a_sites_own_payload() -> None:
    """A callable gets the ids and a profile of its own, and what it returns is sent as JSON."""
    seen = []

    def payload(chatbot_id: str, session_id: str, profile: dict[str, Any]) -> Any:
        seen.append((chatbot_id, session_id, dict(profile)))
        profile.clear()
        return [session_id, "ü"]

    assert encode_body(payload, "bot-1", "chat-1", DATA) == '["chat-1","ü"]'.encode()
    assert seen == [("bot-1", "chat-1", {"name": "Zoë", "botId": "mine"})]


def _raises(*_: Any) -> Any:
    raise LookupError(CANARY)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (_raises, "payload= failed with LookupError"),
        (lambda *_: {CANARY}, "payload= failed with TypeError"),
        (lambda *_: float("nan"), "payload= failed with ValueError"),
        (lambda *_: "\ud800", "payload= failed with UnicodeEncodeError"),
    ],
)
def test_a_payload_that_fails_is_one_error(payload: Any, text: str) -> None:
    """A payload callable that raises, or returns what is not JSON, is one error without a value."""
    with pytest.raises(ProfileError) as caught:
        encode_body(payload, "bot-1", "chat-1", DATA)
    assert str(caught.value) == text
    assert caught.value.__suppress_context__


def test_a_push_shows_nothing() -> None:
    """A push shows its bot and its size; not the session, the profile or the visitor."""
    push = Push("bot-1", "secret-session", "login", CANARY.encode(), "v", "t", NOW, NOW)
    assert repr(push) == str(push) == f"{push}" == "<Push to bot-1, 18 bytes>"
    assert push.key == ("bot-1", "secret-session")
    assert push.urgent is False


def test_fields_can_be_compared_without_being_kept() -> None:
    """A fingerprint of each field tells which one changed, and holds no value."""
    one = fields_of(encode_profile({"name": CANARY, "seen": 1, "set": {"a": 1, "b": 2}}))
    two = fields_of(encode_profile({"name": CANARY, "seen": 2, "set": {"b": 2, "a": 1}}))
    assert [name for name in one if one[name] != two[name]] == ["seen"]
    assert CANARY not in repr(one)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("name", "'name'"),
        ("a\nb", "'a\\nb'"),
        ("ü", "'\\xfc'"),
        ("x" * 41, "'" + "x" * 40 + "\\u2026'"),
        ("%s", "'%s'"),
    ],
)
def test_a_fields_name_in_a_log_is_short_and_on_one_line(name: str, shown: str) -> None:
    """A field's name is shown as at most 40 characters of ASCII on one line."""
    assert printable(name) == shown
