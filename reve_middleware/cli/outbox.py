"""`reve-middleware outbox`: what waits in a file; send it; delete it."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, time
from typing import Any

import click

from reve_middleware.database import CANNOT, Database, plainly
from reve_middleware.errors import SettingsError
from reve_middleware.ledger import Entries, Row
from reve_middleware.sender import Sender
from reve_middleware.settings import Settings

from .basics import CommandError
from .options import examples, progress


@click.command(
    short_help="What waits in an outbox: list it, send what is due, or delete it.",
    epilog=examples(
        "reve-middleware outbox reve.sqlite3 list",
        "reve-middleware outbox reve.sqlite3 drain --seconds 10",
        "reve-middleware outbox reve.sqlite3 purge --yes",
    ),
)
@click.argument("path")
@click.argument("action", type=click.Choice(["list", "drain", "purge"]))
@click.option("--seconds", type=float, default=60.0, help="drain: for so long at most.")
@click.option("--yes", is_flag=True, help="purge: yes, delete them.")
@click.pass_context
def outbox(context: click.Context, path: str, action: str, seconds: float, yes: bool) -> None:
    """Look into the outbox in the file PATH, send what is due, or delete everything.

    list: bot, age, size, attempts and state of each push, and nothing personal. drain: send what is due to the bot
    of REVE_WEBHOOK_URL, REVE_TOKEN and REVE_CHATBOT_ID; exit status 1 where something failed. purge: delete
    everything, delivered or not.
    """
    with _told_plainly(path):
        if action == "drain":
            context.exit(_drain(path, seconds))
        with _opened(path) as entries:
            rows = entries.rows(monotonic(), time())
            if action == "list":
                click.echo("\n".join(_listed(rows)))
                return
            if not yes:
                raise CommandError(f"purge deletes {_pushes(len(rows))}, undelivered: say so with --yes")
            entries.purge()
    click.echo(f"{_pushes(len(rows))} deleted")


def _drain(path: str, seconds: float) -> int:
    with _opened(path) as entries:  # it is there, and an outbox
        waiting = len(entries.rows(monotonic(), time()))
    outcomes: Counter[str] = Counter()
    with progress(waiting, "Sending") as one_further:

        def count(result: Any) -> None:
            outcomes.update([result.outcome])
            one_further()

        keywords = {"outbox": path, "secret_key": secrets.token_urlsafe(32), "on_result": count}
        sender = Sender(Settings(keywords))
        sender.begin()
        sender.close(seconds)
    with _opened(path) as entries:
        left = len(entries.rows(monotonic(), time()))
    failed = outcomes["again"] + outcomes["held"]
    click.echo(f"{outcomes['delivered']} delivered, {failed} failed, {outcomes['dropped']} dropped; {left} left")
    return 1 if failed or outcomes["dropped"] else 0


@contextmanager
def _opened(path: str) -> Iterator[Entries]:
    database = Database(os.path.abspath(path), create=False)
    try:
        with database.entries() as entries:
            yield entries
    finally:
        database.close()


@contextmanager
def _told_plainly(path: str) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise CommandError(str(error)) from None
    except CANNOT as error:
        raise CommandError(f"{path}: {plainly(error)}") from None


def _listed(rows: Sequence[Row]) -> Iterator[str]:
    """Whose, how old, how large, how often tried; never what, nor in which chat."""
    width = max([3, *(len(row.bot) for row in rows)])
    line = f"{{:<{width}}}  {{:>9}}  {{:>9}}  {{:>8}}  {{}}"
    if rows:
        yield line.format("bot", "age", "bytes", "attempts", "state")
    for row in rows:
        state = "in flight" if row.in_flight else f"due in {row.due_in:.0f} s" if row.due_in >= 0.5 else "due"
        yield line.format(row.bot, f"{row.age:.0f} s", row.size, row.attempts, state)
    yield f"{_pushes(len(rows))}, {sum(row.size for row in rows)} bytes"


def _pushes(number: int) -> str:
    return f"{number} push" if number == 1 else f"{number} pushes"
