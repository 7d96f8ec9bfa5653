"""Who and what against the mark: push, keep quiet, or let the chat go.

Contract §5. Asked in this order, and no further than needed: consent, who, what.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .cookie import Ids
from .errors import ProfileError
from .mark import Mark
from .messages import NO_ANSWER, Ask, Note, Offer, Offered, Seen, Verb
from .push import Push, encode_body, encode_profile, fields_of, fingerprint, printable
from .visitor import UNSAID, Visit

if TYPE_CHECKING:
    from .settings import Settings

WHO_FIELDS = ("id", "email", "phone")
"""Where a profile says who it is, the first there is."""
CHANGES_IN_A_ROW = 6
"""So many hand-overs in a row that differ in one field, with no quiet response between them, are not edits."""
REMEMBERED_CHATS = 10_000


class Verdict(NamedTuple):
    """What is to become of the chat."""

    status: str
    """"queued", "current", "anonymous", "busy", "declined", "unknown", "undecided" (no answer of
    `consent=`), "another", "late", "signed_out"."""
    mark: Mark | None = None
    """Set on the response, where it is to be set."""
    seen: Seen | None = None
    """What "current" was found of."""


ANONYMOUS = Verdict("anonymous")
UNKNOWN = Verdict("unknown")
UNSAID_BY_ANYBODY = Verdict("unknown")
"""There is no `profile=`, and `identify()` was not called."""
DECLINED = Verdict("declined")
UNDECIDED = Verdict("undecided")
ANOTHER = Verdict("another")


class _Case(NamedTuple):
    """One look at one visitor."""

    settings: Settings
    memory: Memory
    ids: Ids
    mark: Mark | None
    now: int
    began: int
    capture: bool


def hand_over(
    settings: Settings, memory: Memory, ids: Ids, mark: Mark | None, visit: Visit, now: int, *, capture: bool
) -> Generator[Verb, Any, Verdict]:
    """Look at the visitor of one response, or of one capture, and say what becomes of the chat."""
    if settings.consent is not None:
        consent = yield Ask("consent")
        if consent is NO_ANSWER:
            return UNDECIDED
        if not consent:
            return DECLINED
    if mark is not None and not settings.hasher.same(mark.session, "session", "\0".join(ids.key)):
        mark = None
    who = yield from _who(settings, visit)
    if isinstance(who, Verdict):
        return who
    case = _Case(settings, memory, ids, mark, now, visit.began, capture)
    profile = visit.profile
    if profile is UNSAID:
        known = _known_without_profile(case, who)
        if known is not None:
            return known
        profile = yield Ask("profile")
    if profile is NO_ANSWER:
        return UNKNOWN
    if profile is None:
        return ANONYMOUS
    return (yield from _compare(case, profile, who))


class _Who(NamedTuple):
    """What `identity=` says; Nones where the profile will have to say it."""

    who: str | None = None
    version: str | None = None
    answer: Any = None


def _who(settings: Settings, visit: Visit) -> Generator[Verb, Any, _Who | Verdict]:
    if settings.identity is None:
        return _Who()
    answer = yield Ask("identity")
    if isinstance(answer, tuple) and len(answer) == 2 and answer[0] is None:
        answer = None  # (user.id, user.changed) of somebody who is not logged in
    if answer is NO_ANSWER or answer is None:
        if visit.profile is UNSAID or visit.profile is None:
            return ANONYMOUS if answer is None else UNKNOWN
        return _Who()
    try:
        return _Who(*read_identity(answer), answer)
    except ProfileError as error:
        yield Note("identity", str(error))
        return UNKNOWN


def _known_without_profile(case: _Case, said: _Who) -> Verdict | None:
    """The verdict, where the profile need not be computed for it."""
    mark, hasher = case.mark, case.settings.hasher
    who, version, answer = said
    if mark is not None and who is not None:
        if not hasher.same(mark.who, "who", who):
            if not case.capture:
                return ANOTHER
        elif (
            version is not None
            and hasher.same(mark.version, "version", version)
            and not case.memory.outdates(mark, case.ids.key)
        ):
            case.memory.quiet(case.ids.key)
            return Verdict("current", mark, Seen(answer, by_version=True, profile=None))
    return UNSAID_BY_ANYBODY if case.settings.profile is None else None


def _compare(case: _Case, profile: Any, said: _Who) -> Generator[Verb, Any, Verdict]:
    """The profile against the mark: push it, or keep quiet, or let the chat go."""
    settings, ids, mark, hasher = case.settings, case.ids, case.mark, case.settings.hasher
    who, version, answer = said
    try:
        data = encode_profile(profile)
    except ProfileError as error:
        yield Note("profile", str(error))
        return UNKNOWN
    who = who or who_of(profile)
    if who is None:
        yield Note("no_identity")
        return UNKNOWN
    if mark is not None and not hasher.same(mark.who, "who", who):
        if not case.capture:
            return ANOTHER
        mark = None
    fresh = Mark(
        session=hasher.digest("session", "\0".join(ids.key)),
        who=hasher.digest("who", who),
        version=hasher.digest("version", version) if version is not None else "",
        profile=hasher.digest("profile", data),
        at=case.now if mark is None else max(case.now, mark.at + 1),
    )
    if mark is not None and hasher.same(mark.profile, "profile", data) and not case.memory.outdates(mark, ids.key):
        case.memory.quiet(ids.key)
        seen = Seen(answer, by_version=version is not None, profile=fingerprint(profile))
        return Verdict("current", fresh._replace(at=mark.at), seen)
    try:
        body = encode_body(settings.payload, ids.chatbot_id, ids.session_id, data)
    except ProfileError as error:
        yield Note("profile", str(error))
        return UNKNOWN
    offered: Offered = yield Offer(
        Push(
            chatbot_id=ids.chatbot_id,
            session_id=ids.session_id,
            endpoint=settings.bot(ids.chatbot_id).endpoint,
            body=body,
            visitor=fresh.who,
            transition=f"{mark.at if mark else 0}.{fresh.who}.{fresh.profile}",
            captured=ids.captured,
            at=fresh.at,
            began=case.began,
            urgent=case.capture,
        )
    )
    if offered.status == "another":
        return ANOTHER
    if offered.status not in ("queued", "current"):
        return Verdict(offered.status)
    if offered.status == "queued" and mark is not None:
        restless = case.memory.changed(ids.key, fields_of(data))
        if restless is not None:
            yield Note("restless", printable(restless))
    return Verdict(offered.status, fresh._replace(at=offered.at))


def sign_out_push(settings: Settings, ids: Ids, now: int) -> Push | None:
    """The push that tells the bot the visitor is gone, if the bot has an endpoint for that."""
    endpoint = settings.bot(ids.chatbot_id).logout_endpoint
    if endpoint is None:
        return None
    try:
        body = encode_body(settings.payload, ids.chatbot_id, ids.session_id, b"{}")
    except ProfileError:
        return None
    return Push(
        chatbot_id=ids.chatbot_id,
        session_id=ids.session_id,
        endpoint=endpoint,
        body=body,
        visitor="",
        transition="",
        captured=now,
        at=now,
        urgent=True,
    )


def read_identity(answer: Any) -> tuple[str, str | None]:
    """Who, and the version if there is one, of what `identity=` returned. Raises `ProfileError`."""
    import datetime  # these three are slow to import, and many sites have no identity=
    import decimal
    import uuid

    version: Any = None
    if isinstance(answer, tuple):
        if len(answer) != 2:
            raise ProfileError(f"identity= returned a tuple of {len(answer)}, not (who, version)")
        answer, version = answer
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float, uuid.UUID)) or answer == "":
        raise ProfileError(
            f"identity= returned a {type(answer).__name__} as who; return text or a number, or (who, version)"
        )
    scalars = (str, int, float, uuid.UUID, datetime.date, decimal.Decimal)
    if version is not None and not isinstance(version, scalars):
        raise ProfileError(f"identity= returned a {type(version).__name__} as version; return text, a number or a date")
    return str(answer), None if version is None else str(version)


def who_of(profile: Mapping[str, Any]) -> str | None:
    """Who a profile is about: its `id`, `email` or `phone`, the first there is."""
    for field in WHO_FIELDS:
        value = profile.get(field)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


class Memory:
    """What this process remembers about chats between responses; bounded, without time or locks.

    Every method is one or two dict operations, so threads may share it.
    """

    def __init__(self, outdates: Callable[[tuple[str, str], int], bool]) -> None:
        """`outdates(key, at)`: does what was marked for a chat at that time (microseconds since the epoch) count for
        nothing, since it was given up, or something was handed over later?"""
        self._outdates = outdates
        self._changes: OrderedDict[tuple[str, str], tuple[dict[str, int], dict[str, int]]] = OrderedDict()

    def outdates(self, mark: Mark, key: tuple[str, str]) -> bool:
        """Does the mark count for nothing?"""
        return self._outdates(key, mark.at)

    def has_news(self, mark: Mark, key: tuple[str, str]) -> bool:
        """Does the mark count for nothing after all? Otherwise this response had nothing new."""
        if self._outdates(key, mark.at):
            return True
        if self._changes:
            self.quiet(key)
        return False

    def quiet(self, key: tuple[str, str]) -> None:
        """A response of this chat had nothing new."""
        self._changes.pop(key, None)

    def changed(self, key: tuple[str, str], fields: dict[str, int]) -> str | None:
        """A response of this chat had something new; the field that will not keep still, if one."""
        before, streaks = self._changes.pop(key, ({}, {}))
        streaks = {name: streaks.get(name, 0) + 1 for name, value in fields.items() if before.get(name) != value}
        self._changes[key] = (fields, streaks)
        if len(self._changes) > REMEMBERED_CHATS:
            self._changes.popitem(last=False)
        return next((name for name, streak in streaks.items() if streak >= CHANGES_IN_A_ROW), None)
