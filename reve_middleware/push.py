"""One profile on its way to one chat: checked, encoded, and shown to nobody.

A profile is encoded at once, so what changes in the application afterwards changes nothing here.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import iscoroutine
from json import encoder
from json.encoder import encode_basestring
from typing import Any, Literal, NoReturn, TypeAlias

from .errors import ProfileError

LARGEST_PROFILE = 16 * 1024
"""Bytes of JSON."""

DEEPEST_LOOK = 8
"""Levels of a profile that are searched for what is not JSON."""

Payload: TypeAlias = Literal["nested", "flat"] | Callable[[str, str, dict[str, Any]], Any]


@dataclass(slots=True, repr=False, eq=False)
class Push:
    """What is to be said to one chat session, and what the mailbox needs to know of it. Nobody changes it; that it is
    not frozen saves two thirds of the time to make one."""

    chatbot_id: str
    session_id: str
    endpoint: str | None
    """Appended to the webhook link; None: the link itself."""
    body: bytes
    """The JSON that is sent."""
    visitor: str
    """A keyed hash: one visitor may fill only so many places."""
    transition: str
    """From when the mark is that this starts from, and the hashes of who and what it hands over, with dots between
    them (recollection.judge reads it); empty: not a profile, but the word of a sign-out."""
    captured: int
    """When the browser reported the chat, microseconds since the epoch."""
    at: int
    """When this was handed over, microseconds since the epoch."""
    urgent: bool = False
    """Not held back by the spacing of pushes to one chat: a capture, a sign-out."""
    began: int = 0
    """When the request behind it came in, microseconds since the epoch."""
    key: tuple[str, str] = field(init=False)
    """Bot and chat session: one tuple for all who keep it."""

    def __post_init__(self) -> None:
        self.key = (self.chatbot_id, self.session_id)

    def __repr__(self) -> str:
        return f"<Push to {self.chatbot_id}, {len(self.body)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a push is not pickled: it holds what a visitor's chat is told")


def encode_profile(profile: Any) -> bytes:
    """The profile as canonical JSON (RFC 8259, UTF-8, sorted keys).

    Raises `ProfileError`, whose text names the field and what is wrong with it.
    """
    fields = profile if type(profile) is dict else _read(profile)
    try:
        data = _dump_quickly(fields)
        one_name = next(iter(fields), "")  # the names could be sorted: all of them are text, or none is
    except Exception:
        raise ProfileError(_what_is_wrong(profile, dict(fields))) from None
    if len(data) > LARGEST_PROFILE or not isinstance(one_name, str):
        raise ProfileError(_what_is_wrong(profile, dict(fields), data))
    return data


def encode_body(payload: Payload, chatbot_id: str, session_id: str, data: bytes) -> bytes:
    """The request body: REVE.md's `{"botId", "sessionId", "data"}`, the same flattened, or the
    result of the site's own callable `(chatbot_id, session_id, profile)`.

    Raises `ProfileError` where the callable raises or returns what is not JSON.
    """
    if payload == "nested":
        session = encode_basestring(session_id).encode()
        return b'{"botId":%b,"sessionId":%b,"data":%b}' % (_dump_bot(chatbot_id), session, data)
    if payload == "flat":
        return _dump({**json.loads(data), "botId": chatbot_id, "sessionId": session_id})
    try:
        return _dump(payload(chatbot_id, session_id, json.loads(data)))
    except Exception as error:
        raise ProfileError(f"payload= failed with {type(error).__name__}") from None


def fingerprint(profile: Any) -> int | None:
    """Equal for profiles that are the same to the last type, good inside this process; None where that cannot be told.
    Ten times as quick as the JSON. (`marshal`, version 0: plain built-in values only, and nothing but them.)"""
    try:
        return hash(marshal.dumps(profile, 0))
    except ValueError:
        return None


def fields_of(data: bytes) -> dict[str, int]:
    """A fingerprint of each top-level field of an encoded profile, good inside this process."""
    return {name: hash(_dump(value)) for name, value in json.loads(data).items()}


def printable(name: str) -> str:
    """A field's name as it may stand in a log: short, on one line."""
    return ascii(name if len(name) <= 40 else name[:40] + "…")


_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _dump(value: Any) -> bytes:
    return _encode(value).encode("utf-8")


def _prepared() -> Callable[[Any], bytes]:
    """`_dump`, with an encoder that is made once and not for each value: it halves the time for a profile. A value that
    contains itself is a RecursionError here. Where Python has no such encoder, or another, `_dump` itself."""
    probe = {"b": [1, None, "ä"], "a": {}}
    try:
        encode = encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, _refuse, encode_basestring, None, ":", ",", True, False, False
        )

        def dump(value: Any) -> bytes:
            return "".join(encode(value, 0)).encode("utf-8")

        return dump if dump(probe) == _dump(probe) else _dump
    except Exception:
        return _dump


def _refuse(value: Any) -> NoReturn:
    raise TypeError


_dump_quickly = _prepared()
_dump_bot = lru_cache(64)(_dump)


def _read(profile: Any) -> dict[Any, Any]:
    if not isinstance(profile, Mapping):
        raise ProfileError(_is_no_dict(profile))
    try:
        return dict(profile)
    except Exception as error:  # a mapping that reads when it is asked
        raise ProfileError(f"the profile cannot be read: {type(error).__name__}") from None


def _what_is_wrong(profile: Any, fields: dict[Any, Any], data: bytes | None = None) -> str:
    """`data`: its JSON, where it has one."""
    for name in fields:
        if not isinstance(name, str):
            return f"a field's name is a {type(name).__name__}, not text"
    if data is None:
        return _is_no_dict(profile) if _is_request(profile) else _name_the_culprit(fields)
    largest = max(fields, key=lambda name: len(_dump(fields[name])))
    return (
        f"the profile has {len(data)} bytes of JSON, more than {LARGEST_PROFILE}; "
        f"the largest field is {printable(largest)}"
    )


def _is_no_dict(profile: Any) -> str:
    if iscoroutine(profile):
        return "the profile is a coroutine: await it first"
    example = 'such as {"id": user.id, "name": user.name}'
    return f"the profile is a {type(profile).__name__}: it must be a dict of what the bot may know, {example}"


def _is_request(profile: Any) -> bool:
    """Starlette's are mappings."""
    return type(profile).__name__.endswith("Request")


def _name_the_culprit(fields: Mapping[str, Any]) -> str:
    for name, value in fields.items():
        try:
            _dump({name: value})
        except Exception as error:
            if type(error) is TypeError:
                return f"field {printable(name)} {_what_is_no_json(value)}"
            reason = {
                "ValueError": "is not JSON (NaN, infinity, or it contains itself)",
                "UnicodeEncodeError": "has text that is not valid Unicode",
                "RecursionError": "is nested too deeply",
            }.get(type(error).__name__, "is not JSON")
            return f"field {printable(name)} ({type(value).__name__}) {reason}"
    return "the profile is not JSON"


JSON_VALUES = "text, a number, true, false, None, a list or a dict"
CURES = {
    **dict.fromkeys(("datetime", "date", "time"), ".isoformat()"),
    **dict.fromkeys(("UUID", "Decimal", "Path", "PosixPath", "HttpUrl", "ObjectId"), "str(…)"),
    **dict.fromkeys(("set", "frozenset"), "sorted(…)"),
    **dict.fromkeys(("QuerySet", "generator", "dict_keys", "dict_values", "map", "filter"), "list(…)"),
    **dict.fromkeys(("function", "method"), "its value, f() instead of f"),
    "coroutine": "its value: await it",
    "bytes": ".decode()",
    "timedelta": ".total_seconds()",
}
"""How values that people have become JSON."""


def _what_is_no_json(value: Any) -> str:
    """The kind of value that does not go, however deep it is, and what would."""
    culprit = _innermost_culprit(value)
    kind = type(culprit).__name__
    what = f"is a {kind}" if culprit is value else f"holds a {kind}"
    if isinstance(culprit, dict):
        return f"{what} whose keys are not all text, which is not JSON"
    right = (
        f"write {CURES[kind]}" if kind in CURES else "it must be text, a number, true, false, None, a list or a dict"
    )
    return f"{what}, which is not JSON: {right}"


def _innermost_culprit(value: Any) -> Any:
    for _ in range(DEEPEST_LOOK):
        try:
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            culprit = next(one for one in inside if not _is_json(one))
        except Exception:  # nothing inside, or one that reads when it is asked
            return value
        value = culprit
    return value


def _is_json(value: Any) -> bool:
    try:
        _dump(value)
    except Exception:
        return False
    return True
