"""The two signed cookies: ids (which chat) and mark (what was handed over).

Read from the raw header bytes, by exact name: blanks other than SP and HTAB are part of a name, and a
name that comes twice counts as none, so that neither a look-alike nor a tossed duplicate is believed
(THREATS T2, T3). A bad cookie is no cookie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from .mark import Mark

MAX_AGE = 12 * 60 * 60
"""Seconds from the capture."""
CLOCK_SKEW = 60
"""Seconds by which two machines' clocks may differ."""
LONGEST_VALUE = 4096
"""Bytes; browsers keep no longer cookie (RFC 6265 §6.1)."""
REMEMBERED_VALUES = 4096
"""Genuine values that are not verified and read again."""

MICRO = 1_000_000

T = TypeVar("T")


class Ids(NamedTuple):
    """Which chat of which bot, and when the browser said so."""

    chatbot_id: str
    session_id: str
    captured: int
    """Microseconds since the epoch."""

    @property
    def key(self) -> tuple[str, str]:
        return self.chatbot_id, self.session_id

    def __repr__(self) -> str:
        return f"<Ids of a chat of {self.chatbot_id}>"


class Cookies:
    """Reads and writes both cookies."""

    __slots__ = ("_attributes", "_ids", "_known_ids", "_known_marks", "_mark", "ids_name", "mark_name")

    def __init__(self, base: str, secrets: Sequence[str], *, dev: bool) -> None:
        """`base`: the name without its prefix; `secrets`: newest first."""
        prefix = "" if dev else "__Host-"
        self.ids_name = f"{prefix}{base}".encode()
        self.mark_name = f"{prefix}{base}-mark".encode()
        self._attributes = b"; Path=/; HttpOnly; SameSite=Lax" + (b"" if dev else b"; Secure")
        oldest_first = list(reversed(secrets))  # the order itsdangerous asks for: it signs with the last
        self._known_ids: dict[bytes, Ids] = {}
        self._known_marks: dict[bytes, Mark] = {}
        self._ids = self._signer(oldest_first, b"reve-middleware ids cookie")
        self._mark = self._signer(oldest_first, b"reve-middleware mark cookie")

    @staticmethod
    def _signer(secrets: list[str], salt: bytes) -> Signer:
        return Signer(secrets, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)

    def __reduce__(self) -> NoReturn:
        raise TypeError("cookies are not pickled: they hold the secret key")

    def ids(self, headers: Iterable[bytes], now: int) -> Ids | None:
        """The chat in the `Cookie` header values, if it is genuine and not older than 12 h."""
        value = find(headers, self.ids_name)
        if value is None:
            return None
        ids = self._known_ids.get(value) or self._read_ids(value)
        if ids is None:
            return None
        since, until = lifetime(ids)
        return ids if since <= now <= until else None

    def is_of_another(self, headers: Iterable[bytes], now: int) -> bool:
        """Is there an ids cookie that is well made and still good, but signed with a key that is none of ours?"""
        value = find(headers, self.ids_name)
        if value is None or len(value) > LONGEST_VALUE or self._ids.validate(value):
            return False
        try:
            _, _, captured = json.loads(base64_decode(value.rpartition(self._ids.sep)[0]))
            return bool(0 <= now - captured <= MAX_AGE * MICRO)
        except (ValueError, TypeError, BadData):
            return False

    def mark(self, headers: Iterable[bytes]) -> Mark | None:
        """The mark in the `Cookie` header values, if it is genuine."""
        value = find(headers, self.mark_name)
        return None if value is None else self._known_marks.get(value) or self._read_mark(value)

    def _read_ids(self, value: bytes) -> Ids | None:
        try:
            chatbot_id, session_id, captured = json.loads(base64_decode(_unsign(self._ids, value)))
        except (ValueError, TypeError, BadData):
            return None
        if not (isinstance(chatbot_id, str) and isinstance(session_id, str) and isinstance(captured, int)):
            return None
        ids = Ids(chatbot_id, session_id, captured)
        _remember(self._known_ids, value, ids)
        return ids

    def _read_mark(self, value: bytes) -> Mark | None:
        try:
            session, who, version, profile, at = _unsign(self._mark, value).decode("ascii").split(".")
            mark = Mark(session, who, version, profile, int(at))
        except (ValueError, BadData):
            return None
        _remember(self._known_marks, value, mark)
        return mark

    def write_ids(self, ids: Ids) -> bytes:
        """The `Set-Cookie` value that keeps `ids`."""
        payload = base64_encode(json.dumps(ids, separators=(",", ":")))
        return self._set(self.ids_name, self._ids.sign(payload), MAX_AGE)

    def write_mark(self, mark: Mark, ids: Ids, now: int) -> bytes:
        """The `Set-Cookie` value that keeps `mark` for as long as `ids` lives."""
        payload = ".".join((mark.session, mark.who, mark.version, mark.profile, str(mark.at)))
        left = MAX_AGE - max(0, now - ids.captured) // MICRO
        return self._set(self.mark_name, self._mark.sign(payload), left)

    def drop(self) -> list[bytes]:
        """The `Set-Cookie` values that delete both cookies."""
        return [self._set(self.ids_name, b"", 0), self._set(self.mark_name, b"", 0)]

    def _set(self, name: bytes, value: bytes, seconds: int) -> bytes:
        return b"%b=%b; Max-Age=%d%b" % (name, value, seconds, self._attributes)


def lifetime(ids: Ids) -> tuple[int, int]:
    """The first and the last microsecond in which it counts: not from the future, and not older than 12 h."""
    return ids.captured - CLOCK_SKEW * MICRO, ids.captured + MAX_AGE * MICRO


def find(headers: Iterable[bytes], name: bytes) -> bytes | None:
    """The value of the one cookie called exactly `name`; None where there is none or more than one."""
    found: bytes | None = None
    begin = name + b"="
    for header in headers:
        at = header.find(begin)
        if at < 0:
            continue
        behind = at + len(begin)
        if (at == 0 or header[at - 2 : at] == b"; ") and header.find(begin, behind) < 0:
            values = [header[behind:].partition(b";")[0].rstrip(b" \t")]  # as browsers write it
        else:
            values = _all(header, name)
        if len(values) + (found is not None) > 1:
            return None
        found = values[0] if values else found
    return found


def _all(header: bytes, name: bytes) -> list[bytes]:
    """The values of the cookies called `name` (RFC 6265 §4.2.1)."""
    pairs = [pair.strip(b" \t").partition(b"=") for pair in header.split(b";")]
    return [value for key, equals, value in pairs if key == name and equals]


def _unsign(signer: Signer, value: bytes) -> bytes:
    if not value or len(value) > LONGEST_VALUE:
        raise BadData("no value of ours")
    return signer.unsign(value)


def _remember(known: dict[bytes, T], value: bytes, what: T) -> None:
    if len(known) >= REMEMBERED_VALUES:
        known.clear()
    known[value] = what
