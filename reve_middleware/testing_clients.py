"""The clients that people test their sites with, as one: a browser's request in, its answer out.

Known by what they can do, so that no framework is imported here: httpx and what is built on it (the test clients of
Starlette, FastAPI, Litestar), Werkzeug and Flask, Django. Those of httpx and Django may be async.
"""

from __future__ import annotations

import gzip
import inspect
from typing import Any, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

KNOWN = (
    "a TestClient of Starlette, FastAPI or Litestar, a client of httpx, a test client of Flask or Werkzeug, "
    "or django.test.Client"
)


class Fetch(NamedTuple):
    """A request as a browser makes it."""

    method: str
    url: str
    """Absolute."""
    headers: dict[str, str]
    body: bytes = b""
    follow: bool = False
    """Redirects too?"""


class Page(NamedTuple):
    """What came of it."""

    url: str
    """After redirects."""
    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    """Unpacked, where the browser could."""


class Client(Protocol):
    """Keeps cookies, as a browser does."""

    base: str
    """The site's address, without a slash at its end."""

    def begin(self, fetch: Fetch) -> Any:
        """The client's own response; where the client is async, an awaitable of it."""
        ...

    def read(self, response: Any, fetch: Fetch) -> Page:
        """What the response says."""
        ...


def client_of(client: Any, secure: bool | None) -> tuple[Client, bool]:
    """The client behind its one face, and whether it is async. `secure`: https or http; None: as the client does."""
    kind = next((kind for kind in (_Httpx, _Werkzeug, _Django) if kind.fits(client)), None)
    if kind is None:
        raise AssertionError(f"reve.visitor() does not know what to do with a {type(client).__name__}: pass {KNOWN}")
    known = kind(client, secure)
    return known, _is_async(client)


def _is_async(client: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(client, "request", None))


class _Httpx:
    """httpx.Client, httpx.AsyncClient, and the test clients that are made of them."""

    @staticmethod
    def fits(client: Any) -> bool:
        return all(hasattr(client, name) for name in ("base_url", "cookies", "build_request"))

    def __init__(self, client: Any, secure: bool | None) -> None:
        self._client = client
        self.base = _with_scheme(str(client.base_url).rstrip("/"), secure)
        if not self.base:
            raise AssertionError("the visitor does not know where the site is: httpx.Client(base_url='http://…')")

    def begin(self, fetch: Fetch) -> Any:
        return self._client.request(
            fetch.method, fetch.url, headers=fetch.headers, content=fetch.body or None, follow_redirects=fetch.follow
        )

    def read(self, response: Any, fetch: Fetch) -> Page:
        return Page(str(response.url), response.status_code, _lower(response.headers.items()), response.content)


class _Werkzeug:
    """werkzeug.test.Client and Flask's."""

    @staticmethod
    def fits(client: Any) -> bool:
        return all(hasattr(client, name) for name in ("open", "application", "get_cookie"))

    def __init__(self, client: Any, secure: bool | None) -> None:
        self._client = client
        try:
            client.get_cookie("reve")
        except TypeError:  # its way to say so
            raise AssertionError("this client keeps no cookies, as a browser does: use_cookies=True") from None
        config = getattr(client.application, "config", {})
        scheme, host = config.get("PREFERRED_URL_SCHEME", "http"), config.get("SERVER_NAME") or "localhost"
        self._root = (config.get("APPLICATION_ROOT") or "/").strip("/")
        self.base = _with_scheme(f"{scheme}://{host}/{self._root}".rstrip("/"), secure)

    def begin(self, fetch: Fetch) -> Any:
        parts = urlsplit(fetch.url)
        return self._client.open(
            path=parts._replace(scheme="", netloc="", path=self._inside(parts.path)).geturl(),
            base_url=f"{parts.scheme}://{parts.netloc}/{self._root}",
            method=fetch.method,
            headers=fetch.headers,
            data=fetch.body,
            follow_redirects=fetch.follow,
        )

    def _inside(self, path: str) -> str:
        return path.removeprefix(f"/{self._root}") if self._root else path

    def read(self, response: Any, fetch: Fetch) -> Page:
        headers = _lower(response.headers.items())
        return Page(response.request.url, response.status_code, headers, _unpacked(response.get_data(), headers))


class _Django:
    """django.test.Client and AsyncClient."""

    @staticmethod
    def fits(client: Any) -> bool:
        return all(hasattr(client, name) for name in ("generic", "defaults", "cookies"))

    def __init__(self, client: Any, secure: bool | None) -> None:
        self._client = client
        defaults = client.defaults
        self._is_async = _is_async(client)
        host = defaults.get("HTTP_HOST") or defaults.get("SERVER_NAME") or "testserver"
        self.base = _with_scheme(f"{defaults.get('wsgi.url_scheme', 'http')}://{host}", secure)

    def begin(self, fetch: Fetch) -> Any:
        parts = urlsplit(fetch.url)
        path = parts._replace(scheme="", netloc="").geturl()
        headers = {**fetch.headers}
        kind = headers.pop("Content-Type", "application/octet-stream")
        if not self._is_async:
            headers["Host"] = parts.netloc  # which this client leaves out, and no browser
        more = {"secure": parts.scheme == "https", "headers": headers}
        if fetch.method == "GET":
            return self._client.get(path, follow=fetch.follow, **more)
        return self._client.generic(fetch.method, path, fetch.body, kind, **more)

    def read(self, response: Any, fetch: Fetch) -> Page:
        chain = getattr(response, "redirect_chain", [])
        headers = _lower(response.headers.items())
        body = _unpacked(response.getvalue(), headers)
        return Page(urljoin(fetch.url, chain[-1][0]) if chain else fetch.url, response.status_code, headers, body)


def _with_scheme(url: str, secure: bool | None) -> str:
    return url if secure is None or not url else urlsplit(url)._replace(scheme="https" if secure else "http").geturl()


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def _unpacked(body: bytes, headers: dict[str, str]) -> bytes:
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" and body else body
