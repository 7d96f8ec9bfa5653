"""What uvicorn serves for speed_servers.py: four applications, each says under /cpu how much CPU its process has used.

As a program: the name of one, and the number of an inherited listening socket.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import speed_site as site  # noqa: E402


def identity(request: Any) -> tuple[str, int]:
    return site.user_of(0)[0], 3


async def profile(request: Any) -> dict[str, Any]:
    return site.profile_of(0)


def with_cpu(app: site.ASGIApp) -> site.ASGIApp:
    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/cpu":
            return await app(scope, receive, send)
        body = b"%d" % time.process_time_ns()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        return await send({"type": "http.response.body", "body": body})

    return counted


json = with_cpu(site.json_app())
html = with_cpu(site.html_app([site.html_page(10_000)]))
json_ours = site.wrapped(json, profile=profile, identity=identity)
html_ours = site.wrapped(html, profile=profile, identity=identity)

if __name__ == "__main__":
    import uvicorn

    options = {"access_log": False, "log_level": "error", "lifespan": "off", "timeout_keep_alive": 600}
    config = uvicorn.Config(
        {"json": json, "html": html, "json_ours": json_ours, "html_ours": html_ours}[sys.argv[1]], **options
    )
    # Its own --fd takes the socket for one of Unix, and leaves Nagle's algorithm on.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
