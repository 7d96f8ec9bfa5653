"""Where the adapter stands among Django's layers: sync and async ones, login walls, CSRF, compression, caches."""

import asyncio
import gzip
import logging
from collections.abc import Iterator
from typing import Any

import django
import pytest
from asgiref.sync import iscoroutinefunction
from django.core import mail
from django.core.signals import request_finished
from django.http import Http404, HttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings
from django_world import LAYERS, OURS, Kind, with_people
from drive import HOST, PAGE, said
from test_django_users import profile, site
from test_table import TAG

from reve_middleware import capture
from reve_middleware.django import ReveMiddleware as Adapter

TAGGED = PAGE.replace(b"<head>", b"<head>" + TAG)
SYNC, ASYNC = "django_layers.sync_only", "django_layers.async_only"
WALL = "django.contrib.auth.middleware.LoginRequiredMiddleware"


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    with_people()
    kind = Kind(request.param)
    yield kind
    kind.close()


def view(request: Any) -> HttpResponse:
    if request.path_info == "/_reve/session":
        raise Http404
    return HttpResponse(PAGE)


def ada(request: Any) -> dict[str, Any]:
    return {"id": 1, "path": request.path}


async def aada(request: Any) -> dict[str, Any]:
    return {"id": 1, "path": request.path}


# A mixed chain ---------------------------------------------------------------------------------


MIXED = [[OURS, SYNC], [SYNC, OURS], [ASYNC, OURS, SYNC], [SYNC, ASYNC, OURS, ASYNC]]


@pytest.mark.parametrize("layers", MIXED, ids=range(4))
@pytest.mark.parametrize("profile", [ada, aada])
def test_a_mixed_chain(kind: Kind, layers: list[str], profile: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With layers that are only sync or only async inside or outside of it, the adapter does the same."""
    visitor = kind.visitor(view, layers, profile=profile)
    assert visitor.get("/").body == TAGGED
    assert visitor.capture().json == {"status": "queued"}
    assert [post.data["path"] for post in visitor.pushed()] == ["/_reve/session"]
    assert "__Host-reve-mark" in visitor.get("/page").cookies
    assert said(caplog) == []


def test_one_class_for_both_worlds() -> None:
    """The class says that it can do both, and takes the manner of what it is given."""

    async def aget_response(request: Any) -> Any: ...

    assert Adapter.sync_capable
    assert Adapter.async_capable
    assert iscoroutinefunction(Adapter(aget_response))
    assert not iscoroutinefunction(Adapter(lambda request: None))


# In front of the application -------------------------------------------------------------------


def test_the_capture_path_stands_before_login_walls_and_csrf(kind: Kind) -> None:
    """The bridge's report and its script are answered where every page wants a login and every POST a token."""
    visitor = kind.visitor(view, [*LAYERS, WALL], profile=lambda request: None)
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/_reve/bridge.js").status == 200
    with override_settings(LOGIN_URL="/login"):
        assert (visitor.get("/").status, visitor.get("/").header("location")) == (302, "/login?next=/")
    assert visitor.post("/").status == 403


def test_a_wall_of_the_sites_own(kind: Kind) -> None:
    """A layer that turns strangers away does not turn the bridge's report away; who is logged in is found behind it."""
    visitor = kind.visitor(view, [*LAYERS, "django_layers.wall"], profile=lambda request: None)
    assert visitor.get("/").status == 403
    assert visitor.capture().json == {"status": "anonymous"}


@pytest.mark.parametrize("subrequest", ["/_reve/session", "/missing"])
def test_the_look_up_makes_no_noise(
    kind: Kind, subrequest: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The internal GET finds no page: Django logs no "Not Found", and BrokenLinkEmailsMiddleware writes no letter."""

    def missing(request: Any) -> Any:
        raise Http404

    caplog.set_level(logging.INFO)
    layers = [OURS, "django.middleware.common.BrokenLinkEmailsMiddleware"]
    locmem = "django.core.mail.backends.locmem.EmailBackend"
    managers = ["ada@shop.example"] if django.VERSION >= (6,) else [("Ada", "ada@shop.example")]
    with override_settings(MANAGERS=managers, EMAIL_BACKEND=locmem):
        monkeypatch.setattr(mail, "outbox", [], raising=False)
        visitor = kind.visitor(missing, layers, profile=ada, subrequest=subrequest)
        assert visitor.capture(referer=f"https://{HOST}/").json == {"status": "queued"}
        assert (caplog.records, mail.outbox) == ([], [])
        visitor.get("/x", referer=f"https://{HOST}/")
        assert [record.getMessage() for record in caplog.records] == ["Not Found: /x"]
        assert len(mail.outbox) == 1


def test_layers_outside_are_seen_in_the_look_up(kind: Kind) -> None:
    """What a layer outside of ours has put on the request is on the internal GET as well; what the report itself is
    (its body, its form, its path) is not."""
    seen: list[Any] = []

    def profile(request: Any) -> Any:
        seen.append((request.tenant, request.method, request.path, dict(request.GET), request.body, request.user.pk))
        return {"id": 1}

    layers = ["django_layers.tenant", "django_layers.reads_everything", *LAYERS]
    visitor = kind.visitor(view, layers, profile=profile, subrequest="/me?full=1")
    visitor.mount = "/shop"
    assert visitor.capture().json == {"status": "queued"}
    assert seen == [("blue", "GET", "/shop/me", {"full": ["1"]}, b"", None)]


def test_a_session_outside_is_the_same_in_the_look_up(kind: Kind) -> None:
    """Even where sessions and login stand outside of ours the visitor is found."""
    layers = [layer for layer in LAYERS if layer != OURS]
    visitor = kind.visitor(site, [*layers, OURS], profile=profile)
    visitor.get("/login?ada")
    assert visitor.capture().json == {"status": "queued"}


def test_cookies_of_the_look_up(kind: Kind) -> None:
    """A session that the internal GET prolongs stays prolonged, where somebody was found."""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        visitor = kind.visitor(site, profile=profile)
        assert list(visitor.capture().cookies) == ["__Host-reve"]
        visitor.get("/login?ada")
        reply = visitor.capture()
    assert list(reply.cookies) == ["sessionid", "__Host-reve", "__Host-reve-mark"]
    assert "; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax" in reply.cookies["sessionid"]


def test_the_request_is_over_once(kind: Kind) -> None:
    """The internal GET tells Django neither that a request began nor that one is over; what its answer had open is
    closed."""
    closed, finished = [], []

    def opens(request: Any) -> HttpResponse:
        response = HttpResponse(PAGE)
        response._resource_closers += [lambda: closed.append(request.method), lambda: 1 / 0]
        return response

    def note(**_: Any) -> None:
        finished.append(closed.copy())

    visitor = kind.visitor(opens, [OURS], profile=ada)
    request_finished.connect(note)
    try:
        visitor.capture()
    finally:
        request_finished.disconnect(note)
    assert (closed, finished) == (["GET"], [["GET"]])


def test_a_look_up_that_raises(kind: Kind) -> None:
    """Where Django lets exceptions through, one of the look-up is swallowed, and the profile asked all the same."""

    def raises(request: Any) -> Any:
        raise LookupError

    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True):
        assert kind.visitor(raises, [OURS], profile=ada).capture().json == {"status": "queued"}


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal GET that does not come back in 5 s knows nobody; the chat is kept."""
    assert capture.LOOK_UP_SECONDS == 5.0
    monkeypatch.setattr(capture, "LOOK_UP_SECONDS", 0.05)
    kind = Kind("django-asgi")

    async def hangs(request: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    reply = kind.visitor(hangs, [OURS], profile=ada).capture()
    assert (reply.json, list(reply.cookies)) == ({"status": "anonymous"}, ["__Host-reve"])
    kind.close()


# Order -----------------------------------------------------------------------------------------

GZIP, ETAG = "django.middleware.gzip.GZipMiddleware", "django.middleware.http.ConditionalGetMiddleware"
LONG = PAGE.replace(b"</body>", b"x" * 500 + b"</body>")


def test_compression_outside(kind: Kind) -> None:
    """Outside of ours compression gets the page with its tag."""
    reply = kind.visitor(lambda request: HttpResponse(LONG), [GZIP, OURS]).get("/", accept_encoding="gzip")
    assert reply.header("content-encoding") == "gzip"
    assert gzip.decompress(reply.body) == LONG.replace(b"<head>", b"<head>" + TAG)


def test_compression_inside(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """Inside of ours it hides the page: it passes untouched, and the log says how to order the layers."""
    reply = kind.visitor(lambda request: HttpResponse(LONG), [OURS, GZIP]).get("/", accept_encoding="gzip")
    assert gzip.decompress(reply.body) == LONG
    assert [code for code, _ in said(caplog)] == ["encoded"]


@pytest.mark.parametrize("layers", [[OURS, ETAG], [ETAG, OURS]], ids=["inside", "outside"])
def test_conditional_requests(kind: Kind, layers: list[str]) -> None:
    """A page's ETag, made inside or outside of ours, brings a 304 the second time."""
    visitor = kind.visitor(view, layers)
    etag = visitor.get("/").header("etag")
    assert etag is not None
    again = visitor.get("/", if_none_match=etag)
    assert (again.status, again.body) == (304, b"")


def test_a_layer_that_returns_no_response() -> None:
    """Where a layer inside of ours forgets its response, it is Django that will say so, and not we."""
    request = RequestFactory().get("/", headers={"Cookie": "a=b"})
    assert Adapter(lambda request: None)(request) is None
