"""The outbox's file: made, checked, kept private, and not carried over a fork.

The only file that knows SQLite (3.24 or later).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
import threading
import time
import weakref
from collections.abc import Iterator

from .ledger import Entries

BUSY_SECONDS = 2.0
"""How long one writer waits for another."""
TIDY_SECONDS = 1.0
"""How soon after the last delivery nothing of it is left in the write-ahead log."""
TIDY_AT_LEAST_SECONDS = 30.0
FORK_SECONDS = 2.5
"""How long a fork waits for what is being written; longer than one writer waits for another."""

SIDE_FILES = ("-wal", "-shm", "-journal")
APPLICATION, VERSION = 0x52455645, 2
SCHEMA = (
    # At most one row per chat: what is to be delivered. Each storing is a generation, and none repeats.
    """CREATE TABLE push (
        generation INTEGER PRIMARY KEY AUTOINCREMENT, chat BLOB NOT NULL UNIQUE,
        bot TEXT NOT NULL, session TEXT NOT NULL, endpoint TEXT, body BLOB NOT NULL,
        visitor TEXT NOT NULL, transition TEXT NOT NULL, captured INTEGER NOT NULL, at INTEGER NOT NULL,
        offered REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL)""",
    "CREATE INDEX push_due ON push (bot, due)",
    "CREATE INDEX push_visitor ON push (visitor)",
    "CREATE TABLE total (chats INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0, 0)",
    # For an hour, under a hash: the last hand-over and sign-out, and the lease of whoever delivers.
    """CREATE TABLE chat (
        chat BLOB PRIMARY KEY, transition TEXT, at INTEGER, signed_out INTEGER, seen REAL NOT NULL,
        started REAL NOT NULL DEFAULT 0, claimed INTEGER, lease INTEGER, lease_until REAL NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
    "CREATE INDEX chat_seen ON chat (seen)",
    "CREATE INDEX chat_lease ON chat (lease_until) WHERE lease_until > 0",
    # lease_until: until when the chat is somebody's; held_until: until when this very row is.
    """CREATE VIEW letter AS SELECT generation, bot, session, endpoint, body, visitor, push.transition, captured,
        push.at, offered, due, attempts, chat, lease_until,
        CASE claimed WHEN generation THEN lease_until ELSE 0 END AS held_until
        FROM push CROSS JOIN chat USING (chat)""",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


class FileError(Exception):
    """The file cannot be used; the text says why, without a path."""


CANNOT = (FileError, OSError, sqlite3.Error)
"""What is raised where the file cannot be used."""


class Database:
    """The file, opened when it is first needed. For one thread; a fork waits for it."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self._path = os.path.abspath(path)
        self._create = create
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._tidied = 0.0
        self.pid = os.getpid()
        self.lock = threading.Lock()
        _databases.add(self)

    @contextlib.contextmanager
    def entries(self) -> Iterator[Entries]:
        """One transaction, committed at the end. Raises `FileError`, `OSError` and `sqlite3.Error`, and the file is
        opened anew the next time."""
        with self.lock:
            try:
                db = self._opened()
                entries = Entries(db)
                yield entries
                entries.commit()
            except BaseException:
                self.close_with_lock_held()
                raise

    def tidy(self) -> None:
        """Leave nothing of what is delivered in the write-ahead log: at once where nothing waits, else now and then."""
        now = time.monotonic()
        with self.lock:
            if self._db is None or now < self._tidied + TIDY_SECONDS:
                return
            with contextlib.suppress(OSError, sqlite3.Error):
                waits = self._db.execute("SELECT 1 FROM push").fetchone() is not None
                if waits and now < self._tidied + TIDY_AT_LEAST_SECONDS:
                    return
                self._tidied = now
                if os.stat(self._path + "-wal").st_size:
                    self._checkpoint(self._db)

    def close(self) -> None:
        with self.lock:
            self.close_with_lock_held()

    def close_with_lock_held(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                if not db.in_transaction:
                    self._checkpoint(db)
            with contextlib.suppress(sqlite3.Error):
                db.close()
            _in_use.discard(self)

    def is_inherited(self, file: tuple[int, int]) -> bool:
        """Was this file open in the process that forked this one?"""
        return self._file == file and self.pid != os.getpid()

    @staticmethod
    def _checkpoint(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA busy_timeout = 0")  # whoever reads long is not waited for
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and self._file != _identity(self._path):
            self.close_with_lock_held()  # somebody has put another in its place
        if self._db is None:
            self._db, self._file, self.pid = self._open(), _identity(self._path), os.getpid()
            _in_use.add(self)
        return self._db

    def _open(self) -> sqlite3.Connection:
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:  # some locks SQLite does not wait for
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def _connect(self) -> sqlite3.Connection:
        if self._create and not os.path.lexists(self._path):
            _make(self._path)
        file = os.stat(self._path)
        if not stat.S_ISREG(file.st_mode):
            raise FileError("it is no file")
        if hasattr(os, "geteuid") and os.geteuid() not in (0, file.st_uid):
            raise FileError("it belongs to somebody else")
        if any(other.is_inherited((file.st_dev, file.st_ino)) for other in tuple(_in_use)):
            raise FileError("this process was forked while it was open")  # SQLite must not open it again
        db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN")  # one look: another process may be making it
        is_empty = db.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        made_by = _made_by(db)
        db.execute("COMMIT")
        if made_by[0] == APPLICATION and made_by[1] != VERSION:
            raise FileError("it was made by another version")
        if made_by != (APPLICATION, VERSION) and not (is_empty and made_by == (0, 0) and self._create):
            raise FileError("it is no outbox")
        self._keep_private()
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise FileError("its file system cannot be shared by processes")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        if made_by == (0, 0):
            db.execute("BEGIN IMMEDIATE")
            if _made_by(db) == (0, 0):
                for statement in SCHEMA:
                    db.execute(statement)
            db.execute("COMMIT")

    def _keep_private(self) -> None:
        """SQLite makes its side files with the mode of the file itself. By path: to close a descriptor of the
        file would take away the locks that SQLite has on it in this process."""
        for name in ("", *SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_IMODE(os.stat(self._path + name).st_mode) & 0o077:
                    os.chmod(self._path + name, 0o600)


def _make(path: str) -> None:
    """Make the file, unless somebody else is quicker. Where an older one was deleted in use, what stood beside it
    goes too: SQLite would take it for the new one's."""
    with _alone_in(os.path.dirname(path)):  # so that nobody has the new one open already
        if not os.path.lexists(path):
            for name in SIDE_FILES:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + name)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    if sys.platform == "win32":  # where a file in use cannot be deleted
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # said aloud: a fork may have copied the descriptor
    finally:
        os.close(descriptor)


def _made_by(db: sqlite3.Connection) -> tuple[int, int]:
    return db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        file = os.stat(path)
    except FileNotFoundError:
        return None
    return file.st_dev, file.st_ino


def plainly(error: BaseException) -> str:
    """What went wrong with the file, in words that hold neither path nor data."""
    if isinstance(error, (FileError, sqlite3.Error)):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


# SQLite must not cross a fork, not even to be closed in the child: so it is closed before. Where the hook does not
# run (uWSGI), or waits in vain, the child keeps what it got untouched, and does without the file.

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_in_use: set[Database] = set()
_locked: list[Database] = []


def _before_fork() -> None:
    until = time.monotonic() + FORK_SECONDS
    for database in list(_databases):
        if database.pid == os.getpid() and database.lock.acquire(timeout=max(0.0, until - time.monotonic())):
            _locked.append(database)
            database.close_with_lock_held()


def _after_fork() -> None:
    while _locked:
        _locked.pop().lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
