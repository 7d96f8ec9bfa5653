"""The two signed cookies (contract §4; THREATS T2, T3, T14, T17, T20)."""

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from itsdangerous import Signer, TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer
from pure import KEY, NOW, OLD_KEY, SECOND, make_ids

from reve_middleware import cookie
from reve_middleware.cookie import Cookies, Ids
from reve_middleware.mark import Mark

COOKIES = Cookies("reve", [KEY], dev=False)
IDS = make_ids()
MARK = Mark("s" * 16, "w" * 16, "v" * 16, "p" * 16, NOW)
NAME = b"__Host-reve"
HOUR = 3600 * SECOND


def sent_back(set_cookie: bytes) -> bytes:
    """What a browser sends after it was told `set_cookie`."""
    return set_cookie.partition(b";")[0]


def sign(payload: bytes, salt: bytes, key: str = KEY) -> bytes:
    """HMAC-SHA256 under a key derived with HMAC-SHA256, without itsdangerous."""
    derived = hmac.digest(key.encode(), salt, "sha256")
    signature = urlsafe_b64encode(hmac.digest(derived, payload, "sha256")).rstrip(b"=")
    return payload + b"." + signature


def ids_value(said: object, key: str = KEY) -> bytes:
    payload = urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).rstrip(b"=")
    return sign(payload, b"reve-middleware ids cookie", key)


def mark_value(said: bytes, key: str = KEY) -> bytes:
    return sign(said, b"reve-middleware mark cookie", key)


def test_the_ids_cookie_as_bytes() -> None:
    """The ids cookie is `__Host-reve`, signed with HMAC-SHA256 under its own salt, `Secure; HttpOnly; SameSite=Lax;
    Path=/`, for 12 h."""
    value = ids_value(["bot-1", "chat-1", NOW])
    assert COOKIES.write_ids(IDS) == (
        b"__Host-reve=" + value + b"; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax; Secure"
    )


def test_the_mark_cookie_as_bytes() -> None:
    """The mark cookie is `__Host-reve-mark`, signed under another salt, and lives as long as the ids do."""
    value = mark_value(b".".join([b"s" * 16, b"w" * 16, b"v" * 16, b"p" * 16, str(NOW).encode()]))
    attributes = b"; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert COOKIES.write_mark(MARK, IDS, NOW) == b"__Host-reve-mark=" + value + b"; Max-Age=43200" + attributes
    later = COOKIES.write_mark(MARK, IDS, NOW + 11 * HOUR)
    assert later == b"__Host-reve-mark=" + value + b"; Max-Age=3600" + attributes
    ahead = COOKIES.write_mark(MARK, IDS, NOW - 30 * SECOND)
    assert b"; Max-Age=43200;" in ahead


def test_both_cookies_are_dropped_at_once() -> None:
    """To forget a chat, both cookies are emptied with the attributes they were set with."""
    assert COOKIES.drop() == [
        b"__Host-reve=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
        b"__Host-reve-mark=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
    ]


def test_dev_cookies_go_over_plain_http() -> None:
    """With `dev=True` there is no prefix and no `Secure`; the rest stays."""
    dev = Cookies("reve", [KEY], dev=True)
    assert dev.write_ids(IDS).startswith(b"reve=")
    assert dev.write_ids(IDS).endswith(b"; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax")
    assert dev.drop() == [
        b"reve=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
        b"reve-mark=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
    ]
    assert dev.ids([sent_back(COOKIES.write_ids(IDS))], NOW) is None, "a production cookie has another name"


def test_the_base_of_the_names_is_a_setting() -> None:
    """`cookie=` changes the base of both names."""
    shop = Cookies("shop-2", [KEY], dev=False)
    assert (shop.ids_name, shop.mark_name) == (b"__Host-shop-2", b"__Host-shop-2-mark")
    assert shop.ids([sent_back(shop.write_ids(IDS))], NOW) == IDS
    assert shop.ids([sent_back(COOKIES.write_ids(IDS))], NOW) is None


ASCII = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@given(ASCII, ASCII, st.integers(0, 2**53))
@effort(max_examples=100, deadline=None)
def test_ids_come_back_as_they_went_and_fit_a_header(chatbot_id: str, session_id: str, captured: int) -> None:
    """Whatever the ids, they come back as they went, in a header of plain characters that a browser keeps."""
    ids = Ids(chatbot_id, session_id, captured)
    assert ids.key == (chatbot_id, session_id)
    written = COOKIES.write_ids(ids)
    assert COOKIES.ids([b"a=b; " + sent_back(written) + b"; c=d"], captured) == ids
    assert re.fullmatch(rb"__Host-reve=[A-Za-z0-9_.-]+; Max-Age=43200; [A-Za-z=/; ]+", written)
    assert len(written) < 4096


def test_marks_come_back_as_they_went() -> None:
    """A mark comes back as it went, with and without a version."""
    for mark in (MARK, MARK._replace(version=""), MARK._replace(at=0)):
        assert COOKIES.mark([sent_back(COOKIES.write_mark(mark, IDS, NOW))]) == mark


@pytest.mark.parametrize(
    ("passed", "good"),
    [
        (0, True),
        (12 * HOUR, True),
        (12 * HOUR + 1, False),
        (-60 * SECOND, True),
        (-60 * SECOND - 1, False),
        (-12 * HOUR, False),
        (10**20, False),
    ],
)
def test_ids_live_for_12_hours_and_forgive_60_seconds(passed: int, good: bool) -> None:
    """The ids cookie counts for 12 h from the capture; another machine's clock may be 60 s behind."""
    cookie = sent_back(COOKIES.write_ids(IDS))
    assert COOKIES.ids([cookie], NOW + passed) == (IDS if good else None)


def test_keys_rotate() -> None:
    """The newest key signs, every key of the list verifies, and a key that has left the list does not."""
    old, both, new = (Cookies("reve", keys, dev=False) for keys in ([OLD_KEY], [KEY, OLD_KEY], [KEY]))
    assert both.write_ids(IDS) == new.write_ids(IDS)
    assert both.write_mark(MARK, IDS, NOW) == new.write_mark(MARK, IDS, NOW)
    by_old = [sent_back(old.write_ids(IDS)) + b"; " + sent_back(old.write_mark(MARK, IDS, NOW))]
    assert (both.ids(by_old, NOW), both.mark(by_old)) == (IDS, MARK)
    assert (new.ids(by_old, NOW), new.mark(by_old)) == (None, None)
    by_new = [sent_back(both.write_ids(IDS))]
    assert old.ids(by_new, NOW) is None


GOOD = ids_value(["bot-1", "chat-1", NOW])
PAYLOAD, _, SIGNATURE = GOOD.rpartition(b".")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b"x",
        PAYLOAD,
        PAYLOAD + b".",
        b"." + SIGNATURE,
        GOOD[:-1],
        GOOD + b"A",
        b" " + GOOD,
        b'"' + GOOD + b'"',
        GOOD.replace(b".", b"%2E"),
        PAYLOAD[:-2] + b"AA." + SIGNATURE,
        ids_value(["bot-1", "chat-1", NOW], "a key that nobody ever gave to us, long enough"),
        mark_value(PAYLOAD),
        sign(PAYLOAD, b"itsdangerous.Signer"),
        sign(b"\xff\xfe", b"reve-middleware ids cookie"),
        sign(b"", b"reve-middleware ids cookie"),
        sign(b"!!!!", b"reve-middleware ids cookie"),
        ids_value(["bot-1", "chat-1"]),
        ids_value(["bot-1", "chat-1", NOW, 1]),
        ids_value(["bot-1", "chat-1", str(NOW)]),
        ids_value(["bot-1", 1, NOW]),
        ids_value([None, "chat-1", NOW]),
        ids_value({"a": 1, "b": 2, "c": 3}),
        ids_value(7),
        ids_value(None),
    ],
)
def test_a_bad_ids_cookie_is_no_cookie(value: bytes) -> None:
    """What is cut, changed, signed by another key or salt, or says something else than ids, counts as no cookie."""
    assert COOKIES.ids([NAME + b"=" + value], NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        mark_value(b"a.b.c.d"),
        mark_value(b"a.b.c.d.e"),
        mark_value(b"a.b.c.d.1.2"),
        mark_value(b"\xe4.b.c.d.1"),
        mark_value(b""),
        GOOD,
        sign(b"a.b.c.d.1", b"reve-middleware ids cookie"),
        mark_value(b"a.b.c.d.1", OLD_KEY),
    ],
)
def test_a_bad_mark_cookie_is_no_cookie(value: bytes) -> None:
    """What is no genuine mark counts as none; the two cookies cannot stand in for each other."""
    assert COOKIES.mark([b"__Host-reve-mark=" + value]) is None


@pytest.mark.parametrize(
    "signed",
    [
        Signer(KEY).sign(PAYLOAD),
        Signer(KEY, salt=b"reve-middleware ids cookie").sign(PAYLOAD),
        Signer(KEY, salt=b"reve-middleware ids cookie", digest_method=hashlib.sha256).sign(PAYLOAD),
        Signer(KEY, key_derivation="hmac", digest_method=hashlib.sha256).sign(PAYLOAD),
        TimestampSigner(KEY).sign(PAYLOAD),
        URLSafeSerializer(KEY).dumps(["bot-1", "chat-1", NOW]).encode(),
        URLSafeSerializer(KEY, salt="reve-middleware ids cookie").dumps(["bot-1", "chat-1", NOW]).encode(),
        URLSafeTimedSerializer(KEY, salt="cookie-session").dumps(["bot-1", "chat-1", NOW]).encode(),
    ],
    ids=range(8),
)
def test_what_the_application_signs_with_the_same_key_is_not_ours(signed: bytes) -> None:
    """Where the application signs its own values with itsdangerous and the same key, none of them passes for ours."""
    assert COOKIES.ids([NAME + b"=" + signed], NOW) is None


@pytest.mark.parametrize(("json_bytes", "length"), [(3039, 4096), (3040, 4098)])
def test_longer_than_any_browser_keeps_is_no_cookie(json_bytes: int, length: int) -> None:
    """A value of more than 4,096 bytes counts as no cookie, though its signature be genuine."""
    said = json.dumps(["bot-1", "chat-1", NOW]).encode().ljust(json_bytes)
    value = sign(urlsafe_b64encode(said).rstrip(b"="), b"reve-middleware ids cookie")
    assert len(value) == length
    assert COOKIES.ids([NAME + b"=" + value], NOW) == (IDS if length <= 4096 else None)


def test_what_is_remembered_as_genuine_is_bounded_and_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value whose signature was checked once is remembered: a few of them, each as the one cookie that it is."""
    monkeypatch.setattr(cookie, "REMEMBERED_VALUES", 3)
    cookies = Cookies("reve", [KEY], dev=False)
    for number in range(20):
        ids = make_ids(f"chat-{number}")
        value = sent_back(cookies.write_ids(ids))
        for _ in range(2):
            assert cookies.ids([value], NOW) == ids
            assert cookies.ids([value], NOW + 13 * HOUR) is None
            assert cookies.mark([value.replace(b"__Host-reve", b"__Host-reve-mark")]) is None
            assert cookies.ids([value[:-1]], NOW) is None
        assert len(cookies._known_ids) <= 3
    value = sign(b"a.b.c.d.1", b"reve-middleware ids cookie")
    assert cookies.ids([NAME + b"=" + value], NOW) is None
    assert cookies.mark([NAME + b"-mark=" + value]) is None


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=4)
)
@effort(max_examples=60, deadline=None)
def test_even_a_genuine_signature_under_something_else_is_no_error(said: object) -> None:
    """A payload that we never write, though its signature is genuine, counts as no cookie."""
    assert COOKIES.ids([NAME + b"=" + ids_value(said)], NOW) is None


@given(st.binary(max_size=60))
@effort(max_examples=200, deadline=None)
def test_even_a_genuine_signature_under_any_bytes_is_no_error(payload: bytes) -> None:
    """Bytes that we never write, though their signature is genuine, make no exception."""
    COOKIES.ids([NAME + b"=" + sign(payload, b"reve-middleware ids cookie")], NOW)
    COOKIES.mark([b"__Host-reve-mark=" + mark_value(payload)])
