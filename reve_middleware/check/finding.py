"""One thing that was found: how bad, what, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["ok", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "error")
LONGEST_WORD = 80
"""Characters of what a server said that are shown."""


class Finding(NamedTuple):
    """One line of the report, and a second one with the cure."""

    level: Level
    """"ok", "info" (nothing to judge, good to know), "warning" (works, or works for most) or "error"."""
    code: str
    """Stable, for machines."""
    text: str
    cure: str = ""
    """What to do; empty where there is nothing to do."""


class Report(NamedTuple):
    """All of them, in the order of the flow."""

    findings: list[Finding]
    was_looked_at: bool
    """False where there was no page to look at."""

    @property
    def exit_status(self) -> int:
        """0: no error; 1: errors; 2: it could not be looked at."""
        if not self.was_looked_at:
            return 2
        return 1 if any(one.level == "error" for one in self.findings) else 0

    @property
    def counts(self) -> Counter[str]:
        return Counter(one.level for one in self.findings)


def shown(said: str | bytes) -> str:
    """What a server said, as it may stand on a terminal: short, on one line, visible ASCII that steers nothing."""
    text = said.decode("latin-1") if isinstance(said, bytes) else said
    text = text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}..."
    return "".join(one if " " <= one <= "~" else "?" for one in text)


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
