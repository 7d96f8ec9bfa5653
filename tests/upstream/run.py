"""Runs the frameworks' own test suites bare, and again with our layer around everything they call.

    python tests/upstream/run.py                       # all of them, in a temporary directory
    python tests/upstream/run.py flask werkzeug --keep /tmp/upstream --modes plain,inject

A program, no part of our suite: it fetches source distributions and their requirements with pip, and takes
about 20 minutes. What is compared: the tests that pass bare twice, and fail wrapped, twice as well. A table and
the names are printed; the exit code is 1 where `plain` (inject=False) has any. See reve_upstream.py for the modes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
MODES = ("plain", "inject", "chat", "known", "django", "django-inject")
LONGEST_RUN = 1800
"""Seconds for one run of one suite."""
OURS = ("starlette>=0.41.2", "httpx>=0.27", "itsdangerous>=2.1.2")


class Suite(NamedTuple):
    """One project; its source distribution carries the tests."""

    name: str
    version: str
    requirements: tuple[str, ...] = ()
    extra: str = ""
    arguments: tuple[str, ...] = ("tests",)
    """Of pytest."""
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    """Of Django's own runner, which is used instead of pytest where there are any."""


SUITES = (
    Suite(
        "starlette",
        "1.10.0",
        ("pytest", "trio", "httpx2[zstd]", "blockbuster", "importlib-metadata", "opentelemetry-sdk", "pytest-codspeed"),
        "full",
    ),
    Suite(
        "fastapi",
        "0.165.0",
        (
            *("a2wsgi>=1.9,<=2.0", "anyio[trio]>=4.1,<5", "coverage[toml]>=7.13,<8", "dirty-equals>=0.9"),
            *("flask>=3,<4", "httpx2>=2", "inline-snapshot>=0.21.1", "logfire>=5.1", "pwdlib[argon2]>=0.2.1"),
            *("opentelemetry-instrumentation-fastapi>=0.65b0", "opentelemetry-exporter-otlp-proto-http>=1.44"),
            *("opentelemetry-sdk>=1.44", "pyjwt>=2.9", "pytest>=9,<9.2", "pytest-codspeed>=4.3", "pytest-timeout>=2.4"),
            *("pytest-xdist>=3", "python-slugify>=8.0.4", "ruff", "sentry-sdk>=2.70", "sqlmodel>=0.0.31"),
            *("strawberry-graphql>=0.200,<1", "typer>=0.26.1"),
        ),
        "all",
    ),
    Suite("flask", "3.1.3", ("pytest==9.0.2", "asgiref", "greenlet", "python-dotenv")),
    Suite(
        "werkzeug",
        "3.1.9",
        ("pytest", "pytest-timeout", "cffi", "cryptography", "ephemeral-port-reserve", "watchdog<7"),
        arguments=("tests", "--timeout=30"),  # its reloader may wait for ever
    ),
    Suite(
        "django",
        "5.2.19",
        ("-r", "tests/requirements/py3.txt"),
        labels=(
            *("asgi", "csrf_tests", "handlers", "middleware", "servers", "sessions_tests", "staticfiles_tests"),
            *("test_client", "test_client_regress", "view_tests", "wsgi"),
        ),
    ),
    Suite(
        "falcon",
        "4.4.0",
        ("-r", "requirements/tests", "pytest==8.4.2"),  # 9.2 calls os.fstat while test_static.py replaces it
        environment=(("FALCON_DISABLE_CYTHON", "Y"), ("PYTHONASYNCIODEBUG", "1")),
    ),
    Suite("bottle", "0.13.4", ("pytest", "mako", "jinja2"), arguments=("test",)),
    Suite("webob", "1.8.11", ("pytest",)),
    Suite("pyramid", "2.1", ("pytest", "pytest-cov", "webtest", "zope.component")),
)


class Run(NamedTuple):
    """What one run of one suite said."""

    outcomes: dict[str, str]
    """"passed", "failed" or "skipped" of each test."""
    reasons: dict[str, str]
    counts: Counter[str]
    seconds: float

    @property
    def passed(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome == "passed"}


class Place:
    """The directory everything is in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "path"
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        shutil.copytree(HERE.parent.parent / "reve_middleware", self.path / "reve_middleware")
        for file in HERE.glob("reve_upstream*.py"):
            shutil.copy(file, self.path)

    def source(self, suite: Suite) -> Path:
        """The unpacked source distribution."""
        unpacked = self.directory / "src" / f"{suite.name}-{suite.version}"
        if not unpacked.is_dir():
            kept = self.directory / "sdist"
            sdist = kept / f"{suite.name}-{suite.version}.tar.gz"
            if not sdist.is_file():
                what = ["--no-binary", suite.name, "--no-deps", "-d", str(kept), f"{suite.name}=={suite.version}"]
                pip(sys.executable, "download", *what)
            with tarfile.open(sdist) as archive:
                archive.extractall(unpacked.parent, filter="data")
        return unpacked

    def python(self, suite: Suite, source: Path) -> Path:
        """The interpreter of an environment with what the suite needs, and with our hook."""
        home = self.directory / "venv" / suite.name
        python = home / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            project = f"{source}[{suite.extra}]" if suite.extra else str(source)
            environment = dict(suite.environment)
            pip(str(python), "install", *OURS, project, *suite.requirements, cwd=source, environment=environment)
        site = next(home.glob("lib/python*/site-packages"))
        wanted = "{'REVE_UPSTREAM', 'REVE_UPSTREAM_RESULTS'} & set(os.environ)"
        (site / "reve_upstream.pth").write_text(f"{self.path}\nimport os; {wanted} and __import__('reve_upstream')\n")
        return python

    def run(self, suite: Suite, mode: str) -> Run:
        source = self.source(suite)
        python = self.python(suite, source)
        results, counts = self.directory / f"{suite.name}.{mode}", self.directory / f"{suite.name}.{mode}.counts"
        for file in (results, counts):
            file.unlink(missing_ok=True)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "REVE", "COV"))
        } | dict(suite.environment)
        environment["REVE_UPSTREAM_DEV"] = os.environ["REVE_UPSTREAM_DEV"]
        environment["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        if mode != "bare":
            environment |= {"REVE_UPSTREAM": mode, "REVE_UPSTREAM_COUNTS": str(counts)}
        if suite.labels:
            environment["REVE_UPSTREAM_RESULTS"] = str(results)
            command = [str(python), "runtests.py", "--parallel=1", "--noinput", *suite.labels]
        else:
            command = [str(python.parent / "pytest"), "-q", f"--junitxml={results}", "-o", "junit_family=xunit1"]
            command += ["-p", "no:cacheprovider", *suite.arguments]
        cwd = source / "tests" if suite.labels else source
        began = time.monotonic()
        with open(self.directory / f"{suite.name}.{mode}.log", "wb") as log:
            subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LONGEST_RUN,
                check=False,
            )
        read = read_lines if suite.labels else read_junit
        outcomes, reasons = read(results)
        return Run(outcomes, reasons, read_counts(counts), time.monotonic() - began)


def pip(python: str, *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> None:
    command = [python, "-m", "pip", arguments[0], "-q", "--disable-pip-version-check", *arguments[1:]]
    subprocess.run(command, check=True, cwd=cwd, env=os.environ | (environment or {}))


def read_junit(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    outcomes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('file', case.get('classname'))}::{case.get('classname', '').rpartition('.')[2]}::"
        name += case.get("name", "")
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, reasons[name] = "failed", child.get("message") or (child.text or "")[-300:]
            elif child.tag == "skipped":
                outcome = "skipped"
        if outcomes.get(name) != "failed":  # a test that passes may still have an error when it is torn down
            outcomes[name] = outcome
    return outcomes, reasons


def read_lines(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    outcomes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, outcome, reason = json.loads(line)
        if outcomes.get(name) != "failed":
            outcomes[name] = outcome
        if outcome == "failed":
            reasons.setdefault(name, reason)
    return outcomes, reasons


def read_counts(path: Path) -> Counter[str]:
    """Of each process of a suite, together."""
    total: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        total.update(json.loads(line))
    return total


def differences(place: Place, suite: Suite, mode: str, steady: set[str]) -> tuple[Run, dict[str, str]]:
    """The tests that pass bare and fail wrapped, with the reason; each failed twice."""
    first = place.run(suite, mode)
    names = steady - first.passed
    if names:
        names -= place.run(suite, mode).passed
    return first, {name: first.reasons.get(name, first.outcomes.get(name, "was not run")) for name in sorted(names)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(suite.name for suite in SUITES)}")
    parser.add_argument("--keep", type=Path, help="a directory for all of it, used again the next time")
    parser.add_argument("--dev", action="store_true", help="with dev=True, whose warning some tests count")
    parser.add_argument("--modes", default=",".join(MODES))
    given = parser.parse_args()
    unknown = set(given.names) - {suite.name for suite in SUITES} | set(given.modes.split(",")) - set(MODES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    directory = given.keep or Path(tempfile.mkdtemp(prefix="reve-upstream-"))
    os.environ["REVE_UPSTREAM_DEV"] = "1" if given.dev else "0"
    place, modes = Place(directory.resolve()), given.modes.split(",")
    rows, bad = [["project", "version", "tests", "pass bare", *modes]], False
    try:
        for suite in SUITES:
            if given.names and suite.name not in given.names:
                continue
            bare = place.run(suite, "bare")
            steady = bare.passed & place.run(suite, "bare").passed
            print(f"{suite.name} {suite.version}: {len(steady)} pass bare, {bare.seconds:.0f} s", flush=True)
            row = [suite.name, suite.version, str(len(bare.outcomes)), str(len(steady))]
            for mode in modes:
                if mode.startswith("django") and suite.name != "django":
                    row.append("")
                    continue
                run, names = differences(place, suite, mode, steady)
                row.append(str(len(names)))
                bad = bad or (mode in ("plain", "django") and bool(names)) or not run.counts["requests"]
                bad = bad or bool(run.counts["refused applications"])
                seen = ", ".join(f"{count} {what}" for what, count in sorted(run.counts.items()))
                print(f"  {mode}: {len(names)} differ; {seen}; {run.seconds:.0f} s", flush=True)
                for name, why in names.items():
                    print(f"    {name}\n        {' '.join(why.split())[:300]}", flush=True)
            rows.append(row)
    finally:
        if given.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
