"""Serve an application in a thread, for as long as a `with` block lasts. Needs the extra `demo`."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any
from wsgiref.types import WSGIApplication

from starlette.types import ASGIApp

GRACE = 3
"""Seconds that requests under way get to finish when the server stops."""
STOPPING = "stopping"
"""Under this name an application may leave a callable in its lifespan's state; it is called, in the server's event
loop, when the server begins to stop, and ends what the application would make the server wait for."""


@contextmanager
def serve_asgi(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, listener: socket.socket | None = None
) -> Iterator[str]:
    """Serve `app` with uvicorn, lifespan included, and yield its base URL. Port 0 picks a free one; a `listener` is a
    socket that is bound to `host` already.

    `OSError` if the port is taken, `ImportError` without uvicorn, `RuntimeError` if `app` does not start.
    """
    import uvicorn

    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            try:
                await super().startup(sockets)
            finally:
                ready.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if stopping := self.lifespan.state.get(STOPPING):
                stopping()
            await super().shutdown(sockets)

    listener = listener or _listen(host, port)
    config = uvicorn.Config(
        app,
        interface="asgi3",  # uvicorn takes a bound method for ASGI 2
        http="h11",
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config)

    def run() -> None:
        with suppress(SystemExit):  # its way to say that the application did not start
            server.run([listener])

    thread = threading.Thread(target=run, name="serve-asgi", daemon=True)
    thread.start()
    try:
        ready.wait()
        if not server.started:
            raise RuntimeError("the application did not start; its log says why")
        yield _base_url(host, listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def serve_wsgi(app: WSGIApplication, *, host: str = "127.0.0.1", port: int = 0, threads: int = 8) -> Iterator[str]:
    """Serve `app` with waitress, and yield its base URL. Port 0 picks a free one.

    `OSError` if the port is taken, `ImportError` without waitress.
    """
    waitress: Any = import_module("waitress.server")
    wasyncore: Any = import_module("waitress.wasyncore")
    listener = _listen(host, port)
    address = _base_url(host, listener)
    sockets: dict[int, Any] = {}
    server = waitress.create_server(app, map=sockets, sockets=[listener], threads=threads)
    thread = threading.Thread(target=server.run, name="serve-wsgi", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.task_dispatcher.shutdown(timeout=GRACE)
        # Closing belongs to the server's own thread, which ends when it has no socket left.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        thread.join()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _base_url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"
