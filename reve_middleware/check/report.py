"""The report as a person reads it, and as a machine does."""

from __future__ import annotations

import json

import click

from .finding import Level, Report

COLOURS: dict[Level, str] = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}
WIDTH = max(map(len, COLOURS)) + 2


def text(report: Report) -> str:
    """One line a finding, what to do on the next, and the count. Styled; `click.echo` takes that out where it must."""
    lines = []
    for one in report.findings:
        lines.append(
            f"{click.style(one.level, fg=COLOURS[one.level], bold=True)}{' ' * (WIDTH - len(one.level))}{one.text}"
        )
        if one.cure:
            lines.append(f"{' ' * WIDTH}{click.style('-> ' + one.cure, dim=one.level == 'info')}")
    counts = report.counts
    closing = f"{counts['ok']} ok, {_many(counts['warning'], 'warning')}, {_many(counts['error'], 'error')}"
    if not report.was_looked_at:
        closing += "; there was no page to look at"
    return "\n".join([*lines, "", closing])


def as_json(report: Report) -> str:
    """The same for machines; `code` is what to look at."""
    said = {
        "looked_at": report.was_looked_at,
        "exit_status": report.exit_status,
        "counts": {level: report.counts[level] for level in COLOURS},
        "findings": [one._asdict() for one in report.findings],
    }
    return json.dumps(said, indent=2)


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
