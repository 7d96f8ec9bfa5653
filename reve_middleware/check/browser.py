"""Sends what a browser would send, to one origin and no other, within bounds; and says plainly why nothing came back.

The one file of check that knows httpx, and of httpx the transport alone: redirects, cookies, proxies and logs are not
left to a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from reve_middleware import __version__
from reve_middleware.capture import CHECK
from reve_middleware.outcome import Outcome, judge_exception
from reve_middleware.webhook import quietly

from .caching import is_trustworthy
from .cookies import deletes, set_cookies, without
from .finding import shown
from .response import LARGEST_BODY, Response, origin_of, received

MOST_REQUESTS = 60
TOTAL_SECONDS = 120.0
"""For all requests to the site."""
PACKED = "gzip, deflate"
"""Browsers ask for br and zstd as well; here they could not be unpacked."""
ALWAYS = {
    "User-Agent": f"Mozilla/5.0 (compatible; {CHECK}/{__version__})",
    "Accept-Language": "en;q=0.9, *;q=0.5",
    "Accept-Encoding": PACKED,
}
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
    "Sec-Fetch-Dest": "document",
}
SCRIPT = {"Accept": "*/*", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Unreachable(Exception):
    """No response; the message says why, in words that may be shown."""


class Browser:
    """As much of one as is needed. Not for two tasks at once."""

    def __init__(self, url: str, *, cookie: str = "", ca_file: str | None = None, seconds: float = 10.0) -> None:
        """`cookie`: a `Cookie` header of the site's; ours in it are left out. `ca_file`: trusted instead of the usual
        certificates. `seconds`: for one request, in all.

        `OSError` (ssl.SSLError is one) where there are none in `ca_file`.
        """
        own = ca_file is None
        context = httpx.create_ssl_context(trust_env=False) if own else ssl.create_default_context(cafile=ca_file)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        self.origin = origin_of(url)
        self._seconds = seconds
        self._left = MOST_REQUESTS
        self._ends: float | None = None
        pairs = (pair.strip().partition("=") for pair in without(cookie).split(";"))
        self._jar = {name: value for name, equals, value in pairs if equals}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def fetch(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        body: bytes = b"",
        cookies: str | None = None,
    ) -> Response:
        """One request and its response, whose body is cut at LARGEST_BODY. `cookies`: None for the site's own.

        `Unreachable` where nothing came back, or where the bounds are reached; also for any other origin.
        """
        if origin_of(url) is None or origin_of(url) != self.origin:
            raise Unreachable("it is on another origin, where nothing is sent")
        loop = asyncio.get_running_loop()
        self._ends = self._ends or loop.time() + TOTAL_SECONDS
        seconds = min(self._seconds, self._ends - loop.time())
        self._left -= 1
        if self._left < 0 or seconds <= 0:
            raise Unreachable(f"the look has come to its bounds ({MOST_REQUESTS} requests, {TOTAL_SECONDS:.0f} s)")
        try:
            request = self._request(method, url, headers, body, self.cookies if cookies is None else cookies)
            with quietly():
                async with asyncio.timeout(seconds):
                    try:
                        return await self._send(request)
                    except LOST:  # perhaps a kept connection that the server has just closed: once more, on a new one
                        return await self._send(request)
        except Exception as error:
            raise Unreachable(_why(error, seconds)) from None

    async def navigate(self, url: str, *, encoding: str = PACKED, cookies: str | None = None) -> Response:
        """The response for somebody who opens `url`; its cookies are kept for the next request."""
        response = await self.fetch(url, {**NAVIGATION, "Accept-Encoding": encoding}, cookies=cookies)
        for cookie in set_cookies(response):
            if deletes(cookie):
                self._jar.pop(cookie.name, None)
            else:
                self._jar[cookie.name] = cookie.value
        return response

    @property
    def cookies(self) -> str:
        """The `Cookie` header of the site's own."""
        return without("; ".join(f"{name}={value}" for name, value in self._jar.items()))

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes, cookies: str) -> httpx.Request:
        sent = {**ALWAYS, **headers}
        if not is_trustworthy(url):
            sent = {name: value for name, value in sent.items() if not name.startswith("Sec-Fetch-")}
        elif cookies:
            sent["Cookie"] = cookies
        whole = httpx.URL(url)
        raw = [(b"Host", whole.netloc), *((name.encode(), value.encode("latin-1")) for name, value in sent.items())]
        content = body if method in ("POST", "PUT") else None
        return httpx.Request(method, whole, headers=raw, content=content)

    async def _send(self, request: httpx.Request) -> Response:
        response = await self._transport.handle_async_request(request)
        raw, is_whole = bytearray(), True
        chunks = response.aiter_raw()
        try:
            async for chunk in chunks:
                raw += chunk
                if len(raw) > LARGEST_BODY:
                    is_whole = False
                    break
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
            await response.aclose()
        return received(response.status_code, response.headers.raw, bytes(raw[:LARGEST_BODY]), is_whole=is_whole)


async def reach(link: str, seconds: float) -> Outcome:
    """A GET of the webhook's link, without a token; trusting whom the sender trusts."""
    transport = httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(trust_env=False), trust_env=False)
    try:
        with quietly():
            async with asyncio.timeout(seconds), contextlib.aclosing(transport):
                url = httpx.URL(link)
                headers = [(b"Host", url.netloc), (b"User-Agent", ALWAYS["User-Agent"].encode())]
                response = await transport.handle_async_request(httpx.Request("GET", url, headers=headers))
                await response.aclose()
                return Outcome("reached", f"status_{response.status_code}", response.status_code)
    except Exception as error:
        return judge_exception(error)


def _why(error: BaseException, seconds: float) -> str:
    """An exception of the transport in words; nothing of the request stands in them."""
    seen: BaseException | None = error
    for _ in range(8):
        match seen:
            case None:
                break
            case ssl.SSLCertVerificationError():
                return f"its certificate is not right: {shown(seen.verify_message)}"
            case ssl.SSLError():
                return "it does not speak TLS as it should; is it an http:// address?"
            case socket.gaierror():
                return "its host's name is not known"
            case ConnectionRefusedError():
                return "nothing listens there"
            case TimeoutError() | httpx.TimeoutException():
                return f"no answer within {seconds:.0f} s"
            case httpx.InvalidURL() | httpx.UnsupportedProtocol() | UnicodeError():
                return "it is no address that can be asked"
            case httpx.ProtocolError():
                return "what answers does not speak HTTP/1.1"
        seen = seen.__cause__ or seen.__context__
    return "the connection failed"
