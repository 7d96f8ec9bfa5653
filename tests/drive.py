"""Drives both middlewares without a server. Applications are described once, see neutral.py.

    def test_something(shell):                          # runs twice: over ASGI and over WSGI
        visitor = shell.site(app, profile=…)            # a browser with a cookie jar
        visitor.capture("s-1")
        reply = visitor.get("/")
        assert visitor.pushed()[0].data == {…}          # flushes; everything that came to shell.webhook

`shell` is a fixture (conftest.py). What goes to a server is checked by oracle.py or by `wsgiref.validate`.
"""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import PATIENCE, Posted, Webhook
from neutral import HTML, PAGE, WSGI_STYLES, App, Asked, Last, Message, Start, Step, asgi_app, page, wsgi_app
from servers import HOST, Call, Reply, Server, call_asgi, call_wsgi, environ_of, scope_of

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware

__all__ = [
    "HOST",
    "HTML",
    "KEY",
    "KEYWORDS",
    "PAGE",
    "PATIENCE",
    "WSGI_STYLES",
    "App",
    "Asked",
    "Call",
    "Clock",
    "Last",
    "Message",
    "Posted",
    "Reply",
    "Server",
    "ShellKind",
    "Start",
    "Step",
    "Visitor",
    "Watched",
    "Webhook",
    "asgi_app",
    "call_asgi",
    "call_wsgi",
    "elsewhere",
    "environ_of",
    "page",
    "said",
    "scope_of",
    "side_by_side",
    "wsgi_app",
]

KEY = "a secret key for tests, long enough"
KEYWORDS = {"webhook_url": "https://reve.example/hook", "token": "token-1", "chatbot_id": "bot", "secret_key": KEY}


class Watched(dict[str, Any]):
    """A dict of which can be seen, by a weak reference, whether it is gone."""


class Clock:
    """The wall clock of both shells, in place of the real one; it stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1_800_000_000.0
        for module in ("asgi", "asgi_response", "wsgi", "wsgi_response", "shell"):
            monkeypatch.setattr(f"reve_middleware.{module}.now_in_microseconds", lambda: int(self.seconds * 1e6))
        for module in ("asgi", "wsgi"):
            monkeypatch.setattr(f"reve_middleware.{module}.time_ns", lambda: int(self.seconds * 1e6) * 1000)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What our log said: codes and texts."""
    return [
        (record.__dict__["reve"], record.getMessage())
        for record in caplog.records
        if record.name == "reve_middleware" and record.levelname != "DEBUG"
    ]


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of a call in another thread, where no event loop and no context of ours is."""
    return side_by_side([lambda: function(*arguments)])[0]


def side_by_side(functions: Iterable[Callable[[], Any]]) -> list[Any]:
    """Each in a thread of its own, all at once; their values in order."""
    functions = list(functions)
    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(function) for function in functions]]


class Visitor:
    """A little browser: keeps cookies, sends what browsers send."""

    def __init__(self, middleware: Any, kind: "ShellKind", *, host: str = HOST, scheme: str = "https", mount: str = ""):
        self.middleware, self.kind = middleware, kind
        self.host, self.scheme, self.mount = host, scheme, mount
        self.jar: dict[str, str] = {}
        self.headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}

    def get(self, path: str = "/", **headers: str | None) -> Reply:
        """`x_some_header="value"` adds a header, None leaves one out that would be sent."""
        return self.request("GET", path, **headers)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> Reply:
        given = {"Host": self.host, **self.headers}
        given |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        if self.jar:
            given.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items()))
        sent = [(name, value) for name, value in given.items() if value is not None]
        reply = self.kind.call(self.middleware, Call(method, path, sent, body, self.mount, self.scheme))
        for value in reply.values("set-cookie"):
            self.keep(value)
        return reply

    def post(self, path: str, body: bytes = b"", **headers: str | None) -> Reply:
        return self.request("POST", path, body, **headers)

    def capture(self, session_id: str = "s-1", chatbot_id: str = "bot", **headers: str | None) -> Reply:
        """What the bridge sends when the widget reports a chat."""
        body = json.dumps({"session_id": session_id, "chatbot_id": chatbot_id}).encode()
        return self.post("/_reve/session", body, **{**self._bridge(), "content_type": "application/json", **headers})

    def forget(self, **headers: str | None) -> Reply:
        return self.request("DELETE", "/_reve/session", **{**self._bridge(), **headers})

    def _bridge(self) -> dict[str, str | None]:
        origin = f"{self.scheme}://{self.host}"
        return {"x_reve_bridge": "1", "origin": origin, "sec_fetch_dest": "empty"}

    def keep(self, set_cookie: str) -> None:
        """Keep a cookie as browsers do (RFC 6265bis), or refuse it."""
        pair, *attributes = [part.strip() for part in set_cookie.split(";")]
        name, _, value = pair.partition("=")
        said = {key.lower(): text for key, _, text in (one.partition("=") for one in attributes)}
        if name.startswith("__Host-") and not ("secure" in said and said.get("path") == "/" and "domain" not in said):
            return
        if "secure" in said and self.scheme != "https":
            return
        if said.get("max-age", "1").lstrip("-").isdigit() and int(said.get("max-age", "1")) <= 0:
            self.jar.pop(name, None)
        else:
            self.jar[name] = value

    def pushed(self) -> list[Posted]:
        """Everything the bot has heard; what waits is delivered first."""
        self.middleware.close(PATIENCE)
        return list(self.kind.webhook.posts)


class ShellKind:
    """One of the two shells, and a webhook for what is built with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.webhook = Webhook()
        self._built: list[Any] = []

    def __repr__(self) -> str:
        return self.name

    def application(self, app: App) -> Any:
        """The neutral application as a real one, without our layer."""
        return asgi_app(app) if self.name == "asgi" else wsgi_app(app)

    def wrap(self, application: Any, **keywords: Any) -> Any:
        """Our layer around a real application; closed when the test ends."""
        made = ReveMiddleware if self.name == "asgi" else ReveWSGIMiddleware
        given = {**KEYWORDS, "client": self.webhook, **keywords}
        if "handoff" in given:
            del given["client"]
        if "bots" in given:
            given = {name: value for name, value in given.items() if name not in ("webhook_url", "token", "chatbot_id")}
        self._built.append(made(application, **given))
        return self._built[-1]

    def site(self, app: App | None = None, **keywords: Any) -> Visitor:
        """A visitor of the application (a page, unless told otherwise) behind our layer."""
        return Visitor(self.wrap(self.application(app or page()), **keywords), self)

    def call(self, application: Any, call: Call) -> Reply:
        return (call_asgi if self.name == "asgi" else call_wsgi)(application, call)

    def close(self) -> None:
        self.webhook.release()
        for middleware in self._built:
            middleware.close(PATIENCE)
