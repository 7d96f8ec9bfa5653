"""Routes, decorators, bots, mounts, the bridge and its tag, through both shells (contract §2, §6)."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drive import PAGE, Asked, Last, ShellKind, Start, elsewhere
from shop import Shop
from test_flow_who import MARK

import reve_middleware
from reve_middleware import Bot, disabled, enabled, script_tag

SCRIPT = (Path(reve_middleware.__file__).parent / "bridge.js").read_bytes()
VERSION = hashlib.sha256(SCRIPT).hexdigest()[:16]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def tag(*attributes: str, mount: str = "", bot: bool = True) -> bytes:
    src = f'src="{mount}/_reve/bridge.js?v={VERSION}"'
    given = ['data-function="identify"', *(['data-bot="bot"'] if bot else []), *attributes]
    return f"<script {src} {' '.join(given)}></script>".encode()


# Routes ----------------------------------------------------------------------------------------

ROUTES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, ["/", "/a", "/a/b.html"], []),
    ({"routes": ("/account/*", "/cart")}, ["/account/", "/account/x/y", "/cart"], ["/", "/account", "/cart/", "/Cart"]),
    ({"exclude": ("/admin*",)}, ["/", "/shop/admin"], ["/admin", "/admin/x", "/administer"]),
    ({"routes": ("/a*",), "exclude": ("/a/b", "*.pdf")}, ["/a", "/a/c"], ["/a/b", "/a/x.pdf", "/b"]),
    ({"routes": ()}, [], ["/", "/a"]),
    ({"routes": ("/wüst/*",)}, ["/wüst/ä"], ["/wust/a"]),
]


@pytest.mark.parametrize(("keywords", "on", "off"), ROUTES, ids=[str(keywords) for keywords, _, _ in ROUTES])
def test_routes_are_globs_on_the_path_inside_the_mount(
    shell: ShellKind, shop: Shop, keywords: dict[str, Any], on: list[str], off: list[str]
) -> None:
    """On a route that is not enabled no page gets the tag and nobody is looked at; capture works everywhere."""
    for mount in ("", "/möunt"):
        for path in on + off:
            visitor = shop.visitor(shell, **keywords)
            visitor.mount = mount
            assert visitor.capture().status == 200
            visitor.jar["user"] = "ada"
            shop.asked.clear()
            reply = visitor.get(f"{path}?query=/cart")
            assert (b"<script" in reply.body) == (path in on), path
            assert bool(shop.asked) == (path in on), path


class OfDispatch:
    """A class-based view with one way in, as Django and Flask have them."""

    def dispatch(self, request: Any) -> str:
        return f"dispatched {request}"


class OfHandlers:
    """A class-based view entered by its handlers, as Starlette and Falcon have them."""

    def get(self, request: Any) -> str:
        return f"got {request}"

    async def on_post(self, request: Any) -> str:
        return f"posted {request}"


def function(request: Any) -> str:
    """A view."""
    return f"seen {request}"


async def coroutine(request: Any) -> str:
    return f"awaited {request}"


def views(switch: Callable[[Any], Any]) -> dict[str, Callable[[], Any]]:
    """A view of each kind, switched."""
    one, two = switch(type("One", (OfDispatch,), {}))(), switch(type("Two", (OfHandlers,), {}))()
    return {
        "function": lambda: switch(function)(1),
        "coroutine": lambda: run(switch(coroutine)(1)),
        "dispatch": lambda: one.dispatch(1),
        "handler": lambda: two.get(1),
        "async handler": lambda: run(two.on_post(1)),
    }


def run(awaitable: Any) -> Any:
    """Its value; these views wait for nothing."""
    with pytest.raises(StopIteration) as ended:
        awaitable.send(None)
    return ended.value.value


@pytest.mark.parametrize("kind", views(enabled))
def test_decorators_overrule_the_globs(shell: ShellKind, shop: Shop, kind: str) -> None:
    """`@enabled` and `@disabled` on a view of any kind win over `routes` and `exclude`, for page and visitor alike."""
    shop.before = {"/on": views(enabled)[kind], "/off": views(disabled)[kind]}
    visitor = shop.visitor(shell, routes=("/o*",), exclude=("/on",))
    visitor.capture()
    visitor.jar["user"] = "ada"
    reply = visitor.get("/off")
    assert (reply.body, reply.values("set-cookie")) == (PAGE, [])
    reply = visitor.get("/on")
    assert tag() in reply.body
    assert list(reply.cookies) == [MARK]


@pytest.mark.parametrize("switch", [enabled, disabled])
def test_decorators_without_the_middleware_do_nothing(switch: Any) -> None:
    """Where no layer of ours is outside, a decorated view is what it was, name and documentation too."""
    answers = {kind: call() for kind, call in views(switch).items()}
    expected = ["seen 1", "awaited 1", "dispatched 1", "got 1", "posted 1"]
    assert list(answers.values()) == expected
    assert (switch(function).__name__, switch(function).__doc__) == ("function", "A view.")
    assert asyncio.iscoroutinefunction(switch(coroutine))


# Bots and mounts -------------------------------------------------------------------------------


def test_each_bot_has_its_own_link_and_token(shell: ShellKind, shop: Shop) -> None:
    """With several bots a chat's pushes go to its own bot; the tag names none, and a foreign id is refused."""
    bots = [
        Bot(webhook_url="https://a.example/hook", token="token-a", chatbot_id="a"),
        Bot(webhook_url="https://b.example/hook/", token=lambda: "token-b", chatbot_id="b", endpoint="login"),
    ]
    visitor = shop.visitor(shell, bots=bots)
    visitor.jar["user"] = "ada"
    visitor.capture("s-1", "a")
    visitor.capture("s-1", "b")
    assert visitor.capture("s-1", "c").status == 422
    posts = sorted(visitor.pushed())
    assert [(post.url, post.headers["authorization"], post.chat) for post in posts] == [
        ("https://a.example/hook", "Bearer token-a", ("a", "s-1")),
        ("https://b.example/hook/login", "Bearer token-b", ("b", "s-1")),
    ]
    assert tag(bot=False) in visitor.get("/").body


@pytest.mark.parametrize("mount", ["/shop", "/a/b", "/möunt", '/a"b<'])
def test_a_mount_is_part_of_every_address(shell: ShellKind, shop: Shop, mount: str) -> None:
    """Under `root_path` or `SCRIPT_NAME` the tag names the script inside the mount, and script and capture are
    served there; the internal GET stays inside it."""
    visitor = shop.visitor(shell, subrequest="/me")
    visitor.mount = mount
    visitor.jar["user"] = "ada"
    quoted = {"/möunt": "/m%C3%B6unt", '/a"b<': "/a%22b%3C"}.get(mount, mount)
    assert tag(mount=quoted) in visitor.get("/").body
    assert visitor.get("/_reve/bridge.js").body == SCRIPT
    assert visitor.capture().json == {"status": "queued"}
    assert (shop.seen[-1].mount, shop.seen[-1].path) == (mount, "/me")


def test_paths_that_are_almost_ours_are_the_applications(shell: ShellKind, shop: Shop) -> None:
    """Only the two paths themselves are served by us."""
    visitor = shop.visitor(shell)
    for path in ("/_reve/", "/_reve", "/_reve/session/", "/x/_reve/session", "/_reve/bridge.js.map", "/_REVE/session"):
        visitor.get(path)
        assert shop.seen[-1].path == path


# The tag and the script ------------------------------------------------------------------------


def test_what_the_site_chose_stands_in_the_tag(shell: ShellKind, shop: Shop) -> None:
    """Function, account, path: constants of the site, never of a visitor."""
    keywords: dict[str, Any] = {"function": "hello", "account_id": "1234567", "path": "/x/reve"}
    visitor = shop.visitor(shell, **keywords)
    src = f'src="/x/reve/bridge.js?v={VERSION}"'
    expected = f'<head><script {src} data-function="hello" data-bot="bot" data-account="1234567"></script><title>'
    assert expected.encode() in visitor.get("/").body
    assert visitor.get("/x/reve/bridge.js").body == SCRIPT


class Wrapped:
    """A framework's request, as far as the tag is concerned."""

    def __init__(self, **where: Any) -> None:
        self.__dict__.update(where)


@pytest.mark.parametrize("name", ["scope", "environ", "env", "META", None])
def test_the_tag_by_hand(shell: ShellKind, name: str | None) -> None:
    """With `inject=False` a view places the tag itself, from any framework's request or from none; templates do not
    escape it, and the page is not touched."""

    def app(asked: Asked) -> Any:
        nonce = 'a"b' if asked.path == "/nonce" else None
        if name is None:
            made = script_tag(nonce=nonce)
        else:  # where no context of the request is
            made = elsewhere(lambda: script_tag(Wrapped(**{name: asked.raw}), nonce=nonce))
        assert made == made.__html__()
        yield Start()
        yield Last(f"<html><head>{made}</head></html>".encode())

    visitor = shell.site(app, inject=False)
    visitor.mount = "/m"
    assert visitor.get("/").body == b"<html><head>" + tag(mount="/m") + b"</head></html>"
    assert tag('nonce="a&quot;b"', mount="/m") in visitor.get("/nonce").body


def test_without_the_middleware_there_is_no_tag() -> None:
    """Outside of a request that passes the middleware the tag is empty."""
    assert script_tag() == script_tag(Wrapped(scope={})) == script_tag(Wrapped(environ=None)) == ""


@pytest.mark.parametrize(
    ("query", "cached"), [(f"?v={VERSION}", True), ("?v=older", False), ("", False), (f"?v={VERSION}&x=1", False)]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_the_current_script_is_cached_for_ever(
    shell: ShellKind, shop: Shop, method: str, query: str, cached: bool
) -> None:
    """The script is the same bytes for everybody; only the URL with its hash may be kept, another is served."""
    visitor = shop.visitor(shell)
    reply = visitor.request(method, f"/_reve/bridge.js{query}", sec_fetch_dest="script")
    assert (reply.status, reply.body) == (200, SCRIPT if method == "GET" else b"")
    assert reply.headers == [
        ("content-type", "text/javascript; charset=utf-8"),
        ("content-length", str(len(SCRIPT))),
        ("cache-control", "public, max-age=31536000, immutable" if cached else "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ]
    assert shop.seen == []


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_the_script_can_only_be_read(shell: ShellKind, shop: Shop, method: str) -> None:
    """Other methods are refused, and say what is allowed."""
    reply = shop.visitor(shell).request(method, "/_reve/bridge.js")
    assert (reply.status, reply.body, reply.header("allow")) == (405, b"", "GET, HEAD")
