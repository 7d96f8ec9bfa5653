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
    from .routes import Route
    from .settings import Settings

MOST_REMEMBERED = 4096
"""Visitors; most take less than 1 KiB, and there is no word of their profiles."""
LONGEST_REMEMBERED = 2048
"""Bytes of a part of a `Cookie` header: between our two cookies may stand what else the browser, or whoever, sends."""
NOTHING_ASKED: Final[dict[str, Any]] = {}


class _Known:
    """Of one visitor. It shows nothing, as `Seen`."""

    __slots__ = ("key", "mark", "seen", "since", "until")

    def __init__(self, ids: Ids, mark: Mark, seen: Seen) -> None:
        self.key = ids.key
        self.mark = mark
        self.seen = seen
        self.since, self.until = lifetime(ids)


class Quiet:
    """What this process has found of visitors who came before."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._name = settings.cookies.ids_name  # the other's begins with it
        self._asks_who = settings.identity is not None
        self._known: dict[bytes, _Known] = {}

    def remember(self, cookies: list[bytes], ids: Ids, mark: Mark, seen: Seen) -> None:
        """A response to a visitor with these `Cookie` header values had nothing new to say."""
        ours = [one for one in cookies if self._name in one]
        if len(ours) != 1 or ours[0].count(self._name) != 2 or self._settings.consent is not None:
            return
        part = self._part(ours[0])
        if (
            len(part) > LONGEST_REMEMBERED
            or not _keeps_still(seen.who)
            or not part.startswith((self._name, b"; " + self._name))
        ):
            return
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[part] = _Known(ids, mark, seen)

    def look(
        self,
        cookie: bytes,
        route: Route,
        visit: Visit,
        ask: Callable[[str, Any], Any],
        context: Any,
    ) -> dict[str, Any] | None:
        """None where there is nothing to say. Otherwise what has been asked on the way, and need not be asked again.

        `cookie`: the one `Cookie` header value with our names in it; `ask(what, context)`: the callable's answer, if it
        can be had at once; else a Pending. Not for responses with a `Cache-Control`, nor for requests whose
        `Sec-Fetch-Dest` is not in PLAIN_DESTINATIONS.
        """
        known = self._known.get(self._part(cookie))
        if known is None or not known.since <= visit.began <= known.until:
            return NOTHING_ASKED
        if visit.signed_out or route.signs_out or not (route.enabled if visit.enabled is None else visit.enabled):
            return NOTHING_ASKED
        seen, said, asked = known.seen, visit.profile, {}
        if self._asks_who:
            asked["identity"] = who = ask("identity", context)
            if not _is_same(who, seen.who) or (who is None and said is UNSAID):
                return asked
        if said is not UNSAID:
            if not _is_known(said, seen.profile):
                return asked
        elif not seen.by_version:
            if self._settings.profile is None:
                return asked
            profile = ask("profile", context)
            if profile is not NOT_BEGUN:
                asked["profile"] = profile
            if isinstance(profile, Pending) or profile is NO_ANSWER or not _is_known(profile, seen.profile):
                return asked
        return asked if self._memory.has_news(known.mark, known.key) else None

    def _part(self, cookie: bytes) -> bytes:
        """The part of a `Cookie` header value from what stands before the first of our names to the end of the cookie
        with the last. Two headers with the same part are read the same."""
        begin = cookie.find(self._name) - 2
        end = cookie.find(b";", cookie.rfind(self._name))
        return cookie[begin if begin > 0 else 0 : len(cookie) if end < 0 else end]


def _is_same(answer: Any, before: Any) -> bool:
    """Has `identity=` answered the same? Only values of the very same types are compared."""
    if type(answer) is not tuple:
        return type(answer) is type(before) and bool(answer == before)
    if type(before) is not tuple or len(answer) != 2:
        return False
    (who, version), (who_before, version_before) = answer, before
    return type(who) is type(who_before) and type(version) is type(version_before) and bool(answer == before)


def _keeps_still(answer: Any) -> bool:
    """Is what `identity=` answered a plain value, or two? Others may be another's tomorrow: werkzeug's `LocalProxy` is
    whoever makes the request."""
    import datetime  # these three are slow to import, and many sites have no identity=
    import decimal
    import uuid

    plain = (str, int, float, type(None), uuid.UUID, datetime.datetime, datetime.date, decimal.Decimal)
    return all(type(one) in plain for one in (answer if type(answer) is tuple else (answer,)))


def _is_known(profile: Any, before: int | None) -> bool:
    return before is not None and profile is not None and fingerprint(profile) == before
