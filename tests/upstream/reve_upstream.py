"""Puts our layer around every application that a framework's own tests call.

Imported at the start of each process of a suite (run.py lays a .pth file into its environment). The lowest
point at which the framework is called is replaced as soon as its module is imported, so the tests do not know.
`REVE_UPSTREAM` says how: `plain` (inject=False), `inject`, `chat` (inject=False, and every request carries the
cookie of a chat whose visitor is logged in), `known` (the same, and the bot was told already). The application
does not see that cookie, so what differs is what our layer did. `django` and `django-inject`: the same as the first
two, with our Django middleware in `MIDDLEWARE`.
"""

from __future__ import annotations

import atexit
import importlib.machinery
import json
import logging
import os
import sys
import unittest
from typing import Any

from reve_upstream_layers import MODE, count_tags, counts, is_of_a_site
from reve_upstream_places import PLACES


class Watcher:
    """Replaces the calls in a module as soon as it has run."""

    @staticmethod
    def find_spec(name: str, path: Any, target: Any = None) -> Any:
        if name not in PLACES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                run(module)
                import reve_middleware  # noqa: F401  # here, since a suite may forbid slow imports while it runs

                logging.getLogger("reve_middleware").addFilter(is_of_a_site)
                count_tags()
                PLACES[name](module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# What is written down ------------------------------------------------------------------------------


def write_counts(path: str) -> None:
    if counts:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(counts) + "\n")


def write_results(path: str) -> None:
    """Django's runner writes no JUnit file: each end of a test, or of a part of it, is a line here."""

    def say(test: Any, outcome: str, reason: object = "") -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps([test.id(), outcome, str(reason)[:300]]) + "\n")

    def watch(method: str, outcome: str) -> None:
        original = getattr(unittest.TestResult, method)

        def called(self: Any, test: Any, *about: Any) -> Any:
            error = about[-1] if about else None  # of a part of a test: None where it passed
            if method != "addSubTest" or error is not None:
                say(test, outcome, f"{error[0].__name__}: {error[1]}" if isinstance(error, tuple) else error or "")
            return original(self, test, *about)

        setattr(unittest.TestResult, method, called)

    watch("addSuccess", "passed")
    watch("addFailure", "failed")
    watch("addError", "failed")
    watch("addSubTest", "failed")
    watch("addSkip", "skipped")
    watch("addExpectedFailure", "skipped")


if "REVE_UPSTREAM_RESULTS" in os.environ:
    write_results(os.environ["REVE_UPSTREAM_RESULTS"])
if MODE != "bare":
    sys.meta_path.insert(0, Watcher)  # type: ignore[arg-type]
    if "REVE_UPSTREAM_COUNTS" in os.environ:
        atexit.register(write_counts, os.environ["REVE_UPSTREAM_COUNTS"])
