"""The servers that tests/sites.py runs on (for workers.py), and how each is started."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "uvicorn": "uvicorn sites:asgi --fd {fd} --workers {workers} --no-access-log --no-use-colors "
    "--timeout-graceful-shutdown 3",
    "hypercorn": "hypercorn sites:asgi --bind fd://{fd} --workers {workers}",
    "granian asgi": "granian sites:asgi --interface asgi --uds {path} --workers {workers}",
    "granian asginl": "granian sites:asgi --interface asginl --uds {path} --workers {workers}",
    "granian wsgi": "granian sites:wsgi --interface wsgi --uds {path} --workers {workers}",
    "gunicorn sync": "gunicorn sites:wsgi --bind fd://{fd} --workers {workers} --timeout 60 --graceful-timeout 3",
    "gunicorn gthread": "gunicorn sites:wsgi --bind fd://{fd} --workers {workers} --worker-class gthread --threads 9 "
    "--timeout 60 --graceful-timeout 3",
    "uwsgi": "uwsgi --module sites:wsgi --http-socket {path} --processes {workers} --master --need-app --die-on-term "
    "--disable-logging --stats {path}.stats",
    "waitress": "waitress --unix-socket {path} sites:wsgi",
}
PROGRAMS["uvicorn --lifespan off"] = PROGRAMS["uvicorn"] + " --lifespan off"
PROGRAMS["gunicorn --preload"] = PROGRAMS["gunicorn sync"] + " --preload"
PROGRAMS["uwsgi --enable-threads"] = PROGRAMS["uwsgi"] + " --enable-threads --py-call-uwsgi-fork-hooks"
"""The name of a server, and how it is started; its first word is the package."""


def check_installed(program: str) -> None:
    """Fail in one plain sentence where a server program is missing."""
    package = {"uwsgi": "pyuwsgi"}.get(program, program)
    if importlib.util.find_spec(package) is None:
        pytest.fail(f"{program} is missing, and these tests run it: pip install {package}", pytrace=False)


def command(name: str, *, fd: int, path: str | None, workers: int) -> list[str]:
    """How it is started, on the listening socket `fd` or on one of its own at `path`."""
    program, *options = PROGRAMS[name].format(fd=fd, path=path, workers=workers).split()
    if program == "uwsgi":  # a program, no module
        return [str(Path(sys.executable).with_name(program)), *options]
    return [sys.executable, "-m", program, *options]
