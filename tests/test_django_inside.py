"""The adapter with the plain wrappers, with itself, and in a process: one layer at a time, one sender for all."""

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django_world import LAYERS, OURS, AsgiSite, Kind, WsgiSite, in_capitals
from drive import HOST, KEYWORDS, PAGE, Call, Visitor, Watched, scope_of
from test_table import TAG

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, identify

TAGGED = PAGE.replace(b"<head>", b"<head>" + TAG)


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind = Kind(request.param)
    yield kind
    kind.close()


def view(request: Any) -> HttpResponse:
    return HttpResponse(PAGE)


def wrapped(kind: Kind, site: Any, **keywords: Any) -> Visitor:
    made = ReveMiddleware if kind.under_asgi else ReveWSGIMiddleware
    layer = made(site, **{**KEYWORDS, "client": kind.webhook, **keywords})
    kind._built.append(layer)
    return Visitor(layer, kind)


def says_who(request: Any) -> HttpResponse:
    identify({"id": 7})
    return HttpResponse(PAGE)


@pytest.mark.parametrize("layers", [[], [OURS], [OURS, OURS]], ids=["alone", "with the adapter", "and another"])
def test_the_plain_wrapper_around_django(kind: Kind, layers: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """`ReveMiddleware(get_asgi_application(), …)` works, alone or with the adapter inside, which then stands down."""
    site = (AsgiSite if kind.under_asgi else WsgiSite)(says_who, layers=layers, reve=in_capitals(KEYWORDS))
    visitor = wrapped(kind, site)
    assert visitor.get("/").body == TAGGED
    visitor.capture()
    assert [len(visitor.get(path).values("set-cookie")) for path in ("/", "/")] == [0, 0]
    assert [post.data for post in visitor.pushed()] == [{"id": 7}]
    assert site.shell is None or site.stats()["offered"] == 0


def test_the_adapter_twice(kind: Kind) -> None:
    """Listed twice it works once."""
    visitor = kind.visitor(says_who, [OURS, *LAYERS])
    assert visitor.get("/").body == TAGGED
    assert visitor.capture().json == {"status": "queued"}
    assert visitor.get("/").values("set-cookie") == []
    assert visitor.middleware.stats()["offered"] == 1


def test_one_request_after_another_on_one_connection() -> None:
    """A request that is over does not make the next one's adapter stand down, where a server runs it in the same
    context."""
    site = AsgiSite(view, layers=[OURS], reve=in_capitals(KEYWORDS))

    async def both() -> list[bytes]:
        bodies = []
        for _ in range(2):
            got: list[Any] = []

            async def send(message: Any, got: list[Any] = got) -> None:
                got.append(message)

            requests = iter([{"type": "http.request"}])

            async def receive(requests: Any = requests) -> Any:
                return next(requests, None) or await asyncio.get_running_loop().create_future()

            await site(scope_of(Call(headers=[("Host", HOST)])), receive, send)
            bodies.append(b"".join(message.get("body", b"") for message in got))
        return bodies

    assert asyncio.run(both()) == [TAGGED, TAGGED]


def test_django_after_another_site_with_the_same_scope(caplog: pytest.LogCaptureFixture) -> None:
    """Who asks another site first, which has a layer of its own, and Django where that has no such page, asks both with
    the same scope: the adapter is not inside of what is over."""
    kind = Kind("django-asgi")
    django = AsgiSite(view, layers=[OURS], reve=in_capitals({**KEYWORDS, "client": kind.webhook}))

    async def has_none(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    first = wrapped(kind, has_none).middleware

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(LookupError):
            await first(scope, receive, send)
        await django(scope, receive, send)

    visitor = Visitor(dispatch, kind)
    assert [visitor.get("/", sec_fetch_dest=one).body for one in ("document", "iframe")] == [TAGGED, TAGGED]
    assert caplog.records == []
    kind.close()


@pytest.mark.filterwarnings("ignore:async_to_sync was passed a non-async-marked callable")
def test_django_inside_an_adapter_of_protocols() -> None:
    """Django's WSGI application inside a wrapped ASGI one, through asgiref: the adapter inside stands down."""
    kind = Kind("django-asgi")
    site = WsgiSite(says_who, layers=[OURS], reve=in_capitals(KEYWORDS))
    visitor = wrapped(kind, WsgiToAsgi(site))
    assert visitor.get("/").body == TAGGED
    assert visitor.capture().json == {"status": "queued"}
    assert (len(visitor.pushed()), site.stats()["offered"]) == (1, 0)
    kind.close()


def test_a_context_that_leaked(kind: Kind) -> None:
    """What runs on in the context of a request that is over has no layer of ours outside."""
    leaked: list[contextvars.Context] = []

    def remembers(request: Any) -> HttpResponse:
        leaked.append(contextvars.copy_context())
        return HttpResponse(PAGE)

    kind.visitor(remembers, [OURS]).get("/")
    assert leaked[0].run(Kind("django-wsgi").visitor(view, [OURS]).get, "/").body == TAGGED


def test_copied_contexts_keep_no_profile(kind: Kind) -> None:
    """What a view, or a server's timer, takes along of the request's context holds no profile afterwards."""
    copied: list[contextvars.Context] = []
    seen: list[Any] = []

    def says_and_copies(request: Any) -> HttpResponse:
        said = Watched(id=7)
        identify(said)
        seen.append(weakref.ref(said))
        copied.append(contextvars.copy_context())
        return HttpResponse(PAGE)

    visitor = kind.visitor(says_and_copies, [OURS])
    visitor.capture()
    visitor.get("/")
    assert [post.data for post in visitor.pushed()] == [{"id": 7}]
    gc.collect()  # Django's request and response refer to each other
    assert len(copied) == 2
    assert [one() for one in seen] == [None, None]


def test_what_was_left_is_looked_for_once(kind: Kind) -> None:
    """With an outbox the first request looks for what a killed process has left, be it for a page or a report."""
    visitor = kind.visitor(view, [OURS])
    shell, begun = visitor.middleware.shell, []
    shell._begun, shell._sender.begin = False, lambda: begun.append(1)
    visitor.get("/_reve/bridge.js")
    visitor.get("/")
    assert begun == [1]


def test_building_starts_nothing() -> None:
    """A thousand handlers, as suites make them, start no thread and share one sender."""
    with override_settings(MIDDLEWARE=[OURS]):
        before = set(threading.enumerate())
        shells = {id(WSGIHandler()._middleware_chain.__wrapped__._shell) for _ in range(1000)}
        assert len(shells) == 1
        assert set(threading.enumerate()) <= before
