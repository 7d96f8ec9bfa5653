"""Any interleaving of two workers on one file: offers, claims, verdicts, crashes, sign-outs, clocks that are set."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from delivering import push
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from outboxes import Machine, always

from reve_middleware.mailbox import Letter
from reve_middleware.outbox import Outbox
from reve_middleware.recollection import Key

INTERLEAVINGS = 500
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
LEASE = 15.0
KEYS = [("b", "1"), ("b", "2"), ("c", "1")]
finished = []
"""One entry for each interleaving that was looked at."""


@dataclass
class Flight:
    """A letter in the hands of a worker."""

    worker: Outbox
    letter: Letter
    number: int
    until: float
    arrived: bool = False


class AnyInterleaving(RuleBasedStateMachine):
    """Two workers beside a model that is a few dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.machine = Machine(Path(self.folder.name) / "outbox.sqlite3")
        self.workers = [self.machine.worker("b", "c"), self.machine.worker("b", "c")]
        self.number = 0
        self.flights: list[Flight] = []
        self.last: dict[Key, int] = {}  # the newest that was taken and has neither been dropped nor signed out
        self.arrived: dict[Key, list[int]] = {key: [] for key in KEYS}  # what the bot has heard
        self.signed_out: dict[Key, int] = {}

    def teardown(self) -> None:
        while self.flights:
            self.crash(self.flights[0].worker)
        self.machine.time_passes(LEASE + 400.0)
        while (letter := self.workers[0].claim(self.machine.now, always)) is not None:
            self.hear(self.taken(self.workers[0], letter))
            self.workers[0].done(letter)
        for key, number in self.last.items():
            assert self.arrived[key][-1] == number, "the last delivered is the last offered"
        assert self.workers[0].sizes() == (0, 0)
        self.machine.stop()
        self.folder.cleanup()
        finished.append(True)

    def taken(self, worker: Outbox, letter: Letter) -> Flight:
        key = letter.push.key
        for other in self.flights:
            assert other.letter.push.key != key or other.until <= self.machine.now, "one lease on a chat"
        number = int(letter.push.body)
        assert letter.push.captured > self.signed_out.get(key, -1), "nothing after a sign-out"
        assert number == self.last[key], "the newest goes"
        flight = Flight(worker, letter, number, self.machine.now + LEASE)
        self.flights.append(flight)
        return flight

    def hear(self, flight: Flight) -> None:
        heard = self.arrived[flight.letter.push.key]
        assert not heard or heard[-1] <= flight.number, "old never after new"
        heard.append(flight.number)
        flight.arrived = True

    def settled(self, flight: Flight) -> None:
        self.flights.remove(flight)
        flight.worker.sizes()  # a verdict is said, not waited for: here it is

    def forgotten(self, flight: Flight) -> None:
        """It is delivered or given up, and goes from the file if it still stands there."""
        key = flight.letter.push.key
        if self.last.get(key) == flight.number and not flight.arrived:
            del self.last[key]

    @rule(key=st.sampled_from(KEYS), worker=st.sampled_from([0, 1]), urgent=st.booleans(), late=st.booleans())
    def offer(self, key: Key, worker: int, urgent: bool, late: bool) -> None:
        number = self.number = self.number + 1
        news = push(
            key[1], b"%06d" % number, bot=key[0], transition=f"t{number}",
            captured=0 if late else number, at=number, urgent=urgent,
        )  # fmt: skip
        status = self.workers[worker].offer(news, self.machine.now).status
        forbidden = news.captured <= self.signed_out.get(key, -1)
        assert status == ("signed_out" if forbidden else "queued")
        if not forbidden:
            self.last[key] = number
            again = self.workers[1 - worker].offer(news, self.machine.now)
            assert again == ("current", number), "side by side is once"

    @rule(worker=st.sampled_from([0, 1]), bots=st.sampled_from(["b", "c", "bc"]))
    def claim(self, worker: int, bots: str) -> None:
        letter = self.workers[worker].claim(self.machine.now, lambda bot: bot in bots)
        if letter is not None:
            assert letter.push.chatbot_id in bots
            self.taken(self.workers[worker], letter)

    @precondition(lambda self: any(not flight.arrived for flight in self.flights))
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """The bot hears it; its worker does not know yet."""
        flight = data.draw(st.sampled_from([flight for flight in self.flights if not flight.arrived]))
        if self.machine.now < flight.until:  # an attempt is shorter than its lease
            self.hear(flight)

    @precondition(lambda self: any(flight.arrived for flight in self.flights))
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """The answer comes, late or not."""
        flight = data.draw(st.sampled_from([flight for flight in self.flights if flight.arrived]))
        flight.worker.done(flight.letter)
        self.settled(flight)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), wait=st.sampled_from([0.0, 0.0, 3.0]))
    def again(self, data: st.DataObject, wait: float) -> None:
        """It failed, or its answer was lost on the way."""
        flight = data.draw(st.sampled_from(self.flights))
        flight.letter.attempts += 1
        flight.worker.again(flight.letter, self.machine.now + wait, self.machine.now)
        self.settled(flight)

    @precondition(lambda self: any(not flight.arrived for flight in self.flights))
    @rule(data=st.data(), offer_again=st.booleans())
    def give_up(self, data: st.DataObject, offer_again: bool) -> None:
        flight = data.draw(st.sampled_from([flight for flight in self.flights if not flight.arrived]))
        flight.worker.give_up(flight.letter, "status_400", self.machine.now, offer_again=offer_again)
        self.settled(flight)
        self.forgotten(flight)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A worker is killed, whatever it has in hand; a new one takes its place."""
        self.crash(data.draw(st.sampled_from(self.flights)).worker)

    def crash(self, worker: Outbox) -> None:
        self.flights = [flight for flight in self.flights if flight.worker is not worker]
        worker.hand_back()
        self.workers[self.workers.index(worker)] = self.machine.worker("b", "c")

    @rule(key=st.sampled_from(KEYS), worker=st.sampled_from([0, 1]))
    def sign_out(self, key: Key, worker: int) -> None:
        self.signed_out[key] = self.number
        self.workers[worker].let_go(key, self.number, self.machine.now)
        self.last.pop(key, None)

    @rule(worker=st.sampled_from([0, 1]))
    def sweep(self, worker: int) -> None:
        for letter in self.workers[worker].give_up_waiting(always, self.machine.now):  # type: ignore[arg-type]
            assert self.last.pop(letter.push.key) == int(letter.push.body)

    @rule(seconds=st.sampled_from([0.5, 5.0, 15.5, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.machine.time_passes(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0, 10_000.0]))
    def clock_is_set(self, seconds: float) -> None:
        self.machine.wall.now += seconds

    @invariant()
    def nobody_fell_back(self) -> None:
        assert all(worker.at_risk() == 0 for worker in self.workers)


def test_any_interleaving_keeps_order() -> None:
    """In 500 random interleavings of offers, attempts, failures, crashes and sign-outs in two workers, the last
    delivered is the last offered, no chat is leased twice, and nothing goes after a sign-out."""
    finished.clear()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AnyInterleaving,
        settings=hypothesis_settings(max_examples=INTERLEAVINGS, stateful_step_count=25, deadline=None, database=None),
    )
    print(f"{len(finished)} interleavings")
    assert len(finished) >= INTERLEAVINGS
