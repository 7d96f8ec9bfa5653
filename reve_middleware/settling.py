"""For tests: waits until the senders of this process have nothing more to send.

What they do is waited for; what they would wait for is skipped (clock.py). Nothing is sent that would not be sent
without this, nor in another order: only sooner.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence

from . import clock
from .sender import Sender

LEAVES_NOTHING = re.compile(r"status_(2\d\d|4(?!01|03|08|10|29)\d\d)")
"""What came of an attempt after which its push waits no more: it is delivered, or dropped."""

_moved = threading.Condition()


def settle(senders: Sequence[Sender], seconds: float, goes_on: Callable[[Sender], bool]) -> bool:
    """Wait until nothing is in flight, and nothing waits but with senders for which `goes_on` says no. False where
    that took more than so many seconds (of real time)."""
    until = time.monotonic() + seconds
    with _moved:
        for sender in senders:
            sender.looked = _notify
            if any(sender.mailbox.sizes()):
                sender.look()
        while not _at_rest(senders, goes_on):
            left = until - time.monotonic()
            if left <= 0 or not _moved.wait(left):
                return False
    return True


def failures(sender: Sender) -> int:
    """How many attempts have failed so that their push waits for another."""
    return sum(count for reason, count in sender.attempts.copy().items() if not LEAVES_NOTHING.fullmatch(reason))


def _at_rest(senders: Sequence[Sender], goes_on: Callable[[Sender], bool]) -> bool:
    sizes = [(sender, *sender.mailbox.sizes()) for sender in senders]
    if any(in_flight for _, _, in_flight in sizes):
        return False
    waiting = [sender for sender, waits, _ in sizes if waits and goes_on(sender)]
    if not waiting:
        return True
    ahead = min(sender.due_in() for sender in waiting)
    if ahead > 0:  # and nothing is in flight: its time limits and leases would run out
        clock.skip(ahead)
        for sender in senders:
            sender.look()
    return False


def _notify() -> None:
    with _moved:
        _moved.notify_all()
