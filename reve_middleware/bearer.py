"""A bot's token: text, or a callable that is asked when it is needed and when one was refused."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

from .bot import Secret, fault_of_token
from .hints import describe
from .threads import DaemonThreads, run_in

log = logging.getLogger("reve_middleware")

TOKEN_SECONDS = 10.0
"""Seconds that a token callable may take."""


class CurrentToken:
    """A bot's current token; a callable is asked at first, and again when a token was refused."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._known: Secret | None = None
        self._asking: asyncio.Future[Secret | None] | None = None  # asyncio's debug mode logs what a slow task returns

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
        return None if self._known is None else self._known.reveal()

    def refused(self, value: str) -> bool:
        """The bot refused `value`. Returns whether another may be had."""
        if not callable(self._source):
            return False
        if self._known is not None and self._known.reveal() == value:
            self._known = self._asking = None
        return True

    async def _ask(self, threads: DaemonThreads) -> Secret | None:
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                if inspect.iscoroutinefunction(self._source):
                    token = await self._source()
                else:
                    token = await run_in(threads, self._source)
                    if inspect.isawaitable(token):
                        token = await token
        except Exception as error:
            token, raised = None, type(error).__name__ if type(error) is TimeoutError else describe(error)
        else:
            raised = ""
        if raised:  # out here, for an error tracker shows the locals of whoever logs, and the exception's text is one
            log.error("token= raised %s", raised, extra={"reve": "token_raised"})
            return None
        fault = "is no text" if not isinstance(token, str) else fault_of_token(token) if token else "is empty"
        if not fault:
            return Secret(token)
        del token  # an error tracker shows the locals of whoever logs
        log.error("token= returned what is no token: it %s", fault, extra={"reve": "token_wrong"})
        return None
