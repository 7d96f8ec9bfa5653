"""One request and its response on their way through the ASGI shell.

What a view says of its visitor is held apart (`visit`): contexts and timers keep that for longer than the request
takes, and with it they must not keep the scope and the server's `send`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from starlette.requests import Request as StarletteRequest

from .concurrency import mark_coroutine_function
from .exchange import Outgoing, Page
from .inject import HeadFinder, with_tag
from .messages import Headers, Note, Request, Start
from .quiet import NOTHING_ASKED
from .routes import NOWHERE, Route
from .scope import (
    PAGE_DESTINATIONS,
    PLAIN_DESTINATIONS,
    Message,
    Scope,
    is_plain,
    may_be_page,
    request_of,
    told_by_browser,
)
from .shell import now_in_microseconds
from .visitor import BlankVisit

if TYPE_CHECKING:
    from .asgi import ReveMiddleware

Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class LazyRequest(StarletteRequest):
    """Starlette's request, which makes most of itself when it is looked at: many callables look at the scope alone."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __getattr__(self, name: str) -> Any:
        """What Starlette's own `__init__` makes."""
        if name.startswith("__") or "_receive" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__init__(self.scope)
        return getattr(self, name)


class Exchange:
    """One request and its response: the messages on their way to the server. Filled where it is made."""

    __slots__ = (
        "_finder",
        "_going",
        "_growing",
        "_last",
        "_passed",
        "_tag",
        "cookie",
        "destination",
        "held",
        "pass_on",
        "route",
        "scope",
        "shell",
        "visit",
    )

    shell: ReveMiddleware
    scope: Scope
    visit: BlankVisit
    pass_on: Send
    """The server's `send`."""
    route: Route
    cookie: bytes | None
    """The one `Cookie` header value with our names in it; b"" where there are two."""
    destination: bytes | None
    """`Sec-Fetch-Dest`. On a route that is off neither is looked for, as long as the view says nothing."""
    _finder: HeadFinder | None
    _last: bytes
    """The body of the last message that waits for the head."""
    _tag: bytes | None
    """None while something is on its way before which nothing may go: what is sent meanwhile waits."""
    _going: bool
    """Is it? Otherwise whoever sends next sends all that waits (a cancelled task may have left it)."""
    held: list[Message] | Literal[False] | None
    """None before the start; the messages that wait for the head to be found, the start among them where the tag
    changes it; otherwise False: what comes is passed on."""

    def __deepcopy__(self, _: Any) -> Exchange:
        return self  # an application may copy what holds its `send`, and is still in the same request

    @mark_coroutine_function
    def send(self, message: Message) -> Awaitable[None]:
        """What the application sees as `send`. It hands on the server's own awaitable, or a coroutine of ours: the
        application may make a task of it."""
        held = self.held
        if held is False:
            pass_on = self.pass_on  # in two steps: a slot that is called at once is looked up at length
            return pass_on(message)
        if held is not None:
            return self._more(message, held)
        if message["type"] != "http.response.start":
            return self.pass_on(message)
        self.held = False
        shell = self.shell
        if self.route is NOWHERE:
            visit = self.visit
            if visit.enabled is None and not visit.signed_out:
                pass_on = self.pass_on
                return pass_on(message)
            self.cookie, self.destination = told_by_browser(self.scope, shell._ids_cookie)
        asked = None if self.cookie is None else self._look(self.cookie, message)
        if asked is None:
            destination = self.destination
            if not shell._injects or destination not in PAGE_DESTINATIONS:
                return self.pass_on(message)
            if destination is None and not may_be_page(message):
                return self.pass_on(message)
        return self._start(message, asked)

    def request(self) -> Request:
        return request_of(self.scope, self.visit.path, self.visit.mount)

    def _look(self, cookie: bytes, start: Message) -> dict[str, Any] | None:
        """None where there is nothing to say to a visitor with a chat; otherwise what has been asked for that."""
        shell = self.shell
        try:
            if self.destination not in PLAIN_DESTINATIONS or not is_plain(start.get("headers")):
                return NOTHING_ASKED
            return shell._core.quiet.look(
                cookie, self.route, self.visit, shell._callables.ask_at_once, LazyRequest(self.scope)
            )
        except Exception as error:
            shell._notes.fault(error)
            return None

    def _start(self, message: Message, asked: dict[str, Any] | None) -> Awaitable[None]:
        """The start message of what may be a page, or of a response to a chat that may have something to hear."""
        headers = message.get("headers", ())
        if type(headers) is not list:
            given, headers = headers, list(headers)
            if type(given) is not tuple:  # it may be one that can be read once
                message = {**message, "headers": headers}
        if asked is not None:
            self.held, self._tag, self._going = [], None, False
            return self._go_the_whole_way(message, headers, asked)
        shell, scope = self.shell, self.scope
        try:
            page = shell._core.page(
                scope["method"],
                self.destination,
                scope.get("headers", ()),
                message["status"],
                headers,
                self.visit,
                self.route,
                self.request,
            )
            if isinstance(page, Note):
                shell._perform(page)
                page = None
        except Exception as error:
            shell._notes.fault(error)
            page = None
        return self.pass_on(message) if page is None else self._hold(message, page)

    async def _go_the_whole_way(self, message: Message, headers: Headers, asked: dict[str, Any]) -> None:
        shell, waiting = self.shell, self.held
        assert isinstance(waiting, list)  # noqa: S101
        outgoing = Outgoing(headers, None)
        self._going = True
        try:
            start = Start(message["status"], headers)
            flow = shell._core.response(self.request(), start, self.visit, now_in_microseconds())
            outgoing = await shell._drive(flow, self.scope, None, asked)
        except Exception as error:
            shell._notes.fault(error)
        except BaseException:
            self.held = False  # the application may start anew
            raise
        self._going = False
        if outgoing.headers is not headers:
            message = {**message, "headers": outgoing.headers}
        if outgoing.page is None:
            waiting.insert(0, message)
            await self._send_held()
        else:
            for sending in [self._hold(message, outgoing.page), *map(self.send, waiting)]:
                await sending

    def _hold(self, start: Message, page: Page) -> Awaitable[None]:
        """Hold the start of a page if the tag changes it, and look for the head from now on."""
        self._tag, self._growing = page
        self._finder = None
        if self._growing:  # whether they do depends on whether there is a head
            self.held = [start]
            return _nothing()
        self.held = []
        return self.pass_on(start)

    def _more(self, message: Message, held: list[Message]) -> Awaitable[None]:
        """The next message while the head is looked for."""
        tag = self._tag
        if tag is None:
            held.append(message)
            return self._send_held()
        finder = self._finder
        if finder is not None and held and held[-1] is message:
            held[-1] = {**message, "body": self._last, "more_body": True}  # the application fills one dict anew
        body = message.get("body", b"")
        if type(body) is not bytes or message["type"] != "http.response.body":
            return self._give_up(message)
        beginning = self.shell._beginning
        grown = beginning.with_tag(body, tag) if finder is None else None
        if grown is None:
            if finder is None:
                finder = self._finder = HeadFinder()
                self._passed = 0
            found = finder.feed(body, last=not message.get("more_body", False))
            if found == HeadFinder.MORE:
                held.append(message)
                self._last = body
                self._passed += len(body)
                return _nothing()
            if found == HeadFinder.NONE:
                self.shell._notes.no_head(finder, self.destination == b"document")
                return self._give_up(message)
            at = found - self._passed  # it ends in this piece: otherwise it would have been found before
            if self._passed == 0:
                beginning.learn(body[:at])
            grown = body[:at] + tag + body[at:]
        if self._growing:
            start = held[0]
            held[0] = {**start, "headers": with_tag(start["headers"], self._growing, len(tag))}
        held.append({**message, "body": grown})
        return self.release()

    def _give_up(self, message: Message) -> Awaitable[None]:
        """Send what is held, and this message as it is."""
        self.held.append(message)  # type: ignore[union-attr]
        return self.release()

    def release(self) -> Awaitable[None]:
        """Send what is held, and hold nothing more."""
        if self._tag is not None:
            self._tag, self._going = None, False
        return self._send_held()

    async def _send_held(self) -> None:
        """Send what is held, and what other tasks send meanwhile behind it; nothing where that is being done, or where
        the head is looked for."""
        held = self.held
        if not held or self._going or self._tag is not None:
            return
        self._going = True
        sent = 0
        try:
            for message in held:
                sent += 1
                await self.pass_on(message)
        except Exception:
            self.held = False
            raise
        except BaseException:  # cancelled: whoever sends next goes on behind this message
            del held[:sent]
            self._going = False
            raise
        self.held = False


async def _nothing() -> None:
    """There is nothing to wait for."""
