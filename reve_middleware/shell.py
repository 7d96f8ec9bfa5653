"""What both shells are: a core, a sender, the callables and the notes, made from one set of keywords."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Never, Unpack

from . import server
from .application import OfTheApplication, check_application, is_inside_itself
from .asking import Callables, is_async
from .errors import SettingsError
from .exchange import Core
from .handoff import HandOff
from .handover import Memory
from .inject import Beginning
from .messages import Discard, Note, Offer, Verb
from .notes import Notes
from .sender import Sender
from .settings import Keywords, Settings


class Shell:
    """Holds an application and what it takes to serve it. Building it starts nothing."""

    protocol = ""

    if not TYPE_CHECKING:  # a type checker says it by itself
        route, get, post, run, mount, config = (OfTheApplication() for _ in range(6))
        add_middleware, middleware, include_router, exception_handler = (OfTheApplication() for _ in range(4))
        add_url_rule, register_blueprint, before_request, test_client = (OfTheApplication() for _ in range(4))

    def __init__(self, app: Any, *misplaced: Never, **keywords: Unpack[Keywords]) -> None:
        """Raises `SettingsError` where a keyword is missing or wrong; see docs/reference/keywords.md."""
        try:
            check_application(app, type(self).__name__, self.protocol, len(misplaced))
        except SettingsError:
            misplaced = ()
            keywords.clear()  # type: ignore[attr-defined]  # error trackers show the locals of frames
            raise
        self.app = app
        self._settings = _settings(keywords, self.protocol)
        self._notes = Notes()
        self._sender: Sender | HandOff = (
            Sender(self._settings) if self._settings.handoff is None else HandOff(self._settings.handoff, self._notes)
        )
        self._core = Core(self._settings, Memory(self._sender.outdates))
        self._callables = Callables(self._settings, self._notes)
        self._within = f"{self._settings.path}/"
        self._injects = self._settings.inject
        self._beginning = Beginning()
        self._all_alike = self._settings.routes.all_alike
        self._ids_cookie_text = self._settings.cookies.ids_name.decode()
        self._ids_cookie = self._settings.cookies.ids_name
        self._begun = self._settings.outbox is None
        """Has what a killed process left in the outbox been looked for?"""
        self._stands_down = False
        if self._settings.dev:
            self._notes.say("dev")
        if server.is_uwsgi_without_threads():
            self._notes.say("uwsgi")
        workers = server.workers()
        if workers > 1 and self._settings.outbox is None and self._settings.handoff is None:
            self._notes.say("workers", str(workers))
        for page in self._settings.routes.single_pages:
            self._notes.say("one_page", repr(page))

    def stats(self) -> dict[str, Any]:
        """Counts of pushes offered, delivered, dropped by reason and waiting; each bot's state."""
        return self._sender.stats()

    def close(self, seconds: float = 2.0) -> None:
        """Deliver what waits, for at most so many seconds. Servers that run lifespan or `atexit` need
        no call; a later push works all the same."""
        self._sender.close(seconds)

    def __repr__(self) -> str:
        app = type(getattr(self, "app", None)).__name__  # a traceback may show it before it is built
        return f"<{type(self).__name__} around {app}, {getattr(self, '_settings', None)!r}>"

    def _stand_down(self, visit: Any) -> None:
        """A layer of ours is outside of this one; said once, and `_stands_down` keeps it from being looked at again."""
        if visit is not None and visit.is_of(self._core):
            complaint = is_inside_itself(self)
            if complaint:
                raise SettingsError(complaint)
        else:
            self._notes.say("inner")
        self._stands_down = True

    def _begin(self) -> None:
        self._begun = True
        self._sender.begin()

    def _perform(self, verb: Verb) -> Any:
        """The verbs that neither wait nor need the request."""
        match verb:
            case Offer(push):
                return self._sender.offer(push)
            case Discard(key):
                return self._sender.let_go(key, now_in_microseconds())
            case Note(code, detail):
                return self._notes.say(code, detail)
        raise AssertionError(f"a verb no shell knows: {type(verb).__name__}")


def _settings(keywords: Any, protocol: str) -> Settings:
    """The settings; a mistake is raised from here, where no frame holds a secret any more."""
    try:
        settings = Settings(keywords)
        for name in ("profile", "identity", "consent", "handoff"):
            if protocol == "WSGI" and is_async(getattr(settings, name)):
                raise SettingsError(f"{name}= is async, and WSGI has no event loop: pass a plain function")
        return settings
    except SettingsError as error:
        complaint = str(error)
    keywords.clear()
    raise SettingsError(complaint)


def now_in_microseconds() -> int:
    """The wall clock, as cookies and marks carry it."""
    return time.time_ns() // 1000
