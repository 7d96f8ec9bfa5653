"""What the worker of a task queue calls with what `handoff=` was given: one attempt, and a plain answer.

The queue keeps the push, tries again later and decides how often. Nothing of a push stands in a frame that an
exception passes: error trackers show the locals of every one. A process remembers the newest push it has seen of
each chat, and delivers none that is older.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .bearer import CurrentToken
from .bot import NEEDED, Bot, wrong
from .errors import ReveError, SettingsError
from .gate import HELD_FOR_CONFIGURATION, HELD_FOR_TOKEN, LONGEST_RETRY_AFTER
from .push import printable
from .recollection import Recent
from .threads import DaemonThreads, run_in

if TYPE_CHECKING:
    from .outcome import Outcome
    from .webhook import Clients

TOO_OLD = 7200.0
"""Seconds after which a push is not delivered any more, as in the outbox."""

_threads = DaemonThreads("reve-middleware-worker", 8, queues=True)


class NotDelivered(ReveError):
    """A push is to be tried again later; raised by `deliver`, for the task queue's own retries."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after)  # queues pickle an exception, or keep its arguments
        self.reason = reason
        """A code: "status_503", "timeout", "network", "status_401", "no_token", "tls" …"""
        self.retry_after = retry_after
        """Seconds to wait at least: what the server asked for (at most 300), 60 where it refused the token, 300
        where the webhook link does not work. None: the queue's own back-off will do."""

    def __str__(self) -> str:
        return f"the push was not delivered ({self.reason})"


def deliver(
    push: Mapping[str, Any],
    bots: Bot | Sequence[Bot] | None = None,
    *,
    client: Callable[[], Any] | None = None,
    seconds: float = 10.0,
) -> str:
    """Send once what `handoff=` was given. For a thread without an event loop; else see `adeliver`.

    `bots`: the bot, or all of them; left out, the one of the environment (`REVE_WEBHOOK_URL`, `REVE_TOKEN`,
    `REVE_CHATBOT_ID`). A token that is refused is asked for once more if it is a callable. `client`: as the
    middleware's keyword. `seconds`: for one request, in all.

    Returns "delivered"; "refused" (a 4xx: the webhook wants no repetition); "expired" (older than 2 h); or
    "superseded" (this process has seen a newer push of the chat). Raises `NotDelivered` where the queue is to
    try again later, `SettingsError` where the push is for none of the bots, `ReveError` where it is no push.
    """
    errand = _Errand(push, bots, client, seconds)
    del push
    if _runs_a_loop():
        raise ReveError("deliver() would hold up the event loop of this thread: await adeliver(push, …) instead")
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return _answer(runner.run(errand.run()))


async def adeliver(
    push: Mapping[str, Any],
    bots: Bot | Sequence[Bot] | None = None,
    *,
    client: Callable[[], Any] | None = None,
    seconds: float = 10.0,
) -> str:
    """`deliver` for a worker that runs coroutines (asyncio)."""
    errand = _Errand(push, bots, client, seconds)
    del push
    return _answer(await errand.run())


def try_once(push: Mapping[str, Any], bot: Bot, *, seconds: float = 10.0) -> Outcome:
    """One attempt to send what `deliver` takes, and all that is known of how it ended: for a person who pushes by hand.
    What this process has sent before does not matter. Raises `ReveError` where it is no push."""
    errand = _Errand(push, bot, None, seconds)
    del push
    errand.check()
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(errand.attempt(bot))


def _answer(answer: str | NotDelivered) -> str:
    if isinstance(answer, NotDelivered):
        raise answer
    return answer


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Loop(asyncio.SelectorEventLoop):
    """Resolves names in a thread of ours: a thread of the loop's own would be waited for, however long it hangs."""

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return await run_in(_threads, socket.getaddrinfo, host, port, family, type, proto, flags)


class _Errand:
    """What `deliver` was given, in an object that shows nothing of it."""

    def __init__(self, push: Any, bots: Any, client: Callable[[], Any] | None, seconds: float) -> None:
        self._push = push
        self._bots = bots
        self._client = client
        self._seconds = seconds

    async def run(self) -> str | NotDelivered:
        self.check()
        bot = self._bot()
        if time.time() - self._push["offered"] > TOO_OLD:
            return "expired"
        if not _is_newest((bot.chatbot_id, self._push["session_id"]), self._push["offered"]):
            return "superseded"
        outcome = await self.attempt(bot)
        if outcome.kind in ("delivered", "refused"):
            return outcome.kind
        return NotDelivered(outcome.reason, _pause(outcome))

    def check(self) -> None:
        if not isinstance(self._push, Mapping):
            raise ReveError(f"this is a {type(self._push).__name__}, no push: {CURE}")
        for name, is_right in FIELDS.items():
            if name not in self._push or not is_right(self._push[name]):
                raise ReveError(f"this is no push, its {name!r} is missing or wrong: {CURE}")

    def _bot(self) -> Bot:
        bots = _bot_of_environment() if self._bots is None else self._bots
        bots = [bots] if isinstance(bots, Bot) else bots
        if not isinstance(bots, (list, tuple)) or not all(isinstance(bot, Bot) for bot in bots):
            raise SettingsError(f"bots is a {type(bots).__name__}: it must be a Bot(…) or a list of them")
        bot: Bot
        for bot in bots:
            if bot.chatbot_id == self._push["chatbot_id"]:
                return bot
        wanted = printable(self._push["chatbot_id"])
        raise SettingsError(f"a push is for the bot {wanted}: pass it as bots=, or set REVE_CHATBOT_ID")

    async def attempt(self, bot: Bot) -> Outcome:
        from .outcome import Outcome
        from .webhook import attempt, quietly

        token = CurrentToken(bot.token)
        with quietly():
            client = (self._client or _clients().take)()
            try:
                for second_try in (False, True):
                    value = await token.value(_threads)
                    if value is None:
                        return Outcome("token", "no_token")
                    body = self._push["body"].encode()
                    outcome = await attempt(client, bot, self._push["endpoint"], body, value, self._seconds)
                    if outcome.kind != "token" or not token.refused(value) or second_try:
                        break
                return outcome
            finally:
                with contextlib.suppress(Exception):
                    await client.aclose()


def _bot_of_environment() -> Bot:
    """A mistake is raised from here, where no frame holds a secret."""
    names = [(name, f"REVE_{name.upper()}") for name in ("webhook_url", "token", "chatbot_id")]
    for name, variable in names:
        if not os.environ.get(variable):
            wrong(name, None, NEEDED[name], variable)
    try:
        return Bot(**{name: os.environ[variable] for name, variable in names})
    except SettingsError as error:
        complaint = str(error)
    raise SettingsError(complaint)


CURE = "pass the dict that handoff= was given, as it was"


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_endpoint(value: Any) -> bool:
    return value is None or (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._~-]+", value) is not None)


FIELDS: dict[str, Callable[[Any], bool]] = {
    "chatbot_id": _is_text,
    "session_id": _is_text,
    "endpoint": _is_endpoint,
    "body": _is_text,
    "offered": lambda value: isinstance(value, (int, float)) and 0 < value < 1e12,
}


def _pause(outcome: Outcome) -> float | None:
    """As long as the sender holds a bot: a queue that tries every push again at once would harass it."""
    if outcome.kind == "token":
        return HELD_FOR_TOKEN
    if outcome.kind == "hold":
        return HELD_FOR_CONFIGURATION
    return None if outcome.retry_after is None else min(outcome.retry_after, LONGEST_RETRY_AFTER)


@functools.cache
def _clients() -> Clients:
    """Makes clients for one event loop each; what they share is the certificates, which are slow to read."""
    from .webhook import Clients

    return Clients(None)


def _is_newest(key: tuple[str, str], offered: float) -> bool:
    """Has this process seen no newer push of the chat? An equal one is the same, brought again."""
    now = time.monotonic()
    with _lock:
        newest = _newest.get(key, now)
        if newest is not None and offered < newest[1]:
            return False
        _newest.put(key, (now, offered))
        return True


def _forget() -> None:
    global _lock, _newest
    _lock = threading.Lock()
    _newest = Recent[tuple[float, float]](TOO_OLD)


_lock: threading.Lock
_newest: Recent[tuple[float, float]]
_forget()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
