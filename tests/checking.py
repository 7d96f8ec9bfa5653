"""A real server on loopback, by http and by https, whose site each test chooses; and what `check` says of it.

found = street.look(site)           # by https
found["tag_missing"].level == "error"
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from click.testing import CliRunner
from fakes import Webhook

from reve_middleware import ReveMiddleware
from reve_middleware.check.command import check

WIDGET = b'<script>__revechat_account="1"</script>'
PAGE = b"<!doctype html><html><head>%b<title>Shop</title></head><body>Bread</body></html>" % WIDGET
SETTINGS: dict[str, Any] = {
    "webhook_url": "https://reve.invalid/api/webhook/v1/chatbot/link-canary",
    "token": "token-canary",
    "chatbot_id": "shop-bot",
    "secret_key": "k" * 32,
}


class Asked(NamedTuple):
    """A request and the status of its answer."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    status: int


def answering(
    status: int = 200, headers: dict[str, str] | None = None, body: bytes = PAGE, kind: str = "text/html"
) -> Callable[..., Any]:
    """An application that always says the same."""
    sent = {"content-type": kind, "x-content-type-options": "nosniff", "strict-transport-security": "max-age=1"}
    raw = [(name.encode(), value.encode()) for name, value in {**sent, **(headers or {})}.items()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*raw]})
        await send({"type": "http.response.body", "body": body})

    return app


def wrapped(app: Callable[..., Any] | None = None, **keywords: Any) -> ReveMiddleware:
    """A site with the middleware around it; its webhook is a fake one, unless told otherwise."""
    return ReveMiddleware(
        app or answering(), **{"client": Webhook(), "profile": lambda _: None, **SETTINGS, **keywords}
    )


class Report(NamedTuple):
    """What the command said."""

    exit_status: int
    output: str

    @property
    def codes(self) -> dict[str, str]:
        """Each finding's code, and its level; the worst where it is there more than once."""
        found = json.loads(self.output)["findings"]
        order = ["ok", "info", "warning", "error"]
        return {one["code"]: one["level"] for one in sorted(found, key=lambda one: order.index(one["level"]))}

    @property
    def wrong(self) -> dict[str, str]:
        return {code: level for code, level in self.codes.items() if level in ("warning", "error")}

    def text(self, code: str) -> str:
        return next(one["text"] for one in json.loads(self.output)["findings"] if one["code"] == code)


def run(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Report:
    """The command, for machines."""
    result = CliRunner().invoke(check, [*arguments, "--json"], env=env, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Report(result.exit_code, result.output)


class Street:
    """Two servers, one for http and one for https, with one site."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = str(ca_file)
        self.site: Callable[..., Any] = answering()
        self.asked: list[Asked] = []
        self.http = self.https = ""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.asked.append(Asked(scope["method"], scope["path"], dict(scope["headers"]), message["status"]))
            await send(message)

        await self.site({**scope}, receive, noting)

    def look(
        self,
        site: Callable[..., Any],
        path: str = "/",
        *options: str,
        plain: bool = False,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
    ) -> Report:
        """What check says of this site; by https, or by plain http."""
        self.site, self.asked = site, []
        return run(
            (self.http if plain else self.https) + path, "--ca-file", self.ca_file, *options, env=env, stdin=stdin
        )


@contextmanager
def street(certificate: Path) -> Iterator[Street]:
    """Open until the block ends."""
    made = Street(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    config: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none", "port": 0}
    config |= {"proxy_headers": False, "http": "h11", "loop": "asyncio", "interface": "asgi3"}
    servers, threads = [], []
    for tls in ({}, {"ssl_certfile": str(certificate)}):
        ready = threading.Event()
        server = Server(uvicorn.Config(made.app, **config, **tls), ready)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        ready.wait(20.0)
        servers.append(server)
        threads.append(thread)
    ports = [server.servers[0].sockets[0].getsockname()[1] for server in servers]
    made.http, made.https = f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}"
    try:
        yield made
    finally:
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join()


class Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready.set()
