"""Is this route enabled? Globs on the path inside the mount, overruled by @enabled and @disabled."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Any, Final, NamedTuple, TypeVar

from .visitor import current_visit

T = TypeVar("T", bound=Callable[..., Any])

HTTP_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


class Globs:
    """A tuple of shell-style globs as one question. `*` also matches `/`, as in `fnmatch`."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._match = re.compile("|".join(map(translate, globs))).match if globs else None

    def __bool__(self) -> bool:
        return self._match is not None

    def match(self, path: str) -> bool:
        return self._match is not None and self._match(path) is not None


class Route(NamedTuple):
    """What the settings say of a path."""

    enabled: bool
    signs_out: bool


EVERYWHERE: Final = Route(enabled=True, signs_out=False)
NOWHERE: Final = Route(enabled=False, signs_out=False)
LONGEST_KNOWN, MOST_KNOWN = 256, 1024
"""Characters of a path, and paths, whose route is not looked up again."""


class Routes:
    """`routes=`, `exclude=` and `logout_routes=` together."""

    def __init__(self, routes: Sequence[str] | None, exclude: Sequence[str], logout: Sequence[str] = ()) -> None:
        self._routes = None if routes is None else Globs(routes)
        self._exclude = Globs(exclude)
        self._logout = Globs(logout)
        self._known: dict[str, Route] = {}
        self.all_alike = self._routes is None and not self._exclude and not self._logout
        """Is each path EVERYWHERE?"""
        self.name_logouts = bool(self._logout)
        self.single_pages = _single_pages(routes or ())
        """Globs of `routes=` that mean one page, and none of those below it."""

    def of(self, path: str) -> Route:
        """The route of a path inside the mount."""
        return self._known.get(path) or self._look_up(path)

    def _look_up(self, path: str) -> Route:
        enabled = (self._routes is None or self._routes.match(path)) and not self._exclude.match(path)
        found = Route(enabled, self._logout.match(path))
        found = NOWHERE if found == NOWHERE else found
        if len(path) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[path] = found
        return found


def _single_pages(globs: Sequence[str]) -> list[str]:
    plain = [glob for glob in globs if not re.search(r"[*?\[]|/$|\.\w+$", glob)]
    return [glob for glob in plain if not Globs(globs).match(f"{glob}/x")]


def enabled(view: T) -> T:
    """Turn the middleware on for this view, whatever `routes` and `exclude` say.

    For functions, coroutine functions, methods and class-based views of any framework. Where no
    middleware is outside, it does nothing. Put it nearest to the view, under the route's decorator.
    """
    return _switch(view, True)


def disabled(view: T) -> T:
    """Turn the middleware off for this view, whatever `routes` and `exclude` say. See `enabled`."""
    return _switch(view, False)


def _switch(view: T, on: bool) -> T:
    if inspect.isclass(view):
        for name in _handlers(view):
            setattr(view, name, _switch(getattr(view, name), on))
        return view
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def async_view(*args: Any, **kwargs: Any) -> Any:
            _say(on)
            return await view(*args, **kwargs)

        return _as(view, async_view)

    @functools.wraps(view)
    def sync_view(*args: Any, **kwargs: Any) -> Any:
        _say(on)
        return view(*args, **kwargs)

    return _as(view, sync_view)


def _as(view: T, wrapper: Any) -> T:
    """The wrapper with the view's signature: Pyramid asks for it without looking for what is wrapped."""
    with contextlib.suppress(TypeError, ValueError):  # some callables have none
        wrapper.__signature__ = inspect.signature(view)
    return wrapper  # type: ignore[no-any-return]


def _say(on: bool) -> None:
    visit = current_visit.get(None)
    if visit is not None:
        visit.enabled = on


def _handlers(view: type) -> list[str]:
    """The methods through which frameworks enter a class-based view: the one dispatcher (Django,
    Flask, Starlette, or any callable class), else every handler (`get`, Falcon's `on_get`)."""
    for name in ("dispatch", "dispatch_request", "__call__"):
        if inspect.isroutine(getattr(view, name, None)) and _defined(view, name):
            return [name]
    names = [name for method in HTTP_METHODS for name in (method, f"on_{method}")]
    handlers = [name for name in names if inspect.isfunction(getattr(view, name, None))]
    return handlers or ["__init__"]


def _defined(view: type, name: str) -> bool:
    return any(name in base.__dict__ for base in view.__mro__ if base is not object)
