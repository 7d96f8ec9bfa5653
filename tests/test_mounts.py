"""Mounts: our layer around one of them, around several, around all of them, and one layer inside another.

`mount` (a fixture) is a way in which applications are mounted: Starlette's own, which since 0.33 leaves the path whole
and says in `root_path` how much of it was used; the older one of ASGI 2, which cuts the path; and WSGI's.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from drive import PAGE, Reply, ShellKind, Visitor
from starlette.routing import Mount, Router
from test_table import TAG

from reve_middleware import identify

AT = PAGE.index(b"<title>")


def tagged(mount: str = "") -> bytes:
    """The page, with the tag of this mount."""
    return PAGE[:AT] + TAG.replace(b'src="', f'src="{mount}'.encode()) + PAGE[AT:]


class Way:
    """One way of mounting, and the shell that goes with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shell = ShellKind("wsgi" if name == "wsgi" else "asgi")
        self.seen: list[tuple[str, str, str]] = []
        """Which application was asked, with which mount and which path inside it."""
        self.said: Any = None
        """What `shop` says about its visitor."""

    def __repr__(self) -> str:
        return self.name

    def page(self, name: str) -> Any:
        """An application that answers every request with a page; a 404 at our own paths, as any would."""
        return self._wsgi_page(name) if self.name == "wsgi" else self._asgi_page(name)

    def _asgi_page(self, name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            root, path = scope["root_path"], scope["path"]
            status = self._asked(name, root, path if self.name == "old" else path.removeprefix(root))
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": PAGE})

        return app

    def _wsgi_page(self, name: str) -> Any:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            status = self._asked(name, environ["SCRIPT_NAME"], environ["PATH_INFO"])
            start_response({200: "200 OK", 404: "404 Not Found"}[status], [("Content-Type", "text/html")])
            return [PAGE]

        return app

    def _asked(self, name: str, mount: str, path: str) -> int:
        self.seen.append((name, mount, path))
        if self.said is not None:
            identify(self.said)
        return 404 if path.startswith("/_reve/") else 200

    def mount(self, mounts: dict[str, Any], rest: Any) -> Any:
        """One application made of several: each under its prefix, and `rest` everywhere else."""
        if self.name == "starlette":
            return Router([Mount(prefix, app) for prefix, app in mounts.items()], default=rest)
        return _wsgi_mount(mounts, rest) if self.name == "wsgi" else _old_mount(mounts, rest)

    def visitor(self, application: Any, *, mount: str = "", user: str = "ada") -> Visitor:
        visitor = Visitor(application, self.shell, mount=mount)
        visitor.jar["user"] = user
        return visitor

    def pushed(self, *layers: Any) -> list[tuple[tuple[str, str], Any]]:
        """What the bots have heard: the chat and the profile."""
        for layer in layers:
            layer.close(20.0)
        return [(post.chat, post.data) for post in self.shell.webhook.posts]


def _old_mount(mounts: dict[str, Any], rest: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for prefix, mounted in mounts.items():
            if scope["path"].startswith(f"{prefix}/"):
                root, path = scope["root_path"] + prefix, scope["path"].removeprefix(prefix)
                return await mounted({**scope, "root_path": root, "path": path}, receive, send)
        return await rest(scope, receive, send)

    return app


def _wsgi_mount(mounts: dict[str, Any], rest: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        for prefix, mounted in mounts.items():
            if environ["PATH_INFO"].startswith(f"{prefix}/"):
                environ["SCRIPT_NAME"] += prefix
                environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
                return mounted(environ, start_response)
        return rest(environ, start_response)

    return app


@pytest.fixture(params=["starlette", "old", "wsgi"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    way = Way(request.param)
    yield way
    way.shell.close()


def profile(request: Any) -> Any:
    return {"id": request.cookies["user"]} if "user" in request.cookies else None


def report(visitor: Visitor, at: str, session: str = "s-1", bot: str = "bot") -> Reply:
    """What the bridge of the page under this mount sends."""
    body = json.dumps({"session_id": session, "chatbot_id": bot}).encode()
    return visitor.post(f"{at}/_reve/session", body, content_type="application/json", **visitor._bridge())


def cookies(reply: Reply) -> list[str]:
    return list(reply.cookies)


IDS, MARK = "__Host-reve", "__Host-reve-mark"


def test_around_one_mount_only(way: Way) -> None:
    """Around one mount our layer has its own addresses inside of it, asks the application there, and what is outside
    has never heard of us."""
    layer = way.shell.wrap(way.page("shop"), profile=profile)
    visitor = way.visitor(way.mount({"/shop": layer}, way.page("rest")))
    assert visitor.get("/shop/a").body == tagged("/shop")
    assert visitor.get("/shop/_reve/bridge.js").header("content-type") == "text/javascript; charset=utf-8"
    assert report(visitor, "/shop").json == {"status": "queued"}
    assert way.seen == [("shop", "/shop", "/a"), ("shop", "/shop", "/_reve/session")]
    assert sorted(visitor.jar) == [IDS, MARK, "user"]
    for path in ("/", "/_reve/bridge.js", "/_reve/session", "/shopping"):
        reply = visitor.get(path)
        assert (way.seen[-1], reply.body, cookies(reply)) == (("rest", "", path), PAGE, [])
    assert way.pushed(layer) == [(("bot", "s-1"), {"id": "ada"})]


def test_around_a_mount_inside_a_mount(way: Way) -> None:
    """So it is however deep the mount is."""
    layer = way.shell.wrap(way.page("shop"), profile=profile)
    inner = way.mount({"/b": layer}, way.page("between"))
    visitor = way.visitor(way.mount({"/a": inner}, way.page("rest")))
    assert visitor.get("/a/b/x").body == tagged("/a/b")
    assert report(visitor, "/a/b").json == {"status": "queued"}
    assert way.seen == [("shop", "/a/b", "/x"), ("shop", "/a/b", "/_reve/session")]
    assert visitor.get("/a/_reve/session").body == PAGE
    assert way.seen[-1] == ("between", "/a", "/_reve/session")


def test_around_all_mounts(way: Way) -> None:
    """Around everything there is one address for all of it, whatever mounts an inner layer goes through: the page of a
    mount names the script at the top, and routes are seen from there."""
    site = way.mount({"/a": way.mount({"/b": way.page("shop")}, way.page("between"))}, way.page("rest"))
    layer = way.shell.wrap(site, profile=profile, exclude=("/a/b/secret/*",))
    visitor = way.visitor(layer)
    for path in ("/", "/a/x", "/a/b/x"):
        assert visitor.get(path).body == tagged()
    assert visitor.get("/a/b/secret/x").body == PAGE
    assert report(visitor, "").json == {"status": "queued"}
    assert report(visitor, "/a/b").status == 404
    assert way.seen[-1] == ("shop", "/a/b", "/_reve/session")


@pytest.mark.parametrize("subrequest", ["/a/b/me", "/a/me?x=1"])
def test_the_look_up_goes_through_the_mounts(way: Way, subrequest: str) -> None:
    """The internal GET finds its way to a mounted application as a browser's would."""
    site = way.mount({"/a": way.mount({"/b": way.page("shop")}, way.page("between"))}, way.page("rest"))
    visitor = way.visitor(way.shell.wrap(site, profile=profile, subrequest=subrequest))
    assert report(visitor, "").json == {"status": "queued"}
    assert way.seen == [("shop", "/a/b", "/me") if "/b" in subrequest else ("between", "/a", "/me")]


def test_several_in_one_application(way: Way) -> None:
    """Two wrapped mounts with a `cookie=` each are two sites: each has its own chat, bot and mark, side by side."""
    one = way.shell.wrap(way.page("one"), profile=profile, cookie="one", chatbot_id="bot-1")
    two = way.shell.wrap(way.page("two"), profile=profile, cookie="two", chatbot_id="bot-2")
    visitor = way.visitor(way.mount({"/one": one, "/two": two}, way.page("rest")))
    assert b'data-bot="bot-1"' in visitor.get("/one/x").body
    assert b'data-bot="bot-2"' in visitor.get("/two/x").body
    assert report(visitor, "/one", "s-1", "bot-1").json == {"status": "queued"}
    assert report(visitor, "/two", "s-2", "bot-2").json == {"status": "queued"}
    assert report(visitor, "/two", "s-2", "bot-1").status == 422
    assert sorted(visitor.jar) == ["__Host-one", "__Host-one-mark", "__Host-two", "__Host-two-mark", "user"]
    visitor.jar["user"] = "grace"
    assert cookies(visitor.get("/one/x")) == ["__Host-one", "__Host-one-mark"]
    assert visitor.get("/rest").values("set-cookie") == []
    assert sorted(visitor.jar) == ["__Host-two", "__Host-two-mark", "user"]
    assert way.pushed(one, two) == [(("bot-1", "s-1"), {"id": "ada"}), (("bot-2", "s-2"), {"id": "ada"})]


def test_several_that_share_their_cookies(way: Way) -> None:
    """Two wrapped mounts of one bot with the same settings share the visitor's chat: what one of them has handed over,
    the other does not hand over again."""
    one, two = (way.shell.wrap(way.page(name), profile=profile) for name in ("one", "two"))
    visitor = way.visitor(way.mount({"/one": one, "/two": two}, way.page("rest")))
    assert visitor.get("/one/x").body == tagged("/one")
    assert visitor.get("/two/x").body == tagged("/two")
    assert report(visitor, "/one").json == {"status": "queued"}
    assert cookies(visitor.get("/two/x")) == []
    assert way.pushed(one, two) == [(("bot", "s-1"), {"id": "ada"})]


# One inside another ------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [1, 2])
def test_the_inner_one_stands_down(way: Way, deep: int) -> None:
    """Inside another layer of ours one does nothing at all: one tag, one mark, one push, all of them the outer one's;
    the inner one's addresses and callables are not used."""

    def unused(request: Any) -> Any:
        raise AssertionError("the inner one asks nobody")

    inner = way.page("shop")
    for _ in range(deep):
        inner = way.shell.wrap(inner, profile=unused, cookie="inner", function="inner", routes=("/nowhere",))
    site = way.mount({"/shop": inner}, way.page("rest"))
    outer = way.shell.wrap(site, profile=profile, subrequest="/shop/me")
    visitor = way.visitor(outer, user="ada")
    assert visitor.get("/shop/x").body == tagged()
    assert report(visitor, "/shop").status == 404
    assert visitor.get("/shop/_reve/bridge.js").body == tagged()
    assert report(visitor, "").json == {"status": "queued"}
    assert [path for name, _, path in way.seen if name == "shop"] == ["/x", "/_reve/session", "/_reve/bridge.js", "/me"]
    assert sorted(visitor.jar) == [IDS, MARK, "user"]
    way.shell.webhook.wait_for(1)
    way.said = {"id": "grace", "name": "said inside both"}
    assert cookies(visitor.get("/shop/x")) == [IDS, MARK]  # somebody else: the chat is let go
    assert sorted(visitor.jar) == ["user"]
    assert way.pushed(outer, inner) == [(("bot", "s-1"), {"id": "ada"})]
    assert inner.stats()["offered"] == 0


def test_the_inner_one_hands_on_what_it_gets(way: Way) -> None:
    """And what goes through the inner one is the same object on both sides: environ, scope, messages, iterable."""
    given: list[Any] = []
    returned: list[Any] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        given.append((environ, start_response))
        start_response("200 OK", [("Content-Type", "application/json")])
        returned.append(iter([b"{}"]))
        return returned[-1]

    async def asgi(*three: Any) -> Any:
        given.append(three)
        await three[2]({"type": "http.response.start", "status": 200, "headers": []})
        await three[2]({"type": "http.response.body"})
        returned.append(object())
        return returned[-1]

    def wsgi_tap(*two: Any) -> Any:
        tapped.extend(two)
        found = inner(*two)
        assert found is returned[-1]
        return found

    async def asgi_tap(*three: Any) -> Any:
        tapped.extend(three)
        found = await inner(*three)
        assert found is returned[-1]
        return found

    tapped: list[Any] = []
    inner = way.shell.wrap(wsgi if way.name == "wsgi" else asgi, profile=profile)
    way.visitor(way.shell.wrap(wsgi_tap if way.name == "wsgi" else asgi_tap, profile=profile)).get("/")
    assert [one is other for one, other in zip(given[0], tapped, strict=True)] == [True] * len(tapped)
