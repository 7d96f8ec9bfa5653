"""The list of commands, and how each of them ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from reve_middleware import ReveError, __version__
from reve_middleware.check.command import check

from .basics import NAME, CommandError, stopped_by
from .demo import demo
from .options import examples
from .outbox import outbox
from .push import push
from .sandbox import sandbox
from .snippet import snippet

COMMANDS: tuple[click.Command, ...] = (check, demo, outbox, push, sandbox, snippet)
"""Every command there is: a new one is registered here."""


class Complaint(click.ClickException):
    """It could not be done."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"{NAME}: {self.message}", file=file or sys.stderr)


class Commands(click.Group):
    """Stopped by Ctrl-C or SIGTERM, a command says so; what it cannot do is one line, and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):  # no-color.org: whatever it is, unless it is empty
            ctx.color = False
        with stopped_by(signal.SIGINT, signal.SIGTERM):
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("Stopped.")
                ctx.exit(0)
            except (CommandError, ReveError) as error:
                raise Complaint(str(error)) from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
    epilog=examples(
        "reve-middleware demo                  see it work; no account is needed",
        "reve-middleware sandbox               a stand-in for REVE, for your own site",
        "reve-middleware snippet name email    what to put into the bot and the site",
        "reve-middleware check https://www.example.com/    is everything right on a live page?",
        "reve-middleware COMMAND --help        what a command takes, with examples",
    ),
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
def commands() -> None:
    """Tells a REVE Chat bot who is logged in to your website."""


for command in COMMANDS:
    commands.add_command(command)


def run(argv: Sequence[str] | None) -> int:
    """Run a command; its exit status."""
    try:
        commands.main(None if argv is None else list(argv), prog_name=NAME)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
