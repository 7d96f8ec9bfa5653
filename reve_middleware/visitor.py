"""The visitor of one request: the holder, and what a view may say about them.

The holder is one mutable object, put into the scope or environ and into a context variable before the
application runs: it survives copied scopes, copied contexts and thread pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol


class Tagger(Protocol):
    """Makes the bridge's tag for a mount."""

    def tag(self, mount: str, nonce: str | None = None) -> str: ...


KEY: Final = "reve_middleware.visit"
"""Where the holder stands in an ASGI scope or a WSGI environ; its presence makes an inner layer stand down. With a
dot: an environ's keys without one are CGI variables, and those are text (PEP 3333; `wsgiref.validate` asks)."""

UNSAID: Final = object()
"""`identify()` was not called."""


class Visit:
    """What was said about the visitor while one request was handled, and where it began: inner
    layers change `path` and `root_path` in the scope. No dict: some error trackers show what is in `vars()`."""

    __slots__ = ("_tagger", "began", "enabled", "mount", "over", "path", "profile", "signed_out")

    def __init__(self, tagger: Tagger | None = None, mount: str = "", path: str = "", began: int = 0) -> None:
        self._tagger = tagger
        self.mount = mount
        self.path = path
        self.began = began
        """When the request of a visitor with a chat came in, microseconds since the epoch."""
        self.profile: Any = UNSAID
        """What `identify()` was told."""
        self.signed_out = False
        self.enabled: bool | None = None
        self.over = False
        """Has the layer that made it answered? (WSGI's does not say: its visits are found in the environ.)"""

    def end(self) -> None:
        """The layer that made it has answered. Copied contexts may keep it, those of a server's timers for minutes, and
        no profile with it."""
        self.over = True
        self.profile = None

    def is_of(self, tagger: Any) -> bool:
        """Was it made by the layer whose tagger this is?"""
        return self._tagger is tagger

    def __deepcopy__(self, _: Any) -> Visit:
        return self  # an application may copy its scope or environ, and is still in the same request

    def __reduce__(self) -> Any:
        return Visit, ()  # it may even pickle them: nothing of ours goes along

    def tag(self, nonce: str | None) -> str:
        """The bridge's tag for this request."""
        return "" if self._tagger is None else self._tagger.tag(self.mount, nonce)

    def __repr__(self) -> str:
        return f"<Visit of reve_middleware at {id(self):#x}>"


class BlankVisit(Visit):
    """One that is filled where it is made, which is quicker: shells make one for every request, and leave out what
    nobody will ask."""

    __slots__ = ()
    __init__ = object.__init__


current_visit: ContextVar[Visit | None] = ContextVar("reve_middleware_visit", default=None)


def is_inside() -> bool:
    """Is a layer of ours outside, though the environ does not say so? What carries ASGI to WSGI (a2wsgi, asgiref,
    Starlette) makes a new environ, but runs the application in a copy of the request's context. Contexts leak, too
    (asyncio may begin a connection's next request in the last one's): a request that is over does not count."""
    visit = current_visit.get()
    return visit is not None and not visit.over


def identify(profile: Mapping[str, Any] | None) -> None:
    """Say in a view who the visitor is and what the bot may know: this beats `profile=`.

    `profile`: a dict of JSON values, at most 16 KiB; None means that nobody is logged in. What
    cannot be sent is an error in the log, never an exception here. Outside a request that passes
    the middleware it does nothing.
    """
    visit = current_visit.get()
    if visit is not None:
        visit.profile = profile


def sign_out() -> None:
    """Say in a view that the visitor has logged out: the chat is let go, and hears of nobody
    until the widget reports again. Outside a request that passes the middleware it does nothing."""
    visit = current_visit.get()
    if visit is not None:
        visit.signed_out = True


class Markup(str):
    """Text that template engines must not escape (Jinja, Django and others ask for `__html__`)."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def script_tag(request: Any = None, *, nonce: str | None = None) -> Markup:
    """The bridge's tag, for people who place it by hand (`inject=False`): right after `<head>`.

    `request`: any framework's request object, or nothing where the view runs in the request's own
    context. `nonce`: the page's CSP nonce, if it has one. Empty where no middleware is outside.
    """
    visit = _holder(request) or current_visit.get()
    return Markup() if visit is None else Markup(visit.tag(nonce))


def _holder(request: Any) -> Visit | None:
    """Starlette and Django (ASGI) have `scope`; Flask and Pyramid `environ`; Falcon `env`; Django (WSGI) `META`."""
    for name in ("scope", "environ", "env", "META"):
        where = getattr(request, name, None)
        if isinstance(where, Mapping) and isinstance(visit := where.get(KEY), Visit) and not visit.over:
            return visit
    return None
