"""What an outbox keeps when workers are killed, the webhook fails, and visitors sign out.

    python tests/benchmarks/outbox_kill.py [--kills 100] [--updates 3000] [--sessions 100] [--quick] [--json]

Real worker processes, each with a `Sender` and one outbox between them, and a real webhook on loopback in this one.
Three parts, the last two also without an outbox, for comparison:

    killed       updates are offered round the workers, which are killed with SIGKILL again and again; of the
                 webhook's answers a fifth is 503, a tenth is cut off after the profile was taken
    outage       every session is edited several times while the webhook is down
    signed out   visitors sign out in one worker while a retry waits in another

Waits are short here (constants below), so that it ends within a minute. Exit status 1 where anything is lost,
older after newer, or delivered after a sign-out.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from delivering import push, settings  # noqa: E402
from faults import FaultServer, Line, answer_bytes  # noqa: E402

from reve_middleware import gate, ledger, mailbox, outbox, sender  # noqa: E402

WORKERS = 3
PATIENCE = 60.0
"""Seconds after which a part that does not end has failed."""
ATTEMPT = 1.0
"""Seconds for one attempt; a lease is 5 s longer, as always."""
CONTEXT = multiprocessing.get_context("forkserver")


def make_waits_short() -> None:
    gate.FIRST_WAIT, gate.LONGEST_WAIT = 0.05, 0.4
    mailbox.SPACING = ledger.SPACING = 0.1
    outbox.LOOK_SECONDS = 0.1


# A worker --------------------------------------------------------------------------------------


def work(pipe: Connection, url: str, path: str | None) -> None:
    """Do what the pipe says, and say when it is done."""
    logging.disable()
    make_waits_short()
    worker = sender.Sender(settings(url, outbox=path, timeout=ATTEMPT))
    worker.begin()
    while True:
        match pipe.recv():
            case ("offer", session, number):
                body = json.dumps([session, number]).encode()
                transition, captured = f"{session}.{number}", 1
                pipe.send(worker.offer(push(session, body, transition=transition, captured=captured, at=number)).status)
            case ("sign out", session):
                pipe.send(worker.let_go(("b", session), 2))
            case ("waiting",):
                pipe.send(sum(worker.mailbox.sizes()))


class Worker:
    """A process that can be killed."""

    def __init__(self, url: str, path: str | None) -> None:
        self._pipe, other = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=work, args=(other, url, path), daemon=True)
        self._process.start()
        other.close()

    def say(self, *message: Any) -> None:
        self._pipe.send(message)

    def hear(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise SystemExit("a worker does not answer")
        return self._pipe.recv()

    def ask(self, *message: Any) -> Any:
        self.say(*message)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


# The webhook -----------------------------------------------------------------------------------


class Bot:
    """Takes profiles, and remembers in which order they came."""

    def __init__(self, seed: int, refused: float = 0.0, cut: float = 0.0) -> None:
        self.is_down = False
        self.counts: Counter[str] = Counter()
        self.heard: dict[str, list[int]] = {}
        self._refused, self._cut = refused, cut
        self._random = random.Random(seed)
        self._changed = threading.Condition()

    def answer(self, line: Line) -> None:
        received = line.read()
        if received is None:  # its worker was killed in the middle
            return line.sock.close()
        session, number = json.loads(received.body)
        with self._changed:
            self.counts["requests"] += 1
            chance, pause = self._random.random(), self._random.random() * 0.02
            refused = self.is_down or chance < self._refused
            cut = not refused and self._random.random() < self._cut
            self.counts["refused" if refused else "cut" if cut else "answered"] += 1
            if not refused:
                self._take(session, number)
            self._changed.notify_all()
        time.sleep(pause)
        return line.reset() if cut else line.send(answer_bytes(503 if refused else 204))

    def _take(self, session: str, number: int) -> None:
        before = self.heard.setdefault(session, [])
        if number in before:
            self.counts["duplicates"] += 1
        if before and number < max(before):
            self.counts["old after new"] += 1
        before.append(number)

    def wait_until(self, so: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        with self._changed:
            return self._changed.wait_for(so, seconds)

    def lost(self, newest: dict[str, int]) -> int:
        """How many sessions have not heard their newest last."""
        return sum(self.heard.get(session, [0])[-1] != number for session, number in newest.items())


@contextmanager
def site(bot: Bot, *, durable: bool = True) -> Iterator[tuple[list[Worker], Callable[[], Worker]]]:
    """The workers, and how to make one more."""
    with FaultServer(default=bot.answer) as server, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/outbox.sqlite3" if durable else None

        def make() -> Worker:
            return Worker(server.url, path)

        workers = [make() for _ in range(WORKERS)]
        try:
            yield workers, make
        finally:
            for worker in workers:
                worker.kill()


# The three parts -------------------------------------------------------------------------------


def killed(kills: int, updates: int, sessions: int, seed: int) -> dict[str, int]:
    """Updates go round the workers, one of which is killed now and then: before, while or after it takes one."""
    chance = random.Random(seed)
    bot = Bot(seed, refused=0.2, cut=0.1)
    newest: dict[str, int] = {}
    moments = Counter(chance.choices(range(updates), k=kills))
    with site(bot) as (workers, make):
        for number in range(1, updates + 1):
            session = f"s{chance.randrange(sessions)}"
            place = number % WORKERS
            for _ in range(moments[number - 1]):
                workers[place].say("offer", session, number)
                time.sleep(chance.random() * 0.01)
                workers[place].kill()  # whether it was stored nobody knows: the next response offers it again
                workers[place] = make()
            status = workers[place].ask("offer", session, number)
            if status not in ("queued", "current"):
                raise SystemExit(f"an offer was answered {status!r}")
            newest[session] = number
        bot.wait_until(lambda: bot.lost(newest) == 0)
        drained(workers[0])
    return {
        "kills": kills,
        "updates": updates,
        "sessions": sessions,
        "newest lost": bot.lost(newest),
        **{name: bot.counts[name] for name in ("old after new", "duplicates", "requests", "refused", "cut")},
    }


def outage(sessions: int, edits: int, seconds: float, seed: int, *, durable: bool) -> dict[str, int]:
    """Every session is edited several times while the webhook is down, each time in another worker."""
    bot = Bot(seed)
    bot.is_down = True
    newest: dict[str, int] = {}
    with site(bot, durable=durable) as (workers, _):
        began = time.monotonic()
        for edit in range(edits):
            for session in range(sessions):
                newest[f"s{session}"] = number = edit * sessions + session + 1
                workers[(session + edit) % WORKERS].ask("offer", f"s{session}", number)
            time.sleep(max(0.0, began + seconds * (edit + 1) / edits - time.monotonic()))
        bot.is_down = False
        bot.wait_until(lambda: len(bot.heard) == sessions)
        for worker in workers:
            drained(worker)
    return {
        "sessions": sessions,
        "edits": edits,
        "newest lost": bot.lost(newest),
        "old after new": bot.counts["old after new"],
    }


def signed_out(sessions: int, seed: int, *, durable: bool) -> dict[str, int]:
    """Profiles wait for another try in one worker while their visitors sign out in another."""
    bot = Bot(seed)
    bot.is_down = True
    with site(bot, durable=durable) as (workers, _):
        for session in range(sessions):
            workers[session % WORKERS].ask("offer", f"s{session}", 1)
        bot.wait_until(lambda: bot.counts["refused"] >= sessions)
        for session in range(sessions):
            workers[(session + 1) % WORKERS].ask("sign out", f"s{session}")
        if durable:  # one that was under way at that moment is refused, and not tried again
            drained(workers[0])
        bot.is_down = False
        workers[0].ask("offer", "the last", 1)
        bot.wait_until(lambda: "the last" in bot.heard)
        for worker in workers:
            drained(worker)
    return {"sign-outs": sessions, "delivered afterwards": len(bot.heard) - 1}


def drained(worker: Worker) -> None:
    """Wait until nothing waits and nothing is in flight any more."""
    until = time.monotonic() + PATIENCE
    while worker.ask("waiting"):
        if time.monotonic() > until:
            raise SystemExit("the workers do not come to an end")
        time.sleep(0.02)


# The program -----------------------------------------------------------------------------------


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is wrong: it must be a whole number, 1 or more")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=positive, default=100, help="how many workers are killed (%(default)s)")
    parser.add_argument("--updates", type=positive, default=3000, help="profiles offered meanwhile (%(default)s)")
    parser.add_argument("--sessions", type=positive, default=100, help="chats they are for (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the other two parts in small, and all at once")
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    CONTEXT.set_forkserver_preload(["__main__", "reve_middleware.webhook"])

    began = time.monotonic()
    edited = (10, 3, 0.5) if options.quick else (30, 7, 2.0)
    gone = 5 if options.quick else 15
    parts: dict[str, Callable[[], dict[str, int]]] = {
        "killed": lambda: killed(options.kills, options.updates, options.sessions, options.seed),
        "outage": lambda: outage(*edited, options.seed, durable=True),
        "outage, no outbox": lambda: outage(*edited, options.seed, durable=False),
        "signed out": lambda: signed_out(gone, options.seed, durable=True),
        "signed out, no outbox": lambda: signed_out(gone, options.seed, durable=False),
    }
    with ThreadPoolExecutor(len(parts) if options.quick else 1) as pool:  # in small they mostly wait
        found = dict(zip(parts, pool.map(lambda part: part(), parts.values()), strict=True))
    seconds = time.monotonic() - began
    faults = sum(
        found[part].get(name, 0)
        for part in ("killed", "outage", "signed out")
        for name in ("newest lost", "old after new", "delivered afterwards")
    )
    if options.json:
        print(json.dumps({**found, "seconds": seconds, "faults": faults}, indent=2))
    else:
        for part, figures in found.items():
            print(f"{part:<22}", ", ".join(f"{number} {name}" for name, number in figures.items()))
        print(f"{seconds:.0f} s; {faults or 'nothing'} lost, out of order or after a sign-out")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
