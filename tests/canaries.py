"""What leaks into logs and an error tracker? A program of its own, since trackers patch what they watch.

    python tests/canaries.py [--list]

Faults, some at once, for most of them wait, each through the ASGI shell: a visitor reports a chat and loads a page,
and the webhook, the site's callables or the application go wrong. Everything logs at DEBUG, asyncio in its debug mode;
sentry-sdk runs with its default settings around the application and in our thread, with a transport that keeps what it
would send. Canaries are the token, e-mail address, phone number, chat session and webhook path. Prints JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import sentry_sdk
from blocking import request
from delivering import Results, bot
from faults import (
    Answer,
    FaultServer,
    bomb,
    close_after_request,
    drip,
    flood,
    raw,
    refusing,
    reply,
    reset,
    reset_after_request,
    silence,
    unanswered,
)
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport

from reve_middleware import ReveMiddleware
from reve_middleware.delivery import Result

TOKEN = "canary-token-4711"
SESSION = "canary-session-4711"
EMAIL = "canary-4711@example.com"
PHONE = "+49-4711-canary"
PATH = "canary/path/4711"
CANARIES = {"token": TOKEN, "e-mail": EMAIL, "phone": PHONE, "session id": SESSION, "webhook path": PATH}
PROFILE = {"id": 1, "email": EMAIL, "phone": PHONE}
ALL = f"{TOKEN} {EMAIL} {PHONE} {SESSION} {PATH}"
OK = b"HTTP/1.1 200 OK\r\n"
AT_ONCE = 6
"""Faults."""


# The faults ------------------------------------------------------------------------------------


def echo(status: int) -> Answer:
    """An answer that says everything it was asked."""
    return reply(status, {"X-Echo": ALL, "Location": f"https://example.com/{PATH}"}, ALL.encode())


def fail(*_: Any) -> Any:
    raise ValueError(ALL)


class FailingClient:
    """A client whose exceptions say everything."""

    def stream(self, *_: Any, **keywords: Any) -> Any:
        raise ConnectionError(f"{ALL} {keywords}")

    async def aclose(self) -> None:
        fail()


ANSWERS: dict[str, Answer] = {
    **{str(status): echo(status) for status in (200, 301, 302, 303, 307, 308, 400, 401, 403, 404, 408, 410, 413, 422)},
    **{str(status): echo(status) for status in (429, 500, 502, 503)},
    "reset": reset,
    "reset after the request": reset_after_request,
    "closed after the request": close_after_request,
    "silence": silence,
    "a byte at a time in the head": drip(b"X-Slow: y\r\n", at_once=OK),
    "a byte at a time in the body": drip(b"x", at_once=OK + b"Content-Length: 100000\r\n\r\n"),
    "garbage": raw(ALL.encode() + b"\r\n\r\n"),
    "a header that is none": raw(OK + ALL.encode() + b"\r\n\r\n"),
    "wrong length": raw(OK + b"Content-Length: 9999\r\n\r\n" + ALL.encode()),
    "broken chunks": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + ALL.encode()),
    "bomb": lambda line: reply(200, {"Content-Encoding": "gzip"}, bomb())(line),
    "interim answers for ever": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
    "no TLS": lambda line: line.send(ALL.encode() + b"\r\n\r\n"),
}
CALLABLES: dict[str, dict[str, Any]] = {
    "token= raises": {"token": fail},
    "token= returns no token": {"token": lambda: f"{TOKEN}\r\n"},
    "client= raises": {"client": fail},
    "a client of one's own raises": {"client": FailingClient},
    "on_result= raises": {"on_result": fail},
    "profile= raises": {"profile": fail},
    "profile= is not JSON": {"profile": lambda _: {**PROFILE, "x": {ALL}}},
    "profile= is too large": {"profile": lambda _: {**PROFILE, "x": ALL * 9999}},
    "identity= raises": {"identity": fail},
    "consent= raises": {"consent": fail},
    "payload= raises": {"payload": lambda *_: fail()},
}
APPLICATIONS = ("the application raises before its response", "the application raises after it began")
ADDRESSES: dict[str, Callable[[], Any]] = {"refused": refusing, "never connected": unanswered}
NAMELESS = "a name that does not resolve"
FAULTS = [*ANSWERS, *CALLABLES, *APPLICATIONS, *ADDRESSES, NAMELESS]


@contextmanager
def webhook(fault: str) -> Iterator[str]:
    """The address of a webhook that goes wrong, or, where something else does, of one that does not."""
    with ExitStack() as stack:
        if fault == NAMELESS:
            yield f"https://no-such-host.invalid/{PATH}"
        elif fault in ADDRESSES:
            yield stack.enter_context(ADDRESSES[fault]()).replace("hook/path", PATH)
        else:
            server = stack.enter_context(FaultServer(default=ANSWERS.get(fault, echo(204)), path=f"/{PATH}"))
            yield server.url.replace("http:", "https:") if fault == "no TLS" else server.url


def application(fault: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raises = scope["path"] == "/" and fault in APPLICATIONS
        if raises and fault == APPLICATIONS[0]:
            raise ValueError("the application's own")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if raises:
            raise ValueError("the application's own")
        await send({"type": "http.response.body", "body": b""})

    return app


# Who listens -----------------------------------------------------------------------------------


class Everything(logging.Handler):
    """Each record, formatted and as it is."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.texts += [logging.Formatter().format(record), repr(record.__dict__)]


class Kept(Transport):
    """Sentry's own way to a transport of one's own: this one keeps what the others would send."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.texts: list[str] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.texts.append(envelope.serialize().decode(errors="replace"))


def forms(canary: str) -> set[str]:
    """The canary as it is, and the middle of it in base64 at each offset."""
    found = {canary}
    for offset in range(3):
        found.add(base64.b64encode(b"x" * offset + canary.encode()).decode().rstrip("=")[4:-4])
    return found


COOKIE = re.compile(r"__Host-reve(-mark)?=[\w.~-]+")
"""The visitor's own cookie, signed and in base64: it stands in the request, which the application's own frames show."""


def leaks(texts: list[str]) -> list[str]:
    texts = [COOKIE.sub("", text) for text in texts]
    return sorted(
        f"{name}: …{text[max(0, text.index(form) - 80) : text.index(form) + 40]}…"
        for name, canary in CANARIES.items()
        for form in forms(canary)
        for text in texts
        if form in text
    )


async def visit(fault: str, url: str) -> list[Result]:
    """One visitor of one site, which is closed afterwards; what it was told."""
    results = Results()
    keywords: dict[str, Any] = {"profile": lambda _: PROFILE, "token": TOKEN, **CALLABLES.get(fault, {})}
    own = keywords.pop("on_result", None)

    def on_result(result: Result) -> None:
        results(result)
        sentry_sdk.capture_message("seen from the sender's thread")
        if own is not None:
            own(result)

    bots = [bot("b", url, keywords.pop("token"))]
    app = ReveMiddleware(
        application(fault), bots=bots, secret_key="k" * 32, timeout=0.3, on_result=on_result, **keywords
    )
    tracked = SentryAsgiMiddleware(app)  # type: ignore[no-untyped-call]
    cookies: dict[str, str] = {}
    report = json.dumps({"session_id": SESSION, "chatbot_id": "b"}).encode()
    await request(tracked, "POST", "/_reve/session", cookies, report)
    try:
        await request(tracked, "GET", "/", cookies)
    except ValueError:
        sentry_sdk.capture_message("the server answers 500")
    if app.stats()["offered"]:
        await asyncio.to_thread(results.wait_for, 1)
    await asyncio.to_thread(app.close, 0.2)
    logging.getLogger("site").error("%r %s", app, app.stats())
    return results.all


def go_wrong(fault: str) -> list[Result]:
    with webhook(fault) as url:
        return asyncio.run(visit(fault, url), debug=True)


def main() -> None:
    if "--list" in sys.argv:
        print(json.dumps(FAULTS))
        return
    logs = Everything()
    logging.basicConfig(level=logging.DEBUG, handlers=[logs])
    sentry_sdk.init(dsn="https://public@tracker.invalid/1", transport=Kept)
    kept = sentry_sdk.get_client().transport
    assert isinstance(kept, Kept)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [result for told in pool.map(go_wrong, FAULTS) for result in told]
    envelopes = "".join(kept.texts)
    print(
        json.dumps(
            {
                "faults": len(FAULTS),
                "results": len(results),
                "records": len(logs.texts) // 2,
                "envelopes": len(kept.texts),
                "watched": "asyncio" in logs.names and "the application's own" in envelopes,
                "logs": leaks([*logs.texts, repr(results)]),
                "tracker": leaks(kept.texts),
            }
        )
    )


if __name__ == "__main__":
    main()
