"""The pages of the documentation, and the blocks on them.

for block in blocks("python"):
    block.page, block.number, block.text            # "README.md", 0, "from fastapi import …"
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```([^\s`]*) ?([^\n]*)\n(.*?)^ *```$", re.M | re.S)


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    """Its path in the repository."""
    kind: str
    """The word behind the fence; a directive's has braces."""
    number: int
    """Which of its kind on its page, from 0."""
    argument: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.kind}:{self.number}"


def blocks(*kinds: str) -> list[Block]:
    """All blocks of these kinds, page by page; without a kind, all blocks."""
    found = []
    for page in PAGES:
        seen: dict[str, int] = {}
        for kind, argument, text in BLOCK.findall(page.read_text()):
            number = seen[kind] = seen.get(kind, -1) + 1
            indent = min((len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip()), default=0)
            plain = "".join(line[indent:] if line.strip() else line for line in text.splitlines(keepends=True))
            found.append(Block(str(page.relative_to(ROOT)), kind, number, argument, plain))
    return [block for block in found if not kinds or block.kind in kinds]


def block(page: str, kind: str, number: int = 0) -> Block:
    """One of them."""
    return next(one for one in blocks(kind) if (one.page, one.number) == (page, number))


def commands(block: Block) -> list[str]:
    """The commands of a block of the shell, without comments: lines, or parts of lines between `&&`."""
    lines = block.text.splitlines()
    if block.kind == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [one.strip() for line in lines for one in re.sub(r"(^|\s)#.*", "", line).split("&&") if one.strip()]
