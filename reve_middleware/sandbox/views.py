"""What the pages are told, as values for JSON. Nobody is told the token."""

from __future__ import annotations

import json
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from .bot import show

if TYPE_CHECKING:
    from .misbehaviour import Misbehaviour
    from .records import Received, View

SHOWN_BODY = 8 * 1024
"""Characters of a request's body on the operator's page."""


def conversation(view: View) -> dict[str, object]:
    """For the widget, and for the operator's page; `changed` says of each field that the last push changed what it
    was before, or `None` if it was not there."""
    return {
        "version": view.version,
        "session_id": view.session_id,
        "from_widget": view.from_widget,
        "begun": view.begun,
        "pushes": view.pushes,
        "knows": {key: show(value) for key, value in view.knows.items()},
        "changed": {key: None if was is None else show(was[0]) for key, was in view.changed.items()},
        "messages": [
            {"number": message.number, "speaker": message.speaker, "text": message.text} for message in view.messages
        ],
    }


def request(record: Received) -> dict[str, object]:
    """For the operator's page."""
    body = record.body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    return {
        "number": record.number,
        "time": record.time,
        "method": record.method,
        "path": record.path,
        "endpoint": record.endpoint,
        "status": record.status,
        "phrase": _phrase(record.status),
        "why": record.why,
        "misbehaviour": misbehaviour(record.misbehaviour),
        "headers": [[name, _masked(name, value)] for name, value in record.headers.items()],
        "size": len(record.body),
        "body": body[:SHOWN_BODY],
    }


def misbehaviour(told: Misbehaviour | None) -> dict[str, object] | None:
    """For the operator's page."""
    if told is None:
        return None
    return {"status": told.status, "retry_after": told.retry_after, "seconds": told.seconds, "times": told.times}


def shortened(secret: str) -> str:
    """Enough to tell two apart, and too little to use."""
    return f"{secret[: min(4, len(secret) // 4)]}…"


def _masked(name: str, value: str) -> str:
    if name.lower() != "authorization":
        return value
    scheme, space, token = value.partition(" ")
    return f"{scheme} {shortened(token)}" if space else shortened(value)


def _phrase(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""
