"""With which arguments is a callable of the application's called?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def own_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """What it takes itself; None where nobody can say.

    A decorator made with `functools.wraps` shows the arguments of what it is around, and may itself be called with
    others: Werkzeug's `Request.application` makes a WSGI application of a function of one argument.
    """
    if hasattr(function, "__wrapped__") and hasattr(function, "__signature__"):  # that of what is wrapped, perhaps
        return None
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some builtins have none
        return None


def takes(signature: inspect.Signature, arguments: int) -> bool:
    """May it be called with so many, by position?"""
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True
