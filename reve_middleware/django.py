"""The Django adapter: one middleware for WSGI and for ASGI.

    MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "reve_middleware.django.ReveMiddleware", …]
    INSTALLED_APPS = ["reve_middleware.django.ReveConfig", …]  # for its system checks
    REVE = {"WEBHOOK_URL": "https://…", "PROFILE": "site.reve.profile", …}

It does what the other two shells do, but `profile`, `identity` and `consent` get Django's own request, where the
user is. Sync ones may ask `request.user`, async ones `await request.auser()`, under either protocol. A user who is
logged out by Django is signed out here as well.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import AppConfig  # type: ignore[import-untyped, import-not-found, unused-ignore]
from django.contrib.auth.signals import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    user_logged_out,
)
from django.core import checks  # type: ignore[import-untyped, import-not-found, unused-ignore]
from django.core.signals import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    setting_changed,
)

from . import shell as clock
from .django_settings import check_deployment, check_order, check_settings, complaint_of
from .django_shell import DjangoShell
from .errors import ReveError, SettingsError
from .visitor import current_visit, sign_out


class ReveMiddleware:
    """For Django's `MIDDLEWARE`: outside of sessions, login and CSRF, inside of compression and of a policy with
    nonces. Its keywords stand under `REVE` in Django's settings. Raises `SettingsError` where one is missing or wrong.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        self._shell = _shell(self._is_async)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._answer(request)
        shell = self._shell
        if shell.stands_down(request):
            return self.get_response(request)
        if shell.is_own(request):
            return shell.drive(shell.own(request), request, self.get_response) or shell.unknown()
        visit = shell.visit(request, clock.now_in_microseconds())
        token = current_visit.set(visit)
        try:
            response = self.get_response(request)
            if shell.concerns(request, response):
                shell.drive(shell.outgoing(request, response, visit), request, self.get_response)
            return response
        finally:
            visit.end()
            current_visit.reset(token)

    async def _answer(self, request: Any) -> Any:
        """The same under ASGI."""
        shell = self._shell
        if shell.stands_down(request):
            return await self.get_response(request)
        if shell.is_own(request):
            return await shell.drive_async(shell.own(request), request, self.get_response) or shell.unknown()
        visit = shell.visit(request, clock.now_in_microseconds())
        token = current_visit.set(visit)
        try:
            response = await self.get_response(request)
            if shell.concerns(request, response):
                await shell.drive_async(shell.outgoing(request, response, visit), request, self.get_response)
            return response
        finally:
            visit.end()
            current_visit.reset(token)

    def __repr__(self) -> str:
        return repr(getattr(self, "_shell", None))


# One for each process --------------------------------------------------------------------------

_shells: dict[bool, DjangoShell] = {}


def middleware() -> DjangoShell:
    """What Django's middleware runs on in this process, for its `stats()` and `close()`. Raises `ReveError` where
    Django has not made it yet."""
    if not _shells:
        raise ReveError("Django has made no ReveMiddleware in this process yet")
    return list(_shells.values())[-1]


def _shell(under_asgi: bool) -> DjangoShell:
    if under_asgi not in _shells:
        try:
            _shells[under_asgi] = DjangoShell(under_asgi)
        except SettingsError as error:
            complaint = complaint_of(error)
        else:
            return _shells[under_asgi]
        raise SettingsError(complaint)
    return _shells[under_asgi]


def _other_settings(*, setting: str, **_: Any) -> None:
    """Tests override settings."""
    if setting == "REVE":
        _shells.clear()


def _logged_out(*, user: Any, **_: Any) -> None:
    """`django.contrib.auth.logout()` of somebody who was logged in."""
    if user is not None:
        sign_out()


class ReveConfig(AppConfig):  # type: ignore[misc, unused-ignore]
    """For Django's `INSTALLED_APPS`: `manage.py check` then looks at `REVE` and at the order of layers."""

    name = "reve_middleware.django"
    label = "reve_middleware"
    verbose_name = "REVE Chat"


setting_changed.connect(_other_settings, dispatch_uid="reve_middleware")
user_logged_out.connect(_logged_out, dispatch_uid="reve_middleware")
checks.register(check_settings, "reve")
checks.register(check_order, "reve")
checks.register(check_deployment, "reve", deploy=True)
