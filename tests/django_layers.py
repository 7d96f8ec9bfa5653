"""Layers for Django sites of the tests."""

import asyncio
import secrets
import sys
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponseForbidden
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject, empty

GetResponse = Callable[[Any], Any]

answered = threading.Event()
"""Has `says_when` had its response?"""


@sync_only_middleware
def sync_only(get_response: GetResponse) -> GetResponse:
    """A layer that Django has to carry over into a thread."""

    def layer(request: Any) -> Any:
        return get_response(request)

    return layer


@async_only_middleware
def async_only(get_response: GetResponse) -> GetResponse:
    async def layer(request: Any) -> Any:
        await asyncio.sleep(0)
        return await get_response(request)

    return layer


@sync_only_middleware
def logs_out_on_capture(get_response: GetResponse) -> GetResponse:
    """Ends the session of whoever comes by the look-up."""

    def layer(request: Any) -> Any:
        if request.path_info == "/_reve/session":
            logout(request)
        return get_response(request)

    return layer


@sync_and_async_middleware
def user_of_header(get_response: GetResponse) -> GetResponse:
    """A site's own way to say who it is."""
    return _around(get_response, lambda request: setattr(request, "user_of_header", request.headers.get("X-User")))


@sync_and_async_middleware
def tenant(get_response: GetResponse) -> GetResponse:
    return _around(get_response, lambda request: setattr(request, "tenant", "blue"))


@sync_and_async_middleware
def says_when(get_response: GetResponse) -> GetResponse:
    """Tells the test when the response comes by."""
    return _around(get_response, after=lambda response: answered.set())


@sync_only_middleware
def wall(get_response: GetResponse) -> GetResponse:
    """A login wall of the site's own: strangers see nothing but this."""

    def layer(request: Any) -> Any:
        return get_response(request) if request.user.is_authenticated else HttpResponseForbidden("the wall")

    return layer


def _nothing(_: Any) -> None:
    pass


def _around(
    get_response: GetResponse, before: Callable[[Any], None] = _nothing, after: Callable[[Any], None] = _nothing
) -> GetResponse:
    if iscoroutinefunction(get_response):

        async def alayer(request: Any) -> Any:
            before(request)
            response = await get_response(request)
            after(response)
            return response

        return alayer

    def layer(request: Any) -> Any:
        before(request)
        response = get_response(request)
        after(response)
        return response

    return layer


@sync_only_middleware
def reads_everything(get_response: GetResponse) -> GetResponse:
    """Looks at all of a request before anybody else does."""

    def layer(request: Any) -> Any:
        _ = request.body, request.POST, request.FILES, request.GET, request.COOKIES, request.headers
        return get_response(request)

    return layer


# A stand-in for `django.middleware.csp` of Django 6, for the Djangos that have none: written from its public
# documentation. `get_nonce(request)` is a lazy object, false until it is asked for; the policy's sentinel becomes the
# nonce if it was, and nothing if it was not.

SENTINEL = "<CSP_NONCE_SENTINEL>"


class LazyNonce(SimpleLazyObject):
    def __bool__(self) -> bool:
        return self._wrapped is not empty


def get_nonce(request: Any) -> Any:
    return getattr(request, "_csp_nonce", None)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    def process_request(self, request: Any) -> None:
        request._csp_nonce = LazyNonce(lambda: secrets.token_urlsafe(16))

    def process_response(self, request: Any, response: Any) -> Any:
        nonce = get_nonce(request)
        parts = []
        for directive, sources in settings.SECURE_CSP.items():
            said = [f"'nonce-{nonce}'" if one == SENTINEL else one for one in sources if one != SENTINEL or nonce]
            parts.append(" ".join([directive, *said]))
        response.headers.setdefault("Content-Security-Policy", "; ".join(parts))
        return response


def csp_of_django_6(get_response: GetResponse) -> Any:
    """Django's own, where there is one."""
    return sys.modules["django.middleware.csp"].ContentSecurityPolicyMiddleware(get_response)


csp_of_django_6.async_capable = True  # type: ignore[attr-defined]


class OwnSessions(SessionMiddleware):
    """A site's own kind of Django's sessions."""


def gzipped(get_response: GetResponse) -> GetResponse:
    return get_response
