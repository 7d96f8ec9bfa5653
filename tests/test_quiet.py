"""The shortcut for visitors for whom nothing has changed: nobody can tell it from the whole way but by its speed."""

from collections.abc import Callable
from typing import Any

import pytest
from drive import Clock, ShellKind, Visitor
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from shop import Shop

from reve_middleware import disabled, enabled, identify, quiet, sign_out
from reve_middleware.quiet import LONGEST_REMEMBERED, MOST_REMEMBERED, NOTHING_ASKED
from reve_middleware.sender import Sender

SECONDS = [0, 3, 600, 40_000, 50_000]
NAMES: list[Any] = ["Ada", "Ada L.", 1, True, 1.0, None, [1], (1,), {"b": 1, "a": 2}, {"a": 2, "b": 1}]
PATHS = ["/", "/json", "/elsewhere", "/public", "/no-store", "/off", "/on", "/bye", "/identify", "/nobody", "/left/out"]

moves = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(PATHS)),
    st.tuples(st.just("get"), st.sampled_from(["/", "/json"])),
    st.tuples(st.just("image"), st.just("/json")),
    st.tuples(st.just("name"), st.sampled_from(NAMES)),
    st.tuples(st.just("version"), st.sampled_from([1, 2, True, 1.0, "1", None])),
    st.tuples(st.just("login"), st.sampled_from(["ada", "grace", "nobody"])),
    st.tuples(st.just("capture"), st.sampled_from(["s-1", "s-2"])),
    st.tuples(st.just("lose"), st.sampled_from(["__Host-reve", "__Host-reve-mark"])),
    st.tuples(st.just("double"), st.just("/json")),
    st.tuples(st.just("other"), st.just("/json")),
    st.tuples(st.just("time"), st.sampled_from(SECONDS)),
)


class Told(Exception):
    """Raised by a callable that was told to."""


class World:
    """One visitor of one site, with the shortcut or without."""

    def __init__(self, shell: ShellKind, clock: Clock, by: str) -> None:
        self.shop, self.clock = Shop(), clock
        self.shop.people["ada"]["name"] = "Ada"
        self.shop.headers = {"/public": [("Cache-Control", "public")], "/no-store": [("Cache-Control", "no-store")]}
        self.shop.before = {
            "/bye": sign_out,
            "/identify": lambda: identify({"id": 1, "name": "Ada"}),
            "/nobody": lambda: identify(None),
            "/off": disabled(lambda: None),
            "/on": enabled(lambda: None),
        }
        keywords: dict[str, Any] = {"profile": self.profile(shell.name), "exclude": ("/left/*", "/on")}
        if by == "version":
            keywords["identity"] = self.shop.identity
        if by == "who":
            keywords["identity"] = lambda request: self.shop.identity(request) and request.cookies.get("user")
        self.visitor: Visitor = self.shop.visitor(shell, **keywords)
        self.visitor.jar["user"] = "ada"

    def profile(self, shell: str) -> Callable[[Any], Any]:
        async def profile(request: Any) -> Any:
            return self.shop.profile(request)

        return profile if shell == "asgi" else self.shop.profile

    def move(self, kind: str, value: Any) -> Any:
        """What came of it, to the last byte, and what was asked for it."""
        visitor, shop = self.visitor, self.shop
        shop.asked.clear()
        reply = None
        match kind:
            case "get":
                reply = visitor.get(value)
            case "image":
                reply = visitor.get(value, sec_fetch_dest="image")
            case "capture":
                reply = visitor.capture(value)
            case "double":
                cookies = "; ".join(f"{name}={text}" for name, text in [*visitor.jar.items()] * 2)
                reply = visitor.get(value, cookie=cookies)
            case "other":
                reply = visitor.get(value, cookie="x=1;__Host-reve=1; " + "; ".join(map("=".join, visitor.jar.items())))
            case "name":
                shop.people["ada"]["name"] = value
            case "version":
                shop.versions["ada"] = value
                if value is None:
                    del shop.versions["ada"]
            case "login":
                visitor.jar["user"] = value
            case "lose":
                visitor.jar.pop(value, None)
            case "time":
                self.clock.seconds += value
        return reply and (reply.status, reply.headers, reply.body), list(shop.asked), dict(visitor.jar)


def both_ways(by: str, story: list[tuple[str, Any]]) -> None:
    """Live it with the shortcut and without, over both protocols."""
    for name in ("asgi", "wsgi"):
        ended = []
        for shortcut in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                shell = ShellKind(name)
                world = World(shell, Clock(patch), by)
                patch.setattr(Sender, "_wake", lambda _: None)  # nobody asks what the bot was told
                if not shortcut:
                    patch.setattr(quiet.Quiet, "look", lambda *_: NOTHING_ASKED)
                try:
                    said = [world.move("capture", "s-1"), *(world.move("get", "/json") for _ in range(3))]
                    said += [world.move(*step) for step in story]
                    ended.append((said, world.visitor.middleware.stats()["offered"]))
                finally:
                    shell.close()
        assert ended[0] == ended[1]


@pytest.mark.parametrize("by", ["profile", "who", "version"])
@pytest.mark.parametrize("path", PATHS)
def test_a_word_of_the_view_is_heard(path: str, by: str) -> None:
    """Whatever a view, a route or a response says after a quiet time is heard as it would have been."""
    both_ways(by, [("version", 1), *[("get", "/json")] * 3, ("get", path), ("get", "/json")])


@pytest.mark.parametrize("by", ["profile", "who", "version"])
@given(story=st.lists(moves, max_size=12))
@effort(max_examples=40, deadline=None)
def test_the_two_ways_are_one(by: str, story: list[tuple[str, Any]]) -> None:
    """Whatever a visitor does: each response, each question to the application and each offer is the same with the
    shortcut as without it."""
    both_ways(by, story)


def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each look found that there is nothing to say."""
    seen: list[bool] = []
    really = quiet.Quiet.look

    def look(self: quiet.Quiet, *arguments: Any) -> Any:
        seen.append(really(self, *arguments) is None)
        return None if seen[-1] else NOTHING_ASKED

    monkeypatch.setattr(quiet.Quiet, "look", look)
    return seen


@pytest.mark.parametrize("by", ["profile", "who", "version"])
def test_the_shortcut_is_taken(shell: ShellKind, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """From the second response with nothing new on, the whole way is not gone; after an edit it is, once or twice."""
    world = World(shell, Clock(monkeypatch), by)
    world.shop.versions["ada"] = 1
    seen = looks(monkeypatch)
    world.move("capture", "s-1")
    for _ in range(4):
        world.move("get", "/json")
    assert seen == [False, True, True, True]
    world.move("name", "Ada L.")
    world.move("version", 2)
    for _ in range(4):
        world.move("get", "/json")
    assert seen[4:] == [False, False, True, True]
    assert world.visitor.middleware.stats()["offered"] == 2


class Current:
    """Stands for whoever makes the request, as werkzeug's `LocalProxy` does: it is text of another value each time."""

    name = "ada"

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return str

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self.name == str(other)

    __hash__ = None  # type: ignore[assignment]


def test_a_proxy_for_whoever_asks_is_looked_through(shell: ShellKind) -> None:
    """What `identity=` answers may be one object for everybody: another visitor is noticed by its value then."""
    current = Current()
    visitor = shell.site(identity=lambda request: (current, 1), profile=lambda request: {"name": str(current)})
    assert visitor.capture().json == {"status": "queued"}
    for _ in range(3):
        assert visitor.get("/").cookies == {}
    current.name = "grace"
    assert sorted(visitor.get("/").cookies) == ["__Host-reve", "__Host-reve-mark"]
    assert visitor.jar == {}
    assert {"name": "grace"} not in [push.data for push in visitor.pushed()]


def test_what_a_callable_raises_is_said_once(shell: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
    """A profile that raises after a quiet time is asked once for that response, and is one error in the log."""
    broken: list[int] = []

    def profile(request: Any) -> Any:
        if broken:
            broken.append(1)
            raise Told
        return {"id": 1}

    async def later(request: Any) -> Any:
        return profile(request)

    visitor = shell.site(profile=later if shell.name == "asgi" else profile)
    visitor.capture()
    for _ in range(3):
        visitor.get("/")
    broken.append(0)
    assert visitor.get("/").status == 200
    assert broken == [0, 1]
    (record,) = caplog.records
    assert record.getMessage().startswith("profile= raised Told at test_quiet.py:")


def test_what_is_remembered_is_bounded(shell: ShellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers so many visitors and no more, and shows none of them."""
    monkeypatch.setattr(quiet, "MOST_REMEMBERED", 3)
    assert MOST_REMEMBERED == 4096
    shop = Shop()
    shop.people = {f"user-{number}": {"id": f"canary-{number}"} for number in range(8)}
    middleware = shell.wrap(shell.application(shop), profile=shop.profile)
    for number in range(8):
        visitor = Visitor(middleware, shell)
        visitor.jar["user"] = f"user-{number}"
        visitor.capture(f"canary-chat-{number}")
        visitor.get("/")
        known = middleware._core.quiet._known
        assert len(known) == number % 3 + 1
    assert "canary" not in repr(list(known.values())) + repr([one.seen for one in known.values()])


def test_what_stands_between_our_cookies_is_bounded(shell: ShellKind) -> None:
    """A visitor who puts much between the two cookies is looked at all the same, and takes no memory."""
    visitor = shell.site(profile=lambda request: {"id": 1})
    visitor.capture()
    ids, mark = (f"{name}={visitor.jar[name]}" for name in ("__Host-reve", "__Host-reve-mark"))
    room = LONGEST_REMEMBERED - len(f"{ids}; x=; {mark}")
    for length, remembered in [(room, 1), (room + 1, 1), (8000, 1)]:
        assert visitor.get("/", cookie=f"{ids}; x={'y' * length}; {mark}").cookies == {}
        assert len(visitor.middleware._core.quiet._known) == remembered
