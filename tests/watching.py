"""Canaries for every secret place, and a log handler that keeps all that could show one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from delivering import bot

import reve_middleware
from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, delivery
from reve_middleware.webhook import HTTP_LOGGERS

TOKEN = "canary-token-4711"
SESSION = "canary-session-4711"
EMAIL = "canary-4711@example.com"
PHONE = "+49-4711-canary"
PATH = "/canary/path/4711"
KEY = "canary-key-4711-canary-key-4711-canary"
CANARIES = (TOKEN, SESSION, EMAIL, PHONE, PATH.strip("/"), KEY)
PROFILE = {"id": 1, "email": EMAIL, "phone": PHONE}
BODY = json.dumps({"botId": "b", "sessionId": SESSION, "data": PROFILE}).encode()
OURS = str(Path(reve_middleware.__file__).parent)


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def locals_of(frame: FrameType | None) -> Iterator[str]:
    """What an error tracker would show of our frames, from this one outwards."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            for name, value in frame.f_locals.items():
                yield f"{frame.f_code.co_name}: {name} = {value!r}"
        frame = frame.f_back


class Everything(logging.Handler):
    """Keeps all that a record says, and the locals of our functions that were running when it was made."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        said = [logging.Formatter().format(record), repr(record.__dict__)]
        if record.name == "reve_middleware":
            said += locals_of(sys._getframe())
        self.texts.append("\n".join(said))

    def leaks(self) -> list[str]:
        """The lines that hold a canary."""
        return [line for text in self.texts for line in text.splitlines() if found_in(line)]


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    """Every logger at DEBUG, and asyncio's debug mode, which logs each step of the sender's loop."""

    class Loop(delivery._Loop):
        def __init__(self, **keywords: Any) -> None:
            super().__init__(**keywords)
            self.set_debug(True)
            self.slow_callback_duration = 0.0

    monkeypatch.setattr(delivery, "_Loop", Loop)
    handler = Everything()
    loggers = [logging.getLogger(name) for name in ("", "asyncio", "reve_middleware", *HTTP_LOGGERS)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
        logger.removeHandler(handler)


def middleware(app: Any, url: str, *, wsgi: bool = False, **keywords: Any) -> Any:
    bots = keywords.pop("bots", None) or [bot("b", url, TOKEN)]
    kind = ReveWSGIMiddleware if wsgi else ReveMiddleware
    return kind(app, bots=bots, secret_key=KEY, timeout=0.3, **keywords)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def wsgi_silent(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


def fail(*_: Any) -> Any:
    raise ValueError(f"{TOKEN} {BODY!r}")
