"""The clock that delivery goes by: the machine's monotonic one, and what tests have skipped of it.

Nobody waits in a test for what is only a matter of time: five seconds between two pushes of a chat, a back-off, a
`Retry-After`. settling.py skips them; nothing else does.
"""

from __future__ import annotations

import time

_skipped = 0.0


def now() -> float:
    """Seconds; they never go back."""
    return time.monotonic() + _skipped


def skip(seconds: float) -> None:
    """Be so many seconds later at once."""
    global _skipped
    _skipped += seconds
