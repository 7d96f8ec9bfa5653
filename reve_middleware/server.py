"""What can be seen, from inside a process, of the server that runs it."""

from __future__ import annotations

import os
import os.path
import sys
from collections.abc import Mapping, Sequence

COMMANDS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "fastapi"})
"""Servers that take their workers' number with `--workers`, or `-w`."""


def workers(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """How many worker processes the command line asks for, or uvicorn's and gunicorn's WEB_CONCURRENCY; 1 where
    nothing is said. (uvicorn's and granian's workers have the command line of the process that started them.)"""
    argv = sys.argv if argv is None else argv
    environ = os.environ if environ is None else environ
    program = argv[0] if argv else ""
    if os.path.basename(program) == "__main__.py":  # python -m uvicorn
        program = os.path.dirname(program)
    if os.path.basename(program).removesuffix(".exe") not in COMMANDS:
        return 1
    said = environ.get("WEB_CONCURRENCY", "")
    for word, following in zip(argv[1:], [*argv[2:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in ("--workers", "-w"):
            said = value if equals else following
        elif word.startswith("-w") and word[2:].isdigit():
            said = word[2:]
    return int(said) if said.isdigit() and len(said) < 5 else 1


def is_uwsgi_without_threads() -> bool:
    """Until 2.0.26 uWSGI starts Python without threads unless it is told to. It brings its module along."""
    uwsgi = sys.modules.get("uwsgi")
    options, version = getattr(uwsgi, "opt", None), getattr(uwsgi, "version_info", (9,))
    if not isinstance(options, dict) or version[:3] >= (2, 0, 27) or "threads" in options:
        return False
    enabled = options.get("enable-threads", b"no")  # True where it has no value
    return isinstance(enabled, bytes) and enabled.lower() in (b"no", b"off", b"false", b"0")
