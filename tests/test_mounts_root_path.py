"""The whole site under a prefix: behind a proxy that cuts it off or leaves it, and as servers say it in `root_path`."""

from typing import Any, NamedTuple

import pytest
from drive import PAGE, Last, ShellKind, Start, Visitor
from starlette.routing import Mount, Router
from test_mounts import Way, profile, report, tagged
from test_table import TAG


class Prefix(NamedTuple):
    """What a server makes of the path `/x` behind a proxy."""

    root: str
    """`root_path` or SCRIPT_NAME."""
    path: str
    mount: str
    """What stands before our addresses in a browser."""


ASGI = {
    "no prefix": Prefix("", "/x", ""),
    "told, and put before the path": Prefix("/api", "/api/x", "/api"),  # uvicorn, granian
    "told, and the path is the proxy's": Prefix("/api", "/x", "/api"),  # hypercorn, older uvicorn
    "told with a slash too many": Prefix("/api/", "/api//x", "/api"),
    "told that there is none": Prefix("/", "//x", ""),
    "told so, and the path is the proxy's": Prefix("/", "/x", ""),
    "deep": Prefix("/a/b", "/a/b/x", "/a/b"),
}
WSGI = {
    "no prefix": Prefix("", "/x", ""),
    "told": Prefix("/api", "/x", "/api"),
    "told that there is none": Prefix("/", "/x", ""),
}
CASES = [("asgi", name) for name in ASGI] + [("wsgi", name) for name in WSGI]


def behind(way: str, prefix: Prefix, layer: Any) -> Any:
    """A server that says where the site is."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        path = prefix.path.removesuffix("/x") + scope["path"]
        await layer({**scope, "root_path": prefix.root, "path": path, "raw_path": path.encode()}, receive, send)

    def wsgi(environ: Any, start_response: Any) -> Any:
        environ["SCRIPT_NAME"] = prefix.root
        return layer(environ, start_response)

    return asgi if way == "asgi" else wsgi


@pytest.mark.parametrize(("protocol", "name"), CASES)
def test_a_prefix_that_the_server_is_told(protocol: str, name: str) -> None:
    """However a server writes down the prefix it is told, the tag has it, script and capture are found behind it,
    routes are globs on what comes after it, and the internal GET has the path as the server would have written it."""
    prefix = (ASGI if protocol == "asgi" else WSGI)[name]
    kind, seen = ShellKind(protocol), []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        start_response("200 OK", [("Content-Type", "text/html")])
        return [PAGE]

    layer = kind.wrap(asgi if protocol == "asgi" else wsgi, profile=profile, routes=("/x", "/y"), subrequest="/x")
    visitor = Visitor(behind(protocol, prefix, layer), kind)
    visitor.jar["user"] = "ada"
    assert visitor.get("/x").body == tagged(prefix.mount)
    assert visitor.get("/z").body == PAGE
    assert visitor.get("/_reve/bridge.js").status == 200
    assert visitor.capture().json == {"status": "queued"}
    assert [seen[0], seen[-1], len(seen)] == [(prefix.root, prefix.path)] * 2 + [3]
    kind.close()


@pytest.mark.parametrize("name", ASGI)
def test_a_prefix_and_mounts_of_starlettes(name: str) -> None:
    """Behind a prefix a site with mounts of Starlette's is served as it is without them; so is a mount that is wrapped
    alone, where Starlette itself gets along with the way in which the server writes the prefix."""
    prefix, way = ASGI[name], Way("starlette")
    visitor = Visitor(behind("asgi", prefix, way.shell.wrap(Router([Mount("/shop", saying)]))), way.shell)
    assert visitor.get("/shop/x").body == tagged(prefix.mount)
    assert report(visitor, "").json == {"status": "anonymous"}
    if prefix.root == prefix.mount and prefix.path == f"{prefix.root}/x":
        visitor = Visitor(behind("asgi", prefix, Router([Mount("/shop", way.shell.wrap(saying))])), way.shell)
        assert visitor.get("/shop/x").body == tagged(f"{prefix.mount}/shop")
        assert report(visitor, "/shop").json == {"status": "anonymous"}
    way.shell.close()


async def saying(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": PAGE})


def test_a_prefix_that_nobody_cuts_off(shell: ShellKind) -> None:
    """Where the proxy leaves the prefix and the server is told nothing, the site's own routes have it, and with `path=`
    so have ours."""
    visitor = shell.site(lambda asked: [Start(), Last(PAGE)], path="/api/_reve", profile=profile)
    at = PAGE.index(b"<title>")
    assert visitor.get("/api/x").body == PAGE[:at] + TAG.replace(b'src="', b'src="/api') + PAGE[at:]
    assert visitor.get("/api/_reve/bridge.js").header("content-type") == "text/javascript; charset=utf-8"
    assert report(visitor, "/api").json == {"status": "anonymous"}
    assert "__Host-reve" in visitor.jar


def test_a_prefix_that_a_framework_alone_is_told(shell: ShellKind) -> None:
    """What an inner layer says about the prefix, as `FastAPI(root_path=…)` does, comes too late for us: the tag is that
    of the request as it came in."""

    def app(asked: Any) -> Any:
        asked.raw["root_path" if "root_path" in asked.raw else "SCRIPT_NAME"] = "/api"
        return [Start(), Last(PAGE)]

    assert shell.site(app).get("/x").body == tagged()
