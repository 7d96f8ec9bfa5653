"""A shop behind our layer, and foes of other origins, over TLS under names of their own, for a real browser.

    with Stage() as stage:                                      # www.shop.test, and every other name is a foe's
        tab = context.new_page()                                # of a context with ignore_https_errors=True
        tab.goto(stage.shop + "/login?user=ada")
        tab.goto(stage.foe("evil.test"))

`browser.ARGS` leads every name that ends in `.test` to this machine. The shop's login cookie is `SameSite=None`, so
that it travels with whatever the foes send. Whatever reaches the shop is in `stage.seen`.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import uvicorn
from fakes import PATIENCE, Posted, Webhook
from test_webhook_tls import certificate

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware

SHOP = "www.shop.test"
PAGE = b"<!doctype html><html><head><title>%b</title></head><body></body></html>"
ATTACKS = (Path(__file__).parent / "attacks.js").read_text()
KEYWORDS: dict[str, Any] = {
    "webhook_url": "https://reve.example/hook",
    "token": "token-1",
    "chatbot_id": "bot",
    "secret_key": "a secret key for tests, long enough",
}


class Seen(NamedTuple):
    """A request that reached the shop, and its answer."""

    method: str
    path: str
    label: str
    """Its query, unquoted."""
    headers: dict[str, str]
    status: int
    set_cookies: list[str]


def profile(request: Any) -> dict[str, str] | None:
    user = request.cookies.get("user")
    return {"id": user, "name": user.title()} if user else None


class Stage:
    """The shop, and its foes."""

    def __init__(self, *, wsgi: bool = False, outside: Callable[[Any], Any] | None = None, **keywords: Any) -> None:
        """`outside`: makes a layer around ours (ASGI)."""
        self._outside = outside or (lambda app: app)
        self.webhook = Webhook()
        made: Any = ReveWSGIMiddleware if wsgi else ReveMiddleware
        given = {**KEYWORDS, "profile": profile, "client": self.webhook, **keywords}
        self.middleware = made(self._wsgi_shop if wsgi else self._asgi_shop, **given)
        self._wsgi = wsgi
        self.page = PAGE % b"shop"
        self.headers: dict[str, str] = {}
        """More headers of the shop's pages."""
        self.seen: list[Seen] = []
        self.toss: list[str] = []
        """What a foe's `/toss` sets."""
        self._changed = threading.Condition()
        self._stack = ExitStack()

    def __enter__(self) -> "Stage":
        enter = self._stack.enter_context
        folder = Path(enter(TemporaryDirectory()))
        pem = certificate(folder, "DNS:*.test")
        self.foes = enter(serve_asgi(self._foe, pem))
        self.plain = enter(serve_asgi(self._foe, None))
        serve = serve_wsgi if self._wsgi else serve_asgi
        app = self._record_wsgi if self._wsgi else self._outside(self._record_asgi)
        self.port = enter(serve(app, pem))
        self.shop = f"https://{SHOP}:{self.port}"
        self._stack.callback(self.middleware.close)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def foe(self, host: str, path: str = "/", *, tls: bool = True) -> str:
        return f"https://{host}:{self.foes}{path}" if tls else f"http://{host}:{self.plain}{path}"

    def pushed(self) -> list[Posted]:
        """Everything the bot has heard; what waits is delivered first."""
        self.middleware.close(PATIENCE)
        return list(self.webhook.posts)

    def have_come(self, labels: set[str], seconds: float = PATIENCE) -> bool:
        """Have all of these reached the session path? Waits until they have."""
        with self._changed:
            return self._changed.wait_for(lambda: labels <= {one.label for one in self.reports()}, seconds)

    def reports(self) -> list[Seen]:
        """What came to the session path."""
        return [one for one in self.seen if one.path == "/_reve/session"]

    def forget(self) -> None:
        with self._changed:
            self.seen.clear()

    # The shop ----------------------------------------------------------------------------------

    def _answer(self, path: str, query: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """A page; `/login?user=ada` logs in; `/go?URL` is an open redirect."""
        if path == "/go":
            return 307, [("location", unquote(query))], b""
        headers = {"content-type": "text/html; charset=utf-8", **self.headers}
        if path == "/login":
            headers["set-cookie"] = f"user={parse_qs(query)['user'][0]}; Path=/; Secure; HttpOnly; SameSite=None"
        return 200, list(headers.items()), self.page

    async def _asgi_shop(self, scope: Any, receive: Any, send: Any) -> None:
        status, headers, body = self._answer(scope["path"], scope["query_string"].decode())
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def _wsgi_shop(self, environ: Any, start_response: Any) -> list[bytes]:
        status, headers, body = self._answer(environ["PATH_INFO"], environ["QUERY_STRING"])
        start_response(f"{status} Whatever", headers)
        return [body]

    # Who watches -------------------------------------------------------------------------------

    def _note(self, seen: Seen) -> None:
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()

    async def _record_asgi(self, scope: Any, receive: Any, send: Any) -> None:
        start: dict[str, Any] = {}

        async def outgoing(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            await send(message)

        await self.middleware(scope, receive, outgoing)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        cookies = [value.decode() for name, value in start["headers"] if name == b"set-cookie"]
        label = unquote(scope["query_string"].decode())
        self._note(Seen(scope["method"], scope["path"], label, headers, start["status"], cookies))

    def _record_wsgi(self, environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *third: Any) -> Any:
            cookies = [value for name, value in headers if name.lower() == "set-cookie"]
            keys = {
                key: key.removeprefix("HTTP_").replace("_", "-").lower() for key in environ if key.startswith("HTTP_")
            }
            sent = {name: environ[key] for key, name in keys.items()}
            label = unquote(environ["QUERY_STRING"])
            self._note(Seen(environ["REQUEST_METHOD"], environ["PATH_INFO"], label, sent, int(status[:3]), cookies))
            return start_response(status, headers, *third)

        return self.middleware(environ, start)

    # The foes ----------------------------------------------------------------------------------

    def _tossed(self) -> list[bytes]:
        """In both charsets; what h11 does not send, scripts may still set."""
        values = {cookie.encode(charset, "replace") for cookie in self.toss for charset in ("utf-8", "latin-1")}
        return sorted(value for value in values if value[0] > 0x20 and b"\x0b" not in value)

    async def _foe(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        status = 200
        if scope["path"] == "/307":
            status = 307
            headers.append((b"location", scope["query_string"]))
            headers.append((b"access-control-allow-origin", b"*"))
        if scope["path"] == "/toss":
            headers += [(b"set-cookie", value) for value in self._tossed()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE % b"foe" if status == 200 else b""})


@contextmanager
def serve_asgi(app: Any, pem: Path | None) -> Iterator[int]:
    """Serve with uvicorn, over TLS with the certificate and key in one file; yields the port."""
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.set()

        async def shutdown(self, sockets: Any = None) -> None:
            for connection in list(self.server_state.connections):
                connection.transport.abort()  # type: ignore[union-attr]  # TLS would wait for a browser's goodbye
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, interface="asgi3", http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None,
        ssl_certfile=None if pem is None else str(pem), timeout_graceful_shutdown=1, proxy_headers=False,
    )  # fmt: skip
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        assert ready.wait(PATIENCE)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the request's own thread: a browser opens connections it does not use."""
        request.settimeout(PATIENCE)
        try:
            with self.tls.wrap_socket(request, server_side=True) as connection:
                super().finish_request(connection, client_address)
        except OSError:
            pass  # the browser went away

    def handle_error(self, request: Any, client_address: Any) -> None:
        raise


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "HTTPS": "on"}


@contextmanager
def serve_wsgi(app: Callable[..., Any], pem: Path) -> Iterator[int]:
    """Serve with wsgiref, a thread for each connection, over TLS."""
    with make_server("127.0.0.1", 0, app, _Threads, _Quiet) as server:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(pem)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
