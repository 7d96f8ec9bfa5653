"""What the commands' options and help have in common."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import click

from reve_middleware.errors import SettingsError
from reve_middleware.settings import check_function

PAYLOADS = click.Choice(["nested", "flat"])


def examples(*lines: str) -> str:
    """The end of a command's help; Click leaves a block after a backspace as it is."""
    return "\n  ".join(("\b\nExamples:", *lines))


def port(text: str) -> int:
    """A port; as an option's type, which names the option where it is none."""
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise click.BadParameter(f"{text!r} is not a port: use 0 to 65535")


def host(text: str) -> str:
    """An address of this machine's own."""
    try:
        if text == "localhost" or ip_address(text).is_loopback:
            return text
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r} is not this machine: use 127.0.0.1, ::1 or localhost")


def function(text: str) -> str:
    """The name of a function that the bot may call."""
    try:
        check_function(text)
    except SettingsError as error:
        raise click.BadParameter(str(error)) from None
    return text


@contextmanager
def progress(length: int, label: str) -> Iterator[Callable[[], None]]:
    """What counts one further, of so many: a bar on standard error where that is a terminal, nothing elsewhere."""
    if not length or not sys.stderr.isatty():
        yield lambda: None
        return
    log, above = logging.getLogger("reve_middleware"), _AboveTheBar()
    log.addHandler(above)
    try:
        with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            yield lambda: bar.update(1)
    finally:
        log.removeHandler(above)


class _AboveTheBar(logging.Handler):
    """What is logged takes the bar's line; the bar comes back below it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"\r\x1b[K{self.format(record)}\n")
