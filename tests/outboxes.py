"""What the tests of the outbox share: workers on one file, a look into it, and ways to spoil it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from delivering import Clock

from reve_middleware.database import Database
from reve_middleware.ledger import Entries, Row
from reve_middleware.mailbox import Letter
from reve_middleware.outbox import LOOK_SECONDS, Outbox

UNUSABLE = "the outbox cannot be used (%s): pushes are kept in memory meanwhile"
AGAIN = "the outbox is used again"
READ = "import sys; sys.stdout.buffer.write(b''.join(open(name, 'rb').read() for name in sys.argv[1:]))"


def always(_: str) -> bool:
    return True


class Machine:
    """One file, the workers that share it, and their clocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock(1000.0)
        self.wall = Clock(1_700_000_000.0)
        self._workers: list[Outbox] = []

    @property
    def now(self) -> float:
        return self.clock.now

    def worker(self, *bots: str) -> Outbox:
        """One more process, as far as the file is concerned."""
        self._workers.append(Outbox(str(self.path), bots or ("b", "c"), clock=self.clock, wall=self.wall))
        return self._workers[-1]

    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall.now += seconds

    def claim(self, worker: Outbox) -> Letter:
        letter = worker.claim(self.now, always)
        assert letter is not None
        return letter

    def nothing_for(self, worker: Outbox) -> bool:
        return worker.claim(self.now, always) is None

    def deliver_all(self, worker: Outbox) -> list[bytes]:
        """Everything that is due, delivered."""
        bodies = []
        while (letter := worker.claim(self.now, always)) is not None:
            bodies.append(letter.push.body)
            worker.done(letter)
        worker.sizes()  # what was said before is done when this is answered
        return bodies

    def rows(self) -> list[Row]:
        return rows(self.path, self.now, self.wall.now)

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Somebody else is writing, and takes their time."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    def stop(self) -> None:
        for worker in self._workers:
            worker.hand_back()


def rows(path: Path, now: float, wall: float) -> list[Row]:
    """What stands in the file."""
    database = Database(str(path), create=False)
    with database.entries() as entries:
        found = entries.rows(now, wall)
    database.close()
    return found


def mended(machine: Machine, worker: Outbox) -> None:
    """The worker has looked again whether the file can be used."""
    machine.time_passes(LOOK_SECONDS)
    worker.next_due(machine.now, always)
    worker._writer.answer(worker._writer.submit(Entries.begin, lambda: None, mends=True), None)


def connection(worker: Outbox) -> sqlite3.Connection:
    """The one that a worker has open: to be spoiled."""
    worker.sizes()
    db = worker._writer._database._db
    assert db is not None
    return db


def bytes_on_disk(path: Path) -> bytes:
    """The file and those beside it, read by another process: to close a file takes this process's locks away."""
    names = [str(name) for name in sorted(path.parent.glob(path.name + "*"))]
    return subprocess.run([sys.executable, "-c", READ, *names], check=True, capture_output=True).stdout
