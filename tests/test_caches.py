"""Two visitors of a site behind a caching proxy (contract §2, §5.3). Each docstring is a promise."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from caching import AS_USUAL, THE_WRONG_WAY, Front, cached
from drive import HTML, Asked, Last, Posted, Reply, ShellKind, Start, Step, Visitor

VIEWS = 500
NEW_AFTER = 4
"""Views after which the site has one page more."""
PAGE = b"<!doctype html><html><head><title>Page %d</title></head><body></body></html>"
OURS = re.compile(rb"^Set-Cookie: *(__Host-reve(?:-mark)?)=([^;\r]*)", re.MULTILINE | re.IGNORECASE)


BROWSERS = {"first": ("ada-4711", "adam-4711"), "second": ("grace-4711", "grant-4711")}
"""Who logs in where: two people in each browser, now and then without a logout between them."""


class Site:
    """A shop whose pages are for everybody, but for `/account`, which is private; `/news` calls itself public."""

    def __init__(self) -> None:
        self.people = {name: {"id": name, "phone": f"{name}-0"} for pair in BROWSERS.values() for name in pair}

    def __call__(self, asked: Asked) -> Iterator[Step]:
        headers = [("Content-Type", HTML)]
        body = PAGE % int(asked.path.rpartition("/")[2]) if asked.path.startswith("/p/") else PAGE % 99
        if asked.path in ("/login", "/logout"):
            headers.append(("Set-Cookie", f"user={asked.query}; Path=/; Secure; HttpOnly"))
        if asked.path == "/account":
            headers.append(("Cache-Control", "private"))
            body += json.dumps(self.people.get(asked.cookies.get("user", ""))).encode()
        if asked.path == "/news":
            headers.append(("Cache-Control", "public, max-age=600"))
        yield Start(200, headers)
        yield Last(body)

    def profile(self, request: Any) -> Any:
        return self.people.get(request.cookies.get("user"))


class Story:
    """What two visitors do, 500 page views long, and what came of it."""

    def __init__(self, shell: ShellKind, more: str) -> None:
        self.site = Site()
        self.random = Random(4711)
        self.owners: dict[str, str] = {}
        self.seen: list[tuple[str, str, Reply]] = []
        """Browser, path, answer."""
        application = shell.application(self.site)
        middleware = shell.wrap(application, profile=self.site.profile, logout_routes=("/logout",))
        with cached(middleware, shell.webhook, wsgi=shell.name == "wsgi", more=more) as front:
            self.visitors = {name: Visitor(middleware, front) for name in BROWSERS}  # type: ignore[arg-type]
            while len(self.seen) < VIEWS:
                self.step(front)
            self.stored = front.stored()
            self.pushed: list[Posted] = self.visitors["first"].pushed()

    def step(self, front: Front) -> None:
        name = self.random.choice(list(self.visitors))
        visitor = self.visitors[name]
        match self.random.randrange(24):
            case 0:
                session = f"chat-{len(self.owners)}"
                self.owners[session] = name
                assert visitor.capture(session).status == 200
            case 1 | 2:
                self.site.people[BROWSERS[name][0]]["phone"] = str(self.random.random())
            case 3 | 4 | 5:
                visitor.post(f"/login?{self.random.choice(BROWSERS[name])}")
            case 6:
                visitor.post("/logout?")
            case _:
                newest = len(self.seen) // NEW_AFTER
                path = self.random.choice([*(f"/p/{newest + n}" for n in range(8)), "/account", "/news", "/logout?"])
                self.seen.append((name, path, visitor.get(path)))

    def caches(self) -> Counter[str | None]:
        return Counter(reply.header("x-cache") for _, _, reply in self.seen)

    def strangers(self) -> list[Posted]:
        """Pushes to a chat that are about a person at the other browser."""
        return [push for push in self.pushed if push.data["id"] not in BROWSERS[self.owners[push.chat[1]]]]


def ours(reply: Reply) -> list[str]:
    return [value for value in reply.values("set-cookie") if value.startswith("__Host-reve")]


def test_a_cache_keeps_nothing_of_a_visitor(shell: ShellKind) -> None:
    """Behind nginx with its default rules, two visitors and 500 views: pages are kept, the tag among them, and not one
    `Set-Cookie` of ours or byte of a visitor's; nobody gets another's cookie, and no chat hears of another person."""
    story = Story(shell, AS_USUAL)
    caches = story.caches()
    assert caches["HIT"] > 100
    assert len(story.stored) > 50
    kept = b"".join(story.stored)
    assert b"_reve/bridge.js" in kept
    assert re.findall(rb"__Host-reve|-4711|chat-\d", kept) == []
    assert [
        reply for _, _, reply in story.seen if reply.header("x-cache") == "HIT" and reply.values("set-cookie")
    ] == []
    marked = [reply for _, _, reply in story.seen if ours(reply)]
    assert len(marked) > 10
    assert {reply.header("cache-control") for reply in marked} == {"private"}
    bodies: dict[str, set[bytes]] = {}
    for _, path, reply in story.seen:
        bodies.setdefault(path, set()).add(reply.body)
    assert [path for path, found in bodies.items() if len(found) > 1] == ["/account"]
    accounts = [(name, reply.body) for name, path, reply in story.seen if path == "/account"]
    for (name, people), other in zip(BROWSERS.items(), reversed(BROWSERS), strict=True):
        assert any(people[0].encode() in body for one, body in accounts if one == name)
        assert not any(person.encode() in body for one, body in accounts if one == name for person in BROWSERS[other])
    assert len(story.pushed) > 10
    assert story.strangers() == []


def test_a_cache_that_ignores_the_rules(shell: ShellKind) -> None:
    """Behind a cache that ignores `Set-Cookie` and `Cache-Control`, answers of ours are kept and given to others: marks
    (which count as none) and deletions, by which a visitor's chat is let go. Never the cookie that names a chat; and
    no chat hears of another person."""
    story = Story(shell, THE_WRONG_WAY)
    kept = [found for one in story.stored for found in OURS.findall(one)]
    assert {name for name, _ in kept} == {b"__Host-reve", b"__Host-reve-mark"}
    assert [value for name, value in kept if name == b"__Host-reve" and value] == [], "deletions alone"
    assert any(reply.header("x-cache") == "HIT" and ours(reply) for _, _, reply in story.seen)
    assert len(story.pushed) > 5
    assert story.strangers() == []
