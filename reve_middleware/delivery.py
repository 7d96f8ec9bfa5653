"""One life of the sender's thread: claim a letter, attempt it, settle it.

Decisions are elsewhere (mailbox.py: which letter; gate.py: may we, and when; webhook.py: what came of it);
here they meet the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .bearer import CurrentToken
from .cures import NOT_REACHED, REFUSED, cure_of, held_for
from .gate import HELD_FOR_CONFIGURATION, HELD_FOR_TOKEN, Gate, wait_for
from .mailbox import Letter, Mailbox
from .notes import Notes
from .push import Push
from .threads import DaemonThreads, importing, run_in

if TYPE_CHECKING:
    from .outbox import Outbox
    from .outcome import Outcome
    from .settings import Settings
    from .webhook import Clients

log = logging.getLogger("reve_middleware")
_random = random.SystemRandom()
"""Not the module's own generator, whose numbers belong to the site: it may have seeded it."""

TOO_OLD_EVEN_IF_HELD = 7200.0
"""Seconds after which a push is given up even if its bot was held all the time."""
IDLE_SECONDS = 60.0
"""Seconds after which a thread with nothing to do ends."""
SWEEP_SECONDS = 30.0
"""Seconds between two looks for letters that are too old."""


@dataclass(frozen=True, slots=True)
class Result:
    """What `on_result=` is told about one attempt; nothing personal."""

    chatbot_id: str
    outcome: str
    """"delivered", "again", "held" or "dropped"."""
    reason: str
    """A code: "status_204", "status_503", "timeout", "network", "tls", "expired", "superseded" …"""
    attempt: int
    """Counted from 1."""
    seconds: float
    """How long the attempt took."""


class Owner(Protocol):
    """What a run shares with the lives before and after it."""

    mailbox: Mailbox | Outbox
    gates: dict[str, Gate]
    attempts: Counter[str]
    looked: Callable[[], object]
    notes: Notes

    def may_end(self, run: Run) -> bool:
        """Is there nothing left to do? Then a new push starts a new run."""
        ...


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that resolves names in a thread of ours: during `atexit` executors are gone,
    and no thread can be started."""

    def __init__(self, *, asks_for_tokens: bool) -> None:
        super().__init__()
        self.resolvers = DaemonThreads("reve-middleware-dns", 4, queues=True)
        self.resolvers.prepare()
        # Others than those: a token callable that hangs must stop no names.
        self.askers = DaemonThreads("reve-middleware-token", 4, queues=True)
        if asks_for_tokens:
            self.askers.prepare()

    def close(self) -> None:
        self.resolvers.end()
        self.askers.end()
        super().close()

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return await run_in(self.resolvers, socket.getaddrinfo, host, port, family, type, proto, flags)


class Run:
    """One life of the thread."""

    def __init__(self, owner: Owner, settings: Settings, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._settings = settings
        self._clock = clock
        self._mailbox = owner.mailbox
        self._gates = owner.gates
        self._loop = _Loop(asks_for_tokens=any(callable(bot.token) for bot in settings.bots))
        self._wanted = asyncio.Event()
        self._is_woken = False
        """Has it been woken since it last began to look what there is to do?"""
        self._deaf_until = 0.0
        """No bot may be tried, so what is new changes nothing until then, or until an attempt ends."""
        self._closing_until: float | None = None
        self._left_behind = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens = {bot.chatbot_id: CurrentToken(bot.token) for bot in settings.bots}
        self._thread = threading.Thread(target=self._work, name="reve-middleware", daemon=True)
        self._callbacks: list[Callable[[], Any]] = []
        self._callbacks_lock = threading.Lock()
        self.ended = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def discard(self) -> None:
        """It never started."""
        self._loop.close()

    def wake(self) -> bool:
        """There is something new; False where this run has ended."""
        if not self._is_woken and self._clock() >= self._deaf_until:  # it is a system call, and a switch of threads
            self._is_woken = True
            try:
                self._loop.call_soon_threadsafe(self._wanted.set)
            except RuntimeError:
                return False
        return not self.ended.is_set()

    def close(self, seconds: float) -> None:
        self._closing_until = self._clock() + seconds
        self._is_woken, self._deaf_until = False, 0.0
        self.wake()

    def when_ended(self, callback: Callable[[], Any]) -> None:
        with self._callbacks_lock:
            if not self.ended.is_set():
                self._callbacks.append(callback)
                return
        callback()

    # In the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with importing:
                from .webhook import Clients, keep_quiet  # httpx is imported when it is first needed

                keep_quiet()
                clients = Clients(self._settings.client)
                self._loop.run_until_complete(clients.warm_up())
            self._loop.run_until_complete(self._main(clients))
        except Exception as error:  # a fault of ours: say so, in a word, and be ready to start again
            log.error("the sender failed with %s", type(error).__name__, extra={"reve": "sender_failed"})
        finally:
            with self._callbacks_lock:
                self.ended.set()
                callbacks, self._callbacks = self._callbacks, []
            self._loop.close()
            for callback in callbacks:
                try:
                    callback()
                except RuntimeError:  # the loop that waited is gone
                    continue

    async def _main(self, clients: Clients) -> None:
        try:
            await self._deliver(clients)
        finally:
            await asyncio.sleep(0)  # a task that has not begun could not settle its letter
            await _cancel(set(self._tasks))  # first, for what they have started ends with them
            await _cancel({task for task in asyncio.all_tasks() if task is not asyncio.current_task()})
            await clients.close()
            self._mailbox.hand_back()
        if self._closing_until is not None:
            left = self._left_behind + self._mailbox.at_risk()
            if left:
                log.warning("%d pushes were not delivered before the end", left, extra={"reve": "left_behind"})

    async def _deliver(self, clients: Clients) -> None:
        swept = self._clock()
        while True:
            self._is_woken, self._deaf_until = False, 0.0  # before the look: what comes after this wakes it again
            now = self._clock()
            until = self._closing_until
            if until is not None and now >= until:
                return
            if now - swept >= SWEEP_SECONDS:
                swept = now
                self._sweep(now)
            while any(self._may_try(now, bot) for bot in self._gates):
                letter = self._mailbox.claim(now, partial(self._may_try, now), hurry=until is not None)
                if letter is None:
                    break
                self._gates[letter.push.chatbot_id].started(now)
                task = self._loop.create_task(self._carry(letter, clients))
                self._tasks.add(task)
                task.add_done_callback(self._finished)
            if until is not None and not self._tasks:
                return
            self._owner.looked()
            if not await self._wait(now) and not self._tasks and self._owner.may_end(self):
                return

    async def _wait(self, now: float) -> bool:
        """Until there is something to do, or it is time to look again; False where nothing came."""
        until = idle_until = now + IDLE_SECONDS
        if self._closing_until is not None:
            until = min(until, self._closing_until)
        elif len(self._tasks) < self._settings.concurrency or len(self._gates) > 1:
            until = min(until, self._next_time(now, until))
        if self._closing_until is None and not any(self._may_try(now, bot) for bot in self._gates):
            self._deaf_until = until
        try:
            async with asyncio.timeout(max(0.0, until - now)):
                await self._wanted.wait()
        except TimeoutError:
            return until < idle_until
        self._wanted.clear()
        return True

    def _may_try(self, now: float, bot: str) -> bool:
        """Is there a slot? When others have taken all of them, each bot still has one of its own."""
        gate = self._gates[bot]
        return gate.may_try(now) and (len(self._tasks) < self._settings.concurrency or gate.is_idle)

    def _next_time(self, now: float, latest: float) -> float:
        """When the next letter may go, at the earliest."""
        due = self._mailbox.next_due(now, partial(self._may_try, now))
        times = [latest] if due is None else [latest, due]
        times += [at for at in (gate.opens_at() for gate in self._gates.values()) if at is not None and at > now]
        if self._mailbox.bots_waiting():
            times.append(now + SWEEP_SECONDS)
        return min(times)

    async def _carry(self, letter: Letter, clients: Clients) -> None:
        """One letter, from the claim to the verdict."""
        from .outcome import Outcome

        began = self._clock()
        push = letter.push
        try:
            if self._too_old(letter, began):
                self._gates[push.chatbot_id].abandoned()
                self._mailbox.give_up(letter, "expired", began, offer_again=True)
                self._tell(push, "dropped", "expired", letter.attempts, 0.0)
                return
            outcome = await self._attempt(letter, clients)
        except asyncio.CancelledError:
            self._gates[push.chatbot_id].abandoned()
            now = self._clock()
            self._keep(letter, now, now)
            raise
        except Exception:
            outcome = Outcome("again", "failed")
        self._settle(letter, outcome, self._clock() - began)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wanted.set()

    async def _attempt(self, letter: Letter, clients: Clients) -> Outcome:
        from .outcome import Outcome
        from .webhook import attempt

        letter.attempts += 1
        push = letter.push
        bot = self._settings.bot(push.chatbot_id)
        token = self._tokens[push.chatbot_id]
        client = clients.take()
        until = self._loop.time() + self._settings.timeout  # for both tries and the token: a lease is not much longer
        refused = None
        try:
            # While the token is refused, a probe has asked for a fresh one already, and is one request.
            for second_try in (True,) if self._gates[push.chatbot_id].reason == "token" else (False, True):
                async with asyncio.timeout_at(until):
                    value = await token.value(self._loop.askers)
                if value is None:
                    return Outcome("token", "no_token")
                if value == refused:
                    break
                outcome = await attempt(client, bot, push.endpoint, push.body, value, until - self._loop.time())
                if outcome.kind != "token" or not token.refused(value) or second_try:
                    break
                refused = value
            return outcome
        except TimeoutError:
            return Outcome("again", "no_token")
        finally:
            clients.give_back(client)

    def _settle(self, letter: Letter, outcome: Outcome, seconds: float) -> None:
        """The letter first, then the log: a handler of the application's may raise."""
        now = self._clock()
        bot, reason, gate = letter.push.chatbot_id, outcome.reason, self._gates[letter.push.chatbot_id]
        self._owner.attempts[reason] += 1
        if outcome.kind == "delivered":
            self._mailbox.done(letter)
            self._note_open(letter.push, gate.succeeded(now))
            self._tell(letter.push, "delivered", reason, letter.attempts, seconds)
            return
        if outcome.kind == "refused":
            self._mailbox.give_up(letter, reason, now, offer_again=False)
            self._note_open(letter.push, gate.succeeded(now))
            if self._owner.notes.may_say("refused", f"{bot} {reason}"):
                log.error(REFUSED, bot, reason, cure_of(outcome), extra=_code(outcome))
            self._tell(letter.push, "dropped", reason, letter.attempts, seconds)
            return
        if outcome.kind == "again":
            chance = _random.random()
            said, wait = "again", wait_for(letter.attempts, outcome.retry_after, chance)
            closed, complaint = gate.failed(now, outcome.retry_after, chance), (logging.WARNING, NOT_REACHED)
        else:
            said, wait, token = "held", 0.0, outcome.kind == "token"
            held = (HELD_FOR_TOKEN, "token") if token else (HELD_FOR_CONFIGURATION, "configuration")
            closed, complaint = gate.hold(now, *held), (logging.ERROR, held_for(reason, token))
        gone = self._keep(letter, now + wait, now)
        if closed:
            log.log(*complaint, bot, reason, cure_of(outcome), extra=_code(outcome))
        if gone:
            said, reason = "dropped", gone
        self._tell(letter.push, said, reason, letter.attempts, seconds)

    def _keep(self, letter: Letter, due: float, now: float) -> str:
        """For another attempt; otherwise why not: there is no time left for one, or what `again` says."""
        if self._closing_until is not None and not letter.generation:
            self._left_behind += 1
            self._mailbox.give_up(letter, "closed", now, offer_again=True)
            return "closed"
        return self._mailbox.again(letter, due, now)

    def _too_old(self, letter: Letter, now: float) -> bool:
        age = now - letter.offered
        held = self._gates[letter.push.chatbot_id].held(now) - letter.held_before
        return age > TOO_OLD_EVEN_IF_HELD or age - held > self._mailbox.too_old

    def _sweep(self, now: float) -> None:
        for letter in self._mailbox.give_up_waiting(lambda letter: self._too_old(letter, now), now):
            self._tell(letter.push, "dropped", "expired", letter.attempts, 0.0)

    def _note_open(self, push: Push, opened: bool) -> None:
        if opened:
            log.warning("bot %s is reached again", push.chatbot_id, extra={"reve": "reached_again"})

    def _tell(self, push: Push, outcome: str, reason: str, attempt: int, seconds: float) -> None:
        log.debug("push to %s: %s (%s)", push.chatbot_id, outcome, reason, extra={"reve": reason})
        if self._settings.on_result is not None:
            raised = ""
            try:
                self._settings.on_result(Result(push.chatbot_id, outcome, reason, attempt, seconds))
            except Exception as error:
                raised = type(error).__name__
            if raised:  # out here, for an error tracker shows the locals of whoever logs
                log.error("on_result raised %s", raised, extra={"reve": "on_result_raised"})


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _code(outcome: Outcome) -> dict[str, str]:
    return {"reve": outcome.reason}
