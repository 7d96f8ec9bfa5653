"""The test kit's visitor with each client that people test their sites with."""

import asyncio
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from visiting import ADA, GRACE, Shop, address, reve
from werkzeug.test import Client

from reve_middleware import ReveWSGIMiddleware
from reve_middleware.sandbox.serving import serve_asgi
from reve_middleware.testing import AsyncVisitor, Reve, Visitor

__all__ = ["address", "reve"]


def goes_through_a_chat(shop: Shop, visitor: Visitor) -> None:
    """A stranger, who logs in, begins anew, and is forgotten."""
    assert (visitor.knows, visitor.session_id) == (None, None)
    assert visitor.chat() == "anonymous"
    assert visitor.knows is None
    first, shop.person = visitor.session_id, ADA
    assert visitor.chat() == "current", "the page's response has pushed it"
    assert visitor.knows == ADA
    assert visitor.session_id == first
    assert visitor.new_chat() == "queued"
    assert visitor.knows == ADA
    assert visitor.session_id != first
    assert visitor.forget() == "forgotten"


def test_starlettes_test_client(reve: Reve) -> None:
    """A TestClient, with or without lifespan, by http and by https."""
    shop = Shop()
    with TestClient(shop.asgi(**reve.settings)) as client:
        goes_through_a_chat(shop, reve.visitor(client))
    strict = Shop()
    site = strict.asgi(**{**reve.settings, "dev": False})
    goes_through_a_chat(strict, reve.visitor(TestClient(site, base_url="https://shop.example")))
    strict.person = None
    goes_through_a_chat(strict, reve.visitor(TestClient(site), secure=True))


def test_a_mounted_site(reve: Reve) -> None:
    """The page may be in a mount; the script and the report are where the page's tag says."""
    shop = Shop()
    site = Starlette(routes=[Mount("/shop", shop.asgi(**reve.settings))])
    goes_through_a_chat(shop, reve.visitor(TestClient(site), page="/shop/"))


def test_a_redirect_leads_to_the_page(reve: Reve) -> None:
    """A page may redirect to another one, as with a browser; with every client."""
    assert reve.visitor(TestClient(Shop().asgi(**reve.settings)), page="/old").chat() == "anonymous"
    assert reve.visitor(Client(Shop().wsgi(**reve.settings)), page="/old").chat() == "anonymous"


def test_httpx_with_a_wsgi_application(reve: Reve) -> None:
    """httpx.Client with WSGITransport."""
    shop = Shop()
    transport = httpx.WSGITransport(shop.wsgi(**reve.settings))  # type: ignore[arg-type]
    with httpx.Client(transport=transport, base_url="http://shop.example") as client:
        goes_through_a_chat(shop, reve.visitor(client))


def test_httpx_with_an_asgi_application(reve: Reve) -> None:
    """httpx.AsyncClient with ASGITransport: the same words, awaited."""
    shop = Shop()
    shop.person = ADA

    async def run() -> None:
        transport = httpx.ASGITransport(shop.asgi(**reve.settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            visitor = reve.visitor(client)
            assert isinstance(visitor, AsyncVisitor)
            assert await visitor.chat() == "queued"
            assert visitor.knows == ADA
            assert await visitor.new_chat() == "queued"
            assert await visitor.forget() == "forgotten"
            with pytest.raises(AssertionError, match="answered with 404"):
                await reve.visitor(client, page="/none").chat()

    asyncio.run(run())


def test_httpx_with_a_running_server(reve: Reve) -> None:
    """httpx.Client with the address of a server."""
    shop = Shop()
    with serve_asgi(shop.asgi(**reve.settings)) as url, httpx.Client(base_url=url) as client:
        goes_through_a_chat(shop, reve.visitor(client))


@pytest.mark.parametrize("config", [{}, {"APPLICATION_ROOT": "/old"}, {"SERVER_NAME": "shop.example:81"}])
def test_flasks_test_client(reve: Reve, config: dict[str, Any]) -> None:
    """app.test_client(), wherever the application says that it is."""
    shop = Shop()
    app = flask.Flask(__name__)
    app.config.update(config)
    app.add_url_rule("/", view_func=lambda: shop._body.decode())
    app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, profile=shop.profile, **reve.settings)  # type: ignore[method-assign]
    goes_through_a_chat(shop, reve.visitor(app.test_client()))


def test_werkzeugs_client(reve: Reve) -> None:
    """werkzeug.test.Client around any WSGI application; by https as well."""
    shop = Shop()
    goes_through_a_chat(shop, reve.visitor(Client(shop.wsgi(**reve.settings))))
    strict = Shop()
    goes_through_a_chat(strict, reve.visitor(Client(strict.wsgi(**{**reve.settings, "dev": False})), secure=True))


def test_djangos_clients(reve: Reve) -> None:
    """django.test.Client, and AsyncClient, whose visitor is awaited."""
    import django_world
    from django.test import AsyncClient
    from django.test import Client as DjangoClient
    from django.test.utils import override_settings

    shop = Shop()
    layers = [django_world.OURS]
    with override_settings(MIDDLEWARE=layers, REVE={**reve.django_settings, "PROFILE": shop.profile}):
        goes_through_a_chat(shop, reve.visitor(DjangoClient()))

    async def run() -> None:
        visitor = reve.visitor(AsyncClient())
        assert await visitor.chat() == "queued"
        assert visitor.knows == GRACE

    shop.person = GRACE
    with override_settings(MIDDLEWARE=layers, REVE={**reve.django_settings, "PROFILE": shop.profile}):
        asyncio.run(run())
    strict = {**reve.django_settings, "PROFILE": shop.profile, "DEV": False}
    with override_settings(MIDDLEWARE=layers, REVE=strict):
        assert reve.visitor(DjangoClient(), secure=True).chat() == "queued"


def test_a_browsers_headers(reve: Reve) -> None:
    """By https, and on this machine's own names, a browser says what a request is for; elsewhere it does not. The
    report always carries the page's Origin."""
    for base, says in (("http://shop.example", False), ("https://shop.example", True), ("http://localhost:8000", True)):
        seen: list[httpx.Headers] = []
        with TestClient(Shop().asgi(**reve.settings), base_url=base) as client:
            client.event_hooks = {"request": [lambda request, seen=seen: seen.append(request.headers)]}
            reve.visitor(client).chat()
        page, script, report = seen
        assert [headers.get("sec-fetch-dest") for headers in seen] == (
            ["document", "script", "empty"] if says else [None, None, None]
        )
        assert (page.get("sec-fetch-site"), report.get("sec-fetch-site")) == (
            ("none", "same-origin") if says else (None, None)
        )
        assert (report["origin"], report["x-reve-bridge"], report["content-type"]) == (base, "1", "application/json")
        assert script["referer"] == f"{base}/"


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (object(), "does not know what to do with a object: pass a TestClient of Starlette"),
        (httpx.Client(), "base_url="),
        (Client(Shop().bare_wsgi, use_cookies=False), "use_cookies=True"),
    ],
)
def test_clients_that_cannot_play_a_browser(reve: Reve, client: Any, words: str) -> None:
    """What is no client, knows no address or keeps no cookies is refused, with what would be right."""
    with pytest.raises(AssertionError, match=words):
        reve.visitor(client)


def test_a_page_is_a_path(reve: Reve) -> None:
    """`page=` begins with a slash."""
    with pytest.raises(AssertionError, match="page='account' is no path"):
        reve.visitor(TestClient(Shop().bare), page="account")
