"""Who it is, through both shells: `identify()`, `identity=`, another visitor, signing out, consent (contract §5)."""

import contextvars
from typing import Any

import pytest
from drive import ShellKind, elsewhere, said
from shop import Shop

from reve_middleware import identify, sign_out

IDS, MARK = "__Host-reve", "__Host-reve-mark"
GONE = [f"{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure" for name in (IDS, MARK)]


@pytest.fixture
def shop() -> Shop:
    return Shop()


# identify() ------------------------------------------------------------------------------------


def test_identify_in_a_view_wins(shell: ShellKind, shop: Shop) -> None:
    """What a view says about its visitor is pushed, and `profile` is not asked."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.asked.clear()
    shop.before["/"] = lambda: identify({"id": 7, "plan": "gold"})
    assert list(visitor.get("/").cookies) == [MARK]
    assert shop.asked == []
    assert [post.data for post in visitor.pushed()] == [{"id": 7, "plan": "gold"}]


def test_identify_needs_no_profile_callable(shell: ShellKind, shop: Shop) -> None:
    """An application may only call `identify()`; where it says nothing, nothing happens."""
    visitor = shop.visitor(shell, profile=None)
    visitor.capture()
    shop.before["/who"] = lambda: identify({"phone": "+44 1"})
    assert visitor.get("/").values("set-cookie") == []
    assert list(visitor.get("/who").cookies) == [MARK]
    assert visitor.get("/").values("set-cookie") == []
    assert [post.data for post in visitor.pushed()] == [{"phone": "+44 1"}]


def test_identify_as_nobody(shell: ShellKind, shop: Shop) -> None:
    """`identify(None)` says that nobody is logged in, whatever `profile` would say."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    shop.before["/"] = lambda: identify(None)
    assert visitor.get("/").values("set-cookie") == []
    assert visitor.pushed() == []


def test_identify_works_from_a_thread_pool(shell: ShellKind, shop: Shop) -> None:
    """Frameworks run views in threads with a copy of the context: what is said there counts."""
    visitor = shop.visitor(shell, profile=None)
    visitor.capture()
    shop.before["/"] = lambda: elsewhere(contextvars.copy_context().run, identify, {"id": 7})
    assert list(visitor.get("/").cookies) == [MARK]


def test_outside_a_request_nothing_happens() -> None:
    """`identify()` and `sign_out()` outside a request that passes the middleware do nothing."""
    identify({"id": 7})
    sign_out()


# identity= and versions ------------------------------------------------------------------------


def test_a_profile_is_only_computed_when_the_version_changed(shell: ShellKind, shop: Shop) -> None:
    """With `(who, version)` the profile is computed when who or version differ from the mark, and only pushed when it
    differs itself."""
    visitor = shop.visitor(shell, identity=shop.identity)
    visitor.jar["user"] = "ada"
    shop.versions["ada"] = "v1"
    visitor.capture()
    shop.asked.clear()
    assert visitor.get("/").values("set-cookie") == []
    assert shop.asked == ["identity"]

    shop.versions["ada"] = "v2"
    assert list(visitor.get("/").cookies) == [MARK]  # the version is noted, and nothing pushed
    assert visitor.get("/").values("set-cookie") == []
    assert shop.asked == ["identity", "identity", "profile", "identity"]
    assert len(visitor.pushed()) == 1

    shop.versions["ada"] = 3
    shop.people["ada"]["name"] = "Countess"
    assert list(visitor.get("/").cookies) == [MARK]
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada", "Countess"]


def test_without_a_version_the_profile_is_computed_each_time(shell: ShellKind, shop: Shop) -> None:
    """`identity=` that only says who: the profile need not say it, and is computed on every response."""
    shop.people["ada"] = {"name": "Ada"}
    visitor = shop.visitor(shell, identity=shop.identity)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "queued"}
    shop.asked.clear()
    visitor.get("/")
    assert shop.asked == ["identity", "profile"]
    assert len(visitor.pushed()) == 1


@pytest.mark.parametrize("nobody", [None, (None, None), (None, "v1")], ids=repr)
def test_nobody_by_identity_is_nobody(shell: ShellKind, shop: Shop, nobody: Any) -> None:
    """Where `identity` returns None, or None as who, nobody is logged in and `profile` is not asked; `identify()`
    still counts."""

    def identity(request: Any) -> Any:
        shop.asked.append("identity")
        return nobody

    visitor = shop.visitor(shell, identity=identity)
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/").values("set-cookie") == []
    assert set(shop.asked) == {"identity"}
    shop.before["/"] = lambda: identify({"id": 7})
    assert list(visitor.get("/").cookies) == [MARK]


def test_without_profile_an_identity_alone_pushes_nothing(shell: ShellKind, shop: Shop) -> None:
    """`identity=` says who, but there is nothing to tell the bot."""
    visitor = shop.visitor(shell, identity=shop.identity, profile=None)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.pushed() == []


WRONG_IDENTITIES: list[tuple[Any, str]] = [
    (True, "identity= returned a bool as who; return text or a number, or (who, version)"),
    ("", "identity= returned a str as who; return text or a number, or (who, version)"),
    ({"id": 1}, "identity= returned a dict as who; return text or a number, or (who, version)"),
    (b"ada", "identity= returned a bytes as who; return text or a number, or (who, version)"),
    (([], 1), "identity= returned a list as who; return text or a number, or (who, version)"),
    (("ada",), "identity= returned a tuple of 1, not (who, version)"),
    (("ada", 1, 2), "identity= returned a tuple of 3, not (who, version)"),
    (("ada", []), "identity= returned a list as version; return text, a number or a date"),
]


@pytest.mark.parametrize(("answer", "text"), WRONG_IDENTITIES, ids=[repr(answer) for answer, _ in WRONG_IDENTITIES])
def test_a_wrong_identity_is_an_error_in_the_log(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, answer: Any, text: str
) -> None:
    """An identity of a wrong type pushes nothing; the log names what came and what would be right."""
    visitor = shop.visitor(shell, identity=lambda request: answer)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/").values("set-cookie") == []
    assert said(caplog) == [("identity", f"the visitor is not known: {text}")]
    assert shop.asked == []


def test_a_profile_that_says_not_who_it_is(shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A profile without id, email or phone, and no `identity=`, is not pushed; one error names the cure."""
    shop.people |= {"ada": {"name": "Ada"}, "grace": {"id": "", "email": None, "phone": True}}
    visitor = shop.visitor(shell)
    for user in ("ada", "grace"):
        visitor.jar["user"] = user
        visitor.capture()
        visitor.get("/")
    assert visitor.pushed() == []
    text = (
        "a profile says not who it is about, so it is not pushed: "
        "put 'id', 'email' or 'phone' into it (text that is not empty, or a number), or pass identity="
    )
    assert said(caplog) == [("no_identity", text)]


# Another visitor -------------------------------------------------------------------------------


@pytest.mark.parametrize("by_identity", [False, True], ids=["by profile", "by identity"])
def test_another_visitor_does_not_inherit_the_chat(shell: ShellKind, shop: Shop, by_identity: bool) -> None:
    """When another person is logged in than the mark says, the chat is let go, and hears of nobody until the widget
    reports again: then of the new one."""
    visitor = shop.visitor(shell, **({"identity": shop.identity} if by_identity else {}))
    visitor.jar["user"] = "ada"
    visitor.capture()
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada"]
    visitor.jar["user"] = "grace"
    shop.asked.clear()
    reply = visitor.get("/")
    assert shop.asked == (["identity"] if by_identity else ["profile"])
    assert reply.values("set-cookie") == GONE
    assert reply.header("cache-control") == "private"
    visitor.jar["user"] = "ada"
    assert visitor.get("/").values("set-cookie") == []
    visitor.jar["user"] = "grace"
    assert len(visitor.pushed()) == 1
    assert visitor.capture().json == {"status": "queued"}
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada", "Grace"]


def test_a_report_under_another_name_starts_anew(shell: ShellKind, shop: Shop) -> None:
    """When the widget itself reports the chat for another person, that person's profile is handed over."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada"]
    visitor.jar["user"] = "grace"
    assert visitor.capture().json == {"status": "queued"}
    assert visitor.get("/").values("set-cookie") == []
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada", "Grace"]


def test_who_counts_even_where_the_profiles_are_the_same(shell: ShellKind, shop: Shop) -> None:
    """Two people about whom the bot may know the same are two people: a report of the second one is handed over."""
    shop.people = {"ada": {"plan": "gold"}, "grace": {"plan": "gold"}}
    visitor = shop.visitor(shell, identity=shop.identity)
    visitor.jar["user"] = "ada"
    assert visitor.capture().json == {"status": "queued"}
    visitor.jar["user"] = "grace"
    assert visitor.capture().json == {"status": "queued"}
    visitor.jar["user"] = "ada"
    assert len(visitor.get("/").cookies) == 2


def test_logging_out_without_saying_so_keeps_the_chat(shell: ShellKind, shop: Shop) -> None:
    """A response on which nobody is logged in changes nothing; the same person again is nothing new."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    del visitor.jar["user"]
    assert visitor.get("/").values("set-cookie") == []
    visitor.jar["user"] = "ada"
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == 1
