"""Visitors for whom nothing has changed: recognised by their cookies' bytes, without going the whole way.

A shortcut and nothing else. Once exchange.py and handover.py have found that a chat has nothing new to hear, it is
remembered what that was found of: these two cookies, this answer of `identity=`, this profile. While all of them are
the same, so is the finding. Whatever else a response may be about (consent, a view's word, a route that is off, a
header that tells) goes the whole way; tests/test_quiet.py holds the two ways against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .cookie import Ids, lifetime
from .mark import Mark
from .messages import NO_ANSWER, NOT_BEGUN, Pending, Seen
from .push import fingerprint
from .visitor import UNSAID, Visit

if TYPE_CHECKING:
    from .handover import Memory
    from .settings import Settings

MOST_REMEMBERED = 4096
"""Visitors; less than 1 KiB each, and no word of their profiles."""
PLAIN_DESTINATIONS = (b"document", b"empty")
NOTHING_ASKED: Final[dict[str, Any]] = {}


class _Known:
    """Of one visitor. It shows nothing, as `Seen`."""

    __slots__ = ("ids", "mark", "seen", "since", "until")

    def __init__(self, ids: Ids, mark: Mark, seen: Seen) -> None:
        self.ids = ids
        self.mark = mark
        self.seen = seen
        self.since, self.until = lifetime(ids)


class Quiet:
    """What this process has found of visitors who came before."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._known: dict[bytes, _Known] = {}
        self.minds_paths = bool(settings.logout_routes) or not settings.routes.allow_all
        """Does anything depend on the path?"""

    def remember(self, cookies: list[bytes], ids: Ids, mark: Mark, seen: Seen) -> None:
        """A response to a visitor with these `Cookie` header values had nothing new to say."""
        ours = [one for one in cookies if self._settings.cookies.ids_name in one]
        part = self._both(ours[0]) if len(ours) == 1 else None
        if part is None or self._settings.consent is not None:
            return
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[part] = _Known(ids, mark, seen)

    def look(
        self,
        cookie: bytes,
        path: str,
        visit: Visit,
        now: int,
        ask: Callable[[str, Any], Any],
        context: Any,
    ) -> dict[str, Any] | None:
        """None where there is nothing to say. Otherwise what has been asked on the way, and need not be asked again.

        `cookie`: the one `Cookie` header value with our names in it; `path`: inside the mount, if `minds_paths`;
        `ask(what, context)`: the callable's answer, if it can be had at once; else a Pending. Not for responses with a
        `Cache-Control`, nor for requests whose `Sec-Fetch-Dest` is not in PLAIN_DESTINATIONS.
        """
        part = self._both(cookie)
        known = None if part is None else self._known.get(part)
        if known is None or not known.since <= now <= known.until:
            return NOTHING_ASKED
        if not self._is_plain(path, visit):
            return NOTHING_ASKED
        settings, seen, asked = self._settings, known.seen, {}
        if settings.identity is not None:
            asked["identity"] = ask("identity", context)
            if not _is_same(asked["identity"], seen.who) or (seen.who is None and visit.profile is UNSAID):
                return asked
        if visit.profile is not UNSAID:
            if not _is_known(visit.profile, seen.profile):
                return asked
        elif not seen.by_version:
            if settings.profile is None:
                return asked
            profile = ask("profile", context)
            if profile is not NOT_BEGUN:
                asked["profile"] = profile
            if isinstance(profile, Pending) or profile is NO_ANSWER or not _is_known(profile, seen.profile):
                return asked
        if self._memory.outdates(known.mark, known.ids.key):
            return asked
        self._memory.quiet(known.ids.key)
        return None

    def _both(self, cookie: bytes) -> bytes | None:
        """The part of a `Cookie` header value from the first of our cookies to the end of the second; None where they
        are not two. Two headers with the same part are read the same."""
        name = self._settings.cookies.ids_name  # the other's begins with it
        if cookie.count(name) != 2:
            return None
        begin, end = cookie.find(name), cookie.find(b";", cookie.rfind(name))
        if begin and cookie[begin - 2 : begin] != b"; ":
            return None
        return cookie[begin:] if end < 0 else cookie[begin:end]

    def _is_plain(self, path: str, visit: Visit) -> bool:
        """Does neither the view nor the route say anything about the chat?"""
        settings = self._settings
        if visit.signed_out or visit.enabled is False:
            return False
        if not self.minds_paths:
            return True
        return not settings.logout_routes.match(path) and (visit.enabled is True or settings.routes.allow(path))


def _is_same(answer: Any, before: Any) -> bool:
    """Has `identity=` answered the same? Only values of the very same types are compared."""
    if type(answer) is tuple and type(before) is tuple and len(answer) == 2 == len(before):
        return _is_same(answer[0], before[0]) and _is_same(answer[1], before[1])
    return type(answer) is type(before) and bool(answer == before)


def _is_known(profile: Any, before: int | None) -> bool:
    return before is not None and profile is not None and fingerprint(profile) == before
