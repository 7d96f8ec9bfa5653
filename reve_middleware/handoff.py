"""Gives each push to a task queue the site already has, and delivers what its worker brings back.

What travels is plain JSON: which bot, which endpoint, the body, and when it was offered. No token and no
address: the worker knows those itself.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .asking import is_async
from .errors import ReveError, SettingsError
from .messages import Offered
from .notes import Notes, where
from .push import Push
from .recollection import Key, Recollection
from .settings import Bot
from .threads import DaemonThreads, run_in

if TYPE_CHECKING:
    from .webhook import Outcome

HAND_OFF_SECONDS = 2.0
TOO_OLD = 600.0
"""Seconds after which a push that is still in the queue is not delivered any more."""

_threads = DaemonThreads("reve-middleware-handoff", 8)


class NotDelivered(ReveError):
    """A push should be tried again later; raised by `deliver`, for the task queue's own retries.

    `reason`: a code such as "status_503", "timeout", "network", "status_401". `retry_after`: the seconds
    the server asks to wait, or None.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(f"the push was not delivered ({reason})")
        self.reason = reason
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.retry_after)


class HandOff:
    """The mailbox's side of the application, with a task queue behind it."""

    def __init__(self, hand_off: Callable[[dict[str, Any]], Any], notes: Notes) -> None:
        self._hand_off = hand_off
        self._is_async = is_async(hand_off)
        self._notes = notes
        self._lock = threading.Lock()
        self._known = Recollection()
        self.counts: Counter[str] = Counter()

    def offer(self, push: Push) -> Offered:
        """Hand a push on, in place."""
        known = self._begin(push)
        if known is not None:
            return known
        try:
            self._hand_off(as_task(push))
        except Exception as error:
            return self._failed(push, error)
        return Offered("queued", push.at)

    async def offer_async(self, push: Push) -> Offered:
        """Hand a push on; a plain callable in a thread of ours, so that a broker holds up no event loop."""
        known = self._begin(push)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(HAND_OFF_SECONDS):
                if self._is_async:
                    await self._hand_off(as_task(push))
                else:
                    result = await run_in(_threads, copy_context().run, self._hand_off, as_task(push))
                    if inspect.isawaitable(result):
                        await result
        except Exception as error:
            return self._failed(push, error)
        return Offered("queued", push.at)

    def let_go(self, key: Key, instant: int) -> None:
        """Hand nothing on that was captured for this chat before `instant`. What the queue has, it has."""
        with self._lock:
            self._known.let_go(key, instant, time.monotonic())

    async def let_go_async(self, key: Key, instant: int) -> None:
        self.let_go(key, instant)

    def is_lost(self, key: Key) -> bool:
        return self._known.is_lost(key)

    def stats(self) -> dict[str, Any]:
        """Counts since the process started; what became of a push, the task queue knows."""
        return {name: self.counts[name] for name in ("offered", "busy")}

    def begin(self) -> None:
        """There is nothing to begin: the task queue runs elsewhere."""

    def close(self, seconds: float = 0.0) -> None:
        """There is nothing to flush: each push was handed on at once."""

    async def aclose(self) -> None:
        """There is nothing to flush: each push was handed on at once."""

    def _begin(self, push: Push) -> Offered | None:
        now = time.monotonic()
        with self._lock:
            known = self._known.answer(push, now)
            if known is None:
                self._known.took(push, now)
                self.counts["offered"] += 1
        return known

    def _failed(self, push: Push, error: Exception) -> Offered:
        with self._lock:
            self._known.lose(push.key, time.monotonic())
            self.counts["busy"] += 1
        self._notes.say("handoff", where(error))
        return Offered("busy", push.at)


def as_task(push: Push) -> dict[str, Any]:
    """A push as JSON values."""
    return {
        "chatbot_id": push.chatbot_id,
        "session_id": push.session_id,
        "endpoint": push.endpoint,
        "body": push.body.decode(),
        "offered": time.time(),
    }


def deliver(push: Mapping[str, Any], bots: Bot | Sequence[Bot] | None = None, *, seconds: float = 10.0) -> str:
    """What the task queue's worker calls with what `handoff=` was given: one attempt.

    `bots`: the bot, or all of them; left out, the one of the environment (`REVE_WEBHOOK_URL`, `REVE_TOKEN`,
    `REVE_CHATBOT_ID`). `seconds`: for the whole attempt. Returns "delivered", "refused" (the webhook
    wants no repetition: a 4xx) or "expired" (older than 10 minutes). Raises `NotDelivered` where the queue
    should try again later, and `SettingsError` where the push is for no bot of these.
    """
    return asyncio.run(adeliver(push, bots, seconds=seconds))


async def adeliver(push: Mapping[str, Any], bots: Bot | Sequence[Bot] | None = None, *, seconds: float = 10.0) -> str:
    """`deliver` for a worker that runs coroutines."""
    from .webhook import Clients, attempt, quietly

    bot = _bot_of(push, bots)
    if time.time() - push["offered"] > TOO_OLD:
        return "expired"
    clients = Clients(None)
    client = clients.take()
    try:
        with quietly():
            for second_try in (False, True):
                outcome = await attempt(
                    client, bot, push["endpoint"], push["body"].encode(), await _token_of(bot), seconds
                )
                if outcome.kind != "token" or not callable(bot.token) or second_try:
                    break
    finally:
        clients.give_back(client)
        await clients.close()
    return _verdict(outcome)


def _verdict(outcome: Outcome) -> str:
    if outcome.kind in ("delivered", "refused"):
        return outcome.kind
    raise NotDelivered(outcome.reason, outcome.retry_after)


async def _token_of(bot: Bot) -> str:
    if not callable(bot.token):
        return str(bot.token.reveal())
    token = bot.token()
    if inspect.isawaitable(token):
        token = await token
    return str(token)


def _bot_of(push: Mapping[str, Any], bots: Bot | Sequence[Bot] | None) -> Bot:
    if bots is None:
        bots = Bot(
            webhook_url=os.environ.get("REVE_WEBHOOK_URL"),
            token=os.environ.get("REVE_TOKEN"),
            chatbot_id=os.environ.get("REVE_CHATBOT_ID", ""),
        )
    for bot in [bots] if isinstance(bots, Bot) else bots:
        if bot.chatbot_id == push["chatbot_id"]:
            return bot
    raise SettingsError(f"a push is for the bot {push['chatbot_id']!r}: pass it as bots=, or set REVE_CHATBOT_ID")
