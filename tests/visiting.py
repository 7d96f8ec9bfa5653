"""Small sites as their developers test them, with the test kit's stand-in on the other side.

def test_something(reve):                           # import both fixtures, `address` and `reve`
    shop = Shop()
    visitor = reve.visitor(TestClient(shop.asgi(**reve.settings)))
    shop.person = ADA
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware
from reve_middleware.testing import Reve
from reve_middleware.testing_standin import Address

ADA = {"id": 7, "name": "Ada"}
GRACE = {"id": 8, "name": "Grace"}
PAGE = "<!doctype html><html><head><title>Shop</title></head><body></body></html>"


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """One server for the tests of a module."""
    address = Address()
    yield address
    address.close()


@pytest.fixture
def reve(address: Address) -> Iterator[Reve]:
    """A stand-in that has heard nothing yet."""
    reve = Reve(address)
    yield reve
    reve.close()


class Shop:
    """A site of one page. Who is logged in is whoever the test says."""

    def __init__(self, body: str = PAGE, kind: str = "text/html; charset=utf-8", **headers: str) -> None:
        self.person: dict[str, Any] | None = None
        self._body = body.encode()
        self._headers = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
        if self._headers.get("content-encoding") == "gzip":
            self._body = gzip.compress(self._body)
        self.made: list[Any] = []

    def profile(self, request: Any) -> dict[str, Any] | None:
        return self.person

    def asgi(self, **keywords: Any) -> ReveMiddleware:
        self.made.append(ReveMiddleware(self.bare, profile=self.profile, **keywords))
        return self.made[-1]  # type: ignore[no-any-return]

    def wsgi(self, **keywords: Any) -> ReveWSGIMiddleware:
        self.made.append(ReveWSGIMiddleware(self.bare_wsgi, profile=self.profile, **keywords))
        return self.made[-1]  # type: ignore[no-any-return]

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/old":
            return 302, {"location": "/"}, b""
        return (200, self._headers, self._body) if path == "/" else (404, {"content-type": "text/plain"}, b"no")

    async def bare(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        status, headers, body = self._answer(scope["path"].removeprefix(scope.get("root_path", "")))
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def bare_wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = self._answer(environ["PATH_INFO"])
        start_response(f"{status} As It Is", [(name.title(), value) for name, value in headers.items()])
        return [body]


def in_front(site: Any, status: int, *, of: str, kind: str = "text/html") -> Any:
    """A layer outside of the site that answers requests whose path ends so itself."""

    async def layer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].endswith(of):
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
            await send({"type": "http.response.body", "body": b"Log in first."})
        else:
            await site(scope, receive, send)

    return layer
