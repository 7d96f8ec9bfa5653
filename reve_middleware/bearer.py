"""A bot's token: text, or a callable that is asked when it is needed and when one was refused."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

from .threads import DaemonThreads, run_in

log = logging.getLogger("reve_middleware")

TOKEN_SECONDS = 10.0
"""Seconds that a token callable may take."""


class CurrentToken:
    """A bot's current token; a callable is asked at first, and again when a token was refused."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._known: str | None = None
        self._asking: asyncio.Future[str | None] | None = None

    async def value(self, threads: DaemonThreads) -> str | None:
        """The token; None where the callable failed. Asked once, however many wait for it."""
        if not callable(self._source):
            return str(self._source.reveal())
        if self._known is None:
            if self._asking is None:
                self._asking = asyncio.ensure_future(self._ask(threads))
            asking = self._asking
            self._known = await asyncio.shield(asking)
            if self._known is None and self._asking is asking:
                self._asking = None
        return self._known

    def refused(self, value: str) -> bool:
        """The bot refused `value`. Returns whether another may be had."""
        if not callable(self._source):
            return False
        if self._known == value:
            self._known = self._asking = None
        return True

    async def _ask(self, threads: DaemonThreads) -> str | None:
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                if inspect.iscoroutinefunction(self._source):
                    token = await self._source()
                else:
                    token = await run_in(threads, self._source)
                    if inspect.isawaitable(token):
                        token = await token
        except Exception as error:
            log.error("token= raised %s", type(error).__name__, extra={"reve": "token_raised"})
            return None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token or not token:
            log.error("token= returned what is no token", extra={"reve": "token_wrong"})
            return None
        return token
