"""The rules of the bot's webhook: is this call what REVE would take? Plain values in, plain values out."""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

ANOTHER_ADDRESS = (
    "there is no bot at this address; each start of the sandbox has a new one: paste its lines again, and start the "
    "site anew"
)
ANOTHER_TOKEN = "this token is not (or no longer) valid; each start of the sandbox has a new one"  # noqa: S105

PREFIX = "/api/webhook/v1/chatbot"
MAX_BODY = 256 * 1024
"""Bytes. REVE names no limit; this one keeps the stand-in from being filled."""

_PATH = re.compile(re.escape(PREFIX) + r"/(?P<uuid>[^/]+)(?:/(?P<endpoint>[^/]+))?")


@dataclass(frozen=True)
class Accepted:
    """A call that is in order."""

    endpoint: str | None
    bot_id: str
    session_id: str
    data: dict[str, object]


@dataclass(frozen=True)
class Refused:
    """A call that is not: the status of its answer, and why."""

    status: int
    why: str


@dataclass(frozen=True)
class Bot:
    """What a call must match."""

    uuid: str
    chatbot_id: str
    token: str


def endpoint_of(path: str) -> str | None:
    """The endpoint's name at the end of `path`, if there is one."""
    match = _PATH.fullmatch(path)
    return match["endpoint"] if match else None


def check(bot: Bot, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Accepted | Refused:
    """Check one call; `headers` is looked up by lower-case names."""
    match = _PATH.fullmatch(path)
    if not match or match["uuid"] != bot.uuid:
        return Refused(
            404,
            ANOTHER_ADDRESS,
        )
    if method != "POST":
        return Refused(405, "only POST is taken here")
    if why := _authorization(headers.get("authorization"), bot.token):
        return Refused(401, why)
    if why := _content_type(headers.get("content-type")):
        return Refused(400, why)
    if len(body) > MAX_BODY:
        return Refused(413, f"the body is longer than {MAX_BODY} bytes")
    return _body(bot, match["endpoint"], body)


def _authorization(value: str | None, token: str) -> str:
    if value is None:
        return "there is no Authorization header"
    scheme, _, given = value.partition(" ")
    if scheme.lower() != "bearer":
        return "Authorization does not say Bearer"
    if not hmac.compare_digest(given.encode(), token.encode()):
        return ANOTHER_TOKEN
    return ""


def _content_type(value: str | None) -> str:
    kind, _, parameters = (value or "").partition(";")
    if kind.strip().lower() != "application/json":
        return "Content-Type is not application/json"
    if parameters and parameters.replace(" ", "").replace('"', "").lower() != "charset=utf-8":
        return "Content-Type has parameters other than charset=utf-8"
    return ""


def _body(bot: Bot, endpoint: str | None, body: bytes) -> Accepted | Refused:
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Refused(400, "the body is not JSON in UTF-8")
    if not isinstance(found, dict):
        return Refused(400, "the body is not a JSON object")
    bot_id, session_id, data = found.get("botId"), found.get("sessionId"), found.get("data")
    if not isinstance(bot_id, str) or not isinstance(session_id, str) or not session_id:
        return Refused(400, "botId and sessionId must be there, as text")
    if not isinstance(data, dict):
        return Refused(400, "data must be there, as an object")
    if bot_id != bot.chatbot_id:
        return Refused(400, "botId names another bot")
    return Accepted(endpoint, bot_id, session_id, data)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
