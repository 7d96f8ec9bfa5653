"""The mark: short keyed hashes of who, what and for which chat (contract §4, §5)."""

import hmac
from base64 import urlsafe_b64encode

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import KEY, OLD_KEY

from reve_middleware.mark import Hasher

HASHER = Hasher([KEY])


def test_a_hash_is_96_bits_of_hmac_sha256() -> None:
    """A hash is 96 bits of HMAC-SHA256 under a key made from the secret key, as 16 characters that need no quoting."""
    key = hmac.digest(KEY.encode(), b"reve-middleware mark", "sha256")
    raw = hmac.digest(key, b"who\0ada@example.com", "sha256")[:12]
    assert HASHER.digest("who", "ada@example.com") == urlsafe_b64encode(raw).decode()
    assert len(HASHER.digest("profile", b"{}")) == 16


def test_what_is_hashed_is_kept_apart() -> None:
    """The same value as who, as version and as profile makes three hashes that say nothing about each other."""
    made = {HASHER.digest(what, "1") for what in ("session", "who", "version", "profile")}
    assert len(made) == 4
    assert not HASHER.same(HASHER.digest("who", "1"), "version", "1")


def test_text_and_its_bytes_are_the_same() -> None:
    """Text and its UTF-8 are the same value."""
    assert HASHER.same(HASHER.digest("who", "ä"), "who", "ä".encode())


def test_another_key_makes_another_hash() -> None:
    """Without the key nobody can tell whose hash it is, nor make one."""
    assert HASHER.digest("who", "1") != Hasher([OLD_KEY]).digest("who", "1")
    assert not HASHER.same(Hasher([OLD_KEY]).digest("who", "1"), "who", "1")


def test_marks_are_compared_under_every_key() -> None:
    """The newest key makes hashes; those of every key of the list are recognised."""
    both = Hasher([KEY, OLD_KEY])
    assert both.digest("who", "1") == HASHER.digest("who", "1")
    for old in (KEY, OLD_KEY):
        assert both.same(Hasher([old]).digest("who", "1"), "who", "1")
        assert not both.same(Hasher([old]).digest("who", "1"), "who", "2")
    assert not both.same("", "who", "")


@given(st.text(max_size=20) | st.text(st.characters(categories=["Cs"]), max_size=3), st.text(max_size=20))
@effort(max_examples=100, deadline=None)
def test_any_text_has_a_hash_of_its_own(one: str, other: str) -> None:
    """Any text can be hashed, even one that is not valid Unicode; two are the same only if they are equal."""
    assert HASHER.same(HASHER.digest("who", one), "who", other) is (one == other)
