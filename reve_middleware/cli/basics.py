"""What every command shares, with Click or without."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

NAME = "reve-middleware"


class CommandError(Exception):
    """It cannot be done; the message is one line with the cure."""


class DemoError(CommandError):
    """A server of the demo, or of the sandbox, cannot start."""


def enter(stack: ExitStack, server: AbstractContextManager[str], option: str) -> str:
    """Start a server and return its URL; `option` is the one that named its port, as it was given.

    `DemoError` if the port cannot be had or the server is not installed.
    """
    try:
        return stack.enter_context(server)
    except ModuleNotFoundError as missing:
        raise DemoError(f"{missing.name} is not installed: pip install '{NAME}[demo]'") from None
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0].lower()
        name = option.split()[0]
        raise DemoError(f"{option}: {why}; choose another with {name} (0 picks one)") from None


@contextmanager
def stopped_by(*signals: signal.Signals) -> Iterator[None]:
    """While it lasts, these signals raise `KeyboardInterrupt`, whatever the shell that started us set."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
