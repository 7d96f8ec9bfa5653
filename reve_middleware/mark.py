"""What was last handed over, as short keyed hashes.

A mark travels in a cookie. It lets any worker of any machine see that nothing has changed, without a
shared store and without a word about the visitor in it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, NoReturn

DIGEST_BYTES = 12
"""96 bits of HMAC-SHA256: 16 characters in the cookie."""
REMEMBERED_DIGESTS = 4096
"""Digests of chats, people and versions that are not computed again; of profiles none are kept."""


class Mark(NamedTuple):
    """For which chat, for whom, and what was last handed to the sender."""

    session: str
    who: str
    version: str
    profile: str
    at: int
    """Microseconds since the epoch: makes each hand-over's mark unlike the one before."""


class Hasher:
    """Makes the hashes of a mark, and compares them under every key of the list."""

    __slots__ = ("_keys", "_of_text")

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets`: newest first."""
        self._keys = [hmac.digest(secret.encode(), b"reve-middleware mark", "sha256") for secret in secrets]
        self._of_text = lru_cache(REMEMBERED_DIGESTS)(_digest)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a hasher is not pickled: it holds the secret key")

    def digest(self, what: str, value: str | bytes) -> str:
        """The hash of `value` under the newest key; `what` keeps the fields apart."""
        return self._digest(self._keys[0], what, value)

    def same(self, digest: str, what: str, value: str | bytes) -> bool:
        """Is `digest` the hash of `value` under any of the keys?"""
        return any(hmac.compare_digest(digest, self._digest(key, what, value)) for key in self._keys)

    def _digest(self, key: bytes, what: str, value: str | bytes) -> str:
        return self._of_text(key, what, value) if isinstance(value, str) else _digest(key, what, value)


def _digest(key: bytes, what: str, value: str | bytes) -> str:
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    raw = hmac.digest(key, what.encode() + b"\0" + data, "sha256")[:DIGEST_BYTES]
    return urlsafe_b64encode(raw).decode()
