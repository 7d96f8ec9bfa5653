"""What an exception of the application's own callable tells its author: type, line, and the cure of the usual mistakes.

Pure. An exception's text may hold anything, so it is never repeated; it is only compared with the fixed texts of
Starlette and Flask.
"""

from __future__ import annotations

import os

SESSION = (
    "request.session is set by a session layer inside of this middleware, which must run for this route, too; "
    "in Flask and others ask the framework's own session"
)
USER = (
    "request.user is set by a login layer inside of this middleware (in Starlette: AuthenticationMiddleware); "
    "in Flask and others ask the framework, as in flask_login.current_user"
)
NOBODY = "is nobody logged in? Then return None (or is a name misspelt?)"
NOT_YOURS = "this is Starlette's Request, whatever the framework; ask your framework for its own"
CONTEXT = (
    "with subrequest=None the framework has not begun this request: leave subrequest= out, and a look-up passes it"
)
BODY = "the body belongs to the view: read it there, and call identify()"
BY_TEXT = (
    (AssertionError, "SessionMiddleware must be installed", SESSION),
    (AssertionError, "AuthenticationMiddleware must be installed", USER),
    (RuntimeError, "Working outside of request context", CONTEXT),
    (RuntimeError, "Receive channel has not been made available", BODY),
)
"""How a text of Starlette's or Flask's begins."""
BY_NAME = {
    "DetachedInstanceError": "the database session is closed by now: read what the bot may know in the view or the "
    "login, and call identify(), or keep it there",
    "MissingGreenlet": "an attribute would be loaded from the database here: load it with the user, or in the view",
    "SynchronousOnlyOperation": "async code asks the database: make it a plain function (def), or await the async "
    "method, as in await request.auser()",
}
"""SQLAlchemy's and Django's, which are not imported for this."""
_NEVER_THEIRS = (os.path.dirname(__file__), os.path.dirname(os.__file__))


def describe(error: BaseException) -> str:
    """`KeyError at views.py:7 (session.py:30): …`: the application's line, the innermost where that is another's, and
    the cure where it is known."""
    hint = _hint(error)
    return f"{type(error).__name__}{_place(error)}" + (f": {hint}" if hint else "")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    own = first = innermost = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        innermost = f"{os.path.basename(file)}:{trace.tb_lineno}"
        if not file.startswith(_NEVER_THEIRS):
            first = first or innermost
            if "-packages" not in file:  # site-packages, dist-packages
                own = innermost
        trace = trace.tb_next
    own = own or first  # an application that is installed itself
    if own in ("", innermost):
        return f" at {innermost}" if innermost else ""
    return f" at {own} ({innermost})"


def _hint(error: BaseException) -> str:
    text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    for kind, beginning, hint in BY_TEXT:
        if isinstance(error, kind) and text.startswith(beginning):
            return hint
    match error:
        case KeyError() if text == "session":
            return SESSION
        case KeyError():
            return NOBODY
        case AttributeError():
            return _of_attribute(error)
    return BY_NAME.get(type(error).__name__, "")


def _of_attribute(error: AttributeError) -> str:
    kind = type(error.obj)
    if (error.obj is None and error.name is not None) or kind.__name__.startswith(("Anonymous", "Unauthenticated")):
        return NOBODY
    if any(base.__module__ == "starlette.requests" for base in kind.__mro__):
        return NOT_YOURS
    return ""
