"""Tables that are made from the code, so that they cannot drift from it."""

from __future__ import annotations

import logging
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from reve_middleware.notes import TEXTS


def notes_table() -> str:
    """What the middleware may say in the log, as Markdown."""
    rows = ["| code | level | how often | text |", "|---|---|---|---|"]
    for code, (level, every, text) in sorted(TEXTS.items()):
        often = "once" if every is None else f"once in {every:g} s"
        words = text.replace("%s", "…").replace("|", "\\|").replace("*", "\\*").replace("<", "\\<").replace("_", "\\_")
        rows.append(f"| `{code}` | {logging.getLevelName(level)} | {often} | {words} |")
    return "\n".join(rows)


class NotesTable(SphinxDirective):
    """`{notes-table}`: every note with its code."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(notes_table())


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("notes-table", NotesTable)
    return {"parallel_read_safe": True, "version": "1"}
