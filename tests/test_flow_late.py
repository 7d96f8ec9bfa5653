"""Responses that come late, side by side, or never arrive, through both shells (contract §5.3, §5.6)."""

from typing import Any

import pytest
from drive import Clock, ShellKind, Visitor, elsewhere
from shop import Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def names(visitor: Visitor) -> list[Any]:
    return [post.data["name"] for post in visitor.pushed()]


def rename(shop: Shop, name: str) -> None:
    shop.people["ada"]["name"] = name


def begun(shop: Shop, visitor: Visitor, meanwhile: Any) -> None:
    """A request comes in, and `meanwhile` happens before its response starts."""
    shop.before["/slow"] = lambda: elsewhere(meanwhile)
    visitor.get("/slow")


def test_a_long_poll_pushes_nothing_a_second_time(shell: ShellKind, shop: Shop) -> None:
    """A response whose cookies are older than the last push says nothing again that was said."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    visitor.pushed()

    def edits() -> None:
        for name in ("Two", "Three"):
            rename(shop, name)
            visitor.get("/")
            visitor.middleware.close()

    begun(shop, visitor, edits)
    assert names(visitor)[1:] == ["Two", "Three"]


def test_a_late_response_brings_nothing_old_back(shell: ShellKind, shop: Shop) -> None:
    """What a view said before an edit is not pushed after it, and the next response has nothing to mend."""
    from reve_middleware import identify

    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    visitor.pushed()
    old = dict(shop.people["ada"])

    def edit() -> None:
        rename(shop, "New")
        visitor.get("/")
        visitor.middleware.close()

    def view() -> None:
        identify(old | {"plan": "loaded before"})
        elsewhere(edit)

    shop.before["/slow"] = view
    visitor.get("/slow")
    visitor.get("/")
    assert names(visitor)[1:] == ["New"]


def test_a_mark_that_never_arrived_is_not_missed(shell: ShellKind, shop: Shop) -> None:
    """The browser loses the response that carried the new mark, and the profile goes back to what it was: the bot
    hears of it."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    visitor.pushed()
    first, jar = shop.people["ada"]["name"], dict(visitor.jar)
    rename(shop, "Other")
    visitor.get("/")
    visitor.middleware.close()
    visitor.jar.clear()
    visitor.jar.update(jar)  # the response is lost
    rename(shop, first)
    visitor.get("/")
    assert names(visitor)[1:] == ["Other", first]


def test_a_late_response_of_somebody_else(shell: ShellKind, shop: Shop) -> None:
    """A stranger's chat, A's request is slow, B logs in and the bot is told: A's late response tells it nothing."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"

    def other_logs_in() -> None:
        visitor.jar["user"] = "grace"
        visitor.get("/")
        visitor.middleware.close()

    begun(shop, visitor, other_logs_in)
    assert [post.data["id"] for post in visitor.pushed()] == [shop.people["grace"]["id"]]


def test_an_edit_beside_a_first_push_is_told_with_the_next_response(shell: ShellKind, shop: Shop) -> None:
    """Two requests of one page side by side, the later response with an edit: the next response brings it."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"

    def first() -> None:
        visitor.get("/")
        rename(shop, "Edited")

    begun(shop, visitor, first)
    visitor.get("/")
    assert names(visitor)[-1] == "Edited"
