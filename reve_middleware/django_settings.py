"""`REVE` in Django's settings: the keywords in capitals, callables also as import strings; and its system checks.

Callables run where Django runs code of their kind. Under ASGI a sync one runs in the request's own thread, as
Django's sync views do, so that it uses the connection that Django closes; under WSGI an async one runs as Django's
async views do. Both have their 2 s where anything can be cut short.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings  # type: ignore[import-untyped, import-not-found, unused-ignore]
from django.core.checks import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    CheckMessage,
    Error,
    Warning,
)
from django.db import connections  # type: ignore[import-untyped, import-not-found, unused-ignore]
from django.utils.module_loading import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    import_string,
)

from .arguments import own_signature
from .asking import ASK_SECONDS, is_async
from .bot import Bot
from .errors import SettingsError
from .settings import Keywords, Settings, closest_keyword

MIDDLEWARE = "reve_middleware.django.ReveMiddleware"
IMPORTED = ("PROFILE", "IDENTITY", "CONSENT", "PAYLOAD", "HANDOFF", "CLIENT", "ON_RESULT")
"""Keys whose text may name a callable. Not TOKEN: a token is text itself."""
OF_THE_REQUEST = ("PROFILE", "IDENTITY", "CONSENT", "HANDOFF")
"""Callables that run while a request waits for them."""
NEEDED = 'it must be a dict such as {"WEBHOOK_URL": "https://…", "PROFILE": "site.reve.profile"}'


# The keywords ----------------------------------------------------------------------------------


class Unshown(str):
    """Text that Django's error pages and error mails, which list the settings, show as they show a password. They know
    a secret by its key's name (`TOKEN`, `SECRET_KEY`); a webhook's link they would print."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********************'"


def keywords(under_asgi: bool) -> dict[str, Any]:
    """`REVE` as the keywords of the shells. Raises `SettingsError`; no frame that it passes holds a secret."""
    _check_keys()
    given = _given()
    if isinstance(given, dict) and type(given.get("WEBHOOK_URL")) is str:
        given["WEBHOOK_URL"] = Unshown(given["WEBHOOK_URL"])
    imported = {key: _imported(key) for key in IMPORTED if _names_a_callable(key)}
    return {key.lower(): _adapted(key, imported.get(key, value), under_asgi) for key, value in _given().items()}


def complaint_of(error: SettingsError) -> str:
    """What is wrong, in the words of Django's settings."""
    name = re.match(r"\w*", str(error))[0]  # type: ignore[index]
    return f'REVE["{name.upper()}"]{str(error)[len(name) :]}' if name in Keywords.__annotations__ else str(error)


def _given() -> Mapping[str, Any]:
    given = getattr(settings, "REVE", None)
    return {} if given is None else given


def _check_keys() -> None:
    kind = type(_given())
    if not issubclass(kind, Mapping):
        raise SettingsError(f"REVE is a {kind.__name__}: {NEEDED}")
    for key in _given():
        if not isinstance(key, str) or not key.isupper() or key.lower() not in Keywords.__annotations__:
            meant = closest_keyword(str(key))
            raise SettingsError(f"REVE has no key {key!r}" + (f"; did you mean {meant.upper()!r}?" if meant else ""))


def _names_a_callable(key: str) -> bool:
    value = _given().get(key)
    return isinstance(value, str) and (key != "PAYLOAD" or "." in value)


def _imported(key: str) -> Any:
    name = _given()[key]
    try:
        return import_string(name)
    except ImportError as error:
        complaint = f'REVE["{key}"]={name!r} cannot be imported: {error}'
    raise SettingsError(complaint)


# Where callables run ---------------------------------------------------------------------------


def _adapted(key: str, value: Any, under_asgi: bool) -> Any:
    if key in OF_THE_REQUEST and callable(value) and not (under_asgi and is_async(value)):
        return _named(_on_the_loop(value) if under_asgi else _in_place(value), value)
    if key == "TOKEN" and callable(value) and not is_async(value):
        return _named(_with_connections_closed(value), value)
    if key == "BOTS" and isinstance(value, (list, tuple)):
        return [_with_token(bot) if isinstance(bot, Bot) and callable(bot.token) else bot for bot in value]
    return value


def _with_token(bot: Bot) -> Bot:
    return replace(bot, token=_adapted("TOKEN", bot.token, under_asgi=False))


def _named(adapted: Any, function: Any) -> Any:
    """Complaints name the application's function, and its arguments."""
    adapted.__name__ = getattr(function, "__name__", type(function).__name__)
    signature = own_signature(function)
    if signature is not None:
        adapted.__signature__ = signature
    return adapted


def _on_the_loop(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A sync callable for ASGI: in the request's thread."""

    def called(argument: Any) -> Any:
        try:
            return function(argument)
        except StopIteration:
            raise RuntimeError("StopIteration") from None  # a future refuses it, and who waits would wait for ever

    in_thread = sync_to_async(called, thread_sensitive=True)

    async def call(argument: Any) -> Any:
        value = await in_thread(argument)
        return await value if inspect.isawaitable(value) else value

    return call


def _in_place(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A callable for WSGI, sync or async."""

    def call(argument: Any) -> Any:
        value = function(argument)
        if not inspect.isawaitable(value):
            return value
        try:
            return async_to_sync(_in_time)(value)
        finally:
            if inspect.iscoroutine(value):
                value.close()  # where no event loop could be had

    return call


async def _in_time(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(ASK_SECONDS):
        return await awaitable


def _with_connections_closed(function: Callable[[], Any]) -> Callable[[], Any]:
    """A token's callable runs in a thread of ours, whose connections Django does not close."""

    def call() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    return call


# System checks ---------------------------------------------------------------------------------

COMPRESSION = ("gzip", "brotli", "zstd", "compress")
"""Words in the names of layers that compress."""
INSIDE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.auth.middleware.RemoteUserMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
)
"""Layers that answer by themselves, or that the visitor's look-up must pass."""
POLICY = ("django.middleware.csp.ContentSecurityPolicyMiddleware", "csp.middleware.CSPMiddleware")


def check_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """E001: there is no `REVE`; E002: something in it is wrong; W005: plain http in development."""
    try:
        made = Settings(keywords(under_asgi=False))
    except SettingsError as error:
        if getattr(settings, "REVE", None) is None:
            return [Error("REVE is missing from Django's settings", hint=f"REVE: {NEEDED}.", id="reve.E001")]
        return [Error(complaint_of(error), hint="docs/reference/keywords.md says what is right.", id="reve.E002")]
    if settings.DEBUG and not made.dev:
        text = 'DEBUG is on and REVE["DEV"] is not: over plain http no chat is captured.'
        return [Warning(text, hint='On a developer\'s machine: REVE = {…, "DEV": DEBUG}.', id="reve.W005")]
    return []


def check_order(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """W001: the middleware is missing; W002, W003, W004: compression, login or policy on its wrong side."""
    names = list(settings.MIDDLEWARE)
    own = next((number for number, name in enumerate(names) if _is(name, MIDDLEWARE)), None)
    if own is None:
        hint = f'Put "{MIDDLEWARE}" into MIDDLEWARE, before the layers of sessions and login.'
        return [Warning("ReveMiddleware is not in MIDDLEWARE.", hint=hint, id="reve.W001")]
    found = []
    for name in names[own + 1 :]:
        if any(word in name.lower() for word in COMPRESSION):
            text = f"{name} stands after ReveMiddleware: pages come here compressed, and no script can be put in."
            found.append(Warning(text, hint=f'Put "{name}" before "{MIDDLEWARE}".', id="reve.W002"))
        elif any(_is(name, policy) for policy in POLICY) and _counts_on_a_nonce():
            text = f"{name} stands after ReveMiddleware: a policy has only the nonces that its page uses."
            found.append(Warning(text, hint=f'Put "{name}" before "{MIDDLEWARE}".', id="reve.W004"))
    for name in names[:own]:
        if any(_is(name, inside) for inside in INSIDE):
            text = f"{name} stands before ReveMiddleware: it may answer what is meant for the middleware."
            found.append(Warning(text, hint=f'Put "{name}" after "{MIDDLEWARE}".', id="reve.W003"))
    return found


def check_deployment(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """W006, with `--deploy`: cookies go over plain http."""
    given = _given()
    if isinstance(given, Mapping) and given.get("DEV") is True:
        text = 'REVE["DEV"] is on: cookies go over plain http, without Secure and __Host-.'
        return [Warning(text, hint='REVE = {…, "DEV": False}.', id="reve.W006")]
    return []


def _is(name: str, other: str) -> bool:
    """Is this layer that one, or made of it?"""
    if name == other:
        return True
    try:
        layer, known = import_string(name), import_string(other)
    except ImportError:  # of a package that is not installed; or Django will say so itself
        return False
    return inspect.isclass(layer) and inspect.isclass(known) and issubclass(layer, known)


def _counts_on_a_nonce() -> bool:
    """Does the site's policy let scripts run for a nonce, but not for where they are?"""
    policy = getattr(settings, "SECURE_CSP", None) or getattr(settings, "CONTENT_SECURITY_POLICY", None) or {}
    policy = policy.get("DIRECTIVES", policy)
    for directive in ("script-src-elem", "script-src", "default-src"):
        if directive in policy:
            sources = [str(source).lower() for source in policy[directive]]
            trusts_hosts = "'self'" in sources and "'strict-dynamic'" not in sources
            return not trusts_hosts and any("nonce" in source for source in sources)
    return False
