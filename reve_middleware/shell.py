"""What both shells are: a core, a sender, the callables and the notes, made from one set of keywords."""

from __future__ import annotations

import inspect
import sys
import time
from typing import Any, Unpack

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

    def __init__(self, app: Any, **keywords: Unpack[Keywords]) -> None:
        """Raises `SettingsError` where a keyword is missing or wrong; see the README's table."""
        try:
            _check_application(app, self)
        except SettingsError:
            keywords.clear()  # type: ignore[attr-defined]  # error trackers show the locals of frames
            raise
        self.app = app
        self._settings = _settings(keywords, self.protocol)
        self._notes = Notes()
        self._sender: Sender | HandOff = (
            Sender(self._settings) if self._settings.handoff is None else HandOff(self._settings.handoff, self._notes)
        )
        self._core = Core(self._settings, Memory(self._sender.is_lost, self._sender.last_at))
        self._callables = Callables(self._settings, self._notes)
        self._within = f"{self._settings.path}/"
        self._injects = self._settings.inject
        self._beginning = Beginning()
        self._all_alike = self._settings.routes.all_alike
        self._ids_cookie_text = self._settings.cookies.ids_name.decode()
        self._ids_cookie = self._settings.cookies.ids_name
        self._begun = self._settings.outbox is None
        """Has what a killed process left in the outbox been looked for?"""
        if self._settings.dev:
            self._notes.say("dev")
        if _is_uwsgi_without_threads():
            self._notes.say("uwsgi")

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


def _is_uwsgi_without_threads() -> bool:
    """Until 2.0.26 uWSGI starts Python without threads unless it is told to. It brings its module along."""
    uwsgi = sys.modules.get("uwsgi")
    options, version = getattr(uwsgi, "opt", None), getattr(uwsgi, "version_info", (9,))
    if not isinstance(options, dict) or version[:3] >= (2, 0, 27) or "threads" in options:
        return False
    enabled = options.get("enable-threads", b"no")  # True where it has no value
    return isinstance(enabled, bytes) and enabled.lower() in (b"no", b"off", b"false", b"0")


def _check_application(app: Any, shell: Shell) -> None:
    if not callable(app):
        article = {"ASGI": "an", "WSGI": "a"}[shell.protocol]
        raise SettingsError(
            f"the application is a {type(app).__name__}: it must be {article} {shell.protocol} application"
        )
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return
    if shell.protocol == "ASGI" and _takes(signature, 2) and not _takes(signature, 3):
        raise SettingsError("the application is called like a WSGI one: wrap it in ReveWSGIMiddleware")
    if shell.protocol == "WSGI" and (is_async(app) or (_takes(signature, 3) and not _takes(signature, 2))):
        raise SettingsError("the application is called like an ASGI one: wrap it in ReveMiddleware")


def _takes(signature: inspect.Signature, arguments: int) -> bool:
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True
