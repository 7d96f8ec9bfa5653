"""One request and its response, in the order of the flow.

    is it ours?  ── bridge ─▶ the script
                 ── session ─▶ capture: same origin, ids, who is it?, push, cookies
    its response ── visitor: who, what, push, mark
                 ── page: the tag

Generators: they yield verbs (messages.py), a shell carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from . import bridge, capture, csp, inject
from .capture import Refusal
from .cookie import Ids
from .handover import UNDECIDED, UNKNOWN, UNSAID_BY_ANYBODY, Memory, Verdict, hand_over, sign_out_push
from .messages import (
    NO_ANSWER,
    Answer,
    Ask,
    BodyFault,
    Discard,
    Header,
    Headers,
    LookedUp,
    LookUp,
    Note,
    Offer,
    ReadBody,
    Request,
    Start,
    Verb,
    values,
)
from .quiet import Quiet
from .routes import Route
from .settings import Settings
from .visitor import Visit

NEVER_ASKED = frozenset({b"image", b"style", b"script", b"font", b"audio", b"video", b"track", b"manifest", b"worker"})
"""What `Sec-Fetch-Dest` says of requests whose visitor is not asked about."""
MOUNTS = 64
"""Mounts whose tag is not made again."""


class Core:
    """The settings, and what of them does not depend on the request."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self.settings = settings
        self.memory = memory
        self.quiet = Quiet(settings, memory)
        self._told_of_keys = False
        self._expects_sign_out = not settings.routes.name_logouts
        """Is it still to be told that nobody calls `sign_out()`?"""
        self.bridge_path = f"{settings.path}/bridge.js"
        self.session_path = f"{settings.path}/session"
        self._plain_tags: dict[str, bytes] = {}

    # The page's tag ----------------------------------------------------------------------------

    def tag(self, mount: str, nonce: str | None = None) -> str:
        return bridge.tag(self.settings, mount, nonce)

    def page(
        self,
        method: str,
        destination: bytes | None,
        asked: Iterable[Header],
        status: int,
        headers: Headers,
        visit: Visit,
        route: Route,
        request: Callable[[], Request],
    ) -> Page | Note | None:
        """The tag for this response if it may be a page; a Note where a person should be told why it is not. A plain
        function: most pages go to visitors without a chat, and nothing has to be asked for them. `destination`: what
        `Sec-Fetch-Dest` says; `asked`: the request's headers, which are looked at where it says nothing; the whole
        `request` matters only to a policy."""
        if not self.settings.inject or not (route.enabled if visit.enabled is None else visit.enabled):
            return None
        reason, policies, growing = inject.look_at(status, headers)
        if reason is not None and reason != "encoded":
            return None
        if method == "HEAD" or not inject.is_for_page(destination, asked):
            return None
        if reason is not None:
            return Note("encoded")
        if policies:
            tag_or_note = self._tag_under(policies, request())
            return tag_or_note if isinstance(tag_or_note, Note) else (tag_or_note, growing)
        tag = self._plain_tags.get(visit.mount)
        return tag if tag is not None else self._plain_tag(visit.mount), growing

    def _plain_tag(self, mount: str) -> bytes:
        if len(self._plain_tags) >= MOUNTS:
            self._plain_tags.clear()
        tag = self._plain_tags[mount] = self.tag(mount).encode()
        return tag

    def _tag_under(self, policies: list[bytes], request: Request) -> bytes | Note:
        script_path = bridge.url(self.settings, request.mount).partition("?")[0]
        post_path = script_path.removesuffix("bridge.js") + "session"
        permission = csp.permission(
            [policy.decode("latin-1") for policy in policies], origins_of(request), script_path, post_path
        )
        if not permission.allowed:
            return Note("policy", permission.advice) if permission.advice else Note("sandbox")
        return self.tag(request.mount, permission.nonce).encode()

    # Capture -----------------------------------------------------------------------------------

    def session(self, request: Request, now: int) -> Generator[Verb, Any, Answer]:
        """The answer to a request for the capture path; `now` in microseconds since the epoch."""
        settings = self.settings
        refusal = capture.refusal_of_head(request, settings)
        is_news = not capture.is_a_check(request)
        if refusal is not None:
            if refusal.reason == "plain_http" and is_news:
                yield Note("plain_http")
            elif refusal.reason == "cross_origin" and is_news and capture.has_lost_its_host(request):
                yield Note("cross_origin")
            refused = capture.refuse(refusal.reason)
            return refused._replace(body=b"") if request.method == "HEAD" else refused
        if request.method == "DELETE":
            return (yield from self._forget(request, now))
        body = yield ReadBody(capture.LARGEST_BODY, capture.READ_SECONDS)
        if isinstance(body, BodyFault):
            return capture.refuse(capture.BODY_FAULTS[body.status])
        captured = capture.read_ids(body, settings)
        if isinstance(captured, Refusal):
            if captured.reason == "bot" and is_news:
                yield Note("bot", ", ".join(bot.chatbot_id for bot in settings.bots))
            elif captured.reason == "ids" and is_news:
                yield Note("ids")
            return capture.refuse(captured.reason)
        if settings.dev and not capture.came_over_plain_http(request):
            yield Note("dev_https")
        ids = Ids(captured.chatbot_id, captured.session_id, now)
        return (yield from self._captured(request, ids, now))

    def _captured(self, request: Request, ids: Ids, now: int) -> Generator[Verb, Any, Answer]:
        settings = self.settings
        mark = settings.cookies.mark(request.values(b"cookie"))

        def inquiry(visit: Visit) -> Generator[Verb, Any, Verdict]:
            return hand_over(settings, self.memory, ids, mark, visit, now, capture=True)

        found: Verdict | None
        set_cookies: list[bytes] = []
        if settings.subrequest is None:
            found = yield from inquiry(Visit())
        else:
            looked_up: LookedUp = yield LookUp(settings.subrequest, capture.LOOK_UP_SECONDS, inquiry)
            found, set_cookies = looked_up
        if found is None:
            found = UNKNOWN if settings.consent is None else UNDECIDED
        if found is UNSAID_BY_ANYBODY:
            yield Note("nobody")
        if found.status == "undecided":
            return capture.answer("declined", [])
        if found.status == "declined":
            kept = settings.cookies.ids(request.values(b"cookie"), now)
            if kept is not None:
                yield Discard(kept.key)
            return capture.answer("declined", [] if kept is None else settings.cookies.drop())
        if found.status == "signed_out":
            return capture.answer("anonymous", [])
        cookies = [settings.cookies.write_ids(ids)]
        if found.mark is not None:
            cookies.append(settings.cookies.write_mark(found.mark, ids, now))
        if found.status in ("anonymous", "unknown"):
            return capture.answer("anonymous", cookies)
        return capture.answer(found.status, set_cookies + cookies)

    def _forget(self, request: Request, now: int) -> Generator[Verb, Any, Answer]:
        ids = self.settings.cookies.ids(request.values(b"cookie"), now)
        if ids is not None:
            yield Discard(ids.key)
        return capture.answer("forgotten", self.settings.cookies.drop())

    # Any other response ------------------------------------------------------------------------

    def response(self, request: Request, start: Start, visit: Visit, now: int) -> Generator[Verb, Any, Outgoing]:
        """What becomes of a response whose head is about to be sent."""
        settings = self.settings
        headers, route = start.headers, settings.routes.of(request.path)
        sent = request.values(b"cookie")
        ids = settings.cookies.ids(sent, now)
        if ids is None and sent and not self._told_of_keys and settings.cookies.is_of_another(sent, now):
            self._told_of_keys = True
            yield Note("foreign_key")
        if ids is not None and settings.has_bot(ids.chatbot_id):
            cookies = yield from self._visitor(request, start, visit, ids, now, route)
            if cookies:
                headers = as_private(headers) + cookies
        destinations = request.values(b"sec-fetch-dest")
        page = self.page(
            request.method,
            destinations[-1] if destinations else None,
            request.headers,
            start.status,
            headers,
            visit,
            route,
            lambda: request,
        )
        if isinstance(page, Note):
            yield page
            page = None
        return Outgoing(headers, page)

    def _visitor(
        self, request: Request, start: Start, visit: Visit, ids: Ids, now: int, route: Route
    ) -> Generator[Verb, Any, list[Header]]:
        settings = self.settings
        if visit.signed_out or route.signs_out:
            self._expects_sign_out = False
            yield Discard(ids.key)
            consented = yield from self._consented()
            push = sign_out_push(settings, ids, now) if consented else None
            if push is not None:
                yield Offer(push)
            return _set_cookies(settings.cookies.drop())
        if not is_enabled(route, visit):
            return []
        if is_shared(start.headers):
            if inject.page_type(start.headers) is not None:
                yield Note("public")
            return []
        if request.one(b"sec-fetch-dest") in NEVER_ASKED:
            return []
        mark = settings.cookies.mark(request.values(b"cookie"))
        verdict = yield from hand_over(settings, self.memory, ids, mark, visit, now, capture=False)
        if verdict.status == "anonymous" and self._expects_sign_out and mark is not None and _is_page(request, start):
            self._expects_sign_out = False
            yield Note("no_sign_out")
        if verdict.status in ("another", "declined"):
            yield Discard(ids.key)
            return _set_cookies(settings.cookies.drop())
        if verdict.mark is None:
            return []
        if verdict.mark == mark:
            if verdict.seen is not None:
                self.quiet.remember(request.values(b"cookie"), ids, mark, verdict.seen)
            return []
        return _set_cookies([settings.cookies.write_mark(verdict.mark, ids, now)])

    def _consented(self) -> Generator[Verb, Any, bool]:
        if self.settings.consent is None:
            return True
        answer = yield Ask("consent")
        return answer is not NO_ANSWER and bool(answer)


Page: TypeAlias = tuple[bytes, list[int]]
"""The tag for a page, and which of its headers change with it. (Named tuples take ten times as long to make.)"""


def _is_page(request: Request, start: Start) -> bool:
    """Does the browser show it as a page, and not use it in one?"""
    return request.one(b"sec-fetch-dest") == b"document" and inject.page_type(start.headers) is not None


class Outgoing(NamedTuple):
    """A response's headers, and what goes into its page if it may be one."""

    headers: Headers
    page: Page | None

    @property
    def tag(self) -> bytes | None:
        return None if self.page is None else self.page[0]


def is_enabled(route: Route, visit: Visit) -> bool:
    """Is this route ours? What the view says overrules `routes=` and `exclude=`."""
    return route.enabled if visit.enabled is None else visit.enabled


def origins_of(request: Request) -> list[str]:
    """The page's own origin; where we are reached by http, a proxy may have ended TLS before us."""
    host = (request.one(b"host") or b"").decode("latin-1")
    return [f"{scheme}://{host}" for scheme in ({"http": ("http", "https")}.get(request.scheme, (request.scheme,)))]


def is_shared(headers: Headers) -> bool:
    """Does the response declare that a shared cache may keep it (RFC 9111 §5.2.2)?"""
    return any(
        one.lower() == "public" or one.lower().startswith("s-maxage")
        for one in _directives(values(headers, b"cache-control"))
    )


def as_private(headers: Headers) -> Headers:
    """The headers of a response that sets a cookie for one visitor: no shared cache may keep it."""
    directives = _directives(values(headers, b"cache-control"))
    if {"private", "no-store"} & {one.lower() for one in directives}:
        return list(headers)
    if not directives:
        return [*headers, (b"cache-control", b"private")]
    kept = [one for one in directives if one.lower() != "public" and not one.lower().startswith("s-maxage")]
    others = [(name, value) for name, value in headers if name.lower() != b"cache-control"]
    return [*others, (b"cache-control", ", ".join([*kept, "private"]).encode("latin-1"))]


def _directives(fields: Sequence[bytes]) -> list[str]:
    return [one.strip() for field in fields for one in field.decode("latin-1").split(",") if one.strip()]


def _set_cookies(cookies: list[bytes]) -> list[Header]:
    return [(b"set-cookie", value) for value in cookies]
